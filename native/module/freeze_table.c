/* Freezing dicts and sets: shapes for dicts that share their keys, pairs for small ones, hashed
 * tables for the rest. */
#include <sys/random.h>

#include "module/decode.h"
#include "module/freezer_state.h"
#include "module/keyhash.h"
#include "module/thaw.h"

/* ---- shapes --------------------------------------------------------------------------------- */

/* Most data has few shapes and many dicts of each. Where it does not, shapes only cost, and are no
 * longer made. */
static bool shapes_pay(const freezer *f)
{
    return f->shapes_made < 64 ||
           (f->shape_hits >= f->shapes_made && f->shapes_made < SHAPES / 4 * 3);
}

static known_shape *find_slot(const freezer *f, known_shape *table, uint64_t hash, const void *keys,
                              uint32_t n)
{
    for (uint32_t i = (uint32_t)(hash >> 32) % SHAPES;; i = (i + 1) % SHAPES) {
        known_shape *slot = &table[i];
        if (slot->generation != f->generation)
            return slot;
        if (slot->hash != hash || slot->n != n)
            continue;
        if (table == f->by_address) {
            if (memcmp(f->shape_keys + slot->keys, keys, n * sizeof(PyObject *)) == 0)
                return slot;
        } else {
            uint64_t words = (uint64_t)(slot->shape >> 1) * 4 + slot->keys;
            if (memcmp(f->writer.bytes + words, keys, n * 4) == 0)
                return slot;
        }
    }
}

/* Writes a shape of these key words; *words_at: where they lie, from the node's start. */
static int write_shape(freezer *f, const uint32_t *words, const uint64_t *hashes, uint32_t n,
                       uint32_t *word, uint32_t *words_at)
{
    ih_writer *w = &f->writer;
    uint64_t at = 0, table;
    int result = ih_begin_node(w, IH_SHAPE, n, 4 * (uint64_t)n, &at);
    if (result == 0 && n > IH_PAIRS_MAX) {
        result = ih_begin_table(w, n, 0, &table);
        for (uint32_t i = 0; result == 0 && i < n; i++)
            ih_table_add(w, table, n, hashes[i], i);
    }
    if (result == 0)
        result = ih_room(w, 4 * (uint64_t)n);
    if (result < 0)
        return freeze_failed(result);
    *words_at = (uint32_t)(w->size - at);
    memcpy(w->bytes + w->size, words, 4 * (size_t)n);
    w->size += 4 * (uint64_t)n;
    *word = ih_word_at(at);
    return 0;
}

static void remember_addresses(freezer *f, known_shape *slot, uint64_t hash, PyObject *const *keys,
                               uint32_t n, uint32_t shape)
{
    if (f->shape_keys_count + n > SHAPE_POOL || f->aliases_known >= SHAPES / 4 * 3)
        return;
    memcpy(f->shape_keys + f->shape_keys_count, keys, n * sizeof(PyObject *));
    *slot = (known_shape){hash, f->generation, shape, n, f->shape_keys_count};
    f->shape_keys_count += n;
    f->aliases_known++;
}

/* The shape of these keys, all exact str: found by their addresses, else by their words, else made.
 */
static int shape_of(freezer *f, PyObject *const *keys, uint32_t n, uint32_t *words,
                    uint64_t *hashes, uint32_t *shape)
{
    uint64_t hash = n, word_hash = n;
    for (uint32_t i = 0; i < n; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)keys[i] >> 4) * 0x9e3779b97f4a7c15u;
    known_shape *slot = find_slot(f, f->by_address, hash, keys, n);
    if (slot->generation == f->generation) {
        f->shape_hits++;
        *shape = slot->shape;
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (freeze_str(f, keys[i], true, &words[i], &hashes[i]) < 0)
            return -1;
        word_hash = ih_fold(word_hash ^ words[i], 0x9e3779b97f4a7c15u);
    }
    known_shape *known = find_slot(f, f->by_words, word_hash, words, n);
    if (known->generation == f->generation) {
        f->shape_hits++;
    } else {
        uint32_t words_at = 0, made = 0;
        if (write_shape(f, words, hashes, n, &made, &words_at) < 0)
            return -1;
        *shape = made;
        if (f->shapes_made >= SHAPES / 4 * 3)
            return 0;
        *known = (known_shape){word_hash, f->generation, made, n, words_at};
        f->shapes_made++;
    }
    *shape = known->shape;
    remember_addresses(f, slot, hash, keys, n, *shape);
    return 0;
}

