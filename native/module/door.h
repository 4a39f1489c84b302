/* Doors: how a thread of one interpreter calls a function of another without source text between.
 *
 * Purpose.   Running source in another interpreter compiles it and makes a thread state each time:
 *            15 to 60 µs. A thread that keeps its thread state over there enters in half of one.
 * Lifecycle. _door() makes one and gives its number. The other interpreter, which learns the number
 *            from source that it runs once, calls _door_open(number, serve). From then on
 *            _door_call(number, request) of the first calls serve(request) there. _door_close()
 *            ends it, before the other interpreter is ended.
 * Threads.   One thread makes the calls: the first one that does, which also closes it. Doors are
 *            found under the process-wide lock; what is in one belongs to the thread that uses it.
 * Objects.   None crosses. A request is the caller's memory, which is read in place during the
 *            call; an answer is a bytes-like object of the other side, copied if it is small, else
 *            read in place until _door_call(number, None) lets it go.
 * Forks.     A child has no doors: calls raise LookupError.
 */
#ifndef ICEHOUSE_MODULE_DOOR_H
#define ICEHOUSE_MODULE_DOOR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *ih_door_make(PyObject *module, PyObject *unused);
PyObject *ih_door_open(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_door_call(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_door_close(PyObject *module, PyObject *number);

#define IH_DOOR_METHODS                                                                           \
    {"_door", ih_door_make, METH_NOARGS, "The number of a new door to another interpreter."},     \
        {"_door_open", (PyCFunction)(void *)ih_door_open, METH_FASTCALL,                          \
         "_door_open(number, serve): calls of that door call serve(memoryview or None) here."},   \
        {"_door_call", (PyCFunction)(void *)ih_door_call, METH_FASTCALL,                          \
         "_door_call(number, request): what serve() answers, as bytes or, until the next call, "  \
         "as a memoryview; None as request and answer. LookupError: no such door, or not open; "  \
         "RuntimeError: serve() raised."},                                                        \
    {                                                                                             \
        "_door_close", ih_door_close, METH_O,                                                     \
            "Ends a door, by the thread that has called through it. Unknown numbers are ignored." \
    }

#endif
