/* Forked children and their children: what they may do, what they hold, what their deaths give back. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)

static ih_process *process;
static ih_error error;
static ih_store *store;

static void before(void) { ih_process_fork_prepare(process); }
static void in_parent(void) { ih_process_fork_parent(process); }
static void in_child(void) { ih_process_fork_child(process); }

static void open_all(bool ephemeral)
{
    ih_store_options options = {128 * MIB, 4 * MIB, ephemeral};
    CHECK_OK(ih_process_create(&process, &error));
    CHECK_OK(ih_store_open(process, &options, &store, &error));
}

static pid_t do_fork(void)
{
    before();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        in_child();
    else
        in_parent();
    return pid;
}

static ih_usage usage(void)
{
    ih_usage found;
    CHECK_OK(ih_store_usage(store, &found, &error));
    return found;
}

static void close_all(void)
{
    CHECK_STORE(store);
    ih_store_drop(store);
    ih_process_destroy(process);
}

static void join(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void bury(pid_t pid)
{
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
}

/* A pair of pipes: the child says how far it is, the parent lets it go on. */
typedef struct {
    int up[2], down[2];
} talk;

static void talk_open(talk *t) { CHECK(pipe(t->up) == 0 && pipe(t->down) == 0); }
static void say(int fd) { CHECK(write(fd, "x", 1) == 1); }
static void hear(int fd)
{
    char byte;
    ssize_t got;
    while ((got = read(fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    CHECK(got == 1);
}
static void talk_close(talk *t)
{
    close(t->up[0]);
    close(t->up[1]);
    close(t->down[0]);
    close(t->down[1]);
}

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

/* ---- children that open while the owner deletes (H1, H2) --------------------------------------- */

enum { CHURN = 64 };

typedef struct {
    uint64_t locator, nonce, seed, size; /* seed twice: torn entries are seen and skipped */
    uint64_t again;
} board_entry;

/* Opens what the board names, verifies it, forks now and then. */
static void churn_child(volatile board_entry *board, uint64_t seed, unsigned depth, double until)
{
    uint64_t random = seed | 1u, opened = 0;
    ih_lease *held[8] = {0};
    uint64_t seeds[8] = {0}, sizes[8] = {0};
    while (test_now() < until) {
        unsigned which = (unsigned)test_below(&random, 8);
        if (held[which] != NULL) {
            test_verify(held[which], sizes[which], seeds[which]);
            ih_lease_release(held[which]);
            held[which] = NULL;
        }
        volatile board_entry *entry = &board[test_below(&random, CHURN)];
        uint64_t stamp = __atomic_load_n(&entry->again, __ATOMIC_ACQUIRE);
        ih_handle handle = {entry->locator, entry->nonce};
        uint64_t of = entry->seed, size = entry->size;
        if (of != stamp || size == 0)
            continue;
        ih_lease *lease;
        if (ih_open(process, handle, &lease, NULL) != IH_OK)
            continue;
        held[which] = lease;
        seeds[which] = of;
        sizes[which] = lease->size;
        test_verify(lease, lease->size, of);
        opened++;
        if (depth < 2 && opened % 400 == 0) {
            pid_t pid = do_fork();
            if (pid == 0) {
                churn_child(board, random ^ 0x5555, depth + 1, test_now() + 0.05);
                for (unsigned i = 0; i < 8; i++) {
                    if (held[i] != NULL)
                        test_verify(held[i], sizes[i], seeds[i]);
                }
                _exit(0);
            }
            /* The parent lets go at once of what the child has inherited. */
            for (unsigned i = 0; i < 8; i++) {
                if (held[i] != NULL)
                    ih_lease_release(held[i]);
                held[i] = NULL;
            }
            if (test_below(&random, 2) == 0) {
                join(pid);
            }
        }
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

static void test_h01_h02_children_open_while_the_owner_deletes(void)
{
    open_all(false);
    uint64_t bytes = sizeof(board_entry) * CHURN;
    /* The board is shared memory of the test's own. */
    volatile board_entry *board =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    uint64_t random = 99;
    ih_handle handles[CHURN] = {0};
    static const uint64_t sizes[] = {64, 100, 300, 4000, 70000, 2 * MIB};
    for (unsigned i = 0; i < CHURN; i++)
        CHECK_OK(test_put(store, 500, 0, i, &handles[i], NULL, &error));
    double until = test_now() + (double)test_setting("IH_CHURN_SECONDS", 4);
    pid_t pids[3];
    for (unsigned i = 0; i < 3; i++) {
        pids[i] = do_fork();
        if (pids[i] == 0) {
            churn_child(board, 1000 + i, 0, until);
            _exit(0);
        }
    }
    uint64_t seed = 1000, rounds = 0;
    while (test_now() < until + 0.2) {
        unsigned i = (unsigned)test_below(&random, CHURN);
        CHECK_OK(ih_delete(store, handles[i], false, &error));
        uint64_t size = sizes[test_below(&random, rounds % 50 == 0 ? 6 : 5)];
        CHECK_OK(test_put(store, size, 0, ++seed, &handles[i], NULL, &error));
        board[i].size = 0;
        __atomic_store_n(&board[i].again, 0, __ATOMIC_SEQ_CST);
        board[i].locator = handles[i].locator;
        board[i].nonce = handles[i].nonce;
        board[i].seed = seed;
        board[i].size = size;
        __atomic_store_n(&board[i].again, seed, __ATOMIC_RELEASE);
        if (++rounds % 5000 == 0)
            CHECK_STORE(store);
    }
    for (unsigned i = 0; i < 3; i++)
        join(pids[i]);
    CHECK_EQ(usage().dying, 0);
    CHECK_EQ(usage().images, CHURN);
    close_all();
}

/* ---- forks while threads put ------------------------------------------------------------------- */

static bool stop;

static void *putter(void *argument)
{
    uint64_t random = (uint64_t)(uintptr_t)argument | 1u;
    ih_error local;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        ih_handle handle;
        ih_lease *lease;
        uint64_t size = test_below(&random, 20) == 0 ? 2 * MIB : 64 + test_below(&random, 5000);
        unsigned flags = test_below(&random, 50) == 0 ? IH_PUT_SEAL : 0;
        ih_result result = test_put(store, size, flags, size, &handle, &lease, &local);
        CHECK(result == IH_OK || result == IH_FULL);
        if (result != IH_OK)
            continue;
        test_verify(lease, size, size);
        CHECK_EQ(ih_delete(store, handle, false, &local), IH_OK);
        ih_lease_release(lease);
    }
    return NULL;
}

static void test_h08_forks_while_threads_put(void)
{
    open_all(false);
    ih_handle handle;
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, NULL, &error));
    pthread_t threads[3];
    __atomic_store_n(&stop, false, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, putter, (void *)(uintptr_t)(i * 77 + 5)) == 0);
    for (unsigned i = 0; i < 60; i++) {
        pid_t pid = do_fork();
        if (pid == 0) {
            ih_lease *lease;
            CHECK_OK(ih_open(process, handle, &lease, &error));
            test_verify(lease, 5000, 1);
            ih_lease_release(lease);
            CHECK_STORE(store);
            _exit(0);
        }
        join(pid);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(usage().images, 1);
    CHECK_EQ(usage().dying, 0);
    close_all();
}

int main(void)
{
    RUN(test_h08_children_only_read);
    RUN(test_h09_a_child_holds_what_it_inherited);
    RUN(test_h09_killed_children_hold_nothing);
    RUN(test_h09_grandchildren);
    RUN(test_h09_exec_lets_go);
    RUN(test_h15_ephemeral_across_a_fork);
    RUN(test_closing_under_children);
    RUN(test_h09_fork_without_descriptors);
    RUN(test_a_million_leases_in_a_child);
    RUN(test_h01_h02_children_open_while_the_owner_deletes);
    RUN(test_h08_forks_while_threads_put);
    return 0;
}
