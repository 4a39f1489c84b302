/* Layouts of objects: reading, checking and keeping them; see object.h.
 *
 * Everything in a LAYOUT is wild. Its class must be a VALUE of code CLASS over a tuple of two
 * texts, its names a SHAPE of distinct texts: each is read by its kind and nothing else is decoded,
 * so that no layout leads into another object. Bytes of names are counted against the graph, since
 * many words may name one long text. */
#include "module/decode.h"
#include "module/hooks.h"
#include "module/object_parts.h"
#include "module/value.h"
#include "module/view.h"

#define FEW_NAMES 8u /* compared one by one */

static int fault_at(ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(image->state, &fault);
    return -1;
}

/* ---- hooks ----------------------------------------------------------------------------------- */

PyObject *ih_resolve_class(ih_state *state, PyObject *module, PyObject *qualname, PyObject *trust,
                           PyObject *definition)
{
    PyObject *resolve = ih_hook_of(state, IH_HOOK_RESOLVE_CLASS);
    if (resolve == NULL)
        return NULL;
    PyObject *found = PyObject_CallFunctionObjArgs(resolve, module, qualname, trust,
                                                   definition != NULL ? definition : Py_None, NULL);
    if (found != NULL && found != Py_None && !PyType_Check(found)) {
        PyErr_Format(PyExc_TypeError, "resolve_class() found %.100s, not a class",
                     Py_TYPE(found)->tp_name);
        Py_CLEAR(found);
    }
    return found;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_text(unsigned kind)
{
    return kind == IH_SHORT_STR || kind == IH_STR_ASCII || kind == IH_STR_UTF8;
}

PyObject *ih_decode_name(ih_image_object *image, uint32_t word, uint64_t where, uint64_t *left)
{
    ih_node node;
    ih_fault fault;
    if (word == IH_EMPTY_STR)
        return PyUnicode_New(0, 0);
    if (ih_word_is_int(word) || ih_word_is_constant(word)) {
        fault_at(image, where, "a name is not text");
        return NULL;
    }
    if (ih_read_node(&image->image, word, &node, &fault) < 0)
        return ih_raise_fault(image->state, &fault);
    if (!is_text(node.kind) || node.n > *left) {
        fault_at(image, where, is_text(node.kind) ? "names without end" : "a name is not text");
        return NULL;
    }
    *left -= node.n;
    return ih_decode_text(image, image->image.base + node.data, node.n, node.ascii, node.data);
}

/* Name i of a pair: the words of a tuple, or a text run. */
static PyObject *pair_item(ih_image_object *image, const ih_node *pair, uint64_t i, uint64_t *left)
{
    const uint8_t *base = image->image.base;
    if (pair->kind == IH_TUPLE)
        return ih_decode_name(image, ih_load_word(base + pair->data + 4 * i), pair->data, left);
    uint64_t from, size;
    ih_fault fault;
    if (ih_text_item(&image->image, pair, i, &from, &size, &fault) < 0)
        return ih_raise_fault(image->state, &fault);
    return ih_decode_text(image, base + from, size, pair->ascii, from);
}

static int read_definition(ih_image_object *image, uint64_t at, uint32_t *word)
{
    ih_node node = {0};
    ih_fault fault;
    *word = ih_load_word(image->image.base + at);
    bool nothing = ih_word_is_int(*word) || ih_word_is_constant(*word);
    if (!nothing && ih_read_node(&image->image, *word, &node, &fault) < 0)
        return (ih_raise_fault(image->state, &fault), -1);
    if (nothing || !ih_is_definition(node.kind))
        return fault_at(image, at, "the definition of a class is not a dict");
    return 0;
}

int ih_read_class(ih_image_object *image, uint32_t word, uint64_t where, PyObject **module,
                  PyObject **qualname, uint32_t *definition)
{
    ih_node value, pair;
    ih_fault fault;
    uint64_t left = image->image.graph;
    *module = *qualname = NULL;
    *definition = IH_NONE;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        return fault_at(image, where, "the class of a layout is not one");
    if (ih_read_node(&image->image, word, &value, &fault) < 0)
        return (ih_raise_fault(image->state, &fault), -1);
    if (value.kind != IH_VALUE || value.n != IH_VALUE_CLASS || ih_word_is_int(value.shape) ||
        ih_word_is_constant(value.shape))
        return fault_at(image, where, "the class of a layout is not one");
    if (ih_read_node(&image->image, value.shape, &pair, &fault) < 0)
        return (ih_raise_fault(image->state, &fault), -1);
    bool three = pair.kind == IH_TUPLE && pair.n == 3;
    if (!three && ((pair.kind != IH_TUPLE && pair.kind != IH_TUPLE_STR) || pair.n != 2))
        return fault_at(image, where, "the name of a class is not two texts");
    if (three && read_definition(image, pair.data + 8, definition) < 0)
        return -1;
    *module = pair_item(image, &pair, 0, &left);
    *qualname = *module ? pair_item(image, &pair, 1, &left) : NULL;
    if (*qualname != NULL)
        return 0;
    Py_CLEAR(*module);
    return -1;
}

/* The names, and the index of many. */
static int read_names(ih_layout *layout, ih_image_object *image, const ih_node *shape)
{
    uint64_t left = image->image.graph;
    const uint8_t *words = image->image.base + shape->data;
    layout->names = PyTuple_New((Py_ssize_t)shape->n);
    layout->index = PyDict_New();
    if (layout->names == NULL || layout->index == NULL)
        return -1;
    for (uint32_t i = 0; i < shape->n; i++) {
        PyObject *name = ih_decode_name(image, ih_load_word(words + 4 * (uint64_t)i),
                                        shape->data + 4 * (uint64_t)i, &left);
        if (name == NULL)
            return -1;
        PyUnicode_InternInPlace(&name);
        PyTuple_SET_ITEM(layout->names, (Py_ssize_t)i, name);
        PyObject *position = PyLong_FromLong((long)i);
        int result = position ? PyDict_SetItem(layout->index, name, position) : -1;
        Py_XDECREF(position);
        if (result < 0)
            return -1;
        if (PyDict_GET_SIZE(layout->index) != (Py_ssize_t)i + 1)
            return fault_at(image, shape->data + 4 * (uint64_t)i, "a field named twice");
    }
    if (shape->n <= FEW_NAMES)
        Py_CLEAR(layout->index);
    layout->n = (uint32_t)shape->n;
    return 0;
}

static int read_shape(ih_layout *layout, ih_image_object *image, uint64_t at, uint32_t word)
{
    ih_node shape = {0};
    ih_fault fault;
    if (word != IH_NONE && (ih_word_is_int(word) || ih_word_is_constant(word)))
        return fault_at(image, at, "the names of a layout are not a shape");
    if (word != IH_NONE && ih_read_node(&image->image, word, &shape, &fault) < 0)
        return (ih_raise_fault(image->state, &fault), -1);
    if (word != IH_NONE && shape.kind != IH_SHAPE)
        return fault_at(image, at, "the names of a layout are not a shape");
    if (shape.n > INT32_MAX)
        return fault_at(image, at, "more names than an object has room for");
    if (layout->form == IH_FORM_TUPLE && word != IH_NONE)
        return fault_at(image, at, "a tuple with names");
    return read_names(layout, image, &shape);
}

/* C code takes what says that it is a str, an int, ... for one (H22): such objects are made whole,
 * or lie over a view of their content. */
static bool is_told_by_layout(PyTypeObject *cls, uint8_t form)
{
    unsigned long whole =
        Py_TPFLAGS_LONG_SUBCLASS | Py_TPFLAGS_UNICODE_SUBCLASS | Py_TPFLAGS_TYPE_SUBCLASS;
    unsigned long content = Py_TPFLAGS_LIST_SUBCLASS | Py_TPFLAGS_TUPLE_SUBCLASS |
                            Py_TPFLAGS_BYTES_SUBCLASS | Py_TPFLAGS_DICT_SUBCLASS;
    unsigned long flags = PyType_GetFlags(cls);
    return (form == IH_FORM_VIEW && (flags & (whole | content)) != 0) ||
           (form == IH_FORM_CONTAINER && (flags & whole) != 0);
}

/* The FrozenDict of a class's definition, which holds code: NULL without an exception where nobody
 * trusts it. Making the view looks no further than the dict. New reference. */
static PyObject *open_definition(ih_image_object *image, uint32_t word, uint64_t at,
                                 PyObject *trust)
{
    ih_node node;
    ih_fault fault;
    int trusted = word != IH_NONE ? ih_trust_has_code(trust) : 0;
    if (trusted <= 0)
        return NULL;
    if (ih_read_node(&image->image, word, &node, &fault) < 0)
        return ih_raise_fault(image->state, &fault);
    /* Once more: it may have changed. */
    PyObject *found = ih_is_definition(node.kind) ? ih_decode(image, word) : NULL;
    if (found == NULL && PyErr_Occurred())
        return NULL;
    if (found == NULL || Py_TYPE(found) != image->state->dict_type) {
        Py_XDECREF(found);
        fault_at(image, at, "the definition of a class is not a dict");
        return NULL;
    }
    /* Behind a link it is another image's, and trusted as that one is. */
    ih_image_object *holder = ((ih_view *)found)->image;
    PyObject *other = holder != image ? ih_image_trust(holder) : trust;
    trusted = other != NULL ? ih_trust_has_code(other) : -1;
    if (trusted <= 0)
        Py_CLEAR(found);
    return found;
}

/* A class with a definition is not made for a sample, which makes no code (H21): its layout is good
 * for that sample alone. */
static bool is_passing(const ih_layout *layout) { return layout->defined && ih_sampling(); }

static int resolve(ih_layout *layout, ih_image_object *image, uint64_t at, uint32_t word)
{
    PyObject *definition = NULL, *found = NULL;
    if (is_passing(layout))
        found = Py_NewRef(Py_None);
    else
        definition = open_definition(image, word, at, layout->trust);
    if (found == NULL && definition == NULL && PyErr_Occurred())
        return -1;
    if (found == NULL)
        found = ih_resolve_class(image->state, layout->module, layout->qualname, layout->trust,
                                 definition);
    if (found == NULL && definition != NULL)
        ih_value_failed(image, at, "a class that can't be made");
    Py_XDECREF(definition);
    if (found == NULL)
        return -1;
    /* A class that has become a str, an int, ... since is not what was frozen: a record. */
    if (found != Py_None && !is_told_by_layout((PyTypeObject *)found, layout->form))
        layout->cls = (PyTypeObject *)Py_NewRef(found);
    Py_DECREF(found);
    if (layout->form != IH_FORM_VIEW && layout->form != IH_FORM_CONTAINER)
        return 0;
    if (layout->cls == NULL && layout->form == IH_FORM_CONTAINER)
        layout->view_type = (PyTypeObject *)Py_XNewRef((PyObject *)image->state->record_type);
    else
        layout->view_type = ih_object_view_type(image->state, layout->cls);
    if (layout->view_type == NULL || layout->cls == NULL)
        return layout->view_type ? 0 : -1;
    return ih_object_view_type_add(image->state, layout);
}

static ih_layout *new_layout(ih_state *state)
{
    PyTypeObject *type = state->layout_type;
    if (type == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "icehouse has been unloaded");
        return NULL;
    }
    return (ih_layout *)type->tp_alloc(type, 0); /* zeroed */
}

