/* Which bytes of an image may be handed out as they lie. */
#ifndef ICEHOUSE_MODULE_BUFFERS_H
#define ICEHOUSE_MODULE_BUFFERS_H

#include "module/state.h"

/* H4: consumers of buffers trust them not to change, and some crash where they do. In place go
 * images produced under our own uid, those under F_SEAL_WRITE (seen before their content is
 * checked, by whoever makes objects of them), and images inside a bytes object, or in other memory
 * of which it is known, that nobody changes. */
static inline bool ih_buffer_in_place(const ih_image_object *image)
{
    if (image->lease != NULL)
        return image->lease->trusted || image->lease->sealed;
    if (image->fixed)
        return true;
    PyObject *owner = image->owner;
    if (owner != NULL && PyMemoryView_Check(owner))
        owner = PyMemoryView_GET_BUFFER(owner)->obj;
    return owner != NULL && PyBytes_CheckExact(owner);
}

#endif
