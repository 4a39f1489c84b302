/* Store: looking at what it holds. Lists are snapshots, made without the GIL. */
#include "module/errors.h"
#include "module/handle.h"
#include "module/process.h"
#include "module/store.h"
#include "module/type_name.h"

static ih_store_object *self_of(PyObject *self) { return (ih_store_object *)self; }

/* ---- the results ---------------------------------------------------------------------------- */

static PyStructSequence_Field stat_fields[] = {
    {"handle", "Handle of the image"},
    {"size", "bytes of the image, header included"},
    {"type", "name of the root's type ('dict', 'list', 'str', ...), or None if it can't be read"},
    {"state",
     "'live'; 'deleted' while views or links keep it; 'spilled' to disk; 'orphan' after its "
     "producer ended, with nothing that keeps it"},
    {"names", "tuple of the names bound to it"},
    {"leases", "how many processes read it"},
    {"created", "seconds since the epoch"},
    {"sealed", "True if the kernel lets nobody at all write it (put with seal=True)"},
    {"dedicated", "True if it has a segment of its own"},
    {"block", "bytes that it takes in its segment"},
    {"links", "how many images it links to"},
    {"linked", "how many images link to it"},
    {"expires", "seconds since the epoch at which it is deleted, or None"},
    {"pinned", "True if it is pinned"},
    {"evictable", "True if it may be dropped when memory is short"},
    {"pid", "the process that put it, or None where that is not known"},
    {NULL, NULL},
};
static PyStructSequence_Desc stat_desc = {
    "icehouse.store.embedded.Stat",
    "What is known of an image.",
    stat_fields,
    16,
};

static PyStructSequence_Field usage_fields[] = {
    {"capacity", "bytes that the store may take"},
    {"committed", "bytes that it has taken from the system"},
    {"used", "bytes in images"},
    {"free", "bytes taken and not used"},
    {"largest_free", "longest free run, in bytes"},
    {"warm", "bytes of spare segments, kept mapped for the next put"},
    {"images", "images, deleted ones that are still read included"},
    {"deleted", "images that are deleted and still read"},
    {"deleted_bytes", "bytes of those"},
    {"leases", "images that this process reads"},
    {"names", "bound names"},
    {"segments", "pieces of memory that hold images"},
    {"puts", "images put since the store was opened"},
    {"opens", "images opened"},
    {"deletes", "images deleted"},
    {"fragmentation", "1 - largest_free / free; 0.0 where nothing is free"},
    {NULL, NULL},
};
static PyStructSequence_Desc usage_desc = {
    "icehouse.store.embedded.Usage",
    "How full a store is: bytes, counts, and what was done by this process.",
    usage_fields,
    16,
};

