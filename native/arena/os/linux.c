/* Files, mappings, locks, random and time on Linux. Limits are in limits.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

#include "asan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Older C libraries lack these; the kernel's values never change. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int ih_os_file_create(const char *name, uint64_t bytes, int *out)
{
    /* Kernels before 6.3 don't know the flag that refuses execution, and say EINVAL. */
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return errno;
    int error = ih_os_file_resize(fd, bytes);
    if (error != 0) {
        close(fd);
        return error;
    }
    *out = fd;
    return 0;
}

int ih_os_file_restrict(int fd, unsigned mode) { return fchmod(fd, (mode_t)mode) == 0 ? 0 : errno; }

int ih_os_file_reopen(int fd, bool writable, int *out)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (again < 0)
        return errno;
    *out = again;
    return 0;
}

int ih_os_duplicate(int fd, int *out)
{
    int again = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (again < 0)
        return errno;
    *out = again;
    return 0;
}

int ih_os_file_seal(int fd, unsigned seals)
{
    int flags = 0;
    flags |= seals & IH_OS_SEAL_SHRINK ? F_SEAL_SHRINK : 0;
    flags |= seals & IH_OS_SEAL_GROW ? F_SEAL_GROW : 0;
    flags |= seals & IH_OS_SEAL_WRITE ? F_SEAL_WRITE : 0;
    flags |= seals & IH_OS_SEAL_SEAL ? F_SEAL_SEAL : 0;
    if (fcntl(fd, F_ADD_SEALS, flags) != 0)
        return errno;
    int found = fcntl(fd, F_GET_SEALS);
    if (found < 0)
        return errno;
    return (found & flags) == flags ? 0 : EPERM;
}

int ih_os_file_size(int fd, uint64_t *bytes)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return errno;
    *bytes = (uint64_t)status.st_size;
    return 0;
}

