/* Lookup in the stored tables of dicts, sets and shapes.
 *
 * A key of a known type is hashed canonically and probed for; stored keys are compared as bytes
 * where both are text and as Python objects otherwise. A key of a foreign type (Decimal, a str
 * subclass, a user's class) goes to a private index, an ordinary dict from decoded key to position,
 * built once per view: O(n) at first use, then O(1) (H23). */
#include "image/hash.h"
#include "module/decode.h"
#include "module/keyhash.h"

static int raise_fault(ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(image->state, &fault);
    return -1;
}

#if IH_CACHES
static ih_shape_layout *layout_slot(ih_image_object *image, uint32_t shape)
{
    return &image->state->layouts[(shape >> 1 ^ (uint32_t)image->identity) % IH_SHAPE_CACHE];
}

static void remember_layout(ih_image_object *image, uint32_t shape, const ih_node *node)
{
    uint64_t keys_end = node->data + 4 * node->n;
    uint64_t table_end = node->table + (uint64_t)node->capacity * node->width;
    *layout_slot(image, shape) = (ih_shape_layout){
        .identity = image->identity,
        .keys = node->data,
        .table = node->table,
        .end = keys_end > table_end ? keys_end : table_end,
        .shape = shape,
        .n = (uint32_t)node->n,
        .capacity = node->capacity,
        .seed = node->seed,
        .width = node->width,
    };
}
#endif

/* Keys and table of a shaped dict, from its shape. */
static int fill_shape(ih_table_view *view, uint32_t word)
{
    ih_image_object *image = view->image;
    ih_node shape;
    ih_fault fault;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        return raise_fault(image, view->at, "shape is not a node");
    if (ih_read_node(&image->image, word, &shape, &fault) < 0) {
        ih_raise_fault(image->state, &fault);
        return -1;
    }
    if (shape.kind != IH_SHAPE || shape.n != view->n)
        return raise_fault(image, ih_word_offset(word), "shape does not fit its dict");
    view->where = word;
    view->keys = image->image.base + shape.data;
    view->table = shape.table ? image->image.base + shape.table : NULL;
    view->capacity = shape.capacity;
    view->seed = shape.seed;
    view->width = shape.width;
#if IH_CACHES
    if (shape.n < IH_COUNT_WIDE)
        remember_layout(image, word, &shape);
#endif
    return 0;
}

int ih_table_view_fill(ih_table_view *view, ih_image_object *image, uint64_t at,
                       const ih_node *node)
{
    const uint8_t *base = image->image.base;
    view->image = image;
    view->at = at;
    view->n = node->n;
    view->kind = node->kind;
    view->code = 0;
    view->ascii = false;
    view->data = view->keys = view->values = base + node->data;
    view->key_stride = view->value_stride = 4;
    view->index = NULL;
    if (node->kind == IH_DICT_SHAPED)
        return fill_shape(view, node->shape);
    if (node->kind == IH_DICT_PAIRS || node->kind == IH_DICT_HASHED) {
        view->values = view->data + 4;
        view->key_stride = view->value_stride = 8;
    }
    view->where = ih_word_at(at);
    view->table = node->table ? base + node->table : NULL;
    view->capacity = node->capacity;
    view->seed = node->seed;
    view->width = node->width;
    return 0;
}

bool ih_table_view_fill_known(ih_table_view *view, ih_image_object *image, uint64_t at,
                              uint32_t header)
{
#if IH_CACHES
    uint64_t n = header >> 8, graph = image->image.graph;
    const uint8_t *node = image->image.base + at;
    if (n == IH_COUNT_WIDE || !ih_extent_fits(at + 4, n + 1, 4, graph))
        return false;
    uint32_t shape = ih_load_word(node + 4);
    const ih_shape_layout *known = layout_slot(image, shape);
    /* The layout is of the same content, whose image had this end at least: checked anyway. */
    if (known->shape != shape || known->identity != image->identity || known->n != n ||
        known->end > graph)
        return false;
    view->image = image;
    view->at = at;
    view->n = n;
    view->kind = IH_DICT_SHAPED;
    view->code = 0;
    view->ascii = false;
    view->data = view->values = node + 8;
    view->keys = image->image.base + known->keys;
    view->key_stride = view->value_stride = 4;
    view->index = NULL;
    view->where = shape;
    view->table = known->table ? image->image.base + known->table : NULL;
    view->capacity = known->capacity;
    view->seed = known->seed;
    view->width = known->width;
    return true;
#else
    (void)view, (void)image, (void)at, (void)header;
    return false;
#endif
}

