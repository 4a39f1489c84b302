/* FrozenFunction and FreezableFunction: calling, binding, living. See function.h.
 *
 * Both types have one layout, so that the one can become the other. A call holds a reference to the
 * function it runs: what it calls may freeze this very object, or drop the last reference to it. */
#include "module/function.h"

#include "module/decode.h"
#include "module/freezer.h"
#include "module/travel.h"
#include "module/view.h"

#include <structmember.h>

/* ---- the private function -------------------------------------------------------------------- */

static PyObject *held(PyObject **slot)
{
    return Py_XNewRef(__atomic_load_n(slot, __ATOMIC_ACQUIRE));
}

PyObject *ih_function_label(ih_function *self)
{
    PyObject *names = self->names; /* one that was frozen in vain has them too */
    if (names != NULL && Py_TYPE(self)->tp_getattro == ih_frozen_function_getattro)
        return Py_NewRef(PyTuple_GET_ITEM(names, IH_QUALNAME));
    PyObject *function = held(&self->function);
    PyObject *label =
        function ? PyObject_GetAttrString(function, "__qualname__") : PyUnicode_FromString("?");
    Py_XDECREF(function);
    return label;
}

/* Asks the declaration. Whoever is first decides: the function may have been filled in meanwhile,
 * by another thread or by what materialise() runs. */
