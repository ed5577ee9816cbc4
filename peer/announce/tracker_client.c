#include "tracker_client.h"

#include "http_client.h"
#include "limits.h"

#include <stdatomic.h>

/* A packet on the LAN can aim us anywhere: what is asked there first is small, and so is what is read. */
#define PROOF_TIMEOUT_MS 2000u
#define PROOF_SIZE_MAX 4096u
/* How fast the wait for a tracker to be found notices that it was cancelled. */
#define SLICE_MS 50u

struct tracker_client {
    struct trackers *trackers;
    struct http_caller *caller;
    const struct identity *identity;
    uint8_t known_as[HASH_SIZE]; /* to the tracker that answered last */
    uint64_t timeout_ms;         /* 0: the default */
    atomic_bool cancelled;
};

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
    client->identity = identity;
    return client;
}

void tracker_client_free(struct tracker_client *client)
{
    if (!client)
        return;
    http_caller_free(client->caller);
    free(client);
}

void tracker_client_cancel(struct tracker_client *client)
{
    atomic_store(&client->cancelled, true);
    http_caller_cancel(client->caller);
}

void tracker_client_resume(struct tracker_client *client, uint64_t timeout_ms)
{
    client->timeout_ms = timeout_ms;
    atomic_store(&client->cancelled, false);
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

/* What is to be asked; of whom, and as whom, is not known yet. */
struct question {
    const char *method;
    const char *path;
    bool of_own;      /* `path` is what follows "/v1/peers/<own id>", and the secret is shown */
    const char *body; /* or: */
    const struct register_request
        *registration; /* its body, under the id that the tracker knows; the secret is shown */
};

/* Who answers at an address that a packet named must be the tracker that it told of, at the default one any tracker. */
static enum err prove(struct tracker_client *client, const struct tracker_choice *choice, struct why *why)
{
    struct http_answer answer = {0};
    struct http_call call = {.method = "GET", .timeout_ms = PROOF_TIMEOUT_MS, .answer_max = PROOF_SIZE_MAX};
    uint8_t id[HASH_SIZE];
    char url[TRACKERS_TEXT_SIZE + 16];
    snprintf(url, sizeof url, "http://%.*s/healthz", (int)sizeof choice->endpoint - 1, choice->endpoint);
    call.url = url;
    enum err err = http_call(client->caller, &call, &answer, why);
    if (err)
        return err;
    if (answer.status != 200 || health_answer_parse(answer.body, answer.length, id, NULL))
        err = why_set(why, ERR_PROTOCOL, "what answers there is no tracker");
    else if (choice->is_found && memcmp(id, choice->id, HASH_SIZE) != 0)
        err = why_set(why, ERR_PROTOCOL, "it is not the tracker that announced itself");
    http_answer_free(&answer);
    return err;
}

/* The request itself; *ret_call gets texts that the caller frees. */
static enum err put(const struct question *question, const char *endpoint, const struct identity *identity,
                    struct http_call *call, char **ret_url, char **ret_body)
{
    char id[HASH_HEX + 1];
    hex_encode(identity->id, HASH_SIZE, id);
    *ret_body = NULL;
    if (asprintf(ret_url, "http://%s%s%s%s", endpoint, question->of_own ? "/v1/peers/" : "", question->of_own ? id : "",
                 question->path) < 0) {
        *ret_url = NULL;
        return ERR_NOMEM;
    }
    if (question->registration) {
        struct register_request request = *question->registration;
        memcpy(request.id, identity->id, HASH_SIZE);
        *ret_body = register_request_format(&request);
        if (!*ret_body)
            return ERR_NOMEM;
    }
    call->method = question->method;
    call->url = *ret_url;
    call->body = *ret_body ? *ret_body : question->body;
    return ERR_OK;
}

/* One try at one tracker.  ERR_OK leaves an answer that the caller frees; every other status is an error here. */
static enum err call_one(struct tracker_client *client, const struct tracker_choice *choice,
                         const struct question *question, struct http_answer *ret, bool *ret_answered, struct why *why)
{
    char bearer[IDENTITY_BEARER_SIZE] = "", *url = NULL, *body = NULL;
    struct http_call call = {.timeout_ms = client->timeout_ms};
    struct why cause = {""};
    struct identity own = *client->identity;
    enum err err = ERR_OK;
    *ret_answered = false;
    if (choice->is_found)
        err = identity_for_tracker(client->identity, choice->id, &own);
    if (!err && !choice->is_proven)
        err = prove(client, choice, &cause);
    if (!err && (question->of_own || question->registration)) {
        identity_bearer(&own, bearer);
        call.bearer = bearer;
    }
    if (!err)
        err = put(question, choice->endpoint, &own, &call, &url, &body);
    if (!err)
        err = http_call(client->caller, &call, ret, &cause);
    free(url);
    free(body);
    explicit_bzero(bearer, sizeof bearer);
    memcpy(client->known_as, own.id, HASH_SIZE);
    explicit_bzero(&own, sizeof own);
    if (err == ERR_NOMEM)
        return why_set(why, err, "out of memory");
    if (err)
        return why_set(why, err, "tracker %s does not answer: %s", choice->endpoint, cause.text);
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
static enum err call_around(struct tracker_client *client, const struct question *question, struct http_answer *ret,
                            bool *ret_settled, struct why *why)
{
    struct tracker_choice choices[TRACKERS_CHOICES_MAX];
    size_t count = trackers_choices(client->trackers, choices);
    enum err err = ERR_UNREACHABLE;
    *ret_settled = count == 0;
    if (count == 0)
        return why_set(why, err, "there is no tracker (--no-tracker)");
    for (size_t i = 0; i < count && !*ret_settled; i++) {
        bool answered;
        err = call_one(client, &choices[i], question, ret, &answered, why);
        *ret_settled = answered || err == ERR_CANCELLED || err == ERR_NOMEM;
        if (answered)
            trackers_answered(client->trackers, &choices[i]);
        else if (!*ret_settled)
            trackers_failed(client->trackers, &choices[i]);
    }
    return err == ERR_TOO_LARGE && !*ret_settled ? ERR_PROTOCOL : err;
}

static enum err call_any(struct tracker_client *client, const struct question *question, struct http_answer *ret,
                         struct why *why)
{
    for (;;) {
        bool settled, found = false, expected = true;
        uint64_t seen = trackers_seen(client->trackers);
        enum err err = call_around(client, question, ret, &settled, why);
        if (settled)
            return err;
        while (!found && expected && !atomic_load(&client->cancelled))
            found = trackers_wait(client->trackers, seen, SLICE_MS, &expected);
        if (atomic_load(&client->cancelled))
            return why_set(why, ERR_CANCELLED, "%s", err_name(ERR_CANCELLED));
        if (!found)
            return err;
    }
}

static enum err get(struct tracker_client *client, const char *path, struct http_answer *ret, struct why *why)
{
    const struct question question = {.method = "GET", .path = path};
    return call_any(client, &question, ret, why);
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

static enum err ask_for_answer(struct tracker_client *client, const struct question *question,
                               struct register_answer *ret, struct why *why)
{
    struct http_answer answer = {0};
    memset(ret, 0, sizeof *ret);
    enum err err = call_any(client, question, &answer, why);
    return err ? err : parsed(&answer, register_answer_parse(answer.body, answer.length, ret, why), why);
}

/* ---- the calls ---- */

enum err tracker_register(struct tracker_client *client, const struct register_request *request,
                          struct register_answer *ret, struct why *why)
{
    const struct question question = {.method = "POST", .path = "/v1/peers", .registration = request};
    return ask_for_answer(client, &question, ret, why);
}

enum err tracker_heartbeat(struct tracker_client *client, struct register_answer *ret, struct why *why)
{
    const struct question question = {.method = "POST", .of_own = true, .path = "/heartbeat", .body = "{}"};
    return ask_for_answer(client, &question, ret, why);
}

enum err tracker_change_files(struct tracker_client *client, const struct files_request *request,
                              struct register_answer *ret, struct why *why)
{
    char *body = files_request_format(request);
    const struct question question = {.method = "POST", .of_own = true, .path = "/files", .body = body};
    if (!body)
        return why_set(why, ERR_NOMEM, "out of memory");
    enum err err = ask_for_answer(client, &question, ret, why);
    free(body);
    return err;
}

enum err tracker_unregister(struct tracker_client *client, struct why *why)
{
    const struct question question = {.method = "DELETE", .of_own = true, .path = ""};
    struct http_answer answer = {0};
    enum err err = call_any(client, &question, &answer, why);
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

static void know_own(const struct tracker_client *client, struct peer_record *record)
{
    if (memcmp(record->id, client->known_as, HASH_SIZE) == 0)
        memcpy(record->id, client->identity->id, HASH_SIZE);
}

enum err tracker_peers(struct tracker_client *client, const char *after, size_t limit, struct peer_list *ret,
                       struct why *why)
{
    struct http_answer answer = {0};
    memset(ret, 0, sizeof *ret);
    enum err err = get_list(client, list_path("/v1/peers", limit, "", NULL, after), &answer, why);
    if (!err)
        err = parsed(&answer, peer_list_parse(answer.body, answer.length, ret, why), why);
    for (size_t i = 0; !err && i < ret->count; i++)
        know_own(client, &ret->items[i]);
    return err;
}

/* A tracker elsewhere cannot aim us at this machine's own services, or at a link that it is not on. */
static void check_holders(const struct tracker_client *client, struct content_holders *holders,
                          const struct address *tracker)
{
    size_t kept = 0;

    for (size_t i = 0; i < holders->holder_count; i++) {
        know_own(client, &holders->holders[i]);
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
        check_holders(client, ret, &tracker);
    return err;
}
