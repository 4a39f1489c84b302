/* Frames of objects and values; see thaw_instance.h. */
#include "module/thaw_instance.h"

#include <structmember.h>

#include "module/hooks.h"
#include "module/object_parts.h"
#include "module/value.h"

/* ---- empty ones ------------------------------------------------------------------------------ */

static PyObject *make_empty(PyTypeObject *cls, newfunc make)
{
    PyObject *none = PyTuple_New(0);
    PyObject *made = none ? make(cls, none, NULL) : NULL;
    Py_XDECREF(none);
    return made;
}

/* A number or None, without following anything else. */
static PyObject *limit_of(thawer *t, uint64_t at, const ih_layout *layout, const uint8_t *fields)
{
    for (uint32_t i = 0; i < layout->n; i++) {
        PyObject *name = PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i);
        if (PyUnicode_CompareWithASCIIString(name, "maxlen") != 0)
            continue;
        uint32_t word = ih_load_word(fields + 4 * (size_t)i);
        if (ih_word_is_int(word) && ih_word_int(word) >= 0)
            return PyLong_FromLongLong(ih_word_int(word));
        if (word != IH_NONE)
            return ih_thaw_fault(t, at, "the length of a deque is no small number");
    }
    return Py_NewRef(Py_None);
}

static PyObject *make_deque(thawer *t, uint64_t at, const ih_layout *layout, const ih_plan *plan,
                            const uint8_t *fields)
{
    PyObject *limit = limit_of(t, at, layout, fields);
    PyObject *args = limit ? Py_BuildValue("()N", limit) : NULL;
    PyObject *deque = args ? make_empty(layout->cls, plan->make) : NULL;
    if (deque != NULL && plan->base->tp_init(deque, args, NULL) < 0)
        Py_CLEAR(deque);
    Py_XDECREF(args);
    return deque;
}

