/* thaw() of objects: real instances again, without code of their classes. */
#ifndef ICEHOUSE_MODULE_THAW_INSTANCE_H
#define ICEHOUSE_MODULE_THAW_INSTANCE_H

#include "module/object.h"
#include "module/thaw_state.h"

typedef enum {
    IH_THAW_INSTANCE, /* made empty, then its fields are stored: cycles through it close */
    IH_THAW_LIST,     /* the same, with its content, of subclasses of these */
    IH_THAW_DICT,
    IH_THAW_SET,
    IH_THAW_ORDERED,
    IH_THAW_DEQUE,
    IH_THAW_RECORD, /* no class: a Record, filled as an instance is */
    IH_THAW_WHOLE,  /* by the rules in Python, once all values are there */
} ih_thaw_how;

typedef enum {
    IH_PLACE_ATTRIBUTE, /* where object.__setattr__ stores what no descriptor answers for */
    IH_PLACE_MEMBER,    /* a slot */
    IH_PLACE_DICT,      /* the instance's __dict__: a descriptor of the class has this name */
    IH_PLACE_DONE,      /* nowhere: the object was made with it */
    IH_PLACE_NONE,      /* there is none: the class has changed */
} ih_place_kind;

typedef struct {
    uint8_t kind;
    Py_ssize_t offset; /* IH_PLACE_MEMBER; its descriptor may go when the class gets other bases */
} ih_place;

typedef struct ih_plan {
    uint8_t how;
    newfunc make;
    PyTypeObject *base; /* borrowed: the deque type */
    ih_place places[];  /* one for each name */
} ih_plan;

/* The plan of a layout of form VIEW or CONTAINER, which keeps it. NULL with an exception. */
const ih_plan *ih_thaw_plan(ih_layout *layout);

/* An OBJECT or VALUE node: PENDING, a frame was pushed; or NULL with an exception. */
PyObject *ih_thaw_object(thawer *t, uint32_t word, const ih_node *node);
PyObject *ih_thaw_value_node(thawer *t, uint32_t word, const ih_node *node);
/* Stores a value into the object of an F_OBJECT frame. 0 or -1; `value` stays the caller's. */
int ih_thaw_store(thawer *t, frame *f, PyObject *value);
/* Makes the object of an F_WHOLE frame from its list of values, which is released. */
PyObject *ih_thaw_finish(const frame *f, PyObject *values);
/* What hashing such an object takes; UNHASHABLE. */
uint32_t ih_thaw_hash_steps(PyObject *object);

#endif
