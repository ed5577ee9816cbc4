#include "folder.h"

#include "../../peer/library/library.h"
#include "limits.h"
#include "log.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[65536];

static void keep_line(void *context, enum log_level level, const char *line)
{
    (void)level;
    (void)context;
    pthread_mutex_lock(&log_lock);
    size_t used = strlen(log_text);
    snprintf(log_text + used, sizeof log_text - used, "%s\n", line);
    pthread_mutex_unlock(&log_lock);
}

static bool was_logged(const char *text)
{
    pthread_mutex_lock(&log_lock);
    bool found = strstr(log_text, text) != NULL;
    pthread_mutex_unlock(&log_lock);
    return found;
}

static struct state *state;
static struct library *library;
static atomic_uint news_count;

static void count_news(void *context)
{
    (void)context;
    atomic_fetch_add(&news_count, 1);
}

static void open_all(void)
{
    struct why why = {""};
    assert_int_equal(state_open(in_folder("dir"), false, &state, &why), ERR_OK);
    assert_int_equal(library_new(state, &library), ERR_OK);
    library_set_news(library, count_news, NULL);
    log_text[0] = '\0';
    atomic_store(&news_count, 0);
}

static void close_all(void)
{
    library_free(library);
    state_close(state);
    library = NULL;
    state = NULL;
}

static int set_up(void **unused)
{
    if (folder_set_up(unused))
        return -1;
    open_all();
    return 0;
}

static int tear_down(void **unused)
{
    close_all();
    return folder_tear_down(unused);
}

static struct share_result share(const char *name)
{
    const char *path = in_folder(name);
    struct share_result result;
    assert_int_equal(library_share(library, &path, 1, NULL, NULL, &result), ERR_OK);
    return result;
}

static void expect(struct share_result result, unsigned shared, unsigned failed, unsigned skipped)
{
    assert_int_equal(result.shared, shared);
    assert_int_equal(result.failed, failed);
    assert_int_equal(result.skipped, skipped);
}

static struct content content_of(const char *text)
{
    struct content content = {.size = strlen(text)};
    merkle_sha256(text, strlen(text), content.root);
    return content;
}

/* Whether a short text is served, and nothing else under its root. */
static bool is_served(const char *text)
{
    struct content content = content_of(text);
    char bytes[256];
    int fd;
    enum err err = library_open(library, &content, &fd, NULL);
    if (err == ERR_NOT_FOUND)
        return false;
    assert_int_equal(err, ERR_OK);
    ssize_t got = read(fd, bytes, sizeof bytes);
    close(fd);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
    return true;
}

