/* Reads every kind of node; see read.h. Each field is loaded once into a local and checked before
 * it is used. */
#include "image/read.h"

typedef struct {
    const ih_image *image;
    uint64_t at; /* next byte of the node */
} cursor;

static bool take32(cursor *c, uint32_t *out)
{
    if (!ih_extent_fits(c->at, 1, 4, c->image->graph))
        return false;
    *out = ih_load_word(c->image->base + c->at);
    c->at += 4;
    return true;
}

static bool take64(cursor *c, uint64_t *out)
{
    if (!ih_extent_fits(c->at, 1, 8, c->image->graph))
        return false;
    memcpy(out, c->image->base + c->at, 8); /* into a local: a torn value is as wild as any */
    c->at += 8;
    return true;
}

/* `count` items of `width` bytes at the cursor, then padding to 4. */
static bool take_run(cursor *c, uint64_t count, uint64_t width, uint64_t *out)
{
    if (!ih_extent_fits(c->at, count, width, c->image->graph))
        return false;
    *out = c->at;
    c->at = (c->at + count * width + 3) & ~(uint64_t)3;
    return true;
}

static int read_table(cursor *c, ih_node *out, ih_fault *fault)
{
    uint64_t at = c->at;
    if (!take32(c, &out->seed) || !take32(c, &out->capacity))
        IH_FAULT(at, "table outside the graph");
    if (out->capacity <= out->n)
        IH_FAULT(at + 4, "table has no room for its entries");
    out->width = (uint8_t)ih_slot_width(out->n);
    if (!take_run(c, out->capacity, out->width, &out->table))
        IH_FAULT(at, "table outside the graph");
    return 0;
}

static int read_text_run(cursor *c, ih_node *out, ih_fault *fault)
{
    uint64_t at = c->at;
    uint32_t info, size;
    if (!take32(c, &info) || !take32(c, &size))
        IH_FAULT(at, "text run outside the graph");
    uint32_t width = info & 0xff;
    if ((width != 1 && width != 2 && width != 4) || (info & ~0x1ffu) != 0)
        IH_FAULT(at, "bad text run");
    out->width = (uint8_t)width;
    out->ascii = (info & 0x100) != 0;
    out->text_size = size;
    if (!take_run(c, out->n, width, &out->data) || !take_run(c, size, 1, &out->text))
        IH_FAULT(at, "text run outside the graph");
    return 0;
}

static int read_packed(cursor *c, uint32_t header, ih_node *out, ih_fault *fault)
{
    uint64_t at = c->at - 4;
    out->code = (uint8_t)(header >> 8 & 15);
    if (out->code >= IH_ELEMENTS)
        IH_FAULT(at, "unknown element code");
    out->n = header >> 12;
    if (out->n == IH_PACKED_COUNT_WIDE && !take64(c, &out->n))
        IH_FAULT(at, "count outside the graph");
    uint32_t width = ih_element_width(out->code);
    if (!ih_extent_fits(c->at, out->n, width, c->image->graph))
        IH_FAULT(at, "elements outside the graph");
    uint64_t start = ih_packed_start(c->at, out->n * width, width);
    if (!ih_extent_fits(start, out->n, width, c->image->graph))
        IH_FAULT(at, "elements outside the graph");
    out->data = start;
    out->width = (uint8_t)width;
    return 0;
}

static int read_blob(cursor *c, ih_node *out, ih_fault *fault)
{
    uint64_t at = c->at;
    if (!take64(c, &out->data) || !take64(c, &out->n))
        IH_FAULT(at, "blob reference outside the graph");
    if (!ih_extent_fits(out->data, out->n, 1, c->image->size))
        IH_FAULT(at, "blob outside the image");
    return 0;
}

/* The product of the shape and the item size, or UINT64_MAX where it overflows. */
static uint64_t array_bytes(const ih_image *image, const ih_node *node)
{
    uint64_t total = node->item_size;
    bool empty = false;
    for (uint64_t i = 0; i < node->n; i++) {
        uint64_t extent;
        memcpy(&extent, image->base + node->shape_at + i * 8, 8);
        if (extent == 0)
            empty = true;
        else if (extent > (uint64_t)INT64_MAX || __builtin_mul_overflow(total, extent, &total) ||
                 total > (uint64_t)INT64_MAX)
            return UINT64_MAX;
    }
    return empty ? 0 : total;
}

static int read_array(cursor *c, ih_node *out, ih_fault *fault)
{
    uint64_t at = c->at;
    uint32_t first;
    if (out->n > IH_ARRAY_DIMENSIONS_MAX)
        IH_FAULT(at, "too many dimensions");
    if (!take32(c, &first) || !take32(c, &out->item_size) || !take64(c, &out->data) ||
        !take64(c, &out->bytes))
        IH_FAULT(at, "array record outside the graph");
    out->code = (uint8_t)first;
    out->order = (uint8_t)(first >> 8);
    out->text_size = first >> 16;
    if (out->code >= IH_ORIGINS || (out->order != 'C' && out->order != 'F'))
        IH_FAULT(at, "bad array record");
    if (out->item_size == 0 || out->item_size > INT32_MAX)
        IH_FAULT(at + 4, "bad item size");
    if (!take_run(c, out->n, 8, &out->shape_at) || !take_run(c, out->text_size, 1, &out->text))
        IH_FAULT(at, "array record outside the graph");
    if (!ih_extent_fits(out->data, out->bytes, 1, c->image->size))
        IH_FAULT(at, "array data outside the image");
    if (array_bytes(c->image, out) > out->bytes)
        IH_FAULT(out->shape_at, "array shape larger than its data");
    return 0;
}

