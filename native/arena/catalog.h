/* The daemon's side of the arena: which segments there are, what is in them, who leases it, and
 * what may be freed.
 *
 * Purpose.   What the daemon does for each of a million objects is here; what it does once a
 *            request (sessions, roles, names, times to live, policy) is Python, in server/.
 * Lifecycle. ih_catalog_create(); then segments, families and pages are added, after a restart
 *            those that the keeper held, then ih_catalog_recover(); ... ; ih_catalog_destroy(),
 *            which unmaps and frees nothing that is shared.
 * Threads.   One at a time: the daemon's loop. ih_catalog_make_file() alone is called from other
 *            threads, since it takes long.
 * Failure.   Outputs are untouched; `*error` (may be NULL) says what was attempted.
 *
 * A segment's bytes are written by its producer, who may be hostile: everything is read through
 * ih_heap_sealed() and bounded walks, and nothing that a segment says is believed about any other.
 * All descriptors stay the caller's, who may close them after the call unless told otherwise.
 */
#ifndef ICEHOUSE_ARENA_CATALOG_H
#define ICEHOUSE_ARENA_CATALOG_H

#include "arena.h"
#include "wire.h"

typedef struct ih_catalog ih_catalog;

/* ---- memory files ---------------------------------------------------------------------------- */

/* What a daemon makes, each with the seals, mode and contents it needs: */
enum {
    IH_FILE_STATE = 1, /* state map: sparse; ranges are committed when they are taken */
    IH_FILE_FAMILY,    /* lease table, header written; `bytes` is ignored */
    IH_FILE_PAGE,      /* page and ring of a session; `bytes` is ignored */
    IH_FILE_ORDINARY,  /* committed, formatted by the producer */
    IH_FILE_DEDICATED, /* committed; SHRINK, GROW, not SEAL: it may be sealed against writing */
};
/* Commits in chunks below the cgroup's limit; IH_MEMORY with the figures. */
ih_result ih_catalog_make_file(uint32_t what, uint64_t bytes, int *fd, ih_error *error);
/* A description of its own of the same file, read-only or writable. */
ih_result ih_catalog_reopen(int fd, bool writable, int *out, ih_error *error);
/* A description of a lease table on which the byte of `member` is locked (H9): it goes to the
 * client. */
ih_result ih_catalog_lock_member(int fd, uint32_t member, int *out, ih_error *error);
/* 0444 or 0666 and the like. */
ih_result ih_catalog_restrict(int fd, uint32_t mode, ih_error *error);
/* Gives the memory of a segment that was dropped back to the system at once, although an idle
 * client may still map it: nobody leases anything in it, so nobody looks. May take long; any thread
 * may call it. */
ih_result ih_catalog_release(int fd, uint64_t bytes, ih_error *error);
/* Whether the file is under F_SEAL_WRITE. */
bool ih_catalog_is_sealed(int fd);

/* ---- the catalog ----------------------------------------------------------------------------- */

ih_result ih_catalog_create(int state_fd, uint64_t state_bytes, ih_catalog **out, ih_error *error);
void ih_catalog_destroy(ih_catalog *catalog);

typedef struct {
    uint64_t id, bytes;
    uint64_t secret[2];
    uint64_t state;   /* offset of its range in the state map */
    uint64_t session; /* its producer; 0: nobody any more */
    uint32_t kind;    /* IH_ORDINARY, IH_DEDICATED */
    uint32_t uid;     /* of the producer */
    bool evictable, kernel_sealed, spilled, warm;
} ih_segment_info;

/* Takes a range of the state map and writes nothing into it yet. */
ih_result ih_catalog_take_range(ih_catalog *catalog, uint32_t kind, uint64_t bytes, uint64_t *state,
                                ih_error *error);
/* A range that was taken for a segment that was never added. */
void ih_catalog_give_range(ih_catalog *catalog, uint32_t kind, uint64_t bytes, uint64_t state);
/* Marks a range as taken: for segments that a restart finds. */
ih_result ih_catalog_keep_range(ih_catalog *catalog, uint32_t kind, uint64_t bytes, uint64_t state);
/* Maps it (a dedicated one: its first two pages; of a spilled one these are copied) and, if
 * `fresh`, writes its id into its range. The range is taken already, and goes with
 * ih_catalog_drop(). If not `fresh`, IH_GONE: the range says that it was never granted, or dropped:
 * the caller gives the range back, and forgets the segment. */
