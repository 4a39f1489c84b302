/* The daemon's catalog against a model of its images, with producers, readers, deaths, restarts. */
#include "catalogs.h"

#define IMAGES 3000u
#define ORDINARY_BYTES (UINT64_C(64) << 10)

enum { NONE = 0, ALIVE, DYING, FREED };

typedef struct {
    ih_handle handle;
    size_t segment; /* in world.segments */
    uint32_t units, state, holds, leases;
    uint32_t slots[READERS]; /* IH_NO_SLOT: not leased by that reader */
} image;

static image images[IMAGES];
static uint64_t freed, reuses;

static image *find_image(uint64_t locator, uint32_t state)
{
    for (size_t i = 0; i < IMAGES; i++) {
        if (images[i].handle.locator == locator && images[i].state == state)
            return &images[i];
    }
    return NULL;
}

static size_t any(uint64_t bound) { return (size_t)test_below(&w.random, bound); }

/* ---- what happens ---------------------------------------------------------------------------- */

static image *unused_image(void)
{
    for (size_t tries = 0; tries < 100; tries++) {
        image *i = &images[any(IMAGES)];
        if (i->state == NONE || (i->state == FREED && i->leases == 0 && i->holds == 0))
            return i;
    }
    return NULL;
}

static void do_grant(void)
{
    size_t at = any(SEGMENTS);
    if (!w.segments[at].gone)
        return;
    bool ordinary = any(2) == 0;
    uint64_t bytes = ordinary ? ORDINARY_BYTES : IH_PAGE * (2 + any(4));
    w.segments[at] = grant(w.catalog, w.state, w.next_id, ordinary ? IH_ORDINARY : IH_DEDICATED,
                           bytes, w.producers[any(PRODUCERS)].session, &w.random);
    w.next_id += 1 + any(3);
}

static void do_put(void)
{
    size_t at = any(SEGMENTS);
    granted *g = &w.segments[at];
    image *i = unused_image();
    if (g->gone || !g->writable || i == NULL || (g->heap.kind == IH_DEDICATED && g->blocks > 0))
        return;
    uint32_t units = 2 + (uint32_t)any(12);
    ih_handle handle = put_image(g, units, test_random(&w.random) | 1u);
    if (handle.locator == 0)
        return;
    reuses += find_image(handle.locator, FREED) != NULL ? 1u : 0u;
    *i = (image){.handle = handle, .segment = at, .units = units, .state = ALIVE};
    for (size_t r = 0; r < READERS; r++)
        i->slots[r] = IH_NO_SLOT;
}

static void do_open(void)
{
    image *i = &images[any(IMAGES)];
    size_t reader = any(READERS);
    granted *g = &w.segments[i->segment];
    ih_header header;
    if (i->state == NONE || g->gone || i->slots[reader] != IH_NO_SLOT ||
        g->info.id != ih_locator_id(i->handle.locator))
        return;
    uint32_t slot;
    CHECK_OK(ih_family_publish(w.readers[reader].family, i->handle.locator, &slot, &error));
    bool opened = may_open(g, i->handle, &header);
    CHECK_EQ(opened, i->state == ALIVE);
    if (!opened) {
        ih_family_withdraw(w.readers[reader].family, slot);
        return;
    }
    verify_image(g, i->handle, i->units);
    i->slots[reader] = slot;
    i->leases++;
}

static void do_release(void)
{
    image *i = &images[any(IMAGES)];
    size_t reader = any(READERS);
    if (i->state == NONE || i->slots[reader] == IH_NO_SLOT)
        return;
    verify_image(&w.segments[i->segment], i->handle, i->units);
    ih_family_withdraw(w.readers[reader].family, i->slots[reader]);
    i->slots[reader] = IH_NO_SLOT;
    i->leases--;
}

static void do_condemn(void)
{
    image *i = &images[any(IMAGES)];
    if (i->state == NONE)
        return;
    ih_handle wrong = {i->handle.locator, i->handle.nonce ^ 2u};
    CHECK_EQ(ih_catalog_condemn(w.catalog, wrong, &error), IH_GONE);
    ih_result result = ih_catalog_condemn(w.catalog, i->handle, &error);
    CHECK_EQ(result, i->state == ALIVE ? IH_OK : IH_GONE);
    if (result == IH_OK)
        i->state = DYING;
}

