/* The names board: an index of cells over entries that never move.
 *
 * The writer may be killed between any two stores, so each change is one store that counts:
 *
 *   a new name   the entry, value included, is written behind what is used; then `used` grows over
 *                it; then its cell in the index. Killed before the last: names are listed with it
 *                but not found by it until the next writer attaches, who puts it into the index.
 *   a new value  the slot that does not hold is written, then `flip` is one more.
 *   a wake-up    the wake word changes after the value. The next writer to attach changes all
 *                wake words, since his predecessor may have died before he did.
 *
 * A reader copies the slot that holds, and believes the copy if `flip` has not moved meanwhile: a
 * writer who overwrites that slot has moved `flip` before, and fences between the two (a sequence
 * lock of which the odd state, in which readers wait, does not exist).
 *
 * A reader may be given any bytes at all: areas and sizes are copied out of the header once and
 * checked against the file, and each cell, length and cursor is checked before it is followed.
 */
#include "board.h"

#include "hash.h"
#include "segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AVERAGE_ENTRY 128u
#define CELLS_MAX (UINT64_C(1) << 31)
#define NAMES_MAX (1u << 28) /* beyond it a cell's 32 bits would not reach the last entry */

struct ih_board {
    uint8_t *base; /* written through only by who attached for writing */
    uint64_t bytes, number;
    uint64_t cells, entries, entries_end; /* checked copies; offsets from the file's start */
    uint64_t key[2];
    bool writable;
};

static ih_board_header *header(const ih_board *board)
{
    return (ih_board_header *)(void *)board->base;
}

static uint32_t *cell(const ih_board *board, uint64_t at)
{
    return (uint32_t *)(void *)(board->base + IH_PAGE) + at;
}

static ih_board_entry *entry_at(const ih_board *board, uint64_t offset)
{
    return (ih_board_entry *)(void *)(board->base + offset);
}

static const char *text_of(const ih_board_entry *entry) { return (const char *)(entry + 1); }

static uint64_t entry_bytes(uint64_t length)
{
    return sizeof(ih_board_entry) + (length + IH_UNIT - 1u) / IH_UNIT * IH_UNIT;
}

/* The entry at an offset that somebody wrote, if it lies in the area of entries with its text. */
static ih_board_entry *checked(const ih_board *board, uint64_t offset, uint32_t *length)
{
    if (offset < board->entries || offset % IH_UNIT != 0 ||
        offset > board->entries_end - sizeof(ih_board_entry))
        return NULL;
    ih_board_entry *entry = entry_at(board, offset);
    uint32_t found = __atomic_load_n(&entry->length, __ATOMIC_RELAXED);
    if (found == 0 || found > IH_NAME_MAX || entry_bytes(found) > board->entries_end - offset)
        return NULL;
    *length = found;
    return entry;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* False: the writer changed it again and again. */
static bool read_value(const ih_board_entry *entry, ih_handle *handle, uint64_t *version)
{
    for (unsigned tries = 0; tries < IH_BOARD_TRIES; tries++) {
        uint32_t flip = __atomic_load_n(&entry->flip, __ATOMIC_ACQUIRE);
        const ih_board_slot *slot = &entry->slots[flip & 1u];
        ih_handle found = {.locator = __atomic_load_n(&slot->locator, __ATOMIC_RELAXED),
                           .nonce = __atomic_load_n(&slot->nonce, __ATOMIC_RELAXED)};
        uint64_t number = __atomic_load_n(&slot->version, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&entry->flip, __ATOMIC_RELAXED) != flip)
            continue;
        *handle = found;
        *version = number;
        return true;
    }
    return false;
}

/* The entry of a name; NULL: there is none. *free_cell is where its cell would be, the number of
 * cells if the index is full. */
static ih_board_entry *find(const ih_board *board, const char *name, size_t length, uint64_t hash,
                            uint64_t *free_cell)
{
    uint64_t mask = board->cells - 1u, at = hash & mask;
    for (uint64_t probes = 0; probes < board->cells; probes++, at = (at + 1u) & mask) {
        uint32_t units = __atomic_load_n(cell(board, at), __ATOMIC_ACQUIRE);
        if (units == 0) {
            *free_cell = at;
            return NULL;
        }
        uint32_t found;
        ih_board_entry *entry = checked(board, (uint64_t)units * IH_UNIT, &found);
        if (entry != NULL && entry->hash == hash && found == length &&
            memcmp(text_of(entry), name, length) == 0)
            return entry;
    }
    *free_cell = board->cells;
    return NULL;
}

