/* Before files are fetched: which are there already, which are large, and who has the small ones. */
#include "files.h"
#include "hasher.h"
#include "job_internal.h"
#include "limits.h"
#include "log.h"
#include "names.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE ITEMS_MAX
/* The fetcher has work for a while: the next page can wait. */
#define BACKLOG_MAX (2u * ITEMS_MAX)
/* How many contents the tracker is asked for at a time: it shares about 1,200 holders among them. */
#define ASKED_ALONE ITEMS_MAX /* where one holder each is all there is */
#define ASKED_SHARED 300u
#define ASKED_AGAIN 60u
/* Those without a holder: how soon the tracker is asked again, at first and at last. */
#define AGAIN_FIRST_MS 500u
#define AGAIN_MAX_MS 10000u

/* ---- which are there already ---- */

/* Small files whose places hold something of their size. */
struct suspects {
    struct hash_job jobs[PAGE];
    struct landed landed[PAGE];
    uint32_t files[PAGE];
    size_t count;
};

/* The folder that the files of a page mostly lie in, opened once. */
struct place {
    char folder[NAME_SIZE_MAX + 1];
    int fd; /* -1: it is not there */
    bool is_known;
};

static void place_leave(struct place *place)
{
    if (place->is_known && place->fd >= 0)
        (void)close(place->fd);
    place->fd = -1;
    place->is_known = false;
}

/* False where the folder cannot be entered, as it is none or a link that leads out. */
static bool place_enter(struct place *place, int root_fd, const char *name)
{
    size_t length = (size_t)(names_base(name) - name);
    if (place->is_known && strncmp(place->folder, name, length) == 0 && place->folder[length] == '\0')
        return true;
    place_leave(place);
    memcpy(place->folder, name, length);
    place->folder[length > 0 ? length - 1 : 0] = '\0'; /* without its '/' */
    enum err err = files_open_beneath(root_fd, length > 0 ? place->folder : ".", O_RDONLY | O_DIRECTORY, 0, &place->fd);
    if (err && err != ERR_NOT_FOUND)
        return false;
    memcpy(place->folder, name, length);
    place->folder[length] = '\0';
    place->is_known = true;
    return true;
}

static bool is_shared_here(struct job *job, const struct job_file *file)
{
    struct share share;
    if (!job->knows_shares || !state_has_pair(job->options->state, file->name, &file->content) ||
        library_locate(job->options->library, &file->content, &share))
        return false;
    share_free(&share);
    return true;
}

static void suspect(struct job *job, struct suspects *suspects, uint32_t index, const char *name)
{
    char *path = NULL, *copy = strdup(name);
    if (!copy || asprintf(&path, "%s/%s", job->root, name) < 0) {
        free(copy);
        job_fail(job, ERR_NOMEM, "out of memory");
        return;
    }
    suspects->files[suspects->count] = index;
    suspects->landed[suspects->count] = (struct landed){.path = path, .name = copy};
    suspects->jobs[suspects->count++] = (struct hash_job){.path = path};
}

