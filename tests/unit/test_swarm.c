/*
 * The engine against holders in this process, which serve as fast as they can.  Further threads help from the first byte
 * on: what they share is watched by ThreadSanitizer.
 */
#include "part_fixture.h"

#include "../../peer/serve/served.h"
#include "../../peer/swarm/swarm_internal.h"
#include "http_server.h"
#include "timing.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define CHUNK (64u * KIB)
#define CHUNKS 300u
#define SIZE (CHUNK * CHUNKS - 1000u)
#define HOLDERS 4u

/* A holder: a server with the content in a file. */
struct holder {
    struct http_server *server;
    struct served *served;
    const struct bitmap *held; /* NULL: all */
    int fd;
    bool broken; /* closes in mid-answer, now and then */
    atomic_uint asked;
};

static struct content content;
static uint8_t *bytes, layer[CHUNKS * HASH_SIZE];
static int right_fd, wrong_fd;
static struct holder holders[HOLDERS];
static struct peer_record records[HOLDERS];
static struct bitmap half;
static struct bans bans;
static struct part_file *part;
static struct swarm *swarm;

/* ---- the holders ---- */

static void reply_have(void *context, struct http_request *request)
{
    struct holder *holder = context;
    struct have_answer answer = {.version = 1, .complete = holder->held == NULL, .chunk_size = CHUNK};

    if (holder->held != NULL)
        assert_int_equal(bitmap_copy(&answer.bitmap, holder->held), ERR_OK);
    http_reply_json(request, 200, have_answer_format(&answer));
    have_answer_free(&answer);
}

static void reply_layer(void *context, struct http_request *request)
{
    uint8_t *copy = malloc(sizeof layer);

    (void)context;
    assert_non_null(copy);
    memcpy(copy, layer, sizeof layer);
    http_reply_range(request, "application/octet-stream", copy, sizeof layer);
}

static void reply_bytes(struct holder *holder, struct http_request *request, uint64_t first, uint64_t length)
{
    struct http_file file = {
        .fd = dup(holder->fd), .offset = first, .length = length, .size = SIZE, .partial = true, .etag = "\"x\""};

    assert_true(file.fd >= 0);
    if (holder->broken && atomic_fetch_add(&holder->asked, 1) % 10 == 5)
        file.length = file.size = length / 2; /* another range than was asked for */
    (void)usleep(5000);                       /* so that there is time for further threads to come */
    http_reply_file(request, &file);
}

static void reply_data(void *context, struct http_request *request)
{
    uint64_t first, length;

    assert_int_equal(http_request_range(request, SIZE, "\"x\"", &first, &length), HTTP_RANGE_PART);
    reply_bytes(context, request, first, length);
}

static void reply_any(void *context, struct http_request *request)
{
    struct holder *holder = context;
    struct any_request any;
    size_t length, index, count, last;
    const char *body = http_request_body(request, &length);

    assert_int_equal(any_request_parse(body, length, &any, NULL), ERR_OK);
    if (served_choose(
            holder->served, &content,
            &(struct served_choice){.chunk_size = CHUNK, .wanted = &any.wanted, .count = any.count, .fresh = any.fresh},
            &index, &count)) {
        last = index + count - 1;
        reply_bytes(holder, request, index * CHUNK,
                    last * CHUNK + merkle_chunk_length(SIZE, CHUNK, last) - index * CHUNK);
    } else {
        http_reply_problem(request, 404, "not-held", "nothing is left");
    }
    any_request_free(&any);
}

static const struct http_route routes[] = {{"GET", "/v1/files/{}/have", 0, reply_have},
                                           {"GET", "/v1/files/{}/layer", 0, reply_layer},
                                           {"GET", "/v1/files/{}/data", 0, reply_data},
                                           {"POST", "/v1/files/{}/any", 256 * KIB, reply_any}};

static void start_holder(size_t i)
{
    struct http_server_options options = {
        .threads = 2, .routes = routes, .route_count = sizeof routes / sizeof *routes, .context = &holders[i]};
    struct why why = {""};

    holders[i].served = served_new();
    assert_non_null(holders[i].served);
    assert_true(address_parse_host("127.0.0.1", 0, &options.listen));
    if (http_server_start(&options, &holders[i].server, &why) != ERR_OK)
        fail_msg("%s", why.text);
    http_server_address(holders[i].server, &records[i].address);
    memset(records[i].id, (int)i + 1, HASH_SIZE);
    records[i].complete = holders[i].held == NULL;
}

