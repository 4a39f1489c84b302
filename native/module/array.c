/* FrozenArray: an n-dimensional array read in place, without numpy.
 *
 * It exports its memory with format, shape and strides (array_buffer.c), indexes without copying
 * (array_index.c) and makes Python objects of single items (array_format.c). Shape, strides and
 * format are private copies, checked after they were copied: what the image says may change
 * afterwards. */
#include "module/array.h"

#include "module/array_numpy.h"
#include "module/iterator.h"
#include "module/view.h"

/* ---- making --------------------------------------------------------------------------------- */

/* A view with room for its dimensions and format in one piece of memory. */
static ih_array_view *allocate(ih_image_object *image, int ndim, const char *format, size_t size)
{
    ih_array_view *view = ih_new_object(image->state->array_type);
    if (view == NULL)
        return NULL;
    view->shape = PyMem_Malloc(2 * (size_t)ndim * sizeof(Py_ssize_t) + size + 1);
    if (view->shape == NULL) {
        ih_free_object((PyObject *)view);
        PyErr_NoMemory();
        return NULL;
    }
    view->image = (ih_image_object *)Py_NewRef((PyObject *)image);
    view->strides = view->shape + ndim;
    view->format = (char *)(view->strides + ndim);
    memcpy(view->format, format, size);
    view->format[size] = '\0';
    view->ndim = ndim;
    view->kind = IH_ARRAY;
    return view;
}

/* Bytes of the items and, where a dimension is empty, 0; -1 on overflow. */
static Py_ssize_t total_bytes(const ih_array_view *view)
{
    Py_ssize_t total = view->item_size;
    bool empty = false, overflow = false;
    for (int axis = 0; axis < view->ndim; axis++) {
        if (view->shape[axis] < 0)
            return -1;
        if (view->shape[axis] == 0)
            empty = true;
        else
            overflow |= __builtin_mul_overflow(total, view->shape[axis], &total);
    }
    return empty ? 0 : overflow ? -1 : total;
}

static void fill_strides(ih_array_view *view)
{
    Py_ssize_t stride = view->item_size;
    for (int k = 0; k < view->ndim; k++) {
        int axis = view->order == 'F' ? k : view->ndim - 1 - k;
        view->strides[axis] = stride;
        if (view->bytes > 0) /* of an empty array strides mean nothing, and could overflow */
            stride *= view->shape[axis];
    }
}

static PyObject *raise_damaged(ih_array_view *view, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(view->image->state, &fault);
    Py_DECREF(view);
    return NULL;
}

PyObject *ih_new_array(ih_image_object *image, uint64_t at, const ih_node *node)
{
    const uint8_t *base = image->image.base;
    size_t size = node->text_size;
    while (size > 0 && base[node->text + size - 1] == '\0')
        size--; /* padding that a writer counted in */
    ih_array_view *view = allocate(image, (int)node->n, (const char *)base + node->text, size);
    if (view == NULL)
        return NULL;
    memcpy(view->shape, base + node->shape_at, node->n * sizeof(Py_ssize_t));
    view->at = at;
    view->data = base + node->data;
    view->code = node->code;
    view->order = node->order;
    view->item_size = (Py_ssize_t)node->item_size;
    view->bytes = total_bytes(view);
    view->n = node->n > 0 ? (uint64_t)view->shape[0] : 0;
    if (view->bytes < 0 || (uint64_t)view->bytes > node->bytes)
        return raise_damaged(view, node->shape_at, "array shape larger than its data");
    bool swapped;
    int form = ih_array_format(view->format, size, view->item_size, &swapped);
    if (form < 0)
        return raise_damaged(view, node->text, "array format that is not plain data");
    view->width = (uint8_t)form;
    view->ascii = swapped;
    fill_strides(view);
    return (PyObject *)view;
}

PyObject *ih_array_part(const ih_array_view *view, const uint8_t *data, int ndim,
                        const Py_ssize_t *shape, const Py_ssize_t *strides)
{
    ih_array_view *part = allocate(view->image, ndim, view->format, strlen(view->format));
    if (part == NULL)
        return NULL;
    memcpy(part->shape, shape, (size_t)ndim * sizeof *shape);
    memcpy(part->strides, strides, (size_t)ndim * sizeof *strides);
    part->at = 0; /* a part is no node */
    part->data = data;
    part->code = view->code;
    part->width = view->width;
    part->ascii = view->ascii;
    part->order = view->order;
    part->item_size = view->item_size;
    part->n = ndim > 0 ? (uint64_t)shape[0] : 0;
    part->bytes = total_bytes(part); /* not more than the whole has */
    return (PyObject *)part;
}