int freeze_shape(freezer *f, PyObject *const *names, uint64_t n, uint32_t *shape)
{
    uint64_t few_hashes[SHAPE_KEYS_MAX];
    uint32_t few_words[SHAPE_KEYS_MAX];
    if (n <= SHAPE_KEYS_MAX)
        return shape_of(f, names, (uint32_t)n, few_words, few_hashes, shape);
    if (n >= IH_COUNT_WIDE)
        return freeze_failed(IH_WRITE_TOO_LARGE);
    uint64_t *hashes = malloc(n * sizeof *hashes);
    uint32_t *words = malloc(n * sizeof *words);
    int result = hashes == NULL || words == NULL
                     ? freeze_failed(IH_WRITE_MEMORY)
                     : shape_of(f, names, (uint32_t)n, words, hashes, shape);
    free(hashes);
    free(words);
    return result;
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* Encodes a key and gives its hash; 1, or 0 where it has no canonical one. */
static int freeze_key(freezer *f, PyObject *key, uint64_t number, int depth, uint32_t *word,
                      uint64_t *hash)
{
    if (PyUnicode_CheckExact(key))
        return freeze_str(f, key, false, word, hash) < 0 ? -1 : 1;
    int known = ih_key_hash(key, 0, hash);
    if (known == 0) { /* a view, or a tuple with one inside: its plain equal has a hash */
        PyObject *plain = ih_thaw_quietly(f->state, key);
        if (plain != NULL) {
            key = plain;
            if (freeze_keep(f, plain) < 0)
                return -1;
            known = ih_key_hash(key, 0, hash);
        } else if (PyErr_Occurred()) {
            return -1;
        } /* else it holds something that has no frozen form, which is found below */
    }
    if (known < 0)
        return -1;
    f->keys++;
    int result = freeze_value(f, key, depth + 1, word);
    f->keys--;
    if (result < 0)
        return -1;
    /* NaNs equal nothing, so their place in the table does not matter: spread them. */
    if (PyFloat_CheckExact(key) && PyFloat_AS_DOUBLE(key) != PyFloat_AS_DOUBLE(key))
        *hash = ih_hash_word(number, IH_DOMAIN_CONSTANT, 0);
    return known;
}

/* A table being filled. */
typedef struct {
    uint64_t at, n, probes;
    bool usable;
} table;

static void add_key(freezer *f, table *t, uint64_t hash, uint64_t entry, int known)
{
    if (!t->usable)
        return;
    if (known)
        t->probes += ih_table_add(&f->writer, t->at, t->n, hash, entry);
    if (!known || ih_too_many_probes(t->probes, t->n))
        t->usable = false;
}

/* Over the keys of a dict or set, whatever `__iter__` its class has. */
static PyObject *plain_iterator(PyObject *container)
{
    return (PyDict_Check(container) ? PyDict_Type.tp_iter : PySet_Type.tp_iter)(container);
}

/* Keys that collide under seed 0 get another seed; those that collide under all get no table. */
static int seed_again(freezer *f, table *t, PyObject *container)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        uint32_t seed;
        if (getrandom(&seed, sizeof seed, 0) != sizeof seed || seed == 0 || seed == IH_NO_TABLE)
            continue;
        ih_clear_table(&f->writer, t->at, t->n, seed);
        t->probes = 0;
        t->usable = true;
        PyObject *iterator = plain_iterator(container), *key;
        if (iterator == NULL)
            return -1;
        for (uint64_t i = 0; t->usable && (key = PyIter_Next(iterator)) != NULL; i++) {
            uint64_t hash = 0;
            int known = ih_key_hash(key, seed, &hash);
            Py_DECREF(key);
            if (known < 0)
                break;
            add_key(f, t, hash, i, known);
        }
        Py_DECREF(iterator);
        if (PyErr_Occurred())
            return -1;
        if (t->usable)
            return 0;
    }
    ih_clear_table(&f->writer, t->at, t->n, IH_NO_TABLE);
    return 0;
}

/* ---- dicts ---------------------------------------------------------------------------------- */

static ih_kind kind_at(const freezer *f, uint64_t at)
{
    return (ih_kind)(f->writer.bytes[at] & IH_KIND_MASK);
}
static uint64_t behind_header(uint64_t at, uint64_t n)
{
    return at + 4 + (n >= IH_COUNT_WIDE ? 8 : 0);
}
static uint64_t behind_table(uint64_t at, uint64_t n)
{
    return at + 8 + ((ih_table_capacity(n) * ih_slot_width(n) + 3) & ~(uint64_t)3);
}

