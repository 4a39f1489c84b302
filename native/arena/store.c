/* The embedded store: opening, closing, and what they leave behind.
 *
 * A store's struct has one reference of its caller and one of each segment. Closing condemns every
 * image: what nobody leases goes at once, the rest with its last lease; a segment goes when it is
 * empty. So nothing is ever unmapped under a reader, and the struct goes with the last of both.
 */
#include "remote.h"

#include <errno.h>
#include <stdlib.h>

#define SEGMENT_SIZE_MAX (UINT64_C(1) << 30)
#define SEGMENT_SIZE_USUAL (UINT64_C(64) << 20)
#define SEGMENT_SIZE_MIN (UINT64_C(64) << 10)
#define FIRST_SEGMENT (UINT64_C(1) << 20)
#define CAPACITY_MIN (UINT64_C(64) << 10)
#define LARGEST_SEGMENTS 8u

uint64_t ih_default_capacity(void)
{
    ih_os_cgroup cgroup;
    ih_os_cgroup_find(&cgroup);
    return ih_os_memory_limit(&cgroup) / 2u / IH_PAGE * IH_PAGE;
}

/* An eighth of a small store, so that it has several segments; a power of two. */
static uint64_t usual_segment_size(uint64_t capacity)
{
    uint64_t size = SEGMENT_SIZE_USUAL;
    while (size > capacity / 8u && size > SEGMENT_SIZE_MIN)
        size /= 2u;
    return size;
}

ih_result ih_store_open(ih_process *process, const ih_store_options *options, ih_store **out,
                        ih_error *error)
{
    uint64_t capacity = options->capacity != 0 ? options->capacity : ih_default_capacity();
    uint64_t size =
        options->segment_size != 0 ? options->segment_size : usual_segment_size(capacity);
    if (capacity < CAPACITY_MIN || capacity > INT64_MAX)
        return ih_fail(error, IH_INVALID, 0, "open a store: its capacity must be 64 KiB or more");
    if (size < SEGMENT_SIZE_MIN || size > SEGMENT_SIZE_MAX || (size & (size - 1u)) != 0)
        return ih_fail(error, IH_INVALID, 0,
                       "open a store: segment_size must be a power of two, 64 KiB to 1 GiB");
    ih_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "open a store");
    uint64_t start = 0;
    int code = ih_os_random(&start, sizeof start);
    if (code == 0)
        code = ih_os_random(store->names.key, sizeof store->names.key);
    if (code == 0)
        code = ih_os_random(store->identity, sizeof store->identity);
    if (code != 0) {
        free(store);
        return ih_fail(error, IH_SYSTEM, code, "open a store");
    }
    store->process = process;
    store->references = 1;
    store->capacity = capacity;
    store->segment_size = size;
    store->ephemeral = options->ephemeral;
    store->next_id = start & IH_ID_MASK;
    store->first_bytes = store->next_bytes = size < FIRST_SEGMENT ? size : FIRST_SEGMENT;
    store->queue_count_scan = 64;
    store->queue_bytes_scan = capacity / 16u;
    ih_lock(process);
    store->next = process->stores;
    process->stores = store;
    ih_unlock(process);
    *out = store;
    return IH_OK;
}

void ih_store_release(ih_store *store)
{
    if (--store->references > 0)
        return;
    for (ih_store **link = &store->process->stores; *link != NULL; link = &(*link)->next) {
        if (*link == store) {
            *link = store->next;
            break;
        }
    }
    ih_process *process = store->process;
    ih_family *family = store->family;
    if (family != NULL)
        family->stores--;
    if (store->remote != NULL) {
        ih_remote_destroy(store);
        /* With the last lease goes the lock by which the daemon knows that we live. */
        for (ih_family **link = &process->families; *link != NULL; link = &(*link)->next) {
            if (*link == family && family != process->own) {
                *link = family->next;
                ih_family_destroy(family);
                break;
            }
        }
    }
    ih_names_destroy(&store->names);
    free(store);
}

