/* Instances that no code of their class has seen: for types whose own `__new__` can't be called. */
#ifndef ICEHOUSE_MODULE_BARE_H
#define ICEHOUSE_MODULE_BARE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A new instance of a class made by a `class` statement, all of whose fields are unset; TypeError
 * for other types. The caller knows that the types written in C below it live with that. */
PyObject *ih_bare_instance(PyObject *module, PyObject *cls);

#endif
