#include "database_file.h"
#include "index_fixture.h"

#include "../../peer/sync/sync_index_internal.h"
#include "limits.h"

#include <signal.h>
#include <sys/wait.h>

static void put(struct sync_index *index, const char *name, enum sync_kind kind, unsigned content, uint64_t clock)
{
    struct sync_row row = make(name, kind, content, 1, clock);
    assert_int_equal(index_put(index, &row), ERR_OK);
    sync_row_free(&row);
}

/* ---- entries ---- */

static void entries_survive_with_all_that_they_bear(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    assert_true(index_is_empty(index));
    struct sync_row file = make("d/é", SYNC_FILE, 7, 3, 40), folder_row = make("d", SYNC_FOLDER, 0, 2, 50), row;
    edit(&file.entry.version, 9, 60);
    edit(&file.entry.version, 2, 70);
    assert_int_equal(index_put(index, &file), ERR_OK);
    assert_int_equal(index_put(index, &folder_row), ERR_OK);
    uint64_t epoch = index_epoch(index);
    char marker[33], again[33];
    index_marker(index, marker);
    assert_int_equal(strlen(marker), 32);
    index_close(index);
    index = open_index();
    assert_false(index_is_empty(index));
    assert_int_equal(index_epoch(index), epoch);
    index_marker(index, again);
    assert_string_equal(again, marker);
    assert_int_equal(index_largest_counter(index), 71);
    assert_int_equal(index_sequence(index), 2);
    assert_int_equal(index_get(index, "d/é", &row), ERR_OK);
    assert_same(&row.entry, &file.entry);
    assert_true(stamp_equal(&row.stamp, &file.stamp) && row.stamp.taken_ns == 6 && row.sequence == 1);
    sync_row_free(&row);
    assert_int_equal(index_get(index, "d", &row), ERR_OK);
    assert_same(&row.entry, &folder_row.entry);
    sync_row_free(&row);
    assert_int_equal(index_get(index, "é", &row), ERR_NOT_FOUND);
    assert_int_equal(index_get(index, "d/", &row), ERR_NOT_FOUND);
    sync_row_free(&file);
    sync_row_free(&folder_row);
    index_close(index);
}

static void a_new_index_is_another(void **unused)
{
    (void)unused;
    struct sync_index *one = open_index(), *other = NULL;
    char marker[33], marker_of_other[33];
    assert_int_equal(index_open(in_folder("other.db"), &other, NULL), ERR_OK);
    assert_true(index_epoch(one) >= 1 && index_epoch(one) <= JSON_INTEGER_MAX);
    assert_int_not_equal(index_epoch(one), index_epoch(other));
    index_marker(one, marker);
    index_marker(other, marker_of_other);
    assert_string_not_equal(marker, marker_of_other);
    index_close(one);
    index_close(other);
}

static void an_entry_without_a_version_is_refused(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_row row = {.entry = {.name = strdup("a")}};
    assert_int_equal(index_put(index, &row), ERR_INVALID);
    edit(&row.entry.version, 1, 1);
    row.entry.version.time = 99;
    assert_int_equal(index_put(index, &row), ERR_INVALID);
    assert_true(index_is_empty(index));
    sync_row_free(&row);
    index_close(index);
}

static void a_stamp_changes_alone(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_row row;
    const struct stamp stamp = {9, 8, 7, 6, 5, 4};
    put(index, "a", SYNC_FILE, 1, 1);
    assert_int_equal(index_restamp(index, "a", &stamp), ERR_OK);
    assert_int_equal(index_restamp(index, "b", &stamp), ERR_NOT_FOUND);
    assert_int_equal(index_get(index, "a", &row), ERR_OK);
    assert_true(stamp_equal(&row.stamp, &stamp) && row.stamp.taken_ns == 4 && row.sequence == 1);
    assert_int_equal(index_sequence(index), 1);
    sync_row_free(&row);
    index_close(index);
}

