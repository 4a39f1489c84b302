/* Store: what is there for the daemon's store: connecting, times to live, pins, explaining; and
 * waiting for a name, which embedded stores have too. */
#include <errno.h>
#include <math.h>
#include <time.h>

#include "arena/wire.h"
#include "module/errors.h"
#include "module/handle.h"
#include "module/store.h"

static ih_store_object *self_of(PyObject *self) { return (ih_store_object *)self; }

/* ---- connecting ----------------------------------------------------------------------------- */

static PyStructSequence_Field remote_fields[] = {
    {"socket", "path of the daemon's socket"},
    {"identity", "32 hexadecimal digits: the same in all clients of one store"},
    {"role", "'reader', 'producer' or 'admin': what the daemon allows this user"},
    {"session", "number of this process's session at the daemon; 0 while it has none"},
    {"connected", "False from a lost connection to the next call that needs one"},
    {NULL, NULL},
};
static PyStructSequence_Desc remote_desc = {
    "icehouse.store.embedded.Remote",
    "How a connected store is reached.",
    remote_fields,
    5,
};

int ih_init_store_remote(PyObject *module, ih_state *state)
{
    state->remote_type = PyStructSequence_NewType(&remote_desc);
    state->scope = PyContextVar_New("icehouse.scope", Py_None);
    if (!state->remote_type || !state->scope ||
        PyModule_AddObjectRef(module, "Remote", (PyObject *)state->remote_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "_scope", state->scope);
}

PyObject *ih_store_raise(const ih_store_object *self, ih_error *error, PyObject *subject)
{
    if (error->result == IH_UNAVAILABLE && self->shared->socket && !error->detail[0])
        PyOS_snprintf(error->detail, sizeof error->detail, "%s", self->shared->socket);
    return ih_raise_at(self->state, error, subject, self->shared->socket);
}

PyObject *ih_store_connect_method(PyObject *type, PyObject *socket)
{
    PyObject *path, *module = PyType_GetModuleByDef((PyTypeObject *)type, &ih_module_def);
    ih_shared_store *shared = NULL;
    ih_error error = {0};
    if (!module || !PyUnicode_FSConverter(socket, &path))
        return NULL;
    ih_result result;
    const char *text = PyBytes_AS_STRING(path);
    Py_BEGIN_ALLOW_THREADS
    result = ih_shared_store_connect(text, &shared, &error);
    Py_END_ALLOW_THREADS
    if (result == IH_UNAVAILABLE && !error.detail[0])
        PyOS_snprintf(error.detail, sizeof error.detail, "%s", text);
    if (result != IH_OK)
        ih_raise_at(ih_state_of(module), &error, result == IH_INVALID ? socket : NULL, text);
    Py_DECREF(path);
    return result != IH_OK ? NULL : ih_store_make((PyTypeObject *)type, shared, false);
}

static const char *role_name(uint32_t role)
{
    return role == IH_ROLE_ADMIN ? "admin" : role == IH_ROLE_PRODUCER ? "producer" : "reader";
}

PyObject *ih_store_remote_getter(PyObject *object, void *Py_UNUSED(unused))
{
    const ih_store_object *self = self_of(object);
    ih_remote_info info = {0};
    if (!self->shared->socket)
        Py_RETURN_NONE;
    /* Of a closed store as much as is known. */
    (void)ih_store_remote_info(self->shared->store, &info);
    char identity[33];
    PyOS_snprintf(identity, sizeof identity, "%016llx%016llx", (unsigned long long)info.identity[0],
                  (unsigned long long)info.identity[1]);
    PyObject *values[] = {
        PyUnicode_DecodeFSDefault(self->shared->socket),
        PyUnicode_FromString(identity),
        PyUnicode_InternFromString(role_name(info.role)),
        PyLong_FromUnsignedLongLong(info.session),
        PyBool_FromLong(info.connected && !ih_store_is_closed(self)),
    };
    return ih_fill_sequence(self->state->remote_type, values, Py_ARRAY_LENGTH(values));
}

/* ---- lifetimes ------------------------------------------------------------------------------ */

int ih_store_need_daemon(ih_store_object *self, const char *wanted)
{
    if (self->shared->socket)
        return 0;
    PyErr_Format(self->state->errors[IH_ERR_UNAVAILABLE],
                 "%s needs the daemon's store, icehouse.connect(): an embedded store keeps what "
                 "was put until it is deleted",
                 wanted);
    return -1;
}

/* Seconds of a number or a timedelta; -1.0 with an exception. */
static double take_seconds(PyObject *value, const char *what)
{
    if (PyFloat_Check(value) || PyLong_Check(value))
        return PyFloat_AsDouble(value);
    PyObject *seconds = PyObject_CallMethod(value, "total_seconds", NULL);
    if (seconds) {
        double result = PyFloat_AsDouble(seconds);
        Py_DECREF(seconds);
        return result;
    }
    if (PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Format(PyExc_TypeError, "%s is a number of seconds or a timedelta, not %.100s", what,
                     Py_TYPE(value)->tp_name);
    return -1.0;
}

int ih_take_duration(PyObject *value, const char *what, uint64_t none, uint64_t *out)
{
    *out = none;
    if (!value || value == Py_None)
        return 0;
    double seconds = take_seconds(value, what);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    /* 292 years; also false for NaN. */
    if (!(seconds >= 0.0 && seconds < 9.2e9)) {
        PyErr_Format(PyExc_ValueError, "%s is no time to wait: %R; write seconds, 0 or more", what,
                     value);
        return -1;
    }
    *out = (uint64_t)llround(seconds * 1e9);
    return 0;
}

int ih_store_publish(ih_store_object *self, ih_handle handle, PyObject *name, uint32_t flags,
                     uint64_t ttl_ns, PyObject *subject)
{
    ih_publication publication = {.ttl_ns = ttl_ns, .flags = flags};
    ih_error error = {0};
    ih_result result;
    if (name && !(publication.name = ih_name_text(name, &publication.length)))
        return -1;
    IH_MAY_WAIT(result, ih_publish(self->shared->store, handle, &publication, NULL, &error));
    if (result == IH_OK)
        return 0;
    ih_store_raise(self, &error, subject);
    return -1;
}

static PyObject *change(PyObject *object, PyObject *reference, const char *operation,
                        uint32_t flags, uint64_t ttl_ns)
{
    ih_store_object *self = self_of(object);
    ih_handle handle;
    if (ih_store_alive(self, operation) < 0 || ih_store_need_daemon(self, operation) < 0 ||
        ih_store_resolve(self, reference, &handle) < 0 ||
        ih_store_publish(self, handle, NULL, flags, ttl_ns, reference) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *ih_store_pin_method(PyObject *self, PyObject *reference)
{
    return change(self, reference, "pin", IH_PUBLISH_PIN, 0);
}

PyObject *ih_store_unpin_method(PyObject *self, PyObject *reference)
{
    return change(self, reference, "unpin", IH_PUBLISH_UNPIN, 0);
}

PyObject *ih_store_expire_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    uint64_t ttl_ns;
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "expire() takes a ref and a ttl, not %zd arguments",
                            nargs);
    if (ih_take_duration(args[1], "ttl", 0, &ttl_ns) < 0)
        return NULL;
    if (ttl_ns == 0 && args[1] != Py_None)
        return PyErr_Format(PyExc_ValueError, "ttl must be more than 0 seconds, or None for none; "
                                              "delete() ends a life at once");
    return change(self, args[0], "expire", IH_PUBLISH_TTL, ttl_ns);
}

PyObject *ih_store_explain_method(PyObject *object, PyObject *reference)
{
    ih_store_object *self = self_of(object);
    ih_handle handle;
    ih_error error = {0};
    ih_result result;
    char *text = NULL;
    if (ih_store_alive(self, "explain") < 0 || ih_store_resolve(self, reference, &handle) < 0)
        return NULL;
    IH_MAY_WAIT(result, ih_store_explain(self->shared->store, handle, &text, &error));
    if (result != IH_OK)
        return ih_store_raise(self, &error, reference);
    PyObject *explained = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    free(text);
    return explained;
}

/* ---- waiting for a name --------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

typedef struct {
    const char *name;
    size_t length;
    uint64_t seen, timeout_ns; /* UINT64_MAX: of no version; for ever */
    ih_handle handle;
    uint64_t version;
} wait_request;

/* IH_OK, IH_AGAIN when the time has passed, or IH_INVALID with an exception: a signal's handler
 * raised one, or the wait failed. */
static ih_result wait_patiently(ih_store_object *self, wait_request *wait)
{
    uint64_t start = now_ns(), left = wait->timeout_ns;
    for (;;) {
        ih_error error = {0};
        ih_result result;
        Py_BEGIN_ALLOW_THREADS
        result = ih_store_wait(self->shared->store, wait->name, wait->length, wait->seen, left,
                               &wait->handle, &wait->version, &error);
        Py_END_ALLOW_THREADS
        if (result == IH_OK || result == IH_AGAIN)
            return result;
        if (result != IH_SYSTEM || error.system_errno != EINTR) {
            ih_store_raise(self, &error, NULL);
            return IH_INVALID;
        }
        if (PyErr_CheckSignals() < 0)
            return IH_INVALID;
        uint64_t passed = now_ns() - start;
        if (wait->timeout_ns != UINT64_MAX)
            left = passed < wait->timeout_ns ? wait->timeout_ns - passed : 0;
    }
}

PyObject *ih_store_wait_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    ih_store_object *self = self_of(object);
    wait_request wait = {.seen = UINT64_MAX};
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "_wait() takes a name, a version and a timeout");
    if (!(wait.name = ih_name_text(args[0], &wait.length)) ||
        ih_take_duration(args[2], "timeout", UINT64_MAX, &wait.timeout_ns) < 0)
        return NULL;
    if (args[1] != Py_None) {
        wait.seen = PyLong_AsUnsignedLongLong(args[1]);
        if (wait.seen == UINT64_MAX && PyErr_Occurred())
            return NULL;
    }
    if (ih_store_alive(self, "watch") < 0)
        return NULL;
    ih_result result = wait_patiently(self, &wait);
    if (result == IH_AGAIN)
        Py_RETURN_NONE;
    if (result != IH_OK)
        return NULL;
    PyObject *handle = wait.handle.locator || wait.handle.nonce
                           ? ih_handle_new(self->state, wait.handle)
                           : Py_NewRef(Py_None);
    return handle ? Py_BuildValue("NK", handle, (unsigned long long)wait.version) : NULL;
}
