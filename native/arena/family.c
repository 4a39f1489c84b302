/* The table in which a process and those forked from it show what they lease.
 *
 *     | header | owner of each block: u32 ... | block 0: 512 slots | block 1 | ...
 *                                               the file grows by blocks and never shrinks
 *
 * A slot holds the locator of one leased image, or 0. A block of slots belongs to one member, which
 * took it by a compare-and-swap of its owner from 0 to the member's number; only that member writes
 * its slots. So a child of a child needs nobody's help to show its leases, and the owner of the
 * stores finds them where it finds all others.
 *
 * A member is alive while byte `number` of the file is locked by its open file description (OFD
 * lock, H9): the lock goes with the process or its exec, whatever the order of deaths and however
 * pids are reused. The description is made and locked by the parent before the fork, inherited by
 * the child, and closed by the parent after it; so the lock stands before the child's leases are
 * published and never lapses. The blocks of a member whose lock is gone are zeroed and freed by the
 * owner. A new member is only ever made by a living one, or by the owner; so once the owner has
 * seen that nobody lives, nobody can until it forks again ("quiet"), and frees need no scan.
 *
 * Publishing and scanning are Dekker's: a member writes its slot, fences, then looks at the dying
 * bit; the owner sets the bit, fences, then looks at the slots. One of the two sees the other. A
 * block claimed or a file grown after the owner looked at either is claimed or grown before that
 * member's fence, so the same argument covers it.
 *
 * A fork in a member copies leases from its slots to those of its child. A scan that looks at the
 * child's slots before they are written and at the parent's after they are withdrawn would miss
 * them (H2): a member that copied while scan_seq was odd keeps withdrawn slots published until
 * scan_seq changes ("deferred"). Nothing waits.
 */
#include "lease.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROW_BLOCKS 8u

static ih_family_header *header(const ih_family *family)
{
    return (ih_family_header *)(void *)family->base;
}

static uint32_t *owners(const ih_family *family)
{
    return (uint32_t *)(void *)(family->base + IH_FAMILY_OWNERS_OFFSET);
}

static uint64_t *slot_at(const ih_family *family, uint32_t slot)
{
    return (uint64_t *)(void *)(family->base + IH_FAMILY_SLOTS_OFFSET) + slot;
}

/* Other members may grow the file at any time; what they wrote is believed only within our mapping.
 */
static uint32_t count_blocks(const ih_family *family)
{
    uint64_t bytes = 0;
    if (ih_os_file_size(family->fd, &bytes) != 0 || bytes < IH_FAMILY_SLOTS_OFFSET)
        return 0;
    uint64_t blocks = (bytes - IH_FAMILY_SLOTS_OFFSET) / (8u * IH_SLOTS);
    return blocks < family->blocks_max ? (uint32_t)blocks : family->blocks_max;
}

/* Before each use of the descriptor that does not end in harmless nonsense. */
static bool is_ours(ih_family *family)
{
    if (!family->lost && !ih_os_is_same(family->fd, &family->file))
        family->lost = true;
    return !family->lost;
}

static void close_own(ih_family *family)
{
    if (ih_os_is_same(family->fd, &family->file))
        ih_os_close(family->fd);
    family->fd = -1;
}

