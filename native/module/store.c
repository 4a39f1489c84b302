/* Store: putting, getting, deleting, binding. The type and its life are in store_type.c. */
#include "module/store.h"

#include "arena/wire.h"
#include "module/arguments.h"
#include "module/declare.h"
#include "module/decode.h"
#include "module/errors.h"
#include "module/freezer.h"
#include "module/handle.h"
#include "module/image_object.h"

static ih_store_object *self_of(PyObject *self) { return (ih_store_object *)self; }

int ih_store_alive(ih_store_object *self, const char *operation)
{
    if (!ih_store_is_closed(self))
        return 0;
    ih_error error = {.result = IH_CLOSED, .what = operation};
    ih_raise_arena(self->state, &error);
    return -1;
}

const char *ih_name_text(PyObject *name, size_t *length)
{
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "a name is a str, not %.100s", Py_TYPE(name)->tp_name);
        return NULL;
    }
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (!text)
        return NULL;
    if (size > 0 && size <= (Py_ssize_t)IH_NAME_MAX && strncmp(text, IH_HANDLE_PREFIX, 4) != 0) {
        *length = (size_t)size;
        return text;
    }
    PyErr_Format(PyExc_ValueError,
                 "not a name: %.100R; one has 1 to %u bytes of UTF-8 and does not begin with "
                 "'" IH_HANDLE_PREFIX "', as handles do",
                 name, IH_NAME_MAX);
    return NULL;
}

/* The handle of a root view of this very store. */
static bool own_root(ih_store_object *self, PyObject *object, ih_handle *out)
{
    if (!ih_is_view(self->state, object))
        return false;
    const ih_image_object *image = ((ih_view *)object)->image;
    if (!image->lease || image->lease->store != self->shared->store || !ih_view_is_root(object))
        return false;
    *out = image->lease->handle;
    return true;
}

int ih_store_resolve(ih_store_object *self, PyObject *reference, ih_handle *out)
{
    int parsed = ih_handle_parse(self->state, reference, out);
    if (parsed != 0)
        return parsed < 0 ? -1 : 0;
    if (own_root(self, reference, out))
        return 0;
    if (!PyUnicode_Check(reference)) {
        PyErr_Format(
            PyExc_TypeError,
            "expected a Handle, its text, a name, or the view of a whole image of this store, "
            "not %.100s",
            Py_TYPE(reference)->tp_name);
        return -1;
    }
    size_t length;
    uint64_t version;
    ih_error error = {0};
    const char *name = ih_name_text(reference, &length);
    if (!name)
        return -1;
    ih_result result;
    IH_MAY_WAIT(result, ih_lookup(self->shared->store, name, length, out, &version, &error));
    if (result == IH_OK)
        return 0;
    ih_store_raise(self, &error, reference);
    return -1;
}

/* ---- put ------------------------------------------------------------------------------------ */

/* What put() was asked for. */
typedef struct {
    PyObject *object, *name; /* name: NULL or a str that is one */
    unsigned flags;          /* IH_PUT_* */
    uint32_t publish;        /* IH_PUBLISH_* */
    uint64_t ttl_ns;
} put_request;

enum { PUT_OBJECT, PUT_NAME, PUT_TTL, PUT_PIN, PUT_EVICTABLE, PUT_SEAL, PUT_COUNT };

/* 1, 0, or -1 with an exception. */
static int is_wanted(PyObject *value) { return value ? PyObject_IsTrue(value) : 0; }

/* Everything is checked before anything is copied. */
static int take_put(ih_store_object *self, PyObject *const given[PUT_COUNT], put_request *put)
{
    size_t length;
    int pin = is_wanted(given[PUT_PIN]), evictable = is_wanted(given[PUT_EVICTABLE]);
    int seal = is_wanted(given[PUT_SEAL]);
    if (pin < 0 || evictable < 0 || seal < 0)
        return -1;
    bool expires = given[PUT_TTL] && given[PUT_TTL] != Py_None;
    if ((expires && ih_store_need_daemon(self, "put(ttl=...)") < 0) ||
        (pin && ih_store_need_daemon(self, "put(pin=...)") < 0) ||
        (evictable && ih_store_need_daemon(self, "put(evictable=...)") < 0) ||
        ih_take_duration(given[PUT_TTL], "ttl", 0, &put->ttl_ns) < 0)
        return -1;
    if (expires && put->ttl_ns == 0) {
        PyErr_SetString(PyExc_ValueError, "ttl must be more than 0 seconds, or None for none");
        return -1;
    }
    put->name = given[PUT_NAME] == Py_None ? NULL : given[PUT_NAME];
    if (put->name && !ih_name_text(put->name, &length))
        return -1;
    put->flags = (seal ? IH_PUT_SEAL : 0) | (evictable ? IH_PUT_EVICTABLE : 0);
    put->publish = (expires ? IH_PUBLISH_TTL : 0) | (pin ? IH_PUBLISH_PIN : 0);
    if (seal && self->shared->socket)
        put->publish |= IH_PUBLISH_SEALED;
    return 0;
}

