/* What functions show of themselves; see function.h.
 *
 * Nothing that a FrozenFunction gives leads to its private function's dicts and cells: what could
 * be written is copied each time it is asked for (H25). */
#include "module/function.h"

/* Attributes that functions have and that the type of one has too, or that need care. */
typedef enum {
    NAME,
    QUALNAME,
    MODULE,
    DOC,
    CODE,
    DEFAULTS,
    KWDEFAULTS,
    ANNOTATIONS,
    ANNOTATE,
    DICT,
    GLOBALS,
    CLOSURE,
    BUILTINS,
    TYPE_PARAMS,
    OTHER,
} attribute;

static const char *const attribute_names[OTHER] = {
    [NAME] = "__name__",
    [QUALNAME] = "__qualname__",
    [MODULE] = "__module__",
    [DOC] = "__doc__",
    [CODE] = "__code__",
    [DEFAULTS] = "__defaults__",
    [KWDEFAULTS] = "__kwdefaults__",
    [ANNOTATIONS] = "__annotations__",
    [ANNOTATE] = "__annotate__",
    [DICT] = "__dict__",
    [GLOBALS] = "__globals__",
    [CLOSURE] = "__closure__",
    [BUILTINS] = "__builtins__",
    [TYPE_PARAMS] = "__type_params__",
};

static attribute which(PyObject *name)
{
    if (PyUnicode_GET_LENGTH(name) < 7 || PyUnicode_READ_CHAR(name, 0) != '_' ||
        PyUnicode_READ_CHAR(name, 1) != '_')
        return OTHER;
    for (unsigned i = 0; i < OTHER; i++)
        if (PyUnicode_CompareWithASCIIString(name, attribute_names[i]) == 0)
            return (attribute)i;
    return OTHER;
}

static PyObject *raise_absent(ih_function *self, PyObject *name)
{
    PyObject *label = ih_function_label(self);
    if (label != NULL)
        PyErr_Format(PyExc_AttributeError, "function %S has no attribute '%U'", label, name);
    Py_XDECREF(label);
    return NULL;
}

/* A copy of a dict that an attribute is; None and absence as they are. A subclass of dict makes the
 * copy itself: it may find out what it holds only then. */
static PyObject *copy_of(PyObject *function, PyObject *name)
{
    PyObject *found = PyObject_GetAttr(function, name);
    if (found == NULL || !PyDict_Check(found))
        return found;
    PyObject *copy =
        PyDict_CheckExact(found) ? PyDict_Copy(found) : PyObject_CallMethod(found, "copy", NULL);
    Py_DECREF(found);
    return copy;
}

/* Cells of its own with the same contents. */
static PyObject *copy_closure(PyObject *function)
{
    PyObject *closure = PyFunction_GET_CLOSURE(function);
    if (closure == NULL)
        Py_RETURN_NONE;
    PyObject *copy = PyTuple_New(PyTuple_GET_SIZE(closure));
    for (Py_ssize_t i = 0; copy != NULL && i < PyTuple_GET_SIZE(closure); i++) {
        PyObject *cell = PyTuple_GET_ITEM(closure, i);
        PyObject *content = PyCell_Check(cell) ? PyCell_Get(cell) : NULL;
        PyObject *own = PyCell_New(content);
        Py_XDECREF(content);
        if (own == NULL)
            Py_CLEAR(copy);
        else
            PyTuple_SET_ITEM(copy, i, own);
    }
    return copy;
}

static PyObject *read_known(PyObject *function, attribute of, PyObject *name)
{
    switch (of) {
    case GLOBALS:
        return PyDict_Copy(PyFunction_GET_GLOBALS(function));
    case CLOSURE:
        return copy_closure(function);
    case KWDEFAULTS:
    case ANNOTATIONS:
    case DICT:
        return copy_of(function, name);
    case ANNOTATE: {
        /* A function whose globals are the private ones. Without it the annotations are read. */
        PyObject *found = PyObject_GetAttr(function, name);
        if (found == NULL)
            return NULL;
        Py_DECREF(found);
        Py_RETURN_NONE;
    }
    default:
        return PyObject_GetAttr(function, name);
    }
}

/* What somebody set on the function before it was frozen. */
static PyObject *read_own(ih_function *self, PyObject *function, PyObject *name)
{
    PyObject *dict = ((PyFunctionObject *)function)->func_dict;
    PyObject *found = dict != NULL ? PyDict_GetItemWithError(dict, name) : NULL;
    if (found != NULL)
        return Py_NewRef(found);
    return PyErr_Occurred() ? NULL : raise_absent(self, name);
}

/* NULL without an exception: the type has none of this name. */
static PyObject *read_of_type(PyObject *self, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(self, name);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return found;
}

PyObject *ih_frozen_function_getattro(PyObject *object, PyObject *name)
{
    ih_function *self = (ih_function *)object;
    if (!PyUnicode_Check(name))
        return PyObject_GenericGetAttr(object, name); /* which refuses it */
    attribute of = which(name);
    if (of <= DOC)
        return Py_NewRef(PyTuple_GET_ITEM(self->names, (Py_ssize_t)of));
    if (of == OTHER) {
        PyObject *found = read_of_type(object, name);
        if (found != NULL || PyErr_Occurred())
            return found;
    }
    if (self->refused != NULL && self->function == NULL)
        return raise_absent(self, name);
    PyObject *function = ih_function_inner(self);
    if (function == NULL)
        return NULL;
    PyObject *found = of == OTHER ? read_own(self, function, name) : read_known(function, of, name);
    Py_DECREF(function);
    return found;
}

int ih_frozen_function_setattro(PyObject *object, PyObject *name, PyObject *value)
{
    const ih_state *state = ih_type_state(Py_TYPE(object));
    PyObject *label = ih_function_label((ih_function *)object);
    if (label != NULL)
        PyErr_Format(state->errors[IH_ERR_FROZEN],
                     "frozen function %S is immutable: its attribute %R can't be %s; do it before "
                     "the function is frozen",
                     label, name, value != NULL ? "set" : "deleted");
    Py_XDECREF(label);
    return -1;
}

PyObject *ih_freezable_function_getattro(PyObject *object, PyObject *name)
{
    if (!PyUnicode_Check(name))
        return PyObject_GenericGetAttr(object, name);
    if (which(name) == OTHER) {
        PyObject *found = read_of_type(object, name);
        if (found != NULL || PyErr_Occurred())
            return found;
    }
    PyObject *function = ih_function_inner((ih_function *)object);
    PyObject *found = function != NULL ? PyObject_GetAttr(function, name) : NULL;
    Py_XDECREF(function);
    return found;
}

int ih_freezable_function_setattro(PyObject *object, PyObject *name, PyObject *value)
{
    PyObject *function = ih_function_inner((ih_function *)object);
    if (function == NULL)
        return -1;
    int result = PyObject_SetAttr(function, name, value);
    Py_DECREF(function);
    return result;
}
