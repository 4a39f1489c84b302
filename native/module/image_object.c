/* Image: an open image as one interpreter holds it. Views refer to it, it holds the lease.
 *
 * Users never meet it. It is not tracked by the cycle collector: it refers to nothing that could
 * refer back. */
#include "module/image_object.h"

#include "module/decode.h"
#include "module/handle.h"
#include "module/process.h"
#include "module/view.h"

/* Nonces name the content of trusted images in caches, numbers of our own that of all others: the
 * top bit keeps them apart, and 0 is the caches' empty entry. */
#define OWN_IDENTITY ((uint64_t)1 << 63)

uint64_t ih_fresh_identity(ih_state *state)
{
#if IH_CACHES
    return ++state->next_identity | OWN_IDENTITY;
#else
    return __atomic_add_fetch(&state->next_identity, 1, __ATOMIC_RELAXED) | OWN_IDENTITY;
#endif
}

static ih_image_object *new_image(ih_state *state)
{
    ih_image_object *image = IH_TAKE(state, free_images, state->image_type);
    if (image == NULL)
        return NULL;
    image->lease = NULL;
    image->owner = image->trust = NULL;
    image->linked = NULL;
    image->native = image->given = image->wary = image->fixed = false;
    image->vouched = 0;
#if IH_CACHES
    image->serial = ++state->next_serial;
#endif
    image->state = state;
    return image;
}

/* Images whose links are still to be let go: chains of them are long, and would recurse. */
static _Thread_local ih_image_object *unlinked;
static _Thread_local bool unlinking;

static void image_dealloc(PyObject *self)
{
    ih_image_object *image = (ih_image_object *)self;
    if (image->lease)
        ih_lease_release(image->lease);
    Py_CLEAR(image->trust);
    Py_CLEAR(image->owner);
    if (image->linked == NULL) {
        IH_GIVE(image->state, free_images, self);
        return;
    }
    image->owner = (PyObject *)unlinked; /* as the list's next */
    unlinked = image;
    if (unlinking)
        return;
    for (unlinking = true; (image = unlinked) != NULL;) {
        unlinked = (ih_image_object *)image->owner;
        for (uint32_t i = 0; i < image->image.links; i++)
            Py_XDECREF((PyObject *)image->linked[i]);
        PyMem_Free(image->linked);
        IH_GIVE(image->state, free_images, (PyObject *)image);
    }
    unlinking = false;
}

ih_image_object *ih_image_of_lease(ih_state *state, ih_lease *lease)
{
    ih_image_object *image = new_image(state);
    if (!image) {
        ih_lease_release(lease);
        return NULL;
    }
    image->lease = lease;
    uint64_t nonce = lease->handle.nonce & ~OWN_IDENTITY;
    image->identity = lease->trusted && nonce ? nonce : ih_fresh_identity(state);
    ih_fault fault;
    if (ih_image_open(lease->image, lease->size, &image->image, &image->root, &fault) < 0) {
        Py_DECREF(image);
        ih_raise_fault(state, &fault);
        return NULL;
    }
    return image;
}

PyObject *ih_open_lease(ih_state *state, ih_lease *lease)
{
    ih_image_object *image = ih_image_of_lease(state, lease);
    if (!image)
        return NULL;
    PyObject *root = ih_decode(image, image->root);
    Py_DECREF(image);
    return root;
}

/* A private, 64-byte aligned copy of `source`: a bytes object, and where in it the copy starts. */
static PyObject *aligned_copy(const Py_buffer *source, const uint8_t **start)
{
    PyObject *copy = PyBytes_FromStringAndSize(NULL, source->len + (Py_ssize_t)IH_UNIT);
    if (!copy)
        return NULL;
    uintptr_t at = ((uintptr_t)PyBytes_AS_STRING(copy) + IH_UNIT - 1) & ~(uintptr_t)(IH_UNIT - 1);
    memcpy((void *)at, source->buf, (size_t)source->len);
    *start = (const uint8_t *)at;
    return copy;
}