/* Whether an image of this store can stand for itself: it lives, and is sealed if that is asked
 * for. */
static bool can_reuse(ih_store_object *self, ih_handle handle, unsigned flags)
{
    ih_result result;
    /* What lies among others can't be dropped alone. */
    if (flags & IH_PUT_EVICTABLE)
        return false;
    if (flags & IH_PUT_SEAL) {
        ih_stat stat;
        IH_MAY_WAIT(result, ih_store_stat(self->shared->store, handle, &stat, NULL));
        if (result != IH_OK || !stat.sealed_by_kernel)
            return false;
    }
    ih_lease *lease;
    IH_MAY_WAIT(result, ih_open_in(self->shared->store, handle, &lease, NULL));
    if (result != IH_OK)
        return false;
    ih_lease_release(lease);
    return true;
}

/* Takes back an image that nobody knows yet. The exception that is set stays. */
static void take_back(ih_store_object *self, ih_handle handle)
{
    ih_result result;
    IH_MAY_WAIT(result, ih_delete(self->shared->store, handle, false, NULL));
    (void)result;
}

/* Tells whoever has to know of what was just put: the names, the daemon. 0, or -1 with an
 * exception. */
static int announce(ih_store_object *self, const put_request *put, const ih_handle *handle)
{
    if (!put->name && !put->publish)
        return 0;
    if (self->shared->socket)
        return ih_store_publish(self, *handle, put->name, put->publish, put->ttl_ns, put->name);
    size_t length;
    uint64_t version;
    ih_error error = {0};
    const char *text = ih_name_text(put->name, &length);
    if (text && ih_bind(self->shared->store, text, length, handle, IH_ANY_VERSION, &version,
                        &error) == IH_OK)
        return 0;
    if (text)
        ih_store_raise(self, &error, put->name);
    return -1;
}

/* Tells the innermost scope of this context: see store/scope.py. 0, or -1 with an exception. */
static int note_in_scope(ih_store_object *self, PyObject *handle)
{
    PyObject *scope;
    if (PyContextVar_Get(self->state->scope, NULL, &scope) < 0)
        return -1;
    PyObject *noted = NULL;
    if (scope && scope != Py_None) {
        noted = PyObject_CallMethod(scope, "_note", "OO", (PyObject *)self, handle);
        if (!noted) {
            Py_DECREF(scope);
            return -1;
        }
    }
    Py_XDECREF(noted);
    Py_XDECREF(scope);
    return 0;
}

/* An image of this store that is put as it is stays when its views go. */
static PyObject *put_again(ih_store_object *self, put_request *put, ih_handle handle)
{
    ih_lease *lease = ((ih_view *)put->object)->image->lease;
    bool fleeting = lease->fleeting;
    if (fleeting && self->shared->socket)
        put->publish |= IH_PUBLISH_KEEP;
    put->publish &= ~(uint32_t)IH_PUBLISH_SEALED; /* it is, and the daemon knows */
    if (announce(self, put, &handle) < 0)
        return NULL;
    ih_lease_set_fleeting(lease, false);
    PyObject *result = ih_handle_new(self->state, handle);
    if (result && fleeting && __atomic_load_n(&self->state->scopes, __ATOMIC_RELAXED) &&
        note_in_scope(self, result) < 0)
        Py_CLEAR(result);
    return result;
}

static PyObject *put_fresh(ih_store_object *self, const put_request *put)
{
    ih_handle handle;
    /* Found out before the copy, not after it. */
    if (put->publish | (put->name != NULL) && self->shared->socket && !ih_patience()) {
        ih_error error = {.result = IH_AGAIN, .what = "put"};
        return ih_raise_arena(self->state, &error);
    }
    if (ih_freeze_into(self->state, self->shared->store, put->flags, put->object, &handle, NULL) <
        0)
        return NULL;
    PyObject *result = ih_handle_new(self->state, handle);
    if (result && announce(self, put, &handle) < 0)
        Py_CLEAR(result);
    if (result && __atomic_load_n(&self->state->scopes, __ATOMIC_RELAXED) &&
        note_in_scope(self, result) < 0)
        Py_CLEAR(result);
    if (!result)
        take_back(self, handle);
    return result;
}

