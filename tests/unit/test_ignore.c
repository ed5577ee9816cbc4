#include "test.h"

#include "../../peer/sync/ignore.h"
#include "limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct notices {
    size_t count, line;
    char reason[128];
};

static void keep_notice(void *context, size_t line, const char *reason)
{
    struct notices *notices = context;
    notices->count++;
    notices->line = line;
    snprintf(notices->reason, sizeof notices->reason, "%s", reason);
}

static struct ignore *parse(const char *text)
{
    struct ignore *ignore = NULL;
    struct notices notices = {0};
    assert_int_equal(ignore_parse(text, strlen(text), keep_notice, &notices, &ignore), ERR_OK);
    if (notices.count > 0)
        fail_msg("%s: line %zu %s", text, notices.line, notices.reason);
    return ignore;
}

struct row {
    const char *patterns, *name;
    bool expected;
};

/* A name that ends with '/' is a folder's. */
static void check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s", rows[i].name);
        size_t length = strlen(name);
        bool is_folder = name[length - 1] == '/';
        if (is_folder)
            name[length - 1] = '\0';
        struct ignore *ignore = parse(rows[i].patterns);
        if (ignore_matches(ignore, name, is_folder) != rows[i].expected)
            fail_msg("\"%s\" on \"%s\"", rows[i].patterns, rows[i].name);
        ignore_free(ignore);
    }
}
#define CHECK(rows) check(rows, sizeof(rows) / sizeof *(rows))

static void a_name_is_ignored_wherever_it_lies(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a", "a", true},
        {"a", "b/a", true},
        {"a", "a/b", true},
        {"a", "ab", false},
        {"a", "b", false},
        {"a/", "a/", true},
        {"a/", "a", false},
        {"a/", "a/b", true},
        {"a/", "b/a/c", true},
        {"a/", "b/a", false},
        {"/a", "a", true},
        {"/a", "b/a", false},
        {"/a", "a/b/c", true},
        {"a/b", "a/b", true},
        {"a/b", "c/a/b", false},
        {"a/b/", "a/b", false},
        {"a/b/", "a/b/", true},
        {"/a/b", "a/b/c", true},
        {"A", "a", false},
        {"a\r\n", "a", true},
        {"\xEF\xBB\xBF"
         "a",
         "a", true},
        {"a\nb", "b", true},
        {"a b", "a b", true},
        {"é", "x/é", true},
    };
    CHECK(rows);
}

static void stars_marks_and_sets_stand_for_characters(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"*.o", "a.o", true},     {"*.o", "b/a.o", true},      {"*.o", ".o", true},       {"*.o", "a.oo", false},
        {"a*", "abc", true},      {"a*c", "abbc", true},       {"a*c", "ab/c", false},    {"/a*c", "ab/c", false},
        {"a*b*c", "axbxc", true}, {"a*b*c", "axcxb", false},   {"*", "anything", true},   {"**", "a/b", true},
        {"a**b", "axxb", true},   {"a**b", "x/ab", true},      {"d/*", "d/a", true},      {"d/*", "d/a/b", true},
        {"d/*", "d/", false},     {"d/*.o", "d/e/a.o", false}, {"?", "a", true},          {"?", "é", true},
        {"?", "ab", false},       {"a?b", "a/b", false},       {"/a?b", "a/b", false},    {"[abc]", "b", true},
        {"[abc]", "d", false},    {"[a-c]x", "bx", true},      {"[!a-c]x", "bx", false},  {"[^a-c]x", "dx", true},
        {"[]]", "]", true},       {"[!]]", "]", false},        {"[a\\]b]", "]", true},    {"[a-]", "-", true},
        {"[é-ü]", "ö", true},     {"[é-ü]", "z", false},       {"/a[!b]c", "a/c", false}, {"[[]x", "[x", true},
    };
    CHECK(rows);
}

static void two_stars_stand_for_folders(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"**/a", "a", true},
        {"**/a", "b/a", true},
        {"**/a", "b/c/a", true},
        {"**/a", "ba", false},
        {"**/a/b", "x/a/b", true},
        {"**/a/b", "a/b", true},
        {"**/a/b", "xa/b", false},
        {"a/**", "a/b", true},
        {"a/**", "a/b/c", true},
        {"a/**", "a/", false},
        {"a/**", "b/a/c", false},
        {"a/**/b", "a/b", true},
        {"a/**/b", "a/x/b", true},
        {"a/**/b", "a/x/y/b", true},
        {"a/**/b", "a/xb", false},
        {"a/**/b", "ab", false},
        {"**/*.o", "x/y/z.o", true},
        {"a/**/*.o", "a/b/c/d.o", true},
        {"a/**/*.o", "b/a/c.o", false},
        {"a/**/b/**/c", "a/1/b/2/c", true},
        {"a/**/b/**/c", "a/1/2/c", false},
        {"**/", "a/", true},
        {"**/", "a", false},
    };
    CHECK(rows);
}

