/* FrozenBytes: large bytes and bytearrays, read in place.
 *
 * Indexing, slicing, searching and comparing read the shared memory; what makes new bytes, or has
 * to interpret the content, works on a private copy (H4). The methods are in bytes_methods.c. */
#include "module/bytes.h"

#include "module/buffers.h"
#include "module/iterator.h"
#include "module/view.h"

PyObject *ih_new_bytes(ih_image_object *image, uint64_t at, const ih_node *node)
{
    ih_bytes_view *view = ih_new_object(image->state->bytes_type);
    if (view == NULL)
        return NULL;
    view->image = (ih_image_object *)Py_NewRef((PyObject *)image);
    view->at = at;
    view->n = node->n;
    view->data = image->image.base + node->data;
    view->kind = node->kind;
    view->code = view->width = view->ascii = 0;
    return (PyObject *)view;
}

static Py_ssize_t bytes_length(PyObject *self) { return (Py_ssize_t)((ih_bytes_view *)self)->n; }

static PyObject *item_unchecked(PyObject *self, Py_ssize_t i)
{
    return PyLong_FromLong(__atomic_load_n(((ih_bytes_view *)self)->data + i, __ATOMIC_RELAXED));
}

static PyObject *bytes_item(PyObject *self, Py_ssize_t i)
{
    if ((uint64_t)i >= ((ih_bytes_view *)self)->n) {
        PyErr_SetString(PyExc_IndexError, "FrozenBytes index out of range");
        return NULL;
    }
    return item_unchecked(self, i);
}

static PyObject *bytes_slice(ih_bytes_view *view, PyObject *slice)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t n = PySlice_AdjustIndices((Py_ssize_t)view->n, &start, &stop, step);
    if (step != 1 && n > 1) {
        PyObject *copy = PyBytes_FromStringAndSize(NULL, n);
        char *to = copy == NULL ? NULL : PyBytes_AS_STRING(copy);
        for (Py_ssize_t i = 0; copy != NULL && i < n; i++)
            to[i] = (char)view->data[start + i * step];
        return copy;
    }
    if ((uint64_t)n == view->n)
        return Py_NewRef((PyObject *)view);
    ih_bytes_view *part = ih_new_object(Py_TYPE(view));
    if (part == NULL)
        return NULL;
    part->image = (ih_image_object *)Py_NewRef((PyObject *)view->image);
    part->at = 0; /* a part is no node */
    part->n = (uint64_t)n;
    part->data = view->data + (n > 0 ? start : 0);
    part->kind = view->kind;
    part->code = part->width = part->ascii = 0;
    return (PyObject *)part;
}

static PyObject *bytes_subscript(PyObject *self, PyObject *key)
{
    if (PyIndex_Check(key)) {
        Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
        if (i == -1 && PyErr_Occurred())
            return NULL;
        return bytes_item(self, i < 0 ? i + bytes_length(self) : i);
    }
    if (PySlice_Check(key))
        return bytes_slice((ih_bytes_view *)self, key);
    return PyErr_Format(PyExc_TypeError,
                        "FrozenBytes indices must be integers or slices, not %.200s",
                        Py_TYPE(key)->tp_name);
}

static int bytes_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    (void)key;
    ih_raise_frozen(((ih_view *)self)->image->state, Py_TYPE(self),
                    value == NULL ? "item deletion" : "item assignment");
    return -1;
}

static PyObject *bytes_iter(PyObject *self)
{
    return ih_iterate(self, ((ih_bytes_view *)self)->n, item_unchecked, false);
}

