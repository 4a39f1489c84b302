/* Which objects are frozen by nature: plain immutable values, and tuples (named ones too),
 * frozensets and slices of such; our views; and what the rules of Python say of other types.
 *
 * A tuple of tuples can hold one child at many places, so that a naive walk takes exponential time
 * (H24). Children go on a list of work, and containers that were met are remembered by address;
 * they can't go away meanwhile, as the argument keeps them. */
#include "module/frozen.h"

#include "module/decode.h"
#include "module/function.h"
#include "module/hooks.h"

typedef enum { FROZEN, MUTABLE, CONTAINER, FOREIGN } nature;

/* A subclass of tuple whose instances hold nothing but their items. */
static bool is_plain_tuple(const PyTypeObject *type)
{
    return type->tp_basicsize == PyTuple_Type.tp_basicsize && type->tp_dictoffset == 0 &&
           !PyType_HasFeature((PyTypeObject *)(uintptr_t)type, Py_TPFLAGS_MANAGED_DICT);
}

static nature nature_of(const ih_state *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type || type == &PyLong_Type || type == &PyFloat_Type ||
        type == &PyBool_Type || object == Py_None || type == &PyBytes_Type)
        return FROZEN;
    if (type == &PyTuple_Type || type == &PyFrozenSet_Type || type == &PySlice_Type)
        return CONTAINER;
    if (ih_is_view(state, object) || type == state->handle_type ||
        type == state->frozen_function_type || type == &PyComplex_Type || type == &PyRange_Type ||
        object == Py_Ellipsis || object == Py_NotImplemented)
        return FROZEN;
    if (type == &PyList_Type || type == &PyDict_Type || type == &PySet_Type ||
        type == &PyByteArray_Type)
        return MUTABLE;
    return PyTuple_Check(object) && is_plain_tuple(type) ? CONTAINER : FOREIGN;
}

static int by_rule(ih_state *state, PyObject *object)
{
    PyObject *hook = ih_hook_of(state, IH_HOOK_FROZEN_BY_NATURE);
    PyObject *answer = hook ? PyObject_CallOneArg(hook, object) : NULL;
    int result = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return result;
}

typedef struct {
    PyObject **items; /* containers still to look into; borrowed */
    size_t count, size;
    PyObject *met; /* set of addresses, made with the second container */
} walk;

static int push(walk *work, PyObject *container)
{
    if (work->count == work->size) {
        size_t size = work->size ? work->size * 2 : 16;
        PyObject **grown = PyMem_Realloc(work->items, size * sizeof *grown);
        if (!grown) {
            PyErr_NoMemory();
            return -1;
        }
        work->items = grown;
        work->size = size;
    }
    work->items[work->count++] = container;
    return 0;
}

/* 1: `object` is frozen or on the list of work by now; 0: it is mutable; -1: exception. */
static int visit(ih_state *state, walk *work, PyObject *object)
{
    nature found = nature_of(state, object);
    if (found == FOREIGN)
        return by_rule(state, object);
    if (found != CONTAINER)
        return found == FROZEN;
    if (!work->met && !(work->met = PySet_New(NULL)))
        return -1;
    PyObject *address = PyLong_FromVoidPtr(object);
    if (!address)
        return -1;
    Py_ssize_t before = PySet_GET_SIZE(work->met);
    int result = PySet_Add(work->met, address);
    Py_DECREF(address);
    if (result == 0 && PySet_GET_SIZE(work->met) != before)
        result = push(work, object);
    return result < 0 ? -1 : 1;
}

static int visit_set(ih_state *state, walk *work, PyObject *set)
{
    PyObject *iterator = PyObject_GetIter(set), *item;
    if (!iterator)
        return -1;
    int result = 1;
    while (result == 1 && (item = PyIter_Next(iterator))) {
        result = visit(state, work, item);
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : result;
}

static int visit_items(ih_state *state, walk *work, PyObject *container)
{
    if (PyTuple_Check(container)) {
        int result = 1;
        for (Py_ssize_t i = 0; result == 1 && i < PyTuple_GET_SIZE(container); i++)
            result = visit(state, work, PyTuple_GET_ITEM(container, i));
        return result;
    }
    if (PySlice_Check(container)) {
        PySliceObject *slice = (PySliceObject *)container;
        int result = visit(state, work, slice->start);
        if (result == 1)
            result = visit(state, work, slice->stop);
        return result == 1 ? visit(state, work, slice->step) : result;
    }
    return visit_set(state, work, container);
}

int ih_is_frozen(ih_state *state, PyObject *object)
{
    nature found = nature_of(state, object);
    if (found == FOREIGN)
        return by_rule(state, object);
    if (found != CONTAINER)
        return found == FROZEN;
    walk work = {0};
    int result = visit_items(state, &work, object);
    while (result == 1 && work.count)
        result = visit_items(state, &work, work.items[--work.count]);
    PyMem_Free(work.items);
    Py_XDECREF(work.met);
    return result;
}
