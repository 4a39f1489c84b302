/* Families of leases and pages of sessions in the catalog. */
#include "catalog_state.h"

#include <stdlib.h>

/* ---- families -------------------------------------------------------------------------------- */

ih_result ih_catalog_add_family(ih_catalog *catalog, uint64_t family, int fd, uint32_t blocks_max,
                                ih_error *error)
{
    if (family == 0 || ih_table_get(&catalog->families, family) != NULL)
        return ih_fail(error, IH_INVALID, 0, "add a family whose number is 0 or taken");
    if (!ih_table_reserve(&catalog->families))
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a family");
    int own = -1;
    int code = ih_os_duplicate(fd, &own);
    if (code != 0)
        return ih_system_error(error, code, "keep the descriptor of a lease table");
    ih_family *found = NULL;
    ih_result result = ih_family_attach(own, 0, blocks_max, &found, error);
    if (result != IH_OK) {
        ih_os_close(own);
        return result;
    }
    ih_table_put(&catalog->families, family, found);
    return IH_OK;
}

void ih_catalog_drop_family(ih_catalog *catalog, uint64_t family)
{
    ih_family *found = ih_table_get(&catalog->families, family);
    if (found == NULL)
        return;
    ih_ages_drop(catalog, family);
    ih_table_remove(&catalog->families, family);
    ih_family_destroy(found);
}

uint32_t ih_catalog_new_member(ih_catalog *catalog, uint64_t family)
{
    ih_family *found = ih_table_get(&catalog->families, family);
    return found == NULL ? 0 : ih_family_new_member(found);
}

bool ih_catalog_is_alive(ih_catalog *catalog, uint64_t family, uint32_t member)
{
    const ih_family *found = ih_table_get(&catalog->families, family);
    return found != NULL && ih_family_is_alive(found, member);
}

static void count_slot(void *context, uint64_t locator)
{
    (void)locator;
    (*(uint64_t *)context)++;
}

uint64_t ih_catalog_leases(ih_catalog *catalog, uint64_t family)
{
    const ih_family *found = ih_table_get(&catalog->families, family);
    uint64_t count = 0;
    if (found != NULL)
        ih_family_peek(found, count_slot, &count);
    return count;
}

bool ih_scan_all(ih_catalog *catalog, void (*mark)(void *context, uint64_t locator), void *context)
{
    size_t cursor = 0;
    bool whole = true;
    for (ih_cell *cell; (cell = ih_table_next(&catalog->families, &cursor)) != NULL;) {
        ih_family *family = cell->value;
        /* The daemon may yet give out a membership: that nobody lived is no news for the next. */
        family->quiet = false;
        (void)ih_family_scan(family, mark, context);
        whole = whole && !family->lost;
    }
    return whole;
}

void ih_peek_all(const ih_catalog *catalog, void (*mark)(void *context, uint64_t locator),
                 void *context)
{
    size_t cursor = 0;
    for (const ih_cell *cell; (cell = ih_table_next(&catalog->families, &cursor)) != NULL;)
        ih_family_peek(cell->value, mark, context);
}

uint32_t ih_catalog_lessees(ih_catalog *catalog, uint64_t locator, uint64_t *families,
                            uint32_t *members, size_t room)
{
    size_t cursor = 0;
    uint32_t found = 0;
    for (const ih_cell *cell; (cell = ih_table_next(&catalog->families, &cursor)) != NULL;) {
        size_t left = found < room ? room - found : 0;
        uint32_t *to = left > 0 ? members + found : NULL;
        uint32_t here = ih_family_lessees(cell->value, locator, to, left);
        for (uint32_t i = 0; i < here && i < left; i++)
            families[found + i] = cell->key;
        found += here;
    }
    return found;
}

/* ---- who is leased now ----------------------------------------------------------------------- */

static void note_leased(void *context, uint64_t locator)
{
    ih_record *record = ih_record_of(context, ih_locator_id(locator));
    if (record != NULL && record->asked)
        record->seen = true;
}

void ih_catalog_leased(ih_catalog *catalog, const uint64_t *ids, size_t count, bool *leased)
{
    for (size_t i = 0; i < count; i++) {
        ih_record *record = ih_record_of(catalog, ids[i]);
        if (record != NULL) {
            record->asked = true;
            record->seen = false;
        }
    }
    ih_peek_all(catalog, note_leased, catalog);
    for (size_t i = 0; i < count; i++) {
        ih_record *record = ih_record_of(catalog, ids[i]);
        leased[i] = record != NULL && record->seen;
    }
    for (size_t i = 0; i < count; i++) {
        ih_record *record = ih_record_of(catalog, ids[i]);
        if (record != NULL)
            record->asked = false;
    }
}

/* ---- pages of sessions ----------------------------------------------------------------------- */

ih_result ih_catalog_add_page(ih_catalog *catalog, uint64_t session, int fd, ih_error *error)
{
    uint64_t bytes = 0;
    unsigned seals = 0;
    int code = ih_os_file_size(fd, &bytes);
    if (code == 0)
        code = ih_os_file_seals(fd, &seals);
    if (code != 0)
        return ih_system_error(error, code, "look at the page of a session");
    if (bytes != IH_SESSION_BYTES || (seals & IH_OS_SEAL_SHRINK) == 0)
        return ih_fail(error, IH_CORRUPT, 0, "add a page that is not one of ours");
    if (session == 0 || ih_table_get(&catalog->sessions, session) != NULL)
        return ih_fail(error, IH_INVALID, 0, "add a session whose number is 0 or taken");
    ih_session *found = ih_table_reserve(&catalog->sessions) ? calloc(1, sizeof *found) : NULL;
    if (found == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a session");
    uint8_t *page = NULL;
    code = ih_os_map(fd, IH_SESSION_BYTES, true, &page);
    if (code != 0) {
        free(found);
        return ih_system_error(error, code, "map the page of a session");
    }
    found->session = session;
    found->page = (ih_session_page *)(void *)page;
    ih_table_put(&catalog->sessions, session, found);
    return IH_OK;
}

void ih_session_free(ih_session *session)
{
    ih_os_unmap(session->page, IH_SESSION_BYTES);
    free(session->line);
    free(session);
}

void ih_catalog_drop_page(ih_catalog *catalog, uint64_t session)
{
    ih_session *found = ih_table_get(&catalog->sessions, session);
    if (found == NULL)
        return;
    ih_line_forget(catalog, found, NULL, true);
    ih_table_remove(&catalog->sessions, session);
    ih_session_free(found);
}

void ih_catalog_counters(ih_catalog *catalog, uint64_t session, uint64_t *out)
{
    const ih_session *found = ih_table_get(&catalog->sessions, session);
    for (unsigned i = 0; i < IH_PAGE_COUNTERS; i++)
        out[i] = found == NULL ? 0 : __atomic_load_n(&found->page->puts + i, __ATOMIC_RELAXED);
}

bool ih_catalog_is_closed(ih_catalog *catalog, uint64_t session)
{
    const ih_session *found = ih_table_get(&catalog->sessions, session);
    return found != NULL && __atomic_load_n(&found->page->closed, __ATOMIC_ACQUIRE) != 0;
}

uint64_t ih_catalog_waiting(const ih_catalog *catalog, uint64_t session)
{
    const ih_session *found = ih_table_get(&catalog->sessions, session);
    return found == NULL ? 0 : found->bytes;
}