/* Whether the file is to be fetched; where something is at its place, that is looked at later, or kept. */
static bool look_at(struct job *job, struct place *place, struct suspects *suspects, uint32_t index)
{
    const struct job_file *file = job_files_get(&job->files, index);
    char name[NAME_SIZE_MAX + 1];
    struct stat status;
    if (!job_relative(job, file, name)) {
        job_problem(job, index, JOB_FILE_FAILED, "%s: its name is too long below %s", file->name, job->below);
        return false;
    }
    if (is_shared_here(job, file)) {
        job_settle(job, index, JOB_FILE_DONE, true);
        return false;
    }
    if (!place_enter(place, job->root_fd, name)) {
        job_problem(job, index, JOB_FILE_FAILED, "%s: its folder is a file, or a link that leads elsewhere", name);
        return false;
    }
    if (place->fd < 0 || fstatat(place->fd, names_base(name), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return true;
    if (S_ISREG(status.st_mode) && (uint64_t)status.st_size == file->content.size && suspects->count < PAGE)
        suspect(job, suspects, index, name);
    else
        job_problem(job, index, JOB_FILE_KEPT, "%s exists and is another file: it is kept", name);
    return false;
}

static void hash_suspects(struct job *job, struct suspects *suspects)
{
    size_t same = 0;
    hasher_run(suspects->jobs, suspects->count, 0, NULL, &job->stop);
    for (size_t i = 0; i < suspects->count; i++) {
        const struct job_file *file = job_files_get(&job->files, suspects->files[i]);
        struct hash_job *hashed = &suspects->jobs[i];
        struct landed *landed = &suspects->landed[i];
        if (hashed->err == ERR_OK && content_equal(&hashed->hashed.content, &file->content)) {
            landed->stamp = hashed->stamp;
            landed->hashed = hashed->hashed;
            suspects->landed[same] = *landed;
            if (same++ != i)
                *landed = (struct landed){0};
            job_settle(job, suspects->files[i], JOB_FILE_DONE, true);
            continue;
        }
        if (hashed->err != ERR_CANCELLED)
            job_problem(job, suspects->files[i], JOB_FILE_KEPT, "%s exists and is another file: it is kept",
                        landed->name);
        hashed_free(&hashed->hashed);
        free((char *)(uintptr_t)landed->path);
        free((char *)(uintptr_t)landed->name);
        *landed = (struct landed){0};
    }
    if (same > 0 && library_add_landed(job->options->library, suspects->landed, same))
        log_warn("%s: files that are here could not be recorded", job->title);
    for (size_t i = 0; i < same; i++) {
        hashed_free(&suspects->landed[i].hashed);
        free((char *)(uintptr_t)suspects->landed[i].path);
        free((char *)(uintptr_t)suspects->landed[i].name);
    }
    if (same > 0)
        library_tell(job->options->library);
}

static bool is_open(struct job *job, const struct job_file *file)
{
    pthread_mutex_lock(&job->lock);
    bool open = file->state == JOB_FILE_OPEN;
    pthread_mutex_unlock(&job->lock);
    return open;
}

/* Whether any of the files that are fetched with this one is still open. */
static bool is_chain_open(struct job *job, uint32_t index)
{
    while (index != JOB_NO_FILE && !is_open(job, job_files_get(&job->files, index)))
        index = job_files_get(&job->files, index)->same;
    return index != JOB_NO_FILE;
}

/* The files that have to be fetched in batches, in order; large ones are handed on. */
static struct want *look_at_page(struct job *job, uint32_t first, uint32_t end)
{
    struct suspects *suspects = calloc(1, sizeof *suspects);
    struct place place = {.is_known = false};
    struct want *wants = NULL, **last = &wants;
    if (!suspects) {
        job_fail(job, ERR_NOMEM, "out of memory");
        return NULL;
    }
    for (uint32_t i = first; i < end && !atomic_load(&job->stop); i++) {
        const struct job_file *file = job_files_get(&job->files, i);
        if (!is_open(job, file))
            continue;
        if (file->content.size <= BATCH_CONTENT_MAX)
            (void)look_at(job, &place, suspects, i);
        else if (large_add(job->large, i))
            job_fail(job, ERR_NOMEM, "out of memory");
    }
    place_leave(&place);
    if (suspects->count > 0)
        hash_suspects(job, suspects);
    free(suspects);
    for (uint32_t i = first; i < end && !atomic_load(&job->stop); i++) {
        const struct job_file *file = job_files_get(&job->files, i);
        if (file->content.size > BATCH_CONTENT_MAX || file->is_copy || !is_chain_open(job, i))
            continue;
        struct want *want = calloc(1, sizeof *want);
        if (!want) {
            job_fail(job, ERR_NOMEM, "out of memory");
            break;
        }
        want->file = i;
        *last = want;
        last = &want->next;
    }
    return wants;
}

/* ---- who has them ---- */

static void push(struct want **list, struct want *want)
{
    want->next = *list;
    *list = want;
}

static bool was_useless(const struct want *want, uint16_t source)
{
    for (size_t i = 0; i < want->count; i++)
        if (want->sources[i] == source && (want->useless & 1u << i))
            return true;
    return false;
}

/* The first holders that may be asked; those that were of no use before only where there are no others. */
static bool set_sources(struct job *job, struct want *want, const struct content_holders *holders)
{
    const struct want before = *want;
    uint16_t source, second = 0;
    bool has_second = false;
    want->count = want->useless = 0;
    for (size_t i = 0; i < holders->holder_count && want->count < WANT_SOURCES; i++) {
        const struct peer_record *holder = &holders->holders[i];
        if (!holder->complete || !fetcher_source(job->fetcher, holder, &holders->content, &source))
            continue;
        if (was_useless(&before, source)) {
            has_second = true;
            second = source;
        } else {
            want->sources[want->count++] = source;
        }
    }
    if (want->count == 0 && has_second)
        want->sources[want->count++] = second;
    return want->count > 0;
}

/* What is asked of others for a list of wants. */
struct question {
    struct job *job;
    struct want *found, **found_last, *orphans;
    size_t holders, contents; /* in all answers */
};

/* Takes the first want of the list: found where somebody can be asked for it, else an orphan. */
static void settle_want(struct question *question, struct want **list, const struct content_holders *holders)
{
    struct want *want = *list;
    *list = want->next;
    if (holders->holder_count == 0 || !set_sources(question->job, want, holders)) {
        push(&question->orphans, want);
    } else {
        want->next = NULL;
        *question->found_last = want;
        question->found_last = &want->next;
    }
    if (holders->holders_total == 0)
        return;
    question->contents++;
    question->holders += holders->holders_total < WANT_SOURCES ? holders->holders_total : WANT_SOURCES;
}

/* Asks for the first `most` wants of the list; they are found, or orphans, or, where the answer was full, still there. */
static enum err ask_some(struct question *question, struct want **list, size_t most, struct why *why)
{
    struct content *contents = calloc(most, sizeof *contents);
    struct content_holders *holders = NULL;
    size_t count = 0, settled = 0;
    if (!contents)
        return why_set(why, ERR_NOMEM, "out of memory");
    for (const struct want *want = *list; want && count < most; want = want->next)
        contents[count++] = job_files_get(&question->job->files, want->file)->content;
    enum err err = job_ask_holders(question->job, contents, count, &holders, &settled, why);
    for (size_t i = 0; !err && *list && i < settled; i++)
        settle_want(question, list, &holders[i]);
    if (!err)
        job_free_holders(holders, count);
    free(contents);
    return err;
}

/* Gives away those that can be had from sources that have it all; the others are left, in order. */
static struct want *guess(struct job *job, struct want *wants)
{
    struct want *guessed = NULL, *left = NULL, **guessed_last = &guessed, **left_last = &left;
    for (struct want *next; wants; wants = next) {
        const struct job_file *file = job_files_get(&job->files, wants->file);
        next = wants->next;
        wants->next = NULL;
        wants->count = (uint8_t)fetcher_guess(job->fetcher, &file->content, file->holders, wants->sources);
        struct want ***last = wants->count > 0 ? &guessed_last : &left_last;
        **last = wants;
        *last = &wants->next;
    }
    fetcher_give(job->fetcher, guessed);
    return left;
}

static void ask(struct job *job, struct want *wants, bool again)
{
    struct question question = {.job = job};
    struct why why = {""};
    enum err err = ERR_OK;
    size_t most = again ? ASKED_AGAIN : ASKED_SHARED;
    while (wants && !err && !atomic_load(&job->stop)) {
        question.found = NULL;
        question.found_last = &question.found;
        err = ask_some(&question, &wants, most, &why);
        fetcher_give(job->fetcher, question.found);
        if (!again)
            most = question.holders > question.contents ? ASKED_SHARED : ASKED_ALONE;
    }
    while (wants) {
        struct want *next = wants->next;
        push(&question.orphans, wants);
        wants = next;
    }
    pthread_mutex_lock(&job->lock);
    if (err && err != ERR_CANCELLED)
        job->trouble = why;
    else if (question.orphans)
        (void)why_set(&job->trouble, ERR_OK, "%s",
                      why.text[0] ? why.text : "neither the tracker nor a neighbour knows a holder that can be asked");
    while (question.orphans) {
        struct want *next = question.orphans->next;
        push(&job->orphans, question.orphans);
        question.orphans = next;
    }
    pthread_mutex_unlock(&job->lock);
}

/* ---- what is due ---- */

/* Those without a holder are asked for at once, and then less and less often while nothing comes. */
static struct want *take_orphans(struct job *job, uint64_t now_ms)
{
    struct want *orphans = NULL;
    pthread_mutex_lock(&job->lock);
    if (job->moved_ms > job->again_at_ms - job->again_ms)
        job->again_ms = 0;
    if (job->orphans && now_ms >= job->again_at_ms) {
        orphans = job->orphans;
        job->orphans = NULL;
        job->again_ms = job->again_ms == 0                 ? AGAIN_FIRST_MS
                        : job->again_ms < AGAIN_MAX_MS / 2 ? 2 * job->again_ms
                                                           : AGAIN_MAX_MS;
        job->again_at_ms = now_ms + job->again_ms;
    }
    pthread_mutex_unlock(&job->lock);
    return orphans;
}

bool job_prepare(struct job *job, uint64_t now_ms)
{
    struct want *orphans = take_orphans(job, now_ms);
    if (orphans)
        ask(job, orphans, true);
    if (fetcher_backlog(job->fetcher) > BACKLOG_MAX)
        return false;
    pthread_mutex_lock(&job->lock);
    size_t first = job->next, end = job->files.count - first > PAGE ? first + PAGE : job->files.count;
    job->next = end;
    pthread_mutex_unlock(&job->lock);
    if (first == end)
        return false;
    struct want *wants = guess(job, look_at_page(job, (uint32_t)first, (uint32_t)end));
    if (wants)
        ask(job, wants, false);
    return true;
}
