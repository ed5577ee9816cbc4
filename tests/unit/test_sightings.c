#include "test.h"

#include "limits.h"
#include "sightings.h"

#include <stdio.h>
#include <string.h>

static struct sightings *sightings;
static struct sighting seen;
#define NOW 1000000u

static int set_up(void **state)
{
    (void)state;
    sightings = sightings_new(1);
    return sightings ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sightings_free(sightings);
    return 0;
}

static struct address at(const char *host, unsigned port)
{
    struct address address = {0};
    assert_true(address_parse_host(host, (uint16_t)port, &address));
    return address;
}

static struct beacon beacon_of(unsigned number)
{
    struct beacon beacon = {.role = BEACON_PEER, .address.port = 6001, .clock = 5};
    memcpy(beacon.id, &number, sizeof number);
    return beacon;
}

/* From a port of the sender's own, which follows from the beacon's number. */
static enum heard hear(unsigned number, const char *host, uint64_t now_ms)
{
    struct beacon beacon = beacon_of(number);
    struct address sender = at(host, 10000 + number % 50000);
    return sightings_hear(sightings, &beacon, &sender, now_ms, &seen);
}

static void one_is_new_once_and_is_where_its_packets_come_from(void **state)
{
    (void)state;
    const struct address expected = at("192.0.2.7", 6001);
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_NEW);
    assert_true(address_equal(&seen.address, &expected));
    assert_int_equal(seen.clock, 5);
    assert_int_equal(hear(1, "192.0.2.7", NOW + 5000), HEARD_AGAIN);
    assert_int_equal(sightings_count(sightings), 1);
}

static void a_new_start_is_new_even_at_another_port(void **state)
{
    (void)state;
    struct beacon beacon = beacon_of(1);
    struct address sender = at("192.0.2.7", 1);
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_NEW);
    beacon.instance[0] = 1;
    assert_int_equal(sightings_hear(sightings, &beacon, &sender, NOW + 1, &seen), HEARD_NEW);
    beacon.instance[0] = 2;
    beacon.address.port = 6002;
    assert_int_equal(sightings_hear(sightings, &beacon, &sender, NOW + 2, &seen), HEARD_NEW);
    assert_int_equal(seen.address.port, 6002);
    assert_int_equal(sightings_count(sightings), 1);
}

static void one_that_speaks_cannot_be_led_away(void **state)
{
    (void)state;
    const struct address moved = at("192.0.2.8", 6001);
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_NEW);
    assert_int_equal(hear(1, "192.0.2.8", NOW + 5000), HEARD_NOTHING);
    assert_int_equal(hear(1, "2001:db8::8", NOW + 5000), HEARD_NOTHING);
    assert_int_equal(hear(1, "192.0.2.7", NOW + 5000), HEARD_AGAIN);
    /* Once it has not spoken for a while it may have moved. */
    assert_int_equal(hear(1, "192.0.2.8", NOW + 5000 + BEACON_EVERY_MS * 3 / 2 + 1), HEARD_NEW);
    assert_true(address_equal(&seen.address, &moved));
}

static void the_best_address_is_taken(void **state)
{
    (void)state;
    static const char *const ascending[] = {"127.0.0.1", "169.254.1.1", "2001:db8::7", "192.0.2.7"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(hear(1, ascending[i], NOW + i), HEARD_NEW);
        for (size_t worse = 0; worse < i; worse++)
            assert_int_equal(hear(1, ascending[worse], NOW + i), HEARD_NOTHING);
    }
}

