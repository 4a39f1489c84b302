/* Store: the type, its life and its methods' docs.
 *
 * Each object holds a reference to the store that all interpreters of the process share. */
#include "module/store.h"

#include <structmember.h>

#include "module/arguments.h"

static ih_store_object *self_of(PyObject *self) { return (ih_store_object *)self; }

/* ---- life ----------------------------------------------------------------------------------- */

/* Takes over the reference to `shared`. */
PyObject *ih_store_make(PyTypeObject *type, ih_shared_store *shared, bool owner)
{
    PyObject *module = PyType_GetModuleByDef(type, &ih_module_def);
    ih_store_object *self = module ? self_of(type->tp_alloc(type, 0)) : NULL;
    if (!self) {
        ih_shared_store_leave(shared);
        ih_shared_store_release(shared);
        return NULL;
    }
    self->state = ih_state_of(module);
    self->shared = shared;
    self->owner = owner;
    /* It exists: the shared store was opened in it. */
    (void)ih_process_get(&self->process, NULL);
    return (PyObject *)self;
}

static PyObject *store_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"capacity", "segment_size", NULL};
    PyObject *capacity = NULL, *segment_size = NULL;
    ih_store_options options = {0};
    ih_shared_store *shared = NULL;
    ih_error error = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:Store", names, &capacity, &segment_size) ||
        ih_take_size(capacity, "capacity", &options.capacity) < 0 ||
        ih_take_size(segment_size, "segment_size", &options.segment_size) < 0)
        return NULL;
    if (options.segment_size & (options.segment_size - 1)) {
        PyErr_Format(PyExc_ValueError, "segment_size must be a power of two, not %R", segment_size);
        return NULL;
    }
    ih_result result;
    Py_BEGIN_ALLOW_THREADS
    result = ih_shared_store_open(&options, &shared, &error);
    Py_END_ALLOW_THREADS
    if (result != IH_OK) {
        PyObject *module = PyType_GetModuleByDef(type, &ih_module_def);
        return module ? ih_raise_arena(ih_state_of(module), &error) : NULL;
    }
    return ih_store_make(type, shared, true);
}

static PyObject *store_attach(PyTypeObject *type, PyObject *token)
{
    if (!PyUnicode_Check(token))
        return PyErr_Format(PyExc_TypeError, "a token is a str, not %.100s",
                            Py_TYPE(token)->tp_name);
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(token, &size);
    if (!text)
        return NULL;
    uint64_t number = 0;
    ih_shared_store *shared = NULL;
    if (size == IH_TOKEN_TEXT && memcmp(text, IH_TOKEN_PREFIX, 5) == 0 &&
        strspn(text + 5, "0123456789abcdef") == 16) {
        number = strtoull(text + 5, NULL, 16);
        shared = ih_shared_store_find(number);
    }
    if (shared)
        return ih_store_make(type, shared, false);
    PyObject *module = PyType_GetModuleByDef(type, &ih_module_def);
    if (module)
        PyErr_Format(
            ih_state_of(module)->errors[IH_ERR_CLOSED],
            "attach(%.100R): no store with this token is open in this process; tokens come from "
            "store.token of the same process",
            token);
    return NULL;
}

static PyObject *store_token(PyObject *self, void *Py_UNUSED(closure))
{
    char text[IH_TOKEN_TEXT + 1];
    PyOS_snprintf(text, sizeof text, IH_TOKEN_PREFIX "%016llx",
                  (unsigned long long)self_of(self)->shared->token);
    return PyUnicode_FromString(text);
}

static void close_object(ih_store_object *self)
{
    if (__atomic_exchange_n(&self->closed, 1, __ATOMIC_ACQ_REL))
        return;
    if (self->owner)
        ih_shared_store_close(self->shared);
    ih_shared_store_leave(self->shared);
}

static PyObject *store_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Py_BEGIN_ALLOW_THREADS
    close_object(self_of(self));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static void store_dealloc(PyObject *object)
{
    ih_store_object *self = self_of(object);
    PyTypeObject *type = Py_TYPE(object);
    if (self->weak_references)
        PyObject_ClearWeakRefs(object);
    bool kept = self->shared && self->shared->socket &&
                !__atomic_load_n(&self->closed, __ATOMIC_ACQUIRE) &&
                ih_shared_store_linger(self->shared);
    if (self->shared && !kept)
        ih_shared_store_release(self->shared);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *store_enter(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return ih_store_alive(self_of(self), "enter") < 0 ? NULL : Py_NewRef(self);
}

static PyObject *store_exit(PyObject *self, PyObject *Py_UNUSED(args))
{
    return store_close(self, NULL);
}

static PyObject *store_reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const ih_store_object *store = self_of(self);
    if (store->shared->socket) {
        PyObject *connect = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "connect");
        PyObject *socket = PyUnicode_DecodeFSDefault(store->shared->socket);
        if (connect && socket)
            return Py_BuildValue("N(N)", connect, socket);
        Py_XDECREF(connect);
        Py_XDECREF(socket);
        return NULL;
    }
    return PyErr_Format(PyExc_TypeError,
                        "an embedded Store can't be pickled; send handles, or store.token to an "
                        "interpreter of this "
                        "process, or let both sides use the daemon's store: icehouse.connect()");
}