static int changed(void)
{
    PyErr_SetString(PyExc_RuntimeError, "a container changed its size while it was being frozen");
    return -1;
}

static int fill_entries(freezer *f, PyObject *dict, uint64_t at, bool hashed, int depth)
{
    uint64_t n = (uint64_t)PyDict_GET_SIZE(dict), i = 0;
    uint64_t entries = behind_header(at, n);
    table t = {.at = entries, .n = n, .usable = hashed};
    if (hashed)
        entries = behind_table(entries, n);
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        uint32_t word;
        uint64_t hash = 0;
        if (i == n)
            return changed();
        int known = freeze_key(f, key, i, depth, &word, &hash);
        if (known < 0)
            return -1;
        ih_put_word(&f->writer, entries + 8 * i, word);
        add_key(f, &t, hash, i, known);
        if (freeze_value(f, value, depth + 1, &word) < 0)
            return -1;
        ih_put_word(&f->writer, entries + 8 * i + 4, word);
        i++;
    }
    if (i != n)
        return changed();
    return hashed && !t.usable ? seed_again(f, &t, dict) : 0;
}

static int fill_values(freezer *f, PyObject *const *values, uint64_t n, uint64_t at, int depth)
{
    for (uint64_t i = 0; i < n; i++) {
        uint32_t word;
        if (freeze_value(f, values[i], depth + 1, &word) < 0)
            return -1;
        ih_put_word(&f->writer, at + 8 + 4 * i, word);
    }
    return 0;
}

/* All keys exact str? Then keys and values are gathered. */
static bool gather(PyObject *dict, PyObject **keys, PyObject **values)
{
    Py_ssize_t position = 0;
    for (uint32_t i = 0; PyDict_Next(dict, &position, &keys[i], &values[i]); i++)
        if (!PyUnicode_CheckExact(keys[i]))
            return false;
    return true;
}

int fill_dict(freezer *f, PyObject *dict, uint64_t at, int depth)
{
    ih_kind kind = kind_at(f, at);
    if (kind != IH_DICT_SHAPED)
        return fill_entries(f, dict, at, kind == IH_DICT_HASHED, depth);
    PyObject *keys[SHAPE_KEYS_MAX + 1], *values[SHAPE_KEYS_MAX + 1];
    if ((uint64_t)PyDict_GET_SIZE(dict) > SHAPE_KEYS_MAX || !gather(dict, keys, values))
        return changed();
    return fill_values(f, values, (uint64_t)PyDict_GET_SIZE(dict), at, depth);
}

static int freeze_shaped(freezer *f, PyObject *dict, PyObject *identity, PyObject *const *keys,
                         PyObject *const *values, int depth, uint32_t *word)
{
    uint32_t n = (uint32_t)PyDict_GET_SIZE(dict), shape;
    if (freeze_shape(f, keys, n, &shape) < 0)
        return -1;
    uint64_t at = 0;
    int result = ih_begin_node(&f->writer, IH_DICT_SHAPED, n, 4 + 4 * (uint64_t)n, &at);
    if (result < 0)
        return freeze_failed(result);
    ih_put_word(&f->writer, at + 4, shape);
    f->writer.size += 4 + 4 * (uint64_t)n;
    *word = ih_word_at(at);
    if (memo_add(f, identity, *word) < 0)
        return -1;
    if (depth >= RECURSION_MAX)
        return freeze_later(f, dict, at);
    uint32_t outside = freeze_enter_lazy(f);
    result = fill_values(f, values, n, at, depth);
    freeze_leave_lazy(f, outside);
    return result;
}

static int freeze_plain_dict(freezer *f, PyObject *dict, PyObject *identity, int depth,
                             uint32_t *word)
{
    Py_ssize_t n = PyDict_GET_SIZE(dict);
    if (n > 0 && n <= (Py_ssize_t)SHAPE_KEYS_MAX && shapes_pay(f)) {
        PyObject *keys[SHAPE_KEYS_MAX + 1], *values[SHAPE_KEYS_MAX + 1];
        if (gather(dict, keys, values))
            return freeze_shaped(f, dict, identity, keys, values, depth, word);
    }
    bool hashed = n > (Py_ssize_t)IH_PAIRS_MAX;
    ih_writer *w = &f->writer;
    uint64_t at = 0, table_at;
    int result = ih_begin_node(w, hashed ? IH_DICT_HASHED : IH_DICT_PAIRS, (uint64_t)n,
                               8 * (uint64_t)n, &at);
    if (result == 0 && hashed)
        result = ih_begin_table(w, (uint64_t)n, 0, &table_at);
    if (result == 0)
        result = ih_room(w, 8 * (uint64_t)n);
    if (result < 0)
        return freeze_failed(result);
    memset(w->bytes + w->size, 0, 8 * (size_t)n);
    w->size += 8 * (uint64_t)n;
    *word = ih_word_at(at);
    if (memo_add(f, identity, *word) < 0)
        return -1;
    if (depth >= RECURSION_MAX)
        return freeze_later(f, dict, at);
    uint32_t outside = freeze_enter_lazy(f);
    result = fill_entries(f, dict, at, hashed, depth);
    freeze_leave_lazy(f, outside);
    return result;
}

