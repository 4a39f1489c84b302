/* Python's own hash of sets and tuples in an image: what hash(frozenset(x)) and hash(tuple(x))
 * give, without making the objects.
 *
 * The walk keeps a stack of its own and the hash of each node it has finished, so nodes that are
 * reached often are hashed once and no depth overflows anything (H24). Python can't make a
 * hashable object that holds itself, so a cycle is damage; so are more items than bytes.
 *
 * The two ways of combining are CPython's (Objects/setobject.c, Objects/tupleobject.c), the same
 * since 3.8. */
#include "module/pyhash.h"

#include "module/merge.h"
#include "module/walk.h"

#define IN_PROGRESS (-1) /* no Python hash has this value */

typedef struct {
    const uint8_t *at; /* NULL: free */
    Py_hash_t hash;
} known_hash;

typedef struct {
    ih_cursor cursor;
    uint64_t next;
    Py_uhash_t hash;
    bool is_set;
} level;

struct ih_hasher {
    ih_image_object *image; /* owned by who lives longer, or by this (ih_hasher_new) */
    level *levels;
    size_t depth, room;
    known_hash *known;
    size_t known_count, known_room; /* room: a power of two */
    uint64_t steps, allowance;      /* as many items as the images met have bytes */
    ih_merge met;                   /* images behind links */
};

static int damaged(ih_hasher *h, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(h->image->state, &fault);
    return -1;
}

static known_hash *find_known(known_hash *table, size_t room, const uint8_t *at)
{
    size_t i = (size_t)((uint64_t)(uintptr_t)at * 0x9e3779b97f4a7c15u >> 20) & (room - 1);
    while (table[i].at != NULL && table[i].at != at)
        i = (i + 1) & (room - 1);
    return &table[i];
}

static int grow_known(ih_hasher *h)
{
    size_t room = h->known_room == 0 ? 64 : h->known_room * 2;
    known_hash *table = PyMem_Calloc(room, sizeof *table);
    if (table == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < h->known_room; i++)
        if (h->known[i].at != NULL)
            *find_known(table, room, h->known[i].at) = h->known[i];
    PyMem_Free(h->known);
    h->known = table;
    h->known_room = room;
    return 0;
}

static void add_hash(level *top, Py_hash_t hash)
{
    Py_uhash_t item = (Py_uhash_t)hash;
    if (top->is_set) {
        top->hash ^= ((item ^ 89869747UL) ^ (item << 16)) * 3644798167UL;
        return;
    }
#if SIZEOF_PY_UHASH_T > 4
    top->hash += item * 14029467366897019727ULL;
    top->hash = top->hash << 31 | top->hash >> 33;
    top->hash *= 11400714785074694791ULL;
#else
#error "icehouse needs a 64-bit Python"
#endif
}

static Py_hash_t finished_hash(const level *top)
{
    Py_uhash_t hash = top->hash, n = (Py_uhash_t)top->cursor.n;
    if (top->is_set) {
        hash ^= (n + 1) * 1927868237UL;
        hash ^= (hash >> 11) ^ (hash >> 25);
        hash = hash * 69069U + 907133923UL;
        return hash == (Py_uhash_t)-1 ? 590923713 : (Py_hash_t)hash;
    }
    hash += n ^ (2870177450012600261ULL ^ 3527539UL);
    return hash == (Py_uhash_t)-1 ? 1546275796 : (Py_hash_t)hash;
}

/* An image behind a link brings its own allowance, once. */
static int meet(ih_hasher *h, ih_image_object *image)
{
    bool fresh = false;
    if (h->allowance == 0)
        h->allowance = h->image->image.graph;
    if (image == h->image)
        return 0;
    if (ih_merge_member_of(&h->met, image->image.base, (PyObject *)image, &fresh) < 0)
        return -1;
    if (fresh)
        h->allowance += image->image.graph;
    return 0;
}

