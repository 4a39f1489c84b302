/* What lies in shared memory: every struct that two processes see, byte by byte
 * (docs/segment-format.md tells the same).
 *
 * Shared memory holds offsets in units of 64 bytes, never pointers. All integers are little-endian.
 * Fields that another process may write, or read while we write, are accessed through the __atomic
 * builtins only.
 */
#ifndef ICEHOUSE_ARENA_LAYOUT_H
#define ICEHOUSE_ARENA_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the shared layout is little-endian"
#endif

#define IH_UNIT_SHIFT 6u
#define IH_PAGE 4096u /* of the layout; the machine's may be larger */
#define IH_PAGE_UNITS (IH_PAGE >> IH_UNIT_SHIFT)

/* ---- handles --------------------------------------------------------------------------------- */

#define IH_OFFSET_BITS 24u
#define IH_ID_BITS 40u
#define IH_UNITS_MAX (1u << IH_OFFSET_BITS) /* of an ordinary segment: 1 GiB */
#define IH_ID_MASK ((UINT64_C(1) << IH_ID_BITS) - 1u)

static inline uint64_t ih_locator(uint64_t id, uint32_t unit)
{
    return id << IH_OFFSET_BITS | unit;
}

static inline uint64_t ih_locator_id(uint64_t locator) { return locator >> IH_OFFSET_BITS; }

