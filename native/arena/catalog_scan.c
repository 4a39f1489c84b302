/* Looking for images by what their headers say, and what is where in a segment: in bounded steps,
 * since the daemon's clients wait meanwhile.
 *
 * There is no index. A step looks at so many images, or for so long, and says where to go on; a
 * million of them are a hundred steps. Of a sorted scan a step keeps the best of its own, and
 * whoever asks merges these and tells the next step what is good enough by now.
 */
#include "catalog_state.h"

#include <string.h>

/* Images, or what their producer marked as such, between two looks at the clock; a segment that is
 * passed over counts as one. */
#define LOOKS_OF_CLOCK 64u

/* ---- the kind of a root: docs/image-format.md ------------------------------------------------ */

#define IMAGE_MAGIC 0x4849u
#define CONSTANTS 8u
#define NODE_BIT 0x80u
#define KIND_MASK 0x3fu

static uint32_t root_of(const ih_record *record, uint32_t unit, const ih_header *header)
{
    uint16_t magic;
    uint32_t root;
    memcpy(&magic, header->image, sizeof magic);
    memcpy(&root, header->image + 4, sizeof root);
    if (magic != IMAGE_MAGIC)
        return IH_ROOT_UNKNOWN;
    if ((root & 1u) != 0)
        return IH_ROOT_INT;
    if (root >> 1 < CONSTANTS)
        return IH_ROOT_CONSTANT + (root >> 1);
    uint64_t offset = (uint64_t)(root >> 1) * 4u;
    if (offset >= header->size)
        return IH_ROOT_UNKNOWN;
    /* Of a dedicated segment one page of the image is mapped; of its end nothing is known here. */
    if (record->heap.kind != IH_ORDINARY && offset >= IH_PAGE)
        return IH_ROOT_UNSEEN;
    const uint8_t *byte = (const uint8_t *)ih_heap_view(&record->heap, unit) + offset;
    uint8_t first = __atomic_load_n(byte, __ATOMIC_RELAXED);
    return (first & NODE_BIT) == 0 ? IH_ROOT_STR : IH_ROOT_KIND + (first & KIND_MASK);
}

/* ---- scanning -------------------------------------------------------------------------------- */

typedef struct {
    const ih_scan *wanted;
    const ih_record *record;
    ih_stat *out;
    size_t room, count;
    uint64_t last, looks, looks_max, until;
    bool stopped;
} scanning;

static uint64_t key_of(uint32_t sort, uint64_t size, uint64_t created)
{
    switch (sort) {
    case IH_BY_SIZE:
        return size;
    case IH_BY_SIZE_DOWN:
        return UINT64_MAX - size;
    case IH_BY_CREATED:
        return created;
    case IH_BY_CREATED_DOWN:
        return UINT64_MAX - created;
    default:
        return 0;
    }
}

/* Whether (key, place) comes after (other_key, other_place). */
static bool is_after(uint64_t key, uint64_t place, uint64_t other_key, uint64_t other_place)
{
    return key > other_key || (key == other_key && place > other_place);
}

static bool is_worse(const ih_scan *wanted, const ih_stat *a, const ih_stat *b)
{
    return is_after(key_of(wanted->sort, a->size, a->created_ns), a->handle.locator,
                    key_of(wanted->sort, b->size, b->created_ns), b->handle.locator);
}

static bool is_wanted(const scanning *s, uint32_t unit, const ih_header *header)
{
    const ih_scan *wanted = s->wanted;
    if (header->size < wanted->size_min || header->size > wanted->size_max ||
        header->created_ns < wanted->created_min || header->created_ns > wanted->created_max)
        return false;
    uint32_t bit = ih_record_class(s->record);
    uint32_t among = ih_record_dying(s->record, unit) ? wanted->dying : wanted->living;
    if ((among >> bit & 1u) == 0)
        return false;
    if (wanted->sort != IH_BY_PLACE) {
        uint64_t key = key_of(wanted->sort, header->size, header->created_ns);
        uint64_t place = ih_locator(s->record->info.id, unit);
        if (!is_after(key, place, wanted->after_key, wanted->after_place) ||
            !is_after(wanted->before_key, wanted->before_place, key, place))
            return false;
    }
    uint32_t root = root_of(s->record, unit, header);
    return (wanted->roots[root / 64u] >> root % 64u & 1u) != 0;
}

