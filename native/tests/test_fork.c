/* Forked children and their children: what they may do and hold, and what their deaths give
 * back. */
#include "process.h" /* before the globals of forks.h, whose names its parameters have */

#include "forks.h"

static void test_h08_children_only_read(void)
{
    open_all(false);
    ih_handle handle, other;
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, NULL, &error));
    CHECK_OK(ih_bind(store, "name", 4, &handle, 0, NULL, &error));
    ih_block block;
    CHECK_OK(ih_reserve(store, 200, 0, &block, &error));
    pid_t pid = do_fork();
    if (pid == 0) {
        ih_lease *lease;
        CHECK_OK(ih_open(process, handle, &lease, &error));
        test_verify(lease, 5000, 1);
        CHECK_EQ(test_put(store, 100, 0, 1, &other, NULL, &error), IH_FORKED);
        CHECK_EQ(ih_delete(store, handle, true, &error), IH_FORKED);
        CHECK_EQ(ih_bind(store, "x", 1, &handle, 0, NULL, &error), IH_FORKED);
        CHECK_EQ(ih_block_write(&block, 64, "x", 1, &error), IH_FORKED);
        CHECK_EQ(ih_block_seal(&block, (uint8_t[16]){0}, &other, NULL, &error), IH_FORKED);
        ih_block_abandon(&block);
        ih_usage figures;
        CHECK_EQ(ih_store_usage(store, &figures, &error), IH_FORKED);
        ih_stat stat, *list;
        size_t count;
        CHECK_OK(ih_store_stat(store, handle, &stat, &error));
        CHECK_EQ(stat.leases, 1);
        CHECK_OK(ih_store_list(store, &list, &count, &error));
        CHECK(count == 1 && list[0].handle.nonce == handle.nonce);
        free(list);
        ih_lease *named;
        CHECK_OK(ih_open_name(store, "name", 4, &named, &error));
        CHECK(named == lease);
        ih_lease_release(named);
        ih_lease_release(lease);
        CHECK_STORE(store);
        /* A store of its own works. */
        ih_store *own;
        ih_store_options options = {64 * MIB, 0, false};
        CHECK_OK(ih_store_open(process, &options, &own, &error));
        CHECK_OK(test_put(own, 5000, 0, 9, &other, &lease, &error));
        test_verify(lease, 5000, 9);
        ih_lease_release(lease);
        CHECK_STORE(own);
        ih_store_drop(own);
        ih_store_drop(store);
        ih_process_destroy(process);
        _exit(0);
    }
    join(pid);
    ih_block_abandon(&block);
    close_all();
}

static void test_h09_a_child_holds_what_it_inherited(void)
{
    open_all(false);
    static const uint64_t sizes[3] = {5000, 3 * MIB, 900};
    ih_handle handles[3];
    ih_lease *leases[3];
    for (unsigned i = 0; i < 3; i++)
        CHECK_OK(test_put(store, sizes[i], i == 2 ? IH_PUT_SEAL : 0, i, &handles[i], &leases[i],
                          &error));
    talk t;
    talk_open(&t);
    pid_t pid = do_fork();
    if (pid == 0) {
        hear(t.down[0]);
        for (unsigned i = 0; i < 3; i++) {
            test_verify(leases[i], sizes[i], i);
            ih_lease *again;
            CHECK_EQ(ih_open(process, handles[i], &again, &error), IH_GONE);
            ih_lease_release(leases[i]);
        }
        say(t.up[1]);
        hear(t.down[0]);
        _exit(0);
    }
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(ih_delete(store, handles[i], false, &error));
        ih_lease_release(leases[i]);
    }
    CHECK_EQ(usage().dying, 3);
    CHECK_EQ(usage().leases, 0);
    CHECK_STORE(store);
    /* New images don't land where the child reads. */
    ih_handle other;
    for (unsigned i = 0; i < 20; i++)
        CHECK_OK(test_put(store, i % 2 ? 5000 : 3 * MIB, 0, 100 + i, &other, NULL, &error));
    say(t.down[1]);
    hear(t.up[0]);
    CHECK_EQ(usage().dying, 0);
    CHECK_STORE(store);
    say(t.down[1]);
    join(pid);
    talk_close(&t);
    close_all();
}

