/* Looking: one image, all images, the store's figures. Snapshots under the lock. */
#include "links.h"
#include "remote.h"

#include "hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPLANATION 1024u

static void describe(const ih_segment *segment, uint32_t unit, const ih_header *header,
                     ih_stat *out)
{
    const ih_store *store = segment->store;
    uint64_t locator = ih_locator(segment->heap.id, unit);
    const ih_entry *entry = ih_map_find(&store->process->map, locator);
    memset(out, 0, sizeof *out);
    out->handle = (ih_handle){.locator = locator, .nonce = header->u.nonce};
    out->size = header->size;
    out->block = ih_block_bytes(segment, header->units);
    out->created_ns = header->created_ns;
    out->leases = entry != NULL && ih_is_held(entry) ? 1u : 0u;
    out->names = (uint32_t)ih_names_count(&store->names, locator);
    out->links = entry != NULL ? ih_links_count(entry) : 0u;
    out->linked = entry != NULL ? entry->linked : 0u;
    out->dying = ih_is_dying(segment, unit);
    out->dedicated = segment->heap.kind == IH_DEDICATED;
    out->sealed_by_kernel = segment->kernel_sealed;
    memcpy(out->image_header, header->image, sizeof out->image_header);
}

ih_result ih_store_stat(ih_store *store, ih_handle handle, ih_stat *out, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_stat(store, handle, out, error);
    uint32_t unit = ih_locator_unit(handle.locator);
    ih_header header;
    ih_lock(store->process);
    const ih_segment *segment = ih_find_segment(store->process, ih_locator_id(handle.locator));
    ih_result result = IH_GONE;
    if (ih_may_hold(segment, unit) && segment->store == store &&
        ih_heap_sealed(&segment->heap, unit, &handle.nonce, &header)) {
        describe(segment, unit, &header, out);
        if (store->family != NULL && !store->family->quiet)
            out->leases += ih_family_count(store->family, handle.locator);
        result = IH_OK;
    }
    ih_unlock(store->process);
    return result == IH_OK ? IH_OK : ih_fail(error, result, 0, "describe an image");
}

/* ---- the list -------------------------------------------------------------------------------- */

typedef struct {
    ih_stat *items;
    size_t count, room;
    size_t *index; /* locator -> position + 1; for counting children's leases */
    size_t mask;
} listing;

static bool list_add(listing *list, const ih_segment *segment, uint32_t unit,
                     const ih_header *header)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : list->room * 2;
        ih_stat *moved = realloc(list->items, room * sizeof *moved);
        if (moved == NULL)
            return false;
        list->items = moved;
        list->room = room;
    }
    describe(segment, unit, header, &list->items[list->count++]);
    return true;
}

/* In a child the owner may be writing: each step stays inside the segment, and what is no image is
 * left out. */
static bool list_segment(listing *list, const ih_segment *segment)
{
    ih_header header;
    uint32_t unit = segment->heap.first;
    if (segment->heap.kind == IH_DEDICATED) {
        if (!segment->sealed || !ih_heap_sealed(&segment->heap, unit, NULL, &header))
            return true;
        return list_add(list, segment, unit, &header);
    }
    do {
        if (ih_heap_sealed(&segment->heap, unit, NULL, &header) &&
            !list_add(list, segment, unit, &header))
            return false;
    } while (ih_heap_next(&segment->heap, &unit));
    return true;
}

static bool build_index(listing *list)
{
    size_t cells = 16;
    while (cells < list->count * 2)
        cells *= 2;
    list->index = calloc(cells, sizeof *list->index);
    if (list->index == NULL)
        return false;
    list->mask = cells - 1;
    for (size_t i = 0; i < list->count; i++) {
        size_t at = (size_t)ih_mix(list->items[i].handle.locator) & list->mask;
        while (list->index[at] != 0)
            at = (at + 1) & list->mask;
        list->index[at] = i + 1;
    }
    return true;
}

static void count_lease(void *context, uint64_t locator)
{
    listing *list = context;
    size_t at = (size_t)ih_mix(locator) & list->mask;
    while (list->index[at] != 0) {
        ih_stat *item = &list->items[list->index[at] - 1];
        if (item->handle.locator == locator) {
            item->leases++;
            return;
        }
        at = (at + 1) & list->mask;
    }
}

ih_result ih_store_list(ih_store *store, ih_stat **out, size_t *count, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_list(store, out, count, error);
    listing list = {0};
    bool good = true;
    ih_lock(store->process);
    for (const ih_segment *segment = store->all; good && segment != NULL;
         segment = segment->all_next)
        good = list_segment(&list, segment);
    if (good && !store->inherited && store->family != NULL && !store->family->quiet) {
        good = build_index(&list);
        if (good)
            (void)ih_family_scan(store->family, count_lease, &list);
    }
    ih_unlock(store->process);
    free(list.index);
    if (good && list.items == NULL)
        list.items = malloc(sizeof *list.items);
    if (!good || list.items == NULL) {
        free(list.items);
        return ih_fail(error, IH_MEMORY, ENOMEM, "list the images");
    }
    *out = list.items;
    *count = list.count;
    return IH_OK;
}

/* ---- figures --------------------------------------------------------------------------------- */

