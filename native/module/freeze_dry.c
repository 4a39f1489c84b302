/* What freezing would do with one view or one buffer, for store/declarations/dry_run.py: it decides
 * by the same functions, and throws away what they wrote. */
#include "module/decode.h"
#include "module/freezer_state.h"

/* 1: it would be linked to; 0: not; -1, where it was refused with f->offender. */
static int try_one(freezer *f, PyObject *object)
{
    bool array = strcmp(Py_TYPE(object)->tp_name, "numpy.ndarray") == 0;
    uint32_t word;
    int linked = array                          ? freeze_link_ndarray(f, object, &word)
                 : ih_is_view(f->state, object) ? freeze_link(f, object, &word)
                                                : 0;
    if (linked != 0 || ih_is_view(f->state, object))
        return linked;
    return freeze_check_buffer(f, object, array ? IH_ORIGIN_NDARRAY : IH_ORIGIN_MEMORYVIEW);
}

PyObject *ih_freeze_dry(ih_state *state, ih_store *store, PyObject *object)
{
    freezer *f = freezer_take(state);
    if (f == NULL)
        return NULL;
    f->store = store;
    f->root = NULL;
    f->careful = true; /* what it asks may run Python code */
    __atomic_add_fetch(&state->freezing, 1, __ATOMIC_RELAXED);
    int result = try_one(f, object);
    __atomic_sub_fetch(&state->freezing, 1, __ATOMIC_RELAXED);
    PyObject *answer = NULL;
    if (result >= 0)
        answer = PyBool_FromLong(result);
    else if (f->offender != NULL && !PyErr_Occurred())
        answer = PyUnicode_FromString(f->reason != NULL ? f->reason : "");
    freezer_give(state, f);
    return answer;
}
