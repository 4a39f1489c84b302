/* The parts of thaw: see thaw.c. */
#ifndef ICEHOUSE_MODULE_THAW_H
#define ICEHOUSE_MODULE_THAW_H

#include "module/decode.h"

/* A container view: a walk over its nodes. */
PyObject *ih_thaw_container(const ih_state *state, PyObject *object);

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

#endif
