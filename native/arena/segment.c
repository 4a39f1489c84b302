/* Making, filling, mapping and dropping segments.
 *
 * An ordinary segment is committed before anybody may touch it, in chunks, each after a look at the
 * memory limits: a page past a cgroup's limit is SIGKILL (H13), a hole would be allocated by
 * whoever reads it first (H6). Its seals keep it from being truncated, and from being sealed
 * against writing under its allocator's hands (H1).
 *
 * A fresh dedicated segment is written with pwrite, twice as fast as filling a new mapping, and
 * mapped when complete.
 */
#include "segment.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (UINT64_C(16) << 20)
#define ROOM_NS UINT64_C(100000000)
/* What is left below the limit for the processes under it: a health check in the daemon's container
 * is an interpreter of its own, and whatever it can't have the kernel takes from one of us. */
#define RESERVE_MAX (UINT64_C(64) << 20)

ih_result ih_room_take(ih_room *room, uint64_t bytes, ih_error *error)
{
    uint64_t now = ih_os_clock_ns();
    uint64_t budget = __atomic_load_n(&room->budget, __ATOMIC_RELAXED);
    if (now < __atomic_load_n(&room->until_ns, __ATOMIC_RELAXED) && budget >= bytes) {
        __atomic_store_n(&room->budget, budget - bytes, __ATOMIC_RELAXED);
        return IH_OK;
    }
    uint64_t left, limit;
    ih_os_headroom(&room->cgroup, &left, &limit);
    uint64_t reserve = limit / 4u < RESERVE_MAX ? limit / 4u : RESERVE_MAX;
    if (left < bytes || left - bytes < reserve) {
        ih_fail(error, IH_MEMORY, 0, "commit memory below the limit");
        if (error != NULL) {
            error->wanted = bytes;
            error->limit = limit;
        }
        return IH_MEMORY;
    }
    /* Others allocate meanwhile: no more than a quarter of what is left is spent on one look. */
    __atomic_store_n(&room->budget, (left - bytes - reserve) / 4u, __ATOMIC_RELAXED);
    __atomic_store_n(&room->until_ns, now + ROOM_NS, __ATOMIC_RELAXED);
    return IH_OK;
}

static ih_result system_error(ih_error *error, int code, const char *what)
{
    bool memory = code == ENOMEM || code == ENOSPC;
    return ih_fail(error, memory ? IH_MEMORY : IH_SYSTEM, code, what);
}

ih_segment *ih_segment_describe(uint64_t id, uint64_t bytes, uint32_t kind)
{
    ih_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        return NULL;
    segment->bytes = bytes;
    segment->fd = segment->reader = segment->state_reader = -1;
    segment->bin = -1;
    segment->heap.id = id;
    segment->heap.kind = kind;
    segment->heap.first = ih_heap_first_unit(kind, bytes);
    segment->heap.end = (uint32_t)(bytes >> IH_UNIT_SHIFT);
    return segment;
}

static ih_segment *new_segment(uint64_t id, uint64_t bytes, uint32_t kind)
{
    ih_segment *segment = ih_segment_describe(id, bytes, kind);
    if (segment == NULL)
        return NULL;
    if (ih_os_random(segment->heap.secret, sizeof segment->heap.secret) != 0) {
        free(segment);
        return NULL;
    }
    return segment;
}

/* The read-only mapping comes from a read-only descriptor: it can't be made writable by mprotect.
 */
int ih_segment_map_view(ih_segment *segment, int fd)
{
    int reader = -1;
    int code = ih_os_file_reopen(fd, false, &reader);
    if (code != 0)
        return code;
    uint8_t *view = NULL;
    code = ih_os_map(reader, segment->bytes, false, &view);
    ih_os_close(reader);
    segment->heap.view = view;
    return code;
}

/* Without one the images of this segment travel by value. */
static void open_reader(ih_segment *segment, int fd)
{
    if (segment->range != NULL || ih_os_file_reopen(fd, false, &segment->reader) != 0)
        return;
    if (ih_os_identity(segment->reader, &segment->reader_file) != 0) {
        ih_os_close(segment->reader);
        segment->reader = -1;
    }
}

