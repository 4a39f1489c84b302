/* A client of a daemon that says what the fuzzer likes: replies that are nearly right, or not at
 * all, descriptors too few or too many, and a state map, page, board and others' segments that
 * change under the client. Nothing crashes or leaks, and everything comes to an end.
 *
 * The calls of the operating system that make a connection are this file's (--wrap), as is the
 * clock: no daemon, no thread, no waiting. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "arena/board.h"
#include "arena/catalog.h"
#include "arena/layout.h"
#include "arena/os/os.h"
#include "arena/wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEPT = 8, FIRST_OTHER = 5000, OTHERS = 4 };
#define STATE_BYTES (64u << 10)
#define SEGMENT (64u << 10)

typedef struct {
    int fd;
    uint64_t bytes;
    uint8_t *memory;
} file;

static struct {
    const uint8_t *at, *end;
    uint64_t clock, next_id, next_state;
    uint8_t reply[IH_FRAME_MAX + 64u];
    size_t bytes, sent;
    int fds[6];
    unsigned fd_count;
    file state, family, page, board, others[OTHERS];
} d;

static uint32_t take(unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && d.at < d.end; i++)
        value = value << 8 | *d.at++;
    return value;
}

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* ---- memory files ---------------------------------------------------------------------------- */

static file make_file(uint32_t what, uint64_t bytes)
{
    file f = {.bytes = bytes};
    must(ih_catalog_make_file(what, bytes, &f.fd, NULL) == IH_OK);
    must(ih_os_file_size(f.fd, &f.bytes) == 0);
    f.memory = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
    must(f.memory != MAP_FAILED);
    return f;
}

static void drop_file(file *f)
{
    munmap(f->memory, f->bytes);
    close(f->fd);
}

static void scribble(const file *f)
{
    uint32_t at = take(2) % (uint32_t)f->bytes;
    for (uint32_t count = take(1) % 9u; count > 0; count--)
        f->memory[at++ % f->bytes] = (uint8_t)take(1);
}

/* ---- replies --------------------------------------------------------------------------------- */

static void give(int fd)
{
    if (d.fd_count < 6)
        must((d.fds[d.fd_count++] = fcntl(fd, F_DUPFD_CLOEXEC, 0)) >= 0);
}

static size_t welcome(const ih_hello *hello, void *to)
{
    ih_welcome w = {.version = IH_WIRE_VERSION,
                    .role = IH_ROLE_ADMIN,
                    .store = {1, 2},
                    .session = hello->session != 0 ? hello->session : 7,
                    .family = 3,
                    .member = 1,
                    .lease_blocks_max = 8,
                    .capacity = 1u << 20,
                    .segment_size = SEGMENT,
                    .state_bytes = STATE_BYTES,
                    .page_bytes = IH_SESSION_BYTES,
                    .board = 1,
                    .board_bytes = d.board.bytes};
    if (hello->family == 0)
        give(d.family.fd);
    if (hello->session == 0)
        give(d.page.fd);
    if (hello->family == 0) {
        give(d.state.fd);
        give(d.board.fd);
    }
    memcpy(to, &w, sizeof w);
    return sizeof w;
}

static size_t describe(ih_segment_reply reply, void *to)
{
    memcpy(to, &reply, sizeof reply);
    return sizeof reply;
}

static size_t granted(const ih_grant_request *ask, void *to)
{
    bool ordinary = ask->kind == IH_ORDINARY;
    uint64_t bytes = ordinary ? SEGMENT : (ask->bytes + 3u * IH_PAGE - 1u) / IH_PAGE * IH_PAGE;
    int fd = -1;
    if (ih_catalog_make_file(ordinary ? IH_FILE_ORDINARY : IH_FILE_DEDICATED, bytes, &fd, NULL) !=
        IH_OK)
        return 0;
    give(fd);
    close(fd);
    ih_segment_reply reply = {.id = d.next_id++,
                              .bytes = bytes,
                              .secret = {5, 6},
                              .state = d.next_state,
                              .reuse = !ordinary && take(1) % 4u == 0 ? d.next_id - 2u : 0,
                              .kind = ask->kind};
    memcpy(d.state.memory + reply.state, &reply.id, 8);
    d.next_state = (d.next_state + 1024u) % (STATE_BYTES - 1024u);
    return describe(reply, to);
}

