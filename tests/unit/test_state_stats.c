/* How long downloads took: what is kept of it. */
#include "state_fixture.h"

#include "limits.h"

#include <math.h>

static void add(struct state *state, uint64_t size, uint64_t holders, uint64_t chunk_size, uint64_t elapsed_ms)
{
    struct sample_key key = {.size = size, .holders = holders, .chunk_size = chunk_size};
    assert_int_equal(state_add_sample(state, &key, elapsed_ms), ERR_OK);
}

static void samples_of_one_kind_are_one_row_that_survives(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct statistic *rows;
    size_t count;
    assert_int_equal(state_list_statistics(state, &rows, &count), ERR_OK);
    assert_int_equal(count, 0);
    free(rows);
    add(state, 1000, 2, 16384, 10);
    add(state, 1000, 2, 16384, 20);
    state_close(state);
    state = open_state();
    add(state, 1000, 2, 16384, 30);
    assert_int_equal(state_list_statistics(state, &rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].key.size, 1000);
    assert_int_equal(rows[0].key.holders, 2);
    assert_int_equal(rows[0].key.chunk_size, 16384);
    assert_int_equal(rows[0].time_ms.count, 3);
    assert_true(fabs(rows[0].time_ms.mean - 20) < 1e-9);
    assert_true(fabs(average_deviation(&rows[0].time_ms) - 10) < 1e-9);
    free(rows);
    state_close(state);
}

static void rows_are_in_order(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct statistic *rows;
    size_t count;
    add(state, 2000, 1, 65536, 1);
    add(state, 1000, 2, 16384, 1);
    add(state, 1000, 1, 65536, 1);
    add(state, 1000, 1, 16384, 1);
    assert_int_equal(state_list_statistics(state, &rows, &count), ERR_OK);
    assert_int_equal(count, 4);
    static const uint64_t expected[4][3] = {{1000, 1, 16384}, {1000, 1, 65536}, {1000, 2, 16384}, {2000, 1, 65536}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rows[i].key.size, expected[i][0]);
        assert_int_equal(rows[i].key.holders, expected[i][1]);
        assert_int_equal(rows[i].key.chunk_size, expected[i][2]);
    }
    free(rows);
    state_close(state);
}

static void the_row_without_news_for_longest_goes(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct statistic *rows;
    size_t count;
    state_begin(state);
    for (uint64_t size = 1; size <= STATISTICS_MAX; size++)
        add(state, size, 1, 16384, 1);
    add(state, 1, 1, 16384, 1); /* news for the first: now the second is the oldest */
    add(state, STATISTICS_MAX + 1, 1, 16384, 1);
    assert_int_equal(state_commit(state), ERR_OK);
    assert_int_equal(state_list_statistics(state, &rows, &count), ERR_OK);
    assert_int_equal(count, STATISTICS_MAX);
    assert_int_equal(rows[0].key.size, 1);
    assert_int_equal(rows[0].time_ms.count, 2);
    assert_int_equal(rows[1].key.size, 3);
    assert_int_equal(rows[count - 1].key.size, STATISTICS_MAX + 1);
    free(rows);
    state_close(state);
}

static void a_database_without_them_gets_them_and_keeps_the_rest(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row row = {.content = {.size = 5}, .name = strdup("a"), .target = strdup("/a")};
    struct download_row *downloads;
    struct statistic *rows;
    size_t count;
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    download_row_free(&row);
    state_close(state);
    change_state(
        "DROP TABLE statistics; DROP TABLE repairs; ALTER TABLE downloads DROP COLUMN hidden; PRAGMA user_version = 1");
    state = open_state();
    assert_int_equal(state_list_downloads(state, false, 0, SIZE_MAX, &downloads, &count), ERR_OK);
    assert_int_equal(count, 1);
    download_row_free(&downloads[0]);
    free(downloads);
    add(state, 1, 1, 16384, 1);
    assert_int_equal(state_list_statistics(state, &rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    free(rows);
    state_close(state);
}

static void numbers_that_none_can_be_are_told(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct statistic *rows;
    size_t count;
    add(state, 1, 1, 16384, 1);
    state_close(state);
    change_state("UPDATE statistics SET squares = -1");
    state = open_state();
    assert_int_equal(state_list_statistics(state, &rows, &count), ERR_CORRUPT);
    assert_null(rows);
    struct sample_key key = {.size = 1, .holders = 1, .chunk_size = 16384};
    assert_int_equal(state_add_sample(state, &key, 1), ERR_CORRUPT);
    state_close(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(samples_of_one_kind_are_one_row_that_survives),
        TEST(rows_are_in_order),
        TEST(the_row_without_news_for_longest_goes),
        TEST(a_database_without_them_gets_them_and_keeps_the_rest),
        TEST(numbers_that_none_can_be_are_told),
    };
    return cmocka_run_group_tests_name("state_stats", tests, NULL, NULL);
}
