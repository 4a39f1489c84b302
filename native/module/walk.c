/* Cursors and values; see walk.h. */
#include "module/walk.h"

#include "module/link.h"

#define WALKS_MAX 200u

static _Thread_local unsigned walks;

int ih_walk_enter(const char *doing)
{
    if (++walks <= WALKS_MAX)
        return 0;
    PyErr_Format(PyExc_RecursionError, "views inside objects inside views without end in %s",
                 doing);
    return -1;
}

void ih_walk_leave(void) { walks--; }

ih_class ih_kind_class(unsigned kind)
{
    switch (kind) {
    case IH_LIST:
    case IH_LIST_PACKED:
    case IH_LIST_STR:
        return IH_LIST_CLASS;
    case IH_TUPLE:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW:
    case IH_TUPLE_VIEW_PACKED:
    case IH_TUPLE_VIEW_STR:
        return IH_TUPLE_CLASS;
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        return IH_DICT_CLASS;
    case IH_SET:
    case IH_SET_HASHED:
    case IH_FROZENSET:
    case IH_FROZENSET_HASHED:
        return IH_SET_CLASS;
    default:
        return IH_NO_CLASS;
    }
}

static int make_object(ih_image_object *image, uint32_t word, ih_value *out)
{
    out->form = IH_AN_OBJECT;
    out->object = ih_decode(image, word);
    return out->object == NULL ? -1 : 0;
}

int ih_value_of_word(ih_image_object *image, uint32_t word, ih_value *out)
{
    out->has_word = true;
    out->word = word;
    out->image = image;
    if (ih_word_is_int(word)) {
        out->form = IH_INTEGER;
        out->integer = ih_word_int(word);
        return 0;
    }
    if (ih_word_is_constant(word))
        return make_object(image, word, out);
    ih_fault fault;
    ih_node *node = &out->node;
    if (ih_read_node(&image->image, word, node, &fault) < 0) {
        ih_raise_fault(image->state, &fault);
        return -1;
    }
    if (node->kind == IH_LINK) {
        ih_node link = *node;
        image = ih_follow_link(image, &link, node);
        if (image == NULL)
            return -1;
        out->image = image;
        out->word = word = link.shape;
    }
    const uint8_t *data = image->image.base + node->data;
    switch (node->kind) {
    case IH_SHORT_STR:
    case IH_STR_ASCII:
    case IH_STR_UTF8:
        out->form = IH_TEXT;
        out->text = data;
        out->size = node->n;
        out->ascii = node->ascii;
        return 0;
    case IH_INT64:
        out->form = IH_INTEGER;
        memcpy(&out->integer, data, 8);
        return 0;
    case IH_FLOAT:
        out->form = IH_NUMBER;
        memcpy(&out->number, data, 8);
        return 0;
    default:
        if (ih_kind_class(node->kind) == IH_NO_CLASS)
            return make_object(image, word, out);
        out->form = IH_NODE;
        return 0;
    }
}

PyObject *ih_value_object(const ih_value *value)
{
    switch ((ih_form)value->form) {
    case IH_AN_OBJECT:
        return Py_NewRef(value->object);
    case IH_INTEGER:
        return PyLong_FromLongLong(value->integer);
    case IH_NUMBER:
        return PyFloat_FromDouble(value->number);
    case IH_TEXT:
        break;
    case IH_NODE: /* a second look may find another kind, which nobody here reckons with */
        switch (ih_kind_class(value->node.kind)) {
        case IH_DICT_CLASS:
            return ih_new_dict(value->image, ih_word_offset(value->word), &value->node);
        case IH_SET_CLASS:
            return ih_new_set(value->image, ih_word_offset(value->word), &value->node);
        default:
            break;
        }
    }
    if (value->has_word)
        return ih_decode(value->image, value->word);
    uint64_t at = (uint64_t)(value->text - value->image->image.base);
    return ih_decode_text(value->image, value->text, value->size, value->ascii, at);
}

void ih_cursor_node(ih_cursor *cursor, ih_image_object *image, uint64_t at, const ih_node *node)
{
    *cursor = (ih_cursor){
        .image = (ih_image_object *)Py_NewRef((PyObject *)image),
        .data = image->image.base + node->data,
        .at = at,
        .n = node->n,
        .text = node->text,
        .text_size = node->text_size,
        .step = 1,
        .kind = node->kind,
        .code = node->code,
        .width = node->width,
        .ascii = node->ascii,
        .whole = true,
    };
}

