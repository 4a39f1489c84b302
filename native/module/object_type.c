/* The type of the views of a class; see object.h. */
#include "module/object.h"

PyTypeObject *ih_object_view_type(ih_state *state, PyTypeObject *cls)
{
    (void)cls;
    return (PyTypeObject *)Py_XNewRef((PyObject *)state->object_type);
}
