/* Opening by name while another binds that name anew: each turn is his, and there are so many
 * (H11). The linker puts the writer between the look at the name and the lease (--wrap). */
#include "test.h"

static ih_process *process;
static ih_store *store;
static ih_error error;
static uint64_t turns, interferences;
static ih_handle bound;

static ih_handle put_one(uint64_t seed)
{
    ih_handle handle;
    CHECK_OK(test_put(store, 500, 0, seed, &handle, NULL, &error));
    return handle;
}

static void bind_anew(void)
{
    ih_handle before = bound;
    bound = put_one(turns);
    CHECK_OK(ih_bind(store, "restless", 8, &bound, IH_ANY_VERSION, NULL, &error));
    if (before.locator != 0)
        CHECK_OK(ih_delete(store, before, true, &error));
}

ih_result __real_ih_open_in(ih_store *, ih_handle, ih_lease **, ih_error *);
ih_result __wrap_ih_open_in(ih_store *, ih_handle, ih_lease **, ih_error *);
ih_result __wrap_ih_open_in(ih_store *in, ih_handle handle, ih_lease **out, ih_error *why)
{
    if (turns++ < interferences)
        bind_anew();
    return __real_ih_open_in(in, handle, out, why);
}

static void open_store(void)
{
    CHECK_OK(ih_process_create(&process, &error));
    ih_store_options options = {64 << 20, 4 << 20, false};
    CHECK_OK(ih_store_open(process, &options, &store, &error));
    turns = interferences = 0;
    bound = (ih_handle){0};
    bind_anew();
}

static void close_store(void)
{
    CHECK_STORE(store);
    ih_store_drop(store);
    ih_process_destroy(process);
}

static void test_h11_a_reader_follows_a_writer(void)
{
    open_store();
    interferences = 100;
    ih_lease *lease;
    uint64_t version = 0;
    CHECK_OK(ih_open_name_at(store, "restless", 8, &lease, &version, &error));
    CHECK_EQ(turns, 101);
    CHECK_EQ(version, 101);
    CHECK(lease->handle.locator == bound.locator && lease->handle.nonce == bound.nonce);
    ih_lease_release(lease);
    close_store();
}

static void test_h11_a_reader_gives_up_on_a_writer_who_never_rests(void)
{
    open_store();
    interferences = UINT64_MAX;
    ih_lease *lease = NULL;
    uint64_t version = 0;
    CHECK_EQ(ih_open_name_at(store, "restless", 8, &lease, &version, &error), IH_CONFLICT);
    CHECK_EQ(turns, IH_NAME_TRIES);
    CHECK(error.result == IH_CONFLICT && error.tries == IH_NAME_TRIES && error.what != NULL);
    CHECK(lease == NULL && version == 0);
    CHECK_EQ(ih_open_name(store, "restless", 8, &lease, NULL), IH_CONFLICT);
    /* When he rests it opens. */
    interferences = 0;
    CHECK_OK(ih_open_name(store, "restless", 8, &lease, &error));
    ih_lease_release(lease);
    CHECK_EQ(ih_open_name_at(store, "other", 5, &lease, &version, &error), IH_UNKNOWN);
    close_store();
}

/* A name whose image is gone for good is told at the second look. */
static void test_h11_what_is_gone_is_told_at_once(void)
{
    open_store();
    ih_handle dead = bound, other = put_one(7);
    CHECK_OK(ih_bind(store, "kept", 4, &other, IH_ANY_VERSION, NULL, &error));
    CHECK_OK(ih_delete(store, dead, true, &error));
    ih_lease *lease = NULL;
    CHECK_EQ(ih_open_name(store, "restless", 8, &lease, &error), IH_UNKNOWN);
    CHECK_OK(ih_open_name(store, "kept", 4, &lease, &error));
    ih_lease_release(lease);
    close_store();
}

int main(void)
{
    RUN(test_h11_a_reader_follows_a_writer);
    RUN(test_h11_a_reader_gives_up_on_a_writer_who_never_rests);
    RUN(test_h11_what_is_gone_is_told_at_once);
    return 0;
}