static void test_h09_killed_children_hold_nothing(void)
{
    open_all(false);
    ih_handle handle;
    ih_lease *lease;
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, &lease, &error));
    for (unsigned i = 0; i < 50; i++) {
        pid_t pid = do_fork();
        if (pid == 0) {
            for (;;)
                pause();
        }
        if (i == 49) {
            CHECK_OK(ih_delete(store, handle, false, &error));
            ih_lease_release(lease);
            CHECK_EQ(usage().dying, 1);
        }
        bury(pid);
    }
    CHECK_EQ(usage().dying, 0);
    CHECK_EQ(usage().used, 0);
    close_all();
}

/* The lease of a grandchild counts when its parent, which nobody told, is dead. */
static void test_h09_grandchildren(void)
{
    open_all(false);
    ih_handle a, b, c;
    ih_lease *lease;
    CHECK_OK(test_put(store, 5000, 0, 1, &a, &lease, &error));
    CHECK_OK(test_put(store, 5000, 0, 2, &b, NULL, &error));
    CHECK_OK(test_put(store, 5000, 0, 3, &c, NULL, &error));
    talk t;
    talk_open(&t);
    pid_t child = do_fork();
    if (child == 0) {
        ih_lease *of_child, *own;
        CHECK_OK(ih_open(process, b, &of_child, &error));
        pid_t grandchild = do_fork();
        if (grandchild == 0) {
            CHECK_OK(ih_open(process, c, &own, &error));
            say(t.up[1]);
            hear(t.down[0]);
            test_verify(lease, 5000, 1);
            test_verify(of_child, 5000, 2);
            test_verify(own, 5000, 3);
            ih_lease_release(own);
            ih_lease_release(of_child);
            say(t.up[1]);
            hear(t.down[0]);
            _exit(0);
        }
        _exit(0);
    }
    join(child);
    hear(t.up[0]);
    CHECK_OK(ih_delete(store, a, false, &error));
    CHECK_OK(ih_delete(store, b, false, &error));
    CHECK_OK(ih_delete(store, c, false, &error));
    ih_lease_release(lease);
    CHECK_EQ(usage().dying, 3);
    ih_handle other;
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(test_put(store, 5000, 0, 100 + i, &other, NULL, &error));
    say(t.down[1]);
    hear(t.up[0]);
    CHECK_EQ(usage().dying, 1);
    say(t.down[1]);
    while (usage().dying != 0)
        usleep(1000);
    CHECK_STORE(store);
    talk_close(&t);
    close_all();
}

/* Exec ends a membership though the process lives on. */
static void test_h09_exec_lets_go(void)
{
    open_all(false);
    ih_handle handle;
    ih_lease *lease;
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, &lease, &error));
    pid_t pid = do_fork();
    if (pid == 0) {
        execlp("sleep", "sleep", "100", (char *)NULL);
        _exit(1);
    }
    CHECK_OK(ih_delete(store, handle, false, &error));
    ih_lease_release(lease);
    while (usage().dying != 0)
        usleep(1000);
    bury(pid);
    close_all();
}

/* Ephemeral results: gone for the parent, still readable where a child holds them. */
static void test_h15_ephemeral_across_a_fork(void)
{
    open_all(true);
    ih_handle handle;
    ih_lease *lease;
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, &lease, &error));
    talk t;
    talk_open(&t);
    pid_t pid = do_fork();
    if (pid == 0) {
        hear(t.down[0]);
        ih_lease *again;
        CHECK_OK(ih_open(process, handle, &again, &error));
        test_verify(again, 5000, 1);
        ih_lease_release(again);
        ih_lease_release(lease);
        CHECK_EQ(ih_open(process, handle, &again, &error), IH_GONE);
        _exit(0);
    }
    ih_lease_release(lease);
    CHECK_EQ(usage().dying, 1);
    say(t.down[1]);
    join(pid);
    CHECK_EQ(usage().dying, 0);
    talk_close(&t);
    close_all();
}

