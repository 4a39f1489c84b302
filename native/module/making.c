/* What one access makes, counted together; see value.h.
 *
 * Nodes without the flag "shared" are met once in an honest image, and a shared one is made once:
 * so what is made is never larger than the image, give or take what Python code reads twice. In
 * images of others a shared object counts as often as it is met: what they give back has a size
 * that can be compared, hashed and printed. */
#include "module/value.h"

#include "module/view.h"

#define FREE_BYTES ((uint64_t)1 << 20)
#define READ_TWICE 4u       /* how often Python code may read a payload again */
#define SAMPLE_BYTES 16384u /* what repr makes for one item */
#define DEPTH_MAX 1000u
#define ENTRIES_INLINE 8u

typedef struct {
    ih_image_object *image; /* owned; NULL: empty */
    PyObject *object;       /* owned; NULL: not made (yet) */
    uint64_t weight;        /* what making it took from the budget */
    uint32_t word;          /* 0: says that the image was met */
} entry;

struct ih_making {
    const ih_state *state; /* of the interpreter whose objects and memory these are */
    ih_making *outside;    /* of another one, which this thread came from; or NULL */
    uint32_t users, depth, used, mask;
    uint64_t left;
    bool sample;        /* see ih_sample_begin */
    bool spent;         /* the budget ended */
    const ih_step *top; /* what is being made, the innermost first */
    entry *entries;
    entry inlined[ENTRIES_INLINE];
};

static _Thread_local ih_making *current;
static _Thread_local ih_making *unsampled; /* what is `current` when a sample was taken */
static _Thread_local unsigned sampling;

int ih_image_is_own(ih_image_object *image)
{
    if (!image->given)
        return image->lease != NULL && image->lease->trusted;
    PyObject *own = PyObject_GetAttrString(image->trust, "own");
    int result = own != NULL ? PyObject_IsTrue(own) : -1;
    Py_XDECREF(own);
    return result;
}

