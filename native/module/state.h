/* What one interpreter's copy of the module knows: types, exceptions, caches. Process-wide things
 * are in process.h.
 *
 * Everything here is touched with the GIL of its interpreter only. Without a GIL (Py_GIL_DISABLED)
 * the caches are compiled out. */
#ifndef ICEHOUSE_MODULE_STATE_H
#define ICEHOUSE_MODULE_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "arena/arena.h"
#include "image/read.h"

#ifdef Py_GIL_DISABLED
#define IH_CACHES 0
#else
#define IH_CACHES 1
#endif

typedef struct ih_state ih_state;
typedef struct freezer freezer;
typedef struct ih_layout ih_layout; /* object.h */

/* An image as one interpreter has it open. Every view holds a reference; it holds the lease. Not
 * tracked by the cycle collector: it refers to no Python object but `owner`, which never refers
 * back, and `trust`, which does so only where a class that a reader allows keeps a view. */
typedef struct ih_image_object {
    PyObject_HEAD
    ih_image image;    /* base, graph, size: checked extents */
    ih_lease *lease;   /* or NULL, then `owner` keeps the bytes */
    PyObject *owner;   /* a bytes-like object's memoryview, or NULL */
    ih_state *state;   /* of the interpreter that opened it */
    uint64_t identity; /* names the content in caches: the nonce of an image of ours, else a number
                          never used twice */
    uint32_t root;     /* the root word */
    bool fixed;        /* without a lease: nobody can change these bytes (H4) */
    bool native;       /* bytes and tuples come back real, whatever their size */
    bool given;        /* `trust` is what a reader said */
    bool wary;         /* what its links lead to is trusted with no more than it is */
    struct ih_image_object **linked; /* owned: where links were followed to (link.c); or NULL */
    PyObject *trust;  /* owned: store/freezing/trust.py; NULL until something asks (hooks.h) */
    uint64_t serial;  /* of this object alone: what a name leads to may change for the next */
    uint64_t vouched; /* bits of layouts whose classes were looked at again since it was opened */
} ih_image_object;

/* The start of every view. `at` is the offset of its node in the image; 0 for a slice of
 * FrozenBytes and for a part of a FrozenArray, which are no nodes. */
#define IH_VIEW_HEAD                                                                       \
    PyObject_HEAD                                                                          \
    ih_image_object *image;                                                                \
    uint64_t at;                                                                           \
    uint64_t n; /* items */                                                                \
    const uint8_t                                                                          \
        *data; /* see ih_node; extents were checked when the view was made and are never \
                            read again */ \
    uint8_t kind, code, width, ascii;

typedef struct {
    IH_VIEW_HEAD
} ih_view;

/* FrozenList, FrozenTuple. Item i is element start + i * step of the node (slices share the node).
 */
typedef struct {
    IH_VIEW_HEAD
    bool whole; /* not a slice */
    int64_t start, step;
    uint64_t node_n; /* elements of the node */
    uint64_t text, text_size;
} ih_sequence;

/* FrozenDict, FrozenSet (read-only views of set and frozenset). Key i is the word at keys + i *
 * key_stride; value i the word at values + i * value_stride. */
typedef struct {
    IH_VIEW_HEAD
    const uint8_t *keys, *values;
    uint32_t key_stride, value_stride;
    const uint8_t *table; /* NULL: no table, compare all (n <= IH_PAIRS_MAX) */
    uint32_t capacity, seed;
    uint32_t where;  /* the word of the shape (DICT_SHAPED) or of the node itself: the cache's name
                        for the key set */
    PyObject *index; /* private index {key: position} for foreign keys (H23), made at first need; or
                        NULL */
} ih_table_view;

typedef struct {
    IH_VIEW_HEAD /* data, n: the bytes */
} ih_bytes_view;

typedef struct {
    IH_VIEW_HEAD /* data: first item; n: items of the first dimension (0 for 0-d) */
    uint8_t order;
    int ndim;
    Py_ssize_t item_size, bytes; /* bytes: of all items */
    Py_ssize_t *shape;           /* private copies: shape[ndim], strides[ndim] */
    Py_ssize_t *strides;
    char *format; /* NUL-terminated private copy */
} ih_array_view;

/* ---- caches (main memory is read through them only where the image's content is known by
 * `identity`)  */

typedef struct {
    uint64_t identity;
    PyObject *value; /* owned; the decoded str */
    uint32_t word;
} ih_str_cache_entry;

typedef struct {
    uint64_t identity;
    PyObject *key; /* owned: an interned str that was looked up */
    uint32_t where;
    uint32_t position;
} ih_key_cache_entry;

typedef struct {
    uint64_t identity;
    PyObject *keys; /* owned: tuple of the decoded keys of a shape */
    uint32_t shape;
} ih_shape_cache_entry;

