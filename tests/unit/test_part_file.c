/* What an open part file says of itself; test_part_file_life.c has its life. */
#include "part_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

static void a_new_part_has_nothing(void **state)
{
    struct part_file *part = part_open();
    struct stat status;
    uint8_t *layer;
    size_t count;

    (void)state;
    assert_int_equal(part_file_chunk_size(part), 0);
    assert_int_equal(part_file_done_bytes(part), 0);
    assert_false(part_file_complete(part));
    assert_false(part_file_has(part, 0));
    assert_false(part_file_has_range(part, 0, 1));
    assert_true(part_file_has_range(part, 5, 0));
    assert_int_equal(part_file_layer(part, PART_CHUNK, &layer, &count), ERR_NOT_FOUND);
    assert_int_equal(fstat(part_file_fd(part), &status), 0);
    assert_int_equal(status.st_size, PART_SIZE);
    assert_true(content_equal(part_file_content(part), &part_content));
    part_file_release(part);
    part_file_release(NULL);
}

static void a_layer_is_set_once(void **state)
{
    struct part_file *part = part_open();

    (void)state;
    assert_int_equal(part_file_set_layer(part, PART_CHUNK, part_layer, PART_CHUNKS - 1), ERR_INVALID);
    assert_int_equal(part_file_set_layer(part, PART_CHUNK, part_layer, PART_CHUNKS), ERR_OK);
    assert_int_equal(part_file_set_layer(part, PART_CHUNK, part_layer, PART_CHUNKS), ERR_EXISTS);
    assert_int_equal(part_file_chunk_size(part), PART_CHUNK);
    assert_memory_equal(part_file_hash(part, 3), part_layer + 3 * HASH_SIZE, HASH_SIZE);
    part_file_release(part);
}

static void written_chunks_are_had(void **state)
{
    struct part_file *part = part_open_with_layer();
    struct bitmap have = {0};
    uint64_t before = part_file_version(part), version;

    (void)state;
    assert_int_equal(part_write(part, 2), ERR_OK);
    assert_int_equal(part_write(part, 3), ERR_OK);
    assert_int_equal(part_write(part, PART_CHUNKS - 1), ERR_OK);
    assert_true(part_file_has(part, 2) && part_file_has(part, 3) && part_file_has(part, PART_CHUNKS - 1));
    assert_false(part_file_has(part, 1) || part_file_has(part, 4) || part_file_has(part, PART_CHUNKS));
    assert_int_equal(part_file_done_bytes(part), 2 * PART_CHUNK + 20000);
    assert_int_equal(part_file_have(part, &have, &version), ERR_OK);
    assert_int_equal(have.count, PART_CHUNKS);
    assert_int_equal(have.set, 3);
    assert_true(bitmap_get(&have, 2));
    assert_int_equal(version, before + 3);
    assert_int_equal(part_write(part, 2), ERR_OK); /* again: nothing is new */
    assert_int_equal(part_file_version(part), version);
    assert_int_equal(part_file_done_bytes(part), 2 * PART_CHUNK + 20000);
    bitmap_free(&have);
    part_file_release(part);
}

static void chunks_in_a_row_are_written_at_once(void **state)
{
    struct part_file *part = part_open_with_layer();
    uint64_t before = part_file_version(part), first = PART_CHUNKS - 3;
    size_t length = 2 * PART_CHUNK + 20000;
    uint8_t *found = malloc(length);

    (void)state;
    assert_int_equal(part_write(part, first + 1), ERR_OK); /* is had already, and counts once */
    assert_int_equal(part_file_write(part, first, 3, part_bytes + first * PART_CHUNK), ERR_OK);
    assert_true(part_file_has_range(part, first * PART_CHUNK, length));
    assert_int_equal(part_file_done_bytes(part), length);
    assert_int_equal(part_file_version(part), before + 3);
    assert_int_equal(pread(part_file_fd(part), found, length, (off_t)(first * PART_CHUNK)), length);
    assert_memory_equal(found, part_bytes + first * PART_CHUNK, length);
    assert_int_equal(part_file_flush(part), ERR_OK);
    free(found);
    part_file_release(part);
}

