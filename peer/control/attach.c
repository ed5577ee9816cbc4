#include "attach.h"

#include "control_socket.h"
#include "frames.h"
#include "limits.h"
#include "signals.h"
#include "terminal.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (16u * KIB)
/* Who was told to end waits no longer for the peer's answer. */
#define LEAVE_MS 2000u

struct attach {
    const struct arguments *arguments;
    struct terminal *terminal;
    struct signals *signals;
    bool prompts;
    int fd; /* to the peer */
    pthread_t receiver;
    bool has_receiver;
    pthread_mutex_t sending; /* one frame at a time; taken last */
    atomic_int stop_signal;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct frame answer; /* a question, words, or the end of a line, until the main thread takes it */
    bool has_answer;
    bool busy, interrupted; /* a line is under way; the peer was told to end it */
    bool gone;              /* nothing comes any more */
    struct why why;         /* the peer's last words */

    /* the main thread's own */
    bool ended; /* it is the user who leaves */
    bool cut;   /* a line was not answered, or not even sent */
};

/* ---- to the peer ---- */

static bool send_frame(struct attach *attach, enum frame_type type, const void *bytes, size_t length, int flags)
{
    uint8_t frame[FRAME_HEAD_SIZE + FRAME_SIZE_MAX];
    frames_head(type, length, frame);
    if (length > 0)
        memcpy(frame + FRAME_HEAD_SIZE, bytes, length);
    size_t done = 0, size = FRAME_HEAD_SIZE + length;
    pthread_mutex_lock(&attach->sending);
    while (done < size) {
        ssize_t sent = send(attach->fd, frame + done, size - done, MSG_NOSIGNAL | flags);
        if (sent < 0 && errno != EINTR)
            break;
        done += sent > 0 ? (size_t)sent : 0;
    }
    pthread_mutex_unlock(&attach->sending);
    return done == size;
}

static void send_answer(struct attach *attach, const char *text)
{
    char bytes[1 + COMMAND_SIZE_MAX];
    size_t length = text ? strnlen(text, COMMAND_SIZE_MAX) : 0;
    bytes[0] = (char)(text != NULL);
    if (length > 0)
        memcpy(bytes + 1, text, length);
    (void)send_frame(attach, FRAME_ANSWER, bytes, 1 + length, 0);
}

static uint16_t columns(struct attach *attach)
{
    unsigned width = terminal_width(attach->terminal);
    return (uint16_t)(width < UINT16_MAX ? width : UINT16_MAX);
}

static void send_width(struct attach *attach)
{
    uint16_t width = columns(attach);
    const uint8_t bytes[2] = {(uint8_t)(width >> 8), (uint8_t)width};
    (void)send_frame(attach, FRAME_WIDTH, bytes, sizeof bytes, MSG_DONTWAIT);
}

/* ---- from the peer, on a thread of its own ---- */

/* Takes the frame over; false where the connection is over. */
static bool take(struct attach *attach, struct frame *frame)
{
    bool bye = false;
    switch (frame->type) {
    case FRAME_RESULT:
        terminal_print(attach->terminal, "%s", frame->bytes);
        break;
    case FRAME_MESSAGE:
        terminal_message(attach->terminal, frame->bytes);
        break;
    case FRAME_PROGRESS:
        terminal_progress(attach->terminal, frame->length > 0 ? frame->bytes : NULL);
        break;
    case FRAME_BYE:
        bye = true;
        break;
    default:
        pthread_mutex_lock(&attach->lock);
        while (attach->has_answer && !attach->gone)
            pthread_cond_wait(&attach->changed, &attach->lock);
        frame_free(&attach->answer);
        attach->answer = *frame;
        attach->has_answer = true;
        *frame = (struct frame){0};
        pthread_cond_broadcast(&attach->changed);
        pthread_mutex_unlock(&attach->lock);
    }
    if (bye) {
        pthread_mutex_lock(&attach->lock);
        (void)why_set(&attach->why, ERR_OK, "%s", frame->bytes);
        pthread_mutex_unlock(&attach->lock);
    }
    frame_free(frame);
    return !bye;
}

