/* repr() of views: bounded in depth, items and text, so that a debugger, a log line or a prompt
 * survives any image.
 *
 * At most 100 levels are shown, 100,000 items and about 1 MiB of text in all; what is left out
 * shows as "...". A container inside itself shows as Python shows it: [...], {...}. The walk keeps
 * a stack of its own and makes no view of what is inside. */
#include "module/repr.h"

#include "module/dict_views.h"
#include "module/value.h"
#include "module/walk.h"

#define DEPTH_MAX 100u
#define ITEMS_MAX 100000u
#define TEXT_MAX ((size_t)1 << 20)
#define REPR_MAX (4 * 65536) /* characters of what an object says of itself */
#define LEAF_MAX 65536u      /* bytes of one text or int that are looked at */
#define INT_BITS_MAX 13000u  /* about the 3,900 digits that Python prints without being asked */

typedef struct {
    ih_cursor cursor;    /* sequences and sets */
    ih_table_view *dict; /* owned: dicts */
    uint64_t next, n;    /* of a dict's items: keys and values */
    uint8_t class, mode; /* mode: IH_ITERATE_* of dicts */
    bool is_frozenset;
    bool pairs_in_tuples; /* items() shows ('a', 1), a dict 'a': 1 */
} level;

typedef struct {
    ih_image_object *image;
    char *text;
    size_t size, room;
    level levels[DEPTH_MAX];
    uint32_t depth;
    unsigned before; /* nodes that were being shown when it began */
} printer;

static int put(printer *p, const char *text, size_t size)
{
    if (p->size + size > p->room) {
        size_t room = p->room * 2 + size + 256;
        char *grown = PyMem_Realloc(p->text, room);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        p->text = grown;
        p->room = room;
    }
    memcpy(p->text + p->size, text, size);
    p->size += size;
    return 0;
}

static int put_text(printer *p, const char *text) { return put(p, text, strlen(text)); }

