/* H1: a process opens an image while its owner frees it and uses the block again.
 *
 * Broken forms, each of which spin must refute:
 *   BREAK_READER_FENCE   the reader looks before its slot is visible
 *   BREAK_OWNER_FENCE    the owner scans before the dying bit is visible
 *   BREAK_READER_ORDER   the reader looks at the header first and at the bit after it
 *   BREAK_OWNER_ORDER    the owner clears the bit before the header
 *   BREAK_NO_BIT         there is no dying bit: the owner scans, then clears the header
 */
#define PROCESSES 2
#define VARIABLES 3
#define DYING 0
#define SLOT 1
#define HEADER 2
#define drained(p) (AT(p, 0) == EMPTY && AT(p, 1) == EMPTY && AT(p, 2) == EMPTY)
#include "memory.h"

#define GONE 0
#define SEALED 1
#define ANOTHER 2

#define OWNER 0
#define READER 1

bool reading = false; /* the reader has opened the image */
bool reused = false;  /* the owner writes other things where it was */

proctype reader()
{
    byte mark, header, tries = 0;
    do
    :: tries < 2 ->
        tries++;
        store(READER, SLOT, 1);
#ifndef BREAK_READER_FENCE
        fence(READER);
#endif
#ifdef BREAK_READER_ORDER
        load(READER, HEADER, header);
        load(READER, DYING, mark);
#else
        load(READER, DYING, mark);
        load(READER, HEADER, header);
#endif
        if
        :: mark == 0 && header == SEALED ->
            reading = true;
            assert(!reused);
            reading = false
        :: else
        fi;
        release_store(READER, SLOT, 0);
        fence(READER)
    :: else -> break
    od
}

proctype owner()
{
    byte slot;
#ifndef BREAK_NO_BIT
    store(OWNER, DYING, 1);
#endif
again:
#ifndef BREAK_OWNER_FENCE
    fence(OWNER);
#endif
    load(OWNER, SLOT, slot);
    if
    :: slot != 0 -> goto again /* in the queue; scanned again later */
    :: else
    fi;
#ifdef BREAK_OWNER_ORDER
    release_store(OWNER, DYING, 0);
    fence(OWNER);
    release_store(OWNER, HEADER, GONE);
#else
    release_store(OWNER, HEADER, GONE);
    release_store(OWNER, DYING, 0);
#endif
    atomic {
        reused = true;
        assert(!reading)
    }
    release_store(OWNER, HEADER, ANOTHER);
    fence(OWNER)
}

init
{
    atomic {
        start_memory();
        memory[HEADER] = SEALED;
        run drain(OWNER, DYING);
        run drain(OWNER, HEADER);
        run drain(READER, SLOT);
        run owner();
        run reader()
    }
}