ih_result ih_catalog_add_segment(ih_catalog *catalog, const ih_segment_info *info, int fd,
                                 bool fresh, ih_error *error);
ih_result ih_catalog_segment(const ih_catalog *catalog, uint64_t id, ih_segment_info *out);
/* Ids of all segments; at most `room` are written, *count says how many there are. */
void ih_catalog_segments(const ih_catalog *catalog, uint64_t *ids, size_t room, size_t *count);
/* Bytes in sealed images that live, that die; how many; the longest free run. Walks the segment. */
typedef struct {
    uint64_t images, image_bytes, dying, dying_bytes, free_bytes, largest_free;
} ih_segment_content;
ih_result ih_catalog_content(ih_catalog *catalog, uint64_t id, ih_segment_content *out);
/* The same without a walk, for figures: of an ordinary segment what its producer says, cut to what
 * could be; what it is writing counts as an image. Of a retired one the free bytes are 0. */
ih_result ih_catalog_glance(ih_catalog *catalog, uint64_t id, ih_segment_content *out);
/* Its producer is gone: it is never written again (H8). It is dropped when nothing lives in it. */
void ih_catalog_retire(ih_catalog *catalog, uint64_t id);
/* A freed dedicated segment (warm) under a new id, for the same producer. */
ih_result ih_catalog_rename(ih_catalog *catalog, uint64_t id, uint64_t new_id);
/* Notes what changed: it is under F_SEAL_WRITE now; its image was freed and it waits for the same
 * producer (warm: ih_catalog_empty() passes it over). */
void ih_catalog_mark(ih_catalog *catalog, uint64_t id, bool kernel_sealed, bool warm);
/* The same segment is now mapped from a file (spilled), whose contents are equal. */
ih_result ih_catalog_replace(ih_catalog *catalog, uint64_t id, int fd, ih_error *error);
/* Range = IH_RANGE_GONE, unmapped, forgotten; its range may be used again. */
void ih_catalog_drop(ih_catalog *catalog, uint64_t id);

/* ---- families of leases, pages of sessions --------------------------------------------------- */

ih_result ih_catalog_add_family(ih_catalog *catalog, uint64_t family, int fd, uint32_t blocks_max,
                                ih_error *error);
void ih_catalog_drop_family(ih_catalog *catalog, uint64_t family);
/* A fresh member number. */
uint32_t ih_catalog_new_member(ih_catalog *catalog, uint64_t family);
/* Whether the process lives: its byte is locked. member 0: any of the family. Errors mean alive. */
bool ih_catalog_is_alive(ih_catalog *catalog, uint64_t family, uint32_t member);
/* Slots in use; those of members who died since the last scan count. */
uint64_t ih_catalog_leases(ih_catalog *catalog, uint64_t family);

ih_result ih_catalog_add_page(ih_catalog *catalog, uint64_t session, int fd, ih_error *error);
void ih_catalog_drop_page(ih_catalog *catalog, uint64_t session);
/* What the client counted, IH_PAGE_COUNTERS words: puts, put_bytes, opens, maps, fulls, put_sizes.
 * Hostile: only for sums. */
void ih_catalog_counters(ih_catalog *catalog, uint64_t session, uint64_t *out);
/* Whether the client says that it has closed its store: what it may lie about is a figure. */
bool ih_catalog_is_closed(ih_catalog *catalog, uint64_t session);

/* ---- images ---------------------------------------------------------------------------------- */

/* IH_OK: it lives. IH_GONE: no such image, or dying; *dying (may be NULL) tells which, and where it
 * is given, *out describes a dying one too. `leases` and `names` are 0: ih_catalog_lessees() scans.
 */
ih_result ih_catalog_find(ih_catalog *catalog, ih_handle handle, ih_stat *out, bool *dying);
/* As much of a reply to STAT as the catalog knows, of a dying image too: place, sizes, leases,
 * links to it, uid and those of the flags that it has. Scans all tables. IH_GONE: no such image. */
ih_result ih_catalog_stat(ih_catalog *catalog, ih_handle handle, ih_stat_reply *out);
/* How many processes lease it, up to `room` families of them. Scans all tables. */
uint32_t ih_catalog_lessees(ih_catalog *catalog, uint64_t locator, uint64_t *families,
                            uint32_t *members, size_t room);