/* ---- the content, and the download ---- */

static int make_file(void)
{
    char path[100];
    int fd;

    (void)snprintf(path, sizeof path, "%s/content-XXXXXX", part_folder);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, SIZE, 0), SIZE);
    return fd;
}

static void make_content(void)
{
    bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 997 + 1);
    content.size = SIZE;
    part_hash(bytes, SIZE, 0, content.root);
    for (uint64_t i = 0; i < CHUNKS; i++)
        part_hash(bytes + i * CHUNK, (size_t)merkle_chunk_length(SIZE, CHUNK, i), merkle_chunk_blocks(SIZE, CHUNK),
                  layer + i * HASH_SIZE);
    right_fd = make_file();
    for (size_t i = 3; i < CHUNKS; i += 5)
        bytes[i * CHUNK + 100] ^= 1;
    wrong_fd = make_file();
    for (size_t i = 3; i < CHUNKS; i += 5)
        bytes[i * CHUNK + 100] ^= 1;
}

static int set_up(void **state)
{
    struct download_row row = {.name = strdup("name")};
    enum err err;

    if (part_set_up(state) != 0 || row.name == NULL || asprintf(&row.target, "%s/name", part_folder) < 0)
        return -1;
    make_content();
    memset(holders, 0, sizeof holders);
    memset(records, 0, sizeof records);
    assert_int_equal(bitmap_init(&half, CHUNKS), ERR_OK);
    for (size_t i = 0; i < CHUNKS; i += 2)
        bitmap_put(&half, i, true);
    for (size_t i = 0; i < HOLDERS; i++)
        holders[i].fd = right_fd;
    bans_init(&bans);
    row.content = content;
    err = state_add_download(part_state, &row);
    part_number = row.number;
    if (err == ERR_OK)
        err = part_file_open(part_state, &row, NULL, &part, NULL);
    download_row_free(&row);
    return err == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    swarm_free(swarm);
    swarm = NULL;
    part_file_release(part);
    for (size_t i = 0; i < HOLDERS; i++) {
        http_server_stop(holders[i].server);
        served_free(holders[i].served);
    }
    bitmap_free(&half);
    (void)pthread_mutex_destroy(&bans.lock);
    free(bytes);
    (void)close(right_fd);
    (void)close(wrong_fd);
    return part_tear_down(state);
}

/* A swarm that knows all holders. */
static void begin(void)
{
    struct swarm_options options = {.state = part_state,
                                    .part = part,
                                    .number = part_number,
                                    .name = "test",
                                    .bans = &bans,
                                    .chunk_size = CHUNK,
                                    .fast_bytes_s = 1};

    for (size_t i = 0; i < HOLDERS; i++)
        start_holder(i);
    assert_int_equal(swarm_new(&options, &swarm), ERR_OK);
    swarm_offer(swarm, records, HOLDERS);
}

/* What is said to be verified is right; how many chunks these are. */
static size_t check_verified(void)
{
    uint8_t *chunk = malloc(CHUNK);
    size_t verified = 0;

    assert_non_null(chunk);
    for (uint64_t i = 0; i < CHUNKS; i++) {
        size_t length = (size_t)merkle_chunk_length(SIZE, CHUNK, i);

        if (!part_file_has(part, i))
            continue;
        assert_int_equal(pread(part_file_fd(part), chunk, length, (off_t)(i * CHUNK)), length);
        assert_memory_equal(chunk, bytes + i * CHUNK, length);
        verified++;
    }
    free(chunk);
    return verified;
}

/* Each chunk is counted once, for the holder that brought it first; only the first holder may be banned. */
static void check_reports(size_t expected, bool banned)
{
    struct holder_report *reports;
    size_t count, chunks = 0;

    assert_int_equal(swarm_reports(swarm, &reports, &count), ERR_OK);
    assert_int_equal(count, HOLDERS);
    for (size_t i = 0; i < count; i++) {
        chunks += reports[i].chunks;
        assert_int_equal(reports[i].banned, banned && address_equal(&reports[i].address, &records[0].address));
    }
    assert_int_equal(chunks, expected);
    free(reports);
}

