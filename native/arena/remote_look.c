/* Deleting, and what the daemon alone knows: one image, all images, the store's figures. */
#include "remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIM_TURNS 16u

#define DRAIN_EACH 16u /* entries of the ring with each delete */
#define LIST_EACH ((IH_FRAME_MAX - 64u) / (uint32_t)sizeof(ih_stat_reply))

ih_result ih_remote_delete(ih_store *store, ih_handle handle, bool force, const char *name,
                           size_t length, ih_error *error)
{
    ih_image_request body = {
        .handle = handle, .force = force ? 1u : 0u, .length = (uint32_t)length};
    ih_request request = {.op = IH_OP_DELETE,
                          .what = "delete an image",
                          .part = {{&body, sizeof body}, {name, length}}};
    ih_result result = ih_remote_ready(store, "delete from a closed store", error);
    if (result == IH_OK)
        result = ih_remote_call(store, &request, error);
    /* The first asking may have been heard though its reply was lost: then it is gone by us. */
    if (result == IH_GONE && request.retried)
        result = IH_OK;
    if (result != IH_OK)
        return result;
    ih_lock(store->process);
    store->deletes++;
    /* Who only deletes gives back too what others wait for. */
    (void)ih_remote_drain(store, DRAIN_EACH);
    (void)ih_remote_sweep(store, false);
    ih_unlock(store->process);
    return IH_OK;
}

/* One frame of them. The reply has a byte for each: what became of it. */
static ih_result delete_batch(ih_store *store, const ih_handle *handles, uint32_t count, bool force,
                              uint8_t *results, ih_error *error)
{
    ih_delete_some_request body = {.count = count, .force = force ? 1u : 0u};
    ih_request request = {.op = IH_OP_DELETE_SOME,
                          .what = "delete images",
                          .part = {{&body, sizeof body}, {handles, count * sizeof *handles}},
                          .reply = results,
                          .least = count,
                          .room = count};
    ih_result result = ih_remote_ready(store, "delete from a closed store", error);
    if (result == IH_OK)
        result = ih_remote_call(store, &request, error);
    if (result != IH_OK)
        return result;
    ih_lock(store->process);
    for (uint32_t i = 0; i < count; i++) {
        if (results[i] == IH_GONE && request.retried)
            results[i] = IH_OK;
        store->deletes += results[i] == IH_OK ? 1u : 0u;
        (void)ih_remote_drain(store, DRAIN_EACH);
    }
    (void)ih_remote_sweep(store, false);
    ih_unlock(store->process);
    return IH_OK;
}

ih_result ih_remote_delete_some(ih_store *store, const ih_handle *handles, size_t count, bool force,
                                size_t *failed, ih_error *error)
{
    ih_result first = IH_OK;
    for (size_t at = 0; at < count; at += IH_DELETE_SOME_MAX) {
        uint8_t results[IH_DELETE_SOME_MAX];
        size_t left = count - at;
        uint32_t some = left < IH_DELETE_SOME_MAX ? (uint32_t)left : IH_DELETE_SOME_MAX;
        ih_error *untold = first == IH_OK ? error : NULL;
        ih_result result = delete_batch(store, handles + at, some, force, results, untold);
        if (result != IH_OK) {
            *failed = first == IH_OK ? at : *failed;
            return first == IH_OK ? result : first;
        }
        for (uint32_t i = 0; i < some && first == IH_OK; i++) {
            if (results[i] == IH_OK)
                continue;
            /* Asked alone it is told why. */
            first = ih_remote_delete(store, handles[at + i], force, NULL, 0, error);
            *failed = at + i;
        }
    }
    return first;
}

static void translate(const ih_stat_reply *from, ih_stat *to)
{
    *to = (ih_stat){.handle = from->handle,
                    .size = from->size,
                    .block = from->block,
                    .created_ns = from->created_ns,
                    .leases = from->leases,
                    .names = from->names,
                    .expires_ns = from->expires_ns,
                    .links = from->links,
                    .linked = from->linked,
                    .pid = from->pid,
                    .dying = (from->flags & IH_STAT_DYING) != 0,
                    .dedicated = (from->flags & IH_STAT_DEDICATED) != 0,
                    .sealed_by_kernel = (from->flags & IH_STAT_KERNEL) != 0,
                    .pinned = (from->flags & IH_STAT_PINNED) != 0,
                    .evictable = (from->flags & IH_STAT_EVICTABLE) != 0,
                    .spilled = (from->flags & IH_STAT_SPILLED) != 0,
                    .orphan = (from->flags & IH_STAT_ORPHAN) != 0};
    memcpy(to->image_header, from->image_header, sizeof to->image_header);
}

ih_result ih_remote_stat(ih_store *store, ih_handle handle, ih_stat *out, ih_error *error)
{
    ih_image_request body = {.handle = handle};
    ih_stat_reply reply;
    ih_request request = {.op = IH_OP_STAT,
                          .what = "describe an image",
                          .part = {{&body, sizeof body}},
                          .reply = &reply,
                          .least = sizeof reply,
                          .room = sizeof reply};
    ih_result result = ih_remote_ready(store, "describe an image of a closed store", error);
    if (result == IH_OK)
        result = ih_remote_call(store, &request, error);
    if (result == IH_OK)
        translate(&reply, out);
    return result;
}

/* ---- the list -------------------------------------------------------------------------------- */

