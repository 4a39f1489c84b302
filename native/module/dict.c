/* FrozenDict: a read-only mapping read in place.
 *
 * Lookup is in table.c, the views of keys, values and items in dict_views.c, comparison in
 * compare.c. */
#include "module/decode.h"
#include "module/dict_views.h"
#include "module/view.h"

static PyObject *value_at(const ih_table_view *view, uint64_t i)
{
    return ih_decode(view->image, ih_load_word(view->values + i * view->value_stride));
}

PyObject *ih_new_dict(ih_image_object *image, uint64_t at, const ih_node *node)
{
    ih_table_view *view = IH_TAKE(image->state, free_tables, image->state->dict_type);
    if (view == NULL)
        return NULL;
    if (ih_table_view_fill(view, image, at, node) < 0) {
        ih_free_object((PyObject *)view);
        return NULL;
    }
    Py_INCREF(image);
    return (PyObject *)view;
}

PyObject *ih_new_known_dict(ih_image_object *image, uint64_t at, uint32_t header)
{
    ih_table_view *view = IH_TAKE(image->state, free_tables, image->state->dict_type);
    if (view == NULL)
        return NULL;
    if (!ih_table_view_fill_known(view, image, at, header)) {
        IH_GIVE(image->state, free_tables, (PyObject *)view);
        return NULL;
    }
    Py_INCREF(image);
    return (PyObject *)view;
}

#define SHAPE_KEYS_MAX 64u

PyObject *ih_shape_keys(const ih_table_view *view)
{
#if IH_CACHES
    if (view->kind != IH_DICT_SHAPED || view->n > SHAPE_KEYS_MAX)
        return NULL;
    ih_image_object *image = view->image;
    ih_shape_cache_entry *entry =
        &image->state->shapes[(view->where >> 1 ^ image->identity) % IH_SHAPE_CACHE];
    if (entry->keys != NULL && entry->shape == view->where && entry->identity == image->identity &&
        (uint64_t)PyTuple_GET_SIZE(entry->keys) == view->n)
        return Py_NewRef(entry->keys);
    PyObject *keys = PyTuple_New((Py_ssize_t)view->n);
    for (uint64_t i = 0; keys != NULL && i < view->n; i++) {
        PyObject *key = ih_decode(image, ih_load_word(view->keys + i * view->key_stride));
        if (key == NULL || !PyUnicode_CheckExact(key)) {
            Py_XDECREF(key);
            Py_CLEAR(keys);
            if (!PyErr_Occurred()) {
                ih_fault fault = {ih_word_offset(view->where), "a shape's key is not text"};
                ih_raise_fault(image->state, &fault);
            }
            break;
        }
        PyTuple_SET_ITEM(keys, (Py_ssize_t)i, key);
    }
    if (keys != NULL) {
        entry->identity = image->identity;
        entry->shape = view->where;
        Py_XSETREF(entry->keys, Py_NewRef(keys));
    }
    return keys;
#else
    (void)view;
    return NULL;
#endif
}

static Py_ssize_t dict_length(PyObject *self) { return (Py_ssize_t)((ih_table_view *)self)->n; }

static PyObject *dict_subscript(PyObject *self, PyObject *key)
{
    ih_table_view *view = (ih_table_view *)self;
    Py_ssize_t found = ih_table_find(view, key);
    if (found >= 0)
        return value_at(view, (uint64_t)found);
    if (found == -1) {
        PyObject *argument =
            PyTuple_Pack(1, key); /* a tuple as key must not be unpacked into arguments */
        if (argument != NULL)
            PyErr_SetObject(PyExc_KeyError, argument);
        Py_XDECREF(argument);
    }
    return NULL;
}

static int dict_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    (void)key;
    ih_raise_frozen(ih_type_state(Py_TYPE(self)), Py_TYPE(self),
                    value == NULL ? "item deletion" : "item assignment");
    return -1;
}

static int dict_contains(PyObject *self, PyObject *key)
{
    Py_ssize_t found = ih_table_find((ih_table_view *)self, key);
    return found >= 0 ? 1 : found == -1 ? 0 : -1;
}

static PyObject *dict_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2)
        return PyErr_Format(PyExc_TypeError, "get expected 1 or 2 arguments, got %zd", nargs);
    Py_ssize_t found = ih_table_find((ih_table_view *)self, args[0]);
    if (found >= 0)
        return value_at((ih_table_view *)self, (uint64_t)found);
    if (found == -2)
        return NULL;
    return Py_NewRef(nargs == 2 ? args[1] : Py_None);
}

