/* libFuzzer: any bytes as an image. Nothing is read outside it, everything ends, and what
 * validates is read without a fault. The first image of the corpus is made here, one with every
 * kind of node. */
#include "test.h"

#include "image_build.h"
#include "image_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *memory = NULL;
    if (size < IH_IMAGE_START || posix_memalign(&memory, 64, size) != 0)
        return 0;
    memcpy(memory, data, size);
    ih_image image;
    ih_fault fault = {0, NULL};
    uint32_t root;
    if (ih_image_open(memory, size, &image, &root, &fault) == 0) {
        walker w = {.image = &image, .steps = 200000};
        walk_word(&w, root, 0);
        int result = ih_validate(&image, root, &fault);
        CHECK(result == 0 || result == -2 || fault.reason != NULL);
        CHECK(result != 0 || w.faults == 0);
    } else {
        CHECK(fault.reason != NULL);
    }
    free(memory);
    return 0;
}

/* An empty input becomes the image with everything; the header stays whole most of the time. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    if (size < IH_IMAGE_START && max_size >= 2048) {
        ih_writer w;
        CHECK_EQ(ih_writer_init(&w), 0);
        build_everything(&w);
        size = (size_t)w.size;
        CHECK(size <= max_size);
        memcpy(data, w.bytes, size);
        ih_writer_free(&w);
        return size;
    }
    uint64_t random = seed + 1;
    if (size >= IH_IMAGE_START + 8 && test_below(&random, 2)) { /* a word that refers to a node */
        uint64_t at = 52 + test_below(&random, size - 56) / 4 * 4;
        uint32_t word = (uint32_t)(16 + test_below(&random, size / 4)) << 1;
        memcpy(data + at, &word, 4);
    } else {
        size = LLVMFuzzerMutate(data, size, max_size);
    }
    if (size >= IH_IMAGE_START && test_below(&random, 8)) {
        ih_image_header header;
        memcpy(&header, data + 48, sizeof header);
        header.magic = IH_IMAGE_MAGIC;
        header.version = IH_IMAGE_VERSION;
        header.flags &= IH_IMAGE_LINKS | IH_IMAGE_CELLS;
        header.graph_size = size & ~(size_t)3;
        memcpy(data + 48, &header, sizeof header);
    }
    return size;
}
