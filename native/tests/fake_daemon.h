/* A daemon for tests, as small as it can be: one process with a poll loop over the real catalog.
 *
 * The test's process plays the keeper: it makes all memory files before the first daemon starts, so
 * each daemon inherits them under the same numbers and finds in `fake->...` what the keeper's keys
 * and the journal would tell. So the daemon can be killed at any instant and started again.
 */
#ifndef ICEHOUSE_TESTS_FAKE_DAEMON_H
#define ICEHOUSE_TESTS_FAKE_DAEMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "arena/board.h"
#include "arena/catalog.h"
#include "arena/layout.h"
#include "arena/wire.h"
#include "forks.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define FAKE_ORDINARY 12
#define FAKE_SEGMENTS 36
#define FAKE_FAMILIES 8
#define FAKE_SESSIONS 24
#define FAKE_CLIENTS 32
#define FAKE_ORDINARY_BYTES (256u << 10)
#define FAKE_DEDICATED_BYTES (1u << 20)
#define FAKE_STATE_BYTES (1u << 20)

typedef struct {
    ih_segment_info info;
    int fd;
    bool used;
} fake_segment;

typedef struct {
    uint64_t id, family;
    int page;
    uint32_t member;
    bool used;
} fake_session;

typedef struct {
    uint64_t identity[2], token[2], next_id, next_session;
    int listener, state, board, families[FAKE_FAMILIES], pages[FAKE_SESSIONS];
    uint64_t board_bytes;
    bool family_used[FAKE_FAMILIES];
    fake_segment segments[FAKE_SEGMENTS];
    fake_session sessions[FAKE_SESSIONS];
    /* what a test asks for */
    uint32_t die_before_reply; /* this operation is done, and then the daemon dies */
    uint32_t grants, returns, drops, requests;
    uint64_t seen; /* as the last request for a segment said */
    bool garbage;  /* replies are nonsense */
    uint64_t seed;
} fake_store;

typedef struct {
    int fd;
    bool greeted;
    fake_session *session;
    uint8_t in[IH_FRAME_MAX + 8u];
    size_t have;
} fake_client;

static fake_store *fake;
static pid_t fake_pid;
static char fake_path[108];
static ih_catalog *catalog;
static ih_board *board;

static inline void fake_make(void)
{
    fake = mmap(NULL, sizeof *fake, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(fake != MAP_FAILED);
    snprintf(fake_path, sizeof fake_path, "/tmp/ih-test-%d.socket", (int)getpid());
    unlink(fake_path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, fake_path, strlen(fake_path));
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(bind(fake->listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(fake->listener, 64) == 0);
    CHECK_OK(ih_catalog_make_file(IH_FILE_STATE, FAKE_STATE_BYTES, &fake->state, &error));
    for (unsigned i = 0; i < FAKE_FAMILIES; i++)
        CHECK_OK(ih_catalog_make_file(IH_FILE_FAMILY, 0, &fake->families[i], &error));
    for (unsigned i = 0; i < FAKE_SESSIONS; i++)
        CHECK_OK(ih_catalog_make_file(IH_FILE_PAGE, 0, &fake->pages[i], &error));
    for (unsigned i = 0; i < FAKE_SEGMENTS; i++) {
        bool ordinary = i < FAKE_ORDINARY;
        CHECK_OK(ih_catalog_make_file(ordinary ? IH_FILE_ORDINARY : IH_FILE_DEDICATED,
                                      ordinary ? FAKE_ORDINARY_BYTES : FAKE_DEDICATED_BYTES,
                                      &fake->segments[i].fd, &error));
    }
    ih_board *made = NULL;
    CHECK_OK(ih_board_create(1, 64, &made, &fake->board, &error));
    fake->board_bytes = ih_board_bytes(made);
    ih_board_destroy(made);
    fake->identity[0] = 4711;
    fake->token[0] = 42;
    fake->next_id = 1000;
    fake->next_session = 1;
}

/* ---- what the daemon does -------------------------------------------------------------------- */

static inline void fake_send(fake_client *client, const ih_frame *request, ih_result result,
                             const void *body, size_t size, const int *fds, unsigned count)
{
    static uint8_t out[IH_FRAME_MAX];
    ih_frame frame = {.bytes = (uint32_t)(sizeof frame + size),
                      .op = (uint16_t)(request->op | IH_REPLY_BIT),
                      .result = (uint16_t)result,
                      .request = request->request};
    memcpy(out, &frame, sizeof frame);
    if (size > 0)
        memcpy(out + sizeof frame, body, size);
    if (fake->die_before_reply == request->op) {
        fake->die_before_reply = 0;
        kill(getpid(), SIGKILL);
    }
    size_t bytes = frame.bytes;
    if (fake->garbage && request->op != IH_OP_HELLO) {
        for (unsigned i = 0, n = 1 + (unsigned)test_below(&fake->seed, 4); i < n; i++)
            out[test_below(&fake->seed, bytes)] = (uint8_t)test_random(&fake->seed);
        if (test_below(&fake->seed, 4) == 0)
            bytes = test_below(&fake->seed, bytes) + 1u;
    }
    struct iovec part = {.iov_base = out, .iov_len = bytes};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 4u)];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    }
    (void)sendmsg(client->fd, &message, MSG_NOSIGNAL);
    if (fake->garbage && request->op != IH_OP_HELLO)
        shutdown(client->fd, SHUT_WR);
}

