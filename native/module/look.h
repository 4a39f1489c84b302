/* Images as they lie, for those who show them: nodes are described and no value is made.
 *
 * Purpose.   store/showing reads any image by these few functions and by the image's bytes. Each
 *            costs the same whatever the image holds, so nobody can make it slow or large, and no
 *            class, code or constructor is in reach (H20, H21).
 * Ownership. An Image is a buffer of its own bytes and holds its lease.
 * Failure.   CorruptImage on damage, what opening raises, TypeError for wrong arguments. */
#ifndef ICEHOUSE_MODULE_LOOK_H
#define ICEHOUSE_MODULE_LOOK_H

#include "module/state.h"

/* Functions of the module. */
PyObject *ih_look_open(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_look_about(PyObject *module, PyObject *image);
PyObject *ih_look_node(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_look_follow(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#define IH_LOOK_METHODS                                                                        \
    {"_look_open", (PyCFunction)(void *)ih_look_open, METH_FASTCALL,                           \
     "_look_open(store, handle): an image of that store, a buffer of its bytes."},             \
        {"_look_about", ih_look_about, METH_O,                                                 \
         "_look_about(image): its Handle, and the word of its root."},                         \
        {"_look_node", (PyCFunction)(void *)ih_look_node, METH_FASTCALL,                       \
         "_look_node(image, word): the node of a word that is no int and no constant, as the " \
         "numbers of ih_node."},                                                               \
    {                                                                                          \
        "_look_follow", (PyCFunction)(void *)ih_look_follow, METH_FASTCALL,                    \
            "_look_follow(image, index, word): the image that a link leads to; a lease of it " \
            "stands as long as that of the one that it came from."                             \
    }

#endif
