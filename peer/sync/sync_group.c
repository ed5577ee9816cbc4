/*
 * Many entries are put into place together, so that the disk is waited for a few times and not for each:
 *
 *   plan and look ── intents committed ── contents synced ── names exchanged, old ones to the trash ── synced
 *     ── index, trash, pending and intents in one transaction
 *
 * A crash leaves intents behind, which sync_settle.c settles by what lies on the disk.
 */
#include "sync_apply_internal.h"

#include "limits.h"
#include "log.h"
#include "names.h"
#include "sync_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Fewer files than this are synced one by one: other programs' files need not be synced for them. */
#define SYNCED_ALONE_MAX 4u
/* Names of one group that are told of. */
#define TOLD_MAX 5u

void group_step_free(struct step *step)
{
    sync_row_free(&step->row);
    sync_entry_free(&step->result);
    if (step->parent_fd >= 0)
        (void)close(step->parent_fd);
    step->parent_fd = -1;
    free(step->trash);
    step->trash = NULL;
    free(step->intent.staged);
    hashed_free(&step->hashed);
}

/* ---- order ---- */

static unsigned turn_of(const struct step *step)
{
    switch (step->kind) {
    case STEP_FOLDER:
        return 0;
    case STEP_DELETE_FILE:
        return 2;
    case STEP_DELETE_FOLDER:
        return 3;
    case STEP_RECORD:
    case STEP_METADATA:
    case STEP_FILE:
        break;
    }
    return 1;
}

/* New folders, the outer ones first; files, what an item needs first before the rest of it; deletions, the inner ones first. */
static int by_turn(const void *a, const void *b)
{
    const struct step *one = a, *other = b;
    unsigned turn = turn_of(one);
    if (turn != turn_of(other))
        return turn < turn_of(other) ? -1 : 1;
    if (turn == 1) {
        uint64_t number = one->item->pending.number, other_number = other->item->pending.number;
        if (number != other_number)
            return number < other_number ? -1 : 1;
        return one->place < other->place ? -1 : 1;
    }
    int order = strcmp(one->result.name, other->result.name);
    return turn == 0 ? order : -order;
}

/* A step of the item failed: it stays pending.  What was done of it is recorded all the same. */
static void fail(struct item *item, enum outcome outcome)
{
    if (item->outcome == OUTCOME_DONE)
        item->outcome = outcome;
}

/* ---- before ---- */

static void plan_all(struct group *group, struct item **items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        plan_item(group, items[i]);
    for (size_t i = 0; i < group->count; i++) {
        group->steps[i].place = i;
        enum outcome outcome = group->steps[i].item->outcome;
        if (outcome == OUTCOME_DONE)
            outcome = place_look(group, &group->steps[i]);
        if (outcome != OUTCOME_DONE)
            fail(group->steps[i].item, outcome);
    }
    if (group->count > 0)
        qsort(group->steps, group->count, sizeof *group->steps, by_turn);
}

static bool is_due(const struct step *step)
{
    return step->item->outcome == OUTCOME_DONE && !step->done;
}

static bool needs_trash(const struct step *step)
{
    return is_due(step) && step->kind != STEP_METADATA && step->kind != STEP_RECORD && step->had &&
           S_ISREG(step->seen.st_mode);
}

/* What goes to the trash has a place there, if there is room. */
static void find_places(struct group *group)
{
    struct why why;
    uint64_t total = 0, taken = 0;
    for (size_t i = 0; i < group->count; i++)
        if (needs_trash(&group->steps[i]))
            total += (uint64_t)group->steps[i].seen.st_size;
    bool all_fit = trash_make_room(group->sync, total, 0, &why) == ERR_OK;
    for (size_t i = 0; i < group->count; i++) {
        struct step *step = &group->steps[i];
        if (!needs_trash(step))
            continue;
        uint64_t size = (uint64_t)step->seen.st_size;
        if (!all_fit && trash_make_room(group->sync, taken, size, &why)) {
            sync_hold(group->sync, &why);
            fail(step->item, OUTCOME_LATER);
            continue;
        }
        taken += size;
        step->trash = trash_place(group->sync, step->result.name);
        if (!step->trash)
            fail(step->item, OUTCOME_LATER);
    }
}