PyObject *ih_store_put_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    static const char *const names[] = {"object", "name", "ttl", "pin", "evictable", "seal", NULL};
    static const ih_signature signature = {"put", names, 1, 1};
    ih_store_object *self = self_of(object);
    PyObject *given[PUT_COUNT];
    ih_handle handle;
    if (ih_take_arguments(&signature, args, nargs, kwnames, given) < 0 ||
        ih_store_alive(self, "put") < 0)
        return NULL;
    put_request put = {.object = given[PUT_OBJECT]};
    if (kwnames && take_put(self, given, &put) < 0)
        return NULL;
    if (own_root(self, put.object, &handle) && can_reuse(self, handle, put.flags))
        return put_again(self, &put, handle);
    put.object = ih_put_instead(self->state, put.object);
    PyObject *result = put.object != NULL ? put_fresh(self, &put) : NULL;
    Py_XDECREF(put.object);
    return result;
}

PyObject *ih_store_freeze_method(PyObject *object, PyObject *value)
{
    ih_store_object *self = self_of(object);
    ih_handle handle;
    ih_lease *lease = NULL;
    if (ih_store_alive(self, "freeze") < 0)
        return NULL;
    if (ih_any_declaration(self->state, &value, 1))
        return ih_freeze_declarations(self->state, &value, 1);
    if (ih_is_view(self->state, value)) {
        const ih_image_object *image = ((ih_view *)value)->image;
        if (image->lease && image->lease->store == self->shared->store)
            return Py_NewRef(value);
    }
    if (ih_freeze_into(self->state, self->shared->store, 0, value, &handle, &lease) < 0)
        return NULL;
    ih_lease_set_fleeting(lease, true);
    return ih_open_lease(self->state, lease);
}

/* ---- get ------------------------------------------------------------------------------------ */

PyObject *ih_get_handle(ih_state *state, ih_process *process, ih_store *asked, ih_handle handle,
                        PyObject *subject, const ih_get_options *options)
{
    ih_lease *lease;
    ih_error error = {0};
    ih_result result;
    IH_MAY_WAIT(result, asked ? ih_open_in(asked, handle, &lease, &error)
                              : ih_open(process, handle, &lease, &error));
    if (__builtin_expect(result == IH_OK, 1))
        return ih_open_got(state, lease, options, subject);
    if (options->fallback && result == IH_GONE)
        return Py_NewRef(options->fallback);
    return ih_raise_about(state, &error, subject);
}

PyObject *ih_store_get_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    static const char *const names[] = {"ref", IH_GET_PARAMETERS};
    static const ih_signature signature = {"get", names, 1, 2};
    ih_store_object *self = self_of(object);
    PyObject *given[IH_GET_COUNT];
    ih_get_options options;
    ih_handle handle;
    if (ih_take_arguments(&signature, args, nargs, kwnames, given) < 0 ||
        ih_take_get_options(given, &options) < 0 || ih_store_alive(self, "get") < 0)
        return NULL;
    int parsed = ih_handle_parse(self->state, given[0], &handle);
    if (parsed < 0)
        return NULL;
    if (parsed)
        return ih_get_handle(self->state, self->process, self->shared->store, handle, given[0],
                             &options);
    size_t length;
    const char *name = ih_name_text(given[0], &length);
    if (!name)
        return NULL;
    ih_lease *lease;
    ih_error error = {0};
    ih_result result;
    IH_MAY_WAIT(result, ih_open_name(self->shared->store, name, length, &lease, &error));
    if (__builtin_expect(result == IH_OK, 1))
        return ih_open_got(self->state, lease, &options, given[0]);
    if (options.fallback && (result == IH_UNKNOWN || result == IH_GONE))
        return Py_NewRef(options.fallback);
    return ih_store_raise(self, &error, given[0]);
}

/* ---- delete and bind ------------------------------------------------------------------------ */

/* By name, which may be the only one that it has. 0; -1 with an exception. */
static int delete_named(ih_store_object *self, PyObject *name, bool force)
{
    size_t length;
    ih_error error = {0};
    const char *text = ih_name_text(name, &length);
    if (!text)
        return -1;
    ih_result result;
    IH_MAY_WAIT(result, ih_delete_named(self->shared->store, text, length, force, &error));
    if (result == IH_OK)
        return 0;
    ih_store_raise(self, &error, name);
    return -1;
}

static int delete_one(ih_store_object *self, PyObject *ref, bool force)
{
    ih_handle handle;
    ih_error error = {0};
    int parsed = ih_handle_parse(self->state, ref, &handle);
    if (parsed < 0)
        return -1;
    if (parsed == 0 && PyUnicode_Check(ref))
        return delete_named(self, ref, force);
    if (parsed == 0 && ih_store_resolve(self, ref, &handle) < 0)
        return -1;
    ih_result result;
    IH_MAY_WAIT(result, ih_delete(self->shared->store, handle, force, &error));
    if (result == IH_OK)
        return 0;
    ih_store_raise(self, &error, parsed ? ref : NULL);
    return -1;
}

