#include "enquiry.h"

#include "http_client.h"
#include "limits.h"
#include "log.h"
#include "timing.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CACHED_MAX 128u
/* A neighbour is on the same network, and answers from memory. */
#define NEIGHBOUR_MS 5000u
/* Those who bring nothing for so long after others have answered. */
#define PATIENCE_MS 2000u
#define SLICE_MS 100u
/* A tracker that has not answered by then: the next one is asked, too. */
#define HEDGE_MS 1500u

/* What many calls ask for. */
struct question {
    size_t calls; /* that refer to it */
    bool of_files;
    size_t pages_max;
    struct enquiry_listener listener;
    struct content *contents; /* of a question for holders */
    size_t count, limit;
    char *text; /* the body, or the escaped pattern */
    struct tracker_choice trackers[TRACKERS_CHOICES_MAX];
    size_t tracker_count, next_tracker;
};

/* One source's part in a question. */
struct call {
    struct call *next;
    struct enquiry *enquiry;
    struct question *question;
    struct enquiry_source source;
    struct http_transfer *transfer;
    struct tracker_choice choice; /* of a tracker */
    uint64_t hedge_at_ms;         /* when another tracker is asked, too; 0: not, or it was */
    bool silent;                  /* nobody waits for it any more */
    size_t pages;
    char *answer;
    size_t length;
};

struct enquiry {
    struct enquiry_options options;
    struct http_pool *pool;
    struct call *calls;
    size_t open;       /* that are not silent */
    uint64_t moved_ms; /* when the last answer came */
    bool answered;     /* anybody did, since nothing was open */
    atomic_bool cancelled;
};

/* ---- life ---- */

enum err enquiry_new(const struct enquiry_options *options, struct enquiry **ret)
{
    struct enquiry *enquiry = calloc(1, sizeof *enquiry);
    if (!enquiry)
        return ERR_NOMEM;
    enquiry->options = *options;
    enquiry->pool = http_pool_new(options->clock, "enxame-peer/" ENXAME_VERSION, CACHED_MAX);
    if (!enquiry->pool) {
        free(enquiry);
        return ERR_NOMEM;
    }
    *ret = enquiry;
    return ERR_OK;
}

static void release(struct question *question)
{
    if (question->calls > 0)
        return;
    free(question->contents);
    free(question->text);
    free(question);
}

static void free_call(struct call *call)
{
    call->enquiry->open -= !call->silent;
    call->question->calls--;
    release(call->question);
    free(call->answer);
    free(call);
}

static void drop_call(struct call *call)
{
    struct call **at = &call->enquiry->calls;
    while (*at && *at != call)
        at = &(*at)->next;
    if (*at)
        *at = call->next;
    free_call(call);
}

static void drop_all(struct enquiry *enquiry)
{
    struct call *call = enquiry->calls, *next;
    enquiry->calls = NULL;
    for (; call; call = next) {
        next = call->next;
        if (call->transfer)
            http_pool_cancel(enquiry->pool, call->transfer);
        free_call(call);
    }
}

void enquiry_free(struct enquiry *enquiry)
{
    if (!enquiry)
        return;
    drop_all(enquiry);
    http_pool_free(enquiry->pool);
    free(enquiry);
}

void enquiry_cancel(struct enquiry *enquiry)
{
    atomic_store(&enquiry->cancelled, true);
    http_pool_wake(enquiry->pool);
}

void enquiry_resume(struct enquiry *enquiry)
{
    atomic_store(&enquiry->cancelled, false);
}

void enquiry_wake(struct enquiry *enquiry)
{
    http_pool_wake(enquiry->pool);
}

/* ---- answers ---- */

/* A neighbour speaks for itself alone, and nobody but a tracker here or there can aim us at this machine's own services. */
static void trim_holders(const struct call *call, const struct address *from, const uint8_t *known_as,
                         struct content_holders *holders)
{
    const struct neighbour *neighbour = &call->source.neighbour;
    size_t kept = 0;
    for (size_t i = 0; i < holders->holder_count; i++) {
        struct peer_record *record = &holders->holders[i];
        if (known_as && memcmp(record->id, known_as, HASH_SIZE) == 0)
            memcpy(record->id, call->enquiry->options.identity->id, HASH_SIZE);
        if (call->source.is_tracker ? !address_believable(&record->address, from)
                                    : memcmp(record->id, neighbour->id, HASH_SIZE) != 0)
            continue;
        if (!call->source.is_tracker)
            record->address = neighbour->address;
        holders->holders[kept++] = *record;
    }
    holders->holder_count = kept;
}

/* The id under which this tracker knows this peer, where that is another one than among peers; NULL: it is none. */
static const uint8_t *known_as(const struct call *call, struct identity *ret)
{
    const struct identity *own = call->enquiry->options.identity;
    bool other = own && call->source.is_tracker && call->choice.is_found;
    return other && !identity_for_tracker(own, call->choice.id, ret) ? ret->id : NULL;
}

