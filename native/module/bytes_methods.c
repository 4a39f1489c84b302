/* The methods of FrozenBytes.
 *
 * find, index, count, startswith, endswith and `in` read in place. The others are those of bytes,
 * called on a private copy: O(n) memory, like what most of them return. */
#define _GNU_SOURCE /* memmem */
#include "module/bytes.h"
#include "module/view.h"

/* ---- searching in place --------------------------------------------------------------------- */

/* What is searched for: one byte or a bytes-like object. */
typedef struct {
    Py_buffer buffer; /* obj is NULL where it is one byte */
    uint8_t byte;
    const uint8_t *data;
    uint64_t size;
} needle;

static int take_needle(PyObject *value, needle *out)
{
    out->buffer.obj = NULL;
    if (PyIndex_Check(value) && !PyObject_CheckBuffer(value)) {
        Py_ssize_t byte = PyNumber_AsSsize_t(value, NULL);
        if (byte == -1 && PyErr_Occurred())
            return -1;
        if (byte < 0 || byte > 255) {
            PyErr_SetString(PyExc_ValueError, "byte must be in range(0, 256)");
            return -1;
        }
        out->byte = (uint8_t)byte;
        out->data = &out->byte;
        out->size = 1;
        return 0;
    }
    if (PyObject_GetBuffer(value, &out->buffer, PyBUF_SIMPLE) < 0)
        return -1;
    out->data = out->buffer.buf;
    out->size = (uint64_t)out->buffer.len;
    return 0;
}

static void drop_needle(needle *n)
{
    if (n->buffer.obj != NULL)
        PyBuffer_Release(&n->buffer);
}

/* The first position at or after `from`, or -1. */
static int64_t search(const ih_bytes_view *view, const needle *n, uint64_t from, uint64_t to)
{
    if (from > to || n->size > to - from)
        return -1;
    if (n->size == 0)
        return (int64_t)from;
    const uint8_t *found = n->size == 1 ? memchr(view->data + from, n->data[0], to - from)
                                        : memmem(view->data + from, to - from, n->data, n->size);
    return found == NULL ? -1 : found - view->data;
}

int ih_bytes_contains(PyObject *self, PyObject *value)
{
    const ih_bytes_view *view = (const ih_bytes_view *)self;
    needle n;
    if (take_needle(value, &n) < 0)
        return -1;
    int found = search(view, &n, 0, view->n) >= 0;
    drop_needle(&n);
    return found;
}

static int take_bound(PyObject *argument, int64_t *out)
{
    if (argument == Py_None)
        return 0;
    if (!PyIndex_Check(argument)) {
        PyErr_SetString(PyExc_TypeError, "slice indices must be integers or None or have an "
                                         "__index__ method");
        return -1;
    }
    *out = PyNumber_AsSsize_t(argument, NULL);
    return *out == -1 && PyErr_Occurred() ? -1 : 0;
}

/* start and end as bytes.find takes them: end inside the view, start perhaps beyond it. */
static int take_range(const ih_bytes_view *view, const char *name, PyObject *const *args,
                      Py_ssize_t nargs, uint64_t *from, uint64_t *to)
{
    int64_t size = (int64_t)view->n, start = 0, end = size;
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError, "%s expected 1 to 3 arguments, got %zd", name, nargs);
        return -1;
    }
    if ((nargs > 1 && take_bound(args[1], &start) < 0) ||
        (nargs > 2 && take_bound(args[2], &end) < 0))
        return -1;
    if (end < 0)
        end = end + size < 0 ? 0 : end + size;
    if (start < 0)
        start = start + size < 0 ? 0 : start + size;
    *from = (uint64_t)start;
    *to = (uint64_t)(end > size ? size : end);
    return 0;
}

static int find(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t nargs,
                int64_t *position)
{
    const ih_bytes_view *view = (const ih_bytes_view *)self;
    uint64_t from, to;
    needle n;
    if (take_range(view, name, args, nargs, &from, &to) < 0 || take_needle(args[0], &n) < 0)
        return -1;
    *position = search(view, &n, from, to);
    drop_needle(&n);
    return 0;
}