static int bytes_getbuffer(PyObject *self, Py_buffer *buffer, int flags)
{
    ih_bytes_view *view = (ih_bytes_view *)self;
    void *data = (void *)(uintptr_t)view->data;
    void *copy = NULL;
    if ((flags & PyBUF_WRITABLE) == PyBUF_WRITABLE) {
        buffer->obj = NULL;
        PyErr_SetString(PyExc_BufferError, "FrozenBytes has no writable buffer");
        return -1;
    }
    if (!ih_buffer_in_place(view->image)) {
        copy = PyMem_Malloc(view->n ? view->n : 1);
        if (copy == NULL) {
            buffer->obj = NULL;
            PyErr_NoMemory();
            return -1;
        }
        data = memcpy(copy, data, view->n);
    }
    if (PyBuffer_FillInfo(buffer, self, data, (Py_ssize_t)view->n, 1, flags) < 0) {
        PyMem_Free(copy);
        return -1;
    }
    buffer->internal = copy;
    return 0;
}

static void bytes_releasebuffer(PyObject *self, Py_buffer *buffer)
{
    (void)self;
    PyMem_Free(buffer->internal);
}

/* ---- comparison, hash, repr ----------------------------------------------------------------- */

static PyObject *compare(const uint8_t *a, uint64_t a_size, const uint8_t *b, uint64_t b_size,
                         int op)
{
    if (a_size != b_size && (op == Py_EQ || op == Py_NE))
        return PyBool_FromLong(op == Py_NE);
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    if (order == 0)
        order = a_size < b_size ? -1 : a_size > b_size;
    Py_RETURN_RICHCOMPARE(order, 0, op);
}

/* Equal to whatever holds the same bytes and is bytes-like by type. A memoryview of other items
 * compares item by item, as two memoryviews do. */
static PyObject *bytes_richcompare(PyObject *self, PyObject *other, int op)
{
    ih_bytes_view *view = (ih_bytes_view *)self;
    if (Py_IS_TYPE(other, Py_TYPE(self))) {
        ih_bytes_view *b = (ih_bytes_view *)other;
        if (view->data == b->data && view->n == b->n)
            Py_RETURN_RICHCOMPARE(0, 0, op);
        return compare(view->data, view->n, b->data, b->n, op);
    }
    if (PyMemoryView_Check(other) && (op == Py_EQ || op == Py_NE)) {
        PyObject *mine = PyMemoryView_FromObject(self);
        PyObject *result = mine == NULL ? NULL : PyObject_RichCompare(mine, other, op);
        Py_XDECREF(mine);
        return result;
    }
    if (!PyBytes_Check(other) && !PyByteArray_Check(other) && !PyMemoryView_Check(other))
        Py_RETURN_NOTIMPLEMENTED;
    Py_buffer buffer;
    if (PyObject_GetBuffer(other, &buffer, PyBUF_SIMPLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError))
            return NULL;
        PyErr_Clear();
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *result = compare(view->data, view->n, buffer.buf, (uint64_t)buffer.len, op);
    PyBuffer_Release(&buffer);
    return result;
}

static Py_hash_t bytes_hash(PyObject *self)
{
    ih_bytes_view *view = (ih_bytes_view *)self;
#if PY_VERSION_HEX >= 0x030E0000
    return Py_HashBuffer(view->data, (Py_ssize_t)view->n);
#else
    if (view->n == 0)
        return 0;
    Py_hash_t hash = PyHash_GetFuncDef()->hash(view->data, (Py_ssize_t)view->n);
    return hash == -1 ? -2 : hash;
#endif
}

#define REPR_BYTES 60u

static PyObject *bytes_repr(PyObject *self)
{
    ih_bytes_view *view = (ih_bytes_view *)self;
    uint64_t shown = view->n < REPR_BYTES ? view->n : REPR_BYTES;
    PyObject *start = PyBytes_FromStringAndSize((const char *)view->data, (Py_ssize_t)shown);
    if (start == NULL)
        return NULL;
    PyObject *text = shown == view->n ? PyUnicode_FromFormat("FrozenBytes(%R)", start)
                                      : PyUnicode_FromFormat("FrozenBytes(%R... %zd bytes)", start,
                                                             (Py_ssize_t)view->n);
    Py_DECREF(start);
    return text;
}

/* ---- + * %: ordinary bytes ------------------------------------------------------------------ */