/* One frame of it; `buffer` has IH_FRAME_MAX bytes. */
static ih_result list_some(ih_store *store, uint64_t *cursor, uint8_t *buffer, uint32_t *count,
                           ih_error *error)
{
    ih_list_request body = {.cursor = *cursor, .count = LIST_EACH};
    ih_list_reply head;
    ih_request request = {.op = IH_OP_LIST,
                          .what = "list the images",
                          .part = {{&body, sizeof body}},
                          .reply = buffer,
                          .least = sizeof head,
                          .room = IH_FRAME_MAX};
    ih_result result = ih_remote_call(store, &request, error);
    if (result != IH_OK)
        return result;
    memcpy(&head, buffer, sizeof head);
    /* The cursor must grow, or a list would never end. */
    if (head.count > LIST_EACH ||
        request.got != sizeof head + (size_t)head.count * sizeof(ih_stat_reply) ||
        (head.cursor != 0 && head.cursor <= *cursor))
        return ih_fail(error, IH_PROTOCOL, 0, "list the images");
    *cursor = head.cursor;
    *count = head.count;
    return IH_OK;
}

ih_result ih_remote_list(ih_store *store, ih_stat **out, size_t *count, ih_error *error)
{
    ih_result result = ih_remote_ready(store, "list the images of a closed store", error);
    if (result != IH_OK)
        return result;
    uint8_t *buffer = malloc(IH_FRAME_MAX);
    ih_stat *list = malloc(sizeof *list);
    size_t number = 0;
    uint64_t cursor = 0;
    result = buffer == NULL || list == NULL ? IH_MEMORY : IH_OK;
    while (result == IH_OK) {
        uint32_t some = 0;
        result = list_some(store, &cursor, buffer, &some, error);
        if (result != IH_OK)
            break;
        /* A step without images is not the end: it may have looked at such as no list shows. */
        ih_stat *moved = realloc(list, (number + some + 1u) * sizeof *moved);
        if (moved == NULL) {
            result = IH_MEMORY;
            break;
        }
        list = moved;
        for (uint32_t i = 0; i < some; i++) {
            ih_stat_reply reply;
            memcpy(&reply, buffer + sizeof(ih_list_reply) + i * sizeof reply, sizeof reply);
            translate(&reply, &list[number++]);
        }
        if (cursor == 0)
            break;
    }
    free(buffer);
    if (result != IH_OK) {
        free(list);
        return result == IH_MEMORY ? ih_fail(error, IH_MEMORY, ENOMEM, "list the images") : result;
    }
    *out = list;
    *count = number;
    return IH_OK;
}

/* ---- figures --------------------------------------------------------------------------------- */

ih_result ih_remote_usage(ih_store *store, ih_usage *out, ih_error *error)
{
    ih_usage usage;
    ih_request request = {.op = IH_OP_USAGE,
                          .what = "ask for the figures of a store",
                          .reply = &usage,
                          .least = sizeof usage,
                          .room = sizeof usage};
    ih_result result = ih_remote_ready(store, "ask for the figures of a closed store", error);
    if (result == IH_OK)
        result = ih_remote_call(store, &request, error);
    if (result != IH_OK)
        return result;
    ih_lock(store->process);
    usage.puts = store->puts;
    usage.opens = store->opens;
    usage.deletes = store->deletes;
    ih_unlock(store->process);
    *out = usage;
    return IH_OK;
}

ih_result ih_remote_trim(ih_store *store, ih_error *error)
{
    ih_request request = {.op = IH_OP_TRIM, .what = "trim a store"};
    ih_result result = ih_remote_ready(store, "trim a closed store", error);
    if (result != IH_OK)
        return result;
    /* A block goes back in steps: the daemon says that it is free, we clear its header, the daemon
     * clears its bit, then its segment may be empty. So each side has several turns. */
    bool moved = true;
    for (unsigned turn = 0; result == IH_OK && moved && turn < TRIM_TURNS; turn++) {
        result = ih_remote_call(store, &request, error);
        ih_lock(store->process);
        moved = ih_remote_drain(store, IH_RING_ENTRIES);
        moved = ih_remote_sweep(store, true) || moved;
        ih_unlock(store->process);
        ih_remote_settle(store);
    }
    return result;
}

ih_result ih_remote_check(ih_store *store, char *message, size_t size)
{
    char *text = malloc(IH_FRAME_MAX);
    ih_error error = {0};
    ih_request request = {
        .op = IH_OP_CHECK, .what = "check a store", .reply = text, .room = IH_FRAME_MAX};
    ih_result result = text == NULL ? IH_MEMORY : ih_remote_call(store, &request, &error);
    if (result != IH_OK && size > 0)
        snprintf(message, size, "%s%s%s", error.what != NULL ? error.what : "check a store",
                 error.detail[0] != '\0' ? ": " : "", error.detail);
    free(text);
    return result;
}

ih_result ih_remote_explain(ih_store *store, ih_handle handle, char **text, ih_error *error)
{
    ih_image_request body = {.handle = handle};
    char *buffer = malloc(IH_FRAME_MAX + 1u);
    ih_request request = {.op = IH_OP_EXPLAIN,
                          .what = "explain an image",
                          .part = {{&body, sizeof body}},
                          .reply = buffer,
                          .room = IH_FRAME_MAX};
    ih_result result = buffer == NULL
                           ? ih_fail(error, IH_MEMORY, ENOMEM, "explain an image")
                           : ih_remote_ready(store, "explain an image of a closed store", error);
    if (result == IH_OK)
        result = ih_remote_call(store, &request, error);
    if (result != IH_OK) {
        free(buffer);
        return result;
    }
    buffer[request.got] = '\0';
    *text = buffer;
    return IH_OK;
}
