/* The allocator against a naive model that keeps a byte for each unit and knows every block. */
#include "test.h"

#include "arena/alloc.h"

typedef struct {
    uint32_t unit, units;
    uint64_t nonce; /* 0: not sealed */
    uint64_t size;
} live;

typedef struct {
    ih_heap heap;
    uint64_t bytes;
    uint8_t *taken; /* by unit */
    live *blocks;
    size_t count, room;
    uint64_t random;
    uint64_t failures;
} world;

static void world_open(world *w, uint64_t bytes, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->bytes = bytes;
    w->random = seed | 1u;
    w->heap.base = aligned_alloc(4096, bytes);
    CHECK(w->heap.base != NULL);
    memset(w->heap.base, 0, bytes);
    w->heap.view = w->heap.base;
    w->heap.id = test_random(&w->random) & IH_ID_MASK;
    w->heap.secret[0] = test_random(&w->random);
    w->heap.secret[1] = test_random(&w->random);
    w->heap.kind = IH_ORDINARY;
    w->heap.first = ih_heap_first_unit(IH_ORDINARY, bytes);
    w->heap.end = (uint32_t)(bytes >> IH_UNIT_SHIFT);
    w->taken = calloc(w->heap.end, 1);
    w->room = w->heap.end;
    w->blocks = calloc(w->room, sizeof *w->blocks);
    CHECK(w->taken != NULL && w->blocks != NULL);
    ih_heap_format(&w->heap, bytes, 1);
}

static void world_close(world *w)
{
    ih_heap_poison(&w->heap, 0, w->heap.end, false);
    free(w->heap.base);
    free(w->taken);
    free(w->blocks);
}

static uint32_t longest_run(const world *w)
{
    uint32_t best = 0, run = 0;
    for (uint32_t unit = w->heap.first; unit < w->heap.end; unit++) {
        run = w->taken[unit] ? 0 : run + 1;
        best = run > best ? run : best;
    }
    return best;
}

static void check_heap(const world *w)
{
    char message[256];
    ih_heap_stats stats;
    if (ih_heap_check(&w->heap, &stats, message, sizeof message) != IH_OK) {
        fprintf(stderr, "check: %s\n", message);
        abort();
    }
    CHECK_EQ(stats.sealed + stats.allocated, w->count);
}

/* Everything that the model knows, and nothing else, is in the segment. */
static void compare(world *w)
{
    check_heap(w);
    uint32_t free_units = 0;
    for (uint32_t unit = w->heap.first; unit < w->heap.end; unit++)
        free_units += w->taken[unit] ? 0u : 1u;
    CHECK_EQ(ih_heap_header(&w->heap)->free_units, free_units);
    CHECK_EQ(ih_heap_largest_free(&w->heap), longest_run(w));
    for (size_t i = 0; i < w->count; i++) {
        const live *block = &w->blocks[i];
        CHECK_EQ(ih_heap_at(&w->heap, block->unit)->units, block->units);
        ih_header header;
        bool sealed = ih_heap_sealed(&w->heap, block->unit, NULL, &header);
        CHECK_EQ(sealed, block->nonce != 0);
        if (sealed)
            CHECK(header.u.nonce == block->nonce && header.size == block->size);
        const uint8_t *body = w->heap.base + ((size_t)block->unit << IH_UNIT_SHIFT);
        size_t bytes = (size_t)block->units << IH_UNIT_SHIFT;
        for (size_t at = IH_HEADER_SIZE; at < bytes; at += 61)
            CHECK_EQ(body[at], test_byte(block->unit, at));
    }
}

static uint32_t random_units(world *w)
{
    uint64_t shape = test_below(&w->random, 100);
    uint64_t most = w->heap.end - w->heap.first;
    if (shape < 60)
        return 1u + (uint32_t)test_below(&w->random, 8);
    if (shape < 90)
        return 1u + (uint32_t)test_below(&w->random, most / 64u + 1u);
    if (shape < 99)
        return 1u + (uint32_t)test_below(&w->random, most / 8u + 1u);
    return 1u + (uint32_t)test_below(&w->random, most + 10u);
}

