#include "arguments.h"

#include "lan.h"
#include "limits.h"
#include "merkle.h"
#include "units.h"

#define TRACKER_DEFAULT "127.0.0.1:5000"
#define TRACKERS_MAX 16u

enum option_id {
    OPTION_TRACKER,
    OPTION_NO_TRACKER,
    OPTION_DIR,
    OPTION_SYNC,
    OPTION_CHUNK_SIZE,
    OPTION_LIMIT_UP,
    OPTION_LIMIT_DOWN,
    OPTION_COMMAND,
    OPTION_DAEMON,
    OPTION_ATTACH,
    OPTION_ADVERTISE,
    OPTION_ALLOW_HOST,
    OPTION_NO_DISCOVER,
    OPTION_NEIGHBOURS,
    OPTION_NETWORK,
    OPTION_VERBOSE,
    OPTION_VERSION,
    OPTION_HELP
};

static const struct option_row {
    const char *name;
    enum option_id id;
    bool has_value;
} rows[] = {
    {"--tracker", OPTION_TRACKER, true},
    {"--no-tracker", OPTION_NO_TRACKER, false},
    {"--dir", OPTION_DIR, true},
    {"--sync", OPTION_SYNC, true},
    {"--chunk-size", OPTION_CHUNK_SIZE, true},
    {"--limit-up", OPTION_LIMIT_UP, true},
    {"--limit-down", OPTION_LIMIT_DOWN, true},
    {"-c", OPTION_COMMAND, true},
    {"--daemon", OPTION_DAEMON, false},
    {"--attach", OPTION_ATTACH, false},
    {"--advertise", OPTION_ADVERTISE, true},
    {"--allow-host", OPTION_ALLOW_HOST, true},
    {"--no-discover", OPTION_NO_DISCOVER, false},
    {"--neighbours", OPTION_NEIGHBOURS, true},
    {"--network", OPTION_NETWORK, true},
    {"-v", OPTION_VERBOSE, false},
    {"--version", OPTION_VERSION, false},
    {"--help", OPTION_HELP, false},
};

const char *arguments_help(void)
{
    return "usage: peer [options] <ip> <port> [file or folder ...]\n"
           "       peer --attach --dir DIR | <ip> <port> [-c COMMAND ...]\n"
           "\n"
           "Shares files with other peers, and finds and downloads theirs.  <ip> and <port> are where it\n"
           "serves; port 0 takes any free one.  Without -c or --daemon it reads commands from standard input,\n"
           "at a terminal with a prompt: \"help\" lists them.\n"
           "\n"
           "  --tracker HOST:PORT    the tracker; may be repeated: the next one is tried where one fails\n"
           "                         (default: $ENXAME_TRACKER, else " TRACKER_DEFAULT ", else one on the LAN)\n"
           "  --no-tracker           do without one: neighbours alone\n"
           "  --neighbours FILE      other peers, a line of host:port each; new ones are added as they are found\n"
           "  --network NAME         peers of other networks are no neighbours (default: " LAN_NETWORK_DEFAULT ")\n"
           "  --dir DIR              where downloads land (default: downloads/<port>)\n"
           "  --sync DIR             keep DIR the same on all peers of the network that do so as well\n"
           "  --chunk-size SIZE      of downloads: 16K to 16M, a power of two, or auto (the default)\n"
           "  --limit-up RATE        what all uploads together may take: bytes a second, such as 500K or 10M\n"
           "  --limit-down RATE      the same for downloads; both are unlimited by default\n"
           "  -c COMMAND             run a command and exit with its status; may be repeated\n"
           "  --daemon               no prompt: serve until SIGTERM\n"
           "  --attach               give commands to the peer that already runs on --dir DIR, or at <ip> <port>\n"
           "  --advertise HOST:PORT  the address to register, where others reach this peer at another one\n"
           "  --allow-host NAME      a further host name that clients may use for this peer; may be repeated\n"
           "  --no-discover          neither look for peers and trackers on the LAN nor be found there\n"
           "  -v                     tell more: a line for each chunk, for instance\n"
           "  --version, --help\n"
           "\n"
           "Example: peer --tracker 192.0.2.1:5000 192.0.2.7 6001 notes.pdf photos/\n";
}

