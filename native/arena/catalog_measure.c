/* Figures for metrics, without a walk: a few words of each segment, and of the lease tables so many
 * slots a step.
 *
 * A segment's own counters are its producer's word, who may lie about its own segments: each is cut
 * to what the segment could hold, and nothing but figures comes of it. In retired segments nobody
 * counts any more, so what lives there was counted by us.
 */
#include "catalog_state.h"

#include "hash.h"

#include <stdlib.h>
#include <string.h>

#define LARGEST_TRIES 64u

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- segments -------------------------------------------------------------------------------- */

/* As ih_heap_largest_free(), from a view that its producer writes meanwhile. */
__attribute__((no_sanitize("address"))) static uint32_t largest_free(const ih_heap *heap)
{
    const ih_segment_header *state = (const ih_segment_header *)(const void *)heap->view;
    uint32_t firsts = __atomic_load_n(&state->fl_bitmap, __ATOMIC_RELAXED);
    firsts &= (UINT32_C(1) << IH_FL_COUNT) - 1u;
    if (firsts == 0)
        return 0;
    uint32_t fl = 31u - (uint32_t)__builtin_clz(firsts);
    uint32_t seconds = __atomic_load_n(&state->sl_bitmap[fl], __ATOMIC_RELAXED);
    if (seconds == 0)
        return 0;
    uint32_t sl = 31u - (uint32_t)__builtin_clz(seconds), largest = 0;
    uint32_t at = __atomic_load_n(&state->heads[fl][sl], __ATOMIC_RELAXED);
    for (unsigned tries = 0; at >= heap->first && at < heap->end && tries < LARGEST_TRIES;
         tries++) {
        const ih_header *block = ih_heap_view(heap, at);
        uint32_t units = __atomic_load_n(&block->units, __ATOMIC_RELAXED);
        if (units <= heap->end - at && units > largest)
            largest = units;
        at = __atomic_load_n(&block->u.links.next, __ATOMIC_RELAXED);
    }
    return largest;
}

typedef struct {
    uint64_t live, live_bytes, free_bytes, free_runs, largest;
} contents;

static contents look_ordinary(const ih_record *record)
{
    const ih_heap *heap = &record->heap;
    const ih_segment_header *state = (const ih_segment_header *)(const void *)heap->view;
    uint64_t units = heap->end - heap->first;
    uint64_t blocks = least(__atomic_load_n(&state->blocks, __ATOMIC_RELAXED), units);
    uint64_t runs = least(__atomic_load_n(&state->free_blocks, __ATOMIC_RELAXED), blocks);
    uint64_t unused = least(__atomic_load_n(&state->free_units, __ATOMIC_RELAXED), units);
    if (ih_is_retired(record))
        return (contents){.live = record->alive,
                          .live_bytes = least(record->alive_bytes, units << IH_UNIT_SHIFT)};
    if (blocks == 0) /* granted, and not formatted yet */
        return (contents){.free_bytes = 0};
    uint64_t used = (units - unused) << IH_UNIT_SHIFT;
    return (contents){.live = blocks - runs - least(record->dying, blocks - runs),
                      .live_bytes = used - least(record->dying_bytes, used),
                      .free_bytes = unused << IH_UNIT_SHIFT,
                      .free_runs = runs,
                      .largest = (uint64_t)largest_free(heap) << IH_UNIT_SHIFT};
}

/* Of a hostile producer's images one may lie in another. */
static uint64_t dying_bytes_of(const ih_record *record)
{
    return least(record->dying_bytes, record->info.bytes);
}

ih_result ih_catalog_glance(ih_catalog *catalog, uint64_t id, ih_segment_content *out)
{
    const ih_record *record = ih_record_of(catalog, id);
    if (record == NULL)
        return IH_GONE;
    if (record->heap.kind != IH_ORDINARY)
        return ih_catalog_content(catalog, id, out);
    contents found = look_ordinary(record);
    *out = (ih_segment_content){.images = found.live,
                                .image_bytes = found.live_bytes,
                                .dying = record->dying,
                                .dying_bytes = dying_bytes_of(record),
                                .free_bytes = found.free_bytes,
                                .largest_free = found.largest};
    return IH_OK;
}

