/* Views on their way to other processes: see travel.h.
 *
 * By value a view is the bytes of an image, one buffer that protocol 5 moves out of band. Whoever
 * loads it copies the bytes into the store of freeze() and reads them as any image, where every
 * word is checked when it is used. It is trusted as images of this process are: who can choose what
 * is unpickled can run any code. Not so a view whose image this process itself does not trust: who
 * made that chose no more than its bytes, and the pickle says so (H20). */
#include "module/travel.h"

#include "arena/visit.h"
#include "module/decode.h"
#include "module/freezer.h"
#include "module/hooks.h"
#include "module/image_object.h"
#include "module/link.h"
#include "module/process.h"

#include <unistd.h>

/* ---- by value ------------------------------------------------------------------------------- */

/* Of an image that is not trusted as our own are. Steals the bytes. */
static PyObject *reduce_foreign(ih_state *state, ih_image_object *image, PyObject *bytes)
{
    PyObject *hook = ih_hook_of(state, IH_HOOK_REDUCE_FOREIGN);
    PyObject *trust = hook != NULL ? ih_image_trust(image) : NULL;
    PyObject *reduced =
        trust != NULL ? PyObject_CallFunctionObjArgs(hook, bytes, trust, NULL) : NULL;
    Py_DECREF(bytes);
    return reduced;
}

static PyObject *reduce_by_value(ih_state *state, PyObject *view, long protocol)
{
    PyObject *bytes = ih_freeze_to_bytes(state, view);
    if (bytes && protocol >= 5)
        Py_SETREF(bytes, PyPickleBuffer_FromObject(bytes));
    if (!bytes)
        return NULL;
    ih_image_object *image = ((ih_view *)view)->image;
    if (image->lease == NULL || !image->lease->trusted)
        return reduce_foreign(state, image, bytes);
    PyObject *load = PyObject_GetAttrString(state->module, "_load_image");
    return load ? Py_BuildValue("N(N)", load, bytes) : (Py_DECREF(bytes), NULL);
}

/* The first view that is pickled after multiprocessing was imported lets the hook register how its
 * picklers do it from then on. A pickler that was made before looks for no rule: the hook says how
 * it is to be done this time, or None. */
static PyObject *ask_hook(ih_state *state, PyObject *view)
{
    PyObject *name = PyUnicode_InternFromString("multiprocessing.reduction");
    PyObject *loaded = name ? PyImport_GetModule(name) : NULL;
    Py_XDECREF(name);
    if (!loaded)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    Py_DECREF(loaded);
    return PyObject_CallOneArg(state->travel_hook, view);
}

PyObject *ih_reduce(PyObject *view, PyObject *protocol)
{
    ih_state *state = ((ih_view *)view)->image->state;
    long number = PyLong_AsLong(protocol);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    if (state->travel_hook) {
        PyObject *reduced = ask_hook(state, view);
        if (reduced != Py_None)
            return reduced;
        Py_DECREF(reduced);
    }
    return reduce_by_value(state, view, number);
}

PyObject *ih_travel_hook(PyObject *module, PyObject *hook)
{
    Py_XSETREF(ih_state_of(module)->travel_hook, Py_NewRef(hook));
    Py_RETURN_NONE;
}

static int check_view(ih_state *state, PyObject *object)
{
    if (ih_is_view(state, object))
        return 0;
    PyErr_Format(PyExc_TypeError, "expected a view, not %.100s", Py_TYPE(object)->tp_name);
    return -1;
}

PyObject *ih_travel_by_value(PyObject *module, PyObject *view)
{
    ih_state *state = ih_state_of(module);
    /* As bytes: multiprocessing pickles with the default protocol, which may be below 5. */
    return check_view(state, view) < 0 ? NULL : reduce_by_value(state, view, 0);
}

PyObject *ih_travel_load(PyObject *module, PyObject *source)
{
    ih_state *state = ih_state_of(module);
    ih_store *store;
    ih_lease *lease = NULL;
    ih_handle handle;
    ih_error error = {0};
    Py_buffer image;
    if (PyObject_GetBuffer(source, &image, PyBUF_SIMPLE) < 0)
        return NULL;
    ih_result result = IH_CORRUPT;
    if (image.len < (Py_ssize_t)IH_HEADER_SIZE)
        error = (ih_error){.result = IH_CORRUPT, .what = "load an image: it is cut short"};
    else
        result = ih_private_store(&store, &error);
    if (result == IH_OK) {
        Py_BEGIN_ALLOW_THREADS
        result =
            ih_put_image(store, 0, image.buf, (uint64_t)image.len, NULL, &handle, &lease, &error);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&image);
    return result == IH_OK ? ih_open_lease(state, lease) : ih_raise_arena(state, &error);
}

