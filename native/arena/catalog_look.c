/* Looking: what an image is, which there are, sums, and every invariant of the catalog. */
#include "catalog_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ih_describe(const ih_record *record, uint32_t unit, const ih_header *header, ih_stat *out)
{
    *out = (ih_stat){.handle = {ih_locator(record->info.id, unit), header->u.nonce},
                     .size = header->size,
                     .block = ih_units_bytes(record, header->units),
                     .created_ns = header->created_ns,
                     .dying = ih_record_dying(record, unit),
                     .dedicated = record->heap.kind == IH_DEDICATED,
                     .sealed_by_kernel = record->info.kernel_sealed};
    memcpy(out->image_header, header->image, sizeof out->image_header);
}

ih_result ih_catalog_find(ih_catalog *catalog, ih_handle handle, ih_stat *out, bool *dying)
{
    const ih_record *record = ih_record_of(catalog, ih_locator_id(handle.locator));
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_header header;
    bool found = record != NULL && ih_record_sealed(record, unit, &handle.nonce, &header);
    bool dies = found && ih_record_dying(record, unit);
    if (dying != NULL)
        *dying = dies;
    if (!found)
        return IH_GONE;
    if (out != NULL && (!dies || dying != NULL))
        ih_describe(record, unit, &header, out);
    return dies ? IH_GONE : IH_OK;
}

ih_result ih_catalog_stat(ih_catalog *catalog, ih_handle handle, ih_stat_reply *out)
{
    const ih_record *record = ih_record_of(catalog, ih_locator_id(handle.locator));
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_header header;
    if (record == NULL || !ih_record_sealed(record, unit, &handle.nonce, &header))
        return IH_GONE;
    ih_stat stat;
    ih_describe(record, unit, &header, &stat);
    *out = (ih_stat_reply){.handle = handle,
                           .size = stat.size,
                           .block = stat.block,
                           .created_ns = stat.created_ns,
                           .leases = ih_catalog_lessees(catalog, handle.locator, NULL, NULL, 0),
                           .linked = ih_catalog_holds(catalog, handle.locator),
                           .uid = record->info.uid,
                           .flags = (stat.dying ? IH_STAT_DYING : 0u) |
                                    (stat.dedicated ? IH_STAT_DEDICATED : 0u) |
                                    (stat.sealed_by_kernel ? IH_STAT_KERNEL : 0u) |
                                    (record->info.evictable ? IH_STAT_EVICTABLE : 0u) |
                                    (record->info.spilled ? IH_STAT_SPILLED : 0u)};
    memcpy(out->image_header, header.image, sizeof out->image_header);
    return IH_OK;
}

/* ---- listing --------------------------------------------------------------------------------- */

typedef struct {
    const ih_record *record;
    uint64_t cursor;
    ih_stat *out;
    size_t room, count;
} listing;

static bool list_image(void *context, uint32_t unit, const ih_header *header)
{
    listing *l = context;
    if (l->count < l->room && ih_locator(l->record->info.id, unit) > l->cursor)
        ih_describe(l->record, unit, header, &l->out[l->count++]);
    return l->count < l->room;
}

/* Most leases are of others: a bit for each hash of a locator that is looked for says so. */
#define SIEVE_SHIFT 14u

typedef struct {
    ih_stat *stats;
    size_t count;
    uint64_t sieve[(1u << SIEVE_SHIFT) / 64u];
} counting;

static uint32_t sieve_bit(uint64_t locator)
{
    return (uint32_t)(locator * UINT64_C(0x9e3779b97f4a7c15) >> (64u - SIEVE_SHIFT));
}

static void count_lease(counting *c, uint64_t locator)
{
    uint32_t bit = sieve_bit(locator);
    if ((c->sieve[bit / 64u] >> bit % 64u & 1u) == 0)
        return;
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->stats[middle].handle.locator < locator)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < c->count && c->stats[low].handle.locator == locator)
        c->stats[low].leases++;
}

size_t ih_catalog_list(ih_catalog *catalog, uint64_t cursor, ih_stat *out, size_t room)
{
    listing l = {.cursor = cursor, .out = out, .room = room};
    for (size_t i = ih_sorted_at(catalog, ih_locator_id(cursor));
         i < catalog->sorted_count && l.count < room; i++) {
        l.record = catalog->sorted[i];
        bool first = ih_locator_id(cursor) == l.record->info.id;
        ih_record_walk_from(l.record, first ? ih_locator_unit(cursor) : 0, list_image, &l);
    }
    ih_catalog_count_leases(catalog, out, l.count);
    return l.count;
}

