/* Who is a neighbour: what follows from a greeting, a failure, hearsay, a farewell. */
#include "neighbours_fixture.h"

static int set_up(void **state)
{
    static struct roster roster;
    roster_init(&roster, own_id, own_instance);
    *state = &roster;
    return 0;
}

static int tear_down(void **state)
{
    roster_free(*state);
    return 0;
}

static struct neighbour_sighting sighting(unsigned n, enum neighbour_source source)
{
    return (struct neighbour_sighting){.address = place(n), .source = source};
}

/* The same with a peer's id, whose first bytes are `id`. */
static struct neighbour_sighting claim(unsigned n, unsigned id, uint64_t clock)
{
    struct neighbour_sighting claimed = sighting(n, NEIGHBOUR_BY_LIST);
    claimed.has_id = true;
    memcpy(claimed.id, &id, sizeof id);
    claimed.clock = clock;
    return claimed;
}

static struct roster_answer answer_of(unsigned id, uint64_t clock)
{
    struct roster_answer answer = {.clock = clock, .files = 3};
    memcpy(answer.id, &id, sizeof id);
    memcpy(answer.instance, &id, sizeof id);
    return answer;
}

static enum err find(struct roster *roster, const struct neighbour_sighting *found, uint64_t now_ms)
{
    enum err err;
    (void)roster_found(roster, found, now_ms, &err);
    return err;
}

static bool answer(struct roster *roster, unsigned n, unsigned id, uint64_t now_ms)
{
    struct address address = place(n);
    struct roster_answer said = answer_of(id, 5);
    size_t row;
    return roster_answered(roster, &address, &said, now_ms, 512, &row);
}

static bool failed(struct roster *roster, unsigned n, enum roster_fault fault, uint64_t now_ms)
{
    struct address address = place(n);
    return roster_failed(roster, &address, fault, now_ms, 512);
}

/* A peer with this id, ONLINE at this place. */
static void make_online(struct roster *roster, unsigned n, unsigned id, uint64_t now_ms)
{
    struct neighbour_sighting found = sighting(n, NEIGHBOUR_BY_LAN);
    assert_int_equal(find(roster, &found, now_ms), ERR_OK);
    assert_true(answer(roster, n, id, now_ms));
}

/* The place that is greeted now; -1: nobody's turn. */
static int greeted(struct roster *roster, uint64_t now_ms)
{
    struct address address;
    uint64_t wait_ms;
    if (!roster_next(roster, now_ms, &address, &wait_ms))
        return -1;
    return address.ip[14] * 250 + address.ip[15] - 1;
}

static const struct neighbour *at(struct roster *roster, unsigned n)
{
    struct address address = place(n);
    size_t index = roster_find_address(roster, &address);
    return index == SIZE_MAX ? NULL : &roster->rows[index].neighbour;
}

static void only_an_answer_makes_a_peer_online(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting found = claim(1, 7, 100);
    assert_int_equal(find(roster, &found, 1000), ERR_OK);
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_OFFLINE);
    assert_false(at(roster, 1)->proven);
    assert_int_equal(greeted(roster, 1000), 1);
    assert_int_equal(greeted(roster, 1000), -1); /* it is under way */
    assert_true(answer(roster, 1, 7, 1010));
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_ONLINE);
    assert_true(at(roster, 1)->proven);
    assert_int_equal(at(roster, 1)->clock, 5);
    assert_int_equal(at(roster, 1)->files, 3);
    assert_false(answer(roster, 1, 7, 1020)); /* nothing new */
}

