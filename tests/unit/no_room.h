/* A file that cannot grow any more, as on a full disk; what is written meanwhile elsewhere must end before that length, too. */
#ifndef ENXAME_TEST_NO_ROOM_H
#define ENXAME_TEST_NO_ROOM_H

#include "test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static inline void no_room_begin(const char *path)
{
    struct stat status;
    struct rlimit limit;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = (rlim_t)status.st_size;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static inline void no_room_end(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

#endif
