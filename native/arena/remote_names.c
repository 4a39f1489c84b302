/* Names of the daemon's store: looked up on the board without a message (H11), bound by a request.
 */
#include "remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define TORN_TRIES 16u
/* Now and then who waits looks whether the store was closed, and more seldom whether there is still
 * a daemon that could wake it. */
#define LOOK_AFTER SECOND
#define PING_AFTER (30u * SECOND)

/* ---- the board ------------------------------------------------------------------------------- */

/* Under the lock. Takes the board if it is newer than ours. */
static bool install(ih_remote *remote, ih_board *board)
{
    if (ih_board_number(board) <= ih_board_number(remote->board))
        return false;
    ih_old_board *old = malloc(sizeof *old);
    if (old == NULL)
        return false;
    *old = (ih_old_board){.next = remote->old_boards, .board = remote->board};
    remote->old_boards = old;
    __atomic_store_n(&remote->board, board, __ATOMIC_RELEASE);
    return true;
}

static ih_result fetch(ih_store *store, ih_error *error)
{
    ih_board_reply reply;
    ih_arrival arrival;
    ih_request request = {.op = IH_OP_BOARD,
                          .what = "get the board of names",
                          .reply = &reply,
                          .least = sizeof reply,
                          .room = sizeof reply,
                          .arrival = &arrival};
    ih_board *board = NULL;
    ih_result result = ih_remote_call(store, &request, error);
    if (result == IH_OK) {
        uint64_t bytes = 0;
        unsigned seals = 0;
        if (arrival.count != 1 || ih_os_file_size(arrival.fds[0], &bytes) != 0 ||
            bytes != reply.bytes || ih_os_file_seals(arrival.fds[0], &seals) != 0 ||
            (seals & IH_OS_SEAL_SHRINK) == 0)
            result = ih_fail(error, IH_PROTOCOL, 0, "take the board of names");
        else
            result = ih_board_attach(arrival.fds[0], bytes, false, &board, error);
    }
    ih_arrival_end(store, &arrival);
    if (result != IH_OK)
        return result;
    ih_lock(store->process);
    bool installed = install(store->remote, board);
    ih_unlock(store->process);
    if (!installed)
        ih_board_destroy(board);
    return IH_OK;
}

/* The board that stands now. */
static ih_result current(ih_store *store, ih_board **out, ih_error *error)
{
    for (unsigned i = 0; i < TORN_TRIES; i++) {
        *out = __atomic_load_n(&store->remote->board, __ATOMIC_ACQUIRE);
        if (!ih_board_retired(*out))
            return IH_OK;
        ih_result result = fetch(store, error);
        if (result != IH_OK)
            return result;
    }
    return ih_fail(error, IH_PROTOCOL, 0, "find a board of names that is in use");
}

static ih_result ping(ih_store *store, ih_error *error)
{
    ih_request request = {.op = IH_OP_PING, .what = "wait for a name"};
    return ih_remote_call(store, &request, error);
}

/* A value that does not hold still while it is read is looked at again after the daemon has
 * answered something else. */
static ih_result look(ih_store *store, const char *name, size_t length, ih_handle *handle,
                      uint64_t *version, ih_error *error)
{
    for (unsigned i = 0; i < TORN_TRIES; i++) {
        ih_board *board;
        ih_result result = current(store, &board, error);
        if (result != IH_OK)
            return result;
        result = ih_board_lookup(board, name, length, handle, version);
        if (result != IH_CONFLICT && (result != IH_UNKNOWN || !ih_board_retired(board)))
            return result;
        if (result == IH_CONFLICT && (result = ping(store, error)) != IH_OK)
            return result;
    }
    return ih_fail(error, IH_PROTOCOL, 0, "read a name that never holds still");
}