static inline void fake_refuse(fake_client *client, const ih_frame *request, ih_result result,
                               uint32_t why, uint64_t version)
{
    struct {
        ih_failure failure;
        char text[16];
    } body = {.failure = {.why = why, .version = version}, .text = "the fake says no"};
    fake_send(client, request, result, &body, sizeof body, NULL, 0);
}

static inline void fake_hello(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    ih_hello hello;
    memcpy(&hello, body, sizeof hello);
    fake_session *session = NULL;
    uint64_t family = hello.family;
    int fds[4];
    unsigned count = 0;
    for (unsigned i = 0; i < FAKE_SESSIONS; i++) {
        fake_session *at = &fake->sessions[i];
        if (hello.session != 0 ? at->used && at->id == hello.session : !at->used) {
            session = at;
            session->page = fake->pages[i];
            break;
        }
    }
    CHECK(session != NULL);
    if (family == 0) {
        while (fake->family_used[family])
            family++;
        CHECK(family < FAKE_FAMILIES);
        fake->family_used[family] = true;
        family++;
        CHECK_OK(ih_catalog_add_family(catalog, family, fake->families[family - 1], 64, &error));
        session->member = ih_catalog_new_member(catalog, family);
        CHECK_OK(
            ih_catalog_lock_member(fake->families[family - 1], session->member, &fds[0], &error));
        count = 1;
    } else if (hello.session == 0) {
        session->member = hello.member;
    }
    if (hello.session == 0) {
        session->id = fake->next_session++;
        session->family = family;
        CHECK_OK(ih_catalog_add_page(catalog, session->id, session->page, &error));
        session->used = true;
        fds[count++] = session->page;
    }
    if (count == 2) {
        CHECK_OK(ih_catalog_reopen(fake->state, false, &fds[count++], &error));
        CHECK_OK(ih_catalog_reopen(fake->board, false, &fds[count++], &error));
    }
    ih_welcome welcome = {.version = IH_WIRE_VERSION,
                          .role = IH_ROLE_ADMIN,
                          .store = {fake->identity[0], fake->identity[1]},
                          .session = session->id,
                          .family = family,
                          .token = {fake->token[0], fake->token[1]},
                          .member = session->member,
                          .lease_blocks_max = 64,
                          .capacity = 64u << 20,
                          .segment_size = FAKE_ORDINARY_BYTES,
                          .state_bytes = FAKE_STATE_BYTES,
                          .page_bytes = IH_SESSION_BYTES,
                          .board = 1,
                          .board_bytes = fake->board_bytes};
    client->session = session;
    fake_send(client, request, IH_OK, &welcome, sizeof welcome, fds, count);
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] != session->page)
            close(fds[i]);
    }
}

static inline ih_segment_reply fake_describe(const fake_segment *segment)
{
    return (ih_segment_reply){.id = segment->info.id,
                              .bytes = segment->info.bytes,
                              .secret = {segment->info.secret[0], segment->info.secret[1]},
                              .state = segment->info.state,
                              .kind = segment->info.kind};
}

