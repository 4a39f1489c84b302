/* FrozenSet: a read-only set, read in place.
 *
 * Stands for a set or a frozenset, whichever was frozen, and has the read-only methods of both.
 * Operators and methods that make a set give an ordinary one, of the type of the left operand;
 * a FrozenSet on the left counts as what it was. Lookup is in table.c, equality in compare.c. */
#include "module/set.h"

#include "module/decode.h"
#include "module/pyhash.h"
#include "module/view.h"

PyObject *ih_new_set(ih_image_object *image, uint64_t at, const ih_node *node)
{
    ih_table_view *view = IH_TAKE(image->state, free_tables, image->state->set_type);
    if (view == NULL)
        return NULL;
    if (ih_table_view_fill(view, image, at, node) < 0) {
        ih_free_object((PyObject *)view);
        return NULL;
    }
    Py_INCREF(image);
    return (PyObject *)view;
}

static Py_ssize_t set_length(PyObject *self) { return (Py_ssize_t)((ih_table_view *)self)->n; }

static int set_contains(PyObject *self, PyObject *key)
{
    Py_ssize_t found = ih_table_find((ih_table_view *)self, key);
    /* A set is looked for as the frozenset of its items, as sets do it. */
    if (found < -1 && PySet_Check(key) && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        PyObject *fixed = PyFrozenSet_New(key);
        found = fixed == NULL ? -2 : ih_table_find((ih_table_view *)self, fixed);
        Py_XDECREF(fixed);
    }
    return found >= 0 ? 1 : found == -1 ? 0 : -1;
}

static Py_hash_t set_hash(PyObject *self)
{
    return ih_python_hash(((ih_table_view *)self)->image, ((ih_table_view *)self)->at);
}

/* ---- the iterator ------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    ih_table_view *set; /* owned */
    uint64_t done;
} set_iterator;

static PyObject *set_iter(PyObject *self)
{
    ih_state *state = ((ih_table_view *)self)->image->state;
    set_iterator *iterator = ih_new_object(state->set_iterator_type);
    if (iterator != NULL) {
        iterator->set = (ih_table_view *)Py_NewRef(self);
        iterator->done = 0;
    }
    return (PyObject *)iterator;
}

static void iterator_dealloc(PyObject *self)
{
    Py_DECREF(((set_iterator *)self)->set);
    ih_free_object(self);
}

static PyObject *iterator_next(PyObject *object)
{
    set_iterator *self = (set_iterator *)object;
    const ih_table_view *set = self->set;
    uint64_t i = self->done;
    if (i >= set->n)
        return NULL;
    self->done = i + 1;
    return ih_decode(set->image, ih_load_word(set->keys + i * set->key_stride));
}

static PyObject *iterator_length_hint(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    const set_iterator *self = (const set_iterator *)object;
    return PyLong_FromUnsignedLongLong(self->done < self->set->n ? self->set->n - self->done : 0);
}

static PyObject *iterator_reduce(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    set_iterator *self = (set_iterator *)object;
    uint64_t done = self->done;
    PyObject *result = ih_reduce_iterator(object);
    self->done = done; /* pickling or copying an iterator does not move it */
    return result;
}

/* ---- walking and looking up, whatever kind of set ------------------------------------------- */

bool ih_is_set_like(const ih_state *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return type == state->set_type || PyAnySet_Check(object) || type == state->dict_keys_type ||
           type == state->dict_items_type || PyDictKeys_Check(object) || PyDictItems_Check(object);
}

int ih_set_add_items(PyObject *result, PyObject *items, PyObject *filter, int wanted)
{
    PyObject *walk = PyObject_GetIter(items), *item;
    if (walk == NULL)
        return -1;
    int failed = 0;
    while (!failed && (item = PyIter_Next(walk)) != NULL) {
        int take = filter == NULL ? wanted : PySequence_Contains(filter, item);
        failed = take < 0 || (take == wanted && PySet_Add(result, item) < 0);
        Py_DECREF(item);
    }
    Py_DECREF(walk);
    return failed || PyErr_Occurred() ? -1 : 0;
}

