/* Searching and joining FrozenList and FrozenTuple.
 *
 * Searching decodes item by item only where it must: packed numbers are compared as numbers, text
 * runs as bytes of UTF-8. */
#include "module/sequence.h"

#include "module/inplace.h"

/* ---- searching ------------------------------------------------------------------------------ */

/* What is looked for, prepared once. */
typedef struct {
    enum { ANY, NOTHING, INTEGER, UNSIGNED, DOUBLE, TEXT } form;
    PyObject *value;
    int64_t integer;
    uint64_t unsigned_integer;
    double real;
    const char *text;
    Py_ssize_t size;
} wanted;

/* Doubles up to here are integers exactly, in both directions. */
#define EXACT_MAX ((int64_t)1 << 53)

static void prepare_number(const ih_sequence *view, wanted *w)
{
    int overflow = 0;
    bool is_float = PyFloat_CheckExact(w->value);
    bool packed_float = view->code == IH_F64;
    if (is_float) {
        w->real = PyFloat_AS_DOUBLE(w->value);
        if (packed_float) {
            w->form = DOUBLE;
            return;
        }
        if (!(w->real >= -(double)EXACT_MAX && w->real <= (double)EXACT_MAX)) {
            w->form = isfinite(w->real) ? ANY : NOTHING;
            return;
        }
        w->integer = (int64_t)w->real;
        w->form = (double)w->integer == w->real ? INTEGER : NOTHING;
    } else {
        w->integer = PyLong_AsLongLongAndOverflow(w->value, &overflow);
        if (overflow == 0)
            w->form = INTEGER;
        else if (overflow < 0 && !packed_float)
            w->form = NOTHING;
        else
            return;
        if (packed_float) {
            w->form = w->integer >= -EXACT_MAX && w->integer <= EXACT_MAX ? DOUBLE : ANY;
            w->real = (double)w->integer;
        }
    }
    if (w->form == INTEGER && view->code == IH_U64) {
        w->unsigned_integer = (uint64_t)w->integer;
        w->form = w->integer < 0 ? NOTHING : UNSIGNED;
    }
}

static void prepare(const ih_sequence *view, PyObject *value, wanted *w)
{
    *w = (wanted){.form = ANY, .value = value};
    bool number = PyLong_CheckExact(value) || PyBool_Check(value) || PyFloat_CheckExact(value);
    if (ih_sequence_is_packed(view)) {
        if (number)
            prepare_number(view, w);
        return;
    }
    if ((view->kind == IH_LIST_STR || view->kind == IH_TUPLE_VIEW_STR) &&
        PyUnicode_CheckExact(value)) {
        w->text = PyUnicode_AsUTF8AndSize(value, &w->size);
        if (w->text != NULL)
            w->form = TEXT;
        else
            PyErr_Clear(); /* lone surrogates: decode and compare */
    }
}

static bool packed_equals(const uint8_t *p, unsigned code, const wanted *w)
{
#define CASE(name, type, field)  \
    case name: {                 \
        type v;                  \
        memcpy(&v, p, sizeof v); \
        return v == w->field;    \
    }
    switch ((ih_element)code) {
        CASE(IH_I8, int8_t, integer)
        CASE(IH_U8, uint8_t, integer)
        CASE(IH_I16, int16_t, integer)
        CASE(IH_U16, uint16_t, integer)
        CASE(IH_I32, int32_t, integer)
        CASE(IH_U32, uint32_t, integer)
        CASE(IH_I64, int64_t, integer)
        CASE(IH_U64, uint64_t, unsigned_integer)
        CASE(IH_F64, double, real)
    case IH_BOOL:
        return (*p != 0) == w->integer;
    case IH_ELEMENTS:
        break;
    }
#undef CASE
    Py_UNREACHABLE();
}

static int text_equals(const ih_sequence *view, uint64_t element, const wanted *w)
{
    const ih_image *image = &view->image->image;
    ih_node run = {.width = view->width,
                   .data = (uint64_t)(view->data - image->base),
                   .text = view->text,
                   .text_size = view->text_size};
    uint64_t from, size;
    ih_fault fault;
    if (ih_text_item(image, &run, element, &from, &size, &fault) < 0) {
        ih_raise_fault(view->image->state, &fault);
        return -1;
    }
    return size == (uint64_t)w->size && memcmp(image->base + from, w->text, size) == 0;
}

/* The first position from `i` on, before `end`, whose item equals what is wanted; `end` where there
 * is none; -1 with an exception. */
static int64_t find(const ih_sequence *view, const wanted *w, uint64_t i, uint64_t end)
{
    for (; i < end; i++) {
        uint64_t element = (uint64_t)(view->start + (int64_t)i * view->step);
        int equal;
        if (w->form == NOTHING) {
            return (int64_t)end;
        } else if (w->form == TEXT) {
            equal = text_equals(view, element, w);
        } else if (w->form != ANY) {
            equal = packed_equals(view->data + element * view->width, view->code, w);
        } else {
            PyObject *item = ih_sequence_item(view, i);
            if (item == NULL)
                return -1;
            equal = PyObject_RichCompareBool(item, w->value, Py_EQ);
            Py_DECREF(item);
        }
        if (equal < 0)
            return -1;
        if (equal)
            return (int64_t)i;
    }
    return (int64_t)end;
}

