/* Which keys the SQLite store gives to new peers, and that those who hold a file are found in whichever range. */
#include "store_fixture.h"
#include "store_sqlite.h"

enum { BATCH = 100 };

static int64_t number(const char *sql)
{
    int64_t value = 0;
    assert_int_equal(database_number(store_sqlite_of(store)->writer.db, sql, &value), SQLITE_OK);
    return value;
}

static void assert_counted(void)
{
    assert_int_equal(number("SELECT count(*) FROM ranges r WHERE peers <>"
                            " (SELECT count(*) FROM peers WHERE key >> 12 = r.key)"),
                     0);
    assert_int_equal(number("SELECT total(peers) FROM ranges"), number("SELECT count(*) FROM peers"));
}

static void id_of(unsigned peer, uint8_t ret[static HASH_SIZE])
{
    memset(ret, 0, HASH_SIZE);
    memcpy(ret, &peer, sizeof peer);
}

/* Peers `first` to `first + count - 1`, who hold content 0; the result of the last batch. */
static enum err put_many(unsigned first, unsigned count)
{
    static struct register_request requests[BATCH];
    static struct store_write writes[BATCH];
    struct store_write *batch[BATCH];
    enum err err = ERR_OK;
    for (unsigned done = 0; done < count; done += BATCH) {
        unsigned size = count - done < BATCH ? count - done : BATCH;
        for (unsigned i = 0; i < size; i++) {
            requests[i] = registration_of(1, 0, 1);
            id_of(first + done + i, requests[i].id);
            writes[i] = (struct store_write){.op = STORE_REGISTER, .registration = &requests[i]};
            batch[i] = &writes[i];
        }
        err = store_apply(store, batch, size, NULL);
        for (unsigned i = 0; i < size; i++)
            register_request_free(&requests[i]);
    }
    return err;
}

static void remove_many(unsigned first, unsigned count)
{
    for (unsigned peer = first; peer < first + count; peer++) {
        struct store_write write = {.op = STORE_UNREGISTER};
        id_of(peer, write.id);
        assert_int_equal(apply(write).err, ERR_OK);
    }
    sweep_all(NULL);
}

/* Where the next new peer goes. */
static void go_to(int64_t key)
{
    store_sqlite_of(store)->new_keys = (struct new_keys){key, (key / RANGE_PEERS + 1) * RANGE_PEERS};
}

static uint64_t holders_total(void)
{
    struct content content = content_of(0);
    struct content_holders holders;
    enum err err = store_holders(store, content.root, NULL, 10, &holders);
    uint64_t total = err == ERR_OK ? holders.holders_total : 0;
    assert_int_equal(total, holders.holder_count);
    content_holders_free(&holders);
    return total;
}

static void holders_are_found_in_all_ranges(void **state)
{
    (void)state;
    static const int64_t keys[] = {1, RANGE_PEERS - 1, RANGE_PEERS, 5 * RANGE_PEERS + 7};
    for (unsigned i = 0; i < 4; i++) {
        go_to(keys[i]);
        put_many(i + 1, 1);
        assert_int_equal(holders_total(), i + 1);
    }
    assert_int_equal(number("SELECT count(*) FROM ranges"), 3);
    assert_counted();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(found(NULL), 1);
        remove_many(i + 1, 1);
        assert_int_equal(holders_total(), 3 - i);
        assert_counted();
    }
    assert_int_equal(found(NULL), 0);
    assert_int_equal(number("SELECT count(*) FROM ranges"), 0);
}

static void a_key_that_is_taken_is_passed_over(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        go_to(1);
        put_many(i, 1);
    }
    assert_int_equal(number("SELECT max(key) FROM peers"), 3);
    assert_int_equal(holders_total(), 3);
    assert_counted();
}

static void a_range_is_begun_where_none_is_sparse(void **state)
{
    (void)state;
    put_many(1, RANGE_PEERS + 99);
    assert_int_equal(number("SELECT count(*) FROM ranges"), 2);
    assert_int_equal(number("SELECT max(key) FROM peers"), RANGE_PEERS + 99);
    remove_many(1, RANGE_PEERS / 2 - 2);
    store_close(store);
    open_store_at("test.db", EXPIRE_MS);
    put_many(10000, 1);
    assert_int_equal(number("SELECT max(key) FROM peers"), RANGE_PEERS + 100); /* the second one is sparse */
    remove_many(RANGE_PEERS / 2, 1);
    store_sqlite_of(store)->new_keys = (struct new_keys){0};
    put_many(10001, 1);
    assert_int_equal(number("SELECT min(key) FROM peers"), 1); /* now the first one is, too */
    assert_int_equal(number("SELECT count(*) FROM ranges"), 2);
    assert_counted();
}

static void a_wrong_count_is_no_endless_search(void **state)
{
    (void)state;
    put_many(1, RANGE_PEERS - 1);
    assert_int_equal(sqlite3_exec(store_sqlite_of(store)->writer.db, "UPDATE ranges SET peers = 1", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(put_many(10000, 1), ERR_CORRUPT);
    assert_int_equal(beat(1).err, ERR_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter_store, leave_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(holders_are_found_in_all_ranges),
        TEST(a_key_that_is_taken_is_passed_over),
        TEST(a_range_is_begun_where_none_is_sparse),
        TEST(a_wrong_count_is_no_endless_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
