/* What the files of FrozenObject share; others need object.h alone. */
#ifndef ICEHOUSE_MODULE_OBJECT_PARTS_H
#define ICEHOUSE_MODULE_OBJECT_PARTS_H

#include "module/object.h"

#if IH_CACHES
/* Where the state keeps a layout. */
static inline ih_layout **ih_layout_slot(const ih_image_object *image, uint32_t word)
{
    uint32_t mix = (word >> 1) * 0x9e3779b1u ^ (uint32_t)image->identity;
    return &image->state->object_layouts[mix >> 8 & (IH_LAYOUT_CACHE - 1)];
}
/* Its bit among those that an image vouches for. */
static inline uint64_t ih_layout_bit(uint32_t word)
{
    return (uint64_t)1 << ((word >> 1) * 0x9e3779b1u >> 26);
}
#endif

int ih_init_layout(PyObject *module, ih_state *state);

#endif
