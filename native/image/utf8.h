/* Is this text? What Python's "surrogatepass" reads: UTF-8 in its shortest form up to U+10FFFF,
 * lone surrogates as three bytes each. */
#ifndef ICEHOUSE_IMAGE_UTF8_H
#define ICEHOUSE_IMAGE_UTF8_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline bool ih_is_ascii(const uint8_t *p, uint64_t size)
{
    uint64_t seen = 0;
    for (; size >= 8; p += 8, size -= 8) {
        uint64_t piece;
        memcpy(&piece, p, 8);
        seen |= piece;
    }
    for (; size > 0; p++, size--)
        seen |= *p;
    return (seen & 0x8080808080808080u) == 0;
}

/* The code point at p, which has `size` > 0 bytes; *used is its length. UINT32_MAX: not UTF-8. Each
 * byte is loaded once: what is returned is a code point even while somebody writes the bytes. */
static inline uint32_t ih_utf8_next(const uint8_t *p, uint64_t size, uint32_t *used)
{
    uint32_t lead = __atomic_load_n(p, __ATOMIC_RELAXED);
    if (lead < 0x80) {
        *used = 1;
        return lead;
    }
    uint32_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead < 0xc2 || lead > 0xf4 || length > size)
        return UINT32_MAX;
    uint32_t point = lead & (0x7fu >> length);
    for (uint32_t i = 1; i < length; i++) {
        uint32_t next = __atomic_load_n(p + i, __ATOMIC_RELAXED);
        if ((next & 0xc0) != 0x80)
            return UINT32_MAX;
        point = point << 6 | (next & 0x3f);
    }
    if ((length == 3 && point < 0x800) || (length == 4 && (point < 0x10000 || point > 0x10ffff)))
        return UINT32_MAX;
    *used = length;
    return point;
}

static inline bool ih_is_utf8(const uint8_t *p, uint64_t size)
{
    while (size > 0) {
        uint32_t used;
        if (ih_utf8_next(p, size, &used) == UINT32_MAX)
            return false;
        p += used;
        size -= used;
    }
    return true;
}

#endif
