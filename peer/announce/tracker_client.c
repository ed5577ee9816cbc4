#include "tracker_client.h"

#include "http_client.h"
#include "limits.h"

#include <pthread.h>

struct trackers {
    pthread_mutex_t lock; /* guards `current` */
    size_t current;
    size_t count;
    char **endpoints;
};

struct tracker_client {
    struct trackers *trackers;
    struct http_caller *caller;
    char id[HASH_HEX + 1];
    char bearer[IDENTITY_BEARER_SIZE];
    uint64_t timeout_ms; /* 0: the default */
};

struct trackers *trackers_new(const char *const *endpoints, size_t count)
{
    struct trackers *trackers = calloc(1, sizeof *trackers);
    if (!trackers)
        return NULL;
    pthread_mutex_init(&trackers->lock, NULL);
    trackers->endpoints = calloc(count + 1, sizeof *trackers->endpoints);
    for (size_t i = 0; trackers->endpoints && i < count; i++) {
        trackers->endpoints[i] = strdup(endpoints[i]);
        if (!trackers->endpoints[i])
            break;
        trackers->count++;
    }
    if (trackers->endpoints && trackers->count == count)
        return trackers;
    trackers_free(trackers);
    return NULL;
}

void trackers_free(struct trackers *trackers)
{
    if (!trackers)
        return;
    for (size_t i = 0; trackers->endpoints && i < trackers->count; i++)
        free(trackers->endpoints[i]);
    free(trackers->endpoints);
    pthread_mutex_destroy(&trackers->lock);
    free(trackers);
}

static size_t current_index(struct trackers *trackers)
{
    pthread_mutex_lock(&trackers->lock);
    size_t index = trackers->current;
    pthread_mutex_unlock(&trackers->lock);
    return index;
}

static void set_current(struct trackers *trackers, size_t index)
{
    pthread_mutex_lock(&trackers->lock);
    trackers->current = index;
    pthread_mutex_unlock(&trackers->lock);
}

void trackers_current(struct trackers *trackers, char *ret_text, size_t capacity)
{
    const char *text = trackers->count > 0 ? trackers->endpoints[current_index(trackers)] : "none";
    snprintf(ret_text, capacity, "%s", text);
}

size_t trackers_count(const struct trackers *trackers)
{
    return trackers->count;
}

struct tracker_client *tracker_client_new(struct trackers *trackers, struct lamport *clock,
                                          const struct identity *identity)
{
    struct tracker_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->trackers = trackers;
    client->caller = http_caller_new(clock, "enxame-peer/" ENXAME_VERSION);
    if (!client->caller) {
        free(client);
        return NULL;
    }
    hex_encode(identity->id, HASH_SIZE, client->id);
    identity_bearer(identity, client->bearer);
    return client;
}

void tracker_client_free(struct tracker_client *client)
{
    if (!client)
        return;
    http_caller_free(client->caller);
    explicit_bzero(client->bearer, sizeof client->bearer);
    free(client);
}

void tracker_client_cancel(struct tracker_client *client)
{
    http_caller_cancel(client->caller);
}

void tracker_client_resume(struct tracker_client *client, uint64_t timeout_ms)
{
    client->timeout_ms = timeout_ms;
    http_caller_resume(client->caller);
}

/* ---- one call, at the first tracker that answers it ---- */

/* What a status other than 2xx means to the caller; `why` gets the problem's own words. */
static enum err refusal(const struct http_answer *answer, struct why *why)
{
    enum err err = ERR_REFUSED;
    if (answer->status == 404)
        err = ERR_NOT_FOUND;
    else if (answer->status == 409)
        err = ERR_CONFLICT;
    else if (answer->status == 401 || answer->status == 403)
        err = ERR_DENIED;
    else if (answer->status == 503)
        err = ERR_BUSY;
    if (why && problem_parse(answer->body, answer->length, why))
        return err;
    return why_set(why, err, "the tracker answered with status %d", answer->status);
}

