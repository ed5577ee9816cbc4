#include "test.h"

#include "bitmap.h"

#include <string.h>

static void the_first_bit_is_the_most_significant(void **state)
{
    (void)state;
    struct bitmap bitmap;
    assert_int_equal(bitmap_init(&bitmap, 10), ERR_OK);
    bitmap_put(&bitmap, 0, true);
    bitmap_put(&bitmap, 9, true);
    const uint8_t expected[] = {0x80, 0x40};
    assert_memory_equal(bitmap.bytes, expected, 2);
    assert_true(bitmap_get(&bitmap, 9));
    assert_false(bitmap_get(&bitmap, 8));
    bitmap_free(&bitmap);
    bitmap_free(&bitmap);
}

static void set_counts_each_bit_once(void **state)
{
    (void)state;
    struct bitmap bitmap;
    assert_int_equal(bitmap_init(&bitmap, 9), ERR_OK);
    assert_false(bitmap_full(&bitmap));
    for (size_t i = 0; i < 9; i++) {
        bitmap_put(&bitmap, i, true);
        bitmap_put(&bitmap, i, true);
        assert_int_equal(bitmap.set, i + 1);
    }
    assert_true(bitmap_full(&bitmap));
    bitmap_put(&bitmap, 4, false);
    bitmap_put(&bitmap, 4, false);
    assert_int_equal(bitmap.set, 8);
    bitmap_free(&bitmap);
}

static void nothing_lies_past_the_end(void **state)
{
    (void)state;
    struct bitmap bitmap;
    assert_int_equal(bitmap_init(&bitmap, 9), ERR_OK);
    bitmap_put(&bitmap, 9, true);
    bitmap_put(&bitmap, 1000000, true);
    assert_int_equal(bitmap.set, 0);
    assert_int_equal(bitmap.bytes[1], 0);
    assert_false(bitmap_get(&bitmap, 1000000));
    bitmap_free(&bitmap);
}

static void loading_wants_the_exact_length_and_clear_spare_bits(void **state)
{
    (void)state;
    struct bitmap bitmap;
    const uint8_t good[] = {0xFF, 0x80, 0}, bad[] = {0xFF, 0xC0};
    assert_int_equal(bitmap_init(&bitmap, 9), ERR_OK);
    assert_int_equal(bitmap_load(&bitmap, good, 1), ERR_INVALID);
    assert_int_equal(bitmap_load(&bitmap, good, 3), ERR_INVALID);
    assert_int_equal(bitmap_load(&bitmap, bad, 2), ERR_INVALID);
    assert_int_equal(bitmap.set, 0);
    assert_int_equal(bitmap_load(&bitmap, good, 2), ERR_OK);
    assert_int_equal(bitmap.set, 9);
    bitmap_free(&bitmap);
}

static void a_copy_is_independent(void **state)
{
    (void)state;
    struct bitmap bitmap, copy = {0};
    assert_int_equal(bitmap_init(&bitmap, 100), ERR_OK);
    bitmap_put(&bitmap, 50, true);
    assert_int_equal(bitmap_copy(&copy, &bitmap), ERR_OK);
    bitmap_put(&bitmap, 51, true);
    assert_int_equal(copy.set, 1);
    assert_true(bitmap_get(&copy, 50));
    assert_int_equal(bitmap_copy(&copy, &bitmap), ERR_OK);
    assert_int_equal(copy.set, 2);
    bitmap_free(&bitmap);
    assert_int_equal(bitmap_copy(&copy, &bitmap), ERR_OK); /* an empty one */
    assert_int_equal(copy.count, 0);
    bitmap_free(&copy);
}

static void an_empty_set_is_full(void **state)
{
    (void)state;
    struct bitmap bitmap;
    assert_int_equal(bitmap_init(&bitmap, 0), ERR_OK);
    assert_true(bitmap_full(&bitmap));
    assert_int_equal(bitmap_load(&bitmap, NULL, 0), ERR_OK);
    bitmap_free(&bitmap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_bit_is_the_most_significant),
        cmocka_unit_test(set_counts_each_bit_once),
        cmocka_unit_test(nothing_lies_past_the_end),
        cmocka_unit_test(loading_wants_the_exact_length_and_clear_spare_bits),
        cmocka_unit_test(a_copy_is_independent),
        cmocka_unit_test(an_empty_set_is_full),
    };
    return cmocka_run_group_tests_name("bitmap", tests, NULL, NULL);
}
