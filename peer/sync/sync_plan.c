/* What is to be done for one entry of another peer, as the index and the entry tell. */
#include "sync_apply_internal.h"

#include "log.h"

#include <stdlib.h>
#include <string.h>

/* ---- steps ---- */

static struct step *add_step(struct group *group, struct item *item)
{
    if (group->count == group->capacity) {
        size_t capacity = group->capacity == 0 ? 64 : 2 * group->capacity;
        struct step *grown = reallocarray(group->steps, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        group->steps = grown;
        group->capacity = capacity;
    }
    struct step *step = &group->steps[group->count++];
    *step = (struct step){.item = item, .parent_fd = -1};
    return step;
}

static bool has_file(const struct sync_row *ours)
{
    return ours->entry.name && ours->entry.kind == SYNC_FILE;
}

static bool has_folder(const struct sync_row *ours)
{
    return ours->entry.name && ours->entry.kind == SYNC_FOLDER;
}

static enum step_kind kind_of(const struct sync_row *ours, const struct sync_decision *decision)
{
    const struct sync_entry *result = &decision->result;
    if (result->kind == SYNC_DELETED)
        return has_file(ours) ? STEP_DELETE_FILE : has_folder(ours) ? STEP_DELETE_FOLDER : STEP_RECORD;
    if (result->kind == SYNC_FOLDER)
        return has_folder(ours) ? STEP_RECORD : STEP_FOLDER;
    if (!has_file(ours) || !content_equal(&ours->entry.content, &result->content))
        return STEP_FILE;
    bool same = ours->entry.mtime_ns == result->mtime_ns && ours->entry.executable == result->executable;
    return same ? STEP_RECORD : STEP_METADATA;
}

/* ---- decisions ---- */

/* What the index has of a name; `name` NULL in it where that is nothing. */
static enum err get_ours(struct sync *sync, const char *name, struct sync_row *ret)
{
    *ret = (struct sync_row){0};
    enum err err = index_get(sync->index, name, ret);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err decide(struct sync *sync, const struct sync_entry *theirs, struct sync_row *ret_ours,
                       struct sync_decision *ret)
{
    *ret = (struct sync_decision){0};
    enum err err = get_ours(sync, theirs->name, ret_ours);
    return err ? err : sync_decide(ret_ours->entry.name ? &ret_ours->entry : NULL, theirs, ret);
}

static bool needs_content(const struct sync_row *ours, const struct sync_decision *decision)
{
    return decision->verdict == SYNC_TAKE && kind_of(ours, decision) == STEP_FILE;
}

/* `group` NULL: only what is missing is wanted. */
static enum outcome add_decision(struct sync *sync, struct group *group, struct item *item, struct sync_row *ours,
                                 struct sync_decision *decision)
{
    if (decision->verdict == SYNC_IGNORE)
        return OUTCOME_DONE;
    if (needs_content(ours, decision) && !incoming_has(sync, &decision->result.content)) {
        item->missing = decision->result.content;
        return OUTCOME_MISSING;
    }
    if (!group)
        return OUTCOME_DONE;
    struct step *step = add_step(group, item);
    if (!step)
        return OUTCOME_LATER;
    step->kind = decision->verdict == SYNC_TAKE || kind_of(ours, decision) == STEP_METADATA ? kind_of(ours, decision)
                                                                                            : STEP_RECORD;
    step->row = *ours;
    step->result = decision->result;
    *ours = (struct sync_row){0};
    decision->result = (struct sync_entry){0};
    return OUTCOME_DONE;
}

/* The loser of a conflict meets what is known of its new name as any entry does. */
static enum outcome add_loser(struct sync *sync, struct group *group, struct item *item, const struct sync_entry *loser)
{
    struct sync_row ours;
    struct sync_decision decision;
    enum err err = decide(sync, loser, &ours, &decision);
    enum outcome outcome = err ? OUTCOME_LATER : add_decision(sync, group, item, &ours, &decision);
    sync_decision_free(&decision);
    sync_row_free(&ours);
    return outcome;
}

/*
 * Their deletion, or their file, comes after our folder, but something lies in it that nobody else knows: the folder stays, by an
 * edit of ours, and a file becomes a conflict copy.
 */
static enum err keep_folder(struct sync *sync, const struct sync_row *ours, const struct sync_entry *theirs,
                            struct sync_decision *decision)
{
    struct version merged = {0};
    enum err err = version_merge(&theirs->version, &ours->entry.version, &merged);
    if (!err)
        err = sync_edit(sync, &merged);
    if (err) {
        version_free(&merged);
        return err;
    }
    sync_decision_free(decision);
    decision->verdict = SYNC_KEEP;
    err = sync_entry_copy(&ours->entry, &decision->result);
    version_free(&decision->result.version);
    decision->result.version = merged;
    return err || theirs->kind != SYNC_FILE ? err : sync_keep_loser(theirs, decision);
}

static enum outcome plan(struct sync *sync, struct group *group, struct item *item, bool keeps_folder)
{
    const struct sync_entry *theirs = &item->pending.entry;
    struct sync_row ours;
    struct sync_decision decision;
    enum outcome outcome = OUTCOME_DONE;
    enum err err = decide(sync, theirs, &ours, &decision);
    if (!err && keeps_folder && has_folder(&ours) && decision.verdict == SYNC_TAKE && theirs->kind != SYNC_FOLDER) {
        err = keep_folder(sync, &ours, theirs, &decision);
        if (!err)
            log_info("sync: %s stays, although it was deleted elsewhere: there are files in it that only this peer has",
                     theirs->name);
    }
    if (err) {
        log_warn("sync: %s is left as it is: %s", theirs->name, err_name(err));
        outcome = OUTCOME_LATER;
    }
    /* First what would be lost. */
    if (outcome == OUTCOME_DONE && decision.conflict)
        outcome = add_loser(sync, group, item, &decision.loser);
    if (outcome == OUTCOME_DONE)
        outcome = add_decision(sync, group, item, &ours, &decision);
    sync_decision_free(&decision);
    sync_row_free(&ours);
    return outcome;
}

void plan_item(struct group *group, struct item *item)
{
    size_t before = group->count;
    item->outcome = plan(group->sync, group, item, item->keeps_folder);
    while (item->outcome != OUTCOME_DONE && group->count > before)
        group_step_free(&group->steps[--group->count]);
}

enum outcome plan_look(struct sync *sync, struct item *item)
{
    return plan(sync, NULL, item, false);
}