static void add_segment(const ih_catalog *catalog, const ih_record *record, ih_catalog_figures *f)
{
    const ih_segment_info *info = &record->info;
    unsigned state = info->warm              ? IH_SEGMENT_WARM
                     : info->spilled         ? IH_SEGMENT_SPILLED
                     : ih_is_retired(record) ? IH_SEGMENT_RETIRED
                                             : IH_SEGMENT_GRANTED;
    contents found = {.live = 0};
    uint64_t dying = record->dying, dying_bytes = dying_bytes_of(record);
    f->segments[state]++;
    if (record->heap.kind == IH_ORDINARY) {
        found = look_ordinary(record);
        ih_session *session = ih_table_get(&catalog->sessions, info->session);
        if (session != NULL) {
            session->live += found.live;
            session->live_bytes += found.live_bytes;
        }
    } else {
        bool sealed = ih_record_sealed(record, record->heap.first, NULL, &(ih_header){.units = 0});
        bool dies = sealed && ih_record_dying(record, record->heap.first);
        dying = dies ? 1 : 0;
        dying_bytes = dies ? ih_units_bytes(record, 0) : 0;
        found.live = sealed && !dies ? 1 : 0;
        found.live_bytes = found.live != 0 ? ih_units_bytes(record, 0) : 0;
    }
    unsigned kind = state == IH_SEGMENT_SPILLED   ? IH_OBJECTS_SPILLED
                    : state == IH_SEGMENT_RETIRED ? IH_OBJECTS_UNOWNED
                                                  : IH_OBJECTS_LIVE;
    f->objects[kind] += found.live;
    f->object_bytes[kind] += found.live_bytes;
    f->objects[IH_OBJECTS_DELETED] += dying;
    f->object_bytes[IH_OBJECTS_DELETED] += dying_bytes;
    f->free_bytes += found.free_bytes;
    f->free_runs += found.free_runs;
    f->longest_runs_bytes += found.largest;
    if (found.largest > f->largest_free)
        f->largest_free = found.largest;
}

void ih_catalog_measure(const ih_catalog *catalog, ih_catalog_figures *out)
{
    ih_catalog_figures figures = {.queued = catalog->queued, .ring = catalog->in_line};
    size_t cursor = 0;
    for (ih_cell *cell; (cell = ih_table_next(&catalog->sessions, &cursor)) != NULL;) {
        ih_session *session = cell->value;
        session->live = session->live_bytes = 0;
    }
    for (size_t i = 0; i < catalog->sorted_count; i++)
        add_segment(catalog, catalog->sorted[i], &figures);
    /* In these blocks there is no image any more, and their producers may fill them at any time.
     * Who lies about that makes less of his own images alone. */
    cursor = 0;
    uint64_t *live = &figures.objects[IH_OBJECTS_LIVE];
    uint64_t *live_bytes = &figures.object_bytes[IH_OBJECTS_LIVE];
    for (const ih_cell *cell; (cell = ih_table_next(&catalog->sessions, &cursor)) != NULL;) {
        const ih_session *session = cell->value;
        const ih_session_page *page = session->page;
        uint64_t count = __atomic_load_n(&page->returning, __ATOMIC_RELAXED);
        uint64_t bytes = __atomic_load_n(&page->returning_bytes, __ATOMIC_RELAXED);
        count = least(count, session->live);
        bytes = least(bytes, session->live_bytes);
        *live -= count;
        *live_bytes -= bytes;
        figures.returning_bytes += bytes;
    }
    *out = figures;
}

void ih_catalog_counter_sums(const ih_catalog *catalog, uint64_t *out)
{
    size_t cursor = 0;
    memset(out, 0, IH_PAGE_COUNTERS * sizeof *out);
    for (const ih_cell *cell; (cell = ih_table_next(&catalog->sessions, &cursor)) != NULL;) {
        const ih_session *session = cell->value;
        for (unsigned i = 0; i < IH_PAGE_COUNTERS; i++) {
            uint64_t count = __atomic_load_n(&session->page->puts + i, __ATOMIC_RELAXED);
            if (__builtin_add_overflow(out[i], count, &out[i]))
                out[i] = UINT64_MAX;
        }
    }
}

/* ---- ages of leases -------------------------------------------------------------------------- */

