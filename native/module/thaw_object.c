/* thaw(object): which way, by type; packed runs, arrays, and plain tuples and frozensets that hold
 * views. */
#include "module/array_numpy.h"
#include "module/thaw.h"

/* ---- packed nodes and text runs ---- */

static PyObject *text_item(ih_image_object *image, const ih_node *node, uint64_t i)
{
    uint64_t from, size;
    ih_fault fault;
    if (ih_text_item(&image->image, node, i, &from, &size, &fault) < 0)
        return ih_raise_fault(image->state, &fault);
    return ih_decode_text(image, image->image.base + from, size, node->ascii, from);
}

PyObject *ih_thaw_elements(ih_image_object *image, const ih_node *node, ih_selection which,
                           bool as_tuple)
{
    Py_ssize_t n = (Py_ssize_t)which.n;
    PyObject *made = as_tuple ? PyTuple_New(n) : PyList_New(n);
    if (made == NULL)
        return NULL;
    bool text =
        node->kind == IH_LIST_STR || node->kind == IH_TUPLE_STR || node->kind == IH_TUPLE_VIEW_STR;
    const uint8_t *data = image->image.base + node->data;
    uint64_t at = (uint64_t)which.start;
    for (Py_ssize_t i = 0; i < n; i++, at += (uint64_t)which.step) {
        PyObject *item = text ? text_item(image, node, at)
                              : ih_decode_element(data + at * node->width, node->code);
        if (item == NULL) {
            Py_DECREF(made);
            return NULL;
        }
        if (as_tuple)
            PyTuple_SET_ITEM(made, i, item);
        else
            PyList_SET_ITEM(made, i, item);
    }
    return made;
}

/* ---- arrays ---- */

/* A writable copy of an ndarray, which is released. A dtype that holds Python objects would be read
 * as pointers. */
static PyObject *copy_ndarray(ih_state *state, PyObject *array)
{
    PyObject *copy = NULL, *dtype = PyObject_GetAttrString(array, "dtype");
    PyObject *has_object = dtype ? PyObject_GetAttrString(dtype, "hasobject") : NULL;
    int refused = has_object ? PyObject_IsTrue(has_object) : -1;
    if (refused == 0) {
        copy = PyObject_CallMethod(array, "copy", "s", "K");
    } else if (refused > 0) {
        ih_fault fault = {0, "an array of Python objects"};
        ih_raise_fault(state, &fault);
    }
    Py_XDECREF(has_object);
    Py_XDECREF(dtype);
    Py_DECREF(array);
    return copy;
}

/* Its items as bytes, in C order. */
static PyObject *array_bytes(PyObject *view)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(view, &buffer, PyBUF_FULL_RO) < 0)
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, buffer.len);
    if (bytes != NULL &&
        PyBuffer_ToContiguous(PyBytes_AS_STRING(bytes), &buffer, buffer.len, 'C') < 0)
        Py_CLEAR(bytes);
    PyBuffer_Release(&buffer);
    return bytes;
}

/* array.array of characters would make strings of whatever it holds. */
static bool are_code_points(PyObject *bytes)
{
    const char *data = PyBytes_AS_STRING(bytes);
    for (Py_ssize_t i = 0; i + 4 <= PyBytes_GET_SIZE(bytes); i += 4) {
        uint32_t point;
        memcpy(&point, data + i, 4);
        if (point > 0x10ffff)
            return false;
    }
    return true;
}

static PyObject *thaw_array_array(ih_state *state, const char *format, PyObject *bytes)
{
    const char *code = format[0] == 'w' && PY_VERSION_HEX < 0x030D0000 ? "u" : format;
    if ((format[0] == 'w' || format[0] == 'u') && !are_code_points(bytes)) {
        ih_fault fault = {0, "an array of characters holds none"};
        return ih_raise_fault(state, &fault);
    }
    PyObject *module = PyImport_ImportModule("array");
    if (module == NULL)
        return NULL;
    PyObject *made =
        PyObject_CallMethod(module, "array", "sO", code, bytes); /* from bytes: as frombytes() */
    Py_DECREF(module);
    if (made == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        ih_fault fault = {0, "not an array.array"};
        return ih_raise_fault(state, &fault);
    }
    return made;
}

/* A memoryview over a private bytearray; of plain bytes where memoryview.cast knows no such format
 * or shape. */
static PyObject *thaw_memoryview(const ih_array_view *view, PyObject *bytes)
{
    PyObject *copy = PyByteArray_FromObject(bytes);
    PyObject *memory = copy ? PyMemoryView_FromObject(copy) : NULL;
    Py_XDECREF(copy);
    PyObject *shape = memory ? PyList_New(view->ndim) : NULL;
    if (shape == NULL) {
        Py_XDECREF(memory);
        return NULL;
    }
    for (int i = 0; i < view->ndim; i++) {
        PyObject *extent = PyLong_FromSsize_t(view->shape[i]);
        if (extent == NULL) {
            Py_DECREF(shape);
            Py_DECREF(memory);
            return NULL;
        }
        PyList_SET_ITEM(shape, i, extent);
    }
    PyObject *cast = view->ndim == 1
                         ? PyObject_CallMethod(memory, "cast", "s", view->format)
                         : PyObject_CallMethod(memory, "cast", "sO", view->format, shape);
    Py_DECREF(shape);
    if (cast == NULL &&
        (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_TypeError))) {
        PyErr_Clear();
        return memory;
    }
    Py_DECREF(memory);
    return cast;
}

