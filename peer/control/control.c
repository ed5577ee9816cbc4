#include "control.h"

#include "control_socket.h"
#include "limits.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (16u * KIB)
/* What was said last may take this long to go out. */
#define FLUSH_MS 1000u
/* How often it is seen that a time has passed. */
#define LOOK_MS 1000u
/* After a failed accept(), as where there are no descriptors left. */
#define ACCEPT_PAUSE_MS 1000u

struct control_client {
    struct control *control;
    int fd;
    uint64_t since_ms; /* when it came; then, when its thread ended */
    struct frames_reader reader;
    struct frame_hello hello;
    pthread_t thread;
    bool has_thread;

    /* guarded by the control's lock */
    bool ended;           /* its thread has */
    bool gone;            /* nothing comes any more, and nothing can be sent */
    struct frame request; /* the one that waits to be taken */
    bool has_request;
    uint8_t *queue; /* what is to be sent: from first to end */
    size_t first, end, capacity;
    unsigned width;
    control_interrupt *interrupt;
    void *interrupt_context;
    bool raised;
};

struct control {
    int folder_fd, listener, wake;
    control_serve *serve;
    void *context;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows, and in clients what is said there */
    pthread_cond_t changed;
    bool stopping;

    /* the thread's own */
    struct control_client *clients[CONTROL_CLIENTS_MAX];
    size_t count;
    uint64_t accept_ms; /* not before */
};

static void wake(struct control *control)
{
    /* A counter that is full wakes as well. */
    (void)!write(control->wake, &(uint64_t){1}, sizeof(uint64_t));
}

/* ---- what a client's thread and others call ---- */

const struct frame_hello *control_hello(const struct control_client *client)
{
    return &client->hello;
}

unsigned control_width(struct control_client *client)
{
    pthread_mutex_lock(&client->control->lock);
    unsigned width = client->width;
    pthread_mutex_unlock(&client->control->lock);
    return width;
}

bool control_receive(struct control_client *client, struct frame *ret)
{
    struct control *control = client->control;
    pthread_mutex_lock(&control->lock);
    while (!client->has_request && !client->gone && !control->stopping)
        pthread_cond_wait(&control->changed, &control->lock);
    bool ok = client->has_request && !client->gone && !control->stopping;
    if (ok) {
        *ret = client->request;
        client->request = (struct frame){0};
        client->has_request = false;
    }
    pthread_mutex_unlock(&control->lock);
    return ok;
}

/* The lock is held. */
static bool append(struct control_client *client, const void *bytes, size_t length)
{
    if (client->first > 0 && length > client->capacity - client->end) {
        memmove(client->queue, client->queue + client->first, client->end - client->first);
        client->end -= client->first;
        client->first = 0;
    }
    if (length > client->capacity - client->end) {
        size_t capacity = 2 * client->capacity + length;
        uint8_t *grown = realloc(client->queue, capacity);
        if (!grown)
            return false;
        client->queue = grown;
        client->capacity = capacity;
    }
    if (length > 0)
        memcpy(client->queue + client->end, bytes, length);
    client->end += length;
    return true;
}

static size_t unread(const struct control_client *client)
{
    return client->end - client->first;
}

/* The lock is held. */
static bool send_frame(struct control_client *client, enum frame_type type, const char *bytes, size_t length,
                       bool may_wait)
{
    struct control *control = client->control;
    uint8_t head[FRAME_HEAD_SIZE];
    while (may_wait && unread(client) > CONTROL_QUEUE_MAX && !client->gone && !control->stopping)
        pthread_cond_wait(&control->changed, &control->lock);
    if (client->gone || unread(client) > CONTROL_QUEUE_MAX)
        return false;
    frames_head(type, length, head);
    size_t end = client->end - client->first;
    if (append(client, head, sizeof head) && append(client, bytes, length))
        return true;
    client->end = client->first + end; /* no half of a frame */
    return false;
}

