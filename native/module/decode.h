/* From words and nodes to Python objects. */
#ifndef ICEHOUSE_MODULE_DECODE_H
#define ICEHOUSE_MODULE_DECODE_H

#include "module/state.h"

/* The object that a word stands for: a plain value, a real tuple, or a view. New reference;
 * CorruptImage on damage. */
PyObject *ih_decode(ih_image_object *image, uint32_t word);

/* The same inside something that is being decoded: see value.h. */
typedef struct ih_budget ih_budget;
typedef struct ih_making ih_making;
PyObject *ih_decode_within(ih_image_object *image, uint32_t word, ih_budget *left);

/* A str from checked bytes of the image, copied before it is decoded (H4). `fault_at` is for the
 * message. */
PyObject *ih_decode_text(ih_image_object *image, const uint8_t *text, uint64_t size, bool ascii,
                         uint64_t fault_at);

/* One element of a packed node. */
PyObject *ih_decode_element(const uint8_t *element, unsigned code);

/* Element i (0 <= i < node_n, not a slice's index) of a sequence's node: words, packed or text run.
 */
PyObject *ih_decode_item(const ih_sequence *sequence, uint64_t element);

/* A view of a node that was read: list, tuple view, dict, set, bytes, array. Each defined beside
 * its type. `at` is the node's offset. New reference. The array one gives an ndarray where numpy
 * loads and the image is trusted. */
PyObject *ih_new_sequence(ih_image_object *image, uint64_t at, const ih_node *node);
/* A shaped dict at `at` whose shape is known, else NULL without an exception. */
PyObject *ih_new_known_dict(ih_image_object *image, uint64_t at, uint32_t header);
PyObject *ih_new_dict(ih_image_object *image, uint64_t at, const ih_node *node);
PyObject *ih_new_set(ih_image_object *image, uint64_t at, const ih_node *node);
PyObject *ih_new_bytes(ih_image_object *image, uint64_t at, const ih_node *node);
PyObject *ih_new_array(ih_image_object *image, uint64_t at,
                       const ih_node *node); /* always a FrozenArray */
PyObject *ih_open_array(ih_image_object *image, uint64_t at, const ih_node *node);

/* Fills a table view's fields from its node (dict, set, and the shape it names). 0 or -1 with
 * CorruptImage. */
int ih_table_view_fill(ih_table_view *view, ih_image_object *image, uint64_t at,
                       const ih_node *node);
/* The same for the shaped dict whose node begins with `header`, where its shape has been read
 * before; false where it has not. */
bool ih_table_view_fill_known(ih_table_view *view, ih_image_object *image, uint64_t at,
                              uint32_t header);
/* The position of `key`: >= 0; -1: absent; -2: exception (unhashable key: TypeError as dict
 * raises). */
Py_ssize_t ih_table_find(ih_table_view *view, PyObject *key);

/* dict.c: the decoded keys of a shaped dict as a tuple of str, cached by shape; NULL with no
 * exception where there is none to be had (another kind of dict, many keys), NULL with one on
 * damage. New reference. */
PyObject *ih_shape_keys(const ih_table_view *view);

/* The shared walks over nodes, iterative, with memos and budgets (H24). */
/* thaw.c: mutable originals; plain objects as they are, but for tuples and frozensets that hold
 * views. */
PyObject *ih_thaw(ih_state *state, PyObject *object);
int ih_equal(PyObject *a,
             PyObject *b); /* compare.c: 1, 0, -1; a or b (or both) is a container view */
int ih_order(PyObject *a, PyObject *b,
             int op);              /* compare.c: lexicographic order of sequences: 1, 0, -1 */
PyObject *ih_repr(PyObject *view); /* repr.c: bounded; cycles and long ones with "..." */
/* json.c: a str, as json.dumps(thaw(object), **options). `options` is a dict of keyword arguments
 * or NULL. */
PyObject *ih_dumps(ih_state *state, PyObject *object, PyObject *options);
/* json.c: for json.dumps(..., default=): a view thawed, anything else is a TypeError. */
PyObject *ih_json_default(ih_state *state, PyObject *object);

static inline bool ih_is_container_view(const ih_state *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return type == state->dict_type || type == state->list_type || type == state->tuple_type ||
           type == state->set_type;
}
void ih_object_dealloc(PyObject *self); /* object.c: of every type of FrozenObjects */
static inline bool ih_is_object_view(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == ih_object_dealloc;
}
static inline bool ih_is_view(const ih_state *state, PyObject *object)
{
    return ih_is_container_view(state, object) || Py_TYPE(object) == state->bytes_type ||
           Py_TYPE(object) == state->array_type || ih_is_object_view(object);
}

/* keyhash.c: the canonical hash of a lookup key of exact type None, bool, int, float, complex, str,
 * bytes, tuple, frozenset or Ellipsis (tuples and frozensets of these). 1: *hash is set; 0: a
 * foreign type; -1: exception. */
int ih_key_hash(PyObject *key, uint32_t seed, uint64_t *hash);

#endif