/* One try at one tracker.  ERR_OK leaves an answer that the caller frees; every other status is an error here. */
static enum err call_one(struct tracker_client *client, const char *endpoint, const struct http_call *call,
                         const char *path, struct http_answer *ret, bool *ret_answered, struct why *why)
{
    char *url = NULL;
    *ret_answered = false;
    if (asprintf(&url, "http://%s%s", endpoint, path) < 0)
        return why_set(why, ERR_NOMEM, "out of memory");
    struct http_call with_url = *call;
    with_url.url = url;
    with_url.timeout_ms = client->timeout_ms;
    struct why cause = {""};
    enum err err = http_call(client->caller, &with_url, ret, &cause);
    free(url);
    if (err)
        return why_set(why, err, "tracker %s does not answer: %s", endpoint, cause.text);
    *ret_answered = ret->status < 500;
    if (ret->status >= 200 && ret->status < 300)
        return ERR_OK;
    err = refusal(ret, why);
    http_answer_free(ret);
    return err;
}

/*
 * Once around the list from the current tracker.  Only a tracker's silence or its own trouble leads on to the next: what
 * one refuses for a reason, another one would refuse, too.
 */
static enum err call_any(struct tracker_client *client, const struct http_call *call, const char *path,
                         struct http_answer *ret, struct why *why)
{
    struct trackers *trackers = client->trackers;
    if (trackers->count == 0)
        return why_set(why, ERR_UNREACHABLE, "there is no tracker (--no-tracker)");
    size_t first = current_index(trackers);
    enum err err = ERR_UNREACHABLE;
    for (size_t i = 0; i < trackers->count; i++) {
        size_t index = (first + i) % trackers->count;
        bool answered;
        err = call_one(client, trackers->endpoints[index], call, path, ret, &answered, why);
        if (answered && index != first)
            set_current(trackers, index);
        if (answered || err == ERR_CANCELLED || err == ERR_NOMEM)
            return err;
    }
    return err == ERR_TOO_LARGE ? ERR_PROTOCOL : err;
}

/* Takes ownership of `body`; NULL is an allocation that failed. */
static enum err post(struct tracker_client *client, const char *path, char *body, struct http_answer *ret,
                     struct why *why)
{
    if (!body)
        return why_set(why, ERR_NOMEM, "out of memory");
    struct http_call call = {.method = "POST", .body = body, .bearer = client->bearer};
    enum err err = call_any(client, &call, path, ret, why);
    free(body);
    return err;
}

static enum err get(struct tracker_client *client, const char *path, struct http_answer *ret, struct why *why)
{
    struct http_call call = {.method = "GET"};
    return call_any(client, &call, path, ret, why);
}

/* A message that cannot be parsed is the tracker's fault, not the caller's. */
static enum err parsed(struct http_answer *answer, enum err err, struct why *why)
{
    http_answer_free(answer);
    if (err != ERR_INVALID && err != ERR_TOO_LARGE)
        return err;
    struct why cause = why ? *why : (struct why){""};
    return why_set(why, ERR_PROTOCOL, "the tracker's answer is not valid: %s", cause.text);
}

static enum err post_for_answer(struct tracker_client *client, const char *path, char *body,
                                struct register_answer *ret, struct why *why)
{
    struct http_answer answer = {0};
    memset(ret, 0, sizeof *ret);
    enum err err = post(client, path, body, &answer, why);
    return err ? err : parsed(&answer, register_answer_parse(answer.body, answer.length, ret, why), why);
}

/* ---- the calls ---- */

enum err tracker_register(struct tracker_client *client, const struct register_request *request,
                          struct register_answer *ret, struct why *why)
{
    return post_for_answer(client, "/v1/peers", register_request_format(request), ret, why);
}

/* "/v1/peers/<own id>" and what follows. */
#define OWN_PATH_SIZE (10u + HASH_HEX + 16u)
static const char *own_path(const struct tracker_client *client, const char *rest, char ret[static OWN_PATH_SIZE])
{
    snprintf(ret, OWN_PATH_SIZE, "/v1/peers/%s%s", client->id, rest);
    return ret;
}

enum err tracker_heartbeat(struct tracker_client *client, struct register_answer *ret, struct why *why)
{
    char path[OWN_PATH_SIZE];
    return post_for_answer(client, own_path(client, "/heartbeat", path), strdup("{}"), ret, why);
}

enum err tracker_change_files(struct tracker_client *client, const struct files_request *request,
                              struct register_answer *ret, struct why *why)
{
    char path[OWN_PATH_SIZE];
    return post_for_answer(client, own_path(client, "/files", path), files_request_format(request), ret, why);
}

