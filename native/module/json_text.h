/* Text of JSON as it grows: strings with their escapes, numbers. See json.c. */
#ifndef ICEHOUSE_MODULE_JSON_TEXT_H
#define ICEHOUSE_MODULE_JSON_TEXT_H

#include "module/decode.h"

typedef struct {
    ih_state *state;
    uint8_t *bytes;
    size_t size, room, limit;
    bool ensure_ascii, allow_nan;
    bool ascii; /* false once anything else may have been written */
} json_text;

/* All return 0, or -1 with an exception. */
int ih_json_grow(json_text *out, size_t more);
int ih_json_string(json_text *out, const uint8_t *text, uint64_t size, uint64_t at);
int ih_json_int(json_text *out, int64_t value);
int ih_json_float(json_text *out, double value);
int ih_json_element(json_text *out, const uint8_t *element, unsigned code);
/* A str, which is what the text is worth in the end. */
PyObject *ih_json_str(const json_text *out);

static inline int ih_json_room(json_text *out, size_t more)
{
    return __builtin_expect(out->room - out->size >= more, 1) ? 0 : ih_json_grow(out, more);
}
static inline int ih_json_put(json_text *out, const void *text, size_t size)
{
    if (ih_json_room(out, size) < 0)
        return -1;
    memcpy(out->bytes + out->size, text, size);
    out->size += size;
    return 0;
}

#endif