PyObject *ih_open_buffer(ih_state *state, PyObject *buffer, bool fixed, PyObject *trust)
{
    PyObject *owner = PyMemoryView_FromObject(buffer);
    if (!owner)
        return NULL;
    const Py_buffer *bytes = PyMemoryView_GET_BUFFER(owner);
    if (!PyBuffer_IsContiguous(bytes, 'C')) {
        Py_DECREF(owner);
        PyErr_SetString(PyExc_BufferError, "an image must be contiguous bytes");
        return NULL;
    }
    const uint8_t *base = bytes->buf;
    uint64_t size = (uint64_t)bytes->len;
    if ((uintptr_t)base % IH_UNIT != 0)
        Py_SETREF(owner, aligned_copy(bytes, &base));
    if (!owner)
        return NULL;
    ih_image_object *image = new_image(state);
    if (!image) {
        Py_DECREF(owner);
        return NULL;
    }
    image->owner = owner;
    image->fixed = fixed;
    image->trust = Py_XNewRef(trust);
    image->given = trust != NULL;
    image->identity = ih_fresh_identity(state);
    ih_fault fault;
    if (ih_image_open(base, size, &image->image, &image->root, &fault) < 0) {
        Py_DECREF(image);
        return ih_raise_fault(state, &fault);
    }
    PyObject *root = ih_decode(image, image->root);
    Py_DECREF(image);
    return root;
}

/* ---- what views share ---------------------------------------------------------------------- */

/* A slice shows part of its node. */
const ih_sequence *ih_as_slice(const ih_state *state, PyObject *view)
{
    PyTypeObject *type = Py_TYPE(view);
    if (type != state->list_type && type != state->tuple_type)
        return NULL;
    const ih_sequence *sequence = (const ih_sequence *)view;
    return sequence->whole ? NULL : sequence;
}

bool ih_view_is_root(PyObject *object)
{
    const ih_view *view = (const ih_view *)object;
    uint32_t root = view->image->root;
    return !ih_word_is_int(root) && view->at == ih_word_offset(root) &&
           !ih_as_slice(view->image->state, object);
}

static bool same_image(const ih_image_object *a, const ih_image_object *b)
{
    if (a == b)
        return true;
    return a->lease && b->lease && a->lease->handle.locator == b->lease->handle.locator &&
           a->lease->handle.nonce == b->lease->handle.nonce;
}

bool ih_view_same(PyObject *a, PyObject *b)
{
    if (a == b)
        return true;
    const ih_view *left = (const ih_view *)a, *right = (const ih_view *)b;
    if (Py_TYPE(a) != Py_TYPE(b) || left->at != right->at || left->n != right->n ||
        left->data != right->data || !same_image(left->image, right->image))
        return false;
    const ih_sequence *part = ih_as_slice(left->image->state, a);
    const ih_sequence *other = ih_as_slice(left->image->state, b);
    if (!part || !other)
        return !part && !other;
    return part->start == other->start && part->step == other->step;
}

PyObject *ih_view_locate(PyObject *object)
{
    const ih_view *view = (const ih_view *)object;
    const ih_image_object *image = view->image;
    if (!image->lease || view->at == 0 || ih_as_slice(image->state, object))
        Py_RETURN_NONE;
    PyObject *handle = ih_handle_new(image->state, image->lease->handle);
    return handle ? Py_BuildValue("NI", handle, (unsigned)(view->at / 2)) : NULL;
}

ih_image_object *ih_image_of_handle(ih_state *state, ih_handle handle)
{
    ih_process *process;
    ih_lease *lease;
    ih_error error = {0};
    ih_result result = ih_process_get(&process, &error);
    if (result == IH_OK)
        IH_MAY_WAIT(result, ih_open(process, handle, &lease, &error));
    if (result != IH_OK) {
        ih_raise_arena(state, &error);
        return NULL;
    }
    return ih_image_of_lease(state, lease);
}

PyObject *ih_view_reopen(ih_state *state, ih_handle handle, uint32_t word)
{
    ih_image_object *image = ih_image_of_handle(state, handle);
    if (!image)
        return NULL;
    PyObject *object = ih_decode(image, word);
    Py_DECREF(image);
    return object;
}

/* ---- type ----------------------------------------------------------------------------------- */

/* All of it, read-only, the arena's part of the header included. */
static int image_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    const ih_image *image = &((ih_image_object *)self)->image;
    return PyBuffer_FillInfo(view, self, (void *)(uintptr_t)image->base, (Py_ssize_t)image->size, 1,
                             flags);
}

static PyType_Slot image_slots[] = {
    {Py_bf_getbuffer, (void *)image_getbuffer},
    {Py_tp_dealloc, (void *)image_dealloc},
    {Py_tp_doc, "An open image; views refer to it."},
    {0, NULL},
};

static PyType_Spec image_spec = {
    .name = "icehouse.native._image.Image",
    .basicsize = sizeof(ih_image_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = image_slots,
};

int ih_init_image_object(PyObject *module, ih_state *state)
{
    state->image_type = ih_add_type(module, &image_spec, NULL, false);
    return state->image_type ? 0 : -1;
}
