/* What the files of FrozenList and FrozenTuple share. */
#ifndef ICEHOUSE_MODULE_SEQUENCE_H
#define ICEHOUSE_MODULE_SEQUENCE_H

#include "module/decode.h"

static inline bool ih_sequence_is_packed(const ih_sequence *view)
{
    return view->kind == IH_LIST_PACKED || view->kind == IH_TUPLE_VIEW_PACKED;
}

/* Item i, 0 <= i < n, of the view (of the slice, where it is one). New reference. */
static inline PyObject *ih_sequence_item(const ih_sequence *view, uint64_t i)
{
    uint64_t element = (uint64_t)(view->start + (int64_t)i * view->step);
    if (view->kind == IH_LIST || view->kind == IH_TUPLE_VIEW) {
        uint32_t word = ih_load_word(view->data + 4 * element);
        if (ih_word_is_int(word))
            return PyLong_FromLong((long)ih_word_int(word));
        return ih_decode(view->image, word);
    }
    if (ih_sequence_is_packed(view))
        return ih_decode_element(view->data + element * view->width, view->code);
    return ih_decode_item(view, element);
}

static inline bool ih_sequence_is_list(const ih_sequence *view)
{
    return view->kind <= IH_LIST_STR;
}

/* An ordinary list or tuple of the items; nested containers stay views. O(n). */
PyObject *ih_sequence_to_list(const ih_sequence *view);
PyObject *ih_sequence_to_tuple(const ih_sequence *view);

/* Slots and methods defined in sequence_methods.c. */
int ih_sequence_contains(PyObject *self, PyObject *value);
PyObject *ih_sequence_add(PyObject *left, PyObject *right);
PyObject *ih_sequence_repeat(PyObject *self, Py_ssize_t count);
PyObject *ih_sequence_index(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_sequence_count(PyObject *self, PyObject *value);

/* bf_getbuffer and bf_releasebuffer, in sequence_buffer.c. */
int ih_sequence_getbuffer(PyObject *self, Py_buffer *buffer, int flags);
void ih_sequence_releasebuffer(PyObject *self, Py_buffer *buffer);

#endif
