/* H11: a reader looks a name up while the writer gives it new values, and may be killed at any
 * instant; another writer then goes on. A value is two words, which must be of one version; and a
 * reader never finds an older version than it has found before. Nobody waits for anybody.
 *
 * Broken forms, each of which spin must refute:
 *   BREAK_FLIP_FIRST     the writer moves flip before the slot is written
 *   BREAK_WRITER_FENCE   it does not fence between moving flip and writing the other slot
 *   BREAK_ONE_SLOT       there is one slot, which is written in place
 *   BREAK_RECHECK        the reader does not look at flip again
 */
#define PROCESSES 2
#define VARIABLES 5
#define FLIP 0
#define LEFT 1 /* first word of slot 0; of slot 1 it is 2 more */
#define RIGHT 2
#define drained(p) \
    (AT(p, 0) == EMPTY && AT(p, 1) == EMPTY && AT(p, 2) == EMPTY && AT(p, 3) == EMPTY && \
     AT(p, 4) == EMPTY)
#include "memory.h"

#define WRITER 0
#define READER 1
#define BINDS 3

#ifdef BREAK_ONE_SLOT
#define SLOT(flip) 0
#else
#define SLOT(flip) (2 * ((flip) % 2))
#endif

/* One writer after the other: a killed one's stores that were executed do reach memory. */
proctype writer()
{
    byte version = 0, flip;
next:
    do
    :: version < BINDS ->
        version++;
        load(WRITER, FLIP, flip);
#ifndef BREAK_WRITER_FENCE
        fence(WRITER);
#endif
#ifdef BREAK_FLIP_FIRST
        store(WRITER, FLIP, flip + 1);
        fence(WRITER);
#endif
        store(WRITER, LEFT + SLOT(flip + 1), version);
        if
        :: goto next /* killed: half of a value stays behind, in a slot that does not hold */
        :: true
        fi;
        store(WRITER, RIGHT + SLOT(flip + 1), version);
        if
        :: goto next
        :: true
        fi;
#ifndef BREAK_FLIP_FIRST
        release_store(WRITER, FLIP, flip + 1)
#endif
    :: else -> break
    od;
    fence(WRITER)
}

proctype reader()
{
    byte before, after, left, right, best = 0, tries = 0;
    do
    :: tries < 3 ->
        tries++;
        load(READER, FLIP, before);
        if /* loads of one slot in any order */
        :: true ->
            load(READER, LEFT + SLOT(before), left);
            load(READER, RIGHT + SLOT(before), right)
        :: true ->
            load(READER, RIGHT + SLOT(before), right);
            load(READER, LEFT + SLOT(before), left)
        fi;
#ifdef BREAK_RECHECK
        after = before;
#else
        load(READER, FLIP, after);
#endif
        if
        :: before == after ->
            assert(left == right);
            assert(left >= best);
            best = left
        :: else
        fi
    :: else -> break
    od
}

init
{
    atomic {
        start_memory();
        run drain(WRITER, FLIP);
        run drain(WRITER, 1);
        run drain(WRITER, 2);
        run drain(WRITER, 3);
        run drain(WRITER, 4);
        run writer();
        run reader()
    }
}
