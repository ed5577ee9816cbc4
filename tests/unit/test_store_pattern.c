#include "test.h"

#include "store_pattern.h"

/* "<<" and ">>" stand for the marks around each name in the index. */
static void expect(const char *text, const char *expression, bool check)
{
    struct pattern pattern;
    assert_int_equal(store_pattern_compile(text, "<<", ">>", &pattern), ERR_OK);
    if (expression) {
        assert_non_null(pattern.expression);
        assert_string_equal(pattern.expression, expression);
    } else {
        assert_null(pattern.expression);
    }
    assert_int_equal(pattern.check, check);
    free(pattern.expression);
}

static void an_empty_pattern_asks_nothing(void **state)
{
    (void)state;
    expect(NULL, NULL, false);
    expect("", NULL, false);
}

static void three_characters_are_a_substring_and_fewer_a_prefix(void **state)
{
    (void)state;
    expect("a", "\"<<a\"", false);
    expect("ab", "\"<<ab\"", false);
    expect("abc", "\"abc\"", false);
    expect("\xc3\xa9\xc3\xa9", "\"<<\xc3\xa9\xc3\xa9\"", false);
    expect("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\"", false);
}

static void quotes_are_doubled(void **state)
{
    (void)state;
    expect("a\"b OR c", "\"a\"\"b OR c\"", false);
    expect("\"", "\"<<\"\"\"", false);
}

static void a_glob_is_its_literal_runs_with_the_ends_of_the_name(void **state)
{
    (void)state;
    expect("a*", "\"<<a\"", true);
    expect("*.c", "\".c>>\"", true);
    expect("a?c", "\"<<a\" AND \"c>>\"", true);
    expect("*abc*def*", "\"abc\" AND \"def\"", true);
    expect("*ab*def*", "\"def\"", true);
}

static void a_glob_without_a_long_run_is_left_to_the_check(void **state)
{
    (void)state;
    expect("*", NULL, true);
    expect("*ab*", NULL, true);
    expect("?*?", NULL, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_pattern_asks_nothing),
        cmocka_unit_test(three_characters_are_a_substring_and_fewer_a_prefix),
        cmocka_unit_test(quotes_are_doubled),
        cmocka_unit_test(a_glob_is_its_literal_runs_with_the_ends_of_the_name),
        cmocka_unit_test(a_glob_without_a_long_run_is_left_to_the_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
