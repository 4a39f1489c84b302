/* Private to the freezer's files: one encoding in progress. The essay is at the top of freezer.c.
 */
#ifndef ICEHOUSE_MODULE_FREEZER_STATE_H
#define ICEHOUSE_MODULE_FREEZER_STATE_H

#include "image/write.h"
#include "module/freeze_rule.h"
#include "module/freezer.h"

/* An object that may be reached again, and the word that stands for it. */
#define FREEZE_OPEN_MAX 400u
#define FREEZE_AS_MAX 64u

typedef struct {
    PyObject *object; /* borrowed: whatever holds it is in the graph or in `kept` */
    uint32_t word;
    uint32_t generation; /* of the freeze that wrote it; others are empty slots */
} memo_entry;

/* A dict's keys seen before: by the addresses of the key objects, or by their words. */
typedef struct {
    uint64_t hash;
    uint32_t generation;
    uint32_t shape; /* word */
    uint32_t n;
    uint32_t keys; /* by address: index of the first of n pointers in `shape_keys` */
} known_shape;

/* Bytes to be copied behind the graph when its size is known; the graph has a u64 for their offset
 * at `field`. */
typedef struct {
    uint64_t field;
    Py_buffer buffer; /* held until the copy is made */
} blob;

/* A container whose node has been laid out and whose items are still to be encoded. */
typedef struct {
    PyObject *object;
    uint64_t at; /* of its node */
} deferred;

#define CLASS_KEYS 24u

/* A class whose instances this freeze met. */
typedef struct {
    PyTypeObject *type;      /* owned */
    PyObject *capsule;       /* owned: of the rule */
    const freeze_rule *rule; /* in it */
    bool has_dict;
    bool marked;                       /* the last instance has a status of its own */
    uint32_t class_word, tuple_layout; /* 0: not written yet */
    uint32_t layout, names; /* word of the layout of the last instance, and how many names it has */
    PyObject *keys[CLASS_KEYS]; /* borrowed: these names */
} known_class;

/* A layout that was written. */
typedef struct {
    uint32_t generation, class, shape, form, number, layout;
} known_layout;

/* An object that is frozen as another one, while that is being done. */
typedef struct {
    PyObject *object, *instead;
} substitution;

struct freezer {
    ih_writer writer;
    ih_state *state;
    memo_entry *memo;
    uint32_t memo_mask, memo_count, generation;
    known_shape *by_address, *by_words; /* SHAPES entries each */
    PyObject **shape_keys;
    uint32_t shape_keys_count, aliases_known, shapes_made, shape_hits;
    blob *blobs;
    size_t blob_count, blob_capacity;
    deferred *later;
    size_t later_count, later_capacity;
    PyObject
        *kept; /* list of objects that must live until the end: thawed views, snapshots; or NULL */
    PyObject *derived; /* list of objects, and behind each what its rule made of it; or NULL */
    ih_store *store;   /* whose images may be linked to; NULL: everything is copied */
    PyObject *root;    /* borrowed: what is being frozen */
    Py_ssize_t roots;  /* how many of its items count as what somebody asked for; -1: itself does */
    PyObject *asked;   /* {address: object that was asked about before it was read}; or NULL */
    uint32_t keys;     /* keys around what is being frozen: nothing in them is a link */
    ih_handle *links;  /* the table of links, and numbers into it plus one by hash; or NULL */
    uint16_t *link_slots;
    uint32_t link_count;
    bool cells;                   /* a value of code IH_VALUE_CELL was written */
    PyObject *offender;           /* owned: what could not be frozen */
    struct freeze_copies *copies; /* freeze_copy.c; NULL: no view was copied yet */
    bool lasting;                 /* into a store, whose images are believed; else into bytes */
    const char *reason;
    PyObject *why; /* owned: the text that `reason` points into; or NULL */
    bool careful;  /* code of others may run: see freezer.c */
    bool again;    /* the walk can't go on: it begins again, carefully or after asking about */
    PyTypeObject *unknown; /* owned, or NULL */
    bool uncounted; /* a tuple that comes next is inside a real one that was counted without it */
    uint32_t restarts;
    known_class **classes, *last_class; /* a table by address */
    uint32_t class_mask, class_count;
    known_layout *layouts; /* LAYOUTS slots, or NULL */
    uint32_t layout_count;
    uint32_t as_count, open_count, barrier;
    substitution as[FREEZE_AS_MAX];
    /* Words of nodes that are opened as a whole and are being written. Those from `barrier` on have
     * nothing lazy between them and what is being frozen. */
    uint32_t open[FREEZE_OPEN_MAX];
    bool open_tuple[FREEZE_OPEN_MAX]; /* those that are tuples */
};

