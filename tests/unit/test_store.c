/* What every store does, through store.h alone. */
#include "both_stores_fixture.h"
#include "names.h"
#include "patience.h"

/* ---- registrations ---- */

static void registering_again_changes_only_what_is_different(void **state)
{
    (void)state;
    assert_int_equal(put(1, 0, 100).files_held, 100);
    assert_int_equal(put(1, 0, 100).files_held, 100);
    assert_int_equal(put(1, 50, 100).files_held, 100);
    assert_int_equal(found(NULL), 100);
    assert_int_equal(found("file 000149"), 1);
    assert_int_equal(found("file 000049"), 0);
    assert_int_equal(counts().holdings, 100);
}

static void a_peer_with_many_files_is_replaced_and_removed_in_bounded_sweeps(void **state)
{
    (void)state;
    put(1, 0, 1000);
    assert_int_equal(add(1, 1000, 1000).files_held, 2000);
    put(2, 1999, 1);
    assert_int_equal(put(1, 1500, 2).files_held, 2);
    assert_int_equal(found(NULL), 3);
    uint64_t expired = 0;
    assert_true(sweep_all(&expired) >= 2);
    assert_int_equal(expired, 0);
    assert_int_equal(counts().contents, 3);
    assert_int_equal(leave(2).err, ERR_OK);
    assert_int_equal(found("file 001999"), 0);
    sweep_all(&expired);
    assert_int_equal(expired, 0);
    assert_int_equal(counts().contents, 2);
    assert_int_equal(counts().peers, 1);
}

static void what_many_hold_stays_until_the_last_one_leaves(void **state)
{
    (void)state;
    for (uint8_t peer = 1; peer <= 5; peer++)
        put(peer, 0, 10);
    for (uint8_t peer = 1; peer < 5; peer++)
        assert_int_equal(leave(peer).err, ERR_OK);
    sweep_all(NULL);
    assert_int_equal(found("*.txt"), 10);
    assert_int_equal(leave(5).err, ERR_OK);
    assert_int_equal(found("*.txt"), 0);
    sweep_all(NULL);
    assert_int_equal(counts().contents, 0);
}

static void a_write_that_fails_spoils_no_other_of_its_batch(void **state)
{
    (void)state;
    struct register_request good = registration_of(1, 0, 3), rival = registration_of(1, 3, 3);
    struct register_request last = registration_of(2, 6, 3);
    rival.has_instance = true;
    rival.address.port = 7777;
    struct store_write batch[] = {
        {.op = STORE_REGISTER, .registration = &good},
        {.op = STORE_REGISTER, .registration = &rival},
        {.op = STORE_HEARTBEAT, .id = {9}},
        {.op = STORE_REGISTER, .registration = &last},
    };
    struct store_write *writes[] = {&batch[0], &batch[1], &batch[2], &batch[3]};
    assert_int_equal(store_apply(store, writes, 4, NULL), ERR_OK);
    assert_int_equal(batch[0].err, ERR_OK);
    assert_int_equal(batch[1].err, ERR_CONFLICT);
    assert_int_equal(batch[2].err, ERR_NOT_FOUND);
    assert_int_equal(batch[3].err, ERR_OK);
    assert_int_equal(found(NULL), 6);
    register_request_free(&good);
    register_request_free(&rival);
    register_request_free(&last);
}

