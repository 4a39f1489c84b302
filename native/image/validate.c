/* Checks a whole image at once; see ih_validate in read.h.
 *
 * Nodes are followed with a stack of words on the heap and a bitmap of the nodes that were pushed,
 * so each is checked once. Nodes of an honest image do not overlap, so the bytes that belong to
 * those checked never add up to more than the graph: that sum is the budget which keeps overlapping
 * giants from taking quadratic time. */
#include <stdlib.h>

#include "image/read.h"
#include "image/utf8.h"

typedef struct {
    const ih_image *image;
    uint64_t *seen; /* a bit for each 4 bytes of the graph */
    uint32_t *stack;
    size_t depth, room;
    uint64_t left; /* bytes of nodes still to be met */
    ih_fault *fault;
} checker;

#define CHECK_FAULT(where, why)     \
    do {                            \
        c->fault->offset = (where); \
        c->fault->reason = (why);   \
        return -1;                  \
    } while (0)

typedef enum { AS_VALUE, AS_KEY, AS_TEXT } role;

static bool is_hashable_kind(unsigned kind)
{
    switch (kind) {
    case IH_LIST:
    case IH_LIST_PACKED:
    case IH_LIST_STR:
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
    case IH_SET:
    case IH_SET_HASHED:
    case IH_BYTEARRAY:
    case IH_BYTEARRAY_BLOB:
    case IH_ARRAY:
    case IH_LINK:
        return false;
    default:
        return true;
    }
}

/* True the first time that it is asked for this node. */
static bool first_visit(checker *c, uint64_t at)
{
    uint64_t *piece = &c->seen[at / 256], bit = (uint64_t)1 << (at / 4 % 64);
    if (*piece & bit)
        return false;
    *piece |= bit;
    return true;
}

static int push(checker *c, uint32_t word)
{
    if (c->depth == c->room) {
        size_t room = c->room ? c->room * 2 : 256;
        uint32_t *grown = realloc(c->stack, room * sizeof *grown);
        if (grown == NULL)
            return -2;
        c->stack = grown;
        c->room = room;
    }
    c->stack[c->depth++] = word;
    return 0;
}

/* A word met at `where`: constants and ints end here, nodes are pushed once. What a node may be in
 * this place is asked each time. */
static int meet(checker *c, uint32_t word, uint64_t where, role as)
{
    if (ih_word_is_int(word)) {
        if (as == AS_TEXT)
            CHECK_FAULT(where, "a shape's key is not a string");
        return 0;
    }
    if (ih_word_is_constant(word)) {
        if (word >= IH_CONSTANTS_END)
            CHECK_FAULT(where, "reserved constant");
        if (as == AS_TEXT && word != IH_EMPTY_STR)
            CHECK_FAULT(where, "a shape's key is not a string");
        return 0;
    }
    uint64_t at = ih_word_offset(word);
    if (at < IH_IMAGE_START || at + 4 > c->image->graph)
        CHECK_FAULT(where, "reference outside the graph");
    uint32_t header = ih_load_word(c->image->base + at);
    unsigned kind = header & IH_NODE_BIT ? header & IH_KIND_MASK : (unsigned)IH_SHORT_STR;
    if (kind == IH_SHAPE)
        CHECK_FAULT(where, "a value cannot be a shape");
    if (as == AS_KEY && !is_hashable_kind(kind))
        CHECK_FAULT(where, "an unhashable key");
    if (as == AS_TEXT && kind != IH_SHORT_STR && kind != IH_STR_ASCII && kind != IH_STR_UTF8)
        CHECK_FAULT(where, "a shape's key is not a string");
    return first_visit(c, at) ? push(c, word) : 0;
}

/* `n` words from `at`, `stride` bytes apart. */
static int meet_all(checker *c, uint64_t at, uint64_t n, uint64_t stride, role as)
{
    for (uint64_t i = 0; i < n; i++, at += stride) {
        int result = meet(c, ih_load_word(c->image->base + at), at, as);
        if (result < 0)
            return result;
    }
    return 0;
}

