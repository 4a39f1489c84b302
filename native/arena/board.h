/* The names board: text -> handle and version, in memory that one process writes and all read,
 * and never wait for it (H11).
 *
 * Purpose.   get("config") needs no message. The daemon binds; clients look up.
 * Lifecycle. Writer: ih_board_create (or ih_board_attach after a restart) -> set ... -> retire,
 *            when a larger one takes its place -> destroy. Reader: ih_board_attach, read-only.
 * Threads.   One writer, who serialises his own calls. Any number of readers: lookup, next, ticket
 *            and wait keep no state in ih_board, so threads may share one.
 * Failure.   Outputs are untouched.
 *
 * Shared layout (docs/segment-format.md has the table). Header page: magic "ihboard1", version,
 * number, index and entries areas (offsets, sizes), `used` bytes of the entries, bound count,
 * `retired`, siphash key, 64 wake words. Index: u32 cells, open addressing by hash, each the offset
 * of an entry in units of 64 bytes, 0: empty. An entry is never moved or removed while its board
 * stands, and its text never changes: hash, length, `flip`, two slots {locator, nonce, version},
 * text. The writer fills the slot that `flip` does not name, then adds one to flip (release). A
 * reader reads flip, the slot flip & 1, and flip again; the value holds if flip did not move. After
 * IH_BOARD_TRIES it gives up with IH_CONFLICT and the caller asks the daemon.
 */
#ifndef ICEHOUSE_ARENA_BOARD_H
#define ICEHOUSE_ARENA_BOARD_H

#include "arena.h"

#define IH_BOARD_TRIES 64u
#define IH_BOARD_WAKES 64u

typedef struct ih_board ih_board;

/* A new board with room for `names` names of average length; *fd is the caller's (writable; sealed
 * against shrinking and growing, committed whole, mode 0444). */
ih_result ih_board_create(uint64_t number, uint32_t names, ih_board **out, int *fd,
                          ih_error *error);
/* Maps a board of `bytes` bytes. Checks the header against the size; IH_CORRUPT. The descriptor
 * stays the caller's. */
ih_result ih_board_attach(int fd, uint64_t bytes, bool writable, ih_board **out, ih_error *error);
void ih_board_destroy(ih_board *board); /* NULL: nothing */

uint64_t ih_board_number(const ih_board *board);
uint64_t ih_board_bytes(const ih_board *board);
/* True once another board has taken its place. */
bool ih_board_retired(const ih_board *board);

/* Reader. IH_UNKNOWN: not bound (*version then is the one of the last binding, or 0). */
ih_result ih_board_lookup(const ih_board *board, const char *name, size_t length, ih_handle *handle,
                          uint64_t *version);
/* Walks the entries in the order of their creation: start with *cursor 0. False at the end. `name`
 * points into the board. Unbound entries are walked too, with locator 0. */
bool ih_board_next(const ih_board *board, uint64_t *cursor, const char **name, size_t *length,
                   ih_handle *handle, uint64_t *version);
/* Names that are bound. */
uint64_t ih_board_bound(const ih_board *board);

/* A number that grows whenever a name of the same wake word is bound, or the board retires. */
uint32_t ih_board_ticket(const ih_board *board, const char *name, size_t length);
/* Waits until the ticket is not `seen` any more, a signal comes, or `timeout_ns` passes (0: returns
 * at once). Take the ticket, look up, then wait: nothing is missed. No lock may be held. Returns 0,
 * EINTR or ETIMEDOUT. Works on a read-only mapping (FUTEX_WAIT). */
int ih_board_wait(const ih_board *board, const char *name, size_t length, uint32_t seen,
                  uint64_t timeout_ns);

/* Writer. Sets handle (zeros: unbound) and version of a name and wakes those who wait for it.
 * IH_FULL: the board has no room for another name: make a larger one, copy what is bound, retire
 * this. */
ih_result ih_board_set(ih_board *board, const char *name, size_t length, ih_handle handle,
                       uint64_t version);
void ih_board_retire(ih_board *board);
/* Every invariant; IH_CORRUPT with the first violation in `message`. */
ih_result ih_board_check(const ih_board *board, char *message, size_t size);

#endif
