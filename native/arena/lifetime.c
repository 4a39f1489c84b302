/* Opening, releasing, deleting: who may still look at an image, and when its memory goes (H1).
 *
 * The owner of a store knows its own leases from the lease map; all of them and the frees are under
 * one lock. What it does not know is what forked children lease, so with children alive a free is:
 *
 *      owner                                  a child that opens
 *      -----------------------------------    -----------------------------------------
 *      set the dying bit                      publish the locator in a slot of its own
 *      fence                                  fence
 *      scan all slots; found: wait            dying bit set: gone
 *      clear state and nonce                  state, nonce or check wrong: gone
 *      clear the dying bit                    it is open
 *      the block is free
 *
 * The child looks at the bit before the header: a bit that it finds clear was either not yet set,
 * then the scan sees the slot; or cleared again, then the header that it reads afterwards is
 * cleared too or belongs to another image. In the other order it could read the header before the
 * free and the bit after it. (native/tests/model/free.pml.)
 *
 * Scans cost as much as there are slots, so frees wait in a queue until it is long, or until
 * somebody needs the memory.
 */
#include "links.h"
#include "remote.h"

#include <errno.h>

#define QUEUE_MIN 64u

/* ---- freeing --------------------------------------------------------------------------------- */

void ih_block_free(ih_segment *segment, uint32_t unit, uint32_t units)
{
    ih_store *store = segment->store;
    store->used -= ih_block_bytes(segment, units);
    if (segment->range != NULL && segment->heap.kind == IH_DEDICATED) {
        ih_remote_return(store, segment->heap.id);
        ih_space_drop(segment);
        return;
    }
    if (segment->heap.kind == IH_DEDICATED) {
        segment->sealed = false;
        if (segment->kernel_sealed || segment->heap.base == NULL || segment->fd >= 0)
            ih_space_drop(segment);
        else
            ih_space_put_warm(segment);
        return;
    }
    ih_heap_free(&segment->heap, unit);
    ih_space_rebin(segment);
    if (store->closed && segment->idle_ns != 0)
        ih_space_drop(segment);
}

/* Nobody holds it and its dying bit is set. */
static void free_image(ih_segment *segment, uint32_t unit, uint32_t units)
{
    segment->store->images--;
    if (!segment->kernel_sealed) {
        ih_heap_unseal(&segment->heap, unit);
        ih_clear_dying(segment, unit);
    }
    ih_block_free(segment, unit, units);
}

static void free_one(ih_entry *entry)
{
    ih_segment *segment = entry->segment;
    ih_store *store = segment->store;
    uint32_t unit = entry->unit, units = entry->block;
    store->dying--;
    store->dying_bytes -= ih_block_bytes(segment, units);
    ih_map_remove(&store->process->map, entry);
    free_image(segment, unit, units);
}

/* And what only its links have kept, however long the chain. */
static void free_entry(ih_entry *entry)
{
    entry->next = NULL;
    while (entry != NULL) {
        ih_entry *next = entry->next;
        ih_links *links = entry->links;
        entry->links = NULL;
        free_one(entry);
        entry = ih_links_release(links, next);
    }
}

void ih_entry_enqueue(ih_entry *entry)
{
    ih_store *store = entry->lease.store;
    entry->next = store->queue;
    store->queue = entry;
    store->queue_count++;
    store->queue_bytes += ih_block_bytes(entry->segment, entry->block);
}

static void mark_held(void *context, uint64_t locator)
{
    ih_entry *entry = ih_map_find(context, locator);
    if (entry != NULL)
        entry->held = true;
}

