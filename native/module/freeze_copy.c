/* Freezing views: their nodes are copied from image to image, without an object in between, so that
 * nothing is resolved, made or run on the way and what can't be made here passes through.
 *
 * A loop over tasks, each a word to be copied and the place that waits for the copy, so depth costs
 * heap and no C stack. Every node that was copied is remembered, so each image is copied once at
 * most, whatever leads where in it. Links are followed, and what lies behind them is copied like
 * the rest (H16). What another process wrote is checked as all readers check it; what a copy says
 * is checked again by who reads it.
 *
 * What an image of another user says about classes and code must not become the word of an image of
 * ours, which is believed (H20, H21): only what its reader vouched for is copied into a store. */
#include "image/utf8.h"
#include "module/decode.h"
#include "module/freezer_state.h"
#include "module/hooks.h"
#include "module/image_object.h"
#include "module/link.h"

typedef struct {
    uint32_t word, copy; /* 0: an empty slot */
} copied_node;

/* An image that is copied from. */
typedef struct {
    ih_image_object *image; /* kept */
    copied_node *nodes;
    uint32_t mask, count;
    uint64_t left; /* bytes of nodes still to be met: honest ones are no larger than their image */
} source;

typedef struct {
    uint64_t to; /* where the copy's word goes */
    uint32_t source, word;
} task;

struct freeze_copies {
    source *sources;
    uint32_t source_count, source_capacity;
    task *tasks;
    uint64_t task_count, task_capacity;
    PyObject *view; /* borrowed: what is being frozen */
};

static int fault_at(const ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(image->state, &fault);
    return -1;
}

/* ---- what is known -------------------------------------------------------------------------- */

/* The same bytes, trusted with the same: each link opens its target anew, so circles of links never
 * come back to the object that they began with. 1, 0, -1. */
static int is_source(const ih_image_object *known, const ih_image_object *image)
{
    if (known == image)
        return 1;
    if (known->image.base != image->image.base || known->given != image->given)
        return 0;
    return image->given ? PyObject_RichCompareBool(known->trust, image->trust, Py_EQ) : 1;
}

static int64_t source_of(freezer *f, ih_image_object *image)
{
    struct freeze_copies *c = f->copies;
    /* Comparing trusts, and handing one on to what is behind a link, is Python code. */
    if (image->given && !f->careful)
        return freeze_again(f, NULL);
    for (uint32_t i = c->source_count; i-- > 0;) {
        int known = is_source(c->sources[i].image, image);
        if (known != 0)
            return known < 0 ? -1 : (int64_t)i;
    }
    if (c->source_count == c->source_capacity) {
        uint32_t capacity = c->source_capacity * 2 + 4;
        source *grown = realloc(c->sources, capacity * sizeof *grown);
        if (grown == NULL)
            return freeze_failed(IH_WRITE_MEMORY);
        c->sources = grown;
        c->source_capacity = capacity;
    }
    copied_node *nodes = calloc(64, sizeof *nodes);
    if (nodes == NULL)
        return freeze_failed(IH_WRITE_MEMORY);
    if (freeze_keep(f, Py_NewRef((PyObject *)image)) < 0) {
        free(nodes);
        return -1;
    }
    c->sources[c->source_count] = (source){image, nodes, 63, 0, image->image.size};
    return c->source_count++;
}

static copied_node *find_node(const source *s, uint32_t word)
{
    uint32_t slot = (uint32_t)(word * 0x9e3779b97f4a7c15u >> 32) & s->mask;
    while (s->nodes[slot].word != 0 && s->nodes[slot].word != word)
        slot = (slot + 1) & s->mask;
    return &s->nodes[slot];
}

static int remember(source *s, uint32_t word, uint32_t copy)
{
    if (s->count * 2 > s->mask) {
        source grown = {s->image, NULL, s->mask * 4 + 3, s->count, s->left};
        grown.nodes = calloc((size_t)grown.mask + 1, sizeof *grown.nodes);
        if (grown.nodes == NULL)
            return freeze_failed(IH_WRITE_MEMORY);
        for (uint32_t i = 0; i <= s->mask; i++)
            if (s->nodes[i].word != 0)
                *find_node(&grown, s->nodes[i].word) = s->nodes[i];
        free(s->nodes);
        *s = grown;
    }
    *find_node(s, word) = (copied_node){word, copy};
    s->count++;
    return 0;
}

