/* The classes that one freeze meets: their rules, names and layouts. */
#include "module/freezer_state.h"
#include "module/hooks.h"
#include "module/object.h"

/* ---- classes by address --------------------------------------------------------------------- */

static uint32_t class_slot(const freezer *f, const PyTypeObject *type)
{
    uint64_t hash = ((uint64_t)(uintptr_t)type >> 4) * 0x9e3779b97f4a7c15u;
    uint32_t slot = (uint32_t)(hash >> 32) & f->class_mask;
    while (f->classes[slot] != NULL && f->classes[slot]->type != type)
        slot = (slot + 1) & f->class_mask;
    return slot;
}

static int classes_grow(freezer *f)
{
    known_class **old = f->classes;
    uint32_t count = old == NULL ? 0 : f->class_mask + 1, mask = count == 0 ? 15 : count * 4 - 1;
    f->classes = calloc((size_t)mask + 1, sizeof *f->classes);
    if (f->classes == NULL) {
        f->classes = old;
        return freeze_failed(IH_WRITE_MEMORY);
    }
    f->class_mask = mask;
    for (uint32_t i = 0; i < count; i++)
        if (old[i] != NULL)
            f->classes[class_slot(f, old[i]->type)] = old[i];
    free(old);
    return 0;
}

static known_class *add_class(freezer *f, PyTypeObject *type, PyObject *capsule,
                              const freeze_rule *rule)
{
    known_class *class = NULL;
    if (f->classes == NULL || f->class_count * 2 > f->class_mask)
        if (classes_grow(f) < 0)
            return NULL;
    class = calloc(1, sizeof *class);
    if (class == NULL) {
        freeze_failed(IH_WRITE_MEMORY);
        return NULL;
    }
    class->type = (PyTypeObject *)Py_NewRef((PyObject *)type);
    class->capsule = Py_NewRef(capsule);
    class->rule = rule;
    class->has_dict = type->tp_dictoffset != 0 || PyType_HasFeature(type, Py_TPFLAGS_MANAGED_DICT);
    f->classes[class_slot(f, type)] = class;
    f->class_count++;
    return class;
}

known_class *freeze_class(freezer *f, PyTypeObject *type)
{
    if (f->last_class != NULL && f->last_class->type == type)
        return f->last_class;
    known_class *class = f->classes == NULL ? NULL : f->classes[class_slot(f, type)];
    if (class == NULL) {
        const freeze_rule *rule = NULL;
        PyObject *capsule = ih_rule_known(f->state, type, &rule);
        if (capsule == NULL && !f->careful) {
            freeze_again(f, type);
            return NULL;
        }
        if (capsule == NULL)
            capsule = ih_rule_ask(f->state, type, &rule);
        if (capsule == NULL)
            return NULL;
        class = add_class(f, type, capsule, rule);
        Py_DECREF(capsule);
    }
    if (class != NULL)
        f->last_class = class;
    return class;
}

const known_class *freeze_met_class(const freezer *f, const PyTypeObject *type)
{
    return f->classes == NULL ? NULL : f->classes[class_slot(f, type)];
}

void freeze_forget_classes(freezer *f)
{
    for (uint32_t i = 0; f->class_count > 0 && i <= f->class_mask; i++) {
        known_class *class = f->classes[i];
        if (class == NULL)
            continue;
        f->classes[i] = NULL;
        f->class_count--;
        Py_DECREF((PyObject *)class->type);
        Py_DECREF(class->capsule);
        free(class);
    }
    f->last_class = NULL;
    f->layout_count = 0;
}

/* ---- their names and layouts ---------------------------------------------------------------- */

int freeze_class_names(freezer *f, PyObject *names, uint64_t n, uint64_t *third, uint32_t *word)
{
    uint32_t parts[2];
    uint64_t at = 0;
    if (freeze_str(f, PyTuple_GET_ITEM(names, 0), true, &parts[0], NULL) < 0 ||
        freeze_str(f, PyTuple_GET_ITEM(names, 1), true, &parts[1], NULL) < 0)
        return -1;
    ih_writer *w = &f->writer;
    int result = ih_begin_node(w, IH_TUPLE, n, 4 * n, &at);
    if (result < 0)
        return freeze_failed(result);
    uint32_t payload = ih_word_at(at);
    ih_put_word(w, w->size, parts[0]);
    ih_put_word(w, w->size + 4, parts[1]);
    *third = w->size + 8;
    if (n == 3)
        ih_put_word(w, *third, IH_NONE);
    w->size += 4 * n;
    result = ih_begin_node(w, IH_VALUE, IH_VALUE_CLASS, 4, &at);
    if (result < 0)
        return freeze_failed(result);
    ih_put_word(w, w->size, payload);
    w->size += 4;
    *word = ih_word_at(at);
    return 0;
}

static int write_class(freezer *f, const freeze_rule *rule, PyTypeObject *type, uint32_t *word)
{
    uint64_t none;
    PyObject *names = ih_rule_names(rule, type);
    int result = names == NULL ? -1 : freeze_class_names(f, names, 2, &none, word);
    Py_XDECREF(names);
    return result;
}

/* A class with its definition, which leads back to it: so its word is known before that is written.
 * The definition is written as what is nested too deeply is, when everything around it is done:
 * definitions lead to other definitions without end. */
