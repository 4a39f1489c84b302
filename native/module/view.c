/* What all view types share; see view.h. */
#include "module/view.h"

#include "module/decode.h"
#include "module/handle.h"
#include "module/image_object.h"
#include "module/travel.h"

PyObject *ih_view_getattro(PyObject *self, PyObject *name, const char *const *mutators)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError) || !PyUnicode_Check(name))
        return value;
    for (; *mutators != NULL; mutators++) {
        if (PyUnicode_CompareWithASCIIString(name, *mutators) == 0) {
            PyErr_Clear();
            return ih_raise_frozen(ih_type_state(Py_TYPE(self)), Py_TYPE(self), *mutators);
        }
    }
    return NULL;
}

int ih_view_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    (void)name;
    ih_raise_frozen(ih_type_state(Py_TYPE(self)), Py_TYPE(self),
                    value == NULL ? "attribute deletion" : "attribute assignment");
    return -1;
}

PyObject *ih_view_copy(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return Py_NewRef(self);
}

PyObject *ih_view_reduce_ex(PyObject *self, PyObject *protocol)
{
    return ih_reduce(self, protocol);
}

PyObject *ih_view_sizeof(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromSsize_t(Py_TYPE(self)->tp_basicsize);
}

PyObject *ih_view_handle(PyObject *self, void *ignored)
{
    (void)ignored;
    const ih_view *view = (const ih_view *)self;
    const ih_image_object *image = view->image;
    bool root = !ih_word_is_int(image->root) && ih_word_offset(image->root) == view->at;
    if (image->lease == NULL || !root)
        Py_RETURN_NONE;
    return ih_handle_new(image->state, image->lease->handle);
}

void ih_view_dealloc(PyObject *self)
{
    Py_DECREF(((ih_view *)self)->image);
    ih_free_object(self);
}

int ih_register_abc(PyTypeObject *type, const char *name)
{
    PyObject *abc = PyImport_ImportModule("collections.abc");
    PyObject *base = abc == NULL ? NULL : PyObject_GetAttrString(abc, name);
    PyObject *done =
        base == NULL ? NULL : PyObject_CallMethod(base, "register", "O", (PyObject *)type);
    Py_XDECREF(abc);
    Py_XDECREF(base);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

void ih_table_view_dealloc(PyObject *self)
{
    ih_table_view *view = (ih_table_view *)self;
    ih_image_object *image = view->image;
    Py_XDECREF(view->index);
    IH_GIVE(image->state, free_tables, self);
    Py_DECREF(image); /* last: it keeps the lists alive */
}

void ih_sequence_dealloc(PyObject *self)
{
    ih_image_object *image = ((ih_sequence *)self)->image;
    IH_GIVE(image->state, free_sequences, self);
    Py_DECREF(image);
}

void ih_clear_free_lists(ih_state *state)
{
#if IH_CACHES
    ih_free_list *lists[] = {&state->free_images, &state->free_tables, &state->free_sequences};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        while (lists[i]->count > 0)
            PyObject_Free(lists[i]->objects[--lists[i]->count]);
    while (state->free_objects.count > 0)
        PyObject_GC_Del(state->free_objects.objects[--state->free_objects.count]);
#else
    (void)state;
#endif
}
