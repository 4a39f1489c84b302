/* The image format, version 3, in C. docs/image-format.md is the text; keep the two equal.
 *
 * Only constants and the header's layout: read.h interprets bytes, write.h makes them. */
#ifndef ICEHOUSE_IMAGE_FORMAT_H
#define ICEHOUSE_IMAGE_FORMAT_H

#include <stdint.h>

#define IH_IMAGE_START 64u /* first byte of the graph */
#define IH_IMAGE_MAGIC 0x4849u
#define IH_IMAGE_VERSION 3u
#define IH_IMAGE_LINKS 1u /* a flag: the graph ends with a table of links */
#define IH_IMAGE_CELLS 2u /* a flag: it holds values of code IH_VALUE_CELL */
#define IH_IMAGE_LINKS_MAX 2048u
#define IH_LINK_BYTES 16u                /* an entry of the table: a handle */
#define IH_GRAPH_MAX ((uint64_t)1 << 33) /* 31-bit offsets in units of 4 bytes */

/* Bytes 48..63 of an image. */
typedef struct {
    uint16_t magic;
    uint8_t version;
    uint8_t flags;
    uint32_t root;
    uint64_t graph_size;
} ih_image_header;
_Static_assert(sizeof(ih_image_header) == 16, "the image's part of the header");

/* Constants: words whose offset would lie in the header. */
#define IH_CONSTANT(number) ((uint32_t)(number) << 1)
enum {
    IH_NONE = 0,
    IH_FALSE = 2,
    IH_TRUE = 4,
    IH_EMPTY_STR = 6,
    IH_EMPTY_TUPLE = 8,
    IH_EMPTY_BYTES = 10,
    IH_ELLIPSIS = 12,
    IH_NOT_IMPLEMENTED = 14,
    IH_CONSTANTS_END = 16,
};

/* The word of the node at an offset. */
static inline uint32_t ih_word_at(uint64_t offset) { return (uint32_t)(offset / 4) << 1; }

#define IH_SMALL_INT_MAX ((int64_t)0x3fffffff)
#define IH_SMALL_INT_MIN (-(int64_t)0x40000000)

#define IH_SHORT_STR_MAX 127u
#define IH_NODE_BIT 0x80u   /* set in every node's first byte but a short string's */
#define IH_SHARED_BIT 0x40u /* more than one reference leads here */
#define IH_KIND_MASK 0x3fu
#define IH_COUNT_WIDE 0xffffffu
#define IH_PACKED_COUNT_WIDE 0xfffffu

typedef enum {
    IH_STR_ASCII,
    IH_STR_UTF8,
    IH_INT64,
    IH_BIGINT,
    IH_FLOAT,
    IH_COMPLEX,
    IH_BYTES,
    IH_BYTES_BLOB,
    IH_BYTEARRAY,
    IH_BYTEARRAY_BLOB,
    IH_LIST,
    IH_LIST_PACKED,
    IH_LIST_STR,
    IH_TUPLE,
    IH_TUPLE_PACKED,
    IH_TUPLE_STR,
    IH_TUPLE_VIEW,
    IH_TUPLE_VIEW_PACKED,
    IH_TUPLE_VIEW_STR,
    IH_DICT_SHAPED,
    IH_DICT_PAIRS,
    IH_DICT_HASHED,
    IH_SHAPE,
    IH_SET,
    IH_SET_HASHED,
    IH_FROZENSET,
    IH_FROZENSET_HASHED,
    IH_ARRAY,
    IH_LINK,
    IH_OBJECT,
    IH_LAYOUT,
    IH_VALUE,
    IH_KINDS,
    IH_SHORT_STR = 0x40, /* not stored: how read.h names a short string */
} ih_kind;
_Static_assert(IH_ARRAY == 27 && IH_LINK == 28 && IH_VALUE == 31 && IH_KINDS <= IH_KIND_MASK,
               "kinds are part of the format");

typedef enum {
    IH_I8,
    IH_U8,
    IH_I16,
    IH_U16,
    IH_I32,
    IH_U32,
    IH_I64,
    IH_U64,
    IH_F64,
    IH_BOOL,
    IH_ELEMENTS
} ih_element;

static inline uint32_t ih_element_width(unsigned code)
{
    static const uint8_t widths[16] = {1, 1, 2, 2, 4, 4, 8, 8, 8, 1};
    return widths[code & 15];
}

#define IH_INLINE_BYTES_MAX 65536u /* longer bytes are FrozenBytes over a blob */
#define IH_ARRAY_BLOB_MIN 4096u    /* array data of this size and more is a blob */
#define IH_PAIRS_MAX 8u            /* dicts, sets and shapes up to here have no table */
#define IH_TUPLE_TREE_MAX 4096u
#define IH_TUPLE_DEPTH_MAX 64u
#define IH_ARRAY_DIMENSIONS_MAX 64u
#define IH_ARRAY_RECORD 24u /* bytes of the record before the shape */

enum { IH_ORIGIN_NDARRAY, IH_ORIGIN_ARRAY, IH_ORIGIN_MEMORYVIEW, IH_ORIGINS };

/* What an OBJECT's words are: the count of its LAYOUT. */
typedef enum {
    IH_FORM_VIEW,
    IH_FORM_CONTAINER,
    IH_FORM_TUPLE,
    IH_FORM_MADE,
    IH_FORMS
} ih_form_code;
/* Codes of VALUEs that are known here. A class: (module, qualified name), or these and a
 * definition, a dict. From 40 to 63: declarations, which thaw() leaves as they are. */
#define IH_VALUE_CLASS 1u
#define IH_VALUE_DECLARATION 40u
#define IH_VALUE_DECLARATION_LAST 63u
#define IH_VALUE_CELL 43u /* what is changed inside frozen images, so that no copy keeps it */

/* Where the elements of a packed node start, given where its header (and wide count) ends. */
static inline uint64_t ih_packed_start(uint64_t after_header, uint64_t bytes, uint32_t width)
{
    uint64_t alignment = bytes >= 4096 ? 64 : bytes >= 64 ? (width < 4 ? 4 : width) : 4;
    return (after_header + alignment - 1) & ~(alignment - 1);
}

/* ---- tables --------------------------------------------------------------------------------- */

#define IH_NO_TABLE \
    UINT32_MAX /* this seed: the slots are empty, readers index the keys themselves */

static inline uint32_t ih_slot_width(uint64_t n) { return n < 127 ? 1 : n < 32767 ? 2 : 4; }
static inline uint32_t ih_entry_bits(uint64_t n)
{
    return n ? 64u - (uint32_t)__builtin_clzll(n) : 0u;
}
static inline uint64_t ih_table_capacity(uint64_t n) { return n + n / 3 + 1; }
static inline uint32_t ih_table_position(uint64_t hash, uint32_t capacity)
{
    return (uint32_t)(((hash >> 32) * capacity) >> 32);
}
/* A slot without its entry number: the tag in the bits above it. */
static inline uint32_t ih_slot_tag(uint64_t hash, uint32_t width, uint32_t entry_bits)
{
    uint32_t mask = width == 4 ? UINT32_MAX : (1u << (8 * width)) - 1;
    return entry_bits >= 32 ? 0 : ((uint32_t)hash << entry_bits) & mask;
}

#endif
