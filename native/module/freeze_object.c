/* Freezing instances of classes that are no builtins, by the rules of their classes.
 *
 * Instances of plain classes, subclasses of builtin containers and of tuple are read in place, past
 * whatever their class would like to do about it: slots by their places, `__dict__` and the content
 * by the builtin type's own means. In a careful walk (see freezer.c) they are copied first, into a
 * tuple
 *
 *     │ content, if it has one │ values ... │ names ... │
 *
 * whose first part is what the words of the node are made of. So is what the getters of the other
 * rules return. */
#include "module/freezer_state.h"
#include "module/hooks.h"

#define DEPTH_MAX 320 /* of what is not lazy: it is never put off */

/* ---- filling -------------------------------------------------------------------------------- */

static uint64_t values_of(const freezer *f, uint64_t at, uint64_t *n)
{
    *n = ih_load32(f->writer.bytes + at) >> 8;
    uint64_t values = at + 8;
    if (*n == IH_COUNT_WIDE) {
        *n = ih_load64(f->writer.bytes + at + 4);
        values += 8;
    }
    return values;
}

int freeze_fill_from(freezer *f, PyObject *tuple, uint64_t at, int depth)
{
    uint64_t n, words = values_of(f, at, &n);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t word;
        if (freeze_value(f, PyTuple_GET_ITEM(tuple, (Py_ssize_t)i), depth + 1, &word) < 0)
            return -1;
        ih_put_word(&f->writer, words + 4 * i, word);
    }
    return 0;
}

/* The reference in a slot, borrowed; NULL where it is not set. */
static inline PyObject *slot_value(const rule_slot *slot, PyObject *object)
{
    PyObject *value = *(PyObject **)(void *)((char *)object + slot->member.offset);
    return value == NULL && slot->member.type == T_OBJECT ? Py_None : value;
}

static PyObject *dict_of(const known_class *class, PyObject *object)
{
    return class->has_dict ? PyObject_GenericGetDict(object, NULL) : NULL;
}

static int content_of(freezer *f, PyObject *object, const PyTypeObject *base, int depth,
                      uint32_t *word)
{
    if (base == &PyList_Type && PyList_Check(object))
        return freeze_list_part(f, object, depth, word);
    if (base == &PyDict_Type && PyDict_Check(object))
        return freeze_dict_part(f, object, depth, word);
    if ((base == &PySet_Type || base == &PyFrozenSet_Type) && PyAnySet_Check(object))
        return freeze_set_part(f, object, depth, word);
    if (base == &PyTuple_Type && PyTuple_Check(object))
        return freeze_tuple_part(f, object, depth, word);
    PyObject *copy = NULL;
    if (base == &PyBytes_Type && PyBytes_Check(object))
        copy = PyBytes_FromStringAndSize(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object));
    else if (base == &PyByteArray_Type && PyByteArray_Check(object))
        copy = PyByteArray_FromStringAndSize(PyByteArray_AS_STRING(object),
                                             PyByteArray_GET_SIZE(object));
    else
        PyErr_Format(PyExc_TypeError, "the rule of %s says that it is a %s, which it is not",
                     Py_TYPE(object)->tp_name, base->tp_name);
    return freeze_keep(f, copy) < 0 ? -1 : freeze_value(f, copy, depth, word);
}

