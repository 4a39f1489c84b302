/* A daemon's catalog and its clients, all in one process: a producer with a session, who allocates
 * in the segments that it was granted and drains its ring as the client's C side does, and members
 * of families who lease what they read. */
#ifndef ICEHOUSE_TESTS_CATALOGS_H
#define ICEHOUSE_TESTS_CATALOGS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include "arena/catalog.h"
#include "arena/lease.h"
#include "arena/wire.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define STATE_BYTES (UINT64_C(4) << 20)

static ih_error error;

#define CHECK_CATALOG(catalog, honest)                                                           \
    do {                                                                                         \
        char message_[256];                                                                      \
        if (ih_catalog_check((catalog), (honest), message_, sizeof message_) != IH_OK) {         \
            fprintf(stderr, "%s:%d: %s failed: the catalog is broken: %s\n", __FILE__, __LINE__, \
                    __func__, message_);                                                         \
            abort();                                                                             \
        }                                                                                        \
    } while (0)

static inline uint8_t *map_file(int fd, uint64_t bytes, bool writable)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *memory = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* ---- members of families --------------------------------------------------------------------- */

/* A process: its family's file is kept open by the daemon, its own description holds the lock. */
typedef struct {
    uint64_t number;
    int file;
    ih_family *family;
} member;

static inline member join_family(ih_catalog *catalog, uint64_t number)
{
    member m = {.number = number};
    CHECK_OK(ih_catalog_make_file(IH_FILE_FAMILY, 0, &m.file, &error));
    CHECK_OK(ih_catalog_add_family(catalog, number, m.file, 64, &error));
    uint32_t who = ih_catalog_new_member(catalog, number);
    int locked;
    CHECK_OK(ih_catalog_lock_member(m.file, who, &locked, &error));
    CHECK_OK(ih_family_attach(locked, who, 64, &m.family, &error));
    CHECK(ih_catalog_is_alive(catalog, number, who) && ih_catalog_is_alive(catalog, number, 0));
    return m;
}

/* The process dies: its slots stay written, its lock goes. */
static inline void die(member *m)
{
    ih_family_destroy(m->family);
    m->family = NULL;
}

/* ---- segments -------------------------------------------------------------------------------- */

typedef struct {
    ih_segment_info info;
    int fd;
    ih_heap heap; /* the producer's, both mappings whole */
    const uint64_t *range;
    uint32_t blocks; /* of the producer: in use */
    bool writable, gone;
} granted;

static inline granted grant(ih_catalog *catalog, const uint8_t *state, uint64_t id, uint32_t kind,
                            uint64_t bytes, uint64_t session, uint64_t *random)
{
    granted g = {.info = {.id = id,
                          .bytes = bytes,
                          .secret = {test_random(random), test_random(random)},
                          .session = session,
                          .kind = kind},
                 .writable = true};
    uint32_t what = kind == IH_ORDINARY ? IH_FILE_ORDINARY : IH_FILE_DEDICATED;
    CHECK_OK(ih_catalog_take_range(catalog, kind, bytes, &g.info.state, &error));
    CHECK_OK(ih_catalog_make_file(what, bytes, &g.fd, &error));
    CHECK_OK(ih_catalog_add_segment(catalog, &g.info, g.fd, true, &error));
    int reader; /* a read-only mapping of a writable one would keep F_SEAL_WRITE away */
    CHECK_OK(ih_catalog_reopen(g.fd, false, &reader, &error));
    g.heap = (ih_heap){.base = map_file(g.fd, bytes, true),
                       .view = map_file(reader, bytes, false),
                       .id = id,
                       .secret = {g.info.secret[0], g.info.secret[1]},
                       .first = ih_heap_first_unit(kind, bytes),
                       .end = (uint32_t)(bytes / IH_UNIT),
                       .kind = kind};
    close(reader);
    g.range = (const uint64_t *)(const void *)(state + g.info.state);
    ih_heap_format(&g.heap, bytes, 1);
    return g;
}

static inline void ungrant(granted *g)
{
    ih_heap_poison(&g->heap, 0, g->heap.end, false);
    munmap(g->heap.base, g->info.bytes);
    munmap((void *)(uintptr_t)g->heap.view, g->info.bytes);
    close(g->fd);
    memset(g, 0, sizeof *g);
    g->gone = true;
}