static int push(struct freeze_copies *c, uint32_t from, uint32_t word, uint64_t to)
{
    if (c->task_count == c->task_capacity) {
        uint64_t capacity = c->task_capacity * 2 + 64;
        task *grown = realloc(c->tasks, capacity * sizeof *grown);
        if (grown == NULL)
            return freeze_failed(IH_WRITE_MEMORY);
        c->tasks = grown;
        c->task_capacity = capacity;
    }
    c->tasks[c->task_count++] = (task){to, from, word};
    return 0;
}

/* Pays for a node: of overlapping ones a copy would be larger than all memory. */
static int spend(freezer *f, uint32_t from, uint64_t at, const ih_node *node)
{
    source *s = &f->copies->sources[from];
    uint64_t bytes = freeze_node_bytes(node);
    if (bytes > s->left)
        return fault_at(s->image, at, "nodes overlap");
    s->left -= bytes;
    return 0;
}

/* Tasks for `n` words, the first on top, so that copies lie in the order in which they are read. */
static int push_run(freezer *f, uint32_t from, const uint8_t *words, int64_t stride, uint64_t n,
                    uint64_t to)
{
    for (uint64_t i = n; i-- > 0;)
        if (push(f->copies, from, ih_load_word(words + (int64_t)i * stride), to + 4 * i) < 0)
            return -1;
    return 0;
}

/* ---- nodes without words -------------------------------------------------------------------- */

/* Text is copied before it is looked at, since its producer may still be writing it. */
static int copy_text(freezer *f, const ih_image_object *image, uint64_t at, const ih_node *node,
                     uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t n = node->n;
    if (n == 0)
        return *word = IH_EMPTY_STR, 0;
    int result = ih_room(w, 2 * n + 256);
    if (result < 0)
        return freeze_failed(result);
    uint8_t *text = w->bytes + w->size + n + 32;
    memcpy(text, image->image.base + node->data, n);
    bool ascii = ih_is_ascii(text, n);
    if (node->ascii ? !ascii : !ih_is_utf8(text, n))
        return fault_at(image, at,
                        node->ascii ? "text that is not ASCII" : "text that is not UTF-8");
    bool known = n <= 96 && ih_remembering_pays(w, n);
    uint64_t hash = known ? ih_hash_bytes(text, n, IH_DOMAIN_STR, 0) : 0;
    result = ih_write_str(w, text, n, ascii, hash, known, word);
    return result < 0 ? freeze_failed(result) : 0;
}

static int copy_bytes(freezer *f, ih_kind kind, const uint8_t *data, uint64_t n, uint64_t count,
                      uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t at = 0;
    int result = ih_begin_node(w, kind, count, n, &at);
    if (result < 0)
        return freeze_failed(result);
    memcpy(w->bytes + w->size, data, n);
    w->size += n;
    ih_pad4(w);
    *word = ih_word_at(at);
    return 0;
}

static int copy_blob(freezer *f, const ih_image_object *image, const ih_node *node, uint32_t *word)
{
    ih_writer *w = &f->writer;
    Py_buffer buffer;
    uint64_t at = 0;
    int result = ih_begin_node(w, (ih_kind)node->kind, 0, 16, &at);
    if (result < 0)
        return freeze_failed(result);
    ih_store64(w->bytes + w->size + 8, node->n);
    w->size += 16;
    *word = ih_word_at(at);
    if (PyBuffer_FillInfo(&buffer, (PyObject *)(uintptr_t)image,
                          (void *)(uintptr_t)(image->image.base + node->data), (Py_ssize_t)node->n,
                          1, PyBUF_SIMPLE) < 0)
        return -1;
    return freeze_add_blob(f, w->size - 16, &buffer);
}

static int copy_packed(freezer *f, const ih_image_object *image, const ih_node *node,
                       uint32_t *word)
{
    uint64_t at, data;
    int result = ih_write_packed(&f->writer, (ih_kind)node->kind, node->code, node->n, &at, &data);
    if (result < 0)
        return freeze_failed(result);
    memcpy(f->writer.bytes + data, image->image.base + node->data, node->n * node->width);
    *word = ih_word_at(at);
    return 0;
}

static int copy_run(freezer *f, const ih_image_object *image, const ih_node *node, uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t ends = node->n * node->width, padded = (ends + 3) & ~(uint64_t)3, at = 0;
    int result =
        ih_begin_node(w, (ih_kind)node->kind, node->n, 8 + padded + node->text_size + 4, &at);
    if (result < 0)
        return freeze_failed(result);
    uint8_t *p = w->bytes + w->size;
    ih_store32(p, node->width | (node->ascii ? 0x100u : 0));
    ih_store32(p + 4, (uint32_t)node->text_size);
    memcpy(p + 8, image->image.base + node->data, ends);
    memset(p + 8 + ends, 0, padded - ends);
    memcpy(p + 8 + padded, image->image.base + node->text, node->text_size);
    w->size += 8 + padded + node->text_size;
    ih_pad4(w);
    *word = ih_word_at(at);
    return 0;
}