/* Reads the instance in place; nothing runs meanwhile. */
static int fill_in_place(freezer *f, PyObject *object, uint64_t at, int depth)
{
    const known_class *class = freeze_class(f, Py_TYPE(object));
    if (class == NULL)
        return -1;
    const freeze_rule *rule = class->rule;
    uint64_t n, words = values_of(f, at, &n), i = 0;
    uint32_t word;
    if (rule->kind != RULE_VIEW) {
        const PyTypeObject *base = rule->kind == RULE_CONTAINER ? rule->base : &PyTuple_Type;
        if (content_of(f, object, base, depth + 1, &word) < 0)
            return -1;
        ih_put_word(&f->writer, words + 4 * i++, word);
    }
    for (Py_ssize_t s = 0; s < rule->slot_count; s++) {
        PyObject *value = slot_value(&rule->slots[s], object);
        if (value == NULL)
            continue;
        if (freeze_value(f, value, depth + 1, &word) < 0)
            return -1;
        ih_put_word(&f->writer, words + 4 * i++, word);
    }
    if (i == n)
        return 0;
    PyObject *dict = dict_of(class, object), *key, *value;
    Py_ssize_t position = 0;
    if (dict == NULL)
        return -1;
    while (i < n && PyDict_Next(dict, &position, &key, &value)) {
        if (freeze_value(f, value, depth + 1, &word) < 0) {
            Py_DECREF(dict);
            return -1;
        }
        ih_put_word(&f->writer, words + 4 * i++, word);
    }
    Py_DECREF(dict);
    return 0;
}

int fill_object(freezer *f, PyObject *object, uint64_t at, int depth)
{
    return PyTuple_CheckExact(object) ? freeze_fill_from(f, object, at, depth)
                                      : fill_in_place(f, object, at, depth);
}

/* ---- laying out ----------------------------------------------------------------------------- */

int freeze_begin_object(freezer *f, PyObject *object, uint32_t layout, uint64_t n, uint64_t *at,
                        uint32_t *word)
{
    ih_writer *w = &f->writer;
    int result =
        n > IH_GRAPH_MAX / 4 ? IH_WRITE_TOO_LARGE : ih_begin_node(w, IH_OBJECT, n, 4 + 4 * n, at);
    if (result < 0)
        return freeze_failed(result);
    ih_put_word(w, w->size, layout);
    w->size += 4 + 4 * n;
    *word = ih_word_at(*at);
    return memo_add(f, object, *word);
}

static int fill_lazily(freezer *f, PyObject *source, uint64_t at, int depth)
{
    if (depth >= RECURSION_MAX)
        return freeze_later(f, source, at);
    uint32_t outside = freeze_enter_lazy(f);
    int result = fill_object(f, source, at, depth);
    freeze_leave_lazy(f, outside);
    return result;
}

bool freeze_is_marked(PyObject *const *names, uint64_t n)
{
    static const char mark[] = "__freezable__";
    for (uint64_t i = 0; i < n; i++)
        if (PyUnicode_GET_LENGTH(names[i]) == sizeof mark - 1 &&
            PyUnicode_CompareWithASCIIString(names[i], mark) == 0)
            return true;
    return false;
}

int freeze_check_status(freezer *f, PyObject *object, PyObject *const *names, uint64_t n)
{
    if (!freeze_is_marked(names, n))
        return 0;
    PyObject *check = ih_hook_of(f->state, IH_HOOK_CHECK_STATUS);
    return check != NULL ? freeze_ask(f, check, object) : -1;
}

/* Are these the names of the last instance of the class? */
static bool same_names(const known_class *class, PyObject *object, PyObject *dict, uint64_t n)
{
    if (class->layout == 0 || n != class->names)
        return false;
    const freeze_rule *rule = class->rule;
    uint64_t i = 0;
    for (Py_ssize_t s = 0; s < rule->slot_count; s++) {
        if (slot_value(&rule->slots[s], object) == NULL)
            continue;
        if (i == n || class->keys[i++] != rule->slots[s].name)
            return false;
    }
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (dict != NULL && PyDict_Next(dict, &position, &key, &value))
        if (i == n || class->keys[i++] != key)
            return false;
    return i == n;
}

static int bad_name(freezer *f, PyObject *object)
{
    return freeze_refuse(f, object, "its __dict__ has a key that is not a str");
}

