/* The catalog's rules by name, producers who write anything anywhere, and how fast it frees. */
#include "catalogs.h"

/* ---- rules by name --------------------------------------------------------------------------- */

static granted *only; /* what find_only() knows */
static granted *find_only(uint64_t id) { return only != NULL && only->info.id == id ? only : NULL; }

static size_t reclaim_now(ih_handle *out, size_t room)
{
    size_t freed;
    CHECK_OK(ih_catalog_reclaim(w.catalog, true, out, room, &freed));
    return freed;
}

/* A stopped producer keeps what was freed, and is told to hold it; once it goes on, it gives all
 * back, and each block only after the bit was cleared behind the header. */
static void test_h07_frees_wait_for_the_producer_and_are_counted(void)
{
    open_world(5);
    producer *p = &w.producers[0];
    granted g =
        grant(w.catalog, w.state, 77, IH_ORDINARY, UINT64_C(8) << 20, p->session, &w.random);
    only = &g;
    ih_handle *handles = malloc(60000 * sizeof *handles), *out = malloc(60000 * sizeof *out);
    CHECK(handles != NULL && out != NULL);
    size_t count = 0, freed = 0;
    while (count < 60000 && (handles[count] = put_image(&g, 2, count + 1)).locator != 0)
        count++;
    CHECK(count > 3 * IH_RING_ENTRIES);
    for (size_t i = 0; i < count; i++)
        CHECK_OK(ih_catalog_condemn(w.catalog, handles[i], &error));
    CHECK_EQ(reclaim_now(out, 60000), 0);
    CHECK_EQ(ih_catalog_waiting(w.catalog, p->session), count * 2 * IH_UNIT);
    CHECK(ih_catalog_is_busy(w.catalog));
    CHECK_EQ(p->page->head, IH_RING_ENTRIES);
    for (size_t rounds = 0; ih_catalog_is_busy(w.catalog); rounds++) {
        CHECK(rounds < 20);
        drain_ring(p, find_only, UINT64_MAX);
        /* Cleared, but not yet seen by the daemon: nothing is used again. */
        uint32_t before = g.blocks;
        drain_ring(p, find_only, UINT64_MAX);
        CHECK_EQ(g.blocks, before);
        freed += reclaim_now(out + freed, 60000 - freed);
        CHECK_CATALOG(w.catalog, true);
    }
    drain_ring(p, find_only, UINT64_MAX);
    CHECK_EQ(freed, count);
    CHECK_EQ(g.blocks, 0);
    CHECK_EQ(ih_catalog_waiting(w.catalog, p->session), 0);
    char message[200];
    ih_heap_stats stats;
    CHECK_EQ(ih_heap_check(&g.heap, &stats, message, sizeof message), IH_OK);
    CHECK_EQ(stats.blocks, 1);
    free(handles);
    free(out);
    close_world();
    ungrant(&g);
}

/* A producer who says that it has taken entries, more than there are, and clears no header. */
static void test_h07_lying_producer_harms_itself_alone(void)
{
    open_world(6);
    producer *p = &w.producers[0];
    granted g =
        grant(w.catalog, w.state, 77, IH_ORDINARY, UINT64_C(64) << 10, p->session, &w.random);
    ih_handle handles[20], out[64];
    for (size_t i = 0; i < 20; i++) {
        handles[i] = put_image(&g, 2, i + 1);
        CHECK_OK(ih_catalog_condemn(w.catalog, handles[i], &error));
    }
    CHECK_EQ(reclaim_now(out, 64), 0);
    p->page->tail = 21;
    CHECK_EQ(reclaim_now(out, 64), 0);
    p->page->tail = UINT64_MAX;
    CHECK_EQ(reclaim_now(out, 64), 0);
    memset((uint8_t *)p->page + sizeof *p->page, 0xff, 4096);
    p->page->head = 12345;
    p->page->tail = 20;
    CHECK_EQ(reclaim_now(out, 64), 0);
    CHECK(!ih_catalog_is_busy(w.catalog));
    CHECK_CATALOG(w.catalog, true);
    for (size_t i = 0; i < 20; i++) {
        CHECK(bit_of(&g, ih_locator_unit(handles[i].locator)));
        CHECK_EQ(ih_catalog_revive(w.catalog, handles[i]), IH_GONE);
    }
    /* Its death sets it right. */
    ih_catalog_retire(w.catalog, 77);
    CHECK_EQ(reclaim_now(out, 64), 20);
    CHECK_EQ(ih_catalog_empty(w.catalog), 77);
    ih_catalog_drop(w.catalog, 77);
    close_world();
    ungrant(&g);
}