static void oneself_is_never_a_neighbour(void **state)
{
    struct roster *roster = *state;
    struct address own = place(1);
    struct neighbour_sighting found = sighting(1, NEIGHBOUR_BY_FILE), by_id = sighting(2, NEIGHBOUR_BY_LAN);
    roster_add_own(roster, &own);
    assert_int_equal(find(roster, &found, 0), ERR_EXISTS);
    by_id.has_id = true;
    memcpy(by_id.id, own_id, HASH_SIZE);
    assert_int_equal(find(roster, &by_id, 0), ERR_EXISTS);
    by_id.has_id = false;
    by_id.has_instance = true;
    memcpy(by_id.instance, own_instance, INSTANCE_SIZE);
    assert_int_equal(find(roster, &by_id, 0), ERR_EXISTS);
    assert_int_equal(roster->count, 0);
    /* An address that nobody would have known is recognised by its answer. */
    found = sighting(3, NEIGHBOUR_BY_FILE);
    assert_int_equal(find(roster, &found, 0), ERR_OK);
    struct address address = place(3);
    struct roster_answer said = {.clock = 1};
    size_t row;
    memcpy(said.id, own_id, HASH_SIZE);
    assert_false(roster_answered(roster, &address, &said, 0, 0, &row));
    assert_int_equal(row, SIZE_MAX);
    assert_int_equal(roster->count, 0);
    assert_int_equal(find(roster, &found, 0), ERR_EXISTS);
}

static void two_addresses_of_a_peer_are_one_row(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting other = sighting(2, NEIGHBOUR_BY_FILE);
    make_online(roster, 1, 7, 1000);
    assert_int_equal(find(roster, &other, 1000), ERR_OK);
    assert_int_equal(roster->count, 2);
    assert_false(answer(roster, 2, 7, 1010));
    assert_int_equal(roster->count, 1);
    assert_ptr_equal(at(roster, 1), at(roster, 2));
    struct address first = place(1);
    assert_true(address_equal(&at(roster, 2)->address, &first)); /* the one that others use already */
    assert_true((at(roster, 1)->sources & NEIGHBOUR_BY_FILE) != 0);
}

static void another_address_is_tried_where_the_first_is_silent(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting other = claim(2, 7, 9);
    make_online(roster, 1, 7, 1000);
    assert_int_equal(find(roster, &other, 1000), ERR_OK);
    assert_int_equal(roster->count, 1);
    assert_int_equal(greeted(roster, 100000), 1);
    assert_true(failed(roster, 1, ROSTER_GONE, 100000));
    assert_int_equal(greeted(roster, 100000), 2);
    assert_true(answer(roster, 2, 7, 100010));
    struct address second = place(2);
    assert_true(address_equal(&at(roster, 1)->address, &second));
}

static void a_false_claim_harms_nobody(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting lie = claim(66, 7, 1000000), truth = claim(1, 7, 10);
    assert_int_equal(find(roster, &lie, 1000), ERR_OK);
    assert_int_equal(greeted(roster, 1000), 66);
    assert_int_equal(find(roster, &truth, 1000), ERR_OK);
    assert_int_equal(roster->count, 1);
    /* Who lives at the liar's address is found out, and the peer is greeted at its other one. */
    assert_true(answer(roster, 66, 8, 1010));
    assert_int_equal(roster->count, 2);
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_OFFLINE);
    assert_int_equal(greeted(roster, 1010), 1);
    assert_true(answer(roster, 1, 7, 1020));
    /* Once it has answered, no claim puts another address in its place. */
    for (unsigned n = 100; n < 110; n++) {
        lie = claim(n, 7, 1000000 + n);
        (void)find(roster, &lie, 1030);
    }
    struct address first = place(1);
    assert_true(address_equal(&at(roster, 1)->address, &first));
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_ONLINE);
}

static void who_fails_is_tried_less_and_less(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting found = sighting(1, NEIGHBOUR_BY_FILE);
    uint64_t now_ms = 1000, last_ms = 0;
    (void)find(roster, &found, now_ms);
    for (unsigned i = 0; i < 12; i++) {
        struct address address;
        uint64_t wait_ms;
        assert_true(roster_next(roster, now_ms, &address, &wait_ms));
        assert_false(failed(roster, 1, ROSTER_GONE, now_ms));
        assert_false(roster_next(roster, now_ms, &address, &wait_ms));
        assert_true(wait_ms >= last_ms && wait_ms <= 60000);
        last_ms = wait_ms;
        now_ms += wait_ms;
    }
    assert_true(last_ms >= 45000);
    assert_non_null(at(roster, 1)); /* the user's word is never forgotten */
}

