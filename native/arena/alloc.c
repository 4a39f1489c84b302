/* Two-level segregated fit whose chain of blocks can be walked at every instruction.
 *
 *     unit:  first                                              end
 *            | block 0 (units=4) | block 1 (units=2) | block 2 ... |
 *              64-byte header + body
 *
 * The one truth is the chain: each block's `units` says where the next begins, up to `end`, and
 * `state` says what it is. Everything else (prev_units, the lists of free blocks and their bitmaps,
 * counters, the start map) follows from the chain, and recover() rebuilds it. A process may be
 * killed between any two stores, so each operation changes the chain by exactly one store of one
 * word, ordered by a release:
 *
 *   split      B(n) -> B(k) R(n-k): R's header is written inside B's body, where no walk sees it;
 *              then B.units = k.
 *   merge      B(n) N(m) -> B(n+m): B.units = n+m. N's header is from now on body.
 *   allocate   state FREE -> ALLOCATED before the split: dying in between leaves an ALLOCATED
 *              block, which recover frees.
 *   seal       header fields, start bit, then state = SEALED: dying before leaves ALLOCATED, dying
 *              after leaves an image.
 *   unseal     state = ALLOCATED, then nonce, then start bit. A reader that saw SEALED before holds
 *              a lease (H1) or finds the dying bit, which stays set until the header is cleared.
 *
 * A store that was executed before the kill does reach memory, so the order of instructions is all
 * that matters here; the release stores keep the compiler from changing it and serve the readers of
 * other processes besides.
 *
 * Free blocks of one length class are in one doubly linked list. For a request the length is
 * rounded up to the next class boundary, so that any block of the list found through the bitmaps
 * fits. That rounding would refuse a block that fits exactly, so a request that finds nothing else
 * looks at a few blocks of its own class.
 */
#include "alloc.h"

#include "hash.h"
#include "os/asan.h"

#include <string.h>

#define EXACT_TRIES 8u
#define LARGEST_TRIES 64u

void ih_heap_poison(const ih_heap *heap, uint32_t unit, uint32_t units, bool poison)
{
#ifdef IH_ASAN
    size_t offset = (size_t)unit << IH_UNIT_SHIFT, bytes = (size_t)units << IH_UNIT_SHIFT;
    const uint8_t *aliases[2] = {heap->base, heap->view};
    for (unsigned i = 0; i < 2; i++) {
        if (aliases[i] == NULL)
            continue;
        if (poison)
            ASAN_POISON_MEMORY_REGION(aliases[i] + offset, bytes);
        else
            ASAN_UNPOISON_MEMORY_REGION(aliases[i] + offset, bytes);
    }
#else
    (void)heap;
    (void)unit;
    (void)units;
    (void)poison;
#endif
}

/* ---- the start map --------------------------------------------------------------------------- */

void ih_heap_set_start(ih_heap *heap, uint32_t unit, bool set)
{
    if (heap->kind != IH_ORDINARY)
        return;
    uint64_t *word = (uint64_t *)(void *)(heap->base + IH_PAGE) + unit / 64u;
    uint64_t bit = UINT64_C(1) << unit % 64u;
    uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
    __atomic_store_n(word, set ? old | bit : old & ~bit, __ATOMIC_RELEASE);
}

bool ih_heap_start(const ih_heap *heap, uint32_t unit)
{
    if (heap->kind != IH_ORDINARY)
        return true;
    const uint64_t *word = (const uint64_t *)(const void *)(heap->view + IH_PAGE) + unit / 64u;
    return (__atomic_load_n(word, __ATOMIC_RELAXED) >> unit % 64u & 1u) != 0;
}

/* ---- lists of free blocks -------------------------------------------------------------------- */

void ih_heap_class(uint32_t units, uint32_t *fl, uint32_t *sl)
{
    if (units < IH_SL_COUNT) {
        *fl = 0;
        *sl = units;
        return;
    }
    uint32_t log = 31u - (uint32_t)__builtin_clz(units);
    *fl = log - IH_SL_BITS + 1u;
    *sl = (units >> (log - IH_SL_BITS)) ^ IH_SL_COUNT;
}

