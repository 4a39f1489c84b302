/* Indexing FrozenArray: ints, slices, Ellipsis and tuples of them, without copying.
 *
 * Whatever the key, the result is a rectangle inside the array that was checked when it was made,
 * so nothing here looks at the image again but to decode a single item. */
#include "module/array.h"

typedef struct {
    const uint8_t *data;
    int ndim;
    Py_ssize_t shape[IH_ARRAY_DIMENSIONS_MAX], strides[IH_ARRAY_DIMENSIONS_MAX];
} region;

static void keep_dimension(const ih_array_view *view, int axis, region *out)
{
    out->shape[out->ndim] = view->shape[axis];
    out->strides[out->ndim++] = view->strides[axis];
}

static int apply_slice(const ih_array_view *view, int axis, PyObject *slice, region *out)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0)
        return -1;
    Py_ssize_t n = PySlice_AdjustIndices(view->shape[axis], &start, &stop, step);
    if (n > 0)
        out->data += start * view->strides[axis];
    out->shape[out->ndim] = n;
    /* With two items or more the step is smaller than the dimension: no overflow. */
    out->strides[out->ndim++] = n > 1 ? step * view->strides[axis] : view->strides[axis];
    return 0;
}

static int apply_index(const ih_array_view *view, int axis, PyObject *key, region *out)
{
    Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred())
        return -1;
    Py_ssize_t wanted = i, n = view->shape[axis];
    if (i < 0)
        i += n;
    if (i < 0 || i >= n) {
        PyErr_Format(PyExc_IndexError, "index %zd is out of bounds for axis %d with size %zd",
                     wanted, axis, n);
        return -1;
    }
    out->data += i * view->strides[axis];
    return 0;
}

/* Applies one part of the key to the dimension `*axis`, which it moves on. `left`: parts that
 * follow. */
static int apply(const ih_array_view *view, int *axis, PyObject *key, Py_ssize_t left, region *out)
{
    if (key == Py_Ellipsis) {
        while (view->ndim - *axis > left)
            keep_dimension(view, (*axis)++, out);
        return 0;
    }
    if (*axis >= view->ndim) {
        PyErr_Format(PyExc_IndexError, "too many indices: the array has %d dimensions", view->ndim);
        return -1;
    }
    if (PySlice_Check(key))
        return apply_slice(view, (*axis)++, key, out);
    if (PyIndex_Check(key) && !PyBool_Check(key))
        return apply_index(view, (*axis)++, key, out);
    PyErr_Format(PyExc_TypeError,
                 "FrozenArray indices must be integers, slices, Ellipsis or tuples of these, not "
                 "%.200s: use numpy.asarray(view) for others",
                 Py_TYPE(key)->tp_name);
    return -1;
}

static PyObject *result_of(const ih_array_view *view, const region *r, bool item)
{
    if (r->ndim == 0 && item)
        return ih_array_scalar(view, r->data);
    return ih_array_part(view, r->data, r->ndim, r->shape, r->strides);
}

PyObject *ih_array_item(PyObject *self, Py_ssize_t i)
{
    const ih_array_view *view = (const ih_array_view *)self;
    const uint8_t *p = view->data + i * view->strides[0];
    if (view->ndim == 1)
        return ih_array_scalar(view, p);
    return ih_array_part(view, p, view->ndim - 1, view->shape + 1, view->strides + 1);
}

PyObject *ih_array_subscript(PyObject *self, PyObject *key)
{
    const ih_array_view *view = (const ih_array_view *)self;
    region r;
    r.data = view->data;
    r.ndim = 0;
    int axis = 0;
    bool ellipsis = key == Py_Ellipsis;
    if (PyTuple_Check(key)) {
        Py_ssize_t n = PyTuple_GET_SIZE(key);
        for (Py_ssize_t i = 0; i < n; i++) {
            PyObject *part = PyTuple_GET_ITEM(key, i);
            if (part == Py_Ellipsis && ellipsis) {
                PyErr_SetString(PyExc_IndexError, "an index can have a single Ellipsis ('...')");
                return NULL;
            }
            ellipsis = ellipsis || part == Py_Ellipsis;
            if (apply(view, &axis, part, n - 1 - i, &r) < 0)
                return NULL;
        }
    } else if (apply(view, &axis, key, 0, &r) < 0) {
        return NULL;
    }
    while (axis < view->ndim)
        keep_dimension(view, axis++, &r);
    return result_of(view, &r, !ellipsis);
}