/* The target is looked at when somebody follows the link: it lies in another image. */
static int read_link(cursor *c, ih_node *out, ih_fault *fault)
{
    uint64_t at = c->at - 4;
    if (out->n >= c->image->links)
        IH_FAULT(at, "link beyond the table of links");
    if (!take32(c, &out->shape))
        IH_FAULT(at, "link outside the graph");
    if ((out->shape & 1) != 0 || out->shape < ih_word_at(IH_IMAGE_START))
        IH_FAULT(at + 4, "link to no node");
    return 0;
}

int ih_read_node_slow(const ih_image *image, uint64_t at, ih_node *out, ih_fault *fault)
{
    uint32_t header = ih_load_word(image->base + at);
    cursor c = {image, at + 4};
    unsigned kind = header & IH_KIND_MASK;
    if ((header & IH_NODE_BIT) == 0)
        IH_FAULT(at, "node changed while it was read");
    if (kind >= IH_KINDS)
        IH_FAULT(at, "unknown kind of node");
    out->kind = (uint8_t)kind;
    out->shared = (header & IH_SHARED_BIT) != 0;
    out->code = out->width = out->order = 0;
    out->ascii = false;
    out->capacity = out->seed = out->shape = out->item_size = 0;
    out->data = out->table = out->text = out->text_size = out->shape_at = out->bytes = 0;
    if (kind == IH_LIST_PACKED || kind == IH_TUPLE_PACKED || kind == IH_TUPLE_VIEW_PACKED)
        return read_packed(&c, header, out, fault);
    out->n = header >> 8;
    if (out->n == IH_COUNT_WIDE && !take64(&c, &out->n))
        IH_FAULT(at, "count outside the graph");
    bool fits = true;
    switch ((ih_kind)kind) {
    case IH_STR_ASCII:
        out->ascii = true; /* fall through */
    case IH_STR_UTF8:
    case IH_BIGINT:
    case IH_BYTES:
    case IH_BYTEARRAY:
        fits = take_run(&c, out->n, 1, &out->data);
        break;
    case IH_INT64:
    case IH_FLOAT:
        fits = take_run(&c, 8, 1, &out->data);
        break;
    case IH_COMPLEX:
        fits = take_run(&c, 16, 1, &out->data);
        break;
    case IH_BYTES_BLOB:
    case IH_BYTEARRAY_BLOB:
        return read_blob(&c, out, fault);
    case IH_LIST:
    case IH_TUPLE:
    case IH_TUPLE_VIEW:
        fits = take_run(&c, out->n, 4, &out->data);
        break;
    case IH_LIST_STR:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW_STR:
        return read_text_run(&c, out, fault);
    case IH_DICT_SHAPED:
    case IH_OBJECT:
        fits = take32(&c, &out->shape) && take_run(&c, out->n, 4, &out->data);
        break;
    case IH_DICT_PAIRS:
        if (out->n > IH_PAIRS_MAX)
            IH_FAULT(at, "too many entries without a table");
        fits = take_run(&c, out->n, 8, &out->data);
        break;
    case IH_SET:
    case IH_FROZENSET:
        if (out->n > IH_PAIRS_MAX)
            IH_FAULT(at, "too many entries without a table");
        fits = take_run(&c, out->n, 4, &out->data);
        break;
    case IH_SHAPE:
        if (out->n > IH_PAIRS_MAX && read_table(&c, out, fault) < 0)
            return -1;
        fits = take_run(&c, out->n, 4, &out->data);
        break;
    case IH_DICT_HASHED:
        if (read_table(&c, out, fault) < 0)
            return -1;
        fits = take_run(&c, out->n, 8, &out->data);
        break;
    case IH_SET_HASHED:
    case IH_FROZENSET_HASHED:
        if (read_table(&c, out, fault) < 0)
            return -1;
        fits = take_run(&c, out->n, 4, &out->data);
        break;
    case IH_ARRAY:
        return read_array(&c, out, fault);
    case IH_LINK:
        return read_link(&c, out, fault);
    case IH_LAYOUT:
        if (out->n >= IH_FORMS)
            IH_FAULT(at, "unknown form of objects");
        fits = take32(&c, &out->capacity) && take32(&c, &out->seed) && take32(&c, &out->shape);
        break;
    case IH_VALUE:
        fits = take32(&c, &out->shape);
        break;
    default:
        IH_FAULT(at, "unknown kind of node");
    }
    if (!fits)
        IH_FAULT(at, "node outside the graph");
    return 0;
}