bool ih_reclaim(ih_store *store)
{
    if (store->inherited || store->queue == NULL)
        return false;
    for (ih_entry *entry = store->queue; entry != NULL; entry = entry->next)
        entry->held = false;
    /* All dying bits are set; the scan begins with the fence. */
    if (store->family != NULL)
        (void)ih_family_scan(store->family, mark_held, &store->process->map);
    if (store->family != NULL && store->family->lost)
        return false;
    ih_entry *waiting = store->queue;
    bool any = false;
    store->queue = NULL;
    store->queue_count = store->queue_bytes = 0;
    while (waiting != NULL) {
        ih_entry *next = waiting->next;
        if (waiting->held || waiting->pinned) {
            ih_entry_enqueue(waiting);
        } else {
            free_entry(waiting);
            any = true;
        }
        waiting = next;
    }
    /* The next scan pays when as much again has come in. */
    store->queue_count_scan =
        store->queue_count * 2u > QUEUE_MIN ? store->queue_count * 2u : QUEUE_MIN;
    uint64_t bytes = store->capacity / 16u;
    store->queue_bytes_scan = store->queue_bytes * 2u > bytes ? store->queue_bytes * 2u : bytes;
    return any;
}

void ih_entry_set_dying(ih_entry *entry)
{
    ih_store *store = entry->lease.store;
    entry->dying = true;
    store->dying++;
    store->dying_bytes += ih_block_bytes(entry->segment, entry->block);
    ih_set_dying(entry->segment, entry->unit);
}

/* An entry that is dying and that this process does not hold (any more). */
static void retire(ih_entry *entry)
{
    ih_store *store = entry->lease.store;
    if (ih_is_quiet(store) && !entry->pinned) {
        free_entry(entry);
        return;
    }
    ih_entry_enqueue(entry);
    if (store->queue_count >= store->queue_count_scan ||
        store->queue_bytes >= store->queue_bytes_scan)
        (void)ih_reclaim(store);
}

ih_result ih_image_condemn(ih_segment *segment, uint32_t unit, const ih_header *header)
{
    ih_store *store = segment->store;
    ih_process *process = store->process;
    ih_entry *entry = ih_map_find(&process->map, ih_locator(segment->heap.id, unit));
    if (entry == NULL && ih_is_quiet(store)) {
        ih_set_dying(segment, unit);
        free_image(segment, unit, header->units);
        return IH_OK;
    }
    bool held = entry != NULL && (ih_is_held(entry) || entry->linked > 0);
    if (entry == NULL)
        entry = ih_lease_add(segment, unit, header);
    if (entry == NULL)
        return IH_MEMORY;
    ih_entry_set_dying(entry);
    if (!held)
        retire(entry);
    return IH_OK;
}

/* ---- leases ---------------------------------------------------------------------------------- */

ih_entry *ih_lease_add(ih_segment *segment, uint32_t unit, const ih_header *header)
{
    ih_store *store = segment->store;
    ih_entry *entry = ih_map_add(&store->process->map, ih_locator(segment->heap.id, unit));
    if (entry == NULL)
        return NULL;
    entry->lease.image = segment->heap.view + ((size_t)unit << IH_UNIT_SHIFT);
    entry->lease.size = header->size;
    entry->lease.handle.nonce = header->u.nonce;
    entry->lease.store = store;
    entry->lease.fleeting = store->ephemeral;
    /* An embedded store's segments are written by this process or those it was forked from. */
    entry->lease.trusted = !segment->foreign;
    entry->lease.sealed = segment->kernel_sealed;
    entry->segment = segment;
    entry->unit = unit;
    entry->block = header->units;
    return entry;
}

/* Under the lock, with the entry's count at 0. */
static void hold(ih_entry *entry)
{
    __atomic_store_n(&entry->count, 1, __ATOMIC_RELAXED);
    if (entry->segment->leases++ == 0 && entry->segment->range != NULL)
        ih_remote_used(entry->segment);
    entry->lease.store->leases++;
}

/* Whether what this process leases is to be seen in its family's table. */
static bool is_published(const ih_store *store)
{
    return store->inherited || store->remote != NULL;
}

/* `linked`: an image that the caller leases links to it, and so keeps it, deleted or not; which the
 * owner of a store need not take on trust. */
