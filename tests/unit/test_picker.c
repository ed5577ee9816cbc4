#include "test.h"

#include "../../peer/swarm/picker.h"
#include "limits.h"
#include "merkle.h"

#include <stdlib.h>
#include <string.h>

#define COUNT 100u

static struct picker picker;

static int tear_down(void **state)
{
    (void)state;
    picker_free(&picker);
    return 0;
}

static void begin(size_t count, uint64_t seed)
{
    assert_int_equal(picker_init(&picker, count, seed), ERR_OK);
}

/* A map of `count` chunks with those from `first` on in steps of `step`. */
static struct bitmap map_of(size_t count, size_t first, size_t step)
{
    struct bitmap map;

    assert_int_equal(bitmap_init(&map, count), ERR_OK);
    for (size_t i = first; i < count; i += step)
        bitmap_put(&map, i, true);
    return map;
}

/* Chooses and verifies everything; the order is left in `ret_order`. */
static void take_all(size_t count, uint32_t *ret_order)
{
    uint8_t *seen = calloc(count + 1, 1);
    size_t index;

    assert_non_null(seen);
    for (size_t i = 0; i < count; i++) {
        assert_true(picker_choose(&picker, NULL, &index));
        assert_true(index < count && !seen[index]);
        seen[index] = 1;
        ret_order[i] = (uint32_t)index;
        picker_started(&picker, index);
        picker_have(&picker, index);
        picker_ended(&picker, index);
    }
    assert_false(picker_choose(&picker, NULL, &index));
    free(seen);
}

static void every_chunk_comes_once(void **state)
{
    uint32_t order[COUNT], sorted = 0;

    (void)state;
    begin(COUNT, 1);
    take_all(COUNT, order);
    for (size_t i = 0; i < COUNT; i++)
        sorted += order[i] == i;
    assert_true(sorted < COUNT / 2); /* and not in sequence */
}

