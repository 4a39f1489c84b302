/* The buffer of FrozenArray (PEP 3118, read-only), and copies of its content.
 *
 * In place where the bytes can be relied on, else a private copy in C order (H4). */
#include "module/array.h"
#include "module/buffers.h"

bool ih_array_contiguous(const ih_array_view *view, char order)
{
    Py_ssize_t expected = view->item_size;
    if (view->bytes == 0)
        return true;
    for (int k = 0; k < view->ndim; k++) {
        int axis = order == 'C' ? view->ndim - 1 - k : k;
        if (view->shape[axis] != 1 && view->strides[axis] != expected)
            return false;
        expected *= view->shape[axis];
    }
    return true;
}

/* At most 64 dimensions deep. Returns where the next item goes. */
static uint8_t *copy_dimension(const ih_array_view *view, int axis, const uint8_t *from,
                               uint8_t *to)
{
    size_t size = (size_t)view->item_size;
    if (axis == view->ndim) {
        memcpy(to, from, size);
        return to + size;
    }
    for (Py_ssize_t i = 0; i < view->shape[axis]; i++, from += view->strides[axis]) {
        if (axis + 1 < view->ndim) {
            to = copy_dimension(view, axis + 1, from, to);
        } else {
            memcpy(to, from, size);
            to += size;
        }
    }
    return to;
}

void ih_array_copy_out(const ih_array_view *view, uint8_t *to)
{
    if (view->bytes == 0)
        return;
    if (ih_array_contiguous(view, 'C'))
        memcpy(to, view->data, (size_t)view->bytes);
    else
        copy_dimension(view, 0, view->data, to);
}

/* A private copy as a buffer points to it: the strides, then the content. */
static void *make_copy(const ih_array_view *view, Py_ssize_t **strides, void **content)
{
    size_t head = ((size_t)view->ndim * sizeof(Py_ssize_t) + 63) & ~(size_t)63;
    uint8_t *copy = PyMem_Malloc(head + (size_t)view->bytes + 1);
    if (copy == NULL)
        return PyErr_NoMemory();
    *strides = (Py_ssize_t *)(void *)copy;
    Py_ssize_t stride = view->item_size;
    for (int axis = view->ndim - 1; axis >= 0; axis--) {
        (*strides)[axis] = stride;
        if (view->bytes > 0)
            stride *= view->shape[axis];
    }
    *content = copy + head;
    ih_array_copy_out(view, copy + head);
    return copy;
}

static const char *refusal(const ih_array_view *view, int flags, bool copied)
{
    bool c = copied || ih_array_contiguous(view, 'C');
    bool f = copied ? view->ndim <= 1 || view->bytes == 0 : ih_array_contiguous(view, 'F');
    if ((flags & PyBUF_WRITABLE) == PyBUF_WRITABLE)
        return "FrozenArray has no writable buffer";
    if ((flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS && !c)
        return "the FrozenArray is not C-contiguous";
    if ((flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS && !f)
        return "the FrozenArray is not Fortran contiguous";
    if ((flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS && !c && !f)
        return "the FrozenArray is not contiguous";
    if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES && !c)
        return "the FrozenArray is not C-contiguous and strides were not asked for";
    return NULL;
}

int ih_array_getbuffer(PyObject *self, Py_buffer *buffer, int flags)
{
    ih_array_view *view = (ih_array_view *)self;
    bool copied = !ih_buffer_in_place(view->image);
    const char *reason = refusal(view, flags, copied);
    buffer->obj = NULL;
    if (reason != NULL) {
        PyErr_SetString(PyExc_BufferError, reason);
        return -1;
    }
    Py_ssize_t *strides = view->strides;
    buffer->internal = NULL;
    buffer->buf = (void *)(uintptr_t)view->data;
    if (copied && (buffer->internal = make_copy(view, &strides, &buffer->buf)) == NULL)
        return -1;
    buffer->obj = Py_NewRef(self);
    buffer->len = view->bytes;
    buffer->itemsize = view->item_size;
    buffer->readonly = 1;
    buffer->ndim = view->ndim;
    buffer->format = (flags & PyBUF_FORMAT) ? view->format : NULL;
    buffer->shape = (flags & PyBUF_ND) && view->ndim > 0 ? view->shape : NULL;
    buffer->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES && view->ndim > 0 ? strides : NULL;
    buffer->suboffsets = NULL;
    return 0;
}

void ih_array_releasebuffer(PyObject *self, Py_buffer *buffer)
{
    (void)self;
    PyMem_Free(buffer->internal);
}
