/* The type of the views of a class.
 *
 * Made from a spec over FrozenObject, with `type` as its metaclass: nothing of the class runs, and
 * its __subclasses__() don't list it (H20). It has the slots that the class's MRO fills, and its
 * dict forwards whatever else the class defines, since C code (`with`, reversed(), round()) and
 * libraries (dataclasses.fields) look at the type of an object and not at its __class__ (H22).
 * Methods write type(self)(...) for another of their kind: calling a view type calls the class.
 *
 * One for each class and interpreter. A view type keeps its class; the state knows it weakly, by
 * the address of the class, so that hash and equality of metaclasses aren't asked. */
#include "module/decode.h"
#include "module/hooks.h"
#include "module/object_parts.h"

#define FORWARDS_MAX 4096 /* entries of a view type's dict */

/* ---- what a view type's dict holds ----------------------------------------------------------- */

/* A descriptor that looks its name up as the view's getattr does. */
typedef struct {
    PyObject_HEAD
    PyObject *name;
} forward;

static PyObject *raw_dict(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyType_GetDict(type);
#else
    return Py_XNewRef(type->tp_dict);
#endif
}

PyTypeObject *ih_object_class_of(PyTypeObject *type)
{
    if (type->tp_dealloc != ih_object_dealloc)
        return NULL;
    ih_state *state = ih_type_state(type);
    PyObject *cls = state && type->tp_dict
                        ? PyDict_GetItemWithError(type->tp_dict, state->names[IH_WRAPPED])
                        : NULL;
    return cls != NULL && PyType_Check(cls) ? (PyTypeObject *)cls : NULL;
}

/* What `Class.name` would find, without asking its metaclass. */
static PyObject *attribute_of_class(PyTypeObject *cls, PyObject *name)
{
    PyObject *found = ih_class_look_up(cls, name);
    if (found == NULL)
        return PyErr_Format(PyExc_AttributeError, "type object '%.100s' has no attribute '%U'",
                            cls->tp_name, name);
    descrgetfunc get = Py_TYPE(found)->tp_descr_get;
    if (get == NULL)
        return found;
    PyObject *value = get(found, NULL, (PyObject *)cls);
    Py_DECREF(found);
    return value;
}

static PyObject *forward_get(PyObject *self, PyObject *object, PyObject *type)
{
    PyObject *name = ((forward *)self)->name;
    if (object != NULL && object != Py_None)
        return ih_is_object_view(object) ? ih_object_look_up((ih_object_view *)object, name)
                                         : Py_NewRef(self);
    PyTypeObject *cls =
        type && PyType_Check(type) ? ih_object_class_of((PyTypeObject *)type) : NULL;
    if (cls == NULL)
        return PyErr_Occurred() ? NULL : Py_NewRef(self);
    return attribute_of_class(cls, name);
}

bool ih_object_is_forward(PyObject *object) { return Py_TYPE(object)->tp_descr_get == forward_get; }

static void forward_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((forward *)self)->name);
    type->tp_free(self);
    Py_DECREF(type);
}

static int add_forward(ih_state *state, PyObject *dict, PyObject *name)
{
    int known = PyDict_Contains(dict, name);
    if (known != 0 || PyDict_GET_SIZE(dict) >= FORWARDS_MAX)
        return known < 0 ? -1 : 0;
    forward *made = (forward *)state->forward_type->tp_alloc(state->forward_type, 0);
    if (made == NULL)
        return -1;
    made->name = Py_NewRef(name);
    int result = PyDict_SetItem(dict, name, (PyObject *)made);
    Py_DECREF(made);
    return result;
}

/* Names that a type must not take over from a class: how instances are made, changed, collected,
 * copied and found, and what the type itself is described by. */