static void seeds_decide_ties(void **state)
{
    uint32_t first[COUNT], same[COUNT], other[COUNT];

    (void)state;
    begin(COUNT, 1);
    take_all(COUNT, first);
    picker_free(&picker);
    begin(COUNT, 1);
    take_all(COUNT, same);
    picker_free(&picker);
    begin(COUNT, 2);
    take_all(COUNT, other);
    assert_memory_equal(first, same, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
}

/* No chunk is preferred: over many seeds each is first about as often as the others. */
static void ties_are_even(void **state)
{
    unsigned firsts[10] = {0};
    size_t index;

    (void)state;
    for (uint64_t seed = 0; seed < 10000; seed++) {
        begin(10, seed);
        assert_true(picker_choose(&picker, NULL, &index));
        firsts[index]++;
        picker_free(&picker);
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(firsts[i], 800, 1200); /* the seeds are fixed: no chance decides */
}

static void the_rarest_is_first(void **state)
{
    struct bitmap all = map_of(COUNT, 0, 1), even = map_of(COUNT, 0, 2), fourth = map_of(COUNT, 0, 4);
    uint32_t order[COUNT];

    (void)state;
    begin(COUNT, 3);
    picker_availability(&picker, NULL, &all);
    picker_availability(&picker, NULL, &even);
    picker_availability(&picker, NULL, &fourth);
    take_all(COUNT, order);
    for (size_t i = 0; i < COUNT / 2; i++)
        assert_true(order[i] % 2 == 1);
    for (size_t i = COUNT / 2; i < COUNT * 3 / 4; i++)
        assert_true(order[i] % 4 == 2);
    for (size_t i = COUNT * 3 / 4; i < COUNT; i++)
        assert_true(order[i] % 4 == 0);
    bitmap_free(&all);
    bitmap_free(&even);
    bitmap_free(&fourth);
}

static void availability_follows_the_maps(void **state)
{
    struct bitmap even = map_of(COUNT, 0, 2), odd = map_of(COUNT, 1, 2), most = map_of(COUNT, 1, 1);
    size_t index;

    (void)state;
    begin(COUNT, 4);
    picker_availability(&picker, NULL, &even);
    for (int i = 0; i < 20; i++) {
        assert_true(picker_choose(&picker, NULL, &index));
        assert_true(index % 2 == 1);
    }
    picker_availability(&picker, &even, &odd); /* the map changed */
    assert_true(picker_choose(&picker, NULL, &index));
    assert_true(index % 2 == 0);
    picker_availability(&picker, &odd, NULL); /* it is gone */
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(picker.availability[i], 0);
    picker_availability(&picker, NULL, &most);
    assert_true(picker_choose(&picker, NULL, &index));
    assert_int_equal(index, 0);
    picker_availability(&picker, &even, NULL); /* never below 0, whatever comes */
    picker_availability(&picker, &even, NULL);
    assert_int_equal(picker.availability[0], 0);
    bitmap_free(&even);
    bitmap_free(&odd);
    bitmap_free(&most);
}

static void only_what_the_holder_has_is_chosen(void **state)
{
    struct bitmap two = map_of(COUNT, 40, 50), none = map_of(COUNT, COUNT, 1);
    size_t index;

    (void)state;
    begin(COUNT, 5);
    for (int i = 0; i < 20; i++) {
        assert_true(picker_choose(&picker, &two, &index));
        assert_true(index == 40 || index == 90);
    }
    assert_false(picker_choose(&picker, &none, &index));
    picker_have(&picker, 40);
    assert_true(picker_choose(&picker, &two, &index));
    assert_int_equal(index, 90);
    picker_have(&picker, 90);
    assert_false(picker_choose(&picker, &two, &index));
    bitmap_free(&two);
    bitmap_free(&none);
}

static void what_is_in_flight_is_not_chosen(void **state)
{
    size_t index;

    (void)state;
    begin(2, 6);
    picker_started(&picker, 0);
    assert_true(picker_choose(&picker, NULL, &index));
    assert_int_equal(index, 1);
    picker_started(&picker, 1);
    picker_started(&picker, 1); /* two fetch it */
    assert_false(picker_choose(&picker, NULL, &index));
    picker_ended(&picker, 1);
    assert_false(picker_choose(&picker, NULL, &index));
    picker_ended(&picker, 1);
    assert_true(picker_choose(&picker, NULL, &index));
    assert_int_equal(index, 1);
    picker_have(&picker, 1);
    picker_have(&picker, 1); /* twice is as once */
    assert_false(picker_choose(&picker, NULL, &index));
    picker_ended(&picker, 0);
    assert_true(picker_choose(&picker, NULL, &index));
    assert_int_equal(index, 0);
}

static void it_is_known_when_all_is_under_way(void **state)
{
    (void)state;
    begin(3, 6);
    picker_have(&picker, 0);
    picker_started(&picker, 1);
    assert_false(picker_is_all_under_way(&picker));
    picker_started(&picker, 2);
    assert_true(picker_is_all_under_way(&picker));
    picker_ended(&picker, 1); /* in vain */
    assert_false(picker_is_all_under_way(&picker));
    picker_have(&picker, 1);
    assert_true(picker_is_all_under_way(&picker));
}

static void a_holder_has_many_where_they_are_missing_and_free(void **state)
{
    struct bitmap odd = map_of(COUNT, 1, 2);
    size_t many = odd.set;

    (void)state;
    begin(COUNT, 6);
    assert_true(picker_has_many(&picker, &odd, many));
    assert_false(picker_has_many(&picker, &odd, many + 1));
    picker_have(&picker, 1);
    picker_have(&picker, 2); /* it had not */
    assert_true(picker_has_many(&picker, &odd, many - 1));
    assert_false(picker_has_many(&picker, &odd, many));
    picker_started(&picker, 3);
    assert_false(picker_has_many(&picker, &odd, many - 1));
    picker_ended(&picker, 3);
    assert_true(picker_has_many(&picker, &odd, many - 1));
    bitmap_free(&odd);
}

/* In any order of verified, started and ended the count of idle chunks stays that of the chunks. */
static void the_books_agree(void **state)
{
    unsigned flying[20] = {0};
    bool have[20] = {false};
    uint32_t random = 12345;

    (void)state;
    begin(20, 7);
    for (int step = 0; step < 20000; step++) {
        size_t chunk, idle = 0, missing = 0;

        random = random * 1664525u + 1013904223u;
        chunk = (random >> 8) % 20;
        if ((random >> 24) % 64 == 0) {
            picker_have(&picker, chunk);
            have[chunk] = true;
        } else if ((random >> 24) % 2 == 0 && flying[chunk] < 5) {
            picker_started(&picker, chunk);
            flying[chunk]++;
        } else if (flying[chunk] > 0) {
            picker_ended(&picker, chunk);
            flying[chunk]--;
        }
        for (size_t i = 0; i < 20; i++) {
            missing += !have[i];
            idle += !have[i] && flying[i] == 0;
        }
        assert_int_equal(picker.missing_count, missing);
        assert_int_equal(picker.idle, idle);
    }
}

static void what_is_missing_is_known(void **state)
{
    (void)state;
    begin(3, 1);
    assert_false(picker_is_done(&picker));
    for (size_t i = 0; i < 3; i++) {
        assert_true(picker_is_missing(&picker, i));
        picker_started(&picker, i); /* on its way is not there */
        assert_true(picker_is_missing(&picker, i));
        assert_false(picker_is_done(&picker));
        picker_have(&picker, i);
        assert_false(picker_is_missing(&picker, i));
    }
    assert_true(picker_is_done(&picker));
}

static void the_last_eighth_is_nearly_done(void **state)
{
    (void)state;
    begin(80, 1);
    for (size_t i = 0; i < 69; i++) {
        picker_have(&picker, i);
        assert_false(picker_is_nearly_done(&picker));
    }
    picker_have(&picker, 69);
    assert_true(picker_is_nearly_done(&picker));
}

static void one_chunk_more_is_less_rare(void **state)
{
    struct bitmap even = map_of(COUNT, 0, 2);
    size_t index;

    (void)state;
    begin(COUNT, 10);
    picker_availability(&picker, NULL, &even);
    for (size_t i = 1; i < COUNT; i += 2) {
        if (i != 31) {
            picker_seen(&picker, i);
            picker_seen(&picker, i);
        }
    }
    assert_true(picker_choose(&picker, NULL, &index));
    assert_int_equal(index, 31);
    picker_seen(&picker, 31);
    picker_seen(&picker, 31);
    assert_true(picker_choose(&picker, NULL, &index)); /* one holder each, of the even ones */
    assert_int_equal(index % 2, 0);
    for (unsigned i = 0; i < 2 * UINT16_MAX; i++) /* as many as can be counted */
        picker_seen(&picker, 31);
    assert_int_equal(picker.availability[31], UINT16_MAX);
    bitmap_free(&even);
}

static void expect_span(const struct bitmap *have, size_t index, size_t group, size_t first, size_t count)
{
    size_t got_first = 0, got_count = 0;

    picker_span(&picker, have, index, group, &got_first, &got_count);
    assert_int_equal(got_first, first);
    assert_int_equal(got_count, count);
}

static void a_span_is_what_is_free_around_a_chunk(void **state)
{
    struct bitmap most = map_of(COUNT, 2, 1);

    (void)state;
    begin(COUNT, 11);
    expect_span(NULL, 21, 1, 21, 1);
    expect_span(NULL, 21, 8, 16, 8); /* its aligned group */
    expect_span(NULL, 16, 8, 16, 8);
    expect_span(NULL, 23, 8, 16, 8);
    expect_span(NULL, 98, 8, 96, 4); /* no further than the end */
    expect_span(&most, 5, 8, 2, 6);  /* what the holder has */
    picker_started(&picker, 19);
    expect_span(NULL, 21, 8, 20, 4); /* not what somebody fetches */
    expect_span(NULL, 17, 8, 16, 3);
    picker_have(&picker, 23);
    expect_span(NULL, 21, 8, 20, 3); /* nor what is there */
    picker_ended(&picker, 19);
    expect_span(NULL, 21, 8, 16, 7);
    bitmap_free(&most);
}

static void the_unseen_is_what_no_leecher_has_or_brings(void **state)
{
    struct bitmap most = map_of(COUNT, 3, 1), unseen = {0};

    (void)state;
    begin(COUNT, 12);
    assert_int_equal(picker_unseen(&picker, &unseen), ERR_OK);
    assert_int_equal(unseen.count, COUNT);
    assert_int_equal(unseen.set, COUNT);
    bitmap_free(&unseen);
    picker_availability(&picker, NULL, &most);
    picker_started(&picker, 1);
    assert_int_equal(picker_unseen(&picker, &unseen), ERR_OK);
    assert_true(unseen.set == 2 && bitmap_get(&unseen, 0) && bitmap_get(&unseen, 2));
    bitmap_free(&unseen);
    picker_have(&picker, 0);
    picker_seen(&picker, 2);
    picker_ended(&picker, 1);
    assert_int_equal(picker_unseen(&picker, &unseen), ERR_OK);
    assert_true(unseen.set == 1 && bitmap_get(&unseen, 1));
    bitmap_free(&unseen);
    bitmap_free(&most);
}

static void no_chunks_are_no_choice(void **state)
{
    size_t index;

    (void)state;
    begin(0, 8);
    assert_false(picker_choose(&picker, NULL, &index));
}

static void the_largest_layer_is_no_trouble(void **state)
{
    static uint32_t order[LAYER_HASHES_MAX];

    (void)state;
    begin(LAYER_HASHES_MAX, 9);
    take_all(LAYER_HASHES_MAX, order);
}

static void chunk_sizes_fit_the_content(void **state)
{
    static const struct {
        uint64_t size, expected;
    } table[] = {
        {1, 64 * KIB},
        {64 * KIB, 64 * KIB},
        {UINT64_C(2048) * MIB, 64 * KIB},
        {UINT64_C(2048) * MIB + 1, 128 * KIB},
        {UINT64_C(20) * 1024 * MIB, MIB},
        {UINT64_C(128) * 1024 * MIB, 4 * MIB},
        {UINT64_C(128) * 1024 * MIB + 1, 4 * MIB},
        {UINT64_C(256) * 1024 * MIB, 4 * MIB}, /* exactly the longest layer */
        {UINT64_C(256) * 1024 * MIB + 1, 8 * MIB},
        {CONTENT_SIZE_MAX, CHUNK_SIZE_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(picker_chunk_size(table[i].size), table[i].expected);
    for (uint64_t size = 1; size <= CONTENT_SIZE_MAX; size = size * 2 - size / 3 + 1) {
        uint64_t chunk = picker_chunk_size(size);

        assert_true(merkle_is_chunk_size(chunk));
        assert_true(merkle_chunk_count(size, chunk) <= LAYER_HASHES_MAX);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_chunk_comes_once),
        TEST(seeds_decide_ties),
        TEST(ties_are_even),
        TEST(the_rarest_is_first),
        TEST(availability_follows_the_maps),
        TEST(only_what_the_holder_has_is_chosen),
        TEST(what_is_in_flight_is_not_chosen),
        TEST(it_is_known_when_all_is_under_way),
        TEST(a_holder_has_many_where_they_are_missing_and_free),
        TEST(the_books_agree),
        TEST(what_is_missing_is_known),
        TEST(the_last_eighth_is_nearly_done),
        TEST(one_chunk_more_is_less_rare),
        TEST(a_span_is_what_is_free_around_a_chunk),
        TEST(the_unseen_is_what_no_leecher_has_or_brings),
        TEST(no_chunks_are_no_choice),
        TEST(the_largest_layer_is_no_trouble),
        cmocka_unit_test(chunk_sizes_fit_the_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
