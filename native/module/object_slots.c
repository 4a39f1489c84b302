/* Operators of FrozenObject: what C code asks of a type's slots, forwarded to what the class's MRO
 * defines.
 *
 * A view type gets only the slots that its class fills (object_type.c), so that a view is callable,
 * iterable, a number exactly if an instance is. A method of Python is called with the view as self.
 * What C code of a builtin base defines can't be: there the content of a CONTAINER answers. */
#include "module/decode.h"
#include "module/inplace.h"
#include "module/object_parts.h"

/* ---- the table ------------------------------------------------------------------------------- */

#define BINARY(X)                                                          \
    X(add, "__add__", "__radd__", PyNumber_Add)                            \
    X(subtract, "__sub__", "__rsub__", PyNumber_Subtract)                  \
    X(multiply, "__mul__", "__rmul__", PyNumber_Multiply)                  \
    X(remainder, "__mod__", "__rmod__", PyNumber_Remainder)                \
    X(divmod, "__divmod__", "__rdivmod__", PyNumber_Divmod)                \
    X(lshift, "__lshift__", "__rlshift__", PyNumber_Lshift)                \
    X(rshift, "__rshift__", "__rrshift__", PyNumber_Rshift)                \
    X(and, "__and__", "__rand__", PyNumber_And)                            \
    X(xor, "__xor__", "__rxor__", PyNumber_Xor)                            \
    X(or, "__or__", "__ror__", PyNumber_Or)                                \
    X(floor_divide, "__floordiv__", "__rfloordiv__", PyNumber_FloorDivide) \
    X(true_divide, "__truediv__", "__rtruediv__", PyNumber_TrueDivide)     \
    X(matrix_multiply, "__matmul__", "__rmatmul__", PyNumber_MatrixMultiply)

#define INPLACE(X)                           \
    X(inplace_add, "__iadd__")               \
    X(inplace_subtract, "__isub__")          \
    X(inplace_multiply, "__imul__")          \
    X(inplace_remainder, "__imod__")         \
    X(inplace_lshift, "__ilshift__")         \
    X(inplace_rshift, "__irshift__")         \
    X(inplace_and, "__iand__")               \
    X(inplace_xor, "__ixor__")               \
    X(inplace_or, "__ior__")                 \
    X(inplace_floor_divide, "__ifloordiv__") \
    X(inplace_true_divide, "__itruediv__")   \
    X(inplace_matrix_multiply, "__imatmul__")

#define UNARY(X)                                 \
    X(nb_negative, "__neg__", PyNumber_Negative) \
    X(nb_positive, "__pos__", PyNumber_Positive) \
    X(nb_absolute, "__abs__", PyNumber_Absolute) \
    X(nb_invert, "__invert__", PyNumber_Invert)  \
    X(nb_int, "__int__", PyNumber_Long)          \
    X(nb_float, "__float__", PyNumber_Float)     \
    X(nb_index, "__index__", PyNumber_Index)     \
    X(tp_iter, "__iter__", PyObject_GetIter)     \
    X(tp_iternext, "__next__", PyIter_Next)      \
    X(am_await, "__await__", NULL)               \
    X(am_aiter, "__aiter__", NULL)               \
    X(am_anext, "__anext__", NULL)

enum {
#define NAME(name, ...) OP_##name,
    BINARY(NAME) INPLACE(NAME) UNARY(NAME)
#undef NAME
        OP_power,
    OP_inplace_power,
    OP_bool,
    OP_length,
    OP_mapping_length,
    OP_subscript,
    OP_item,
    OP_set_item,
    OP_delete_item,
    OP_contains,
    OP_call,
    OP_missing,
    OPERATORS
};
_Static_assert(OPERATORS <= IH_OPERATOR_NAMES, "the state has room for every name");

/* ---- calling --------------------------------------------------------------------------------- */

static PyObject *name_of(const ih_object_view *view, int op, bool reflected)
{
    return view->image->state->operator_names[op][reflected];
}

static const ih_object_view *as_view(PyObject *object)
{
    const ih_object_view *view = (const ih_object_view *)object;
    return ih_is_object_view(object) && view->layout->cls != NULL ? view : NULL;
}

PyObject *ih_object_call(PyObject *self, PyObject *name, PyObject *const *args, size_t n,
                         bool *builtin)
{
    const ih_layout *layout = ((ih_object_view *)self)->layout;
    PyTypeObject *cls = layout->cls;
    PyObject *method = cls ? ih_method_look_up(layout, name) : NULL, *result;
    *builtin = false;
    if (method == NULL)
        return NULL;
    PyTypeObject *type = Py_TYPE(method);
    if (type == &PyMethodDescr_Type || type == &PyWrapperDescr_Type) {
        *builtin = true;
        Py_DECREF(method);
        return NULL;
    }
    if (type == &PyFunction_Type) {
        PyObject *stack[4] = {self};
        for (size_t i = 0; i < n; i++)
            stack[i + 1] = args[i];
        result = PyObject_Vectorcall(method, stack, n + 1, NULL);
    } else {
        descrgetfunc get = type->tp_descr_get;
        PyObject *bound = get ? get(method, self, (PyObject *)cls) : Py_NewRef(method);
        result = bound ? PyObject_Vectorcall(bound, args, n, NULL) : NULL;
        Py_XDECREF(bound);
    }
    Py_DECREF(method);
    return result;
}

