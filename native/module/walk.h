/* Walking containers without making views of what is inside: for comparison, hashing and repr.
 *
 * Purpose.   A cursor is an opened container: a node of an image, a view, or a Python object. A
 *            value is one item of it in the cheapest form that can still be compared: a number or
 *            text is not made into an object before somebody needs one.
 * Ownership. A cursor holds what it reads. A value of form IH_AN_OBJECT owns its object; the others
 *            borrow from the cursor they came from.
 */
#ifndef ICEHOUSE_MODULE_WALK_H
#define ICEHOUSE_MODULE_WALK_H

#include "module/decode.h"

typedef enum { IH_AN_OBJECT, IH_INTEGER, IH_NUMBER, IH_TEXT, IH_NODE } ih_form;

/* What may equal what: a list never equals a tuple. */
typedef enum { IH_NO_CLASS, IH_LIST_CLASS, IH_TUPLE_CLASS, IH_DICT_CLASS, IH_SET_CLASS } ih_class;

typedef struct {
    uint8_t form;  /* ih_form */
    bool has_word; /* it is a word of the image */
    bool ascii;    /* IH_TEXT */
    uint32_t word; /* where has_word */
    ih_image_object
        *image;       /* borrowed; of words and text: behind a link another than the cursor's */
    PyObject *object; /* IH_AN_OBJECT: owned */
    union {
        int64_t integer;     /* IH_INTEGER */
        double number;       /* IH_NUMBER */
        const uint8_t *text; /* IH_TEXT */
    };
    uint64_t size; /* IH_TEXT: bytes */
    ih_node node;  /* IH_NODE: a container */
} ih_value;

typedef struct {
    ih_image_object *image; /* owned; NULL for a Python object */
    PyObject *object;       /* owned: the Python object or the view; NULL for a node */
    const uint8_t *data;
    uint64_t at, n, text, text_size;
    int64_t start, step;
    uint8_t kind, code, width;
    bool ascii, whole;
} ih_cursor;

/* Around each walk of this thread: objects that are made whole may hold views, whose walks then lie
 * inside this one and take C's stack. 0, or -1 with RecursionError; leaves either way. */
int ih_walk_enter(const char *doing);
void ih_walk_leave(void);

/* The class of a node's kind: real tuples and FrozenTuple are one. */
ih_class ih_kind_class(unsigned kind);

/* The value of a word: containers are left unopened, what needs an object becomes one. 0 or -1. */
int ih_value_of_word(ih_image_object *image, uint32_t word, ih_value *out);
static inline void ih_value_of_object(PyObject *object, ih_value *out)
{
    out->form = IH_AN_OBJECT;
    out->has_word = false;
    out->object = Py_NewRef(object);
}
static inline void ih_value_clear(ih_value *value)
{
    if (value->form == IH_AN_OBJECT)
        Py_DECREF(value->object);
}
/* The Python object of a value. New reference. */
PyObject *ih_value_object(const ih_value *value);

/* Opens a sequence's node, view, list or tuple. Can't fail. */
void ih_cursor_node(ih_cursor *cursor, ih_image_object *image, uint64_t at, const ih_node *node);
void ih_cursor_view(ih_cursor *cursor, const ih_sequence *view);
void ih_cursor_object(ih_cursor *cursor, PyObject *object);
static inline void ih_cursor_close(ih_cursor *cursor)
{
    Py_XDECREF(cursor->object);
    Py_XDECREF(cursor->image);
}
/* Items now: a list may change while it is walked. */
static inline uint64_t ih_cursor_size(const ih_cursor *cursor)
{
    return cursor->image != NULL ? cursor->n : (uint64_t)Py_SIZE(cursor->object);
}
/* Item i of a sequence. 1; 0 behind its end; -1 with an exception. */
int ih_cursor_item(const ih_cursor *cursor, uint64_t i, ih_value *out);

static inline bool ih_kind_is_packed(unsigned kind)
{
    return kind == IH_LIST_PACKED || kind == IH_TUPLE_PACKED || kind == IH_TUPLE_VIEW_PACKED;
}
static inline bool ih_kind_is_text_run(unsigned kind)
{
    return kind == IH_LIST_STR || kind == IH_TUPLE_STR || kind == IH_TUPLE_VIEW_STR;
}

#endif