static void do_revive(void)
{
    image *i = &images[any(IMAGES)];
    if (i->state == NONE)
        return;
    ih_result result = ih_catalog_revive(w.catalog, i->handle);
    /* What a scan has found free may have been promised already. A new daemon does not know what
     * the old one has told of memory that nobody writes again: it is still there. */
    const granted *g = &w.segments[i->segment];
    bool stays = w.restarts > 0 && (g->info.session == 0 || g->heap.kind == IH_DEDICATED);
    CHECK(result == IH_GONE || i->state == DYING || (i->state == FREED && stays));
    CHECK(result == IH_OK || i->state != DYING || (i->leases == 0 && i->holds == 0));
    if (result == IH_OK)
        i->state = ALIVE;
}

static void do_hold(void)
{
    image *i = &images[any(IMAGES)];
    if (i->state == ALIVE && any(2) == 0) {
        CHECK_EQ(ih_catalog_hold(w.catalog, i->handle.locator), IH_OK);
        i->holds++;
    } else if (i->state != NONE && i->holds > 0) {
        CHECK_EQ(ih_catalog_holds(w.catalog, i->handle.locator), i->holds);
        ih_catalog_unhold(w.catalog, i->handle.locator);
        i->holds--;
    }
}

static void take_freed(const ih_handle *handles, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        image *i = find_image(handles[k].locator, DYING);
        const granted *g = find_segment(ih_locator_id(handles[k].locator));
        if (i == NULL) /* told once more after a restart: gone, where no producer clears headers */
            CHECK(w.restarts > 0 && (g->info.session == 0 || g->heap.kind == IH_DEDICATED));
        else
            CHECK(i->leases == 0 && i->holds == 0 && i->handle.nonce == handles[k].nonce);
        if (i != NULL)
            i->state = FREED;
        freed++;
    }
}

static void do_reclaim(bool force)
{
    ih_handle out[50];
    size_t told, room = any(4) == 0 ? 3 : 50;
    CHECK_OK(ih_catalog_reclaim(w.catalog, force, out, room, &told));
    CHECK(told <= room);
    take_freed(out, told);
}

static void forget_images(size_t segment)
{
    for (size_t k = 0; k < IMAGES; k++) {
        image *i = &images[k];
        if (i->state != NONE && i->segment == segment) {
            CHECK(i->state == FREED && i->leases == 0 && i->holds == 0);
            i->state = NONE;
        }
    }
}

/* What the daemon does with a segment that holds nothing. */
static void do_empty(void)
{
    uint64_t id = ih_catalog_empty(w.catalog);
    if (id == 0)
        return;
    granted *g = find_segment(id);
    CHECK(g != NULL);
    size_t at = (size_t)(g - w.segments);
    ih_segment_content content;
    CHECK_OK(ih_catalog_content(w.catalog, id, &content));
    CHECK_EQ(content.images, 0);
    forget_images(at);
    if (g->heap.kind == IH_DEDICATED && g->writable && any(2) == 0) {
        ih_catalog_mark(w.catalog, id, false, true);
        CHECK(ih_catalog_empty(w.catalog) != id);
        CHECK_OK(ih_catalog_rename(w.catalog, id, w.next_id));
        g->info.id = g->heap.id = w.next_id++;
        g->blocks = 0;
        return;
    }
    ih_catalog_drop(w.catalog, id);
    CHECK(*g->range == IH_RANGE_GONE);
    ungrant(g);
}

static void do_drain(void) { drain_ring(&w.producers[any(PRODUCERS)], find_segment, any(40)); }

/* H8: the segments of a dead producer are never written again, and drain. */
static void kill_producer(void)
{
    producer *p = &w.producers[any(PRODUCERS)];
    drain_ring(p, find_segment, any(10)); /* it died in the middle of something */
    bool page_first = any(2) == 0;
    if (page_first)
        ih_catalog_drop_page(w.catalog, p->session);
    for (size_t i = 0; i < SEGMENTS; i++) {
        granted *g = &w.segments[i];
        if (!g->gone && g->info.session == p->session) {
            ih_catalog_retire(w.catalog, g->info.id);
            g->info.session = 0;
            g->writable = false;
        }
    }
    if (!page_first)
        ih_catalog_drop_page(w.catalog, p->session);
    close_session(p);
    *p = open_session(w.catalog, ++w.next_session);
}

static void kill_reader(void)
{
    size_t reader = any(READERS);
    member *m = &w.readers[reader];
    die(m);
    CHECK(!ih_catalog_is_alive(w.catalog, m->number, 0));
    for (size_t k = 0; k < IMAGES; k++) {
        image *i = &images[k];
        if (i->state != NONE && i->slots[reader] != IH_NO_SLOT) {
            i->slots[reader] = IH_NO_SLOT;
            i->leases--;
        }
    }
    if (any(2) == 0)
        do_reclaim(true); /* its slots are freed by a scan, or go with the family */
    ih_catalog_drop_family(w.catalog, m->number);
    close(m->file);
    *m = join_family(w.catalog, ++w.next_family);
}

