#include "part_fixture.h"
#include "sockets.h"

#include "../../peer/serve/polls.h"
#include "timing.h"

#include <stdatomic.h>

static struct http_server *server;
static struct address address;
static struct polls *polls;
static struct part_file *part;
static atomic_uint asked;

static void reply_have(void *context, struct http_request *request)
{
    struct poll_request wish = {.part = part};
    uint64_t delta;

    (void)context;
    if (!http_request_number(request, "since", 0, UINT64_MAX, 0, &wish.since) ||
        !http_request_number(request, "wait_ms", 0, UINT64_MAX, 0, &wish.wait_ms) ||
        !http_request_number(request, "delta", 0, 1, 0, &delta))
        return;
    wish.delta = delta == 1;
    polls_add(polls, request, &wish);
    atomic_fetch_add(&asked, 1);
}

static const struct http_route routes[] = {{"GET", "/have", 0, reply_have}};

static int set_up(void **state)
{
    struct http_server_options options = {.threads = 2, .routes = routes, .route_count = 1};
    struct why why;

    atomic_store(&asked, 0);
    if (part_set_up(state) != 0 || polls_new(&polls) != ERR_OK ||
        !address_parse_host("127.0.0.1", 0, &options.listen) || http_server_start(&options, &server, &why) != ERR_OK)
        return -1;
    http_server_address(server, &address);
    part = part_open_with_layer();
    part_file_set_listener(part, polls_wake, polls);
    return 0;
}

static int tear_down(void **state)
{
    polls_stop(polls);
    http_server_stop(server);
    part_file_set_listener(part, NULL, NULL);
    part_file_release(part);
    polls_free(polls);
    return part_tear_down(state);
}

static int ask(uint64_t since, uint64_t wait_ms, const char *more)
{
    int fd = sockets_connect(&address);
    char text[200];

    (void)snprintf(text, sizeof text, "GET /have?since=%llu&wait_ms=%llu%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                   (unsigned long long)since, (unsigned long long)wait_ms, more);
    assert_true(sockets_say(fd, text));
    return fd;
}

/* Sends one poll; the answer is read by expect(). */
static int poll_for(uint64_t since, uint64_t wait_ms)
{
    return ask(since, wait_ms, "");
}

/* The same, and what was added is enough: read by expect_added(). */
static int poll_for_added(uint64_t since, uint64_t wait_ms)
{
    return ask(since, wait_ms, "&delta=1");
}

static void wait_until_asked(unsigned count)
{
    EVENTUALLY(atomic_load(&asked) >= count);
    assert_int_equal(atomic_load(&asked), count);
}

static struct have_answer receive(int fd, uint64_t size)
{
    struct sockets_reply reply = sockets_receive(fd, false);
    struct have_answer answer;

    assert_int_equal(reply.status, 200);
    assert_int_equal(have_answer_parse(reply.body, reply.length, size, &answer, NULL), ERR_OK);
    sockets_reply_free(&reply);
    (void)close(fd);
    return answer;
}

/* The answer: a have map with `set` chunks; its version is returned. */
static uint64_t expect(int fd, size_t set)
{
    struct have_answer answer = receive(fd, PART_SIZE);
    uint64_t version;

    assert_false(answer.is_delta);
    assert_int_equal(answer.chunk_size, PART_CHUNK);
    assert_int_equal(answer.bitmap.count, PART_CHUNKS);
    assert_int_equal(answer.bitmap.set, set);
    version = answer.version;
    have_answer_free(&answer);
    return version;
}

/* The answer: these chunks, in this order, and nothing else; its version is returned. */
static uint64_t expect_added(int fd, const uint64_t *chunks, size_t count)
{
    struct have_answer answer = receive(fd, PART_SIZE);
    uint64_t version = answer.version;

    assert_true(answer.is_delta);
    assert_int_equal(answer.chunk_size, PART_CHUNK);
    assert_int_equal(answer.added_count, count);
    if (count > 0)
        assert_memory_equal(answer.added, chunks, count * sizeof *chunks);
    assert_int_equal(answer.pending.count, 0);
    have_answer_free(&answer);
    return version;
}

static bool is_answered(int fd, int wait_ms)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};

    return poll(&readable, 1, wait_ms) > 0;
}

/* Far longer than the test's runner waits. */
#define LONG_MS 3600000u

static void another_version_is_answered_at_once(void **state)
{
    uint64_t version = part_file_version(part);

    (void)state;
    assert_int_equal(expect(poll_for(version + 1, LONG_MS), 0), version);
    assert_int_equal(part_write(part, 3), ERR_OK);
    assert_int_equal(expect(poll_for(version, LONG_MS), 1), version + 1);
}

