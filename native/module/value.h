/* Objects that are made as a whole whenever they are opened: VALUE nodes, and OBJECT nodes of the
 * forms TUPLE and MADE (docs/image-format.md, "Objects" and "Values").
 *
 * What may be inside one another has no bound but honesty, so everything that one access makes is
 * counted together (H24): a `making` remembers shared nodes, keeps a budget of bytes and bounds the
 * depth. It belongs to the thread, not to the call: Python code that makes a value may read views
 * of its payload, and what is made then counts too. */
#ifndef ICEHOUSE_MODULE_VALUE_H
#define ICEHOUSE_MODULE_VALUE_H

#include "module/decode.h"

/* What one call of ih_decode may still build. Honest real tuples stay inside. */
struct ih_budget {
    uint32_t nodes, depth;
    ih_making *making; /* NULL before anything is made; whoever set up the budget leaves it */
};

/* Opens a VALUE. New reference. */
PyObject *ih_open_value(ih_image_object *image, uint64_t at, const ih_node *node, ih_budget *left);
/* A real tuple of a TUPLE_VIEW, of any size: get(native=True). New reference. */
PyObject *ih_make_long_tuple(ih_image_object *image, uint64_t at, const ih_node *node,
                             ih_budget *left);

/* For decode.c while something is made: takes what a real tuple is made of from the budget.
 * *known is set if it was met before (a new reference). 0 or -1. Each that succeeds without *known
 * is followed by ih_making_end(), which passes `made` on. */
typedef struct ih_step {
    uint64_t left;
    PyObject *known;
    const struct ih_step *outer;  /* what is made of this; NULL at the outermost */
    const ih_image_object *image; /* whose node it is; NULL: it may be needed to make itself */
    uint64_t at;
} ih_step;
int ih_making_begin(ih_budget *left, ih_image_object *image, uint64_t at, bool shared,
                    uint64_t bytes, ih_step *step);
PyObject *ih_making_end(ih_budget *left, ih_image_object *image, uint64_t at, bool shared,
                        const ih_step *step, PyObject *made);
void ih_making_leave(ih_making *making);
/* value_quick.c. A value that needs no rules; NULL without an exception where they must be asked.
 */
PyObject *ih_make_quickly(ih_image_object *image, const ih_node *node, ih_budget *left);
/* Members of enumerations and classes that this image object met before, or NULL. */
PyObject *ih_known_member(ih_image_object *image, uint64_t at, const ih_node *node);
void ih_remember_member(ih_image_object *image, uint64_t at, const ih_node *node, PyObject *member);
/* Is the image read as one of this user's? 1, 0, -1 with an exception. */
int ih_image_is_own(ih_image_object *image);
/* The same at the end of what one access gave, or failed to. */
PyObject *ih_making_done(ih_making *making, PyObject *object);
/* It is made for a sample. */
bool ih_making_is_sample(const ih_making *making);

/* For repr and previews: what this thread makes until the end is small and made without running
 * code (H21); a text stands for what would be larger. They nest. */
void ih_sample_begin(void);
void ih_sample_end(void);
/* Between the two. */
bool ih_sampling(void);

/* A hook failed: exceptions that damaged data can cause become CorruptImage with the original as
 * its cause; those of memory, recursion, icehouse, and what is no Exception pass. Returns NULL. */
PyObject *ih_value_failed(ih_image_object *image, uint64_t at, const char *what);

/* thaw(): the mutable original of a value whose payload was thawed; an object of form TUPLE or MADE
 * with thawed fields (a list). New references. */
PyObject *ih_thaw_value(ih_image_object *image, uint64_t at, uint64_t code, PyObject *payload);
PyObject *ih_thaw_made(ih_image_object *image, uint64_t at, const ih_layout *layout,
                       PyObject *values);

/* An instance of the class of `object`, a subclass of tuple, with these items; itself where
 * the class holds more in C. New reference. */
PyObject *ih_tuple_like(const ih_state *state, PyObject *object, PyObject *items);

#endif
