#include "test.h"

#include "lamport.h"
#include "limits.h"
#include "messages_sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define VERSION "\"counters\":{\"" A "\":7,\"" B "\":9},\"author\":\"" A "\",\"time\":5"
#define FILE_MEMBERS "\"root\":\"" B "\",\"size\":5,\"mtime_s\":-2,\"mtime_ns\":500000000"
#define HEAD "{\"epoch\":3,\"sequence\":12,\"more\":false,\"entries\":["

static enum err parse(const char *text, struct sync_page *ret, struct why *why)
{
    return sync_page_parse(text, strlen(text), ret, why);
}

static void a_page_goes_there_and_back(void **state)
{
    (void)state;
    static const char text[] =
        HEAD "{\"name\":\"d/a\",\"kind\":\"file\"," FILE_MEMBERS ",\"executable\":true," VERSION "},"
             "{\"name\":\"d\",\"kind\":\"folder\"," VERSION "},"
             "{\"name\":\"old\",\"kind\":\"deleted\"," VERSION "}]}";
    struct sync_page page;
    struct why why = {.text = ""};
    if (parse(text, &page, &why))
        fail_msg("%s", why.text);
    assert_true(page.epoch == 3 && page.sequence == 12 && !page.more && page.count == 3 && page.skipped == 0);
    const struct sync_entry *file = &page.entries[0];
    assert_string_equal(file->name, "d/a");
    assert_true(file->kind == SYNC_FILE && file->executable && file->content.size == 5);
    assert_true(file->mtime_ns == -1500000000);
    assert_true(file->version.count == 2 && file->version.time == 5 && file->version.counters[1].counter == 9);
    assert_true(page.entries[1].kind == SYNC_FOLDER && page.entries[2].kind == SYNC_DELETED);
    char *again = sync_page_format(&page);
    assert_string_equal(again, text);
    free(again);
    sync_page_free(&page);
    sync_page_free(&page);
}

static void counters_come_in_any_order(void **state)
{
    (void)state;
    struct sync_page page;
    assert_int_equal(parse(HEAD "{\"name\":\"d\",\"kind\":\"folder\",\"counters\":{\"" B "\":9,\"" A
                                "\":7},\"author\":\"" B "\",\"time\":9}]}",
                           &page, NULL),
                     ERR_OK);
    assert_int_equal(page.count, 1);
    assert_true(version_is_valid(&page.entries[0].version));
    sync_page_free(&page);
}