#define LAYOUTS 4096u      /* three quarters at most are used */
#define SHAPES 4096u       /* slots of each table of shapes; three quarters at most are used */
#define SHAPE_KEYS_MAX 64u /* dicts of more keys have a table of their own */
#define SHAPE_POOL 16384u  /* key addresses remembered */
#define RECURSION_MAX 64   /* deeper containers wait in `later`: 1.5 KB of stack a level */

/* The interpreter's own freezer, or another while that one is in use; NULL with an exception. */
freezer *freezer_take(ih_state *state);
void freezer_give(ih_state *state, freezer *f);

/* Each encodes one object and gives its word. 0, or -1 with an exception set, f->offender, or
 * f->again. */
int freeze_value(freezer *f, PyObject *object, int depth, uint32_t *word);
/* `always`: found again by later equal strings, however few have been. `hash` (of the text, seed 0)
 * may be NULL. */
int freeze_str(freezer *f, PyObject *str, bool always, uint32_t *word, uint64_t *hash);
int freeze_wide_int(freezer *f, PyObject *number, uint32_t *word);
int freeze_float(freezer *f, const double *parts, ih_kind kind, uint32_t *word);
uint64_t freeze_utf8_size(PyObject *str);
/* Its UTF-8, lone surrogates as three bytes each; returns the next free byte. */
uint8_t *freeze_put_utf8(uint8_t *p, PyObject *str);
int freeze_list(freezer *f, PyObject *list, int depth, uint32_t *word);
int freeze_tuple(freezer *f, PyObject *tuple, int depth, uint32_t *word);
int freeze_dict(freezer *f, PyObject *dict, int depth, uint32_t *word);
int freeze_set(freezer *f, PyObject *set, int depth, uint32_t *word);
int freeze_bytes(freezer *f, PyObject *bytes, uint32_t *word);
int freeze_bytearray(freezer *f, PyObject *bytearray, uint32_t *word);
int freeze_buffer(freezer *f, PyObject *exporter, int origin, uint32_t *word);
int freeze_array_view(freezer *f, PyObject *view, uint32_t *word);
/* Whether its buffer can be frozen, without doing it: 0, or -1 as if it had been tried. */
int freeze_check_buffer(freezer *f, PyObject *exporter, int origin);

/* freeze_object.c: instances of classes that are no builtins. */
int freeze_foreign(freezer *f, PyObject *object, int depth, uint32_t *word);
int fill_object(freezer *f, PyObject *object, uint64_t at, int depth);

/* Parts of it. Lays out an object of n values; fills it from the first items of a tuple. */
int freeze_begin_object(freezer *f, PyObject *object, uint32_t layout, uint64_t n, uint64_t *at,
                        uint32_t *word);
int freeze_fill_from(freezer *f, PyObject *tuple, uint64_t at, int depth);
/* Appends what a dict holds to two lists, at one moment. */
int freeze_copy_dict(PyObject *dict, PyObject *names, PyObject *values);
/* A tuple of two lists, borrowed: it is kept. */
PyObject *freeze_join(freezer *f, PyObject *values, PyObject *names);
/* Lays out and fills an object whose n values, and names behind them, are in such a tuple. */
int freeze_copied(freezer *f, const known_class *class, PyObject *object, ih_form_code form,
                  uint32_t number, PyObject *tuple, uint64_t n, int depth, uint32_t *word);

