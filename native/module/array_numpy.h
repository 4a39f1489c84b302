/* Arrays as ndarrays, where numpy loads. */
#ifndef ICEHOUSE_MODULE_ARRAY_NUMPY_H
#define ICEHOUSE_MODULE_ARRAY_NUMPY_H

#include "module/state.h"

/* numpy.asarray; None where numpy does not load in this interpreter, which is tried once. New
 * reference; NULL only when memory or the stack ran out, or the user interrupted. */
PyObject *ih_numpy_asarray(ih_state *state);

/* FrozenArray.__array__ */
PyObject *ih_array_dunder(PyObject *self, PyObject *args, PyObject *kwargs);

#endif
