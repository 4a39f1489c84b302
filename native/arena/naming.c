/* Binding, looking up and opening by name. */
#include "remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool ih_is_cell(const char *name, size_t length)
{
    return length == IH_CELL_NAME && memcmp(name, IH_CELL_PREFIX, sizeof IH_CELL_PREFIX - 1u) == 0;
}

/* A name that an image of an ephemeral store loses may have been all that kept it. The cell that
 * loses its image was: nobody else knows it. */
static void lost_name(ih_store *store, ih_handle handle, bool cell)
{
    ih_segment *segment = ih_find_segment(store->process, ih_locator_id(handle.locator));
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_header header;
    if (!(store->ephemeral || cell) || ih_names_count(&store->names, handle.locator) > 0 ||
        !ih_may_hold(segment, unit))
        return;
    const ih_entry *entry = ih_map_find(&store->process->map, handle.locator);
    bool kept = !cell && entry != NULL && (ih_is_held(entry) || entry->linked > 0 || entry->pinned);
    if (!kept && !ih_is_dying(segment, unit) &&
        ih_heap_sealed(&segment->heap, unit, &handle.nonce, &header))
        (void)ih_image_condemn(segment, unit, &header);
}

static bool lives(const ih_store *store, ih_handle handle)
{
    const ih_segment *segment = ih_find_segment(store->process, ih_locator_id(handle.locator));
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_header header;
    return ih_may_hold(segment, unit) && segment->store == store && !ih_is_dying(segment, unit) &&
           ih_heap_sealed(&segment->heap, unit, &handle.nonce, &header);
}

static ih_result bind_locked(ih_store *store, const char *name, size_t length,
                             const ih_handle *handle, uint64_t expected, uint64_t *version,
                             ih_error *error)
{
    if (store->closed)
        return ih_fail(error, IH_CLOSED, 0, "bind a name in a closed store");
    if (store->inherited)
        return ih_fail(error, IH_FORKED, 0, "bind a name in a forked child");
    const ih_name_entry *entry = ih_names_find(&store->names, name, length);
    uint64_t found = entry != NULL && entry->bound ? entry->version : 0;
    if (expected != IH_ANY_VERSION && expected != found) {
        ih_fail(error, IH_CONFLICT, 0, "bind a name that was bound anew meanwhile");
        if (error != NULL)
            error->version = found;
        return IH_CONFLICT;
    }
    if (handle != NULL && !lives(store, *handle))
        return ih_fail(error, IH_GONE, 0, "bind a name to an image that is gone");
    ih_handle lost = {0};
    bool had = false;
    uint64_t now = 0;
    ih_result result = ih_names_set(&store->names, name, length, handle, &now, &lost, &had);
    if (result != IH_OK)
        return ih_fail(error, result, ENOMEM, "bind a name");
    ih_names_changed(store->process);
    if (version != NULL)
        *version = now;
    if (had)
        lost_name(store, lost, ih_is_cell(name, length));
    return IH_OK;
}

ih_result ih_bind(ih_store *store, const char *name, size_t length, const ih_handle *handle,
                  uint64_t expected, uint64_t *version, ih_error *error)
{
    if (length == 0 || length > IH_NAME_MAX)
        return ih_fail(error, IH_INVALID, 0, "bind a name: it must have 1 to 512 bytes");
    if (store->remote != NULL)
        return ih_remote_bind(store, name, length, handle, expected, version, error);
    ih_lock(store->process);
    ih_result result = bind_locked(store, name, length, handle, expected, version, error);
    ih_unlock(store->process);
    return result;
}

ih_result ih_lookup(ih_store *store, const char *name, size_t length, ih_handle *handle,
                    uint64_t *version, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_lookup(store, name, length, handle, version, error);
    ih_lock(store->process);
    const ih_name_entry *entry = ih_names_find(&store->names, name, length);
    ih_result result = store->closed                   ? IH_CLOSED
                       : entry != NULL && entry->bound ? IH_OK
                                                       : IH_UNKNOWN;
    if (result == IH_OK && handle != NULL)
        *handle = entry->handle;
    if (result == IH_OK && version != NULL)
        *version = entry->version;
    ih_unlock(store->process);
    return result == IH_OK ? IH_OK : ih_fail(error, result, 0, "look up a name");
}

/* Each turn but the first is some writer's: he bound the name anew between our look and our lease.
 * So many in a row no reader meets who is allowed to run, and the bound is on him who is not. */
ih_result ih_open_name_at(ih_store *store, const char *name, size_t length, ih_lease **out,
                          uint64_t *version, ih_error *error)
{
    ih_handle handle = {0}, before;
    uint64_t found = 0;
    for (unsigned turn = 0; turn < IH_NAME_TRIES; turn++) {
        before = handle;
        ih_result result = ih_lookup(store, name, length, &handle, &found, error);
        if (result != IH_OK)
            return result;
        if (turn > 0 && before.locator == handle.locator && before.nonce == handle.nonce)
            return ih_fail(error, IH_GONE, 0, "open the image that a name is bound to");
        result = ih_open_in(store, handle, out, error);
        if (result == IH_OK && version != NULL)
            *version = found;
        if (result != IH_GONE)
            return result;
    }
    ih_fail(error, IH_CONFLICT, 0, "open the image that a name is bound to");
    if (error != NULL)
        error->tries = IH_NAME_TRIES;
    return IH_CONFLICT;
}

