#include "metrics_process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t microseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static uint64_t resident_bytes(void)
{
    char text[256] = "", *after_all;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (!fgets(text, sizeof text, file))
        text[0] = '\0';
    fclose(file);
    (void)strtoull(text, &after_all, 10); /* pages: of all memory, then of what is resident */
    return strtoull(after_all, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_descriptors(void)
{
    uint64_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count - 1; /* but the one that looks */
}

void metrics_process_look(struct metrics_process *ret)
{
    struct rusage usage;
    struct rlimit limit;
    *ret = (struct metrics_process){.resident_bytes = resident_bytes(), .open_descriptors = open_descriptors()};
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        ret->cpu_us = microseconds(&usage.ru_utime) + microseconds(&usage.ru_stime);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        ret->max_descriptors = limit.rlim_cur;
}
