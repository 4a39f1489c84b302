/* What the files of FrozenObject share; others need object.h alone. */
#ifndef ICEHOUSE_MODULE_OBJECT_PARTS_H
#define ICEHOUSE_MODULE_OBJECT_PARTS_H

#include "module/object.h"

#if IH_CACHES
/* Where the state keeps a layout. */
static inline ih_layout **ih_layout_slot(const ih_image_object *image, uint32_t word)
{
    uint32_t mix = (word >> 1) * 0x9e3779b1u ^ (uint32_t)image->identity;
    return &image->state->object_layouts[mix >> 8 & (IH_LAYOUT_CACHE - 1)];
}
/* Its bit among those that an image vouches for. */
static inline uint64_t ih_layout_bit(uint32_t word)
{
    return (uint64_t)1 << ((word >> 1) * 0x9e3779b1u >> 26);
}
#endif

/* Names of methods that the state keeps interned. The first six are in the order of Py_LT, ... */
enum {
    IH_LT,
    IH_LE,
    IH_EQ,
    IH_NE,
    IH_GT,
    IH_GE,
    IH_HASH,
    IH_REPR,
    IH_STR,
    IH_GETATTR,
    IH_GETATTRIBUTE,
    IH_WRAPPED,
    IH_METHODS,
    IH_TUPLE_FIELDS,
    IH_NAMES
};
_Static_assert(IH_NAMES <= IH_OBJECT_NAMES, "the state has room for every name");

/* object.c */
int ih_object_traverse(PyObject *self, visitproc visit, void *arg);
int ih_object_clear(PyObject *self);

/* object_layout.c */
int ih_init_layout(PyObject *module, ih_state *state);

/* object_record.c: needs the type FrozenObject. */
int ih_init_object_record(PyObject *module, ih_state *state);

/* object_attr.c */
PyObject *ih_object_getattro(PyObject *self, PyObject *name);
/* For classes that override __getattribute__. */
PyObject *ih_object_getattro_by_class(PyObject *self, PyObject *name);
int ih_object_setattro(PyObject *self, PyObject *name, PyObject *value);
PyObject *ih_object_dir(PyObject *self, PyObject *ignored);
/* What object.__getattribute__ would find for an instance. New reference. */
PyObject *ih_object_look_up(ih_object_view *view, PyObject *name);
/* What a class's MRO has under a name: no descriptor is called. New reference, NULL without an
 * exception. */
PyObject *ih_class_look_up(PyTypeObject *type, PyObject *name);
/* The field of that name (an exact str): >= 0; -1: there is none; -2 with an exception. */
Py_ssize_t ih_layout_find(const ih_layout *layout, PyObject *name);
/* The same for the views of a layout, whose rules may know better than C code of the class. */
PyObject *ih_method_look_up(const ih_layout *layout, PyObject *name);
PyObject *ih_object_field(const ih_object_view *view, Py_ssize_t i);
/* The fields from `first` on, decoded: an ordinary dict. */
PyObject *ih_object_dict(const ih_object_view *view, uint32_t first);
/* FrozenError naming the class, what was attempted, and a name or NULL. Returns NULL. */
PyObject *ih_object_refuse(const ih_object_view *view, const char *operation, PyObject *name);

/* object_type.c */
bool ih_object_is_forward(PyObject *object);
int ih_init_object_types(PyObject *module, ih_state *state);
/* Makes a layout and the type of its views known to each other: its fields go into the type's dict,
 * for code that looks there. 0 or -1. */
int ih_object_view_type_add(ih_state *state, ih_layout *layout);
/* The class that a view type was made for. Borrowed; NULL without an exception. */
PyTypeObject *ih_object_class_of(PyTypeObject *view_type);

/* object_slots.c: operators, forwarded to what the class's MRO defines. */
typedef struct {
    const char *name, *reflected; /* reflected: the second method of a binary operator, or NULL */
    int slot;                     /* Py_nb_add, ... */
    void *function;
} ih_object_operator;
extern const ih_object_operator ih_object_operators[];
/* Calls `name` of the class with the view as self. A NULL without an exception: it has none, or C
 * code has defined it for its own instances (*builtin). */
PyObject *ih_object_call(PyObject *self, PyObject *name, PyObject *const *args, size_t n,
                         bool *builtin);

/* object_compare.c */
PyObject *ih_object_richcompare(PyObject *self, PyObject *other, int op);
Py_hash_t ih_object_hash(PyObject *self);

/* object_repr.c */
PyObject *ih_object_repr(PyObject *self);
PyObject *ih_object_str(PyObject *self);

#endif