static PyObject *call(PyObject *self, int op, PyObject *const *args, size_t n, bool *builtin)
{
    return ih_object_call(self, name_of((ih_object_view *)self, op, false), args, n, builtin);
}

/* The content of a CONTAINER, whatever else as it is. Borrowed. */
static PyObject *content(PyObject *object)
{
    return ih_is_object_view(object) && ((ih_object_view *)object)->inner != NULL
               ? ((ih_object_view *)object)->inner
               : object;
}

/* No method answers: TypeError. */
static PyObject *unsupported(PyObject *self, int op)
{
    const ih_object_view *view = (const ih_object_view *)self;
    return PyErr_Format(PyExc_TypeError, "a frozen '%U' has no %U of its own to call",
                        view->layout->qualname, name_of(view, op, false));
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* `self op other`, where `reflected` is about the method's name only. NotImplemented where it has
 * no such method. */
static PyObject *half(PyObject *self, PyObject *other, int op, bool reflected, binaryfunc plain)
{
    bool builtin;
    PyObject *name = name_of((ih_object_view *)self, op, reflected);
    PyObject *result = ih_object_call(self, name, &other, 1, &builtin);
    if (result != NULL || PyErr_Occurred())
        return result;
    if (!builtin || content(self) == self)
        Py_RETURN_NOTIMPLEMENTED;
    return reflected ? plain(content(other), content(self)) : plain(content(self), content(other));
}

/* `other op self` where the class's base knows no reflected operator, since what it knows are its
 * own kind: `[1] + view`. */
static PyObject *other_half(PyObject *self, PyObject *other, int op, binaryfunc plain)
{
    ih_object_view *view = (ih_object_view *)self;
    if (view->inner == NULL || (op == OP_add && ih_in_inplace_add(view->image->state)))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *method = ih_method_look_up(view->layout, name_of(view, op, false));
    bool builtin = method != NULL && (Py_TYPE(method) == &PyMethodDescr_Type ||
                                      Py_TYPE(method) == &PyWrapperDescr_Type);
    Py_XDECREF(method);
    if (!builtin)
        Py_RETURN_NOTIMPLEMENTED;
    return plain(other, view->inner);
}

static bool reflects_better(const ih_object_view *left, const ih_object_view *right, int op)
{
    PyTypeObject *of_left = left->layout->cls, *of_right = right->layout->cls;
    if (of_left == of_right || !PyType_IsSubtype(of_right, of_left))
        return false;
    PyObject *name = name_of(left, op, true);
    PyObject *a = ih_class_look_up(of_left, name), *b = ih_class_look_up(of_right, name);
    bool overridden = b != NULL && a != b;
    Py_XDECREF(a);
    Py_XDECREF(b);
    return overridden;
}

/* One call for both operands: views of all types share this function, and CPython asks equal
 * functions once. */
static PyObject *binary(PyObject *a, PyObject *b, int op, binaryfunc plain)
{
    const ih_object_view *left = as_view(a), *right = as_view(b);
    bool both = left != NULL && right != NULL;
    PyObject *result = Py_NewRef(Py_NotImplemented);
    if (both && reflects_better(left, right, op)) {
        Py_SETREF(result, half(b, a, op, true, plain));
        right = NULL;
    }
    if (result == Py_NotImplemented && left != NULL)
        Py_SETREF(result, half(a, b, op, false, plain));
    if (result == Py_NotImplemented && right != NULL &&
        (left == NULL || left->layout->cls != right->layout->cls))
        Py_SETREF(result, half(b, a, op, true, plain));
    if (result == Py_NotImplemented && left == NULL && right != NULL)
        Py_SETREF(result, other_half(b, a, op, plain));
    return result;
}

#define DEFINE(name, method, reflected, plain) \
    static PyObject *do_##name(PyObject *a, PyObject *b) { return binary(a, b, OP_##name, plain); }
BINARY(DEFINE)
#undef DEFINE

static PyObject *inplace(PyObject *self, PyObject *other, int op)
{
    bool builtin;
    PyObject *result = call(self, op, &other, 1, &builtin);
    if (result != NULL || PyErr_Occurred())
        return result;
    if (!builtin)
        Py_RETURN_NOTIMPLEMENTED;
    return ih_object_refuse((ih_object_view *)self, "in-place operator",
                            name_of((ih_object_view *)self, op, false));
}

#define DEFINE(name, method) \
    static PyObject *do_##name(PyObject *a, PyObject *b) { return inplace(a, b, OP_##name); }
INPLACE(DEFINE)
#undef DEFINE

static PyObject *unary(PyObject *self, int op, unaryfunc plain)
{
    bool builtin;
    PyObject *result = call(self, op, NULL, 0, &builtin);
    if (result != NULL || PyErr_Occurred())
        return result;
    if (builtin && plain != NULL && content(self) != self)
        return plain(content(self));
    return unsupported(self, op);
}

#define DEFINE(name, method, plain) \
    static PyObject *do_##name(PyObject *self) { return unary(self, OP_##name, plain); }
UNARY(DEFINE)
#undef DEFINE

static PyObject *do_power(PyObject *a, PyObject *b, PyObject *modulus)
{
    bool builtin;
    PyObject *result = NULL, *both[2] = {b, modulus};
    if (as_view(a) != NULL) {
        result = call(a, OP_power, both, modulus == Py_None ? 1 : 2, &builtin);
        if (result == NULL && PyErr_Occurred())
            return NULL;
    }
    if ((result == NULL || result == Py_NotImplemented) && as_view(b) != NULL &&
        modulus == Py_None && (as_view(a) == NULL || Py_TYPE(a) != Py_TYPE(b))) {
        Py_XDECREF(result);
        result = ih_object_call(b, name_of((ih_object_view *)b, OP_power, true), &a, 1, &builtin);
    }
    return result != NULL || PyErr_Occurred() ? result : Py_NewRef(Py_NotImplemented);
}

static PyObject *do_inplace_power(PyObject *a, PyObject *b, PyObject *modulus)
{
    (void)modulus;
    return inplace(a, b, OP_inplace_power);
}

static int do_bool(PyObject *self)
{
    bool builtin;
    PyObject *result = call(self, OP_bool, NULL, 0, &builtin);
    if (result == NULL && !PyErr_Occurred() && builtin && content(self) != self)
        return PyObject_IsTrue(content(self));
    if (result == NULL && !PyErr_Occurred())
        unsupported(self, OP_bool);
    if (result != NULL && !PyBool_Check(result)) {
        PyErr_Format(PyExc_TypeError, "__bool__ should return bool, returned %.200s",
                     Py_TYPE(result)->tp_name);
        Py_CLEAR(result);
    }
    int truth = result == NULL ? -1 : result == Py_True;
    Py_XDECREF(result);
    return truth;
}

/* ---- containers ------------------------------------------------------------------------------ */

static Py_ssize_t do_length(PyObject *self)
{
    bool builtin;
    PyObject *result = call(self, OP_length, NULL, 0, &builtin);
    if (result == NULL && !PyErr_Occurred()) {
        if (builtin && content(self) != self)
            return PyObject_Size(content(self));
        unsupported(self, OP_length);
    }
    if (result == NULL)
        return -1;
    Py_SETREF(result, PyNumber_Index(result));
    Py_ssize_t length = result ? PyNumber_AsSsize_t(result, PyExc_OverflowError) : -1;
    Py_XDECREF(result);
    if (length < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "__len__() should return >= 0");
    return length < 0 ? -1 : length;
}

/* What a defaultdict makes for a key that it hasn't, without keeping it. Only builtin types are
 * called, since nothing but the image says which; what could be changed comes frozen, or changing
 * it would be lost without an error. NULL without an exception: there is none. */
static PyObject *default_value(const ih_object_view *view)
{
    PyObject *const builtins[] = {(PyObject *)&PyLong_Type,      (PyObject *)&PyFloat_Type,
                                  (PyObject *)&PyBool_Type,      (PyObject *)&PyUnicode_Type,
                                  (PyObject *)&PyBytes_Type,     (PyObject *)&PyTuple_Type,
                                  (PyObject *)&PyFrozenSet_Type, (PyObject *)&PyList_Type,
                                  (PyObject *)&PyDict_Type,      (PyObject *)&PySet_Type};
    PyObject *name = PyUnicode_InternFromString("default_factory");
    Py_ssize_t field = name ? ih_layout_find(view->layout, name) : -2;
    Py_XDECREF(name);
    PyObject *factory = field >= 0 ? ih_object_field(view, field) : NULL, *value = NULL;
    for (size_t i = 0; factory != NULL && i < Py_ARRAY_LENGTH(builtins); i++)
        if (factory == builtins[i])
            value = PyObject_CallNoArgs(factory);
    Py_XDECREF(factory);
    if (value != NULL)
        Py_SETREF(value, PyObject_CallMethod(view->image->state->module, "freeze", "O", value));
    return value;
}

/* A KeyError stands: __missing__ may know more. */
static PyObject *missing(PyObject *self, PyObject *key)
{
    const ih_object_view *view = (const ih_object_view *)self;
    PyObject *type, *error, *traceback, *value;
    bool builtin;
    PyErr_Fetch(&type, &error, &traceback);
    value = call(self, OP_missing, &key, 1, &builtin);
    if (value == NULL && builtin && !PyErr_Occurred())
        value = default_value(view);
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_Restore(type, error, traceback);
        return NULL;
    }
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return value;
}