/* The first failure is the one that is told. */
static void keep_first(PyObject *kept[3])
{
    if (kept[0])
        PyErr_Clear();
    else
        PyErr_Fetch(&kept[0], &kept[1], &kept[2]);
}

/* Those given by name are a step each, so they come last, one by one. `handles` and `refs` have
 * room for all. */
static int delete_some(ih_store_object *self, PyObject *const *args, Py_ssize_t count, bool force,
                       ih_handle *handles, PyObject **refs)
{
    size_t known = 0, failed = 0, named = (size_t)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        int parsed = ih_handle_parse(self->state, args[i], &handles[known]);
        if (parsed < 0)
            return -1;
        if (parsed == 0 && PyUnicode_Check(args[i])) {
            refs[--named] = args[i];
            continue;
        }
        if (parsed == 0 && ih_store_resolve(self, args[i], &handles[known]) < 0)
            return -1;
        refs[known++] = args[i];
    }
    ih_error error = {0};
    ih_result result = IH_OK;
    PyObject *kept[3] = {NULL, NULL, NULL};
    if (known > 0)
        IH_MAY_WAIT(result,
                    ih_delete_some(self->shared->store, handles, known, force, &failed, &error));
    if (result != IH_OK) {
        ih_store_raise(self, &error, refs[failed]);
        keep_first(kept);
    }
    for (size_t i = (size_t)count; i-- > named;) {
        if (delete_named(self, refs[i], force) < 0)
            keep_first(kept);
    }
    if (!kept[0])
        return 0;
    PyErr_Restore(kept[0], kept[1], kept[2]);
    return -1;
}

static int take_force(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    int force = 0;
    for (Py_ssize_t i = 0; i < keywords; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_CompareWithASCIIString(keyword, "force") != 0) {
            PyErr_Format(PyExc_TypeError, "delete() has no parameter %R", keyword);
            return -1;
        }
        force = PyObject_IsTrue(args[nargs + i]);
    }
    return force;
}

PyObject *ih_store_delete_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames)
{
    ih_store_object *self = self_of(object);
    int force = take_force(args, nargs, kwnames), code;
    if (force < 0 || ih_store_alive(self, "delete") < 0)
        return NULL;
    if (nargs == 1) {
        code = delete_one(self, args[0], force);
    } else {
        ih_handle *handles = PyMem_New(ih_handle, (size_t)nargs + 1u);
        PyObject **refs = PyMem_New(PyObject *, (size_t)nargs + 1u);
        code = handles && refs ? delete_some(self, args, nargs, force, handles, refs) : -1;
        if (!handles || !refs)
            PyErr_NoMemory();
        PyMem_Free(handles);
        PyMem_Free(refs);
    }
    if (code < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int take_version(PyObject *value, uint64_t *out)
{
    *out = IH_ANY_VERSION;
    if (!value || value == Py_None)
        return 0;
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "expected is a version (an int) or None, not %.100s",
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    *out = PyLong_AsUnsignedLongLong(value);
    return *out == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

PyObject *ih_store_bind_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames)
{
    static const char *const names[] = {"name", "ref", "expected", NULL};
    static const ih_signature signature = {"bind", names, 2, 2};
    ih_store_object *self = self_of(object);
    PyObject *given[3];
    ih_handle handle;
    uint64_t expected, version = 0;
    size_t length;
    ih_error error = {0};
    if (ih_take_arguments(&signature, args, nargs, kwnames, given) < 0 ||
        ih_store_alive(self, "bind") < 0 || take_version(given[2], &expected) < 0)
        return NULL;
    const char *name = ih_name_text(given[0], &length);
    if (!name || (given[1] != Py_None && ih_store_resolve(self, given[1], &handle) < 0))
        return NULL;
    ih_result result;
    const ih_handle *bound = given[1] == Py_None ? NULL : &handle;
    IH_MAY_WAIT(result,
                ih_bind(self->shared->store, name, length, bound, expected, &version, &error));
    if (result == IH_CONFLICT)
        return ih_raise_lost(self->state, given[0], error.version, expected);
    if (result != IH_OK)
        return ih_store_raise(self, &error, given[0]);
    /* What has had a name stays until it is deleted, as what was put does. */
    if (own_root(self, given[1], &handle))
        ih_lease_set_fleeting(((ih_view *)given[1])->image->lease, false);
    return PyLong_FromUnsignedLongLong(version);
}
