/* Objects of classes: layouts, FrozenObject, and what is made whole.
 *
 * A LAYOUT says what the words of an OBJECT node are. It is read and checked once, becomes an
 * ih_layout, and is kept by the state as the caches of state.h are: bounded, by the image's
 * identity, the layout's word and the trust that the image is read with. What a name leads to may
 * change (a module is loaded again, a class defined in a session); so a layout that comes from the
 * cache is looked at again once for each image object. */
#ifndef ICEHOUSE_MODULE_OBJECT_H
#define ICEHOUSE_MODULE_OBJECT_H

#include "module/decode.h"

/* A checked LAYOUT. Immutable once it is made. */
struct ih_layout {
    PyObject_HEAD
    uint64_t identity; /* of the image */
    uint32_t word;     /* of the LAYOUT node */
    uint32_t n;        /* names */
    uint32_t number; /* VIEW, CONTAINER: how many of the first names are slots, at most n; MADE: the
                           family */
    uint8_t form;    /* ih_form_code */
    bool defined;    /* its class has a definition */
    PyObject *names; /* tuple of n distinct interned str */
    PyObject *index; /* dict of name to position; NULL for few names, which are compared */
    PyObject *module, *qualname, *type_name; /* str; type_name is "module.qualname" */
    PyTypeObject *cls;                       /* NULL: may not or can't be resolved */
    PyTypeObject *view_type; /* of VIEW and CONTAINER: the type of its views; else NULL */
    PyObject *trust;         /* that cls was resolved with */
    PyObject *methods;       /* dict of what goes before the class's own (view_info), or NULL */
    unsigned int version;    /* of the class when `plain` was found out; 0: it was not */
    uint64_t plain;          /* bits of fields that nothing of the class goes before */
    struct ih_plan *plan;    /* how thaw() makes instances: NULL until it does */
};

/* FrozenObject. `data` is its first field's word, behind the container's in a CONTAINER; n counts
 * the fields. */
typedef struct {
    IH_VIEW_HEAD
    ih_layout *layout; /* owned */
    PyObject *inner;   /* CONTAINER: the view of its content, or a real tuple or bytes; else NULL */
    PyObject *kept;    /* dict of what cached_property computed, or NULL */
    PyObject *weakrefs;
} ih_object_view;

/* Reads the layout that `word` names for the OBJECT at `at`. New reference; NULL with CorruptImage,
 * or what resolving the class raised. */
ih_layout *ih_layout_get(ih_image_object *image, uint32_t word, uint64_t at);

/* What an OBJECT node stands for: a FrozenObject (forms VIEW and CONTAINER), or what
 * ih_make_object() makes. New reference. */
PyObject *ih_open_object(ih_image_object *image, uint64_t at, const ih_node *node, ih_budget *left);
/* The same where its layout is known and of form VIEW, else NULL without an exception. `header` is
 * the node's first word. */
PyObject *ih_open_known_object(ih_image_object *image, uint64_t at, uint32_t header);
/* The object of form TUPLE or MADE, whole. New reference. */
PyObject *ih_make_object(ih_image_object *image, uint64_t at, const ih_node *node,
                         const ih_layout *layout, ih_budget *left);

/* ---- what the rules in Python decide (store/freezing/hooks.py) ------------------------------- */

/* The class of a name, None where it may not or can't be resolved. `definition`: a FrozenDict, or
 * NULL. New reference. */
PyObject *ih_resolve_class(ih_state *state, PyObject *module, PyObject *qualname, PyObject *trust,
                           PyObject *definition);
/* The text that a word stands for, never anything else; *left bounds its bytes. New reference. */
PyObject *ih_decode_name(ih_image_object *image, uint32_t word, uint64_t where, uint64_t *left);
/* The (module, qualified name) of a VALUE of code CLASS, and the word of its definition: IH_NONE
 * where it has none. 0, or -1 with CorruptImage. */
int ih_read_class(ih_image_object *image, uint32_t word, uint64_t where, PyObject **module,
                  PyObject **qualname, uint32_t *definition);

/* ---- parts of FrozenObject ------------------------------------------------------------------- */

/* object_type.c: the type of views of a class; FrozenObject itself for NULL. New reference. */
PyTypeObject *ih_object_view_type(ih_state *state, PyTypeObject *cls);

int ih_init_object(PyObject *module, ih_state *state);

#endif