int ih_sequence_contains(PyObject *self, PyObject *value)
{
    const ih_sequence *view = (const ih_sequence *)self;
    wanted w;
    prepare(view, value, &w);
    int64_t found = find(view, &w, 0, view->n);
    return found < 0 ? -1 : (uint64_t)found < view->n;
}

PyObject *ih_sequence_count(PyObject *self, PyObject *value)
{
    const ih_sequence *view = (const ih_sequence *)self;
    wanted w;
    prepare(view, value, &w);
    int64_t count = 0;
    for (uint64_t i = 0; i < view->n; i++, count++) {
        int64_t found = find(view, &w, i, view->n);
        if (found < 0)
            return NULL;
        if ((uint64_t)found == view->n)
            break;
        i = (uint64_t)found;
    }
    return PyLong_FromLongLong(count);
}

/* A bound of index(): clipped, negative ones counted from the end. */
static int take_bound(PyObject *argument, uint64_t n, uint64_t *out)
{
    if (!PyIndex_Check(argument)) {
        PyErr_SetString(PyExc_TypeError,
                        "slice indices must be integers or have an __index__ method");
        return -1;
    }
    Py_ssize_t i = PyNumber_AsSsize_t(argument, NULL);
    if (i == -1 && PyErr_Occurred())
        return -1;
    if (i < 0)
        i += (Py_ssize_t)n;
    *out = i < 0 ? 0 : (uint64_t)i > n ? n : (uint64_t)i;
    return 0;
}

PyObject *ih_sequence_index(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    const ih_sequence *view = (const ih_sequence *)self;
    uint64_t start = 0, stop = view->n;
    if (nargs < 1 || nargs > 3)
        return PyErr_Format(PyExc_TypeError, "index expected 1 to 3 arguments, got %zd", nargs);
    if (nargs > 1 && take_bound(args[1], view->n, &start) < 0)
        return NULL;
    if (nargs > 2 && take_bound(args[2], view->n, &stop) < 0)
        return NULL;
    wanted w;
    prepare(view, args[0], &w);
    int64_t found = start < stop ? find(view, &w, start, stop) : (int64_t)stop;
    if (found < 0)
        return NULL;
    if ((uint64_t)found < stop && start < stop)
        return PyLong_FromLongLong(found);
    PyErr_SetString(PyExc_ValueError, "index(x): x is not in the sequence");
    return NULL;
}

/* ---- joining: the results are ordinary lists and tuples ------------------------------------- */

static bool is_view(PyObject *object)
{
    PyNumberMethods *methods = Py_TYPE(object)->tp_as_number;
    return methods != NULL && methods->nb_add == ih_sequence_add;
}

/* Whether `object` is a list (or tuple), ordinary or frozen. */
static bool is_of_form(PyObject *object, bool list)
{
    if (is_view(object))
        return ih_sequence_is_list((ih_sequence *)object) == list;
    return list ? PyList_Check(object) : PyTuple_Check(object);
}

/* An ordinary list or tuple of the items. */
static PyObject *plain(PyObject *object, bool list)
{
    if (is_view(object))
        return list ? ih_sequence_to_list((ih_sequence *)object)
                    : ih_sequence_to_tuple((ih_sequence *)object);
    return list ? PySequence_List(object) : PySequence_Tuple(object);
}

PyObject *ih_sequence_add(PyObject *left, PyObject *right)
{
    PyObject *view = is_view(left) ? left : right;
    bool list = ih_sequence_is_list((ih_sequence *)view);
    if (!is_of_form(left, list) || !is_of_form(right, list))
        Py_RETURN_NOTIMPLEMENTED;
    /* `a_list += view` comes here before list's own in-place extension. Where we are sure of it we
     * leave it to the list: whoever else has the list must see it grow. */
    if (list && view != left && ih_in_inplace_add(((ih_view *)view)->image->state))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *a = plain(left, list), *b = a == NULL ? NULL : plain(right, list);
    PyObject *sum = NULL;
    if (b != NULL)
        sum = list ? PySequence_InPlaceConcat(a, b) : PySequence_Concat(a, b);
    Py_XDECREF(a);
    Py_XDECREF(b);
    return sum;
}

PyObject *ih_sequence_repeat(PyObject *self, Py_ssize_t count)
{
    bool list = ih_sequence_is_list((ih_sequence *)self);
    if (count <= 0)
        return list ? PyList_New(0) : PyTuple_New(0);
    PyObject *once = plain(self, list);
    PyObject *result = once == NULL ? NULL : PySequence_Repeat(once, count);
    Py_XDECREF(once);
    return result;
}