/* An allocation may only be refused where no run is long enough for the rounded request. */
static void refused(world *w, uint32_t units)
{
    w->failures++;
    uint32_t run = longest_run(w), step = 0;
    if (units >= IH_SL_COUNT)
        step = (1u << (31u - (uint32_t)__builtin_clz(units) - IH_SL_BITS)) - 1u;
    CHECK(run < units + step);
}

static void do_alloc(world *w)
{
    uint32_t units = random_units(w);
    uint32_t unit = ih_heap_alloc(&w->heap, units);
    if (unit == 0) {
        /* The scan for the longest run is slow: a part of the refusals is looked at. */
        if (test_below(&w->random, 16) == 0)
            refused(w, units);
        return;
    }
    CHECK(unit >= w->heap.first && units <= w->heap.end - unit);
    for (uint32_t i = 0; i < units; i++) {
        CHECK(!w->taken[unit + i]);
        w->taken[unit + i] = 1;
    }
    uint8_t *body = w->heap.base + ((size_t)unit << IH_UNIT_SHIFT);
    size_t bytes = (size_t)units << IH_UNIT_SHIFT;
    for (size_t at = IH_HEADER_SIZE; at < bytes; at += 61)
        body[at] = test_byte(unit, at);
    w->blocks[w->count++] = (live){.unit = unit, .units = units};
}

static void do_free(world *w, size_t index)
{
    live *block = &w->blocks[index];
    if (block->nonce != 0)
        ih_heap_unseal(&w->heap, block->unit);
    ih_header header;
    CHECK(!ih_heap_sealed(&w->heap, block->unit, NULL, &header));
    ih_heap_free(&w->heap, block->unit);
    memset(w->taken + block->unit, 0, block->units);
    *block = w->blocks[--w->count];
}

static void do_seal(world *w, size_t index)
{
    live *block = &w->blocks[index];
    if (block->nonce != 0)
        return;
    static const uint8_t image[16];
    block->nonce = test_random(&w->random) | 1u;
    uint64_t bytes = (uint64_t)block->units << IH_UNIT_SHIFT;
    block->size = bytes - test_below(&w->random, IH_UNIT);
    block->size = block->size < IH_HEADER_SIZE ? IH_HEADER_SIZE : block->size;
    ih_heap_seal(&w->heap, block->unit, block->nonce, block->size, 1, 0, image);
    ih_header header;
    uint64_t wrong = block->nonce ^ 1u;
    CHECK(ih_heap_sealed(&w->heap, block->unit, &block->nonce, &header));
    CHECK(!ih_heap_sealed(&w->heap, block->unit, &wrong, &header));
}

/* As after a crash: what was not sealed is free afterwards. */
static void do_recover(world *w)
{
    char message[256];
    CHECK_EQ(ih_heap_recover(&w->heap, message, sizeof message), IH_OK);
    for (size_t i = w->count; i > 0; i--) {
        live *block = &w->blocks[i - 1];
        if (block->nonce == 0) {
            memset(w->taken + block->unit, 0, block->units);
            *block = w->blocks[--w->count];
        }
    }
    compare(w);
}

static void step(world *w, uint64_t fill)
{
    uint64_t what = test_below(&w->random, 1000);
    if (what < fill || w->count == 0)
        do_alloc(w);
    else if (what < 800)
        do_free(w, test_below(&w->random, w->count));
    else
        do_seal(w, test_below(&w->random, w->count));
}

static void test_allocator_against_a_model(void)
{
    static const uint64_t sizes[] = {64 << 10, 256 << 10, 1 << 20, 4 << 20};
    uint64_t ops = test_setting("IH_OPS", 1000000), seed = test_setting("IH_SEED", 20261122);
    uint64_t done = 0;
    for (unsigned round = 0; done < ops; round++) {
        world w;
        world_open(&w, sizes[round % 4u], seed + round);
        /* A tide: the segment fills, empties, fills. */
        for (unsigned i = 1; i <= 250000 && done < ops; i++, done++) {
            step(&w, i / 25000u % 2u == 0 ? 460 : 380);
            if (i % 2000u == 0)
                check_heap(&w);
            if (i % 20000u == 0)
                compare(&w);
            if (i % 50000u == 0)
                do_recover(&w);
        }
        while (w.count > 0)
            do_free(&w, w.count - 1);
        compare(&w);
        CHECK_EQ(ih_heap_header(&w.heap)->blocks, 1);
        world_close(&w);
    }
}

