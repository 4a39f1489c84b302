/* thaw(view): ordinary mutable Python objects again.
 *
 * One loop over frames on a stack of our own, so depth costs heap and no C stack. A frame is a
 * container being filled; a child that is a container gets a frame on top, and its value is handed
 * down when that frame is done.
 *
 * Identity. Only nodes flagged as shared go into the memo, mutable containers and tuples before
 * they are filled: that is how cycles close. A tuple met again while it is still being filled must
 * have a list, dict or set between its two places, since nothing else can close a cycle in Python;
 * otherwise it is damage.
 *
 * Links are followed and what lies behind them is copied like the rest (H16). Each image has a memo
 * and a budget of its own; in those behind links every node goes into the memo, since links from
 * many places may lead to one node, or into what another leads to.
 *
 * Hostile images (H24). Nodes without the flag are visited once in an honest image, so all
 * containers visited together are not larger than the image: that is the budget. A key is hashed
 * only when it is complete, consists of immutable values, and is bounded in height (hashing
 * recurses in C) and in steps (a tuple hashes a child as often as it holds it).
 *
 * The cycle collector is off meanwhile: everything made here is alive, and looking at it again and
 * again costs up to 40 % of the time. No Python code runs but numpy's where there are arrays. */
#include "module/link.h"
#include "module/thaw_instance.h"

#define PENDING IH_THAW_PENDING
#define KEY_HEIGHT_MAX 1000u
#define SIGNALS_EVERY 4096u

/* ---- values without frames ---- */

/* A shared node that was met before: its object, new reference. NULL without an exception: not met
 * yet. */
static PyObject *recall(thawer *t, uint32_t word)
{
    if (t->here->memo == NULL)
        return NULL;
    memo_entry *entry = ih_memo_find(t, word);
    if (entry->word == 0)
        return NULL;
    t->steps = entry->steps;
    t->height = entry->height;
    t->weight = entry->weight;
    if (entry->frame != 0) {
        frame_kind kind = (frame_kind)t->frames[entry->frame - 1].kind;
        bool object = kind == F_OBJECT;
        t->steps = object ? ih_thaw_hash_steps(entry->object) : UNHASHABLE;
        bool immutable = entry->object == NULL || PyTuple_CheckExact(entry->object);
        uint32_t mutable_at = t->depth ? t->frames[t->depth - 1].mutable_at : 0;
        if (kind == F_WHOLE && mutable_at > entry->frame) {
            PyErr_SetString(PyExc_ValueError,
                            "thaw() can't make an object that is needed to make itself; its view "
                            "can be read");
            return NULL;
        }
        if (entry->object == NULL || (immutable && mutable_at <= entry->frame))
            return ih_thaw_fault(t, ih_word_offset(word),
                                 "an immutable value that contains itself");
    }
    return Py_NewRef(entry->object);
}

static int remember(thawer *t, uint32_t word, PyObject *object)
{
    memo_entry entry = {
        .object = object, .steps = t->steps, .height = t->height, .weight = t->weight};
    return ih_memo_add(t, word, entry);
}

static bool is_immutable(frame_kind kind)
{
    return kind == F_TUPLE || kind == F_FROZENSET || kind == F_WHOLE;
}

frame *ih_thaw_push(thawer *t, const ih_node *node, uint32_t word, PyObject *container,
                    frame_kind kind, uint64_t n)
{
    if (t->depth == t->room) {
        uint32_t room = t->room * 2;
        frame *grown = PyMem_Malloc(room * sizeof *grown);
        if (grown == NULL) {
            Py_DECREF(container);
            PyErr_NoMemory();
            return NULL;
        }
        memcpy(grown, t->frames, t->depth * sizeof *grown);
        if (t->frames != t->inline_frames)
            PyMem_Free(t->frames);
        t->frames = grown;
        t->room = room;
    }
    frame *f = &t->frames[t->depth];
    uint32_t below = t->depth ? t->frames[t->depth - 1].mutable_at : 0;
    t->depth++;
    *f = (frame){.container = container,
                 .in = t->here,
                 .n = n,
                 .at = (int64_t)node->data,
                 .stride = 4,
                 .kind = (uint8_t)kind};
    f->mutable_at = is_immutable(kind) ? below : t->depth;
    if (node->shared && word != 0) {
        memo_entry entry = {.frame = t->depth,
                            .object = kind == F_FROZENSET || kind == F_WHOLE ? NULL : container};
        if (ih_memo_add(t, word, entry) < 0)
            return NULL; /* the frame owns the container */
        f->word = word;
    }
    return f;
}

