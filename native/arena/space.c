/* Which segment a block comes from, and which segments are given back.
 *
 * Ordinary segments stand in bins by the class of their longest free block, so one that fits is
 * found through a bitmap; the tightest bin comes first, which fills what is nearly full and lets
 * the others run empty. Freed dedicated segments stay mapped for a while: filling fresh pages costs
 * several times the copy itself. What is empty goes when memory is short, when asked, and after
 * SURPLUS_NS at a later operation.
 */
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define SURPLUS_NS UINT64_C(10000000000)
#define SWEEP_NS UINT64_C(1000000000)
#define WARM_MAX 16u
#define EXACT_SEGMENTS 4u

/* ---- lists ----------------------------------------------------------------------------------- */

void ih_space_unbin(ih_segment *segment)
{
    ih_store *store = segment->store;
    if (segment->bin < 0)
        return;
    uint32_t bin = (uint32_t)segment->bin;
    if (segment->previous != NULL)
        segment->previous->next = segment->next;
    else
        store->bins[bin] = segment->next;
    if (segment->next != NULL)
        segment->next->previous = segment->previous;
    if (store->bins[bin] == NULL)
        store->bin_bitmap[bin / 64u] &= ~(UINT64_C(1) << bin % 64u);
    segment->next = segment->previous = NULL;
    segment->bin = -1;
}

static bool is_empty(const ih_segment *segment)
{
    const ih_segment_header *state = ih_heap_header(&segment->heap);
    return state->blocks == 1 && state->free_blocks == 1;
}

void ih_space_rebin(ih_segment *segment)
{
    ih_store *store = segment->store;
    int rank = ih_heap_rank(&segment->heap);
    bool empty = is_empty(segment);
    if (empty != (segment->idle_ns != 0)) {
        segment->idle_ns = empty ? ih_os_clock_ns() : 0;
        store->idle_count += empty ? 1u : UINT64_MAX;
    }
    if (rank == segment->bin)
        return;
    ih_space_unbin(segment);
    if (rank < 0)
        return;
    uint32_t bin = (uint32_t)rank;
    segment->next = store->bins[bin];
    if (segment->next != NULL)
        segment->next->previous = segment;
    store->bins[bin] = segment;
    store->bin_bitmap[bin / 64u] |= UINT64_C(1) << bin % 64u;
    segment->bin = rank;
}

static ih_segment *first_from(const ih_store *store, uint32_t bin)
{
    for (uint32_t word = bin / 64u; word < IH_BIN_WORDS; word++) {
        uint64_t bits = store->bin_bitmap[word];
        if (word == bin / 64u)
            bits &= ~UINT64_C(0) << bin % 64u;
        if (bits != 0)
            return store->bins[word * 64u + (uint32_t)__builtin_ctzll(bits)];
    }
    return NULL;
}

static bool place_in(ih_segment *segment, uint32_t units, ih_segment **out, uint32_t *unit)
{
    uint32_t found = ih_heap_alloc(&segment->heap, units);
    if (found == 0)
        return false;
    ih_space_rebin(segment);
    *out = segment;
    *unit = found;
    return true;
}

bool ih_space_place(ih_store *store, uint32_t units, ih_segment **out, uint32_t *unit)
{
    uint32_t needed = (uint32_t)ih_heap_rank_needed(units);
    ih_segment *segment = needed < IH_BINS ? first_from(store, needed) : NULL;
    if (segment != NULL)
        return place_in(segment, units, out, unit);
    uint32_t fl, sl;
    ih_heap_class(units, &fl, &sl);
    segment = fl < IH_FL_COUNT ? store->bins[fl * IH_SL_COUNT + sl] : NULL;
    for (unsigned tries = 0; segment != NULL && tries < EXACT_SEGMENTS;
         tries++, segment = segment->next) {
        if (place_in(segment, units, out, unit))
            return true;
    }
    return false;
}

/* ---- segments of a store --------------------------------------------------------------------- */

void ih_space_add(ih_store *store, ih_segment *segment)
{
    segment->store = store;
    segment->all_next = store->all;
    segment->all_previous = NULL;
    if (store->all != NULL)
        store->all->all_previous = segment;
    store->all = segment;
    store->segment_count++;
}

