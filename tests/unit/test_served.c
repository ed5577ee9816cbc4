#include "test.h"

#include "../../peer/serve/served.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 50u
#define CHUNK 65536u

static struct served *served;
static struct bitmap all;

static int set_up(void **state)
{
    (void)state;
    served = served_new();
    if (served == NULL || bitmap_init(&all, COUNT) != ERR_OK)
        return -1;
    for (size_t i = 0; i < COUNT; i++)
        bitmap_put(&all, i, true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    served_free(served);
    served_free(NULL);
    bitmap_free(&all);
    return 0;
}

static struct content content_of(unsigned number)
{
    struct content content = {.root = {(uint8_t)number, (uint8_t)(number >> 8)}, .size = UINT64_C(1) * COUNT * CHUNK};

    return content;
}

/* One chunk of those wanted, as most ask. */
static bool choose(const struct content *content, uint64_t chunk_size, const struct bitmap *wanted,
                   const struct bitmap *held, size_t *ret_index)
{
    struct served_choice choice = {.chunk_size = chunk_size, .wanted = wanted, .held = held, .count = 1};
    size_t count = 0;
    bool chosen = served_choose(served, content, &choice, ret_index, &count);

    assert_int_equal(count, chosen);
    return chosen;
}

static void one_whole_copy_goes_out_before_a_repetition(void **state)
{
    struct content content = content_of(1);
    unsigned sent[COUNT] = {0};
    size_t index, in_order = 0;

    (void)state;
    for (unsigned round = 1; round <= 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(choose(&content, CHUNK, &all, NULL, &index));
            sent[index]++;
            in_order += index == i;
        }
        for (size_t i = 0; i < COUNT; i++)
            assert_int_equal(sent[i], round);
    }
    assert_true(in_order < COUNT); /* ties at random */
}

static void only_what_is_wanted_and_held_is_sent(void **state)
{
    struct content content = content_of(1);
    struct bitmap wanted, held;
    size_t index;

    (void)state;
    assert_int_equal(bitmap_init(&wanted, COUNT), ERR_OK);
    assert_int_equal(bitmap_init(&held, COUNT), ERR_OK);
    assert_false(choose(&content, CHUNK, &wanted, NULL, &index));
    bitmap_put(&wanted, 3, true);
    bitmap_put(&wanted, 7, true);
    assert_false(choose(&content, CHUNK, &wanted, &held, &index));
    bitmap_put(&held, 7, true);
    bitmap_put(&held, 9, true);
    for (int i = 0; i < 10; i++) {
        assert_true(choose(&content, CHUNK, &wanted, &held, &index));
        assert_int_equal(index, 7);
    }
    assert_true(choose(&content, CHUNK, &wanted, NULL, &index)); /* 3 was never sent */
    assert_int_equal(index, 3);
    bitmap_free(&wanted);
    bitmap_free(&held);
}

static void contents_and_chunk_sizes_are_counted_apart(void **state)
{
    struct content one = content_of(1), other = content_of(2), longer = content_of(1);
    struct bitmap sent;
    size_t first, second;

    (void)state;
    longer.size++;
    assert_int_equal(bitmap_init(&sent, COUNT), ERR_OK);
    assert_true(choose(&one, CHUNK, &all, NULL, &first));
    for (size_t i = 0; i < COUNT; i++) { /* all but the first, of others */
        bitmap_put(&sent, i, i != first);
    }
    for (size_t i = 0; i < 3 * (COUNT - 1); i++) {
        assert_true(choose(&other, CHUNK, &sent, NULL, &second));
        assert_true(choose(&longer, CHUNK, &sent, NULL, &second));
        assert_true(choose(&one, 2 * CHUNK, &sent, NULL, &second));
    }
    assert_true(choose(&one, CHUNK, &all, NULL, &second)); /* would else be the first again */
    assert_int_not_equal(second, first);
    bitmap_free(&sent);
}

static void a_row_is_sent_at_once(void **state)
{
    struct content content = content_of(1);
    struct served_choice choice = {.chunk_size = CHUNK, .wanted = &all, .count = 8};
    unsigned sent[COUNT] = {0};
    size_t index, count, all_sent = 0;
    bool longer = false;

    (void)state;
    while (all_sent < COUNT) {
        assert_true(served_choose(served, &content, &choice, &index, &count));
        assert_true(count >= 1 && count <= 8 && count <= COUNT - index);
        longer = longer || count == 8;
        for (size_t i = index; i < index + count; i++)
            assert_int_equal(sent[i]++, 0); /* a row ends before what went out already */
        all_sent += count;
    }
    assert_true(longer);
}

