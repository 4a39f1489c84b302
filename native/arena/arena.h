/* The arena: where sealed images live, and who may still be reading them.
 *
 * Purpose.   An embedded store is a set of segments (memfd), each with an allocator of its own
 *            whose whole state lies in the segment as offsets; a state map of dying bits (H1); and
 *            a lease table, in which forked children publish what they read (hazard pointers). One
 *            `ih_process` holds all stores of the process, for all interpreters.
 * Lifecycle. ih_process_create() once; ih_store_open() ... ih_store_close(). A closed store refuses
 *            new work; its memory goes when its last lease goes. Nothing here is freed under a
 *            reader.
 * Threads.   Every function may be called from any thread without the GIL. `ih_process.lock` guards
 *            the process's tables; it is never held across a copy of user data, and nothing under
 *            it calls Python.
 * Forks.     The owner of the process calls the three ih_process_fork_* functions from
 *            pthread_atfork(). A child reads what was mapped before the fork under leases of its
 *            own (H9); it can't put (IH_FORKED), its writable mappings are gone (MADV_DONTFORK,
 *            H8).
 * Failure.   Functions return an ih_result; on failure outputs are untouched, nothing is leaked,
 *            and `*error` (may be NULL) says what was attempted, with the figures. The caller owns
 *            whatever an IH_OK handed out.
 */
#ifndef ICEHOUSE_ARENA_ARENA_H
#define ICEHOUSE_ARENA_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IH_UNIT 64u /* every block starts at a multiple of this, and is a multiple of it long */
#define IH_HEADER_SIZE 64u /* in front of every image; the block's own header is part of it */
#define IH_NAME_MAX 512u   /* bytes of UTF-8 in a name */

typedef enum {
    IH_OK = 0,
    IH_FULL,        /* the store's capacity is reached */
    IH_MEMORY,      /* the machine's, the cgroup's or malloc's memory is short */
    IH_SYSTEM,      /* a system call failed: error->system_errno */
    IH_GONE,        /* the handle names nothing that lives (any more) */
    IH_UNKNOWN,     /* no such name */
    IH_CONFLICT,    /* compare-and-swap lost, a delete while names are bound, a restless name */
    IH_CORRUPT,     /* bytes that another process wrote are not what they must be */
    IH_INVALID,     /* the caller's argument */
    IH_CLOSED,      /* the store was closed */
    IH_FORKED,      /* this process inherited the store by fork and may only read */
    IH_UNAVAILABLE, /* the daemon can't be reached, or is not the one that the store was connected
                       to */
    IH_DENIED,      /* the role that the daemon gave this user does not allow it */
    IH_PROTOCOL,    /* the other side of a connection sent what it must not */
    IH_AGAIN,       /* it would take a round trip, and the caller wants none: ih_set_patience() */
} ih_result;

typedef struct {
    ih_result result;
    int system_errno;
    const char *what;      /* static text: what was attempted, "commit a segment" */
    uint64_t wanted;       /* bytes asked for */
    uint64_t capacity;     /* of the store */
    uint64_t used;         /* bytes of the store in blocks */
    uint64_t committed;    /* bytes of the store in segments */
    uint64_t largest_free; /* the longest free run in its segments */
    uint64_t limit;        /* of the cgroup or machine, where that was the obstacle */
    uint64_t version;      /* IH_CONFLICT of a bind: the version found */
    uint64_t waiting;      /* bytes freed that a producer has not given back; the daemon's store */
    uint32_t waiting_pid;  /* of the producer that holds most of them */
    uint32_t why;          /* IH_GONE: IH_WHY_* of wire.h */
    uint32_t tries;        /* IH_CONFLICT of an open by name: how often it was bound anew */
    char detail[200];      /* what the daemon said, or the socket that was tried; may be empty */
} ih_error;

/* ---- handles --------------------------------------------------------------------------------- */

