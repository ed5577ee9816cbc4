/* The folder as a whole: whether it is the one that the index knows, what state its sync is in, and who is told. */
#include "sync_internal.h"

#include "files.h"
#include "log.h"
#include "sync_home.h"
#include "timing.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* After the disk or the trash was full. */
#define RETRY_MS 10000u
#define WAIT_SLICE_MS 100u
/* How long a user waits for the watcher to look at what changed just now. */
#define SETTLE_MS 1000u

const char *sync_state_name(enum sync_state state)
{
    static const char *const names[] = {[SYNC_LOOKING] = "looking at the folder",
                                        [SYNC_RUNNING] = "running",
                                        [SYNC_HELD] = "held",
                                        [SYNC_PAUSED] = "paused",
                                        [SYNC_STOPPED] = "stopped"};
    return names[state];
}

/* ---- what others wait for ---- */

void sync_wake(struct sync *sync)
{
    pthread_mutex_lock(&sync->lock);
    sync->changes++;
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
}

void sync_tell(struct sync *sync)
{
    pthread_mutex_lock(&sync->news_lock);
    if (sync->news)
        sync->news(sync->news_context);
    pthread_mutex_unlock(&sync->news_lock);
    sync_wake(sync);
}

void sync_set_news(struct sync *sync, void (*news)(void *context), void *context)
{
    pthread_mutex_lock(&sync->news_lock);
    sync->news = news;
    sync->news_context = context;
    pthread_mutex_unlock(&sync->news_lock);
}

/* `lock` is held. */
static void set_state(struct sync *sync, enum sync_state state)
{
    if (sync->state == state)
        return;
    log_debug("sync of %s: %s, after %s", sync->path, sync_state_name(state), sync_state_name(sync->state));
    sync->state = state;
    sync->changes++;
    pthread_cond_broadcast(&sync->changed);
}

/* `lock` is held. */
static void end_hold(struct sync *sync)
{
    if (sync->state == SYNC_HELD && timing_now_ms() >= sync->retry_ms)
        set_state(sync, SYNC_RUNNING);
}

uint64_t sync_wait(struct sync *sync, uint64_t seen, uint64_t timeout_ms)
{
    uint64_t until_ms = timing_now_ms() + timeout_ms;
    pthread_mutex_lock(&sync->lock);
    while (sync->changes == seen && !atomic_load(&sync->stop)) {
        uint64_t now_ms = timing_now_ms(), end_ms = until_ms;
        end_hold(sync);
        if (sync->changes != seen || now_ms >= until_ms)
            break;
        if (sync->state == SYNC_HELD && sync->retry_ms < end_ms)
            end_ms = sync->retry_ms;
        (void)timing_wait(&sync->changed, &sync->lock, end_ms > now_ms ? end_ms - now_ms : 0);
    }
    uint64_t changes = sync->changes;
    pthread_mutex_unlock(&sync->lock);
    return changes;
}

/* ---- states ---- */

bool sync_may_apply(struct sync *sync)
{
    pthread_mutex_lock(&sync->lock);
    end_hold(sync);
    bool may = sync->state == SYNC_RUNNING && !sync->paused;
    pthread_mutex_unlock(&sync->lock);
    return may && !atomic_load(&sync->stop);
}

void sync_hold(struct sync *sync, const struct why *why)
{
    pthread_mutex_lock(&sync->lock);
    bool holds = sync->state == SYNC_RUNNING || sync->state == SYNC_HELD;
    bool is_news = holds && strcmp(sync->held.text, why->text) != 0;
    if (holds) {
        sync->held = *why;
        sync->retry_ms = timing_now_ms() + RETRY_MS;
        set_state(sync, SYNC_HELD);
    }
    pthread_mutex_unlock(&sync->lock);
    if (is_news)
        log_error("sync of %s waits: %s", sync->path, why->text);
}

void sync_go_on(struct sync *sync)
{
    pthread_mutex_lock(&sync->lock);
    bool was_held = sync->held.text[0] != '\0';
    sync->held.text[0] = '\0';
    if (sync->state == SYNC_HELD)
        set_state(sync, SYNC_RUNNING);
    pthread_mutex_unlock(&sync->lock);
    if (was_held)
        log_info("sync of %s goes on", sync->path);
}