static PyObject *bytes_concat(PyObject *self, PyObject *other)
{
    PyObject *copy = ih_bytes_copy((ih_bytes_view *)self);
    PyObject *sum = copy == NULL ? NULL : PySequence_Concat(copy, other);
    Py_XDECREF(copy);
    return sum;
}

static PyObject *bytes_repeat(PyObject *self, Py_ssize_t count)
{
    PyObject *copy = ih_bytes_copy((ih_bytes_view *)self);
    PyObject *result = copy == NULL ? NULL : PySequence_Repeat(copy, count);
    Py_XDECREF(copy);
    return result;
}

/* Only `view % arguments`: on the other side of an operator a view is nothing to format with. */
static PyObject *bytes_remainder(PyObject *left, PyObject *right)
{
    PyNumberMethods *methods = Py_TYPE(left)->tp_as_number;
    if (methods == NULL || methods->nb_remainder != bytes_remainder)
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *copy = ih_bytes_copy((ih_bytes_view *)left);
    /* What has items and is not one of Python's own sequences is taken for a mapping. */
    right =
        Py_IS_TYPE(right, Py_TYPE(left)) ? ih_bytes_copy((ih_bytes_view *)right) : Py_NewRef(right);
    PyObject *result = copy == NULL || right == NULL ? NULL : PyNumber_Remainder(copy, right);
    Py_XDECREF(copy);
    Py_XDECREF(right);
    return result;
}

static const char *const mutators[] = {"append", "clear",  "copy",   "extend",  "insert",
                                       "pop",    "remove", "resize", "reverse", NULL};
static PyObject *bytes_getattro(PyObject *self, PyObject *name)
{
    return ih_view_getattro(self, name, mutators);
}

PyDoc_STRVAR(
    bytes_doc,
    "Frozen bytes (or a frozen bytearray), read in place from shared memory.\n\n"
    "It has the methods of bytes, equals the same bytes and hashes as they do (O(n)). Indexing\n"
    "is O(1), a slice without a step is a FrozenBytes over the same memory, and the read-only\n"
    "buffer (memoryview(view)) copies nothing. Searching reads in place; methods and operators\n"
    "that make bytes or text work on a private copy and return ordinary objects. bytes(view)\n"
    "copies.");

static PyGetSetDef getset[] = {
    {"handle", ih_view_handle, NULL, "The image's Handle where this view is its root, else None.",
     NULL},
    {NULL},
};
static PyType_Slot bytes_slots[] = {
    {Py_tp_doc, (void *)bytes_doc},
    {Py_tp_dealloc, ih_view_dealloc},
    {Py_tp_methods, ih_bytes_methods},
    {Py_tp_getset, getset},
    {Py_tp_getattro, bytes_getattro},
    {Py_tp_setattro, ih_view_setattro},
    {Py_tp_richcompare, bytes_richcompare},
    {Py_tp_hash, bytes_hash},
    {Py_tp_repr, bytes_repr},
    {Py_tp_iter, bytes_iter},
    {Py_mp_length, bytes_length},
    {Py_mp_subscript, bytes_subscript},
    {Py_mp_ass_subscript, bytes_ass_subscript},
    {Py_sq_length, bytes_length},
    {Py_sq_item, bytes_item},
    {Py_sq_contains, ih_bytes_contains},
    {Py_sq_concat, bytes_concat},
    {Py_sq_repeat, bytes_repeat},
    {Py_nb_remainder, bytes_remainder},
    {Py_bf_getbuffer, bytes_getbuffer},
    {Py_bf_releasebuffer, bytes_releasebuffer},
    {0, NULL},
};
static PyType_Spec bytes_spec = {
    .name = "icehouse.FrozenBytes",
    .basicsize = sizeof(ih_bytes_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = bytes_slots,
};

int ih_init_bytes(PyObject *module, ih_state *state)
{
    state->bytes_type = ih_add_type(module, &bytes_spec, NULL, true);
    if (state->bytes_type == NULL)
        return -1;
    return ih_register_abc(state->bytes_type, "Sequence");
}
