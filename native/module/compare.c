/* Equality and order of views, as Python compares the objects they stand for.
 *
 * The walk keeps a stack of its own, so no depth overflows C's; containers met before are taken
 * for equal (merge.c), so cycles end and shared parts are walked once (H24). Items are compared
 * in the form in which they lie in the image where that decides, as objects otherwise.
 *
 * One side of every pair comes from an image; the other may be anything. Python code (__eq__ of
 * items) may run between any two steps and change lists and dicts: sizes are asked again and
 * whatever is used is owned. Sets are in compare_sets.c, order is in compare_order.c. */
#include "module/compare.h"

#include "module/dict_views.h"

#define PUSHED IH_COMPARE_PUSHED
#define SKIP 3
#define UNREMEMBERED 64 /* containers compared before it pays to remember them */
/* Items of a container that is walked again rather than remembered, while nothing but plain
 * values is found inside: records and points, of which there are many. */
#define SMALL 16
#define NESTED_MAX (1u << 22) /* containers compared for sets with colliding hashes */
#define SIGNAL_MASK 0xffffu

static bool is_slice(const ih_cursor *cursor) { return cursor->image != NULL && !cursor->whole; }

/* ---- what a value is ---------------------------------------------------------------------- */

/* The class that an object is compared as. *asks: its own __eq__ is asked first. */
static ih_class object_class(const ih_state *state, PyObject *object, bool *asks)
{
    PyTypeObject *type = Py_TYPE(object), *base;
    ih_class class;
    *asks = false;
    if (type == state->list_type)
        return IH_LIST_CLASS;
    if (type == state->dict_type)
        return IH_DICT_CLASS;
    if (type == state->tuple_type)
        return IH_TUPLE_CLASS;
    if (type == state->set_type)
        return IH_SET_CLASS;
    if (PyList_Check(object)) {
        base = &PyList_Type;
        class = IH_LIST_CLASS;
    } else if (PyTuple_Check(object)) {
        base = &PyTuple_Type;
        class = IH_TUPLE_CLASS;
    } else if (PyDict_Check(object)) {
        base = &PyDict_Type;
        class = IH_DICT_CLASS;
    } else if (PyAnySet_Check(object)) {
        base = PySet_Check(object) ? &PySet_Type : &PyFrozenSet_Type;
        class = IH_SET_CLASS;
    } else {
        return IH_NO_CLASS;
    }
    *asks = type->tp_richcompare != base->tp_richcompare;
    return class;
}

static bool is_view(const ih_comparison *c, const ih_value *value)
{
    return value->form == IH_NODE ||
           (value->form == IH_AN_OBJECT && ih_is_container_view(c->state, value->object));
}

/* ---- plain values ------------------------------------------------------------------------- */

static int objects_equal(const ih_value *a, const ih_value *b)
{
    PyObject *left = ih_value_object(a), *right = left == NULL ? NULL : ih_value_object(b);
    int equal = right == NULL ? -1 : PyObject_RichCompareBool(left, right, Py_EQ);
    Py_XDECREF(left);
    Py_XDECREF(right);
    return equal;
}

/* An image's number or text against an exact int, float or str. 1, 0; -1: only objects tell. */
static int quick_equal(const ih_value *value, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (value->form == IH_INTEGER && type == &PyLong_Type) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
        return overflow == 0 && number == value->integer;
    }
    if (value->form == IH_NUMBER && type == &PyFloat_Type)
        return value->number == PyFloat_AS_DOUBLE(object);
    if (value->form == IH_TEXT && type == &PyUnicode_Type && PyUnicode_IS_COMPACT_ASCII(object)) {
        uint64_t size = (uint64_t)PyUnicode_GET_LENGTH(object);
        /* Text that is not marked as ASCII may still be: only equal bytes decide. */
        return value->size == size && memcmp(value->text, PyUnicode_1BYTE_DATA(object), size) == 0;
    }
    return -1;
}

static int leaves_equal(const ih_value *a, const ih_value *b)
{
    if (a->form == IH_AN_OBJECT || b->form == IH_AN_OBJECT) {
        int equal = -1;
        if (a->form == IH_AN_OBJECT && b->form == IH_AN_OBJECT) {
            if (a->object == b->object)
                return 1;
        } else {
            equal = a->form == IH_AN_OBJECT ? quick_equal(b, a->object) : quick_equal(a, b->object);
        }
        return equal >= 0 ? equal : objects_equal(a, b);
    }
    if (a->form == IH_TEXT && b->form == IH_TEXT)
        return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
    if (a->form == IH_TEXT || b->form == IH_TEXT)
        return 0;
    if (a->form == IH_INTEGER && b->form == IH_INTEGER)
        return a->integer == b->integer;
    if (a->form == IH_NUMBER && b->form == IH_NUMBER)
        return a->number == b->number;
    return objects_equal(a, b); /* an int and a float: Python's exact rule */
}

