/* Dying images: condemning, holding, reviving them, and finding out that nobody leases them (H1).
 *
 * One scan of all tables serves everything that is queued, in whatever segments: each locator that
 * it finds is looked up by its segment's id and sets one bit. The cost is the slots in use, plus a
 * few instructions for each queued image.
 */
#include "catalog_state.h"

#include <stdlib.h>
#include <string.h>

#define SCAN_MIN 64u

/* ---- the queue of a segment ------------------------------------------------------------------ */

bool ih_reserve_bits(ih_record *record)
{
    if (record->queued != NULL)
        return true;
    uint64_t bytes = ih_bits_bytes(record);
    uint64_t *bits = calloc(2, (size_t)bytes);
    if (bits == NULL)
        return false;
    record->queued = bits;
    record->held = bits + bytes / 8u;
    return true;
}

bool ih_enqueue(ih_catalog *catalog, ih_record *record, ih_dying_image image)
{
    if (!ih_reserve_bits(record))
        return false;
    uint32_t bit = ih_bit_of(record, image.unit);
    if (ih_bit(record->queued, bit))
        return true;
    if (record->queue_count == record->queue_room) {
        size_t room = record->queue_room == 0 ? 4 : record->queue_room * 2;
        ih_dying_image *larger = realloc(record->queue, room * sizeof *larger);
        if (larger == NULL)
            return false;
        record->queue = larger;
        record->queue_room = room;
    }
    record->queue[record->queue_count++] = image;
    ih_bit_set(record->queued, bit);
    catalog->queued++;
    if (record->queue_count > 1)
        return true;
    record->queue_previous = NULL;
    record->queue_next = catalog->queues;
    if (catalog->queues != NULL)
        catalog->queues->queue_previous = record;
    catalog->queues = record;
    return true;
}

/* The queue is empty from here on; its memory goes. */
void ih_leave_queues(ih_catalog *catalog, ih_record *record)
{
    catalog->queued -= record->queue_count;
    if (record->queue_next != NULL || record->queue_previous != NULL || catalog->queues == record) {
        if (record->queue_previous != NULL)
            record->queue_previous->queue_next = record->queue_next;
        else
            catalog->queues = record->queue_next;
        if (record->queue_next != NULL)
            record->queue_next->queue_previous = record->queue_previous;
    }
    free(record->queue);
    free(record->queued);
    record->queue = NULL;
    record->queued = record->held = NULL;
    record->queue_count = record->queue_room = 0;
    record->queue_next = record->queue_previous = NULL;
}

/* ---- condemning, reviving -------------------------------------------------------------------- */

static ih_record *segment_of(const ih_catalog *catalog, uint64_t locator)
{
    return ih_record_of(catalog, ih_locator_id(locator));
}

static bool inside(const ih_record *record, uint32_t unit)
{
    return unit >= record->heap.first && unit < record->heap.end &&
           (record->heap.kind == IH_ORDINARY || unit == record->heap.first);
}

static void leave_alive(ih_record *record, uint32_t units)
{
    uint64_t bytes = (uint64_t)units << IH_UNIT_SHIFT;
    record->alive--;
    record->alive_bytes -= bytes < record->alive_bytes ? bytes : record->alive_bytes;
}

ih_result ih_catalog_condemn(ih_catalog *catalog, ih_handle handle, ih_error *error)
{
    ih_record *record = segment_of(catalog, handle.locator);
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_header header;
    if (record == NULL || !inside(record, unit) || ih_record_dying(record, unit))
        return ih_fail(error, IH_GONE, 0, "delete an image");
    if (!ih_record_sealed(record, unit, &handle.nonce, &header)) {
        /* In a retired segment either it never was there, or somebody has written over it. */
        record->recount = record->recount || ih_is_retired(record);
        catalog->doubtful = catalog->doubtful || record->recount;
        return ih_fail(error, IH_GONE, 0, "delete an image");
    }
    if (!ih_enqueue(catalog, record, (ih_dying_image){unit, header.units, handle.nonce}))
        return ih_fail(error, IH_MEMORY, ENOMEM, "delete an image");
    ih_record_set_dying(record, unit);
    ih_note_dying(record, header.units);
    if (ih_is_retired(record) && record->alive > 0)
        leave_alive(record, header.units);
    return IH_OK;
}

