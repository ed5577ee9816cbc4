/* Contents with more holders than a read looks at one by one, in both stores. */
#include "both_stores_fixture.h"

enum { SWARM = HOLDERS_EXACT_MAX + 500, SWARM_BATCH = 100 };

static void id_of(unsigned peer, uint8_t ret[static HASH_SIZE])
{
    memset(ret, 0, HASH_SIZE);
    memcpy(ret, &peer, sizeof peer);
}

/* Peers 1 to SWARM hold content 0, the last one a part of it. */
static void fill_swarm(void)
{
    static struct register_request requests[SWARM_BATCH];
    static struct store_write writes[SWARM_BATCH];
    struct store_write *batch[SWARM_BATCH];
    for (unsigned peer = 1; peer <= SWARM; peer += SWARM_BATCH) {
        for (unsigned i = 0; i < SWARM_BATCH; i++) {
            requests[i] = registration_of(1, 0, 1);
            id_of(peer + i, requests[i].id);
            requests[i].files.items[0].complete = peer + i < SWARM;
            writes[i] = (struct store_write){.op = STORE_REGISTER, .registration = &requests[i]};
            batch[i] = &writes[i];
        }
        assert_int_equal(store_apply(store, batch, SWARM_BATCH, NULL), ERR_OK);
        for (unsigned i = 0; i < SWARM_BATCH; i++)
            register_request_free(&requests[i]);
    }
}

/* Each is one of the swarm, and there once; `drawn` grows by one for each that is there. */
static void count_drawn(const struct content_holders *holders, unsigned drawn[static SWARM + 1])
{
    bool now[SWARM + 1] = {false};
    for (size_t i = 0; i < holders->holder_count; i++) {
        unsigned peer;
        memcpy(&peer, holders->holders[i].id, sizeof peer);
        assert_in_range(peer, 1, SWARM);
        assert_false(now[peer]);
        assert_int_equal(holders->holders[i].complete, peer < SWARM);
        now[peer] = true;
        drawn[peer]++;
    }
}

static size_t draw_from_swarm(size_t limit, unsigned drawn[static SWARM + 1])
{
    struct content content = content_of(0);
    struct content_holders holders;
    assert_int_equal(store_holders(store, content.root, NULL, limit, &holders), ERR_OK);
    count_drawn(&holders, drawn);
    size_t count = holders.holder_count;
    assert_true(holders.holders_total >= count);
    assert_int_equal(holders.name_count, 1);
    content_holders_free(&holders);
    return count;
}

/* 50 times on the average: who began at the edge of a run only would be there twice or so. */
static void all_of_a_large_swarm_are_drawn_about_equally_often(void **state)
{
    (void)state;
    enum { ROUNDS = 750, LIMIT = 100, MEAN = ROUNDS * LIMIT / SWARM };
    unsigned drawn[SWARM + 1] = {0};
    fill_swarm();
    for (unsigned round = 0; round < ROUNDS; round++)
        assert_int_equal(draw_from_swarm(LIMIT, drawn), LIMIT);
    for (unsigned peer = 1; peer <= SWARM; peer++)
        assert_in_range(drawn[peer], MEAN / 5, MEAN * 3);
    assert_int_equal(draw_from_swarm(ITEMS_MAX, drawn), ITEMS_MAX);
}

static void who_left_a_large_swarm_is_not_drawn(void **state)
{
    (void)state;
    unsigned drawn[SWARM + 1] = {0};
    fill_swarm();
    assert_int_equal(draw_from_swarm(10, drawn), 10);
    for (unsigned peer = 1; peer <= SWARM; peer++) {
        struct store_write write = {.op = STORE_UNREGISTER};
        id_of(peer, write.id);
        if (peer % 500)
            assert_int_equal(apply(write).err, ERR_OK);
    }
    memset(drawn, 0, sizeof drawn);
    assert_int_equal(draw_from_swarm(100, drawn), 3);
    assert_true(drawn[500] && drawn[1000] && drawn[1500]);
}

static void large_swarms_and_small_ones_are_told_together(void **state)
{
    (void)state;
    unsigned drawn[SWARM + 1] = {0};
    struct content asked[] = {content_of(1), content_of(0), content_of(2), content_of(3)};
    const struct contents_request contents = {.items = asked, .count = 4};
    fill_swarm();
    /* Two of the swarm, who hold something else from now on. */
    put(201, 1, 1);
    put(202, 3, 1);
    for (unsigned round = 0; round < 2; round++) {
        struct holders_answer answer;
        assert_int_equal(store_holders_of(store, &contents, 50, &answer), ERR_OK);
        assert_int_equal(answer.count, 3);
        assert_memory_equal(answer.items[0].content.root, asked[0].root, HASH_SIZE);
        assert_int_equal(answer.items[0].holder_count, 1);
        assert_memory_equal(answer.items[1].content.root, asked[1].root, HASH_SIZE);
        assert_int_equal(answer.items[1].holder_count, 50);
        assert_int_equal(answer.items[1].holders_total, SWARM - 2);
        count_drawn(&answer.items[1], drawn);
        assert_memory_equal(answer.items[2].content.root, asked[3].root, HASH_SIZE);
        assert_int_equal(answer.items[2].holder_count, 1);
        holders_answer_free(&answer);
    }
}

/* Of several sizes the one with the most holders, remembered as a large swarm or not. */
static void a_large_swarm_is_the_size_that_is_meant(void **state)
{
    (void)state;
    struct content content = content_of(0);
    fill_swarm();
    struct register_request request = registration_of(250, 0, 1);
    request.id[31] = 1;
    request.files.items[0].content.size = 8;
    struct store_write write = apply((struct store_write){.op = STORE_REGISTER, .registration = &request});
    assert_int_equal(write.err, ERR_OK);
    register_request_free(&request);
    for (unsigned round = 0; round < 2; round++) {
        struct content_holders holders;
        uint64_t other = 8;
        assert_int_equal(store_holders(store, content.root, NULL, 10, &holders), ERR_OK);
        assert_int_equal(holders.content.size, content.size);
        assert_int_equal(holders.holders_total, SWARM);
        assert_int_equal(holders.other_size_count, 1);
        content_holders_free(&holders);
        assert_int_equal(store_holders(store, content.root, &other, 10, &holders), ERR_OK);
        assert_int_equal(holders.holders_total, 1);
        content_holders_free(&holders);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_a_large_swarm_are_drawn_about_equally_often),
        cmocka_unit_test(who_left_a_large_swarm_is_not_drawn),
        cmocka_unit_test(large_swarms_and_small_ones_are_told_together),
        cmocka_unit_test(a_large_swarm_is_the_size_that_is_meant),
    };
    return RUN_WITH_BOTH_STORES(tests);
}
