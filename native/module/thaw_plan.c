/* How the instances of a layout are made again: decided once for each layout; see thaw_instance.h.
 *
 * An instance is made by the constructor of the type in C that its class is built upon, and its
 * fields are stored where Python's own storing would put them, past any code of the class. The
 * constructor fits only where the class's own line of bases leads to it, as object.__new__ checks
 * it for its callers. */
#include "module/thaw_instance.h"

#include <structmember.h>

#include "module/object_parts.h"

/* The constructor that every class with a __new__ of Python has: it asks that method. NULL with an
 * exception. */
static newfunc python_new(void)
{
    PyObject *module = PyImport_ImportModule("abc");
    PyObject *meta = module ? PyObject_GetAttrString(module, "ABCMeta") : NULL;
    newfunc found = meta && PyType_Check(meta) ? ((PyTypeObject *)meta)->tp_new : NULL;
    Py_XDECREF(module);
    Py_XDECREF(meta);
    if (found == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "abc.ABCMeta is no class");
    return found;
}

/* A type of the standard library, compared by identity: names can be forged. 1, 0, -1. */
static int is_kind_of(PyTypeObject *cls, const char *in, const char *name, PyTypeObject **type)
{
    PyObject *module = PyImport_ImportModule(in);
    PyObject *found = module ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    if (found == NULL)
        return -1;
    *type = (PyTypeObject *)found;
    int is = PyType_Check(found) && PyType_IsSubtype(cls, *type);
    Py_DECREF(found); /* the class keeps it, where it is one of its bases */
    return is;
}

static int choose_container(ih_plan *plan, PyTypeObject *cls, newfunc make)
{
    PyTypeObject *deque, *defaultdict;
    if (PyType_IsSubtype(cls, &PyODict_Type)) {
        plan->how = make == PyODict_Type.tp_new ? IH_THAW_ORDERED : IH_THAW_WHOLE;
        return 0;
    }
    int is_deque = is_kind_of(cls, "collections", "deque", &deque);
    int is_default =
        is_deque < 0 ? -1 : is_kind_of(cls, "collections", "defaultdict", &defaultdict);
    if (is_default < 0)
        return -1;
    if (is_deque && make == deque->tp_new) {
        plan->how = IH_THAW_DEQUE;
        plan->base = deque;
    } else if (is_default && make == defaultdict->tp_new) {
        plan->how = IH_THAW_DICT;
    } else if (make == PyDict_Type.tp_new && PyType_IsSubtype(cls, &PyDict_Type)) {
        plan->how = IH_THAW_DICT;
    } else if (make == PyList_Type.tp_new && PyType_IsSubtype(cls, &PyList_Type)) {
        plan->how = IH_THAW_LIST;
    } else if (make == PySet_Type.tp_new && PyType_IsSubtype(cls, &PySet_Type)) {
        plan->how = IH_THAW_SET;
    }
    return 0;
}

/* Where field i of an instance goes. */
static ih_place choose_place(const ih_plan *plan, const ih_layout *layout, PyObject *name)
{
    PyObject *found = ih_class_look_up(layout->cls, name);
    PyTypeObject *type = found ? Py_TYPE(found) : NULL;
    ih_place place = {.kind = IH_PLACE_ATTRIBUTE};
    if (type == &PyMemberDescr_Type) {
        PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
        bool object = member->type == T_OBJECT_EX || member->type == T_OBJECT;
        place.kind = object && (member->flags & READONLY) == 0 ? IH_PLACE_MEMBER : IH_PLACE_NONE;
        place.offset = member->offset;
        if (plan->how == IH_THAW_DEQUE && PyDescr_TYPE(found) == plan->base)
            place.kind = IH_PLACE_DONE;
    } else if (type == &PyGetSetDescr_Type && plan->how == IH_THAW_DEQUE &&
               PyDescr_TYPE(found) == plan->base) {
        place.kind = IH_PLACE_DONE; /* maxlen, which it was made with */
    } else if (type != NULL && type->tp_descr_set != NULL) {
        place.kind = IH_PLACE_DICT;
    }
    Py_XDECREF(found);
    bool dict = layout->cls->tp_dictoffset != 0;
    if ((place.kind == IH_PLACE_ATTRIBUTE || place.kind == IH_PLACE_DICT) && !dict)
        place.kind = IH_PLACE_NONE;
    return place;
}

/* Whoever may choose the fields of an instance must not choose what its finalizer meets (H20). */
static bool is_gadget(const ih_layout *layout)
{
    bool own = PyTuple_Check(layout->trust) && PyTuple_GET_SIZE(layout->trust) > 0 &&
               PyTuple_GET_ITEM(layout->trust, 0) == Py_True;
    return !own && layout->cls->tp_finalize != NULL &&
           (layout->cls->tp_flags & Py_TPFLAGS_HEAPTYPE);
}

static int fill_plan(ih_plan *plan, const ih_layout *layout)
{
    PyTypeObject *cls = layout->cls;
    plan->how = IH_THAW_RECORD;
    if (cls == NULL || is_gadget(layout))
        return 0;
    newfunc python = python_new();
    if (python == NULL)
        return -1;
    PyTypeObject *base = cls;
    while (base->tp_base != NULL && base->tp_new == python)
        base = base->tp_base;
    plan->make = base->tp_new;
    plan->how = IH_THAW_WHOLE;
    if (plan->make == NULL)
        return 0;
    if (layout->form == IH_FORM_CONTAINER) {
        if (choose_container(plan, cls, plan->make) < 0)
            return -1;
    } else if (plan->make == PyBaseObject_Type.tp_new) {
        plan->how = IH_THAW_INSTANCE;
    } else {
        PyTypeObject *namespace;
        int is = is_kind_of(cls, "types", "SimpleNamespace", &namespace);
        if (is < 0)
            return -1;
        if (is && plan->make == namespace->tp_new)
            plan->how = IH_THAW_INSTANCE;
    }
    for (uint32_t i = 0; plan->how != IH_THAW_WHOLE && i < layout->n; i++) {
        plan->places[i] =
            choose_place(plan, layout, PyTuple_GET_ITEM(layout->names, (Py_ssize_t)i));
        if (plan->places[i].kind == IH_PLACE_NONE)
            plan->how = IH_THAW_WHOLE;
    }
    return 0;
}

const ih_plan *ih_thaw_plan(ih_layout *layout)
{
    ih_plan *known = __atomic_load_n(&layout->plan, __ATOMIC_ACQUIRE), *none = NULL;
    if (known != NULL)
        return known;
    ih_plan *plan = PyMem_Calloc(1, sizeof *plan + layout->n * sizeof(ih_place));
    if (plan == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (fill_plan(plan, layout) < 0) {
        PyMem_Free(plan);
        return NULL;
    }
    if (__atomic_compare_exchange_n(&layout->plan, &none, plan, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return plan;
    PyMem_Free(plan);
    return none;
}
