/*
 * The watcher: one thread that looks at the folder and records what changed.  The kernel tells it of names (inotify), others
 * ask it to look at some (sync_look()), and now and then it looks at all, in case something was missed.
 */
#include "files.h"
#include "limits.h"
#include "log.h"
#include "sync_disk.h"
#include "sync_home.h"
#include "sync_inotify.h"
#include "sync_large.h"
#include "sync_queue.h"
#include "sync_record.h"
#include "sync_scan.h"
#include "timing.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Events of a moment are looked at together: a rename is two, a file that is saved several. */
#define GATHER_MS 20u
/* A file that is being written is looked at so often; when it is closed, at once. */
#define WRITTEN_MS 1000u
/* How often all is looked at: a scan may be so small a part of the time. */
#define SCAN_EVERY_MS 60000u
#define SCAN_SHARE 200u
/* The same where the kernel does not tell. */
#define BLIND_EVERY_MS 3000u
#define BLIND_SHARE 50u
/* How often one looks whether a folder that is away is back. */
#define RETURN_EVERY_MS 2000u
#define TAKE_MAX 1000u

struct sync_watch {
    struct sync *sync;
    pthread_t thread;
    bool runs;
    int wake_fd;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t turned;
    struct sync_queue *queue;
    bool all;                 /* all is to be looked at */
    uint64_t asked, answered; /* turns of the thread that somebody waits for */
    size_t busy;              /* names that were taken from the queue and are being looked at */

    /* its thread's alone */
    struct sync_inotify *inotify; /* NULL: there is none */
    struct sync_record *record;
    struct sync_large *large;
    struct sync_scan scan;
    bool blind;   /* not all folders are watched */
    bool in_tick; /* names are being looked at in the middle of a scan */
    bool lost;    /* something was missed since the last scan began */
    bool home;    /* whether the folder is at home has to be asked */
    uint64_t next_scan_ms;
    struct stamp ignore_stamp;
};

/* ---- any thread ---- */