static void a_range_is_had_where_all_its_chunks_are(void **state)
{
    struct part_file *part = part_open_with_layer();

    (void)state;
    assert_int_equal(part_write(part, 2), ERR_OK);
    assert_int_equal(part_write(part, 3), ERR_OK);
    assert_int_equal(part_write(part, PART_CHUNKS - 1), ERR_OK);
    assert_true(part_file_has_range(part, 2 * PART_CHUNK, 2 * PART_CHUNK));
    assert_true(part_file_has_range(part, 2 * PART_CHUNK + 5, 1));
    assert_true(part_file_has_range(part, 3 * PART_CHUNK - 1, 2));
    assert_false(part_file_has_range(part, 2 * PART_CHUNK - 1, 2));
    assert_false(part_file_has_range(part, 3 * PART_CHUNK, PART_CHUNK + 1));
    assert_false(part_file_has_range(part, 0, PART_SIZE));
    assert_true(part_file_has_range(part, PART_SIZE - 1, 1));
    assert_true(part_file_has_range(part, PART_SIZE, 0));
    assert_false(part_file_has_range(part, PART_SIZE, 1));
    assert_false(part_file_has_range(part, PART_SIZE - 1, 2));
    assert_false(part_file_has_range(part, UINT64_MAX, 1));
    assert_false(part_file_has_range(part, 1, UINT64_MAX));
    part_file_release(part);
}

static void pending_chunks_are_told(void **state)
{
    struct part_file *part = part_open_with_layer();
    struct bitmap pending = {0};

    (void)state;
    part_file_set_pending(part, 4, true);
    part_file_set_pending(part, 5, true);
    part_file_set_pending(part, 4, false);
    assert_int_equal(part_file_pending(part, &pending), ERR_OK);
    assert_int_equal(pending.count, PART_CHUNKS);
    assert_true(pending.set == 1 && bitmap_get(&pending, 5));
    assert_int_equal(part_write(part, 5), ERR_OK); /* here it is, and whoever else brings it is of no use */
    part_file_set_pending(part, 5, true);
    assert_int_equal(part_file_pending(part, &pending), ERR_OK);
    assert_int_equal(pending.set, 0);
    bitmap_free(&pending);
    part_file_release(part);
}

static void expect_added(struct part_file *part, uint64_t since, const uint64_t *chunks, size_t count)
{
    uint64_t *added = NULL, version = 0;
    size_t got = 0;

    assert_int_equal(part_file_added(part, since, count, &added, &got, &version), ERR_OK);
    assert_int_equal(got, count);
    assert_int_equal(version, part_file_version(part));
    if (count > 0)
        assert_memory_equal(added, chunks, count * sizeof *chunks);
    free(added);
}