static ih_layout *read_layout(ih_image_object *image, uint32_t word, uint64_t at, PyObject *trust)
{
    ih_node node;
    ih_fault fault;
    if (ih_word_is_int(word) || ih_word_is_constant(word))
        return (fault_at(image, at, "the layout of an object is not one"), NULL);
    if (ih_read_node(&image->image, word, &node, &fault) < 0)
        return (ih_raise_fault(image->state, &fault), NULL);
    if (node.kind != IH_LAYOUT)
        return (fault_at(image, at, "the layout of an object is not one"), NULL);
    ih_layout *layout = new_layout(image->state);
    if (layout == NULL)
        return NULL;
    uint64_t here = ih_word_offset(word);
    layout->identity = image->identity;
    layout->word = word;
    layout->form = (uint8_t)node.n;
    layout->number = node.seed;
    layout->trust = Py_NewRef(trust);
    uint32_t definition = IH_NONE;
    int result = read_shape(layout, image, here, node.shape);
    if (result == 0 && node.n != IH_FORM_MADE && layout->number > layout->n)
        result = fault_at(image, here, "more slots than names");
    if (result == 0)
        result = ih_read_class(image, node.capacity, here, &layout->module, &layout->qualname,
                               &definition);
    if (result == 0) {
        layout->defined = definition != IH_NONE;
        layout->type_name = PyUnicode_FromFormat("%U.%U", layout->module, layout->qualname);
        result = layout->type_name ? resolve(layout, image, here, definition) : -1;
    }
    if (result < 0)
        Py_CLEAR(layout);
    return layout;
}