static PyObject *bytes_find(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    int64_t position;
    return find(self, "find", args, nargs, &position) < 0 ? NULL : PyLong_FromLongLong(position);
}

static PyObject *bytes_index(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    int64_t position;
    if (find(self, "index", args, nargs, &position) < 0)
        return NULL;
    if (position >= 0)
        return PyLong_FromLongLong(position);
    PyErr_SetString(PyExc_ValueError, "subsection not found");
    return NULL;
}

static PyObject *bytes_count(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    const ih_bytes_view *view = (const ih_bytes_view *)self;
    uint64_t from, to;
    needle n;
    if (take_range(view, "count", args, nargs, &from, &to) < 0 || take_needle(args[0], &n) < 0)
        return NULL;
    int64_t count = 0;
    if (n.size == 0) {
        count = from <= to ? (int64_t)(to - from) + 1 : 0;
    } else {
        for (int64_t at; (at = search(view, &n, from, to)) >= 0; count++)
            from = (uint64_t)at + n.size;
    }
    drop_needle(&n);
    return PyLong_FromLongLong(count);
}

/* Whether the range begins (or ends) with one affix. */
static int has_affix(const ih_bytes_view *view, PyObject *affix, uint64_t from, uint64_t to,
                     bool at_end)
{
    needle n;
    if (!PyObject_CheckBuffer(affix)) {
        PyErr_Format(PyExc_TypeError, "%s first arg must be bytes or a tuple of bytes, not %.200s",
                     at_end ? "endswith" : "startswith", Py_TYPE(affix)->tp_name);
        return -1;
    }
    if (take_needle(affix, &n) < 0)
        return -1;
    bool fits = from <= to && n.size <= to - from;
    int result = fits && memcmp(view->data + (at_end ? to - n.size : from), n.data, n.size) == 0;
    drop_needle(&n);
    return result;
}

static PyObject *test_affix(PyObject *self, PyObject *const *args, Py_ssize_t nargs, bool at_end)
{
    const ih_bytes_view *view = (const ih_bytes_view *)self;
    const char *name = at_end ? "endswith" : "startswith";
    uint64_t from, to;
    if (take_range(view, name, args, nargs, &from, &to) < 0)
        return NULL;
    int result = 0;
    if (PyTuple_Check(args[0])) {
        for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(args[0]); i++)
            result = has_affix(view, PyTuple_GET_ITEM(args[0], i), from, to, at_end);
    } else {
        result = has_affix(view, args[0], from, to, at_end);
    }
    return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *bytes_startswith(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return test_affix(self, args, nargs, false);
}

static PyObject *bytes_endswith(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return test_affix(self, args, nargs, true);
}

/* ---- on a copy ------------------------------------------------------------------------------ */

static PyObject *bytes_dunder(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_bytes_copy((const ih_bytes_view *)self);
}

#define ARGUMENTS_MAX 4 /* of methods of bytes; more are refused by what is called */

static PyObject *on_copy(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *names)
{
    PyObject *given[ARGUMENTS_MAX] = {NULL};
    Py_ssize_t count = nargs + (names == NULL ? 0 : PyTuple_GET_SIZE(names)), i = 0;
    PyObject *copy = ih_bytes_copy((const ih_bytes_view *)self);
    PyObject *method = copy == NULL ? NULL : PyObject_GetAttrString(copy, name), *result = NULL;
    /* What fills or separates must be one real byte: any other argument may be a buffer. */
    for (; method != NULL && count <= ARGUMENTS_MAX && i < count; i++) {
        bool one = Py_IS_TYPE(args[i], Py_TYPE(self)) && ((const ih_view *)args[i])->n == 1;
        given[i] = one ? ih_bytes_copy((const ih_bytes_view *)args[i]) : Py_NewRef(args[i]);
        if (given[i] == NULL)
            break;
    }
    if (method != NULL && (i == count || count > ARGUMENTS_MAX))
        result = PyObject_Vectorcall(method, i == count ? given : args, (size_t)nargs, names);
    while (i > 0)
        Py_XDECREF(given[--i]);
    Py_XDECREF(copy);
    Py_XDECREF(method);
    return result;
}

