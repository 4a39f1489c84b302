/* The walk of dumps and its options: see json.c and json_face.c. */
#ifndef ICEHOUSE_MODULE_JSON_H
#define ICEHOUSE_MODULE_JSON_H

#include "module/decode.h"

/* Texts are UTF-8 and belong to whoever made the options. */
typedef struct {
    const char *item, *key; /* separators */
    const char *indent;     /* of one level; NULL: all on one line */
    size_t item_size, key_size, indent_size;
    bool ensure_ascii, allow_nan, sort_keys;
    bool ascii;       /* separators and indentation are */
    bool has_default; /* values that are not JSON are left to json.dumps */
} ih_json_options;

/* The text of a container view. NULL without an exception: json.dumps must do it. */
PyObject *ih_json_walk(ih_state *state, const ih_view *view, const ih_json_options *options);

/* The Python type of what is not JSON, for messages. `node` is NULL for constants. */
const char *ih_json_type_name(uint32_t word, const ih_node *node);

#endif
