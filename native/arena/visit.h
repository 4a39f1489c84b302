/* Images of an embedded store in processes that are neither its owner nor forked from it.
 *
 * Purpose.   A view that is sent to another process is opened there in place: the receiver is given
 *            a read-only description of the segment, what its handles are checked against, and a
 *            membership in the owner's lease table. From then on it is as a forked child is: it
 *            publishes what it leases in slots of its own, and can't put.
 * Lifecycle. Sender: ih_visit_can(); it keeps its lease until the receiver has said that it holds
 *            its own; ih_visit_moved(); release. Receiver: ih_visit_open(); where that says
 *            IH_UNKNOWN, ih_visit_admit() with what the sender's ih_visit_share() gave, and again.
 * Threads.   Any, as arena.h says.
 * Safety.    The receiver publishes its slot before it tells the sender, who withdraws only then:
 *            so the lease is in the table at every moment, and ih_visit_moved() covers the scan
 *            that passes in between (H2). An owner that sends needs no such rule, since its leases,
 *            its scans and its frees are under one lock. While the sender holds, the image can't be
 *            freed, so a receiver who knows that (`held`) need not look at the dying bit.
 */
#ifndef ICEHOUSE_ARENA_VISIT_H
#define ICEHOUSE_ARENA_VISIT_H

#include "arena.h"

/* What is said about one segment; with it go three descriptors, -1 for those that are not. */
typedef struct {
    uint64_t store[2];  /* identity */
    uint64_t family[2]; /* identity of the lease table */
    uint64_t id, bytes;
    uint64_t secret[2];
    uint32_t kind;
    uint32_t dying_bit; /* dedicated: in its page */
    uint32_t member;    /* with IH_VISIT_MEMBER */
    uint32_t flags;     /* IH_VISIT_* */
} ih_visit;

enum { IH_VISIT_SEGMENT, IH_VISIT_STATE, IH_VISIT_MEMBER, IH_VISIT_FDS };
enum { IH_VISIT_EPHEMERAL = 1, IH_VISIT_SEALED = 2, IH_VISIT_FOREIGN = 4 };

/* The identity of the embedded store that a lease belongs to, if another process could be shown the
 * image: it is no daemon's, and its segment has a reader. */
bool ih_visit_can(const ih_lease *lease, uint64_t store[2]);
/* Whether this process owns the store, and is no child or visitor. */
bool ih_visit_owns(const ih_lease *lease);
/* Says how to open the images of a segment. With `join` a membership is made. The descriptors in
 * *fds are the caller's. IH_GONE: there is no such segment any more. */
ih_result ih_visit_share(ih_process *process, const uint64_t store[2], uint64_t id, bool join,
                         ih_visit *out, int fds[IH_VISIT_FDS], ih_error *error);
/* Whether the segment is here. */
bool ih_visit_has(ih_process *process, const uint64_t store[2], uint64_t id);
/* Whether leases of that table can be published here already. */
bool ih_visit_is_member(ih_process *process, const uint64_t family[2]);
/* Takes in a segment; one that is here already is no error. The descriptors are closed, or the
 * arena's, whatever comes of it. */
ih_result ih_visit_admit(ih_process *process, const ih_visit *visit, const int fds[IH_VISIT_FDS],
                         ih_error *error);
/* IH_UNKNOWN: the segment must be admitted first. */
ih_result ih_visit_open(ih_process *process, const uint64_t store[2], ih_handle handle, bool held,
                        ih_lease **out, ih_error *error);
/* Another process holds what this lease holds: before its release. */
void ih_visit_moved(ih_lease *lease);

#endif
