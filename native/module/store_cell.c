/* Store: cells, for store/declarations/fields.py. A cell is a name that only the library binds
 * (arena.h) and whose images nobody else knows: see there what becomes of the one that it loses. */
#include "module/errors.h"
#include "module/freezer.h"
#include "module/handle.h"
#include "module/store.h"

#define ID_BYTES 16u
_Static_assert(IH_CELL_DIGITS == 2 * ID_BYTES, "an id in hexadecimal");

static ih_store_object *self_of(PyObject *self) { return (ih_store_object *)self; }

/* The name of the cell with this id. 0; -1 with TypeError. */
static int name_of(PyObject *id, char name[IH_CELL_NAME])
{
    static const char digits[] = "0123456789abcdef";
    if (!PyBytes_CheckExact(id) || PyBytes_GET_SIZE(id) != ID_BYTES) {
        PyErr_Format(PyExc_TypeError, "the id of a cell is %u bytes, not %.100R", ID_BYTES, id);
        return -1;
    }
    const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(id);
    char *to = name + sizeof IH_CELL_PREFIX - 1;
    memcpy(name, IH_CELL_PREFIX, sizeof IH_CELL_PREFIX - 1);
    for (unsigned i = 0; i < ID_BYTES; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    return 0;
}

PyObject *ih_store_cell_get(PyObject *object, PyObject *id)
{
    ih_store_object *self = self_of(object);
    char name[IH_CELL_NAME];
    ih_get_options options = {0};
    ih_lease *lease;
    ih_error error = {0};
    ih_result result;
    if (name_of(id, name) < 0 || ih_store_alive(self, "read a shared field") < 0)
        return NULL;
    IH_MAY_WAIT(result, ih_open_name(self->shared->store, name, sizeof name, &lease, &error));
    if (__builtin_expect(result == IH_OK, 1))
        return ih_open_got(self->state, lease, &options, id);
    if (result == IH_UNKNOWN)
        Py_RETURN_NONE;
    return ih_store_raise(self, &error, NULL);
}

PyObject *ih_store_cell_look(PyObject *object, PyObject *id)
{
    ih_store_object *self = self_of(object);
    char name[IH_CELL_NAME];
    ih_get_options options = {0};
    ih_lease *lease;
    uint64_t version = 0;
    ih_error error = {0};
    ih_result result;
    if (name_of(id, name) < 0 || ih_store_alive(self, "read a shared field") < 0)
        return NULL;
    IH_MAY_WAIT(result,
                ih_open_name_at(self->shared->store, name, sizeof name, &lease, &version, &error));
    if (result == IH_UNKNOWN)
        return Py_BuildValue("Oi", Py_None, 0);
    if (result != IH_OK)
        return ih_store_raise(self, &error, NULL);
    PyObject *root = ih_open_got(self->state, lease, &options, id);
    return root ? Py_BuildValue("NK", root, (unsigned long long)version) : NULL;
}

static int take_expected(PyObject *value, uint64_t *out)
{
    *out = IH_ANY_VERSION;
    if (value != Py_None)
        *out = PyLong_AsUnsignedLongLong(value);
    return value != Py_None && *out == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

/* Whether an image that was to be bound is gone. Nobody but a cell that held it lets it go, so it
 * was bound, the reply was lost with the daemon, and it has been replaced since. */
static bool was_replaced(ih_store *store, ih_handle handle)
{
    ih_lease *lease;
    ih_result result;
    IH_MAY_WAIT(result, ih_open_in(store, handle, &lease, NULL));
    if (result == IH_OK)
        ih_lease_release(lease);
    return result == IH_GONE;
}

PyObject *ih_store_cell_set(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    ih_store_object *self = self_of(object);
    char name[IH_CELL_NAME];
    uint64_t expected, version = 0;
    ih_handle handle = {0};
    ih_error error = {0};
    ih_result result;
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "_cell_set() takes an id, a tuple and a version");
    if (name_of(args[0], name) < 0 || take_expected(args[2], &expected) < 0 ||
        ih_store_alive(self, "write a shared field") < 0)
        return NULL;
    ih_store *store = self->shared->store;
    bool bound = args[1] != Py_None;
    if (self->shared->socket && !ih_patience()) {
        error = (ih_error){.result = IH_AGAIN, .what = "write a shared field"};
        return ih_raise_arena(self->state, &error);
    }
    if (bound && ih_freeze_into(self->state, store, 0, args[1], &handle, NULL) < 0)
        return NULL;
    IH_MAY_WAIT(result, ih_bind(store, name, sizeof name, bound ? &handle : NULL, expected,
                                &version, &error));
    if (bound && (result == IH_GONE || result == IH_CONFLICT) && was_replaced(store, handle)) {
        result = IH_OK;
        version = expected + 1;
    }
    if (result == IH_OK)
        return PyLong_FromUnsignedLongLong(version);
    ih_result taken = IH_OK; /* what can't be taken back is an orphan when this process ends */
    if (bound)
        IH_MAY_WAIT(taken, ih_delete(store, handle, false, NULL));
    (void)taken;
    if (result == IH_CONFLICT)
        Py_RETURN_NONE;
    return ih_store_raise(self, &error, NULL);
}
