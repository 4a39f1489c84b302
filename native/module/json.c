/* dumps(view): JSON straight from the image; no Python object is made for what is written.
 *
 * One loop over frames on a stack of our own. The keys of a shape are escaped once. A cycle is
 * noticed by size: the nodes on the way from the root to here are different ones in an acyclic
 * image, so together they are not larger than it. Links are followed (H16); what is known of an
 * image is known of each by itself.
 *
 * The text is that of json.dumps(thaw(view), **options); json_face.c has the cases that are really
 * done that way. */
#include "module/json.h"

#include "module/json_state.h"
#include "module/link.h"
#include "module/object.h"

#define PUSHED 1
#define LIMIT_FREE ((size_t)64 << 20)
#define PATH_PARTS_MAX 40u
#define SIGNALS_EVERY 65536u

static int raise_fault_at(json_writer *w, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(w->out.state, &fault);
    return -1;
}

static int read_node(json_writer *w, uint32_t word, ih_node *node)
{
    ih_fault fault;
    if (ih_read_node(&w->here->image->image, word, node, &fault) == 0)
        return 0;
    ih_raise_fault(w->out.state, &fault);
    return -1;
}

/* ---- what cannot be written ---- */

/* One step of the path as Python would write it: [3] or ['key']. */
static PyObject *path_part(const json_frame *f)
{
    if (f->kind == J_ARRAY)
        return PyUnicode_FromFormat("[%u]", (unsigned)f->current);
    uint64_t at = f->kind == J_SHAPED ? (uint64_t)f->shape_keys * 4 + 4 * (uint64_t)f->current
                                      : (uint64_t)f->at + 8 * (uint64_t)f->current;
    PyObject *key = ih_decode(f->in->image, ih_load_word(f->in->image->image.base + at));
    PyObject *part = key ? PyUnicode_FromFormat("[%.100R]", key) : NULL;
    Py_XDECREF(key);
    return part;
}

static PyObject *path_of(json_writer *w)
{
    PyObject *path = PyUnicode_FromString("view");
    for (size_t i = 0; path != NULL && i < w->depth; i++) {
        if (i == PATH_PARTS_MAX && w->depth > 2 * PATH_PARTS_MAX) {
            i = w->depth - PATH_PARTS_MAX;
            PyUnicode_AppendAndDel(&path, PyUnicode_FromString("..."));
            if (path == NULL)
                break;
        }
        PyUnicode_AppendAndDel(&path, path_part(&w->frames[i]));
    }
    return path;
}

/* Something that json.dumps is asked about: in its place for now. A frame may have asked, which
 * would write what is inside again and again, had the walk not gone on to the end (H24). */
static int leave_to_json(json_writer *w)
{
    w->again = true;
    return ih_json_put(&w->out, "null", 4);
}

static int refuse(json_writer *w, uint32_t word, const ih_node *node, bool as_key)
{
    if (w->options->has_default && !as_key)
        return leave_to_json(w);
    const char *name = ih_json_type_name(word, node);
    PyObject *path = path_of(w);
    if (path == NULL)
        return -1;
    if (as_key)
        PyErr_Format(PyExc_TypeError, "keys must be str, int, float, bool or None, not %s, in %U",
                     name, path);
    else
        PyErr_Format(PyExc_TypeError, "Object of type %s is not JSON serializable, at %U", name,
                     path);
    Py_DECREF(path);
    return -1;
}

/* ---- leaves ---- */

static int put_big_int(json_writer *w, uint32_t word)
{
    PyObject *value = ih_decode(w->here->image, word);
    PyObject *digits = value ? PyObject_Repr(value) : NULL; /* a plain int: no user's code */
    Py_ssize_t size;
    const char *text = digits ? PyUnicode_AsUTF8AndSize(digits, &size) : NULL;
    int result = text ? ih_json_put(&w->out, text, (size_t)size) : -1;
    Py_XDECREF(digits);
    Py_XDECREF(value);
    return result;
}

