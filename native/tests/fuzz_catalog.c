/* Producers who write into their segments, rings and lease tables what the fuzzer likes, and a
 * daemon that lists, scans, maps, measures, deletes, reclaims, retires, restarts: nothing crashes,
 * all comes to an end, figures could be true, and what the catalog keeps for itself holds every
 * invariant. */
#include "catalogs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const uint8_t *at, *end;
} input;

static uint32_t take(input *in, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && in->at < in->end; i++)
        value = value << 8 | *in->at++;
    return value;
}

enum { HOSTILE = 4, KEPT = 64 };
#define SEGMENT_BYTES (UINT64_C(64) << 10)
#define FAMILY_BYTES (IH_FAMILY_SLOTS_OFFSET + 2u * 8u * IH_SLOTS)

static struct {
    input in;
    granted segments[HOSTILE];
    uint8_t *page, *family;
    ih_handle seen[KEPT];
    size_t count;
} h;

static void damage(void)
{
    uint32_t which = take(&h.in, 1) % 6u;
    const granted *g = &h.segments[which % HOSTILE];
    uint8_t *memory = which < 4 ? g->heap.base : which == 4 ? h.page : h.family;
    uint64_t bytes = which < 4 ? SEGMENT_BYTES : which == 4 ? IH_SESSION_BYTES : FAMILY_BYTES;
    uint64_t at = take(&h.in, 2);
    if (which == 5 && at % 2u == 0)
        at += IH_FAMILY_SLOTS_OFFSET;
    uint64_t word = take(&h.in, 4);
    if (take(&h.in, 1) % 2u == 0 && h.count > 0) /* a locator that means something */
        word = h.seen[word % h.count].locator;
    memcpy(memory + at % (bytes - 8u) / 8u * 8u, &word, 8);
}

/* A header that holds, wherever the fuzzer wants it. */
static void seal(void)
{
    uint8_t image[16] = {0x49, 0x48};
    uint32_t root = take(&h.in, 2);
    memcpy(image + 4, &root, sizeof root);
    granted *g = &h.segments[take(&h.in, 1) % HOSTILE];
    uint32_t unit = g->heap.kind == IH_DEDICATED
                        ? g->heap.first
                        : g->heap.first + take(&h.in, 1) % (g->heap.end - g->heap.first);
    if (g->gone)
        return;
    uint32_t units = take(&h.in, 1) % 40u, most = g->heap.end - unit;
    ih_heap_at(&g->heap, unit)->units = units;
    ih_heap_seal(&g->heap, unit, take(&h.in, 1), (uint64_t)(units < most ? units : most) * 64u,
                 root, g->heap.kind == IH_DEDICATED ? IH_BLOCK_DEDICATED : 0, image);
}

/* Starts marked where there is nothing, the whole of an ordinary segment's map at once. */
static void mark_starts(void)
{
    const granted *g = &h.segments[take(&h.in, 1) % HOSTILE];
    if (g->heap.kind == IH_ORDINARY)
        memset(g->heap.base + IH_PAGE, (int)take(&h.in, 1),
               (size_t)ih_start_map_bytes(SEGMENT_BYTES));
}

/* In steps as the fuzzer likes them: each gets on, and finds what was asked for. */
static void scan_all(void)
{
    static const uint64_t looks[] = {1, 2, 5, 64, 1000};
    ih_scan scan = {.size_min = take(&h.in, 1),
                    .size_max = take(&h.in, 1) % 2u == 0 ? UINT64_MAX : take(&h.in, 2),
                    .created_max = UINT64_MAX - take(&h.in, 1) % 2u,
                    .end = take(&h.in, 1) % 4u == 0 ? ih_locator(11, take(&h.in, 1)) : UINT64_MAX,
                    .living = ~take(&h.in, 1),
                    .dying = ~take(&h.in, 1),
                    .sort = take(&h.in, 1) % 5u,
                    .best = take(&h.in, 1) % 2u == 0,
                    .before_key = UINT64_MAX,
                    .before_place = UINT64_MAX};
    for (unsigned i = 0; i < 4; i++)
        scan.roots[i] = ~(uint64_t)take(&h.in, 1);
    uint64_t most = looks[take(&h.in, 1) % 5u], time = take(&h.in, 1) % 2u == 0 ? 0 : 1u << 30;
    uint64_t cursor = 0, steps = 0;
    ih_stat found[16];
    size_t room = 1 + take(&h.in, 1) % 16u;
    do {
        uint64_t before = cursor;
        size_t count = ih_catalog_scan(w.catalog, &scan, &cursor, most, time, found, room);
        CHECK(count <= room && count <= most && ++steps < 20000);
        CHECK(cursor == 0 || cursor > before);
        for (size_t i = 0; i < count; i++)
            CHECK(found[i].size >= scan.size_min && found[i].size <= scan.size_max &&
                  found[i].handle.locator > before && found[i].handle.locator <= scan.end);
    } while (cursor != 0 && cursor < scan.end);
}