/* A heap whose first item is the worst of those kept. */
static void sift_down(const ih_scan *wanted, ih_stat *heap, size_t count)
{
    ih_stat moved = heap[0];
    size_t at = 0;
    for (size_t child; (child = 2u * at + 1u) < count; at = child) {
        if (child + 1u < count && is_worse(wanted, &heap[child + 1u], &heap[child]))
            child++;
        if (!is_worse(wanted, &heap[child], &moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static void sift_up(const ih_scan *wanted, ih_stat *heap, size_t at)
{
    ih_stat moved = heap[at];
    while (at > 0 && is_worse(wanted, &moved, &heap[(at - 1u) / 2u])) {
        heap[at] = heap[(at - 1u) / 2u];
        at = (at - 1u) / 2u;
    }
    heap[at] = moved;
}

static void keep_best(scanning *s, const ih_stat *found)
{
    if (s->count < s->room) {
        s->out[s->count] = *found;
        sift_up(s->wanted, s->out, s->count++);
    } else if (is_worse(s->wanted, &s->out[0], found)) {
        s->out[0] = *found;
        sift_down(s->wanted, s->out, s->count);
    }
}

/* After one more look; a long one is worth a look at the clock by itself. */
static bool is_over(scanning *s, bool was_long)
{
    s->looks++;
    return s->looks >= s->looks_max ||
           ((was_long || s->looks % LOOKS_OF_CLOCK == 0) && ih_os_exact_ns() >= s->until);
}

static bool scan_start(void *context, uint32_t unit, const ih_header *header)
{
    scanning *s = context;
    uint64_t place = ih_locator(s->record->info.id, unit);
    if (place > s->wanted->end) {
        s->last = s->wanted->end;
        s->stopped = true;
        return false;
    }
    s->last = place;
    if (header != NULL && is_wanted(s, unit, header)) {
        ih_stat found;
        ih_describe(s->record, unit, header, &found);
        if (s->wanted->best)
            keep_best(s, &found);
        else
            s->out[s->count++] = found;
    }
    s->stopped = is_over(s, false) || (!s->wanted->best && s->count == s->room);
    return !s->stopped;
}

static bool is_among(const ih_scan *wanted, uint64_t id)
{
    if (wanted->segments == NULL)
        return true;
    size_t low = 0, high = wanted->segments_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (wanted->segments[middle] == id)
            return true;
        if (wanted->segments[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* Whether any image of a segment may be wanted. Most segments have no dying one. */
static bool may_have(const ih_scan *wanted, const ih_record *record)
{
    uint32_t bit = ih_record_class(record);
    bool living = (wanted->living >> bit & 1u) != 0;
    bool dying = (wanted->dying >> bit & 1u) != 0 && record->dying > 0;
    return (living || dying) && is_among(wanted, record->info.id);
}

size_t ih_catalog_scan(ih_catalog *catalog, const ih_scan *wanted, uint64_t *cursor,
                       uint64_t looks_max, uint64_t ns_max, ih_stat *out, size_t room)
{
    scanning s = {.wanted = wanted,
                  .out = out,
                  .room = room,
                  .last = *cursor,
                  .looks_max = looks_max,
                  .until = ih_os_exact_ns() + ns_max,
                  .stopped = room == 0};
    /* Behind the last place of a segment that is the next one: each step gets on. */
    uint64_t from = *cursor < UINT64_MAX ? *cursor + 1u : UINT64_MAX;
    for (size_t i = ih_sorted_at(catalog, ih_locator_id(from));
         i < catalog->sorted_count && !s.stopped; i++) {
        s.record = catalog->sorted[i];
        uint64_t id = s.record->info.id;
        if (ih_locator(id, 0) > wanted->end)
            break;
        bool first = ih_locator_id(from) == id;
        bool walked = may_have(wanted, s.record);
        if (walked)
            ih_record_walk_starts(s.record, first ? ih_locator_unit(from) : 0, scan_start, &s);
        if (!s.stopped) {
            s.last = ih_locator(id, IH_UNITS_MAX - 1u);
            s.stopped = is_over(&s, walked && s.record->heap.kind == IH_ORDINARY);
        }
    }
    *cursor = s.stopped ? s.last : 0;
    return s.count;
}

/* ---- what is where in a segment -------------------------------------------------------------- */

typedef struct {
    const ih_record *record;
    uint64_t grain, begin, at; /* at: bytes from the segment's start that were told already */
    ih_run *out, open;         /* open: small neighbours that are told together; bytes 0: none */
    size_t room, count;
    uint64_t looks, looks_max, until;
    bool stopped;
} mapping;

static void flush_run(mapping *m)
{
    if (m->open.bytes > 0)
        m->out[m->count++] = m->open;
    m->open = (ih_run){0};
}

static void add_run(mapping *m, const ih_run *run)
{
    if (run->bytes == 0)
        return;
    if (run->bytes >= m->grain || m->open.bytes >= m->grain)
        flush_run(m);
    if (run->bytes >= m->grain) {
        m->out[m->count++] = *run;
        return;
    }
    if (m->open.bytes == 0) {
        m->open = *run;
        return;
    }
    if (m->open.state != run->state)
        m->open.state = IH_RUN_MIXED;
    m->open.handle = (ih_handle){0, 0};
    m->open.size = 0;
    m->open.bytes += run->bytes;
    m->open.images += run->images;
    m->open.live_bytes += run->live_bytes;
    m->open.dying_bytes += run->dying_bytes;
}

static bool map_start(void *context, uint32_t unit, const ih_header *header)
{
    mapping *m = context;
    uint64_t start = (uint64_t)unit << IH_UNIT_SHIFT;
    m->looks++;
    /* What is open, what is free before it, itself, and what is open at the end. */
    bool full = m->count + 4u > m->room;
    bool over = m->looks >= m->looks_max ||
                (m->looks % LOOKS_OF_CLOCK == 0 && ih_os_exact_ns() >= m->until);
    /* Every step gets on: it ends behind where it began, whatever a hostile producer marked. */
    if (full || (over && start > m->begin)) {
        if (!full && start > m->at) {
            add_run(m, &(ih_run){.offset = m->at, .bytes = start - m->at, .state = IH_RUN_FREE});
            m->at = start;
        }
        m->stopped = true;
        return false;
    }
    /* A hostile producer's: there is none, or it lies in the one before. */
    if (header == NULL || start < m->at)
        return true;
    uint64_t bytes = ih_units_bytes(m->record, header->units);
    add_run(m, &(ih_run){.offset = m->at, .bytes = start - m->at, .state = IH_RUN_FREE});
    bool dies = ih_record_dying(m->record, unit);
    add_run(m, &(ih_run){.offset = start,
                         .bytes = bytes,
                         .state = dies ? IH_RUN_DYING : IH_RUN_LIVE,
                         .images = 1,
                         .live_bytes = dies ? 0 : bytes,
                         .dying_bytes = dies ? bytes : 0,
                         .handle = {ih_locator(m->record->info.id, unit), header->u.nonce},
                         .size = header->size});
    m->at = start + bytes;
    return true;
}

ih_result ih_catalog_runs(ih_catalog *catalog, uint64_t id, uint64_t grain, uint64_t *cursor,
                          uint64_t looks_max, uint64_t ns_max, ih_run *out, size_t *room)
{
    const ih_record *record = ih_record_of(catalog, id);
    if (record == NULL)
        return IH_GONE;
    uint64_t first = (uint64_t)record->heap.first << IH_UNIT_SHIFT;
    uint64_t end = record->info.bytes;
    if (*cursor > end || *cursor % (1u << IH_UNIT_SHIFT) != 0 || *room < 4)
        return IH_INVALID;
    mapping m = {.record = record,
                 .grain = grain > 0 ? grain : 1,
                 .begin = *cursor > first ? *cursor : first,
                 .at = *cursor > first ? *cursor : first,
                 .out = out,
                 .room = *room,
                 .looks_max = looks_max,
                 .until = ih_os_exact_ns() + ns_max};
    ih_record_walk_starts(record, (uint32_t)(m.at >> IH_UNIT_SHIFT), map_start, &m);
    if (!m.stopped)
        add_run(
            &m,
            &(ih_run){.offset = m.at, .bytes = end > m.at ? end - m.at : 0, .state = IH_RUN_FREE});
    flush_run(&m);
    *room = m.count;
    *cursor = m.stopped ? m.at : 0;
    return IH_OK;
}

/* ---- processes ------------------------------------------------------------------------------- */

size_t ih_catalog_leased_by(ih_catalog *catalog, uint64_t family, uint32_t member, ih_handle *out,
                            size_t room)
{
    const ih_family *found = ih_table_get(&catalog->families, family);
    uint64_t locators[IH_LEASED_BY_MAX];
    if (found == NULL)
        return 0;
    size_t count = ih_family_leases_of(found, member, locators,
                                       room < IH_LEASED_BY_MAX ? room : IH_LEASED_BY_MAX);
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        const ih_record *record = ih_record_of(catalog, ih_locator_id(locators[i]));
        uint32_t unit = ih_locator_unit(locators[i]);
        ih_header header;
        if (record != NULL && ih_record_sealed(record, unit, NULL, &header))
            out[known++] = (ih_handle){locators[i], header.u.nonce};
    }
    return known;
}
