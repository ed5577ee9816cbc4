#include "test.h"

#include "http_server.h"
#include "http_text.h"

#include <string.h>

struct range {
    const char *text;
    uint64_t size;
    enum http_range expected;
    uint64_t first, length;
};

static void check_ranges(const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t first = 99, length = 99;

        assert_int_equal(http_parse_range(ranges[i].text, ranges[i].size, &first, &length), ranges[i].expected);
        if (ranges[i].expected == HTTP_RANGE_PART) {
            assert_int_equal(first, ranges[i].first);
            assert_int_equal(length, ranges[i].length);
        } else if (ranges[i].expected == HTTP_RANGE_ALL) {
            assert_int_equal(first, 0);
            assert_int_equal(length, ranges[i].size);
        }
    }
}

static void one_range_is_a_part(void **state)
{
    static const struct range ranges[] = {
        {"bytes=0-0", 10, HTTP_RANGE_PART, 0, 1},
        {"bytes=2-4", 10, HTTP_RANGE_PART, 2, 3},
        {"BYTES=2-4", 10, HTTP_RANGE_PART, 2, 3},
        {"bytes=9-9", 10, HTTP_RANGE_PART, 9, 1},
        {"bytes=9-100", 10, HTTP_RANGE_PART, 9, 1},
        {"bytes=4-", 10, HTTP_RANGE_PART, 4, 6},
        {"bytes=0-", 10, HTTP_RANGE_PART, 0, 10},
        {"bytes=-3", 10, HTTP_RANGE_PART, 7, 3},
        {"bytes=-10", 10, HTTP_RANGE_PART, 0, 10},
        {"bytes=-11", 10, HTTP_RANGE_PART, 0, 10},
        {"bytes=0-18446744073709551615", 10, HTTP_RANGE_PART, 0, 10},
        {"bytes=18446744073709551614-18446744073709551615", UINT64_MAX, HTTP_RANGE_PART, UINT64_MAX - 1, 1},
        {"bytes=0-", UINT64_MAX, HTTP_RANGE_PART, 0, UINT64_MAX},
    };

    (void)state;
    check_ranges(ranges, sizeof ranges / sizeof *ranges);
}

static void a_range_past_the_end_cannot_be_satisfied(void **state)
{
    static const struct range ranges[] = {
        {"bytes=10-10", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=10-", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-1", 0, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-0", 0, HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=18446744073709551615-", UINT64_MAX, HTTP_RANGE_UNSATISFIABLE, 0, 0},
    };

    (void)state;
    check_ranges(ranges, sizeof ranges / sizeof *ranges);
}

/* RFC 9110, 14.2: what a server does not understand it ignores. */
static void malformed_and_several_ranges_are_ignored(void **state)
{
    static const char *const texts[] = {
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes= 0-1",
        "bytes=0-1 ",
        "bytes =0-1",
        "bytes:0-1",
        "octets=0-1",
        "bytes=1",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes=1--2",
        "bytes=--2",
        "bytes=4-2",
        "bytes=0-1,4-5",
        "bytes=-1,-2",
        "bytes=0-1,",
        "bytes=18446744073709551616-",
        "bytes=0-18446744073709551616",
        "bytes=-18446744073709551616",
        "bytes=99999999999999999999999999999999-",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_ranges(&(struct range){texts[i], 10, HTTP_RANGE_ALL, 0, 0}, 1);
}

static void a_content_range_is_read(void **state)
{
    uint64_t first, last, size;

    (void)state;
    assert_true(http_text_content_range("bytes 0-0/1", &first, &last, &size));
    assert_true(first == 0 && last == 0 && size == 1);
    assert_true(http_text_content_range("Bytes 16384-32767/100000", &first, &last, &size));
    assert_true(first == 16384 && last == 32767 && size == 100000);
    assert_true(http_text_content_range("bytes 1-18446744073709551614/18446744073709551615", &first, &last, &size));
    assert_true(first == 1 && last == UINT64_MAX - 1 && size == UINT64_MAX);
}

static void a_content_range_is_strict(void **state)
{
    static const char *const texts[] = {
        "",
        "bytes",
        "bytes ",
        "bytes */10",
        "bytes 0-1/*",
        "bytes=0-1/10",
        "bytes  0-1/10",
        "bytes 0 -1/10",
        "bytes 0-1/10 ",
        "bytes 0-1/10,",
        "bytes 0-1",
        "bytes 0-/10",
        "bytes -1/10",
        "bytes 2-1/10",
        "bytes 0-10/10",
        "bytes 0-0/0",
        "bytes +0-1/10",
        "bytes 0-1/18446744073709551616",
        "bytes 18446744073709551616-18446744073709551617/18446744073709551618",
        "octets 0-1/10",
    };
    uint64_t first = 7, last = 7, size = 7;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_false(http_text_content_range(texts[i], &first, &last, &size));
    }
    assert_true(first == 7 && last == 7 && size == 7);
}