/* 1: each item of `items` is in `set`; 0: one is not. */
static int all_inside(PyObject *items, PyObject *set, int wanted)
{
    PyObject *walk = PyObject_GetIter(items), *item;
    if (walk == NULL)
        return -1;
    int found = wanted;
    while (found == wanted && (item = PyIter_Next(walk)) != NULL) {
        found = PySequence_Contains(set, item);
        Py_DECREF(item);
    }
    Py_DECREF(walk);
    if (found < 0 || PyErr_Occurred())
        return -1;
    return found == wanted;
}

PyObject *ih_set_like_isdisjoint(PyObject *self, PyObject *other)
{
    if (self == other)
        return PyBool_FromLong(PyObject_Size(self) == 0);
    if (ih_is_set_like(ih_type_state(Py_TYPE(self)), other)) {
        Py_ssize_t size = PyObject_Size(self), other_size = PyObject_Size(other);
        if (size < 0 || other_size < 0)
            return NULL;
        if (other_size > size) {
            PyObject *swapped = self;
            self = other;
            other = swapped;
        }
    }
    int apart = all_inside(other, self, 0);
    return apart < 0 ? NULL : PyBool_FromLong(apart);
}

PyObject *ih_set_like_compare(ih_state *state, PyObject *self, PyObject *other, int op)
{
    if (!ih_is_set_like(state, other))
        Py_RETURN_NOTIMPLEMENTED;
    Py_ssize_t size = PyObject_Size(self), other_size = PyObject_Size(other);
    if (size < 0 || other_size < 0)
        return NULL;
    int result;
    switch (op) {
    case Py_EQ:
    case Py_NE:
        result = size == other_size ? all_inside(self, other, 1) : 0;
        break;
    case Py_LE:
        result = size <= other_size ? all_inside(self, other, 1) : 0;
        break;
    case Py_LT:
        result = size < other_size ? all_inside(self, other, 1) : 0;
        break;
    case Py_GE:
        result = size >= other_size ? all_inside(other, self, 1) : 0;
        break;
    default:
        result = size > other_size ? all_inside(other, self, 1) : 0;
        break;
    }
    if (result < 0)
        return NULL;
    return PyBool_FromLong(result == (op != Py_NE));
}

