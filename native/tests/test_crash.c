/* kill -9 of a writer at random instants, then recovery by somebody who has the segment mapped. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include "arena/alloc.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define BYTES (UINT64_C(256) << 10)
enum { UNITS = BYTES / IH_UNIT };

/* What the writer says about each unit, in memory that survives it. Where it was in the middle of
 * sealing or freeing either outcome is right. */
enum { NOTHING = 0, SEALING, SEALED, FREEING };

typedef struct {
    uint32_t started;
    uint8_t state[UNITS];
    uint64_t nonce[UNITS];
    uint32_t units[UNITS];
    uint64_t operations;
} journal;

static uint8_t *shared(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static ih_heap make_heap(uint8_t *memory)
{
    ih_heap heap = {
        .base = memory, .view = memory, .id = 77, .secret = {1, 2}, .kind = IH_ORDINARY};
    heap.first = ih_heap_first_unit(IH_ORDINARY, BYTES);
    heap.end = UNITS;
    return heap;
}

static void note(volatile journal *log, uint32_t unit, uint8_t state)
{
    __atomic_store_n(&log->state[unit], state, __ATOMIC_SEQ_CST);
}

/* Puts and frees until it is killed. */
static void write_for_ever(ih_heap heap, volatile journal *log, uint64_t random)
{
    static const uint8_t image[16];
    uint32_t half_made[64] = {0};
    for (;;) {
        log->operations++;
        __atomic_store_n(&log->started, 1, __ATOMIC_RELEASE);
        uint32_t at = heap.first + (uint32_t)test_below(&random, heap.end - heap.first);
        if (log->state[at] == SEALED && test_below(&random, 2) == 0) {
            note(log, at, FREEING);
            ih_heap_unseal(&heap, at);
            ih_heap_free(&heap, at);
            note(log, at, NOTHING);
            continue;
        }
        uint32_t units =
            1u + (uint32_t)test_below(&random, test_below(&random, 10) == 0 ? 200 : 12);
        uint32_t unit = ih_heap_alloc(&heap, units);
        if (unit == 0)
            continue;
        uint32_t which = (uint32_t)test_below(&random, 64);
        if (test_below(&random, 4) == 0) { /* some stay half-made for a while */
            if (half_made[which] != 0)
                ih_heap_free(&heap, half_made[which]);
            half_made[which] = unit;
            continue;
        }
        uint8_t *body = heap.base + ((size_t)unit << IH_UNIT_SHIFT);
        memset(body + IH_HEADER_SIZE, (int)(unit & 0xff),
               ((size_t)units << IH_UNIT_SHIFT) - IH_HEADER_SIZE);
        uint64_t nonce = test_random(&random);
        log->nonce[unit] = nonce;
        log->units[unit] = units;
        note(log, unit, SEALING);
        ih_heap_seal(&heap, unit, nonce, (uint64_t)units << IH_UNIT_SHIFT, 1, 0, image);
        note(log, unit, SEALED);
    }
}

static void examine(const ih_heap *heap, journal *log)
{
    uint32_t sealed = 0, sealed_units = 0;
    for (uint32_t unit = heap->first; unit < heap->end; unit++) {
        ih_header header;
        bool found = ih_heap_sealed(heap, unit, &log->nonce[unit], &header);
        CHECK(!found || log->state[unit] != NOTHING);
        CHECK(found || log->state[unit] != SEALED);
        if (found) {
            CHECK_EQ(header.units, log->units[unit]);
            const uint8_t *body = heap->view + ((size_t)unit << IH_UNIT_SHIFT);
            for (size_t at = IH_HEADER_SIZE; at < header.size; at += 37)
                CHECK_EQ(body[at], unit & 0xff);
            sealed++;
            sealed_units += header.units;
        }
        log->state[unit] = found ? SEALED : NOTHING;
    }
    char message[200];
    ih_heap_stats stats;
    if (ih_heap_check(heap, &stats, message, sizeof message) != IH_OK) {
        fprintf(stderr, "after recovery: %s\n", message);
        abort();
    }
    CHECK_EQ(stats.sealed, sealed);
    CHECK_EQ(stats.allocated, 0);
    CHECK_EQ(stats.free_units + sealed_units, heap->end - heap->first);
}

static void test_h08_killed_writer_loses_nothing(void)
{
    uint64_t kills = test_setting("IH_KILLS", 1000), random = test_setting("IH_SEED", 1) * 2 + 1;
    journal *log = (journal *)(void *)shared(sizeof *log);
    ih_heap heap = make_heap(shared(BYTES));
    ih_heap_format(&heap, BYTES, 1);
    for (uint64_t i = 0; i < kills; i++) {
        log->started = 0;
        uint64_t seed = test_random(&random) | 1u;
        /* The writer's poison is not ours: each process has a shadow of its own. */
        ih_heap_poison(&heap, 0, heap.end, false);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            write_for_ever(heap, log, seed);
        while (__atomic_load_n(&log->started, __ATOMIC_ACQUIRE) == 0)
            ;
        uint64_t spins = test_below(&random, 200000);
        for (volatile uint64_t s = 0; s < spins; s++)
            ;
        CHECK(kill(pid, SIGKILL) == 0);
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
              WTERMSIG(status) == SIGKILL);
        char message[200];
        ih_result result = ih_heap_recover(&heap, message, sizeof message);
        if (result != IH_OK) {
            fprintf(stderr, "recover: %s\n", message);
            abort();
        }
        examine(&heap, log);
    }
    printf("     %" PRIu64 " kills in %" PRIu64 " operations\n", kills, log->operations);
}

int main(void)
{
    RUN(test_h08_killed_writer_loses_nothing);
    return 0;
}
