/* What Python decides about types and values: the functions of icehouse.store.freezing.hooks, and
 * whom an image is trusted with (store/freezing/trust.py).
 *
 * The module is imported when the first of them is needed, never by `import icehouse`. Everything
 * returned here is borrowed, unless it says so, and lives as long as the interpreter's state, or as
 * the image. */
#ifndef ICEHOUSE_MODULE_HOOKS_H
#define ICEHOUSE_MODULE_HOOKS_H

#include "module/state.h"

/* The module itself. NULL with an exception. */
PyObject *ih_hooks(ih_state *state);
/* What has a name in it, looked up each time. A new reference. */
PyObject *ih_hook(ih_state *state, const char *name);
/* A function of the module. NULL with an exception. */
PyObject *ih_hook_of(ih_state *state, ih_hook_id which);

/* The Trust that an image is read with: what its reader said in get(), else what its segment's
 * owner is good for. Borrowed from the image; NULL with an exception. */
PyObject *ih_image_trust(ih_image_object *image);
/* The Trust in images of this user. Borrowed; NULL with an exception. */
PyObject *ih_own_trust(ih_state *state);
/* That of an image without code (H21): for repr and previews. A new reference. */
PyObject *ih_trust_without_code(ih_image_object *image);
/* Sets what a reader said: `allow_classes` (an iterable of classes, or NULL) and trust in code.
 * Only before anything of the image was opened. 0 or -1. */
int ih_trust_give(ih_image_object *image, PyObject *allow_classes, bool code);
/* Sets all that a reader trusts the image with, whoever made it, and what its links lead to. Only
 * before anything of the image was opened. */
void ih_trust_bound(ih_image_object *image, PyObject *trust);
/* The image that `from` links to: the classes that the reader allows are allowed there too; all
 * else follows from its own segment (H10). 0 or -1. */
int ih_trust_inherit(ih_image_object *image, const ih_image_object *from);

/* Whether a Trust trusts code. 1, 0, -1. */
int ih_trust_has_code(PyObject *trust);

/* The store into which this thread is freezing, for getters; NULL: into none that has a name.
 * Returns what it was. */
const ih_store *ih_set_target(const ih_store *store);
/* Its name, as Trust.store has it, or None: a function of the module. */
PyObject *ih_target(PyObject *module, PyObject *unused);

void ih_hooks_clear(ih_state *state);

#endif
