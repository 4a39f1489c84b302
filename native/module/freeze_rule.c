/* Rules of classes; see freeze_rule.h. */
#include "module/freeze_rule.h"

#include "module/hooks.h"

#define CAPSULE "icehouse.rule"

/* ---- what there is to ask ------------------------------------------------------------------- */

/* -1: not known. */
static long generation(const ih_state *state)
{
    PyObject *hooks = __atomic_load_n(&state->hooks, __ATOMIC_ACQUIRE);
    PyObject *number = hooks == NULL ? NULL : PyObject_GetAttr(hooks, state->rules.generation);
    long value = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (PyErr_Occurred())
        PyErr_Clear();
    return value;
}

/* A number that changes when the class or a base of it is changed; 0 where there is none. */
static unsigned version_of(const PyTypeObject *class)
{
#if PY_VERSION_HEX < 0x030D0000
    if (!PyType_HasFeature((PyTypeObject *)(uintptr_t) class, Py_TPFLAGS_VALID_VERSION_TAG))
        return 0;
#endif
    return class->tp_version_tag;
}

static bool is_of(PyObject *weak, PyTypeObject *class)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *strong = NULL;
    if (PyWeakref_GetRef(weak, &strong) < 0)
        PyErr_Clear();
    Py_XDECREF(strong);
    return strong == (PyObject *)class;
#else
    return PyWeakref_GetObject(weak) == (PyObject *)class;
#endif
}

static bool is_alive(PyObject *weak)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *strong = NULL;
    if (PyWeakref_GetRef(weak, &strong) < 0)
        PyErr_Clear();
    Py_XDECREF(strong);
    return strong != NULL;
#else
    return PyWeakref_GetObject(weak) != Py_None;
#endif
}

/* ---- parsing what it says ------------------------------------------------------------------- */

static void free_rule(freeze_rule *rule)
{
    for (Py_ssize_t i = 0; i < rule->slot_count; i++) {
        Py_XDECREF(rule->slots[i].name);
        Py_XDECREF(rule->slots[i].descriptor);
    }
    Py_XDECREF(rule->class);
    Py_XDECREF((PyObject *)rule->base);
    Py_XDECREF(rule->getter);
    Py_XDECREF(rule->before);
    Py_XDECREF(rule->reason);
    Py_XDECREF(rule->names);
    PyMem_Free(rule);
}

static void destroy(PyObject *capsule)
{
    freeze_rule *rule = PyCapsule_GetPointer(capsule, CAPSULE);
    if (rule != NULL)
        free_rule(rule);
}

static bool is_slots(PyObject *slots)
{
    if (!PyTuple_Check(slots))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(slots); i++) {
        PyObject *pair = PyTuple_GET_ITEM(slots, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
            !PyUnicode_CheckExact(PyTuple_GET_ITEM(pair, 0)))
            return false;
    }
    return true;
}

/* A slot of a class made in Python is a pointer at a place. Its descriptor would keep the class
 * alive, so only the place is kept. */
static void take_slots(freeze_rule *rule, PyObject *slots)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(slots); i++) {
        PyObject *pair = PyTuple_GET_ITEM(slots, i), *descriptor = PyTuple_GET_ITEM(pair, 1);
        rule_slot *slot = &rule->slots[rule->slot_count++];
        slot->name = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        slot->descriptor = NULL;
        if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
            slot->member = *((PyMemberDescrObject *)descriptor)->d_member;
            if (slot->member.type == T_OBJECT_EX || slot->member.type == T_OBJECT)
                continue;
        }
        slot->descriptor = Py_NewRef(descriptor);
        rule->calls = true;
    }
}