/* As much as one frame holds, and whole lines where there are any. */
static size_t piece_of(const char *bytes, size_t length)
{
    if (length <= FRAME_SIZE_MAX)
        return length;
    const char *newline = memrchr(bytes, '\n', FRAME_SIZE_MAX);
    return newline ? (size_t)(newline - bytes) + 1 : FRAME_SIZE_MAX;
}

bool control_send(struct control_client *client, enum frame_type type, const char *bytes, size_t length, bool may_wait)
{
    struct control *control = client->control;
    bool ok = true;
    pthread_mutex_lock(&control->lock);
    do {
        size_t piece = piece_of(bytes, length);
        ok = send_frame(client, type, bytes, piece, may_wait);
        bytes += piece;
        length -= piece;
        wake(control);
    } while (ok && length > 0);
    pthread_mutex_unlock(&control->lock);
    return ok;
}

/* The lock is held. */
static void tell_interrupt(struct control_client *client, bool raised)
{
    client->raised = raised;
    if (client->interrupt)
        client->interrupt(client->interrupt_context, raised);
}

void control_set_interrupt(struct control_client *client, control_interrupt *interrupt, void *context)
{
    pthread_mutex_lock(&client->control->lock);
    client->interrupt = interrupt;
    client->interrupt_context = context;
    if (client->raised)
        tell_interrupt(client, true);
    pthread_mutex_unlock(&client->control->lock);
}

/* ---- a client's life; on the control's thread ---- */

static void *run_client(void *context)
{
    struct control_client *client = context;
    struct control *control = client->control;
    control->serve(control->context, client);
    pthread_mutex_lock(&control->lock);
    client->ended = true;
    pthread_mutex_unlock(&control->lock);
    wake(control);
    return NULL;
}

static void lose(struct control_client *client)
{
    struct control *control = client->control;
    pthread_mutex_lock(&control->lock);
    if (!client->gone) {
        client->gone = true;
        tell_interrupt(client, true);
        pthread_cond_broadcast(&control->changed);
    }
    pthread_mutex_unlock(&control->lock);
}

static void client_free(struct control_client *client)
{
    if (client->has_thread)
        pthread_join(client->thread, NULL);
    close(client->fd);
    frames_reader_free(&client->reader);
    frame_free(&client->request);
    free(client->queue);
    free(client);
}

