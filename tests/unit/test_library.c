/* What is shared: whether it is still what it was, and what of it is served. */
#include "library_fixture.h"

#include "limits.h"

#include <signal.h>
#include <sys/resource.h>

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
    EVENTUALLY(is_served("after it"));
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
    EVENTUALLY(is_served("after"));
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
    EVENTUALLY(is_served("after b"));
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

/* ---- sources ---- */

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
        TEST(a_changed_file_is_not_served_as_before_and_hashed_again),
        TEST(another_file_of_the_content_takes_over),
        TEST(what_was_located_is_opened_only_while_it_is_the_same),
        TEST(a_look_at_all_finds_what_changed_or_is_gone),
        TEST(what_is_unshared_while_it_waits_stays_so),
        TEST(layers_are_served_down_to_the_finest_that_is_kept),
        TEST(layers_are_served_although_the_disk_is_full),
        TEST(a_coarse_layer_gives_none_finer_than_itself),
        TEST(a_source_is_served_but_not_shared),
    };
    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
