/* Links: an image that refers to others keeps them, whatever becomes of their handles (H15).
 *
 * The set of an image's links is copied when it is published and never read from the segment again
 * (H3). Only sealed images can be linked to, so links never form a cycle, and counting frees them.
 * In the owner's lease map an image that links or is linked has an entry even where nobody leases
 * it.
 *
 * Threads. Everything here is called under the process's lock.
 */
#ifndef ICEHOUSE_ARENA_LINKS_H
#define ICEHOUSE_ARENA_LINKS_H

#include "process.h"

struct ih_links {
    uint32_t count;
    ih_entry *to[];
};

static inline uint32_t ih_links_count(const ih_entry *entry)
{
    return entry->links != NULL ? entry->links->count : 0u;
}

/* Gives the image of `entry` its links, once. Each target is leased by this process and of the same
 * store. A deleted one lives again, until its last link and lease go. */
ih_result ih_links_set(ih_entry *entry, const ih_handle *linked, uint32_t count, ih_error *error);
/* Takes the links off an image that is being freed: entries that nothing keeps any more are put in
 * front of `list` (by `next`), with their dying bits set; what children may hold goes into the
 * queue instead. Returns the new list. */
ih_entry *ih_links_release(ih_links *links, ih_entry *list);

#endif
