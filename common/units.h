/* Sizes, rates and durations as people write and read them.  Pure; any thread. */
#ifndef ENXAME_UNITS_H
#define ENXAME_UNITS_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT_SIZE 32u

/* A decimal number with an optional K, M, G or T (powers of 1024; either case); no sign, no blanks, no overflow. */
bool units_parse_size(const char *text, uint64_t *ret);

/*
 * A rate in bytes a second: a size as above from RATE_MIN to RATE_MAX of limits.h, or "unlimited" or "0", which is 0.  Where
 * it is none, `why`, which may be NULL, says what it must be.
 */
enum err units_parse_rate(const char *text, uint64_t *ret, struct why *why);

/* "1.5 MiB/s", "unlimited". */
void units_format_rate(uint64_t bytes_s, char ret_text[static UNITS_TEXT_SIZE]);

/* A decimal number from `minimum` to `maximum`. */
bool units_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret);

/* "0 B", "999 B", "1.5 KiB", "64.0 MiB", "2.0 TiB". */
void units_format_size(uint64_t bytes, char ret_text[static UNITS_TEXT_SIZE]);

/* "850 ms", "12 s", "3 min 05 s", "2 h 10 min", "4 d 3 h". */
void units_format_duration(uint64_t ms, char ret_text[static UNITS_TEXT_SIZE]);

/* What was measured, in three digits: "0.42 ms", "42.5 ms", "850 ms", "5.43 s", "42.5 s"; from a minute on as a duration. */
void units_format_time(uint64_t us, char ret_text[static UNITS_TEXT_SIZE]);

#endif
