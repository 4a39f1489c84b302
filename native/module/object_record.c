/* Views of containers whose class is not to be had: the fields, and the content itself.
 *
 * What its class would make of the content nobody knows, so it answers as the builtin container
 * that it is a subclass of: len, iteration, items, `in`, and the methods of the frozen content. */
#include "module/decode.h"
#include "module/object_parts.h"

static PyObject *content(PyObject *self)
{
    PyObject *inner = ((ih_object_view *)self)->inner;
    if (inner == NULL)
        PyErr_SetString(PyExc_TypeError, "a record without content");
    return inner;
}

static Py_ssize_t record_length(PyObject *self)
{
    PyObject *inner = content(self);
    return inner ? PyObject_Size(inner) : -1;
}

static PyObject *record_iter(PyObject *self)
{
    PyObject *inner = content(self);
    return inner ? PyObject_GetIter(inner) : NULL;
}

static PyObject *record_subscript(PyObject *self, PyObject *key)
{
    PyObject *inner = content(self);
    return inner ? PyObject_GetItem(inner, key) : NULL;
}

static int record_contains(PyObject *self, PyObject *item)
{
    PyObject *inner = content(self);
    return inner ? PySequence_Contains(inner, item) : -1;
}

static PyType_Slot record_slots[] = {
    {Py_tp_doc, "A frozen container whose class can't be found, or may not be."},
    {Py_tp_dealloc, (void *)ih_object_dealloc},
    {Py_tp_traverse, (void *)ih_object_traverse},
    {Py_tp_clear, (void *)ih_object_clear},
    {Py_tp_iter, (void *)record_iter},
    {Py_sq_contains, (void *)record_contains},
    {Py_mp_length, (void *)record_length},
    {Py_mp_subscript, (void *)record_subscript},
    {0, NULL},
};

static PyType_Spec record_spec = {
    .name = "icehouse.FrozenObject",
    .basicsize = sizeof(ih_object_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = record_slots,
};

int ih_init_object_record(PyObject *module, ih_state *state)
{
    state->record_type = ih_add_type(module, &record_spec, state->object_type, false);
    return state->record_type ? 0 : -1;
}
