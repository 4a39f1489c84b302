/* Images that are written where they stay: while they are open, when they are sealed, when they are
 * given up, in forked children; and private copies of sealed ones. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)
#define SIZE (MIB + 100)

static const uint8_t image_header[16] = "built image";
static ih_process *process;
static ih_store *store;

static void begin(void)
{
    ih_error error = {0};
    ih_store_options options = {64 * MIB, MIB, false};
    CHECK_OK(ih_process_create(&process, &error));
    CHECK_OK(ih_store_open(process, &options, &store, &error));
}

static void end(void)
{
    ih_error error = {0};
    ih_usage usage;
    CHECK_STORE(store);
    CHECK_OK(ih_store_trim(store, &error));
    CHECK_OK(ih_store_usage(store, &usage, &error));
    CHECK_EQ(usage.images, 0);
    CHECK_EQ(usage.committed, 0);
    ih_store_drop(store);
    ih_process_destroy(process);
}

static void start_building(ih_block *block, ih_building *building)
{
    ih_error error = {0};
    CHECK_OK(ih_reserve(store, SIZE, IH_PUT_SEAL, block, &error));
    CHECK_OK(ih_block_map(block, building, &error));
    CHECK(building->memory == building->start + 4096 && building->mapped >= SIZE);
    for (uint64_t at = IH_HEADER_SIZE; at < SIZE; at++) {
        CHECK_EQ(building->memory[at], 0);
        building->memory[at] = test_byte(1, at);
    }
}

static void seal(ih_block *block, ih_building *building, ih_handle *handle, ih_lease **lease)
{
    ih_error error = {0};
    CHECK_OK(ih_block_unshare(block, building, &error));
    CHECK_OK(ih_block_seal(block, image_header, handle, lease, &error));
    CHECK_EQ(ih_block_unshare(block, building, &error), IH_INVALID);
    CHECK((*lease)->sealed && (*lease)->trusted);
}

static void drop(ih_handle handle, ih_lease *lease, ih_building *building)
{
    ih_error error = {0};
    CHECK_OK(ih_delete(store, handle, false, &error));
    test_verify(lease, SIZE, 1);
    ih_lease_release(lease);
    ih_building_end(building);
}

static void test_h01_late_writes_reach_private_copies(void)
{
    ih_block block;
    ih_building building;
    ih_handle handle;
    ih_lease *lease;
    begin();
    start_building(&block, &building);
    seal(&block, &building, &handle, &lease);
    test_verify(lease, SIZE, 1);
    CHECK_EQ(building.memory[1000], test_byte(1, 1000));
    memset(building.memory, 7, SIZE);
    test_verify(lease, SIZE, 1);
    drop(handle, lease, &building);
    end();
}

static void test_what_is_given_up_reads_as_zeros(void)
{
    ih_block block;
    ih_building building;
    begin();
    start_building(&block, &building);
    ih_block_discard(&block, &building);
    for (uint64_t at = 0; at < SIZE; at++)
        CHECK_EQ(building.memory[at], 0);
    memset(building.memory, 7, SIZE);
    ih_building_end(&building);
    end();
}

static void test_only_blocks_to_be_sealed_are_built(void)
{
    ih_error error = {0};
    ih_block block;
    ih_building building;
    begin();
    CHECK_OK(ih_reserve(store, 1000, 0, &block, &error));
    CHECK_EQ(ih_block_map(&block, &building, &error), IH_INVALID);
    ih_block_abandon(&block);
    CHECK_EQ(ih_block_map(&block, &building, &error), IH_INVALID);
    end();
}

static void test_copies_are_private_to_the_page(void)
{
    ih_error error = {0};
    ih_handle handle;
    ih_lease *lease;
    ih_building one, two;
    begin();
    CHECK_OK(test_put(store, 100000, 0, 1, &handle, &lease, &error));
    CHECK_OK(ih_lease_map_copies(lease, 70, 90000, &one, &error));
    CHECK_OK(ih_lease_map_copies(lease, 0, 100000, &two, &error));
    for (uint64_t at = 0; at < 90000; at++)
        if (at + 70 >= IH_HEADER_SIZE)
            CHECK_EQ(one.memory[at], test_byte(1, at + 70));
    memset(one.memory, 9, 90000);
    test_verify(lease, 100000, 1);
    CHECK_EQ(two.memory[5000], test_byte(1, 5000));
    CHECK_EQ(ih_lease_map_copies(lease, 1, 100000, &two, &error), IH_INVALID);
    CHECK_EQ(ih_lease_map_copies(lease, 100001, 0, &two, &error), IH_INVALID);
    ih_building_end(&one);
    ih_building_end(&two);
    CHECK_OK(ih_delete(store, handle, false, &error));
    ih_lease_release(lease);
    end();
}

static void test_h08_a_child_can_neither_write_nor_seal(void)
{
    ih_error error = {0};
    ih_block block;
    ih_building building;
    ih_handle handle;
    ih_lease *lease;
    begin();
    start_building(&block, &building);
    ih_process_fork_prepare(process);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ih_process_fork_child(process);
        CHECK_EQ(ih_block_unshare(&block, &building, &error), IH_FORKED);
        ih_block_discard(&block, &building);
        ih_building_end(&building);
        _exit(0);
    }
    ih_process_fork_parent(process);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    seal(&block, &building, &handle, &lease);
    test_verify(lease, SIZE, 1);
    drop(handle, lease, &building);
    end();
}

int main(void)
{
    RUN(test_h01_late_writes_reach_private_copies);
    RUN(test_what_is_given_up_reads_as_zeros);
    RUN(test_only_blocks_to_be_sealed_are_built);
    RUN(test_copies_are_private_to_the_page);
    RUN(test_h08_a_child_can_neither_write_nor_seal);
    return 0;
}
