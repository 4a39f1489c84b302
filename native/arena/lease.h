/* What this process leases, and how forked children of it tell the owner what they lease.
 *
 * Two tables. The lease map is private: locator -> entry, one entry for each image however many
 * views and interpreters hold it; the owner of a store needs no more to know its own leases. A
 * family's table is a memory file that the owner of the stores and all processes forked from it
 * map: each member publishes in slots of its own what it leases (hazard pointers, H1), and the
 * owner scans them before it frees. family.c tells how members come and go.
 *
 * Threads. Everything here is called under the process's lock.
 */
#ifndef ICEHOUSE_ARENA_LEASE_H
#define ICEHOUSE_ARENA_LEASE_H

#include "segment.h"

#define IH_NO_SLOT UINT32_MAX

typedef struct ih_links ih_links;

typedef struct ih_entry {
    ih_lease lease; /* first: its address is the entry's */
    uint64_t count; /* decremented without the lock while it stays above 0 */
    ih_segment *segment;
    uint32_t unit;
    uint32_t block;        /* units of the image's block */
    uint32_t slot;         /* in the family's table; IH_NO_SLOT in the owner */
    uint32_t child_slot;   /* of the child that a fork is being prepared for */
    bool dying;            /* deleted; freed when nobody holds it */
    bool pinned;           /* a child may hold it that can't be asked: never freed */
    bool anchored;         /* pinned in a store of others: one more lease, so its segment stays */
    bool held;             /* by another process, as the last scan saw */
    uint32_t linked;       /* images that link to it; the owner's store only, as are links */
    ih_links *links;       /* what it links to; NULL: nothing */
    struct ih_entry *next; /* in the dying queue of its store; in the list of unused entries */
} ih_entry;

typedef struct {
    struct {
        uint64_t locator; /* 0: empty */
        ih_entry *entry;
    } * cells;
    size_t mask, count;
    ih_entry *unused;
    void *slabs; /* of entries; they keep their addresses */
} ih_lease_map;

/* Under the lock a count does not fall to 0 and does not rise from it, but else it moves. */
static inline bool ih_is_held(const ih_entry *entry)
{
    return __atomic_load_n(&entry->count, __ATOMIC_ACQUIRE) > 0;
}

ih_entry *ih_map_find(const ih_lease_map *map, uint64_t locator);
/* A zeroed entry under that locator, which must not be there; NULL: no memory. */
ih_entry *ih_map_add(ih_lease_map *map, uint64_t locator);
void ih_map_remove(ih_lease_map *map, ih_entry *entry);
/* Walks all entries: start with *cursor = 0; NULL at the end. The map must not change meanwhile. */
ih_entry *ih_map_next(const ih_lease_map *map, size_t *cursor);
void ih_map_destroy(ih_lease_map *map);

/* ---- families -------------------------------------------------------------------------------- */

typedef struct ih_family {
    struct ih_family *next;
    uint8_t *base;       /* IH_FAMILY_BYTES_MAX of address space; the file may be shorter */
    int fd;              /* owner: without locks; member: holds the lock of its membership */
    ih_os_file_id file;  /* what fd stood for: code that closes all descriptors may have put another
                           file under the number */
    uint32_t blocks_max; /* nothing is claimed or scanned beyond */
    bool lost; /* fd is not ours any more: nobody can be asked whether they live, nor be counted */
    bool owner;
    bool quiet;      /* owner: no member can be alive */
    bool blind;      /* member whose membership could not be prepared: opens nothing new */
    uint32_t member; /* number of this process; 0: the owner, which publishes nothing */
    uint32_t stores; /* of this process that belong to it */
    uint32_t *free_slots;
    size_t free_count, free_room;
    size_t owned;       /* slots in the blocks of this process; free_room is never less */
    uint32_t *deferred; /* slots that a scan may still have to see (H2) */
    size_t deferred_count, deferred_room;
    uint32_t move_seq; /* odd: a fork copied leases while that scan ran */
    /* between prepare and parent or child */
    bool prepared;
    int child_fd;
    uint32_t child_member, child_used; /* slots given out in the last of child_blocks */
    uint32_t *child_blocks;
    size_t child_block_count;
} ih_family;

ih_result ih_family_create(ih_family **out, ih_error *error);
/* A lease table that a daemon made, from a description on which the byte of `member` is locked; or,
 * with member 0, as the one who scans it. The descriptor is the family's after IH_OK. */
ih_result ih_family_attach(int fd, uint32_t member, uint32_t blocks_max, ih_family **out,
                           ih_error *error);
/* Closes its descriptor, unless another file has the number now. */
void ih_family_destroy(ih_family *family);

/* Publishes a locator and fences: what is loaded afterwards is loaded after every scan that missed
 * it began. */
ih_result ih_family_publish(ih_family *family, uint64_t locator, uint32_t *slot, ih_error *error);
void ih_family_withdraw(ih_family *family, uint32_t slot);

/* Owner: calls `mark` for every published locator of a living member; forgets dead members. False:
 * nobody lives. Where the descriptor was lost it marks nothing, sets `lost`, and nothing at all may
 * be freed. */
bool ih_family_scan(ih_family *family, void (*mark)(void *context, uint64_t locator),
                    void *context);
/* The same for figures: looks only, at what members publish that may be dead. */
void ih_family_peek(const ih_family *family, void (*mark)(void *context, uint64_t locator),
                    void *context);
/* How many blocks of slots the table has; 0: it can't be read. */
uint32_t ih_family_blocks(const ih_family *family);
/* The IH_SLOTS slots of one of these; NULL: nobody has it. They change under the reader's hands. */
const uint64_t *ih_family_slots(const ih_family *family, uint32_t block);
/* Whether the member lives; 0: any of them. */
bool ih_family_is_alive(const ih_family *family, uint32_t member);
/* The number of a member to be. */
uint32_t ih_family_new_member(ih_family *family);
/* The living members that publish the locator: at most `room` are written; how many there are. */
uint32_t ih_family_lessees(const ih_family *family, uint64_t locator, uint32_t *members,
                           size_t room);
/* Locators that a member publishes, in no order: at most `room`; how many were written. */
size_t ih_family_leases_of(const ih_family *family, uint32_t member, uint64_t *locators,
                           size_t room);
/* Any process: counts the members that publish the locator, this process left out. */
uint32_t ih_family_count(const ih_family *family, uint64_t locator);

/* Random; equal in all processes that have the table. */
void ih_family_identity(const ih_family *family, uint64_t out[2]);
/* A membership for a process that is no child of this one: a description on which the byte of
 * *member is locked already, so that the lock stands before that process has it (H9). */
ih_result ih_family_invite(ih_family *family, int *fd, uint32_t *member, ih_error *error);
/* A lease of this process was copied to another member's slots, which are written: from here on
 * this process may withdraw its own. A scan that is under way may have looked at the copy before it
 * was there, so until it is over withdrawn slots stay published (H2). */
void ih_family_moved(ih_family *family);

/* Fork. prepare() makes a membership for the child; give() publishes one lease for it; failed()
 * gives up, after which the child shares this process's membership and opens nothing new. */
ih_result ih_family_prepare(ih_family *family);
ih_result ih_family_give(ih_family *family, uint64_t locator, uint32_t *slot);
void ih_family_prepare_failed(ih_family *family);
void ih_family_fork_parent(ih_family *family);
void ih_family_fork_child(ih_family *family);

#endif
