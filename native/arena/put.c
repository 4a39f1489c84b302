/* Putting: reserve a block, fill it, seal it.
 *
 * Reserving is O(1) under the lock where a segment with room or a warm one exists. Else a segment
 * is made outside the lock, its bytes being counted as committed before, so that threads at once
 * can't exceed the capacity together. What stands in the way of a new segment goes first: deleted
 * images that no child holds, warm segments, empty ones.
 */
#include "remote.h"

#include "hash.h"

#include <errno.h>

/* The end of its segment, in units, has 32 bits. */
#define DEDICATED_MAX (((uint64_t)UINT32_MAX << IH_UNIT_SHIFT) - 2u * IH_PAGE)

static uint64_t round_page(uint64_t bytes) { return (bytes + IH_PAGE - 1u) / IH_PAGE * IH_PAGE; }

/* The smallest ordinary segment that holds a block of `size` bytes. */
static uint64_t least_segment(uint64_t size)
{
    uint64_t body = round_page(size + IH_PAGE);
    return round_page(body + ih_start_map_bytes(body + body / 64u + IH_PAGE));
}

typedef struct {
    uint64_t size;
    uint32_t units; /* ordinary */
    bool dedicated, seal, modest;
    uint64_t segment_bytes; /* of the segment to be made */
} request;

void ih_block_fill(ih_block *out, ih_segment *segment, uint32_t unit, uint64_t size, uint32_t units,
                   unsigned flags)
{
    ih_store *store = segment->store;
    store->used += ih_block_bytes(segment, units);
    segment->writers++;
    out->store = store;
    out->memory =
        segment->heap.base != NULL ? segment->heap.base + ((size_t)unit << IH_UNIT_SHIFT) : NULL;
    out->size = size;
    out->locator = ih_locator(segment->heap.id, unit);
    out->segment = segment;
    out->flags = flags;
}

static void fill_block(ih_block *out, ih_segment *segment, uint32_t unit, const request *want)
{
    ih_block_fill(out, segment, unit, want->size,
                  want->dedicated ? segment->heap.end - segment->heap.first : want->units,
                  want->seal ? IH_PUT_SEAL : 0u);
}

/* From what is there already. */
static bool try_existing(ih_store *store, const request *want, ih_block *out)
{
    ih_segment *segment = NULL;
    uint32_t unit = 0;
    if (!want->dedicated) {
        if (!ih_space_place(store, want->units, &segment, &unit))
            return false;
    } else {
        segment = want->seal ? NULL : ih_space_take_warm(store, want->segment_bytes);
        if (segment == NULL)
            return false;
        unit = segment->heap.first;
    }
    fill_block(out, segment, unit, want);
    return true;
}

/* Bytes for a new segment that fit the capacity; 0: none do. */
static uint64_t choose_bytes(const ih_store *store, const request *want)
{
    uint64_t left = store->capacity > store->committed ? store->capacity - store->committed : 0;
    uint64_t least = want->dedicated ? want->segment_bytes : least_segment(want->size);
    if (least > left)
        return 0;
    if (want->dedicated || want->modest)
        return least;
    uint64_t bytes = store->next_bytes;
    while (bytes < least)
        bytes *= 2u;
    left = left / IH_PAGE * IH_PAGE;
    return bytes < left ? bytes : left;
}

/* Under the lock. Frees what can be freed for a request; true: worth another try. */
static bool make_room(ih_store *store) { return ih_reclaim(store) || ih_space_shed(store, true); }

static ih_result refused(const ih_store *store)
{
    return store->closed ? IH_CLOSED : store->inherited ? IH_FORKED : IH_OK;
}

/* Under the lock. IH_OK with *bytes 0: the block is reserved; else a segment of that size is
 * accounted for. */
