/* FrozenList and FrozenTuple: read-only sequences, read in place.
 *
 * Both are one structure over a node of words, of packed numbers or of a text run. A slice is the
 * same node with another start and step, so slicing copies nothing. Searching and joining are in
 * sequence_methods.c, buffers in sequence_buffer.c, hashing in pyhash.c, comparison in compare.c.
 */
#include "module/sequence.h"

#include "module/iterator.h"
#include "module/pyhash.h"
#include "module/view.h"

PyObject *ih_new_sequence(ih_image_object *image, uint64_t at, const ih_node *node)
{
    bool list = node->kind <= IH_LIST_STR;
    PyTypeObject *type = list ? image->state->list_type : image->state->tuple_type;
    ih_sequence *view = IH_TAKE(image->state, free_sequences, type);
    if (view == NULL)
        return NULL;
    view->image = (ih_image_object *)Py_NewRef((PyObject *)image);
    view->at = at;
    view->n = view->node_n = node->n;
    view->data = image->image.base + node->data;
    view->kind = node->kind;
    view->code = node->code;
    view->width = node->width;
    view->ascii = node->ascii;
    view->whole = true;
    view->start = 0;
    view->step = 1;
    view->text = node->text;
    view->text_size = node->text_size;
    return (PyObject *)view;
}

static bool is_list(PyObject *self) { return ih_sequence_is_list((ih_sequence *)self); }

static Py_ssize_t sequence_length(PyObject *self) { return (Py_ssize_t)((ih_sequence *)self)->n; }

static PyObject *item_unchecked(PyObject *self, Py_ssize_t i)
{
    return ih_sequence_item((ih_sequence *)self, (uint64_t)i);
}

static PyObject *raise_index(PyObject *self)
{
    PyErr_SetString(PyExc_IndexError, is_list(self) ? "FrozenList index out of range"
                                                    : "FrozenTuple index out of range");
    return NULL;
}

static PyObject *sequence_item(PyObject *self, Py_ssize_t i)
{
    ih_sequence *view = (ih_sequence *)self;
    if ((uint64_t)i >= view->n)
        return raise_index(self);
    return ih_sequence_item(view, (uint64_t)i);
}

static PyObject *sequence_slice(ih_sequence *view, PyObject *slice)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t n = PySlice_AdjustIndices((Py_ssize_t)view->n, &start, &stop, step);
    if ((uint64_t)n == view->n && (step == 1 || n == 0))
        return Py_NewRef((PyObject *)view);
    ih_sequence *part = IH_TAKE(view->image->state, free_sequences, Py_TYPE(view));
    if (part == NULL)
        return NULL;
    PyObject head = part->ob_base;
    *part = *view;
    part->ob_base = head;
    Py_INCREF(part->image);
    part->n = (uint64_t)n;
    part->whole = false;
    /* With two items or more, |step| is less than the number of elements: no overflow. With one
     * item only the start matters, with none nothing does. */
    part->start = n > 0 ? view->start + (int64_t)start * view->step : 0;
    part->step = n > 1 ? view->step * (int64_t)step : 1;
    return (PyObject *)part;
}

static inline Py_ssize_t index_of(PyObject *key)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (PyLong_CheckExact(key) && PyUnstable_Long_IsCompact((PyLongObject *)key))
        return PyUnstable_Long_CompactValue((PyLongObject *)key);
#endif
    return PyNumber_AsSsize_t(key, PyExc_IndexError);
}

static PyObject *sequence_subscript(PyObject *self, PyObject *key)
{
    ih_sequence *view = (ih_sequence *)self;
    if (PyLong_CheckExact(key) || PyIndex_Check(key)) {
        Py_ssize_t i = index_of(key);
        if (i < 0) {
            if (i == -1 && PyErr_Occurred())
                return NULL;
            i += (Py_ssize_t)view->n;
        }
        if ((uint64_t)i >= view->n)
            return raise_index(self);
        return ih_sequence_item(view, (uint64_t)i);
    }
    if (PySlice_Check(key))
        return sequence_slice(view, key);
    return PyErr_Format(PyExc_TypeError, "%s indices must be integers or slices, not %.200s",
                        is_list(self) ? "FrozenList" : "FrozenTuple", Py_TYPE(key)->tp_name);
}

