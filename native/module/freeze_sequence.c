/* Freezing lists and tuples: packed where all items are ints, floats, bools or (mostly different)
 * strings. */
#include "module/freezer_state.h"

typedef struct {
    ih_kind words, packed, strs;
} kinds;
static const kinds list_kinds = {IH_LIST, IH_LIST_PACKED, IH_LIST_STR};
static const kinds tuple_kinds = {IH_TUPLE, IH_TUPLE_PACKED, IH_TUPLE_STR};
static const kinds view_kinds = {IH_TUPLE_VIEW, IH_TUPLE_VIEW_PACKED, IH_TUPLE_VIEW_STR};

static inline PyObject **items_of(PyObject *sequence)
{
    return PyList_Check(sequence) ? ((PyListObject *)sequence)->ob_item
                                  : ((PyTupleObject *)sequence)->ob_item;
}

static bool all_of(PyObject *const *items, Py_ssize_t n, PyTypeObject *type)
{
    for (Py_ssize_t i = 0; i < n; i++)
        if (Py_TYPE(items[i]) != type)
            return false;
    return true;
}

/* ---- packed --------------------------------------------------------------------------------- */

/* The value of an exact int: 1 in i64, 2 above it (in u64, *value is its bits), 0 neither. */
static inline int int_value(PyObject *number, int64_t *value)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)number)) {
        *value = PyUnstable_Long_CompactValue((PyLongObject *)number);
        return 1;
    }
#endif
    int overflow;
    *value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow == 0)
        return 1;
    if (overflow < 0)
        return 0;
    unsigned long long large = PyLong_AsUnsignedLongLong(number);
    if (large == (unsigned long long)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    *value = (int64_t)large;
    return 2;
}

/* The narrowest element code that holds all ints; -1 where none does. */
static int int_code(PyObject *const *items, Py_ssize_t n)
{
    int64_t least = 0, most = 0, value;
    bool beyond = false;
    for (Py_ssize_t i = 0; i < n; i++) {
        int fits = int_value(items[i], &value);
        if (fits == 0)
            return -1;
        if (fits == 2)
            beyond = true;
        else if (value < least)
            least = value;
        else if (value > most)
            most = value;
    }
    if (beyond)
        return least < 0 ? -1 : IH_U64;
    if (least >= 0) {
        if (most <= UINT8_MAX)
            return IH_U8;
        if (most <= UINT16_MAX)
            return IH_U16;
        return most <= UINT32_MAX ? IH_U32 : IH_I64;
    }
    if (least >= INT8_MIN && most <= INT8_MAX)
        return IH_I8;
    if (least >= INT16_MIN && most <= INT16_MAX)
        return IH_I16;
    return least >= INT32_MIN && most <= INT32_MAX ? IH_I32 : IH_I64;
}

static void fill_ints(uint8_t *p, PyObject *const *items, Py_ssize_t n, uint32_t width)
{
    for (Py_ssize_t i = 0; i < n; i++, p += width) {
        int64_t value;
        (void)int_value(items[i], &value);
        switch (width) {
        case 1:
            *p = (uint8_t)value;
            break;
        case 2:
            memcpy(p, &(uint16_t){(uint16_t)value}, 2);
            break;
        case 4:
            memcpy(p, &(uint32_t){(uint32_t)value}, 4);
            break;
        default:
            memcpy(p, &value, 8);
            break;
        }
    }
}

/* 1: written as a packed node; 0: these items don't pack; -1. */
static int freeze_packed(freezer *f, PyObject *const *items, Py_ssize_t n, ih_kind kind,
                         uint64_t *at)
{
    PyTypeObject *type = Py_TYPE(items[0]);
    int code;
    if (type == &PyFloat_Type)
        code = IH_F64;
    else if (type == &PyLong_Type)
        code = IH_I64;
    else if (type == &PyBool_Type)
        code = IH_BOOL;
    else
        return 0;
    if (!all_of(items, n, type))
        return 0;
    if (code == IH_I64 && (code = int_code(items, n)) < 0)
        return 0;
    uint64_t data;
    int result = ih_write_packed(&f->writer, kind, (unsigned)code, (uint64_t)n, at, &data);
    if (result < 0)
        return freeze_failed(result);
    uint8_t *p = f->writer.bytes + data;
    if (code == IH_F64) {
        for (Py_ssize_t i = 0; i < n; i++)
            memcpy(p + 8 * i, &((PyFloatObject *)items[i])->ob_fval, 8);
    } else if (code == IH_BOOL) {
        for (Py_ssize_t i = 0; i < n; i++)
            p[i] = items[i] == Py_True;
    } else {
        fill_ints(p, items, n, ih_element_width((unsigned)code));
    }
    return 1;
}

