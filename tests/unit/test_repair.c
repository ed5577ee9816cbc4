/* A repaired file takes the place of the damaged one, and of nothing else. */
#include "part_fixture.h"

#include "../../peer/swarm/repair.h"

#include <dirent.h>

static struct stamp damaged;
static int folder_fd = -1;
static atomic_bool stop;

static int set_up(void **state)
{
    if (part_set_up(state))
        return -1;
    folder_fd = open(part_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)close(folder_fd);
    return part_tear_down(state);
}

static const char *target(void)
{
    static char path[128];

    (void)snprintf(path, sizeof path, "%s/name", part_folder);
    return path;
}

static void write_target(const uint8_t *bytes, mode_t mode, int64_t mtime_s)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime_s, .tv_nsec = 5}};
    int fd = open(target(), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, PART_SIZE), PART_SIZE);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(futimens(fd, times), 0);
    (void)close(fd);
}

/* With wrong bytes in the chunks 2 and 9. */
static void make_damaged(void)
{
    uint8_t *bytes = malloc(PART_SIZE);

    assert_non_null(bytes);
    memcpy(bytes, part_bytes, PART_SIZE);
    bytes[2 * PART_CHUNK] ^= 1;
    bytes[PART_SIZE - 1] ^= 1;
    write_target(bytes, 0640, 1000000000);
    free(bytes);
    assert_int_equal(stamp_read_path(target(), &damaged), ERR_OK);
}

static bool target_is(const uint8_t *bytes)
{
    uint8_t *found = malloc(PART_SIZE + 1);
    int fd = open(target(), O_RDONLY);
    bool same;

    assert_non_null(found);
    assert_true(fd >= 0);
    same = read(fd, found, PART_SIZE + 1) == PART_SIZE && memcmp(found, bytes, PART_SIZE) == 0;
    (void)close(fd);
    free(found);
    return same;
}

/* Besides ".", ".." and ".enxame". */
static size_t count_files(void)
{
    DIR *folder = opendir(part_folder);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count - 3;
}

static struct part_file *make_repaired(void)
{
    struct part_file *part = part_open_with_layer();

    repair_copy(part, folder_fd, "name", &stop);
    for (uint64_t i = 0; i < PART_CHUNKS; i++)
        assert_int_equal(part_file_has(part, i), i != 2 && i != 9);
    assert_int_equal(part_write(part, 2), ERR_OK);
    assert_int_equal(part_write(part, 9), ERR_OK);
    return part;
}

static enum err finish(struct part_file *part)
{
    struct repair repair = {.state = part_state, .number = part_number, .name = "name", .damaged = &damaged};
    struct why why = {""};
    enum err err = repair_finish(part, folder_fd, &repair, &why);

    assert_int_equal(err != ERR_OK, why.text[0] != '\0');
    part_file_release(part);
    return err;
}

static void it_takes_the_place_with_mode_and_mtime(void **state)
{
    struct stamp now;
    struct stat status;

    (void)state;
    make_damaged();
    assert_true(repair_is_due(folder_fd, "name", &damaged));
    assert_int_equal(finish(make_repaired()), ERR_OK);
    assert_true(target_is(part_bytes));
    assert_int_equal(stat(target(), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    assert_int_equal(stamp_read_path(target(), &now), ERR_OK);
    assert_int_equal(now.mtime_ns, damaged.mtime_ns);
    assert_false(repair_is_due(folder_fd, "name", &damaged));
    assert_int_equal(count_files(), 1);
}

static void a_changed_mode_is_kept_as_well(void **state)
{
    struct part_file *part;
    struct stat status;

    (void)state;
    make_damaged();
    part = make_repaired();
    assert_int_equal(chmod(target(), 0604), 0);
    assert_int_equal(finish(part), ERR_OK);
    assert_int_equal(stat(target(), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0604);
}

static void another_version_stays(void **state)
{
    uint8_t *bytes = calloc(1, PART_SIZE);
    struct part_file *part;

    (void)state;
    assert_non_null(bytes);
    make_damaged();
    part = make_repaired();
    write_target(bytes, 0600, 1000000001);
    assert_int_equal(finish(part), ERR_CHANGED);
    assert_true(target_is(bytes));
    assert_int_equal(count_files(), 1);
    free(bytes);
}

static void another_file_stays(void **state)
{
    uint8_t *bytes = calloc(1, PART_SIZE);
    struct part_file *part;
    char other[140];

    (void)state;
    assert_non_null(bytes);
    make_damaged();
    part = make_repaired();
    (void)snprintf(other, sizeof other, "%s.old", target());
    assert_int_equal(rename(target(), other), 0);
    write_target(bytes, 0600, 1000000000); /* only its inode differs */
    assert_int_equal(finish(part), ERR_CHANGED);
    assert_true(target_is(bytes));
    assert_int_equal(count_files(), 2);
    free(bytes);
}

static void a_file_that_was_removed_does_not_come_back(void **state)
{
    struct part_file *part;

    (void)state;
    make_damaged();
    part = make_repaired();
    assert_int_equal(unlink(target()), 0);
    assert_int_equal(finish(part), ERR_CHANGED);
    assert_int_equal(count_files(), 0);
}

static void what_is_open_for_writing_stays(void **state)
{
    struct part_file *part;
    int fd;

    (void)state;
    make_damaged();
    part = make_repaired();
    fd = open(target(), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(finish(part), ERR_CHANGED);
    (void)close(fd);
    assert_false(target_is(part_bytes));
    assert_true(repair_is_due(folder_fd, "name", &damaged));
    assert_int_equal(count_files(), 1);
}

static void the_remains_of_a_kill_do_no_harm(void **state)
{
    char id[HASH_HEX + 1], path[300];
    struct part_file *part;
    int fd;

    (void)state;
    make_damaged();
    part = make_repaired();
    hex_encode(state_identity(part_state)->id, HASH_SIZE, id);
    (void)snprintf(path, sizeof path, "%s/.%s-%llu.enxame-repair", part_folder, id, (unsigned long long)part_number);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(finish(part), ERR_OK);
    assert_true(target_is(part_bytes));
    assert_int_equal(count_files(), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_takes_the_place_with_mode_and_mtime),
        TEST(a_changed_mode_is_kept_as_well),
        TEST(another_version_stays),
        TEST(another_file_stays),
        TEST(a_file_that_was_removed_does_not_come_back),
        TEST(what_is_open_for_writing_stays),
        TEST(the_remains_of_a_kill_do_no_harm),
    };
    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
