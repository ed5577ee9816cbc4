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

enum err session_open_calls(struct session *session)
{
    struct enquiry_options options = {.neighbours = session->neighbours,
                                      .trackers = session->trackers,
                                      .identity = state_identity(session->state),
                                      .clock = session->clock};
    session->client = tracker_client_new(session->trackers, session->clock, state_identity(session->state));
    return session->client ? enquiry_new(&options, &session->enquiry) : ERR_NOMEM;
}

void session_close_calls(struct session *session)
{
    tracker_client_free(session->client);
    enquiry_free(session->enquiry);
    session->client = NULL;
    session->enquiry = NULL;
}

void session_cancel_calls(struct session *session)
{
    tracker_client_cancel(session->client);
    enquiry_cancel(session->enquiry);
}

void session_resume_calls(struct session *session)
{
    tracker_client_resume(session->client, 0);
    enquiry_resume(session->enquiry);
}

bool session_interrupted(struct session *session)
{
    return atomic_load(&session->interrupted);
}

/* The tracker knows, or it is known not to answer. */
static bool is_told(struct session *session)
{
    struct announcer_status status;
    announcer_status(session->announcer, &status);
    return status.trouble.text[0] != '\0' || announcer_wait(session->announcer, SLICE_MS);
}

void session_settle(struct session *session)
{
    uint64_t begun_ms = timing_now_ms();
    bool told = !session->announcer, greeted = false;
    while (!session_interrupted(session) && !(told && greeted)) {
        bool alone = session->mode == SESSION_SCRIPT && neighbours_count_online(session->neighbours) == 0;
        if (timing_now_ms() >= begun_ms + (alone ? SETTLE_MS : SETTLE_PROMPT_MS))
            return;
        told = told || is_told(session);
        greeted = greeted || greeter_wait(session->greeter, told ? SLICE_MS : 0);
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
