/* Following links; see link.h. */
#include "module/link.h"

#include "module/errors.h"
#include "module/handle.h"
#include "module/hooks.h"
#include "module/image_object.h"
#include "module/process.h"

_Static_assert(sizeof(ih_handle) == IH_LINK_BYTES, "the table of links holds handles");

static ih_image_object *damaged(const ih_image_object *image, uint64_t at, const char *reason)
{
    ih_fault fault = {at, reason};
    ih_raise_fault(image->state, &fault);
    return NULL;
}

static ih_result open_linked(ih_process *process, ih_store *store, ih_handle handle, ih_lease **out,
                             ih_error *error)
{
    return store != NULL ? ih_open_linked(store, handle, out, error)
                         : ih_open_reachable(process, handle, out, error);
}

/* A lease of B covers what B links to, deleted or not. Bytes that are no image of ours cover
 * nothing. */
static ih_image_object *open_target(ih_image_object *image, uint64_t index)
{
    ih_handle handle;
    ih_process *process;
    ih_lease *lease = NULL;
    ih_error error = {0};
    ih_image_link(&image->image, index, (uint64_t *)(void *)&handle);
    ih_result result = ih_process_get(&process, &error);
    if (result == IH_OK) {
        ih_store *store = image->lease != NULL ? image->lease->store : NULL;
        if (__atomic_load_n(&image->state->freezing, __ATOMIC_RELAXED) > 0)
            result = open_linked(process, store, handle, &lease, &error); /* others wait too */
        else
            IH_MAY_WAIT(result, open_linked(process, store, handle, &lease, &error));
    }
    if (result == IH_OK) {
        ih_image_object *target = ih_image_of_lease(image->state, lease);
        if (target != NULL && ih_trust_inherit(target, image) < 0)
            Py_CLEAR(target);
        return target;
    }
    PyObject *subject = ih_handle_new(image->state, handle);
    error.what = "follow a link to";
    if (subject != NULL)
        ih_raise_about(image->state, &error, subject);
    Py_XDECREF(subject);
    return NULL;
}

/* The slots of the images that links were followed to, made at the first. */
static ih_image_object **slots_of(ih_image_object *image)
{
    ih_image_object **slots = __atomic_load_n(&image->linked, __ATOMIC_ACQUIRE), **none = NULL;
    if (slots != NULL)
        return slots;
    slots = PyMem_Calloc(image->image.links, sizeof(ih_image_object *));
    if (slots == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (__atomic_compare_exchange_n(&image->linked, &none, slots, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return slots;
    PyMem_Free(slots);
    return none;
}

ih_image_object *ih_link_target(ih_image_object *image, uint64_t index)
{
    if (index >= image->image.links)
        return damaged(image, image->image.graph, "link beyond the table of links");
    ih_image_object **slots = slots_of(image);
    if (slots == NULL)
        return NULL;
    ih_image_object *known = __atomic_load_n(&slots[index], __ATOMIC_ACQUIRE);
    if (known != NULL)
        return known;
    ih_image_object *opened = open_target(image, index);
    if (opened == NULL)
        return NULL;
    /* Opening may have waited, and another thread been quicker. */
    if (__atomic_compare_exchange_n(&slots[index], &known, opened, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return opened;
    Py_DECREF(opened);
    return known;
}

ih_image_object *ih_follow_link(ih_image_object *image, const ih_node *link, ih_node *target)
{
    ih_fault fault;
    ih_image_object *other = ih_link_target(image, link->n);
    if (other == NULL)
        return NULL;
    if (ih_read_node(&other->image, link->shape, target, &fault) < 0) {
        ih_raise_fault(image->state, &fault);
        return NULL;
    }
    if (!ih_may_be_linked(target->kind))
        return damaged(other, ih_word_offset(link->shape), "a link to what is no view");
    return other;
}