static ih_result plan(ih_store *store, request *want, ih_block *out, uint64_t *bytes,
                      ih_error *error)
{
    ih_result result = refused(store);
    if (result != IH_OK)
        return ih_fail(error, result, 0, "reserve a block");
    ih_space_sweep(store);
    *bytes = 0;
    for (;;) {
        if (try_existing(store, want, out))
            return IH_OK;
        /* Deleted images first: the memory is there already. */
        if (store->queue_bytes >= want->size && ih_reclaim(store))
            continue;
        break;
    }
    *bytes = choose_bytes(store, want);
    if (*bytes == 0)
        return ih_store_fail(store, error, IH_FULL, "reserve a block", want->size);
    ih_process *process = store->process;
    if (process->maps + IH_MAPS_EACH > process->maps_max || !ih_reserve_registration(process))
        return ih_store_fail(store, error, IH_MEMORY, "map one more segment", want->size);
    process->maps += IH_MAPS_EACH;
    store->committed += *bytes;
    store->moving += *bytes;
    store->references++;
    return IH_OK;
}

/* Undoes plan()'s accounting. Under the lock. */
static void unplan(ih_store *store, uint64_t bytes)
{
    store->process->maps -= IH_MAPS_EACH;
    store->committed -= bytes;
    ih_store_release(store);
}

/* A new segment enters the store, if that is still open. Under the lock. */
static ih_result admit(ih_store *store, ih_segment *segment, const request *want, ih_block *out,
                       ih_error *error)
{
    ih_result result = refused(store);
    if (result != IH_OK)
        return ih_fail(error, result, 0, "reserve a block");
    if (!ih_reserve_registration(store->process))
        return ih_fail(error, IH_MEMORY, ENOMEM, "register a segment");
    if (want->dedicated && !ih_take_dying_bit(store->process, segment))
        return ih_fail(error, IH_MEMORY, ENOMEM, "map a page of dying bits");
    (void)ih_register_segment(store->process, segment);
    ih_space_add(store, segment);
    ih_visit_count(store->process, segment);
    uint32_t unit = segment->heap.first;
    if (!want->dedicated) {
        unit = ih_heap_alloc(&segment->heap, want->units);
        if (store->next_bytes < store->segment_size)
            store->next_bytes *= 2u;
        ih_space_rebin(segment);
    }
    fill_block(out, segment, unit, want);
    return IH_OK;
}

/* Without the lock. */
static ih_result make_segment(ih_store *store, const request *want, uint64_t bytes, ih_block *out,
                              ih_error *error)
{
    ih_process *process = store->process;
    ih_segment *segment = NULL;
    ih_lock(process);
    uint64_t id = ih_new_id(store);
    ih_unlock(process);
    ih_result result = want->dedicated
                           ? ih_segment_create_dedicated(id, bytes, &segment, error)
                           : ih_segment_create(&process->room, id, bytes, &segment, error);
    /* What is written later is looked at now too: better to refuse before the object is encoded. */
    if (result == IH_OK && want->dedicated) {
        uint64_t part = bytes < (UINT64_C(16) << 20) ? bytes : UINT64_C(16) << 20;
        ih_room fresh = {.cgroup = process->room.cgroup};
        result = ih_room_take(bytes > part ? &fresh : &process->room, bytes, error);
    }
    ih_lock(process);
    store->moving -= bytes;
    if (result == IH_OK)
        result = admit(store, segment, want, out, error);
    if (result != IH_OK)
        unplan(store, bytes);
    ih_unlock(process);
    if (result != IH_OK && segment != NULL)
        ih_segment_destroy(segment);
    return result;
}

static ih_result prepare_request(const ih_store *store, uint64_t size, unsigned flags,
                                 request *want, ih_error *error)
{
    unsigned known = store->remote != NULL ? IH_PUT_SEAL | IH_PUT_EVICTABLE : IH_PUT_SEAL;
    if (size < IH_HEADER_SIZE || (flags & ~known) != 0)
        return ih_fail(error, IH_INVALID, 0,
                       "reserve a block: the size includes the header of 64 bytes");
    *want = (request){.size = size, .seal = (flags & IH_PUT_SEAL) != 0};
    want->dedicated = (flags & known) != 0 || size > store->segment_size / 4u;
    if (size > store->capacity || size > DEDICATED_MAX) {
        ih_lock(store->process);
        ih_result result = ih_store_fail(store, error, IH_FULL, "reserve a block", size);
        ih_unlock(store->process);
        return result;
    }
    if (want->dedicated)
        want->segment_bytes = round_page(size) + IH_PAGE;
    else
        want->units = (uint32_t)((size + IH_UNIT - 1u) >> IH_UNIT_SHIFT);
    return IH_OK;
}