/* A lookup key prepared once. */
typedef struct {
    PyObject *object;
    const uint8_t *text; /* UTF-8 of a str, else NULL */
    uint64_t size;
    PyObject *encoded; /* owner of `text` where the str is not ASCII */
} lookup;

#define ASK_INDEX 2

/* Is a key one of those that may equal what they are no sister of (a str's subclass, a member of an
 * enumeration)? Python asks for the same hash first, which only the index knows. */
static bool is_made(const ih_image_object *image, uint32_t word)
{
    uint64_t at = ih_word_offset(word);
    if (ih_word_is_int(word) || at < IH_IMAGE_START || at + 4 > image->image.graph)
        return false;
    uint32_t header = ih_load_word(image->image.base + at);
    unsigned kind = header & (IH_NODE_BIT | IH_KIND_MASK);
    return kind == (IH_NODE_BIT | IH_OBJECT) || kind == (IH_NODE_BIT | IH_VALUE);
}

/* Is stored text, given by its word, equal to the key's? 1, 0, ASK_INDEX; -1 with CorruptImage. */
static int text_equals(ih_image_object *image, uint32_t word, const lookup *key)
{
    if (ih_word_is_int(word))
        return 0;
    if (ih_word_is_constant(word))
        return word == IH_EMPTY_STR && key->size == 0;
    uint64_t at = ih_word_offset(word);
    const uint8_t *p = image->image.base + at;
    if (at < IH_IMAGE_START || at + 4 > image->image.graph)
        return raise_fault(image, at, "reference outside the graph");
    uint8_t first = __atomic_load_n(p, __ATOMIC_RELAXED);
    if (first < IH_NODE_BIT)
        return first == key->size && at + 1 + first <= image->image.graph &&
               memcmp(p + 1, key->text, key->size) == 0;
    if ((first & IH_KIND_MASK) > IH_STR_UTF8)
        return is_made(image, word) ? ASK_INDEX : 0;
    ih_node node;
    ih_fault fault;
    if (ih_read_node(&image->image, word, &node, &fault) < 0) {
        ih_raise_fault(image->state, &fault);
        return -1;
    }
    return node.n == key->size && (node.kind == IH_STR_ASCII || node.kind == IH_STR_UTF8) &&
           memcmp(image->image.base + node.data, key->text, key->size) == 0;
}

static int key_equals(ih_image_object *image, uint32_t word, const lookup *key)
{
    if (key->text != NULL)
        return text_equals(image, word, key);
    if (ih_word_is_int(word) && PyLong_CheckExact(key->object)) {
        int overflow;
        long long value = PyLong_AsLongLongAndOverflow(key->object, &overflow);
        return overflow == 0 && value == ih_word_int(word);
    }
    if (is_made(image, word))
        return ASK_INDEX;
    PyObject *stored = ih_decode(image, word);
    if (stored == NULL)
        return -1;
    /* Bytes and anything else warn under -b when they are compared; a dict would not do it, since
     * their hashes differ. */
    bool is_bytes = PyBytes_CheckExact(stored) || Py_TYPE(stored) == image->state->bytes_type;
    if (is_bytes != PyBytes_CheckExact(key->object)) {
        Py_DECREF(stored);
        return 0;
    }
    int equal = PyObject_RichCompareBool(stored, key->object, Py_EQ);
    Py_DECREF(stored);
    return equal;
}

static Py_ssize_t find_foreign(ih_table_view *view, PyObject *key);

/* What key_equals() said of an entry, if it was not 0. */
static Py_ssize_t found(ih_table_view *view, const lookup *key, uint64_t entry, int equal)
{
    if (equal == ASK_INDEX)
        return find_foreign(view, key->object);
    return equal > 0 ? (Py_ssize_t)entry : -2;
}

static Py_ssize_t find_linear(ih_table_view *view, const lookup *key)
{
    for (uint64_t i = 0; i < view->n; i++) {
        int equal = key_equals(view->image, ih_load_word(view->keys + i * view->key_stride), key);
        if (equal != 0)
            return found(view, key, i, equal);
    }
    return -1;
}

static Py_ssize_t find_hashed(ih_table_view *view, const lookup *key, uint64_t hash)
{
    uint32_t bits = ih_entry_bits(view->n), mask = bits >= 32 ? UINT32_MAX : (1u << bits) - 1;
    uint32_t tag = ih_slot_tag(hash, view->width, bits);
    uint32_t position = ih_table_position(hash, view->capacity);
    for (uint32_t step = 0; step < view->capacity; step++) {
        uint32_t slot = ih_table_slot(view->table, view->width, position);
        uint32_t entry = (slot & mask) - 1;
        if (slot == 0)
            return -1;
        if ((slot & ~mask) == tag && entry < view->n) {
            int equal = key_equals(
                view->image, ih_load_word(view->keys + (uint64_t)entry * view->key_stride), key);
            if (equal != 0)
                return found(view, key, entry, equal);
        }
        if (++position == view->capacity)
            position = 0;
    }
    return -1;
}