static inline uint32_t ih_locator_unit(uint64_t locator)
{
    return (uint32_t)(locator & (IH_UNITS_MAX - 1u));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* FREE is zero, so that a page that was given back to the system reads as free. */
enum { IH_FREE = 0, IH_ALLOCATED = 1, IH_SEALED = 2 };

#define IH_BLOCK_DEDICATED 1u /* alone in its segment */
#define IH_BLOCK_KERNEL 2u    /* under F_SEAL_WRITE */

/* The first 64 bytes of every block. Of a sealed one they are the image's header. A free block
 * keeps the links of its free list where an image has its nonce. */
typedef struct {
    uint32_t units;      /* length of the block, this header included; the chain of blocks */
    uint32_t prev_units; /* length of the block before, 0 for the first; derivable */
    uint32_t state;
    uint32_t flags;
    union {
        uint64_t nonce;
        struct {
            uint32_t next, prev; /* units from the segment's start, 0: none; derivable */
        } links;
    } u;
    uint64_t check;      /* SipHash-2-4 of (locator, nonce) under the segment's secret (H10) */
    uint64_t size;       /* bytes of the image, this header included */
    uint64_t created_ns; /* since the epoch */
    uint8_t image[16];   /* belongs to the image format */
} ih_header;

_Static_assert(sizeof(ih_header) == 64, "a header is one unit");
_Static_assert(offsetof(ih_header, units) == 0, "units");
_Static_assert(offsetof(ih_header, prev_units) == 4, "prev_units");
_Static_assert(offsetof(ih_header, state) == 8, "state");
_Static_assert(offsetof(ih_header, flags) == 12, "flags");
_Static_assert(offsetof(ih_header, u) == 16, "nonce");
_Static_assert(offsetof(ih_header, check) == 24, "check");
_Static_assert(offsetof(ih_header, size) == 32, "size");
_Static_assert(offsetof(ih_header, created_ns) == 40, "created_ns");
_Static_assert(offsetof(ih_header, image) == 48, "image");

/* ---- segments -------------------------------------------------------------------------------- */

#define IH_SEGMENT_MAGIC UINT64_C(0x31746d6765736869) /* "ihsegmt1" */
#define IH_SEGMENT_VERSION 1u

enum { IH_ORDINARY = 1, IH_DEDICATED = 2 };

/* Two-level segregated fit. A list for each length below 32 units, then 32 lists for each power of
 * two. */
#define IH_SL_BITS 5u
#define IH_SL_COUNT (1u << IH_SL_BITS)
#define IH_FL_COUNT (IH_OFFSET_BITS - IH_SL_BITS + 1u)

typedef struct {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;
    uint64_t id;
    uint64_t bytes;      /* of the whole segment */
    uint32_t first_unit; /* of the first block */
    uint32_t end_unit;   /* one behind the last block */
    uint64_t created_ns;
    uint32_t free_units; /* from here on: derivable from the chain of blocks */
    uint32_t free_blocks;
    uint32_t blocks;
    uint32_t fl_bitmap;
    uint32_t sl_bitmap[IH_FL_COUNT];
    uint32_t heads[IH_FL_COUNT][IH_SL_COUNT]; /* first free block of each list, in units; 0: none */
} ih_segment_header;

_Static_assert(offsetof(ih_segment_header, magic) == 0, "magic");
_Static_assert(offsetof(ih_segment_header, version) == 8, "version");
_Static_assert(offsetof(ih_segment_header, kind) == 12, "kind");
_Static_assert(offsetof(ih_segment_header, id) == 16, "id");
_Static_assert(offsetof(ih_segment_header, bytes) == 24, "bytes");
_Static_assert(offsetof(ih_segment_header, first_unit) == 32, "first_unit");
_Static_assert(offsetof(ih_segment_header, end_unit) == 36, "end_unit");
_Static_assert(offsetof(ih_segment_header, created_ns) == 40, "created_ns");
_Static_assert(offsetof(ih_segment_header, free_units) == 48, "free_units");
_Static_assert(offsetof(ih_segment_header, fl_bitmap) == 60, "fl_bitmap");
_Static_assert(offsetof(ih_segment_header, sl_bitmap) == 64, "sl_bitmap");
_Static_assert(offsetof(ih_segment_header, heads) == 144, "heads");
_Static_assert(sizeof(ih_segment_header) == 2704, "segment header");
_Static_assert(sizeof(ih_segment_header) <= IH_PAGE, "the header fits the first page");

/* Behind the header of an ordinary segment: the start map, one bit for each unit of the segment,
 * set where a sealed image begins. Only the allocator writes it, so no image's content can pass for
 * a header (H10), not even one that repeats the genuine header of an image that once stood at the
 * same place. */
static inline uint64_t ih_start_map_bytes(uint64_t segment_bytes)
{
    return (segment_bytes / 64u / 8u + 63u) / 64u * 64u;
}

/* In an embedded store the dying bits of an ordinary segment follow behind its end, in whole pages
 * of the same file: who is given the one can see the other. */
static inline uint64_t ih_state_tail_bytes(uint64_t segment_bytes)
{
    return (ih_start_map_bytes(segment_bytes) + IH_PAGE - 1u) / IH_PAGE * IH_PAGE;
}

/* ---- lease tables ---------------------------------------------------------------------------- */

#define IH_FAMILY_MAGIC UINT64_C(0x316c696d61666869) /* "ihfamil1" */
#define IH_SLOTS 512u                                /* in a block of slots: one page */
#define IH_LEASE_BLOCKS_MAX (1u << 16) /* 33 million leases in all members of one family */

/* One page, then the owners of the blocks of slots, then the blocks. The file grows by whole
 * blocks. */
typedef struct {
    uint64_t magic;
    uint32_t scan_seq;    /* odd while the owner scans (H2); only the owner writes it */
    uint32_t next_member; /* fetch_add; member numbers are never used twice */
    uint64_t identity[2]; /* random, of an embedded store's table: joined once by a process */
    uint8_t unused[IH_PAGE - 32];
} ih_family_header;

_Static_assert(sizeof(ih_family_header) == IH_PAGE, "family header");
_Static_assert(offsetof(ih_family_header, scan_seq) == 8, "scan_seq");
_Static_assert(offsetof(ih_family_header, next_member) == 12, "next_member");
_Static_assert(offsetof(ih_family_header, identity) == 16, "identity");

#define IH_FAMILY_OWNERS_OFFSET ((uint64_t)IH_PAGE)
#define IH_FAMILY_SLOTS_OFFSET (IH_FAMILY_OWNERS_OFFSET + 4u * IH_LEASE_BLOCKS_MAX)
#define IH_FAMILY_BYTES_MAX (IH_FAMILY_SLOTS_OFFSET + 8u * IH_SLOTS * (uint64_t)IH_LEASE_BLOCKS_MAX)

/* ---- the names board (board.h) --------------------------------------------------------------- */

#define IH_BOARD_MAGIC UINT64_C(0x316472616f626869) /* "ihboard1" */
#define IH_BOARD_VERSION 1u

/* The first page; then the index, then the entries. */
typedef struct {
    uint64_t magic;
    uint32_t version;
    uint32_t retired;
    uint64_t number;
    uint64_t bytes;          /* of the whole file */
    uint64_t cells;          /* of the index, u32 each, from offset IH_PAGE on: a power of two */
    uint64_t entries_offset; /* a multiple of 64, as is the size */
    uint64_t entries_bytes;
    uint64_t used;  /* bytes of entries; grows before the entry is put into the index */
    uint64_t bound; /* derivable */
    uint64_t key[2];
    uint8_t gap[168];
    uint32_t wakes[64]; /* futex words: of a name the one that its hash % 64 numbers */
    uint8_t unused[IH_PAGE - 512];
} ih_board_header;

_Static_assert(offsetof(ih_board_header, retired) == 12, "retired");
_Static_assert(offsetof(ih_board_header, cells) == 32, "cells");
_Static_assert(offsetof(ih_board_header, used) == 56, "used");
_Static_assert(offsetof(ih_board_header, key) == 72, "key");
_Static_assert(offsetof(ih_board_header, wakes) == 256, "wakes");
_Static_assert(sizeof(ih_board_header) == IH_PAGE, "board header");

typedef struct {
    uint64_t locator, nonce, version;
} ih_board_slot;

/* The text follows, padded with zeros to a multiple of 64 bytes. */
typedef struct {
    uint64_t hash;
    uint32_t length;
    uint32_t flip; /* how often the value changed; its last bit names the slot that holds */
    ih_board_slot slots[2]; /* locator 0: not bound */
} ih_board_entry;

_Static_assert(offsetof(ih_board_entry, length) == 8, "length");
_Static_assert(offsetof(ih_board_entry, flip) == 12, "flip");
_Static_assert(offsetof(ih_board_entry, slots) == 16, "slots");
_Static_assert(sizeof(ih_board_entry) == 64, "board entry");

#endif
