/* A part file's life: restarts, kills, a full disk, the end. */
#include "part_fixture.h"

#include "patience.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* ---- across restarts ---- */

static void spoil(uint64_t index)
{
    char path[200];
    int fd = open(part_path(path, sizeof path), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "spoilt", 6, (off_t)(index * PART_CHUNK + 100)), 6);
    (void)close(fd);
}

static void recorded_chunks_are_trusted(void **state)
{
    struct part_file *part = part_open_with_layer();

    (void)state;
    assert_int_equal(part_write(part, 1), ERR_OK);
    assert_int_equal(part_write(part, 7), ERR_OK);
    assert_int_equal(part_file_flush(part), ERR_OK);
    part_file_release(part);
    part_reopen_state();
    spoil(7); /* not read again: that is what being trusted means */
    part = part_open();
    assert_int_equal(part_file_chunk_size(part), PART_CHUNK);
    assert_true(part_file_has(part, 1) && part_file_has(part, 7));
    assert_int_equal(part_file_done_bytes(part), 2 * PART_CHUNK);
    part_file_release(part);
}

static size_t recorded(void)
{
    struct download_row row = part_row();
    size_t set = row.verified.set;

    download_row_free(&row);
    return set;
}

/* However little there is to record: what it costs to record does not grow with how finely the chunks come. */
static void records_are_a_second_apart(void **state)
{
    uint64_t start_ms = timing_now_ms();
    struct part_file *part = part_open_with_layer();

    (void)state;
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(part_write(part, i), ERR_OK);
        EVENTUALLY(recorded() > i);
        assert_int_equal(recorded(), i + 1);
        assert_true(timing_now_ms() - start_ms >= (i + 1) * 1000);
    }
    part_file_release(part);
}

/* Within a second or so, without anybody's asking. */
static void chunks_are_recorded_by_themselves(void **state)
{
    struct part_file *part = part_open_with_layer();

    (void)state;
    assert_int_equal(part_write(part, 1), ERR_OK);
    (void)usleep(20000);
    assert_int_equal(part_write(part, 2), ERR_OK);
    EVENTUALLY(recorded() >= 2);
    assert_int_equal(recorded(), 2);
    part_file_release(part);
}

/* Writes chunks as another process that is killed before it can record or close anything. */
static void die_after_writing(const uint64_t *chunks, size_t count)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        char path[200];
        int fd = open(part_path(path, sizeof path), O_WRONLY);
        bool ok = fd >= 0;

        for (size_t i = 0; ok && i < count; i++) {
            size_t length = part_length(chunks[i]);

            ok = pwrite(fd, part_bytes + chunks[i] * PART_CHUNK, length, (off_t)(chunks[i] * PART_CHUNK)) ==
                 (ssize_t)length;
        }
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void unrecorded_chunks_are_hashed_and_kept(void **state)
{
    static const uint64_t chunks[] = {0, 4, 5, 6, PART_CHUNKS - 1};
    struct part_file *part = part_open_with_layer();

    (void)state;
    assert_int_equal(part_write(part, 2), ERR_OK);
    assert_int_equal(part_file_flush(part), ERR_OK);
    part_file_release(part);
    die_after_writing(chunks, 5);
    spoil(5);
    part_reopen_state();
    part = part_open();
    for (uint64_t i = 0; i < PART_CHUNKS; i++)
        assert_int_equal(part_file_has(part, i), i == 0 || i == 2 || i == 4 || i == 6 || i == PART_CHUNKS - 1);
    assert_int_equal(part_file_done_bytes(part), 4 * PART_CHUNK + 20000);
    assert_int_equal(part_file_flush(part), ERR_OK); /* and it is on record now */
    part_file_release(part);
    assert_int_equal(recorded(), 5);
}

/* Killed for good, in the midst of it: the record must not lead the bytes. */
static void a_killed_peer_goes_on_where_it_was(void **state)
{
    pid_t child;
    int status;
    struct part_file *part = part_open_with_layer();

    (void)state;
    part_file_release(part);
    state_close(part_state);
    part_state = NULL;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct why why;
        struct download_row row = {.content = part_content, .name = strdup("name")};

        if (state_open(part_folder, false, &part_state, &why) != ERR_OK ||
            asprintf(&row.target, "%s/name", part_folder) < 0 || state_add_download(part_state, &row) != ERR_OK ||
            part_file_open(part_state, &row, NULL, &part, &why) != ERR_OK)
            _exit(1);
        for (uint64_t i = 0; i < 5; i++)
            if (part_write(part, i) != ERR_OK || (i == 2 && part_file_flush(part) != ERR_OK))
                _exit(2);
        (void)kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    part_open_state();
    part = part_open();
    for (uint64_t i = 0; i < PART_CHUNKS; i++)
        assert_int_equal(part_file_has(part, i), i < 5);
    part_file_release(part);
}