static bool is_kept_apart(PyObject *name)
{
    static const char *const names[] = {"__abstractmethods__",
                                        "__annotate__",
                                        "__annotate_func__",
                                        "__annotations__",
                                        "__class__",
                                        "__class_getitem__",
                                        "__copy__",
                                        "__dataclass_fields__",
                                        "__deepcopy__",
                                        "__del__",
                                        "__delattr__",
                                        "__dict__",
                                        "__firstlineno__",
                                        "__getattr__",
                                        "__getattribute__",
                                        "__getnewargs__",
                                        "__getnewargs_ex__",
                                        "__getstate__",
                                        "__init__",
                                        "__init_subclass__",
                                        "__instancecheck__",
                                        "__module__",
                                        "__new__",
                                        "__qualname__",
                                        "__reduce__",
                                        "__reduce_ex__",
                                        "__set_name__",
                                        "__setattr__",
                                        "__setstate__",
                                        "__sizeof__",
                                        "__slots__",
                                        "__static_attributes__",
                                        "__subclasscheck__",
                                        "__subclasshook__",
                                        "__weakref__",
                                        "__wrapped__",
                                        NULL};
    for (const char *const *each = names; *each != NULL; each++)
        if (PyUnicode_CompareWithASCIIString(name, *each) == 0)
            return true;
    return false;
}

static int add_class(ih_state *state, PyObject *into, PyTypeObject *cls)
{
    PyObject *dict = raw_dict(cls);
    PyObject *names = dict ? PyDict_Keys(dict) : NULL;
    Py_XDECREF(dict);
    int result = names ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(names); i++) {
        PyObject *name = PyList_GET_ITEM(names, i);
        if (PyUnicode_CheckExact(name) && !is_kept_apart(name))
            result = add_forward(state, into, name);
    }
    Py_XDECREF(names);
    return result;
}

static int fill_dict(ih_state *state, PyTypeObject *type, PyTypeObject *cls, PyObject *info,
                     PyObject *methods)
{
    PyObject *dict = type->tp_dict, *mro = Py_NewRef(cls->tp_mro);
    int result = PyDict_SetItem(dict, state->names[IH_WRAPPED], (PyObject *)cls);
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if (base != &PyBaseObject_Type)
            result = add_class(state, dict, base);
    }
    Py_DECREF(mro);
    if (result == 0)
        result = PyDict_Update(dict, info);
    if (result == 0 && PyDict_GET_SIZE(methods) > 0)
        result = PyDict_SetItem(dict, state->names[IH_METHODS], methods);
    PyType_Modified(type);
    return result;
}

static bool is_dunder(PyObject *name)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(name);
    return n > 4 && PyUnicode_READ_CHAR(name, 0) == '_' && PyUnicode_READ_CHAR(name, 1) == '_' &&
           PyUnicode_READ_CHAR(name, n - 1) == '_' && PyUnicode_READ_CHAR(name, n - 2) == '_';
}

int ih_object_view_type_add(ih_state *state, ih_layout *layout)
{
    PyObject *dict = layout->view_type->tp_dict;
    PyObject *methods = PyDict_GetItemWithError(dict, state->names[IH_METHODS]);
    int result = PyErr_Occurred() ? -1 : 0;
    Py_XSETREF(layout->methods, Py_XNewRef(methods));
    for (uint32_t i = 0; result == 0 && i < layout->n; i++) {
        PyObject *name = PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i);
        if (!is_dunder(name))
            result = add_forward(state, dict, name);
    }
    PyType_Modified(layout->view_type);
    return result;
}

/* ---- making one ------------------------------------------------------------------------------ */

static PyObject *view_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyTypeObject *cls = ih_object_class_of(type);
    if (cls != NULL)
        return PyObject_Call((PyObject *)cls, args, kwargs);
    return PyErr_Format(PyExc_TypeError, "cannot create '%.100s' instances", type->tp_name);
}

static bool defines(PyTypeObject *cls, PyObject *name)
{
    PyObject *found = name ? ih_class_look_up(cls, name) : NULL;
    Py_XDECREF(found);
    return found != NULL;
}

/* Is a method of this name there, and of Python? */
static bool overrides(PyTypeObject *cls, PyObject *name)
{
    PyObject *found = ih_class_look_up(cls, name);
    bool python = found != NULL && Py_TYPE(found) != &PyWrapperDescr_Type;
    Py_XDECREF(found);
    return python;
}