static inline void fake_drop_empty(void)
{
    for (uint64_t id; (id = ih_catalog_empty(catalog)) != 0;) {
        ih_catalog_drop(catalog, id);
        for (unsigned i = 0; i < FAKE_SEGMENTS; i++) {
            if (fake->segments[i].used && fake->segments[i].info.id == id)
                fake->segments[i].used = false; /* its file is not used again: pages stay */
        }
    }
}

static inline void fake_grant(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    ih_grant_request ask;
    memcpy(&ask, body, sizeof ask);
    fake->seen = ask.seen;
    bool ordinary = ask.kind == IH_ORDINARY;
    unsigned first = ordinary ? 0 : FAKE_ORDINARY, end = ordinary ? FAKE_ORDINARY : FAKE_SEGMENTS;
    fake_segment *segment = NULL;
    for (unsigned i = first; i < end && segment == NULL; i++) {
        if (fake->segments[i].info.id == 0)
            segment = &fake->segments[i];
    }
    uint64_t bytes = ordinary ? FAKE_ORDINARY_BYTES : FAKE_DEDICATED_BYTES;
    if (segment == NULL || ask.bytes > bytes - 2u * IH_PAGE) {
        fake_refuse(client, request, IH_FULL, 0, 0);
        return;
    }
    ih_segment_info info = {.id = fake->next_id++,
                            .bytes = bytes,
                            .secret = {fake->next_id * 77u, 5},
                            .session = client->session->id,
                            .kind = ask.kind,
                            .uid = (uint32_t)getuid(),
                            .evictable = (ask.flags & IH_GRANT_EVICTABLE) != 0};
    CHECK_OK(ih_catalog_take_range(catalog, info.kind, info.bytes, &info.state, &error));
    CHECK_OK(ih_catalog_add_segment(catalog, &info, segment->fd, true, &error));
    segment->info = info;
    segment->used = true;
    fake->grants++;
    ih_segment_reply reply = fake_describe(segment);
    int fd = -1;
    /* Made again, for it was sealed as 0444: the keeper's own description is the writable one. */
    CHECK((fd = fcntl(segment->fd, F_DUPFD_CLOEXEC, 0)) >= 0);
    fake_send(client, request, IH_OK, &reply, sizeof reply, &fd, 1);
    close(fd);
}

static inline void fake_map(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    ih_image_request ask;
    memcpy(&ask, body, sizeof ask);
    ih_stat found;
    bool dying = false;
    fake_segment *segment = NULL;
    for (unsigned i = 0; i < FAKE_SEGMENTS; i++) {
        if (fake->segments[i].used && fake->segments[i].info.id == ask.handle.locator >> 24)
            segment = &fake->segments[i];
    }
    ih_result result = ih_catalog_find(catalog, ask.handle, &found, &dying);
    if (segment == NULL || (result != IH_OK && !(dying && ask.force))) {
        fake_refuse(client, request, IH_GONE, IH_WHY_DELETED, 0);
        return;
    }
    ih_segment_reply reply = fake_describe(segment);
    int fd = -1;
    CHECK_OK(ih_catalog_reopen(segment->fd, false, &fd, &error));
    fake_send(client, request, IH_OK, &reply, sizeof reply, &fd, 1);
    close(fd);
}

static inline void fake_bind(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    ih_bind_request ask;
    memcpy(&ask, body, sizeof ask);
    const char *name = (const char *)body + sizeof ask;
    ih_handle now = {0};
    uint64_t version = 0;
    ih_result found = ih_board_lookup(board, name, ask.length, &now, &version);
    uint64_t bound = found == IH_OK ? version : 0;
    if (ask.expected != IH_ANY_VERSION && ask.expected != bound) {
        fake_refuse(client, request, IH_CONFLICT, 0, bound);
        return;
    }
    ih_version_reply reply = {ask.handle.locator != 0 ? version + 1u : version};
    CHECK(ih_board_set(board, name, ask.length, ask.handle, reply.version) == IH_OK);
    fake_send(client, request, IH_OK, &reply, sizeof reply, NULL, 0);
}