/* Whether an object with these names, all exact str, has a status of its own (`__freezable__`), and
 * asking what it says: 0, or -1 as above. */
bool freeze_is_marked(PyObject *const *names, uint64_t n);
int freeze_check_status(freezer *f, PyObject *object, PyObject *const *names, uint64_t n);

/* freeze_asked.c: by what a getter returns. */
int freeze_container(freezer *f, const known_class *class, PyObject *object, int depth,
                     uint32_t *word);
int freeze_state(freezer *f, const known_class *class, PyObject *object, int depth, uint32_t *word);
int freeze_made(freezer *f, const known_class *class, PyObject *object, int depth, uint32_t *word);
int freeze_as_value(freezer *f, const known_class *class, PyObject *object, int depth,
                    uint32_t *word);
int freeze_instead(freezer *f, const known_class *class, PyObject *object, int depth,
                   uint32_t *word);

/* freeze_class.c. The class as this freeze knows it; NULL as above. */
known_class *freeze_class(freezer *f, PyTypeObject *type);
/* The same if it was met; else NULL, without an exception. */
const known_class *freeze_met_class(const freezer *f, const PyTypeObject *type);
void freeze_forget_classes(freezer *f);
/* The word of a VALUE that names it, and of a layout of its instances. */
int freeze_class_word(freezer *f, PyTypeObject *type, uint32_t *word);
/* What a hook, class_payload or class_value, says of a frozen class: see freeze_rule.h. In a
 * careful walk; new reference, NULL as above. */
PyObject *freeze_class_payload(freezer *f, PyTypeObject *type, const char *hook, bool *defined);
/* The same of one that was not written yet, by a payload of three parts (freeze_rule.h). */
int freeze_defined_class(freezer *f, PyTypeObject *type, PyObject *payload, uint32_t *word);
/* Writes a VALUE of code CLASS over a tuple of n words, 2 or 3: the first two are texts, the first
 * items of `names`, the third one's place is *third. */
int freeze_class_names(freezer *f, PyObject *names, uint64_t n, uint64_t *third, uint32_t *word);
int freeze_layout(freezer *f, PyTypeObject *type, ih_form_code form, uint32_t number,
                  PyObject *const *names, uint64_t n, uint32_t *layout);
/* The word of a shape of these names, all exact str. */
int freeze_shape(freezer *f, PyObject *const *names, uint64_t n, uint32_t *shape);

/* The content of a builtin container, or of the builtin part of an object: nobody finds this node
 * again by the object. */
int freeze_list_part(freezer *f, PyObject *list, int depth, uint32_t *word);
int freeze_tuple_part(freezer *f, PyObject *tuple, int depth, uint32_t *word);
int freeze_dict_part(freezer *f, PyObject *dict, int depth, uint32_t *word);
int freeze_set_part(freezer *f, PyObject *set, int depth, uint32_t *word);
/* Whether it may be real: its tree of tuples is small (docs/image-format.md). 1, 0, or -1. */
int freeze_opens_as_tuple(freezer *f, PyObject *tuple);

/* freeze_copy.c. A view by its nodes, from its image into this one. 1: done; 0: it is a part of a
 * node that has no words, which is to be copied as an object; -1. */
int freeze_copy_view(freezer *f, PyObject *view, uint32_t *word);
void freeze_forget_copies(freezer *f);
/* freeze_buffer.c: takes the buffer over, which goes behind the graph. 0 or -1. */
int freeze_add_blob(freezer *f, uint64_t field, Py_buffer *buffer);

/* freeze_link.c. A view of the store that is written into, where a link pays; and an ndarray that
 * is one. 1: linked; 0: it is to be copied; -1. */
