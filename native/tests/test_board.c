/* The names board against a model, under a writer that is killed, and made of any bytes at all. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include "arena/board.h"
#include "arena/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static ih_error error;

static void check_board(const ih_board *board)
{
    char message[200];
    if (ih_board_check(board, message, sizeof message) != IH_OK) {
        fprintf(stderr, "the board is broken: %s\n", message);
        abort();
    }
}

/* A handle that tells which version of which name it belongs to. */
static ih_handle handle_of(uint64_t name, uint64_t version)
{
    return (ih_handle){.locator = (name + 1) << 32 | version, .nonce = version * 7919u + name};
}

static size_t name_of(uint64_t number, char out[64])
{
    /* Some names need one line of text, some two. */
    const char *tail = number % 3 == 0 ? ".with.a.tail.that.makes.the.text.longer" : "";
    return (size_t)snprintf(out, 64, "name-%" PRIu64 "%s", number, tail);
}

static ih_board *reader_of(int fd, uint64_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    ih_board *board;
    CHECK(reader >= 0);
    CHECK_OK(ih_board_attach(reader, bytes, false, &board, &error));
    close(reader);
    return board;
}

/* ---- one writer, one reader ------------------------------------------------------------------ */

#define MODEL_NAMES 300u

static void test_board_against_a_model(void)
{
    uint64_t random = test_setting("IH_SEED", 1) * 2 + 1, versions[MODEL_NAMES] = {0};
    bool bound[MODEL_NAMES] = {false};
    ih_board *board;
    int fd;
    CHECK_OK(ih_board_create(5, MODEL_NAMES * 2, &board, &fd, &error));
    uint64_t bytes = ih_board_bytes(board), count = 0;
    ih_board *reader = reader_of(fd, bytes);
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t number = test_below(&random, MODEL_NAMES);
        char name[64];
        size_t length = name_of(number, name);
        if (test_below(&random, 3) > 0) {
            bool bind = test_below(&random, 4) > 0;
            ih_handle handle = bind ? handle_of(number, versions[number] + 1) : (ih_handle){0, 0};
            CHECK_OK(ih_board_set(board, name, length, handle, ++versions[number]));
            count += (uint64_t)bind - (uint64_t)bound[number];
            bound[number] = bind;
        }
        ih_handle handle;
        uint64_t version;
        ih_result result = ih_board_lookup(reader, name, length, &handle, &version);
        CHECK_EQ(result, bound[number] ? IH_OK : IH_UNKNOWN);
        CHECK_EQ(version, versions[number]);
        if (bound[number])
            CHECK_EQ(handle.nonce, handle_of(number, version).nonce);
        if (test_below(&random, 2000) == 0) { /* as after a restart */
            ih_board_destroy(board);
            CHECK_OK(ih_board_attach(fd, bytes, true, &board, &error));
            check_board(board);
        }
    }
    CHECK_EQ(ih_board_bound(reader), count);
    CHECK_EQ(ih_board_number(reader), 5);
    uint64_t cursor = 0, version, walked = 0;
    const char *name;
    size_t length;
    ih_handle handle;
    while (ih_board_next(reader, &cursor, &name, &length, &handle, &version))
        walked += handle.locator != 0 ? 1u : 0u;
    CHECK_EQ(walked, count);
    check_board(reader);
    CHECK_EQ(ih_board_lookup(reader, "", 0, &handle, &version), IH_INVALID);
    CHECK_EQ(ih_board_set(reader, "a", 1, handle, 1), IH_INVALID);
    ih_board_destroy(reader);
    ih_board_destroy(board);
    close(fd);
}

