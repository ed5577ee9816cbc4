#include "test.h"

#include "lamport.h"
#include "limits.h"
#include "version.h"

#include <stdlib.h>
#include <string.h>

static void make_id(unsigned number, uint8_t ret_id[static HASH_SIZE])
{
    memset(ret_id, 0, HASH_SIZE);
    ret_id[0] = (uint8_t)(number >> 8);
    ret_id[1] = (uint8_t)number;
}

/* Counters of the ids 0, 1, 2 (0: none); the author is the one with the largest. */
static struct version make(uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t counters[] = {a, b, c};
    struct version version = {.counters = calloc(3, sizeof *version.counters)};
    assert_non_null(version.counters);
    for (unsigned i = 0; i < 3; i++) {
        if (counters[i] == 0)
            continue;
        make_id(i, version.counters[version.count].id);
        version.counters[version.count++].counter = counters[i];
        if (counters[i] > version.time) {
            version.time = counters[i];
            make_id(i, version.author);
        }
    }
    return version;
}

static void versions_are_ordered_by_all_their_counters(void **state)
{
    (void)state;
    static const struct {
        uint64_t a[3], b[3];
        enum version_order order, back;
    } rows[] = {
        {{0, 0, 0}, {0, 0, 0}, VERSION_EQUAL, VERSION_EQUAL},
        {{0, 0, 0}, {1, 0, 0}, VERSION_OLDER, VERSION_NEWER},
        {{1, 2, 3}, {1, 2, 3}, VERSION_EQUAL, VERSION_EQUAL},
        {{1, 2, 3}, {1, 2, 4}, VERSION_OLDER, VERSION_NEWER},
        {{1, 0, 3}, {1, 2, 3}, VERSION_OLDER, VERSION_NEWER},
        {{1, 0, 0}, {0, 1, 0}, VERSION_CONCURRENT, VERSION_CONCURRENT},
        {{2, 1, 0}, {1, 2, 0}, VERSION_CONCURRENT, VERSION_CONCURRENT},
        {{1, 2, 0}, {1, 0, 9}, VERSION_CONCURRENT, VERSION_CONCURRENT},
        {{0, 5, 0}, {9, 5, 9}, VERSION_OLDER, VERSION_NEWER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct version a = make(rows[i].a[0], rows[i].a[1], rows[i].a[2]);
        struct version b = make(rows[i].b[0], rows[i].b[1], rows[i].b[2]);
        assert_int_equal(version_compare(&a, &b), rows[i].order);
        assert_int_equal(version_compare(&b, &a), rows[i].back);
        version_free(&a);
        version_free(&b);
    }
}

static void an_edit_is_above_the_clock_and_all_counters(void **state)
{
    (void)state;
    struct version version = {0};
    uint8_t id[HASH_SIZE];
    make_id(1, id);
    assert_int_equal(version_edit(&version, id, 7), ERR_OK);
    assert_true(version.count == 1 && version.time == 8 && version.counters[0].counter == 8);
    assert_true(version_is_valid(&version));
    assert_memory_equal(version.author, id, HASH_SIZE);
    make_id(0, id);
    assert_int_equal(version_edit(&version, id, 3), ERR_OK);
    assert_true(version.count == 2 && version.time == 9 && version.counters[0].counter == 9);
    assert_true(version_is_valid(&version));
    make_id(1, id);
    assert_int_equal(version_edit(&version, id, 20), ERR_OK);
    assert_true(version.count == 2 && version.time == 21 && version.counters[1].counter == 21);
    assert_int_equal(version_largest(&version), 21);
    assert_memory_equal(version.author, id, HASH_SIZE);
    version_free(&version);
    assert_int_equal(version_largest(&version), 0);
}

static void an_edit_without_room_changes_nothing(void **state)
{
    (void)state;
    struct version version = {0};
    uint8_t id[HASH_SIZE];
    for (unsigned i = 0; i < VERSION_COUNTERS_MAX; i++) {
        make_id((i * 7) % VERSION_COUNTERS_MAX, id);
        assert_int_equal(version_edit(&version, id, 0), ERR_OK);
    }
    assert_true(version_is_valid(&version));
    make_id(VERSION_COUNTERS_MAX, id);
    assert_int_equal(version_edit(&version, id, 0), ERR_TOO_LARGE);
    assert_int_equal(version.count, VERSION_COUNTERS_MAX);
    make_id(3, id);
    assert_int_equal(version_edit(&version, id, LAMPORT_MAX - 1), ERR_OK);
    assert_int_equal(version.time, LAMPORT_MAX);
    assert_int_equal(version_edit(&version, id, 0), ERR_TOO_LARGE);
    assert_int_equal(version.time, LAMPORT_MAX);
    version_free(&version);
}

static void a_merge_has_the_greater_of_each_counter_and_the_winners_author(void **state)
{
    (void)state;
    struct version a = make(1, 5, 0), b = make(3, 0, 2), merged, expected = make(3, 5, 2);
    assert_int_equal(version_merge(&b, &a, &merged), ERR_OK);
    assert_int_equal(version_compare(&merged, &expected), VERSION_EQUAL);
    assert_int_equal(merged.time, 3);
    assert_memory_equal(merged.author, b.author, HASH_SIZE);
    assert_true(version_is_valid(&merged));
    struct version copy;
    assert_int_equal(version_copy(&merged, &copy), ERR_OK);
    version_free(&merged);
    assert_int_equal(version_compare(&copy, &expected), VERSION_EQUAL);
    assert_int_equal(copy.time, 3);
    version_free(&copy);
    version_free(&a);
    version_free(&b);
    version_free(&expected);
}

static void a_merge_of_too_many_is_refused(void **state)
{
    (void)state;
    struct version a = {0}, b = {0}, merged;
    uint8_t id[HASH_SIZE];
    for (unsigned i = 0; i < VERSION_COUNTERS_MAX; i++) {
        make_id(i, id);
        assert_int_equal(version_edit(&a, id, 0), ERR_OK);
        make_id(i + 1, id);
        assert_int_equal(version_edit(&b, id, 0), ERR_OK);
    }
    assert_int_equal(version_merge(&a, &b, &merged), ERR_TOO_LARGE);
    assert_null(merged.counters);
    version_free(&a);
    version_free(&b);
}

static void the_higher_time_wins_then_the_higher_author(void **state)
{
    (void)state;
    struct version early = make(1, 0, 0), late = make(0, 2, 0), other = make(0, 0, 2);
    assert_true(version_wins(&late, &early));
    assert_false(version_wins(&early, &late));
    assert_true(version_wins(&other, &late));
    assert_false(version_wins(&late, &other));
    assert_false(version_wins(&late, &late));
    version_free(&early);
    version_free(&late);
    version_free(&other);
}

static void versions_that_break_the_rules_are_not_valid(void **state)
{
    (void)state;
    struct version version = make(1, 2, 3);
    assert_true(version_is_valid(&version));
    version.time = 4;
    assert_false(version_is_valid(&version));
    version.time = 0;
    assert_false(version_is_valid(&version));
    version.time = 1;
    assert_true(version_is_valid(&version));
    version.counters[1].counter = 0;
    assert_false(version_is_valid(&version));
    version.counters[1].counter = LAMPORT_MAX + 1;
    assert_false(version_is_valid(&version));
    version.counters[1].counter = LAMPORT_MAX;
    assert_true(version_is_valid(&version));
    make_id(0, version.counters[1].id); /* twice */
    assert_false(version_is_valid(&version));
    make_id(9, version.counters[1].id); /* out of order */
    assert_false(version_is_valid(&version));
    make_id(1, version.counters[1].id);
    make_id(7, version.author);
    assert_false(version_is_valid(&version));
    version_free(&version);
    assert_false(version_is_valid(&version));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_ordered_by_all_their_counters),
        cmocka_unit_test(an_edit_is_above_the_clock_and_all_counters),
        cmocka_unit_test(an_edit_without_room_changes_nothing),
        cmocka_unit_test(a_merge_has_the_greater_of_each_counter_and_the_winners_author),
        cmocka_unit_test(a_merge_of_too_many_is_refused),
        cmocka_unit_test(the_higher_time_wins_then_the_higher_author),
        cmocka_unit_test(versions_that_break_the_rules_are_not_valid),
    };
    return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
