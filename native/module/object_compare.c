/* == and hash of FrozenObject.
 *
 * What the class defines in Python is called with the view as self. Where object's own rule holds,
 * two views are equal if they show one node of one image. Where a builtin base compares, the
 * contents of two CONTAINERs are compared as that base would: a deque equals deques only, two
 * OrderedDicts ask for one order. */
#include "module/decode.h"
#include "module/image_object.h"
#include "module/object_parts.h"

/* Comparisons of views that are under way in this thread. Python's containers take an item for
 * equal to itself without asking it; two views of one node inside others are such, or shared parts
 * would be compared again and again (H24). */
static _Thread_local unsigned comparing;

static bool is_one(PyObject *a, PyObject *b)
{
    return ih_is_object_view(a) && ih_is_object_view(b) && ih_view_same(a, b);
}

static PyObject *truth(int equal, int op)
{
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

/* object's rule. */
static PyObject *by_identity(PyObject *self, PyObject *other, int op)
{
    if (op == Py_EQ && is_one(self, other))
        Py_RETURN_TRUE;
    if (op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *equal = ih_object_richcompare(self, other, Py_EQ);
    if (equal == NULL || equal == Py_NotImplemented)
        return equal;
    int yes = PyObject_IsTrue(equal);
    Py_DECREF(equal);
    return truth(yes, Py_NE);
}

static PyTypeObject *class_of(PyObject *object)
{
    if (!ih_is_object_view(object))
        return Py_TYPE(object);
    PyTypeObject *cls = ((ih_object_view *)object)->layout->cls;
    return cls ? cls : Py_TYPE(object);
}

static PyObject *content(PyObject *object)
{
    return ih_is_object_view(object) && ((ih_object_view *)object)->inner
               ? ((ih_object_view *)object)->inner
               : object;
}

static PyObject *half(PyObject *a, PyObject *b, int op)
{
    richcmpfunc compare = Py_TYPE(a)->tp_richcompare;
    return compare ? compare(a, b, op) : Py_NewRef(Py_NotImplemented);
}

/* Contents, as their types compare. */
static PyObject *by_content(const ih_object_view *view, PyObject *other, int op)
{
    static const int swapped[] = {Py_GT, Py_GE, Py_EQ, Py_NE, Py_LT, Py_LE};
    PyObject *result = half(view->inner, other, op);
    if (result == Py_NotImplemented && ih_is_view(view->image->state, other))
        Py_SETREF(result, half(other, view->inner, swapped[op]));
    return result;
}

/* A deque equals no list. */
static PyObject *by_deque(const ih_object_view *view, PyObject *other, int op)
{
    if (content(other) != other)
        return by_content(view, content(other), op);
    PyObject *list = PySequence_List(other);
    PyObject *result = list ? by_content(view, list, op) : NULL;
    Py_XDECREF(list);
    return result;
}

/* Two OrderedDicts, once they are equal as dicts: 1, 0, -1. */
static int same_order(const ih_object_view *view, PyObject *other)
{
    PyObject *keys = PySequence_List(view->inner);
    PyObject *others = keys ? PySequence_List(content(other)) : NULL;
    int equal = others ? PyObject_RichCompareBool(keys, others, Py_EQ) : -1;
    Py_XDECREF(keys);
    Py_XDECREF(others);
    return equal;
}

static PyObject *by_ordered_dict(const ih_object_view *view, PyObject *other, int op)
{
    PyObject *equal = by_content(view, content(other), Py_EQ);
    if (equal == Py_NotImplemented || equal == NULL || (op != Py_EQ && op != Py_NE))
        return equal;
    int yes = PyObject_IsTrue(equal);
    Py_DECREF(equal);
    if (yes == 1 && PyType_IsSubtype(class_of(other), &PyODict_Type))
        yes = same_order(view, other);
    return truth(yes, op);
}

/* Fields of two namespaces, of which the other may be a real one. */
static PyObject *by_fields(const ih_object_view *view, PyObject *other, int op)
{
    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *mine = ih_object_dict(view, 0);
    PyObject *others = NULL;
    if (mine != NULL && ih_is_object_view(other))
        others = ih_object_dict((ih_object_view *)other, 0);
    else if (mine != NULL)
        others = PyObject_GetAttrString(other, "__dict__");
    int equal = others ? PyObject_RichCompareBool(mine, others, Py_EQ) : -1;
    Py_XDECREF(mine);
    Py_XDECREF(others);
    return truth(equal, op);
}

/* What C code of `owner` defines for its own instances. */
static PyObject *by_builtin(PyObject *self, PyObject *other, int op, PyTypeObject *owner)
{
    const ih_object_view *view = (const ih_object_view *)self;
    bool kin = PyType_IsSubtype(class_of(other), owner);
    if (view->inner != NULL) {
        if (strcmp(owner->tp_name, "collections.deque") == 0)
            return kin ? by_deque(view, other, op) : Py_NewRef(Py_NotImplemented);
        if (owner == &PyODict_Type)
            return by_ordered_dict(view, other, op);
        return by_content(view, content(other), op);
    }
    if (strcmp(owner->tp_name, "types.SimpleNamespace") == 0)
        return kin ? by_fields(view, other, op) : Py_NewRef(Py_NotImplemented);
    return by_identity(self, other, op);
}

static PyObject *compare(PyObject *self, PyObject *other, int op)
{
    const ih_object_view *view = (const ih_object_view *)self;
    PyObject *name = view->image->state->names[IH_LT + op];
    bool builtin;
    PyObject *result = ih_object_call(self, name, &other, 1, &builtin);
    if (result != NULL || PyErr_Occurred())
        return result;
    PyObject *method = builtin ? ih_class_look_up(view->layout->cls, name) : NULL;
    PyTypeObject *owner = method && Py_TYPE(method) == &PyWrapperDescr_Type ? PyDescr_TYPE(method)
                                                                            : &PyBaseObject_Type;
    result = owner == &PyBaseObject_Type ? by_identity(self, other, op)
                                         : by_builtin(self, other, op, owner);
    Py_XDECREF(method);
    return result;
}

_Static_assert(Py_LT == 0 && Py_LE == 1 && Py_EQ == 2 && Py_NE == 3 && Py_GT == 4 && Py_GE == 5,
               "names are in this order");

PyObject *ih_object_richcompare(PyObject *self, PyObject *other, int op)
{
    if (comparing > 0 && (op == Py_EQ || op == Py_NE) && is_one(self, other))
        return PyBool_FromLong(op == Py_EQ);
    if (Py_EnterRecursiveCall(" in comparison of objects"))
        return NULL;
    comparing++;
    PyObject *result = compare(self, other, op);
    comparing--;
    Py_LeaveRecursiveCall();
    return result;
}

/* ---- hash -------------------------------------------------------------------------------------------- */

static Py_hash_t identity_hash(const ih_object_view *view)
{
    const ih_lease *lease = view->image->lease;
    uint64_t image = lease ? lease->handle.locator ^ lease->handle.nonce : (uintptr_t)view->image;
    uint64_t mixed = (image ^ view->at * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    Py_hash_t hash = (Py_hash_t)(mixed ^ mixed >> 32);
    return hash == -1 ? -2 : hash;
}

static Py_hash_t unhashable(const ih_object_view *view)
{
    PyErr_Format(PyExc_TypeError, "unhashable type: '%U'", view->layout->qualname);
    return -1;
}

/* What a __hash__ of Python returned. */
static Py_hash_t as_hash(PyObject *number)
{
    if (!PyLong_Check(number)) {
        PyErr_SetString(PyExc_TypeError, "__hash__ method should return an integer");
        return -1;
    }
    Py_ssize_t hash = PyLong_AsSsize_t(number);
    if (hash == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        hash = PyLong_Type.tp_hash(number);
    }
    return hash == -1 ? -2 : hash;
}

static Py_hash_t builtin_hash(const ih_object_view *view, PyObject *method)
{
    if (Py_TYPE(method) != &PyWrapperDescr_Type)
        return unhashable(view);
    if (PyDescr_TYPE(method) == &PyBaseObject_Type)
        return identity_hash(view);
    return view->inner ? PyObject_Hash(view->inner) : unhashable(view);
}

Py_hash_t ih_object_hash(PyObject *self)
{
    const ih_object_view *view = (const ih_object_view *)self;
    PyTypeObject *cls = view->layout->cls;
    if (cls == NULL)
        return identity_hash(view);
    PyObject *name = view->image->state->names[IH_HASH], *method = ih_class_look_up(cls, name);
    if (method == NULL || method == Py_None) {
        Py_XDECREF(method);
        return unhashable(view);
    }
    bool builtin;
    PyObject *number = ih_object_call(self, name, NULL, 0, &builtin);
    Py_hash_t hash = -1;
    if (number != NULL)
        hash = as_hash(number);
    else if (!PyErr_Occurred())
        hash = builtin_hash(view, method);
    Py_XDECREF(number);
    Py_DECREF(method);
    return hash;
}
