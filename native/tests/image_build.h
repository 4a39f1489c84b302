/* Small images made by hand, with the encoder's own writer and without Python. */
#ifndef ICEHOUSE_TESTS_IMAGE_BUILD_H
#define ICEHOUSE_TESTS_IMAGE_BUILD_H

#include "image/read.h"
#include "image/write.h"

#include <stdlib.h>
#include <string.h>

static inline uint32_t build_int(int32_t value) { return (uint32_t)value << 1 | 1; }

static inline uint32_t build_text(ih_writer *w, const char *text)
{
    uint64_t size = strlen(text);
    const uint8_t *bytes = (const uint8_t *)text;
    bool ascii = true;
    for (uint64_t i = 0; i < size; i++)
        ascii &= bytes[i] < 0x80;
    uint32_t word = 0;
    if (ih_write_str(w, bytes, size, ascii, ih_hash_bytes(bytes, size, IH_DOMAIN_STR, 0), true,
                     &word) < 0)
        abort();
    return word;
}

/* A node whose body is `count` words; `n` is what its header says. */
static inline uint32_t build_words(ih_writer *w, ih_kind kind, uint64_t n, const uint32_t *words,
                                   size_t count)
{
    uint64_t at;
    if (ih_begin_node(w, kind, n, count * 4, &at) < 0)
        abort();
    if (count > 0)
        memcpy(w->bytes + w->size, words, count * 4);
    w->size += count * 4;
    return ih_word_at(at);
}

/* A dict of `n` text keys with a table, key i having the value i. */
static inline uint32_t build_hashed(ih_writer *w, uint32_t n)
{
    uint64_t at, table;
    char key[32];
    uint32_t *pairs = malloc(n * 8);
    uint64_t *hashes = malloc(n * 8);
    for (uint32_t i = 0; i < n; i++) {
        int size = snprintf(key, sizeof key, "key %u", i);
        pairs[2 * i] = build_text(w, key);
        pairs[2 * i + 1] = build_int((int32_t)i);
        hashes[i] = ih_hash_bytes((const uint8_t *)key, (uint64_t)size, IH_DOMAIN_STR, 0);
    }
    if (ih_begin_node(w, IH_DICT_HASHED, n, 0, &at) < 0 || ih_begin_table(w, n, 0, &table) < 0)
        abort();
    for (uint32_t i = 0; i < n; i++)
        ih_table_add(w, table, n, hashes[i], i);
    ih_pad4(w);
    if (ih_room(w, n * 8 + 16) < 0)
        abort();
    memcpy(w->bytes + w->size, pairs, n * 8);
    w->size += n * 8;
    free(pairs);
    free(hashes);
    return ih_word_at(at);
}

static inline uint32_t build_packed(ih_writer *w, ih_kind kind, unsigned code, uint64_t n)
{
    uint64_t at, data;
    if (ih_write_packed(w, kind, code, n, &at, &data) < 0)
        abort();
    for (uint64_t i = 0; i < n * ih_element_width(code); i++)
        w->bytes[data + i] = (uint8_t)(code == IH_BOOL ? i & 1 : i);
    return ih_word_at(at);
}

static inline uint32_t build_text_run(ih_writer *w, ih_kind kind)
{
    static const uint8_t body[] = {1, 1, 0,   0,   6,   0,   0,   0,   1, 1,
                                   6, 0, 'a', 'b', 'c', 'd', 'e', 'f', 0, 0};
    uint64_t at;
    if (ih_begin_node(w, kind, 3, sizeof body, &at) < 0)
        abort();
    memcpy(w->bytes + w->size, body, sizeof body);
    w->size += sizeof body;
    return ih_word_at(at);
}

/* An array record of 2 by 3 int32 with its data behind it. */
static inline uint32_t build_array(ih_writer *w)
{
    uint64_t at, body = w->size + 4;
    if (ih_begin_node(w, IH_ARRAY, 2, 96, &at) < 0)
        abort();
    uint8_t *p = w->bytes + w->size;
    memset(p, 0, 72);
    ih_store32(p, IH_ORIGIN_NDARRAY | 'C' << 8 | 1 << 16);
    ih_store32(p + 4, 4);
    ih_store64(p + 8, body + 44);
    ih_store64(p + 16, 24);
    ih_store64(p + 24, 2);
    ih_store64(p + 32, 3);
    p[40] = 'i';
    w->size += 44 + 24;
    return ih_word_at(at);
}

/* A VALUE of a code. */
static inline uint32_t build_value(ih_writer *w, uint64_t code, uint32_t payload)
{
    return build_words(w, IH_VALUE, code, &payload, 1);
}

/* The class module.name. */
static inline uint32_t build_class(ih_writer *w, const char *module, const char *name)
{
    uint32_t pair[] = {build_text(w, module), build_text(w, name)};
    return build_value(w, IH_VALUE_CLASS, build_words(w, IH_TUPLE, 2, pair, 2));
}

/* `shape` is the word of a SHAPE or IH_NONE. */
static inline uint32_t build_layout(ih_writer *w, ih_form_code form, uint32_t class,
                                    uint32_t number, uint32_t shape)
{
    return build_words(w, IH_LAYOUT, form, (uint32_t[]){class, number, shape}, 3);
}

/* An object of up to 7 values. */
static inline uint32_t build_object(ih_writer *w, uint32_t layout, const uint32_t *values, size_t n)
{
    uint32_t words[8] = {layout};
    for (size_t i = 0; i < n; i++)
        words[i + 1] = values[i];
    return build_words(w, IH_OBJECT, n, words, n + 1);
}

