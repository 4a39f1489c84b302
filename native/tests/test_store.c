/* The embedded store seen from one process: putting, opening, deleting, names, limits. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include "arena/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)

static ih_process *process;
static ih_error error;

static ih_store *open_store(uint64_t capacity, uint64_t segment_size, bool ephemeral)
{
    ih_store_options options = {capacity, segment_size, ephemeral};
    ih_store *store = NULL;
    CHECK_OK(ih_process_create(&process, &error));
    CHECK_OK(ih_store_open(process, &options, &store, &error));
    return store;
}

static void close_store(ih_store *store)
{
    CHECK_STORE(store);
    ih_store_drop(store);
    ih_process_destroy(process);
}

static ih_usage usage(ih_store *store)
{
    ih_usage found;
    CHECK_OK(ih_store_usage(store, &found, &error));
    return found;
}

static void test_put_open_delete(void)
{
    ih_store *store = open_store(256 * MIB, 0, false);
    enum { COUNT = 3000 };
    static ih_handle handles[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        CHECK_OK(test_put(store, 64 + i * 13 % 9000, 0, i, &handles[i], NULL, &error));
    CHECK_STORE(store);
    CHECK_EQ(usage(store).images, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        ih_lease *lease, *again;
        CHECK_OK(ih_open(process, handles[i], &lease, &error));
        CHECK_OK(ih_open(process, handles[i], &again, &error));
        CHECK(lease == again && lease->trusted && lease->store == store);
        test_verify(lease, 64 + i * 13 % 9000, i);
        ih_lease_retain(lease);
        ih_lease_release(again);
        CHECK_OK(ih_delete(store, handles[i], false, &error));
        CHECK_EQ(ih_open(process, handles[i], &again, &error), IH_GONE);
        CHECK_EQ(ih_delete(store, handles[i], false, &error), IH_GONE);
        test_verify(lease, 64 + i * 13 % 9000, i);
        CHECK_EQ(usage(store).dying, 1);
        ih_lease_release(lease);
        ih_lease_release(lease);
        CHECK_EQ(usage(store).dying, 0);
    }
    CHECK_EQ(usage(store).used, 0);
    CHECK_OK(ih_store_trim(store, &error));
    CHECK_EQ(usage(store).committed, 0);
    close_store(store);
}

/* Large images have a segment of their own, which is recycled under a new id. */
static void test_h12_recycled_under_a_new_id(void)
{
    ih_store *store = open_store(256 * MIB, 4 * MIB, false);
    ih_handle before = {0}, handle;
    ih_lease *lease;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t size = 10 * MIB - i * 4096;
        CHECK_OK(test_put(store, size, 0, i, &handle, &lease, &error));
        test_verify(lease, size, i);
        ih_stat stat;
        CHECK_OK(ih_store_stat(store, handle, &stat, &error));
        CHECK(stat.dedicated && stat.leases == 1 && stat.size == size && !stat.sealed_by_kernel);
        CHECK(handle.locator >> IH_OFFSET_BITS != before.locator >> IH_OFFSET_BITS);
        ih_lease *old;
        CHECK_EQ(ih_open(process, before, &old, &error), IH_GONE);
        CHECK_OK(ih_delete(store, handle, false, &error));
        ih_lease_release(lease);
        CHECK(usage(store).warm >= size && usage(store).segments == 1);
        before = handle;
        CHECK_STORE(store);
    }
    /* One that is less than half as large does not waste the warm segment; it gets its own. */
    CHECK_OK(test_put(store, 2 * MIB, 0, 1, &handle, NULL, &error));
    CHECK_EQ(usage(store).segments, 2);
    CHECK_OK(ih_store_trim(store, &error));
    CHECK_EQ(usage(store).warm, 0);
    close_store(store);
}

static void test_h05_sealed_by_the_kernel(void)
{
    ih_store *store = open_store(64 * MIB, 0, false);
    static const uint64_t sizes[] = {64, 100, 4096, 70000, 9 * MIB};
    for (unsigned i = 0; i < 5; i++) {
        ih_handle handle;
        ih_lease *lease;
        CHECK_OK(test_put(store, sizes[i], IH_PUT_SEAL, i, &handle, &lease, &error));
        test_verify(lease, sizes[i], i);
        ih_stat stat;
        CHECK_OK(ih_store_stat(store, handle, &stat, &error));
        CHECK(stat.sealed_by_kernel && stat.dedicated);
        CHECK_OK(ih_delete(store, handle, false, &error));
        CHECK_EQ(ih_delete(store, handle, false, &error), IH_GONE);
        CHECK_STORE(store);
        ih_lease_release(lease);
        CHECK_EQ(usage(store).committed, 0);
    }
    close_store(store);
}

