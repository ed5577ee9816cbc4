/* Mean and deviation. */
#include "../../peer/state/average.h"
#include "test.h"

#include <math.h>

static struct average average_of(const double *values, size_t count)
{
    struct average average = {0};
    for (size_t i = 0; i < count; i++)
        average_add(&average, values[i]);
    return average;
}

static void it_is_that_of_all_values(void **state)
{
    (void)state;
    struct average average = average_of((double[]){2, 4, 4, 4, 5, 5, 7, 9}, 8);
    assert_int_equal(average.count, 8);
    assert_true(fabs(average.mean - 5) < 1e-12);
    assert_true(fabs(average_deviation(&average) - sqrt(32.0 / 7)) < 1e-12);
}

static void one_value_deviates_from_nothing(void **state)
{
    (void)state;
    struct average average = {0};
    assert_true(average_deviation(&average) <= 0);
    average = average_of((double[]){42}, 1);
    assert_true(fabs(average.mean - 42) < 1e-12);
    assert_true(average_deviation(&average) <= 0);
}

/* A sum of squares would have lost these three digits: 1e18 has no room for them. */
static void a_small_deviation_of_large_values_is_kept(void **state)
{
    (void)state;
    struct average average = average_of((double[]){1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}, 4);
    assert_true(fabs(average.mean - 1e9 - 10) < 1e-6);
    assert_true(fabs(average_deviation(&average) - sqrt(30)) < 1e-6);
}

static void what_no_values_can_give_is_refused(void **state)
{
    (void)state;
    assert_true(average_is_valid(&(struct average){1, 3, 0}));
    assert_false(average_is_valid(&(struct average){0, 3, 0}));
    assert_false(average_is_valid(&(struct average){2, NAN, 0}));
    assert_false(average_is_valid(&(struct average){2, 3, INFINITY}));
    assert_false(average_is_valid(&(struct average){2, 3, -1}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_that_of_all_values),
        cmocka_unit_test(one_value_deviates_from_nothing),
        cmocka_unit_test(a_small_deviation_of_large_values_is_kept),
        cmocka_unit_test(what_no_values_can_give_is_refused),
    };
    return cmocka_run_group_tests_name("average", tests, NULL, NULL);
}