static ih_result open_known(ih_entry *entry, ih_handle handle, bool linked, ih_lease **out,
                            ih_error *error)
{
    ih_store *store = entry->lease.store;
    bool kept = linked && (ih_is_held(entry) || entry->linked > 0);
    if (entry->lease.handle.nonce != handle.nonce)
        return ih_fail(error, IH_GONE, 0, "open an image");
    if (store->closed && !kept)
        return ih_fail(error, IH_CLOSED, 0, "open an image of a closed store");
    /* In a child a view of a result that was never put keeps it open, whoever else has dropped it.
     */
    if (!kept && (entry->dying || (is_published(store) && !store->ephemeral &&
                                   ih_is_dying(entry->segment, entry->unit))))
        return ih_fail(error, IH_GONE, 0, "open a deleted image");
    if (!ih_is_held(entry))
        hold(entry);
    else
        (void)__atomic_fetch_add(&entry->count, 1, __ATOMIC_RELAXED);
    ih_count_open(store);
    *out = &entry->lease;
    return IH_OK;
}

/* Through a link also what was deleted, as long as its segment is there. */
static bool may_open(const ih_segment *segment, uint32_t unit, bool linked)
{
    if (!linked)
        return !ih_is_dying(segment, unit);
    uint64_t found = segment->range != NULL ? __atomic_load_n(segment->range, __ATOMIC_ACQUIRE) : 0;
    return segment->range == NULL || found == segment->heap.id ||
           (segment->heap.kind == IH_DEDICATED && found == 0);
}

static ih_result open_new(ih_process *process, ih_handle handle, bool linked, ih_lease **out,
                          ih_error *error)
{
    uint32_t unit = ih_locator_unit(handle.locator), slot = IH_NO_SLOT;
    ih_segment *segment = ih_find_segment(process, ih_locator_id(handle.locator));
    if (!ih_may_hold(segment, unit))
        return ih_fail(error, IH_GONE, 0, "open an image");
    ih_store *store = segment->store;
    linked = linked && is_published(store); /* the owner has an entry of all that is linked */
    if (store->closed && !linked)
        return ih_fail(error, IH_CLOSED, 0, "open an image of a closed store");
    if (is_published(store)) {
        if (store->family == NULL)
            return ih_fail(error, IH_SYSTEM, EAGAIN, "open in a child that has no lease table");
        ih_result result = ih_family_publish(store->family, handle.locator, &slot, error);
        if (result != IH_OK)
            return result;
    }
    ih_header header;
    ih_entry *entry = NULL;
    ih_result result = IH_GONE;
    if (may_open(segment, unit, linked) &&
        ih_heap_sealed(&segment->heap, unit, &handle.nonce, &header)) {
        entry = ih_lease_add(segment, unit, &header);
        result = entry != NULL ? IH_OK : IH_MEMORY;
    }
    if (result != IH_OK) {
        if (slot != IH_NO_SLOT)
            ih_family_withdraw(store->family, slot);
        return ih_fail(error, result, 0, "open an image");
    }
    if (is_published(store)) {
        /* What was poisoned before the fork may be in use since. */
        ih_heap_poison(&segment->heap, unit, header.units, false);
    }
    entry->slot = slot;
    hold(entry);
    ih_count_open(store);
    *out = &entry->lease;
    return IH_OK;
}

static ih_result open_mapped(ih_process *process, ih_handle handle, bool linked, ih_lease **out,
                             ih_error *error)
{
    ih_lock(process);
    ih_entry *entry = ih_map_find(&process->map, handle.locator);
    ih_result result = entry != NULL ? open_known(entry, handle, linked, out, error)
                                     : open_new(process, handle, linked, out, error);
    ih_unlock(process);
    return result;
}

/* The daemon's store that may know more of a handle, with a reference; of several the one of that
 * number; `only` that one where it is not NULL. NULL: none. */
static ih_store *next_remote(ih_process *process, const ih_store *only, ih_handle handle,
                             unsigned number)
{
    ih_lock(process);
    const ih_segment *segment = ih_find_segment(process, ih_locator_id(handle.locator));
    ih_store *store = process->stores;
    for (; store != NULL; store = store->next) {
        if (store->remote != NULL && !store->closed && (only == NULL || only == store) &&
            (segment == NULL || segment->store == store) && number-- == 0)
            break;
    }
    if (store != NULL)
        store->references++;
    ih_unlock(process);
    return store;
}