static int find_layout(freezer *f, known_class *class, PyObject *object, PyObject *dict, uint64_t n,
                       uint32_t slots)
{
    PyObject *few[CLASS_KEYS], *key, *value;
    PyObject **names = n <= CLASS_KEYS ? few : PyMem_Malloc(n * sizeof *names);
    const freeze_rule *rule = class->rule;
    uint64_t i = 0;
    if (names == NULL)
        return freeze_failed(IH_WRITE_MEMORY);
    for (Py_ssize_t s = 0; s < rule->slot_count; s++)
        if (slot_value(&rule->slots[s], object) != NULL)
            names[i++] = rule->slots[s].name;
    int result = 0;
    Py_ssize_t position = 0;
    while (result == 0 && dict != NULL && i < n && PyDict_Next(dict, &position, &key, &value)) {
        if (!PyUnicode_CheckExact(key))
            result = bad_name(f, object);
        names[i++] = key;
    }
    class->marked = result == 0 && freeze_is_marked(names, n);
    if (result == 0) {
        ih_form_code form = rule->kind == RULE_VIEW ? IH_FORM_VIEW : IH_FORM_CONTAINER;
        result = freeze_layout(f, class->type, form, slots, names, n, &class->layout);
    }
    if (result == 0 && n <= CLASS_KEYS) {
        memcpy(class->keys, names, n * sizeof *names);
        class->names = (uint32_t)n;
    } else {
        class->names = UINT32_MAX;
    }
    if (names != few)
        PyMem_Free(names);
    return result;
}

/* A plain object, or one with a builtin part, that is read in place. */
static int freeze_in_place(freezer *f, known_class *class, PyObject *object, int depth,
                           uint32_t *word)
{
    const freeze_rule *rule = class->rule;
    uint32_t slots = 0, first = rule->kind == RULE_VIEW ? 0 : 1;
    for (Py_ssize_t s = 0; s < rule->slot_count; s++)
        slots += slot_value(&rule->slots[s], object) != NULL;
    PyObject *dict = dict_of(class, object);
    if (dict == NULL && class->has_dict)
        return -1;
    uint64_t n = slots + (dict != NULL ? (uint64_t)PyDict_GET_SIZE(dict) : 0), at = 0;
    int result =
        same_names(class, object, dict, n) ? 0 : find_layout(f, class, object, dict, n, slots);
    Py_XDECREF(dict); /* the object holds it */
    if (result == 0 && class->marked)
        return freeze_again(f, NULL);
    if (result < 0 || freeze_begin_object(f, object, class->layout, first + n, &at, word) < 0)
        return -1;
    return fill_lazily(f, object, at, depth);
}

/* ---- careful copies ------------------------------------------------------------------------- */

/* A dict of the same entries. */
static PyObject *exact_dict(PyObject *dict)
{
    if (PyDict_CheckExact(dict) || Py_TYPE(dict)->tp_iter == PyDict_Type.tp_iter)
        return PyDict_Copy(dict);
    PyObject *copy = PyDict_New(), *items = PyList_New(0), *key, *value;
    Py_ssize_t position = 0;
    int result = copy == NULL || items == NULL ? -1 : 0;
    while (result == 0 && PyDict_Next(dict, &position, &key, &value)) {
        result = PyList_Append(items, key);
        if (result == 0)
            result = PyList_Append(items, value);
    }
    Py_ssize_t n = result == 0 ? PyList_GET_SIZE(items) : 0;
    for (Py_ssize_t i = 0; result == 0 && i < n; i += 2)
        result = PyDict_SetItem(copy, PyList_GET_ITEM(items, i), PyList_GET_ITEM(items, i + 1));
    Py_XDECREF(items);
    if (result < 0)
        Py_CLEAR(copy);
    return copy;
}

static PyObject *exact_copy(PyObject *object, const PyTypeObject *base)
{
    if (base == &PyList_Type && PyList_Check(object))
        return PyList_GetSlice(object, 0, PY_SSIZE_T_MAX);
    if (base == &PyDict_Type && PyDict_Check(object))
        return exact_dict(object);
    if (base == &PySet_Type && PySet_Check(object))
        return PySet_New(object);
    if (base == &PyFrozenSet_Type && PyFrozenSet_Check(object))
        return PyFrozenSet_New(object);
    if (base == &PyTuple_Type && PyTuple_Check(object))
        return PyTuple_GetSlice(object, 0, PyTuple_GET_SIZE(object));
    if (base == &PyBytes_Type && PyBytes_Check(object))
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object));
    if (base == &PyByteArray_Type && PyByteArray_Check(object))
        return PyByteArray_FromStringAndSize(PyByteArray_AS_STRING(object),
                                             PyByteArray_GET_SIZE(object));
    return PyErr_Format(PyExc_TypeError, "the rule of %s says that it is a %s, which it is not",
                        Py_TYPE(object)->tp_name, base->tp_name);
}