static void check_threads(void)
{
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        assert_true(swarm->lane_count > 1);
}

/* ---- tests ---- */

static void several_threads_fill_one_file(void **state)
{
    struct why why = {""};

    (void)state;
    holders[2].held = holders[3].held = &half;
    begin();
    if (swarm_run(swarm, &why) != ERR_OK)
        fail_msg("%s", why.text);
    check_threads();
    assert_int_equal(check_verified(), CHUNKS);
    assert_true(part_file_complete(part));
    check_reports(CHUNKS, false);
}

static void a_liar_is_found_out_whichever_thread_it_serves(void **state)
{
    (void)state;
    holders[0].fd = wrong_fd;
    holders[3].held = &half;
    begin();
    assert_int_equal(swarm_run(swarm, NULL), ERR_OK);
    check_threads();
    assert_int_equal(check_verified(), CHUNKS);
    check_reports(CHUNKS, true);
}

static void faults_of_several_threads_are_one_holders(void **state)
{
    (void)state;
    holders[0].broken = true;
    begin();
    assert_int_equal(swarm_run(swarm, NULL), ERR_OK);
    check_threads();
    assert_int_equal(check_verified(), CHUNKS);
}

static atomic_bool over;

static void *look_on(void *context)
{
    (void)context;
    while (!atomic_load(&over)) {
        struct swarm_progress progress;
        struct holder_report *reports;
        size_t count;

        swarm_progress(swarm, &progress);
        if (swarm_reports(swarm, &reports, &count) == ERR_OK)
            free(reports);
        swarm_offer(swarm, records, HOLDERS);
        (void)part_file_done_bytes(part);
    }
    return NULL;
}

static void others_may_look_on_and_offer(void **state)
{
    pthread_t lookers[2];

    (void)state;
    holders[3].held = &half;
    begin();
    atomic_store(&over, false);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&lookers[i], NULL, look_on, NULL), 0);
    assert_int_equal(swarm_run(swarm, NULL), ERR_OK);
    atomic_store(&over, true);
    for (size_t i = 0; i < 2; i++)
        (void)pthread_join(lookers[i], NULL);
    check_threads();
    assert_int_equal(check_verified(), CHUNKS);
    check_reports(CHUNKS, false);
}

/* On the thread that wrote, whichever it is. */
static void stop_in_the_middle(void *context)
{
    if (part_file_done_bytes(part) >= SIZE / 2)
        swarm_stop(context);
}

static void all_threads_end_where_one_is_told_to_stop(void **state)
{
    struct why why = {""};
    size_t verified;

    (void)state;
    begin();
    part_file_set_listener(part, stop_in_the_middle, swarm);
    assert_int_equal(swarm_run(swarm, &why), ERR_CANCELLED);
    part_file_set_listener(part, NULL, NULL);
    check_threads();
    verified = check_verified();
    assert_in_range(verified, CHUNKS / 2, CHUNKS - 1);
    check_reports(verified, false);
}

/* A limit on the size of files is as good as a full disk. */
static void all_threads_end_where_the_disk_is_full(void **state)
{
    struct rlimit before, low;
    struct why why = {""};
    enum err err;

    (void)state;
    begin();
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = before;
    low.rlim_cur = SIZE / 2;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    err = swarm_run(swarm, &why);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(err != ERR_OK && err != ERR_CANCELLED);
    assert_non_null(strstr(why.text, "could not be written"));
    assert_in_range(check_verified(), 0, CHUNKS / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(several_threads_fill_one_file),
        TEST(a_liar_is_found_out_whichever_thread_it_serves),
        TEST(faults_of_several_threads_are_one_holders),
        TEST(others_may_look_on_and_offer),
        TEST(all_threads_end_where_one_is_told_to_stop),
        TEST(all_threads_end_where_the_disk_is_full),
    };
    if (http_client_global_init() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_client_global_free();
    return failed;
}
