/* From Python objects to an image: see freezer.c. */
#ifndef ICEHOUSE_MODULE_FREEZER_H
#define ICEHOUSE_MODULE_FREEZER_H

#include "module/state.h"

/* Freezes `object` and whatever it reaches into one image of `store`. On success *handle is valid;
 * with `lease` not NULL the caller gets a lease too. `flags` are IH_PUT_*. Views inside (and as the
 * root) are copied by value; a root view that is a whole image is copied as bytes. -1 with
 * NotFreezableError (with the path), StoreFull, MemoryError ... */
int ih_freeze_into(ih_state *state, ih_store *store, unsigned flags, PyObject *object,
                   ih_handle *handle, ih_lease **lease);
/* The same of a tuple, of which the first `roots` items are what somebody asked to freeze: what is
 * asked about objects first (freeze_rule.h) is told so. */
int ih_freeze_roots(ih_state *state, ih_store *store, unsigned flags, PyObject *tuple,
                    Py_ssize_t roots, ih_handle *handle, ih_lease **lease);
/* The same into a bytes object, header included (state, nonce and check zero): tests, fuzzing
 * corpora, files. */
PyObject *ih_freeze_to_bytes(ih_state *state, PyObject *object);
/* What freezing into `store` (or NULL) would do with one view or buffer: True, it would be linked
 * to; False, copied; a str, refused for that reason. NULL with an exception. */
PyObject *ih_freeze_dry(ih_state *state, ih_store *store, PyObject *object);
/* Copies an image's bytes as they are into a store; without the GIL or with it. `header` NULL: the
 * image's own. `lease` may be NULL. */
ih_result ih_put_image(ih_store *store, unsigned flags, const uint8_t *bytes, uint64_t size,
                       const ih_image_header *header, ih_handle *handle, ih_lease **lease,
                       ih_error *error);
void ih_freezer_free(freezer *scratch);

#endif