/* A Record without fields; *fields is the dict that it reads them from. */
static PyObject *make_record(ih_state *state, const ih_layout *layout, PyObject **fields)
{
    PyObject *hook = ih_hook(state, "make_record");
    PyObject *none = hook ? PyTuple_New(0) : NULL;
    PyObject *record =
        none ? PyObject_CallFunctionObjArgs(hook, layout->type_name, none, none, NULL) : NULL;
    Py_XDECREF(hook);
    Py_XDECREF(none);
    *fields = record ? PyObject_GetAttrString(record, "_Record__fields") : NULL;
    if (*fields != NULL && !PyDict_CheckExact(*fields)) {
        PyErr_SetString(PyExc_TypeError, "a record without a dict of fields");
        Py_CLEAR(*fields);
    }
    if (*fields == NULL)
        Py_CLEAR(record);
    return record;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Takes over `layout` and `container`. */
static frame *push_whole(thawer *t, uint32_t word, const ih_node *node, uint64_t n,
                         ih_layout *layout)
{
    PyObject *values = PyList_New((Py_ssize_t)n);
    frame *f = values ? ih_thaw_push(t, node, word, values, F_WHOLE, n) : NULL;
    if (f == NULL) {
        Py_XDECREF(layout);
        return NULL;
    }
    f->layout = layout;
    f->node_at = ih_word_offset(word);
    return f;
}

static PyObject *push_object(thawer *t, uint32_t word, const ih_node *node, ih_layout *layout,
                             const ih_plan *plan)
{
    uint64_t at = ih_word_offset(word);
    ih_image_object *image = t->here->image;
    PyObject *made, *key = NULL;
    bool contains = layout->form == IH_FORM_CONTAINER;
    if (plan->how == IH_THAW_RECORD)
        made = make_record(image->state, layout, &key);
    else if (plan->how == IH_THAW_DEQUE)
        made = make_deque(t, at, layout, plan, image->image.base + node->data + (contains ? 4 : 0));
    else
        made = make_empty(layout->cls, plan->make);
    frame *f = made ? ih_thaw_push(t, node, word, made, F_OBJECT, node->n) : NULL;
    if (f == NULL) {
        Py_XDECREF(key);
        Py_DECREF(layout);
        return NULL;
    }
    f->key = key;
    f->layout = layout;
    f->node_at = at;
    return IH_THAW_PENDING;
}

/* CPython frees a defaultdict in a defaultdict by recursion without a bound (its trashcan is for
 * exact dicts): a small image would overflow the stack of whoever lets go of its copy. */
#define FREED_DEPTH_MAX 20000u

static bool too_deep_to_free(const thawer *t, const ih_layout *layout)
{
    if (t->depth < FREED_DEPTH_MAX || layout->cls == NULL ||
        strcmp(layout->cls->tp_name, "collections.defaultdict") != 0)
        return false;
    PyErr_SetString(PyExc_RecursionError,
                    "thaw: defaultdicts nested so deeply that Python could not "
                    "free them; read the view in place");
    return true;
}

PyObject *ih_thaw_object(thawer *t, uint32_t word, const ih_node *node)
{
    uint64_t at = ih_word_offset(word);
    if (ih_thaw_spend(t, at, 8 + 4 * node->n) < 0)
        return NULL;
    ih_layout *layout = ih_layout_get(t->here->image, node->shape, at);
    if (layout == NULL)
        return NULL;
    if (layout->form != IH_FORM_TUPLE &&
        node->n != (uint64_t)layout->n + (layout->form == IH_FORM_CONTAINER)) {
        Py_DECREF(layout);
        return ih_thaw_fault(t, at, "an object with another number of values than its layout");
    }
    if (too_deep_to_free(t, layout)) {
        Py_DECREF(layout);
        return NULL;
    }
    if (layout->form == IH_FORM_VIEW || layout->form == IH_FORM_CONTAINER) {
        const ih_plan *plan = ih_thaw_plan(layout);
        if (plan == NULL) {
            Py_DECREF(layout);
            return NULL;
        }
        if (plan->how != IH_THAW_WHOLE)
            return push_object(t, word, node, layout, plan);
    }
    return push_whole(t, word, node, node->n, layout) ? IH_THAW_PENDING : NULL;
}

/* One that is opened as views show it. */
static PyObject *whole_value(thawer *t, uint32_t word, const ih_node *node)
{
    if (ih_thaw_spend(t, ih_word_offset(word), 8) < 0)
        return NULL;
    PyObject *made = ih_decode(t->here->image, word);
    if (made == NULL)
        return NULL;
    t->steps = ih_thaw_hash_steps(made);
    memo_entry entry = {.object = made, .steps = t->steps, .weight = 1};
    if (node->shared && ih_memo_add(t, word, entry) < 0)
        Py_CLEAR(made);
    return made;
}

PyObject *ih_thaw_value_node(thawer *t, uint32_t word, const ih_node *node)
{
    /* Functions and classes have no mutable form: what they hold stays frozen. */
    if (node->n == IH_VALUE_CLASS ||
        (node->n >= IH_VALUE_DECLARATION && node->n <= IH_VALUE_DECLARATION_LAST))
        return whole_value(t, word, node);
    uint64_t at = ih_word_offset(word);
    if (ih_thaw_spend(t, at, 8) < 0)
        return NULL;
    ih_node payload = *node;
    payload.data = at + (node->n >= IH_COUNT_WIDE ? 12 : 4); /* its word's place */
    frame *f = push_whole(t, word, &payload, 1, NULL);
    if (f == NULL)
        return NULL;
    f->code = node->n;
    return IH_THAW_PENDING;
}

/* ---- storing --------------------------------------------------------------------------------- */

static int store_content(thawer *t, const frame *f, PyObject *value)
{
    PyObject *object = f->container;
    bool sequence = PyList_CheckExact(value) || PyTuple_CheckExact(value);
    int result = 0;
    switch ((ih_thaw_how)ih_thaw_plan(f->layout)->how) {
    case IH_THAW_LIST:
        if (sequence)
            return PyList_SetSlice(object, 0, 0, value);
        break;
    case IH_THAW_DICT:
        if (PyDict_CheckExact(value))
            return PyDict_Update(object, value);
        break;
    case IH_THAW_SET:
        if (PyAnySet_CheckExact(value)) {
            PyObject *items = PySequence_List(value);
            result = items ? 0 : -1;
            for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(items); i++)
                result = PySet_Add(object, PyList_GET_ITEM(items, i));
            Py_XDECREF(items);
            return result;
        }
        break;
    case IH_THAW_ORDERED:
        if (PyDict_CheckExact(value)) {
            PyObject *items = PyDict_Items(value);
            result = items ? 0 : -1;
            for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(items); i++) {
                PyObject *item = PyList_GET_ITEM(items, i);
                result =
                    PyODict_SetItem(object, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
            }
            Py_XDECREF(items);
            return result;
        }
        break;
    case IH_THAW_DEQUE:
        if (sequence) {
            PyObject *done = PyObject_CallMethod((PyObject *)ih_thaw_plan(f->layout)->base,
                                                 "extend", "OO", object, value);
            Py_XDECREF(done);
            return done ? 0 : -1;
        }
        break;
    case IH_THAW_RECORD: {
        PyObject *name = PyUnicode_New(0, 0);
        result = name ? PyDict_SetItem(f->key, name, value) : -1;
        Py_XDECREF(name);
        return result;
    }
    case IH_THAW_INSTANCE:
    case IH_THAW_WHOLE:
        break;
    }
    ih_thaw_fault(t, f->node_at, "the content of an object is of another kind than its class");
    return -1;
}