/* Asks a type that is not ours or built in. 1, 0, -1; PUSHED: it does not know. */
static int ask(PyObject *object, const ih_value *value)
{
    richcmpfunc compare = Py_TYPE(object)->tp_richcompare;
    if (compare == NULL)
        return PUSHED;
    PyObject *other = ih_value_object(value);
    if (other == NULL)
        return -1;
    if (Py_EnterRecursiveCall(" in comparison")) {
        Py_DECREF(other);
        return -1;
    }
    PyObject *answer = compare(object, other, Py_EQ);
    Py_LeaveRecursiveCall();
    Py_DECREF(other);
    if (answer == NULL)
        return -1;
    int equal = answer == Py_NotImplemented ? PUSHED : PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return equal;
}

/* ---- containers --------------------------------------------------------------------------- */

static int push(ih_comparison *c, const ih_pair *pair)
{
    if (c->depth == c->room) {
        size_t room = c->room == 0 ? 8 : c->room * 2;
        ih_pair *pairs = PyMem_Realloc(c->pairs, room * sizeof *pairs);
        if (pairs == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        c->pairs = pairs;
        c->room = room;
    }
    c->pairs[c->depth++] = *pair;
    return PUSHED;
}

static void close_pair(ih_pair *pair)
{
    ih_cursor_close(&pair->a);
    ih_cursor_close(&pair->b);
    Py_XDECREF(pair->keys);
}

/* A list or tuple's cursor of a value; of dicts and sets the object alone. */
static int open_side(ih_cursor *cursor, ih_class class, const ih_value *value)
{
    if (class == IH_DICT_CLASS || class == IH_SET_CLASS) {
        PyObject *object = ih_value_object(value);
        if (object == NULL)
            return -1;
        *cursor = (ih_cursor){.object = object};
        return 0;
    }
    if (value->form == IH_NODE)
        ih_cursor_node(cursor, value->image, ih_word_offset(value->word), &value->node);
    else if (PyList_Check(value->object) || PyTuple_Check(value->object))
        ih_cursor_object(cursor, value->object);
    else
        ih_cursor_view(cursor, (const ih_sequence *)value->object);
    return 0;
}

/* The table of a FrozenDict or FrozenSet; NULL of other objects. */
static ih_table_view *table_of(const ih_state *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return type == state->dict_type || type == state->set_type ? (ih_table_view *)object : NULL;
}

static uint64_t side_size(const ih_comparison *c, ih_class class, const ih_cursor *side)
{
    if (class == IH_LIST_CLASS || class == IH_TUPLE_CLASS)
        return ih_cursor_size(side);
    const ih_table_view *table = table_of(c->state, side->object);
    if (table != NULL)
        return table->n;
    return (uint64_t)(class == IH_DICT_CLASS ? PyDict_GET_SIZE(side->object)
                                             : PySet_GET_SIZE(side->object));
}

/* What names a container: its bytes in the image, else its object. */
static const void *side_key(const ih_comparison *c, const ih_cursor *side, PyObject **holder,
                            const ih_image_object **image)
{
    const ih_table_view *table = NULL;
    *image = side->image;
    if (side->image == NULL && (table = table_of(c->state, side->object)) != NULL)
        *image = table->image;
    if (*image == NULL || is_slice(side)) {
        *holder = side->object;
        return side->object;
    }
    *holder = (PyObject *)*image;
    return (*image)->image.base + (table != NULL ? table->at : side->at);
}

/* Honest containers have room for their items; what claims more than its image has bytes would
 * keep us busy for ever. Each container pays for its items when it is merged into a class, which
 * happens to each once; an object brings the means along with it. */
static int charge(ih_comparison *c, uint64_t size)
{
    c->charged += size + 1;
    if (c->charged <= c->allowance)
        return 0;
    ih_fault fault = {IH_IMAGE_START, "more items than the image has bytes"};
    ih_raise_fault(c->state, &fault);
    return -1;
}

/* What an object adds to the allowance: an image as many items as it has bytes, once; a Python
 * object or a slice its own size. */
static void bring(ih_comparison *c, const ih_image_object *image, bool slice, uint64_t size)
{
    if (image == NULL || slice)
        c->allowance += size + 1;
    if (image == NULL || image == c->paid[0] || image == c->paid[1])
        return;
    c->allowance += image->image.graph;
    c->paid[c->paid[0] != NULL] = image;
}

/* The same of an image that a link led to. 0 or -1. */
static int bring_linked(ih_comparison *c, const ih_cursor *side)
{
    ih_image_object *image = side->image;
    const ih_table_view *table = NULL;
    bool fresh = false;
    if (image == NULL && (table = table_of(c->state, side->object)) != NULL)
        image = table->image;
    if (image == NULL || image == c->paid[0] || image == c->paid[1])
        return 0;
    if (ih_merge_member_of(&c->linked, image->image.base, (PyObject *)image, &fresh) < 0)
        return -1;
    if (fresh)
        c->allowance += image->image.graph;
    return 0;
}

/* 1: the pair is taken for equal; 0: it must be walked, and is remembered; -1. */
static int met_before(ih_comparison *c, ih_pair *pair)
{
    PyObject *holder_a, *holder_b;
    const ih_image_object *image_a, *image_b;
    const void *a = side_key(c, &pair->a, &holder_a, &image_a);
    const void *b = side_key(c, &pair->b, &holder_b, &image_b);
    bool object_a = pair->object_a, object_b = pair->object_b;
    uint64_t size = pair->size;
    pair->remembered = true;
    if (c->nested && ++*c->work > NESTED_MAX) {
        PyErr_SetString(PyExc_RecursionError, "nested sets of colliding hashes in comparison");
        return -1;
    }
    if (c->containers++ < UNREMEMBERED) {
        if (object_a)
            bring(c, image_a, is_slice(&pair->a), size);
        if (object_b)
            bring(c, image_b, is_slice(&pair->b), size);
        return 0;
    }
    if ((!object_a && bring_linked(c, &pair->a) < 0) ||
        (!object_b && bring_linked(c, &pair->b) < 0))
        return -1;
    bool fresh_a, fresh_b;
    int64_t first = ih_merge_member_of(&c->merge, a, holder_a, &fresh_a);
    int64_t second = first < 0 ? -1 : ih_merge_member_of(&c->merge, b, holder_b, &fresh_b);
    if (second < 0)
        return -1;
    if (fresh_a && object_a)
        bring(c, image_a, is_slice(&pair->a), size);
    if (fresh_b && object_b)
        bring(c, image_b, is_slice(&pair->b), size);
    if (ih_merge_join(&c->merge, first, second))
        return 1;
    return charge(c, size);
}

/* One node on both sides. */
static bool is_one(const ih_comparison *c, const ih_pair *pair)
{
    PyObject *holder;
    const ih_image_object *image;
    return side_key(c, &pair->a, &holder, &image) == side_key(c, &pair->b, &holder, &image);
}

/* Equal runs of packed integers need no walk. */
static bool same_packed(const ih_pair *pair)
{
    const ih_cursor *a = &pair->a, *b = &pair->b;
    return a->image != NULL && b->image != NULL && ih_kind_is_packed(a->kind) &&
           ih_kind_is_packed(b->kind) && a->code == b->code && a->code != IH_F64 &&
           a->code != IH_BOOL && a->step == 1 && b->step == 1 && a->n == b->n &&
           memcmp(a->data + (uint64_t)a->start * a->width, b->data + (uint64_t)b->start * b->width,
                  a->n * a->width) == 0;
}

static int prepare_dicts(ih_comparison *c, ih_pair *pair)
{
    ih_table_view *a = table_of(c->state, pair->a.object);
    if (a == NULL) { /* the side that is walked is a view */
        ih_cursor swapped = pair->a;
        pair->a = pair->b;
        pair->b = swapped;
        bool object = pair->object_a;
        pair->object_a = pair->object_b;
        pair->object_b = object;
        a = (ih_table_view *)pair->a.object;
    }
    const ih_table_view *b = table_of(c->state, pair->b.object);
    pair->same_keys = b != NULL && a->kind == IH_DICT_SHAPED && b->kind == IH_DICT_SHAPED &&
                      a->image->image.base == b->image->image.base && a->where == b->where;
    if (!pair->same_keys) {
        pair->keys = ih_shape_keys(a);
        if (pair->keys == NULL && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* Answers without a walk: 1, 0, -1; PUSHED: walk it. */
static int peek(ih_comparison *c, ih_pair *pair)
{
    bool sequence = pair->class == IH_LIST_CLASS || pair->class == IH_TUPLE_CLASS;
    pair->ordered = c->order && sequence && (c->depth == 0 || c->pairs[c->depth - 1].ordered);
    pair->size = side_size(c, pair->class, &pair->a);
    bool same_size = pair->size == side_size(c, pair->class, &pair->b);
    if (!same_size && !pair->ordered)
        return 0;
    if ((same_size && pair->size == 0) || is_one(c, pair) || (sequence && same_packed(pair)))
        return 1;
    if (pair->size > SMALL || pair->class == IH_SET_CLASS) {
        int known = met_before(c, pair);
        if (known != 0)
            return known;
    }
    if (pair->class == IH_SET_CLASS)
        return ih_compare_sets(c, pair->a.object, pair->b.object);
    if (pair->class == IH_DICT_CLASS && prepare_dicts(c, pair) < 0)
        return -1;
    return PUSHED;
}

/* Two containers of one class: 1, 0, -1, PUSHED, or SKIP: the pair that they are in is equal. */
static int enter(ih_comparison *c, ih_class class, const ih_value *a, const ih_value *b)
{
    if (c->depth > 0 && !c->pairs[c->depth - 1].remembered) {
        int known = met_before(c, &c->pairs[c->depth - 1]);
        if (known != 0)
            return known > 0 ? SKIP : -1;
    }
    ih_pair pair = {.class = (uint8_t) class};
    pair.object_a = a->form == IH_AN_OBJECT;
    pair.object_b = b->form == IH_AN_OBJECT;
    if (open_side(&pair.a, class, a) < 0)
        return -1;
    int result = open_side(&pair.b, class, b);
    if (result == 0)
        result = peek(c, &pair);
    if (result == PUSHED && class != IH_SET_CLASS)
        result = push(c, &pair);
    if (result != PUSHED || class == IH_SET_CLASS) /* a set's items are pushed, not itself */
        close_pair(&pair);
    return result;
}

static int values_equal(ih_comparison *c, const ih_value *a, const ih_value *b)
{
    if (a->has_word && b->has_word && a->word == b->word &&
        a->image->image.base == b->image->image.base)
        return 1; /* one object, as Python's `is` */
    bool tuples = a->form == IH_AN_OBJECT && b->form == IH_AN_OBJECT && ih_is_tuple(a->object) &&
                  ih_is_tuple(b->object); /* they may hold views */
    if (!tuples && !is_view(c, a) && !is_view(c, b))
        return leaves_equal(a, b);
    ih_class class[2];
    bool asks[2] = {false, false};
    const ih_value *values[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        const ih_value *value = values[i];
        class[i] = IH_NO_CLASS;
        if (value->form == IH_NODE)
            class[i] = ih_kind_class(value->node.kind);
        else if (value->form == IH_AN_OBJECT)
            class[i] = object_class(c->state, value->object, &asks[i]);
        if (value->form == IH_AN_OBJECT && class[i] == IH_NO_CLASS)
            asks[i] = true;
        if (asks[i]) {
            int answer = ask(value->object, values[1 - i]);
            if (answer != PUSHED)
                return answer;
        }
    }
    if (class[0] != class[1] || class[0] == IH_NO_CLASS)
        return 0;
    return enter(c, class[0], a, b);
}

/* ---- steps: 1 the pair is equal; 0; -1; PUSHED ---------------------------------------------- */

static int step_sequences(ih_comparison *c, size_t index)
{
    for (;;) {
        ih_pair *pair = &c->pairs[index];
        ih_value a, b;
        int have = ih_cursor_item(&pair->a, pair->next, &a);
        if (have <= 0)
            break;
        have = ih_cursor_item(&pair->b, pair->next, &b);
        if (have <= 0) {
            ih_value_clear(&a);
            break;
        }
        pair->next++;
        int equal = values_equal(c, &a, &b);
        ih_value_clear(&a);
        ih_value_clear(&b);
        if (equal != 1)
            return equal == SKIP ? 1 : equal;
        if ((++c->steps & SIGNAL_MASK) == 0 && PyErr_CheckSignals() < 0)
            return -1;
    }
    if (PyErr_Occurred())
        return -1;
    ih_pair *pair = &c->pairs[index];
    pair->ended = true;
    return ih_cursor_size(&pair->a) == ih_cursor_size(&pair->b);
}

/* The value under `key`: 1, 0: there is none, -1. */
static int look_up(const ih_state *state, PyObject *dict, PyObject *key, ih_value *out)
{
    ih_table_view *table = table_of(state, dict);
    if (table != NULL) {
        Py_ssize_t found = ih_table_find(table, key);
        if (found < 0)
            return found == -1 ? 0 : -1;
        uint64_t i = (uint64_t)found;
        uint32_t word = ih_load_word(table->values + i * table->value_stride);
        return ih_value_of_word(table->image, word, out) < 0 ? -1 : 1;
    }
    out->form = IH_AN_OBJECT;
    out->has_word = false;
#if PY_VERSION_HEX >= 0x030D0000
    return PyDict_GetItemRef(dict, key, &out->object);
#else
    out->object = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return out->object != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
#endif
}

static int load_values(const ih_comparison *c, const ih_pair *pair, uint64_t i, ih_value *a,
                       ih_value *b)
{
    const ih_table_view *table = (const ih_table_view *)pair->a.object;
    int have;
    if (pair->same_keys) {
        const ih_table_view *other = (const ih_table_view *)pair->b.object;
        uint32_t word = ih_load_word(other->values + i * other->value_stride);
        have = ih_value_of_word(other->image, word, b) < 0 ? -1 : 1;
    } else {
        PyObject *key = pair->keys != NULL ? Py_NewRef(PyTuple_GET_ITEM(pair->keys, (Py_ssize_t)i))
                                           : ih_dict_key(table, i);
        if (key == NULL)
            return -1;
        have = look_up(c->state, pair->b.object, key, b);
        Py_DECREF(key);
    }
    if (have != 1)
        return have;
    uint32_t word = ih_load_word(table->values + i * table->value_stride);
    if (ih_value_of_word(table->image, word, a) == 0)
        return 1;
    ih_value_clear(b);
    return -1;
}

static int step_dicts(ih_comparison *c, size_t index)
{
    for (;;) {
        ih_pair *pair = &c->pairs[index];
        if (pair->next >= ((ih_table_view *)pair->a.object)->n)
            return 1;
        ih_value a, b;
        int have = load_values(c, pair, pair->next++, &a, &b);
        if (have != 1)
            return have;
        int equal = values_equal(c, &a, &b);
        ih_value_clear(&a);
        ih_value_clear(&b);
        if (equal != 1)
            return equal == SKIP ? 1 : equal;
        if ((++c->steps & SIGNAL_MASK) == 0 && PyErr_CheckSignals() < 0)
            return -1;
    }
}

int ih_compare_lists_later(ih_comparison *c, PyObject *left, PyObject *right)
{
    ih_pair pair = {.class = IH_LIST_CLASS, .remembered = true};
    ih_cursor_object(&pair.a, left);
    ih_cursor_object(&pair.b, right);
    int result = push(c, &pair);
    if (result < 0)
        close_pair(&pair);
    return result;
}

/* ---- the whole ---------------------------------------------------------------------------- */

int ih_compare_run(ih_comparison *c, PyObject *a, PyObject *b)
{
    ih_value left, right;
    ih_value_of_object(a, &left);
    ih_value_of_object(b, &right);
    int result = values_equal(c, &left, &right);
    ih_value_clear(&left);
    ih_value_clear(&right);
    if (result != PUSHED)
        return result;
    while (c->depth > 0) {
        size_t top = c->depth - 1;
        result = c->pairs[top].class == IH_DICT_CLASS ? step_dicts(c, top) : step_sequences(c, top);
        if (result == PUSHED)
            continue;
        if (result != 1)
            return result;
        c->depth = top;
        ih_pair done = c->pairs[top];
        close_pair(&done);
    }
    return 1;
}

void ih_compare_finish(ih_comparison *c)
{
    while (c->depth > 0)
        close_pair(&c->pairs[--c->depth]);
    PyMem_Free(c->pairs);
    ih_merge_free(&c->merge);
    ih_merge_free(&c->linked);
    ih_hasher_free(c->hashers[0]);
    ih_hasher_free(c->hashers[1]);
}

ih_state *ih_compare_state(PyObject *a, PyObject *b)
{
    PyObject *objects[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        PyTypeObject *type = Py_TYPE(objects[i]);
        if ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0 || type->tp_repr != ih_repr)
            continue;
        return ih_type_state(type);
    }
    return NULL;
}

int ih_equal(PyObject *a, PyObject *b)
{
    uint64_t work = 0;
    ih_comparison c = {.state = ih_compare_state(a, b), .work = &work};
    if (c.state == NULL)
        return PyObject_RichCompareBool(a, b, Py_EQ);
    int equal = ih_walk_enter("comparison") < 0 ? -1 : ih_compare_run(&c, a, b);
    ih_walk_leave();
    ih_compare_finish(&c);
    return equal;
}

int ih_compare_nested(ih_comparison *outer, PyObject *a, PyObject *b)
{
    if (Py_EnterRecursiveCall(" in comparison of sets"))
        return -1;
    ih_comparison c = {.state = outer->state, .work = outer->work, .nested = true};
    int equal = ih_compare_run(&c, a, b);
    ih_compare_finish(&c);
    Py_LeaveRecursiveCall();
    return equal;
}