ih_result ih_reserve(ih_store *store, uint64_t size, unsigned flags, ih_block *out, ih_error *error)
{
    ih_process *process = store->process;
    request want;
    ih_error local = {0};
    error = error != NULL ? error : &local;
    ih_result result = prepare_request(store, size, flags, &want, error);
    if (result != IH_OK) {
        if (result == IH_FULL)
            ih_count_full(store);
        return result;
    }
    if (store->remote != NULL) {
        ih_wanted wanted = {
            .size = size, .units = want.units, .flags = flags, .dedicated = want.dedicated};
        return ih_remote_reserve(store, &wanted, out, error);
    }
    for (;;) {
        uint64_t bytes = 0;
        *error = (ih_error){0};
        ih_lock(process);
        result = plan(store, &want, out, &bytes, error);
        bool again =
            result != IH_OK && (result == IH_FULL || result == IH_MEMORY) && make_room(store);
        ih_unlock(process); /* unmaps what make_room() buried */
        if (again)
            continue;
        if (result == IH_FULL || result == IH_MEMORY)
            ih_count_full(store);
        if (result != IH_OK || bytes == 0)
            return result;
        result = make_segment(store, &want, bytes, out, error);
        if (result != IH_MEMORY)
            return result;
        ih_lock(process);
        again = make_room(store);
        if (!again && !want.modest && !want.dedicated)
            again = want.modest = true; /* memory is short: no larger a segment than it takes */
        if (!again)
            (void)ih_store_fail(store, error, IH_MEMORY, error->what, size);
        ih_unlock(process);
        if (!again) {
            ih_count_full(store);
            return IH_MEMORY;
        }
    }
}

/* What failed for want of memory while a block was filled gets the store's figures. */
static ih_result with_figures(const ih_block *block, ih_result result, ih_error *error)
{
    if (result != IH_MEMORY || error == NULL || block->store->remote != NULL)
        return result;
    ih_lock(block->store->process);
    (void)ih_store_fail(block->store, error, result, error->what, block->size);
    ih_unlock(block->store->process);
    return result;
}

/* A forked child has neither the writable mapping nor the descriptor of what its parent fills. */
static bool is_inherited(const ih_block *block)
{
    const ih_segment *segment = block->segment;
    return block->store->inherited || (segment->range != NULL && segment->heap.base == NULL &&
                                       (block->memory != NULL || segment->fd < 0));
}

ih_result ih_block_write(ih_block *block, uint64_t offset, const void *source, uint64_t size,
                         ih_error *error)
{
    ih_segment *segment = block->segment;
    if (segment == NULL || offset < IH_HEADER_SIZE || offset > block->size ||
        size > block->size - offset)
        return ih_fail(error, IH_INVALID, 0, "write into a block");
    if (is_inherited(block))
        return ih_fail(error, IH_FORKED, 0, "write into a block in a forked child");
    if (block->memory != NULL) {
        __builtin_memcpy(block->memory + offset, source, (size_t)size);
        return IH_OK;
    }
    uint64_t start = (uint64_t)segment->heap.first << IH_UNIT_SHIFT;
    /* What the daemon grants is committed (H13). */
    ih_room *room = segment->range == NULL ? &block->store->process->room : NULL;
    ih_result result = ih_segment_write(segment, room, start + offset, source, size, error);
    return with_figures(block, result, error);
}

/* Under the lock: counts the image and takes a lease if one is wanted. In a daemon's store the
 * lease stands in the family's table already, before anybody else could find the image. */
static ih_result publish(ih_block *block, const ih_header *header, const uint8_t image[16],
                         uint32_t slot, ih_lease **lease, ih_error *error)
{
    ih_segment *segment = block->segment;
    ih_store *store = block->store;
    ih_result result = refused(store);
    if (result != IH_OK)
        return ih_fail(error, result, 0, "seal an image");
    ih_entry *entry = NULL;
    if (lease != NULL) {
        entry = ih_lease_add(segment, ih_locator_unit(block->locator), header);
        if (entry == NULL)
            return ih_fail(error, IH_MEMORY, ENOMEM, "lease an image");
        entry->count = 1;
        entry->slot = slot;
        segment->leases++;
        store->leases++;
        *lease = &entry->lease;
    }
    if (block->memory != NULL)
        ih_heap_seal(&segment->heap, ih_locator_unit(block->locator), header->u.nonce, header->size,
                     header->created_ns, header->flags, image);
    ih_visit_count(store->process, segment);
    segment->sealed = true;
    segment->writers--;
    store->images++;
    ih_count_put(store, header->size);
    if (segment->range != NULL && segment->leases == 0)
        ih_remote_unused(segment);
    return IH_OK;
}

