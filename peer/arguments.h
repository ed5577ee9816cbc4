/* The peer's command line as a struct.  Pure: prints nothing, reads no environment, never exits. */
#ifndef ENXAME_PEER_ARGUMENTS_H
#define ENXAME_PEER_ARGUMENTS_H

#include "address.h"
#include "err.h"

struct arguments {
    struct address listen;
    struct address advertise;
    bool has_advertise;
    char *dir;
    bool dir_is_default;           /* the next free one may be taken */
    uint64_t chunk_size;           /* 0: auto */
    uint64_t limit_up, limit_down; /* bytes/s; 0: unlimited */
    const char *network;           /* argv's, or the default */
    const char *neighbours;        /* the path of a file, argv's; NULL: none */
    const char *sync;              /* a folder; NULL: none is synced */
    bool no_tracker, no_discover, daemon, verbose;
    bool tracker_is_default; /* nobody named one: the LAN may have one */
    bool attach;             /* to the peer that runs on `dir`: nothing but `dir` and `commands` counts */
    /* lists: the arrays are owned, and so are the trackers' texts; the others' are argv's */
    const char **trackers, **allow_hosts, **commands, **paths;
    size_t tracker_count, allow_host_count, command_count, path_count;
};

enum arguments_outcome { ARGUMENTS_RUN, ARGUMENTS_HELP, ARGUMENTS_VERSION, ARGUMENTS_BAD };

/*
 * `tracker_default` is the value of $ENXAME_TRACKER or NULL: host:port, or several with commas.  With ARGUMENTS_BAD `why` has a
 * sentence for the user.  `ret` is to be freed in any case; texts of argv must outlive it.
 */
enum arguments_outcome arguments_parse(int argc, char *const *argv, const char *tracker_default, struct arguments *ret,
                                       struct why *why);
void arguments_free(struct arguments *arguments); /* harmless on a zeroed struct */

/* "64K", "auto" (0), ...; false where it is no chunk size. */
bool arguments_parse_chunk_size(const char *text, uint64_t *ret);

/* What --help prints. */
const char *arguments_help(void);

#endif