void ih_segment_close_readers(ih_segment *segment)
{
    if (segment->reader >= 0 && ih_os_is_same(segment->reader, &segment->reader_file))
        ih_os_close(segment->reader);
    if (segment->state_reader >= 0 && ih_os_is_same(segment->state_reader, &segment->state_file))
        ih_os_close(segment->state_reader);
    segment->reader = segment->state_reader = -1;
}

static ih_result commit(ih_segment *segment, int fd, ih_room *room, ih_error *error)
{
    for (uint64_t done = 0; done < segment->bytes;) {
        uint64_t part = segment->bytes - done < CHUNK ? segment->bytes - done : CHUNK;
        ih_result result = ih_room_take(room, part, error);
        if (result != IH_OK)
            return result;
        int code = ih_os_file_commit(fd, done, part);
        if (code != 0)
            return system_error(error, code, "commit a segment");
        ih_os_populate(segment->heap.base + done, part);
        done += part;
    }
    uint64_t tail = ih_state_tail_bytes(segment->bytes);
    ih_result result = ih_room_take(room, tail, error);
    int code = result == IH_OK ? ih_os_file_commit(fd, segment->bytes, tail) : 0;
    return code != 0 ? system_error(error, code, "commit a segment's state map") : result;
}

static ih_result build(ih_segment *segment, int fd, ih_room *room, ih_error *error)
{
    int code = ih_os_map(fd, segment->bytes, true, &segment->heap.base);
    if (code == 0)
        code = ih_segment_map_view(segment, fd);
    if (code != 0)
        return system_error(error, code, "map a segment");
    ih_result result = commit(segment, fd, room, error);
    if (result != IH_OK)
        return result;
    code = ih_os_file_restrict(fd, 0444);
    if (code == 0)
        code = ih_os_file_seal(fd, IH_OS_SEAL_SHRINK | IH_OS_SEAL_GROW | IH_OS_SEAL_SEAL);
    if (code != 0)
        return system_error(error, code, "seal a segment");
    uint8_t *dying = NULL;
    code = ih_os_map_part(fd, segment->bytes, ih_state_tail_bytes(segment->bytes), true, &dying);
    if (code != 0)
        return system_error(error, code, "map a segment's state map");
    segment->dying = (uint64_t *)(void *)dying;
    open_reader(segment, fd);
    ih_heap_format(&segment->heap, segment->bytes, ih_os_wall_ns());
    return IH_OK;
}

