/* icehouse.native._image: the module itself, and its functions.
 *
 * Multi-phase init, heap types, all state per interpreter: so it loads in interpreters with a GIL
 * of their own and in free-threaded builds. */
#include "module/arguments.h"
#include "module/bare.h"
#include "module/declare.h"
#include "module/decode.h"
#include "module/door.h"
#include "module/freeze_rule.h"
#include "module/freezer.h"
#include "module/frozen.h"
#include "module/function.h"
#include "module/handle.h"
#include "module/hooks.h"
#include "module/image_file.h"
#include "module/image_object.h"
#include "module/look.h"
#include "module/object.h"
#include "module/process.h"
#include "module/store.h"
#include "module/travel.h"
#include "module/view.h"

PyTypeObject *ih_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base, bool public_name)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    if (!type || !public_name)
        return type;
    const char *dot = strrchr(spec->name, '.');
    if (PyModule_AddObjectRef(module, dot ? dot + 1 : spec->name, (PyObject *)type) < 0)
        Py_CLEAR(type);
    return type;
}

/* ---- freeze and its kin ---------------------------------------------------------------------- */

/* A snapshot of `object` in the private store, which goes with its last view. `roots`: see
 * ih_freeze_roots(); -1: the object itself is the root. */
static PyObject *freeze_privately(ih_state *state, PyObject *object, Py_ssize_t roots)
{
    ih_store *store;
    ih_handle handle;
    ih_lease *lease = NULL;
    ih_error error = {0};
    if (ih_private_store(&store, &error) != IH_OK)
        return ih_raise_arena(state, &error);
    int failed = roots < 0 ? ih_freeze_into(state, store, 0, object, &handle, &lease)
                           : ih_freeze_roots(state, store, 0, object, roots, &handle, &lease);
    return failed < 0 ? NULL : ih_open_lease(state, lease);
}

/* Several roots become the items of one tuple, hence one image: shared children stay shared. */
static PyObject *freeze_together(ih_state *state, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *roots = PyTuple_New(nargs);
    if (!roots)
        return NULL;
    for (Py_ssize_t i = 0; i < nargs; i++)
        PyTuple_SET_ITEM(roots, i, Py_NewRef(args[i]));
    int frozen = ih_is_frozen(state, roots);
    PyObject *all = frozen == 0 ? freeze_privately(state, roots, nargs) : NULL;
    Py_DECREF(roots);
    if (frozen != 0)
        return frozen < 0 ? NULL : Py_NewRef(args[0]);
    if (!all)
        return NULL;
    frozen = ih_is_frozen(state, args[0]);
    PyObject *first = NULL;
    if (frozen >= 0)
        first = frozen ? Py_NewRef(args[0]) : PySequence_GetItem(all, 0);
    Py_DECREF(all);
    return first;
}

/* freeze() of what is no declaration, or is to be taken for data. */
static PyObject *freeze_data(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    if (nargs == 0) {
        PyErr_SetString(PyExc_TypeError, "freeze() needs at least one object");
        return NULL;
    }
    if (nargs > 1)
        return freeze_together(state, args, nargs);
    int frozen = ih_is_frozen(state, args[0]);
    if (frozen != 0)
        return frozen < 0 ? NULL : Py_NewRef(args[0]);
    return freeze_privately(state, args[0], -1);
}

static PyObject *module_freeze(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    if (ih_any_declaration(state, args, nargs))
        return ih_freeze_declarations(state, args, nargs);
    return freeze_data(module, args, nargs);
}

static PyObject *module_thaw(PyObject *module, PyObject *object)
{
    return ih_thaw(ih_state_of(module), object);
}

static PyObject *module_is_frozen(PyObject *module, PyObject *object)
{
    int frozen = ih_is_frozen(ih_state_of(module), object);
    return frozen < 0 ? NULL : PyBool_FromLong(frozen);
}

static PyObject *module_same(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "same() takes two objects, not %zd", nargs);
    bool same = args[0] == args[1];
    if (!same && ih_is_view(state, args[0]) && ih_is_view(state, args[1]))
        same = ih_view_same(args[0], args[1]);
    return PyBool_FromLong(same);
}