static bool was_asked(const struct question *question, const struct content *content)
{
    for (size_t i = 0; i < question->count; i++)
        if (content_equal(&question->contents[i], content))
            return true;
    return false;
}

static enum err take_holders(struct call *call, const struct http_result *result, struct why *why)
{
    const struct question *question = call->question;
    struct holders_answer answer;
    struct identity there;
    enum err err = holders_answer_parse(call->answer, call->length, &answer, why);
    if (err)
        return err;
    const uint8_t *own = known_as(call, &there);
    for (size_t i = 0; i < answer.count; i++) {
        trim_holders(call, &result->from, own, &answer.items[i]);
        if (was_asked(question, &answer.items[i].content))
            question->listener.held(question->listener.context, &call->source, &answer.items[i]);
    }
    holders_answer_free(&answer);
    explicit_bzero(&there, sizeof there);
    return ERR_OK;
}

static enum err begin(struct call *call, const char *after);

/* ERR_BUSY: the next page was asked for. */
static enum err take_files(struct call *call, struct why *why)
{
    const struct enquiry_listener *listener = &call->question->listener;
    struct file_list page;
    enum err err = file_list_parse(call->answer, call->length, &page, why);
    if (err)
        return err;
    for (size_t i = 0; i < page.count && !call->source.is_tracker; i++)
        neighbours_has(call->enquiry->options.neighbours, call->source.neighbour.id, &page.items[i].content);
    bool more = listener->files(listener->context, &call->source, &page);
    call->pages++;
    if (more && page.next && call->pages < call->question->pages_max)
        err = begin(call, page.next) ? ERR_NOMEM : ERR_BUSY;
    file_list_free(&page);
    return err;
}

static enum err read_status(const struct call *call, const struct http_result *result, struct why *why)
{
    if (result->err) {
        *why = result->why;
        return result->err;
    }
    if (result->status == 200)
        return ERR_OK;
    if (problem_parse(result->error_body, result->error_length, why))
        return result->status == 503 ? ERR_BUSY : ERR_REFUSED;
    return why_set(why, result->status >= 500 ? ERR_BUSY : ERR_REFUSED, "%s answered with status %d", call->source.name,
                   result->status);
}

/* What it says about the source itself. */
static void judge(const struct call *call, const struct http_result *result, enum err err)
{
    const struct enquiry_options *options = &call->enquiry->options;
    bool silent = result->err == ERR_UNREACHABLE || result->err == ERR_TIMEOUT;
    if (call->source.is_tracker && err && (silent || result->status >= 500))
        trackers_failed(options->trackers, &call->choice);
    else if (call->source.is_tracker && !err)
        trackers_answered(options->trackers, &call->choice);
    else if (!call->source.is_tracker && silent)
        neighbours_failed(options->neighbours, &call->source.neighbour.address);
    else if (!call->source.is_tracker && !err)
        neighbours_answered(options->neighbours, &call->source.neighbour.address, result->clock);
}

static void explain(const struct call *call, enum err err, struct why *why)
{
    struct why cause = *why;
    const char *who = call->source.is_tracker ? "tracker" : "neighbour";
    if (err == ERR_INVALID || err == ERR_TOO_LARGE || err == ERR_PROTOCOL)
        (void)why_set(why, err, "%s %s: its answer is not valid: %s", who, call->source.name, cause.text);
    else if (err == ERR_UNREACHABLE || err == ERR_TIMEOUT)
        (void)why_set(why, err, "%s %s does not answer: %s", who, call->source.name, cause.text);
}

static void tell_done(const struct call *call, enum err err, const struct why *why)
{
    const struct enquiry_listener *listener = &call->question->listener;
    if (listener->done)
        listener->done(listener->context, &call->source, err, why);
}

/* A page or an answer; ERR_BUSY: there is more to come. */
static enum err take(struct call *call, const struct http_result *result, struct why *why)
{
    if (!call->answer)
        return why_set(why, ERR_INVALID, "it is empty");
    return call->question->of_files ? take_files(call, why) : take_holders(call, result, why);
}

/* Only a tracker's silence or its own trouble leads on to the next: what one refuses, another one would refuse, too. */
static bool is_trouble(enum err err)
{
    return err == ERR_UNREACHABLE || err == ERR_TIMEOUT || err == ERR_BUSY;
}

static void ask_next_tracker(struct call *call);

