/* Stores of a daemon that are closed while they are in use, and several stores in one process. */
#include "fake_client.h"

/* Its segments are still mapped under their ids: it is opened again, and goes on. */
static void test_a_store_that_is_closed_while_leased_opens_again(void)
{
    begin();
    ih_lease *lease;
    ih_handle handle, other = put(700, 0, 2);
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, &lease, &error));
    ih_store *old = store;
    for (unsigned i = 0; i < 3; i++) {
        ih_store_close(store);
        if (i > 0)
            ih_store_drop(old);
        CHECK_EQ(test_put(store, 100, 0, 1, &(ih_handle){0}, NULL, &error), IH_CLOSED);
        CHECK_OK(ih_store_connect(process, fake_path, &store, &error));
        CHECK(store == old);
        verify(handle, 5000, 1);
        verify(other, 700, 2);
        verify(put(300, 0, 3), 300, 3);
        CHECK_STORE(store);
    }
    ih_store_drop(old);
    verify(handle, 5000, 1);
    test_verify(lease, 5000, 1);
    CHECK_EQ(fake->next_session, 2); /* one session all the time */
    pid_t pid = do_fork();
    if (pid == 0) {
        ih_store_drop(store);
        test_verify(lease, 5000, 1);
        CHECK_OK(ih_store_connect(process, fake_path, &store, &error));
        verify(handle, 5000, 1);
        verify(put(300, 0, 3), 300, 3);
        _exit(0);
    }
    join(pid);
    ih_lease_release(lease);
    end();
}

static void *wait_long(void *context)
{
    ih_error mine = {0};
    ih_handle found;
    uint64_t version;
    (void)context;
    CHECK(ih_store_wait(store, "never", 5, 0, UINT64_MAX, &found, &version, &mine) == IH_CLOSED);
    return NULL;
}

static void test_closing_ends_a_wait(void)
{
    begin();
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, wait_long, NULL) == 0);
    usleep(20000);
    ih_store_close(store);
    alarm(20); /* the watchdog: it would be for ever */
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    alarm(0);
    end();
}

/* What one store's daemon says is not open to doubt because another's can't be reached. */
static void test_h12_the_daemon_that_is_asked_is_believed(void)
{
    ih_store_options options = {.capacity = MIB};
    ih_store *embedded;
    ih_handle missing = {.locator = UINT64_C(4711) << 24 | 64u, .nonce = 1};
    ih_lease *lease;
    begin();
    CHECK_OK(ih_store_open(process, &options, &embedded, &error));
    CHECK_EQ(ih_open_in(store, missing, &lease, &error), IH_GONE);
    CHECK_EQ(ih_open_in(embedded, missing, &lease, &error), IH_GONE);
    ih_handle handle = put(100, 0, 1);
    verify(handle, 100, 1);
    fake_kill();
    fake->identity[0]++; /* a store that this process was never connected to */
    fake_start();
    CHECK_EQ(ih_open(process, missing, &lease, &error), IH_UNAVAILABLE);
    CHECK_EQ(ih_open_in(store, missing, &lease, &error), IH_UNAVAILABLE);
    CHECK_EQ(ih_open_in(embedded, missing, &lease, &error), IH_GONE);
    CHECK_EQ(error.result, IH_GONE);
    CHECK_OK(ih_open_in(embedded, handle, &lease, &error)); /* it is mapped */
    ih_lease_release(lease);
    ih_store_drop(embedded);
    end();
}

int main(void)
{
    RUN(test_a_store_that_is_closed_while_leased_opens_again);
    RUN(test_closing_ends_a_wait);
    RUN(test_h12_the_daemon_that_is_asked_is_believed);
    return 0;
}
