/* Hooks and trust; see hooks.h. */
#include "module/hooks.h"

#include "module/image_object.h"
#include "module/process.h"

#include <stdlib.h>

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

PyObject *ih_hooks(ih_state *state)
{
    PyObject *known = __atomic_load_n(&state->hooks, __ATOMIC_ACQUIRE);
    if (known != NULL)
        return known;
    return publish(&state->hooks, PyImport_ImportModule("icehouse.store.freezing.hooks"));
}

PyObject *ih_hook(ih_state *state, const char *name)
{
    PyObject *hooks = ih_hooks(state);
    return hooks != NULL ? PyObject_GetAttrString(hooks, name) : NULL;
}

PyObject *ih_hook_of(ih_state *state, ih_hook_id which)
{
    PyObject *known = __atomic_load_n(&state->hook_functions[which], __ATOMIC_ACQUIRE);
    if (known != NULL)
        return known;
    return publish(&state->hook_functions[which], ih_hook(state, hook_names[which]));
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

/* The same Trust but for one field. Takes over the value. New reference. */
static PyObject *replaced(PyObject *trust, const char *field, PyObject *value)
{
    PyObject *keywords = value != NULL ? Py_BuildValue("{s:N}", field, value) : NULL;
    PyObject *replace = keywords != NULL ? PyObject_GetAttrString(trust, "_replace") : NULL;
    PyObject *none = replace != NULL ? PyTuple_New(0) : NULL;
    PyObject *made = none != NULL ? PyObject_Call(replace, none, keywords) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(replace);
    Py_XDECREF(keywords);
    return made;
}

/* What Store.attach() or Store.connect() needs. *token is 0 where the store has no name. New
 * reference: a str or None. */
static PyObject *name_of_store(const ih_store *store, uint64_t *token)
{
    char *socket;
    *token = 0;
    if (store == NULL || !ih_shared_store_whereabouts(store, token, &socket))
        Py_RETURN_NONE;
    if (socket == NULL) {
        char text[IH_TOKEN_TEXT + 1];
        PyOS_snprintf(text, sizeof text, IH_TOKEN_PREFIX "%016llx", (unsigned long long)*token);
        return PyUnicode_FromFormat("token:%s", text);
    }
    PyObject *path = PyUnicode_DecodeFSDefault(socket);
    PyObject *name = path != NULL ? PyUnicode_FromFormat("socket:%U", path) : NULL;
    Py_XDECREF(path);
    free(socket);
    return name;
}

#define STORE_TRUSTS_MAX 64

/* The Trust in an image of a store that others can find, one for all such images, so that caches
 * know it by its address. New reference. */
static PyObject *trust_in_store(ih_image_object *image, PyObject *plain, bool own)
{
    ih_state *state = image->state;
    uint64_t token = 0;
    PyObject *store = name_of_store(image->lease->store, &token);
    if (store == NULL || token == 0) {
        Py_XDECREF(store);
        return store != NULL ? Py_NewRef(plain) : NULL;
    }
    PyObject *known = __atomic_load_n(&state->store_trusts, __ATOMIC_ACQUIRE);
    if (known == NULL)
        known = publish(&state->store_trusts, PyDict_New());
    PyObject *key = known != NULL ? Py_BuildValue("Ki", (unsigned long long)token, (int)own) : NULL;
    PyObject *made = NULL;
#if PY_VERSION_HEX >= 0x030D0000
    if (key != NULL)
        (void)PyDict_GetItemRef(known, key, &made);
#else
    if (key != NULL)
        made = Py_XNewRef(PyDict_GetItemWithError(known, key));
#endif
    if (made == NULL && key != NULL && !PyErr_Occurred()) {
        if (PyDict_GET_SIZE(known) >= STORE_TRUSTS_MAX)
            PyDict_Clear(known); /* of stores that have come and gone */
        made = replaced(plain, "store", Py_NewRef(store));
        if (made != NULL && PyDict_SetItem(known, key, made) < 0)
            Py_CLEAR(made);
    }
    Py_XDECREF(key);
    Py_DECREF(store);
    return made;
}

#if IH_CACHES
/* Opening an image should not cost a look at the list of stores. New reference. */
static PyObject *cached_trust(ih_image_object *image, PyObject *plain, bool own)
{
    const ih_store *store = image->lease->store;
    uint64_t version = ih_shared_stores_version();
    ih_store_trusts *entry = &image->state->store_cache[((uintptr_t)store >> 6) % IH_STORE_TRUSTS];
    if (entry->store == store && entry->version == version && entry->trusts[own] != NULL)
        return Py_NewRef(entry->trusts[own]);
    PyObject *made = trust_in_store(image, plain, own);
    if (made == NULL)
        return NULL;
    if (entry->store != store || entry->version != version) {
        PyObject *before[2] = {entry->trusts[0], entry->trusts[1]};
        *entry = (ih_store_trusts){.store = store, .version = version};
        Py_XDECREF(before[0]);
        Py_XDECREF(before[1]);
    }
    Py_XSETREF(entry->trusts[own], Py_NewRef(made));
    return made;
}
#endif

PyObject *ih_image_trust(ih_image_object *image)
{
    PyObject *known = __atomic_load_n(&image->trust, __ATOMIC_ACQUIRE);
    if (known != NULL)
        return known;
    bool own = is_own(image);
    known = trust_in(image->state, own);
    if (known == NULL || image->lease == NULL)
        return publish(&image->trust, Py_XNewRef(known));
#if IH_CACHES
    known = cached_trust(image, known, own);
#else
    known = trust_in_store(image, known, own);
#endif
    return publish(&image->trust, known);
}

PyObject *ih_trust_without_code(ih_image_object *image)
{
    PyObject *trust = ih_image_trust(image);
    return trust != NULL ? replaced(trust, "code", Py_NewRef(Py_False)) : NULL;
}

int ih_trust_has_code(PyObject *trust)
{
    PyObject *code = PyObject_GetAttrString(trust, "code");
    int has = code != NULL ? PyObject_IsTrue(code) : -1;
    Py_XDECREF(code);
    return has;
}

int ih_trust_give(ih_image_object *image, PyObject *allow_classes, bool code)
{
    PyObject *make = import_from("icehouse.store.freezing.trust", "trust_of");
    uint64_t token;
    PyObject *store = make != NULL
                          ? name_of_store(image->lease != NULL ? image->lease->store : NULL, &token)
                          : NULL;
    PyObject *made = store != NULL
                         ? PyObject_CallFunction(make, "OOOO", is_own(image) ? Py_True : Py_False,
                                                 allow_classes != NULL ? allow_classes : Py_None,
                                                 code ? Py_True : Py_False, store)
                         : NULL;
    Py_XDECREF(store);
    Py_XDECREF(make);
    if (made == NULL)
        return -1;
    Py_XSETREF(image->trust, made);
    image->given = true;
    /* Caches know content by identity: what is made under another trust is other content. */
    image->identity = ih_fresh_identity(image->state);
    return 0;
}

void ih_trust_bound(ih_image_object *image, PyObject *trust)
{
    Py_XSETREF(image->trust, Py_NewRef(trust));
    image->given = image->wary = true;
    image->identity = ih_fresh_identity(image->state);
}

int ih_trust_inherit(ih_image_object *image, const ih_image_object *from)
{
    image->native = from->native;
    if (from->wary)
        ih_trust_bound(image, from->trust);
    if (from->wary || !from->given)
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

/* ---- where an image is written --------------------------------------------------------------- */

static _Thread_local const ih_store *target;

const ih_store *ih_set_target(const ih_store *store)
{
    const ih_store *before = target;
    target = store;
    return before;
}

PyObject *ih_target(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    uint64_t token;
    return name_of_store(target, &token);
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
    for (size_t i = 0; i < IH_STORE_TRUSTS; i++) {
        state->store_cache[i].store = NULL;
        Py_CLEAR(state->store_cache[i].trusts[0]);
        Py_CLEAR(state->store_cache[i].trusts[1]);
    }
#endif
    for (int i = 0; i < IH_HOOKS; i++)
        Py_CLEAR(state->hook_functions[i]);
    Py_CLEAR(state->store_trusts);
    Py_CLEAR(state->trusts[0]);
    Py_CLEAR(state->trusts[1]);
}
