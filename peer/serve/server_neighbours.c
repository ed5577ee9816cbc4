/* What other peers say about themselves (hello, bye), whom this one knows (peers), and what it holds (holders). */
#include "greeting.h"
#include "limits.h"
#include "server_internal.h"

#include <string.h>

static uint64_t clock_of(const struct http_request *request)
{
    const char *text = http_request_header(request, "Lamport-Clock");
    uint64_t clock;
    return text && lamport_parse(text, &clock) ? clock : 0;
}

/* A reason to look: nobody is ONLINE because of what it says itself. */
static void take_sighting(struct server *server, const struct http_request *request,
                          const struct hello_message *message)
{
    const struct address *source = http_request_source(request);
    struct neighbour_sighting sighting = {
        .has_id = true, .has_instance = true, .clock = clock_of(request), .source = NEIGHBOUR_BY_HELLO};
    memcpy(sighting.id, message->id, HASH_SIZE);
    memcpy(sighting.instance, message->instance, INSTANCE_SIZE);
    greeting_place(message, source, &sighting.address);
    if (address_believable(&sighting.address, source))
        (void)neighbours_found(server->options.neighbours, &sighting);
}

void server_hello(void *context, struct http_request *request)
{
    struct server *server = context;
    struct neighbours *neighbours = server->options.neighbours;
    struct hello_message message;
    struct why why = {""};
    size_t length;
    const char *body = http_request_body(request, &length);
    if (!server_parsed(request, hello_message_parse(body, length, &message, &why), &why))
        return;
    if (memcmp(message.network, neighbours_network(neighbours), HASH_SIZE) != 0) {
        http_reply_problem(request, 403, GREETING_OTHER_NETWORK, "this peer belongs to another network (--network)");
        return;
    }
    take_sighting(server, request, &message);
    if (!atomic_load(&server->is_up)) {
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, 503, "busy", "this peer is starting");
        return;
    }
    http_reply_json(request, 200, greeting_text(neighbours, server->options.state, &server->self));
}

void server_bye(void *context, struct http_request *request)
{
    struct server *server = context;
    struct bye_message message;
    struct why why = {""};
    size_t length;
    const char *body = http_request_body(request, &length);
    if (!server_parsed(request, bye_message_parse(body, length, &message, &why), &why))
        return;
    neighbours_bye(server->options.neighbours, message.id, http_request_source(request));
    http_reply_empty(request, 204);
}

/* Only those that have answered this peer: hearsay is not passed on. */
void server_peers(void *context, struct http_request *request)
{
    struct server *server = context;
    struct neighbour *all = NULL;
    struct neighbour_records list = {0};
    size_t count = 0;
    char *text = NULL;
    if (!neighbours_list(server->options.neighbours, &all, &count))
        list.items = calloc(count + 1, sizeof *list.items);
    for (size_t i = 0; list.items && i < count && list.count < ITEMS_MAX; i++) {
        if (!all[i].proven || all[i].foreign)
            continue;
        struct neighbour_record *record = &list.items[list.count++];
        record->address = all[i].address;
        record->online = all[i].status == NEIGHBOUR_ONLINE;
        record->clock = all[i].clock;
        memcpy(record->id, all[i].id, HASH_SIZE);
    }
    if (list.items)
        text = neighbour_records_format(&list);
    neighbour_records_free(&list);
    free(all);
    http_reply_json(request, 200, text);
}

/* ---- POST /v1/holders: of these contents, which does this peer hold? ---- */

/* Its own record, in a list that the caller frees, where it holds the content, or a part of it. */
static enum err add_held(struct server *server, const struct content *content, struct holders_answer *answer)
{
    struct share share = {0};
    struct part_file *part = NULL;
    bool complete = !library_find(server->options.library, content, &share) && share.complete;
    share_free(&share);
    if (!complete)
        part = server_part(server, content);
    if (!complete && !part)
        return ERR_OK;
    part_file_release(part);
    struct peer_record *record = calloc(1, sizeof *record);
    if (!record)
        return ERR_NOMEM;
    record->address = server->self;
    record->complete = complete;
    memcpy(record->id, state_identity(server->options.state)->id, HASH_SIZE);
    answer->items[answer->count++] =
        (struct content_holders){.content = *content, .holders = record, .holder_count = 1, .holders_total = 1};
    return ERR_OK;
}

void server_holders(void *context, struct http_request *request)
{
    struct server *server = context;
    struct contents_request contents;
    struct holders_answer answer = {0};
    struct why why = {""};
    size_t length;
    char *text = NULL;
    const char *body = http_request_body(request, &length);
    enum err err = contents_request_parse(body, length, &contents, &why);
    if (!server_parsed(request, err, &why))
        return;
    answer.items = calloc(contents.count, sizeof *answer.items);
    for (size_t i = 0; answer.items && !err && i < contents.count; i++)
        err = add_held(server, &contents.items[i], &answer);
    if (answer.items && !err)
        text = holders_answer_format(&answer);
    holders_answer_free(&answer);
    contents_request_free(&contents);
    http_reply_json(request, 200, text);
}