int ih_os_file_resize(int fd, uint64_t bytes)
{
    if (bytes > INT64_MAX)
        return EFBIG;
    while (ftruncate(fd, (off_t)bytes) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int ih_os_file_commit(int fd, uint64_t offset, uint64_t bytes)
{
    while (fallocate(fd, 0, (off_t)offset, (off_t)bytes) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int ih_os_file_release(int fd, uint64_t bytes)
{
    while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int ih_os_file_write(int fd, uint64_t offset, const void *source, uint64_t bytes)
{
    const char *from = source;
    while (bytes > 0) {
        size_t part = bytes < (UINT64_C(1) << 30) ? (size_t)bytes : (size_t)1 << 30;
        ssize_t done = pwrite(fd, from, part, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : EIO;
        from += done;
        offset += (uint64_t)done;
        bytes -= (uint64_t)done;
    }
    return 0;
}

int ih_os_file_read(int fd, uint64_t offset, void *out, uint64_t bytes)
{
    char *to = out;
    while (bytes > 0) {
        size_t part = bytes < (UINT64_C(1) << 30) ? (size_t)bytes : (size_t)1 << 30;
        ssize_t done = pread(fd, to, part, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : EIO;
        to += done;
        offset += (uint64_t)done;
        bytes -= (uint64_t)done;
    }
    return 0;
}

void ih_os_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* Addresses that are given back, or are new, must not look poisoned: others use them next, and a
 * forked process has the shadow of mappings that it did not inherit. */
static void unpoison(const void *address, uint64_t bytes)
{
#ifdef IH_ASAN
    ASAN_UNPOISON_MEMORY_REGION(address, (size_t)bytes);
#else
    (void)address;
    (void)bytes;
#endif
}

static int map_file(int fd, uint64_t offset, uint64_t bytes, int protection, uint8_t **out)
{
    void *address =
        mmap(NULL, (size_t)bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
    if (address == MAP_FAILED)
        return errno;
    unpoison(address, bytes);
    *out = address;
    return 0;
}

int ih_os_map(int fd, uint64_t bytes, bool writable, uint8_t **out)
{
    if (!writable)
        return map_file(fd, 0, bytes, PROT_READ, out);
    uint8_t *address = NULL;
    int error = map_file(fd, 0, bytes, PROT_READ | PROT_WRITE, &address);
    if (error != 0)
        return error;
    if (madvise(address, (size_t)bytes, MADV_DONTFORK) != 0) {
        error = errno;
        munmap(address, (size_t)bytes);
        return error;
    }
    *out = address;
    return 0;
}

int ih_os_map_family(int fd, uint64_t bytes, uint8_t **out)
{
    return map_file(fd, 0, bytes, PROT_READ | PROT_WRITE, out);
}

int ih_os_map_part(int fd, uint64_t offset, uint64_t bytes, bool writable, uint8_t **out)
{
    return map_file(fd, offset, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, out);
}

int ih_os_map_copies(int fd, uint64_t offset, uint64_t bytes, uint8_t **out)
{
    int flags = MAP_PRIVATE | MAP_NORESERVE | (*out != NULL ? MAP_FIXED : 0);
    void *address = mmap(*out, (size_t)bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
    if (address == MAP_FAILED)
        return errno;
    unpoison(address, bytes);
    *out = address;
    return 0;
}

int ih_os_map_zeros(void *address, uint64_t bytes)
{
    void *done = mmap(address, (size_t)bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (done == MAP_FAILED)
        return errno;
    unpoison(address, bytes);
    return 0;
}

int ih_os_map_anonymous(uint64_t bytes, uint8_t **out)
{
    void *address =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED)
        return errno;
    unpoison(address, bytes);
    *out = address;
    return 0;
}

void ih_os_unmap(void *address, uint64_t bytes)
{
    if (address == NULL)
        return;
    unpoison(address, bytes);
    munmap(address, (size_t)bytes);
}

void ih_os_populate(void *address, uint64_t bytes)
{
    int saved = errno;
    (void)madvise(address, (size_t)bytes, MADV_POPULATE_WRITE);
    errno = saved;
}

void ih_os_discard(void *address, uint64_t bytes)
{
    int saved = errno;
    (void)madvise(address, (size_t)bytes, MADV_REMOVE);
    errno = saved;
}

uint64_t ih_os_maps_max(void)
{
    uint64_t found = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file == NULL)
        return found;
    char line[64];
    if (fgets(line, sizeof line, file) != NULL)
        found = strtoull(line, NULL, 10);
    fclose(file);
    return found;
}

uint64_t ih_os_files_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    return limit.rlim_cur;
}

int ih_os_lock(int fd, uint64_t byte)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

int ih_os_locked(int fd, uint64_t byte, uint64_t bytes, bool *locked)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = (off_t)bytes};
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return errno;
    *locked = lock.l_type != F_UNLCK;
    return 0;
}

int ih_os_wait(const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    uint64_t second = UINT64_C(1000000000);
    struct timespec until = {0};
    clock_gettime(CLOCK_MONOTONIC, &until);
    /* What lies centuries ahead is never; else the sum below would overflow. */
    bool never = timeout_ns > UINT64_MAX / 4u;
    if (!never) {
        uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns % second;
        until.tv_sec += (time_t)(timeout_ns / second + ns / second);
        until.tv_nsec = (long)(ns % second);
    }
    for (;;) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != seen)
            return 0;
        if (timeout_ns == 0)
            return ETIMEDOUT;
        long done = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, never ? NULL : &until, NULL,
                            FUTEX_BITSET_MATCH_ANY);
        if (done != 0 && errno != EAGAIN)
            return errno;
    }
}

void ih_os_wake(uint32_t *word)
{
    int saved = errno;
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    errno = saved;
}

int ih_os_random(void *out, size_t bytes)
{
    uint8_t *to = out;
    while (bytes > 0) {
        ssize_t got = getrandom(to, bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        to += got;
        bytes -= (size_t)got;
    }
    return 0;
}

static uint64_t now(clockid_t clock)
{
    struct timespec time = {0};
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

uint64_t ih_os_wall_ns(void) { return now(CLOCK_REALTIME_COARSE); }

uint64_t ih_os_clock_ns(void) { return now(CLOCK_MONOTONIC_COARSE); }
