/* Names of one store: text -> handle and version, and how many names an image has. Private memory;
 * children see the state at the fork. Under the process's lock. */
#ifndef ICEHOUSE_ARENA_NAMES_H
#define ICEHOUSE_ARENA_NAMES_H

#include "arena.h"

typedef struct ih_name_entry {
    struct ih_name_entry *next; /* in its bucket */
    uint64_t hash;
    ih_handle handle;
    uint64_t version;
    bool bound; /* an unbound one keeps its version */
    uint32_t length;
    char text[];
} ih_name_entry;

typedef struct {
    ih_name_entry **buckets;
    size_t mask, entries, bound;
    struct {
        uint64_t locator;
        uint64_t count;
    } * images; /* open addressing: names bound to each locator */
    size_t images_mask, images_count;
    uint64_t floor; /* no forgotten name had a higher version */
    uint64_t key[2];
} ih_names;

ih_name_entry *ih_names_find(const ih_names *names, const char *text, size_t length);
/* Sets or clears (handle NULL) a binding whose version has been compared. Tells the version and,
 * where a handle lost this name, which. IH_MEMORY leaves everything as it was. */
ih_result ih_names_set(ih_names *names, const char *text, size_t length, const ih_handle *handle,
                       uint64_t *version, ih_handle *lost, bool *had);
/* How many names the image has. */
uint64_t ih_names_count(const ih_names *names, uint64_t locator);
/* Unbinds all names of an image. */
void ih_names_unbind(ih_names *names, uint64_t locator);
void ih_names_destroy(ih_names *names);
bool ih_names_check(const ih_names *names);

#endif
