/* Arguments of METH_FASTCALL | METH_KEYWORDS functions, sorted into an array without building
 * anything. */
#ifndef ICEHOUSE_MODULE_ARGUMENTS_H
#define ICEHOUSE_MODULE_ARGUMENTS_H

#include "module/state.h"

typedef struct {
    const char *function;     /* for messages, without parentheses */
    const char *const *names; /* of all parameters, positional ones first; NULL ends them */
    Py_ssize_t required;      /* the first so many must be given */
    Py_ssize_t positional;    /* so many may be given by position */
} ih_signature;

/* Fills out[] in the order of `names` with borrowed references, NULL where nothing was given. 0, or
 * -1 and TypeError. */
int ih_take_arguments(const ih_signature *signature, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames, PyObject **out);

/* A number of bytes: an int, or a text such as "64MiB" (B, KiB, MiB, GiB, TiB; kB, MB, GB, TB are
 * decimal). None or NULL is 0. 0 on success; -1 with TypeError or ValueError, which names `what`.
 */
int ih_take_size(PyObject *value, const char *what, uint64_t *out);

#endif
