#include "test.h"

#include "limits.h"
#include "units.h"

#include <string.h>

static void sizes_are_read_with_their_letter(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"64K", 65536},
                {"64k", 65536},
                {"10M", 10485760},
                {"1G", UINT64_C(1) << 30},
                {"1t", UINT64_C(1) << 40},
                {"16777215T", UINT64_C(16777215) << 40},
                {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t value = 1;
        assert_true(units_parse_size(good[i].text, &value));
        assert_true(value == good[i].value);
    }
}

static void what_is_no_size_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"",     "K",    "-1", "+1",  " 1",        "1 ",
                               "1.5M", "64KB", "1P", "0x1", "16777216T", "18446744073709551616"};
    uint64_t value = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(units_parse_size(bad[i], &value));
    assert_true(value == 7);
}

static void numbers_keep_their_bounds(void **state)
{
    (void)state;
    uint64_t value;
    assert_true(units_parse_number("5", 5, 10, &value) && value == 5);
    assert_true(units_parse_number("10", 5, 10, &value) && value == 10);
    assert_false(units_parse_number("4", 5, 10, &value));
    assert_false(units_parse_number("11", 5, 10, &value));
    assert_false(units_parse_number("7K", 5, 10000, &value));
    assert_false(units_parse_number("", 0, 10, &value));
}

static void sizes_are_shown_in_the_largest_fitting_unit(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"},
                {999, "999 B"},
                {1023, "1023 B"},
                {1024, "1.0 KiB"},
                {1536, "1.5 KiB"},
                {64 * 1048576, "64.0 MiB"},
                {1048575, "1.0 MiB"},
                {UINT64_C(2) << 40, "2.0 TiB"},
                {UINT64_MAX, "16.0 EiB"}};
    char text[UNITS_TEXT_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        units_format_size(rows[i].bytes, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void durations_are_shown_in_two_units(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {{0, "0 ms"},
                {850, "850 ms"},
                {12999, "12 s"},
                {185000, "3 min 05 s"},
                {7800000, "2 h 10 min"},
                {UINT64_C(99) * 3600000, "4 d 3 h"}};
    char text[UNITS_TEXT_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        units_format_duration(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
    units_format_duration(UINT64_MAX, text);
}

static void times_are_shown_in_three_digits(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *text;
    } rows[] = {{0, "0.00 ms"},       {424, "0.42 ms"},         {9994, "9.99 ms"},        {9995, "10.0 ms"},
                {42450, "42.5 ms"},   {99949, "99.9 ms"},       {99950, "100 ms"},        {850000, "850 ms"},
                {999499, "999 ms"},   {999500, "1.00 s"},       {5430000, "5.43 s"},      {9995000, "10.0 s"},
                {59949499, "59.9 s"}, {60000000, "1 min 00 s"}, {125000000, "2 min 05 s"}};
    char text[UNITS_TEXT_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        units_format_time(rows[i].us, text);
        assert_string_equal(text, rows[i].text);
    }
    units_format_time(UINT64_MAX, text);
}

static void rates_are_sizes_within_bounds_or_unlimited(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes_s;
    } good[] = {{"1K", 1024}, {"1024", 1024}, {"10m", 10485760}, {"1T", RATE_MAX}, {"0", 0}, {"unlimited", 0}};
    const char *const bad[] = {"", "5", "1023", "2T", "-1K", "1.5M", "fast", "Unlimited", "10MB", "10M/s"};
    uint64_t value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        value = 7;
        assert_int_equal(units_parse_rate(good[i].text, &value, NULL), ERR_OK);
        assert_true(value == good[i].bytes_s);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct why why = {""};
        value = 7;
        assert_int_equal(units_parse_rate(bad[i], &value, &why), ERR_INVALID);
        assert_true(value == 7);
        assert_non_null(strstr(why.text, "unlimited"));
    }
}

static void rates_are_shown_by_the_second(void **state)
{
    (void)state;
    char text[UNITS_TEXT_SIZE];
    units_format_rate(0, text);
    assert_string_equal(text, "unlimited");
    units_format_rate(1536, text);
    assert_string_equal(text, "1.5 KiB/s");
    units_format_rate(UINT64_MAX, text);
    assert_string_equal(text + strlen(text) - 2, "/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_with_their_letter),
        cmocka_unit_test(what_is_no_size_is_refused),
        cmocka_unit_test(numbers_keep_their_bounds),
        cmocka_unit_test(sizes_are_shown_in_the_largest_fitting_unit),
        cmocka_unit_test(durations_are_shown_in_two_units),
        cmocka_unit_test(rates_are_sizes_within_bounds_or_unlimited),
        cmocka_unit_test(rates_are_shown_by_the_second),
        cmocka_unit_test(times_are_shown_in_three_digits),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
