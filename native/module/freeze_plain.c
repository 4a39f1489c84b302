/* Freezing values without parts: text, numbers. */
#include "module/freezer_state.h"

uint8_t *freeze_put_utf8(uint8_t *p, PyObject *str)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(str);
    if (PyUnicode_IS_ASCII(str)) {
        memcpy(p, PyUnicode_1BYTE_DATA(str), (size_t)n);
        return p + n;
    }
    /* One loop for each width: with the width inside the loop, text costs twice as much. */
    if (PyUnicode_KIND(str) == PyUnicode_2BYTE_KIND) {
        const Py_UCS2 *from = PyUnicode_2BYTE_DATA(str);
        for (Py_ssize_t i = 0; i < n; i++)
            p = ih_put_code_point(p, from[i]);
    } else if (PyUnicode_KIND(str) == PyUnicode_1BYTE_KIND) {
        const Py_UCS1 *from = PyUnicode_1BYTE_DATA(str);
        for (Py_ssize_t i = 0; i < n; i++)
            p = ih_put_code_point(p, from[i]);
    } else {
        const Py_UCS4 *from = PyUnicode_4BYTE_DATA(str);
        for (Py_ssize_t i = 0; i < n; i++)
            p = ih_put_code_point(p, from[i]);
    }
    return p;
}

/* Longer strings are remembered only where more than one reference leads to them. */
#define REMEMBERED_STR_MAX 96u

static int freeze_wide_str(freezer *f, PyObject *str, bool remember, uint32_t *word, uint64_t *hash)
{
    /* Encoded behind the buffer's end, where ih_write_str() moves it from into its node. */
    ih_writer *w = &f->writer;
    uint64_t most = (uint64_t)PyUnicode_GET_LENGTH(str) * 4;
    if (most > 4096)
        most = freeze_utf8_size(str);
    int result = ih_room(w, 2 * most + 64);
    if (result < 0)
        return freeze_failed(result);
    uint8_t *text = w->bytes + w->size + most + 32;
    uint64_t size = (uint64_t)(freeze_put_utf8(text, str) - text);
    uint64_t text_hash = remember || hash ? ih_hash_bytes(text, size, IH_DOMAIN_STR, 0) : 0;
    if (hash != NULL)
        *hash = text_hash;
    result = ih_write_str(w, text, size, false, text_hash, remember, word);
    return result < 0 ? freeze_failed(result) : 0;
}

int freeze_str(freezer *f, PyObject *str, bool always, uint32_t *word, uint64_t *hash)
{
    uint64_t size = (uint64_t)PyUnicode_GET_LENGTH(str);
    bool remember = always ||
                    (size <= REMEMBERED_STR_MAX && ih_remembering_pays(&f->writer, size)) ||
                    !met_once(f, str);
    if (!PyUnicode_IS_ASCII(str))
        return freeze_wide_str(f, str, remember, word, hash);
    const uint8_t *text = PyUnicode_1BYTE_DATA(str);
    uint64_t text_hash = remember || hash != NULL ? ih_hash_bytes(text, size, IH_DOMAIN_STR, 0) : 0;
    if (hash != NULL)
        *hash = text_hash;
    if (size == 0) {
        *word = IH_EMPTY_STR;
        return 0;
    }
    int result = ih_write_str(&f->writer, text, size, true, text_hash, remember, word);
    return result < 0 ? freeze_failed(result) : 0;
}

int freeze_wide_int(freezer *f, PyObject *number, uint32_t *word)
{
    ih_writer *w = &f->writer;
    int overflow, result;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    uint64_t at = w->size;
    if (overflow == 0) {
        if (value >= IH_SMALL_INT_MIN && value <= IH_SMALL_INT_MAX) {
            *word = (uint32_t)((uint64_t)value << 1 | 1);
            return 0;
        }
        if ((result = ih_begin_node(w, IH_INT64, 0, 8, &at)) < 0)
            return freeze_failed(result);
        ih_store64(w->bytes + w->size, (uint64_t)value);
        w->size += 8;
    } else {
        size_t bits = (size_t)_PyLong_NumBits(number), size = bits / 8 + 1;
        if ((result = ih_begin_node(w, IH_BIGINT, size, size, &at)) < 0)
            return freeze_failed(result);
#if PY_VERSION_HEX >= 0x030D0000
        Py_ssize_t done = PyLong_AsNativeBytes(number, w->bytes + w->size, (Py_ssize_t)size,
                                               Py_ASNATIVEBYTES_LITTLE_ENDIAN);
        if (done < 0)
            return -1;
#else
        if (_PyLong_AsByteArray((PyLongObject *)number, w->bytes + w->size, size, 1, 1) < 0)
            return -1;
#endif
        w->size += size;
        ih_pad4(w);
    }
    *word = ih_word_at(at);
    return 0;
}

int freeze_float(freezer *f, const double *parts, ih_kind kind, uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t at = w->size, size = kind == IH_COMPLEX ? 16 : 8;
    int result = ih_begin_node(w, kind, 0, size, &at);
    if (result < 0)
        return freeze_failed(result);
    memcpy(w->bytes + w->size, parts, size);
    w->size += size;
    *word = ih_word_at(at);
    return 0;
}
