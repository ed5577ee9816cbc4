#include "options.h"

#include "lan.h"
#include "limits.h"
#include "units.h"

#include <getopt.h>
#include <stdarg.h>

enum {
    OPTION_LISTEN = 256,
    OPTION_DB,
    OPTION_HEARTBEAT,
    OPTION_EXPIRE,
    OPTION_LOG_FORMAT,
    OPTION_NO_DISCOVER,
    OPTION_NETWORK,
    OPTION_ALLOW_HOST,
    OPTION_MAX_CONNECTIONS,
    OPTION_MAX_PER_ADDRESS,
    OPTION_IDLE,
    OPTION_HEADER,
    OPTION_BODY,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"db", required_argument, NULL, OPTION_DB},
    {"heartbeat", required_argument, NULL, OPTION_HEARTBEAT},
    {"expire", required_argument, NULL, OPTION_EXPIRE},
    {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
    {"allow-host", required_argument, NULL, OPTION_ALLOW_HOST},
    {"max-connections", required_argument, NULL, OPTION_MAX_CONNECTIONS},
    {"max-connections-per-address", required_argument, NULL, OPTION_MAX_PER_ADDRESS},
    {"idle-timeout", required_argument, NULL, OPTION_IDLE},
    {"header-timeout", required_argument, NULL, OPTION_HEADER},
    {"body-timeout", required_argument, NULL, OPTION_BODY},
    {"no-discover", no_argument, NULL, OPTION_NO_DISCOVER},
    {"network", required_argument, NULL, OPTION_NETWORK},
    {"verbose", no_argument, NULL, 'v'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const char help[] =
    "usage: tracker [options]            serve\n"
    "       tracker backup FILE [options] write a copy of the database, which may be in use\n"
    "       tracker check [options]       look whether the database is sound, and count what is in it\n"
    "       tracker migrate FROM TO       copy a database that no tracker uses into a new one; each is what --db "
    "takes\n"
    "\n"
    "Knows which peer holds which files, and tells those who ask.\n"
    "\n"
    "  --listen HOST:PORT      where to serve, port 0 for any free one (default [::]:5000, IPv4 too)\n"
    "  --db FILE|URI           the database: a file (default tracker.db in the current folder), or one of PostgreSQL,\n"
    "                          postgresql://USER@HOST[,HOST...]/DATABASE, which several trackers may share\n"
    "  --heartbeat SECONDS     how often peers are asked to report (default 10)\n"
    "  --expire SECONDS        silence after which a peer is forgotten (default three heartbeats)\n"
    "  --allow-host NAME       a host name by which browsers may call this tracker; may be repeated\n"
    "  --max-connections N     open at a time; more are closed at once (default %u)\n"
    "  --max-connections-per-address N   the same for one address, or one /64 of IPv6 (default %u)\n"
    "  --idle-timeout SECONDS  silence after which a connection is closed (default %u)\n"
    "  --header-timeout SECONDS, --body-timeout SECONDS\n"
    "                          how long a client may take to send a request, and its body (default %u, %u)\n"
    "  --log-format text|json  of the log on standard error\n"
    "  --no-discover           do not announce this tracker to peers on the LAN\n"
    "  --network NAME          announce it to the peers of this network (default " LAN_NETWORK_DEFAULT ")\n"
    "  -v, --verbose           log each request\n"
    "  --version, --help\n";

__attribute__((format(printf, 1, 2))) static enum options_result wrong(const char *format, ...)
{
    struct why why = {""};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why.text, sizeof why.text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "tracker: %s\ntry tracker --help\n", why.text);
    return OPTIONS_WRONG;
}

static enum options_result set_seconds(const char *name, const char *text, uint64_t maximum, uint64_t *ret)
{
    if (units_parse_number(text, 1, maximum, ret))
        return OPTIONS_RUN;
    return wrong("--%s \"%s\": must be a number of seconds from 1 to %llu", name, text, (unsigned long long)maximum);
}

static enum options_result set_count(const char *name, const char *text, uint64_t *ret)
{
    if (units_parse_number(text, 1, CONNECTIONS_LIMIT, ret))
        return OPTIONS_RUN;
    return wrong("--%s \"%s\": must be a number from 1 to %u", name, text, CONNECTIONS_LIMIT);
}

static enum options_result set_option(int option, const char *value, struct options *ret)
{
    struct why why = {""};
    switch (option) {
    case OPTION_LISTEN:
        if (address_parse(value, &ret->listen, &why) != ERR_OK)
            return wrong("--listen \"%s\": %s", value, why.text);
        return OPTIONS_RUN;
    case OPTION_DB:
        if (!*value)
            return wrong("--db \"\": must be the path of a file or the URI of a PostgreSQL database");
        ret->db = value;
        return OPTIONS_RUN;
    case OPTION_HEARTBEAT:
        return set_seconds("heartbeat", value, HEARTBEAT_MAX_S, &ret->heartbeat_s);
    case OPTION_EXPIRE:
        return set_seconds("expire", value, EXPIRE_MAX_S, &ret->expire_s);
    case OPTION_LOG_FORMAT:
        if (strcmp(value, "text") != 0 && strcmp(value, "json") != 0)
            return wrong("--log-format \"%s\": must be text or json", value);
        ret->log_format = *value == 'j' ? LOG_JSON : LOG_TEXT;
        return OPTIONS_RUN;
    case OPTION_ALLOW_HOST:
        if (ret->allow_host_count == OPTIONS_HOSTS_MAX)
            return wrong("--allow-host: at most %u", OPTIONS_HOSTS_MAX);
        ret->allow_hosts[ret->allow_host_count++] = value;
        return OPTIONS_RUN;
    case OPTION_MAX_CONNECTIONS:
        return set_count("max-connections", value, &ret->max_connections);
    case OPTION_MAX_PER_ADDRESS:
        return set_count("max-connections-per-address", value, &ret->max_connections_per_address);
    case OPTION_IDLE:
        return set_seconds("idle-timeout", value, CLIENT_TIMEOUT_MAX_S, &ret->idle_s);
    case OPTION_HEADER:
        return set_seconds("header-timeout", value, CLIENT_TIMEOUT_MAX_S, &ret->header_s);
    case OPTION_BODY:
        return set_seconds("body-timeout", value, CLIENT_TIMEOUT_MAX_S, &ret->body_s);
    case OPTION_NO_DISCOVER:
        ret->no_discover = true;
        return OPTIONS_RUN;
    case OPTION_NETWORK:
        if (lan_check_network(value, &why) != ERR_OK)
            return wrong("--network \"%s\": %s", value, why.text);
        ret->network = value;
        return OPTIONS_RUN;
    case 'v':
        ret->verbose = true;
        return OPTIONS_RUN;
    case 'h':
        printf(help, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, CONNECTION_IDLE_S, REQUEST_DEADLINE_MS / 1000,
               BODY_DEADLINE_MS / 1000);
        return OPTIONS_DONE;
    case OPTION_VERSION:
        puts("tracker " ENXAME_VERSION);
        return OPTIONS_DONE;
    default: /* getopt_long has said what is wrong */
        fputs("try tracker --help\n", stderr);
        return OPTIONS_WRONG;
    }
}

static const struct command {
    const char *word;
    int operands;
    const char *usage;
} commands[] = {
    [COMMAND_BACKUP] = {"backup", 1, "tracker backup FILE"},
    [COMMAND_CHECK] = {"check", 0, "tracker check"},
    [COMMAND_MIGRATE] = {"migrate", 2, "tracker migrate FROM TO"},
};

/* `words` are those that are no options. */
static enum options_result set_command(char *const *words, int count, struct options *ret)
{
    for (int i = COMMAND_SERVE + 1; i < (int)(sizeof commands / sizeof commands[0]); i++) {
        const struct command *command = &commands[i];
        if (strcmp(words[0], command->word) != 0)
            continue;
        if (count - 1 != command->operands)
            return wrong("usage: %s [options]", command->usage);
        ret->command = (enum options_command)i;
        for (int n = 0; n < command->operands; n++)
            ret->operands[n] = words[n + 1];
        return OPTIONS_RUN;
    }
    return wrong("unexpected argument %s", words[0]);
}

enum options_result options_parse(int argc, char **argv, struct options *ret)
{
    *ret = (struct options){.listen = {.port = 5000}, .db = "tracker.db", .network = LAN_NETWORK_DEFAULT};
    ret->heartbeat_s = HEARTBEAT_DEFAULT_S;
    ret->max_connections = CONNECTIONS_MAX;
    ret->max_connections_per_address = CONNECTIONS_PER_ADDRESS_MAX;
    ret->idle_s = CONNECTION_IDLE_S;
    ret->header_s = REQUEST_DEADLINE_MS / 1000;
    ret->body_s = BODY_DEADLINE_MS / 1000;
    int option;
    while ((option = getopt_long(argc, argv, "vh", long_options, NULL)) != -1) {
        enum options_result result = set_option(option, optarg, ret);
        if (result != OPTIONS_RUN)
            return result;
    }
    if (optind < argc && set_command(argv + optind, argc - optind, ret) != OPTIONS_RUN)
        return OPTIONS_WRONG;
    if (!ret->expire_s)
        ret->expire_s = 3 * ret->heartbeat_s;
    if (ret->expire_s <= ret->heartbeat_s)
        return wrong("--expire \"%llu\": must be more than the heartbeat of %llu seconds",
                     (unsigned long long)ret->expire_s, (unsigned long long)ret->heartbeat_s);
    return OPTIONS_RUN;
}
