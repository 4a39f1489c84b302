/* What all interpreters of the process share: the one ih_process, the private store of freeze(),
 * the list of open stores.
 *
 * Purpose.   Interpreters keep their types apart, but an image that one of them freezes can be
 * opened by all. The compiled module is loaded once however many interpreters import it, so this is
 * the only mutable file-scope state of the module layer. Threads.   Any thread, with or without the
 * GIL; one mutex, under which no Python runs and no data is copied. The order of locks is: this
 * mutex, then the arena's. Forks.     Handlers are registered once. In a child the private store is
 * read-only, so the next freeze() makes another. Failure.   ih_result and ih_error as in arena.h.
 */
#ifndef ICEHOUSE_MODULE_PROCESS_H
#define ICEHOUSE_MODULE_PROCESS_H

#include "arena/arena.h"

/* A store as the Store objects of all interpreters share it. Constant, but for `closed`, while a
 * reference is held. */
typedef struct ih_shared_store {
    ih_store *store;
    uint64_t token;    /* names it within this process; random, never 0 */
    uint64_t capacity; /* bytes */
    uint64_t references;
    int closed; /* atomic: for everybody */
    struct ih_shared_store *next;
} ih_shared_store;

/* The process's arena, made at first use and never freed. */
ih_result ih_process_get(ih_process **out, ih_error *error);
/* The store of freeze(): ephemeral, of the default capacity, never closed. */
ih_result ih_private_store(ih_store **out, ih_error *error);

ih_result ih_shared_store_open(const ih_store_options *options, ih_shared_store **out,
                               ih_error *error);
/* The store with this token, another reference; NULL if none is open here. */
ih_shared_store *ih_shared_store_find(uint64_t token);
/* Closes the store for everybody; references stay valid. Idempotent. */
void ih_shared_store_close(ih_shared_store *shared);
/* The last release closes the store; what is leased stays readable. */
void ih_shared_store_release(ih_shared_store *shared);

#endif