PyObject *ih_array_unaligned(const ih_array_view *view)
{
    size_t size = strlen(view->format), dimensions = (size_t)view->ndim * sizeof *view->shape;
    if (strncmp(view->format, "T{", 2) != 0)
        return NULL;
    ih_array_view *same = allocate(view->image, view->ndim, view->format, size + 1);
    if (same == NULL)
        return NULL;
    same->format[0] = '^';
    memcpy(same->format + 1, view->format, size);
    memcpy(same->shape, view->shape, dimensions);
    memcpy(same->strides, view->strides, dimensions);
    same->at = view->at;
    same->data = view->data;
    same->code = view->code;
    same->width = view->width;
    same->ascii = view->ascii;
    same->order = view->order;
    same->item_size = view->item_size;
    same->n = view->n;
    same->bytes = view->bytes;
    return (PyObject *)same;
}

static void array_dealloc(PyObject *self)
{
    PyMem_Free(((ih_array_view *)self)->shape);
    ih_view_dealloc(self);
}

/* ---- the protocol --------------------------------------------------------------------------- */

static Py_ssize_t array_length(PyObject *self)
{
    ih_array_view *view = (ih_array_view *)self;
    if (view->ndim > 0)
        return (Py_ssize_t)view->n;
    PyErr_SetString(PyExc_TypeError, "len() of an array without dimensions");
    return -1;
}

static PyObject *array_item(PyObject *self, Py_ssize_t i)
{
    ih_array_view *view = (ih_array_view *)self;
    if (view->ndim > 0 && (uint64_t)i < view->n)
        return ih_array_item(self, i);
    PyErr_SetString(PyExc_IndexError, "FrozenArray index out of range");
    return NULL;
}

static PyObject *array_iter(PyObject *self)
{
    ih_array_view *view = (ih_array_view *)self;
    if (view->ndim > 0)
        return ih_iterate(self, view->n, ih_array_item, false);
    PyErr_SetString(PyExc_TypeError, "iteration over an array without dimensions");
    return NULL;
}

static int array_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    (void)key;
    ih_raise_frozen(((ih_view *)self)->image->state, Py_TYPE(self),
                    value == NULL ? "item deletion" : "item assignment");
    return -1;
}

/* Lists of empty rows take memory that nothing in the image accounts for. */
#define EMPTY_ROWS_MAX ((Py_ssize_t)1 << 20)

static int check_rows(const ih_array_view *view)
{
    Py_ssize_t rows = 1;
    for (int axis = 0; view->bytes == 0 && axis < view->ndim && view->shape[axis] > 0; axis++) {
        if (__builtin_mul_overflow(rows, view->shape[axis], &rows) || rows > EMPTY_ROWS_MAX) {
            PyErr_SetString(PyExc_ValueError, "an empty array of more than 2**20 rows as lists");
            return -1;
        }
    }
    return 0;
}

/* At most 64 dimensions deep. */
static PyObject *to_list(const ih_array_view *view, int axis, const uint8_t *p)
{
    if (axis == view->ndim)
        return ih_array_scalar(view, p);
    PyObject *list = PyList_New(view->shape[axis]);
    for (Py_ssize_t i = 0; list != NULL && i < view->shape[axis]; i++, p += view->strides[axis]) {
        PyObject *item = to_list(view, axis + 1, p);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, item);
    }
    return list;
}

static PyObject *array_tolist(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    ih_array_view *view = (ih_array_view *)self;
    return check_rows(view) < 0 ? NULL : to_list(view, 0, view->data);
}

static PyObject *array_tobytes(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    ih_array_view *view = (ih_array_view *)self;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, view->bytes);
    if (bytes != NULL)
        ih_array_copy_out(view, (uint8_t *)PyBytes_AS_STRING(bytes));
    return bytes;
}

#define REPR_ITEMS 16

static PyObject *array_repr(PyObject *self)
{
    ih_array_view *view = (ih_array_view *)self;
    bool few = view->bytes > 0 && view->bytes / view->item_size <= REPR_ITEMS &&
               view->item_size <= 16 && view->width != IH_ITEM_LONG_DOUBLE;
    PyObject *content = few ? array_tolist(self, NULL) : PyObject_GetAttrString(self, "shape");
    if (content == NULL)
        return NULL;
    PyObject *text = PyUnicode_FromFormat(few ? "FrozenArray(%R, format='%.100s')"
                                              : "FrozenArray(shape=%R, format='%.100s')",
                                          content, view->format);
    Py_DECREF(content);
    return text;
}

/* ---- equality ------------------------------------------------------------------------------- */

