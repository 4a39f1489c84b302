/* dumps() and json_default(): options, and the ways to json.dumps where the image alone is not
 * enough.
 *
 * That is so for plain objects (views inside are thawed as json meets them), for options that need
 * Python objects (cls, skipkeys, ...), and for values that are not JSON where there is a `default`
 * to ask. */
#include "module/json.h"

/* ---- default ---- */

const char *ih_json_type_name(uint32_t word, const ih_node *node)
{
    static const char *const origins[] = {"ndarray", "array", "memoryview"};
    if (word == IH_ELLIPSIS)
        return "ellipsis";
    if (word == IH_NOT_IMPLEMENTED)
        return "NotImplementedType";
    if (node == NULL)
        return word == IH_EMPTY_TUPLE ? "tuple" : "bytes";
    switch (node->kind) {
    case IH_COMPLEX:
        return "complex";
    case IH_BYTES:
    case IH_BYTES_BLOB:
        return "bytes";
    case IH_BYTEARRAY:
    case IH_BYTEARRAY_BLOB:
        return "bytearray";
    case IH_SET:
    case IH_SET_HASHED:
        return "set";
    case IH_FROZENSET:
    case IH_FROZENSET_HASHED:
        return "frozenset";
    case IH_ARRAY:
        return origins[node->code];
    case IH_LIST:
    case IH_LIST_PACKED:
    case IH_LIST_STR:
        return "list";
    case IH_DICT_SHAPED:
    case IH_DICT_PAIRS:
    case IH_DICT_HASHED:
        return "dict";
    default:
        return "tuple";
    }
}

/* Whether it is a SharedField, which stands for the value that it holds. 1, 0, -1. */
static int is_field(PyObject *object)
{
    PyObject *name = PyUnicode_InternFromString("icehouse.store.declarations.fields");
    PyObject *loaded = name ? PyImport_GetModule(name) : NULL;
    PyObject *type = loaded ? PyObject_GetAttrString(loaded, "SharedField") : NULL;
    int result = type ? Py_IS_TYPE(object, (PyTypeObject *)type) : PyErr_Occurred() ? -1 : 0;
    Py_XDECREF(type);
    Py_XDECREF(loaded);
    Py_XDECREF(name);
    return result;
}

PyObject *ih_json_default(ih_state *state, PyObject *object)
{
    if (ih_is_view(state, object))
        return ih_thaw(state, object);
    int field = is_field(object);
    if (field != 0)
        return field < 0 ? NULL : PyObject_CallMethod(object, "get", NULL);
    return PyErr_Format(PyExc_TypeError, "Object of type %.200s is not JSON serializable",
                        Py_TYPE(object)->tp_name);
}

/* self: (module, the user's default or None). */
static PyObject *call_default(PyObject *self, PyObject *object)
{
    ih_state *state = ih_state_of(PyTuple_GET_ITEM(self, 0));
    PyObject *user = PyTuple_GET_ITEM(self, 1);
    int ours = user == Py_None || ih_is_view(state, object) ? 1 : is_field(object);
    if (ours != 0)
        return ours < 0 ? NULL : ih_json_default(state, object);
    return PyObject_CallOneArg(user, object);
}

static PyMethodDef default_method = {"default", call_default, METH_O, NULL};

/* json.dumps(object, **options) with views thawed where they are met. */
static PyObject *json_dumps(ih_state *state, PyObject *object, PyObject *options)
{
    PyObject *result = NULL, *self = NULL, *args = NULL, *function = NULL;
    PyObject *json = PyImport_ImportModule("json");
    PyObject *dumps = json ? PyObject_GetAttrString(json, "dumps") : NULL;
    PyObject *keywords = dumps ? (options ? PyDict_Copy(options) : PyDict_New()) : NULL;
    if (keywords == NULL)
        goto done;
    PyObject *user =
        PyDict_GetItemString(keywords, "default"); /* borrowed: the dict is ours alone */
    self = PyTuple_Pack(2, state->module, user ? user : Py_None);
    function = self ? PyCFunction_New(&default_method, self) : NULL;
    if (function == NULL || PyDict_SetItemString(keywords, "default", function) < 0)
        goto done;
    args = PyTuple_Pack(1, object);
    if (args != NULL)
        result = PyObject_Call(dumps, args, keywords);
done:
    Py_XDECREF(args);
    Py_XDECREF(function);
    Py_XDECREF(self);
    Py_XDECREF(keywords);
    Py_XDECREF(dumps);
    Py_XDECREF(json);
    return result;
}

/* ---- options ---- */

/* Texts, owned. `indent` is the str of one level. */
typedef struct {
    PyObject *item, *key, *indent;
    ih_json_options options;
    bool native; /* json.c can do it */
} parsed;