static ih_result take_slot(ih_block *block, uint32_t *slot, ih_error *error)
{
    ih_store *store = block->store;
    ih_lock(store->process);
    ih_result result = refused(store);
    result = result == IH_OK ? ih_family_publish(store->family, block->locator, slot, error)
                             : ih_fail(error, result, 0, "seal an image");
    ih_unlock(store->process);
    return result;
}

static void give_slot(ih_store *store, uint32_t slot)
{
    if (slot == IH_NO_SLOT)
        return;
    ih_lock(store->process);
    ih_family_withdraw(store->family, slot);
    ih_unlock(store->process);
}

ih_result ih_block_seal(ih_block *block, const uint8_t image_header[16], ih_handle *out,
                        ih_lease **lease, ih_error *error)
{
    ih_segment *segment = block->segment;
    if (segment == NULL)
        return ih_fail(error, IH_INVALID, 0, "seal a block twice");
    ih_store *store = block->store;
    ih_process *process = store->process;
    if (is_inherited(block))
        return ih_fail(error, IH_FORKED, 0, "seal an image in a forked child");
    uint32_t slot = IH_NO_SLOT;
    if (store->remote != NULL && lease != NULL) {
        ih_result result = take_slot(block, &slot, error);
        if (result != IH_OK)
            return result;
    }
    uint64_t count = __atomic_fetch_add(&process->nonce_count, 1, __ATOMIC_RELAXED);
    bool dedicated = segment->heap.kind == IH_DEDICATED;
    ih_header header = {.units = dedicated
                                     ? segment->heap.end - segment->heap.first
                                     : (uint32_t)((block->size + IH_UNIT - 1u) >> IH_UNIT_SHIFT),
                        .flags = dedicated ? IH_BLOCK_DEDICATED : 0u,
                        .size = block->size,
                        .created_ns = ih_os_wall_ns()};
    header.u.nonce = ih_siphash(process->nonce_key, count, block->locator);
    if (block->memory == NULL) {
        ih_result result =
            ih_segment_finish(segment, header.u.nonce, header.size, header.created_ns,
                              (block->flags & IH_PUT_SEAL) != 0, image_header, error);
        if (result != IH_OK) {
            give_slot(store, slot);
            return with_figures(block, result, error);
        }
    }
    ih_lock(process);
    ih_result result = publish(block, &header, image_header, slot, lease, error);
    ih_unlock(process);
    if (result != IH_OK) {
        give_slot(store, slot);
        return with_figures(block, result, error);
    }
    *out = (ih_handle){.locator = block->locator, .nonce = header.u.nonce};
    block->segment = NULL;
    block->memory = NULL;
    return IH_OK;
}

void ih_block_abandon(ih_block *block)
{
    ih_segment *segment = block->segment;
    if (segment == NULL)
        return;
    ih_store *store = block->store;
    ih_process *process = store->process;
    block->segment = NULL;
    block->memory = NULL;
    bool remote = store->remote != NULL;
    ih_lock(process);
    /* Of a closed store the segment may hold the last reference, and goes when the lock is left. */
    if (remote)
        store->references++;
    /* A child of a remote store has set the count of writers to 0. */
    if (!store->inherited && segment->writers > 0) {
        segment->writers--;
        bool dedicated = segment->heap.kind == IH_DEDICATED;
        uint32_t unit = ih_locator_unit(block->locator);
        if (segment->heap.base != NULL && dedicated && !segment->kernel_sealed)
            ih_heap_unseal(&segment->heap, unit);
        ih_block_free(segment, unit,
                      dedicated ? segment->heap.end - segment->heap.first
                                : ih_heap_at(&segment->heap, unit)->units);
    }
    ih_unlock(process);
    if (remote) {
        ih_remote_settle(store);
        ih_lock(process);
        ih_store_release(store);
        ih_unlock(process);
    }
}
