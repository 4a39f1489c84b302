/* The path to what could not be frozen, searched only when it is needed.
 *
 * A breadth-first search over the same containers that freezing walks, so that the shortest path is
 * found and no depth overflows the stack. Freezing itself keeps no paths. */
#include "module/freezer_state.h"

typedef struct {
    PyObject *object; /* owned */
    PyObject *step;   /* owned: repr of how its holder reaches it, "[3]"; NULL for the root */
    Py_ssize_t holder;
} place;

typedef struct {
    place *places;
    Py_ssize_t count, capacity;
    PyObject *seen; /* set of addresses */
    PyObject *offender;
    Py_ssize_t found;
    freezer *f;
    PyObject *made; /* {address of an object: what its rule made of it} */
} search;

/* Takes over `step`. The root, which has no holder, becomes a place whatever it is: a path has a
 * beginning. 0, or -1 with an exception. */
static int reach(search *s, PyObject *object, PyObject *step, Py_ssize_t holder)
{
    if (s->found >= 0)
        goto done;
    bool container = holder < 0 || PyList_CheckExact(object) || PyTuple_CheckExact(object) ||
                     PyDict_CheckExact(object) || PyAnySet_CheckExact(object) ||
                     freeze_met_class(s->f, Py_TYPE(object)) != NULL;
    if (object != s->offender && !container)
        goto done;
    PyObject *address = PyLong_FromVoidPtr(object);
    int known = address == NULL ? -1 : PySet_Contains(s->seen, address);
    if (known == 0)
        known = PySet_Add(s->seen, address);
    else if (known == 1)
        known = 2;
    Py_XDECREF(address);
    if (known != 0) {
        Py_XDECREF(step);
        return known < 0 ? -1 : 0;
    }
    if (s->count == s->capacity) {
        Py_ssize_t capacity = s->capacity * 2 + 64;
        place *grown = PyMem_Realloc(s->places, (size_t)capacity * sizeof(place));
        if (grown == NULL) {
            Py_XDECREF(step);
            PyErr_NoMemory();
            return -1;
        }
        s->places = grown;
        s->capacity = capacity;
    }
    if (object == s->offender)
        s->found = s->count;
    s->places[s->count++] = (place){Py_NewRef(object), step, holder};
    return 0;
done:
    Py_XDECREF(step);
    return 0;
}

/* "[key]" or " key key". A key whose repr raises is named by its type. */
static PyObject *key_step(const char *format, PyObject *key)
{
    PyObject *repr = PyObject_Repr(key);
    if (repr == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        repr = PyUnicode_FromFormat("<%s object>", Py_TYPE(key)->tp_name);
    }
    PyObject *step = repr == NULL ? NULL : PyUnicode_FromFormat(format, repr);
    Py_XDECREF(repr);
    return step;
}

static int reach_dict(search *s, PyObject *dict, Py_ssize_t holder)
{
    PyObject *items = PyDict_Items(dict);
    int result = items == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && s->found < 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *key = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 0);
        PyObject *value = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 1);
        PyObject *step = key_step("[%U]", key);
        result = step == NULL ? -1 : reach(s, value, step, holder);
        if (result == 0 && (step = key_step(" key %U", key)) != NULL)
            result = reach(s, key, step, holder);
        if (PyErr_Occurred())
            result = -1;
    }
    Py_XDECREF(items);
    return result;
}

/* The members of a builtin container, or of the builtin part of an object. */
static int reach_content(search *s, PyObject *object, Py_ssize_t holder)
{
    if (PyDict_Check(object))
        return reach_dict(s, object, holder);
    bool set = PyAnySet_Check(object);
    getiterfunc iterate = set                    ? PySet_Type.tp_iter
                          : PyList_Check(object) ? PyList_Type.tp_iter
                                                 : PyTuple_Type.tp_iter;
    if (!set && !PyList_Check(object) && !PyTuple_Check(object))
        return 0;
    PyObject *iterator = iterate(object), *item;
    if (iterator == NULL)
        return -1;
    for (Py_ssize_t i = 0; s->found < 0 && (item = PyIter_Next(iterator)) != NULL; i++) {
        PyObject *step = set ? PyUnicode_FromString(" item") : PyUnicode_FromFormat("[%zd]", i);
        int result = step == NULL ? -1 : reach(s, item, step, holder);
        Py_DECREF(item);
        if (result < 0)
            break;
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

static int reach_field(search *s, PyObject *name, PyObject *value, Py_ssize_t holder)
{
    PyObject *step = PyUnicode_FromFormat(".%S", name);
    return step == NULL ? -1 : reach(s, value, step, holder);
}

static int reach_fields(search *s, PyObject *dict, Py_ssize_t holder)
{
    PyObject *items = PyDict_Items(dict);
    int result = items == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && s->found < 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        result = reach_field(s, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1), holder);
    }
    Py_XDECREF(items);
    return result;
}

