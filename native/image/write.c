/* The graph under construction; see write.h. */
#include "image/write.h"

#define FIRST_CAPACITY 4096u
#define KEPT_CAPACITY (8u << 20) /* a larger buffer is given back after its image */
#define FIRST_STRS 256u
#define KEPT_STRS 16384u
#define MOST_STRS (1u << 22) /* remembered strings: 32 MiB of table at most */

int ih_writer_init(ih_writer *w)
{
    *w = (ih_writer){.bytes = malloc(FIRST_CAPACITY),
                     .capacity = FIRST_CAPACITY,
                     .size = IH_IMAGE_START,
                     .strs = calloc(FIRST_STRS, sizeof(ih_known_str)),
                     .strs_mask = FIRST_STRS - 1};
    if (w->bytes != NULL && w->strs != NULL)
        return 0;
    ih_writer_free(w);
    return IH_WRITE_MEMORY;
}

void ih_writer_free(ih_writer *w)
{
    free(w->bytes);
    free(w->strs);
    *w = (ih_writer){0};
}

void ih_writer_reset(ih_writer *w)
{
    if (w->capacity > KEPT_CAPACITY) {
        uint8_t *smaller = realloc(w->bytes, KEPT_CAPACITY);
        if (smaller != NULL) {
            w->bytes = smaller;
            w->capacity = KEPT_CAPACITY;
        }
    }
    /* Emptying costs by the table's size: one that was hardly used makes room for a small one, so
     * that small images after a large one are not slowed by it. */
    if (w->strs_mask >= KEPT_STRS || w->strs_count < w->strs_mask / 16) {
        ih_known_str *smaller =
            w->strs_mask < FIRST_STRS ? NULL : calloc(FIRST_STRS, sizeof *smaller);
        if (smaller != NULL) {
            free(w->strs);
            w->strs = smaller;
            w->strs_mask = FIRST_STRS - 1;
            w->strs_count = 0;
        }
    }
    if (w->strs_count > 0)
        memset(w->strs, 0, ((size_t)w->strs_mask + 1) * sizeof(ih_known_str));
    w->strs_count = 0;
    memset(w->str_lookups, 0, sizeof w->str_lookups);
    memset(w->str_hits, 0, sizeof w->str_hits);
    w->size = IH_IMAGE_START;
}

int ih_writer_grow(ih_writer *w, uint64_t more)
{
    if (more > IH_GRAPH_MAX || w->size + more > IH_GRAPH_MAX)
        return IH_WRITE_TOO_LARGE;
    uint64_t capacity = w->capacity;
    while (capacity - w->size < more)
        capacity += capacity / 2 + FIRST_CAPACITY;
    uint8_t *bytes = realloc(w->bytes, capacity);
    if (bytes == NULL)
        return IH_WRITE_MEMORY;
    w->bytes = bytes;
    w->capacity = capacity;
    return 0;
}

int ih_write_packed(ih_writer *w, ih_kind kind, unsigned code, uint64_t n, uint64_t *at,
                    uint64_t *data)
{
    uint32_t width = ih_element_width(code);
    if (n > IH_GRAPH_MAX / 8)
        return IH_WRITE_TOO_LARGE;
    int result = ih_room(w, n * width + 96);
    if (result < 0)
        return result;
    *at = w->size;
    uint32_t count = n < IH_PACKED_COUNT_WIDE ? (uint32_t)n : IH_PACKED_COUNT_WIDE;
    ih_store32(w->bytes + w->size, count << 12 | code << 8 | IH_NODE_BIT | (uint32_t)kind);
    w->size += 4;
    if (n >= IH_PACKED_COUNT_WIDE) {
        ih_store64(w->bytes + w->size, n);
        w->size += 8;
    }
    *data = ih_packed_start(w->size, n * width, width);
    memset(w->bytes + w->size, 0, *data - w->size);
    w->size = *data + n * width;
    ih_pad4(w);
    return 0;
}

/* ---- strings -------------------------------------------------------------------------------- */

static bool known_str_equals(const ih_writer *w, uint32_t word, const uint8_t *text, uint64_t size)
{
    const uint8_t *p = w->bytes + (uint64_t)(word >> 1) * 4;
    if ((*p & IH_NODE_BIT) == 0)
        return *p == size && memcmp(p + 1, text, size) == 0;
    uint64_t n = ih_load32(p) >> 8;
    p += 4;
    if (n == IH_COUNT_WIDE) {
        n = ih_load64(p);
        p += 8;
    }
    return n == size && memcmp(p, text, size) == 0;
}

