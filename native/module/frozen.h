/* What is frozen: is_frozen() and same(). */
#ifndef ICEHOUSE_MODULE_FROZEN_H
#define ICEHOUSE_MODULE_FROZEN_H

#include "module/state.h"

/* 1: a view, an immutable plain value, or a tuple, frozenset or slice of such; 0: not; -1:
 * exception (memory). Looks at each container once, however often it is reached, and never
 * recurses. O(number of items) for containers. */
int ih_is_frozen(ih_state *state, PyObject *object);

#endif