/* What has left the queue was promised to its producer, or is gone. */
ih_result ih_catalog_revive(ih_catalog *catalog, ih_handle handle)
{
    ih_record *record = segment_of(catalog, handle.locator);
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_header header;
    if (record == NULL || !inside(record, unit) || !ih_record_dying(record, unit) ||
        !ih_bit(record->queued, ih_bit_of(record, unit)) ||
        !ih_record_sealed(record, unit, &handle.nonce, &header))
        return IH_GONE;
    ih_record_clear_dying(record, unit);
    ih_note_undying(record, header.units);
    if (ih_is_retired(record)) {
        record->alive++;
        record->alive_bytes += (uint64_t)header.units << IH_UNIT_SHIFT;
    }
    return IH_OK;
}

/* ---- holds ----------------------------------------------------------------------------------- */

ih_result ih_catalog_hold(ih_catalog *catalog, uint64_t locator)
{
    ih_cell *cell = ih_table_cell(&catalog->holds, locator);
    if (cell != NULL) {
        cell->value = (void *)((uintptr_t)cell->value + 1u);
        return IH_OK;
    }
    if (locator == 0)
        return IH_INVALID;
    if (!ih_table_reserve(&catalog->holds))
        return IH_MEMORY;
    ih_table_put(&catalog->holds, locator, (void *)(uintptr_t)1);
    return IH_OK;
}

void ih_catalog_unhold(ih_catalog *catalog, uint64_t locator)
{
    ih_cell *cell = ih_table_cell(&catalog->holds, locator);
    if (cell == NULL)
        return;
    uintptr_t count = (uintptr_t)cell->value - 1u;
    cell->value = (void *)count;
    if (count > 0)
        return;
    ih_table_remove(&catalog->holds, locator);
    catalog->scan_at = 0;
}

