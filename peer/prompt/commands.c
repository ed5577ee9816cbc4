#include "commands.h"

#include "commands_internal.h"
#include "limits.h"
#include "names.h"
#include "peer.h"
#include "words.h"

#include <dirent.h>
#include <stdarg.h>

static command_handler command_help, command_exit, command_stop;

enum completes {
    COMPLETES_NOTHING,
    COMPLETES_NAMES,
    COMPLETES_SHARED,
    COMPLETES_PATHS,
    COMPLETES_DOWNLOADS, /* that are not done */
    COMPLETES_NEIGHBOURS,
    COMPLETES_SYNC /* what `sync` does, then what is in the trash */
};

static const struct command {
    const char *name, *alias; /* alias may be NULL */
    const char *arguments, *help;
    size_t minimum, maximum; /* words behind the name */
    command_handler *handle;
    bool needs_others;
    enum completes completes;
} commands[] = {
    {"help", NULL, "", "this list", 0, 1, command_help, false, COMPLETES_NOTHING},
    {"peers", "list", "", "who is there", 0, 0, command_peers, true, COMPLETES_NOTHING},
    {"search", "files", "[PATTERN]", "find files; * and ? stand for any letters", 0, WORDS_MAX, command_search, true,
     COMPLETES_NAMES},
    {"owners", NULL, "NAME|#|ROOT", "who has a file", 1, 1, command_owners, true, COMPLETES_NAMES},
    {"download", "get", "NAME|#|ROOT|PATTERN|FOLDER/ [as PATH]", "fetch a file, or many, from all who have them", 1, 3,
     command_download, true, COMPLETES_NAMES},
    {"status", NULL, "", "this peer and its downloads", 0, 0, command_status, false, COMPLETES_NOTHING},
    {"cancel", NULL, "#|NAME|all", "end a download and remove what it fetched; # as status shows it", 1, 1,
     command_cancel, false, COMPLETES_DOWNLOADS},
    {"chunk-size", NULL, "[SIZE|auto]", "show or set it for the next downloads: 16K to 16M", 0, 1, command_chunk_size,
     false, COMPLETES_NOTHING},
    {"limit", NULL, "[up|down RATE|unlimited]", "show or set what transfers may take: 500K, 10M, ... bytes/s", 0, 2,
     command_limit, false, COMPLETES_NOTHING},
    {"shared", NULL, "", "what this peer shares", 0, 0, command_shared, false, COMPLETES_NOTHING},
    {"share", NULL, "PATH...", "share files and folders", 1, WORDS_MAX, command_share, false, COMPLETES_PATHS},
    {"unshare", NULL, "NAME|#", "stop sharing a file", 1, 1, command_unshare, false, COMPLETES_SHARED},
    {"stats", NULL, "[FILE.csv]", "how long downloads took, by size, holders and chunk size", 0, 1, command_stats,
     false, COMPLETES_PATHS},
    {"sync", NULL, "[wait [SECONDS]|pause|resume|trash [NAME]|restore NAME|#]",
     "the folder that is kept the same: how it is; wait until nothing is behind; what was deleted, and back with it", 0,
     2, command_sync, false, COMPLETES_SYNC},
    {"verify", NULL, "[NAME|#|PATTERN]", "hash again what is shared, and repair what is damaged", 0, 1, command_verify,
     false, COMPLETES_SHARED},
    {"neighbours", NULL, "", "the other peers that this one knows, without any tracker", 0, 0, command_neighbours, true,
     COMPLETES_NOTHING},
    {"hello", NULL, "HOST:PORT", "make a peer's acquaintance, and that of those whom it knows", 1, 1, command_hello,
     false, COMPLETES_NEIGHBOURS},
    {"ls", NULL, "[HOST:PORT]", "what a neighbour shares, or all that are ONLINE", 0, 1, command_ls, true,
     COMPLETES_NEIGHBOURS},
    {"clock", NULL, "", "this peer's Lamport clock", 0, 0, command_clock, false, COMPLETES_NOTHING},
    {"exit", "quit", "", "end; where attached, leave: the peer goes on", 0, 0, command_exit, false, COMPLETES_NOTHING},
    {"stop", NULL, "", "end the peer, also where attached", 0, 0, command_stop, false, COMPLETES_NOTHING},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

/* ---- what commands share ---- */

bool command_fail(struct session *session, const char *format, ...)
{
    char raw[4096], text[4096];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    names_printable(raw, text, sizeof text);
    terminal_message(session->terminal, text);
    return false;
}

bool command_print_table(struct session *session, struct table *table)
{
    char *text = table ? table_format(table) : NULL;
    table_free(table);
    if (!text)
        return command_fail(session, "out of memory");
    terminal_print(session->terminal, "%s", text);
    free(text);
    return true;
}

void command_short_root(const struct content *content, char ret_text[static ROOT_SHOWN + 1])
{
    hex_encode(content->root, ROOT_SHOWN / 2, ret_text);
}

char *command_expand(const char *path)
{
    const char *home = getenv("HOME");
    char *expanded = NULL;
    if (path[0] != '~' || (path[1] != '/' && path[1] != '\0') || !home || home[0] == '\0')
        return strdup(path);
    return asprintf(&expanded, "%s%s", home, path + 1) < 0 ? NULL : expanded;
}

char *command_locate(const struct session *session, const char *path)
{
    char *expanded = command_expand(path), *located = NULL;
    if (!expanded || !session->folder || expanded[0] == '/' || expanded[0] == '\0')
        return expanded;
    if (asprintf(&located, "%s/%s", session->folder, expanded) < 0)
        located = NULL;
    free(expanded);
    return located;
}

/* ---- running a line ---- */

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0 || (commands[i].alias && strcmp(commands[i].alias, name) == 0))
            return &commands[i];
    return NULL;
}

