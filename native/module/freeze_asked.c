/* Freezing objects by what the getters of their rules return. They are Python code, so the walk is
 * a careful one, and what they return is kept until its end. */
#include "module/freezer_state.h"

static int bad_answer(const known_class *class, const char *wanted, PyObject *answer)
{
    PyErr_Format(PyExc_TypeError, "the rule of %s gave %.200R instead of %s", class->type->tp_name,
                 answer, wanted);
    return -1;
}

/* What a getter returned, borrowed: kept, and known to have come from the object (freeze_path.c).
 */
static PyObject *ask(freezer *f, const known_class *class, PyObject *object)
{
    PyObject *answer = freeze_call(f, class->rule->getter, object);
    int result = answer == NULL ? -1 : freeze_derived(f, object, answer);
    Py_XDECREF(answer);
    return result < 0 ? NULL : answer;
}

static bool is_plain_container(PyObject *object)
{
    return PyList_CheckExact(object) || PyDict_CheckExact(object) || PyAnySet_CheckExact(object) ||
           PyTuple_CheckExact(object) || PyBytes_CheckExact(object) ||
           PyByteArray_CheckExact(object);
}

/* How many of the first names are slots. */
static uint32_t leading_slots(const freeze_rule *rule, PyObject *names)
{
    uint32_t n = 0;
    for (; n < (uint64_t)PyList_GET_SIZE(names); n++) {
        Py_ssize_t s = 0;
        while (s < rule->slot_count &&
               PyUnicode_Compare(rule->slots[s].name, PyList_GET_ITEM(names, n)) != 0)
            s++;
        if (s == rule->slot_count)
            break;
    }
    return n;
}

int freeze_container(freezer *f, const known_class *class, PyObject *object, int depth,
                     uint32_t *word)
{
    PyObject *answer = ask(f, class, object), *tuple = NULL;
    if (answer == NULL)
        return -1;
    if (!PyTuple_Check(answer) || PyTuple_GET_SIZE(answer) != 2 ||
        !is_plain_container(PyTuple_GET_ITEM(answer, 0)) ||
        !PyDict_CheckExact(PyTuple_GET_ITEM(answer, 1)))
        return bad_answer(class, "a plain container and a dict of fields", answer);
    PyObject *names = PyList_New(0), *values = PyList_New(0);
    uint32_t slots = 0;
    uint64_t n = 0;
    if (names != NULL && values != NULL &&
        PyList_Append(values, PyTuple_GET_ITEM(answer, 0)) == 0 &&
        freeze_copy_dict(PyTuple_GET_ITEM(answer, 1), names, values) == 0) {
        n = (uint64_t)PyList_GET_SIZE(values);
        tuple = freeze_join(f, values, names);
    }
    for (uint64_t i = 0; tuple != NULL && i + 1 < n; i++)
        if (!PyUnicode_CheckExact(PyList_GET_ITEM(names, (Py_ssize_t)i))) {
            bad_answer(class, "fields named by str", answer);
            tuple = NULL;
        }
    if (tuple != NULL)
        slots = leading_slots(class->rule, names);
    Py_XDECREF(names);
    Py_XDECREF(values);
    if (tuple == NULL)
        return -1;
    return freeze_copied(f, class, object, IH_FORM_CONTAINER, slots, tuple, n, depth, word);
}

/* A tuple of `size` items, whose first two are as many names as values. */
static bool is_fields(PyObject *answer, Py_ssize_t size)
{
    if (!PyTuple_Check(answer) || PyTuple_GET_SIZE(answer) != size)
        return false;
    PyObject *names = PyTuple_GET_ITEM(answer, 0), *values = PyTuple_GET_ITEM(answer, 1);
    if (!PyTuple_CheckExact(names) || !PyTuple_CheckExact(values) ||
        PyTuple_GET_SIZE(names) != PyTuple_GET_SIZE(values))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++)
        if (!PyUnicode_CheckExact(PyTuple_GET_ITEM(names, i)))
            return false;
    return true;
}

int freeze_state(freezer *f, const known_class *class, PyObject *object, int depth, uint32_t *word)
{
    PyObject *answer = ask(f, class, object);
    if (answer == NULL)
        return -1;
    if (!is_fields(answer, 3))
        return bad_answer(class, "names, values and the number of slots", answer);
    PyObject *names = PyTuple_GET_ITEM(answer, 0), *values = PyTuple_GET_ITEM(answer, 1);
    uint64_t n = (uint64_t)PyTuple_GET_SIZE(names);
    unsigned long slots = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(answer, 2));
    if (PyErr_Occurred())
        return -1;
    if (slots > n)
        return bad_answer(class, "no more slots than names", answer);
    PyObject *tuple = PySequence_Concat(values, names);
    if (freeze_keep(f, tuple) < 0)
        return -1;
    return freeze_copied(f, class, object, IH_FORM_VIEW, (uint32_t)slots, tuple, n, depth, word);
}

