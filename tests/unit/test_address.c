#include "test.h"

#include "address.h"

#include <string.h>

static struct address host(const char *text)
{
    struct address address;
    if (!address_parse_host(text, 80, &address))
        fail_msg("'%s' was refused", text);
    return address;
}

static void addresses_are_read_and_written(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"1.2.3.4:80", "1.2.3.4:80"},
                                          {"[::1]:0", "[::1]:0"},
                                          {"[::ffff:1.2.3.4]:65535", "1.2.3.4:65535"},
                                          {"[2001:DB8:0::1]:5000", "[2001:db8::1]:5000"}};
    char text[ADDRESS_TEXT_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address address;
        assert_int_equal(address_parse(rows[i][0], &address, NULL), ERR_OK);
        address_format(&address, text);
        assert_string_equal(text, rows[i][1]);
    }
}

static void malformed_addresses_are_refused_with_a_reason(void **state)
{
    (void)state;
    const char *const bad[] = {
        "",         "1.2.3.4",      "1.2.3.4:",     "1.2.3.4:65536",     "1.2.3.4:-1", "1.2.3.4: 1",
        "1.2.3:80", "1.2.3.4.5:80", "01.2.3.4:80",  "256.1.1.1:80",      "::1:80",     "[::1]",
        "[::1]80",  "[::1:80",      "[1.2.3.4]:80", "[fe80::1%eth0]:80", "host:80",    ":80",
        "[]:80",    "1.2.3.4:80x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct address address;
        struct why why = {.text = ""};
        if (address_parse(bad[i], &address, &why) != ERR_INVALID)
            fail_msg("'%s' was taken", bad[i]);
        assert_true(why.text[0] != '\0');
    }
}

