#include "hex.h"
#include "identity.h"
#include "limits.h"
#include "log.h"
#include "messages.h"
#include "routes.h"

/* A write under way, with the request that waits for its commit. */
struct change {
    struct writer_job job; /* first: finish() gets its address */
    struct tracker *tracker;
    struct http_request *request;
    struct register_request registration;
    struct files_request files;
};

static void change_free(struct change *change)
{
    register_request_free(&change->registration);
    files_request_free(&change->files);
    free(change);
}

static struct change *change_new(struct tracker *tracker, struct http_request *request, enum store_op op)
{
    struct change *change = calloc(1, sizeof *change);
    if (!change) {
        http_reply_json(request, 500, NULL);
        return NULL;
    }
    change->tracker = tracker;
    change->request = request;
    change->job.write.op = op;
    change->job.items = 1;
    change->job.bytes = sizeof *change;
    return change;
}

static void reply_invalid(struct http_request *request, const struct why *why)
{
    http_reply_problem(request, 400, "invalid-body", "%s", why->text);
}

/* Whether the request shows the secret of `id`; otherwise the refusal has been replied. */
static bool authorized(struct http_request *request, const uint8_t id[static HASH_SIZE])
{
    uint8_t secret[HASH_SIZE];
    const char *header = http_request_header(request, "Authorization");
    if (log_enabled(LOG_DEBUG)) {
        char text[HASH_HEX + 1];
        hex_encode(id, HASH_SIZE, text);
        http_request_set_subject(request, text);
    }
    if (!header || !identity_parse_bearer(header, secret)) {
        http_reply_header(request, "WWW-Authenticate", "Bearer");
        http_reply_problem(request, 401, "secret-missing",
                           "a registration is changed with 'Authorization: Bearer' and its 64-digit secret");
        return false;
    }
    bool owns = identity_owns(secret, id);
    explicit_bzero(secret, sizeof secret);
    if (!owns)
        http_reply_problem(request, 403, "secret-wrong", "the secret is not the one of this id");
    return owns;
}

/* The id in the path, where the request may change it; otherwise the refusal has been replied. */
static bool path_id(struct http_request *request, uint8_t ret_id[static HASH_SIZE])
{
    if (hex_decode(http_request_capture(request, 0), HASH_SIZE, ret_id))
        return authorized(request, ret_id);
    http_reply_problem(request, 400, "invalid-path", "id: must be 64 lower-case hex digits");
    return false;
}

static void reply_written(struct change *change)
{
    const struct store_write *write = &change->job.write;
    struct http_request *request = change->request;
    struct register_answer answer = {.files = write->files_held};
    switch (write->op) {
    case STORE_UNREGISTER:
        http_reply_empty(request, 204);
        return;
    case STORE_REGISTER:
        answer.heartbeat_s = change->tracker->heartbeat_s;
        answer.expires_s = change->tracker->expire_s;
        break;
    case STORE_HEARTBEAT:
        answer.expires_s = change->tracker->expire_s;
        break;
    default:
        break;
    }
    http_reply_json(request, 200, register_answer_format(&answer));
}

static void change_finished(struct writer_job *job)
{
    struct change *change = (struct change *)job;
    struct http_request *request = change->request;
    enum err err = job->write.err;
    if (err == ERR_NOT_FOUND)
        http_reply_problem(request, 404, "unknown-peer",
                           "no such registration: it lapsed or never was; register again");
    else if (err == ERR_CONFLICT)
        http_reply_problem(request, 409, "peer-elsewhere",
                           "this id is registered by another instance at another address, and that one is alive");
    else if (err == ERR_TOO_LARGE)
        http_reply_problem(request, 413, "too-many-files", "a peer may register at most %u files", PEER_FILES_MAX);
    else if (routes_store_ok(change->tracker, request, err))
        reply_written(change);
    change_free(change);
}

/* The change belongs to the writer, or is replied and freed. */
static void submit(struct change *change)
{
    struct tracker *tracker = change->tracker;
    struct http_request *request = change->request;
    change->job.finish = change_finished;
    http_defer(request);
    enum err err = writer_submit(tracker->writer, &change->job);
    if (err != ERR_OK) {
        routes_store_ok(tracker, request, err);
        change_free(change);
    }
}

