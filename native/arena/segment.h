/* One segment as this process sees it: a memory file mapped twice, read-only for readers and
 * writable for the allocator.
 *
 * Lifecycle. create -> (write, map: a fresh dedicated one) -> ... -> destroy. The struct is
 * malloc'ed; its store holds it.
 * Threads.   The functions here take no lock and make system calls: call them without the process's
 *            lock, on a segment that no other thread can reach yet, or no more.
 * Failure.   Nothing is left behind; `error` says what was attempted.
 */
#ifndef ICEHOUSE_ARENA_SEGMENT_H
#define ICEHOUSE_ARENA_SEGMENT_H

#include "alloc.h"
#include "os/os.h"

/* How much memory the machine leaves us, read again when the budget is spent or old. Races are
 * harmless. */
typedef struct {
    ih_os_cgroup cgroup;
    uint64_t budget;   /* bytes that may be committed before the limits are read again */
    uint64_t until_ns; /* and until when */
} ih_room;

typedef struct ih_segment {
    ih_heap heap;
    ih_store *store;
    uint64_t bytes;
    int fd;             /* of a fresh dedicated segment until it is sealed, else -1 */
    uint64_t *dying;    /* ordinary: its own state map; dedicated: the word of its bit */
    uint32_t dying_bit; /* dedicated: the bit in that word */
    uint32_t leases;    /* images of it that this process leases */
    /* Of a daemon's store, else NULL: the first word of its range in the state map. The id while
     * images of it may be opened. `dying` then lies in the read-only map too. */
    const uint64_t *range;
    /* Of an embedded store: a read-only description of the file, for other processes; -1: none. */
    int reader;
    ih_os_file_id reader_file;
    int state_reader; /* visited and dedicated: the same of the page of its dying bit */
    ih_os_file_id state_file;
    bool counted;       /* its reader is, in the process's `readers` */
    bool visited;       /* another process's: the dying bits are mapped for it alone */
    uint64_t moved;     /* the second word, as it was when this was mapped */
    uint32_t writers;   /* blocks of it that are being filled */
    bool foreign;       /* produced under another uid */
    bool kernel_sealed; /* F_SEAL_WRITE */
    bool sealed;        /* dedicated: holds an image */
    bool registered;    /* found through its id */
    int bin;            /* ordinary: the list it is in; -1: none */
    uint64_t idle_ns;   /* ordinary and empty, or warm: since when; 0: in use */
    struct ih_segment *next, *previous; /* in a bin, in the warm list, in the graveyard */
    struct ih_segment *all_next, *all_previous;
} ih_segment;

/* IH_MEMORY if committing `bytes` would leave less than a reserve below the tightest limit. */
ih_result ih_room_take(ih_room *room, uint64_t bytes, ih_error *error);

/* An empty ordinary segment, committed and formatted; `bytes` a multiple of IH_PAGE. id and store
 * are the caller's. */
ih_result ih_segment_create(ih_room *room, uint64_t id, uint64_t bytes, ih_segment **out,
                            ih_error *error);
/* A file for one image; nothing is committed or mapped. Its dying bit is the caller's business. */
ih_result ih_segment_create_dedicated(uint64_t id, uint64_t bytes, ih_segment **out,
                                      ih_error *error);
/* Writes into a fresh dedicated segment. `offset` counts from the segment's start. `room` NULL:
 * the daemon has committed it. */
ih_result ih_segment_write(ih_segment *segment, ih_room *room, uint64_t offset, const void *source,
                           uint64_t size, ih_error *error);
/* A segment that the daemon made, not mapped yet. */
ih_segment *ih_segment_describe(uint64_t id, uint64_t bytes, uint32_t kind);
/* The read-only mapping, from a description of its own. */
int ih_segment_map_view(ih_segment *segment, int fd);
/* Finishes a fresh dedicated segment: header, mappings, seals; closes the descriptor. After
 * a failure it can only be destroyed. */
ih_result ih_segment_finish(ih_segment *segment, uint64_t nonce, uint64_t size, uint64_t created_ns,
                            bool seal, const uint8_t image[16], ih_error *error);
/* Unmaps and frees. The pages are given back first where we may write: a child that was forked
 * while the segment was mapped keeps its mapping. */
void ih_segment_destroy(ih_segment *segment);

/* Closes its readers, unless other files have the numbers now. */
void ih_segment_close_readers(ih_segment *segment);

/* Mappings that one segment of the kind takes. */
#define IH_MAPS_EACH 3u

/* ---- dying bits (H1) ------------------------------------------------------------------------- */

static inline uint64_t *ih_dying_word(const ih_segment *segment, uint32_t unit, uint64_t *mask)
{
    bool ordinary = segment->heap.kind == IH_ORDINARY;
    *mask = UINT64_C(1) << (ordinary ? unit % 64u : segment->dying_bit);
    return ordinary ? segment->dying + unit / 64u : segment->dying;
}

/* In a daemon's store also: its segment is no more what it was. The range of the state map may be
 * given to another segment at any time: only if it still is this one's afterwards was the bit its
 * own, and so the word comes second. */
static inline bool ih_is_dying(const ih_segment *segment, uint32_t unit)
{
    uint64_t mask;
    bool dying = false;
    if (segment->range == NULL || segment->heap.kind == IH_ORDINARY) {
        const uint64_t *word = ih_dying_word(segment, unit, &mask);
        dying = (__atomic_load_n(word, __ATOMIC_ACQUIRE) & mask) != 0;
    }
    if (segment->range != NULL &&
        __atomic_load_n(segment->range, __ATOMIC_ACQUIRE) != segment->heap.id)
        return true;
    return dying;
}

static inline void ih_set_dying(const ih_segment *segment, uint32_t unit)
{
    uint64_t mask;
    uint64_t *word = ih_dying_word(segment, unit, &mask);
    (void)__atomic_fetch_or(word, mask, __ATOMIC_SEQ_CST);
}

static inline void ih_clear_dying(const ih_segment *segment, uint32_t unit)
{
    uint64_t mask;
    uint64_t *word = ih_dying_word(segment, unit, &mask);
    (void)__atomic_fetch_and(word, ~mask, __ATOMIC_RELEASE);
}

/* Fills `error` (may be NULL) and returns `result`. */
static inline ih_result ih_fail(ih_error *error, ih_result result, int system_errno,
                                const char *what)
{
    if (error != NULL) {
        *error = (ih_error){.result = result, .system_errno = system_errno, .what = what};
    }
    return result;
}

#endif
