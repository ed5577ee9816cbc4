#include "no_room.h"
#include "patience.h"
#include "store_fixture.h"
#include "store_sqlite.h"
#include "timing.h"

#include <unistd.h>

/* ---- helpers ---- */

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
    assert_int_equal(number("SELECT count(*) FROM search WHERE search MATCH '\"txt\"'"),
                     number("SELECT count(*) FROM names"));
    assert_int_equal(number("SELECT count(*) FROM peers p WHERE id IS NOT NULL AND"
                            " files <> (SELECT count(*) FROM holdings WHERE peer = p.key)"),
                     0);
    assert_int_equal(number("SELECT count(*) FROM peers p WHERE (id IS NULL) = (key IN (SELECT peer FROM seen))"), 0);
    assert_int_equal(number("SELECT contents = (SELECT count(*) FROM contents) AND names = (SELECT count(*) FROM names)"
                            " AND holdings = (SELECT total(files) FROM peers WHERE id IS NOT NULL) FROM counts"),
                     1);
    assert_int_equal(number("SELECT count(*) FROM ranges r WHERE peers <>"
                            " (SELECT count(*) FROM peers WHERE key >> 12 = r.key)"),
                     0);
    assert_int_equal(number("SELECT total(peers) FROM ranges"), number("SELECT count(*) FROM peers"));
}

static int64_t changes(void)
{
    return number("SELECT total_changes()");
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
    int64_t before = changes();
    assert_int_equal(put(1, 0, 100).files_held, 100);
    assert_int_equal(changes() - before, 1);
    assert_int_equal(put(1, 50, 100).files_held, 100);
    assert_int_equal(found(NULL), 100);
    assert_int_equal(found("file 000149"), 1);
    assert_int_equal(found("file 000049"), 0);
    assert_consistent();
}

static void registering_again_is_not_taken_for_the_same_when_it_differs(void **state)
{
    (void)state;
    put(1, 0, 3);
    struct register_request request = registration_of(1, 0, 3);
    const struct store_write again = {.op = STORE_REGISTER, .registration = &request};
    request.files.items[1].complete = false;
    assert_int_equal(apply(again).files_held, 3);
    assert_int_equal(number("SELECT count(*) FROM holdings WHERE NOT complete"), 1);
    request.address.port = 7001;
    assert_int_equal(apply(again).err, ERR_OK);
    assert_int_equal(number("SELECT port FROM peers"), 7001);
    request.has_instance = true;
    assert_int_equal(apply(again).err, ERR_OK);
    assert_int_equal(number("SELECT count(*) FROM peers WHERE instance IS NOT NULL AND files = 3"), 1);
    register_request_free(&request);
    assert_int_equal(leave(1).err, ERR_OK);
    /* What was added since goes. */
    put(1, 0, 3);
    assert_int_equal(add(1, 3, 2).files_held, 5);
    assert_int_equal(put(1, 0, 3).files_held, 3);
    assert_int_equal(found(NULL), 3);
    assert_consistent();
}

static void a_file_that_is_registered_twice_counts_once(void **state)
{
    (void)state;
    struct register_request request = registration_of(1, 0, 3);
    add_files(&request.files, 1, 2);
    const struct store_write write = {.op = STORE_REGISTER, .registration = &request};
    assert_int_equal(apply(write).files_held, 3);
    assert_consistent();
    assert_int_equal(apply(write).files_held, 3);
    request.address.port = 7001;
    assert_int_equal(apply(write).files_held, 3);
    assert_consistent();
    register_request_free(&request);
}