/* The owner closes while children read; what they don't hold they can't open any more. */
static void test_closing_under_children(void)
{
    open_all(false);
    ih_handle held, other, large;
    ih_lease *lease;
    CHECK_OK(test_put(store, 5000, 0, 1, &held, &lease, &error));
    CHECK_OK(test_put(store, 5000, 0, 2, &other, NULL, &error));
    CHECK_OK(test_put(store, 5 * MIB, 0, 3, &large, NULL, &error));
    talk t;
    talk_open(&t);
    pid_t pid = do_fork();
    if (pid == 0) {
        ih_lease *again;
        hear(t.down[0]);
        test_verify(lease, 5000, 1);
        CHECK_EQ(ih_open(process, other, &again, &error), IH_GONE);
        CHECK_EQ(ih_open(process, large, &again, &error), IH_GONE);
        ih_store_close(store);
        test_verify(lease, 5000, 1);
        CHECK_EQ(ih_open(process, held, &again, &error), IH_CLOSED);
        ih_lease_release(lease);
        ih_store_drop(store);
        _exit(0);
    }
    ih_store_close(store);
    ih_lease_release(lease);
    say(t.down[1]);
    join(pid);
    CHECK_STORE(store);
    CHECK_EQ(usage().committed, 0);
    talk_close(&t);
    close_all();
}

/* Without a descriptor for the child's table: the child reads what it has, the parent frees nothing
 * that the child may hold. */
static void test_h09_fork_without_descriptors(void)
{
    open_all(false);
    ih_handle handle, other;
    ih_lease *lease;
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, &lease, &error));
    CHECK_OK(test_put(store, 5000, 0, 2, &other, NULL, &error));
    talk t;
    talk_open(&t);
    struct rlimit old, none;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    none = (struct rlimit){0, old.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    pid_t pid = do_fork();
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    if (pid == 0) {
        ih_lease *again;
        hear(t.down[0]);
        test_verify(lease, 5000, 1);
        CHECK_EQ(ih_open(process, other, &again, &error), IH_SYSTEM);
        ih_lease_release(lease);
        _exit(0);
    }
    CHECK_OK(ih_delete(store, handle, false, &error));
    ih_lease_release(lease);
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(test_put(store, 5000, 0, 100 + i, &other, NULL, &error));
    say(t.down[1]);
    join(pid);
    CHECK_EQ(usage().dying, 1);
    talk_close(&t);
    close_all();
}

static void test_a_million_leases_in_a_child(void)
{
    open_all(false);
    size_t count = 1000000;
    ih_handle *handles = malloc(count * sizeof *handles);
    CHECK(handles != NULL);
    for (size_t i = 0; i < count; i++)
        CHECK_OK(test_put(store, 64, 0, i, &handles[i], NULL, &error));
    talk t;
    talk_open(&t);
    pid_t pid = do_fork();
    if (pid == 0) {
        ih_lease **leases = malloc(count * sizeof(ih_lease *));
        CHECK(leases != NULL);
        for (size_t i = 0; i < count; i++)
            CHECK_OK(ih_open(process, handles[i], &leases[i], &error));
        CHECK_STORE(store);
        say(t.up[1]);
        hear(t.down[0]);
        for (size_t i = 0; i < count; i += 2)
            ih_lease_release(leases[i]);
        say(t.up[1]);
        hear(t.down[0]);
        _exit(0);
    }
    hear(t.up[0]);
    for (size_t i = 0; i < count; i++)
        CHECK_OK(ih_delete(store, handles[i], false, &error));
    CHECK_EQ(usage().dying, count);
    say(t.down[1]);
    hear(t.up[0]);
    CHECK_EQ(usage().dying, count / 2);
    CHECK_STORE(store);
    say(t.down[1]);
    join(pid);
    CHECK_EQ(usage().dying, 0);
    free(handles);
    talk_close(&t);
    close_all();
}