ih_result ih_family_create(ih_family **out, ih_error *error)
{
    ih_family *family = calloc(1, sizeof *family);
    if (family == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a lease table");
    family->child_fd = -1;
    family->owner = family->quiet = true;
    family->blocks_max = IH_LEASE_BLOCKS_MAX;
    int code = ih_os_file_create("icehouse-leases", IH_FAMILY_SLOTS_OFFSET, &family->fd);
    if (code != 0) {
        free(family);
        return ih_fail(error, IH_SYSTEM, code, "create a lease table");
    }
    code = ih_os_file_restrict(family->fd, 0600);
    if (code == 0)
        code = ih_os_identity(family->fd, &family->file);
    if (code == 0)
        code = ih_os_file_seal(family->fd, IH_OS_SEAL_SHRINK | IH_OS_SEAL_SEAL);
    uint64_t identity[2];
    if (code == 0)
        code = ih_os_random(identity, sizeof identity);
    if (code == 0)
        code = ih_os_map_family(family->fd, IH_FAMILY_BYTES_MAX, &family->base);
    if (code != 0) {
        ih_os_close(family->fd);
        free(family);
        return ih_fail(error, IH_SYSTEM, code, "map a lease table");
    }
    memcpy(header(family)->identity, identity, sizeof identity);
    header(family)->magic = IH_FAMILY_MAGIC;
    header(family)->next_member = 1;
    *out = family;
    return IH_OK;
}

ih_result ih_family_attach(int fd, uint32_t member, uint32_t blocks_max, ih_family **out,
                           ih_error *error)
{
    ih_family *family = calloc(1, sizeof *family);
    if (family == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a lease table");
    *family = (ih_family){.fd = fd,
                          .child_fd = -1,
                          .owner = member == 0,
                          .member = member,
                          .blocks_max =
                              blocks_max < IH_LEASE_BLOCKS_MAX ? blocks_max : IH_LEASE_BLOCKS_MAX};
    uint64_t bytes = 0;
    unsigned seals = 0;
    int code = ih_os_file_size(fd, &bytes);
    if (code == 0)
        code = ih_os_file_seals(fd, &seals);
    if (code == 0)
        code = ih_os_identity(fd, &family->file);
    bool good = bytes >= IH_FAMILY_SLOTS_OFFSET && (seals & IH_OS_SEAL_SHRINK) != 0;
    if (code == 0 && good)
        code = ih_os_map_family(fd, IH_FAMILY_BYTES_MAX, &family->base);
    /* The daemon knows its files without: members may have scribbled over them. */
    if (code == 0 && good && member != 0 && header(family)->magic != IH_FAMILY_MAGIC) {
        ih_os_unmap(family->base, IH_FAMILY_BYTES_MAX);
        good = false;
    }
    if (code != 0 || !good) {
        free(family);
        return ih_fail(error,
                       code == 0        ? IH_CORRUPT
                       : code == ENOMEM ? IH_MEMORY
                                        : IH_SYSTEM,
                       code, "attach a lease table");
    }
    *out = family;
    return IH_OK;
}

void ih_family_destroy(ih_family *family)
{
    ih_os_unmap(family->base, IH_FAMILY_BYTES_MAX);
    close_own(family);
    ih_os_close(family->child_fd);
    free(family->free_slots);
    free(family->deferred);
    free(family->child_blocks);
    free(family);
}

/* ---- slots ----------------------------------------------------------------------------------- */

static ih_result claim_block(ih_family *family, uint32_t member, uint32_t *out)
{
    for (;;) {
        if (!is_ours(family)) {
            errno = EBADF;
            return IH_SYSTEM;
        }
        uint32_t blocks = count_blocks(family);
        uint32_t *owner = owners(family);
        for (uint32_t i = 0; i < blocks; i++) {
            uint32_t nobody = 0;
            if (__atomic_load_n(&owner[i], __ATOMIC_RELAXED) == 0 &&
                __atomic_compare_exchange_n(&owner[i], &nobody, member, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_RELAXED)) {
                *out = i;
                return IH_OK;
            }
        }
        if (blocks >= family->blocks_max)
            return IH_MEMORY;
        uint32_t wanted =
            blocks + GROW_BLOCKS < family->blocks_max ? blocks + GROW_BLOCKS : family->blocks_max;
        int code = ih_os_file_resize(family->fd,
                                     IH_FAMILY_SLOTS_OFFSET + 8u * IH_SLOTS * (uint64_t)wanted);
        /* EPERM: another member has meanwhile made it longer than we would. */
        if (code != 0 && code != EPERM)
            return IH_SYSTEM;
    }
}

static bool reserve_slots(uint32_t **array, size_t *room, size_t wanted)
{
    if (wanted <= *room)
        return true;
    size_t larger = *room * 2 > wanted ? *room * 2 : wanted;
    uint32_t *moved = realloc(*array, larger * sizeof **array);
    if (moved == NULL)
        return false;
    *array = moved;
    *room = larger;
    return true;
}

static void flush_deferred(ih_family *family)
{
    if (family->move_seq == 0 ||
        __atomic_load_n(&header(family)->scan_seq, __ATOMIC_SEQ_CST) == family->move_seq)
        return;
    family->move_seq = 0;
    for (size_t i = 0; i < family->deferred_count; i++) {
        uint32_t slot = family->deferred[i];
        __atomic_store_n(slot_at(family, slot), 0, __ATOMIC_RELEASE);
        family->free_slots[family->free_count++] = slot;
    }
    family->deferred_count = 0;
}

ih_result ih_family_publish(ih_family *family, uint64_t locator, uint32_t *slot, ih_error *error)
{
    if (family->blind)
        return ih_fail(error, IH_SYSTEM, EAGAIN,
                       "open in a child whose lease table could not be prepared at the fork");
    flush_deferred(family);
    if (family->free_count == 0) {
        uint32_t block;
        /* Room for all slots that are ours, so that giving one back never allocates. */
        if (!reserve_slots(&family->free_slots, &family->free_room, family->owned + IH_SLOTS))
            return ih_fail(error, IH_MEMORY, ENOMEM, "grow the list of lease slots");
        ih_result result = claim_block(family, family->member, &block);
        if (result != IH_OK)
            return ih_fail(error, result, errno, "grow the lease table");
        family->owned += IH_SLOTS;
        for (uint32_t i = IH_SLOTS; i > 0; i--)
            family->free_slots[family->free_count++] = block * IH_SLOTS + i - 1u;
    }
    *slot = family->free_slots[--family->free_count];
    __atomic_store_n(slot_at(family, *slot), locator, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return IH_OK;
}

void ih_family_withdraw(ih_family *family, uint32_t slot)
{
    flush_deferred(family);
    if (family->move_seq != 0) {
        /* Without memory for the note the slot stays published: that costs memory, never safety. */
        if (reserve_slots(&family->deferred, &family->deferred_room, family->deferred_count + 1))
            family->deferred[family->deferred_count++] = slot;
        return;
    }
    __atomic_store_n(slot_at(family, slot), 0, __ATOMIC_RELEASE);
    if (!family->blind)
        family->free_slots[family->free_count++] = slot;
}

/* ---- scanning -------------------------------------------------------------------------------- */

static void free_block(ih_family *family, uint32_t block)
{
    for (uint32_t i = 0; i < IH_SLOTS; i++)
        __atomic_store_n(slot_at(family, block * IH_SLOTS + i), 0, __ATOMIC_RELAXED);
    __atomic_store_n(&owners(family)[block], 0, __ATOMIC_RELEASE);
}

/* Errors mean alive: nothing is freed that might be held. */
static bool is_alive(const ih_family *family, uint32_t member, uint64_t bytes)
{
    bool locked = true;
    return ih_os_locked(family->fd, member, bytes, &locked) != 0 || locked;
}

static void scan_block(const ih_family *family, uint32_t block, void (*mark)(void *, uint64_t),
                       void *context)
{
    for (uint32_t i = 0; i < IH_SLOTS; i++) {
        uint64_t locator = __atomic_load_n(slot_at(family, block * IH_SLOTS + i), __ATOMIC_ACQUIRE);
        if (locator != 0)
            mark(context, locator);
    }
}

/* Frees the blocks of dead members. One whose preparation failed has freed its blocks before its
 * lock went, and somebody else may have them now: so the owner is read again after the lock. */
static void free_dead(ih_family *family, bool anybody)
{
    uint32_t blocks = count_blocks(family), last = 0;
    bool last_alive = false;
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t member = __atomic_load_n(&owners(family)[i], __ATOMIC_ACQUIRE);
        if (member == 0)
            continue;
        if (member != last) {
            last = member;
            last_alive = anybody && is_alive(family, member, 1);
        }
        if (!last_alive && __atomic_load_n(&owners(family)[i], __ATOMIC_ACQUIRE) == member)
            free_block(family, i);
    }
}

/* The dead go first, then every slot that is left counts, its member alive or not: one that forks
 * and dies while we look may have copied its leases to a block that we have passed (H2), so its own
 * slots must still speak for them. */
bool ih_family_scan(ih_family *family, void (*mark)(void *context, uint64_t locator), void *context)
{
    if (family->quiet)
        return false;
    if (!is_ours(family))
        return true;
    uint32_t *seq = &header(family)->scan_seq;
    uint32_t even = __atomic_load_n(seq, __ATOMIC_RELAXED) & ~1u;
    __atomic_store_n(seq, even + 1u, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bool anybody = is_alive(family, 0, 0);
    free_dead(family, anybody);
    uint32_t blocks = count_blocks(family);
    for (uint32_t i = 0; i < blocks; i++) {
        if (__atomic_load_n(&owners(family)[i], __ATOMIC_ACQUIRE) != 0)
            scan_block(family, i, mark, context);
    }
    __atomic_store_n(seq, even + 2u, __ATOMIC_SEQ_CST);
    family->quiet = !anybody;
    return anybody;
}

void ih_family_peek(const ih_family *family, void (*mark)(void *context, uint64_t locator),
                    void *context)
{
    if (!ih_os_is_same(family->fd, &family->file))
        return;
    uint32_t blocks = count_blocks(family);
    for (uint32_t i = 0; i < blocks; i++) {
        if (__atomic_load_n(&owners(family)[i], __ATOMIC_ACQUIRE) != 0)
            scan_block(family, i, mark, context);
    }
}

uint32_t ih_family_blocks(const ih_family *family)
{
    return ih_os_is_same(family->fd, &family->file) ? count_blocks(family) : 0;
}

const uint64_t *ih_family_slots(const ih_family *family, uint32_t block)
{
    bool taken = __atomic_load_n(&owners(family)[block], __ATOMIC_ACQUIRE) != 0;
    return taken ? slot_at(family, block * IH_SLOTS) : NULL;
}

bool ih_family_is_alive(const ih_family *family, uint32_t member)
{
    return !ih_os_is_same(family->fd, &family->file) ||
           is_alive(family, member, member == 0 ? 0 : 1);
}

uint32_t ih_family_new_member(ih_family *family)
{
    uint32_t member;
    do {
        member = __atomic_fetch_add(&header(family)->next_member, 1, __ATOMIC_SEQ_CST);
    } while (member == 0);
    return member;
}

uint32_t ih_family_lessees(const ih_family *family, uint64_t locator, uint32_t *members,
                           size_t room)
{
    if (!ih_os_is_same(family->fd, &family->file))
        return 0;
    uint32_t blocks = count_blocks(family), found = 0, last = 0;
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t member = __atomic_load_n(&owners(family)[i], __ATOMIC_ACQUIRE);
        if (member == 0 || member == family->member || member == last)
            continue;
        for (uint32_t j = 0; j < IH_SLOTS && member != last; j++) {
            if (__atomic_load_n(slot_at(family, i * IH_SLOTS + j), __ATOMIC_RELAXED) != locator)
                continue;
            last = member;
            if (!is_alive(family, member, 1))
                continue;
            if (found < room)
                members[found] = member;
            found++;
        }
    }
    return found;
}

size_t ih_family_leases_of(const ih_family *family, uint32_t member, uint64_t *locators,
                           size_t room)
{
    if (!ih_os_is_same(family->fd, &family->file))
        return 0;
    uint32_t blocks = count_blocks(family);
    size_t found = 0;
    for (uint32_t i = 0; i < blocks && found < room; i++) {
        if (__atomic_load_n(&owners(family)[i], __ATOMIC_ACQUIRE) != member)
            continue;
        for (uint32_t j = 0; j < IH_SLOTS && found < room; j++) {
            uint64_t locator = __atomic_load_n(slot_at(family, i * IH_SLOTS + j), __ATOMIC_ACQUIRE);
            if (locator != 0)
                locators[found++] = locator;
        }
    }
    return found;
}

uint32_t ih_family_count(const ih_family *family, uint64_t locator)
{
    return ih_family_lessees(family, locator, NULL, 0);
}

/* ---- members that are no children ------------------------------------------------------------ */

void ih_family_identity(const ih_family *family, uint64_t out[2])
{
    memcpy(out, header(family)->identity, 2 * sizeof *out);
}

ih_result ih_family_invite(ih_family *family, int *fd, uint32_t *member, ih_error *error)
{
    int guest = -1;
    int code = is_ours(family) ? ih_os_file_reopen(family->fd, true, &guest) : EBADF;
    if (code == 0) {
        *member = __atomic_fetch_add(&header(family)->next_member, 1, __ATOMIC_SEQ_CST);
        code = ih_os_lock(guest, *member);
    }
    if (code != 0) {
        ih_os_close(guest);
        return ih_fail(error, IH_SYSTEM, code, "make another process a member of a lease table");
    }
    family->quiet = false;
    *fd = guest;
    return IH_OK;
}

void ih_family_moved(ih_family *family)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint32_t seq = __atomic_load_n(&header(family)->scan_seq, __ATOMIC_SEQ_CST);
    if (!family->owner && (seq & 1u) != 0)
        family->move_seq = seq;
}

/* ---- fork ------------------------------------------------------------------------------------ */

ih_result ih_family_prepare(ih_family *family)
{
    int code = is_ours(family) ? ih_os_file_reopen(family->fd, true, &family->child_fd) : EBADF;
    if (code != 0) {
        family->child_fd = -1;
        return IH_SYSTEM;
    }
    family->child_member = __atomic_fetch_add(&header(family)->next_member, 1, __ATOMIC_SEQ_CST);
    family->child_used = IH_SLOTS;
    family->child_block_count = 0;
    family->prepared = true;
    return ih_os_lock(family->child_fd, family->child_member) == 0 ? IH_OK : IH_SYSTEM;
}

ih_result ih_family_give(ih_family *family, uint64_t locator, uint32_t *slot)
{
    if (family->child_used == IH_SLOTS) {
        size_t count = family->child_block_count;
        uint32_t *moved = realloc(family->child_blocks, (count + 1) * sizeof *moved);
        if (moved == NULL)
            return IH_MEMORY;
        family->child_blocks = moved;
        ih_result result = claim_block(family, family->child_member, &moved[count]);
        if (result != IH_OK)
            return result;
        family->child_block_count++;
        family->child_used = 0;
    }
    *slot = family->child_blocks[family->child_block_count - 1] * IH_SLOTS + family->child_used++;
    __atomic_store_n(slot_at(family, *slot), locator, __ATOMIC_SEQ_CST);
    return IH_OK;
}

static void forget_prepared(ih_family *family)
{
    free(family->child_blocks);
    family->child_blocks = NULL;
    family->child_block_count = 0;
    family->child_fd = -1;
    family->prepared = false;
}

void ih_family_prepare_failed(ih_family *family)
{
    for (size_t i = 0; i < family->child_block_count; i++)
        free_block(family, family->child_blocks[i]);
    ih_os_close(family->child_fd);
    forget_prepared(family);
}

void ih_family_fork_parent(ih_family *family)
{
    if (!family->prepared)
        return;
    /* The copies are written. */
    ih_family_moved(family);
    family->quiet = false;
    ih_os_close(family->child_fd);
    forget_prepared(family);
}

void ih_family_fork_child(ih_family *family)
{
    family->owner = family->quiet = false;
    family->deferred_count = 0;
    family->move_seq = 0;
    family->free_count = family->owned = 0;
    if (!family->prepared) {
        /* The description inherited from the parent stays open: while we live, its membership does.
         */
        family->blind = true;
        return;
    }
    close_own(family);
    family->fd = family->child_fd;
    family->member = family->child_member;
    family->blind = false;
    family->owned = family->child_block_count * IH_SLOTS;
    if (!reserve_slots(&family->free_slots, &family->free_room, family->owned)) {
        family->blind = true;
    } else if (family->owned > 0) {
        uint32_t first = family->child_blocks[family->child_block_count - 1] * IH_SLOTS;
        for (uint32_t i = IH_SLOTS; i > family->child_used; i--)
            family->free_slots[family->free_count++] = first + i - 1u;
    }
    forget_prepared(family);
}