/* Whether memoryview compares items of this format by value. */
static bool is_struct_format(const ih_array_view *view)
{
    switch ((ih_item_form)view->width) {
    case IH_ITEM_SIGNED:
    case IH_ITEM_UNSIGNED:
    case IH_ITEM_FLOAT:
    case IH_ITEM_BOOL:
    case IH_ITEM_BYTES:
        return true;
    default:
        return false;
    }
}

/* At most 64 dimensions deep; both have the same shape. */
static int equal_items(const ih_array_view *a, const ih_array_view *b, int axis, const uint8_t *p,
                       const uint8_t *q)
{
    int equal = 1;
    if (axis == a->ndim) {
        PyObject *x = ih_array_scalar(a, p), *y = x == NULL ? NULL : ih_array_scalar(b, q);
        equal = y == NULL ? -1 : PyObject_RichCompareBool(x, y, Py_EQ);
        Py_XDECREF(x);
        Py_XDECREF(y);
        return equal;
    }
    for (Py_ssize_t i = 0; equal == 1 && i < a->shape[axis]; i++) {
        equal = equal_items(a, b, axis + 1, p, q);
        p += a->strides[axis];
        q += b->strides[axis];
    }
    return equal;
}

/* Text, as array.array has it, which memoryview does not know: equal where the bytes are. 1, 0; -1
 * with an exception. */
static int equal_text(const ih_array_view *text, PyObject *other)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(other, &buffer, PyBUF_CONTIG_RO | PyBUF_FORMAT) < 0) {
        PyErr_Clear(); /* it has gaps: no array has */
        return 0;
    }
    bool same = buffer.ndim == text->ndim && buffer.len == text->bytes && buffer.format != NULL &&
                strcmp(buffer.format, text->format) == 0;
    for (int axis = 0; same && axis < buffer.ndim; axis++)
        same = buffer.shape[axis] == text->shape[axis];
    PyObject *mine = same ? PyBytes_FromStringAndSize(NULL, text->bytes) : NULL;
    int equal = same && mine == NULL ? -1 : 0;
    if (mine != NULL) {
        ih_array_copy_out(text, (uint8_t *)PyBytes_AS_STRING(mine));
        equal = memcmp(PyBytes_AS_STRING(mine), buffer.buf, (size_t)text->bytes) == 0;
        Py_DECREF(mine);
    }
    PyBuffer_Release(&buffer);
    return equal;
}