#ifndef Py_GIL_DISABLED
/* Private, but there since 3.3. Where an interpreter no longer exports it the address is NULL. */
extern PyObject *_PyDict_NewPresized(Py_ssize_t minused)
    __attribute__((weak, visibility("default")));
#define new_dict(n) \
    (_PyDict_NewPresized != NULL && (n) > 5 ? _PyDict_NewPresized((Py_ssize_t)(n)) : PyDict_New())
#else
#define new_dict(n) PyDict_New()
#endif

static PyObject *make_dict(thawer *t, uint32_t word, const ih_node *node)
{
    uint64_t at = ih_word_offset(word);
    bool shaped = node->kind == IH_DICT_SHAPED;
    if (ih_thaw_spend(t, at, shaped ? 8 + node->n * 4 : 4 + node->n * 8) < 0)
        return NULL;
    PyObject *const *keys = NULL;
    if (shaped && (keys = ih_thaw_shape(t, at, node->shape, node->n)) == NULL)
        return NULL;
    PyObject *dict = new_dict(node->n);
    if (dict == NULL)
        return NULL;
    frame *f = ih_thaw_push(t, node, word, dict, shaped ? F_SHAPED : F_PAIRS,
                            shaped ? node->n : node->n * 2);
    if (f == NULL)
        return NULL;
    f->keys = keys;
    return PENDING;
}

static PyObject *make_sequence(thawer *t, uint32_t word, const ih_node *node)
{
    bool tuple = node->kind != IH_LIST;
    if (ih_thaw_spend(t, ih_word_offset(word), 4 + node->n * 4) < 0)
        return NULL;
    PyObject *made = tuple ? PyTuple_New((Py_ssize_t)node->n) : PyList_New((Py_ssize_t)node->n);
    if (made == NULL ||
        ih_thaw_push(t, node, word, made, tuple ? F_TUPLE : F_LIST, node->n) == NULL)
        return NULL;
    return PENDING;
}

static PyObject *make_set(thawer *t, uint32_t word, const ih_node *node)
{
    bool frozen = node->kind == IH_FROZENSET || node->kind == IH_FROZENSET_HASHED;
    if (ih_thaw_spend(t, ih_word_offset(word), 4 + node->n * 4) < 0)
        return NULL;
    PyObject *made = frozen ? PyFrozenSet_New(NULL) : PySet_New(NULL);
    if (made == NULL ||
        ih_thaw_push(t, node, word, made, frozen ? F_FROZENSET : F_SET, node->n) == NULL)
        return NULL;
    return PENDING;
}

/* Empty first: where memory ends, CPython's constructor of full ones drops an object that it has
 * not finished, which says so on stderr. */
static PyObject *new_bytearray(const void *data, Py_ssize_t size)
{
    PyObject *made = PyByteArray_FromStringAndSize(NULL, 0);
    if (made != NULL && PyByteArray_Resize(made, size) < 0)
        Py_CLEAR(made);
    if (made != NULL)
        memcpy(PyByteArray_AS_STRING(made), data, (size_t)size);
    return made;
}

/* What takes no frame and may be large: text, bytes, packed runs, arrays. In the memo once it is
 * made. */
static PyObject *make_run(thawer *t, uint32_t word, const ih_node *node)
{
    uint64_t at = ih_word_offset(word);
    bool tuple = node->kind != IH_LIST_PACKED && node->kind != IH_LIST_STR;
    const char *data = (const char *)t->here->image->image.base + node->data;
    uint64_t bytes = node->kind == IH_ARRAY ? node->bytes
                     : node->width          ? node->n * node->width + node->text_size
                                            : node->n;
    if (ih_thaw_spend(t, at, bytes) < 0)
        return NULL;
    PyObject *made;
    switch (node->kind) {
    case IH_STR_ASCII:
    case IH_STR_UTF8:
        made = ih_decode_text(t->here->image, (const uint8_t *)data, node->n, node->ascii, at);
        break;
    case IH_BIGINT:
        made = ih_decode(t->here->image, word);
        t->steps = 1 + (uint32_t)(node->n / 8);
        break;
    case IH_BYTES:
    case IH_BYTES_BLOB:
        made = PyBytes_FromStringAndSize(data, (Py_ssize_t)node->n);
        break;
    case IH_BYTEARRAY:
    case IH_BYTEARRAY_BLOB:
        made = new_bytearray(data, (Py_ssize_t)node->n);
        t->steps = UNHASHABLE;
        break;
    case IH_ARRAY:
        if (!t->quietly)
            ih_thaw_show(t); /* numpy's code runs, and other threads meanwhile */
        made = t->quietly ? ih_new_array(t->here->image, at, node)
                          : ih_thaw_array_node(t->here->image, at, node);
        t->steps = UNHASHABLE;
        break;
    default:
        made = ih_thaw_elements(t->here->image, node, (ih_selection){node->n, 0, 1}, tuple);
        t->steps = !tuple                     ? UNHASHABLE
                   : node->n < UNHASHABLE - 1 ? (uint32_t)node->n + 1
                                              : UNHASHABLE - 1;
        t->height = 1;
    }
    t->weight = t->steps != UNHASHABLE ? t->steps : 1;
    if (made != NULL && node->shared && remember(t, word, made) < 0)
        Py_CLEAR(made);
    return made;
}

