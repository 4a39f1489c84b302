/* Making objects; see value.h. Python decides what becomes of a payload or of fields (hooks.h); a
 * tuple's subclass is filled here, since data is full of named tuples. */
#include "module/value.h"

#include "module/hooks.h"
#include "module/object.h"
#include "module/object_parts.h"

static PyObject *fault_at(ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    return ih_raise_fault(image->state, &fault);
}

/* ---- failures ------------------------------------------------------------------------------- */

/* What no damage of data explains. */
static bool passes(const ih_state *state)
{
    PyObject *const passing[] = {PyExc_MemoryError, PyExc_RecursionError, PyExc_BlockingIOError,
                                 state->errors[IH_ERR_BASE]};
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return true;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(passing); i++)
        if (PyErr_ExceptionMatches(passing[i]))
            return true;
    return false;
}

PyObject *ih_value_failed(ih_image_object *image, uint64_t at, const char *what)
{
    PyObject *type, *cause, *traceback;
    if (passes(image->state))
        return NULL;
    PyErr_Fetch(&type, &cause, &traceback);
    PyErr_NormalizeException(&type, &cause, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(cause, traceback);
    PyObject *said = PyObject_Str(cause);
    if (said == NULL)
        PyErr_Clear();
    PyObject *reason = PyUnicode_FromFormat("%s (%s: %.200V)", what, Py_TYPE(cause)->tp_name, said,
                                            "it does not say why");
    if (reason != NULL)
        ih_raise_corrupt(image->state, at, reason, cause);
    Py_XDECREF(reason);
    Py_XDECREF(said);
    Py_XDECREF(type);
    Py_XDECREF(cause);
    Py_XDECREF(traceback);
    return NULL;
}

/* ---- tuples --------------------------------------------------------------------------------- */

/* Subclasses that Python code made hold nothing in C beside the items: struct sequences and other
 * types of C code do, and would read what isn't there. */
static bool is_plain_tuple_class(const ih_state *state, PyTypeObject *type)
{
    if (type == NULL)
        return false;
    destructor of_class_statement = ((PyTypeObject *)state->errors[IH_ERR_BASE])->tp_dealloc;
    if (!PyType_IsSubtype(type, &PyTuple_Type) || type->tp_itemsize != PyTuple_Type.tp_itemsize ||
        type->tp_finalize != PyTuple_Type.tp_finalize) /* __del__ would run (H20) */
        return false;
    for (PyTypeObject *base = type; base != &PyTuple_Type; base = base->tp_base)
        if (base == NULL || !PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE) ||
            base->tp_dealloc != of_class_statement || base->tp_alloc != PyType_GenericAlloc)
            return false;
    return true;
}

static PyObject *new_tuple(PyTypeObject *cls, Py_ssize_t n)
{
    PyObject *tuple = PyType_GenericAlloc(cls, n);
#if PY_VERSION_HEX >= 0x030E0000
    if (tuple != NULL)
        ((PyTupleObject *)tuple)->ob_hash = -1; /* not hashed yet */
#endif
    return tuple;
}

/* Fills a tuple with values of words. Takes over the tuple; NULL on failure. */
static PyObject *fill(ih_image_object *image, PyObject *tuple, uint64_t data, ih_budget *left)
{
    const uint8_t *words = image->image.base + data;
    Py_ssize_t n = tuple != NULL ? PyTuple_GET_SIZE(tuple) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = ih_decode_within(image, ih_load_word(words + 4 * i), left);
        if (item == NULL) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

/* A record of a tuple's subclass that is not to be had: its items' names are not known. */
static PyObject *record_of_items(ih_image_object *image, uint64_t at, PyObject *name,
                                 PyObject *items)
{
    PyObject *hook = ih_hook_of(image->state, IH_HOOK_MAKE_RECORD);
    PyObject *names = hook != NULL ? PyTuple_New(PyTuple_GET_SIZE(items)) : NULL;
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(items); i++) {
        PyObject *number = PyUnicode_FromFormat("_%zd", i); /* as namedtuple(rename=True) has it */
        if (number == NULL)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, i, number);
    }
    PyObject *record =
        names != NULL ? PyObject_CallFunctionObjArgs(hook, name, names, items, NULL) : NULL;
    Py_XDECREF(names);
    if (record == NULL && hook != NULL && PyErr_Occurred())
        return ih_value_failed(image, at, "a record that can't be made");
    return record;
}