/* One daemon is asked. IH_GONE: it says so. */
static ih_result ask_for(ih_store *store, ih_handle handle, bool linked, bool hasty, ih_lease **out,
                         ih_error *error)
{
    ih_process *process = store->process;
    ih_result result = ih_remote_map(store, handle, linked, hasty, error);
    if (result == IH_OK)
        result = open_mapped(process, handle, linked, out, error);
    ih_lock(process);
    ih_store_release(store);
    ih_unlock(process);
    return result;
}

/* H12: a daemon is asked before anything is said to be gone; that one of them can't be reached ends
 * it only where `asked` (NULL: nobody) has not said that it is gone. A link leads to an image of
 * its own store, so only that one is asked. */
static ih_result open_any(ih_process *process, const ih_store *asked, ih_handle handle, bool linked,
                          bool hasty, ih_lease **out, ih_error *error)
{
    if (ih_locator_id(handle.locator) == 0)
        return ih_fail(error, IH_GONE, 0, "open an image");
    ih_error gone = {0}, lost = {0};
    ih_result result = open_mapped(process, handle, linked, out, &gone);
    bool told = hasty || (asked != NULL && asked->remote == NULL);
    for (unsigned i = 0; result == IH_GONE; i++) {
        ih_error mine = {0};
        ih_store *store = next_remote(process, linked ? asked : NULL, handle, i);
        if (store == NULL)
            break;
        bool is_asked = store == asked;
        /* Where somebody was asked, others are not waited for. */
        result = ask_for(store, handle, linked, hasty || (asked != NULL && !is_asked), out, &mine);
        if (result == IH_CLOSED && !is_asked) {
            result = IH_GONE; /* closed since it was found */
        } else if (result == IH_UNAVAILABLE) {
            lost = lost.result == IH_OK || is_asked ? mine : lost;
            result = IH_GONE;
        } else if (result != IH_GONE || gone.why == IH_WHY_UNKNOWN) {
            gone = mine;
            told = told || (is_asked && result == IH_GONE);
        } else {
            told = told || is_asked;
        }
    }
    if (result == IH_GONE && lost.result != IH_OK && !told)
        gone = lost;
    if (error != NULL && result != IH_OK)
        *error = gone;
    return result != IH_OK ? gone.result : IH_OK;
}

ih_result ih_open(ih_process *process, ih_handle handle, ih_lease **out, ih_error *error)
{
    return open_any(process, NULL, handle, false, false, out, error);
}

ih_result ih_open_reachable(ih_process *process, ih_handle handle, ih_lease **out, ih_error *error)
{
    return open_any(process, NULL, handle, false, true, out, error);
}

ih_result ih_open_in(ih_store *store, ih_handle handle, ih_lease **out, ih_error *error)
{
    return open_any(store->process, store, handle, false, false, out, error);
}

ih_result ih_open_linked(ih_store *store, ih_handle handle, ih_lease **out, ih_error *error)
{
    return open_any(store->process, store, handle, true, false, out, error);
}

void ih_lease_retain(ih_lease *lease)
{
    (void)__atomic_fetch_add(&((ih_entry *)(void *)lease)->count, 1, __ATOMIC_RELAXED);
}

bool ih_is_wanted(const ih_entry *entry)
{
    return !__atomic_load_n(&entry->lease.fleeting, __ATOMIC_RELAXED) ||
           ih_names_count(&entry->lease.store->names, entry->lease.handle.locator) > 0;
}

/* The last lease of this process went. */
static void let_go(ih_entry *entry)
{
    ih_segment *segment = entry->segment;
    ih_store *store = segment->store;
    segment->leases--;
    store->leases--;
    if (is_published(store)) {
        if (entry->pinned)
            return;
        if (entry->slot != IH_NO_SLOT)
            ih_family_withdraw(store->family, entry->slot);
        if (store->remote != NULL && __atomic_load_n(&entry->lease.fleeting, __ATOMIC_RELAXED))
            ih_remote_drop_image(store, entry->lease.handle);
        ih_map_remove(&store->process->map, entry);
        if (store->remote != NULL)
            ih_remote_unused(segment);
        else if (store->closed && store->leases == 0)
            ih_space_drop_unleased(store);
        return;
    }
    if (entry->linked > 0)
        return; /* the links keep it, and the last to go looks again */
    if (!entry->dying && !ih_is_wanted(entry))
        ih_entry_set_dying(entry);
    if (entry->dying)
        retire(entry);
    else if (!entry->pinned && entry->links == NULL)
        ih_map_remove(&store->process->map, entry);
}