/* The library's thread needs a while; far more than that is a failure. */
static bool comes_to_be_served(const char *text)
{
    for (int i = 0; i < 300; i++) {
        if (is_served(text))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return false;
}

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

/* ---- files that change ---- */

static void a_changed_file_is_not_served_as_before_and_hashed_again(void **unused)
{
    (void)unused;
    make_text("a", "before");
    expect(share("a"), 1, 0, 0);
    struct files_request request;
    assert_int_equal(state_untold(state, 100, &request), ERR_OK);
    assert_int_equal(state_told(state, &request), ERR_OK);
    files_request_free(&request);
    unsigned before = atomic_load(&news_count);
    make_text("a", "after it");
    assert_false(is_served("before"));
    assert_true(was_logged("/a changed: no longer shared as it was"));
    assert_true(atomic_load(&news_count) > before);
    assert_true(state_has_untold(state));
    assert_true(comes_to_be_served("after it"));
    assert_int_equal(state_untold(state, 100, &request), ERR_OK);
    assert_int_equal(request.remove.count, 1);
    assert_int_equal(request.add.count, 1);
    struct content removed = content_of("before");
    assert_true(content_equal(&request.remove.items[0].content, &removed));
    files_request_free(&request);
}

static void another_file_of_the_content_takes_over(void **unused)
{
    (void)unused;
    make_text("a", "text");
    make_text("b", "text");
    share("a");
    share("b");
    make_text("a", "longer text");
    assert_true(is_served("text"));
    assert_int_equal(unlink(in_folder("b")), 0);
    assert_false(is_served("text"));
    assert_true(was_logged("/b is gone"));
}

static void what_was_located_is_opened_only_while_it_is_the_same(void **unused)
{
    (void)unused;
    make_text("a", "first");
    expect(share("a"), 1, 0, 0);
    struct share *rows, located;
    size_t count;
    int fd = -1;
    assert_int_equal(state_list_shares(state, NULL, NULL, 1, &rows, &count), ERR_OK);
    assert_int_equal(library_locate(library, &rows[0].content, &located), ERR_OK);
    assert_int_equal(library_open_located(library, &located, &fd), ERR_OK);
    close(fd);
    make_text("a", "another");
    assert_int_equal(library_open_located(library, &located, &fd), ERR_CHANGED);
    assert_int_equal(fd, -1);
    share_free(&located);
    assert_int_equal(library_locate(library, &rows[0].content, &located), ERR_NOT_FOUND);
    share_free(&rows[0]);
    free(rows);
}

static void a_look_at_all_finds_what_changed_or_is_gone(void **unused)
{
    (void)unused;
    make_text("gone", "gone");
    make_text("changed", "before");
    make_text("replaced", "file");
    make_text("still", "still");
    share("gone");
    share("changed");
    share("replaced");
    share("still");
    assert_int_equal(unlink(in_folder("gone")), 0);
    make_text("changed", "after");
    assert_int_equal(unlink(in_folder("replaced")), 0);
    assert_int_equal(symlink("still", in_folder("replaced")), 0);
    library_check(library);
    assert_int_equal(state_count_shares(state), 1);
    assert_true(was_logged("/gone is gone"));
    assert_true(was_logged("/replaced is no file any more"));
    assert_true(is_served("still"));
    assert_true(comes_to_be_served("after"));
}

static void what_is_unshared_while_it_waits_stays_so(void **unused)
{
    (void)unused;
    make_text("a", "before");
    make_text("b", "before b");
    share("a");
    share("b");
    make_text("a", "after a");
    make_text("b", "after b");
    library_check(library);
    assert_int_equal(library_unshare(library, "a", NULL), ERR_OK);
    assert_true(comes_to_be_served("after b"));
    assert_false(is_served("after a"));
}

/* ---- layers ---- */

static void layers_are_served_down_to_the_finest_that_is_kept(void **unused)
{
    (void)unused;
    const size_t size = (size_t)3 * MIB + 5;
    make_pattern("large", size, 4);
    expect(share("large"), 1, 0, 0);
    struct share *rows;
    size_t count;
    assert_int_equal(state_list_shares(state, NULL, NULL, 1, &rows, &count), ERR_OK);
    struct content content = rows[0].content;
    share_free(&rows[0]);
    free(rows);
    for (uint64_t chunk_size = CHUNK_SIZE_MIN; chunk_size <= CHUNK_SIZE_MAX; chunk_size *= 2) {
        uint8_t *layer;
        assert_int_equal(library_layer(library, &content, chunk_size, &layer, &count), ERR_OK);
        assert_true(merkle_layer_fits(&content, chunk_size, layer, count));
        free(layer);
    }
    uint8_t *layer;
    assert_int_equal(library_layer(library, &content, 1000, &layer, &count), ERR_INVALID);
    assert_int_equal(library_layer(library, &content, CHUNK_SIZE_MIN / 2, &layer, &count), ERR_INVALID);
    struct content huge = content;
    huge.size = (uint64_t)(LAYER_HASHES_MAX + 1) * CHUNK_SIZE_MIN;
    assert_int_equal(library_layer(library, &huge, CHUNK_SIZE_MIN, &layer, &count), ERR_TOO_LARGE);
    huge.size = content.size + 1;
    assert_int_equal(library_layer(library, &huge, CHUNK_SIZE_MIN, &layer, &count), ERR_NOT_FOUND);
}

/* A limit on the size of files stands for a full disk: the database cannot grow. */
static void layers_are_served_although_the_disk_is_full(void **unused)
{
    (void)unused;
    make_pattern("large", (size_t)3 * MIB, 4);
    make_text("small", "small");
    struct rlimit before, small = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct share_result large_result = share("large"), small_result = share("small");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    expect(large_result, 1, 0, 0);
    expect(small_result, 1, 0, 0);
    assert_true(was_logged("hashes cannot be kept"));
    assert_true(is_served("small"));
    struct share *rows;
    size_t count;
    assert_int_equal(state_list_shares(state, NULL, NULL, 1, &rows, &count), ERR_OK);
    assert_string_equal(rows[0].name, "large");
    uint8_t *layer;
    assert_int_equal(library_layer(library, &rows[0].content, BLOCK_SIZE, &layer, &count), ERR_OK);
    assert_true(merkle_layer_fits(&rows[0].content, BLOCK_SIZE, layer, count));
    free(layer);
    share_free(&rows[0]);
    free(rows);
}

static void a_coarse_layer_gives_none_finer_than_itself(void **unused)
{
    (void)unused;
    make_pattern("dir/file", (size_t)200 * KIB, 4);
    uint8_t layer[4 * HASH_SIZE], *got;
    memset(layer, 6, sizeof layer);
    struct hashed hashed = {.content.size = (uint64_t)200 * KIB, .chunk_size = 64 * KIB, .layer = layer, .count = 4};
    assert_int_equal(merkle_root(layer, hashed.content.size, hashed.chunk_size, hashed.content.root), ERR_OK);
    assert_int_equal(library_add_finished(library, in_folder("dir/file"), "file", &hashed), ERR_OK);
    size_t count;
    assert_int_equal(library_layer(library, &hashed.content, 32 * KIB, &got, &count), ERR_INVALID);
    assert_int_equal(library_layer(library, &hashed.content, 64 * KIB, &got, &count), ERR_OK);
    assert_int_equal(count, 4);
    assert_memory_equal(got, layer, sizeof layer);
    free(got);
    /* One chunk as large as the whole leaves nothing to keep but the root. */
    hashed = (struct hashed){.content = hashed.content, .chunk_size = 256 * KIB};
    assert_int_equal(library_add_finished(library, in_folder("dir/file"), "file", &hashed), ERR_OK);
    assert_int_equal(library_layer(library, &hashed.content, 64 * KIB, &got, &count), ERR_INVALID);
    assert_int_equal(library_layer(library, &hashed.content, 256 * KIB, &got, &count), ERR_OK);
    assert_memory_equal(got, hashed.content.root, HASH_SIZE);
    free(got);
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
    while (!atomic_load(&hashing))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    library_free(library);
    void *result;
    pthread_join(thread, &result);
    assert_int_equal(*(enum err *)result, ERR_CANCELLED);
    library = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static enum err locate_other(void *context, const struct content *wanted, struct share *ret)
{
    const struct content content = content_of("not shared");
    if (!content_equal(wanted, &content))
        return ERR_NOT_FOUND;
    atomic_fetch_add((atomic_uint *)context, 1);
    *ret = (struct share){
        .path = strdup(in_folder("other")), .name = strdup("other"), .content = content, .complete = true};
    return stamp_read_path(ret->path, &ret->stamp);
}

static void a_source_is_served_but_not_shared(void **unused)
{
    (void)unused;
    atomic_uint asked = 0;
    const struct library_source source = {.context = &asked, .locate = locate_other};
    const struct content content = content_of("not shared");
    struct share found;
    uint8_t *layer;
    size_t count;
    make_text("other", "not shared");
    assert_false(is_served("not shared"));
    library_set_source(library, &source);
    assert_true(is_served("not shared"));
    assert_int_equal(library_find(library, &content, &found), ERR_OK);
    assert_true(found.complete);
    share_free(&found);
    assert_int_equal(library_layer(library, &content, CHUNK_SIZE_MIN, &layer, &count), ERR_OK);
    assert_int_equal(count, 1);
    free(layer);
    assert_int_equal(library_locate(library, &content, &found), ERR_OK);
    make_text("other", "something else");
    int fd;
    assert_int_equal(library_open_located(library, &found, &fd), ERR_CHANGED);
    share_free(&found);
    assert_int_equal(state_count_shares(state), 0);
    assert_int_equal(atomic_load(&news_count), 0);
    library_set_source(library, NULL);
    assert_int_equal(library_find(library, &content, &found), ERR_NOT_FOUND);
    assert_true(atomic_load(&asked) > 0);
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
        TEST(a_changed_file_is_not_served_as_before_and_hashed_again),
        TEST(another_file_of_the_content_takes_over),
        TEST(what_was_located_is_opened_only_while_it_is_the_same),
        TEST(a_look_at_all_finds_what_changed_or_is_gone),
        TEST(what_is_unshared_while_it_waits_stays_so),
        TEST(layers_are_served_down_to_the_finest_that_is_kept),
        TEST(layers_are_served_although_the_disk_is_full),
        TEST(a_coarse_layer_gives_none_finer_than_itself),
        TEST(a_part_becomes_a_finished_file),
        TEST(finished_downloads_are_shared_again_unless_they_changed),
        TEST(many_files_that_landed_together_are_shared_now_and_at_the_next_start),
        TEST(a_source_is_served_but_not_shared),
        TEST(the_end_stops_sharing_under_way),
    };
    log_setup(LOG_INFO, LOG_TEXT, keep_line, NULL);
    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
