/* The client's side of a daemon's store, against a small daemon over the real catalog. */
#include "fake_client.h"

#define KIB (UINT64_C(1) << 10)

static bool is_gone(ih_handle handle)
{
    ih_lease *lease;
    ih_result result = ih_open(process, handle, &lease, &error);
    if (result == IH_OK)
        ih_lease_release(lease);
    return result == IH_GONE;
}

/* A process that has nothing from us but what it is told. */
static pid_t stranger(void)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_OK(ih_process_create(&process, &error));
        CHECK_OK(ih_store_connect(process, fake_path, &store, &error));
    }
    return pid;
}

static void test_h03_what_is_put_opens_in_another_process(void)
{
    begin();
    ih_handle handles[64];
    for (unsigned i = 0; i < 64; i++)
        handles[i] = put(100 + i * 1000, 0, i);
    uint32_t before = fake->requests;
    (void)put(64, 0, 99); /* no message */
    CHECK_EQ(fake->requests, before);
    pid_t pid = stranger();
    if (pid == 0) {
        for (unsigned i = 0; i < 64; i++)
            verify(handles[i], 100 + i * 1000, i);
        uint32_t now = fake->requests;
        for (unsigned i = 0; i < 64; i++)
            verify(handles[i], 100 + i * 1000, i); /* nor do opens of what is mapped */
        CHECK_EQ(fake->requests, now);
        ih_handle mine = put(5000, 0, 7);
        verify(mine, 5000, 7);
        CHECK_STORE(store);
        _exit(0);
    }
    join(pid);
    CHECK_STORE(store);
    end();
}

static void test_dedicated_sealed_and_evictable_images(void)
{
    begin();
    ih_handle big = put(300 * KIB, 0, 1), sealed = put(10000, IH_PUT_SEAL, 2),
              evictable = put(10000, IH_PUT_EVICTABLE, 3);
    CHECK_EQ(test_put(store, 2 * MIB, 0, 1, &(ih_handle){0}, NULL, &error), IH_FULL);
    pid_t pid = stranger();
    if (pid == 0) {
        verify(big, 300 * KIB, 1);
        verify(sealed, 10000, 2);
        verify(evictable, 10000, 3);
        CHECK_STORE(store);
        _exit(0);
    }
    join(pid);
    verify(sealed, 10000, 2);
    ih_lease *lease;
    CHECK_OK(test_put(store, 20000, IH_PUT_SEAL, 4, &sealed, &lease, &error));
    test_verify(lease, 20000, 4);
    ih_lease_release(lease);
    CHECK_OK(ih_delete(store, big, false, &error));
    CHECK(is_gone(big));
    CHECK_EQ(error.why, IH_WHY_DELETED);
    CHECK_STORE(store);
    end();
}

/* A view stays readable when its image is deleted; nobody can open it anew. */
static void test_h01_deleted_while_leased(void)
{
    begin();
    ih_lease *lease;
    ih_handle handle;
    CHECK_OK(test_put(store, 3000, 0, 5, &handle, &lease, &error));
    CHECK_OK(ih_delete(store, handle, false, &error));
    CHECK(is_gone(handle));
    CHECK_EQ(ih_delete(store, handle, false, &error), IH_GONE);
    for (unsigned i = 0; i < 500; i++)
        CHECK_OK(ih_delete(store, put(2000, 0, i), false, &error));
    test_verify(lease, 3000, 5);
    ih_lease_release(lease);
    CHECK_STORE(store);
    end();
}

/* Three times the whole store goes through the ring. */
static void test_h07_freed_blocks_come_back_by_the_ring(void)
{
    begin();
    enum { LIVE = 20 };
    ih_handle live[LIVE];
    uint64_t rounds = 3u * FAKE_ORDINARY * FAKE_ORDINARY_BYTES / (8 * KIB);
    for (unsigned i = 0; i < LIVE; i++)
        live[i] = put(8 * KIB, 0, i);
    for (uint64_t i = 0; i < rounds; i++) {
        CHECK_OK(ih_delete(store, live[i % LIVE], false, &error));
        ih_result result;
        do { /* the daemon frees in its own time */
            result = test_put(store, 8 * KIB, 0, i, &live[i % LIVE], NULL, &error);
        } while (result == IH_FULL);
        CHECK_EQ(result, IH_OK);
        verify(live[i % LIVE], 8 * KIB, i);
    }
    CHECK(fake->grants <= FAKE_ORDINARY);
    CHECK_STORE(store);
    end();
}