enum err tracker_unregister(struct tracker_client *client, struct why *why)
{
    char path[OWN_PATH_SIZE];
    struct http_call call = {.method = "DELETE", .bearer = client->bearer};
    struct http_answer answer = {0};
    enum err err = call_any(client, &call, own_path(client, "", path), &answer, why);
    if (!err)
        http_answer_free(&answer);
    return err;
}

/* "<base>?limit=N&<name>=<value>&after=<after>", values escaped, absent ones left out; NULL: out of memory. */
static char *list_path(const char *base, size_t limit, const char *name, const char *value, const char *after)
{
    char *path = NULL;
    char *escaped = value && *value ? http_escape(value) : strdup("");
    char *cursor = after ? http_escape(after) : strdup("");
    if (!escaped || !cursor ||
        asprintf(&path, "%s?limit=%zu%s%s%s%s%s%s", base, limit, *escaped ? "&" : "", *escaped ? name : "",
                 *escaped ? "=" : "", escaped, after ? "&after=" : "", cursor) < 0)
        path = NULL;
    free(escaped);
    free(cursor);
    return path;
}

/* Takes ownership of `path`. */
static enum err get_list(struct tracker_client *client, char *path, struct http_answer *ret, struct why *why)
{
    if (!path)
        return why_set(why, ERR_NOMEM, "out of memory");
    enum err err = get(client, path, ret, why);
    free(path);
    return err;
}

enum err tracker_peers(struct tracker_client *client, const char *after, size_t limit, struct peer_list *ret,
                       struct why *why)
{
    struct http_answer answer = {0};
    memset(ret, 0, sizeof *ret);
    enum err err = get_list(client, list_path("/v1/peers", limit, "", NULL, after), &answer, why);
    return err ? err : parsed(&answer, peer_list_parse(answer.body, answer.length, ret, why), why);
}

enum err tracker_search(struct tracker_client *client, const char *pattern, const char *after, size_t limit,
                        struct file_list *ret, struct why *why)
{
    struct http_answer answer = {0};
    memset(ret, 0, sizeof *ret);
    enum err err = get_list(client, list_path("/v1/files", limit, "q", pattern, after), &answer, why);
    return err ? err : parsed(&answer, file_list_parse(answer.body, answer.length, ret, why), why);
}

/* A tracker elsewhere cannot aim us at this machine's own services, or at a link that it is not on. */
static void drop_unbelievable(struct content_holders *holders, const struct address *tracker)
{
    size_t kept = 0;

    for (size_t i = 0; i < holders->holder_count; i++) {
        if (address_believable(&holders->holders[i].address, tracker))
            holders->holders[kept++] = holders->holders[i];
    }
    holders->holder_count = kept;
}

enum err tracker_holders(struct tracker_client *client, const uint8_t root[static HASH_SIZE], const uint64_t *size,
                         size_t limit, struct content_holders *ret, struct why *why)
{
    char base[32 + HASH_HEX], hex[HASH_HEX + 1], digits[24] = "";
    struct http_answer answer = {0};
    memset(ret, 0, sizeof *ret);
    hex_encode(root, HASH_SIZE, hex);
    snprintf(base, sizeof base, "/v1/files/%s", hex);
    if (size)
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)*size);
    enum err err = get_list(client, list_path(base, limit, "size", digits, NULL), &answer, why);
    if (err)
        return err;
    struct address tracker = answer.from;
    err = parsed(&answer, content_holders_parse(answer.body, answer.length, ret, why), why);
    if (!err)
        drop_unbelievable(ret, &tracker);
    return err;
}

enum err tracker_holders_of_many(struct tracker_client *client, const struct content *contents, size_t count,
                                 struct holders_answer *ret, struct why *why)
{
    /* The list is only read. */
    const struct contents_request request = {.items = (struct content *)(uintptr_t)contents, .count = count};
    struct http_call call = {.method = "POST"}; /* a question: the secret stays here */
    struct http_answer answer = {0};
    memset(ret, 0, sizeof *ret);
    char *body = contents_request_format(&request);
    if (!body)
        return why_set(why, ERR_NOMEM, "out of memory");
    call.body = body;
    enum err err = call_any(client, &call, "/v1/holders", &answer, why);
    free(body);
    if (err)
        return err;
    struct address tracker = answer.from;
    err = parsed(&answer, holders_answer_parse(answer.body, answer.length, ret, why), why);
    for (size_t i = 0; !err && i < ret->count; i++)
        drop_unbelievable(&ret->items[i], &tracker);
    return err;
}
