/* What a scan of a synced folder puts into its index: versions, deletions, and hashes that are not to be trusted yet. */
#include "../../peer/sync/sync_record.h"
#include "folder.h"

#include "../../peer/sync/sync_home.h"
#include "../../peer/sync/sync_scan.h"

#include "timing.h"

#define CLOCK 1000u

struct fixture {
    struct sync sync;
    struct sync_record *record;
    struct sync_scan scan;
    unsigned put_off;
};
static struct fixture fixture;

static void later(void *context, const char *name, uint64_t delay_ms)
{
    struct fixture *f = context;
    (void)name, (void)delay_ms;
    f->put_off++;
}

static void open_all(struct fixture *f)
{
    struct sync *sync = &f->sync;
    struct stat status;
    struct why why = {""};
    make_folder("synced");
    assert_int_equal(state_open(in_folder("state"), false, &sync->options.state, &why), ERR_OK);
    sync->options.clock = lamport_new(CLOCK);
    sync->folder_fd = sync->lock_fd = -1;
    pthread_mutex_init(&sync->folder, NULL);
    pthread_mutex_init(&sync->news_lock, NULL);
    pthread_mutex_init(&sync->lock, NULL);
    assert_true(timing_condition_init(&sync->changed));
    sync->path = sync_home_path(in_folder("synced"));
    assert_int_equal(index_open(in_folder("state/.enxame/index.db"), &sync->index, &why), ERR_OK);
    sync_make_author(sync);
    assert_int_equal(sync_home_open(sync, &why), ERR_OK);
    assert_int_equal(sync_record_new(sync, later, f, &f->record), ERR_OK);
    assert_int_equal(fstat(sync->folder_fd, &status), 0);
    f->scan =
        (struct sync_scan){.sync = sync, .record = f->record, .watched_since_ns = INT64_MAX, .device = status.st_dev};
}

static int set_up(void **unused)
{
    if (folder_set_up(unused))
        return -1;
    memset(&fixture, 0, sizeof fixture);
    open_all(&fixture);
    return 0;
}

static int tear_down(void **unused)
{
    struct sync *sync = &fixture.sync;
    sync_record_free(fixture.record);
    sync_home_close(sync);
    index_close(sync->index);
    lamport_free(sync->options.clock);
    state_close(sync->options.state);
    pthread_cond_destroy(&sync->changed);
    pthread_mutex_destroy(&sync->lock);
    pthread_mutex_destroy(&sync->news_lock);
    pthread_mutex_destroy(&sync->folder);
    free(sync->path);
    return folder_tear_down(unused);
}

static void scan(void)
{
    assert_int_equal(sync_scan_folder(&fixture.scan, ""), ERR_OK);
    assert_int_equal(sync_record_flush(fixture.record), ERR_OK);
}

static void get(const char *name, struct sync_row *ret)
{
    assert_int_equal(index_get(fixture.sync.index, name, ret), ERR_OK);
}

static uint64_t time_of(const char *name)
{
    struct sync_row row;
    get(name, &row);
    uint64_t time = row.entry.version.time;
    assert_memory_equal(row.entry.version.author, fixture.sync.author, HASH_SIZE);
    sync_row_free(&row);
    return time;
}

static enum sync_kind kind_of(const char *name)
{
    struct sync_row row;
    get(name, &row);
    enum sync_kind kind = row.entry.kind;
    sync_row_free(&row);
    return kind;
}

/* ---- versions ---- */

static void what_a_folder_joins_with_is_older_than_any_edit(void **unused)
{
    (void)unused;
    make_text("synced/file", "x");
    make_folder("synced/folder");
    scan();
    assert_int_equal(time_of("file"), 1);
    assert_int_equal(time_of("folder"), 1);
    assert_int_equal(lamport_now(fixture.sync.options.clock), CLOCK);
    assert_int_equal(sync_home_joined(&fixture.sync), ERR_OK);
    make_text("synced/file", "y and more");
    make_text("synced/later", "z");
    scan();
    assert_int_equal(time_of("file"), CLOCK + 1);
    assert_int_equal(time_of("folder"), 1);
    assert_true(time_of("later") > CLOCK);
    assert_true(lamport_now(fixture.sync.options.clock) > CLOCK);
}

static void an_edit_is_later_than_all_that_its_file_has_seen(void **unused)
{
    (void)unused;
    static const uint8_t other[HASH_SIZE] = {0xAA};
    struct sync_row row;
    assert_int_equal(sync_home_joined(&fixture.sync), ERR_OK);
    make_text("synced/file", "x");
    scan();
    get("file", &row);
    struct version before = {0};
    assert_int_equal(version_edit(&row.entry.version, other, 1000000), ERR_OK);
    assert_int_equal(version_copy(&row.entry.version, &before), ERR_OK);
    assert_int_equal(index_put(fixture.sync.index, &row), ERR_OK);
    sync_row_free(&row);
    make_text("synced/file", "an edit of that");
    scan();
    assert_int_equal(time_of("file"), before.time + 1);
    assert_true(lamport_now(fixture.sync.options.clock) > before.time);
    get("file", &row);
    assert_int_equal(version_compare(&row.entry.version, &before), VERSION_NEWER);
    version_free(&before);
    sync_row_free(&row);
}

