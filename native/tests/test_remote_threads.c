/* Threads of one process in a daemon's store, which share one connection, while the daemon dies. */
#include "fake_daemon.h"

enum { THREADS = 4, LIVE = 16 };

static uint64_t rounds;
static bool over; /* atomic */
static ih_handle shared;

static ih_result put_some(ih_error *mine, uint64_t seed, ih_handle *handle)
{
    ih_result result;
    do { /* the daemon frees in its own time */
        result = test_put(store, 1000 + seed % 3000, 0, seed, handle, NULL, mine);
    } while (result == IH_FULL);
    return result;
}

static void *churn(void *context)
{
    uint64_t number = (uint64_t)(uintptr_t)context, state = number + 1;
    ih_error mine = {0};
    ih_handle live[LIVE];
    uint64_t seeds[LIVE];
    for (unsigned i = 0; i < LIVE; i++) {
        seeds[i] = i;
        CHECK(put_some(&mine, i, &live[i]) == IH_OK);
    }
    for (uint64_t i = 0; i < rounds; i++) {
        unsigned at = (unsigned)test_below(&state, LIVE);
        ih_lease *lease;
        ih_result result = ih_open(process, live[at], &lease, &mine);
        CHECK(result == IH_OK);
        test_verify(lease, 1000 + seeds[at] % 3000, seeds[at]);
        if (test_below(&state, 3) == 0) {
            CHECK(ih_delete(store, live[at], false, &mine) == IH_OK);
            test_verify(lease, 1000 + seeds[at] % 3000, seeds[at]);
            seeds[at] = test_random(&state);
            CHECK(put_some(&mine, seeds[at], &live[at]) == IH_OK);
        } else if (test_below(&state, 8) == 0) {
            char name = (char)('a' + number);
            CHECK(ih_bind(store, &name, 1, &live[at], IH_ANY_VERSION, NULL, &mine) == IH_OK);
        }
        ih_lease_release(lease);
    }
    return NULL;
}

/* Forks while the others are in the middle of everything; each child uses the store. */
static void *fork_often(void *context)
{
    (void)context;
    /* The small daemon keeps what dead producers leave: only the first children put something. */
    for (unsigned i = 0; !__atomic_load_n(&over, __ATOMIC_ACQUIRE); i++) {
        pid_t pid = do_fork();
        if (pid == 0) {
            alarm(60);
            ih_error mine;
            ih_handle handle;
            ih_lease *lease;
            if (i < 5)
                CHECK(test_put(store, 500, 0, 1, &handle, NULL, &mine) == IH_OK);
            CHECK(ih_open(process, shared, &lease, &mine) == IH_OK);
            test_verify(lease, 500, 1);
            _exit(0);
        }
        join(pid);
        usleep(5000);
    }
    return NULL;
}

static void run(bool forks, unsigned kills)
{
    fake_make();
    fake_start();
    CHECK_OK(ih_process_create(&process, &error));
    CHECK_OK(ih_store_connect(process, fake_path, &store, &error));
    CHECK_OK(test_put(store, 500, 0, 1, &shared, NULL, &error));
    pthread_t threads[THREADS], forker;
    over = false;
    for (uint64_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)i) == 0);
    if (forks)
        CHECK(pthread_create(&forker, NULL, fork_often, NULL) == 0);
    for (unsigned i = 0; i < kills; i++) {
        usleep(20000);
        fake_kill();
        fake_start();
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    if (forks)
        pthread_join(forker, NULL);
    CHECK_STORE(store);
    ih_store_drop(store);
    ih_process_destroy(process);
    fake_end();
}

static void test_threads_share_a_connection(void) { run(false, 0); }

static void test_h14_threads_while_the_daemon_dies(void) { run(false, 8); }

static void test_h09_threads_and_forks(void) { run(true, 0); }

int main(void)
{
    rounds = test_setting("IH_ROUNDS", 2000);
    RUN(test_threads_share_a_connection);
    RUN(test_h14_threads_while_the_daemon_dies);
    RUN(test_h09_threads_and_forks);
    return 0;
}