static int spend(checker *c, uint64_t at, uint64_t bytes)
{
    if (bytes > c->left)
        CHECK_FAULT(at, "nodes overlap");
    c->left -= bytes;
    return 0;
}

static int check_text(checker *c, uint64_t at, uint64_t size, bool ascii)
{
    const uint8_t *text = c->image->base + at;
    if (ascii ? !ih_is_ascii(text, size) : !ih_is_utf8(text, size))
        CHECK_FAULT(at, ascii ? "ASCII text with other bytes" : "text that is not UTF-8");
    return 0;
}

static int check_text_run(checker *c, const ih_node *node)
{
    if (spend(c, node->data, node->n * node->width + node->text_size) < 0)
        return -1;
    for (uint64_t i = 0; i < node->n; i++) {
        uint64_t from, size;
        if (ih_text_item(c->image, node, i, &from, &size, c->fault) < 0)
            return -1;
        if (check_text(c, from, size, node->ascii) < 0)
            return -1;
    }
    return 0;
}

static int check_table(checker *c, const ih_node *node)
{
    if (spend(c, node->table, (uint64_t)node->capacity * node->width) < 0)
        return -1;
    const uint8_t *table = c->image->base + node->table;
    uint32_t bits = ih_entry_bits(node->n), mask = bits >= 32 ? UINT32_MAX : (1u << bits) - 1;
    uint64_t used = 0;
    for (uint64_t i = 0; i < node->capacity; i++) {
        uint32_t entry = ih_table_slot(table, node->width, i) & mask;
        if (entry > node->n)
            CHECK_FAULT(node->table + i * node->width, "slot beyond the entries");
        used += entry != 0;
    }
    if (used != node->n)
        CHECK_FAULT(node->table, "table without a slot for each entry");
    return 0;
}

static int check_shape(checker *c, uint64_t where, uint32_t word, uint64_t n)
{
    ih_node shape;
    uint64_t at = ih_word_offset(word);
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        CHECK_FAULT(where, "not a shape");
    if (ih_read_node(c->image, word, &shape, c->fault) < 0)
        return -1;
    if (shape.kind != IH_SHAPE)
        CHECK_FAULT(where, "not a shape");
    if (shape.n != n)
        CHECK_FAULT(where, "a dict with another number of values than its shape");
    if (!first_visit(c, at))
        return 0;
    if (spend(c, at, 4 + shape.n * 4) < 0)
        return -1;
    if (shape.n > IH_PAIRS_MAX && check_table(c, &shape) < 0)
        return -1;
    return meet_all(c, shape.data, shape.n, 4, AS_TEXT);
}

static int check_packed(checker *c, const ih_node *node)
{
    if (node->code != IH_BOOL)
        return 0;
    for (uint64_t i = 0; i < node->n; i++)
        if (c->image->base[node->data + i] > 1)
            CHECK_FAULT(node->data + i, "neither 0 nor 1");
    return 0;
}