static void one_time_out_is_forgiven(void **state)
{
    struct roster *roster = *state;
    make_online(roster, 1, 7, 1000);
    assert_int_equal(greeted(roster, 30000), 1);
    assert_false(failed(roster, 1, ROSTER_SILENT, 30000));
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_ONLINE);
    assert_int_equal(greeted(roster, 31000), 1);
    assert_true(failed(roster, 1, ROSTER_SILENT, 31000));
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_OFFLINE);
}

static void a_refused_connection_means_offline_at_once(void **state)
{
    struct roster *roster = *state;
    make_online(roster, 1, 7, 1000);
    struct address address = place(1);
    assert_true(roster_suspect(roster, &address, 5000));
    assert_int_equal(greeted(roster, 5000), 1);
    assert_true(failed(roster, 1, ROSTER_GONE, 5000));
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_OFFLINE);
    assert_false(roster_suspect(roster, &address, 5000));
}

static void a_farewell_is_believed_from_ones_own_host_alone(void **state)
{
    struct roster *roster = *state;
    struct address own_host = place(1), stranger = place(2);
    make_online(roster, 1, 7, 1000);
    struct roster_answer said = answer_of(7, 5);
    own_host.port = 33333; /* of the connection */
    assert_false(roster_bye(roster, said.id, &stranger, 2000, 0));
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_ONLINE);
    assert_true(roster_bye(roster, said.id, &own_host, 2000, 0));
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_OFFLINE);
    assert_int_equal(greeted(roster, 2000), -1);
    assert_int_equal(greeted(roster, 20000), 1); /* it may be back */
}

static void of_two_lists_the_newer_one_counts(void **state)
{
    struct roster *roster = *state;
    make_online(roster, 1, 7, 1000); /* with clock 5 */
    struct neighbour_sighting old = claim(1, 7, 4), newer = claim(1, 7, 6);
    old.offline = newer.offline = true;
    assert_int_equal(find(roster, &old, 4000), ERR_OK);
    assert_int_equal(greeted(roster, 4000), -1);
    assert_int_equal(find(roster, &newer, 4000), ERR_OK);
    assert_int_equal(greeted(roster, 4000), 1);
    assert_int_equal(at(roster, 1)->status, NEIGHBOUR_ONLINE); /* until it was looked at */
    assert_int_equal(find(roster, &newer, 4500), ERR_OK);
    assert_false(answer(roster, 1, 7, 4500));
    assert_int_equal(greeted(roster, 4600), -1);
}

static void who_is_said_to_be_gone_is_no_news(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting gone = claim(1, 7, 4);
    gone.offline = true;
    assert_int_equal(find(roster, &gone, 1000), ERR_OK);
    assert_int_equal(roster->count, 0);
}

static void hearsay_pushes_out_hearsay_only(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting own_word = sighting(9000, NEIGHBOUR_BY_FILE);
    make_online(roster, 1, 1, 1000);
    (void)find(roster, &own_word, 1000);
    for (unsigned n = 1000; n < 1000 + 4 * NEIGHBOURS_UNPROVEN_MAX; n++) {
        struct neighbour_sighting said = claim(n, n, 1);
        assert_int_equal(find(roster, &said, n), ERR_OK);
    }
    assert_int_equal(roster->count, 2 + NEIGHBOURS_UNPROVEN_MAX);
    assert_non_null(at(roster, 1));
    assert_non_null(at(roster, 9000));
}

static void the_table_is_bounded_and_keeps_who_is_online(void **state)
{
    struct roster *roster = *state;
    for (unsigned n = 0; n < NEIGHBOURS_KNOWN_MAX; n++)
        make_online(roster, n, n + 1000, 1000);
    struct neighbour_sighting one_more = sighting(60000, NEIGHBOUR_BY_LAN);
    assert_int_equal(find(roster, &one_more, 2000), ERR_TOO_LARGE);
    assert_true(failed(roster, 3, ROSTER_GONE, 3000));
    assert_int_equal(find(roster, &one_more, 4000), ERR_OK);
    assert_null(at(roster, 3));
    assert_int_equal(roster->count, NEIGHBOURS_KNOWN_MAX);
}

