/* Views on their way to other processes: by value as the bytes of an image, or by reference, for
 * which store/travel.py has the messages. */
#ifndef ICEHOUSE_MODULE_TRAVEL_H
#define ICEHOUSE_MODULE_TRAVEL_H

#include "module/state.h"

/* What __reduce_ex__ gives: by reference where multiprocessing pickles it, else by value. New
 * reference. */
PyObject *ih_reduce(PyObject *view, PyObject *protocol);

/* Functions of the module, for store/travel.py. */
PyObject *ih_travel_hook(PyObject *module, PyObject *hook);
PyObject *ih_travel_by_value(PyObject *module, PyObject *view);
PyObject *ih_travel_load(PyObject *module, PyObject *buffer);
PyObject *ih_travel_passport(PyObject *module, PyObject *view);
PyObject *ih_travel_segments(PyObject *module, PyObject *view);
PyObject *ih_travel_share(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_travel_has_segment(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_travel_is_member(PyObject *module, PyObject *visit);
PyObject *ih_travel_admit(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_travel_receive(PyObject *module, PyObject *args);
PyObject *ih_travel_moved(PyObject *module, PyObject *view);

#define IH_TRAVEL_METHODS                                                                        \
    {"_on_travel", ih_travel_hook, METH_O,                                                       \
     "Sets what is asked how to pickle a view while multiprocessing is "                         \
     "loaded."},                                                                                 \
        {"_by_value", ih_travel_by_value, METH_O,                                                \
         "The pickle's reduction of a view by value: (_load_image, (bytes,))."},                 \
        {"_load_image", ih_travel_load, METH_O,                                                  \
         "The root of an image whose bytes are copied into the store of freeze()."},             \
        {"_passport", ih_travel_passport, METH_O,                                                \
         "How a view can be opened elsewhere: (store, handle, word, bytes, owned) of an "        \
         "embedded store, (socket, identity, handle, word, fleeting) of a connected one, or "    \
         "None."},                                                                               \
        {"_segments", ih_travel_segments, METH_O,                                                \
         "The numbers of the segments that a view's image and what it links to lie in, or None " \
         "where not all of them can be shown."},                                                 \
        {"_share", (PyCFunction)(void *)ih_travel_share, METH_FASTCALL,                          \
         "_share(store, segment, join): (visit, three descriptors or -1), or None."},            \
        {"_is_member", ih_travel_is_member, METH_O,                                              \
         "Whether the leases that a visit needs can be shown already."},                         \
        {"_has_segment", (PyCFunction)(void *)ih_travel_has_segment, METH_FASTCALL,              \
         "_has_segment(store, segment): whether it is here."},                                   \
        {"_admit", (PyCFunction)(void *)ih_travel_admit, METH_FASTCALL,                          \
         "_admit(visit, descriptors): maps another process's segment; the descriptors are "      \
         "gone after it."},                                                                      \
        {"_receive", ih_travel_receive, METH_VARARGS,                                            \
         "_receive(store, handle, word, held): the object, or NotImplemented where the "         \
         "segment must be admitted first."},                                                     \
    {                                                                                            \
        "_moved", ih_travel_moved, METH_O,                                                       \
            "Another process holds what this view holds, which may go now."                      \
    }

#endif
