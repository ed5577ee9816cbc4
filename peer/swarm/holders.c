#include "holders.h"

#include "limits.h"

#define WINDOW_MAX 16u
/* With so many holders one request each keeps our own line full. */
#define HOLDERS_MANY 4u
/* A sample is no shorter than this. */
#define SAMPLE_US 20000u
#define SPAN_US 4000u
#define SPAN_BYTES_MAX (4u * MIB)
#define REST_MAX_MS 30000u
/* No chunk is late sooner. */
#define TAKE_OVER_MS 500u
#define TAKE_OVER_AT_END_MS 100u

void pace_start(struct pace *pace, uint64_t now_us)
{
    pace->since_us = now_us;
    pace->bytes = 0;
}

void pace_count(struct pace *pace, uint64_t bytes, uint64_t now_us)
{
    uint64_t elapsed_us = now_us - pace->since_us, sample;

    pace->bytes += bytes;
    if (elapsed_us < SAMPLE_US && pace->speed_bytes_s != 0)
        return;
    sample = pace->bytes * 1000000 / (elapsed_us == 0 ? 1 : elapsed_us);
    pace->speed_bytes_s = pace->speed_bytes_s == 0 ? sample : (pace->speed_bytes_s * 3 + sample) / 4;
    if (pace->speed_bytes_s == 0)
        pace->speed_bytes_s = 1;
    pace_start(pace, now_us);
}

static uint64_t average(uint64_t before, uint64_t now)
{
    return before == 0 ? now : (before * 7 + now) / 8;
}

void pace_answered(struct pace *pace, uint64_t first_byte_us, uint64_t elapsed_us)
{
    if (pace->round_trip_us == 0 || first_byte_us < pace->round_trip_us)
        pace->round_trip_us = first_byte_us == 0 ? 1 : first_byte_us;
    if (elapsed_us <= first_byte_us)
        return;
    pace->wait_us = average(pace->wait_us, first_byte_us);
    pace->flow_us = average(pace->flow_us, elapsed_us - first_byte_us);
}

/* What a holder sends in so many microseconds, without overflow. */
static uint64_t bytes_in(uint64_t speed_bytes_s, uint64_t time_us)
{
    return speed_bytes_s / 1000 * time_us / 1000;
}

size_t holders_span(const struct pace *pace, uint64_t chunk_size)
{
    uint64_t round_trip_us = pace->round_trip_us < 1000000 ? pace->round_trip_us : 1000000;
    uint64_t bytes = bytes_in(pace->speed_bytes_s, SPAN_US + round_trip_us / 4), span = 1;

    if (bytes > SPAN_BYTES_MAX)
        bytes = SPAN_BYTES_MAX;
    while (span * 2 * chunk_size <= bytes)
        span *= 2;
    return (size_t)span;
}

unsigned holders_window(const struct pace *pace, size_t holders)
{
    uint64_t window = 1;

    if (holders >= HOLDERS_MANY)
        return 1;
    if (pace->flow_us > 0)
        window += (pace->wait_us + pace->flow_us / 2) / pace->flow_us;
    if (window < 2)
        return 2;
    return window > WINDOW_MAX ? WINDOW_MAX : (unsigned)window;
}

bool holders_should_take_over(uint64_t elapsed_ms, const struct pace *own, uint64_t chunk_length, bool at_end)
{
    uint64_t own_ms = own->speed_bytes_s == 0 ? 1000 : chunk_length * 1000 / own->speed_bytes_s;

    return elapsed_ms >= (at_end ? TAKE_OVER_AT_END_MS : TAKE_OVER_MS) &&
           elapsed_ms / 2 >= own_ms + own->wait_us / 1000;
}

bool holders_is_hopeless(uint64_t elapsed_ms, uint64_t received, uint64_t chunk_length, uint64_t own_speed_bytes_s)
{
    uint64_t own_ms = own_speed_bytes_s == 0 ? 5000 : chunk_length * 1000 / own_speed_bytes_s;
    uint64_t left_ms = (chunk_length - received) * elapsed_ms / (received == 0 ? 1 : received);

    return elapsed_ms >= 2000 && left_ms / 4 > own_ms;
}