/* 16 bytes, little-endian. locator = segment id << 24 | offset in units; ids are never reused
 * (H12). The locator is the one atomic word that lease tables hold. `nonce` is random and repeated
 * in the image's header. */
typedef struct {
    uint64_t locator;
    uint64_t nonce;
} ih_handle;

/* ---- the process ----------------------------------------------------------------------------- */

typedef struct ih_process ih_process; /* one a process; opaque */
typedef struct ih_store ih_store;     /* opaque */

ih_result ih_process_create(ih_process **out, ih_error *error);
/* Frees everything, leased or not: for tests that look for leaks. Nothing of the process may be in
 * use. */
void ih_process_destroy(ih_process *process);
void ih_process_fork_prepare(ih_process *process);
void ih_process_fork_parent(ih_process *process);
void ih_process_fork_child(ih_process *process);
/* Tells daemons that this process ends in order, so that they count no death; not if another thread
 * is at work just now. O(stores). All stores can be used as before. */
void ih_process_leave(ih_process *process);

/* What this process did in all its stores since it began (a forked child: since the fork), but for
 * what freeze() keeps to itself; and what it holds now. */
typedef struct {
    uint64_t puts, put_bytes, opens, maps, fulls;
    uint64_t put_sizes[16]; /* by size, as ih_session_page of wire.h has them */
    uint64_t leases;        /* images that are leased, those of freeze() too */
    uint64_t segments;      /* that are mapped */
} ih_activity;
void ih_process_activity(ih_process *process, ih_activity *out);

/* ---- leases ---------------------------------------------------------------------------------- */

/* This process's claim on one image: one for all views and interpreters, counted. Fields are
 * constant while it stands. */
typedef struct ih_lease {
    const uint8_t *image; /* the header, in a read-only mapping; 64-byte aligned */
    uint64_t size;        /* bytes of the image, header included; inside the mapping (checked) */
    ih_handle handle;
    ih_store *store;
    bool fleeting; /* the image goes with the last lease of this process; ih_lease_set_fleeting() */
    bool trusted; /* produced under this process's uid (H4, H20): known from the segment, never from
                     its bytes */
    bool sealed;  /* F_SEAL_WRITE, seen when it was mapped: nobody can write it any more */
} ih_lease;

/* Opens the image of any store of this process. O(1), no system call. IH_GONE, IH_CLOSED. */
ih_result ih_open(ih_process *process, ih_handle handle, ih_lease **out, ih_error *error);
/* The same, but a daemon that can't be reached at once counts for nothing: what it may have is
 * gone. */
ih_result ih_open_reachable(ih_process *process, ih_handle handle, ih_lease **out, ih_error *error);
/* The same, asked of one store: where it says that the image is gone, a daemon of another store
 * that can't be reached is not in the way of saying so. */
ih_result ih_open_in(ih_store *store, ih_handle handle, ih_lease **out, ih_error *error);
/* The same of an image that one which the caller leases links to: it opens even where it was
 * deleted or its store closed, since the link keeps it (H15). */
ih_result ih_open_linked(ih_store *store, ih_handle handle, ih_lease **out, ih_error *error);
void ih_lease_retain(ih_lease *lease);
/* Whether the image goes with its last lease unless a name is bound to it: so at first in an
 * ephemeral store, in others not. In a forked child it means nothing: the parent decides. */
void ih_lease_set_fleeting(ih_lease *lease, bool fleeting);
/* The last release of an image that was deleted, or that is ephemeral, frees its memory. */
void ih_lease_release(ih_lease *lease);

/* ---- stores ---------------------------------------------------------------------------------- */

typedef struct {
    uint64_t capacity;     /* bytes of committed segments at most; 0: ih_default_capacity() */
    uint64_t segment_size; /* of a full-grown ordinary segment, a power of two; 0: 64 MiB, less in a
                              small store */
    bool ephemeral;        /* images go with their last lease (results of freeze()) */
} ih_store_options;