static const char *const allowed[] = {"tracker.lan", "Files.Example"};

static bool is_ours(const char *host)
{
    return http_text_host_is_ours(host, "box", allowed, sizeof allowed / sizeof *allowed);
}

static void hosts_of_this_machine_are_ours(void **state)
{
    static const char *const hosts[] = {
        "127.0.0.1",       "127.0.0.1:5000",   "192.0.2.7:80",     "[::1]",         "[::1]:5000",
        "[2001:db8::1]:1", "[::ffff:1.2.3.4]", "localhost",        "LocalHost:80",  "box",
        "BOX:9",           "tracker.lan",      "TRACKER.LAN:5000", "files.example", "FILES.EXAMPLE:5000",
    };

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        assert_true(is_ours(hosts[i]));
    }
}

static void foreign_hosts_are_not_ours(void **state)
{
    static const char *const hosts[] = {
        "",
        ":80",
        "evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "box.evil.example",
        "evil.localhost",
        "127.0.0.1.evil.example",
        "tracker.lan.evil.example",
        "xtracker.lan",
        "[::1",
        "[]",
        "[]:80",
        "[::1]x",
        "[::1].evil.example",
        "[evil.example]",
        "127.0.0.1@evil.example",
        " localhost",
        "localhost ",
        "0x7f.1",
        "2130706433",
        "127.1",
        "[fe80::1%eth0]",
        "::1",
    };
    char endless[600];

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        assert_false(is_ours(hosts[i]));
    }
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_false(is_ours(endless));
    assert_false(http_text_host_is_ours("box", NULL, NULL, 0));
    assert_false(http_text_host_is_ours("tracker.lan", "box", NULL, 0));
}

/* What follows the colon is a port, or the whole is nobody's name. */
static void the_port_of_a_host_is_a_number(void **state)
{
    static const char *const hosts[] = {"localhost:x",     "localhost:80:80", "localhost:80 evil",
                                        "127.0.0.1:65536", "localhost:-1",    "[::1]:x"};

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        assert_false(is_ours(hosts[i]));
    }
    assert_true(is_ours("localhost:")); /* RFC 3986, 3.2.3: a port may be empty */
}

static void an_origin_is_the_same_host_over_http(void **state)
{
    (void)state;
    assert_true(http_text_origin_is_host("http://127.0.0.1:5000", "127.0.0.1:5000"));
    assert_true(http_text_origin_is_host("HTTP://LocalHost:5000", "localhost:5000"));
    assert_true(http_text_origin_is_host("http://[::1]:5000", "[::1]:5000"));
    assert_false(http_text_origin_is_host("http://127.0.0.1:5001", "127.0.0.1:5000"));
    assert_false(http_text_origin_is_host("http://127.0.0.1", "127.0.0.1:5000"));
    assert_false(http_text_origin_is_host("https://127.0.0.1:5000", "127.0.0.1:5000"));
    assert_false(http_text_origin_is_host("http://127.0.0.1:5000/", "127.0.0.1:5000"));
    assert_false(http_text_origin_is_host("http://127.0.0.1:5000.evil.example", "127.0.0.1:5000"));
    assert_false(http_text_origin_is_host("http://evil.example", "127.0.0.1:5000"));
    assert_false(http_text_origin_is_host("null", "127.0.0.1:5000"));
    assert_false(http_text_origin_is_host("", "127.0.0.1:5000"));
}