const char *holders_fault_name(enum fault fault)
{
    switch (fault) {
    case FAULT_BUSY:
        return "busy";
    case FAULT_NOT_HELD:
        return "does not hold what it said";
    case FAULT_UNREACHABLE:
        return "connection lost";
    case FAULT_SLOW:
        return "too slow";
    case FAULT_REFUSED:
        return "answered with an error";
    case FAULT_PROTOCOL:
        return "broke the protocol";
    case FAULT_LIE:
        return "sent wrong bytes";
    }
    return "unknown";
}

/* Doubling from `first_ms`, at most REST_MAX_MS. */
static uint64_t back_off(uint64_t first_ms, unsigned in_a_row)
{
    uint64_t rest = first_ms;

    while (--in_a_row > 0 && rest < REST_MAX_MS)
        rest *= 2;
    return rest < REST_MAX_MS ? rest : REST_MAX_MS;
}

struct verdict holders_judge(struct conduct *conduct, enum fault fault, uint64_t retry_after_s)
{
    unsigned in_a_row = ++conduct->in_a_row[fault];
    struct verdict verdict = {0};

    switch (fault) {
    case FAULT_BUSY:
        if (retry_after_s >= REST_MAX_MS / 1000)
            verdict.rest_ms = REST_MAX_MS;
        else
            verdict.rest_ms = retry_after_s == 0 ? 200 : retry_after_s * 1000;
        break;
    case FAULT_NOT_HELD:
        verdict.rest_ms = back_off(250, in_a_row);
        verdict.drop = in_a_row >= 8;
        break;
    case FAULT_UNREACHABLE:
    case FAULT_SLOW:
    case FAULT_REFUSED:
        verdict.rest_ms = back_off(500, in_a_row);
        verdict.drop = in_a_row >= 6;
        break;
    case FAULT_PROTOCOL:
        verdict.rest_ms = back_off(500, in_a_row);
        verdict.ban = in_a_row >= 3;
        break;
    case FAULT_LIE:
        verdict.ban = true;
        break;
    }
    return verdict;
}

void holders_forgive(struct conduct *conduct)
{
    memset(conduct, 0, sizeof *conduct);
}

void bans_init(struct bans *bans)
{
    bans->count = 0;
    (void)pthread_mutex_init(&bans->lock, NULL);
}

/* Drops what has ended; the lock is held. */
static void expire(struct bans *bans, uint64_t now_ms)
{
    for (size_t i = 0; i < bans->count;) {
        if (bans->items[i].until_ms <= now_ms)
            bans->items[i] = bans->items[--bans->count];
        else
            i++;
    }
}

void bans_add(struct bans *bans, const uint8_t id[static HASH_SIZE], const struct content *content, uint64_t now_ms)
{
    struct ban *ban = NULL;

    pthread_mutex_lock(&bans->lock);
    expire(bans, now_ms);
    for (size_t i = 0; i < bans->count && ban == NULL; i++) {
        if (memcmp(bans->items[i].id, id, HASH_SIZE) == 0 && content_equal(&bans->items[i].content, content))
            ban = &bans->items[i];
    }
    if (ban == NULL && bans->count < BANS_MAX)
        ban = &bans->items[bans->count++];
    if (ban == NULL) {
        ban = &bans->items[0];
        for (size_t i = 1; i < bans->count; i++) {
            if (bans->items[i].until_ms < ban->until_ms)
                ban = &bans->items[i];
        }
    }
    memcpy(ban->id, id, HASH_SIZE);
    ban->content = *content;
    ban->until_ms = now_ms + BAN_MS;
    pthread_mutex_unlock(&bans->lock);
}

bool bans_has(struct bans *bans, const uint8_t id[static HASH_SIZE], const struct content *content, uint64_t now_ms)
{
    bool here = false;
    unsigned contents = 0;

    pthread_mutex_lock(&bans->lock);
    expire(bans, now_ms);
    for (size_t i = 0; i < bans->count; i++) {
        if (memcmp(bans->items[i].id, id, HASH_SIZE) != 0)
            continue;
        contents++;
        here = here || content_equal(&bans->items[i].content, content);
    }
    pthread_mutex_unlock(&bans->lock);
    return here || contents >= BANS_FOR_ALL;
}
