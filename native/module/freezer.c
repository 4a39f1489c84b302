/* Freezing: one pass over the object graph into a private buffer, one copy from there into shared
 * memory.
 *
 *   object ──freeze_value──▶ word
 *
 *   buffer: │ 64 bytes │ dict node: k v k v │ "key" │ list node: w w w │ ...
 *                                   ╰────────────────▲
 *
 * A small value is the word itself, anything else gets a node in the buffer; offsets in the buffer
 * are offsets in the image.
 *
 * A container's node is laid out before its items, so its word is known before they are visited:
 * cycles need nothing else but the memo. Items follow in depth-first order, which is the order in
 * which readers walk. The recursion is bounded: deeper containers are laid out at once and filled
 * later from a stack (H24: 100,000 levels).
 *
 * Speed comes from what is not done. An object with one reference can be reached once only, so it
 * needs no memo entry (what costs pickle most). Dicts of one shape find their keys by the addresses
 * of the key objects. Equal strings are looked up only while that pays. Homogeneous lists are one
 * loop. Big buffers are not touched until the image's size is known and then go straight from their
 * owner into shared memory, without the GIL.
 *
 * No code of others runs in between: all types are exact, the collector is off, signals wait, views
 * are thawed quietly (thaw.h), so nothing changes under our hands (without a GIL, containers are
 * copied first).
 */
#include "module/decode.h"
#include "module/freezer_state.h"
#include "module/process.h"
#include "module/thaw.h"

#define MEMO_FIRST 128u
#define MEMO_KEPT 16384u

/* ---- the memo ------------------------------------------------------------------------------- */