static bool is_unhashable(const ih_state *state, PyTypeObject *cls, PyObject *methods)
{
    PyObject *name = state->names[IH_HASH], *better = PyDict_GetItemWithError(methods, name);
    PyObject *found = better ? Py_NewRef(better) : ih_class_look_up(cls, name);
    Py_XDECREF(found);
    return found == NULL || found == Py_None;
}

#define SLOTS_MAX (IH_OPERATOR_NAMES + 10)

static void choose_slots(const ih_state *state, PyTypeObject *cls, PyObject *methods,
                         PyType_Slot slots[SLOTS_MAX])
{
    size_t n = 0;
    bool mapping =
        PyType_IsSubtype(cls, &PyDict_Type) || PyType_HasFeature(cls, Py_TPFLAGS_MAPPING);
    slots[n++] = (PyType_Slot){Py_tp_dealloc, (void *)ih_object_dealloc};
    slots[n++] = (PyType_Slot){Py_tp_traverse, (void *)ih_object_traverse};
    slots[n++] = (PyType_Slot){Py_tp_clear, (void *)ih_object_clear};
    slots[n++] = (PyType_Slot){Py_tp_new, (void *)view_new};
    slots[n++] = (PyType_Slot){Py_tp_richcompare, (void *)ih_object_richcompare};
    slots[n++] = (PyType_Slot){Py_tp_hash, is_unhashable(state, cls, methods)
                                               ? (void *)PyObject_HashNotImplemented
                                               : (void *)ih_object_hash};
    if (overrides(cls, state->names[IH_GETATTRIBUTE])) {
        slots[n++] = (PyType_Slot){Py_tp_getattro, (void *)ih_object_getattro_by_class};
        slots[n++] = (PyType_Slot){Py_tp_setattro, (void *)ih_object_setattro};
    }
    const ih_object_operator *each = ih_object_operators;
    for (size_t i = 0; each->name != NULL; i++, each++) {
        if (each->slot == 0 || (each->slot == Py_sq_item && mapping))
            continue;
        if (defines(cls, state->operator_names[i][0]) || defines(cls, state->operator_names[i][1]))
            slots[n++] = (PyType_Slot){each->slot, each->function};
    }
    slots[n] = (PyType_Slot){0, NULL};
}

/* "icehouse.Point": CPython takes what stands before the last dot for the module. */
static void write_name(PyTypeObject *cls, char *out, size_t room)
{
    PyObject *name = PyType_GetName(cls);
    const char *text = name ? PyUnicode_AsUTF8(name) : NULL;
    if (text == NULL)
        PyErr_Clear();
    PyOS_snprintf(out, room, "icehouse.%s", text ? text : "FrozenObject");
    for (char *p = out + strlen("icehouse."); *p != '\0'; p++)
        if (*p == '.')
            *p = '_';
    /* Where it was cut: not in the middle of a character. */
    size_t n = strlen(out);
    if (text != NULL && strlen(text) >= room - strlen("icehouse."))
        while (n > 0 && (out[n - 1] & 0x80) != 0 && (out[--n] & 0xc0) == 0x80) {
        }
    out[n] = '\0';
    Py_XDECREF(name);
}

/* What the rules say that libraries want to find: see hooks.view_info(). A dict of our own. */
static PyObject *info_of(ih_state *state, PyTypeObject *cls)
{
    PyObject *ask = ih_hook_of(state, IH_HOOK_VIEW_INFO);
    PyObject *info = ask ? PyObject_CallOneArg(ask, (PyObject *)cls) : NULL;
    PyObject *copy = info && PyDict_Check(info) ? PyDict_Copy(info) : NULL;
    if (info != NULL && copy == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "view_info() gave no dict");
    Py_XDECREF(info);
    return copy;
}

/* Its methods, which go before those of the class: descriptors, and None for one that is taken
 * away. */
