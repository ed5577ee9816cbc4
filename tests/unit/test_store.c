/*
 * What every store does, through store.h alone: the same tests for SQLite and for PostgreSQL.  The latter need
 * ENXAME_TEST_POSTGRES, the beginning of a URI to which a database's name is appended, of one who may make databases;
 * tests/e2e/postgres.py runs them with it.
 */
#include "names.h"
#include "patience.h"
#include "store_fixture.h"

#include <sys/stat.h>

/* ---- a store for each test ---- */

static char folder[] = "/tmp/enxame-store-XXXXXX";
static char location[1024]; /* of the test's store, empty at first */

static int sqlite_set_up(void **state)
{
    (void)state;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (!mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    snprintf(location, sizeof location, "test.db");
    open_store_at(location, EXPIRE_MS);
    return 0;
}

static int sqlite_tear_down(void **state)
{
    (void)state;
    store_close(store);
    store = NULL;
    static const char *const left[] = {"test.db", "test.db-wal", "test.db-shm", "test.db.lock"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        unlink(left[i]);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static const char *postgres(void)
{
    return getenv("ENXAME_TEST_POSTGRES");
}

/* Runs a statement in the administrator's database. */
static int postgres_run(const char *statement)
{
    char command[1200];
    snprintf(command, sizeof command, "psql -X -q -d \"${ENXAME_TEST_POSTGRES}postgres\" -c '%s' </dev/null",
             statement);
    return system(command) == 0 ? 0 : -1;
}

static char database[64];

static int postgres_set_up(void **state)
{
    (void)state;
    static unsigned tests;
    char statement[128];
    snprintf(database, sizeof database, "unit_%d_%u", (int)getpid(), tests++);
    snprintf(statement, sizeof statement, "CREATE DATABASE %s", database);
    snprintf(location, sizeof location, "%s%s", postgres(), database);
    if (postgres_run(statement) != 0)
        return -1;
    open_store_at(location, EXPIRE_MS);
    return 0;
}

static int postgres_tear_down(void **state)
{
    (void)state;
    char statement[128];
    store_close(store);
    store = NULL;
    snprintf(statement, sizeof statement, "DROP DATABASE %s WITH (FORCE)", database);
    return postgres_run(statement);
}

static void reopen(uint64_t expire_ms)
{
    store_close(store);
    store = NULL;
    open_store_at(location, expire_ms);
}

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

/* ---- time: sweeps go on all the while, as in a tracker; a store may take them as a sign that writes are possible ---- */

/* Registers where it has to, so that the peer is alive now. */
static void keep_alive(uint8_t peer, unsigned first, unsigned count)
{
    if (beat(peer).err != ERR_OK)
        assert_int_equal(put(peer, first, count).err, ERR_OK);
}

static void lapsed_peers_are_hidden_before_the_sweep(void **state)
{
    (void)state;
    reopen(1000);
    put(1, 0, 3);
    put(2, 2, 3);
    uint64_t expired = 0;
    PATIENCE_UNTIL(found("file 000000") == 0, (keep_alive(2, 2, 3), sweep_all(&expired), usleep(100000)));
    keep_alive(2, 2, 3);
    assert_int_equal(peers_listed(), 1);
    assert_int_equal(found(NULL), 3);
    struct content_holders holders;
    struct content content = content_of(0);
    assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_NOT_FOUND);
    content_holders_free(&holders);
    content = content_of(2);
    assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_OK);
    assert_int_equal(holders.holders_total, 1);
    content_holders_free(&holders);
    struct files_request files = {0};
    assert_int_equal(beat(1).err, ERR_NOT_FOUND);
    assert_int_equal(leave(1).err, ERR_NOT_FOUND);
    assert_int_equal(change(1, &files).err, ERR_NOT_FOUND);
    keep_alive(2, 2, 3);
    sweep_all(&expired);
    assert_true(expired >= 1);
    assert_int_equal(counts().contents, 3);
    assert_int_equal(counts().peers, 1);
    assert_int_equal(put(1, 0, 3).err, ERR_OK);
    assert_int_equal(found("file 000000"), 1);
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
    reopen(2000);
    put(1, 0, 3);
    put(2, 0, 1000);
    add(2, 1000, 500);
    leave(2);
    usleep(2100000);
    reopen(2000);
    assert_int_equal(beat(1).err, ERR_OK);
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

static void search_finds_what_names_match_says(void **state)
{
    (void)state;
    static const char *const names[] = {
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
    static const char *const patterns[] = {
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
    enum { NAMES = sizeof names / sizeof names[0] };
    struct register_request request = registration_of(1, 0, 0);
    for (unsigned i = 0; i < NAMES; i++) {
        struct content content = content_of(i);
        assert_int_equal(names_check(names[i], strlen(names[i]), NULL), ERR_OK);
        assert_int_equal(file_list_add(&request.files, names[i], &content, true), ERR_OK);
    }
    assert_int_equal(apply((struct store_write){.op = STORE_REGISTER, .registration = &request}).err, ERR_OK);
    register_request_free(&request);
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        bool got[NAMES] = {false};
        struct file_list list;
        assert_int_equal(store_search(store, patterns[i], NULL, ITEMS_MAX, &list), ERR_OK);
        assert_null(list.next);
        for (size_t row = 0; row < list.count; row++) {
            unsigned number;
            memcpy(&number, list.items[row].content.root, sizeof number);
            assert_in_range(number, 0, NAMES - 1);
            assert_false(got[number]);
            assert_string_equal(list.items[row].name, names[number]);
            got[number] = true;
        }
        for (unsigned n = 0; n < NAMES; n++)
            if (got[n] != names_match(patterns[i], names[n]))
                fail_msg("\"%s\": \"%s\" was %s", patterns[i], names[n], got[n] ? "found" : "not found");
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

/* ---- a store is its model ---- */

enum { PEERS = 5, CONTENTS = 6, NAMES = 4, BATCH = 10, ROUNDS = 120 };
enum { FREE, PARTIAL, COMPLETE };

static const char *const model_names[NAMES] = {"a.txt", "B.txt", "sub/a.txt", "\xc3\xbc.txt"};

struct model_peer {
    bool alive;
    uint8_t instance; /* 0: none */
    uint16_t port;
    uint8_t held[CONTENTS][NAMES];
};
static struct model_peer model[PEERS];
static uint64_t model_random;

static unsigned any_of(unsigned count)
{
    model_random = model_random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model_random >> 33) % count;
}

/* Two of them share a root. */
static struct content model_content(unsigned number)
{
    struct content content = {.root = {0x40 + (uint8_t)(number / 2)}, .size = 7 + number % 2};
    return content;
}

static uint64_t model_files(const struct model_peer *peer)
{
    uint64_t files = 0;
    for (unsigned content = 0; content < CONTENTS; content++)
        for (unsigned name = 0; name < NAMES; name++)
            files += peer->held[content][name] != FREE;
    return files;
}

/* Up to `count` files, the same one more than once now and then; adds them to the model, too. */
static void model_add(struct model_peer *peer, struct file_list *list, unsigned count)
{
    while (count-- > 0) {
        unsigned number = any_of(CONTENTS), name = any_of(NAMES);
        bool complete = any_of(2);
        struct content content = model_content(number);
        assert_int_equal(file_list_add(list, model_names[name], &content, complete), ERR_OK);
        peer->held[number][name] = complete ? COMPLETE : PARTIAL;
    }
}

struct step {
    struct store_write write;
    struct register_request registration;
    struct files_request files;
    enum err err; /* as it must be */
    uint64_t files_held;
};

static void model_register(struct model_peer *peer, struct step *step)
{
    struct register_request *request = &step->registration;
    uint8_t instance = (uint8_t)any_of(3), previous = (uint8_t)any_of(3);
    *request = registration_of((uint8_t)(1 + peer - model), 0, 0);
    request->address.port = (uint16_t)(7000 + any_of(2));
    request->has_instance = instance > 0;
    request->instance[0] = instance;
    request->has_previous = previous > 0;
    request->previous[0] = previous;
    bool successor = !peer->instance ? !instance : peer->instance == instance || peer->instance == previous;
    struct model_peer next = {.alive = true, .instance = instance, .port = request->address.port};
    model_add(&next, &request->files, any_of(8));
    step->write = (struct store_write){.op = STORE_REGISTER, .registration = request};
    if (peer->alive && !successor && peer->port != request->address.port) {
        step->err = ERR_CONFLICT;
        return;
    }
    *peer = next;
    step->files_held = model_files(peer);
}

static void model_change(struct model_peer *peer, struct step *step)
{
    struct model_peer next = *peer;
    for (unsigned left = any_of(4); left > 0; left--) {
        unsigned number = any_of(CONTENTS), name = any_of(NAMES + 1);
        struct content content = model_content(number);
        assert_int_equal(file_list_add(&step->files.remove, model_names[name % NAMES], &content, false), ERR_OK);
        if (name < NAMES) {
            next.held[number][name] = FREE;
            continue;
        }
        struct file_record *record = &step->files.remove.items[step->files.remove.count - 1];
        free(record->name);
        record->name = NULL;
        memset(next.held[number], FREE, NAMES);
    }
    model_add(&next, &step->files.add, any_of(6));
    step->write.op = STORE_FILES;
    step->write.files = &step->files;
    if (peer->alive)
        *peer = next;
}

static void model_step(struct step *step)
{
    struct model_peer *peer = &model[any_of(PEERS)];
    *step = (struct step){.write = {.op = STORE_HEARTBEAT}};
    switch (any_of(8)) {
    case 0:
    case 1:
    case 2:
        model_register(peer, step);
        return;
    case 3:
    case 4:
        model_change(peer, step);
        break;
    case 5:
        step->write.op = STORE_UNREGISTER;
        break;
    case 6:
        step->write.op = STORE_SWEEP;
        return;
    default:
        break;
    }
    step->write.id[0] = (uint8_t)(1 + peer - model);
    step->err = peer->alive ? ERR_OK : ERR_NOT_FOUND;
    if (step->write.op == STORE_UNREGISTER)
        *peer = (struct model_peer){0};
    step->files_held = model_files(peer);
}

static void apply_and_compare(void)
{
    struct step steps[BATCH];
    struct store_write *writes[BATCH];
    unsigned count = 1 + any_of(BATCH);
    for (unsigned i = 0; i < count; i++) {
        model_step(&steps[i]);
        writes[i] = &steps[i].write;
    }
    assert_int_equal(store_apply(store, writes, count, NULL), ERR_OK);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(writes[i]->err, steps[i].err);
        if (writes[i]->err == ERR_OK && writes[i]->op != STORE_UNREGISTER && writes[i]->op != STORE_SWEEP)
            assert_int_equal(writes[i]->files_held, steps[i].files_held);
        assert_int_equal(writes[i]->expired, 0);
        register_request_free(&steps[i].registration);
        files_request_free(&steps[i].files);
    }
}

/* What the peer has of a content, under any name. */
static uint8_t model_has(const struct model_peer *peer, unsigned content)
{
    uint8_t best = FREE;
    for (unsigned name = 0; name < NAMES; name++)
        best = peer->held[content][name] > best ? peer->held[content][name] : best;
    return best;
}

static uint64_t model_holders(unsigned content)
{
    uint64_t holders = 0;
    for (unsigned i = 0; i < PEERS; i++)
        holders += model_has(&model[i], content) != FREE;
    return holders;
}

static bool model_is_named(unsigned content, unsigned name)
{
    for (unsigned i = 0; i < PEERS; i++)
        if (model[i].held[content][name] != FREE)
            return true;
    return false;
}

static void compare_catalogue(void)
{
    struct file_list list;
    size_t rows = 0;
    assert_int_equal(store_search(store, NULL, NULL, ITEMS_MAX, &list), ERR_OK);
    for (unsigned content = 0; content < CONTENTS; content++)
        for (unsigned name = 0; name < NAMES; name++) {
            size_t times = 0;
            struct content wanted = model_content(content);
            for (size_t i = 0; i < list.count; i++) {
                if (strcmp(list.items[i].name, model_names[name]) != 0 || list.items[i].content.size != wanted.size ||
                    memcmp(list.items[i].content.root, wanted.root, HASH_SIZE) != 0)
                    continue;
                times++;
                assert_int_equal(list.items[i].holders, model_holders(content));
            }
            assert_int_equal(times, model_is_named(content, name));
            rows += times;
        }
    assert_int_equal(list.count, rows);
    file_list_free(&list);
}

static void compare_holders(unsigned number, const struct content_holders *holders)
{
    assert_int_equal(holders->holder_count, model_holders(number));
    assert_int_equal(holders->holders_total, model_holders(number));
    for (size_t i = 0; i < holders->holder_count; i++) {
        const struct peer_record *holder = &holders->holders[i];
        assert_in_range(holder->id[0], 1, PEERS);
        const struct model_peer *peer = &model[holder->id[0] - 1];
        assert_int_not_equal(model_has(peer, number), FREE);
        assert_int_equal(holder->complete, model_has(peer, number) == COMPLETE);
        assert_int_equal(holder->address.port, peer->port);
    }
}

static void compare_content(unsigned number)
{
    struct content content = model_content(number);
    struct content_holders holders;
    uint64_t others = model_holders(number ^ 1);
    enum err err = store_holders(store, content.root, &content.size, 100, &holders);
    assert_int_equal(err, model_holders(number) ? ERR_OK : ERR_NOT_FOUND);
    if (err == ERR_OK) {
        size_t names = 0;
        compare_holders(number, &holders);
        for (unsigned name = 0; name < NAMES; name++)
            names += model_is_named(number, name);
        assert_int_equal(holders.name_count, names);
        for (size_t i = 0; i + 1 < names; i++)
            assert_true(strcmp(holders.names[i], holders.names[i + 1]) < 0);
        assert_int_equal(holders.other_size_count, others > 0);
    }
    content_holders_free(&holders);
    if (others && model_holders(number) > others) {
        assert_int_equal(store_holders(store, content.root, NULL, 100, &holders), ERR_OK);
        assert_int_equal(holders.content.size, content.size);
        content_holders_free(&holders);
    }
}

static void compare_peers(void)
{
    struct peer_list peers;
    uint64_t alive = 0, holdings = 0;
    assert_int_equal(store_peers(store, NULL, ITEMS_MAX, &peers), ERR_OK);
    for (unsigned i = 0; i < PEERS; i++) {
        if (!model[i].alive)
            continue;
        assert_true(alive < peers.count);
        const struct peer_record *row = &peers.items[alive++]; /* by id */
        assert_int_equal(row->id[0], i + 1);
        assert_int_equal(row->address.port, model[i].port);
        assert_int_equal(row->files, model_files(&model[i]));
        holdings += row->files;
    }
    assert_int_equal(peers.count, alive);
    peer_list_free(&peers);
    assert_int_equal(counts().peers, alive);
    assert_int_equal(counts().holdings, holdings);
}

static void compare_many(void)
{
    struct content asked[CONTENTS];
    struct contents_request request = {asked, CONTENTS};
    struct holders_answer answer;
    size_t next = 0;
    for (unsigned i = 0; i < CONTENTS; i++)
        asked[i] = model_content(CONTENTS - 1 - i);
    assert_int_equal(store_holders_of(store, &request, 100, &answer), ERR_OK);
    for (unsigned i = 0; i < CONTENTS; i++)
        if (model_holders(CONTENTS - 1 - i)) {
            assert_true(next < answer.count);
            assert_memory_equal(answer.items[next].content.root, asked[i].root, HASH_SIZE);
            assert_int_equal(answer.items[next].content.size, asked[i].size);
            compare_holders(CONTENTS - 1 - i, &answer.items[next++]);
        }
    assert_int_equal(answer.count, next);
    holders_answer_free(&answer);
}

static void random_batches_leave_what_one_write_after_the_other_would(void **state)
{
    (void)state;
    memset(model, 0, sizeof model);
    model_random = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        apply_and_compare();
        compare_catalogue();
        compare_peers();
        compare_many();
        for (unsigned content = 0; content < CONTENTS; content++)
            compare_content(content);
        if (round % 40 == 39) {
            uint64_t held = 0;
            reopen(EXPIRE_MS);
            sweep_all(NULL);
            for (unsigned content = 0; content < CONTENTS; content++)
                held += model_holders(content) > 0;
            assert_int_equal(counts().contents, held);
        }
    }
}

/* ---- both stores ---- */

static void postgres_is_left_out_without_ENXAME_TEST_POSTGRES(void **state)
{
    (void)state;
    skip();
}

#define TEST(name)                                                                                                     \
    {                                                                                                                  \
#name, name, set_up, tear_down, NULL                                                                           \
    }

static int run_all(const char *store_name, CMFixtureFunction set_up, CMFixtureFunction tear_down)
{
    const struct CMUnitTest tests[] = {
        TEST(registering_again_changes_only_what_is_different),
        TEST(a_peer_with_many_files_is_replaced_and_removed_in_bounded_sweeps),
        TEST(what_many_hold_stays_until_the_last_one_leaves),
        TEST(a_write_that_fails_spoils_no_other_of_its_batch),
        TEST(lapsed_peers_are_hidden_before_the_sweep),
        TEST(a_lapsed_registration_is_nobodys),
        TEST(a_restart_keeps_everything_and_gives_a_full_expiry),
        TEST(an_age_is_the_time_since_the_last_word),
        TEST(the_tracker_keeps_its_id),
        TEST(the_clock_goes_on_above_all_that_it_showed),
        TEST(a_malformed_cursor_is_invalid),
        TEST(pages_have_each_row_once),
        TEST(a_page_of_long_names_ends_before_it_is_too_long),
        TEST(search_finds_what_names_match_says),
        TEST(a_sample_of_holders_is_random),
        TEST(random_batches_leave_what_one_write_after_the_other_would),
    };
    return cmocka_run_group_tests_name(store_name, tests, NULL, NULL);
}

int main(void)
{
    int failed = run_all("SQLite", sqlite_set_up, sqlite_tear_down);
    if (postgres())
        return failed + run_all("PostgreSQL", postgres_set_up, postgres_tear_down);
    const struct CMUnitTest left_out[] = {cmocka_unit_test(postgres_is_left_out_without_ENXAME_TEST_POSTGRES)};
    return failed + cmocka_run_group_tests_name("PostgreSQL", left_out, NULL, NULL);
}
