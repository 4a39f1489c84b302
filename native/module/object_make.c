/* Objects of form TUPLE and MADE: real instances, made whole. */
#include "module/object.h"

PyObject *ih_make_object(ih_image_object *image, uint64_t at, const ih_node *node,
                         const ih_layout *layout)
{
    (void)node;
    (void)layout;
    ih_fault fault = {at, "an object of a form that is not known here"};
    return ih_raise_fault(image->state, &fault);
}
