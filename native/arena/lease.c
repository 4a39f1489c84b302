/* The lease map: open addressing with linear probing; an entry keeps its address, cells move.
 *
 * Removal shifts the following cells back instead of leaving tombstones, so that a map that lives
 * for years with opens and releases never degrades.
 */
#include "lease.h"

#include "hash.h"

#include <stdlib.h>
#include <string.h>

#define SLAB_ENTRIES 64u

typedef struct slab {
    struct slab *next;
    ih_entry entries[SLAB_ENTRIES];
} slab;

static size_t home(const ih_lease_map *map, uint64_t locator)
{
    return (size_t)ih_mix(locator) & map->mask;
}

ih_entry *ih_map_find(const ih_lease_map *map, uint64_t locator)
{
    if (map->cells == NULL)
        return NULL;
    for (size_t at = home(map, locator); map->cells[at].locator != 0; at = (at + 1) & map->mask) {
        if (map->cells[at].locator == locator)
            return map->cells[at].entry;
    }
    return NULL;
}

static void place(ih_lease_map *map, uint64_t locator, ih_entry *entry)
{
    size_t at = home(map, locator);
    while (map->cells[at].locator != 0)
        at = (at + 1) & map->mask;
    map->cells[at].locator = locator;
    map->cells[at].entry = entry;
}

/* Keeps at least half of the cells empty. */
static bool grow(ih_lease_map *map)
{
    size_t cells = map->cells == NULL ? 0 : map->mask + 1;
    if ((map->count + 1) * 2 <= cells)
        return true;
    ih_lease_map bigger = *map;
    size_t wanted = cells == 0 ? 64 : cells * 2;
    bigger.cells = calloc(wanted, sizeof *bigger.cells);
    if (bigger.cells == NULL)
        return false;
    bigger.mask = wanted - 1;
    for (size_t i = 0; i < cells; i++) {
        if (map->cells[i].locator != 0)
            place(&bigger, map->cells[i].locator, map->cells[i].entry);
    }
    free(map->cells);
    *map = bigger;
    return true;
}

static bool more_entries(ih_lease_map *map)
{
    if (map->unused != NULL)
        return true;
    slab *fresh = malloc(sizeof *fresh);
    if (fresh == NULL)
        return false;
    fresh->next = map->slabs;
    map->slabs = fresh;
    for (unsigned i = 0; i < SLAB_ENTRIES; i++) {
        fresh->entries[i].next = map->unused;
        map->unused = &fresh->entries[i];
    }
    return true;
}

ih_entry *ih_map_add(ih_lease_map *map, uint64_t locator)
{
    if (!more_entries(map) || !grow(map))
        return NULL;
    ih_entry *entry = map->unused;
    map->unused = entry->next;
    memset(entry, 0, sizeof *entry);
    entry->lease.handle.locator = locator;
    entry->slot = entry->child_slot = IH_NO_SLOT;
    place(map, locator, entry);
    map->count++;
    return entry;
}

void ih_map_remove(ih_lease_map *map, ih_entry *entry)
{
    uint64_t locator = entry->lease.handle.locator;
    size_t hole = home(map, locator);
    while (map->cells[hole].locator != locator)
        hole = (hole + 1) & map->mask;
    for (size_t at = (hole + 1) & map->mask; map->cells[at].locator != 0;
         at = (at + 1) & map->mask) {
        size_t wanted = home(map, map->cells[at].locator);
        /* The cell may move into the hole if its home does not lie between the hole and itself. */
        if (((at - wanted) & map->mask) >= ((at - hole) & map->mask)) {
            map->cells[hole] = map->cells[at];
            hole = at;
        }
    }
    map->cells[hole].locator = 0;
    map->count--;
    entry->next = map->unused;
    map->unused = entry;
}

ih_entry *ih_map_next(const ih_lease_map *map, size_t *cursor)
{
    if (map->cells == NULL)
        return NULL;
    while (*cursor <= map->mask) {
        size_t at = (*cursor)++;
        if (map->cells[at].locator != 0)
            return map->cells[at].entry;
    }
    return NULL;
}

void ih_map_destroy(ih_lease_map *map)
{
    size_t cursor = 0;
    for (ih_entry *entry; (entry = ih_map_next(map, &cursor)) != NULL;)
        free(entry->links);
    for (slab *at = map->slabs; at != NULL;) {
        slab *next = at->next;
        free(at);
        at = next;
    }
    free(map->cells);
    memset(map, 0, sizeof *map);
}
