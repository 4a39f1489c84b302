/* H1 in a segment whose headers nobody clears, since its producer is dead: the dying bit is all
 * that tells. When its last image is free the segment is dropped, and its range of the state map is
 * given to another segment. A reader who looks with the old segment still mapped never opens what
 * was freed.
 *
 * Broken forms, each of which spin must refute:
 *   BREAK_WORD_FIRST     the reader looks whose range it is before it looks at the bit
 *   BREAK_BITS_FIRST     the daemon clears the bits before the range says that the segment is gone
 *   BREAK_READER_FENCE   the reader looks before its slot is visible
 */
#define PROCESSES 2
#define VARIABLES 3
#define BIT 0
#define SLOT 1
#define WORD 2
#define drained(p) (AT(p, 0) == EMPTY && AT(p, 1) == EMPTY && AT(p, 2) == EMPTY)
#include "memory.h"

#define OLD 1
#define NOBODY 2
#define NEW 3

#define DAEMON 0
#define READER 1

bool reading = false; /* the reader has opened the image */
bool dropped = false; /* its memory was given away */

proctype reader()
{
    byte bit_, word, tries = 0;
    do
    :: tries < 2 ->
        tries++;
        store(READER, SLOT, 1);
#ifndef BREAK_READER_FENCE
        fence(READER);
#endif
#ifdef BREAK_WORD_FIRST
        load(READER, WORD, word);
        load(READER, BIT, bit_);
#else
        load(READER, BIT, bit_);
        load(READER, WORD, word);
#endif
        if
        :: bit_ == 0 && word == OLD ->
            reading = true;
            assert(!dropped);
            reading = false
        :: else
        fi;
        release_store(READER, SLOT, 0);
        fence(READER)
    :: else -> break
    od
}

proctype daemon()
{
    byte slot;
    store(DAEMON, BIT, 1);
again:
    fence(DAEMON);
    load(DAEMON, SLOT, slot);
    if
    :: slot != 0 -> goto again
    :: else
    fi;
    atomic {
        dropped = true;
        assert(!reading)
    }
#ifdef BREAK_BITS_FIRST
    store(DAEMON, BIT, 0);
    release_store(DAEMON, WORD, NOBODY);
#else
    store(DAEMON, WORD, NOBODY);
    release_store(DAEMON, BIT, 0);
#endif
    release_store(DAEMON, WORD, NEW);
    fence(DAEMON)
}

init
{
    atomic {
        start_memory();
        memory[WORD] = OLD;
        run drain(DAEMON, BIT);
        run drain(DAEMON, WORD);
        run drain(READER, SLOT);
        run daemon();
        run reader()
    }
}