void arguments_free(struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->tracker_count; i++)
        free((char *)arguments->trackers[i]);
    free(arguments->trackers);
    free(arguments->allow_hosts);
    free(arguments->commands);
    free(arguments->paths);
    free(arguments->dir);
    memset(arguments, 0, sizeof *arguments);
}

static enum err bad(struct why *why, const char *what, const char *value, const char *expected)
{
    return why_set(why, ERR_INVALID, "%s \"%s\": %s", what, value, expected);
}

static enum err add_tracker(struct arguments *arguments, const char *what, const char *endpoint, struct why *why)
{
    struct why cause = {""};
    if (address_check_endpoint(endpoint, &cause))
        return bad(why, what, endpoint, cause.text);
    if (arguments->tracker_count == TRACKERS_MAX)
        return why_set(why, ERR_INVALID, "%s: at most %u trackers", what, TRACKERS_MAX);
    char *copy = strdup(endpoint);
    if (!copy)
        return why_set(why, ERR_NOMEM, "out of memory");
    arguments->trackers[arguments->tracker_count++] = copy;
    return ERR_OK;
}

static enum err add_trackers(struct arguments *arguments, const char *list, struct why *why)
{
    char *copy = strdup(list), *rest = copy, *one;
    enum err err = copy ? ERR_OK : why_set(why, ERR_NOMEM, "out of memory");
    while (!err && (one = strsep(&rest, ",")))
        if (*one != '\0')
            err = add_tracker(arguments, "$ENXAME_TRACKER", one, why);
    free(copy);
    return err;
}

bool arguments_parse_chunk_size(const char *text, uint64_t *ret)
{
    *ret = 0;
    return strcmp(text, "auto") == 0 || (units_parse_size(text, ret) && merkle_is_chunk_size(*ret));
}

static enum err set_chunk_size(struct arguments *arguments, const char *value, struct why *why)
{
    if (!arguments_parse_chunk_size(value, &arguments->chunk_size))
        return bad(why, "--chunk-size", value, "must be a power of two from 16K to 16M, or auto");
    return ERR_OK;
}

static enum err set_rate(const char *what, const char *value, uint64_t *ret, struct why *why)
{
    struct why cause = {""};
    if (!units_parse_rate(value, ret, &cause))
        return ERR_OK;
    return why_set(why, ERR_INVALID, "%s %s", what, cause.text);
}

static enum err set_advertise(struct arguments *arguments, const char *value, struct why *why)
{
    struct why cause = {""};
    if (address_parse(value, &arguments->advertise, &cause))
        return bad(why, "--advertise", value, cause.text);
    if (arguments->advertise.port == 0)
        return bad(why, "--advertise", value, "the port must be a number from 1 to 65535");
    arguments->has_advertise = true;
    return ERR_OK;
}

static enum err set_dir(struct arguments *arguments, const char *value, struct why *why)
{
    if (*value == '\0')
        return bad(why, "--dir", value, "must be the path of a folder");
    free(arguments->dir);
    arguments->dir = strdup(value);
    return arguments->dir ? ERR_OK : why_set(why, ERR_NOMEM, "out of memory");
}

static enum err set_neighbours(struct arguments *arguments, const char *value, struct why *why)
{
    if (*value == '\0')
        return bad(why, "--neighbours", value, "must be the path of a file");
    arguments->neighbours = value;
    return ERR_OK;
}

static enum err set_network(struct arguments *arguments, const char *value, struct why *why)
{
    struct why cause = {""};
    if (lan_check_network(value, &cause))
        return bad(why, "--network", value, cause.text);
    arguments->network = value;
    return ERR_OK;
}

