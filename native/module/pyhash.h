/* Python's hashes of sets and tuples in images; see pyhash.c. */
#ifndef ICEHOUSE_MODULE_PYHASH_H
#define ICEHOUSE_MODULE_PYHASH_H

#include "module/state.h"

/* The hash of the set or tuple at `at`: hash(frozenset(x)), hash(tuple(x)). Each node is hashed
 * once, however often it is reached (H24). -1 with an exception. */
Py_hash_t ih_python_hash(ih_image_object *image, uint64_t at);

/* Remembers hashes of one image between calls. NULL with MemoryError. */
typedef struct ih_hasher ih_hasher;
ih_hasher *ih_hasher_new(ih_image_object *image);
Py_hash_t ih_hasher_hash(ih_hasher *hasher, uint64_t at);
const ih_image_object *ih_hasher_image(const ih_hasher *hasher);
void ih_hasher_free(ih_hasher *hasher); /* NULL is fine */

#endif
