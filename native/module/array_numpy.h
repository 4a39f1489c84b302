/* Arrays as ndarrays, where numpy loads. */
#ifndef ICEHOUSE_MODULE_ARRAY_NUMPY_H
#define ICEHOUSE_MODULE_ARRAY_NUMPY_H

#include "module/state.h"

/* numpy.asarray; None where numpy does not load in this interpreter, which is tried once. New
 * reference; NULL only when memory or the stack ran out, or the user interrupted. */
PyObject *ih_numpy_asarray(ih_state *state);

/* asarray(view) of a FrozenArray, or of it with a format that numpy understands better. New
 * reference or an exception. */
PyObject *ih_ndarray_of(PyObject *asarray, PyObject *view);
/* Clears the exception and returns true if it only says that something didn't work out. */
bool ih_clear_ordinary_exception(void);

/* FrozenArray.__array__ */
PyObject *ih_array_dunder(PyObject *self, PyObject *args, PyObject *kwargs);
/* FrozenArray.__dlpack__, __dlpack_device__: those of the ndarray, which since numpy 2.1 says that
 * it is read-only. */
PyObject *ih_array_dlpack(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ih_array_dlpack_device(PyObject *self, PyObject *unused);

#endif