static inline void fake_stat(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    ih_image_request ask;
    memcpy(&ask, body, sizeof ask);
    ih_stat found;
    if (ih_catalog_find(catalog, ask.handle, &found, NULL) != IH_OK) {
        fake_refuse(client, request, IH_GONE, IH_WHY_UNKNOWN, 0);
        return;
    }
    ih_stat_reply reply = {.handle = found.handle, .size = found.size, .block = found.block};
    reply.leases = ih_catalog_lessees(catalog, ask.handle.locator, NULL, NULL, 0);
    fake_send(client, request, IH_OK, &reply, sizeof reply, NULL, 0);
}

static inline void fake_list(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    ih_list_request ask;
    memcpy(&ask, body, sizeof ask);
    static ih_stat found[3];
    struct {
        ih_list_reply head;
        ih_stat_reply items[3];
    } reply = {0};
    size_t count = ih_catalog_list(catalog, ask.cursor, found, 3);
    reply.head.count = (uint32_t)count;
    reply.head.cursor = count == 3 ? found[2].handle.locator : 0;
    for (size_t i = 0; i < count; i++)
        reply.items[i] = (ih_stat_reply){.handle = found[i].handle, .size = found[i].size};
    fake_send(client, request, IH_OK, &reply, sizeof reply.head + count * sizeof reply.items[0],
              NULL, 0);
}

static inline void fake_delete(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    ih_image_request ask;
    memcpy(&ask, body, sizeof ask);
    ih_result result = ih_catalog_condemn(catalog, ask.handle, &error);
    if (request->op == IH_OP_DROP)
        fake->drops++;
    else if (result != IH_OK)
        fake_refuse(client, request, result, IH_WHY_DELETED, 0);
    else
        fake_send(client, request, IH_OK, NULL, 0, NULL, 0);
}

static inline void fake_delete_some(fake_client *client, const ih_frame *request,
                                    const uint8_t *body)
{
    ih_delete_some_request ask;
    uint8_t results[IH_DELETE_SOME_MAX] = {0};
    memcpy(&ask, body, sizeof ask);
    CHECK(ask.count <= IH_DELETE_SOME_MAX);
    for (uint32_t i = 0; i < ask.count; i++) {
        ih_handle handle;
        memcpy(&handle, body + sizeof ask + i * sizeof handle, sizeof handle);
        results[i] = (uint8_t)ih_catalog_condemn(catalog, handle, &error);
    }
    fake_send(client, request, IH_OK, results, ask.count, NULL, 0);
}

static inline void fake_serve(fake_client *client, const ih_frame *request, const uint8_t *body)
{
    uint64_t nothing = 0;
    ih_usage usage_now = {.capacity = 64u << 20};
    ih_board_reply current = {1, fake->board_bytes};
    fake->requests++;
    switch (request->op) {
    case IH_OP_HELLO:
        fake_hello(client, request, body);
        break;
    case IH_OP_GRANT:
        fake_grant(client, request, body);
        break;
    case IH_OP_MAP:
        fake_map(client, request, body);
        break;
    case IH_OP_BIND:
        fake_bind(client, request, body);
        break;
    case IH_OP_STAT:
        fake_stat(client, request, body);
        break;
    case IH_OP_LIST:
        fake_list(client, request, body);
        break;
    case IH_OP_DROP:
    case IH_OP_DELETE:
        fake_delete(client, request, body);
        break;
    case IH_OP_DELETE_SOME:
        fake_delete_some(client, request, body);
        break;
    case IH_OP_PUBLISH:
        fake_send(client, request, IH_OK, &nothing, 8, NULL, 0);
        break;
    case IH_OP_USAGE:
        fake_send(client, request, IH_OK, &usage_now, sizeof usage_now, NULL, 0);
        break;
    case IH_OP_EXPLAIN:
        fake_send(client, request, IH_OK, "because", 7, NULL, 0);
        break;
    case IH_OP_BOARD:
        fake_send(client, request, IH_OK, &current, sizeof current, &fake->board, 1);
        break;
    case IH_OP_RETURN:
        fake->returns++; /* fall through */
    default:
        fake_send(client, request, IH_OK, NULL, 0, NULL, 0);
    }
}

