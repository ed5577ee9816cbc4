#include "test.h"

#include "err.h"

#include <errno.h>
#include <string.h>

static void every_error_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_string_not_equal(err_name((enum err)i), "unknown error");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(err_name((enum err)i), err_name((enum err)j));
    }
    assert_string_equal(err_name(ERR_COUNT), "unknown error");
    assert_string_equal(err_name((enum err) - 1), "unknown error");
}

static void errno_values_keep_their_meaning(void **state)
{
    (void)state;
    assert_int_equal(err_from_errno(0), ERR_OK);
    assert_int_equal(err_from_errno(ENOSPC), ERR_NOSPACE);
    assert_int_equal(err_from_errno(EDQUOT), ERR_NOSPACE);
    assert_int_equal(err_from_errno(EACCES), ERR_DENIED);
    assert_int_equal(err_from_errno(EROFS), ERR_READ_ONLY);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(ENOMEM), ERR_NOMEM);
    assert_int_equal(err_from_errno(EADDRINUSE), ERR_EXISTS);
    assert_int_equal(err_from_errno(EIO), ERR_IO);
    assert_int_equal(err_from_errno(123456), ERR_IO);
}

static void a_reason_is_formatted_and_may_be_unwanted(void **state)
{
    (void)state;
    struct why why;
    assert_int_equal(why_set(&why, ERR_BUSY, "%d of %s", 3, "four"), ERR_BUSY);
    assert_string_equal(why.text, "3 of four");
    assert_int_equal(why_set(NULL, ERR_BUSY, "%d", 3), ERR_BUSY);
}

static void a_reason_can_be_put_into_a_longer_one(void **state)
{
    (void)state;
    struct why why;
    why_set(&why, ERR_INVALID, "inner");
    why_set(&why, ERR_INVALID, "outer: %s", why.text);
    assert_string_equal(why.text, "outer: inner");
}

static void a_long_reason_is_cut_at_a_whole_character(void **state)
{
    (void)state;
    struct why why;
    char text[sizeof why.text + 8];
    /* The three bytes of the euro sign lie across the cut at each of their places. */
    for (size_t lead = sizeof why.text - 4; lead < sizeof why.text; lead++) {
        memset(text, 'a', sizeof text - 1);
        memcpy(text + lead, "\xE2\x82\xAC", 3);
        text[sizeof text - 1] = '\0';
        why_set(&why, ERR_IO, "%s", text);
        bool whole = lead + 3 < sizeof why.text;
        assert_int_equal(strlen(why.text), whole ? sizeof why.text - 1 : lead);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_text_of_its_own),
        cmocka_unit_test(errno_values_keep_their_meaning),
        cmocka_unit_test(a_reason_is_formatted_and_may_be_unwanted),
        cmocka_unit_test(a_reason_can_be_put_into_a_longer_one),
        cmocka_unit_test(a_long_reason_is_cut_at_a_whole_character),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