/* Half of the cgroup's memory limit, or of the machine's memory where no limit is set. */
uint64_t ih_default_capacity(void);

ih_result ih_store_open(ih_process *process, const ih_store_options *options, ih_store **out,
                        ih_error *error);
/* Refuses new work, forgets names, frees what nobody leases. Idempotent. The struct lives on until
 * ih_store_drop(). */
void ih_store_close(ih_store *store);
/* Gives up the caller's reference (close first, or this does); leases hold references of their own.
 */
void ih_store_drop(ih_store *store);

/* ---- the daemon's store ---------------------------------------------------------------------- */

/* Connects this process to the daemon behind a Unix socket; a second call for the same socket gives
 * the same store, with one more reference. Every other function of a store works on it too; those
 * that need the daemon (a fresh segment, an unmapped one, delete, bind, ...) send a message and
 * wait for the reply, without the process's lock. A lost connection is made again, and the session
 * resumed; a forked child makes one of its own at its first need. IH_UNAVAILABLE, IH_DENIED,
 * IH_PROTOCOL.
 * A store that was closed, or whose daemon turned out to be another one, is not given again. Every
 * reference has an ih_store_drop() of its own, and only the last of them closes. */
ih_result ih_store_connect(ih_process *process, const char *socket, ih_store **out,
                           ih_error *error);
bool ih_store_is_remote(const ih_store *store);

typedef struct {
    uint64_t identity[2]; /* of the store: equal in all its clients */
    uint64_t session;     /* 0: none at the moment */
    uint32_t role;        /* IH_ROLE_* of wire.h */
    bool connected;
    char socket[108];
} ih_remote_info;
/* IH_INVALID for an embedded store. */
ih_result ih_store_remote_info(ih_store *store, ih_remote_info *out);

/* With false, calls of this thread that would need a round trip return IH_AGAIN and change nothing.
 */
void ih_set_patience(bool patient);

typedef struct {
    uint64_t ttl_ns; /* with IH_PUBLISH_TTL */
    uint32_t flags;  /* IH_PUBLISH_* of wire.h */
    uint32_t links;
    const ih_handle *linked; /* the images that this one links to */
    const char *name;        /* NULL: none */
    size_t length;
} ih_publication;
/* Tells the daemon what it must know of an image that was sealed: one round trip. In an embedded
 * store only links, name and IH_PUBLISH_KEEP are understood, the rest is IH_INVALID. `version` may
 * be NULL. */
ih_result ih_publish(ih_store *store, ih_handle handle, const ih_publication *publication,
                     uint64_t *version, ih_error *error);

/* Why the image is alive or how it went, in sentences, one a line; malloc'ed, NUL-terminated. */
ih_result ih_store_explain(ih_store *store, ih_handle handle, char **text, ih_error *error);

/* Waits until the name's version is not `seen`, or `timeout_ns` passes (UINT64_MAX: never). IH_OK:
 * *handle (zeros: not bound) and *version are what it has now. IH_AGAIN: the time passed. IH_SYSTEM
 * with EINTR: a signal came. No lock is held meanwhile. */
ih_result ih_store_wait(ih_store *store, const char *name, size_t length, uint64_t seen,
                        uint64_t timeout_ns, ih_handle *handle, uint64_t *version, ih_error *error);

/* ---- putting --------------------------------------------------------------------------------- */

/* In a segment of its own under F_SEAL_WRITE: nobody at all can write it afterwards. */
#define IH_PUT_SEAL 1u
/* In a segment of its own, which the daemon may drop when memory is short. The daemon's store only.
 */
#define IH_PUT_EVICTABLE 2u

/* A block being written. Between reserve and seal/abandon it belongs to one thread. */
typedef struct {
    ih_store *store;
    uint8_t *memory; /* writable address of the header where the pages are warm (mapped and filled
                        before), else NULL */
    uint64_t size;   /* bytes asked for, header included */
    uint64_t locator;
    void *segment; /* private */
    uint32_t flags;
} ih_block;

