/* What one process keeps: its stores, their segments by id, its leases. Private to the arena.
 *
 * Threads. `lock` guards everything in these structs but for what segment.h says about segments
 *          nobody can reach. Segments to drop are put on the graveyard and unmapped by ih_unlock(),
 *          after the lock is released.
 */
#ifndef ICEHOUSE_ARENA_PROCESS_H
#define ICEHOUSE_ARENA_PROCESS_H

#include "lease.h"
#include "names.h"

#include <pthread.h>

#define IH_BINS (IH_FL_COUNT * IH_SL_COUNT)
#define IH_BIN_WORDS (IH_BINS / 64u)

/* A page of dying bits for dedicated segments, shared with children. */
typedef struct ih_bits {
    struct ih_bits *next;
    uint64_t *dying;
    uint64_t used[IH_PAGE / 8u];
    uint32_t count;
    int reader; /* a read-only description, for other processes; -1: none */
    ih_os_file_id reader_file;
} ih_bits;

struct ih_remote;

struct ih_process {
    pthread_mutex_t lock;
    ih_segment **segments; /* by id: open addressing, linear probing */
    size_t segments_mask, segments_count;
    ih_lease_map map;
    ih_family *families;
    ih_family *own; /* the family that this process is the owner of */
    ih_store *stores;
    ih_segment *graveyard;
    ih_bits *bits;
    ih_room room;
    uint64_t nonce_key[2];
    uint64_t nonce_count;    /* atomic */
    uint64_t maps, maps_max; /* mappings of segments */
    uint32_t changes;        /* grows with each bind; who waits for a name waits for this word */
    uint32_t waiters;        /* threads that do */
    ih_store *flush;         /* has something to tell the daemon once the lock is released */
    ih_activity activity;    /* under the lock; `fulls` is atomic */
    uint64_t readers, readers_max; /* segments that keep a description for other processes */
};

struct ih_store {
    ih_process *process;
    ih_store *next;
    ih_family *family;        /* NULL until the owner forks */
    struct ih_remote *remote; /* NULL: embedded */
    uint64_t references;      /* the callers', and one for each segment */
    uint64_t connections;     /* of these, those of ih_store_connect() */
    uint64_t capacity, segment_size;
    bool ephemeral, closed, inherited, dropped;
    bool closing; /* its segments are being walked: nothing is freed but where the walk is */
    uint64_t identity[2]; /* random: tells other processes this store from all others */
    uint64_t next_id;
    uint64_t first_bytes, next_bytes; /* of the next ordinary segment */
    uint64_t committed; /* bytes of all segments, those being made or unmapped included */
    uint64_t moving;    /* of these, bytes of segments being made or unmapped */
    uint64_t used;      /* bytes in blocks; dedicated: all but the first page */
    uint64_t warm, warm_count;
    uint64_t images, dying, dying_bytes, leases;
    uint64_t puts, opens, deletes;
    uint64_t segment_count;
    uint64_t idle_count;                /* empty ordinary segments */
    uint64_t sweep_ns;                  /* when to look for surplus again */
    ih_segment *all;                    /* every segment with an id, and the warm ones */
    ih_segment *warm_first, *warm_last; /* oldest first */
    ih_segment *bins[IH_BINS]; /* ordinary segments by the class of their longest free block */
    uint64_t bin_bitmap[IH_BIN_WORDS];
    ih_entry *queue; /* deleted images that nobody here holds, but perhaps a child */
    uint64_t queue_count, queue_bytes, queue_count_scan, queue_bytes_scan;
    ih_names names;
};

static inline void ih_lock(ih_process *process) { pthread_mutex_lock(&process->lock); }

/* Releases the lock and unmaps what is in the graveyard. */
void ih_unlock(ih_process *process);

/* Fills the figures of a store into an error. Under the lock. */
ih_result ih_store_fail(const ih_store *store, ih_error *error, ih_result result, const char *what,
                        uint64_t wanted);
/* What metrics count. Under the lock, but for full(). */
void ih_count_put(ih_store *store, uint64_t bytes);
void ih_count_open(ih_store *store);
void ih_count_full(ih_store *store);

/* One reference less; frees the struct with the last. Under the lock. */
void ih_store_release(ih_store *store);

/* ---- segments by id (process.c) -------------------------------------------------------------- */

