/* Scans of the catalog in bounded steps: against a naive look at everything, and against producers
 * who write what they like into their segments and pages. */
#include "catalogs.h"

#include "arena/hash.h"

#define ROOM 512u
#define ALL UINT64_MAX

static uint64_t any(uint64_t below) { return test_random(&w.random) % below; }

/* Everything, in the order of places. */
static ih_scan everything(void)
{
    return (ih_scan){.size_max = ALL,
                     .created_max = ALL,
                     .roots = {ALL, ALL, ALL, ALL},
                     .end = ALL,
                     .living = ~0u,
                     .dying = ~0u,
                     .before_key = ALL,
                     .before_place = ALL};
}

/* ---- against a naive look -------------------------------------------------------------------- */

typedef struct {
    ih_handle handle;
    uint64_t size, created;
    uint32_t root, class;
    bool dying, gone;
} image;

static image images[4000];
static size_t image_count;

/* An image with the root that is asked for; of a node its first byte is written too. */
static void put_rooted(granted *g, uint32_t class)
{
    static const uint32_t roots[] = {3, IH_ROOT_INT, IH_ROOT_STR, IH_ROOT_KIND + 5,
                                     IH_ROOT_UNKNOWN};
    uint32_t root = roots[any(5)], units = 2 + (uint32_t)any(6), unit = g->heap.first;
    if (g->heap.kind == IH_ORDINARY)
        unit = ih_heap_alloc(&g->heap, units);
    else
        ih_heap_at(&g->heap, unit)->units = units = g->heap.end - g->heap.first;
    CHECK(unit != 0 && image_count < 4000);
    uint8_t header[16] = {0x49, 0x48};
    uint32_t word = root == IH_ROOT_INT ? 41u : 32u; /* twice the offset in fours of the node */
    word = root < 8 ? root * 2u : word;
    if (root == IH_ROOT_UNKNOWN && any(2) == 0)
        header[0] = 0;
    else if (root == IH_ROOT_UNKNOWN)
        word = UINT32_MAX - 1u;
    memcpy(header + 4, &word, sizeof word);
    g->heap.base[(size_t)unit * IH_UNIT + 64] = root == IH_ROOT_STR ? 0x7f : 0x80 | 5;
    uint64_t size = (uint64_t)units * IH_UNIT - any(20), created = any(50), nonce = image_count + 1;
    ih_heap_seal(&g->heap, unit, nonce, size, created, 0, header);
    images[image_count++] = (image){.handle = {ih_locator(g->info.id, unit), nonce},
                                    .size = size,
                                    .created = created,
                                    .root = root,
                                    .class = class};
}

static uint64_t key_of(uint32_t sort, const image *i)
{
    uint64_t key = sort == IH_BY_SIZE || sort == IH_BY_SIZE_DOWN ? i->size : i->created;
    return sort == IH_BY_PLACE                                     ? 0
           : sort == IH_BY_SIZE_DOWN || sort == IH_BY_CREATED_DOWN ? ALL - key
                                                                   : key;
}

static uint32_t sorted_by;

static int in_order(const void *left, const void *right)
{
    const image *a = *(const image *const *)left, *b = *(const image *const *)right;
    uint64_t one = key_of(sorted_by, a), other = key_of(sorted_by, b);
    if (one != other)
        return one > other ? 1 : -1;
    return a->handle.locator > b->handle.locator ? 1 : -1;
}

static bool is_wanted(const ih_scan *scan, const image *i)
{
    uint32_t classes = i->dying ? scan->dying : scan->living;
    return i->size >= scan->size_min && i->size <= scan->size_max &&
           i->created >= scan->created_min && i->created <= scan->created_max &&
           (scan->roots[i->root / 64u] >> i->root % 64u & 1u) != 0 &&
           (classes >> i->class & 1u) != 0 && i->handle.locator <= scan->end;
}

static size_t expect(const ih_scan *scan, const image **out)
{
    size_t count = 0;
    for (size_t i = 0; i < image_count; i++) {
        if (is_wanted(scan, &images[i]))
            out[count++] = &images[i];
    }
    sorted_by = scan->sort;
    qsort(out, count, sizeof *out, in_order);
    return count;
}

