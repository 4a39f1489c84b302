/* Talking to the daemon: connecting, hello, one request at a time, what is told without a reply.
 *
 * A connection is needed only for what this process cannot do by itself. It breaks when the daemon
 * dies; the keeper's socket stays, so connecting again soon finds the next daemon, which resumes
 * the session by its token and knows what this process has mapped. Leases need no connection: they
 * stand in the family's table, under a lock that the kernel drops with this process (H9).
 */
#include "remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define PATIENCE (30u * SECOND) /* for a reply */
#define RECONNECT (10u * SECOND)
#define PAUSE_FIRST (SECOND / 1000u)
#define PAUSE_MAX (SECOND / 4u)
#define TRIES 8u
#define DROPS_EACH 64u

/* How a thread feels about waiting is nobody else's business and lasts from one call to the next:
 * the one variable of this layer. That it exists once in each of two modules does no harm. */
static _Thread_local bool impatient;

void ih_set_patience(bool patient) { impatient = !patient; }

bool ih_is_impatient(void) { return impatient; }

/* ---- failures -------------------------------------------------------------------------------- */

static ih_result unavailable(const ih_remote *remote, ih_error *error, int code, const char *what)
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
static ih_result refused(const ih_request *request, uint16_t result, const uint8_t *body,
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

static void begin_arrival(ih_store *store, ih_arrival *arrival)
{
    *arrival = (ih_arrival){0};
    ih_lock(store->process);
    arrival->next = store->remote->arrivals;
    store->remote->arrivals = arrival;
    pthread_mutex_unlock(&store->process->lock);
}

/* Under the lock. */
static void forget_socket(ih_remote *remote)
{
    if (ih_os_is_same(remote->fd, &remote->file))
        ih_os_close(remote->fd);
    remote->fd = -1;
}

static void disconnect(ih_store *store)
{
    ih_lock(store->process);
    forget_socket(store->remote);
    pthread_mutex_unlock(&store->process->lock);
}

static bool is_connected(const ih_remote *remote)
{
    return ih_os_is_same(remote->fd, &remote->file);
}

/* ---- one frame there and one back ------------------------------------------------------------ */

/* 0, or why the connection is of no use any more; EPROTO: it sent nonsense. The reply is in the
 * buffer. Descriptors are received under the process's lock, or a child forked in between would
 * inherit them unnoticed; nothing waits there. */
static int receive(ih_store *store, uint16_t op, uint64_t until, ih_arrival *arrival, size_t *size)
{
    ih_remote *remote = store->remote;
    size_t have = 0, wanted = sizeof(ih_frame);
    ih_frame frame = {0};
    while (have < wanted) {
        int code = ih_os_readable(remote->fd, until);
        if (code != 0)
            return code;
        size_t got = 0;
        pthread_mutex_lock(&store->process->lock);
        code = is_connected(remote)
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

static int exchange(ih_store *store, const ih_request *request, ih_arrival *arrival, size_t *size)
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
    *out = (ih_session_page *)(void *)page;
    if ((*out)->magic == IH_PAGE_MAGIC)
        return IH_OK;
    ih_os_unmap(page, IH_SESSION_BYTES);
    return protocol(error, "take the page of a session");
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
    ih_result result =
        code == 0 ? IH_OK : ih_fail(error, IH_SYSTEM, code, "map the state of a store");
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
        return unavailable(remote, error, 0, "reach the store: its daemon has another one by now");
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
    ih_request request = {
        .op = IH_OP_HELLO, .what = "connect to the daemon", .part = {{&hello, sizeof hello}}};
    ih_arrival arrival;
    begin_arrival(store, &arrival);
    size_t size = 0;
    int code = exchange(store, &request, &arrival, &size);
    ih_result result = IH_OK;
    ih_frame frame;
    memcpy(&frame, remote->buffer, sizeof frame);
    const uint8_t *body = remote->buffer + sizeof frame;
    if (code == EPROTO)
        result = protocol(error, "connect to the daemon: it does not speak our protocol");
    else if (code != 0)
        result = unavailable(remote, error, code, "connect to the daemon");
    else if (frame.result != IH_OK)
        result = refused(&request, frame.result, body, size - sizeof frame, error);
    else if (size != sizeof frame + sizeof welcome)
        result = protocol(error, "be welcomed by the daemon");
    /* It answers, and does not know the session or family: it is another store's. */
    if (result == IH_UNAVAILABLE && code == 0 && hello.family != 0) {
        ih_lock(store->process);
        remote->lost = true;
        ih_unlock(store->process);
    }
    if (result == IH_OK) {
        memcpy(&welcome, body, sizeof welcome);
        result = welcomed(store, &hello, &welcome, &arrival, error);
    }
    ih_arrival_end(store, &arrival);
    return result;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static ih_result connect_once(ih_store *store, ih_error *error)
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
    ih_result result = code == 0 ? say_hello(store, error)
                                 : unavailable(remote, error, code, "connect to the daemon");
    if (result != IH_OK)
        disconnect(store);
    return result;
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
        return unavailable(remote, error, 0,
                           "reach the store: its daemon has another one by now, or the descriptor "
                           "of our leases was closed");
    return IH_OK;
}

/* Under `call`. A connection that stands, perhaps made anew. */
static ih_result ensure(ih_store *store, ih_error *error)
{
    ih_remote *remote = store->remote;
    ih_result result = is_hopeless(store, error);
    if (result != IH_OK || is_connected(remote))
        return result;
    bool wait = store->family != NULL && !remote->down;
    uint64_t until = ih_os_exact_ns() + RECONNECT, pause = PAUSE_FIRST;
    for (;;) {
        result = connect_once(store, error);
        if (result == IH_OK || result != IH_UNAVAILABLE || remote->lost)
            break;
        if (is_hopeless(store, NULL) != IH_OK || !wait || ih_os_exact_ns() > until)
            break;
        ih_os_pause(pause);
        pause = pause * 2u < PAUSE_MAX ? pause * 2u : PAUSE_MAX;
    }
    remote->down = result == IH_UNAVAILABLE;
    return result;
}

/* ---- what is told without a reply ------------------------------------------------------------ */

/* Without memory for the note the image just stays until this process ends. */
static void note_drop(ih_remote *remote, ih_handle handle)
{
    if (remote->drop_count == remote->drop_room) {
        size_t room = remote->drop_room == 0 ? 64 : remote->drop_room * 2;
        ih_handle *moved = realloc(remote->drops, room * sizeof *moved);
        if (moved == NULL)
            return;
        remote->drops = moved;
        remote->drop_room = room;
    }
    remote->drops[remote->drop_count++] = handle;
}

void ih_remote_drop_image(ih_store *store, ih_handle handle)
{
    if (store->remote->session == 0 || store->remote->lost)
        return;
    note_drop(store->remote, handle);
    if (store->process->flush == NULL) {
        store->process->flush = store;
        store->references++;
    }
}

void ih_remote_return(ih_store *store, uint64_t id)
{
    ih_remote *remote = store->remote;
    if (remote->return_count == remote->return_room) {
        size_t room = remote->return_room == 0 ? 16 : remote->return_room * 2;
        uint64_t *moved = realloc(remote->returns, room * sizeof *moved);
        if (moved == NULL)
            return;
        remote->returns = moved;
        remote->return_room = room;
    }
    remote->returns[remote->return_count++] = id;
}

/* Under `call`. Gives up where the daemon does not take more at once. */
static void send_drops(ih_store *store)
{
    ih_remote *remote = store->remote;
    struct {
        ih_frame frame;
        ih_image_request body;
    } out[DROPS_EACH];
    while (is_connected(remote)) {
        ih_lock(store->process);
        size_t count = remote->drop_count < DROPS_EACH ? remote->drop_count : DROPS_EACH;
        remote->drop_count -= count;
        memset(out, 0, sizeof out);
        for (size_t i = 0; i < count; i++) {
            out[i].frame = (ih_frame){.bytes = sizeof out[i], .op = IH_OP_DROP};
            out[i].body.handle = remote->drops[remote->drop_count + i];
        }
        pthread_mutex_unlock(&store->process->lock);
        if (count == 0)
            return;
        int code = ih_os_send(remote->fd, out, count * sizeof out[0], 0);
        if (code == 0)
            continue;
        ih_lock(store->process);
        for (size_t i = 0; i < count; i++)
            note_drop(remote, out[i].body.handle);
        pthread_mutex_unlock(&store->process->lock);
        if (code != EAGAIN)
            disconnect(store);
        return;
    }
}

static bool has_drops(ih_store *store)
{
    ih_lock(store->process);
    bool any = store->remote->drop_count > 0 && store->remote->fd >= 0;
    pthread_mutex_unlock(&store->process->lock);
    return any;
}

/* Whoever holds `call` looks again after giving it up, so nothing is left behind by who could not
 * get it; but only once, for what the daemon does not take now it takes with the next request. */
void ih_remote_flush(ih_store *store)
{
    for (unsigned i = 0; i < 2 && has_drops(store); i++) {
        if (pthread_mutex_trylock(&store->remote->call) != 0)
            return;
        send_drops(store);
        pthread_mutex_unlock(&store->remote->call);
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static ih_result read_reply(ih_request *request, const uint8_t *buffer, size_t size,
                            ih_error *error)
{
    ih_frame frame;
    memcpy(&frame, buffer, sizeof frame);
    const uint8_t *body = buffer + sizeof frame;
    size -= sizeof frame;
    if (frame.result != IH_OK)
        return refused(request, frame.result, body, size, error);
    if (size < request->least || size > request->room)
        return protocol(error, "read a reply of the daemon: its length is wrong");
    if (size > 0)
        memcpy(request->reply, body, size);
    request->got = size;
    return IH_OK;
}

/* Under `call`. */
static ih_result ask(ih_store *store, ih_request *request, ih_error *error)
{
    ih_remote *remote = store->remote;
    for (unsigned i = 0;; i++) {
        ih_result result = ensure(store, error);
        if (result != IH_OK)
            return result;
        send_drops(store);
        if (!is_connected(remote) && i < TRIES)
            continue;
        ih_arrival arrival;
        begin_arrival(store, &arrival);
        size_t size = 0;
        int code = exchange(store, request, &arrival, &size);
        if (code == 0)
            result = read_reply(request, remote->buffer, size, error);
        if (code == 0 && result == IH_OK && request->arrival != NULL) {
            /* They change hands under the lock, so that a child always finds them noted once. */
            ih_lock(store->process);
            request->arrival->count = arrival.count;
            memcpy(request->arrival->fds, arrival.fds, sizeof arrival.fds);
            arrival.count = 0;
            ih_unlock(store->process);
        }
        ih_arrival_end(store, &arrival);
        if (code == EPROTO || result == IH_PROTOCOL) {
            disconnect(store);
            return code == EPROTO ? protocol(error, "read a reply of the daemon") : result;
        }
        if (code == 0)
            return result;
        disconnect(store); /* a late reply must not be taken for that to another request */
        if (code == ETIMEDOUT || i >= TRIES)
            return unavailable(remote, error, code, request->what);
        request->retried = true;
    }
}

/* Under `call`: segments that are not needed go back. */
static void send_returns(ih_store *store, uint64_t patience_ns)
{
    ih_remote *remote = store->remote;
    for (;;) {
        ih_return_request body = {0};
        ih_lock(store->process);
        if (remote->return_count > 0)
            body.segment = remote->returns[--remote->return_count];
        pthread_mutex_unlock(&store->process->lock);
        ih_request request = {.op = IH_OP_RETURN,
                              .what = "give a segment back",
                              .patience_ns = patience_ns,
                              .part = {{&body, sizeof body}}};
        if (body.segment == 0 || ask(store, &request, NULL) == IH_UNAVAILABLE)
            return;
    }
}

static bool has_returns(ih_store *store)
{
    ih_lock(store->process);
    bool any = store->remote->return_count > 0;
    pthread_mutex_unlock(&store->process->lock);
    return any;
}

void ih_remote_settle(ih_store *store)
{
    if (impatient || !has_returns(store) || pthread_mutex_trylock(&store->remote->call) != 0)
        return;
    send_returns(store, SECOND);
    pthread_mutex_unlock(&store->remote->call);
}

ih_result ih_remote_call(ih_store *store, ih_request *request, ih_error *error)
{
    ih_remote *remote = store->remote;
    if (request->arrival != NULL)
        begin_arrival(store, request->arrival);
    if (impatient)
        return ih_fail(error, IH_AGAIN, 0, request->what);
    pthread_mutex_lock(&remote->call);
    if (has_returns(store))
        send_returns(store, 0);
    ih_result result = ask(store, request, error);
    ih_lock(store->process);
    if (store->closed)
        forget_socket(remote);
    ih_unlock(store->process);
    pthread_mutex_unlock(&remote->call);
    ih_remote_flush(store);
    return result;
}

ih_result ih_remote_ready(ih_store *store, const char *what, ih_error *error)
{
    ih_lock(store->process);
    bool closed = store->closed;
    ih_unlock(store->process);
    return closed ? ih_fail(error, IH_CLOSED, 0, what) : IH_OK;
}

/* ---- the store ------------------------------------------------------------------------------- */

static ih_store *create(ih_process *process, const char *socket, ih_error *error)
{
    ih_store *store = calloc(1, sizeof *store);
    ih_remote *remote = calloc(1, sizeof *remote);
    uint8_t *buffer = malloc(IH_FRAME_MAX + 8u);
    if (store == NULL || remote == NULL || buffer == NULL ||
        pthread_mutex_init(&remote->call, NULL) != 0) {
        free(store);
        free(remote);
        free(buffer);
        ih_fail(error, IH_MEMORY, ENOMEM, "connect to the daemon");
        return NULL;
    }
    memset(buffer, 0, IH_FRAME_MAX + 8u);
    memcpy(remote->socket, socket, strlen(socket));
    remote->fd = -1;
    remote->buffer = buffer;
    store->process = process;
    store->remote = remote;
    store->references = store->connections = 1;
    store->closed = true; /* until it is connected */
    ih_lock(process);
    store->next = process->stores;
    process->stores = store;
    ih_unlock(process);
    return store;
}

/* The store of that socket with one more reference, or NULL. */
static ih_store *find_open(ih_process *process, const char *socket)
{
    ih_lock(process);
    ih_store *store = process->stores;
    while (store != NULL && (store->remote == NULL || store->closed || store->remote->lost ||
                             strcmp(store->remote->socket, socket) != 0))
        store = store->next;
    if (store != NULL) {
        store->references++;
        store->connections++;
    }
    ih_unlock(process);
    return store;
}

static ih_result greet(ih_store *store, ih_error *error)
{
    ih_request request = {.op = IH_OP_PING, .what = "connect to the daemon"};
    return ih_remote_call(store, &request, error);
}

ih_result ih_store_connect(ih_process *process, const char *socket, ih_store **out, ih_error *error)
{
    if (*socket == '\0' || strlen(socket) >= sizeof((ih_remote *)0)->socket)
        return ih_fail(error, IH_INVALID, ENAMETOOLONG,
                       "connect to the daemon: a socket's path has 1 to 107 bytes");
    ih_store *store;
    while ((store = find_open(process, socket)) != NULL) {
        ih_result result = greet(store, error);
        if (result == IH_OK) {
            *out = store;
            return IH_OK;
        }
        ih_lock(process);
        bool lost = store->remote->lost || store->closed;
        ih_unlock(process);
        ih_store_drop(store);
        if (!lost)
            return result;
    }
    store = create(process, socket, error);
    if (store == NULL)
        return IH_MEMORY;
    pthread_mutex_lock(&store->remote->call);
    ih_result result = connect_once(store, error);
    pthread_mutex_unlock(&store->remote->call);
    /* Another thread may have connected meanwhile: one store for all. */
    ih_store *other = result == IH_OK ? find_open(process, socket) : NULL;
    if (result == IH_OK && other == NULL) {
        ih_lock(process);
        store->closed = false;
        ih_unlock(process);
        *out = store;
        return IH_OK;
    }
    ih_lock(process);
    store->closed = false; /* so that dropping closes it */
    ih_unlock(process);
    ih_store_drop(store);
    *out = other != NULL ? other : *out;
    return result;
}

bool ih_store_is_remote(const ih_store *store) { return store->remote != NULL; }

ih_result ih_store_remote_info(ih_store *store, ih_remote_info *out)
{
    ih_remote *remote = store->remote;
    if (remote == NULL)
        return IH_INVALID;
    ih_lock(store->process);
    *out = (ih_remote_info){.session = remote->session,
                            .role = remote->role,
                            .connected = is_connected(remote) && !remote->lost};
    memcpy(out->identity, remote->identity, sizeof out->identity);
    memcpy(out->socket, remote->socket, sizeof out->socket);
    ih_unlock(store->process);
    return IH_OK;
}

void ih_remote_close(ih_store *store)
{
    ih_remote *remote = store->remote;
    if (pthread_mutex_trylock(&remote->call) == 0) {
        forget_socket(remote);
        pthread_mutex_unlock(&remote->call);
    } else if (is_connected(remote)) {
        ih_os_shutdown(remote->fd); /* wakes who waits for a reply, who then closes it */
    }
    ih_remote_abandon(store);
}

void ih_remote_destroy(ih_store *store)
{
    ih_remote *remote = store->remote;
    forget_socket(remote);
    for (ih_arrival *at = remote->arrivals; at != NULL; at = at->next)
        at->count = 0;
    ih_os_unmap(remote->state, remote->state_bytes);
    ih_os_unmap(remote->page, IH_SESSION_BYTES);
    if (remote->board != NULL)
        ih_board_destroy(remote->board);
    while (remote->old_boards != NULL) {
        ih_old_board *old = remote->old_boards;
        remote->old_boards = old->next;
        ih_board_destroy(old->board);
        free(old);
    }
    free(remote->freed);
    free(remote->drops);
    free(remote->returns);
    free(remote->buffer);
    pthread_mutex_destroy(&remote->call);
    free(remote);
    store->remote = NULL;
}

/* The child has the family's leases and reads what is mapped; it writes nothing that was granted to
 * its parent (H8), and connects as a session of its own when it first needs to. */
void ih_remote_fork_child(ih_store *store)
{
    ih_remote *remote = store->remote;
    pthread_mutex_init(&remote->call, NULL);
    forget_socket(remote);
    for (ih_arrival *at = remote->arrivals; at != NULL; at = at->next) {
        for (unsigned i = 0; i < at->count; i++)
            ih_os_close(at->fds[i]);
        at->count = 0;
    }
    remote->arrivals = NULL;
    remote->session = 0;
    remote->page = NULL; /* not mapped here */
    remote->down = false;
    remote->tail = 0;
    remote->freed_count = remote->freed_first = 0;
    remote->drop_count = remote->return_count = 0;
    remote->granting = 0;
    memset(store->bins, 0, sizeof store->bins);
    memset(store->bin_bitmap, 0, sizeof store->bin_bitmap);
    store->used = 0;
    store->idle_count = 0;
    for (ih_segment *segment = store->all; segment != NULL; segment = segment->all_next) {
        segment->bin = -1;
        segment->writers = 0;
        if (segment->heap.kind == IH_ORDINARY) {
            segment->idle_ns = 0;
            segment->next = segment->previous = NULL;
        }
    }
}