static void a_truncated_file_is_not_trusted(void **state)
{
    struct part_file *part = part_open_with_layer();
    char path[200];

    (void)state;
    for (uint64_t i = 0; i < PART_CHUNKS; i++)
        assert_int_equal(part_write(part, i), ERR_OK);
    assert_int_equal(part_file_flush(part), ERR_OK);
    part_file_release(part);
    part_reopen_state();
    assert_int_equal(truncate(part_path(path, sizeof path), 5 * PART_CHUNK + 10), 0);
    spoil(3);
    part = part_open(); /* all is hashed again: what is left and fits is kept */
    for (uint64_t i = 0; i < PART_CHUNKS; i++)
        assert_int_equal(part_file_has(part, i), i < 5 && i != 3);
    part_file_release(part);
}

static void a_part_that_vanished_begins_anew(void **state)
{
    struct part_file *part = part_open_with_layer();
    char path[200];

    (void)state;
    assert_int_equal(part_write(part, 1), ERR_OK);
    assert_int_equal(part_file_flush(part), ERR_OK);
    part_file_release(part);
    assert_int_equal(unlink(part_path(path, sizeof path)), 0);
    part = part_open();
    assert_int_equal(part_file_done_bytes(part), 0);
    part_file_release(part);
}

/* What was recorded counts; the hashing of the rest is left. */
static void a_stopped_recovery_hashes_nothing(void **state)
{
    static const uint64_t chunks[] = {0};
    const atomic_bool stop = true;
    struct part_file *part = part_open_with_layer();
    struct download_row row;

    (void)state;
    assert_int_equal(part_write(part, 1), ERR_OK);
    assert_int_equal(part_file_flush(part), ERR_OK);
    part_file_release(part);
    die_after_writing(chunks, 1);
    row = part_row();
    part = NULL;
    if (part_file_open(part_state, &row, &stop, &part, NULL) == ERR_OK)
        assert_false(part_file_has(part, 0));
    part_file_release(part);
    download_row_free(&row);
    part = part_open();
    assert_true(part_file_has(part, 0) && part_file_has(part, 1));
    part_file_release(part);
}

/* ---- the end ---- */

static struct part_file *whole_part(void)
{
    struct part_file *part = part_open();

    if (part_file_chunk_size(part) == 0) { /* else an earlier one left its layer in the state */
        part_file_release(part);
        part = part_open_with_layer();
    }
    for (uint64_t i = 0; i < PART_CHUNKS; i++) {
        assert_false(part_file_complete(part));
        assert_int_equal(part_write(part, i), ERR_OK);
    }
    assert_true(part_file_complete(part));
    return part;
}

static void check_file(const char *path)
{
    static uint8_t bytes[PART_SIZE + 1];
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, sizeof bytes), PART_SIZE);
    assert_memory_equal(bytes, part_bytes, PART_SIZE);
    (void)close(fd);
}

/* Finishes into `folder`; the number of entries that it has afterwards is told, too. */
static enum err finish_into(const char *folder, const char *name)
{
    struct part_file *part = whole_part();
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    struct why why = {.text = ""};
    enum err err;

    assert_true(fd >= 0);
    err = part_file_finish(part, fd, name, &why);
    assert_int_equal(err != ERR_OK, why.text[0] != '\0');
    (void)close(fd);
    part_file_release(part);
    return err;
}

static void a_whole_part_becomes_the_file(void **state)
{
    char path[200], file[200];

    (void)state;
    assert_int_equal(finish_into(part_folder, "done.bin"), ERR_OK);
    (void)snprintf(file, sizeof file, "%s/done.bin", part_folder);
    check_file(file);
    assert_int_equal(access(part_path(path, sizeof path), F_OK), -1);
}

/* A file that is on its way to its name needs no record of its chunks any more, which would only take time. */
static void finishing_waits_for_no_record(void **state)
{
    int fd = open(part_folder, O_RDONLY | O_DIRECTORY);
    bool quick = false;

    (void)state;
    for (int tries = 0; !quick && tries < 100; tries++) {
        uint64_t start_ms = timing_now_ms();
        struct part_file *part = whole_part();
        char name[20];

        (void)snprintf(name, sizeof name, "file-%d", tries);
        assert_int_equal(part_file_finish(part, fd, name, NULL), ERR_OK);
        quick = timing_now_ms() - start_ms < 1000; /* else it may have been recorded before */
        assert_true(!quick || recorded() == 0);
        part_file_release(part);
    }
    assert_true(quick);
    (void)close(fd);
}