static PyObject *do_subscript(PyObject *self, PyObject *key)
{
    bool builtin;
    PyObject *result = call(self, OP_subscript, &key, 1, &builtin);
    if (result != NULL || PyErr_Occurred())
        return result;
    if (!builtin || content(self) == self)
        return unsupported(self, OP_subscript);
    result = PyObject_GetItem(content(self), key);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_KeyError))
        return missing(self, key);
    return result;
}

static PyObject *do_item(PyObject *self, Py_ssize_t i)
{
    PyObject *index = PyLong_FromSsize_t(i);
    PyObject *result = index ? do_subscript(self, index) : NULL;
    Py_XDECREF(index);
    return result;
}

static int do_set_item(PyObject *self, PyObject *key, PyObject *value)
{
    bool builtin;
    PyObject *args[2] = {key, value};
    int op = value ? OP_set_item : OP_delete_item;
    PyObject *result = call(self, op, args, value ? 2 : 1, &builtin);
    if (result == NULL && !PyErr_Occurred()) {
        if (builtin)
            ih_object_refuse((ih_object_view *)self, value ? "item assignment" : "item deletion",
                             NULL);
        else
            unsupported(self, op);
    }
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int do_contains(PyObject *self, PyObject *item)
{
    bool builtin;
    PyObject *result = call(self, OP_contains, &item, 1, &builtin);
    if (result == NULL && !PyErr_Occurred()) {
        if (builtin && content(self) != self)
            return PySequence_Contains(content(self), item);
        unsupported(self, OP_contains);
    }
    int truth = result ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    return truth;
}

static PyObject *do_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const ih_object_view *view = (const ih_object_view *)self;
    PyObject *method = ih_class_look_up(view->layout->cls, name_of(view, OP_call, false));
    if (method == NULL)
        return unsupported(self, OP_call);
    descrgetfunc get = Py_TYPE(method)->tp_descr_get;
    PyObject *bound = NULL, *result = NULL;
    if (Py_TYPE(method) == &PyWrapperDescr_Type || Py_TYPE(method) == &PyMethodDescr_Type)
        unsupported(self, OP_call);
    else
        bound = get ? get(method, self, (PyObject *)view->layout->cls) : Py_NewRef(method);
    if (bound != NULL)
        result = PyObject_Call(bound, args, kwargs);
    Py_XDECREF(bound);
    Py_DECREF(method);
    return result;
}

