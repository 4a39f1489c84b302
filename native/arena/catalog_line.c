/* The line of a session: images that nobody holds, on their way back to the producer (H7).
 *
 *      daemon                                   producer
 *      ---------------------------------------  ------------------------------------------
 *      the dying bit is set, a scan found
 *      nobody; entry into the ring, head + 1
 *                                               entry out of the ring; its header is cleared
 *                                               (unseal), if it has that nonce and is dying
 *                                               tail + 1
 *      tail has passed it and the header is
 *      cleared: the dying bit is cleared
 *                                               the bit is clear: the block is free
 *
 * So the header is cleared before the bit (H1), and a block is used again only after both. The ring
 * lies in memory that the producer may scribble over: it is written, and read again only after a
 * restart, when every entry is checked against the dying bits. What matters stands in the line.
 * A producer who takes entries and does not clear their headers keeps its memory filled with what
 * nobody can open; it is queued again when its segments retire.
 */
#include "catalog_state.h"

#include <stdlib.h>

#define LINE_MIN 64u

static uint64_t *ring(const ih_session *session, uint64_t at)
{
    return (uint64_t *)(void *)((uint8_t *)session->page + IH_PAGE) + 2u * (at % IH_RING_ENTRIES);
}

static ih_waiting_image *in_line(const ih_session *session, size_t at)
{
    return &session->line[(session->first + at) & (session->room - 1u)];
}

static bool grow(ih_session *session)
{
    if (session->count < session->room)
        return true;
    size_t room = session->room == 0 ? LINE_MIN : session->room * 2;
    ih_waiting_image *larger = malloc(room * sizeof *larger);
    if (larger == NULL)
        return false;
    for (size_t i = 0; i < session->count; i++)
        larger[i] = *in_line(session, i);
    free(session->line);
    session->line = larger;
    session->room = room;
    session->first = 0;
    return true;
}

static uint64_t bytes_of(const ih_waiting_image *image)
{
    return (uint64_t)image->units << IH_UNIT_SHIFT;
}

bool ih_line_add(ih_catalog *catalog, ih_session *session, ih_waiting_image image)
{
    if (!grow(session))
        return false;
    session->count++;
    *in_line(session, session->count - 1) = image;
    session->bytes += bytes_of(&image);
    image.segment->waiting++;
    catalog->in_line++;
    return true;
}

void ih_line_push(ih_session *session)
{
    if (session->page == NULL)
        return;
    uint64_t head = session->head;
    while (session->ringed < session->count && head - session->tail < IH_RING_ENTRIES) {
        const ih_waiting_image *image = in_line(session, session->ringed++);
        uint64_t locator =
            image->segment != NULL ? ih_locator(image->segment->info.id, image->unit) : 0;
        uint64_t *entry = ring(session, head++);
        __atomic_store_n(&entry[0], locator, __ATOMIC_RELAXED);
        __atomic_store_n(&entry[1], image->nonce, __ATOMIC_RELAXED);
    }
    if (head == session->head)
        return;
    session->head = head;
    __atomic_store_n(&session->page->head, head, __ATOMIC_RELEASE);
}

static ih_waiting_image take_first(ih_catalog *catalog, ih_session *session)
{
    ih_waiting_image image = *in_line(session, 0);
    session->first = (session->first + 1u) & (session->room - 1u);
    session->count--;
    if (image.segment != NULL) {
        session->bytes -= bytes_of(&image);
        image.segment->waiting--;
        catalog->in_line--;
    }
    if (session->count == 0 && session->room > LINE_MIN) {
        free(session->line);
        session->line = NULL;
        session->room = session->first = 0;
    }
    return image;
}

size_t ih_line_settle(ih_catalog *catalog, ih_session *session, ih_handle *out, size_t room)
{
    size_t told = 0;
    if (session->ringed == 0)
        return 0;
    uint64_t tail = __atomic_load_n(&session->page->tail, __ATOMIC_ACQUIRE);
    if (tail - session->tail > session->ringed)
        return 0; /* it claims to have taken what was never there */
    while (session->tail != tail && told < room) {
        ih_waiting_image image = take_first(catalog, session);
        session->ringed--;
        session->tail++;
        ih_header header;
        if (image.segment == NULL ||
            ih_heap_sealed(&image.segment->heap, image.unit, &image.nonce, &header))
            continue;
        ih_record_clear_dying(image.segment, image.unit);
        ih_note_undying(image.segment, image.units);
        out[told++] = (ih_handle){.locator = ih_locator(image.segment->info.id, image.unit),
                                  .nonce = image.nonce};
    }
    return told;
}

void ih_line_forget(ih_catalog *catalog, ih_session *session, const ih_record *record, bool requeue)
{
    for (size_t i = 0; i < session->count; i++) {
        /* A segment that is dropped is seldom in line: dedicated ones never are. */
        if (record != NULL && record->waiting == 0)
            return;
        ih_waiting_image *image = in_line(session, i);
        ih_record *segment = image->segment;
        if (segment == NULL || (record != NULL && segment != record))
            continue;
        session->bytes -= bytes_of(image);
        segment->waiting--;
        catalog->in_line--;
        image->segment = NULL;
        /* Without memory it is found again when its segment is recounted. */
        if (requeue && !ih_enqueue(catalog, segment,
                                   (ih_dying_image){image->unit, image->units, image->nonce}))
            segment->recount = catalog->doubtful = true;
    }
}

/* What a ring's entry names, if it is an image of that session that dies. */
static bool entry_of(ih_catalog *catalog, const ih_session *session, uint64_t at,
                     ih_waiting_image *out)
{
    const uint64_t *entry = ring(session, at);
    uint64_t locator = __atomic_load_n(&entry[0], __ATOMIC_RELAXED);
    *out = (ih_waiting_image){.unit = ih_locator_unit(locator),
                              .units = 1,
                              .nonce = __atomic_load_n(&entry[1], __ATOMIC_RELAXED)};
    ih_record *record = ih_record_of(catalog, ih_locator_id(locator));
    if (record == NULL || record->info.session != session->session ||
        record->heap.kind != IH_ORDINARY || out->unit < record->heap.first ||
        out->unit >= record->heap.end || !ih_record_dying(record, out->unit) ||
        ih_bit(record->held, out->unit))
        return false;
    /* Of another image there the producer's page says nothing: it would never be freed. */
    ih_header header;
    if (ih_heap_sealed(&record->heap, out->unit, NULL, &header)) {
        if (header.u.nonce != out->nonce)
            return false;
        out->units = header.units;
    }
    out->segment = record;
    return true;
}

ih_result ih_line_recover(ih_catalog *catalog, ih_session *session)
{
    uint64_t head = __atomic_load_n(&session->page->head, __ATOMIC_RELAXED);
    uint64_t tail = __atomic_load_n(&session->page->tail, __ATOMIC_ACQUIRE);
    session->head = head;
    session->tail = head - tail <= IH_RING_ENTRIES ? tail : head;
    for (uint64_t at = session->tail; at != head; at++) {
        ih_waiting_image image;
        bool good = entry_of(catalog, session, at, &image);
        if (!grow(session) || (good && !ih_reserve_bits(image.segment)))
            return IH_MEMORY;
        session->count++;
        session->ringed++;
        if (good) {
            /* The walk that follows is not to queue it, nor a second entry to be believed. */
            ih_bit_set(image.segment->held, image.unit);
            session->bytes += bytes_of(&image);
            ih_note_dying(image.segment, image.units);
            image.segment->waiting++;
            catalog->in_line++;
        }
        *in_line(session, session->count - 1) = image;
    }
    return IH_OK;
}
