/* From words and nodes to Python objects: plain values are made, containers become views.
 *
 * The bytes decoded here may be hostile and may change meanwhile: ih_read_node() gives checked
 * extents, text is copied into the new object or a private buffer before anybody interprets it, and
 * real tuples, the only kind decoded recursively, are bounded in depth and in nodes (H4, H24). */
#include "module/decode.h"

#include "image/hash.h"
#include "image/utf8.h"
#include "module/link.h"
#include "module/object.h"
#include "module/thaw.h"
#include "module/value.h"

static PyObject *raise_fault_at(ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    return ih_raise_fault(image->state, &fault);
}

PyObject *ih_decode_text(ih_image_object *image, const uint8_t *text, uint64_t size, bool ascii,
                         uint64_t fault_at)
{
    if (ascii) {
        if (size == 1) {
            uint8_t c = __atomic_load_n(text, __ATOMIC_RELAXED);
            if (c >= 0x80)
                return raise_fault_at(image, fault_at, "ASCII text with other bytes");
            return PyUnicode_FromOrdinal(c); /* the interpreter's own one-character string */
        }
        PyObject *str = PyUnicode_New((Py_ssize_t)size, 127);
        if (str == NULL || size == 0)
            return str;
        uint8_t *copy = PyUnicode_1BYTE_DATA(str);
        memcpy(copy, text, size);
        if (!ih_is_ascii(copy, size)) {
            Py_DECREF(str);
            return raise_fault_at(image, fault_at, "ASCII text with other bytes");
        }
        return str;
    }
    char small[256];
    char *copy = size <= sizeof small ? small : PyMem_Malloc(size);
    if (copy == NULL)
        return PyErr_NoMemory();
    memcpy(copy, text, size);
    PyObject *str = PyUnicode_DecodeUTF8(copy, (Py_ssize_t)size, "surrogatepass");
    if (copy != small)
        PyMem_Free(copy);
    if (str == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        return raise_fault_at(image, fault_at, "text that is not UTF-8");
    }
    return str;
}

/* Text of up to IH_SHORT_STR_MAX bytes, remembered: short strings are met again. */
static PyObject *decode_short_str(ih_image_object *image, uint32_t word, const ih_node *node)
{
    const uint8_t *text = image->image.base + node->data;
#if IH_CACHES
    ih_state *state = image->state;
    ih_str_cache_entry *entry =
        &state->strs[(word >> 1 ^ (uint32_t)image->identity) % IH_STR_CACHE];
    if (entry->word == word && entry->identity == image->identity && entry->value != NULL)
        return Py_NewRef(entry->value);
    PyObject *str = ih_decode_text(image, text, node->n, node->ascii, node->data);
    if (str != NULL) {
        entry->word = word;
        entry->identity = image->identity;
        Py_XSETREF(entry->value, Py_NewRef(str));
    }
    return str;
#else
    (void)word;
    return ih_decode_text(image, text, node->n, node->ascii, node->data);
#endif
}