int freeze_link(freezer *f, PyObject *view, uint32_t *word);
int freeze_link_ndarray(freezer *f, PyObject *array, uint32_t *word);
/* The bytes that a node takes in its image at least, without the nodes that its words lead to. */
uint64_t freeze_node_bytes(const ih_node *node);
/* Appends the table of links to the graph. 0 or -1. */
int freeze_end_links(freezer *f);
void freeze_forget_links(freezer *f);
/* Tells the store what the sealed image links to. */
ih_result freeze_publish_links(const freezer *f, ih_handle handle, ih_error *error);

/* Fill the words of a container whose node was laid out at `at`. */
int fill_sequence(freezer *f, PyObject *sequence, uint64_t at, int depth);
int fill_dict(freezer *f, PyObject *dict, uint64_t at, int depth);
int fill_set(freezer *f, PyObject *set, uint64_t at, int depth);

/* Words of the object if it was met before (and marks the node as shared); 0: not met. Objects that
 * only one reference leads to can't be met again, so they are neither looked up nor remembered. */
uint32_t memo_find(freezer *f, PyObject *object);
int memo_add(freezer *f, PyObject *object, uint32_t word);
static inline bool met_once(const freezer *f, PyObject *object)
{
#ifdef Py_GIL_DISABLED
    (void)f, (void)object;
    return false; /* the count of references is spread over threads */
#else
    return Py_REFCNT(object) == 1 && !f->careful;
#endif
}

/* Around writing what is inside a node that is opened as a whole. */
int freeze_open(freezer *f, PyObject *object, uint32_t word, bool tuple);
/* Is what comes next directly in a real tuple? */
static inline bool freeze_in_tuple(const freezer *f)
{
    return f->open_count > f->barrier && f->open_tuple[f->open_count - 1];
}
static inline void freeze_close(freezer *f) { f->open_count--; }
/* Around writing what is inside one that is opened lazily. */
static inline uint32_t freeze_enter_lazy(freezer *f)
{
    uint32_t outside = f->barrier;
    f->barrier = f->open_count;
    return outside;
}
static inline void freeze_leave_lazy(freezer *f, uint32_t outside) { f->barrier = outside; }

int freeze_later(freezer *f, PyObject *object, uint64_t at);
int freeze_failed(int write_result); /* MemoryError or OverflowError of an ih_write_result; -1 */
int freeze_refuse(freezer *f, PyObject *object, const char *reason); /* -1 */
int freeze_refuse_why(freezer *f, PyObject *object, PyObject *why);  /* takes the text over */
/* The walk has to begin again; see freezer.c. -1. */
int freeze_again(freezer *f, PyTypeObject *unknown);
/* Calls Python with an object, in a careful walk. NULL as above. */
PyObject *freeze_call(freezer *f, PyObject *function, PyObject *object);
/* Calls it with an object that is to be frozen, and whether it is a root. 0, or -1 as above. */
int freeze_ask(freezer *f, PyObject *function, PyObject *object);
/* Keeps a new reference alive until the end. -1 with an exception if it is NULL or can't be kept.
 */
int freeze_keep(freezer *f, PyObject *owned);
/* Keeps an object and what its rule made of it. */
int freeze_derived(freezer *f, PyObject *object, PyObject *made);

/* freeze_publish.c. Seals the image, and tells the store what it links to before anybody knows its
 * handle. */
ih_result freeze_publish(freezer *f, ih_store *store, unsigned flags, uint32_t root,
                         ih_handle *handle, ih_lease **lease, ih_error *error);
/* The image as a bytes object; NULL with an exception. */
PyObject *freeze_body_to_bytes(freezer *f, uint32_t root);
/* A view of a whole image, of bytes that can be trusted and stand for themselves, is copied as it
 * is: 0, or -1 with an exception. */
bool freeze_is_whole_image(const ih_state *state, PyObject *object);
int freeze_copy_image(ih_state *state, ih_store *store, unsigned flags,
                      const ih_image_object *image, ih_handle *handle, ih_lease **lease);

/* freeze_path.c: raises NotFreezableError with the path from root to f->offender; an exception that
 * is set already gets a note with the path. */
void freeze_raise(freezer *f, PyObject *root);

#endif