static size_t mapped(const ih_image_request *ask, void *to)
{
    uint64_t id = ih_locator_id(ask->handle.locator);
    unsigned which = (unsigned)(id % OTHERS);
    give(d.others[which].fd);
    ih_segment_reply reply = {.id = id,
                              .bytes = d.others[which].bytes,
                              .secret = {5, 6},
                              .state = d.next_state,
                              .kind = which % 2u == 0 ? IH_ORDINARY : IH_DEDICATED,
                              .flags = take(1) % 8u};
    memcpy(d.state.memory + reply.state, &reply.id, 8);
    d.next_state = (d.next_state + 1024u) % (STATE_BYTES - 1024u);
    return describe(reply, to);
}

/* An honest reply. */
static size_t answer(uint16_t op, const uint8_t *body, uint8_t *to)
{
    union {
        ih_hello hello;
        ih_grant_request grant;
        ih_image_request image;
    } ask;
    memcpy(&ask, body, sizeof ask);
    ih_list_reply list = {.count = take(1) % 3u};
    ih_board_reply board = {take(1) % 4u, d.board.bytes};
    switch (op) {
    case IH_OP_HELLO:
        return welcome(&ask.hello, to);
    case IH_OP_GRANT:
        return granted(&ask.grant, to);
    case IH_OP_MAP:
        return mapped(&ask.image, to);
    case IH_OP_BIND:
    case IH_OP_PUBLISH:
        return 8;
    case IH_OP_STAT:
        return sizeof(ih_stat_reply);
    case IH_OP_LIST:
        memcpy(to, &list, sizeof list);
        return sizeof list + list.count * sizeof(ih_stat_reply);
    case IH_OP_USAGE:
        return sizeof(ih_usage);
    case IH_OP_BOARD:
        give(d.board.fd);
        memcpy(to, &board, sizeof board);
        return sizeof board;
    case IH_OP_EXPLAIN:
    case IH_OP_CHECK:
        return take(1);
    default:
        return 0;
    }
}

static void spoil(ih_frame *frame)
{
    uint32_t how = take(1);
    if ((how & 1u) != 0) {
        frame->result = (uint16_t)take(1);
        d.bytes = sizeof *frame + sizeof(ih_failure) + take(1);
        for (uint32_t i = sizeof *frame; i < d.bytes; i++)
            d.reply[i] = i % 3u == 0 ? 0xe2 : 0x82;
    }
    if ((how & 2u) != 0)
        give(d.others[0].fd);
    if ((how & 4u) != 0 && d.fd_count > 0)
        close(d.fds[--d.fd_count]);
    if ((how & 8u) != 0)
        d.bytes = sizeof *frame + take(2) % (IH_FRAME_MAX - sizeof *frame);
    frame->bytes = (uint32_t)d.bytes;
    memcpy(d.reply, frame, sizeof *frame);
    for (uint32_t count = how >> 4u & 7u; count > 0; count--)
        d.reply[take(1) % d.bytes] = (uint8_t)take(1);
    if ((how & 128u) != 0)
        d.bytes = take(2) % (d.bytes + 1u);
}

static void forget_reply(void)
{
    while (d.fd_count > 0)
        close(d.fds[--d.fd_count]);
    d.bytes = d.sent = 0;
}

/* ---- the operating system, as the client sees it --------------------------------------------- */

int __wrap_ih_os_connect(int fd, const char *path);
int __wrap_ih_os_send(int fd, const void *source, size_t bytes, uint64_t until_ns);
int __wrap_ih_os_readable(int fd, uint64_t until_ns);
int __wrap_ih_os_spin_readable(int fd, uint64_t spin_ns);
int __wrap_ih_os_receive(int fd, void *to, size_t room, size_t *got, int *fds, unsigned *count);
int __wrap_ih_os_wait(const uint32_t *word, uint32_t seen, uint64_t timeout_ns);
void __wrap_ih_os_pause(uint64_t ns);
uint64_t __wrap_ih_os_exact_ns(void);

int __wrap_ih_os_connect(int fd, const char *path)
{
    (void)fd;
    (void)path;
    forget_reply();
    return take(1) == 255 ? ECONNREFUSED : 0;
}