static ih_scan any_scan(const uint64_t *ids, size_t count)
{
    ih_scan scan = everything();
    if (any(3) == 0)
        scan.size_min = any(400), scan.size_max = scan.size_min + any(400);
    if (any(3) == 0)
        scan.created_min = any(50), scan.created_max = scan.created_min + any(30);
    for (unsigned i = 0; any(3) == 0 && i < 4; i++)
        scan.roots[i] = test_random(&w.random);
    if (any(3) == 0)
        scan.living = (uint32_t)any(64), scan.dying = (uint32_t)any(64);
    if (any(4) == 0)
        scan.end = images[any(image_count)].handle.locator + any(3) - 1;
    if (any(4) == 0)
        scan.segments = ids, scan.segments_count = any(count + 1);
    scan.sort = (uint32_t)any(5);
    return scan;
}

/* By place: the first ones, a step after another, until there are no more. */
static size_t collect(const ih_scan *scan, uint64_t looks, ih_stat *out)
{
    uint64_t cursor = 0, steps = 0;
    size_t found = 0;
    do {
        ih_stat batch[ROOM];
        size_t room = 1 + any(ROOM);
        uint64_t before = cursor;
        size_t count = ih_catalog_scan(w.catalog, scan, &cursor, looks, ALL / 2, batch, room);
        CHECK(count <= room && ++steps < 100000);
        CHECK(cursor == 0 || cursor > before);
        memcpy(out + found, batch, count * sizeof *batch);
        found += count;
    } while (cursor != 0 && cursor < scan->end);
    return found;
}

static int better(const void *left, const void *right)
{
    const ih_stat *a = left, *b = right;
    image one = {.size = a->size, .created = a->created_ns, .handle = a->handle};
    image other = {.size = b->size, .created = b->created_ns, .handle = b->handle};
    const image *first = &one, *second = &other;
    return in_order(&first, &second);
}

/* Sorted: of each step the best, merged with those before, which tell the next what is worse. */
static size_t collect_best(ih_scan scan, uint64_t looks, size_t room, ih_stat *best)
{
    uint64_t cursor = 0;
    size_t kept = 0;
    scan.best = true;
    do {
        kept += ih_catalog_scan(w.catalog, &scan, &cursor, looks, ALL / 2, best + kept, room);
        sorted_by = scan.sort;
        qsort(best, kept, sizeof *best, better);
        if (kept > room)
            kept = room;
        if (kept == room) {
            image last = {.size = best[room - 1].size, .created = best[room - 1].created_ns};
            scan.before_key = key_of(scan.sort, &last);
            scan.before_place = best[room - 1].handle.locator;
        }
    } while (cursor != 0 && cursor < scan.end);
    return kept;
}

static void compare(const ih_scan *scan)
{
    static const image *wanted[4000];
    static ih_stat found[4000 + 2 * ROOM];
    static const uint64_t looks[] = {1, 2, 7, 100, ALL};
    bool among_all = scan->segments == NULL;
    size_t expected = 0, all = expect(scan, wanted), count;
    for (size_t i = 0; i < all; i++) {
        bool is_in = among_all;
        for (size_t k = 0; k < scan->segments_count; k++)
            is_in = is_in || scan->segments[k] == ih_locator_id(wanted[i]->handle.locator);
        if (is_in)
            wanted[expected++] = wanted[i];
    }
    if (scan->sort == IH_BY_PLACE) {
        count = collect(scan, looks[any(5)], found);
    } else {
        size_t room = 1 + any(ROOM);
        count = collect_best(*scan, looks[any(5)], room, found);
        expected = expected < room ? expected : room;
    }
    CHECK_EQ(count, expected);
    for (size_t i = 0; i < count; i++) {
        CHECK(found[i].handle.locator == wanted[i]->handle.locator &&
              found[i].handle.nonce == wanted[i]->handle.nonce);
        CHECK(found[i].size == wanted[i]->size && found[i].created_ns == wanted[i]->created &&
              found[i].dying == wanted[i]->dying);
    }
}

