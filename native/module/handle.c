/* Handle: an immutable value of 16 bytes. Text, bytes, order and hash all come from (locator,
 * nonce).
 *
 * The text is the 128-bit number locator << 64 | nonce in Crockford's base 32 (no i, l, o, u),
 * lower case, of fixed length: so texts, handles and numbers have one order, by segment and then by
 * place in it. It fits into URLs and file names. bytes(h) is the little-endian form that lies in
 * memory and messages. */
#include "module/handle.h"

typedef struct {
    PyObject_HEAD
    ih_handle handle;
} handle_object;

static const char digits[33] = "0123456789abcdefghjkmnpqrstvwxyz";

void ih_base32_encode(uint64_t high, uint64_t low, char out[26])
{
    __uint128_t number = (__uint128_t)high << 64 | low;
    for (int i = 25; i >= 0; i--) {
        out[i] = digits[(unsigned)number & 31];
        number >>= 5;
    }
}

bool ih_base32_decode(const char text[26], uint64_t *high, uint64_t *low)
{
    __uint128_t number = 0;
    for (int i = 0; i < 26; i++) {
        const char *found = text[i] ? strchr(digits, text[i]) : NULL;
        /* 26 digits are 130 bits. */
        if (!found || (i == 0 && found - digits > 7))
            return false;
        number = number << 5 | (unsigned)(found - digits);
    }
    *high = (uint64_t)(number >> 64);
    *low = (uint64_t)number;
    return true;
}

PyObject *ih_handle_new(ih_state *state, ih_handle handle)
{
    handle_object *self = PyObject_New(handle_object, state->handle_type);
    if (self)
        self->handle = handle;
    return (PyObject *)self;
}

static int parse_text(PyObject *text, ih_handle *out)
{
    Py_ssize_t size;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &size);
    if (!utf8)
        return -1;
    if (size < 4 || memcmp(utf8, IH_HANDLE_PREFIX, 4) != 0)
        return 0;
    if (size != IH_HANDLE_TEXT || !ih_base32_decode(utf8 + 4, &out->locator, &out->nonce)) {
        PyErr_Format(PyExc_ValueError,
                     "not a handle: %.100R; one is " IH_HANDLE_PREFIX
                     " and 26 characters of 0-9 and "
                     "a-z without i, l, o, u",
                     text);
        return -1;
    }
    return 1;
}

int ih_handle_parse(ih_state *state, PyObject *object, ih_handle *out)
{
    if (Py_TYPE(object) == state->handle_type) {
        *out = ((handle_object *)object)->handle;
        return 1;
    }
    if (!PyUnicode_Check(object))
        return 0;
    /* Cheap for names, which are the common texts. */
    if (PyUnicode_GET_LENGTH(object) == 0 || PyUnicode_READ_CHAR(object, 0) != 'i')
        return 0;
    return parse_text(object, out);
}

/* ---- Python's side -------------------------------------------------------------------------- */

static ih_handle value_of(PyObject *self) { return ((handle_object *)self)->handle; }

static PyObject *from_bytes(PyTypeObject *type, PyObject *bytes)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(bytes, &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    Py_ssize_t size = buffer.len;
    ih_handle handle;
    if (size == (Py_ssize_t)sizeof handle)
        memcpy(&handle, buffer.buf, sizeof handle);
    PyBuffer_Release(&buffer);
    if (size != (Py_ssize_t)sizeof handle)
        return PyErr_Format(PyExc_ValueError, "a handle is 16 bytes, not %zd", size);
    return ih_handle_new(ih_type_state(type), handle);
}

static PyObject *from_text(PyTypeObject *type, PyObject *text)
{
    if (!PyUnicode_Check(text))
        return PyErr_Format(PyExc_TypeError, "a handle's text is a str, not %.100s",
                            Py_TYPE(text)->tp_name);
    ih_handle handle;
    int found = parse_text(text, &handle);
    if (found == 0)
        PyErr_Format(PyExc_ValueError, "not a handle: %.100R; one begins with " IH_HANDLE_PREFIX,
                     text);
    return found == 1 ? ih_handle_new(ih_type_state(type), handle) : NULL;
}

