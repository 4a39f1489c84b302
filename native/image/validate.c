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

/* AS_HASHED: a key that is found by its canonical hash. */
typedef enum { AS_VALUE, AS_KEY, AS_HASHED, AS_TEXT } role;

static bool is_text_kind(unsigned kind)
{
    return kind == IH_SHORT_STR || kind == IH_STR_ASCII || kind == IH_STR_UTF8;
}

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
    if (kind == IH_SHAPE || kind == IH_LAYOUT)
        CHECK_FAULT(where,
                    kind == IH_SHAPE ? "a value cannot be a shape" : "a value cannot be a layout");
    if ((as == AS_KEY || as == AS_HASHED) && !is_hashable_kind(kind))
        CHECK_FAULT(where, "an unhashable key");
    if (as == AS_HASHED && (kind == IH_OBJECT || kind == IH_VALUE))
        CHECK_FAULT(where, "a key without a canonical hash in a table");
    if (as == AS_TEXT && !is_text_kind(kind))
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
    if (used != (node->seed == IH_NO_TABLE ? 0 : node->n))
        CHECK_FAULT(node->table, node->seed == IH_NO_TABLE ? "slots of a table that has none"
                                                           : "table without a slot for each entry");
    return 0;
}

/* Keys with a table are found by hash, those of a few entries and of IH_NO_TABLE otherwise. */
static role key_role(const ih_node *node)
{
    return node->table != 0 && node->seed != IH_NO_TABLE ? AS_HASHED : AS_KEY;
}

/* The shape of a dict or a layout; *n is how many keys it has. */
static int check_shape(checker *c, uint64_t where, uint32_t word, uint64_t *n)
{
    ih_node shape;
    uint64_t at = ih_word_offset(word);
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        CHECK_FAULT(where, "not a shape");
    if (ih_read_node(c->image, word, &shape, c->fault) < 0)
        return -1;
    if (shape.kind != IH_SHAPE)
        CHECK_FAULT(where, "not a shape");
    *n = shape.n;
    if (!first_visit(c, at))
        return 0;
    if (spend(c, at, 4 + shape.n * 4) < 0)
        return -1;
    if (shape.n > IH_PAIRS_MAX && check_table(c, &shape) < 0)
        return -1;
    return meet_all(c, shape.data, shape.n, 4, AS_TEXT);
}

/* A class's definition. */
static int check_definition(checker *c, uint64_t where, uint32_t word)
{
    ih_node node;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        CHECK_FAULT(where, "not a definition");
    if (ih_read_node(c->image, word, &node, c->fault) < 0)
        return -1;
    if (!ih_is_definition(node.kind))
        CHECK_FAULT(where, "not a definition");
    return 0;
}

/* The name of a class: two texts, and a definition. */
static int check_class_name(checker *c, uint64_t at, uint32_t word)
{
    ih_node pair;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        CHECK_FAULT(at, "a class without a name");
    if (ih_read_node(c->image, word, &pair, c->fault) < 0)
        return -1;
    if (pair.kind == IH_TUPLE_STR && pair.n == 2)
        return 0;
    if (pair.kind != IH_TUPLE || (pair.n != 2 && pair.n != 3))
        CHECK_FAULT(at, "a class without a name");
    if (pair.n == 3 &&
        check_definition(c, pair.data + 8, ih_load_word(c->image->base + pair.data + 8)) < 0)
        return -1;
    return meet_all(c, pair.data, 2, 4, AS_TEXT);
}

static int check_value(checker *c, uint64_t at, const ih_node *node)
{
    if (spend(c, at, 8) < 0)
        return -1;
    if (node->n == IH_VALUE_CLASS && check_class_name(c, at, node->shape) < 0)
        return -1;
    return meet(c, node->shape, at + 4, AS_VALUE);
}

