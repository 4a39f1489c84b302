/* Requests to the daemon: how their replies are waited for, what they repeat, several in one. */
#include "fake_client.h"

#include "arena/os/os.h"

#define MILLISECOND UINT64_C(1000000)

static void test_looking_without_sleep(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(ih_os_cpus() >= 1);
    uint64_t before = ih_os_exact_ns();
    int code = ih_os_spin_readable(pair[0], MILLISECOND);
    CHECK(code == EBUSY || (code == EAGAIN && ih_os_exact_ns() - before >= MILLISECOND));
    CHECK_EQ(ih_os_spin_readable(pair[0], 0), EAGAIN);
    CHECK(write(pair[1], "x", 1) == 1);
    CHECK_EQ(ih_os_spin_readable(pair[0], 0), 0);
    char byte;
    CHECK(read(pair[0], &byte, 1) == 1);
    close(pair[1]); /* the end of the stream can be read, too */
    CHECK_EQ(ih_os_spin_readable(pair[0], 60u * 1000u * MILLISECOND), 0);
    close(pair[0]);
}

/* A daemon that is slow has its replies waited for, whether or not one looks for them first. */
static void test_slow_replies(void)
{
    begin();
    ih_handle handle = put(100, 0, 1);
    ih_stat stat;
    for (unsigned i = 0; i < 12; i++) {
        CHECK(kill(fake_pid, SIGSTOP) == 0);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            ih_os_pause(2 * MILLISECOND);
            CHECK(kill(fake_pid, SIGCONT) == 0);
            _exit(0);
        }
        CHECK_OK(ih_store_stat(store, handle, &stat, &error));
        CHECK(stat.handle.nonce == handle.nonce);
        join(pid);
    }
    end();
}

static void test_what_was_seen_is_told_with_each_request_for_a_segment(void)
{
    begin();
    CHECK_EQ(fake->grants, 0);
    uint64_t told = 0;
    for (unsigned i = 0; fake->grants < 4; i++) {
        uint32_t before = fake->grants;
        (void)put(60000, 0, i);
        if (fake->grants == before)
            continue;
        CHECK_EQ(fake->grants, before + 1);
        CHECK_EQ(fake->seen, told);
        told = fake->next_id - 1;
    }
    pid_t pid = do_fork();
    if (pid == 0) { /* a session of its own, which has seen nothing */
        (void)put(1000, 0, 9);
        CHECK_EQ(fake->seen, 0);
        _exit(0);
    }
    join(pid);
    end();
}

#define MANY (2u * IH_DELETE_SOME_MAX + 7u)

static void test_deleting_some(void)
{
    begin();
    ih_handle handles[MANY];
    for (unsigned i = 0; i < MANY; i++)
        handles[i] = put(64, 0, i);
    size_t failed = 99;
    uint32_t before = fake->requests;
    CHECK_OK(ih_delete_some(store, handles, 0, false, &failed, &error));
    CHECK_OK(ih_delete_some(store, handles, MANY - 3u, false, &failed, &error));
    CHECK_EQ(fake->requests, before + 3);
    CHECK_EQ(failed, 99);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(ih_delete(store, handles[i], false, &error), i < MANY - 3u ? IH_GONE : IH_OK);
    CHECK_STORE(store);
    for (unsigned i = 0; i < 5; i++)
        handles[i] = put(64, 0, i);
    CHECK_OK(ih_delete(store, handles[2], false, &error));
    CHECK_EQ(ih_delete_some(store, handles, 5, false, &failed, &error), IH_GONE);
    CHECK_EQ(failed, 2);
    CHECK_EQ(error.why, IH_WHY_DELETED);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(ih_delete(store, handles[i], false, &error), IH_GONE);
    end();
}

/* The daemon dies when it has deleted them: asked again it finds them gone, and that is success. */
static void test_deleting_some_whose_reply_is_lost(void)
{
    begin();
    ih_handle handles[10];
    for (unsigned i = 0; i < 10; i++)
        handles[i] = put(64, 0, i);
    fake->die_before_reply = IH_OP_DELETE_SOME;
    pid_t pid = do_fork();
    if (pid == 0) {
        size_t failed = 0;
        CHECK_OK(ih_delete_some(store, handles, 10, false, &failed, &error));
        _exit(0);
    }
    CHECK(waitpid(fake_pid, NULL, 0) == fake_pid);
    fake_start();
    join(pid);
    CHECK_EQ(fake->die_before_reply, 0);
    end();
}

int main(void)
{
    RUN(test_looking_without_sleep);
    RUN(test_slow_replies);
    RUN(test_what_was_seen_is_told_with_each_request_for_a_segment);
    RUN(test_deleting_some);
    RUN(test_deleting_some_whose_reply_is_lost);
    return 0;
}
