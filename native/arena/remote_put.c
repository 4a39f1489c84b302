/* A block in the daemon's store: in a segment granted to this session, or in a fresh grant.
 *
 * What is here already needs no message. A grant is a round trip without the process's lock; the
 * daemon commits the memory before it answers (H13). Where the store is full, or the machine, what
 * the daemon has freed in our segments may be all that is missing: the ring is drained, empty
 * segments go back, and the daemon is asked again as long as that moves something.
 */
#include "remote.h"

#include <errno.h>

#define SECOND UINT64_C(1000000000)
#define STEPS 256u /* of the ring with each put */
#define FULL_TRIES 8u
#define COMMIT_RATE (UINT64_C(64) << 20) /* bytes a second that a daemon commits at least */

/* Under the lock: of this process nobody else writes it, and the daemon only reads. */
static void count(uint64_t *counter, uint64_t more)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + more, __ATOMIC_RELAXED);
}

void ih_remote_count_put(const ih_store *store, uint64_t bytes, unsigned size)
{
    ih_session_page *page = store->remote->page;
    if (page == NULL)
        return;
    count(&page->puts, 1);
    count(&page->put_bytes, bytes);
    count(&page->put_sizes[size], 1);
}

void ih_remote_count_open(const ih_store *store)
{
    ih_session_page *page = store->remote->page;
    if (page != NULL)
        count(&page->opens, 1);
}

void ih_remote_count_full(const ih_store *store)
{
    ih_session_page *page = store->remote->page;
    if (page != NULL)
        __atomic_fetch_add(&page->fulls, 1, __ATOMIC_RELAXED);
}

static void fill(ih_segment *segment, uint32_t unit, const ih_wanted *want, ih_block *out)
{
    bool dedicated = segment->heap.kind == IH_DEDICATED;
    ih_block_fill(out, segment, unit, want->size,
                  dedicated ? segment->heap.end - segment->heap.first : want->units,
                  want->flags & IH_PUT_SEAL);
}

/* Under the lock. */
static bool place(ih_store *store, const ih_wanted *want, ih_block *out)
{
    ih_segment *segment;
    uint32_t unit;
    if (want->dedicated || !ih_space_place(store, want->units, &segment, &unit))
        return false;
    fill(segment, unit, want, out);
    return true;
}

/* Under the lock. Our own segment, whose image was freed, under its new id. False: it is not here
 * any more, or not as the daemon thinks. */
static bool use_again(ih_store *store, const ih_segment_reply *reply, const ih_wanted *want,
                      ih_block *out)
{
    ih_segment *segment = ih_find_segment(store->process, reply->reuse);
    uintptr_t state = (uintptr_t)store->remote->state;
    if (segment == NULL || segment->store != store || segment->heap.kind != IH_DEDICATED ||
        segment->heap.base == NULL || segment->leases > 0 || segment->writers > 0 ||
        segment->kernel_sealed || segment->bytes != reply->bytes ||
        (uintptr_t)segment->range - state != reply->state || (want->flags & IH_PUT_SEAL) != 0 ||
        reply->bytes - IH_PAGE < want->size || reply->id == 0 || reply->id > IH_ID_MASK ||
        ih_find_segment(store->process, reply->id) != NULL)
        return false;
    ih_unregister_segment(store->process, segment);
    ih_heap_unseal(&segment->heap, segment->heap.first);
    segment->heap.id = reply->id;
    segment->heap.secret[0] = reply->secret[0];
    segment->heap.secret[1] = reply->secret[1];
    ih_heap_header(&segment->heap)->id = reply->id;
    segment->sealed = false;
    (void)ih_register_segment(store->process, segment); /* a cell has just become free */
    fill(segment, segment->heap.first, want, out);
    return true;
}

/* Under the lock. A fresh segment and the block in it. */
static ih_result enter(ih_store *store, ih_segment *segment, ih_arrival *arrival,
                       const ih_wanted *want, ih_block *out, ih_error *error)
{
    if (store->closed)
        return ih_fail(error, IH_CLOSED, 0, "reserve a block");
    uint32_t unit = segment->heap.first;
    if (want->dedicated) {
        if (segment->bytes - IH_PAGE < want->size)
            return ih_fail(error, IH_PROTOCOL, 0, "use a granted segment: it is too short");
    } else {
        unit = ih_heap_alloc(&segment->heap, want->units);
        if (unit == 0)
            return ih_fail(error, IH_PROTOCOL, 0, "use a granted segment: it is too short");
    }
    if (!ih_remote_admit(store, segment))
        return ih_fail(error, IH_MEMORY, ENOMEM, "register a segment");
    if (want->dedicated) {
        segment->fd = arrival->fds[0];
        arrival->fds[0] = -1;
    } else {
        ih_space_rebin(segment);
    }
    fill(segment, unit, want, out);
    return IH_OK;
}

