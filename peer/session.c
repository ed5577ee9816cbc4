#include "peer.h"

#include "log.h"
#include "timing.h"

/* How fast a wait notices an interruption. */
#define SLICE_MS 100u
#define SETTLE_MS 5000u
#define SETTLE_PROMPT_MS 1000u

void session_attach(const struct session *session, struct session *ret)
{
    memcpy(ret, session, offsetof(struct session, mode));
}

bool session_interrupted(struct session *session)
{
    return atomic_load(&session->interrupted);
}

void session_settle(struct session *session)
{
    if (!session->announcer)
        return;
    uint64_t until_ms = timing_now_ms() + (session->mode == SESSION_SCRIPT ? SETTLE_MS : SETTLE_PROMPT_MS);
    while (!session_interrupted(session) && timing_now_ms() < until_ms) {
        struct announcer_status status;
        announcer_status(session->announcer, &status);
        if (announcer_wait(session->announcer, SLICE_MS) || status.trouble.text[0] != '\0')
            return;
    }
}

bool session_share(struct session *session, const char *const *paths, size_t count)
{
    struct sharing_job *job;
    struct share_result result = {0};
    enum err err = sharing_start(session->sharing, paths, count, &job);
    if (!err) {
        watcher_kick(session->watcher);
        while (!sharing_wait(job, SLICE_MS, &err, &result)) {
            if (!session_interrupted(session))
                continue;
            if (!peer_is_stopping(session->peer))
                terminal_message(session->terminal, "hashing goes on in the background");
            return true;
        }
        watcher_kick(session->watcher);
    }
    if (err) {
        log_error("cannot share: %s", err_name(err));
        return false;
    }
    return result.failed == 0;
}

void session_limit_up(struct session *session, uint64_t bytes_s)
{
    server_limit_up(session->server, bytes_s);
}

void session_limit_down(struct session *session, uint64_t bytes_s)
{
    rate_set(session->down, bytes_s, timing_now_us());
}
