/* Open images: what views of all types need beside state.h. */
#ifndef ICEHOUSE_MODULE_IMAGE_OBJECT_H
#define ICEHOUSE_MODULE_IMAGE_OBJECT_H

#include "module/state.h"

/* A number for caches that names content as no other does. */
uint64_t ih_fresh_identity(ih_state *state);

/* An opened image, without its root; takes over the lease. NULL with an exception (the lease is
 * released). */
ih_image_object *ih_image_of_lease(ih_state *state, ih_lease *lease);
/* The image of a handle, likewise. */
ih_image_object *ih_image_of_handle(ih_state *state, ih_handle handle);

/* `view` is one that decode.h's ih_is_view() accepts. */

/* The view as a sequence if it is one's slice, else NULL; any object. */
const ih_sequence *ih_as_slice(const ih_state *state, PyObject *view);
/* True for the view of a whole image: of its root node, and not a slice of it. */
bool ih_view_is_root(PyObject *view);
/* The same node of the same image, and the same part of it. */
bool ih_view_same(PyObject *a, PyObject *b);

/* Where a view lies, for another interpreter of this process: (Handle, word), or None for one that
 * has no such place (a slice, a view of a buffer). And back; any word is safe, as for words of
 * images. New references. */
PyObject *ih_view_locate(PyObject *view);
PyObject *ih_view_reopen(ih_state *state, ih_handle handle, uint32_t word);

#endif
