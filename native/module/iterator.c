/* The iterator of views with positions; see iterator.h.
 *
 * It never lets go of its view before it dies itself, so an exhausted one needs no further state,
 * and two threads that share it without a GIL at worst see one item twice. */
#include "module/iterator.h"

#include "module/set.h"
#include "module/view.h"

typedef struct {
    PyObject_HEAD
    PyObject *view;
    ssizeargfunc item;
    uint64_t n;
    uint64_t done; /* items given; loaded and stored as one piece, for threads that share it */
    bool backwards;
} iterator;

PyObject *ih_iterate(PyObject *view, uint64_t n, ssizeargfunc item, bool backwards)
{
    iterator *it = ih_new_object(((ih_view *)view)->image->state->sequence_iterator_type);
    if (it == NULL)
        return NULL;
    it->view = Py_NewRef(view);
    it->item = item;
    it->n = n;
    it->done = 0;
    it->backwards = backwards;
    return (PyObject *)it;
}

static void iterator_dealloc(PyObject *self)
{
    Py_DECREF(((iterator *)self)->view);
    ih_free_object(self);
}

static PyObject *iterator_next(PyObject *self)
{
    iterator *it = (iterator *)self;
    uint64_t done = __atomic_load_n(&it->done, __ATOMIC_RELAXED);
    if (done >= it->n)
        return NULL;
    __atomic_store_n(&it->done, done + 1, __ATOMIC_RELAXED);
    return it->item(it->view, (Py_ssize_t)(it->backwards ? it->n - 1 - done : done));
}

static PyObject *iterator_length_hint(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    iterator *it = (iterator *)self;
    return PyLong_FromUnsignedLongLong(it->n - __atomic_load_n(&it->done, __ATOMIC_RELAXED));
}

static PyObject *iterator_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    iterator *it = (iterator *)self;
    uint64_t done = __atomic_load_n(&it->done, __ATOMIC_RELAXED);
    PyObject *result = ih_reduce_iterator(self);
    /* Pickling or copying an iterator does not move it. */
    __atomic_store_n(&it->done, done, __ATOMIC_RELAXED);
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
static PyType_Spec iterator_spec = {
    .name = "icehouse.view_iterator",
    .basicsize = sizeof(iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};

int ih_init_iterator(PyObject *module, ih_state *state)
{
    state->sequence_iterator_type = ih_add_type(module, &iterator_spec, NULL, false);
    return state->sequence_iterator_type == NULL ? -1 : 0;
}
