/* Names: a chained hash table of texts, and beside it the number of names of each image.
 *
 * An unbound name keeps its entry for its version, so that a compare-and-swap of somebody who saw
 * the old binding fails. A store that binds ever new names would grow for ever: when unbound
 * entries are many and the majority they are forgotten, and `floor` makes every later version of
 * such a name higher than any it ever had.
 */
#include "names.h"

#include "hash.h"

#include <stdlib.h>
#include <string.h>

#define FORGET_MIN 65536u

ih_name_entry *ih_names_find(const ih_names *names, const char *text, size_t length)
{
    if (names->buckets == NULL)
        return NULL;
    uint64_t hash = ih_hash_text(names->key, text, length);
    ih_name_entry *entry = names->buckets[hash & names->mask];
    while (entry != NULL && !(entry->hash == hash && entry->length == length &&
                              memcmp(entry->text, text, length) == 0))
        entry = entry->next;
    return entry;
}

/* ---- names of each image --------------------------------------------------------------------- */

static size_t find_image(const ih_names *names, uint64_t locator)
{
    size_t at = (size_t)ih_mix(locator) & names->images_mask;
    while (names->images[at].locator != 0 && names->images[at].locator != locator)
        at = (at + 1) & names->images_mask;
    return at;
}

uint64_t ih_names_count(const ih_names *names, uint64_t locator)
{
    return names->images == NULL ? 0 : names->images[find_image(names, locator)].count;
}

static bool grow_images(ih_names *names)
{
    size_t cells = names->images == NULL ? 0 : names->images_mask + 1;
    if ((names->images_count + 1) * 2 <= cells)
        return true;
    ih_names bigger = *names;
    size_t wanted = cells == 0 ? 16 : cells * 2;
    bigger.images = calloc(wanted, sizeof *bigger.images);
    if (bigger.images == NULL)
        return false;
    bigger.images_mask = wanted - 1;
    for (size_t i = 0; i < cells; i++) {
        if (names->images[i].locator != 0)
            bigger.images[find_image(&bigger, names->images[i].locator)] = names->images[i];
    }
    free(names->images);
    *names = bigger;
    return true;
}

static void more_names(ih_names *names, uint64_t locator)
{
    size_t at = find_image(names, locator);
    if (names->images[at].locator == 0) {
        names->images[at].locator = locator;
        names->images_count++;
    }
    names->images[at].count++;
}