/* Appends names and values of the slots that are set. */
static int copy_slots(const freeze_rule *rule, PyObject *object, PyObject *names, PyObject *values)
{
    for (Py_ssize_t s = 0; s < rule->slot_count; s++) {
        PyObject *value;
        if (ih_rule_slot(&rule->slots[s], object, &value) < 0)
            return -1;
        if (value == NULL)
            continue;
        int result = PyList_Append(values, value);
        Py_DECREF(value);
        if (result < 0 || PyList_Append(names, rule->slots[s].name) < 0)
            return -1;
    }
    return 0;
}

int freeze_copy_dict(PyObject *dict, PyObject *names, PyObject *values)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
#ifdef Py_GIL_DISABLED
    PyObject *copy = exact_dict(dict); /* nobody changes it */
    if (copy == NULL)
        return -1;
#else
    PyObject *copy = Py_NewRef(dict);
#endif
    int result = 0;
    while (result == 0 && PyDict_Next(copy, &position, &key, &value)) {
        result = PyList_Append(names, key);
        if (result == 0)
            result = PyList_Append(values, value);
    }
    Py_DECREF(copy);
    return result;
}

/* The tuple of values and names; they are borrowed in it, which is kept. */
PyObject *freeze_join(freezer *f, PyObject *values, PyObject *names)
{
    Py_ssize_t n = PyList_GET_SIZE(values), more = PyList_GET_SIZE(names);
    PyObject *tuple = PyTuple_New(n + more);
    for (Py_ssize_t i = 0; tuple != NULL && i < n + more; i++)
        PyTuple_SET_ITEM(
            tuple, i,
            Py_NewRef(i < n ? PyList_GET_ITEM(values, i) : PyList_GET_ITEM(names, i - n)));
    return freeze_keep(f, tuple) < 0 ? NULL : tuple;
}

static int copy_parts(const known_class *class, PyObject *object, const PyTypeObject *base,
                      PyObject *names, PyObject *values, uint32_t *slots)
{
    if (base != NULL) {
        PyObject *content = exact_copy(object, base);
        int result = content == NULL ? -1 : PyList_Append(values, content);
        Py_XDECREF(content);
        if (result < 0)
            return -1;
    }
    if (copy_slots(class->rule, object, names, values) < 0)
        return -1;
    *slots = (uint32_t)PyList_GET_SIZE(names);
    PyObject *dict = dict_of(class, object);
    if (dict == NULL)
        return class->has_dict ? -1 : 0;
    int result = freeze_copy_dict(dict, names, values);
    Py_DECREF(dict);
    return result;
}

/* Lays out and fills an object whose values, and names behind them, are in a tuple that is kept. */
int freeze_copied(freezer *f, const known_class *class, PyObject *object, ih_form_code form,
                  uint32_t number, PyObject *tuple, uint64_t n, int depth, uint32_t *word)
{
    uint64_t all = (uint64_t)PyTuple_GET_SIZE(tuple), at = 0;
    PyObject **items = ((PyTupleObject *)tuple)->ob_item;
    uint32_t layout;
    for (uint64_t i = n; i < all; i++)
        if (!PyUnicode_CheckExact(items[i]))
            return bad_name(f, object);
    if (freeze_check_status(f, object, items + n, all - n) < 0)
        return -1;
    if (freeze_layout(f, class->type, form, number, items + n, all - n, &layout) < 0 ||
        freeze_begin_object(f, object, layout, n, &at, word) < 0)
        return -1;
    return fill_lazily(f, tuple, at, depth);
}

