/* A connection to the daemon, and what came through it: the client's side of a daemon's store.
 * Private to the arena.
 *
 * Locks.   `call` serialises requests: one is in flight at a time. It is taken before the process's
 *          lock, never under it, and nothing waits for the daemon under the process's lock (H9).
 *          Fields say which lock guards them; what is written under both may be read under either.
 * Forks.   A child finds `call` in any state and makes it anew. Descriptors are noted under the
 *          process's lock in the same breath in which they come to be, so that a child closes
 *          exactly those that are none of its own.
 * Failure. A connection that broke is made again, and what was asked is asked again; a request says
 *          with `retried` that the first asking may have been heard.
 */
#ifndef ICEHOUSE_ARENA_REMOTE_H
#define ICEHOUSE_ARENA_REMOTE_H

#include "board.h"
#include "process.h"
#include "wire.h"

/* Descriptors on their way from a reply to whoever maps them. */
typedef struct ih_arrival {
    struct ih_arrival *next;
    int fds[IH_OS_FDS_MAX];
    unsigned count;
} ih_arrival;

/* Boards that were current once stay mapped with the store: a reader may be in the middle of one,
 * and each is at most half as long as the next. */
typedef struct ih_old_board {
    struct ih_old_board *next;
    ih_board *board;
} ih_old_board;

typedef struct ih_remote {
    char socket[108];
    pthread_mutex_t call;
    /* under `call` */
    uint64_t request;
    uint8_t *buffer; /* IH_FRAME_MAX bytes */
    uint64_t seen;   /* the highest id of a segment that was granted: read as a request is sent */
    bool down;       /* the last attempt to reach it failed: the next one does not wait long */
    bool reached;    /* the last attempt found somebody who listens */
    bool spins;      /* there are processors enough for waiting without sleep */
    uint32_t spin_misses, spin_rest; /* how often that was in vain, and is now left undone */
    /* written under `call` and the process's lock */
    int fd;
    ih_os_file_id file;
    uint64_t session, family_id, token[2], identity[2];
    uint32_t role;
    bool lost; /* the daemon has another store now, or nobody knows any more that we live */
    bool made; /* ih_store_connect() has handed it out: closed, it may be opened again */
    uint8_t *state;
    uint64_t state_bytes;
    ih_board *board; /* replaced atomically; read without a lock */
    ih_old_board *old_boards;
    /* under the process's lock */
    ih_session_page *page;
    uint64_t tail;   /* of the ring: entries taken */
    uint64_t *freed; /* locators of blocks whose dying bit the daemon has yet to clear: a ring */
    size_t freed_first, freed_count, freed_room;
    uint64_t freed_bytes; /* of these blocks, as far as their segments are there yet */
    ih_arrival *arrivals;
    ih_handle *drops; /* to be told: fleeting images whose last view went */
    size_t drop_count, drop_room;
    uint64_t *returns; /* to be told: segments that are not needed */
    size_t return_count, return_room;
    uint32_t granting; /* requests for a segment in flight */
} ih_remote;

/* ---- requests (remote.c) --------------------------------------------------------------------- */

typedef struct {
    uint16_t op;
    const char *what;
    struct {
        const void *bytes;
        size_t size;
    } part[3];
    /* the body of the reply goes here: `least` to `room` bytes; `got` says how many */
    void *reply;
    size_t least, room, got;
    ih_arrival *arrival;  /* NULL: descriptors are not expected, and closed */
    uint64_t patience_ns; /* 0: the usual */
    bool hasty;           /* a lost connection is tried once, and not waited for */
    bool retried;
} ih_request;

/* One round trip. Neither lock may be held. */
ih_result ih_remote_call(ih_store *store, ih_request *request, ih_error *error);
/* ---- the connection (remote_connect.c): under `call` ----------------------------------------- */

/* A connection that stands, perhaps made anew. */
ih_result ih_remote_ensure(ih_store *store, bool hasty, ih_error *error);
ih_result ih_remote_connect_once(ih_store *store, ih_error *error);
ih_result ih_remote_connect_first(ih_store *store, ih_error *error);
bool ih_remote_is_connected(const ih_remote *remote);
void ih_remote_disconnect(ih_store *store);
/* Under the process's lock. Closes the socket if it is still ours. */
void ih_remote_forget_socket(ih_remote *remote);
/* One frame there and one back, which is in the buffer then, checked but for its body. 0, or why
 * the connection is of no use any more; EPROTO: it sent nonsense. */
int ih_remote_exchange(ih_store *store, const ih_request *request, ih_arrival *arrival,
                       size_t *size);
/* The body of a reply that says no. */
ih_result ih_remote_refused(const ih_request *request, uint16_t result, const uint8_t *body,
                            size_t size, ih_error *error);
ih_result ih_remote_unavailable(const ih_remote *remote, ih_error *error, int code,
                                const char *what);

/* ---- what everybody uses --------------------------------------------------------------------- */

