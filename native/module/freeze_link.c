/* Freezing views: those of the store that is being written into are linked to, not copied, where
 * that pays.
 *
 * A link keeps the whole image that it leads to, and reading through it costs a lease, so what is
 * small is copied. Keys are always copied, since tables are searched by their bytes, and so is the
 * root, which is what a handle names. */
#include "arena/wire.h"
#include "module/freezer_state.h"

#define LINK_MIN 1024u /* bytes of nodes below a view from which a link pays */
#define SLOTS (2u * IH_IMAGE_LINKS_MAX)

_Static_assert(IH_IMAGE_LINKS_MAX == IH_LINKS_MAX, "the format and the daemon agree");

uint64_t freeze_node_bytes(const ih_node *node)
{
    uint64_t table = (uint64_t)node->capacity * node->width;
    switch (node->kind) {
    case IH_SHORT_STR:
        return node->n + 1;
    case IH_INT64:
    case IH_FLOAT:
        return 12;
    case IH_COMPLEX:
        return 20;
    case IH_ARRAY:
        return node->bytes + 24;
    case IH_LIST_PACKED:
    case IH_TUPLE_PACKED:
    case IH_TUPLE_VIEW_PACKED:
    case IH_LIST_STR:
    case IH_TUPLE_STR:
    case IH_TUPLE_VIEW_STR:
        return node->n * node->width + node->text_size + 4;
    case IH_DICT_PAIRS:
        return node->n * 8 + 4;
    case IH_DICT_HASHED:
        return node->n * 8 + 4 + table;
    case IH_LIST:
    case IH_TUPLE:
    case IH_TUPLE_VIEW:
    case IH_DICT_SHAPED:
    case IH_OBJECT:
    case IH_SET:
    case IH_FROZENSET:
        return node->n * 4 + 4;
    case IH_SHAPE:
    case IH_SET_HASHED:
    case IH_FROZENSET_HASHED:
        return node->n * 4 + 4 + (node->table != 0 ? table : 0);
    case IH_LAYOUT:
        return 16;
    case IH_VALUE:
        return 8;
    default:
        return node->n + 4;
    }
}

static uint64_t words_below(const ih_node *node)
{
    switch (node->kind) {
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        return node->n * 2;
    case IH_LIST:
    case IH_TUPLE:
    case IH_TUPLE_VIEW:
    case IH_DICT_SHAPED:
    case IH_OBJECT:
    case IH_SET:
    case IH_SET_HASHED:
    case IH_FROZENSET:
    case IH_FROZENSET_HASHED:
        return node->n;
    default:
        return 0;
    }
}

/* Whether the nodes from here downward take LINK_MIN bytes. Looks at no more than that, so its
 * stack can't overflow: each word was counted before it is pushed. Damage is left to who copies. */
static bool pays(const ih_image *image, uint32_t word)
{
    uint32_t stack[LINK_MIN / 4 + 1], depth = 0;
    uint64_t bytes = 0;
    for (stack[depth++] = word; depth > 0;) {
        ih_node node;
        ih_fault fault;
        word = stack[--depth];
        if (ih_word_is_int(word) || ih_word_is_constant(word))
            continue;
        if (ih_read_node(image, word, &node, &fault) < 0)
            return false;
        bytes += freeze_node_bytes(&node);
        if (bytes >= LINK_MIN || node.kind == IH_LINK)
            return true;
        if (node.kind == IH_VALUE)
            stack[depth++] = node.shape;
        uint64_t n = words_below(&node);
        for (uint64_t i = 0; i < n; i++)
            stack[depth++] = ih_load_word(image->base + node.data + 4 * i);
    }
    return false;
}

/* The number of an image in the table of links; below 0: IH_WRITE_MEMORY; SLOTS: the table is
 * full. */
static int64_t link_index(freezer *f, ih_handle handle)
{
    if (f->links == NULL) {
        f->links = malloc(IH_IMAGE_LINKS_MAX * sizeof *f->links);
        f->link_slots = calloc(SLOTS, sizeof *f->link_slots);
        if (f->links == NULL || f->link_slots == NULL)
            return IH_WRITE_MEMORY;
    }
    uint32_t slot = (uint32_t)((handle.locator ^ handle.nonce) * 0x9e3779b97f4a7c15u >> 32) % SLOTS;
    for (; f->link_slots[slot] != 0; slot = (slot + 1) % SLOTS) {
        ih_handle known = f->links[f->link_slots[slot] - 1];
        if (known.locator == handle.locator && known.nonce == handle.nonce)
            return f->link_slots[slot] - 1;
    }
    if (f->link_count == IH_IMAGE_LINKS_MAX)
        return SLOTS;
    f->links[f->link_count++] = handle;
    f->link_slots[slot] = (uint16_t)f->link_count;
    return f->link_count - 1;
}