int freeze_defined_class(freezer *f, PyTypeObject *type, PyObject *payload, uint32_t *word)
{
    uint64_t third;
    uint32_t definition;
    known_class *class = f->classes == NULL ? NULL : f->classes[class_slot(f, type)];
    if (freeze_keep(f, Py_NewRef(payload)) < 0 ||
        freeze_class_names(f, payload, 3, &third, word) < 0 ||
        memo_add(f, (PyObject *)type, *word) < 0)
        return -1;
    if (class != NULL)
        class->class_word = *word;
    uint32_t outside = freeze_enter_lazy(f);
    int result = freeze_value(f, PyTuple_GET_ITEM(payload, 2), RECURSION_MAX, &definition);
    freeze_leave_lazy(f, outside);
    if (result == 0)
        ih_put_word(&f->writer, third, definition);
    return result;
}

PyObject *freeze_class_payload(freezer *f, PyTypeObject *type, const char *name, bool *defined)
{
    PyObject *hook = ih_hook(f->state, name);
    PyObject *payload = hook != NULL ? freeze_call(f, hook, (PyObject *)type) : NULL;
    Py_XDECREF(hook);
    if (payload != NULL && !ih_is_class_payload(f->state, payload, defined)) {
        PyErr_Format(PyExc_TypeError, "%s(%s) gave %.200R, which is no payload", name,
                     type->tp_name, payload);
        Py_CLEAR(payload);
    }
    return payload;
}

/* The definition is asked for anew, as rules don't keep classes alive. */
static int ask_definition(freezer *f, PyTypeObject *type, uint32_t *word)
{
    bool defined;
    if (!f->careful)
        return freeze_again(f, NULL);
    PyObject *payload = freeze_class_payload(f, type, "class_payload", &defined);
    int result = payload == NULL ? -1
                 : defined       ? freeze_defined_class(f, type, payload, word)
                                 : write_class(f, NULL, type, word);
    Py_XDECREF(payload);
    return result;
}

/* Once for the layouts of its instances and, if it was met as a value, for that. */
int freeze_class_word(freezer *f, PyTypeObject *type, uint32_t *word)
{
    known_class *class = f->classes == NULL ? NULL : f->classes[class_slot(f, type)];
    *word = class != NULL ? class->class_word : 0;
    if (*word != 0) {
        ih_mark_shared(&f->writer, *word);
        return 0;
    }
    *word = memo_find(f, (PyObject *)type);
    uint32_t name = (uint32_t)IH_VALUE_CLASS << 8 | IH_NODE_BIT | (uint32_t)IH_VALUE;
    if (*word < IH_CONSTANTS_END * 2 || (*word & 1) != 0 ||
        (ih_load32(f->writer.bytes + (uint64_t)(*word >> 1) * 4) & ~IH_SHARED_BIT) != name)
        if ((class != NULL && class->rule->defined
                 ? ask_definition(f, type, word)
                 : write_class(f, class != NULL ? class->rule : NULL, type, word)) < 0)
            return -1;
    if (class != NULL)
        class->class_word = *word;
    return 0;
}

static int write_layout(freezer *f, const known_layout *layout, uint32_t *word)
{
    ih_writer *w = &f->writer;
    uint64_t at = 0;
    int result = ih_begin_node(w, IH_LAYOUT, layout->form, 12, &at);
    if (result < 0)
        return freeze_failed(result);
    ih_put_word(w, w->size, layout->class);
    ih_put_word(w, w->size + 4, layout->number);
    ih_put_word(w, w->size + 8, layout->shape);
    w->size += 12;
    *word = ih_word_at(at);
    return 0;
}

int freeze_layout(freezer *f, PyTypeObject *type, ih_form_code form, uint32_t number,
                  PyObject *const *names, uint64_t n, uint32_t *word)
{
    known_layout wanted = {
        .generation = f->generation, .shape = IH_NONE, .form = (uint32_t)form, .number = number};
    if (freeze_class_word(f, type, &wanted.class) < 0 ||
        (n > 0 && freeze_shape(f, names, n, &wanted.shape) < 0))
        return -1;
    if (f->layouts == NULL && (f->layouts = calloc(LAYOUTS, sizeof *f->layouts)) == NULL)
        return freeze_failed(IH_WRITE_MEMORY);
    uint64_t hash = ih_fold(((uint64_t)wanted.class << 32 | wanted.shape) ^ 0x9e3779b97f4a7c15u,
                            ((uint64_t)number << 2 | wanted.form) + 0x2545f4914f6cdd1du);
    uint32_t slot = (uint32_t)(hash >> 32) % LAYOUTS;
    for (; f->layouts[slot].generation == f->generation; slot = (slot + 1) % LAYOUTS) {
        const known_layout *known = &f->layouts[slot];
        if (known->class == wanted.class && known->shape == wanted.shape &&
            known->form == wanted.form && known->number == wanted.number) {
            *word = known->layout;
            return 0;
        }
    }
    if (write_layout(f, &wanted, &wanted.layout) < 0)
        return -1;
    *word = wanted.layout;
    if (f->layout_count < LAYOUTS / 4 * 3) {
        f->layouts[slot] = wanted;
        f->layout_count++;
    }
    return 0;
}
