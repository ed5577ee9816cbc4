/*
 * From verified bytes to files at their places.  Bytes are written under a number in a folder of the job's own; a group of
 * files is synced as one, then renamed, then its folders are synced, and then the library and the state hear of all at once.
 */
#include "files.h"
#include "hasher.h"
#include "job_folder.h"
#include "job_internal.h"
#include "limits.h"
#include "log.h"
#include "names.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NUMBER_SIZE 32u
/* A group: as many files as make its sync cheap for each, but none waits longer than that. */
#define GROUP_MAX 1024u
#define GROUP_MS 500u
/* Fewer files than this are synced one by one: other programs' files need not be synced for them. */
#define SYNCED_ALONE_MAX 4u
/* As many folders are synced one by one. */
#define FOLDERS_MAX 16u
/* Written files without a name. */
#define WAITING_MAX 16384u
/* How often the tracker hears of what was finished, while more comes. */
#define TELL_MS 1000u

/* A file that was written. */
struct written {
    struct written *next;
    uint32_t file, group;
    size_t layer_count;
    uint8_t layer[];
};

struct lander {
    struct job *job;
    struct job_folder folder; /* with a folder for each group */
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct written *first, **last;
    size_t waiting;
    uint64_t since_ms; /* when the first of them came */
    bool hurry, stop;

    uint64_t told_ms; /* the thread's own */
    bool untold;

    uint32_t group, in_group; /* the writer's own: where it writes now, and how many files are there */
};

/* Where a file lies until it has its name: while one folder is written to, others are emptied. */
static void format_number(const struct written *written, char ret_path[static NUMBER_SIZE])
{
    snprintf(ret_path, NUMBER_SIZE, "%u/%u", written->group, written->file);
}

/* ---- a group ---- */

/* One file of a group on its way. */
struct landing {
    struct written *written;
    char *name; /* below the root */
    char *path;
    struct landed landed;
    bool at_place, same_was_there;
};

struct group {
    struct lander *lander;
    struct landing *items;
    size_t count;
    int parent_fd; /* of the folder that `parent` names */
    char parent[NAME_SIZE_MAX + 1];
    bool has_parent, parent_touched;
    int folders[FOLDERS_MAX]; /* in which names appeared */
    size_t folder_count;
    bool many_folders; /* all of the file system is synced */
};

