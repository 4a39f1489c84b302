/* The invariants of a store and of the process's tables. They hold whenever the lock is free,
 * whatever other threads are in the middle of.
 *
 *  1. Each segment holds its own invariants (heapcheck.c).
 *  2. A segment is found through its id exactly if it is registered; warm ones are not.
 *  3. An ordinary segment is in the bin of its rank; the bins' bitmap is right; idle ones are
 *     counted.
 *  4. committed = used + free + warm + one header for each segment that is not warm + what other
 *     threads are making or unmapping.
 *  5. images and the images found agree; dying = dying bits set; both in bytes too.
 *  6. Each entry of the lease map leases a sealed image of its segment; counts of leases agree.
 *  7. The dying queue holds exactly the entries that are dying and neither held nor linked here;
 *     as many links lead from entries as lead to them.
 *  8. Names agree with each other and with the images (names.c).
 */
#include "links.h"
#include "remote.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct {
    ih_store *store;
    char *message;
    size_t size;
    uint64_t images, dying, dying_bytes, free, used, overhead, warm, idle, segments;
    bool short_of_memory;
} checking;

__attribute__((format(printf, 2, 3))) static bool fail(const checking *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (c->message != NULL && c->size > 0)
        vsnprintf(c->message, c->size, format, arguments);
    va_end(arguments);
    return false;
}

static bool check_images(checking *c, const ih_segment *segment)
{
    ih_header header;
    uint32_t unit = segment->heap.first;
    do {
        bool sealed = ih_heap_sealed(&segment->heap, unit, NULL, &header);
        bool dying = ih_is_dying(segment, unit);
        if (dying && !sealed)
            return fail(c, "segment %" PRIx64 ", unit %u: a dying bit without an image",
                        segment->heap.id, unit);
        c->images += sealed ? 1u : 0u;
        c->dying += dying ? 1u : 0u;
        c->dying_bytes += dying ? ih_block_bytes(segment, header.units) : 0;
    } while (ih_heap_next(&segment->heap, &unit));
    return true;
}

static bool check_heap(checking *c, const ih_heap *heap, ih_heap_stats *stats)
{
    ih_result result = ih_heap_check(heap, stats, c->message, c->size);
    c->short_of_memory = result == IH_MEMORY;
    if (result == IH_MEMORY)
        return fail(c, "check a store: there is no memory for it");
    return result == IH_OK;
}

static bool check_ordinary(checking *c, ih_segment *segment)
{
    ih_heap_stats stats;
    if (!check_heap(c, &segment->heap, &stats))
        return false;
    if (segment->bin != ih_heap_rank(&segment->heap))
        return fail(c, "segment %" PRIx64 " is in bin %d", segment->heap.id, segment->bin);
    bool empty = stats.blocks == 1 && stats.free_blocks == 1;
    if (empty != (segment->idle_ns != 0))
        return fail(c, "segment %" PRIx64 " is wrongly said to be idle or not", segment->heap.id);
    uint32_t units = segment->heap.end - segment->heap.first;
    c->idle += empty ? 1u : 0u;
    c->free += (uint64_t)stats.free_units << IH_UNIT_SHIFT;
    c->used += (uint64_t)(units - stats.free_units) << IH_UNIT_SHIFT;
    c->overhead += (uint64_t)segment->heap.first << IH_UNIT_SHIFT;
    return check_images(c, segment);
}

static bool check_segment(checking *c, ih_segment *segment)
{
    ih_process *process = c->store->process;
    c->segments++;
    bool warm = segment->heap.kind == IH_DEDICATED && segment->idle_ns != 0;
    if (segment->store != c->store)
        return fail(c, "segment %" PRIx64 " belongs to another store", segment->heap.id);
    if (segment->registered == warm ||
        (segment->registered && ih_find_segment(process, segment->heap.id) != segment))
        return fail(c, "segment %" PRIx64 " is wrongly registered", segment->heap.id);
    if (segment->heap.kind == IH_ORDINARY)
        return check_ordinary(c, segment);
    if (warm) {
        c->warm += segment->bytes;
        return !segment->sealed || fail(c, "a warm segment holds an image");
    }
    c->used += segment->bytes - IH_PAGE;
    c->overhead += IH_PAGE;
    return !segment->sealed || check_images(c, segment);
}

static bool check_bins(const checking *c)
{
    for (uint32_t bin = 0; bin < IH_BINS; bin++) {
        const ih_segment *before = NULL;
        for (const ih_segment *at = c->store->bins[bin]; at != NULL; before = at, at = at->next) {
            if (at->bin != (int)bin || at->previous != before)
                return fail(c, "bin %u is broken", bin);
        }
        if ((c->store->bin_bitmap[bin / 64u] >> bin % 64u & 1u) != (c->store->bins[bin] != NULL))
            return fail(c, "the bit of bin %u is wrong", bin);
    }
    return true;
}