void sync_set_state(struct sync *sync, enum sync_state state, const struct why *why)
{
    pthread_mutex_lock(&sync->lock);
    bool stops = state == SYNC_STOPPED && sync->state != SYNC_STOPPED;
    bool returns = sync->state == SYNC_STOPPED && state != SYNC_STOPPED;
    if (why)
        sync->why = *why;
    set_state(sync, state);
    pthread_mutex_unlock(&sync->lock);
    if (stops && why)
        log_error("sync of %s stopped: %s", sync->path, why->text);
    if (returns)
        log_info("sync of %s goes on: the folder is back", sync->path);
}

enum sync_state sync_current_state(struct sync *sync)
{
    pthread_mutex_lock(&sync->lock);
    enum sync_state state = sync->state;
    pthread_mutex_unlock(&sync->lock);
    return state;
}

void sync_pause(struct sync *sync, bool paused)
{
    pthread_mutex_lock(&sync->lock);
    bool changes = sync->paused != paused;
    sync->paused = paused;
    if (changes && paused && sync->state != SYNC_STOPPED)
        set_state(sync, SYNC_PAUSED);
    if (changes && !paused && sync->state == SYNC_PAUSED)
        set_state(sync, SYNC_LOOKING);
    pthread_mutex_unlock(&sync->lock);
    if (changes) {
        log_info("sync of %s %s", sync->path, paused ? "is paused" : "goes on");
        sync_look_at_all(sync);
    }
}

bool sync_rests(struct sync *sync)
{
    pthread_mutex_lock(&sync->lock);
    bool paused = sync->paused;
    if (paused && sync->state != SYNC_STOPPED)
        set_state(sync, SYNC_PAUSED);
    pthread_mutex_unlock(&sync->lock);
    return paused;
}

void sync_set_note(struct sync *sync, const char *text)
{
    pthread_mutex_lock(&sync->lock);
    snprintf(sync->note.text, sizeof sync->note.text, "%s", text);
    pthread_mutex_unlock(&sync->lock);
}

void sync_note_change(struct sync *sync, const struct sync_entry *entry, const uint8_t *source)
{
    pthread_mutex_lock(&sync->lock);
    struct sync_change *last = &sync->last;
    snprintf(last->name, sizeof last->name, "%s", entry->name);
    last->kind = entry->kind;
    last->is_local = source == NULL;
    memset(last->source, 0, sizeof last->source);
    if (source)
        memcpy(last->source, source, sizeof last->source);
    last->at_s = (int64_t)time(NULL);
    pthread_mutex_unlock(&sync->lock);
}

/* ---- what users ask ---- */

void sync_report(struct sync *sync, struct sync_report *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->changed = sync_watch_waiting(sync);
    ret->unread = atomic_load(&sync->unread);
    if (index_totals(sync->index, &ret->totals) || index_trash_bytes(sync->index, &ret->trash_bytes))
        log_warn("sync of %s: its index cannot be read", sync->path);
    pthread_mutex_lock(&sync->lock);
    end_hold(sync);
    ret->state = sync->state;
    snprintf(ret->path, sizeof ret->path, "%s", sync->path);
    ret->last = sync->last;
    if (ret->state == SYNC_STOPPED)
        ret->why = sync->why;
    else if (sync->held.text[0] != '\0')
        ret->why = sync->held;
    else
        ret->why = sync->note;
    pthread_mutex_unlock(&sync->lock);
    ret->is_current = ret->state == SYNC_RUNNING && ret->totals.pending == 0 && ret->changed == 0 && ret->unread == 0;
}

void sync_wait_current(struct sync *sync, uint64_t timeout_ms, const atomic_bool *interrupted, struct sync_report *ret)
{
    uint64_t until_ms = timing_now_ms() + timeout_ms, seen = 0;
    sync_watch_settle(sync, timeout_ms < SETTLE_MS ? timeout_ms : SETTLE_MS);
    for (;;) {
        sync_report(sync, ret);
        uint64_t now_ms = timing_now_ms();
        if (ret->is_current || ret->state == SYNC_PAUSED || ret->state == SYNC_STOPPED || now_ms >= until_ms ||
            atomic_load(interrupted) || atomic_load(&sync->stop))
            return;
        uint64_t left_ms = until_ms - now_ms;
        seen = sync_wait(sync, seen, left_ms < WAIT_SLICE_MS ? left_ms : WAIT_SLICE_MS);
    }
}