static void test_full_board_gives_way_to_a_larger_one(void)
{
    ih_board *board, *larger;
    int fd, larger_fd;
    CHECK_OK(ih_board_create(1, 16, &board, &fd, &error));
    ih_board *reader = reader_of(fd, ih_board_bytes(board));
    uint64_t count = 0;
    char name[64];
    while (ih_board_set(board, name, name_of(count, name), handle_of(count, 1), 1) == IH_OK)
        count++;
    CHECK(count >= 16);
    check_board(board);
    CHECK_OK(ih_board_set(board, name, name_of(0, name), handle_of(0, 2), 2)); /* not a new one */
    CHECK_OK(ih_board_create(2, (uint32_t)count * 2, &larger, &larger_fd, &error));
    uint64_t cursor = 0, version;
    const char *text;
    size_t length;
    ih_handle handle;
    while (ih_board_next(board, &cursor, &text, &length, &handle, &version))
        CHECK_OK(ih_board_set(larger, text, length, handle, version));
    CHECK_EQ(ih_board_bound(larger), count);
    uint32_t ticket = ih_board_ticket(reader, "any", 3);
    CHECK(!ih_board_retired(reader));
    ih_board_retire(board);
    CHECK(ih_board_retired(reader) && ih_board_ticket(reader, "any", 3) != ticket);
    check_board(larger);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, larger_fd, 0) != MAP_FAILED);
    CHECK(ftruncate(larger_fd, 0) != 0 && errno == EPERM);
    ih_board_destroy(reader);
    ih_board_destroy(board);
    ih_board_destroy(larger);
    close(fd);
    close(larger_fd);
}

/* ---- waiting --------------------------------------------------------------------------------- */

#define CHANGES 3000u

static void *follow(void *argument)
{
    const ih_board *board = argument;
    uint64_t seen = 0, wakes = 0;
    while (seen < CHANGES) {
        uint32_t ticket = ih_board_ticket(board, "watched", 7);
        ih_handle handle;
        uint64_t version = 0;
        ih_result result = ih_board_lookup(board, "watched", 7, &handle, &version);
        CHECK(result == IH_OK || (result == IH_UNKNOWN && version == 0));
        CHECK(version >= seen);
        seen = version;
        if (seen < CHANGES)
            CHECK_EQ(ih_board_wait(board, "watched", 7, ticket, UINT64_MAX), 0);
        wakes++;
    }
    CHECK(wakes <= CHANGES * 64u);
    return NULL;
}

static void test_waiting_on_a_read_only_board_misses_nothing(void)
{
    ih_board *board;
    int fd;
    CHECK_OK(ih_board_create(1, 16, &board, &fd, &error));
    ih_board *reader = reader_of(fd, ih_board_bytes(board));
    uint32_t ticket = ih_board_ticket(reader, "watched", 7);
    CHECK_EQ(ih_board_wait(reader, "watched", 7, ticket, 0), ETIMEDOUT);
    CHECK_EQ(ih_board_wait(reader, "watched", 7, ticket, 1000000), ETIMEDOUT);
    CHECK_EQ(ih_board_wait(reader, "watched", 7, ticket + 1, UINT64_MAX), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)follow(reader);
        _exit(0);
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, follow, reader) == 0);
    for (uint64_t i = 1; i <= CHANGES; i++) {
        CHECK_OK(ih_board_set(board, "watched", 7, handle_of(0, i), i));
        if (i % 100 == 0)
            usleep(1000); /* so that they are found asleep, too */
    }
    int status;
    CHECK(pthread_join(thread, NULL) == 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ih_board_destroy(reader);
    ih_board_destroy(board);
    close(fd);
}

/* ---- a writer that is killed ----------------------------------------------------------------- */

#define STEP_NAMES 12u

/* Binds names in turn, each time under the next version. */
static void write_on(ih_board *board, uint64_t random, uint64_t times, uint64_t *said)
{
    uint64_t versions[STEP_NAMES] = {0};
    char name[64];
    for (uint64_t i = 0; i < STEP_NAMES; i++) {
        ih_handle handle;
        (void)ih_board_lookup(board, name, name_of(i, name), &handle, &versions[i]);
    }
    for (uint64_t i = 0; i < times; i++) {
        uint64_t which = test_below(&random, STEP_NAMES), version = versions[which] + 1;
        size_t length = name_of(which, name);
        __atomic_store_n(said, which << 56 | version, __ATOMIC_SEQ_CST);
        CHECK_EQ(ih_board_set(board, name, length, handle_of(which, version), version), IH_OK);
        versions[which] = version;
    }
}

/* Each name has a value that was set, whole; none goes back, none but the one that is being set
 * goes on. */