static void test_h09_a_child_has_leases_and_a_session_of_its_own(void)
{
    begin();
    ih_lease *lease;
    ih_handle held, other = put(4000, 0, 2), deleted;
    CHECK_OK(test_put(store, 4000, 0, 1, &held, &lease, &error));
    talk t;
    talk_open(&t);
    pid_t pid = do_fork();
    if (pid == 0) {
        hear(t.down[0]); /* by now it is deleted, and the parent has let go */
        test_verify(lease, 4000, 1);
        CHECK(is_gone(held));
        verify(other, 4000, 2);
        ih_handle mine = put(6000, 0, 3);
        verify(mine, 6000, 3);
        pid_t grandchild = do_fork();
        if (grandchild == 0) {
            verify(mine, 6000, 3);
            test_verify(lease, 4000, 1);
            (void)put(6000, 0, 4);
            CHECK_STORE(store);
            _exit(0);
        }
        join(grandchild);
        CHECK(write(t.up[1], &mine, sizeof mine) == sizeof mine);
        ih_lease_release(lease);
        CHECK_STORE(store);
        _exit(0);
    }
    CHECK_OK(ih_delete(store, held, false, &error));
    ih_lease_release(lease);
    for (unsigned i = 0; i < 200; i++)
        CHECK_OK(ih_delete(store, put(3900, 0, i), false, &error));
    say(t.down[1]);
    CHECK(read(t.up[0], &deleted, sizeof deleted) == sizeof deleted);
    join(pid);
    verify(deleted, 6000, 3);
    /* A child that is killed before it does anything leaves nothing behind. */
    CHECK_OK(ih_open(process, other, &lease, &error));
    pid = do_fork();
    if (pid == 0)
        pause();
    bury(pid);
    ih_lease_release(lease);
    CHECK_STORE(store);
    talk_close(&t);
    end();
}

/* H8: what the parent was filling at the fork is not the child's to fill. */
static void test_h08_a_child_writes_no_granted_segment(void)
{
    begin();
    ih_block warm, fresh;
    CHECK_OK(ih_reserve(store, 1000, 0, &warm, &error));
    CHECK_OK(ih_reserve(store, 1000, IH_PUT_EVICTABLE, &fresh, &error));
    uint8_t header[16] = {0};
    ih_handle handle;
    pid_t pid = do_fork();
    if (pid == 0) {
        CHECK_EQ(ih_block_write(&warm, 64, header, 16, &error), IH_FORKED);
        CHECK_EQ(ih_block_write(&fresh, 64, header, 16, &error), IH_FORKED);
        CHECK_EQ(ih_block_seal(&warm, header, &handle, NULL, &error), IH_FORKED);
        ih_block_abandon(&warm);
        ih_block_abandon(&fresh);
        (void)put(1000, 0, 1);
        CHECK_STORE(store);
        _exit(0);
    }
    join(pid);
    ih_block_abandon(&warm);
    ih_block_abandon(&fresh);
    CHECK_EQ(fake->returns, 1); /* the dedicated one goes back at once */
    CHECK_STORE(store);
    end();
}

static void test_h11_names(void)
{
    begin();
    ih_handle a = put(100, 0, 1), b = put(100, 0, 2), found;
    uint64_t version = 0;
    CHECK_EQ(ih_lookup(store, "x", 1, &found, NULL, &error), IH_UNKNOWN);
    CHECK_OK(ih_bind(store, "x", 1, &a, 0, &version, &error));
    CHECK_EQ(version, 1);
    CHECK_EQ(ih_bind(store, "x", 1, &b, 0, &version, &error), IH_CONFLICT);
    CHECK_EQ(error.version, 1);
    CHECK_OK(ih_bind(store, "x", 1, &b, 1, &version, &error));
    uint32_t before = fake->requests;
    CHECK_OK(ih_lookup(store, "x", 1, &found, &version, &error));
    CHECK(found.locator == b.locator && version == 2);
    ih_lease *lease;
    CHECK_OK(ih_open_name(store, "x", 1, &lease, &error));
    test_verify(lease, 100, 2);
    ih_lease_release(lease);
    CHECK_EQ(fake->requests, before);
    CHECK_OK(ih_bind(store, "aa", 2, &a, IH_ANY_VERSION, NULL, &error));
    ih_name *names;
    size_t count;
    CHECK_OK(ih_store_names(store, "", 0, &names, &count, &error));
    CHECK(count == 2 && strcmp(names[0].name, "aa") == 0 && strcmp(names[1].name, "x") == 0);
    free(names);
    CHECK_OK(ih_bind(store, "x", 1, NULL, 2, NULL, &error));
    CHECK_EQ(ih_lookup(store, "x", 1, &found, NULL, &error), IH_UNKNOWN);
    end();
}

