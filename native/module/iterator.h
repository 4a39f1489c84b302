/* One iterator type for every view that has positions: sequences, bytes, arrays. */
#ifndef ICEHOUSE_MODULE_ITERATOR_H
#define ICEHOUSE_MODULE_ITERATOR_H

#include "module/state.h"

/* Iterates over the items 0 .. n-1 of `view`, or from n-1 down. `item` is called with positions in
 * that range only, and needs no check of its own. New reference. */
PyObject *ih_iterate(PyObject *view, uint64_t n, ssizeargfunc item, bool backwards);

int ih_init_iterator(PyObject *module, ih_state *state);

#endif
