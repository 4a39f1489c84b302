/* Text of views, bounded; see repr.c. ih_repr() is declared in decode.h. */
#ifndef ICEHOUSE_MODULE_REPR_H
#define ICEHOUSE_MODULE_REPR_H

#include "module/state.h"

/* Of a keys, values or items view (`mode`: IH_ITERATE_*): FrozenDictKeys(['a', 'b']). */
PyObject *ih_repr_dict_view(PyObject *view, int mode);

/* What is shown inside what is being shown, by the same thread, counts against one limit of items.
 * `spend` takes one more: false where none is left. */
void ih_repr_enter(void);
void ih_repr_leave(void);
bool ih_repr_spend(void);

#endif
