#include "../../common/database.h"
#include "database_file.h"

static sqlite3 *open_memory(void)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    return statement;
}

static void values_come_back_as_they_were_bound(void **state)
{
    sqlite3 *db = open_memory();
    sqlite3_stmt *statement = prepare(db, "SELECT ?1, ?2, ?3");
    struct query query = query_begin(statement);
    uint8_t bytes[3] = {0};
    char *copy;

    (void)state;
    query_number(&query, 1, INT64_MAX);
    query_bytes(&query, 2, "a\0b", 3);
    query_text(&query, 3, "enxame");
    assert_true(query_next(&query));
    assert_true(query_get_number(&query, 0) == INT64_MAX);
    query_get_bytes(&query, 1, bytes, sizeof bytes);
    assert_memory_equal(bytes, "a\0b", 3);
    copy = query_copy_text(&query, 2);
    assert_string_equal(copy, "enxame");
    free(copy);
    assert_string_equal(query_get_text(&query, 2), "enxame");
    assert_false(query_next(&query));
    assert_int_equal(query_end(&query), ERR_OK);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
}

static void the_first_error_is_the_one_that_counts(void **state)
{
    sqlite3 *db = open_memory();
    sqlite3_stmt *statement = prepare(db, "SELECT x'010203'");
    struct query query = query_begin(statement);
    uint8_t bytes[4] = {9, 9, 9, 9};
    static const uint8_t zeros[4] = {0};

    (void)state;
    assert_true(query_next(&query));
    query_get_bytes(&query, 0, bytes, sizeof bytes); /* another length than the row has: the database is not ours */
    assert_memory_equal(bytes, zeros, sizeof bytes);
    assert_false(query_next(&query));
    query_number(&query, 1, 1);
    assert_int_equal(query_end(&query), ERR_CORRUPT);
    /* and it is forgotten with the next run */
    assert_int_equal(query_run(statement), ERR_OK);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
}

static void a_migration_that_fails_changes_nothing(void **state)
{
    static const char *const migrations[] = {
        "CREATE TABLE one (a); PRAGMA application_id = 7; PRAGMA user_version = 1;",
        "CREATE TABLE two (a); PRAGMA user_version = 2;",
        "CREATE TABLE three (a); this is no statement;",
    };
    sqlite3 *db = open_memory();
    struct database_kind kind;

    (void)state;
    assert_int_equal(database_kind(db, &kind), SQLITE_OK);
    assert_true(database_is_ours(&kind, 7)); /* new */
    assert_int_equal(database_upgrade(db, migrations, 0, 1), SQLITE_OK);
    assert_int_equal(database_kind(db, &kind), SQLITE_OK);
    assert_true(kind.application == 7 && kind.version == 1 && kind.objects == 1);
    assert_true(database_is_ours(&kind, 7));
    assert_false(database_is_ours(&kind, 8));

    assert_int_not_equal(database_upgrade(db, migrations, 1, 3), SQLITE_OK);
    assert_int_equal(database_kind(db, &kind), SQLITE_OK);
    assert_true(kind.version == 1 && kind.objects == 1); /* not even `two` */
    assert_int_equal(database_upgrade(db, migrations, 1, 2), SQLITE_OK);
    (void)sqlite3_close(db);
}

static void somebody_elses_database_is_told_apart(void **state)
{
    sqlite3 *db = open_memory();
    struct database_kind kind;

    (void)state;
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE theirs (a)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(database_kind(db, &kind), SQLITE_OK);
    assert_false(database_is_ours(&kind, 7));
    assert_int_equal(sqlite3_exec(db, "PRAGMA application_id = 7; PRAGMA user_version = -1", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(database_kind(db, &kind), SQLITE_OK);
    assert_false(database_is_ours(&kind, 7));
    (void)sqlite3_close(db);
}

static enum err open_file(char *ret_said, size_t capacity)
{
    static const char *const migrations[] = {
        "CREATE TABLE one (a); PRAGMA application_id = 7; PRAGMA user_version = 1;",
    };
    const struct database_options options = {.path = in_folder("file.db"),
                                             .application = 7,
                                             .migrations = migrations,
                                             .version = 1,
                                             .pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
                                             .program = "peer",
                                             .elsewhere = "another folder",
                                             .if_damaged = "move it away"};
    sqlite3 *db = NULL;
    struct why why = {""};
    enum err err = database_open(&options, &db, &why);
    int64_t synchronous = 0, rows = -1;

    if (err == ERR_OK) {
        assert_int_equal(database_number(db, "PRAGMA synchronous", &synchronous), SQLITE_OK);
        assert_int_equal(database_number(db, "SELECT count(*) FROM one", &rows), SQLITE_OK);
        assert_true(synchronous == 2 && rows == 0);
    }
    (void)sqlite3_close(db);
    (void)snprintf(ret_said, capacity, "%s", why.text);
    return err;
}

static void a_database_that_cannot_be_used_is_refused_with_what_to_do(void **state)
{
    char said[4096], expected[4096];

    (void)state;
    assert_int_equal(open_file(said, sizeof said), ERR_OK); /* made */
    assert_int_equal(open_file(said, sizeof said), ERR_OK);
    change_database("file.db", "PRAGMA user_version = 9");
    assert_int_equal(open_file(said, sizeof said), ERR_TOO_NEW);
    (void)snprintf(expected, sizeof expected,
                   "%s was written by a newer peer (schema 9, this one knows 1); use that, or another folder",
                   in_folder("file.db"));
    assert_string_equal(said, expected);
    change_database("file.db", "PRAGMA user_version = 1; PRAGMA application_id = 8");
    assert_int_equal(open_file(said, sizeof said), ERR_CORRUPT);
    (void)snprintf(expected, sizeof expected, "%s is damaged; move it away", in_folder("file.db"));
    assert_string_equal(said, expected);
    change_database("file.db", "PRAGMA application_id = 7");
    assert_int_equal(open_file(said, sizeof said), ERR_OK);
    make_text("file.db", "this is no database, but it is long enough that somebody might take it for one");
    assert_int_equal(open_file(said, sizeof said), ERR_CORRUPT);
    assert_string_equal(said, expected);
    assert_int_equal(unlink(in_folder("file.db")), 0);
    make_folder("file.db");
    assert_int_equal(open_file(said, sizeof said), ERR_DENIED);
    assert_non_null(strstr(said, "cannot use the database "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_as_they_were_bound),
        cmocka_unit_test(the_first_error_is_the_one_that_counts),
        cmocka_unit_test(a_migration_that_fails_changes_nothing),
        cmocka_unit_test(somebody_elses_database_is_told_apart),
        cmocka_unit_test_setup_teardown(a_database_that_cannot_be_used_is_refused_with_what_to_do, folder_set_up,
                                        folder_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
