/* Sorting arguments, and sizes as people write them. */
#include "module/arguments.h"

int ih_take_arguments(const ih_signature *signature, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames, PyObject **out)
{
    Py_ssize_t total = 0;
    while (signature->names[total])
        out[total++] = NULL;
    if (nargs > signature->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments, not %zd",
                     signature->function, signature->positional, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, k);
        Py_ssize_t i = 0;
        while (i < total && PyUnicode_CompareWithASCIIString(keyword, signature->names[i]) != 0)
            i++;
        if (i == total || out[i]) {
            PyErr_Format(PyExc_TypeError,
                         i == total ? "%s() has no parameter %R" : "%s() got two values for %R",
                         signature->function, keyword);
            return -1;
        }
        out[i] = args[nargs + k];
    }
    for (Py_ssize_t i = 0; i < signature->required; i++) {
        if (!out[i]) {
            PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", signature->function,
                         signature->names[i]);
            return -1;
        }
    }
    return 0;
}

static const struct {
    const char *name;
    uint64_t factor;
} units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", (uint64_t)1 << 10},
    {"MiB", (uint64_t)1 << 20},
    {"GiB", (uint64_t)1 << 30},
    {"TiB", (uint64_t)1 << 40},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
};

/* False if `text` is not digits, perhaps a space, and a unit, or is 0 or too large. */
static bool parse_size(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    }
    if (at == text)
        return false;
    if (*at == ' ')
        at++;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(units); i++) {
        if (PyOS_stricmp(at, units[i].name) == 0)
            return !__builtin_mul_overflow(number, units[i].factor, out) && *out > 0;
    }
    return false;
}

int ih_take_size(PyObject *value, const char *what, uint64_t *out)
{
    *out = 0;
    if (!value || value == Py_None)
        return 0;
    if (PyUnicode_Check(value)) {
        Py_ssize_t length;
        const char *text = PyUnicode_AsUTF8AndSize(value, &length);
        if (!text)
            return -1;
        if ((size_t)length == strlen(text) && parse_size(text, out))
            return 0;
    } else if (PyLong_Check(value) && !PyBool_Check(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow == 0 && number > 0) {
            *out = (uint64_t)number;
            return 0;
        }
    } else {
        PyErr_Format(PyExc_TypeError,
                     "%s is a number of bytes or a text such as '64MiB', not %.100s", what,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    PyErr_Format(PyExc_ValueError,
                 "%s is not a size: %R; write a positive number of bytes, or '64MiB' (B, KiB, MiB, "
                 "GiB, TiB, kB, MB, GB, TB)",
                 what, value);
    return -1;
}
