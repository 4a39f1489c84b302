/* Making frozen functions, and classes immutable: for store/declarations/. See function.h. */
#include "module/function.h"

static int check_count(const char *name, Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most)
{
    if (nargs >= least && nargs <= most)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd to %zd arguments, not %zd", name, least, most,
                 nargs);
    return -1;
}

static int check_type(PyObject *object, bool is, const char *wanted)
{
    if (is)
        return 0;
    PyErr_Format(PyExc_TypeError, "expected a %s, not %.100s", wanted, Py_TYPE(object)->tp_name);
    return -1;
}

/* New reference; NULL with an exception. */
static PyObject *names_of(PyObject *declaration)
{
    PyObject *names = PyObject_GetAttrString(declaration, "names");
    if (names == NULL)
        return NULL;
    if (PyTuple_CheckExact(names) && PyTuple_GET_SIZE(names) == IH_FUNCTION_NAMES &&
        PyUnicode_CheckExact(PyTuple_GET_ITEM(names, IH_NAME)) &&
        PyUnicode_CheckExact(PyTuple_GET_ITEM(names, IH_QUALNAME)))
        return names;
    PyErr_Format(PyExc_TypeError,
                 "the names of a declaration are (name, qualname, module, doc), not %.200R", names);
    Py_DECREF(names);
    return NULL;
}