/* A set's items are words, as a list's. */
static int push(ih_hasher *h, const ih_value *value)
{
    const ih_node *node = &value->node;
    uint64_t at = ih_word_offset(value->word);
    if (meet(h, value->image) < 0)
        return -1;
    h->steps += node->n + 1;
    if (h->steps > h->allowance)
        return damaged(h, at, "more items than the image has bytes");
    if (h->depth == h->room) {
        size_t room = h->room == 0 ? 8 : h->room * 2;
        level *levels = PyMem_Realloc(h->levels, room * sizeof *levels);
        if (levels == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        h->levels = levels;
        h->room = room;
    }
    level *top = &h->levels[h->depth++];
    top->is_set = ih_kind_class(node->kind) == IH_SET_CLASS;
    top->hash = top->is_set ? 0 : 2870177450012600261ULL;
    top->next = 0;
    ih_cursor_node(&top->cursor, value->image, at, node);
    return 0;
}

/* 1: *hash is known; 0: the container was pushed; -1. */
static int hash_container(ih_hasher *h, const ih_value *value, Py_hash_t *hash)
{
    const uint8_t *at = value->image->image.base + ih_word_offset(value->word);
    if (h->known_count * 2 >= h->known_room && grow_known(h) < 0)
        return -1;
    known_hash *known = find_known(h->known, h->known_room, at);
    if (known->at == NULL) {
        if (push(h, value) < 0)
            return -1;
        *known = (known_hash){at, IN_PROGRESS};
        h->known_count++;
        return 0;
    }
    if (known->hash == IN_PROGRESS)
        return damaged(h, ih_word_offset(value->word), "a hashable object that holds itself");
    *hash = known->hash;
    return 1;
}

static int hash_value(ih_hasher *h, const ih_value *value, Py_hash_t *hash)
{
    if (value->form == IH_INTEGER && value->integer >= 0 && value->integer < INT32_MAX) {
        *hash = (Py_hash_t)value->integer;
        return 1;
    }
    ih_class class = value->form == IH_NODE ? ih_kind_class(value->node.kind) : IH_NO_CLASS;
    if (class == IH_TUPLE_CLASS || class == IH_SET_CLASS)
        return hash_container(h, value, hash);
    PyObject *object = ih_value_object(value);
    if (object == NULL)
        return -1;
    *hash = PyObject_Hash(object);
    Py_DECREF(object);
    return *hash == -1 ? -1 : 1;
}

/* Hashes until the stack is empty; the last hash is the first container's. */
static int run(ih_hasher *h, Py_hash_t *hash)
{
    while (h->depth > 0) {
        level *top = &h->levels[h->depth - 1];
        if (top->next == top->cursor.n) {
            *hash = finished_hash(top);
            find_known(h->known, h->known_room, top->cursor.image->image.base + top->cursor.at)
                ->hash = *hash;
            ih_cursor_close(&top->cursor);
            h->depth--;
            if (h->depth > 0)
                add_hash(&h->levels[h->depth - 1], *hash);
            continue;
        }
        ih_value value;
        uint64_t next = top->next++;
        if (ih_cursor_item(&top->cursor, next, &value) < 0)
            return -1;
        int done = hash_value(h, &value, hash); /* may push, which moves the levels */
        ih_value_clear(&value);
        if (done < 0 || (next % 65536 == 65535 && PyErr_CheckSignals() < 0))
            return -1;
        if (done > 0)
            add_hash(&h->levels[h->depth - 1], *hash);
    }
    return 0;
}

Py_hash_t ih_hasher_hash(ih_hasher *h, uint64_t at)
{
    ih_value value;
    Py_hash_t hash = -1;
    if (ih_value_of_word(h->image, ih_word_at(at), &value) < 0)
        return -1;
    int done = ih_walk_enter("hash") < 0 ? -1 : hash_value(h, &value, &hash);
    if (done == 0)
        done = run(h, &hash);
    ih_walk_leave();
    ih_value_clear(&value);
    while (h->depth > 0)
        ih_cursor_close(&h->levels[--h->depth].cursor);
    return done < 0 ? -1 : hash;
}

static void release(ih_hasher *h)
{
    PyMem_Free(h->levels);
    PyMem_Free(h->known);
    ih_merge_free(&h->met);
}

Py_hash_t ih_python_hash(ih_image_object *image, uint64_t at)
{
    ih_hasher h = {.image = image};
    Py_hash_t hash = ih_hasher_hash(&h, at);
    release(&h);
    return hash;
}

ih_hasher *ih_hasher_new(ih_image_object *image)
{
    ih_hasher *h = PyMem_Calloc(1, sizeof *h);
    if (h == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    h->image = (ih_image_object *)Py_NewRef((PyObject *)image);
    return h;
}

const ih_image_object *ih_hasher_image(const ih_hasher *hasher) { return hasher->image; }

void ih_hasher_free(ih_hasher *hasher)
{
    if (hasher == NULL)
        return;
    release(hasher);
    Py_DECREF(hasher->image);
    PyMem_Free(hasher);
}