static PyObject *decode_big_int(ih_image_object *image, const ih_node *node)
{
    uint8_t small[256];
    uint8_t *copy = node->n <= sizeof small ? small : PyMem_Malloc(node->n);
    if (copy == NULL)
        return PyErr_NoMemory();
    memcpy(copy, image->image.base + node->data, node->n);
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *result = PyLong_FromNativeBytes(copy, node->n, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
    PyObject *result = _PyLong_FromByteArray(copy, node->n, 1, 1);
#endif
    if (copy != small)
        PyMem_Free(copy);
    return result;
}

static double load_double(const uint8_t *p)
{
    double value;
    memcpy(&value, p, 8);
    return value;
}

PyObject *ih_decode_element(const uint8_t *p, unsigned code)
{
    int64_t i64 = 0;
    switch ((ih_element)code) {
    case IH_I8:
        return PyLong_FromLong((int8_t)*p);
    case IH_U8:
        return PyLong_FromLong(*p);
    case IH_I16: {
        int16_t v;
        memcpy(&v, p, 2);
        return PyLong_FromLong(v);
    }
    case IH_U16: {
        uint16_t v;
        memcpy(&v, p, 2);
        return PyLong_FromLong(v);
    }
    case IH_I32: {
        int32_t v;
        memcpy(&v, p, 4);
        return PyLong_FromLong(v);
    }
    case IH_U32: {
        uint32_t v;
        memcpy(&v, p, 4);
        return PyLong_FromLong((long)v); /* quicker than its unsigned sister */
    }
    case IH_I64:
        memcpy(&i64, p, 8);
        return PyLong_FromLongLong(i64);
    case IH_U64:
        memcpy(&i64, p, 8);
        return i64 >= 0 ? PyLong_FromLongLong(i64) : PyLong_FromUnsignedLongLong((uint64_t)i64);
    case IH_F64:
        return PyFloat_FromDouble(load_double(p));
    case IH_BOOL:
        return PyBool_FromLong(*p != 0);
    case IH_ELEMENTS:
        break;
    }
    Py_UNREACHABLE();
}

/* ---- real tuples ---------------------------------------------------------------------------- */

static PyObject *decode(ih_image_object *image, uint32_t word, ih_budget *left);

static PyObject *fill_tuple(ih_image_object *image, uint64_t at, const ih_node *node,
                            ih_budget *left)
{
    if (node->n >= left->nodes || left->depth == 0)
        return raise_fault_at(image, at, "tuples nested without end or too large to be real ones");
    left->nodes -= (uint32_t)node->n + 1;
    left->depth--;
    PyObject *tuple = PyTuple_New((Py_ssize_t)node->n);
    if (tuple == NULL)
        return NULL;
    const uint8_t *data = image->image.base + node->data;
    for (uint64_t i = 0; i < node->n; i++) {
        PyObject *item;
        if (node->kind == IH_TUPLE) {
            item = decode(image, ih_load_word(data + 4 * i), left);
        } else if (node->kind == IH_TUPLE_PACKED) {
            item = ih_decode_element(data + i * node->width, node->code);
        } else {
            uint64_t from, size;
            ih_fault fault;
            if (ih_text_item(&image->image, node, i, &from, &size, &fault) < 0)
                item = ih_raise_fault(image->state, &fault);
            else
                item = ih_decode_text(image, image->image.base + from, size, node->ascii, from);
        }
        if (item == NULL) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
    }
    left->depth++;
    return tuple;
}

static PyObject *decode_tuple(ih_image_object *image, uint64_t at, const ih_node *node,
                              ih_budget *left)
{
    if (left->making == NULL)
        return fill_tuple(image, at, node, left);
    ih_step step;
    uint64_t width = node->kind == IH_TUPLE ? 4 : node->width;
    if (ih_making_begin(left, image, at, node->shared, 4 + width * node->n, &step) < 0)
        return NULL;
    if (step.known != NULL)
        return step.known;
    PyObject *tuple = fill_tuple(image, at, node, left);
    return ih_making_end(left, image, at, node->shared, &step, tuple);
}

/* What is a FrozenTuple otherwise. */
static PyObject *decode_long_tuple(ih_image_object *image, uint64_t at, const ih_node *node,
                                   ih_budget *left)
{
    if (node->kind == IH_TUPLE_VIEW)
        return ih_make_long_tuple(image, at, node, left);
    ih_step step;
    if (ih_making_begin(left, image, at, node->shared, 8 + node->n * node->width, &step) < 0)
        return NULL;
    if (step.known != NULL)
        return step.known;
    PyObject *tuple = ih_thaw_elements(image, node, (ih_selection){node->n, 0, 1}, true);
    return ih_making_end(left, image, at, node->shared, &step, tuple);
}

/* ---- words ---------------------------------------------------------------------------------- */

static PyObject *decode_constant(ih_image_object *image, uint32_t word)
{
    switch (word) {
    case IH_NONE:
        Py_RETURN_NONE;
    case IH_FALSE:
        Py_RETURN_FALSE;
    case IH_TRUE:
        Py_RETURN_TRUE;
    case IH_EMPTY_STR:
        return PyUnicode_New(0, 0);
    case IH_EMPTY_TUPLE:
        return PyTuple_New(0);
    case IH_EMPTY_BYTES:
        return PyBytes_FromStringAndSize(NULL, 0);
    case IH_ELLIPSIS:
        return Py_NewRef(Py_Ellipsis);
    case IH_NOT_IMPLEMENTED:
        return Py_NewRef(Py_NotImplemented);
    default:
        return raise_fault_at(image, word, "reserved constant");
    }
}

/* A view of a node of another image. Honest links lead to no link. */
static PyObject *decode_link(ih_image_object *image, uint64_t at, const ih_node *link,
                             ih_budget *left)
{
    ih_image_object *other = ih_link_target(image, link->n);
    if (other == NULL)
        return NULL;
    uint64_t target = ih_word_offset(link->shape);
    if (target + 4 > other->image.graph || left->depth == 0)
        return raise_fault_at(image, at, "link outside its target");
    uint32_t header = ih_load_word(other->image.base + target);
    if ((header & IH_NODE_BIT) == 0 || !ih_may_be_linked(header & IH_KIND_MASK))
        return raise_fault_at(image, at, "a link to what is no view");
    left->depth--; /* the target may change meanwhile */
    PyObject *object = decode(other, link->shape, left);
    left->depth++;
    return object;
}

static PyObject *decode_node(ih_image_object *image, uint64_t at, const ih_node *node,
                             ih_budget *left)
{
    const uint8_t *data = image->image.base + node->data;
    switch (node->kind) {
    case IH_STR_ASCII:
    case IH_STR_UTF8:
        return ih_decode_text(image, data, node->n, node->ascii, at);
    case IH_INT64: {
        int64_t value;
        memcpy(&value, data, 8);
        return PyLong_FromLongLong(value);
    }
    case IH_BIGINT:
        return decode_big_int(image, node);
    case IH_FLOAT:
        return PyFloat_FromDouble(load_double(data));
    case IH_COMPLEX:
        return PyComplex_FromDoubles(load_double(data), load_double(data + 8));
    case IH_BYTES:
        return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)node->n);
    case IH_BYTES_BLOB:
        if (image->native)
            return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)node->n);
        return ih_new_bytes(image, at, node);
    case IH_BYTEARRAY:
    case IH_BYTEARRAY_BLOB:
        return ih_new_bytes(image, at, node);
    case IH_TUPLE:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_STR:
        return decode_tuple(image, at, node, left);
    case IH_TUPLE_VIEW:
    case IH_TUPLE_VIEW_PACKED:
    case IH_TUPLE_VIEW_STR:
        if (image->native)
            return decode_long_tuple(image, at, node, left); /* fall through */
    case IH_LIST:
    case IH_LIST_PACKED:
    case IH_LIST_STR:
        return ih_new_sequence(image, at, node);
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        return ih_new_dict(image, at, node);
    case IH_SET:
    case IH_SET_HASHED:
    case IH_FROZENSET:
    case IH_FROZENSET_HASHED:
        return ih_new_set(image, at, node);
    case IH_ARRAY:
        return ih_open_array(image, at, node);
    case IH_OBJECT:
        return ih_open_object(image, at, node, left);
    case IH_LINK:
        return decode_link(image, at, node, left);
    case IH_VALUE:
        return ih_open_value(image, at, node, left);
    default:
        return raise_fault_at(image, at, "a value cannot be of this kind of node");
    }
}