/* 1 if the answer was understood, 0 if not, -1 with an exception. */
static int take_tuple(freeze_rule *rule, PyObject *answer, PyObject *slots)
{
    static const struct {
        const char *name;
        rule_kind kind;
        Py_ssize_t size;
    } forms[] = {{"view", RULE_VIEW, 2},   {"container", RULE_CONTAINER, 4},
                 {"tuple", RULE_TUPLE, 1}, {"made", RULE_MADE, 3},
                 {"value", RULE_VALUE, 3}, {"as", RULE_AS, 2},
                 {"state", RULE_STATE, 2}};
    Py_ssize_t n = PyTuple_GET_SIZE(answer);
    PyObject *name = n > 0 ? PyTuple_GET_ITEM(answer, 0) : Py_None;
    size_t i = 0, count = sizeof forms / sizeof *forms;
    while (i < count &&
           !(PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, forms[i].name) == 0))
        i++;
    if (i == count || n != forms[i].size)
        return 0;
    rule->kind = forms[i].kind;
    if (slots == NULL && (rule->kind == RULE_VIEW || rule->kind == RULE_CONTAINER))
        return 0;
    PyObject *last = PyTuple_GET_ITEM(answer, n - 1);
    if (rule->kind == RULE_TUPLE)
        return 1;
    if (rule->kind == RULE_VIEW) {
        take_slots(rule, slots);
        return 1;
    }
    if (last != Py_None || rule->kind != RULE_CONTAINER) {
        rule->getter = Py_NewRef(last);
        rule->calls = true;
    }
    PyObject *second = PyTuple_GET_ITEM(answer, 1);
    if (rule->kind == RULE_CONTAINER) {
        if (!PyType_Check(second))
            return 0;
        rule->base = (PyTypeObject *)Py_NewRef(second);
        take_slots(rule, slots);
    } else if (rule->kind != RULE_AS && rule->kind != RULE_STATE) {
        unsigned long number = PyLong_AsUnsignedLong(second);
        if (PyErr_Occurred() || number >= IH_COUNT_WIDE)
            return PyErr_Occurred() ? -1 : 0;
        rule->number = (uint32_t)number;
    }
    return 1;
}

/* Of the answers that have slots, where they are. */
static PyObject *slots_in(PyObject *answer)
{
    Py_ssize_t n = PyTuple_Check(answer) ? PyTuple_GET_SIZE(answer) : 0;
    PyObject *slots = n == 2   ? PyTuple_GET_ITEM(answer, 1)
                      : n == 4 ? PyTuple_GET_ITEM(answer, 2)
                               : NULL;
    return slots != NULL && PyTuple_Check(slots) ? slots : NULL;
}

/* ("before", hook, rule): the hook; else NULL. */
static PyObject *hook_in(PyObject *answer)
{
    PyObject *name = PyTuple_Check(answer) && PyTuple_GET_SIZE(answer) == 3
                         ? PyTuple_GET_ITEM(answer, 0)
                         : Py_None;
    bool before = PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "before") == 0;
    return before ? PyTuple_GET_ITEM(answer, 1) : NULL;
}

static freeze_rule *parse(PyTypeObject *class, PyObject *whole)
{
    PyObject *before = hook_in(whole), *answer = before ? PyTuple_GET_ITEM(whole, 2) : whole;
    PyObject *slots = slots_in(answer);
    bool bad = slots != NULL && !is_slots(slots);
    Py_ssize_t count = bad || slots == NULL ? 0 : PyTuple_GET_SIZE(slots);
    freeze_rule *rule = PyMem_Calloc(1, sizeof(freeze_rule) + (size_t)count * sizeof(rule_slot));
    if (rule == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    int understood = 0;
    if (PyUnicode_Check(answer)) {
        rule->reason = Py_NewRef(answer);
        understood = 1;
    } else if (PyTuple_Check(answer) && !bad) {
        understood = take_tuple(rule, answer, slots);
    }
    if (before != NULL) {
        rule->before = Py_NewRef(before);
        rule->calls = true;
    }
    rule->class = understood > 0 ? PyWeakref_NewRef((PyObject *)class, NULL) : NULL;
    if (rule->class != NULL)
        return rule;
    free_rule(rule);
    if (understood == 0)
        PyErr_Format(PyExc_TypeError, "rule_of(%s) gave %.200R, which is no rule", class->tp_name,
                     whole);
    return NULL;
}

/* ---- the rules that are known --------------------------------------------------------------- */

PyObject *ih_rule_known(ih_state *state, PyTypeObject *class, const freeze_rule **out)
{
    PyObject *address = NULL, *capsule = NULL;
    if (state->rules.known == NULL || (address = PyLong_FromVoidPtr(class)) == NULL)
        return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyDict_GetItemRef(state->rules.known, address, &capsule) < 0)
        capsule = NULL;
#else
    capsule = Py_XNewRef(PyDict_GetItemWithError(state->rules.known, address));
#endif
    Py_DECREF(address);
    freeze_rule *rule = capsule == NULL ? NULL : PyCapsule_GetPointer(capsule, CAPSULE);
    if (rule == NULL)
        return NULL;
    if (rule->version != version_of(class) || rule->frozen != ih_is_frozen_class(state, class) ||
        !is_of(rule->class, class) || rule->generation != generation(state)) {
        Py_DECREF(capsule);
        return NULL;
    }
    *out = rule;
    return capsule;
}