static void a_new_peer_is_greeted_before_those_who_failed(void **state)
{
    struct roster *roster = *state;
    for (unsigned n = 0; n < 100; n++) {
        struct neighbour_sighting dead = sighting(n, NEIGHBOUR_BY_FILE);
        (void)find(roster, &dead, 1000);
        assert_true(greeted(roster, 1000) >= 0);
        (void)failed(roster, n, ROSTER_SILENT, 1000);
    }
    struct neighbour_sighting alive = sighting(200, NEIGHBOUR_BY_HELLO);
    (void)find(roster, &alive, 50000);
    assert_int_equal(greeted(roster, 50000), 200);
}

static void a_peer_of_another_network_is_left_alone(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting found = sighting(1, NEIGHBOUR_BY_LAN);
    (void)find(roster, &found, 1000);
    (void)greeted(roster, 1000);
    (void)failed(roster, 1, ROSTER_FOREIGN, 1000);
    assert_true(at(roster, 1)->foreign);
    found.clock = 100;
    (void)find(roster, &found, 20000);
    assert_int_equal(greeted(roster, 20000), -1);
    /* Another peer may take its place. */
    assert_int_equal(greeted(roster, 100000), 1);
    assert_true(answer(roster, 1, 7, 100000));
    assert_false(at(roster, 1)->foreign);
}

static void a_peer_that_comes_from_another_network_is_greeted_at_once(void **state)
{
    struct roster *roster = *state;
    struct neighbour_sighting found = sighting(1, NEIGHBOUR_BY_HELLO);
    (void)find(roster, &found, 1000);
    assert_int_equal(greeted(roster, 1000), 1);
    (void)failed(roster, 1, ROSTER_FOREIGN, 1000);
    assert_int_equal(greeted(roster, 9000), -1);
    (void)find(roster, &found, 10000);
    assert_int_equal(greeted(roster, 10000), 1);
    assert_true(answer(roster, 1, 7, 10000));
    assert_false(at(roster, 1)->foreign);
}

static void a_restart_is_noticed(void **state)
{
    struct roster *roster = *state;
    make_online(roster, 1, 7, 1000);
    struct neighbour_sighting again = claim(1, 7, 3);
    again.has_instance = true;
    again.source = NEIGHBOUR_BY_HELLO;
    again.instance[0] = 0x99;
    (void)find(roster, &again, 9000);
    assert_int_equal(greeted(roster, 9000), 1);
    struct address address = place(1);
    struct roster_answer said = answer_of(7, 6);
    size_t row;
    said.instance[0] = 0x99;
    assert_true(roster_answered(roster, &address, &said, 9000, 0, &row));
}

static void another_peer_in_the_place_of_one_takes_its_row(void **state)
{
    struct roster *roster = *state;
    make_online(roster, 1, 7, 1000);
    assert_true(answer(roster, 1, 8, 2000));
    assert_int_equal(roster->count, 1);
    unsigned id = 8;
    assert_memory_equal(at(roster, 1)->id, &id, sizeof id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_an_answer_makes_a_peer_online, set_up, tear_down),
        cmocka_unit_test_setup_teardown(oneself_is_never_a_neighbour, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_addresses_of_a_peer_are_one_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_address_is_tried_where_the_first_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_false_claim_harms_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_fails_is_tried_less_and_less, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_time_out_is_forgiven, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refused_connection_means_offline_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_farewell_is_believed_from_ones_own_host_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_two_lists_the_newer_one_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_said_to_be_gone_is_no_news, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hearsay_pushes_out_hearsay_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_table_is_bounded_and_keeps_who_is_online, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_peer_is_greeted_before_those_who_failed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_of_another_network_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_comes_from_another_network_is_greeted_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restart_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_peer_in_the_place_of_one_takes_its_row, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("roster", tests, NULL, NULL);
}