/* What the rule of an object made of it. */
static int reach_made(search *s, const freeze_rule *rule, PyObject *made, Py_ssize_t holder)
{
    bool pair = PyTuple_Check(made) && PyTuple_GET_SIZE(made) == 2;
    if (rule->kind == RULE_CONTAINER && pair) {
        int result = reach_content(s, PyTuple_GET_ITEM(made, 0), holder);
        PyObject *fields = PyTuple_GET_ITEM(made, 1);
        return result == 0 && PyDict_Check(fields) ? reach_fields(s, fields, holder) : result;
    }
    bool three = PyTuple_Check(made) && PyTuple_GET_SIZE(made) == 3;
    if ((rule->kind == RULE_MADE && pair) || (rule->kind == RULE_STATE && three)) {
        PyObject *names = PyTuple_GET_ITEM(made, 0), *values = PyTuple_GET_ITEM(made, 1);
        Py_ssize_t n = PyTuple_Check(names) && PyTuple_Check(values) ? PyTuple_GET_SIZE(names) : 0;
        int result = 0;
        for (Py_ssize_t i = 0; result == 0 && i < n && i < PyTuple_GET_SIZE(values); i++)
            result =
                reach_field(s, PyTuple_GET_ITEM(names, i), PyTuple_GET_ITEM(values, i), holder);
        return result;
    }
    PyObject *step = PyUnicode_FromString(rule->kind == RULE_AS ? " as it is frozen" : " value");
    return step == NULL ? -1 : reach(s, made, step, holder);
}

/* An object that is read in place. */
static int reach_parts(search *s, const known_class *class, PyObject *object, Py_ssize_t holder)
{
    int result = reach_content(s, object, holder);
    for (Py_ssize_t i = 0; result == 0 && i < class->rule->slot_count; i++) {
        PyObject *value;
        result = ih_rule_slot(&class->rule->slots[i], object, &value);
        if (result == 0 && value != NULL)
            result = reach_field(s, class->rule->slots[i].name, value, holder);
        Py_XDECREF(value);
    }
    PyObject *dict = result == 0 && class->has_dict ? PyObject_GenericGetDict(object, NULL) : NULL;
    if (dict != NULL)
        result = reach_fields(s, dict, holder);
    Py_XDECREF(dict);
    return PyErr_Occurred() ? -1 : result;
}

static int reach_items(search *s, Py_ssize_t holder)
{
    PyObject *object = s->places[holder].object;
    const known_class *class = freeze_met_class(s->f, Py_TYPE(object));
    if (class == NULL)
        return reach_content(s, object, holder);
    PyObject *address = PyLong_FromVoidPtr(object);
    PyObject *made = address == NULL ? NULL : PyDict_GetItemWithError(s->made, address);
    Py_XDECREF(address);
    if (made != NULL)
        return reach_made(s, class->rule, made, holder);
    if (PyErr_Occurred())
        return -1;
    rule_kind kind = class->rule->kind;
    return kind == RULE_VIEW || kind == RULE_CONTAINER || kind == RULE_TUPLE
               ? reach_parts(s, class, object, holder)
               : 0;
}

/* "root['models'][3]" */
static PyObject *path_to(const search *s, Py_ssize_t i)
{
    PyObject *steps = PyList_New(0), *empty = PyUnicode_FromString("");
    int result = steps == NULL || empty == NULL ? -1 : 0;
    for (; result == 0 && s->places[i].step != NULL; i = s->places[i].holder)
        result = PyList_Append(steps, s->places[i].step);
    PyObject *root = PyUnicode_FromString("root");
    if (result == 0)
        result = root == NULL ? -1 : PyList_Append(steps, root);
    if (result == 0)
        result = PyList_Reverse(steps);
    PyObject *path = result == 0 ? PyUnicode_Join(empty, steps) : NULL;
    Py_XDECREF(steps);
    Py_XDECREF(empty);
    Py_XDECREF(root);
    return path;
}

