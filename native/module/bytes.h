/* What the files of FrozenBytes share. */
#ifndef ICEHOUSE_MODULE_BYTES_H
#define ICEHOUSE_MODULE_BYTES_H

#include "module/decode.h"

/* The methods of bytes, in bytes_methods.c. The array ends with an empty entry. */
extern PyMethodDef ih_bytes_methods[];

/* A real bytes object with the content. O(n). */
static inline PyObject *ih_bytes_copy(const ih_bytes_view *view)
{
    return PyBytes_FromStringAndSize((const char *)view->data, (Py_ssize_t)view->n);
}

int ih_bytes_contains(PyObject *self, PyObject *value);

#endif