ih_result ih_open_name(ih_store *store, const char *name, size_t length, ih_lease **out,
                       ih_error *error)
{
    return ih_open_name_at(store, name, length, out, NULL, error);
}

/* ---- waiting --------------------------------------------------------------------------------- */

void ih_names_changed(ih_process *process)
{
    (void)__atomic_fetch_add(&process->changes, 1, __ATOMIC_RELEASE);
    if (process->waiters > 0)
        ih_os_wake(&process->changes);
}

/* Under the lock. True: there is something to tell, or to complain about. */
static bool has_changed(const ih_store *store, const char *name, size_t length, uint64_t seen,
                        ih_handle *handle, uint64_t *version, ih_result *result)
{
    *result = store->closed ? IH_CLOSED : store->inherited ? IH_FORKED : IH_OK;
    if (*result != IH_OK)
        return true;
    const ih_name_entry *entry = ih_names_find(&store->names, name, length);
    bool bound = entry != NULL && entry->bound;
    if ((bound ? entry->version : 0) == seen)
        return false;
    *handle = bound ? entry->handle : (ih_handle){0};
    *version = bound ? entry->version : 0;
    return true;
}

ih_result ih_store_wait(ih_store *store, const char *name, size_t length, uint64_t seen,
                        uint64_t timeout_ns, ih_handle *handle, uint64_t *version, ih_error *error)
{
    ih_process *process = store->process;
    if (length == 0 || length > IH_NAME_MAX)
        return ih_fail(error, IH_INVALID, 0, "wait for a name: it must have 1 to 512 bytes");
    if (store->remote != NULL)
        return ih_remote_wait(store, name, length, seen, timeout_ns, handle, version, error);
    uint64_t start = ih_os_exact_ns();
    for (;;) {
        ih_result result;
        ih_lock(process);
        uint32_t ticket = __atomic_load_n(&process->changes, __ATOMIC_ACQUIRE);
        bool told = has_changed(store, name, length, seen, handle, version, &result);
        process->waiters += told ? 0 : 1u;
        ih_unlock(process);
        if (told)
            return result == IH_OK ? IH_OK : ih_fail(error, result, 0, "wait for a name");
        uint64_t past = ih_os_exact_ns() - start;
        int code = ih_os_wait(&process->changes, ticket,
                              timeout_ns == UINT64_MAX ? UINT64_MAX
                              : past < timeout_ns      ? timeout_ns - past
                                                       : 0);
        ih_lock(process);
        process->waiters--;
        ih_unlock(process);
        if (code == ETIMEDOUT)
            return ih_fail(error, IH_AGAIN, 0, "wait for a name");
        if (code != 0)
            return ih_fail(error, IH_SYSTEM, code, "wait for a name");
    }
}

/* ---- listing --------------------------------------------------------------------------------- */

static bool matches(const ih_name_entry *entry, const char *prefix, size_t length)
{
    return entry->bound && entry->length >= length && !ih_is_cell(entry->text, entry->length) &&
           (length == 0 || memcmp(entry->text, prefix, length) == 0);
}

static int by_name(const void *left, const void *right)
{
    const ih_name *a = left, *b = right;
    size_t common = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->name, b->name, common);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static ih_result list_locked(const ih_names *names, const char *prefix, size_t length,
                             ih_name **out, size_t *count)
{
    size_t found = 0, text = 0;
    for (size_t i = 0; names->buckets != NULL && i <= names->mask; i++) {
        for (const ih_name_entry *entry = names->buckets[i]; entry != NULL; entry = entry->next) {
            if (matches(entry, prefix, length)) {
                found++;
                text += entry->length + 1u;
            }
        }
    }
    ih_name *list = malloc(found * sizeof *list + text + 1);
    if (list == NULL)
        return IH_MEMORY;
    char *to = (char *)(list + found);
    size_t at = 0;
    for (size_t i = 0; names->buckets != NULL && i <= names->mask; i++) {
        for (const ih_name_entry *entry = names->buckets[i]; entry != NULL; entry = entry->next) {
            if (!matches(entry, prefix, length))
                continue;
            memcpy(to, entry->text, entry->length + 1u);
            list[at++] = (ih_name){to, entry->length, entry->handle, entry->version};
            to += entry->length + 1u;
        }
    }
    *out = list;
    *count = found;
    return IH_OK;
}

ih_result ih_store_names(ih_store *store, const char *prefix, size_t length, ih_name **out,
                         size_t *count, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_names(store, prefix, length, out, count, error);
    ih_lock(store->process);
    ih_result result =
        store->closed ? IH_CLOSED : list_locked(&store->names, prefix, length, out, count);
    ih_unlock(store->process);
    if (result != IH_OK)
        return ih_fail(error, result, result == IH_MEMORY ? ENOMEM : 0, "list the names");
    qsort(*out, *count, sizeof **out, by_name);
    return IH_OK;
}