/* What readers hold can't be made writable, and a reopened descriptor of it neither. */
static void test_h05_views_are_read_only(void)
{
    ih_store *store = open_store(64 * MIB, 0, false);
    static const unsigned flags[] = {0, 0, IH_PUT_SEAL};
    static const uint64_t sizes[] = {100, 20 * MIB, 100};
    for (unsigned i = 0; i < 3; i++) {
        ih_handle handle;
        ih_lease *lease;
        CHECK_OK(test_put(store, sizes[i], flags[i], i, &handle, &lease, &error));
        uintptr_t page = (uintptr_t)lease->image & ~(uintptr_t)4095;
        CHECK(mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);
        ih_lease_release(lease);
    }
    close_store(store);
}

/* H12, H10: no locator but that of a living image opens anything. */
static void test_h10_only_images_open(void)
{
    ih_store *store = open_store(64 * MIB, 0, false);
    ih_handle handle;
    CHECK_OK(test_put(store, 100000, 0, 1, &handle, NULL, &error));
    ih_lease *lease;
    for (uint64_t i = 0; i < 1u << 14; i++) {
        ih_handle other = {(handle.locator & ~UINT64_C(0xffffff)) | i, handle.nonce};
        ih_result result = ih_open(process, other, &lease, &error);
        CHECK_EQ(result, other.locator == handle.locator ? IH_OK : IH_GONE);
        if (result == IH_OK)
            ih_lease_release(lease);
    }
    handle.nonce ^= 1;
    CHECK_EQ(ih_open(process, handle, &lease, &error), IH_GONE);
    handle.locator = 0;
    CHECK_EQ(ih_open(process, handle, &lease, &error), IH_GONE);
    close_store(store);
}

static void test_full_says_the_figures(void)
{
    ih_store *store = open_store(4 * MIB, MIB, false);
    ih_handle handles[1000];
    unsigned count = 0;
    ih_result result;
    while ((result = test_put(store, 100000, 0, count, &handles[count], NULL, &error)) == IH_OK)
        count++;
    CHECK_EQ(result, IH_FULL);
    CHECK(count >= 36); /* of 41 that would fit without segments */
    CHECK(error.wanted == 100000 && error.capacity == 4 * MIB && error.committed <= 4 * MIB);
    CHECK(error.used <= error.committed && error.largest_free < 100000 && error.what != NULL);
    CHECK_EQ(test_put(store, 5 * MIB, 0, 1, &handles[count], NULL, &error), IH_FULL);
    CHECK_STORE(store);
    /* What is freed can be used for something else, dedicated segments included. */
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(ih_delete(store, handles[i], false, &error));
    CHECK_OK(test_put(store, 3 * MIB, 0, 1, &handles[0], NULL, &error));
    CHECK_OK(ih_delete(store, handles[0], false, &error));
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(test_put(store, 100000, 0, i, &handles[i], NULL, &error));
    close_store(store);
}

static void test_h15_ephemeral_goes_with_its_last_lease(void)
{
    ih_store *store = open_store(64 * MIB, 0, true);
    ih_handle handle;
    ih_lease *lease, *again;
    CHECK_OK(test_put(store, 1000, 0, 1, &handle, &lease, &error));
    CHECK_OK(ih_open(process, handle, &again, &error));
    ih_lease_release(lease);
    CHECK_EQ(usage(store).images, 1);
    ih_lease_release(again);
    CHECK_EQ(usage(store).images, 0);
    CHECK_EQ(ih_open(process, handle, &again, &error), IH_GONE);
    /* A name keeps it; without the name it goes. */
    CHECK_OK(test_put(store, 1000, 0, 1, &handle, &lease, &error));
    CHECK_OK(ih_bind(store, "n", 1, &handle, 0, NULL, &error));
    ih_lease_release(lease);
    CHECK_EQ(usage(store).images, 1);
    CHECK_OK(ih_bind(store, "n", 1, NULL, IH_ANY_VERSION, NULL, &error));
    CHECK_EQ(usage(store).images, 0);
    close_store(store);
}