static PyObject *make_known(thawer *t, uint32_t word, ih_node node);

/* What another image has behind a link: a copy, once, however many links lead there (H16). */
static PyObject *make_linked(thawer *t, const ih_node *link)
{
    ih_node target;
    thaw_image *back = t->here;
    ih_image_object *other = ih_follow_link(back->image, link, &target);
    if (other == NULL || ih_thaw_enter(t, other) < 0)
        return NULL;
    PyObject *made = make_known(t, link->shape, target);
    t->here = back; /* a frame that was pushed knows its own */
    return made;
}

static PyObject *make_node(thawer *t, uint32_t word)
{
    ih_node node;
    ih_fault fault;
    if (ih_read_node(&t->here->image->image, word, &node, &fault) < 0)
        return ih_raise_fault(t->here->image->state, &fault);
    if (node.kind == IH_SHORT_STR)
        return ih_thaw_short_str(t, word, node.data, node.n);
    if (node.kind == IH_LINK)
        return make_linked(t, &node);
    return make_known(t, word, node);
}

static PyObject *make_known(thawer *t, uint32_t word, ih_node node)
{
    bool number = node.kind == IH_INT64 || node.kind == IH_FLOAT || node.kind == IH_COMPLEX;
    /* Equal texts are one node wherever the encoder noticed, flagged or not. */
    node.shared |= node.kind == IH_STR_ASCII || node.kind == IH_STR_UTF8;
    node.shared |= t->here->linked && !number;
    if (node.shared) {
        PyObject *known = recall(t, word);
        if (known != NULL || PyErr_Occurred())
            return known;
    }
    const uint8_t *data = t->here->image->image.base + node.data;
    int64_t integer;
    double real;
    switch (node.kind) {
    case IH_INT64:
        memcpy(&integer, data, 8);
        return PyLong_FromLongLong(integer);
    case IH_FLOAT:
        memcpy(&real, data, 8);
        return PyFloat_FromDouble(real);
    case IH_COMPLEX:
        return ih_decode(t->here->image, word);
    case IH_LIST:
    case IH_TUPLE:
    case IH_TUPLE_VIEW:
        return make_sequence(t, word, &node);
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        return make_dict(t, word, &node);
    case IH_SET:
    case IH_SET_HASHED:
    case IH_FROZENSET:
    case IH_FROZENSET_HASHED:
        return make_set(t, word, &node);
    case IH_OBJECT:
    case IH_VALUE:
        if (t->quietly)
            return NULL; /* without an exception: code of others would have to run */
        ih_thaw_show(t);
        return node.kind == IH_OBJECT ? ih_thaw_object(t, word, &node)
                                      : ih_thaw_value_node(t, word, &node);
    case IH_SHAPE:
    case IH_LAYOUT:
        return ih_thaw_fault(t, ih_word_offset(word), "a value cannot be of this kind of node");
    default:
        return make_run(t, word, &node);
    }
}

/* What a word stands for, or PENDING. */
static inline PyObject *make(thawer *t, uint32_t word)
{
    t->steps = t->weight = 1;
    t->height = 0;
    if (ih_word_is_int(word))
        return PyLong_FromLong((long)ih_word_int(word));
    switch (word) {
    case IH_NONE:
        return Py_NewRef(Py_None);
    case IH_FALSE:
        return Py_NewRef(Py_False);
    case IH_TRUE:
        return Py_NewRef(Py_True);
    default:
        return ih_word_is_constant(word) ? ih_decode(t->here->image, word) : make_node(t, word);
    }
}

/* ---- frames ---- */

