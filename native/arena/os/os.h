/* Everything the arena asks of the operating system, with what each call needs and promises.
 *
 * Results are 0 or an errno value. No function keeps state; none retries what the caller should
 * decide about, but all of them repeat a call that a signal interrupted. Descriptors are always
 * CLOEXEC.
 */
#ifndef ICEHOUSE_ARENA_OS_H
#define ICEHOUSE_ARENA_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- memory files ---------------------------------------------------------------------------- */

enum { IH_OS_SEAL_SHRINK = 1, IH_OS_SEAL_GROW = 2, IH_OS_SEAL_WRITE = 4, IH_OS_SEAL_SEAL = 8 };

/* A new memory file of `bytes` bytes, all holes, readable and writable through *fd. `name` shows up
 * in /proc. */
int ih_os_file_create(const char *name, uint64_t bytes, int *fd);
/* Makes it unwritable for other users (and a later reopening of the same user needs chmod first):
 * mode 0444. */
int ih_os_file_restrict(int fd, unsigned mode);
/* A new open file description of the same file: its own locks, its own access mode. Needs /proc. */
int ih_os_file_reopen(int fd, bool writable, int *out);
/* Adds seals and reads them back. IH_OS_SEAL_WRITE needs that no writable mapping is left, else
 * EBUSY. */
int ih_os_file_seal(int fd, unsigned seals);
/* Another descriptor for the same open file description. */
int ih_os_duplicate(int fd, int *out);
int ih_os_file_size(int fd, uint64_t *bytes);
/* Sets the size. A file sealed against shrinking refuses a smaller one with EPERM. */
int ih_os_file_resize(int fd, uint64_t bytes);
/* Allocates the pages of the range. Past the limit of a memory cgroup this is SIGKILL and not an
 * error: the caller has checked ih_os_headroom(). */
int ih_os_file_commit(int fd, uint64_t offset, uint64_t bytes);
/* Gives the file's pages back to the system, whoever maps them. */
int ih_os_file_release(int fd, uint64_t bytes);
/* Writes all of it. Fresh pages count as for commit. */
int ih_os_file_write(int fd, uint64_t offset, const void *source, uint64_t bytes);
/* Reads all of it; EIO where the file ends before. */
int ih_os_file_read(int fd, uint64_t offset, void *out, uint64_t bytes);
void ih_os_close(int fd);

/* ---- mappings -------------------------------------------------------------------------------- */

/* Maps the file from its start. Writable mappings are not inherited by fork (H8). */
int ih_os_map(int fd, uint64_t bytes, bool writable, uint8_t **out);
/* Like a writable ih_os_map(), but children inherit it: for what every member of a family writes.
 */
int ih_os_map_family(int fd, uint64_t bytes, uint8_t **out);
/* Maps a part of the file, which starts at a page; children inherit it, writable or not. */
int ih_os_map_part(int fd, uint64_t offset, uint64_t bytes, bool writable, uint8_t **out);
/* Maps a part of the file, which starts at a page, as private copies of its pages: writes never
 * reach the file. `*out` is where, over what is mapped there (at one instant, for other threads),
 * or NULL. Children inherit it as it is. */
int ih_os_map_copies(int fd, uint64_t offset, uint64_t bytes, uint8_t **out);
/* Puts zeroed private memory over what is mapped there. */
int ih_os_map_zeros(void *address, uint64_t bytes);
/* Zeroed memory that forked children share and see changes of. */
int ih_os_map_anonymous(uint64_t bytes, uint8_t **out);
void ih_os_unmap(void *address, uint64_t bytes);
/* Fills the page tables of a writable mapping whose pages are committed. A hint: failure is
 * ignored. */
void ih_os_populate(void *address, uint64_t bytes);
/* Gives the file's pages back while mappings of it (inherited by children) remain; they read as
 * zero. A hint. */
void ih_os_discard(void *address, uint64_t bytes);
/* How many mappings the system grants one process. */
uint64_t ih_os_maps_max(void);
/* How many descriptors it may have open. */
uint64_t ih_os_files_max(void);

