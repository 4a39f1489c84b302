/* Attributes of FrozenObject: what `instance.name` would find, looked up for a view.
 *
 * The order is Python's: data descriptors of the class's MRO, fields, other descriptors and class
 * attributes, the class's __getattr__. Functions are bound to the view. What C code of a builtin
 * base defines can't be called on a view: the content of a CONTAINER answers instead, and where
 * there is none, our own type does. Some names are ours whatever the class says: how a view is
 * copied and pickled, and what it says about itself. */
#include "module/decode.h"
#include "module/object_parts.h"
#include "module/view.h"

/* Borrowed, which is safe under the GIL; owned without one. */
#ifdef Py_GIL_DISABLED
PyObject *ih_class_look_up(PyTypeObject *type, PyObject *name)
{
    return _PyType_LookupRef(type, name);
}
#else
PyObject *ih_class_look_up(PyTypeObject *type, PyObject *name)
{
    return Py_XNewRef(_PyType_Lookup(type, name));
}
#endif

PyObject *ih_method_look_up(const ih_layout *layout, PyObject *name)
{
    PyObject *found = NULL;
    if (layout->methods != NULL && PyUnicode_CheckExact(name))
        found = PyDict_GetItemWithError(layout->methods, name);
    if (found != NULL)
        return Py_NewRef(found);
    return layout->cls != NULL ? ih_class_look_up(layout->cls, name) : NULL;
}

/* ---- fields ---------------------------------------------------------------------------------- */

Py_ssize_t ih_layout_find(const ih_layout *layout, PyObject *name)
{
    if (layout->index != NULL) {
        PyObject *position = PyDict_GetItemWithError(layout->index, name);
        if (position != NULL)
            return PyLong_AsSsize_t(position);
        return PyErr_Occurred() ? -2 : -1;
    }
    for (uint32_t i = 0; i < layout->n; i++)
        if (PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i) == name)
            return (Py_ssize_t)i;
    if (PyUnicode_CHECK_INTERNED(name))
        return -1;
    for (uint32_t i = 0; i < layout->n; i++)
        if (PyUnicode_Compare(PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i), name) == 0)
            return (Py_ssize_t)i;
    return PyErr_Occurred() ? -2 : -1;
}

PyObject *ih_object_field(const ih_object_view *view, Py_ssize_t i)
{
    return ih_decode(view->image, ih_load_word(view->data + 4 * (size_t)i));
}

/* The field of that name. 1; 0: there is none; -1. */
static int find_field(const ih_object_view *view, PyObject *name, PyObject **value)
{
    Py_ssize_t i = ih_layout_find(view->layout, name);
    *value = i < 0 ? NULL : ih_object_field(view, i);
    return *value != NULL ? 1 : i == -1 ? 0 : -1;
}

