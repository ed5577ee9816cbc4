/* The server's limits where its options leave them open, and what the system affords of them. */
#include "http_internal.h"
#include "limits.h"

#include <sys/resource.h>

/* Descriptors beside those of connections, for the rest of the program: those that are asked for, and those that will do. */
#define DESCRIPTORS_WANTED 1024u
#define DESCRIPTORS_NEEDED 256u

/*
 * Thousands of connections need as many descriptors; where the system gives fewer, there are fewer connections.  Never so many
 * that a descriptor is lacking to accept, and so to refuse, one more: libmicrohttpd would let it wait.
 */
static size_t affordable(size_t wanted)
{
    struct rlimit limit;
    rlim_t most;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return wanted < 512 ? wanted : 512;
    if (limit.rlim_cur < wanted + DESCRIPTORS_WANTED && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = wanted + DESCRIPTORS_WANTED < limit.rlim_max ? wanted + DESCRIPTORS_WANTED : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted + DESCRIPTORS_NEEDED)
        return wanted;
    most = limit.rlim_cur > 4 * HTTP_SPARE_CONNECTIONS ? limit.rlim_cur * 3 / 4 : limit.rlim_cur / 4 + 1;
    return wanted < most ? wanted : (size_t)most;
}

void http_limits_choose(struct http_server *server)
{
    struct http_server_options *options = &server->options;

    if (options->idle_ms == 0)
        options->idle_ms = (uint64_t)CONNECTION_IDLE_S * 1000;
    if (options->request_deadline_ms == 0)
        options->request_deadline_ms = REQUEST_DEADLINE_MS;
    if (options->body_deadline_ms == 0)
        options->body_deadline_ms = BODY_DEADLINE_MS;
    if (options->answer_deadline_ms == 0)
        options->answer_deadline_ms = ANSWER_DEADLINE_MS;
    if (options->answer_bytes_s == 0)
        options->answer_bytes_s = ANSWER_RATE_MIN;
    if (options->max_connections == 0)
        options->max_connections = CONNECTIONS_MAX;
    if (options->max_connections_per_address == 0)
        options->max_connections_per_address = CONNECTIONS_PER_ADDRESS_MAX;
    server->max_connections = affordable(options->max_connections);
}
