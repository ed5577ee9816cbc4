#include "test.h"

#include "http_guests.h"

static struct address host(const char *text)
{
    struct address address;

    assert_true(address_parse_host(text, 1, &address));
    return address;
}

static bool enters(struct http_guests *guests, const char *text)
{
    const struct address from = host(text);

    return http_guests_enter(guests, &from);
}

static void leaves(struct http_guests *guests, const char *text)
{
    const struct address from = host(text);

    http_guests_leave(guests, &from);
}

static void there_is_a_limit_in_all(void **state)
{
    struct http_guests *guests = http_guests_new(2, 10);
    struct http_guests_counts counts;

    (void)state;
    assert_true(enters(guests, "192.0.2.1"));
    assert_true(enters(guests, "192.0.2.2"));
    assert_false(enters(guests, "192.0.2.3"));
    leaves(guests, "192.0.2.1");
    assert_true(enters(guests, "192.0.2.3"));
    http_guests_count(guests, &counts);
    assert_int_equal(counts.open, 2);
    assert_int_equal(counts.refused_in_all, 1);
    assert_int_equal(counts.refused_of_address, 0);
    http_guests_free(guests);
}

static void one_address_does_not_keep_others_out(void **state)
{
    struct http_guests *guests = http_guests_new(10, 2);
    struct http_guests_counts counts;

    (void)state;
    assert_true(enters(guests, "192.0.2.1"));
    assert_true(enters(guests, "192.0.2.1"));
    assert_false(enters(guests, "192.0.2.1"));
    assert_true(enters(guests, "192.0.2.2"));
    leaves(guests, "192.0.2.1");
    assert_true(enters(guests, "192.0.2.1"));
    http_guests_count(guests, &counts);
    assert_int_equal(counts.open, 3);
    assert_int_equal(counts.refused_of_address, 1);
    http_guests_free(guests);
}

static void a_network_of_ipv6_counts_as_one(void **state)
{
    struct http_guests *guests = http_guests_new(10, 2);

    (void)state;
    assert_true(enters(guests, "2001:db8:0:1::1"));
    assert_true(enters(guests, "2001:db8:0:1:ffff::2"));
    assert_false(enters(guests, "2001:db8:0:1::3"));
    assert_true(enters(guests, "2001:db8:0:2::1"));
    leaves(guests, "2001:db8:0:1:ffff::2");
    assert_true(enters(guests, "2001:db8:0:1::3"));
    http_guests_free(guests);
}

static void many_come_and_go(void **state)
{
    struct http_guests *guests = http_guests_new(100000, 1);
    struct http_guests_counts counts;

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 20000; i++) {
            struct address from = host("10.0.0.0");

            from.ip[13] = (uint8_t)(i >> 16);
            from.ip[14] = (uint8_t)(i >> 8);
            from.ip[15] = (uint8_t)i;
            assert_true(http_guests_enter(guests, &from));
            assert_false(http_guests_enter(guests, &from));
        }
        for (unsigned i = 0; i < 20000; i++) {
            struct address from = host("10.0.0.0");

            from.ip[13] = (uint8_t)(i >> 16);
            from.ip[14] = (uint8_t)(i >> 8);
            from.ip[15] = (uint8_t)i;
            http_guests_leave(guests, &from);
        }
    }
    http_guests_count(guests, &counts);
    assert_int_equal(counts.open, 0);
    assert_int_equal(counts.refused_of_address, 40000);
    http_guests_free(guests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_a_limit_in_all),
        cmocka_unit_test(one_address_does_not_keep_others_out),
        cmocka_unit_test(a_network_of_ipv6_counts_as_one),
        cmocka_unit_test(many_come_and_go),
    };

    return cmocka_run_group_tests_name("http_guests", tests, NULL, NULL);
}