int ih_thaw_store(thawer *t, frame *f, PyObject *value)
{
    const ih_layout *layout = f->layout;
    uint64_t i = f->i++;
    if (layout->form == IH_FORM_CONTAINER) {
        if (i == 0)
            return store_content(t, f, value);
        i--;
    }
    PyObject *name = PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i);
    const ih_plan *plan = layout->plan;
    if (plan->how == IH_THAW_RECORD)
        return PyDict_SetItem(f->key, name, value);
    const ih_place *place = &plan->places[i];
    if (place->kind == IH_PLACE_MEMBER) {
        PyObject **slot = (PyObject **)(void *)((char *)f->container + place->offset);
        Py_XSETREF(*slot, Py_NewRef(value));
        return 0;
    }
    if (place->kind == IH_PLACE_ATTRIBUTE)
        return PyObject_GenericSetAttr(f->container, name, value);
    if (place->kind == IH_PLACE_DONE)
        return 0;
    PyObject *dict = PyObject_GenericGetDict(f->container, NULL);
    int result = dict ? PyDict_SetItem(dict, name, value) : -1;
    Py_XDECREF(dict);
    return result;
}

/* ---- whole ones ------------------------------------------------------------------------------ */

static PyObject *fields_of(const ih_layout *layout, PyObject *values, Py_ssize_t first)
{
    PyObject *fields = PyDict_New();
    for (Py_ssize_t i = 0; fields != NULL && i < (Py_ssize_t)layout->n; i++)
        if (PyDict_SetItem(fields, PyTuple_GET_ITEM(layout->names, i),
                           PyList_GET_ITEM(values, first + i)) < 0)
            Py_CLEAR(fields);
    return fields;
}

static PyObject *finish_container(ih_state *state, const ih_layout *layout, PyObject *values)
{
    PyObject *hook = ih_hook(state, "thaw_container");
    PyObject *fields = hook ? fields_of(layout, values, 1) : NULL;
    PyObject *made = fields ? PyObject_CallFunctionObjArgs(hook, (PyObject *)layout->cls,
                                                           PyList_GET_ITEM(values, 0), fields, NULL)
                            : NULL;
    Py_XDECREF(hook);
    Py_XDECREF(fields);
    return made;
}

static PyObject *finish_view(ih_state *state, const ih_layout *layout, PyObject *values)
{
    PyObject *hook = ih_hook(state, "thaw_object"), *slots = hook ? PyDict_New() : NULL;
    PyObject *tuple = slots ? PyList_AsTuple(values) : NULL;
    PyObject *made = tuple ? PyObject_CallFunctionObjArgs(hook, (PyObject *)layout->cls,
                                                          layout->names, tuple, slots, NULL)
                           : NULL;
    Py_XDECREF(hook);
    Py_XDECREF(slots);
    Py_XDECREF(tuple);
    return made;
}

PyObject *ih_thaw_finish(const frame *f, PyObject *values)
{
    ih_image_object *image = f->in->image;
    PyObject *made;
    if (f->layout == NULL)
        made = ih_thaw_value(image, f->node_at, f->code, PyList_GET_ITEM(values, 0));
    else if (f->layout->form == IH_FORM_TUPLE || f->layout->form == IH_FORM_MADE)
        made = ih_thaw_made(image, f->node_at, f->layout, values);
    else if (f->layout->form == IH_FORM_CONTAINER)
        made = finish_container(image->state, f->layout, values);
    else
        made = finish_view(image->state, f->layout, values);
    Py_DECREF(values);
    if (made == NULL && f->layout != NULL)
        return ih_value_failed(image, f->node_at, "an object that can't be made");
    return made;
}

/* ---- hashing --------------------------------------------------------------------------------- */

uint32_t ih_thaw_hash_steps(PyObject *object)
{
    hashfunc hash = Py_TYPE(object)->tp_hash;
    return hash == NULL || hash == PyObject_HashNotImplemented ? UNHASHABLE : 1;
}