int freeze_made(freezer *f, const known_class *class, PyObject *object, int depth, uint32_t *word)
{
    PyObject *answer = ask(f, class, object);
    if (answer == NULL)
        return -1;
    if (!is_fields(answer, 2))
        return bad_answer(class, "names and values, two tuples", answer);
    PyObject *names = PyTuple_GET_ITEM(answer, 0);
    uint64_t n = (uint64_t)PyTuple_GET_SIZE(names), at = 0;
    uint32_t layout;
    if (freeze_check_status(f, object, ((PyTupleObject *)names)->ob_item, n) < 0)
        return -1;
    if (freeze_layout(f, class->type, IH_FORM_MADE, class->rule->number,
                      ((PyTupleObject *)names)->ob_item, n, &layout) < 0 ||
        freeze_begin_object(f, object, layout, n, &at, word) < 0 ||
        freeze_open(f, object, *word, false) < 0)
        return -1;
    int result = freeze_fill_from(f, PyTuple_GET_ITEM(answer, 1), at, depth);
    freeze_close(f);
    return result;
}

/* A frozen class, if it has a definition: 1; 0: it is named as all classes are; -1. */
static int freeze_definition(freezer *f, PyTypeObject *type, uint32_t *word)
{
    bool defined;
    PyObject *payload = freeze_class_payload(f, type, "class_value", &defined);
    if (payload == NULL || !defined) {
        Py_XDECREF(payload);
        return payload == NULL ? -1 : 0;
    }
    const known_class *known = freeze_met_class(f, type);
    *word = known != NULL ? known->class_word : 0;
    int result;
    if (*word != 0) {
        ih_mark_shared(&f->writer, *word);
        result = memo_add(f, (PyObject *)type, *word);
    } else {
        result = freeze_defined_class(f, type, payload, word);
    }
    Py_DECREF(payload);
    return result < 0 ? -1 : 1;
}

int freeze_as_value(freezer *f, const known_class *class, PyObject *object, int depth,
                    uint32_t *word)
{
    uint64_t at = 0;
    uint32_t inner;
    if (class->rule->number == IH_VALUE_CLASS && PyType_Check(object) &&
        ih_is_frozen_class(f->state, (PyTypeObject *)object)) {
        int defined = freeze_definition(f, (PyTypeObject *)object, word);
        if (defined != 0)
            return defined < 0 ? -1 : 0;
    }
    PyObject *payload = ask(f, class, object);
    if (payload == NULL)
        return -1;
    if (class->rule->number == IH_VALUE_CLASS && PyType_Check(object)) {
        PyObject *names = ih_class_names((PyTypeObject *)object);
        int same = names == NULL ? -1 : PyObject_RichCompareBool(names, payload, Py_EQ);
        Py_XDECREF(names);
        if (same > 0 && freeze_class_word(f, (PyTypeObject *)object, word) == 0)
            return memo_add(f, object, *word);
        if (same != 0)
            return -1;
    }
    int result = ih_begin_node(&f->writer, IH_VALUE, class->rule->number, 4, &at);
    if (result < 0)
        return freeze_failed(result);
    f->writer.size += 4;
    f->cells |= class->rule->number == IH_VALUE_CELL;
    *word = ih_word_at(at);
    if (memo_add(f, object, *word) < 0 || freeze_open(f, object, *word, false) < 0)
        return -1;
    result = freeze_value(f, payload, depth + 1, &inner);
    freeze_close(f);
    if (result == 0)
        ih_put_word(&f->writer, at + 4, inner);
    return result;
}

/* An object that is frozen as another one. Met again while that is being written, it is the other
 * one, if that has a node already. */
int freeze_instead(freezer *f, const known_class *class, PyObject *object, int depth,
                   uint32_t *word)
{
    for (uint32_t i = 0; i < f->as_count; i++) {
        if (f->as[i].object != object)
            continue;
        *word = memo_find(f, f->as[i].instead);
        return *word != 0 ? 0 : freeze_refuse(f, object, "what it is frozen as refers back to it");
    }
    if (f->as_count == FREEZE_AS_MAX)
        return freeze_refuse(f, object,
                             "what it is frozen as leads on to other such objects without end");
    bool uncounted = freeze_in_tuple(f);
    PyObject *instead = ask(f, class, object);
    if (instead == NULL)
        return -1;
    f->as[f->as_count++] = (substitution){object, instead};
    f->uncounted = uncounted && PyTuple_Check(instead);
    int result = freeze_value(f, instead, depth + 1, word);
    f->uncounted = false;
    f->as_count--;
    return result < 0 ? -1 : memo_add(f, object, *word);
}