static int copy_array(freezer *f, ih_image_object *image, uint64_t at, const ih_node *node,
                      uint32_t *word)
{
    PyObject *view = ih_new_array(image, at, node);
    int result = view == NULL ? -1 : freeze_keep(f, view);
    return result < 0 ? -1 : freeze_array_view(f, view, word);
}

/* ---- nodes with words ----------------------------------------------------------------------- */

/* A header, `fixed` words, a table if there is one, and `n` words from the node's data. */
static int copy_words(freezer *f, uint32_t from, const ih_node *node, uint32_t fixed, uint64_t n,
                      uint64_t *at)
{
    ih_writer *w = &f->writer;
    const uint8_t *base = f->copies->sources[from].image->image.base;
    int result = ih_begin_node(w, (ih_kind)node->kind, node->n, 4 * (fixed + n), at);
    if (result == 0 && node->table != 0) {
        uint64_t table = 0;
        bool same =
            node->capacity == ih_table_capacity(node->n) && node->width == ih_slot_width(node->n);
        result = ih_begin_table(w, node->n, same ? node->seed : IH_NO_TABLE, &table);
        if (result == 0 && same)
            memcpy(w->bytes + table + 8, base + node->table,
                   (uint64_t)node->capacity * node->width);
    }
    if (result == 0)
        result = ih_room(w, 4 * (fixed + n) + 16);
    if (result < 0)
        return freeze_failed(result);
    uint64_t to = w->size + 4 * fixed;
    memset(w->bytes + w->size, 0, 4 * (fixed + n));
    w->size = to + 4 * n;
    return push_run(f, from, base + node->data, 4, n, to);
}

/* ---- trust ---------------------------------------------------------------------------------- */

/* Codes of values that are nothing but data (store/freezing/codes.py). */
static bool is_harmless(uint64_t code) { return (code >= 4 && code <= 18) || code == 24; }

#define CODE_ENUM 3u

static int refuse_image(freezer *f)
{
    return freeze_refuse(f, f->copies->view,
                         "its image is of another user or from a file, and names classes or code "
                         "that would be trusted in an image of yours; name the classes in "
                         "allow_classes= when you get it, or thaw it first");
}

/* Whether the class that is named by the first two words of a payload was vouched for. Its names,
 * as they were read: what lies there may change. NULL with an exception or f->offender. */
static PyObject *check_class(freezer *f, ih_image_object *image, uint32_t payload, PyObject *trust,
                             ih_node *node)
{
    ih_fault fault = {0, "a class without a name"};
    if (ih_word_is_int(payload) || ih_word_is_constant(payload) ||
        ih_read_node(&image->image, payload, node, &fault) < 0)
        return fault_at(image, fault.offset, fault.reason), NULL;
    if (node->kind != IH_TUPLE || node->n < 2)
        return fault_at(image, ih_word_offset(payload), "a class without a name"), NULL;
    const uint8_t *words = image->image.base + node->data;
    PyObject *hook = ih_hook_of(f->state, IH_HOOK_RESOLVE_CLASS), *class = NULL;
    PyObject *module = hook == NULL ? NULL : ih_decode(image, ih_load_word(words));
    PyObject *name = module == NULL ? NULL : ih_decode(image, ih_load_word(words + 4));
    if (name != NULL && PyUnicode_CheckExact(module) && PyUnicode_CheckExact(name))
        class = PyObject_CallFunctionObjArgs(hook, module, name, trust, Py_None, NULL);
    else if (name != NULL)
        fault_at(image, ih_word_offset(payload), "a class without a name");
    PyObject *names = NULL;
    if (class == Py_None)
        (void)refuse_image(f);
    else if (class != NULL)
        names = PyTuple_Pack(2, module, name);
    Py_XDECREF(module);
    Py_XDECREF(name);
    Py_XDECREF(class);
    return names;
}

/* A member of an enumeration whose class is called by these names, as they were looked at; the rest
 * of its payload is copied. */
