/* Freezing bytes and buffers: short ones into the graph, long ones behind it, copied once from
 * their owner. */
#include "module/array.h"
#include "module/array_numpy.h"
#include "module/freezer_state.h"

int freeze_add_blob(freezer *f, uint64_t field, Py_buffer *buffer)
{
    if (f->blob_count == f->blob_capacity) {
        size_t capacity = f->blob_capacity * 2 + 8;
        blob *grown = realloc(f->blobs, capacity * sizeof(blob));
        if (grown == NULL) {
            PyBuffer_Release(buffer);
            return freeze_failed(IH_WRITE_MEMORY);
        }
        f->blobs = grown;
        f->blob_capacity = capacity;
    }
    f->blobs[f->blob_count++] = (blob){field, *buffer};
    return 0;
}

/* A node of inline bytes, or of a blob; takes over the buffer. */
static int freeze_run_of_bytes(freezer *f, PyObject *object, Py_buffer *buffer, ih_kind inlined,
                               ih_kind outside, uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t n = (uint64_t)buffer->len, at = 0;
    bool small = n <= IH_INLINE_BYTES_MAX;
    int result = ih_begin_node(w, small ? inlined : outside, small ? n : 0, small ? n : 16, &at);
    if (result < 0) {
        PyBuffer_Release(buffer);
        return freeze_failed(result);
    }
    *word = ih_word_at(at);
    if (small) {
        memcpy(w->bytes + w->size, buffer->buf, n);
        w->size += n;
        ih_pad4(w);
        PyBuffer_Release(buffer);
    } else {
        ih_store64(w->bytes + w->size + 8, n);
        w->size += 16;
        if (freeze_add_blob(f, w->size - 16, buffer) < 0)
            return -1;
    }
    return memo_add(f, object, *word);
}

int freeze_bytes(freezer *f, PyObject *bytes, uint32_t *word)
{
    Py_buffer buffer;
    if (PyBytes_GET_SIZE(bytes) == 0) {
        *word = IH_EMPTY_BYTES;
        return 0;
    }
    *word = memo_find(f, bytes);
    if (*word != 0)
        return 0;
    if (PyObject_GetBuffer(bytes, &buffer, PyBUF_SIMPLE) < 0)
        return -1;
    return freeze_run_of_bytes(f, bytes, &buffer, IH_BYTES, IH_BYTES_BLOB, word);
}

int freeze_bytearray(freezer *f, PyObject *bytearray, uint32_t *word)
{
    Py_buffer buffer;
    *word = memo_find(f, bytearray);
    if (*word != 0)
        return 0;
    if (PyObject_GetBuffer(bytearray, &buffer, PyBUF_SIMPLE) < 0)
        return -1;
    return freeze_run_of_bytes(f, bytearray, &buffer, IH_BYTEARRAY, IH_BYTEARRAY_BLOB, word);
}

/* ---- arrays --------------------------------------------------------------------------------- */

/* Replaces a buffer that is contiguous in neither order by one over a copy in C order. */
static int make_contiguous(Py_buffer *buffer, PyObject **copy)
{
    *copy = PyBytes_FromStringAndSize(NULL, buffer->len);
    if (*copy == NULL ||
        PyBuffer_ToContiguous(PyBytes_AS_STRING(*copy), buffer, buffer->len, 'C') < 0) {
        Py_CLEAR(*copy);
        return -1;
    }
    return 0;
}

/* Writes the record up to the format; *field: where the data's offset goes. */
static int write_record(freezer *f, const Py_buffer *buffer, int origin, char order, uint64_t *at,
                        uint64_t *field)
{
    ih_writer *w = &f->writer;
    const char *format = buffer->format != NULL ? buffer->format : "B";
    uint64_t ndim = (uint64_t)buffer->ndim, length = strlen(format);
    int result = ih_begin_node(w, IH_ARRAY, ndim, IH_ARRAY_RECORD + 8 * ndim + length + 4, at);
    if (result < 0)
        return freeze_failed(result);
    uint8_t *p = w->bytes + w->size;
    ih_store32(p, (uint32_t)origin | (uint32_t)(uint8_t)order << 8 | (uint32_t)length << 16);
    ih_store32(p + 4, (uint32_t)buffer->itemsize);
    *field = w->size + 8;
    ih_store64(p + 16, (uint64_t)buffer->len);
    for (uint64_t i = 0; i < ndim; i++)
        ih_store64(p + IH_ARRAY_RECORD + 8 * i, (uint64_t)buffer->shape[i]);
    memcpy(p + IH_ARRAY_RECORD + 8 * ndim, format, length);
    w->size += IH_ARRAY_RECORD + 8 * ndim + length;
    ih_pad4(w);
    return 0;
}

/* Small data goes into the graph, aligned for any item. */
static int write_inline(freezer *f, const Py_buffer *buffer, const void *data, uint64_t field)
{
    ih_writer *w = &f->writer;
    uint64_t n = (uint64_t)buffer->len;
    int result = ih_room(w, n + 80);
    if (result < 0)
        return freeze_failed(result);
    uint64_t alignment = n >= 256 ? 64 : 16, start = (w->size + alignment - 1) & ~(alignment - 1);
    memset(w->bytes + w->size, 0, start - w->size);
    memcpy(w->bytes + start, data, n);
    ih_store64(w->bytes + field, start);
    w->size = start + n;
    ih_pad4(w);
    return 0;
}

/* Whether numpy would make the same dtype of the buffer's format: it does not of those with titles
 * or without fields. 1, 0 or -1. To find out runs Python code. */
