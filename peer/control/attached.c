#include "attached.h"

#include "commands.h"
#include "control.h"
#include "hex.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#define PROGRESS_SIZE 512u
#define WIDTH_UNKNOWN 80u
#define CANDIDATES_MAX 200u

/* A client and its session. */
struct guest {
    struct guest *next;
    struct control_client *client;
    struct session session;
    struct terminal *news;        /* the same, for threads that must not wait for the client */
    pthread_mutex_t lock;         /* guards what follows */
    char progress[PROGRESS_SIZE]; /* what the client shows */
};

struct attached {
    const struct session *own;
    struct control *control;
    pthread_mutex_t lock; /* guards the list, in which a session is while it is whole */
    struct guest *guests;
};

/* ---- the terminal at the other end ---- */

/* The same line again says nothing new. */
static void say_progress(struct guest *guest, const char *line)
{
    pthread_mutex_lock(&guest->lock);
    if (strcmp(guest->progress, line) != 0 && control_send(guest->client, FRAME_PROGRESS, line, strlen(line), true))
        snprintf(guest->progress, sizeof guest->progress, "%s", line);
    pthread_mutex_unlock(&guest->lock);
}

static enum frame_type type_of(enum terminal_stream stream)
{
    return stream == TERMINAL_RESULT ? FRAME_RESULT : stream == TERMINAL_MESSAGE ? FRAME_MESSAGE : FRAME_PROGRESS;
}

static void say(void *context, enum terminal_stream stream, const char *text)
{
    struct guest *guest = context;
    if (stream == TERMINAL_PROGRESS)
        say_progress(guest, text);
    else
        (void)control_send(guest->client, type_of(stream), text, strlen(text), true);
}

static void say_news(void *context, enum terminal_stream stream, const char *text)
{
    struct guest *guest = context;
    (void)control_send(guest->client, type_of(stream), text, strlen(text), false);
}

static char *ask(void *context, const char *question)
{
    struct guest *guest = context;
    struct frame frame;
    if (!control_send(guest->client, FRAME_QUESTION, question, strlen(question), true) ||
        !control_receive(guest->client, &frame))
        return NULL;
    const char *answer = frame.type == FRAME_ANSWER ? frames_answer(&frame) : NULL;
    char *copy = answer ? strdup(answer) : NULL;
    frame_free(&frame);
    return copy;
}

static unsigned width(void *context)
{
    struct guest *guest = context;
    unsigned columns = control_width(guest->client);
    return columns > 0 ? columns : WIDTH_UNKNOWN;
}

/* ---- a session ---- */

static void on_interrupt(void *context, bool raised)
{
    struct session *session = context;
    atomic_store(&session->interrupted, raised);
    if (raised)
        session_cancel_calls(session);
}

static void close_guest(struct guest *guest)
{
    struct session *session = &guest->session;
    control_set_interrupt(guest->client, NULL, NULL);
    watcher_stop(session->watcher);
    session_close_calls(session);
    listing_clear(&session->listing);
    terminal_free(session->terminal);
    terminal_free(guest->news);
    pthread_mutex_destroy(&guest->lock);
}

static enum err open_guest(struct attached *attached, struct control_client *client, struct guest *guest)
{
    const struct frame_hello *hello = control_hello(client);
    struct terminal_far far = {.context = guest, .say = say, .ask = ask, .width = width, .is_tty = hello->is_tty};
    struct session *session = &guest->session;
    guest->client = client;
    pthread_mutex_init(&guest->lock, NULL);
    session_attach(attached->own, session);
    session->attached = true;
    session->mode = hello->prompts ? SESSION_PROMPT : SESSION_SCRIPT;
    session->folder = hello->folder;
    enum err err = terminal_new_far(&far, &session->terminal);
    far.say = say_news;
    if (!err)
        err = terminal_new_far(&far, &guest->news);
    if (!err)
        err = session_open_calls(session);
    if (!err)
        err = watcher_start(session->terminal, session->sharing, session->downloads, session->jobs, &session->watcher);
    if (err)
        close_guest(guest);
    else
        control_set_interrupt(client, on_interrupt, session);
    return err;
}

static void greet(struct session *session)
{
    char id[9], address[ADDRESS_TEXT_SIZE], line[5000];
    hex_encode(state_identity(session->state)->id, 4, id);
    address_format(&session->address, address);
    snprintf(line, sizeof line, "Attached to peer %s at %s; its downloads land in %s.", id, address,
             state_dir(session->state));
    terminal_message(session->terminal, line);
    terminal_message(session->terminal, "\"help\" lists the commands; Ctrl-D leaves, and the peer goes on.");
}

static void finish_line(struct guest *guest, bool ok)
{
    const char bytes[2] = {(char)ok, (char)guest->session.ended};
    (void)control_send(guest->client, FRAME_DONE, bytes, sizeof bytes, true);
}

