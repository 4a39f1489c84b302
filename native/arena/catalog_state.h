/* What the catalog keeps, shared by catalog*.c. Private to the arena.
 *
 * Nothing here grows with the number of images that live: a segment costs its mapping and a struct,
 * an image that dies 16 bytes and two bits until its memory is free.
 *
 * The way of a dying image: condemn sets its dying bit and adds it to the queue of its segment ->
 * a scan finds it leased by nobody and held by nothing -> in an ordinary segment whose producer
 * lives it moves to the line of that session, from which entries go to the ring as there is room,
 * and are done when the producer has taken them out and its header is cleared; in any other segment
 * it is done at once. The dying bit is cleared in the first case and stays in the second, where the
 * block is never used again.
 */
#ifndef ICEHOUSE_ARENA_CATALOG_STATE_H
#define ICEHOUSE_ARENA_CATALOG_STATE_H

#include "catalog.h"
#include "lease.h"
#include "wire.h"

#include <errno.h>

/* ---- u64 -> pointer or count ----------------------------------------------------------------- */

typedef struct {
    uint64_t key; /* 0: empty */
    void *value;
} ih_cell;

typedef struct {
    ih_cell *cells;
    size_t mask, count;
} ih_table;

/* The cell of that key; NULL: not there. Valid until the next change. */
ih_cell *ih_table_cell(const ih_table *table, uint64_t key);
/* Makes room for one more key, so that ih_table_put() of it can't fail. */
bool ih_table_reserve(ih_table *table);
void ih_table_put(ih_table *table, uint64_t key, void *value);
void ih_table_remove(ih_table *table, uint64_t key);
/* Walks: start with *cursor 0; NULL at the end. The table must not change meanwhile. */
ih_cell *ih_table_next(const ih_table *table, size_t *cursor);
void ih_table_destroy(ih_table *table);

static inline void *ih_table_get(const ih_table *table, uint64_t key)
{
    const ih_cell *cell = ih_table_cell(table, key);
    return cell != NULL ? cell->value : NULL;
}

/* ---- segments -------------------------------------------------------------------------------- */

typedef struct {
    uint32_t unit, units; /* units: as its header said when it was condemned, within the segment */
    uint64_t nonce;
} ih_dying_image;

typedef struct ih_record {
    ih_segment_info info;
    ih_heap heap;     /* base NULL; of a dedicated segment the view is two pages long */
    bool copied;      /* the view is private memory: its file is not a sealed memory file */
    uint64_t *range;  /* its range of the state map */
    bool freed;       /* dedicated: its image was freed */
    bool recount;     /* `alive` may be wrong */
    bool told_empty;  /* in the list of empty segments */
    bool asked, seen; /* of ih_catalog_leased() */
    uint64_t alive;   /* retired: images that live */
    uint64_t dying;   /* dying bits set: queued ones, those in line, those gone for good */
    uint64_t alive_bytes, dying_bytes; /* of their blocks; of an ordinary segment, for figures */
    uint64_t waiting;                  /* images of it in the line of its session */
    /* Images condemned and not yet known to be free of leases. `queued` and `held` have a bit for
     * each unit; an entry whose dying bit is clear was revived, and is dropped at the next scan. */
    ih_dying_image *queue;
    size_t queue_count, queue_room;
    uint64_t *queued, *held;
    uint64_t *done; /* retired: a bit for each unit whose image is gone for good */
    struct ih_record *queue_next, *queue_previous; /* segments with a queue */
    struct ih_record *empty_next, *empty_previous;
} ih_record;

/* ---- sessions -------------------------------------------------------------------------------- */

typedef struct {
    ih_record *segment; /* NULL: dropped or retired meanwhile */
    uint32_t unit, units;
    uint64_t nonce;
} ih_waiting_image;