static int freeze_copy(freezer *f, const known_class *class, PyObject *object,
                       const PyTypeObject *base, int depth, uint32_t *word)
{
    PyObject *names = PyList_New(0), *values = PyList_New(0), *tuple = NULL;
    uint32_t slots = 0;
    uint64_t n = 0;
    if (names != NULL && values != NULL &&
        copy_parts(class, object, base, names, values, &slots) == 0) {
        n = (uint64_t)PyList_GET_SIZE(values);
        tuple = freeze_join(f, values, names);
    }
    Py_XDECREF(names);
    Py_XDECREF(values);
    if (tuple == NULL)
        return -1;
    ih_form_code form = base == NULL ? IH_FORM_VIEW : IH_FORM_CONTAINER;
    return freeze_copied(f, class, object, form, slots, tuple, n, depth, word);
}

/* ---- tuples, and which it is ---------------------------------------------------------------- */

static int freeze_real_tuple(freezer *f, known_class *class, PyObject *object, int depth,
                             uint32_t *word)
{
    int real = freeze_opens_as_tuple(f, object);
    if (real < 0)
        return -1;
    if (!real)
        return f->careful ? freeze_copy(f, class, object, &PyTuple_Type, depth, word)
                          : freeze_in_place(f, class, object, depth, word);
    uint64_t n = (uint64_t)PyTuple_GET_SIZE(object), at = 0;
    if (class->tuple_layout == 0 &&
        freeze_layout(f, class->type, IH_FORM_TUPLE, 0, NULL, 0, &class->tuple_layout) < 0)
        return -1;
    if (freeze_begin_object(f, object, class->tuple_layout, n, &at, word) < 0 ||
        freeze_open(f, object, *word, true) < 0)
        return -1;
    int result = freeze_fill_from(f, object, at, depth);
    freeze_close(f);
    return result;
}

/* Once for each object, though a second try may meet it again. */
static int ask_before(freezer *f, const freeze_rule *rule, PyObject *object)
{
    if (f->asked == NULL && (f->asked = PyDict_New()) == NULL)
        return -1;
    PyObject *address = PyLong_FromVoidPtr(object);
    int known = address == NULL ? -1 : PyDict_Contains(f->asked, address);
    if (known == 0)
        known = PyDict_SetItem(f->asked, address, object);
    else if (known == 1)
        known = 2;
    Py_XDECREF(address);
    if (known != 0)
        return known < 0 ? -1 : 0;
    return freeze_ask(f, rule->before, object);
}

int freeze_foreign(freezer *f, PyObject *object, int depth, uint32_t *word)
{
    *word = f->uncounted ? 0 : memo_find(f, object);
    if (*word != 0)
        return 0;
    known_class *class = freeze_class(f, Py_TYPE(object));
    if (class == NULL)
        return -1;
    const freeze_rule *rule = class->rule;
    if (rule->kind == RULE_REFUSED)
        return freeze_refuse_why(f, object, Py_NewRef(rule->reason));
    if (rule->calls && !f->careful)
        return freeze_again(f, NULL);
    if (rule->before != NULL && ask_before(f, rule, object) < 0)
        return -1;
    if (depth >= DEPTH_MAX)
        return freeze_refuse(f, object,
                             "it is nested too deeply in objects that must be made whole");
    switch (rule->kind) {
    case RULE_VIEW:
        return f->careful ? freeze_copy(f, class, object, NULL, depth, word)
                          : freeze_in_place(f, class, object, depth, word);
    case RULE_CONTAINER:
        if (rule->getter != NULL)
            return freeze_container(f, class, object, depth, word);
        return f->careful ? freeze_copy(f, class, object, rule->base, depth, word)
                          : freeze_in_place(f, class, object, depth, word);
    case RULE_TUPLE:
        return freeze_real_tuple(f, class, object, depth, word);
    case RULE_STATE:
        return freeze_state(f, class, object, depth, word);
    case RULE_MADE:
        return freeze_made(f, class, object, depth, word);
    case RULE_VALUE:
        return freeze_as_value(f, class, object, depth, word);
    case RULE_AS:
        return freeze_instead(f, class, object, depth, word);
    case RULE_REFUSED:
        break;
    }
    Py_UNREACHABLE();
}
