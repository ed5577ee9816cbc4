/* What becomes shared: files and folders, downloads, what was shared before. */
#include "library_fixture.h"

#include "limits.h"

/* ---- sharing ---- */

static void files_and_folders_are_shared_and_announced(void **unused)
{
    (void)unused;
    make_folder("shared");
    make_text("shared/a", "text a");
    make_text("shared/b", "text b");
    make_text("shared/same as a", "text a");
    make_text("empty", "");
    const char *const paths[] = {in_folder("shared"), in_folder("empty"), in_folder("shared/../empty"),
                                 in_folder("no")};
    struct share_result result;
    assert_int_equal(library_share(library, paths, 4, NULL, NULL, &result), ERR_OK);
    expect(result, 4, 1, 0);
    assert_true(was_logged("/no: no such file"));
    assert_true(atomic_load(&news_count) > 0);
    struct files_request request;
    assert_int_equal(state_untold(state, 100, &request), ERR_OK);
    assert_int_equal(request.add.count, 4);
    assert_int_equal(request.remove.count, 0);
    for (size_t i = 0; i < 4; i++)
        assert_true(request.add.items[i].complete);
    files_request_free(&request);
    assert_true(is_served("text a"));
    assert_true(is_served("text b"));
    assert_true(is_served(""));
    struct content content = content_of("text b");
    char *name;
    int fd;
    assert_int_equal(library_open(library, &content, &fd, &name), ERR_OK);
    assert_string_equal(name, "shared/b");
    free(name);
    close(fd);
    content.size++;
    assert_int_equal(library_open(library, &content, &fd, &name), ERR_NOT_FOUND);
}

static void an_unreadable_file_among_good_ones_is_named(void **unused)
{
    (void)unused;
    assert_int_equal(chmod(folder, 0755), 0);
    make_folder("shared");
    make_text("shared/good", "good");
    make_text("shared/secret", "hidden");
    make_folder("shared/closed");
    assert_int_equal(chmod(in_folder("shared/secret"), 0), 0);
    assert_int_equal(chmod(in_folder("shared/closed"), 0), 0);
    /* The superuser may read all. */
    bool super = geteuid() == 0;
    if (super)
        assert_int_equal(seteuid(65534), 0);
    struct share_result result = share("shared");
    if (super)
        assert_int_equal(seteuid(0), 0);
    expect(result, 1, 2, 0);
    assert_true(was_logged("shared/secret: permission denied"));
    assert_true(was_logged("shared/closed: permission denied"));
    assert_true(is_served("good"));
    assert_false(is_served("hidden"));
    assert_int_equal(chmod(in_folder("shared/closed"), 0700), 0);
}

static void unsharing_ends_all_rows_of_a_name_or_a_content(void **unused)
{
    (void)unused;
    make_folder("one");
    make_folder("two");
    make_text("one/x", "first");
    make_text("two/x", "second");
    make_text("y", "first");
    share("one/x");
    share("two/x");
    share("y");
    assert_int_equal(library_unshare(library, "x", NULL), ERR_OK);
    assert_int_equal(state_count_shares(state), 1);
    assert_false(is_served("second"));
    assert_true(is_served("first"));
    struct content content = content_of("first");
    assert_int_equal(library_unshare(library, NULL, &content), ERR_OK);
    assert_int_equal(library_unshare(library, NULL, &content), ERR_NOT_FOUND);
    assert_int_equal(library_unshare(library, "x", NULL), ERR_NOT_FOUND);
    assert_false(state_has_untold(state));
}

struct seen {
    pthread_t thread;
    unsigned calls;
    struct share_progress last;
};

static void see(void *context, const struct share_progress *progress)
{
    struct seen *seen = context;
    assert_true(pthread_equal(seen->thread, pthread_self()));
    assert_true(progress->bytes_done <= progress->bytes_found);
    assert_true(progress->files_done <= progress->files_found);
    seen->calls++;
    seen->last = *progress;
}