static PyObject *methods_of(PyObject *info)
{
    PyObject *methods = PyDict_New(), *name, *value;
    for (Py_ssize_t i = 0; methods != NULL && PyDict_Next(info, &i, &name, &value);)
        if (PyUnicode_CheckExact(name) && (value == Py_None || Py_TYPE(value)->tp_descr_get))
            if (PyDict_SetItem(methods, name, value) < 0)
                Py_CLEAR(methods);
    return methods;
}

/* What the type of a dataclass's views is derived from: it has `__dataclass_fields__`, which goes
 * from `info`. dataclasses, attrs and msgspec find it along the MRO. orjson looks into the dict of
 * the type itself, and takes it that what an attribute gives is kept alive by its object: it would
 * read freed memory. So it must not take a view for a dataclass; it then asks for its default=. */
static PyTypeObject *base_with_fields(ih_state *state, PyObject *info)
{
    static const char fields[] = "__dataclass_fields__";
    PyObject *value = PyDict_GetItemString(info, fields);
    if (value == NULL)
        return (PyTypeObject *)Py_NewRef((PyObject *)state->object_type);
    PyType_Slot slots[] = {{Py_tp_dealloc, (void *)ih_object_dealloc},
                           {Py_tp_traverse, (void *)ih_object_traverse},
                           {Py_tp_clear, (void *)ih_object_clear},
                           {0, NULL}};
    PyType_Spec spec = {
        .name = "icehouse.FrozenDataclass",
        .basicsize = sizeof(ih_object_view),
        .flags = (unsigned int)(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                                Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION),
        .slots = slots,
    };
    PyTypeObject *base = ih_add_type(state->module, &spec, state->object_type, false);
    if (base == NULL || PyDict_SetItemString(base->tp_dict, fields, value) < 0 ||
        PyDict_DelItemString(info, fields) < 0)
        Py_CLEAR(base);
    else
        PyType_Modified(base);
    return base;
}

static PyTypeObject *make_type(ih_state *state, PyTypeObject *cls, PyObject *info,
                               PyObject *methods)
{
    PyType_Slot slots[SLOTS_MAX];
    char name[128];
    choose_slots(state, cls, methods, slots);
    write_name(cls, name, sizeof name);
    unsigned long patterns = PyType_GetFlags(cls) & (Py_TPFLAGS_SEQUENCE | Py_TPFLAGS_MAPPING);
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(ih_object_view),
        .flags = (unsigned int)(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                                patterns),
        .slots = slots,
    };
    PyTypeObject *base = base_with_fields(state, info);
    PyTypeObject *type = base ? ih_add_type(state->module, &spec, base, false) : NULL;
    Py_XDECREF((PyObject *)base);
    return type;
}

static PyTypeObject *make_view_type(ih_state *state, PyTypeObject *cls)
{
    PyObject *info = info_of(state, cls);
    PyObject *methods = info ? methods_of(info) : NULL;
    PyTypeObject *type = methods ? make_type(state, cls, info, methods) : NULL;
    PyObject *qualname = type ? PyType_GetQualName(cls) : NULL;
    int result = qualname ? fill_dict(state, type, cls, info, methods) : -1;
    Py_XDECREF(methods);
    if (result < 0) {
        Py_XDECREF(info);
        Py_XDECREF(qualname);
        Py_XDECREF((PyObject *)type);
        return NULL;
    }
    Py_DECREF(info);
    PyHeapTypeObject *heap = (PyHeapTypeObject *)type;
    Py_SETREF(heap->ht_qualname, qualname);
    return type;
}

/* ---- knowing them ---------------------------------------------------------------------------- */

static PyTypeObject *referent(PyObject *reference)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *object = NULL;
    if (PyWeakref_GetRef(reference, &object) < 0)
        PyErr_Clear();
    return (PyTypeObject *)object;
#else
    PyObject *object = PyWeakref_GetObject(reference);
    return object == NULL || object == Py_None ? NULL : (PyTypeObject *)Py_NewRef(object);