static void test_h15_delete_refuses_while_names_exist(void)
{
    ih_store *store = open_store(64 * MIB, 0, false);
    ih_handle a, b, found;
    uint64_t version = 77;
    CHECK_OK(test_put(store, 1000, 0, 1, &a, NULL, &error));
    CHECK_OK(test_put(store, 1000, 0, 2, &b, NULL, &error));
    CHECK_OK(ih_bind(store, "config", 6, &a, 0, &version, &error));
    CHECK_EQ(version, 1);
    CHECK_EQ(ih_bind(store, "config", 6, &b, 0, &version, &error), IH_CONFLICT);
    CHECK_EQ(error.version, 1);
    CHECK_OK(ih_bind(store, "config", 6, &b, 1, &version, &error));
    CHECK_EQ(version, 2);
    CHECK_OK(ih_bind(store, "other", 5, &b, IH_ANY_VERSION, &version, &error));
    CHECK_EQ(ih_delete(store, b, false, &error), IH_CONFLICT);
    CHECK_OK(ih_delete(store, a, false, &error));
    CHECK_OK(ih_lookup(store, "config", 6, &found, &version, &error));
    CHECK(found.locator == b.locator && found.nonce == b.nonce && version == 2);
    ih_name *names;
    size_t count;
    CHECK_OK(ih_store_names(store, "", 0, &names, &count, &error));
    CHECK(count == 2 && strcmp(names[0].name, "config") == 0 &&
          strcmp(names[1].name, "other") == 0);
    free(names);
    CHECK_OK(ih_store_names(store, "o", 1, &names, &count, &error));
    CHECK_EQ(count, 1);
    free(names);
    ih_stat stat;
    CHECK_OK(ih_store_stat(store, b, &stat, &error));
    CHECK_EQ(stat.names, 2);
    ih_lease *lease;
    CHECK_OK(ih_open_name(store, "other", 5, &lease, &error));
    ih_lease_release(lease);
    CHECK_OK(ih_delete(store, b, true, &error));
    CHECK_EQ(ih_lookup(store, "config", 6, &found, &version, &error), IH_UNKNOWN);
    CHECK_EQ(ih_open_name(store, "config", 6, &lease, &error), IH_UNKNOWN);
    CHECK_EQ(ih_bind(store, "x", 1, &b, 0, NULL, &error), IH_GONE);
    CHECK_OK(test_put(store, 1000, 0, 1, &a, NULL, &error));
    CHECK_OK(ih_bind(store, "config", 6, &a, 0, &version, &error));
    CHECK_EQ(version, 3);
    CHECK_EQ(ih_bind(store, "", 0, &a, 0, NULL, &error), IH_INVALID);
    close_store(store);
}

/* The image that a cell loses goes by itself, unless a name or a lease keeps it. */
static void test_cells_let_go_of_their_images(void)
{
    static const char cell[] = IH_CELL_PREFIX "0123456789abcdef0123456789abcdef";
    ih_store *store = open_store(64 * MIB, 0, false);
    ih_handle a, b, c;
    ih_lease *lease;
    ih_name *names;
    size_t count;
    CHECK(ih_is_cell(cell, sizeof cell - 1) && sizeof cell - 1 == IH_CELL_NAME);
    CHECK(!ih_is_cell(cell, sizeof cell - 2) && !ih_is_cell("config", 6));
    CHECK_OK(test_put(store, 1000, 0, 1, &a, NULL, &error));
    CHECK_OK(test_put(store, 1000, 0, 2, &b, &lease, &error));
    CHECK_OK(test_put(store, 1000, 0, 3, &c, NULL, &error));
    CHECK_OK(ih_bind(store, cell, sizeof cell - 1, &a, 0, NULL, &error));
    CHECK_OK(ih_bind(store, cell, sizeof cell - 1, &a, 1, NULL, &error));
    CHECK_EQ(usage(store).images, 3);
    CHECK_OK(ih_store_names(store, "", 0, &names, &count, &error));
    CHECK_EQ(count, 0);
    free(names);
    CHECK_OK(ih_bind(store, cell, sizeof cell - 1, &b, 2, NULL, &error));
    CHECK_EQ(usage(store).images, 2);
    CHECK_EQ(ih_delete(store, a, false, &error), IH_GONE);
    /* A lease keeps its memory, and it can't be opened any more. */
    CHECK_EQ(ih_delete(store, b, false, &error), IH_CONFLICT);
    CHECK_OK(ih_bind(store, cell, sizeof cell - 1, &c, 3, NULL, &error));
    CHECK_EQ(usage(store).images, 2);
    CHECK_EQ(ih_open(process, b, &lease, &error), IH_GONE);
    ih_lease_release(lease);
    CHECK_EQ(usage(store).images, 1);
    /* Nor does one go that has another name. */
    CHECK_OK(ih_bind(store, "named", 5, &c, 0, NULL, &error));
    CHECK_OK(ih_bind(store, cell, sizeof cell - 1, NULL, 4, NULL, &error));
    CHECK_EQ(usage(store).images, 1);
    CHECK_STORE(store);
    close_store(store);
}