/*
 * A peer that serves on a wildcard beside the tracker comes from 127.0.0.1, where nobody else reaches it: then the first of
 * its further addresses that others may dial.
 */
static void take_reachable(struct register_request *registration, const struct address *source)
{
    struct address nowhere = {0};
    registration->address = (struct address){.port = registration->address.port};
    memcpy(registration->address.ip, source->ip, sizeof source->ip);
    if (!address_is_loopback(source))
        return;
    for (size_t i = 0; i < registration->more_count; i++) {
        if (address_believable(&registration->more[i], &nowhere)) {
            registration->address = registration->more[i];
            return;
        }
    }
}

/* What others will dial: the claimed host where it is believable; where none is claimed, the request's source. */
static bool settle_address(struct http_request *request, struct register_request *registration)
{
    const struct address *source = http_request_source(request);
    struct address *address = &registration->address;
    if (address_is_unspecified(address)) {
        take_reachable(registration, source);
        return true;
    }
    if (address_believable(address, source))
        return true;
    char claimed[ADDRESS_TEXT_SIZE], seen[ADDRESS_TEXT_SIZE];
    address_format_host(address, claimed);
    address_format_host(source, seen);
    http_reply_problem(request, 400, "invalid-body", "host: %s is not believed of a request that came from %s", claimed,
                       seen);
    return false;
}

void handlers_peers_register(void *context, struct http_request *request)
{
    struct why why;
    size_t length;
    struct change *change = change_new(context, request, STORE_REGISTER);
    if (!change)
        return;
    const char *body = http_request_body(request, &length);
    struct register_request *registration = &change->registration;
    if (register_request_parse(body, length, registration, &why) != ERR_OK)
        reply_invalid(request, &why);
    else if (authorized(request, registration->id) && settle_address(request, registration)) {
        change->job.write.registration = registration;
        change->job.items += registration->files.count;
        change->job.bytes += length;
        submit(change);
        return;
    }
    change_free(change);
}

void handlers_peers_files(void *context, struct http_request *request)
{
    struct why why;
    size_t length;
    uint8_t id[HASH_SIZE];
    if (!path_id(request, id))
        return;
    struct change *change = change_new(context, request, STORE_FILES);
    if (!change)
        return;
    const char *body = http_request_body(request, &length);
    if (files_request_parse(body, length, &change->files, &why) != ERR_OK) {
        reply_invalid(request, &why);
        change_free(change);
        return;
    }
    memcpy(change->job.write.id, id, HASH_SIZE);
    change->job.write.files = &change->files;
    change->job.items += change->files.add.count + change->files.remove.count;
    change->job.bytes += length;
    submit(change);
}

void handlers_peers_heartbeat(void *context, struct http_request *request)
{
    struct why why;
    size_t length;
    uint8_t id[HASH_SIZE];
    if (!path_id(request, id))
        return;
    const char *body = http_request_body(request, &length);
    if (heartbeat_request_parse(body, length, &why) != ERR_OK) {
        reply_invalid(request, &why);
        return;
    }
    struct change *change = change_new(context, request, STORE_HEARTBEAT);
    if (!change)
        return;
    memcpy(change->job.write.id, id, HASH_SIZE);
    submit(change);
}

void handlers_peers_unregister(void *context, struct http_request *request)
{
    uint8_t id[HASH_SIZE];
    if (!path_id(request, id))
        return;
    struct change *change = change_new(context, request, STORE_UNREGISTER);
    if (!change)
        return;
    memcpy(change->job.write.id, id, HASH_SIZE);
    submit(change);
}

void handlers_peers_list(void *context, struct http_request *request)
{
    struct tracker *tracker = context;
    uint64_t limit;
    struct peer_list peers;
    if (!http_request_number(request, "limit", 1, ITEMS_MAX, ITEMS_DEFAULT, &limit))
        return;
    enum err err = store_peers(tracker->store, http_request_query(request, "after"), (size_t)limit, &peers);
    if (err == ERR_INVALID)
        http_reply_problem(request, 400, "invalid-query", "after: must be the 'next' of an earlier page");
    else if (routes_store_ok(tracker, request, err))
        http_reply_json(request, 200, peer_list_format(&peers));
    peer_list_free(&peers);
}
