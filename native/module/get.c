/* The options of get(): see get.h. */
#include "module/get.h"

#include "module/decode.h"
#include "module/hooks.h"
#include "module/image_object.h"

static int take_flag(PyObject *given, bool *out)
{
    int truth = given != NULL ? PyObject_IsTrue(given) : 0;
    *out = truth > 0;
    return truth < 0 ? -1 : 0;
}

int ih_take_get_options(PyObject *const given[IH_GET_COUNT], ih_get_options *out)
{
    *out = (ih_get_options){.fallback = given[1], .type = given[2], .allow_classes = given[4]};
    if (out->type == Py_None)
        out->type = NULL;
    if (out->allow_classes == Py_None)
        out->allow_classes = NULL;
    return take_flag(given[3], &out->native) < 0 || take_flag(given[5], &out->code) < 0 ? -1 : 0;
}

/* ---- type= ---------------------------------------------------------------------------------- */

/* "module.qualname" of a class, the repr of what is none. New reference. */
static PyObject *name_of(PyObject *object)
{
    if (!PyType_Check(object))
        return PyUnicode_FromFormat("%.200R", object);
    PyObject *module = PyObject_GetAttrString(object, "__module__");
    PyObject *name = module != NULL ? PyObject_GetAttrString(object, "__qualname__") : NULL;
    PyObject *text = NULL;
    if (name != NULL) {
        bool builtin =
            PyUnicode_Check(module) && (PyUnicode_CompareWithASCIIString(module, "builtins") == 0 ||
                                        PyUnicode_CompareWithASCIIString(module, "icehouse") == 0);
        text = builtin ? PyObject_Str(name) : PyUnicode_FromFormat("%S.%S", module, name);
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
    return text;
}

/* What was found: the class that the object says it is of; of a record the name it knows. */
static PyObject *name_of_type(PyObject *object)
{
    PyObject *cls = PyObject_GetAttrString(object, "__class__");
    PyObject *name = cls != NULL ? name_of(cls) : NULL;
    Py_XDECREF(cls);
    return name;
}

/* Views of builtin containers are of no builtin type: say what to ask for. */
static const char *hint(const ih_state *state, PyObject *type, PyObject *root)
{
    const struct {
        PyTypeObject *view;
        PyTypeObject *original;
        const char *hint;
    } views[] = {
        {state->dict_type, &PyDict_Type, "; the view of a dict is a FrozenDict"},
        {state->list_type, &PyList_Type, "; the view of a list is a FrozenList"},
        {state->tuple_type, &PyTuple_Type,
         "; a tuple as large as this is a FrozenTuple, and a tuple with native=True"},
        {state->set_type, &PySet_Type, "; the view of a set is a FrozenSet"},
        {state->bytes_type, &PyBytes_Type,
         "; bytes as large as these are FrozenBytes, and bytes with native=True"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(views); i++)
        if (Py_TYPE(root) == views[i].view && type == (PyObject *)views[i].original)
            return views[i].hint;
    return "";
}

static int check_type(ih_state *state, PyObject *root, PyObject *type, PyObject *subject)
{
    int is = PyObject_IsInstance(root, type);
    if (is != 0)
        return is < 0 ? -1 : 0;
    PyObject *asked = name_of(type), *found = asked != NULL ? name_of_type(root) : NULL;
    if (found != NULL)
        PyErr_Format(PyExc_TypeError, "get(%.200R, type=%U): found a %U%s", subject, asked, found,
                     hint(state, type, root));
    Py_XDECREF(asked);
    Py_XDECREF(found);
    return -1;
}

/* ---- the whole ------------------------------------------------------------------------------ */

PyObject *ih_open_got(ih_state *state, ih_lease *lease, const ih_get_options *options,
                      PyObject *subject)
{
    ih_image_object *image = ih_image_of_lease(state, lease);
    if (image == NULL)
        return NULL;
    image->native = options->native;
    PyObject *root = NULL;
    if ((options->allow_classes == NULL && !options->code) ||
        ih_trust_give(image, options->allow_classes, options->code) == 0)
        root = ih_decode(image, image->root);
    Py_DECREF(image);
    if (root != NULL && options->type != NULL &&
        check_type(state, root, options->type, subject) < 0)
        Py_CLEAR(root);
    return root;
}
