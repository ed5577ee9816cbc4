#include "no_room.h"
#include "patience.h"
#include "store_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

/* One batch of FILES_EACH files that change hands touches some hundred pages: more batches than two logs have room for. */
#define ROUNDS_MAX 1500u
#define PEERS 100u
#define FILES_EACH 200u
#define LOG_SIZE_MAX ((off_t)256 << 20)
#define SALT_PLACE 16
#define BATCHES_FULL 60u
#define TICK_US 5000 /* a file's time is no finer */

/* Another one each time the log begins anew. */
static uint64_t salt_of_log(void)
{
    uint64_t salt = 0;
    int fd = open("test.db-wal", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &salt, sizeof salt, SALT_PLACE), sizeof salt);
    close(fd);
    return salt;
}

static off_t size_of_log(void)
{
    struct stat status;
    assert_int_equal(stat("test.db-wal", &status), 0);
    return status.st_size;
}

/* All other peers hold the one half of the files or the other. */
static void change_hands(unsigned batch)
{
    uint8_t peer = (uint8_t)(2 + batch % PEERS);
    assert_int_equal(put(peer, batch / PEERS % 2 * FILES_EACH, FILES_EACH).err, ERR_OK);
}

/* Whether the log began anew, that often, while batches were written. */
static bool begins_anew(unsigned times)
{
    uint64_t salt = salt_of_log();
    for (unsigned batch = 0; batch < ROUNDS_MAX && times > 0; batch++) {
        change_hands(batch);
        uint64_t now = salt_of_log();
        times -= now != salt;
        salt = now;
    }
    return times == 0;
}

static void the_log_begins_anew_while_batches_are_written(void **state)
{
    (void)state;
    assert_int_equal(put(1, 0, 2 * FILES_EACH).err, ERR_OK);
    assert_true(begins_anew(2));
    assert_in_range(size_of_log(), 1, LOG_SIZE_MAX);
}

static void a_long_read_keeps_the_log_only_while_it_lasts(void **state)
{
    (void)state;
    assert_int_equal(put(1, 0, 2 * FILES_EACH).err, ERR_OK);
    sqlite3 *reader = NULL;
    assert_int_equal(sqlite3_open_v2("test.db", &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM names", NULL, NULL, NULL), SQLITE_OK);
    uint64_t salt = salt_of_log();
    for (unsigned batch = 0; size_of_log() < (off_t)48 << 20; batch++) {
        assert_in_range(batch, 0, ROUNDS_MAX);
        change_hands(batch);
    }
    assert_int_equal(salt_of_log(), salt);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    assert_true(begins_anew(1));
}

static void a_log_that_finds_no_room_begins_anew_in_its_own(void **state)
{
    (void)state;
    assert_int_equal(put(1, 0, 2 * FILES_EACH).err, ERR_OK);
    unsigned batch = 0;
    while (size_of_log() < (off_t)8 << 20)
        change_hands(batch++);
    no_room_begin("test.db-wal");
    assert_int_equal(put(1, 0, FILES_EACH).err, ERR_NOSPACE);
    PATIENCE_UNTIL(put(1, 0, FILES_EACH).err == ERR_OK, usleep(1000));
    no_room_end();
}

/* When the database file was last written. */
static uint64_t written_ns(void)
{
    struct stat status;
    assert_int_equal(stat("test.db", &status), 0);
    return (uint64_t)status.st_mtim.tv_sec * 1000000000 + (uint64_t)status.st_mtim.tv_nsec;
}

static void a_full_disk_is_not_tried_anew_for_each_batch(void **state)
{
    (void)state;
    assert_int_equal(put(1, 0, 2 * FILES_EACH).err, ERR_OK);
    no_room_begin("test.db");
    uint64_t then = written_ns(), began_ms = timing_now_ms();
    PATIENCE_UNTIL(written_ns() != then, assert_int_equal(put(1, 0, FILES_EACH).err, ERR_NOSPACE));
    unsigned passes = 1;
    for (unsigned batch = 0; batch < BATCHES_FULL; batch++) {
        then = written_ns();
        assert_int_equal(put(1, 0, FILES_EACH).err, ERR_NOSPACE);
        usleep(TICK_US);
        passes += written_ns() != then;
    }
    assert_in_range(passes, 1, 2 + (timing_now_ms() - began_ms) / 1000);
    no_room_end();
    PATIENCE_UNTIL(put(1, 0, FILES_EACH).err == ERR_OK, usleep(1000));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter_store, leave_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_log_begins_anew_while_batches_are_written),
        TEST(a_long_read_keeps_the_log_only_while_it_lasts),
        TEST(a_log_that_finds_no_room_begins_anew_in_its_own),
        TEST(a_full_disk_is_not_tried_anew_for_each_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