static ih_result take(ih_store *store, const ih_segment_reply *reply, ih_arrival *arrival,
                      const ih_wanted *want, ih_block *out, ih_error *error)
{
    if (reply->kind != (want->dedicated ? IH_DEDICATED : IH_ORDINARY))
        return ih_fail(error, IH_PROTOCOL, 0, "take a segment: it is of another kind");
    ih_segment *segment = NULL;
    ih_result result = ih_remote_adopt(store, reply, arrival, true, &segment, error);
    ih_lock(store->process);
    if (result == IH_OK)
        result = enter(store, segment, arrival, want, out, error);
    if (result != IH_OK)
        ih_remote_return(store, reply->id);
    ih_unlock(store->process);
    if (result != IH_OK && segment != NULL)
        ih_segment_destroy(segment);
    return result;
}

static ih_result grant(ih_store *store, const ih_wanted *want, bool fresh, ih_block *out,
                       bool *again, ih_error *error)
{
    ih_grant_request body = {
        .bytes = want->dedicated ? want->size : (uint64_t)want->units << IH_UNIT_SHIFT,
        .kind = want->dedicated ? IH_DEDICATED : IH_ORDINARY,
        .flags = ((want->flags & IH_PUT_EVICTABLE) != 0 ? IH_GRANT_EVICTABLE : 0u) |
                 ((want->flags & IH_PUT_SEAL) != 0 ? IH_GRANT_SEAL : 0u) |
                 (fresh ? IH_GRANT_FRESH : 0u)};
    /* What was seen is added when the request is sent: another thread's may come before it. */
    ih_segment_reply reply = {0};
    ih_arrival arrival;
    ih_request request = {.op = IH_OP_GRANT,
                          .what = "reserve a block",
                          .part = {{&body, offsetof(ih_grant_request, seen)},
                                   {&store->remote->seen, sizeof body.seen}},
                          .reply = &reply,
                          .least = sizeof reply,
                          .room = sizeof reply,
                          .arrival = &arrival,
                          .patience_ns = 30u * SECOND + body.bytes / COMMIT_RATE * SECOND};
    ih_result result = ih_remote_call(store, &request, error);
    *again = false;
    if (result == IH_OK && reply.reuse != 0) {
        ih_lock(store->process);
        *again = !use_again(store, &reply, want, out);
        ih_unlock(store->process);
        if (*again && fresh)
            result = ih_fail(error, IH_PROTOCOL, 0, "take a segment that is not ours");
    } else if (result == IH_OK) {
        result = take(store, &reply, &arrival, want, out, error);
    }
    ih_arrival_end(store, &arrival);
    return result;
}

/* Without the lock: a grant, once more where the segment offered is not mapped any more. */
static ih_result ask_for_more(ih_store *store, const ih_wanted *want, ih_block *out,
                              ih_error *error)
{
    ih_process *process = store->process;
    ih_lock(process);
    bool full = process->maps + IH_MAPS_EACH > process->maps_max;
    if (full && ih_remote_sweep(store, true))
        full = false;
    (void)ih_remote_sweep(store, false);
    store->remote->granting++;
    ih_unlock(process);
    bool again = false;
    ih_result result = full ? ih_fail(error, IH_MEMORY, ENOMEM, "map one more segment")
                            : grant(store, want, false, out, &again, error);
    if (result == IH_OK && again)
        result = grant(store, want, true, out, &again, error);
    ih_lock(process);
    if (store->remote->granting > 0)
        store->remote->granting--;
    ih_unlock(process);
    return result;
}

ih_result ih_remote_reserve(ih_store *store, const ih_wanted *want, ih_block *out, ih_error *error)
{
    ih_process *process = store->process;
    for (unsigned tries = 0;; tries++) {
        ih_lock(process);
        bool closed = store->closed;
        if (!closed)
            (void)ih_remote_drain(store, STEPS);
        bool placed = !closed && place(store, want, out);
        ih_unlock(process);
        if (closed)
            return ih_fail(error, IH_CLOSED, 0, "reserve a block");
        if (placed)
            return IH_OK;
        ih_result result = ask_for_more(store, want, out, error);
        if (result != IH_FULL && result != IH_MEMORY)
            return result;
        ih_lock(process);
        bool moved = tries < FULL_TRIES && ih_remote_drain(store, IH_RING_ENTRIES);
        moved = (tries < FULL_TRIES && ih_remote_sweep(store, true)) || moved;
        ih_unlock(process);
        if (!moved) {
            ih_count_full(store);
            return result;
        }
    }
}