static PyObject *handle_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *value;
    if ((kwargs && PyDict_GET_SIZE(kwargs) != 0) || PyTuple_GET_SIZE(args) != 1) {
        PyErr_SetString(PyExc_TypeError,
                        "Handle() takes one argument: a handle's text, its 16 bytes, or a Handle");
        return NULL;
    }
    value = PyTuple_GET_ITEM(args, 0);
    if (Py_TYPE(value) == type)
        return Py_NewRef(value);
    return PyUnicode_Check(value) ? from_text(type, value) : from_bytes(type, value);
}

static void handle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *handle_str(PyObject *self)
{
    ih_handle handle = value_of(self);
    char text[IH_HANDLE_TEXT] = IH_HANDLE_PREFIX;
    ih_base32_encode(handle.locator, handle.nonce, text + 4);
    return PyUnicode_FromStringAndSize(text, IH_HANDLE_TEXT);
}

static PyObject *handle_repr(PyObject *self)
{
    PyObject *text = handle_str(self);
    PyObject *shown = text ? PyUnicode_FromFormat("Handle(%R)", text) : NULL;
    Py_XDECREF(text);
    return shown;
}

static PyObject *handle_bytes(PyObject *self, PyObject *Py_UNUSED(unused))
{
    ih_handle handle = value_of(self);
    return PyBytes_FromStringAndSize((const char *)&handle, sizeof handle);
}

static Py_hash_t handle_hash(PyObject *self)
{
    ih_handle handle = value_of(self);
    uint64_t mixed =
        (handle.locator ^ (handle.nonce << 1 | handle.nonce >> 63)) * 0x9e3779b97f4a7c15u;
    Py_hash_t hash = (Py_hash_t)(mixed ^ mixed >> 32);
    return hash == -1 ? -2 : hash;
}

static PyObject *handle_compare(PyObject *self, PyObject *other, int op)
{
    if (Py_TYPE(self) != Py_TYPE(other))
        Py_RETURN_NOTIMPLEMENTED;
    ih_handle a = value_of(self), b = value_of(other);
    int order = (a.locator > b.locator) - (a.locator < b.locator);
    if (order == 0)
        order = (a.nonce > b.nonce) - (a.nonce < b.nonce);
    Py_RETURN_RICHCOMPARE(order, 0, op);
}

static PyObject *handle_reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *bytes = handle_bytes(self, NULL);
    return bytes ? Py_BuildValue("O(N)", (PyObject *)Py_TYPE(self), bytes) : NULL;
}

static PyMethodDef handle_methods[] = {
    {"__class_getitem__", (PyCFunction)Py_GenericAlias, METH_O | METH_CLASS,
     "Handle[T]: of an image whose root opens as a T; for type checkers."},
    {"from_text", (PyCFunction)(void *)from_text, METH_O | METH_CLASS,
     "from_text(text, /)\n--\n\nThe handle with this text, as str(handle) gives it. ValueError for "
     "any other text."},
    {"from_bytes", (PyCFunction)(void *)from_bytes, METH_O | METH_CLASS,
     "from_bytes(data, /)\n--\n\nThe handle with these 16 bytes, as bytes(handle) gives them. "
     "ValueError for another length."},
    {"__bytes__", handle_bytes, METH_NOARGS, "The handle's 16 bytes."},
    {"__reduce__", handle_reduce, METH_NOARGS, "Pickles as its 16 bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_new, (void *)handle_tp_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_str, (void *)handle_str},
    {Py_tp_repr, (void *)handle_repr},
    {Py_tp_hash, (void *)handle_hash},
    {Py_tp_richcompare, (void *)handle_compare},
    {Py_tp_methods, handle_methods},
    {Py_tp_doc, "Handle(value, /)\n--\n\nSixteen bytes that name a frozen image in a store, for "
                "get() of any interpreter of the "
                "process.\n\nImmutable, hashable, ordered; str(h) is its text (it begins with "
                "ih1_, 30 characters, safe in URLs "
                "and file\nnames), bytes(h) its 16 bytes. A handle locates and is no permission; "
                "it keeps nothing alive.\n"
                "ValueError if `value` (a text, 16 bytes, or a Handle) is not one."},
    {0, NULL},
};

static PyType_Spec handle_spec = {
    .name = "icehouse.Handle",
    .basicsize = sizeof(handle_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handle_slots,
};

int ih_init_handle(PyObject *module, ih_state *state)
{
    state->handle_type = ih_add_type(module, &handle_spec, NULL, true);
    return state->handle_type ? 0 : -1;
}