/* Many names that come and go leave no memory behind, and no version is used twice. */
static void test_names_are_forgotten(void)
{
    ih_store *store = open_store(64 * MIB, 0, false);
    ih_handle handle;
    CHECK_OK(test_put(store, 1000, 0, 1, &handle, NULL, &error));
    uint64_t version = 0, first = 0;
    CHECK_OK(ih_bind(store, "stays", 5, &handle, 0, &first, &error));
    for (unsigned i = 0; i < 200000; i++) {
        char name[32];
        size_t length = (size_t)snprintf(name, sizeof name, "name %u", i % 150000u);
        uint64_t before = version;
        CHECK_OK(ih_bind(store, name, length, &handle, 0, &version, &error));
        CHECK(i < 150000 || version > 1 || before > 0);
        CHECK_OK(ih_bind(store, name, length, NULL, version, NULL, &error));
    }
    CHECK_EQ(usage(store).names, 1);
    close_store(store);
}

static void test_closing_with_live_leases(void)
{
    ih_store *store = open_store(128 * MIB, MIB, false);
    ih_handle handles[60];
    ih_lease *leases[60];
    uint64_t size = 0;
    for (unsigned i = 0; i < 60; i++) {
        size = i % 10 == 0 ? MIB : 3000;
        CHECK_OK(test_put(store, size, i % 20 == 0 ? IH_PUT_SEAL : 0, i, &handles[i],
                          i % 3 == 0 ? &leases[i] : NULL, &error));
    }
    ih_block block, late;
    CHECK_OK(ih_reserve(store, 500, 0, &block, &error));
    CHECK_OK(ih_reserve(store, 2 * MIB, 0, &late, &error));
    ih_store_close(store);
    ih_store_close(store);
    static const uint8_t header[16];
    CHECK_EQ(ih_block_seal(&block, header, &handles[1], NULL, &error), IH_CLOSED);
    CHECK_EQ(ih_block_seal(&late, header, &handles[1], NULL, &error), IH_CLOSED);
    CHECK_EQ(ih_reserve(store, 500, 0, &(ih_block){0}, &error), IH_CLOSED);
    ih_lease *lease;
    CHECK_EQ(ih_open(process, handles[0], &lease, &error), IH_CLOSED);
    ih_store_drop(store);
    for (unsigned i = 0; i < 60; i += 3) {
        test_verify(leases[i], i % 10 == 0 ? MIB : 3000, i);
        ih_lease_release(leases[i]);
    }
    ih_block_abandon(&block);
    ih_block_abandon(&late);
    CHECK_EQ(ih_open(process, handles[0], &lease, &error), IH_GONE);
    ih_process_destroy(process);
}

static void test_list(void)
{
    ih_store *store = open_store(64 * MIB, MIB, false);
    ih_handle handle, kept;
    CHECK_OK(test_put(store, 777, 0, 1, &kept, NULL, &error));
    CHECK_OK(test_put(store, MIB, 0, 1, &handle, NULL, &error));
    CHECK_OK(test_put(store, 777, 0, 1, &handle, NULL, &error));
    CHECK_OK(ih_delete(store, handle, false, &error));
    ih_stat *items;
    size_t count;
    CHECK_OK(ih_store_list(store, &items, &count, &error));
    CHECK_EQ(count, 2);
    for (size_t i = 0; i < count; i++) {
        CHECK(items[i].size == 777 || items[i].dedicated);
        CHECK(memcmp(items[i].image_header, "test image", 10) == 0 && !items[i].dying);
        CHECK(items[i].created_ns > 0 && items[i].block >= items[i].size);
    }
    free(items);
    close_store(store);
}

/* A second store's ids never collide with those of a living one, and the process tells them apart.
 */
