#include "folder.h"

#include "../../peer/library/hasher.h"
#include "limits.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static void root_of(const char *name, uint8_t ret_root[static HASH_SIZE])
{
    uint8_t buffer[4096];
    struct merkle_stream *stream = merkle_stream_new();
    FILE *file = fopen(in_folder(name), "rb");
    assert_non_null(stream);
    assert_non_null(file);
    merkle_stream_reset(stream);
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, file)) > 0;)
        merkle_stream_update(stream, buffer, got);
    merkle_stream_finish(stream, 0, ret_root);
    merkle_stream_free(stream);
    fclose(file);
}

static const size_t sizes[] = {0,
                               1,
                               BLOCK_SIZE - 1,
                               BLOCK_SIZE,
                               BLOCK_SIZE + 1,
                               3 * BLOCK_SIZE,
                               1000000,
                               CHUNK_SIZE_MAX,
                               CHUNK_SIZE_MAX + 1,
                               3 * CHUNK_SIZE_MAX + 77777};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void all_sizes_have_the_root_of_one_stream(void **unused)
{
    (void)unused;
    char paths[SIZES][256], name[16];
    struct hash_job jobs[SIZES] = {0};
    uint64_t total = 0;
    for (size_t i = 0; i < SIZES; i++) {
        snprintf(name, sizeof name, "%zu", i);
        make_pattern(name, sizes[i], (unsigned)i);
        snprintf(paths[i], sizeof paths[i], "%s", in_folder(name));
        total += sizes[i];
    }
    for (unsigned threads = 0; threads < 5; threads++) {
        atomic_uint_least64_t done = 0;
        for (size_t i = 0; i < SIZES; i++)
            jobs[i].path = paths[i];
        hasher_run(jobs, SIZES, threads, &done, NULL);
        assert_int_equal(atomic_load(&done), total);
        for (size_t i = 0; i < SIZES; i++) {
            uint8_t root[HASH_SIZE];
            snprintf(name, sizeof name, "%zu", i);
            root_of(name, root);
            const struct hashed *hashed = &jobs[i].hashed;
            assert_int_equal(jobs[i].err, ERR_OK);
            assert_memory_equal(hashed->content.root, root, HASH_SIZE);
            assert_int_equal(hashed->content.size, sizes[i]);
            assert_int_equal(jobs[i].stamp.size, sizes[i]);
            assert_int_equal(hashed->chunk_size, BLOCK_SIZE);
            if (sizes[i] <= BLOCK_SIZE)
                assert_null(hashed->layer);
            else
                assert_true(merkle_layer_fits(&hashed->content, BLOCK_SIZE, hashed->layer, hashed->count));
            hashed_free(&jobs[i].hashed);
        }
    }
}

static void bad_files_do_not_keep_the_good_from_being_hashed(void **unused)
{
    (void)unused;
    make_text("good", "good");
    make_folder("folder");
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    assert_int_equal(symlink("good", in_folder("link")), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", in_folder("socket"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct hash_job jobs[] = {
        {.path = in_folder("missing")}, {.path = in_folder("folder")}, {.path = in_folder("fifo")},
        {.path = in_folder("link")},    {.path = in_folder("socket")}, {.path = in_folder("good")},
    };
    hasher_run(jobs, 6, 2, NULL, NULL);
    assert_int_equal(jobs[0].err, ERR_NOT_FOUND);
    assert_int_equal(jobs[1].err, ERR_INVALID);
    assert_int_equal(jobs[2].err, ERR_INVALID);
    assert_int_equal(jobs[3].err, ERR_INVALID);
    assert_int_equal(jobs[4].err, ERR_INVALID);
    assert_int_equal(jobs[5].err, ERR_OK);
    close(fd);
}

static void a_stop_cancels_what_is_not_done(void **unused)
{
    (void)unused;
    make_text("a", "a");
    struct hash_job jobs[] = {{.path = in_folder("a")}, {.path = in_folder("a")}};
    atomic_bool stop = true;
    hasher_run(jobs, 2, 2, NULL, &stop);
    assert_int_equal(jobs[0].err, ERR_CANCELLED);
    assert_int_equal(jobs[1].err, ERR_CANCELLED);
}

#define MOVING_SIZE (40 * (off_t)MIB)

/* What changes a file while it is hashed: a timer that counts the processor's time, so that a busy machine is no matter. */
static struct {
    int fd;
    bool shrink;
    atomic_uint changes;
} changing;

static void change(int unused)
{
    int number = errno;
    unsigned i = atomic_fetch_add(&changing.changes, 1) + 1;
    struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
    (void)unused;
    if (changing.shrink)
        (void)!ftruncate(changing.fd, MOVING_SIZE - (off_t)i * 1000);
    futimens(changing.fd, times);
    errno = number;
}

static void change_every(suseconds_t us)
{
    struct itimerval interval = {.it_interval = {.tv_usec = us}, .it_value = {.tv_usec = us}};
    assert_int_equal(setitimer(ITIMER_PROF, &interval, NULL), 0);
}

static void a_file_that_keeps_changing_has_no_hash(void **unused)
{
    (void)unused;
    char moving[256];
    struct sigaction action = {.sa_handler = change, .sa_flags = SA_RESTART};
    make_text("still", "still");
    snprintf(moving, sizeof moving, "%s", in_folder("moving"));
    assert_int_equal(sigaction(SIGPROF, &action, NULL), 0);
    for (int shrink = 0; shrink < 2; shrink++) {
        struct hash_job jobs[] = {{.path = moving}, {.path = in_folder("still")}};
        changing.shrink = shrink;
        changing.fd = open(moving, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(ftruncate(changing.fd, MOVING_SIZE), 0);
        change_every(1000);
        /* The clock's ticks are coarse: some runs may not see one. */
        for (unsigned i = 0; jobs[0].err != ERR_CHANGED && i < 100; i++) {
            hasher_run(jobs, 2, 3, NULL, NULL);
            hashed_free(&jobs[0].hashed);
            assert_int_equal(jobs[1].err, ERR_OK);
        }
        change_every(0);
        close(changing.fd);
        assert_int_equal(jobs[0].err, ERR_CHANGED);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_sizes_have_the_root_of_one_stream),
        TEST(bad_files_do_not_keep_the_good_from_being_hashed),
        TEST(a_stop_cancels_what_is_not_done),
        TEST(a_file_that_keeps_changing_has_no_hash),
    };
    return cmocka_run_group_tests_name("hasher", tests, NULL, NULL);
}
