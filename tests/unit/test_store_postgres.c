/* What the PostgreSQL store does without a server: what it shows of a URI, and how it writes parameters. */
#include "test.h"

#include "../../tracker/store/store_postgres.h"

static void assert_shown(const char *uri, const char *shown)
{
    char text[STORE_NAME_SIZE];
    store_describe(uri, text, sizeof text);
    assert_string_equal(text, shown);
}

static void what_is_shown_of_a_location_has_no_password(void **state)
{
    (void)state;
    assert_shown("tracker.db", "tracker.db");
    assert_shown("./postgresql://x:secret@y", "./postgresql://x:secret@y"); /* a file */
    assert_shown("postgresql://host/name", "postgresql://host/name");
    assert_shown("postgres://user@host:1,other:2/name", "postgresql://user@host:1,other:2/name");
    assert_shown("postgresql://user:secret@host/name?sslmode=require", "postgresql://user@host/name");
    assert_shown("postgresql://host/name?user=me&password=secret", "postgresql://host/name");
    /* Not what libpq takes, and all the more likely to be shown in an error. */
    assert_shown("postgresql://user:sec/r@et@host/name", "postgresql://user@host/name");
    assert_shown("postgresql://user:se?cret@host/name", "postgresql://user@host/name");
    assert_shown("postgresql://", "postgresql://");
}

static void a_long_location_is_cut(void **state)
{
    (void)state;
    char text[8];
    store_describe("postgresql://user:secret@host/name", text, sizeof text);
    assert_string_equal(text, "postgre");
}

static void a_malformed_uri_is_refused_without_what_may_be_a_password(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "postgresql://user:secret@host/name?nonsense=secret",
        "postgresql://user:secret@host:port secret/name?=",
        "postgresql://[secret/name",
        "postgresql://user:%zzsecret@host/name",
        "postgresql://host/name?secret",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct store *store;
        struct why why = {""};
        const struct store_options options = {.location = wrong[i], .expire_ms = 1000, .readers = 1};
        assert_int_equal(store_open(&options, &store, &why), ERR_INVALID);
        assert_null(store);
        assert_non_null(strstr(why.text, "malformed"));
        assert_null(strstr(why.text, "secret"));
    }
}

static void assert_encoded(struct pg_value value, const char *expected, size_t length)
{
    uint8_t number[8];
    const char *bytes;
    int found;
    assert_true(pg_value_encode(&value, number, &bytes, &found));
    assert_int_equal(found, length);
    assert_memory_equal(bytes, expected, length);
}
#define ASSERT_ENCODED(value, expected) assert_encoded(value, expected, sizeof(expected) - 1)

static void parameters_are_written_as_postgresql_reads_them(void **state)
{
    (void)state;
    struct pg_array bytes = {0}, none = {0}, flags = {0};
    ASSERT_ENCODED(pg_number(-2), "\xff\xff\xff\xff\xff\xff\xff\xfe");
    ASSERT_ENCODED(pg_text("a b"), "a b");
    pg_array_bytes(&bytes, "xy", 2);
    pg_array_bytes(&bytes, NULL, 5);
    pg_array_bytes(&bytes, "", 0);
    ASSERT_ENCODED(pg_list(PG_TYPE_BYTES_ARRAY, &bytes), "\0\0\0\1"
                                                         "\0\0\0\1"
                                                         "\0\0\0\x11"
                                                         "\0\0\0\3"
                                                         "\0\0\0\1"
                                                         "\0\0\0\2xy"
                                                         "\xff\xff\xff\xff"
                                                         "\0\0\0\0");
    ASSERT_ENCODED(pg_list(PG_TYPE_TEXTS, &none), "\0\0\0\0"
                                                  "\0\0\0\1"
                                                  "\0\0\0\x19");
    pg_array_bool(&flags, true);
    ASSERT_ENCODED(pg_list(PG_TYPE_BOOLS, &flags), "\0\0\0\1"
                                                   "\0\0\0\1"
                                                   "\0\0\0\x10"
                                                   "\0\0\0\1"
                                                   "\0\0\0\1"
                                                   "\0\0\0\1\1");
    pg_array_free(&bytes);
    pg_array_free(&none);
    pg_array_free(&flags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_shown_of_a_location_has_no_password),
        cmocka_unit_test(a_long_location_is_cut),
        cmocka_unit_test(a_malformed_uri_is_refused_without_what_may_be_a_password),
        cmocka_unit_test(parameters_are_written_as_postgresql_reads_them),
    };
    return cmocka_run_group_tests_name("PostgreSQL store", tests, NULL, NULL);
}