static int sequence_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    (void)key;
    ih_raise_frozen(((ih_view *)self)->image->state, Py_TYPE(self),
                    value == NULL ? "item deletion" : "item assignment");
    return -1;
}

static PyObject *sequence_iter(PyObject *self)
{
    return ih_iterate(self, ((ih_sequence *)self)->n, item_unchecked, false);
}

static PyObject *sequence_reversed(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_iterate(self, ((ih_sequence *)self)->n, item_unchecked, true);
}

PyObject *ih_sequence_to_list(const ih_sequence *view)
{
    PyObject *list = PyList_New((Py_ssize_t)view->n);
    for (uint64_t i = 0; list != NULL && i < view->n; i++) {
        PyObject *item = ih_sequence_item(view, i);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

PyObject *ih_sequence_to_tuple(const ih_sequence *view)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)view->n);
    for (uint64_t i = 0; tuple != NULL && i < view->n; i++) {
        PyObject *item = ih_sequence_item(view, i);
        if (item == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
    }
    return tuple;
}

/* bytes(view) makes bytes of the items, as bytes(list) does, and not of the packed array. */
static PyObject *sequence_bytes(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *list = ih_sequence_to_list((ih_sequence *)self);
    PyObject *bytes = list == NULL ? NULL : PyBytes_FromObject(list);
    Py_XDECREF(list);
    return bytes;
}

static PyObject *list_copy(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_sequence_to_list((ih_sequence *)self);
}