static PyObject *module_dumps(PyObject *module, PyObject *args, PyObject *options)
{
    if (PyTuple_GET_SIZE(args) != 1) {
        PyErr_Format(PyExc_TypeError, "dumps() takes one positional argument, not %zd",
                     PyTuple_GET_SIZE(args));
        return NULL;
    }
    return ih_dumps(ih_state_of(module), PyTuple_GET_ITEM(args, 0), options);
}

static PyObject *module_json_default(PyObject *module, PyObject *object)
{
    return ih_json_default(ih_state_of(module), object);
}

static PyObject *module_get(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    static const char *const names[] = {"handle", IH_GET_PARAMETERS};
    static const ih_signature signature = {"get", names, 1, 2};
    ih_state *state = ih_state_of(module);
    PyObject *given[IH_GET_COUNT];
    ih_get_options options;
    ih_handle handle;
    ih_process *process;
    ih_error error = {0};
    if (ih_take_arguments(&signature, args, nargs, kwnames, given) < 0 ||
        ih_take_get_options(given, &options) < 0)
        return NULL;
    int parsed = ih_handle_parse(state, given[0], &handle);
    if (parsed < 0)
        return NULL;
    if (parsed == 0)
        return PyErr_Format(PyExc_TypeError,
                            "get() takes a Handle or the text of one, not %.100R; names are a "
                            "store's: use store.get(name)",
                            given[0]);
    if (ih_process_get(&process, &error) != IH_OK)
        return ih_raise_arena(state, &error);
    return ih_get_handle(state, process, NULL, handle, given[0], &options);
}

/* ---- for tests and for our own Python ------------------------------------------------------- */

static PyObject *module_image_bytes(PyObject *module, PyObject *object)
{
    ih_state *state = ih_state_of(module);
    PyObject *instead = ih_put_instead(state, object);
    PyObject *bytes = instead != NULL ? ih_freeze_to_bytes(state, instead) : NULL;
    Py_XDECREF(instead);
    return bytes;
}

static PyObject *module_freeze_dry(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    if (nargs != 2 || (args[1] != Py_None && !PyObject_TypeCheck(args[1], state->store_type)))
        return PyErr_Format(PyExc_TypeError, "_freeze_dry() takes an object and a Store or None");
    ih_store_object *store = args[1] == Py_None ? NULL : (ih_store_object *)args[1];
    if (store != NULL && ih_store_alive(store, "explain_freeze") < 0)
        return NULL;
    return ih_freeze_dry(state, store == NULL ? NULL : store->shared->store, args[0]);
}

static PyObject *module_locate(PyObject *module, PyObject *object)
{
    if (!ih_is_view(ih_state_of(module), object))
        Py_RETURN_NONE;
    return ih_view_locate(object);
}

static PyObject *module_reopen(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ih_state *state = ih_state_of(module);
    ih_handle handle;
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "_reopen() takes a handle and a word");
    unsigned long word = PyLong_AsUnsignedLong(args[1]);
    if (PyErr_Occurred())
        return NULL;
    int parsed = ih_handle_parse(state, args[0], &handle);
    if (parsed == 0 || word > UINT32_MAX)
        PyErr_SetString(PyExc_ValueError, "_reopen() takes a handle and a word");
    return parsed == 1 && word <= UINT32_MAX ? ih_view_reopen(state, handle, (uint32_t)word) : NULL;
}

static PyObject *module_type_name(PyObject *Py_UNUSED(module), PyObject *object)
{
    return Py_NewRef(ih_is_object_view(object) ? ((ih_object_view *)object)->layout->type_name
                                               : Py_None);
}

static PyObject *module_patience(PyObject *Py_UNUSED(module), PyObject *patient)
{
    int wanted = PyObject_IsTrue(patient);
    return wanted < 0 ? NULL : PyBool_FromLong(ih_patience_set(wanted));
}

static PyObject *module_activity(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    ih_process *process;
    ih_error error = {0};
    ih_activity now;
    if (ih_process_get(&process, &error) != IH_OK)
        return PyErr_NoMemory();
    ih_process_activity(process, &now);
    PyObject *sizes = PyTuple_New(Py_ARRAY_LENGTH(now.put_sizes));
    for (Py_ssize_t i = 0; sizes && i < PyTuple_GET_SIZE(sizes); i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(now.put_sizes[i]);
        if (!count)
            Py_CLEAR(sizes);
        else
            PyTuple_SET_ITEM(sizes, i, count);
    }
    if (!sizes)
        return NULL;
    return Py_BuildValue("(KKKKKKKN)", now.puts, now.put_bytes, now.opens, now.maps, now.fulls,
                         now.leases, now.segments, sizes);
}