/* Everything is on the disk that was written. */
static enum err sync_bytes(const struct group *group)
{
    int fd = group->lander->folder.fd;
    if (group->count > SYNCED_ALONE_MAX)
        return syncfs(fd) == 0 ? ERR_OK : err_from_errno(errno);
    for (size_t i = 0; i < group->count; i++) {
        char number[NUMBER_SIZE];
        format_number(group->items[i].written, number);
        int file_fd = openat(fd, number, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (file_fd < 0 || fsync(file_fd) != 0) {
            enum err err = err_from_errno(errno);
            if (file_fd >= 0)
                (void)close(file_fd);
            return err;
        }
        (void)close(file_fd);
    }
    return ERR_OK;
}

/* The parent is not needed any more; where names appeared in it, it is to be synced. */
static void leave_parent(struct group *group)
{
    if (!group->has_parent)
        return;
    if (group->parent_touched && group->folder_count < FOLDERS_MAX) {
        group->folders[group->folder_count++] = group->parent_fd;
    } else {
        group->many_folders = group->many_folders || group->parent_touched;
        (void)close(group->parent_fd);
    }
    group->has_parent = group->parent_touched = false;
}

static enum err enter_parent(struct group *group, const char *name)
{
    size_t length = (size_t)(names_base(name) - name);
    if (group->has_parent && strncmp(group->parent, name, length) == 0 && group->parent[length] == '\0')
        return ERR_OK;
    leave_parent(group);
    /* New folders are synced with all else. */
    enum err err =
        files_make_parents_unsynced(group->lander->job->root_fd, name, &group->parent_fd, &group->many_folders);
    if (err)
        return err;
    memcpy(group->parent, name, length);
    group->parent[length] = '\0';
    group->has_parent = true;
    return ERR_OK;
}

static void sync_folders(struct group *group)
{
    leave_parent(group);
    bool failed = group->many_folders && syncfs(group->lander->folder.fd) != 0;
    for (size_t i = 0; i < group->folder_count; i++) {
        failed = (!group->many_folders && fsync(group->folders[i]) != 0) || failed;
        (void)close(group->folders[i]);
    }
    group->folder_count = 0;
    if (failed)
        log_warn("%s: a folder could not be synced: %s", group->lander->job->title, strerror(errno));
}

/* Whether what is at the file's place is that file. */
static bool is_same(const struct landing *item)
{
    struct hash_job job = {.path = item->path};
    hasher_run(&job, 1, 1, NULL, NULL);
    bool same = job.err == ERR_OK && content_equal(&job.hashed.content, &item->landed.hashed.content);
    hashed_free(&job.hashed);
    return same;
}

static void rename_one(struct group *group, struct landing *item)
{
    struct lander *lander = group->lander;
    struct job *job = lander->job;
    uint32_t file = item->written->file;
    struct stat status;
    char number[NUMBER_SIZE];
    format_number(item->written, number);
    enum err err = enter_parent(group, item->name);
    if (!err)
        err = files_rename_new(lander->folder.fd, number, group->parent_fd, names_base(item->name));
    if (err == ERR_EXISTS && group->has_parent && is_same(item)) {
        item->same_was_there = true;
        err = ERR_OK;
    } else if (!err) {
        group->parent_touched = true;
    }
    if (!err && fstatat(group->parent_fd, names_base(item->name), &status, AT_SYMLINK_NOFOLLOW) == 0) {
        stamp_from(&status, &item->landed.stamp);
        item->at_place = true;
        return;
    }
    if (err == ERR_EXISTS && group->has_parent)
        job_problem(job, file, JOB_FILE_KEPT, "%s appeared meanwhile and is another file: it is kept", item->path);
    else if (err == ERR_EXISTS || err == ERR_DENIED)
        job_problem(job, file, JOB_FILE_FAILED, "%s: its folder is a file, or a link that is not followed", item->path);
    else if (err == ERR_CONFLICT)
        job_problem(job, file, JOB_FILE_FAILED, "%s lies on another file system than %s: download it alone", item->path,
                    job->root);
    else
        job_problem(job, file, JOB_FILE_FAILED, "%s: %s", item->path, err_name(err ? err : ERR_CHANGED));
}

/* Those that were left at their numbers. */
static void remove_rest(const struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        char number[NUMBER_SIZE];
        if (group->items[i].at_place && !group->items[i].same_was_there)
            continue;
        format_number(group->items[i].written, number);
        (void)unlinkat(group->lander->folder.fd, number, 0);
    }
}

/* The library and the state hear of those at their places. */
static void record(struct group *group)
{
    struct job *job = group->lander->job;
    struct landed *landed = calloc(group->count + 1, sizeof *landed);
    size_t count = 0;
    for (size_t i = 0; landed && i < group->count; i++)
        if (group->items[i].at_place)
            landed[count++] = group->items[i].landed;
    enum err err = landed ? library_add_landed(job->options->library, landed, count) : ERR_NOMEM;
    free(landed);
    if (err)
        log_warn("%s: %zu files were downloaded, but that cannot be recorded: %s", job->title, count, err_name(err));
    for (size_t i = 0; i < group->count; i++)
        if (group->items[i].at_place)
            job_settle(job, group->items[i].written->file, JOB_FILE_DONE, false);
    group->lander->untold = true;
}

static int by_name(const void *a, const void *b)
{
    const struct landing *one = a, *other = b;
    return strcmp(one->name, other->name);
}