PyObject *ih_object_dict(const ih_object_view *view, uint32_t first)
{
    PyObject *dict = PyDict_New();
    for (uint32_t i = first; dict != NULL && i < view->layout->n; i++) {
        PyObject *value = ih_object_field(view, (Py_ssize_t)i);
        PyObject *name = PyTuple_GET_ITEM(view->layout->names, (Py_ssize_t)i);
        if (value == NULL || PyDict_SetItem(dict, name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

/* What the instance's __dict__ held. */
static PyObject *instance_dict(const ih_object_view *view)
{
    PyObject *dict = ih_object_dict(view, view->layout->number);
    PyObject *proxy = dict ? PyDictProxy_New(dict) : NULL;
    Py_XDECREF(dict);
    return proxy;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static PyObject *no_attribute(const ih_object_view *view, PyObject *name)
{
    return PyErr_Format(PyExc_AttributeError, "'%U' object has no attribute '%U'",
                        view->layout->qualname, name);
}

PyObject *ih_object_refuse(const ih_object_view *view, const char *operation, PyObject *name)
{
    PyObject *error = view->image->state->errors[IH_ERR_FROZEN];
    if (error == NULL) /* the interpreter is shutting down */
        error = PyExc_TypeError;
    if (name != NULL)
        return PyErr_Format(error,
                            "%U is immutable: %s '%U' is refused; icehouse.thaw(view) makes a "
                            "mutable copy",
                            view->layout->qualname, operation, name);
    return PyErr_Format(error,
                        "%U is immutable: %s is refused; icehouse.thaw(view) makes a mutable copy",
                        view->layout->qualname, operation);
}

int ih_object_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    const char *operation = value == NULL ? "deleting attribute" : "setting attribute";
    ih_object_refuse((ih_object_view *)self, operation, PyUnicode_Check(name) ? name : NULL);
    return -1;
}

/* ---- names that are ours --------------------------------------------------------------------- */

static bool has_text(PyObject *name, const char *text)
{
    return PyUnicode_CompareWithASCIIString(name, text) == 0;
}

static bool is_dunder(PyObject *name)
{
    return PyUnicode_GET_LENGTH(name) > 4 && PyUnicode_READ_CHAR(name, 0) == '_' &&
           PyUnicode_READ_CHAR(name, 1) == '_';
}

/* Copying and pickling: of a view, whatever its class does for its instances. And what view_info()
 * has of a dataclass. */
static bool is_ours(PyObject *name)
{
    static const char *const names[] = {"__copy__",
                                        "__deepcopy__",
                                        "__reduce_ex__",
                                        "__reduce__",
                                        "__getstate__",
                                        "__setstate__",
                                        "__sizeof__",
                                        "__setattr__",
                                        "__delattr__",
                                        "__dataclass_fields__",
                                        NULL};
    for (const char *const *each = names; *each != NULL; each++)
        if (has_text(name, *each))
            return true;
    return false;
}

static bool has_dict(const ih_object_view *view)
{
    const ih_layout *layout = view->layout;
    return layout->n > layout->number || layout->cls == NULL || layout->cls->tp_dictoffset != 0;
}

/* 1: *value is the answer (NULL with an exception); 0: the class's MRO is to be asked. */
static int look_up_ours(ih_object_view *view, PyObject *name, PyObject **value)
{
    if (has_text(name, "__class__"))
        *value = Py_NewRef(view->layout->cls ? (PyObject *)view->layout->cls
                                             : (PyObject *)Py_TYPE(view));
    else if (has_text(name, "__dict__"))
        *value = has_dict(view) ? instance_dict(view) : no_attribute(view, name);
    else if (has_text(name, "__weakref__"))
        *value = Py_NewRef(Py_None);
    else if (is_ours(name))
        *value = PyObject_GenericGetAttr((PyObject *)view, name);
    else
        return 0;
    return 1;
}

/* ---- what the class defines ------------------------------------------------------------------ */

/* A method or operator that C code of a class defines for its own instances. */
static PyObject *builtin_attribute(ih_object_view *view, PyObject *name, PyObject *meta)
{
    if (PyDescr_TYPE(meta) == &PyBaseObject_Type)
        return PyObject_GenericGetAttr((PyObject *)view, name);
    if (is_dunder(name)) { /* an operator, which the view type has for itself */
        PyObject *own = ih_class_look_up(Py_TYPE(view), name), *value = NULL;
        bool has = own != NULL && !ih_object_is_forward(own);
        if (has && Py_TYPE(own)->tp_descr_get != NULL)
            value = Py_TYPE(own)->tp_descr_get(own, (PyObject *)view, (PyObject *)Py_TYPE(view));
        else if (has)
            value = Py_NewRef(own);
        Py_XDECREF(own);
        if (has)
            return value;
    }
    if (view->inner == NULL)
        return no_attribute(view, name);
    PyObject *value = PyObject_GetAttr(view->inner, PyDescr_NAME(meta)); /* `find = dict.get` */
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return ih_object_refuse(view, "method", name);
    }
    return value;
}

/* functools.cached_property keeps its value in the instance's __dict__, which a view hasn't. */
static bool is_cached_property(ih_state *state, PyObject *meta)
{
    if (state->cached_property == NULL) {
        PyObject *functools = PyImport_ImportModule("functools");
        PyObject *type = functools ? PyObject_GetAttrString(functools, "cached_property") : NULL;
        Py_XDECREF(functools);
        if (type == NULL || !PyType_Check(type)) {
            PyErr_Clear();
            Py_XDECREF(type);
            return false;
        }
        Py_XSETREF(state->cached_property, type);
    }
    return PyObject_TypeCheck(meta, (PyTypeObject *)state->cached_property);
}

/* What is kept under `name`. 1, 0, -1. */
static int recall(ih_object_view *view, PyObject *name, PyObject **value)
{
    PyObject *kept;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(view);
    kept = Py_XNewRef(view->kept);
    Py_END_CRITICAL_SECTION();
#else
    kept = Py_XNewRef(view->kept);
#endif
    *value = kept ? Py_XNewRef(PyDict_GetItemWithError(kept, name)) : NULL;
    Py_XDECREF(kept);
    return *value != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* Of two threads that compute it the first one's value is kept. New reference. */
static PyObject *keep(ih_object_view *view, PyObject *name, PyObject *value)
{
    PyObject *fresh = PyDict_New(), *kept;
    if (fresh == NULL)
        return NULL;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(view);
#endif
    if (view->kept == NULL)
        view->kept = Py_NewRef(fresh);
    kept = Py_NewRef(view->kept);
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    Py_DECREF(fresh);
    PyObject *first = Py_XNewRef(PyDict_SetDefault(kept, name, value));
    Py_DECREF(kept);
    return first;
}

static PyObject *cached_property(ih_object_view *view, PyObject *name, PyObject *meta)
{
    PyObject *value;
    if (recall(view, name, &value) != 0)
        return value;
    PyObject *function = PyObject_GetAttrString(meta, "func");
    value = function ? PyObject_CallOneArg(function, (PyObject *)view) : NULL;
    Py_XDECREF(function);
    if (value != NULL)
        Py_SETREF(value, keep(view, name, value));
    return value;
}

/* A slot, or an attribute that C code computes from its own instances. */
static PyObject *builtin_data(ih_object_view *view, PyObject *name, PyObject *meta)
{
    PyObject *value;
    int found = find_field(view, PyDescr_NAME(meta), &value);
    if (found != 0)
        return value;
    if (PyDescr_TYPE(meta) == &PyBaseObject_Type)
        return PyObject_GenericGetAttr((PyObject *)view, name);
    return view->inner != NULL ? PyObject_GetAttr(view->inner, name) : no_attribute(view, name);
}

static bool is_builtin_method(const PyTypeObject *type)
{
    return type == &PyMethodDescr_Type || type == &PyWrapperDescr_Type;
}

/* A descriptor that is no data descriptor, and no field has its name. */
static PyObject *bind(ih_object_view *view, PyObject *name, PyObject *meta)
{
    PyTypeObject *type = Py_TYPE(meta);
    if (type == &PyFunction_Type)
        return PyMethod_New(meta, (PyObject *)view);
    if (is_builtin_method(type))
        return builtin_attribute(view, name, meta);
    if (is_cached_property(view->image->state, meta))
        return cached_property(view, name, meta);
    return type->tp_descr_get(meta, (PyObject *)view, (PyObject *)view->layout->cls);
}

/* The class's attribute, or the field that goes before it. Takes `meta`. */
static PyObject *class_attribute(ih_object_view *view, PyObject *name, PyObject *meta)
{
    PyTypeObject *type = Py_TYPE(meta);
    PyObject *value;
    if (type->tp_descr_get != NULL && type->tp_descr_set != NULL) {
        if (type == &PyMemberDescr_Type || type == &PyGetSetDescr_Type)
            value = builtin_data(view, name, meta);
        else
            value = type->tp_descr_get(meta, (PyObject *)view, (PyObject *)view->layout->cls);
    } else if (find_field(view, name, &value) == 0) {
        if (type->tp_descr_get == NULL)
            return meta;
        value = bind(view, name, meta);
    }
    Py_DECREF(meta);
    return value;
}

PyObject *ih_object_look_up(ih_object_view *view, PyObject *name)
{
    PyObject *value;
    if (is_dunder(name) && look_up_ours(view, name, &value))
        return value;
    if (view->layout->cls == NULL) {
        int found = find_field(view, name, &value);
        if (found == 0)
            value = PyObject_GenericGetAttr((PyObject *)view, name);
        if (value != NULL || found != 0 || view->inner == NULL || is_dunder(name) ||
            !PyErr_ExceptionMatches(PyExc_AttributeError))
            return value;
        PyErr_Clear();
        return PyObject_GetAttr(view->inner, name);
    }
    PyObject *meta = ih_method_look_up(view->layout, name);
    if (meta != NULL)
        return class_attribute(view, name, meta);
    int found = find_field(view, name, &value);
    return found != 0 ? value : no_attribute(view, name);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* What the class's __getattr__ says. */
static PyObject *call_getattr(ih_object_view *view, PyObject *hook, PyObject *name)
{
    if (Py_TYPE(hook) == &PyFunction_Type)
        return PyObject_CallFunctionObjArgs(hook, (PyObject *)view, name, NULL);
    descrgetfunc get = Py_TYPE(hook)->tp_descr_get;
    PyObject *bound;
    if (get == NULL)
        bound = Py_NewRef(hook);
    else if (is_builtin_method(Py_TYPE(hook))) /* `__getattr__ = dict.__getitem__` */
        bound = builtin_attribute(view, PyDescr_NAME(hook), hook);
    else
        bound = get(hook, (PyObject *)view, (PyObject *)view->layout->cls);
    PyObject *value = bound ? PyObject_CallOneArg(bound, name) : NULL;
    Py_XDECREF(bound);
    return value;
}

/* An AttributeError stands: the class's __getattr__ may know more, and a root has a handle. */
static PyObject *last_resort(ih_object_view *view, PyObject *name)
{
    PyObject *type, *error, *traceback, *value = NULL;
    PyErr_Fetch(&type, &error, &traceback); /* looking up drops what stands */
    PyObject *hook = ih_method_look_up(view->layout, view->image->state->names[IH_GETATTR]);
    if (hook == NULL) {
        PyErr_Restore(type, error, traceback);
    } else {
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
        value = call_getattr(view, hook, name);
        Py_DECREF(hook);
        if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
            return value;
    }
    if (!has_text(name, "handle"))
        return NULL;
    PyErr_Clear();
    return ih_view_handle((PyObject *)view, NULL);
}

/* Names are str; of a subclass only the text counts. New reference. */
static PyObject *plain_name(PyObject *name)
{
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_Check(name) && PyUnicode_READY(name) < 0)
        return NULL;
#endif
    if (PyUnicode_CheckExact(name))
        return Py_NewRef(name);
    if (PyUnicode_Check(name))
        return PyUnicode_FromObject(name);
    return PyErr_Format(PyExc_TypeError, "attribute name must be string, not '%.200s'",
                        Py_TYPE(name)->tp_name);
}

#if IH_CACHES
/* Finds out which fields nothing of the class goes before: while the class's version is the same,
 * its MRO need not be asked again. */
static void find_plain(ih_layout *layout)
{
    uint64_t plain = 0;
    uint32_t n = layout->n < 64 ? layout->n : 64;
    for (uint32_t i = 0; i < n; i++) {
        PyObject *name = PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i);
        PyObject *found = ih_method_look_up(layout, name);
        PyTypeObject *type = found ? Py_TYPE(found) : NULL;
        bool slot = type == &PyMemberDescr_Type && PyDescr_NAME(found) == name;
        if (!is_dunder(name) && (type == NULL || type->tp_descr_set == NULL || slot))
            plain |= (uint64_t)1 << i;
        Py_XDECREF(found);
    }
    layout->plain = plain;
    layout->version = layout->cls->tp_version_tag;
}

/* The field of that name, if that is all there is to know: *value, NULL with an exception. False:
 * look further. */
static inline bool plain_field(const ih_object_view *view, PyObject *name, PyObject **value)
{
    ih_layout *layout = view->layout;
    if (layout->cls == NULL || layout->index != NULL)
        return false;
    if (layout->version != layout->cls->tp_version_tag || layout->version == 0)
        find_plain(layout);
    if (layout->version == 0)
        return false;
    for (uint32_t i = 0; i < layout->n; i++)
        if (PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i) == name)
            return (layout->plain >> i & 1) != 0 &&
                   (*value = ih_object_field(view, (Py_ssize_t)i), true);
    return false;
}
#endif

PyObject *ih_object_getattro(PyObject *self, PyObject *given)
{
    ih_object_view *view = (ih_object_view *)self;
#if IH_CACHES
    PyObject *field;
    if (plain_field(view, given, &field))
        return field;
#endif
    PyObject *name = plain_name(given);
    if (name == NULL)
        return NULL;
    PyObject *value = ih_object_look_up(view, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        value = last_resort(view, name);
    Py_DECREF(name);
    return value;
}

PyObject *ih_object_getattro_by_class(PyObject *self, PyObject *given)
{
    ih_object_view *view = (ih_object_view *)self;
    ih_state *state = view->image->state;
    PyObject *name = plain_name(given), *value = NULL;
    if (name == NULL)
        return NULL;
    if (is_dunder(name) && look_up_ours(view, name, &value)) {
        Py_DECREF(name);
        return value;
    }
    PyObject *method = ih_class_look_up(view->layout->cls, state->names[IH_GETATTRIBUTE]);
    descrgetfunc get = method ? Py_TYPE(method)->tp_descr_get : NULL;
    PyObject *bound = get == NULL ? NULL : get(method, self, (PyObject *)view->layout->cls);
    if (bound != NULL)
        value = PyObject_CallOneArg(bound, name);
    else if (!PyErr_Occurred()) /* the class has lost it since its view type was made */
        value = ih_object_look_up(view, name);
    Py_XDECREF(bound);
    Py_XDECREF(method);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        value = last_resort(view, name);
    Py_DECREF(name);
    return value;
}

/* ---- __dir__ --------------------------------------------------------------------------------- */

PyObject *ih_object_dir(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    const ih_object_view *view = (const ih_object_view *)self;
    PyObject *of = view->layout->cls ? (PyObject *)view->layout->cls : (PyObject *)Py_TYPE(self);
    /* type.__dir__ itself: no metaclass is asked. */
    PyObject *names = PyObject_CallMethod((PyObject *)&PyType_Type, "__dir__", "O", of);
    PyObject *all = names ? PySet_New(names) : NULL;
    Py_XDECREF(names);
    for (uint32_t i = 0; all != NULL && i < view->layout->n; i++)
        if (PySet_Add(all, PyTuple_GET_ITEM(view->layout->names, (Py_ssize_t)i)) < 0)
            Py_CLEAR(all);
    PyObject *list = all ? PySequence_List(all) : NULL;
    Py_XDECREF(all);
    return list;
}
