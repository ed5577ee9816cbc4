/*
 * Reading the database into the system's cache at the start, in order: sooner done than page by page as clients ask for them,
 * where each answer would wait for the disk several times.
 */
#include "limits.h"
#include "store_sqlite.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define CHUNK_BYTES (256u * KIB)
/* Whoever is asked something meanwhile goes first. */
#define NICER 10

/* How much of the memory that others can do without is taken: a larger database would only push out its own beginning. */
static uint64_t room(void)
{
    static const char word[] = "MemAvailable:";
    uint64_t available_kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && !available_kib && fgets(line, sizeof line, file))
        if (strncmp(line, word, sizeof word - 1) == 0)
            available_kib = strtoull(line + sizeof word - 1, NULL, 10);
    if (file)
        fclose(file);
    return available_kib * KIB / 2;
}

static void *run(void *context)
{
    struct warming *warming = context;
    char *buffer = malloc(CHUNK_BYTES);
    uint64_t end = room();
    ssize_t count = 1;
    pid_t thread = gettid();
    (void)setpriority(PRIO_PROCESS, (id_t)thread, getpriority(PRIO_PROCESS, (id_t)thread) + NICER);
    for (uint64_t at = 0; buffer && count > 0 && at < end && !atomic_load(&warming->stopping); at += (uint64_t)count)
        count = pread(warming->fd, buffer, CHUNK_BYTES, (off_t)at);
    free(buffer);
    return NULL;
}

void store_sqlite_warm_start(struct sqlite_store *store, const char *path)
{
    struct warming *warming = &store->warming;
    warming->fd = open(path, O_RDONLY | O_CLOEXEC);
    warming->started = warming->fd >= 0 && pthread_create(&warming->thread, NULL, run, warming) == 0;
}

void store_sqlite_warm_stop(struct sqlite_store *store)
{
    struct warming *warming = &store->warming;
    if (!warming->started)
        return;
    atomic_store(&warming->stopping, true);
    pthread_join(warming->thread, NULL);
    warming->started = false;
}