/* Grants, fills, retires and deletes; the ids come back in order. */
static size_t fill_world(uint64_t *ids)
{
    image_count = 0;
    size_t count = 0;
    for (size_t i = 0; i < 40; i++) {
        bool ordinary = i % 4 != 3;
        uint64_t bytes = ordinary ? UINT64_C(64) << 10 : 3 * IH_PAGE;
        granted *g = &w.segments[i];
        *g = grant(w.catalog, w.state, 1000 + 3 * i, ordinary ? IH_ORDINARY : IH_DEDICATED, bytes,
                   w.producers[i % 2].session, &w.random);
        ids[count++] = g->info.id;
        bool retires = any(4) == 0;
        uint32_t class = (retires ? 1u : 0u) + (ordinary ? 0u : 3u);
        for (size_t k = ordinary ? any(80) : 1; k > 0; k--)
            put_rooted(g, class);
        if (retires)
            ih_catalog_retire(w.catalog, g->info.id);
    }
    for (size_t i = 0; i < image_count / 5; i++) {
        image *deleted = &images[any(image_count)];
        ih_result result = ih_catalog_condemn(w.catalog, deleted->handle, &error);
        CHECK_EQ(result, deleted->dying ? IH_GONE : IH_OK);
        deleted->dying = true;
    }
    return count;
}

static void test_scans_find_what_a_naive_look_finds(void)
{
    uint64_t ids[SEGMENTS];
    for (uint64_t round = 0; round < 3; round++) {
        open_world(20 + round);
        size_t count = fill_world(ids);
        CHECK(image_count > 300);
        for (unsigned i = 0; i < 120; i++) {
            ih_scan scan = any_scan(ids, count);
            compare(&scan);
        }
        CHECK_CATALOG(w.catalog, true);
        close_world();
    }
}

/* Of a dedicated segment the header's page and one of the image are seen. */
static void test_a_root_beyond_the_first_page_is_not_seen(void)
{
    open_world(3);
    granted *g = &w.segments[0];
    *g = grant(w.catalog, w.state, 9, IH_DEDICATED, 8 * IH_PAGE, 1, &w.random);
    ih_heap_at(&g->heap, g->heap.first)->units = g->heap.end - g->heap.first;
    for (uint32_t far = 0; far < 3; far++) {
        uint8_t header[16] = {0x49, 0x48};
        uint32_t word = (IH_PAGE - 4u + far * 4u) / 2u; /* the last in sight, the first behind */
        memcpy(header + 4, &word, sizeof word);
        ih_heap_seal(&g->heap, g->heap.first, far + 1, 7 * IH_PAGE, 1, 0, header);
        ih_scan scan = everything();
        memset(scan.roots, 0, sizeof scan.roots);
        uint32_t root = far == 0 ? IH_ROOT_STR : IH_ROOT_UNSEEN;
        scan.roots[root / 64u] = UINT64_C(1) << root % 64u;
        uint64_t cursor = 0;
        ih_stat out[2];
        CHECK_EQ(ih_catalog_scan(w.catalog, &scan, &cursor, ALL, ALL / 2, out, 2), 1);
        CHECK_EQ(cursor, 0);
        ih_heap_unseal(&g->heap, g->heap.first);
    }
    close_world();
}

/* ---- steps are bounded whatever producers write ---------------------------------------------- */

#define HOSTILE_BYTES (UINT64_C(256) << 10)

static granted *hostile_segment(uint64_t seed)
{
    open_world(seed);
    w.segments[0] = grant(w.catalog, w.state, 50, IH_ORDINARY, HOSTILE_BYTES, 1, &w.random);
    granted *g = &w.segments[0];
    ih_heap_poison(&g->heap, 0, g->heap.end, false);
    return g;
}

static void mark_every_unit(const granted *g)
{
    memset(g->heap.base + IH_PAGE, 0xff, (size_t)ih_start_map_bytes(HOSTILE_BYTES));
}

static void test_starts_where_there_is_no_image_count_as_looks(void)
{
    granted *g = hostile_segment(4);
    mark_every_unit(g);
    ih_scan scan = everything();
    uint64_t cursor = 0, steps = 0, units = g->heap.end - g->heap.first;
    ih_stat out[4];
    do {
        uint64_t from = cursor != 0 ? ih_locator_unit(cursor) : g->heap.first - 1u;
        CHECK_EQ(ih_catalog_scan(w.catalog, &scan, &cursor, 100, ALL / 2, out, 4), 0);
        CHECK(cursor == 0 || ih_locator_unit(cursor) <= from + 100 ||
              ih_locator_unit(cursor) == IH_UNITS_MAX - 1u);
        steps++;
    } while (cursor != 0);
    CHECK(steps >= units / 100);
    /* Without time a step ends at the first look at the clock. */
    cursor = 0;
    CHECK_EQ(ih_catalog_scan(w.catalog, &scan, &cursor, ALL, 0, out, 4), 0);
    CHECK(cursor != 0 && ih_locator_unit(cursor) < g->heap.first + 100);
    close_world();
}

