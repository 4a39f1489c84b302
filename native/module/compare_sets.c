/* Equality of sets, one of which is a FrozenSet.
 *
 * Plain items, and tuples of plain items, are looked up. Items that are containers of containers
 * would recurse in a lookup, once a level and again for each repetition, so they are paired
 * first: by Python's hash, which the walk over the image keeps for each node, and then compared
 * on the comparison's own stack like everything else (H24). */
#include "module/compare.h"

#define EASY_TUPLE_MAX 16u

/* Tuples without containers inside, at a glance. */
static bool is_easy(const ih_value *value)
{
    if (value->form != IH_NODE)
        return true;
    const ih_node *node = &value->node;
    if (ih_kind_class(node->kind) != IH_TUPLE_CLASS)
        return false;
    if (ih_kind_is_packed(node->kind) || ih_kind_is_text_run(node->kind))
        return true;
    if (node->n > EASY_TUPLE_MAX)
        return false;
    const uint8_t *words = value->image->image.base + node->data;
    for (uint64_t i = 0; i < node->n; i++) {
        uint32_t word = ih_load_word(words + 4 * i);
        ih_node item;
        ih_fault fault;
        if (ih_word_is_int(word) || ih_word_is_constant(word))
            continue;
        if (ih_read_node(&value->image->image, word, &item, &fault) < 0 ||
            ih_kind_class(item.kind) != IH_NO_CLASS || item.kind == IH_LINK)
            return false;
    }
    return true;
}

static ih_table_view *view_of(const ih_state *state, PyObject *set)
{
    return Py_TYPE(set) == state->set_type ? (ih_table_view *)set : NULL;
}

static int contains(const ih_state *state, PyObject *set, PyObject *item)
{
    ih_table_view *view = view_of(state, set);
    if (view == NULL)
        return PySet_Contains(set, item);
    Py_ssize_t found = ih_table_find(view, item);
    return found >= 0 ? 1 : found == -1 ? 0 : -1;
}

/* The hasher of an image, kept for two images, those of the two sides. */
static Py_hash_t hash_node(ih_comparison *c, ih_image_object *image, uint64_t at)
{
    for (int i = 0; i < 2; i++) {
        if (c->hashers[i] == NULL && (c->hashers[i] = ih_hasher_new(image)) == NULL)
            return -1;
        if (ih_hasher_image(c->hashers[i]) == image)
            return ih_hasher_hash(c->hashers[i], at);
    }
    return ih_python_hash(image, at);
}

/* The items of a FrozenSet that are containers of containers. With `other`, every other item
 * must be in it. 1, 0: one is not, -1. */
static int hard_items(ih_comparison *c, ih_table_view *view, PyObject *other, PyObject *items,
                      PyObject *offsets)
{
    for (uint64_t i = 0; i < view->n; i++) {
        ih_value value;
        uint32_t word = ih_load_word(view->keys + i * view->key_stride);
        if (ih_value_of_word(view->image, word, &value) < 0)
            return -1;
        bool easy = is_easy(&value);
        PyObject *item = easy && other == NULL ? NULL : ih_value_object(&value);
        ih_value_clear(&value);
        if (item == NULL) {
            if (PyErr_Occurred())
                return -1;
            continue;
        }
        int found = 1;
        if (easy) {
            found = contains(c->state, other, item);
        } else {
            PyObject *offset = PyLong_FromUnsignedLongLong(ih_word_offset(word));
            if (offset == NULL || PyList_Append(items, item) < 0 ||
                PyList_Append(offsets, offset) < 0)
                found = -1;
            Py_XDECREF(offset);
        }
        Py_DECREF(item);
        if (found != 1)
            return found;
        if ((++c->steps & 0xffffu) == 0 && PyErr_CheckSignals() < 0)
            return -1;
    }
    return 1;
}

/* Tuples and sets among the items of an ordinary set: whatever a hard item may equal. */
static int native_candidates(const ih_state *state, PyObject *set, PyObject *items)
{
    PyObject *walk = PyObject_GetIter(set), *item;
    if (walk == NULL)
        return -1;
    int failed = 0;
    while (!failed && (item = PyIter_Next(walk)) != NULL) {
        if (PyTuple_Check(item) || PyAnySet_Check(item) || ih_is_container_view(state, item))
            failed = PyList_Append(items, item) < 0;
        Py_DECREF(item);
    }
    Py_DECREF(walk);
    return failed || PyErr_Occurred() ? -1 : 0;
}

/* Appends items[i] to the list that `index` has under its hash. */
static int index_item(PyObject *index, PyObject *item, Py_hash_t hash)
{
    PyObject *key = PyLong_FromSsize_t(hash);
    PyObject *fresh = key == NULL ? NULL : PyList_New(0);
    PyObject *list = fresh == NULL ? NULL : PyDict_SetDefault(index, key, fresh); /* borrowed */
    int result = list == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(key);
    Py_XDECREF(fresh);
    return result;
}

