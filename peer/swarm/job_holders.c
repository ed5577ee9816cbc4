/* Who has the small files of a job: the tracker and the neighbours are asked at once, and their answers become one. */
#include "enquiry.h"
#include "job_internal.h"

#define HOLDERS_ASKED 100u
/* More holders of one content are of no use: so many may turn out not to be. */
#define HOLDERS_KEPT 16u

struct asking {
    struct content_holders *items; /* one for each content, in the order asked */
    size_t count, hint;            /* where the next answer probably belongs */
    bool answered, tracker_answered;
    size_t tracker_end; /* behind the last content that it answered */
    enum err err, trouble;
    struct why why;
};

/* Answers come in the order of the question. */
static struct content_holders *find(struct asking *asking, const struct content *content)
{
    for (size_t i = 0; i < asking->count; i++) {
        size_t index = (asking->hint + i) % asking->count;
        if (content_equal(&asking->items[index].content, content)) {
            asking->hint = index + 1;
            return &asking->items[index];
        }
    }
    return NULL;
}

static enum err add_holder(struct content_holders *holders, const struct peer_record *record)
{
    if (holders->holder_count >= HOLDERS_KEPT || enquiry_has_holder(holders, record))
        return ERR_OK;
    struct peer_record *grown = reallocarray(holders->holders, holders->holder_count + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    holders->holders = grown;
    grown[holders->holder_count++] = *record;
    if (holders->holders_total < holders->holder_count)
        holders->holders_total = holders->holder_count;
    return ERR_OK;
}

static void on_held(void *context, const struct enquiry_source *source, const struct content_holders *found)
{
    struct asking *asking = context;
    struct content_holders *holders = find(asking, &found->content);
    if (!holders)
        return;
    for (size_t i = 0; i < found->holder_count && !asking->err; i++)
        asking->err = add_holder(holders, &found->holders[i]);
    if (found->holders_total > holders->holders_total)
        holders->holders_total = found->holders_total;
    size_t end = (size_t)(holders - asking->items) + 1;
    if (source->is_tracker && end > asking->tracker_end)
        asking->tracker_end = end;
}

static void on_done(void *context, const struct enquiry_source *source, enum err err, const struct why *why)
{
    struct asking *asking = context;
    if (!err) {
        asking->answered = true;
        asking->tracker_answered = asking->tracker_answered || source->is_tracker;
    } else if (!asking->trouble || source->is_tracker) {
        asking->trouble = err;
        asking->why = *why;
    }
}

/* Where the tracker's answer was full, what it did not come to is asked again. */
static size_t settled(const struct asking *asking)
{
    return asking->tracker_answered && asking->tracker_end > 0 ? asking->tracker_end : asking->count;
}

static enum err conclude(const struct asking *asking, struct why *why)
{
    *why = asking->why;
    if (asking->err)
        return why_set(why, asking->err, "%s", err_name(asking->err));
    if (asking->answered)
        return ERR_OK;
    return asking->trouble ? asking->trouble
                           : why_set(why, ERR_UNREACHABLE, "neither a tracker nor a neighbour answers");
}

enum err job_ask_holders(struct job *job, const struct content *contents, size_t count, struct content_holders **ret,
                         size_t *ret_settled, struct why *why)
{
    struct asking asking = {.count = count};
    const struct enquiry_listener listener = {.context = &asking, .held = on_held, .done = on_done};
    asking.items = calloc(count, sizeof *asking.items);
    if (!asking.items)
        return why_set(why, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        asking.items[i].content = contents[i];
    enum err err =
        enquiry_holders(job->enquiry, ENQUIRY_TRACKER | ENQUIRY_NEIGHBOURS, contents, count, HOLDERS_ASKED, &listener);
    if (!err)
        err = enquiry_finish(job->enquiry);
    err = err ? why_set(why, err, "%s", err_name(err)) : conclude(&asking, why);
    if (err) {
        job_free_holders(asking.items, count);
        return err;
    }
    *ret = asking.items;
    *ret_settled = settled(&asking);
    return ERR_OK;
}

void job_free_holders(struct content_holders *holders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        content_holders_free(&holders[i]);
    free(holders);
}
