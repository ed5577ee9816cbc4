/* What an index says is still to be done, or was: pending entries, intents, the trash. */
#include "index_fixture.h"

#include "limits.h"

static uint64_t pending_of(struct sync_index *index)
{
    struct index_totals totals;
    assert_int_equal(index_totals(index, &totals), ERR_OK);
    return totals.pending;
}

/* ---- pending ---- */

static const uint8_t peer_a[HASH_SIZE] = {0xA}, peer_b[HASH_SIZE] = {0xB};

/* A page with one entry; how many news it was. */
static size_t take(struct sync_index *index, const uint8_t *peer, const struct sync_row *row, uint64_t sequence)
{
    struct sync_entry entry = row->entry;
    struct sync_page page = {.epoch = 77, .sequence = sequence, .entries = &entry, .count = 1};
    size_t news;
    assert_int_equal(index_take_page(index, peer, &page, &news), ERR_OK);
    return news;
}

static void cursors_are_of_one_peer_and_one_epoch(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_page page = {.epoch = 77, .sequence = 5};
    size_t news;
    assert_int_equal(index_cursor(index, peer_a, 77), 0);
    assert_int_equal(index_take_page(index, peer_a, &page, &news), ERR_OK);
    assert_int_equal(news, 0);
    index_close(index);
    index = open_index();
    assert_int_equal(index_cursor(index, peer_a, 77), 5);
    assert_int_equal(index_cursor(index, peer_a, 78), 0);
    assert_int_equal(index_cursor(index, peer_b, 77), 0);
    page = (struct sync_page){.epoch = 78, .sequence = 2};
    assert_int_equal(index_take_page(index, peer_a, &page, &news), ERR_OK);
    assert_int_equal(index_cursor(index, peer_a, 78), 2);
    assert_int_equal(index_cursor(index, peer_a, 77), 0);
    index_close(index);
}

static void cursors_are_not_kept_without_end(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_page page = {.epoch = 1, .sequence = 1};
    size_t news;
    index_begin(index);
    for (uint32_t i = 0; i <= SYNC_CURSORS_MAX; i++) {
        uint8_t peer[HASH_SIZE] = {0};
        memcpy(peer, &i, sizeof i);
        assert_int_equal(index_take_page(index, peer, &page, &news), ERR_OK);
    }
    assert_int_equal(index_commit(index), ERR_OK);
    uint8_t peer[HASH_SIZE] = {0};
    assert_int_equal(index_cursor(index, peer, 1), 0);
    peer[0] = 1;
    assert_int_equal(index_cursor(index, peer, 1), 1);
    index_close(index);
}