static bool run_words(struct session *session, const struct words *words)
{
    const struct command *command = find(words->items[0]);
    if (!command)
        return command_fail(session, "unknown command \"%s\"; \"help\" lists them", words->items[0]);
    size_t given = words->count - 1;
    if (given < command->minimum || given > command->maximum)
        return command_fail(session, "usage: %s %s%s", command->name, command->arguments,
                            given > command->maximum && command->maximum > 0 ? "  (names with blanks need quotes)"
                                                                             : "");
    if (command->needs_others)
        session_settle(session);
    return command->handle(session, words->items, words->count);
}

bool commands_run(struct session *session, const char *line)
{
    struct words words;
    struct why why = {""};
    if (strlen(line) > COMMAND_SIZE_MAX)
        return command_fail(session, "a command has at most %u bytes", COMMAND_SIZE_MAX);
    if (words_split(line, &words, &why))
        return command_fail(session, "%s", why.text);
    bool ok = words.count == 0 || run_words(session, &words);
    words_free(&words);
    return ok;
}

static bool command_help(struct session *session, char *const *words, size_t count)
{
    const struct command *only = count > 1 ? find(words[1]) : NULL;
    if (count > 1 && !only)
        return command_fail(session, "unknown command \"%s\"; \"help\" lists them", words[1]);
    struct table *table = table_new((const char *[]){"COMMAND", "ALSO", "DOES"}, 3);
    for (size_t i = 0; table && i < COMMAND_COUNT; i++) {
        const struct command *command = &commands[i];
        char usage[80];
        snprintf(usage, sizeof usage, "%s %s", command->name, command->arguments);
        if (!only || only == command)
            table_add(table, (const char *[]){usage, command->alias ? command->alias : "", command->help});
    }
    if (!command_print_table(session, table))
        return false;
    terminal_print(session->terminal, "# is a row of the last listing; ROOT may be cut short to 6 digits or more.\n");
    return true;
}

static bool command_exit(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    session->ended = true;
    return true;
}

static bool command_stop(struct session *session, char *const *words, size_t count)
{
    if (session->attached)
        peer_stop(session->peer);
    return command_exit(session, words, count);
}

/* ---- completion ---- */

struct candidates {
    const char *text;
    char **items;
    size_t count, capacity;
};

/* Those that begin with the text, each once. */
static void offer(struct candidates *candidates, const char *text)
{
    if (strncmp(text, candidates->text, strlen(candidates->text)) != 0 || candidates->count == candidates->capacity)
        return;
    for (size_t i = 0; i < candidates->count; i++)
        if (strcmp(candidates->items[i], text) == 0)
            return;
    char *copy = strdup(text);
    if (copy)
        candidates->items[candidates->count++] = copy;
}

