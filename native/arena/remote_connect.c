/* The connection to the daemon: frames, hello, connecting again.
 *
 * It breaks when the daemon dies; the keeper's socket stays, so connecting again soon finds the
 * next daemon, which resumes the session by its token and knows what this process has mapped.
 * Leases need no connection: they stand in the family's table, under a lock that the kernel drops
 * with this process (H9).
 */
#include "remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define PATIENCE (30u * SECOND)     /* for a reply */
#define PATIENCE_DOWN (5u * SECOND) /* the same, after somebody waited in vain */
#define RECONNECT (10u * SECOND)
#define RECONNECT_ABSENT (2u * SECOND)
/* As long as it takes to wake a processor that sleeps: who sleeps at once loses that time each
 * time, who first looks for so long never takes more than twice the shorter way. */
#define SPIN_NS 50000u
/* Exponents: how often looking is left undone at most. */
#define SPIN_VAIN_MAX 6u
#define SPIN_TAKEN_MAX 10u
#define PAUSE_FIRST (SECOND / 1000u)
#define PAUSE_MAX (SECOND / 4u)

/* ---- failures -------------------------------------------------------------------------------- */

ih_result ih_remote_unavailable(const ih_remote *remote, ih_error *error, int code,
                                const char *what)
{
    ih_fail(error, IH_UNAVAILABLE, code, what);
    if (error != NULL)
        memcpy(error->detail, remote->socket, sizeof remote->socket);
    return IH_UNAVAILABLE;
}

static ih_result protocol(ih_error *error, const char *what)
{
    return ih_fail(error, IH_PROTOCOL, 0, what);
}