PyObject *ih_thaw_array_view(ih_state *state, PyObject *object)
{
    const ih_array_view *view = (const ih_array_view *)object;
    if (view->code == IH_ORIGIN_NDARRAY) {
        PyObject *asarray = ih_numpy_asarray(state);
        if (asarray == NULL)
            return NULL;
        if (asarray != Py_None) {
            PyObject *array = ih_ndarray_of(asarray, object);
            Py_DECREF(asarray);
            if (array != NULL)
                return copy_ndarray(state, array);
            if (!ih_clear_ordinary_exception())
                return NULL;
        } else {
            Py_DECREF(asarray);
        }
    }
    PyObject *bytes = array_bytes(object);
    if (bytes == NULL)
        return NULL;
    PyObject *made = view->code == IH_ORIGIN_ARRAY && view->ndim == 1
                         ? thaw_array_array(state, view->format, bytes)
                         : thaw_memoryview(view, bytes);
    Py_DECREF(bytes);
    return made;
}

PyObject *ih_thaw_array_node(ih_image_object *image, uint64_t at, const ih_node *node)
{
    PyObject *view = ih_new_array(image, at, node);
    if (view == NULL)
        return NULL;
    PyObject *made = ih_thaw_array_view(image->state, view);
    Py_DECREF(view);
    return made;
}

/* ---- plain tuples and frozensets that hold views ---- */

typedef struct {
    PyObject *seen; /* address of an object that was thawed to (object, result): what rules give is
                       new and would go, and its address would name another */
    bool quietly;   /* no code of others runs: what could have some gives NULL without exception */
} thawing;

/* Has it a hash and an equality of the interpreter's own? */
static bool is_builtin_value(PyObject *object)
{
    return object == Py_None || object == Py_Ellipsis || object == Py_NotImplemented ||
           PyUnicode_CheckExact(object) || PyLong_CheckExact(object) || PyBool_Check(object) ||
           PyFloat_CheckExact(object) || PyBytes_CheckExact(object) || PyComplex_CheckExact(object);
}

static PyObject *thaw_any(ih_state *state, PyObject *object, thawing *t);

static PyObject *thaw_members(ih_state *state, PyObject *object, thawing *t)
{
    PyObject *members = PySequence_List(object);
    if (members == NULL)
        return NULL;
    bool changed = false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(members); i++) {
        PyObject *member = PyList_GET_ITEM(members, i);
        PyObject *thawed = thaw_any(state, member, t);
        if (thawed == NULL) {
            Py_DECREF(members);
            return NULL;
        }
        changed |= thawed != member;
        PyList_SetItem(members, i, thawed);
    }
    PyObject *result;
    if (!changed)
        result = Py_NewRef(object);
    else
        result = PyTuple_CheckExact(object) ? PyList_AsTuple(members) : PyFrozenSet_New(members);
    Py_DECREF(members);
    return result;
}

static PyObject *thaw_view(ih_state *state, PyObject *object, bool quietly)
{
    if (ih_is_container_view(state, object) || ih_is_object_view(object))
        return ih_thaw_container(state, object, quietly);
    if (Py_TYPE(object) == state->array_type)
        return quietly ? Py_NewRef(object) : ih_thaw_array_view(state, object);
    const ih_bytes_view *view = (const ih_bytes_view *)object;
    const char *data = (const char *)view->data;
    if (view->kind == IH_BYTEARRAY || view->kind == IH_BYTEARRAY_BLOB)
        return PyByteArray_FromStringAndSize(data, (Py_ssize_t)view->n);
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)view->n);
}

static PyObject *thaw_part(ih_state *state, PyObject *object, void *t)
{
    return thaw_any(state, object, t);
}

static PyObject *thaw_any(ih_state *state, PyObject *object, thawing *t)
{
    bool plain = !ih_is_view(state, object);
    bool real = plain && !PyTuple_CheckExact(object) && !PyFrozenSet_CheckExact(object);
    if (real && (t->quietly || !PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_HEAPTYPE)))
        return t->quietly && !is_builtin_value(object) ? NULL : Py_NewRef(object);
    PyObject *address = PyLong_FromVoidPtr(object);
    if (address == NULL)
        return NULL;
    PyObject *result = NULL, *known = PyDict_GetItemWithError(t->seen, address);
    if (known != NULL) {
        result = Py_NewRef(PyTuple_GET_ITEM(known, 1));
    } else if (!PyErr_Occurred() && Py_EnterRecursiveCall(" while thawing a tuple") == 0) {
        if (real)
            result = ih_thaw_real(state, object, thaw_part, t);
        else if (plain)
            result = thaw_members(state, object, t);
        else
            result = thaw_view(state, object, t->quietly);
        Py_LeaveRecursiveCall();
        PyObject *both = result != NULL ? PyTuple_Pack(2, object, result) : NULL;
        if (both == NULL || PyDict_SetItem(t->seen, address, both) < 0)
            Py_CLEAR(result);
        Py_XDECREF(both);
    }
    Py_DECREF(address);
    return result;
}

static PyObject *thaw(ih_state *state, PyObject *object, bool quietly)
{
    if (ih_is_view(state, object))
        return thaw_view(state, object, quietly);
    thawing t = {PyDict_New(), quietly};
    if (t.seen == NULL)
        return NULL;
    PyObject *result = thaw_any(state, object, &t);
    Py_DECREF(t.seen);
    return result;
}

PyObject *ih_thaw(ih_state *state, PyObject *object)
{
    return is_builtin_value(object) ? Py_NewRef(object) : thaw(state, object, false);
}

PyObject *ih_thaw_quietly(ih_state *state, PyObject *object) { return thaw(state, object, true); }
