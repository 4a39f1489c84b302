/* From the finished graph to a sealed image: blobs get their places, the bytes go into a block, the
 * store is told of links. */
#include "module/decode.h"
#include "module/freezer_state.h"
#include "module/image_object.h"
#include "module/process.h"

/* Gives the blobs their places; the image's whole size. */
static uint64_t place_blobs(freezer *f)
{
    uint64_t end = f->writer.size;
    for (size_t i = 0; i < f->blob_count; i++) {
        end = (end + 63) & ~(uint64_t)63;
        ih_store64(f->writer.bytes + f->blobs[i].field, end);
        end += (uint64_t)f->blobs[i].buffer.len;
    }
    return end;
}

static const uint8_t zeros[64];

/* Everything behind the header, in order, through `put`. */
static ih_result write_body(const freezer *f, ih_block *block, ih_error *error)
{
    uint64_t at = f->writer.size;
    ih_result result = ih_block_write(block, IH_HEADER_SIZE, f->writer.bytes + IH_HEADER_SIZE,
                                      at - IH_HEADER_SIZE, error);
    for (size_t i = 0; i < f->blob_count && result == IH_OK; i++) {
        uint64_t start = (at + 63) & ~(uint64_t)63;
        if (start > at)
            result = ih_block_write(block, at, zeros, start - at, error);
        if (result == IH_OK)
            result = ih_block_write(block, start, f->blobs[i].buffer.buf,
                                    (uint64_t)f->blobs[i].buffer.len, error);
        at = start + (uint64_t)f->blobs[i].buffer.len;
    }
    return result;
}

static ih_image_header image_header(const freezer *f, uint32_t root)
{
    uint8_t flags = (f->link_count > 0 ? IH_IMAGE_LINKS : 0) | (f->cells ? IH_IMAGE_CELLS : 0);
    return (ih_image_header){IH_IMAGE_MAGIC, IH_IMAGE_VERSION, flags, root, f->writer.size};
}

#define LONG_COPY (256u << 10) /* bytes from which the GIL is released */

static ih_result publish(freezer *f, ih_store *store, unsigned flags, uint32_t root,
                         ih_handle *handle, ih_lease **lease, ih_error *error)
{
    ih_block block;
    ih_image_header header = image_header(f, root);
    uint64_t size = place_blobs(f);
    ih_result result = ih_reserve(store, size, flags, &block, error);
    if (result != IH_OK)
        return result;
    result = write_body(f, &block, error);
    if (result == IH_OK)
        result = ih_block_seal(&block, (const uint8_t *)&header, handle, lease, error);
    if (result != IH_OK)
        ih_block_abandon(&block);
    return result;
}

ih_result ih_put_image(ih_store *store, unsigned flags, const uint8_t *bytes, uint64_t size,
                       const ih_image_header *header, ih_handle *handle, ih_lease **lease,
                       ih_error *error)
{
    ih_block block;
    const uint8_t *own = bytes + IH_HEADER_SIZE - sizeof *header;
    ih_result result = ih_reserve(store, size, flags, &block, error);
    if (result != IH_OK)
        return result;
    result = ih_block_write(&block, IH_HEADER_SIZE, bytes + IH_HEADER_SIZE, size - IH_HEADER_SIZE,
                            error);
    if (result == IH_OK)
        result =
            ih_block_seal(&block, header ? (const uint8_t *)header : own, handle, lease, error);
    if (result != IH_OK)
        ih_block_abandon(&block);
    return result;
}

/* A view of a whole image needs no decoding: its bytes are copied. */
int freeze_copy_image(ih_state *state, ih_store *store, unsigned flags,
                      const ih_image_object *image, ih_handle *handle, ih_lease **lease)
{
    ih_error error = {0};
    ih_image_header header = {IH_IMAGE_MAGIC, IH_IMAGE_VERSION, 0, image->root, image->image.graph};
    ih_result result;
    Py_BEGIN_ALLOW_THREADS
    result = ih_put_image(store, flags, image->image.base, image->image.size, &header, handle,
                          lease, &error);
    Py_END_ALLOW_THREADS
    if (result == IH_OK)
        return 0;
    ih_raise_arena(state, &error);
    return -1;
}

bool freeze_is_whole_image(const ih_state *state, PyObject *object)
{
    if (!ih_is_view(state, object) || !ih_view_is_root(object))
        return false;
    const ih_image_object *image = ((const ih_view *)object)->image;
    bool raw = Py_TYPE(object) == state->array_type || Py_TYPE(object) == state->bytes_type;
    return !raw && image->lease != NULL && image->lease->trusted && image->image.links == 0 &&
           !image->image.cells;
}

/* Seals the image, and tells the store what it links to before anybody knows its handle. */
ih_result freeze_publish(freezer *f, ih_store *store, unsigned flags, uint32_t root,
                         ih_handle *handle, ih_lease **lease, ih_error *error)
{
    ih_result result;
    ih_lease *own = NULL, **held = lease == NULL && f->link_count > 0 ? &own : lease;
    uint64_t size = f->writer.size;
    for (size_t i = 0; i < f->blob_count; i++)
        size += (uint64_t)f->blobs[i].buffer.len;
    if (size < LONG_COPY) {
        IH_MAY_WAIT(result, publish(f, store, flags, root, handle, held, error));
    } else {
        Py_BEGIN_ALLOW_THREADS
        result = publish(f, store, flags, root, handle, held, error);
        Py_END_ALLOW_THREADS
    }
    if (result != IH_OK || f->link_count == 0)
        return result;
    IH_MAY_WAIT(result, freeze_publish_links(f, *handle, error));
    if (result != IH_OK) {
        ih_lease_set_fleeting(*held, true); /* nobody knows it: it goes with this lease */
        ih_lease_release(*held);
    } else if (own != NULL) {
        ih_lease_release(own);
    }
    return result;
}

PyObject *freeze_body_to_bytes(freezer *f, uint32_t root)
{
    uint64_t size = place_blobs(f), at = f->writer.size;
    ih_image_header header = image_header(f, root);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    uint8_t *p = bytes == NULL ? NULL : (uint8_t *)PyBytes_AS_STRING(bytes);
    if (p != NULL) {
        memset(p, 0, IH_HEADER_SIZE);
        memcpy(p + IH_HEADER_SIZE - sizeof header, &header, sizeof header);
        memcpy(p + IH_HEADER_SIZE, f->writer.bytes + IH_HEADER_SIZE, at - IH_HEADER_SIZE);
    }
    for (size_t i = 0; p != NULL && i < f->blob_count; i++) {
        uint64_t start = (at + 63) & ~(uint64_t)63, length = (uint64_t)f->blobs[i].buffer.len;
        memset(p + at, 0, start - at);
        memcpy(p + start, f->blobs[i].buffer.buf, length);
        at = start + length;
    }
    return bytes;
}