#endif
}

/* Forgets the view types that are gone, each time their number has doubled. */
static int forget_dead(ih_state *state)
{
    if (PyDict_GET_SIZE(state->view_types) < state->view_types_max)
        return 0;
    PyObject *items = PyDict_Items(state->view_types);
    if (items == NULL)
        return -1;
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        PyTypeObject *alive = referent(PyTuple_GET_ITEM(item, 1));
        if (alive == NULL)
            result = PyDict_DelItem(state->view_types, PyTuple_GET_ITEM(item, 0));
        Py_XDECREF((PyObject *)alive);
    }
    Py_DECREF(items);
    state->view_types_max = PyDict_GET_SIZE(state->view_types) * 2 + 256;
    return result;
}

static int remember(ih_state *state, PyObject *address, PyTypeObject *type)
{
    PyObject *reference = PyWeakref_NewRef((PyObject *)type, NULL);
    int result = reference ? forget_dead(state) : -1;
    if (result == 0)
        result = PyDict_SetItem(state->view_types, address, reference);
    Py_XDECREF(reference);
    return result;
}

PyTypeObject *ih_object_view_type(ih_state *state, PyTypeObject *cls)
{
    if (state->object_type == NULL || state->view_types == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "icehouse has been unloaded");
        return NULL;
    }
    if (cls == NULL)
        return (PyTypeObject *)Py_NewRef((PyObject *)state->object_type);
    PyObject *address = PyLong_FromVoidPtr(cls);
    if (address == NULL)
        return NULL;
    PyObject *reference = PyDict_GetItemWithError(state->view_types, address);
    PyTypeObject *type = reference ? referent(reference) : NULL;
    if (type == NULL && !PyErr_Occurred()) {
        type = make_view_type(state, cls);
        if (type != NULL && remember(state, address, type) < 0)
            Py_CLEAR(type);
    }
    Py_DECREF(address);
    return type;
}

/* ---- the beginning --------------------------------------------------------------------------- */

static PyType_Slot forward_slots[] = {
    {Py_tp_dealloc, (void *)forward_dealloc},
    {Py_tp_descr_get, (void *)forward_get},
    {Py_tp_doc, "An attribute that is looked up along the class of a view."},
    {0, NULL},
};

static PyType_Spec forward_spec = {
    .name = "icehouse.native._image.Forward",
    .basicsize = sizeof(forward),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = forward_slots,
};

static int intern(PyObject **slot, const char *text)
{
    *slot = PyUnicode_InternFromString(text);
    return *slot ? 0 : -1;
}

int ih_init_object_types(PyObject *module, ih_state *state)
{
    static const char *const names[IH_NAMES] = {
        [IH_LT] = "__lt__",
        [IH_LE] = "__le__",
        [IH_EQ] = "__eq__",
        [IH_NE] = "__ne__",
        [IH_GT] = "__gt__",
        [IH_GE] = "__ge__",
        [IH_HASH] = "__hash__",
        [IH_REPR] = "__repr__",
        [IH_STR] = "__str__",
        [IH_GETATTR] = "__getattr__",
        [IH_GETATTRIBUTE] = "__getattribute__",
        [IH_WRAPPED] = "__wrapped__",
        [IH_METHODS] = "__icehouse_methods__",
        [IH_TUPLE_FIELDS] = "_fields",
    };
    for (size_t i = 0; i < IH_NAMES; i++)
        if (intern(&state->names[i], names[i]) < 0)
            return -1;
    const ih_object_operator *each = ih_object_operators;
    for (size_t i = 0; each->name != NULL; i++, each++) {
        if (intern(&state->operator_names[i][0], each->name) < 0)
            return -1;
        if (each->reflected && intern(&state->operator_names[i][1], each->reflected) < 0)
            return -1;
    }
    state->view_types = PyDict_New();
    state->view_types_max = 256;
    state->forward_type = ih_add_type(module, &forward_spec, NULL, false);
    return state->view_types && state->forward_type ? 0 : -1;
}
