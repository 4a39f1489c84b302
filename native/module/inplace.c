/* Telling `a_list += view` from `a_list + view`; see inplace.h.
 *
 * `a_list + view` needs nb_add of the view, since list's own addition refuses whatever is no list.
 * But CPython asks for nb_add of the right operand in `a_list += view` too, before it asks list for
 * its in-place extension, and doesn't say which of the two it is doing. (collections.UserList has
 * this flaw: `a_list += user_list` binds the name to a new object.) A function that extends its
 * caller's list would lose the items without an error, so we look at the instruction that is being
 * executed: through public functions, and with the numbers of instructions asked of the module
 * `opcode`. Calls from C (operator.iadd) don't stand at such an instruction and count as plain
 * addition. */
#include "module/inplace.h"

/* The attribute `name` of the module `opcode`; new reference, NULL without an exception set. */
static PyObject *of_opcode(const char *name)
{
    PyObject *module = PyImport_ImportModule("opcode");
    PyObject *value = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    if (value == NULL)
        PyErr_Clear();
    return value;
}

/* The number of the instruction BINARY_OP, or -1. */
static long binary_op(void)
{
    PyObject *map = of_opcode("opmap");
    PyObject *number = map == NULL ? NULL : PyMapping_GetItemString(map, "BINARY_OP");
    long result = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(map);
    Py_XDECREF(number);
    PyErr_Clear();
    return result;
}

/* The argument of BINARY_OP that means `+=`, or -1: the place of that operator in a list of pairs.
 */
static long inplace_add(void)
{
    PyObject *operators = of_opcode("_nb_ops");
    Py_ssize_t n = operators == NULL ? -1 : PySequence_Size(operators);
    long result = -1;
    for (Py_ssize_t i = 0; i < n && result < 0; i++) {
        PyObject *pair = PySequence_GetItem(operators, i);
        PyObject *symbol = pair == NULL ? NULL : PySequence_GetItem(pair, 1);
        if (symbol != NULL && PyUnicode_Check(symbol) &&
            PyUnicode_CompareWithASCIIString(symbol, "+=") == 0)
            result = (long)i;
        Py_XDECREF(pair);
        Py_XDECREF(symbol);
    }
    Py_XDECREF(operators);
    PyErr_Clear();
    return result;
}

/* One of the two numbers, asked once. Threads that ask at the same time get the same answer. */
static int cached(int *number, long (*ask)(void))
{
    int known = __atomic_load_n(number, __ATOMIC_RELAXED);
    if (known == 0) {
        known = (int)ask();
        __atomic_store_n(number, known, __ATOMIC_RELAXED);
    }
    return known;
}

bool ih_in_inplace_add(ih_state *state)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    if (frame == NULL)
        return false;
    int last = PyFrame_GetLasti(frame);
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *bytes = PyCode_GetCode(code);
    bool result = false;
    if (bytes == NULL) {
        PyErr_Clear();
    } else if (last >= 0 && last + 1 < PyBytes_GET_SIZE(bytes)) {
        const unsigned char *instruction = (unsigned char *)PyBytes_AS_STRING(bytes) + last;
        result = instruction[0] == cached(&state->binary_op, binary_op) &&
                 instruction[1] == cached(&state->inplace_add, inplace_add);
    }
    Py_XDECREF(bytes);
    Py_DECREF(code);
    Py_DECREF(frame);
    return result;
}
