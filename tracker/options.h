/* The tracker's command line. */
#ifndef ENXAME_OPTIONS_H
#define ENXAME_OPTIONS_H

#include "address.h"
#include "log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_HOSTS_MAX 16u

struct options {
    struct address listen;
    const char *db; /* texts are those of argv */
    uint64_t heartbeat_s;
    uint64_t expire_s;
    enum log_format log_format;
    bool verbose, no_discover;
    const char *network;                        /* to whose peers the tracker announces itself */
    const char *allow_hosts[OPTIONS_HOSTS_MAX]; /* names by which browsers may call the tracker */
    size_t allow_host_count;
};

enum options_result { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };

/* Prints help, version (OPTIONS_DONE) or what is wrong (OPTIONS_WRONG) itself. */
enum options_result options_parse(int argc, char **argv, struct options *ret);

#endif