/* The runs of one segment, tiled as they are told; the number of steps. */
static uint64_t tile(const granted *g, uint64_t grain, uint64_t looks, uint64_t ns, size_t room,
                     ih_segment_content *sums)
{
    uint64_t cursor = 0, steps = 0, at = (uint64_t)g->heap.first << IH_UNIT_SHIFT;
    ih_run runs[64];
    memset(sums, 0, sizeof *sums);
    do {
        size_t count = room;
        uint64_t before = cursor;
        CHECK_OK(ih_catalog_runs(w.catalog, g->info.id, grain, &cursor, looks, ns, runs, &count));
        CHECK(count <= room && ++steps < 100000 && (cursor == 0 || cursor > before));
        for (size_t i = 0; i < count; i++) {
            const ih_run *run = &runs[i];
            CHECK(run->offset == at && run->bytes > 0 && run->state <= IH_RUN_MIXED);
            CHECK(run->live_bytes + run->dying_bytes <= run->bytes);
            CHECK(run->images == 1 || run->handle.locator == 0);
            at += run->bytes;
            sums->images += run->images;
            sums->image_bytes += run->live_bytes;
            sums->dying_bytes += run->dying_bytes;
            sums->free_bytes += run->bytes - run->live_bytes - run->dying_bytes;
        }
        CHECK(cursor == 0 || cursor == at);
    } while (cursor != 0);
    CHECK_EQ(at, g->info.bytes);
    return steps;
}

static void test_runs_tile_the_segment(void)
{
    uint64_t ids[SEGMENTS];
    static const uint64_t looks[] = {1, 2, 3, 50, ALL}, grains[] = {0, 64, 300, 4096, ALL};
    open_world(31);
    size_t count = fill_world(ids);
    for (size_t i = 0; i < count; i++) {
        const granted *g = &w.segments[i];
        ih_segment_content content, sums;
        CHECK_OK(ih_catalog_content(w.catalog, g->info.id, &content));
        for (unsigned k = 0; k < 25; k++) {
            (void)tile(g, grains[k / 5], looks[k % 5], ALL / 2, 4 + any(60), &sums);
            CHECK_EQ(sums.images, content.images + content.dying);
            CHECK_EQ(sums.image_bytes, content.image_bytes);
            CHECK_EQ(sums.dying_bytes, content.dying_bytes);
            CHECK(g->heap.kind == IH_DEDICATED || sums.free_bytes == content.free_bytes);
        }
    }
    uint64_t cursor = 0;
    ih_run runs[4];
    size_t room = 3;
    CHECK_EQ(ih_catalog_runs(w.catalog, ids[0], 1, &cursor, 9, 9, runs, &room), IH_INVALID);
    room = 4, cursor = 63;
    CHECK_EQ(ih_catalog_runs(w.catalog, ids[0], 1, &cursor, 9, 9, runs, &room), IH_INVALID);
    cursor = (UINT64_C(64) << 10) + 64;
    CHECK_EQ(ih_catalog_runs(w.catalog, ids[0], 1, &cursor, 9, 9, runs, &room), IH_INVALID);
    cursor = 0;
    CHECK_EQ(ih_catalog_runs(w.catalog, 12345, 1, &cursor, 9, 9, runs, &room), IH_GONE);
    close_world();
}

/* Images in one another: those inside are passed over, and each passing counts. */
static void test_runs_are_told_in_bounded_steps_whatever_is_written(void)
{
    granted *g = hostile_segment(5);
    static const uint8_t header[16];
    uint32_t units = g->heap.end - g->heap.first;
    ih_segment_content sums, content;
    mark_every_unit(g);
    uint64_t steps = tile(g, 1, 100, ALL / 2, 64, &sums);
    CHECK(steps >= units / 100 && sums.images == 0);
    CHECK(tile(g, 1, ALL, 0, 64, &sums) >= units / 200);
    for (uint32_t unit = g->heap.first; unit < g->heap.end; unit++) {
        ih_heap_at(&g->heap, unit)->units = g->heap.end - unit;
        ih_heap_seal(&g->heap, unit, unit, 64, 1, 0, header);
    }
    (void)tile(g, 1, 100, ALL / 2, 64, &sums);
    CHECK(sums.images == 1 && sums.image_bytes == (uint64_t)units * IH_UNIT);
    /* So much is in it at most, however often it is said to be. */
    CHECK_OK(ih_catalog_content(w.catalog, 50, &content));
    CHECK(content.images == units && content.image_bytes == (uint64_t)units * IH_UNIT);
    uint64_t cursor = ((uint64_t)g->heap.first + 1u) << IH_UNIT_SHIFT, before;
    for (steps = 0; cursor != 0; steps++) {
        ih_run runs[8];
        size_t room = 8;
        before = cursor;
        CHECK_OK(ih_catalog_runs(w.catalog, 50, 1, &cursor, 100, ALL / 2, runs, &room));
        CHECK(cursor == 0 || cursor > before);
    }
    CHECK(steps >= 1);
    close_world();
}

