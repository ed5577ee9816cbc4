#include "lookup.h"

#include "limits.h"
#include "names.h"

#include <stdlib.h>

/* What has come so far. */
struct looking {
    struct session *session;
    const struct lookup *lookup;
    struct content_holders *holders; /* of a lookup of holders */
    size_t answers;                  /* of sources that are done without an error */
    bool tracker_answered, tracker_failed;
    enum err err;       /* of taking: ends it */
    struct why why;     /* of that */
    enum err trouble;   /* the last error of a source, a tracker's before a neighbour's */
    struct why because; /* of that */
};

static void on_done(void *context, const struct enquiry_source *source, enum err err, const struct why *why)
{
    struct looking *looking = context;
    looking->answers += !err;
    if (source->is_tracker && !err)
        looking->tracker_answered = true;
    if (!err || (looking->tracker_failed && !source->is_tracker))
        return;
    looking->trouble = err;
    looking->because = *why;
    looking->tracker_failed = looking->tracker_failed || source->is_tracker;
}

/* Whether anybody could be asked, and what is to be said of those who did not answer. */
static enum err conclude(struct looking *looking, enum err err, struct why *why)
{
    if (err == ERR_CANCELLED)
        return why_set(why, err, "interrupted");
    if (looking->err) {
        if (looking->why.text[0] == '\0')
            (void)why_set(&looking->why, looking->err, "%s", err_name(looking->err));
        *why = looking->why;
        return looking->err;
    }
    if (err)
        return why_set(why, err, "%s", err_name(err));
    if (looking->answers == 0 && looking->trouble) {
        *why = looking->because;
        return looking->trouble;
    }
    if (looking->answers == 0)
        return why_set(why, ERR_UNREACHABLE, "there is nobody to ask: no tracker, and no neighbour that is ONLINE");
    if (looking->tracker_failed && !looking->tracker_answered) {
        char line[600];
        snprintf(line, sizeof line, "%s; only neighbours were asked", looking->because.text);
        terminal_message(looking->session->terminal, line);
    }
    return ERR_OK;
}

/* ---- files ---- */

static bool on_files(void *context, const struct enquiry_source *source, const struct file_list *page)
{
    struct looking *looking = context;
    const char *pattern = looking->lookup->pattern;
    for (size_t i = 0; i < page->count && !looking->err; i++)
        /* A peer need not know of patterns. */
        if (source->is_tracker || !pattern || names_match(pattern, page->items[i].name))
            looking->err = looking->lookup->take(looking->lookup->context, source, &page->items[i], &looking->why);
    return !looking->err && !session_interrupted(looking->session);
}

enum err lookup_files(struct session *session, const struct lookup *lookup, struct why *why)
{
    struct looking looking = {.session = session, .lookup = lookup};
    const struct enquiry_listener listener = {.context = &looking, .files = on_files, .done = on_done};
    const char *pattern = lookup->pattern && lookup->pattern[0] != '\0' ? lookup->pattern : NULL;
    enum err err = lookup->neighbour
                       ? enquiry_files_of(session->enquiry, lookup->neighbour, pattern, lookup->pages_max, &listener)
                       : enquiry_files(session->enquiry, lookup->whom, pattern, lookup->pages_max, &listener);
    if (!err)
        err = enquiry_finish(session->enquiry);
    return conclude(&looking, err, why);
}

/* ---- holders ---- */

static void on_held(void *context, const struct enquiry_source *source, const struct content_holders *found)
{
    struct looking *looking = context;
    struct content_holders *holders = looking->holders;
    (void)source;
    struct peer_record *grown =
        reallocarray(holders->holders, holders->holder_count + found->holder_count + 1, sizeof *grown);
    if (!grown) {
        looking->err = ERR_NOMEM;
        return;
    }
    holders->holders = grown;
    for (size_t i = 0; i < found->holder_count; i++)
        if (!enquiry_has_holder(holders, &found->holders[i]))
            grown[holders->holder_count++] = found->holders[i];
    if (found->holders_total > holders->holders_total)
        holders->holders_total = found->holders_total;
}

enum err lookup_holders(struct session *session, const struct content *content, struct content_holders *ret,
                        struct why *why)
{
    struct looking looking = {.session = session, .holders = ret};
    const struct enquiry_listener listener = {.context = &looking, .held = on_held, .done = on_done};
    *ret = (struct content_holders){.content = *content};
    enum err err =
        enquiry_holders(session->enquiry, ENQUIRY_TRACKER | ENQUIRY_NEIGHBOURS, content, 1, ITEMS_MAX, &listener);
    if (!err)
        err = enquiry_finish(session->enquiry);
    err = conclude(&looking, err, why);
    if (!err && ret->holder_count == 0)
        err = why_set(why, ERR_NOT_FOUND, "nobody has it");
    if (err)
        content_holders_free(ret);
    return err;
}