/* The runs of a segment lie one behind the other, to its end. */
static void map_all(const granted *g)
{
    static const uint64_t looks[] = {1, 2, 5, 64, 1000};
    uint64_t grain = take(&h.in, 2), most = looks[take(&h.in, 1) % 5u];
    uint64_t time = take(&h.in, 1) % 2u == 0 ? 0 : 1u << 30;
    uint64_t cursor = 0, steps = 0, at = (uint64_t)g->heap.first << IH_UNIT_SHIFT;
    ih_run runs[12];
    do {
        size_t room = 4 + grain % 9u;
        uint64_t before = cursor;
        ih_result result =
            ih_catalog_runs(w.catalog, g->info.id, grain, &cursor, most, time, runs, &room);
        if (result == IH_GONE)
            return;
        CHECK(result == IH_OK && room <= 12 && ++steps < 20000 && (cursor == 0 || cursor > before));
        for (size_t i = 0; i < room; i++) {
            CHECK(runs[i].offset == at && runs[i].bytes > 0);
            CHECK(runs[i].live_bytes + runs[i].dying_bytes <= runs[i].bytes);
            at += runs[i].bytes;
        }
    } while (cursor != 0);
    CHECK(at == SEGMENT_BYTES);
}

static void measure_all(void)
{
    ih_catalog_figures f;
    ih_catalog_measure(w.catalog, &f);
    const uint64_t most = HOSTILE * SEGMENT_BYTES;
    uint64_t bytes = f.free_bytes;
    for (unsigned i = 0; i < 3; i++)
        bytes += f.object_bytes[i];
    CHECK(bytes <= most && f.object_bytes[IH_OBJECTS_DELETED] <= most);
    CHECK(f.largest_free <= SEGMENT_BYTES && f.longest_runs_bytes <= most &&
          f.returning_bytes <= most);
    ih_segment_content content;
    for (unsigned i = 0; i < HOSTILE; i++) {
        if (ih_catalog_glance(w.catalog, h.segments[i].info.id, &content) == IH_OK)
            CHECK(content.image_bytes + content.free_bytes <= SEGMENT_BYTES &&
                  content.dying_bytes <= SEGMENT_BYTES);
    }
    uint64_t counters[IH_PAGE_COUNTERS];
    ih_catalog_counter_sums(w.catalog, counters);
    ih_lease_ages ages;
    for (unsigned tries = 0;
         !ih_catalog_lease_ages(w.catalog, 1, take(&h.in, 2), 1 + take(&h.in, 1) % 4u, &ages);)
        CHECK(++tries < 100);
    uint64_t leases = 0;
    for (unsigned i = 0; i < 5; i++)
        leases += ages.leases[i];
    CHECK(leases <= 2u * IH_SLOTS);
    ih_handle held[IH_LEASED_BY_MAX];
    size_t room = take(&h.in, 2) % (IH_LEASED_BY_MAX + 1u);
    CHECK(ih_catalog_leased_by(w.catalog, 1, take(&h.in, 1), held, room) <= room);
}

static void list_all(void)
{
    ih_stat found[KEPT];
    uint64_t cursor = 0;
    size_t count, steps = 0;
    h.count = 0;
    while ((count = ih_catalog_list(w.catalog, cursor, found, KEPT)) > 0) {
        CHECK(found[count - 1].handle.locator > cursor && ++steps < 2000);
        cursor = found[count - 1].handle.locator;
        for (size_t i = 0; i < count && h.count < KEPT; i++)
            h.seen[h.count++] = found[i].handle;
    }
    ih_catalog_totals totals;
    ih_catalog_total(w.catalog, &totals);
    ih_segment_content content;
    for (unsigned i = 0; i < HOSTILE; i++) {
        if (ih_catalog_content(w.catalog, h.segments[i].info.id, &content) == IH_OK)
            CHECK(content.free_bytes <= SEGMENT_BYTES && content.largest_free <= SEGMENT_BYTES &&
                  content.image_bytes + content.dying_bytes <= SEGMENT_BYTES);
    }
}

static void drain(void)
{
    ih_session_page *page = (ih_session_page *)(void *)h.page;
    if (take(&h.in, 1) % 4u == 0)
        page->tail = page->head;
    for (unsigned i = 0; i < HOSTILE && h.count > 0; i++) {
        ih_handle handle = h.seen[take(&h.in, 1) % h.count];
        granted *g = &h.segments[i];
        if (!g->gone && g->info.id == ih_locator_id(handle.locator))
            ih_heap_unseal(&g->heap, ih_locator_unit(handle.locator));
    }
}

