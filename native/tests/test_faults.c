/* Every call that can fail fails once, at every place where it is made: the error is typed, nothing
 * is leaked, and the store works afterwards. */
#include "arena/process.h"
#include "faults.h"

#define MIB (UINT64_C(1) << 20)

/* ---- the scenario ---------------------------------------------------------------------------- */

static ih_process *process;
static ih_store *store;

/* A failure must say what was attempted. */
static bool good(ih_result result, const ih_error *error)
{
    if (result == IH_OK)
        return true;
    CHECK(result == IH_MEMORY || result == IH_SYSTEM);
    CHECK(error->result == result && error->what != NULL);
    CHECK(failed);
    return false;
}

static void one_image(uint64_t size, unsigned flags, bool leased)
{
    ih_error error = {0};
    ih_handle handle;
    ih_lease *lease = NULL, *again;
    if (!good(test_put(store, size, flags, size, &handle, leased ? &lease : NULL, &error), &error))
        return;
    if (leased)
        test_verify(lease, size, size);
    if (good(ih_open(process, handle, &again, &error), &error)) {
        test_verify(again, size, size);
        ih_lease_release(again);
    }
    (void)good(ih_bind(store, "name", 4, &handle, IH_ANY_VERSION, NULL, &error), &error);
    ih_name *names;
    size_t count;
    if (good(ih_store_names(store, "", 0, &names, &count, &error), &error))
        free(names);
    ih_stat *list;
    if (good(ih_store_list(store, &list, &count, &error), &error))
        free(list);
    /* A child that is never made: prepared for, and gone at once. */
    ih_process_fork_prepare(process);
    ih_process_fork_parent(process);
    if (!good(ih_delete(store, handle, true, &error), &error)) {
        armed = false;
        CHECK_OK(ih_delete(store, handle, true, &error));
        armed = true;
    }
    if (leased)
        ih_lease_release(lease);
}

/* An image that is written in place, and private copies of it; or a building that is given up. */
static void one_built(uint64_t size, bool given_up)
{
    static const uint8_t header[16] = "built image";
    ih_error error = {0};
    ih_block block;
    ih_building building, copies;
    ih_handle handle;
    ih_lease *lease;
    if (!good(ih_reserve(store, size, IH_PUT_SEAL, &block, &error), &error))
        return;
    if (!good(ih_block_map(&block, &building, &error), &error)) {
        ih_block_abandon(&block);
        return;
    }
    for (uint64_t at = IH_HEADER_SIZE; at < size; at++)
        building.memory[at] = test_byte(size, at);
    bool sealed = !given_up && good(ih_block_unshare(&block, &building, &error), &error) &&
                  good(ih_block_seal(&block, header, &handle, &lease, &error), &error);
    if (!sealed)
        ih_block_discard(&block, &building);
    if (sealed) {
        memset(building.memory + IH_HEADER_SIZE, 1, (size_t)(size - IH_HEADER_SIZE));
        test_verify(lease, size, size);
        if (ih_lease_map_copies(lease, 100, size - 100, &copies, &error) == IH_OK) {
            CHECK_EQ(copies.memory[0], test_byte(size, 100));
            memset(copies.memory, 2, (size_t)(size - 100));
            test_verify(lease, size, size);
            ih_building_end(&copies);
        } else {
            CHECK_EQ(error.result, IH_INVALID);
        }
        if (!good(ih_delete(store, handle, true, &error), &error)) {
            armed = false;
            CHECK_OK(ih_delete(store, handle, true, &error));
            armed = true;
        }
        ih_lease_release(lease);
    }
    ih_building_end(&building);
}

static void scenario(void)
{
    ih_error error = {0};
    process = NULL;
    store = NULL;
    if (!good(ih_process_create(&process, &error), &error))
        return;
    ih_store_options options = {64 * MIB, MIB, false};
    if (!good(ih_store_open(process, &options, &store, &error), &error))
        return;
    one_image(1000, 0, true);
    one_image(2 * MIB, 0, true);
    one_image(2 * MIB, 0, false);
    one_image(3000, IH_PUT_SEAL, true);
    one_image(200000, 0, false);
    one_built(300000, false);
    one_built(5000, true);
    ih_usage usage;
    CHECK(good(ih_store_usage(store, &usage, &error), &error));
    CHECK(good(ih_store_trim(store, &error), &error));
    one_image(64, 0, true);
}

static uint64_t count_dying_bits(void)
{
    uint64_t count = 0;
    for (const ih_bits *bits = process->bits; bits != NULL; bits = bits->next)
        count += bits->count;
    return count;
}

/* Whatever failed: the store works, keeps its invariants, and gives everything back. */
static void aftermath(void)
{
    ih_error error = {0};
    armed = false;
    if (store != NULL) {
        CHECK_STORE(store);
        ih_handle handle;
        ih_lease *lease;
        CHECK_OK(test_put(store, 5000, 0, 5, &handle, &lease, &error));
        test_verify(lease, 5000, 5);
        CHECK_OK(ih_delete(store, handle, true, &error));
        ih_lease_release(lease);
        CHECK_STORE(store);
        CHECK_OK(ih_store_trim(store, &error));
        ih_usage usage;
        CHECK_OK(ih_store_usage(store, &usage, &error));
        /* An image that a fork could not be prepared for may stay until the process ends. */
        CHECK(usage.images == usage.dying && usage.images <= 1);
        if (usage.images == 0)
            CHECK_EQ(usage.committed, 0);
        /* Of the two sealed images that a child may look at the bits stay set for good. */
        CHECK(count_dying_bits() <= 2 + usage.images);
        ih_store_drop(store);
    }
    if (process != NULL)
        ih_process_destroy(process);
}

static void test_h13_every_call_fails_once(void)
{
    fail_at = 0;
    scenario();
    aftermath();
    unsigned descriptors = count_descriptors(), mappings = count_mappings();
    for (fail_at = 1;; fail_at++) {
        calls = 0;
        failed = false;
        armed = true;
        scenario();
        armed = false;
        if (!failed)
            break;
        aftermath();
        if (count_descriptors() != descriptors || count_mappings() != mappings) {
            fprintf(stderr, "%s failing at call %" PRIu64 " leaks\n", failed_call, fail_at);
            abort();
        }
    }
    aftermath();
    CHECK(fail_at > 100);
    printf("     %" PRIu64 " calls failed, one at a time\n", fail_at - 1);
}

int main(void)
{
    RUN(test_h13_every_call_fails_once);
    return 0;
}