static PyObject *store_repr(PyObject *self)
{
    const ih_store_object *store = self_of(self);
    const char *socket = store->shared->socket;
    if (socket)
        return PyUnicode_FromFormat("<%s connected to %s%s>", Py_TYPE(self)->tp_name, socket,
                                    ih_store_is_closed(store) ? ", closed" : "");
    return PyUnicode_FromFormat("<%s of %llu bytes%s>", Py_TYPE(self)->tp_name,
                                (unsigned long long)store->shared->capacity,
                                ih_store_is_closed(store) ? ", closed" : "");
}

static PyObject *store_closed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(ih_store_is_closed(self_of(self)));
}

static PyObject *store_capacity(PyObject *object, void *Py_UNUSED(closure))
{
    ih_store_object *self = self_of(object);
    if (!self->shared->socket)
        return PyLong_FromUnsignedLongLong(self->shared->capacity);
    ih_usage usage = {0};
    ih_error error = {0};
    ih_result result;
    if (ih_store_alive(self, "capacity") < 0)
        return NULL;
    IH_MAY_WAIT(result, ih_store_usage(self->shared->store, &usage, &error));
    if (result != IH_OK)
        return ih_store_raise(self, &error, NULL);
    return PyLong_FromUnsignedLongLong(usage.capacity);
}

/* ---- methods -------------------------------------------------------------------------------- */

PyDoc_STRVAR(
    put_doc,
    "put($self, object, /, *, name=None, ttl=None, pin=False, evictable=False, seal=False)\n--\n\n"
    "Freezes an object into this store and returns its Handle. It stays until it is deleted.\n\n"
    "A view of another store is copied as bytes; the view of a whole image of this store is not "
    "copied:\n"
    "its own handle is returned. `name` is bound to it; `seal` gives it a segment of its own that "
    "nobody\n"
    "at all can write. In a connected store only: `ttl` (seconds, or a timedelta) is how long it "
    "lives;\n"
    "`pin` keeps it when its producer has ended; `evictable` lets it go when memory is short. "
    "There "
    "name,\n"
    "ttl, pin and seal take a round trip to the daemon, and a put without them takes none. "
    "NotFreezableError,\n"
    "StoreFull (the store stays usable), StoreClosed, NotPermitted; StoreUnavailable without a "
    "daemon to\n"
    "ask, and for what inherited an embedded store by fork; ValueError for a bad name or ttl. One "
    "copy:\n"
    "O(size of the object graph).");
PyDoc_STRVAR(
    store_freeze_doc,
    "freeze($self, object, /)\n--\n\n"
    "A frozen snapshot in this store, without a name: it goes with the view, unless it is put.\n\n"
    "put(view) then copies nothing. Errors and cost are those of put().");
PyDoc_STRVAR(
    get_doc,
    "get($self, ref, default=<unset>, /, *, type=None, native=False, allow_classes=None, "
    "trust=False)\n--\n\n"
    "The root of an image, by Handle, by a handle's text, or by a name that is bound in this "
    "store.\n\n"
    "Handles of other stores of this process open too.\n\n" IH_GET_OPTIONS_DOC
    "UnknownName or HandleGone, unless a default "
    "is\n"
    "given; StoreClosed; CorruptImage. O(1), whatever the image's size: nothing is read yet.");
PyDoc_STRVAR(delete_doc,
             "delete($self, /, *refs, force=False)\n--\n\n"
             "Deletes images, each by Handle, text, name or root view: new gets fail, views that "
             "exist stay readable\n"
             "and keep the memory until the last of them goes. Of several it deletes all that it "
             "can, then raises the\n"
             "first failure: much faster than one by one in a connected store, where each call is "
             "a message.\n\n"
             "Conflict while names are bound to one (but for the one given), unless `force`, which "
             "unbinds them;\n"
             "HandleGone, UnknownName. O(1) for each.");