void ih_space_unlink_warm(ih_segment *segment)
{
    ih_store *store = segment->store;
    if (segment->previous != NULL)
        segment->previous->next = segment->next;
    else
        store->warm_first = segment->next;
    if (segment->next != NULL)
        segment->next->previous = segment->previous;
    else
        store->warm_last = segment->previous;
    segment->next = segment->previous = NULL;
    segment->idle_ns = 0;
    store->warm -= segment->bytes;
    store->warm_count--;
}

void ih_space_link_warm(ih_segment *segment)
{
    ih_store *store = segment->store;
    segment->idle_ns = ih_os_clock_ns();
    segment->previous = store->warm_last;
    segment->next = NULL;
    if (store->warm_last != NULL)
        store->warm_last->next = segment;
    else
        store->warm_first = segment;
    store->warm_last = segment;
    store->warm += segment->bytes;
    store->warm_count++;
}

static bool is_warm(const ih_segment *segment)
{
    return segment->heap.kind == IH_DEDICATED && segment->idle_ns != 0;
}

void ih_space_drop(ih_segment *segment)
{
    ih_store *store = segment->store;
    ih_process *process = store->process;
    if (is_warm(segment))
        ih_space_unlink_warm(segment);
    ih_space_unbin(segment);
    if (segment->heap.kind == IH_ORDINARY && segment->idle_ns != 0)
        store->idle_count--;
    /* As segments grow with the store they shrink with it: making one takes time as it is long. */
    if (segment->heap.kind == IH_ORDINARY && store->next_bytes > store->first_bytes)
        store->next_bytes /= 2u;
    if (segment->registered)
        ih_unregister_segment(process, segment);
    if (segment->heap.kind == IH_DEDICATED && segment->dying != NULL && segment->range == NULL &&
        !store->inherited)
        ih_give_dying_bit(process, segment);
    if (segment->all_previous != NULL)
        segment->all_previous->all_next = segment->all_next;
    else
        store->all = segment->all_next;
    if (segment->all_next != NULL)
        segment->all_next->all_previous = segment->all_previous;
    store->segment_count--;
    store->moving += segment->bytes;
    segment->next = process->graveyard;
    process->graveyard = segment;
}

/* The tightest that wastes less than half of itself. */
ih_segment *ih_space_take_warm(ih_store *store, uint64_t bytes)
{
    ih_segment *best = NULL;
    for (ih_segment *at = store->warm_first; at != NULL; at = at->next) {
        if (at->bytes >= bytes && at->bytes / 2u <= bytes &&
            (best == NULL || at->bytes < best->bytes))
            best = at;
    }
    if (best == NULL || !ih_reserve_registration(store->process))
        return NULL;
    ih_space_unlink_warm(best);
    best->heap.id = ih_new_id(store);
    (void)ih_register_segment(store->process, best);
    ih_header *block = ih_heap_at(&best->heap, best->heap.first);
    ih_heap_header(&best->heap)->id = best->heap.id;
    __atomic_store_n(&block->state, (uint32_t)IH_ALLOCATED, __ATOMIC_RELEASE);
    ih_heap_poison(&best->heap, best->heap.first, best->heap.end - best->heap.first, false);
    return best;
}

void ih_space_put_warm(ih_segment *segment)
{
    ih_store *store = segment->store;
    if (store->closed || segment->heap.base == NULL || segment->bytes > store->capacity / 2u) {
        ih_space_drop(segment);
        return;
    }
    ih_unregister_segment(store->process, segment);
    ih_heap_poison(&segment->heap, segment->heap.first + 1u,
                   segment->heap.end - segment->heap.first - 1u, true);
    ih_space_link_warm(segment);
    while (store->warm_count > WARM_MAX || store->warm > store->capacity / 2u)
        ih_space_drop(store->warm_first);
}

void ih_space_drop_unleased(ih_store *store)
{
    for (ih_segment *segment = store->all; segment != NULL;) {
        ih_segment *next = segment->all_next;
        if (segment->leases == 0)
            ih_space_drop(segment);
        segment = next;
    }
}

