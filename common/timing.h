/* Clocks and waiting.  Any thread. */
#ifndef ENXAME_TIMING_H
#define ENXAME_TIMING_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Monotonic, and counting while the machine sleeps (CLOCK_BOOTTIME): a suspended laptop's peers must lapse. */
uint64_t timing_now_ms(void);
uint64_t timing_now_us(void);
/* Processor time that this thread has used. */
uint64_t timing_thread_us(void);

/* Initialises a condition variable for timing_wait(). */
bool timing_condition_init(pthread_cond_t *condition);

/* Waits until signalled or until `timeout_ms` have passed; false where the time ran out.  The mutex is held. */
bool timing_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t timeout_ms);

#endif