static void *bind_later(void *context)
{
    ih_error mine;
    ih_handle *handle = context;
    usleep(20000);
    CHECK(ih_bind(store, "late", 4, handle, IH_ANY_VERSION, NULL, &mine) == IH_OK);
    return NULL;
}

static void wait_for_a_name(void)
{
    ih_handle handle = put(100, 0, 1), found;
    uint64_t version = 7;
    CHECK_EQ(ih_store_wait(store, "late", 4, 0, 1000000, &found, &version, &error), IH_AGAIN);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, bind_later, &handle) == 0);
    CHECK_OK(ih_store_wait(store, "late", 4, 0, UINT64_MAX, &found, &version, &error));
    CHECK(found.locator == handle.locator && version == 1);
    pthread_join(thread, NULL);
    CHECK_OK(ih_bind(store, "late", 4, NULL, 1, NULL, &error));
    CHECK_OK(ih_store_wait(store, "late", 4, 1, UINT64_MAX, &found, &version, &error));
    CHECK(found.locator == 0 && version == 0);
}

static void test_waiting_for_a_name(void)
{
    begin();
    wait_for_a_name();
    end();
    open_all(false);
    wait_for_a_name();
    ih_handle handle = put(100, 0, 1);
    char *text;
    CHECK_OK(ih_store_explain(store, handle, &text, &error));
    CHECK(strstr(text, "alive") != NULL);
    free(text);
    CHECK_OK(ih_delete(store, handle, false, &error));
    CHECK_OK(ih_store_explain(store, handle, &text, &error));
    CHECK(strstr(text, "gone") != NULL);
    free(text);
    close_all();
}

static void test_a_fleeting_image_is_dropped_with_its_last_view(void)
{
    begin();
    ih_lease *lease;
    ih_handle handle;
    CHECK_OK(test_put(store, 500, 0, 1, &handle, &lease, &error));
    ih_lease_set_fleeting(lease, true);
    ih_lease_retain(lease);
    ih_lease_release(lease);
    verify(handle, 500, 1);
    ih_lease_release(lease);
    while (__atomic_load_n(&fake->drops, __ATOMIC_RELAXED) == 0)
        usleep(1000);
    CHECK(is_gone(handle));
    /* One that was put meanwhile stays. */
    CHECK_OK(test_put(store, 500, 0, 1, &handle, &lease, &error));
    ih_lease_set_fleeting(lease, true);
    CHECK_OK(ih_publish(store, handle, &(ih_publication){.flags = IH_PUBLISH_KEEP}, NULL, &error));
    ih_lease_release(lease);
    verify(handle, 500, 1);
    CHECK_EQ(fake->drops, 1);
    end();
}

static void restart(void)
{
    fake_kill();
    fake_start();
}

static void test_the_daemon_dies_and_the_session_is_resumed(void)
{
    begin();
    ih_handle handles[40];
    ih_lease *lease;
    for (unsigned i = 0; i < 40; i++) {
        handles[i] = put(1000 + i, 0, i);
        if (i % 8 == 0)
            restart();
    }
    CHECK_OK(ih_open(process, handles[3], &lease, &error));
    restart();
    CHECK_OK(ih_delete(store, handles[3], false, &error));
    restart();
    for (unsigned i = 0; i < 300; i++)
        CHECK_OK(ih_delete(store, put(2000, 0, i), false, &error));
    test_verify(lease, 1003, 3);
    ih_lease_release(lease);
    for (unsigned i = 4; i < 40; i++)
        verify(handles[i], 1000 + i, i);
    CHECK_STORE(store);
    end();
}

