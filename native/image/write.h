/* Writing images: the graph under construction, in private memory.
 *
 * Purpose.   Appends nodes to a growing buffer whose offsets are the image's offsets, keeps equal
 *            strings once, and fills tables. What the nodes mean and in which order they come is
 *            decided by the caller (module/freezer.c).
 * Lifecycle. ih_writer_init(), any number of images with ih_writer_reset() between them,
 *            ih_writer_free(). The buffer and the string table are kept for the next image, unless
 *            they grew large.
 * Threads.   A writer belongs to one thread at a time.
 * Failure.   Functions return 0, or an ih_write_result below zero; the writer may then only be
 *            reset or freed.
 */
#ifndef ICEHOUSE_IMAGE_WRITE_H
#define ICEHOUSE_IMAGE_WRITE_H

#include <stdbool.h>
#include <stdlib.h>

#include "image/format.h"
#include "image/hash.h"

typedef enum {
    IH_WRITE_OK = 0,
    IH_WRITE_MEMORY = -1,   /* malloc failed */
    IH_WRITE_TOO_LARGE = -2 /* the graph would pass IH_GRAPH_MAX */
} ih_write_result;

typedef struct {
    uint32_t hash; /* upper half of the text's hash */
    uint32_t word; /* 0: empty */
} ih_known_str;

typedef struct {
    uint8_t *bytes;
    uint64_t size, capacity; /* size: next free offset, a multiple of 4 between nodes */
    ih_known_str *strs;
    uint32_t strs_mask, strs_count;
    uint32_t str_lookups[2], str_hits[2]; /* of short and of long ones: whether remembering pays */
} ih_writer;

int ih_writer_init(ih_writer *w);
void ih_writer_reset(ih_writer *w);
void ih_writer_free(ih_writer *w);
int ih_writer_grow(ih_writer *w, uint64_t more);

/* Room for `more` bytes behind size. Pointers into w->bytes are invalid afterwards. */
static inline int ih_room(ih_writer *w, uint64_t more)
{
    return __builtin_expect(w->capacity - w->size >= more, 1) ? 0 : ih_writer_grow(w, more);
}

static inline void ih_store32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void ih_store64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }
static inline void ih_put_word(ih_writer *w, uint64_t at, uint32_t word)
{
    ih_store32(w->bytes + at, word);
}

/* Appends a node's header with its count; `body` more bytes are made room for. *at: the node;
 * w->size: behind the header. */
static inline int ih_begin_node(ih_writer *w, ih_kind kind, uint64_t n, uint64_t body, uint64_t *at)
{
    int result = ih_room(w, body + 16);
    if (result < 0)
        return result;
    *at = w->size;
    uint32_t count = n < IH_COUNT_WIDE ? (uint32_t)n : IH_COUNT_WIDE;
    ih_store32(w->bytes + w->size, count << 8 | IH_NODE_BIT | (uint32_t)kind);
    w->size += 4;
    if (n >= IH_COUNT_WIDE) {
        ih_store64(w->bytes + w->size, n);
        w->size += 8;
    }
    return 0;
}

/* Zeroes up to the next multiple of 4. There is always room for it: ih_begin_node keeps some. */
static inline void ih_pad4(ih_writer *w)
{
    while (w->size % 4)
        w->bytes[w->size++] = 0;
}

/* Appends a packed node and leaves *data at its first element; n * width bytes behind it are the
 * caller's to fill. */
int ih_write_packed(ih_writer *w, ih_kind kind, unsigned code, uint64_t n, uint64_t *at,
                    uint64_t *data);

/* UTF-8 of one code point, lone surrogates included (as Python's `surrogatepass`); returns the next
 * free byte. */
static inline uint8_t *ih_put_code_point(uint8_t *p, uint32_t c)
{
    if (c < 0x80) {
        *p++ = (uint8_t)c;
        return p;
    }
    if (c < 0x800) {
        *p++ = (uint8_t)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *p++ = (uint8_t)(0xe0 | c >> 12);
        } else {
            *p++ = (uint8_t)(0xf0 | c >> 18);
            *p++ = (uint8_t)(0x80 | (c >> 12 & 63));
        }
        *p++ = (uint8_t)(0x80 | (c >> 6 & 63));
    }
    *p++ = (uint8_t)(0x80 | (c & 63));
    return p;
}

/* A text node. `remember`: look for an equal one first, and be found by later ones. `hash` is
 * ih_hash_bytes(.., STR, 0). */
int ih_write_str(ih_writer *w, const uint8_t *text, uint64_t size, bool ascii, uint64_t hash,
                 bool remember, uint32_t *word);

/* Whether remembering strings that occur once by identity has paid so far. */
static inline unsigned ih_str_class(uint64_t size) { return size > 32; }
static inline bool ih_remembering_pays(const ih_writer *w, uint64_t size)
{
    unsigned class = ih_str_class(size);
    uint32_t trial = class ? 128 : 4096;
    return w->str_lookups[class] < trial || w->str_hits[class] >= w->str_lookups[class] / 8;
}

/* Appends an empty table for n entries. *at: its seed field. */
int ih_begin_table(ih_writer *w, uint64_t n, uint32_t seed, uint64_t *at);
/* Empties it again for another seed. */
void ih_clear_table(ih_writer *w, uint64_t at, uint64_t n, uint32_t seed);
/* Adds entry number `entry`; returns the probes it took. */
uint32_t ih_table_add(ih_writer *w, uint64_t at, uint64_t n, uint64_t hash, uint64_t entry);
/* More probes than keys that were not chosen to collide would need. */
static inline bool ih_too_many_probes(uint64_t probes, uint64_t n)
{
    return probes > 16 * n + 1024;
}

/* Marks a node as reached more than once; a short string has no bit for it. */
static inline void ih_mark_shared(ih_writer *w, uint32_t word)
{
    uint8_t *node = w->bytes + (uint64_t)(word >> 1) * 4;
    if ((word & 1) == 0 && word >= 32 && (*node & IH_NODE_BIT) != 0)
        *node |= IH_SHARED_BIT;
}

#endif
