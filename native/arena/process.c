/* The process: its lock, the table of segments, and what happens around a fork.
 *
 * Around a fork. prepare() takes the lock, so that the child inherits the tables whole, and makes
 * the child's membership in each family whose stores this process has (family.c). In the child
 * every store is inherited: the writable mappings are gone (MADV_DONTFORK, H8), so nothing may be
 * put, deleted or bound; its leases are those of the parent, already published under the child's
 * own lock. Where a membership can't be prepared the parent never frees what it leases at that
 * moment, and the child opens nothing new. A process without stores does nothing but lock and
 * unlock.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "remote.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>

ih_result ih_process_create(ih_process **out, ih_error *error)
{
    ih_process *process = calloc(1, sizeof *process);
    if (process == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "create the process's tables");
    int code = ih_os_random(process->nonce_key, sizeof process->nonce_key);
    if (code == 0) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
#ifdef PTHREAD_MUTEX_ADAPTIVE_NP
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
        code = pthread_mutex_init(&process->lock, &attributes);
        pthread_mutexattr_destroy(&attributes);
    }
    if (code != 0) {
        free(process);
        return ih_fail(error, IH_SYSTEM, code, "create the process's tables");
    }
    ih_os_cgroup_find(&process->room.cgroup);
    process->maps_max = ih_os_maps_max() / 2u;
    process->readers_max = ih_os_files_max() / 8u;
    *out = process;
    return IH_OK;
}

/* What is still leased goes too: the caller says that nobody looks any more. */
static void drop_all(ih_process *process, ih_store *store)
{
    store->references++;
    for (ih_segment *segment = store->all; segment != NULL;) {
        ih_segment *next = segment->all_next;
        ih_space_drop(segment);
        segment = next;
    }
    ih_unlock(process);
    ih_lock(process);
    ih_store_release(store);
}

void ih_process_destroy(ih_process *process)
{
    for (;;) {
        ih_store *store = process->stores;
        while (store != NULL && store->dropped)
            store = store->next;
        if (store == NULL)
            break;
        ih_store_drop(store);
    }
    ih_lock(process);
    while (process->stores != NULL)
        drop_all(process, process->stores);
    ih_map_destroy(&process->map);
    for (ih_family *family = process->families; family != NULL;) {
        ih_family *next = family->next;
        ih_family_destroy(family);
        family = next;
    }
    for (ih_bits *bits = process->bits; bits != NULL;) {
        ih_bits *next = bits->next;
        ih_os_unmap(bits->dying, IH_PAGE);
        if (bits->reader >= 0 && ih_os_is_same(bits->reader, &bits->reader_file))
            ih_os_close(bits->reader);
        free(bits);
        bits = next;
    }
    free(process->segments);
    pthread_mutex_unlock(&process->lock);
    pthread_mutex_destroy(&process->lock);
    free(process);
}

void ih_unlock(ih_process *process)
{
    ih_segment *dead = process->graveyard;
    ih_store *flush = process->flush;
    process->graveyard = NULL;
    process->flush = NULL;
    pthread_mutex_unlock(&process->lock);
    if (flush != NULL) {
        ih_remote_flush(flush);
        ih_lock(process);
        ih_store_release(flush);
        pthread_mutex_unlock(&process->lock);
    }
    while (dead != NULL) {
        ih_segment *next = dead->next;
        ih_store *store = dead->store;
        uint64_t bytes = dead->bytes;
        bool had_reader = dead->counted;
        ih_segment_destroy(dead);
        ih_lock(process);
        process->readers -= had_reader ? 1u : 0u;
        store->committed -= bytes;
        store->moving -= bytes;
        process->maps -= IH_MAPS_EACH;
        ih_store_release(store);
        pthread_mutex_unlock(&process->lock);
        dead = next;
    }
}

/* ---- segments by id -------------------------------------------------------------------------- */

static size_t home(const ih_process *process, uint64_t id)
{
    return (size_t)ih_mix(id) & process->segments_mask;
}

