#include "store_fixture.h"
#include "store_sqlite.h"
#include "timing.h"

#include <unistd.h>

static char folder[] = "/tmp/enxame-store-XXXXXX";

/* ---- helpers ---- */

static int set_up(void **state)
{
    (void)state;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (!mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    open_store_at("test.db", EXPIRE_MS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_close(store);
    store = NULL;
    static const char *const left[] = {"test.db", "test.db-wal", "test.db-shm", "test.db.lock"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        unlink(left[i]);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static int64_t number(const char *sql)
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(store_sqlite_of(store)->writer.db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static void execute(const char *sql)
{
    assert_int_equal(sqlite3_exec(store_sqlite_of(store)->writer.db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* Nothing is left that nobody holds, the index knows just the names, and each peer's count is true. */
static void assert_consistent(void)
{
    assert_int_equal(number("SELECT count(*) FROM names WHERE key NOT IN (SELECT name FROM holdings)"), 0);
    assert_int_equal(number("SELECT count(*) FROM contents WHERE key NOT IN (SELECT content FROM names)"), 0);
    assert_int_equal(number("SELECT count(*) FROM holdings WHERE peer NOT IN (SELECT key FROM peers)"), 0);
    assert_int_equal(number("SELECT count(*) FROM holdings WHERE name NOT IN (SELECT key FROM names)"), 0);
    assert_int_equal(number("SELECT count(*) FROM search WHERE text MATCH '\"txt\"'"),
                     number("SELECT count(*) FROM names"));
    assert_int_equal(number("SELECT count(*) FROM peers p WHERE id IS NOT NULL AND"
                            " files <> (SELECT count(*) FROM holdings WHERE peer = p.key)"),
                     0);
}

/* ---- tests ---- */

static void commits_are_synced_to_a_log(void **state)
{
    (void)state;
    assert_int_equal(number("PRAGMA synchronous"), 2);
    assert_int_equal(number("SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
}

static void registering_again_writes_only_what_changed(void **state)
{
    (void)state;
    assert_int_equal(put(1, 0, 100).files_held, 100);
    int64_t before = number("SELECT total_changes()");
    assert_int_equal(put(1, 0, 100).files_held, 100);
    assert_in_range(number("SELECT total_changes()") - before, 1, 2);
    assert_int_equal(put(1, 50, 100).files_held, 100);
    assert_int_equal(found(NULL), 100);
    assert_int_equal(found("file 000149"), 1);
    assert_int_equal(found("file 000049"), 0);
    assert_consistent();
}

static void a_peer_with_many_files_is_replaced_and_removed_by_small_writes(void **state)
{
    (void)state;
    put(1, 0, 1000);
    assert_int_equal(add(1, 1000, 1000).files_held, 2000);
    put(2, 1999, 1);
    int64_t before = number("SELECT total_changes()");
    assert_int_equal(put(1, 1500, 2).files_held, 2);
    assert_in_range(number("SELECT total_changes()") - before, 1, 10);
    assert_int_equal(found(NULL), 3);
    assert_true(sweep_all(NULL) >= 4);
    assert_int_equal(number("SELECT count(*) FROM names"), 3);
    assert_consistent();
    assert_int_equal(apply((struct store_write){.op = STORE_UNREGISTER, .id = {2}}).err, ERR_OK);
    assert_int_equal(found("file 001999"), 0);
    sweep_all(NULL);
    assert_int_equal(number("SELECT count(*) FROM peers"), 1);
    assert_consistent();
}

static void too_many_files_are_refused_whole(void **state)
{
    (void)state;
    put(1, 0, 3);
    execute("UPDATE peers SET files = 1999999");
    assert_int_equal(add(1, 100, 1).err, ERR_OK);
    assert_int_equal(add(1, 200, 1).err, ERR_TOO_LARGE);
    assert_int_equal(found(NULL), 4);
    assert_int_equal(found("file 000200"), 0);
    assert_int_equal(number("SELECT count(*) FROM search WHERE text MATCH '\"000200\"'"), 0);
}

static void a_full_disk_refuses_writes_and_answers_reads(void **state)
{
    (void)state;
    put(1, 0, 100);
    execute("PRAGMA max_page_count = 1"); /* as many as there are */
    uint64_t started_ms = timing_now_ms();
    assert_int_equal(add(1, 100, 1000).err, ERR_NOSPACE);
    assert_int_equal(found(NULL), 100);
    int64_t stopped = store_sqlite_now(store_sqlite_of(store));
    sweep_all(NULL); /* writes nothing, and so proves nothing */
    while (timing_now_ms() < started_ms + 20)
        usleep(1000);
    assert_int_equal(store_sqlite_now(store_sqlite_of(store)), stopped); /* nobody lapses meanwhile */
    uint64_t resumed_ms = timing_now_ms();
    execute("PRAGMA max_page_count = 1000000");
    assert_int_equal(add(1, 100, 1000).err, ERR_OK);
    int64_t resumed = store_sqlite_now(store_sqlite_of(store));
    assert_in_range(resumed, stopped, stopped + (int64_t)(timing_now_ms() - resumed_ms) + 1);
    assert_int_equal(found("file 001"), 100);
    assert_consistent();
}

static void lapsed_peers_are_hidden_before_the_sweep(void **state)
{
    (void)state;
    put(1, 0, 3);
    put(2, 2, 3);
    execute("UPDATE peers SET seen_ms = seen_ms - 600001 WHERE port = 7000 AND id < x'02'");
    struct peer_list peers;
    assert_int_equal(store_peers(store, NULL, 10, &peers), ERR_OK);
    assert_int_equal(peers.count, 1);
    peer_list_free(&peers);
    assert_int_equal(found(NULL), 3);
    struct content_holders holders;
    struct content content = content_of(0);
    assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_NOT_FOUND);
    content_holders_free(&holders);
    content = content_of(2);
    assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_OK);
    assert_int_equal(holders.holders_total, 1);
    content_holders_free(&holders);
    assert_int_equal(beat(1).err, ERR_NOT_FOUND);
    assert_int_equal(beat(2).err, ERR_OK);
    struct store_write sweep = apply((struct store_write){.op = STORE_SWEEP});
    assert_int_equal(sweep.expired, 1);
    assert_int_equal(number("SELECT count(*) FROM peers"), 1);
    assert_consistent();
}

static void the_tracker_keeps_its_id_and_an_older_database_gets_one(void **state)
{
    (void)state;
    uint8_t first[HASH_SIZE], nothing[HASH_SIZE] = {0};
    sqlite3 *db;
    memcpy(first, store_id(store), HASH_SIZE);
    assert_memory_not_equal(first, nothing, HASH_SIZE);
    assert_int_equal(put(1, 0, 3).err, ERR_OK);
    store_close(store);
    open_store_at("test.db", EXPIRE_MS);
    assert_memory_equal(store_id(store), first, HASH_SIZE);
    store_close(store);
    assert_int_equal(sqlite3_open("test.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE tracker; PRAGMA user_version = 1", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    open_store_at("test.db", EXPIRE_MS);
    assert_memory_not_equal(store_id(store), first, HASH_SIZE);
    assert_memory_not_equal(store_id(store), nothing, HASH_SIZE);
    struct store_counts counts;
    assert_int_equal(store_count(store, &counts), ERR_OK);
    assert_int_equal(counts.contents, 3);
}

static void a_restart_keeps_everything_and_restarts_the_clock(void **state)
{
    (void)state;
    put(1, 0, 3);
    put(2, 0, 1000);
    add(2, 1000, 500);
    apply((struct store_write){.op = STORE_UNREGISTER, .id = {2}});
    execute("UPDATE peers SET seen_ms = 5 WHERE id IS NOT NULL");
    store_close(store);
    open_store_at("test.db", EXPIRE_MS);
    assert_int_equal(found(NULL), 3);
    assert_int_equal(beat(1).err, ERR_OK);
    sweep_all(NULL);
    assert_int_equal(number("SELECT count(*) FROM peers"), 1);
    assert_consistent();
}

static int plan_line(void *context, int columns, char **values, char **names)
{
    (void)columns;
    (void)names;
    const char *detail = values[3];
    const char *statement = context;
    /* A SCAN is allowed over an index that is read in order from where the page begins, and over temporary results. */
    if (strncmp(detail, "SCAN ", 5) == 0 && !strstr(detail, "VIRTUAL TABLE INDEX") && !strstr(detail, "CONSTANT ROW") &&
        !strstr(statement, "count(*)"))
        fail_msg("%s: %s", statement, detail);
    return 0;
}

static void every_statement_is_served_by_an_index(void **state)
{
    (void)state;
    for (int i = SQL_PEER_FIND; i < SQL_STATEMENTS_END; i++) {
        char *explained = NULL;
        const char *sql = store_sqlite_sql((enum statement)i);
        if (strcmp(sql, "BEGIN") == 0 || strcmp(sql, "COMMIT") == 0)
            continue;
        assert_true(asprintf(&explained, "EXPLAIN QUERY PLAN %s", sql) > 0);
        assert_int_equal(
            sqlite3_exec(store_sqlite_of(store)->writer.db, explained, plan_line, (void *)(uintptr_t)sql, NULL),
            SQLITE_OK);
        free(explained);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commits_are_synced_to_a_log),
        TEST(registering_again_writes_only_what_changed),
        TEST(a_peer_with_many_files_is_replaced_and_removed_by_small_writes),
        TEST(too_many_files_are_refused_whole),
        TEST(a_full_disk_refuses_writes_and_answers_reads),
        TEST(lapsed_peers_are_hidden_before_the_sweep),
        TEST(the_tracker_keeps_its_id_and_an_older_database_gets_one),
        TEST(a_restart_keeps_everything_and_restarts_the_clock),
        TEST(every_statement_is_served_by_an_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