PyDoc_STRVAR(bind_doc, "bind($self, name, ref, /, *, expected=None)\n--\n\n"
                       "Binds a name to an image (a Handle, its text, another name, a root view), "
                       "or unbinds it (None).\n"
                       "Returns the name's new version.\n\n"
                       "With `expected`, the version that was seen (0: not bound), it is a "
                       "compare-and-swap: Conflict if the\n"
                       "version is another one by now. UnknownName, HandleGone, ValueError. O(1).");
PyDoc_STRVAR(stat_doc,
             "stat($self, ref, /)\n--\n\n"
             "What is known of an image: handle, size, type, state, names, leases, created and "
             "more (see Stat).\n\n"
             "HandleGone, UnknownName. O(1); O(names of the store) if names are bound to it.");
PyDoc_STRVAR(ls_doc,
             "ls($self, /)\n--\n\n"
             "The Stat of every image in the store, deleted ones that are still read included.\n\n"
             "A snapshot. O(images + names).");
PyDoc_STRVAR(names_doc,
             "names($self, prefix='', /)\n--\n\n"
             "A dict of the names that begin with `prefix` and their handles. O(names).");
PyDoc_STRVAR(lookup_doc,
             "lookup($self, name, /)\n--\n\n"
             "What a name is bound to: (Handle, version), for bind(..., expected=version).\n\n"
             "UnknownName. O(1).");
PyDoc_STRVAR(version_doc, "version($self, name, /)\n--\n\n"
                          "The version of a name's binding: 0 if it is not bound. O(1).");
PyDoc_STRVAR(usage_doc, "usage($self, /)\n--\n\n"
                        "How full the store is, in bytes and counts (see Usage). O(segments).");
PyDoc_STRVAR(
    check_doc,
    "check($self, /)\n--\n\n"
    "Checks every invariant of the store's memory. CorruptImage names the first violation.\n\n"
    "Reads all block headers: O(blocks). Other threads run meanwhile.");
PyDoc_STRVAR(
    trim_doc,
    "trim($self, /)\n--\n\n"
    "Frees what is deleted and no longer read, and gives spare memory back to the system.\n"
    "\nO(segments + deleted images). Other threads run meanwhile.");
PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Closes the store for all interpreters of the process; closing again does nothing.\n\n"
             "Views stay readable and keep their memory; everything else goes. An attached Store "
             "only lets go, and\n"
             "so does a connected one: the process's last one ends the connection, and what was "
             "put stays.");
PyDoc_STRVAR(attach_doc,
             "attach(token, /)\n--\n\n"
             "The Store whose `token` this is, in another interpreter of the same process.\n\n"
             "It has all methods; its close() lets go of it and leaves the store open. StoreClosed "
             "if no such\n"
             "store is open in this process. O(1).");

PyDoc_STRVAR(connect_doc,
             "connect(socket, /)\n--\n\n"
             "The store of the daemon that listens on this socket: see icehouse.connect().\n\n"
             "All Store objects of the process share one connection, which the last close() ends. "
             "StoreUnavailable,\n"
             "NotPermitted, ProtocolError. One round trip, none if it is connected already.");
PyDoc_STRVAR(explain_doc,
             "explain($self, ref, /)\n--\n\n"
             "Why an image is alive, or how it went: sentences, one a line.\n\n"
             "UnknownName. O(names of the store); a round trip if the store is connected.");
PyDoc_STRVAR(pin_doc,
             "pin($self, ref, /)\n--\n\n"
             "Keeps an image of a connected store although its producer has ended; delete() "
             "still deletes it.\n\n"
             "HandleGone, UnknownName, NotPermitted; StoreUnavailable if the store is "
             "embedded. A round trip.");
PyDoc_STRVAR(unpin_doc, "unpin($self, ref, /)\n--\n\n"
                        "Takes back pin(). Errors and cost are the same; without a pin it does "
                        "nothing.");
PyDoc_STRVAR(expire_doc,
             "expire($self, ref, ttl, /)\n--\n\n"
             "Has an image of a connected store deleted in `ttl` seconds (or a "
             "timedelta) from now; None: never.\n\n"
             "ValueError, HandleGone, UnknownName, NotPermitted; StoreUnavailable if the "
             "store is embedded.\n"
             "A round trip.");

#define FAST(function) (PyCFunction)(void *) function, METH_FASTCALL | METH_KEYWORDS