static int put_constant(json_writer *w, uint32_t word, bool as_key)
{
    switch (word) {
    case IH_NONE:
        return ih_json_put(&w->out, "null", 4);
    case IH_FALSE:
        return ih_json_put(&w->out, "false", 5);
    case IH_TRUE:
        return ih_json_put(&w->out, "true", 4);
    case IH_EMPTY_STR:
        return ih_json_put(&w->out, "\"\"", 2);
    case IH_EMPTY_TUPLE:
        if (!as_key)
            return ih_json_put(&w->out, "[]", 2); /* fall through */
    case IH_EMPTY_BYTES:
    case IH_ELLIPSIS:
    case IH_NOT_IMPLEMENTED:
        return refuse(w, word, NULL, as_key);
    default:
        return raise_fault_at(w, word, "reserved constant");
    }
}

/* Text and numbers. 1: it is something else. */
static int put_leaf(json_writer *w, uint32_t word, const ih_node *node)
{
    const uint8_t *data = w->here->image->image.base + node->data;
    int64_t wide;
    double real;
    switch (node->kind) {
    case IH_SHORT_STR:
    case IH_STR_ASCII:
    case IH_STR_UTF8:
        return ih_json_string(&w->out, data, node->n, node->data);
    case IH_INT64:
        memcpy(&wide, data, 8);
        return ih_json_int(&w->out, wide);
    case IH_FLOAT:
        memcpy(&real, data, 8);
        return ih_json_float(&w->out, real);
    case IH_BIGINT:
        return put_big_int(w, word);
    default:
        return 1;
    }
}

/* A key and the separator behind it. Numbers and constants become strings, as json does it. */
static int put_key(json_writer *w, uint32_t word)
{
    ih_node node;
    int result;
    bool quoted = false;
    if (!ih_word_is_int(word) && !ih_word_is_constant(word)) {
        if (read_node(w, word, &node) < 0)
            return -1;
        quoted = node.kind == IH_SHORT_STR || node.kind == IH_STR_ASCII || node.kind == IH_STR_UTF8;
    }
    quoted |= word == IH_EMPTY_STR;
    if (!quoted && ih_json_put(&w->out, "\"", 1) < 0)
        return -1;
    if (ih_word_is_int(word))
        result = ih_json_int(&w->out, ih_word_int(word));
    else if (ih_word_is_constant(word))
        result = put_constant(w, word, true);
    else
        result = put_leaf(w, word, &node);
    if (result > 0)
        result = node.kind == IH_OBJECT || node.kind == IH_VALUE ? leave_to_json(w)
                                                                 : refuse(w, word, &node, true);
    if (result < 0)
        return result;
    if (!quoted && ih_json_put(&w->out, "\"", 1) < 0)
        return -1;
    return ih_json_put(&w->out, w->options->key, w->options->key_size);
}

static int put_newline(json_writer *w, size_t level)
{
    const ih_json_options *o = w->options;
    if (ih_json_put(&w->out, "\n", 1) < 0)
        return -1;
    for (size_t i = 0; i < level; i++)
        if (ih_json_put(&w->out, o->indent, o->indent_size) < 0)
            return -1;
    return 0;
}

/* What stands between items, and before the first where there is an indent. */
static inline int put_separator(json_writer *w, bool first, size_t level)
{
    if (!first && ih_json_put(&w->out, w->options->item, w->options->item_size) < 0)
        return -1;
    return w->options->indent ? put_newline(w, level) : 0;
}

/* ---- order of keys ---- */

/* Sorted by Python, which knows how its keys compare (and that some don't). */
static int sort_keys(json_writer *w, uint64_t at, uint64_t n, uint64_t stride, uint32_t **order)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    uint32_t *sorted = PyMem_Malloc((n + 1) * sizeof *sorted);
    int result = list == NULL || sorted == NULL ? -1 : 0;
    for (uint64_t i = 0; result == 0 && i < n; i++) {
        PyObject *key =
            ih_decode(w->here->image, ih_load_word(w->here->image->image.base + at + i * stride));
        PyObject *pair = key ? Py_BuildValue("NK", key, (unsigned long long)i) : NULL;
        if (pair == NULL)
            result = -1;
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
    }
    if (result == 0)
        result = PyList_Sort(list);
    for (uint64_t i = 0; result == 0 && i < n; i++) {
        PyObject *pair = PyList_GET_ITEM(list, (Py_ssize_t)i); /* the list is ours alone */
        sorted[i] = (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(pair, 1));
    }
    Py_XDECREF(list);
    if (result < 0) {
        PyMem_Free(sorted);
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        return -1;
    }
    *order = sorted;
    return 0;
}

/* ---- shapes ---- */

