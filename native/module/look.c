/* Images as they lie: see look.h. */
#include "module/look.h"

#include "module/handle.h"
#include "module/image_object.h"
#include "module/link.h"
#include "module/process.h"
#include "module/store.h"

PyObject *ih_look_open(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    ih_handle handle;
    ih_lease *lease;
    ih_error error = {0};
    ih_result result;
    if (nargs != 2 || !PyObject_TypeCheck(args[0], state->store_type) ||
        !Py_IS_TYPE(args[1], state->handle_type))
        return PyErr_Format(PyExc_TypeError, "_look_open() takes a Store and a Handle");
    ih_store_object *store = (ih_store_object *)args[0];
    if (ih_store_alive(store, "look") < 0 || ih_handle_parse(state, args[1], &handle) < 0)
        return NULL;
    IH_MAY_WAIT(result, ih_open_in(store->shared->store, handle, &lease, &error));
    if (result != IH_OK)
        return ih_store_raise(store, &error, args[1]);
    return (PyObject *)ih_image_of_lease(state, lease);
}

/* NULL with a TypeError: no image, or one of a buffer. */
static ih_image_object *image_of(PyObject *module, PyObject *object)
{
    if (!Py_IS_TYPE(object, ih_state_of(module)->image_type) ||
        ((ih_image_object *)object)->lease == NULL)
        return (void *)PyErr_Format(PyExc_TypeError, "expected an Image of a store");
    return (ih_image_object *)object;
}

PyObject *ih_look_about(PyObject *module, PyObject *object)
{
    const ih_image_object *image = image_of(module, object);
    if (image == NULL)
        return NULL;
    PyObject *handle = ih_handle_new(image->state, image->lease->handle);
    return handle == NULL ? NULL : Py_BuildValue("NI", handle, (unsigned)image->root);
}

/* A number of 32 bits; -1 with an exception. */
static int take_word(PyObject *given, uint32_t *out)
{
    unsigned long word = PyLong_AsUnsignedLong(given);
    if (PyErr_Occurred())
        return -1;
    if (word > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a word has 32 bits");
        return -1;
    }
    *out = (uint32_t)word;
    return 0;
}

static PyObject *describe(const ih_node *node)
{
    return Py_BuildValue("BBBBNNIIIIKKKKKK", node->kind, node->code, node->width, node->order,
                         PyBool_FromLong(node->shared), PyBool_FromLong(node->ascii),
                         node->capacity, node->seed, node->shape, node->item_size,
                         (unsigned long long)node->n, (unsigned long long)node->data,
                         (unsigned long long)node->text, (unsigned long long)node->text_size,
                         (unsigned long long)node->shape_at, (unsigned long long)node->bytes);
}

PyObject *ih_look_node(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t word;
    /* What a kind has no use for is left as it was. */
    ih_node node = {0};
    ih_fault fault;
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "_look_node() takes an Image and a word");
    const ih_image_object *image = image_of(module, args[0]);
    if (image == NULL || take_word(args[1], &word) < 0)
        return NULL;
    if (ih_word_is_int(word))
        return PyErr_Format(PyExc_ValueError, "this word is an int");
    if (ih_read_node(&image->image, word, &node, &fault) < 0)
        return ih_raise_fault(image->state, &fault);
    return describe(&node);
}

PyObject *ih_look_follow(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t word, index;
    ih_node target, link = {.kind = IH_LINK};
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "_look_follow() takes an Image, an index and a word");
    ih_image_object *image = image_of(module, args[0]);
    if (image == NULL || take_word(args[1], &index) < 0 || take_word(args[2], &word) < 0)
        return NULL;
    link.n = index;
    link.shape = word;
    return Py_XNewRef((PyObject *)ih_follow_link(image, &link, &target));
}