/* Adds to `leases` of each those of its locator, in one scan of all tables; locators ascend. */
void ih_catalog_count_leases(const ih_catalog *catalog, ih_stat *stats, size_t count);
/* The images after locator `cursor` (0: from the start), in the order of locators; dying ones too.
 * Their `leases` are of one scan of all tables, `names` is 0. */
size_t ih_catalog_list(ih_catalog *catalog, uint64_t cursor, ih_stat *out, size_t room);

/* What a scan looks for; all bounds are inclusive. Segments have classes, one bit each: IH_CLASS_*,
 * plus IH_CLASS_DEDICATED if they are. */
enum { IH_CLASS_GRANTED = 0, IH_CLASS_RETIRED = 1, IH_CLASS_SPILLED = 2, IH_CLASS_DEDICATED = 3 };
enum { IH_BY_PLACE = 0, IH_BY_SIZE, IH_BY_SIZE_DOWN, IH_BY_CREATED, IH_BY_CREATED_DOWN };
/* Kinds of roots: constants, small ints, short strings, kinds of nodes; UNSEEN is not mapped. */
enum {
    IH_ROOT_CONSTANT = 0,
    IH_ROOT_INT = 16,
    IH_ROOT_STR = 17,
    IH_ROOT_KIND = 64,
    IH_ROOT_UNSEEN = 254,
    IH_ROOT_UNKNOWN = 255,
};
typedef struct {
    uint64_t size_min, size_max, created_min, created_max;
    uint64_t roots[4];        /* a bit for each kind of root */
    const uint64_t *segments; /* ids, ascending: no others; NULL: all */
    uint64_t segments_count;
    uint64_t end;           /* no places after this one */
    uint32_t living, dying; /* in segments of which classes */
    uint32_t sort;          /* IH_BY_* */
    bool best;              /* not the first `room` of them, but the best, in no order */
    /* Unless by place: keys that come after the one and before the other. A key is the size or
     * time, UINT64_MAX minus it where it is sorted down; equal ones go by their places. */
    uint64_t after_key, after_place, before_key, before_place;
} ih_scan;
/* Looks at images after place *cursor: at no more than so many, for not much longer than so long.
 * *cursor is where to go on; 0: that was all. `leases` and `names` are 0. */
size_t ih_catalog_scan(ih_catalog *catalog, const ih_scan *wanted, uint64_t *cursor,
                       uint64_t looks_max, uint64_t ns_max, ih_stat *out, size_t room);

enum { IH_RUN_FREE = 0, IH_RUN_LIVE, IH_RUN_DYING, IH_RUN_MIXED };
/* A run of bytes of a segment; `handle` and `size` if it is one image. */
typedef struct {
    uint64_t offset, bytes, images, live_bytes, dying_bytes, size;
    ih_handle handle;
    uint32_t state, reserved;
} ih_run;
/* What is where in a segment from offset *cursor on; neighbours shorter than `grain` are told as
 * one. What its producer is writing is free yet; a free run may be told in parts, which are
 * neighbours. *room (4 at least): runs; how many there are.
 * *cursor is where to go on; 0: that was all. IH_GONE: no such segment. */
ih_result ih_catalog_runs(ih_catalog *catalog, uint64_t id, uint64_t grain, uint64_t *cursor,
                          uint64_t looks_max, uint64_t ns_max, ih_run *out, size_t *room);

#define IH_LEASED_BY_MAX 256
/* Images that a process leases: `room` at most, and IH_LEASED_BY_MAX. */
size_t ih_catalog_leased_by(ih_catalog *catalog, uint64_t family, uint32_t member, ih_handle *out,
                            size_t room);

/* Holds beside leases: links, and whatever else keeps a deleted image's memory. Counted. */
ih_result ih_catalog_hold(ih_catalog *catalog, uint64_t locator);
/* The last one makes a dying image free to go. */
void ih_catalog_unhold(ih_catalog *catalog, uint64_t locator);
uint32_t ih_catalog_holds(const ih_catalog *catalog, uint64_t locator);

/* Sets the dying bit and queues the image for reclaim. IH_GONE: no such image, or dying already. */
ih_result ih_catalog_condemn(ih_catalog *catalog, ih_handle handle, ih_error *error);
/* A dying image that is linked lives again: clears the bit, unless reclaim has begun on it:
 * IH_GONE. */