static void children_are_what_lies_in_one_folder(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    static const char *const names[] = {"d/b", "d", "d/a", "d/sub/x", "d/sub", "da", "d-a", "d/A", "e", "d/gone"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        put(index, names[i], strcmp(names[i], "d/gone") ? SYNC_FILE : SYNC_DELETED, 1, i + 1);
    struct sync_row *rows;
    size_t count;
    static const char *const in_d[] = {"d/A", "d/a", "d/b", "d/sub"}, *const in_root[] = {"d", "d-a", "da", "e"};
    assert_int_equal(index_children(index, "d", NULL, SIZE_MAX, &rows, &count), ERR_OK);
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(rows[i].entry.name, in_d[i]);
        sync_row_free(&rows[i]);
    }
    free(rows);
    assert_int_equal(index_children(index, "", NULL, SIZE_MAX, &rows, &count), ERR_OK);
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(rows[i].entry.name, in_root[i]);
        sync_row_free(&rows[i]);
    }
    free(rows);
    assert_int_equal(index_children(index, "d", "d/a", 1, &rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].entry.name, "d/b");
    sync_row_free(&rows[0]);
    free(rows);
    assert_int_equal(index_children(index, "none", NULL, SIZE_MAX, &rows, &count), ERR_OK);
    assert_true(count == 0 && rows == NULL);
    index_close(index);
}

static void a_content_is_found_by_all_of_its_files_that_are_there(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    put(index, "a", SYNC_FILE, 1, 1);
    put(index, "b", SYNC_FILE, 1, 2);
    put(index, "c", SYNC_FILE, 2, 3);
    put(index, "gone", SYNC_FILE, 1, 4);
    put(index, "gone", SYNC_DELETED, 0, 5);
    struct content content = content_of(1);
    struct sync_row *rows;
    size_t count;
    assert_int_equal(index_find_content(index, &content, 10, &rows, &count), ERR_OK);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++)
        sync_row_free(&rows[i]);
    free(rows);
    content.size = 5;
    assert_int_equal(index_find_content(index, &content, 10, &rows, &count), ERR_OK);
    assert_int_equal(count, 0);
    index_close(index);
}

static void totals_are_counted_along(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct index_totals totals;
    put(index, "a", SYNC_FILE, 10, 1);
    put(index, "a", SYNC_FILE, 30, 2);
    put(index, "b", SYNC_FOLDER, 0, 3);
    put(index, "c", SYNC_FILE, 5, 4);
    put(index, "c", SYNC_DELETED, 0, 5);
    put(index, "a.conflict-01234567-20231114-221320", SYNC_FILE, 2, 6);
    put(index, "b.conflict-01234567-20231114-221320", SYNC_FILE, 2, 7);
    put(index, "b.conflict-01234567-20231114-221320", SYNC_DELETED, 0, 8);
    for (int opened = 0; opened < 2; opened++) {
        assert_int_equal(index_totals(index, &totals), ERR_OK);
        assert_true(totals.files == 2 && totals.bytes == 32 && totals.folders == 1 && totals.deleted == 2);
        assert_int_equal(totals.conflicts, 1);
        struct sync_row *rows;
        size_t count;
        assert_int_equal(index_conflicts(index, 10, &rows, &count), ERR_OK);
        assert_int_equal(count, 1);
        assert_string_equal(rows[0].entry.name, "a.conflict-01234567-20231114-221320");
        sync_row_free(&rows[0]);
        free(rows);
        index_close(index);
        index = open_index();
    }
    index_close(index);
}

/* ---- transactions ---- */

