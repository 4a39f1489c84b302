/* What dumps knows of an image: its shapes; and the images that it met behind links. */
#include "module/json_state.h"

void ih_json_free_shape(json_shape *shape)
{
    if (shape == NULL)
        return;
    PyMem_Free(shape->text);
    PyMem_Free(shape->ends);
    PyMem_Free(shape->order);
    PyMem_Free(shape);
}

json_shape **ih_json_shape_slot(json_writer *w, uint32_t word)
{
    uint32_t i = (uint32_t)((uint64_t)word * 0x9e3779b97f4a7c15u >> 32) & w->here->shapes_mask;
    while (w->here->shapes[i] != NULL && w->here->shapes[i]->word != word)
        i = (i + 1) & w->here->shapes_mask;
    return &w->here->shapes[i];
}

int ih_json_grow_shapes(json_writer *w)
{
    json_shape **old = w->here->shapes;
    uint32_t old_size = old ? w->here->shapes_mask + 1 : 0, size = old ? old_size * 2 : 16;
    json_shape **grown = PyMem_Calloc(size, sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    w->here->shapes = grown;
    w->here->shapes_mask = size - 1;
    for (uint32_t i = 0; i < old_size; i++)
        if (old[i] != NULL)
            *ih_json_shape_slot(w, old[i]->word) = old[i];
    PyMem_Free(old);
    return 0;
}

int ih_json_enter(json_writer *w, ih_image_object *image)
{
    bool fresh = false;
    int64_t number = ih_merge_member_of(&w->met, image->image.base, (PyObject *)image, &fresh);
    if (number < 0)
        return -1;
    if (fresh && w->others_count == w->others_room) {
        uint32_t room = w->others_room * 2 + 8;
        json_image **grown = PyMem_Realloc(w->others, room * sizeof(json_image *));
        if (grown != NULL) {
            w->others = grown;
            w->others_room = room;
        }
    }
    if (fresh && w->others_count < w->others_room) {
        json_image *here = PyMem_Calloc(1, sizeof *here);
        if (here != NULL) {
            *here = (json_image){.image = image, .left = image->image.graph};
            w->others[w->others_count++] = here;
            size_t more = (size_t)image->image.size, most = (size_t)PY_SSIZE_T_MAX - w->out.limit;
            w->out.limit += more < most / IH_JSON_LIMIT_FACTOR ? more * IH_JSON_LIMIT_FACTOR : most;
        }
    }
    if (number >= w->others_count) {
        PyErr_NoMemory();
        return -1;
    }
    w->here = w->others[number];
    return 0;
}

void ih_json_close_image(json_image *here)
{
    for (uint32_t i = 0; here->shapes != NULL && i <= here->shapes_mask; i++)
        ih_json_free_shape(here->shapes[i]);
    PyMem_Free(here->shapes);
}