/* An object of each form; `key` is a text. */
static inline size_t build_objects(ih_writer *w, uint32_t key, uint32_t list, uint32_t *out)
{
    uint32_t class = build_class(w, "module", "Class");
    uint32_t shape = build_words(w, IH_SHAPE, 1, &key, 1);
    uint32_t one = build_int(1);
    size_t n = 0;
    out[n++] = class;
    out[n++] = build_value(w, 4, build_int(738000));
    out[n++] = build_object(w, build_layout(w, IH_FORM_VIEW, class, 0, shape), &one, 1);
    out[n++] = build_object(w, build_layout(w, IH_FORM_CONTAINER, class, 1, shape),
                            (uint32_t[]){list, one}, 2);
    out[n++] = build_object(w, build_layout(w, IH_FORM_TUPLE, class, 0, IH_NONE),
                            (uint32_t[]){one, key}, 2);
    out[n] = build_object(w, build_layout(w, IH_FORM_MADE, class, 3, shape), &out[n - 3], 1);
    n++;
    uint32_t defined[] = {build_text(w, "module"), build_text(w, "Local"),
                          build_words(w, IH_DICT_PAIRS, 1, (uint32_t[]){key, one}, 2)};
    out[n++] = build_value(w, IH_VALUE_CLASS, build_words(w, IH_TUPLE, 3, defined, 3));
    out[n] = build_object(w, build_layout(w, IH_FORM_VIEW, out[n - 1], 0, shape), &one, 1);
    return n + 1;
}

/* The finished image: writes the header's part that belongs to the image. */
static inline void build_finish(ih_writer *w, uint32_t root)
{
    ih_image_header header = {IH_IMAGE_MAGIC, IH_IMAGE_VERSION, 0, root, w->size};
    memset(w->bytes, 0, 48);
    memcpy(w->bytes + 48, &header, sizeof header);
}

/* The table of links: two handles and their number. */
static inline void build_links(ih_writer *w)
{
    uint64_t handles[] = {1 << 24 | 64, 5, 2 << 24 | 64, 6};
    if (ih_room(w, sizeof handles + 4) < 0)
        abort();
    memcpy(w->bytes + w->size, handles, sizeof handles);
    ih_store32(w->bytes + w->size + sizeof handles, 2);
    w->size += sizeof handles + 4;
}

/* One image with every kind of node in it, a shared list, and a cycle. */
static inline void build_everything(ih_writer *w)
{
    uint32_t words[64];
    size_t n = 0;
    uint64_t at;
    ih_writer_reset(w);
    words[n++] = build_int(-7);
    for (uint32_t constant = 0; constant < IH_CONSTANTS_END; constant += 2)
        words[n++] = constant;
    uint32_t key = build_text(w, "key"), other = build_text(w, "\xc3\xbc\xed\xa0\x80");
    words[n++] = key;
    words[n++] = other;
    words[n++] =
        build_text(w, "a text that is longer than one hundred and twenty-seven bytes, so that it "
                      "is no short string but has a node with a header of its own ....");
    uint32_t three[] = {0, 0, 0, 0};
    three[0] = build_words(w, IH_FLOAT, 0, three + 1, 2);
    words[n++] = three[0];
    words[n++] = build_words(w, IH_INT64, 0, three, 2);
    words[n++] = build_words(w, IH_COMPLEX, 0, (uint32_t[]){0, 0, 0, 0}, 4);
    words[n++] = build_words(w, IH_BIGINT, 9, (uint32_t[]){1, 2, 3}, 3);
    words[n++] = build_words(w, IH_BYTES, 3, (uint32_t[]){0x616161}, 1);
    words[n++] = build_words(w, IH_BYTEARRAY, 3, (uint32_t[]){0x616161}, 1);
    words[n++] = build_words(w, IH_BYTES_BLOB, 0, (uint32_t[]){64, 0, 8, 0}, 4);
    words[n++] = build_hashed(w, 20);
    uint32_t shape = build_words(w, IH_SHAPE, 2, (uint32_t[]){key, other}, 2);
    words[n++] = build_words(w, IH_DICT_SHAPED, 2, (uint32_t[]){shape, build_int(1), key}, 3);
    words[n++] = build_words(w, IH_DICT_PAIRS, 2, (uint32_t[]){key, 1, build_int(5), key}, 4);
    words[n++] = build_words(w, IH_SET, 2, (uint32_t[]){key, build_int(3)}, 2);
    words[n++] = build_words(w, IH_FROZENSET, 1, (uint32_t[]){key}, 1);
    words[n++] = build_words(w, IH_TUPLE, 2, (uint32_t[]){key, words[0]}, 2);
    words[n] = build_words(w, IH_TUPLE_VIEW, 1, (uint32_t[]){words[n - 1]}, 1);
    n++;
    for (unsigned code = 0; code < 2; code++)
        words[n++] = build_packed(w, IH_LIST_PACKED, code ? IH_F64 : IH_BOOL, 20);
    words[n++] = build_text_run(w, IH_LIST_STR);
    words[n++] = build_array(w);
    n += build_objects(w, key, words[n - 2], words + n);
    words[n++] = build_words(w, IH_LINK, 1, (uint32_t[]){ih_word_at(64)}, 1);
    words[n] = ih_word_at(w->size); /* the list itself */
    n++;
    if (ih_begin_node(w, IH_LIST, n, n * 4, &at) < 0)
        abort();
    memcpy(w->bytes + w->size, words, n * 4);
    w->size += n * 4;
    ih_mark_shared(w, ih_word_at(at));
    build_links(w);
    build_finish(w, ih_word_at(at));
    w->bytes[51] = IH_IMAGE_LINKS;
}

#endif
