#include "test.h"

#include "limits.h"
#include "messages.h"

#include <stdlib.h>
#include <string.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C "cccccccccccccccccccccccccccccccc"
#define HEAD "{\"enxame\":1,\"network\":\"" HEX_A "\","
#define WHO "\"id\":\"" HEX_B "\",\"instance\":\"" HEX_C "\","

static void a_beacon_goes_there_and_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        HEAD "\"role\":\"peer\"," WHO "\"clock\":9007199254740991,\"port\":6001}",
        HEAD "\"role\":\"tracker\"," WHO "\"clock\":0,\"bye\":true,\"port\":1}",
        HEAD "\"role\":\"peer\"," WHO "\"clock\":7,\"host\":\"192.0.2.7\",\"port\":65535}",
        HEAD "\"role\":\"peer\"," WHO "\"clock\":7,\"host\":\"2001:db8::7\",\"port\":6001}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct beacon beacon;
        struct why why = {""};
        if (beacon_parse(texts[i], strlen(texts[i]), &beacon, &why))
            fail_msg("%s", why.text);
        assert_int_equal(beacon.role, i == 1 ? BEACON_TRACKER : BEACON_PEER);
        assert_int_equal(beacon.bye, i == 1);
        assert_int_equal(address_is_unspecified(&beacon.address), i < 2);
        char *again = beacon_format(&beacon);
        assert_string_equal(again, texts[i]);
        free(again);
    }
}

static void a_beacon_begins_with_its_networks_prefix(void **state)
{
    (void)state;
    struct beacon beacon = {.address = {.port = 1}};
    char prefix[BEACON_PREFIX_SIZE];
    memset(beacon.network, 0xaa, HASH_SIZE);
    beacon_prefix(beacon.network, prefix);
    assert_string_equal(prefix, HEAD);
    assert_int_equal(strlen(prefix), BEACON_PREFIX_SIZE - 1);
    char *text = beacon_format(&beacon);
    assert_memory_equal(text, prefix, strlen(prefix));
    free(text);
}

static void the_longest_beacon_fits_into_a_packet(void **state)
{
    (void)state;
    struct beacon beacon = {.role = BEACON_TRACKER, .clock = JSON_INTEGER_MAX, .bye = true, .address.port = 65535};
    memset(beacon.address.ip, 0xfd, sizeof beacon.address.ip);
    char *text = beacon_format(&beacon);
    assert_true(strlen(text) < BEACON_SIZE_MAX / 2);
    free(text);
}

static void unknown_members_are_ignored_up_to_the_size_of_a_packet(void **state)
{
    (void)state;
    static const char start[] = HEAD "\"role\":\"peer\"," WHO "\"clock\":1,\"port\":2,\"more\":\"";
    struct beacon beacon;
    char text[BEACON_SIZE_MAX + 2];
    memset(text, 'x', sizeof text);
    memcpy(text, start, sizeof start - 1);
    memcpy(text + BEACON_SIZE_MAX - 2, "\"}", 2);
    assert_int_equal(beacon_parse(text, BEACON_SIZE_MAX, &beacon, NULL), ERR_OK);
    memcpy(text + BEACON_SIZE_MAX - 2, "x\"}", 3);
    assert_int_equal(beacon_parse(text, BEACON_SIZE_MAX + 1, &beacon, NULL), ERR_TOO_LARGE);
}

static void a_malformed_beacon_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{\"enxame\":2}", "enxame: "},
        {"{\"enxame\":1}", "network: is missing"},
        {"{\"enxame\":1,\"network\":\"enxame\"}", "network: must be 64"},
        {HEAD "\"role\":\"Peer\"," WHO "\"clock\":1,\"port\":1}", "role: must be"},
        {HEAD "\"role\":0," WHO "\"clock\":1,\"port\":1}", "role: must be a string"},
        {HEAD "\"role\":\"peer\",\"id\":\"" HEX_C "\",\"instance\":\"" HEX_C "\",\"clock\":1,\"port\":1}", "id: "},
        {HEAD "\"role\":\"peer\",\"id\":\"" HEX_B "\",\"clock\":1,\"port\":1}", "instance: is missing"},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":-1,\"port\":1}", "clock: "},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":9007199254740992,\"port\":1}", "clock: "},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":1,\"port\":0}", "port: "},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":1,\"port\":65536}", "port: "},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":1}", "port: is missing"},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":1,\"port\":1,\"host\":\"fe80::1%eth0\"}", "host: "},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":1,\"port\":1,\"bye\":1}", "bye: "},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":1,\"port\":1,\"scheme\":\"https\"}", "scheme: "},
        {HEAD "\"role\":\"peer\"," WHO "\"clock\":1,\"clock\":2,\"port\":1}", "JSON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct beacon beacon, nothing = {0};
        struct why why = {""};
        assert_int_equal(beacon_parse(rows[i].text, strlen(rows[i].text), &beacon, &why), ERR_INVALID);
        if (!strstr(why.text, rows[i].reason))
            fail_msg("%s: %s", rows[i].text, why.text);
        assert_memory_equal(&beacon, &nothing, sizeof beacon);
    }
}

static void a_tracker_says_which_one_it_is(void **state)
{
    (void)state;
    uint8_t id[HASH_SIZE], again[HASH_SIZE];
    memset(id, 0xbb, sizeof id);
    char *text = health_answer_format(id);
    assert_string_equal(text, "{\"status\":\"ok\",\"id\":\"" HEX_B "\"}");
    assert_int_equal(health_answer_parse(text, strlen(text), again, NULL), ERR_OK);
    assert_memory_equal(again, id, sizeof id);
    free(text);
    text = strdup("{\"status\":\"ok\"}");
    assert_int_equal(health_answer_parse(text, strlen(text), again, NULL), ERR_INVALID);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_beacon_goes_there_and_back),
        cmocka_unit_test(a_beacon_begins_with_its_networks_prefix),
        cmocka_unit_test(the_longest_beacon_fits_into_a_packet),
        cmocka_unit_test(unknown_members_are_ignored_up_to_the_size_of_a_packet),
        cmocka_unit_test(a_malformed_beacon_is_refused),
        cmocka_unit_test(a_tracker_says_which_one_it_is),
    };
    return cmocka_run_group_tests_name("messages_beacon", tests, NULL, NULL);
}