static PyObject *compare_buffers(PyObject *self, PyObject *other, int op)
{
    PyObject *mine = PyMemoryView_FromObject(self);
    PyObject *theirs = mine == NULL ? NULL : PyMemoryView_FromObject(other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return result;
}

static PyObject *array_richcompare(PyObject *self, PyObject *other, int op)
{
    ih_array_view *a = (ih_array_view *)self, *b = (ih_array_view *)other;
    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    if (!Py_IS_TYPE(other, Py_TYPE(self))) {
        /* numpy compares item by item and gives an array: it is asked next. */
        if (!PyObject_CheckBuffer(other) || PyObject_HasAttrString(other, "__array_ufunc__"))
            Py_RETURN_NOTIMPLEMENTED;
        if (a->width != IH_ITEM_TEXT)
            return compare_buffers(self, other, op);
        int equal = equal_text(a, other);
        return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
    }
    int equal = a->ndim == b->ndim;
    for (int axis = 0; equal && axis < a->ndim; axis++)
        equal = a->shape[axis] == b->shape[axis];
    if (equal && a->bytes > 0) {
        if (is_struct_format(a) && is_struct_format(b))
            return compare_buffers(self, other, op);
        equal = equal_items(a, b, 0, a->data, b->data);
    }
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

/* ---- attributes ----------------------------------------------------------------------------- */

static PyObject *tuple_of(const Py_ssize_t *values, int n)
{
    PyObject *tuple = PyTuple_New(n);
    for (int i = 0; tuple != NULL && i < n; i++) {
        PyObject *value = PyLong_FromSsize_t(values[i]);
        if (value == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, value);
    }
    return tuple;
}

static PyObject *get_shape(PyObject *self, void *ignored)
{
    (void)ignored;
    return tuple_of(((ih_array_view *)self)->shape, ((ih_array_view *)self)->ndim);
}
static PyObject *get_strides(PyObject *self, void *ignored)
{
    (void)ignored;
    return tuple_of(((ih_array_view *)self)->strides, ((ih_array_view *)self)->ndim);
}
static PyObject *get_ndim(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromLong(((ih_array_view *)self)->ndim);
}
static PyObject *get_format(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyUnicode_FromString(((ih_array_view *)self)->format);
}
static PyObject *get_itemsize(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromSsize_t(((ih_array_view *)self)->item_size);
}
static PyObject *get_nbytes(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromSsize_t(((ih_array_view *)self)->bytes);
}
static PyObject *get_size(PyObject *self, void *ignored)
{
    (void)ignored;
    ih_array_view *view = (ih_array_view *)self;
    return PyLong_FromSsize_t(view->bytes / view->item_size);
}

static const char *const mutators[] = {"append", "byteswap", "extend",    "fill",     "fromlist",
                                       "insert", "itemset",  "partition", "pop",      "put",
                                       "remove", "resize",   "reverse",   "setflags", "setfield",
                                       "sort",   NULL};
static PyObject *array_getattro(PyObject *self, PyObject *name)
{
    return ih_view_getattro(self, name, mutators);
}

PyDoc_STRVAR(
    array_doc,
    "A frozen array, read in place from shared memory; needs no numpy.\n\n"
    "What was an ndarray comes back as a read-only ndarray where numpy loads, else as this; an\n"
    "array.array or memoryview always does. It exports a read-only buffer (PEP 3118), so\n"
    "numpy.asarray(view) and memoryview(view) copy nothing. Indices are ints, slices, Ellipsis\n"
    "and tuples of these: one item, or a FrozenArray over the same memory. Items of formats\n"
    "that are no number, bool, text or bytes are given as bytes. == compares shape and items\n"
    "and gives a bool; with an ndarray numpy compares. Not hashable.");

static PyMethodDef array_methods[] = {
    IH_VIEW_METHODS,
    {"tolist", array_tolist, METH_NOARGS, "tolist()\n--\n\nNested lists of the items. O(n)."},
    {"tobytes", array_tobytes, METH_NOARGS, "tobytes()\n--\n\nThe content in C order. O(n)."},
    {"__array__", (PyCFunction)(void (*)(void))ih_array_dunder, METH_VARARGS | METH_KEYWORDS,
     "__array__(dtype=None, copy=None)\n--\n\n"
     "A read-only ndarray over the same memory, or a converted copy. TypeError where numpy does\n"
     "not load."},
    {"__dlpack__", (PyCFunction)(void (*)(void))ih_array_dlpack, METH_VARARGS | METH_KEYWORDS,
     "__dlpack__(*, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
     "A DLPack capsule over the same memory, flagged as read-only: max_version=(1, 0) or later,\n"
     "and numpy 2.1. BufferError for consumers that know no such flag; TypeError where numpy does\n"
     "not load."},
    {"__dlpack_device__", ih_array_dlpack_device, METH_NOARGS,
     "__dlpack_device__()\n--\n\nThe CPU, as DLPack says it: (1, 0)."},
    {NULL},
};
static PyGetSetDef getset[] = {
    {"handle", ih_view_handle, NULL, "The image's Handle where this view is its root, else None.",
     NULL},
    {"shape", get_shape, NULL, "The length of each dimension.", NULL},
    {"strides", get_strides, NULL, "Bytes from one item to the next, by dimension.", NULL},
    {"ndim", get_ndim, NULL, "How many dimensions.", NULL},
    {"format", get_format, NULL, "The items' format, as PEP 3118 writes it.", NULL},
    {"itemsize", get_itemsize, NULL, "Bytes of one item.", NULL},
    {"nbytes", get_nbytes, NULL, "Bytes of all items.", NULL},
    {"size", get_size, NULL, "How many items.", NULL},
    {NULL},
};
static PyType_Slot array_slots[] = {
    {Py_tp_doc, (void *)array_doc},
    {Py_tp_dealloc, array_dealloc},
    {Py_tp_methods, array_methods},
    {Py_tp_getset, getset},
    {Py_tp_getattro, array_getattro},
    {Py_tp_setattro, ih_view_setattro},
    {Py_tp_richcompare, array_richcompare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_repr, array_repr},
    {Py_tp_iter, array_iter},
    {Py_mp_length, array_length},
    {Py_mp_subscript, ih_array_subscript},
    {Py_mp_ass_subscript, array_ass_subscript},
    {Py_sq_length, array_length},
    {Py_sq_item, array_item},
    {Py_bf_getbuffer, ih_array_getbuffer},
    {Py_bf_releasebuffer, ih_array_releasebuffer},
    {0, NULL},
};
static PyType_Spec array_spec = {
    .name = "icehouse.FrozenArray",
    .basicsize = sizeof(ih_array_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = array_slots,
};

int ih_init_array(PyObject *module, ih_state *state)
{
    state->array_type = ih_add_type(module, &array_spec, NULL, true);
    return state->array_type == NULL ? -1 : 0;
}
