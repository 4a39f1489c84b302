/* keys(), values() and items() of FrozenDict, and the iterators of dicts.
 *
 * They behave as the views of dict do: keys and items are set-like, compare with every kind of
 * set, and their operators give ordinary sets. Walking a shaped dict takes the keys from the
 * cache of shapes, so that many records of one shape decode their keys once. */
#include "module/dict_views.h"

#include "module/decode.h"
#include "module/repr.h"
#include "module/set.h"
#include "module/view.h"

PyObject *ih_dict_key(const ih_table_view *dict, uint64_t i)
{
    return ih_decode(dict->image, ih_load_word(dict->keys + i * dict->key_stride));
}

PyObject *ih_dict_value(const ih_table_view *dict, uint64_t i)
{
    return ih_decode(dict->image, ih_load_word(dict->values + i * dict->value_stride));
}

/* ---- the iterator ------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    ih_table_view *dict; /* owned */
    PyObject *keys;      /* owned: the decoded keys of a shaped dict, or NULL */
    PyObject *pair;      /* owned: the tuple that items() gave last, or NULL */
    uint64_t done;
    uint8_t mode;
    bool reversed;
} dict_iterator;

PyObject *ih_new_dict_iterator(PyObject *dict, int mode, int reversed)
{
    ih_table_view *table = (ih_table_view *)dict;
    PyObject *keys = mode == IH_ITERATE_VALUES ? NULL : ih_shape_keys(table);
    if (keys == NULL && PyErr_Occurred())
        return NULL;
    dict_iterator *self = ih_new_object(table->image->state->dict_iterator_type);
    if (self == NULL) {
        Py_XDECREF(keys);
        return NULL;
    }
    self->dict = (ih_table_view *)Py_NewRef(dict);
    self->keys = keys;
    self->pair = NULL;
    self->done = 0;
    self->mode = (uint8_t)mode;
    self->reversed = reversed != 0;
    return (PyObject *)self;
}

static void iterator_dealloc(PyObject *object)
{
    dict_iterator *self = (dict_iterator *)object;
    Py_DECREF(self->dict);
    Py_XDECREF(self->keys);
    Py_XDECREF(self->pair);
    ih_free_object(object);
}

static PyObject *iterator_key(const dict_iterator *self, uint64_t i)
{
    if (self->keys != NULL)
        return Py_NewRef(PyTuple_GET_ITEM(self->keys, (Py_ssize_t)i));
    return ih_dict_key(self->dict, i);
}

/* The tuple of the previous step is used again if nobody kept it, as dict's iterator does: most
 * loops unpack it at once. */
static PyObject *pair_of(dict_iterator *self, PyObject *key, PyObject *value)
{
#if IH_CACHES
    PyObject *pair = self->pair;
    if (pair != NULL && Py_REFCNT(pair) == 1) {
        PyObject *old_key = PyTuple_GET_ITEM(pair, 0), *old_value = PyTuple_GET_ITEM(pair, 1);
        Py_INCREF(pair); /* what the old items run when they go must not find it unused */
        PyTuple_SET_ITEM(pair, 0, key);
        PyTuple_SET_ITEM(pair, 1, value);
#if PY_VERSION_HEX >= 0x030E0000
        ((PyTupleObject *)pair)->ob_hash = -1;
#endif
        /* The collector stops tracking tuples of atomic things; the new items may be others. */
        if (!PyObject_GC_IsTracked(pair))
            PyObject_GC_Track(pair);
        Py_DECREF(old_key);
        Py_DECREF(old_value);
        return pair;
    }
#endif
    PyObject *fresh = PyTuple_New(2);
    if (fresh == NULL) {
        Py_DECREF(key);
        Py_DECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(fresh, 0, key);
    PyTuple_SET_ITEM(fresh, 1, value);
#if IH_CACHES
    Py_XSETREF(self->pair, Py_NewRef(fresh));
#endif
    return fresh;
}

static PyObject *iterator_next(PyObject *object)
{
    dict_iterator *self = (dict_iterator *)object;
    const ih_table_view *dict = self->dict;
    uint64_t done = self->done;
    if (done >= dict->n)
        return NULL;
    self->done = done + 1;
    uint64_t i = self->reversed ? dict->n - 1 - done : done;
    if (self->mode == IH_ITERATE_VALUES)
        return ih_dict_value(dict, i);
    PyObject *key = iterator_key(self, i);
    if (key == NULL || self->mode == IH_ITERATE_KEYS)
        return key;
    PyObject *value = ih_dict_value(dict, i);
    if (value == NULL) {
        Py_DECREF(key);
        return NULL;
    }
    return pair_of(self, key, value);
}

static PyObject *iterator_length_hint(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    const dict_iterator *self = (const dict_iterator *)object;
    return PyLong_FromUnsignedLongLong(self->done < self->dict->n ? self->dict->n - self->done : 0);
}

PyObject *ih_reduce_iterator(PyObject *iterator)
{
    PyObject *builtins = PyImport_ImportModule("builtins");
    PyObject *iter = builtins == NULL ? NULL : PyObject_GetAttrString(builtins, "iter");
    PyObject *rest = iter == NULL ? NULL : PySequence_List(iterator);
    PyObject *result = rest == NULL ? NULL : Py_BuildValue("O(O)", iter, rest);
    Py_XDECREF(builtins);
    Py_XDECREF(iter);
    Py_XDECREF(rest);
    return result;
}

static PyObject *iterator_reduce(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    dict_iterator *self = (dict_iterator *)object;
    uint64_t done = self->done;
    PyObject *result = ih_reduce_iterator(object);
    self->done = done; /* pickling or copying an iterator does not move it */
    return result;
}

static PyMethodDef iterator_methods[] = {
    {"__length_hint__", iterator_length_hint, METH_NOARGS, "How many items are left."},
    {"__reduce__", iterator_reduce, METH_NOARGS, "Pickle as an iterator over the items left."},
    {NULL},
};
static PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {Py_tp_methods, iterator_methods},
    {0, NULL},
};
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION)
static PyType_Spec iterator_spec = {
    .name = "icehouse.FrozenDictIterator",
    .basicsize = sizeof(dict_iterator),
    .flags = FLAGS,
    .slots = iterator_slots,
};