/* A line of images that nobody holds: the first `ringed` are in the ring, in its order. */
typedef struct {
    uint64_t session;
    ih_session_page *page;
    uint64_t head, tail;    /* what we know of the ring; the page is only told, or asked */
    ih_waiting_image *line; /* circular; room is a power of two */
    size_t room, first, count, ringed;
    uint64_t bytes;            /* of the blocks in line */
    uint64_t live, live_bytes; /* of ih_catalog_measure(): in its ordinary segments */
} ih_session;

/* ---- the catalog ----------------------------------------------------------------------------- */

struct ih_catalog {
    int state_fd;
    uint8_t *state;
    uint64_t state_bytes;
    uint64_t *taken;     /* a bit for each 64 bytes of the state map */
    uint64_t taken_hint; /* where the next search begins */
    ih_table segments;   /* id -> ih_record */
    ih_record **sorted;  /* by id */
    size_t sorted_count, sorted_room;
    ih_table families; /* number -> ih_family */
    ih_table sessions; /* number -> ih_session */
    ih_table holds;    /* locator -> count */
    ih_table ages;     /* family -> what was seen in its slots (catalog_measure.c) */
    ih_record *queues, *empty;
    bool doubtful;            /* some segment is to be recounted */
    uint64_t queued, in_line; /* images */
    uint64_t scan_at;         /* so many queued make a scan worth its while */
};

/* ---- the state map (catalog.c) --------------------------------------------------------------- */

uint64_t ih_range_bytes(uint32_t kind, uint64_t bytes);

/* Bitmaps of a segment have one bit for each unit; of a dedicated one only the first is used. */
static inline uint32_t ih_bit_of(const ih_record *record, uint32_t unit)
{
    return record->heap.kind == IH_ORDINARY ? unit : 0;
}

static inline uint64_t ih_bits_bytes(const ih_record *record)
{
    return record->heap.kind == IH_ORDINARY ? ih_start_map_bytes(record->info.bytes) : 8u;
}

static inline bool ih_bit(const uint64_t *bits, uint32_t bit)
{
    return bits != NULL && (bits[bit / 64u] >> bit % 64u & 1u) != 0;
}

static inline void ih_bit_set(uint64_t *bits, uint32_t bit)
{
    bits[bit / 64u] |= UINT64_C(1) << bit % 64u;
}

static inline void ih_bit_clear(uint64_t *bits, uint32_t bit)
{
    bits[bit / 64u] &= ~(UINT64_C(1) << bit % 64u);
}

static inline uint64_t *ih_record_bits(const ih_record *record)
{
    return record->range + IH_RANGE_HEAD / 8u;
}

/* Its bit among the classes of a scan. */
static inline uint32_t ih_record_class(const ih_record *record)
{
    uint32_t place = record->info.spilled        ? IH_CLASS_SPILLED
                     : record->info.session == 0 ? IH_CLASS_RETIRED
                                                 : IH_CLASS_GRANTED;
    return record->heap.kind == IH_DEDICATED ? place + IH_CLASS_DEDICATED : place;
}

static inline bool ih_is_retired(const ih_record *record) { return record->info.session == 0; }

/* Whether the image there is dying. We alone write the state map. */
static inline bool ih_record_dying(const ih_record *record, uint32_t unit)
{
    if (record->heap.kind == IH_ORDINARY)
        return ih_bit(ih_record_bits(record), unit);
    return __atomic_load_n(record->range, __ATOMIC_RELAXED) != record->info.id;
}

void ih_record_set_dying(ih_record *record, uint32_t unit);
void ih_record_clear_dying(ih_record *record, uint32_t unit);

/* ---- segments (catalog_segments.c) ----------------------------------------------------------- */

ih_record *ih_record_of(const ih_catalog *catalog, uint64_t id);
/* The index in `sorted` of the first segment whose id is not less. */
size_t ih_sorted_at(const ih_catalog *catalog, uint64_t id);
/* Fills in an ih_stat; its leases are 0. */
void ih_describe(const ih_record *record, uint32_t unit, const ih_header *header, ih_stat *out);
typedef bool ih_see(void *context, uint32_t unit, const ih_header *header);
/* Calls `see` for every sealed image from unit `from` on, dying or not, until it says false. */
void ih_record_walk_from(const ih_record *record, uint32_t from, ih_see *see, void *context);
/* The same for who counts his steps: where the producer marked a start and there is no image, the
 * header is NULL. A hostile one may have marked every unit of the segment. */