ih_result ih_segment_create(ih_room *room, uint64_t id, uint64_t bytes, ih_segment **out,
                            ih_error *error)
{
    ih_segment *segment = new_segment(id, bytes, IH_ORDINARY);
    if (segment == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a segment");
    int fd = -1;
    int code = ih_os_file_create("icehouse-segment", bytes + ih_state_tail_bytes(bytes), &fd);
    if (code != 0) {
        ih_segment_destroy(segment);
        return system_error(error, code, "create a segment");
    }
    ih_result result = build(segment, fd, room, error);
    ih_os_close(fd);
    if (result != IH_OK) {
        ih_segment_destroy(segment);
        return result;
    }
    *out = segment;
    return IH_OK;
}

ih_result ih_segment_create_dedicated(uint64_t id, uint64_t bytes, ih_segment **out,
                                      ih_error *error)
{
    ih_segment *segment = new_segment(id, bytes, IH_DEDICATED);
    if (segment == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a segment");
    int code = ih_os_file_create("icehouse-image", bytes, &segment->fd);
    if (code != 0) {
        segment->fd = -1;
        ih_segment_destroy(segment);
        return system_error(error, code, "create a segment of its own");
    }
    *out = segment;
    return IH_OK;
}

ih_result ih_segment_write(ih_segment *segment, ih_room *room, uint64_t offset, const void *source,
                           uint64_t size, ih_error *error)
{
    const uint8_t *from = source;
    while (size > 0) {
        uint64_t part = size < CHUNK ? size : CHUNK;
        ih_result result = room != NULL ? ih_room_take(room, part, error) : IH_OK;
        if (result != IH_OK)
            return result;
        int code = ih_os_file_write(segment->fd, offset, from, part);
        if (code != 0)
            return system_error(error, code, "write a segment of its own");
        from += part;
        offset += part;
        size -= part;
    }
    return IH_OK;
}

/* The segment's header and the image's, the image's state last, so that a writer that dies leaves
 * no sealed image. */
static int write_headers(const ih_segment *segment, uint64_t nonce, uint64_t size,
                         uint64_t created_ns, bool seal, const uint8_t image[16])
{
    const ih_heap *heap = &segment->heap;
    ih_segment_header first = {.magic = IH_SEGMENT_MAGIC,
                               .version = IH_SEGMENT_VERSION,
                               .kind = IH_DEDICATED,
                               .id = heap->id,
                               .bytes = segment->bytes,
                               .first_unit = heap->first,
                               .end_unit = heap->end,
                               .created_ns = created_ns};
    ih_header block = {.units = heap->end - heap->first,
                       .state = IH_ALLOCATED,
                       .flags = IH_BLOCK_DEDICATED | (seal ? IH_BLOCK_KERNEL : 0u),
                       .u.nonce = nonce,
                       .check = ih_siphash(heap->secret, ih_locator(heap->id, heap->first), nonce),
                       .size = size,
                       .created_ns = created_ns};
    memcpy(block.image, image, sizeof block.image);
    uint64_t at = (uint64_t)heap->first << IH_UNIT_SHIFT;
    int code = ih_os_file_write(segment->fd, 0, &first, sizeof first);
    if (code == 0)
        code = ih_os_file_write(segment->fd, at, &block, sizeof block);
    uint32_t state = IH_SEALED;
    if (code == 0)
        code = ih_os_file_write(segment->fd, at + offsetof(ih_header, state), &state, sizeof state);
    return code;
}

ih_result ih_segment_finish(ih_segment *segment, uint64_t nonce, uint64_t size, uint64_t created_ns,
                            bool seal, const uint8_t image[16], ih_error *error)
{
    int code = write_headers(segment, nonce, size, created_ns, seal, image);
    if (code != 0)
        return system_error(error, code, "write the header of an image");
    unsigned seals = IH_OS_SEAL_SHRINK | IH_OS_SEAL_GROW;
    if (seal)
        seals |= IH_OS_SEAL_WRITE | IH_OS_SEAL_SEAL;
    /* What the daemon made has its mode, and its seals but for that against writing. */
    code = segment->range == NULL ? ih_os_file_restrict(segment->fd, 0444) : 0;
    if (code == 0 && (seal || segment->range == NULL))
        code = ih_os_file_seal(segment->fd, seals);
    if (code != 0)
        return system_error(error, code, "seal a segment of its own");
    if (!seal && segment->heap.base == NULL)
        code = ih_os_map(segment->fd, segment->bytes, true, &segment->heap.base);
    if (code == 0 && segment->heap.view == NULL)
        code = ih_segment_map_view(segment, segment->fd);
    if (code != 0)
        return system_error(error, code, "map a segment of its own");
    if (segment->reader < 0)
        open_reader(segment, segment->fd);
    /* Forgotten before it is closed: a child forked in between closes what is noted here, and the
     * number may by then mean its own lease table. */
    int fd = segment->fd;
    __atomic_store_n(&segment->fd, -1, __ATOMIC_SEQ_CST);
    ih_os_close(fd);
    segment->kernel_sealed = seal;
    return IH_OK;
}

void ih_segment_destroy(ih_segment *segment)
{
    ih_heap *heap = &segment->heap;
    if (heap->base != NULL) {
        /* What the daemon made is the daemon's to give back: others may have it mapped. */
        if (segment->range == NULL)
            ih_os_discard(heap->base, segment->bytes);
        ih_os_unmap(heap->base, segment->bytes);
    }
    if (heap->view != NULL)
        ih_os_unmap((void *)(uintptr_t)heap->view, segment->bytes);
    if (segment->dying != NULL && segment->range == NULL) {
        if (heap->kind == IH_ORDINARY)
            ih_os_unmap(segment->dying, ih_state_tail_bytes(segment->bytes));
        else if (segment->visited)
            ih_os_unmap((void *)((uintptr_t)segment->dying & ~(uintptr_t)(IH_PAGE - 1u)), IH_PAGE);
    }
    ih_segment_close_readers(segment);
    ih_os_close(segment->fd);
    free(segment);
}
