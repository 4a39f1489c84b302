/* The allocator inside one ordinary segment: two-level segregated fit over a chain of blocks.
 *
 * Purpose.   Places blocks of whole units (64 bytes) in O(1), merges neighbours on free, keeps its
 *            whole state in the segment as offsets.
 * Lifecycle. ih_heap_format() on fresh zeroed memory; alloc, seal, free; ih_heap_recover() after a
 * writer died.
 * Threads.   One writer at a time (the process's lock); readers look only at sealed headers.
 * Failure.   ih_heap_alloc() returns 0. Nothing else can fail on a heap that recover() or check()
 *            has accepted.
 *
 * An ih_heap is the private description of a mapped segment: bounds and secret are copied out of
 * shared memory once and never read from it again.
 */
#ifndef ICEHOUSE_ARENA_ALLOC_H
#define ICEHOUSE_ARENA_ALLOC_H

#include "arena.h"
#include "layout.h"

typedef struct {
    uint8_t *base;       /* writable mapping; NULL: this process only reads */
    const uint8_t *view; /* read-only mapping of the same pages */
    uint64_t id;
    uint64_t secret[2];
    uint32_t first, end; /* units */
    uint32_t kind;       /* IH_ORDINARY, IH_DEDICATED */
} ih_heap;

typedef struct {
    uint32_t blocks, free_blocks, sealed, allocated;
    uint32_t free_units, largest_free; /* units */
    uint64_t sealed_bytes;             /* of images, headers included */
} ih_heap_stats;

/* The first unit that a block may take in a segment of that kind and size. */
uint32_t ih_heap_first_unit(uint32_t kind, uint64_t bytes);
/* Writes header and one free block. `heap` is filled in but for its state; base points to `bytes`
 * zeroed bytes. */
void ih_heap_format(ih_heap *heap, uint64_t bytes, uint64_t created_ns);

/* The unit of a block of `units` units in state ALLOCATED; 0: none fits. */
uint32_t ih_heap_alloc(ih_heap *heap, uint32_t units);
/* Frees an ALLOCATED block (a sealed one goes through ih_heap_unseal first). */
void ih_heap_free(ih_heap *heap, uint32_t unit);
/* Fills the header and publishes it with a release store. */
void ih_heap_seal(ih_heap *heap, uint32_t unit, uint64_t nonce, uint64_t size, uint64_t created_ns,
                  uint32_t flags, const uint8_t image[16]);
/* SEALED -> ALLOCATED; no reader accepts the header any more. */
void ih_heap_unseal(ih_heap *heap, uint32_t unit);

/* Whether a sealed image begins at `unit`: state, start map, keyed check, size. `nonce` NULL: any.
 * Loads each field once; safe on hostile bytes and while the owner writes. On success *out is a
 * copy of the header. */
bool ih_heap_sealed(const ih_heap *heap, uint32_t unit, const uint64_t *nonce, ih_header *out);

/* Class of the longest free block's list: larger is longer; -1: nothing is free. For choosing among
 * segments. */
int ih_heap_rank(const ih_heap *heap);
/* The rank from which every segment surely fits `units`. */
int ih_heap_rank_needed(uint32_t units);
/* The longest free run in units: exact unless the last list has more than 64 blocks, then a
 * lower bound (3 %). */
uint32_t ih_heap_largest_free(const ih_heap *heap);

/* The next block of the chain: *unit is advanced, always. False at the end and where the chain is
 * broken. */
bool ih_heap_next(const ih_heap *heap, uint32_t *unit);

/* After the writer died: walks the chain, frees half-made blocks, keeps sealed ones, rebuilds all
 * that is derivable. IH_CORRUPT (and nothing written) where the chain or a sealed header is
 * damaged. */
ih_result ih_heap_recover(ih_heap *heap, char *message, size_t size);
/* Every invariant listed in check.c. IH_CORRUPT with the first violation in `message`. `stats` may
 * be NULL. */
ih_result ih_heap_check(const ih_heap *heap, ih_heap_stats *stats, char *message, size_t size);

/* ---- shared with recover.c and check.c ------------------------------------------------------- */

static inline ih_header *ih_heap_at(const ih_heap *heap, uint32_t unit)
{
    return (ih_header *)(void *)(heap->base + ((size_t)unit << IH_UNIT_SHIFT));
}

static inline const ih_header *ih_heap_view(const ih_heap *heap, uint32_t unit)
{
    return (const ih_header *)(const void *)(heap->view + ((size_t)unit << IH_UNIT_SHIFT));
}

static inline ih_segment_header *ih_heap_header(const ih_heap *heap)
{
    return (ih_segment_header *)(void *)heap->base;
}

/* List of free blocks of a length: first and second level. */
void ih_heap_class(uint32_t units, uint32_t *fl, uint32_t *sl);
/* Puts a FREE block into its list. */
void ih_heap_link(ih_heap *heap, uint32_t unit);
void ih_heap_set_start(ih_heap *heap, uint32_t unit, bool set);
bool ih_heap_start(const ih_heap *heap, uint32_t unit);
/* AddressSanitizer is blind inside our memory: what is free is poisoned by hand. No code without
 * it. */
void ih_heap_poison(const ih_heap *heap, uint32_t unit, uint32_t units, bool poison);

#endif