/* ---- figures --------------------------------------------------------------------------------- */

static void test_a_liar_spoils_his_own_figures_alone(void)
{
    open_world(8);
    ih_handle handle;
    for (unsigned i = 0; i < 2; i++) {
        w.segments[i] = grant(w.catalog, w.state, 70 + i, IH_ORDINARY, HOSTILE_BYTES,
                              w.producers[i].session, &w.random);
        handle = put_image(&w.segments[i], 10, i + 1);
        CHECK(handle.locator != 0);
    }
    ih_catalog_figures f;
    ih_catalog_measure(w.catalog, &f);
    CHECK(f.objects[IH_OBJECTS_LIVE] == 2 && f.object_bytes[IH_OBJECTS_LIVE] == 1280);
    /* Images that he is about to free, of which he has but one. */
    w.producers[0].page->returning = 1000;
    w.producers[0].page->returning_bytes = UINT64_MAX;
    ih_catalog_measure(w.catalog, &f);
    CHECK(f.objects[IH_OBJECTS_LIVE] == 1 && f.object_bytes[IH_OBJECTS_LIVE] == 640);
    CHECK_EQ(f.returning_bytes, 640);
    w.producers[0].page->returning = w.producers[0].page->returning_bytes = 0;
    /* Sums say at most that they are too large. */
    uint64_t counters[IH_PAGE_COUNTERS];
    w.producers[0].page->puts = UINT64_MAX;
    w.producers[1].page->puts = 5;
    w.producers[1].page->opens = 6;
    ih_catalog_counter_sums(w.catalog, counters);
    CHECK(counters[0] == UINT64_MAX && counters[2] == 6);
    /* His segment's header: nothing is more than the segment. */
    ih_segment_header *state = (ih_segment_header *)(void *)w.segments[0].heap.base;
    memset((uint8_t *)state + offsetof(ih_segment_header, free_units), 0xff,
           sizeof *state - offsetof(ih_segment_header, free_units));
    ih_catalog_measure(w.catalog, &f);
    uint64_t most = (uint64_t)(w.segments[0].heap.end - w.segments[0].heap.first) * IH_UNIT;
    CHECK(f.object_bytes[IH_OBJECTS_LIVE] <= most + 640 && f.free_bytes <= 2 * most);
    CHECK(f.largest_free <= most && f.longest_runs_bytes <= 2 * most && f.free_runs <= 2 * most);
    ih_segment_content content;
    CHECK_OK(ih_catalog_glance(w.catalog, 70, &content));
    CHECK(content.image_bytes + content.free_bytes <= most && content.largest_free <= most);
    close_world();
}

/* What lies in one another is not more than its segment when its producer is gone either. */
static void test_figures_of_a_retired_segment_are_no_more_than_it(void)
{
    granted *g = hostile_segment(9);
    static const uint8_t header[16];
    for (uint32_t unit = g->heap.first; unit < g->heap.end; unit++) {
        ih_heap_at(&g->heap, unit)->units = g->heap.end - unit;
        ih_heap_seal(&g->heap, unit, unit, 64, 1, 0, header);
    }
    uint32_t units = g->heap.end - g->heap.first;
    for (uint32_t unit = g->heap.first; unit < g->heap.first + units / 2u; unit++)
        CHECK_OK(ih_catalog_condemn(w.catalog, (ih_handle){ih_locator(50, unit), unit}, &error));
    ih_catalog_retire(w.catalog, 50);
    ih_catalog_figures f;
    ih_catalog_measure(w.catalog, &f);
    CHECK(f.object_bytes[IH_OBJECTS_UNOWNED] <= HOSTILE_BYTES);
    CHECK(f.object_bytes[IH_OBJECTS_DELETED] <= HOSTILE_BYTES);
    CHECK(f.objects[IH_OBJECTS_UNOWNED] == units - units / 2u);
    CHECK_CATALOG(w.catalog, false);
    close_world();
}

