/* The invariants of one segment.
 *
 *  1. The segment's header says what its owner knows: kind, id, size, bounds.
 *  2. The chain of blocks leads from the first unit exactly to the end.
 *  3. prev_units of each block is the length of the block before it, 0 for the first.
 *  4. A state is FREE, ALLOCATED or SEALED; two FREE blocks are never neighbours.
 *  5. A sealed block has a genuine header whose size fits the block; the start map has exactly the
 *     bits of sealed blocks.
 *  6. Each FREE block is in the list of its class, once; nothing else is in a list; links are
 *     symmetric.
 *  7. A bitmap's bit is set exactly where a list is not empty.
 *  8. The counters agree with the chain.
 *
 * Every value is hostile here: nothing is used as an offset before it is compared with the private
 * bounds, and no loop is longer than the number of units.
 */
#include "alloc.h"

#include "hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const ih_heap *heap;
    const ih_segment_header *state;
    ih_heap_stats stats;
    uint64_t *free_map; /* a bit for each unit where a free block begins */
    char *message;
    size_t size;
} checking;

/* Once, so that what was compared is what is used. */
static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

static bool fail(const checking *c, uint32_t unit, const char *reason)
{
    if (c->message != NULL && c->size > 0)
        snprintf(c->message, c->size, "segment %" PRIx64 ", unit %" PRIu32 ": %s", c->heap->id,
                 unit, reason);
    return false;
}

static bool check_header(const checking *c)
{
    const ih_segment_header *s = c->state;
    const ih_heap *h = c->heap;
    if (s->magic != IH_SEGMENT_MAGIC || s->version != IH_SEGMENT_VERSION || s->kind != h->kind ||
        s->id != h->id)
        return fail(c, 0, "the segment's header is not genuine");
    if (s->first_unit != h->first || s->end_unit != h->end ||
        s->bytes != (uint64_t)h->end << IH_UNIT_SHIFT)
        return fail(c, 0, "the segment's bounds are wrong");
    return true;
}

static bool check_sealed(checking *c, uint32_t unit, const ih_header *block)
{
    const ih_heap *h = c->heap;
    if (block->check != ih_siphash(h->secret, ih_locator(h->id, unit), block->u.nonce))
        return fail(c, unit, "a sealed header is not genuine");
    if (block->size < IH_HEADER_SIZE || block->size > (uint64_t)block->units << IH_UNIT_SHIFT)
        return fail(c, unit, "an image does not fit its block");
    c->stats.sealed++;
    c->stats.sealed_bytes += block->size;
    return true;
}

static bool check_chain(checking *c)
{
    const ih_heap *h = c->heap;
    uint32_t before = 0;
    bool was_free = false;
    for (uint32_t unit = h->first; unit < h->end;) {
        const ih_header *block = ih_heap_view(h, unit);
        uint32_t units = load(&block->units), state = load(&block->state);
        if (units == 0 || units > h->end - unit)
            return fail(c, unit, "a block leads out of the segment");
        if (block->prev_units != before)
            return fail(c, unit, "prev_units is wrong");
        if (state > IH_SEALED)
            return fail(c, unit, "a block's state is unknown");
        if (state == IH_SEALED && !check_sealed(c, unit, block))
            return false;
        if (h->kind == IH_ORDINARY && ih_heap_start(h, unit) != (state == IH_SEALED))
            return fail(c, unit, "the start map is wrong");
        if (state == IH_ALLOCATED)
            c->stats.allocated++;
        if (state == IH_FREE) {
            if (was_free)
                return fail(c, unit, "two free blocks are neighbours");
            c->free_map[unit / 64u] |= UINT64_C(1) << unit % 64u;
            c->stats.free_blocks++;
            c->stats.free_units += units;
            if (units > c->stats.largest_free)
                c->stats.largest_free = units;
        }
        was_free = state == IH_FREE;
        c->stats.blocks++;
        before = units;
        unit += units;
    }
    return true;
}

static bool check_list(checking *c, uint32_t fl, uint32_t sl, uint32_t *linked)
{
    const ih_heap *h = c->heap;
    uint32_t before = 0;
    for (uint32_t at = load(&c->state->heads[fl][sl]); at != 0;) {
        if (at >= h->end || (c->free_map[at / 64u] >> at % 64u & 1u) == 0)
            return fail(c, at, "a list leads to what is not a free block, or twice to one");
        c->free_map[at / 64u] &= ~(UINT64_C(1) << at % 64u);
        const ih_header *block = ih_heap_view(h, at);
        uint32_t in_fl, in_sl;
        ih_heap_class(block->units, &in_fl, &in_sl);
        if (in_fl != fl || in_sl != sl)
            return fail(c, at, "a free block is in a wrong list");
        if (block->u.links.prev != before)
            return fail(c, at, "a list's links are not symmetric");
        before = at;
        at = load(&block->u.links.next);
        (*linked)++;
    }
    return true;
}

static bool check_lists(checking *c)
{
    uint32_t linked = 0;
    for (uint32_t fl = 0; fl < IH_FL_COUNT; fl++) {
        for (uint32_t sl = 0; sl < IH_SL_COUNT; sl++) {
            bool bit = (c->state->sl_bitmap[fl] >> sl & 1u) != 0;
            if (bit != (c->state->heads[fl][sl] != 0))
                return fail(c, 0, "a list's bit is wrong");
            if (!check_list(c, fl, sl, &linked))
                return false;
        }
        if ((c->state->fl_bitmap >> fl & 1u) != (c->state->sl_bitmap[fl] != 0))
            return fail(c, 0, "a level's bit is wrong");
    }
    if (c->state->fl_bitmap >> IH_FL_COUNT != 0)
        return fail(c, 0, "a bit is set for a level that there is not");
    if (linked != c->stats.free_blocks)
        return fail(c, 0, "a free block is in no list");
    return true;
}

static bool check_rest(checking *c)
{
    const ih_heap *h = c->heap;
    if (c->state->blocks != c->stats.blocks || c->state->free_blocks != c->stats.free_blocks ||
        c->state->free_units != c->stats.free_units)
        return fail(c, 0, "a counter is wrong");
    uint32_t set = 0;
    const uint64_t *map = (const uint64_t *)(const void *)(h->view + IH_PAGE);
    uint64_t words = ih_start_map_bytes((uint64_t)h->end << IH_UNIT_SHIFT) / 8u;
    for (uint64_t i = 0; i < words; i++)
        set += (uint32_t)__builtin_popcountll(map[i]);
    if (set != c->stats.sealed)
        return fail(c, 0, "the start map has a bit where no image begins");
    return true;
}

ih_result ih_heap_check(const ih_heap *heap, ih_heap_stats *stats, char *message, size_t size)
{
    checking c = {.heap = heap, .message = message, .size = size};
    c.state = (const ih_segment_header *)(const void *)heap->view;
    if (message != NULL && size > 0)
        message[0] = '\0';
    c.free_map = calloc((size_t)heap->end / 64u + 1u, sizeof *c.free_map);
    if (c.free_map == NULL)
        return IH_MEMORY;
    bool good = check_header(&c) && check_chain(&c);
    if (good && heap->kind == IH_ORDINARY)
        good = check_lists(&c) && check_rest(&c);
    free(c.free_map);
    if (good && stats != NULL)
        *stats = c.stats;
    return good ? IH_OK : IH_CORRUPT;
}
