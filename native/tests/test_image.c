/* The reader and the validator over images made by hand, and over each of them damaged. */
#include "test.h"

#include "image_build.h"
#include "image_walk.h"

#include "image/utf8.h"

static ih_writer writer;

/* A 64-byte aligned copy, exactly as large as the image: whatever is read beyond is seen by
 * ASan. */
static uint8_t *copy_of(uint64_t size)
{
    void *copy = NULL;
    CHECK_EQ(posix_memalign(&copy, 64, size), 0);
    memcpy(copy, writer.bytes, size);
    return copy;
}

static int validate(const uint8_t *bytes, uint64_t size, ih_fault *fault)
{
    ih_image image;
    uint32_t root;
    if (ih_image_open(bytes, size, &image, &root, fault) < 0)
        return -1;
    return ih_validate(&image, root, fault);
}

/* The verdict on what the writer holds, with `root`. */
static const char *verdict(uint32_t root)
{
    ih_fault fault = {0, "fine"};
    build_finish(&writer, root);
    uint8_t *bytes = copy_of(writer.size);
    int result = validate(bytes, writer.size, &fault);
    CHECK_EQ(result, strcmp(fault.reason, "fine") == 0 ? 0 : -1);
    free(bytes);
    ih_writer_reset(&writer);
    return fault.reason;
}

#define CHECK_VERDICT(root, expected)                                                        \
    do {                                                                                     \
        const char *reason_ = verdict(root);                                                 \
        if (strcmp(reason_, (expected)) != 0) {                                              \
            fprintf(stderr, "%s:%d: %s, not %s\n", __FILE__, __LINE__, reason_, (expected)); \
            abort();                                                                         \
        }                                                                                    \
    } while (0)

static void test_an_image_with_everything(void)
{
    build_everything(&writer);
    uint64_t size = writer.size;
    uint8_t *bytes = copy_of(size);
    ih_fault fault = {0, ""};
    CHECK_EQ(validate(bytes, size, &fault), 0);
    ih_image image;
    uint32_t root;
    CHECK_EQ(ih_image_open(bytes, size, &image, &root, &fault), 0);
    walker w = {.image = &image, .steps = 100000};
    walk_word(&w, root, 0);
    CHECK_EQ(w.faults, 0);
    free(bytes);
}

static void test_every_stored_key_is_found(void)
{
    for (uint32_t n = 9; n < 1000; n += 37) {
        ih_writer_reset(&writer);
        uint32_t root = build_hashed(&writer, n);
        build_finish(&writer, root);
        uint8_t *bytes = copy_of(writer.size);
        ih_image image;
        ih_node node;
        ih_fault fault;
        CHECK_EQ(ih_image_open(bytes, writer.size, &image, &root, &fault), 0);
        CHECK_EQ(ih_read_node(&image, root, &node, &fault), 0);
        walker w = {.image = &image, .steps = UINT64_MAX};
        CHECK_EQ(walk_table(&w, &node, node.data, 8), n);
        free(bytes);
    }
}

static void test_h04_what_the_validator_refuses(void)
{
    uint32_t word;
    ih_writer_reset(&writer);
    CHECK_VERDICT(20, "reserved constant");
    CHECK_VERDICT(0x7ffffff0, "reference outside the graph");
    word = build_words(&writer, IH_SHAPE, 0, NULL, 0);
    CHECK_VERDICT(word, "a value cannot be a shape");
    word = build_words(&writer, IH_LIST, 0, NULL, 0);
    word = build_words(&writer, IH_SET, 1, &word, 1);
    CHECK_VERDICT(word, "an unhashable key");
    word = build_words(&writer, IH_SHAPE, 1, (uint32_t[]){build_int(1)}, 1);
    word = build_words(&writer, IH_DICT_SHAPED, 1, (uint32_t[]){word, IH_NONE}, 2);
    CHECK_VERDICT(word, "a shape's key is not a string");
    word = build_words(&writer, IH_SHAPE, 0, NULL, 0);
    word = build_words(&writer, IH_DICT_SHAPED, 1, (uint32_t[]){word, IH_NONE}, 2);
    CHECK_VERDICT(word, "a dict with another number of values than its shape");
    word = build_words(&writer, IH_STR_ASCII, 4, (uint32_t[]){0xff616161}, 1);
    CHECK_VERDICT(word, "ASCII text with other bytes");
    word = build_words(&writer, IH_STR_UTF8, 4, (uint32_t[]){0x6180c061}, 1);
    CHECK_VERDICT(word, "text that is not UTF-8");
    word = build_words(&writer, IH_LIST, 1000, NULL, 0);
    CHECK_VERDICT(word, "node outside the graph");
    word = build_packed(&writer, IH_LIST_PACKED, IH_BOOL, 9);
    writer.bytes[writer.size - 4] = 2;
    CHECK_VERDICT(word, "neither 0 nor 1");
}

/* The verdict on an image that ends with two links, its byte `at` from the end being `value`. */
static const char *linked_verdict(uint32_t root, uint64_t at, uint8_t value)
{
    ih_fault fault = {0, "fine"};
    build_links(&writer);
    build_finish(&writer, root);
    uint8_t *bytes = copy_of(writer.size);
    bytes[51] = IH_IMAGE_LINKS;
    if (at > 0)
        bytes[writer.size - at] = value;
    CHECK_EQ(validate(bytes, writer.size, &fault), strcmp(fault.reason, "fine") == 0 ? 0 : -1);
    free(bytes);
    ih_writer_reset(&writer);
    return fault.reason;
}