ih_segment *ih_find_segment(const ih_process *process, uint64_t id)
{
    if (process->segments == NULL)
        return NULL;
    for (size_t at = home(process, id); process->segments[at] != NULL;
         at = (at + 1) & process->segments_mask) {
        if (process->segments[at]->heap.id == id)
            return process->segments[at];
    }
    return NULL;
}

static void place(ih_process *process, ih_segment *segment)
{
    size_t at = home(process, segment->heap.id);
    while (process->segments[at] != NULL)
        at = (at + 1) & process->segments_mask;
    process->segments[at] = segment;
}

bool ih_reserve_registration(ih_process *process)
{
    size_t cells = process->segments == NULL ? 0 : process->segments_mask + 1;
    if ((process->segments_count + 1) * 2 <= cells)
        return true;
    ih_segment **old = process->segments;
    size_t wanted = cells == 0 ? 64 : cells * 2;
    ih_segment **fresh = calloc(wanted, sizeof(ih_segment *));
    if (fresh == NULL)
        return false;
    process->segments = fresh;
    process->segments_mask = wanted - 1;
    for (size_t i = 0; i < cells; i++) {
        if (old[i] != NULL)
            place(process, old[i]);
    }
    free(old);
    return true;
}

bool ih_register_segment(ih_process *process, ih_segment *segment)
{
    if (!ih_reserve_registration(process))
        return false;
    place(process, segment);
    process->segments_count++;
    segment->registered = true;
    return true;
}

void ih_unregister_segment(ih_process *process, ih_segment *segment)
{
    size_t hole = home(process, segment->heap.id);
    while (process->segments[hole] != segment)
        hole = (hole + 1) & process->segments_mask;
    for (size_t at = (hole + 1) & process->segments_mask; process->segments[at] != NULL;
         at = (at + 1) & process->segments_mask) {
        size_t wanted = home(process, process->segments[at]->heap.id);
        if (((at - wanted) & process->segments_mask) >= ((at - hole) & process->segments_mask)) {
            process->segments[hole] = process->segments[at];
            hole = at;
        }
    }
    process->segments[hole] = NULL;
    process->segments_count--;
    segment->registered = false;
}

/* Ids of a store count up from a random point; one that another store of this process uses is
 * skipped, so an id means one segment here. Zero is left out: a locator is never 0. */
uint64_t ih_new_id(ih_store *store)
{
    uint64_t id;
    do {
        id = store->next_id;
        store->next_id = (store->next_id + 1u) & IH_ID_MASK;
    } while (id == 0 || ih_find_segment(store->process, id) != NULL);
    return id;
}

/* ---- fork ------------------------------------------------------------------------------------ */

bool ih_join_own_family(ih_process *process)
{
    for (ih_store *store = process->stores; store != NULL; store = store->next) {
        if (store->inherited || store->family != NULL || store->remote != NULL)
            continue;
        if (process->own == NULL) {
            if (ih_family_create(&process->own, NULL) != IH_OK)
                return false;
            process->own->next = process->families;
            process->families = process->own;
        }
        store->family = process->own;
        store->family->stores++;
    }
    return true;
}

/* Where this process does not own the store its entries outlive their leases only so, and with them
 * the segment must stay. */
static void pin(ih_entry *entry)
{
    ih_store *store = entry->lease.store;
    entry->pinned = true;
    if (entry->anchored || !(store->inherited || store->remote != NULL))
        return;
    entry->anchored = true;
    entry->segment->leases++;
    store->leases++;
}

static void unpin(ih_entry *entry)
{
    entry->pinned = false;
    if (!entry->anchored)
        return;
    entry->anchored = false;
    entry->segment->leases--;
    entry->lease.store->leases--;
}

/* Publishes this process's leases in one family for the child; on failure pins them. */
static void prepare_family(ih_process *process, ih_family *family)
{
    ih_result result = family == NULL || family->blind ? IH_SYSTEM : ih_family_prepare(family);
    size_t cursor = 0;
    for (ih_entry *entry;
         result == IH_OK && (entry = ih_map_next(&process->map, &cursor)) != NULL;) {
        if (entry->lease.store->family == family && ih_is_held(entry))
            result = ih_family_give(family, entry->lease.handle.locator, &entry->child_slot);
    }
    if (result == IH_OK)
        return;
    if (family != NULL && family->child_fd >= 0)
        ih_family_prepare_failed(family);
    cursor = 0;
    for (ih_entry *entry; (entry = ih_map_next(&process->map, &cursor)) != NULL;) {
        if (entry->lease.store->family == family && ih_is_held(entry))
            pin(entry);
    }
}