static PyObject *materialise(ih_function *self)
{
    if (self->declaration == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a function was used while it was being collected");
        return NULL;
    }
    PyObject *declaration = Py_NewRef(self->declaration);
    PyObject *made = PyObject_CallMethod(declaration, "materialise", NULL);
    if (made != NULL && !PyFunction_Check(made)) {
        PyErr_Format(PyExc_TypeError, "materialise() of %.100s gave a %.100s, not a function",
                     Py_TYPE(declaration)->tp_name, Py_TYPE(made)->tp_name);
        Py_CLEAR(made);
    }
    Py_DECREF(declaration);
    if (made == NULL)
        return NULL;
    PyObject *none = NULL;
    if (__atomic_compare_exchange_n(&self->function, &none, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        ih_function_route(self);
        return Py_NewRef(made);
    }
    Py_DECREF(made);
    return Py_NewRef(none);
}

PyObject *ih_function_inner(ih_function *self)
{
    PyObject *function = held(&self->function);
    return function != NULL ? function : materialise(self);
}

/* ---- calls ----------------------------------------------------------------------------------- */

#if PY_VERSION_HEX < 0x030C0000
/* Later versions count what of the stack is C's. Here a recursion through frozen functions, each of
 * which takes some of it, would end the process where sys.setrecursionlimit() lets it go on. */
#include <pthread.h>

enum { SPARE = 256 * 1024 }; /* for what the function calls; less of a small stack */

static _Thread_local char *stack_low, *stack_spare; /* this thread's end of the stack, and before */

static void find_stack(void)
{
    pthread_attr_t attributes;
    void *low;
    size_t size;
    stack_low = stack_spare = (char *)1; /* unknown: no address is between them */
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    if (pthread_attr_getstack(&attributes, &low, &size) == 0) {
        stack_low = low;
        stack_spare = stack_low + (size / 8 < SPARE ? size / 8 : SPARE);
    }
    pthread_attr_destroy(&attributes);
}

/* A stack that is not the thread's, as coroutines of C have them, is not judged. */
static inline int check_stack(void)
{
    char *here = __builtin_frame_address(0);
    if (stack_low == NULL)
        find_stack();
    if (here >= stack_spare || here < stack_low)
        return 0;
    PyErr_SetString(PyExc_RecursionError, "maximum recursion depth exceeded: the stack of the "
                                          "thread ends here (threading.stack_size)");
    return -1;
}
#else
static inline int check_stack(void) { return 0; }
#endif

static PyObject *call_made(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *function = held(&((ih_function *)self)->function);
    if (function == NULL) { /* it was collected */
        PyErr_SetString(PyExc_RuntimeError, "a function was called while it was being collected");
        return NULL;
    }
    if (check_stack() < 0) {
        Py_DECREF(function);
        return NULL;
    }
    PyObject *result = ((PyFunctionObject *)function)->vectorcall(function, args, nargsf, kwnames);
    Py_DECREF(function);
    return result;
}

static PyObject *call_unmade(PyObject *self, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames)
{
    PyObject *function = ih_function_inner((ih_function *)self);
    if (function == NULL)
        return NULL;
    PyObject *result = PyObject_Vectorcall(function, args, nargsf, kwnames);
    Py_DECREF(function);
    return result;
}

static PyObject *call_refused(PyObject *self, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames)
{
    (void)args, (void)nargsf, (void)kwnames;
    const ih_state *state = ih_type_state(Py_TYPE(self));
    PyObject *why = ((ih_function *)self)->refused;
    PyErr_SetObject(state->errors[IH_ERR_NOT_FREEZABLE], why != NULL ? why : Py_None);
    return NULL;
}

void ih_function_route(ih_function *self)
{
    vectorcallfunc call = self->refused != NULL    ? call_refused
                          : self->function != NULL ? call_made
                                                   : call_unmade;
    __atomic_store_n(&self->vectorcall, call, __ATOMIC_RELEASE);
}

static PyObject *function_get(PyObject *self, PyObject *object, PyObject *type)
{
    (void)type;
    return object == NULL || object == Py_None ? Py_NewRef(self) : PyMethod_New(self, object);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int function_traverse(PyObject *self, visitproc visit, void *arg)
{
    ih_function *function = (ih_function *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(function->function);
    Py_VISIT(function->declaration);
    Py_VISIT(function->names);
    Py_VISIT(function->refused);
    Py_VISIT(function->kept);
    return 0;
}

/* The names stay for repr and for errors: a doc may be any object, but no cycle needs it. */
static int function_clear(PyObject *self)
{
    ih_function *function = (ih_function *)self;
    Py_CLEAR(function->function);
    Py_CLEAR(function->declaration);
    Py_CLEAR(function->kept);
    return 0;
}

static void function_dealloc(PyObject *self)
{
    ih_function *function = (ih_function *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (function->weak != NULL)
        PyObject_ClearWeakRefs(self);
    function_clear(self);
    Py_CLEAR(function->names);
    Py_CLEAR(function->refused);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *named_repr(PyObject *self, const char *what)
{
    PyObject *label = ih_function_label((ih_function *)self);
    PyObject *text = label ? PyUnicode_FromFormat("<%s function %S>", what, label) : NULL;
    Py_XDECREF(label);
    return text;
}

static PyObject *frozen_repr(PyObject *self) { return named_repr(self, "frozen"); }
static PyObject *freezable_repr(PyObject *self) { return named_repr(self, "freezable"); }

/* ---- pickling -------------------------------------------------------------------------------- */

/* By value, as an image of its own: what it captured is in there. */
static PyObject *frozen_reduce(PyObject *self, PyObject *protocol)
{
    ih_state *state = ih_type_state(Py_TYPE(self));
    long number = PyLong_AsLong(protocol);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    PyObject *bytes = ih_freeze_to_bytes(state, self);
    if (bytes != NULL && number >= 5)
        Py_SETREF(bytes, PyPickleBuffer_FromObject(bytes));
    if (bytes == NULL)
        return NULL;
    PyObject *load = PyObject_GetAttrString(state->module, "_load_image");
    return load ? Py_BuildValue("N(N)", load, bytes) : (Py_DECREF(bytes), NULL);
}

/* By name, as functions are. */
static PyObject *freezable_reduce(PyObject *self, PyObject *protocol)
{
    (void)protocol;
    return ih_function_label((ih_function *)self);
}

/* ---- types ----------------------------------------------------------------------------------- */

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ih_function, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ih_function, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef frozen_methods[] = {
    {"__reduce_ex__", frozen_reduce, METH_O, "Pickles by value, with what it captured."},
    {"__copy__", ih_view_copy, METH_NOARGS, "The function itself: it can't change."},
    {"__deepcopy__", ih_view_copy, METH_O, "The function itself: it can't change."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef freezable_methods[] = {
    {"__reduce_ex__", freezable_reduce, METH_O, "Pickles by name, as functions do."},
    {"__copy__", ih_view_copy, METH_NOARGS, "The function itself, as of functions."},
    {"__deepcopy__", ih_view_copy, METH_O, "The function itself, as of functions."},
    {NULL, NULL, 0, NULL},
};

#define COMMON_SLOTS                                                                        \
    {Py_tp_dealloc, (void *)function_dealloc}, {Py_tp_traverse, (void *)function_traverse}, \
        {Py_tp_clear, (void *)function_clear}, {Py_tp_call, (void *)PyVectorcall_Call},     \
        {Py_tp_descr_get, (void *)function_get},                                            \
    {                                                                                       \
        Py_tp_members, members                                                              \
    }

static PyType_Slot frozen_slots[] = {
    COMMON_SLOTS,
    {Py_tp_repr, (void *)frozen_repr},
    {Py_tp_getattro, (void *)ih_frozen_function_getattro},
    {Py_tp_setattro, (void *)ih_frozen_function_setattro},
    {Py_tp_methods, frozen_methods},
    {Py_tp_doc,
     "A function that can't change, nor can what it captured: freeze(f) of a function makes one.\n"
     "\n"
     "It is called, bound as a method and inspected as functions are. What it read from its "
     "module\n"
     "and from the functions around it was copied when it was frozen; attributes that can be\n"
     "changed in a function are copies here, and writing any raises FrozenError. Equal to itself\n"
     "alone. It can be put into a store and pickled, by value, for the same version of Python."},
    {0, NULL},
};

static PyType_Slot freezable_slots[] = {
    COMMON_SLOTS,
    {Py_tp_repr, (void *)freezable_repr},
    {Py_tp_getattro, (void *)ih_freezable_function_getattro},
    {Py_tp_setattro, (void *)ih_freezable_function_setattro},
    {Py_tp_methods, freezable_methods},
    {Py_tp_doc,
     "A function that was decorated so that it may be frozen: it behaves as the function does\n"
     "until freeze() turns it into a FrozenFunction, in place."},
    {0, NULL},
};

#define FUNCTION_FLAGS                                                      \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | \
     Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE)

static PyType_Spec frozen_spec = {
    .name = "icehouse.FrozenFunction",
    .basicsize = sizeof(ih_function),
    .flags = FUNCTION_FLAGS,
    .slots = frozen_slots,
};

static PyType_Spec freezable_spec = {
    .name = "icehouse.FreezableFunction",
    .basicsize = sizeof(ih_function),
    .flags = FUNCTION_FLAGS,
    .slots = freezable_slots,
};

int ih_init_function(PyObject *module, ih_state *state)
{
    state->frozen_function_type = ih_add_type(module, &frozen_spec, NULL, true);
    state->freezable_function_type = ih_add_type(module, &freezable_spec, NULL, true);
    return state->frozen_function_type && state->freezable_function_type ? 0 : -1;
}