static void strs_grow(ih_writer *w)
{
    uint32_t mask = w->strs_mask * 4 + 3;
    ih_known_str *strs = calloc((size_t)mask + 1, sizeof(ih_known_str));
    if (strs == NULL)
        return; /* remembering less is no error */
    for (uint32_t i = 0; i <= w->strs_mask; i++) {
        if (w->strs[i].word == 0)
            continue;
        uint32_t slot = w->strs[i].hash & mask;
        while (strs[slot].word != 0)
            slot = (slot + 1) & mask;
        strs[slot] = w->strs[i];
    }
    free(w->strs);
    w->strs = strs;
    w->strs_mask = mask;
}

static int write_text_node(ih_writer *w, const uint8_t *text, uint64_t size, bool ascii,
                           uint32_t *word)
{
    uint64_t at = w->size;
    if (ascii && size <= IH_SHORT_STR_MAX) {
        int result = ih_room(w, 136);
        if (result < 0)
            return result;
        w->bytes[at] = (uint8_t)size;
        memcpy(w->bytes + at + 1, text, size);
        w->size += 1 + size;
    } else {
        int result = ih_begin_node(w, ascii ? IH_STR_ASCII : IH_STR_UTF8, size, size, &at);
        if (result < 0)
            return result;
        memcpy(w->bytes + w->size, text, size);
        w->size += size;
    }
    ih_pad4(w);
    *word = ih_word_at(at);
    return 0;
}

int ih_write_str(ih_writer *w, const uint8_t *text, uint64_t size, bool ascii, uint64_t hash,
                 bool remember, uint32_t *word)
{
    if (!remember)
        return write_text_node(w, text, size, ascii, word);
    uint32_t high = (uint32_t)(hash >> 32), slot = high & w->strs_mask;
    w->str_lookups[ih_str_class(size)]++;
    for (uint32_t probes = 0; w->strs[slot].word != 0 && probes < 64;
         slot = (slot + 1) & w->strs_mask, probes++) {
        if (w->strs[slot].hash == high && known_str_equals(w, w->strs[slot].word, text, size)) {
            w->str_hits[ih_str_class(size)]++;
            *word = w->strs[slot].word;
            return 0;
        }
    }
    int result = write_text_node(w, text, size, ascii, word);
    if (result < 0 || w->strs[slot].word != 0)
        return result; /* 64 probes: keys chosen to collide are not remembered */
    w->strs[slot] = (ih_known_str){high, *word};
    if (++w->strs_count * 2 > w->strs_mask && w->strs_mask < MOST_STRS)
        strs_grow(w);
    /* A full table stays half empty: what comes later is not remembered. */
    if (w->strs_count * 2 > w->strs_mask) {
        w->strs[slot].word = 0;
        w->strs_count--;
    }
    return 0;
}

/* ---- tables --------------------------------------------------------------------------------- */

int ih_begin_table(ih_writer *w, uint64_t n, uint32_t seed, uint64_t *at)
{
    uint64_t capacity = ih_table_capacity(n);
    if (capacity > INT32_MAX)
        return IH_WRITE_TOO_LARGE;
    uint64_t bytes = (capacity * ih_slot_width(n) + 3) & ~(uint64_t)3;
    int result = ih_room(w, 8 + bytes + 16);
    if (result < 0)
        return result;
    *at = w->size;
    ih_store32(w->bytes + w->size + 4, (uint32_t)capacity);
    w->size += 8 + bytes;
    ih_clear_table(w, *at, n, seed);
    return 0;
}

void ih_clear_table(ih_writer *w, uint64_t at, uint64_t n, uint32_t seed)
{
    uint64_t bytes = (ih_table_capacity(n) * ih_slot_width(n) + 3) & ~(uint64_t)3;
    ih_store32(w->bytes + at, seed);
    memset(w->bytes + at + 8, 0, bytes);
}

uint32_t ih_table_add(ih_writer *w, uint64_t at, uint64_t n, uint64_t hash, uint64_t entry)
{
    uint32_t capacity = (uint32_t)ih_table_capacity(n), width = ih_slot_width(n);
    uint32_t slot = ih_slot_tag(hash, width, ih_entry_bits(n)) | (uint32_t)(entry + 1);
    uint32_t position = ih_table_position(hash, capacity), probes = 1;
    uint8_t *slots = w->bytes + at + 8;
    if (width == 1) {
        for (; slots[position] != 0; probes++)
            position = position + 1 == capacity ? 0 : position + 1;
        slots[position] = (uint8_t)slot;
    } else if (width == 2) {
        uint16_t *p = (uint16_t *)(void *)slots;
        for (; p[position] != 0; probes++)
            position = position + 1 == capacity ? 0 : position + 1;
        p[position] = (uint16_t)slot;
    } else {
        uint32_t *p = (uint32_t *)(void *)slots;
        for (; p[position] != 0; probes++)
            position = position + 1 == capacity ? 0 : position + 1;
        p[position] = slot;
    }
    return probes;
}