static void restart(void)
{
    reopen_world();
    for (size_t i = 0; i < IMAGES; i++) {
        for (uint32_t h = 0; images[i].state != NONE && h < images[i].holds; h++)
            CHECK_EQ(ih_catalog_hold(w.catalog, images[i].handle.locator), IH_OK);
    }
    for (size_t i = 0; i < IMAGES; i++) {
        image *lost = &images[i];
        const granted *g = &w.segments[lost->segment];
        bool dying = false;
        if (lost->state != DYING ||
            ih_catalog_find(w.catalog, lost->handle, NULL, &dying) == IH_OK || dying)
            continue;
        /* Its producer cleared the header. If it is in the ring it will be told; else the old
         * daemon would have told it next, and whoever keeps books finds out by asking. */
        if (g->heap.kind == IH_DEDICATED || g->info.session == 0 ||
            !bit_of(g, ih_locator_unit(lost->handle.locator)))
            lost->state = FREED;
    }
    w.restarts++;
}

/* ---- what must hold -------------------------------------------------------------------------- */

static void compare(void)
{
    CHECK_CATALOG(w.catalog, true);
    uint64_t alive = 0, listed = 0, cursor = 0;
    ih_stat stats[32];
    for (size_t k = 0; k < IMAGES; k++) {
        const image *i = &images[k];
        if (i->state == NONE)
            continue;
        bool dying;
        ih_stat found;
        CHECK_EQ(ih_catalog_find(w.catalog, i->handle, &found, &dying),
                 i->state == ALIVE ? IH_OK : IH_GONE);
        CHECK(i->state != ALIVE || found.size == (uint64_t)i->units * IH_UNIT);
        CHECK(!dying || i->state != ALIVE);
        alive += i->state == ALIVE ? 1u : 0u;
        uint64_t families[READERS];
        uint32_t members[READERS];
        uint32_t leases =
            ih_catalog_lessees(w.catalog, i->handle.locator, families, members, READERS);
        if (i->state == ALIVE)
            CHECK_EQ(leases, i->leases);
        if (i->leases > 0)
            verify_image(&w.segments[i->segment], i->handle, i->units);
    }
    for (size_t count; (count = ih_catalog_list(w.catalog, cursor, stats, 1 + any(31))) > 0;) {
        for (size_t k = 0; k < count; k++) {
            CHECK(stats[k].handle.locator > cursor);
            cursor = stats[k].handle.locator;
            const image *i = find_image(cursor, ALIVE);
            CHECK_EQ(stats[k].dying, i == NULL);
            listed += i != NULL ? 1u : 0u;
            if (i != NULL)
                CHECK_EQ(stats[k].leases, i->leases);
        }
    }
    CHECK_EQ(listed, alive);
    ih_catalog_totals totals;
    ih_catalog_total(w.catalog, &totals);
    CHECK_EQ(totals.images, alive);
}

static void step(void)
{
    size_t what = any(1000);
    if (what < 300)
        do_put();
    else if (what < 500)
        do_open();
    else if (what < 640)
        do_release();
    else if (what < 780)
        do_condemn();
    else if (what < 800)
        do_revive();
    else if (what < 830)
        do_hold();
    else if (what < 900)
        do_drain();
    else if (what < 940)
        do_reclaim(any(2) == 0);
    else if (what < 960)
        do_empty();
    else if (what < 990)
        do_grant();
    else if (what < 993)
        kill_reader();
    else if (what < 994)
        kill_producer();
    else if (what < 996)
        restart();
    else
        compare();
}

static void test_h01_h08_catalog_against_a_model(void)
{
    uint64_t steps = test_setting("IH_OPS", 1000000) / 10, seed = test_setting("IH_SEED", 1);
    uint64_t restarts = 0;
    for (uint64_t round = 0; round < 4; round++) {
        open_world(seed + round);
        memset(images, 0, sizeof images);
        for (uint64_t i = 0; i < steps / 4; i++)
            step();
        compare();
        restarts += w.restarts;
        close_world();
    }
    CHECK(freed > 0 && reuses > 0);
    printf("     %" PRIu64 " steps, %" PRIu64 " images freed, %" PRIu64
           " units used again, %" PRIu64 " restarts\n",
           steps, freed, reuses, restarts);
}

int main(void)
{
    RUN(test_h01_h08_catalog_against_a_model);
    return 0;
}
