/* Segments of a daemon's store as this process sees them: mapping them, letting them go, and taking
 * back what the daemon has freed in our own (H7).
 *
 * The first word of a segment's range in the state map is its id while it may be opened. Of our own
 * dedicated segments it may be 0 for a while: their image was freed, and the daemon may give us
 * the same memory again under a new id. Anything else: the segment is gone, and stays mapped only
 * while somebody here leases it.
 *
 * Frees in our ordinary segments come in two steps (native/tests/model). The daemon has set the
 * dying bit and found no lease; the ring tells us; we clear the header; the daemon sees that and
 * clears the bit; we see that, and only then is the block free. So nobody can find a new image
 * under the old bit, nor an old header after its bit was cleared.
 */
#include "remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_NS UINT64_C(10000000000)
#define SWEEP_NS UINT64_C(100000000)
#define CACHE_COUNT 16u
#define CACHE_BYTES (UINT64_C(1) << 30)

/* ---- what a reply describes ------------------------------------------------------------------ */

static bool is_sound(const ih_remote *remote, const ih_segment_reply *reply)
{
    bool ordinary = reply->kind == IH_ORDINARY;
    if ((!ordinary && reply->kind != IH_DEDICATED) || reply->id == 0 || reply->id > IH_ID_MASK ||
        reply->bytes % IH_PAGE != 0 || reply->bytes < 2u * IH_PAGE ||
        reply->bytes >> IH_UNIT_SHIFT > (ordinary ? IH_UNITS_MAX : UINT32_MAX) ||
        ih_heap_first_unit(reply->kind, reply->bytes) >= reply->bytes >> IH_UNIT_SHIFT)
        return false;
    uint64_t range = IH_RANGE_HEAD + (ordinary ? ih_start_map_bytes(reply->bytes) : 0);
    return reply->state % 64u == 0 && reply->state <= remote->state_bytes &&
           range <= remote->state_bytes - reply->state;
}

/* Whether mapping it can never end in SIGBUS: it has that size, and keeps it. A spilled one is a
 * file of the daemon's, which is believed not to cut it. */
static bool is_lasting(const ih_segment_reply *reply, int fd, unsigned *seals)
{
    uint64_t bytes = 0;
    unsigned wanted = IH_OS_SEAL_SHRINK | IH_OS_SEAL_GROW;
    *seals = 0;
    if (ih_os_file_size(fd, &bytes) != 0 || bytes != reply->bytes)
        return false;
    if ((reply->flags & IH_SEGMENT_FILE) != 0)
        return true;
    return ih_os_file_seals(fd, seals) == 0 && (*seals & wanted) == wanted;
}

static int map_for_filling(ih_segment *segment, int fd)
{
    if (segment->heap.kind == IH_DEDICATED)
        return 0; /* written through the descriptor first, and mapped when it is complete */
    int code = ih_os_map(fd, segment->bytes, true, &segment->heap.base);
    if (code == 0)
        code = ih_segment_map_view(segment, fd);
    if (code == 0) {
        ih_os_populate(segment->heap.base, segment->bytes);
        ih_heap_format(&segment->heap, segment->bytes, ih_os_wall_ns());
    }
    return code;
}

static int map_for_reading(ih_segment *segment, int fd)
{
    uint8_t *view = NULL;
    int code = ih_os_map(fd, segment->bytes, false, &view);
    segment->heap.view = view;
    segment->sealed = true;
    return code;
}

