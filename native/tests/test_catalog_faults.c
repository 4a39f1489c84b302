/* A daemon takes over a store, deletes in it, retires a producer and frees, and every call that can
 * fail fails once: the error is typed, nothing is leaked, and what a fault left undone is done by
 * the next reclaim. */
#include "catalogs.h"
#include "faults.h"

#define BYTES (UINT64_C(64) << 10)
enum { IMAGES = 12, GRANTED = 3 };

static ih_handle handles[GRANTED][IMAGES];

static bool good(ih_result result)
{
    CHECK(result == IH_OK || (failed && (result == IH_MEMORY || result == IH_SYSTEM)));
    return result == IH_OK;
}

static bool take_over(void)
{
    ih_catalog *catalog = NULL;
    if (!good(ih_catalog_create(w.state_file, STATE_BYTES, &catalog, &error))) {
        CHECK(catalog == NULL);
        return false;
    }
    w.catalog = catalog;
    bool whole = true;
    for (size_t i = 0; i < GRANTED && whole; i++) {
        const granted *g = &w.segments[i];
        CHECK_OK(ih_catalog_keep_range(catalog, g->info.kind, g->info.bytes, g->info.state));
        whole = good(ih_catalog_add_segment(catalog, &g->info, g->fd, false, &error));
    }
    whole = whole && good(ih_catalog_add_family(catalog, 1, w.readers[0].file, 64, &error)) &&
            good(ih_catalog_add_page(catalog, 1, w.producers[0].file, &error)) &&
            good(ih_catalog_recover(catalog, &error));
    if (!whole) {
        ih_catalog_destroy(catalog);
        w.catalog = NULL;
    }
    return whole;
}

static void scenario(void)
{
    ih_handle out[64];
    size_t count;
    if (!take_over())
        return;
    for (size_t i = 0; i < GRANTED; i++) {
        for (size_t k = 0; k < IMAGES && handles[i][k].locator != 0; k += 3) {
            ih_result result = ih_catalog_condemn(w.catalog, handles[i][k], &error);
            (void)(result == IH_GONE || good(result)); /* some die already */
        }
    }
    CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, 64, &count));
    (void)good(ih_catalog_hold(w.catalog, handles[0][1].locator));
    ih_catalog_unhold(w.catalog, handles[0][1].locator);
    ih_lease_ages ages;
    (void)ih_catalog_lease_ages(w.catalog, 1, 5, 100, &ages);
    CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, 64, &count));
    for (size_t i = 0; i < GRANTED; i++)
        ih_catalog_retire(w.catalog, w.segments[i].info.id);
    CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, 64, &count));
    CHECK_CATALOG(w.catalog, true);
}

/* Whatever failed: all can be deleted, is freed, and the segments may go. */
static void aftermath(void)
{
    ih_handle out[64];
    size_t count;
    if (w.catalog == NULL)
        return;
    for (size_t i = 0; i < GRANTED; i++) {
        for (size_t k = 0; k < IMAGES && handles[i][k].locator != 0; k++)
            (void)ih_catalog_condemn(w.catalog, handles[i][k], &error);
    }
    for (unsigned turns = 0; turns < 3; turns++) {
        (void)ih_catalog_empty(w.catalog);
        CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, 64, &count));
        CHECK_CATALOG(w.catalog, true);
    }
    CHECK(!ih_catalog_is_busy(w.catalog));
    ih_catalog_totals totals;
    ih_catalog_total(w.catalog, &totals);
    CHECK_EQ(totals.images, 0);
    CHECK(ih_catalog_empty(w.catalog) != 0);
    ih_catalog_destroy(w.catalog);
    w.catalog = NULL;
}

/* A store as a daemon leaves it: images that live, that die, and entries in the ring. */
static void build(void)
{
    open_world(12);
    for (size_t i = 0; i < GRANTED; i++) {
        w.segments[i] = grant(w.catalog, w.state, 90 + i, i < 2 ? IH_ORDINARY : IH_DEDICATED, BYTES,
                              1, &w.random);
        for (size_t k = 0; k < (i < 2 ? IMAGES : 1u); k++)
            handles[i][k] = put_image(&w.segments[i], 2, 100 * i + k + 1);
    }
    for (size_t k = 0; k < 4; k++)
        CHECK_OK(ih_catalog_condemn(w.catalog, handles[0][k], &error));
    ih_handle out[8];
    size_t count;
    CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, 8, &count));
    CHECK_EQ(w.producers[0].page->head, 4);
    CHECK_OK(ih_catalog_condemn(w.catalog, handles[1][0], &error));
    ih_catalog_destroy(w.catalog);
    w.catalog = NULL;
}

static void test_h13_every_call_of_a_daemon_fails_once(void)
{
    static uint8_t state[STATE_BYTES], page[IH_SESSION_BYTES];
    build();
    uint8_t *writable = map_file(w.state_file, STATE_BYTES, true);
    memcpy(state, writable, sizeof state);
    memcpy(page, w.producers[0].page, sizeof page);
    unsigned descriptors = count_descriptors(), mappings = count_mappings();
    for (fail_at = 1;; fail_at++) {
        memcpy(writable, state, sizeof state);
        memcpy(w.producers[0].page, page, sizeof page);
        calls = 0;
        failed = false;
        armed = true;
        scenario();
        armed = false;
        aftermath();
        if (!failed)
            break;
        if (count_descriptors() != descriptors || count_mappings() != mappings) {
            fprintf(stderr, "%s failing at call %" PRIu64 " leaks\n", failed_call, fail_at);
            abort();
        }
    }
    CHECK(fail_at > 30);
    printf("     %" PRIu64 " calls failed, one at a time\n", fail_at - 1);
    munmap(writable, STATE_BYTES);
    CHECK_OK(ih_catalog_create(w.state_file, STATE_BYTES, &w.catalog, &error));
    close_world();
}

int main(void)
{
    RUN(test_h13_every_call_of_a_daemon_fails_once);
    return 0;
}