ih_result ih_catalog_revive(ih_catalog *catalog, ih_handle handle);

/* One step: looks which entries of the rings were done and clears their dying bits; scans all
 * families once for what is queued (H1, H2); hands what nobody holds to its producer's ring, or, in
 * retired and dedicated segments, marks it as freed itself. Frees the blocks of slots of dead
 * members. Writes at most `room` handles that are freed for good, *freed says how many: they are
 * told once, those of retired and dedicated segments after a restart perhaps once more; what a
 * producer gave back while no daemon ran is not told, ih_catalog_find() says it. Segments that hold
 * nothing any more are told by ih_catalog_empty(). Without `force` it scans only if much is queued.
 * O(slots + queue) if it scans, O(sessions) else. */
ih_result ih_catalog_reclaim(ih_catalog *catalog, bool force, ih_handle *out, size_t room,
                             size_t *freed);
/* A segment that the daemon may drop: retired or dedicated (not warm), and nothing in it lives or
 * is held. 0: none. */
uint64_t ih_catalog_empty(ih_catalog *catalog);
/* Whether reclaim has work: entries queued, or in rings. */
bool ih_catalog_is_busy(const ih_catalog *catalog);
/* Bytes that were handed to a session's ring and are not returned; locator queue lengths. */
uint64_t ih_catalog_waiting(const ih_catalog *catalog, uint64_t session);

/* Notes for each evictable segment whether anybody leases it now: ids of those leased at this scan,
 * at most `room`. */
void ih_catalog_leased(ih_catalog *catalog, const uint64_t *ids, size_t count, bool *leased);

/* After a restart, when all segments, families and pages are added: dying images are queued again,
 * bits of headers that were cleared meanwhile are cleared. */
ih_result ih_catalog_recover(ih_catalog *catalog, ih_error *error);

typedef struct {
    uint64_t segments, images, image_bytes, dying, dying_bytes, queued, ring, leases, families,
        committed, warm, free_bytes, largest_free;
} ih_catalog_totals;
/* Walks everything: O(blocks + slots). Bytes are of what lies in memory, images also of what is
 * on disk. */
void ih_catalog_total(ih_catalog *catalog, ih_catalog_totals *out);

/* The same for metrics: O(segments), a few words of each. What producers say of their own segments
 * is believed as far as it could be true. */
enum { IH_SEGMENT_GRANTED, IH_SEGMENT_WARM, IH_SEGMENT_SPILLED, IH_SEGMENT_RETIRED };
enum { IH_OBJECTS_LIVE, IH_OBJECTS_UNOWNED, IH_OBJECTS_SPILLED, IH_OBJECTS_DELETED };
typedef struct {
    uint64_t segments[4];                 /* by IH_SEGMENT_* */
    uint64_t objects[4], object_bytes[4]; /* by IH_OBJECTS_* */
    uint64_t free_bytes, free_runs;       /* in segments that are written, as what follows */
    uint64_t largest_free;                /* the longest run of all */
    uint64_t longest_runs_bytes;          /* the longest run of each segment, summed up */
    uint64_t returning_bytes;             /* in blocks that producers are about to free */
    uint64_t queued, ring;
} ih_catalog_figures;
void ih_catalog_measure(const ih_catalog *catalog, ih_catalog_figures *out);
/* ih_catalog_counters() of all sessions, summed up; what would not fit is UINT64_MAX. */
void ih_catalog_counter_sums(const ih_catalog *catalog, uint64_t *out);

/* Leases by age: under a minute, 10 minutes, an hour, a day, and older. An age counts from the look
 * that first found that image in that slot. */
typedef struct {
    uint64_t leases[5];
    uint64_t oldest; /* seconds */
} ih_lease_ages;
/* Looks at the next `room` blocks of slots of a lease table, at `now` (seconds of any clock that
 * does not go back). True: that was the last, and *out tells of the whole table. 8 bytes of memory
 * a slot. */
bool ih_catalog_lease_ages(ih_catalog *catalog, uint64_t family, uint32_t now, uint32_t room,
                           ih_lease_ages *out);

/* Every invariant that holds whatever producers do; with `honest`, also that each ordinary
 * segment's chain leads to its end. IH_CORRUPT with the first violation in `message`. */
ih_result ih_catalog_check(ih_catalog *catalog, bool honest, char *message, size_t size);

#endif