static void what_is_rolled_back_was_never_there(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct index_totals before, after;
    struct sync_row row;
    put(index, "a", SYNC_FILE, 1, 1);
    index_totals(index, &before);
    index_begin(index);
    put(index, "a", SYNC_DELETED, 0, 2);
    put(index, "b", SYNC_FILE, 1, 30);
    assert_int_equal(index_get(index, "b", &row), ERR_OK); /* seen from within */
    sync_row_free(&row);
    index_rollback(index);
    index_totals(index, &after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(index_sequence(index), 1);
    assert_int_equal(index_largest_counter(index), 2);
    assert_int_equal(index_get(index, "b", &row), ERR_NOT_FOUND);
    assert_int_equal(index_get(index, "a", &row), ERR_OK);
    assert_int_equal(row.entry.kind, SYNC_FILE);
    sync_row_free(&row);
    index_close(index);
}

static void one_failure_takes_all_of_a_transaction_back(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_intent intent = {.name = strdup("x")}; /* without a version */
    struct sync_row row, other = make("c", SYNC_FILE, 1, 1, 4);
    const struct stamp stamp = {0};
    index_begin(index);
    put(index, "a", SYNC_FILE, 1, 1);
    index_begin(index);
    put(index, "b", SYNC_FILE, 1, 2);
    assert_int_equal(index_restamp(index, "none", &stamp), ERR_NOT_FOUND); /* is no failure */
    assert_int_equal(index_commit(index), ERR_OK);
    put(index, "b", SYNC_FILE, 2, 3);
    index_begin(index);
    index_rollback(index);
    assert_int_equal(index_put(index, &other), ERR_CANCELLED);
    assert_int_equal(index_commit(index), ERR_CANCELLED);
    assert_true(index_is_empty(index));
    assert_int_equal(index_get(index, "a", &row), ERR_NOT_FOUND);
    assert_int_equal(index_add_intent(index, &intent), ERR_INVALID);
    put(index, "a", SYNC_FILE, 1, 1); /* the next is as good as any */
    assert_int_equal(index_sequence(index), 1);
    sync_row_free(&other);
    sync_intent_free(&intent);
    index_close(index);
}

/* In a process of its own, which is killed in the midst of it. */
static void die_in_a_transaction(void)
{
    struct sync_index *index = open_index();
    struct sync_intent intent = {.name = strdup("x")};
    put(index, "kept", SYNC_FILE, 1, 1);
    struct sync_row row = make("x", SYNC_FILE, 2, 1, 5);
    intent.entry = row.entry;
    if (index_add_intent(index, &intent))
        _exit(2);
    index_begin(index);
    for (unsigned i = 0; i < 20000; i++) { /* more than any cache */
        char name[32];
        snprintf(name, sizeof name, "lost/%u", i);
        put(index, name, SYNC_FILE, i, i + 2);
    }
    if (index_drop_intent(index, intent.number))
        _exit(2);
    kill(getpid(), SIGKILL);
}

static void a_kill_leaves_whole_transactions(void **unused)
{
    (void)unused;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        die_in_a_transaction();
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct sync_index *index = open_index();
    struct sync_row row;
    assert_int_equal(index_sequence(index), 1);
    assert_int_equal(index_get(index, "kept", &row), ERR_OK);
    sync_row_free(&row);
    assert_int_equal(index_get(index, "lost/0", &row), ERR_NOT_FOUND);
    struct sync_intent *intents;
    size_t count;
    assert_int_equal(index_list_intents(index, &intents, &count), ERR_OK);
    assert_int_equal(count, 1);
    sync_intent_free(&intents[0]);
    free(intents);
    index_close(index);
}

/* ---- pages ---- */

static void get_page(struct sync_index *index, uint64_t since, size_t limit, struct sync_page *ret)
{
    assert_int_equal(index_page(index, since, limit, ret), ERR_OK);
}

static void pages_lead_through_all_changes_in_their_order(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_page page;
    get_page(index, 0, 10, &page);
    assert_true(page.count == 0 && page.sequence == 0 && !page.more && page.epoch == index_epoch(index));
    put(index, "a", SYNC_FILE, 1, 1);
    put(index, "b", SYNC_FILE, 1, 2);
    put(index, "c", SYNC_FOLDER, 0, 3);
    put(index, "a", SYNC_DELETED, 0, 4);
    get_page(index, 0, 2, &page);
    assert_true(page.count == 2 && page.more && page.sequence == 3);
    assert_string_equal(page.entries[0].name, "b");
    assert_string_equal(page.entries[1].name, "c");
    uint64_t since = page.sequence;
    sync_page_free(&page);
    get_page(index, since, 2, &page);
    assert_true(page.count == 1 && !page.more && page.sequence == 4);
    assert_true(page.entries[0].kind == SYNC_DELETED);
    sync_page_free(&page);
    get_page(index, 4, 2, &page);
    assert_true(page.count == 0 && page.sequence == 4);
    sync_page_free(&page);
    get_page(index, 99, 10, &page); /* of an index that was newer */
    assert_true(page.count == 3 && page.sequence == 4);
    sync_page_free(&page);
    index_close(index);
}

static void a_page_fits_into_one_answer(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    index_begin(index);
    for (unsigned i = 0; i < 50; i++) {
        char name[3000];
        memset(name, '"', sizeof name);
        for (size_t k = 100; k < sizeof name; k += 100)
            name[k] = '/';
        snprintf(name + 2900, 50, "%u", i);
        struct sync_row row = make(name, SYNC_FILE, 1, 1, i + 1);
        for (unsigned peer = 2; peer < VERSION_COUNTERS_MAX; peer++) {
            uint8_t id[HASH_SIZE] = {1, (uint8_t)peer};
            assert_int_equal(version_edit(&row.entry.version, id, 0), ERR_OK);
        }
        assert_int_equal(index_put(index, &row), ERR_OK);
        sync_row_free(&row);
    }
    assert_int_equal(index_commit(index), ERR_OK);
    size_t seen = 0;
    uint64_t since = 0;
    for (bool more = true; more;) {
        struct sync_page page;
        get_page(index, since, ITEMS_MAX, &page);
        char *text = sync_page_format(&page);
        assert_true(strlen(text) <= BODY_SIZE_MAX && page.count > 1 && page.sequence > since);
        free(text);
        seen += page.count;
        since = page.sequence;
        more = page.more;
        sync_page_free(&page);
    }
    assert_int_equal(seen, 50);
    index_close(index);
}

/* ---- the database ---- */

static void no_statement_looks_at_all_rows(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    for (size_t i = 0; i < SQL_INDEX_END; i++) {
        char sql[2048];
        sqlite3_stmt *statement;
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", index_statements[i]);
        assert_int_equal(sqlite3_prepare_v2(index->db, sql, -1, &statement, NULL), SQLITE_OK);
        while (sqlite3_step(statement) == SQLITE_ROW) {
            const char *step = (const char *)sqlite3_column_text(statement, 3);
            if (strstr(step, "SCAN") || strstr(step, "TEMP B-TREE"))
                fail_msg("%s: %s", index_statements[i], step);
        }
        sqlite3_finalize(statement);
    }
    index_close(index);
}

static enum err open_fails(const char *said)
{
    struct sync_index *index = (struct sync_index *)1;
    struct why why = {""};
    enum err err = index_open(in_folder("sync.db"), &index, &why);
    assert_null(index);
    if (!strstr(why.text, said))
        fail_msg("%s", why.text);
    return err;
}

static void a_database_that_is_not_ours_is_refused(void **unused)
{
    (void)unused;
    index_close(open_index());
    change_database("sync.db", "PRAGMA user_version = 99");
    assert_int_equal(open_fails("newer peer"), ERR_TOO_NEW);
    change_database("sync.db", "PRAGMA user_version = 1; PRAGMA application_id = 5");
    assert_int_equal(open_fails("is damaged"), ERR_CORRUPT);
    unlink(in_folder("sync.db-wal"));
    make_text("sync.db", "this is no database, but it is long enough that somebody might take it for one");
    assert_int_equal(open_fails("is damaged"), ERR_CORRUPT);
}

static void a_damaged_row_is_told(void **unused)
{
    (void)unused;
    static const char *const damages[] = {
        "UPDATE entries SET kind = 7",
        "UPDATE entries SET version = x''",
        "UPDATE entries SET version = substr(version, 1, length(version) - 1)",
        "UPDATE entries SET version = zeroblob(length(version))",
        "UPDATE entries SET root = x'00'",
        "UPDATE entries SET root = NULL",
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct sync_index *index = open_index();
        struct sync_row row;
        struct sync_page page;
        put(index, "a", SYNC_FILE, 1, 1);
        index_close(index);
        change_database("sync.db", damages[i]);
        index = open_index();
        assert_int_equal(index_get(index, "a", &row), ERR_CORRUPT);
        assert_int_equal(index_page(index, 0, 10, &page), ERR_CORRUPT);
        assert_null(page.entries);
        index_close(index);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(entries_survive_with_all_that_they_bear),
        TEST(a_new_index_is_another),
        TEST(an_entry_without_a_version_is_refused),
        TEST(a_stamp_changes_alone),
        TEST(children_are_what_lies_in_one_folder),
        TEST(a_content_is_found_by_all_of_its_files_that_are_there),
        TEST(totals_are_counted_along),
        TEST(what_is_rolled_back_was_never_there),
        TEST(one_failure_takes_all_of_a_transaction_back),
        TEST(a_kill_leaves_whole_transactions),
        TEST(pages_lead_through_all_changes_in_their_order),
        TEST(a_page_fits_into_one_answer),
        TEST(no_statement_looks_at_all_rows),
        TEST(a_database_that_is_not_ours_is_refused),
        TEST(a_damaged_row_is_told),
    };
    return cmocka_run_group_tests_name("sync_index", tests, NULL, NULL);
}