static inline bool bit_of(const granted *g, uint32_t unit)
{
    const uint64_t *bits = g->range + IH_RANGE_HEAD / 8u;
    return (__atomic_load_n(&bits[unit / 64u], __ATOMIC_ACQUIRE) >> unit % 64u & 1u) != 0;
}

/* As a client looks: the bit, then whose range it is, then the header. */
static inline bool may_open(const granted *g, ih_handle handle, ih_header *header)
{
    uint32_t unit = ih_locator_unit(handle.locator);
    bool dying = g->heap.kind == IH_ORDINARY && bit_of(g, unit);
    if (__atomic_load_n(g->range, __ATOMIC_ACQUIRE) != ih_locator_id(handle.locator) || dying)
        return false;
    return ih_heap_sealed(&g->heap, unit, &handle.nonce, header);
}

/* ---- images ---------------------------------------------------------------------------------- */

/* A sealed image of `units` units whose body is told by its nonce; locator 0: no room. */
static inline ih_handle put_image(granted *g, uint32_t units, uint64_t nonce)
{
    static const uint8_t image[16] = "test image";
    uint32_t unit = g->heap.first;
    if (g->heap.kind == IH_ORDINARY)
        unit = ih_heap_alloc(&g->heap, units);
    else
        ih_heap_at(&g->heap, unit)->units = g->heap.end - g->heap.first;
    if (unit == 0)
        return (ih_handle){0, 0};
    uint8_t *body = g->heap.base + (size_t)unit * IH_UNIT;
    memset(body + IH_HEADER_SIZE, (int)(nonce & 0xff), (size_t)(units - 1) * IH_UNIT);
    ih_heap_seal(&g->heap, unit, nonce, (uint64_t)units * IH_UNIT, 1, 0, image);
    g->blocks++;
    return (ih_handle){ih_locator(g->info.id, unit), nonce};
}

static inline void verify_image(const granted *g, ih_handle handle, uint32_t units)
{
    ih_header header;
    uint32_t unit = ih_locator_unit(handle.locator);
    CHECK(ih_heap_sealed(&g->heap, unit, &handle.nonce, &header));
    CHECK_EQ(header.size, (uint64_t)units * IH_UNIT);
    const uint8_t *body = g->heap.view + (size_t)unit * IH_UNIT;
    for (uint64_t at = IH_HEADER_SIZE; at < header.size; at += 61)
        CHECK_EQ(body[at], handle.nonce & 0xff);
}

/* ---- the producer's side of a page ----------------------------------------------------------- */

typedef struct {
    uint64_t session;
    int file;
    ih_session_page *page;
    ih_handle *cleared; /* headers cleared, the dying bit not yet seen clear */
    size_t count, room;
} producer;

static inline producer open_session(ih_catalog *catalog, uint64_t session)
{
    producer p = {.session = session, .room = 1u << 17};
    CHECK_OK(ih_catalog_make_file(IH_FILE_PAGE, 0, &p.file, &error));
    CHECK_OK(ih_catalog_add_page(catalog, session, p.file, &error));
    p.page = (ih_session_page *)(void *)map_file(p.file, IH_SESSION_BYTES, true);
    CHECK(p.page->magic == IH_PAGE_MAGIC && p.page->entries == IH_RING_ENTRIES);
    p.cleared = malloc(p.room * sizeof *p.cleared);
    CHECK(p.cleared != NULL);
    return p;
}

static inline void close_session(producer *p)
{
    munmap(p->page, IH_SESSION_BYTES);
    close(p->file);
    free(p->cleared);
    memset(p, 0, sizeof *p);
}