static enum err set_sync(struct arguments *arguments, const char *value, struct why *why)
{
    if (*value == '\0')
        return bad(why, "--sync", value, "must be the path of a folder");
    if (arguments->sync)
        return why_set(why, ERR_INVALID, "--sync: one folder only; a second one needs a peer of its own");
    arguments->sync = value;
    return ERR_OK;
}

static enum err apply(struct arguments *arguments, enum option_id id, const char *value, struct why *why)
{
    switch (id) {
    case OPTION_TRACKER:
        return add_tracker(arguments, "--tracker", value, why);
    case OPTION_DIR:
        return set_dir(arguments, value, why);
    case OPTION_SYNC:
        return set_sync(arguments, value, why);
    case OPTION_CHUNK_SIZE:
        return set_chunk_size(arguments, value, why);
    case OPTION_LIMIT_UP:
        return set_rate("--limit-up", value, &arguments->limit_up, why);
    case OPTION_LIMIT_DOWN:
        return set_rate("--limit-down", value, &arguments->limit_down, why);
    case OPTION_ADVERTISE:
        return set_advertise(arguments, value, why);
    case OPTION_COMMAND:
        arguments->commands[arguments->command_count++] = value;
        return ERR_OK;
    case OPTION_ALLOW_HOST:
        arguments->allow_hosts[arguments->allow_host_count++] = value;
        return ERR_OK;
    case OPTION_NO_TRACKER:
        arguments->no_tracker = true;
        return ERR_OK;
    case OPTION_DAEMON:
        arguments->daemon = true;
        return ERR_OK;
    case OPTION_ATTACH:
        arguments->attach = true;
        return ERR_OK;
    case OPTION_NO_DISCOVER:
        arguments->no_discover = true;
        return ERR_OK;
    case OPTION_NEIGHBOURS:
        return set_neighbours(arguments, value, why);
    case OPTION_NETWORK:
        return set_network(arguments, value, why);
    case OPTION_VERBOSE:
        arguments->verbose = true;
        return ERR_OK;
    case OPTION_VERSION:
    case OPTION_HELP:
        break;
    }
    return ERR_OK;
}

/* The row that `word` names, as "--name" or "--name=value"; NULL where there is none. */
static const struct option_row *find_row(const char *word, const char **ret_value)
{
    size_t length = strcspn(word, "=");
    *ret_value = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strlen(rows[i].name) != length || strncmp(rows[i].name, word, length) != 0)
            continue;
        if (word[length] == '=') {
            if (!rows[i].has_value || word[1] != '-')
                return NULL;
            *ret_value = word + length + 1;
        }
        return &rows[i];
    }
    return NULL;
}

static enum err read_place(struct arguments *arguments, struct why *why)
{
    uint16_t port;
    if (arguments->path_count < 2)
        return why_set(why, ERR_INVALID, "%s is missing: the address to serve on, such as 127.0.0.1 6001",
                       arguments->path_count == 0 ? "<ip> <port>" : "<port>");
    const char *ip = arguments->paths[0], *port_text = arguments->paths[1];
    if (!address_parse_port(port_text, &port))
        return bad(why, "<port>", port_text, "must be a number from 0 to 65535");
    if (!address_parse_host(ip, port, &arguments->listen))
        return bad(why, "<ip>", ip, "must be an IP address of this machine, such as 127.0.0.1, 0.0.0.0 or ::");
    arguments->path_count -= 2;
    memmove(arguments->paths, arguments->paths + 2, arguments->path_count * sizeof *arguments->paths);
    return ERR_OK;
}

static enum err set_default_dir(struct arguments *arguments, struct why *why)
{
    if (arguments->dir)
        return ERR_OK;
    arguments->dir_is_default = true;
    if (asprintf(&arguments->dir, "downloads/%u", (unsigned)arguments->listen.port) >= 0)
        return ERR_OK;
    arguments->dir = NULL;
    return why_set(why, ERR_NOMEM, "out of memory");
}