/* The class from which on every block has at least `units`. */
static void class_above(uint32_t units, uint32_t *fl, uint32_t *sl)
{
    if (units >= IH_SL_COUNT) {
        uint32_t log = 31u - (uint32_t)__builtin_clz(units);
        units += (1u << (log - IH_SL_BITS)) - 1u;
    }
    ih_heap_class(units, fl, sl);
}

void ih_heap_link(ih_heap *heap, uint32_t unit)
{
    ih_segment_header *state = ih_heap_header(heap);
    ih_header *block = ih_heap_at(heap, unit);
    uint32_t fl, sl;
    ih_heap_class(block->units, &fl, &sl);
    uint32_t head = state->heads[fl][sl];
    block->u.links.next = head;
    block->u.links.prev = 0;
    if (head != 0)
        ih_heap_at(heap, head)->u.links.prev = unit;
    state->heads[fl][sl] = unit;
    state->sl_bitmap[fl] |= 1u << sl;
    state->fl_bitmap |= 1u << fl;
    state->free_units += block->units;
    state->free_blocks++;
}

static void unlink_block(ih_heap *heap, uint32_t unit)
{
    ih_segment_header *state = ih_heap_header(heap);
    ih_header *block = ih_heap_at(heap, unit);
    uint32_t fl, sl;
    ih_heap_class(block->units, &fl, &sl);
    uint32_t next = block->u.links.next, prev = block->u.links.prev;
    if (next != 0)
        ih_heap_at(heap, next)->u.links.prev = prev;
    if (prev != 0) {
        ih_heap_at(heap, prev)->u.links.next = next;
    } else {
        state->heads[fl][sl] = next;
        if (next == 0) {
            state->sl_bitmap[fl] &= ~(1u << sl);
            if (state->sl_bitmap[fl] == 0)
                state->fl_bitmap &= ~(1u << fl);
        }
    }
    state->free_units -= block->units;
    state->free_blocks--;
}