/* size includes the 64-byte header. O(1) but for a fresh segment. */
ih_result ih_reserve(ih_store *store, uint64_t size, unsigned flags, ih_block *out,
                     ih_error *error);
/* Copies into the block: memcpy where it is warm, pwrite where it is fresh. offset >=
 * IH_HEADER_SIZE. Bytes never written are zero only in fresh memory: the encoder writes every byte
 * of the image. */
ih_result ih_block_write(ih_block *block, uint64_t offset, const void *source, uint64_t size,
                         ih_error *error);
/* Writes the header and publishes with a release store; the handle is valid from here on.
 * `image_header` are the 16 bytes that belong to the image format. `lease` may be NULL; else the
 * caller gets a lease with it. After a failure the block is still the caller's, who abandons it. */
ih_result ih_block_seal(ih_block *block, const uint8_t image_header[16], ih_handle *out,
                        ih_lease **lease, ih_error *error);
/* Gives the block back. Does nothing to a block that was sealed or abandoned. */
void ih_block_abandon(ih_block *block);

/* Writing an image in place, by whoever made it: build.c.
 *
 * A block that was reserved with IH_PUT_SEAL is mapped writable as long as it is filled. Before it
 * is sealed the mapping becomes one of private copies of the same pages: who still writes there
 * then writes into his own memory, and F_SEAL_WRITE finds nobody. The mapping stays until
 * ih_building_end(). */
typedef struct {
    uint8_t *memory; /* of the image: its header */
    uint8_t *start;  /* the mapping, private */
    uint64_t mapped;
    bool shared; /* writes still reach the image */
    uint32_t pid;
} ih_building;

/* Commits the memory (H13) and maps it; new memory is zeros. Offsets from IH_HEADER_SIZE up to the
 * block's size may be written. A forked child has no such mapping (H8). */
ih_result ih_block_map(ih_block *block, ih_building *out, ih_error *error);
/* To be called before ih_block_seal(). */
ih_result ih_block_unshare(ih_block *block, ih_building *building, ih_error *error);
/* Abandons the block; what was mapped reads as zeros from now on. */
void ih_block_discard(ih_block *block, ih_building *building);
/* Unmaps. */
void ih_building_end(ih_building *building);

/* Private copies of a part of a leased image, made page by page when they are written: `*memory` is
 * its first byte. IH_INVALID where the file is not at hand: then it is to be copied. The lease must
 * stand as long as the mapping, which munmap ends (ih_building_end). */
ih_result ih_lease_map_copies(const ih_lease *lease, uint64_t offset, uint64_t size,
                              ih_building *out, ih_error *error);

/* Refuses with IH_CONFLICT while names are bound to it, unless `force` (which unbinds them). New
 * opens fail from here on; the memory stays for leases. */
ih_result ih_delete(ih_store *store, ih_handle handle, bool force, ih_error *error);
/* The image that a name is bound to, with the name, in one step. IH_CONFLICT, and nothing changes:
 * it has other names and `force` is not given, or the name was bound otherwise meanwhile.
 * IH_UNKNOWN: it is not bound. */
ih_result ih_delete_named(ih_store *store, const char *name, size_t length, bool force,
                          ih_error *error);
/* The same for each of several images, with a message for a few hundred of them. Those after one
 * that is refused are deleted all the same; told is the first refusal, and *failed says whose.
 * Where the daemon can't be asked it ends there. */
ih_result ih_delete_some(ih_store *store, const ih_handle *handles, size_t count, bool force,
                         size_t *failed, ih_error *error);

/* ---- names ----------------------------------------------------------------------------------- */

#define IH_ANY_VERSION UINT64_MAX

