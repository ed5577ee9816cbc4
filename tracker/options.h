/* The tracker's command line. */
#ifndef ENXAME_OPTIONS_H
#define ENXAME_OPTIONS_H

#include "address.h"
#include "log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_HOSTS_MAX 16u

/* What the tracker is to do; all but the first do it and end. */
enum options_command { COMMAND_SERVE, COMMAND_BACKUP, COMMAND_CHECK, COMMAND_MIGRATE };

struct options {
    enum options_command command;
    const char *operands[2]; /* what follows the command's word; texts are those of argv */
    struct address listen;
    const char *db;
    uint64_t heartbeat_s;
    uint64_t expire_s;
    uint64_t max_connections, max_connections_per_address;
    uint64_t idle_s, header_s, body_s; /* how long clients may be silent, or take to send a request */
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
