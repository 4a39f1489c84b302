/* The state of one dumps: see json.c. What is known of each image is in json_images.c. */
#ifndef ICEHOUSE_MODULE_JSON_STATE_H
#define ICEHOUSE_MODULE_JSON_STATE_H

#include "module/json.h"
#include "module/json_text.h"
#include "module/merge.h"

/* Keys of a shape, each with its quotes and the separator behind it. */
typedef struct {
    uint32_t word;
    uint64_t n;
    uint8_t *text;
    size_t *ends;
    uint32_t *order; /* sorted, or NULL */
} json_shape;

typedef enum { J_ARRAY, J_SHAPED, J_PAIRS } json_kind;

/* What is known of one image: the one that is written, or one behind a link. */
typedef struct {
    ih_image_object *image;
    uint64_t path;       /* bytes of its nodes from the root to here */
    uint64_t left;       /* bytes of shapes still to be met */
    json_shape **shapes; /* by word, open addressing */
    uint32_t shapes_mask, shapes_used;
} json_image;

typedef struct {
    json_image *in;     /* whose words these are */
    int64_t at, stride; /* of words (arrays, values of a shape) or of pairs */
    uint64_t i, n;
    uint64_t charge;         /* its bytes, while it is on the path */
    uint32_t *order;         /* J_PAIRS, owned: sorted, or NULL */
    const json_shape *shape; /* J_SHAPED */
    uint32_t shape_keys;     /* J_SHAPED: offset of the key words in units of 4 */
    uint32_t current;        /* item or entry being written */
    json_kind kind;
} json_frame;

typedef struct {
    json_text out;
    json_image *here; /* of the frame on top, or behind the link that is being followed */
    const ih_json_options *options;
    json_frame *frames;
    size_t depth, room;
    uint64_t pushes; /* containers met so far */
    bool again;   /* json.dumps must do it; the walk only says that the text will not be endless */
    ih_merge met; /* images behind links, in the order of `others` */
    json_image **others;
    uint32_t others_count, others_room;
    json_image first;
} json_writer;

#define IH_JSON_LIMIT_FACTOR 1024u /* bytes of text for each byte of an image */

/* Goes to another image, which lives as long as the first. 0 or -1. */
int ih_json_enter(json_writer *w, ih_image_object *image);
void ih_json_close_image(json_image *here);

/* The shapes of the image `here`, by word: where one is or belongs; room for one more (0 or -1). */
json_shape **ih_json_shape_slot(json_writer *w, uint32_t word);
int ih_json_grow_shapes(json_writer *w);
void ih_json_free_shape(json_shape *shape);

#endif