/* ---- locks that go with a process ------------------------------------------------------------ */

/* Write-locks one byte for the open file description `fd` (F_OFD): gone when its last descriptor
 * is. */
int ih_os_lock(int fd, uint64_t byte);
/* Whether any other open file description holds a lock in [byte, byte + bytes); bytes == 0: to the
 * end. */
int ih_os_locked(int fd, uint64_t byte, uint64_t bytes, bool *locked);

/* ---- waiting for a word ---------------------------------------------------------------------- */

/* Waits until *word is not `seen`: 0. EINTR: a signal came; ETIMEDOUT: `timeout_ns` passed
 * (UINT64_MAX: never does; 0: only looks). The word may lie in a read-only mapping of a file. */
int ih_os_wait(const uint32_t *word, uint32_t seen, uint64_t timeout_ns);
/* Wakes all who wait for that word, in every process. */
void ih_os_wake(uint32_t *word);

/* ---- sockets --------------------------------------------------------------------------------- */

/* What a descriptor stood for when it was ours: code that closes all descriptors may put another
 * file under the same number. */
typedef struct {
    uint64_t device, inode;
} ih_os_file_id;
int ih_os_identity(int fd, ih_os_file_id *out);
bool ih_os_is_same(int fd, const ih_os_file_id *id);
int ih_os_file_seals(int fd, unsigned *seals);

#define IH_OS_FDS_MAX 4u
/* A non-blocking Unix stream socket. */
int ih_os_socket(int *fd);
/* ENOENT, ECONNREFUSED: nobody listens. EAGAIN: the queue of the listener is full. */
int ih_os_connect(int fd, const char *path);
/* Sends all of it, by the time `until_ns` of ih_os_exact_ns(): ETIMEDOUT. 0: at once or, if not a
 * byte could be sent, EAGAIN. Never raises SIGPIPE. */
int ih_os_send(int fd, const void *source, size_t bytes, uint64_t until_ns);
/* Ends the stream in both directions; who waits for it is woken. */
void ih_os_shutdown(int fd);
/* Waits for something to receive, the end of the stream included. */
int ih_os_readable(int fd, uint64_t until_ns);
/* Looks without sleeping, for `spin_ns` and not much longer, and offers the processor to others
 * between two looks: 0. EAGAIN: nothing has come yet. EBUSY: others took the processor, so it does
 * not sleep anyway; something may have come. */
int ih_os_spin_readable(int fd, uint64_t spin_ns);
/* How many processors this thread may run on. */
unsigned ih_os_cpus(void);
/* Receives what is there: EAGAIN, ECONNRESET at the end of the stream. Descriptors that come with
 * it are added to `fds`; those beyond IH_OS_FDS_MAX are closed. */
int ih_os_receive(int fd, void *to, size_t room, size_t *got, int *fds, unsigned *count);
/* Sleeps, or less if a signal comes. */
void ih_os_pause(uint64_t ns);
uint64_t ih_os_exact_ns(void); /* monotonic, to the nanosecond */
uint32_t ih_os_pid(void);

/* ---- random, time ---------------------------------------------------------------------------- */

int ih_os_random(void *out, size_t bytes);
uint64_t ih_os_wall_ns(void);  /* since the epoch, at the resolution of a tick */
uint64_t ih_os_clock_ns(void); /* monotonic, at the resolution of a tick */

/* ---- memory limits --------------------------------------------------------------------------- */

/* Where this process's memory cgroup is; version 0: none. */
typedef struct {
    int version;
    size_t mount; /* length of the mount point at the start of `path` */
    char path[1024];
} ih_os_cgroup;

void ih_os_cgroup_find(ih_os_cgroup *out);
/* `room`: bytes that can be allocated before the tightest limit, the machine's included, is
 * reached, reclaimable page cache counted as free. `limit`: that limit. */
void ih_os_headroom(const ih_os_cgroup *cgroup, uint64_t *room, uint64_t *limit);
/* The lowest limit on the way to the root, or the machine's memory. */
uint64_t ih_os_memory_limit(const ih_os_cgroup *cgroup);

#endif