static inline uint32_t memo_slot(const freezer *f, PyObject *object)
{
    return (uint32_t)(((uint64_t)(uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> 32) &
           f->memo_mask;
}

uint32_t memo_find(freezer *f, PyObject *object)
{
    if (met_once(object))
        return 0;
    for (uint32_t i = memo_slot(f, object); f->memo[i].generation == f->generation;
         i = (i + 1) & f->memo_mask) {
        if (f->memo[i].object == object) {
            ih_mark_shared(&f->writer, f->memo[i].word);
            return f->memo[i].word;
        }
    }
    return 0;
}

static int memo_grow(freezer *f)
{
    uint32_t mask = f->memo_mask * 4 + 3, old = f->memo_mask;
    memo_entry *entries = f->memo, *grown = calloc((size_t)mask + 1, sizeof(memo_entry));
    if (grown == NULL)
        return freeze_failed(IH_WRITE_MEMORY);
    f->memo = grown;
    f->memo_mask = mask;
    for (uint32_t i = 0; i <= old; i++) {
        if (entries[i].generation != f->generation)
            continue;
        uint32_t slot = memo_slot(f, entries[i].object);
        while (grown[slot].generation == f->generation)
            slot = (slot + 1) & mask;
        grown[slot] = entries[i];
    }
    free(entries);
    return 0;
}

int memo_add(freezer *f, PyObject *object, uint32_t word)
{
    if (met_once(object))
        return 0;
    if (f->memo_count * 2 >= f->memo_mask && memo_grow(f) < 0)
        return -1;
    uint32_t slot = memo_slot(f, object);
    while (f->memo[slot].generation == f->generation)
        slot = (slot + 1) & f->memo_mask;
    f->memo[slot] = (memo_entry){object, word, f->generation};
    f->memo_count++;
    return 0;
}

/* ---- failures, and things kept -------------------------------------------------------------- */

int freeze_failed(int write_result)
{
    if (write_result == IH_WRITE_TOO_LARGE)
        PyErr_SetString(
            PyExc_OverflowError,
            "cannot freeze: the graph of one image is limited to 8 GiB (arrays and bytes "
            "don't count towards it); split it into several images");
    else
        PyErr_NoMemory();
    return -1;
}

int freeze_refuse(freezer *f, PyObject *object, const char *reason)
{
    Py_XSETREF(f->offender, Py_NewRef(object));
    f->reason = reason;
    return -1;
}

int freeze_keep(freezer *f, PyObject *owned)
{
    if (owned == NULL)
        return -1;
    if (f->kept == NULL)
        f->kept = PyList_New(0);
    int result = f->kept == NULL ? -1 : PyList_Append(f->kept, owned);
    Py_DECREF(owned);
    return result;
}

int freeze_later(freezer *f, PyObject *object, uint64_t at)
{
    if (f->later_count == f->later_capacity) {
        size_t capacity = f->later_capacity * 2 + 64;
        deferred *grown = realloc(f->later, capacity * sizeof(deferred));
        if (grown == NULL)
            return freeze_failed(IH_WRITE_MEMORY);
        f->later = grown;
        f->later_capacity = capacity;
    }
    f->later[f->later_count++] = (deferred){object, at};
    return 0;
}

/* ---- plain values --------------------------------------------------------------------------- */

uint8_t *freeze_put_utf8(uint8_t *p, PyObject *str)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(str);
    if (PyUnicode_IS_ASCII(str)) {
        memcpy(p, PyUnicode_1BYTE_DATA(str), (size_t)n);
        return p + n;
    }
    /* One loop for each width: with the width inside the loop, text costs twice as much. */
    if (PyUnicode_KIND(str) == PyUnicode_2BYTE_KIND) {
        const Py_UCS2 *from = PyUnicode_2BYTE_DATA(str);
        for (Py_ssize_t i = 0; i < n; i++)
            p = ih_put_code_point(p, from[i]);
    } else if (PyUnicode_KIND(str) == PyUnicode_1BYTE_KIND) {
        const Py_UCS1 *from = PyUnicode_1BYTE_DATA(str);
        for (Py_ssize_t i = 0; i < n; i++)
            p = ih_put_code_point(p, from[i]);
    } else {
        const Py_UCS4 *from = PyUnicode_4BYTE_DATA(str);
        for (Py_ssize_t i = 0; i < n; i++)
            p = ih_put_code_point(p, from[i]);
    }
    return p;
}

/* Longer strings are remembered only where more than one reference leads to them. */
#define REMEMBERED_STR_MAX 96u

static int freeze_wide_str(freezer *f, PyObject *str, bool remember, uint32_t *word, uint64_t *hash)
{
    /* Encoded behind the buffer's end, where ih_write_str() moves it from into its node. */
    ih_writer *w = &f->writer;
    uint64_t most = (uint64_t)PyUnicode_GET_LENGTH(str) * 4;
    if (most > 4096)
        most = freeze_utf8_size(str);
    int result = ih_room(w, 2 * most + 64);
    if (result < 0)
        return freeze_failed(result);
    uint8_t *text = w->bytes + w->size + most + 32;
    uint64_t size = (uint64_t)(freeze_put_utf8(text, str) - text);
    uint64_t text_hash = remember || hash ? ih_hash_bytes(text, size, IH_DOMAIN_STR, 0) : 0;
    if (hash != NULL)
        *hash = text_hash;
    result = ih_write_str(w, text, size, false, text_hash, remember, word);
    return result < 0 ? freeze_failed(result) : 0;
}

int freeze_str(freezer *f, PyObject *str, bool always, uint32_t *word, uint64_t *hash)
{
    uint64_t size = (uint64_t)PyUnicode_GET_LENGTH(str);
    bool remember = always ||
                    (size <= REMEMBERED_STR_MAX && ih_remembering_pays(&f->writer, size)) ||
                    !met_once(str);
    if (!PyUnicode_IS_ASCII(str))
        return freeze_wide_str(f, str, remember, word, hash);
    const uint8_t *text = PyUnicode_1BYTE_DATA(str);
    uint64_t text_hash = remember || hash != NULL ? ih_hash_bytes(text, size, IH_DOMAIN_STR, 0) : 0;
    if (hash != NULL)
        *hash = text_hash;
    if (size == 0) {
        *word = IH_EMPTY_STR;
        return 0;
    }
    int result = ih_write_str(&f->writer, text, size, true, text_hash, remember, word);
    return result < 0 ? freeze_failed(result) : 0;
}

static int freeze_wide_int(freezer *f, PyObject *number, uint32_t *word)
{
    ih_writer *w = &f->writer;
    int overflow, result;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    uint64_t at = w->size;
    if (overflow == 0) {
        if (value >= IH_SMALL_INT_MIN && value <= IH_SMALL_INT_MAX) {
            *word = (uint32_t)((uint64_t)value << 1 | 1);
            return 0;
        }
        if ((result = ih_begin_node(w, IH_INT64, 0, 8, &at)) < 0)
            return freeze_failed(result);
        ih_store64(w->bytes + w->size, (uint64_t)value);
        w->size += 8;
    } else {
        size_t bits = (size_t)_PyLong_NumBits(number), size = bits / 8 + 1;
        if ((result = ih_begin_node(w, IH_BIGINT, size, size, &at)) < 0)
            return freeze_failed(result);
#if PY_VERSION_HEX >= 0x030D0000
        Py_ssize_t done = PyLong_AsNativeBytes(number, w->bytes + w->size, (Py_ssize_t)size,
                                               Py_ASNATIVEBYTES_LITTLE_ENDIAN);
        if (done < 0)
            return -1;
#else
        if (_PyLong_AsByteArray((PyLongObject *)number, w->bytes + w->size, size, 1, 1) < 0)
            return -1;
#endif
        w->size += size;
        ih_pad4(w);
    }
    *word = ih_word_at(at);
    return 0;
}

static int freeze_float(freezer *f, const double *parts, ih_kind kind, uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t at = w->size, size = kind == IH_COMPLEX ? 16 : 8;
    int result = ih_begin_node(w, kind, 0, size, &at);
    if (result < 0)
        return freeze_failed(result);
    memcpy(w->bytes + w->size, parts, size);
    w->size += size;
    *word = ih_word_at(at);
    return 0;
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static int freeze_view(freezer *f, PyObject *view, int depth, uint32_t *word)
{
    *word = memo_find(f, view);
    if (*word != 0)
        return 0;
    int linked = freeze_link(f, view, word);
    if (linked != 0)
        return linked < 0 ? -1 : 0;
    if (Py_TYPE(view) == f->state->array_type)
        return freeze_array_view(f, view, word);
    PyObject *plain = ih_thaw_quietly(f->state, view);
    if (freeze_keep(f, plain) < 0 || freeze_value(f, plain, depth, word) < 0)
        return -1;
    return memo_add(f, view, *word);
}

static int freeze_rare(freezer *f, PyObject *object, int depth, uint32_t *word)
{
    PyTypeObject *type = Py_TYPE(object);
    const char *name = type->tp_name;
    if (type == &PyBytes_Type)
        return freeze_bytes(f, object, word);
    if (type == &PyByteArray_Type)
        return freeze_bytearray(f, object, word);
    if (type == &PySet_Type || type == &PyFrozenSet_Type)
        return freeze_set(f, object, depth, word);
    if (type == &PyComplex_Type) {
        Py_complex value = PyComplex_AsCComplex(object);
        return freeze_float(f, (double[]){value.real, value.imag}, IH_COMPLEX, word);
    }
    if (object == Py_Ellipsis)
        return *word = IH_ELLIPSIS, 0;
    if (object == Py_NotImplemented)
        return *word = IH_NOT_IMPLEMENTED, 0;
    if (ih_is_view(f->state, object))
        return freeze_view(f, object, depth, word);
    if (type == &PyMemoryView_Type)
        return freeze_buffer(f, object, IH_ORIGIN_MEMORYVIEW, word);
    /* A class made in Python may have such a name, and code of its own behind its buffer. */
    bool native = PyType_HasFeature(type, Py_TPFLAGS_IMMUTABLETYPE);
    if (native && strcmp(name, "array.array") == 0)
        return freeze_buffer(f, object, IH_ORIGIN_ARRAY, word);
    if (native && strcmp(name, "numpy.ndarray") == 0) {
        int linked = freeze_link_ndarray(f, object, word);
        return linked == 0 ? freeze_buffer(f, object, IH_ORIGIN_NDARRAY, word)
                           : (linked < 0 ? -1 : 0);
    }
    return freeze_refuse(f, object, NULL);
}

int freeze_value(freezer *f, PyObject *object, int depth, uint32_t *word)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type)
        return freeze_str(f, object, false, word, NULL);
    if (type == &PyLong_Type) {
#if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)object)) {
            Py_ssize_t value = PyUnstable_Long_CompactValue((PyLongObject *)object);
            if (value >= IH_SMALL_INT_MIN && value <= IH_SMALL_INT_MAX) {
                *word = (uint32_t)((uint64_t)value << 1 | 1);
                return 0;
            }
        }
#endif
        return freeze_wide_int(f, object, word);
    }
    if (type == &PyDict_Type)
        return freeze_dict(f, object, depth, word);
    if (type == &PyList_Type)
        return freeze_list(f, object, depth, word);
    if (type == &PyFloat_Type)
        return freeze_float(f, &((PyFloatObject *)object)->ob_fval, IH_FLOAT, word);
    if (object == Py_None)
        return *word = IH_NONE, 0;
    if (object == Py_True)
        return *word = IH_TRUE, 0;
    if (object == Py_False)
        return *word = IH_FALSE, 0;
    if (type == &PyTuple_Type)
        return freeze_tuple(f, object, depth, word);
    return freeze_rare(f, object, depth, word);
}

