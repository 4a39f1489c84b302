/* Which containers a comparison already takes for equal; see merge.c. */
#ifndef ICEHOUSE_MODULE_MERGE_H
#define ICEHOUSE_MODULE_MERGE_H

#include "module/state.h"

typedef struct {
    const void *key;
    PyObject *holder; /* owned: keeps the address from naming something else meanwhile */
    uint32_t parent;
} ih_merge_member;

/* Zero-initialised is empty. */
typedef struct {
    ih_merge_member *members;
    uint32_t *slots; /* member + 1; 0: free */
    uint32_t count, room;
    uint32_t slot_count; /* a power of two */
} ih_merge;

/* The member of `key`, made if it is new (*fresh). -1 with MemoryError. */
int64_t ih_merge_member_of(ih_merge *merge, const void *key, PyObject *holder, bool *fresh);
/* Takes the two for equal. True if they were already. */
bool ih_merge_join(ih_merge *merge, int64_t a, int64_t b);
void ih_merge_free(ih_merge *merge);

#endif
