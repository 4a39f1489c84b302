/* thaw() of real instances that an access gave: named tuples, Structs, models and the like, whose
 * parts are views. Their rule says what they are made of; another one is made of thawed parts. */
#include "module/hooks.h"
#include "module/thaw.h"
#include "module/value.h"

/* A new tuple of thawed items; *changed: not of the same ones. */
static PyObject *thaw_items(ih_state *state, PyObject *items, ih_thaw_part thaw, void *arg,
                            bool *changed)
{
    Py_ssize_t n = PyTuple_GET_SIZE(items);
    PyObject *thawed = PyTuple_New(n);
    for (Py_ssize_t i = 0; thawed != NULL && i < n; i++) {
        PyObject *item = thaw(state, PyTuple_GET_ITEM(items, i), arg);
        if (item == NULL) {
            Py_CLEAR(thawed);
            break;
        }
        *changed |= item != PyTuple_GET_ITEM(items, i);
        PyTuple_SET_ITEM(thawed, i, item);
    }
    return thawed;
}

static PyObject *thaw_tuple(ih_state *state, PyObject *object, ih_thaw_part thaw, void *arg)
{
    bool changed = false;
    PyObject *items = thaw_items(state, object, thaw, arg, &changed);
    PyObject *made = NULL;
    if (items != NULL)
        made = changed ? ih_tuple_like(state, object, items) : Py_NewRef(object);
    Py_XDECREF(items);
    return made;
}

static PyObject *thaw_made(ih_state *state, PyObject *object, PyObject *rule, ih_thaw_part thaw,
                           void *arg)
{
    PyObject *make = ih_hook_of(state, IH_HOOK_MAKE_OBJECT), *trust = ih_own_trust(state);
    PyObject *names, *values, *thawed = NULL, *made = NULL;
    bool changed = false;
    if (make == NULL || trust == NULL)
        return NULL;
    PyObject *parts = PyObject_CallOneArg(PyTuple_GET_ITEM(rule, 2), object);
    if (parts != NULL &&
        PyArg_ParseTuple(parts, "O!O!", &PyTuple_Type, &names, &PyTuple_Type, &values))
        thawed = thaw_items(state, values, thaw, arg, &changed);
    if (thawed != NULL)
        made = changed ? PyObject_CallFunctionObjArgs(make, PyTuple_GET_ITEM(rule, 1),
                                                      (PyObject *)Py_TYPE(object), names, thawed,
                                                      trust, NULL)
                       : Py_NewRef(object);
    Py_XDECREF(parts);
    Py_XDECREF(thawed);
    return made;
}

static bool is_rule(PyObject *rule, const char *name, Py_ssize_t size)
{
    return PyTuple_CheckExact(rule) && PyTuple_GET_SIZE(rule) == size &&
           PyUnicode_Check(PyTuple_GET_ITEM(rule, 0)) &&
           PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(rule, 0), name) == 0;
}

PyObject *ih_thaw_real(ih_state *state, PyObject *object, ih_thaw_part thaw, void *arg)
{
    PyTypeObject *type = Py_TYPE(object);
    if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) || PyType_Check(object))
        return Py_NewRef(object);
    PyObject *rule_of = ih_hook_of(state, IH_HOOK_RULE_OF);
    PyObject *rule = rule_of != NULL ? PyObject_CallOneArg(rule_of, (PyObject *)type) : NULL;
    if (rule == NULL)
        return NULL;
    PyObject *made;
    if (PyTuple_Check(object) && is_rule(rule, "tuple", 1))
        made = thaw_tuple(state, object, thaw, arg);
    else if (is_rule(rule, "made", 3))
        made = thaw_made(state, object, rule, thaw, arg);
    else
        made = Py_NewRef(object);
    Py_DECREF(rule);
    return made;
}
