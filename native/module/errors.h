/* Raising with a subject: what state.h declares and one thing more. */
#ifndef ICEHOUSE_MODULE_ERRORS_H
#define ICEHOUSE_MODULE_ERRORS_H

#include "module/state.h"

/* ih_raise_arena() whose message shows `subject` (a name, a handle; NULL: none) after what was
 * attempted. */
PyObject *ih_raise_about(ih_state *state, const ih_error *error, PyObject *subject);
/* The same about a store that is connected to `socket` (NULL: embedded, or not known). */
PyObject *ih_raise_at(ih_state *state, const ih_error *error, PyObject *subject,
                      const char *socket);
/* Conflict: a bind of `name` that expected another version than it found. Always returns NULL. */
PyObject *ih_raise_lost(ih_state *state, PyObject *name, uint64_t found, uint64_t expected);

#endif
