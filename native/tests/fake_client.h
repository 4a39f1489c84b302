/* A process that is connected to the small daemon: what the tests of one client begin and end with.
 */
#ifndef ICEHOUSE_TESTS_FAKE_CLIENT_H
#define ICEHOUSE_TESTS_FAKE_CLIENT_H

#include "fake_daemon.h"

static inline void begin(void)
{
    fake_make();
    fake_start();
    CHECK_OK(ih_process_create(&process, &error));
    CHECK_OK(ih_store_connect(process, fake_path, &store, &error));
}

static inline void end(void)
{
    ih_store_drop(store);
    ih_process_destroy(process);
    fake_end();
}

static inline ih_handle put(uint64_t size, unsigned flags, uint64_t seed)
{
    ih_handle handle;
    CHECK_OK(test_put(store, size, flags, seed, &handle, NULL, &error));
    return handle;
}

static inline void verify(ih_handle handle, uint64_t size, uint64_t seed)
{
    ih_lease *lease;
    CHECK_OK(ih_open(process, handle, &lease, &error));
    test_verify(lease, size, seed);
    ih_lease_release(lease);
}

#endif
