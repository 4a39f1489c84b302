/* Segments in the catalog: mapping them, walking them, retiring and dropping them. */
#include "catalog_state.h"

#include <stdlib.h>
#include <string.h>

#define DEDICATED_VIEW (2u * IH_PAGE) /* the segment's header, and the page of the image's */

ih_record *ih_record_of(const ih_catalog *catalog, uint64_t id)
{
    return ih_table_get(&catalog->segments, id);
}

size_t ih_sorted_at(const ih_catalog *catalog, uint64_t id)
{
    size_t low = 0, high = catalog->sorted_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (catalog->sorted[middle]->info.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- walking --------------------------------------------------------------------------------- */

bool ih_record_sealed(const ih_record *record, uint32_t unit, const uint64_t *nonce, ih_header *out)
{
    return !record->freed && ih_heap_sealed(&record->heap, unit, nonce, out);
}

static void walk(const ih_record *record, uint32_t from, bool false_starts, ih_see *see,
                 void *context)
{
    const ih_heap *heap = &record->heap;
    ih_header header;
    if (heap->kind == IH_DEDICATED) {
        if (from <= heap->first && ih_record_sealed(record, heap->first, NULL, &header))
            (void)see(context, heap->first, &header);
        return;
    }
    const uint64_t *starts = (const uint64_t *)(const void *)(heap->view + IH_PAGE);
    if (from < heap->first)
        from = heap->first;
    for (uint32_t word = from / 64u; word * 64u < heap->end; word++) {
        uint64_t bits = __atomic_load_n(&starts[word], __ATOMIC_ACQUIRE);
        if (word == from / 64u)
            bits &= UINT64_MAX << from % 64u;
        for (; bits != 0; bits &= bits - 1u) {
            uint32_t unit = word * 64u + (uint32_t)__builtin_ctzll(bits);
            bool sealed = ih_heap_sealed(heap, unit, NULL, &header);
            if ((sealed || false_starts) && !see(context, unit, sealed ? &header : NULL))
                return;
        }
    }
}

void ih_record_walk_from(const ih_record *record, uint32_t from, ih_see *see, void *context)
{
    walk(record, from, false, see, context);
}

void ih_record_walk_starts(const ih_record *record, uint32_t from, ih_see *see, void *context)
{
    walk(record, from, true, see, context);
}

typedef struct {
    const ih_record *record;
    uint64_t end; /* of what was counted; images of a hostile producer lie in one another */
    ih_segment_content content;
} counting;

static bool count_image(void *context, uint32_t unit, const ih_header *header)
{
    counting *c = context;
    uint64_t start = (uint64_t)unit << IH_UNIT_SHIFT;
    uint64_t end = start + ih_units_bytes(c->record, header->units);
    uint64_t bytes = end <= c->end ? 0 : end - (start > c->end ? start : c->end);
    c->end += bytes > 0 ? end - c->end : 0;
    if (ih_record_dying(c->record, unit)) {
        c->content.dying++;
        c->content.dying_bytes += bytes;
    } else {
        c->content.images++;
        c->content.image_bytes += bytes;
    }
    return true;
}

__attribute__((no_sanitize("address"))) static void count_free(const ih_heap *heap,
                                                               ih_segment_content *content)
{
    /* The length is loaded once: what is counted is what is stepped over, so that all of it
     * together is no more than the segment. */
    for (uint32_t unit = heap->first, units; unit < heap->end; unit += units) {
        const ih_header *block = ih_heap_view(heap, unit);
        units = __atomic_load_n(&block->units, __ATOMIC_ACQUIRE);
        if (units == 0 || units > heap->end - unit)
            return;
        if (__atomic_load_n(&block->state, __ATOMIC_RELAXED) != IH_FREE)
            continue;
        uint64_t bytes = (uint64_t)units << IH_UNIT_SHIFT;
        content->free_bytes += bytes;
        if (bytes > content->largest_free)
            content->largest_free = bytes;
    }
}

ih_result ih_catalog_content(ih_catalog *catalog, uint64_t id, ih_segment_content *out)
{
    const ih_record *record = ih_record_of(catalog, id);
    if (record == NULL)
        return IH_GONE;
    counting c = {.record = record};
    ih_record_walk_from(record, 0, count_image, &c);
    if (record->heap.kind == IH_ORDINARY)
        count_free(&record->heap, &c.content);
    *out = c.content;
    return IH_OK;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static int copy_view(ih_record *record, int fd, const uint8_t **out)
{
    uint64_t bytes = record->info.kind == IH_ORDINARY ? record->info.bytes : DEDICATED_VIEW;
    uint8_t *copy = aligned_alloc(IH_PAGE, (size_t)bytes);
    if (copy == NULL)
        return ENOMEM;
    int code = ih_os_file_read(fd, 0, copy, bytes);
    if (code != 0) {
        free(copy);
        return code;
    }
    *out = copy;
    return 0;
}

/* Read-only, from a read-only description: a mapping that could be made writable would stand in
 * the way of F_SEAL_WRITE. */
static int map_view(ih_record *record, int fd)
{
    unsigned seals = 0;
    int reader = -1;
    int code = ih_os_file_seals(fd, &seals);
    if (code == 0 && (seals & IH_OS_SEAL_SHRINK) == 0)
        return EPERM; /* reading what somebody may cut off is SIGBUS */
    if (code == 0)
        code = ih_os_file_reopen(fd, false, &reader);
    if (code != 0)
        return code;
    uint8_t *view = NULL;
    code = ih_os_map(reader, record->info.kind == IH_ORDINARY ? record->info.bytes : DEDICATED_VIEW,
                     false, &view);
    ih_os_close(reader);
    record->heap.view = view;
    return code;
}

static void unmap_view(ih_record *record)
{
    if (record->copied)
        free((void *)(uintptr_t)record->heap.view);
    else
        ih_os_unmap((void *)(uintptr_t)record->heap.view,
                    record->info.kind == IH_ORDINARY ? record->info.bytes : DEDICATED_VIEW);
    record->heap.view = NULL;
}

static bool plausible(const ih_catalog *catalog, const ih_segment_info *info, uint64_t size)
{
    uint64_t units = info->bytes >> IH_UNIT_SHIFT;
    bool shape = info->bytes % IH_PAGE == 0 && info->bytes >= DEDICATED_VIEW && size == info->bytes;
    if (info->kind == IH_ORDINARY)
        shape = shape && !info->spilled && units <= IH_UNITS_MAX &&
                ih_heap_first_unit(IH_ORDINARY, info->bytes) < units;
    else
        shape = shape && info->kind == IH_DEDICATED && units <= UINT32_MAX;
    uint64_t range = ih_range_bytes(info->kind, info->bytes);
    return shape && info->id != 0 && info->id <= IH_ID_MASK && info->state % IH_RANGE_HEAD == 0 &&
           info->state <= catalog->state_bytes && range <= catalog->state_bytes - info->state;
}

static bool reserve(ih_catalog *catalog)
{
    if (!ih_table_reserve(&catalog->segments))
        return false;
    if (catalog->sorted_count < catalog->sorted_room)
        return true;
    size_t room = catalog->sorted_room == 0 ? 64 : catalog->sorted_room * 2;
    ih_record **moved = realloc(catalog->sorted, room * sizeof(ih_record *));
    if (moved == NULL)
        return false;
    catalog->sorted = moved;
    catalog->sorted_room = room;
    return true;
}

/* Under its id, for which there is room. */
static void enter(ih_catalog *catalog, ih_record *record)
{
    size_t at = ih_sorted_at(catalog, record->info.id);
    memmove(&catalog->sorted[at + 1], &catalog->sorted[at],
            (catalog->sorted_count - at) * sizeof(ih_record *));
    catalog->sorted[at] = record;
    catalog->sorted_count++;
    ih_table_put(&catalog->segments, record->info.id, record);
}

static void leave(ih_catalog *catalog, const ih_record *record)
{
    size_t at = ih_sorted_at(catalog, record->info.id);
    catalog->sorted_count--;
    memmove(&catalog->sorted[at], &catalog->sorted[at + 1],
            (catalog->sorted_count - at) * sizeof(ih_record *));
    ih_table_remove(&catalog->segments, record->info.id);
}

static ih_result open_range(ih_record *record, bool fresh, ih_error *error)
{
    if (fresh) {
        memset(record->range, 0, (size_t)ih_range_bytes(record->info.kind, record->info.bytes));
        __atomic_store_n(record->range, record->info.id, __ATOMIC_RELEASE);
        return IH_OK;
    }
    uint64_t word = __atomic_load_n(record->range, __ATOMIC_RELAXED);
    if (word != record->info.id && !(word == 0 && record->info.kind == IH_DEDICATED))
        return ih_fail(error, IH_GONE, 0, "take over a segment that is gone");
    return IH_OK;
}

static uint64_t count_dying(const ih_record *record)
{
    if (record->heap.kind == IH_DEDICATED)
        return ih_record_dying(record, record->heap.first) ? 1 : 0;
    uint64_t found = 0;
    for (uint64_t i = 0; i < ih_start_map_bytes(record->info.bytes) / 8u; i++)
        found += (uint64_t)__builtin_popcountll(ih_record_bits(record)[i]);
    return found;
}

ih_result ih_catalog_add_segment(ih_catalog *catalog, const ih_segment_info *info, int fd,
                                 bool fresh, ih_error *error)
{
    uint64_t size = 0;
    int code = ih_os_file_size(fd, &size);
    if (code != 0)
        return ih_system_error(error, code, "look at a segment");
    if (!plausible(catalog, info, size))
        return ih_fail(error, IH_INVALID, 0, "add a segment whose description does not hold");
    if (ih_record_of(catalog, info->id) != NULL)
        return ih_fail(error, IH_CONFLICT, 0, "add a segment whose id is taken");
    ih_record *record = reserve(catalog) ? calloc(1, sizeof *record) : NULL;
    if (record == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a segment");
    record->info = *info;
    record->range = (uint64_t *)(void *)(catalog->state + info->state);
    record->heap = (ih_heap){.id = info->id,
                             .secret = {info->secret[0], info->secret[1]},
                             .first = ih_heap_first_unit(info->kind, info->bytes),
                             .end = (uint32_t)(info->bytes >> IH_UNIT_SHIFT),
                             .kind = info->kind};
    record->copied = info->spilled;
    code = info->spilled ? copy_view(record, fd, &record->heap.view) : map_view(record, fd);
    if (code != 0) {
        free(record);
        return ih_system_error(error, code, "map a segment");
    }
    ih_result result = open_range(record, fresh, error);
    if (result != IH_OK) {
        unmap_view(record);
        free(record);
        return result;
    }
    if (!fresh)
        record->dying = count_dying(record);
    /* After a restart the word tells of a dedicated one only that its image dies, or died. */
    record->freed = record->heap.kind == IH_DEDICATED && record->dying != 0 && info->warm;
    record->info.warm = record->freed;
    enter(catalog, record);
    return IH_OK;
}

/* ---- what changes ---------------------------------------------------------------------------- */

ih_result ih_catalog_segment(const ih_catalog *catalog, uint64_t id, ih_segment_info *out)
{
    const ih_record *record = ih_record_of(catalog, id);
    if (record == NULL)
        return IH_GONE;
    *out = record->info;
    return IH_OK;
}

void ih_catalog_segments(const ih_catalog *catalog, uint64_t *ids, size_t room, size_t *count)
{
    for (size_t i = 0; i < catalog->sorted_count && i < room; i++)
        ids[i] = catalog->sorted[i]->info.id;
    *count = catalog->sorted_count;
}

void ih_record_leave_empty(ih_catalog *catalog, ih_record *record)
{
    if (!record->told_empty)
        return;
    if (record->empty_previous != NULL)
        record->empty_previous->empty_next = record->empty_next;
    else
        catalog->empty = record->empty_next;
    if (record->empty_next != NULL)
        record->empty_next->empty_previous = record->empty_previous;
    record->empty_next = record->empty_previous = NULL;
    record->told_empty = false;
}

void ih_record_note_empty(ih_catalog *catalog, ih_record *record)
{
    bool retired = ih_is_retired(record);
    bool free_to_go = record->freed ? !record->info.warm || retired
                                    : retired && record->alive == 0 && record->queue_count == 0;
    if (!free_to_go || record->told_empty)
        return;
    record->told_empty = true;
    record->empty_next = catalog->empty;
    record->empty_previous = NULL;
    if (catalog->empty != NULL)
        catalog->empty->empty_previous = record;
    catalog->empty = record;
}

void ih_catalog_mark(ih_catalog *catalog, uint64_t id, bool kernel_sealed, bool warm)
{
    ih_record *record = ih_record_of(catalog, id);
    if (record == NULL)
        return;
    record->info.kernel_sealed = kernel_sealed;
    if (warm == record->info.warm || record->heap.kind != IH_DEDICATED)
        return;
    if (warm && record->freed && !ih_is_retired(record)) {
        record->info.warm = true;
        ih_record_leave_empty(catalog, record);
    } else if (!warm) {
        record->info.warm = false;
        ih_record_note_empty(catalog, record);
    }
}

typedef struct {
    ih_catalog *catalog;
    ih_record *record;
    bool complete;
} retiring;

static bool retire_image(void *context, uint32_t unit, const ih_header *header)
{
    retiring *r = context;
    if (!ih_record_dying(r->record, unit)) {
        r->record->alive++;
        r->record->alive_bytes += (uint64_t)header->units << IH_UNIT_SHIFT;
    } else if (!ih_bit(r->record->done, unit) && !r->record->freed &&
               !ih_enqueue(r->catalog, r->record,
                           (ih_dying_image){unit, header->units, header->u.nonce})) {
        r->complete = false;
    }
    return true;
}

/* What lives in it is counted, what dies is queued: nobody else will free it now. */
void ih_record_count_retired(ih_catalog *catalog, ih_record *record)
{
    retiring r = {catalog, record, true};
    record->alive = record->alive_bytes = 0;
    ih_record_walk_from(record, 0, retire_image, &r);
    record->recount = !r.complete;
    catalog->doubtful = catalog->doubtful || record->recount;
}

void ih_catalog_retire(ih_catalog *catalog, uint64_t id)
{
    ih_record *record = ih_record_of(catalog, id);
    if (record == NULL || ih_is_retired(record))
        return;
    ih_session *session = ih_table_get(&catalog->sessions, record->info.session);
    if (session != NULL)
        ih_line_forget(catalog, session, record, true);
    record->info.session = 0;
    record->info.warm = false;
    ih_record_count_retired(catalog, record);
    ih_record_note_empty(catalog, record);
}

ih_result ih_catalog_rename(ih_catalog *catalog, uint64_t id, uint64_t new_id)
{
    ih_record *record = ih_record_of(catalog, id);
    if (record == NULL)
        return IH_GONE;
    if (!record->info.warm || !record->freed || new_id == 0 || new_id > IH_ID_MASK)
        return IH_INVALID;
    if (ih_record_of(catalog, new_id) != NULL)
        return IH_CONFLICT;
    leave(catalog, record);
    record->info.id = record->heap.id = new_id;
    record->info.warm = record->freed = false;
    enter(catalog, record);
    /* The old image's header does not hold under the new id: its check covers the locator. */
    __atomic_store_n(record->range, new_id, __ATOMIC_RELEASE);
    record->dying = record->dying_bytes = 0;
    return IH_OK;
}

ih_result ih_catalog_replace(ih_catalog *catalog, uint64_t id, int fd, ih_error *error)
{
    ih_record *record = ih_record_of(catalog, id);
    uint64_t size = 0;
    ih_header before, after;
    if (record == NULL)
        return ih_fail(error, IH_GONE, 0, "move a segment to a file");
    if (record->heap.kind != IH_DEDICATED ||
        !ih_record_sealed(record, record->heap.first, NULL, &before))
        return ih_fail(error, IH_INVALID, 0, "move a segment to a file that holds no image");
    int code = ih_os_file_size(fd, &size);
    const uint8_t *copy = NULL;
    if (code == 0 && size != record->info.bytes)
        return ih_fail(error, IH_CORRUPT, 0, "move a segment to a file of another size");
    if (code == 0)
        code = copy_view(record, fd, &copy);
    if (code != 0)
        return ih_system_error(error, code, "read the file that a segment was moved to");
    ih_heap moved = record->heap;
    moved.view = copy;
    if (!ih_heap_sealed(&moved, moved.first, &before.u.nonce, &after) ||
        after.size != before.size) {
        free((void *)(uintptr_t)copy);
        return ih_fail(error, IH_CORRUPT, 0, "move a segment to a file of other contents");
    }
    unmap_view(record);
    record->heap = moved;
    record->copied = record->info.spilled = true;
    (void)__atomic_fetch_add(record->range + 1, 1, __ATOMIC_RELEASE);
    return IH_OK;
}

/* ---- dropping -------------------------------------------------------------------------------- */

void ih_record_forget(ih_catalog *catalog, ih_record *record)
{
    ih_session *session = ih_table_get(&catalog->sessions, record->info.session);
    if (session != NULL)
        ih_line_forget(catalog, session, record, false);
    ih_leave_queues(catalog, record);
    ih_record_leave_empty(catalog, record);
    leave(catalog, record);
    unmap_view(record);
    free(record->done);
    free(record);
}

void ih_catalog_drop(ih_catalog *catalog, uint64_t id)
{
    ih_record *record = ih_record_of(catalog, id);
    if (record == NULL)
        return;
    __atomic_store_n(record->range, IH_RANGE_GONE, __ATOMIC_SEQ_CST);
    ih_catalog_give_range(catalog, record->info.kind, record->info.bytes, record->info.state);
    ih_record_forget(catalog, record);
}

uint64_t ih_catalog_empty(ih_catalog *catalog)
{
    bool look = catalog->doubtful;
    catalog->doubtful = false;
    for (size_t i = 0; look && i < catalog->sorted_count; i++) {
        ih_record *record = catalog->sorted[i];
        if (record->recount && ih_is_retired(record)) {
            ih_record_count_retired(catalog, record);
            ih_record_note_empty(catalog, record);
        }
    }
    return catalog->empty != NULL ? catalog->empty->info.id : 0;
}