ih_segment *ih_find_segment(const ih_process *process, uint64_t id);
bool ih_register_segment(ih_process *process, ih_segment *segment);
void ih_unregister_segment(ih_process *process, ih_segment *segment);
/* Makes room for one more, so that registering can't fail. */
bool ih_reserve_registration(ih_process *process);
uint64_t ih_new_id(ih_store *store);

/* ---- space (space.c) ------------------------------------------------------------------------- */

/* Puts an ordinary segment into the bin of its rank. After every allocation and free. */
void ih_space_rebin(ih_segment *segment);
void ih_space_unbin(ih_segment *segment);
/* A block in an existing ordinary segment; false: none fits. */
bool ih_space_place(ih_store *store, uint32_t units, ih_segment **segment, uint32_t *unit);
ih_segment *ih_space_take_warm(ih_store *store, uint64_t bytes);
void ih_space_put_warm(ih_segment *segment);
/* The list of warm ones; in a daemon's store, of dedicated ones that are kept mapped unleased. */
void ih_space_link_warm(ih_segment *segment);
void ih_space_unlink_warm(ih_segment *segment);
void ih_space_add(ih_store *store, ih_segment *segment);
/* Detaches a segment that holds nothing and buries it. */
void ih_space_drop(ih_segment *segment);
/* All segments of a closed store, in a child, that nothing is leased in. */
void ih_space_drop_unleased(ih_store *store);
/* Drops what is empty: all of it, or what has been idle for long. True if anything went. */
bool ih_space_shed(ih_store *store, bool all);
void ih_space_sweep(ih_store *store);
bool ih_take_dying_bit(ih_process *process, ih_segment *segment);
void ih_give_dying_bit(ih_process *process, ih_segment *segment);
/* Whether a forked process may hold what we don't know of. */
static inline bool ih_is_quiet(const ih_store *store)
{
    return store->family == NULL || store->family->quiet;
}

/* Whether an image may begin there: inside, and of a dedicated segment not before it is complete.
 */
static inline bool ih_may_hold(const ih_segment *segment, uint32_t unit)
{
    return segment != NULL && unit >= segment->heap.first && unit < segment->heap.end &&
           (segment->heap.kind == IH_ORDINARY || segment->sealed);
}

/* ---- names (naming.c) ------------------------------------------------------------------------ */

/* Names changed: who waits for one looks again. */
void ih_names_changed(ih_process *process);

/* ---- visits (visit.c, process.c) ------------------------------------------------------------- */

/* A segment enters the process: it keeps its reader if there are not too many. */
void ih_visit_count(ih_process *process, ih_segment *segment);
/* Every store that this process owns gets the one lease table of its own. */
bool ih_join_own_family(ih_process *process);

/* ---- lifetimes (lifetime.c) ------------------------------------------------------------------ */

/* A lease of a sealed image that this process does not lease yet; publishes nothing. NULL: no
 * memory. */
ih_entry *ih_lease_add(ih_segment *segment, uint32_t unit, const ih_header *header);
/* Marks an image of the owner as deleted; frees it at once if nobody can hold it. IH_MEMORY:
 * nothing was done. */
ih_result ih_image_condemn(ih_segment *segment, uint32_t unit, const ih_header *header);
/* Frees what is condemned and held by nobody. True if anything was freed. */
bool ih_reclaim(ih_store *store);
/* Sets the dying bit and counts it. */
void ih_entry_set_dying(ih_entry *entry);
/* For the next scan: dying, and held by nobody here. */
void ih_entry_enqueue(ih_entry *entry);
/* Not fleeting, or named. */
bool ih_is_wanted(const ih_entry *entry);
/* ih_publish() of a store that is no daemon's (links.c). */
ih_result ih_publish_embedded(ih_store *store, ih_handle handle, const ih_publication *publication,
                              uint64_t *version, ih_error *error);
/* Describes a block that was placed, and counts it. */
void ih_block_fill(ih_block *out, ih_segment *segment, uint32_t unit, uint64_t size, uint32_t units,
                   unsigned flags);
/* Gives back a block that never became an image, or is one no more. */
void ih_block_free(ih_segment *segment, uint32_t unit, uint32_t units);

static inline uint64_t ih_block_bytes(const ih_segment *segment, uint32_t units)
{
    return segment->heap.kind == IH_ORDINARY ? (uint64_t)units << IH_UNIT_SHIFT
                                             : segment->bytes - IH_PAGE;
}

#endif
