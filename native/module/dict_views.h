/* keys(), values(), items() of FrozenDict and the iterators of dicts; see dict_views.c. */
#ifndef ICEHOUSE_MODULE_DICT_VIEWS_H
#define ICEHOUSE_MODULE_DICT_VIEWS_H

#include "module/state.h"

enum { IH_ITERATE_KEYS, IH_ITERATE_VALUES, IH_ITERATE_ITEMS };

/* A view of one of the three types over `dict` (a FrozenDict). New reference. */
PyObject *ih_new_dict_view(PyTypeObject *type, PyObject *dict);
/* An iterator over `dict` (a FrozenDict), from its end where `reversed`. New reference. */
PyObject *ih_new_dict_iterator(PyObject *dict, int mode, int reversed);

/* dict.c: a tuple of the decoded keys of a shaped dict, kept for the next dict of that shape. New
 * reference; NULL with an exception, or without one where the dict has no shape or a wide one. */
PyObject *ih_shape_keys(const ih_table_view *view);

typedef struct {
    PyObject_HEAD
    ih_table_view *dict; /* owned */
} ih_dict_view;

/* The dict's key and value number i. New references. */
PyObject *ih_dict_key(const ih_table_view *dict, uint64_t i);
PyObject *ih_dict_value(const ih_table_view *dict, uint64_t i);

#endif