static int fill_later(freezer *f)
{
    while (f->later_count > 0) {
        deferred next = f->later[--f->later_count];
        PyTypeObject *type = Py_TYPE(next.object);
        int result;
        if (type == &PyDict_Type)
            result = fill_dict(f, next.object, next.at, 0);
        else if (type == &PySet_Type || type == &PyFrozenSet_Type)
            result = fill_set(f, next.object, next.at, 0);
        else
            result = fill_sequence(f, next.object, next.at, 0);
        if (result < 0)
            return -1;
    }
    return 0;
}

/* ---- one freeze ----------------------------------------------------------------------------- */

void ih_freezer_free(freezer *f)
{
    if (f == NULL)
        return;
    ih_writer_free(&f->writer);
    free(f->memo);
    free(f->by_address);
    free(f->by_words);
    free(f->shape_keys);
    free(f->blobs);
    free(f->later);
    freeze_forget_links(f);
    free(f);
}

static freezer *freezer_new(ih_state *state)
{
    freezer *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->state = state;
    f->generation = 1;
    f->memo_mask = MEMO_FIRST - 1;
    f->memo = calloc(MEMO_FIRST, sizeof *f->memo);
    f->by_address = calloc(SHAPES, sizeof *f->by_address);
    f->by_words = calloc(SHAPES, sizeof *f->by_words);
    f->shape_keys = malloc(SHAPE_POOL * sizeof *f->shape_keys);
    if (ih_writer_init(&f->writer) < 0 || !f->memo || !f->by_address || !f->by_words ||
        !f->shape_keys) {
        ih_freezer_free(f);
        return NULL;
    }
    return f;
}

