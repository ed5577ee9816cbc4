/* Rows of the last listing, and what a word of a command means. */
#include "../../peer/prompt/listing.h"
#include "test.h"

static void rows_are_numbered_from_one(void **state)
{
    (void)state;
    struct listing listing = {0};
    struct content content = {.size = 7};
    assert_null(listing_get(&listing, 1));
    char name[24];
    for (unsigned i = 1; i <= 200; i++) {
        content.size = i;
        snprintf(name, sizeof name, "file %u", i);
        assert_int_equal(listing_add(&listing, name, &content), ERR_OK);
    }
    assert_null(listing_get(&listing, 0));
    assert_string_equal(listing_get(&listing, 1)->name, "file 1");
    assert_int_equal(listing_get(&listing, 200)->content.size, 200);
    assert_null(listing_get(&listing, 201));
    assert_null(listing_get(&listing, UINT64_MAX));
    listing_clear(&listing);
    assert_null(listing_get(&listing, 1));
    listing_clear(&listing);
}

static struct target parsed(const char *word)
{
    struct target target;
    assert_int_equal(listing_parse_target(word, &target, NULL), ERR_OK);
    return target;
}

static void words_are_rows_roots_or_names(void **state)
{
    (void)state;
    assert_int_equal(parsed("3").kind, TARGET_NUMBER);
    assert_int_equal(parsed("3").number, 3);
    assert_int_equal(parsed("#12").number, 12);
    assert_int_equal(parsed("99999").kind, TARGET_NUMBER);
    assert_int_equal(parsed("123456").kind, TARGET_PREFIX);
    assert_int_equal(parsed("#123456").number, 123456);
    assert_int_equal(parsed("abcde").kind, TARGET_NAME);
    assert_int_equal(parsed("ABCdef").kind, TARGET_PREFIX);
    assert_string_equal(parsed("ABCdef").prefix, "abcdef");
    assert_int_equal(parsed("abcdeg").kind, TARGET_NAME);
    assert_int_equal(parsed("3.txt").kind, TARGET_NAME);
    char long_root[HASH_HEX + 2];
    memset(long_root, 'a', sizeof long_root);
    long_root[HASH_HEX] = '\0';
    assert_int_equal(parsed(long_root).kind, TARGET_PREFIX);
    long_root[HASH_HEX] = 'a';
    long_root[HASH_HEX + 1] = '\0';
    assert_int_equal(parsed(long_root).kind, TARGET_NAME);
}

static void a_mark_wants_a_number(void **state)
{
    (void)state;
    struct target target;
    struct why why = {""};
    assert_int_equal(listing_parse_target("#", &target, &why), ERR_INVALID);
    assert_int_equal(listing_parse_target("#x", &target, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "#x"));
}

static void roots_are_compared_by_their_beginning(void **state)
{
    (void)state;
    struct content content = {.root = {0x12, 0xab, 0xcd}};
    assert_true(listing_root_begins(&content, "12abcd"));
    assert_true(listing_root_begins(&content, "12abcd0"));
    assert_false(listing_root_begins(&content, "12abce"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_numbered_from_one),
        cmocka_unit_test(words_are_rows_roots_or_names),
        cmocka_unit_test(a_mark_wants_a_number),
        cmocka_unit_test(roots_are_compared_by_their_beginning),
    };
    return cmocka_run_group_tests_name("listing", tests, NULL, NULL);
}