int __wrap_ih_os_send(int fd, const void *source, size_t bytes, uint64_t until_ns)
{
    (void)fd;
    uint8_t copy[IH_FRAME_MAX + 8u] = {0};
    must(bytes <= sizeof copy);
    memcpy(copy, source, bytes);
    const uint8_t *at = memcmp(copy, IH_WIRE_BINARY, 8) == 0 ? copy + 8 : copy;
    ih_frame frame;
    memcpy(&frame, at, sizeof frame);
    must(frame.bytes == bytes - (size_t)(at - copy) || frame.op == IH_OP_DROP);
    if (until_ns == 0 || frame.op == IH_OP_DROP)
        return take(1) % 8u == 7u ? EAGAIN : 0;
    forget_reply();
    memset(d.reply, 0, sizeof d.reply);
    d.bytes = sizeof frame + answer(frame.op, at + sizeof frame, d.reply + sizeof frame);
    frame.op |= IH_REPLY_BIT;
    frame.bytes = (uint32_t)d.bytes;
    memcpy(d.reply, &frame, sizeof frame);
    if (take(1) % 4u == 3u)
        spoil(&frame);
    return 0;
}

int __wrap_ih_os_readable(int fd, uint64_t until_ns)
{
    (void)until_ns;
    return fd < 0 ? EBADF : d.sent < d.bytes ? 0 : take(1) % 2u == 0 ? ETIMEDOUT : 0;
}

int __wrap_ih_os_spin_readable(int fd, uint64_t spin_ns)
{
    (void)spin_ns;
    return fd >= 0 && d.sent < d.bytes ? 0 : EAGAIN;
}

int __wrap_ih_os_receive(int fd, void *to, size_t room, size_t *got, int *fds, unsigned *count)
{
    (void)fd;
    size_t left = d.bytes - d.sent;
    size_t part = take(1) % 16u == 15u && left > 1 ? left / 2u : left;
    part = part < room ? part : room;
    if (part == 0)
        return ECONNRESET;
    memcpy(to, d.reply + d.sent, part);
    d.sent += part;
    *got = part;
    while (d.fd_count > 0) {
        int first = d.fds[0];
        memmove(d.fds, d.fds + 1, --d.fd_count * sizeof *d.fds);
        if (*count < IH_OS_FDS_MAX)
            fds[(*count)++] = first;
        else
            close(first);
    }
    return 0;
}

int __wrap_ih_os_wait(const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    (void)timeout_ns;
    scribble(&d.board);
    return __atomic_load_n(word, __ATOMIC_ACQUIRE) != seen ? 0 : ETIMEDOUT;
}

void __wrap_ih_os_pause(uint64_t ns) { d.clock += ns; }

uint64_t __wrap_ih_os_exact_ns(void) { return d.clock += UINT64_C(100000000); }

/* ---- the client ------------------------------------------------------------------------------ */

typedef struct {
    ih_process *process;
    ih_store *store;
    ih_handle handles[KEPT];
    ih_lease *leases[KEPT];
} client;

static void put(client *c, uint32_t which)
{
    static const uint8_t image[16], body[64];
    ih_block block;
    unsigned flags = take(1) % 4u;
    uint64_t bytes = flags == 3 ? 40000 : take(2) + 64u;
    if (ih_reserve(c->store, bytes, flags % 3u, &block, NULL) != IH_OK)
        return;
    (void)ih_block_write(&block, 64, body, bytes - 64u < 64u ? bytes - 64u : 64u, NULL);
    ih_lease **lease = c->leases[which] == NULL ? &c->leases[which] : NULL;
    if (take(1) % 8u == 7u ||
        ih_block_seal(&block, image, &c->handles[which], lease, NULL) != IH_OK)
        ih_block_abandon(&block);
}

static void look(client *c, uint32_t which)
{
    char message[100], *text;
    ih_name *names;
    ih_stat *list, stat;
    ih_usage usage;
    size_t count;
    uint64_t version;
    ih_handle handle;
    switch (take(1) % 8u) {
    case 0:
        if (ih_store_names(c->store, "", 0, &names, &count, NULL) == IH_OK)
            free(names);
        break;
    case 1:
        if (ih_store_list(c->store, &list, &count, NULL) == IH_OK)
            free(list);
        break;
    case 2:
        if (ih_store_explain(c->store, c->handles[which], &text, NULL) == IH_OK)
            free(text);
        break;
    case 3:
        (void)ih_store_stat(c->store, c->handles[which], &stat, NULL);
        break;
    case 4:
        (void)ih_store_usage(c->store, &usage, NULL);
        break;
    case 5:
        (void)ih_store_check(c->store, message, sizeof message);
        break;
    case 6:
        (void)ih_store_wait(c->store, "a", 1, take(1) % 2u, UINT64_C(5000000000), &handle, &version,
                            NULL);
        break;
    default:
        (void)ih_lookup(c->store, "a", 1, &handle, &version, NULL);
    }
}

