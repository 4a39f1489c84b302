/* A reader in plain C that follows everything in an image as the views do: words, text, tables,
 * shapes, arrays, blobs. It keeps a budget of steps, as they do. */
#ifndef ICEHOUSE_TESTS_IMAGE_WALK_H
#define ICEHOUSE_TESTS_IMAGE_WALK_H

#include "image/hash.h"
#include "image/read.h"

typedef struct {
    const ih_image *image;
    uint64_t steps; /* left */
    uint64_t sum;   /* of all bytes read, so that nothing is optimised away */
    uint64_t faults;
} walker;

#define WALK_DEPTH_MAX 64u

/* One step of the budget; false when it is used up. */
static inline bool walk_step(walker *w)
{
    if (w->steps == 0)
        return false;
    w->steps--;
    return true;
}

static inline void walk_word(walker *w, uint32_t word, unsigned depth);

static inline void walk_bytes(walker *w, uint64_t at, uint64_t size)
{
    for (uint64_t i = 0; i < size && walk_step(w); i++)
        w->sum += w->image->base[at + i];
}

static inline void walk_words(walker *w, uint64_t at, uint64_t n, unsigned depth)
{
    for (uint64_t i = 0; i < n && w->steps > 0; i++)
        walk_word(w, ih_load_word(w->image->base + at + 4 * i), depth);
}

/* Looks each stored text key up, as a view does for a key that equals it. Found ones are
 * counted. */
static inline uint64_t walk_table(walker *w, const ih_node *node, uint64_t keys, uint64_t stride)
{
    const uint8_t *base = w->image->base;
    uint32_t bits = ih_entry_bits(node->n), mask = bits >= 32 ? UINT32_MAX : (1u << bits) - 1;
    uint64_t found = 0;
    for (uint64_t i = 0; i < node->n && walk_step(w); i++) {
        ih_node key;
        ih_fault fault;
        uint32_t word = ih_load_word(base + keys + i * stride);
        if (ih_word_is_int(word) || ih_word_is_constant(word) ||
            ih_read_node(w->image, word, &key, &fault) < 0 || key.kind != IH_SHORT_STR)
            continue;
        uint64_t hash = ih_hash_bytes(base + key.data, key.n, IH_DOMAIN_STR, node->seed);
        uint32_t slot = ih_table_position(hash, node->capacity);
        uint32_t tag = ih_slot_tag(hash, node->width, bits);
        for (uint64_t probes = 0; probes < node->capacity && walk_step(w); probes++) {
            uint32_t value = ih_table_slot(base + node->table, node->width, slot);
            uint64_t entry = value & mask;
            if (entry == 0)
                break;
            if ((value & ~mask) == tag && entry <= node->n &&
                ih_load_word(base + keys + (entry - 1) * stride) == word) {
                found++;
                break;
            }
            slot = slot + 1 == node->capacity ? 0 : slot + 1;
        }
    }
    return found;
}

static inline void walk_dict(walker *w, const ih_node *node, unsigned depth)
{
    ih_node shape;
    ih_fault fault;
    if (node->kind == IH_DICT_HASHED)
        walk_table(w, node, node->data, 8);
    if (node->kind != IH_DICT_SHAPED) {
        walk_words(w, node->data, node->n * 2, depth);
        return;
    }
    walk_words(w, node->data, node->n, depth);
    if (ih_word_is_int(node->shape) || ih_word_is_constant(node->shape) ||
        ih_read_node(w->image, node->shape, &shape, &fault) < 0 || shape.kind != IH_SHAPE ||
        shape.n != node->n) {
        w->faults++;
        return;
    }
    if (shape.n > IH_PAIRS_MAX)
        walk_table(w, &shape, shape.data, 4);
    walk_words(w, shape.data, shape.n, depth);
}

/* An object's layout: a class, names, as many values. */
static inline void walk_object(walker *w, const ih_node *node, unsigned depth)
{
    ih_node layout, shape = {0};
    ih_fault fault;
    walk_words(w, node->data, node->n, depth);
    if (ih_word_is_int(node->shape) || ih_word_is_constant(node->shape) ||
        ih_read_node(w->image, node->shape, &layout, &fault) < 0 || layout.kind != IH_LAYOUT) {
        w->faults++;
        return;
    }
    walk_word(w, layout.capacity, depth);
    if (layout.shape == IH_NONE)
        return;
    if (ih_word_is_int(layout.shape) || ih_word_is_constant(layout.shape) ||
        ih_read_node(w->image, layout.shape, &shape, &fault) < 0 || shape.kind != IH_SHAPE) {
        w->faults++;
        return;
    }
    w->faults += node->n != shape.n + (layout.n == IH_FORM_CONTAINER);
    walk_words(w, shape.data, shape.n, depth);
}

static inline void walk_text_run(walker *w, const ih_node *node)
{
    for (uint64_t i = 0; i < node->n && walk_step(w); i++) {
        uint64_t from, size;
        ih_fault fault;
        if (ih_text_item(w->image, node, i, &from, &size, &fault) < 0)
            w->faults++;
        else
            walk_bytes(w, from, size);
    }
}

static inline void walk_node(walker *w, const ih_node *node, unsigned depth)
{
    switch (node->kind) {
    case IH_LIST_STR:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW_STR:
        walk_text_run(w, node);
        break;
    case IH_LIST_PACKED:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_VIEW_PACKED:
        walk_bytes(w, node->data, node->n * node->width);
        break;
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        walk_dict(w, node, depth);
        break;
    case IH_SET_HASHED:
    case IH_FROZENSET_HASHED:
        walk_table(w, node, node->data, 4);
        walk_words(w, node->data, node->n, depth);
        break;
    case IH_LIST:
    case IH_TUPLE:
    case IH_TUPLE_VIEW:
    case IH_SET:
    case IH_FROZENSET:
        walk_words(w, node->data, node->n, depth);
        break;
    case IH_ARRAY:
        walk_bytes(w, node->data, node->bytes);
        walk_bytes(w, node->text, node->text_size);
        walk_bytes(w, node->shape_at, node->n * 8);
        break;
    case IH_SHAPE:
    case IH_LAYOUT:
        w->faults++;
        break;
    case IH_OBJECT:
        walk_object(w, node, depth);
        break;
    case IH_VALUE:
        walk_word(w, node->shape, depth);
        break;
    case IH_LINK: {
        uint64_t handle[2];
        ih_image_link(w->image, node->n, handle);
        w->sum += handle[0] + handle[1];
        break;
    }
    case IH_INT64:
    case IH_FLOAT:
        walk_bytes(w, node->data, 8);
        break;
    case IH_COMPLEX:
        walk_bytes(w, node->data, 16);
        break;
    default:
        walk_bytes(w, node->data, node->n);
    }
}

static inline void walk_word(walker *w, uint32_t word, unsigned depth)
{
    ih_node node;
    ih_fault fault;
    if (!walk_step(w))
        return;
    if (ih_word_is_int(word))
        return;
    if (ih_word_is_constant(word)) {
        w->faults += word >= IH_CONSTANTS_END;
        return;
    }
    if (ih_read_node(w->image, word, &node, &fault) < 0)
        w->faults++;
    else if (depth < WALK_DEPTH_MAX)
        walk_node(w, &node, depth + 1);
}

#endif