static void no_packet_aims_at_a_third_machine(void **state)
{
    (void)state;
    static const struct {
        const char *sender, *claimed;
        bool believed;
    } rows[] = {
        {"192.0.2.7", "192.0.2.7", true},  {"192.0.2.7", "192.0.2.8", false}, {"127.0.0.1", "::1", true},
        {"127.0.0.1", "127.0.0.9", true},  {"127.0.0.1", "192.0.2.8", false}, {"192.0.2.7", "127.0.0.1", false},
        {"192.0.2.7", "224.0.0.1", false}, {"fe80::1", "fe80::1", false},     {"fe80::1", "2001:db8::1", false},
        {"169.254.0.1", "0.0.0.0", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct beacon beacon = beacon_of((unsigned)i);
        struct address sender = at(rows[i].sender, 10000 + (unsigned)i);
        beacon.address = at(rows[i].claimed, 6001);
        enum heard heard = sightings_hear(sightings, &beacon, &sender, NOW, &seen);
        if ((heard == HEARD_NEW) != rows[i].believed)
            fail_msg("%s claims %s", rows[i].sender, rows[i].claimed);
    }
}

static void three_missing_announcements_are_silence(void **state)
{
    (void)state;
    assert_int_equal(sightings_silent_at_ms(sightings), UINT64_MAX);
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_NEW);
    assert_int_equal(hear(2, "192.0.2.7", NOW + 3000), HEARD_NEW);
    assert_false(sightings_silent(sightings, NOW + 3 * BEACON_EVERY_MS, &seen));
    uint64_t at_ms = sightings_silent_at_ms(sightings);
    assert_in_range(at_ms, NOW + 3 * BEACON_EVERY_MS, NOW + 4 * BEACON_EVERY_MS);
    assert_true(sightings_silent(sightings, at_ms, &seen));
    assert_int_equal(seen.id[0], 1);
    assert_false(sightings_silent(sightings, at_ms, &seen));
    assert_int_equal(sightings_silent_at_ms(sightings), at_ms + 3000);
    assert_int_equal(hear(1, "192.0.2.7", at_ms), HEARD_NEW);
}

static void a_farewell_is_believed_from_itself(void **state)
{
    (void)state;
    struct beacon beacon = beacon_of(1);
    struct address here = at("192.0.2.7", 10001), elsewhere = at("192.0.2.8", 10001);
    beacon.bye = true;
    assert_int_equal(sightings_hear(sightings, &beacon, &here, NOW, &seen), HEARD_NOTHING);
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_NEW);
    assert_int_equal(sightings_hear(sightings, &beacon, &elsewhere, NOW, &seen), HEARD_NOTHING);
    beacon.instance[0] = 9;
    assert_int_equal(sightings_hear(sightings, &beacon, &here, NOW, &seen), HEARD_NOTHING);
    beacon.instance[0] = 0;
    assert_int_equal(sightings_hear(sightings, &beacon, &here, NOW, &seen), HEARD_BYE);
    assert_int_equal(sightings_count(sightings), 0);
}

static void a_tracker_and_a_peer_of_one_id_are_two(void **state)
{
    (void)state;
    struct beacon beacon = beacon_of(1);
    struct address sender = at("192.0.2.7", 1);
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_NEW);
    beacon.role = BEACON_TRACKER;
    assert_int_equal(sightings_hear(sightings, &beacon, &sender, NOW, &seen), HEARD_NEW);
    assert_int_equal(sightings_count(sightings), 2);
}

static void one_sender_speaks_for_one_program(void **state)
{
    (void)state;
    struct address sender = at("192.0.2.66", 4444);
    for (unsigned i = 0; i < 1000; i++) {
        struct beacon beacon = beacon_of(i);
        assert_int_equal(sightings_hear(sightings, &beacon, &sender, NOW + i, &seen), i ? HEARD_NOTHING : HEARD_NEW);
    }
    assert_int_equal(sightings_count(sightings), 1);
    /* Others of that host are heard all the same. */
    assert_int_equal(hear(5000, "192.0.2.66", NOW), HEARD_NEW);
}

static void one_host_has_a_part_of_the_table_only(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 500; i++)
        (void)hear(i, "192.0.2.66", NOW + i * 100);
    assert_int_equal(sightings_count(sightings), SIGHTINGS_PER_HOST_MAX);
    assert_int_equal(hear(9999, "192.0.2.7", NOW + 60000), HEARD_NEW);
}

static void forged_ones_do_not_push_out_who_was_heard_twice(void **state)
{
    (void)state;
    char host[32];
    uint64_t now_ms = NOW;
    assert_int_equal(hear(0, "192.0.2.7", now_ms), HEARD_NEW);
    assert_int_equal(hear(0, "192.0.2.7", now_ms), HEARD_AGAIN);
    for (unsigned i = 1; i < 3 * SIGHTINGS_MAX; i++) {
        snprintf(host, sizeof host, "10.%u.%u.%u", i >> 16, (i >> 8) & 255, i & 255);
        (void)hear(i, host, now_ms += 2);
    }
    /* No more than so many a second got in at all. */
    assert_in_range(sightings_count(sightings), 2, 10 * SIGHTINGS_NEW_S);
    for (unsigned i = 3 * SIGHTINGS_MAX; i < 6 * SIGHTINGS_MAX; i++) {
        snprintf(host, sizeof host, "10.%u.%u.%u", i >> 16, (i >> 8) & 255, i & 255);
        (void)hear(i, host, now_ms += 20);
    }
    assert_int_equal(sightings_count(sightings), SIGHTINGS_MAX);
    assert_int_equal(hear(0, "192.0.2.7", now_ms), HEARD_AGAIN);
}

