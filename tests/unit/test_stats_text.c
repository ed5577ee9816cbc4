/* Statistics for people and for spreadsheets. */
#include "../../peer/prompt/stats_text.h"
#include "test.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

static const struct statistic rows[] = {
    {.key = {.size = 64u << 20, .holders = 1, .chunk_size = 65536}, .time_ms = {.count = 1, .mean = 5432}},
    {.key = {.size = 64u << 20, .holders = 3, .chunk_size = 1u << 20},
     .time_ms = {.count = 3, .mean = 2000.5, .squares = 2 * 250.25 * 250.25}},
    {.key = {.size = 7, .holders = 1, .chunk_size = 16384}, .time_ms = {.count = 2}},
};

static void a_person_sees_units(void **state)
{
    (void)state;
    struct table *table = stats_text_table(rows, 3);
    char *text = table_format(table);
    assert_string_equal(text, "    SIZE  HOLDERS     CHUNK  RUNS     TIME  DEVIATION        RATE\n"
                              "64.0 MiB        1  64.0 KiB     1   5.43 s             11.8 MiB/s\n"
                              "64.0 MiB        3   1.0 MiB     3   2.00 s     250 ms  32.0 MiB/s\n"
                              "     7 B        1  16.0 KiB     2  0.00 ms    0.00 ms\n");
    free(text);
    table_free(table);
}

static void a_spreadsheet_gets_plain_numbers(void **state)
{
    (void)state;
    char *text = stats_text_csv(rows, 3);
    assert_string_equal(text, "file_size_bytes,holders,chunk_size_bytes,runs,mean_time_s,standard_deviation_s,"
                              "rate_bytes_per_s\r\n"
                              "67108864,1,65536,1,5.432000,,12354356\r\n"
                              "67108864,3,1048576,3,2.000500,0.250250,33546045\r\n"
                              "7,1,16384,2,0.000000,0.000000,\r\n");
    assert_memory_equal(text, STATS_TEXT_HEAD, strlen(STATS_TEXT_HEAD));
    free(text);
}

static void without_rows_there_is_a_head(void **state)
{
    (void)state;
    char *text = stats_text_csv(NULL, 0);
    assert_string_equal(text, STATS_TEXT_HEAD "\r\n");
    free(text);
}

int main(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_person_sees_units),
        cmocka_unit_test(a_spreadsheet_gets_plain_numbers),
        cmocka_unit_test(without_rows_there_is_a_head),
    };
    return cmocka_run_group_tests_name("stats_text", tests, NULL, NULL);
}