/* Dead objects of one layout, kept for the next of their kind; without a reference of their type.
 * They save two calls of the allocator for each view, a third of what making one costs. */
#define IH_FREE_OBJECTS 64u
typedef struct {
    PyObject *objects[IH_FREE_OBJECTS];
    unsigned count;
} ih_free_list;

/* Where the parts of a shape lie, as read from its node: offsets from the image's start. */
typedef struct {
    uint64_t identity;
    uint64_t keys, table, end; /* end: of the part that ends last */
    uint32_t shape, n, capacity, seed;
    uint8_t width;
} ih_shape_layout;

#define IH_STR_CACHE 1024u
#define IH_KEY_CACHE 1024u
#define IH_SHAPE_CACHE 256u
#define IH_LAYOUT_CACHE 256u /* of objects */
#define IH_OPERATOR_NAMES 64 /* methods of classes that views forward to: object_slots.c */
#define IH_OBJECT_NAMES 16   /* other names of methods: object_parts.h */

typedef enum {
    IH_ERR_BASE,          /* IcehouseError(Exception) */
    IH_ERR_NOT_FREEZABLE, /* NotFreezableError(IcehouseError, TypeError) */
    IH_ERR_FROZEN,        /* FrozenError(IcehouseError, TypeError, AttributeError) */
    IH_ERR_GONE,          /* HandleGone(IcehouseError, LookupError) */
    IH_ERR_UNKNOWN_NAME,  /* UnknownName(IcehouseError, KeyError) */
    IH_ERR_FULL,          /* StoreFull(IcehouseError, MemoryError) */
    IH_ERR_CORRUPT,       /* CorruptImage(IcehouseError, ValueError) */
    IH_ERR_UNAVAILABLE,   /* StoreUnavailable(IcehouseError, ConnectionError) */
    IH_ERR_PROTOCOL,      /* ProtocolError(IcehouseError) */
    IH_ERR_CLOSED,        /* StoreClosed(IcehouseError, ValueError) */
    IH_ERR_CONFLICT, /* Conflict(IcehouseError): a compare-and-swap lost, or a delete while names
                        are bound */
    IH_ERR_NOT_PERMITTED, /* NotPermitted(IcehouseError, PermissionError) */
    IH_ERRORS,
} ih_error_class;

/* Functions of icehouse.store.freezing.hooks: see hooks.h. */
typedef enum {
    IH_HOOK_RULE_OF,
    IH_HOOK_MAKE_VALUE,
    IH_HOOK_THAW_VALUE,
    IH_HOOK_MAKE_OBJECT,
    IH_HOOK_MAKE_RECORD,
    IH_HOOK_RESOLVE_CLASS,
    IH_HOOK_FROZEN_BY_NATURE,
    IH_HOOK_THAW_CONTAINER,
    IH_HOOK_VIEW_INFO,
    IH_HOOK_REDUCE_FOREIGN,
    IH_HOOK_FREEZE_DECLARATIONS,
    IH_HOOK_CHECK_STATUS,
    IH_HOOKS,
} ih_hook_id;

/* Callables of value_quick.c. */
enum {
    IH_QUICK_DATE,
    IH_QUICK_DATETIME,
    IH_QUICK_TIMEDELTA,
    IH_QUICK_DECIMAL,
    IH_QUICK_UUID,
    IH_QUICK_UNSAFE,
    IH_QUICK
};

/* A member of an enumeration, or a class, by where it lies in the image of one image object. */
typedef struct {
    uint64_t serial, at;
    PyObject *member; /* owned */
} ih_member_cache_entry;
#define IH_MEMBER_CACHE 128u

/* The Trusts in images of one store. */
typedef struct {
    const void *store;
    uint64_t version;    /* of the list of stores */
    PyObject *trusts[2]; /* owned; of those of other users, and of our own; NULL: not made yet */
} ih_store_trusts;
#define IH_STORE_TRUSTS 8u

/* How classes freeze: see freeze_rule.h. */
typedef struct {
    PyObject *known;      /* {address of a class: capsule of its rule} */
    PyObject *generation; /* the text of that name */
    Py_ssize_t sweep_at;
} ih_rules;

