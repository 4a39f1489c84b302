/* Under a memory cgroup of 256 MiB: a typed error, where a page too many would be SIGKILL (H13). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include "arena/os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)
#define LIMIT (256 * MIB)

static bool write_text(const char *folder, const char *name, const char *text)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

/* A cgroup of our own below the root of the mount, with the limit set. */
static const char *make_cgroup(char *folder, size_t size)
{
    ih_os_cgroup here;
    ih_os_cgroup_find(&here);
    if (here.version == 0)
        return "there is no memory controller";
    char root[1024], limit[32];
    snprintf(root, sizeof root, "%.*s", (int)here.mount, here.path);
    if (here.version == 2)
        (void)write_text(root, "cgroup.subtree_control", "+memory");
    int length = snprintf(folder, size, "%s/icehouse-test-%d", root, (int)getpid());
    if (length < 0 || (size_t)length >= size || mkdir(folder, 0755) != 0)
        return "the memory controller is not writable";
    snprintf(limit, sizeof limit, "%llu", (unsigned long long)LIMIT);
    const char *name = here.version == 1 ? "memory.limit_in_bytes" : "memory.max";
    if (!write_text(folder, name, limit)) {
        rmdir(folder);
        return "the memory controller takes no limit";
    }
    return NULL;
}

static void fill(ih_process *process, uint64_t size, unsigned flags)
{
    ih_error error = {0};
    ih_store *store;
    ih_store_options options = {1024 * MIB, 16 * MIB, false};
    CHECK_OK(ih_store_open(process, &options, &store, &error));
    static ih_handle handles[100000];
    size_t count = 0;
    ih_result result = IH_OK;
    while (count < 100000 && result == IH_OK) {
        result = test_put(store, size, flags, count, &handles[count], NULL, &error);
        count += result == IH_OK ? 1u : 0u;
    }
    CHECK_EQ(result, IH_MEMORY);
    CHECK(error.limit <= LIMIT && error.limit > 0 && error.what != NULL && error.wanted > 0);
    uint64_t put = count * size;
    CHECK(put > LIMIT / 2 && put < LIMIT);
    CHECK_STORE(store);
    ih_lease *lease;
    for (size_t i = 0; i < count; i += 97) {
        CHECK_OK(ih_open(process, handles[i], &lease, &error));
        test_verify(lease, size, i);
        ih_lease_release(lease);
    }
    /* What is freed is used again, for another kind of image too. */
    for (size_t i = 0; i < count; i++)
        CHECK_OK(ih_delete(store, handles[i], false, &error));
    CHECK_OK(test_put(store, 100 * MIB, 0, 1, &handles[0], NULL, &error));
    CHECK_OK(test_put(store, 30000, 0, 1, &handles[1], NULL, &error));
    CHECK_STORE(store);
    ih_store_drop(store);
}

static void in_cgroup(const char *folder)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (!write_text(folder, "cgroup.procs", pid))
        _exit(77);
    ih_error error = {0};
    ih_process *process;
    CHECK(ih_default_capacity() <= LIMIT / 2 && ih_default_capacity() > LIMIT / 4);
    CHECK_OK(ih_process_create(&process, &error));
    fill(process, 20000, 0);
    fill(process, 9 * MIB, 0);
    fill(process, 3 * MIB, IH_PUT_SEAL);
    ih_process_destroy(process);
    _exit(0);
}

static void test_h13_memory_runs_out_as_an_error(void)
{
    char folder[1200];
    const char *reason = make_cgroup(folder, sizeof folder);
    if (reason != NULL)
        SKIP(reason);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        in_cgroup(folder);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    for (unsigned i = 0; i < 100 && rmdir(folder) != 0; i++)
        usleep(10000);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("no process can be moved into a cgroup");
    if (WIFSIGNALED(status))
        fprintf(stderr, "killed by signal %d\n", WTERMSIG(status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    RUN(test_h13_memory_runs_out_as_an_error);
    return 0;
}