static void wake(struct sync_watch *watch)
{
    uint64_t one = 1;
    while (write(watch->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void add(struct sync_watch *watch, const char *name, uint64_t delay_ms)
{
    pthread_mutex_lock(&watch->lock);
    if (sync_queue_add(watch->queue, name, timing_now_ms() + delay_ms)) {
        sync_queue_clear(watch->queue);
        watch->all = true;
    }
    pthread_mutex_unlock(&watch->lock);
}

void sync_look(struct sync *sync, const char *name)
{
    if (!sync->watch)
        return; /* it will begin with a look at all */
    add(sync->watch, name, 0);
    wake(sync->watch);
}

void sync_look_at_all(struct sync *sync)
{
    pthread_mutex_lock(&sync->watch->lock);
    sync->watch->all = true;
    pthread_mutex_unlock(&sync->watch->lock);
    wake(sync->watch);
}

size_t sync_watch_waiting(struct sync *sync)
{
    struct sync_watch *watch = sync->watch;
    pthread_mutex_lock(&watch->lock);
    size_t count = sync_queue_count(watch->queue) + watch->busy;
    pthread_mutex_unlock(&watch->lock);
    return count + sync_large_count(watch->large);
}

void sync_watch_settle(struct sync *sync, uint64_t timeout_ms)
{
    struct sync_watch *watch = sync->watch;
    uint64_t until_ms = timing_now_ms() + timeout_ms;
    pthread_mutex_lock(&watch->lock);
    uint64_t mine = ++watch->asked;
    wake(watch);
    while (watch->answered < mine && !atomic_load(&sync->stop)) {
        uint64_t now_ms = timing_now_ms();
        if (now_ms >= until_ms)
            break;
        (void)timing_wait(&watch->turned, &watch->lock, until_ms - now_ms);
    }
    pthread_mutex_unlock(&watch->lock);
}

/* ---- .enxameignore ---- */

static void tell_of_line(void *context, size_t line, const char *reason)
{
    const struct sync *sync = context;
    log_warn("%s/" SYNC_IGNORE_NAME ", line %zu: %s", sync->path, line, reason);
}

static enum err read_ignore(struct sync *sync, int fd, size_t size, struct ignore **ret)
{
    char *text = malloc(size + 1);
    enum err err = text ? files_read_at(fd, text, size, 0) : ERR_NOMEM;
    if (!err)
        err = ignore_parse(text, size, tell_of_line, sync, ret);
    free(text);
    return err;
}

/* Reads it where it is another one than before; true where it was. */
static bool take_ignore(struct sync_watch *watch)
{
    struct sync *sync = watch->sync;
    struct ignore *ignore = NULL;
    struct stamp stamp = {0};
    int fd;
    enum err err = sync_disk_open_file(sync->folder_fd, SYNC_IGNORE_NAME, &fd);
    if (!err) {
        err = stamp_read(fd, &stamp);
        bool changed = !stamp_equal(&stamp, &watch->ignore_stamp);
        if (!err && changed)
            err = stamp.size > IGNORE_SIZE_MAX ? ERR_TOO_LARGE : read_ignore(sync, fd, (size_t)stamp.size, &ignore);
        close(fd);
        if (!err && !changed)
            return false;
    } else if (err == ERR_NOT_FOUND) {
        err = watch->ignore_stamp.inode == 0 ? ERR_CHANGED : ERR_OK;
    }
    if (err == ERR_CHANGED)
        return false;
    if (err) {
        log_warn("%s/" SYNC_IGNORE_NAME ": %s; what it said before holds", sync->path, err_name(err));
        watch->ignore_stamp = stamp;
        return false;
    }
    watch->ignore_stamp = stamp;
    pthread_mutex_lock(&sync->folder);
    struct ignore *old = sync->ignore;
    sync->ignore = ignore;
    pthread_mutex_unlock(&sync->folder);
    ignore_free(old);
    return true;
}

/* ---- what the kernel tells ---- */

static void on_event(void *context, const char *name, enum sync_event event)
{
    struct sync_watch *watch = context;
    switch (event) {
    case SYNC_EVENT_CHANGED:
        add(watch, name, 0);
        break;
    case SYNC_EVENT_WRITTEN:
        add(watch, name, WRITTEN_MS);
        break;
    case SYNC_EVENT_LOST:
        log_info("sync of %s: more changed at once than the kernel remembers; all is looked at", watch->sync->path);
        watch->lost = true;
        break;
    case SYNC_EVENT_HOME:
        watch->home = true;
        break;
    }
}

static void read_events(struct sync_watch *watch)
{
    if (watch->inotify)
        sync_inotify_read(watch->inotify, on_event, watch);
}

/* Before a folder is read: what happens in it from now on is told. */
static void on_enter(void *context, const char *name, int folder_fd)
{
    struct sync_watch *watch = context;
    struct sync *sync = watch->sync;
    char text[512];
    enum err err = watch->inotify ? sync_inotify_add(watch->inotify, name, folder_fd) : ERR_NOSPACE;
    if (!err)
        return;
    if (!watch->blind && sync->note.text[0] == '\0') {
        snprintf(text, sizeof text,
                 "%s, so not all changes are seen at once; all is looked at every few seconds instead.  "
                 "Raise fs.inotify.max_user_%s with sysctl",
                 watch->inotify ? "there are more folders than the kernel will watch"
                                : "the kernel watches no more folders",
                 watch->inotify ? "watches" : "instances");
        log_warn("sync of %s: %s", sync->path, text);
        sync_set_note(sync, text);
    }
    watch->blind = true;
}

/* ---- looking ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Looks at names that are due; true where there were any. */
static bool look_at_due(struct sync_watch *watch)
{
    char **names = calloc(TAKE_MAX, sizeof *names);
    enum err err = ERR_OK;
    size_t count = 0;
    if (!names)
        return false;
    pthread_mutex_lock(&watch->lock);
    count = sync_queue_take(watch->queue, timing_now_ms(), names, TAKE_MAX);
    watch->busy += count;
    pthread_mutex_unlock(&watch->lock);
    /* A folder before what lies in it. */
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], SYNC_IGNORE_NAME) == 0 && take_ignore(watch))
            sync_look_at_all(watch->sync);
        if (!err)
            err = sync_scan_name(&watch->scan, names[i]);
    }
    if (!err && count > 0)
        err = sync_record_flush(watch->record);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    pthread_mutex_lock(&watch->lock);
    watch->busy -= count;
    watch->all = watch->all || (err && err != ERR_CANCELLED);
    pthread_mutex_unlock(&watch->lock);
    if (count > 0)
        sync_wake(watch->sync);
    return count > 0;
}

/* In the middle of a long scan what changes now is not left to wait for its end. */
static bool on_tick(void *context)
{
    struct sync_watch *watch = context;
    if (atomic_load(&watch->sync->stop) || sync_rests(watch->sync))
        return true;
    if (watch->in_tick)
        return false;
    watch->in_tick = true;
    read_events(watch);
    (void)look_at_due(watch);
    watch->in_tick = false;
    return false;
}