static void what_a_later_pattern_takes_back_is_not_ignored(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"*.o\n!a.o", "a.o", false},      {"*.o\n!a.o", "b.o", true},      {"!a.o\n*.o", "a.o", true},
        {"d\n!d/a", "d/a", true},         {"d/*\n!d/a", "d/a", false},     {"d/*\n!d/a", "d/b", true},
        {"*\n!*/\n!*.c", "x/y.c", false}, {"*\n!*/\n!*.c", "x/y.h", true},
    };
    CHECK(rows);
}

static void comments_and_escapes_are_read(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"#a", "#a", false},  {"\\#a", "#a", true},  {"\\!a", "!a", true},  {"a  ", "a", true},   {"a\\ ", "a ", true},
        {"a\\*", "a*", true}, {"a\\*", "ab", false}, {"\n \n", "a", false}, {"a\\b", "ab", true}, {"\\\\", "\\", true},
    };
    CHECK(rows);
}

static void our_own_folder_is_always_ignored_and_the_list_itself_never(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", ".enxame/", true},        {"", "a/.Enxame/b", true},      {"!.enxame", ".enxame/x", true},
        {"*", ".enxameignore", false}, {"*", "a/.enxameignore", true},
    };
    CHECK(rows);
    assert_true(ignore_matches(NULL, ".enxame", true));
    assert_false(ignore_matches(NULL, "a/b", false));
}

static void lines_that_are_no_pattern_are_told_and_left_out(void **state)
{
    (void)state;
    static const char *const lines[] = {"[a", "[a\\", "a\\", "/", "!", "!/", "[[:alpha:]]", "\xFF"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[64];
        struct ignore *ignore;
        struct notices notices = {0};
        snprintf(text, sizeof text, "x\n%s\ny\n", lines[i]);
        assert_int_equal(ignore_parse(text, strlen(text), keep_notice, &notices, &ignore), ERR_OK);
        if (notices.count != 1 || notices.line != 2 || notices.reason[0] == '\0')
            fail_msg("%s: %zu notices", lines[i], notices.count);
        assert_true(ignore_matches(ignore, "x", false) && ignore_matches(ignore, "y", false));
        assert_false(ignore_matches(ignore, "a", false));
        ignore_free(ignore);
    }
    struct ignore *ignore;
    assert_int_equal(ignore_parse("a\0b", 3, NULL, NULL, &ignore), ERR_OK);
    assert_false(ignore_matches(ignore, "a", false));
    ignore_free(ignore);
}

static void what_is_too_large_is_refused(void **state)
{
    (void)state;
    char *text = malloc(IGNORE_SIZE_MAX + 1);
    struct ignore *ignore;
    assert_non_null(text);
    memset(text, '#', IGNORE_SIZE_MAX + 1);
    assert_int_equal(ignore_parse(text, IGNORE_SIZE_MAX, NULL, NULL, &ignore), ERR_OK);
    ignore_free(ignore);
    assert_int_equal(ignore_parse(text, IGNORE_SIZE_MAX + 1, NULL, NULL, &ignore), ERR_TOO_LARGE);
    assert_null(ignore);
    for (size_t i = 0; i < 2 * (IGNORE_PATTERNS_MAX + 1); i++)
        text[i] = i % 2 ? '\n' : 'a';
    assert_int_equal(ignore_parse(text, (size_t)2 * IGNORE_PATTERNS_MAX, NULL, NULL, &ignore), ERR_OK);
    ignore_free(ignore);
    assert_int_equal(ignore_parse(text, (size_t)2 * IGNORE_PATTERNS_MAX + 2, NULL, NULL, &ignore), ERR_TOO_LARGE);
    struct notices notices = {0};
    memset(text, 'a', NAME_SIZE_MAX + 1);
    assert_int_equal(ignore_parse(text, NAME_SIZE_MAX + 1, keep_notice, &notices, &ignore), ERR_OK);
    assert_int_equal(notices.count, 1);
    ignore_free(ignore);
    free(text);
}

/* Tried one way after the other this would take longer than the world is old. */
static void a_pattern_of_many_stars_ends(void **state)
{
    (void)state;
    char pattern[2000], name[NAME_SIZE_MAX + 1];
    for (size_t i = 0; i < sizeof pattern - 1; i++)
        pattern[i] = "*a"[i % 2];
    pattern[sizeof pattern - 2] = 'b';
    pattern[sizeof pattern - 1] = '\0';
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    struct ignore *ignore = parse(pattern);
    assert_false(ignore_matches(ignore, name, false));
    ignore_free(ignore);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_ignored_wherever_it_lies),
        cmocka_unit_test(stars_marks_and_sets_stand_for_characters),
        cmocka_unit_test(two_stars_stand_for_folders),
        cmocka_unit_test(what_a_later_pattern_takes_back_is_not_ignored),
        cmocka_unit_test(comments_and_escapes_are_read),
        cmocka_unit_test(our_own_folder_is_always_ignored_and_the_list_itself_never),
        cmocka_unit_test(lines_that_are_no_pattern_are_told_and_left_out),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(a_pattern_of_many_stars_ends),
    };
    return cmocka_run_group_tests_name("ignore", tests, NULL, NULL);
}
