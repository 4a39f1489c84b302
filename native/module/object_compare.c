/* == and hash of FrozenObject.
 *
 * What the class defines in Python is called with the view as self. Where object's own rule holds,
 * two views are equal if they show one node of one image. Where a builtin base compares, the
 * contents of CONTAINERs are compared; what deques and OrderedDicts ask for beyond that is among
 * the methods that the rules give (layout->methods). */
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

/* Is it among the methods that the rules give? */
static bool has_method(const ih_layout *layout, PyObject *name)
{
    return layout->methods != NULL && PyDict_GetItemWithError(layout->methods, name) != NULL;
}

static PyObject *compare(PyObject *self, PyObject *other, int op)
{
    const ih_object_view *view = (const ih_object_view *)self;
    PyObject *const *names = view->image->state->names;
    PyObject *name = names[IH_LT + op];
    bool builtin;
    if (op == Py_NE && has_method(view->layout, names[IH_EQ]) &&
        !has_method(view->layout, names[IH_NE]))
        return by_identity(self, other, op); /* which asks == */
    PyObject *result = ih_object_call(self, name, &other, 1, &builtin);
    if (result != NULL || PyErr_Occurred())
        return result;
    PyObject *method = builtin ? ih_method_look_up(view->layout, name) : NULL;
    bool by_base = method != NULL && Py_TYPE(method) == &PyWrapperDescr_Type &&
                   PyDescr_TYPE(method) != &PyBaseObject_Type;
    Py_XDECREF(method);
    if (by_base && view->inner != NULL)
        return by_content(view, content(other), op);
    return by_identity(self, other, op);
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

/* ---- hash ------------------------------------------------------------------------------------ */

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
    PyObject *name = view->image->state->names[IH_HASH],
             *method = ih_method_look_up(view->layout, name);
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
