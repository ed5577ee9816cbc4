#include "test.h"

#include "json_memory.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 300u

static json_t *list_of(unsigned count, size_t length)
{
    json_t *list = json_array();
    char *text = malloc(length + 1);
    assert_non_null(list);
    assert_non_null(text);
    memset(text, 'x', length);
    text[length] = '\0';
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(json_array_append_new(list, json_string(text)), 0);
    free(text);
    return list;
}

static void assert_list(const json_t *list, unsigned count, size_t length)
{
    assert_int_equal(json_array_size(list), count);
    for (unsigned i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        assert_int_equal(json_string_length(item), length);
        assert_int_equal(strspn(json_string_value(item), "x"), length);
    }
}

static void what_was_let_go_is_used_again(void **state)
{
    (void)state;
    json_memory_use();
    json_t *one = list_of(10, 40);
    json_decref(one);
    for (unsigned i = 0; i < ROUNDS; i++) {
        json_t *other = list_of(10, 40);
        assert_ptr_equal(other, one);
        json_decref(other);
    }
}

static void what_is_still_in_use_stays(void **state)
{
    (void)state;
    json_memory_use();
    json_t *kept = list_of(10, 40);
    for (unsigned i = 0; i < ROUNDS; i++) {
        json_t *other = list_of(20, 60); /* some thousand pieces: more than the block has */
        assert_list(other, 20, 60);
        json_decref(other);
    }
    assert_list(kept, 10, 40);
    json_decref(kept);
}

static void large_values_have_room(void **state)
{
    (void)state;
    json_memory_use();
    json_t *list = list_of(5000, 100), *item = list_of(1, (size_t)1 << 20);
    assert_list(list, 5000, 100);
    assert_list(item, 1, (size_t)1 << 20);
    char *text = json_dumps(item, JSON_COMPACT);
    assert_non_null(text);
    assert_int_equal(strlen(text), ((size_t)1 << 20) + 4);
    json_memory_free(text);
    json_decref(list);
    json_decref(item);
}

static void *make_lists(void *context)
{
    (void)context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        json_t *list = list_of(1 + i % 50, i);
        assert_list(list, 1 + i % 50, i);
        json_decref(list);
    }
    return NULL;
}

static void each_thread_has_its_own(void **state)
{
    (void)state;
    pthread_t threads[4];
    json_memory_use();
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_lists, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_let_go_is_used_again),
        cmocka_unit_test(what_is_still_in_use_stays),
        cmocka_unit_test(large_values_have_room),
        cmocka_unit_test(each_thread_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