/* ---- by reference --------------------------------------------------------------------------- */

/* Of a connected store: whoever may connect there finds it. */
static PyObject *remote_passport(const ih_lease *lease, PyObject *handle, unsigned word)
{
    ih_remote_info info = {0};
    if (ih_store_remote_info(lease->store, &info) != IH_OK) {
        Py_DECREF(handle);
        Py_RETURN_NONE;
    }
    char identity[33];
    PyOS_snprintf(identity, sizeof identity, "%016llx%016llx", (unsigned long long)info.identity[0],
                  (unsigned long long)info.identity[1]);
    PyObject *socket = PyUnicode_DecodeFSDefault(info.socket);
    bool fleeting = __atomic_load_n(&lease->fleeting, __ATOMIC_RELAXED);
    return Py_BuildValue("NsNIO", socket, identity, handle, word, fleeting ? Py_True : Py_False);
}

PyObject *ih_travel_passport(PyObject *module, PyObject *object)
{
    ih_state *state = ih_state_of(module);
    if (check_view(state, object) < 0)
        return NULL;
    const ih_lease *lease = ((ih_view *)object)->image->lease;
    PyObject *handle, *place = ih_view_locate(object);
    unsigned word;
    /* Other interpreters of a process have no part in multiprocessing. */
    if (!place || place == Py_None || PyInterpreterState_Get() != PyInterpreterState_Main())
        return place ? (Py_DECREF(place), Py_NewRef(Py_None)) : NULL;
    bool parsed = PyArg_ParseTuple(place, "OI", &handle, &word);
    Py_XINCREF(parsed ? handle : NULL);
    Py_DECREF(place);
    if (!parsed)
        return NULL;
    if (ih_store_is_remote(lease->store))
        return remote_passport(lease, handle, word);
    uint64_t store[2];
    if (!ih_visit_can(lease, store)) {
        Py_DECREF(handle);
        Py_RETURN_NONE;
    }
    return Py_BuildValue("y#NIKO", (const char *)store, (Py_ssize_t)sizeof store, handle, word,
                         (unsigned long long)lease->size,
                         ih_visit_owns(lease) ? Py_True : Py_False);
}

#define LINKED_MAX 64u /* images; a view that leads to more of them travels by value */

/* Adds what an image links to that is not in the list yet. False: too many, or an exception. */
static bool add_linked(ih_image_object *images[LINKED_MAX], size_t *count, ih_image_object *from)
{
    for (uint64_t i = 0; i < from->image.links; i++) {
        ih_image_object *to = ih_link_target(from, i);
        size_t at = 0;
        if (to == NULL)
            return false;
        while (at < *count && images[at]->lease->handle.locator != to->lease->handle.locator)
            at++;
        if (at < *count)
            continue;
        if (*count == LINKED_MAX)
            return false;
        images[(*count)++] = to;
    }
    return true;
}

PyObject *ih_travel_segments(PyObject *module, PyObject *view)
{
    if (check_view(ih_state_of(module), view) < 0)
        return NULL;
    /* Each is kept by one that links to it, and the first by the view. */
    ih_image_object *images[LINKED_MAX] = {((ih_view *)view)->image};
    size_t count = 1;
    PyObject *segments = PyTuple_New(0);
    for (size_t i = 0; segments && i < count; i++) {
        uint64_t store[2];
        const ih_lease *lease = images[i]->lease;
        bool can = lease && lease->store == images[0]->lease->store && ih_visit_can(lease, store);
        if (!can || !add_linked(images, &count, images[i])) {
            Py_DECREF(segments);
            return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
        }
        Py_ssize_t at = PyTuple_GET_SIZE(segments);
        PyObject *number = PyLong_FromUnsignedLongLong(lease->handle.locator >> 24);
        if (!number || _PyTuple_Resize(&segments, at + 1) < 0)
            return (Py_XDECREF(number), Py_XDECREF(segments), NULL);
        PyTuple_SET_ITEM(segments, at, number);
    }
    return segments;
}

static int take_bytes(PyObject *bytes, void *out, size_t size, const char *what)
{
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != (Py_ssize_t)size) {
        PyErr_Format(PyExc_ValueError, "%s has %zu bytes", what, size);
        return -1;
    }
    memcpy(out, PyBytes_AS_STRING(bytes), size);
    return 0;
}