ih_result ih_remote_lookup(ih_store *store, const char *name, size_t length, ih_handle *handle,
                           uint64_t *version, ih_error *error)
{
    ih_handle found = {0};
    uint64_t now = 0;
    ih_result result = ih_remote_ready(store, "look up a name", error);
    if (result != IH_OK)
        return result;
    result = look(store, name, length, &found, &now, error);
    if (result == IH_UNKNOWN)
        return ih_fail(error, IH_UNKNOWN, 0, "look up a name");
    if (result != IH_OK)
        return result;
    if (handle != NULL)
        *handle = found;
    if (version != NULL)
        *version = now;
    return IH_OK;
}

/* ---- binding --------------------------------------------------------------------------------- */

/* The reply to the first asking was lost with the connection: the board says whether it was heard.
 */
static bool was_bound(ih_store *store, const char *name, size_t length, const ih_handle *handle,
                      uint64_t expected, uint64_t *version)
{
    ih_handle found = {0};
    uint64_t now = 0;
    ih_result result = look(store, name, length, &found, &now, NULL);
    if (handle == NULL) {
        *version = now;
        return result == IH_UNKNOWN;
    }
    *version = now;
    return result == IH_OK && found.locator == handle->locator && found.nonce == handle->nonce &&
           (expected == 0 || now == expected + 1u);
}

