/* Every call that can fail fails once, at every place where it is made: the error is typed, nothing
 * is leaked, and the store works afterwards. The linker puts these functions in front of libc's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "arena/process.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)

static uint64_t calls, fail_at;
static bool armed, failed;
static const char *failed_call;

/* Whether this call is the one to fail. */
static bool strike(const char *name)
{
    if (!armed || ++calls != fail_at)
        return false;
    failed = true;
    failed_call = name;
    return true;
}

#define FAIL(name, value, code) \
    do {                        \
        if (strike(name)) {     \
            errno = (code);     \
            return (value);     \
        }                       \
    } while (0)

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    FAIL("mmap", MAP_FAILED, ENOMEM);
    return __real_mmap(at, size, protection, flags, fd, offset);
}

int __real_madvise(void *, size_t, int);
int __wrap_madvise(void *, size_t, int);
int __wrap_madvise(void *at, size_t size, int advice)
{
    FAIL("madvise", -1, EINVAL);
    return __real_madvise(at, size, advice);
}

int __real_ftruncate(int, off_t);
int __wrap_ftruncate(int, off_t);
int __wrap_ftruncate(int fd, off_t size)
{
    FAIL("ftruncate", -1, EFBIG);
    return __real_ftruncate(fd, size);
}

int __real_fallocate(int, int, off_t, off_t);
int __wrap_fallocate(int, int, off_t, off_t);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
    FAIL("fallocate", -1, ENOSPC);
    return __real_fallocate(fd, mode, offset, size);
}

ssize_t __real_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t offset)
{
    FAIL("pwrite", -1, ENOSPC);
    /* Short writes are no errors. */
    return __real_pwrite(fd, from, size > 70000 ? 70000 : size, offset);
}

int __real_fcntl(int, int, ...);
int __wrap_fcntl(int, int, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    FAIL("fcntl", -1, EPERM);
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return __real_fcntl(fd, command, argument);
}

int __real_open(const char *, int, ...);
int __wrap_open(const char *, int, ...);
int __wrap_open(const char *path, int flags, ...)
{
    FAIL("open", -1, EMFILE);
    return __real_open(path, flags, 0);
}

int __real_fchmod(int, mode_t);
int __wrap_fchmod(int, mode_t);
int __wrap_fchmod(int fd, mode_t mode)
{
    FAIL("fchmod", -1, EPERM);
    return __real_fchmod(fd, mode);
}

int __real_memfd_create(const char *, unsigned);
int __wrap_memfd_create(const char *, unsigned);
int __wrap_memfd_create(const char *name, unsigned flags)
{
    FAIL("memfd_create", -1, EMFILE);
    return __real_memfd_create(name, flags);
}

ssize_t __real_getrandom(void *, size_t, unsigned);
ssize_t __wrap_getrandom(void *, size_t, unsigned);
ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags)
{
    FAIL("getrandom", -1, ENOSYS);
    return __real_getrandom(to, size, flags);
}

int __real_pthread_mutex_init(pthread_mutex_t *, const pthread_mutexattr_t *);
int __wrap_pthread_mutex_init(pthread_mutex_t *, const pthread_mutexattr_t *);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    if (strike("pthread_mutex_init"))
        return ENOMEM;
    return __real_pthread_mutex_init(mutex, attributes);
}

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__wrap_malloc(size_t size)
{
    FAIL("malloc", NULL, ENOMEM);
    return __real_malloc(size);
}

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_calloc(size_t count, size_t size)
{
    FAIL("calloc", NULL, ENOMEM);
    return __real_calloc(count, size);
}

void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_realloc(void *memory, size_t size)
{
    FAIL("realloc", NULL, ENOMEM);
    return __real_realloc(memory, size);
}

/* ---- what a process has ---------------------------------------------------------------------- */

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static unsigned count_mappings(void)
{
    unsigned count = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    CHECK(file != NULL);
    char line[512];
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, "icehouse") != NULL || strstr(line, "/dev/zero") != NULL;
    fclose(file);
    return count;
}

/* ---- the scenario ---------------------------------------------------------------------------- */

static ih_process *process;
static ih_store *store;