static void examine(const ih_board *board, uint64_t versions[STEP_NAMES])
{
    char name[64];
    for (uint64_t i = 0; i < STEP_NAMES; i++) {
        ih_handle handle = {0, 0};
        uint64_t version = 0;
        ih_result result = ih_board_lookup(board, name, name_of(i, name), &handle, &version);
        CHECK(result == IH_OK || (result == IH_UNKNOWN && version == 0 && versions[i] == 0));
        CHECK(version >= versions[i]);
        if (result == IH_OK)
            CHECK(handle.locator == handle_of(i, version).locator &&
                  handle.nonce == handle_of(i, version).nonce);
        versions[i] = version;
    }
}

/* Somebody takes over at this instant: a copy of the file is attached for writing. */
static void take_over(const uint8_t *bytes, uint64_t size, const uint64_t versions[STEP_NAMES])
{
    int fd = memfd_create("copy", MFD_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
    ih_board *board;
    CHECK_OK(ih_board_attach(fd, size, true, &board, &error));
    check_board(board);
    uint64_t now[STEP_NAMES], said = 0;
    memcpy(now, versions, sizeof now);
    examine(board, now);
    write_on(board, 77, 20, &said);
    check_board(board);
    examine(board, now);
    ih_board_destroy(board);
    close(fd);
}

static bool step(pid_t pid)
{
    int status;
    CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status))
        return false;
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    return true;
}

static void test_h11_writer_killed_at_every_instruction(void)
{
    ih_board *board;
    int fd, status;
    CHECK_OK(ih_board_create(1, 32, &board, &fd, &error));
    uint64_t bytes = ih_board_bytes(board), versions[STEP_NAMES] = {0}, instants = 0, steps = 0;
    ih_board_destroy(board);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        uint64_t said;
        CHECK_OK(ih_board_attach(fd, bytes, true, &board, &error));
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        write_on(board, 4711, test_setting("IH_STEP_OPS", 60), &said);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("processes may not be traced here");
    CHECK(WIFSTOPPED(status));
    ih_board *reader = reader_of(fd, bytes);
    uint8_t *last = malloc(bytes);
    const uint8_t *now = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(last != NULL && now != MAP_FAILED);
    memcpy(last, now, bytes);
    while (step(pid)) {
        steps++;
        if (memcmp(last, now, bytes) == 0)
            continue;
        memcpy(last, now, bytes);
        examine(reader, versions);
        take_over(last, bytes, versions);
        instants++;
    }
    CHECK(instants > 100);
    printf("     %" PRIu64 " instants of %" PRIu64 " instructions\n", instants, steps);
    ih_board_destroy(reader);
    free(last);
    munmap((void *)(uintptr_t)now, bytes);
    close(fd);
}

typedef struct {
    const ih_board *board;
    uint32_t stop;
    uint64_t rounds;
} looker;

static void *look_on(void *argument)
{
    looker *l = argument;
    uint64_t versions[STEP_NAMES] = {0};
    while (__atomic_load_n(&l->stop, __ATOMIC_RELAXED) == 0) {
        examine(l->board, versions);
        l->rounds++;
    }
    return NULL;
}

static void test_h11_readers_go_on_while_writers_are_killed(void)
{
    uint64_t kills = test_setting("IH_KILLS", 1000) / 4 + 1, random = 99,
             versions[STEP_NAMES] = {0};
    ih_board *board;
    int fd, status;
    CHECK_OK(ih_board_create(1, 32, &board, &fd, &error));
    uint64_t bytes = ih_board_bytes(board);
    ih_board_destroy(board);
    looker l = {.board = reader_of(fd, bytes)};
    uint64_t *said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(said != MAP_FAILED);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, look_on, &l) == 0);
    for (uint64_t i = 0; i < kills; i++) {
        *said = 0;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            CHECK_OK(ih_board_attach(fd, bytes, true, &board, &error));
            write_on(board, test_random(&random) | 1u, UINT64_MAX, said);
        }
        while (__atomic_load_n(said, __ATOMIC_ACQUIRE) == 0)
            usleep(20);
        for (volatile uint64_t s = test_below(&random, 20000); s > 0; s--)
            ;
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
        /* What it said it would set is set or not; all before it is. */
        examine(l.board, versions);
        uint64_t which = *said >> 56, version = *said & ((UINT64_C(1) << 56) - 1u);
        CHECK(versions[which] == version || versions[which] + 1 == version);
    }
    __atomic_store_n(&l.stop, 1, __ATOMIC_RELAXED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_OK(ih_board_attach(fd, bytes, true, &board, &error));
    check_board(board);
    printf("     %" PRIu64 " kills, %" PRIu64 " looks at all names\n", kills, l.rounds);
    ih_board_destroy(board);
    ih_board_destroy((ih_board *)(uintptr_t)l.board);
    munmap(said, 4096);
    close(fd);
}