void ih_catalog_count_leases(const ih_catalog *catalog, ih_stat *stats, size_t count)
{
    if (count == 0)
        return;
    counting c = {.stats = stats, .count = count};
    for (size_t i = 0; i < count; i++) {
        uint32_t bit = sieve_bit(stats[i].handle.locator);
        c.sieve[bit / 64u] |= UINT64_C(1) << bit % 64u;
    }
    /* Not ih_peek_all(): with a call for each lease it took half as long again. */
    size_t cursor = 0;
    for (const ih_cell *cell; (cell = ih_table_next(&catalog->families, &cursor)) != NULL;) {
        uint32_t blocks = ih_family_blocks(cell->value);
        for (uint32_t b = 0; b < blocks; b++) {
            const uint64_t *slots = ih_family_slots(cell->value, b);
            for (uint32_t i = 0; slots != NULL && i < IH_SLOTS; i++) {
                uint64_t locator = __atomic_load_n(&slots[i], __ATOMIC_ACQUIRE);
                if (locator != 0)
                    count_lease(&c, locator);
            }
        }
    }
}

/* ---- sums ------------------------------------------------------------------------------------ */

static void count_slot(void *context, uint64_t locator)
{
    (void)locator;
    (*(uint64_t *)context)++;
}

void ih_catalog_total(ih_catalog *catalog, ih_catalog_totals *out)
{
    ih_catalog_totals t = {.segments = catalog->sorted_count,
                           .families = catalog->families.count,
                           .queued = catalog->queued,
                           .ring = catalog->in_line};
    for (size_t i = 0; i < catalog->sorted_count; i++) {
        const ih_record *record = catalog->sorted[i];
        ih_segment_content content;
        t.committed += record->info.spilled ? 0 : record->info.bytes;
        t.warm += record->info.warm ? record->info.bytes : 0;
        if (ih_catalog_content(catalog, record->info.id, &content) != IH_OK)
            continue;
        t.images += content.images;
        /* What lies on disk takes none of the capacity. */
        t.image_bytes += record->info.spilled ? 0 : content.image_bytes;
        t.dying += content.dying;
        t.dying_bytes += content.dying_bytes;
        if (ih_is_retired(record))
            continue;
        t.free_bytes += content.free_bytes;
        if (content.largest_free > t.largest_free)
            t.largest_free = content.largest_free;
    }
    ih_peek_all(catalog, count_slot, &t.leases);
    *out = t;
}

/* ---- check ----------------------------------------------------------------------------------- */

typedef struct {
    ih_catalog *catalog;
    char *message;
    size_t size;
    uint64_t queued, in_line, queues, waiting;
} checking;

__attribute__((format(printf, 2, 3))) static bool wrong(const checking *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (c->message != NULL && c->size > 0)
        vsnprintf(c->message, c->size, format, arguments);
    va_end(arguments);
    return false;
}

static bool check_queue(checking *c, const ih_record *record)
{
    uint64_t id = record->info.id, bits = 0;
    for (uint64_t i = 0; record->queued != NULL && i < ih_bits_bytes(record) / 8u; i++)
        bits += (uint64_t)__builtin_popcountll(record->queued[i]);
    if (bits != record->queue_count)
        return wrong(c, "segment %" PRIx64 ": %" PRIu64 " images are marked as queued, %zu are", id,
                     bits, record->queue_count);
    for (size_t i = 0; i < record->queue_count; i++) {
        if (!ih_bit(record->queued, ih_bit_of(record, record->queue[i].unit)))
            return wrong(c, "segment %" PRIx64 ": unit %u is queued twice", id,
                         record->queue[i].unit);
    }
    c->queued += record->queue_count;
    c->waiting += record->waiting;
    c->queues += record->queue_count > 0 ? 1u : 0u;
    return true;
}

static bool check_range(const checking *c, const ih_record *record)
{
    uint64_t id = record->info.id, word = __atomic_load_n(record->range, __ATOMIC_RELAXED);
    uint64_t first = record->info.state / IH_RANGE_HEAD;
    uint64_t lines = ih_range_bytes(record->info.kind, record->info.bytes) / IH_RANGE_HEAD;
    if (word != id && !(word == 0 && record->heap.kind == IH_DEDICATED))
        return wrong(c, "segment %" PRIx64 ": its range says %" PRIx64, id, word);
    for (uint64_t at = first; at < first + lines; at++) {
        if ((c->catalog->taken[at / 64u] >> at % 64u & 1u) == 0)
            return wrong(c, "segment %" PRIx64 ": its range is not taken", id);
    }
    uint64_t bits = word == 0 ? 1 : 0;
    if (record->heap.kind == IH_ORDINARY) {
        bits = 0;
        for (uint64_t i = 0; i < ih_start_map_bytes(record->info.bytes) / 8u; i++)
            bits += (uint64_t)__builtin_popcountll(ih_record_bits(record)[i]);
    }
    if (bits != record->dying)
        return wrong(c, "segment %" PRIx64 ": %" PRIu64 " dying bits are counted, %" PRIu64 " set",
                     id, record->dying, bits);
    if (record->freed && word == id)
        return wrong(c, "segment %" PRIx64 ": its image was freed and may be opened", id);
    return true;
}