static int by_content(const void *a, const void *b)
{
    const struct step *one = *(struct step *const *)a, *other = *(struct step *const *)b;
    int order = memcmp(one->result.content.root, other->result.content.root, HASH_SIZE);
    if (order == 0 && one->result.content.size != other->result.content.size)
        order = one->result.content.size < other->result.content.size ? -1 : 1;
    return order != 0 ? order : one < other ? -1 : 1;
}

/* Files of the same content, as empty ones are: all but the first get a copy.  Large ones come one after the other. */
static enum err find_twins(struct group *group)
{
    size_t count = 0;
    struct step **steps = calloc(group->count + 1, sizeof(struct step *));
    if (!steps)
        return ERR_NOMEM;
    for (size_t i = 0; i < group->count; i++) {
        struct step *step = &group->steps[i];
        if (is_due(step) && step->kind == STEP_FILE)
            steps[count++] = step;
    }
    qsort(steps, count, sizeof(struct step *), by_content);
    for (size_t i = 1; i < count; i++) {
        const struct step *before = steps[i - 1];
        if (!content_equal(&before->result.content, &steps[i]->result.content))
            continue;
        if (steps[i]->result.content.size > BATCH_CONTENT_MAX) {
            fail(steps[i]->item, OUTCOME_SOON);
            continue;
        }
        steps[i]->first = before->first ? before->first : before;
        steps[i]->twin = before->twin + 1;
    }
    free(steps);
    return ERR_OK;
}

static enum err add_intent(struct group *group, struct step *step)
{
    char staged[INCOMING_NAME_SIZE];
    if (step->kind != STEP_FILE && !step->trash)
        return ERR_OK;
    if (step->kind == STEP_FILE) {
        if (step->twin > 0)
            incoming_name_twin(&step->result.content, step->twin, staged);
        else
            incoming_name(&step->result.content, staged);
        step->intent.staged = strdup(staged);
        if (!step->intent.staged)
            return ERR_NOMEM;
    }
    step->intent.name = step->result.name; /* borrowed, as the entry and the trash */
    step->intent.entry = step->result;
    step->intent.had = step->had;
    step->intent.trash = step->trash;
    stamp_from(&step->seen, &step->intent.seen);
    return index_add_intent(group->sync->index, &step->intent);
}

static enum err add_intents(struct group *group)
{
    enum err err = ERR_OK;
    index_begin(group->sync->index);
    for (size_t i = 0; i < group->count && !err; i++)
        if (is_due(&group->steps[i]))
            err = add_intent(group, &group->steps[i]);
    if (err)
        index_rollback(group->sync->index);
    return err ? err : index_commit(group->sync->index);
}

/* ---- contents ---- */

static enum err sync_staged(struct group *group, size_t count)
{
    if (count > SYNCED_ALONE_MAX)
        return syncfs(group->incoming_fd) == 0 ? ERR_OK : err_from_errno(errno);
    enum err err = ERR_OK;
    for (size_t i = 0; i < group->count && !err; i++) {
        const struct step *step = &group->steps[i];
        if (!is_due(step) || step->kind != STEP_FILE)
            continue;
        int fd = openat(group->incoming_fd, step->intent.staged, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fsync(fd) != 0)
            err = err_from_errno(errno);
        if (fd >= 0)
            (void)close(fd);
    }
    return err;
}

