/* The exceptions of the package, and the one table from results of the arena to exceptions.
 *
 * A message says what was attempted, why it failed with the figures, and what to do; figures are
 * attributes too. */
#include "module/errors.h"

#include <errno.h>

#include "arena/wire.h"

typedef struct {
    const char *name;
    const char *doc;
} error_spec;

static const error_spec specs[IH_ERRORS] = {
    [IH_ERR_BASE] = {"icehouse.IcehouseError",
                     "The base of every exception that icehouse defines."},
    [IH_ERR_NOT_FREEZABLE] =
        {"icehouse.NotFreezableError",
         "An object, or one that it reaches, can't be frozen. The message has the path to it.\n\n"
         "Nothing was frozen. Leave the object out, or replace it by data."},
    [IH_ERR_FROZEN] =
        {"icehouse.FrozenError",
         "A write to something frozen was refused. thaw() makes a mutable copy.\n\n"
         "It is a TypeError and an AttributeError, as both are what code that writes expects."},
    [IH_ERR_GONE] =
        {"icehouse.HandleGone",
         "A handle names nothing that lives: deleted, its store closed, or freed with its last "
         "view.\n\n"
         "Put the object again, or get it by its name. The attribute reason tells what happened, "
         "as far\n"
         "as it is known: 'deleted', 'expired', 'evicted', 'orphaned', 'store' (closed or lost), "
         "'unknown'."},
    [IH_ERR_UNKNOWN_NAME] =
        {"icehouse.UnknownName",
         "Nothing is bound to a name. Bind it with put(x, name=...) or bind(name, handle)."},
    [IH_ERR_FULL] =
        {"icehouse.StoreFull",
         "There is no memory for an image: the store's capacity or the machine's is reached.\n\n"
         "The store stays usable. Attributes in bytes: wanted, capacity, used, committed, "
         "largest_free,\n"
         "limit (what the cgroup or machine leaves, where that was the obstacle, else 0), waiting "
         "(free,\n"
         "but in segments of other processes, of which waiting_pid has most; a connected "
         "store's)."},
    [IH_ERR_CORRUPT] =
        {"icehouse.CorruptImage",
         "Bytes of an image or segment are not what they must be.\n\n"
         "Attributes: offset (in bytes from the image's start, or None) and reason."},
    [IH_ERR_UNAVAILABLE] =
        {"icehouse.StoreUnavailable",
         "The store can't do this here: the system refused, this process inherited the store by\n"
         "fork and may only read, the operation needs the daemon (icehouse.connect()), or the "
         "daemon\n"
         "can't be reached. The attribute socket is the one that was tried, else None."},
    [IH_ERR_PROTOCOL] = {"icehouse.ProtocolError",
                         "The other side of a connection sent what the protocol does not allow."},
    [IH_ERR_CLOSED] = {"icehouse.StoreClosed",
                       "The store was closed before. Views made earlier stay readable."},
    [IH_ERR_CONFLICT] =
        {"icehouse.Conflict",
         "A compare-and-swap of a name lost, or an image can't be deleted while names are bound to "
         "it."
         "\n\nThe attribute version is the one found (None for a delete). Read again and retry."},
    [IH_ERR_NOT_PERMITTED] =
        {"icehouse.NotPermitted",
         "The daemon's configuration does not give this user the role that the call needs.\n\n"
         "Readers open, look and watch; producers put, bind and delete too."},
};

/* The standard exceptions that each is too. The base has none of its own. */
static void standard_bases(int index, PyObject **first, PyObject **second)
{
    *first = *second = NULL;
    switch (index) {
    case IH_ERR_NOT_FREEZABLE:
        *first = PyExc_TypeError;
        break;
    case IH_ERR_FROZEN:
        *first = PyExc_TypeError;
        *second = PyExc_AttributeError;
        break;
    case IH_ERR_GONE:
        *first = PyExc_LookupError;
        break;
    case IH_ERR_UNKNOWN_NAME:
        *first = PyExc_KeyError;
        break;
    case IH_ERR_FULL:
        *first = PyExc_MemoryError;
        break;
    case IH_ERR_CORRUPT:
    case IH_ERR_CLOSED:
        *first = PyExc_ValueError;
        break;
    case IH_ERR_UNAVAILABLE:
        *first = PyExc_ConnectionError;
        break;
    case IH_ERR_NOT_PERMITTED:
        *first = PyExc_PermissionError;
        break;
    default:
        break;
    }
}