/* Only the highest bin that is in use can hold it; of that the first few are looked at. */
static uint32_t largest_free(const ih_store *store)
{
    uint32_t largest = 0, word = IH_BIN_WORDS;
    while (word > 0 && store->bin_bitmap[word - 1u] == 0)
        word--;
    if (word == 0)
        return 0;
    uint32_t bin = word * 64u - 1u - (uint32_t)__builtin_clzll(store->bin_bitmap[word - 1u]);
    const ih_segment *segment = store->bins[bin];
    for (unsigned i = 0; i < LARGEST_SEGMENTS && segment != NULL; i++, segment = segment->next) {
        uint32_t here = ih_heap_largest_free(&segment->heap);
        largest = here > largest ? here : largest;
    }
    return largest;
}

ih_result ih_store_fail(const ih_store *store, ih_error *error, ih_result result, const char *what,
                        uint64_t wanted)
{
    if (error == NULL)
        return result;
    uint32_t largest = largest_free(store);
    uint64_t limit = error->limit;
    int code = error->system_errno;
    *error = (ih_error){.result = result,
                        .system_errno = code,
                        .what = what,
                        .wanted = wanted,
                        .capacity = store->capacity,
                        .used = store->used,
                        .committed = store->committed,
                        .largest_free = (uint64_t)largest << IH_UNIT_SHIFT,
                        .limit = limit};
    return result;
}

/* Condemns all images of a segment. A child may hold any of them, so each is marked; without memory
 * for the mark the image just stays until the process ends. */
static void condemn_segment(ih_segment *segment)
{
    ih_heap *heap = &segment->heap;
    if (heap->kind == IH_DEDICATED) {
        ih_header header;
        if (segment->sealed && ih_heap_sealed(heap, heap->first, NULL, &header) &&
            !ih_is_dying(segment, heap->first))
            (void)ih_image_condemn(segment, heap->first, &header);
        return;
    }
    /* Freeing merges blocks behind the walk, never before it: the next block is looked up first.
     * The segment itself may go with its last image, but only at the last block that was in use. */
    uint32_t sealed = 0;
    uint32_t unit = heap->first;
    ih_header header;
    do {
        sealed +=
            ih_heap_sealed(heap, unit, NULL, &header) && !ih_is_dying(segment, unit) ? 1u : 0u;
    } while (ih_heap_next(heap, &unit));
    unit = heap->first;
    while (sealed > 0) {
        uint32_t next = unit;
        bool more = ih_heap_next(heap, &next);
        if (ih_heap_sealed(heap, unit, NULL, &header) && !ih_is_dying(segment, unit)) {
            sealed--;
            (void)ih_image_condemn(segment, unit, &header);
        }
        if (!more)
            break;
        unit = next;
    }
}

static void close_owned(ih_store *store)
{
    /* No scan before the walk is over: it would drop segments that the walk still leads to. */
    store->queue_count_scan = store->queue_bytes_scan = UINT64_MAX;
    store->closing = true;
    for (ih_segment *segment = store->all; segment != NULL;) {
        ih_segment *next = segment->all_next;
        bool ordinary = segment->heap.kind == IH_ORDINARY;
        if (segment->idle_ns != 0)
            ih_space_drop(segment);
        else if (ordinary || segment->sealed)
            condemn_segment(segment);
        segment = next;
    }
    store->closing = false;
    (void)ih_reclaim(store);
}

/* What a leased image links to may lie in any segment: they all stay until the last lease goes. */
static void close_inherited(ih_store *store)
{
    if (store->leases == 0)
        ih_space_drop_unleased(store);
}

static void close_locked(ih_store *store)
{
    if (store->closed)
        return;
    store->closed = true;
    ih_names_destroy(&store->names);
    ih_names_changed(store->process);
    if (store->remote != NULL)
        ih_remote_close(store);
    else if (store->inherited)
        close_inherited(store);
    else
        close_owned(store);
}

void ih_store_close(ih_store *store)
{
    ih_lock(store->process);
    close_locked(store);
    ih_unlock(store->process);
}

void ih_store_drop(ih_store *store)
{
    ih_process *process = store->process;
    ih_lock(process);
    if (store->remote == NULL || --store->connections == 0) {
        close_locked(store);
        store->dropped = true;
    }
    ih_store_release(store);
    ih_unlock(process);
}