static void fewer_names(ih_names *names, uint64_t locator)
{
    size_t hole = find_image(names, locator);
    if (--names->images[hole].count > 0)
        return;
    for (size_t at = (hole + 1) & names->images_mask; names->images[at].locator != 0;
         at = (at + 1) & names->images_mask) {
        size_t wanted = (size_t)ih_mix(names->images[at].locator) & names->images_mask;
        if (((at - wanted) & names->images_mask) >= ((at - hole) & names->images_mask)) {
            names->images[hole] = names->images[at];
            hole = at;
        }
    }
    names->images[hole].locator = 0;
    names->images[hole].count = 0;
    names->images_count--;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static bool grow_buckets(ih_names *names)
{
    size_t buckets = names->buckets == NULL ? 0 : names->mask + 1;
    if (names->entries < buckets)
        return true;
    size_t wanted = buckets == 0 ? 16 : buckets * 2;
    ih_name_entry **fresh = calloc(wanted, sizeof(ih_name_entry *));
    if (fresh == NULL)
        return buckets > 0; /* longer chains are no failure */
    for (size_t i = 0; i < buckets; i++) {
        for (ih_name_entry *entry = names->buckets[i]; entry != NULL;) {
            ih_name_entry *next = entry->next;
            entry->next = fresh[entry->hash & (wanted - 1)];
            fresh[entry->hash & (wanted - 1)] = entry;
            entry = next;
        }
    }
    free(names->buckets);
    names->buckets = fresh;
    names->mask = wanted - 1;
    return true;
}

static void forget_unbound(ih_names *names)
{
    size_t unbound = names->entries - names->bound;
    if (unbound < FORGET_MIN || unbound < names->bound)
        return;
    for (size_t i = 0; i <= names->mask; i++) {
        for (ih_name_entry **link = &names->buckets[i]; *link != NULL;) {
            ih_name_entry *entry = *link;
            if (entry->bound) {
                link = &entry->next;
                continue;
            }
            names->floor = entry->version > names->floor ? entry->version : names->floor;
            *link = entry->next;
            free(entry);
            names->entries--;
        }
    }
}

static ih_name_entry *add(ih_names *names, const char *text, size_t length)
{
    forget_unbound(names);
    if (!grow_buckets(names))
        return NULL;
    ih_name_entry *entry = malloc(sizeof *entry + length + 1);
    if (entry == NULL)
        return NULL;
    memset(entry, 0, sizeof *entry);
    entry->hash = ih_hash_text(names->key, text, length);
    entry->length = (uint32_t)length;
    entry->version = names->floor;
    memcpy(entry->text, text, length);
    entry->text[length] = '\0';
    entry->next = names->buckets[entry->hash & names->mask];
    names->buckets[entry->hash & names->mask] = entry;
    names->entries++;
    return entry;
}

static void unbind(ih_names *names, ih_name_entry *entry)
{
    entry->bound = false;
    names->bound--;
    fewer_names(names, entry->handle.locator);
}

ih_result ih_names_set(ih_names *names, const char *text, size_t length, const ih_handle *handle,
                       uint64_t *version, ih_handle *lost, bool *had)
{
    *had = false;
    ih_name_entry *entry = ih_names_find(names, text, length);
    if (handle != NULL && !grow_images(names))
        return IH_MEMORY;
    if (entry == NULL && handle == NULL) {
        *version = 0;
        return IH_OK;
    }
    if (entry == NULL)
        entry = add(names, text, length);
    if (entry == NULL)
        return IH_MEMORY;
    if (entry->bound) {
        *lost = entry->handle;
        *had = true;
        unbind(names, entry);
    }
    if (handle != NULL) {
        entry->handle = *handle;
        entry->bound = true;
        entry->version++;
        names->bound++;
        more_names(names, handle->locator);
    }
    *version = entry->version;
    return IH_OK;
}

void ih_names_unbind(ih_names *names, uint64_t locator)
{
    uint64_t left = ih_names_count(names, locator);
    for (size_t i = 0; left > 0 && i <= names->mask; i++) {
        for (ih_name_entry *entry = names->buckets[i]; entry != NULL; entry = entry->next) {
            if (entry->bound && entry->handle.locator == locator) {
                unbind(names, entry);
                left--;
            }
        }
    }
}

void ih_names_destroy(ih_names *names)
{
    for (size_t i = 0; names->buckets != NULL && i <= names->mask; i++) {
        for (ih_name_entry *entry = names->buckets[i]; entry != NULL;) {
            ih_name_entry *next = entry->next;
            free(entry);
            entry = next;
        }
    }
    free(names->buckets);
    free(names->images);
    names->buckets = NULL;
    names->images = NULL;
    names->mask = names->entries = names->bound = names->images_mask = names->images_count = 0;
}

bool ih_names_check(const ih_names *names)
{
    size_t entries = 0, bound = 0;
    uint64_t sum = 0;
    for (size_t i = 0; names->buckets != NULL && i <= names->mask; i++) {
        for (const ih_name_entry *entry = names->buckets[i]; entry != NULL; entry = entry->next) {
            entries++;
            bound += entry->bound ? 1u : 0u;
            if (entry->bound && ih_names_count(names, entry->handle.locator) == 0)
                return false;
        }
    }
    for (size_t i = 0; names->images != NULL && i <= names->images_mask; i++)
        sum += names->images[i].count;
    return entries == names->entries && bound == names->bound && sum == bound;
}