/* A store may write those first that change nothing, where such are usual. */
static void registrations_that_change_nothing_go_along_with_others(void **state)
{
    (void)state;
    for (uint8_t peer = 1; peer <= 3; peer++)
        put(peer, 0, 3);
    assert_int_equal(put(1, 0, 3).files_held, 3);
    struct register_request same = registration_of(2, 0, 3), changed = registration_of(3, 2, 5);
    struct register_request new = registration_of(4, 7, 2), rival = registration_of(1, 0, 3);
    struct store_write batch[] = {
        {.op = STORE_HEARTBEAT, .id = {1}},
        {.op = STORE_REGISTER, .registration = &same},
        {.op = STORE_REGISTER, .registration = &changed},
        {.op = STORE_HEARTBEAT, .id = {9}},
        {.op = STORE_REGISTER, .registration = &new},
        {.op = STORE_UNREGISTER, .id = {8}},
    };
    struct store_write *writes[] = {&batch[0], &batch[1], &batch[2], &batch[3], &batch[4], &batch[5]};
    assert_int_equal(store_apply(store, writes, 6, NULL), ERR_OK);
    static const enum err errors[] = {ERR_OK, ERR_OK, ERR_OK, ERR_NOT_FOUND, ERR_OK, ERR_NOT_FOUND};
    static const uint64_t held[] = {3, 3, 5, 0, 2, 0};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(batch[i].err, errors[i]);
        assert_int_equal(batch[i].err == ERR_OK ? batch[i].files_held : 0, held[i]);
    }
    assert_int_equal(counts().holdings, 3 + 3 + 5 + 2);
    assert_int_equal(found(NULL), 9);
    rival.has_instance = true;
    rival.address.port = 7777;
    batch[2].registration = &rival;
    assert_int_equal(put(2, 0, 3).err, ERR_OK);
    assert_int_equal(store_apply(store, writes + 1, 2, NULL), ERR_OK);
    assert_int_equal(batch[1].err, ERR_OK);
    assert_int_equal(batch[2].err, ERR_CONFLICT);
    register_request_free(&same);
    register_request_free(&changed);
    register_request_free(&new);
    register_request_free(&rival);
}

/* ---- time: sweeps go on all the while, as in a tracker; a store may take them as a sign that writes are possible ---- */

/* Registers where it has to, so that the peer is alive now. */
static void keep_alive(uint8_t peer, unsigned first, unsigned count)
{
    if (beat(peer).err != ERR_OK)
        assert_int_equal(put(peer, first, count).err, ERR_OK);
}

/* What is seen just after it was heard: where it took so long that it may have lapsed meanwhile, all is done again. */
#define LAPSE_MS 1000u
#define WHILE_ALIVE(steps)                                                                                             \
    for (uint64_t began_ms_ = 0; began_ms_ == 0 || timing_now_ms() - began_ms_ >= LAPSE_MS;) {                         \
        began_ms_ = timing_now_ms();                                                                                   \
        steps;                                                                                                         \
    }

struct view {
    size_t peers, rows, holders;
    enum err lapsed, alive;
};

static struct view look(void)
{
    struct content_holders holders;
    struct content lapsed = content_of(0), alive = content_of(2);
    struct view view = {.peers = peers_listed(), .rows = found(NULL)};
    view.lapsed = store_holders(store, lapsed.root, NULL, 10, &holders);
    content_holders_free(&holders);
    view.alive = store_holders(store, alive.root, NULL, 10, &holders);
    view.holders = view.alive == ERR_OK ? holders.holders_total : 0;
    content_holders_free(&holders);
    return view;
}

static void lapsed_peers_are_hidden_before_the_sweep(void **state)
{
    (void)state;
    reopen(LAPSE_MS);
    put(1, 0, 3);
    put(2, 2, 3);
    uint64_t expired = 0;
    PATIENCE_UNTIL(found("file 000000") == 0, (keep_alive(2, 2, 3), sweep_all(&expired), usleep(100000)));
    struct view view;
    WHILE_ALIVE((keep_alive(2, 2, 3), view = look()));
    assert_int_equal(view.peers, 1);
    assert_int_equal(view.rows, 3);
    assert_int_equal(view.lapsed, ERR_NOT_FOUND);
    assert_int_equal(view.alive, ERR_OK);
    assert_int_equal(view.holders, 1);
    struct files_request files = {0};
    assert_int_equal(beat(1).err, ERR_NOT_FOUND);
    assert_int_equal(leave(1).err, ERR_NOT_FOUND);
    assert_int_equal(change(1, &files).err, ERR_NOT_FOUND);
    struct store_counts left;
    WHILE_ALIVE((keep_alive(2, 2, 3), sweep_all(&expired), left = counts()));
    assert_true(expired >= 1);
    assert_int_equal(left.contents, 3);
    assert_int_equal(left.peers, 1);
    WHILE_ALIVE((assert_int_equal(put(1, 0, 3).err, ERR_OK), view.rows = found("file 000000")));
    assert_int_equal(view.rows, 1);
}

