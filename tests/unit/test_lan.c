#include "patience.h"

#include "lan.h"
#include "limits.h"
#include "multicast.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* On loopback, where a packet comes back; no network is needed, and no other program speaks on this port. */
static uint16_t port;
static struct lamport *lamport;

struct tally {
    unsigned heard, fresh, silent;
    uint8_t last_id;
    struct address last_address;
};

struct program {
    struct lan *lan;
    pthread_mutex_t lock; /* guards what follows */
    struct tally tally;
};

static void heard(void *context, const struct sighting *sighting, bool is_new)
{
    struct program *program = context;
    pthread_mutex_lock(&program->lock);
    program->tally.heard++;
    program->tally.fresh += is_new;
    program->tally.last_id = sighting->id[0];
    program->tally.last_address = sighting->address;
    pthread_mutex_unlock(&program->lock);
}

static void silent(void *context, const struct sighting *sighting)
{
    struct program *program = context;
    pthread_mutex_lock(&program->lock);
    program->tally.silent++;
    program->tally.last_id = sighting->id[0];
    pthread_mutex_unlock(&program->lock);
}

static void start(struct program *program, uint8_t id, const char *network, const char *host)
{
    struct why why = {""};
    struct lan_options options = {
        .role = BEACON_PEER, .id = {id}, .instance = {id}, .port = port, .clock = lamport, .context = program};
    *program = (struct program){0};
    pthread_mutex_init(&program->lock, NULL);
    options.heard = heard;
    options.silent = silent;
    assert_true(address_parse_host(host, (uint16_t)(6000 + id), &options.served));
    lan_network(network, options.network);
    if (lan_start(&options, &program->lan, &why))
        fail_msg("%s", why.text);
}

static void stop(struct program *program)
{
    lan_stop(program->lan);
    pthread_mutex_destroy(&program->lock);
}

static struct tally tally_of(struct program *program)
{
    pthread_mutex_lock(&program->lock);
    struct tally tally = program->tally;
    pthread_mutex_unlock(&program->lock);
    return tally;
}

/* Until it has heard so much. */
static struct tally wait_for(struct program *program, unsigned heard_least, unsigned fresh_least, unsigned silent_least)
{
    struct patience patience = {.looked_ms = timing_now_ms()};
    for (;;) {
        struct tally tally = tally_of(program);
        if (tally.heard >= heard_least && tally.fresh >= fresh_least && tally.silent >= silent_least)
            return tally;
        assert_false(patience_is_over(&patience));
        usleep(5000);
    }
}

static int set_up(void **state)
{
    (void)state;
    /* A port that nobody uses now. */
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t size = sizeof any;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (struct sockaddr *)&any, size) != 0 || getsockname(fd, (struct sockaddr *)&any, &size) != 0)
        return -1;
    close(fd);
    port = ntohs(any.sin_port);
    lamport = lamport_new(41);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lamport_free(lamport);
    return 0;
}

static void two_programs_find_each_other_and_hear_farewells(void **state)
{
    (void)state;
    struct program one, other;
    struct address expected;
    start(&one, 1, "n", "127.0.0.1");
    start(&other, 2, "n", "::1");
    struct tally by_one = wait_for(&one, 1, 1, 0), by_other = wait_for(&other, 1, 1, 0);
    assert_true(by_one.last_id == 2 && by_other.last_id == 1);
    assert_true(address_parse_host("::1", 6002, &expected));
    assert_true(address_equal(&by_one.last_address, &expected));
    assert_true(address_parse_host("127.0.0.1", 6001, &expected));
    assert_true(address_equal(&by_other.last_address, &expected));
    stop(&other);
    by_one = wait_for(&one, 1, 1, 1);
    assert_int_equal(by_one.fresh, 1);
    /* Packets show a clock, and never move ours. */
    assert_int_equal(lamport_now(lamport), 41);
    stop(&one);
}

static void other_networks_are_not_seen(void **state)
{
    (void)state;
    struct program one, other, foreign;
    start(&foreign, 3, "m", "127.0.0.1");
    start(&one, 1, "n", "127.0.0.1");
    start(&other, 2, "n", "127.0.0.1");
    /* All have announced themselves twice by then, as the foreign one did. */
    struct tally by_one = wait_for(&one, 2, 1, 0), by_other = wait_for(&other, 1, 1, 0);
    assert_true(by_one.fresh == 1 && by_one.last_id == 2 && by_other.fresh == 1);
    stop(&one);
    stop(&other);
    stop(&foreign);
    assert_int_equal(foreign.tally.heard + foreign.tally.silent, 0);
}

static void garbage_is_passed_over(void **state)
{
    (void)state;
    struct program one, other;
    char bytes[2000];
    struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(inet_pton(AF_INET, "239.255.70.70", &group.sin_addr), 1);
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof loopback), 0);
    start(&one, 1, "n", "127.0.0.1");
    uint8_t network[HASH_SIZE];
    char prefix[BEACON_PREFIX_SIZE];
    lan_network("n", network);
    beacon_prefix(network, prefix);
    memset(bytes, '[', sizeof bytes);
    for (size_t i = 0; i < 3000; i++) {
        if (i == 1500)
            memcpy(bytes, prefix, sizeof prefix - 1);
        (void)sendto(fd, bytes, i % sizeof bytes, 0, (struct sockaddr *)&group, sizeof group);
    }
    start(&other, 2, "n", "127.0.0.1");
    (void)wait_for(&other, 1, 1, 0);
    struct tally by_one = wait_for(&one, 1, 1, 0);
    assert_true(by_one.last_id == 2 && by_one.fresh == 1);
    stop(&one);
    stop(&other);
    close(fd);
}

static void names_of_networks_are_checked(void **state)
{
    (void)state;
    uint8_t hash[HASH_SIZE], expected[HASH_SIZE];
    char longest[NETWORK_NAME_MAX + 2];
    struct why why;
    memset(longest, 'n', sizeof longest);
    longest[NETWORK_NAME_MAX + 1] = '\0';
    assert_int_equal(lan_check_network(longest, &why), ERR_INVALID);
    assert_int_equal(lan_check_network(longest + 1, &why), ERR_OK);
    static const char *const bad[] = {"", " a", "a ", "a\n", "\xff", "\x1b[2J"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lan_check_network(bad[i], &why), ERR_INVALID);
    assert_int_equal(lan_check_network("turma de redes, canção", &why), ERR_OK);
    /* printf enxame | sha256sum */
    lan_network(LAN_NETWORK_DEFAULT, hash);
    assert_true(hex_decode("c13a4a26adac5ab0d99d06a89172e6356068709eb85deda003ef4e031842172a", HASH_SIZE, expected));
    assert_memory_equal(hash, expected, HASH_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_programs_find_each_other_and_hear_farewells),
        cmocka_unit_test(other_networks_are_not_seen),
        cmocka_unit_test(garbage_is_passed_over),
        cmocka_unit_test(names_of_networks_are_checked),
    };
    return cmocka_run_group_tests_name("lan", tests, set_up, tear_down);
}