/* Attributes that an exception of a class has whoever raised it. 0 or -1. */
static int default_attributes(int index, PyObject *attributes)
{
    if (index == IH_ERR_UNAVAILABLE)
        return PyDict_SetItemString(attributes, "socket", Py_None);
    if (index != IH_ERR_GONE)
        return 0;
    PyObject *reason = PyUnicode_InternFromString("unknown");
    int result = reason ? PyDict_SetItemString(attributes, "reason", reason) : -1;
    Py_XDECREF(reason);
    return result;
}

static PyObject *make_error(ih_state *state, int index)
{
    PyObject *first, *second, *bases, *made = NULL;
    standard_bases(index, &first, &second);
    PyObject *attributes = PyDict_New();
    if (!attributes)
        return NULL;
    if (index == IH_ERR_BASE) {
        bases = PyTuple_Pack(1, PyExc_Exception);
    } else if (second) {
        bases = PyTuple_Pack(3, state->errors[IH_ERR_BASE], first, second);
    } else if (first) {
        bases = PyTuple_Pack(2, state->errors[IH_ERR_BASE], first);
    } else {
        bases = PyTuple_Pack(1, state->errors[IH_ERR_BASE]);
    }
    if (bases && default_attributes(index, attributes) < 0)
        Py_CLEAR(bases);
    if (bases && index == IH_ERR_UNKNOWN_NAME) {
        /* KeyError shows the repr of its argument, which makes a sentence unreadable. */
        PyObject *text = PyObject_GetAttrString(PyExc_Exception, "__str__");
        if (!text || PyDict_SetItemString(attributes, "__str__", text) < 0)
            Py_CLEAR(bases);
        Py_XDECREF(text);
    }
    if (bases)
        made = PyErr_NewExceptionWithDoc(specs[index].name, specs[index].doc, bases, attributes);
    Py_XDECREF(bases);
    Py_DECREF(attributes);
    return made;
}

int ih_init_errors(PyObject *module, ih_state *state)
{
    for (int i = 0; i < IH_ERRORS; i++) {
        state->errors[i] = make_error(state, i);
        if (!state->errors[i])
            return -1;
        const char *name = strrchr(specs[i].name, '.') + 1;
        if (PyModule_AddObjectRef(module, name, state->errors[i]) < 0)
            return -1;
    }
    return 0;
}

/* ---- raising -------------------------------------------------------------------------------- */

/* Sets an attribute of an exception; takes over `value`, which may be NULL after a failure. */
static int give(PyObject *exception, const char *name, PyObject *value)
{
    if (!value)
        return -1;
    int result = PyObject_SetAttrString(exception, name, value);
    Py_DECREF(value);
    return result;
}

/* Raises `exception` and gives up the reference. */
static PyObject *raise_made(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return NULL;
}

PyObject *ih_raise_fault(ih_state *state, const ih_fault *fault)
{
    PyObject *reason = PyUnicode_FromString(fault->reason);
    if (reason) {
        ih_raise_corrupt(state, fault->offset, reason, NULL);
        Py_DECREF(reason);
    }
    return NULL;
}

PyObject *ih_raise_corrupt(ih_state *state, uint64_t offset, PyObject *reason, PyObject *cause)
{
    PyObject *text =
        PyUnicode_FromFormat("corrupt image: %U at offset %llu; take the object from its source "
                             "again",
                             reason, (unsigned long long)offset);
    if (!text)
        return NULL;
    PyObject *exception = PyObject_CallOneArg(state->errors[IH_ERR_CORRUPT], text);
    Py_DECREF(text);
    if (!exception)
        return NULL;
    if (give(exception, "offset", PyLong_FromUnsignedLongLong(offset)) < 0 ||
        give(exception, "reason", Py_NewRef(reason)) < 0) {
        Py_DECREF(exception);
        return NULL;
    }
    if (cause)
        PyException_SetCause(exception, Py_NewRef(cause));
    return raise_made(exception);
}

