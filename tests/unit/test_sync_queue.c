/* Names that wait to be looked at. */
#include "../../peer/sync/sync_queue.h"
#include "test.h"

#include "limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void a_name_is_in_it_once_and_due_at_its_earliest(void **state)
{
    (void)state;
    struct sync_queue *queue = sync_queue_new();
    char *names[4];
    uint64_t due;
    assert_non_null(queue);
    assert_false(sync_queue_next(queue, &due));
    assert_int_equal(sync_queue_add(queue, "a", 500), ERR_OK);
    assert_int_equal(sync_queue_add(queue, "a", 100), ERR_OK);
    assert_int_equal(sync_queue_add(queue, "a", 900), ERR_OK);
    assert_int_equal(sync_queue_add(queue, "b", 300), ERR_OK);
    assert_int_equal(sync_queue_count(queue), 2);
    assert_true(sync_queue_next(queue, &due));
    assert_int_equal(due, 100);
    assert_int_equal(sync_queue_take(queue, 99, names, 4), 0);
    assert_int_equal(sync_queue_take(queue, 100, names, 4), 1);
    assert_string_equal(names[0], "a");
    free(names[0]);
    assert_true(sync_queue_next(queue, &due));
    assert_int_equal(due, 300);
    sync_queue_clear(queue);
    assert_int_equal(sync_queue_count(queue), 0);
    sync_queue_free(queue);
    sync_queue_free(NULL);
}

static void it_has_a_limit_and_gives_in_portions(void **state)
{
    (void)state;
    struct sync_queue *queue = sync_queue_new();
    char name[32], *names[100];
    size_t taken = 0, count;
    assert_non_null(queue);
    for (unsigned i = 0; i < SYNC_QUEUE_MAX; i++) {
        snprintf(name, sizeof name, "folder/%u", i);
        assert_int_equal(sync_queue_add(queue, name, i % 7), ERR_OK);
    }
    assert_int_equal(sync_queue_add(queue, "one more", 0), ERR_TOO_LARGE);
    assert_int_equal(sync_queue_add(queue, "folder/7", 0), ERR_OK);
    while ((count = sync_queue_take(queue, 6, names, 100)) > 0) {
        taken += count;
        while (count > 0)
            free(names[--count]);
    }
    assert_int_equal(taken, SYNC_QUEUE_MAX);
    sync_queue_free(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_in_it_once_and_due_at_its_earliest),
        cmocka_unit_test(it_has_a_limit_and_gives_in_portions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