/* It is kept, and so is the record of it. */
static void what_cannot_be_finished_is_recorded(void **state)
{
    struct part_file *part = whole_part();
    int fd = open(part_folder, O_RDONLY | O_DIRECTORY);
    char file[200];

    (void)state;
    (void)snprintf(file, sizeof file, "%s/done.bin", part_folder);
    (void)close(open(file, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(part_file_finish(part, fd, "done.bin", NULL), ERR_EXISTS);
    EVENTUALLY(recorded() >= PART_CHUNKS);
    assert_int_equal(recorded(), PART_CHUNKS);
    assert_int_equal(part_file_flush(part), ERR_OK);
    assert_int_equal(part_file_finish(part, fd, "other.bin", NULL), ERR_OK); /* and it may be tried again */
    (void)close(fd);
    part_file_release(part);
}

static void an_existing_file_is_not_replaced(void **state)
{
    char path[200], file[200], text[20] = "";
    FILE *mine;

    (void)state;
    (void)snprintf(file, sizeof file, "%s/done.bin", part_folder);
    mine = fopen(file, "w+");
    assert_non_null(mine);
    assert_true(fputs("mine", mine) >= 0 && fflush(mine) == 0);
    assert_int_equal(finish_into(part_folder, "done.bin"), ERR_EXISTS);
    rewind(mine);
    assert_non_null(fgets(text, sizeof text, mine));
    assert_string_equal(text, "mine");
    (void)fclose(mine);
    check_file(part_path(path, sizeof path)); /* and nothing is lost */
}

static void another_file_system_gets_a_copy(void **state)
{
    char folder[] = "/dev/shm/enxame-part-XXXXXX", path[200], file[200];
    struct stat here, there;

    (void)state;
    if (mkdtemp(folder) == NULL || stat(part_folder, &here) != 0 || stat(folder, &there) != 0 ||
        here.st_dev == there.st_dev) {
        (void)rmdir(folder);
        print_message("/dev/shm is no other file system: skipped\n");
        skip();
    }
    (void)snprintf(file, sizeof file, "%s/done.bin", folder);
    assert_int_equal(finish_into(folder, "done.bin"), ERR_OK);
    check_file(file);
    assert_int_equal(access(part_path(path, sizeof path), F_OK), -1);
    assert_int_equal(finish_into(folder, "done.bin"), ERR_EXISTS);
    check_file(part_path(path, sizeof path));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(folder), 0); /* it would fail with anything left in it */
}

/* As after the state was moved away, or lost its last row in a power cut: the number begins anew, the file is there. */
static void a_longer_stray_leaves_nothing_behind(void **state)
{
    struct download_row row = part_row();
    char path[200], file[200];
    struct stat status;
    int fd = open(part_path(path, sizeof path), O_WRONLY | O_CREAT, 0600);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "another content", 15, PART_SIZE + 1000), 15);
    (void)close(fd);
    download_row_free(&row);
    assert_int_equal(finish_into(part_folder, "done.bin"), ERR_OK);
    (void)snprintf(file, sizeof file, "%s/done.bin", part_folder);
    check_file(file);
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_size, PART_SIZE);
}

