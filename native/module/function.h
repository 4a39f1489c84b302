/* Frozen functions.
 *
 * A FrozenFunction wraps a private PyFunction, whose globals and cells nobody else can reach, and
 * shows of it only what can't be changed, or copies (H25). A FreezableFunction is one that is not
 * frozen yet: it stands for the function that was decorated and forwards all to it. Freezing it
 * turns it into a FrozenFunction in place, so that whoever holds it holds the frozen one.
 *
 * What a function captured, how the private one is made and how it is written into an image is for
 * Python to say (store/declarations/): here it is the *declaration*, an object with
 *
 *   names          (name, qualname, module, doc)
 *   materialise()  makes the private function, where it was not given: at the first call or read
 *                  that needs it, and again if it failed.
 *
 * The door that stays open is gc.get_referents(). */
#ifndef ICEHOUSE_MODULE_FUNCTION_H
#define ICEHOUSE_MODULE_FUNCTION_H

#include "module/state.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;    /* owned: the private one, or the decorated one; NULL: not made yet */
    PyObject *declaration; /* owned; NULL: not frozen */
    PyObject *names;       /* owned: tuple of IH_FUNCTION_NAMES; NULL: not frozen */
    PyObject *refused;     /* owned: why it can't be called; or NULL */
    PyObject *kept; /* owned, without a GIL: the decorated one, which others may be calling */
    PyObject *weak; /* its weak references */
} ih_function;

enum { IH_NAME, IH_QUALNAME, IH_MODULE, IH_DOC, IH_FUNCTION_NAMES };

int ih_init_function(PyObject *module, ih_state *state);

static inline bool ih_is_frozen_function(const ih_state *state, PyObject *object)
{
    return Py_TYPE(object) == state->frozen_function_type;
}
static inline bool ih_is_freezable_function(const ih_state *state, PyObject *object)
{
    return Py_TYPE(object) == state->freezable_function_type;
}

/* ---- function.c ----------------------------------------------------------------------------- */

/* The private function, made if need be. A new reference; NULL with an exception. */
PyObject *ih_function_inner(ih_function *self);
/* Sets how calls go on from what the fields are. */
void ih_function_route(ih_function *self);
/* Its qualified name, for messages. A new reference; NULL with an exception. */
PyObject *ih_function_label(ih_function *self);

/* ---- function_attr.c ------------------------------------------------------------------------ */

PyObject *ih_frozen_function_getattro(PyObject *self, PyObject *name);
int ih_frozen_function_setattro(PyObject *self, PyObject *name, PyObject *value);
PyObject *ih_freezable_function_getattro(PyObject *self, PyObject *name);
int ih_freezable_function_setattro(PyObject *self, PyObject *name, PyObject *value);

/* ---- function_make.c: functions of the module, for store/declarations/ ----------------------- */

PyObject *ih_function_new(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_function_fill(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_function_freezable(PyObject *module, PyObject *function);
PyObject *ih_function_original(PyObject *module, PyObject *freezable);
PyObject *ih_function_freeze_in_place(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_function_undo(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_function_declaration(PyObject *module, PyObject *frozen);
PyObject *ih_class_freeze(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#define IH_FUNCTION_METHODS                                                                        \
    {"_frozen_function", (PyCFunction)(void *)ih_function_new, METH_FASTCALL,                      \
     "_frozen_function(declaration, function=None, refused=None): a FrozenFunction over a "        \
     "private function, or over one that declaration.materialise() will make; one whose call "     \
     "raises NotFreezableError(refused)."},                                                        \
        {"_fill_function", (PyCFunction)(void *)ih_function_fill, METH_FASTCALL,                   \
         "_fill_function(frozen, function): gives a FrozenFunction that was made without one its " \
         "private function; ValueError if it has one."},                                           \
        {"_freezable_function", ih_function_freezable, METH_O,                                     \
         "A FreezableFunction that stands for a function until it is frozen."},                    \
        {"_original_of", ih_function_original, METH_O,                                             \
         "The function that a FreezableFunction stands for; TypeError for anything else."},        \
        {"_freeze_in_place", (PyCFunction)(void *)ih_function_freeze_in_place, METH_FASTCALL,      \
         "_freeze_in_place(freezable, declaration, function): turns it into a FrozenFunction."},   \
        {"_undo_freeze", (PyCFunction)(void *)ih_function_undo, METH_FASTCALL,                     \
         "_undo_freeze(frozen, original): turns what _freeze_in_place() made into a "              \
         "FreezableFunction again, before anybody was told."},                                     \
        {"_declaration_of", ih_function_declaration, METH_O,                                       \
         "The declaration of a FrozenFunction; TypeError for anything else."},                     \
    {                                                                                              \
        "_freeze_class", (PyCFunction)(void *)ih_class_freeze, METH_FASTCALL,                      \
            "_freeze_class(cls, frozen=True): makes a class immutable, or mutable again where "    \
            "freezing failed; TypeError for types that are not made by a class statement."         \
    }

#endif
