/* What thaw remembers by the word of a node: shared objects, keys of shapes, short strings. */
#include "module/thaw_state.h"

/* ---- tables by word ---- */

static uint32_t word_slot(uint32_t word)
{
    return (uint32_t)((uint64_t)word * 0x9e3779b97f4a7c15u >> 32);
}

/* The entry of `word`, or the empty one where it belongs. */
memo_entry *ih_memo_find(thawer *t, uint32_t word)
{
    uint32_t i = word_slot(word) & t->here->memo_mask;
    while (t->here->memo[i].word != 0 && t->here->memo[i].word != word)
        i = (i + 1) & t->here->memo_mask;
    return &t->here->memo[i];
}

int ih_memo_add(thawer *t, uint32_t word, memo_entry entry)
{
    if (t->here->memo_used * 2 >= t->here->memo_mask) { /* the first time too: 0 >= 0 */
        memo_entry *old = t->here->memo;
        uint32_t old_size = old ? t->here->memo_mask + 1 : 0, size = old ? old_size * 2 : 64;
        memo_entry *grown = PyMem_Calloc(size, sizeof *grown);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        t->here->memo = grown;
        t->here->memo_mask = size - 1;
        for (uint32_t i = 0; i < old_size; i++)
            if (old[i].word != 0)
                *ih_memo_find(t, old[i].word) = old[i];
        PyMem_Free(old);
    }
    entry.word = word;
    Py_XINCREF(entry.object);
    *ih_memo_find(t, word) = entry;
    t->here->memo_used++;
    return 0;
}

/* ---- strings and shapes ---- */

PyObject *ih_thaw_short_str(thawer *t, uint32_t word, uint64_t data, uint64_t n)
{
    str_entry *entry = &t->here->strs[(word >> 1) & t->here->strs_mask];
    if (entry->word == word)
        return Py_NewRef(entry->str);
    PyObject *str =
        ih_decode_text(t->here->image, t->here->image->image.base + data, n, true, data - 1);
    if (str == NULL)
        return NULL;
    Py_XSETREF(entry->str, Py_NewRef(str));
    entry->word = word;
    return str;
}

/* Only text is followed here: anything else would be recursion without a bound. */
static PyObject *decode_key(thawer *t, uint32_t word, uint64_t where)
{
    ih_node node;
    ih_fault fault;
    if (word == IH_EMPTY_STR)
        return PyUnicode_New(0, 0);
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        return ih_thaw_fault(t, where, "a shape's key is not a string");
    if (ih_read_node(&t->here->image->image, word, &node, &fault) < 0)
        return ih_raise_fault(t->here->image->state, &fault);
    if (node.kind != IH_SHORT_STR && node.kind != IH_STR_ASCII && node.kind != IH_STR_UTF8)
        return ih_thaw_fault(t, where, "a shape's key is not a string");
    if (node.kind == IH_SHORT_STR)
        return ih_thaw_short_str(t, word, node.data, node.n);
    memo_entry *known = t->here->memo ? ih_memo_find(t, word) : NULL;
    /* It may have been something else when it was met. */
    if (known != NULL && known->word != 0 && known->object != NULL &&
        PyUnicode_CheckExact(known->object))
        return Py_NewRef(known->object);
    if (known != NULL && known->word != 0)
        return ih_thaw_fault(t, where, "a shape's key is not a string");
    PyObject *text = ih_thaw_spend(t, where, node.n) < 0 ? NULL : ih_decode(t->here->image, word);
    if (text != NULL && ih_memo_add(t, word, (memo_entry){.object = text, .steps = 1}) < 0)
        Py_CLEAR(text);
    return text;
}

static int decode_keys(thawer *t, const ih_node *shape, PyObject **keys)
{
    const uint8_t *words = t->here->image->image.base + shape->data;
    for (uint64_t i = 0; i < shape->n; i++) {
        keys[i] = decode_key(t, ih_load_word(words + 4 * i), shape->data + 4 * i);
        if (keys[i] == NULL)
            return -1;
    }
    return 0;
}

static shape_entry *shape_find(thawer *t, uint32_t word)
{
    uint32_t i = word_slot(word) & t->here->shapes_mask;
    while (t->here->shapes[i].word != 0 && t->here->shapes[i].word != word)
        i = (i + 1) & t->here->shapes_mask;
    return &t->here->shapes[i];
}

