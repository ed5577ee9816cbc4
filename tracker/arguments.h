/* The tracker's command line. */
#ifndef ENXAME_ARGUMENTS_H
#define ENXAME_ARGUMENTS_H

#include "address.h"
#include "log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARGUMENTS_HOSTS_MAX 16u

struct arguments {
    struct address listen;
    const char *db; /* texts are those of argv */
    uint64_t heartbeat_s;
    uint64_t expire_s;
    enum log_format log_format;
    bool verbose;
    const char *allow_hosts[ARGUMENTS_HOSTS_MAX]; /* names by which browsers may call the tracker */
    size_t allow_host_count;
};

enum arguments_result { ARGUMENTS_RUN, ARGUMENTS_DONE, ARGUMENTS_WRONG };

/* Prints help, version (ARGUMENTS_DONE) or what is wrong (ARGUMENTS_WRONG) itself. */
enum arguments_result arguments_parse(int argc, char **argv, struct arguments *ret);

#endif