static bool check_entries(const checking *c)
{
    const ih_process *process = c->store->process;
    uint64_t held = 0, retired = 0, queued = 0, queued_bytes = 0, links = 0, linked = 0;
    size_t cursor = 0;
    for (const ih_entry *entry; (entry = ih_map_next(&process->map, &cursor)) != NULL;) {
        if (entry->lease.store != c->store)
            continue;
        ih_header header;
        if (!ih_heap_sealed(&entry->segment->heap, entry->unit, &entry->lease.handle.nonce,
                            &header) ||
            header.size != entry->lease.size || header.units != entry->block)
            return fail(c, "a lease of %" PRIx64 " holds no image", entry->lease.handle.locator);
        if (!c->store->inherited && c->store->remote == NULL &&
            entry->dying != ih_is_dying(entry->segment, entry->unit))
            return fail(c, "the dying bit of %" PRIx64 " is wrong", entry->lease.handle.locator);
        held += (ih_is_held(entry) ? 1u : 0u) + (entry->anchored ? 1u : 0u);
        bool kept = ih_is_held(entry) || entry->linked > 0;
        links += ih_links_count(entry);
        linked += entry->linked;
        retired += !kept && entry->dying ? 1u : 0u;
        if (!kept && !entry->dying && !entry->pinned && entry->links == NULL)
            return fail(c, "a lease of %" PRIx64 " is held by nobody", entry->lease.handle.locator);
    }
    for (const ih_entry *entry = c->store->queue; entry != NULL; entry = entry->next) {
        queued++;
        queued_bytes += ih_block_bytes(entry->segment, entry->block);
    }
    if (held != c->store->leases)
        return fail(c, "%" PRIu64 " leases are counted, %" PRIu64 " found", c->store->leases, held);
    if (links != linked)
        return fail(c, "%" PRIu64 " links lead from images, %" PRIu64 " to them", links, linked);
    if (queued != c->store->queue_count || queued_bytes != c->store->queue_bytes ||
        queued != retired)
        return fail(c, "the dying queue is wrong: %" PRIu64 " of %" PRIu64, queued, retired);
    return true;
}

static bool check_figures(const checking *c)
{
    const ih_store *s = c->store;
    if (c->images != s->images || c->dying != s->dying || c->dying_bytes != s->dying_bytes)
        return fail(c,
                    "%" PRIu64 " images (%" PRIu64 " dying) are counted, %" PRIu64 " (%" PRIu64
                    ") found",
                    s->images, s->dying, c->images, c->dying);
    if (c->used != s->used || c->warm != s->warm || c->idle != s->idle_count ||
        c->segments != s->segment_count)
        return fail(c, "bytes in use: %" PRIu64 " counted, %" PRIu64 " found", s->used, c->used);
    uint64_t found = c->used + c->free + c->warm + c->overhead + s->moving;
    if (s->committed != found)
        return fail(c, "committed bytes: %" PRIu64 " counted, %" PRIu64 " found", s->committed,
                    found);
    return true;
}

/* Of a daemon's store: what this process writes. */
static bool check_own(checking *c)
{
    for (const ih_segment *segment = c->store->all; segment != NULL; segment = segment->all_next) {
        if (!segment->registered || ih_find_segment(c->store->process, segment->heap.id) != segment)
            return fail(c, "segment %" PRIx64 " is wrongly registered", segment->heap.id);
        if (segment->heap.kind != IH_ORDINARY || segment->heap.base == NULL)
            continue;
        if (!check_heap(c, &segment->heap, NULL))
            return false;
        if (segment->bin != ih_heap_rank(&segment->heap))
            return fail(c, "segment %" PRIx64 " is in bin %d", segment->heap.id, segment->bin);
    }
    return check_bins(c);
}

static bool check_locked(checking *c)
{
    ih_store *store = c->store;
    if (!ih_names_check(&store->names))
        return fail(c, "the names are inconsistent");
    if (store->remote != NULL)
        return check_own(c) && check_entries(c);
    if (store->inherited)
        return check_entries(c);
    for (ih_segment *segment = store->all; segment != NULL; segment = segment->all_next) {
        if (!check_segment(c, segment))
            return false;
    }
    return check_bins(c) && check_entries(c) && check_figures(c);
}

ih_result ih_store_check(ih_store *store, char *message, size_t size)
{
    checking c = {.store = store, .message = message, .size = size};
    if (size > 0)
        message[0] = '\0';
    ih_lock(store->process);
    (void)ih_reclaim(store);
    ih_unlock(store->process); /* what that emptied is unmapped, and counted no more */
    ih_lock(store->process);
    bool good = check_locked(&c);
    ih_unlock(store->process);
    if (good && store->remote != NULL)
        return ih_remote_check(store, message, size);
    return good ? IH_OK : c.short_of_memory ? IH_MEMORY : IH_CORRUPT;
}