static void a_lapsed_registration_is_nobodys(void **state)
{
    (void)state;
    reopen(300);
    put(1, 0, 2);
    struct register_request rival = registration_of(1, 5, 1);
    rival.has_instance = true;
    rival.address.port = 7777;
    struct store_write write = {.err = ERR_CONFLICT};
    const struct store_write attempt = {.op = STORE_REGISTER, .registration = &rival};
    PATIENCE_UNTIL(write.err == ERR_OK, (usleep(20000), sweep_all(NULL), write = apply(attempt)));
    assert_int_equal(write.files_held, 1);
    register_request_free(&rival);
}

static void a_restart_keeps_everything_and_gives_a_full_expiry(void **state)
{
    (void)state;
    put(1, 0, 3);
    put(2, 0, 1000);
    add(2, 1000, 500);
    leave(2);
    reopen(LAPSE_MS);
    usleep(LAPSE_MS * 1100);
    enum err err;
    WHILE_ALIVE((reopen(LAPSE_MS), err = beat(1).err));
    assert_int_equal(err, ERR_OK);
    reopen(EXPIRE_MS);
    assert_int_equal(found(NULL), 3);
    assert_int_equal(beat(1).err, ERR_OK);
    assert_int_equal(beat(2).err, ERR_NOT_FOUND);
    sweep_all(NULL);
    assert_int_equal(counts().peers, 1);
    assert_int_equal(counts().contents, 3);
    reopen(500);
    PATIENCE_UNTIL(peers_listed() == 0, (sweep_all(NULL), usleep(20000)));
}

static void an_age_is_the_time_since_the_last_word(void **state)
{
    (void)state;
    struct peer_list peers;
    put(1, 0, 1);
    usleep(100000);
    assert_int_equal(store_peers(store, NULL, 10, &peers), ERR_OK);
    assert_in_range(peers.items[0].age_ms, 100, EXPIRE_MS);
    assert_int_equal(peers.items[0].files, 1);
    uint64_t first_ms = peers.items[0].age_ms;
    peer_list_free(&peers);
    assert_int_equal(beat(1).err, ERR_OK);
    assert_int_equal(store_peers(store, NULL, 10, &peers), ERR_OK);
    assert_in_range(peers.items[0].age_ms, 0, first_ms + PATIENCE_S * 1000);
    peer_list_free(&peers);
}

/* ---- what outlives a start ---- */

static void the_tracker_keeps_its_id(void **state)
{
    (void)state;
    uint8_t first[HASH_SIZE], nothing[HASH_SIZE] = {0};
    memcpy(first, store_id(store), HASH_SIZE);
    assert_memory_not_equal(first, nothing, HASH_SIZE);
    reopen(EXPIRE_MS);
    assert_memory_equal(store_id(store), first, HASH_SIZE);
}

static void the_clock_goes_on_above_all_that_it_showed(void **state)
{
    (void)state;
    struct lamport *clock = lamport_new(store_clock(store));
    assert_non_null(clock);
    store_keep_clock(store, clock);
    uint64_t shown;
    assert_int_equal(lamport_receive(clock, 5000000, &shown), ERR_OK);
    for (unsigned i = 0; i < 3000; i++)
        shown = lamport_tick(clock);
    assert_true(shown > 5003000);
    reopen(EXPIRE_MS);
    lamport_free(clock);
    assert_true(store_clock(store) >= shown);
}

/* ---- reads ---- */

static void a_malformed_cursor_is_invalid(void **state)
{
    (void)state;
    static const char *const wrong[] = {"x", "-1", "", "1 ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct file_list files;
        struct peer_list peers;
        assert_int_equal(store_search(store, NULL, wrong[i], 10, &files), ERR_INVALID);
        assert_int_equal(store_search(store, "abc", wrong[i], 10, &files), ERR_INVALID);
        assert_int_equal(store_peers(store, wrong[i], 10, &peers), ERR_INVALID);
        file_list_free(&files);
        peer_list_free(&peers);
    }
}

