#include "test.h"

#include "identity.h"

#include <string.h>

static void the_id_is_the_hash_of_the_secret(void **state)
{
    (void)state;
    struct identity identity;
    uint8_t secret[HASH_SIZE] = {0}, expected[HASH_SIZE];
    identity_from_secret(secret, &identity);
    /* sha256sum of 32 zero bytes */
    assert_true(hex_decode("66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925", HASH_SIZE, expected));
    assert_memory_equal(identity.id, expected, HASH_SIZE);
    assert_true(identity_owns(secret, expected));
    secret[31] = 1;
    assert_false(identity_owns(secret, expected));
}

static void new_identities_differ(void **state)
{
    (void)state;
    struct identity a, b;
    assert_int_equal(identity_new(&a), ERR_OK);
    assert_int_equal(identity_new(&b), ERR_OK);
    assert_memory_not_equal(a.secret, b.secret, HASH_SIZE);
    assert_true(identity_owns(a.secret, a.id));
    assert_false(identity_owns(a.secret, b.id));
}

static void each_tracker_found_sees_an_identity_of_its_own(void **state)
{
    (void)state;
    uint8_t secret[HASH_SIZE], tracker[HASH_SIZE], expected[HASH_SIZE];
    struct identity own, found;
    for (uint8_t i = 0; i < HASH_SIZE; i++) {
        secret[i] = i;
        tracker[i] = (uint8_t)(100 + i);
    }
    identity_from_secret(secret, &own);
    assert_int_equal(identity_for_tracker(&own, tracker, &found), ERR_OK);
    /* Python: hmac.new(secret, tracker, "sha256").digest() and its SHA-256 */
    assert_true(hex_decode("1cb9dbd028774bae7ba8e2fd9890a3d6836fb24774fc337a7d56ee8f7436d62e", HASH_SIZE, expected));
    assert_memory_equal(found.secret, expected, HASH_SIZE);
    assert_true(hex_decode("423b7b81a5e3ad5ff4ac482ce8e76a65515996048ee9b6c9e2f99a35c0d33f5d", HASH_SIZE, expected));
    assert_memory_equal(found.id, expected, HASH_SIZE);
}

static void the_header_carries_the_secret(void **state)
{
    (void)state;
    struct identity identity;
    char text[IDENTITY_BEARER_SIZE];
    uint8_t secret[HASH_SIZE];
    assert_int_equal(identity_new(&identity), ERR_OK);
    identity_bearer(&identity, text);
    assert_int_equal(strlen(text), IDENTITY_BEARER_SIZE - 1);
    assert_memory_equal(text, "Bearer ", 7);
    assert_true(identity_parse_bearer(text, secret));
    assert_memory_equal(secret, identity.secret, HASH_SIZE);
    memcpy(text, "bEARER", 6);
    assert_true(identity_parse_bearer(text, secret));
}

static void a_malformed_header_is_refused(void **state)
{
    (void)state;
    char text[IDENTITY_BEARER_SIZE + 1] = "Bearer ";
    uint8_t secret[HASH_SIZE];
    memset(text + 7, 'a', HASH_HEX);
    assert_true(identity_parse_bearer(text, secret));
    text[7 + HASH_HEX] = 'a';
    assert_false(identity_parse_bearer(text, secret));
    text[7 + HASH_HEX - 1] = '\0';
    assert_false(identity_parse_bearer(text, secret));
    const char *const bad[] = {"", "Bearer", "Bearer ", "Basic YTpi", "Bearer  aa"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(identity_parse_bearer(bad[i], secret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_id_is_the_hash_of_the_secret),
        cmocka_unit_test(new_identities_differ),
        cmocka_unit_test(each_tracker_found_sees_an_identity_of_its_own),
        cmocka_unit_test(the_header_carries_the_secret),
        cmocka_unit_test(a_malformed_header_is_refused),
    };
    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