/* H2: the lease of a forked child counts wherever the scan is; H9: it goes with the process, and
 * the daemon learns it from the lock, restarted or not. */
static void test_h02_h09_child_of_a_member_keeps_what_it_leases(void)
{
    open_world(7);
    granted g = grant(w.catalog, w.state, 77, IH_DEDICATED, UINT64_C(64) << 10,
                      w.producers[0].session, &w.random);
    ih_handle handle = put_image(&g, 9, 99), out[4];
    ih_family *family = w.readers[0].family;
    uint32_t slot, child_slot;
    int up[2];
    CHECK(pipe(up) == 0);
    CHECK_OK(ih_family_publish(family, handle.locator, &slot, &error));
    CHECK_EQ(ih_family_prepare(family), IH_OK);
    CHECK_EQ(ih_family_give(family, handle.locator, &child_slot), IH_OK);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ih_family_fork_child(family);
        char byte;
        close(up[1]);
        _exit(read(up[0], &byte, 1) == 1 ? 0 : 1);
    }
    ih_family_fork_parent(family);
    ih_family_withdraw(family, slot);
    CHECK_OK(ih_catalog_condemn(w.catalog, handle, &error));
    CHECK_EQ(reclaim_now(out, 4), 0);
    die(&w.readers[0]); /* the parent goes first */
    CHECK_EQ(reclaim_now(out, 4), 0);
    CHECK(ih_catalog_is_alive(w.catalog, w.readers[0].number, 0));
    verify_image(&g, handle, 9);
    w.segments[0] = g;
    w.segments[0].gone = false;
    reopen_world();
    CHECK_EQ(reclaim_now(out, 4), 0);
    uint64_t families[4];
    uint32_t members[4];
    CHECK_EQ(ih_catalog_lessees(w.catalog, handle.locator, families, members, 4), 1);
    CHECK(families[0] == w.readers[0].number && members[0] == 2);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    CHECK_EQ(reclaim_now(out, 4), 1);
    CHECK(!ih_catalog_is_alive(w.catalog, w.readers[0].number, 0));
    CHECK_EQ(ih_catalog_empty(w.catalog), 77);
    w.readers[0].family = NULL;
    ih_catalog_drop_family(w.catalog, w.readers[0].number);
    close(w.readers[0].file);
    w.readers[0] = join_family(w.catalog, ++w.next_family);
    close(up[0]);
    close(up[1]);
    close_world();
}

static void test_files_are_sealed_as_their_use_demands(void)
{
    open_world(8);
    int fd, other, code;
    CHECK_OK(ih_catalog_make_file(IH_FILE_ORDINARY, 1 << 16, &fd, &error));
    CHECK(ftruncate(fd, 0) != 0 && ftruncate(fd, 1 << 20) != 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0);
    CHECK(!ih_catalog_is_sealed(fd));
    CHECK_OK(ih_catalog_reopen(fd, false, &other, &error));
    CHECK(pwrite(other, "x", 1, 0) < 0);
    close(fd);
    close(other);
    /* The catalog's own mapping does not stand in the way of F_SEAL_WRITE, and is bounded. */
    granted g = grant(w.catalog, w.state, 99, IH_DEDICATED, 1 << 20, 1, &w.random);
    ih_handle handle = put_image(&g, 100, 5);
    munmap(g.heap.base, g.info.bytes);
    code = fcntl(g.fd, F_ADD_SEALS, F_SEAL_WRITE);
    g.heap.base = mmap(NULL, g.info.bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code == 0 && ih_catalog_is_sealed(g.fd) && g.heap.base != MAP_FAILED);
    ih_catalog_mark(w.catalog, 99, true, false);
    ih_stat found;
    CHECK_EQ(ih_catalog_find(w.catalog, handle, &found, NULL), IH_OK);
    CHECK(found.sealed_by_kernel && found.dedicated);
    /* Moved to a file with the same bytes, it is found there; with others it is refused. */
    FILE *file = tmpfile();
    CHECK(file != NULL && ftruncate(fileno(file), 1 << 20) == 0);
    CHECK_EQ(ih_catalog_replace(w.catalog, 99, fileno(file), &error), IH_CORRUPT);
    CHECK(pwrite(fileno(file), g.heap.view, 1 << 20, 0) == 1 << 20);
    CHECK_OK(ih_catalog_replace(w.catalog, 99, fileno(file), &error));
    CHECK_EQ(g.range[1], 1);
    CHECK(ftruncate(fileno(file), 0) == 0); /* whoever owns the folder can do that */
    CHECK_EQ(ih_catalog_find(w.catalog, handle, &found, NULL), IH_OK);
    CHECK_CATALOG(w.catalog, true);
    fclose(file);
    CHECK_EQ(ih_catalog_make_file(IH_FILE_ORDINARY, 100, &fd, &error), IH_INVALID);
    CHECK_EQ(ih_catalog_make_file(77, 1 << 16, &fd, &error), IH_INVALID);
    g.info.id = 100;
    CHECK_EQ(ih_catalog_add_segment(w.catalog, &g.info, w.state_file, true, &error), IH_INVALID);
    close_world();
    ungrant(&g);
}

