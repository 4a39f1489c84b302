/* Canonical hashes of Python objects: see keyhash.c. ih_key_hash() itself is declared in decode.h.
 */
#ifndef ICEHOUSE_MODULE_KEYHASH_H
#define ICEHOUSE_MODULE_KEYHASH_H

#include "module/state.h"

/* Of an exact str. 1, or -1 with an exception. */
int ih_hash_str(PyObject *key, uint32_t seed, uint64_t *hash);

#endif
