/* One segment by itself. Whatever is asked, the chain is walked first: these functions are for
 * people and tests, who name places that hold no block, and damage what they look at. */
#include "admin.h"

#include "segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MIN (UINT64_C(64) << 10)

struct ih_admin {
    ih_segment *segment;
    ih_room room;
    bool suspect; /* poked since it was last found in order */
};

ih_result ih_admin_create(uint64_t id, uint64_t bytes, ih_admin **out, ih_error *error)
{
    if (id == 0 || id > IH_ID_MASK || bytes % IH_PAGE != 0 || bytes < BYTES_MIN ||
        bytes > (uint64_t)IH_UNITS_MAX << IH_UNIT_SHIFT)
        return ih_fail(error, IH_INVALID, 0, "create a segment");
    ih_admin *admin = calloc(1, sizeof *admin);
    if (admin == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "create a segment");
    ih_os_cgroup_find(&admin->room.cgroup);
    ih_result result = ih_segment_create(&admin->room, id, bytes, &admin->segment, error);
    if (result != IH_OK) {
        free(admin);
        return result;
    }
    *out = admin;
    return IH_OK;
}

void ih_admin_destroy(ih_admin *admin)
{
    if (admin == NULL)
        return;
    ih_segment_destroy(admin->segment);
    free(admin);
}

const uint8_t *ih_admin_map(const ih_admin *admin, uint64_t *bytes)
{
    ih_heap_poison(&admin->segment->heap, 0, admin->segment->heap.end, false);
    *bytes = admin->segment->bytes;
    return admin->segment->heap.view;
}

/* The unit of the block that begins at the locator; 0: none does. */
static uint32_t find_block(const ih_admin *admin, uint64_t locator)
{
    const ih_heap *heap = &admin->segment->heap;
    uint32_t wanted = ih_locator_unit(locator), unit = heap->first;
    if (ih_locator_id(locator) != heap->id)
        return 0;
    do {
        if (unit == wanted)
            return unit;
    } while (unit < wanted && ih_heap_next(heap, &unit));
    return 0;
}

ih_result ih_admin_alloc(ih_admin *admin, uint64_t size, uint64_t *locator)
{
    ih_heap *heap = &admin->segment->heap;
    if (admin->suspect)
        return IH_CORRUPT;
    if (size < IH_HEADER_SIZE)
        return IH_INVALID;
    if (size > admin->segment->bytes)
        return IH_FULL;
    uint32_t unit = ih_heap_alloc(heap, (uint32_t)((size + IH_UNIT - 1u) >> IH_UNIT_SHIFT));
    if (unit == 0)
        return IH_FULL;
    *locator = ih_locator(heap->id, unit);
    return IH_OK;
}

ih_result ih_admin_free(ih_admin *admin, uint64_t locator)
{
    if (admin->suspect)
        return IH_CORRUPT;
    ih_heap *heap = &admin->segment->heap;
    uint32_t unit = find_block(admin, locator);
    uint32_t state = unit != 0 ? ih_heap_at(heap, unit)->state : (uint32_t)IH_FREE;
    if (state == IH_FREE)
        return IH_GONE;
    if (state == IH_SEALED)
        ih_heap_unseal(heap, unit);
    ih_heap_free(heap, unit);
    return IH_OK;
}

ih_result ih_admin_seal(ih_admin *admin, uint64_t locator, uint64_t nonce, uint64_t size)
{
    static const uint8_t image[16];
    if (admin->suspect)
        return IH_CORRUPT;
    ih_heap *heap = &admin->segment->heap;
    uint32_t unit = find_block(admin, locator);
    if (unit == 0 || ih_heap_at(heap, unit)->state != IH_ALLOCATED)
        return IH_GONE;
    uint64_t room = (uint64_t)ih_heap_at(heap, unit)->units << IH_UNIT_SHIFT;
    if (size < IH_HEADER_SIZE || size > room)
        return IH_INVALID;
    ih_heap_seal(heap, unit, nonce, size, ih_os_wall_ns(), 0, image);
    return IH_OK;
}

ih_result ih_admin_find(const ih_admin *admin, uint64_t locator, uint64_t nonce, uint64_t *size)
{
    const ih_heap *heap = &admin->segment->heap;
    ih_header header;
    if (ih_locator_id(locator) != heap->id ||
        !ih_heap_sealed(heap, ih_locator_unit(locator), &nonce, &header))
        return IH_GONE;
    *size = header.size;
    return IH_OK;
}

ih_result ih_admin_poke(ih_admin *admin, uint64_t offset, const uint8_t *source, uint64_t size)
{
    ih_segment *segment = admin->segment;
    if (offset > segment->bytes || size > segment->bytes - offset)
        return IH_INVALID;
    ih_heap_poison(&segment->heap, 0, segment->heap.end, false);
    admin->suspect = true;
    memcpy(segment->heap.base + offset, source, (size_t)size);
    return IH_OK;
}

ih_result ih_admin_check(const ih_admin *admin, char *message, size_t size)
{
    return ih_heap_check(&admin->segment->heap, NULL, message, size);
}

ih_result ih_admin_recover(ih_admin *admin, char *message, size_t size)
{
    ih_result result = ih_heap_recover(&admin->segment->heap, message, size);
    if (result == IH_OK)
        admin->suspect = false;
    return result;
}

ih_result ih_admin_stats_of(const ih_admin *admin, ih_admin_stats *out)
{
    ih_heap_stats stats;
    ih_result result = ih_heap_check(&admin->segment->heap, &stats, NULL, 0);
    if (result != IH_OK)
        return result;
    *out = (ih_admin_stats){.blocks = stats.blocks,
                            .free_blocks = stats.free_blocks,
                            .sealed = stats.sealed,
                            .allocated = stats.allocated,
                            .bytes = admin->segment->bytes,
                            .free_bytes = (uint64_t)stats.free_units << IH_UNIT_SHIFT,
                            .largest_free = (uint64_t)stats.largest_free << IH_UNIT_SHIFT,
                            .sealed_bytes = stats.sealed_bytes};
    if (stats.free_units > 0)
        out->fragmentation = 1.0 - (double)stats.largest_free / (double)stats.free_units;
    return IH_OK;
}

ih_result ih_admin_blocks(const ih_admin *admin, ih_admin_block *out, size_t room, size_t *count)
{
    const ih_heap *heap = &admin->segment->heap;
    size_t found = 0;
    for (uint32_t unit = heap->first; unit < heap->end;) {
        const ih_header *block = ih_heap_view(heap, unit);
        uint32_t units = block->units;
        if (units == 0 || units > heap->end - unit)
            return IH_CORRUPT;
        if (found < room) {
            ih_header header;
            bool sealed = ih_heap_sealed(heap, unit, NULL, &header);
            out[found] = (ih_admin_block){.locator = ih_locator(heap->id, unit),
                                          .nonce = sealed ? header.u.nonce : 0,
                                          .bytes = (uint64_t)units << IH_UNIT_SHIFT,
                                          .size = sealed ? header.size : 0,
                                          .state = block->state};
        }
        found++;
        unit += units;
    }
    *count = found;
    return IH_OK;
}