ih_result ih_remote_bind(ih_store *store, const char *name, size_t length, const ih_handle *handle,
                         uint64_t expected, uint64_t *version, ih_error *error)
{
    ih_bind_request body = {.expected = expected, .length = (uint32_t)length};
    ih_version_reply reply = {0};
    ih_request request = {.op = IH_OP_BIND,
                          .what = "bind a name",
                          .part = {{&body, sizeof body}, {name, length}},
                          .reply = &reply,
                          .least = sizeof reply,
                          .room = sizeof reply};
    ih_result result = ih_remote_ready(store, "bind a name in a closed store", error);
    if (result != IH_OK)
        return result;
    if (handle != NULL)
        body.handle = *handle;
    result = ih_remote_call(store, &request, error);
    if (result == IH_CONFLICT && request.retried && expected != IH_ANY_VERSION &&
        was_bound(store, name, length, handle, expected, &reply.version))
        result = IH_OK;
    if (result == IH_OK && version != NULL)
        *version = reply.version;
    return result;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void keep(ih_store *store, ih_handle handle)
{
    ih_lock(store->process);
    ih_entry *entry = ih_map_find(&store->process->map, handle.locator);
    if (entry != NULL && entry->lease.store == store && entry->lease.handle.nonce == handle.nonce)
        ih_lease_set_fleeting(&entry->lease, false);
    ih_unlock(store->process);
}

ih_result ih_remote_publish(ih_store *store, ih_handle handle, const ih_publication *publication,
                            uint64_t *version, ih_error *error)
{
    ih_publish_request body = {.handle = handle,
                               .ttl_ns = publication->ttl_ns,
                               .flags = publication->flags,
                               .links = publication->links,
                               .length =
                                   publication->name != NULL ? (uint32_t)publication->length : 0};
    ih_version_reply reply = {0};
    ih_request request = {
        .op = IH_OP_PUBLISH,
        .what = "publish an image",
        .part = {{&body, sizeof body},
                 {publication->linked, publication->links * sizeof *publication->linked},
                 {publication->name, publication->name != NULL ? publication->length : 0}},
        .reply = &reply,
        .least = sizeof reply,
        .room = sizeof reply};
    ih_result result = ih_remote_ready(store, "publish an image of a closed store", error);
    if (result == IH_OK)
        result = ih_remote_call(store, &request, error);
    if (result != IH_OK)
        return result;
    if ((publication->flags & IH_PUBLISH_KEEP) != 0)
        keep(store, handle);
    if (version != NULL)
        *version = reply.version;
    return IH_OK;
}

ih_result ih_publish(ih_store *store, ih_handle handle, const ih_publication *publication,
                     uint64_t *version, ih_error *error)
{
    if (publication->links > IH_LINKS_MAX || publication->length > IH_NAME_MAX ||
        (publication->name != NULL && publication->length == 0))
        return ih_fail(error, IH_INVALID, 0,
                       "publish an image: a name has 1 to 512 bytes, an image 2,048 links");
    return store->remote != NULL ? ih_remote_publish(store, handle, publication, version, error)
                                 : ih_publish_embedded(store, handle, publication, version, error);
}

/* ---- waiting --------------------------------------------------------------------------------- */

ih_result ih_remote_wait(ih_store *store, const char *name, size_t length, uint64_t seen,
                         uint64_t timeout_ns, ih_handle *handle, uint64_t *version, ih_error *error)
{
    uint64_t start = ih_os_exact_ns(), heard = start;
    for (;;) {
        ih_handle found = {0};
        uint64_t now = 0;
        ih_board *board = NULL;
        ih_result result = ih_remote_ready(store, "wait for a name", error);
        if (result == IH_OK)
            result = current(store, &board, error);
        if (result != IH_OK)
            return result;
        uint32_t ticket = ih_board_ticket(board, name, length);
        result = look(store, name, length, &found, &now, error);
        if (result != IH_OK && result != IH_UNKNOWN)
            return result;
        if (result == IH_UNKNOWN) {
            found = (ih_handle){0};
            now = 0;
        }
        if (now != seen) {
            *handle = found;
            *version = now;
            return IH_OK;
        }
        uint64_t clock = ih_os_exact_ns(), past = clock - start;
        if (past >= timeout_ns)
            return ih_fail(error, IH_AGAIN, 0, "wait for a name");
        if (clock - heard >= PING_AFTER) {
            if ((result = ping(store, error)) != IH_OK)
                return result;
            heard = clock;
        }
        uint64_t left = timeout_ns - past < LOOK_AFTER ? timeout_ns - past : LOOK_AFTER;
        int code = ih_board_wait(board, name, length, ticket, left);
        if (code != 0 && code != ETIMEDOUT)
            return ih_fail(error, IH_SYSTEM, code, "wait for a name");
    }
}

/* ---- listing --------------------------------------------------------------------------------- */

static int by_name(const void *left, const void *right)
{
    const ih_name *a = left, *b = right;
    size_t common = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->name, b->name, common);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* The names point into the board. */
static bool collect(const ih_board *board, const char *prefix, size_t length, ih_name **list,
                    size_t *count, size_t *text)
{
    size_t room = 0;
    uint64_t cursor = 0;
    ih_name found = {0};
    const char *name;
    while (ih_board_next(board, &cursor, &name, &found.length, &found.handle, &found.version)) {
        if (found.handle.locator == 0 || found.length < length || ih_is_cell(name, found.length) ||
            (length > 0 && memcmp(name, prefix, length) != 0))
            continue;
        if (*count == room) {
            room = room == 0 ? 64 : room * 2;
            ih_name *moved = realloc(*list, room * sizeof *moved);
            if (moved == NULL)
                return false;
            *list = moved;
        }
        found.name = (char *)(uintptr_t)name;
        (*list)[(*count)++] = found;
        *text += found.length + 1u;
    }
    return true;
}

ih_result ih_remote_names(ih_store *store, const char *prefix, size_t length, ih_name **out,
                          size_t *count, ih_error *error)
{
    ih_board *board;
    ih_result result = ih_remote_ready(store, "list the names", error);
    if (result == IH_OK)
        result = current(store, &board, error);
    if (result != IH_OK)
        return result;
    ih_name *found = NULL, *list = NULL;
    size_t number = 0, text = 0;
    if (collect(board, prefix, length, &found, &number, &text))
        list = malloc(number * sizeof *list + text + 1u);
    if (list == NULL) {
        free(found);
        return ih_fail(error, IH_MEMORY, ENOMEM, "list the names");
    }
    char *to = (char *)(list + number);
    for (size_t i = 0; i < number; i++) {
        list[i] = found[i];
        list[i].name = to;
        memcpy(to, found[i].name, found[i].length);
        to[found[i].length] = '\0';
        to += found[i].length + 1u;
    }
    free(found);
    /* The copies: what changes while it is sorted leads qsort out of its array. */
    if (number > 0)
        qsort(list, number, sizeof *list, by_name);
    *out = list;
    *count = number;
    return IH_OK;
}
