/* What opening, putting and deleting cost; medians of several rounds, on one core. */
#include "test.h"

#include "arena/layout.h"

#define MIB (UINT64_C(1) << 20)
enum { ROUNDS = 7 };

static ih_process *process;
static ih_store *store;
static ih_error error;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

static void open_hit(void)
{
    ih_handle handle;
    ih_lease *held, *lease;
    double times[ROUNDS];
    unsigned count = 1000000;
    CHECK_OK(test_put(store, 512, 0, 1, &handle, &held, &error));
    for (unsigned r = 0; r < ROUNDS; r++) {
        double start = test_now();
        for (unsigned i = 0; i < count; i++) {
            (void)ih_open(process, handle, &lease, NULL);
            ih_lease_release(lease);
        }
        times[r] = (test_now() - start) / count * 1e9;
    }
    printf("open and release, leased already        %8.1f ns\n", median(times));
    CHECK_OK(ih_delete(store, handle, false, &error));
    ih_lease_release(held);
}

static void open_miss(unsigned images)
{
    ih_handle *handles = malloc(images * sizeof *handles);
    CHECK(handles != NULL);
    for (unsigned i = 0; i < images; i++)
        CHECK_OK(test_put(store, 512, 0, i, &handles[i], NULL, &error));
    double times[ROUNDS];
    unsigned count = 1000000;
    for (unsigned r = 0; r < ROUNDS; r++) {
        double start = test_now();
        for (unsigned i = 0; i < count; i++) {
            ih_lease *lease;
            (void)ih_open(process, handles[i * 7919u % images], &lease, NULL);
            ih_lease_release(lease);
        }
        times[r] = (test_now() - start) / count * 1e9;
    }
    printf("open and release, not leased, of %7u %7.1f ns\n", images, median(times));
    for (unsigned i = 0; i < images; i++)
        CHECK_OK(ih_delete(store, handles[i], false, &error));
    free(handles);
}

static void put_delete(void)
{
    static const uint8_t image[16];
    double times[ROUNDS];
    unsigned count = 500000;
    for (unsigned r = 0; r < ROUNDS; r++) {
        double start = test_now();
        for (unsigned i = 0; i < count; i++) {
            ih_block block;
            ih_handle handle;
            (void)ih_reserve(store, 512, 0, &block, NULL);
            (void)ih_block_seal(&block, image, &handle, NULL, NULL);
            (void)ih_delete(store, handle, false, NULL);
        }
        times[r] = (test_now() - start) / count * 1e9;
    }
    printf("reserve, seal, delete, 512 bytes        %8.1f ns\n", median(times));
}

static void put_keep(void)
{
    static const uint8_t image[16];
    unsigned count = 500000;
    ih_handle *handles = malloc(count * sizeof *handles);
    CHECK(handles != NULL);
    double puts[ROUNDS], deletes[ROUNDS];
    for (unsigned r = 0; r < ROUNDS; r++) {
        double start = test_now();
        for (unsigned i = 0; i < count; i++) {
            ih_block block;
            (void)ih_reserve(store, 512, 0, &block, NULL);
            (void)ih_block_seal(&block, image, &handles[i], NULL, NULL);
        }
        puts[r] = (test_now() - start) / count * 1e9;
        start = test_now();
        for (unsigned i = 0; i < count; i++)
            (void)ih_delete(store, handles[i * 7919u % count], false, NULL);
        deletes[r] = (test_now() - start) / count * 1e9;
    }
    printf("reserve and seal, 512 bytes, 500k kept  %8.1f ns\n", median(puts));
    printf("delete of these in another order        %8.1f ns\n", median(deletes));
    free(handles);
}

static void large(uint64_t size)
{
    static const uint8_t image[16];
    uint8_t *source = malloc(size), *target = malloc(size);
    CHECK(source != NULL && target != NULL);
    memset(source, 1, size);
    memset(target, 2, size);
    double fresh[ROUNDS], recycled[ROUNDS], copy[ROUNDS];
    for (unsigned r = 0; r < ROUNDS; r++) {
        ih_handle handle;
        ih_block block;
        CHECK_OK(ih_store_trim(store, &error));
        for (unsigned kind = 0; kind < 3; kind++) {
            double start = test_now();
            CHECK_OK(ih_reserve(store, size, 0, &block, &error));
            CHECK_OK(ih_block_write(&block, 64, source, size - 64, &error));
            CHECK_OK(ih_block_seal(&block, image, &handle, NULL, &error));
            double taken = (test_now() - start) * 1e3;
            if (kind == 0)
                fresh[r] = taken;
            else
                recycled[r] = taken;
            CHECK_OK(ih_delete(store, handle, false, &error));
        }
        double start = test_now();
        memcpy(target, source, size);
        copy[r] = (test_now() - start) * 1e3;
    }
    printf("%" PRIu64 " MiB: fresh %.1f ms, recycled %.1f ms; memcpy into warm memory %.1f ms\n",
           size / MIB, median(fresh), median(recycled), median(copy));
    free(source);
    free(target);
}

static void first_put(void)
{
    double times[ROUNDS];
    for (unsigned r = 0; r < ROUNDS; r++) {
        ih_handle handle;
        CHECK_OK(ih_store_trim(store, &error));
        double start = test_now();
        CHECK_OK(test_put(store, 512, 0, 1, &handle, NULL, &error));
        times[r] = (test_now() - start) * 1e6;
        CHECK_OK(ih_delete(store, handle, false, &error));
    }
    printf("put that makes a segment                 %7.0f us\n", median(times));
    for (unsigned r = 0; r < ROUNDS; r++) {
        ih_handle handle;
        double start = test_now();
        CHECK_OK(test_put(store, 512, IH_PUT_SEAL, 1, &handle, NULL, &error));
        times[r] = (test_now() - start) * 1e6;
        CHECK_OK(ih_delete(store, handle, false, &error));
    }
    printf("put under F_SEAL_WRITE, 512 bytes        %7.1f us\n", median(times));
}

static void fork_handlers(unsigned leases)
{
    ih_handle *handles = malloc(leases * sizeof *handles);
    ih_lease **held = malloc(leases * sizeof(ih_lease *));
    CHECK(handles != NULL && held != NULL);
    for (unsigned i = 0; i < leases; i++)
        CHECK_OK(test_put(store, 512, 0, i, &handles[i], &held[i], &error));
    double times[ROUNDS];
    unsigned count = 50;
    for (unsigned r = 0; r < ROUNDS; r++) {
        double start = test_now();
        for (unsigned i = 0; i < count; i++) {
            ih_process_fork_prepare(process);
            ih_process_fork_parent(process);
        }
        times[r] = (test_now() - start) / count * 1e6;
        CHECK_OK(ih_store_trim(store, &error));
    }
    printf("what a fork costs the parent, %6u leases %6.1f us\n", leases, median(times));
    for (unsigned i = 0; i < leases; i++) {
        CHECK_OK(ih_delete(store, handles[i], false, &error));
        ih_lease_release(held[i]);
    }
    free(handles);
    free(held);
}

int main(void)
{
    ih_store_options options = {1024 * MIB, 0, false};
    CHECK_OK(ih_process_create(&process, &error));
    CHECK_OK(ih_store_open(process, &options, &store, &error));
    open_hit();
    open_miss(1000);
    open_miss(500000);
    put_delete();
    put_keep();
    large(256 * MIB);
    first_put();
    fork_handlers(0);
    fork_handlers(10000);
    ih_store_drop(store);
    ih_process_destroy(process);
    return 0;
}
