/* Declarations; see declare.h. */
#include "module/declare.h"

#include "module/function.h"
#include "module/hooks.h"

/* The type of C alone has this name: one of a class statement has no module in it. */
static bool is_partial(const PyTypeObject *type)
{
    return type->tp_name[0] == 'f' && strcmp(type->tp_name, "functools.partial") == 0;
}

/* What runs when it is called, and holds what it needs for that. */
static bool is_code(const ih_state *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return type == &PyFunction_Type || type == &PyMethod_Type ||
           type == state->freezable_function_type || is_partial(type);
}

static bool is_declaration(const ih_state *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyDict_Type || type == &PyList_Type || type == &PyUnicode_Type)
        return false;
    if (PyType_Check(object))
        return !PyType_HasFeature((PyTypeObject *)object, Py_TPFLAGS_IMMUTABLETYPE);
    return is_code(state, object) || PyModule_Check(object) ||
           PyObject_TypeCheck(object, &PyStaticMethod_Type) ||
           PyObject_TypeCheck(object, &PyClassMethod_Type) ||
           PyObject_TypeCheck(object, &PyProperty_Type);
}

bool ih_any_declaration(const ih_state *state, PyObject *const *objects, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++)
        if (is_declaration(state, objects[i]))
            return true;
    return false;
}

PyObject *ih_freeze_declarations(ih_state *state, PyObject *const *objects, Py_ssize_t n)
{
    PyObject *hook = ih_hook_of(state, IH_HOOK_FREEZE_DECLARATIONS);
    PyObject *all = hook != NULL ? PyTuple_New(n) : NULL;
    if (all == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(all, i, Py_NewRef(objects[i]));
    PyObject *frozen = PyObject_CallOneArg(hook, all);
    Py_DECREF(all);
    return frozen;
}

PyObject *ih_put_instead(ih_state *state, PyObject *object)
{
    return is_code(state, object) ? ih_freeze_declarations(state, &object, 1) : Py_NewRef(object);
}