uint32_t ih_catalog_holds(const ih_catalog *catalog, uint64_t locator)
{
    uintptr_t count = (uintptr_t)ih_table_get(&catalog->holds, locator);
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

/* ---- reclaiming ------------------------------------------------------------------------------ */

static void mark_held(void *context, uint64_t locator)
{
    ih_record *record = segment_of(context, locator);
    uint32_t unit = ih_locator_unit(locator);
    if (record != NULL && record->held != NULL && inside(record, unit))
        ih_bit_set(record->held, ih_bit_of(record, unit));
}

/* Nobody leases it and nothing holds it. False: it could not be told, and stays in the queue. */
static bool dispose(ih_catalog *catalog, ih_record *record, ih_session *session,
                    const ih_dying_image *image, ih_handle *out, size_t room, size_t *freed)
{
    if (session != NULL) {
        ih_waiting_image waiting = {record, image->unit, image->units, image->nonce};
        return ih_line_add(catalog, session, waiting);
    }
    if (*freed == room)
        return false;
    if (record->heap.kind == IH_DEDICATED) {
        record->freed = true;
    } else {
        /* So that a recount does not find it again. Without memory it may be told twice. */
        if (record->done == NULL)
            record->done = calloc(1, (size_t)ih_bits_bytes(record));
        if (record->done != NULL)
            ih_bit_set(record->done, image->unit);
    }
    out[(*freed)++] =
        (ih_handle){.locator = ih_locator(record->info.id, image->unit), .nonce = image->nonce};
    return true;
}

static void sift(ih_catalog *catalog, ih_record *record, ih_handle *out, size_t room, size_t *freed)
{
    ih_session *session = NULL;
    bool by_ring = record->heap.kind == IH_ORDINARY && !ih_is_retired(record);
    if (by_ring)
        session = ih_table_get(&catalog->sessions, record->info.session);
    size_t kept = 0, count = record->queue_count;
    for (size_t i = 0; i < count; i++) {
        ih_dying_image image = record->queue[i];
        uint32_t bit = ih_bit_of(record, image.unit);
        bool revived = !ih_record_dying(record, image.unit);
        bool stays =
            !revived && (ih_bit(record->held, bit) || (by_ring && session == NULL) ||
                         (catalog->holds.count > 0 &&
                          ih_catalog_holds(catalog, ih_locator(record->info.id, image.unit)) > 0));
        if (!revived && !stays)
            stays = !dispose(catalog, record, session, &image, out, room, freed);
        if (stays)
            record->queue[kept++] = image;
        else
            ih_bit_clear(record->queued, bit);
    }
    record->queue_count = kept;
    catalog->queued -= count - kept;
    if (kept == 0)
        ih_leave_queues(catalog, record);
    ih_record_note_empty(catalog, record);
}

static void scan(ih_catalog *catalog, ih_handle *out, size_t room, size_t *freed)
{
    for (ih_record *record = catalog->queues; record != NULL; record = record->queue_next)
        memset(record->held, 0, (size_t)ih_bits_bytes(record));
    /* All dying bits are set, and the scan of each table begins with a fence. */
    if (!ih_scan_all(catalog, mark_held, catalog))
        return;
    for (ih_record *record = catalog->queues; record != NULL;) {
        ih_record *next = record->queue_next;
        sift(catalog, record, out, room, freed);
        record = next;
    }
    /* The next scan pays when as much again has come in. */
    catalog->scan_at = catalog->queued * 2u > SCAN_MIN ? catalog->queued * 2u : SCAN_MIN;
}

ih_result ih_catalog_reclaim(ih_catalog *catalog, bool force, ih_handle *out, size_t room,
                             size_t *freed)
{
    size_t cursor = 0, told = 0;
    for (ih_cell *cell; (cell = ih_table_next(&catalog->sessions, &cursor)) != NULL;)
        told += ih_line_settle(catalog, cell->value, out + told, room - told);
    if (catalog->queued > 0 && (force || catalog->queued >= catalog->scan_at))
        scan(catalog, out, room, &told);
    cursor = 0;
    for (ih_cell *cell; (cell = ih_table_next(&catalog->sessions, &cursor)) != NULL;)
        ih_line_push(cell->value);
    *freed = told;
    return IH_OK;
}

bool ih_catalog_is_busy(const ih_catalog *catalog)
{
    return catalog->queued > 0 || catalog->in_line > 0;
}

/* ---- after a restart ------------------------------------------------------------------------- */

/* A dying bit is set there. What is in a ring is the line's business; what its producer has
 * cleared is free; all else is queued again. In a retired segment the bit stays set for good. */
static ih_result recover_bit(ih_catalog *catalog, ih_record *record, uint32_t unit)
{
    ih_header header;
    if (ih_bit(record->held, ih_bit_of(record, unit)))
        return IH_OK;
    if (ih_record_sealed(record, unit, NULL, &header)) {
        ih_dying_image image = {unit, header.units, header.u.nonce};
        ih_note_dying(record, header.units);
        return ih_enqueue(catalog, record, image) ? IH_OK : IH_MEMORY;
    }
    if (record->heap.kind == IH_DEDICATED)
        record->freed = true;
    else if (!ih_is_retired(record))
        ih_record_clear_dying(record, unit);
    return IH_OK;
}

static ih_result recover_segment(ih_catalog *catalog, ih_record *record)
{
    ih_result result = IH_OK;
    if (record->heap.kind == IH_DEDICATED) {
        if (!record->freed && ih_record_dying(record, record->heap.first))
            result = recover_bit(catalog, record, record->heap.first);
    } else {
        const uint64_t *words = ih_record_bits(record);
        for (uint32_t word = 0; word * 64u < record->heap.end && result == IH_OK; word++) {
            for (uint64_t bits = words[word]; bits != 0 && result == IH_OK; bits &= bits - 1u)
                result = recover_bit(catalog, record, word * 64u + (uint32_t)__builtin_ctzll(bits));
        }
    }
    if (result == IH_OK && record->queue_count == 0)
        ih_leave_queues(catalog, record);
    return result;
}

ih_result ih_catalog_recover(ih_catalog *catalog, ih_error *error)
{
    size_t cursor = 0;
    ih_result result = IH_OK;
    for (ih_cell *cell;
         result == IH_OK && (cell = ih_table_next(&catalog->sessions, &cursor)) != NULL;)
        result = ih_line_recover(catalog, cell->value);
    for (size_t i = 0; i < catalog->sorted_count && result == IH_OK; i++)
        result = recover_segment(catalog, catalog->sorted[i]);
    if (result != IH_OK)
        return ih_fail(error, result, ENOMEM, "find what was dying before the restart");
    for (size_t i = 0; i < catalog->sorted_count; i++) {
        ih_record *record = catalog->sorted[i];
        if (ih_is_retired(record))
            ih_record_count_retired(catalog, record);
        ih_record_note_empty(catalog, record);
    }
    return IH_OK;
}