static PyObject *module_leave(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    /* Another interpreter ends without the process. */
    if (PyInterpreterState_Get() == PyInterpreterState_Main())
        ih_leave();
    Py_RETURN_NONE;
}

static PyObject *module_scopes(PyObject *module, PyObject *more)
{
    Py_ssize_t change = PyLong_AsSsize_t(more);
    if (change == -1 && PyErr_Occurred())
        return NULL;
    __atomic_add_fetch(&ih_state_of(module)->scopes, change, __ATOMIC_RELAXED);
    Py_RETURN_NONE;
}

/* ---- the module ----------------------------------------------------------------------------- */

PyDoc_STRVAR(freeze_doc, "freeze(*objects)\n--\n\n"
                         "A frozen snapshot of an object and all that it reaches, in shared "
                         "memory. The argument stays as it is.\n\n"
                         "What is frozen already (views, plain immutable values, tuples and "
                         "frozensets of such) is returned\n"
                         "as it is. Several objects are frozen into one image, all or none, and "
                         "the first one's snapshot is\n"
                         "returned. The memory goes with the last view of it; other interpreters "
                         "open it by view.handle.\n"
                         "NotFreezableError names the path to what can't be frozen, StoreFull the "
                         "figures; TypeError without\n"
                         "an argument. One copy: O(size of the object graph); O(items) for tuples "
                         "that are frozen already.");
PyDoc_STRVAR(
    thaw_doc,
    "thaw(view, /)\n--\n\n"
    "An ordinary, mutable copy: dict, list, set and so on, with sharing and cycles kept.\n\n"
    "Plain objects are returned as they are. CorruptImage on damage. O(size of what the view "
    "reaches).");
PyDoc_STRVAR(
    is_frozen_doc,
    "is_frozen(object, /)\n--\n\n"
    "True if nothing that the object reaches can change: views, None, bools, numbers, str, bytes,\n"
    "range, Ellipsis, handles, and tuples, frozensets and slices of such (not of subclasses).\n\n"
    "O(1), but O(items) for tuples and frozensets.");
PyDoc_STRVAR(
    same_doc,
    "same(a, b, /)\n--\n\n"
    "True if both are one object: `a is b`, or views of the same node of the same image.\n\n"
    "Views are made when they are reached, so `v['a'] is v['a']` is not promised; this is. O(1).");
PyDoc_STRVAR(
    dumps_doc,
    "dumps(view, /, **options)\n--\n\n"
    "JSON text of a view, straight from the image; options and errors are those of json.dumps.\n\n"
    "O(size of what the view reaches).");
PyDoc_STRVAR(json_default_doc,
             "json_default(object, /)\n--\n\n"
             "For encoders that ask what to do with a foreign object: json.dumps(x, "
             "default=json_default).\n\n"
             "A view is thawed, one level or as a whole, a SharedField is its value; TypeError for "
             "anything else.");
PyDoc_STRVAR(
    get_doc,
    "get(handle, default=<unset>, /, *, type=None, native=False, allow_classes=None, trust=False)\n"
    "--\n\n"
    "Opens a handle (or its text) of any store that this process has open or inherited, in any of\n"
    "its interpreters.\n\n" IH_GET_OPTIONS_DOC
    "HandleGone if it names nothing that lives, unless a default is given; ValueError for a text "
    "that\n"
    "is no handle. O(1), whatever the image's size.");

