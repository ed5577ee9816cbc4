#include "lamport.h"

#include "log.h"

#include <stdio.h>
#include <string.h>

/* Who, and what of them: of "http://host:port/path" both, else the address and the whole target. */
struct parties {
    char who[ADDRESS_TEXT_SIZE + 256];
    const char *path;
};

static void split(const struct lamport_message *message, struct parties *ret)
{
    static const char scheme[] = "http://";
    const char *target = message->target ? message->target : "?";
    ret->path = target;
    ret->who[0] = '\0';
    if (message->peer) {
        address_format_host(message->peer, ret->who);
    } else if (strncmp(target, scheme, sizeof scheme - 1) == 0) {
        const char *host = target + sizeof scheme - 1;
        size_t length = strcspn(host, "/");
        ret->path = host + length;
        snprintf(ret->who, sizeof ret->who, "%.*s", (int)length, host);
    }
}

void lamport_log(void *context, const struct lamport_event *event)
{
    const struct lamport_message *message = event->message;
    struct parties parties;
    char status[24] = "", theirs[48] = "";
    (void)context;
    if (!log_enabled(LOG_DEBUG))
        return;
    split(message, &parties);
    if (message->status != 0)
        snprintf(status, sizeof status, "%d to ", message->status);
    if (event->is_ignored)
        snprintf(theirs, sizeof theirs, ", whose clock is ignored");
    else if (!event->is_sent)
        snprintf(theirs, sizeof theirs, ", sent at %llu", (unsigned long long)event->theirs);
    log_debug("clock %llu -> %llu: %s %s%s %s %s %s%s", (unsigned long long)event->before,
              (unsigned long long)event->after, event->is_sent ? "sent" : "received", status,
              message->method ? message->method : "?", parties.path, event->is_sent ? "to" : "from", parties.who,
              theirs);
}