/* Binds (handle) or unbinds (NULL). Compare-and-swap on `expected`, the version found by a lookup:
 * 0 means "must not be bound", IH_ANY_VERSION always succeeds. Versions grow by one with each bind
 * and survive an unbind (a name that was unbound for long may skip some). A compare finds 0 where
 * the name is unbound; error->version says what it found. */
ih_result ih_bind(ih_store *store, const char *name, size_t length, const ih_handle *handle,
                  uint64_t expected, uint64_t *version, ih_error *error);
ih_result ih_lookup(ih_store *store, const char *name, size_t length, ih_handle *handle,
                    uint64_t *version, ih_error *error);
/* lookup and open as one step; a handle that is gone is looked up again before IH_GONE (H11).
 * IH_CONFLICT: others have bound the name anew IH_NAME_TRIES times meanwhile. */
#define IH_NAME_TRIES 4096u
ih_result ih_open_name(ih_store *store, const char *name, size_t length, ih_lease **out,
                       ih_error *error);
/* The same, and the version that was opened (`version` may be NULL). */
ih_result ih_open_name_at(ih_store *store, const char *name, size_t length, ih_lease **out,
                          uint64_t *version, ih_error *error);

/* Cells: names that the library alone binds, for what is changed inside frozen images. They begin
 * with what no name of a user may begin with, no list shows them, and the image that one loses is
 * deleted, whoever holds it, by whom it was put and whoever dies in between. */
#define IH_CELL_PREFIX "ih1_cell_"
#define IH_CELL_DIGITS 32u /* in hexadecimal, behind the prefix */
#define IH_CELL_NAME (sizeof IH_CELL_PREFIX - 1u + IH_CELL_DIGITS)
bool ih_is_cell(const char *name, size_t length);

/* ---- looking --------------------------------------------------------------------------------- */

typedef struct {
    ih_handle handle;
    uint64_t size;       /* of the image */
    uint64_t block;      /* bytes it takes in its segment */
    uint64_t created_ns; /* since the epoch */
    uint32_t leases;     /* processes that hold it */
    uint32_t names;
    uint32_t links;  /* images that it links to */
    uint32_t linked; /* images that link to it */
    bool dying, dedicated, sealed_by_kernel;
    uint8_t image_header[16];
    /* What the daemon knows besides: zeros in an embedded store. */
    uint64_t expires_ns; /* since the epoch; 0: never */
    uint32_t pid;        /* of its producer */
    bool pinned, evictable, spilled, orphan;
} ih_stat;

ih_result ih_store_stat(ih_store *store, ih_handle handle, ih_stat *out, ih_error *error);
/* A snapshot, malloc'ed; the caller frees it. O(blocks). */
ih_result ih_store_list(ih_store *store, ih_stat **out, size_t *count, ih_error *error);

typedef struct {
    char *name; /* UTF-8, NUL-terminated too; inside the one malloc'ed array */
    size_t length;
    ih_handle handle;
    uint64_t version;
} ih_name;
ih_result ih_store_names(ih_store *store, const char *prefix, size_t length, ih_name **out,
                         size_t *count, ih_error *error);

typedef struct {
    uint64_t capacity, committed, used, free, largest_free,
        warm; /* bytes; warm: recycled segments kept mapped */
    uint64_t images, dying, dying_bytes, leases, names, segments;
    uint64_t puts, opens, deletes; /* since the store was opened, by this process */
    double fragmentation;          /* 1 - largest_free / free; 0 where nothing is free */
} ih_usage;
/* The owner's alone: IH_FORKED in a child, as with trim. */
ih_result ih_store_usage(ih_store *store, ih_usage *out, ih_error *error);
/* Frees what is deleted and no longer leased, gives warm segments back to the system. */
ih_result ih_store_trim(ih_store *store, ih_error *error);
/* Every invariant of every segment, table and count; IH_CORRUPT with the first violation in
 * `message`. */
ih_result ih_store_check(ih_store *store, char *message, size_t size);

#endif
