/* Images that are written where they stay, and private copies of their pages.
 *
 *   fresh segment ──map──▶ shared, writable ──unshare──▶ private copies, same address ──▶ seal
 *
 * An array that is built in the store has been handed out by its address: views of it may be
 * anywhere when it is sealed, and nobody can find them. So the address stays valid and what is
 * behind it changes: one mmap() over the shared mapping replaces it by a private one of the same
 * file. Other threads see either of them, never a gap. A write through a forgotten view then copies
 * a page of its own and can't reach the image (H1, H8), and the kernel agrees to seal the file
 * against writing, which it does not while a shared writable mapping is left.
 */
#include "process.h"

#include <errno.h>

#define CHUNK (UINT64_C(16) << 20)

static ih_result system_error(ih_error *error, int code, const char *what)
{
    bool memory = code == ENOMEM || code == ENOSPC;
    return ih_fail(error, memory ? IH_MEMORY : IH_SYSTEM, code, what);
}

/* What the daemon grants is committed already. */
static ih_result commit(const ih_block *block, const ih_segment *segment, ih_error *error)
{
    ih_room *room = &block->store->process->room;
    for (uint64_t done = 0; segment->range == NULL && done < segment->bytes;) {
        uint64_t part = segment->bytes - done < CHUNK ? segment->bytes - done : CHUNK;
        ih_result result = ih_room_take(room, part, error);
        if (result != IH_OK)
            return result;
        int code = ih_os_file_commit(segment->fd, done, part);
        if (code != 0)
            return system_error(error, code, "commit an image that is built in place");
        done += part;
    }
    return IH_OK;
}

ih_result ih_block_map(ih_block *block, ih_building *out, ih_error *error)
{
    const ih_segment *segment = block->segment;
    if (segment == NULL || block->memory != NULL || segment->fd < 0 ||
        (block->flags & IH_PUT_SEAL) == 0)
        return ih_fail(error, IH_INVALID, 0, "build an image in place: its file is not at hand");
    ih_result result = commit(block, segment, error);
    if (result != IH_OK)
        return result;
    uint8_t *start = NULL;
    int code = ih_os_map(segment->fd, segment->bytes, true, &start);
    if (code != 0)
        return system_error(error, code, "map an image that is built in place");
    ih_os_populate(start, segment->bytes);
    *out = (ih_building){.memory = start + ((size_t)segment->heap.first << IH_UNIT_SHIFT),
                         .start = start,
                         .mapped = segment->bytes,
                         .shared = true,
                         .pid = ih_os_pid()};
    return IH_OK;
}

static bool is_inherited(const ih_building *building)
{
    return building->shared && building->pid != ih_os_pid();
}

ih_result ih_block_unshare(ih_block *block, ih_building *building, ih_error *error)
{
    const ih_segment *segment = block->segment;
    if (is_inherited(building))
        return ih_fail(error, IH_FORKED, 0, "seal an image in a forked child");
    if (segment == NULL || segment->fd < 0 || !building->shared)
        return ih_fail(error, IH_INVALID, 0, "end the building of an image twice");
    uint8_t *start = building->start;
    int code = ih_os_map_copies(segment->fd, 0, building->mapped, &start);
    if (code != 0)
        return system_error(error, code, "map private copies of an image that was built");
    building->shared = false;
    return IH_OK;
}

void ih_block_discard(ih_block *block, ih_building *building)
{
    /* The segment may be used again: nothing may write there. Without memory for the mapping no
     * address is better than one that reaches others. */
    if (building->shared && !is_inherited(building)) {
        if (ih_os_map_zeros(building->start, building->mapped) == 0)
            building->shared = false;
        else
            ih_building_end(building);
    }
    ih_block_abandon(block);
}

void ih_building_end(ih_building *building)
{
    /* In a forked child other things may be where the mapping was. */
    if (building->start != NULL && !is_inherited(building))
        ih_os_unmap(building->start, building->mapped);
    *building = (ih_building){0};
}

ih_result ih_lease_map_copies(const ih_lease *lease, uint64_t offset, uint64_t size,
                              ih_building *out, ih_error *error)
{
    const ih_entry *entry = (const ih_entry *)(const void *)lease;
    const ih_segment *segment = entry->segment;
    ih_process *process = lease->store->process;
    if (offset > lease->size || size > lease->size - offset)
        return ih_fail(error, IH_INVALID, 0, "map copies of an image: beyond its end");
    uint64_t from = (uint64_t)(lease->image - segment->heap.view) + offset;
    uint64_t page = from / IH_PAGE * IH_PAGE, bytes = from - page + size;
    uint8_t *start = NULL;
    int code = EBADF;
    ih_lock(process);
    if (segment->range == NULL && segment->reader >= 0 &&
        ih_os_is_same(segment->reader, &segment->reader_file))
        code = ih_os_map_copies(segment->reader, page, bytes, &start);
    ih_unlock(process);
    if (code != 0)
        return ih_fail(error, IH_INVALID, code, "map copies of an image");
    *out = (ih_building){.memory = start + (from - page), .start = start, .mapped = bytes};
    return IH_OK;
}
