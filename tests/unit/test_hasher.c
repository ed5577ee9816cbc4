#include "folder.h"

#include "../../peer/library/hasher.h"
#include "limits.h"
#include "timing.h"

#include <pthread.h>
#include <sys/socket.h>
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

struct writer {
    atomic_bool stop;
    bool shrink;
};

/* Changes the file all the time; with `shrink` also its size. */
static void *keep_writing(void *argument)
{
    struct writer *writer = argument;
    int fd = open(in_folder("moving"), O_WRONLY | O_CLOEXEC);
    for (unsigned i = 0; !atomic_load(&writer->stop); i++) {
        struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
        if (writer->shrink && ftruncate(fd, i % 2 == 0 ? 1000 : 40 * (int)MIB))
            break;
        futimens(fd, times);
    }
    close(fd);
    return NULL;
}

static void a_file_that_keeps_changing_has_no_hash(void **unused)
{
    (void)unused;
    make_text("still", "still");
    for (int shrink = 0; shrink < 2; shrink++) {
        struct writer writer = {.shrink = shrink};
        make_pattern("moving", (size_t)40 * MIB, 1);
        pthread_t thread;
        char moving[256];
        snprintf(moving, sizeof moving, "%s", in_folder("moving"));
        struct hash_job jobs[] = {{.path = moving}, {.path = in_folder("still")}};
        assert_int_equal(pthread_create(&thread, NULL, keep_writing, &writer), 0);
        /* The writer may start late, or rest: some runs may not see it. */
        uint64_t end_ms = timing_now_ms() + 30000;
        while (jobs[0].err != ERR_CHANGED && timing_now_ms() < end_ms) {
            hasher_run(jobs, 2, 3, NULL, NULL);
            hashed_free(&jobs[0].hashed);
            assert_int_equal(jobs[1].err, ERR_OK);
        }
        assert_int_equal(jobs[0].err, ERR_CHANGED);
        atomic_store(&writer.stop, true);
        pthread_join(thread, NULL);
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