void ih_lease_set_fleeting(ih_lease *lease, bool fleeting)
{
    __atomic_store_n(&lease->fleeting, fleeting, __ATOMIC_RELAXED);
}

void ih_lease_release(ih_lease *lease)
{
    ih_entry *entry = (ih_entry *)(void *)lease;
    uint64_t count = __atomic_load_n(&entry->count, __ATOMIC_RELAXED);
    while (count > 1) {
        if (__atomic_compare_exchange_n(&entry->count, &count, count - 1, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
            return;
    }
    ih_process *process = lease->store->process;
    ih_lock(process);
    if (__atomic_sub_fetch(&entry->count, 1, __ATOMIC_ACQ_REL) == 0)
        let_go(entry);
    ih_unlock(process);
}

/* ---- delete ---------------------------------------------------------------------------------- */

static ih_result delete_locked(ih_store *store, ih_handle handle, bool force, ih_error *error)
{
    if (store->closed)
        return ih_fail(error, IH_CLOSED, 0, "delete from a closed store");
    if (store->inherited)
        return ih_fail(error, IH_FORKED, 0, "delete in a forked child");
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_segment *segment = ih_find_segment(store->process, ih_locator_id(handle.locator));
    ih_header header;
    if (!ih_may_hold(segment, unit) || segment->store != store || ih_is_dying(segment, unit) ||
        !ih_heap_sealed(&segment->heap, unit, &handle.nonce, &header))
        return ih_fail(error, IH_GONE, 0, "delete an image");
    bool named = ih_names_count(&store->names, handle.locator) > 0;
    if (named && !force)
        return ih_fail(error, IH_CONFLICT, 0, "delete an image that has names");
    ih_result result = ih_image_condemn(segment, unit, &header);
    if (result != IH_OK)
        return ih_fail(error, result, ENOMEM, "delete an image");
    if (named) {
        ih_names_unbind(&store->names, handle.locator);
        ih_names_changed(store->process);
    }
    store->deletes++;
    ih_space_sweep(store);
    return IH_OK;
}

ih_result ih_delete(ih_store *store, ih_handle handle, bool force, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_delete(store, handle, force, NULL, 0, error);
    ih_lock(store->process);
    ih_result result = delete_locked(store, handle, force, error);
    ih_unlock(store->process);
    return result;
}

ih_result ih_delete_named(ih_store *store, const char *name, size_t length, bool force,
                          ih_error *error)
{
    ih_handle handle;
    if (store->remote != NULL) {
        ih_result found = ih_lookup(store, name, length, &handle, NULL, error);
        if (found != IH_OK)
            return found;
        return ih_remote_delete(store, handle, force, force ? NULL : name, force ? 0 : length,
                                error);
    }
    ih_lock(store->process);
    const ih_name_entry *entry = ih_names_find(&store->names, name, length);
    ih_result result;
    if (entry == NULL || !entry->bound)
        result = ih_fail(error, store->closed ? IH_CLOSED : IH_UNKNOWN, 0, "look up a name");
    else if (!force && ih_names_count(&store->names, entry->handle.locator) > 1)
        result = ih_fail(error, IH_CONFLICT, 0, "delete an image that has names");
    else
        result = delete_locked(store, entry->handle, true, error);
    ih_unlock(store->process);
    return result;
}

ih_result ih_delete_some(ih_store *store, const ih_handle *handles, size_t count, bool force,
                         size_t *failed, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_delete_some(store, handles, count, force, failed, error);
    ih_result first = IH_OK;
    for (size_t i = 0; i < count; i++) {
        ih_result result = ih_delete(store, handles[i], force, first == IH_OK ? error : NULL);
        if (result == IH_OK || first != IH_OK)
            continue;
        first = result;
        *failed = i;
    }
    return first;
}
