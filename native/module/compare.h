/* The state of one comparison, shared by compare.c and compare_sets.c. */
#ifndef ICEHOUSE_MODULE_COMPARE_H
#define ICEHOUSE_MODULE_COMPARE_H

#include "module/merge.h"
#include "module/pyhash.h"
#include "module/walk.h"

/* Is an object compared as a tuple? A named tuple is, for one. */
static inline bool ih_is_tuple(PyObject *object)
{
    return PyTuple_Check(object) && Py_TYPE(object)->tp_richcompare == PyTuple_Type.tp_richcompare;
}

#define IH_COMPARE_PUSHED 2 /* beside 1, 0 and -1: the answer comes from the stack later */

/* Two containers of one class that are being walked together. */
typedef struct {
    ih_cursor a, b; /* of dicts the objects alone; a's is a FrozenDict */
    uint64_t next, size;
    PyObject *keys; /* owned: decoded keys of a shaped dict, or NULL */
    uint8_t class;
    bool ordered;            /* ih_order() decides here: only sequences lead here */
    bool ended;              /* all common items are equal */
    bool object_a, object_b; /* the side was given as an object, not by a word of an image */
    bool remembered;         /* later meetings take it for equal */
    bool same_keys;          /* two dicts of one shape: entry i has the same key in both */
} ih_pair;

typedef struct {
    ih_state *state;
    ih_pair *pairs; /* a stack */
    size_t depth, room;
    bool order, nested;
    ih_merge merge;
    uint64_t containers, steps, charged, allowance;
    const ih_image_object *paid[2]; /* compared, never read */
    ih_merge linked;                /* images behind links, which have paid too */
    uint64_t *work;                 /* of all nested comparisons together */
    ih_hasher *hashers[2];
} ih_comparison;

/* The state of the module behind one of two views; NULL where neither is one. */
ih_state *ih_compare_state(PyObject *a, PyObject *b);
/* Walks the two. 1; 0: they differ, and the stack still says where; -1. */
int ih_compare_run(ih_comparison *c, PyObject *a, PyObject *b);
void ih_compare_finish(ih_comparison *c);

/* Two sets of one size: 1, 0, -1, or pushed. */
int ih_compare_sets(ih_comparison *c, PyObject *a, PyObject *b);
/* Pushes two lists that must be equal item by item; they are kept. PUSHED or -1. */
int ih_compare_lists_later(ih_comparison *c, PyObject *left, PyObject *right);
/* A comparison of its own inside this one, where the answer may be no. 1, 0, -1. */
int ih_compare_nested(ih_comparison *outer, PyObject *a, PyObject *b);

#endif