ih_result ih_board_lookup(const ih_board *board, const char *name, size_t length, ih_handle *handle,
                          uint64_t *version)
{
    if (length == 0 || length > IH_NAME_MAX)
        return IH_INVALID;
    uint64_t unused;
    const ih_board_entry *entry =
        find(board, name, length, ih_hash_text(board->key, name, length), &unused);
    ih_handle found = {0, 0};
    uint64_t number = 0;
    if (entry != NULL && !read_value(entry, &found, &number))
        return IH_CONFLICT;
    *version = number;
    if (found.locator == 0)
        return IH_UNKNOWN;
    *handle = found;
    return IH_OK;
}

bool ih_board_next(const ih_board *board, uint64_t *cursor, const char **name, size_t *length,
                   ih_handle *handle, uint64_t *version)
{
    uint64_t used = __atomic_load_n(&header(board)->used, __ATOMIC_ACQUIRE);
    uint32_t found;
    if (*cursor >= used || *cursor > board->bytes)
        return false;
    const ih_board_entry *entry = checked(board, board->entries + *cursor, &found);
    if (entry == NULL)
        return false;
    *cursor += entry_bytes(found);
    *name = text_of(entry);
    *length = found;
    if (!read_value(entry, handle, version)) {
        *handle = (ih_handle){0, 0};
        *version = 0;
    }
    return true;
}

uint64_t ih_board_number(const ih_board *board) { return board->number; }

uint64_t ih_board_bytes(const ih_board *board) { return board->bytes; }

uint64_t ih_board_bound(const ih_board *board)
{
    return __atomic_load_n(&header(board)->bound, __ATOMIC_RELAXED);
}

bool ih_board_retired(const ih_board *board)
{
    return __atomic_load_n(&header(board)->retired, __ATOMIC_ACQUIRE) != 0;
}

static uint32_t *wake_word(const ih_board *board, uint64_t hash)
{
    return &header(board)->wakes[hash % IH_BOARD_WAKES];
}

uint32_t ih_board_ticket(const ih_board *board, const char *name, size_t length)
{
    return __atomic_load_n(wake_word(board, ih_hash_text(board->key, name, length)),
                           __ATOMIC_ACQUIRE);
}