/* Writes what a client can take now. */
static void flush(struct control_client *client)
{
    struct control *control = client->control;
    bool lost = false;
    pthread_mutex_lock(&control->lock);
    while (!client->gone && !lost && unread(client) > 0) {
        ssize_t sent = send(client->fd, client->queue + client->first, unread(client), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            client->first += (size_t)sent;
        else if (errno == EAGAIN)
            break;
        else
            lost = errno != EINTR;
    }
    if (unread(client) <= CONTROL_QUEUE_MAX)
        pthread_cond_broadcast(&control->changed);
    pthread_mutex_unlock(&control->lock);
    if (lost)
        lose(client);
}

/* Says why, as the last thing that the client hears. */
static void say_bye(struct control_client *client, const char *text)
{
    pthread_mutex_lock(&client->control->lock);
    (void)send_frame(client, FRAME_BYE, text, strlen(text), false);
    pthread_mutex_unlock(&client->control->lock);
    flush(client);
}

/* False where the client is to be let go. */
static bool take_hello(struct control_client *client, const struct frame *frame)
{
    unsigned version;
    char text[120];
    if (frame->type != FRAME_HELLO)
        return false;
    if (frames_parse_hello(frame, &client->hello, &version)) {
        snprintf(text, sizeof text,
                 "the peer that runs is of another version (%u, not %u): attach with its own program", FRAMES_VERSION,
                 version);
        say_bye(client, text);
        return false;
    }
    client->width = client->hello.width;
    client->has_thread = pthread_create(&client->thread, NULL, run_client, client) == 0;
    if (!client->has_thread)
        say_bye(client, "the peer cannot start a thread");
    return client->has_thread;
}

/* Takes the frame over; false where the client breaks the protocol. */
static bool take_frame(struct control_client *client, struct frame *frame)
{
    struct control *control = client->control;
    bool ok = true;
    if (!client->has_thread) {
        ok = take_hello(client, frame);
        frame_free(frame);
        return ok;
    }
    pthread_mutex_lock(&control->lock);
    switch (frame->type) {
    case FRAME_INTERRUPT:
        tell_interrupt(client, true);
        break;
    case FRAME_WIDTH:
        client->width = frames_width(frame);
        break;
    case FRAME_LINE:
    case FRAME_COMPLETE:
    case FRAME_ANSWER:
        ok = !client->has_request;
        if (!ok)
            break;
        if (frame->type == FRAME_LINE)
            tell_interrupt(client, false);
        client->request = *frame;
        client->has_request = true;
        *frame = (struct frame){0};
        pthread_cond_broadcast(&control->changed);
        break;
    default:
        ok = false;
    }
    pthread_mutex_unlock(&control->lock);
    frame_free(frame);
    return ok;
}

static void read_client(struct control_client *client)
{
    uint8_t bytes[READ_SIZE];
    ssize_t got = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    const uint8_t *next = bytes;
    size_t length = got > 0 ? (size_t)got : 0;
    bool ok = got > 0;
    while (ok && length > 0) {
        struct frame frame;
        bool whole = false;
        ok = !frames_read(&client->reader, FRAMES_OF_CLIENT, &next, &length, &whole, &frame) &&
             (!whole || take_frame(client, &frame));
    }
    if (!ok)
        lose(client);
}

/* ---- taking clients ---- */

static void accept_client(struct control *control)
{
    int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            control->accept_ms = timing_now_ms() + ACCEPT_PAUSE_MS;
        return;
    }
    struct control_client *client = calloc(1, sizeof *client);
    if (!control_socket_is_allowed(fd)) {
        control_socket_refuse(fd, "only the user who runs the peer may attach to it");
    } else if (!client || control->count == CONTROL_CLIENTS_MAX) {
        control_socket_refuse(fd, client ? "too many are attached to this peer" : "the peer is out of memory");
    } else {
        *client = (struct control_client){.control = control, .fd = fd, .since_ms = timing_now_ms()};
        control->clients[control->count++] = client;
        return;
    }
    free(client);
}

/* ---- the thread ---- */

/* What a client is to be polled for; negative: its time is over.  The lock is held. */
static int wanted(struct control_client *client, uint64_t now_ms)
{
    if (client->gone)
        return !client->has_thread || client->ended ? -1 : 0;
    if (client->ended) {
        if (unread(client) == 0 || now_ms >= client->since_ms + FLUSH_MS)
            return -1;
        return POLLOUT;
    }
    if (!client->has_thread && now_ms >= client->since_ms + CONTROL_HELLO_MS)
        return -1;
    client->since_ms = client->has_thread ? now_ms : client->since_ms;
    return unread(client) > 0 ? POLLIN | POLLOUT : POLLIN;
}

/* Frees those whose time is over, and says what is to be waited for. */
static size_t prepare(struct control *control, uint64_t now_ms, struct pollfd *ret_fds)
{
    size_t kept = 0;
    ret_fds[0] = (struct pollfd){.fd = control->wake, .events = POLLIN};
    ret_fds[1] = (struct pollfd){.fd = now_ms >= control->accept_ms ? control->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < control->count; i++) {
        struct control_client *client = control->clients[i];
        pthread_mutex_lock(&control->lock);
        int events = wanted(client, now_ms);
        pthread_mutex_unlock(&control->lock);
        if (events < 0) {
            client_free(client);
            continue;
        }
        /* A connection that is gone would be told of without end. */
        ret_fds[2 + kept] = (struct pollfd){.fd = events == 0 ? -1 : client->fd, .events = (short)events};
        control->clients[kept++] = client;
    }
    control->count = kept;
    return kept;
}

