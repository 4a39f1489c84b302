/* A small store, driven by the fuzzer through its public face, with its invariants checked. */
#include "arena/arena.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEPT = 32 };

typedef struct {
    const uint8_t *at, *end;
    ih_process *process;
    ih_store *store;
    ih_handle handles[KEPT];
    ih_lease *leases[KEPT];
    ih_block blocks[KEPT];
} world;

static uint32_t take(world *w, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && w->at < w->end; i++)
        value = value << 8 | *w->at++;
    return value;
}

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void put(world *w)
{
    ih_block *block = &w->blocks[take(w, 1) % KEPT];
    ih_block_abandon(block);
    (void)ih_reserve(w->store, take(w, 2) + 64u, take(w, 1) % 16u == 0 ? IH_PUT_SEAL : 0, block,
                     NULL);
}

static void seal(world *w)
{
    static const uint8_t image[16];
    uint32_t which = take(w, 1) % KEPT;
    ih_block *block = &w->blocks[which];
    if (block->segment == NULL)
        return;
    must(block->size < 65 || ih_block_write(block, 64, "x", 1, NULL) == IH_OK);
    if (w->leases[which] != NULL)
        ih_lease_release(w->leases[which]);
    w->leases[which] = NULL;
    ih_lease **lease = take(w, 1) % 2u == 0 ? &w->leases[which] : NULL;
    must(ih_block_seal(block, image, &w->handles[which], lease, NULL) == IH_OK);
}

static void step(world *w)
{
    uint32_t what = take(w, 1) % 10u, which = take(w, 1) % KEPT;
    char name[1] = {(char)('a' + which % 7u)};
    ih_usage usage;
    switch (what) {
    case 0:
    case 1:
        put(w);
        break;
    case 2:
    case 3:
        seal(w);
        break;
    case 4:
        (void)ih_delete(w->store, w->handles[which], take(w, 1) % 2u == 0, NULL);
        break;
    case 5:
        if (w->leases[which] == NULL)
            (void)ih_open(w->process, w->handles[which], &w->leases[which], NULL);
        break;
    case 6:
        if (w->leases[which] != NULL)
            ih_lease_release(w->leases[which]);
        w->leases[which] = NULL;
        break;
    case 7:
        (void)ih_bind(w->store, name, 1, take(w, 1) % 4u == 0 ? NULL : &w->handles[which],
                      take(w, 1) % 2u == 0 ? IH_ANY_VERSION : take(w, 1), NULL, NULL);
        break;
    case 8:
        must(ih_store_usage(w->store, &usage, NULL) == IH_OK);
        must(usage.committed <= usage.capacity && usage.used <= usage.committed);
        if (take(w, 1) % 8u == 0)
            must(ih_store_trim(w->store, NULL) == IH_OK);
        break;
    default:
        must(ih_store_check(w->store, NULL, 0) == IH_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world w = {.at = data, .end = data + size};
    ih_store_options options = {512u << 10, 64u << 10, take(&w, 1) % 2u == 0};
    must(ih_process_create(&w.process, NULL) == IH_OK);
    must(ih_store_open(w.process, &options, &w.store, NULL) == IH_OK);
    while (w.at < w.end)
        step(&w);
    must(ih_store_check(w.store, NULL, 0) == IH_OK);
    bool close_first = size % 2u == 0;
    if (close_first)
        ih_store_close(w.store);
    for (unsigned i = 0; i < KEPT; i++) {
        ih_block_abandon(&w.blocks[i]);
        if (w.leases[i] != NULL)
            ih_lease_release(w.leases[i]);
    }
    must(ih_store_check(w.store, NULL, 0) == IH_OK);
    if (close_first) {
        ih_usage usage;
        must(ih_store_usage(w.store, &usage, NULL) == IH_OK);
        must(usage.committed == 0 && usage.images == 0 && usage.leases == 0);
    }
    ih_store_drop(w.store);
    ih_process_destroy(w.process);
    return 0;
}