static void a_host_stands_alone(void **state)
{
    (void)state;
    struct address address;
    char text[ADDRESS_TEXT_SIZE];
    const char *const bad[] = {"", "[::1]", "fe80::1%1", "1.2.3.4:80", "localhost", "1", " 1.2.3.4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(address_parse_host(bad[i], 1, &address));
    address = host("::ffff:10.0.0.1");
    assert_true(address_is_v4(&address));
    assert_int_equal(address.port, 80);
    address_format_host(&address, text);
    assert_string_equal(text, "10.0.0.1");
    address = host("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    address.port = 65535;
    address_format(&address, text);
    assert_string_equal(text, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

static void endpoints_may_be_names(void **state)
{
    (void)state;
    const char *const good[] = {"tracker:5000", "tracker.lan:1", "a-b.c_d.org.:65535",
                                "1.2.3.4:80",   "[::1]:80",      "3com.com:80"};
    const char *const bad[] = {"tracker", "tracker:0", "tracker:65536", "tracker:",    "1.2.3:80",  "a..b:80",
                               ".a:80",   "-a:80",     "a b:80",        "::1:80",      "[host]:80", "http://a:80",
                               "a/b:80",  "user@a:80", ".:80",          "[1.2.3.4]:80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(address_check_endpoint(good[i], NULL), ERR_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (address_check_endpoint(bad[i], NULL) != ERR_INVALID)
            fail_msg("'%s' was taken", bad[i]);
    char label[80] = "";
    memset(label, 'a', 63);
    memcpy(label + 63, ":80", 4);
    assert_int_equal(address_check_endpoint(label, NULL), ERR_OK);
    memset(label, 'a', 64);
    memcpy(label + 64, ":80", 4);
    assert_int_equal(address_check_endpoint(label, NULL), ERR_INVALID);
}

static void kinds_are_told_apart(void **state)
{
    (void)state;
    enum { UNSPECIFIED = 1, LOOPBACK = 2, LINK_LOCAL = 4, MULTICAST = 8 };
    static const struct {
        const char *text;
        int kind;
    } rows[] = {{"0.0.0.0", UNSPECIFIED}, {"::", UNSPECIFIED},
                {"127.0.0.1", LOOPBACK},  {"127.255.255.254", LOOPBACK},
                {"::1", LOOPBACK},        {"::ffff:127.0.0.1", LOOPBACK},
                {"128.0.0.1", 0},         {"169.254.1.1", LINK_LOCAL},
                {"fe80::1", LINK_LOCAL},  {"febf::1", LINK_LOCAL},
                {"fec0::1", 0},           {"224.0.0.1", MULTICAST},
                {"239.1.2.3", MULTICAST}, {"255.255.255.255", MULTICAST},
                {"ff02::1", MULTICAST},   {"10.0.0.1", 0},
                {"2001:db8::1", 0},       {"::2", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address address = host(rows[i].text);
        int kind = (address_is_unspecified(&address) ? UNSPECIFIED : 0) |
                   (address_is_loopback(&address) ? LOOPBACK : 0) | (address_is_link_local(&address) ? LINK_LOCAL : 0) |
                   (address_is_multicast(&address) ? MULTICAST : 0);
        if (kind != rows[i].kind)
            fail_msg("%s is of kind %d", rows[i].text, kind);
    }
}

static bool believable(const char *claimed_text, const char *source_text)
{
    struct address claimed = host(claimed_text), source = host(source_text);
    return address_believable(&claimed, &source);
}

static void nobody_can_aim_others_at_their_own_services(void **state)
{
    (void)state;
    assert_true(believable("10.0.0.1", "192.168.1.1"));
    assert_true(believable("10.0.0.1", "127.0.0.1"));
    assert_false(believable("127.0.0.1", "10.0.0.1"));
    assert_false(believable("::1", "10.0.0.1"));
    assert_true(believable("127.0.0.2", "::1"));
    assert_false(believable("169.254.1.1", "10.0.0.1"));
    assert_true(believable("169.254.1.1", "169.254.1.2"));
    assert_true(believable("fe80::1", "fe80::2"));
    assert_false(believable("0.0.0.0", "127.0.0.1"));
    assert_false(believable("::", "127.0.0.1"));
    assert_false(believable("224.0.0.1", "127.0.0.1"));
    struct address claimed = host("10.0.0.1"), source = host("10.0.0.1");
    claimed.port = 0;
    assert_false(address_believable(&claimed, &source));
}

static void sockets_give_and_take_addresses(void **state)
{
    (void)state;
    struct sockaddr_storage storage;
    struct address v4 = host("1.2.3.4"), v6 = host("2001:db8::1"), back;
    assert_int_equal(address_to_sockaddr(&v4, true, &storage), sizeof(struct sockaddr_in));
    assert_int_equal(storage.ss_family, AF_INET);
    assert_true(address_from_sockaddr((struct sockaddr *)&storage, &back) && address_equal(&back, &v4));
    assert_int_equal(address_to_sockaddr(&v4, false, &storage), sizeof(struct sockaddr_in6));
    assert_int_equal(storage.ss_family, AF_INET6);
    assert_true(address_from_sockaddr((struct sockaddr *)&storage, &back) && address_equal(&back, &v4));
    address_to_sockaddr(&v6, false, &storage);
    assert_true(address_from_sockaddr((struct sockaddr *)&storage, &back) && address_equal(&back, &v6));
    assert_false(address_equal(&v4, &v6));
    back.port++;
    assert_false(address_equal(&back, &v6));
    assert_true(address_same_host(&back, &v6));
    storage.ss_family = AF_UNIX;
    assert_false(address_from_sockaddr((struct sockaddr *)&storage, &back));
}

static void interfaces_are_reachable_or_loopback(void **state)
{
    (void)state;
    struct address list[32];
    size_t count;
    assert_int_equal(address_interfaces(77, 32, list, &count), ERR_OK);
    assert_true(count >= 1 && count <= 32);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].port, 77);
        assert_false(address_is_link_local(&list[i]));
        assert_true(!address_is_loopback(&list[i]) || count == 1);
    }
    assert_int_equal(address_interfaces(77, 1, list, &count), ERR_OK);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_written),
        cmocka_unit_test(malformed_addresses_are_refused_with_a_reason),
        cmocka_unit_test(a_host_stands_alone),
        cmocka_unit_test(endpoints_may_be_names),
        cmocka_unit_test(kinds_are_told_apart),
        cmocka_unit_test(nobody_can_aim_others_at_their_own_services),
        cmocka_unit_test(sockets_give_and_take_addresses),
        cmocka_unit_test(interfaces_are_reachable_or_loopback),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
