/* Reading images: the one place where bytes of an image become facts.
 *
 * Purpose.   ih_read_node() looks at a node once and returns a private, checked description of it:
 *            every extent that the description names lies inside the image. Whoever uses only the
 *            description and ih_load_word() can't be led outside, whatever the bytes say and
 *            however they change meanwhile (docs/image-format.md, "What a reader checks"). Values
 *            inside an extent (words, slots, offsets, text) are still wild when they are loaded.
 * Threads.   No state. Loads of words are single (relaxed atomics), so a racing writer can't show
 *            us two values.
 * Failure.   0 is success; else -1 and `fault` says where and what. Nothing is allocated.
 */
#ifndef ICEHOUSE_IMAGE_READ_H
#define ICEHOUSE_IMAGE_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "image/format.h"

typedef struct {
    const uint8_t *base; /* the header; 4-byte aligned at least */
    uint64_t graph;      /* end of the nodes, <= size, checked */
    uint64_t size;       /* bytes mapped and ours to read */
    uint32_t links;      /* handles in the table behind the nodes, checked */
    bool cells;          /* it says that it holds values of code IH_VALUE_CELL */
} ih_image;

typedef struct {
    uint64_t offset;
    const char *reason; /* static text */
} ih_fault;

/* A node as read. Offsets are bytes from the image's start. Which fields mean something depends on
 * the kind:
 *
 *   strings, bytes, BIGINT      data; n = size in bytes
 *   INT64, FLOAT, COMPLEX       data
 *   LIST, TUPLE, SET, SHAPE     data = words, n
 *   *_PACKED                    data = elements, n, code, width
 *   *_STR                       data = end offsets, n, width, text, text_size, ascii
 *   DICT_SHAPED                 data = values, n, shape = word
 *   DICT_PAIRS, DICT_HASHED     data = entries, n
 *   *_HASHED, SHAPE with n > 8  table = slots, capacity, seed, width
 *   LINK                        n = index into the table of links, shape = word in the target
 *   OBJECT                      data = values, n, shape = word of its LAYOUT
 *   LAYOUT                      n = form, capacity = word of the class, seed = number,
 *                               shape = word of a SHAPE or None
 *   VALUE                       n = code, shape = word of the payload
 *   ARRAY                       data, bytes, item_size, code = origin, order, n = dimensions,
 *                               shape_at, text = format, text_size */
typedef struct {
    uint8_t kind; /* ih_kind; IH_SHORT_STR for short strings */
    uint8_t code, width, order;
    bool shared, ascii;
    uint32_t capacity, seed, shape, item_size;
    uint64_t n;
    uint64_t data;
    uint64_t table;
    uint64_t text, text_size;
    uint64_t shape_at, bytes;
} ih_node;

static inline uint32_t ih_load_word(const uint8_t *p)
{
    return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
}

#define IH_FAULT(where, why)     \
    do {                         \
        fault->offset = (where); \
        fault->reason = (why);   \
        return -1;               \
    } while (0)

/* `base` must be 64-byte aligned for packed nodes to be aligned in memory; correctness needs 4. */
static inline int ih_image_open(const uint8_t *base, uint64_t size, ih_image *out, uint32_t *root,
                                ih_fault *fault)
{
    ih_image_header header;
    if (size < IH_IMAGE_START)
        IH_FAULT(size, "shorter than a header");
    memcpy(&header, base + 48, sizeof header);
    if (header.magic != IH_IMAGE_MAGIC)
        IH_FAULT(48, "not an image: wrong magic number");
    if (header.version != IH_IMAGE_VERSION)
        IH_FAULT(50, "an image of another format version");
    if ((header.flags & ~(IH_IMAGE_LINKS | IH_IMAGE_CELLS)) != 0)
        IH_FAULT(51, "unknown flags");
    if (header.graph_size < IH_IMAGE_START || header.graph_size > size ||
        header.graph_size > IH_GRAPH_MAX || header.graph_size % 4 != 0)
        IH_FAULT(56, "graph size outside the image");
    *out = (ih_image){base, header.graph_size, size, 0, (header.flags & IH_IMAGE_CELLS) != 0};
    *root = header.root;
    if (header.flags & IH_IMAGE_LINKS) {
        uint64_t room = header.graph_size - IH_IMAGE_START;
        uint32_t links;
        if (room < 4)
            IH_FAULT(56, "no room for the table of links");
        memcpy(&links, base + header.graph_size - 4, 4);
        if (links == 0 || links > IH_IMAGE_LINKS_MAX || (room - 4) / IH_LINK_BYTES < links)
            IH_FAULT(header.graph_size - 4, "bad table of links");
        out->links = links;
        out->graph -= 4 + (uint64_t)links * IH_LINK_BYTES;
    }
    return 0;
}

/* The handle that a link node names: locator, nonce; wild. `index` < image->links. */
static inline void ih_image_link(const ih_image *image, uint64_t index, uint64_t handle[2])
{
    memcpy(handle, image->base + image->graph + index * IH_LINK_BYTES, IH_LINK_BYTES);
}