static void test_two_stores(void)
{
    ih_store *one = open_store(64 * MIB, 0, false), *two;
    ih_store_options options = {64 * MIB, 0, true};
    CHECK_OK(ih_store_open(process, &options, &two, &error));
    ih_handle a, b;
    ih_lease *lease;
    CHECK_OK(test_put(one, 777, 0, 1, &a, NULL, &error));
    CHECK_OK(test_put(two, 777, 0, 2, &b, &lease, &error));
    CHECK_EQ(ih_delete(two, a, false, &error), IH_GONE);
    ih_stat stat;
    CHECK_EQ(ih_store_stat(two, a, &stat, &error), IH_GONE);
    ih_store_drop(two);
    test_verify(lease, 777, 2);
    ih_lease_release(lease);
    close_store(one);
}

static void test_a_million_leases(void)
{
    ih_store *store = open_store(256 * MIB, 0, false);
    size_t count = 1000000;
    ih_handle *handles = malloc(count * sizeof *handles);
    ih_lease **leases = malloc(count * sizeof(ih_lease *));
    CHECK(handles != NULL && leases != NULL);
    for (size_t i = 0; i < count; i++)
        CHECK_OK(test_put(store, 64, 0, i, &handles[i], &leases[i], &error));
    CHECK_EQ(usage(store).leases, count);
    CHECK_STORE(store);
    for (size_t i = 0; i < count; i++)
        CHECK_OK(ih_delete(store, handles[i], false, &error));
    CHECK_EQ(usage(store).dying, count);
    for (size_t i = 0; i < count; i++)
        ih_lease_release(leases[i]);
    CHECK_EQ(usage(store).images, 0);
    free(handles);
    free(leases);
    close_store(store);
}

/* H13: descriptors do not grow with images. */
static void test_h13_no_descriptor_each(void)
{
    ih_store *store = open_store(256 * MIB, 0, false);
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ih_handle handle;
    for (unsigned i = 0; i < 300; i++)
        CHECK_OK(test_put(store, i % 2 ? 100 : 20000, i % 2 ? IH_PUT_SEAL : 0, i, &handle, NULL,
                          &error));
    int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(after, before + 1);
    close(before);
    close(after);
    close_store(store);
}

static void test_bad_arguments(void)
{
    ih_store *store = open_store(64 * MIB, 0, false), *other;
    ih_block block;
    CHECK_EQ(ih_reserve(store, 63, 0, &block, &error), IH_INVALID);
    CHECK_EQ(ih_reserve(store, 100, 8, &block, &error), IH_INVALID);
    CHECK_EQ(ih_reserve(store, UINT64_MAX, 0, &block, &error), IH_FULL);
    CHECK_EQ(ih_reserve(store, UINT64_MAX - 5, IH_PUT_SEAL, &block, NULL), IH_FULL);
    CHECK_OK(ih_reserve(store, 1000, 0, &block, &error));
    CHECK_EQ(ih_block_write(&block, 63, "x", 1, &error), IH_INVALID);
    CHECK_EQ(ih_block_write(&block, 990, "xxxxxxxxxxxxxx", 11, &error), IH_INVALID);
    CHECK_EQ(ih_block_write(&block, 64, "x", UINT64_MAX, &error), IH_INVALID);
    ih_block_abandon(&block);
    ih_block_abandon(&block);
    ih_store_options options = {1000, 0, false};
    CHECK_EQ(ih_store_open(process, &options, &other, &error), IH_INVALID);
    options = (ih_store_options){64 * MIB, 3 * MIB, false};
    CHECK_EQ(ih_store_open(process, &options, &other, &error), IH_INVALID);
    CHECK(ih_default_capacity() > MIB);
    close_store(store);
}

int main(void)
{
    RUN(test_put_open_delete);
    RUN(test_h12_recycled_under_a_new_id);
    RUN(test_h05_sealed_by_the_kernel);
    RUN(test_h05_views_are_read_only);
    RUN(test_h10_only_images_open);
    RUN(test_full_says_the_figures);
    RUN(test_h15_ephemeral_goes_with_its_last_lease);
    RUN(test_h15_delete_refuses_while_names_exist);
    RUN(test_cells_let_go_of_their_images);
    RUN(test_names_are_forgotten);
    RUN(test_closing_with_live_leases);
    RUN(test_list);
    RUN(test_two_stores);
    RUN(test_a_million_leases);
    RUN(test_h13_no_descriptor_each);
    RUN(test_bad_arguments);
    return 0;
}