/* Written where the text grows, then taken off again. */
static int write_keys(json_writer *w, json_shape *shape, const ih_node *node)
{
    size_t start = w->out.size;
    for (uint64_t i = 0; i < node->n; i++) {
        if (put_key(w, ih_load_word(w->here->image->image.base + node->data + 4 * i)) < 0)
            return -1;
        shape->ends[i] = w->out.size - start;
    }
    /* Long keys of many shapes may be one text: what they take counts towards the limit. */
    size_t taken = w->out.size - start;
    if (taken > w->out.limit / 2)
        return raise_fault_at(w, node->data, "keys of shapes without end");
    w->out.limit -= taken;
    shape->text = PyMem_Malloc(taken + 1);
    if (shape->text == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (taken > 0) /* damage may have no keys, and no text may be there yet */
        memcpy(shape->text, w->out.bytes + start, taken);
    w->out.size = start;
    return w->options->sort_keys ? sort_keys(w, node->data, node->n, 4, &shape->order) : 0;
}

static const json_shape *get_shape(json_writer *w, uint32_t word, const ih_node *node)
{
    if (w->here->shapes_used * 2 >= w->here->shapes_mask && ih_json_grow_shapes(w) < 0)
        return NULL;
    json_shape **slot = ih_json_shape_slot(w, word);
    if (*slot != NULL)
        return *slot;
    if (node->n * 4 + 4 > w->here->left) {
        raise_fault_at(w, ih_word_offset(word), "nodes overlap");
        return NULL;
    }
    w->here->left -= node->n * 4 + 4;
    json_shape *shape = PyMem_Calloc(1, sizeof *shape);
    if (shape != NULL)
        shape->ends = PyMem_Calloc(node->n + 1, sizeof *shape->ends);
    if (shape == NULL || shape->ends == NULL) {
        ih_json_free_shape(shape);
        PyErr_NoMemory();
        return NULL;
    }
    shape->word = word;
    shape->n = node->n;
    if (write_keys(w, shape, node) < 0) {
        ih_json_free_shape(shape);
        return NULL;
    }
    *slot = shape;
    w->here->shapes_used++;
    return shape;
}

/* ---- containers ---- */

static int push(json_writer *w, uint64_t at, json_frame frame)
{
    if (frame.charge > w->here->image->image.graph - w->here->path) {
        PyErr_SetString(PyExc_ValueError, "Circular reference detected");
        return -1;
    }
    if (frame.n > UINT32_MAX)
        return raise_fault_at(w, at, "more items than a graph can hold");
    if (w->depth == w->room) {
        size_t room = w->room ? w->room * 2 : 32;
        json_frame *grown = PyMem_Realloc(w->frames, room * sizeof *grown);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        w->frames = grown;
        w->room = room;
    }
    if (++w->pushes % SIGNALS_EVERY == 0 && PyErr_CheckSignals() < 0)
        return -1;
    w->here->path += frame.charge;
    frame.in = w->here;
    w->frames[w->depth++] = frame;
    return ih_json_put(&w->out, frame.kind == J_ARRAY ? "[" : "{", 1) < 0 ? -1 : PUSHED;
}

static int push_dict(json_writer *w, uint64_t at, const ih_node *node)
{
    if (node->n == 0)
        return ih_json_put(&w->out, "{}", 2);
    json_frame f = {.at = (int64_t)node->data,
                    .n = node->n,
                    .charge = 4 + node->n * 8,
                    .stride = 8,
                    .kind = J_PAIRS};
    if (node->kind != IH_DICT_SHAPED) {
        int result = push(w, at, f);
        if (result < 0 || !w->options->sort_keys)
            return result;
        uint32_t *order;
        if (sort_keys(w, node->data, node->n, 8, &order) < 0)
            return -1;
        w->frames[w->depth - 1].order = order;
        return result;
    }
    ih_node keys;
    if (ih_word_is_int(node->shape) || ih_word_is_constant(node->shape))
        return raise_fault_at(w, at, "shape is not a node");
    if (read_node(w, node->shape, &keys) < 0)
        return -1;
    if (keys.kind != IH_SHAPE)
        return raise_fault_at(w, at, "shape is not a shape");
    f.shape = get_shape(w, node->shape, &keys);
    if (f.shape == NULL)
        return -1;
    if (f.shape->n != node->n || keys.n != node->n)
        return raise_fault_at(w, at, "shape does not fit its dict");
    f.kind = J_SHAPED;
    f.stride = 4;
    f.charge = 8 + node->n * 4;
    f.shape_keys = (uint32_t)(keys.data / 4);
    return push(w, at, f);
}

/* All of a packed node or text run, or a slice of it. */
static int put_elements(json_writer *w, const ih_node *node, uint64_t n, int64_t start,
                        int64_t step)
{
    bool text =
        node->kind == IH_LIST_STR || node->kind == IH_TUPLE_STR || node->kind == IH_TUPLE_VIEW_STR;
    const uint8_t *base = w->here->image->image.base;
    uint64_t element = (uint64_t)start;
    if (n == 0)
        return ih_json_put(&w->out, "[]", 2);
    if (ih_json_put(&w->out, "[", 1) < 0)
        return -1;
    for (uint64_t i = 0; i < n; i++, element += (uint64_t)step) {
        if (put_separator(w, i == 0, w->depth + 1) < 0)
            return -1;
        if (text) {
            uint64_t from, size;
            ih_fault fault;
            if (ih_text_item(&w->here->image->image, node, element, &from, &size, &fault) < 0) {
                ih_raise_fault(w->out.state, &fault);
                return -1;
            }
            if (ih_json_string(&w->out, base + from, size, from) < 0)
                return -1;
        } else if (ih_json_element(&w->out, base + node->data + element * node->width, node->code) <
                   0) {
            return -1;
        }
    }
    if (w->options->indent && put_newline(w, w->depth) < 0)
        return -1;
    return ih_json_put(&w->out, "]", 1);
}

/* json knows what it makes of subclasses of what it knows, and what `default` makes of others. It
 * looks into tuples, and into what lists and dicts hold. */
static int put_object(json_writer *w, uint64_t at, const ih_node *node)
{
    ih_layout *layout = ih_layout_get(w->here->image, node->shape, at);
    if (layout == NULL)
        return -1;
    unsigned form = layout->form;
    Py_DECREF(layout);
    w->again = true;
    if (node->n > 0 && form == IH_FORM_TUPLE)
        return push(
            w, at,
            (json_frame){
                .at = (int64_t)node->data, .stride = 4, .n = node->n, .charge = 8 + node->n * 4});
    if (node->n > 0 && form == IH_FORM_CONTAINER)
        return push(w, at,
                    (json_frame){
                        .at = (int64_t)node->data, .stride = 4, .n = 1, .charge = 8 + node->n * 4});
    return leave_to_json(w);
}

/* What is no leaf. 0: written; PUSHED: a frame will; below 0: an exception. */
static int put_container(json_writer *w, uint32_t word, const ih_node *node)
{
    uint64_t at = ih_word_offset(word);
    switch (node->kind) {
    case IH_LIST:
    case IH_TUPLE:
    case IH_TUPLE_VIEW:
        if (node->n == 0)
            return ih_json_put(&w->out, "[]", 2);
        return push(
            w, at,
            (json_frame){
                .at = (int64_t)node->data, .stride = 4, .n = node->n, .charge = 4 + node->n * 4});
    case IH_LIST_PACKED:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_VIEW_PACKED:
    case IH_LIST_STR:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW_STR:
        return put_elements(w, node, node->n, 0, 1);
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        return push_dict(w, at, node);
    case IH_OBJECT:
        return put_object(w, at, node);
    case IH_VALUE:
        return leave_to_json(w);
    case IH_SHAPE:
    case IH_LAYOUT:
        return raise_fault_at(w, at, "a value cannot be of this kind of node");
    default:
        return refuse(w, word, node, false);
    }
}

static int put_linked(json_writer *w, const ih_node *link)
{
    ih_node target;
    json_image *back = w->here;
    ih_image_object *other = ih_follow_link(back->image, link, &target);
    if (other == NULL || ih_json_enter(w, other) < 0)
        return -1;
    int result = put_container(w, link->shape, &target);
    w->here = back; /* a frame that was pushed knows its own */
    return result;
}

static int put_node(json_writer *w, uint32_t word)
{
    ih_node node;
    if (read_node(w, word, &node) < 0)
        return -1;
    int result = put_leaf(w, word, &node);
    if (result <= 0)
        return result;
    return node.kind == IH_LINK ? put_linked(w, &node) : put_container(w, word, &node);
}

static int put_word(json_writer *w, uint32_t word)
{
    if (ih_word_is_int(word))
        return ih_json_int(&w->out, ih_word_int(word));
    if (ih_word_is_constant(word))
        return put_constant(w, word, false);
    return put_node(w, word);
}

/* The next item of the top frame, with what stands before it. */
static int put_next(json_writer *w)
{
    json_frame *f = &w->frames[w->depth - 1];
    w->here = f->in;
    const uint32_t *order = f->kind == J_SHAPED ? f->shape->order : f->order;
    uint32_t i = order ? order[f->i] : (uint32_t)f->i;
    uint64_t at = (uint64_t)(f->at + (int64_t)i * f->stride);
    const uint8_t *base = w->here->image->image.base;
    f->current = i;
    if (put_separator(w, f->i++ == 0, w->depth) < 0)
        return -1;
    if (f->kind == J_PAIRS) {
        int result = put_key(w, ih_load_word(base + at));
        if (result < 0)
            return result;
        at += 4;
    } else if (f->kind == J_SHAPED) {
        size_t from = i ? f->shape->ends[i - 1] : 0;
        if (ih_json_put(&w->out, f->shape->text + from, f->shape->ends[i] - from) < 0)
            return -1;
    }
    return put_word(w, ih_load_word(base + at));
}

static int walk(json_writer *w, int result)
{
    while (result >= 0 && w->depth > 0) {
        json_frame *f = &w->frames[w->depth - 1];
        if (f->i < f->n) {
            result = put_next(w);
            continue;
        }
        bool array = f->kind == J_ARRAY;
        f->in->path -= f->charge;
        PyMem_Free(f->order);
        w->depth--;
        if (w->options->indent && put_newline(w, w->depth) < 0)
            return -1;
        result = ih_json_put(&w->out, array ? "]" : "}", 1);
    }
    return result;
}

static int put_slice(json_writer *w, const ih_sequence *view)
{
    ih_node node;
    if (read_node(w, (uint32_t)(view->at / 2), &node) < 0)
        return -1;
    int64_t last = view->start + (view->n ? (int64_t)(view->n - 1) * view->step : 0);
    if (node.kind != view->kind ||
        (view->n && ((uint64_t)view->start >= node.n || (uint64_t)last >= node.n)))
        return raise_fault_at(w, view->at, "node changed while it was read");
    if (view->kind != IH_LIST && view->kind != IH_TUPLE_VIEW)
        return put_elements(w, &node, view->n, view->start, view->step);
    if (view->n == 0)
        return ih_json_put(&w->out, "[]", 2);
    json_frame f = {
        .at = (int64_t)node.data + 4 * view->start, .stride = 4 * view->step, .n = view->n};
    f.charge = 4 * view->n;
    return push(w, view->at, f);
}

PyObject *ih_json_walk(ih_state *state, const ih_view *view, const ih_json_options *options)
{
    json_writer w = {.first = {.image = view->image, .left = view->image->image.graph}};
    w.here = &w.first;
    w.options = options;
    w.out = (json_text){
        .state = state, .ensure_ascii = options->ensure_ascii, .allow_nan = options->allow_nan};
    w.out.ascii = options->ascii;
    size_t size = (size_t)view->image->image.size, most = (size_t)PY_SSIZE_T_MAX - LIMIT_FREE;
    w.out.limit =
        LIMIT_FREE + (size < most / IH_JSON_LIMIT_FACTOR ? size * IH_JSON_LIMIT_FACTOR : most);
    bool sequence = Py_TYPE(view) == state->list_type || Py_TYPE(view) == state->tuple_type;
    int result = sequence && !((const ih_sequence *)view)->whole
                     ? put_slice(&w, (const ih_sequence *)view)
                     : put_word(&w, (uint32_t)(view->at / 2));
    result = walk(&w, result);
    PyObject *text = result == 0 && !w.again ? ih_json_str(&w.out) : NULL;
    for (size_t i = 0; i < w.depth; i++)
        PyMem_Free(w.frames[i].order);
    PyMem_Free(w.frames);
    ih_json_close_image(&w.first);
    for (uint32_t i = 0; i < w.others_count; i++) {
        ih_json_close_image(w.others[i]);
        PyMem_Free(w.others[i]);
    }
    PyMem_Free(w.others);
    ih_merge_free(&w.met);
    PyMem_Free(w.out.bytes);
    return text;
}
