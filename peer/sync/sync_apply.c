/* The thread that takes what is pending, has its contents fetched, and puts it into place. */
#include "sync_apply_internal.h"

#include "neighbours.h"
#include "timing.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 256u
#define BUCKETS 4096u
/* Those in memory: each may have one content that is wanted. */
#define ITEMS_MAX_HELD SYNC_WANTS_MAX
/* How soon those that could not be put into place are tried again: at first, and at most. */
#define AGAIN_FIRST_MS 100u
#define AGAIN_MAX_MS 15000u
/* The trash is looked through for what is old. */
#define SWEEP_MS (3600u * 1000u)
/* Passes without progress after which what is in the way stays. */
#define STUCK_PASSES 4u
/* How often those that wait are compared with what is still pending. */
#define CHECK_MS 2000u

struct sync_apply {
    struct sync *sync;
    pthread_t thread;
    struct item *buckets[BUCKETS]; /* by number */
    struct item *first, **last;    /* in the order in which they were taken */
    size_t held, ready;
    uint64_t at;          /* numbers up to this one were looked at in this pass */
    bool at_end;          /* of what is pending */
    bool was_ended;       /* this pass */
    size_t left;          /* in this pass: left for the next one */
    bool progress;        /* something was put into place in this pass */
    bool hurry;           /* something new was left */
    unsigned idle_passes; /* in a row that put nothing into place */
    uint64_t newest;      /* the largest number that was ever looked at */
    size_t online;        /* neighbours at the last look */
    uint64_t checked_ms;
    uint64_t again_ms, again_at_ms;
    const struct ignore *ignore; /* as it was in this pass; only compared */
    uint64_t swept_ms;
    bool cleaned; /* what earlier runs fetched and nobody needs is gone */
};

/* ---- items ---- */

static struct item **bucket_of(struct sync_apply *apply, uint64_t number)
{
    return &apply->buckets[number % BUCKETS];
}

static bool is_held(struct sync_apply *apply, uint64_t number)
{
    const struct item *item = *bucket_of(apply, number);
    while (item && item->pending.number != number)
        item = item->bucket;
    return item != NULL;
}

/* Takes the pending entry over; NULL: out of memory. */
static struct item *item_new(struct sync_pending *pending)
{
    struct item *item = calloc(1, sizeof *item);
    if (!item)
        return NULL;
    item->pending = *pending;
    *pending = (struct sync_pending){0};
    return item;
}

static void item_free(struct item *item)
{
    sync_pending_free(&item->pending);
    hashed_free(&item->hashed);
    free(item);
}

static void hold(struct sync_apply *apply, struct item *item)
{
    struct item **bucket = bucket_of(apply, item->pending.number);
    item->bucket = *bucket;
    *bucket = item;
    item->next = NULL;
    *apply->last = item;
    apply->last = &item->next;
    apply->held++;
}

/* `link` leads to it in the list. */
static void let_go(struct sync_apply *apply, struct item **link)
{
    struct item *item = *link, **bucket = bucket_of(apply, item->pending.number);
    while (*bucket != item)
        bucket = &(*bucket)->bucket;
    *bucket = item->bucket;
    *link = item->next;
    if (!*link)
        apply->last = link;
    apply->held--;
    apply->ready -= item->ready;
}

static void set_ready(struct sync_apply *apply, struct item *item)
{
    item->ready = true;
    apply->ready++;
}

/* It stays pending, and is looked at again in another pass: soon, where it is new. */
static void leave(struct sync_apply *apply, struct item *item)
{
    apply->left++;
    if (item->is_new)
        apply->hurry = true;
    item_free(item);
}

static bool want(struct sync_apply *apply, const struct item *item)
{
    struct sync_want wanted = {.content = item->missing, .name = item->pending.entry.name};
    memcpy(wanted.source, item->pending.source, HASH_SIZE);
    return sync_fetch_want(apply->sync->remote->fetch, &wanted) == ERR_OK;
}

/* ---- what is pending ---- */

static bool is_ignored(struct sync_apply *apply, const struct sync_entry *entry)
{
    struct sync *sync = apply->sync;
    pthread_mutex_lock(&sync->folder);
    bool ignored = ignore_matches(sync->ignore, entry->name, entry->kind == SYNC_FOLDER);
    pthread_mutex_unlock(&sync->folder);
    return ignored;
}

static void take(struct sync_apply *apply, struct sync_pending *pending)
{
    if (is_held(apply, pending->number) || is_ignored(apply, &pending->entry))
        return;
    struct item *item = item_new(pending);
    if (!item) {
        apply->left++;
        return;
    }
    item->is_new = item->pending.number > apply->newest;
    item->outcome = plan_look(apply->sync, item);
    if (item->outcome == OUTCOME_DONE) {
        hold(apply, item);
        set_ready(apply, item);
    } else if (item->outcome == OUTCOME_MISSING && want(apply, item)) {
        hold(apply, item);
    } else {
        leave(apply, item);
    }
}