static void leave(struct attach *attach)
{
    pthread_mutex_lock(&attach->lock);
    attach->gone = true;
    pthread_cond_broadcast(&attach->changed);
    pthread_mutex_unlock(&attach->lock);
    terminal_interrupt(attach->terminal);
}

static void *receive(void *context)
{
    struct attach *attach = context;
    struct frames_reader reader = {0};
    uint8_t bytes[READ_SIZE];
    bool ok = true;
    while (ok) {
        ssize_t got = recv(attach->fd, bytes, sizeof bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        const uint8_t *next = bytes;
        size_t length = got > 0 ? (size_t)got : 0;
        ok = got > 0;
        while (ok && length > 0) {
            struct frame frame;
            bool whole = false;
            ok = !frames_read(&reader, FRAMES_OF_PEER, &next, &length, &whole, &frame) &&
                 (!whole || take(attach, &frame));
        }
    }
    frames_reader_free(&reader);
    leave(attach);
    return NULL;
}

/* ---- one line ---- */

/* Sends what is to be done; where it fails, so does the answer. */
static bool begin(struct attach *attach, enum frame_type type, const char *bytes, size_t length)
{
    pthread_mutex_lock(&attach->lock);
    attach->busy = true;
    attach->interrupted = false;
    bool ok = send_frame(attach, type, bytes, length, 0);
    pthread_mutex_unlock(&attach->lock);
    return ok;
}

static void end(struct attach *attach)
{
    pthread_mutex_lock(&attach->lock);
    attach->busy = false;
    pthread_mutex_unlock(&attach->lock);
}

/* The peer's next answer; false where none will come.  Who was told to end waits a moment only. */
static bool await(struct attach *attach, struct frame *ret)
{
    uint64_t until_ms = 0;
    pthread_mutex_lock(&attach->lock);
    while (!attach->has_answer && !attach->gone) {
        uint64_t now_ms = timing_now_ms();
        if (atomic_load(&attach->stop_signal) != 0 && until_ms == 0)
            until_ms = now_ms + LEAVE_MS;
        if (until_ms != 0 && now_ms >= until_ms)
            break;
        (void)timing_wait(&attach->changed, &attach->lock, until_ms == 0 ? 60000 : until_ms - now_ms);
    }
    bool ok = attach->has_answer;
    if (ok) {
        *ret = attach->answer;
        attach->answer = (struct frame){0};
        attach->has_answer = false;
        pthread_cond_broadcast(&attach->changed);
    }
    pthread_mutex_unlock(&attach->lock);
    return ok;
}

/* Sends what is to be done, and waits until it is; whether it succeeded. */
static bool await_done(struct attach *attach, enum frame_type type, const char *bytes, size_t length)
{
    struct frame frame;
    bool done = false, ok = false;
    (void)begin(attach, type, bytes, length);
    while (!done && await(attach, &frame)) {
        done = frame.type == FRAME_DONE;
        if (done) {
            ok = frame.bytes[0];
            attach->ended = frame.bytes[1];
        } else if (frame.type == FRAME_QUESTION) {
            char *answer = terminal_ask(attach->terminal, frame.bytes);
            send_answer(attach, answer);
            free(answer);
        }
        frame_free(&frame);
    }
    end(attach);
    attach->cut = !done;
    return ok;
}

/* What is too long is sent with one byte too many, and refused there. */
static bool run_line(struct attach *attach, const char *line)
{
    return await_done(attach, FRAME_LINE, line, strnlen(line, COMMAND_SIZE_MAX + 1));
}

static bool may_go_on(struct attach *attach)
{
    pthread_mutex_lock(&attach->lock);
    bool gone = attach->gone;
    pthread_mutex_unlock(&attach->lock);
    return !gone && !attach->ended && atomic_load(&attach->stop_signal) == 0;
}

/* ---- completion ---- */

static size_t take_words(const struct frame *frame, char **ret_texts, size_t capacity)
{
    size_t count = 0;
    for (size_t at = 0; at < frame->length && count < capacity; at += strlen(frame->bytes + at) + 1) {
        ret_texts[count] = strdup(frame->bytes + at);
        count += ret_texts[count] != NULL;
    }
    return count;
}

static size_t complete(void *context, const char *line, const char *text, char **ret_texts, size_t capacity)
{
    struct attach *attach = context;
    char bytes[2 * COMMAND_SIZE_MAX + 2];
    size_t line_length = strlen(line), text_length = strlen(text), count = 0;
    struct frame frame;
    if (line_length > COMMAND_SIZE_MAX || text_length > COMMAND_SIZE_MAX)
        return 0;
    memcpy(bytes, line, line_length + 1);
    memcpy(bytes + line_length + 1, text, text_length + 1);
    if (begin(attach, FRAME_COMPLETE, bytes, line_length + 1 + text_length) && await(attach, &frame)) {
        count = take_words(&frame, ret_texts, capacity);
        frame_free(&frame);
    }
    end(attach);
    return count;
}

/* ---- signals ---- */

/*
 * Ctrl-C while a command runs.  A peer that did not react to the one before will not be waited for.  It is told under the
 * lock, so that it ends this command, and not the next one.
 */
static void interrupt_command(struct attach *attach)
{
    pthread_mutex_lock(&attach->lock);
    bool tell = attach->busy && !attach->interrupted, give_up = attach->busy && attach->interrupted;
    attach->interrupted = attach->busy;
    if (tell)
        (void)send_frame(attach, FRAME_INTERRUPT, NULL, 0, MSG_DONTWAIT);
    if (give_up)
        (void)why_set(&attach->why, ERR_OK, "the peer does not answer");
    pthread_mutex_unlock(&attach->lock);
    if (give_up)
        leave(attach);
}

static void on_signal(void *context, int number)
{
    struct attach *attach = context;
    if (number == SIGWINCH || number == SIGCONT) {
        terminal_resized(attach->terminal);
        send_width(attach);
        return;
    }
    if (number == SIGINT && attach->prompts) {
        if (!terminal_wipe(attach->terminal))
            interrupt_command(attach);
        return;
    }
    if (atomic_exchange(&attach->stop_signal, number) != 0)
        _exit(128 + number);
    (void)send_frame(attach, FRAME_INTERRUPT, NULL, 0, MSG_DONTWAIT);
    pthread_mutex_lock(&attach->lock);
    pthread_cond_broadcast(&attach->changed);
    pthread_mutex_unlock(&attach->lock);
    terminal_interrupt(attach->terminal);
}

/* ---- the beginning and the end ---- */

static enum err no_peer(const struct arguments *arguments, int number, struct why *why)
{
    const char *dir = arguments->dir;
    if (number == ENOENT || number == ECONNREFUSED || number == ENOTDIR)
        return why_set(why, ERR_NOT_FOUND, "no peer runs on %s; start one with: peer --daemon --dir %s <ip> <port>",
                       dir, dir);
    return why_set(why, err_from_errno(number), "cannot attach to the peer on %s: %s%s", dir, strerror(number),
                   number == EACCES ? "; only the user who runs it may" : "");
}

static enum err connect_to_peer(const struct arguments *arguments, int *ret_fd, struct why *why)
{
    char *path = NULL;
    if (asprintf(&path, "%s/.enxame", arguments->dir) < 0)
        return why_set(why, ERR_NOMEM, "out of memory");
    int folder_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(path);
    if (folder_fd < 0)
        return no_peer(arguments, errno, why);
    *ret_fd = control_socket_connect(folder_fd);
    enum err err = *ret_fd < 0 ? no_peer(arguments, errno, why) : ERR_OK;
    close(folder_fd);
    return err;
}

static bool say_hello(struct attach *attach)
{
    struct frame_hello hello = {
        .prompts = attach->prompts, .is_tty = terminal_is_tty(attach->terminal), .width = columns(attach)};
    char bytes[4 + sizeof hello.folder];
    if (!getcwd(hello.folder, sizeof hello.folder) || hello.folder[0] != '/')
        snprintf(hello.folder, sizeof hello.folder, "/");
    size_t length = frames_put_hello(&hello, bytes);
    return await_done(attach, FRAME_HELLO, bytes, length);
}

static bool run_lines(struct attach *attach)
{
    bool ok = true;
    while (may_go_on(attach)) {
        attach->cut = true; /* unless the lines end */
        char *line = terminal_read_line(attach->terminal);
        if (!line)
            break;
        if (attach->prompts || line[strspn(line, " \t")] != '#')
            ok = run_line(attach, line) && ok;
        free(line);
    }
    return ok;
}

/* Says why the connection ended where the user had not ended with it; false then. */
static bool was_whole(struct attach *attach)
{
    pthread_mutex_lock(&attach->lock);
    bool lost = attach->gone && !attach->ended && attach->cut;
    struct why why = attach->why;
    pthread_mutex_unlock(&attach->lock);
    if (lost)
        terminal_message(attach->terminal,
                         why.text[0] ? why.text : "the connection to the peer is lost: it has ended or was killed");
    return !lost;
}

static int run(struct attach *attach)
{
    const struct arguments *arguments = attach->arguments;
    bool ok = say_hello(attach);
    if (arguments->command_count == 0)
        ok = run_lines(attach) && ok;
    for (size_t i = 0; i < arguments->command_count && !attach->ended && !attach->cut; i++) {
        attach->cut = !may_go_on(attach);
        ok = !attach->cut && run_line(attach, arguments->commands[i]) && ok;
    }
    int number = atomic_load(&attach->stop_signal);
    if (number != 0 && !attach->prompts)
        return 128 + number;
    ok = was_whole(attach) && (ok || attach->prompts);
    return ok && terminal_output_ok(attach->terminal) ? 0 : 1;
}

static enum err open_terminal(struct attach *attach)
{
    char *path = NULL;
    attach->prompts = attach->arguments->command_count == 0 && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    enum err err = terminal_new(attach->prompts, &attach->terminal);
    if (!err && asprintf(&path, "%s/.enxame/history", attach->arguments->dir) < 0)
        err = ERR_NOMEM;
    if (err)
        return err;
    terminal_set_history(attach->terminal, path);
    terminal_set_complete(attach->terminal, complete, attach);
    free(path);
    return ERR_OK;
}

static void close_all(struct attach *attach)
{
    signals_stop(attach->signals);
    if (attach->has_receiver) {
        (void)shutdown(attach->fd, SHUT_RDWR);
        leave(attach); /* it may wait for the main thread to take an answer */
        pthread_join(attach->receiver, NULL);
    }
    close(attach->fd);
    frame_free(&attach->answer);
    terminal_free(attach->terminal);
    pthread_cond_destroy(&attach->changed);
    pthread_mutex_destroy(&attach->lock);
    pthread_mutex_destroy(&attach->sending);
}

int attach_run(const struct arguments *arguments)
{
    struct attach attach = {.arguments = arguments, .fd = -1};
    struct why why = {""};
    int status = 1;
    if (connect_to_peer(arguments, &attach.fd, &why)) {
        fprintf(stderr, "peer: %s\n", why.text);
        return status;
    }
    signals_block();
    pthread_mutex_init(&attach.sending, NULL);
    pthread_mutex_init(&attach.lock, NULL);
    (void)timing_condition_init(&attach.changed);
    enum err err = open_terminal(&attach);
    if (!err)
        err = signals_start(on_signal, &attach, &attach.signals);
    if (!err) {
        attach.has_receiver = pthread_create(&attach.receiver, NULL, receive, &attach) == 0;
        err = attach.has_receiver ? ERR_OK : ERR_NOMEM;
    }
    if (err)
        fprintf(stderr, "peer: cannot attach: %s\n", err_name(err));
    else
        status = run(&attach);
    close_all(&attach);
    return status;
}