static uint32_t find_block(const ih_heap *heap, uint32_t units)
{
    const ih_segment_header *state = ih_heap_header(heap);
    uint32_t fl, sl;
    class_above(units, &fl, &sl);
    if (fl < IH_FL_COUNT) {
        uint32_t lists = state->sl_bitmap[fl] & (~0u << sl);
        if (lists == 0) {
            uint32_t levels = fl + 1u < 32u ? state->fl_bitmap & (~0u << (fl + 1u)) : 0;
            if (levels != 0) {
                fl = (uint32_t)__builtin_ctz(levels);
                lists = state->sl_bitmap[fl];
            }
        }
        if (lists != 0)
            return state->heads[fl][(uint32_t)__builtin_ctz(lists)];
    }
    ih_heap_class(units, &fl, &sl);
    uint32_t at = state->heads[fl][sl];
    for (unsigned tries = 0; at != 0 && tries < EXACT_TRIES; tries++) {
        const ih_header *block = ih_heap_at(heap, at);
        if (block->units >= units)
            return at;
        at = block->u.links.next;
    }
    return 0;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

uint32_t ih_heap_first_unit(uint32_t kind, uint64_t bytes)
{
    uint64_t map = kind == IH_ORDINARY ? ih_start_map_bytes(bytes) : 0;
    return (uint32_t)((IH_PAGE + map) >> IH_UNIT_SHIFT);
}

void ih_heap_format(ih_heap *heap, uint64_t bytes, uint64_t created_ns)
{
    ih_segment_header *state = ih_heap_header(heap);
    memset(state, 0, sizeof *state);
    state->magic = IH_SEGMENT_MAGIC;
    state->version = IH_SEGMENT_VERSION;
    state->kind = heap->kind;
    state->id = heap->id;
    state->bytes = bytes;
    state->first_unit = heap->first;
    state->end_unit = heap->end;
    state->created_ns = created_ns;
    state->blocks = 1;
    ih_header *block = ih_heap_at(heap, heap->first);
    memset(block, 0, sizeof *block);
    block->units = heap->end - heap->first;
    if (heap->kind == IH_ORDINARY) {
        memset(heap->base + IH_PAGE, 0, (size_t)ih_start_map_bytes(bytes));
        ih_heap_link(heap, heap->first);
        ih_heap_poison(heap, heap->first + 1u, block->units - 1u, true);
    }
}

static void set_prev_of_next(ih_heap *heap, uint32_t unit, uint32_t units)
{
    if (unit + units < heap->end)
        ih_heap_at(heap, unit + units)->prev_units = units;
}

uint32_t ih_heap_alloc(ih_heap *heap, uint32_t units)
{
    if (units == 0 || units > heap->end - heap->first)
        return 0;
    uint32_t unit = find_block(heap, units);
    if (unit == 0)
        return 0;
    ih_header *block = ih_heap_at(heap, unit);
    uint32_t whole = block->units;
    unlink_block(heap, unit);
    __atomic_store_n(&block->state, (uint32_t)IH_ALLOCATED, __ATOMIC_RELEASE);
    ih_heap_poison(heap, unit, units, false);
    if (whole > units) {
        uint32_t rest = unit + units;
        ih_heap_poison(heap, rest, 1, false);
        ih_header *free_block = ih_heap_at(heap, rest);
        free_block->units = whole - units;
        free_block->prev_units = units;
        free_block->flags = 0;
        __atomic_store_n(&free_block->state, (uint32_t)IH_FREE, __ATOMIC_RELEASE);
        __atomic_store_n(&block->units, units, __ATOMIC_RELEASE);
        set_prev_of_next(heap, rest, whole - units);
        ih_heap_link(heap, rest);
        ih_heap_header(heap)->blocks++;
    }
    return unit;
}

void ih_heap_free(ih_heap *heap, uint32_t unit)
{
    ih_header *block = ih_heap_at(heap, unit);
    uint32_t units = block->units;
    __atomic_store_n(&block->state, (uint32_t)IH_FREE, __ATOMIC_RELEASE);
    block->flags = 0;
    ih_heap_poison(heap, unit + 1u, units - 1u, true);
    uint32_t next = unit + units;
    if (next < heap->end) {
        ih_header *after = ih_heap_at(heap, next);
        if (after->state == IH_FREE) {
            unlink_block(heap, next);
            units += after->units;
            __atomic_store_n(&block->units, units, __ATOMIC_RELEASE);
            ih_heap_header(heap)->blocks--;
            ih_heap_poison(heap, next, 1, true);
        }
    }
    if (block->prev_units != 0) {
        uint32_t before = unit - block->prev_units;
        ih_header *previous = ih_heap_at(heap, before);
        if (previous->state == IH_FREE) {
            unlink_block(heap, before);
            units += previous->units;
            __atomic_store_n(&previous->units, units, __ATOMIC_RELEASE);
            ih_heap_header(heap)->blocks--;
            ih_heap_poison(heap, unit, 1, true);
            unit = before;
        }
    }
    set_prev_of_next(heap, unit, units);
    ih_heap_link(heap, unit);
}

void ih_heap_seal(ih_heap *heap, uint32_t unit, uint64_t nonce, uint64_t size, uint64_t created_ns,
                  uint32_t flags, const uint8_t image[16])
{
    ih_header *block = ih_heap_at(heap, unit);
    uint64_t check = ih_siphash(heap->secret, ih_locator(heap->id, unit), nonce);
    block->flags = flags;
    __atomic_store_n(&block->u.nonce, nonce, __ATOMIC_RELAXED);
    __atomic_store_n(&block->check, check, __ATOMIC_RELAXED);
    __atomic_store_n(&block->size, size, __ATOMIC_RELAXED);
    block->created_ns = created_ns;
    memcpy(block->image, image, sizeof block->image);
    ih_heap_set_start(heap, unit, true);
    __atomic_store_n(&block->state, (uint32_t)IH_SEALED, __ATOMIC_RELEASE);
}

void ih_heap_unseal(ih_heap *heap, uint32_t unit)
{
    ih_header *block = ih_heap_at(heap, unit);
    __atomic_store_n(&block->state, (uint32_t)IH_ALLOCATED, __ATOMIC_RELEASE);
    __atomic_store_n(&block->u.nonce, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&block->check, 0, __ATOMIC_RELEASE);
    ih_heap_set_start(heap, unit, false);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Any locator may be asked about, so the address may lie in what is free: hence no sanitizer here.
 */
__attribute__((no_sanitize("address"))) bool ih_heap_sealed(const ih_heap *heap, uint32_t unit,
                                                            const uint64_t *nonce, ih_header *out)
{
    if (unit < heap->first || unit >= heap->end ||
        (heap->kind == IH_DEDICATED && unit != heap->first))
        return false;
    if (!ih_heap_start(heap, unit))
        return false;
    const ih_header *block = ih_heap_view(heap, unit);
    if (__atomic_load_n(&block->state, __ATOMIC_ACQUIRE) != IH_SEALED)
        return false;
    uint64_t found = __atomic_load_n(&block->u.nonce, __ATOMIC_RELAXED);
    if (nonce != NULL && found != *nonce)
        return false;
    if (__atomic_load_n(&block->check, __ATOMIC_RELAXED) !=
        ih_siphash(heap->secret, ih_locator(heap->id, unit), found))
        return false;
    out->units = __atomic_load_n(&block->units, __ATOMIC_RELAXED);
    out->size = __atomic_load_n(&block->size, __ATOMIC_RELAXED);
    if (out->units > heap->end - unit || out->size < IH_HEADER_SIZE ||
        out->size > (uint64_t)out->units << IH_UNIT_SHIFT)
        return false;
    out->state = IH_SEALED;
    out->prev_units = 0;
    out->flags = block->flags;
    out->u.nonce = found;
    out->check = block->check;
    out->created_ns = block->created_ns;
    for (unsigned i = 0; i < sizeof out->image; i++)
        out->image[i] = block->image[i];
    return true;
}

__attribute__((no_sanitize("address"))) bool ih_heap_next(const ih_heap *heap, uint32_t *unit)
{
    uint32_t units = __atomic_load_n(&ih_heap_view(heap, *unit)->units, __ATOMIC_ACQUIRE);
    if (units == 0 || units >= heap->end - *unit)
        return false;
    *unit += units;
    return true;
}

int ih_heap_rank(const ih_heap *heap)
{
    const ih_segment_header *state = ih_heap_header(heap);
    if (state->fl_bitmap == 0)
        return -1;
    uint32_t fl = 31u - (uint32_t)__builtin_clz(state->fl_bitmap);
    uint32_t sl = 31u - (uint32_t)__builtin_clz(state->sl_bitmap[fl]);
    return (int)(fl * IH_SL_COUNT + sl);
}

int ih_heap_rank_needed(uint32_t units)
{
    uint32_t fl, sl;
    class_above(units, &fl, &sl);
    return (int)(fl * IH_SL_COUNT + sl);
}

uint32_t ih_heap_largest_free(const ih_heap *heap)
{
    int rank = ih_heap_rank(heap);
    if (rank < 0)
        return 0;
    const ih_segment_header *state = ih_heap_header(heap);
    uint32_t largest = 0;
    uint32_t at = state->heads[(uint32_t)rank / IH_SL_COUNT][(uint32_t)rank % IH_SL_COUNT];
    for (unsigned tries = 0; at != 0 && tries < LARGEST_TRIES; tries++) {
        const ih_header *block = ih_heap_at(heap, at);
        largest = block->units > largest ? block->units : largest;
        at = block->u.links.next;
    }
    return largest;
}