/* Forgets the rules of classes that are gone, when there are twice as many as last time. */
static int sweep(ih_state *state)
{
    PyObject *known = state->rules.known;
    if (PyDict_GET_SIZE(known) < state->rules.sweep_at)
        return 0;
    PyObject *items = PyDict_Items(known);
    if (items == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        freeze_rule *rule = PyCapsule_GetPointer(PyTuple_GET_ITEM(item, 1), CAPSULE);
        if (rule != NULL && !is_alive(rule->class) &&
            PyDict_DelItem(known, PyTuple_GET_ITEM(item, 0)) < 0)
            PyErr_Clear(); /* another thread did */
    }
    Py_DECREF(items);
    state->rules.sweep_at = 2 * PyDict_GET_SIZE(known) + 64;
    return 0;
}

static int keep(ih_state *state, PyTypeObject *class, PyObject *capsule)
{
    if (sweep(state) < 0)
        return -1;
    PyObject *address = PyLong_FromVoidPtr(class);
    int result = address == NULL ? -1 : PyDict_SetItem(state->rules.known, address, capsule);
    Py_XDECREF(address);
    return result;
}

/* What images call the class. It may refuse to be named. */
static int take_names(ih_state *state, freeze_rule *rule, PyTypeObject *class)
{
    rule->frozen = ih_is_frozen_class(state, class);
    if (!rule->frozen) {
        rule->names = ih_class_names(class);
        if (rule->names == NULL)
            PyErr_Clear(); /* said when they are needed */
        return 0;
    }
    PyObject *hooks = ih_hooks(state);
    PyObject *payload =
        hooks ? PyObject_CallMethod(hooks, "class_payload", "O", (PyObject *)class) : NULL;
    if (payload == NULL) {
        PyObject *reason = ih_rule_refusal(state);
        if (reason == NULL)
            return -1;
        rule->kind = RULE_REFUSED;
        Py_XSETREF(rule->reason, reason);
        return 0;
    }
    if (ih_is_class_payload(state, payload, &rule->defined))
        rule->names = PyTuple_GetSlice(payload, 0, 2);
    else
        PyErr_Format(PyExc_TypeError, "class_payload(%s) gave %.200R, which is no payload",
                     class->tp_name, payload);
    Py_DECREF(payload);
    return rule->names != NULL ? 0 : -1;
}

PyObject *ih_rule_ask(ih_state *state, PyTypeObject *class, const freeze_rule **out)
{
    if (state->rules.known == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "icehouse has been unloaded");
        return NULL;
    }
    PyObject *hooks = ih_hooks(state);
    if (hooks == NULL)
        return NULL;
#if PY_VERSION_HEX >= 0x030C0000
    (void)PyUnstable_Type_AssignVersionTag(class);
#endif
    long now = generation(state);
    unsigned version = version_of(class);
    PyObject *answer = PyObject_CallMethod(hooks, "rule_of", "O", (PyObject *)class);
    freeze_rule *rule = answer == NULL ? NULL : parse(class, answer);
    Py_XDECREF(answer);
    if (rule == NULL)
        return NULL;
    rule->version = version;
    rule->generation = now;
    if (take_names(state, rule, class) < 0) {
        free_rule(rule);
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(rule, CAPSULE, destroy);
    if (capsule == NULL) {
        free_rule(rule);
        return NULL;
    }
    if (keep(state, class, capsule) < 0) {
        Py_DECREF(capsule);
        return NULL;
    }
    *out = rule;
    return capsule;
}

