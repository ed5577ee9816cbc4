#include "job_plan.h"

#include "limits.h"

#define BATCH_BYTES_MIN (64u * KIB)
#define BATCH_BYTES_MAX (2u * MIB)
/* Of a holder that was not measured yet. */
#define SPEED_GUESS (4u * MIB)
/* A batch tells the speed where it had so many bytes, or took so long. */
#define MEASURED_BYTES_MIN (32u * KIB)
#define MEASURED_US_MIN 250000u
#define LOSE_AFTER_MS 1000u
#define LOSE_FACTOR 4u

static uint64_t at_least_one(uint64_t value)
{
    return value > 0 ? value : 1;
}

/* Far above any machine's, so that products do not overflow. */
static uint64_t bounded(uint64_t value)
{
    return value < UINT64_C(1) << 40 ? value : UINT64_C(1) << 40;
}

uint64_t job_plan_speed(uint64_t speed_bytes_s, uint64_t bytes, uint64_t elapsed_us)
{
    uint64_t now = bounded(bytes) * 1000000 / at_least_one(elapsed_us);
    if (bytes < MEASURED_BYTES_MIN && elapsed_us < MEASURED_US_MIN)
        return speed_bytes_s;
    return at_least_one(speed_bytes_s == 0 ? now : (3 * bounded(speed_bytes_s) + now) / 4);
}

uint64_t job_plan_batch_bytes(uint64_t speed_bytes_s)
{
    uint64_t bytes = (speed_bytes_s > 0 ? speed_bytes_s : SPEED_GUESS) / 4;
    return bytes < BATCH_BYTES_MIN ? BATCH_BYTES_MIN : bytes > BATCH_BYTES_MAX ? BATCH_BYTES_MAX : bytes;
}

static uint64_t wait_us(const struct job_load *load)
{
    uint64_t speed = load->speed_bytes_s > 0 ? load->speed_bytes_s : SPEED_GUESS;
    return bounded(load->bytes) * 1000000 / speed;
}

size_t job_plan_choose(const struct job_load *loads, size_t count)
{
    size_t best = count;
    for (size_t i = 0; i < count; i++)
        if (loads[i].usable && (best == count || wait_us(&loads[i]) < wait_us(&loads[best])))
            best = i;
    return best;
}

bool job_plan_should_lose(uint64_t elapsed_ms, uint64_t received, uint64_t expected, uint64_t idle_speed_bytes_s)
{
    if (elapsed_ms < LOSE_AFTER_MS || received >= expected)
        return false;
    uint64_t rest = bounded(expected - received), idle = idle_speed_bytes_s > 0 ? idle_speed_bytes_s : SPEED_GUESS;
    uint64_t slow = bounded(at_least_one(received)) * 1000 / elapsed_ms;
    uint64_t rest_ms = rest * 1000 / at_least_one(slow);
    return rest_ms > LOSE_AFTER_MS && rest_ms / LOSE_FACTOR > rest * 1000 / idle;
}