static void what_was_added_since_a_version_is_known(void **state)
{
    static const uint64_t chunks[] = {8, 1, 4};
    struct part_file *part = part_open_with_layer();
    uint64_t *added, version, before = part_file_version(part);
    size_t count;

    (void)state;
    expect_added(part, before, NULL, 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(part_write(part, chunks[i]), ERR_OK);
    assert_int_equal(part_write(part, 8), ERR_OK); /* again: nothing is new */
    for (size_t i = 0; i <= 3; i++)
        expect_added(part, before + i, chunks + i, 3 - i);
    assert_int_equal(part_file_added(part, before, 2, &added, &count, &version), ERR_NOT_FOUND); /* more than wanted */
    assert_int_equal(part_file_added(part, before + 4, 9, &added, &count, &version), ERR_NOT_FOUND);
    assert_int_equal(part_file_added(part, before - 1, 9, &added, &count, &version), ERR_NOT_FOUND);
    assert_int_equal(part_file_added(part, 0, 9, &added, &count, &version), ERR_NOT_FOUND);
    assert_int_equal(part_file_added(part, UINT64_MAX, 9, &added, &count, &version), ERR_NOT_FOUND);
    assert_null(added);
    part_file_release(part);
}

static void nothing_was_added_before_the_layer(void **state)
{
    struct part_file *part = part_open();
    uint64_t *added, version;
    size_t count;

    (void)state;
    assert_int_equal(part_file_added(part, part_file_version(part), 9, &added, &count, &version), ERR_NOT_FOUND);
    assert_int_equal(part_file_added(part, 0, 9, &added, &count, &version), ERR_NOT_FOUND);
    assert_null(added);
    part_file_release(part);
}

static void coarser_layers_are_made_and_finer_ones_are_not(void **state)
{
    struct part_file *part = part_open_with_layer();
    uint8_t *layer, root[HASH_SIZE];
    size_t count;

    (void)state;
    for (uint64_t size = PART_CHUNK; size <= CHUNK_SIZE_MAX; size *= 2) {
        assert_int_equal(part_file_layer(part, size, &layer, &count), ERR_OK);
        assert_true(merkle_layer_fits(&part_content, size, layer, count));
        free(layer);
    }
    assert_int_equal(part_file_layer(part, CHUNK_SIZE_MAX, &layer, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(merkle_root(layer, PART_SIZE, CHUNK_SIZE_MAX, root), ERR_OK);
    assert_memory_equal(root, part_content.root, HASH_SIZE);
    free(layer);
    assert_int_equal(part_file_layer(part, PART_CHUNK / 2, &layer, &count), ERR_INVALID);
    part_file_release(part);
}

static atomic_uint told;

static void listen_to(void *context)
{
    assert_ptr_equal(context, &told);
    atomic_fetch_add(&told, 1);
}

static void a_listener_hears_of_the_layer_and_of_chunks(void **state)
{
    struct part_file *part = part_open();

    (void)state;
    part_file_set_listener(part, listen_to, &told);
    assert_int_equal(part_file_set_layer(part, PART_CHUNK, part_layer, PART_CHUNKS), ERR_OK);
    assert_int_equal(atomic_load(&told), 1);
    atomic_store(&told, 0);
    assert_int_equal(part_write(part, 0), ERR_OK);
    assert_int_equal(part_write(part, 1), ERR_OK);
    assert_int_equal(atomic_load(&told), 2);
    part_file_set_listener(part, NULL, NULL);
    assert_int_equal(part_write(part, 2), ERR_OK);
    assert_int_equal(atomic_load(&told), 2);
    part_file_release(part);
}

/* ---- many threads ---- */

struct reader {
    pthread_t thread;
    struct part_file *part;
    bool wrong;
};

/* What is said to be verified must have the right bytes, at any time. */
static void *read_along(void *context)
{
    struct reader *reader = context;
    uint8_t bytes[PART_CHUNK];

    while (!reader->wrong) {
        struct bitmap have = {0};
        uint64_t version;

        reader->wrong = part_file_have(reader->part, &have, &version) != ERR_OK;
        for (uint64_t i = 0; i < have.count; i++) {
            size_t length = part_length(i);

            if (bitmap_get(&have, i) &&
                (!part_file_has_range(reader->part, i * PART_CHUNK, length) ||
                 pread(part_file_fd(reader->part), bytes, length, (off_t)(i * PART_CHUNK)) != (ssize_t)length ||
                 memcmp(bytes, part_bytes + i * PART_CHUNK, length) != 0))
                reader->wrong = true;
        }
        bitmap_free(&have);
        if (part_file_complete(reader->part))
            break;
    }
    part_file_release(reader->part);
    return NULL;
}

static void readers_see_verified_bytes_only(void **state)
{
    struct part_file *part = part_open();
    struct reader readers[4] = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        readers[i].part = part_file_hold(part);
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_along, &readers[i]), 0);
    }
    assert_int_equal(part_file_set_layer(part, PART_CHUNK, part_layer, PART_CHUNKS), ERR_OK);
    for (uint64_t i = 0; i < PART_CHUNKS; i++) {
        part_file_set_pending(part, i, true);
        assert_int_equal(part_write(part, i), ERR_OK);
        part_file_set_pending(part, i, false);
        if (i % 4 == 0)
            assert_int_equal(part_file_flush(part), ERR_OK);
    }
    part_file_release(part);
    for (size_t i = 0; i < 4; i++) {
        (void)pthread_join(readers[i].thread, NULL);
        assert_false(readers[i].wrong);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, part_set_up, part_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_part_has_nothing),
        TEST(a_layer_is_set_once),
        TEST(written_chunks_are_had),
        TEST(chunks_in_a_row_are_written_at_once),
        TEST(a_range_is_had_where_all_its_chunks_are),
        TEST(pending_chunks_are_told),
        TEST(what_was_added_since_a_version_is_known),
        TEST(nothing_was_added_before_the_layer),
        TEST(coarser_layers_are_made_and_finer_ones_are_not),
        TEST(a_listener_hears_of_the_layer_and_of_chunks),
        TEST(readers_see_verified_bytes_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
