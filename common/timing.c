#include "timing.h"

static uint64_t now(clockid_t clock, uint64_t per_second)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * per_second + (uint64_t)time.tv_nsec / (1000000000u / per_second);
}

uint64_t timing_now_ms(void)
{
    return now(CLOCK_BOOTTIME, 1000);
}

uint64_t timing_now_us(void)
{
    return now(CLOCK_BOOTTIME, 1000000);
}

uint64_t timing_thread_us(void)
{
    return now(CLOCK_THREAD_CPUTIME_ID, 1000000);
}

bool timing_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes))
        return false;
    /* Conditions know no CLOCK_BOOTTIME; a wait may therefore outlast a suspension by what was left of it. */
    bool done = !pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) && !pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return done;
}

bool timing_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t timeout_ms)
{
    /* A century stands for ever, and keeps time_t from overflowing. */
    const uint64_t longest_ms = UINT64_C(100) * 365 * 86400 * 1000;
    if (timeout_ms > longest_ms)
        timeout_ms = longest_ms;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return pthread_cond_timedwait(condition, mutex, &until) == 0;
}
