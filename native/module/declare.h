/* Declarations among what is frozen: functions, classes and modules are not data. What becomes of
 * them is for Python to decide (hooks.freeze_declarations); here they are told from data. */
#ifndef ICEHOUSE_MODULE_DECLARE_H
#define ICEHOUSE_MODULE_DECLARE_H

#include "module/state.h"

/* Is one of these a function, a method, a class that may still change, a functools.partial, a
 * module, a staticmethod, classmethod or property? */
bool ih_any_declaration(const ih_state *state, PyObject *const *objects, Py_ssize_t n);
/* What hooks.freeze_declarations() makes of all of them: the first one, frozen. New reference. */
PyObject *ih_freeze_declarations(ih_state *state, PyObject *const *objects, Py_ssize_t n);
/* What is put where `object` is put: a function, a method or a partial is frozen first, everything
 * else is put as it is. New reference. */
PyObject *ih_put_instead(ih_state *state, PyObject *object);

#endif