/* What a class's definition may be: a dict, here or behind a link. */
static inline bool ih_is_definition(unsigned kind)
{
    return kind == IH_DICT_SHAPED || kind == IH_DICT_PAIRS || kind == IH_DICT_HASHED ||
           kind == IH_LINK;
}

/* What a link may lead to: what opens as a view. Not another link, so that chains end. */
static inline bool ih_may_be_linked(unsigned kind)
{
    switch (kind) {
    case IH_BYTES_BLOB:
    case IH_BYTEARRAY:
    case IH_BYTEARRAY_BLOB:
    case IH_LIST:
    case IH_LIST_PACKED:
    case IH_LIST_STR:
    case IH_TUPLE_VIEW:
    case IH_TUPLE_VIEW_PACKED:
    case IH_TUPLE_VIEW_STR:
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
    case IH_SET:
    case IH_SET_HASHED:
    case IH_FROZENSET:
    case IH_FROZENSET_HASHED:
    case IH_ARRAY:
    case IH_OBJECT:
        return true;
    default:
        return false;
    }
}

/* Reads the node of a word that is neither an int nor a constant. `at` is its offset in bytes. */
int ih_read_node_slow(const ih_image *image, uint64_t at, ih_node *out, ih_fault *fault);

static inline bool ih_word_is_int(uint32_t word) { return word & 1; }
static inline bool ih_word_is_constant(uint32_t word) { return (word & 1) == 0 && word < 32; }
static inline int64_t ih_word_int(uint32_t word) { return (int32_t)word >> 1; }
static inline uint64_t ih_word_offset(uint32_t word) { return (uint64_t)(word >> 1) * 4; }

/* count units of `width` bytes starting at `at` lie inside [0, end) */
static inline bool ih_extent_fits(uint64_t at, uint64_t count, uint64_t width, uint64_t end)
{
    return at <= end && count <= (end - at) / width;
}

/* The common kinds inline; the rest through ih_read_node_slow. */
static inline int ih_read_node(const ih_image *image, uint32_t word, ih_node *out, ih_fault *fault)
{
    uint64_t at = ih_word_offset(word);
    if (__builtin_expect(at < IH_IMAGE_START || at + 4 > image->graph, 0))
        IH_FAULT(at, "reference outside the graph");
    uint32_t header = ih_load_word(image->base + at);
    if ((header & IH_NODE_BIT) == 0) {
        uint32_t n = header & 0x7f;
        if (n == 0 || at + 1 + n > image->graph)
            IH_FAULT(at, "short string outside the graph");
        out->kind = IH_SHORT_STR;
        out->shared = false;
        out->ascii = true;
        out->n = n;
        out->data = at + 1;
        return 0;
    }
    return ih_read_node_slow(image, at, out, fault);
}

/* End offset of string i of a text run, i.e. slot i of `data`; wild. */
static inline uint64_t ih_text_end(const uint8_t *base, const ih_node *node, uint64_t i)
{
    const uint8_t *p = base + node->data + i * node->width;
    if (node->width == 1)
        return __atomic_load_n(p, __ATOMIC_RELAXED);
    if (node->width == 2)
        return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
    return ih_load_word(p);
}

/* String i of a text run, checked: [*from, *from + *size) in bytes from the image's start. */
static inline int ih_text_item(const ih_image *image, const ih_node *node, uint64_t i,
                               uint64_t *from, uint64_t *size, ih_fault *fault)
{
    uint64_t start = i ? ih_text_end(image->base, node, i - 1) : 0,
             end = ih_text_end(image->base, node, i);
    if (start > end || end > node->text_size)
        IH_FAULT(node->data + i * node->width, "text offset outside its run");
    *from = node->text + start;
    *size = end - start;
    return 0;
}

/* Slot i of a table; wild. */
static inline uint32_t ih_table_slot(const uint8_t *table, uint32_t width, uint64_t i)
{
    const uint8_t *p = table + i * width;
    if (width == 1)
        return __atomic_load_n(p, __ATOMIC_RELAXED);
    if (width == 2)
        return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
    return ih_load_word(p);
}

/* Checks every reachable node, each word, offset, slot and text (UTF-8, ASCII claims, table entries
 * reachable by their slots in range, shapes are strings). O(size), iterative; allocates a bitmap of
 * the graph (1/32 of it). What passes is well formed as long as nobody writes it. Returns 0, -1
 * with fault, -2 out of memory. */
int ih_validate(const ih_image *image, uint32_t root, ih_fault *fault);

/* What an image is made of. */
typedef struct {
    uint64_t kinds;    /* bit k: there is a node of kind k; bit 63: a short string */
    uint64_t forms;    /* bit f: an object of this form */
    uint64_t codes;    /* bit c: a value of code c; bit 63: one of 63 or more */
    uint64_t families; /* bit f: an object of form MADE and family f; bit 63: of 63 or more */
} ih_census;

/* The same, and on success *census tells what was met. */
int ih_validate_census(const ih_image *image, uint32_t root, ih_census *census, ih_fault *fault);

#endif