/* `foreign` is an option that says how a peer is to run, or NULL. */
static enum err finish_attach(struct arguments *arguments, const char *foreign, struct why *why)
{
    if (foreign)
        return why_set(why, ERR_INVALID, "%s is for a peer that starts: with --attach there are only --dir and -c",
                       foreign);
    if (arguments->path_count == 0 && !arguments->dir)
        return why_set(why, ERR_INVALID, "--attach: to which peer?  Give its --dir DIR, or its <ip> and <port>");
    enum err err = arguments->path_count > 0 ? read_place(arguments, why) : ERR_OK;
    if (!err && arguments->path_count > 0)
        err = bad(why, "--attach", arguments->paths[0], "shares nothing by itself: use -c 'share PATH'");
    return err ? err : set_default_dir(arguments, why);
}

static enum err finish(struct arguments *arguments, const char *tracker_default, struct why *why)
{
    enum err err = read_place(arguments, why);
    if (err)
        return err;
    if (arguments->daemon && arguments->command_count > 0)
        return why_set(why, ERR_INVALID, "--daemon runs no commands: leave out either it or -c");
    if (arguments->no_tracker && arguments->tracker_count > 0)
        return why_set(why, ERR_INVALID, "--no-tracker and --tracker exclude each other");
    if (!arguments->no_tracker && arguments->tracker_count == 0 && tracker_default)
        err = add_trackers(arguments, tracker_default, why);
    if (!err && !arguments->no_tracker && arguments->tracker_count == 0) {
        arguments->tracker_is_default = true;
        err = add_tracker(arguments, "--tracker", TRACKER_DEFAULT, why);
    }
    return err ? err : set_default_dir(arguments, why);
}

static bool allocate(struct arguments *arguments, int argc)
{
    size_t room = (size_t)argc + 1;
    arguments->trackers = calloc(TRACKERS_MAX, sizeof *arguments->trackers);
    arguments->allow_hosts = calloc(room, sizeof *arguments->allow_hosts);
    arguments->commands = calloc(room, sizeof *arguments->commands);
    arguments->paths = calloc(room, sizeof *arguments->paths);
    return arguments->trackers && arguments->allow_hosts && arguments->commands && arguments->paths;
}

enum arguments_outcome arguments_parse(int argc, char *const *argv, const char *tracker_default, struct arguments *ret,
                                       struct why *why)
{
    memset(ret, 0, sizeof *ret);
    ret->network = LAN_NETWORK_DEFAULT;
    if (!allocate(ret, argc)) {
        (void)why_set(why, ERR_NOMEM, "out of memory");
        return ARGUMENTS_BAD;
    }
    bool only_paths = false;
    const char *foreign = NULL; /* to --attach */
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value;
        if (only_paths || word[0] != '-' || word[1] == '\0') {
            ret->paths[ret->path_count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_paths = true;
            continue;
        }
        const struct option_row *row = find_row(word, &value);
        if (!row) {
            (void)why_set(why, ERR_INVALID, "unknown option %s", word);
            return ARGUMENTS_BAD;
        }
        if (row->id == OPTION_HELP)
            return ARGUMENTS_HELP;
        if (row->id == OPTION_VERSION)
            return ARGUMENTS_VERSION;
        if (row->has_value && !value) {
            if (i + 1 == argc) {
                (void)why_set(why, ERR_INVALID, "%s needs a value", word);
                return ARGUMENTS_BAD;
            }
            value = argv[++i];
        }
        if (apply(ret, row->id, value ? value : "", why))
            return ARGUMENTS_BAD;
        if (row->id != OPTION_ATTACH && row->id != OPTION_DIR && row->id != OPTION_COMMAND)
            foreign = row->name;
    }
    enum err err = ret->attach ? finish_attach(ret, foreign, why) : finish(ret, tracker_default, why);
    return err ? ARGUMENTS_BAD : ARGUMENTS_RUN;
}
