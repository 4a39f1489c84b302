/* Links between images of an embedded store; see links.h. The daemon has its own (its catalog's
 * holds). */
#include "links.h"

#include "wire.h"

#include <errno.h>
#include <stdlib.h>

/* Its delete is taken back; it goes with what keeps it now. */
static void revive(ih_entry *entry)
{
    ih_store *store = entry->lease.store;
    ih_clear_dying(entry->segment, entry->unit);
    entry->dying = false;
    store->dying--;
    store->dying_bytes -= ih_block_bytes(entry->segment, entry->block);
    __atomic_store_n(&entry->lease.fleeting, true, __ATOMIC_RELAXED);
}

static ih_entry *find_target(const ih_entry *from, ih_handle handle)
{
    ih_entry *entry = ih_map_find(&from->lease.store->process->map, handle.locator);
    bool good = entry != NULL && entry != from && entry->lease.handle.nonce == handle.nonce &&
                entry->lease.store == from->lease.store && ih_is_held(entry);
    return good ? entry : NULL;
}

ih_result ih_links_set(ih_entry *entry, const ih_handle *linked, uint32_t count, ih_error *error)
{
    if (count == 0)
        return IH_OK;
    if (entry->links != NULL || count > IH_LINKS_MAX)
        return ih_fail(error, IH_INVALID, 0, "link an image: twice, or to too many others");
    ih_links *links = malloc(sizeof *links + count * sizeof *links->to);
    if (links == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "link an image");
    for (uint32_t i = 0; i < count; i++) {
        links->to[i] = find_target(entry, linked[i]);
        if (links->to[i] == NULL) {
            free(links);
            return ih_fail(error, IH_GONE, 0, "link to an image that this process does not read");
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        links->to[i]->linked++;
        if (links->to[i]->dying && !entry->lease.store->closed)
            revive(links->to[i]);
    }
    links->count = count;
    entry->links = links;
    return IH_OK;
}

/* Whether the image goes now that a link to it is gone. */
static bool unlink_one(ih_entry *entry)
{
    ih_store *store = entry->lease.store;
    if (--entry->linked > 0 || ih_is_held(entry))
        return false;
    if (!entry->dying && !ih_is_wanted(entry))
        ih_entry_set_dying(entry);
    if (!entry->dying) {
        if (!entry->pinned && entry->links == NULL)
            ih_map_remove(&store->process->map, entry);
        return false;
    }
    /* While a store is closed a walk over its segments is under way, which frees only where it is.
     */
    if (ih_is_quiet(store) && !entry->pinned && !store->closing)
        return true;
    ih_entry_enqueue(entry);
    return false;
}

ih_entry *ih_links_release(ih_links *links, ih_entry *list)
{
    for (uint32_t i = 0; links != NULL && i < links->count; i++) {
        ih_entry *target = links->to[i];
        if (unlink_one(target)) {
            target->next = list;
            list = target;
        }
    }
    free(links);
    return list;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static ih_result publish_locked(ih_store *store, ih_handle handle,
                                const ih_publication *publication, ih_error *error)
{
    if (store->closed)
        return ih_fail(error, IH_CLOSED, 0, "publish an image of a closed store");
    if (store->inherited)
        return ih_fail(error, IH_FORKED, 0, "publish an image in a forked child");
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_segment *segment = ih_find_segment(store->process, ih_locator_id(handle.locator));
    ih_header header;
    if (!ih_may_hold(segment, unit) || segment->store != store || ih_is_dying(segment, unit) ||
        !ih_heap_sealed(&segment->heap, unit, &handle.nonce, &header))
        return ih_fail(error, IH_GONE, 0, "publish an image");
    ih_entry *entry = ih_map_find(&store->process->map, handle.locator);
    bool fresh = entry == NULL && publication->links > 0;
    if (fresh && (entry = ih_lease_add(segment, unit, &header)) == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "publish an image");
    if (entry == NULL)
        return IH_OK;
    ih_result result = ih_links_set(entry, publication->linked, publication->links, error);
    if (result != IH_OK && fresh)
        ih_map_remove(&store->process->map, entry);
    if (result == IH_OK && (publication->flags & IH_PUBLISH_KEEP) != 0)
        __atomic_store_n(&entry->lease.fleeting, false, __ATOMIC_RELAXED);
    return result;
}

ih_result ih_publish_embedded(ih_store *store, ih_handle handle, const ih_publication *publication,
                              uint64_t *version, ih_error *error)
{
    if ((publication->flags & ~IH_PUBLISH_KEEP) != 0)
        return ih_fail(error, IH_INVALID, 0,
                       "publish an image: ttl, pin and seal need the daemon's store");
    ih_lock(store->process);
    ih_result result = publish_locked(store, handle, publication, error);
    ih_unlock(store->process);
    if (result == IH_OK && publication->name != NULL)
        result = ih_bind(store, publication->name, publication->length, &handle, IH_ANY_VERSION,
                         version, error);
    return result;
}
