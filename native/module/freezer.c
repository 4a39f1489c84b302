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
 * No code of others runs in between: builtin types are exact, the collector is off, signals wait,
 * views are copied by their bytes, and instances are read past their classes, so nothing changes
 * under our hands. Where a class is met that was not asked about yet, the walk is given up, the
 * rule is asked for (freeze_rule.h), and the walk begins again. Where reading an object itself
 * takes Python code, it begins again *carefully*, as it always is without a GIL: containers are
 * copied before their items are visited, and everything that was met is kept until the end, so
 * other threads and the code itself may do what they like.
 */
#include "module/decode.h"
#include "module/freezer_state.h"
#include "module/hooks.h"
#include "module/process.h"
#include "module/thaw.h"

#define MEMO_FIRST 128u
#define MEMO_KEPT 16384u
#define RESTARTS 4u          /* walks that may be thrown away at no matter what size, */
#define CHEAP_RESTART 65536u /* and the size up to which more may */

/* ---- the memo ------------------------------------------------------------------------------- */

static inline uint32_t memo_slot(const freezer *f, PyObject *object)
{
    return (uint32_t)(((uint64_t)(uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> 32) &
           f->memo_mask;
}

/* What is made as a whole can't be inside itself. The refusal is noticed at the end at the latest.
 */
static void check_open(freezer *f, PyObject *object, uint32_t word)
{
    for (uint32_t i = f->barrier; i < f->open_count; i++)
        if (f->open[i] == word)
            (void)freeze_refuse(f, object,
                                "it refers to itself through objects that must be made whole");
}

uint32_t memo_find(freezer *f, PyObject *object)
{
    if (met_once(f, object))
        return 0;
    for (uint32_t i = memo_slot(f, object); f->memo[i].generation == f->generation;
         i = (i + 1) & f->memo_mask) {
        if (f->memo[i].object == object) {
            ih_mark_shared(&f->writer, f->memo[i].word);
            if (f->open_count > f->barrier)
                check_open(f, object, f->memo[i].word);
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
    if (object == NULL || met_once(f, object))
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
    Py_CLEAR(f->why);
    f->reason = reason;
    return -1;
}

int freeze_refuse_why(freezer *f, PyObject *object, PyObject *why)
{
    const char *reason = PyUnicode_AsUTF8(why);
    if (reason == NULL)
        PyErr_Clear();
    freeze_refuse(f, object, reason);
    f->why = why;
    return -1;
}

int freeze_again(freezer *f, PyTypeObject *unknown)
{
    f->again = true;
    Py_XSETREF(f->unknown, (PyTypeObject *)Py_XNewRef((PyObject *)unknown));
    return -1;
}

/* With `more`, a second argument, or NULL. */
static PyObject *call(freezer *f, PyObject *function, PyObject *object, PyObject *more)
{
    __atomic_sub_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
    PyObject *result = PyObject_CallFunctionObjArgs(function, object, more, NULL);
    PyObject *refusal = result == NULL ? ih_rule_refusal(f->state) : NULL;
    __atomic_add_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
    if (refusal != NULL)
        freeze_refuse_why(f, object, refusal);
    else if (result == NULL)
        freeze_refuse(f, object, NULL); /* for the note on its exception */
    return result;
}

PyObject *freeze_call(freezer *f, PyObject *function, PyObject *object)
{
    return call(f, function, object, NULL);
}

static bool is_root(const freezer *f, PyObject *object)
{
    if (f->roots < 0)
        return object == f->root;
    for (Py_ssize_t i = 0; i < f->roots && i < PyTuple_GET_SIZE(f->root); i++)
        if (PyTuple_GET_ITEM(f->root, i) == object)
            return true;
    return false;
}

int freeze_ask(freezer *f, PyObject *function, PyObject *object)
{
    PyObject *answer = call(f, function, object, is_root(f, object) ? Py_True : Py_False);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

int freeze_open(freezer *f, PyObject *object, uint32_t word, bool tuple)
{
    if (f->open_count == FREEZE_OPEN_MAX)
        return freeze_refuse(f, object,
                             "it is nested too deeply in objects that must be made whole");
    f->open_tuple[f->open_count] = tuple;
    f->open[f->open_count++] = word;
    return 0;
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

int freeze_derived(freezer *f, PyObject *object, PyObject *made)
{
    if (f->derived == NULL && (f->derived = PyList_New(0)) == NULL)
        return -1;
    return PyList_Append(f->derived, object) < 0 ? -1 : PyList_Append(f->derived, made);
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
    int copied = freeze_copy_view(f, view, word);
    if (copied != 0)
        return copied < 0 ? -1 : 0;
    PyObject *plain = ih_thaw_quietly(f->state, view);
    if (freeze_keep(f, plain) < 0)
        return -1;
    f->uncounted = PyTuple_Check(plain) && freeze_in_tuple(f);
    int result = freeze_value(f, plain, depth, word);
    f->uncounted = false;
    return result < 0 ? -1 : memo_add(f, view, *word);
}

/* Arrays of dtypes that buffers can't describe have a rule. */
static int freeze_ndarray(freezer *f, PyObject *array, int depth, uint32_t *word)
{
    int linked = freeze_link_ndarray(f, array, word);
    if (linked != 0)
        return linked < 0 ? -1 : 0;
    if (freeze_buffer(f, array, IH_ORIGIN_NDARRAY, word) == 0)
        return 0;
    if (f->offender != array || PyErr_Occurred())
        return -1;
    known_class *class = freeze_class(f, Py_TYPE(array));
    if (class == NULL || class->rule->kind == RULE_REFUSED)
        return -1;
    Py_CLEAR(f->offender);
    return freeze_foreign(f, array, depth, word);
}

static int freeze_rare(freezer *f, PyObject *object, int depth, uint32_t *word)
{
    PyTypeObject *type = Py_TYPE(object);
    const char *name = type->tp_name;
    bool native = PyType_HasFeature(type, Py_TPFLAGS_IMMUTABLETYPE);
    if (f->last_class != NULL && type == f->last_class->type && !native)
        return freeze_foreign(f, object, depth, word);
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
    if (native && strcmp(name, "array.array") == 0)
        return freeze_buffer(f, object, IH_ORIGIN_ARRAY, word);
    if (native && strcmp(name, "numpy.ndarray") == 0)
        return freeze_ndarray(f, object, depth, word);
    return freeze_foreign(f, object, depth, word);
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
        int result;
        switch ((ih_kind)(f->writer.bytes[next.at] & IH_KIND_MASK)) {
        case IH_DICT_SHAPED:
        case IH_DICT_PAIRS:
        case IH_DICT_HASHED:
            result = fill_dict(f, next.object, next.at, 0);
            break;
        case IH_SET:
        case IH_SET_HASHED:
        case IH_FROZENSET:
        case IH_FROZENSET_HASHED:
            result = fill_set(f, next.object, next.at, 0);
            break;
        case IH_OBJECT:
            result = fill_object(f, next.object, next.at, 0);
            break;
        default:
            result = fill_sequence(f, next.object, next.at, 0);
            break;
        }
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
    free(f->layouts);
    freeze_forget_classes(f);
    free(f->classes);
    freeze_forget_copies(f);
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
freezer *freezer_take(ih_state *state)
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

/* Forgets what was frozen, but for what failed. False: its tables grew so large that they are not
 * worth keeping. */
static bool freezer_reset(freezer *f)
{
    for (size_t i = 0; i < f->blob_count; i++)
        PyBuffer_Release(&f->blobs[i].buffer);
    f->blob_count = f->later_count = 0;
    freeze_forget_classes(f);
    freeze_forget_copies(f);
    Py_CLEAR(f->kept);
    Py_CLEAR(f->derived);
    f->keys = f->open_count = f->barrier = f->as_count = 0;
    f->again = f->cells = false;
    freeze_forget_links(f);
    ih_writer_reset(&f->writer);
    f->memo_count = f->aliases_known = f->shapes_made = f->shape_hits = f->shape_keys_count = 0;
    if (++f->generation == 0) { /* every 2**32 freezes: old entries would come to life again */
        memset(f->memo, 0, ((size_t)f->memo_mask + 1) * sizeof *f->memo);
        memset(f->by_address, 0, SHAPES * sizeof *f->by_address);
        memset(f->by_words, 0, SHAPES * sizeof *f->by_words);
        if (f->layouts != NULL)
            memset(f->layouts, 0, LAYOUTS * sizeof *f->layouts);
        f->generation = 1;
    }
    return f->memo_mask < MEMO_KEPT;
}

void freezer_give(ih_state *state, freezer *f)
{
    bool worth = freezer_reset(f);
    Py_CLEAR(f->offender);
    Py_CLEAR(f->why);
    Py_CLEAR(f->unknown);
    f->reason = NULL;
    f->store = NULL;
    if (!worth || state->scratch != NULL || !IH_CACHES)
        ih_freezer_free(f);
    else
        state->scratch = f;
}

/* Works off what could not go on without running Python code, with nothing half done. */
static int prepare_again(freezer *f)
{
    const freeze_rule *rule;
    uint64_t size = f->writer.size;
    PyTypeObject *unknown = f->unknown;
    f->unknown = NULL;
    (void)freezer_reset(f);
    Py_CLEAR(f->offender);
    f->restarts++;
    if (unknown == NULL || (f->restarts > RESTARTS && size > CHEAP_RESTART))
        f->careful = true;
    PyObject *capsule = unknown == NULL ? NULL : ih_rule_ask(f->state, unknown, &rule);
    int result = unknown != NULL && capsule == NULL ? -1 : 0;
    Py_XDECREF(capsule);
    Py_XDECREF((PyObject *)unknown);
    return result;
}

/* Encodes the graph; on failure the exception is set. */
static int freeze_graph(freezer *f, PyObject *object, uint32_t *root)
{
    int collecting =
        PyGC_Disable(); /* a collection could run finalizers, and they could change what we walk */
    int result = 0;
    f->root = object;
    f->careful = !IH_CACHES;
    f->restarts = 0;
    do {
        if (f->again)
            result = prepare_again(f);
        if (result < 0)
            break;
        __atomic_add_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
        result = freeze_value(f, object, 0, root);
        if (result == 0)
            result = fill_later(f);
        if (result == 0)
            result = f->offender != NULL ? -1 : freeze_end_links(f);
        __atomic_sub_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
    } while (result < 0 && f->again);
    if (result < 0 && f->offender != NULL)
        freeze_raise(f, object);
    if (collecting)
        PyGC_Enable();
    return result;
}

/* What is to be frozen, and what is known of it between two tries. */
typedef struct {
    PyObject *object;
    Py_ssize_t roots; /* see freezer */
    PyObject *asked;
} ih_request;

/* One try; *gone: what it links to went meanwhile, and may be copied instead. */
static int freeze_once(ih_state *state, ih_store *store, unsigned flags, ih_request *request,
                       bool links, ih_handle *handle, ih_lease **lease, bool *gone)
{
    freezer *f = freezer_take(state);
    if (f == NULL)
        return -1;
    uint32_t root;
    f->store = links ? store : NULL;
    f->lasting = true;
    f->roots = request->roots;
    f->asked = request->asked;
    const ih_store *outside = ih_set_target(store);
    int failed = freeze_graph(f, request->object, &root);
    (void)ih_set_target(outside);
    request->asked = f->asked;
    f->asked = NULL;
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

static int freeze_request(ih_state *state, ih_store *store, unsigned flags, ih_request request,
                          ih_handle *handle, ih_lease **lease)
{
    /* What is under F_SEAL_WRITE stands for itself. */
    bool gone = false, links = (flags & IH_PUT_SEAL) == 0;
    int failed = freeze_once(state, store, flags, &request, links, handle, lease, &gone);
    if (failed && gone)
        failed = freeze_once(state, store, flags, &request, false, handle, lease, &gone);
    Py_XDECREF(request.asked);
    return failed;
}

int ih_freeze_into(ih_state *state, ih_store *store, unsigned flags, PyObject *object,
                   ih_handle *handle, ih_lease **lease)
{
    if (freeze_is_whole_image(state, object))
        return freeze_copy_image(state, store, flags, ((const ih_view *)object)->image, handle,
                                 lease);
    return freeze_request(state, store, flags, (ih_request){object, -1, NULL}, handle, lease);
}

int ih_freeze_roots(ih_state *state, ih_store *store, unsigned flags, PyObject *tuple,
                    Py_ssize_t roots, ih_handle *handle, ih_lease **lease)
{
    return freeze_request(state, store, flags, (ih_request){tuple, roots, NULL}, handle, lease);
}

PyObject *ih_freeze_to_bytes(ih_state *state, PyObject *object)
{
    freezer *f = freezer_take(state);
    if (f == NULL)
        return NULL;
    uint32_t root;
    PyObject *bytes = NULL;
    f->lasting = false;
    f->roots = -1;
    const ih_store *outside = ih_set_target(NULL);
    if (freeze_graph(f, object, &root) == 0)
        bytes = freeze_body_to_bytes(f, root);
    (void)ih_set_target(outside);
    Py_CLEAR(f->asked);
    freezer_give(state, f);
    return bytes;
}
