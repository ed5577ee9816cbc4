/* Who was seen to have a content. */
#include "test.h"

#include "../../peer/neighbours/hints.h"

#include <string.h>

static struct content content_of(unsigned number)
{
    struct content content = {.size = 5};
    memcpy(content.root, &number, sizeof number);
    return content;
}

static void add(struct hints *hints, unsigned content, uint8_t holder)
{
    const struct content added = content_of(content);
    const uint8_t id[HASH_SIZE] = {holder};
    hints_add(hints, &added, id);
}

/* The first bytes of the ids, as a number in base 100. */
static unsigned holders_of(const struct hints *hints, unsigned content)
{
    const struct content wanted = content_of(content);
    uint8_t ids[HINT_HOLDERS][HASH_SIZE];
    unsigned all = 0;
    size_t count = hints_find(hints, &wanted, ids);
    for (size_t i = 0; i < count; i++)
        all = 100 * all + ids[i][0];
    return all;
}

static void the_latest_holders_are_known_each_once(void **state)
{
    (void)state;
    struct hints *hints = hints_new();
    assert_int_equal(holders_of(hints, 1), 0);
    add(hints, 1, 7);
    add(hints, 1, 8);
    add(hints, 1, 7);
    assert_int_equal(holders_of(hints, 1), 708);
    add(hints, 1, 9);
    add(hints, 1, 10);
    assert_int_equal(holders_of(hints, 1), 100907);
    assert_int_equal(holders_of(hints, 2), 0);
    hints_free(hints);
}

static void old_contents_give_way_to_new_ones(void **state)
{
    (void)state;
    struct hints *hints = hints_new();
    unsigned known = 0;
    for (unsigned i = 0; i < 4 * HINTS_MAX; i++)
        add(hints, i, 5);
    for (unsigned i = 0; i < 4 * HINTS_MAX; i++)
        known += holders_of(hints, i) == 5;
    assert_int_equal(known, HINTS_MAX);
    assert_int_equal(holders_of(hints, 4 * HINTS_MAX - 1), 5);
    hints_free(hints);
}

static void the_size_belongs_to_the_content(void **state)
{
    (void)state;
    struct hints *hints = hints_new();
    struct content other = content_of(1);
    uint8_t ids[HINT_HOLDERS][HASH_SIZE];
    add(hints, 1, 7);
    other.size = 6;
    assert_int_equal(hints_find(hints, &other, ids), 0);
    hints_free(hints);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_holders_are_known_each_once),
        cmocka_unit_test(old_contents_give_way_to_new_ones),
        cmocka_unit_test(the_size_belongs_to_the_content),
    };
    return cmocka_run_group_tests_name("hints", tests, NULL, NULL);
}
