#include "no_room.h"
#include "patience.h"
#include "state_fixture.h"

#include "lamport.h"
#include "limits.h"

static struct content content_of(unsigned number, uint64_t size)
{
    struct content content = {.size = size};
    for (size_t i = 0; i < HASH_SIZE; i++)
        content.root[i] = (uint8_t)(number + i);
    return content;
}

/* ---- folder and identity ---- */

static void an_identity_survives(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct identity first = *state_identity(state);
    struct stat status;
    assert_int_equal(stat(in_folder("dir/.enxame/secret"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(stat(in_folder("dir/.enxame"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    state_close(state);
    state = open_state();
    assert_memory_equal(&first, state_identity(state), sizeof first);
    assert_false(state_was_copied(state));
    assert_string_equal(state_dir(state), in_folder("dir"));
    state_close(state);
}

static void a_second_peer_is_refused_or_takes_the_next_folder(void **unused)
{
    (void)unused;
    struct state *first = open_state(), *second = NULL, *third = NULL;
    struct why why = {""};
    assert_int_equal(state_open(in_folder("dir"), false, &second, &why), ERR_LOCKED);
    assert_null(second);
    assert_non_null(strstr(why.text, "in use by another peer"));
    assert_int_equal(state_open(in_folder("dir/"), true, &second, &why), ERR_OK);
    assert_string_equal(state_dir(second), in_folder("dir-2"));
    assert_int_equal(state_open(in_folder("dir"), true, &third, &why), ERR_OK);
    assert_string_equal(state_dir(third), in_folder("dir-3"));
    assert_memory_not_equal(state_identity(first), state_identity(second), sizeof(struct identity));
    state_close(third);
    state_close(second);
    state_close(first);
}

static void a_copied_folder_gets_a_new_identity_and_looks_at_its_parts_again(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct identity first = *state_identity(state);
    struct download_row row = {.content = content_of(1, 100000), .name = strdup("a"), .target = NULL};
    row.target = strdup(in_folder("dir/sub/a"));
    uint8_t layer[7 * HASH_SIZE] = {1};
    struct bitmap verified = {0};
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    assert_int_equal(state_save_layer(state, row.number, BLOCK_SIZE, layer, 7), ERR_OK);
    assert_int_equal(bitmap_init(&verified, 7), ERR_OK);
    bitmap_put(&verified, 3, true);
    assert_int_equal(state_save_verified(state, row.number, &verified), ERR_OK);
    download_row_free(&row);
    bitmap_free(&verified);
    row =
        (struct download_row){.content = content_of(2, 5), .name = strdup("b"), .target = strdup("/no/such/folder/b")};
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    download_row_free(&row);
    state_close(state);
    char command[512];
    snprintf(command, sizeof command, "cp -a %s/dir %s/copy", folder, folder);
    assert_int_equal(system(command), 0);

    state = open_state_in("copy");
    assert_true(state_was_copied(state));
    assert_memory_not_equal(&first, state_identity(state), sizeof first);
    struct identity copied = *state_identity(state);
    struct download_row *rows;
    size_t count;
    assert_int_equal(state_list_downloads(state, false, 0, SIZE_MAX, &rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].target, in_folder("copy/sub/a"));
    assert_non_null(rows[0].layer);
    assert_int_equal(rows[0].verified.set, 0);
    download_row_free(&rows[0]);
    free(rows);
    state_close(state);
    state = open_state_in("copy");
    assert_false(state_was_copied(state));
    assert_memory_equal(&copied, state_identity(state), sizeof copied);
    state_close(state);
    state = open_state();
    assert_memory_equal(&first, state_identity(state), sizeof first);
    state_close(state);
}

static void a_malformed_secret_is_kept_and_refused(void **unused)
{
    (void)unused;
    state_close(open_state());
    make_text("dir/.enxame/secret", "0123\n");
    struct state *state;
    struct why why = {""};
    assert_int_equal(state_open(in_folder("dir"), false, &state, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "64 hex digits"));
    struct stat status;
    assert_int_equal(stat(in_folder("dir/.enxame/secret"), &status), 0);
    assert_int_equal(status.st_size, 5);
}

static void a_file_in_the_way_is_refused(void **unused)
{
    (void)unused;
    make_text("file", "x");
    struct state *state;
    struct why why = {""};
    assert_int_not_equal(state_open(in_folder("file"), false, &state, &why), ERR_OK);
    assert_int_not_equal(state_open(in_folder("file/below"), true, &state, &why), ERR_OK);
    assert_true(why.text[0] != '\0');
}

/* ---- the database ---- */

static void a_newer_schema_is_refused(void **unused)
{
    (void)unused;
    state_close(open_state());
    change_state("PRAGMA user_version = 99");
    struct state *state;
    struct why why = {""};
    assert_int_equal(state_open(in_folder("dir"), false, &state, &why), ERR_TOO_NEW);
    assert_non_null(strstr(why.text, "newer"));
}

static void a_damaged_database_is_named_and_kept(void **unused)
{
    (void)unused;
    state_close(open_state());
    make_pattern("dir/.enxame/state.db", 20000, 7);
    struct state *state;
    struct why why = {""};
    assert_int_equal(state_open(in_folder("dir"), false, &state, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "state.db"));
    assert_non_null(strstr(why.text, "moved away"));
    assert_int_equal(rename(in_folder("dir/.enxame/state.db"), in_folder("away")), 0);
    state_close(open_state());
}

static void the_clock_survives_and_never_goes_back(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    assert_int_equal(state_clock(state), 0);
    assert_int_equal(state_save_clock(state, 7000), ERR_OK);
    assert_int_equal(state_save_clock(state, 6000), ERR_OK);
    state_close(state);
    state = open_state();
    assert_int_equal(state_clock(state), 7000);
    state_close(state);
}

static enum err save_clock(void *context, uint64_t value)
{
    return state_save_clock(context, value);
}

static void a_clock_that_found_no_room_is_saved_when_there_is_some(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct lamport *clock = lamport_new(state_clock(state));
    lamport_set_keep(clock, save_clock, state);
    no_room_begin(in_folder("dir/.enxame/state.db-wal"));
    for (unsigned i = 0; i < 3000; i++)
        lamport_tick(clock);
    uint64_t saved = state_clock(state);
    no_room_end();
    assert_true(saved < 3000);
    PATIENCE_UNTIL(lamport_tick(clock) <= state_clock(state), usleep(10000));
    state_close(state);
    state = open_state();
    assert_true(state_clock(state) >= lamport_now(clock));
    state_close(state);
    lamport_free(clock);
}

/* ---- hashes ---- */

#define SECOND INT64_C(1000000000)

static void hashes_are_found_by_path_and_stamp(void **unused)
{
    (void)unused;
    uint8_t layer[3 * HASH_SIZE];
    memset(layer, 5, sizeof layer);
    struct hashed hashed = {.content = content_of(3, 40000), .chunk_size = BLOCK_SIZE, .layer = layer, .count = 3};
    struct stamp stamp = {.device = UINT64_MAX, .inode = 2, .size = 40000, .mtime_ns = -1, .taken_ns = 9 * SECOND};
    struct hashed found;
    struct state *state = open_state();
    const char *path = "/a \xff 'quoted'";
    assert_int_equal(state_save_hash(state, path, &stamp, &hashed), ERR_OK);
    state_close(state);
    state = open_state();
    assert_int_equal(state_find_hash(state, path, &stamp, true, &found), ERR_OK);
    assert_true(content_equal(&found.content, &hashed.content));
    assert_int_equal(found.count, 3);
    assert_memory_equal(found.layer, layer, sizeof layer);
    hashed_free(&found);
    assert_int_equal(state_find_hash(state, path, &stamp, false, &found), ERR_OK);
    assert_null(found.layer);
    stamp.taken_ns = 0;
    assert_int_equal(state_find_hash(state, path, &stamp, false, &found), ERR_OK);
    stamp.ctime_ns++;
    assert_int_equal(state_find_hash(state, path, &stamp, false, &found), ERR_NOT_FOUND);
    assert_int_equal(state_find_hash(state, "/a", &stamp, false, &found), ERR_NOT_FOUND);
    state_close(state);
}

static void a_hash_of_a_file_just_written_is_not_trusted(void **unused)
{
    (void)unused;
    uint8_t layer[3 * HASH_SIZE] = {9};
    struct hashed hashed = {.content = content_of(3, 40000), .chunk_size = BLOCK_SIZE, .layer = layer, .count = 3};
    struct stamp stamp = {.size = 40000, .mtime_ns = 10 * SECOND, .ctime_ns = 5 * SECOND, .taken_ns = 12 * SECOND - 1};
    struct hashed found;
    struct state *state = open_state();
    assert_int_equal(state_save_hash(state, "/a", &stamp, &hashed), ERR_OK);
    assert_int_equal(state_find_hash(state, "/a", &stamp, false, &found), ERR_NOT_FOUND);
    assert_int_equal(state_find_hash(state, "/a", &stamp, true, &found), ERR_NOT_FOUND);
    assert_int_equal(state_find_layer(state, "/a", &stamp, &found), ERR_OK);
    assert_int_equal(found.count, 3);
    hashed_free(&found);
    stamp.taken_ns = 12 * SECOND;
    assert_int_equal(state_save_hash(state, "/a", &stamp, &hashed), ERR_OK);
    assert_int_equal(state_find_hash(state, "/a", &stamp, false, &found), ERR_OK);
    stamp.ctime_ns = 11 * SECOND;
    assert_int_equal(state_save_hash(state, "/a", &stamp, &hashed), ERR_OK);
    assert_int_equal(state_find_hash(state, "/a", &stamp, false, &found), ERR_NOT_FOUND);
    state_close(state);
}

/* ---- downloads ---- */

static struct download_row make_row(unsigned number, uint64_t size, const char *target)
{
    return (struct download_row){.content = content_of(number, size), .name = strdup("name"), .target = strdup(target)};
}

static void downloads_survive_with_their_progress(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row row = make_row(1, 5 * BLOCK_SIZE, in_folder("dir/a")), *rows;
    size_t count;
    uint8_t layer[5 * HASH_SIZE];
    memset(layer, 3, sizeof layer);
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    uint64_t number = row.number;
    assert_int_equal(state_save_layer(state, number, BLOCK_SIZE, layer, 5), ERR_OK);
    struct bitmap verified = {0};
    assert_int_equal(bitmap_init(&verified, 5), ERR_OK);
    bitmap_put(&verified, 4, true);
    assert_int_equal(state_save_verified(state, number, &verified), ERR_OK);
    bitmap_free(&verified);
    download_row_free(&row);
    state_close(state);

    state = open_state();
    row = make_row(1, 5 * BLOCK_SIZE, in_folder("dir/a"));
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    assert_int_equal(row.number, number);
    assert_int_equal(row.chunk_size, BLOCK_SIZE);
    assert_memory_equal(row.layer, layer, sizeof layer);
    assert_int_equal(row.verified.count, 5);
    assert_true(bitmap_get(&row.verified, 4));
    assert_int_equal(row.verified.set, 1);
    download_row_free(&row);
    assert_int_equal(state_finish_download(state, number), ERR_OK);
    assert_int_equal(state_list_downloads(state, true, 0, SIZE_MAX, &rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_true(rows[0].done);
    assert_null(rows[0].layer);
    download_row_free(&rows[0]);
    free(rows);
    state_close(state);
}

static void what_was_downloaded_otherwise_is_kept_once(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct content one = content_of(1, 5), other = content_of(2, 5);
    struct download_row *rows;
    size_t count;
    const char *target = in_folder("dir/sub/a");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(state_add_done(state, &one, "sub/a", target), ERR_OK);
        assert_int_equal(state_add_done(state, &other, "sub/a", target), ERR_OK);
        assert_int_equal(state_add_done(state, &other, "sub/b", in_folder("dir/sub/b")), ERR_OK);
        struct download_row again = {
            .content = other, .name = strdup("sub/b"), .target = strdup(in_folder("dir/sub/b"))};
        assert_int_equal(state_add_download(state, &again), ERR_OK);
        assert_int_equal(state_finish_download(state, again.number), ERR_OK);
        download_row_free(&again);
    }
    assert_int_equal(state_list_downloads(state, false, 0, SIZE_MAX, &rows, &count), ERR_OK);
    assert_int_equal(count, 0);
    free(rows);
    uint64_t after = 0;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(state_list_downloads(state, true, after, 1, &rows, &count), ERR_OK);
        assert_int_equal(count, 1);
        assert_string_equal(rows[0].target, in_folder(i < 2 ? "dir/sub/a" : "dir/sub/b"));
        after = rows[0].number;
        download_row_free(&rows[0]);
        free(rows);
    }
    assert_int_equal(state_list_downloads(state, true, after, SIZE_MAX, &rows, &count), ERR_OK);
    assert_int_equal(count, 0);
    free(rows);
    state_close(state);
}

static void numbers_of_downloads_are_never_used_again(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row row = make_row(1, 5, "/elsewhere/a");
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    uint64_t first = row.number;
    assert_int_equal(state_forget_download(state, first), ERR_OK);
    assert_int_equal(state_forget_download(state, first), ERR_NOT_FOUND);
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    assert_true(row.number > first);
    download_row_free(&row);
    state_close(state);
    state = open_state();
    struct download_row *rows;
    size_t count;
    assert_int_equal(state_list_downloads(state, false, 0, SIZE_MAX, &rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].target, "/elsewhere/a");
    download_row_free(&rows[0]);
    free(rows);
    state_close(state);
}

/* ---- shares and what the tracker was told ---- */

static void put(struct state *state, const char *path, const char *name, unsigned number, bool complete)
{
    struct share share = {.path = (char *)(uintptr_t)path,
                          .name = (char *)(uintptr_t)name,
                          .content = content_of(number, 10),
                          .stamp = {.size = 10, .inode = number},
                          .complete = complete};
    assert_int_equal(state_put_share(state, &share), ERR_OK);
}

/* "+name:number" complete, "~name:number" incomplete, "-name:number" removed, in the request's order. */
static struct files_request expect_untold(struct state *state, const char *expected)
{
    struct files_request request;
    char text[512] = "";
    size_t used = 0;
    assert_int_equal(state_untold(state, 100, &request), ERR_OK);
    for (size_t i = 0; i < request.remove.count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "-%s:%d ", request.remove.items[i].name,
                                 request.remove.items[i].content.root[0]);
    for (size_t i = 0; i < request.add.count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%c%s:%d ", request.add.items[i].complete ? '+' : '~',
                                 request.add.items[i].name, request.add.items[i].content.root[0]);
    assert_string_equal(text, expected);
    assert_int_equal(state_has_untold(state), expected[0] != '\0');
    return request;
}

static void tell(struct state *state, const char *expected)
{
    struct files_request request = expect_untold(state, expected);
    assert_int_equal(state_told(state, &request), ERR_OK);
    files_request_free(&request);
}

static void a_pair_is_told_once_and_removed_with_its_last_file(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    tell(state, "");
    put(state, "/1", "a", 1, true);
    put(state, "/2", "a", 1, true);
    put(state, "/2", "b", 1, true);
    tell(state, "+a:1 +b:1 ");
    tell(state, "");
    assert_int_equal(state_drop_share(state, "/1", "a"), ERR_OK);
    tell(state, "");
    assert_int_equal(state_drop_share(state, "/2", "a"), ERR_OK);
    assert_int_equal(state_drop_share(state, "/2", "a"), ERR_NOT_FOUND);
    tell(state, "-a:1 ");
    tell(state, "");
    assert_int_equal(state_count_shares(state), 1);
    state_close(state);
}

static void a_path_with_a_new_content_loses_the_old_one(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    put(state, "/1", "a", 1, true);
    put(state, "/1", "b", 1, true);
    tell(state, "+a:1 +b:1 ");
    put(state, "/1", "a", 2, true);
    assert_int_equal(state_count_shares(state), 1);
    tell(state, "-a:1 -b:1 +a:2 ");
    state_close(state);
}

static void what_became_complete_is_told_again(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    put(state, "/part", "a", 1, false);
    tell(state, "~a:1 ");
    put(state, "/1", "a", 1, true);
    tell(state, "+a:1 ");
    assert_int_equal(state_drop_share(state, "/part", "a"), ERR_OK);
    tell(state, "");
    put(state, "/1", "a", 1, false);
    tell(state, "~a:1 ");
    state_close(state);
}

static void what_changes_while_it_is_told_stays_untold(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    put(state, "/1", "a", 1, true);
    put(state, "/2", "b", 2, false);
    put(state, "/3", "c", 3, true);
    struct files_request request = expect_untold(state, "~b:2 +a:1 +c:3 ");
    assert_int_equal(state_drop_share(state, "/1", "a"), ERR_OK);
    put(state, "/2", "b", 2, true);
    put(state, "/4", "d", 4, true);
    assert_int_equal(state_told(state, &request), ERR_OK);
    files_request_free(&request);
    request = expect_untold(state, "-a:1 +b:2 +d:4 ");
    put(state, "/1", "a", 1, true);
    assert_int_equal(state_told(state, &request), ERR_OK);
    files_request_free(&request);
    tell(state, "+a:1 ");
    tell(state, "");
    state_close(state);
}

static void a_request_whose_end_is_unknown_is_made_good(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    put(state, "/1", "a", 1, true);
    struct files_request lost = expect_untold(state, "+a:1 ");
    files_request_free(&lost);
    assert_int_equal(state_drop_share(state, "/1", "a"), ERR_OK);
    tell(state, "-a:1 ");
    tell(state, "");
    state_close(state);
}

static void a_tracker_that_forgot_is_told_all_but_no_removals(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    put(state, "/1", "a", 1, true);
    put(state, "/2", "b", 2, true);
    tell(state, "+a:1 +b:2 ");
    assert_int_equal(state_drop_share(state, "/1", "a"), ERR_OK);
    assert_int_equal(state_tell_again(state), ERR_OK);
    tell(state, "+b:2 ");
    state_close(state);
}

static void requests_have_bounds(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct files_request request;
    char path[32], *name = malloc(NAME_SIZE_MAX + 1);
    assert_non_null(name);
    state_begin(state);
    for (unsigned i = 0; i < 1200; i++) {
        snprintf(path, sizeof path, "/%u", i);
        put(state, path, path + 1, 1, true);
    }
    assert_int_equal(state_commit(state), ERR_OK);
    size_t requests = 0;
    for (; state_has_untold(state); requests++) {
        assert_int_equal(state_untold(state, 5000, &request), ERR_OK);
        assert_int_equal(request.add.count, requests == 0 ? ITEMS_MAX : 200);
        assert_int_equal(state_told(state, &request), ERR_OK);
        files_request_free(&request);
    }
    assert_int_equal(requests, 2);
    for (unsigned i = 0; i < 200; i++) {
        int length = snprintf(path, sizeof path, "/long%u", i);
        memset(name, '"', NAME_SIZE_MAX);
        name[NAME_SIZE_MAX] = '\0';
        memcpy(name, path + 1, (size_t)length - 1);
        put(state, path, name, 1, true);
    }
    while (state_has_untold(state)) {
        assert_int_equal(state_untold(state, 1000, &request), ERR_OK);
        assert_true(request.add.count > 10);
        char *text = files_request_format(&request);
        assert_true(strlen(text) <= BODY_SIZE_MAX);
        free(text);
        assert_int_equal(state_told(state, &request), ERR_OK);
        files_request_free(&request);
    }
    free(name);
    state_close(state);
}

static void shares_are_found_and_listed_in_order(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    put(state, "/part", "z", 1, false);
    put(state, "/whole", "m", 1, true);
    put(state, "/2", "a", 2, true);
    put(state, "/1", "a", 3, true);
    struct share found, *rows;
    size_t count;
    struct content wanted = content_of(1, 10);
    assert_int_equal(state_find_share(state, &wanted, &found), ERR_OK);
    assert_string_equal(found.path, "/whole");
    assert_true(found.complete);
    struct share changed = found;
    changed.stamp.mtime_ns++;
    assert_int_equal(state_drop_exactly(state, &changed), ERR_NOT_FOUND);
    assert_int_equal(state_drop_exactly(state, &found), ERR_OK);
    assert_int_equal(state_drop_exactly(state, &found), ERR_NOT_FOUND);
    share_free(&found);
    wanted.size++;
    assert_int_equal(state_find_share(state, &wanted, &found), ERR_NOT_FOUND);

    static const char *const paths[] = {"/1", "/2", "/part"};
    char *after_name = NULL, *after_path = NULL;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(state_list_shares(state, after_name, after_path, 1, &rows, &count), ERR_OK);
        assert_int_equal(count, 1);
        assert_string_equal(rows[0].path, paths[i]);
        free(after_name);
        free(after_path);
        after_name = rows[0].name;
        after_path = rows[0].path;
        free(rows);
    }
    assert_int_equal(state_list_shares(state, after_name, after_path, 9, &rows, &count), ERR_OK);
    assert_int_equal(count, 0);
    free(after_name);
    free(after_path);
    state_close(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_identity_survives),
        TEST(a_second_peer_is_refused_or_takes_the_next_folder),
        TEST(a_copied_folder_gets_a_new_identity_and_looks_at_its_parts_again),
        TEST(a_malformed_secret_is_kept_and_refused),
        TEST(a_file_in_the_way_is_refused),
        TEST(a_newer_schema_is_refused),
        TEST(a_damaged_database_is_named_and_kept),
        TEST(the_clock_survives_and_never_goes_back),
        TEST(a_clock_that_found_no_room_is_saved_when_there_is_some),
        TEST(hashes_are_found_by_path_and_stamp),
        TEST(a_hash_of_a_file_just_written_is_not_trusted),
        TEST(downloads_survive_with_their_progress),
        TEST(what_was_downloaded_otherwise_is_kept_once),
        TEST(numbers_of_downloads_are_never_used_again),
        TEST(a_pair_is_told_once_and_removed_with_its_last_file),
        TEST(a_path_with_a_new_content_loses_the_old_one),
        TEST(what_became_complete_is_told_again),
        TEST(what_changes_while_it_is_told_stays_untold),
        TEST(a_request_whose_end_is_unknown_is_made_good),
        TEST(a_tracker_that_forgot_is_told_all_but_no_removals),
        TEST(requests_have_bounds),
        TEST(shares_are_found_and_listed_in_order),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
