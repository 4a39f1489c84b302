/* Every call of a client that can fail fails once, at every place where it is made: the error is
 * typed, nothing is leaked, and the store of the daemon works afterwards. */
#include "faults.h"

#include "fake_daemon.h"

#define KIB (UINT64_C(1) << 10)

/* A failure must say what was attempted. What a broken connection leaves undone is asked again, so
 * some calls that fail are never noticed. */
static bool good(ih_result result)
{
    if (result == IH_OK)
        return true;
    CHECK(result == IH_MEMORY || result == IH_SYSTEM || result == IH_UNAVAILABLE ||
          result == IH_PROTOCOL);
    CHECK(error.result == result && error.what != NULL);
    CHECK(failed);
    return false;
}

static void one_image(uint64_t size, unsigned flags, bool leased)
{
    ih_handle handle;
    ih_lease *lease = NULL, *again;
    if (!good(test_put(store, size, flags, size, &handle, leased ? &lease : NULL, &error)))
        return;
    if (leased)
        test_verify(lease, size, size);
    if (good(ih_open(process, handle, &again, &error))) {
        test_verify(again, size, size);
        ih_lease_release(again);
    }
    uint64_t version;
    ih_publication publication = {.name = "name", .length = 4, .flags = IH_PUBLISH_PIN};
    (void)good(ih_publish(store, handle, &publication, &version, &error));
    (void)good(ih_bind(store, "mine", 4, &handle, IH_ANY_VERSION, &version, &error));
    /* A child that is never made: prepared for, and gone at once. */
    ih_process_fork_prepare(process);
    ih_process_fork_parent(process);
    if (leased) {
        ih_lease_set_fleeting(lease, true);
        ih_lease_release(lease);
    } else {
        (void)good(ih_delete(store, handle, true, &error));
    }
}

static void look_around(void)
{
    ih_name *names;
    ih_stat *list;
    ih_usage usage;
    char *text, message[200];
    size_t count;
    ih_handle other = {0};
    uint64_t version;
    ih_lease *lease;
    if (good(ih_store_names(store, "", 0, &names, &count, &error)))
        free(names);
    if (good(ih_store_list(store, &list, &count, &error)))
        free(list);
    (void)good(ih_store_usage(store, &usage, &error));
    (void)good(ih_store_wait(store, "other", 5, 0, 0, &other, &version, &error));
    if (good(ih_store_explain(store, other, &text, &error)))
        free(text);
    if (good(ih_open_name(store, "other", 5, &lease, &error))) {
        test_verify(lease, 3000, 1);
        ih_lease_release(lease);
    }
    ih_result result = ih_store_check(store, message, sizeof message);
    CHECK(result == IH_OK || (failed && result != IH_CORRUPT));
    (void)good(ih_store_trim(store, &error));
}

static bool usable;

static void scenario(void)
{
    process = NULL;
    usable = true;
    store = NULL;
    if (!good(ih_process_create(&process, &error)))
        return;
    if (!good(ih_store_connect(process, fake_path, &store, &error))) {
        store = NULL;
        return;
    }
    one_image(1000, 0, true);
    one_image(300 * KIB, 0, true);
    one_image(3000, IH_PUT_SEAL, true);
    one_image(20000, 0, false);
    look_around();
    /* Closed with a view open, and connected again. */
    ih_lease *lease = NULL;
    ih_store *again;
    if (!good(ih_open_name(store, "other", 5, &lease, &error)))
        lease = NULL;
    ih_store_close(store);
    usable = false;
    if (good(ih_store_connect(process, fake_path, &again, &error))) {
        ih_store_drop(store);
        store = again;
        usable = true;
        one_image(64, 0, true);
    }
    if (lease != NULL)
        ih_lease_release(lease);
}

static void aftermath(void)
{
    armed = false;
    if (store != NULL && usable) {
        ih_handle handle;
        ih_lease *lease;
        CHECK_OK(test_put(store, 5000, 0, 5, &handle, &lease, &error));
        test_verify(lease, 5000, 5);
        CHECK_OK(ih_delete(store, handle, true, &error));
        ih_lease_release(lease);
        CHECK_OK(ih_open_name(store, "other", 5, &lease, &error));
        test_verify(lease, 3000, 1);
        ih_lease_release(lease);
        CHECK_STORE(store);
    }
    if (store != NULL)
        ih_store_drop(store);
    if (process != NULL)
        ih_process_destroy(process);
}

/* A daemon with an image of another process, which has the name "other". */
static void prepare(void)
{
    fake_make();
    fake_start();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ih_handle handle;
        CHECK_OK(ih_process_create(&process, &error));
        CHECK_OK(ih_store_connect(process, fake_path, &store, &error));
        CHECK_OK(test_put(store, 3000, 0, 1, &handle, NULL, &error));
        CHECK_OK(ih_bind(store, "other", 5, &handle, IH_ANY_VERSION, NULL, &error));
        _exit(0);
    }
    join(pid);
}

static void test_h13_every_call_of_a_client_fails_once(void)
{
    unsigned descriptors = 0, mappings = 0;
    for (fail_at = 0;; fail_at++) {
        calls = 0;
        failed = false;
        prepare();
        armed = fail_at > 0;
        scenario();
        armed = false;
        aftermath();
        fake_end();
        if (fail_at == 0) {
            descriptors = count_descriptors();
            mappings = count_mappings();
        } else if (!failed) {
            break;
        }
        if (count_descriptors() != descriptors || count_mappings() != mappings) {
            fprintf(stderr, "%s failing at call %" PRIu64 " leaks\n", failed_call, fail_at);
            abort();
        }
    }
    CHECK(fail_at > 100);
    printf("     %" PRIu64 " calls failed, one at a time\n", fail_at - 1);
}

int main(void)
{
    RUN(test_h13_every_call_of_a_client_fails_once);
    return 0;
}
