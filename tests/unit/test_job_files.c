/* The files of a job: each name once, ambiguous names, equal contents, and the sums. */
#include "test.h"

#include "../../peer/swarm/job_files.h"
#include "limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct job_files files;

static int set_up(void **unused)
{
    (void)unused;
    return job_files_init(&files) == ERR_OK ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    job_files_free(&files);
    return 0;
}

static struct content content_of(unsigned number, uint64_t size)
{
    struct content content = {.size = size};
    memcpy(content.root, &number, sizeof number);
    return content;
}

static enum job_added add(const char *name, unsigned number, uint64_t size)
{
    struct job_offer offer = {.name = name, .content = content_of(number, size), .holders = 300};
    enum job_added added;
    assert_int_equal(job_files_add(&files, &offer, 0, &added), ERR_OK);
    return added;
}

static void sums_follow_what_becomes_of_files(void **unused)
{
    (void)unused;
    assert_int_equal(add("a", 1, 10), JOB_ADDED);
    assert_int_equal(add("b", 2, 20), JOB_ADDED);
    assert_int_equal(add("b", 2, 20), JOB_REPEATED);
    assert_int_equal(add("c", 3, 30), JOB_ADDED);
    assert_int_equal(add("d", 4, 40), JOB_ADDED);
    assert_int_equal(files.totals.files, 4);
    assert_int_equal(files.totals.bytes, 100);
    assert_int_equal(job_files_get(&files, 3)->holders, UINT8_MAX);
    job_files_settle(&files, 0, JOB_FILE_DONE, true);
    job_files_settle(&files, 1, JOB_FILE_DONE, false);
    job_files_settle(&files, 2, JOB_FILE_KEPT, false);
    assert_false(job_files_all_settled(&files));
    job_files_settle(&files, 3, JOB_FILE_FAILED, false);
    job_files_settle(&files, 3, JOB_FILE_DONE, false); /* it has ended already */
    assert_true(job_files_all_settled(&files));
    assert_int_equal(files.totals.done_files, 2);
    assert_int_equal(files.totals.done_bytes, 30);
    assert_int_equal(files.totals.here_files, 1);
    assert_int_equal(files.totals.here_bytes, 10);
    assert_int_equal(files.totals.kept_files, 1);
    assert_int_equal(files.totals.failed_files, 1);
    job_files_free(&files);
    assert_int_equal(files.totals.done_bytes, 30);
}

static void a_name_of_two_contents_takes_none_until_one_is_chosen(void **unused)
{
    (void)unused;
    assert_int_equal(add("a", 1, 10), JOB_ADDED);
    assert_int_equal(add("b", 2, 20), JOB_ADDED);
    job_files_settle(&files, 0, JOB_FILE_DONE, true);
    assert_int_equal(add("a", 3, 30), JOB_OTHER); /* whatever had become of it */
    assert_int_equal(add("a", 3, 30), JOB_OTHER);
    assert_int_equal(add("a", 3, 31), JOB_OTHER); /* the size belongs to the content */
    assert_int_equal(add("a", 1, 10), JOB_REPEATED);
    assert_int_equal(files.choice_count, 2);
    assert_int_equal(files.totals.ambiguous_files, 1);
    assert_int_equal(files.totals.files, 1);
    assert_int_equal(files.totals.done_files, 0);
    assert_int_equal(files.totals.here_bytes, 0);
    job_files_settle(&files, 0, JOB_FILE_DONE, false);
    assert_int_equal(job_files_get(&files, 0)->state, JOB_FILE_AMBIGUOUS);

    struct content chosen = content_of(3, 30);
    assert_int_equal(job_files_choose(&files, 0, &chosen), ERR_OK);
    assert_int_equal(files.totals.ambiguous_files, 0);
    assert_int_equal(files.totals.files, 2);
    assert_int_equal(files.totals.bytes, 50);
    assert_int_equal(job_files_get(&files, 0)->state, JOB_FILE_REPLACED);
    assert_string_equal(job_files_get(&files, 2)->name, "a");
    assert_true(content_equal(&job_files_get(&files, 2)->content, &chosen));
    assert_int_equal(add("a", 3, 30), JOB_REPEATED);
    job_files_settle(&files, 1, JOB_FILE_DONE, false);
    job_files_settle(&files, 2, JOB_FILE_DONE, false);
    assert_true(job_files_all_settled(&files));
}

