/* A command line as words, and back. */
#include "../../peer/prompt/words.h"
#include "test.h"

static void split_is(const char *line, size_t count, const char *const *expected)
{
    struct words words;
    struct why why = {""};
    if (words_split(line, &words, &why))
        fail_msg("%s: %s", line, why.text);
    assert_int_equal(words.count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(words.items[i], expected[i]);
    words_free(&words);
}
#define SPLIT_IS(line, ...)                                                                                            \
    split_is(line, sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *), (const char *[]){__VA_ARGS__})

static void blanks_quotes_and_backslashes(void **state)
{
    (void)state;
    split_is("", 0, NULL);
    split_is(" \t ", 0, NULL);
    SPLIT_IS("  get  a\tb ", "get", "a", "b");
    SPLIT_IS("get 'a b' \"c d\" e\\ f", "get", "a b", "c d", "e f");
    SPLIT_IS("a'b 'c\" d\"", "ab c d");
    SPLIT_IS("'it'\\''s'", "it's");
    SPLIT_IS("\"a\\\"b\\\\c\\d\"", "a\"b\\c\\d");
    SPLIT_IS("'a\\b'", "a\\b");
    SPLIT_IS("'' x", "", "x");
}

static void broken_lines_are_refused(void **state)
{
    (void)state;
    struct words words;
    struct why why;
    assert_int_equal(words_split("get 'a", &words, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "quote"));
    assert_int_equal(words_split("get \"a", &words, &why), ERR_INVALID);
    assert_int_equal(words_split("get a\\", &words, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "backslash"));
    char many[2 * WORDS_MAX + 3];
    for (size_t i = 0; i < sizeof many - 1; i++)
        many[i] = i % 2 == 0 ? 'a' : ' ';
    many[sizeof many - 1] = '\0';
    assert_int_equal(words_split(many, &words, &why), ERR_TOO_LARGE);
    assert_int_equal(words.count, 0);
}

static void last_is(const char *line, const char *expected, size_t expected_start)
{
    char *word;
    size_t start;
    assert_int_equal(words_last(line, &word, &start), ERR_OK);
    assert_string_equal(word, expected);
    assert_int_equal(start, expected_start);
    free(word);
}

static void the_word_being_typed(void **state)
{
    (void)state;
    last_is("", "", 0);
    last_is("ge", "ge", 0);
    last_is("get ", "", 4);
    last_is("get a\\ b", "a b", 4);
    last_is("get 'a b", "a b", 4);
    last_is("get 'a b' c", "c", 10);
}

static void what_is_quoted_comes_back(void **state)
{
    (void)state;
    const char *const texts[] = {"plain", "a b", "it's", "\"", "\\", "tab\there", "\xc3\xa9t\xc3\xa9", ""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *quoted = words_quote(texts[i]);
        assert_non_null(quoted);
        split_is(quoted, 1, &texts[i]);
        free(quoted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blanks_quotes_and_backslashes),
        cmocka_unit_test(broken_lines_are_refused),
        cmocka_unit_test(the_word_being_typed),
        cmocka_unit_test(what_is_quoted_comes_back),
    };
    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