static int check_node(checker *c, uint64_t at, const ih_node *node)
{
    switch (node->kind) {
    case IH_SHORT_STR:
    case IH_STR_ASCII:
    case IH_STR_UTF8:
        if (spend(c, at, node->n) < 0)
            return -1;
        return check_text(c, node->data, node->n, node->ascii);
    case IH_LIST:
    case IH_TUPLE:
    case IH_TUPLE_VIEW:
        if (spend(c, at, 4 + node->n * 4) < 0)
            return -1;
        return meet_all(c, node->data, node->n, 4, AS_VALUE);
    case IH_LIST_PACKED:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_VIEW_PACKED:
        if (spend(c, at, 4 + node->n * node->width) < 0)
            return -1;
        return check_packed(c, node);
    case IH_LIST_STR:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW_STR:
        return check_text_run(c, node);
    case IH_DICT_SHAPED: {
        if (spend(c, at, 8 + node->n * 4) < 0)
            return -1;
        int result = check_shape(c, at + 4, node->shape, node->n);
        return result < 0 ? result : meet_all(c, node->data, node->n, 4, AS_VALUE);
    }
    case IH_DICT_HASHED:
        if (check_table(c, node) < 0)
            return -1; /* fall through */
    case IH_DICT_PAIRS: {
        if (spend(c, at, 4 + node->n * 8) < 0)
            return -1;
        int result = meet_all(c, node->data, node->n, 8, AS_KEY);
        return result < 0 ? result : meet_all(c, node->data + 4, node->n, 8, AS_VALUE);
    }
    case IH_SET_HASHED:
    case IH_FROZENSET_HASHED:
        if (check_table(c, node) < 0)
            return -1; /* fall through */
    case IH_SET:
    case IH_FROZENSET:
        if (spend(c, at, 4 + node->n * 4) < 0)
            return -1;
        return meet_all(c, node->data, node->n, 4, AS_KEY);
    case IH_ARRAY:
        return check_text(c, node->text, node->text_size, true);
    case IH_LINK:
        return spend(c, at, 8);
    default: /* numbers, bytes and blobs: any bytes will do, the extents were checked */
        return 0;
    }
}

/* The table names images, and the root is a node of this one. */
static int check_links(checker *c, uint32_t root)
{
    for (uint64_t i = 0; i < c->image->links; i++) {
        uint64_t handle[2];
        ih_image_link(c->image, i, handle);
        if (handle[0] == 0)
            CHECK_FAULT(c->image->graph + i * IH_LINK_BYTES, "a link to no image");
    }
    if (ih_word_is_int(root) || ih_word_is_constant(root))
        return 0;
    uint32_t header = ih_load_word(c->image->base + ih_word_offset(root));
    if ((header & IH_NODE_BIT) && (header & IH_KIND_MASK) == IH_LINK)
        CHECK_FAULT(52, "the root is a link");
    return 0;
}

/* Shapes and layouts are no values, so they are not met by themselves. */
static int count_node(const ih_image *image, const ih_node *node, ih_census *census,
                      ih_fault *fault)
{
    census->kinds |= (uint64_t)1 << (node->kind == IH_SHORT_STR ? 63 : node->kind);
    if (node->kind == IH_DICT_SHAPED)
        census->kinds |= (uint64_t)1 << IH_SHAPE;
    if (node->kind == IH_VALUE)
        census->codes |= (uint64_t)1 << (node->n < 63 ? node->n : 63);
    if (node->kind != IH_OBJECT)
        return 0;
    ih_node layout;
    if (ih_read_node(image, node->shape, &layout, fault) < 0)
        return -1;
    census->kinds |= (uint64_t)1 << layout.kind;
    census->forms |= (uint64_t)1 << (layout.n < 63 ? layout.n : 63);
    if (!ih_word_is_constant(layout.shape))
        census->kinds |= (uint64_t)1 << IH_SHAPE;
    return 0;
}

int ih_validate(const ih_image *image, uint32_t root, ih_fault *fault)
{
    ih_census census;
    return ih_validate_census(image, root, &census, fault);
}

int ih_validate_census(const ih_image *image, uint32_t root, ih_census *census, ih_fault *fault)
{
    checker check = {.image = image, .left = image->graph, .fault = fault}, *c = &check;
    *census = (ih_census){0};
    c->seen = calloc(image->graph / 256 + 1, sizeof *c->seen);
    if (c->seen == NULL)
        return -2;
    int result = meet(c, root, 52, AS_VALUE);
    if (result == 0)
        result = check_links(c, root);
    while (result == 0 && c->depth > 0) {
        uint32_t word = c->stack[--c->depth];
        ih_node node;
        if (ih_read_node(image, word, &node, fault) < 0)
            result = -1;
        else
            result = check_node(c, ih_word_offset(word), &node);
        if (result == 0)
            result = count_node(image, &node, census, fault);
    }
    free(c->stack);
    free(c->seen);
    return result;
}
