/* The buffers of packed FrozenLists and FrozenTuples (PEP 3118, read-only).
 *
 * In place where the bytes can be relied on, else a private copy: a consumer that uses numbers as
 * indices must not see them change (H4). */
#include "module/buffers.h"
#include "module/sequence.h"

/* What a buffer of ours points to, freed with it. */
typedef struct {
    Py_ssize_t shape, stride;
    uint8_t copy[];
} export;

static char *format_of(unsigned code)
{
    /* long rather than long long where both have 8 bytes: numpy's int64 is the former. */
    static const char formats[] = "b\0B\0h\0H\0i\0I\0q\0Q\0d\0?\0l\0L";
    unsigned place = code;
    if (sizeof(long) == 8 && (code == IH_I64 || code == IH_U64))
        place = code == IH_I64 ? IH_ELEMENTS : IH_ELEMENTS + 1;
    return (char *)(uintptr_t)&formats[2 * place]; /* Py_buffer wants no const */
}

static int refuse(Py_buffer *buffer, const char *message)
{
    buffer->obj = NULL;
    PyErr_SetString(PyExc_BufferError, message);
    return -1;
}

int ih_sequence_getbuffer(PyObject *self, Py_buffer *buffer, int flags)
{
    const ih_sequence *view = (const ih_sequence *)self;
    if (!ih_sequence_is_packed(view)) {
        /* What a list or a tuple that never had a buffer gives. */
        buffer->obj = NULL;
        PyErr_Format(PyExc_TypeError,
                     "a bytes-like object is required, not '%.100s': only one of numbers of one "
                     "kind, or of bools, is stored as a packed array, which has a buffer",
                     Py_TYPE(self)->tp_name);
        return -1;
    }
    if ((flags & PyBUF_WRITABLE) == PyBUF_WRITABLE)
        return refuse(buffer, "a frozen sequence has no writable buffer");
    bool copied = !ih_buffer_in_place(view->image);
    bool contiguous = view->step == 1 || view->n <= 1 || copied;
    bool wants_contiguous =
        (flags & PyBUF_STRIDES) != PyBUF_STRIDES ||
        (flags & (PyBUF_C_CONTIGUOUS | PyBUF_F_CONTIGUOUS | PyBUF_ANY_CONTIGUOUS) &
         ~PyBUF_STRIDES) != 0;
    if (!contiguous && wants_contiguous)
        return refuse(buffer, "a slice with a step has no contiguous buffer");
    uint32_t width = view->width;
    export *e = PyMem_Malloc(sizeof *e + (copied ? view->n * width : 0));
    if (e == NULL) {
        buffer->obj = NULL;
        PyErr_NoMemory();
        return -1;
    }
    e->shape = (Py_ssize_t)view->n;
    e->stride = contiguous ? (Py_ssize_t)width : (Py_ssize_t)view->step * (Py_ssize_t)width;
    for (uint64_t i = 0; copied && i < view->n; i++)
        memcpy(e->copy + i * width, view->data + (view->start + (int64_t)i * view->step) * width,
               width);
    buffer->buf = copied ? e->copy : (void *)(uintptr_t)(view->data + view->start * width);
    buffer->obj = Py_NewRef(self);
    buffer->len = (Py_ssize_t)(view->n * width);
    buffer->itemsize = (Py_ssize_t)width;
    buffer->readonly = 1;
    buffer->ndim = 1;
    buffer->format = (flags & PyBUF_FORMAT) ? format_of(view->code) : NULL;
    buffer->shape = (flags & PyBUF_ND) ? &e->shape : NULL;
    buffer->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &e->stride : NULL;
    buffer->suboffsets = NULL;
    buffer->internal = e;
    return 0;
}

void ih_sequence_releasebuffer(PyObject *self, Py_buffer *buffer)
{
    (void)self;
    PyMem_Free(buffer->internal);
}
