/* Telling `a += b` from `a + b`. */
#ifndef ICEHOUSE_MODULE_INPLACE_H
#define ICEHOUSE_MODULE_INPLACE_H

#include "module/state.h"

/* Whether the Python code that is running stands at a `+=`. False where that can't be told. */
bool ih_in_inplace_add(ih_state *state);

#endif