static void a_flood_is_not_parsed_and_drowns_no_other_sender(void **state)
{
    (void)state;
    struct address flooder = at("192.0.2.66", 4444), other = at("192.0.2.66", 4445);
    unsigned parsed = 0;
    for (unsigned i = 0; i < 100000; i++)
        parsed += sightings_admit(sightings, &flooder, NOW + i / 10);
    assert_in_range(parsed, BEACONS_PER_SENDER_S * 10, BEACONS_PER_SENDER_S * 12 + 1);
    assert_true(sightings_admit(sightings, &other, NOW + 10000));
}

static void a_flood_of_forged_senders_is_bounded_and_drowns_nobody_who_is_known(void **state)
{
    (void)state;
    struct address known = at("192.0.2.7", 10001);
    unsigned parsed = 0, heard = 0;
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_NEW);
    assert_int_equal(hear(1, "192.0.2.7", NOW), HEARD_AGAIN);
    for (unsigned i = 0; i < 100000; i++) {
        struct address forged = at("10.0.0.1", i % 60000);
        forged.ip[13] = (uint8_t)(i / 60000);
        parsed += sightings_admit(sightings, &forged, NOW + i / 10);
        if (i % 50000 == 49999)
            heard += sightings_admit(sightings, &known, NOW + i / 10);
    }
    assert_true(parsed <= 12 * BEACONS_UNKNOWN_S);
    assert_int_equal(heard, 2);
}

static void announcements_come_at_once_once_more_soon_and_then_every_period(void **state)
{
    (void)state;
    struct announcing announcing;
    announcing_init(&announcing, NOW);
    assert_int_equal(announcing.next_ms, NOW);
    announcing_sent(&announcing, NOW, 7);
    assert_int_equal(announcing.next_ms, NOW + 1000);
    for (uint64_t now_ms = NOW + 1000, i = 0; i < 5; i++) {
        announcing_sent(&announcing, now_ms, (uint16_t)(i * 16383));
        assert_in_range(announcing.next_ms, now_ms + BEACON_EVERY_MS * 9 / 10, now_ms + BEACON_EVERY_MS);
        now_ms = announcing.next_ms;
    }
}

static void newcomers_are_answered_scattered_and_once_a_second(void **state)
{
    (void)state;
    struct announcing announcing;
    announcing_init(&announcing, NOW);
    announcing_sent(&announcing, NOW, 0);
    announcing_sent(&announcing, NOW + 1000, 0);
    announcing_soon(&announcing, NOW + 3000, UINT16_MAX);
    assert_int_equal(announcing.next_ms, NOW + 3300);
    announcing_soon(&announcing, NOW + 3000, 0);
    assert_int_equal(announcing.next_ms, NOW + 3000);
    announcing_sent(&announcing, NOW + 3000, 0);
    announcing_soon(&announcing, NOW + 3001, 0);
    assert_int_equal(announcing.next_ms, NOW + 4000);
    /* An answer never puts off what is due before it. */
    announcing_soon(&announcing, NOW + 3999, UINT16_MAX);
    assert_int_equal(announcing.next_ms, NOW + 4000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_is_new_once_and_is_where_its_packets_come_from),
        TEST(a_new_start_is_new_even_at_another_port),
        TEST(one_that_speaks_cannot_be_led_away),
        TEST(the_best_address_is_taken),
        TEST(no_packet_aims_at_a_third_machine),
        TEST(three_missing_announcements_are_silence),
        TEST(a_farewell_is_believed_from_itself),
        TEST(a_tracker_and_a_peer_of_one_id_are_two),
        TEST(one_sender_speaks_for_one_program),
        TEST(one_host_has_a_part_of_the_table_only),
        TEST(forged_ones_do_not_push_out_who_was_heard_twice),
        TEST(a_flood_is_not_parsed_and_drowns_no_other_sender),
        TEST(a_flood_of_forged_senders_is_bounded_and_drowns_nobody_who_is_known),
        TEST(announcements_come_at_once_once_more_soon_and_then_every_period),
        TEST(newcomers_are_answered_scattered_and_once_a_second),
    };
    return cmocka_run_group_tests_name("sightings", tests, NULL, NULL);
}
