#include "test.h"

#include "multicast_interfaces.h"

#include <net/if.h>

#define UP (IFF_UP | IFF_MULTICAST)
#define LOOPBACK (IFF_UP | IFF_LOOPBACK)
#define MAX 4u

static struct multicast_interface list[MAX];
static size_t count;

/* A host with loopback, two LANs, one of them with IPv6, and a tunnel that cannot multicast. */
static void look(const char *served_host)
{
    static const struct {
        unsigned index, flags;
        const char *host;
    } rows[] = {
        {1, LOOPBACK, "127.0.0.1"}, {1, LOOPBACK, "::1"}, {2, UP, "192.0.2.7"},      {2, UP, "198.51.100.7"},
        {2, UP, "fe80::7"},         {3, UP, "10.0.0.7"},  {3, UP, "2001:db8::7"},    {3, UP, "fe80::8"},
        {4, IFF_UP, "10.9.9.9"},    {5, 0, "10.8.8.8"},   {1, LOOPBACK, "10.7.7.7"},
    };
    struct address served;
    assert_true(address_parse_host(served_host, 6001, &served));
    count = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address address;
        assert_true(address_parse_host(rows[i].host, 0, &address));
        multicast_interfaces_add(list, MAX, &count, rows[i].index, rows[i].flags, &address, &served);
    }
    multicast_interfaces_pick(list, &count, &served);
}

static void assert_from(const struct address *address, const char *host)
{
    struct address expected;
    assert_true(address_parse_host(host, 6001, &expected));
    assert_true(address_equal(address, &expected));
}

static void a_wildcard_is_announced_everywhere(void **state)
{
    (void)state;
    look("::");
    assert_int_equal(count, 3);
    assert_true(list[0].is_loopback && list[0].speaks_v4 && !list[0].speaks_v6 && !list[0].hears_v6);
    assert_from(&list[0].from_v4, "127.0.0.1");
    assert_from(&list[1].from_v4, "192.0.2.7");
    /* Only a link-local address there: nobody could call it. */
    assert_true(list[1].hears_v6 && !list[1].speaks_v6);
    assert_from(&list[2].from_v4, "10.0.0.7");
    assert_from(&list[2].from_v6, "2001:db8::7");
}

static void an_ipv4_wildcard_is_not_announced_over_ipv6(void **state)
{
    (void)state;
    look("0.0.0.0");
    assert_int_equal(count, 3);
    assert_true(list[2].hears_v6 && list[2].speaks_v4 && !list[2].speaks_v6);
}

static void loopback_stays_on_loopback(void **state)
{
    (void)state;
    static const char *const served[][2] = {
        {"127.0.0.1", "127.0.0.1"}, {"127.0.0.9", "127.0.0.9"}, {"::1", "127.0.0.1"}};
    for (size_t i = 0; i < 3; i++) {
        look(served[i][0]);
        assert_int_equal(count, 1);
        assert_true(list[0].is_loopback && list[0].speaks_v4 && !list[0].speaks_v6);
        assert_from(&list[0].from_v4, served[i][1]);
    }
}

static void a_specific_address_stays_on_its_interface_and_is_what_packets_come_from(void **state)
{
    (void)state;
    look("198.51.100.7");
    assert_int_equal(count, 1);
    assert_int_equal(list[0].index, 2);
    assert_from(&list[0].from_v4, "198.51.100.7");
    assert_true(list[0].hears_v6 && !list[0].speaks_v6);
    look("2001:db8::7");
    assert_int_equal(count, 1);
    assert_int_equal(list[0].index, 3);
    assert_from(&list[0].from_v6, "2001:db8::7");
    assert_true(list[0].hears_v4 && !list[0].speaks_v4);
    look("203.0.113.1");
    assert_int_equal(count, 0);
}

static void more_interfaces_than_there_is_room_for_are_left_out(void **state)
{
    (void)state;
    struct address any, address;
    assert_true(address_parse_host("0.0.0.0", 6001, &any) && address_parse_host("10.0.0.1", 0, &address));
    count = 0;
    for (unsigned index = 1; index < 10; index++)
        multicast_interfaces_add(list, MAX, &count, index, UP, &address, &any);
    assert_int_equal(count, MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wildcard_is_announced_everywhere),
        cmocka_unit_test(an_ipv4_wildcard_is_not_announced_over_ipv6),
        cmocka_unit_test(loopback_stays_on_loopback),
        cmocka_unit_test(a_specific_address_stays_on_its_interface_and_is_what_packets_come_from),
        cmocka_unit_test(more_interfaces_than_there_is_room_for_are_left_out),
    };
    return cmocka_run_group_tests_name("multicast_interfaces", tests, NULL, NULL);
}