int freeze_dict_part(freezer *f, PyObject *dict, int depth, uint32_t *word)
{
    return freeze_plain_dict(f, dict, NULL, depth, word);
}

int freeze_dict(freezer *f, PyObject *dict, int depth, uint32_t *word)
{
    *word = memo_find(f, dict);
    if (*word != 0)
        return 0;
    if (!f->careful)
        return freeze_plain_dict(f, dict, dict, depth, word);
    PyObject *copy = PyDict_Copy(dict); /* others may change the dict, nobody the copy */
    if (freeze_keep(f, copy) < 0)
        return -1;
    return freeze_plain_dict(f, copy, dict, depth, word);
}

/* ---- sets ----------------------------------------------------------------------------------- */

int fill_set(freezer *f, PyObject *set, uint64_t at, int depth)
{
    uint64_t n = (uint64_t)PySet_GET_SIZE(set), i = 0, words = behind_header(at, n);
    ih_kind kind = kind_at(f, at);
    bool hashed = kind == IH_SET_HASHED || kind == IH_FROZENSET_HASHED;
    table t = {.at = words, .n = n, .usable = hashed};
    if (hashed)
        words = behind_table(words, n);
    PyObject *iterator = plain_iterator(set), *item;
    if (iterator == NULL)
        return -1;
    for (; (item = PyIter_Next(iterator)) != NULL; i++) {
        uint32_t word;
        uint64_t hash = 0;
        int known = i == n ? changed() : freeze_key(f, item, i, depth, &word, &hash);
        Py_DECREF(item); /* the set holds it */
        if (known < 0) {
            Py_DECREF(iterator);
            return -1;
        }
        ih_put_word(&f->writer, words + 4 * i, word);
        add_key(f, &t, hash, i, known);
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred())
        return -1;
    if (i != n)
        return changed();
    return hashed && !t.usable ? seed_again(f, &t, set) : 0;
}

static int freeze_plain_set(freezer *f, PyObject *set, PyObject *identity, bool mutable, int depth,
                            uint32_t *word)
{
    uint64_t n = (uint64_t)PySet_GET_SIZE(set), at = 0, table_at;
    bool hashed = n > IH_PAIRS_MAX;
    ih_kind kind =
        mutable ? (hashed ? IH_SET_HASHED : IH_SET) : (hashed ? IH_FROZENSET_HASHED : IH_FROZENSET);
    ih_writer *w = &f->writer;
    int result = ih_begin_node(w, kind, n, 4 * n, &at);
    if (result == 0 && hashed)
        result = ih_begin_table(w, n, 0, &table_at);
    if (result == 0)
        result = ih_room(w, 4 * n);
    if (result < 0)
        return freeze_failed(result);
    memset(w->bytes + w->size, 0, 4 * (size_t)n);
    w->size += 4 * n;
    *word = ih_word_at(at);
    if (memo_add(f, identity, *word) < 0)
        return -1;
    if (depth >= RECURSION_MAX)
        return freeze_later(f, set, at);
    uint32_t outside = freeze_enter_lazy(f);
    result = fill_set(f, set, at, depth);
    freeze_leave_lazy(f, outside);
    return result;
}

int freeze_set_part(freezer *f, PyObject *set, int depth, uint32_t *word)
{
    bool mutable = PyType_IsSubtype(Py_TYPE(set), &PySet_Type);
    return freeze_plain_set(f, set, NULL, mutable, depth, word);
}

int freeze_set(freezer *f, PyObject *set, int depth, uint32_t *word)
{
    *word = memo_find(f, set);
    if (*word != 0)
        return 0;
    bool mutable = PySet_CheckExact(set);
    if (!f->careful || !mutable)
        return freeze_plain_set(f, set, set, mutable, depth, word);
    PyObject *copy = PySet_New(set);
    if (freeze_keep(f, copy) < 0)
        return -1;
    return freeze_plain_set(f, copy, set, mutable, depth, word);
}