PyObject *ih_raise_frozen(ih_state *state, PyTypeObject *type, const char *operation)
{
    const char *dot = strrchr(type->tp_name, '.');
    return PyErr_Format(state->errors[IH_ERR_FROZEN],
                        "%s is immutable: %s is refused; icehouse.thaw(view) makes a mutable copy",
                        dot ? dot + 1 : type->tp_name, operation);
}

/* "12.3 MiB", for messages: figures are read by people, the exact ones are attributes. */
static const char *human(uint64_t bytes, char out[24])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t whole = bytes, tenths = 0;
    while (whole >= 1024 && unit + 1 < Py_ARRAY_LENGTH(units)) {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit++;
    }
    if (unit == 0) {
        PyOS_snprintf(out, 24, "%u bytes", (unsigned)whole);
    } else {
        PyOS_snprintf(out, 24, "%u.%u %s", (unsigned)whole, (unsigned)tenths, units[unit]);
    }
    return out;
}

static PyObject *text_of_full(const ih_error *error)
{
    char wanted[24], capacity[24], used[24], largest[24], waiting[24];
    if (error->waiting)
        return PyUnicode_FromFormat(
            "%s: %s wanted, and the store of %s has %s in use; another %s is free, but in segments "
            "of other processes, most of it of process %u: they use it or give it back at their "
            "next put, or by store.trim(); or delete more",
            error->what, human(error->wanted, wanted), human(error->capacity, capacity),
            human(error->used, used), human(error->waiting, waiting), (unsigned)error->waiting_pid);
    return PyUnicode_FromFormat(
        "%s: %s wanted, and the store of %s has %s in use (longest free run %s); delete what is "
        "not needed, drop its views, or give it more: Store(capacity=...), icehouse serve "
        "--capacity ...",
        error->what, human(error->wanted, wanted), human(error->capacity, capacity),
        human(error->used, used), human(error->largest_free, largest));
}

static PyObject *text_of_memory(const ih_error *error)
{
    char wanted[24], limit[24];
    if (error->limit == 0 && error->wanted == 0)
        return PyUnicode_FromFormat(
            "%s: the machine has no memory for it; free some, or raise the limit of this process "
            "(ulimit -v)",
            error->what);
    if (error->limit == 0)
        return PyUnicode_FromFormat(
            "%s: the machine has no memory for %s; free some, or raise the limit of this process",
            error->what, human(error->wanted, wanted));
    return PyUnicode_FromFormat(
        "%s: %s wanted, more than is left under the limit of the cgroup or machine, %s; raise "
        "that limit, or delete what is not needed",
        error->what, human(error->wanted, wanted), human(error->limit, limit));
}

static const struct {
    ih_error_class index; /* IH_ERRORS: a plain ValueError */
    const char *reason;   /* with what to do; NULL: made by a function above */
} results[] = {
    [IH_FULL] = {IH_ERR_FULL, NULL},
    [IH_MEMORY] = {IH_ERR_FULL, NULL},
    [IH_SYSTEM] = {IH_ERR_UNAVAILABLE, NULL},
    [IH_GONE] = {IH_ERR_GONE,
                 "it names nothing that lives here: it was deleted, its store was closed, "
                 "its last view went, or it was put by another process or after this "
                 "one was forked, or in a daemon's store that this process did not "
                 "icehouse.connect() to; "
                 "put the object again, or get it by its name"},
    [IH_UNKNOWN] = {IH_ERR_UNKNOWN_NAME,
                    "nothing is bound to this name; bind it with put(x, name=...) or "
                    "bind(name, handle), or give get() a default"},
    [IH_CONFLICT] = {IH_ERR_CONFLICT, NULL},
    [IH_CORRUPT] = {IH_ERR_CORRUPT,
                    "bytes in shared memory are not what they must be; store.check() says more"},
    [IH_INVALID] = {IH_ERRORS, "invalid argument"},
    [IH_CLOSED] = {IH_ERR_CLOSED,
                   "the store is closed; open another Store(). Views made before stay readable"},
    [IH_FORKED] = {IH_ERR_UNAVAILABLE,
                   "this process inherited the store by fork and may only read it; to write from "
                   "several processes use the daemon's store: icehouse.connect()"},
    [IH_UNAVAILABLE] = {IH_ERR_UNAVAILABLE,
                        "the daemon can't be reached; start it with `icehouse serve`, then "
                        "icehouse.connect() again"},
    [IH_DENIED] = {IH_ERR_NOT_PERMITTED,
                   "the daemon does not allow this to this user; whoever runs it gives roles "
                   "(reader, producer, admin) in its configuration"},
    [IH_PROTOCOL] = {IH_ERR_PROTOCOL,
                     "the other side of the connection sent what the protocol does not allow; are "
                     "both of one version of icehouse?"},
    [IH_AGAIN] = {IH_ERRORS, "it would have to ask the daemon, and this call may not wait"},
};