static PyMethodDef functions[] = {
    {"freeze", (PyCFunction)(void *)module_freeze, METH_FASTCALL, freeze_doc},
    {"thaw", module_thaw, METH_O, thaw_doc},
    {"is_frozen", module_is_frozen, METH_O, is_frozen_doc},
    {"same", (PyCFunction)(void *)module_same, METH_FASTCALL, same_doc},
    {"dumps", (PyCFunction)(void *)module_dumps, METH_VARARGS | METH_KEYWORDS, dumps_doc},
    {"json_default", module_json_default, METH_O, json_default_doc},
    {"get", (PyCFunction)(void *)module_get, METH_FASTCALL | METH_KEYWORDS, get_doc},
    {"_freeze_data", (PyCFunction)(void *)freeze_data, METH_FASTCALL,
     "freeze(), with declarations taken for data: classes by name, functions refused."},
    {"_target", ih_target, METH_NOARGS,
     "The store that the object which a rule is asked about is being frozen into, as Trust.store "
     "names it; or None."},
    {"_image_bytes", module_image_bytes, METH_O, "The image of an object as bytes: for tests."},
    IH_IMAGE_FILE_METHODS,
    IH_LOOK_METHODS,
    {"_type_name", module_type_name, METH_O,
     "The name of the class of a FrozenObject, \"module.qualname\"; None of anything else."},
    {"_freeze_dry", (PyCFunction)(void *)module_freeze_dry, METH_FASTCALL,
     "What freezing would do with one view or buffer: explain_freeze asks."},
    {"_locate", module_locate, METH_O,
     "Where a view lies, for _reopen() in another interpreter: (Handle, word), or None."},
    {"_reopen", (PyCFunction)(void *)module_reopen, METH_FASTCALL,
     "The object at a place that _locate() gave."},
    {"_bare_instance", ih_bare_instance, METH_O,
     "A new instance of a class, with no field set and no code of it run."},
    {"_copies", ih_copies_of, METH_O,
     "Private writable memory with the bytes of a FrozenArray, or None: see icehouse.cow()."},
    {"_patience", module_patience, METH_O,
     "Whether calls of this thread may wait for the daemon from here on; with False they raise "
     "BlockingIOError instead. Returns what it was."},
    {"_activity", module_activity, METH_NOARGS,
     "What this process did in all its stores: puts, their bytes, opens, maps, refusals for want "
     "of memory; leases and segments now; puts by size. For icehouse.metrics."},
    {"_leave", module_leave, METH_NOARGS,
     "Tells daemons that this process ends in order, for whom Python itself does not."},
    {"_scopes", module_scopes, METH_O,
     "Adds to the number of open scopes: only while it is not 0 does put() look at _scope."},
    IH_TRAVEL_METHODS,
    IH_FUNCTION_METHODS,
    IH_DOOR_METHODS,
    {NULL, NULL, 0, NULL},
};

/* Pickles and error messages name functions by the module where users find them. */
static int name_public_functions(PyObject *module)
{
    PyObject *name = PyUnicode_InternFromString("icehouse");
    int result = name ? 0 : -1;
    for (const PyMethodDef *each = functions; result == 0 && each->ml_name; each++) {
        if (each->ml_name[0] == '_')
            continue;
        PyObject *function = PyObject_GetAttrString(module, each->ml_name);
        result = function ? PyObject_SetAttrString(function, "__module__", name) : -1;
        Py_XDECREF(function);
    }
    Py_XDECREF(name);
    return result;
}

static int module_exec(PyObject *module)
{
    static int (*const steps[])(PyObject *, ih_state *) = {
        ih_init_errors,     ih_init_image_object, ih_init_handle, ih_init_dict,
        ih_init_dict_views, ih_init_sequence,     ih_init_set,    ih_init_bytes,
        ih_init_array,      ih_init_object,       ih_init_store,  ih_init_function,
    };
    ih_state *state = ih_state_of(module);
    state->module = module;
    state->rules.known = PyDict_New();
    state->rules.generation = PyUnicode_InternFromString("generation");
    if (state->rules.known == NULL || state->rules.generation == NULL)
        return -1;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(steps); i++) {
        if (steps[i](module, state) < 0)
            return -1;
    }
    return name_public_functions(module);
}

/* Where the state keeps its types. */
#define TYPES 25
static void list_types(ih_state *state, PyTypeObject **types[TYPES])
{
    PyTypeObject **all[TYPES] = {
        &state->image_type,
        &state->dict_type,
        &state->list_type,
        &state->tuple_type,
        &state->set_type,
        &state->bytes_type,
        &state->array_type,
        &state->dict_keys_type,
        &state->dict_values_type,
        &state->dict_items_type,
        &state->dict_iterator_type,
        &state->sequence_iterator_type,
        &state->set_iterator_type,
        &state->handle_type,
        &state->store_type,
        &state->stat_type,
        &state->usage_type,
        &state->remote_type,
        &state->object_type,
        &state->layout_type,
        &state->forward_type,
        &state->build_type,
        &state->record_type,
        &state->frozen_function_type,
        &state->freezable_function_type,
    };
    memcpy(types, all, sizeof all);
}

