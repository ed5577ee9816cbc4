#include "rate.h"

#include "limits.h"

#define SECOND_US UINT64_C(1000000)
/* So that no product of a long time and a high rate overflows; what is left is paid at the next look. */
#define STEP_MAX_US (3600 * SECOND_US)

void rate_init(struct rate *rate, uint64_t bytes_s)
{
    atomic_init(&rate->bytes_s, bytes_s);
    (void)pthread_mutex_init(&rate->lock, NULL);
    rate->changed_us = 0;
    rate->taken = rate->paid = rate->fraction = rate->at_us = 0;
}

void rate_destroy(struct rate *rate)
{
    (void)pthread_mutex_destroy(&rate->lock);
}

uint64_t rate_get(const struct rate *rate)
{
    return atomic_load(&rate->bytes_s);
}

/* What is paid up to now; the lock is held. */
static void pay(struct rate *rate, uint64_t now_us)
{
    uint64_t bytes_s = rate_get(rate), burst = bytes_s * RATE_BURST_MS / 1000, passed_us, bytes;

    if (now_us <= rate->at_us)
        return;
    passed_us = now_us - rate->at_us;
    if (passed_us > STEP_MAX_US)
        passed_us = STEP_MAX_US;
    rate->at_us += passed_us;
    rate->fraction += passed_us % SECOND_US * bytes_s;
    bytes = passed_us / SECOND_US * bytes_s + rate->fraction / SECOND_US;
    rate->fraction %= SECOND_US;
    if (bytes > rate->taken + burst - rate->paid) {
        rate->paid = rate->taken + burst;
        rate->at_us = now_us;
    } else {
        rate->paid += bytes;
    }
}

void rate_set(struct rate *rate, uint64_t bytes_s, uint64_t now_us)
{
    uint64_t before;

    pthread_mutex_lock(&rate->lock);
    before = rate_get(rate);
    if (before != 0)
        pay(rate, now_us);
    if (before == 0 || bytes_s == 0 || rate->paid >= rate->taken) {
        rate->paid = rate->taken; /* neither a debt nor a burst from before */
    } else if (bytes_s < before) {
        /* What was taken at the higher rate is paid for in the time that it would have taken there. */
        double debt = (double)(rate->taken - rate->paid) * (double)bytes_s / (double)before;

        rate->paid = rate->taken - (uint64_t)debt;
    }
    rate->fraction = 0;
    rate->at_us = rate->changed_us = now_us;
    atomic_store(&rate->bytes_s, bytes_s);
    pthread_mutex_unlock(&rate->lock);
}

uint64_t rate_unchanged_us(struct rate *rate, uint64_t now_us)
{
    uint64_t changed_us;

    pthread_mutex_lock(&rate->lock);
    changed_us = rate->changed_us;
    pthread_mutex_unlock(&rate->lock);
    return now_us > changed_us ? now_us - changed_us : 0;
}

uint64_t rate_take(struct rate *rate, uint64_t bytes, uint64_t now_us)
{
    uint64_t turn = 0;

    if (rate_get(rate) == 0)
        return 0;
    pthread_mutex_lock(&rate->lock);
    if (rate_get(rate) != 0) {
        pay(rate, now_us);
        turn = rate->taken;
        rate->taken += bytes;
    }
    pthread_mutex_unlock(&rate->lock);
    return turn;
}

/* The lock is held. */
static uint64_t wait_for(struct rate *rate, uint64_t turn, uint64_t now_us)
{
    uint64_t bytes_s = rate_get(rate), missing;

    if (bytes_s == 0)
        return 0;
    pay(rate, now_us);
    if (turn <= rate->paid)
        return 0;
    missing = turn - rate->paid;
    return missing / bytes_s * SECOND_US + (missing % bytes_s * SECOND_US + bytes_s - 1) / bytes_s;
}

uint64_t rate_wait_us(struct rate *rate, uint64_t turn, uint64_t now_us)
{
    uint64_t wait_us;

    if (rate_get(rate) == 0)
        return 0;
    pthread_mutex_lock(&rate->lock);
    wait_us = wait_for(rate, turn, now_us);
    pthread_mutex_unlock(&rate->lock);
    return wait_us;
}

uint64_t rate_debt_us(struct rate *rate, uint64_t now_us)
{
    uint64_t wait_us;

    if (rate_get(rate) == 0)
        return 0;
    pthread_mutex_lock(&rate->lock);
    wait_us = wait_for(rate, rate->taken, now_us);
    pthread_mutex_unlock(&rate->lock);
    return wait_us;
}

void rate_give_back(struct rate *rate, uint64_t bytes, uint64_t now_us)
{
    pthread_mutex_lock(&rate->lock);
    if (rate_get(rate) != 0) {
        pay(rate, now_us);
        rate->paid += bytes; /* all later turns come sooner; pay() holds it to the burst */
        if (rate->paid > rate->taken + rate_get(rate) * RATE_BURST_MS / 1000)
            rate->paid = rate->taken + rate_get(rate) * RATE_BURST_MS / 1000;
    }
    pthread_mutex_unlock(&rate->lock);
}
