/* H2: a lease moves from one slot to another (a fork in a member copies it, then the parent
 * lets go) while the owner scans. The destination holds the image for good; the owner must never
 * free it.
 *
 * Broken forms, each of which spin must refute:
 *   BREAK_CHECK          the mover drops the source without looking at scan_seq
 *   BREAK_MOVER_FENCE    it looks at scan_seq before the destination is visible
 *   BREAK_OWNER_FENCE    the owner scans before the odd scan_seq is visible
 */
#define PROCESSES 2
#define VARIABLES 3
#define SEQ 0
#define SOURCE 1
#define DESTINATION 2
#define drained(p) (AT(p, 0) == EMPTY && AT(p, 1) == EMPTY && AT(p, 2) == EMPTY)
#include "memory.h"

#define OWNER 0
#define MOVER 1
#define SCANS 3

bool scanned = false; /* the owner has done all its scans */

proctype mover()
{
    byte seq, now;
    store(MOVER, DESTINATION, 1);
#ifndef BREAK_MOVER_FENCE
    fence(MOVER);
#endif
    load(MOVER, SEQ, seq);
#ifndef BREAK_CHECK
    if
    :: seq % 2 == 1 ->
        do
        :: true ->
            load(MOVER, SEQ, now);
            if
            :: now != seq -> break
            :: scanned -> goto done /* it stays published: nobody looks any more */
            :: else
            fi
        od
    :: else
    fi;
#endif
    release_store(MOVER, SOURCE, 0);
done:
    fence(MOVER)
}

proctype owner()
{
    byte scans = 0, first, second, seq = 0;
    do
    :: scans < SCANS ->
        scans++;
        seq++;
        store(OWNER, SEQ, seq);
#ifndef BREAK_OWNER_FENCE
        fence(OWNER);
#endif
        if /* blocks of slots are visited in any order */
        :: true -> load(OWNER, DESTINATION, first); load(OWNER, SOURCE, second)
        :: true -> load(OWNER, SOURCE, first); load(OWNER, DESTINATION, second)
        fi;
        assert(first != 0 || second != 0);
        seq++;
        release_store(OWNER, SEQ, seq)
    :: else -> break
    od;
    fence(OWNER);
    scanned = true
}

init
{
    atomic {
        start_memory();
        memory[SOURCE] = 1;
        run drain(OWNER, SEQ);
        run drain(MOVER, SOURCE);
        run drain(MOVER, DESTINATION);
        run owner();
        run mover()
    }
}
