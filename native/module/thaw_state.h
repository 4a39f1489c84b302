/* The state of one thaw: see thaw.c. Tables by word, one set for each image, are in thaw_memo.c. */
#ifndef ICEHOUSE_MODULE_THAW_STATE_H
#define ICEHOUSE_MODULE_THAW_STATE_H

#include "module/merge.h"
#include "module/thaw.h"

#define UNHASHABLE UINT32_MAX
#define KEY_STEPS_FREE (1u << 24)
#define FRAMES_INLINE 24u
#define STRS_INLINE 32u
#define STRS_MAX 4096u

#define IH_THAW_PENDING ((PyObject *)(uintptr_t)1) /* a frame was pushed; the value follows */

typedef enum {
    F_LIST,
    F_TUPLE,
    F_SHAPED,
    F_PAIRS,
    F_SET,
    F_FROZENSET,
    F_OBJECT, /* an instance: thaw_instance.c */
    F_WHOLE   /* the container is a list of values, of which something is made at the end */
} frame_kind;

typedef struct {
    PyObject *container;
    PyObject *key; /* F_PAIRS: a key that waits for its value; F_OBJECT of a record: its dict */
    PyObject *const *keys; /* F_SHAPED */
    struct thaw_image *in; /* whose words these are */
    uint64_t i, n;         /* words done and to do */
    int64_t at, stride;    /* offset of the next word, and to the one behind it */
    uint32_t word;         /* of the node where it is in the memo, else 0 */
    uint32_t
        mutable_at; /* number of the nearest frame, from here downward, that is mutable; plus one */
    uint32_t steps, height;
    uint32_t weight;        /* what it holds, shared parts as often as they are met; saturates */
    ih_layout *layout;      /* F_OBJECT, F_WHOLE of an OBJECT: owned */
    uint64_t node_at, code; /* the same: the node; F_WHOLE of a VALUE: its code */
    uint8_t kind;
    bool shown; /* what is not filled yet holds None: code of others may see the container */
} frame;

typedef struct {
    uint32_t word;          /* 0: empty */
    uint32_t frame;         /* number of its frame plus one while it is being filled */
    PyObject *object;       /* owned; NULL: a frozenset being filled */
    uint32_t steps, height; /* of hashing it; steps may be UNHASHABLE */
    uint32_t weight;
} memo_entry;

typedef struct {
    uint32_t word; /* 0: empty */
    uint32_t n;
    PyObject **keys;
} shape_entry;

typedef struct {
    uint32_t word;
    PyObject *str;
} str_entry;

/* What is known of one image: the one that is thawed, or one behind a link. */
typedef struct thaw_image {
    ih_image_object *image;
    uint64_t left; /* bytes of containers still to be met */
    bool linked;   /* links may lead anywhere into it, so every node is taken for shared */
    memo_entry *memo;
    uint32_t memo_mask, memo_used;
    shape_entry *shapes;
    uint32_t shapes_mask, shapes_used;
    str_entry *strs; /* direct-mapped */
    uint32_t strs_mask;
    str_entry inline_strs[STRS_INLINE];
} thaw_image;

typedef struct {
    thaw_image *here; /* of the frame on top, or behind the link that is being followed */
    frame *frames;
    uint32_t depth, room;
    uint32_t steps, height; /* of the value made last */
    uint32_t weight;        /* the same */
    uint32_t made,
        values;      /* frames of F_WHOLE on the stack: of objects; of what must be complete */
    frame *deferred; /* mutable containers inside the former, to be filled at the end */
    uint32_t deferred_count, deferred_room;
    uint64_t steps_left; /* of hashing keys */
    uint32_t keys_hashed;
    bool quietly; /* see thaw.h */
    ih_merge met; /* images behind links, in the order of `others` */
    thaw_image **others;
    uint32_t others_count, others_room;
    thaw_image first;
    frame inline_frames[FRAMES_INLINE];
} thawer;

/* CorruptImage; NULL. */
static inline PyObject *ih_thaw_fault(const thawer *t, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    return ih_raise_fault(t->here->image->state, &fault);
}

/* Takes bytes of a node from the budget. */
static inline int ih_thaw_spend(thawer *t, uint64_t at, uint64_t bytes)
{
    if (bytes > t->here->left) {
        ih_thaw_fault(t, at, "nodes shared without saying so");
        return -1;
    }
    t->here->left -= bytes;
    return 0;
}

/* Goes to another image, which lives as long as the first. 0 or -1. */
int ih_thaw_enter(thawer *t, ih_image_object *image);
int ih_thaw_start(thawer *t, ih_image_object *image);
void ih_thaw_stop(thawer *t);

static inline void ih_thaw_drop(frame *f)
{
    Py_DECREF(f->container);
    Py_XDECREF(f->key);
    Py_XDECREF((PyObject *)f->layout);
}

/* ---- thaw_whole.c: frames of F_WHOLE and what lies in them ---- */

/* A frame of an F_WHOLE was pushed, or taken off. */
void ih_thaw_count_whole(thawer *t, const frame *f, bool pushed);
/* Code of others is about to run: no container that is being filled has empty slots. */
void ih_thaw_show(thawer *t);
/* May the object of a full frame be made? 0, or -1 with CorruptImage: of others' images no more is
 * made than a process can compare, hash or print. */
int ih_thaw_check_weight(thawer *t, const frame *f);
/* Moves the frame on top, of a mutable container, to those that are filled at the end, if it lies
 * in an object that its content may lead back to. A reference to the container; NULL without an
 * exception where it stays; NULL with MemoryError. */
PyObject *ih_thaw_defer(thawer *t);
/* The last of those becomes the only frame on the stack; false: there is none. */
bool ih_thaw_resume(thawer *t);

/* Takes over `container`; n words follow from node->data on. NULL with an exception. */
frame *ih_thaw_push(thawer *t, const ih_node *node, uint32_t word, PyObject *container,
                    frame_kind kind, uint64_t n);

/* The entry of `word` (of the image `here`), or the empty one where it belongs. Only while there is
 * a memo. */
memo_entry *ih_memo_find(thawer *t, uint32_t word);
/* References the entry's object. */
int ih_memo_add(thawer *t, uint32_t word, memo_entry entry);

PyObject *ih_thaw_short_str(thawer *t, uint32_t word, uint64_t data, uint64_t n);
/* The keys of a shape of `n`, borrowed until the end. `at` is the dict that names it. */
PyObject *const *ih_thaw_shape(thawer *t, uint64_t at, uint32_t word, uint64_t n);

#endif