static bool is_at_home(struct sync *sync)
{
    pthread_mutex_lock(&sync->folder);
    bool at_home = sync_is_at_home(sync);
    pthread_mutex_unlock(&sync->folder);
    return at_home;
}

static int64_t file_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void plan_next(struct sync_watch *watch, uint64_t began_ms)
{
    uint64_t now_ms = timing_now_ms(), took_ms = now_ms - began_ms;
    uint64_t every_ms = watch->blind ? BLIND_EVERY_MS : SCAN_EVERY_MS;
    uint64_t share = watch->blind ? BLIND_SHARE : SCAN_SHARE;
    watch->next_scan_ms = now_ms + (took_ms * share > every_ms ? took_ms * share : every_ms);
}

static void say_how_it_went(struct sync_watch *watch, enum err err)
{
    struct sync *sync = watch->sync;
    char text[128] = "";
    if (err && err != ERR_CANCELLED)
        snprintf(text, sizeof text, "not all could be looked at: %s; it is tried again", err_name(err));
    if (text[0] != '\0' && strcmp(text, sync->note.text) != 0)
        log_warn("sync of %s: %s", sync->path, text);
    if (text[0] != '\0' || !watch->blind)
        sync_set_note(sync, text);
}

/* Looks at all; true where that came to its end. */
static bool look_at_all(struct sync_watch *watch)
{
    struct sync *sync = watch->sync;
    struct stat status;
    uint64_t began_ms = timing_now_ms();
    int64_t began_ns = file_clock_ns();
    bool was_blind = watch->blind, was_lost = watch->lost;
    (void)take_ignore(watch);
    pthread_mutex_lock(&watch->lock);
    watch->all = false;
    pthread_mutex_unlock(&watch->lock);
    watch->lost = watch->blind = watch->home = false;
    if (!is_at_home(sync) || fstat(sync->folder_fd, &status))
        return false;
    watch->scan.device = status.st_dev;
    watch->scan.entries = 0;
    if (was_lost || was_blind || watch->scan.watched_since_ns == INT64_MAX)
        watch->scan.watched_since_ns = INT64_MAX;
    /* Before anything of others is put into place all is hashed. */
    bool looking = sync_current_state(sync) == SYNC_LOOKING;
    sync_record_leave_large(watch->record, looking ? NULL : watch->large);
    enum err err = sync_scan_folder(&watch->scan, "");
    enum err kept = sync_record_flush(watch->record);
    err = err ? err : kept;
    sync_record_leave_large(watch->record, watch->large);
    if (watch->blind)
        watch->scan.watched_since_ns = INT64_MAX;
    else if (watch->scan.watched_since_ns == INT64_MAX)
        watch->scan.watched_since_ns = began_ns;
    say_how_it_went(watch, err);
    plan_next(watch, began_ms);
    log_debug("sync of %s: looked at %llu entries in %llu ms: %s", sync->path, (unsigned long long)watch->scan.entries,
              (unsigned long long)(timing_now_ms() - began_ms), err_name(err));
    malloc_trim(0);
    return !err;
}

/* ---- the thread ---- */

/* A turn that began when so many were asked for is over. */
static void answer(struct sync_watch *watch, uint64_t asked)
{
    pthread_mutex_lock(&watch->lock);
    watch->answered = asked;
    pthread_cond_broadcast(&watch->turned);
    pthread_mutex_unlock(&watch->lock);
}

static uint64_t asked_turns(struct sync_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    uint64_t asked = watch->asked;
    pthread_mutex_unlock(&watch->lock);
    return asked;
}