/* What became of an image, by IH_WHY_*: the attribute, and the sentence. */
static const struct {
    const char *reason, *text;
} gone[] = {
    [IH_WHY_UNKNOWN] = {"unknown", NULL},
    [IH_WHY_DELETED] = {"deleted", "it was deleted; put the object again, or get it by its name"},
    [IH_WHY_EXPIRED] = {"expired",
                        "it expired: its time to live (ttl) passed; put the object again"},
    [IH_WHY_EVICTED] = {"evicted",
                        "it was evicted for want of memory, as evictable=True allows; make it "
                        "again"},
    [IH_WHY_ORPHANED] =
        {"orphaned", "it was orphaned: its producer ended, and nothing named, pinned or read it "
                     "for the daemon's orphan_ttl; name or pin what shall outlive its "
                     "producer"},
    [IH_WHY_STORE] = {"store", "its store was closed, or its daemon is another one by now; connect "
                               "again and put the object again"},
};

static uint32_t why_of(const ih_error *error)
{
    return error->why < Py_ARRAY_LENGTH(gone) ? error->why : IH_WHY_UNKNOWN;
}

/* Why no daemon was reached, by what the system said to it; the socket follows. */
static const char *reason_of_unavailable(const ih_error *error)
{
    switch (error->system_errno) {
    case ENOENT:
    case ECONNREFUSED:
    case ENOTDIR:
        return "no daemon listens there; start it with `icehouse serve`, then icehouse.connect() "
               "again, or name the socket of one that runs: ICEHOUSE_SOCKET, "
               "icehouse.connect(socket)";
    case ECONNABORTED:
        return "the daemon ended there before it served: it was stopped, or could not start, and "
               "then its log says why";
    case ETIMEDOUT:
        return "the daemon did not answer in time: is it stopped, or the machine overloaded? Its "
               "log may say why; what is open stays readable, and the next call asks it again";
    case ESTALE:
        return "the daemon there has another store by now, without what was in this one, or the "
               "descriptor of this process's leases was closed; icehouse.connect() again";
    case EACCES:
    case EPERM:
        return "this user may not connect there; whoever runs the daemon gives roles (reader, "
               "producer, admin) in its configuration";
    default:
        return results[IH_UNAVAILABLE].reason;
    }
}

static const char *reason_of(const ih_error *error)
{
    if (error->result == IH_UNAVAILABLE)
        return reason_of_unavailable(error);
    if (error->result == IH_SYSTEM)
        return "the system refused";
    if (error->result == IH_CONFLICT && error->tries)
        return "others bind it anew faster than it can be opened; try again";
    if (error->result == IH_CONFLICT)
        return "names are bound to it; unbind them, or pass force=True";
    if (error->result == IH_GONE && gone[why_of(error)].text)
        return gone[why_of(error)].text;
    return results[error->result].reason;
}

static PyObject *text_of(const ih_error *error, PyObject *subject)
{
    const char *what = error->what ? error->what : "operation";
    /* The daemon is not called as what is asked of it. */
    if (error->result == IH_UNAVAILABLE && strncmp(what, "connect to the daemon", 21) == 0)
        subject = NULL;
    if (error->result == IH_FULL)
        return text_of_full(error);
    if (error->result == IH_MEMORY)
        return text_of_memory(error);
    const char *reason = reason_of(error);
    char detail[sizeof error->detail + 4] = "";
    if (error->detail[0])
        PyOS_snprintf(detail, sizeof detail, " (%.*s)", (int)sizeof error->detail, error->detail);
    if (subject)
        return PyUnicode_FromFormat("%s %R: %s%s", what, subject, reason, detail);
    return PyUnicode_FromFormat("%s: %s%s", what, reason, detail);
}

