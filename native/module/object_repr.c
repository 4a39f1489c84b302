/* repr() and str() of FrozenObject.
 *
 * A class's own __repr__ is called with the view as self. Python's guards against repr of something
 * inside itself know objects by id(), and views are made when they are reached: so we keep the
 * nodes that are being shown (H24). Without a __repr__ of its own an object shows its fields, cut
 * short. */
#include "module/decode.h"
#include "module/object_parts.h"
#include "module/repr.h"

#define LEVELS_MAX 100u
#define FIELDS_SHOWN 64u
#define FIELD_TEXT_MAX 1000 /* characters of one field's value */

/* The nodes that are being shown by this thread, the outermost first. */
static _Thread_local struct {
    const uint8_t *nodes[LEVELS_MAX];
    unsigned count;
} shown;

static bool is_being_shown(const uint8_t *node)
{
    for (unsigned i = 0; i < shown.count; i++)
        if (shown.nodes[i] == node)
            return true;
    return shown.count >= LEVELS_MAX;
}

/* ---- fields ---------------------------------------------------------------------------------- */

static PyObject *cut(PyObject *text)
{
    if (text == NULL || PyUnicode_GET_LENGTH(text) <= FIELD_TEXT_MAX)
        return text;
    PyObject *start = PyUnicode_Substring(text, 0, FIELD_TEXT_MAX);
    Py_DECREF(text);
    PyObject *result = start ? PyUnicode_FromFormat("%U...", start) : NULL;
    Py_XDECREF(start);
    return result;
}

/* "name=value" of field i. */
static PyObject *field_text(const ih_object_view *view, Py_ssize_t i)
{
    PyObject *value = ih_object_field(view, i);
    PyObject *text = value ? cut(PyObject_Repr(value)) : NULL;
    Py_XDECREF(value);
    PyObject *name = PyTuple_GET_ITEM(view->layout->names, i);
    PyObject *pair = text ? PyUnicode_FromFormat("%U=%U", name, text) : NULL;
    Py_XDECREF(text);
    return pair;
}

/* `start`, the fields, `end`. Takes `start`, which may be NULL with an exception. */
static PyObject *with_fields(const ih_object_view *view, PyObject *start, const char *separator,
                             const char *end)
{
    uint32_t n = view->layout->n < FIELDS_SHOWN ? view->layout->n : FIELDS_SHOWN;
    for (uint32_t i = 0; start != NULL && i < n; i++) {
        PyObject *pair = field_text(view, (Py_ssize_t)i);
        PyObject *longer =
            pair ? PyUnicode_FromFormat("%U%s%U", start, i ? ", " : separator, pair) : NULL;
        Py_XDECREF(pair);
        Py_SETREF(start, longer);
    }
    if (start == NULL)
        return NULL;
    PyObject *result =
        PyUnicode_FromFormat("%U%s%s", start, n < view->layout->n ? ", ..." : "", end);
    Py_DECREF(start);
    return result;
}

/* <module.Class x=1, y=2> */
static PyObject *as_record(const ih_object_view *view)
{
    return with_fields(view, PyUnicode_FromFormat("<%U", view->layout->type_name), " ", ">");
}

/* Class([1, 2], maxlen=3): the content without the name of its view. */
static PyObject *as_container(const ih_object_view *view)
{
    PyObject *text = PyObject_Repr(view->inner);
    if (text == NULL)
        return NULL;
    if (ih_is_view(view->image->state, view->inner)) {
        Py_ssize_t n = PyUnicode_GET_LENGTH(text), from = PyUnicode_FindChar(text, '(', 0, n, 1);
        if (from >= 0)
            Py_SETREF(text, PyUnicode_Substring(text, from + 1, n - 1));
    }
    PyObject *start = text ? PyUnicode_FromFormat("%U(%U", view->layout->qualname, text) : NULL;
    Py_XDECREF(text);
    return with_fields(view, start, ", ", ")");
}

static PyObject *elided(const ih_object_view *view, bool by_class)
{
    return by_class ? PyUnicode_FromString("...")
                    : PyUnicode_FromFormat("<%U ...>", view->layout->type_name);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static PyObject *check_text(PyObject *text, const char *method)
{
    if (text != NULL && !PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "%s returned non-string (type %.200s)", method,
                     Py_TYPE(text)->tp_name);
        Py_CLEAR(text);
    }
    return text;
}

static PyObject *show(PyObject *self)
{
    const ih_object_view *view = (const ih_object_view *)self;
    bool builtin;
    PyObject *text = ih_object_call(self, view->image->state->names[IH_REPR], NULL, 0, &builtin);
    if (text != NULL || PyErr_Occurred())
        return check_text(text, "__repr__");
    if (view->inner != NULL)
        return as_container(view);
    return as_record(view);
}

static bool has_own_repr(const ih_object_view *view)
{
    PyObject *method = ih_method_look_up(view->layout, view->image->state->names[IH_REPR]);
    bool own = method != NULL && Py_TYPE(method) != &PyWrapperDescr_Type;
    Py_XDECREF(method);
    return own;
}

PyObject *ih_object_repr(PyObject *self)
{
    const ih_object_view *view = (const ih_object_view *)self;
    const uint8_t *node = view->image->image.base + view->at;
    if (is_being_shown(node) || !ih_repr_spend())
        return elided(view, has_own_repr(view));
    shown.nodes[shown.count++] = node;
    ih_repr_enter();
    PyObject *text = show(self);
    ih_repr_leave();
    shown.count--;
    return text;
}

PyObject *ih_object_str(PyObject *self)
{
    const ih_object_view *view = (const ih_object_view *)self;
    bool builtin;
    PyObject *text = ih_object_call(self, view->image->state->names[IH_STR], NULL, 0, &builtin);
    if (text != NULL || PyErr_Occurred())
        return check_text(text, "__str__");
    return PyObject_Repr(self);
}