static void run_line(struct guest *guest, const char *line)
{
    struct session *session = &guest->session;
    session_resume_calls(session);
    /* It may have come between the line and the resumption. */
    if (session_interrupted(session))
        session_cancel_calls(session);
    finish_line(guest, commands_run(session, line));
}

static void complete(struct guest *guest, const struct frame *frame)
{
    char *texts[CANDIDATES_MAX], *bytes = malloc(FRAME_SIZE_MAX);
    size_t used = 0;
    size_t count = commands_complete(&guest->session, frame->bytes, frames_second(frame), texts, CANDIDATES_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(texts[i]) + 1;
        if (bytes && size <= FRAME_SIZE_MAX - used) {
            memcpy(bytes + used, texts[i], size);
            used += size;
        }
        free(texts[i]);
    }
    (void)control_send(guest->client, FRAME_WORDS, bytes, used, true);
    free(bytes);
}

static void run_session(struct guest *guest)
{
    struct frame frame;
    if (guest->session.mode == SESSION_PROMPT)
        greet(&guest->session);
    finish_line(guest, true); /* the hello's */
    while (!guest->session.ended && control_receive(guest->client, &frame)) {
        if (frame.type == FRAME_LINE)
            run_line(guest, frame.bytes);
        else if (frame.type == FRAME_COMPLETE)
            complete(guest, &frame);
        frame_free(&frame);
    }
}

static void enlist(struct attached *attached, struct guest *guest)
{
    pthread_mutex_lock(&attached->lock);
    guest->next = attached->guests;
    attached->guests = guest;
    pthread_mutex_unlock(&attached->lock);
}

static void delist(struct attached *attached, struct guest *guest)
{
    pthread_mutex_lock(&attached->lock);
    struct guest **link = &attached->guests;
    while (*link != guest)
        link = &(*link)->next;
    *link = guest->next;
    pthread_mutex_unlock(&attached->lock);
}

static void serve(void *context, struct control_client *client)
{
    static const char trouble[] = "the peer is out of memory or threads";
    struct attached *attached = context;
    struct guest *guest = calloc(1, sizeof *guest);
    if (!guest || open_guest(attached, client, guest)) {
        (void)control_send(client, FRAME_BYE, trouble, sizeof trouble - 1, true);
    } else {
        enlist(attached, guest);
        run_session(guest);
        delist(attached, guest);
        close_guest(guest);
    }
    free(guest);
}

/* ---- all of them ---- */

enum err attached_new(struct attached **ret)
{
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return ERR_NOMEM;
    pthread_mutex_init(&(*ret)->lock, NULL);
    return ERR_OK;
}

void attached_free(struct attached *attached)
{
    if (!attached)
        return;
    pthread_mutex_destroy(&attached->lock);
    free(attached);
}

void attached_serve(struct attached *attached, const struct session *own)
{
    struct why why = {""};
    attached->own = own;
    int folder_fd = openat(state_dir_fd(own->state), ".enxame", O_PATH | O_DIRECTORY | O_CLOEXEC);
    enum err err = folder_fd < 0 ? why_set(&why, err_from_errno(errno), "%s", strerror(errno))
                                 : control_start(folder_fd, serve, attached, &attached->control, &why);
    if (folder_fd >= 0)
        close(folder_fd);
    if (err)
        log_warn("nobody can attach to this peer: %s", why.text);
}

void attached_stop(struct attached *attached)
{
    if (!attached)
        return;
    control_stop(attached->control);
    attached->control = NULL;
}

/* Calls `print` for each prompt, with a session whose terminal does not wait. */
static void tell_prompts(struct attached *attached, void (*print)(struct session *news, const void *report),
                         const void *report)
{
    pthread_mutex_lock(&attached->lock);
    for (struct guest *guest = attached->guests; guest; guest = guest->next) {
        struct session news = {.mode = SESSION_PROMPT, .attached = true, .terminal = guest->news};
        if (guest->session.mode != SESSION_PROMPT)
            continue;
        session_attach(attached->own, &news);
        print(&news, report);
        watcher_kick(guest->session.watcher);
    }
    pthread_mutex_unlock(&attached->lock);
}

static void print_finished(struct session *news, const void *report)
{
    commands_print_finished(news, report);
}

static void print_job(struct session *news, const void *report)
{
    (void)commands_print_job(news, report);
}

void attached_finished(struct attached *attached, const struct download_report *report)
{
    tell_prompts(attached, print_finished, report);
}

void attached_job_finished(struct attached *attached, const struct job_report *report)
{
    tell_prompts(attached, print_job, report);
}

void attached_log(struct attached *attached, enum log_level level, const char *line)
{
    pthread_mutex_lock(&attached->lock);
    for (struct guest *guest = attached->guests; guest; guest = guest->next)
        if (level <= LOG_WARN || guest->session.mode == SESSION_PROMPT)
            terminal_message(guest->news, line);
    pthread_mutex_unlock(&attached->lock);
}
