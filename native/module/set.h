/* What FrozenSet and the set-like views of FrozenDict share; see set.c. */
#ifndef ICEHOUSE_MODULE_SET_H
#define ICEHOUSE_MODULE_SET_H

#include "module/state.h"

/* set, frozenset, FrozenSet, and the keys and items of dicts, ours and Python's. */
bool ih_is_set_like(const ih_state *state, PyObject *object);
/* Rich comparison as sets: subset, superset, equality; NotImplemented towards anything else. */
PyObject *ih_set_like_compare(ih_state *state, PyObject *self, PyObject *other, int op);
/* Adds to `result`, a set nobody else has, each item of the iterable that is in `filter` (if
 * `wanted` is 1) or not in it (0); with NULL for `filter` and 1 all. 0 or -1. */
int ih_set_add_items(PyObject *result, PyObject *items, PyObject *filter, int wanted);
/* Whether nothing of the iterable `other` is in `self`. */
PyObject *ih_set_like_isdisjoint(PyObject *self, PyObject *other);
/* __reduce__ of an iterator that still has what is to be pickled; it is exhausted by this. */
PyObject *ih_reduce_iterator(PyObject *iterator);

#endif
