/* What all interpreters of the process share: the one ih_process, the private store of freeze(),
 * the list of open and connected stores, the doors between interpreters.
 *
 * Purpose.   Interpreters keep their types apart, but an image that one of them freezes can be
 *            opened by all. The compiled module is loaded once however many interpreters import
 *            it, so this is the only mutable file-scope state of the module layer.
 * Threads.   Any thread, with or without the GIL; one mutex, under which no Python runs and no data
 *            is copied. Another one orders connecting and closing, which may wait for the daemon
 *            (without the GIL) and which no fork waits for. The order of locks is: that one, this
 *            one, the arena's.
 * Forks.     Handlers are registered once. In a child the private store is read-only, so the next
 *            freeze() makes another.
 * Failure.   ih_result and ih_error as in arena.h.
 */
#ifndef ICEHOUSE_MODULE_PROCESS_H
#define ICEHOUSE_MODULE_PROCESS_H

#include "arena/arena.h"

/* A store as the Store objects of all interpreters share it. Constant, but for `closed`, while a
 * reference is held. */
typedef struct ih_shared_store {
    ih_store *store;
    uint64_t token;    /* names it within this process; random, never 0 */
    uint64_t capacity; /* bytes; 0 where the daemon knows it */
    uint64_t references;
    uint64_t users; /* of a connected store: Store objects that are not closed */
    bool lingers;   /* connected, without users: its last Store object was dropped, not closed */
    int closed;     /* atomic: for everybody */
    char *socket;   /* of the daemon; NULL: embedded */
    struct ih_shared_store *next;
} ih_shared_store;

/* A token as text: the prefix and 16 hexadecimal digits. */
#define IH_TOKEN_PREFIX "ihs1_"
#define IH_TOKEN_TEXT 21

/* The process's arena, made at first use and never freed. */
ih_result ih_process_get(ih_process **out, ih_error *error);
/* Tells daemons that this process ends in order, until a store is opened again. Python does it when
 * it has ended all interpreters. */
void ih_leave(void);
/* The store of freeze(): ephemeral, of the default capacity, never closed. */
ih_result ih_private_store(ih_store **out, ih_error *error);

ih_result ih_shared_store_open(const ih_store_options *options, ih_shared_store **out,
                               ih_error *error);
/* The daemon's store behind a socket, one for all Store objects of the process; may take seconds.
 * Another reference, and another user. */
ih_result ih_shared_store_connect(const char *socket, ih_shared_store **out, ih_error *error);
/* The store with this token, another reference and user; NULL if none is open here. */
ih_shared_store *ih_shared_store_find(uint64_t token);
/* A Store object of a connected store goes without having been closed. True: it was the last one,
 * and its reference is kept, so that the connection stays for the views that it has given out, and
 * for the next connect(). */
bool ih_shared_store_linger(ih_shared_store *left);
/* How others find a store: its token, and a copy of the path of its daemon's socket (NULL: it is
 * embedded), which the caller frees. False: the store of freeze(), or one that is closed, or no
 * memory. */
bool ih_shared_store_whereabouts(const ih_store *store, uint64_t *token, char **socket);
/* Changes whenever the answer may: a store was opened or closed. */
uint64_t ih_shared_stores_version(void);
/* Closes the store for everybody; references stay valid. Idempotent. */
void ih_shared_store_close(ih_shared_store *shared);
/* One user less: of a connected store the last one closes it. An embedded one stays as it is. */
void ih_shared_store_leave(ih_shared_store *shared);
/* The last release closes the store; what is leased stays readable. */
void ih_shared_store_release(ih_shared_store *shared);

/* The doors (door.h). A forked child has none: the interpreters that they led to are gone. */
typedef struct {
    struct ih_door *first;
    uint64_t made; /* the number of the last one that was made */
} ih_doors;
/* Only who has locked them may follow or change them. No Python runs meanwhile. */
ih_doors *ih_doors_lock(void);
void ih_doors_unlock(void);

/* Whether this process was ever connected to a daemon: before that nothing waits for one. */
extern int ih_ever_connected; /* atomic */
/* Whether calls of this thread may wait for the daemon; true at first. Returns what it was. */
bool ih_patience_set(bool patient);
bool ih_patience(void);

/* The result of `call`, an expression of the arena that may have to ask the daemon. The GIL is kept
 * while it needn't, which is nearly always, and released while it waits. IH_AGAIN where this thread
 * has no patience. */
#define IH_MAY_WAIT(result, call)                                                          \
    do {                                                                                   \
        if (__builtin_expect(!__atomic_load_n(&ih_ever_connected, __ATOMIC_RELAXED), 1)) { \
            (result) = (call);                                                             \
            break;                                                                         \
        }                                                                                  \
        ih_set_patience(false);                                                            \
        (result) = (call);                                                                 \
        ih_set_patience(ih_patience());                                                    \
        if ((result) == IH_AGAIN && ih_patience()) {                                       \
            Py_BEGIN_ALLOW_THREADS(result)                                                 \
            = (call);                                                                      \
            Py_END_ALLOW_THREADS                                                           \
        }                                                                                  \
    } while (0)

#endif