static bool is_stopping(struct control *control)
{
    pthread_mutex_lock(&control->lock);
    bool stopping = control->stopping;
    pthread_mutex_unlock(&control->lock);
    return stopping;
}

/* The peer ends: no thread of a client is left when this returns, and each client has heard of it. */
static void end_all(struct control *control)
{
    uint64_t until_ms = timing_now_ms() + FLUSH_MS;
    pthread_mutex_lock(&control->lock);
    for (size_t i = 0; i < control->count; i++)
        tell_interrupt(control->clients[i], true);
    pthread_mutex_unlock(&control->lock);
    for (size_t i = 0; i < control->count; i++) {
        struct control_client *client = control->clients[i];
        if (client->has_thread)
            pthread_join(client->thread, NULL);
        client->has_thread = false;
        say_bye(client, "the peer has ended");
    }
    for (size_t i = 0; i < control->count; i++) {
        struct control_client *client = control->clients[i];
        struct pollfd room = {.fd = client->fd, .events = POLLOUT};
        uint64_t now_ms = timing_now_ms();
        while (!client->gone && unread(client) > 0 && now_ms < until_ms) {
            (void)poll(&room, 1, (int)(until_ms - now_ms));
            flush(client);
            now_ms = timing_now_ms();
        }
        client_free(client);
    }
    control->count = 0;
}

static void *run(void *context)
{
    struct control *control = context;
    struct pollfd fds[2 + CONTROL_CLIENTS_MAX];
    uint64_t count;
    while (!is_stopping(control)) {
        size_t clients = prepare(control, timing_now_ms(), fds);
        bool is_timed = clients > 0 || fds[1].fd < 0;
        if (poll(fds, (nfds_t)(2 + clients), is_timed ? (int)LOOK_MS : -1) <= 0)
            continue;
        if (fds[0].revents != 0)
            (void)!read(control->wake, &count, sizeof count);
        for (size_t i = 0; i < clients; i++) {
            if (fds[2 + i].revents == 0)
                continue;
            flush(control->clients[i]);
            if ((fds[2 + i].events & POLLIN) != 0)
                read_client(control->clients[i]);
        }
        if (fds[1].revents != 0)
            accept_client(control);
    }
    end_all(control);
    return NULL;
}

static void control_free(struct control *control)
{
    const int fds[] = {control->folder_fd, control->listener, control->wake};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_cond_destroy(&control->changed);
    pthread_mutex_destroy(&control->lock);
    free(control);
}

enum err control_start(int folder_fd, control_serve *serve, void *context, struct control **ret, struct why *why)
{
    struct control *control = calloc(1, sizeof *control);
    enum err err = ERR_OK;
    if (!control)
        return why_set(why, ERR_NOMEM, "out of memory");
    *control = (struct control){.serve = serve, .context = context, .listener = -1, .wake = -1};
    control->folder_fd = fcntl(folder_fd, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->changed, NULL);
    if (control->folder_fd >= 0)
        control->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->wake >= 0)
        control->listener = control_socket_listen(control->folder_fd);
    if (control->listener < 0)
        err = why_set(why, err_from_errno(errno), "the socket for it: %s", strerror(errno));
    else if (pthread_create(&control->thread, NULL, run, control) != 0)
        err = why_set(why, ERR_NOMEM, "no thread could be started");
    if (!err) {
        *ret = control;
        return ERR_OK;
    }
    if (control->listener >= 0)
        (void)unlinkat(control->folder_fd, CONTROL_SOCKET_NAME, 0);
    control_free(control);
    return err;
}

void control_stop(struct control *control)
{
    if (!control)
        return;
    /* Who comes from now on finds nobody, rather than somebody who never answers. */
    (void)unlinkat(control->folder_fd, CONTROL_SOCKET_NAME, 0);
    pthread_mutex_lock(&control->lock);
    control->stopping = true;
    pthread_cond_broadcast(&control->changed);
    pthread_mutex_unlock(&control->lock);
    wake(control);
    pthread_join(control->thread, NULL);
    control_free(control);
}