/* The reply to what was done is lost: it is asked again, and not done twice. */
static void test_a_lost_reply(void)
{
    static const uint32_t operations[] = {IH_OP_GRANT, IH_OP_DELETE, IH_OP_BIND, IH_OP_MAP};
    begin();
    for (unsigned i = 0; i < 4; i++) {
        uint32_t op = operations[i];
        ih_handle handle = op == IH_OP_GRANT ? (ih_handle){0} : put(1000, 0, i);
        fake->die_before_reply = op;
        bool strange = op == IH_OP_MAP || op == IH_OP_GRANT;
        pid_t watcher = strange ? fork() : do_fork();
        CHECK(watcher >= 0);
        ih_result result = IH_OK;
        if (watcher == 0) { /* the client, so that this process can be the keeper */
            if (strange) {
                CHECK_OK(ih_process_create(&process, &error));
                CHECK_OK(ih_store_connect(process, fake_path, &store, &error));
            }
            uint64_t version = 0;
            if (op == IH_OP_GRANT)
                (void)put(1000, 0, i);
            else if (op == IH_OP_DELETE)
                result = ih_delete(store, handle, false, &error);
            else if (op == IH_OP_BIND)
                result = ih_bind(store, "once", 4, &handle, 0, &version, &error);
            else
                verify(handle, 1000, i);
            CHECK_OK(result);
            if (op == IH_OP_BIND)
                CHECK_EQ(version, 1);
            _exit(0);
        }
        CHECK(waitpid(fake_pid, NULL, 0) == fake_pid);
        fake_start();
        join(watcher);
        CHECK_EQ(fake->die_before_reply, 0);
    }
    end();
}

static int find_socket(void)
{
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_un peer;
        socklen_t size = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sun_family == AF_UNIX)
            return fd;
    }
    return -1;
}

/* User code closes all descriptors, and others take their numbers. */
static void test_descriptors_that_are_not_ours_are_left_alone(void)
{
    begin();
    ih_handle handle = put(1000, 0, 1);
    int number = find_socket();
    CHECK(number >= 0);
    int other = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK(dup2(other, number) == number);
    CHECK_OK(ih_delete(store, handle, false, &error)); /* over a new connection */
    CHECK(fcntl(number, F_GETFD) >= 0);
    /* With the table's descriptor goes the lock that says that we live. */
    char path[64], target[256];
    for (int fd = 3; fd < 1024; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length <= 0)
            continue;
        target[length] = '\0';
        bool shared = false;
        for (unsigned i = 0; i < FAKE_FAMILIES; i++)
            shared = shared || fake->families[i] == fd;
        if (strstr(target, "icehouse-leases") != NULL && !shared)
            CHECK(dup2(other, fd) == fd);
    }
    CHECK_EQ(ih_store_stat(store, handle, &(ih_stat){0}, &error), IH_UNAVAILABLE);
    ih_store *again;
    CHECK_OK(ih_store_connect(process, fake_path, &again, &error));
    CHECK(again != store);
    ih_store_drop(again);
    pid_t pid = do_fork();
    if (pid == 0)
        _exit(0);
    join(pid);
    end();
}

static void test_another_store_behind_the_socket(void)
{
    begin();
    ih_handle handle = put(1000, 0, 1);
    ih_lease *lease;
    CHECK_OK(ih_open(process, handle, &lease, &error));
    fake_kill();
    fake->identity[0]++;
    fake_start();
    CHECK_EQ(ih_delete(store, handle, false, &error), IH_UNAVAILABLE);
    CHECK(strcmp(error.detail, fake_path) == 0);
    test_verify(lease, 1000, 1);
    ih_lease_release(lease);
    ih_store *again;
    CHECK_OK(ih_store_connect(process, fake_path, &again, &error));
    CHECK(again != store);
    ih_store_drop(again);
    end();
}

static void test_one_store_for_a_socket(void)
{
    begin();
    ih_store *again;
    ih_remote_info info;
    CHECK_OK(ih_store_connect(process, fake_path, &again, &error));
    CHECK(again == store && ih_store_is_remote(store));
    CHECK_EQ(ih_store_remote_info(store, &info), IH_OK);
    CHECK(info.connected && info.identity[0] == fake->identity[0] && info.role == IH_ROLE_ADMIN);
    CHECK(strcmp(info.socket, fake_path) == 0);
    ih_store_drop(again);
    (void)put(100, 0, 1);
    CHECK_EQ(ih_store_connect(process, "/nowhere/at/all", &again, &error), IH_UNAVAILABLE);
    CHECK(strcmp(error.detail, "/nowhere/at/all") == 0);
    /* A view outlives the store that it came from. */
    ih_lease *lease;
    ih_handle handle;
    CHECK_OK(test_put(store, 5000, 0, 1, &handle, &lease, &error));
    ih_store_close(store);
    CHECK_EQ(test_put(store, 5000, 0, 1, &handle, NULL, &error), IH_CLOSED);
    test_verify(lease, 5000, 1);
    ih_lease_release(lease);
    end();
}