#define ON_COPY(name)                                                                      \
    static PyObject *bytes_##name(PyObject *self, PyObject *const *args, Py_ssize_t nargs, \
                                  PyObject *names)                                         \
    {                                                                                      \
        return on_copy(self, #name, args, nargs, names);                                   \
    }
ON_COPY(capitalize)
ON_COPY(center)
ON_COPY(decode)
ON_COPY(expandtabs)
ON_COPY(hex)
ON_COPY(isalnum)
ON_COPY(isalpha)
ON_COPY(isascii)
ON_COPY(isdigit)
ON_COPY(islower)
ON_COPY(isspace)
ON_COPY(istitle)
ON_COPY(isupper)
ON_COPY(join)
ON_COPY(ljust)
ON_COPY(lower)
ON_COPY(lstrip)
ON_COPY(partition)
ON_COPY(replace)
ON_COPY(removeprefix)
ON_COPY(removesuffix)
ON_COPY(rfind)
ON_COPY(rindex)
ON_COPY(rjust)
ON_COPY(rpartition)
ON_COPY(rsplit)
ON_COPY(rstrip)
ON_COPY(split)
ON_COPY(splitlines)
ON_COPY(strip)
ON_COPY(swapcase)
ON_COPY(title)
ON_COPY(translate)
ON_COPY(upper)
ON_COPY(zfill)

static PyObject *bytes_maketrans(PyObject *type, PyObject *args)
{
    (void)type;
    PyObject *method = PyObject_GetAttrString((PyObject *)&PyBytes_Type, "maketrans");
    PyObject *result = method == NULL ? NULL : PyObject_CallObject(method, args);
    Py_XDECREF(method);
    return result;
}

#define FAST(name, doc)                                                      \
    {                                                                        \
#name, (PyCFunction)(void (*)(void))bytes_##name, METH_FASTCALL, doc \
    }
#define COPIES(name)                                                                     \
    {                                                                                    \
#name, (PyCFunction)(void (*)(void))bytes_##name, METH_FASTCALL | METH_KEYWORDS, \
            "As bytes." #name ", on a private copy of the content. O(n)."                \
    }

PyMethodDef ih_bytes_methods[] = {
    IH_VIEW_METHODS,
    {"__bytes__", bytes_dunder, METH_NOARGS, "A real bytes object. O(n)."},
    FAST(find, "find(sub, start=None, end=None, /)\n--\n\n"
               "The first position of sub, or -1. Reads in place."),
    FAST(index, "index(sub, start=None, end=None, /)\n--\n\n"
                "The first position of sub; ValueError where it is absent. Reads in place."),
    FAST(count, "count(sub, start=None, end=None, /)\n--\n\n"
                "How often sub occurs without overlaps. Reads in place."),
    FAST(startswith, "startswith(prefix, start=None, end=None, /)\n--\n\n"
                     "Whether it begins with prefix, or one of a tuple of them. Reads in place."),
    FAST(endswith, "endswith(suffix, start=None, end=None, /)\n--\n\n"
                   "Whether it ends with suffix, or one of a tuple of them. Reads in place."),
    {"maketrans", bytes_maketrans, METH_VARARGS | METH_STATIC, "As bytes.maketrans."},
    COPIES(capitalize),
    COPIES(center),
    COPIES(decode),
    COPIES(expandtabs),
    COPIES(hex),
    COPIES(isalnum),
    COPIES(isalpha),
    COPIES(isascii),
    COPIES(isdigit),
    COPIES(islower),
    COPIES(isspace),
    COPIES(istitle),
    COPIES(isupper),
    COPIES(join),
    COPIES(ljust),
    COPIES(lower),
    COPIES(lstrip),
    COPIES(partition),
    COPIES(replace),
    COPIES(removeprefix),
    COPIES(removesuffix),
    COPIES(rfind),
    COPIES(rindex),
    COPIES(rjust),
    COPIES(rpartition),
    COPIES(rsplit),
    COPIES(rstrip),
    COPIES(split),
    COPIES(splitlines),
    COPIES(strip),
    COPIES(swapcase),
    COPIES(title),
    COPIES(translate),
    COPIES(upper),
    COPIES(zfill),
    {NULL},
};
