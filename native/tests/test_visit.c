/* Images of an embedded store in processes that were not forked from it: each side is an ih_process
 * of its own here, as it would be in a process of its own. */
#include "process.h"
#include "visit.h"

#include "forks.h"

static ih_process *guest;
static uint64_t identity[2];

/* Shows a segment to the guest, which joins if it must. */
static void show(ih_process *from, uint64_t id)
{
    ih_visit visit;
    int fds[IH_VISIT_FDS];
    CHECK_OK(ih_visit_share(from, identity, id, false, &visit, fds, &error));
    if (!ih_visit_is_member(guest, visit.family)) {
        for (int i = 0; i < IH_VISIT_FDS; i++)
            ih_os_close(fds[i]);
        CHECK_OK(ih_visit_share(from, identity, id, true, &visit, fds, &error));
    }
    CHECK_OK(ih_visit_admit(guest, &visit, fds, &error));
}

static void open_both(void)
{
    open_all(false);
    CHECK_OK(ih_process_create(&guest, &error));
}

static void close_both(void)
{
    ih_process_destroy(guest);
    close_all();
}

static void test_h28_a_guest_reads_in_place(void)
{
    open_both();
    for (uint64_t size = 200; size < 64 * MIB; size *= 30) {
        ih_handle handle;
        ih_lease *lease, *there;
        CHECK_OK(test_put(store, size, 0, 3, &handle, &lease, &error));
        CHECK(ih_visit_can(lease, identity));
        CHECK_EQ(ih_visit_open(guest, identity, handle, false, &there, &error), IH_UNKNOWN);
        show(process, handle.locator >> 24);
        CHECK_OK(ih_visit_open(guest, identity, handle, false, &there, &error));
        test_verify(there, size, 3);
        /* The owner deletes and lets go: the guest's lease keeps it. */
        CHECK_OK(ih_delete(store, handle, false, &error));
        ih_lease_release(lease);
        CHECK_OK(ih_store_trim(store, &error));
        test_verify(there, size, 3);
        CHECK_EQ(
            ih_visit_open(guest, identity, (ih_handle){handle.locator, 1}, true, &lease, &error),
            IH_GONE);
        ih_lease_release(there);
        CHECK_OK(ih_store_trim(store, &error));
        CHECK_EQ(ih_visit_open(guest, identity, handle, false, &there, &error), IH_GONE);
        CHECK_STORE(store);
    }
    ih_usage usage;
    CHECK_OK(ih_store_usage(store, &usage, &error));
    CHECK_EQ(usage.images, 0);
    close_both();
}

/* Deleted on the way: it opens while the sender holds it, and the owner takes it back. */
static void test_h02_a_move_skips_the_dying_check(void)
{
    open_both();
    ih_handle handle;
    ih_lease *lease, *there, *back;
    CHECK_OK(test_put(store, 500, 0, 4, &handle, &lease, &error));
    CHECK(ih_visit_can(lease, identity));
    show(process, handle.locator >> 24);
    CHECK_OK(ih_delete(store, handle, false, &error));
    CHECK_EQ(ih_visit_open(guest, identity, handle, false, &there, &error), IH_GONE);
    CHECK_OK(ih_visit_open(guest, identity, handle, true, &there, &error));
    ih_lease_release(lease);
    CHECK_OK(ih_store_trim(store, &error));
    CHECK_STORE(store);
    CHECK_OK(ih_visit_open(process, identity, handle, true, &back, &error));
    CHECK_STORE(store);
    ih_visit_moved(there);
    ih_lease_release(there);
    CHECK_OK(ih_store_trim(store, &error));
    test_verify(back, 500, 4);
    ih_lease_release(back);
    CHECK_STORE(store);
    ih_usage usage;
    CHECK_OK(ih_store_usage(store, &usage, &error));
    CHECK_EQ(usage.images, 0);
    close_both();
}

static void test_h28_what_is_shown_is_checked(void)
{
    open_both();
    ih_handle handle;
    ih_lease *lease;
    ih_visit good, bad;
    int fds[IH_VISIT_FDS];
    CHECK_OK(test_put(store, 500, 0, 5, &handle, &lease, &error));
    CHECK(ih_visit_can(lease, identity));
    for (unsigned i = 0; i < 6; i++) {
        CHECK_OK(ih_visit_share(process, identity, handle.locator >> 24, true, &good, fds, &error));
        bad = good;
        bad.bytes = i == 0 ? good.bytes * 2u : i == 1 ? UINT64_MAX - 4095u : good.bytes;
        bad.kind = i == 2 ? 7 : good.kind;
        bad.id = i == 3 ? 0 : good.id;
        bad.member = i == 4 ? 0 : good.member;
        if (i == 5) {
            ih_os_close(fds[IH_VISIT_SEGMENT]);
            CHECK_EQ(ih_os_file_create("not-sealed", 1u << 24, &fds[IH_VISIT_SEGMENT]), 0);
        }
        CHECK(ih_visit_admit(guest, &bad, fds, &error) != IH_OK);
    }
    CHECK_EQ(ih_visit_share(process, identity, 1, true, &good, fds, &error), IH_GONE);
    ih_lease_release(lease);
    close_both();
}

int main(void)
{
    RUN(test_h28_a_guest_reads_in_place);
    RUN(test_h02_a_move_skips_the_dying_check);
    RUN(test_h28_what_is_shown_is_checked);
    return 0;
}
