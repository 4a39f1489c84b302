/* Formats of FrozenArray (PEP 3118), and items without numpy. */
#include "module/array.h"

/* Skips the name in :name:, from the first colon. NULL where it does not end. */
static const char *skip_name(const char *p, const char *end)
{
    const char *close = memchr(p + 1, ':', (size_t)(end - p - 1));
    return close == NULL ? NULL : close + 1;
}

/* Only plain data: what is not listed could be a pointer ('O', '&', 'X', 'P', 'z') or means
 * nothing. */
static bool is_plain(const char *format, size_t size)
{
    const char *p = format, *end = format + size;
    while (p < end) {
        if (*p == ':') {
            p = skip_name(p, end);
            if (p == NULL)
                return false;
        } else if (*p == '\0' ||
                   strchr("@=<>!^0123456789(),T{}Zx?bBhHiIlLqQnNefdgscwu ", *p) == NULL) {
            return false;
        } else if (*p == 'Z' && (p + 1 == end || strchr("fdg", p[1]) == NULL)) {
            return false; /* ctypes' pointer to wide characters, not a complex number */
        } else {
            p++;
        }
    }
    return true;
}

/* Bytes of one item of a single-character format; 0 where it has none. */
static Py_ssize_t size_of(char type, bool native)
{
    switch (type) {
    case '?':
    case 'b':
    case 'B':
    case 'c':
        return 1;
    case 'h':
    case 'H':
    case 'e':
        return 2;
    case 'i':
    case 'I':
    case 'f':
        return 4;
    case 'l':
    case 'L':
        return native ? (Py_ssize_t)sizeof(long) : 4;
    case 'n':
    case 'N':
        return native ? (Py_ssize_t)sizeof(size_t) : 0;
    case 'q':
    case 'Q':
    case 'd':
        return 8;
    default:
        return 0;
    }
}

static ih_item_form form_of(char type)
{
    switch (type) {
    case '?':
        return IH_ITEM_BOOL;
    case 'c':
        return IH_ITEM_BYTES;
    case 'e':
    case 'f':
    case 'd':
        return IH_ITEM_FLOAT;
    default:
        return type >= 'a' ? IH_ITEM_SIGNED : IH_ITEM_UNSIGNED;
    }
}

int ih_array_format(const char *format, size_t size, Py_ssize_t item_size, bool *swapped)
{
    *swapped = false;
    if (!is_plain(format, size))
        return -1;
    const char *p = format, *end = format + size;
    bool native = true;
    if (p < end && strchr("@=<>!^", *p) != NULL) {
        native = *p == '@' || *p == '^';
        *swapped = *p == '>' || *p == '!';
        p++;
    }
    Py_ssize_t count = 1;
    if (p < end && *p >= '0' && *p <= '9') {
        for (count = 0; p < end && *p >= '0' && *p <= '9' && count < INT32_MAX / 16; p++)
            count = count * 10 + (*p - '0');
    }
    bool complex = p < end && *p == 'Z';
    if (complex)
        p++;
    if (end - p != 1) /* nothing, structures, sub-arrays */
        return IH_ITEM_RAW;
    if (*p == 's' && count == item_size)
        return IH_ITEM_BYTES;
    if ((*p == 'w' || *p == 'u') && 4 * count == item_size)
        return IH_ITEM_TEXT;
    if (*p == 'g' && count == 1)
        return IH_ITEM_LONG_DOUBLE;
    Py_ssize_t one = size_of(*p, native);
    /* memoryview reads items of native formats by their formats' sizes, whatever ours is. */
    if (one != 0 && native && !complex && count == 1 && item_size < one)
        return -1;
    if (one == 0 || count != 1 || item_size != (complex ? 2 * one : one))
        return IH_ITEM_RAW;
    if (complex)
        return form_of(*p) == IH_ITEM_FLOAT ? IH_ITEM_COMPLEX : IH_ITEM_RAW;
    return (int)form_of(*p);
}

static double unpack_float(const char *p, Py_ssize_t size, int little)
{
    if (size == 2)
        return PyFloat_Unpack2(p, little);
    return size == 4 ? PyFloat_Unpack4(p, little) : PyFloat_Unpack8(p, little);
}

/* Items up to 8 bytes as a number of the machine's own byte order. */
static uint64_t load(const uint8_t *p, Py_ssize_t size, bool swapped)
{
    uint64_t value = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        value |= (uint64_t)p[i] << (8 * (swapped ? size - 1 - i : i));
    return value;
}

static PyObject *decode_text(const ih_array_view *view, const uint8_t *p)
{
    Py_ssize_t n = view->item_size / 4;
    Py_UCS4 small[64], *copy = n <= 64 ? small : PyMem_Malloc((size_t)view->item_size);
    if (copy == NULL)
        return PyErr_NoMemory();
    Py_ssize_t used = 0;
    bool damaged = false;
    for (Py_ssize_t i = 0; i < n; i++) {
        copy[i] = (Py_UCS4)load(p + 4 * i, 4, view->ascii);
        damaged = damaged || copy[i] > 0x10ffff;
        if (copy[i] != 0)
            used = i + 1;
    }
    if (n == 1)
        used = 1; /* a character, not padded text */
    PyObject *text;
    if (damaged) {
        ih_fault fault = {(uint64_t)(p - view->image->image.base),
                          "text of an array is not Unicode"};
        text = ih_raise_fault(view->image->state, &fault);
    } else {
        text = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, copy, used);
    }
    if (copy != small)
        PyMem_Free(copy);
    return text;
}

PyObject *ih_array_scalar(const ih_array_view *view, const uint8_t *p)
{
    Py_ssize_t size = view->item_size;
    bool swapped = view->ascii;
    int little = !swapped;
    switch ((ih_item_form)view->width) {
    case IH_ITEM_SIGNED: {
        unsigned unused = (unsigned)(64 - 8 * size);
        return PyLong_FromLongLong((int64_t)(load(p, size, swapped) << unused) >> unused);
    }
    case IH_ITEM_UNSIGNED:
        return PyLong_FromUnsignedLongLong(load(p, size, swapped));
    case IH_ITEM_BOOL:
        return PyBool_FromLong(*p != 0);
    case IH_ITEM_FLOAT: {
        double value = unpack_float((const char *)p, size, little);
        return value == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(value);
    }
    case IH_ITEM_COMPLEX: {
        double real = unpack_float((const char *)p, size / 2, little);
        double imaginary = unpack_float((const char *)p + size / 2, size / 2, little);
        return PyErr_Occurred() ? NULL : PyComplex_FromDoubles(real, imaginary);
    }
    case IH_ITEM_TEXT:
        return decode_text(view, p);
    case IH_ITEM_LONG_DOUBLE:
        PyErr_SetString(PyExc_TypeError, "items of a FrozenArray of long doubles can be read with "
                                         "numpy only: use numpy.asarray(view)");
        return NULL;
    case IH_ITEM_RAW:
    case IH_ITEM_BYTES:
        return PyBytes_FromStringAndSize((const char *)p, size);
    }
    Py_UNREACHABLE();
}