static int is_described(freezer *f, PyObject *array)
{
    if (!f->careful)
        return freeze_again(f, NULL);
    PyObject *memory = PyMemoryView_FromObject(array);
    PyObject *asarray = memory == NULL ? NULL : ih_numpy_asarray(f->state);
    PyObject *again = asarray == NULL ? NULL : freeze_call(f, asarray, memory);
    if (again == NULL && f->offender != NULL && ih_clear_ordinary_exception())
        Py_CLEAR(f->offender);
    PyObject *dtype = again == NULL ? NULL : PyObject_GetAttrString(array, "dtype");
    PyObject *other = dtype == NULL ? NULL : PyObject_GetAttrString(again, "dtype");
    int same = other == NULL ? 0 : PyObject_RichCompareBool(dtype, other, Py_EQ);
    Py_XDECREF(memory);
    Py_XDECREF(asarray);
    Py_XDECREF(again);
    Py_XDECREF(dtype);
    Py_XDECREF(other);
    return PyErr_Occurred() ? -1 : same;
}

static int check_array(freezer *f, PyObject *exporter, const Py_buffer *buffer, int origin)
{
    const char *format = buffer->format != NULL ? buffer->format : "B";
    size_t length = strlen(format);
    bool swapped;
    if (length > 0 && format[length - 1] == 'O')
        return freeze_refuse(f, exporter, "its items are Python objects; use a list");
    int form = buffer->itemsize > 0 ? ih_array_format(format, length, buffer->itemsize, &swapped)
                                    : IH_ITEM_BYTES;
    if (form < 0) /* nor would it be read */
        return freeze_refuse(f, exporter,
                             "its items hold Python objects or pointers, which mean nothing in "
                             "another process, or have an unknown format");
    if (buffer->ndim > (int)IH_ARRAY_DIMENSIONS_MAX || buffer->itemsize <= 0 ||
        buffer->itemsize > INT32_MAX || length > UINT16_MAX)
        return freeze_refuse(f, exporter,
                             "its items or dimensions are too many or too large for one array");
    if (form == IH_ITEM_RAW && origin == IH_ORIGIN_NDARRAY &&
        Py_TYPE(exporter) != f->state->array_type) {
        int described = is_described(f, exporter);
        return described == 0 ? freeze_refuse(f, exporter, "its dtype has no PEP 3118 format")
                              : (described < 0 ? -1 : 0);
    }
    return 0;
}

static int freeze_filled(freezer *f, PyObject *exporter, Py_buffer *buffer, int origin,
                         uint32_t *word)
{
    char order = 'C';
    PyObject *copy = NULL;
    uint64_t at = 0, field = 0;
    if (!PyBuffer_IsContiguous(buffer, 'C')) {
        if (PyBuffer_IsContiguous(buffer, 'F'))
            order = 'F';
        else if (make_contiguous(buffer, &copy) < 0)
            goto failed;
    }
    if (write_record(f, buffer, origin, order, &at, &field) < 0)
        goto failed;
    *word = ih_word_at(at);
    if ((uint64_t)buffer->len < IH_ARRAY_BLOB_MIN) {
        int result =
            write_inline(f, buffer, copy != NULL ? PyBytes_AS_STRING(copy) : buffer->buf, field);
        PyBuffer_Release(buffer);
        Py_XDECREF(copy);
        return result < 0 ? -1 : memo_add(f, exporter, *word);
    }
    if (copy != NULL) {
        PyBuffer_Release(buffer);
        int result = PyObject_GetBuffer(copy, buffer, PyBUF_SIMPLE);
        Py_DECREF(copy); /* the buffer holds it */
        if (result < 0)
            return -1;
    }
    if (freeze_add_blob(f, field, buffer) < 0)
        return -1;
    return memo_add(f, exporter, *word);
failed:
    Py_XDECREF(copy);
    PyBuffer_Release(buffer);
    return -1;
}

static int get_array(freezer *f, PyObject *exporter, Py_buffer *buffer, int origin)
{
    if (PyObject_GetBuffer(exporter, buffer, PyBUF_FULL_RO) < 0) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError))
            return -1;
        PyErr_Clear();
        return freeze_refuse(
            f, exporter,
            "it does not export a buffer (its dtype has no PEP 3118 format, or it was released)");
    }
    int result = check_array(f, exporter, buffer, origin);
    if (result < 0)
        PyBuffer_Release(buffer);
    return result;
}

int freeze_buffer(freezer *f, PyObject *exporter, int origin, uint32_t *word)
{
    Py_buffer buffer;
    *word = memo_find(f, exporter);
    if (*word != 0)
        return 0;
    if (get_array(f, exporter, &buffer, origin) < 0)
        return -1;
    return freeze_filled(f, exporter, &buffer, origin, word);
}

int freeze_check_buffer(freezer *f, PyObject *exporter, int origin)
{
    Py_buffer buffer;
    if (get_array(f, exporter, &buffer, origin) < 0)
        return -1;
    PyBuffer_Release(&buffer);
    return 0;
}

/* A FrozenArray's buffer is its own code. */
int freeze_array_view(freezer *f, PyObject *view, uint32_t *word)
{
    const ih_array_view *array = (const ih_array_view *)view;
    bool was_array = array->code == IH_ORIGIN_ARRAY && array->ndim == 1;
    int origin = was_array                          ? IH_ORIGIN_ARRAY
                 : array->code == IH_ORIGIN_NDARRAY ? IH_ORIGIN_NDARRAY
                                                    : IH_ORIGIN_MEMORYVIEW;
    return freeze_buffer(f, view, origin, word);
}
