#include "test.h"

#include "../../peer/serve/upload_policy.h"
#include "limits.h"

#include <string.h>

static struct address client(unsigned number)
{
    struct address address;
    char text[ADDRESS_TEXT_SIZE];

    (void)snprintf(text, sizeof text, "10.0.%u.%u:%u", number / 256, number % 256, 1000 + number);
    assert_int_equal(address_parse(text, &address, NULL), ERR_OK);
    return address;
}

static void who_was_served_less_is_known_by_address_alone(void **state)
{
    static struct upload_clients clients;
    struct address one = client(1), same = client(1), two = client(2);

    (void)state;
    clients.count = 0;
    same.port = 9;
    upload_count(&clients, &one, 1000, 100);
    upload_count(&clients, &same, 500, 100);
    assert_int_equal(upload_served(&clients, &one, 100), 1500);
    upload_count(&clients, &two, 1600, 100);
    assert_int_equal(upload_served(&clients, &two, 100), 1500 + 1600); /* it began with what the other had */
}

static void who_comes_late_or_again_has_no_privilege(void **state)
{
    static struct upload_clients clients;
    struct address old = client(1), busy = client(2), late = client(3);

    (void)state;
    clients.count = 0;
    upload_count(&clients, &old, 10, 0);
    upload_count(&clients, &busy, 5000, 0);
    upload_count(&clients, &busy, 1000, 9000);
    assert_int_equal(upload_served(&clients, &busy, 18999), 6010);
    assert_int_equal(upload_served(&clients, &late, 18999), 6010); /* as much as the least served who is still there */
    assert_int_equal(upload_served(&clients, &old, 18999), 6010);
}

static void of_too_many_clients_the_one_not_seen_for_longest_is_forgotten(void **state)
{
    static struct upload_clients clients;
    struct address first = client(0), second = client(1), extra = client(UPLOAD_CLIENTS_MAX);

    (void)state;
    clients.count = 0;
    for (unsigned i = 0; i < UPLOAD_CLIENTS_MAX; i++) {
        struct address address = client(i);

        upload_count(&clients, &address, 100, 1000 + i);
    }
    (void)upload_served(&clients, &first, 2000);
    upload_count(&clients, &extra, 7, 2000);
    assert_int_equal(clients.count, UPLOAD_CLIENTS_MAX);
    for (size_t i = 0; i < clients.count; i++)
        assert_false(address_same_host(&clients.items[i].address, &second));
}

static bool room(uint64_t speed_bytes_s, size_t flying, size_t waiting, uint64_t flying_bytes)
{
    struct upload_load load = {.flying = flying, .waiting = waiting, .flying_bytes = flying_bytes};

    return upload_has_room(speed_bytes_s, &load, 64 * KIB);
}

static void two_answers_go_out_whatever_the_line(void **state)
{
    (void)state;
    assert_true(room(0, 0, 1, 0));
    assert_true(room(0, 1, 1, 64 * KIB));
    assert_false(room(0, 2, 1, 128 * KIB));
    assert_false(room(MIB, 2, 3, 128 * KIB));
}

static void a_third_of_many_is_served_at_a_time(void **state)
{
    (void)state;
    assert_true(room(0, 7, 17, 7 * 64 * KIB));
    assert_false(room(0, 8, 16, 8 * 64 * KIB));
}

static void a_fast_line_has_room_for_more(void **state)
{
    uint64_t in_35_ms = 12500000 / 1000 * 35;

    (void)state;
    assert_true(room(12500000, 5, 3, in_35_ms - 64 * KIB));
    assert_false(room(12500000, 5, 3, in_35_ms - 64 * KIB + 1));
    assert_true(room(UINT64_C(1000000000), 8, 8, 16 * MIB));
    assert_true(room(UINT64_MAX, 100, 1, UINT64_C(1) << 40));
}

static void speed_falls_only_while_the_line_is_busy(void **state)
{
    uint64_t speed = upload_speed(0, 1000000, false);

    (void)state;
    assert_int_equal(speed, 500000);
    for (int i = 0; i < 40; i++)
        speed = upload_speed(speed, 1000000, true);
    assert_in_range(speed, 990000, 1000000);
    assert_int_equal(upload_speed(speed, 0, false), speed);
    assert_true(upload_speed(speed, 0, true) < speed);
    for (int i = 0; i < 100; i++)
        speed = upload_speed(speed, 200000, true);
    assert_in_range(speed, 190000, 210000);
    assert_true(upload_speed(UINT64_MAX, UINT64_MAX, true) > UINT64_MAX / 2);
}

static void the_next_look_is_soon_but_not_at_once(void **state)
{
    (void)state;
    assert_int_equal(upload_pause_ms(0, 1000000), 1);
    assert_int_equal(upload_pause_ms(1000000, 0), 1);
    assert_int_equal(upload_pause_ms(1000000, 5000), 5);
    assert_int_equal(upload_pause_ms(1000000, UINT64_MAX), 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_was_served_less_is_known_by_address_alone),
        cmocka_unit_test(who_comes_late_or_again_has_no_privilege),
        cmocka_unit_test(of_too_many_clients_the_one_not_seen_for_longest_is_forgotten),
        cmocka_unit_test(two_answers_go_out_whatever_the_line),
        cmocka_unit_test(a_third_of_many_is_served_at_a_time),
        cmocka_unit_test(a_fast_line_has_room_for_more),
        cmocka_unit_test(speed_falls_only_while_the_line_is_busy),
        cmocka_unit_test(the_next_look_is_soon_but_not_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