/* ---- hostile bytes --------------------------------------------------------------------------- */

static void damage(uint8_t *bytes, uint64_t size, uint64_t *random)
{
    uint64_t shape = test_below(random, 4), times = 1 + test_below(random, 40);
    for (uint64_t i = 0; i < times; i++) {
        uint64_t place = shape == 0 ? test_below(random, 128) : test_below(random, size - 8);
        uint64_t word = test_random(random);
        if (test_below(random, 3) == 0)
            word = test_below(random, 2) != 0 ? UINT64_MAX : size - test_below(random, 200);
        memcpy(bytes + (shape == 1 ? place & ~UINT64_C(7) : place), &word,
               test_below(random, 2) != 0 ? 8 : 4);
    }
}

static void test_hostile_bytes_never_crash_a_reader(void)
{
    uint64_t random = test_setting("IH_SEED", 1) * 2 + 1, attached = 0, found = 0;
    ih_board *board;
    int fd;
    CHECK_OK(ih_board_create(1, 40, &board, &fd, &error));
    uint64_t bytes = ih_board_bytes(board), said;
    write_on(board, 5, 200, &said);
    uint8_t *good = malloc(bytes), *bad = malloc(bytes);
    CHECK(good != NULL && bad != NULL && pread(fd, good, bytes, 0) == (ssize_t)bytes);
    int copy = memfd_create("copy", MFD_CLOEXEC);
    CHECK(copy >= 0);
    for (uint64_t i = 0; i < 3000; i++) {
        memcpy(bad, good, bytes);
        damage(bad, bytes, &random);
        CHECK(pwrite(copy, bad, bytes, 0) == (ssize_t)bytes);
        bool writable = test_below(&random, 2) != 0;
        ih_board *other;
        if (ih_board_attach(copy, bytes, writable, &other, &error) != IH_OK)
            continue;
        attached++;
        char name[64], message[200];
        ih_handle handle;
        uint64_t version, cursor = 0;
        const char *text;
        size_t length;
        for (uint64_t j = 0; j < STEP_NAMES + 3; j++) {
            found += ih_board_lookup(other, name, name_of(j, name), &handle, &version) == IH_OK;
            if (writable)
                (void)ih_board_set(other, name, name_of(j, name), handle_of(1, 1), 1);
        }
        uint64_t sum = 0;
        while (ih_board_next(other, &cursor, &text, &length, &handle, &version))
            for (size_t j = 0; j < length; j++)
                sum += (uint8_t)text[j];
        (void)ih_board_check(other, message, sizeof message);
        found += sum & 1u;
        ih_board_destroy(other);
    }
    CHECK(attached > 100 && found > 100);
    CHECK_EQ(ih_board_attach(fd, bytes + 4096, false, &board, &error), IH_CORRUPT);
    CHECK_EQ(ih_board_attach(fd, 64, false, &board, &error), IH_CORRUPT);
    ih_board_destroy(board);
    close(fd);
    close(copy);
    free(good);
    free(bad);
}

int main(void)
{
    RUN(test_board_against_a_model);
    RUN(test_full_board_gives_way_to_a_larger_one);
    RUN(test_waiting_on_a_read_only_board_misses_nothing);
    RUN(test_h11_writer_killed_at_every_instruction);
    RUN(test_h11_readers_go_on_while_writers_are_killed);
    RUN(test_hostile_bytes_never_crash_a_reader);
    return 0;
}