/* Text of any kind, a lone surrogate included. Takes the reference; NULL is an error passed on. */
static int put_str(printer *p, PyObject *str)
{
    if (str == NULL)
        return -1;
    PyObject *bytes = PyUnicode_AsEncodedString(str, "utf-8", "surrogatepass");
    Py_DECREF(str);
    if (bytes == NULL)
        return -1;
    int result = put(p, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return result;
}

static int put_repr(printer *p, PyObject *object)
{
    if (object == NULL)
        return -1;
    PyObject *str = PyObject_Repr(object);
    Py_DECREF(object);
    if (str == NULL || PyUnicode_GET_LENGTH(str) <= REPR_MAX)
        return put_str(p, str);
    Py_SETREF(str, PyUnicode_Substring(str, 0, REPR_MAX));
    return put_str(p, str) < 0 ? -1 : put_text(p, "...");
}

/* Items shown by this thread since its outermost repr() of a view began: objects show others. */
static _Thread_local struct {
    unsigned depth;
    uint64_t items;
    const uint8_t *nodes[DEPTH_MAX]; /* that are being shown, the outermost first */
    unsigned count;
} budget;

void ih_repr_enter(void)
{
    if (budget.depth++ == 0)
        budget.items = budget.count = 0;
    ih_sample_begin();
}
void ih_repr_leave(void)
{
    budget.depth--;
    ih_sample_end();
}
bool ih_repr_spend(void) { return budget.depth == 0 || ++budget.items <= ITEMS_MAX; }

static bool is_full(const printer *p) { return budget.items >= ITEMS_MAX || p->size >= TEXT_MAX; }

/* ---- leaves ------------------------------------------------------------------------------- */

/* A long text shows its beginning. */
static int put_long_text(printer *p, const ih_value *value)
{
    uint64_t size = LEAF_MAX;
    uint64_t at = (uint64_t)(value->text - value->image->image.base);
    for (int i = 0; i < 4 && (value->text[size] & 0xc0) == 0x80; i++)
        size--; /* to the start of a character */
    PyObject *str = ih_decode_text(value->image, value->text, size, value->ascii, at);
    return put_repr(p, str) < 0 ? -1 : put_text(p, "...");
}

/* Printing a huge int takes time that grows faster than its size, and Python may refuse to. */
static int put_long_int(printer *p, uint64_t bytes)
{
    char text[64];
    int size =
        PyOS_snprintf(text, sizeof text, "<int of about %llu bits>", (unsigned long long)bytes * 8);
    return put(p, text, (size_t)size);
}

static int put_small_int(printer *p, int64_t number)
{
    char text[32];
    int size = PyOS_snprintf(text, sizeof text, "%lld", (long long)number);
    return put(p, text, (size_t)size);
}

static int put_leaf(printer *p, const ih_value *value)
{
    if (value->form == IH_INTEGER)
        return put_small_int(p, value->integer);
    if (value->form == IH_TEXT && value->size > LEAF_MAX)
        return put_long_text(p, value);
    return put_repr(p, ih_value_object(value));
}

/* ---- containers --------------------------------------------------------------------------- */

static const char *opening(const level *top)
{
    if (top->class == IH_LIST_CLASS || top->pairs_in_tuples)
        return "[";
    if (top->class == IH_TUPLE_CLASS)
        return "(";
    if (top->class == IH_SET_CLASS)
        return top->is_frozenset ? (top->n ? "frozenset({" : "frozenset(")
                                 : (top->n ? "{" : "set(");
    return "{";
}

static const char *closing(const level *top)
{
    if (top->class == IH_LIST_CLASS || top->pairs_in_tuples)
        return "]";
    if (top->class == IH_TUPLE_CLASS)
        return top->n == 1 ? ",)" : ")";
    if (top->class == IH_SET_CLASS)
        return top->is_frozenset ? (top->n ? "})" : ")") : (top->n ? "}" : ")");
    return "}";
}

static const char *elided(ih_class class)
{
    switch (class) {
    case IH_LIST_CLASS:
        return "[...]";
    case IH_TUPLE_CLASS:
        return "(...)";
    case IH_SET_CLASS:
        return "set(...)";
    default:
        return "{...}";
    }
}

static void close_top(printer *p)
{
    level *top = &p->levels[--p->depth];
    budget.count -= budget.count > 0;
    ih_cursor_close(&top->cursor);
    Py_XDECREF((PyObject *)top->dict);
}

/* Where it lies; NULL for a slice, which is no node. */
static const uint8_t *level_at(const level *item)
{
    if (item->dict != NULL)
        return item->dict->image->image.base + item->dict->at;
    return item->cursor.at != 0 ? item->cursor.image->image.base + item->cursor.at : NULL;
}

/* By this thread, in any repr(): objects show views inside views (H24). */
static bool is_shown(const uint8_t *node)
{
    for (unsigned i = 0; i < budget.count; i++)
        if (budget.nodes[i] == node)
            return true;
    return false;
}

/* Opens a node that is not being printed already. */
static int push_node(printer *p, const ih_value *value)
{
    uint64_t at = ih_word_offset(value->word);
    ih_class class = ih_kind_class(value->node.kind);
    if (is_shown(value->image->image.base + at))
        return put_text(p, elided(class));
    if (budget.count >= DEPTH_MAX || p->depth == DEPTH_MAX)
        return put_text(p, "...");
    level *top = &p->levels[p->depth];
    *top = (level){.class = (uint8_t) class, .n = value->node.n, .mode = IH_ITERATE_ITEMS};
    top->is_frozenset = value->node.kind == IH_FROZENSET || value->node.kind == IH_FROZENSET_HASHED;
    if (class == IH_DICT_CLASS) {
        top->dict = (ih_table_view *)ih_new_dict(value->image, at, &value->node);
        if (top->dict == NULL)
            return -1;
        top->n *= 2;
    } else {
        ih_cursor_node(&top->cursor, value->image, at, &value->node);
    }
    p->depth++;
    budget.nodes[budget.count++] = level_at(top);
    return put_text(p, opening(top));
}

static int put_value(printer *p, const ih_value *value)
{
    if (value->form == IH_NODE)
        return push_node(p, value);
    if (value->form == IH_AN_OBJECT || !value->has_word || value->form != IH_INTEGER)
        return put_leaf(p, value);
    return put_small_int(p, value->integer);
}

/* A huge int is not even decoded. 1: it was put; 0: it is something else; -1. */
static int put_word_if_huge(printer *p, const ih_image_object *image, uint32_t word)
{
    ih_node node;
    ih_fault fault;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        return 0;
    if (ih_read_node(&image->image, word, &node, &fault) < 0) {
        ih_raise_fault(image->state, &fault);
        return -1;
    }
    if (node.kind != IH_BIGINT || node.n * 8 <= INT_BITS_MAX)
        return 0;
    return put_long_int(p, node.n) < 0 ? -1 : 1;
}

static int put_word(printer *p, ih_image_object *image, uint32_t word)
{
    int huge = put_word_if_huge(p, image, word);
    if (huge != 0)
        return huge < 0 ? -1 : 0;
    ih_value value;
    if (ih_value_of_word(image, word, &value) < 0)
        return -1;
    int result = put_value(p, &value);
    ih_value_clear(&value);
    return result;
}

static int put_item(printer *p, level *top, uint64_t i)
{
    const ih_cursor *cursor = &top->cursor;
    if (!ih_kind_is_packed(cursor->kind) && !ih_kind_is_text_run(cursor->kind)) {
        uint64_t element = (uint64_t)(cursor->start + (int64_t)i * cursor->step);
        return put_word(p, cursor->image, ih_load_word(cursor->data + 4 * element));
    }
    ih_value value;
    if (ih_cursor_item(cursor, i, &value) < 0)
        return -1;
    int result = put_value(p, &value);
    ih_value_clear(&value);
    return result;
}

/* Step 2i of a dict is key i, step 2i + 1 its value: both may be containers. */
static int put_entry(printer *p, const level *top, uint64_t step)
{
    const ih_table_view *dict = top->dict;
    uint64_t i = step / 2;
    if (top->mode == IH_ITERATE_VALUES || (top->mode == IH_ITERATE_ITEMS && step % 2 == 1))
        return put_word(p, dict->image, ih_load_word(dict->values + i * dict->value_stride));
    return put_word(p, dict->image, ih_load_word(dict->keys + i * dict->key_stride));
}

/* What stands before step `top->next`, which may be the end. */
static const char *separator(const level *top)
{
    bool items = top->dict != NULL && top->mode == IH_ITERATE_ITEMS;
    if (items && top->next % 2 == 1)
        return top->pairs_in_tuples ? ", " : ": ";
    bool tuples = items && top->pairs_in_tuples, last = top->next >= top->n;
    if (top->next == 0)
        return tuples && !last ? "(" : "";
    if (last)
        return tuples ? ")" : "";
    return tuples ? "), (" : ", ";
}

/* "..." for the rest; a key that was shown gets it as its value. */
static int elide_rest(printer *p, level *top)
{
    bool pair = top->dict != NULL && top->mode == IH_ITERATE_ITEMS;
    bool open = pair && (top->next % 2 == 1 || top->pairs_in_tuples);
    top->next = top->n;
    return put_text(p, open && top->pairs_in_tuples ? "...)" : "...");
}

/* Until the stack is empty. */
static int print_all(printer *p)
{
    while (p->depth > 0) {
        level *top = &p->levels[p->depth - 1];
        if (put_text(p, separator(top)) < 0)
            return -1;
        if (top->next < top->n && is_full(p) && elide_rest(p, top) < 0)
            return -1;
        if (top->next >= top->n) {
            if (put_text(p, closing(top)) < 0)
                return -1;
            close_top(p);
            continue;
        }
        bool half = top->dict != NULL && top->mode != IH_ITERATE_ITEMS;
        uint64_t step = half ? top->next * 2 : top->next;
        top->next++;
        budget.items++;
        if ((top->dict != NULL ? put_entry(p, top, step) : put_item(p, top, step)) < 0)
            return -1;
    }
    return 0;
}

/* ---- whole views -------------------------------------------------------------------------- */

/* False: it is being shown already, or too deep. */
static bool open_view(printer *p, PyObject *view)
{
    const ih_state *state = p->image->state;
    level *top = &p->levels[0];
    *top = (level){.n = ((ih_view *)view)->n, .mode = IH_ITERATE_ITEMS};
    top->class = (uint8_t)ih_kind_class(((ih_view *)view)->kind);
    if (Py_TYPE(view) == state->dict_type) {
        top->dict = (ih_table_view *)Py_NewRef(view);
        top->n *= 2;
    } else if (Py_TYPE(view) == state->set_type) {
        const ih_table_view *set = (const ih_table_view *)view;
        ih_node node = {.kind = set->kind, .n = set->n};
        node.data = (uint64_t)(set->keys - p->image->image.base);
        ih_cursor_node(&top->cursor, p->image, set->at, &node);
    } else {
        ih_cursor_view(&top->cursor, (const ih_sequence *)view);
        if (!top->cursor.whole)
            top->cursor.at = 0; /* the node may lie inside its own slice */
    }
    p->depth = 1;
    const uint8_t *node = level_at(top);
    bool shown = (node != NULL && is_shown(node)) || budget.count >= DEPTH_MAX;
    if (budget.count < DEPTH_MAX)
        budget.nodes[budget.count++] = node;
    return !shown;
}

static PyObject *finish(printer *p, int failed)
{
    while (p->depth > 0)
        close_top(p);
    PyObject *result = NULL;
    if (!failed)
        result = PyUnicode_DecodeUTF8(p->text, (Py_ssize_t)p->size, "surrogatepass");
    budget.count = p->before;
    PyMem_Free(p->text);
    PyMem_Free(p);
    ih_repr_leave();
    return result;
}

static printer *start(PyTypeObject *type, ih_image_object *image)
{
    printer *p = PyMem_Calloc(1, sizeof *p);
    if (p == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    ih_repr_enter();
    p->image = image;
    p->before = budget.count;
    const char *dot = strrchr(type->tp_name, '.');
    if (put_text(p, dot == NULL ? type->tp_name : dot + 1) < 0 || put_text(p, "(") < 0) {
        finish(p, 1);
        return NULL;
    }
    return p;
}

PyObject *ih_repr(PyObject *view)
{
    printer *p = start(Py_TYPE(view), ((ih_view *)view)->image);
    if (p == NULL)
        return NULL;
    bool whole = open_view(p, view);
    level *top = &p->levels[0];
    bool empty_set = top->class == IH_SET_CLASS && top->n == 0;
    top->is_frozenset = false;
    int failed = 0;
    if (!whole)
        failed = put_text(p, "...") < 0;
    else if (empty_set) /* FrozenSet(), as frozenset() */
        close_top(p);
    else
        failed = put_text(p, opening(top)) < 0 || print_all(p) < 0;
    return finish(p, failed || put_text(p, ")") < 0);
}

PyObject *ih_repr_dict_view(PyObject *view, int mode)
{
    ih_table_view *dict = ((ih_dict_view *)view)->dict;
    printer *p = start(Py_TYPE(view), dict->image);
    if (p == NULL)
        return NULL;
    (void)open_view(p, (PyObject *)dict);
    p->levels[0].mode = (uint8_t)mode;
    if (mode != IH_ITERATE_ITEMS)
        p->levels[0].n = dict->n;
    p->levels[0].pairs_in_tuples = true;
    int failed = put_text(p, "[") < 0 || print_all(p) < 0;
    return finish(p, failed || put_text(p, ")") < 0);
}
