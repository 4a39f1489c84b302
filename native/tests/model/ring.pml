/* H7: a free goes through the ring. The daemon sets the dying bit, scans, adds the entry; the
 * producer clears the header and moves tail; the daemon clears the bit; the producer uses the block
 * again; the new image is deleted, too. The daemon may be killed at any instant and another one
 * takes over, who knows what is in shared memory and nothing else.
 *
 * Nobody opens the old image while its block is used again; the new image is not found dying until
 * it is deleted; and once it is deleted it stays so.
 *
 * Broken forms, each of which spin must refute:
 *   BREAK_CLEAR_EARLY    the daemon clears the bit without waiting for the producer
 *   BREAK_REUSE_EARLY    the producer uses the block again without waiting for the bit
 *   BREAK_NO_SCAN        the daemon adds the entry without a scan
 *   BREAK_FORGET_RING    the daemon that takes over clears the bit of a cleared header though it is
 *                        still in the ring
 */
#define PROCESSES 3
#define VARIABLES 5
#define DYING 0
#define SLOT 1
#define HEADER 2
#define HEAD 3
#define TAIL 4
#define drained(p) \
    (AT(p, 0) == EMPTY && AT(p, 1) == EMPTY && AT(p, 2) == EMPTY && AT(p, 3) == EMPTY && \
     AT(p, 4) == EMPTY)
#include "memory.h"

#define GONE 0
#define OLD 1
#define NEW 2

#define DAEMON 0
#define PRODUCER 1
#define READER 2

bool reading = false; /* the reader has opened the old image */
bool reused = false;  /* the producer writes other things where it was */
bool told = false;    /* the new image's handle was given to others */
bool deleted = false; /* the new image was deleted */

#define MAY_BE_KILLED \
    if \
    :: restarts < 1 -> restarts++; goto take_over \
    :: true \
    fi

proctype daemon()
{
    byte slot, header, tail, head, dying, restarts = 0;
    bool line = false;
    store(DAEMON, DYING, 1);
scan:
    fence(DAEMON);
    MAY_BE_KILLED;
#ifndef BREAK_NO_SCAN
    load(DAEMON, SLOT, slot);
    if
    :: slot != 0 -> goto scan
    :: else
    fi;
#endif
    line = true;
    release_store(DAEMON, HEAD, 1);
    MAY_BE_KILLED;
serve:
    do
    :: line ->
        load(DAEMON, TAIL, tail);
        if
#ifdef BREAK_CLEAR_EARLY
        :: true ->
#else
        :: tail == 1 ->
#endif
            line = false;
            load(DAEMON, HEADER, header);
#ifdef BREAK_CLEAR_EARLY
            header = GONE;
#endif
            if
            :: header != OLD -> release_store(DAEMON, DYING, 0)
            :: else
            fi
        :: else
        fi;
        MAY_BE_KILLED
    :: told && !deleted ->
        load(DAEMON, DYING, dying);
        if
        :: dying == 0 ->
            deleted = true;
            store(DAEMON, DYING, 1);
            fence(DAEMON)
        :: else
        fi;
        MAY_BE_KILLED
    :: deleted && !line -> break
    od;
    goto end_of_it;
take_over:
    fence(DAEMON); /* what was executed reaches memory */
    line = false;
    load(DAEMON, HEAD, head);
    load(DAEMON, TAIL, tail);
    line = (head == 1 && tail == 0);
    load(DAEMON, DYING, dying);
    load(DAEMON, HEADER, header);
    if
    :: dying == 1 && header == OLD && !line && head == 0 -> goto scan
#ifdef BREAK_FORGET_RING
    :: dying == 1 && header == GONE -> release_store(DAEMON, DYING, 0)
#else
    :: dying == 1 && header == GONE && !line -> release_store(DAEMON, DYING, 0)
#endif
    :: else
    fi;
    goto serve;
end_of_it:
    fence(DAEMON);
    load(DAEMON, DYING, dying);
    assert(dying == 1)
}

proctype producer()
{
    byte head, dying, header;
    do
    :: true ->
        load(PRODUCER, HEAD, head);
        if
        :: head == 1 -> break
        :: else
        fi
    od;
    load(PRODUCER, DYING, dying);
    load(PRODUCER, HEADER, header);
    if
    :: dying == 1 && header == OLD -> release_store(PRODUCER, HEADER, GONE)
    :: else
    fi;
    release_store(PRODUCER, TAIL, 1);
#ifndef BREAK_REUSE_EARLY
    do
    :: true ->
        load(PRODUCER, DYING, dying);
        if
        :: dying == 0 -> break
        :: else
        fi
    od;
#endif
    atomic {
        reused = true;
        assert(!reading)
    }
    release_store(PRODUCER, HEADER, NEW);
    fence(PRODUCER);
    told = true
}

proctype reader()
{
    byte mark, header, tries = 0;
    do
    :: tries < 2 ->
        tries++;
        store(READER, SLOT, 1);
        fence(READER);
        load(READER, DYING, mark);
        load(READER, HEADER, header);
        if
        :: mark == 0 && header == OLD ->
            reading = true;
            assert(!reused);
            reading = false
        :: else
        fi;
        release_store(READER, SLOT, 0);
        fence(READER)
    :: told ->
        load(READER, DYING, mark);
        load(READER, HEADER, header);
        assert(header == NEW);
        assert(mark == 0 || deleted);
        break
    od
}

init
{
    atomic {
        start_memory();
        memory[HEADER] = OLD;
        run drain(DAEMON, DYING);
        run drain(DAEMON, HEAD);
        run drain(PRODUCER, HEADER);
        run drain(PRODUCER, TAIL);
        run drain(READER, SLOT);
        run daemon();
        run producer();
        run reader()
    }
}