/* A child's own stores take dying bits of their own: the inherited pages are its parent's. */
static void test_h01_a_childs_own_store_leaves_our_dying_bits_alone(void)
{
    open_all(false);
    ih_handle first, handle, mine;
    ih_lease *lease;
    CHECK_OK(test_put(store, 2 * MIB, 0, 1, &first, NULL, &error)); /* makes the page of bits */
    talk t;
    talk_open(&t);
    pid_t pid = do_fork();
    if (pid == 0) {
        ih_store_options options = {64 * MIB, 4 * MIB, false};
        ih_store *own;
        CHECK_OK(ih_store_open(process, &options, &own, &error));
        hear(t.down[0]);
        CHECK_OK(test_put(own, 2 * MIB, 0, 3, &mine, NULL, &error));
        ih_store_drop(own); /* leaves its bit set */
        _exit(0);
    }
    CHECK_OK(test_put(store, 2 * MIB, 0, 2, &handle, NULL, &error));
    say(t.down[1]);
    join(pid);
    CHECK_OK(ih_open(process, handle, &lease, &error));
    test_verify(lease, 2 * MIB, 2);
    ih_lease_release(lease);
    talk_close(&t);
    close_all();
}

static talk forker;
static uint64_t wanted;
static unsigned marks;
static bool forked;

/* Between two blocks of a scan: the member behind forks, its child's leases go into a block that
 * the scan has passed, and it dies. */
static void fork_during_the_scan(void *context, uint64_t locator)
{
    if (!forked) {
        forked = true;
        say(forker.down[1]);
        hear(forker.up[0]);
        join(*(pid_t *)context);
    }
    marks += locator == wanted ? 1u : 0u;
}

static void count_marks(void *context, uint64_t locator)
{
    (void)context;
    marks += locator == wanted ? 1u : 0u;
}

static void test_h02_a_member_that_dies_during_a_scan(void)
{
    open_all(false);
    ih_handle a, b;
    ih_lease *lease;
    CHECK_OK(test_put(store, 5000, 0, 1, &a, NULL, &error));
    CHECK_OK(test_put(store, 5000, 0, 2, &b, NULL, &error));
    talk t[2], last;
    pid_t pids[2];
    talk_open(&forker);
    talk_open(&last);
    for (unsigned i = 0; i < 2; i++) { /* they take the blocks 0 and 1 */
        talk_open(&t[i]);
        pids[i] = do_fork();
        if (pids[i] == 0) {
            CHECK_OK(ih_open(process, a, &lease, &error));
            say(t[i].up[1]);
            hear(t[i].down[0]);
            _exit(0);
        }
        hear(t[i].up[0]);
    }
    pid_t mover = do_fork();
    if (mover == 0) { /* block 2 */
        CHECK_OK(ih_open(process, b, &lease, &error));
        say(forker.up[1]);
        hear(forker.down[0]);
        if (do_fork() == 0) {
            say(forker.up[1]);
            hear(last.down[0]);
            test_verify(lease, 5000, 2);
            say(last.up[1]);
        }
        _exit(0);
    }
    hear(forker.up[0]);
    bury(pids[0]);
    wanted = b.locator;
    CHECK(ih_family_scan(process->own, count_marks, NULL)); /* frees block 0 */
    CHECK_EQ(marks, 1);
    marks = 0;
    CHECK(ih_family_scan(process->own, fork_during_the_scan, &mover));
    CHECK(forked && marks > 0);
    marks = 0;
    CHECK(ih_family_scan(process->own, count_marks, NULL));
    CHECK_EQ(marks, 1);
    say(last.down[1]);
    hear(last.up[0]);
    say(t[1].down[1]);
    join(pids[1]);
    talk_close(&t[0]);
    talk_close(&t[1]);
    talk_close(&forker);
    talk_close(&last);
    close_all();
}

int main(void)
{
    RUN(test_h01_a_childs_own_store_leaves_our_dying_bits_alone);
    RUN(test_h02_a_member_that_dies_during_a_scan);
    RUN(test_h08_children_only_read);
    RUN(test_h09_a_child_holds_what_it_inherited);
    RUN(test_h09_killed_children_hold_nothing);
    RUN(test_h09_grandchildren);
    RUN(test_h09_exec_lets_go);
    RUN(test_h15_ephemeral_across_a_fork);
    RUN(test_closing_under_children);
    RUN(test_h09_fork_without_descriptors);
    RUN(test_a_million_leases_in_a_child);
    return 0;
}