static void pages_have_each_row_once(void **state)
{
    (void)state;
    bool seen[100] = {false};
    char *after = NULL;
    size_t rows = 0;
    put(1, 0, 60);
    put(2, 40, 60);
    do {
        struct file_list page;
        assert_int_equal(store_search(store, rows < 50 ? ".txt" : "*.txt", after, 7, &page), ERR_OK);
        assert_in_range(page.count, 1, 7);
        free(after);
        after = page.next;
        page.next = NULL;
        for (size_t i = 0; i < page.count; i++) {
            unsigned number = (unsigned)strtoul(page.items[i].name + 5, NULL, 10);
            assert_in_range(number, 0, 99);
            assert_false(seen[number]);
            seen[number] = true;
            assert_int_equal(page.items[i].holders, number >= 40 && number < 60 ? 2 : 1);
        }
        rows += page.count;
        file_list_free(&page);
    } while (after);
    assert_int_equal(rows, 100);
}

static void a_page_of_long_names_ends_before_it_is_too_long(void **state)
{
    (void)state;
    char name[2048];
    struct register_request request = registration_of(1, 0, 0);
    for (unsigned i = 0; i < 200; i++) {
        struct content content = content_of(i);
        int length = snprintf(name, sizeof name, "%04u", i);
        for (; length < 2000; length++)
            name[length] = length % 200 == 199 ? '/' : 'x';
        name[length] = '\0';
        assert_int_equal(file_list_add(&request.files, name, &content, true), ERR_OK);
    }
    assert_int_equal(apply((struct store_write){.op = STORE_REGISTER, .registration = &request}).err, ERR_OK);
    register_request_free(&request);
    struct file_list page;
    assert_int_equal(store_search(store, "xxx", NULL, ITEMS_MAX, &page), ERR_OK);
    assert_in_range(page.count, 60, STORE_PAGE_BYTES / 2000);
    assert_non_null(page.next);
    struct file_list rest;
    assert_int_equal(store_search(store, "xxx", page.next, ITEMS_MAX, &rest), ERR_OK);
    assert_in_range(rest.count, 60, STORE_PAGE_BYTES / 2000);
    file_list_free(&rest);
    file_list_free(&page);
}

/* ---- what a search finds ---- */

static const char *const searched_names[] = {
    "arq1.txt",
    "Arq2.TXT",
    "music/\xc3\x89t\xc3\xa9 \xc3\xa0 Paris.ogg",
    "100% sure.txt",
    "100 sure.txt",
    "under_sc",
    "underXsc",
    "quote \"it\" 's.txt",
    "a",
    "ab",
    "b/a.c",
    "b/a.cc",
    "[x].iso",
    "back\\slash",
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e.txt",
    "OR AND NOT",
    "\xd0\xaf\xd0\xb1\xd0\xbb\xd0\xbe\xd0\xba\xd0\xbe",
    ("Stra\xc3\x9f"
     "e.pdf"),
    "STRASSE.pdf",
    "\xce\xa3\xce\xb1\xcf\x82.mp3",
    "e\xcc\x81t.ogg",
    "\xc4\xb0stanbul",
    "istanbul",
    "x--y",
    "$1 $$ $body$",
    "%s%n",
    "a'b''c",
    "{}",
    "tab.tar.gz",
};

static const char *const searched_patterns[] = {
    "arq",
    "ARQ2",
    "\xc3\xa9t\xc3\xa9",
    "\xc3\x89T\xc3\x89",
    "0% s",
    "r_s",
    "\"it\"",
    "' OR 1",
    "t\" 's",
    "and",
    "[x]",
    "k\\s",
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
    "\xe6\x97\xa5",
    "a",
    "A",
    "AB",
    "b",
    "*.c",
    "b*c",
    "?",
    "a?",
    "ar*.t?t",
    "*[x]*",
    "nothing like it",
    "zz",
    "\xd1\x8f\xd0\xb1\xd0\xbb",
    "\xd0\xaf\xd0\x91\xd0\x9b",
    "strasse",
    "stra\xc3\x9f"
    "e",
    "STRA\xc3\x9f"
    "E",
    "\xcf\x83\xce\xb1\xcf\x82",
    "\xce\xa3\xce\x91\xce\xa3",
    "et\xc3\xa9",
    "istanbul",
    "\xc4\xb0st",
    "--y",
    "$$",
    "%s%",
    "_",
    "%",
    "b''",
    "'",
    "\\",
    "*\\*",
    "*%*",
    "*_*",
    "{}",
    "tar.gz",
    "*.tar.*",
    "**",
    "???",
    "*a*",
    "\xc3\x89",
    "*\xc3\xa9*",
    "?t\xc3\xa9*",
    ".txt",
    "txt ",
    " s",
};