static void on_done(void *context, const struct http_result *result)
{
    struct call *call = context;
    struct enquiry *enquiry = call->enquiry;
    struct why why = {""};
    call->transfer = NULL;
    enum err err = read_status(call, result, &why);
    judge(call, result, err);
    if (call->silent) {
        drop_call(call);
        return;
    }
    if (err && is_trouble(err) && call->pages == 0)
        ask_next_tracker(call);
    if (!err)
        err = take(call, result, &why);
    enquiry->moved_ms = timing_now_ms();
    enquiry->answered = enquiry->answered || !err || err == ERR_BUSY;
    if (err == ERR_BUSY)
        return;
    if (err)
        explain(call, err, &why);
    tell_done(call, err, &why);
    drop_call(call);
}

static bool on_data(void *context, const uint8_t *bytes, size_t length)
{
    struct call *call = context;
    return http_gather(&call->answer, &call->length, bytes, length);
}

/* ---- questions ---- */

/* Asks the source, or asks it for the page after that cursor. */
static enum err begin(struct call *call, const char *after)
{
    const struct question *question = call->question;
    char *url = NULL, *cursor = after ? http_escape(after) : strdup("");
    bool has_pattern = question->of_files && question->text[0] != '\0';
    call->length = 0;
    if (!cursor)
        return ERR_NOMEM;
    int made = question->of_files
                   ? asprintf(&url, "http://%s/v1/files?limit=%u%s%s%s%s", call->source.name, ITEMS_MAX,
                              has_pattern ? "&q=" : "", question->text, after ? "&after=" : "", cursor)
                   : asprintf(&url, "http://%s/v1/holders?limit=%zu", call->source.name, question->limit);
    free(cursor);
    if (made < 0)
        return ERR_NOMEM;
    struct http_transfer_options options = {.url = url,
                                            .body = question->of_files ? NULL : question->text,
                                            .answer_max = ANSWER_SIZE_MAX,
                                            .timeout_ms = call->source.is_tracker ? CALL_TIMEOUT_MS : NEIGHBOUR_MS,
                                            .context = call,
                                            .on_data = on_data,
                                            .on_done = on_done};
    enum err err = http_pool_start(call->enquiry->pool, &options, &call->transfer);
    free(url);
    return err;
}

static enum err ask(struct enquiry *enquiry, struct question *question, const struct enquiry_source *source)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return ERR_NOMEM;
    *call = (struct call){.next = enquiry->calls, .enquiry = enquiry, .question = question, .source = *source};
    enquiry->calls = call;
    if (enquiry->open++ == 0) {
        enquiry->answered = false;
        enquiry->moved_ms = timing_now_ms();
    }
    question->calls++;
    enum err err = begin(call, NULL);
    if (!err)
        return ERR_OK;
    question->calls++; /* the caller's, who lets go of it */
    drop_call(call);
    question->calls--;
    return err;
}

/* Whether it owes an answer that nobody waits for any more, or the answer to another question for holders. */
static bool owes(const struct enquiry *enquiry, const char *name)
{
    for (const struct call *call = enquiry->calls; call; call = call->next)
        if ((call->silent || !call->question->of_files) && strcmp(call->source.name, name) == 0)
            return true;
    return false;
}

static void name_neighbour(struct enquiry_source *source, const struct neighbour *neighbour)
{
    source->is_tracker = false;
    source->neighbour = *neighbour;
    address_format(&neighbour->address, source->name);
}

/* The next tracker that may be asked: of those found on the LAN, one that has proved what it is. */
static enum err ask_tracker(struct enquiry *enquiry, struct question *question)
{
    while (question->next_tracker < question->tracker_count) {
        const struct tracker_choice *choice = &question->trackers[question->next_tracker++];
        struct enquiry_source source = {.is_tracker = true};
        snprintf(source.name, sizeof source.name, "%s", choice->endpoint);
        if ((choice->is_found && !choice->is_proven) || owes(enquiry, source.name))
            continue;
        enum err err = ask(enquiry, question, &source);
        if (!err)
            enquiry->calls->choice = *choice;
        if (!err)
            enquiry->calls->hedge_at_ms = timing_now_ms() + HEDGE_MS;
        return err;
    }
    return ERR_OK;
}

static void ask_next_tracker(struct call *call)
{
    call->hedge_at_ms = 0;
    if (call->source.is_tracker)
        (void)ask_tracker(call->enquiry, call->question);
}

/* Another tracker may answer while one does not. */
static void hedge(struct enquiry *enquiry, uint64_t now_ms)
{
    for (struct call *call = enquiry->calls, *next; call; call = next) {
        next = call->next; /* a new one comes before all */
        if (call->hedge_at_ms != 0 && now_ms >= call->hedge_at_ms && !call->silent)
            ask_next_tracker(call);
    }
}