static void a_new_chunk_answers_all_that_wait(void **state)
{
    uint64_t version = part_file_version(part);
    int fds[10];

    (void)state;
    for (size_t i = 0; i < 10; i++)
        fds[i] = poll_for(version, LONG_MS);
    wait_until_asked(10);
    assert_false(is_answered(fds[0], 700)); /* not before there is something new */
    assert_int_equal(part_write(part, 3), ERR_OK);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(expect(fds[i], 1), version + 1);
}

static void chunk_after_chunk_is_told(void **state)
{
    uint64_t version = part_file_version(part);

    (void)state;
    for (unsigned i = 0; i < PART_CHUNKS; i++) {
        int fd = poll_for(version, LONG_MS);

        wait_until_asked(i + 1);
        assert_int_equal(part_write(part, i), ERR_OK);
        assert_int_equal(expect(fd, i + 1), version + 1);
        version++;
    }
}

/* However fast chunks come and clients ask again, each round of answers waits for the gap of 10 ms. */
static void chunks_are_gathered(void **state)
{
    uint64_t start_ms = timing_now_ms();
    size_t answers = 0;

    (void)state;
    for (unsigned i = 0; i < PART_CHUNKS; i++) {
        int fd = poll_for(part_file_version(part), LONG_MS);

        assert_int_equal(part_write(part, i), ERR_OK);
        (void)expect(fd, i + 1);
        answers++;
    }
    assert_true(timing_now_ms() - start_ms >= 10 * (answers - 1));
}

static void what_was_added_is_told_alone(void **state)
{
    static const uint64_t chunks[] = {7, 2, 5};
    uint64_t version = part_file_version(part);
    int fd = poll_for_added(version, LONG_MS);

    (void)state;
    wait_until_asked(1);
    assert_int_equal(part_write(part, 7), ERR_OK);
    assert_int_equal(expect_added(fd, chunks, 1), version + 1);
    assert_int_equal(part_write(part, 2), ERR_OK);
    assert_int_equal(part_write(part, 2), ERR_OK); /* again: nothing new */
    assert_int_equal(part_write(part, 5), ERR_OK);
    part_file_set_pending(part, 9, true); /* not told: it changes too often */
    assert_int_equal(expect_added(poll_for_added(version, LONG_MS), chunks, 3), version + 3);
    assert_int_equal(expect_added(poll_for_added(version + 1, LONG_MS), chunks + 1, 2), version + 3);
    assert_int_equal(expect_added(poll_for_added(version + 3, 50), NULL, 0), version + 3);
}

static void a_version_that_is_not_known_gets_the_whole_map(void **state)
{
    uint64_t version = part_file_version(part);

    (void)state;
    assert_int_equal(part_write(part, 3), ERR_OK);
    assert_int_equal(expect(poll_for_added(version - 1, LONG_MS), 1), version + 1); /* of before the layer was known */
    assert_int_equal(expect(poll_for_added(version + 2, LONG_MS), 1), version + 1); /* of another run */
    assert_int_equal(expect(poll_for_added(0, LONG_MS), 1), version + 1);
}

/* A content in so many small chunks that what was added would be longer than the map. */
static void much_is_told_by_the_whole_map(void **state)
{
    enum { COUNT = 200 };
    static uint8_t layer[COUNT * HASH_SIZE];
    const uint8_t bytes[CHUNK_SIZE_MIN] = {0};
    struct download_row row = {.number = 77, .content = {.size = COUNT * CHUNK_SIZE_MIN}};
    struct part_file *small = part, *large = NULL;
    struct have_answer answer;
    uint64_t version;

    (void)state;
    assert_int_equal(part_file_open(part_state, &row, NULL, &large, NULL), ERR_OK);
    assert_int_equal(part_file_set_layer(large, CHUNK_SIZE_MIN, layer, COUNT), ERR_OK);
    part = large;
    version = part_file_version(large);
    for (uint64_t i = 0; i < 150; i++)
        assert_int_equal(part_file_write(large, i, 1, bytes), ERR_OK);
    answer = receive(poll_for_added(version + 130, LONG_MS), row.content.size);
    assert_true(answer.is_delta && answer.added_count == 20 && answer.version == version + 150);
    have_answer_free(&answer);
    answer = receive(poll_for_added(version, LONG_MS), row.content.size);
    assert_true(!answer.is_delta && answer.bitmap.set == 150 && answer.version == version + 150);
    have_answer_free(&answer);
    part = small;
    part_file_release(large);
}