typedef struct {
    const checking *c;
    const ih_record *record;
    uint64_t alive;
    uint32_t end;
    bool good;
} walking;

/* An honest producer's images lie in its chain one behind the other. */
static bool check_image(void *context, uint32_t unit, const ih_header *header)
{
    walking *w = context;
    w->alive += ih_record_dying(w->record, unit) ? 0u : 1u;
    if (unit < w->end)
        w->good = wrong(w->c, "segment %" PRIx64 ": the image at unit %u begins inside another",
                        w->record->info.id, unit);
    w->end = unit + header->units;
    return w->good;
}

static bool check_honest(const checking *c, const ih_record *record)
{
    const ih_heap *heap = &record->heap;
    walking w = {.c = c, .record = record, .good = true};
    ih_record_walk_from(record, 0, check_image, &w);
    if (!w.good)
        return false;
    if (ih_is_retired(record) && !record->recount && w.alive != record->alive)
        return wrong(c, "segment %" PRIx64 ": %" PRIu64 " images are counted, %" PRIu64 " live",
                     record->info.id, record->alive, w.alive);
    if (heap->kind != IH_ORDINARY)
        return true;
    uint32_t unit = heap->first;
    while (ih_heap_next(heap, &unit))
        continue;
    uint32_t units = __atomic_load_n(&ih_heap_view(heap, unit)->units, __ATOMIC_RELAXED);
    /* A granted segment that nobody has formatted yet is all zeros. */
    if (unit + units != heap->end && !(unit == heap->first && units == 0))
        return wrong(c, "segment %" PRIx64 ": its chain breaks off at unit %u", record->info.id,
                     unit);
    return true;
}

static bool check_sessions(checking *c)
{
    size_t cursor = 0;
    for (const ih_cell *cell; (cell = ih_table_next(&c->catalog->sessions, &cursor)) != NULL;) {
        const ih_session *session = cell->value;
        uint64_t bytes = 0;
        if (session->ringed > session->count || session->head - session->tail != session->ringed)
            return wrong(c, "session %" PRIx64 ": its ring and its line disagree", cell->key);
        for (size_t i = 0; i < session->count; i++) {
            const ih_waiting_image *image =
                &session->line[(session->first + i) & (session->room - 1u)];
            if (image->segment == NULL)
                continue;
            bytes += (uint64_t)image->units << IH_UNIT_SHIFT;
            c->in_line++;
            if (!ih_record_dying(image->segment, image->unit) ||
                image->segment->info.session != cell->key ||
                ih_bit(image->segment->queued, image->unit))
                return wrong(c, "session %" PRIx64 ": its line holds what does not die", cell->key);
        }
        if (bytes != session->bytes)
            return wrong(c, "session %" PRIx64 ": %" PRIu64 " bytes wait, %" PRIu64 " are counted",
                         cell->key, bytes, session->bytes);
    }
    return true;
}

ih_result ih_catalog_check(ih_catalog *catalog, bool honest, char *message, size_t size)
{
    checking c = {.catalog = catalog, .message = message, .size = size};
    if (message != NULL && size > 0)
        message[0] = '\0';
    bool good = catalog->segments.count == catalog->sorted_count ||
                wrong(&c, "the two lists of segments disagree");
    for (size_t i = 0; i < catalog->sorted_count && good; i++) {
        const ih_record *record = catalog->sorted[i];
        if (ih_record_of(catalog, record->info.id) != record ||
            (i > 0 && catalog->sorted[i - 1]->info.id >= record->info.id))
            good = wrong(&c, "segment %" PRIx64 " is not where its id is", record->info.id);
        good = good && check_range(&c, record) && check_queue(&c, record) &&
               (!honest || check_honest(&c, record));
    }
    good = good && check_sessions(&c);
    uint64_t queues = 0;
    for (const ih_record *record = catalog->queues; record != NULL; record = record->queue_next)
        queues++;
    if (good && (c.queued != catalog->queued || c.in_line != catalog->in_line ||
                 queues != c.queues || c.waiting != c.in_line))
        good = wrong(&c,
                     "%" PRIu64 " images queued and %" PRIu64 " in line are counted, %" PRIu64
                     " and %" PRIu64 " found",
                     catalog->queued, catalog->in_line, c.queued, c.in_line);
    return good ? IH_OK : IH_CORRUPT;
}
