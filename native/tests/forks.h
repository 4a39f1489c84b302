/* One store, and forks of it as the module makes them. */
#ifndef ICEHOUSE_TESTS_FORKS_H
#define ICEHOUSE_TESTS_FORKS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)

static ih_process *process;
static ih_error error;
static ih_store *store;

static inline void before(void) { ih_process_fork_prepare(process); }
static inline void in_parent(void) { ih_process_fork_parent(process); }
static inline void in_child(void) { ih_process_fork_child(process); }

static inline void open_all(bool ephemeral)
{
    ih_store_options options = {128 * MIB, 4 * MIB, ephemeral};
    CHECK_OK(ih_process_create(&process, &error));
    CHECK_OK(ih_store_open(process, &options, &store, &error));
}

static inline pid_t do_fork(void)
{
    before();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        in_child();
    else
        in_parent();
    return pid;
}

static inline ih_usage usage(void)
{
    ih_usage found;
    CHECK_OK(ih_store_usage(store, &found, &error));
    return found;
}

static inline void close_all(void)
{
    CHECK_STORE(store);
    ih_store_drop(store);
    ih_process_destroy(process);
}

static inline void join(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline void bury(pid_t pid)
{
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
}

/* A pair of pipes: the child says how far it is, the parent lets it go on. */
typedef struct {
    int up[2], down[2];
} talk;

static inline void talk_open(talk *t) { CHECK(pipe(t->up) == 0 && pipe(t->down) == 0); }
static inline void say(int fd) { CHECK(write(fd, "x", 1) == 1); }
static inline void hear(int fd)
{
    char byte;
    ssize_t got;
    while ((got = read(fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    CHECK(got == 1);
}
static inline void talk_close(talk *t)
{
    close(t->up[0]);
    close(t->up[1]);
    close(t->down[0]);
    close(t->down[1]);
}

#endif
