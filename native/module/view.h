/* What all view types share: attribute refusal, `handle`, copying, pickling, size. */
#ifndef ICEHOUSE_MODULE_VIEW_H
#define ICEHOUSE_MODULE_VIEW_H

#include "module/state.h"

/* tp_getattro for a type with mutators (NULL-terminated names): a missing attribute of such a name
 * is a FrozenError, which is an AttributeError too, so that hasattr() is False (H29). */
PyObject *ih_view_getattro(PyObject *self, PyObject *name, const char *const *mutators);
/* tp_setattro: FrozenError. */
int ih_view_setattro(PyObject *self, PyObject *name, PyObject *value);

/* Method table entries that every view has. */
PyObject *ih_view_copy(PyObject *self, PyObject *ignored);       /* __copy__, __deepcopy__: self */
PyObject *ih_view_reduce_ex(PyObject *self, PyObject *protocol); /* __reduce_ex__: travel.h */
PyObject *ih_view_sizeof(PyObject *self,
                         PyObject *ignored); /* bytes of the view object, not of the image */
PyObject *ih_view_handle(PyObject *self, void *ignored); /* Handle of a root view, else None */

#define IH_VIEW_METHODS                                                                        \
    {"__copy__", ih_view_copy, METH_NOARGS, "Return self: a frozen object needs no copy."},    \
        {"__deepcopy__", ih_view_copy, METH_O, "Return self: a frozen object needs no copy."}, \
        {"__reduce_ex__", ih_view_reduce_ex, METH_O,                                           \
         "Pickle by value, as one buffer; through multiprocessing by reference."},             \
    {                                                                                          \
        "__sizeof__", ih_view_sizeof, METH_NOARGS,                                             \
            "Bytes of this view object. The image it reads is shared and not counted."         \
    }

/* collections.abc.<name>.register(type). */
int ih_register_abc(PyTypeObject *type, const char *name);

/* dealloc of a view type without fields of its own to release; of table views; of sequences. */
void ih_view_dealloc(PyObject *self);
void ih_table_view_dealloc(PyObject *self);
void ih_sequence_dealloc(PyObject *self);

/* A new object of a heap type without cycle collection, fields behind the head uninitialised. */
static inline void *ih_new_object(PyTypeObject *type)
{
    if (type == NULL) { /* the interpreter is shutting down and has cleared the module's state */
        PyErr_SetString(PyExc_RuntimeError, "icehouse has been unloaded");
        return NULL;
    }
#if IH_CACHES
    PyObject *object = (PyObject *)PyObject_Malloc((size_t)type->tp_basicsize);
    if (object == NULL)
        return PyErr_NoMemory();
    return PyObject_Init(object, type); /* takes a reference of the type */
#else
    return type->tp_alloc(type, 0);
#endif
}
static inline void ih_free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* The same through a list of dead objects of this layout. */
#if IH_CACHES
static inline void *ih_take_object(ih_free_list *list, PyTypeObject *type)
{
    if (list->count == 0 || type == NULL)
        return ih_new_object(type);
    return PyObject_Init(list->objects[--list->count], type);
}
static inline void ih_give_object(ih_free_list *list, PyObject *self)
{
    if (list->count == IH_FREE_OBJECTS) {
        ih_free_object(self);
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    list->objects[list->count++] = self;
    Py_DECREF(type);
}
#define IH_TAKE(state, list, type) ih_take_object(&(state)->list, type)
#define IH_GIVE(state, list, self) ih_give_object(&(state)->list, self)
#else
#define IH_TAKE(state, list, type) ih_new_object(type)
#define IH_GIVE(state, list, self) ((void)(state), ih_free_object(self))
#endif
/* Gives the memory of all of them back. */
void ih_clear_free_lists(ih_state *state);

#endif