static void an_entry_that_is_not_valid_is_left_out(void **state)
{
    (void)state;
#define NAMED(name) "{\"name\":\"" name "\",\"kind\":\"folder\"," VERSION "}"
#define VERSIONED(version) "{\"name\":\"a\",\"kind\":\"folder\"," version "}"
#define FILED(members) "{\"name\":\"a\",\"kind\":\"file\"," members "," VERSION "}"
    static const char *const entries[] = {
        NAMED("../a"),
        NAMED("/a"),
        NAMED("a/../b"),
        NAMED("a\\n"),
        NAMED(".enxame/a"),
        NAMED(""),
        NAMED("a/.Enxame"),
        "7",
        "{\"kind\":\"folder\"," VERSION "}",
        "{\"name\":\"a\"," VERSION "}",
        "{\"name\":\"a\",\"kind\":\"pipe\"," VERSION "}",
        "{\"name\":\"a\",\"kind\":1," VERSION "}",
        VERSIONED("\"counters\":{},\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"counters\":[],\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"counters\":{\"" A "\":0},\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"counters\":{\"" A "\":-1},\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"counters\":{\"" A "\":1.5},\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"counters\":{\"" A "\":9007199254740992},\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"counters\":{\"aa\":1},\"author\":\"" A "\",\"time\":1"),
        VERSIONED("\"counters\":{\"" A "\":1},\"author\":\"" B "\",\"time\":1"),
        VERSIONED("\"counters\":{\"" A "\":1},\"author\":\"" A "\",\"time\":2"),
        VERSIONED("\"counters\":{\"" A "\":1},\"author\":\"" A "\",\"time\":0"),
        VERSIONED("\"counters\":{\"" A "\":1},\"author\":\"" A "\""),
        VERSIONED("\"counters\":{\"" A "\":1},\"time\":1"),
        FILED("\"size\":5,\"mtime_s\":1,\"mtime_ns\":0"),
        FILED("\"root\":\"" B "\",\"mtime_s\":1,\"mtime_ns\":0"),
        FILED("\"root\":\"" B "\",\"size\":0,\"mtime_s\":1,\"mtime_ns\":0"),
        FILED("\"root\":\"" B "\",\"size\":1,\"mtime_ns\":0"),
        FILED("\"root\":\"" B "\",\"size\":1,\"mtime_s\":1"),
        FILED("\"root\":\"" B "\",\"size\":1,\"mtime_s\":1,\"mtime_ns\":1000000000"),
        FILED("\"root\":\"" B "\",\"size\":1,\"mtime_s\":1,\"mtime_ns\":-1"),
        FILED("\"root\":\"" B "\",\"size\":1,\"mtime_s\":9223372037,\"mtime_ns\":0"),
        FILED("\"root\":\"" B "\",\"size\":1,\"mtime_s\":-9223372037,\"mtime_ns\":0"),
        FILED("\"root\":\"" B "\",\"size\":1,\"mtime_s\":1,\"mtime_ns\":0,\"executable\":1"),
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        char text[4096];
        struct sync_page page;
        struct why why = {.text = ""};
        snprintf(text, sizeof text, HEAD "%s,{\"name\":\"good\",\"kind\":\"folder\"," VERSION "}]}", entries[i]);
        if (parse(text, &page, &why))
            fail_msg("%s: %s", entries[i], why.text);
        if (page.count != 1 || page.skipped != 1)
            fail_msg("%s was taken", entries[i]);
        assert_string_equal(page.entries[0].name, "good");
        sync_page_free(&page);
    }
}

static void a_malformed_page_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"", "is not valid JSON"},
        {"[]", "must be a JSON object"},
        {"{\"sequence\":0,\"more\":false,\"entries\":[]}", "epoch: is missing"},
        {"{\"epoch\":0,\"sequence\":0,\"more\":false,\"entries\":[]}", "epoch: must be an integer"},
        {"{\"epoch\":1,\"sequence\":-1,\"more\":false,\"entries\":[]}", "sequence: must be an integer"},
        {"{\"epoch\":1,\"sequence\":9007199254740992,\"more\":false,\"entries\":[]}", "sequence: must be an integer"},
        {"{\"epoch\":1,\"sequence\":0,\"more\":0,\"entries\":[]}", "more: must be true or false"},
        {"{\"epoch\":1,\"sequence\":0,\"more\":false}", "entries: is missing"},
        {"{\"epoch\":1,\"sequence\":0,\"more\":false,\"entries\":{}}", "entries: must be a list"},
        {HEAD "{\"name\":\"a\",\"name\":\"b\"}]}", "is not valid JSON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sync_page page;
        struct why why = {.text = ""};
        enum err err = parse(rows[i].text, &page, &why);
        if (err != ERR_INVALID || strncmp(why.text, rows[i].reason, strlen(rows[i].reason)) != 0)
            fail_msg("%s: %s", rows[i].text, why.text);
        assert_true(page.entries == NULL && page.count == 0);
    }
}

/* An entry of which each part is as long as it can be written. */
static struct sync_entry largest_entry(void)
{
    struct sync_entry entry = {
        .kind = SYNC_FILE, .executable = true, .mtime_ns = -SYNC_MTIME_S_MAX * 1000000000 + 999999999};
    entry.name = malloc(NAME_SIZE_MAX + 1);
    assert_non_null(entry.name);
    for (size_t i = 0; i < NAME_SIZE_MAX; i++)
        entry.name[i] = i % 200 == 100 ? '/' : i % 2 ? '"' : '\\';
    entry.name[NAME_SIZE_MAX] = '\0';
    memset(entry.content.root, 0xAB, HASH_SIZE);
    entry.content.size = CONTENT_SIZE_MAX;
    for (unsigned i = 0; i < VERSION_COUNTERS_MAX; i++) {
        uint8_t id[HASH_SIZE] = {(uint8_t)i, 1};
        assert_int_equal(version_edit(&entry.version, id, LAMPORT_MAX - VERSION_COUNTERS_MAX - 1), ERR_OK);
    }
    return entry;
}

