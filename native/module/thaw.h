/* The parts of thaw: see thaw.c. */
#ifndef ICEHOUSE_MODULE_THAW_H
#define ICEHOUSE_MODULE_THAW_H

#include "module/decode.h"

/* A container view: a walk over its nodes. `quietly`: no code of others runs meanwhile: signals
 * wait, and arrays stay views, since making them ndarrays is Python code. */
PyObject *ih_thaw_container(const ih_state *state, PyObject *object, bool quietly);

/* ih_thaw() for the freezer, with no code of others in between, as above. NULL without an exception
 * where the object holds others than views and plain values. */
PyObject *ih_thaw_quietly(ih_state *state, PyObject *object);

/* A writable private copy of an array: ndarray where numpy loads, array.array, or a memoryview over
 * a bytearray. The first takes a node, the second a FrozenArray, which may be a part of its node.
 */
PyObject *ih_thaw_array_node(ih_image_object *image, uint64_t at, const ih_node *node);
PyObject *ih_thaw_array_view(ih_state *state, PyObject *view);

/* A list or tuple of all elements of a packed node or text run, or of a slice of it: element start
 * + i * step. */
typedef struct {
    uint64_t n;
    int64_t start, step;
} ih_selection;
PyObject *ih_thaw_elements(ih_image_object *image, const ih_node *node, ih_selection which,
                           bool as_tuple);

/* thaw_real.c. A real instance whose class is of form TUPLE or MADE in images: another of thawed
 * parts; itself where no part changes, or it is of another form. New reference. */
typedef PyObject *(*ih_thaw_part)(ih_state *, PyObject *, void *);
PyObject *ih_thaw_real(ih_state *state, PyObject *object, ih_thaw_part thaw, void *arg);

#endif