static int give_room(PyObject *exception, const ih_error *error)
{
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"wanted", error->wanted},
        {"capacity", error->capacity},
        {"used", error->used},
        {"committed", error->committed},
        {"largest_free", error->largest_free},
        {"limit", error->result == IH_MEMORY ? error->limit : 0},
        {"waiting", error->waiting},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(figures); i++) {
        if (give(exception, figures[i].name, PyLong_FromUnsignedLongLong(figures[i].value)) < 0)
            return -1;
    }
    return give(exception, "waiting_pid",
                error->waiting_pid ? PyLong_FromUnsignedLong(error->waiting_pid)
                                   : Py_NewRef(Py_None));
}

/* `socket`: of the store concerned; NULL where that is not known. */
static int give_figures(PyObject *exception, const ih_error *error, const char *socket)
{
    switch (error->result) {
    case IH_FULL:
    case IH_MEMORY:
        return give_room(exception, error);
    case IH_GONE:
        return give(exception, "reason", PyUnicode_InternFromString(gone[why_of(error)].reason));
    case IH_UNAVAILABLE:
        if (!socket && error->detail[0] == '/')
            socket = error->detail;
        return socket ? give(exception, "socket", PyUnicode_DecodeFSDefault(socket)) : 0;
    case IH_CONFLICT:
        return give(exception, "version", Py_NewRef(Py_None));
    case IH_CORRUPT:
        if (give(exception, "offset", Py_NewRef(Py_None)) < 0)
            return -1;
        return give(exception, "reason",
                    PyUnicode_FromString(error->what ? error->what : "damaged"));
    default:
        return 0;
    }
}

PyObject *ih_raise_at(ih_state *state, const ih_error *error, PyObject *subject, const char *socket)
{
    if (error->result <= IH_OK || (size_t)error->result >= Py_ARRAY_LENGTH(results))
        return PyErr_Format(PyExc_SystemError, "icehouse: unknown result %d of the arena",
                            (int)error->result);
    ih_error_class index = results[error->result].index;
    PyObject *type = error->result == IH_AGAIN ? PyExc_BlockingIOError
                     : index == IH_ERRORS      ? PyExc_ValueError
                                               : state->errors[index];
    PyObject *text = text_of(error, subject), *exception = NULL;
    if (!text)
        return NULL;
    if (error->result == IH_SYSTEM) {
        exception = PyObject_CallFunction(type, "iO", error->system_errno, text);
    } else if (error->result == IH_AGAIN) {
        exception = PyObject_CallFunction(type, "iO", EAGAIN, text);
    } else {
        exception = PyObject_CallOneArg(type, text);
    }
    Py_DECREF(text);
    if (!exception)
        return NULL;
    if (give_figures(exception, error, socket) < 0) {
        Py_DECREF(exception);
        return NULL;
    }
    return raise_made(exception);
}

PyObject *ih_raise_lost(ih_state *state, PyObject *name, uint64_t found, uint64_t expected)
{
    PyObject *text =
        PyUnicode_FromFormat("bind %R: its version is %llu, not %llu as expected; look it "
                             "up again and retry",
                             name, (unsigned long long)found, (unsigned long long)expected);
    if (!text)
        return NULL;
    PyObject *exception = PyObject_CallOneArg(state->errors[IH_ERR_CONFLICT], text);
    Py_DECREF(text);
    if (!exception)
        return NULL;
    if (give(exception, "version", PyLong_FromUnsignedLongLong(found)) < 0) {
        Py_DECREF(exception);
        return NULL;
    }
    return raise_made(exception);
}

PyObject *ih_raise_about(ih_state *state, const ih_error *error, PyObject *subject)
{
    return ih_raise_at(state, error, subject, NULL);
}

PyObject *ih_raise_arena(ih_state *state, const ih_error *error)
{
    return ih_raise_about(state, error, NULL);
}