/* ---- hostile producers ----------------------------------------------------------------------- */

/* Scribbles over its segment, its page and its lease table until it is killed. */
static pid_t scribbler(const granted *g, int page, int family)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid != 0)
        return pid;
    uint64_t random = 4242, table_bytes = IH_FAMILY_SLOTS_OFFSET + 8u * IH_SLOTS * 64u;
    CHECK(ftruncate(family, (off_t)table_bytes) == 0);
    uint8_t *areas[3] = {map_file(g->fd, g->info.bytes, true),
                         map_file(page, IH_SESSION_BYTES, true),
                         map_file(family, table_bytes, true)};
    uint64_t sizes[3] = {g->info.bytes, IH_SESSION_BYTES, table_bytes};
    for (;;) {
        uint64_t which = test_below(&random, 3), word = test_random(&random);
        if (test_below(&random, 3) == 0) /* something that looks like something */
            word = test_below(&random, 2) != 0 ? test_below(&random, 5)
                                               : ih_locator(g->info.id, (uint32_t)(word % 2000));
        uint64_t at = test_below(&random, sizes[which] - 8);
        if (test_below(&random, 4) == 0)
            at = test_below(&random, 8192); /* headers are where it hurts */
        memcpy(areas[which] + (word % 3 == 0 ? at : at & ~UINT64_C(7)), &word, 8);
    }
}

static void test_h10_hostile_producer_harms_itself_alone(void)
{
    uint64_t rounds = test_setting("IH_OPS", 1000000) / 2000 + 20, listed = 0, condemned = 0;
    open_world(9);
    granted victim =
        grant(w.catalog, w.state, 50, IH_ORDINARY, 1 << 18, w.producers[1].session, &w.random);
    granted bad =
        grant(w.catalog, w.state, 60, IH_ORDINARY, 1 << 18, w.producers[0].session, &w.random);
    ih_handle kept[500], out[256];
    for (size_t i = 0; i < 500; i++) {
        kept[i] = put_image(&victim, 3, i + 1);
        CHECK(kept[i].locator != 0 && put_image(&bad, 3, i + 1).locator != 0);
    }
    pid_t pid = scribbler(&bad, w.producers[0].file, w.readers[0].file);
    ih_stat *stats = malloc(6000 * sizeof *stats);
    CHECK(stats != NULL);
    for (uint64_t round = 0; round < rounds; round++) {
        size_t count = ih_catalog_list(w.catalog, 0, stats, 6000);
        CHECK(count >= 500);
        for (size_t i = 0; i < 500; i++)
            CHECK(stats[i].handle.nonce == kept[i].nonce && !stats[i].dying);
        listed += count;
        for (size_t i = 500; i < count; i++) {
            if (test_below(&w.random, 20) == 0)
                condemned += ih_catalog_condemn(w.catalog, stats[i].handle, &error) == IH_OK;
        }
        (void)reclaim_now(out, 256);
        ih_segment_content content;
        ih_catalog_totals totals;
        CHECK_OK(ih_catalog_content(w.catalog, 60, &content));
        CHECK(content.free_bytes <= bad.info.bytes && content.largest_free <= bad.info.bytes);
        CHECK_OK(ih_catalog_content(w.catalog, 50, &content));
        CHECK_EQ(content.images, 500);
        ih_catalog_total(w.catalog, &totals);
        (void)ih_catalog_leases(w.catalog, w.readers[0].number);
        uint64_t counters[IH_PAGE_COUNTERS];
        ih_catalog_counters(w.catalog, w.producers[0].session, counters);
        CHECK_CATALOG(w.catalog, false);
        if (round == rounds / 2) {
            for (size_t i = 0; i < SEGMENTS; i++)
                w.segments[i].gone = true;
            w.segments[0] = victim;
            w.segments[1] = bad;
            reopen_world();
        }
        if (round == rounds * 3 / 4)
            ih_catalog_retire(w.catalog, 60);
    }
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    for (size_t i = 0; i < 500; i++)
        verify_image(&victim, kept[i], 3);
    printf("     %" PRIu64 " images listed, %" PRIu64 " of the hostile one's condemned\n", listed,
           condemned);
    ih_catalog_drop(w.catalog, 60);
    CHECK_CATALOG(w.catalog, true);
    free(stats);
    close_world();
}

