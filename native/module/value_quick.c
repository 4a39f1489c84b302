/* Values that data is full of, without the rules in Python: dates, times, Decimal, UUID of leaves,
 * members of enumerations and classes from a cache.
 *
 * The constructors are called as Python would call them; datetime's C API is not for interpreters
 * that have the one written in Python. Whatever is not as expected is left to the rules, which say
 * what is wrong with it. */
#include "module/value.h"

enum { ENUM = 3, DATE = 4, DATETIME = 6, TIMEDELTA = 7, DECIMAL = 10, UUID = 12 };

static const struct {
    const char *module, *name, *method;
} sources[IH_QUICK] = {
    [IH_QUICK_DATE] = {"datetime", "date", "fromordinal"},
    [IH_QUICK_DATETIME] = {"datetime", "datetime", NULL},
    [IH_QUICK_TIMEDELTA] = {"datetime", "timedelta", NULL},
    [IH_QUICK_DECIMAL] = {"decimal", "Decimal", NULL},
    [IH_QUICK_UUID] = {"uuid", "UUID", NULL},
    [IH_QUICK_UNSAFE] = {"uuid", "SafeUUID", "unknown"},
};

/* Borrowed; NULL with an exception. */
static PyObject *callable_of(ih_state *state, unsigned which)
{
    PyObject *known = __atomic_load_n(&state->quick[which], __ATOMIC_ACQUIRE), *none = NULL;
    if (known != NULL)
        return known;
    PyObject *module = PyImport_ImportModule(sources[which].module);
    PyObject *found = module != NULL ? PyObject_GetAttrString(module, sources[which].name) : NULL;
    if (found != NULL && sources[which].method != NULL)
        Py_SETREF(found, PyObject_GetAttrString(found, sources[which].method));
    Py_XDECREF(module);
    if (found == NULL)
        return NULL;
    if (__atomic_compare_exchange_n(&state->quick[which], &none, found, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return found;
    Py_DECREF(found);
    return none;
}

static PyObject *make_datetime(ih_state *state, PyObject *payload)
{
    const uint8_t *p = (const uint8_t *)PyBytes_AS_STRING(payload);
    long fields[7] = {
        p[0] << 8 | p[1], p[2], p[3], p[4], p[5], p[6], p[7] << 16 | p[8] << 8 | p[9]};
    PyObject *args[7] = {NULL}, *made = NULL;
    PyObject *type = callable_of(state, IH_QUICK_DATETIME);
    size_t n = 0;
    while (type != NULL && n < Py_ARRAY_LENGTH(fields) &&
           (args[n] = PyLong_FromLong(fields[n])) != NULL)
        n++;
    if (n == Py_ARRAY_LENGTH(fields))
        made = PyObject_Vectorcall(type, args, n, NULL);
    while (n > 0)
        Py_DECREF(args[--n]);
    return made;
}

/* As uuid.UUID(bytes=...), which takes ten times as long. */
static PyObject *make_uuid(ih_state *state, PyObject *payload)
{
    PyTypeObject *type = (PyTypeObject *)callable_of(state, IH_QUICK_UUID);
    PyObject *unknown = type != NULL ? callable_of(state, IH_QUICK_UNSAFE) : NULL;
    PyObject *none = unknown != NULL ? PyTuple_New(0) : NULL;
    PyObject *made = none != NULL && PyType_Check(type) ? type->tp_new(type, none, NULL) : NULL;
    Py_XDECREF(none);
    if (made == NULL)
        return NULL;
    const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(payload);
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *number = PyLong_FromUnsignedNativeBytes(bytes, 16, Py_ASNATIVEBYTES_BIG_ENDIAN);
#else
    PyObject *number = _PyLong_FromByteArray(bytes, 16, 0, 0);
#endif
    PyObject *name = number != NULL ? PyUnicode_InternFromString("int") : NULL;
    PyObject *safe = name != NULL ? PyUnicode_InternFromString("is_safe") : NULL;
    if (safe == NULL || PyObject_GenericSetAttr(made, name, number) < 0 ||
        PyObject_GenericSetAttr(made, safe, unknown) < 0)
        Py_CLEAR(made);
    Py_XDECREF(number);
    Py_XDECREF(name);
    Py_XDECREF(safe);
    return made;
}

static PyObject *call_one(ih_state *state, unsigned which, PyObject *argument)
{
    PyObject *callable = callable_of(state, which);
    return callable != NULL ? PyObject_CallOneArg(callable, argument) : NULL;
}

static PyObject *make(ih_state *state, uint64_t code, PyObject *payload)
{
    if (code == DATE && PyLong_CheckExact(payload))
        return call_one(state, IH_QUICK_DATE, payload);
    if (code == DECIMAL && PyUnicode_CheckExact(payload))
        return call_one(state, IH_QUICK_DECIMAL, payload);
    if (code == UUID && PyBytes_CheckExact(payload) && PyBytes_GET_SIZE(payload) == 16)
        return make_uuid(state, payload);
    if (code == DATETIME && PyBytes_CheckExact(payload) && PyBytes_GET_SIZE(payload) == 10 &&
        (PyBytes_AS_STRING(payload)[2] & 0x80) == 0)
        return make_datetime(state, payload);
    if (code != TIMEDELTA || !PyTuple_CheckExact(payload) || PyTuple_GET_SIZE(payload) != 3)
        return NULL;
    for (Py_ssize_t i = 0; i < 3; i++)
        if (!PyLong_CheckExact(PyTuple_GET_ITEM(payload, i)))
            return NULL;
    PyObject *type = callable_of(state, IH_QUICK_TIMEDELTA);
    return type != NULL ? PyObject_Call(type, payload, NULL) : NULL;
}

/* Leaves, and runs of numbers: decoding them leads nowhere. */
static bool is_leaf(ih_image_object *image, uint32_t word)
{
    if (ih_word_is_int(word))
        return true;
    uint64_t at = ih_word_offset(word);
    if (at < IH_IMAGE_START || at + 4 > image->image.graph)
        return false;
    uint32_t header = ih_load_word(image->image.base + at), kind = header & IH_KIND_MASK;
    return (header & IH_NODE_BIT) == 0 || kind == IH_STR_ASCII || kind == IH_INT64 ||
           kind == IH_BYTES || kind == IH_TUPLE_PACKED;
}

PyObject *ih_make_quickly(ih_image_object *image, const ih_node *node, ih_budget *left)
{
    bool known = node->n == DATE || node->n == DATETIME || node->n == TIMEDELTA ||
                 node->n == DECIMAL || node->n == UUID;
    if (!known || (node->shared && left->making != NULL) || !is_leaf(image, node->shape))
        return NULL;
    ih_budget inner = {IH_TUPLE_TREE_MAX + 1, IH_TUPLE_DEPTH_MAX, NULL};
    PyObject *payload = ih_decode_within(image, node->shape, &inner);
    if (inner.making != NULL) /* what lay there changed meanwhile */
        ih_making_leave(inner.making);
    PyObject *made = payload != NULL ? make(image->state, node->n, payload) : NULL;
    Py_XDECREF(payload);
    if (made == NULL && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception) &&
        !PyErr_ExceptionMatches(PyExc_MemoryError))
        PyErr_Clear(); /* the rules will say it */
    return made;
}

/* ---- members and classes -------------------------------------------------------------------- */

#if IH_CACHES
static ih_member_cache_entry *slot_of(ih_image_object *image, uint64_t at)
{
    return &image->state->members[(at / 4 ^ image->serial) % IH_MEMBER_CACHE];
}

PyObject *ih_known_member(ih_image_object *image, uint64_t at, const ih_node *node)
{
    if (node->n != ENUM && node->n != IH_VALUE_CLASS)
        return NULL;
    const ih_member_cache_entry *entry = slot_of(image, at);
    return entry->at == at && entry->serial == image->serial ? Py_XNewRef(entry->member) : NULL;
}

void ih_remember_member(ih_image_object *image, uint64_t at, const ih_node *node, PyObject *member)
{
    if (node->n != ENUM && node->n != IH_VALUE_CLASS)
        return;
    ih_member_cache_entry *entry = slot_of(image, at);
    entry->serial = image->serial;
    entry->at = at;
    Py_XSETREF(entry->member, Py_NewRef(member));
}
#else
PyObject *ih_known_member(ih_image_object *image, uint64_t at, const ih_node *node)
{
    (void)image, (void)at, (void)node;
    return NULL;
}

void ih_remember_member(ih_image_object *image, uint64_t at, const ih_node *node, PyObject *member)
{
    (void)image, (void)at, (void)node, (void)member;
}
#endif