/* Nodes that data is full of, without the general reader: dicts of a shape and objects of a layout
 * that are known, and small packed tuples. NULL without an exception: another kind, or one to be
 * looked at with more care. */
static PyObject *decode_frequent(ih_image_object *image, uint64_t at, ih_budget *left)
{
    const uint8_t *node = image->image.base + at;
    uint32_t header = ih_load_word(node);
    uint32_t kind = header & (IH_NODE_BIT | IH_KIND_MASK);
    if (kind == (IH_NODE_BIT | IH_DICT_SHAPED))
        return ih_new_known_dict(image, at, header);
    if (kind == (IH_NODE_BIT | IH_OBJECT))
        return ih_open_known_object(image, at, header);
    if (kind != (IH_NODE_BIT | IH_TUPLE_PACKED))
        return NULL;
    uint32_t n = header >> 12, code = header >> 8 & 15, width = ih_element_width(code);
    if (code >= IH_ELEMENTS || n * width >= 64 || n >= left->nodes || left->depth == 0 ||
        n * width > image->image.graph - at - 4)
        return NULL;
    left->nodes -= n + 1;
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    for (uint32_t i = 0; tuple != NULL && i < n; i++) {
        PyObject *item = ih_decode_element(node + 4 + (size_t)i * width, code);
        if (item == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
    }
    return tuple;
}

static PyObject *decode(ih_image_object *image, uint32_t word, ih_budget *left)
{
    if (ih_word_is_int(word))
        return PyLong_FromLong((long)ih_word_int(word));
    if (ih_word_is_constant(word))
        return decode_constant(image, word);
    ih_node node;
    ih_fault fault;
    uint64_t at = ih_word_offset(word);
    if (at >= IH_IMAGE_START && at + 8 <= image->image.graph) {
        PyObject *object = decode_frequent(image, at, left);
        if (object != NULL || PyErr_Occurred())
            return object;
    }
    if (ih_read_node(&image->image, word, &node, &fault) < 0)
        return ih_raise_fault(image->state, &fault);
    if (node.kind == IH_SHORT_STR || (node.kind == IH_STR_UTF8 && node.n <= IH_SHORT_STR_MAX))
        return decode_short_str(image, word, &node);
    return decode_node(image, at, &node, left);
}

PyObject *ih_decode_within(ih_image_object *image, uint32_t word, ih_budget *left)
{
    return decode(image, word, left);
}

PyObject *ih_decode(ih_image_object *image, uint32_t word)
{
    ih_budget left = {IH_TUPLE_TREE_MAX + 1, IH_TUPLE_DEPTH_MAX, NULL};
    PyObject *object = decode(image, word, &left);
    if (__builtin_expect(left.making != NULL, 0))
        return ih_making_done(left.making, object);
    return object;
}

PyObject *ih_decode_item(const ih_sequence *sequence, uint64_t element)
{
    ih_image_object *image = sequence->image;
    switch (sequence->kind) {
    case IH_LIST:
    case IH_TUPLE_VIEW:
        return ih_decode(image, ih_load_word(sequence->data + 4 * element));
    case IH_LIST_PACKED:
    case IH_TUPLE_VIEW_PACKED:
        return ih_decode_element(sequence->data + element * sequence->width, sequence->code);
    default: {
        ih_node run = {.width = sequence->width,
                       .data = (uint64_t)(sequence->data - image->image.base),
                       .text = sequence->text,
                       .text_size = sequence->text_size};
        uint64_t from, size;
        ih_fault fault;
        if (ih_text_item(&image->image, &run, element, &from, &size, &fault) < 0)
            return ih_raise_fault(image->state, &fault);
        return ih_decode_text(image, image->image.base + from, size, sequence->ascii, from);
    }
    }
}
