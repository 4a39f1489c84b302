/* Order of lists and tuples: lexicographic, as Python's.
 *
 * The walk of compare.c looks for the first difference; where it stops, its stack is the path to
 * it. So a difference at any depth costs one walk, and no recursion. */
#include "module/compare.h"

static int apply(PyObject *a, PyObject *b, int op)
{
    PyObject *answer = PyObject_RichCompare(a, b, op);
    int result = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return result;
}

static int order_sizes(uint64_t a, uint64_t b, int op)
{
    switch (op) {
    case Py_LT:
        return a < b;
    case Py_LE:
        return a <= b;
    case Py_GT:
        return a > b;
    case Py_GE:
        return a >= b;
    default:
        return (a == b) == (op == Py_EQ);
    }
}

/* The deepest two sequences that differ decide: by their first differing items, or by length. */
static int order_difference(const ih_comparison *c, int op)
{
    size_t top = c->depth;
    while (top > 0 && !c->pairs[top - 1].ordered)
        top--;
    if (top == 0) {
        PyErr_SetString(PyExc_TypeError, "only lists, or tuples, have an order");
        return -1;
    }
    const ih_pair *pair = &c->pairs[top - 1];
    ih_value a, b;
    int have = pair->ended ? 0 : ih_cursor_item(&pair->a, pair->next - 1, &a);
    if (have == 1) {
        have = ih_cursor_item(&pair->b, pair->next - 1, &b);
        if (have != 1)
            ih_value_clear(&a);
    }
    if (have < 0)
        return -1;
    if (have == 0)
        return order_sizes(ih_cursor_size(&pair->a), ih_cursor_size(&pair->b), op);
    PyObject *left = ih_value_object(&a), *right = left == NULL ? NULL : ih_value_object(&b);
    int result = right == NULL ? -1 : apply(left, right, op);
    Py_XDECREF(left);
    Py_XDECREF(right);
    ih_value_clear(&a);
    ih_value_clear(&b);
    return result;
}

int ih_order(PyObject *a, PyObject *b, int op)
{
    uint64_t work = 0;
    ih_comparison c = {.state = ih_compare_state(a, b), .order = true, .work = &work};
    if (c.state == NULL)
        return apply(a, b, op);
    int result = ih_walk_enter("comparison") < 0 ? -1 : ih_compare_run(&c, a, b);
    ih_walk_leave();
    if (result == 1)
        result = order_sizes(0, 0, op);
    else if (result == 0)
        result = order_difference(&c, op);
    ih_compare_finish(&c);
    return result;
}