PyObject *ih_rule_refusal(ih_state *state)
{
    PyObject *type, *value, *traceback, *text = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *hooks = ih_hooks(state);
    PyObject *refusal = hooks == NULL ? NULL : PyObject_GetAttrString(hooks, "Refusal");
    if (refusal != NULL && value != NULL && PyErr_GivenExceptionMatches(value, refusal))
        text = PyObject_Str(value);
    Py_XDECREF(refusal);
    if (text == NULL) {
        PyErr_Restore(type, value, traceback);
        return NULL;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return text;
}

int ih_rule_slot(const rule_slot *slot, PyObject *object, PyObject **value)
{
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (slot->descriptor == NULL) {
        PyMemberDef member = slot->member;
        *value = PyMember_GetOne((const char *)object, &member);
    } else {
        descrgetfunc get = Py_TYPE(slot->descriptor)->tp_descr_get;
        *value = get != NULL ? get(slot->descriptor, object, type) : Py_NewRef(Py_None);
    }
    if (*value != NULL)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* What `type` itself says of an attribute that all classes have. */
static PyObject *of_class(PyTypeObject *class, const char *name)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *attributes = PyType_GetDict(&PyType_Type);
#else
    PyObject *attributes = Py_XNewRef(PyType_Type.tp_dict);
#endif
    PyObject *key = attributes == NULL ? NULL : PyUnicode_FromString(name);
    PyObject *getset = key == NULL ? NULL : PyDict_GetItemWithError(attributes, key);
    PyObject *value = NULL;
    if (getset != NULL && Py_TYPE(getset)->tp_descr_get != NULL)
        value = Py_TYPE(getset)->tp_descr_get(getset, (PyObject *)class, (PyObject *)&PyType_Type);
    else if (!PyErr_Occurred())
        PyErr_Format(PyExc_SystemError, "type has no attribute %s", name);
    Py_XDECREF(key);
    Py_XDECREF(attributes);
    return value;
}

PyObject *ih_class_names(PyTypeObject *class)
{
    PyObject *module = of_class(class, "__module__");
    PyObject *qualname = module == NULL ? NULL : of_class(class, "__qualname__"), *names = NULL;
    if (qualname != NULL && (!PyUnicode_CheckExact(module) || !PyUnicode_CheckExact(qualname)))
        PyErr_Format(PyExc_TypeError,
                     "cannot freeze: the __module__ of class %s is %.100R, not text",
                     class->tp_name, module);
    else if (qualname != NULL)
        names = PyTuple_Pack(2, module, qualname);
    Py_XDECREF(module);
    Py_XDECREF(qualname);
    return names;
}

bool ih_is_frozen_class(const ih_state *state, PyTypeObject *class)
{
    destructor of_class_statement = ((PyTypeObject *)state->errors[IH_ERR_BASE])->tp_dealloc;
    return PyType_HasFeature(class, Py_TPFLAGS_HEAPTYPE) &&
           PyType_HasFeature(class, Py_TPFLAGS_IMMUTABLETYPE) &&
           class->tp_dealloc == of_class_statement;
}

bool ih_is_class_payload(const ih_state *state, PyObject *payload, bool *defined)
{
    Py_ssize_t n = PyTuple_CheckExact(payload) ? PyTuple_GET_SIZE(payload) : 0;
    *defined = n == 3;
    if ((n != 2 && n != 3) || !PyUnicode_CheckExact(PyTuple_GET_ITEM(payload, 0)) ||
        !PyUnicode_CheckExact(PyTuple_GET_ITEM(payload, 1)))
        return false;
    PyObject *definition = n == 3 ? PyTuple_GET_ITEM(payload, 2) : NULL;
    return definition == NULL || PyDict_CheckExact(definition) ||
           Py_TYPE(definition) == state->dict_type;
}

PyObject *ih_rule_names(const freeze_rule *rule, PyTypeObject *class)
{
    if (rule != NULL && rule->names != NULL && PyType_HasFeature(class, Py_TPFLAGS_IMMUTABLETYPE))
        return Py_NewRef(rule->names);
    /* Assigning __qualname__ does not count as changing the class. */
    if (rule != NULL && rule->names != NULL && PyType_HasFeature(class, Py_TPFLAGS_HEAPTYPE) &&
        ((PyHeapTypeObject *)class)->ht_qualname == PyTuple_GET_ITEM(rule->names, 1))
        return Py_NewRef(rule->names);
    return ih_class_names(class);
}

void ih_rules_clear(ih_state *state)
{
    Py_CLEAR(state->rules.known);
    Py_CLEAR(state->rules.generation);
}