static PyMethodDef store_methods[] = {
    {"put", FAST(ih_store_put_method), put_doc},
    {"freeze", ih_store_freeze_method, METH_O, store_freeze_doc},
    {"get", FAST(ih_store_get_method), get_doc},
    {"delete", FAST(ih_store_delete_method), delete_doc},
    {"bind", FAST(ih_store_bind_method), bind_doc},
    {"stat", ih_store_stat_method, METH_O, stat_doc},
    {"ls", ih_store_ls_method, METH_NOARGS, ls_doc},
    {"names", (PyCFunction)(void *)ih_store_names_method, METH_FASTCALL, names_doc},
    {"lookup", ih_store_lookup_method, METH_O, lookup_doc},
    {"version", ih_store_version_method, METH_O, version_doc},
    {"usage", ih_store_usage_method, METH_NOARGS, usage_doc},
    {"check", ih_store_check_method, METH_NOARGS, check_doc},
    {"trim", ih_store_trim_method, METH_NOARGS, trim_doc},
    {"close", store_close, METH_NOARGS, close_doc},
    {"attach", (PyCFunction)(void *)store_attach, METH_O | METH_CLASS, attach_doc},
    {"connect", (PyCFunction)(void *)ih_store_connect_method, METH_O | METH_CLASS, connect_doc},
    {"explain", ih_store_explain_method, METH_O, explain_doc},
    {"pin", ih_store_pin_method, METH_O, pin_doc},
    {"unpin", ih_store_unpin_method, METH_O, unpin_doc},
    {"expire", (PyCFunction)(void *)ih_store_expire_method, METH_FASTCALL, expire_doc},
    {"_build", ih_store_build_method, METH_VARARGS,
     "_build(shape, format, itemsize, order, evictable, /): memory of an array in the store. For "
     "create()."},
    {"_cell_get", ih_store_cell_get, METH_O,
     "_cell_get(id, /): what a cell holds, or None. For store/declarations/fields.py."},
    {"_cell_look", ih_store_cell_look, METH_O,
     "_cell_look(id, /): the same, and the version of it."},
    {"_cell_set", (PyCFunction)(void *)ih_store_cell_set, METH_FASTCALL,
     "_cell_set(id, value, expected, /): its new version, or None: it had another one."},
    {"_wait", (PyCFunction)(void *)ih_store_wait_method, METH_FASTCALL,
     "_wait(name, version, timeout, /): (Handle or None, version) once the version is another one "
     "(None: at once); None when the time has passed. For watch()."},
    {"__enter__", store_enter, METH_NOARGS, "The store itself."},
    {"__exit__", store_exit, METH_VARARGS, "Closes the store."},
    {"__reduce__", store_reduce, METH_NOARGS,
     "A connected store pickles as its socket; an embedded one refuses."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef store_getset[] = {
    {"closed", store_closed, NULL, "True once the store, or this object's hold on it, was closed.",
     NULL},
    {"capacity", store_capacity, NULL, "The bytes of memory that the store may take.", NULL},
    {"remote", ih_store_remote_getter, NULL,
     "How a connected store is reached (a Remote); None of an embedded one.", NULL},
    {"token", store_token, NULL, "A text that stands for the store in this process: see attach().",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef store_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ih_store_object, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot store_slots[] = {
    {Py_tp_new, (void *)store_new},
    {Py_tp_dealloc, (void *)store_dealloc},
    {Py_tp_repr, (void *)store_repr},
    {Py_tp_methods, store_methods},
    {Py_tp_getset, store_getset},
    {Py_tp_members, store_members},
    {Py_tp_doc,
     "Store(capacity=None, *, segment_size=None)\n--\n\n"
     "A store embedded in this process: for its interpreters and, to read, for its forked "
     "children.\n\n"
     "Sizes are bytes or texts such as '64MiB'. The capacity is by default half of the cgroup's "
     "or\n"
     "machine's memory, and is taken piece by piece as it is needed; segment_size must be a power "
     "of two.\n"
     "Also a context manager, which closes it. TypeError or ValueError for a bad size, StoreFull "
     "or\n"
     "StoreUnavailable if the system refuses. All methods may be called from any thread."},
    {0, NULL},
};

static PyType_Spec store_spec = {
    .name = "icehouse.Store",
    .basicsize = sizeof(ih_store_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = store_slots,
};

int ih_init_store(PyObject *module, ih_state *state)
{
    state->store_type = ih_add_type(module, &store_spec, NULL, true);
    if (!state->store_type || ih_init_store_remote(module, state) < 0 ||
        ih_init_build(module, state) < 0)
        return -1;
    return ih_init_store_look(module, state);
}
