/* The catalog itself: its tables, and the ranges of the state map. */
#include "catalog_state.h"

#include "hash.h"

#include <stdlib.h>
#include <string.h>

/* ---- u64 -> pointer -------------------------------------------------------------------------- */

static size_t home(const ih_table *table, uint64_t key)
{
    return (size_t)ih_mix(key) & table->mask;
}

ih_cell *ih_table_cell(const ih_table *table, uint64_t key)
{
    if (table->cells == NULL || key == 0)
        return NULL;
    for (size_t at = home(table, key); table->cells[at].key != 0; at = (at + 1) & table->mask) {
        if (table->cells[at].key == key)
            return &table->cells[at];
    }
    return NULL;
}

static void place(ih_table *table, uint64_t key, void *value)
{
    size_t at = home(table, key);
    while (table->cells[at].key != 0)
        at = (at + 1) & table->mask;
    table->cells[at] = (ih_cell){key, value};
}

bool ih_table_reserve(ih_table *table)
{
    size_t cells = table->cells == NULL ? 0 : table->mask + 1;
    if ((table->count + 1) * 2 <= cells)
        return true;
    ih_table bigger = {.mask = cells == 0 ? 63 : cells * 2 - 1, .count = table->count};
    bigger.cells = calloc(bigger.mask + 1, sizeof *bigger.cells);
    if (bigger.cells == NULL)
        return false;
    for (size_t i = 0; i < cells; i++) {
        if (table->cells[i].key != 0)
            place(&bigger, table->cells[i].key, table->cells[i].value);
    }
    free(table->cells);
    *table = bigger;
    return true;
}

void ih_table_put(ih_table *table, uint64_t key, void *value)
{
    place(table, key, value);
    table->count++;
}

/* Later cells move into the hole, so that there are no tombstones. */
void ih_table_remove(ih_table *table, uint64_t key)
{
    ih_cell *cell = ih_table_cell(table, key);
    if (cell == NULL)
        return;
    size_t hole = (size_t)(cell - table->cells);
    for (size_t at = (hole + 1) & table->mask; table->cells[at].key != 0;
         at = (at + 1) & table->mask) {
        size_t wanted = home(table, table->cells[at].key);
        if (((at - wanted) & table->mask) >= ((at - hole) & table->mask)) {
            table->cells[hole] = table->cells[at];
            hole = at;
        }
    }
    table->cells[hole] = (ih_cell){0, NULL};
    table->count--;
}

ih_cell *ih_table_next(const ih_table *table, size_t *cursor)
{
    if (table->cells == NULL)
        return NULL;
    while (*cursor <= table->mask) {
        size_t at = (*cursor)++;
        if (table->cells[at].key != 0)
            return &table->cells[at];
    }
    return NULL;
}

void ih_table_destroy(ih_table *table)
{
    free(table->cells);
    memset(table, 0, sizeof *table);
}

/* ---- ranges of the state map ----------------------------------------------------------------- */

uint64_t ih_range_bytes(uint32_t kind, uint64_t bytes)
{
    return IH_RANGE_HEAD + (kind == IH_ORDINARY ? ih_start_map_bytes(bytes) : 0);
}

static bool is_taken(const ih_catalog *catalog, uint64_t at)
{
    return (catalog->taken[at / 64u] >> at % 64u & 1u) != 0;
}

/* The first run of `wanted` free lines at or behind `from`; `lines` if there is none. */
static uint64_t find_run(const ih_catalog *catalog, uint64_t from, uint64_t wanted)
{
    uint64_t lines = catalog->state_bytes / IH_RANGE_HEAD, run = 0;
    for (uint64_t at = from; at < lines;) {
        if (at % 64u == 0 && catalog->taken[at / 64u] == UINT64_MAX) {
            run = 0;
            at += 64u;
            continue;
        }
        run = is_taken(catalog, at) ? 0 : run + 1u;
        at++;
        if (run == wanted)
            return at - wanted;
    }
    return lines;
}

static void set_run(ih_catalog *catalog, uint64_t from, uint64_t count, bool taken)
{
    for (uint64_t at = from; at < from + count; at++) {
        uint64_t bit = UINT64_C(1) << at % 64u;
        if (taken)
            catalog->taken[at / 64u] |= bit;
        else
            catalog->taken[at / 64u] &= ~bit;
    }
}

ih_result ih_catalog_take_range(ih_catalog *catalog, uint32_t kind, uint64_t bytes, uint64_t *state,
                                ih_error *error)
{
    uint64_t wanted = ih_range_bytes(kind, bytes) / IH_RANGE_HEAD;
    uint64_t lines = catalog->state_bytes / IH_RANGE_HEAD;
    uint64_t at = find_run(catalog, catalog->taken_hint, wanted);
    if (at == lines)
        at = find_run(catalog, 0, wanted);
    if (at == lines) {
        ih_fail(error, IH_FULL, 0, "find room for a segment in the state map");
        if (error != NULL)
            error->wanted = wanted * IH_RANGE_HEAD;
        return IH_FULL;
    }
    uint64_t offset = at * IH_RANGE_HEAD, end = (at + wanted) * IH_RANGE_HEAD;
    uint64_t page = offset / IH_PAGE * IH_PAGE;
    /* Else whoever reads the hole first would be charged for it (H6). */
    int code =
        ih_os_file_commit(catalog->state_fd, page, (end - page + IH_PAGE - 1u) / IH_PAGE * IH_PAGE);
    if (code != 0)
        return ih_system_error(error, code, "commit a range of the state map");
    set_run(catalog, at, wanted, true);
    catalog->taken_hint = at + wanted < lines ? at + wanted : 0;
    *state = offset;
    return IH_OK;
}

