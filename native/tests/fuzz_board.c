/* A names board whose bytes another process wrote, as the fuzzer likes: readers stay inside it and
 * come to an end; what a writer accepts when he takes it over holds every invariant. */
#include "arena/board.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

static void name_of(uint32_t number, char out[16], size_t *length)
{
    memset(out, (int)('a' + number % 20u), 16);
    *length = number % 16u + 1u;
}

static void read_all(const ih_board *board)
{
    uint64_t cursor = 0, version, steps = 0;
    const char *name;
    size_t length;
    ih_handle handle;
    uint8_t sum = 0;
    while (ih_board_next(board, &cursor, &name, &length, &handle, &version)) {
        must(++steps <= ih_board_bytes(board) / 64u && length <= IH_NAME_MAX);
        for (size_t i = 0; i < length; i++)
            sum ^= (uint8_t)name[i];
    }
    for (uint32_t i = 0; i < 20; i++) {
        char text[16];
        name_of(i, text, &length);
        (void)ih_board_lookup(board, text, length, &handle, &version);
        (void)ih_board_wait(board, text, length, ih_board_ticket(board, text, length), 0);
    }
    (void)ih_board_bound(board);
    (void)ih_board_retired(board);
    (void)ih_board_check(board, NULL, sum & 0u);
}

static void damage(input *in, uint8_t *memory, uint64_t bytes)
{
    uint32_t at = take(in, 2) % (uint32_t)bytes;
    for (uint32_t count = take(in, 1) % 9u; count > 0; count--)
        memory[at++ % bytes] = (uint8_t)take(in, 1);
}

static void bind(input *in, ih_board *board)
{
    char text[16];
    size_t length;
    name_of(take(in, 1), text, &length);
    ih_handle handle = {take(in, 1) % 3u, take(in, 1)};
    ih_result result = ih_board_set(board, text, length, handle, take(in, 1));
    must(result == IH_OK || result == IH_FULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, data + size};
    ih_board *board, *reader, *second;
    int fd;
    must(ih_board_create(1, 16, &board, &fd, NULL) == IH_OK);
    uint64_t bytes = ih_board_bytes(board);
    must(ih_board_attach(fd, bytes, false, &reader, NULL) == IH_OK);
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(memory != MAP_FAILED);
    while (in.at < in.end) {
        switch (take(&in, 1) % 4u) {
        case 0:
            bind(&in, board);
            break;
        case 1:
            damage(&in, memory, bytes);
            break;
        case 2:
            read_all(reader);
            break;
        default:
            if (ih_board_attach(fd, bytes, false, &second, NULL) == IH_OK) {
                read_all(second);
                ih_board_destroy(second);
            }
            if (ih_board_attach(fd, bytes, true, &second, NULL) == IH_OK) {
                bind(&in, second);
                ih_board_destroy(second);
            }
        }
    }
    read_all(reader);
    ih_board_destroy(reader);
    ih_board_destroy(board);
    munmap(memory, bytes);
    close(fd);
    return 0;
}