static int take_process(ih_state *state, ih_process **out)
{
    ih_error error = {0};
    if (ih_process_get(out, &error) == IH_OK)
        return 0;
    ih_raise_arena(state, &error);
    return -1;
}

static void close_all(const int fds[IH_VISIT_FDS])
{
    for (size_t i = 0; i < IH_VISIT_FDS; i++)
        (void)close(fds[i]);
}

PyObject *ih_travel_share(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    ih_process *process;
    ih_visit visit;
    ih_error error = {0};
    uint64_t store[2];
    int fds[IH_VISIT_FDS];
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "_share() takes three arguments");
    unsigned long long id = PyLong_AsUnsignedLongLong(args[1]);
    int join = PyObject_IsTrue(args[2]);
    if (PyErr_Occurred() || take_bytes(args[0], store, sizeof store, "a store's identity") < 0 ||
        take_process(state, &process) < 0)
        return NULL;
    ih_result result = ih_visit_share(process, store, id, join, &visit, fds, &error);
    if (result == IH_GONE)
        Py_RETURN_NONE;
    if (result != IH_OK)
        return ih_raise_arena(state, &error);
    PyObject *shared = Py_BuildValue("y#(iii)", (const char *)&visit, (Py_ssize_t)sizeof visit,
                                     fds[0], fds[1], fds[2]);
    if (!shared)
        close_all(fds);
    return shared;
}

PyObject *ih_travel_has_segment(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_process *process;
    uint64_t store[2];
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "_has_segment() takes a store and a segment");
    unsigned long long id = PyLong_AsUnsignedLongLong(args[1]);
    if (PyErr_Occurred() || take_bytes(args[0], store, sizeof store, "a store's identity") < 0 ||
        take_process(ih_state_of(module), &process) < 0)
        return NULL;
    return PyBool_FromLong(ih_visit_has(process, store, id));
}

PyObject *ih_travel_is_member(PyObject *module, PyObject *bytes)
{
    ih_process *process;
    ih_visit visit;
    if (take_bytes(bytes, &visit, sizeof visit, "a visit") < 0 ||
        take_process(ih_state_of(module), &process) < 0)
        return NULL;
    return PyBool_FromLong(ih_visit_is_member(process, visit.family));
}

PyObject *ih_travel_admit(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    ih_process *process;
    ih_visit visit;
    ih_error error = {0};
    ih_result result;
    int fds[IH_VISIT_FDS];
    if (nargs != 2 || !PyTuple_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "_admit() takes a visit and a tuple of descriptors");
    if (!PyArg_ParseTuple(args[1], "iii", &fds[0], &fds[1], &fds[2]))
        return NULL;
    if (take_bytes(args[0], &visit, sizeof visit, "a visit") < 0 ||
        take_process(state, &process) < 0)
        return close_all(fds), NULL;
    Py_BEGIN_ALLOW_THREADS
    result = ih_visit_admit(process, &visit, fds, &error);
    Py_END_ALLOW_THREADS
    if (result != IH_OK)
        return ih_raise_arena(state, &error);
    Py_RETURN_NONE;
}

PyObject *ih_travel_receive(PyObject *module, PyObject *args)
{
    ih_state *state = ih_state_of(module);
    PyObject *identity, *bytes;
    unsigned word;
    int held;
    ih_process *process;
    ih_handle handle;
    uint64_t store[2];
    ih_lease *lease;
    ih_error error = {0};
    if (!PyArg_ParseTuple(args, "OOIp", &identity, &bytes, &word, &held) ||
        take_bytes(identity, store, sizeof store, "a store's identity") < 0 ||
        take_bytes(bytes, &handle, sizeof handle, "a handle") < 0 ||
        take_process(state, &process) < 0)
        return NULL;
    ih_result result = ih_visit_open(process, store, handle, held, &lease, &error);
    if (result == IH_UNKNOWN)
        Py_RETURN_NOTIMPLEMENTED;
    if (result != IH_OK)
        return ih_raise_arena(state, &error);
    ih_image_object *image = ih_image_of_lease(state, lease);
    PyObject *object = image ? ih_decode(image, word) : NULL;
    Py_XDECREF(image);
    return object;
}

PyObject *ih_travel_moved(PyObject *module, PyObject *view)
{
    if (check_view(ih_state_of(module), view) < 0)
        return NULL;
    ih_lease *lease = ((ih_view *)view)->image->lease;
    if (lease)
        ih_visit_moved(lease);
    Py_RETURN_NONE;
}