/* A list view compares with lists and list views, a tuple view with tuples and tuple views. */
static PyObject *sequence_richcompare(PyObject *self, PyObject *other, int op)
{
    bool plain = is_list(self) ? PyList_Check(other) : PyTuple_Check(other);
    if (!plain && !Py_IS_TYPE(other, Py_TYPE(self)))
        Py_RETURN_NOTIMPLEMENTED;
    if (op != Py_EQ && op != Py_NE) {
        int holds = ih_order(self, other, op);
        return holds < 0 ? NULL : PyBool_FromLong(holds);
    }
    int equal = ih_equal(self, other);
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

/* A slice is no node; what it would hash as is asked of a real tuple. */
static Py_hash_t tuple_hash(PyObject *self)
{
    ih_sequence *view = (ih_sequence *)self;
    if (view->whole)
        return ih_python_hash(view->image, view->at);
    PyObject *tuple = ih_sequence_to_tuple(view);
    Py_hash_t hash = tuple == NULL ? -1 : PyObject_Hash(tuple);
    Py_XDECREF(tuple);
    return hash;
}

static PyObject *sequence_handle(PyObject *self, void *ignored)
{
    if (!((ih_sequence *)self)->whole)
        Py_RETURN_NONE;
    return ih_view_handle(self, ignored);
}

static const char *const list_mutators[] = {"append", "clear",   "extend", "insert", "pop",
                                            "remove", "reverse", "sort",   NULL};
static PyObject *list_getattro(PyObject *self, PyObject *name)
{
    return ih_view_getattro(self, name, list_mutators);
}

PyDoc_STRVAR(
    list_doc,
    "A frozen list, read in place from shared memory.\n\n"
    "It has the read-only methods of list and equals a list of equal items. Indexing is O(1) and\n"
    "decodes one item; a slice is a FrozenList over the same memory. Lists of numbers or bools\n"
    "export a read-only buffer. + and * give an ordinary list. Changing it raises FrozenError;\n"
    "icehouse.thaw(view) makes an ordinary list. Not hashable, as list is not.");
PyDoc_STRVAR(
    tuple_doc,
    "A frozen tuple too large to be made whole when it is read; it is read in place.\n\n"
    "It has the methods of tuple, equals a tuple of equal items and hashes as it does. Indexing\n"
    "is O(1) and decodes one item; a slice is a FrozenTuple over the same memory. Tuples of\n"
    "numbers or bools export a read-only buffer. + and * give an ordinary tuple.");
PyDoc_STRVAR(index_doc, "index(value, start=0, stop=sys.maxsize, /)\n--\n\n"
                        "The first position of value; ValueError where it is absent. O(n).");
PyDoc_STRVAR(count_doc, "count(value, /)\n--\n\nHow many items equal value. O(n).");
PyDoc_STRVAR(reversed_doc, "An iterator over the items, last first.");

#define INDEX_METHOD                                                                      \
    {                                                                                     \
        "index", (PyCFunction)(void (*)(void))ih_sequence_index, METH_FASTCALL, index_doc \
    }

static PyMethodDef list_methods[] = {
    IH_VIEW_METHODS,
    INDEX_METHOD,
    {"count", ih_sequence_count, METH_O, count_doc},
    {"copy", list_copy, METH_NOARGS,
     "copy()\n--\n\nAn ordinary list of the same items; nested containers stay views. O(n)."},
    {"__reversed__", sequence_reversed, METH_NOARGS, reversed_doc},
    {"__bytes__", sequence_bytes, METH_NOARGS, "Bytes of the items, which must be 0 to 255."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "FrozenList[int]"},
    {NULL},
};
static PyMethodDef tuple_methods[] = {
    IH_VIEW_METHODS,
    INDEX_METHOD,
    {"count", ih_sequence_count, METH_O, count_doc},
    {"__reversed__", sequence_reversed, METH_NOARGS, reversed_doc},
    {"__bytes__", sequence_bytes, METH_NOARGS, "Bytes of the items, which must be 0 to 255."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "FrozenTuple[int, ...]"},
    {NULL},
};
static PyGetSetDef getset[] = {
    {"handle", sequence_handle, NULL, "The image's Handle where this view is its root, else None.",
     NULL},
    {NULL},
};

#define COMMON_SLOTS                                                                          \
    {Py_tp_dealloc, ih_sequence_dealloc}, {Py_tp_getset, getset},                             \
        {Py_tp_setattro, ih_view_setattro}, {Py_tp_richcompare, sequence_richcompare},        \
        {Py_tp_repr, ih_repr}, {Py_tp_iter, sequence_iter}, {Py_mp_length, sequence_length},  \
        {Py_mp_subscript, sequence_subscript}, {Py_mp_ass_subscript, sequence_ass_subscript}, \
        {Py_sq_length, sequence_length}, {Py_sq_item, sequence_item},                         \
        {Py_sq_contains, ih_sequence_contains}, {Py_sq_repeat, ih_sequence_repeat},           \
        {Py_nb_add, ih_sequence_add}, {Py_bf_getbuffer, ih_sequence_getbuffer},               \
    {                                                                                         \
        Py_bf_releasebuffer, ih_sequence_releasebuffer                                        \
    }

static PyType_Slot list_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, (void *)list_doc},
    {Py_tp_methods, list_methods},
    {Py_tp_getattro, list_getattro},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {0, NULL},
};
static PyType_Slot tuple_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, (void *)tuple_doc},
    {Py_tp_methods, tuple_methods},
    {Py_tp_hash, tuple_hash},
    {0, NULL},
};

#define FLAGS                                                                            \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION | \
     Py_TPFLAGS_SEQUENCE)

static PyType_Spec list_spec = {
    .name = "icehouse.FrozenList",
    .basicsize = sizeof(ih_sequence),
    .flags = FLAGS,
    .slots = list_slots,
};
static PyType_Spec tuple_spec = {
    .name = "icehouse.FrozenTuple",
    .basicsize = sizeof(ih_sequence),
    .flags = FLAGS,
    .slots = tuple_slots,
};

int ih_init_sequence(PyObject *module, ih_state *state)
{
    if (ih_init_iterator(module, state) < 0)
        return -1;
    state->list_type = ih_add_type(module, &list_spec, NULL, true);
    state->tuple_type = ih_add_type(module, &tuple_spec, NULL, true);
    if (state->list_type == NULL || state->tuple_type == NULL)
        return -1;
    if (ih_register_abc(state->list_type, "Sequence") < 0)
        return -1;
    return ih_register_abc(state->tuple_type, "Sequence");
}
