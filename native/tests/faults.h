/* Every call that can fail fails once, at every place where it is made. The linker puts these
 * functions in front of libc's (--wrap); only a process that has `armed` set is struck. */
#ifndef ICEHOUSE_TESTS_FAULTS_H
#define ICEHOUSE_TESTS_FAULTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static uint64_t calls, fail_at;
static bool armed, failed;
static const char *failed_call;

/* Whether this call is the one to fail. */
static inline bool strike(const char *name)
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

int __real_socket(int, int, int);
int __wrap_socket(int, int, int);
int __wrap_socket(int family, int kind, int protocol)
{
    FAIL("socket", -1, EMFILE);
    return __real_socket(family, kind, protocol);
}

int __real_connect(int, const struct sockaddr *, socklen_t);
int __wrap_connect(int, const struct sockaddr *, socklen_t);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    FAIL("connect", -1, EAGAIN);
    return __real_connect(fd, address, size);
}

ssize_t __real_send(int, const void *, size_t, int);
ssize_t __wrap_send(int, const void *, size_t, int);
ssize_t __wrap_send(int fd, const void *from, size_t size, int flags)
{
    FAIL("send", -1, ENOBUFS);
    return __real_send(fd, from, size > 20 ? 20 : size, flags);
}

ssize_t __real_recvmsg(int, struct msghdr *, int);
ssize_t __wrap_recvmsg(int, struct msghdr *, int);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    FAIL("recvmsg", -1, ECONNRESET);
    return __real_recvmsg(fd, message, flags);
}

int __real_poll(struct pollfd *, nfds_t, int);
int __wrap_poll(struct pollfd *, nfds_t, int);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    FAIL("poll", -1, ENOMEM);
    return __real_poll(fds, count, timeout);
}

/* ---- what a process has ---------------------------------------------------------------------- */

static inline unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static inline unsigned count_mappings(void)
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

#endif
