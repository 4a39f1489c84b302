/* The daemon's store: requests, what is told without a reply, and the store's own life.
 *
 * A connection is needed only for what this process cannot do by itself, and only for as long as a
 * request takes; remote_connect.c makes it, again and again if need be.
 */
#include "remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define TRIES 8u
#define DROPS_EACH 64u

/* How a thread feels about waiting is nobody else's business and lasts from one call to the next:
 * the one variable of this layer. That it exists once in each of two modules does no harm. */
static _Thread_local bool impatient;

void ih_set_patience(bool patient) { impatient = !patient; }

bool ih_is_impatient(void) { return impatient; }

static ih_result protocol(ih_error *error, const char *what)
{
    return ih_fail(error, IH_PROTOCOL, 0, what);
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

/* Under `call`. Gives up where the daemon does not take more at once. False: the connection is
 * lost. */
static bool send_drops(ih_store *store)
{
    ih_remote *remote = store->remote;
    struct {
        ih_frame frame;
        ih_image_request body;
    } out[DROPS_EACH];
    for (;;) {
        ih_lock(store->process);
        size_t count = remote->drop_count < DROPS_EACH ? remote->drop_count : DROPS_EACH;
        bool connected = count == 0 || ih_remote_is_connected(remote);
        if (count == 0 || !connected) {
            pthread_mutex_unlock(&store->process->lock);
            return connected;
        }
        remote->drop_count -= count;
        memset(out, 0, sizeof out);
        for (size_t i = 0; i < count; i++) {
            out[i].frame = (ih_frame){.bytes = sizeof out[i], .op = IH_OP_DROP};
            out[i].body.handle = remote->drops[remote->drop_count + i];
        }
        pthread_mutex_unlock(&store->process->lock);
        int code = ih_os_send(remote->fd, out, count * sizeof out[0], 0);
        if (code == 0)
            continue;
        ih_lock(store->process);
        for (size_t i = 0; i < count; i++)
            note_drop(remote, out[i].body.handle);
        pthread_mutex_unlock(&store->process->lock);
        if (code != EAGAIN)
            ih_remote_disconnect(store);
        return code == EAGAIN;
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
        (void)send_drops(store);
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
        return ih_remote_refused(request, frame.result, body, size, error);
    if (size < request->least || size > request->room)
        return protocol(error, "read a reply of the daemon: its length is wrong");
    if (size > 0)
        memcpy(request->reply, body, size);
    request->got = size;
    return IH_OK;
}

/* Before another request for a segment can be sent: the daemon takes back what is beyond it. */
static void note_granted(ih_remote *remote, const ih_request *request)
{
    ih_segment_reply reply;
    memcpy(&reply, request->reply, sizeof reply);
    if (reply.id > remote->seen)
        remote->seen = reply.id;
}

/* Under `call`. */
static ih_result ask(ih_store *store, ih_request *request, ih_error *error)
{
    ih_remote *remote = store->remote;
    for (unsigned i = 0;; i++) {
        ih_result result = ih_remote_ensure(store, request->hasty, error);
        if (result != IH_OK)
            return result;
        if (!send_drops(store) && i < TRIES)
            continue;
        ih_arrival arrival;
        ih_arrival_begin(store, &arrival);
        size_t size = 0;
        int code = ih_remote_exchange(store, request, &arrival, &size);
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
        if (code == 0 && result == IH_OK && request->op == IH_OP_GRANT)
            note_granted(remote, request);
        ih_arrival_end(store, &arrival);
        if (code == EPROTO || result == IH_PROTOCOL) {
            ih_remote_disconnect(store);
            return code == EPROTO ? protocol(error, "read a reply of the daemon") : result;
        }
        if (code == 0)
            return result;
        ih_remote_disconnect(
            store); /* a late reply must not be taken for that to another request */
        if (code == ETIMEDOUT)
            remote->down = true; /* who waits behind this call need not wait as long again */
        if (code == ETIMEDOUT || i >= TRIES)
            return ih_remote_unavailable(remote, error, code, request->what);
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
        if (body.segment == 0)
            return;
        if (ask(store, &request, NULL) != IH_UNAVAILABLE)
            continue;
        ih_lock(store->process);
        ih_remote_return(store, body.segment); /* the next daemon is to know of it */
        pthread_mutex_unlock(&store->process->lock);
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
        ih_arrival_begin(store, request->arrival);
    if (impatient)
        return ih_fail(error, IH_AGAIN, 0, request->what);
    pthread_mutex_lock(&remote->call);
    if (has_returns(store))
        send_returns(store, 0);
    ih_result result = ask(store, request, error);
    ih_lock(store->process);
    if (store->closed)
        ih_remote_forget_socket(remote);
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

static bool is_usable(const ih_store *store, const char *socket)
{
    const ih_remote *remote = store->remote;
    bool blind = store->family != NULL && store->family->blind;
    return remote != NULL && remote->made && !remote->lost && !(store->closed && blind) &&
           strcmp(remote->socket, socket) == 0;
}

/* The store of that socket with one more reference, or NULL. One that was closed while something in
 * it is leased still has its segments mapped under their ids, which mean one segment in a process:
 * so it is opened again, and goes on with its session. */
static ih_store *find_open(ih_process *process, const char *socket)
{
    ih_lock(process);
    ih_store *store = process->stores;
    while (store != NULL && !is_usable(store, socket))
        store = store->next;
    if (store != NULL) {
        store->references++;
        store->connections++;
        store->closed = store->dropped = false;
        ih_remote_say_closed(store, false);
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
    ih_result result = ih_remote_connect_first(store, error);
    pthread_mutex_unlock(&store->remote->call);
    /* Another thread may have connected meanwhile: one store for all. */
    ih_store *other = result == IH_OK ? find_open(process, socket) : NULL;
    if (result == IH_OK && other == NULL) {
        ih_lock(process);
        store->closed = false;
        store->remote->made = true;
        ih_unlock(process);
        *out = store;
        return IH_OK;
    }
    ih_lock(process);
    store->closed = false; /* so that dropping closes it */
    ih_unlock(process);
    ih_store_drop(store);
    if (other != NULL)
        *out = other;
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
                            .connected = ih_remote_is_connected(remote) && !remote->lost};
    memcpy(out->identity, remote->identity, sizeof out->identity);
    memcpy(out->socket, remote->socket, sizeof out->socket);
    ih_unlock(store->process);
    return IH_OK;
}

void ih_remote_say_closed(ih_store *store, bool closed)
{
    ih_session_page *page = store->remote->page;
    if (page != NULL)
        __atomic_store_n(&page->closed, closed ? 1u : 0u, __ATOMIC_RELEASE);
}

void ih_remote_close(ih_store *store)
{
    ih_remote *remote = store->remote;
    ih_remote_say_closed(store, true);
    if (pthread_mutex_trylock(&remote->call) == 0) {
        ih_remote_forget_socket(remote);
        pthread_mutex_unlock(&remote->call);
    } else if (ih_remote_is_connected(remote)) {
        ih_os_shutdown(remote->fd); /* wakes who waits for a reply, who then closes it */
    }
    ih_remote_abandon(store);
}

void ih_remote_destroy(ih_store *store)
{
    ih_remote *remote = store->remote;
    ih_remote_forget_socket(remote);
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
    ih_remote_forget_socket(remote);
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
    remote->seen = 0;
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