static void a_heartbeat_is_one_small_write(void **state)
{
    (void)state;
    put(1, 0, 1000);
    add(1, 1000, 1000);
    int64_t before = changes();
    assert_int_equal(beat(1).files_held, 2000);
    assert_int_equal(changes() - before, 1);
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
    assert_true(sweep_all(NULL) >= 2);
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
    struct files_request files = {0};
    add_files(&files.add, 200, 1);
    struct register_request other = registration_of(2, 300, 2);
    struct store_write batch[] = {
        {.op = STORE_REGISTER, .registration = &other},
        {.op = STORE_FILES, .id = {1}, .files = &files},
        {.op = STORE_HEARTBEAT, .id = {2}},
    };
    struct store_write *writes[] = {&batch[0], &batch[1], &batch[2]};
    assert_int_equal(store_apply(store, writes, 3, NULL), ERR_OK);
    assert_int_equal(batch[0].err, ERR_OK);
    assert_int_equal(batch[1].err, ERR_TOO_LARGE);
    assert_int_equal(batch[2].err, ERR_OK);
    files_request_free(&files);
    register_request_free(&other);
    assert_int_equal(found(NULL), 6);
    assert_int_equal(found("file 000200"), 0);
    assert_int_equal(number("SELECT count(*) FROM search WHERE search MATCH '\"200\"'"), 0);
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

/* ---- peers that were heard of moments ago ---- */

static void a_heartbeat_of_one_who_has_lapsed_is_refused_though_others_went_before(void **state)
{
    (void)state;
    put(1, 0, 1);
    assert_int_equal(beat(1).err, ERR_OK);
    assert_int_equal(beat(1).err, ERR_OK);
    execute("UPDATE seen SET ms = ms - 1000000000");
    assert_int_equal(beat(1).err, ERR_NOT_FOUND);
}

static void a_heartbeat_is_not_taken_for_another_peers_who_got_the_key(void **state)
{
    (void)state;
    put(1, 0, 1);
    assert_int_equal(beat(1).err, ERR_OK);
    int64_t key = number("SELECT key FROM peers");
    assert_int_equal(leave(1).err, ERR_OK);
    sweep_all(NULL);
    store_sqlite_of(store)->new_keys.next = key;
    put(2, 0, 1);
    assert_int_equal(number("SELECT key FROM peers"), key);
    assert_int_equal(beat(1).err, ERR_NOT_FOUND);
    assert_int_equal(beat(2).err, ERR_OK);
}

static void a_clock_that_found_no_room_is_stored_when_there_is_some(void **state)
{
    (void)state;
    static const char stored[] = "SELECT value FROM clock";
    struct lamport *clock = lamport_new(store_clock(store));
    store_keep_clock(store, clock);
    put(1, 0, 100);
    no_room_begin("test.db-wal");
    for (unsigned i = 0; i < 3000; i++)
        lamport_tick(clock);
    int64_t then = number(stored);
    no_room_end();
    assert_true(then < 3000);
    PATIENCE_UNTIL((int64_t)lamport_tick(clock) <= number(stored), usleep(10000));
    store_close(store);
    store = NULL;
    lamport_free(clock);
}

static void lapsed_peers_are_hidden_before_the_sweep(void **state)
{
    (void)state;
    put(1, 0, 3);
    put(2, 2, 3);
    execute("UPDATE seen SET ms = ms - 600001 WHERE peer = (SELECT key FROM peers WHERE id < x'02')");
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

/* As the first tracker made it, with a peer that holds two files, and one that is gone. */
static const char oldest[] =
    "CREATE TABLE peers (key INTEGER PRIMARY KEY, id BLOB UNIQUE, instance BLOB, host BLOB NOT NULL,"
    "  port INTEGER NOT NULL, files INTEGER NOT NULL, seen_ms INTEGER NOT NULL) STRICT;"
    "CREATE INDEX peers_seen ON peers (seen_ms);"
    "CREATE TABLE contents (key INTEGER PRIMARY KEY, root BLOB NOT NULL, size INTEGER NOT NULL, UNIQUE (root, size))"
    "  STRICT;"
    "CREATE TABLE names (key INTEGER PRIMARY KEY, content INTEGER NOT NULL, name TEXT NOT NULL,"
    "  UNIQUE (content, name)) STRICT;"
    "CREATE TABLE holdings (peer INTEGER NOT NULL, name INTEGER NOT NULL, complete INTEGER NOT NULL,"
    "  PRIMARY KEY (peer, name)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX holdings_name ON holdings (name, peer, complete);"
    "CREATE VIRTUAL TABLE search USING fts5 (text, tokenize = 'trigram', content = '', columnsize = 0);"
    "CREATE TABLE clock (value INTEGER NOT NULL) STRICT; INSERT INTO clock VALUES (0);"
    "INSERT INTO peers VALUES (1, CAST(x'01' || zeroblob(31) AS BLOB), NULL, zeroblob(16), 7000, 2, 5),"
    "  (2, NULL, NULL, zeroblob(16), 7000, 1, -9223372036854775808);"
    "INSERT INTO contents VALUES (1, randomblob(32), 7), (2, randomblob(32), 8), (3, randomblob(32), 9);"
    "INSERT INTO names VALUES (4, 1, 'one.txt'), (5, 2, 'two.txt'), (6, 3, 'three.txt');"
    "INSERT INTO holdings VALUES (1, 4, 1), (1, 5, 1), (2, 6, 1);"
    "INSERT INTO search (rowid, text) SELECT key, char(2, 2) || name || char(3, 3) FROM names;"
    "PRAGMA application_id = 0x456e7861; PRAGMA user_version = 1;";

static void a_database_of_the_oldest_schema_is_brought_up_to_date(void **state)
{
    (void)state;
    static const uint8_t nothing[HASH_SIZE];
    sqlite3 *db;
    store_close(store);
    assert_int_equal(unlink("test.db"), 0);
    assert_int_equal(sqlite3_open("test.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, oldest, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    open_store_at("test.db", EXPIRE_MS);
    assert_memory_not_equal(store_id(store), nothing, HASH_SIZE);
    assert_int_equal(found("one.txt"), 1);
    assert_int_equal(found(NULL), 2);
    assert_int_equal(beat(1).files_held, 2);
    assert_int_equal(counts().peers, 1);
    assert_int_equal(counts().contents, 3);
    sweep_all(NULL);
    assert_int_equal(counts().contents, 2);
    assert_int_equal(put(1, 0, 3).files_held, 3);
    assert_int_equal(found("two"), 0);
    assert_consistent();
}

static void a_restart_keeps_everything_and_restarts_the_clock(void **state)
{
    (void)state;
    put(1, 0, 3);
    put(2, 0, 1000);
    add(2, 1000, 500);
    apply((struct store_write){.op = STORE_UNREGISTER, .id = {2}});
    execute("UPDATE seen SET ms = 5");
    store_close(store);
    open_store_at("test.db", EXPIRE_MS);
    assert_int_equal(found(NULL), 3);
    assert_int_equal(beat(1).err, ERR_OK);
    sweep_all(NULL);
    assert_int_equal(number("SELECT count(*) FROM peers"), 1);
    assert_consistent();
}

static void many_peers_that_lapse_are_found_in_one_pass(void **state)
{
    (void)state;
    uint64_t expired = 0;
    for (uint8_t peer = 1; peer <= 250; peer++)
        put(peer, peer, 1);
    sweep_all(&expired);
    assert_int_equal(expired, 0);
    execute("UPDATE seen SET ms = ms - 600001 WHERE peer <> 77");
    store_sqlite_of(store)->scan.due_ms = 0; /* as their time has come */
    sweep_all(&expired);
    assert_int_equal(expired, 249);
    assert_int_equal(number("SELECT count(*) FROM peers"), 1);
    assert_consistent();
}

static void a_pass_says_when_the_next_one_is_due(void **state)
{
    (void)state;
    store_close(store);
    open_store_at("test.db", 300);
    put(1, 0, 3);
    uint64_t expired = 0;
    sweep_all(&expired);
    assert_int_equal(store_sqlite_of(store)->scan.due_ms, number("SELECT ms + 300 FROM seen"));
    PATIENCE_UNTIL(peers_listed() == 0, usleep(10000));
    sweep_all(&expired);
    assert_int_equal(expired, 1);
    assert_consistent();
}

/* Which statements read a whole table, or sort, and why that is right. */
static const struct {
    enum statement statement;
    const char *why;
} exceptions[] = {
    {SQL_CLOCK_GET, "one row"},
    {SQL_CLOCK_SET, "one row"},
    {SQL_ID_GET, "one row"},
    {SQL_PING, "one row"},
    {SQL_COUNTS, "one row"},
    {SQL_COUNTS_ADD, "one row"},
    {SQL_COUNT_PEERS, "ten bytes for each peer, when somebody asks for the metrics"},
    {SQL_SIZES_OF_ROOT, "the sizes of one root: one, but for forgeries"},
    {SQL_OLDEST_NAME_KEYS, "the names of one content: one, but for forgeries"},
    {SQL_COUNT_PEERS_OF_CONTENT, "of no more holdings than HOLDERS_EXACT_MAX"},
    {SQL_COUNT_HOLDERS, "who holds one content under several names: counted once"},
    {SQL_HOLDERS_OF_CONTENT, "who holds one content under several names: counted once, and not paged"},
};

static bool is_exception(enum statement statement)
{
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++)
        if (exceptions[i].statement == statement)
            return true;
    return false;
}

static int plan_line(void *context, int columns, char **values, char **names)
{
    (void)columns;
    (void)names;
    const char *detail = values[3], *sql = context;
    /* The full-text index is asked by rowid or by what matches; a VALUES clause has one row, a subquery its limit, and
     * `ranges` (r) a row for thousands of peers. */
    if (strncmp(detail, "SCAN ", 5) == 0 && !strstr(detail, "VIRTUAL TABLE INDEX") && !strstr(detail, "CONSTANT ROW") &&
        !strstr(detail, "(subquery") && strcmp(detail, "SCAN r") != 0)
        fail_msg("%s: %s", sql, detail);
    if (strstr(detail, "TEMP B-TREE"))
        fail_msg("%s: %s", sql, detail);
    return 0;
}

static void every_statement_is_served_by_an_index(void **state)
{
    (void)state;
    for (int i = 0; i < SQL_STATEMENTS_END; i++) {
        char *explained = NULL;
        const char *sql = store_sqlite_sql((enum statement)i);
        if (is_exception((enum statement)i))
            continue;
        assert_true(asprintf(&explained, "EXPLAIN QUERY PLAN %s", sql) > 0);
        int code = sqlite3_exec(store_sqlite_of(store)->writer.db, explained, plan_line, (void *)(uintptr_t)sql, NULL);
        if (code != SQLITE_OK)
            fail_msg("%s: %s", sql, sqlite3_errmsg(store_sqlite_of(store)->writer.db));
        free(explained);
    }
}

/* Part of the plan of a rule: what is done for each row must not be done for all rows of another table. */
struct rule_plan {
    const char *sql;
    bool repeated[1000]; /* whether a step is done for each row */
};

static int rule_line(void *context, int columns, char **values, char **names)
{
    (void)columns;
    (void)names;
    struct rule_plan *plan = context;
    unsigned long step = strtoul(values[0], NULL, 10), of = strtoul(values[1], NULL, 10);
    const char *detail = values[3];
    assert_in_range(step, 0, 999);
    assert_in_range(of, 0, 999);
    plan->repeated[step] = plan->repeated[of] || strncmp(detail, "CORRELATED", 10) == 0;
    if (plan->repeated[of] && strncmp(detail, "SCAN ", 5) == 0)
        fail_msg("%s: %s", plan->sql, detail);
    return 0;
}

static void a_check_reads_no_table_for_each_row_of_another(void **state)
{
    (void)state;
    sqlite3 *db = store_sqlite_of(store)->writer.db;
    for (size_t i = 0; store_sqlite_rule(i); i++) {
        char *explained = NULL;
        struct rule_plan plan = {.sql = store_sqlite_rule(i)};
        assert_true(asprintf(&explained, "EXPLAIN QUERY PLAN %s", plan.sql) > 0);
        assert_int_equal(sqlite3_exec(db, explained, rule_line, &plan, NULL), SQLITE_OK);
        free(explained);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter_store, leave_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commits_are_synced_to_a_log),
        TEST(registering_again_writes_only_what_changed),
        TEST(registering_again_is_not_taken_for_the_same_when_it_differs),
        TEST(a_file_that_is_registered_twice_counts_once),
        TEST(a_heartbeat_is_one_small_write),
        TEST(a_peer_with_many_files_is_replaced_and_removed_by_small_writes),
        TEST(too_many_files_are_refused_whole),
        TEST(a_full_disk_refuses_writes_and_answers_reads),
        TEST(a_heartbeat_of_one_who_has_lapsed_is_refused_though_others_went_before),
        TEST(a_heartbeat_is_not_taken_for_another_peers_who_got_the_key),
        TEST(a_clock_that_found_no_room_is_stored_when_there_is_some),
        TEST(lapsed_peers_are_hidden_before_the_sweep),
        TEST(a_database_of_the_oldest_schema_is_brought_up_to_date),
        TEST(a_restart_keeps_everything_and_restarts_the_clock),
        TEST(many_peers_that_lapse_are_found_in_one_pass),
        TEST(a_pass_says_when_the_next_one_is_due),
        TEST(every_statement_is_served_by_an_index),
        TEST(a_check_reads_no_table_for_each_row_of_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
