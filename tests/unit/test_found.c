/* Files that several sources told of become rows. */
#include "test.h"

#include "../../peer/prompt/found.h"

#include <stdio.h>

static struct enquiry_source neighbour(uint8_t number)
{
    struct enquiry_source source = {.is_tracker = false};
    source.neighbour.id[0] = number;
    return source;
}

static void add(struct found *found, const struct enquiry_source *source, const char *name, uint8_t root,
                uint64_t holders)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%s", name);
    const struct file_record file = {.name = copy, .content = {.root = {root}, .size = 5}, .holders = holders};
    assert_int_equal(found_add(found, source, &file), ERR_OK);
}

static void by_name_each_name_of_each_content_is_a_row(void **state)
{
    (void)state;
    const struct enquiry_source tracker = {.is_tracker = true}, one = neighbour(1), two = neighbour(2);
    struct found found;
    found_init(&found, FOUND_BY_NAME, 10);
    add(&found, &one, "b", 1, 0);
    add(&found, &two, "b", 1, 0);
    add(&found, &two, "b", 1, 0); /* at another place: it is one holder */
    add(&found, &one, "a", 1, 0);
    add(&found, &tracker, "b", 2, 7);
    add(&found, &tracker, "a", 1, 1);
    found_sort(&found);
    assert_int_equal(found.count, 3);
    assert_string_equal(found.rows[0].name, "a");
    assert_int_equal(found_holders(&found.rows[0]), 1);
    assert_int_equal(found_holders(&found.rows[1]), 2);
    assert_int_equal(found_holders(&found.rows[2]), 7);
    found_clear(&found);
}

static void by_content_names_do_not_matter(void **state)
{
    (void)state;
    const struct enquiry_source one = neighbour(1), two = neighbour(2);
    struct found found;
    found_init(&found, FOUND_BY_CONTENT, 10);
    add(&found, &one, "x", 1, 0);
    add(&found, &two, "y", 1, 0);
    add(&found, &two, "x", 2, 0);
    assert_int_equal(found.count, 2);
    assert_int_equal(found.rows[0].source_count, 2);
    assert_int_equal(found.sources[found.rows[0].sources[1]].id[0], 2);
    found_clear(&found);
}

static void what_is_too_much_is_noticed(void **state)
{
    (void)state;
    const struct enquiry_source one = neighbour(1);
    struct found found;
    found_init(&found, FOUND_BY_NAME, 1000);
    for (unsigned i = 0; i < 1001; i++) {
        char name[16];
        assert_false(found.is_full);
        snprintf(name, sizeof name, "%u", i);
        add(&found, &one, name, (uint8_t)i, 0);
    }
    assert_int_equal(found.count, 1000);
    assert_true(found.is_full);
    add(&found, &one, "7", 7, 0); /* a known one still gets its holders */
    found_clear(&found);
    found_clear(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name_each_name_of_each_content_is_a_row),
        cmocka_unit_test(by_content_names_do_not_matter),
        cmocka_unit_test(what_is_too_much_is_noticed),
    };
    return cmocka_run_group_tests_name("found", tests, NULL, NULL);
}
