/* Instances that no code of their class has seen. */
#include "module/bare.h"

PyObject *ih_bare_instance(PyObject *module, PyObject *cls)
{
    (void)module;
    if (!PyType_Check(cls) || !PyType_HasFeature((PyTypeObject *)cls, Py_TPFLAGS_HEAPTYPE) ||
        !PyType_HasFeature((PyTypeObject *)cls, Py_TPFLAGS_READY)) {
        PyErr_SetString(PyExc_TypeError, "only a class has bare instances");
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)cls;
    return type->tp_alloc(type, 0);
}