static ih_making *new_making(const ih_state *state)
{
    ih_making *m = PyMem_Calloc(1, sizeof *m);
    if (m == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    m->state = state;
    m->outside = current;
    m->sample = sampling > 0;
    m->left = m->sample ? SAMPLE_BYTES : FREE_BYTES;
    m->entries = m->inlined;
    m->mask = ENTRIES_INLINE - 1;
    current = m;
    return m;
}

void ih_making_leave(ih_making *m)
{
    if (m == NULL || --m->users > 0)
        return;
    if (current == m)
        current = m->outside;
    for (uint32_t i = 0; m->used > 0 && i <= m->mask; i++) {
        Py_XDECREF(m->entries[i].object);
        Py_XDECREF((PyObject *)m->entries[i].image);
    }
    if (m->entries != m->inlined)
        PyMem_Free(m->entries);
    PyMem_Free(m);
}

/* ---- the memo ------------------------------------------------------------------------------- */

static entry *find(entry *entries, uint32_t mask, const ih_image_object *image, uint32_t word)
{
    uint64_t mix = (uint64_t)(uintptr_t)image / 16 + word;
    uint32_t i = (uint32_t)(mix * 0x9e3779b97f4a7c15u >> 32) & mask;
    while (entries[i].image != NULL && (entries[i].image != image || entries[i].word != word))
        i = (i + 1) & mask;
    return &entries[i];
}

/* The entry, which is new where its image is NULL, with room for it. NULL with MemoryError. */
static entry *find_or_grow(ih_making *m, const ih_image_object *image, uint32_t word)
{
    entry *found = find(m->entries, m->mask, image, word);
    if (found->image != NULL || m->used * 2 < m->mask)
        return found;
    uint32_t size = (m->mask + 1) * 4;
    entry *grown = PyMem_Calloc(size, sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (uint32_t i = 0; i <= m->mask; i++)
        if (m->entries[i].image != NULL)
            *find(grown, size - 1, m->entries[i].image, m->entries[i].word) = m->entries[i];
    if (m->entries != m->inlined)
        PyMem_Free(m->entries);
    m->entries = grown;
    m->mask = size - 1;
    return find(grown, size - 1, image, word);
}

static void add(ih_making *m, entry *empty, ih_image_object *image, uint32_t word)
{
    *empty = (entry){.image = (ih_image_object *)Py_NewRef((PyObject *)image), .word = word};
    m->used++;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static int refuse(ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(image->state, &fault);
    return -1;
}

static int spend(ih_making *m, ih_image_object *image, uint64_t at, uint64_t bytes)
{
    if (bytes <= m->left) {
        m->left -= bytes;
        return 0;
    }
    m->spent = true;
    return refuse(image, at, "objects made of more than the image has");
}

static ih_making *enter(ih_budget *left, ih_image_object *image)
{
    ih_making *m = left->making;
    if (m == NULL) {
        /* What makes a value may have gone on in another interpreter. */
        bool known = current != NULL && current->state == image->state;
        m = known ? current : new_making(image->state);
        if (m == NULL)
            return NULL;
        m->users++;
        left->making = m;
    }
    if (m->sample || image->image.graph <= FREE_BYTES / READ_TWICE)
        return m;
    entry *met = find_or_grow(m, image, 0);
    if (met != NULL && met->image == NULL) {
        add(m, met, image, 0);
        m->left += READ_TWICE * image->image.graph;
    }
    return met != NULL ? m : NULL;
}

/* Is it being made already? Damage makes rings of nodes that don't say that they are shared. */
static bool is_needed(const ih_step *made, const ih_image_object *image, uint64_t at)
{
    while (made != NULL && (made->at != at || made->image != image))
        made = made->outer;
    return made != NULL;
}

int ih_making_begin(ih_budget *left, ih_image_object *image, uint64_t at, bool shared,
                    uint64_t bytes, ih_step *step)
{
    ih_making *m = enter(left, image);
    step->known = NULL;
    if (m == NULL)
        return -1;
    entry *met = shared ? find_or_grow(m, image, ih_word_at(at)) : NULL;
    if (shared && met == NULL)
        return -1;
    if (is_needed(m->top, image, at))
        return refuse(image, at, "an object that is needed to make itself");
    if (shared && met->image != NULL && met->object != NULL) {
        int own = m->sample ? 0 : ih_image_is_own(image);
        if (own < 0 || (own == 0 && spend(m, image, at, met->weight) < 0))
            return -1;
        step->known = Py_NewRef(met->object);
        return 0;
    }
    step->left = m->left;
    if (spend(m, image, at, bytes) < 0)
        return -1;
    if (m->depth >= DEPTH_MAX) {
        m->spent = true;
        PyErr_SetString(PyExc_RecursionError, "objects inside one another without a list, dict or "
                                              "view between them are nested too deeply");
        return -1;
    }
    if (Py_EnterRecursiveCall(" while opening an object"))
        return -1;
    if (shared && met->image == NULL)
        add(m, met, image, ih_word_at(at));
    step->outer = m->top;
    step->image = image;
    step->at = at;
    m->top = step;
    m->depth++;
    return 0;
}

PyObject *ih_making_end(ih_budget *left, ih_image_object *image, uint64_t at, bool shared,
                        const ih_step *step, PyObject *made)
{
    ih_making *m = left->making;
    Py_LeaveRecursiveCall();
    m->depth--;
    m->top = step->outer;
    if (!shared)
        return made;
    entry *met = find(m->entries, m->mask, image, ih_word_at(at));
    met->object = Py_XNewRef(made);
    met->weight = step->left > m->left ? step->left - m->left : 0;
    return made;
}

bool ih_making_is_sample(const ih_making *m) { return m->sample; }

/* ---- samples -------------------------------------------------------------------------------- */

void ih_sample_begin(void)
{
    if (sampling++ > 0)
        return;
    unsampled = current;
    if (unsampled != NULL)
        unsampled->users++;
    current = NULL;
}

void ih_sample_end(void)
{
    if (--sampling > 0)
        return;
    ih_making *before = unsampled;
    current = before;
    unsampled = NULL;
    ih_making_leave(before); /* which makes `current` what it should be, if it was the last user */
}

bool ih_sampling(void) { return sampling > 0; }

PyObject *ih_making_done(ih_making *m, PyObject *object)
{
    /* Python's own limit is reached first where it is low, as on 3.11. */
    bool too_large = m->sample && m->depth == 0 && object == NULL &&
                     (m->spent || PyErr_ExceptionMatches(PyExc_RecursionError));
    ih_making_leave(m);
    if (!too_large || PyErr_ExceptionMatches(PyExc_MemoryError))
        return object;
    PyErr_Clear();
    return PyUnicode_FromString("<too large to show>");
}