/* A named tuple of a class that has other fields now is a record. */
static bool has_fields(const ih_state *state, PyTypeObject *cls, uint64_t n)
{
    PyObject *fields = ih_class_look_up(cls, state->names[IH_TUPLE_FIELDS]);
    bool other = fields != NULL && PyTuple_Check(fields) && (uint64_t)PyTuple_GET_SIZE(fields) != n;
    Py_XDECREF(fields);
    return !other;
}

static PyObject *make_tuple(ih_image_object *image, uint64_t at, const ih_node *node,
                            const ih_layout *layout, ih_budget *left)
{
    if (is_plain_tuple_class(image->state, layout->cls) &&
        has_fields(image->state, layout->cls, node->n))
        return fill(image, new_tuple(layout->cls, (Py_ssize_t)node->n), node->data, left);
    PyObject *items = fill(image, PyTuple_New((Py_ssize_t)node->n), node->data, left);
    if (items == NULL)
        return NULL;
    Py_SETREF(items, record_of_items(image, at, layout->type_name, items));
    return items;
}

static PyObject *open_tuple(ih_image_object *image, uint64_t at, const ih_node *node,
                            const ih_layout *layout, ih_budget *left)
{
    if (node->n >= left->nodes || left->depth == 0)
        return fault_at(image, at, "tuples nested without end or too large to be real ones");
    left->nodes -= (uint32_t)node->n + 1;
    if (left->making == NULL) {
        left->depth--;
        PyObject *tuple = make_tuple(image, at, node, layout, left);
        left->depth++;
        return tuple;
    }
    ih_step step;
    if (ih_making_begin(left, image, at, node->shared, 8 + 4 * node->n, &step) < 0)
        return NULL;
    if (step.known != NULL)
        return step.known;
    left->depth--;
    PyObject *tuple = make_tuple(image, at, node, layout, left);
    left->depth++;
    return ih_making_end(left, image, at, node->shared, &step, tuple);
}

PyObject *ih_make_long_tuple(ih_image_object *image, uint64_t at, const ih_node *node,
                             ih_budget *left)
{
    ih_step step;
    if (ih_making_begin(left, image, at, node->shared, 8 + 4 * node->n, &step) < 0)
        return NULL;
    if (step.known != NULL)
        return step.known;
    ih_budget inner = {IH_TUPLE_TREE_MAX + 1, IH_TUPLE_DEPTH_MAX, left->making};
    PyObject *tuple = fill(image, PyTuple_New((Py_ssize_t)node->n), node->data, &inner);
    return ih_making_end(left, image, at, node->shared, &step, tuple);
}

/* ---- MADE ----------------------------------------------------------------------------------- */

/* The Trust for what is being made. New reference. */
static PyObject *trust_for(ih_image_object *image, const ih_making *making)
{
    if (making != NULL && ih_making_is_sample(making))
        return ih_trust_without_code(image);
    return Py_XNewRef(ih_image_trust(image));
}

static PyObject *call_make_object(ih_image_object *image, uint64_t at, const ih_layout *layout,
                                  PyObject *values, const ih_making *making)
{
    ih_state *state = image->state;
    bool record = layout->cls == NULL;
    PyObject *hook = ih_hook_of(state, record ? IH_HOOK_MAKE_RECORD : IH_HOOK_MAKE_OBJECT);
    PyObject *trust = hook != NULL ? trust_for(image, making) : NULL;
    PyObject *number = trust != NULL ? PyLong_FromUnsignedLong(layout->number) : NULL;
    PyObject *made = NULL;
    if (number == NULL) {
        Py_XDECREF(trust);
        return NULL;
    }
    if (record)
        made = PyObject_CallFunctionObjArgs(hook, layout->type_name, layout->names, values, NULL);
    else
        made = PyObject_CallFunctionObjArgs(hook, number, layout->cls, layout->names, values, trust,
                                            NULL);
    Py_DECREF(number);
    Py_DECREF(trust);
    return made != NULL ? made : ih_value_failed(image, at, "an object that can't be made");
}

static PyObject *open_made(ih_image_object *image, uint64_t at, const ih_node *node,
                           const ih_layout *layout, ih_budget *left)
{
    ih_step step;
    if (layout->n != node->n)
        return fault_at(image, at, "an object with another number of fields than its layout");
    if (ih_making_begin(left, image, at, node->shared, 8 + 4 * node->n, &step) < 0)
        return NULL;
    if (step.known != NULL)
        return step.known;
    ih_budget inner = {IH_TUPLE_TREE_MAX + 1, IH_TUPLE_DEPTH_MAX, left->making};
    PyObject *values = fill(image, PyTuple_New((Py_ssize_t)node->n), node->data, &inner);
    PyObject *made =
        values != NULL ? call_make_object(image, at, layout, values, left->making) : NULL;
    Py_XDECREF(values);
    return ih_making_end(left, image, at, node->shared, &step, made);
}