static inline void fake_close(fake_client *client)
{
    close(client->fd);
    *client = (fake_client){.fd = -1};
}

static inline void fake_read(fake_client *client)
{
    ssize_t got =
        recv(client->fd, client->in + client->have, sizeof client->in - client->have, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        fake_close(client);
    if (got <= 0)
        return;
    client->have += (size_t)got;
    if (!client->greeted && client->have >= 8) {
        CHECK(memcmp(client->in, IH_WIRE_BINARY, 8) == 0);
        client->greeted = true;
        client->have -= 8;
        memmove(client->in, client->in + 8, client->have);
    }
    ih_frame frame;
    while (client->fd >= 0 && client->greeted && client->have >= sizeof frame) {
        memcpy(&frame, client->in, sizeof frame);
        if (client->have < frame.bytes)
            break;
        fake_serve(client, &frame, client->in + sizeof frame);
        client->have -= frame.bytes;
        memmove(client->in, client->in + frame.bytes, client->have);
    }
}

static inline void fake_restore(void)
{
    CHECK_OK(ih_catalog_create(fake->state, FAKE_STATE_BYTES, &catalog, &error));
    CHECK_OK(ih_board_attach(fake->board, fake->board_bytes, true, &board, &error));
    for (unsigned i = 0; i < FAKE_FAMILIES; i++) {
        if (fake->family_used[i])
            CHECK_OK(ih_catalog_add_family(catalog, i + 1u, fake->families[i], 64, &error));
    }
    for (unsigned i = 0; i < FAKE_SESSIONS; i++) {
        if (fake->sessions[i].used)
            CHECK_OK(ih_catalog_add_page(catalog, fake->sessions[i].id, fake->pages[i], &error));
    }
    for (unsigned i = 0; i < FAKE_SEGMENTS; i++) {
        fake_segment *at = &fake->segments[i];
        if (!at->used)
            continue;
        CHECK_OK(ih_catalog_keep_range(catalog, at->info.kind, at->info.bytes, at->info.state));
        CHECK_OK(ih_catalog_add_segment(catalog, &at->info, at->fd, false, &error));
    }
    CHECK_OK(ih_catalog_recover(catalog, &error));
}

__attribute__((noreturn)) static inline void fake_run(void)
{
    static fake_client clients[FAKE_CLIENTS];
    for (unsigned i = 0; i < FAKE_CLIENTS; i++)
        clients[i].fd = -1;
    fake_restore();
    for (;;) {
        struct pollfd ask[FAKE_CLIENTS + 1];
        for (unsigned i = 0; i < FAKE_CLIENTS; i++)
            ask[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
        ask[FAKE_CLIENTS] = (struct pollfd){.fd = fake->listener, .events = POLLIN};
        (void)poll(ask, FAKE_CLIENTS + 1, 2);
        for (unsigned i = 0; i < FAKE_CLIENTS; i++) {
            if (ask[i].fd >= 0 && ask[i].revents != 0)
                fake_read(&clients[i]);
        }
        int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
        for (unsigned i = 0; fd >= 0 && i < FAKE_CLIENTS; i++) {
            if (clients[i].fd < 0) {
                clients[i] = (fake_client){.fd = fd};
                fd = -1;
            }
        }
        CHECK(fd < 0);
        ih_handle freed[64];
        size_t count = 0;
        CHECK_OK(ih_catalog_reclaim(catalog, true, freed, 64, &count));
        fake_drop_empty();
    }
}

static inline void fake_start(void)
{
    fake_pid = fork();
    CHECK(fake_pid >= 0);
    if (fake_pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        fake_run();
    }
}

static inline void fake_kill(void) { bury(fake_pid); }

static inline void fake_end(void)
{
    fake_kill();
    for (int *fd = &fake->listener; fd < fake->pages + FAKE_SESSIONS; fd++)
        close(*fd);
    for (unsigned i = 0; i < FAKE_SEGMENTS; i++)
        close(fake->segments[i].fd);
    unlink(fake_path);
    munmap(fake, sizeof *fake);
}

#endif
