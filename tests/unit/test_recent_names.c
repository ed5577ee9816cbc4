#include "test.h"

#include "recent_names.h"

static struct recent_names *names;

static int set_up(void **state)
{
    (void)state;
    names = recent_names_new();
    return names ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    recent_names_free(names);
    return 0;
}

static struct file_record file_of(unsigned number, char *name)
{
    struct file_record file = {.name = name, .content = {.size = 7}};
    memcpy(file.content.root, &number, sizeof number);
    return file;
}

static void what_was_put_there_is_found(void **state)
{
    (void)state;
    struct file_record file = file_of(1, (char[]){"one"}), again = file_of(1, (char[]){"one"});
    assert_int_equal(recent_names_find(names, &file), 0);
    recent_names_put(names, &file, 11);
    assert_int_equal(recent_names_find(names, &again), 11);
    recent_names_put(names, &again, 12);
    assert_int_equal(recent_names_find(names, &file), 12);
}

static void only_the_same_name_of_the_same_content_is_found(void **state)
{
    (void)state;
    struct file_record file = file_of(1, (char[]){"one"});
    recent_names_put(names, &file, 11);
    struct file_record others[] = {file, file, file, file, file};
    others[0].name = (char[]){"ona"};
    others[1].name = (char[]){"one "};
    others[2].name = (char[]){"on"};
    others[3].content.size = 8;
    others[4].content.root[HASH_SIZE - 1] = 1;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(recent_names_find(names, &others[i]), 0);
    assert_int_equal(recent_names_find(names, &file), 11);
}

static void of_many_some_are_kept_and_none_is_mistaken(void **state)
{
    (void)state;
    int64_t kept = 0;
    for (unsigned number = 1; number <= 50000; number++) {
        struct file_record file = file_of(number, (char[]){"name"});
        recent_names_put(names, &file, number);
    }
    for (unsigned number = 1; number <= 50000; number++) {
        struct file_record file = file_of(number, (char[]){"name"});
        int64_t key = recent_names_find(names, &file);
        assert_true(key == 0 || key == number);
        kept += key != 0;
    }
    assert_true(kept > 1000);
}

static void nothing_is_found_after_all_is_forgotten(void **state)
{
    (void)state;
    struct file_record file = file_of(1, (char[]){"one"});
    recent_names_put(names, &file, 11);
    recent_names_forget(names);
    assert_int_equal(recent_names_find(names, &file), 0);
    recent_names_put(names, &file, 12);
    assert_int_equal(recent_names_find(names, &file), 12);
}

static void a_name_that_is_too_long_is_passed_over(void **state)
{
    (void)state;
    char longest[3001];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    struct file_record file = file_of(1, longest);
    recent_names_put(names, &file, 11);
    assert_int_equal(recent_names_find(names, &file), 0);
    longest[128] = '\0';
    recent_names_put(names, &file, 12);
    assert_int_equal(recent_names_find(names, &file), 12);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_there_is_found),
        TEST(only_the_same_name_of_the_same_content_is_found),
        TEST(of_many_some_are_kept_and_none_is_mistaken),
        TEST(nothing_is_found_after_all_is_forgotten),
        TEST(a_name_that_is_too_long_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