static void progress_ends_with_all(void **unused)
{
    (void)unused;
    make_folder("shared");
    make_pattern("shared/large", (size_t)20 * MIB, 1);
    make_text("shared/small", "small");
    const char *path = in_folder("shared");
    struct share_result result;
    for (int i = 0; i < 2; i++) {
        struct seen seen = {.thread = pthread_self()};
        assert_int_equal(library_share(library, &path, 1, see, &seen, &result), ERR_OK);
        expect(result, 2, 0, 0);
        assert_true(seen.calls > 0);
        assert_int_equal(seen.last.files_found, 2);
        assert_int_equal(seen.last.files_done, 2);
        assert_int_equal(seen.last.bytes_found, (uint64_t)20 * MIB + 5);
        assert_int_equal(seen.last.bytes_done, (uint64_t)20 * MIB + 5);
    }
}

/* More files than one batch, twice: the second time from what is kept. */
static void many_files_are_shared_in_batches(void **unused)
{
    (void)unused;
    char name[64], text[32];
    make_folder("shared");
    for (unsigned i = 0; i < 2500; i++) {
        snprintf(name, sizeof name, "shared/%u", i);
        snprintf(text, sizeof text, "text %u", i);
        make_text(name, text);
    }
    let_settle();
    expect(share("shared"), 2500, 0, 0);
    assert_int_equal(state_count_shares(state), 2500);
    assert_true(is_served("text 0"));
    assert_true(is_served("text 2499"));
    close_all();
    open_all();
    expect(share("shared"), 2500, 0, 0);
    assert_true(is_served("text 1234"));
}

/* Bytes that are changed behind the kernel's back would tell; instead the kept root is, and shows where it comes from. */
static void a_second_start_trusts_kept_hashes_only_of_settled_unchanged_files(void **unused)
{
    (void)unused;
    make_text("a", "the text");
    let_settle();
    expect(share("a"), 1, 0, 0);
    struct stamp stamp;
    struct hashed hashed;
    assert_int_equal(stamp_read_path(in_folder("a"), &stamp), ERR_OK);
    assert_int_equal(state_find_hash(state, in_folder("a"), &stamp, false, &hashed), ERR_OK);
    hashed.content = content_of("a marker");
    assert_int_equal(state_save_hash(state, in_folder("a"), &stamp, &hashed), ERR_OK);
    close_all();
    open_all();
    expect(share("a"), 1, 0, 0);
    struct content marker = content_of("a marker");
    struct share found;
    assert_int_equal(library_find(library, &marker, &found), ERR_OK);
    share_free(&found);
    close_all();
    open_all();
    make_text("a", "new text");
    expect(share("a"), 1, 0, 0);
    assert_int_equal(library_find(library, &marker, &found), ERR_NOT_FOUND);
    assert_true(is_served("new text"));
}

/* ---- downloads ---- */

static void a_part_becomes_a_finished_file(void **unused)
{
    (void)unused;
    struct content content = content_of("download");
    struct hashed hashed = {.content = content, .chunk_size = BLOCK_SIZE};
    struct share found;
    assert_int_equal(library_add_part(library, in_folder("dir/.enxame/parts/1"), "name", &content), ERR_OK);
    assert_int_equal(library_find(library, &content, &found), ERR_OK);
    assert_false(found.complete);
    share_free(&found);
    assert_false(is_served("download"));
    library_check(library);
    assert_int_equal(state_count_shares(state), 1);
    make_text("dir/name", "download");
    assert_int_equal(library_add_finished(library, in_folder("dir/name"), "name", &hashed), ERR_OK);
    library_drop(library, in_folder("dir/.enxame/parts/1"), "name");
    assert_true(is_served("download"));
    assert_int_equal(state_count_shares(state), 1);
    make_text("dir/name", "too short");
    assert_int_equal(library_add_finished(library, in_folder("dir/name"), "name", &hashed), ERR_CHANGED);
}

static void add_done(const char *name, const char *text)
{
    struct download_row row = {.content = content_of(text), .name = strdup(name)};
    char target[512];
    snprintf(target, sizeof target, "dir/%s", name);
    row.target = strdup(in_folder(target));
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    assert_int_equal(state_finish_download(state, row.number), ERR_OK);
    download_row_free(&row);
}

static size_t count_rows(bool done)
{
    struct download_row *rows;
    size_t count;
    assert_int_equal(state_list_downloads(state, done, 0, SIZE_MAX, &rows, &count), ERR_OK);
    for (size_t i = 0; i < count; i++)
        download_row_free(&rows[i]);
    free(rows);
    return count;
}