static int shapes_grow(thawer *t)
{
    shape_entry *old = t->here->shapes;
    uint32_t old_size = old ? t->here->shapes_mask + 1 : 0, size = old ? old_size * 2 : 16;
    shape_entry *grown = PyMem_Calloc(size, sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    t->here->shapes = grown;
    t->here->shapes_mask = size - 1;
    for (uint32_t i = 0; i < old_size; i++)
        if (old[i].word != 0)
            *shape_find(t, old[i].word) = old[i];
    PyMem_Free(old);
    return 0;
}

PyObject *const *ih_thaw_shape(thawer *t, uint64_t at, uint32_t word, uint64_t n)
{
    if (t->here->shapes_used * 2 >= t->here->shapes_mask && shapes_grow(t) < 0)
        return NULL;
    shape_entry *entry = word ? shape_find(t, word) : NULL;
    if (entry == NULL || entry->word == 0) {
        ih_node shape;
        ih_fault fault;
        if (ih_word_is_int(word) || ih_word_is_constant(word)) {
            ih_thaw_fault(t, at, "shape is not a node");
            return NULL;
        }
        if (ih_read_node(&t->here->image->image, word, &shape, &fault) < 0) {
            ih_raise_fault(t->here->image->state, &fault);
            return NULL;
        }
        if (shape.kind != IH_SHAPE || shape.n > UINT32_MAX) {
            ih_thaw_fault(t, at, "shape is not a shape");
            return NULL;
        }
        if (ih_thaw_spend(t, ih_word_offset(word), 4 + shape.n * 4) < 0)
            return NULL;
        PyObject **keys = PyMem_Calloc(shape.n + 1, sizeof *keys);
        if (keys == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        *entry = (shape_entry){word, (uint32_t)shape.n, keys}; /* from here on cleanup sees it */
        t->here->shapes_used++;
        if (decode_keys(t, &shape, keys) < 0)
            return NULL;
    }
    if (entry->n != n) {
        ih_thaw_fault(t, at, "shape does not fit its dict");
        return NULL;
    }
    return entry->keys;
}

/* ---- the beginning and the end ---- */

static int open_image(thaw_image *here, ih_image_object *image)
{
    here->image = image;
    here->left = image->image.size;
    here->strs = here->inline_strs;
    uint32_t strs = STRS_INLINE;
    while (strs < STRS_MAX && strs < image->image.graph / 64)
        strs *= 2;
    if (strs > STRS_INLINE) {
        here->strs = PyMem_Calloc(strs, sizeof *here->strs);
        if (here->strs == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    here->strs_mask = strs - 1;
    return 0;
}

static void close_image(thaw_image *here)
{
    for (uint32_t i = 0; here->memo != NULL && i <= here->memo_mask; i++)
        Py_XDECREF(here->memo[i].object);
    PyMem_Free(here->memo);
    for (uint32_t i = 0; here->shapes != NULL && i <= here->shapes_mask; i++) {
        for (uint32_t k = 0; k < here->shapes[i].n; k++)
            Py_XDECREF(here->shapes[i].keys[k]);
        PyMem_Free(here->shapes[i].keys);
    }
    PyMem_Free(here->shapes);
    for (uint32_t i = 0; here->strs != NULL && i <= here->strs_mask; i++)
        Py_XDECREF(here->strs[i].str);
    if (here->strs != here->inline_strs)
        PyMem_Free(here->strs);
}

static thaw_image *add_image(thawer *t, ih_image_object *image)
{
    if (t->others_count == t->others_room) {
        uint32_t room = t->others_room * 2 + 8;
        thaw_image **grown = PyMem_Realloc(t->others, room * sizeof(thaw_image *));
        if (grown == NULL)
            return NULL;
        t->others = grown;
        t->others_room = room;
    }
    thaw_image *here = PyMem_Calloc(1, sizeof *here);
    if (here == NULL)
        return NULL;
    t->others[t->others_count++] = here;
    here->linked = true;
    t->steps_left += image->image.graph;
    return here;
}

int ih_thaw_enter(thawer *t, ih_image_object *image)
{
    bool fresh = false;
    int64_t number = ih_merge_member_of(&t->met, image->image.base, (PyObject *)image, &fresh);
    if (number < 0)
        return -1;
    if (!fresh) {
        if (number >= t->others_count) /* memory ended when it was met */
            return PyErr_NoMemory(), -1;
        t->here = t->others[number];
        return 0;
    }
    thaw_image *here = add_image(t, image);
    if (here == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (open_image(here, image) < 0)
        return -1;
    t->here = here;
    return 0;
}

int ih_thaw_start(thawer *t, ih_image_object *image)
{
    *t = (thawer){.room = FRAMES_INLINE};
    t->here = &t->first;
    t->frames = t->inline_frames;
    t->steps_left = KEY_STEPS_FREE + image->image.graph;
    return open_image(&t->first, image);
}

void ih_thaw_stop(thawer *t)
{
    for (uint32_t i = 0; i < t->depth; i++)
        ih_thaw_drop(&t->frames[i]);
    for (uint32_t i = 0; i < t->deferred_count; i++)
        ih_thaw_drop(&t->deferred[i]);
    PyMem_Free(t->deferred);
    if (t->frames != t->inline_frames)
        PyMem_Free(t->frames);
    for (uint32_t i = 0; i < t->others_count; i++) {
        close_image(t->others[i]);
        PyMem_Free(t->others[i]);
    }
    PyMem_Free(t->others);
    close_image(&t->first);
    ih_merge_free(&t->met);
}