int ih_board_wait(const ih_board *board, const char *name, size_t length, uint32_t seen,
                  uint64_t timeout_ns)
{
    return ih_os_wait(wake_word(board, ih_hash_text(board->key, name, length)), seen, timeout_ns);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void wake(const ih_board *board, uint64_t which)
{
    uint32_t *word = wake_word(board, which);
    (void)__atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
    ih_os_wake(word);
}

static void wake_all(const ih_board *board)
{
    for (uint64_t i = 0; i < IH_BOARD_WAKES; i++)
        wake(board, i);
}

static void fill_slot(ih_board_slot *slot, ih_handle handle, uint64_t version)
{
    __atomic_store_n(&slot->locator, handle.locator, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->nonce, handle.nonce, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->version, version, __ATOMIC_RELAXED);
}

static ih_result add_entry(ih_board *board, const char *name, size_t length, uint64_t hash,
                           uint64_t free_cell, ih_handle handle, uint64_t version)
{
    uint64_t used = __atomic_load_n(&header(board)->used, __ATOMIC_RELAXED);
    uint64_t bytes = entry_bytes(length), room = board->entries_end - board->entries;
    uint64_t offset = board->entries + used;
    /* A board that was damaged takes no more names: another will take its place. Half of the index
     * stays empty, so that a search for what is not there ends soon. */
    if (used % IH_UNIT != 0 || used > room || bytes > room - used || free_cell >= board->cells ||
        used / AVERAGE_ENTRY >= board->cells / 2u)
        return IH_FULL;
    ih_board_entry *entry = entry_at(board, offset);
    memset(entry, 0, (size_t)bytes);
    entry->hash = hash;
    entry->length = (uint32_t)length;
    memcpy(entry + 1, name, length);
    fill_slot(&entry->slots[0], handle, version);
    __atomic_store_n(&header(board)->used, used + bytes, __ATOMIC_RELEASE);
    __atomic_store_n(cell(board, free_cell), (uint32_t)(offset / IH_UNIT), __ATOMIC_RELEASE);
    return IH_OK;
}

static void change_value(ih_board_entry *entry, ih_handle handle, uint64_t version)
{
    uint32_t flip = __atomic_load_n(&entry->flip, __ATOMIC_RELAXED);
    /* A reader who finds what is written below also finds that flip has moved. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    fill_slot(&entry->slots[(flip + 1u) & 1u], handle, version);
    __atomic_store_n(&entry->flip, flip + 1u, __ATOMIC_RELEASE);
}

ih_result ih_board_set(ih_board *board, const char *name, size_t length, ih_handle handle,
                       uint64_t version)
{
    if (!board->writable || length == 0 || length > IH_NAME_MAX)
        return IH_INVALID;
    if (handle.locator == 0)
        handle.nonce = 0;
    uint64_t hash = ih_hash_text(board->key, name, length), free_cell;
    ih_board_entry *entry = find(board, name, length, hash, &free_cell);
    bool was_bound = false;
    if (entry != NULL) {
        was_bound = entry->slots[entry->flip & 1u].locator != 0;
        change_value(entry, handle, version);
    } else {
        ih_result result = add_entry(board, name, length, hash, free_cell, handle, version);
        if (result != IH_OK)
            return result;
    }
    uint64_t bound = ih_board_bound(board) + (handle.locator != 0) - was_bound;
    __atomic_store_n(&header(board)->bound, bound, __ATOMIC_RELAXED);
    wake(board, hash);
    return IH_OK;
}

void ih_board_retire(ih_board *board)
{
    if (!board->writable)
        return;
    __atomic_store_n(&header(board)->retired, 1, __ATOMIC_RELEASE);
    wake_all(board);
}

/* ---- coming and going ------------------------------------------------------------------------ */

static ih_result system_error(ih_error *error, int code, const char *what)
{
    bool memory = code == ENOMEM || code == ENOSPC;
    return ih_fail(error, memory ? IH_MEMORY : IH_SYSTEM, code, what);
}

/* Copies the areas out of the header, if they lie in the file. */
static bool take_layout(ih_board *board)
{
    const ih_board_header *h = header(board);
    if (h->magic != IH_BOARD_MAGIC || h->version != IH_BOARD_VERSION)
        return false;
    uint64_t cells = __atomic_load_n(&h->cells, __ATOMIC_RELAXED);
    uint64_t entries = __atomic_load_n(&h->entries_offset, __ATOMIC_RELAXED);
    uint64_t bytes = __atomic_load_n(&h->entries_bytes, __ATOMIC_RELAXED);
    if (cells == 0 || (cells & (cells - 1u)) != 0 || cells > CELLS_MAX || entries % IH_UNIT != 0 ||
        bytes % IH_UNIT != 0 || bytes < sizeof(ih_board_entry) || entries > board->bytes ||
        bytes > board->bytes - entries || entries < IH_PAGE + 4u * cells)
        return false;
    board->cells = cells;
    board->entries = entries;
    board->entries_end = entries + bytes;
    board->number = h->number;
    board->key[0] = h->key[0];
    board->key[1] = h->key[1];
    return true;
}

/* What a writer who was killed left undone. */
static ih_result mend(ih_board *board)
{
    uint64_t used = header(board)->used, bound = 0;
    if (used > board->entries_end - board->entries)
        return IH_CORRUPT;
    for (uint64_t at = 0; at < used;) {
        uint32_t length;
        uint64_t free_cell;
        const ih_board_entry *entry = checked(board, board->entries + at, &length);
        if (entry == NULL || entry->hash != ih_hash_text(board->key, text_of(entry), length))
            return IH_CORRUPT;
        const ih_board_entry *found = find(board, text_of(entry), length, entry->hash, &free_cell);
        if (found == NULL && free_cell >= board->cells)
            return IH_CORRUPT;
        if (found == NULL)
            __atomic_store_n(cell(board, free_cell), (uint32_t)((board->entries + at) / IH_UNIT),
                             __ATOMIC_RELEASE);
        bound += entry->slots[entry->flip & 1u].locator != 0 ? 1u : 0u;
        at += entry_bytes(length);
    }
    __atomic_store_n(&header(board)->bound, bound, __ATOMIC_RELAXED);
    wake_all(board);
    return IH_OK;
}

ih_result ih_board_attach(int fd, uint64_t bytes, bool writable, ih_board **out, ih_error *error)
{
    uint64_t found = 0;
    int code = ih_os_file_size(fd, &found);
    if (code != 0)
        return system_error(error, code, "look at a names board");
    if (found != bytes || bytes < IH_PAGE)
        return ih_fail(error, IH_CORRUPT, 0, "attach a names board whose size is not as told");
    ih_board *board = calloc(1, sizeof *board);
    if (board == NULL)
        return ih_fail(error, IH_MEMORY, ENOMEM, "describe a names board");
    board->bytes = bytes;
    board->writable = writable;
    code = ih_os_map(fd, bytes, writable, &board->base);
    if (code != 0) {
        free(board);
        return system_error(error, code, "map a names board");
    }
    ih_result result = take_layout(board) && header(board)->bytes == bytes ? IH_OK : IH_CORRUPT;
    if (result == IH_OK && writable)
        result = mend(board);
    if (result != IH_OK) {
        ih_board_destroy(board);
        return ih_fail(error, result, 0, "attach a names board that is damaged");
    }
    *out = board;
    return IH_OK;
}

void ih_board_destroy(ih_board *board)
{
    if (board == NULL)
        return;
    ih_os_unmap(board->base, board->bytes);
    free(board);
}

static int write_header(int fd, uint64_t number, uint64_t cells, uint64_t offset, uint64_t entries)
{
    ih_board_header first = {.magic = IH_BOARD_MAGIC,
                             .version = IH_BOARD_VERSION,
                             .number = number,
                             .bytes = offset + entries,
                             .cells = cells,
                             .entries_offset = offset,
                             .entries_bytes = entries};
    int code = ih_os_random(first.key, sizeof first.key);
    if (code == 0)
        code = ih_os_file_write(fd, 0, &first, sizeof first);
    if (code == 0)
        code = ih_os_file_restrict(fd, 0444);
    if (code == 0)
        code = ih_os_file_seal(fd, IH_OS_SEAL_SHRINK | IH_OS_SEAL_GROW | IH_OS_SEAL_SEAL);
    return code;
}

ih_result ih_board_create(uint64_t number, uint32_t names, ih_board **out, int *fd, ih_error *error)
{
    if (names > NAMES_MAX)
        return ih_fail(error, IH_INVALID, 0, "create a names board for more than 2^28 names");
    uint64_t cells = 64;
    while (cells < 2u * (uint64_t)names && cells < CELLS_MAX)
        cells *= 2u;
    uint64_t offset = IH_PAGE + 4u * cells;
    uint64_t bytes = offset + AVERAGE_ENTRY * (uint64_t)(names < 8u ? 8u : names);
    bytes = (bytes + IH_PAGE - 1u) / IH_PAGE * IH_PAGE;
    int file = -1;
    int code = ih_os_file_create("icehouse-names", bytes, &file);
    if (code != 0)
        return system_error(error, code, "create a names board");
    ih_room *room = calloc(1, sizeof *room);
    ih_result result = room != NULL ? IH_OK : ih_fail(error, IH_MEMORY, ENOMEM, "commit a board");
    if (result == IH_OK) {
        ih_os_cgroup_find(&room->cgroup);
        result = ih_room_take(room, bytes, error);
    }
    free(room);
    if (result == IH_OK) {
        code = ih_os_file_commit(file, 0, bytes);
        if (code == 0)
            code = write_header(file, number, cells, offset, bytes - offset);
        result = code == 0 ? IH_OK : system_error(error, code, "commit a names board");
    }
    if (result == IH_OK)
        result = ih_board_attach(file, bytes, true, out, error);
    if (result != IH_OK) {
        ih_os_close(file);
        return result;
    }
    *fd = file;
    return IH_OK;
}

/* ---- check ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static ih_result wrong(char *message, size_t size,
                                                             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (message != NULL && size > 0)
        vsnprintf(message, size, format, arguments);
    va_end(arguments);
    return IH_CORRUPT;
}

ih_result ih_board_check(const ih_board *board, char *message, size_t size)
{
    if (message != NULL && size > 0)
        message[0] = '\0';
    uint64_t used = __atomic_load_n(&header(board)->used, __ATOMIC_ACQUIRE);
    uint64_t entries = 0, bound = 0, cells = 0, at = 0, free_cell;
    if (used > board->entries_end - board->entries)
        return wrong(message, size, "%" PRIu64 " bytes of entries are used, more than there are",
                     used);
    while (at < used) {
        uint32_t length;
        const ih_board_entry *entry = checked(board, board->entries + at, &length);
        if (entry == NULL)
            return wrong(message, size, "the entry at %" PRIu64 " leads out of the board", at);
        if (entry->hash != ih_hash_text(board->key, text_of(entry), length))
            return wrong(message, size, "the entry at %" PRIu64 " has another name's hash", at);
        if (find(board, text_of(entry), length, entry->hash, &free_cell) != entry)
            return wrong(message, size, "the entry at %" PRIu64 " is not found by its name", at);
        entries++;
        bound += entry->slots[entry->flip & 1u].locator != 0 ? 1u : 0u;
        at += entry_bytes(length);
    }
    for (uint64_t i = 0; i < board->cells; i++)
        cells += __atomic_load_n(cell(board, i), __ATOMIC_RELAXED) != 0 ? 1u : 0u;
    if (at != used || cells != entries)
        return wrong(message, size, "%" PRIu64 " entries and %" PRIu64 " cells in use", entries,
                     cells);
    if (bound != ih_board_bound(board))
        return wrong(message, size, "%" PRIu64 " names are counted as bound, %" PRIu64 " are",
                     ih_board_bound(board), bound);
    return IH_OK;
}