/* Two peers, each with a download of this number, copy to the same folder on another file system. */
static void a_copy_leaves_that_of_another_peer_alone(void **state)
{
    char folder[] = "/dev/shm/enxame-part-XXXXXX", theirs[200], file[200];
    struct download_row row;
    struct stat here, there;
    int fd;

    (void)state;
    if (mkdtemp(folder) == NULL || stat(part_folder, &here) != 0 || stat(folder, &there) != 0 ||
        here.st_dev == there.st_dev) {
        (void)rmdir(folder);
        print_message("/dev/shm is no other file system: skipped\n");
        skip();
    }
    row = part_row();
    download_row_free(&row);
    (void)snprintf(theirs, sizeof theirs, "%s/.%llu.enxame-part", folder, (unsigned long long)part_number);
    fd = open(theirs, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(pwrite(fd, "theirs", 6, 0), 6);
    (void)close(fd);
    assert_int_equal(finish_into(folder, "done.bin"), ERR_OK);
    (void)snprintf(file, sizeof file, "%s/done.bin", folder);
    check_file(file);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(stat(theirs, &there), 0);
    assert_int_equal(there.st_size, 6);
    assert_int_equal(unlink(theirs), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void its_hashes_are_given_on(void **state)
{
    struct part_file *part = whole_part();
    struct hashed hashed;

    (void)state;
    assert_int_equal(part_file_hashed(part, &hashed), ERR_OK);
    assert_true(content_equal(&hashed.content, &part_content));
    assert_int_equal(hashed.chunk_size, PART_CHUNK);
    assert_int_equal(hashed.count, PART_CHUNKS);
    assert_memory_equal(hashed.layer, part_layer, sizeof part_layer);
    hashed_free(&hashed);
    part_file_release(part);
}

static void an_empty_content_is_complete_at_once(void **state)
{
    struct download_row row = {.number = 77};
    struct part_file *part = NULL;
    int fd = open(part_folder, O_RDONLY | O_DIRECTORY);
    char file[200];
    struct stat status;

    (void)state;
    merkle_sha256("", 0, row.content.root);
    assert_int_equal(part_file_open(part_state, &row, NULL, &part, NULL), ERR_OK);
    assert_int_equal(part_file_set_layer(part, PART_CHUNK, NULL, 0), ERR_OK);
    assert_true(part_file_complete(part));
    assert_true(part_file_has_range(part, 0, 0));
    assert_int_equal(part_file_finish(part, fd, "empty", NULL), ERR_OK);
    (void)snprintf(file, sizeof file, "%s/empty", part_folder);
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_size, 0);
    (void)close(fd);
    part_file_release(part);
}

/* ---- a full disk ---- */

/* Runs in a process of its own, which sees a file system of 256 KiB in place of the folder of parts. */
static int fill_the_disk(void)
{
    struct download_row row = {.number = 5, .content = {.size = 10 * MIB}};
    struct part_file *part = NULL;
    struct why why = {.text = ""};
    char path[200];
    struct stat status;

    (void)snprintf(path, sizeof path, "%s/.enxame/parts", part_folder);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", path, "tmpfs", 0, "size=256k") != 0)
        return 77;
    if (part_file_open(part_state, &row, NULL, &part, &why) != ERR_NOSPACE)
        return 1;
    if (strstr(why.text, "disk is full") == NULL)
        return 2;
    (void)snprintf(path, sizeof path, "%s/.enxame/parts/5", part_folder);
    if (stat(path, &status) != 0 || status.st_blocks != 0)
        return 3;                 /* keeps what it could not use */
    row.content.size = 200 * KIB; /* a smaller one fits */
    if (part_file_open(part_state, &row, NULL, &part, &why) != ERR_OK)
        return 4;
    if (stat(path, &status) != 0 || status.st_size != 200 * KIB || status.st_blocks != 0)
        return 5; /* memory is taken as bytes come: all at once would be half of the work of writing them */
    if (pwrite(part_file_fd(part), part_bytes, 150 * KIB, 0) != 150 * KIB)
        return 6;
    part_file_release(part);
    if (part_file_open(part_state, &row, NULL, &part, &why) != ERR_OK)
        return 7; /* what it has already needs no room */
    part_file_release(part);
    row.content.size = 260 * KIB;
    return part_file_open(part_state, &row, NULL, &part, &why) == ERR_NOSPACE ? 0 : 8;
}

static void a_full_disk_shows_at_the_beginning(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    assert_true(child >= 0);
    if (child == 0)
        _exit(fill_the_disk());
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no file system can be mounted without being root: skipped\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static char *part_path_of(const char *name)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/.enxame/parts/%s", part_folder, name) > 0);
    return path;
}

static void make_empty(const char *name)
{
    char *path = part_path_of(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    (void)close(fd);
    free(path);
}

static bool part_exists(const char *name)
{
    char *path = part_path_of(name);
    bool exists = access(path, F_OK) == 0;

    free(path);
    return exists;
}

static void bytes_that_no_download_will_use_are_removed(void **state)
{
    struct part_file *part = part_open_with_layer();
    char own[24];

    (void)state;
    assert_int_equal(part_write(part, 1), ERR_OK);
    assert_int_equal(part_file_flush(part), ERR_OK);
    part_file_release(part);
    (void)snprintf(own, sizeof own, "%llu", (unsigned long long)part_number);
    make_empty("999");
    make_empty("notes.txt");
    part_file_clean(part_state);
    assert_true(part_exists(own));
    assert_false(part_exists("999"));
    assert_true(part_exists("notes.txt")); /* no name of ours */

    assert_int_equal(state_finish_download(part_state, part_number), ERR_OK);
    part_file_clean(part_state);
    assert_false(part_exists(own));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, part_set_up, part_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(recorded_chunks_are_trusted),
        TEST(bytes_that_no_download_will_use_are_removed),
        TEST(chunks_are_recorded_by_themselves),
        TEST(records_are_a_second_apart),
        TEST(unrecorded_chunks_are_hashed_and_kept),
        TEST(a_killed_peer_goes_on_where_it_was),
        TEST(a_truncated_file_is_not_trusted),
        TEST(a_part_that_vanished_begins_anew),
        TEST(a_stopped_recovery_hashes_nothing),
        TEST(a_whole_part_becomes_the_file),
        TEST(finishing_waits_for_no_record),
        TEST(what_cannot_be_finished_is_recorded),
        TEST(an_existing_file_is_not_replaced),
        TEST(another_file_system_gets_a_copy),
        TEST(a_longer_stray_leaves_nothing_behind),
        TEST(a_copy_leaves_that_of_another_peer_alone),
        TEST(its_hashes_are_given_on),
        TEST(an_empty_content_is_complete_at_once),
        TEST(a_full_disk_shows_at_the_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
