/* The table of neighbours: what it tells others, and whom it tells of news. */
#include "neighbours_fixture.h"

#include "../../peer/neighbours/neighbours.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state)
{
    const struct neighbours_options options = {.id = own_id, .instance = own_instance, .network = "lab"};
    struct neighbours *neighbours = NULL;
    enum err err = neighbours_new(&options, &neighbours);
    *state = neighbours;
    return err ? -1 : 0;
}

static int tear_down(void **state)
{
    neighbours_free(*state);
    return 0;
}

static void greeted(struct neighbours *neighbours, unsigned n, unsigned features)
{
    struct roster_answer answer = {.features = features, .clock = 5};
    struct address address = place(n);
    struct neighbour neighbour;
    n += 1000;
    memcpy(answer.id, &n, sizeof n);
    assert_int_equal(neighbours_greeted(neighbours, &address, &answer, &neighbour), ERR_OK);
}

static void those_with_a_feature_are_found(void **state)
{
    struct neighbours *neighbours = *state;
    struct neighbour *list = NULL;
    size_t count;
    greeted(neighbours, 1, 0);
    greeted(neighbours, 2, NEIGHBOUR_SYNC);
    assert_int_equal(neighbours_online(neighbours, NEIGHBOUR_SYNC, 10, &list, &count), ERR_OK);
    assert_int_equal(count, 1);
    const struct address expected = place(2);
    assert_true(address_equal(&list[0].address, &expected));
    free(list);
    assert_int_equal(neighbours_online(neighbours, 0, 1, &list, &count), ERR_OK);
    assert_int_equal(count, 1); /* of two */
    free(list);
    assert_int_equal(neighbours_count_online(neighbours), 2);
}

static void who_listed_a_content_is_asked_for_it_first(void **state)
{
    struct neighbours *neighbours = *state;
    const struct content content = {.size = 3, .root = {9}};
    struct neighbour *list = NULL;
    size_t count;
    uint8_t id[HASH_SIZE] = {0};
    for (unsigned n = 0; n < 200; n++)
        greeted(neighbours, n, 0);
    unsigned holder = 1077;
    memcpy(id, &holder, sizeof holder);
    neighbours_has(neighbours, id, &content);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(neighbours_likely(neighbours, &content, 1, 8, &list, &count), ERR_OK);
        assert_int_equal(count, 9);
        assert_memory_equal(list[0].id, id, HASH_SIZE);
        free(list);
    }
}

static void count_news(void *context)
{
    atomic_fetch_add((atomic_uint *)context, 1);
}

static void a_change_is_told_once_and_to_nobody_who_left(void **state)
{
    struct neighbours *neighbours = *state;
    atomic_uint news = 0;
    neighbours_set_news(neighbours, count_news, &news);
    greeted(neighbours, 1, 0);
    assert_int_equal(atomic_load(&news), 1);
    greeted(neighbours, 1, 0); /* nothing new */
    assert_int_equal(atomic_load(&news), 1);
    neighbours_set_news(neighbours, NULL, NULL);
    greeted(neighbours, 2, 0);
    assert_int_equal(atomic_load(&news), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(those_with_a_feature_are_found),
        TEST(who_listed_a_content_is_asked_for_it_first),
        TEST(a_change_is_told_once_and_to_nobody_who_left),
    };
    return cmocka_run_group_tests_name("neighbours", tests, NULL, NULL);
}