/* Takes at most `most` entries out of the ring; `find` gives the segment of an id. */
static inline void drain_ring(producer *p, granted *(*find)(uint64_t id), uint64_t most)
{
    uint64_t head = __atomic_load_n(&p->page->head, __ATOMIC_ACQUIRE), tail = p->page->tail;
    const uint64_t *ring =
        (const uint64_t *)(const void *)((const uint8_t *)p->page + sizeof *p->page);
    for (; tail != head && most > 0; most--, tail++) {
        const uint64_t *entry = &ring[2 * (tail % IH_RING_ENTRIES)];
        granted *g = entry[0] != 0 ? find(ih_locator_id(entry[0])) : NULL;
        uint32_t unit = ih_locator_unit(entry[0]);
        ih_header header;
        if (g == NULL || !bit_of(g, unit) || !ih_heap_sealed(&g->heap, unit, &entry[1], &header))
            continue;
        ih_heap_unseal(&g->heap, unit);
        CHECK(p->count < p->room);
        p->cleared[p->count++] = (ih_handle){entry[0], entry[1]};
    }
    __atomic_store_n(&p->page->tail, tail, __ATOMIC_RELEASE);
    for (size_t i = 0; i < p->count;) {
        granted *g = find(ih_locator_id(p->cleared[i].locator));
        uint32_t unit = ih_locator_unit(p->cleared[i].locator);
        if (bit_of(g, unit)) {
            i++;
            continue;
        }
        ih_heap_free(&g->heap, unit);
        g->blocks--;
        p->cleared[i] = p->cleared[--p->count];
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

#define PRODUCERS 3u
#define READERS 4u
#define SEGMENTS 64u

typedef struct {
    int state_file;
    uint8_t *state;
    ih_catalog *catalog;
    producer producers[PRODUCERS];
    member readers[READERS];
    granted segments[SEGMENTS];
    uint64_t random, next_id, next_session, next_family, restarts;
} world;

static world w;

static inline granted *find_segment(uint64_t id)
{
    for (size_t i = 0; i < SEGMENTS; i++) {
        if (!w.segments[i].gone && w.segments[i].info.id == id)
            return &w.segments[i];
    }
    return NULL;
}

static inline void open_world(uint64_t seed)
{
    memset(&w, 0, sizeof w);
    w.random = seed * 2 + 1;
    w.next_id = 1000;
    for (size_t i = 0; i < SEGMENTS; i++)
        w.segments[i].gone = true;
    CHECK_OK(ih_catalog_make_file(IH_FILE_STATE, STATE_BYTES, &w.state_file, &error));
    w.state = map_file(w.state_file, STATE_BYTES, false);
    CHECK_OK(ih_catalog_create(w.state_file, STATE_BYTES, &w.catalog, &error));
    for (size_t i = 0; i < PRODUCERS; i++)
        w.producers[i] = open_session(w.catalog, ++w.next_session);
    for (size_t i = 0; i < READERS; i++)
        w.readers[i] = join_family(w.catalog, ++w.next_family);
}

static inline void close_world(void)
{
    ih_catalog_destroy(w.catalog);
    for (size_t i = 0; i < SEGMENTS; i++) {
        if (!w.segments[i].gone)
            ungrant(&w.segments[i]);
    }
    for (size_t i = 0; i < PRODUCERS; i++)
        close_session(&w.producers[i]);
    for (size_t i = 0; i < READERS; i++) {
        die(&w.readers[i]);
        close(w.readers[i].file);
    }
    munmap(w.state, STATE_BYTES);
    close(w.state_file);
}

/* A new daemon takes over what the old one had. */
static inline void reopen_world(void)
{
    ih_catalog_destroy(w.catalog);
    CHECK_OK(ih_catalog_create(w.state_file, STATE_BYTES, &w.catalog, &error));
    for (size_t i = 0; i < SEGMENTS; i++) {
        const granted *g = &w.segments[i];
        if (g->gone)
            continue;
        CHECK_OK(ih_catalog_keep_range(w.catalog, g->info.kind, g->info.bytes, g->info.state));
        CHECK_OK(ih_catalog_add_segment(w.catalog, &g->info, g->fd, false, &error));
    }
    for (size_t i = 0; i < READERS; i++)
        CHECK_OK(
            ih_catalog_add_family(w.catalog, w.readers[i].number, w.readers[i].file, 64, &error));
    for (size_t i = 0; i < PRODUCERS; i++)
        CHECK_OK(
            ih_catalog_add_page(w.catalog, w.producers[i].session, w.producers[i].file, &error));
    CHECK_OK(ih_catalog_recover(w.catalog, &error));
}

#endif