struct ih_state {
    PyTypeObject *image_type;
    PyTypeObject *dict_type, *list_type, *tuple_type, *set_type, *bytes_type, *array_type;
    PyTypeObject *dict_keys_type, *dict_values_type, *dict_items_type;
    PyTypeObject *dict_iterator_type, *sequence_iterator_type, *set_iterator_type;
    PyTypeObject *handle_type, *store_type, *stat_type, *usage_type, *remote_type, *build_type;
    PyTypeObject *object_type, *record_type, *layout_type, *forward_type;
    PyTypeObject *frozen_function_type, *freezable_function_type; /* function.h */
    PyObject *errors[IH_ERRORS];
    PyObject *hook_functions[IH_HOOKS]; /* see hooks.h; NULL: not asked for yet */
    PyObject *quick[IH_QUICK];          /* see value_quick.c */
    PyObject *trusts[2];                /* in images of other users; in those of our own */
    PyObject *store_trusts;             /* {token of a store: {own: Trust}}; or NULL */
    PyObject *numpy_asarray; /* numpy.asarray, None where numpy doesn't load; NULL: not tried yet */
    PyObject *hooks;         /* the module store.freezing.hooks; NULL: not imported yet */
    PyObject *module;        /* borrowed */
    PyObject *view_types;    /* dict: address of a class to a weak reference of its view type */
    PyObject *cached_property;        /* functools.cached_property; NULL: not asked for yet */
    Py_ssize_t view_types_max;        /* entries at which the dead ones are looked for */
    PyObject *names[IH_OBJECT_NAMES]; /* interned */
    PyObject *operator_names[IH_OPERATOR_NAMES][2];
    PyObject *travel_hook;      /* see travel.c; NULL: not set */
    PyObject *scope;            /* ContextVar of the innermost Scope, see store/scope.py */
    Py_ssize_t scopes;          /* how many are open; put() asks for `scope` only if any is */
    int binary_op, inplace_add; /* inplace.c: 0: not asked yet; -1: unknown */
    freezer *scratch; /* the encoder's tables and buffer, kept between calls; NULL while in use */
    ih_rules rules;
    uint64_t next_identity;
    int freezing; /* graphs being frozen: no other thread may run meanwhile */
#if IH_CACHES
    ih_free_list free_images, free_tables, free_sequences, free_objects;
    ih_str_cache_entry strs[IH_STR_CACHE];
    ih_key_cache_entry keys[IH_KEY_CACHE];
    ih_shape_cache_entry shapes[IH_SHAPE_CACHE];
    ih_shape_layout layouts[IH_SHAPE_CACHE];
    ih_member_cache_entry members[IH_MEMBER_CACHE];
    ih_store_trusts store_cache[IH_STORE_TRUSTS];
    uint64_t next_serial;
    ih_layout *object_layouts[IH_LAYOUT_CACHE]; /* owned */
#endif
};

static inline ih_state *ih_state_of(PyObject *module)
{
    return (ih_state *)PyModule_GetState(module);
}
static inline ih_state *ih_type_state(PyTypeObject *type)
{
    return (ih_state *)PyType_GetModuleState(type);
}

/* A heap type: made from `spec`, added to the module under the last part of its name if `public`.
 * NULL on failure. */
PyTypeObject *ih_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base,
                          bool public_name);

/* Each file that defines types has one of these; module.c calls them in order. 0 or -1 with an
 * exception. */
int ih_init_errors(PyObject *module, ih_state *state);
int ih_init_image_object(PyObject *module, ih_state *state);
int ih_init_handle(PyObject *module, ih_state *state);
int ih_init_dict(PyObject *module, ih_state *state);       /* FrozenDict, its iterator */
int ih_init_dict_views(PyObject *module, ih_state *state); /* keys, values, items */
int ih_init_sequence(PyObject *module, ih_state *state);   /* FrozenList, FrozenTuple, iterator */
int ih_init_set(PyObject *module, ih_state *state);
int ih_init_bytes(PyObject *module, ih_state *state);
int ih_init_array(PyObject *module, ih_state *state);
int ih_init_store(PyObject *module, ih_state *state);

/* ---- errors.c ------------------------------------------------------------------------------- */

/* CorruptImage with offset and reason. Always returns NULL. */
PyObject *ih_raise_fault(ih_state *state, const ih_fault *fault);
/* The same with a text as the reason, and what caused it (or NULL). Always returns NULL. */
PyObject *ih_raise_corrupt(ih_state *state, uint64_t offset, PyObject *reason, PyObject *cause);
/* The exception of an ih_result, with its figures and what to do. Always returns NULL. */
PyObject *ih_raise_arena(ih_state *state, const ih_error *error);
/* FrozenError: "FrozenDict is immutable: item assignment ...; thaw(view) makes a mutable copy".
 * Returns NULL / -1. */
PyObject *ih_raise_frozen(ih_state *state, PyTypeObject *type, const char *operation);

/* ---- image_object.c ------------------------------------------------------------------------- */

/* Takes over the lease (released on failure too). The root value of it: a view, or a plain value.
 * New reference. */
PyObject *ih_open_lease(ih_state *state, ih_lease *lease);
/* The same over a bytes-like object (tests, files): `buffer` is kept. identity is fresh. `fixed`:
 * the caller knows that nobody changes its bytes; of a bytes object that is known anyway. `trust`:
 * what may be made of classes in it, a Trust of store/freezing/trust.py; NULL: what other users'
 * images get. */
PyObject *ih_open_buffer(ih_state *state, PyObject *buffer, bool fixed, PyObject *trust);

#endif