void ih_record_walk_starts(const ih_record *record, uint32_t from, ih_see *see, void *context);
/* Unmaps and frees; the state map stays as it is. */
void ih_record_forget(ih_catalog *catalog, ih_record *record);
/* Whether a sealed image begins there: in a dedicated segment not once it was freed. */
bool ih_record_sealed(const ih_record *record, uint32_t unit, const uint64_t *nonce,
                      ih_header *out);
/* Puts it into the list of empty segments if nothing in it lives or dies, and it may be dropped. */
void ih_record_note_empty(ih_catalog *catalog, ih_record *record);
/* Of a retired segment: counts what lives, queues what dies. */
void ih_record_count_retired(ih_catalog *catalog, ih_record *record);
void ih_record_leave_empty(ih_catalog *catalog, ih_record *record);

/* ---- dying images (catalog_reclaim.c, catalog_line.c) ---------------------------------------- */

/* The two bitmaps of the queue. False: no memory. */
bool ih_reserve_bits(ih_record *record);
/* Adds to the segment's queue, if it is not there. False: no memory. */
bool ih_enqueue(ih_catalog *catalog, ih_record *record, ih_dying_image image);
void ih_leave_queues(ih_catalog *catalog, ih_record *record);
/* Adds to the line of the session. False: no memory. */
bool ih_line_add(ih_catalog *catalog, ih_session *session, ih_waiting_image image);
/* Moves what the producer has done out of the line: at most `room`; returns how many were told. */
size_t ih_line_settle(ih_catalog *catalog, ih_session *session, ih_handle *out, size_t room);
/* Fills the ring. */
void ih_line_push(ih_session *session);
/* The segment's images leave the line: into the segment's queue, or into nothing. */
void ih_line_forget(ih_catalog *catalog, ih_session *session, const ih_record *record,
                    bool requeue);
/* After a restart: the line is what the ring holds. */
ih_result ih_line_recover(ih_catalog *catalog, ih_session *session);

/* ---- leases (catalog_leases.c) --------------------------------------------------------------- */

void ih_session_free(ih_session *session);
/* Every published locator of every family, as a scan (H2). False: a table could not be read, so
 * nothing may be freed. */
bool ih_scan_all(ih_catalog *catalog, void (*mark)(void *context, uint64_t locator), void *context);
/* The same for figures: dead members count until the next scan. */
void ih_peek_all(const ih_catalog *catalog, void (*mark)(void *context, uint64_t locator),
                 void *context);

/* What lease ages need of a family goes with it. */
void ih_ages_drop(ih_catalog *catalog, uint64_t family);
void ih_ages_destroy(ih_catalog *catalog);

/* Figures follow an image as it begins to die and as it stops; they never go below nothing. */
static inline void ih_note_dying(ih_record *record, uint32_t units)
{
    record->dying_bytes += (uint64_t)units << IH_UNIT_SHIFT;
}

static inline void ih_note_undying(ih_record *record, uint32_t units)
{
    uint64_t bytes = (uint64_t)units << IH_UNIT_SHIFT;
    record->dying_bytes -= bytes < record->dying_bytes ? bytes : record->dying_bytes;
}

static inline uint64_t ih_units_bytes(const ih_record *record, uint32_t units)
{
    return record->heap.kind == IH_ORDINARY ? (uint64_t)units << IH_UNIT_SHIFT
                                            : record->info.bytes - IH_PAGE;
}

static inline ih_result ih_system_error(ih_error *error, int code, const char *what)
{
    bool memory = code == ENOMEM || code == ENOSPC;
    return ih_fail(error, memory ? IH_MEMORY : IH_SYSTEM, code, what);
}

#endif
