/* What to do with an ordinary segment whose writer died, perhaps in the middle of an operation.
 *
 * The chain is the truth and can be walked (alloc.c says why). The first walk only looks, and
 * refuses damage before a byte is changed. The second writes the chain anew: runs of blocks that
 * hold no image become one free block each, and prev_units, lists, bitmaps, counters and the start
 * map are built from it. Being killed during the second walk is harmless: merging changes the chain
 * by one store as ever, and all else is derived again next time.
 */
#include "alloc.h"

#include "hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static ih_result refuse(char *message, size_t size, uint32_t unit, const char *reason)
{
    if (message != NULL && size > 0)
        snprintf(message, size, "block at unit %" PRIu32 ": %s", unit, reason);
    return IH_CORRUPT;
}

/* A sealed header whose start bit is missing is fine: its writer died between the two stores of
 * unseal or seal only in states other than SEALED, so here the check decides alone, and the bit is
 * derived. */
static bool header_holds(const ih_heap *heap, uint32_t unit, const ih_header *block)
{
    return block->check == ih_siphash(heap->secret, ih_locator(heap->id, unit), block->u.nonce) &&
           block->size >= IH_HEADER_SIZE && block->size <= (uint64_t)block->units << IH_UNIT_SHIFT;
}

static ih_result look(const ih_heap *heap, char *message, size_t size)
{
    uint32_t unit = heap->first;
    while (unit < heap->end) {
        const ih_header *block = ih_heap_at(heap, unit);
        if (block->units == 0 || block->units > heap->end - unit)
            return refuse(message, size, unit, "its length leads out of the segment");
        if (block->state == IH_SEALED && !header_holds(heap, unit, block))
            return refuse(message, size, unit, "it is sealed but its header is not genuine");
        if (block->state > IH_SEALED)
            return refuse(message, size, unit, "its state is unknown");
        unit += block->units;
    }
    return IH_OK;
}

ih_result ih_heap_recover(ih_heap *heap, char *message, size_t size)
{
    if (heap->base == NULL || heap->kind != IH_ORDINARY)
        return IH_INVALID;
    ih_segment_header *state = ih_heap_header(heap);
    ih_result result = look(heap, message, size);
    if (result != IH_OK)
        return result;
    ih_heap_poison(heap, heap->first, heap->end - heap->first, false);
    uint64_t bytes = (uint64_t)heap->end << IH_UNIT_SHIFT;
    state->magic = IH_SEGMENT_MAGIC;
    state->version = IH_SEGMENT_VERSION;
    state->kind = heap->kind;
    state->id = heap->id;
    state->bytes = bytes;
    state->first_unit = heap->first;
    state->end_unit = heap->end;
    state->free_units = state->free_blocks = state->blocks = state->fl_bitmap = 0;
    memset(state->sl_bitmap, 0, sizeof state->sl_bitmap);
    memset(state->heads, 0, sizeof state->heads);
    memset(heap->base + IH_PAGE, 0, (size_t)ih_start_map_bytes(bytes));
    uint32_t before = 0;
    for (uint32_t unit = heap->first; unit < heap->end;) {
        ih_header *block = ih_heap_at(heap, unit);
        block->prev_units = before;
        if (block->state == IH_SEALED) {
            ih_heap_set_start(heap, unit, true);
        } else {
            uint32_t end = unit + block->units;
            while (end < heap->end && ih_heap_at(heap, end)->state != IH_SEALED)
                end += ih_heap_at(heap, end)->units;
            __atomic_store_n(&block->units, end - unit, __ATOMIC_RELEASE);
            __atomic_store_n(&block->state, (uint32_t)IH_FREE, __ATOMIC_RELEASE);
            block->flags = 0;
            ih_heap_link(heap, unit);
            ih_heap_poison(heap, unit + 1u, block->units - 1u, true);
        }
        state->blocks++;
        before = block->units;
        unit += before;
    }
    return IH_OK;
}
