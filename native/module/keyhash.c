/* Canonical hashes of Python objects (H23): the same value for objects that are equal, in every
 * process and version.
 *
 * Numbers hash by Python's numeric hash, which is not salted and equal across int, float, bool,
 * complex; text and bytes by their bytes; tuples in order; frozensets by a sum, since their order
 * is not theirs. Nested containers below a depth of four count by type and length only: equal ones
 * stay equal, and nobody can make a hash expensive (H24). */
#include "module/keyhash.h"

#include "image/hash.h"
#include "module/decode.h"

#define KEY_DEPTH 4

static uint64_t hash_number(PyObject *key, uint32_t seed)
{
    Py_hash_t hash =
        PyObject_Hash(key); /* exact builtin numbers: cannot fail, runs no code of others */
    return ih_hash_word((uint64_t)hash, IH_DOMAIN_NUMBER, seed);
}

int ih_hash_str(PyObject *key, uint32_t seed, uint64_t *hash)
{
    if (PyUnicode_IS_ASCII(key)) {
        *hash = ih_hash_bytes(PyUnicode_1BYTE_DATA(key), (uint64_t)PyUnicode_GET_LENGTH(key),
                              IH_DOMAIN_STR, seed);
        return 1;
    }
    PyObject *bytes = PyUnicode_AsEncodedString(key, "utf-8", "surrogatepass");
    if (bytes == NULL)
        return -1;
    *hash = ih_hash_bytes((const uint8_t *)PyBytes_AS_STRING(bytes),
                          (uint64_t)PyBytes_GET_SIZE(bytes), IH_DOMAIN_STR, seed);
    Py_DECREF(bytes);
    return 1;
}

static int hash_key(PyObject *key, uint32_t seed, int depth, uint64_t *hash);

static int hash_tuple(PyObject *key, uint32_t seed, int depth, uint64_t *hash)
{
    Py_ssize_t n = PyTuple_GET_SIZE(key);
    uint64_t state = ih_hash_word((uint64_t)n, IH_DOMAIN_TUPLE, seed);
    for (Py_ssize_t i = 0; i < n && depth < KEY_DEPTH; i++) {
        uint64_t item;
        int known = hash_key(PyTuple_GET_ITEM(key, i), seed, depth + 1, &item);
        if (known <= 0)
            return known;
        state = ih_hash_word(item, state, seed);
    }
    *hash = state;
    return 1;
}

static int hash_frozenset(PyObject *key, uint32_t seed, int depth, uint64_t *hash)
{
    uint64_t sum = 0;
    if (depth < KEY_DEPTH) {
        PyObject *iterator = PyObject_GetIter(key), *item;
        if (iterator == NULL)
            return -1;
        while ((item = PyIter_Next(iterator)) != NULL) {
            uint64_t item_hash;
            int known = hash_key(item, seed, depth + 1, &item_hash);
            Py_DECREF(item);
            if (known <= 0) {
                Py_DECREF(iterator);
                return known;
            }
            sum += ih_hash_word(item_hash, IH_DOMAIN_SET, seed);
        }
        Py_DECREF(iterator);
        if (PyErr_Occurred())
            return -1;
    }
    *hash = ih_hash_word(sum, IH_DOMAIN_SET ^ (uint64_t)PySet_GET_SIZE(key), seed);
    return 1;
}

static int hash_key(PyObject *key, uint32_t seed, int depth, uint64_t *hash)
{
    PyTypeObject *type = Py_TYPE(key);
    if (type == &PyUnicode_Type)
        return ih_hash_str(key, seed, hash);
    if (type == &PyLong_Type || type == &PyBool_Type || type == &PyComplex_Type) {
        *hash = hash_number(key, seed);
        return 1;
    }
    if (type == &PyFloat_Type) {
        /* Python hashes a NaN by its address; here all are alike, and equal to none but themselves.
         */
        double value = PyFloat_AS_DOUBLE(key);
        *hash = value != value ? ih_hash_word(1, IH_DOMAIN_CONSTANT, seed) : hash_number(key, seed);
        return 1;
    }
    if (type == &PyBytes_Type) {
        *hash = ih_hash_bytes((const uint8_t *)PyBytes_AS_STRING(key),
                              (uint64_t)PyBytes_GET_SIZE(key), IH_DOMAIN_BYTES, seed);
        return 1;
    }
    if (type == &PyTuple_Type)
        return hash_tuple(key, seed, depth, hash);
    if (type == &PyFrozenSet_Type)
        return hash_frozenset(key, seed, depth, hash);
    if (key == Py_None || key == Py_Ellipsis || key == Py_NotImplemented) {
        uint64_t number = key == Py_None ? 2 : key == Py_Ellipsis ? 3 : 4;
        *hash = ih_hash_word(number, IH_DOMAIN_CONSTANT, seed);
        return 1;
    }
    return 0;
}

int ih_key_hash(PyObject *key, uint32_t seed, uint64_t *hash)
{
    return hash_key(key, seed, 0, hash);
}