/* ---- views -------------------------------------------------------------------------------- */

PyObject *ih_new_dict_view(PyTypeObject *type, PyObject *dict)
{
    ih_dict_view *self = ih_new_object(type);
    if (self != NULL)
        self->dict = (ih_table_view *)Py_NewRef(dict);
    return (PyObject *)self;
}

static void view_dealloc(PyObject *self)
{
    Py_DECREF(((ih_dict_view *)self)->dict);
    ih_free_object(self);
}

static Py_ssize_t view_length(PyObject *self)
{
    return (Py_ssize_t)((ih_dict_view *)self)->dict->n;
}

static int view_mode(PyObject *self)
{
    const ih_state *state = ((ih_dict_view *)self)->dict->image->state;
    PyTypeObject *type = Py_TYPE(self);
    if (type == state->dict_keys_type)
        return IH_ITERATE_KEYS;
    return type == state->dict_values_type ? IH_ITERATE_VALUES : IH_ITERATE_ITEMS;
}

static PyObject *view_iter(PyObject *self)
{
    return ih_new_dict_iterator((PyObject *)((ih_dict_view *)self)->dict, view_mode(self), 0);
}

static PyObject *view_reversed(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ih_new_dict_iterator((PyObject *)((ih_dict_view *)self)->dict, view_mode(self), 1);
}

static PyObject *view_repr(PyObject *self) { return ih_repr_dict_view(self, view_mode(self)); }

static PyObject *view_mapping(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyDictProxy_New((PyObject *)((ih_dict_view *)self)->dict);
}

static int keys_contains(PyObject *self, PyObject *key)
{
    Py_ssize_t found = ih_table_find(((ih_dict_view *)self)->dict, key);
    return found >= 0 ? 1 : found == -1 ? 0 : -1;
}

static int items_contains(PyObject *self, PyObject *item)
{
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2)
        return 0;
    ih_table_view *dict = ((ih_dict_view *)self)->dict;
    Py_ssize_t found = ih_table_find(dict, PyTuple_GET_ITEM(item, 0));
    if (found < 0)
        return found == -1 ? 0 : -1;
    PyObject *value = ih_dict_value(dict, (uint64_t)found);
    if (value == NULL)
        return -1;
    int equal = PyObject_RichCompareBool(value, PyTuple_GET_ITEM(item, 1), Py_EQ);
    Py_DECREF(value);
    return equal;
}

static PyObject *view_richcompare(PyObject *self, PyObject *other, int op)
{
    return ih_set_like_compare(((ih_dict_view *)self)->dict->image->state, self, other, op);
}

/* ---- operators: ordinary sets, of whatever the other side can be iterated to ---------------- */

static PyObject *view_and(PyObject *left, PyObject *right);

static bool is_set_view(PyObject *object)
{
    PyNumberMethods *number = Py_TYPE(object)->tp_as_number;
    return number != NULL && number->nb_and == view_and;
}

/* Whatever is in both. The shorter side is walked where both can be looked up in, which side
 * exactly as dict's views choose it: with unhashable values that decides what is an error. */
static PyObject *view_and(PyObject *left, PyObject *right)
{
    PyObject *self = is_set_view(left) ? left : right;
    PyObject *other = self == left ? right : left;
    bool walk_self = false;
    if (PySet_CheckExact(other))
        walk_self = view_length(self) <= PySet_GET_SIZE(other);
    else if (is_set_view(other) || PyDictKeys_Check(other) || PyDictItems_Check(other))
        walk_self = view_length(self) < PyObject_Size(other);
    PyObject *result = PySet_New(NULL);
    if (result != NULL &&
        ih_set_add_items(result, walk_self ? self : other, walk_self ? other : self, 1) < 0)
        Py_CLEAR(result);
    return result;
}