/* ---- keeping --------------------------------------------------------------------------------- */

#if IH_CACHES
/* Is the class still what its name leads to? Most are names of loaded modules, which needs no
 * Python. 1, 0, -1. */
static int is_current(const ih_layout *layout, ih_image_object *image)
{
    if (layout->cls != NULL) {
        PyObject *module = PyImport_GetModule(layout->module);
        PyObject *names = module && PyModule_Check(module) ? PyModule_GetDict(module) : NULL;
        PyObject *found = names ? PyDict_GetItemWithError(names, layout->qualname) : NULL;
        Py_XDECREF(module);
        if (found == (PyObject *)layout->cls)
            return 1;
        if (PyErr_Occurred())
            return -1;
    }
    if (layout->defined) /* what it says is in the image, and the rules know the class by it */
        return 0;
    PyObject *found =
        ih_resolve_class(image->state, layout->module, layout->qualname, layout->trust, NULL);
    if (found == NULL)
        return -1;
    bool same = found == (layout->cls ? (PyObject *)layout->cls : Py_None);
    Py_DECREF(found);
    return same;
}
#endif

ih_layout *ih_layout_get(ih_image_object *image, uint32_t word, uint64_t at)
{
    PyObject *trust = ih_image_trust(image);
    if (trust == NULL)
        return NULL;
#if IH_CACHES
    ih_layout **slot = ih_layout_slot(image, word), *known = *slot;
    uint64_t bit = ih_layout_bit(word);
    if (known != NULL && known->word == word && known->identity == image->identity &&
        known->trust == trust) {
        Py_INCREF(known); /* resolving a class may run code that empties the slot */
        int current = image->vouched & bit ? 1 : is_current(known, image);
        if (current > 0) {
            image->vouched |= bit;
            return known;
        }
        Py_DECREF(known);
        if (current < 0)
            return NULL;
    }
    known = read_layout(image, word, at, trust);
    if (known != NULL && !is_passing(known)) {
        Py_XSETREF(*slot, (ih_layout *)Py_NewRef((PyObject *)known));
        image->vouched |= bit;
    }
    return known;
#else
    return read_layout(image, word, at, trust);
#endif
}