/* {decoded key: position} of all keys. */
static PyObject *make_index(const ih_table_view *view)
{
    PyObject *index = PyDict_New();
    for (uint64_t i = 0; index != NULL && i < view->n; i++) {
        PyObject *key = ih_decode(view->image, ih_load_word(view->keys + i * view->key_stride));
        PyObject *position = key == NULL ? NULL : PyLong_FromUnsignedLongLong(i);
        if (position == NULL || PyDict_SetItem(index, key, position) < 0)
            Py_CLEAR(index);
        Py_XDECREF(key);
        Py_XDECREF(position);
    }
    return index;
}

static Py_ssize_t find_foreign(ih_table_view *view, PyObject *key)
{
    Py_hash_t hash = PyObject_Hash(
        key); /* unhashable keys raise, as a dict does, even where nothing is stored */
    if (hash == -1)
        return -2;
    if (view->n == 0)
        return -1;
    PyObject *index;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(view);
#endif
    if (view->index == NULL) {
        PyObject *made = make_index(view);
        Py_XSETREF(view->index, made); /* a signal's handler may have made one meanwhile */
    }
    index = Py_XNewRef(view->index);
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    if (index == NULL)
        return -2;
    PyObject *position = PyDict_GetItemWithError(index, key);
    Py_ssize_t result = position != NULL ? PyLong_AsSsize_t(position) : PyErr_Occurred() ? -2 : -1;
    Py_DECREF(index);
    return result;
}

/* No seed spread the keys of this table: see IH_NO_TABLE. */
static bool without_table(const ih_table_view *view)
{
    return view->table != NULL && view->seed == IH_NO_TABLE;
}

static Py_ssize_t find_str(ih_table_view *view, PyObject *object)
{
    lookup key = {.object = object};
    if (PyUnicode_IS_ASCII(object)) {
        key.text = PyUnicode_1BYTE_DATA(object);
        key.size = (uint64_t)PyUnicode_GET_LENGTH(object);
    } else {
        key.encoded = PyUnicode_AsEncodedString(object, "utf-8", "surrogatepass");
        if (key.encoded == NULL)
            return -2;
        key.text = (const uint8_t *)PyBytes_AS_STRING(key.encoded);
        key.size = (uint64_t)PyBytes_GET_SIZE(key.encoded);
    }
    Py_ssize_t found;
    if (view->table == NULL)
        found = find_linear(view, &key);
    else if (without_table(view))
        found = find_foreign(view, object);
    else
        found =
            find_hashed(view, &key, ih_hash_bytes(key.text, key.size, IH_DOMAIN_STR, view->seed));
    Py_XDECREF(key.encoded);
    return found;
}

Py_ssize_t ih_table_find(ih_table_view *view, PyObject *key)
{
    if (PyUnicode_CheckExact(key)) {
#if IH_CACHES
        if (!PyUnicode_CHECK_INTERNED(key))
            return find_str(view, key);
        /* Constants in code are interned, so their address is their name. A shape's cached
         * positions serve all its dicts. */
        ih_image_object *image = view->image;
        uint64_t mix = image->identity ^ view->where ^ ((uint64_t)(uintptr_t)key >> 4);
        ih_key_cache_entry *entry = &image->state->keys[mix % IH_KEY_CACHE];
        if (entry->key == key && entry->where == view->where &&
            entry->identity == image->identity && entry->position < view->n)
            return entry->position;
        Py_ssize_t found = find_str(view, key);
        if (found >= 0 && found <= UINT32_MAX) {
            entry->identity = image->identity;
            entry->where = view->where;
            entry->position = (uint32_t)found;
            Py_XSETREF(entry->key, Py_NewRef(key));
        }
        return found;
#else
        return find_str(view, key);
#endif
    }
    uint64_t hash;
    int known = ih_key_hash(key, view->seed, &hash);
    if (known < 0)
        return -2;
    if (known == 0 || without_table(view))
        return find_foreign(view, key);
    lookup prepared = {.object = key};
    return view->table == NULL ? find_linear(view, &prepared) : find_hashed(view, &prepared, hash);
}
