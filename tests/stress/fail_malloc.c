/* Loaded before libc: fails a window of the calls that allocate, counted from fail_from(). */
#include <errno.h>
#include <stddef.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static long countdown = -1, window, failed;

/* The call number `first` fails, and those behind it up to `count`. */
void fail_from(long first, long count)
{
    failed = 0;
    window = count;
    countdown = first;
}

/* How many failed; none do any more. */
long fail_end(void)
{
    countdown = -1;
    window = 0;
    return failed;
}

static int refused(void)
{
    if (__builtin_expect(countdown < 0, 1))
        return 0;
    if (countdown > 0 && --countdown > 0)
        return 0;
    if (window == 0) {
        countdown = -1;
        return 0;
    }
    window--;
    failed++;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return refused() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return refused() ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return refused() ? NULL : __libc_realloc(block, size); }