/* Who asks before the download knows its layer learns that there is nothing yet, and then when there is. */
static void before_the_layer_is_known_the_map_is_empty(void **state)
{
    struct download_row row = {.number = 78, .content = part_content};
    struct part_file *with_layer = part, *without = NULL;
    struct have_answer answer;
    uint64_t version;
    int fd;

    (void)state;
    assert_int_equal(part_file_open(part_state, &row, NULL, &without, NULL), ERR_OK);
    part_file_set_listener(without, polls_wake, polls);
    part = without;
    answer = receive(poll_for(0, 0), PART_SIZE);
    assert_true(!answer.complete && !answer.is_delta && answer.bitmap.set == 0 && answer.pending.set == 0);
    assert_int_equal(answer.bitmap.count, merkle_chunk_count(PART_SIZE, answer.chunk_size));
    version = answer.version;
    have_answer_free(&answer);
    fd = poll_for_added(version, LONG_MS);
    wait_until_asked(2);
    assert_int_equal(part_file_set_layer(without, PART_CHUNK, part_layer, PART_CHUNKS), ERR_OK);
    assert_int_equal(expect(fd, 0), part_file_version(without));
    assert_int_not_equal(part_file_version(without), version);
    part_file_set_listener(without, NULL, NULL);
    part = with_layer;
    part_file_release(without);
}

static void time_out_is_an_answer_too(void **state)
{
    uint64_t version = part_file_version(part);
    int longer = poll_for(version, LONG_MS);

    (void)state;
    assert_int_equal(expect(poll_for(version, 100), 0), version);
    assert_int_equal(expect(poll_for(version, 0), 0), version);
    assert_false(is_answered(longer, 0));
    (void)close(longer); /* a client that leaves holds up nobody */
    assert_int_equal(expect(poll_for(version, 100), 0), version);
}

static void stopping_answers_all(void **state)
{
    uint64_t version = part_file_version(part);
    int fds[5];

    (void)state;
    for (size_t i = 0; i < 5; i++)
        fds[i] = poll_for(version, LONG_MS);
    wait_until_asked(5);
    polls_stop(polls);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(expect(fds[i], 0), version);
    assert_int_equal(expect(poll_for(version, LONG_MS), 0), version); /* and later ones at once */
    polls_free(polls);
    assert_int_equal(polls_new(&polls), ERR_OK); /* for the teardown */
    polls_stop(NULL);
    polls_free(NULL);
}

static void one_address_may_not_wait_too_often(void **state)
{
    uint64_t version = part_file_version(part);
    static int fds[POLLS_PER_ADDRESS_MAX];

    (void)state;
    for (size_t i = 0; i < POLLS_PER_ADDRESS_MAX; i++)
        fds[i] = poll_for(version, LONG_MS);
    wait_until_asked(POLLS_PER_ADDRESS_MAX);
    assert_int_equal(expect(poll_for(version, LONG_MS), 0), version);
    assert_false(is_answered(fds[0], 0));
    assert_int_equal(part_write(part, 0), ERR_OK);
    for (size_t i = 0; i < POLLS_PER_ADDRESS_MAX; i++)
        assert_int_equal(expect(fds[i], 1), version + 1);
    fds[0] = poll_for(version + 1, LONG_MS); /* there is room again */
    assert_false(is_answered(fds[0], 700));
    (void)close(fds[0]);
}

/* Whoever waits holds the part: it lasts until the answer. */
static void a_part_that_is_released_still_answers(void **state)
{
    uint64_t version = part_file_version(part);
    int fd = poll_for(version, 500);
    struct part_file *old = part;

    (void)state;
    wait_until_asked(1);
    part_file_set_listener(old, NULL, NULL);
    part_file_release(old);
    assert_int_equal(expect(fd, 0), version);
    part = part_open(); /* for the teardown */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_version_is_answered_at_once), TEST(a_new_chunk_answers_all_that_wait),
        TEST(chunk_after_chunk_is_told),           TEST(chunks_are_gathered),
        TEST(what_was_added_is_told_alone),        TEST(a_version_that_is_not_known_gets_the_whole_map),
        TEST(much_is_told_by_the_whole_map),       TEST(before_the_layer_is_known_the_map_is_empty),
        TEST(time_out_is_an_answer_too),           TEST(stopping_answers_all),
        TEST(one_address_may_not_wait_too_often),  TEST(a_part_that_is_released_still_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