bool ih_space_shed(ih_store *store, bool all)
{
    uint64_t now = ih_os_clock_ns();
    bool any = false;
    while (store->warm_first != NULL && (all || now - store->warm_first->idle_ns > SURPLUS_NS)) {
        ih_space_drop(store->warm_first);
        any = true;
    }
    if (store->idle_count == 0)
        return any;
    for (ih_segment *segment = store->all; segment != NULL;) {
        ih_segment *next = segment->all_next;
        bool idle = segment->heap.kind == IH_ORDINARY && segment->idle_ns != 0;
        /* One empty segment stays, so that a store that is used now and then does not make one each
         * time. */
        if (idle && (all || (store->idle_count > 1 && now - segment->idle_ns > SURPLUS_NS))) {
            ih_space_drop(segment);
            any = true;
        }
        segment = next;
    }
    return any;
}

void ih_space_sweep(ih_store *store)
{
    if (store->warm_first == NULL && store->idle_count < 2)
        return;
    uint64_t now = ih_os_clock_ns();
    if (now < store->sweep_ns)
        return;
    store->sweep_ns = now + SWEEP_NS;
    (void)ih_space_shed(store, false);
}

/* ---- dying bits of dedicated segments -------------------------------------------------------- */

/* In a file, so that other processes can be shown it; where there is no descriptor for one, in
 * memory that children share. */
static ih_bits *make_bits(void)
{
    ih_bits *bits = calloc(1, sizeof *bits);
    if (bits == NULL)
        return NULL;
    int fd = -1;
    uint8_t *page = NULL;
    bits->reader = -1;
    bool made = ih_os_file_create("icehouse-state", IH_PAGE, &fd) == 0 &&
                ih_os_file_seal(fd, IH_OS_SEAL_SHRINK | IH_OS_SEAL_GROW | IH_OS_SEAL_SEAL) == 0 &&
                ih_os_file_commit(fd, 0, IH_PAGE) == 0 &&
                ih_os_file_reopen(fd, false, &bits->reader) == 0 &&
                ih_os_identity(bits->reader, &bits->reader_file) == 0 &&
                ih_os_map_part(fd, 0, IH_PAGE, true, &page) == 0;
    ih_os_close(fd);
    if (!made) {
        ih_os_close(bits->reader);
        bits->reader = -1;
        if (ih_os_map_anonymous(IH_PAGE, &page) != 0) {
            free(bits);
            return NULL;
        }
    }
    bits->dying = (uint64_t *)(void *)page;
    return bits;
}

bool ih_take_dying_bit(ih_process *process, ih_segment *segment)
{
    ih_bits *bits = process->bits;
    while (bits != NULL && bits->count == IH_PAGE * 8u)
        bits = bits->next;
    if (bits == NULL) {
        bits = make_bits();
        if (bits == NULL)
            return false;
        bits->next = process->bits;
        process->bits = bits;
    }
    uint32_t word = 0;
    while (bits->used[word] == UINT64_MAX)
        word++;
    segment->dying_bit = (uint32_t)__builtin_ctzll(~bits->used[word]);
    segment->dying = bits->dying + word;
    bits->used[word] |= UINT64_C(1) << segment->dying_bit;
    bits->count++;
    ih_clear_dying(segment, 0);
    return true;
}

/* The header of a kernel-sealed image can't be cleared: its bit stays set as long as a child may
 * look at it, which here means for good. */
void ih_give_dying_bit(ih_process *process, ih_segment *segment)
{
    ih_set_dying(segment, 0);
    if (segment->kernel_sealed && !ih_is_quiet(segment->store))
        return;
    for (ih_bits *bits = process->bits; bits != NULL; bits = bits->next) {
        if (segment->dying >= bits->dying && segment->dying < bits->dying + IH_PAGE / 8u) {
            bits->used[segment->dying - bits->dying] &= ~(UINT64_C(1) << segment->dying_bit);
            bits->count--;
        }
    }
    segment->dying = NULL;
}