/* What was seen in each slot of one table: of its locator 32 bits of a hash, and since when. */
struct ih_ages {
    uint64_t *seen;
    uint32_t blocks; /* that `seen` has room for */
    uint32_t at;     /* the block to look at next */
    ih_lease_ages sums;
};

static unsigned age_class(uint32_t seconds)
{
    return seconds < 60u      ? 0u
           : seconds < 600u   ? 1u
           : seconds < 3600u  ? 2u
           : seconds < 86400u ? 3u
                              : 4u;
}

static void look_at_block(struct ih_ages *ages, uint32_t block, const uint64_t *slots, uint32_t now)
{
    uint64_t *seen = block < ages->blocks ? ages->seen + (size_t)block * IH_SLOTS : NULL;
    for (uint32_t i = 0; i < IH_SLOTS; i++) {
        uint64_t locator = slots == NULL ? 0 : __atomic_load_n(&slots[i], __ATOMIC_RELAXED);
        if (locator == 0) {
            if (seen != NULL)
                seen[i] = 0;
            continue;
        }
        uint64_t mark = (ih_mix(locator) & ~(uint64_t)UINT32_MAX) | UINT64_C(1) << 32;
        uint32_t since = now;
        if (seen != NULL && (seen[i] & ~(uint64_t)UINT32_MAX) == mark)
            since = (uint32_t)seen[i];
        else if (seen != NULL)
            seen[i] = mark | now;
        uint32_t age = now > since ? now - since : 0;
        ages->sums.leases[age_class(age)]++;
        if (age > ages->sums.oldest)
            ages->sums.oldest = age;
    }
}

static struct ih_ages *ages_of(ih_catalog *catalog, uint64_t family, uint32_t blocks)
{
    struct ih_ages *ages = ih_table_get(&catalog->ages, family);
    if (ages == NULL) {
        if (!ih_table_reserve(&catalog->ages) || (ages = calloc(1, sizeof *ages)) == NULL)
            return NULL;
        ih_table_put(&catalog->ages, family, ages);
    }
    if (blocks > ages->blocks) {
        /* Without memory what is beyond counts as fresh. */
        uint64_t *larger = realloc(ages->seen, (size_t)blocks * IH_SLOTS * sizeof *larger);
        if (larger != NULL) {
            memset(larger + (size_t)ages->blocks * IH_SLOTS, 0,
                   (size_t)(blocks - ages->blocks) * IH_SLOTS * sizeof *larger);
            ages->seen = larger;
            ages->blocks = blocks;
        }
    }
    return ages;
}

bool ih_catalog_lease_ages(ih_catalog *catalog, uint64_t family, uint32_t now, uint32_t room,
                           ih_lease_ages *out)
{
    const ih_family *found = ih_table_get(&catalog->families, family);
    uint32_t blocks = found == NULL ? 0 : ih_family_blocks(found);
    struct ih_ages *ages = blocks == 0 ? NULL : ages_of(catalog, family, blocks);
    if (ages == NULL) {
        *out = (ih_lease_ages){.oldest = 0};
        return true;
    }
    /* Blocks that nobody has cost little, so only others count. */
    for (uint32_t looked = 0; looked < room && ages->at < blocks; ages->at++) {
        const uint64_t *slots = ih_family_slots(found, ages->at);
        if (slots != NULL)
            looked++;
        if (slots != NULL || ages->at < ages->blocks)
            look_at_block(ages, ages->at, slots, now);
    }
    if (ages->at < blocks)
        return false;
    *out = ages->sums;
    ages->sums = (ih_lease_ages){.oldest = 0};
    ages->at = 0;
    return true;
}

void ih_ages_drop(ih_catalog *catalog, uint64_t family)
{
    struct ih_ages *ages = ih_table_get(&catalog->ages, family);
    if (ages == NULL)
        return;
    ih_table_remove(&catalog->ages, family);
    free(ages->seen);
    free(ages);
}

void ih_ages_destroy(ih_catalog *catalog)
{
    size_t cursor = 0;
    for (ih_cell *cell; (cell = ih_table_next(&catalog->ages, &cursor)) != NULL;) {
        struct ih_ages *ages = cell->value;
        free(ages->seen);
        free(ages);
    }
    ih_table_destroy(&catalog->ages);
}