/* With what is known of its layer. */
static enum err copy_twin(struct group *group, struct step *step)
{
    const struct hashed *known = &step->first->hashed;
    if (known->count > 0) {
        struct hashed copy = *known;
        copy.layer = malloc(known->count * HASH_SIZE);
        if (!copy.layer)
            return ERR_NOMEM;
        memcpy(copy.layer, known->layer, known->count * HASH_SIZE);
        hashed_free(&step->hashed);
        step->hashed = copy;
    }
    return incoming_twin(group->sync, group->incoming_fd, &step->result.content, step->intent.staged);
}

/* Takes over the layer that came with the content, and gives it its times and bits. */
static void prepare(struct group *group, struct step *step)
{
    struct hashed *came = &step->item->hashed;
    if (came->count > 0 && content_equal(&came->content, &step->result.content)) {
        step->hashed = *came;
        *came = (struct hashed){0};
    }
    enum err err = step->first ? copy_twin(group, step) : ERR_OK;
    if (!err)
        err = place_prepare(group, step);
    if (err)
        fail(step->item, OUTCOME_SOON); /* another one took it: it is fetched once more */
}

static enum err prepare_all(struct group *group)
{
    size_t count = 0;
    for (size_t i = 0; i < group->count; i++) {
        struct step *step = &group->steps[i];
        if (!is_due(step) || step->kind != STEP_FILE)
            continue;
        prepare(group, step);
        count++;
    }
    return count > 0 ? sync_staged(group, count) : ERR_OK;
}

/* ---- names ---- */

static void sync_folders(struct group *group, size_t count)
{
    bool failed = false;
    if (count > SYNCED_ALONE_MAX) {
        failed = syncfs(group->incoming_fd) != 0;
    } else {
        for (size_t i = 0; i < group->count; i++)
            if (group->steps[i].done && group->steps[i].parent_fd >= 0)
                failed = fsync(group->steps[i].parent_fd) != 0 || failed;
    }
    if (failed)
        log_warn("sync: %s could not be synced: %s", group->sync->path, strerror(errno));
}

static void do_all(struct group *group)
{
    size_t count = 0;
    for (size_t i = 0; i < group->count; i++) {
        struct step *step = &group->steps[i];
        if (!is_due(step))
            continue;
        enum outcome outcome = place_do(group, step);
        if (outcome != OUTCOME_DONE)
            fail(step->item, outcome);
        count += step->done && step->kind != STEP_RECORD && step->kind != STEP_METADATA;
    }
    if (count > 0)
        sync_folders(group, count);
}

/* ---- the index ---- */

static enum err record_trash(struct group *group, const struct step *step)
{
    struct sync_trash trash = {.name = step->result.name,
                               .place = step->trash,
                               .size_bytes = (uint64_t)step->seen.st_size,
                               .content = step->row.entry.content,
                               .has_content = true,
                               .since_s = (int64_t)time(NULL)};
    /* What lies in the folder under another name, too, as after a rename, is not lost. */
    if (step->kind == STEP_DELETE_FILE && place_has_twin(group->sync, step) &&
        trash_remove(group->sync, step->trash) == ERR_OK)
        return ERR_OK;
    return index_add_trash(group->sync->index, &trash);
}

static enum err record_step(struct group *group, struct step *step)
{
    struct sync *sync = group->sync;
    enum err err = ERR_OK;
    if (step->trashed)
        err = record_trash(group, step);
    if (!err && step->done) {
        const struct sync_row row = {.entry = step->result, .stamp = step->stamp};
        err = index_put(sync->index, &row);
    }
    if (!err && step->intent.number != 0)
        err = index_drop_intent(sync->index, step->intent.number);
    return err;
}

static enum err record_all(struct group *group, struct item **items, size_t count)
{
    struct sync_index *index = group->sync->index;
    enum err err = ERR_OK;
    index_begin(index);
    for (size_t i = 0; i < group->count && !err; i++)
        err = record_step(group, &group->steps[i]);
    for (size_t i = 0; i < count && !err; i++)
        if (items[i]->outcome == OUTCOME_DONE)
            err = index_drop_pending(index, items[i]->pending.number);
    if (err)
        index_rollback(index);
    return err ? err : index_commit(index);
}

