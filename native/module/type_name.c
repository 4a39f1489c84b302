/* Names of types, read from images; see type_name.h. Nothing is made and no class is looked for. */
#include "module/type_name.h"

#define NAME_MAX_BYTES 512u

static const char *const kind_names[IH_KINDS] = {
    [IH_STR_ASCII] = "str",
    [IH_STR_UTF8] = "str",
    [IH_INT64] = "int",
    [IH_BIGINT] = "int",
    [IH_FLOAT] = "float",
    [IH_COMPLEX] = "complex",
    [IH_BYTES] = "bytes",
    [IH_BYTES_BLOB] = "bytes",
    [IH_BYTEARRAY] = "bytearray",
    [IH_BYTEARRAY_BLOB] = "bytearray",
    [IH_LIST] = "list",
    [IH_LIST_PACKED] = "list",
    [IH_LIST_STR] = "list",
    [IH_TUPLE] = "tuple",
    [IH_TUPLE_PACKED] = "tuple",
    [IH_TUPLE_STR] = "tuple",
    [IH_TUPLE_VIEW] = "tuple",
    [IH_TUPLE_VIEW_PACKED] = "tuple",
    [IH_TUPLE_VIEW_STR] = "tuple",
    [IH_DICT_SHAPED] = "dict",
    [IH_DICT_PAIRS] = "dict",
    [IH_DICT_HASHED] = "dict",
    [IH_SET] = "set",
    [IH_SET_HASHED] = "set",
    [IH_FROZENSET] = "frozenset",
    [IH_FROZENSET_HASHED] = "frozenset",
    [IH_ARRAY] = "array",
};

/* By code (store/freezing/codes.py): NULL where the payload begins with the name of a class, or of
 * its module and its own. */
static const char *const code_names[] = {
    [1] = "type",
    [2] = "builtin_function_or_method",
    [4] = "date",
    [5] = "time",
    [6] = "datetime",
    [7] = "timedelta",
    [8] = "timezone",
    [9] = "ZoneInfo",
    [10] = "Decimal",
    [11] = "Fraction",
    [12] = "UUID",
    [13] = "ipaddress",
    [14] = "Path",
    [15] = "Pattern",
    [16] = "range",
    [17] = "slice",
    [18] = "mappingproxy",
    [20] = "object",
    [23] = "Exception",
    [25] = "frozendict",
    [30] = "numpy scalar",
    [31] = "ndarray",
    [32] = "MaskedArray",
    [33] = "arrow",
    [34] = "pandas",
    [35] = "polars",
    [36] = "sparse",
    [37] = "Tensor",
    [40] = "function",
    [41] = "partial",
    [42] = "module",
    [43] = "SharedField",
    [44] = "InterpreterLocal",
    [45] = "TypeVar",
};

static PyObject *known(const char *name)
{
    return name != NULL ? PyUnicode_InternFromString(name) : Py_NewRef(Py_None);
}

/* The text of a word, cut short. NULL without an exception where it is none. */
static PyObject *text_of(const ih_image *image, uint32_t word)
{
    ih_node node;
    ih_fault fault;
    char copy[NAME_MAX_BYTES];
    if (word == IH_EMPTY_STR)
        return PyUnicode_New(0, 0);
    if (ih_word_is_int(word) || ih_word_is_constant(word) ||
        ih_read_node(image, word, &node, &fault) < 0 ||
        (node.kind != IH_SHORT_STR && node.kind != IH_STR_ASCII && node.kind != IH_STR_UTF8))
        return NULL;
    size_t size = node.n < sizeof copy ? (size_t)node.n : sizeof copy;
    memcpy(copy, image->base + node.data, size);
    return PyUnicode_DecodeUTF8(copy, (Py_ssize_t)size, "replace");
}

/* "module.Class" of the first two texts of a tuple; the first alone where the second is none. */
static PyObject *name_in(const ih_image *image, uint32_t word)
{
    ih_node pair;
    ih_fault fault;
    PyObject *name = NULL;
    if (ih_word_is_int(word) || ih_word_is_constant(word) ||
        ih_read_node(image, word, &pair, &fault) < 0)
        return Py_NewRef(Py_None);
    if (pair.kind == IH_TUPLE && pair.n >= 2) {
        const uint8_t *words = image->base + pair.data;
        PyObject *first = text_of(image, ih_load_word(words));
        PyObject *second = first != NULL ? text_of(image, ih_load_word(words + 4)) : NULL;
        if (second != NULL)
            name = PyUnicode_FromFormat("%U.%U", first, second);
        else if (first != NULL && !PyErr_Occurred())
            name = Py_NewRef(first);
        Py_XDECREF(first);
        Py_XDECREF(second);
    } else if (pair.kind == IH_TUPLE_STR && pair.n >= 2) {
        char copy[NAME_MAX_BYTES];
        uint64_t from, size, next, more;
        if (ih_text_item(image, &pair, 0, &from, &size, &fault) == 0 &&
            ih_text_item(image, &pair, 1, &next, &more, &fault) == 0 &&
            size + more + 1 <= sizeof copy) {
            memcpy(copy, image->base + from, size);
            copy[size] = '.';
            memcpy(copy + size + 1, image->base + next, more);
            name = PyUnicode_DecodeUTF8(copy, (Py_ssize_t)(size + more + 1), "replace");
        }
    }
    return name != NULL || PyErr_Occurred() ? name : Py_NewRef(Py_None);
}

static PyObject *name_of_object(const ih_image *image, const ih_node *node)
{
    ih_node layout, class;
    ih_fault fault;
    if (ih_word_is_int(node->shape) || ih_word_is_constant(node->shape) ||
        ih_read_node(image, node->shape, &layout, &fault) < 0 || layout.kind != IH_LAYOUT ||
        ih_word_is_int(layout.capacity) || ih_word_is_constant(layout.capacity) ||
        ih_read_node(image, layout.capacity, &class, &fault) < 0 || class.kind != IH_VALUE)
        return Py_NewRef(Py_None);
    return name_in(image, class.shape);
}

static PyObject *name_of_value(const ih_image *image, const ih_node *node)
{
    if (node->n < Py_ARRAY_LENGTH(code_names) && code_names[node->n] != NULL)
        return known(code_names[node->n]);
    return name_in(image, node->shape);
}

PyObject *ih_type_name_of_word(const ih_image *image, uint32_t word)
{
    static const char *const constants[] = {"NoneType", "bool",  "bool",     "str",
                                            "tuple",    "bytes", "ellipsis", "NotImplementedType"};
    ih_node node;
    ih_fault fault;
    if (ih_word_is_int(word))
        return known("int");
    if (ih_word_is_constant(word))
        return known(word < IH_CONSTANTS_END ? constants[word >> 1] : NULL);
    if (ih_read_node(image, word, &node, &fault) < 0)
        Py_RETURN_NONE;
    if (node.kind == IH_OBJECT)
        return name_of_object(image, &node);
    if (node.kind == IH_VALUE)
        return name_of_value(image, &node);
    return known(node.kind == IH_SHORT_STR ? "str" : kind_names[node.kind]);
}
