/* Doors between interpreters: see door.h. */
#include "module/door.h"

#include "module/process.h"

#include <stdlib.h>
#include <string.h>

/* Answers up to this size are copied: cheaper than entering once more to let them go. */
#define COPIED_MAX 4096

typedef struct ih_door {
    struct ih_door *next;
    uint64_t number;
    PyInterpreterState *interpreter; /* where it leads; NULL: not opened yet */
    PyObject *serve;                 /* owned, of that interpreter */
    PyThreadState *there; /* of that interpreter and of `thread`; NULL: not entered yet */
    unsigned long thread; /* who uses it; meaningful with `there` */
    Py_buffer answer;     /* held over there; obj is NULL without one */
    bool busy;            /* a call or the end of it is going on */
} ih_door;

static ih_door *find(ih_door *first, uint64_t number)
{
    while (first && first->number != number)
        first = first->next;
    return first;
}

/* Takes the number of a door from an argument. False with an exception. */
static bool take_number(PyObject *given, uint64_t *number)
{
    *number = PyLong_AsUnsignedLongLong(given);
    return !PyErr_Occurred();
}

/* The door, for this thread alone until give_back(). NULL with an exception. */
static ih_door *claim(uint64_t number)
{
    unsigned long thread = PyThread_get_thread_ident();
    const char *fault = NULL;
    ih_door *door = find(ih_doors_lock()->first, number);
    if (!door || !door->interpreter)
        fault = "this door leads nowhere: it was not opened, was closed, or is the parent "
                "process's";
    else if (door->busy || (door->there && door->thread != thread))
        fault = "this door is another thread's";
    else if (door->interpreter == PyInterpreterState_Get())
        fault = "this door leads to the interpreter that it is called in";
    else
        door->busy = true;
    ih_doors_unlock();
    if (!fault)
        return door;
    PyErr_SetString(PyExc_LookupError, fault);
    return NULL;
}

static void give_back(ih_door *door)
{
    ih_doors_lock();
    door->busy = false;
    ih_doors_unlock();
}

/* ---- going through -------------------------------------------------------------------------- */

/* Leaves this interpreter for the door's. NULL with an exception, and still here. */
static PyThreadState *enter(ih_door *door)
{
    if (!door->there) {
        door->there = PyThreadState_New(door->interpreter);
        door->thread = PyThread_get_thread_ident();
    }
    if (!door->there) {
        PyErr_NoMemory();
        return NULL;
    }
    PyThreadState *here = PyEval_SaveThread();
    PyEval_RestoreThread(door->there);
    return here;
}

static void come_back(PyThreadState *here)
{
    (void)PyEval_SaveThread();
    PyEval_RestoreThread(here);
}

/* Over there: lets the last answer go. */
static void drop_answer(ih_door *door)
{
    if (door->answer.obj)
        PyBuffer_Release(&door->answer);
}

/* Over there: the text of the exception that is set, which it clears; NULL without memory. */
static char *take_error(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = value ? PyObject_Repr(value) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    char *copy = strdup(utf8 ? utf8 : "an exception without a text");
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    PyErr_Clear();
    return copy;
}

/* Over there: the request as the other side's memory, read in place; None without one. */
static PyObject *show(const Py_buffer *request)
{
    if (!request->obj)
        return Py_NewRef(Py_None);
    return PyMemoryView_FromMemory(request->buf, request->len, PyBUF_READ);
}

/* Over there: calls serve(). False with `*error`, which is NULL without memory. */
static bool serve(ih_door *door, const Py_buffer *request, char **error)
{
    drop_answer(door);
    PyObject *shown = show(request);
    PyObject *answer = shown ? PyObject_CallOneArg(door->serve, shown) : NULL;
    bool good = answer &&
                (answer == Py_None || PyObject_GetBuffer(answer, &door->answer, PyBUF_SIMPLE) == 0);
    if (!good)
        *error = take_error();
    Py_XDECREF(answer);
    /* The memory behind it is the caller's, and goes: nothing may read it any more. */
    if (shown && shown != Py_None) {
        PyObject *released = PyObject_CallMethod(shown, "release", NULL);
        if (!released && good) {
            drop_answer(door);
            *error = take_error();
            good = false;
        }
        PyErr_Clear();
        Py_XDECREF(released);
    }
    Py_XDECREF(shown);
    return good;
}