/* False where there is nothing more to take now. */
static bool take_page(struct sync_apply *apply)
{
    struct sync_pending *rows = NULL;
    size_t count = 0, room = ITEMS_MAX_HELD - apply->held;
    if (room == 0 || index_list_pending(apply->sync->index, apply->at, room < PAGE ? room : PAGE, &rows, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        apply->at = rows[i].number;
        take(apply, &rows[i]);
        if (apply->at > apply->newest)
            apply->newest = apply->at;
        sync_pending_free(&rows[i]);
    }
    free(rows);
    apply->at_end = count == 0;
    return count > 0;
}

static void take_got(struct sync_apply *apply)
{
    struct sync_got got;
    while (sync_fetch_take(apply->sync->remote->fetch, &got)) {
        for (struct item **link = &apply->first; *link;) {
            struct item *item = *link;
            if (item->ready || !content_equal(&item->missing, &got.content)) {
                link = &item->next;
            } else if (got.err) {
                let_go(apply, link);
                leave(apply, item);
            } else {
                hashed_free(&item->hashed); /* of another content, or of this one when it had to be fetched before */
                item->hashed = got.hashed;
                got.hashed = (struct hashed){0};
                set_ready(apply, item);
                link = &item->next;
            }
        }
        hashed_free(&got.hashed);
    }
}

/* ---- putting into place ---- */

static bool is_deletion(const struct item *item)
{
    return item->pending.entry.kind == SYNC_DELETED;
}

/* Takes those that are ready off the list: deletions, or all else. */
static size_t gather(struct sync_apply *apply, struct item **items, bool deletions)
{
    size_t count = 0;
    for (struct item **link = &apply->first; *link && count < GROUP_ITEMS_MAX;) {
        struct item *item = *link;
        if (!item->ready || is_deletion(item) != deletions) {
            link = &item->next;
            continue;
        }
        let_go(apply, link);
        item->ready = false;
        items[count++] = item;
    }
    return count;
}

static void finish(struct sync_apply *apply, struct item *item)
{
    if (item->outcome == OUTCOME_DONE) {
        apply->progress = true;
        item_free(item);
    } else if (item->outcome == OUTCOME_MISSING && want(apply, item)) {
        hold(apply, item);
    } else {
        leave(apply, item);
    }
}

static void put(struct sync_apply *apply, struct item **items, size_t count)
{
    size_t kept = 0;
    group_apply(apply->sync, items, count);
    /* Nothing else moves any more: what is in the way stays. */
    bool stuck = apply->idle_passes >= STUCK_PASSES && atomic_load(&apply->sync->unread) == 0;
    for (size_t i = 0; i < count && stuck; i++) {
        if (items[i]->outcome != OUTCOME_BUSY)
            continue;
        struct item *busy = items[i];
        items[i] = items[kept];
        items[kept++] = busy;
        busy->keeps_folder = true;
    }
    if (kept > 0)
        group_apply(apply->sync, items, kept);
    for (size_t i = 0; i < count; i++)
        finish(apply, items[i]);
}

static bool may_go_on(struct sync_apply *apply)
{
    struct sync *sync = apply->sync;
    struct why why;
    if (!sync_may_apply(sync))
        return false;
    if (!atomic_load(&sync->unsettled))
        return true;
    pthread_mutex_lock(&sync->folder);
    enum err err = sync_is_at_home(sync) ? sync_settle(sync, &why) : ERR_OK;
    pthread_mutex_unlock(&sync->folder);
    if (err)
        sync_hold(sync, &why);
    return !err;
}

/* Not while anything is copied from the folder, or was just now: what moved is found under its old name. */
static bool may_delete(struct sync_apply *apply)
{
    if (sync_fetch_copies(apply->sync->remote->fetch))
        return false;
    take_got(apply);
    for (const struct item *item = apply->first; item; item = item->next)
        if (item->ready && !is_deletion(item))
            return false;
    return true;
}

static void put_ready(struct sync_apply *apply)
{
    static const bool turns[] = {false, true};
    struct item **items = calloc(GROUP_ITEMS_MAX, sizeof(struct item *));
    for (size_t i = 0; items && i < 2; i++) {
        size_t count = 1;
        if (turns[i] && !may_delete(apply))
            break;
        while (count > 0 && may_go_on(apply)) {
            count = gather(apply, items, turns[i]);
            if (count > 0)
                put(apply, items, count);
        }
    }
    free(items);
}

/* ---- passes ---- */

/* Contents of earlier runs that nobody wants any more. */
static void clean(struct sync_apply *apply)
{
    struct index_totals totals;
    if (apply->cleaned || index_totals(apply->sync->index, &totals) || totals.pending > 0 ||
        atomic_load(&apply->sync->unread) > 0)
        return;
    apply->cleaned = true;
    downloads_drop_hidden(apply->sync->options.downloads);
    pthread_mutex_lock(&apply->sync->folder);
    incoming_empty(apply->sync);
    pthread_mutex_unlock(&apply->sync->folder);
}

static void end_pass(struct sync_apply *apply, uint64_t now_ms)
{
    apply->idle_passes = apply->progress || apply->held > 0 ? 0 : apply->idle_passes + 1;
    apply->again_ms = apply->progress || apply->again_ms == 0 ? AGAIN_FIRST_MS
                      : apply->again_ms < AGAIN_MAX_MS / 2    ? 2 * apply->again_ms
                                                              : AGAIN_MAX_MS;
    apply->again_at_ms = now_ms + apply->again_ms;
    apply->was_ended = true;
}

static void begin_pass(struct sync_apply *apply)
{
    apply->was_ended = false;
    apply->at = 0;
    apply->at_end = false;
    apply->left = 0;
    apply->progress = apply->hurry = false;
}

/* Patterns that changed make others of what is pending wanted. */
static bool patterns_changed(struct sync_apply *apply)
{
    pthread_mutex_lock(&apply->sync->folder);
    bool changed = apply->ignore != apply->sync->ignore;
    apply->ignore = apply->sync->ignore;
    pthread_mutex_unlock(&apply->sync->folder);
    return changed;
}

/* How long nothing is to be done unless somebody says so. */
static uint64_t pause_ms(const struct sync_apply *apply, uint64_t now_ms)
{
    uint64_t pause = apply->held > 0 ? CHECK_MS : AGAIN_MAX_MS;
    if (apply->left > 0 && apply->at_end && apply->again_at_ms < now_ms + pause)
        pause = apply->again_at_ms > now_ms ? apply->again_at_ms - now_ms : 0;
    return pause;
}

/* Something happened that may make possible what was not: it is tried again at once. */
static void look_around(struct sync_apply *apply, uint64_t now_ms)
{
    size_t online = neighbours_count_online(apply->sync->options.neighbours);
    if (online > apply->online || apply->hurry) {
        apply->again_ms = AGAIN_FIRST_MS;
        if (apply->again_at_ms > now_ms + AGAIN_FIRST_MS)
            apply->again_at_ms = now_ms + AGAIN_FIRST_MS;
    }
    apply->online = online;
    apply->hurry = false;
}

static bool is_pending(struct sync_apply *apply, uint64_t number)
{
    struct sync_pending *rows = NULL;
    size_t count = 0;
    if (index_list_pending(apply->sync->index, number - 1, 1, &rows, &count))
        return true;
    bool found = count > 0 && rows[0].number == number;
    for (size_t i = 0; i < count; i++)
        sync_pending_free(&rows[i]);
    free(rows);
    return found;
}

/* Those that a newer entry took the place of need no content any more. */
static void check_held(struct sync_apply *apply, uint64_t now_ms)
{
    if (now_ms - apply->checked_ms < CHECK_MS)
        return;
    apply->checked_ms = now_ms;
    for (struct item **link = &apply->first; *link;) {
        struct item *item = *link;
        if (item->ready || is_pending(apply, item->pending.number)) {
            link = &item->next;
            continue;
        }
        let_go(apply, link);
        bool wanted = false;
        for (const struct item *other = apply->first; other && !wanted; other = other->next)
            wanted = !other->ready && content_equal(&other->missing, &item->missing);
        if (!wanted)
            sync_fetch_drop(apply->sync->remote->fetch, &item->missing);
        item_free(item);
    }
}

static void step(struct sync_apply *apply)
{
    uint64_t now_ms = timing_now_ms();
    check_held(apply, now_ms);
    if (apply->at_end && ((apply->left > 0 && now_ms >= apply->again_at_ms) || patterns_changed(apply)))
        begin_pass(apply);
    while (apply->ready < GROUP_ITEMS_MAX && take_page(apply)) {
    }
    take_got(apply);
    if (apply->ready > 0)
        put_ready(apply);
    if (apply->at_end && !apply->was_ended)
        end_pass(apply, timing_now_ms());
    look_around(apply, timing_now_ms());
    clean(apply);
    if (now_ms - apply->swept_ms >= SWEEP_MS) {
        struct why why;
        apply->swept_ms = now_ms;
        pthread_mutex_lock(&apply->sync->folder);
        if (sync_is_at_home(apply->sync))
            (void)trash_make_room(apply->sync, 0, 0, &why);
        pthread_mutex_unlock(&apply->sync->folder);
    }
}

static void *run(void *context)
{
    struct sync_apply *apply = context;
    uint64_t seen = 0;
    while (!atomic_load(&apply->sync->stop)) {
        if (may_go_on(apply))
            step(apply);
        seen = sync_wait(apply->sync, seen, pause_ms(apply, timing_now_ms()));
    }
    return NULL;
}

/* ---- life ---- */

enum err sync_apply_start(struct sync *sync, struct sync_apply **ret)
{
    struct sync_apply *apply = calloc(1, sizeof *apply);
    if (!apply)
        return ERR_NOMEM;
    apply->sync = sync;
    apply->last = &apply->first;
    if (pthread_create(&apply->thread, NULL, run, apply)) {
        free(apply);
        return ERR_NOMEM;
    }
    *ret = apply;
    return ERR_OK;
}

void sync_apply_stop(struct sync_apply *apply)
{
    if (!apply)
        return;
    sync_wake(apply->sync);
    (void)pthread_join(apply->thread, NULL);
    while (apply->first) {
        struct item *item = apply->first;
        let_go(apply, &apply->first);
        item_free(item);
    }
    free(apply);
}