static void test_lease_ages_count_from_the_first_look(void)
{
    open_world(10);
    ih_family *family = w.readers[0].family;
    uint64_t number = w.readers[0].number;
    uint32_t slots[700];
    ih_lease_ages ages;
    for (uint32_t i = 0; i < 700; i++)
        CHECK_OK(ih_family_publish(family, ih_locator(5, 64 + i), &slots[i], &error));
    uint32_t steps = 0;
    while (!ih_catalog_lease_ages(w.catalog, number, 1000, 1, &ages))
        CHECK(++steps < 100);
    CHECK(steps > 0 && ages.leases[0] == 700 && ages.oldest == 0);
    /* Another image in the same slot is young; a clock that goes back makes nothing old. */
    ih_family_withdraw(family, slots[0]);
    CHECK_OK(ih_family_publish(family, ih_locator(6, 64), &slots[0], &error));
    CHECK(ih_catalog_lease_ages(w.catalog, number, 1000 + 3600, 100, &ages));
    CHECK(ages.leases[0] == 1 && ages.leases[3] == 699 && ages.oldest == 3600);
    CHECK(ih_catalog_lease_ages(w.catalog, number, 10, 100, &ages));
    CHECK(ages.leases[0] == 700 && ages.oldest == 0);
    CHECK(ih_catalog_lease_ages(w.catalog, 999, 10, 100, &ages));
    CHECK(ages.leases[0] == 0);
    ih_handle out[IH_LEASED_BY_MAX];
    /* None of these is an image. */
    CHECK_EQ(ih_catalog_leased_by(w.catalog, number, family->member, out, IH_LEASED_BY_MAX), 0);
    close_world();
}

/* ---- the line of a session ------------------------------------------------------------------- */

/* After a restart the ring is what the producer's page says: an entry of another nonce than the
 * image has that dies there would take that out of the line, and undelete it. */
static void test_h07_a_forged_entry_undeletes_nothing_after_a_restart(void)
{
    open_world(11);
    producer *p = &w.producers[0];
    granted *g = &w.segments[0];
    *g = grant(w.catalog, w.state, 80, IH_ORDINARY, HOSTILE_BYTES, p->session, &w.random);
    ih_handle handle = put_image(g, 3, 77), out[8];
    uint32_t slot;
    CHECK_OK(ih_family_publish(w.readers[0].family, handle.locator, &slot, &error));
    CHECK_OK(ih_catalog_condemn(w.catalog, handle, &error));
    uint64_t *entry = (uint64_t *)(void *)((uint8_t *)p->page + sizeof *p->page);
    entry[0] = handle.locator;
    entry[1] = 78;
    p->page->head = 1;
    reopen_world();
    CHECK_CATALOG(w.catalog, true);
    p->page->tail = 1;
    size_t freed;
    CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, 8, &freed));
    CHECK_EQ(freed, 0);
    ih_header header;
    CHECK(!may_open(g, handle, &header));
    ih_stat found;
    bool dying = false;
    CHECK_EQ(ih_catalog_find(w.catalog, handle, &found, &dying), IH_GONE);
    CHECK(dying && found.dying && found.handle.nonce == 77 && found.size == 3 * IH_UNIT);
    CHECK(ih_catalog_is_busy(w.catalog));
    ih_family_withdraw(w.readers[0].family, slot);
    CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, 8, &freed));
    CHECK_EQ(ih_catalog_waiting(w.catalog, p->session), 3 * IH_UNIT);
    CHECK_CATALOG(w.catalog, true);
    close_world();
}

int main(void)
{
    RUN(test_scans_find_what_a_naive_look_finds);
    RUN(test_a_root_beyond_the_first_page_is_not_seen);
    RUN(test_starts_where_there_is_no_image_count_as_looks);
    RUN(test_runs_tile_the_segment);
    RUN(test_runs_are_told_in_bounded_steps_whatever_is_written);
    RUN(test_a_liar_spoils_his_own_figures_alone);
    RUN(test_figures_of_a_retired_segment_are_no_more_than_it);
    RUN(test_lease_ages_count_from_the_first_look);
    RUN(test_h07_a_forged_entry_undeletes_nothing_after_a_restart);
    return 0;
}
