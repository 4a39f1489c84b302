/* Processes that open, fork and let go while the owner of the store deletes. */
#include "forks.h"

/* ---- children that open while the owner deletes (H1, H2) ------------------------------------- */

enum { CHURN = 64, BOARD = 2 * CHURN };

typedef struct {
    uint64_t locator, nonce, seed, size; /* seed twice: torn entries are seen and skipped */
    uint64_t again;
} board_entry;

static void show(volatile board_entry *entry, ih_handle handle, uint64_t seed, uint64_t size)
{
    entry->size = 0;
    __atomic_store_n(&entry->again, 0, __ATOMIC_SEQ_CST);
    entry->locator = handle.locator;
    entry->nonce = handle.nonce;
    entry->seed = seed;
    entry->size = size;
    __atomic_store_n(&entry->again, seed, __ATOMIC_RELEASE);
}

/* Opens what the board names, verifies it, forks now and then. Half of the board names images that
 * have been deleted, and wait for the next scan or are gone. */
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
        volatile board_entry *entry = &board[test_below(&random, BOARD)];
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
    uint64_t bytes = sizeof(board_entry) * BOARD;
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
        show(&board[CHURN + i], handles[i], board[i].seed, board[i].size);
        CHECK_OK(test_put(store, size, 0, ++seed, &handles[i], NULL, &error));
        show(&board[i], handles[i], seed, size);
        if (++rounds % 5000 == 0)
            CHECK_STORE(store);
    }
    for (unsigned i = 0; i < 3; i++)
        join(pids[i]);
    CHECK_EQ(usage().dying, 0);
    CHECK_EQ(usage().images, CHURN);
    close_all();
}

/* ---- forks while threads put ----------------------------------------------------------------- */

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
    RUN(test_h01_h02_children_open_while_the_owner_deletes);
    RUN(test_h08_forks_while_threads_put);
    return 0;
}