static void test_exact_fit_is_found(void)
{
    world w;
    world_open(&w, 1 << 20, 7);
    uint32_t all = w.heap.end - w.heap.first;
    CHECK_EQ(ih_heap_alloc(&w.heap, all + 1), 0);
    uint32_t unit = ih_heap_alloc(&w.heap, all);
    CHECK_EQ(unit, w.heap.first);
    CHECK_EQ(ih_heap_rank(&w.heap), -1);
    ih_heap_free(&w.heap, unit);
    world_close(&w);
}

/* Bytes changed anywhere: check and recover say so or not, but never crash or hang, and what
 * recover accepts works. */
static void test_h10_poked_segments(void)
{
    uint64_t random = test_setting("IH_SEED", 4711) | 1u;
    unsigned refusals = 0;
    for (unsigned round = 0; round < 3000; round++) {
        world w;
        world_open(&w, 64 << 10, test_random(&random));
        for (unsigned i = 0; i < 200; i++)
            step(&w, 500);
        ih_heap_poison(&w.heap, 0, w.heap.end, false);
        unsigned pokes = 1u + (unsigned)test_below(&random, 8);
        for (unsigned i = 0; i < pokes; i++) {
            uint64_t at = test_below(&random, w.bytes);
            if (w.count > 0 && test_below(&random, 2) == 0)
                at = ((uint64_t)w.blocks[test_below(&random, w.count)].unit << IH_UNIT_SHIFT) +
                     test_below(&random, 48);
            w.heap.base[at] = (uint8_t)test_random(&random);
        }
        char message[256];
        (void)ih_heap_check(&w.heap, NULL, message, sizeof message);
        ih_result result = ih_heap_recover(&w.heap, message, sizeof message);
        CHECK(result == IH_OK || result == IH_CORRUPT);
        if (result == IH_OK) {
            CHECK_EQ(ih_heap_check(&w.heap, NULL, message, sizeof message), IH_OK);
            for (unsigned i = 0; i < 20; i++)
                (void)ih_heap_alloc(&w.heap, random_units(&w));
            CHECK_EQ(ih_heap_check(&w.heap, NULL, message, sizeof message), IH_OK);
        } else {
            refusals++;
        }
        world_close(&w);
    }
    CHECK(refusals > 0);
}

/* An image whose body repeats its own genuine header, freed and covered by a larger one: the old
 * handle must not find the copy, though its keyed check is right. */
static void test_h10_replayed_header_is_no_image(void)
{
    static const uint8_t image[16];
    world w;
    world_open(&w, 1 << 20, 9);
    uint32_t first = ih_heap_alloc(&w.heap, 2), second = ih_heap_alloc(&w.heap, 2);
    uint64_t nonce = 12345;
    ih_heap_seal(&w.heap, second, nonce, 128, 1, 0, image);
    ih_header genuine = *ih_heap_at(&w.heap, second), found;
    CHECK(ih_heap_sealed(&w.heap, second, &nonce, &found));
    ih_heap_unseal(&w.heap, second);
    ih_heap_free(&w.heap, second);
    ih_heap_free(&w.heap, first);
    uint32_t larger = ih_heap_alloc(&w.heap, 8);
    CHECK_EQ(larger, first);
    memcpy(ih_heap_at(&w.heap, second), &genuine, sizeof genuine);
    ih_heap_seal(&w.heap, larger, 999, 512, 1, 0, image);
    CHECK(!ih_heap_sealed(&w.heap, second, &nonce, &found));
    world_close(&w);
}

int main(void)
{
    RUN(test_allocator_against_a_model);
    RUN(test_exact_fit_is_found);
    RUN(test_h10_poked_segments);
    RUN(test_h10_replayed_header_is_no_image);
    return 0;
}