static void a_row_ends_where_a_chunk_is_not_wanted_or_not_held(void **state)
{
    struct content content = content_of(1);
    struct bitmap wanted, held;
    struct served_choice choice = {.chunk_size = CHUNK, .wanted = &wanted, .count = UINT64_MAX};
    size_t index, count;

    (void)state;
    assert_int_equal(bitmap_init(&wanted, COUNT), ERR_OK);
    assert_int_equal(bitmap_init(&held, COUNT), ERR_OK);
    for (size_t i = 20; i < 23; i++)
        bitmap_put(&wanted, i, true);
    for (int i = 0; i < 20; i++) {
        assert_true(served_choose(served, &content, &choice, &index, &count));
        assert_true(index >= 20 && index < 23);
        assert_true(count >= 1 && count <= 23 - index);
    }
    bitmap_put(&held, 21, true);
    choice.held = &held;
    assert_true(served_choose(served, &content, &choice, &index, &count));
    assert_true(index == 21 && count == 1);
    bitmap_free(&wanted);
    bitmap_free(&held);
}

/* What was sent to anybody is for the leechers to pass on. */
static void fresh_chunks_are_sent_once(void **state)
{
    struct content content = content_of(1);
    struct served_choice choice = {.chunk_size = CHUNK, .wanted = &all, .count = 1, .fresh = true};
    unsigned sent[COUNT] = {0};
    size_t index, count;

    (void)state;
    assert_true(choose(&content, CHUNK, &all, NULL, &index)); /* however it was asked for */
    sent[index]++;
    for (size_t i = 1; i < COUNT; i++) {
        assert_true(served_choose(served, &content, &choice, &index, &count));
        assert_int_equal(sent[index]++, 0);
    }
    assert_false(served_choose(served, &content, &choice, &index, &count));
    choice.fresh = false;
    assert_true(served_choose(served, &content, &choice, &index, &count));
}

static void an_empty_map_wants_nothing(void **state)
{
    struct content content = {.size = 0};
    struct bitmap none;
    size_t index;

    (void)state;
    assert_int_equal(bitmap_init(&none, 0), ERR_OK);
    assert_false(choose(&content, CHUNK, &none, NULL, &index));
    bitmap_free(&none);
}

/* Of more contents than are kept, those asked for last are remembered. */
static void the_contents_asked_for_last_are_kept(void **state)
{
    struct content first = content_of(0);
    unsigned sent[COUNT] = {0};
    size_t index;

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        struct content other = content_of(1000 + i * 3);

        assert_true(choose(&first, CHUNK, &all, NULL, &index));
        assert_int_equal(sent[index]++, 0); /* never a repetition, whoever else asks */
        for (unsigned j = 0; j < 3; j++) {
            other.root[2] = (uint8_t)j;
            assert_true(choose(&other, CHUNK, &all, NULL, &index));
        }
    }
    for (unsigned i = 0; i < SERVED_MAX; i++) { /* so many others that it is forgotten */
        struct content other = content_of(5000 + i);

        assert_true(choose(&other, CHUNK, &all, NULL, &index));
    }
    assert_true(choose(&first, CHUNK, &all, NULL, &index)); /* from the beginning */
}

struct asker {
    pthread_t thread;
    unsigned sent[COUNT];
};

static void *ask_often(void *context)
{
    struct asker *asker = context;
    struct content content = content_of(1);
    size_t index;

    for (unsigned i = 0; i < COUNT * 10; i++)
        if (choose(&content, CHUNK, &all, NULL, &index))
            asker->sent[index]++;
    return NULL;
}

static void threads_share_the_count(void **state)
{
    struct asker askers[4] = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_often, &askers[i]), 0);
    for (size_t i = 0; i < 4; i++)
        (void)pthread_join(askers[i].thread, NULL);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(askers[0].sent[i] + askers[1].sent[i] + askers[2].sent[i] + askers[3].sent[i], 40);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_whole_copy_goes_out_before_a_repetition),
        TEST(only_what_is_wanted_and_held_is_sent),
        TEST(contents_and_chunk_sizes_are_counted_apart),
        TEST(a_row_is_sent_at_once),
        TEST(a_row_ends_where_a_chunk_is_not_wanted_or_not_held),
        TEST(fresh_chunks_are_sent_once),
        TEST(an_empty_map_wants_nothing),
        TEST(the_contents_asked_for_last_are_kept),
        TEST(threads_share_the_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
