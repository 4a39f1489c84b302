/* What a caller of get() says beside the handle. */
#ifndef ICEHOUSE_MODULE_GET_H
#define ICEHOUSE_MODULE_GET_H

#include "module/state.h"

/* Borrowed from the call; NULL: not given. */
typedef struct {
    PyObject *fallback;
    PyObject *type, *allow_classes;
    bool native, code;
} ih_get_options;

/* The parameters of every get(), for ih_take_arguments(): the first is called `ref`. */
#define IH_GET_PARAMETERS "default", "type", "native", "allow_classes", "trust", NULL
#define IH_GET_COUNT 6

/* What docstrings say of them. */
#define IH_GET_OPTIONS_DOC                                                                      \
    "type: a class (or a tuple of classes); TypeError if what is stored is of another.\n"       \
    "native: bytes and tuples come back as real ones whatever their size, here and below, for " \
    "code\nthat knows no views; each access copies them.\n"                                     \
    "allow_classes: classes whose instances are opened although another user's process stored " \
    "them;\nothers come back as records that know their type's name.\n"                         \
    "trust: also what runs code when it is opened (exceptions, what __reduce__ gave), of an "   \
    "image "                                                                                    \
    "of\nanother user. Images of this user are trusted without saying so.\n\n"

/* From what ih_take_arguments() gave. 0; -1 with an exception. */
int ih_take_get_options(PyObject *const given[IH_GET_COUNT], ih_get_options *out);

/* The root of an image as the options want it. Takes over the lease. TypeError, which names
 * `subject`, where it is of another type. New reference. */
PyObject *ih_open_got(ih_state *state, ih_lease *lease, const ih_get_options *options,
                      PyObject *subject);

#endif
