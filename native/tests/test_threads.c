/* Threads at once in one store; also run under ThreadSanitizer. */
#include "test.h"

#include <pthread.h>

#define MIB (UINT64_C(1) << 20)
enum { THREADS = 8, SHARED = 256 };

static ih_process *process;
static ih_store *store;
static ih_error error;

/* Handles that any thread may open or delete: one at a time owns a slot by swapping it out. */
static uint64_t slots[SHARED]; /* index + 1 into `known`; 0: empty or in somebody's hands */
typedef struct {
    ih_handle handle;
    uint64_t size, seed;
} put_item;
static put_item known[SHARED];

static void one_round(uint64_t *random, uint64_t seed)
{
    ih_error local;
    unsigned at = (unsigned)test_below(random, SHARED);
    uint64_t taken = __atomic_exchange_n(&slots[at], 0, __ATOMIC_ACQ_REL);
    put_item *item = &known[at];
    ih_lease *lease;
    if (taken == 0) {
        /* Empty or in use elsewhere: put something of our own and drop it. */
        ih_handle handle;
        uint64_t size = 64 + test_below(random, 3000);
        ih_result result = test_put(store, size, 0, seed, &handle, &lease, &local);
        CHECK(result == IH_OK || result == IH_FULL || result == IH_MEMORY);
        if (result != IH_OK)
            return;
        CHECK_EQ(ih_delete(store, handle, false, &local), IH_OK);
        test_verify(lease, size, seed);
        ih_lease_release(lease);
        return;
    }
    if (item->size != 0) {
        CHECK_EQ(ih_open(process, item->handle, &lease, &local), IH_OK);
        ih_lease_retain(lease);
        test_verify(lease, item->size, item->seed);
        ih_lease_release(lease);
        if (test_below(random, 3) == 0) {
            CHECK_EQ(ih_delete(store, item->handle, true, &local), IH_OK);
            CHECK_EQ(ih_delete(store, item->handle, true, &local), IH_GONE);
            item->size = 0;
        }
        ih_lease_release(lease);
    } else {
        uint64_t size = 64 + test_below(random, test_below(random, 40) == 0 ? 2 * MIB : 20000);
        unsigned flags = test_below(random, 60) == 0 ? IH_PUT_SEAL : 0;
        ih_result result = test_put(store, size, flags, seed, &item->handle, NULL, &local);
        CHECK(result == IH_OK || result == IH_FULL || result == IH_MEMORY);
        if (result == IH_OK) {
            item->size = size;
            item->seed = seed;
            char name[16];
            size_t length = (size_t)snprintf(name, sizeof name, "%u", at);
            CHECK_EQ(ih_bind(store, name, length, &item->handle, IH_ANY_VERSION, NULL, &local),
                     IH_OK);
        }
    }
    __atomic_store_n(&slots[at], taken, __ATOMIC_RELEASE);
}

static void *work(void *argument)
{
    uint64_t random = ((uint64_t)(uintptr_t)argument + 1u) * 7919u,
             rounds = test_setting("IH_ROUNDS", 4000);
    for (uint64_t i = 0; i < rounds; i++) {
        one_round(&random, i);
        if (i % 500 == 0) {
            ih_stat *list;
            size_t count;
            ih_usage figures;
            CHECK_EQ(ih_store_list(store, &list, &count, NULL), IH_OK);
            free(list);
            CHECK_EQ(ih_store_usage(store, &figures, NULL), IH_OK);
            CHECK_EQ(ih_store_trim(store, NULL), IH_OK);
        }
    }
    return NULL;
}

static void test_eight_threads(void)
{
    CHECK_OK(ih_process_create(&process, &error));
    ih_store_options options = {48 * MIB, MIB, false};
    CHECK_OK(ih_store_open(process, &options, &store, &error));
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < SHARED; i++)
        slots[i] = 1;
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_STORE(store);
    for (unsigned i = 0; i < SHARED; i++) {
        if (known[i].size != 0)
            CHECK_OK(ih_delete(store, known[i].handle, true, &error));
    }
    CHECK_STORE(store);
    CHECK_OK(ih_store_trim(store, &error));
    ih_usage figures;
    CHECK_OK(ih_store_usage(store, &figures, &error));
    CHECK(figures.images == 0 && figures.used == 0 && figures.committed == 0 &&
          figures.leases == 0);
    CHECK_EQ(figures.names, 0);
    ih_store_drop(store);
    ih_process_destroy(process);
}

/* Stores are opened and closed while others of the process work; leases outlive their store. */
static void *open_and_close(void *argument)
{
    ih_error local;
    for (unsigned i = 0; i < 200; i++) {
        ih_store *own;
        ih_store_options options = {8 * MIB, 0, i % 2 == 0};
        CHECK_EQ(ih_store_open(process, &options, &own, &local), IH_OK);
        ih_handle handle;
        ih_lease *lease;
        CHECK_EQ(test_put(own, 3000, 0, i, &handle, &lease, &local), IH_OK);
        ih_store_drop(own);
        test_verify(lease, 3000, i);
        ih_lease_release(lease);
        CHECK_EQ(ih_open(process, handle, &lease, &local), IH_GONE);
    }
    return argument;
}

static void test_stores_come_and_go(void)
{
    CHECK_OK(ih_process_create(&process, &error));
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ih_process_destroy(process);
}

int main(void)
{
    RUN(test_eight_threads);
    RUN(test_stores_come_and_go);
    return 0;
}