static int as_text(PyObject *bytes, const char **text, size_t *size, bool *ascii)
{
    Py_ssize_t length;
    char *data;
    if (bytes == NULL || PyBytes_AsStringAndSize(bytes, &data, &length) < 0)
        return -1;
    *text = data;
    *size = (size_t)length;
    for (Py_ssize_t i = 0; i < length; i++)
        *ascii &= (unsigned char)data[i] < 0x80;
    return 0;
}

static PyObject *encode(PyObject *str)
{
    return PyUnicode_AsEncodedString(str, "utf-8", "surrogatepass");
}

/* As json's encoder: an int is a number of spaces. */
static int parse_indent(parsed *p, PyObject *value)
{
    if (PyUnicode_Check(value)) {
        p->indent = encode(value);
    } else {
        PyObject *space = PyBytes_FromString(" ");
        p->indent = space ? PyNumber_Multiply(space, value) : NULL;
        Py_XDECREF(space);
    }
    return p->indent ? 0 : -1;
}

static int parse_separators(parsed *p, PyObject *value)
{
    PyObject *item, *key, *pair = PySequence_Tuple(value);
    if (pair == NULL)
        return -1;
    int result = -1;
    if (PyTuple_GET_SIZE(pair) == 2 && PyArg_ParseTuple(pair, "UU", &item, &key)) {
        p->item = encode(item);
        p->key = encode(key);
        result = p->item && p->key ? 0 : -1;
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError,
                        "separators must be a pair: between items, and behind a key");
    }
    Py_DECREF(pair);
    return result;
}

static int parse_flag(PyObject *value, bool *flag)
{
    int truth = PyObject_IsTrue(value);
    *flag = truth > 0;
    return truth < 0 ? -1 : 0;
}

static int parse_option(parsed *p, const char *name, PyObject *value)
{
    bool flag;
    if (strcmp(name, "ensure_ascii") == 0)
        return parse_flag(value, &p->options.ensure_ascii);
    if (strcmp(name, "allow_nan") == 0)
        return parse_flag(value, &p->options.allow_nan);
    if (strcmp(name, "sort_keys") == 0)
        return parse_flag(value, &p->options.sort_keys);
    if (strcmp(name, "indent") == 0)
        return value == Py_None ? 0 : parse_indent(p, value);
    if (strcmp(name, "separators") == 0)
        return value == Py_None ? 0 : parse_separators(p, value);
    if (strcmp(name, "default") == 0) {
        p->options.has_default = value != Py_None;
        return 0;
    }
    if (strcmp(name, "check_circular") == 0)
        return 0; /* cycles are always noticed */
    if (strcmp(name, "skipkeys") == 0) {
        if (parse_flag(value, &flag) < 0)
            return -1;
        p->native &= !flag;
        return 0;
    }
    p->native &= strcmp(name, "cls") == 0 && value == Py_None;
    return 0;
}

static int parse(parsed *p, PyObject *options)
{
    Py_ssize_t position = 0;
    PyObject *name, *value;
    while (options != NULL &&
           PyDict_Next(options, &position, &name, &value)) { /* a call's own keyword dict */
        const char *text = PyUnicode_AsUTF8(name);
        if (text == NULL || parse_option(p, text, value) < 0)
            return -1;
    }
    if (p->item == NULL)
        p->item = PyBytes_FromString(p->indent ? "," : ", ");
    if (p->key == NULL)
        p->key = PyBytes_FromString(": ");
    ih_json_options *o = &p->options;
    o->ascii = true;
    if (p->indent != NULL && as_text(p->indent, &o->indent, &o->indent_size, &o->ascii) < 0)
        return -1;
    if (as_text(p->item, &o->item, &o->item_size, &o->ascii) < 0)
        return -1;
    return as_text(p->key, &o->key, &o->key_size, &o->ascii);
}

/* ---- dumps ---- */

/* A part of bytes or of an array is no node: thawed, it is what json refuses. */
static PyObject *dumps_view(ih_state *state, PyObject *object, PyObject *options)
{
    bool part = ((const ih_view *)object)->at == 0;
    parsed p = {.native = true, .options = {.ensure_ascii = true, .allow_nan = true}};
    PyObject *text = NULL;
    if (parse(&p, options) == 0 && p.native && !part)
        text = ih_json_walk(state, (const ih_view *)object, &p.options);
    Py_XDECREF(p.item);
    Py_XDECREF(p.key);
    Py_XDECREF(p.indent);
    if (text != NULL || PyErr_Occurred())
        return text;
    PyObject *thawed = ih_thaw(state, object);
    if (thawed == NULL)
        return NULL;
    text = json_dumps(state, thawed, options);
    Py_DECREF(thawed);
    return text;
}

PyObject *ih_dumps(ih_state *state, PyObject *object, PyObject *options)
{
    if (ih_is_view(state, object))
        return dumps_view(state, object, options);
    return json_dumps(state, object, options);
}
