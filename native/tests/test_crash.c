/* kill -9 of a writer at random instants, then recovery by somebody who has the segment mapped. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test.h"

#include "arena/alloc.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
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

static ih_heap make_heap(uint8_t *memory, uint64_t bytes)
{
    ih_heap heap = {
        .base = memory, .view = memory, .id = 77, .secret = {1, 2}, .kind = IH_ORDINARY};
    heap.first = ih_heap_first_unit(IH_ORDINARY, bytes);
    heap.end = (uint32_t)(bytes / IH_UNIT);
    return heap;
}

static void note(volatile journal *log, uint32_t unit, uint8_t state)
{
    __atomic_store_n(&log->state[unit], state, __ATOMIC_SEQ_CST);
}

/* Puts and frees: so many times, or until it is killed. */
static void write_blocks(ih_heap heap, volatile journal *log, uint64_t random, uint64_t times)
{
    static const uint8_t image[16];
    uint32_t half_made[64] = {0};
    for (uint64_t i = 0; i < times; i++) {
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
    ih_heap heap = make_heap(shared(BYTES), BYTES);
    ih_heap_format(&heap, BYTES, 1);
    for (uint64_t i = 0; i < kills; i++) {
        log->started = 0;
        uint64_t seed = test_random(&random) | 1u;
        /* The writer's poison is not ours: each process has a shadow of its own. */
        ih_heap_poison(&heap, 0, heap.end, false);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            write_blocks(heap, log, seed, UINT64_MAX);
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

/* ---- at every instruction -------------------------------------------------------------------- */

#define STEP_BYTES (UINT64_C(64) << 10)

/* The memory as it is at this instant, recovered and examined; the original is left as it is. */
static void recover_copy(const ih_heap *heap, const journal *log, uint8_t *scratch,
                         journal *log_copy)
{
    memcpy(scratch, heap->base, STEP_BYTES);
    memcpy(log_copy, log, sizeof *log);
    ih_heap copy = make_heap(scratch, STEP_BYTES);
    char message[200];
    if (ih_heap_recover(&copy, message, sizeof message) != IH_OK) {
        fprintf(stderr, "recover: %s\n", message);
        abort();
    }
    examine(&copy, log_copy);
    ih_heap_poison(&copy, 0, copy.end, false);
}

static bool step(pid_t pid)
{
    int status;
    CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status))
        return false;
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    return true;
}

/* A kill hits a window of one instruction once in a million; here the writer is stopped after each
 * of its instructions, and whatever has changed is recovered as if it had been killed there. */
static void test_h08_killed_at_every_instruction(void)
{
    uint64_t times = test_setting("IH_STEP_OPS", 250), instants = 0, steps = 0;
    journal *log = (journal *)(void *)shared(sizeof *log), *log_copy = malloc(sizeof *log_copy);
    ih_heap heap = make_heap(shared(STEP_BYTES), STEP_BYTES);
    uint8_t *scratch = aligned_alloc(4096, STEP_BYTES), *last = malloc(STEP_BYTES);
    CHECK(log_copy != NULL && scratch != NULL && last != NULL);
    ih_heap_format(&heap, STEP_BYTES, 1);
    ih_heap_poison(&heap, 0, heap.end, false);
    write_blocks(heap, log, 12345, 300); /* so that there is something to free and to merge */
    ih_heap_poison(&heap, 0, heap.end, false);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        write_blocks(heap, log, 999, times);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("processes may not be traced here");
    CHECK(WIFSTOPPED(status));
    memcpy(last, heap.base, STEP_BYTES);
    while (step(pid)) {
        steps++;
        if (memcmp(last, heap.base, STEP_BYTES) == 0)
            continue;
        memcpy(last, heap.base, STEP_BYTES);
        recover_copy(&heap, log, scratch, log_copy);
        instants++;
    }
    CHECK(instants > times);
    printf("     %" PRIu64 " instants of %" PRIu64 " instructions\n", instants, steps);
    free(log_copy);
    free(scratch);
    free(last);
}

int main(void)
{
    RUN(test_h08_killed_at_every_instruction);
    RUN(test_h08_killed_writer_loses_nothing);
    return 0;
}
