/* Segments of an embedded store in other processes: see visit.h.
 *
 * A visited store is an ih_store that is `inherited`, as in a forked child, whose segments come one
 * by one. It lives as long as the process; its segments go when nobody here leases anything in them
 * and nothing in them can be opened any more (H6). That is looked at when another one comes.
 */
#include "visit.h"

#include "process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VISIT_BYTES_MAX (UINT64_C(1) << 46)

static bool is_equal(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

static ih_store *find_store(const ih_process *process, const uint64_t identity[2])
{
    ih_store *store = process->stores;
    while (store != NULL && !is_equal(store->identity, identity))
        store = store->next;
    return store;
}

static bool is_nothing(const uint64_t identity[2]) { return (identity[0] | identity[1]) == 0; }

void ih_visit_count(ih_process *process, ih_segment *segment)
{
    if (segment->reader < 0 || segment->counted)
        return;
    if (process->readers >= process->readers_max) {
        ih_segment_close_readers(segment);
        return;
    }
    process->readers++;
    segment->counted = true;
}

/* ---- sending --------------------------------------------------------------------------------- */

static const ih_bits *bits_of(const ih_process *process, const ih_segment *segment)
{
    const ih_bits *bits = process->bits;
    while (bits != NULL &&
           (segment->dying < bits->dying || segment->dying >= bits->dying + IH_PAGE / 8u))
        bits = bits->next;
    return bits;
}

/* Where the dying bits can be read: of an ordinary segment in its own file. -1: nowhere. */
static int state_of(const ih_process *process, const ih_segment *segment)
{
    int fd = segment->reader;
    const ih_os_file_id *file = &segment->reader_file;
    const ih_bits *bits = NULL;
    if (segment->heap.kind == IH_DEDICATED && segment->visited) {
        fd = segment->state_reader;
        file = &segment->state_file;
    } else if (segment->heap.kind == IH_DEDICATED) {
        bits = bits_of(process, segment);
        fd = bits != NULL ? bits->reader : -1;
        file = bits != NULL ? &bits->reader_file : NULL;
    }
    return fd >= 0 && ih_os_is_same(fd, file) ? fd : -1;
}

static bool can_share(const ih_process *process, const ih_segment *segment)
{
    return segment->range == NULL && segment->reader >= 0 &&
           ih_os_is_same(segment->reader, &segment->reader_file) && segment->dying != NULL &&
           state_of(process, segment) >= 0;
}

bool ih_visit_can(const ih_lease *lease, uint64_t store[2])
{
    const ih_entry *entry = (const ih_entry *)(const void *)lease;
    ih_process *process = lease->store->process;
    ih_lock(process);
    bool can = !is_nothing(lease->store->identity) && can_share(process, entry->segment);
    /* A child whose table could not be made can't hand on what it can't hold. */
    const ih_family *family = lease->store->family;
    if (lease->store->inherited && (family == NULL || family->blind))
        can = false;
    memcpy(store, lease->store->identity, sizeof lease->store->identity);
    ih_unlock(process);
    return can;
}

bool ih_visit_owns(const ih_lease *lease) { return !lease->store->inherited; }

static ih_result share_locked(ih_process *process, const uint64_t identity[2], uint64_t id,
                              bool join, ih_visit *out, int fds[IH_VISIT_FDS], ih_error *error)
{
    const char *what = "show a segment to another process";
    ih_store *store = find_store(process, identity);
    const ih_segment *segment = ih_find_segment(process, id);
    if (store == NULL || segment == NULL || segment->store != store || segment->dying == NULL)
        return ih_fail(error, IH_GONE, 0, what);
    if (store->family == NULL && (store->inherited || !ih_join_own_family(process)))
        return ih_fail(error, IH_SYSTEM, EAGAIN, "make a lease table for other processes");
    int code = can_share(process, segment) ? 0 : EBADF;
    if (code == 0)
        code = ih_os_file_reopen(segment->reader, false, &fds[IH_VISIT_SEGMENT]);
    bool dedicated = segment->heap.kind == IH_DEDICATED;
    if (code == 0 && dedicated)
        code = ih_os_file_reopen(state_of(process, segment), false, &fds[IH_VISIT_STATE]);
    if (code != 0)
        return ih_fail(error, IH_SYSTEM, code, what);
    size_t place = (size_t)((uintptr_t)segment->dying & (IH_PAGE - 1u)) * 8u;
    *out = (ih_visit){
        .store = {identity[0], identity[1]},
        .id = id,
        .bytes = segment->bytes,
        .secret = {segment->heap.secret[0], segment->heap.secret[1]},
        .kind = segment->heap.kind,
        .dying_bit = dedicated ? (uint32_t)place + segment->dying_bit : 0,
        .flags = (store->ephemeral ? (uint32_t)IH_VISIT_EPHEMERAL : 0u) |
                 (segment->kernel_sealed ? (uint32_t)IH_VISIT_SEALED : 0u) |
                 (segment->foreign ? (uint32_t)IH_VISIT_FOREIGN : 0u),
    };
    ih_family_identity(store->family, out->family);
    return join ? ih_family_invite(store->family, &fds[IH_VISIT_MEMBER], &out->member, error)
                : IH_OK;
}

ih_result ih_visit_share(ih_process *process, const uint64_t store[2], uint64_t id, bool join,
                         ih_visit *out, int fds[IH_VISIT_FDS], ih_error *error)
{
    for (int i = 0; i < IH_VISIT_FDS; i++)
        fds[i] = -1;
    ih_lock(process);
    ih_result result = share_locked(process, store, id, join, out, fds, error);
    ih_unlock(process);
    for (int i = 0; i < IH_VISIT_FDS && result != IH_OK; i++)
        ih_os_close(fds[i]);
    return result;
}

void ih_visit_moved(ih_lease *lease)
{
    ih_process *process = lease->store->process;
    ih_lock(process);
    if (lease->store->family != NULL && lease->store->inherited)
        ih_family_moved(lease->store->family);
    ih_unlock(process);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static ih_family *find_family(const ih_process *process, const uint64_t identity[2])
{
    for (ih_family *family = process->families; family != NULL; family = family->next) {
        uint64_t found[2];
        ih_family_identity(family, found);
        if (is_equal(found, identity))
            return family;
    }
    return NULL;
}

bool ih_visit_has(ih_process *process, const uint64_t store[2], uint64_t id)
{
    ih_lock(process);
    const ih_segment *segment = ih_find_segment(process, id);
    bool found = segment != NULL && segment->store == find_store(process, store);
    ih_unlock(process);
    return found;
}

bool ih_visit_is_member(ih_process *process, const uint64_t family[2])
{
    ih_lock(process);
    bool found = find_family(process, family) != NULL;
    ih_unlock(process);
    return found;
}

/* Whether a file can't shrink under its mapping and holds that much. */
static bool is_sound(int fd, uint64_t bytes)
{
    uint64_t size = 0;
    unsigned seals = 0;
    return fd >= 0 && ih_os_file_size(fd, &size) == 0 && size >= bytes &&
           ih_os_file_seals(fd, &seals) == 0 && (seals & IH_OS_SEAL_SHRINK) != 0;
}

static ih_result map_visited(const ih_visit *visit, const int fds[IH_VISIT_FDS], ih_segment **out,
                             ih_error *error)
{
    bool ordinary = visit->kind == IH_ORDINARY;
    uint64_t tail = ordinary ? ih_state_tail_bytes(visit->bytes) : 0;
    int state = ordinary ? fds[IH_VISIT_SEGMENT] : fds[IH_VISIT_STATE];
    if (!is_sound(fds[IH_VISIT_SEGMENT], visit->bytes + tail) || !is_sound(state, IH_PAGE))
        return ih_fail(error, IH_CORRUPT, 0, "map another process's segment: not the file it was");
    ih_segment *segment = ih_segment_describe(visit->id, visit->bytes, visit->kind);
    if (segment == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a segment");
    memcpy(segment->heap.secret, visit->secret, sizeof segment->heap.secret);
    segment->visited = segment->sealed = true;
    segment->kernel_sealed = (visit->flags & IH_VISIT_SEALED) != 0;
    segment->foreign = (visit->flags & IH_VISIT_FOREIGN) != 0;
    uint8_t *view = NULL, *dying = NULL;
    int code = ih_os_map(fds[IH_VISIT_SEGMENT], visit->bytes, false, &view);
    segment->heap.view = view;
    if (code == 0)
        code = ih_os_map_part(state, ordinary ? visit->bytes : 0, ordinary ? tail : IH_PAGE, false,
                              &dying);
    if (code != 0) {
        ih_segment_destroy(segment);
        return ih_fail(error, code == ENOMEM ? IH_MEMORY : IH_SYSTEM, code,
                       "map another process's segment");
    }
    segment->dying = (uint64_t *)(void *)dying + (ordinary ? 0u : visit->dying_bit / 64u);
    segment->dying_bit = visit->dying_bit % 64u;
    *out = segment;
    return IH_OK;
}

/* The lease table, joined with the descriptor if this process is no member yet; *fd is -1 then. */
static ih_family *join_family(ih_process *process, const ih_visit *visit, int *fd, ih_error *error)
{
    ih_family *family = find_family(process, visit->family);
    if (family != NULL)
        return family;
    if (*fd < 0 || visit->member == 0) {
        (void)ih_fail(error, IH_INVALID, 0, "read another process's store: no member of it");
        return NULL;
    }
    if (ih_family_attach(*fd, visit->member, IH_LEASE_BLOCKS_MAX, &family, error) != IH_OK)
        return NULL;
    *fd = -1;
    family->next = process->families;
    process->families = family;
    return family;
}

static ih_store *visited_store(ih_process *process, const ih_visit *visit, int *fd, ih_error *error)
{
    ih_store *store = find_store(process, visit->store);
    if (store != NULL && store->family != NULL)
        return store;
    ih_family *family = join_family(process, visit, fd, error);
    if (family == NULL)
        return NULL;
    if (store == NULL) {
        store = calloc(1, sizeof *store);
        if (store == NULL) {
            (void)ih_fail(error, IH_MEMORY, ENOMEM, "describe another process's store");
            return NULL;
        }
        store->process = process;
        store->references = 1;
        store->inherited = true;
        store->ephemeral = (visit->flags & IH_VISIT_EPHEMERAL) != 0;
        memcpy(store->identity, visit->store, sizeof store->identity);
        store->next = process->stores;
        process->stores = store;
    }
    store->family = family;
    family->stores++;
    return store;
}

/* Whether nothing can be opened in it any more: the owner has given the pages of an ordinary
 * segment back, or deleted the one image. */
static bool is_abandoned(const ih_segment *segment)
{
    const ih_segment_header *first = (const void *)segment->heap.view;
    uint32_t unit = segment->heap.first;
    ih_header header;
    if (segment->heap.kind == IH_ORDINARY)
        return __atomic_load_n(&first->magic, __ATOMIC_RELAXED) != IH_SEGMENT_MAGIC;
    return ih_is_dying(segment, unit) || !ih_heap_sealed(&segment->heap, unit, NULL, &header);
}

static void drop_abandoned(ih_store *store)
{
    for (ih_segment *segment = store->all; segment != NULL;) {
        ih_segment *next = segment->all_next;
        if (segment->visited && segment->leases == 0 && is_abandoned(segment))
            ih_space_drop(segment);
        segment = next;
    }
}

/* Takes the segment over with IH_OK. */
static ih_result admit_locked(ih_process *process, const ih_visit *visit, ih_segment **segment,
                              int *member, ih_error *error)
{
    ih_store *store = find_store(process, visit->store);
    const ih_segment *present = ih_find_segment(process, visit->id);
    if (present != NULL && present->store == store)
        return IH_OK;
    /* Ids are random in 40 bits: it takes a million segments to meet another store's. */
    if (present != NULL || (store != NULL && !store->inherited))
        return ih_fail(error, IH_GONE, 0, "read another process's segment");
    if (process->maps + IH_MAPS_EACH > process->maps_max || !ih_reserve_registration(process))
        return ih_fail(error, IH_MEMORY, 0, "map one more segment");
    store = visited_store(process, visit, member, error);
    if (store == NULL)
        return error->result;
    drop_abandoned(store);
    process->maps += IH_MAPS_EACH;
    store->committed += visit->bytes;
    store->references++;
    (void)ih_register_segment(process, *segment);
    ih_space_add(store, *segment);
    ih_visit_count(process, *segment);
    *segment = NULL;
    return IH_OK;
}

/* So that this process can send on what it was sent. */
static void keep_readers(ih_segment *segment, int files[IH_VISIT_FDS])
{
    bool dedicated = segment->heap.kind == IH_DEDICATED;
    if (ih_os_identity(files[IH_VISIT_SEGMENT], &segment->reader_file) != 0 ||
        (dedicated && ih_os_identity(files[IH_VISIT_STATE], &segment->state_file) != 0))
        return;
    segment->reader = files[IH_VISIT_SEGMENT];
    files[IH_VISIT_SEGMENT] = -1;
    if (dedicated) {
        segment->state_reader = files[IH_VISIT_STATE];
        files[IH_VISIT_STATE] = -1;
    }
}

ih_result ih_visit_admit(ih_process *process, const ih_visit *visit, const int fds[IH_VISIT_FDS],
                         ih_error *error)
{
    ih_error local = {0};
    error = error != NULL ? error : &local;
    bool ordinary = visit->kind == IH_ORDINARY;
    bool fits = (ordinary || visit->kind == IH_DEDICATED) && visit->bytes % IH_PAGE == 0 &&
                visit->bytes >= 2u * IH_PAGE && visit->bytes < VISIT_BYTES_MAX &&
                visit->dying_bit < IH_PAGE * 8u && visit->id != 0 && visit->id <= IH_ID_MASK &&
                !is_nothing(visit->store) && !is_nothing(visit->family);
    int files[IH_VISIT_FDS] = {fds[0], fds[1], fds[2]};
    ih_segment *segment = NULL;
    ih_result result = fits ? map_visited(visit, files, &segment, error)
                            : ih_fail(error, IH_CORRUPT, 0, "read another process's segment");
    if (result == IH_OK) {
        keep_readers(segment, files);
        ih_lock(process);
        result = admit_locked(process, visit, &segment, &files[IH_VISIT_MEMBER], error);
        ih_unlock(process);
    }
    if (segment != NULL)
        ih_segment_destroy(segment);
    for (int i = 0; i < IH_VISIT_FDS; i++)
        ih_os_close(files[i]);
    return result;
}

/* A deleted image that the owner itself gets back from a child waits in the queue no more. */
static void unqueue(ih_store *store, ih_entry *entry)
{
    for (ih_entry **link = &store->queue; *link != NULL; link = &(*link)->next) {
        if (*link != entry)
            continue;
        *link = entry->next;
        entry->next = NULL;
        store->queue_count--;
        store->queue_bytes -= ih_block_bytes(entry->segment, entry->block);
        return;
    }
}

static void hold(ih_entry *entry)
{
    __atomic_store_n(&entry->count, 1, __ATOMIC_RELAXED);
    entry->segment->leases++;
    entry->lease.store->leases++;
}

static ih_result take_known(ih_entry *entry, ih_handle handle, bool held, ih_error *error)
{
    ih_store *store = entry->lease.store;
    bool gone = entry->lease.handle.nonce != handle.nonce;
    /* What this process holds it may hold once more. */
    if (!gone && ih_is_held(entry)) {
        (void)__atomic_fetch_add(&entry->count, 1, __ATOMIC_RELAXED);
        return IH_OK;
    }
    if (gone || (!held && (entry->dying || ih_is_dying(entry->segment, entry->unit))))
        return ih_fail(error, IH_GONE, 0, "open a view that was sent");
    if (entry->dying)
        unqueue(store, entry);
    hold(entry);
    return IH_OK;
}

static ih_result take_new(ih_segment *segment, ih_handle handle, bool held, ih_entry **out,
                          ih_error *error)
{
    ih_store *store = segment->store;
    uint32_t unit = ih_locator_unit(handle.locator), slot = IH_NO_SLOT;
    if (store->inherited) {
        ih_result result = ih_family_publish(store->family, handle.locator, &slot, error);
        if (result != IH_OK)
            return result;
    }
    ih_header header;
    ih_result result = IH_GONE;
    /* First the dying bit, then the header: lifetime.c tells why. */
    if ((held || !ih_is_dying(segment, unit)) &&
        ih_heap_sealed(&segment->heap, unit, &handle.nonce, &header)) {
        *out = ih_lease_add(segment, unit, &header);
        result = *out != NULL ? IH_OK : IH_MEMORY;
    }
    if (result != IH_OK) {
        if (slot != IH_NO_SLOT)
            ih_family_withdraw(store->family, slot);
        return ih_fail(error, result, 0, "open a view that was sent");
    }
    if (store->inherited)
        ih_heap_poison(&segment->heap, unit, header.units, false);
    (*out)->slot = slot;
    hold(*out);
    return IH_OK;
}

static ih_result open_locked(ih_process *process, const uint64_t identity[2], ih_handle handle,
                             bool held, ih_lease **out, ih_error *error)
{
    uint32_t unit = ih_locator_unit(handle.locator);
    const ih_store *store = find_store(process, identity);
    ih_segment *segment = ih_find_segment(process, ih_locator_id(handle.locator));
    if (store == NULL || segment == NULL || segment->store != store)
        return ih_fail(error, store != NULL && !store->inherited ? IH_GONE : IH_UNKNOWN, 0,
                       "open a view that was sent");
    if (!ih_may_hold(segment, unit))
        return ih_fail(error, IH_GONE, 0, "open a view that was sent");
    if (store->inherited && store->family == NULL)
        return ih_fail(error, IH_SYSTEM, EAGAIN, "open in a child that has no lease table");
    ih_entry *entry = ih_map_find(&process->map, handle.locator);
    ih_result result = entry != NULL ? take_known(entry, handle, held, error)
                                     : take_new(segment, handle, held, &entry, error);
    if (result == IH_OK)
        *out = &entry->lease;
    return result;
}

ih_result ih_visit_open(ih_process *process, const uint64_t store[2], ih_handle handle, bool held,
                        ih_lease **out, ih_error *error)
{
    if (is_nothing(store))
        return ih_fail(error, IH_GONE, 0, "open a view that was sent");
    ih_lock(process);
    ih_result result = open_locked(process, store, handle, held, out, error);
    ih_unlock(process);
    return result;
}