int ih_init_store_look(PyObject *module, ih_state *state)
{
    state->stat_type = PyStructSequence_NewType(&stat_desc);
    state->usage_type = PyStructSequence_NewType(&usage_desc);
    if (!state->stat_type || !state->usage_type ||
        PyModule_AddObjectRef(module, "Stat", (PyObject *)state->stat_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Usage", (PyObject *)state->usage_type);
}

PyObject *ih_fill_sequence(PyTypeObject *type, PyObject **values, size_t count)
{
    PyObject *result = PyStructSequence_New(type);
    for (size_t i = 0; i < count; i++) {
        if (result && values[i]) {
            PyStructSequence_SetItem(result, (Py_ssize_t)i, values[i]);
        } else {
            Py_CLEAR(result);
            Py_XDECREF(values[i]);
        }
    }
    return result;
}

/* ---- stat and ls ---------------------------------------------------------------------------- */

/* The name of the root's type, None if the image can't be read (any more) or is damaged. New
 * reference. */
static PyObject *root_type(ih_store_object *self, const ih_stat *stat)
{
    ih_image_header header;
    memcpy(&header, stat->image_header, sizeof header);
    if (ih_word_is_int(header.root) || ih_word_is_constant(header.root))
        return ih_type_name_of_word(NULL, header.root);
    ih_lease *lease;
    ih_image image;
    ih_fault fault;
    uint32_t root;
    ih_result result;
    IH_MAY_WAIT(result, ih_open_in(self->shared->store, stat->handle, &lease, NULL));
    if (result != IH_OK)
        Py_RETURN_NONE;
    PyObject *name = ih_image_open(lease->image, lease->size, &image, &root, &fault) == 0
                         ? ih_type_name_of_word(&image, root)
                         : Py_NewRef(Py_None);
    ih_lease_release(lease);
    return name;
}

static const char *state_name(const ih_stat *stat)
{
    if (stat->dying)
        return "deleted";
    return stat->spilled ? "spilled" : stat->orphan ? "orphan" : "live";
}

static PyObject *make_stat(ih_store_object *self, const ih_stat *stat, PyObject *names)
{
    PyObject *values[] = {
        ih_handle_new(self->state, stat->handle),
        PyLong_FromUnsignedLongLong(stat->size),
        root_type(self, stat),
        PyUnicode_InternFromString(state_name(stat)),
        names ? PySequence_Tuple(names) : PyTuple_New(0),
        PyLong_FromUnsignedLong(stat->leases),
        PyFloat_FromDouble((double)stat->created_ns / 1e9),
        PyBool_FromLong(stat->sealed_by_kernel),
        PyBool_FromLong(stat->dedicated),
        PyLong_FromUnsignedLongLong(stat->block),
        PyLong_FromUnsignedLong(stat->links),
        PyLong_FromUnsignedLong(stat->linked),
        stat->expires_ns ? PyFloat_FromDouble((double)stat->expires_ns / 1e9) : Py_NewRef(Py_None),
        PyBool_FromLong(stat->pinned),
        PyBool_FromLong(stat->evictable),
        stat->pid ? PyLong_FromUnsignedLong(stat->pid) : Py_NewRef(Py_None),
    };
    return ih_fill_sequence(self->state->stat_type, values, Py_ARRAY_LENGTH(values));
}

/* A snapshot of the names; the caller frees it. 0, or -1 with an exception. */
static int take_names(ih_store_object *self, const char *prefix, size_t length, ih_name **names,
                      size_t *count)
{
    ih_result result;
    ih_error error = {0};
    Py_BEGIN_ALLOW_THREADS
    result = ih_store_names(self->shared->store, prefix, length, names, count, &error);
    Py_END_ALLOW_THREADS
    if (result == IH_OK)
        return 0;
    ih_store_raise(self, &error, NULL);
    return -1;
}

static PyObject *name_object(const ih_name *name)
{
    return PyUnicode_DecodeUTF8(name->name, (Py_ssize_t)name->length, "replace");
}

/* A dict of Handle to list of names: of all handles, or only of one. */
static PyObject *names_by_handle(ih_store_object *self, const ih_handle *only)
{
    ih_name *names;
    size_t count;
    if (take_names(self, "", 0, &names, &count) < 0)
        return NULL;
    PyObject *result = PyDict_New();
    for (size_t i = 0; result && i < count; i++) {
        if (only &&
            (names[i].handle.locator != only->locator || names[i].handle.nonce != only->nonce))
            continue;
        PyObject *name = name_object(&names[i]), *empty = PyList_New(0);
        PyObject *handle = ih_handle_new(self->state, names[i].handle);
        PyObject *list = name && empty && handle ? PyDict_SetDefault(result, handle, empty) : NULL;
        if (!list || PyList_Append(list, name) < 0)
            Py_CLEAR(result);
        Py_XDECREF(handle);
        Py_XDECREF(empty);
        Py_XDECREF(name);
    }
    free(names);
    return result;
}

/* The Stat of `stat`, with its names from `by_handle` (NULL: none are bound). */
static PyObject *stat_with_names(ih_store_object *self, const ih_stat *stat, PyObject *by_handle)
{
    PyObject *names = NULL;
    if (by_handle && stat->names) {
        PyObject *handle = ih_handle_new(self->state, stat->handle);
        names = handle ? PyDict_GetItemWithError(by_handle, handle) : NULL;
        Py_XDECREF(handle);
        if (!names && PyErr_Occurred())
            return NULL;
    }
    return make_stat(self, stat, names);
}

PyObject *ih_store_stat_method(PyObject *object, PyObject *reference)
{
    ih_store_object *self = self_of(object);
    ih_handle handle;
    ih_stat stat;
    ih_error error = {0};
    if (ih_store_alive(self, "stat") < 0 || ih_store_resolve(self, reference, &handle) < 0)
        return NULL;
    ih_result result;
    IH_MAY_WAIT(result, ih_store_stat(self->shared->store, handle, &stat, &error));
    if (result != IH_OK)
        return ih_store_raise(self, &error, reference);
    PyObject *by_handle = NULL;
    if (stat.names && !(by_handle = names_by_handle(self, &handle)))
        return NULL;
    PyObject *made = stat_with_names(self, &stat, by_handle);
    Py_XDECREF(by_handle);
    return made;
}

PyObject *ih_store_ls_method(PyObject *object, PyObject *Py_UNUSED(unused))
{
    ih_store_object *self = self_of(object);
    ih_stat *stats;
    size_t count;
    ih_result result;
    ih_error error = {0};
    if (ih_store_alive(self, "ls") < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = ih_store_list(self->shared->store, &stats, &count, &error);
    Py_END_ALLOW_THREADS
    if (result != IH_OK)
        return ih_store_raise(self, &error, NULL);
    PyObject *by_handle = names_by_handle(self, NULL);
    PyObject *list = by_handle ? PyList_New(0) : NULL;
    for (size_t i = 0; list && i < count; i++) {
        PyObject *one = stat_with_names(self, &stats[i], by_handle);
        if (!one || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    Py_XDECREF(by_handle);
    free(stats);
    return list;
}

/* ---- names ---------------------------------------------------------------------------------- */

PyObject *ih_store_names_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    ih_store_object *self = self_of(object);
    ih_name *names;
    size_t count;
    Py_ssize_t length = 0;
    const char *prefix = "";
    if (nargs > 1 || (nargs == 1 && !PyUnicode_Check(args[0]))) {
        PyErr_SetString(PyExc_TypeError, "names() takes at most one argument, a str");
        return NULL;
    }
    if (nargs == 1 && !(prefix = PyUnicode_AsUTF8AndSize(args[0], &length)))
        return NULL;
    if (ih_store_alive(self, "names") < 0 ||
        take_names(self, prefix, (size_t)length, &names, &count) < 0)
        return NULL;
    PyObject *result = PyDict_New();
    for (size_t i = 0; result && i < count; i++) {
        PyObject *name = name_object(&names[i]);
        PyObject *handle = name ? ih_handle_new(self->state, names[i].handle) : NULL;
        if (!handle || PyDict_SetItem(result, name, handle) < 0)
            Py_CLEAR(result);
        Py_XDECREF(handle);
        Py_XDECREF(name);
    }
    free(names);
    return result;
}

/* IH_OK, IH_UNKNOWN, or IH_INVALID with an exception set. */
static ih_result look_up(ih_store_object *self, PyObject *name, ih_handle *handle,
                         uint64_t *version)
{
    size_t length;
    ih_error error = {0};
    const char *text = ih_name_text(name, &length);
    if (!text || ih_store_alive(self, "lookup") < 0)
        return IH_INVALID;
    ih_result result;
    IH_MAY_WAIT(result, ih_lookup(self->shared->store, text, length, handle, version, &error));
    if (result == IH_OK || result == IH_UNKNOWN)
        return result;
    ih_store_raise(self, &error, name);
    return IH_INVALID;
}

PyObject *ih_store_lookup_method(PyObject *object, PyObject *name)
{
    ih_store_object *self = self_of(object);
    ih_handle handle;
    uint64_t version;
    ih_result result = look_up(self, name, &handle, &version);
    if (result == IH_UNKNOWN) {
        ih_error error = {.result = IH_UNKNOWN, .what = "lookup"};
        return ih_store_raise(self, &error, name);
    }
    if (result != IH_OK)
        return NULL;
    PyObject *found = ih_handle_new(self->state, handle);
    return found ? Py_BuildValue("NK", found, (unsigned long long)version) : NULL;
}

PyObject *ih_store_version_method(PyObject *object, PyObject *name)
{
    ih_handle handle;
    uint64_t version = 0;
    ih_result result = look_up(self_of(object), name, &handle, &version);
    if (result == IH_INVALID)
        return NULL;
    return PyLong_FromUnsignedLongLong(result == IH_OK ? version : 0);
}

/* ---- the whole ------------------------------------------------------------------------------ */

PyObject *ih_store_usage_method(PyObject *object, PyObject *Py_UNUSED(unused))
{
    ih_store_object *self = self_of(object);
    ih_usage usage = {0};
    ih_result result;
    ih_error error = {0};
    if (ih_store_alive(self, "usage") < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = ih_store_usage(self->shared->store, &usage, &error);
    Py_END_ALLOW_THREADS
    if (result != IH_OK)
        return ih_store_raise(self, &error, NULL);
    const uint64_t figures[] = {
        usage.capacity, usage.committed, usage.used,  usage.free,        usage.largest_free,
        usage.warm,     usage.images,    usage.dying, usage.dying_bytes, usage.leases,
        usage.names,    usage.segments,  usage.puts,  usage.opens,       usage.deletes,
    };
    PyObject *values[Py_ARRAY_LENGTH(figures) + 1];
    for (size_t i = 0; i < Py_ARRAY_LENGTH(figures); i++)
        values[i] = PyLong_FromUnsignedLongLong(figures[i]);
    values[Py_ARRAY_LENGTH(figures)] = PyFloat_FromDouble(usage.fragmentation);
    return ih_fill_sequence(self->state->usage_type, values, Py_ARRAY_LENGTH(values));
}

PyObject *ih_store_check_method(PyObject *object, PyObject *Py_UNUSED(unused))
{
    ih_store_object *self = self_of(object);
    char message[512] = "";
    ih_result result;
    if (ih_store_alive(self, "check") < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = ih_store_check(self->shared->store, message, sizeof message);
    Py_END_ALLOW_THREADS
    if (result == IH_OK)
        Py_RETURN_NONE;
    message[sizeof message - 1] = '\0';
    ih_error error = {.result = result, .what = message[0] ? message : "check"};
    return ih_store_raise(self, &error, NULL);
}

PyObject *ih_store_trim_method(PyObject *object, PyObject *Py_UNUSED(unused))
{
    ih_store_object *self = self_of(object);
    ih_result result;
    ih_error error = {0};
    if (ih_store_alive(self, "trim") < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = ih_store_trim(self->shared->store, &error);
    Py_END_ALLOW_THREADS
    if (result != IH_OK)
        return ih_store_raise(self, &error, NULL);
    Py_RETURN_NONE;
}