ih_result ih_catalog_keep_range(ih_catalog *catalog, uint32_t kind, uint64_t bytes, uint64_t state)
{
    uint64_t wanted = ih_range_bytes(kind, bytes);
    if (state % IH_RANGE_HEAD != 0 || state > catalog->state_bytes ||
        wanted > catalog->state_bytes - state)
        return IH_INVALID;
    for (uint64_t at = state / IH_RANGE_HEAD; at < (state + wanted) / IH_RANGE_HEAD; at++) {
        if (is_taken(catalog, at))
            return IH_CONFLICT;
    }
    set_run(catalog, state / IH_RANGE_HEAD, wanted / IH_RANGE_HEAD, true);
    return IH_OK;
}

void ih_catalog_give_range(ih_catalog *catalog, uint32_t kind, uint64_t bytes, uint64_t state)
{
    uint64_t wanted = ih_range_bytes(kind, bytes);
    if (state % IH_RANGE_HEAD != 0 || state > catalog->state_bytes ||
        wanted > catalog->state_bytes - state)
        return;
    set_run(catalog, state / IH_RANGE_HEAD, wanted / IH_RANGE_HEAD, false);
    /* What is freed is not taken again at once: whoever looks with old eyes finds GONE for long. */
}

/* Of a dedicated segment the range's first word is 0 while its image dies. */
void ih_record_set_dying(ih_record *record, uint32_t unit)
{
    uint64_t *word =
        record->heap.kind == IH_ORDINARY ? ih_record_bits(record) + unit / 64u : record->range;
    if (record->heap.kind == IH_ORDINARY)
        (void)__atomic_fetch_or(word, UINT64_C(1) << unit % 64u, __ATOMIC_SEQ_CST);
    else
        __atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
    record->dying++;
}

void ih_record_clear_dying(ih_record *record, uint32_t unit)
{
    uint64_t *word =
        record->heap.kind == IH_ORDINARY ? ih_record_bits(record) + unit / 64u : record->range;
    if (record->heap.kind == IH_ORDINARY)
        (void)__atomic_fetch_and(word, ~(UINT64_C(1) << unit % 64u), __ATOMIC_RELEASE);
    else
        __atomic_store_n(word, record->info.id, __ATOMIC_RELEASE);
    record->dying--;
}

/* ---- coming and going ------------------------------------------------------------------------ */

ih_result ih_catalog_create(int state_fd, uint64_t state_bytes, ih_catalog **out, ih_error *error)
{
    uint64_t found = 0;
    unsigned seals = 0;
    int code = ih_os_file_size(state_fd, &found);
    if (code == 0)
        code = ih_os_file_seals(state_fd, &seals);
    if (code != 0)
        return ih_system_error(error, code, "look at the state map");
    if (found != state_bytes || state_bytes < IH_PAGE || state_bytes % IH_PAGE != 0 ||
        (seals & IH_OS_SEAL_SHRINK) == 0)
        return ih_fail(error, IH_CORRUPT, 0, "use a state map that is not one of ours");
    ih_catalog *catalog = calloc(1, sizeof *catalog);
    uint64_t lines = state_bytes / IH_RANGE_HEAD;
    if (catalog != NULL)
        catalog->taken = calloc((lines + 63u) / 64u, sizeof *catalog->taken);
    if (catalog == NULL || catalog->taken == NULL) {
        free(catalog);
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe the catalog");
    }
    catalog->state_bytes = state_bytes;
    code = ih_os_duplicate(state_fd, &catalog->state_fd);
    if (code == 0) {
        code = ih_os_map(catalog->state_fd, state_bytes, true, &catalog->state);
        if (code != 0)
            ih_os_close(catalog->state_fd);
    }
    if (code != 0) {
        free(catalog->taken);
        free(catalog);
        return ih_system_error(error, code, "map the state map");
    }
    *out = catalog;
    return IH_OK;
}

void ih_catalog_destroy(ih_catalog *catalog)
{
    while (catalog->sorted_count > 0)
        ih_record_forget(catalog, catalog->sorted[catalog->sorted_count - 1]);
    size_t cursor = 0;
    for (ih_cell *cell; (cell = ih_table_next(&catalog->families, &cursor)) != NULL;)
        ih_family_destroy(cell->value);
    cursor = 0;
    for (ih_cell *cell; (cell = ih_table_next(&catalog->sessions, &cursor)) != NULL;)
        ih_session_free(cell->value);
    ih_table_destroy(&catalog->segments);
    ih_table_destroy(&catalog->families);
    ih_table_destroy(&catalog->sessions);
    ih_table_destroy(&catalog->holds);
    ih_ages_destroy(catalog);
    ih_os_unmap(catalog->state, catalog->state_bytes);
    ih_os_close(catalog->state_fd);
    free(catalog->sorted);
    free(catalog->taken);
    free(catalog);
}