static PyObject *dict_keys(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_new_dict_view(ih_type_state(Py_TYPE(self))->dict_keys_type, self);
}
static PyObject *dict_values(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_new_dict_view(ih_type_state(Py_TYPE(self))->dict_values_type, self);
}
static PyObject *dict_items(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_new_dict_view(ih_type_state(Py_TYPE(self))->dict_items_type, self);
}
static PyObject *dict_iter(PyObject *self)
{
    return ih_new_dict_iterator(self, IH_ITERATE_KEYS, 0);
}
static PyObject *dict_reversed(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_new_dict_iterator(self, IH_ITERATE_KEYS, 1);
}

static PyObject *dict_copy(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *copy = PyDict_New();
    if (copy != NULL && PyDict_Update(copy, self) < 0)
        Py_CLEAR(copy);
    return copy;
}

/* `|` gives an ordinary dict, whichever side the view is on. */
static PyObject *dict_or(PyObject *left, PyObject *right)
{
    ih_state *state = NULL;
    PyTypeObject *type = Py_TYPE(left);
    if (type->tp_as_number != NULL && type->tp_as_number->nb_or == dict_or)
        state = ih_type_state(type);
    else
        state = ih_type_state(Py_TYPE(right));
    bool mappings = (Py_TYPE(left) == state->dict_type || PyDict_Check(left)) &&
                    (Py_TYPE(right) == state->dict_type || PyDict_Check(right));
    if (!mappings)
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *result = PyDict_New();
    if (result != NULL && (PyDict_Update(result, left) < 0 || PyDict_Update(result, right) < 0))
        Py_CLEAR(result);
    return result;
}

static PyObject *dict_richcompare(PyObject *self, PyObject *other, int op)
{
    ih_state *state = ih_type_state(Py_TYPE(self));
    if ((op != Py_EQ && op != Py_NE) ||
        !(PyDict_Check(other) || Py_TYPE(other) == state->dict_type))
        Py_RETURN_NOTIMPLEMENTED;
    int equal = ih_equal(self, other);
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

static const char *const mutators[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
static PyObject *dict_getattro(PyObject *self, PyObject *name)
{
    return ih_view_getattro(self, name, mutators);
}

PyDoc_STRVAR(dict_doc, "A frozen dict, read in place from shared memory.\n\n"
                       "It has the read-only methods of dict and equals a dict of equal items. "
                       "Lookup is O(1) and decodes\n"
                       "only the value that is found; iteration keeps insertion order. Changing it "
                       "raises FrozenError;\n"
                       "icehouse.thaw(view) makes an ordinary dict. Not hashable, as dict is not.");

static PyMethodDef dict_methods[] = {
    IH_VIEW_METHODS,
    {"get", (PyCFunction)(void (*)(void))dict_get, METH_FASTCALL,
     "get(key, default=None, /)\n--\n\nThe value of key, or default. O(1)."},
    {"keys", dict_keys, METH_NOARGS, "A set-like view of the keys. O(1)."},
    {"values", dict_values, METH_NOARGS, "A view of the values. O(1)."},
    {"items", dict_items, METH_NOARGS, "A set-like view of the (key, value) pairs. O(1)."},
    {"copy", dict_copy, METH_NOARGS,
     "An ordinary dict of the same items; nested containers stay views. O(n)."},
    {"__reversed__", dict_reversed, METH_NOARGS, "An iterator over the keys, last first."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "FrozenDict[str, int]"},
    {NULL},
};
static PyGetSetDef dict_getset[] = {
    {"handle", ih_view_handle, NULL, "The image's Handle where this view is its root, else None.",
     NULL},
    {NULL},
};
static PyType_Slot dict_slots[] = {
    {Py_tp_doc, (void *)dict_doc},
    {Py_tp_dealloc, ih_table_view_dealloc},
    {Py_tp_methods, dict_methods},
    {Py_tp_getset, dict_getset},
    {Py_tp_getattro, dict_getattro},
    {Py_tp_setattro, ih_view_setattro},
    {Py_tp_richcompare, dict_richcompare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_repr, ih_repr},
    {Py_tp_iter, dict_iter},
    {Py_mp_length, dict_length},
    {Py_mp_subscript, dict_subscript},
    {Py_mp_ass_subscript, dict_ass_subscript},
    {Py_sq_contains, dict_contains},
    {Py_nb_or, dict_or},
    {0, NULL},
};
static PyType_Spec dict_spec = {
    .name = "icehouse.FrozenDict",
    .basicsize = sizeof(ih_table_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_MAPPING,
    .slots = dict_slots,
};

int ih_init_dict(PyObject *module, ih_state *state)
{
    state->dict_type = ih_add_type(module, &dict_spec, NULL, true);
    if (state->dict_type == NULL)
        return -1;
    return ih_register_abc(state->dict_type, "Mapping");
}
