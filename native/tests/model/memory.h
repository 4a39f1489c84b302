/* Weak memory, approximated by buffers: a store waits in its process's buffer, one place for each
 * variable, and goes to memory at any later time, in any order with stores to other variables. A
 * load sees the own buffer first. A fence waits until the own buffer is empty; a release store
 * waits until all earlier stores have gone. (More than x86 reorders, and what arm64 does to
 * stores.)
 *
 * The model defines PROCESSES, VARIABLES and the initial values.
 */
#define EMPTY 255

byte memory[VARIABLES];
byte buffer[PROCESSES * VARIABLES];

#define AT(p, v) buffer[(p) * VARIABLES + (v)]

inline store(p, v, value)
{
    atomic { AT(p, v) == EMPTY -> AT(p, v) = value }
}

inline load(p, v, into)
{
    atomic {
        if
        :: AT(p, v) != EMPTY -> into = AT(p, v)
        :: else -> into = memory[v]
        fi
    }
}

/* Waits until the buffer is empty; the memory process drains it. */
inline fence(p)
{
    atomic { drained(p) -> skip }
}

inline release_store(p, v, value)
{
    fence(p);
    store(p, v, value)
}

inline start_memory()
{
    byte i_ = 0;
    do
    :: i_ < PROCESSES * VARIABLES -> buffer[i_] = EMPTY; i_++
    :: else -> break
    od
}

/* Moves one buffered store to memory, any one. Ends when the others have. */
proctype drain(byte p; byte v)
{
end:
    do
    :: atomic { AT(p, v) != EMPTY -> memory[v] = AT(p, v); AT(p, v) = EMPTY }
    od
}