/* ---- how fast -------------------------------------------------------------------------------- */

#define MANY_FAMILIES 200u

/* Prints what condemning and reclaiming a million images costs with 200 families of leases. */
static void test_million_images_are_freed_in_batches(void)
{
    uint64_t wanted = test_setting("IH_MANY", 1000000), each = UINT64_C(64) << 20;
    size_t segments = (size_t)(wanted * 128 / (each - (1 << 20)) + 1), count = 0, freed = 0;
    open_world(10);
    granted *all = calloc(segments, sizeof *all);
    ih_handle *handles = malloc((wanted + 1) * sizeof *handles), *out = malloc(65536 * sizeof *out);
    member *members = calloc(MANY_FAMILIES, sizeof *members);
    CHECK(all != NULL && handles != NULL && out != NULL && members != NULL);
    producer *p = &w.producers[0];
    for (size_t i = 0; i < segments; i++) {
        all[i] = grant(w.catalog, w.state, 1000 + i, IH_ORDINARY, each, p->session, &w.random);
        while (count < wanted && (handles[count] = put_image(&all[i], 2, count + 1)).locator != 0)
            count++;
    }
    CHECK_EQ(count, wanted);
    for (size_t i = 0; i < MANY_FAMILIES; i++) {
        members[i] = join_family(w.catalog, 1000 + i);
        uint32_t slot;
        for (size_t j = 0; j < 400; j++)
            CHECK_OK(ih_family_publish(
                members[i].family, handles[test_below(&w.random, count)].locator, &slot, &error));
    }
    double start = test_now();
    for (size_t i = 0; i < count; i++)
        CHECK_OK(ih_catalog_condemn(w.catalog, handles[i], &error));
    double condemned = test_now() - start, busy = 0;
    size_t told, scans = 0;
    do {
        start = test_now();
        CHECK_OK(ih_catalog_reclaim(w.catalog, scans < 2, out, 65536, &told));
        busy += test_now() - start;
        scans++;
        freed += told;
        uint64_t tail = p->page->tail; /* the producer's part, which the daemon does not pay for */
        const uint64_t *ring = (const uint64_t *)(const void *)(p->page + 1);
        for (; tail != p->page->head; tail++) {
            uint64_t locator = ring[2 * (tail % IH_RING_ENTRIES)];
            ih_heap_unseal(&all[ih_locator_id(locator) - 1000].heap, ih_locator_unit(locator));
        }
        __atomic_store_n(&p->page->tail, tail, __ATOMIC_RELEASE);
    } while (told > 0 || scans < 3);
    CHECK(freed >= count - MANY_FAMILIES * 400 && freed < count);
    CHECK_CATALOG(w.catalog, true);
    printf("     %zu images: %.0f ns each to condemn, %.0f ns each to reclaim\n", count,
           condemned / (double)count * 1e9, busy / (double)freed * 1e9);
    close_world();
    for (size_t i = 0; i < MANY_FAMILIES; i++) {
        die(&members[i]);
        close(members[i].file);
    }
    for (size_t i = 0; i < segments; i++)
        ungrant(&all[i]);
    free(all);
    free(handles);
    free(out);
    free(members);
}

int main(void)
{
    RUN(test_files_are_sealed_as_their_use_demands);
    RUN(test_h07_frees_wait_for_the_producer_and_are_counted);
    RUN(test_h07_lying_producer_harms_itself_alone);
    RUN(test_h02_h09_child_of_a_member_keeps_what_it_leases);
    RUN(test_h10_hostile_producer_harms_itself_alone);
    RUN(test_million_images_are_freed_in_batches);
    return 0;
}