/* Every Python reference of the state, for the collector. */
static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ih_state *state = ih_state_of(module);
    PyTypeObject **types[TYPES];
    list_types(state, types);
    for (size_t i = 0; i < TYPES; i++)
        Py_VISIT(*types[i]);
    for (int i = 0; i < IH_ERRORS; i++)
        Py_VISIT(state->errors[i]);
    for (int i = 0; i < IH_HOOKS; i++)
        Py_VISIT(state->hook_functions[i]);
    for (int i = 0; i < IH_QUICK; i++)
        Py_VISIT(state->quick[i]);
    Py_VISIT(state->store_trusts);
    Py_VISIT(state->trusts[0]);
    Py_VISIT(state->trusts[1]);
    Py_VISIT(state->numpy_asarray);
    Py_VISIT(state->scope);
    Py_VISIT(state->travel_hook);
    Py_VISIT(state->hooks);
    Py_VISIT(state->view_types);
    Py_VISIT(state->cached_property);
#if IH_CACHES
    for (size_t i = 0; i < IH_LAYOUT_CACHE; i++)
        Py_VISIT(state->object_layouts[i]);
    for (size_t i = 0; i < IH_MEMBER_CACHE; i++)
        Py_VISIT(state->members[i].member);
#endif
    Py_VISIT(state->rules.known);
    return 0;
}

static void clear_caches(ih_state *state)
{
#if IH_CACHES
    for (size_t i = 0; i < IH_STR_CACHE; i++) {
        state->strs[i].identity = 0;
        Py_CLEAR(state->strs[i].value);
    }
    for (size_t i = 0; i < IH_KEY_CACHE; i++) {
        state->keys[i].identity = 0;
        Py_CLEAR(state->keys[i].key);
    }
    for (size_t i = 0; i < IH_SHAPE_CACHE; i++) {
        state->shapes[i].identity = 0;
        Py_CLEAR(state->shapes[i].keys);
    }
    for (size_t i = 0; i < IH_LAYOUT_CACHE; i++)
        Py_CLEAR(state->object_layouts[i]);
#else
    (void)state;
#endif
}

static void clear_names(ih_state *state)
{
    for (size_t i = 0; i < IH_OBJECT_NAMES; i++)
        Py_CLEAR(state->names[i]);
    for (size_t i = 0; i < IH_OPERATOR_NAMES; i++) {
        Py_CLEAR(state->operator_names[i][0]);
        Py_CLEAR(state->operator_names[i][1]);
    }
}

static int module_clear(PyObject *module)
{
    ih_state *state = ih_state_of(module);
    clear_caches(state);
    PyTypeObject **types[TYPES];
    list_types(state, types);
    for (size_t i = 0; i < TYPES; i++)
        Py_CLEAR(*types[i]);
    for (int i = 0; i < IH_ERRORS; i++)
        Py_CLEAR(state->errors[i]);
    ih_hooks_clear(state);
    Py_CLEAR(state->numpy_asarray);
    Py_CLEAR(state->scope);
    Py_CLEAR(state->travel_hook);
    Py_CLEAR(state->hooks);
    Py_CLEAR(state->view_types);
    Py_CLEAR(state->cached_property);
    ih_rules_clear(state);
    return 0;
}

static void module_free(void *module)
{
    ih_state *state = ih_state_of(module);
    if (!state)
        return;
    (void)module_clear(module);
    clear_names(state); /* views may have been asked until now */
    ih_clear_free_lists(state);
    if (state->scratch)
        ih_freezer_free(state->scratch);
    state->scratch = NULL;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

PyModuleDef ih_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "icehouse.native._image",
    .m_doc = "Freezing, views and the embedded store. The public face is the package icehouse.",
    .m_size = sizeof(ih_state),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__image(void) { return PyModuleDef_Init(&ih_module_def); }