static void usage_locked(const ih_store *store, ih_usage *out)
{
    *out = (ih_usage){.capacity = store->capacity,
                      .committed = store->committed,
                      .used = store->used,
                      .warm = store->warm,
                      .images = store->images,
                      .dying = store->dying,
                      .dying_bytes = store->dying_bytes,
                      .leases = store->leases,
                      .names = store->names.bound,
                      .segments = store->segment_count,
                      .puts = store->puts,
                      .opens = store->opens,
                      .deletes = store->deletes};
    for (const ih_segment *segment = store->all; segment != NULL; segment = segment->all_next) {
        if (segment->heap.kind != IH_ORDINARY)
            continue;
        out->free += (uint64_t)ih_heap_header(&segment->heap)->free_units << IH_UNIT_SHIFT;
        uint64_t largest = (uint64_t)ih_heap_largest_free(&segment->heap) << IH_UNIT_SHIFT;
        out->largest_free = largest > out->largest_free ? largest : out->largest_free;
    }
    if (out->free > 0)
        out->fragmentation = 1.0 - (double)out->largest_free / (double)out->free;
}

ih_result ih_store_usage(ih_store *store, ih_usage *out, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_usage(store, out, error);
    ih_lock(store->process);
    (void)ih_reclaim(store);
    ih_unlock(store->process); /* what that emptied is unmapped, and counted no more */
    ih_lock(store->process);
    ih_result result = store->inherited ? IH_FORKED : IH_OK;
    if (result == IH_OK)
        usage_locked(store, out);
    ih_unlock(store->process);
    return result == IH_OK
               ? IH_OK
               : ih_fail(error, result, 0, "ask for the figures of a store in a forked child");
}

ih_result ih_store_trim(ih_store *store, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_trim(store, error);
    ih_lock(store->process);
    ih_result result = store->inherited ? IH_FORKED : IH_OK;
    if (result == IH_OK) {
        (void)ih_reclaim(store);
        (void)ih_space_shed(store, true);
    }
    ih_unlock(store->process);
    return result == IH_OK ? IH_OK : ih_fail(error, result, 0, "trim a store in a forked child");
}

/* ---- reasons --------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void say(char *text, size_t *length,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(text + *length, EXPLANATION - *length, format, arguments);
    va_end(arguments);
    *length += added > 0 ? (size_t)added : 0;
    *length = *length < EXPLANATION ? *length : EXPLANATION - 1u;
}

#define NAMES_TOLD 8u

/* The first few of the names, those that fit whole. */
static void say_names(ih_store *store, const ih_stat *found, char *text, size_t *length)
{
    ih_name *names;
    size_t count, told = 0;
    if (ih_store_names(store, "", 0, &names, &count, NULL) != IH_OK)
        return;
    say(text, length, "Names bound to it: %" PRIu32, found->names);
    for (size_t i = 0; i < count && told < NAMES_TOLD; i++) {
        if (names[i].handle.locator != found->handle.locator ||
            names[i].handle.nonce != found->handle.nonce ||
            *length + names[i].length + 200u > EXPLANATION)
            continue;
        say(text, length, "%s'%s'", told == 0 ? ": " : ", ", names[i].name);
        told++;
    }
    say(text, length, "%s.\n", told > 0 && told < found->names ? ", ..." : "");
    free(names);
}

static void explain(ih_store *store, const ih_stat *found, bool fleeting, char *text)
{
    size_t length = 0;
    if (found->dying)
        say(text, &length, "It was deleted; its memory stays while somebody holds it.\n");
    else if (fleeting && found->names == 0)
        say(text, &length, "It is alive until its last view goes: it was frozen and never put.\n");
    else
        say(text, &length, "It is alive: it was put, and nobody has deleted it.\n");
    if (found->names > 0)
        say_names(store, found, text, &length);
    if (found->leases > 0)
        say(text, &length, "Processes with a lease on it, for views of it: %" PRIu32 ".\n",
            found->leases);
    if (found->linked > 0)
        say(text, &length, "Images that link to it: %" PRIu32 ".\n", found->linked);
    if (found->dying && found->leases == 0 && found->linked == 0)
        say(text, &length, "Nobody holds it: its memory goes with the next scan.\n");
}

ih_result ih_store_explain(ih_store *store, ih_handle handle, char **text, ih_error *error)
{
    if (store->remote != NULL)
        return ih_remote_explain(store, handle, text, error);
    ih_stat found;
    ih_result result = ih_store_stat(store, handle, &found, NULL);
    if (result != IH_OK && result != IH_GONE)
        return ih_fail(error, result, 0, "explain an image");
    char *out = malloc(EXPLANATION);
    if (out == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "explain an image");
    ih_lock(store->process);
    const ih_entry *entry = ih_map_find(&store->process->map, handle.locator);
    bool fleeting = store->ephemeral || (entry != NULL && entry->lease.fleeting);
    ih_unlock(store->process);
    out[0] = '\0';
    size_t length = 0;
    if (result == IH_OK)
        explain(store, &found, fleeting, out);
    else
        say(out, &length,
            "It is gone: it was deleted and freed, or never was in this store, which keeps no "
            "record of what went.\n");
    *text = out;
    return IH_OK;
}