void ih_cursor_view(ih_cursor *cursor, const ih_sequence *view)
{
    *cursor = (ih_cursor){
        .image = (ih_image_object *)Py_NewRef((PyObject *)view->image),
        .object = Py_NewRef((PyObject *)view),
        .data = view->data,
        .at = view->at,
        .n = view->n,
        .text = view->text,
        .text_size = view->text_size,
        .start = view->start,
        .step = view->step,
        .kind = view->kind,
        .code = view->code,
        .width = view->width,
        .ascii = view->ascii != 0,
        .whole = view->whole,
    };
}

void ih_cursor_object(ih_cursor *cursor, PyObject *object)
{
    *cursor = (ih_cursor){.object = Py_NewRef(object)};
}

static int native_item(PyObject *object, uint64_t i, ih_value *out)
{
    PyObject *item;
    if (PyList_Check(object)) {
        if (i >= (uint64_t)PyList_GET_SIZE(object))
            return 0;
#if PY_VERSION_HEX >= 0x030D0000
        item = PyList_GetItemRef(object, (Py_ssize_t)i);
        if (item == NULL) { /* another thread was quicker */
            PyErr_Clear();
            return 0;
        }
#else
        item = Py_NewRef(PyList_GET_ITEM(object, (Py_ssize_t)i));
#endif
    } else {
        if (i >= (uint64_t)PyTuple_GET_SIZE(object))
            return 0;
        item = Py_NewRef(PyTuple_GET_ITEM(object, (Py_ssize_t)i));
    }
    out->form = IH_AN_OBJECT;
    out->has_word = false;
    out->object = item;
    return 1;
}

static int packed_item(const uint8_t *element, unsigned code, ih_value *out)
{
    out->form = IH_INTEGER;
    out->has_word = false;
    switch ((ih_element)code) {
    case IH_I8:
        out->integer = (int8_t)*element;
        return 1;
    case IH_U8:
        out->integer = *element;
        return 1;
    case IH_I16: {
        int16_t v;
        memcpy(&v, element, 2);
        out->integer = v;
        return 1;
    }
    case IH_U16: {
        uint16_t v;
        memcpy(&v, element, 2);
        out->integer = v;
        return 1;
    }
    case IH_I32: {
        int32_t v;
        memcpy(&v, element, 4);
        out->integer = v;
        return 1;
    }
    case IH_U32: {
        uint32_t v;
        memcpy(&v, element, 4);
        out->integer = v;
        return 1;
    }
    case IH_I64:
        memcpy(&out->integer, element, 8);
        return 1;
    case IH_F64:
        out->form = IH_NUMBER;
        memcpy(&out->number, element, 8);
        return 1;
    default:
        out->form = IH_AN_OBJECT;
        out->object = ih_decode_element(element, code);
        return out->object == NULL ? -1 : 1;
    }
}

static int text_item(const ih_cursor *cursor, uint64_t element, ih_value *out)
{
    ih_image_object *image = cursor->image;
    ih_node run = {
        .width = cursor->width,
        .data = (uint64_t)(cursor->data - image->image.base),
        .text = cursor->text,
        .text_size = cursor->text_size,
    };
    uint64_t from;
    ih_fault fault;
    if (ih_text_item(&image->image, &run, element, &from, &out->size, &fault) < 0) {
        ih_raise_fault(image->state, &fault);
        return -1;
    }
    out->form = IH_TEXT;
    out->has_word = false;
    out->image = image;
    out->ascii = cursor->ascii;
    out->text = image->image.base + from;
    return 1;
}

int ih_cursor_item(const ih_cursor *cursor, uint64_t i, ih_value *out)
{
    if (cursor->image == NULL)
        return native_item(cursor->object, i, out);
    if (i >= cursor->n)
        return 0;
    uint64_t element = (uint64_t)(cursor->start + (int64_t)i * cursor->step);
    if (ih_kind_is_packed(cursor->kind))
        return packed_item(cursor->data + element * cursor->width, cursor->code, out);
    if (ih_kind_is_text_run(cursor->kind))
        return text_item(cursor, element, out);
    uint32_t word = ih_load_word(cursor->data + 4 * element);
    return ih_value_of_word(cursor->image, word, out) < 0 ? -1 : 1;
}