static void what_others_have_is_pending_once(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_row row = make("a", SYNC_FILE, 100, 2, 5);
    assert_int_equal(take(index, peer_a, &row, 1), 1);
    assert_int_equal(take(index, peer_b, &row, 9), 0); /* the same of another */
    struct sync_pending *pending;
    struct index_totals totals;
    size_t count;
    index_close(index);
    index = open_index();
    assert_int_equal(index_totals(index, &totals), ERR_OK);
    assert_true(totals.pending == 1 && totals.pending_bytes == 100 && totals.files == 0);
    assert_int_equal(index_list_pending(index, 0, 10, &pending, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_same(&pending[0].entry, &row.entry);
    assert_memory_equal(pending[0].source, peer_b, HASH_SIZE);
    assert_int_equal(index_drop_pending(index, pending[0].number), ERR_OK);
    assert_int_equal(index_drop_pending(index, pending[0].number), ERR_OK);
    assert_int_equal(index_totals(index, &totals), ERR_OK);
    assert_true(totals.pending == 0 && totals.pending_bytes == 0);
    sync_pending_free(&pending[0]);
    free(pending);
    sync_row_free(&row);
    index_close(index);
}

static void what_we_have_or_newer_is_not_pending(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_row row = make("a", SYNC_FILE, 100, 2, 5);
    assert_int_equal(index_put(index, &row), ERR_OK);
    assert_int_equal(take(index, peer_a, &row, 1), 0);
    edit(&row.entry.version, 3, 9);
    assert_int_equal(take(index, peer_a, &row, 2), 1);
    assert_int_equal(pending_of(index), 1);
    sync_row_free(&row);
    row = make("a", SYNC_FILE, 100, 2, 2);
    assert_int_equal(take(index, peer_b, &row, 2), 0); /* older */
    sync_row_free(&row);
    index_close(index);
}

static void pending_goes_where_a_descendant_comes(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_row one = make("a", SYNC_FILE, 1, 2, 5), other = make("a", SYNC_FILE, 2, 3, 5), joined;
    assert_int_equal(take(index, peer_a, &one, 1), 1);
    assert_int_equal(take(index, peer_b, &other, 1), 1);
    assert_int_equal(pending_of(index), 2); /* concurrent: both */
    joined = make("a", SYNC_FILE, 3, 2, 5);
    edit(&joined.entry.version, 4, 20);
    assert_int_equal(take(index, peer_a, &joined, 2), 1);
    assert_int_equal(pending_of(index), 2); /* in the place of the first */
    edit(&joined.entry.version, 3, 30);
    assert_int_equal(take(index, peer_a, &joined, 3), 1);
    assert_int_equal(pending_of(index), 1); /* of both */
    assert_int_equal(take(index, peer_b, &one, 2), 0);
    assert_int_equal(take(index, peer_b, &other, 3), 0);
    struct sync_pending *pending;
    size_t count;
    assert_int_equal(index_list_pending(index, 0, 10, &pending, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(pending[0].entry.content.size, 3);
    assert_memory_equal(pending[0].source, peer_a, HASH_SIZE);
    uint64_t last = pending[0].number;
    sync_pending_free(&pending[0]);
    free(pending);
    assert_int_equal(index_list_pending(index, last, 10, &pending, &count), ERR_OK);
    assert_int_equal(count, 0);
    sync_row_free(&one);
    sync_row_free(&other);
    sync_row_free(&joined);
    index_close(index);
}

/* ---- intents and trash ---- */

static void intents_survive_until_they_are_dropped(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_row row = make("d/a", SYNC_FILE, 100, 2, 5);
    struct sync_intent first = {.name = strdup("d/a"),
                                .staged = strdup("x-100"),
                                .entry = row.entry,
                                .had = true,
                                .seen = {1, 2, 3, 4, 5, 6},
                                .trash = strdup("2026/a")},
                       second = {.name = strdup("d/b"), .entry = row.entry}, *intents;
    size_t count;
    assert_int_equal(index_add_intent(index, &first), ERR_OK);
    assert_int_equal(index_add_intent(index, &second), ERR_OK);
    assert_true(first.number > 0 && second.number > first.number);
    index_close(index);
    index = open_index();
    assert_int_equal(index_list_intents(index, &intents, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_string_equal(intents[0].name, "d/a");
    assert_string_equal(intents[0].staged, "x-100");
    assert_string_equal(intents[0].trash, "2026/a");
    assert_same(&intents[0].entry, &row.entry);
    assert_true(intents[0].had && stamp_equal(&intents[0].seen, &first.seen));
    assert_true(!intents[1].had && intents[1].staged == NULL && intents[1].trash == NULL);
    for (size_t i = 0; i < count; i++)
        sync_intent_free(&intents[i]);
    free(intents);
    assert_int_equal(index_drop_intent(index, first.number), ERR_OK);
    assert_int_equal(index_list_intents(index, &intents, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(intents[0].number, second.number);
    sync_intent_free(&intents[0]);
    free(intents);
    first.entry = second.entry = (struct sync_entry){0};
    sync_intent_free(&first);
    sync_intent_free(&second);
    sync_row_free(&row);
    index_close(index);
}

static void trash_is_listed_oldest_first_and_found_by_name_and_content(void **unused)
{
    (void)unused;
    struct sync_index *index = open_index();
    struct sync_trash items[3], *list, found;
    size_t count;
    uint64_t bytes;
    for (unsigned i = 0; i < 3; i++) {
        items[i] = (struct sync_trash){.size_bytes = 10 + i, .has_content = i != 1, .since_s = 1000 + i};
        items[i].name = strdup(i < 2 ? "a" : "b");
        items[i].place = strdup(i < 2 ? "2026/a" : "2026/b");
        items[i].content = content_of(10 + i);
        assert_int_equal(index_add_trash(index, &items[i]), ERR_OK);
    }
    index_close(index);
    index = open_index();
    assert_int_equal(index_trash_bytes(index, &bytes), ERR_OK);
    assert_int_equal(bytes, 33);
    assert_int_equal(index_list_trash(index, NULL, 0, 2, &list, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_true(list[0].since_s == 1000 && list[0].has_content && content_equal(&list[0].content, &items[0].content));
    assert_true(list[1].since_s == 1001 && !list[1].has_content && list[1].size_bytes == 11);
    for (size_t i = 0; i < count; i++)
        sync_trash_free(&list[i]);
    free(list);
    assert_int_equal(index_list_trash(index, "a", items[0].number, 9, &list, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(list[0].number, items[1].number);
    sync_trash_free(&list[0]);
    free(list);
    assert_int_equal(index_find_trash(index, &items[2].content, &found), ERR_OK);
    assert_string_equal(found.place, "2026/b");
    sync_trash_free(&found);
    assert_int_equal(index_find_trash(index, &items[1].content, &found), ERR_NOT_FOUND);
    assert_int_equal(index_drop_trash(index, items[2].number), ERR_OK);
    assert_int_equal(index_drop_trash(index, items[2].number), ERR_OK);
    assert_int_equal(index_find_trash(index, &items[2].content, &found), ERR_NOT_FOUND);
    assert_int_equal(index_trash_bytes(index, &bytes), ERR_OK);
    assert_int_equal(bytes, 21);
    for (size_t i = 0; i < 3; i++)
        sync_trash_free(&items[i]);
    index_close(index);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(cursors_are_of_one_peer_and_one_epoch),
        TEST(cursors_are_not_kept_without_end),
        TEST(what_others_have_is_pending_once),
        TEST(what_we_have_or_newer_is_not_pending),
        TEST(pending_goes_where_a_descendant_comes),
        TEST(intents_survive_until_they_are_dropped),
        TEST(trash_is_listed_oldest_first_and_found_by_name_and_content),
    };
    return cmocka_run_group_tests_name("sync_index_work", tests, NULL, NULL);
}