static void test_h04_links_that_are_refused(void)
{
    uint32_t node = ih_word_at(IH_IMAGE_START), link, root;
    struct {
        ih_kind kind;
        uint32_t index, target;
        uint64_t at;
        uint8_t value;
        const char *reason;
    } cases[] = {
        {IH_LIST, 0, node, 0, 0, "fine"},
        {IH_LIST, 1, 0x7ffffff0, 0, 0, "fine"}, /* the target's affair */
        {IH_LIST, 2, node, 0, 0, "link beyond the table of links"},
        {IH_LIST, 0, build_int(7), 0, 0, "link to no node"},
        {IH_LIST, 0, IH_NONE, 0, 0, "link to no node"},
        {IH_SET, 0, node, 0, 0, "an unhashable key"},
        {IH_LINK, 0, node, 0, 0, "the root is a link"},
        {IH_LIST, 0, node, 4, 0, "bad table of links"},
        {IH_LIST, 0, node, 4, 200, "bad table of links"},
        {IH_LIST, 0, node, 3, 0xff, "bad table of links"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        link = build_words(&writer, IH_LINK, cases[i].index, &cases[i].target, 1);
        root = cases[i].kind == IH_LINK ? link : build_words(&writer, cases[i].kind, 1, &link, 1);
        const char *verdict = linked_verdict(root, cases[i].at, cases[i].value);
        if (strcmp(verdict, cases[i].reason) != 0) {
            fprintf(stderr, "case %zu: %s\n", i, verdict);
            abort();
        }
    }
    /* Without the flag there is no table. */
    link = build_words(&writer, IH_LINK, 0, &node, 1);
    CHECK_VERDICT(build_words(&writer, IH_LIST, 1, &link, 1), "link beyond the table of links");
}

/* Every word is the header of a list that reaches to the end: following all would be quadratic. */
static void test_h24_overlapping_giants_are_refused(void)
{
    uint32_t count = 2000000, first = ih_word_at(writer.size);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t reach = count - 1 - i < IH_COUNT_WIDE ? count - 1 - i : IH_COUNT_WIDE - 1;
        (void)build_words(&writer, IH_LIST, reach, NULL, 0);
    }
    ih_fault fault = {0, "fine"};
    build_finish(&writer, first);
    uint8_t *bytes = copy_of(writer.size);
    CHECK_EQ(validate(bytes, writer.size, &fault), -1);
    free(bytes);
    ih_writer_reset(&writer);
}

static void test_h24_depth_costs_no_stack(void)
{
    uint32_t word = IH_NONE;
    for (int i = 0; i < 1000000; i++)
        word = build_words(&writer, IH_LIST, 1, &word, 1);
    CHECK_VERDICT(word, "fine");
}

/* Each byte set to a few values: whatever validates must be read without a fault. */
static void damage(const uint8_t *good, uint64_t size, uint64_t *random, uint64_t rounds)
{
    uint64_t accepted = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        uint8_t *bytes = copy_of(size);
        memcpy(bytes, good, size);
        for (uint64_t i = test_below(random, 4) + 1; i > 0; i--) {
            uint64_t at = 48 + test_below(random, size - 52);
            if (test_below(random, 2)) {
                bytes[at] = (uint8_t)test_random(random);
            } else {
                uint32_t word = (uint32_t)test_below(random, size / 4) << 1;
                memcpy(bytes + (at & ~UINT64_C(3)), &word, 4);
            }
        }
        ih_image image;
        ih_fault fault = {0, ""};
        uint32_t root;
        if (ih_image_open(bytes, size, &image, &root, &fault) == 0) {
            walker w = {.image = &image, .steps = 20000};
            walk_word(&w, root, 0);
            if (ih_validate(&image, root, &fault) == 0) {
                accepted++;
                CHECK_EQ(w.faults, 0);
            }
        }
        free(bytes);
    }
    CHECK(accepted < rounds);
}

static void test_h04_damaged_images(void)
{
    uint64_t random = test_setting("IH_SEED", 7), rounds = test_setting("IH_OPS", 1000000) / 50;
    build_everything(&writer);
    uint64_t size = writer.size;
    uint8_t *good = copy_of(size);
    damage(good, size, &random, rounds < 2000000 ? rounds : 2000000);
    free(good);
}

static void test_utf8_is_what_python_reads(void)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"abc", true},
                 {"\xc3\xbc", true},
                 {"\xed\xa0\x80", true},
                 {"\xf4\x8f\xbf\xbf", true},
                 {"\xf4\x90\x80\x80", false},
                 {"\xc0\x80", false},
                 {"\xe0\x80\x80", false},
                 {"\xf0\x80\x80\x80", false},
                 {"\xc3", false},
                 {"\x80", false},
                 {"\xff", false},
                 {"\xe2\x98", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_EQ(ih_is_utf8((const uint8_t *)cases[i].text, strlen(cases[i].text)), cases[i].good);
}

int main(void)
{
    CHECK_EQ(ih_writer_init(&writer), 0);
    RUN(test_an_image_with_everything);
    RUN(test_every_stored_key_is_found);
    RUN(test_h04_what_the_validator_refuses);
    RUN(test_h04_links_that_are_refused);
    RUN(test_h24_overlapping_giants_are_refused);
    RUN(test_h24_depth_costs_no_stack);
    RUN(test_h04_damaged_images);
    RUN(test_utf8_is_what_python_reads);
    ih_writer_free(&writer);
    return 0;
}