/* Fills in one; false where it takes no name (any more), or memory ran out. */
static bool prepare(const struct lander *lander, struct written *written, struct landing *ret)
{
    struct job *job = lander->job;
    char name[NAME_SIZE_MAX + 1];
    pthread_mutex_lock(&job->lock);
    const struct job_file *file = job_files_get(&job->files, written->file);
    bool wanted = file->state == JOB_FILE_OPEN;
    pthread_mutex_unlock(&job->lock);
    *ret = (struct landing){.written = written};
    if (!wanted || !job_relative(job, file, name))
        return false;
    ret->name = strdup(name);
    if (!ret->name || asprintf(&ret->path, "%s/%s", job->root, name) < 0) {
        free(ret->name);
        job_fail(job, ERR_NOMEM, "out of memory");
        return false;
    }
    ret->landed = (struct landed){.path = ret->path,
                                  .name = ret->name,
                                  .hashed = {.content = file->content,
                                             .chunk_size = BLOCK_SIZE,
                                             .layer = written->layer_count > 0 ? written->layer : NULL,
                                             .count = written->layer_count}};
    return true;
}

static void free_group(struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        free(group->items[i].name);
        free(group->items[i].path);
    }
    free(group->items);
}

/* Gives its files their names. */
static void land(struct lander *lander, struct written *first)
{
    struct group group = {.lander = lander, .items = calloc(GROUP_MAX, sizeof *group.items)};
    struct job *job = lander->job;
    char number[NUMBER_SIZE];
    for (struct written *written = first; group.items && written; written = written->next) {
        if (prepare(lander, written, &group.items[group.count])) {
            group.count++;
        } else {
            format_number(written, number);
            (void)unlinkat(lander->folder.fd, number, 0);
        }
    }
    enum err err = group.items ? ERR_OK : ERR_NOMEM;
    if (!err && group.count > 0)
        err = sync_bytes(&group);
    if (err) {
        job_fail(job, err, "the files cannot be brought to the disk: %s", err_name(err));
        free_group(&group);
        return;
    }
    qsort(group.items, group.count, sizeof *group.items, by_name);
    for (size_t i = 0; i < group.count; i++)
        rename_one(&group, &group.items[i]);
    sync_folders(&group);
    remove_rest(&group);
    record(&group);
    free_group(&group);
}

/* ---- the thread ---- */

static void free_written(struct written *written)
{
    while (written) {
        struct written *next = written->next;
        free(written);
        written = next;
    }
}

/* Before the job is sealed nothing is given its name. */
static bool is_due(const struct lander *lander, uint64_t now_ms)
{
    if (lander->waiting == 0)
        return false;
    if (lander->waiting < GROUP_MAX && !lander->hurry && now_ms < lander->since_ms + GROUP_MS)
        return false;
    struct job *job = lander->job;
    pthread_mutex_lock(&job->lock);
    bool sealed = job->sealed;
    pthread_mutex_unlock(&job->lock);
    return sealed;
}

/* The first of those that wait, as many as make a group; the lock is held. */
static struct written *take_group(struct lander *lander)
{
    struct written *group = lander->first, **end = &group;
    size_t count = 0;
    while (*end && count < GROUP_MAX) {
        end = &(*end)->next;
        count++;
    }
    lander->first = *end;
    *end = NULL;
    if (!lander->first)
        lander->last = &lander->first;
    lander->waiting -= count;
    lander->since_ms = timing_now_ms();
    return group;
}

static void tell(struct lander *lander, bool now)
{
    uint64_t now_ms = timing_now_ms();
    if (!lander->untold || (!now && now_ms - lander->told_ms < TELL_MS))
        return;
    lander->untold = false;
    lander->told_ms = now_ms;
    library_tell(lander->job->options->library);
}

static void *run(void *context)
{
    struct lander *lander = context;
    pthread_mutex_lock(&lander->lock);
    while (!lander->stop) {
        if (!is_due(lander, timing_now_ms())) {
            (void)timing_wait(&lander->changed, &lander->lock, lander->waiting > 0 ? GROUP_MS / 4 : TELL_MS);
            continue;
        }
        struct written *group = take_group(lander);
        pthread_mutex_unlock(&lander->lock);
        land(lander, group);
        free_written(group);
        tell(lander, false);
        pthread_mutex_lock(&lander->lock);
    }
    pthread_mutex_unlock(&lander->lock);
    tell(lander, true);
    return NULL;
}

/* ---- the contract ---- */

