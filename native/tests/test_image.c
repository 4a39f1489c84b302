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

/* The verdict on an object of two values whose layout has these words and names two fields. */
static const char *object_verdict(ih_form_code form, uint32_t class, uint32_t number, bool names,
                                  uint32_t first)
{
    uint32_t keys[] = {build_text(&writer, "a"), build_text(&writer, "b")};
    uint32_t shape = names ? build_words(&writer, IH_SHAPE, 2, keys, 2) : IH_NONE;
    uint32_t layout = build_layout(&writer, form, class, number, shape);
    return verdict(build_object(&writer, layout, (uint32_t[]){first, IH_NONE}, 2));
}

static void test_h20_objects_that_are_refused(void)
{
    struct {
        ih_form_code form;
        uint32_t number;
        bool names;
        const char *reason;
    } cases[] = {
        {IH_FORM_VIEW, 0, true, "fine"},
        {IH_FORM_VIEW, 2, true, "fine"},
        {IH_FORM_VIEW, 3, true, "more slots than names"},
        {IH_FORM_VIEW, 0, false, "an object with another number of values than its layout"},
        {IH_FORM_MADE, 99, true, "fine"},
        {IH_FORM_MADE, 99, false, "an object with another number of values than its layout"},
        {IH_FORM_TUPLE, 0, false, "fine"},
        {IH_FORM_TUPLE, 0, true, "names of a tuple's items"},
        {IH_FORM_TUPLE, 1, false, "names of a tuple's items"},
        {IH_FORM_CONTAINER, 0, true, "an object with another number of values than its layout"},
        {IH_FORMS, 0, true, "unknown form of objects"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ih_writer_reset(&writer);
        uint32_t class = build_class(&writer, "m", "C");
        const char *reason =
            object_verdict(cases[i].form, class, cases[i].number, cases[i].names, IH_NONE);
        if (strcmp(reason, cases[i].reason) != 0) {
            fprintf(stderr, "case %zu: %s\n", i, reason);
            abort();
        }
    }
}

static void test_h20_layouts_and_classes_that_are_none(void)
{
    uint32_t word, class, names[2];
    ih_writer_reset(&writer);
    word = build_int(3);
    CHECK_VERDICT(build_object(&writer, word, NULL, 0), "not a layout");
    word = build_words(&writer, IH_LIST, 0, NULL, 0);
    CHECK_VERDICT(build_object(&writer, word, NULL, 0), "not a layout");
    class = build_class(&writer, "m", "C");
    word = build_layout(&writer, IH_FORM_VIEW, class, 0, IH_NONE);
    CHECK_VERDICT(word, "a value cannot be a layout");
    class = build_class(&writer, "m", "C");
    word = build_layout(&writer, IH_FORM_VIEW, class, 0, IH_NONE);
    CHECK_VERDICT(build_value(&writer, 4, word), "a value cannot be a layout");
    word = build_layout(&writer, IH_FORM_VIEW, build_value(&writer, 4, build_int(1)), 0, IH_NONE);
    CHECK_VERDICT(build_object(&writer, word, NULL, 0), "not a class");
    word = build_layout(&writer, IH_FORM_VIEW, build_int(1), 0, IH_NONE);
    CHECK_VERDICT(build_object(&writer, word, NULL, 0), "not a class");
    class = build_class(&writer, "m", "C");
    word = build_layout(&writer, IH_FORM_VIEW, class, 0, build_int(0));
    CHECK_VERDICT(build_object(&writer, word, NULL, 0), "not a shape");
    CHECK_VERDICT(build_value(&writer, IH_VALUE_CLASS, build_int(3)), "a class without a name");
    names[0] = names[1] = build_int(3);
    word = build_words(&writer, IH_TUPLE, 2, names, 2);
    CHECK_VERDICT(build_value(&writer, IH_VALUE_CLASS, word), "a shape's key is not a string");
    word = build_words(&writer, IH_TUPLE, 1, names, 1);
    CHECK_VERDICT(build_value(&writer, IH_VALUE_CLASS, word), "a class without a name");
    CHECK_VERDICT(build_value(&writer, IH_VALUE_CLASS, build_text_run(&writer, IH_TUPLE_STR)),
                  "a class without a name");
    CHECK_VERDICT(build_value(&writer, 1 << 20, IH_NONE), "fine"); /* a later reader's code */
    const struct {
        ih_kind kind;
        size_t n;
        unsigned third; /* 0: None, 1: an int, 2: a text, 3: a dict */
        const char *reason;
    } defined[] = {
        {IH_TUPLE, 3, 0, "not a definition"},       {IH_TUPLE, 3, 1, "not a definition"},
        {IH_TUPLE, 3, 2, "not a definition"},       {IH_TUPLE, 3, 3, "fine"},
        {IH_TUPLE, 4, 3, "a class without a name"}, {IH_LIST, 3, 3, "a class without a name"},
    };
    for (size_t i = 0; i < sizeof defined / sizeof *defined; i++) {
        ih_writer_reset(&writer);
        uint32_t text = build_text(&writer, "m");
        uint32_t thirds[] = {IH_NONE, build_int(3), text,
                             build_words(&writer, IH_DICT_PAIRS, 0, NULL, 0)};
        uint32_t payload[] = {text, text, thirds[defined[i].third], IH_NONE};
        word = build_words(&writer, defined[i].kind, defined[i].n, payload, defined[i].n);
        CHECK_VERDICT(build_value(&writer, IH_VALUE_CLASS, word), defined[i].reason);
    }
}

static void test_h20_containers_hold_one(void)
{
    ih_writer_reset(&writer);
    struct {
        uint32_t word;
        const char *reason;
    } cases[] = {
        {IH_EMPTY_TUPLE, "fine"},         {IH_EMPTY_BYTES, "fine"},
        {IH_NONE, "not a container"},     {build_int(1), "not a container"},
        {IH_ELLIPSIS, "not a container"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ih_writer_reset(&writer);
        uint32_t class = build_class(&writer, "m", "C");
        uint32_t layout = build_layout(&writer, IH_FORM_CONTAINER, class, 0, IH_NONE);
        CHECK_VERDICT(build_object(&writer, layout, &cases[i].word, 1), cases[i].reason);
    }
    uint32_t class = build_class(&writer, "m", "C");
    uint32_t layout = build_layout(&writer, IH_FORM_CONTAINER, class, 0, IH_NONE), inner = IH_NONE;
    inner = build_object(&writer, layout, (uint32_t[]){IH_EMPTY_TUPLE}, 1);
    CHECK_VERDICT(build_object(&writer, layout, &inner, 1), "not a container");
}

/* Keys without a canonical hash lie only where nothing is found by one. */
static void test_h23_values_as_keys(void)
{
    for (int empty = 0; empty < 2; empty++) {
        ih_writer_reset(&writer);
        uint32_t keys[12];
        uint64_t at, table;
        for (uint32_t i = 0; i < 12; i++)
            keys[i] = build_value(&writer, 4, build_int((int32_t)i));
        CHECK_EQ(ih_begin_node(&writer, IH_SET_HASHED, 12, 0, &at), 0);
        CHECK_EQ(ih_begin_table(&writer, 12, empty ? IH_NO_TABLE : 0, &table), 0);
        for (uint32_t i = 0; !empty && i < 12; i++)
            ih_table_add(&writer, table, 12, i, i);
        ih_pad4(&writer);
        CHECK_EQ(ih_room(&writer, sizeof keys), 0);
        memcpy(writer.bytes + writer.size, keys, sizeof keys);
        writer.size += sizeof keys;
        CHECK_VERDICT(ih_word_at(at), empty ? "fine" : "a key without a canonical hash in a table");
    }
    uint32_t key = build_value(&writer, 4, build_int(1));
    CHECK_VERDICT(build_words(&writer, IH_SET, 1, &key, 1), "fine");
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
    RUN(test_h20_objects_that_are_refused);
    RUN(test_h20_layouts_and_classes_that_are_none);
    RUN(test_h20_containers_hold_one);
    RUN(test_h23_values_as_keys);
    RUN(test_h04_links_that_are_refused);
    RUN(test_h24_overlapping_giants_are_refused);
    RUN(test_h24_depth_costs_no_stack);
    RUN(test_h04_damaged_images);
    RUN(test_utf8_is_what_python_reads);
    ih_writer_free(&writer);
    return 0;
}