/* Takes the item that equals `item` out of `candidates`. New reference; NULL without an exception
 * where there is none. One candidate is not compared here: it must be equal. */
static PyObject *take_partner(ih_comparison *c, PyObject *candidates, PyObject *item)
{
    Py_ssize_t n = PyList_GET_SIZE(candidates), i = 0;
    if (n == 0)
        return NULL;
    if (n > 1) {
        int equal = 0;
        for (; i < n && !equal; i += !equal) {
            PyObject *candidate = Py_NewRef(PyList_GET_ITEM(candidates, i));
            equal = ih_compare_nested(c, item, candidate);
            Py_DECREF(candidate);
            if (equal < 0)
                return NULL;
        }
        if (!equal)
            return NULL;
    }
    PyObject *partner = Py_NewRef(PyList_GET_ITEM(candidates, i));
    if (PyList_SetSlice(candidates, i, i + 1, NULL) < 0)
        Py_CLEAR(partner);
    return partner;
}

static Py_hash_t hash_at(ih_comparison *c, const ih_table_view *view, PyObject *offsets,
                         Py_ssize_t i)
{
    uint64_t at = PyLong_AsUnsignedLongLong(PyList_GET_ITEM(offsets, i));
    return hash_node(c, view->image, at);
}

/* Orders `theirs` as `ours`. 1, 0: some item has no partner, -1. The lists are our own: nobody
 * else changes them. */
static int pair_items(ih_comparison *c, ih_table_view *a, PyObject *set, PyObject *const lists[4],
                      PyObject *partners)
{
    PyObject *ours = lists[0], *our_offsets = lists[1], *theirs = lists[2];
    const ih_table_view *b = view_of(c->state, set);
    PyObject *index = PyDict_New();
    int result = index == NULL ? -1 : 1;
    for (Py_ssize_t i = 0; result == 1 && i < PyList_GET_SIZE(theirs); i++) {
        PyObject *item = PyList_GET_ITEM(theirs, i);
        Py_hash_t hash = b != NULL ? hash_at(c, b, lists[3], i) : PyObject_Hash(item);
        if (hash == -1 || index_item(index, item, hash) < 0)
            result = -1;
    }
    for (Py_ssize_t i = 0; result == 1 && i < PyList_GET_SIZE(ours); i++) {
        Py_hash_t hash = hash_at(c, a, our_offsets, i);
        PyObject *key = hash == -1 ? NULL : PyLong_FromSsize_t(hash);
        PyObject *found = key == NULL ? NULL : PyDict_GetItemWithError(index, key);
        PyObject *partner = found == NULL ? NULL : take_partner(c, found, PyList_GET_ITEM(ours, i));
        if (partner == NULL)
            result = PyErr_Occurred() ? -1 : 0;
        else
            result = PyList_Append(partners, partner) < 0 ? -1 : 1;
        Py_XDECREF(key);
        Py_XDECREF(partner);
    }
    Py_XDECREF(index);
    return result;
}

int ih_compare_sets(ih_comparison *c, PyObject *a, PyObject *b)
{
    if (view_of(c->state, a) == NULL) {
        PyObject *swapped = a;
        a = b;
        b = swapped;
    }
    ih_table_view *view = view_of(c->state, a), *other = view_of(c->state, b);
    PyObject *lists[4] = {PyList_New(0), PyList_New(0), PyList_New(0), PyList_New(0)};
    PyObject *partners = PyList_New(0);
    int result = -1;
    if (lists[0] == NULL || lists[1] == NULL || lists[2] == NULL || lists[3] == NULL ||
        partners == NULL)
        goto done;
    result = hard_items(c, view, b, lists[0], lists[1]);
    Py_ssize_t hard = PyList_GET_SIZE(lists[0]);
    if (result != 1 || hard == 0)
        goto done;
    if (other != NULL)
        result = hard_items(c, other, NULL, lists[2], lists[3]);
    else
        result = native_candidates(c->state, b, lists[2]) < 0 ? -1 : 1;
    if (result != 1)
        goto done;
    Py_ssize_t candidates = PyList_GET_SIZE(lists[2]);
    if (candidates < hard)
        result = 0;
    else if (hard == 1 && candidates == 1) /* nothing to choose, so nothing to hash */
        result = ih_compare_lists_later(c, lists[0], lists[2]);
    else if ((result = pair_items(c, view, b, lists, partners)) == 1)
        result = ih_compare_lists_later(c, lists[0], partners);
done:
    for (int i = 0; i < 4; i++)
        Py_XDECREF(lists[i]);
    Py_XDECREF(partners);
    return result;
}
