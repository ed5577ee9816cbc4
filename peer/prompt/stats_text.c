#include "stats_text.h"

#include "units.h"

#include <math.h>
#include <stdio.h>

/* What the disk says is only known to be no NaN: it may be larger than any number of microseconds. */
static uint64_t to_us(double ms)
{
    return ms > 0 && ms < 1e15 ? (uint64_t)llround(ms * 1000) : 0;
}

static uint64_t rate_of(const struct statistic *statistic)
{
    double rate = (double)statistic->key.size * 1000 / statistic->time_ms.mean;
    return statistic->time_ms.mean > 0 && rate < 1e18 ? (uint64_t)rate : 0;
}

static void add_row(struct table *table, const struct statistic *statistic)
{
    char size[UNITS_TEXT_SIZE], chunk[UNITS_TEXT_SIZE], time[UNITS_TEXT_SIZE], deviation[UNITS_TEXT_SIZE] = "";
    char rate[UNITS_TEXT_SIZE] = "", holders[24], runs[24], per_second[UNITS_TEXT_SIZE + 2] = "";
    snprintf(holders, sizeof holders, "%llu", (unsigned long long)statistic->key.holders);
    snprintf(runs, sizeof runs, "%llu", (unsigned long long)statistic->time_ms.count);
    units_format_size(statistic->key.size, size);
    units_format_size(statistic->key.chunk_size, chunk);
    units_format_time(to_us(statistic->time_ms.mean), time);
    if (statistic->time_ms.count > 1)
        units_format_time(to_us(average_deviation(&statistic->time_ms)), deviation);
    if (rate_of(statistic) > 0) {
        units_format_size(rate_of(statistic), rate);
        snprintf(per_second, sizeof per_second, "%s/s", rate);
    }
    table_add(table, (const char *[]){size, holders, chunk, runs, time, deviation, per_second});
}

struct table *stats_text_table(const struct statistic *statistics, size_t count)
{
    static const char *const heads[] = {">SIZE", ">HOLDERS", ">CHUNK", ">RUNS", ">TIME", ">DEVIATION", ">RATE"};
    struct table *table = table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; table && i < count; i++)
        add_row(table, &statistics[i]);
    return table;
}

/* Not with %f, which writes the locale's decimal sign. */
static void write_seconds(FILE *stream, double ms)
{
    uint64_t us = to_us(ms);
    fprintf(stream, "%llu.%06u", (unsigned long long)(us / 1000000), (unsigned)(us % 1000000));
}

static void write_row(FILE *stream, const struct statistic *statistic)
{
    fprintf(stream, "%llu,%llu,%llu,%llu,", (unsigned long long)statistic->key.size,
            (unsigned long long)statistic->key.holders, (unsigned long long)statistic->key.chunk_size,
            (unsigned long long)statistic->time_ms.count);
    write_seconds(stream, statistic->time_ms.mean);
    fputc(',', stream);
    if (statistic->time_ms.count > 1)
        write_seconds(stream, average_deviation(&statistic->time_ms));
    fputc(',', stream);
    if (rate_of(statistic) > 0)
        fprintf(stream, "%llu", (unsigned long long)rate_of(statistic));
    fputs("\r\n", stream);
}

char *stats_text_csv(const struct statistic *statistics, size_t count)
{
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    if (!stream)
        return NULL;
    fputs(STATS_TEXT_HEAD "\r\n", stream);
    for (size_t i = 0; i < count; i++)
        write_row(stream, &statistics[i]);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