enum err lander_start(struct job *job, struct lander **ret, struct why *why)
{
    struct lander *lander = calloc(1, sizeof *lander);
    if (!lander)
        return why_set(why, ERR_NOMEM, "out of memory");
    lander->job = job;
    lander->last = &lander->first;
    lander->told_ms = timing_now_ms();
    pthread_mutex_init(&lander->lock, NULL);
    timing_condition_init(&lander->changed);
    enum err err = job_folder_make(job->options->state, job->elsewhere ? job->root : NULL, &lander->folder, why);
    if (!err && pthread_create(&lander->thread, NULL, run, lander) != 0)
        err = why_set(why, ERR_NOMEM, "no thread could be started");
    lander->has_thread = !err;
    if (err) {
        lander_stop(lander);
        return err;
    }
    *ret = lander;
    return ERR_OK;
}

void lander_stop(struct lander *lander)
{
    if (!lander)
        return;
    pthread_mutex_lock(&lander->lock);
    lander->stop = true;
    pthread_cond_signal(&lander->changed);
    pthread_mutex_unlock(&lander->lock);
    if (lander->has_thread)
        (void)pthread_join(lander->thread, NULL);
    job_folder_remove(&lander->folder);
    free_written(lander->first);
    pthread_cond_destroy(&lander->changed);
    pthread_mutex_destroy(&lander->lock);
    free(lander);
}

/* Chooses the folder of the next file. */
static enum err choose_group(struct lander *lander)
{
    char number[NUMBER_SIZE];
    if (lander->in_group > 0 && lander->in_group < GROUP_MAX) {
        lander->in_group++;
        return ERR_OK;
    }
    lander->group++;
    lander->in_group = 1;
    snprintf(number, sizeof number, "%u", lander->group);
    return mkdirat(lander->folder.fd, number, 0700) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err write_file(const struct lander *lander, const struct written *written, const uint8_t *bytes,
                           uint64_t length)
{
    char number[NUMBER_SIZE];
    format_number(written, number);
    int fd = openat(lander->folder.fd, number, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_from_errno(errno);
    enum err err = files_write_at(fd, bytes, (size_t)length, 0);
    if (close(fd) != 0 && !err)
        err = err_from_errno(errno);
    if (err)
        (void)unlinkat(lander->folder.fd, number, 0);
    return err;
}

enum err lander_write(struct lander *lander, uint32_t file, const uint8_t *bytes, const uint8_t *layer,
                      size_t layer_count)
{
    struct job *job = lander->job;
    pthread_mutex_lock(&job->lock);
    const struct job_file *wanted = job_files_get(&job->files, file);
    bool is_open = wanted->state == JOB_FILE_OPEN;
    uint64_t size = wanted->content.size;
    pthread_mutex_unlock(&job->lock);
    if (!is_open)
        return ERR_OK;
    enum err err = choose_group(lander);
    if (err)
        return err;
    struct written *written = malloc(sizeof *written + layer_count * HASH_SIZE);
    if (!written)
        return ERR_NOMEM;
    *written = (struct written){.file = file, .group = lander->group, .layer_count = layer_count};
    if (layer_count > 0)
        memcpy(written->layer, layer, layer_count * HASH_SIZE);
    err = write_file(lander, written, bytes, size);
    if (err) {
        free(written);
        return err;
    }
    pthread_mutex_lock(&lander->lock);
    if (lander->waiting++ == 0)
        lander->since_ms = timing_now_ms();
    *lander->last = written;
    lander->last = &written->next;
    lander->hurry = false;
    if (lander->waiting == 1 || lander->waiting == GROUP_MAX)
        pthread_cond_signal(&lander->changed);
    pthread_mutex_unlock(&lander->lock);
    return ERR_OK;
}

bool lander_is_full(struct lander *lander)
{
    pthread_mutex_lock(&lander->lock);
    bool is_full = lander->waiting >= WAITING_MAX;
    pthread_mutex_unlock(&lander->lock);
    return is_full;
}

void lander_hurry(struct lander *lander)
{
    pthread_mutex_lock(&lander->lock);
    lander->hurry = true;
    if (lander->waiting > 0)
        pthread_cond_signal(&lander->changed);
    pthread_mutex_unlock(&lander->lock);
}