static void small_files_of_one_content_are_fetched_together(void **unused)
{
    (void)unused;
    struct job_offer offer = {.name = "late", .content = content_of(1, 10)};
    enum job_added added;
    add("a", 1, 10);
    add("large", 2, BATCH_CONTENT_MAX + 1);
    add("b", 1, 10);
    add("large too", 2, BATCH_CONTENT_MAX + 1);
    add("other size", 1, 11);
    add("c", 1, 10);
    assert_int_equal(job_files_get(&files, 0)->same, 2);
    assert_int_equal(job_files_get(&files, 2)->same, 5);
    assert_int_equal(job_files_get(&files, 5)->same, JOB_NO_FILE);
    assert_false(job_files_get(&files, 0)->is_copy);
    assert_true(job_files_get(&files, 2)->is_copy && job_files_get(&files, 5)->is_copy);
    assert_false(job_files_get(&files, 3)->is_copy);
    /* Those that were asked for already are left as they are. */
    assert_int_equal(job_files_add(&files, &offer, 6, &added), ERR_OK);
    assert_int_equal(job_files_get(&files, 5)->same, JOB_NO_FILE);
    assert_false(job_files_get(&files, 6)->is_copy);
}

static void many_names_are_told_apart(void **unused)
{
    (void)unused;
    enum { COUNT = 200000 };
    char name[64];
    struct job_file *first = NULL;
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "folder/with/a/longer/name/%u", i);
        assert_int_equal(add(name, i / 2, 5), JOB_ADDED);
        first = i == 0 ? job_files_get(&files, 0) : first;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "folder/with/a/longer/name/%u", i);
        assert_int_equal(add(name, i / 2, 5), JOB_REPEATED);
        assert_int_equal(job_files_get(&files, i)->is_copy, i % 2);
    }
    assert_ptr_equal(first, job_files_get(&files, 0));
    assert_int_equal(files.totals.files, COUNT);
    assert_true(files.name_bytes < (size_t)COUNT * 40);
}

static void there_are_bounds(void **unused)
{
    (void)unused;
    char name[NAME_SIZE_MAX + 1];
    struct job_offer offer = {.name = name};
    enum job_added added;
    memset(name, 'x', NAME_SIZE_MAX);
    name[NAME_SIZE_MAX] = '\0';
    enum err err = ERR_OK;
    unsigned count = 0;
    for (; !err && count < 200000; count++) {
        int length = snprintf(name, sizeof name, "%u", count);
        name[length] = 'x';
        err = job_files_add(&files, &offer, 0, &added);
    }
    assert_int_equal(err, ERR_TOO_LARGE);
    assert_true(files.name_bytes < (size_t)JOB_NAMES_MAX + 2 * NAME_SIZE_MAX);
    job_files_free(&files);
    assert_int_equal(job_files_init(&files), ERR_OK);
    add("a", 0, 1);
    offer.name = "a";
    for (unsigned i = 1; i <= JOB_CHOICES_MAX; i++) {
        offer.content = content_of(i, 1);
        assert_int_equal(job_files_add(&files, &offer, 0, &added), ERR_OK);
        if (i > 100) /* each is compared with all before it */
            files.choices[i - 1].file = JOB_NO_FILE;
    }
    offer.content = content_of(JOB_CHOICES_MAX + 1, 1);
    assert_int_equal(job_files_add(&files, &offer, 0, &added), ERR_TOO_LARGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sums_follow_what_becomes_of_files),
        TEST(a_name_of_two_contents_takes_none_until_one_is_chosen),
        TEST(small_files_of_one_content_are_fetched_together),
        TEST(many_names_are_told_apart),
        TEST(there_are_bounds),
    };
    return cmocka_run_group_tests_name("job_files", tests, NULL, NULL);
}
