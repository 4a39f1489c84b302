/* Arrays as ndarrays, where numpy loads; see array_numpy.h.
 *
 * numpy is imported when the first ndarray of an image is opened, never before: it does not load in
 * an interpreter with its own GIL, and takes long where it does. */
#include "module/array_numpy.h"

#include "module/array.h"

/* Clears the exception if it only says that something didn't work out. */
bool ih_clear_ordinary_exception(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError) ||
        PyErr_ExceptionMatches(PyExc_RecursionError))
        return false;
    PyErr_Clear();
    return true;
}

PyObject *ih_numpy_asarray(ih_state *state)
{
    PyObject *known = __atomic_load_n(&state->numpy_asarray, __ATOMIC_ACQUIRE);
    if (known != NULL)
        return Py_NewRef(known);
    PyObject *numpy = PyImport_ImportModule("numpy");
    PyObject *asarray = numpy == NULL ? NULL : PyObject_GetAttrString(numpy, "asarray");
    Py_XDECREF(numpy);
    if (asarray == NULL) {
        if (!ih_clear_ordinary_exception())
            return NULL;
        asarray = Py_NewRef(Py_None);
    }
    /* The import ran Python code, and so perhaps another thread that came to the same answer first.
     */
    PyObject *none_yet = NULL;
    Py_INCREF(asarray);
    if (!__atomic_compare_exchange_n(&state->numpy_asarray, &none_yet, asarray, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        Py_DECREF(asarray);
    return asarray;
}

PyObject *ih_ndarray_of(PyObject *asarray, PyObject *view)
{
    PyObject *array = PyObject_CallOneArg(asarray, view);
    if (array != NULL || !PyErr_ExceptionMatches(PyExc_Exception))
        return array;
    /* numpy writes formats of packed structures that it pads when it reads them. */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *unaligned = ih_array_unaligned((const ih_array_view *)view);
    if (unaligned != NULL) {
        array = PyObject_CallOneArg(asarray, unaligned);
        Py_DECREF(unaligned);
    }
    if (array != NULL) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return array;
    }
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return NULL;
}

PyObject *ih_open_array(ih_image_object *image, uint64_t at, const ih_node *node)
{
    PyObject *view = ih_new_array(image, at, node);
    if (view == NULL || node->code != IH_ORIGIN_NDARRAY)
        return view;
    PyObject *asarray = ih_numpy_asarray(image->state);
    if (asarray == NULL) {
        Py_DECREF(view);
        return NULL;
    }
    if (asarray == Py_None) {
        Py_DECREF(asarray);
        return view;
    }
    /* The buffer of the view is the shared memory, or a copy where that can't be relied on (H4). */
    PyObject *array = ih_ndarray_of(asarray, view);
    Py_DECREF(asarray);
    if (array == NULL && ih_clear_ordinary_exception())
        return view; /* a format or a number of dimensions that this numpy does not know */
    Py_DECREF(view);
    return array;
}

/* numpy.array(self, dtype, copy=True): the way to a copy that has no second one behind it. */
static PyObject *copy_of(PyObject *memory, PyObject *dtype)
{
    PyObject *numpy = PyImport_ImportModule("numpy");
    PyObject *array = numpy == NULL ? NULL : PyObject_GetAttrString(numpy, "array");
    PyObject *result =
        array == NULL ? NULL : PyObject_CallFunctionObjArgs(array, memory, dtype, NULL);
    Py_XDECREF(numpy);
    Py_XDECREF(array);
    return result;
}

/* As numpy asks for it: copy=False must not copy, None may, True must. Takes over `array`. */
static PyObject *convert(PyObject *array, PyObject *asarray, PyObject *dtype, PyObject *copy)
{
    if (array == NULL || dtype == Py_None)
        return array;
    PyObject *converted = PyObject_CallFunctionObjArgs(asarray, array, dtype, NULL);
    if (converted != array && converted != NULL && copy == Py_False) {
        PyErr_SetString(PyExc_ValueError, "a FrozenArray can't be converted without copying it");
        Py_CLEAR(converted);
    }
    Py_DECREF(array);
    return converted;
}

PyObject *ih_array_dunder(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"dtype", "copy", NULL};
    PyObject *dtype = Py_None, *copy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:__array__", names, &dtype, &copy))
        return NULL;
    PyObject *asarray = ih_numpy_asarray(((ih_view *)self)->image->state);
    if (asarray == NULL)
        return NULL;
    if (asarray == Py_None) {
        Py_DECREF(asarray);
        PyErr_SetString(PyExc_TypeError, "numpy does not load in this interpreter");
        return NULL;
    }
    int copying = copy == Py_None ? 0 : PyObject_IsTrue(copy);
    PyObject *memory = copying < 0 ? NULL : PyMemoryView_FromObject(self);
    PyObject *result = NULL;
    if (memory != NULL && copying)
        result = copy_of(memory, dtype);
    else if (memory != NULL)
        result = convert(PyObject_CallOneArg(asarray, memory), asarray, dtype,
                         copy == Py_None ? Py_None : Py_False);
    Py_XDECREF(memory);
    Py_DECREF(asarray);
    return result;
}

/* The method of the ndarray over this view's memory. */
static PyObject *ask_ndarray(PyObject *self, const char *method, PyObject *args, PyObject *kwargs)
{
    PyObject *none = PyTuple_New(0);
    PyObject *array = none == NULL ? NULL : ih_array_dunder(self, none, NULL);
    PyObject *function = array == NULL ? NULL : PyObject_GetAttrString(array, method);
    PyObject *result =
        function == NULL ? NULL : PyObject_Call(function, args == NULL ? none : args, kwargs);
    Py_XDECREF(none);
    Py_XDECREF(array);
    Py_XDECREF(function);
    return result;
}

PyObject *ih_array_dlpack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return ask_ndarray(self, "__dlpack__", args, kwargs);
}

PyObject *ih_array_dlpack_device(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ask_ndarray(self, "__dlpack_device__", NULL, NULL);
}
