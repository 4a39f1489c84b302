/* Store, embedded or connected, as Python sees it: store.c puts and gets, store_look.c looks,
 * store_remote.c has what needs the daemon, store_type.c is the type. */
#ifndef ICEHOUSE_MODULE_STORE_H
#define ICEHOUSE_MODULE_STORE_H

#include "module/get.h"
#include "module/process.h"

extern PyModuleDef ih_module_def;

typedef struct {
    PyObject_HEAD
    ih_state *state;         /* the type may be a subclass, which knows no module */
    ih_shared_store *shared; /* a reference, from creation to the end */
    ih_process *process;
    PyObject *weak_references;
    int closed; /* atomic: this object was closed */
    bool owner; /* made by Store(): its close() closes the embedded store itself */
} ih_store_object;

/* The root of a handle's image, asked of a store or (NULL) of all of the process. NULL with
 * HandleGone (naming `subject`), or the options' fallback if that is given. */
PyObject *ih_get_handle(ih_state *state, ih_process *process, ih_store *asked, ih_handle handle,
                        PyObject *subject, const ih_get_options *options);

static inline bool ih_store_is_closed(const ih_store_object *self)
{
    return __atomic_load_n(&self->closed, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&self->shared->closed, __ATOMIC_ACQUIRE);
}
/* The exception of a call on this store, about `subject` (NULL: nothing). Always returns NULL. */
PyObject *ih_store_raise(const ih_store_object *self, ih_error *error, PyObject *subject);
/* 0, or -1 with StoreClosed. */
int ih_store_alive(ih_store_object *self, const char *operation);
/* A name's UTF-8 (it belongs to `name`). NULL with TypeError or ValueError. */
const char *ih_name_text(PyObject *name, size_t *length);
/* The handle that a Handle, its text, a bound name or a root view of this store stands for. 0; -1
 * with an exception. */
int ih_store_resolve(ih_store_object *self, PyObject *reference, ih_handle *out);

/* Methods: in store.c ... */
PyObject *ih_store_put_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames);
PyObject *ih_store_freeze_method(PyObject *self, PyObject *object);
PyObject *ih_store_get_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames);
PyObject *ih_store_delete_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames);
PyObject *ih_store_bind_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);
/* ... in store_remote.c ... */
PyObject *ih_store_connect_method(PyObject *type, PyObject *socket);
PyObject *ih_store_remote_getter(PyObject *self, void *unused);
PyObject *ih_store_explain_method(PyObject *self, PyObject *reference);
PyObject *ih_store_pin_method(PyObject *self, PyObject *reference);
PyObject *ih_store_unpin_method(PyObject *self, PyObject *reference);
PyObject *ih_store_expire_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_store_wait_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
int ih_init_store_remote(PyObject *module, ih_state *state);
/* Seconds, a timedelta or None as nanoseconds; `none` for None and NULL. 0; -1 with an exception
 * that names `what`. */
int ih_take_duration(PyObject *value, const char *what, uint64_t none, uint64_t *out);
/* 0; -1 with StoreUnavailable if an embedded store was asked for what `wanted` needs the daemon. */
int ih_store_need_daemon(ih_store_object *self, const char *wanted);
/* Tells the daemon of an image: one round trip. 0; -1 with an exception. */
int ih_store_publish(ih_store_object *self, ih_handle handle, PyObject *name, uint32_t flags,
                     uint64_t ttl_ns, PyObject *subject);
/* ... in store_cell.c: what a cell holds, or None; that and its version; a new image for it, or
 * none, the version being the expected one, else None ... */
PyObject *ih_store_cell_get(PyObject *self, PyObject *id);
PyObject *ih_store_cell_look(PyObject *self, PyObject *id);
PyObject *ih_store_cell_set(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
/* ... in store_build.c ... */
PyObject *ih_store_build_method(PyObject *self, PyObject *args);
PyObject *ih_copies_of(PyObject *module, PyObject *object);
int ih_init_build(PyObject *module, ih_state *state);
/* ... in store_type.c ... */
PyObject *ih_store_make(PyTypeObject *type, ih_shared_store *shared, bool owner);
/* ... and in store_look.c. */
PyObject *ih_store_stat_method(PyObject *self, PyObject *reference);
PyObject *ih_store_ls_method(PyObject *self, PyObject *unused);
PyObject *ih_store_names_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_store_lookup_method(PyObject *self, PyObject *name);
PyObject *ih_store_version_method(PyObject *self, PyObject *name);
PyObject *ih_store_usage_method(PyObject *self, PyObject *unused);
PyObject *ih_store_check_method(PyObject *self, PyObject *unused);
PyObject *ih_store_trim_method(PyObject *self, PyObject *unused);
int ih_init_store_look(PyObject *module, ih_state *state);
/* A struct sequence of new references that takes them over; NULL if any of them is NULL. */
PyObject *ih_fill_sequence(PyTypeObject *type, PyObject **values, size_t count);

#endif