static void finished_downloads_are_shared_again_unless_they_changed(void **unused)
{
    (void)unused;
    make_text("dir/whole", "whole");
    make_text("dir/other", "what another wrote");
    make_text("dir/same size", "abcde");
    add_done("whole", "whole");
    add_done("other", "original");
    add_done("same size", "fghij");
    add_done("gone", "gone");
    struct download_row unfinished = {.content = content_of("later"), .name = strdup("later")};
    unfinished.target = strdup(in_folder("dir/later"));
    assert_int_equal(state_add_download(state, &unfinished), ERR_OK);
    download_row_free(&unfinished);
    assert_int_equal(library_share_downloads(library, true), ERR_OK);
    assert_true(is_served("whole"));
    assert_int_equal(state_count_shares(state), 1);
    assert_int_equal(count_rows(true), 1);
    assert_int_equal(count_rows(false), 1);
    assert_true(was_logged("other has another content now"));
    assert_true(was_logged("same size has another content now"));
    assert_true(was_logged("gone is gone"));
    assert_int_equal(library_unshare(library, "whole", NULL), ERR_OK);
    assert_int_equal(library_share_downloads(library, true), ERR_OK);
    assert_int_equal(state_count_shares(state), 0);
}

/* More than are looked at in one go. */
static void many_files_that_landed_together_are_shared_now_and_at_the_next_start(void **unused)
{
    (void)unused;
    enum { COUNT = 2100 };
    struct landed *files = calloc(COUNT, sizeof *files);
    assert_non_null(files);
    make_folder("dir/many");
    for (unsigned i = 0; i < COUNT; i++) {
        char name[32], path[64], text[16];
        snprintf(name, sizeof name, "many/%u", i);
        snprintf(path, sizeof path, "dir/%s", name);
        snprintf(text, sizeof text, "text %u", i);
        make_text(path, text);
        files[i].path = strdup(in_folder(path));
        files[i].name = strdup(name);
        files[i].hashed = (struct hashed){.content = content_of(text), .chunk_size = BLOCK_SIZE};
        assert_int_equal(stamp_read_path(files[i].path, &files[i].stamp), ERR_OK);
    }
    unsigned before = atomic_load(&news_count);
    assert_int_equal(library_add_landed(library, files, COUNT), ERR_OK);
    assert_int_equal(state_count_shares(state), COUNT);
    assert_int_equal(atomic_load(&news_count), before);
    assert_true(is_served("text 1234"));
    close_all();
    open_all();
    assert_int_equal(library_share_downloads(library, true), ERR_OK);
    assert_int_equal(state_count_shares(state), COUNT);
    assert_true(is_served("text 2099"));
    for (unsigned i = 0; i < COUNT; i++) {
        free((char *)(uintptr_t)files[i].path);
        free((char *)(uintptr_t)files[i].name);
    }
    free(files);
}

/* ---- the end ---- */

static atomic_bool hashing;

static void note_hashing(void *context, const struct share_progress *progress)
{
    (void)context;
    if (progress->bytes_done > 0)
        atomic_store(&hashing, true);
}

static void *share_large(void *argument)
{
    const char *path = argument;
    static enum err err;
    struct share_result result;
    err = library_share(library, &path, 1, note_hashing, NULL, &result);
    return &err;
}

static void the_end_stops_sharing_under_way(void **unused)
{
    (void)unused;
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder("sparse"));
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    /* Far more than can be hashed before the test gives up. */
    assert_int_equal(ftruncate(fd, (off_t)1 << 39), 0);
    close(fd);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, share_large, path), 0);
    EVENTUALLY(atomic_load(&hashing));
    library_free(library);
    void *result;
    pthread_join(thread, &result);
    assert_int_equal(*(enum err *)result, ERR_CANCELLED);
    library = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_and_folders_are_shared_and_announced),
        TEST(an_unreadable_file_among_good_ones_is_named),
        TEST(unsharing_ends_all_rows_of_a_name_or_a_content),
        TEST(progress_ends_with_all),
        TEST(many_files_are_shared_in_batches),
        TEST(a_second_start_trusts_kept_hashes_only_of_settled_unchanged_files),
        TEST(a_part_becomes_a_finished_file),
        TEST(finished_downloads_are_shared_again_unless_they_changed),
        TEST(many_files_that_landed_together_are_shared_now_and_at_the_next_start),
        TEST(the_end_stops_sharing_under_way),
    };
    return cmocka_run_group_tests_name("library_share", tests, NULL, NULL);
}