/* A layout's class and names. */
static int check_layout(checker *c, uint64_t where, uint32_t word, ih_node *layout, uint64_t *names)
{
    ih_node class;
    uint64_t at = ih_word_offset(word);
    *names = 0;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        CHECK_FAULT(where, "not a layout");
    if (ih_read_node(c->image, word, layout, c->fault) < 0)
        return -1;
    if (layout->kind != IH_LAYOUT)
        CHECK_FAULT(where, "not a layout");
    if (layout->shape != IH_NONE) {
        int result = check_shape(c, at + 12, layout->shape, names);
        if (result < 0)
            return result;
    }
    if (!first_visit(c, at))
        return 0;
    if (spend(c, at, 16) < 0)
        return -1;
    if (layout->n == IH_FORM_TUPLE && (layout->shape != IH_NONE || layout->seed != 0))
        CHECK_FAULT(at, "names of a tuple's items");
    if (layout->n != IH_FORM_MADE && layout->seed > *names)
        CHECK_FAULT(at + 8, "more slots than names");
    if (ih_word_is_int(layout->capacity) || ih_word_is_constant(layout->capacity))
        CHECK_FAULT(at + 4, "not a class");
    if (ih_read_node(c->image, layout->capacity, &class, c->fault) < 0)
        return -1;
    if (class.kind != IH_VALUE || class.n != IH_VALUE_CLASS)
        CHECK_FAULT(at + 4, "not a class");
    return meet(c, layout->capacity, at + 4, AS_VALUE);
}

/* What a subclass of a builtin container holds: the container. */
static int check_container(checker *c, uint64_t where, uint32_t word)
{
    ih_node node;
    if (word == IH_EMPTY_TUPLE || word == IH_EMPTY_BYTES)
        return 0;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        CHECK_FAULT(where, "not a container");
    if (ih_read_node(c->image, word, &node, c->fault) < 0)
        return -1;
    bool real = node.kind == IH_TUPLE || node.kind == IH_TUPLE_PACKED ||
                node.kind == IH_TUPLE_STR || node.kind == IH_BYTES || node.kind == IH_LINK;
    if (node.kind == IH_OBJECT || !(real || ih_may_be_linked(node.kind)))
        CHECK_FAULT(where, "not a container");
    return 0;
}

static int check_object(checker *c, uint64_t at, const ih_node *node)
{
    ih_node layout;
    uint64_t names;
    if (spend(c, at, 8 + node->n * 4) < 0)
        return -1;
    int result = check_layout(c, at + 4, node->shape, &layout, &names);
    if (result < 0)
        return result;
    if (layout.n != IH_FORM_TUPLE && node->n != names + (layout.n == IH_FORM_CONTAINER))
        CHECK_FAULT(at, "an object with another number of values than its layout");
    if (layout.n == IH_FORM_CONTAINER &&
        check_container(c, node->data, ih_load_word(c->image->base + node->data)) < 0)
        return -1;
    return meet_all(c, node->data, node->n, 4, AS_VALUE);
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
        uint64_t keys;
        int result = check_shape(c, at + 4, node->shape, &keys);
        if (result == 0 && keys != node->n)
            CHECK_FAULT(at + 4, "a dict with another number of values than its shape");
        return result < 0 ? result : meet_all(c, node->data, node->n, 4, AS_VALUE);
    }
    case IH_DICT_HASHED:
        if (check_table(c, node) < 0)
            return -1; /* fall through */
    case IH_DICT_PAIRS: {
        if (spend(c, at, 4 + node->n * 8) < 0)
            return -1;
        int result = meet_all(c, node->data, node->n, 8, key_role(node));
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
        return meet_all(c, node->data, node->n, 4, key_role(node));
    case IH_OBJECT:
        return check_object(c, at, node);
    case IH_VALUE:
        return check_value(c, at, node);
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
    if (layout.n == IH_FORM_MADE)
        census->families |= (uint64_t)1 << (layout.seed < 63 ? layout.seed : 63);
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