PyObject *ih_make_object(ih_image_object *image, uint64_t at, const ih_node *node,
                         const ih_layout *layout, ih_budget *left)
{
    return layout->form == IH_FORM_TUPLE ? open_tuple(image, at, node, layout, left)
                                         : open_made(image, at, node, layout, left);
}

/* ---- VALUE ---------------------------------------------------------------------------------- */

static PyObject *call_make_value(ih_image_object *image, uint64_t at, uint64_t code,
                                 PyObject *payload, ih_hook_id which, const ih_making *making)
{
    PyObject *hook = ih_hook_of(image->state, which);
    PyObject *trust = hook != NULL ? trust_for(image, making) : NULL;
    PyObject *number = trust != NULL ? PyLong_FromUnsignedLongLong(code) : NULL;
    if (number == NULL) {
        Py_XDECREF(trust);
        return NULL;
    }
    PyObject *args[] = {NULL, number, payload, trust};
    PyObject *made = PyObject_Vectorcall(hook, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(number);
    Py_DECREF(trust);
    return made != NULL ? made : ih_value_failed(image, at, "a value that can't be made");
}

PyObject *ih_open_value(ih_image_object *image, uint64_t at, const ih_node *node, ih_budget *left)
{
    ih_step step;
    PyObject *quick = ih_known_member(image, at, node);
    if (quick == NULL)
        quick = ih_make_quickly(image, node, left);
    if (quick != NULL || PyErr_Occurred())
        return quick;
    /* A class that is being made by its definition is there already for what is in that: Python
     * knows it, and knows circles in which nothing could be made first. */
    bool shared = node->shared && node->n != IH_VALUE_CLASS;
    if (ih_making_begin(left, image, at, shared, 8, &step) < 0)
        return NULL;
    if (step.known != NULL)
        return step.known;
    if (node->n == IH_VALUE_CLASS)
        step.image = NULL;
    ih_budget inner = {IH_TUPLE_TREE_MAX + 1, IH_TUPLE_DEPTH_MAX, left->making};
    PyObject *payload = ih_decode_within(image, node->shape, &inner);
    PyObject *made = NULL;
    if (payload != NULL)
        made = call_make_value(image, at, node->n, payload, IH_HOOK_MAKE_VALUE, left->making);
    Py_XDECREF(payload);
    /* What a sample makes may be a record of what can be made outside of it. */
    if (made != NULL && !ih_sampling())
        ih_remember_member(image, at, node, made);
    return ih_making_end(left, image, at, shared, &step, made);
}

/* ---- thaw ----------------------------------------------------------------------------------- */

PyObject *ih_thaw_value(ih_image_object *image, uint64_t at, uint64_t code, PyObject *payload)
{
    return call_make_value(image, at, code, payload, IH_HOOK_THAW_VALUE, NULL);
}

static PyObject *tuple_of(PyTypeObject *cls, PyObject *items)
{
    PyObject *tuple = new_tuple(cls, PyTuple_GET_SIZE(items));
    for (Py_ssize_t i = 0; tuple != NULL && i < PyTuple_GET_SIZE(items); i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(PyTuple_GET_ITEM(items, i)));
    return tuple;
}

PyObject *ih_thaw_made(ih_image_object *image, uint64_t at, const ih_layout *layout,
                       PyObject *values)
{
    PyObject *made, *items = PyList_AsTuple(values);
    if (items == NULL)
        return NULL;
    if (layout->form == IH_FORM_MADE)
        made = call_make_object(image, at, layout, items, NULL);
    else if (is_plain_tuple_class(image->state, layout->cls))
        made = tuple_of(layout->cls, items);
    else
        made = record_of_items(image, at, layout->type_name, items);
    Py_DECREF(items);
    return made;
}

PyObject *ih_tuple_like(const ih_state *state, PyObject *object, PyObject *items)
{
    if (!is_plain_tuple_class(state, Py_TYPE(object)))
        return Py_NewRef(object);
    return tuple_of(Py_TYPE(object), items);
}