#define SEARCHED_NAMES (sizeof searched_names / sizeof searched_names[0])

/* Registers the names above; content_of(i) is what bears the i-th. */
static void put_searched_names(void)
{
    struct register_request request = registration_of(1, 0, 0);
    for (unsigned i = 0; i < SEARCHED_NAMES; i++) {
        struct content content = content_of(i);
        assert_int_equal(names_check(searched_names[i], strlen(searched_names[i]), NULL), ERR_OK);
        assert_int_equal(file_list_add(&request.files, searched_names[i], &content, true), ERR_OK);
    }
    assert_int_equal(apply((struct store_write){.op = STORE_REGISTER, .registration = &request}).err, ERR_OK);
    register_request_free(&request);
}

static void search_finds_what_names_match_says(void **state)
{
    (void)state;
    put_searched_names();
    for (size_t i = 0; i < sizeof searched_patterns / sizeof searched_patterns[0]; i++) {
        const char *pattern = searched_patterns[i];
        bool got[SEARCHED_NAMES] = {false};
        struct file_list list;
        assert_int_equal(store_search(store, pattern, NULL, ITEMS_MAX, &list), ERR_OK);
        assert_null(list.next);
        for (size_t row = 0; row < list.count; row++) {
            unsigned number;
            memcpy(&number, list.items[row].content.root, sizeof number);
            assert_in_range(number, 0, SEARCHED_NAMES - 1);
            assert_false(got[number]);
            assert_string_equal(list.items[row].name, searched_names[number]);
            got[number] = true;
        }
        for (unsigned n = 0; n < SEARCHED_NAMES; n++)
            if (got[n] != names_match(pattern, searched_names[n]))
                fail_msg("\"%s\": \"%s\" was %s", pattern, searched_names[n], got[n] ? "found" : "not found");
        file_list_free(&list);
    }
}

static void a_sample_of_holders_is_random(void **state)
{
    (void)state;
    struct content content = content_of(0);
    bool seen[41] = {false};
    size_t count = 0;
    for (uint8_t peer = 1; peer <= 40; peer++)
        put(peer, 0, 1);
    for (unsigned round = 0; round < 400 && count < 40; round++) {
        struct content_holders holders;
        assert_int_equal(store_holders(store, content.root, &content.size, 5, &holders), ERR_OK);
        assert_int_equal(holders.holder_count, 5);
        assert_int_equal(holders.holders_total, 40);
        bool now[41] = {false};
        for (size_t i = 0; i < 5; i++) {
            uint8_t peer = holders.holders[i].id[0];
            assert_in_range(peer, 1, 40);
            assert_false(now[peer]);
            now[peer] = true;
            count += !seen[peer];
            seen[peer] = true;
        }
        content_holders_free(&holders);
    }
    assert_int_equal(count, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registering_again_changes_only_what_is_different),
        cmocka_unit_test(registrations_that_change_nothing_go_along_with_others),
        cmocka_unit_test(a_peer_with_many_files_is_replaced_and_removed_in_bounded_sweeps),
        cmocka_unit_test(what_many_hold_stays_until_the_last_one_leaves),
        cmocka_unit_test(a_write_that_fails_spoils_no_other_of_its_batch),
        cmocka_unit_test(lapsed_peers_are_hidden_before_the_sweep),
        cmocka_unit_test(a_lapsed_registration_is_nobodys),
        cmocka_unit_test(a_restart_keeps_everything_and_gives_a_full_expiry),
        cmocka_unit_test(an_age_is_the_time_since_the_last_word),
        cmocka_unit_test(the_tracker_keeps_its_id),
        cmocka_unit_test(the_clock_goes_on_above_all_that_it_showed),
        cmocka_unit_test(a_malformed_cursor_is_invalid),
        cmocka_unit_test(pages_have_each_row_once),
        cmocka_unit_test(a_page_of_long_names_ends_before_it_is_too_long),
        cmocka_unit_test(search_finds_what_names_match_says),
        cmocka_unit_test(a_sample_of_holders_is_random),
    };
    return RUN_WITH_BOTH_STORES(tests);
}