/* An end waits for nobody: who has the lock may never give it back. Nor ih_unlock(), which may
 * ask the daemon for something. */
void ih_process_leave(ih_process *process)
{
    if (pthread_mutex_trylock(&process->lock) != 0)
        return;
    for (ih_store *store = process->stores; store != NULL; store = store->next) {
        if (store->remote != NULL)
            ih_remote_say_closed(store, true);
    }
    pthread_mutex_unlock(&process->lock);
}

void ih_process_fork_prepare(ih_process *process)
{
    ih_lock(process);
    if (process->stores == NULL)
        return;
    if (!ih_join_own_family(process))
        prepare_family(process, NULL);
    for (ih_family *family = process->families; family != NULL; family = family->next) {
        if (family->stores > 0)
            prepare_family(process, family);
    }
}

void ih_process_fork_parent(ih_process *process)
{
    for (ih_family *family = process->families; family != NULL; family = family->next)
        ih_family_fork_parent(family);
    ih_unlock(process);
}

/* Writable aliases are not mapped here, and descriptors of images being written are none of ours.
 */
static void disown_segments(ih_store *store)
{
    for (ih_segment *segment = store->all; segment != NULL; segment = segment->all_next) {
        /* The alias's addresses will be used for something else, which must not look poisoned. */
        ih_heap_poison(&segment->heap, 0, segment->heap.end, false);
        segment->heap.base = NULL;
        ih_os_close(segment->fd);
        segment->fd = -1;
        if (store->remote == NULL)
            segment->idle_ns = 0;
    }
    if (store->remote != NULL) {
        ih_remote_fork_child(store);
        return;
    }
    store->inherited = true;
    store->queue = NULL;
    store->queue_count = store->queue_bytes = 0;
}

void ih_process_fork_child(ih_process *process)
{
    for (ih_store *store = process->stores; store != NULL; store = store->next)
        disown_segments(store);
    for (ih_family **link = &process->families; *link != NULL;) {
        ih_family *family = *link;
        if (family->stores == 0) {
            *link = family->next;
            ih_family_destroy(family);
            continue;
        }
        ih_family_fork_child(family);
        link = &family->next;
    }
    process->activity = (ih_activity){.puts = 0};
    process->own = NULL;
    process->graveyard = NULL;
    if (process->flush != NULL)
        process->flush->references--;
    process->flush = NULL;
    process->waiters = 0;
    /* Inherited segments look at their bits in these pages, which are the owner's to give out: for
     * us they are full. */
    for (ih_bits *bits = process->bits; bits != NULL; bits = bits->next)
        bits->count = IH_PAGE * 8u;
    for (size_t cursor = 0;;) {
        ih_entry *entry = ih_map_next(&process->map, &cursor);
        if (entry == NULL)
            break;
        ih_family *family = entry->lease.store->family;
        entry->slot = family != NULL && !family->blind ? entry->child_slot : IH_NO_SLOT;
        unpin(entry);
        free(entry->links); /* the owner's business, as are the frees */
        entry->links = NULL;
        entry->linked = 0;
        if (entry->lease.store->remote != NULL)
            entry->lease.fleeting = false; /* the parent decides */
        if (!ih_is_held(entry)) {
            /* Deleted already, or pinned: the owner's business. Removal moves a later cell into the
             * hole, or one that was seen before: the hole is looked at again. */
            ih_map_remove(&process->map, entry);
            cursor--;
        }
    }
    /* The child makes handles of its own in stores of its own. Without fresh randomness the pid
     * still tells them apart. */
    uint64_t fresh[2] = {0, 0};
    if (ih_os_random(fresh, sizeof fresh) == 0) {
        process->nonce_key[0] = fresh[0];
        process->nonce_key[1] = fresh[1];
    }
    pthread_mutex_unlock(&process->lock);
}
