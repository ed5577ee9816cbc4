/* What becomes of what a crash left half done, step by step. */
#include "apply_fixture.h"

static const char *staged_path(const struct sync_intent *intent)
{
    char name[INCOMING_NAME_SIZE + 20];
    snprintf(name, sizeof name, ".enxame/incoming/%s", intent->staged);
    return in_sync(name);
}

/* As it is prepared before it gets its name. */
static void set_time(const char *path, int64_t mtime_ns)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)(mtime_ns / 1000000000), .tv_nsec = (long)(mtime_ns % 1000000000)}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* An intent as it is committed before anything is done; the sync rests meanwhile. */
static struct sync_intent make_intent(const char *name, const char *text, const char *trash)
{
    struct sync_intent intent = {.name = strdup(name), .trash = trash ? strdup(trash) : NULL};
    char staged[INCOMING_NAME_SIZE];
    intent.entry = make_entry(name, text ? SYNC_FILE : SYNC_DELETED, text, NEWER);
    if (text) {
        incoming_name(&intent.entry.content, staged);
        intent.staged = strdup(staged);
        set_time(staged_path(&intent), intent.entry.mtime_ns);
    }
    intent.had = stamp_read_path(in_sync(name), &intent.seen) == ERR_OK;
    assert_int_equal(index_add_intent(sync_->index, &intent), ERR_OK);
    if (trash) {
        (void)mkdir(in_sync(".enxame/trash"), 0777);
        (void)mkdir(in_sync(".enxame/trash/day"), 0777);
    }
    return intent;
}

/* Nothing is looked at or put into place until restart(). */
static void rest(void)
{
    sync_pause(sync_, true);
    EVENTUALLY(sync_current_state(sync_) == SYNC_PAUSED);
    pthread_mutex_lock(&sync_->folder);
    pthread_mutex_unlock(&sync_->folder);
}

static void restart(struct sync_intent *intent)
{
    struct sync_intent *intents;
    size_t count;
    sync_intent_free(intent);
    sync_stop(sync_);
    start();
    assert_int_equal(index_list_intents(sync_->index, &intents, &count), ERR_OK);
    assert_int_equal(count, 0);
    free(intents);
    EVENTUALLY(sync_watch_waiting(sync_) == 0);
}

static void an_intent_that_was_not_begun_is_forgotten(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    restart(&intent);
    assert_true(has_text("file", "old"));
    assert_true(knows("file", SYNC_FILE, "old"));
    assert_int_equal(trash_rows(), 0);
}

static void an_exchange_without_its_end_is_finished(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    assert_int_equal(renameat2(AT_FDCWD, staged_path(&intent), AT_FDCWD, in_sync("file"), RENAME_EXCHANGE), 0);
    restart(&intent);
    assert_true(has_text("file", "new"));
    assert_true(knows("file", SYNC_FILE, "new"));
    assert_int_equal(in_trash("old"), 1);
    assert_int_equal(trash_rows(), 1);
    assert_int_equal(count_in(in_sync(".enxame/incoming"), NULL), 0);
}

static void an_exchange_that_only_the_index_does_not_know_is_recorded(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    assert_int_equal(renameat2(AT_FDCWD, staged_path(&intent), AT_FDCWD, in_sync("file"), RENAME_EXCHANGE), 0);
    assert_int_equal(rename(staged_path(&intent), in_sync(".enxame/trash/day/old")), 0);
    restart(&intent);
    assert_true(knows("file", SYNC_FILE, "new"));
    assert_int_equal(trash_rows(), 1);
}

static void what_was_edited_after_the_crash_stays_and_the_old_version_is_kept(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    assert_int_equal(renameat2(AT_FDCWD, staged_path(&intent), AT_FDCWD, in_sync("file"), RENAME_EXCHANGE), 0);
    write_text("file", "edited");
    restart(&intent);
    EVENTUALLY(knows("file", SYNC_FILE, "edited"));
    assert_true(has_text("file", "edited"));
    assert_int_equal(in_trash("old"), 1);
}

static void a_new_file_that_only_the_index_does_not_know_is_recorded(void **unused)
{
    (void)unused;
    rest();
    struct sync_intent intent = make_intent("new", "text", NULL);
    assert_int_equal(rename(staged_path(&intent), in_sync("new")), 0);
    restart(&intent);
    assert_true(knows("new", SYNC_FILE, "text"));
    struct sync_row row;
    assert_int_equal(index_get(sync_->index, "new", &row), ERR_OK);
    assert_memory_equal(row.entry.version.author, peer_id, HASH_SIZE);
    sync_row_free(&row);
}

static void a_deletion_that_only_the_index_does_not_know_is_recorded(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", NULL, "day/old");
    assert_int_equal(rename(in_sync("file"), in_sync(".enxame/trash/day/old")), 0);
    restart(&intent);
    assert_true(knows("file", SYNC_DELETED, NULL));
    assert_int_equal(trash_rows(), 1);
}

static void a_file_that_came_back_after_a_deletion_stays(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", NULL, "day/old");
    assert_int_equal(rename(in_sync("file"), in_sync(".enxame/trash/day/old")), 0);
    write_text("file", "written anew");
    restart(&intent);
    EVENTUALLY(knows("file", SYNC_FILE, "written anew"));
    assert_int_equal(in_trash("old"), 1);
    assert_int_equal(trash_rows(), 1);
}

static void half_a_content_goes_and_an_unknown_one_is_kept(void **unused)
{
    (void)unused;
    rest();
    struct sync_intent intent = {.name = NULL};
    const struct content whole = content_of("whole");
    assert_int_equal(incoming_write(sync_, &whole, (const uint8_t *)"whole"), ERR_OK);
    write_text(".enxame/incoming/w-unfinished", "unfin");
    write_text(".enxame/incoming/someone's", "what is this?");
    restart(&intent);
    assert_int_equal(in_trash("what is this?"), 1);
    assert_int_equal(in_trash("unfin"), 0);
    assert_int_equal(trash_rows(), 1);
    assert_int_not_equal(access(in_sync(".enxame/incoming/w-unfinished"), F_OK), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGURG, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(an_intent_that_was_not_begun_is_forgotten),
        TEST(an_exchange_without_its_end_is_finished),
        TEST(an_exchange_that_only_the_index_does_not_know_is_recorded),
        TEST(what_was_edited_after_the_crash_stays_and_the_old_version_is_kept),
        TEST(a_new_file_that_only_the_index_does_not_know_is_recorded),
        TEST(a_deletion_that_only_the_index_does_not_know_is_recorded),
        TEST(a_file_that_came_back_after_a_deletion_stays),
        TEST(half_a_content_goes_and_an_unknown_one_is_kept),
    };
    return cmocka_run_group_tests_name("sync_settle", tests, NULL, NULL);
}
