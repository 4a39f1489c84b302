/* Strings and numbers as JSON, exactly as json.dumps writes them.
 *
 * Bytes of the image are loaded once into locals and judged there, so what is written is well
 * formed whatever a racing writer does. */
#include "module/json_text.h"

#include <math.h>

#include "image/utf8.h"

int ih_json_grow(json_text *out, size_t more)
{
    size_t wanted = out->size + more, room = out->room + out->room / 2;
    if (wanted > out->limit) {
        PyErr_Format(PyExc_ValueError,
                     "the JSON text is longer than %zu bytes, a thousand times the image: objects "
                     "that are shared in it "
                     "are written out at each place",
                     out->limit);
        return -1;
    }
    if (room < wanted)
        room = wanted < 512 ? 512 : wanted;
    uint8_t *grown = PyMem_Realloc(out->bytes, room);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    out->bytes = grown;
    out->room = room;
    return 0;
}

/* ---- strings ---- */

#define EACH(byte) ((byte) * (uint64_t)0x0101010101010101u)

/* Eight bytes that stand for themselves: printable ASCII but the quote and the backslash. Where one
 * does not, the lowest such byte's high bit is set (borrows spoil only what lies above it). */
static inline bool is_plain(uint64_t x)
{
    uint64_t odd = x | (x - EACH(0x20)) | ((x ^ EACH('"')) - EACH(1)) |
                   ((x ^ EACH('\\')) - EACH(1)) | ((x ^ EACH(0x7f)) - EACH(1));
    return (odd & EACH(0x80)) == 0;
}

static uint8_t *put_escape(uint8_t *p, uint32_t unit)
{
    static const char digits[] = "0123456789abcdef";
    *p++ = '\\';
    *p++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *p++ = (uint8_t)digits[unit >> shift & 15];
    return p;
}

static uint8_t *put_ascii(const json_text *out, uint8_t *p, uint32_t c)
{
    static const char named[] = "\b\t\n\f\r\"\\", names[] = "btnfr\"\\";
    if (c >= 0x20 && c != '"' && c != '\\' && (c != 0x7f || !out->ensure_ascii)) {
        *p++ = (uint8_t)c;
        return p;
    }
    const char *found = c ? memchr(named, (int)c, sizeof named - 1) : NULL;
    if (found == NULL)
        return put_escape(p, c);
    *p++ = '\\';
    *p++ = (uint8_t)names[found - named];
    return p;
}

static uint8_t *put_wide(const json_text *out, uint8_t *p, uint32_t point)
{
    if (out->ensure_ascii) {
        if (point < 0x10000)
            return put_escape(p, point);
        p = put_escape(p, 0xd800 | (point - 0x10000) >> 10);
        return put_escape(p, 0xdc00 | (point & 0x3ff));
    }
    if (point < 0x800) {
        *p++ = (uint8_t)(0xc0 | point >> 6);
    } else {
        if (point < 0x10000) {
            *p++ = (uint8_t)(0xe0 | point >> 12);
        } else {
            *p++ = (uint8_t)(0xf0 | point >> 18);
            *p++ = (uint8_t)(0x80 | (point >> 12 & 0x3f));
        }
        *p++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    }
    *p++ = (uint8_t)(0x80 | (point & 0x3f));
    return p;
}

int ih_json_string(json_text *out, const uint8_t *text, uint64_t size, uint64_t at)
{
    if (ih_json_put(out, "\"", 1) < 0)
        return -1;
    uint64_t i = 0;
    while (i < size) {
        /* A character takes at most six times its bytes. */
        uint64_t end = size - i < 4096 ? size : i + 4096;
        if (ih_json_room(out, (size_t)(end - i + 8) * 6) < 0)
            return -1;
        uint8_t *p = out->bytes + out->size;
        while (i < end) {
            uint64_t piece;
            if (end - i >= 8 && (memcpy(&piece, text + i, 8), is_plain(piece))) {
                memcpy(p, &piece, 8);
                p += 8;
                i += 8;
                continue;
            }
            uint32_t used, point = ih_utf8_next(text + i, size - i, &used);
            if (point == UINT32_MAX) {
                ih_fault fault = {at + i, "text that is not UTF-8"};
                ih_raise_fault(out->state, &fault);
                return -1;
            }
            if (point >= 0x80)
                out->ascii &= out->ensure_ascii;
            p = point < 0x80 ? put_ascii(out, p, point) : put_wide(out, p, point);
            i += used;
        }
        out->size = (size_t)(p - out->bytes);
    }
    return ih_json_put(out, "\"", 1);
}

PyObject *ih_json_str(const json_text *out)
{
    if (!out->ascii)
        return PyUnicode_DecodeUTF8((const char *)out->bytes, (Py_ssize_t)out->size,
                                    "surrogatepass");
    PyObject *str = PyUnicode_New((Py_ssize_t)out->size, 127);
    if (str == NULL)
        return NULL;
    memcpy(PyUnicode_1BYTE_DATA(str), out->bytes, out->size);
    return str;
}

/* ---- numbers ---- */

static uint8_t *put_digits(uint8_t *end, uint64_t value)
{
    do {
        *--end = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return end;
}

int ih_json_int(json_text *out, int64_t value)
{
    uint8_t digits[24], *end = digits + sizeof digits;
    uint8_t *p = put_digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0)
        *--p = '-';
    return ih_json_put(out, p, (size_t)(end - p));
}

