/* Images in buffers: see image_file.h. */
#include "module/image_file.h"

#include "module/decode.h"
#include "module/freezer.h"
#include "module/handle.h"
#include "module/hooks.h"
#include "module/image_object.h"
#include "module/store.h"

PyObject *ih_file_image_of(PyObject *module, PyObject *object)
{
    ih_state *state = ih_state_of(module);
    ih_handle handle;
    ih_image_object *image;
    if (ih_is_view(state, object) && ih_view_is_root(object)) {
        image = (ih_image_object *)Py_NewRef((PyObject *)((ih_view *)object)->image);
    } else {
        if (!Py_IS_TYPE(object, state->handle_type))
            Py_RETURN_NONE;
        if (ih_handle_parse(state, object, &handle) < 0)
            return NULL;
        image = ih_image_of_handle(state, handle);
    }
    if (image && (image->image.links > 0 || image->image.cells))
        Py_SETREF(image, (ih_image_object *)Py_NewRef(Py_None));
    return (PyObject *)image;
}

PyObject *ih_file_open_wary(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    ih_handle handle;
    if (nargs != 2 || !Py_IS_TYPE(args[0], state->handle_type))
        return PyErr_Format(PyExc_TypeError, "_open_wary() takes a Handle and a Trust");
    if (ih_handle_parse(state, args[0], &handle) < 0)
        return NULL;
    ih_image_object *image = ih_image_of_handle(state, handle);
    if (image == NULL)
        return NULL;
    ih_trust_bound(image, args[1]);
    PyObject *root = ih_decode(image, image->root);
    Py_DECREF(image);
    return root;
}

PyObject *ih_file_open_buffer(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3)
        return PyErr_Format(PyExc_TypeError, "_open_buffer() takes a buffer, a bool and a Trust");
    int fixed = nargs > 1 ? PyObject_IsTrue(args[1]) : 0;
    PyObject *trust = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    return fixed < 0 ? NULL : ih_open_buffer(ih_state_of(module), args[0], fixed, trust);
}

/* The format wants 4-byte alignment, which a slice of a memoryview need not have: NULL where it
 * has, else a copy to free. */
static int take_aligned(const Py_buffer *buffer, uint8_t **copy)
{
    *copy = NULL;
    if ((uintptr_t)buffer->buf % 4 == 0)
        return 0;
    *copy = aligned_alloc(IH_UNIT, ((size_t)buffer->len + IH_UNIT) & ~(size_t)(IH_UNIT - 1));
    if (*copy == NULL)
        return -1;
    memcpy(*copy, buffer->buf, (size_t)buffer->len);
    return 0;
}

static int raise_census(ih_state *state, int result, const ih_fault *fault)
{
    if (result == -2)
        PyErr_NoMemory();
    else if (result < 0)
        ih_raise_fault(state, fault);
    return result;
}

/* Of an image where it lies. */
static int take_census_of_handle(ih_state *state, PyObject *object, ih_census *census)
{
    ih_handle handle;
    ih_fault fault;
    int result;
    if (ih_handle_parse(state, object, &handle) < 0)
        return -1;
    ih_image_object *image = ih_image_of_handle(state, handle);
    if (image == NULL)
        return -1;
    Py_BEGIN_ALLOW_THREADS
    result = ih_validate_census(&image->image, image->root, census, &fault);
    Py_END_ALLOW_THREADS
    Py_DECREF(image);
    return raise_census(state, result, &fault);
}

static int take_census(PyObject *module, PyObject *bytes, ih_census *census)
{
    if (Py_IS_TYPE(bytes, ih_state_of(module)->handle_type))
        return take_census_of_handle(ih_state_of(module), bytes, census);
    Py_buffer buffer;
    ih_image image;
    uint32_t root;
    ih_fault fault;
    uint8_t *copy;
    int result;
    if (PyObject_GetBuffer(bytes, &buffer, PyBUF_SIMPLE) < 0)
        return -1;
    if (take_aligned(&buffer, &copy) < 0) {
        PyBuffer_Release(&buffer);
        PyErr_NoMemory();
        return -1;
    }
    Py_BEGIN_ALLOW_THREADS
    result = ih_image_open(copy ? copy : buffer.buf, (uint64_t)buffer.len, &image, &root, &fault);
    if (result == 0)
        result = ih_validate_census(&image, root, census, &fault);
    free(copy);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&buffer);
    return raise_census(ih_state_of(module), result, &fault);
}

PyObject *ih_file_validate(PyObject *module, PyObject *bytes)
{
    ih_census census;
    if (take_census(module, bytes, &census) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *ih_file_census(PyObject *module, PyObject *bytes)
{
    ih_census census;
    if (take_census(module, bytes, &census) < 0)
        return NULL;
    return Py_BuildValue("KKKK", (unsigned long long)census.kinds, (unsigned long long)census.forms,
                         (unsigned long long)census.codes, (unsigned long long)census.families);
}

PyObject *ih_file_put_image(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    Py_buffer buffer;
    ih_image image;
    uint32_t root;
    ih_fault fault;
    ih_handle handle;
    ih_error error = {0};
    ih_result result = IH_OK;
    if (nargs != 2 || !PyObject_TypeCheck(args[0], state->store_type))
        return PyErr_Format(PyExc_TypeError, "_put_image() takes a Store and a buffer");
    ih_store_object *store = (ih_store_object *)args[0];
    if (ih_store_alive(store, "put") < 0 || PyObject_GetBuffer(args[1], &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    int opened = ih_image_open(buffer.buf, (uint64_t)buffer.len, &image, &root, &fault);
    if (opened == 0 && image.links > 0) {
        /* The store would have to be told of them, and nobody vouches for what they name. */
        fault = (ih_fault){51, "links outside the store that they were made in"};
        opened = -1;
    }
    if (opened == 0) {
        Py_BEGIN_ALLOW_THREADS
        result = ih_put_image(store->shared->store, 0, buffer.buf, (uint64_t)buffer.len, NULL,
                              &handle, NULL, &error);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&buffer);
    if (opened < 0)
        return ih_raise_fault(state, &fault);
    return result == IH_OK ? ih_handle_new(state, handle) : ih_store_raise(store, &error, NULL);
}
