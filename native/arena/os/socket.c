/* Unix stream sockets: connecting, whole frames, descriptors that come with them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TAKEN_NS 8000u /* offering an idle processor takes a tenth of this at most */

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif

int ih_os_identity(int fd, ih_os_file_id *out)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return errno;
    *out = (ih_os_file_id){.device = (uint64_t)status.st_dev, .inode = (uint64_t)status.st_ino};
    return 0;
}

bool ih_os_is_same(int fd, const ih_os_file_id *id)
{
    ih_os_file_id found = {0};
    int saved = errno;
    bool same = fd >= 0 && ih_os_identity(fd, &found) == 0 && found.device == id->device &&
                found.inode == id->inode;
    errno = saved;
    return same;
}

int ih_os_file_seals(int fd, unsigned *seals)
{
    int found = fcntl(fd, F_GET_SEALS);
    if (found < 0)
        return errno;
    *seals = (found & F_SEAL_SHRINK ? IH_OS_SEAL_SHRINK : 0u) |
             (found & F_SEAL_GROW ? IH_OS_SEAL_GROW : 0u) |
             (found & F_SEAL_WRITE ? IH_OS_SEAL_WRITE : 0u) |
             (found & F_SEAL_SEAL ? IH_OS_SEAL_SEAL : 0u);
    return 0;
}

int ih_os_socket(int *out)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    *out = fd;
    return 0;
}

int ih_os_connect(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path)
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1u);
    while (connect(fd, (const struct sockaddr *)(const void *)&address, size) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

/* Waits until the socket can be written or read, the other side is gone, or the time is over. */
static int wait_for(int fd, short events, uint64_t until_ns)
{
    for (;;) {
        uint64_t now = ih_os_exact_ns();
        if (now >= until_ns)
            return ETIMEDOUT;
        uint64_t left = (until_ns - now) / 1000000u + 1u;
        struct pollfd ask = {.fd = fd, .events = events};
        int found = poll(&ask, 1, left < 1000000u ? (int)left : 1000000);
        if (found > 0)
            return 0;
        if (found < 0 && errno != EINTR)
            return errno;
    }
}

int ih_os_readable(int fd, uint64_t until_ns) { return wait_for(fd, POLLIN, until_ns); }

int ih_os_spin_readable(int fd, uint64_t spin_ns)
{
    uint64_t now = ih_os_exact_ns(), until = now + spin_ns;
    for (;;) {
        struct pollfd ask = {.fd = fd, .events = POLLIN};
        int found = poll(&ask, 1, 0);
        if (found > 0)
            return 0;
        if (found < 0 || now >= until) /* < 0: who waits will see why */
            return EAGAIN;
        uint64_t offered = ih_os_exact_ns();
        (void)sched_yield();
        now = ih_os_exact_ns();
        if (now - offered > TAKEN_NS)
            return EBUSY;
    }
}

unsigned ih_os_cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    /* EINVAL: a machine of more processors than the set has room for. */
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return errno == EINVAL ? (unsigned)CPU_SETSIZE : 1u;
    int count = CPU_COUNT(&set);
    return count > 0 ? (unsigned)count : 1u;
}

int ih_os_send(int fd, const void *source, size_t bytes, uint64_t until_ns)
{
    const char *from = source;
    size_t left = bytes;
    while (left > 0) {
        ssize_t done = send(fd, from, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done >= 0) {
            from += done;
            left -= (size_t)done;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return errno;
        if (until_ns == 0)
            return left == bytes ? EAGAIN : EPIPE; /* a torn frame: nothing can follow it */
        int code = wait_for(fd, POLLOUT, until_ns);
        if (code != 0)
            return code;
    }
    return 0;
}

void ih_os_shutdown(int fd) { (void)shutdown(fd, SHUT_RDWR); }

static void collect(struct msghdr *message, int *fds, unsigned *count)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS ||
            part->cmsg_len < CMSG_LEN(0))
            continue;
        size_t found = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < found; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (*count < IH_OS_FDS_MAX)
                fds[(*count)++] = fd;
            else
                close(fd);
        }
    }
}

int ih_os_receive(int fd, void *to, size_t room, size_t *got, int *fds, unsigned *count)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 16u)];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = to, .iov_len = room};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t done;
    do {
        done = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (done < 0 && errno == EINTR);
    if (done < 0)
        return errno == EWOULDBLOCK ? EAGAIN : errno;
    collect(&message, fds, count);
    if (done == 0 && room > 0)
        return ECONNRESET;
    *got = (size_t)done;
    return 0;
}

void ih_os_pause(uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    (void)nanosleep(&time, NULL);
}

uint64_t ih_os_exact_ns(void)
{
    struct timespec time = {0};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

uint32_t ih_os_pid(void) { return (uint32_t)getpid(); }