/* Calls through the door; back here again when it returns. What is small is in `small`, a buffer of
 * COPIED_MAX bytes, afterwards. */
static bool call(ih_door *door, const Py_buffer *request, char *small, Py_ssize_t *size,
                 char **error)
{
    PyThreadState *here = enter(door);
    if (!here)
        return false;
    bool good = serve(door, request, error);
    *size = -1;
    if (good && door->answer.obj) {
        *size = door->answer.len;
        if (*size <= COPIED_MAX) {
            memcpy(small, door->answer.buf, (size_t)*size);
            drop_answer(door);
        }
    }
    come_back(here);
    if (!good) {
        PyErr_Format(PyExc_RuntimeError, "in the other interpreter: %s",
                     *error ? *error : "out of memory");
        free(*error);
    }
    return good;
}

/* ---- the functions -------------------------------------------------------------------------- */

PyObject *ih_door_make(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    ih_process *process; /* registers what forks need */
    if (ih_process_get(&process, NULL) != IH_OK)
        return PyErr_NoMemory();
    ih_door *door = calloc(1, sizeof *door);
    if (!door)
        return PyErr_NoMemory();
    ih_doors *doors = ih_doors_lock();
    uint64_t number = door->number = ++doors->made;
    door->next = doors->first;
    doors->first = door;
    ih_doors_unlock();
    return PyLong_FromUnsignedLongLong(number);
}

PyObject *ih_door_open(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    uint64_t number;
    if (nargs != 2 || !PyCallable_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "_door_open() takes a number and a function");
        return NULL;
    }
    if (!take_number(args[0], &number))
        return NULL;
    ih_door *door = find(ih_doors_lock()->first, number);
    bool opened = door && !door->interpreter;
    if (opened) {
        door->interpreter = PyInterpreterState_Get();
        door->serve = Py_NewRef(args[1]);
    }
    ih_doors_unlock();
    if (opened)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_LookupError, "there is no such door to open");
    return NULL;
}

PyObject *ih_door_call(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    uint64_t number;
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "_door_call() takes a number and a request");
    if (!take_number(args[0], &number))
        return NULL;
    Py_buffer request = {0};
    if (args[1] != Py_None && PyObject_GetBuffer(args[1], &request, PyBUF_SIMPLE) < 0)
        return NULL;
    ih_door *door = claim(number);
    if (!door) {
        PyBuffer_Release(&request);
        return NULL;
    }
    char small[COPIED_MAX];
    char *error = NULL;
    Py_ssize_t size = -1;
    bool good = call(door, &request, small, &size, &error);
    const Py_buffer answer = door->answer;
    give_back(door);
    PyBuffer_Release(&request);
    if (!good)
        return NULL;
    if (size < 0)
        Py_RETURN_NONE;
    if (size <= COPIED_MAX)
        return PyBytes_FromStringAndSize(small, size);
    return PyMemoryView_FromMemory(answer.buf, answer.len, PyBUF_READ);
}

/* Over there: gives up all that it holds, and the thread state. */
static void clear(ih_door *door, PyThreadState *here)
{
    drop_answer(door);
    Py_CLEAR(door->serve);
    PyThreadState_Clear(door->there);
    PyThreadState_DeleteCurrent();
    PyEval_RestoreThread(here);
}

PyObject *ih_door_close(PyObject *module, PyObject *given)
{
    (void)module;
    uint64_t number;
    if (!take_number(given, &number))
        return NULL;
    ih_door *door = find(ih_doors_lock()->first, number);
    bool opened = door && door->interpreter;
    ih_doors_unlock();
    if (!door)
        Py_RETURN_NONE;
    if (opened) {
        if (!claim(number))
            return NULL;
        PyThreadState *here = enter(door);
        if (!here) {
            give_back(door);
            return NULL;
        }
        clear(door, here);
    }
    ih_door **at = &ih_doors_lock()->first;
    while (*at && *at != door)
        at = &(*at)->next;
    bool found = *at != NULL; /* else another thread has ended it meanwhile */
    if (found)
        *at = door->next;
    ih_doors_unlock();
    if (found)
        free(door);
    Py_RETURN_NONE;
}
