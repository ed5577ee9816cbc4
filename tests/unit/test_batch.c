/* The stream of a batch: pieces of any length, liars, and what is not held. */
#include "test.h"

#include "../../peer/swarm/batch.h"
#include "limits.h"

#include <stdlib.h>
#include <string.h>

#define COUNT 6u
#define HEADER (HASH_SIZE + 8u)

static const uint64_t sizes[COUNT] = {5, 0, BLOCK_SIZE, BATCH_CONTENT_MAX, BLOCK_SIZE + 1, 1};
static struct content contents[COUNT];
static uint8_t *stream; /* what an honest peer sends that has all */
static size_t starts[COUNT + 1];

static int set_up(void **unused)
{
    (void)unused;
    struct merkle_stream *hash = merkle_stream_new();
    size_t at = 0;
    for (size_t i = 0; i < COUNT; i++)
        at += HEADER + sizes[i];
    stream = malloc(at);
    if (!hash || !stream)
        return -1;
    for (size_t i = 0, start = 0; i < COUNT; start += HEADER + sizes[i], i++) {
        uint8_t *bytes = stream + start + HEADER;
        for (size_t j = 0; j < sizes[i]; j++)
            bytes[j] = (uint8_t)((j * 2654435761u + i) >> 13);
        merkle_stream_reset(hash);
        merkle_stream_update(hash, bytes, sizes[i]);
        merkle_stream_finish(hash, 0, contents[i].root);
        contents[i].size = sizes[i];
        memcpy(stream + start, contents[i].root, HASH_SIZE);
        for (size_t j = 0; j < 8; j++)
            stream[start + HASH_SIZE + j] = (uint8_t)(sizes[i] >> (8 * (7 - j)));
        starts[i] = start;
        starts[i + 1] = start + HEADER + sizes[i];
    }
    merkle_stream_free(hash);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    free(stream);
    return 0;
}

/* One letter for each content that came: good, not held, wrong. */
struct taken {
    char text[COUNT + 1];
    size_t count, stop_at;
};

static bool take(void *context, const struct batch_item *item)
{
    struct taken *taken = context;
    assert_int_equal(item->index, taken->count);
    const struct content *content = &contents[item->index];
    taken->text[taken->count++] = item->outcome == BATCH_GOOD ? 'g' : item->outcome == BATCH_NOT_HELD ? 'n' : 'w';
    if (item->outcome == BATCH_GOOD) {
        assert_memory_equal(item->bytes, stream + starts[item->index] + HEADER, content->size);
        assert_int_equal(item->layer_count,
                         content->size > BLOCK_SIZE ? merkle_chunk_count(content->size, BLOCK_SIZE) : 0);
        assert_true(item->layer_count == 0 || merkle_layer_fits(content, BLOCK_SIZE, item->layer, item->layer_count));
    }
    return taken->stop_at == 0 || taken->count < taken->stop_at;
}

static enum err feed(const uint8_t *bytes, size_t length, size_t piece, struct taken *ret)
{
    struct batch *batch;
    enum err err = ERR_OK;
    assert_int_equal(batch_new(contents, COUNT, take, ret, &batch), ERR_OK);
    for (size_t at = 0, part; !err && at < length; at += part) {
        part = piece < length - at ? piece : length - at;
        err = batch_feed(batch, bytes + at, part);
    }
    assert_int_equal(batch_taken(batch), ret->count);
    batch_free(batch);
    return err;
}

static void pieces_may_have_any_length(void **unused)
{
    (void)unused;
    static const size_t pieces[] = {1, 7, HEADER, 1000, BLOCK_SIZE, 100000, SIZE_MAX};
    assert_int_equal(batch_length_max(contents, COUNT), starts[COUNT]);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct taken taken = {0};
        assert_int_equal(feed(stream, starts[COUNT], pieces[i], &taken), ERR_OK);
        assert_string_equal(taken.text, "gggggg");
    }
}

static void what_is_not_held_is_passed_over(void **unused)
{
    (void)unused;
    struct taken taken = {0};
    size_t length = starts[COUNT] - contents[3].size;
    uint8_t *bytes = malloc(length);
    assert_non_null(bytes);
    memcpy(bytes, stream, starts[3] + HEADER);
    memset(bytes + starts[3] + HASH_SIZE, 0xff, 8);
    memcpy(bytes + starts[3] + HEADER, stream + starts[4], starts[COUNT] - starts[4]);
    assert_int_equal(feed(bytes, length, 999, &taken), ERR_OK);
    assert_string_equal(taken.text, "gggngg");
    free(bytes);
}

static void wrong_bytes_harm_only_their_own_content(void **unused)
{
    (void)unused;
    struct taken taken = {0};
    stream[starts[3] + HEADER + 200000] ^= 1;
    stream[starts[0] + HEADER] ^= 1;
    assert_int_equal(feed(stream, starts[COUNT], 4096, &taken), ERR_OK);
    assert_string_equal(taken.text, "wggwgg");
}

static void what_was_not_asked_is_refused(void **unused)
{
    (void)unused;
    struct taken taken = {0};
    uint8_t *bytes = malloc(starts[COUNT] + 1);
    assert_non_null(bytes);
    memcpy(bytes, stream, starts[COUNT]);
    bytes[starts[COUNT]] = 0;
    assert_int_equal(feed(bytes, starts[COUNT] + 1, SIZE_MAX, &taken), ERR_PROTOCOL); /* a byte too many */
    assert_string_equal(taken.text, "gggggg");
    bytes[starts[2]] ^= 1; /* another root */
    taken = (struct taken){0};
    assert_int_equal(feed(bytes, starts[COUNT], 11, &taken), ERR_PROTOCOL);
    assert_string_equal(taken.text, "gg");
    bytes[starts[2]] ^= 1;
    bytes[starts[2] + HASH_SIZE] = 0x80; /* another length */
    taken = (struct taken){0};
    assert_int_equal(feed(bytes, starts[COUNT], 11, &taken), ERR_PROTOCOL);
    assert_string_equal(taken.text, "gg");
    free(bytes);
}

static void it_ends_where_the_taker_says_so(void **unused)
{
    (void)unused;
    struct taken taken = {.stop_at = 3};
    assert_int_equal(feed(stream, starts[COUNT], 100, &taken), ERR_CANCELLED);
    assert_string_equal(taken.text, "ggg");
}

static void too_much_is_not_asked_for(void **unused)
{
    (void)unused;
    struct batch *batch;
    struct content large = {.size = BATCH_CONTENT_MAX + 1}, *many = calloc(ITEMS_MAX + 1, sizeof *many);
    assert_non_null(many);
    assert_int_equal(batch_new(&large, 1, take, NULL, &batch), ERR_TOO_LARGE);
    assert_int_equal(batch_new(many, ITEMS_MAX + 1, take, NULL, &batch), ERR_TOO_LARGE);
    assert_int_equal(batch_new(many, ITEMS_MAX, take, NULL, &batch), ERR_OK);
    batch_free(batch);
    free(many);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pieces_may_have_any_length),
        TEST(what_is_not_held_is_passed_over),
        TEST(wrong_bytes_harm_only_their_own_content),
        TEST(what_was_not_asked_is_refused),
        TEST(it_ends_where_the_taker_says_so),
        TEST(too_much_is_not_asked_for),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
