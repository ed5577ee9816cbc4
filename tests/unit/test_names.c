#include "test.h"

#include "limits.h"
#include "names.h"

#include <stdlib.h>
#include <string.h>

static void assert_good(const char *name)
{
    struct why why = {.text = ""};
    if (names_check(name, strlen(name), &why))
        fail_msg("'%s' was refused: %s", name, why.text);
}

static void assert_bad(const char *name, const char *reason)
{
    struct why why = {.text = ""};
    if (names_check(name, strlen(name), &why) != ERR_INVALID || !strstr(why.text, reason))
        fail_msg("'%s' was not refused for '%s' but '%s'", name, reason, why.text);
    assert_true(names_is_utf8(why.text, strlen(why.text)));
    assert_int_equal(names_check(name, strlen(name), NULL), ERR_INVALID);
}

static void ordinary_names_are_taken(void **state)
{
    (void)state;
    const char *const good[] = {"a",        "a b",     "a/b/c.txt",     "...",
                                "..a",      "a..",     ".hidden",       "\"'\\*?",
                                "-rf",      "a:b",     "\xC3\xA1rvore", "\xE2\x82\xAC/\xF0\x9F\x90\x9D",
                                ".enxame2", "enxame",  "x.enxame",      "C:\\x",
                                " ",        "\xC2\xA0"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_good(good[i]);
}

static void a_name_cannot_leave_its_folder(void **state)
{
    (void)state;
    assert_bad("..", "\"..\"");
    assert_bad("../../evil", "\"..\"");
    assert_bad("a/../b", "\"..\"");
    assert_bad("a/..", "\"..\"");
    assert_bad(".", "\".\"");
    assert_bad("a/./b", "\".\"");
    assert_bad("/etc/passwd", "'/'");
    assert_bad("/", "'/'");
    assert_bad("a/", "'/'");
    assert_bad("a//b", "'/'");
    assert_bad("", "empty");
}

static void our_own_folder_is_taboo_in_any_case(void **state)
{
    (void)state;
    assert_bad(".enxame", ".enxame");
    assert_bad(".EnXaMe/secret", ".enxame");
    assert_bad("a/.ENXAME", ".enxame");
    assert_bad("a/.enxame/b", ".enxame");
}

static void control_characters_are_refused(void **state)
{
    (void)state;
    assert_bad("a\nb", "U+000A");
    assert_bad("\x1B[2J", "U+001B");
    assert_bad("a\x7F", "U+007F");
    assert_bad("a\xC2\x85", "U+0085");
    assert_bad("\xC2\x9Fz", "U+009F");
    assert_bad("a\xE2\x80\xAE"
               "txt.exe",
               "U+202E");
    assert_bad("\xE2\x81\xA6z", "U+2066");
    assert_bad("\xE2\x81\xA9z", "U+2069");
    struct why why;
    assert_int_equal(names_check("a\0b", 3, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "U+0000"));
    assert_int_equal(names_check("a\0", 2, NULL), ERR_INVALID);
}

static void only_well_formed_utf8_is_taken(void **state)
{
    (void)state;
    const char *const bad[] = {"\xFF",
                               "\x80",
                               "a\xC3",
                               "\xC3(",
                               "\xC0\xAF",
                               "\xC1\xBF",
                               "\xE0\x80\xAF",
                               "\xE0\x9F\xBF",
                               "\xED\xA0\x80",
                               "\xED\xBF\xBF",
                               "\xF0\x80\x80\xAF",
                               "\xF0\x8F\xBF\xBF",
                               "\xE2\x82",
                               "\xF0\x9F\x90",
                               "\xF4\x90\x80\x80",
                               "\xF5\x80\x80\x80",
                               "\xF8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_bad(bad[i], "UTF-8");
        assert_false(names_is_utf8(bad[i], strlen(bad[i])));
    }
    assert_good("\xEF\xBF\xBF");
    assert_good("\xF4\x8F\xBF\xBF");
    assert_true(names_is_utf8("a\nb", 3));
    assert_true(names_is_utf8("", 0));
    assert_false(names_is_utf8("a\0b", 3));
    /* The last byte lies past the length. */
    assert_false(names_is_utf8("\xC3\xA1", 1));
}

static void lengths_and_depth_are_bounded(void **state)
{
    (void)state;
    char name[NAME_SIZE_MAX + 2];
    memset(name, 'a', sizeof name);
    name[NAME_COMPONENT_MAX] = '\0';
    assert_good(name);
    name[NAME_COMPONENT_MAX] = 'a';
    name[NAME_COMPONENT_MAX + 1] = '\0';
    assert_bad(name, "255");

    memset(name, 'a', sizeof name);
    for (size_t i = 200; i < sizeof name; i += 200)
        name[i] = '/';
    name[NAME_SIZE_MAX] = '\0';
    assert_good(name);
    name[NAME_SIZE_MAX] = 'a';
    name[NAME_SIZE_MAX + 1] = '\0';
    assert_bad(name, "3072");

    for (size_t i = 0; i < NAME_DEPTH_MAX; i++)
        memcpy(name + 2 * i, "a/", 2);
    name[2 * NAME_DEPTH_MAX - 1] = '\0';
    assert_good(name);
    memcpy(name + 2 * NAME_DEPTH_MAX - 1, "/a", 3);
    assert_bad(name, "64");
}

static void what_is_shown_has_no_control_characters(void **state)
{
    (void)state;
    char text[16];
    names_printable("a\n\x1B\xC2\x9B\xFF\xE2\x80\xAEz", text, sizeof text);
    assert_string_equal(text, "a?????z");
    names_printable("abc\xE2\x82\xAC", text, 6);
    assert_string_equal(text, "abc");
    names_printable("abc\xE2\x82\xAC", text, 7);
    assert_string_equal(text, "abc\xE2\x82\xAC");
    names_printable("abc", text, 1);
    assert_string_equal(text, "");
}

static void the_base_is_the_last_component(void **state)
{
    (void)state;
    assert_string_equal(names_base("a/b/c"), "c");
    assert_string_equal(names_base("c"), "c");
}

static void words_are_found_anywhere_and_short_ones_at_the_start(void **state)
{
    (void)state;
    assert_true(names_match("ARQ", "meus/arquivo.txt"));
    assert_true(names_match("", "x"));
    assert_true(names_match("me", "Meus/arquivo.txt"));
    assert_false(names_match("qu", "arquivo.txt"));
    assert_true(names_match("qui", "arquivo.txt"));
    assert_true(names_match("txt", "arquivo.txt"));
    assert_false(names_match("txtx", "arquivo.txt"));
    /* Two characters, though four bytes, are a prefix. */
    assert_false(names_match("\xC3\xA1\xC3\xA1", "x\xC3\xA1\xC3\xA1"));
    assert_true(names_match("\xC3\xA1\xC3\xA1", "\xC3\xA1\xC3\xA1x"));
}

static void globs_match_the_whole_name(void **state)
{
    (void)state;
    assert_true(names_match("*.TXT", "a/b.txt"));
    assert_false(names_match("*.txt", "b.txt.gz"));
    assert_false(names_match("b*", "a/b"));
    assert_true(names_match("a*c", "a/b/c"));
    assert_true(names_match("a?c", "abc"));
    assert_false(names_match("a?c", "ac"));
    assert_true(names_match("?", "\xC3\xA1"));
    assert_false(names_match("??", "\xC3\xA1"));
    assert_true(names_match("*?b", "\xE2\x82\xAC"
                                   "b"));
    assert_true(names_match("*", "x"));
    assert_true(names_match("**", ""));
    assert_false(names_match("?", ""));
    assert_true(names_match("*ab*ab", "abxabab"));
    assert_true(names_match("arq?", "arq1"));
}

static void case_is_folded_beyond_ascii(void **state)
{
    (void)state;
    assert_true(names_match("\xC3\x89"
                            "COLE",
                            "a/\xC3\xA9"
                            "cole")); /* ÉCOLE, école */
    assert_false(names_match("ECOLE", "\xC3\xA9"
                                      "cole"));
    assert_true(names_match("*\xC3\x89"
                            "CO*",
                            "a/\xC3\xA9"
                            "cole"));
    assert_true(names_match("?\xD0\xAF*", "x\xD1\x8F.txt")); /* Я, я */
    assert_true(names_match("\xD1\x8F", "\xD0\xAF.txt"));    /* a prefix */
    assert_true(names_match("KM/H", "10 \xE2\x84\xAAm/h"));  /* the Kelvin sign has three bytes */
    assert_true(names_match("STRA\xC3\x9F"
                            "E",
                            "stra\xE1\xBA\x9E"
                            "e"));
    assert_false(names_match("strasse", "stra\xC3\x9F"
                                        "e"));
    /* What is no UTF-8 equals itself. */
    assert_true(names_match("a\xFF"
                            "b",
                            "A\xFF"
                            "B"));
    assert_false(names_match("a\xFF"
                             "b",
                             "A\xFE"
                             "B"));
    assert_true(names_match("?", "\xFF"));
}

static void a_pathological_glob_ends(void **state)
{
    (void)state;
    enum { LENGTH = NAME_SIZE_MAX, STARS = PATTERN_SIZE_MAX / 2 - 1 };
    char name[LENGTH + 1], pattern[PATTERN_SIZE_MAX + 1];
    memset(name, 'a', LENGTH);
    name[LENGTH] = '\0';
    for (size_t i = 0; i < STARS; i++)
        memcpy(pattern + 2 * i, "*a", 2);
    memcpy(pattern + 2 * STARS, "*b", 3);
    assert_false(names_match(pattern, name));
    name[LENGTH - 1] = 'b';
    assert_true(names_match(pattern, name));
}

static void a_folded_text_is_equal_where_case_alone_differs(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""},
        {"A/b.TXT", "a/b.txt"},
        {"\xc3\x89t\xc3\xa9", "\xc3\xa9t\xc3\xa9"}, /* an accent, both ways */
        {"\xd0\xaf", "\xd1\x8f"},
        {"\xc8\xba", "\xe2\xb1\xa5"}, /* one byte longer */
        {"\xf0\x9f\x90\x9d", "\xf0\x9f\x90\x9d"},
        {"\xff\xc3", "\xff\xc3"}, /* not UTF-8: as it is */
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *folded = names_fold(pairs[i][0]);
        assert_non_null(folded);
        assert_string_equal(folded, pairs[i][1]);
        free(folded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_names_are_taken),
        cmocka_unit_test(a_name_cannot_leave_its_folder),
        cmocka_unit_test(our_own_folder_is_taboo_in_any_case),
        cmocka_unit_test(control_characters_are_refused),
        cmocka_unit_test(only_well_formed_utf8_is_taken),
        cmocka_unit_test(lengths_and_depth_are_bounded),
        cmocka_unit_test(what_is_shown_has_no_control_characters),
        cmocka_unit_test(the_base_is_the_last_component),
        cmocka_unit_test(words_are_found_anywhere_and_short_ones_at_the_start),
        cmocka_unit_test(globs_match_the_whole_name),
        cmocka_unit_test(case_is_folded_beyond_ascii),
        cmocka_unit_test(a_folded_text_is_equal_where_case_alone_differs),
        cmocka_unit_test(a_pathological_glob_ends),
    };
    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
