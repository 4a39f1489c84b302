/* FrozenObject: a lazy view of an instance of a class, or of a record whose class is not to be had.
 *
 * The type of a view is made for its class (object_type.c) and is never a subclass of it, so no
 * finalizer, constructor or hook of the class runs and C code never takes a view for an instance
 * (H20). `__class__` says the class, which is what isinstance() believes; attributes are looked up
 * along the class's MRO (object_attr.c), and its methods get the view as self.
 *
 * Views are tracked by the cycle collector: a class may hold a view of its own instance, and what
 * a cached_property computed is kept on the view. */
#include "module/object.h"

#include <structmember.h>

#include "module/decode.h"
#include "module/object_parts.h"
#include "module/view.h"

static PyObject *fault_at(ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    return ih_raise_fault(image->state, &fault);
}

/* ---- the life of a view ---------------------------------------------------------------------- */

static ih_object_view *take_view(ih_state *state, PyTypeObject *type)
{
#if IH_CACHES
    ih_free_list *list = &state->free_objects;
    if (list->count > 0)
        return (ih_object_view *)PyObject_Init(list->objects[--list->count], type);
#else
    (void)state;
#endif
    return PyObject_GC_New(ih_object_view, type);
}

static void give_view(ih_state *state, PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
#if IH_CACHES
    ih_free_list *list = &state->free_objects;
    if (list->count < IH_FREE_OBJECTS) {
        /* Freeing looks at the type, which may be gone by then: any that is collected will do. */
        Py_SET_TYPE(self, &PyTuple_Type);
        list->objects[list->count++] = self;
        Py_DECREF(type);
        return;
    }
#else
    (void)state;
#endif
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Takes over `layout`, and `inner` where there is one. */
static PyObject *new_view(ih_image_object *image, uint64_t at, const uint8_t *fields,
                          ih_layout *layout, PyObject *inner)
{
    ih_object_view *view = take_view(image->state, layout->view_type);
    if (view == NULL) {
        Py_DECREF(layout);
        Py_XDECREF(inner);
        return PyErr_NoMemory();
    }
    view->image = (ih_image_object *)Py_NewRef((PyObject *)image);
    view->at = at;
    view->n = layout->n;
    view->data = fields;
    view->kind = IH_OBJECT;
    view->code = view->width = view->ascii = 0;
    view->layout = layout;
    view->inner = inner;
    view->kept = view->weakrefs = NULL;
    PyObject_GC_Track(view);
    return (PyObject *)view;
}

int ih_object_traverse(PyObject *self, visitproc visit, void *arg)
{
    ih_object_view *view = (ih_object_view *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(view->layout);
    Py_VISIT(view->inner);
    Py_VISIT(view->kept);
    return 0;
}

int ih_object_clear(PyObject *self)
{
    Py_CLEAR(((ih_object_view *)self)->kept);
    return 0;
}

void ih_object_dealloc(PyObject *self)
{
    ih_object_view *view = (ih_object_view *)self;
    ih_image_object *image = view->image;
    PyObject_GC_UnTrack(self);
    if (view->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    Py_DECREF(view->layout);
    Py_XDECREF(view->inner);
    Py_XDECREF(view->kept);
    give_view(image->state, self);
    Py_DECREF(image); /* last: it keeps the lists alive */
}

/* ---- opening --------------------------------------------------------------------------------- */

/* What a CONTAINER holds: a view, a real tuple or bytes. Looked at before it is decoded, for
 * objects in objects would recurse without a bound. */
static PyObject *open_inner(ih_image_object *image, uint64_t at, uint32_t word, ih_budget *left)
{
    if (word == IH_EMPTY_TUPLE || word == IH_EMPTY_BYTES)
        return ih_decode(image, word);
    ih_node node;
    ih_fault fault;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        return fault_at(image, at, "the content of an object is no container");
    if (ih_read_node(&image->image, word, &node, &fault) < 0)
        return ih_raise_fault(image->state, &fault);
    switch (node.kind) {
    case IH_BYTES:
    case IH_BYTES_BLOB:
    case IH_BYTEARRAY:
    case IH_BYTEARRAY_BLOB:
    case IH_LIST:
    case IH_LIST_PACKED:
    case IH_LIST_STR:
    case IH_TUPLE:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW:
    case IH_TUPLE_VIEW_PACKED:
    case IH_TUPLE_VIEW_STR:
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
    case IH_SET:
    case IH_SET_HASHED:
    case IH_FROZENSET:
    case IH_FROZENSET_HASHED:
    case IH_ARRAY:
        return ih_decode_within(image, word, left);
    default:
        return fault_at(image, at, "the content of an object is no container");
    }
}

PyObject *ih_open_object(ih_image_object *image, uint64_t at, const ih_node *node, ih_budget *left)
{
    ih_layout *layout = ih_layout_get(image, node->shape, at);
    if (layout == NULL)
        return NULL;
    PyObject *made;
    if (layout->form == IH_FORM_TUPLE || layout->form == IH_FORM_MADE) {
        made = ih_make_object(image, at, node, layout, left);
        Py_DECREF(layout);
        return made;
    }
    bool contains = layout->form == IH_FORM_CONTAINER;
    if (node->n != (uint64_t)layout->n + contains) {
        Py_DECREF(layout);
        return fault_at(image, at, "an object with another number of values than its layout");
    }
    const uint8_t *words = image->image.base + node->data;
    if (!contains)
        return new_view(image, at, words, layout, NULL);
    PyObject *inner = open_inner(image, at, ih_load_word(words), left);
    if (inner == NULL) {
        Py_DECREF(layout);
        return NULL;
    }
    return new_view(image, at, words + 4, layout, inner);
}

PyObject *ih_open_known_object(ih_image_object *image, uint64_t at, uint32_t header)
{
#if IH_CACHES
    uint64_t n = header >> 8;
    const uint8_t *node = image->image.base + at;
    if (n == IH_COUNT_WIDE || !ih_extent_fits(at + 4, n + 1, 4, image->image.graph))
        return NULL;
    uint32_t word = ih_load_word(node + 4);
    ih_layout *layout = *ih_layout_slot(image, word);
    if (layout == NULL || layout->word != word || layout->identity != image->identity ||
        layout->trust != image->trust || (image->vouched & ih_layout_bit(word)) == 0 ||
        layout->form != IH_FORM_VIEW || layout->n != n)
        return NULL;
    Py_INCREF(layout);
    return new_view(image, at, node + 8, layout, NULL);
#else
    (void)image, (void)at, (void)header;
    return NULL;
#endif
}

/* ---- the type -------------------------------------------------------------------------------- */

PyDoc_STRVAR(object_doc,
             "A frozen instance of a class, read in place from shared memory.\n\n"
             "isinstance(view, Class) is true, and the class's own methods, properties and "
             "operators work with the\n"
             "view as self. An attribute is decoded when it is asked for: O(1). Changing anything "
             "raises FrozenError;\n"
             "icehouse.thaw(view) makes a real instance. Where the class can't be found, or may "
             "not be, only the\n"
             "fields are there, and repr() says the class's name.");

static PyMethodDef object_methods[] = {
    IH_VIEW_METHODS,
    {"__dir__", ih_object_dir, METH_NOARGS, "The names of the class and of the fields."},
    {NULL, NULL, 0, NULL},
};

static PyObject *get_class(PyObject *self, void *ignored)
{
    (void)ignored;
    const ih_layout *layout = ((ih_object_view *)self)->layout;
    return Py_NewRef(layout->cls ? (PyObject *)layout->cls : (PyObject *)Py_TYPE(self));
}

static PyGetSetDef object_getset[] = {
    {"__class__", get_class, NULL, "The class of the object that was frozen.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef object_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ih_object_view, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot object_slots[] = {
    {Py_tp_doc, (void *)object_doc},
    {Py_tp_dealloc, (void *)ih_object_dealloc},
    {Py_tp_traverse, (void *)ih_object_traverse},
    {Py_tp_clear, (void *)ih_object_clear},
    {Py_tp_methods, object_methods},
    {Py_tp_members, object_members},
    {Py_tp_getset, object_getset},
    {Py_tp_getattro, (void *)ih_object_getattro},
    {Py_tp_setattro, (void *)ih_object_setattro},
    {Py_tp_richcompare, (void *)ih_object_richcompare},
    {Py_tp_hash, (void *)ih_object_hash},
    {Py_tp_repr, (void *)ih_object_repr},
    {Py_tp_str, (void *)ih_object_str},
    {0, NULL},
};

static PyType_Spec object_spec = {
    .name = "icehouse.FrozenObject",
    .basicsize = sizeof(ih_object_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = object_slots,
};

int ih_init_object(PyObject *module, ih_state *state)
{
    if (ih_init_layout(module, state) < 0 || ih_init_object_types(module, state) < 0)
        return -1;
    state->object_type = ih_add_type(module, &object_spec, NULL, true);
    return state->object_type ? ih_init_object_record(module, state) : -1;
}