static int copy_member(freezer *f, uint32_t from, const ih_node *payload, PyObject *names,
                       uint32_t *copy)
{
    ih_writer *w = &f->writer;
    const uint8_t *words = f->copies->sources[from].image->image.base + payload->data;
    uint64_t at = 0, n = payload->n;
    uint32_t parts[2], tuple;
    if (freeze_str(f, PyTuple_GET_ITEM(names, 0), true, &parts[0], NULL) < 0 ||
        freeze_str(f, PyTuple_GET_ITEM(names, 1), true, &parts[1], NULL) < 0)
        return -1;
    int result = ih_begin_node(w, IH_TUPLE, n, 4 * n, &at);
    if (result < 0)
        return freeze_failed(result);
    tuple = ih_word_at(at);
    uint64_t to = w->size;
    memset(w->bytes + to, 0, 4 * n);
    w->size += 4 * n;
    ih_put_word(w, to, parts[0]);
    ih_put_word(w, to + 4, parts[1]);
    result = ih_begin_node(w, IH_VALUE, CODE_ENUM, 4, &at);
    if (result < 0)
        return freeze_failed(result);
    ih_put_word(w, w->size, tuple);
    w->size += 4;
    *copy = ih_word_at(at);
    return push_run(f, from, words + 8, 4, n - 2, to + 8);
}

/* 1: it was written as *copy, without what nobody vouched for: a class's definition, names that
 * have changed since. 0: it may be copied. */
static int check_value(freezer *f, uint32_t from, const ih_node *node, uint32_t *copy)
{
    ih_image_object *image = f->copies->sources[from].image;
    if (!f->lasting || (image->lease != NULL && image->lease->trusted) || is_harmless(node->n))
        return 0;
    if (!f->careful)
        return freeze_again(f, NULL);
    PyObject *trust = ih_image_trust(image);
    int vouched = trust == NULL ? -1 : ih_trust_has_code(trust);
    if (vouched != 0)
        return vouched < 0 ? -1 : 0;
    if (node->n != IH_VALUE_CLASS && node->n != CODE_ENUM)
        return refuse_image(f);
    Py_INCREF(trust);
    uint64_t third;
    ih_node payload;
    PyObject *names = check_class(f, image, node->shape, trust, &payload);
    int result = names == NULL ? -1 : 0;
    if (result == 0 && node->n == IH_VALUE_CLASS)
        result = freeze_class_names(f, names, 2, &third, copy);
    else if (result == 0 && spend(f, from, ih_word_offset(node->shape), &payload) == 0)
        result = copy_member(f, from, &payload, names, copy);
    else
        result = -1;
    Py_XDECREF(names);
    Py_DECREF(trust);
    return result < 0 ? -1 : 1;
}

/* ---- cells ---------------------------------------------------------------------------------- */

/* What a cell holds is not in the image: it is asked for what it is now, and for whom (H16). Of an
 * image that is not ours it has no cell, and is what it was. 1: it is to be copied as it is. */
static int copy_cell(freezer *f, ih_image_object *image, uint32_t word, uint32_t *copy)
{
    f->cells = true;
    if (image->lease == NULL || !image->lease->trusted)
        return 1;
    if (!f->careful)
        return freeze_again(f, NULL);
    __atomic_sub_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
    PyObject *field = ih_decode(image, word);
    __atomic_add_fetch(&f->state->freezing, 1, __ATOMIC_RELAXED);
    if (field == NULL || freeze_keep(f, field) < 0)
        return -1;
    return freeze_value(f, field, 1, copy);
}

/* ---- one node ------------------------------------------------------------------------------- */

static int copy_node(freezer *f, uint32_t from, uint32_t word, const ih_node *node, uint32_t *copy)
{
    ih_image_object *image = f->copies->sources[from].image;
    const uint8_t *data = image->image.base + node->data;
    uint64_t at = 0, n = node->n, offset = ih_word_offset(word);
    int result;
    if (spend(f, from, offset, node) < 0)
        return -1;
    switch (node->kind) {
    case IH_SHORT_STR:
    case IH_STR_ASCII:
    case IH_STR_UTF8:
        return copy_text(f, image, offset, node, copy);
    case IH_INT64:
    case IH_FLOAT:
        return copy_bytes(f, (ih_kind)node->kind, data, 8, 0, copy);
    case IH_COMPLEX:
        return copy_bytes(f, IH_COMPLEX, data, 16, 0, copy);
    case IH_BIGINT:
    case IH_BYTES:
    case IH_BYTEARRAY:
        return copy_bytes(f, (ih_kind)node->kind, data, n, n, copy);
    case IH_BYTES_BLOB:
    case IH_BYTEARRAY_BLOB:
        return copy_blob(f, image, node, copy);
    case IH_LIST_PACKED:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_VIEW_PACKED:
        return copy_packed(f, image, node, copy);
    case IH_LIST_STR:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW_STR:
        return copy_run(f, image, node, copy);
    case IH_ARRAY:
        return copy_array(f, image, offset, node, copy);
    case IH_DICT_SHAPED:
    case IH_OBJECT:
        result = copy_words(f, from, node, 1, n, &at);
        if (result == 0)
            result = push(f->copies, from, node->shape, at + (n >= IH_COUNT_WIDE ? 12 : 4));
        break;
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        result = copy_words(f, from, node, 0, 2 * n, &at);
        break;
    case IH_LAYOUT:
        result = copy_words(f, from, node, 3, 0, &at);
        if (result < 0)
            return -1;
        ih_put_word(&f->writer, at + 8, node->seed);
        result = push(f->copies, from, node->shape, at + 12);
        if (result == 0)
            result = push(f->copies, from, node->capacity, at + 4);
        break;
    case IH_VALUE:
        result = node->n == IH_VALUE_CELL ? copy_cell(f, image, word, copy) : 1;
        if (result <= 0)
            return result;
        result = check_value(f, from, node, copy);
        if (result == 1)
            return 0;
        if (result == 0)
            result = copy_words(f, from, node, 1, 0, &at);
        if (result == 0)
            result = push(f->copies, from, node->shape, at + 4);
        break;
    default:
        result = copy_words(f, from, node, 0, n, &at);
        break;
    }
    *copy = ih_word_at(at);
    return result;
}

