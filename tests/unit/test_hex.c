#include "test.h"

#include "hex.h"

#include <string.h>

static void bytes_become_lower_case_digits_and_bytes_again(void **state)
{
    (void)state;
    uint8_t bytes[256], back[256];
    char text[513];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    hex_encode(bytes, sizeof bytes, text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_decode(text, sizeof bytes, back));
    assert_memory_equal(bytes, back, sizeof bytes);
}

static void only_lower_case_digits_of_the_right_number_are_taken(void **state)
{
    (void)state;
    uint8_t bytes[2];
    assert_true(hex_decode("00ff", 2, bytes));
    assert_true(hex_decode("", 0, bytes));
    const char *const bad[] = {"", "00f", "00ff0", "00FF", "00fg", " 0ff", "0xff", "00f ", "-0ff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(hex_decode(bad[i], 2, bytes));
}

static void a_prefix_has_a_least_and_a_greatest_length(void **state)
{
    (void)state;
    char text[HASH_HEX + 2];
    memset(text, 'a', sizeof text);
    text[HASH_HEX + 1] = '\0';
    assert_false(hex_is_prefix(text, 4));
    text[HASH_HEX] = '\0';
    assert_true(hex_is_prefix(text, 4));
    assert_true(hex_is_prefix("beef", 4));
    assert_false(hex_is_prefix("bee", 4));
    assert_false(hex_is_prefix("beeg", 4));
    assert_false(hex_is_prefix("BEEF", 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_become_lower_case_digits_and_bytes_again),
        cmocka_unit_test(only_lower_case_digits_of_the_right_number_are_taken),
        cmocka_unit_test(a_prefix_has_a_least_and_a_greatest_length),
    };
    return cmocka_run_group_tests_name("hex", tests, NULL, NULL);
}
