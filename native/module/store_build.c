/* Arrays that are built in a store, and private writable copies of arrays in one.
 *
 * Both are an object that exports one writable buffer of bytes; Python lays an ndarray over it. See
 * arena/build.c for what the memory is, and what becomes of it when the image is sealed. */
#include "module/store.h"

#include "arena/wire.h"
#include "image/write.h"
#include "module/array.h"
#include "module/buffers.h"
#include "module/decode.h"
#include "module/handle.h"
#include "module/image_object.h"

typedef struct {
    PyObject_HEAD
    ih_state *state;
    PyObject *store; /* owned; NULL: a copy, or sealed and let go */
    PyObject
        *image; /* owned: what keeps the memory of the mapping from being used again; or NULL */
    ih_block block;
    ih_building building;
    uint64_t data, bytes; /* the buffer: offset from building.memory, length */
    uint64_t graph;
    uint32_t root;
    int open; /* atomic: may be sealed or abandoned */
} build_object;

static build_object *build_of(PyObject *self) { return (build_object *)self; }

/* Whoever gets true ends the building. */
static bool close_once(build_object *self)
{
    int expected = 1;
    return __atomic_compare_exchange_n(&self->open, &expected, 0, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

static build_object *new_build(ih_state *state)
{
    build_object *self = (build_object *)state->build_type->tp_alloc(state->build_type, 0);
    if (self != NULL)
        self->state = state;
    return self;
}

static void build_dealloc(PyObject *object)
{
    build_object *self = build_of(object);
    PyTypeObject *type = Py_TYPE(object);
    if (close_once(self))
        ih_block_discard(&self->block, &self->building);
    ih_building_end(&self->building);
    Py_XDECREF(self->store);
    Py_XDECREF(self->image);
    type->tp_free(object);
    Py_DECREF(type);
}

static int build_getbuffer(PyObject *object, Py_buffer *buffer, int flags)
{
    build_object *self = build_of(object);
    bool open = __atomic_load_n(&self->open, __ATOMIC_ACQUIRE);
    if ((!open && self->store != NULL) || self->building.start == NULL) {
        buffer->obj = NULL;
        PyErr_SetString(PyExc_BufferError, "this array was sealed or abandoned: get it from the "
                                           "store by its handle");
        return -1;
    }
    return PyBuffer_FillInfo(buffer, object, self->building.memory + self->data,
                             (Py_ssize_t)self->bytes, 0, flags);
}

/* ---- building ------------------------------------------------------------------------------- */

typedef struct {
    const char *format;
    Py_ssize_t format_size, item_size;
    Py_ssize_t shape[IH_ARRAY_DIMENSIONS_MAX];
    int ndim;
    char order;
} array_spec;

static int take_shape(PyObject *shape, array_spec *spec, uint64_t *bytes)
{
    if (!PyTuple_Check(shape) || PyTuple_GET_SIZE(shape) > (Py_ssize_t)IH_ARRAY_DIMENSIONS_MAX) {
        PyErr_SetString(PyExc_ValueError, "a shape is a tuple of at most 64 ints");
        return -1;
    }
    spec->ndim = (int)PyTuple_GET_SIZE(shape);
    Py_ssize_t total = spec->item_size;
    for (int i = 0; i < spec->ndim; i++) {
        Py_ssize_t n = PyNumber_AsSsize_t(PyTuple_GET_ITEM(shape, i), PyExc_OverflowError);
        if (n == -1 && PyErr_Occurred())
            return -1;
        if (n < 0 || __builtin_mul_overflow(total, n, &total)) {
            PyErr_SetString(PyExc_ValueError, "a length below 0, or an array beyond all memory");
            return -1;
        }
        spec->shape[i] = n;
    }
    *bytes = (uint64_t)total;
    return 0;
}

/* The whole graph: one node. 0, or -1 with MemoryError. */
static int write_graph(ih_writer *w, const array_spec *spec, uint64_t bytes, uint32_t *root)
{
    uint64_t at = 0, ndim = (uint64_t)spec->ndim, format = (uint64_t)spec->format_size;
    if (ih_begin_node(w, IH_ARRAY, ndim, IH_ARRAY_RECORD + 8 * ndim + format + 4, &at) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    uint8_t *p = w->bytes + w->size;
    ih_store32(p, IH_ORIGIN_NDARRAY | (uint32_t)(uint8_t)spec->order << 8 | (uint32_t)format << 16);
    ih_store32(p + 4, (uint32_t)spec->item_size);
    ih_store64(p + 16, bytes);
    for (uint64_t i = 0; i < ndim; i++)
        ih_store64(p + IH_ARRAY_RECORD + 8 * i, (uint64_t)spec->shape[i]);
    memcpy(p + IH_ARRAY_RECORD + 8 * ndim, spec->format, (size_t)format);
    w->size += IH_ARRAY_RECORD + 8 * ndim + format;
    ih_pad4(w);
    ih_store64(p + 8, (w->size + 63) & ~(uint64_t)63);
    *root = ih_word_at(at);
    return 0;
}

/* Reserves and maps the block; without the GIL, since memory is committed. */
static int begin(build_object *self, const ih_writer *w, unsigned flags)
{
    ih_store_object *store = (ih_store_object *)self->store;
    ih_error error = {0};
    ih_result result;
    self->graph = w->size;
    self->data = (w->size + 63) & ~(uint64_t)63;
    Py_BEGIN_ALLOW_THREADS
    result =
        ih_reserve(store->shared->store, self->data + self->bytes, flags, &self->block, &error);
    if (result == IH_OK) {
        result = ih_block_map(&self->block, &self->building, &error);
        if (result == IH_OK)
            memcpy(self->building.memory + IH_HEADER_SIZE, w->bytes + IH_HEADER_SIZE,
                   (size_t)(w->size - IH_HEADER_SIZE));
        else
            ih_block_abandon(&self->block);
    }
    Py_END_ALLOW_THREADS
    if (result == IH_OK) {
        __atomic_store_n(&self->open, 1, __ATOMIC_RELEASE);
        return 0;
    }
    ih_store_raise(store, &error, NULL);
    return -1;
}

PyObject *ih_store_build_method(PyObject *object, PyObject *args)
{
    ih_store_object *store = (ih_store_object *)object;
    array_spec spec = {0};
    PyObject *shape;
    int order, evictable;
    bool swapped;
    if (!PyArg_ParseTuple(args, "Os#nCp:_build", &shape, &spec.format, &spec.format_size,
                          &spec.item_size, &order, &evictable) ||
        ih_store_alive(store, "create") < 0 ||
        (evictable && ih_store_need_daemon(store, "create(evictable=...)") < 0))
        return NULL;
    if (spec.item_size <= 0 || spec.item_size > INT32_MAX || spec.format_size > UINT16_MAX ||
        ih_array_format(spec.format, (size_t)spec.format_size, spec.item_size, &swapped) < 0)
        return PyErr_Format(PyExc_TypeError,
                            "an array of the format '%.100s' can't be built in a store",
                            spec.format);
    spec.order = order == 'F' ? 'F' : 'C';
    build_object *self = new_build(store->state);
    ih_writer w = {0};
    if (self == NULL || take_shape(shape, &spec, &self->bytes) < 0 || ih_writer_init(&w) < 0) {
        Py_XDECREF((PyObject *)self);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    self->store = Py_NewRef(object);
    unsigned flags = IH_PUT_SEAL | (evictable ? IH_PUT_EVICTABLE : 0);
    int failed = write_graph(&w, &spec, self->bytes, &self->root);
    if (!failed)
        failed = begin(self, &w, flags);
    ih_writer_free(&w);
    if (failed)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* A FrozenArray of the sealed image, which goes with its last view until it is put. Takes over the
 * lease. */
static PyObject *open_sealed(build_object *self, ih_lease *lease)
{
    ih_image_object *image = ih_image_of_lease(self->state, lease);
    ih_node node;
    ih_fault fault;
    if (image == NULL)
        return NULL;
    self->image = Py_NewRef((PyObject *)image);
    PyObject *view = NULL;
    if (ih_read_node(&image->image, self->root, &node, &fault) < 0)
        ih_raise_fault(self->state, &fault);
    else
        view = ih_new_array(image, ih_word_offset(self->root), &node);
    Py_DECREF(image);
    return view;
}

static PyObject *build_seal(PyObject *object, PyObject *Py_UNUSED(unused))
{
    build_object *self = build_of(object);
    ih_store_object *store = (ih_store_object *)self->store;
    ih_image_header header = {IH_IMAGE_MAGIC, IH_IMAGE_VERSION, 0, self->root, self->graph};
    ih_handle handle = {0};
    ih_lease *lease = NULL;
    ih_error error = {0};
    ih_result result;
    if (store != NULL && ih_store_alive(store, "create") < 0)
        return NULL;
    if (store == NULL || !close_once(self)) {
        PyErr_SetString(PyExc_ValueError, "this array was sealed or abandoned before");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = ih_block_unshare(&self->block, &self->building, &error);
    if (result == IH_OK)
        result = ih_block_seal(&self->block, (const uint8_t *)&header, &handle, &lease, &error);
    if (result != IH_OK)
        ih_block_discard(&self->block, &self->building);
    Py_END_ALLOW_THREADS
    if (result != IH_OK)
        return ih_store_raise(store, &error, NULL);
    ih_lease_set_fleeting(lease, true);
    if (store->shared->socket &&
        ih_store_publish(store, handle, NULL, IH_PUBLISH_SEALED, 0, NULL) < 0) {
        ih_lease_release(lease);
        return NULL;
    }
    return open_sealed(self, lease);
}

static PyObject *build_abandon(PyObject *object, PyObject *Py_UNUSED(unused))
{
    build_object *self = build_of(object);
    if (close_once(self))
        ih_block_discard(&self->block, &self->building);
    Py_RETURN_NONE;
}

/* ---- copies --------------------------------------------------------------------------------- */

static PyObject *map_copies(ih_state *state, const ih_array_view *view)
{
    const ih_image_object *image = view->image;
    build_object *self = new_build(state);
    if (self == NULL)
        return NULL;
    uint64_t offset = (uint64_t)(view->data - image->image.base);
    if (ih_lease_map_copies(image->lease, offset, (uint64_t)view->bytes, &self->building, NULL) !=
        IH_OK) {
        Py_DECREF(self);
        Py_RETURN_NONE;
    }
    self->image = Py_NewRef((PyObject *)view->image);
    self->bytes = (uint64_t)view->bytes;
    return (PyObject *)self;
}

/* _copies(FrozenArray): private, writable memory with its bytes, copied page by page when they are
 * written; None where that can't be had, or its layout is not contiguous. */
PyObject *ih_copies_of(PyObject *module, PyObject *object)
{
    ih_state *state = ih_state_of(module);
    if (Py_TYPE(object) != state->array_type)
        return PyErr_Format(PyExc_TypeError, "expected a FrozenArray, not %.100s",
                            Py_TYPE(object)->tp_name);
    const ih_array_view *view = (const ih_array_view *)object;
    if (view->image->lease == NULL || !ih_buffer_in_place(view->image) || view->bytes == 0 ||
        (!ih_array_contiguous(view, 'C') && !ih_array_contiguous(view, 'F')))
        Py_RETURN_NONE;
    return map_copies(state, view);
}

/* ---- type ----------------------------------------------------------------------------------- */

static PyMethodDef build_methods[] = {
    {"seal", build_seal, METH_NOARGS,
     "seal($self, /)\n--\n\n"
     "Ends the building and returns the array's root view, which is to be put.\n\n"
     "Writes through memory that was handed out before reach private copies from then on."},
    {"abandon", build_abandon, METH_NOARGS,
     "abandon($self, /)\n--\n\nGives the memory back; what was handed out reads as zeros."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot build_slots[] = {
    {Py_tp_dealloc, (void *)build_dealloc},
    {Py_tp_methods, build_methods},
    {Py_bf_getbuffer, (void *)build_getbuffer},
    {Py_tp_doc, "Writable memory: of an array that is built in a store, or private copies."},
    {0, NULL},
};

static PyType_Spec build_spec = {
    .name = "icehouse.native._image.Building",
    .basicsize = sizeof(build_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = build_slots,
};

int ih_init_build(PyObject *module, ih_state *state)
{
    state->build_type = ih_add_type(module, &build_spec, NULL, false);
    return state->build_type ? 0 : -1;
}