/* May the value made last be hashed? */
static int check_key(thawer *t, const frame *f)
{
    const char *reason = NULL;
    if (t->steps == UNHASHABLE)
        reason = "an unhashable key";
    else if (t->height > KEY_HEIGHT_MAX)
        reason = "a key nested too deeply";
    else if (t->steps > t->steps_left)
        reason = "keys that take too long to hash";
    if (reason != NULL) {
        ih_thaw_fault(t, (uint64_t)(f->at - f->stride), reason);
        return -1;
    }
    if (t->steps > 1)
        t->steps_left -= t->steps;
    /* Keys chosen to collide make Python's own tables slow, so one can at least interrupt it. */
    if (++t->keys_hashed % SIGNALS_EVERY != 0 || t->quietly)
        return 0;
    ih_thaw_show(t);
    return PyErr_CheckSignals();
}

/* An immutable container hashes its items: sums for its own key check. */
static void count_item(const thawer *t, frame *f)
{
    if (__builtin_add_overflow(f->weight, t->weight, &f->weight))
        f->weight = UINT32_MAX;
    if (f->steps == UNHASHABLE)
        return;
    uint64_t steps = (uint64_t)f->steps + t->steps;
    f->steps = t->steps == UNHASHABLE   ? UNHASHABLE
               : steps < UNHASHABLE - 1 ? (uint32_t)steps
                                        : UNHASHABLE - 1;
    if (t->height > f->height)
        f->height = t->height;
}

/* Puts a value into its container. Takes over the value. */
static inline int accept(thawer *t, frame *f, PyObject *value)
{
    int result = 0;
    switch ((frame_kind)f->kind) {
    case F_WHOLE:
        count_item(t, f); /* fall through */
    case F_LIST:
        if (f->shown)
            return PyList_SetItem(f->container, (Py_ssize_t)f->i++, value);
        PyList_SET_ITEM(f->container, (Py_ssize_t)f->i++, value);
        return 0;
    case F_TUPLE:
        count_item(t, f);
        if (f->shown)
            Py_DECREF(PyTuple_GET_ITEM(f->container, (Py_ssize_t)f->i)); /* None */
        PyTuple_SET_ITEM(f->container, (Py_ssize_t)f->i++, value);
        return 0;
    case F_OBJECT:
        result = ih_thaw_store(t, f, value);
        break;
    case F_SHAPED:
        result = PyDict_SetItem(f->container, f->keys[f->i++], value);
        break;
    case F_PAIRS:
        if (f->i++ % 2 == 0) {
            f->key = value;
            return check_key(t, f);
        }
        result = PyDict_SetItem(f->container, f->key, value);
        Py_CLEAR(f->key);
        break;
    case F_FROZENSET:
        count_item(t, f); /* fall through */
    case F_SET:
        f->i++;
        result = check_key(t, f);
        if (result == 0)
            result = PySet_Add(f->container, value);
        break;
    }
    Py_DECREF(value);
    return result;
}

/* A frame lies on top. What is handed over unfilled (thaw_whole.c), or NULL. */
static PyObject *pushed(thawer *t)
{
    const frame *top = &t->frames[t->depth - 1];
    if (top->kind == F_WHOLE)
        ih_thaw_count_whole(t, top, true);
    return t->made > 0 ? ih_thaw_defer(t) : NULL;
}

/* Goes on filling the top frame. 0: full; 1: a frame lies on top of it now; -1. */
static int fill(thawer *t)
{
    frame *f = &t->frames[t->depth - 1];
    t->here = f->in;
    const uint8_t *base = t->here->image->image.base;
    while (f->i < f->n) {
        uint32_t word = ih_load_word(base + f->at);
        f->at += f->stride;
        PyObject *value = make(t, word);
        if (value == PENDING) {
            value = pushed(t);
            if (value == NULL)
                return PyErr_Occurred() ? -1 : 1;
            f = &t->frames[t->depth - 1]; /* they may have moved */
        }
        if (value == NULL || accept(t, f, value) < 0)
            return -1;
    }
    return 0;
}