static enum err ask_all(struct enquiry *enquiry, struct question *question, unsigned whom)
{
    const struct enquiry_options *options = &enquiry->options;
    struct enquiry_source source = {.is_tracker = false};
    struct neighbour *online = NULL;
    size_t count = 0;
    enum err err = ERR_OK;
    if ((whom & ENQUIRY_TRACKER) != 0 && options->trackers) {
        question->tracker_count = trackers_choices(options->trackers, question->trackers);
        err = ask_tracker(enquiry, question);
    }
    if (!err && (whom & ENQUIRY_NEIGHBOURS) != 0 && options->neighbours)
        err = neighbours_likely(options->neighbours, question->contents, question->count, ENQUIRY_NEIGHBOURS_MAX,
                                &online, &count);
    for (size_t i = 0; i < count && !err; i++) {
        name_neighbour(&source, &online[i]);
        if (!owes(enquiry, source.name))
            err = ask(enquiry, question, &source);
    }
    free(online);
    return err;
}

/* What was asked of others goes on where asking one failed. */
static enum err finish_asking(struct question *question, enum err err)
{
    bool any = question->calls > 0;
    release(question);
    return any ? ERR_OK : err;
}

enum err enquiry_holders(struct enquiry *enquiry, unsigned whom, const struct content *contents, size_t count,
                         size_t limit, const struct enquiry_listener *listener)
{
    if (atomic_load(&enquiry->cancelled))
        return ERR_CANCELLED;
    struct question *question = calloc(1, sizeof *question);
    if (!question)
        return ERR_NOMEM;
    question->listener = *listener;
    question->count = count;
    question->limit = limit;
    question->contents = calloc(count, sizeof *question->contents);
    if (question->contents)
        memcpy(question->contents, contents, count * sizeof *contents);
    struct contents_request request = {.items = question->contents, .count = count};
    question->text = question->contents ? contents_request_format(&request) : NULL;
    enum err err = question->text ? ask_all(enquiry, question, whom) : ERR_NOMEM;
    return finish_asking(question, err);
}

static enum err new_files_question(struct enquiry *enquiry, const char *pattern, size_t pages_max,
                                   const struct enquiry_listener *listener, struct question **ret)
{
    if (atomic_load(&enquiry->cancelled))
        return ERR_CANCELLED;
    struct question *question = calloc(1, sizeof *question);
    if (!question)
        return ERR_NOMEM;
    question->of_files = true;
    question->pages_max = pages_max;
    question->listener = *listener;
    question->text = http_escape(pattern ? pattern : "");
    if (!question->text) {
        free(question);
        return ERR_NOMEM;
    }
    *ret = question;
    return ERR_OK;
}

enum err enquiry_files(struct enquiry *enquiry, unsigned whom, const char *pattern, size_t pages_max,
                       const struct enquiry_listener *listener)
{
    struct question *question;
    enum err err = new_files_question(enquiry, pattern, pages_max, listener, &question);
    return err ? err : finish_asking(question, ask_all(enquiry, question, whom));
}

enum err enquiry_files_of(struct enquiry *enquiry, const struct neighbour *neighbour, const char *pattern,
                          size_t pages_max, const struct enquiry_listener *listener)
{
    struct question *question;
    struct enquiry_source source = {.is_tracker = false};
    enum err err = new_files_question(enquiry, pattern, pages_max, listener, &question);
    if (err)
        return err;
    name_neighbour(&source, neighbour);
    return finish_asking(question, ask(enquiry, question, &source));
}

/* ---- waiting ---- */

void enquiry_run(struct enquiry *enquiry, uint64_t timeout_ms, bool idle)
{
    if (atomic_load(&enquiry->cancelled))
        drop_all(enquiry);
    else if (enquiry->open > 0 || idle)
        (void)http_pool_run(enquiry->pool, timeout_ms);
    hedge(enquiry, timing_now_ms());
}

/* They are not asked again before they have answered this. */
static void stop_listening(struct enquiry *enquiry)
{
    for (struct call *call = enquiry->calls; call; call = call->next) {
        struct why why = {""};
        if (call->silent)
            continue;
        (void)why_set(&why, ERR_TIMEOUT, "no answer in time");
        explain(call, ERR_TIMEOUT, &why);
        tell_done(call, ERR_TIMEOUT, &why);
        call->silent = true;
        enquiry->open--;
    }
}

enum err enquiry_finish(struct enquiry *enquiry)
{
    while (enquiry->open > 0) {
        enquiry_run(enquiry, SLICE_MS, false);
        if (enquiry->answered && timing_now_ms() >= enquiry->moved_ms + PATIENCE_MS)
            stop_listening(enquiry);
    }
    return atomic_load(&enquiry->cancelled) ? ERR_CANCELLED : ERR_OK;
}

bool enquiry_has_holder(const struct content_holders *holders, const struct peer_record *record)
{
    for (size_t i = 0; i < holders->holder_count; i++)
        if (memcmp(holders->holders[i].id, record->id, HASH_SIZE) == 0 ||
            address_equal(&holders->holders[i].address, &record->address))
            return true;
    return false;
}
