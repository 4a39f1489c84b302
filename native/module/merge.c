/* Union-find over containers that a comparison has met.
 *
 * Comparing two graphs, a pair that was met before is taken for equal: if it is not, the first
 * meeting finds out. Remembering pairs alone would still visit |A| x |B| of them (two rings of
 * coprime lengths); but equality is transitive, so pairs can be merged into classes, and a pair
 * inside one class is taken for equal too. Then at most |A| + |B| pairs are ever walked: the
 * algorithm of Hopcroft and Karp for the equivalence of automata. */
#include "module/merge.h"

static uint32_t slot_of(const ih_merge *merge, const void *key)
{
    uint64_t hash = (uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u;
    uint32_t i = (uint32_t)(hash >> 32) & (merge->slot_count - 1);
    while (merge->slots[i] != 0 && merge->members[merge->slots[i] - 1].key != key)
        i = (i + 1) & (merge->slot_count - 1);
    return i;
}

static int grow(ih_merge *merge)
{
    if (merge->room > UINT32_MAX / 8)
        return -1;
    uint32_t room = merge->room == 0 ? 64 : merge->room * 2;
    ih_merge_member *members = PyMem_Realloc(merge->members, room * sizeof *members);
    if (members == NULL)
        return -1;
    merge->members = members;
    uint32_t *slots = PyMem_Calloc((size_t)room * 2, sizeof *slots);
    if (slots == NULL)
        return -1;
    PyMem_Free(merge->slots);
    merge->slots = slots;
    merge->slot_count = room * 2;
    merge->room = room;
    for (uint32_t i = 0; i < merge->count; i++)
        slots[slot_of(merge, members[i].key)] = i + 1;
    return 0;
}

int64_t ih_merge_member_of(ih_merge *merge, const void *key, PyObject *holder, bool *fresh)
{
    if (merge->count == merge->room && grow(merge) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    uint32_t slot = slot_of(merge, key);
    *fresh = merge->slots[slot] == 0;
    if (*fresh) {
        uint32_t member = merge->count++;
        merge->members[member] = (ih_merge_member){key, Py_NewRef(holder), member};
        merge->slots[slot] = member + 1;
    }
    return merge->slots[slot] - 1;
}

static uint32_t representative(ih_merge *merge, uint32_t member)
{
    ih_merge_member *members = merge->members;
    while (members[member].parent != member) {
        members[member].parent = members[members[member].parent].parent;
        member = members[member].parent;
    }
    return member;
}

bool ih_merge_join(ih_merge *merge, int64_t a, int64_t b)
{
    uint32_t first = representative(merge, (uint32_t)a);
    uint32_t second = representative(merge, (uint32_t)b);
    if (first == second)
        return true;
    /* Path halving alone gives O(log n) amortised, whichever way the link points. */
    merge->members[second].parent = first;
    return false;
}

void ih_merge_free(ih_merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++)
        Py_DECREF(merge->members[i].holder);
    PyMem_Free(merge->members);
    PyMem_Free(merge->slots);
    *merge = (ih_merge){0};
}
