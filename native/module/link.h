/* Following links: from an image to a node of another (docs/image-format.md, "Links").
 *
 * An image object keeps the images that its links were followed to, so what a walk meets behind a
 * link lives as long as what it came from. A link leads to what opens as a view and never to
 * another link: chains end. Who walks across links keeps a budget for each image it meets (hostile
 * images may link in a cycle). */
#ifndef ICEHOUSE_MODULE_LINK_H
#define ICEHOUSE_MODULE_LINK_H

#include "module/state.h"

/* The image that link number `index` of `image` leads to. Borrowed: it lives as long as `image`.
 * NULL with HandleGone (naming the link) or CorruptImage. */
ih_image_object *ih_link_target(ih_image_object *image, uint64_t index);

/* Reads the node behind a link node, whose word in the image returned is link->shape. Borrowed, as
 * above. */
ih_image_object *ih_follow_link(ih_image_object *image, const ih_node *link, ih_node *target);

#endif
