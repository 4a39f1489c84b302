/* Operations and damage, as the fuzzer likes, on one segment: nothing crashes, what recover()
 * accepts holds every invariant. */
#include "arena/alloc.h"

#include <stdlib.h>
#include <string.h>

#define BYTES (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const uint8_t *at, *end;
} input;

static uint32_t take(input *in, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && in->at < in->end; i++)
        value = value << 8 | *in->at++;
    return value;
}

static void must(bool condition)
{
    if (!condition)
        abort();
}

static ih_heap fresh(uint8_t *memory)
{
    ih_heap heap = {.base = memory, .view = memory, .id = 5, .secret = {3, 4}, .kind = IH_ORDINARY};
    heap.first = ih_heap_first_unit(IH_ORDINARY, BYTES);
    heap.end = BYTES / IH_UNIT;
    ih_heap_poison(&heap, 0, heap.end, false);
    memset(memory, 0, BYTES);
    ih_heap_format(&heap, BYTES, 1);
    return heap;
}

/* Bytes changed: from here on only check and recover may look, until recover says that all is well.
 */
static void damage(ih_heap *heap, input *in, bool *owned)
{
    char message[128];
    ih_heap_poison(heap, 0, heap->end, false);
    for (uint32_t count = take(in, 1) % 8u + 1u; count > 0; count--) {
        uint32_t at = take(in, 2) % BYTES;
        heap->base[at] = (uint8_t)take(in, 1);
    }
    (void)ih_heap_check(heap, NULL, message, sizeof message);
    ih_header header;
    for (uint32_t unit = 0; unit < heap->end; unit++)
        (void)ih_heap_sealed(heap, unit, NULL, &header);
    if (ih_heap_recover(heap, message, sizeof message) != IH_OK)
        *heap = fresh(heap->base);
    must(ih_heap_check(heap, NULL, message, sizeof message) == IH_OK);
    for (uint32_t unit = 0; unit < heap->end; unit++)
        owned[unit] = ih_heap_sealed(heap, unit, NULL, &header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t image[16];
    static bool owned[BYTES / IH_UNIT];
    memset(owned, 0, sizeof owned);
    uint8_t *memory = aligned_alloc(4096, BYTES);
    must(memory != NULL);
    ih_heap heap = fresh(memory);
    input in = {data, data + size};
    ih_header header;
    while (in.at < in.end) {
        uint32_t unit;
        switch (take(&in, 1) % 8u) {
        case 0:
        case 1:
        case 2:
            unit = ih_heap_alloc(&heap, take(&in, 1) % 40u + 1u);
            must(unit == 0 || !owned[unit]);
            if (unit != 0)
                owned[unit] = true;
            break;
        case 3:
            unit = take(&in, 2) % heap.end;
            if (owned[unit] && !ih_heap_sealed(&heap, unit, NULL, &header))
                ih_heap_seal(&heap, unit, take(&in, 2), 64, 1, 0, image);
            break;
        case 4:
        case 5:
            unit = take(&in, 2) % heap.end;
            if (owned[unit]) {
                ih_heap_unseal(&heap, unit);
                ih_heap_free(&heap, unit);
                owned[unit] = false;
            }
            break;
        case 6:
            must(ih_heap_check(&heap, NULL, NULL, 0) == IH_OK);
            break;
        default:
            damage(&heap, &in, owned);
        }
    }
    must(ih_heap_check(&heap, NULL, NULL, 0) == IH_OK);
    ih_heap_poison(&heap, 0, heap.end, false);
    free(memory);
    return 0;
}