/* The interpreter's own freezer, or another while that one is in use (a finalizer or another thread
 * freezes too). */
static freezer *freezer_take(ih_state *state)
{
#if IH_CACHES
    freezer *f = state->scratch;
    state->scratch = NULL;
    if (f != NULL)
        return f;
#endif
    freezer *fresh = freezer_new(state);
    if (fresh == NULL)
        PyErr_NoMemory();
    return fresh;
}

static void freezer_give(ih_state *state, freezer *f)
{
    for (size_t i = 0; i < f->blob_count; i++)
        PyBuffer_Release(&f->blobs[i].buffer);
    f->blob_count = f->later_count = 0;
    Py_CLEAR(f->kept);
    Py_CLEAR(f->offender);
    f->reason = NULL;
    f->store = NULL;
    f->keys = 0;
    freeze_forget_links(f);
    if (state->scratch != NULL || !IH_CACHES) {
        ih_freezer_free(f);
        return;
    }
    ih_writer_reset(&f->writer);
    if (f->memo_mask >= MEMO_KEPT) {
        ih_freezer_free(f);
        return;
    }
    f->memo_count = f->aliases_known = f->shapes_made = f->shape_hits = f->shape_keys_count = 0;
    if (++f->generation == 0) { /* every 2**32 freezes: old entries would come to life again */
        memset(f->memo, 0, ((size_t)f->memo_mask + 1) * sizeof *f->memo);
        memset(f->by_address, 0, SHAPES * sizeof *f->by_address);
        memset(f->by_words, 0, SHAPES * sizeof *f->by_words);
        f->generation = 1;
    }
    state->scratch = f;
}