/* Rounds magnitude = mantissa * 2^exponent to `places` decimal places, exactly. 1: *decimal *
 * 10^-places lies nearer to it than to any other double; 0: it doesn't; -1: a tie, which others
 * decide. */
static int round_to_places(uint64_t mantissa, int exponent, int places, uint64_t *decimal)
{
    static const uint64_t fives[] = {1,
                                     5,
                                     25,
                                     125,
                                     625,
                                     3125,
                                     15625,
                                     78125,
                                     390625,
                                     1953125,
                                     9765625,
                                     48828125,
                                     244140625,
                                     1220703125,
                                     6103515625,
                                     30517578125,
                                     152587890625,
                                     762939453125,
                                     3814697265625,
                                     19073486328125,
                                     95367431640625};
    int shift = -(exponent + places);
    if (places < 1 || places > 20 || shift < 1 || shift > 64)
        return -1;
    unsigned __int128 scaled = (unsigned __int128)mantissa * fives[places];
    unsigned __int128 half = (unsigned __int128)1 << (shift - 1);
    unsigned __int128 rounded = (scaled + half) >> shift << shift;
    bool up = rounded > scaled;
    uint64_t off = (uint64_t)(up ? rounded - scaled : scaled - rounded);
    bool narrow = !up && mantissa == (uint64_t)1 << 52; /* the next smaller double is half as far */
    uint64_t off_max = narrow ? fives[places] / 2 : fives[places];
    *decimal = (uint64_t)(rounded >> shift);
    if (off == half || off * 2 == off_max)
        return -1;
    return off * 2 < off_max;
}

/* repr() of a magnitude from 1e-4 to 1e15, where it has no exponent: the shortest decimal that
 * rounds to the double, and of these the nearest. At most one decimal of 15 digits rounds to a
 * given double; 16 and then 17 digits are tried by size of the error, which 128 bits hold
 * exactly. False: none of these cases. */
static bool put_decimal(double value, uint8_t *text, size_t *size)
{
    static const double powers[] = {1e-3, 1e-2, 1e-1, 1,    1e1,  1e2,  1e3,  1e4,  1e5, 1e6,
                                    1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    double magnitude = fabs(value);
    if (!(magnitude >= 1e-4 && magnitude < 1e15))
        return false;
    int before = -3; /* digits before the point; below 0: zeros behind it */
    while (magnitude >= powers[before + 3])
        before++;
    uint64_t bits, decimal;
    memcpy(&bits, &magnitude, 8);
    uint64_t mantissa = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
    int exponent = (int)(bits >> 52) - 1075, places = 15 - before, found = 0;
    for (int digits = 15; found == 0 && digits <= 17; digits++) {
        places = digits - before > 1 ? digits - before : 1;
        found = digits > 15 && mantissa == (uint64_t)1 << 52
                    ? -1
                    : round_to_places(mantissa, exponent, places, &decimal);
    }
    if (found <= 0)
        return false;
    while (places > 1 && decimal % 10 == 0) {
        decimal /= 10;
        places--;
    }
    uint8_t *end = text + 48, *p = end;
    for (int i = 0; i < places; i++, decimal /= 10)
        *--p = (uint8_t)('0' + decimal % 10);
    *--p = '.';
    p = put_digits(p, decimal);
    if (signbit(value))
        *--p = '-';
    *size = (size_t)(end - p);
    memmove(text, p, *size);
    return true;
}

int ih_json_float(json_text *out, double value)
{
    uint8_t text[48];
    size_t size;
    if (!isfinite(value)) {
        if (!out->allow_nan) {
            PyErr_SetString(PyExc_ValueError, "Out of range float values are not JSON compliant");
            return -1;
        }
        const char *name = isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
        return ih_json_put(out, name, strlen(name));
    }
    if (put_decimal(value, text, &size))
        return ih_json_put(out, text, size);
    char *repr = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (repr == NULL)
        return -1;
    int result = ih_json_put(out, repr, strlen(repr));
    PyMem_Free(repr);
    return result;
}

int ih_json_element(json_text *out, const uint8_t *p, unsigned code)
{
    int64_t wide = 0;
    double real;
    switch ((ih_element)code) {
    case IH_BOOL:
        return *p ? ih_json_put(out, "true", 4) : ih_json_put(out, "false", 5);
    case IH_F64:
        memcpy(&real, p, 8);
        return ih_json_float(out, real);
    case IH_U64:
        memcpy(&wide, p, 8);
        if (wide < 0) {
            uint8_t digits[24], *end = digits + sizeof digits,
                                *start = put_digits(end, (uint64_t)wide);
            return ih_json_put(out, start, (size_t)(end - start));
        }
        break;
    case IH_I64:
        memcpy(&wide, p, 8);
        break;
    case IH_I8:
        wide = (int8_t)*p;
        break;
    case IH_U8:
        wide = *p;
        break;
    case IH_I16: {
        int16_t v;
        memcpy(&v, p, 2);
        wide = v;
        break;
    }
    case IH_U16: {
        uint16_t v;
        memcpy(&v, p, 2);
        wide = v;
        break;
    }
    case IH_I32: {
        int32_t v;
        memcpy(&v, p, 4);
        wide = v;
        break;
    }
    case IH_U32: {
        uint32_t v;
        memcpy(&v, p, 4);
        wide = v;
        break;
    }
    case IH_ELEMENTS:
        break;
    }
    return ih_json_int(out, wide);
}
