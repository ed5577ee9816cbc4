#include "hex.h"
#include "limits.h"
#include "messages.h"
#include "routes.h"

/* Holders in one answer to POST /v1/holders, shared by the contents asked for. */
#define HOLDERS_SHARED 1200u

/* Control characters are in no name, and the search index has its own use for them. */
static bool pattern_ok(struct http_request *request, const char *pattern)
{
    if (strlen(pattern) > PATTERN_SIZE_MAX) {
        http_reply_problem(request, 400, "invalid-query", "q: must have at most %u bytes", PATTERN_SIZE_MAX);
        return false;
    }
    for (const char *c = pattern; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            http_reply_problem(request, 400, "invalid-query", "q: must not have control characters");
            return false;
        }
    return true;
}

/* ---- what may take long: it runs on a searcher's thread ---- */

struct lookup {
    struct searcher_job job;
    struct tracker *tracker;
    struct http_request *request; /* its texts last until the reply */
    size_t limit;
    struct contents_request contents; /* of POST /v1/holders */
};

static void lookup_free(struct lookup *lookup)
{
    contents_request_free(&lookup->contents);
    free(lookup);
}

/* Takes `contents` over.  The lookup belongs to the searchers, or is replied and freed. */
static void look_up(const struct lookup *asked, void (*run)(struct searcher_job *job, bool cancelled))
{
    struct tracker *tracker = asked->tracker;
    struct lookup *lookup = malloc(sizeof *lookup);
    enum err err = lookup ? ERR_OK : ERR_NOMEM;
    if (lookup) {
        *lookup = *asked;
        lookup->job.run = run;
        http_defer(lookup->request);
        err = searchers_submit(tracker->searchers, &lookup->job);
    }
    if (err == ERR_OK)
        return;
    routes_store_ok(tracker, asked->request, err);
    if (lookup)
        lookup_free(lookup);
}

static void run_search(struct searcher_job *job, bool cancelled)
{
    struct lookup *lookup = (struct lookup *)job;
    struct http_request *request = lookup->request;
    struct file_list files = {0};
    enum err err = ERR_CANCELLED;
    if (!cancelled)
        err = store_search(lookup->tracker->store, http_request_query(request, "q"),
                           http_request_query(request, "after"), lookup->limit, &files);
    if (err == ERR_INVALID)
        http_reply_problem(request, 400, "invalid-query", "after: must be the 'next' of an earlier page");
    else if (routes_store_ok(lookup->tracker, request, err))
        http_reply_json(request, 200, file_list_format(&files, true));
    file_list_free(&files);
    lookup_free(lookup);
}

void handlers_files_search(void *context, struct http_request *request)
{
    uint64_t limit;
    const char *pattern = http_request_query(request, "q");
    if (pattern && !pattern_ok(request, pattern))
        return;
    if (!http_request_number(request, "limit", 1, ITEMS_MAX, ITEMS_DEFAULT, &limit))
        return;
    look_up(&(struct lookup){.tracker = context, .request = request, .limit = (size_t)limit}, run_search);
}

static void run_holders_of(struct searcher_job *job, bool cancelled)
{
    struct lookup *lookup = (struct lookup *)job;
    struct holders_answer answer = {0};
    enum err err = ERR_CANCELLED;
    if (!cancelled)
        err = store_holders_of(lookup->tracker->store, &lookup->contents, lookup->limit, &answer);
    if (routes_store_ok(lookup->tracker, lookup->request, err))
        http_reply_json(lookup->request, 200, holders_answer_format(&answer));
    holders_answer_free(&answer);
    lookup_free(lookup);
}

void handlers_files_holders_of(void *context, struct http_request *request)
{
    struct why why;
    size_t length;
    uint64_t limit;
    struct contents_request contents;
    if (!http_request_number(request, "limit", 1, ITEMS_MAX, ITEMS_DEFAULT, &limit))
        return;
    const char *body = http_request_body(request, &length);
    if (contents_request_parse(body, length, &contents, &why) != ERR_OK) {
        http_reply_problem(request, 400, "invalid-body", "%s", why.text);
        return;
    }
    size_t share = HOLDERS_SHARED / contents.count;
    look_up(&(struct lookup){.tracker = context,
                             .request = request,
                             .limit = limit < share ? (size_t)limit : share,
                             .contents = contents},
            run_holders_of);
}

/* ---- what takes a moment ---- */

void handlers_files_holders(void *context, struct http_request *request)
{
    struct tracker *tracker = context;
    uint8_t root[HASH_SIZE];
    uint64_t limit, size;
    struct content_holders holders;
    if (!hex_decode(http_request_capture(request, 0), HASH_SIZE, root)) {
        http_reply_problem(request, 400, "invalid-path", "root: must be 64 lower-case hex digits");
        return;
    }
    if (!http_request_number(request, "size", 0, CONTENT_SIZE_MAX, 0, &size) ||
        !http_request_number(request, "limit", 1, ITEMS_MAX, ITEMS_DEFAULT, &limit))
        return;
    bool sized = http_request_query(request, "size") != NULL;
    enum err err = store_holders(tracker->store, root, sized ? &size : NULL, (size_t)limit, &holders);
    if (err == ERR_NOT_FOUND)
        http_reply_problem(request, 404, "unknown-content", "nobody holds this content");
    else if (routes_store_ok(tracker, request, err))
        http_reply_json(request, 200, content_holders_format(&holders));
    content_holders_free(&holders);
}

void handlers_files_health(void *context, struct http_request *request)
{
    struct tracker *tracker = context;
    struct why why = {""};
    enum err err = store_ping(tracker->store, &why);
    if (err == ERR_OK)
        http_reply_json(request, 200, health_answer_format(store_id(tracker->store)));
    else
        http_reply_problem(request, 503, "store-failed", "the tracker's database failed: %s (%s)", err_name(err),
                           why.text);
}

void handlers_files_metrics(void *context, struct http_request *request)
{
    struct tracker *tracker = context;
    struct metrics_gauges gauges = {.queue_depth = writer_depth(tracker->writer),
                                    .search_depth = searchers_depth(tracker->searchers)};
    gauges.store_answers = store_count(tracker->store, &gauges.counts) == ERR_OK;
    if (!gauges.store_answers)
        metrics_store_error(tracker->metrics);
    http_server_count(http_request_server(request), &gauges.http);
    char *text = metrics_format(tracker->metrics, &gauges);
    if (text)
        http_reply_bytes(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, strlen(text));
    else
        http_reply_json(request, 500, NULL);
}