static void keep_hashes(struct group *group)
{
    struct state *state = group->sync->options.state;
    state_begin(state);
    for (size_t i = 0; i < group->count; i++) {
        struct step *step = &group->steps[i];
        char *path = NULL;
        if (!step->done || (step->kind != STEP_FILE && step->kind != STEP_METADATA) || step->hashed.count == 0)
            continue;
        path = sync_absolute(group->sync, step->result.name);
        if (path)
            (void)state_save_hash(state, path, &step->stamp, &step->hashed);
        free(path);
    }
    enum err err = state_commit(state);
    if (err)
        log_warn("sync: hashes are not kept: %s", err_name(err));
}

/* ---- what is said of it ---- */

static const char *verb_of(const struct step *step)
{
    switch (step->kind) {
    case STEP_DELETE_FILE:
    case STEP_DELETE_FOLDER:
        return "deleted";
    case STEP_FOLDER:
        return "new folder";
    case STEP_METADATA:
        return "times and bits";
    case STEP_FILE:
        return step->had ? "changed" : "new";
    case STEP_RECORD:
        break;
    }
    return "known";
}

static void tell(const struct group *group)
{
    size_t told = 0, more = 0;
    char id[9], name[NAME_SIZE_MAX + 1];
    for (size_t i = 0; i < group->count; i++) {
        const struct step *step = &group->steps[i];
        if (!step->done || step->kind == STEP_RECORD)
            continue;
        if (told++ >= TOLD_MAX) {
            more++;
            continue;
        }
        hex_encode(step->item->pending.source, 4, id);
        names_printable(step->result.name, name, sizeof name);
        log_info("sync: %s: %s, from %s", name, verb_of(step), id);
        if (sync_is_conflict_name(step->result.name) && step->kind == STEP_FILE)
            log_warn("sync: %s was changed in two places at once: one version is kept under this name", name);
        sync_note_change(group->sync, &step->result, step->item->pending.source);
    }
    if (more > 0)
        log_info("sync: and %zu more", more);
}

/* ---- a group ---- */

static void take_trouble(struct group *group, struct item **items, size_t count, enum err err)
{
    struct why why;
    if (err == ERR_NOSPACE)
        (void)why_set(&why, err, "the disk is full: make room, and the sync goes on by itself");
    else
        (void)why_set(&why, err, "what others changed cannot be put into place: %s", err_name(err));
    sync_hold(group->sync, &why);
    for (size_t i = 0; i < count; i++)
        fail(items[i], OUTCOME_LATER);
}

/* The steps are planned and `folder` is held. */
static bool run(struct group *group, struct item **items, size_t count)
{
    find_places(group);
    enum err err = find_twins(group);
    if (!err)
        err = add_intents(group);
    if (!err)
        err = prepare_all(group);
    if (err) {
        take_trouble(group, items, count, err);
        return false;
    }
    do_all(group);
    err = record_all(group, items, count);
    if (err) {
        atomic_store(&group->sync->unsettled, true);
        take_trouble(group, items, count, err);
        return false;
    }
    keep_hashes(group);
    return true;
}

void group_apply(struct sync *sync, struct item **items, size_t count)
{
    struct group group = {.sync = sync, .incoming_fd = -1};
    bool done = false;
    pthread_mutex_lock(&sync->folder);
    if (sync_is_at_home(sync) && incoming_open(sync, &group.incoming_fd) == ERR_OK) {
        plan_all(&group, items, count);
        done = run(&group, items, count);
        (void)close(group.incoming_fd);
    } else {
        for (size_t i = 0; i < count; i++)
            items[i]->outcome = OUTCOME_LATER;
    }
    pthread_mutex_unlock(&sync->folder);
    if (done) {
        tell(&group);
        sync_tell(sync);
    }
    for (size_t i = 0; i < group.count; i++)
        group_step_free(&group.steps[i]);
    free(group.steps);
}