/* Encodes the graph; on failure the exception is set. */
static int freeze_graph(freezer *f, PyObject *object, uint32_t *root)
{
    int collecting =
        PyGC_Disable(); /* a collection could run finalizers, and they could change what we walk */
    f->root = object;
    __atomic_add_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
    int result = freeze_value(f, object, 0, root);
    if (result == 0)
        result = fill_later(f);
    if (result == 0)
        result = freeze_end_links(f);
    __atomic_sub_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
    if (result < 0 && f->offender != NULL && !PyErr_Occurred())
        freeze_raise(f, object);
    if (collecting)
        PyGC_Enable();
    return result;
}

/* One try; *gone: what it links to went meanwhile, and may be copied instead. */
static int freeze_once(ih_state *state, ih_store *store, unsigned flags, PyObject *object,
                       bool links, ih_handle *handle, ih_lease **lease, bool *gone)
{
    freezer *f = freezer_take(state);
    if (f == NULL)
        return -1;
    uint32_t root;
    f->store = links ? store : NULL;
    int failed = freeze_graph(f, object, &root);
    if (!failed) {
        ih_error error = {0};
        ih_result result = freeze_publish(f, store, flags, root, handle, lease, &error);
        *gone = result == IH_GONE && f->link_count > 0;
        failed = result != IH_OK ? -1 : 0;
        if (failed && !*gone)
            ih_raise_arena(state, &error);
    }
    freezer_give(state, f);
    return failed;
}

int ih_freeze_into(ih_state *state, ih_store *store, unsigned flags, PyObject *object,
                   ih_handle *handle, ih_lease **lease)
{
    if (freeze_is_whole_image(state, object))
        return freeze_copy_image(state, store, flags, ((const ih_view *)object)->image, handle,
                                 lease);
    /* What is under F_SEAL_WRITE stands for itself. */
    bool gone = false, links = (flags & IH_PUT_SEAL) == 0;
    int failed = freeze_once(state, store, flags, object, links, handle, lease, &gone);
    if (failed && gone)
        failed = freeze_once(state, store, flags, object, false, handle, lease, &gone);
    return failed;
}

PyObject *ih_freeze_to_bytes(ih_state *state, PyObject *object)
{
    freezer *f = freezer_take(state);
    if (f == NULL)
        return NULL;
    uint32_t root;
    PyObject *bytes = NULL;
    if (freeze_graph(f, object, &root) == 0)
        bytes = freeze_body_to_bytes(f, root);
    freezer_give(state, f);
    return bytes;
}