/* The copy of a word, whose parts wait as tasks. */
static int copy_word(freezer *f, uint32_t from, uint32_t word, uint32_t *copy)
{
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        return *copy = word, 0;
    ih_node node;
    ih_fault fault;
    ih_image_object *image = f->copies->sources[from].image;
    copied_node *known = find_node(&f->copies->sources[from], word);
    if (known->word != 0) {
        *copy = known->copy;
        ih_mark_shared(&f->writer, *copy);
        return 0;
    }
    if (ih_read_node(&image->image, word, &node, &fault) < 0) {
        ih_raise_fault(image->state, &fault);
        return -1;
    }
    if (node.kind == IH_LINK) {
        ih_node target;
        ih_image_object *other = ih_follow_link(image, &node, &target);
        int64_t behind = other == NULL ? -1 : source_of(f, other);
        if (behind < 0)
            return -1;
        if (target.kind == IH_LINK)
            return fault_at(image, ih_word_offset(word), "a link to a link");
        return copy_word(f, (uint32_t)behind, node.shape, copy);
    }
    if (copy_node(f, from, word, &node, copy) < 0)
        return -1;
    return remember(&f->copies->sources[from], word, *copy);
}

/* Works off the tasks above `bottom`. */
static int work(freezer *f, uint64_t bottom)
{
    struct freeze_copies *c = f->copies;
    while (c->task_count > bottom) {
        task next = c->tasks[--c->task_count];
        uint32_t copy;
        if (copy_word(f, next.source, next.word, &copy) < 0)
            return -1;
        ih_put_word(&f->writer, next.to, copy);
    }
    return 0;
}

/* ---- views ---------------------------------------------------------------------------------- */

static int copy_slice(freezer *f, uint32_t from, const ih_sequence *view, uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t at = 0, n = view->n;
    int result = ih_begin_node(w, (ih_kind)view->kind, n, 4 * n, &at);
    if (result < 0)
        return freeze_failed(result);
    uint64_t to = w->size;
    w->size += 4 * n;
    *word = ih_word_at(at);
    return push_run(f, from, view->data + 4 * view->start, 4 * view->step, n, to);
}

int freeze_copy_view(freezer *f, PyObject *object, uint32_t *word)
{
    const ih_view *view = (const ih_view *)object;
    const ih_sequence *slice = ih_as_slice(f->state, object);
    if (view->at == 0 || (slice && view->kind != IH_LIST && view->kind != IH_TUPLE_VIEW))
        return 0;
    if (f->copies == NULL && (f->copies = calloc(1, sizeof *f->copies)) == NULL)
        return freeze_failed(IH_WRITE_MEMORY);
    f->copies->view = object;
    int64_t from = source_of(f, view->image);
    if (from < 0)
        return -1;
    uint64_t bottom = f->copies->task_count;
    int result = slice ? copy_slice(f, (uint32_t)from, slice, word)
                       : copy_word(f, (uint32_t)from, ih_word_at(view->at), word);
    if (result < 0 || work(f, bottom) < 0)
        return -1;
    return memo_add(f, object, *word) < 0 ? -1 : 1;
}

void freeze_forget_copies(freezer *f)
{
    struct freeze_copies *c = f->copies;
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->source_count; i++)
        free(c->sources[i].nodes);
    free(c->sources);
    free(c->tasks);
    free(c);
    f->copies = NULL;
}
