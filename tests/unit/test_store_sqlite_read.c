/* The SQLite store's reads where there is much to read: large swarms, contents with many names, pages that take their time. */
#include "store_fixture.h"
#include "store_sqlite.h"

#include <unistd.h>

static void open_with(uint64_t read_us)
{
    struct why why = {""};
    const struct store_options options = {
        .location = "test.db", .expire_ms = EXPIRE_MS, .readers = 1, .read_us = read_us};
    if (store_open(&options, &store, &why) != ERR_OK)
        fail_msg("%s", why.text);
}

static int set_up(void **state)
{
    (void)state;
    if (enter_folder() != 0)
        return -1;
    open_with(60 * 1000000u);
    return 0;
}

/* ---- large swarms ---- */

enum { SWARM = HOLDERS_EXACT_MAX + 500 };

static void id_of(unsigned peer, uint8_t ret[static HASH_SIZE])
{
    memset(ret, 0, HASH_SIZE);
    memcpy(ret, &peer, sizeof peer);
}

/* Peers 1 to SWARM, of two ranges, hold content 0, the last one a part of it. */
static void fill_swarm(void)
{
    enum { BATCH = 100 };
    static struct register_request requests[BATCH];
    static struct store_write writes[BATCH];
    struct store_write *batch[BATCH];
    for (unsigned peer = 1; peer <= SWARM; peer += BATCH) {
        if (peer == 1)
            store_sqlite_of(store)->new_keys = (struct new_keys){RANGE_PEERS - SWARM / 3, RANGE_PEERS};
        else if (peer == 1 + SWARM / 3)
            store_sqlite_of(store)->new_keys = (struct new_keys){RANGE_PEERS, 2 * RANGE_PEERS};
        for (unsigned i = 0; i < BATCH; i++) {
            requests[i] = registration_of(1, 0, 1);
            id_of(peer + i, requests[i].id);
            requests[i].files.items[0].complete = peer + i < SWARM;
            writes[i] = (struct store_write){.op = STORE_REGISTER, .registration = &requests[i]};
            batch[i] = &writes[i];
        }
        assert_int_equal(store_apply(store, batch, BATCH, NULL), ERR_OK);
        for (unsigned i = 0; i < BATCH; i++)
            register_request_free(&requests[i]);
    }
}

/* A sample of the holders of content 0; `seen` gets who was in it, each once. */
static size_t sample(size_t limit, bool seen[static SWARM + 1])
{
    struct content content = content_of(0);
    struct content_holders holders;
    assert_int_equal(store_holders(store, content.root, NULL, limit, &holders), ERR_OK);
    bool now[SWARM + 1] = {false};
    size_t count = holders.holder_count;
    for (size_t i = 0; i < count; i++) {
        unsigned peer;
        memcpy(&peer, holders.holders[i].id, sizeof peer);
        assert_in_range(peer, 1, SWARM);
        assert_false(now[peer]);
        assert_int_equal(holders.holders[i].complete, peer < SWARM);
        now[peer] = seen[peer] = true;
    }
    assert_true(holders.holders_total >= count);
    assert_int_equal(holders.name_count, 1);
    content_holders_free(&holders);
    return count;
}

static void everyone_in_a_large_swarm_is_drawn(void **state)
{
    (void)state;
    bool seen[SWARM + 1] = {false};
    size_t drawn = 0;
    fill_swarm();
    for (unsigned round = 0; round < 1000 && drawn < SWARM; round++) {
        assert_int_equal(sample(100, seen), 100);
        drawn = 0;
        for (unsigned peer = 1; peer <= SWARM; peer++)
            drawn += seen[peer];
    }
    assert_int_equal(drawn, SWARM);
    assert_int_equal(sample(ITEMS_MAX, seen), ITEMS_MAX);
}

static void a_large_swarm_is_counted(void **state)
{
    (void)state;
    fill_swarm();
    struct file_list list;
    struct content_holders holders;
    struct content content = content_of(0);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(store_search(store, "file", NULL, 10, &list), ERR_OK);
        assert_int_equal(list.count, 1);
        assert_int_equal(list.items[0].holders, SWARM);
        file_list_free(&list);
        assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_OK);
        assert_int_equal(holders.holders_total, SWARM);
        content_holders_free(&holders);
    }
}

