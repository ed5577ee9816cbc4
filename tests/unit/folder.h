/* A temporary folder for one test, and files in it. */
#ifndef ENXAME_TEST_FOLDER_H
#define ENXAME_TEST_FOLDER_H

#include "test.h"

#include "err.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/enxame-test-XXXXXX";

static inline int folder_set_up(void **unused)
{
    (void)unused;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_remove_one(const char *path, const struct stat *status, int type, struct FTW *position)
{
    (void)status, (void)type, (void)position;
    return remove(path);
}

static inline int folder_tear_down(void **unused)
{
    (void)unused;
    return nftw(folder, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A path below the folder; one of a few buffers that are used in turn. */
static inline const char *in_folder(const char *name)
{
    static char paths[8][4096];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void make_file(const char *name, const void *bytes, size_t length)
{
    int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
}

static inline void make_text(const char *name, const char *text)
{
    make_file(name, text, strlen(text));
}

/* Bytes that differ from place to place. */
static inline void make_pattern(const char *name, size_t length, unsigned seed)
{
    uint8_t *bytes = malloc(length + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
    make_file(name, bytes, length);
    free(bytes);
}

static inline void make_folder(const char *name)
{
    assert_int_equal(mkdir(in_folder(name), 0755), 0);
}

/* Files that were written before this are settled. */
static inline void let_settle(void)
{
    nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 50000000}, NULL);
}

/* Removes what lies below a name. */
static inline void remove_tree(const char *name)
{
    assert_int_equal(nftw(in_folder(name), folder_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