ih_result ih_remote_adopt(ih_store *store, const ih_segment_reply *reply, ih_arrival *arrival,
                          bool fill, ih_segment **out, ih_error *error)
{
    ih_remote *remote = store->remote;
    unsigned seals = 0;
    if (!is_sound(remote, reply) || arrival->count != 1 ||
        !is_lasting(reply, arrival->fds[0], &seals) ||
        (fill && (reply->flags & IH_SEGMENT_FILE) != 0))
        return ih_fail(error, IH_PROTOCOL, 0, "take a segment from the daemon");
    ih_segment *segment = ih_segment_describe(reply->id, reply->bytes, reply->kind);
    if (segment == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a segment");
    memcpy(segment->heap.secret, reply->secret, sizeof segment->heap.secret);
    const uint64_t *range = (const uint64_t *)(const void *)(remote->state + reply->state);
    segment->store = store;
    segment->range = range;
    segment->dying = (uint64_t *)(void *)(remote->state + reply->state + IH_RANGE_HEAD);
    segment->moved = __atomic_load_n(range + IH_RANGE_MOVED, __ATOMIC_RELAXED);
    segment->foreign = (reply->flags & IH_SEGMENT_FOREIGN) != 0;
    segment->kernel_sealed = (seals & IH_OS_SEAL_WRITE) != 0;
    int code = fill ? map_for_filling(segment, arrival->fds[0])
                    : map_for_reading(segment, arrival->fds[0]);
    if (code != 0) {
        ih_segment_destroy(segment);
        return ih_fail(error, code == ENOMEM ? IH_MEMORY : IH_SYSTEM, code, "map a segment");
    }
    *out = segment;
    return IH_OK;
}

bool ih_remote_admit(ih_store *store, ih_segment *segment)
{
    if (ih_find_segment(store->process, segment->heap.id) != NULL ||
        !ih_register_segment(store->process, segment))
        return false;
    ih_space_add(store, segment);
    store->committed += segment->bytes;
    store->references++;
    store->process->maps += IH_MAPS_EACH;
    return true;
}

/* ---- mapping on demand ----------------------------------------------------------------------- */

static bool is_gone(const ih_segment *segment)
{
    uint64_t found = __atomic_load_n(segment->range, __ATOMIC_ACQUIRE);
    bool own = segment->heap.kind == IH_DEDICATED && segment->heap.base != NULL;
    return (found != segment->heap.id && !(own && found == 0)) ||
           __atomic_load_n(segment->range + IH_RANGE_MOVED, __ATOMIC_RELAXED) != segment->moved;
}

static bool is_needed(const ih_segment *segment)
{
    return segment->leases > 0 || segment->writers > 0;
}

/* Under the lock. False: what is mapped already will do. */
static bool replace(ih_store *store, ih_segment *segment)
{
    ih_segment *present = ih_find_segment(store->process, segment->heap.id);
    if (present != NULL && (present->store != store || is_needed(present) ||
                            (present->range == segment->range && !is_gone(present))))
        return false;
    if (present != NULL)
        ih_space_drop(present);
    return ih_remote_admit(store, segment);
}

ih_result ih_remote_map(ih_store *store, ih_handle handle, bool linked, bool hasty, ih_error *error)
{
    ih_image_request body = {.handle = handle, .force = linked ? 1u : 0u};
    ih_segment_reply reply;
    ih_arrival arrival;
    ih_request request = {.op = IH_OP_MAP,
                          .what = "open an image",
                          .hasty = hasty,
                          .part = {{&body, sizeof body}},
                          .reply = &reply,
                          .least = sizeof reply,
                          .room = sizeof reply,
                          .arrival = &arrival};
    ih_segment *segment = NULL;
    ih_result result = ih_remote_call(store, &request, error);
    if (result == IH_OK && reply.id != ih_locator_id(handle.locator))
        result = ih_fail(error, IH_PROTOCOL, 0, "map the segment of an image");
    if (result == IH_OK) {
        ih_lock(store->process);
        bool full = store->process->maps + IH_MAPS_EACH > store->process->maps_max;
        if (full && ih_remote_sweep(store, true))
            full = false;
        ih_unlock(store->process);
        result = full ? ih_fail(error, IH_MEMORY, ENOMEM, "map one more segment")
                      : ih_remote_adopt(store, &reply, &arrival, false, &segment, error);
    }
    ih_arrival_end(store, &arrival);
    if (result != IH_OK)
        return result;
    ih_lock(store->process);
    (void)ih_remote_sweep(store, false);
    bool entered = !store->closed && replace(store, segment);
    store->process->activity.maps++;
    if (store->remote->page != NULL)
        __atomic_fetch_add(&store->remote->page->maps, 1, __ATOMIC_RELAXED);
    ih_unlock(store->process);
    if (!entered)
        ih_segment_destroy(segment);
    return IH_OK;
}

/* ---- letting go ------------------------------------------------------------------------------ */

void ih_remote_used(ih_segment *segment)
{
    if (segment->heap.kind == IH_DEDICATED && segment->idle_ns != 0)
        ih_space_unlink_warm(segment);
}

/* H6: a mapping keeps memory from being given back. A few of others' dedicated segments are kept,
 * for what is opened again and again. */
void ih_remote_unused(ih_segment *segment)
{
    ih_store *store = segment->store;
    if (is_needed(segment))
        return;
    if (store->closed) {
        ih_remote_abandon(store);
        return;
    }
    if (is_gone(segment)) {
        ih_space_drop(segment);
        return;
    }
    if (segment->heap.kind != IH_DEDICATED || segment->heap.base != NULL || segment->idle_ns != 0)
        return;
    ih_space_link_warm(segment);
    while (store->warm_count > CACHE_COUNT || store->warm > CACHE_BYTES)
        ih_space_drop(store->warm_first);
}

/* Of a closed store what a leased image links to may lie in any segment: all stay until the last
 * lease goes. */
void ih_remote_abandon(ih_store *store)
{
    if (store->leases > 0)
        return;
    for (ih_segment *segment = store->all; segment != NULL;) {
        ih_segment *next = segment->all_next;
        if (!is_needed(segment))
            ih_space_drop(segment);
        segment = next;
    }
}

/* One empty ordinary segment stays, so that a store that is used now and then does not ask for one
 * each time. */
static bool is_surplus(const ih_segment *segment, uint64_t now, bool all)
{
    return segment->heap.kind == IH_ORDINARY && segment->heap.base != NULL &&
           segment->idle_ns != 0 &&
           (all || (segment->store->idle_count > 1 && now - segment->idle_ns > IDLE_NS));
}

static bool may_go(const ih_segment *segment, uint64_t now, bool all)
{
    bool own = segment->heap.base != NULL;
    if (own && segment->heap.kind == IH_DEDICATED && segment->store->remote->granting > 0)
        return false; /* the reply may be about to give it to us again */
    if (is_gone(segment))
        return true;
    if (segment->heap.kind == IH_ORDINARY)
        return all && !own;
    return all || (segment->idle_ns != 0 && now - segment->idle_ns > IDLE_NS);
}

bool ih_remote_sweep(ih_store *store, bool all)
{
    uint64_t now = ih_os_clock_ns();
    bool any = false;
    if (!all && now < store->sweep_ns)
        return false;
    store->sweep_ns = now + SWEEP_NS;
    for (ih_segment *segment = store->all; segment != NULL;) {
        ih_segment *next = segment->all_next;
        if (!is_needed(segment)) {
            bool surplus = is_surplus(segment, now, all);
            if (surplus)
                ih_remote_return(store, segment->heap.id);
            if (surplus || may_go(segment, now, all)) {
                ih_space_drop(segment);
                any = true;
            }
        }
        segment = next;
    }
    return any;
}

/* ---- what the daemon freed ------------------------------------------------------------------- */

static ih_segment *own_segment(const ih_store *store, uint64_t locator)
{
    ih_segment *segment = ih_find_segment(store->process, ih_locator_id(locator));
    uint32_t unit = ih_locator_unit(locator);
    bool own = segment != NULL && segment->store == store && segment->heap.base != NULL &&
               segment->heap.kind == IH_ORDINARY && unit >= segment->heap.first &&
               unit < segment->heap.end;
    return own ? segment : NULL;
}

static bool has_bit(const ih_segment *segment, uint32_t unit)
{
    uint64_t mask;
    const uint64_t *word = ih_dying_word(segment, unit, &mask);
    return (__atomic_load_n(word, __ATOMIC_ACQUIRE) & mask) != 0;
}

static bool reserve_freed(ih_remote *remote)
{
    if (remote->freed_count < remote->freed_room)
        return true;
    size_t room = remote->freed_room == 0 ? 256 : remote->freed_room * 2;
    uint64_t *moved = malloc(room * sizeof *moved);
    if (moved == NULL)
        return false;
    for (size_t i = 0; i < remote->freed_count; i++)
        moved[i] = remote->freed[(remote->freed_first + i) % remote->freed_room];
    free(remote->freed);
    remote->freed = moved;
    remote->freed_room = room;
    remote->freed_first = 0;
    return true;
}

/* An entry counts only if that very image is still there and dying: after a restart the daemon may
 * say again what we have done already. */
static void take_entry(ih_store *store, uint64_t locator, uint64_t nonce)
{
    ih_remote *remote = store->remote;
    ih_segment *segment = own_segment(store, locator);
    uint32_t unit = ih_locator_unit(locator);
    ih_header header;
    if (segment == NULL || !has_bit(segment, unit) ||
        !ih_heap_sealed(&segment->heap, unit, &nonce, &header))
        return;
    ih_heap_unseal(&segment->heap, unit);
    remote->freed_bytes += (uint64_t)header.units << IH_UNIT_SHIFT;
    size_t at = (remote->freed_first + remote->freed_count++) % remote->freed_room;
    remote->freed[at] = locator;
}

static bool take_entries(ih_store *store, unsigned steps)
{
    ih_remote *remote = store->remote;
    ih_session_page *page = remote->page;
    uint64_t head = __atomic_load_n(&page->head, __ATOMIC_ACQUIRE);
    if (head == remote->tail || head - remote->tail > IH_RING_ENTRIES)
        return false;
    const uint64_t *ring = (const uint64_t *)(const void *)(page + 1);
    while (remote->tail != head && steps-- > 0 && reserve_freed(remote)) {
        const uint64_t *entry = ring + 2u * (remote->tail % IH_RING_ENTRIES);
        take_entry(store, __atomic_load_n(entry, __ATOMIC_RELAXED),
                   __atomic_load_n(entry + 1, __ATOMIC_RELAXED));
        remote->tail++;
    }
    __atomic_store_n(&page->tail, remote->tail, __ATOMIC_RELEASE);
    return true;
}

static bool free_blocks(ih_store *store, unsigned steps)
{
    ih_remote *remote = store->remote;
    bool any = false;
    while (remote->freed_count > 0 && steps-- > 0) {
        uint64_t locator = remote->freed[remote->freed_first];
        uint32_t unit = ih_locator_unit(locator);
        ih_segment *segment = own_segment(store, locator);
        if (segment != NULL && has_bit(segment, unit) && !is_gone(segment))
            break; /* the daemon clears the bits in the order of the ring */
        remote->freed_first = (remote->freed_first + 1u) % remote->freed_room;
        remote->freed_count--;
        if (segment != NULL) {
            uint32_t units = ih_heap_at(&segment->heap, unit)->units;
            uint64_t bytes = (uint64_t)units << IH_UNIT_SHIFT;
            remote->freed_bytes -= bytes < remote->freed_bytes ? bytes : remote->freed_bytes;
            ih_block_free(segment, unit, units);
        }
        any = true;
    }
    if (remote->freed_count == 0)
        remote->freed_bytes = 0;
    return any;
}

bool ih_remote_drain(ih_store *store, unsigned steps)
{
    if (store->remote->page == NULL)
        return false;
    bool taken = take_entries(store, steps);
    bool freed = free_blocks(store, steps);
    if (taken || freed) {
        ih_session_page *page = store->remote->page;
        __atomic_store_n(&page->returning, store->remote->freed_count, __ATOMIC_RELAXED);
        __atomic_store_n(&page->returning_bytes, store->remote->freed_bytes, __ATOMIC_RELAXED);
    }
    return taken || freed;
}
