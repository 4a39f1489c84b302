/* Hooks and trust; see hooks.h. */
#include "module/hooks.h"

#include "module/image_object.h"

static const char *const hook_names[IH_HOOKS] = {
    [IH_HOOK_RULE_OF] = "rule_of",
    [IH_HOOK_MAKE_VALUE] = "make_value",
    [IH_HOOK_THAW_VALUE] = "thaw_value",
    [IH_HOOK_MAKE_OBJECT] = "make_object",
    [IH_HOOK_MAKE_RECORD] = "make_record",
    [IH_HOOK_RESOLVE_CLASS] = "resolve_class",
    [IH_HOOK_FROZEN_BY_NATURE] = "frozen_by_nature",
    [IH_HOOK_THAW_CONTAINER] = "thaw_container",
    [IH_HOOK_VIEW_INFO] = "view_info",
    [IH_HOOK_REDUCE_FOREIGN] = "reduce_foreign",
    [IH_HOOK_FREEZE_DECLARATIONS] = "freeze_declarations",
    [IH_HOOK_CHECK_STATUS] = "check_status",
};

/* Stores a new object where others may be quicker; returns what is there, borrowed. */
static PyObject *publish(PyObject **slot, PyObject *made)
{
    PyObject *none = NULL;
    if (made == NULL)
        return NULL;
    if (__atomic_compare_exchange_n(slot, &none, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return made;
    Py_DECREF(made);
    return none;
}

static PyObject *import_from(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported != NULL ? PyObject_GetAttrString(imported, name) : NULL;
    Py_XDECREF(imported);
    return found;
}

PyObject *ih_hook_of(ih_state *state, ih_hook_id which)
{
    PyObject *known = __atomic_load_n(&state->hook_functions[which], __ATOMIC_ACQUIRE);
    if (known != NULL)
        return known;
    PyObject *found = import_from("icehouse.store.freezing.hooks", hook_names[which]);
    return publish(&state->hook_functions[which], found);
}

/* ---- trust ---------------------------------------------------------------------------------- */

static bool is_own(const ih_image_object *image)
{
    return image->lease != NULL && image->lease->trusted;
}

static PyObject *trust_in(ih_state *state, int own)
{
    PyObject *known = __atomic_load_n(&state->trusts[own], __ATOMIC_ACQUIRE);
    if (known != NULL)
        return known;
    PyObject *found = import_from("icehouse.store.freezing.trust", own ? "OWN" : "NONE");
    return publish(&state->trusts[own], found);
}

PyObject *ih_own_trust(ih_state *state) { return trust_in(state, 1); }

PyObject *ih_image_trust(ih_image_object *image)
{
    PyObject *known = __atomic_load_n(&image->trust, __ATOMIC_ACQUIRE);
    if (known != NULL)
        return known;
    known = trust_in(image->state, is_own(image));
    return known != NULL ? publish(&image->trust, Py_NewRef(known)) : NULL;
}

PyObject *ih_trust_without_code(ih_image_object *image)
{
    PyObject *trust = ih_image_trust(image);
    PyObject *replace = trust != NULL ? PyObject_GetAttrString(trust, "_replace") : NULL;
    PyObject *keywords = replace != NULL ? Py_BuildValue("{s:O}", "code", Py_False) : NULL;
    PyObject *none = keywords != NULL ? PyTuple_New(0) : NULL;
    PyObject *made = none != NULL ? PyObject_Call(replace, none, keywords) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(keywords);
    Py_XDECREF(replace);
    return made;
}

int ih_trust_give(ih_image_object *image, PyObject *allow_classes, bool code)
{
    PyObject *make = import_from("icehouse.store.freezing.trust", "trust_of");
    PyObject *made = make != NULL
                         ? PyObject_CallFunction(make, "OOO", is_own(image) ? Py_True : Py_False,
                                                 allow_classes != NULL ? allow_classes : Py_None,
                                                 code ? Py_True : Py_False)
                         : NULL;
    Py_XDECREF(make);
    if (made == NULL)
        return -1;
    Py_XSETREF(image->trust, made);
    image->given = true;
    /* Caches know content by identity: what is made under another trust is other content. */
    image->identity = ih_fresh_identity(image->state);
    return 0;
}

int ih_trust_inherit(ih_image_object *image, const ih_image_object *from)
{
    image->native = from->native;
    if (!from->given)
        return 0;
    PyObject *allowed = NULL, *classes = PyObject_GetAttrString(from->trust, "classes");
    if (classes == NULL)
        return -1;
    if (classes != Py_None)
        allowed = PyMapping_Values(classes);
    Py_DECREF(classes);
    if (allowed == NULL)
        return PyErr_Occurred() ? -1 : 0;
    int result = ih_trust_give(image, allowed, false);
    Py_DECREF(allowed);
    return result;
}

void ih_hooks_clear(ih_state *state)
{
    for (int i = 0; i < IH_QUICK; i++)
        Py_CLEAR(state->quick[i]);
#if IH_CACHES
    for (size_t i = 0; i < IH_MEMBER_CACHE; i++) {
        state->members[i].serial = 0;
        Py_CLEAR(state->members[i].member);
    }
#endif
    for (int i = 0; i < IH_HOOKS; i++)
        Py_CLEAR(state->hook_functions[i]);
    Py_CLEAR(state->trusts[0]);
    Py_CLEAR(state->trusts[1]);
}
