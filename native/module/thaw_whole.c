/* thaw() of what is made whole, once all its parts are there: the stack's side of it. What is made
 * of the parts is in thaw_instance.c.
 *
 * A list, dict, set or instance inside an object may lead back to the object, as children that know
 * their parent do. So inside objects such containers are handed over empty and filled at the end,
 * when the object is in the memo. What a value is made of must be complete: code of others reads
 * it. What leads back to a value from there can't be thawed. */
#include "module/thaw_instance.h"
#include "module/value.h"

#define WEIGHT_MAX (1u << 17)

static bool is_object(const frame *f)
{
    return f->layout != NULL &&
           (f->layout->form == IH_FORM_TUPLE || f->layout->form == IH_FORM_MADE);
}

void ih_thaw_count_whole(thawer *t, const frame *f, bool pushed)
{
    uint32_t *count = is_object(f) ? &t->made : &t->values;
    *count += pushed ? 1 : UINT32_MAX;
}

static void show(frame *f)
{
    if (f->kind == F_LIST || f->kind == F_WHOLE) {
        for (Py_ssize_t i = (Py_ssize_t)f->i; i < PyList_GET_SIZE(f->container); i++)
            PyList_SET_ITEM(f->container, i, Py_NewRef(Py_None));
    } else if (f->kind == F_TUPLE) {
        for (Py_ssize_t i = (Py_ssize_t)f->i; i < PyTuple_GET_SIZE(f->container); i++)
            PyTuple_SET_ITEM(f->container, i, Py_NewRef(Py_None));
    }
    f->shown = true;
}

void ih_thaw_show(thawer *t)
{
    for (uint32_t i = t->depth; i > 0 && !t->frames[i - 1].shown; i--)
        show(&t->frames[i - 1]);
}

int ih_thaw_check_weight(thawer *t, const frame *f)
{
    if (f->weight <= WEIGHT_MAX)
        return 0;
    int own = ih_image_is_own(f->in->image);
    if (own == 0)
        ih_thaw_fault(t, f->node_at, "objects made of more than the image has");
    return own > 0 ? 0 : -1;
}

PyObject *ih_thaw_defer(thawer *t)
{
    frame *f = &t->frames[t->depth - 1];
    bool mutable = f->kind != F_TUPLE && f->kind != F_FROZENSET && f->kind != F_WHOLE;
    if (!mutable || t->made == 0 || t->values > 0)
        return NULL;
    if (t->deferred_count == t->deferred_room) {
        uint32_t room = t->deferred_room * 2 + 8;
        frame *grown = PyMem_Realloc(t->deferred, room * sizeof *grown);
        if (grown == NULL)
            return PyErr_NoMemory();
        t->deferred = grown;
        t->deferred_room = room;
    }
    show(f);
    t->steps = f->kind == F_OBJECT ? ih_thaw_hash_steps(f->container) : UNHASHABLE;
    t->height = 0;
    t->weight = 1;
    if (f->word !=
        0) { /* in the memo it is as good as filled: nothing lies above it on the stack */
        thaw_image *back = t->here;
        t->here = f->in;
        memo_entry *entry = ih_memo_find(t, f->word);
        entry->frame = 0;
        entry->steps = t->steps;
        entry->weight = 1;
        t->here = back;
    }
    t->deferred[t->deferred_count++] = *f;
    t->depth--;
    return Py_NewRef(f->container);
}

bool ih_thaw_resume(thawer *t)
{
    if (t->deferred_count == 0)
        return false;
    t->frames[0] = t->deferred[--t->deferred_count];
    t->frames[0].mutable_at = t->depth = 1;
    return true;
}