/* The sweep comes later than they leave. */
static void who_left_a_large_swarm_is_not_drawn(void **state)
{
    (void)state;
    bool seen[SWARM + 1] = {false};
    fill_swarm();
    assert_int_equal(sample(10, seen), 10);
    for (unsigned peer = 1; peer <= SWARM; peer++) {
        struct store_write write = {.op = STORE_UNREGISTER};
        id_of(peer, write.id);
        if (peer % 500)
            assert_int_equal(apply(write).err, ERR_OK);
    }
    memset(seen, false, sizeof seen);
    assert_int_equal(sample(100, seen), 3);
    assert_true(seen[500] && seen[1000] && seen[1500]);
    store_close(store); /* what was remembered of the swarm is forgotten: it is a small one now */
    open_with(60 * 1000000u);
    struct content content = content_of(0);
    struct content_holders holders;
    assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_OK);
    assert_int_equal(holders.holders_total, 3);
    content_holders_free(&holders);
}

/* An empty file has many names. */
static void many_names_do_not_make_many_holders(void **state)
{
    (void)state;
    enum { NAMES = 200 };
    for (uint8_t peer = 1; peer <= 3; peer++) {
        char name[32];
        struct content content = content_of(0);
        struct register_request request = registration_of(peer, 0, 0);
        for (unsigned i = 0; i < NAMES; i++) {
            snprintf(name, sizeof name, "%u/__init__.py", i);
            assert_int_equal(file_list_add(&request.files, name, &content, true), ERR_OK);
        }
        assert_int_equal(apply((struct store_write){.op = STORE_REGISTER, .registration = &request}).err, ERR_OK);
        register_request_free(&request);
    }
    struct file_list list;
    assert_int_equal(store_search(store, "init", NULL, ITEMS_MAX, &list), ERR_OK);
    assert_int_equal(list.count, NAMES);
    for (size_t i = 0; i < list.count; i++)
        assert_int_equal(list.items[i].holders, 3);
    file_list_free(&list);
    struct content content = content_of(0);
    struct content_holders holders;
    assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_OK);
    assert_int_equal(holders.holder_count, 3);
    assert_int_equal(holders.holders_total, 3);
    assert_int_equal(holders.name_count, NAMES);
    content_holders_free(&holders);
}

/* ---- pages that take their time ---- */

enum { FILES = 1000 };

/*
 * All pages of a search in which every step takes too long.  Between them a peer with other files comes and goes; of files
 * 0 to FILES - 1 each that matches is in one page.
 */
static void read_all_pages(const char *pattern, unsigned expected)
{
    static unsigned seen[FILES];
    char *after = NULL;
    unsigned pages = 0, rows = 0;
    memset(seen, 0, sizeof seen);
    do {
        struct file_list page;
        assert_int_equal(store_search(store, pattern, after, ITEMS_MAX, &page), ERR_OK);
        assert_in_range(page.count, 0, FILES / 2);
        for (size_t i = 0; i < page.count; i++) {
            unsigned number = (unsigned)strtoul(page.items[i].name + 5, NULL, 10);
            if (number < FILES) {
                assert_int_equal(seen[number]++, 0);
                rows++;
            }
        }
        free(after);
        after = page.next;
        page.next = NULL;
        file_list_free(&page);
        if (pages % 3 == 0)
            put(2, FILES + pages, 50);
        else if (pages % 3 == 1)
            assert_int_equal(leave(2).err, ERR_OK);
        else
            sweep_all(NULL);
        assert_in_range(++pages, 1, FILES);
    } while (after);
    assert_int_equal(rows, expected);
    assert_in_range(pages, 3, FILES);
}

static void pages_that_end_early_have_each_row_once(void **state)
{
    (void)state;
    store_close(store);
    open_with(1);
    put(1, 0, FILES);
    read_all_pages(NULL, FILES);
    read_all_pages(".txt", FILES);
    read_all_pages("*e*9?.t*", 100);
    read_all_pages("?*5*?*", 300 - 30 + 1);
}