#define PATH_SHOWN 400 /* characters of a path in the message; the attribute has all of it */

static void set_error(const freezer *f, PyObject *path, PyObject *holder)
{
    PyObject *type = (PyObject *)Py_TYPE(f->offender),
             *class = f->state->errors[IH_ERR_NOT_FREEZABLE];
    PyObject *shown = PyUnicode_Substring(path, 0, PATH_SHOWN);
    PyObject *message = shown == NULL
                            ? NULL
                            : PyUnicode_FromFormat(
                                  "cannot freeze %U%s: an object of type %s has no frozen form%s%s",
                                  shown, PyUnicode_GET_LENGTH(path) > PATH_SHOWN ? "..." : "",
                                  Py_TYPE(f->offender)->tp_name, f->reason ? ": " : "",
                                  f->reason ? f->reason : "; replace it by plain data");
    PyObject *error = message == NULL ? NULL : PyObject_CallOneArg(class, message);
    if (error != NULL && PyObject_SetAttrString(error, "path", path) == 0 &&
        PyObject_SetAttrString(error, "object", f->offender) == 0 &&
        PyObject_SetAttrString(error, "holder", holder) == 0 &&
        PyObject_SetAttrString(error, "type", type) == 0)
        PyErr_SetObject(class, error);
    Py_XDECREF(shown);
    Py_XDECREF(message);
    Py_XDECREF(error);
}

/* The exception of a getter goes on as it is, and says where it was raised. */
static void add_note(const freezer *f, PyObject *path, PyObject *error)
{
    PyObject *note = PyUnicode_FromFormat("while freezing %U, an object of type %s", path,
                                          Py_TYPE(f->offender)->tp_name);
    PyObject *done = note == NULL
                         ? NULL
                         : PyObject_CallMethod(PyExc_BaseException, "add_note", "OO", error, note);
    Py_XDECREF(note);
    Py_XDECREF(done);
}

static PyObject *made_by_address(const freezer *f)
{
    PyObject *made = PyDict_New();
    Py_ssize_t n = f->derived == NULL ? 0 : PyList_GET_SIZE(f->derived);
    for (Py_ssize_t i = 0; made != NULL && i + 1 < n; i += 2) {
        PyObject *address = PyLong_FromVoidPtr(PyList_GET_ITEM(f->derived, i));
        if (address == NULL ||
            PyDict_SetItem(made, address, PyList_GET_ITEM(f->derived, i + 1)) < 0)
            Py_CLEAR(made);
        Py_XDECREF(address);
    }
    return made;
}

static void explain(freezer *f, PyObject *root, PyObject *error)
{
    search s = {.seen = PySet_New(NULL), .offender = f->offender, .found = -1, .f = f};
    s.made = s.seen == NULL ? NULL : made_by_address(f);
    int result = s.made == NULL ? -1 : reach(&s, root, NULL, -1);
    for (Py_ssize_t i = 0; result == 0 && s.found < 0 && i < s.count; i++)
        result = reach_items(&s, i);
    if (result == 0) {
        /* Inside a view's plain copy there is no way from the root to the offender: then the root
         * is named. */
        PyObject *path = path_to(&s, s.found < 0 ? 0 : s.found);
        Py_ssize_t holder = s.found > 0 ? s.places[s.found].holder : -1;
        if (path != NULL && error != NULL)
            add_note(f, path, error);
        else if (path != NULL)
            set_error(f, path, holder < 0 ? Py_None : s.places[holder].object);
        Py_XDECREF(path);
    }
    for (Py_ssize_t i = 0; i < s.count; i++) {
        Py_DECREF(s.places[i].object);
        Py_XDECREF(s.places[i].step);
    }
    PyMem_Free(s.places);
    Py_XDECREF(s.seen);
    Py_XDECREF(s.made);
}

void freeze_raise(freezer *f, PyObject *root)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    if (type == NULL) {
        explain(f, root, NULL);
        return;
    }
    PyErr_NormalizeException(&type, &error, &traceback);
    explain(f, root, error);
    PyErr_Restore(type, error, traceback);
}