/* ---- the type of layouts --------------------------------------------------------------------- */

static int layout_traverse(PyObject *self, visitproc visit, void *arg)
{
    ih_layout *layout = (ih_layout *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(layout->cls);
    Py_VISIT(layout->view_type);
    Py_VISIT(layout->trust);
    Py_VISIT(layout->methods);
    return 0;
}

static int layout_clear(PyObject *self)
{
    /* The views that hold it need all of it until they go: their types and classes break the
     * cycles. */
    (void)self;
    return 0;
}

static void layout_dealloc(PyObject *self)
{
    ih_layout *layout = (ih_layout *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(layout->names);
    Py_XDECREF(layout->index);
    Py_XDECREF(layout->module);
    Py_XDECREF(layout->qualname);
    Py_XDECREF(layout->type_name);
    Py_XDECREF(layout->cls);
    Py_XDECREF(layout->view_type);
    Py_XDECREF(layout->trust);
    Py_XDECREF(layout->methods);
    PyMem_Free(layout->plan);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot layout_slots[] = {
    {Py_tp_dealloc, (void *)layout_dealloc},
    {Py_tp_traverse, (void *)layout_traverse},
    {Py_tp_clear, (void *)layout_clear},
    {Py_tp_doc, "How the objects of one class lie in an image; views refer to it."},
    {0, NULL},
};

static PyType_Spec layout_spec = {
    .name = "icehouse.native._image.Layout",
    .basicsize = sizeof(ih_layout),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = layout_slots,
};

int ih_init_layout(PyObject *module, ih_state *state)
{
    state->layout_type = ih_add_type(module, &layout_spec, NULL, false);
    return state->layout_type ? 0 : -1;
}