static void change(client *c, uint32_t which)
{
    ih_store *again;
    uint64_t version;
    ih_publication publication = {.flags = take(1), .linked = c->handles, .links = take(1) % KEPT};
    switch (take(1) % 6u) {
    case 0:
        (void)ih_bind(c->store, "a", 1, which == 0 ? NULL : &c->handles[which],
                      take(1) % 2u == 0 ? IH_ANY_VERSION : 1, &version, NULL);
        break;
    case 1:
        (void)ih_publish(c->store, c->handles[which], &publication, &version, NULL);
        break;
    case 2:
        (void)ih_store_trim(c->store, NULL);
        break;
    case 3:
        if (c->leases[which] != NULL)
            ih_lease_set_fleeting(c->leases[which], true);
        break;
    case 4:
        ih_store_close(c->store);
        break;
    default:
        if (ih_store_connect(c->process, "/fuzz", &again, NULL) == IH_OK) {
            ih_store_drop(c->store);
            c->store = again;
        }
    }
}

static void step(client *c)
{
    uint32_t what = take(1), which = take(1) % KEPT;
    const file *files[] = {&d.state, &d.page, &d.board, &d.others[0], &d.others[1], &d.family};
    switch (what % 8u) {
    case 0:
        put(c, which);
        break;
    case 1:
        (void)ih_delete(c->store, c->handles[which], false, NULL);
        break;
    case 2:
        if (c->leases[which] == NULL)
            (void)ih_open(c->process, c->handles[which], &c->leases[which], NULL);
        break;
    case 3:
        if (c->leases[which] != NULL)
            ih_lease_release(c->leases[which]);
        c->leases[which] = NULL;
        break;
    case 4:
        scribble(files[take(1) % 6u]);
        break;
    case 5:
        c->handles[which] = (ih_handle){ih_locator(FIRST_OTHER + take(1) % 8u, take(1)), take(1)};
        break;
    case 6:
        look(c, which);
        break;
    default:
        change(c, which);
    }
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    must(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void make_files(void)
{
    ih_board *board;
    d.state = make_file(IH_FILE_STATE, STATE_BYTES);
    d.family = make_file(IH_FILE_FAMILY, 0);
    d.page = make_file(IH_FILE_PAGE, 0);
    must(ih_board_create(1, 8, &board, &d.board.fd, NULL) == IH_OK);
    must(ih_board_set(board, "a", 1, (ih_handle){ih_locator(FIRST_OTHER, 80), 9}, 1) == IH_OK);
    d.board.bytes = ih_board_bytes(board);
    ih_board_destroy(board);
    d.board.memory = mmap(NULL, d.board.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d.board.fd, 0);
    must(d.board.memory != MAP_FAILED);
    for (unsigned i = 0; i < OTHERS; i++)
        d.others[i] = make_file(i % 2u == 0 ? IH_FILE_ORDINARY : IH_FILE_DEDICATED, SEGMENT);
}

static void drop_files(void)
{
    file *files[] = {&d.state,     &d.family,    &d.page,      &d.board,
                     &d.others[0], &d.others[1], &d.others[2], &d.others[3]};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
        drop_file(files[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned before = count_descriptors();
    memset(&d, 0, sizeof d);
    d.at = data;
    d.end = data + size;
    d.next_id = 1000;
    make_files();
    client c = {0};
    must(ih_process_create(&c.process, NULL) == IH_OK);
    if (ih_store_connect(c.process, "/fuzz", &c.store, NULL) == IH_OK) {
        while (d.at < d.end)
            step(&c);
        for (unsigned i = 0; i < KEPT; i++) {
            if (c.leases[i] != NULL && i % 2u == 0)
                ih_lease_release(c.leases[i]);
        }
        ih_store_drop(c.store);
        for (unsigned i = 1; i < KEPT; i += 2) {
            if (c.leases[i] != NULL)
                ih_lease_release(c.leases[i]);
        }
    }
    ih_process_destroy(c.process);
    forget_reply();
    drop_files();
    must(count_descriptors() == before);
    return 0;
}