static void test_an_impatient_thread_makes_no_round_trip(void)
{
    begin();
    ih_handle handle;
    ih_set_patience(false);
    uint32_t before = fake->requests;
    CHECK_EQ(test_put(store, 1000, 0, 1, &handle, NULL, &error), IH_AGAIN);
    ih_set_patience(true);
    handle = put(1000, 0, 1);
    ih_set_patience(false);
    before = fake->requests;
    verify(put(1000, 0, 2), 1000, 2);
    CHECK_EQ(ih_delete(store, handle, false, &error), IH_AGAIN);
    CHECK_EQ(fake->requests, before);
    ih_set_patience(true);
    CHECK_OK(ih_delete(store, handle, false, &error));
    end();
}

static void test_lists_and_figures(void)
{
    begin();
    for (unsigned i = 0; i < 20; i++)
        (void)put(1000 + i, 0, i);
    ih_stat *list;
    size_t count;
    CHECK_OK(ih_store_list(store, &list, &count, &error));
    CHECK_EQ(count, 20);
    ih_stat one;
    ih_lease *lease;
    CHECK_OK(ih_open(process, list[7].handle, &lease, &error));
    CHECK_OK(ih_store_stat(store, list[7].handle, &one, &error));
    CHECK_EQ(one.leases, 1);
    CHECK_EQ(one.size, list[7].size);
    ih_lease_release(lease);
    free(list);
    ih_usage figures;
    CHECK_OK(ih_store_usage(store, &figures, &error));
    CHECK_EQ(figures.puts, 20);
    char *text;
    CHECK_OK(ih_store_explain(store, one.handle, &text, &error));
    CHECK(strcmp(text, "because") == 0);
    free(text);
    CHECK_OK(ih_store_trim(store, &error));
    end();
}

/* Replies are nonsense, cut short, or both: errors, and nothing worse. */
static void test_garbage_replies(void)
{
    begin();
    ih_handle handle = put(1000, 0, 1);
    uint64_t rounds = test_setting("IH_GARBAGE", 300);
    fake->seed = 12345;
    fake->garbage = true;
    for (uint64_t i = 0; i < rounds; i++) {
        ih_handle found;
        ih_stat stat, *list = NULL;
        size_t count;
        char *text = NULL;
        ih_lease *lease;
        (void)test_put(store, 1000, IH_PUT_EVICTABLE, i, &found, NULL, &error);
        (void)ih_store_stat(store, handle, &stat, &error);
        if (ih_store_list(store, &list, &count, &error) == IH_OK)
            free(list);
        if (ih_store_explain(store, handle, &text, &error) == IH_OK)
            free(text);
        ih_handle nowhere = {(UINT64_C(77) + i) << 24 | 64, 1};
        if (ih_open(process, nowhere, &lease, &error) == IH_OK)
            ih_lease_release(lease);
        (void)ih_bind(store, "x", 1, &handle, IH_ANY_VERSION, NULL, &error);
    }
    fake->garbage = false;
    verify(handle, 1000, 1);
    CHECK_OK(ih_bind(store, "x", 1, &handle, IH_ANY_VERSION, NULL, &error));
    end();
}

int main(void)
{
    RUN(test_h03_what_is_put_opens_in_another_process);
    RUN(test_dedicated_sealed_and_evictable_images);
    RUN(test_h01_deleted_while_leased);
    RUN(test_h07_freed_blocks_come_back_by_the_ring);
    RUN(test_h08_a_child_writes_no_granted_segment);
    RUN(test_h09_a_child_has_leases_and_a_session_of_its_own);
    RUN(test_h11_names);
    RUN(test_waiting_for_a_name);
    RUN(test_a_fleeting_image_is_dropped_with_its_last_view);
    RUN(test_the_daemon_dies_and_the_session_is_resumed);
    RUN(test_a_lost_reply);
    RUN(test_descriptors_that_are_not_ours_are_left_alone);
    RUN(test_another_store_behind_the_socket);
    RUN(test_one_store_for_a_socket);
    RUN(test_an_impatient_thread_makes_no_round_trip);
    RUN(test_lists_and_figures);
    RUN(test_garbage_replies);
    return 0;
}
