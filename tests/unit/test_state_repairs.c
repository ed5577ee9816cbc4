/* Unfinished downloads that are to replace a damaged file. */
#include "state_fixture.h"

#include "limits.h"

static const struct content content = {.root = {1, 2, 3}, .size = 100000};
static const struct stamp stamp = {
    .device = 1, .inode = 2, .size = 100000, .mtime_ns = -3, .ctime_ns = 4, .taken_ns = INT64_C(1) << 60};

/* Of a file below DIR, whose hashes are known. */
static struct download_row add(struct state *state)
{
    struct download_row row = {.content = content, .name = strdup("a/b"), .target = strdup(in_folder("dir/a/b"))};
    uint8_t layer[7 * HASH_SIZE] = {9};
    struct hashed hashed = {.content = content, .chunk_size = BLOCK_SIZE, .layer = layer, .count = 7};
    assert_int_equal(state_save_hash(state, row.target, &stamp, &hashed), ERR_OK);
    row.chunk_size = BLOCK_SIZE;
    row.layer = malloc(sizeof layer);
    assert_non_null(row.layer);
    memcpy(row.layer, layer, sizeof layer);
    assert_int_equal(state_add_repair(state, &row, &stamp), ERR_OK);
    return row;
}

static void a_repair_survives_with_its_layer_and_the_damaged_version(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row row = add(state), found;
    struct hashed hashed;
    assert_true(row.is_repair && stamp_equal(&row.damaged, &stamp));
    assert_non_null(row.layer);
    assert_int_equal(state_find_layer(state, row.target, &stamp, &hashed), ERR_NOT_FOUND);
    state_close(state);
    state = open_state();
    assert_int_equal(state_get_download(state, row.number, &found), ERR_OK);
    assert_true(found.is_repair && stamp_equal(&found.damaged, &stamp));
    assert_string_equal(found.target, row.target);
    assert_string_equal(found.name, "a/b");
    assert_int_equal(found.chunk_size, BLOCK_SIZE);
    assert_memory_equal(found.layer, row.layer, 7 * HASH_SIZE);
    assert_false(found.done);
    download_row_free(&found);
    assert_int_equal(state_get_download(state, row.number + 1, &found), ERR_NOT_FOUND);
    assert_int_equal(state_get_download(state, 0, &found), ERR_NOT_FOUND);
    download_row_free(&row);
    state_close(state);
}

static void only_that_version_of_that_file_is_damaged(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row row = add(state);
    struct stamp other = stamp;
    assert_true(state_is_damaged(state, row.target, &stamp));
    other.ctime_ns++;
    assert_false(state_is_damaged(state, row.target, &other));
    assert_false(state_is_damaged(state, in_folder("dir/a/c"), &stamp));
    download_row_free(&row);
    state_close(state);
}

static void its_end_leaves_nothing_behind(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row row = add(state), again = {.content = content, .name = strdup("b")};
    assert_int_equal(state_forget_download(state, row.number), ERR_OK);
    assert_false(state_is_damaged(state, row.target, &stamp));
    again.target = strdup(row.target);
    assert_int_equal(state_add_download(state, &again), ERR_OK);
    assert_false(again.is_repair);
    assert_null(again.layer);
    download_row_free(&again);
    download_row_free(&row);
    state_close(state);
}

static void a_download_to_the_same_place_becomes_the_repair_with_what_it_has(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row download = {.content = content, .name = strdup("b"), .target = strdup(in_folder("dir/a/b"))};
    uint8_t layer[4 * HASH_SIZE] = {7};
    assert_int_equal(state_add_download(state, &download), ERR_OK);
    assert_int_equal(state_save_layer(state, download.number, 2 * BLOCK_SIZE, layer, 4), ERR_OK);
    struct download_row row = add(state);
    assert_int_equal(row.number, download.number);
    assert_int_equal(row.chunk_size, 2 * BLOCK_SIZE);
    assert_memory_equal(row.layer, layer, sizeof layer);
    assert_true(state_is_damaged(state, row.target, &stamp));
    download_row_free(&row);
    download_row_free(&download);
    state_close(state);
}

static void a_database_without_repairs_gets_a_place_for_them(void **unused)
{
    (void)unused;
    state_close(open_state());
    change_state("DROP TABLE repairs; ALTER TABLE downloads DROP COLUMN hidden; PRAGMA user_version = 2");
    struct state *state = open_state();
    struct download_row row = add(state);
    assert_true(state_is_damaged(state, row.target, &stamp));
    download_row_free(&row);
    state_close(state);
}

static void a_hidden_download_stays_hidden(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    struct download_row row = {.content = content, .name = strdup("n"), .target = strdup("/tmp/n"), .hidden = true},
                        *rows;
    size_t count;
    assert_int_equal(state_add_download(state, &row), ERR_OK);
    download_row_free(&row);
    state_close(state);
    state = open_state();
    assert_int_equal(state_list_downloads(state, false, 0, 10, &rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_true(rows[0].hidden);
    download_row_free(&rows[0]);
    free(rows);
    state_close(state);
}

static void all_names_of_a_path_are_listed(void **unused)
{
    (void)unused;
    struct state *state = open_state();
    static const char *const names[] = {"one", "two", "three"};
    for (size_t i = 0; i < 3; i++) {
        struct share share = {.name = (char *)(uintptr_t)names[i], .content = content};
        share.path = (char *)(uintptr_t)(i < 2 ? "/p" : "/q");
        share.stamp = stamp;
        share.complete = true;
        assert_int_equal(state_put_share(state, &share), ERR_OK);
    }
    struct share *rows;
    size_t count;
    assert_int_equal(state_list_path(state, "/p", &rows, &count), ERR_OK);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(rows[i].path, "/p");
        assert_true(rows[i].complete && content_equal(&rows[i].content, &content));
        share_free(&rows[i]);
    }
    free(rows);
    assert_int_equal(state_list_path(state, "/r", &rows, &count), ERR_OK);
    assert_int_equal(count, 0);
    free(rows);
    state_close(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_repair_survives_with_its_layer_and_the_damaged_version),
        TEST(only_that_version_of_that_file_is_damaged),
        TEST(its_end_leaves_nothing_behind),
        TEST(a_download_to_the_same_place_becomes_the_repair_with_what_it_has),
        TEST(a_database_without_repairs_gets_a_place_for_them),
        TEST(a_hidden_download_stays_hidden),
        TEST(all_names_of_a_path_are_listed),
    };
    return cmocka_run_group_tests_name("state_repairs", tests, NULL, NULL);
}