static void restart(void)
{
    bool there[HOSTILE];
    for (unsigned i = 0; i < HOSTILE; i++) {
        granted *g = &h.segments[i];
        there[i] = ih_catalog_segment(w.catalog, g->info.id, &g->info) == IH_OK;
    }
    ih_catalog_destroy(w.catalog);
    CHECK_OK(ih_catalog_create(w.state_file, STATE_BYTES, &w.catalog, &error));
    for (unsigned i = 0; i < HOSTILE; i++) {
        const granted *g = &h.segments[i];
        if (!there[i])
            continue;
        CHECK_OK(ih_catalog_keep_range(w.catalog, g->info.kind, g->info.bytes, g->info.state));
        CHECK_OK(ih_catalog_add_segment(w.catalog, &g->info, g->fd, false, &error));
    }
    CHECK_OK(ih_catalog_add_family(w.catalog, 1, w.readers[0].file, 64, &error));
    CHECK_OK(ih_catalog_add_page(w.catalog, 1, w.producers[0].file, &error));
    CHECK_OK(ih_catalog_recover(w.catalog, &error));
}

static void move(granted *g)
{
    uint64_t id = 100u + take(&h.in, 1);
    switch (take(&h.in, 1) % 5u) {
    case 0:
        ih_catalog_retire(w.catalog, g->info.id);
        break;
    case 1:
        ih_catalog_mark(w.catalog, g->info.id, false, take(&h.in, 1) % 2u == 0);
        break;
    case 2:
        if (ih_catalog_rename(w.catalog, g->info.id, id) == IH_OK)
            g->info.id = g->heap.id = id;
        break;
    case 3:
        (void)ih_catalog_replace(w.catalog, g->info.id, g->fd, &error);
        break;
    default:
        for (uint64_t empty; (empty = ih_catalog_empty(w.catalog)) != 0;)
            ih_catalog_drop(w.catalog, empty);
    }
}

static void step(void)
{
    ih_handle out[16], handle = {0};
    size_t count;
    uint32_t families[2], what = take(&h.in, 1), which = take(&h.in, 1);
    uint64_t numbers[2];
    if (h.count > 0)
        handle = h.seen[which % h.count];
    switch (what % 14u) {
    case 0:
    case 1:
        seal();
        break;
    case 2:
        damage();
        break;
    case 3:
        (void)ih_catalog_condemn(w.catalog, handle, &error);
        break;
    case 4:
        CHECK_OK(ih_catalog_reclaim(w.catalog, which % 2u == 0, out, which % 17u, &count));
        CHECK(count <= which % 17u);
        break;
    case 5:
        list_all();
        (void)ih_catalog_lessees(w.catalog, handle.locator, numbers, families, 2);
        break;
    case 6:
        if (which % 3u == 0)
            (void)ih_catalog_hold(w.catalog, handle.locator);
        else if (which % 3u == 1)
            ih_catalog_unhold(w.catalog, handle.locator);
        else
            (void)ih_catalog_revive(w.catalog, handle);
        break;
    case 7:
        drain();
        break;
    case 8:
        if (take(&h.in, 1) % 4u == 0)
            restart();
        break;
    case 9:
        scan_all();
        break;
    case 10:
        map_all(&h.segments[which % HOSTILE]);
        break;
    case 11:
        measure_all();
        break;
    case 12:
        mark_starts();
        break;
    default:
        move(&h.segments[which % HOSTILE]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&w, 0, sizeof w);
    memset(&h, 0, sizeof h);
    h.in = (input){data, data + size};
    w.random = 7;
    CHECK_OK(ih_catalog_make_file(IH_FILE_STATE, STATE_BYTES, &w.state_file, &error));
    w.state = map_file(w.state_file, STATE_BYTES, false);
    CHECK_OK(ih_catalog_create(w.state_file, STATE_BYTES, &w.catalog, &error));
    w.producers[0] = open_session(w.catalog, 1);
    w.readers[0] = join_family(w.catalog, 1);
    CHECK(ftruncate(w.readers[0].file, FAMILY_BYTES) == 0);
    h.page = map_file(w.producers[0].file, IH_SESSION_BYTES, true);
    h.family = map_file(w.readers[0].file, FAMILY_BYTES, true);
    for (unsigned i = 0; i < HOSTILE; i++) {
        h.segments[i] = grant(w.catalog, w.state, 10 + i, i < 2 ? IH_ORDINARY : IH_DEDICATED,
                              SEGMENT_BYTES, 1, &w.random);
        ih_heap_poison(&h.segments[i].heap, 0, h.segments[i].heap.end, false);
    }
    while (h.in.at < h.in.end) {
        step();
        if (take(&h.in, 1) % 8u == 0)
            CHECK_CATALOG(w.catalog, false);
    }
    CHECK_CATALOG(w.catalog, false);
    list_all();
    ih_catalog_destroy(w.catalog);
    for (unsigned i = 0; i < HOSTILE; i++)
        ungrant(&h.segments[i]);
    munmap(h.page, IH_SESSION_BYTES);
    munmap(h.family, FAMILY_BYTES);
    close_session(&w.producers[0]);
    die(&w.readers[0]);
    close(w.readers[0].file);
    munmap(w.state, STATE_BYTES);
    close(w.state_file);
    return 0;
}