static void an_index_is_an_author_of_its_own(void **unused)
{
    (void)unused;
    const uint8_t *id = state_identity(fixture.sync.options.state)->id;
    assert_memory_equal(fixture.sync.author, id, HASH_SIZE - 8);
    assert_memory_not_equal(fixture.sync.author, id, HASH_SIZE);
    assert_true(index_epoch(fixture.sync.index) > 0);
}

static void an_unchanged_folder_changes_nothing(void **unused)
{
    (void)unused;
    make_text("synced/file", "x");
    make_folder("synced/folder");
    scan();
    uint64_t before = index_sequence(fixture.sync.index);
    scan();
    assert_int_equal(index_sequence(fixture.sync.index), before);
    /* Other times of the same bytes are an edit, other links are not. */
    assert_int_equal(link(in_folder("synced/file"), in_folder("link")), 0);
    scan();
    assert_int_equal(index_sequence(fixture.sync.index), before);
    assert_int_equal(chmod(in_folder("synced/file"), 0755), 0);
    scan();
    assert_int_equal(index_sequence(fixture.sync.index), before + 1);
}

/* ---- deletions ---- */

static void only_what_is_gone_is_recorded_as_deleted(void **unused)
{
    (void)unused;
    make_text("synced/file", "x");
    make_folder("synced/folder");
    make_text("synced/folder/inside", "x");
    scan();
    assert_int_equal(sync_record_gone(fixture.record, "file"), ERR_OK);
    assert_int_equal(sync_record_gone(fixture.record, "folder/inside"), ERR_OK);
    assert_int_equal(sync_record_gone(fixture.record, "never there"), ERR_OK);
    assert_int_equal(sync_record_flush(fixture.record), ERR_OK);
    assert_true(kind_of("file") == SYNC_FILE && kind_of("folder/inside") == SYNC_FILE);
    remove_tree("synced/folder");
    scan();
    assert_true(kind_of("file") == SYNC_FILE);
    assert_true(kind_of("folder") == SYNC_DELETED && kind_of("folder/inside") == SYNC_DELETED);
}

static void nothing_is_deleted_where_the_folder_is_not_at_home(void **unused)
{
    (void)unused;
    make_text("synced/file", "x");
    scan();
    uint64_t before = index_sequence(fixture.sync.index);
    assert_int_equal(unlink(in_folder("synced/file")), 0);
    assert_int_equal(rename(in_folder("synced"), in_folder("elsewhere")), 0);
    make_folder("synced");
    (void)sync_scan_folder(&fixture.scan, "");
    assert_int_not_equal(sync_record_flush(fixture.record), ERR_OK);
    assert_int_equal(index_sequence(fixture.sync.index), before);
    assert_true(kind_of("file") == SYNC_FILE);
    assert_true(sync_current_state(&fixture.sync) == SYNC_STOPPED);
}

/* ---- hashes that were taken too early ---- */

/* The index has another content of the file than it has, under the same stamp: as if it had changed within one tick of a clock. */
static void fake_a_hidden_change(struct sync_row *ret)
{
    *ret = (struct sync_row){0};
    do { /* a slow machine may hash it so late that it can be trusted */
        sync_row_free(ret);
        make_text("synced/file", "x");
        scan();
        get("file", ret);
    } while (stamp_settled(&ret->stamp));
    ret->entry.content.root[0] ^= 1;
    assert_int_equal(index_put(fixture.sync.index, ret), ERR_OK);
}

static void a_file_hashed_soon_after_its_change_is_hashed_again(void **unused)
{
    (void)unused;
    struct sync_row before, after;
    fake_a_hidden_change(&before);
    scan();
    get("file", &after);
    assert_memory_not_equal(after.entry.content.root, before.entry.content.root, HASH_SIZE);
    sync_row_free(&before);
    sync_row_free(&after);
}

static void a_file_that_was_watched_since_is_not(void **unused)
{
    (void)unused;
    struct sync_row before = {0}, after = {0};
    struct stamp now;
    do {
        sync_row_free(&before);
        sync_row_free(&after);
        fixture.scan.watched_since_ns = INT64_MAX;
        fake_a_hidden_change(&before);
        fixture.scan.watched_since_ns = before.stamp.taken_ns - 1;
        scan();
        get("file", &after);
        assert_int_equal(stamp_read_path(in_folder("synced/file"), &now), ERR_OK);
    } while (stamp_settled(&now)); /* the scan is to come too early to say */
    assert_int_equal(after.stamp.taken_ns, before.stamp.taken_ns);
    sync_row_free(&after);
    let_settle();
    scan();
    get("file", &after);
    assert_memory_equal(after.entry.content.root, before.entry.content.root, HASH_SIZE);
    assert_true(stamp_settled(&after.stamp));
    sync_row_free(&before);
    sync_row_free(&after);
}

static void a_file_that_is_being_written_is_put_off(void **unused)
{
    (void)unused;
    struct sync_row row;
    int fd = open(in_folder("synced/file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    scan();
    assert_int_equal(index_get(fixture.sync.index, "file", &row), ERR_NOT_FOUND);
    assert_int_equal(fixture.put_off, 1);
    close(fd);
    scan();
    assert_true(kind_of("file") == SYNC_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_folder_joins_with_is_older_than_any_edit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_edit_is_later_than_all_that_its_file_has_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_index_is_an_author_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unchanged_folder_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_is_gone_is_recorded_as_deleted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_deleted_where_the_folder_is_not_at_home, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_hashed_soon_after_its_change_is_hashed_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_was_watched_since_is_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_being_written_is_put_off, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
