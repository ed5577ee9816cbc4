#include "greeting.h"

#include <string.h>

void greeting_compose(struct neighbours *neighbours, struct state *state, const struct address *self,
                      struct hello_message *ret)
{
    *ret = (struct hello_message){
        .address = *self, .features = neighbours_features(neighbours), .files = state_count_shares(state)};
    memcpy(ret->id, state_identity(state)->id, HASH_SIZE);
    memcpy(ret->instance, neighbours_instance(neighbours), INSTANCE_SIZE);
    memcpy(ret->network, neighbours_network(neighbours), HASH_SIZE);
}

char *greeting_text(struct neighbours *neighbours, struct state *state, const struct address *self)
{
    struct hello_message message;
    greeting_compose(neighbours, state, self, &message);
    return hello_message_format(&message);
}

static enum err read_refusal(const struct greeting_reply *reply, struct why *why)
{
    char type[32];
    bool known = problem_type(reply->text, reply->length, type, sizeof type);
    if (reply->status == 403 && known && strcmp(type, GREETING_OTHER_NETWORK) == 0)
        return why_set(why, ERR_CONFLICT, "it belongs to another network");
    if (reply->status == 503)
        return why_set(why, ERR_BUSY, "it is busy");
    return why_set(why, ERR_PROTOCOL, "it answered with status %d: no peer, or an old one", reply->status);
}

enum err greeting_read(const struct neighbours *neighbours, const struct greeting_reply *reply,
                       struct roster_answer *ret, struct why *why)
{
    struct hello_message message;
    struct why cause = {""};
    if (reply->status != 200)
        return read_refusal(reply, why);
    if (hello_message_parse(reply->text, reply->length, &message, &cause))
        return why_set(why, ERR_PROTOCOL, "it did not answer as a peer would: %s", cause.text);
    if (memcmp(message.network, neighbours_network(neighbours), HASH_SIZE) != 0)
        return why_set(why, ERR_CONFLICT, "it belongs to another network");
    *ret = (struct roster_answer){.features = message.features, .files = message.files, .clock = reply->clock};
    memcpy(ret->id, message.id, HASH_SIZE);
    memcpy(ret->instance, message.instance, INSTANCE_SIZE);
    return ERR_OK;
}

/* On loopback a peer may listen at another address than it calls from. */
void greeting_place(const struct hello_message *message, const struct address *source, struct address *ret)
{
    bool both_loopback = address_is_loopback(&message->address) && address_is_loopback(source);
    *ret = both_loopback ? message->address : *source;
    ret->port = message->address.port;
}
