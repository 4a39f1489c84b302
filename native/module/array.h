/* What the files of FrozenArray share. */
#ifndef ICEHOUSE_MODULE_ARRAY_H
#define ICEHOUSE_MODULE_ARRAY_H

#include "module/decode.h"

/* How an item becomes an object: stored in `width` of the view. */
typedef enum {
    IH_ITEM_RAW, /* bytes of the item: structures, sub-arrays, unusual sizes */
    IH_ITEM_SIGNED,
    IH_ITEM_UNSIGNED,
    IH_ITEM_FLOAT,
    IH_ITEM_COMPLEX,
    IH_ITEM_BOOL,
    IH_ITEM_BYTES,       /* c, s */
    IH_ITEM_TEXT,        /* w, u: UCS-4 */
    IH_ITEM_LONG_DOUBLE, /* g: only numpy can make objects of these */
} ih_item_form;

/* The kind of item that a format of the length `size` describes, -1 where it may not be exported:
 * no consumer of buffers may be told that the bytes are pointers, objects or functions. `*swapped`
 * is set for numbers of the other byte order. */
int ih_array_format(const char *format, size_t size, Py_ssize_t item_size, bool *swapped);

/* The item at `p`. New reference. */
PyObject *ih_array_scalar(const ih_array_view *view, const uint8_t *p);

/* A view of a part: `ndim`, `shape` and `strides` of a rectangle inside `view` that begins at
 * `data`. */
PyObject *ih_array_part(const ih_array_view *view, const uint8_t *data, int ndim,
                        const Py_ssize_t *shape, const Py_ssize_t *strides);

/* The same view of an array of structures, its format marked as not aligned ('^'). NULL without an
 * exception where it is none. */
PyObject *ih_array_unaligned(const ih_array_view *view);

/* array_index.c */
PyObject *ih_array_subscript(PyObject *self, PyObject *key);
PyObject *ih_array_item(PyObject *self, Py_ssize_t i); /* 0 <= i < n, at least one dimension */

/* array_buffer.c */
int ih_array_getbuffer(PyObject *self, Py_buffer *buffer, int flags);
void ih_array_releasebuffer(PyObject *self, Py_buffer *buffer);
bool ih_array_contiguous(const ih_array_view *view, char order);
void ih_array_copy_out(const ih_array_view *view, uint8_t *to); /* `bytes` bytes, in C order */

#endif