static void offer_shared(struct session *session, struct candidates *candidates)
{
    struct share *shares = NULL;
    size_t count = 0;
    /* In the order of names, those that begin with the text follow it. */
    if (state_list_shares(session->state, candidates->text, "", candidates->capacity, &shares, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        offer(candidates, shares[i].name);
        share_free(&shares[i]);
    }
    free(shares);
}

static void offer_downloads(struct session *session, struct candidates *candidates)
{
    struct download_report *reports = NULL;
    size_t count = 0;
    if (downloads_list(session->downloads, &reports, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        if (command_can_cancel(&reports[i]))
            offer(candidates, reports[i].name);
        download_report_free(&reports[i]);
    }
    free(reports);
}

static void offer_neighbours(struct session *session, struct candidates *candidates)
{
    struct neighbour *all = NULL;
    size_t count = 0;
    if (neighbours_list(session->neighbours, &all, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        char address[ADDRESS_TEXT_SIZE];
        address_format(&all[i].address, address);
        if (!all[i].foreign)
            offer(candidates, address);
    }
    free(all);
}

static void offer_jobs(struct session *session, struct candidates *candidates)
{
    struct job_report *reports = NULL;
    size_t count = 0;
    if (jobs_list(session->jobs, &reports, &count))
        return;
    for (size_t i = 0; i < count; i++)
        if (!job_state_is_over(reports[i].state))
            offer(candidates, reports[i].title);
    free(reports);
}

static void offer_paths(struct session *session, struct candidates *candidates)
{
    const char *base = names_base(candidates->text);
    char *folder = strndup(candidates->text, (size_t)(base - candidates->text));
    char *expanded = folder ? command_locate(session, folder[0] ? folder : ".") : NULL;
    DIR *stream = expanded ? opendir(expanded) : NULL;
    struct dirent *entry;
    while (stream && (entry = readdir(stream))) {
        char *path = NULL;
        bool hidden = entry->d_name[0] == '.' && base[0] != '.';
        if (hidden || strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            names_check(entry->d_name, strlen(entry->d_name), NULL) ||
            asprintf(&path, "%s%s%s", folder, entry->d_name, entry->d_type == DT_DIR ? "/" : "") < 0)
            continue;
        offer(candidates, path);
        free(path);
    }
    if (stream)
        closedir(stream);
    free(expanded);
    free(folder);
}

static void offer_sync(struct session *session, const struct words *before, struct candidates *candidates)
{
    static const char *const verbs[] = {"wait", "pause", "resume", "trash", "restore"};
    bool names =
        before->count == 2 && (strcmp(before->items[1], "trash") == 0 || strcmp(before->items[1], "restore") == 0);
    struct sync_trash *trash = NULL;
    size_t count = 0;
    for (size_t i = 0; before->count == 1 && i < sizeof verbs / sizeof verbs[0]; i++)
        offer(candidates, verbs[i]);
    if (!names || !session->sync || sync_list_trash(session->sync, NULL, 0, LISTING_ROWS_MAX, &trash, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        offer(candidates, trash[i].name);
        sync_trash_free(&trash[i]);
    }
    free(trash);
}

static void offer_arguments(struct session *session, const struct command *command, bool as,
                            struct candidates *candidates)
{
    if (as || command->completes == COMPLETES_PATHS)
        offer_paths(session, candidates);
    if (!as && command->completes == COMPLETES_NAMES)
        for (size_t i = 0; i < session->listing.count; i++)
            offer(candidates, session->listing.rows[i].name);
    if (!as && (command->completes == COMPLETES_NAMES || command->completes == COMPLETES_SHARED))
        offer_shared(session, candidates);
    if (command->completes == COMPLETES_NEIGHBOURS)
        offer_neighbours(session, candidates);
    if (command->completes == COMPLETES_DOWNLOADS)
        offer_downloads(session, candidates);
    if (command->completes == COMPLETES_DOWNLOADS)
        offer_jobs(session, candidates);
}

size_t commands_complete(void *context, const char *line, const char *text, char **ret_texts, size_t capacity)
{
    struct session *session = context;
    struct candidates candidates = {.text = text, .items = ret_texts, .capacity = capacity};
    struct words before;
    char *word = NULL;
    size_t start = 0;
    if (words_last(line, &word, &start))
        return 0;
    free(word);
    char *head = strndup(line, start);
    if (head && !words_split(head, &before, NULL)) {
        const struct command *command = before.count > 0 ? find(before.items[0]) : NULL;
        bool as = before.count > 2 && strcmp(before.items[before.count - 1], "as") == 0;
        for (size_t i = 0; before.count == 0 && i < COMMAND_COUNT; i++) {
            offer(&candidates, commands[i].name);
            if (commands[i].alias && text[0] != '\0')
                offer(&candidates, commands[i].alias);
        }
        if (command)
            offer_arguments(session, command, as, &candidates);
        if (command && command->completes == COMPLETES_SYNC)
            offer_sync(session, &before, &candidates);
        words_free(&before);
    }
    free(head);
    return candidates.count;
}