/* ---- text runs ------------------------------------------------------------------------------ */

#define RUN_MIN 16    /* shorter lists gain nothing */
#define RUN_SAMPLE 32 /* strings looked at to tell whether they repeat */

/* A run stores each string where it stands; where they repeat, words to one node each are smaller.
 */
static bool mostly_different(PyObject *const *items, Py_ssize_t n)
{
    Py_ssize_t sample = n < RUN_SAMPLE ? n : RUN_SAMPLE, step = n / sample;
    int different = 0;
    for (Py_ssize_t i = 0; i < sample; i++) {
        PyObject *a = items[i * step];
        bool seen = false;
        for (Py_ssize_t j = 0; j < i && !seen; j++) {
            PyObject *b = items[j * step];
            seen = a == b || (PyUnicode_GET_LENGTH(a) == PyUnicode_GET_LENGTH(b) &&
                              PyUnicode_Compare(a, b) == 0);
        }
        different += !seen;
    }
    return different * 4 >= sample * 3;
}

uint64_t freeze_utf8_size(PyObject *str)
{
    uint64_t size = (uint64_t)PyUnicode_GET_LENGTH(str);
    if (PyUnicode_IS_ASCII(str))
        return size;
    int kind = PyUnicode_KIND(str);
    const void *data = PyUnicode_DATA(str);
    uint64_t more = 0;
    for (uint64_t i = 0; i < size; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, (Py_ssize_t)i);
        more += (c >= 0x80 ? 1u : 0u) + (c >= 0x800 ? 1u : 0u) + (c >= 0x10000 ? 1u : 0u);
    }
    return size + more;
}

/* 1: written as a text run; 0: it does not pay; -1. */
static int freeze_run(freezer *f, PyObject *const *items, Py_ssize_t n, ih_kind kind, uint64_t *at)
{
    if (n < RUN_MIN || !PyUnicode_CheckExact(items[0]) || !all_of(items, n, &PyUnicode_Type) ||
        !mostly_different(items, n))
        return 0;
    uint64_t size = 0;
    bool ascii = true;
    for (Py_ssize_t i = 0; i < n; i++) {
        size += freeze_utf8_size(items[i]);
        ascii = ascii && PyUnicode_IS_ASCII(items[i]);
    }
    if (size > UINT32_MAX)
        return 0;
    uint32_t width = size <= UINT8_MAX ? 1 : size <= UINT16_MAX ? 2 : 4;
    ih_writer *w = &f->writer;
    uint64_t ends = ((uint64_t)n * width + 3) & ~(uint64_t)3;
    int result = ih_begin_node(w, kind, (uint64_t)n, 8 + ends + size + 4, at);
    if (result < 0)
        return freeze_failed(result);
    uint8_t *end = w->bytes + w->size + 8, *text = end + ends, *p = text;
    ih_store32(w->bytes + w->size, width | (ascii ? 0x100u : 0));
    ih_store32(w->bytes + w->size + 4, (uint32_t)size);
    for (Py_ssize_t i = 0; i < n; i++) {
        p = freeze_put_utf8(p, items[i]);
        uint32_t offset = (uint32_t)(p - text);
        memcpy(end + (uint64_t)i * width, &offset,
               width); /* little-endian: the low bytes come first */
    }
    memset(end + (uint64_t)n * width, 0, ends - (uint64_t)n * width);
    w->size += 8 + ends + size;
    ih_pad4(w);
    return 1;
}

/* ---- words ---------------------------------------------------------------------------------- */

/* Where the words of the node at `at` begin. */
static uint64_t words_of(uint64_t at, Py_ssize_t n)
{
    return at + 4 + ((uint64_t)n >= IH_COUNT_WIDE ? 8 : 0);
}

int fill_sequence(freezer *f, PyObject *sequence, uint64_t at, int depth)
{
    Py_ssize_t n = Py_SIZE(sequence);
    uint64_t words = words_of(at, n);
    for (Py_ssize_t i = 0; i < n; i++) {
        uint32_t word;
        if (freeze_value(f, items_of(sequence)[i], depth + 1, &word) < 0)
            return -1;
        ih_put_word(&f->writer, words + 4 * (uint64_t)i, word);
    }
    return 0;
}