enum err sync_list_trash(struct sync *sync, const char *name, uint64_t after, size_t limit, struct sync_trash **ret,
                         size_t *ret_count)
{
    return index_list_trash(sync->index, name, after, limit, ret, ret_count);
}

/* ---- versions ---- */

char *sync_absolute(const struct sync *sync, const char *name)
{
    char *path = NULL;
    if (name[0] == '\0')
        return strdup(sync->path);
    return asprintf(&path, "%s/%s", sync->path, name) < 0 ? NULL : path;
}

enum err sync_edit(struct sync *sync, struct version *version)
{
    uint64_t now = 0, clock = atomic_load(&sync->joining) ? 0 : lamport_now(sync->options.clock);
    enum err err = version_edit(version, sync->author, clock);
    if (!err && version->time > clock && !atomic_load(&sync->joining))
        (void)lamport_receive(sync->options.clock, version->time, &now);
    return err;
}

void sync_make_author(struct sync *sync)
{
    uint64_t epoch = index_epoch(sync->index);
    memcpy(sync->author, state_identity(sync->options.state)->id, HASH_SIZE);
    for (size_t i = 0; i < sizeof epoch; i++)
        sync->author[HASH_SIZE - 1 - i] = (uint8_t)(epoch >> (8 * i));
}

/* ---- start and end ---- */

static enum err open_index(struct sync *sync, struct why *why)
{
    char digits[9], *path = NULL;
    sync_home_digits(sync->path, digits);
    if (asprintf(&path, "%s/.enxame/sync-%s.db", state_dir(sync->options.state), digits) < 0)
        return ERR_NOMEM;
    enum err err = index_open(path, &sync->index, why);
    free(path);
    if (err)
        return err;
    sync_make_author(sync);
    uint64_t largest = index_largest_counter(sync->index), now;
    if (largest > lamport_now(sync->options.clock))
        (void)lamport_receive(sync->options.clock, largest, &now);
    return ERR_OK;
}

static void free_all(struct sync *sync)
{
    sync_watch_free(sync->watch);
    index_close(sync->index);
    ignore_free(sync->ignore);
    sync_home_close(sync);
    pthread_cond_destroy(&sync->changed);
    pthread_mutex_destroy(&sync->lock);
    pthread_mutex_destroy(&sync->news_lock);
    pthread_mutex_destroy(&sync->folder);
    free(sync->path);
    free(sync);
}

/* Where the folder is away, that comes when it is back. */
static enum err settle(struct sync *sync, struct why *why)
{
    atomic_store(&sync->unsettled, true);
    return sync_current_state(sync) == SYNC_STOPPED ? ERR_OK : sync_settle(sync, why);
}

static void end_threads(struct sync *sync)
{
    atomic_store(&sync->stop, true);
    sync_wake(sync);
    sync_remote_stop(sync);
    if (sync->watch)
        sync_watch_stop(sync);
}

enum err sync_start(const struct sync_options *options, struct sync **ret, struct why *why)
{
    struct sync *sync = calloc(1, sizeof *sync);
    *ret = NULL;
    if (!sync)
        return ERR_NOMEM;
    sync->options = *options;
    sync->folder_fd = sync->lock_fd = -1;
    pthread_mutex_init(&sync->folder, NULL);
    pthread_mutex_init(&sync->news_lock, NULL);
    pthread_mutex_init(&sync->lock, NULL);
    (void)timing_condition_init(&sync->changed);
    sync->path = sync_home_path(options->path);
    enum err err = sync->path ? open_index(sync, why) : ERR_NOMEM;
    if (!err)
        err = sync_home_open(sync, why);
    if (!err)
        err = settle(sync, why);
    if (!err)
        err = sync_watch_start(sync);
    if (!err)
        err = sync_remote_start(sync, why);
    if (err) {
        end_threads(sync);
        free_all(sync);
        return err;
    }
    *ret = sync;
    return ERR_OK;
}

void sync_stop(struct sync *sync)
{
    if (!sync)
        return;
    end_threads(sync);
    free_all(sync);
}