/* So many that the index is asked for rare trigrams only. */
static void a_large_catalogue_is_searched_by_what_is_rare(void **state)
{
    (void)state;
    enum { THOUSANDS = 12 };
    put(1, 0, ITEMS_MAX);
    for (unsigned i = 1; i < THOUSANDS; i++)
        assert_int_equal(add(1, i * ITEMS_MAX, ITEMS_MAX).err, ERR_OK);
    assert_int_equal(found("file 011999.txt"), 1);
    assert_int_equal(found("FILE 0119"), 100);
    assert_int_equal(found("*9?87*t"), 10);
    assert_int_equal(found("file 012"), 0);
    assert_int_equal(found("011999.txt.txt"), 0);
    assert_int_equal(found("fi"), ITEMS_MAX);
}

/* Each name has all trigrams of the pattern but one, and "wanted" has it whole: to the index that is one step. */
static void names_that_share_trigrams_do_not_hold_a_page_up(void **state)
{
    (void)state;
    enum { NAMES = 10000, WANTED = 3333 };
    static const char pattern[] = "qzxwvkyjfh0q1z2x3w";
    unsigned rows = 0, pages = 0, trigrams = sizeof pattern - 3;
    char name[64], *after = NULL;
    store_close(store);
    open_with(1);
    put(1, 0, 0);
    for (unsigned number = 0; number < NAMES;) {
        struct files_request files = {0};
        do {
            struct content content = content_of(number);
            int lacks = (int)(number % trigrams);
            if (number == WANTED)
                snprintf(name, sizeof name, "wanted %s", pattern);
            else
                snprintf(name, sizeof name, "%.*s~%s %u", lacks + 2, pattern, pattern + lacks + 1, number);
            assert_int_equal(file_list_add(&files.add, name, &content, true), ERR_OK);
        } while (++number % ITEMS_MAX);
        assert_int_equal(change(1, &files).err, ERR_OK);
    }
    do {
        struct file_list page;
        assert_int_equal(store_search(store, pattern, after, ITEMS_MAX, &page), ERR_OK);
        for (size_t i = 0; i < page.count; i++, rows++)
            assert_memory_equal(page.items[i].name, "wanted ", 7);
        free(after);
        after = page.next;
        page.next = NULL;
        file_list_free(&page);
        assert_in_range(++pages, 1, NAMES);
    } while (after);
    assert_int_equal(rows, 1);
    assert_in_range(pages, 2, NAMES);
}

static void an_answer_of_holders_that_ends_early_goes_on(void **state)
{
    (void)state;
    enum { ASKED = 100 };
    static struct content items[2 * ASKED];
    size_t first = 0, answers = 0, found_in_all = 0;
    store_close(store);
    open_with(1);
    put(1, 0, ASKED);
    for (unsigned i = 0; i < 2 * ASKED; i++)
        items[i] = content_of(i % 2 ? i / 2 : FILES + i); /* every second one is nobody's */
    for (; first < 2 * ASKED; answers++) {
        const struct contents_request request = {items + first, 2 * ASKED - first};
        struct holders_answer answer;
        assert_int_equal(store_holders_of(store, &request, 1, &answer), ERR_OK);
        assert_in_range(answer.count, 1, ASKED);
        found_in_all += answer.count;
        const struct content *last = &answer.items[answer.count - 1].content;
        while (memcmp(items[first].root, last->root, HASH_SIZE) != 0)
            first++;
        first++;
        holders_answer_free(&answer);
    }
    assert_int_equal(found_in_all, ASKED);
    assert_in_range(answers, 2, ASKED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, leave_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_large_catalogue_is_searched_by_what_is_rare),
        TEST(everyone_in_a_large_swarm_is_drawn),
        TEST(a_large_swarm_is_counted),
        TEST(who_left_a_large_swarm_is_not_drawn),
        TEST(many_names_do_not_make_many_holders),
        TEST(pages_that_end_early_have_each_row_once),
        TEST(names_that_share_trigrams_do_not_hold_a_page_up),
        TEST(an_answer_of_holders_that_ends_early_goes_on),
    };
    return cmocka_run_group_tests_name("reads of the SQLite store", tests, NULL, NULL);
}