/* `identity` is the object that others refer to; `sequence` the same, or its copy. */
static int freeze_sequence(freezer *f, PyObject *sequence, PyObject *identity, const kinds *as,
                           int depth, uint32_t *word)
{
    Py_ssize_t n = Py_SIZE(sequence);
    PyObject **items = items_of(sequence);
    uint64_t at = 0;
    if (n > 0) {
        int packed = freeze_packed(f, items, n, as->packed, &at);
        if (packed == 0)
            packed = freeze_run(f, items, n, as->strs, &at);
        if (packed < 0)
            return -1;
        *word = ih_word_at(at);
        if (packed > 0)
            return memo_add(f, identity, *word);
    }
    int result = ih_begin_node(&f->writer, as->words, (uint64_t)n, 4 * (uint64_t)n, &at);
    if (result < 0)
        return freeze_failed(result);
    f->writer.size += 4 * (uint64_t)n;
    *word = ih_word_at(at);
    if (memo_add(f, identity, *word) < 0)
        return -1;
    if (as == &tuple_kinds) {
        /* Never deferred: how deep it goes is bounded, and what it is inside of must be known. */
        if (freeze_open(f, identity != NULL ? identity : sequence, *word, true) < 0)
            return -1;
        result = fill_sequence(f, sequence, at, depth);
        freeze_close(f);
        return result;
    }
    if (depth >= RECURSION_MAX)
        return freeze_later(f, sequence, at);
    uint32_t outside = freeze_enter_lazy(f);
    result = fill_sequence(f, sequence, at, depth);
    freeze_leave_lazy(f, outside);
    return result;
}

int freeze_list_part(freezer *f, PyObject *list, int depth, uint32_t *word)
{
    return freeze_sequence(f, list, NULL, &list_kinds, depth, word);
}

int freeze_list(freezer *f, PyObject *list, int depth, uint32_t *word)
{
    *word = memo_find(f, list);
    if (*word != 0)
        return 0;
    if (!f->careful)
        return freeze_sequence(f, list, list, &list_kinds, depth, word);
    PyObject *copy = PyList_AsTuple(list); /* nobody changes a tuple */
    if (freeze_keep(f, copy) < 0)
        return -1;
    return freeze_sequence(f, copy, list, &list_kinds, depth, word);
}

/* Does the tree of tuples, those of subclasses included, stay within what may open as real ones? */
static int opens_as_tuple(freezer *f, PyObject *tuple, uint32_t depth, uint32_t *nodes)
{
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    if (depth == 0 || (uint64_t)n + 1 > *nodes)
        return 0;
    *nodes -= (uint32_t)n + 1;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        if (!PyTuple_Check(item))
            continue;
        if (!PyTuple_CheckExact(item)) {
            const known_class *class = freeze_class(f, Py_TYPE(item));
            if (class == NULL)
                return -1;
            if (class->rule->kind != RULE_TUPLE)
                continue;
        }
        int small = opens_as_tuple(f, item, depth - 1, nodes);
        if (small <= 0)
            return small;
    }
    return 1;
}

int freeze_opens_as_tuple(freezer *f, PyObject *tuple)
{
    uint32_t nodes = IH_TUPLE_TREE_MAX;
    if (f->uncounted) { /* inside a real one that was counted without it */
        f->uncounted = false;
        return 0;
    }
    return opens_as_tuple(f, tuple, IH_TUPLE_DEPTH_MAX, &nodes);
}

static int freeze_as_tuple(freezer *f, PyObject *tuple, PyObject *identity, int depth,
                           uint32_t *word)
{
    if (PyTuple_GET_SIZE(tuple) == 0) {
        *word = IH_EMPTY_TUPLE;
        return 0;
    }
    int real = freeze_opens_as_tuple(f, tuple);
    if (real < 0)
        return -1;
    return freeze_sequence(f, tuple, identity, real ? &tuple_kinds : &view_kinds, depth, word);
}

int freeze_tuple_part(freezer *f, PyObject *tuple, int depth, uint32_t *word)
{
    return freeze_as_tuple(f, tuple, NULL, depth, word);
}

int freeze_tuple(freezer *f, PyObject *tuple, int depth, uint32_t *word)
{
    *word = f->uncounted ? 0 : memo_find(f, tuple);
    return *word != 0 ? 0 : freeze_as_tuple(f, tuple, tuple, depth, word);
}
