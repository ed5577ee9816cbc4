/* How long downloads took. */
#include "commands_internal.h"
#include "files.h"
#include "stats_text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether the file begins as `stats` would write it. */
static bool is_ours(const char *path)
{
    static const char head[] = STATS_TEXT_HEAD;
    char start[sizeof head];
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool same = files_read_at(fd, start, sizeof start, 0) == ERR_OK && memcmp(start, head, sizeof head - 1) == 0 &&
                (start[sizeof head - 1] == '\r' || start[sizeof head - 1] == '\n');
    close(fd);
    return same;
}

/* Nothing but an older file of statistics is ever replaced. */
static enum err check_place(const char *path, struct why *why)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? ERR_OK : why_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return why_set(why, ERR_EXISTS, "%s is a folder: give the file's name, too", path);
    if (S_ISREG(status.st_mode) && is_ours(path))
        return ERR_OK;
    return why_set(why, ERR_EXISTS, "%s exists and was not written by \"stats\": it is kept; choose another name",
                   path);
}

static enum err write_csv(const char *path, const struct statistic *statistics, size_t count, struct why *why)
{
    enum err err = check_place(path, why);
    if (err)
        return err;
    char *text = stats_text_csv(statistics, count);
    if (!text)
        return why_set(why, ERR_NOMEM, "out of memory");
    err = files_write_atomically(AT_FDCWD, path, text, strlen(text), 0666);
    free(text);
    return err ? why_set(why, err, "%s cannot be written: %s", path, err_name(err)) : ERR_OK;
}

static bool save(struct session *session, const char *word, const struct statistic *statistics, size_t count)
{
    struct why why = {""};
    char *path = command_locate(session, word);
    enum err err = path ? write_csv(path, statistics, count, &why) : why_set(&why, ERR_NOMEM, "out of memory");
    if (err)
        (void)command_fail(session, "%s", why.text);
    else
        terminal_print(session->terminal, "%s: %zu row%s\n", path, count, count == 1 ? "" : "s");
    free(path);
    return !err;
}

bool command_stats(struct session *session, char *const *words, size_t count)
{
    struct statistic *statistics = NULL;
    size_t rows = 0;
    bool ok = true;
    enum err err = state_list_statistics(session->state, &statistics, &rows);
    if (err)
        return command_fail(session, "stats: %s", err_name(err));
    if (count > 1)
        ok = save(session, words[1], statistics, rows);
    else if (rows > 0)
        ok = command_print_table(session, stats_text_table(statistics, rows));
    else
        terminal_message(session->terminal, "no download was timed yet");
    free(statistics);
    return ok;
}