static PyObject *new_function(PyTypeObject *type, PyObject *function)
{
    ih_function *self = (ih_function *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->function = Py_XNewRef(function);
    ih_function_route(self);
    return (PyObject *)self;
}

PyObject *ih_function_new(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    const ih_state *state = ih_state_of(module);
    if (check_count("_frozen_function", nargs, 1, 3) < 0)
        return NULL;
    PyObject *function = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *refused = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    if ((function != NULL && check_type(function, PyFunction_Check(function), "function") < 0) ||
        (refused != NULL && check_type(refused, PyUnicode_Check(refused), "str") < 0))
        return NULL;
    PyObject *names = names_of(args[0]);
    if (names == NULL)
        return NULL;
    PyObject *made = new_function(state->frozen_function_type, function);
    if (made == NULL) {
        Py_DECREF(names);
        return NULL;
    }
    ih_function *self = (ih_function *)made;
    self->names = names;
    self->declaration = Py_NewRef(args[0]);
    self->refused = Py_XNewRef(refused);
    ih_function_route(self);
    return made;
}

PyObject *ih_function_fill(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    const ih_state *state = ih_state_of(module);
    if (check_count("_fill_function", nargs, 2, 2) < 0 ||
        check_type(args[0], ih_is_frozen_function(state, args[0]), "FrozenFunction") < 0 ||
        check_type(args[1], PyFunction_Check(args[1]), "function") < 0)
        return NULL;
    ih_function *self = (ih_function *)args[0];
    PyObject *none = NULL;
    if (!__atomic_compare_exchange_n(&self->function, &none, Py_NewRef(args[1]), false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        Py_DECREF(args[1]);
        return PyErr_Format(PyExc_ValueError, "%R has its private function already", args[0]);
    }
    ih_function_route(self);
    Py_RETURN_NONE;
}

PyObject *ih_function_freezable(PyObject *module, PyObject *function)
{
    if (check_type(function, PyFunction_Check(function), "function") < 0)
        return NULL;
    return new_function(ih_state_of(module)->freezable_function_type, function);
}

PyObject *ih_function_original(PyObject *module, PyObject *freezable)
{
    if (check_type(freezable, ih_is_freezable_function(ih_state_of(module), freezable),
                   "FreezableFunction") < 0)
        return NULL;
    return ih_function_inner((ih_function *)freezable);
}

/* Both types have one layout; an object holds a reference to its type. */
static void change_type(ih_function *self, PyTypeObject *to)
{
    PyTypeObject *from = Py_TYPE(self);
    Py_SET_TYPE((PyObject *)self, (PyTypeObject *)Py_NewRef((PyObject *)to));
    Py_DECREF(from);
}

/* Others may be reading what was there: without a GIL it stays until the object goes. */
static void replace_function(ih_function *self, PyObject *by)
{
    PyObject *before = __atomic_exchange_n(&self->function, Py_NewRef(by), __ATOMIC_ACQ_REL);
#ifdef Py_GIL_DISABLED
    Py_XSETREF(self->kept, before);
#else
    Py_XDECREF(before);
#endif
}

PyObject *ih_function_freeze_in_place(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    const ih_state *state = ih_state_of(module);
    if (check_count("_freeze_in_place", nargs, 3, 3) < 0 ||
        check_type(args[0], ih_is_freezable_function(state, args[0]), "FreezableFunction") < 0 ||
        check_type(args[2], PyFunction_Check(args[2]), "function") < 0)
        return NULL;
    PyObject *names = names_of(args[1]);
    if (names == NULL)
        return NULL;
    /* Reading the names ran code, which may have frozen it. */
    if (check_type(args[0], ih_is_freezable_function(state, args[0]), "FreezableFunction") < 0) {
        Py_DECREF(names);
        return NULL;
    }
    ih_function *self = (ih_function *)args[0];
    PyObject *names_before = self->names, *declaration_before = self->declaration;
    self->names = names;
    self->declaration = Py_NewRef(args[1]);
    change_type(self, state->frozen_function_type);
    replace_function(self, args[2]);
    Py_XDECREF(names_before);
    Py_XDECREF(declaration_before);
    Py_RETURN_NONE;
}

PyObject *ih_function_undo(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    const ih_state *state = ih_state_of(module);
    if (check_count("_undo_freeze", nargs, 2, 2) < 0 ||
        check_type(args[0], ih_is_frozen_function(state, args[0]), "FrozenFunction") < 0 ||
        check_type(args[1], PyFunction_Check(args[1]), "function") < 0)
        return NULL;
    /* Names and declaration stay: another thread may be reading them, and freezing it again
     * replaces them. */
    ih_function *self = (ih_function *)args[0];
    change_type(self, state->freezable_function_type);
    replace_function(self, args[1]);
    Py_RETURN_NONE;
}

PyObject *ih_function_declaration(PyObject *module, PyObject *frozen)
{
    if (check_type(frozen, ih_is_frozen_function(ih_state_of(module), frozen), "FrozenFunction") <
        0)
        return NULL;
    PyObject *declaration = ((ih_function *)frozen)->declaration;
    return Py_NewRef(declaration != NULL ? declaration : Py_None);
}

/* ---- classes --------------------------------------------------------------------------------- */

PyObject *ih_class_freeze(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (check_count("_freeze_class", nargs, 1, 2) < 0 ||
        check_type(args[0], PyType_Check(args[0]), "class") < 0)
        return NULL;
    int frozen = nargs > 1 ? PyObject_IsTrue(args[1]) : 1;
    if (frozen < 0)
        return NULL;
    PyTypeObject *cls = (PyTypeObject *)args[0];
    /* A type of C that is not immutable was made so on purpose, or before there was the flag. */
    if (!PyType_HasFeature(cls, Py_TPFLAGS_HEAPTYPE) || !PyType_HasFeature(cls, Py_TPFLAGS_READY))
        return PyErr_Format(PyExc_TypeError, "%.200s is a static type of C, not a class",
                            cls->tp_name);
    if (frozen)
        __atomic_fetch_or(&cls->tp_flags, Py_TPFLAGS_IMMUTABLETYPE, __ATOMIC_RELEASE);
    else
        __atomic_fetch_and(&cls->tp_flags, ~Py_TPFLAGS_IMMUTABLETYPE, __ATOMIC_RELEASE);
    PyType_Modified(cls);
    Py_RETURN_NONE;
}