void ih_arrival_begin(ih_store *store, ih_arrival *arrival);
/* Closes what is left in it. */
void ih_arrival_end(ih_store *store, ih_arrival *arrival);
/* True where this thread must not wait for the daemon. */
bool ih_is_impatient(void);
/* Sends what waits to be told if nobody else is using the connection. No lock may be held. */
void ih_remote_flush(ih_store *store);
/* Gives back the segments that were noted with ih_remote_return(), unless the daemon is slow. No
 * lock may be held. */
void ih_remote_settle(ih_store *store);
/* Notes a fleeting image that nobody here looks at any more. Under the process's lock. */
void ih_remote_drop_image(ih_store *store, ih_handle handle);
/* Notes a segment that is not needed. Under the process's lock. */
void ih_remote_return(ih_store *store, uint64_t id);
/* Under the process's lock, at the end of a store, and in a forked child. */
/* On the session's page: whether an end of this process is none that counts as a death. */
void ih_remote_say_closed(ih_store *store, bool closed);
void ih_remote_close(ih_store *store);
void ih_remote_destroy(ih_store *store);
void ih_remote_fork_child(ih_store *store);

/* ---- segments (remote_segments.c, remote_put.c) ---------------------------------------------- */

/* Maps the segment of a handle: worth another try, or IH_GONE with the reason. `linked`: an image
 * that is leased here links to it, so it may be deleted. */
ih_result ih_remote_map(ih_store *store, ih_handle handle, bool linked, bool hasty,
                        ih_error *error);
/* A segment from a reply, mapped or, with `fill`, ready to be written. Takes its descriptor. */
ih_result ih_remote_adopt(ih_store *store, const ih_segment_reply *reply, ih_arrival *arrival,
                          bool fill, ih_segment **out, ih_error *error);
/* Under the lock: enters it. False: no memory, or the id is taken. */
bool ih_remote_admit(ih_store *store, ih_segment *segment);
/* Takes what the daemon has freed out of the ring, and frees the blocks whose bits are clear.
 * True if anything moved. Under the lock. */
bool ih_remote_drain(ih_store *store, unsigned steps);
/* Unmaps what is gone; with `all` whatever is not needed just now. Under the lock. */
bool ih_remote_sweep(ih_store *store, bool all);
/* The last lease of a segment went, or its last writer. Under the lock. */
void ih_remote_unused(ih_segment *segment);
/* Drops the segments of a closed store if nothing in it is leased. Under the lock. */
void ih_remote_abandon(ih_store *store);
/* The first lease came. Under the lock. */
void ih_remote_used(ih_segment *segment);

typedef struct {
    uint64_t size;
    uint32_t units; /* ordinary: of the block */
    unsigned flags; /* IH_PUT_* */
    bool dedicated;
} ih_wanted;
ih_result ih_remote_reserve(ih_store *store, const ih_wanted *want, ih_block *out, ih_error *error);
/* For metrics, on the session's page. Under the lock. */
void ih_remote_count_put(const ih_store *store, uint64_t bytes, unsigned size);
void ih_remote_count_open(const ih_store *store);
void ih_remote_count_full(const ih_store *store);

/* ---- names, looking (remote_names.c, remote_look.c) ------------------------------------------ */

ih_result ih_remote_bind(ih_store *store, const char *name, size_t length, const ih_handle *handle,
                         uint64_t expected, uint64_t *version, ih_error *error);
ih_result ih_remote_lookup(ih_store *store, const char *name, size_t length, ih_handle *handle,
                           uint64_t *version, ih_error *error);
ih_result ih_remote_names(ih_store *store, const char *prefix, size_t length, ih_name **out,
                          size_t *count, ih_error *error);
/* With a name (NULL: none) it may have that one, and must. */
ih_result ih_remote_delete(ih_store *store, ih_handle handle, bool force, const char *name,
                           size_t length, ih_error *error);
ih_result ih_remote_delete_some(ih_store *store, const ih_handle *handles, size_t count, bool force,
                                size_t *failed, ih_error *error);
ih_result ih_remote_wait(ih_store *store, const char *name, size_t length, uint64_t seen,
                         uint64_t timeout_ns, ih_handle *handle, uint64_t *version,
                         ih_error *error);
ih_result ih_remote_publish(ih_store *store, ih_handle handle, const ih_publication *publication,
                            uint64_t *version, ih_error *error);
ih_result ih_remote_stat(ih_store *store, ih_handle handle, ih_stat *out, ih_error *error);
ih_result ih_remote_list(ih_store *store, ih_stat **out, size_t *count, ih_error *error);
ih_result ih_remote_usage(ih_store *store, ih_usage *out, ih_error *error);
ih_result ih_remote_trim(ih_store *store, ih_error *error);
ih_result ih_remote_check(ih_store *store, char *message, size_t size);
ih_result ih_remote_explain(ih_store *store, ih_handle handle, char **text, ih_error *error);

/* Sees to it that a remote store is open. Takes the lock. */
ih_result ih_remote_ready(ih_store *store, const char *what, ih_error *error);

#endif