/* The body of a reply that says no. */
ih_result ih_remote_refused(const ih_request *request, uint16_t result, const uint8_t *body,
                            size_t size, ih_error *error)
{
    ih_failure failure;
    if (result > IH_AGAIN || size < sizeof failure)
        return protocol(error, "read a reply of the daemon that says no");
    memcpy(&failure, body, sizeof failure);
    ih_fail(error, (ih_result)result, failure.system_errno, request->what);
    if (error == NULL)
        return (ih_result)result;
    error->wanted = failure.wanted;
    error->capacity = failure.capacity;
    error->used = failure.used;
    error->committed = failure.committed;
    error->largest_free = failure.largest_free;
    error->limit = failure.limit;
    error->version = failure.version;
    error->waiting = failure.waiting;
    error->waiting_pid = failure.waiting_pid;
    error->why = failure.why;
    size_t length = size - sizeof failure;
    length = length < sizeof error->detail - 1u ? length : sizeof error->detail - 1u;
    memcpy(error->detail, body + sizeof failure, length);
    /* A character that was cut in two is left out whole. */
    while (length > 0 && length == sizeof error->detail - 1u &&
           ((uint8_t)error->detail[length - 1u] & 0xc0u) == 0x80u)
        length--;
    if (length > 0 && length < size - sizeof failure &&
        ((uint8_t)error->detail[length - 1u] & 0x80u) != 0)
        length--;
    error->detail[length] = '\0';
    return (ih_result)result;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

void ih_arrival_end(ih_store *store, ih_arrival *arrival)
{
    ih_lock(store->process);
    for (ih_arrival **link = &store->remote->arrivals; *link != NULL; link = &(*link)->next) {
        if (*link == arrival) {
            *link = arrival->next;
            break;
        }
    }
    for (unsigned i = 0; i < arrival->count; i++)
        ih_os_close(arrival->fds[i]);
    arrival->count = 0;
    ih_unlock(store->process);
}

void ih_arrival_begin(ih_store *store, ih_arrival *arrival)
{
    *arrival = (ih_arrival){0};
    ih_lock(store->process);
    arrival->next = store->remote->arrivals;
    store->remote->arrivals = arrival;
    pthread_mutex_unlock(&store->process->lock);
}

/* Under the lock. */
void ih_remote_forget_socket(ih_remote *remote)
{
    if (ih_os_is_same(remote->fd, &remote->file))
        ih_os_close(remote->fd);
    remote->fd = -1;
}

void ih_remote_disconnect(ih_store *store)
{
    ih_lock(store->process);
    ih_remote_forget_socket(store->remote);
    pthread_mutex_unlock(&store->process->lock);
}

bool ih_remote_is_connected(const ih_remote *remote)
{
    return ih_os_is_same(remote->fd, &remote->file);
}

/* ---- one frame there and one back ------------------------------------------------------------ */

/* Most replies come sooner than a sleeping processor wakes, so we look for one for a moment before
 * we sleep. Where that was in vain several times in a row (the daemon is busy, or stopped) it is
 * left undone ever longer; the more so where others took the processor when it was offered to them:
 * then none sleeps, and who waits in poll() is the first to have one. */
static int await(ih_remote *remote, uint64_t until)
{
    if (remote->spin_rest > 0) {
        remote->spin_rest--;
    } else if (remote->spins) {
        int code = ih_os_spin_readable(remote->fd, SPIN_NS);
        uint32_t most = code == EBUSY ? SPIN_TAKEN_MAX : SPIN_VAIN_MAX;
        if (code == 0)
            remote->spin_misses = 0;
        else if (remote->spin_misses < most)
            remote->spin_misses++;
        remote->spin_rest = (1u << remote->spin_misses) - 1u;
        if (code == 0)
            return 0;
    }
    return ih_os_readable(remote->fd, until);
}

/* 0, or why the connection is of no use any more; EPROTO: it sent nonsense. The reply is in the
 * buffer. Descriptors are received under the process's lock, or a child forked in between would
 * inherit them unnoticed; nothing waits there. */
static int receive(ih_store *store, uint16_t op, uint64_t until, ih_arrival *arrival, size_t *size)
{
    ih_remote *remote = store->remote;
    size_t have = 0, wanted = sizeof(ih_frame);
    ih_frame frame = {0};
    while (have < wanted) {
        int code = await(remote, until);
        if (code != 0)
            return code;
        size_t got = 0;
        pthread_mutex_lock(&store->process->lock);
        code = ih_remote_is_connected(remote)
                   ? ih_os_receive(remote->fd, remote->buffer + have, IH_FRAME_MAX - have, &got,
                                   arrival->fds, &arrival->count)
                   : EBADF;
        pthread_mutex_unlock(&store->process->lock);
        if (code == EAGAIN)
            continue;
        if (code != 0)
            return code;
        have += got;
        if (have < sizeof frame || wanted > sizeof frame)
            continue;
        memcpy(&frame, remote->buffer, sizeof frame);
        if (frame.bytes < sizeof frame || frame.bytes > IH_FRAME_MAX ||
            frame.op != (op | IH_REPLY_BIT) || frame.request != remote->request)
            return EPROTO;
        wanted = frame.bytes;
    }
    *size = have;
    return have == wanted ? 0 : EPROTO;
}

int ih_remote_exchange(ih_store *store, const ih_request *request, ih_arrival *arrival,
                       size_t *size)
{
    ih_remote *remote = store->remote;
    bool first = request->op == IH_OP_HELLO;
    uint8_t *at = remote->buffer;
    if (first) {
        memcpy(at, IH_WIRE_BINARY, 8);
        at += 8;
    }
    ih_frame frame = {.op = request->op, .request = ++remote->request};
    size_t bytes = sizeof frame;
    for (unsigned i = 0; i < 3; i++) {
        if (request->part[i].size > 0)
            memcpy(at + bytes, request->part[i].bytes, request->part[i].size);
        bytes += request->part[i].size;
    }
    frame.bytes = (uint32_t)bytes;
    memcpy(at, &frame, sizeof frame);
    uint64_t patience = request->patience_ns != 0 ? request->patience_ns : PATIENCE;
    uint64_t until = ih_os_exact_ns() + patience;
    int code = ih_os_send(remote->fd, remote->buffer, bytes + (first ? 8u : 0u), until);
    /* A daemon that refuses at once may have closed its side before it read: its reply says why. */
    if (code != 0 && !(first && (code == EPIPE || code == ECONNRESET)))
        return code;
    return receive(store, request->op, until, arrival, size);
}

/* ---- hello ----------------------------------------------------------------------------------- */

static bool has_seals(int fd, unsigned wanted)
{
    unsigned seals = 0;
    return ih_os_file_seals(fd, &seals) == 0 && (seals & wanted) == wanted;
}

static bool has_size(int fd, uint64_t bytes)
{
    uint64_t found = 0;
    return ih_os_file_size(fd, &found) == 0 && found == bytes;
}

static ih_result map_page(const ih_welcome *welcome, int fd, ih_session_page **out, ih_error *error)
{
    uint8_t *page = NULL;
    if (welcome->page_bytes != IH_SESSION_BYTES || !has_size(fd, IH_SESSION_BYTES) ||
        !has_seals(fd, IH_OS_SEAL_SHRINK))
        return protocol(error, "take the page of a session");
    int code = ih_os_map(fd, IH_SESSION_BYTES, true, &page);
    if (code != 0)
        return ih_fail(error, code == ENOMEM ? IH_MEMORY : IH_SYSTEM, code,
                       "map the page of a session");
    if (((ih_session_page *)(void *)page)->magic != IH_PAGE_MAGIC) {
        ih_os_unmap(page, IH_SESSION_BYTES);
        return protocol(error, "take the page of a session");
    }
    *out = (ih_session_page *)(void *)page;
    return IH_OK;
}

/* What a first hello brings, but for the page: all of it or nothing. */
static ih_result take_all(ih_store *store, const ih_welcome *welcome, ih_arrival *arrival,
                          ih_error *error)
{
    ih_remote *remote = store->remote;
    uint64_t size = welcome->segment_size;
    if (welcome->member == 0 || welcome->family == 0 || welcome->state_bytes < IH_PAGE ||
        size < (UINT64_C(64) << 10) || size > (UINT64_C(1) << 30) || (size & (size - 1u)) != 0 ||
        !has_size(arrival->fds[2], welcome->state_bytes) ||
        !has_seals(arrival->fds[2], IH_OS_SEAL_SHRINK) ||
        !has_size(arrival->fds[3], welcome->board_bytes) ||
        !has_seals(arrival->fds[3], IH_OS_SEAL_SHRINK))
        return protocol(error, "take what the daemon shares");
    uint8_t *state = NULL;
    ih_board *board = NULL;
    ih_family *family = NULL;
    int code = ih_os_map(arrival->fds[2], welcome->state_bytes, false, &state);
    ih_result result = code == 0 ? IH_OK
                                 : ih_fail(error, code == ENOMEM ? IH_MEMORY : IH_SYSTEM, code,
                                           "map the state of a store");
    if (result == IH_OK)
        result = ih_board_attach(arrival->fds[3], welcome->board_bytes, false, &board, error);
    ih_lock(store->process);
    if (result == IH_OK)
        result = ih_family_attach(arrival->fds[0], welcome->member, welcome->lease_blocks_max,
                                  &family, error);
    if (result == IH_OK) {
        arrival->fds[0] = -1;
        family->stores = 1;
        family->next = store->process->families;
        store->process->families = family;
        store->family = family;
        remote->state = state;
        remote->state_bytes = welcome->state_bytes;
        __atomic_store_n(&remote->board, board, __ATOMIC_RELEASE);
        memcpy(remote->identity, welcome->store, sizeof remote->identity);
        store->capacity = welcome->capacity;
        store->segment_size = size;
    }
    ih_unlock(store->process);
    if (result != IH_OK) {
        ih_os_unmap(state, welcome->state_bytes);
        if (board != NULL)
            ih_board_destroy(board);
    }
    return result;
}

static ih_result welcomed(ih_store *store, const ih_hello *hello, const ih_welcome *welcome,
                          ih_arrival *arrival, ih_error *error)
{
    ih_remote *remote = store->remote;
    unsigned wanted = hello->family == 0 ? 4u : hello->session == 0 ? 1u : 0u;
    if (hello->family != 0 && memcmp(remote->identity, welcome->store, 16) != 0) {
        ih_lock(store->process);
        remote->lost = true;
        ih_unlock(store->process);
        return ih_remote_unavailable(remote, error, 0,
                                     "reach the store: its daemon has another one by now");
    }
    if (welcome->version != IH_WIRE_VERSION || arrival->count != wanted || welcome->session == 0 ||
        welcome->role < IH_ROLE_READER || welcome->role > IH_ROLE_ADMIN ||
        (hello->session != 0 && welcome->session != hello->session))
        return protocol(error, "be welcomed by the daemon");
    ih_session_page *page = NULL;
    ih_result result = IH_OK;
    if (wanted > 0)
        result = map_page(welcome, arrival->fds[wanted == 4u ? 1 : 0], &page, error);
    if (result == IH_OK && wanted == 4u)
        result = take_all(store, welcome, arrival, error);
    if (result != IH_OK) {
        ih_os_unmap(page, IH_SESSION_BYTES);
        return result;
    }
    ih_lock(store->process);
    remote->session = welcome->session;
    remote->family_id = welcome->family;
    remote->role = welcome->role;
    memcpy(remote->token, welcome->token, sizeof remote->token);
    if (page != NULL) {
        remote->page = page;
        remote->tail = __atomic_load_n(&page->tail, __ATOMIC_RELAXED);
    }
    ih_unlock(store->process);
    return IH_OK;
}

static ih_result say_hello(ih_store *store, ih_error *error)
{
    ih_remote *remote = store->remote;
    ih_hello hello = {.version = IH_WIRE_VERSION,
                      .pid = ih_os_pid(),
                      .session = remote->session,
                      .family = remote->family_id,
                      .token = {remote->token[0], remote->token[1]},
                      .member = store->family != NULL ? store->family->member : 0};
    ih_welcome welcome;
    ih_request request = {.op = IH_OP_HELLO,
                          .what = "connect to the daemon",
                          .patience_ns = remote->down ? PATIENCE_DOWN : 0,
                          .part = {{&hello, sizeof hello}}};
    ih_arrival arrival;
    ih_arrival_begin(store, &arrival);
    size_t size = 0;
    int code = ih_remote_exchange(store, &request, &arrival, &size);
    ih_result result = IH_OK;
    ih_frame frame;
    memcpy(&frame, remote->buffer, sizeof frame);
    const uint8_t *body = remote->buffer + sizeof frame;
    if (code == EPROTO)
        result = protocol(error, "connect to the daemon: it does not speak our protocol");
    else if (code != 0)
        result = ih_remote_unavailable(remote, error, code, "connect to the daemon");
    else if (frame.result != IH_OK)
        result = ih_remote_refused(&request, frame.result, body, size - sizeof frame, error);
    else if (size != sizeof frame + sizeof welcome)
        result = protocol(error, "be welcomed by the daemon");
    /* It answers, and does not know the session or family: it is another store's. */
    if (result == IH_UNAVAILABLE && code == 0 && hello.family != 0) {
        ih_lock(store->process);
        remote->lost = true;
        ih_unlock(store->process);
        if (error != NULL)
            error->system_errno = ESTALE;
    }
    if (result == IH_OK) {
        memcpy(&welcome, body, sizeof welcome);
        result = welcomed(store, &hello, &welcome, &arrival, error);
    }
    ih_arrival_end(store, &arrival);
    return result;
}

/* ---- connecting ------------------------------------------------------------------------------ */

ih_result ih_remote_connect_once(ih_store *store, ih_error *error)
{
    ih_remote *remote = store->remote;
    int fd = -1;
    ih_lock(store->process);
    int code = store->closed && store->family != NULL ? ESHUTDOWN : ih_os_socket(&fd);
    if (code == 0) {
        remote->fd = fd;
        (void)ih_os_identity(fd, &remote->file);
    }
    pthread_mutex_unlock(&store->process->lock);
    if (code == 0)
        code = ih_os_connect(fd, remote->socket);
    remote->reached = code == 0;
    remote->spins = ih_os_cpus() > 1;
    ih_result result = code == 0
                           ? say_hello(store, error)
                           : ih_remote_unavailable(remote, error, code, "connect to the daemon");
    if (result != IH_OK)
        ih_remote_disconnect(store);
    return result;
}

/* A first connection: where nobody listens it fails at once. A daemon that dies before it has
 * welcomed us leaves a socket behind that its keeper listens on, so the next one will. */
ih_result ih_remote_connect_first(ih_store *store, ih_error *error)
{
    uint64_t until = ih_os_exact_ns() + RECONNECT, pause = PAUSE_FIRST;
    for (bool reached = false;; reached = true) {
        ih_result result = ih_remote_connect_once(store, error);
        if (result != IH_UNAVAILABLE)
            return result;
        if (!store->remote->reached) /* ECONNABORTED: somebody listened, and went meanwhile */
            return reached ? ih_remote_unavailable(store->remote, error, ECONNABORTED,
                                                   "connect to the daemon")
                           : result;
        if (ih_os_exact_ns() > until)
            return result;
        ih_os_pause(pause);
        pause = pause * 2u < PAUSE_MAX ? pause * 2u : PAUSE_MAX;
    }
}

/* What makes reconnecting useless. */
static ih_result is_hopeless(ih_store *store, ih_error *error)
{
    ih_remote *remote = store->remote;
    ih_lock(store->process);
    ih_family *family = store->family;
    bool closed = store->closed && family != NULL, blind = family != NULL && family->blind;
    /* The kernel dropped our lock with the descriptor: the daemon takes us for dead. */
    if (family != NULL && !remote->lost && !ih_os_is_same(family->fd, &family->file))
        remote->lost = true;
    bool lost = remote->lost;
    ih_unlock(store->process);
    if (closed)
        return ih_fail(error, IH_CLOSED, 0, "use a closed store");
    if (blind)
        return ih_fail(error, IH_SYSTEM, EAGAIN,
                       "use a store in a child whose lease table could not be prepared");
    if (lost)
        return ih_remote_unavailable(remote, error, ESTALE, "reach the store");
    return IH_OK;
}

/* Under `call`. A connection that stands, perhaps made anew. A daemon that died leaves a socket on
 * which its keeper listens; where nobody does, the keeper went too, and the wait is shorter. */
ih_result ih_remote_ensure(ih_store *store, bool hasty, ih_error *error)
{
    ih_remote *remote = store->remote;
    ih_result result = is_hopeless(store, error);
    if (result != IH_OK || ih_remote_is_connected(remote))
        return result;
    bool wait = store->family != NULL && !remote->down && !hasty;
    uint64_t begin = ih_os_exact_ns(), pause = PAUSE_FIRST;
    for (;;) {
        result = ih_remote_connect_once(store, error);
        if (result == IH_OK || result != IH_UNAVAILABLE || remote->lost)
            break;
        if (is_hopeless(store, NULL) != IH_OK || !wait ||
            ih_os_exact_ns() - begin > (remote->reached ? RECONNECT : RECONNECT_ABSENT))
            break;
        ih_os_pause(pause);
        pause = pause * 2u < PAUSE_MAX ? pause * 2u : PAUSE_MAX;
    }
    remote->down = result == IH_UNAVAILABLE && (wait || remote->down);
    return result;
}