int freeze_link(freezer *f, PyObject *object, uint32_t *word)
{
    const ih_view *view = (const ih_view *)object;
    const ih_image_object *image = view->image;
    if (f->store == NULL || f->keys > 0 || object == f->root || view->at == 0 ||
        image->lease == NULL || image->lease->store != f->store || !ih_may_be_linked(view->kind))
        return 0;
    PyTypeObject *type = Py_TYPE(object);
    if ((type == f->state->list_type || type == f->state->tuple_type) &&
        !((const ih_sequence *)object)->whole)
        return 0;
    uint32_t target = ih_word_at(view->at);
    if (!pays(&image->image, target))
        return 0;
    int64_t index = link_index(f, image->lease->handle);
    if (index == SLOTS)
        return 0;
    /* The lease must stand until the link does. */
    if (index >= 0 && freeze_keep(f, Py_NewRef((PyObject *)image)) < 0)
        return -1;
    uint64_t at = 0;
    int result =
        index < 0 ? (int)index : ih_begin_node(&f->writer, IH_LINK, (uint64_t)index, 4, &at);
    if (result < 0)
        return freeze_failed(result);
    ih_put_word(&f->writer, f->writer.size, target);
    f->writer.size += 4;
    *word = ih_word_at(at);
    return memo_add(f, object, *word) < 0 ? -1 : 1;
}

/* ---- ndarrays ------------------------------------------------------------------------------- */

static bool same_array(const Py_buffer *buffer, const ih_array_view *view)
{
    if (buffer->buf != (const void *)view->data || buffer->len != view->bytes ||
        buffer->itemsize != view->item_size || buffer->ndim != view->ndim ||
        buffer->format == NULL || strcmp(buffer->format, view->format) != 0)
        return false;
    for (int i = 0; i < view->ndim; i++)
        if (buffer->shape[i] != view->shape[i] || buffer->strides[i] != view->strides[i])
            return false;
    return true;
}

/* An ndarray that is the whole of a FrozenArray, as reading one gives it, is a view too. Asking an
 * exact ndarray for its base runs no code of others. */
int freeze_link_ndarray(freezer *f, PyObject *array, uint32_t *word)
{
    if (f->store == NULL || f->keys > 0)
        return 0;
    *word = memo_find(f, array);
    if (*word != 0)
        return 1;
    PyObject *base = PyObject_GetAttrString(array, "base");
    if (base == NULL)
        return -1;
    int linked = 0;
    PyObject *view = PyMemoryView_Check(base) ? PyMemoryView_GET_BUFFER(base)->obj : NULL;
    Py_buffer buffer;
    if (view != NULL && Py_TYPE(view) == f->state->array_type) {
        if (PyObject_GetBuffer(array, &buffer, PyBUF_FULL_RO) < 0) {
            PyErr_Clear(); /* whoever copies it says why */
        } else {
            if (same_array(&buffer, (const ih_array_view *)view))
                linked = freeze_link(f, view, word);
            PyBuffer_Release(&buffer);
        }
    }
    Py_DECREF(base);
    return linked > 0 && memo_add(f, array, *word) < 0 ? -1 : linked;
}

/* ---- the table ------------------------------------------------------------------------------ */

int freeze_end_links(freezer *f)
{
    ih_writer *w = &f->writer;
    size_t bytes = f->link_count * sizeof *f->links;
    if (f->link_count == 0)
        return 0;
    int result = ih_room(w, bytes + 4);
    if (result < 0)
        return freeze_failed(result);
    memcpy(w->bytes + w->size, f->links, bytes);
    ih_store32(w->bytes + w->size + bytes, f->link_count);
    w->size += bytes + 4;
    return 0;
}

void freeze_forget_links(freezer *f)
{
    free(f->links);
    free(f->link_slots);
    f->links = NULL;
    f->link_slots = NULL;
    f->link_count = 0;
}

ih_result freeze_publish_links(const freezer *f, ih_handle handle, ih_error *error)
{
    ih_publication publication = {.links = f->link_count, .linked = f->links};
    return ih_publish(f->store, handle, &publication, NULL, error);
}