/* A failure must say what was attempted. */
static bool good(ih_result result, const ih_error *error)
{
    if (result == IH_OK)
        return true;
    CHECK(result == IH_MEMORY || result == IH_SYSTEM);
    CHECK(error->result == result && error->what != NULL);
    CHECK(failed);
    return false;
}

static void one_image(uint64_t size, unsigned flags, bool leased)
{
    ih_error error = {0};
    ih_handle handle;
    ih_lease *lease = NULL, *again;
    if (!good(test_put(store, size, flags, size, &handle, leased ? &lease : NULL, &error), &error))
        return;
    if (leased)
        test_verify(lease, size, size);
    if (good(ih_open(process, handle, &again, &error), &error)) {
        test_verify(again, size, size);
        ih_lease_release(again);
    }
    (void)good(ih_bind(store, "name", 4, &handle, IH_ANY_VERSION, NULL, &error), &error);
    ih_name *names;
    size_t count;
    if (good(ih_store_names(store, "", 0, &names, &count, &error), &error))
        free(names);
    ih_stat *list;
    if (good(ih_store_list(store, &list, &count, &error), &error))
        free(list);
    /* A child that is never made: prepared for, and gone at once. */
    ih_process_fork_prepare(process);
    ih_process_fork_parent(process);
    if (!good(ih_delete(store, handle, true, &error), &error)) {
        armed = false;
        CHECK_OK(ih_delete(store, handle, true, &error));
        armed = true;
    }
    if (leased)
        ih_lease_release(lease);
}

static void scenario(void)
{
    ih_error error = {0};
    process = NULL;
    store = NULL;
    if (!good(ih_process_create(&process, &error), &error))
        return;
    ih_store_options options = {64 * MIB, MIB, false};
    if (!good(ih_store_open(process, &options, &store, &error), &error))
        return;
    one_image(1000, 0, true);
    one_image(2 * MIB, 0, true);
    one_image(2 * MIB, 0, false);
    one_image(3000, IH_PUT_SEAL, true);
    one_image(200000, 0, false);
    ih_usage usage;
    CHECK(good(ih_store_usage(store, &usage, &error), &error));
    CHECK(good(ih_store_trim(store, &error), &error));
    one_image(64, 0, true);
}

static uint64_t count_dying_bits(void)
{
    uint64_t count = 0;
    for (const ih_bits *bits = process->bits; bits != NULL; bits = bits->next)
        count += bits->count;
    return count;
}

/* Whatever failed: the store works, keeps its invariants, and gives everything back. */
static void aftermath(void)
{
    ih_error error = {0};
    armed = false;
    if (store != NULL) {
        CHECK_STORE(store);
        ih_handle handle;
        ih_lease *lease;
        CHECK_OK(test_put(store, 5000, 0, 5, &handle, &lease, &error));
        test_verify(lease, 5000, 5);
        CHECK_OK(ih_delete(store, handle, true, &error));
        ih_lease_release(lease);
        CHECK_STORE(store);
        CHECK_OK(ih_store_trim(store, &error));
        ih_usage usage;
        CHECK_OK(ih_store_usage(store, &usage, &error));
        /* An image that a fork could not be prepared for may stay until the process ends. */
        CHECK(usage.images == usage.dying && usage.images <= 1);
        if (usage.images == 0)
            CHECK_EQ(usage.committed, 0);
        /* Of a sealed image that a child may look at the bit stays set for good. */
        CHECK(count_dying_bits() <= 1 + usage.images);
        ih_store_drop(store);
    }
    if (process != NULL)
        ih_process_destroy(process);
}

static void test_h13_every_call_fails_once(void)
{
    fail_at = 0;
    scenario();
    aftermath();
    unsigned descriptors = count_descriptors(), mappings = count_mappings();
    for (fail_at = 1;; fail_at++) {
        calls = 0;
        failed = false;
        armed = true;
        scenario();
        armed = false;
        if (!failed)
            break;
        aftermath();
        if (count_descriptors() != descriptors || count_mappings() != mappings) {
            fprintf(stderr, "%s failing at call %" PRIu64 " leaks\n", failed_call, fail_at);
            abort();
        }
    }
    aftermath();
    CHECK(fail_at > 100);
    printf("     %" PRIu64 " calls failed, one at a time\n", fail_at - 1);
}

int main(void)
{
    RUN(test_h13_every_call_fails_once);
    return 0;
}
