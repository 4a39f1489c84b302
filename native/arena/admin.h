/* One ordinary segment by itself, without a store: for administration and tests, through cffi.
 *
 * Purpose.   Lets a tool look into the allocator of a segment, damage it on purpose, and see what
 *            check and recover say.
 * Lifecycle. create -> alloc, seal, free, poke, check, recover ... -> destroy.
 * Threads.   One at a time; the caller sees to it.
 * Failure.   Outputs are untouched. After a poke everything that trusts the allocator's state says
 *            IH_CORRUPT until ih_admin_recover() has accepted the segment.
 */
#ifndef ICEHOUSE_ARENA_ADMIN_H
#define ICEHOUSE_ARENA_ADMIN_H

#include "arena.h"

typedef struct ih_admin ih_admin;

typedef struct {
    uint32_t blocks, free_blocks, sealed, allocated;
    uint64_t bytes, free_bytes, largest_free, sealed_bytes;
    double fragmentation;
} ih_admin_stats;

typedef struct {
    uint64_t locator, nonce;
    uint64_t bytes; /* of the block */
    uint64_t size;  /* of the image; 0: none */
    uint32_t state; /* 0 free, 1 allocated, 2 sealed */
} ih_admin_block;

/* `bytes` is a multiple of 4,096, 64 KiB to 1 GiB; `id` is not 0 and has at most 40 bits. */
ih_result ih_admin_create(uint64_t id, uint64_t bytes, ih_admin **out, ih_error *error);
void ih_admin_destroy(ih_admin *admin);
/* The read-only mapping; valid until destroy. Free blocks may be looked at until the next call that
 * frees: debug builds poison them otherwise. */
const uint8_t *ih_admin_map(const ih_admin *admin, uint64_t *bytes);
/* IH_FULL: no block of that length is free. */
ih_result ih_admin_alloc(ih_admin *admin, uint64_t size, uint64_t *locator);
/* IH_GONE: no block in use begins there. */
ih_result ih_admin_free(ih_admin *admin, uint64_t locator);
ih_result ih_admin_seal(ih_admin *admin, uint64_t locator, uint64_t nonce, uint64_t size);
/* IH_OK if the handle names a sealed image of the segment. */
ih_result ih_admin_find(const ih_admin *admin, uint64_t locator, uint64_t nonce, uint64_t *size);
/* Writes any bytes anywhere. */
ih_result ih_admin_poke(ih_admin *admin, uint64_t offset, const uint8_t *source, uint64_t size);
ih_result ih_admin_check(const ih_admin *admin, char *message, size_t size);
ih_result ih_admin_recover(ih_admin *admin, char *message, size_t size);
ih_result ih_admin_stats_of(const ih_admin *admin, ih_admin_stats *out);
/* The blocks in the order of the chain; at most `room` of them are written, *count tells how many
 * there are. IH_CORRUPT where the chain leads out of the segment. */
ih_result ih_admin_blocks(const ih_admin *admin, ih_admin_block *out, size_t room, size_t *count);

#endif