/* Until something is told, asked or due. */
static void wait_for_news(struct sync_watch *watch, uint64_t wait_ms)
{
    struct pollfd fds[2] = {{.fd = watch->wake_fd, .events = POLLIN},
                            {.fd = watch->inotify ? sync_inotify_fd(watch->inotify) : -1, .events = POLLIN}};
    uint64_t count;
    int timeout_ms = wait_ms > 60000 ? 60000 : (int)wait_ms;
    if (poll(fds, 2, timeout_ms) > 0 && fds[0].revents == 0)
        (void)poll(fds, 1, GATHER_MS); /* only events: more will come */
    while (read(watch->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

static uint64_t next_due_ms(struct sync_watch *watch)
{
    uint64_t due_ms;
    pthread_mutex_lock(&watch->lock);
    bool any = sync_queue_next(watch->queue, &due_ms);
    bool now = watch->all || watch->asked > watch->answered;
    pthread_mutex_unlock(&watch->lock);
    if (now)
        return 0;
    return any && due_ms < watch->next_scan_ms ? due_ms : watch->next_scan_ms;
}

/* The folder is away: looks for it.  Or the user wants a pause: what is told meanwhile is seen by the scan at its end. */
static bool rests(struct sync_watch *watch)
{
    struct sync *sync = watch->sync;
    uint64_t asked = asked_turns(watch);
    if (sync_current_state(sync) == SYNC_STOPPED) {
        sync_inotify_free(watch->inotify);
        watch->inotify = NULL;
        watch->scan.watched_since_ns = INT64_MAX;
        if (!sync_home_return(sync)) {
            answer(watch, asked);
            wait_for_news(watch, RETURN_EVERY_MS);
            return true;
        }
        (void)sync_inotify_new(&watch->inotify);
    }
    if (!sync_rests(sync))
        return false;
    answer(watch, asked);
    wait_for_news(watch, SCAN_EVERY_MS);
    read_events(watch);
    return true;
}

static void take_turn(struct sync_watch *watch)
{
    struct sync *sync = watch->sync;
    uint64_t now_ms = timing_now_ms(), due_ms = next_due_ms(watch);
    bool looking = sync_current_state(sync) == SYNC_LOOKING;
    if (!looking)
        wait_for_news(watch, due_ms > now_ms ? due_ms - now_ms : 0);
    pthread_mutex_lock(&watch->lock);
    uint64_t asked = watch->asked;
    bool all = watch->all || looking;
    pthread_mutex_unlock(&watch->lock);
    read_events(watch);
    if (watch->home && !is_at_home(sync))
        return;
    watch->home = false;
    if (all || watch->lost || timing_now_ms() >= watch->next_scan_ms) {
        bool ended = look_at_all(watch);
        if (ended && sync_home_joined(sync) == ERR_OK && looking && sync_current_state(sync) == SYNC_LOOKING)
            sync_set_state(sync, SYNC_RUNNING, NULL);
        else if (!ended && looking && !sync_rests(sync))
            wait_for_news(watch, RETURN_EVERY_MS);
    }
    while (look_at_due(watch) && !atomic_load(&sync->stop) && !sync_rests(sync))
        ;
    answer(watch, asked);
}

static void *run(void *argument)
{
    struct sync_watch *watch = argument;
    while (!atomic_load(&watch->sync->stop))
        if (!rests(watch))
            take_turn(watch);
    return NULL;
}

/* ---- start and end ---- */

static void later(void *context, const char *name, uint64_t delay_ms)
{
    add(context, name, delay_ms);
}

enum err sync_watch_start(struct sync *sync)
{
    struct sync_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return ERR_NOMEM;
    sync->watch = watch;
    watch->sync = sync;
    pthread_mutex_init(&watch->lock, NULL);
    (void)timing_condition_init(&watch->turned);
    watch->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watch->queue = sync_queue_new();
    enum err err = sync_record_new(sync, later, watch, &watch->record);
    if (watch->wake_fd < 0 || !watch->queue || err)
        return ERR_NOMEM;
    err = sync_large_start(sync, later, watch, &watch->large);
    if (err)
        return err;
    (void)sync_inotify_new(&watch->inotify);
    watch->scan = (struct sync_scan){.sync = sync,
                                     .record = watch->record,
                                     .enter = on_enter,
                                     .tick = on_tick,
                                     .context = watch,
                                     .watched_since_ns = INT64_MAX};
    if (pthread_create(&watch->thread, NULL, run, watch) != 0)
        return ERR_NOMEM;
    watch->runs = true;
    return ERR_OK;
}

void sync_watch_stop(struct sync *sync)
{
    struct sync_watch *watch = sync->watch;
    if (!watch)
        return;
    sync_large_stop(watch->large);
    if (!watch->runs)
        return;
    wake(watch);
    (void)pthread_join(watch->thread, NULL);
    watch->runs = false;
    pthread_mutex_lock(&watch->lock);
    pthread_cond_broadcast(&watch->turned);
    pthread_mutex_unlock(&watch->lock);
}

void sync_watch_free(struct sync_watch *watch)
{
    if (!watch)
        return;
    sync_inotify_free(watch->inotify);
    sync_large_free(watch->large);
    sync_record_free(watch->record);
    sync_queue_free(watch->queue);
    if (watch->wake_fd >= 0)
        close(watch->wake_fd);
    pthread_cond_destroy(&watch->turned);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}