/* Takes a full frame off; the reference goes to the caller. */
static PyObject *pop(thawer *t)
{
    frame *f = &t->frames[--t->depth];
    PyObject *made = f->container;
    bool hashable = f->kind == F_TUPLE || f->kind == F_FROZENSET;
    t->steps =
        !hashable || f->steps == UNHASHABLE ? UNHASHABLE : f->steps + (f->steps < UNHASHABLE - 1);
    t->height = f->height + 1;
    if (f->layout != NULL || f->kind == F_WHOLE) {
        frame done = *f; /* what is made may run code, but not in this thaw */
        if (done.kind == F_WHOLE) {
            ih_thaw_count_whole(t, &done, false);
            ih_thaw_show(t);
            if (ih_thaw_check_weight(t, &done) < 0)
                Py_CLEAR(made);
            else
                made = ih_thaw_finish(&done, made);
        }
        Py_CLEAR(done.key);
        Py_XDECREF((PyObject *)done.layout);
        if (made == NULL)
            return NULL;
        t->steps = ih_thaw_hash_steps(made);
        t->height = 1;
    }
    t->weight = is_immutable((frame_kind)f->kind) ? f->weight + (f->weight < UINT32_MAX) : 1;
#if PY_VERSION_HEX >= 0x030E0000
    if (f->kind == F_TUPLE && f->shown)
        ((PyTupleObject *)made)->ob_hash = -1; /* it was another one when it was hashed */
#endif
    if (f->word != 0) {
        memo_entry *entry = ih_memo_find(t, f->word);
        if (entry->object == NULL)
            entry->object = Py_NewRef(made);
        entry->frame = 0;
        entry->weight = t->weight;
        entry->steps = t->steps;
        entry->height = t->height;
    }
    return made;
}

/* Until `value`, or what it is pending for, is complete. */
static PyObject *run(thawer *t, PyObject *value)
{
    while (value == PENDING || (value != NULL && t->depth > 0)) {
        if (value != PENDING && accept(t, &t->frames[t->depth - 1], value) < 0)
            return NULL;
        int result = fill(t);
        if (result < 0)
            return NULL;
        value = result > 0 ? PENDING : pop(t);
    }
    return value;
}

static PyObject *walk(thawer *t, PyObject *value)
{
    if (value == PENDING && t->frames[0].kind == F_WHOLE)
        ih_thaw_count_whole(t, &t->frames[0], true);
    value = run(t, value);
    while (value != NULL && ih_thaw_resume(t)) {
        PyObject *filled = run(t, PENDING);
        if (filled == NULL)
            Py_CLEAR(value);
        Py_XDECREF(filled);
    }
    return value;
}

/* ---- the beginning and the end ---- */

/* A slice: a new list or tuple of a part of the node. */
static PyObject *make_slice(thawer *t, const ih_sequence *view)
{
    ih_node node;
    ih_fault fault;
    if (ih_read_node(&t->here->image->image, (uint32_t)(view->at / 2), &node, &fault) < 0)
        return ih_raise_fault(t->here->image->state, &fault);
    int64_t last = view->start + (view->n ? (int64_t)(view->n - 1) * view->step : 0);
    if (node.kind != view->kind ||
        (view->n && ((uint64_t)view->start >= node.n || (uint64_t)last >= node.n)))
        return ih_thaw_fault(t, view->at, "node changed while it was read");
    bool tuple = view->kind != IH_LIST && view->kind != IH_LIST_PACKED && view->kind != IH_LIST_STR;
    if (view->kind != IH_LIST && view->kind != IH_TUPLE_VIEW)
        return ih_thaw_elements(t->here->image, &node,
                                (ih_selection){view->n, view->start, view->step}, tuple);
    PyObject *made = tuple ? PyTuple_New((Py_ssize_t)view->n) : PyList_New((Py_ssize_t)view->n);
    if (made == NULL)
        return NULL;
    frame *f = ih_thaw_push(t, &node, 0, made, tuple ? F_TUPLE : F_LIST, view->n);
    if (f == NULL)
        return NULL;
    f->at += 4 * view->start;
    f->stride = 4 * view->step;
    return PENDING;
}

PyObject *ih_thaw_container(const ih_state *state, PyObject *object, bool quietly)
{
    const ih_view *view = (const ih_view *)object;
    thawer t;
    if (ih_thaw_start(&t, view->image) < 0)
        return NULL;
    t.quietly = quietly;
#ifndef Py_GIL_DISABLED
    int collecting = PyGC_Disable();
#endif
    bool sequence = Py_TYPE(object) == state->list_type || Py_TYPE(object) == state->tuple_type;
    PyObject *value = sequence && !((const ih_sequence *)object)->whole
                          ? make_slice(&t, (const ih_sequence *)object)
                          : make(&t, (uint32_t)(view->at / 2));
    value = walk(&t, value);
    ih_thaw_stop(&t);
#ifndef Py_GIL_DISABLED
    if (collecting)
        PyGC_Enable();
#endif
    return value;
}
