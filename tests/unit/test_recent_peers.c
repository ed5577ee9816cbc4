#include "test.h"

#include "recent_peers.h"

static struct recent_peers *peers;

static int set_up(void **state)
{
    (void)state;
    peers = recent_peers_new();
    return peers ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    recent_peers_free(peers);
    return 0;
}

static void put(const uint8_t id[static HASH_SIZE], int64_t key, uint64_t files)
{
    const struct recent_peer peer = {key, files};
    recent_peers_put(peers, id, &peer);
}

/* 0: not among them. */
static int64_t key_of(const uint8_t id[static HASH_SIZE])
{
    struct recent_peer peer;
    return recent_peers_find(peers, id, &peer) ? peer.key : 0;
}

static void who_was_put_there_is_found(void **state)
{
    (void)state;
    const uint8_t id[HASH_SIZE] = {1}, other[HASH_SIZE] = {1, [HASH_SIZE - 1] = 1}; /* of the same slot */
    struct recent_peer peer;
    assert_int_equal(key_of(id), 0);
    put(id, 11, 5);
    assert_true(recent_peers_find(peers, id, &peer));
    assert_int_equal(peer.key, 11);
    assert_int_equal(peer.files, 5);
    assert_int_equal(key_of(other), 0);
    put(id, 12, 6);
    assert_int_equal(key_of(id), 12);
}

static void who_is_dropped_is_not_found(void **state)
{
    (void)state;
    const uint8_t id[HASH_SIZE] = {1}, other[HASH_SIZE] = {1, [HASH_SIZE - 1] = 1}, third[HASH_SIZE] = {3};
    put(id, 11, 0);
    put(third, 13, 0);
    recent_peers_drop(peers, other);
    assert_int_equal(key_of(id), 11);
    recent_peers_drop(peers, id);
    assert_int_equal(key_of(id), 0);
    assert_int_equal(key_of(third), 13);
    put(id, 12, 0);
    assert_int_equal(key_of(id), 12);
}

static void of_many_some_are_kept_and_none_is_mistaken(void **state)
{
    (void)state;
    int64_t kept = 0;
    uint8_t id[HASH_SIZE] = {0};
    for (uint32_t number = 1; number <= 100000; number++) {
        memcpy(id, &number, sizeof number);
        put(id, number, 0);
    }
    for (uint32_t number = 1; number <= 100000; number++) {
        memcpy(id, &number, sizeof number);
        int64_t key = key_of(id);
        assert_true(key == 0 || key == number);
        kept += key != 0;
    }
    assert_true(kept > 1000);
}

static void nobody_is_found_after_all_are_forgotten(void **state)
{
    (void)state;
    const uint8_t id[HASH_SIZE] = {1};
    put(id, 11, 0);
    recent_peers_forget(peers);
    assert_int_equal(key_of(id), 0);
    put(id, 12, 0);
    assert_int_equal(key_of(id), 12);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_was_put_there_is_found),
        TEST(who_is_dropped_is_not_found),
        TEST(of_many_some_are_kept_and_none_is_mistaken),
        TEST(nobody_is_found_after_all_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