/* ---- what the table says --------------------------------------------------------------------- */

const ih_object_operator ih_object_operators[] = {
#define ROW(name, method, reflected, plain) \
    [OP_##name] = {method, reflected, Py_nb_##name, (void *)do_##name},
    BINARY(ROW)
#undef ROW
#define ROW(name, method) [OP_##name] = {method, NULL, Py_nb_##name, (void *)do_##name},
        INPLACE(ROW)
#undef ROW
#define ROW(name, method, plain) [OP_##name] = {method, NULL, Py_##name, (void *)do_##name},
            UNARY(ROW)
#undef ROW
                [OP_power] = {"__pow__", "__rpow__", Py_nb_power, (void *)do_power},
    [OP_inplace_power] = {"__ipow__", NULL, Py_nb_inplace_power, (void *)do_inplace_power},
    [OP_bool] = {"__bool__", NULL, Py_nb_bool, (void *)do_bool},
    [OP_length] = {"__len__", NULL, Py_sq_length, (void *)do_length},
    [OP_mapping_length] = {"__len__", NULL, Py_mp_length, (void *)do_length},
    [OP_subscript] = {"__getitem__", NULL, Py_mp_subscript, (void *)do_subscript},
    [OP_item] = {"__getitem__", NULL, Py_sq_item, (void *)do_item},
    [OP_set_item] = {"__setitem__", "__delitem__", Py_mp_ass_subscript, (void *)do_set_item},
    [OP_delete_item] = {"__delitem__", NULL, 0, NULL},
    [OP_contains] = {"__contains__", NULL, Py_sq_contains, (void *)do_contains},
    [OP_call] = {"__call__", NULL, Py_tp_call, (void *)do_call},
    [OP_missing] = {"__missing__", NULL, 0, NULL},
    [OPERATORS] = {NULL, NULL, 0, NULL},
};