static PyObject *set_richcompare(PyObject *self, PyObject *other, int op)
{
    ih_state *state = ((ih_table_view *)self)->image->state;
    bool plain = PyAnySet_Check(other) || Py_TYPE(other) == state->set_type;
    if (!plain || (op != Py_EQ && op != Py_NE))
        return ih_set_like_compare(state, self, other, op);
    int equal = ih_equal(self, other);
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

/* ---- operators ---------------------------------------------------------------------------- */

static PyObject *set_and(PyObject *left, PyObject *right);

static bool is_view(PyObject *object)
{
    PyNumberMethods *number = Py_TYPE(object)->tp_as_number;
    return number != NULL && number->nb_and == set_and;
}

static bool are_sets(PyObject *left, PyObject *right)
{
    return (is_view(left) || PyAnySet_Check(left)) && (is_view(right) || PyAnySet_Check(right));
}

static bool was_frozenset(PyObject *object)
{
    if (!is_view(object))
        return PyFrozenSet_Check(object);
    uint8_t kind = ((ih_table_view *)object)->kind;
    return kind == IH_FROZENSET || kind == IH_FROZENSET_HASHED;
}

/* An empty set or frozenset, as the left operand is or was; it may be added to until it is
 * handed out. */
static PyObject *new_like(PyObject *left)
{
    return was_frozenset(left) ? PyFrozenSet_New(NULL) : PySet_New(NULL);
}

static PyObject *set_and(PyObject *left, PyObject *right)
{
    if (!are_sets(left, right))
        Py_RETURN_NOTIMPLEMENTED;
    bool walk_left = PyObject_Size(right) > PyObject_Size(left);
    PyObject *result = new_like(left);
    if (result != NULL &&
        ih_set_add_items(result, walk_left ? left : right, walk_left ? right : left, 1) < 0)
        Py_CLEAR(result);
    return result;
}

static PyObject *set_sub(PyObject *left, PyObject *right)
{
    if (!are_sets(left, right))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *result = new_like(left);
    if (result != NULL && ih_set_add_items(result, left, right, 0) < 0)
        Py_CLEAR(result);
    return result;
}

static PyObject *set_or(PyObject *left, PyObject *right)
{
    if (!are_sets(left, right))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *result = new_like(left);
    if (result != NULL && (ih_set_add_items(result, left, NULL, 1) < 0 ||
                           ih_set_add_items(result, right, NULL, 1) < 0))
        Py_CLEAR(result);
    return result;
}

static PyObject *set_xor(PyObject *left, PyObject *right)
{
    if (!are_sets(left, right))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *result = new_like(left);
    if (result != NULL && (ih_set_add_items(result, left, right, 0) < 0 ||
                           ih_set_add_items(result, right, left, 0) < 0))
        Py_CLEAR(result);
    return result;
}

/* ---- methods ------------------------------------------------------------------------------ */

/* `working` (an ordinary set, taken over) as the type that this view stands for. */
static PyObject *finish(PyObject *self, PyObject *working)
{
    if (working == NULL || !was_frozenset(self))
        return working;
    PyObject *result = PyFrozenSet_New(working);
    Py_DECREF(working);
    return result;
}

/* working.<method>(*others), in place; `working` is taken over. */
static PyObject *updated(PyObject *working, const char *method, PyObject *const *others,
                         Py_ssize_t count)
{
    PyObject *bound = working == NULL ? NULL : PyObject_GetAttrString(working, method);
    PyObject *done = bound == NULL ? NULL : PyObject_Vectorcall(bound, others, (size_t)count, NULL);
    Py_XDECREF(bound);
    Py_XDECREF(done);
    if (done == NULL)
        Py_CLEAR(working);
    return working;
}

static PyObject *set_union(PyObject *self, PyObject *const *others, Py_ssize_t count)
{
    return finish(self, updated(PySet_New(self), "update", others, count));
}

static PyObject *set_difference(PyObject *self, PyObject *const *others, Py_ssize_t count)
{
    return finish(self, updated(PySet_New(self), "difference_update", others, count));
}

static PyObject *set_symmetric_difference(PyObject *self, PyObject *other)
{
    return finish(self, updated(PySet_New(self), "symmetric_difference_update", &other, 1));
}

static PyObject *set_intersection(PyObject *self, PyObject *const *others, Py_ssize_t count)
{
    if (count == 0)
        return finish(self, PySet_New(self));
    PyObject *working = PySet_New(NULL);
    if (working == NULL)
        return NULL;
    bool sized = is_view(others[0]) || PyAnySet_Check(others[0]);
    bool walk_self = sized && PyObject_Size(others[0]) > set_length(self);
    if (ih_set_add_items(working, walk_self ? self : others[0], walk_self ? others[0] : self, 1) <
        0) {
        Py_DECREF(working);
        return NULL;
    }
    return finish(self, updated(working, "intersection_update", others + 1, count - 1));
}

static PyObject *set_issubset(PyObject *self, PyObject *other)
{
    bool sized = is_view(other) || PyAnySet_Check(other);
    PyObject *set = sized ? Py_NewRef(other) : PySet_New(other);
    if (set == NULL)
        return NULL;
    int inside = set_length(self) <= PyObject_Size(set) ? all_inside(self, set, 1) : 0;
    Py_DECREF(set);
    return inside < 0 ? NULL : PyBool_FromLong(inside);
}

static PyObject *set_issuperset(PyObject *self, PyObject *other)
{
    bool sized = is_view(other) || PyAnySet_Check(other);
    if (sized && PyObject_Size(other) > set_length(self))
        Py_RETURN_FALSE;
    int inside = all_inside(other, self, 1);
    return inside < 0 ? NULL : PyBool_FromLong(inside);
}

/* ---- types -------------------------------------------------------------------------------- */

static const char *const mutators[] = {
    "add",     "clear",
    "pop",     "difference_update",
    "remove",  "intersection_update",
    "update",  "symmetric_difference_update",
    "discard", NULL,
};

static PyObject *set_getattro(PyObject *self, PyObject *name)
{
    return ih_view_getattro(self, name, mutators);
}

PyDoc_STRVAR(set_doc,
             "A frozen set, read in place from shared memory.\n\n"
             "It has the read-only methods of set and frozenset, equals a set of equal items and\n"
             "hashes as the frozenset of them: O(n), every time. `in` is O(1). Operators and\n"
             "methods give ordinary sets, of the type that was frozen. `s |= view` on a set makes\n"
             "a new set; s.update(view) changes it. Iteration keeps the order in which the set\n"
             "was iterated when it was frozen.");

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define COPY_DOC "copy()\n--\n\nThe view itself: a frozen set needs no copy."
static PyMethodDef set_methods[] = {
    IH_VIEW_METHODS,
    {"copy", ih_view_copy, METH_NOARGS, COPY_DOC},
    {"union", FAST(set_union), METH_FASTCALL,
     "union(*others)\n--\n\nA set of the items of this and all iterables. O(all of them)."},
    {"intersection", FAST(set_intersection), METH_FASTCALL,
     "intersection(*others)\n--\n\nA set of the items that are in this and in all iterables."},
    {"difference", FAST(set_difference), METH_FASTCALL,
     "difference(*others)\n--\n\nA set of the items of this that are in none of the iterables."},
    {"symmetric_difference", set_symmetric_difference, METH_O,
     "symmetric_difference(other, /)\n--\n\nA set of the items in just one of the two."},
    {"isdisjoint", ih_set_like_isdisjoint, METH_O,
     "isdisjoint(other, /)\n--\n\nWhether this and the iterable have nothing in common."},
    {"issubset", set_issubset, METH_O,
     "issubset(other, /)\n--\n\nWhether the iterable holds every item of this."},
    {"issuperset", set_issuperset, METH_O,
     "issuperset(other, /)\n--\n\nWhether this holds every item of the iterable."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "FrozenSet[str]"},
    {NULL},
};
static PyGetSetDef set_getset[] = {
    {"handle", ih_view_handle, NULL, "The image's Handle where this view is its root, else None.",
     NULL},
    {NULL},
};
static PyType_Slot set_slots[] = {
    {Py_tp_doc, (void *)set_doc},
    {Py_tp_dealloc, ih_table_view_dealloc},
    {Py_tp_methods, set_methods},
    {Py_tp_getset, set_getset},
    {Py_tp_getattro, set_getattro},
    {Py_tp_setattro, ih_view_setattro},
    {Py_tp_richcompare, set_richcompare},
    {Py_tp_hash, set_hash},
    {Py_tp_repr, ih_repr},
    {Py_tp_iter, set_iter},
    {Py_sq_length, set_length},
    {Py_sq_contains, set_contains},
    {Py_nb_and, set_and},
    {Py_nb_or, set_or},
    {Py_nb_xor, set_xor},
    {Py_nb_subtract, set_sub},
    {0, NULL},
};
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION)
static PyType_Spec set_spec = {"icehouse.FrozenSet", sizeof(ih_table_view), 0, FLAGS, set_slots};

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
static PyType_Spec iterator_spec = {"icehouse.FrozenSetIterator", sizeof(set_iterator), 0, FLAGS,
                                    iterator_slots};

int ih_init_set(PyObject *module, ih_state *state)
{
    state->set_iterator_type = ih_add_type(module, &iterator_spec, NULL, false);
    state->set_type = ih_add_type(module, &set_spec, NULL, true);
    if (state->set_iterator_type == NULL || state->set_type == NULL)
        return -1;
    return ih_register_abc(state->set_type, "Set");
}
