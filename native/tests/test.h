/* What every C test uses: checks that say where they failed, a watchdog, a seeded generator.
 *
 * A test program is a list of RUN(test_hNN_what_it_shows) in main(); names carry the number of the
 * hazard that the test guards against.
 */
#ifndef ICEHOUSE_TESTS_TEST_H
#define ICEHOUSE_TESTS_TEST_H

#include "arena/arena.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                         \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: %s failed: %s\n", __FILE__, __LINE__, __func__, #condition); \
            abort();                                                                             \
        }                                                                                        \
    } while (0)

#define CHECK_EQ(left, right)                                                               \
    do {                                                                                    \
        long long left_ = (long long)(left), right_ = (long long)(right);                   \
        if (left_ != right_) {                                                              \
            fprintf(stderr, "%s:%d: %s failed: %s is %lld, not %lld\n", __FILE__, __LINE__, \
                    __func__, #left, left_, right_);                                        \
            abort();                                                                        \
        }                                                                                   \
    } while (0)

/* An expression that gives an ih_result; `error` is in scope. */
#define CHECK_OK(expression)                                                                   \
    do {                                                                                       \
        ih_result result_ = (expression);                                                      \
        if (result_ != IH_OK) {                                                                \
            fprintf(stderr, "%s:%d: %s failed: %s is %d (%s, errno %d)\n", __FILE__, __LINE__, \
                    __func__, #expression, (int)result_, error.what ? error.what : "",         \
                    error.system_errno);                                                       \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

#define CHECK_STORE(store)                                                                     \
    do {                                                                                       \
        char message_[256];                                                                    \
        if (ih_store_check((store), message_, sizeof message_) != IH_OK) {                     \
            fprintf(stderr, "%s:%d: %s failed: the store is broken: %s\n", __FILE__, __LINE__, \
                    __func__, message_);                                                       \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

static inline double test_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* What hangs is killed: no test takes this long; a soak says how long its tests may. */
#define WATCHDOG_SECONDS 900u

#define RUN(name)                                                       \
    do {                                                                \
        alarm((unsigned)test_setting("IH_WATCHDOG", WATCHDOG_SECONDS)); \
        double start_ = test_now();                                     \
        name();                                                         \
        printf("ok   %-60s %6.2f s\n", #name, test_now() - start_);     \
        fflush(stdout);                                                 \
    } while (0)

#define SKIP(reason)                                    \
    do {                                                \
        printf("SKIPPED %s: %s\n", __func__, (reason)); \
        fflush(stdout);                                 \
        return;                                         \
    } while (0)

static inline uint64_t test_setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

/* xorshift64*: every run with one seed does the same. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint64_t test_below(uint64_t *state, uint64_t bound)
{
    return (test_random(state) >> 11) % bound;
}

/* ---- puts and gets in one line --------------------------------------------------------------- */

/* The byte at `offset` of an image put with `seed`. */
static inline uint8_t test_byte(uint64_t seed, uint64_t offset)
{
    return (uint8_t)(seed * 31u + offset * 7u + (offset >> 8));
}

static inline ih_result test_put(ih_store *store, uint64_t size, unsigned flags, uint64_t seed,
                                 ih_handle *handle, ih_lease **lease, ih_error *error)
{
    static const uint8_t header[16] = "test image";
    ih_block block;
    ih_result result = ih_reserve(store, size, flags, &block, error);
    if (result != IH_OK)
        return result;
    uint8_t part[4096];
    for (uint64_t at = IH_HEADER_SIZE; at < size && result == IH_OK;) {
        uint64_t count = size - at < sizeof part ? size - at : sizeof part;
        for (uint64_t i = 0; i < count; i++)
            part[i] = test_byte(seed, at + i);
        result = ih_block_write(&block, at, part, count, error);
        at += count;
    }
    if (result == IH_OK)
        result = ih_block_seal(&block, header, handle, lease, error);
    if (result != IH_OK)
        ih_block_abandon(&block);
    return result;
}

static inline void test_verify(const ih_lease *lease, uint64_t size, uint64_t seed)
{
    CHECK_EQ(lease->size, size);
    uint64_t step = size > 65536 ? 4093 : 1;
    for (uint64_t at = IH_HEADER_SIZE; at < size; at += step)
        CHECK_EQ(lease->image[at], test_byte(seed, at));
}

#endif