static void the_size_of_an_entry_is_never_less_than_what_it_takes(void **state)
{
    (void)state;
    struct sync_page page = {.epoch = JSON_INTEGER_MAX, .sequence = JSON_INTEGER_MAX};
    char *text = sync_page_format(&page);
    assert_true(strlen(text) <= SYNC_PAGE_HEAD_SIZE);
    free(text);
    struct sync_entry entries[3];
    size_t bound = SYNC_PAGE_HEAD_SIZE;
    for (size_t i = 0; i < 3; i++) {
        entries[i] = largest_entry();
        bound += sync_entry_size(&entries[i]);
    }
    page.entries = entries;
    page.count = 3;
    text = sync_page_format(&page);
    assert_non_null(text);
    assert_true(strlen(text) <= bound && bound <= BODY_SIZE_MAX);
    assert_true(bound - strlen(text) < 1024); /* nor much more */
    struct sync_page again;
    struct why why = {.text = ""};
    if (parse(text, &again, &why) || again.count != 3)
        fail_msg("%zu: %s", again.count, why.text);
    sync_page_free(&again);
    free(text);
    for (size_t i = 0; i < 3; i++)
        sync_entry_free(&entries[i]);
}

static void counters_that_are_far_ahead_of_the_clock_are_not_believed(void **state)
{
    (void)state;
    struct sync_page page = {0};
    page.entries = calloc(4, sizeof *page.entries);
    assert_non_null(page.entries);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t id[HASH_SIZE] = {1}, other[HASH_SIZE] = {2};
        struct sync_entry *entry = &page.entries[page.count++];
        char name[2] = {(char)('a' + i), '\0'};
        *entry = (struct sync_entry){.name = strdup(name), .kind = SYNC_FOLDER};
        assert_int_equal(version_edit(&entry->version, id, i == 1 ? 1000 + LAMPORT_AHEAD_MAX : 5), ERR_OK);
        if (i == 2)
            assert_int_equal(version_edit(&entry->version, other, LAMPORT_MAX - 1), ERR_OK);
        if (i == 3)
            assert_int_equal(version_edit(&entry->version, other, 999 + LAMPORT_AHEAD_MAX), ERR_OK);
    }
    sync_page_believe(&page, 1000);
    assert_true(page.count == 2 && page.skipped == 2);
    assert_string_equal(page.entries[0].name, "a");
    assert_string_equal(page.entries[1].name, "d");
    sync_page_free(&page);
}

static void a_copy_stands_for_itself(void **state)
{
    (void)state;
    struct sync_entry entry = largest_entry(), copy;
    char *name = strdup(entry.name);
    assert_int_equal(sync_entry_copy(&entry, &copy), ERR_OK);
    sync_entry_free(&entry);
    assert_string_equal(copy.name, name);
    assert_true(version_is_valid(&copy.version));
    sync_entry_free(&copy);
    sync_entry_free(&copy);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_goes_there_and_back),
        cmocka_unit_test(counters_come_in_any_order),
        cmocka_unit_test(an_entry_that_is_not_valid_is_left_out),
        cmocka_unit_test(a_malformed_page_is_refused),
        cmocka_unit_test(the_size_of_an_entry_is_never_less_than_what_it_takes),
        cmocka_unit_test(counters_that_are_far_ahead_of_the_clock_are_not_believed),
        cmocka_unit_test(a_copy_stands_for_itself),
    };
    return cmocka_run_group_tests_name("messages_sync", tests, NULL, NULL);
}