static PyObject *with_update(PyObject *left, PyObject *right, const char *method)
{
    PyObject *result = PySet_New(left);
    PyObject *done = result == NULL ? NULL : PyObject_CallMethod(result, method, "(O)", right);
    Py_XDECREF(done);
    if (done == NULL)
        Py_CLEAR(result);
    return result;
}

static PyObject *view_sub(PyObject *left, PyObject *right)
{
    return with_update(left, right, "difference_update");
}

static PyObject *view_or(PyObject *left, PyObject *right)
{
    return with_update(left, right, "update");
}

static bool is_items(PyObject *object)
{
    if (PyDictItems_Check(object))
        return true;
    return is_set_view(object) && view_mode(object) == IH_ITERATE_ITEMS;
}

static PyObject *view_xor(PyObject *left, PyObject *right)
{
    if (!is_items(left) || !is_items(right))
        return with_update(left, right, "symmetric_difference_update");
    /* Items that are equal need not be hashable, as with dict's. */
    PyObject *result = PySet_New(NULL);
    if (result != NULL && (ih_set_add_items(result, left, right, 0) < 0 ||
                           ih_set_add_items(result, right, left, 0) < 0))
        Py_CLEAR(result);
    return result;
}

static PyObject *view_isdisjoint(PyObject *self, PyObject *other)
{
    return ih_set_like_isdisjoint(self, other);
}

/* ---- types -------------------------------------------------------------------------------- */

PyDoc_STRVAR(isdisjoint_doc,
             "isdisjoint(other, /)\n--\n\n"
             "Whether this and the iterable have nothing in common. O(len(other)).");
#define REVERSED                                                                             \
    {                                                                                        \
        "__reversed__", view_reversed, METH_NOARGS, "An iterator over the same, last first." \
    }

static PyMethodDef set_view_methods[] = {
    {"isdisjoint", view_isdisjoint, METH_O, isdisjoint_doc},
    REVERSED,
    {NULL},
};
static PyMethodDef values_methods[] = {REVERSED, {NULL}};
static PyGetSetDef view_getset[] = {
    {"mapping", view_mapping, NULL, "The FrozenDict behind this, as a mappingproxy.", NULL},
    {NULL},
};

#define COMMON_SLOTS                                                                 \
    {Py_tp_dealloc, view_dealloc}, {Py_tp_iter, view_iter}, {Py_tp_repr, view_repr}, \
        {Py_tp_getset, view_getset},                                                 \
    {                                                                                \
        Py_sq_length, view_length                                                    \
    }
#define SET_SLOTS                                                                              \
    {Py_tp_methods, set_view_methods}, {Py_tp_richcompare, view_richcompare},                  \
        {Py_tp_hash, PyObject_HashNotImplemented}, {Py_nb_and, view_and}, {Py_nb_or, view_or}, \
        {Py_nb_xor, view_xor},                                                                 \
    {                                                                                          \
        Py_nb_subtract, view_sub                                                               \
    }

PyDoc_STRVAR(keys_doc, "The keys of a FrozenDict: set-like, in insertion order. `in` is O(1).");
PyDoc_STRVAR(values_doc, "The values of a FrozenDict, in insertion order. `in` is O(n).");
PyDoc_STRVAR(items_doc, "The (key, value) pairs of a FrozenDict: set-like, in insertion order.\n"
                        "`in` is O(1) and compares the value that is found.");

static PyType_Slot keys_slots[] = {
    COMMON_SLOTS, SET_SLOTS, {Py_tp_doc, (void *)keys_doc}, {Py_sq_contains, keys_contains},
    {0, NULL},
};
static PyType_Slot items_slots[] = {
    COMMON_SLOTS, SET_SLOTS, {Py_tp_doc, (void *)items_doc}, {Py_sq_contains, items_contains},
    {0, NULL},
};
static PyType_Slot values_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, (void *)values_doc},
    {Py_tp_methods, values_methods},
    {0, NULL},
};
static PyType_Spec keys_spec = {"icehouse.FrozenDictKeys", sizeof(ih_dict_view), 0, FLAGS,
                                keys_slots};
static PyType_Spec items_spec = {"icehouse.FrozenDictItems", sizeof(ih_dict_view), 0, FLAGS,
                                 items_slots};
static PyType_Spec values_spec = {"icehouse.FrozenDictValues", sizeof(ih_dict_view), 0, FLAGS,
                                  values_slots};

int ih_init_dict_views(PyObject *module, ih_state *state)
{
    state->dict_iterator_type = ih_add_type(module, &iterator_spec, NULL, false);
    state->dict_keys_type = ih_add_type(module, &keys_spec, NULL, false);
    state->dict_items_type = ih_add_type(module, &items_spec, NULL, false);
    state->dict_values_type = ih_add_type(module, &values_spec, NULL, false);
    if (state->dict_iterator_type == NULL || state->dict_keys_type == NULL ||
        state->dict_items_type == NULL || state->dict_values_type == NULL)
        return -1;
    if (ih_register_abc(state->dict_keys_type, "KeysView") < 0 ||
        ih_register_abc(state->dict_items_type, "ItemsView") < 0)
        return -1;
    return ih_register_abc(state->dict_values_type, "ValuesView");
}