static void json_is_told_from_other_types(void **state)
{
    (void)state;
    assert_true(http_text_is_json("application/json"));
    assert_true(http_text_is_json("Application/JSON"));
    assert_true(http_text_is_json("application/json; charset=utf-8"));
    assert_true(http_text_is_json("application/json ;charset=utf-8"));
    assert_false(http_text_is_json("application/jsonp"));
    assert_false(http_text_is_json("application/json-patch+json"));
    assert_false(http_text_is_json("text/plain"));
    assert_false(http_text_is_json("application/x-www-form-urlencoded"));
    assert_false(http_text_is_json("text/plain; application/json"));
    assert_false(http_text_is_json(" application/json"));
    assert_false(http_text_is_json(""));
}

static void a_path_is_matched_segment_by_segment(void **state)
{
    char captures[HTTP_CAPTURES_MAX][HTTP_CAPTURE_SIZE];

    (void)state;
    assert_true(http_text_match_path("/healthz", "/healthz", captures));
    assert_false(http_text_match_path("/healthz", "/healthz/", captures));
    assert_false(http_text_match_path("/healthz", "/health", captures));
    assert_false(http_text_match_path("/healthz", "", captures));
    assert_true(http_text_match_path("/v1/files/{}/data", "/v1/files/abc/data", captures));
    assert_string_equal(captures[0], "abc");
    assert_false(http_text_match_path("/v1/files/{}/data", "/v1/files//data", captures));
    assert_false(http_text_match_path("/v1/files/{}/data", "/v1/files/a/b/data", captures));
    assert_false(http_text_match_path("/v1/files/{}/data", "/v1/files/abc/datax", captures));
    assert_false(http_text_match_path("/v1/files/{}/data", "/v1/files/abc", captures));
    assert_true(http_text_match_path("/{}/{}", "/one/two", captures));
    assert_string_equal(captures[0], "one");
    assert_string_equal(captures[1], "two");
    assert_false(http_text_match_path("/{}", "/", captures));
}

static void captures_have_limits(void **state)
{
    char captures[HTTP_CAPTURES_MAX][HTTP_CAPTURE_SIZE], path[HTTP_CAPTURE_SIZE + 2] = "/";

    (void)state;
    memset(path + 1, 'x', HTTP_CAPTURE_SIZE - 1);
    path[HTTP_CAPTURE_SIZE] = '\0';
    assert_true(http_text_match_path("/{}", path, captures));
    assert_string_equal(captures[0], path + 1);
    path[HTTP_CAPTURE_SIZE] = 'x';
    path[HTTP_CAPTURE_SIZE + 1] = '\0';
    assert_false(http_text_match_path("/{}", path, captures));
    assert_false(http_text_match_path("/{}/{}/{}", "/a/b/c", captures)); /* one more than there is room for */
}

static void numbers_are_digits_only(void **state)
{
    static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1e3", "18446744073709551616"};
    uint64_t value;

    (void)state;
    assert_true(http_text_number("0", &value) && value == 0);
    assert_true(http_text_number("007", &value) && value == 7);
    assert_true(http_text_number("18446744073709551615", &value) && value == UINT64_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(http_text_number(bad[i], &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_range_is_a_part),
        cmocka_unit_test(a_range_past_the_end_cannot_be_satisfied),
        cmocka_unit_test(malformed_and_several_ranges_are_ignored),
        cmocka_unit_test(a_content_range_is_read),
        cmocka_unit_test(a_content_range_is_strict),
        cmocka_unit_test(hosts_of_this_machine_are_ours),
        cmocka_unit_test(foreign_hosts_are_not_ours),
        cmocka_unit_test(the_port_of_a_host_is_a_number),
        cmocka_unit_test(an_origin_is_the_same_host_over_http),
        cmocka_unit_test(json_is_told_from_other_types),
        cmocka_unit_test(a_path_is_matched_segment_by_segment),
        cmocka_unit_test(captures_have_limits),
        cmocka_unit_test(numbers_are_digits_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
