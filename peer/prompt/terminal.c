#include "terminal.h"

#include "editor.h"
#include "limits.h"
#include "table.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PROMPT "enxame> "
#define PROGRESS_SIZE 512u
/* Where progress is printed line by line. */
#define PROGRESS_PERIOD_MS 2000u

/* Text that waits until the line being typed has been wiped. */
struct queued {
    struct queued *next;
    int fd;
    char text[];
};

struct terminal {
    struct terminal_far far; /* `say` is NULL: it is here */
    struct editor *editor;   /* NULL: lines come from a pipe or a file */
    bool is_tty;             /* standard error */
    int wake[2];

    pthread_mutex_t lock; /* guards what follows, and all output but the editor's own */
    bool reading;         /* a line is being edited: others only queue */
    bool interrupted, wiped, resized;
    bool output_failed;
    struct queued *first, **last;
    char progress[PROGRESS_SIZE]; /* "": none */
    bool progress_changed;
    bool progress_drawn;   /* on the cursor's line, or, while reading, above the prompt */
    size_t progress_width; /* of what is drawn, in columns */
    bool progress_held;    /* no terminal: not printed yet */
    bool progress_printed;
    uint64_t progress_ms;

    /* the main thread's: bytes of standard input read ahead */
    char input[4096];
    size_t input_first, input_end;
};

/* ---- output; the lock is held ---- */

static bool write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            (void)poll(&room, 1, -1);
            continue;
        }
        if (written <= 0)
            return false;
        text += written;
        length -= (size_t)written;
    }
    return true;
}

static void put(struct terminal *terminal, int fd, const char *text)
{
    if (!write_all(fd, text, strlen(text)) && fd == STDOUT_FILENO)
        terminal->output_failed = true;
}

static void wake(struct terminal *terminal)
{
    /* A full pipe wakes as well. */
    (void)!write(terminal->wake[1], "", 1);
}

static void draw_progress(struct terminal *terminal)
{
    char line[PROGRESS_SIZE + 8];
    snprintf(line, sizeof line, "\r%s\033[K", terminal->progress);
    put(terminal, STDERR_FILENO, line);
    terminal->progress_drawn = true;
    terminal->progress_width = table_text_width(terminal->progress);
}

/* Whole lines, at once or as soon as the line being typed is out of the way. */
static void emit(struct terminal *terminal, int fd, const char *text)
{
    if (terminal->reading) {
        struct queued *queued = malloc(sizeof *queued + strlen(text) + 1);
        if (!queued)
            return;
        *queued = (struct queued){.fd = fd};
        memcpy(queued->text, text, strlen(text) + 1);
        *terminal->last = queued;
        terminal->last = &queued->next;
        wake(terminal);
        return;
    }
    bool drawn = terminal->progress_drawn;
    if (drawn)
        put(terminal, STDERR_FILENO, "\r\033[K");
    put(terminal, fd, text);
    if (drawn)
        draw_progress(terminal);
}

static void put_queued(struct terminal *terminal)
{
    while (terminal->first) {
        struct queued *queued = terminal->first;
        terminal->first = queued->next;
        put(terminal, queued->fd, queued->text);
        free(queued);
    }
    terminal->last = &terminal->first;
}

/* ---- while a line is edited ---- */

static void drain(int fd)
{
    char bytes[64];
    while (read(fd, bytes, sizeof bytes) > 0)
        continue;
}

/* What others queued, and the progress, above the prompt. */
static bool on_wake(void *context)
{
    struct terminal *terminal = context;
    drain(terminal->wake[0]);
    pthread_mutex_lock(&terminal->lock);
    if (terminal->resized)
        editor_resized(terminal->editor);
    if (terminal->first || terminal->progress_changed || terminal->resized) {
        editor_erase(terminal->editor, terminal->progress_drawn ? terminal->progress_width : 0);
        put_queued(terminal);
        terminal->progress_drawn = terminal->progress[0] != '\0';
        if (terminal->progress_drawn) {
            put(terminal, STDERR_FILENO, terminal->progress);
            put(terminal, STDERR_FILENO, "\n");
            terminal->progress_width = table_text_width(terminal->progress);
        }
        editor_draw(terminal->editor);
    }
    terminal->progress_changed = terminal->resized = false;
    bool go_on = !terminal->interrupted && !terminal->wiped;
    pthread_mutex_unlock(&terminal->lock);
    return go_on;
}

static char *edit_line(struct terminal *terminal, const char *prompt, bool remember)
{
    char *line = NULL;
    pthread_mutex_lock(&terminal->lock);
    if (terminal->interrupted) {
        pthread_mutex_unlock(&terminal->lock);
        return NULL;
    }
    terminal->wiped = false;
    if (terminal->progress_drawn)
        put(terminal, STDERR_FILENO, "\n");
    terminal->reading = true;
    pthread_mutex_unlock(&terminal->lock);

    enum editor_outcome outcome = editor_read(terminal->editor, prompt, remember, &line);

    pthread_mutex_lock(&terminal->lock);
    terminal->reading = false;
    terminal->progress_drawn = false;
    if (outcome != EDITOR_LINE)
        put(terminal, STDOUT_FILENO, terminal->wiped && !terminal->interrupted ? "^C\n" : "\n");
    put_queued(terminal);
    if (outcome == EDITOR_WOKEN && !terminal->interrupted)
        line = strdup("");
    pthread_mutex_unlock(&terminal->lock);
    return line;
}

/* ---- lines from a pipe or a file ---- */

/* More bytes; false at the end, or where the wait was ended. */
static bool fill_input(struct terminal *terminal)
{
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = terminal->wake[0], .events = POLLIN}};
    for (;;) {
        pthread_mutex_lock(&terminal->lock);
        bool interrupted = terminal->interrupted;
        pthread_mutex_unlock(&terminal->lock);
        if (interrupted)
            return false;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return false;
        if (fds[1].revents != 0) {
            drain(terminal->wake[0]);
            continue;
        }
        ssize_t got = read(STDIN_FILENO, terminal->input, sizeof terminal->input);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        terminal->input_first = 0;
        terminal->input_end = got > 0 ? (size_t)got : 0;
        return got > 0;
    }
}

/* A line that is too long keeps one byte too many, so that it can be refused; the rest of it is dropped. */
static char *plain_line(struct terminal *terminal)
{
    size_t length = 0;
    char *line = malloc(COMMAND_SIZE_MAX + 2);
    while (line) {
        if (terminal->input_first == terminal->input_end && !fill_input(terminal)) {
            if (length > 0 && !terminal->interrupted)
                break;
            free(line);
            return NULL;
        }
        char letter = terminal->input[terminal->input_first++];
        if (letter == '\n')
            break;
        if (length <= COMMAND_SIZE_MAX)
            line[length++] = letter != '\0' ? letter : '?';
    }
    if (line)
        line[length] = '\0';
    return line;
}

/* ---- the contract ---- */

static void close_pipe(const int pipe[2])
{
    close(pipe[0]);
    close(pipe[1]);
}

enum err terminal_new(bool prompts, struct terminal **ret)
{
    struct terminal *terminal = calloc(1, sizeof *terminal);
    if (!terminal)
        return ERR_NOMEM;
    if (pipe2(terminal->wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        free(terminal);
        return err_from_errno(errno);
    }
    pthread_mutex_init(&terminal->lock, NULL);
    terminal->is_tty = isatty(STDERR_FILENO) == 1;
    terminal->last = &terminal->first;
    if (prompts) {
        terminal->editor = editor_new(terminal->wake[0], on_wake, terminal);
        if (!terminal->editor) {
            terminal_free(terminal);
            return ERR_NOMEM;
        }
    }
    *ret = terminal;
    return ERR_OK;
}

enum err terminal_new_far(const struct terminal_far *far, struct terminal **ret)
{
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return ERR_NOMEM;
    (*ret)->far = *far;
    (*ret)->is_tty = far->is_tty;
    return ERR_OK;
}

void terminal_free(struct terminal *terminal)
{
    if (!terminal || terminal->far.say) {
        free(terminal);
        return;
    }
    terminal_progress(terminal, NULL);
    editor_free(terminal->editor);
    put_queued(terminal);
    close_pipe(terminal->wake);
    pthread_mutex_destroy(&terminal->lock);
    free(terminal);
}

void terminal_set_complete(struct terminal *terminal, terminal_complete *complete, void *context)
{
    if (terminal->editor)
        editor_set_complete(terminal->editor, complete, context);
}

void terminal_set_history(struct terminal *terminal, const char *path)
{
    if (terminal->editor)
        editor_set_history(terminal->editor, path);
}

char *terminal_read_line(struct terminal *terminal)
{
    return terminal->editor ? edit_line(terminal, PROMPT, true) : plain_line(terminal);
}

char *terminal_ask(struct terminal *terminal, const char *question)
{
    if (terminal->far.say)
        return terminal->far.ask(terminal->far.context, question);
    return terminal->editor ? edit_line(terminal, question, false) : NULL;
}

static void raise_flag(struct terminal *terminal, bool *flag)
{
    pthread_mutex_lock(&terminal->lock);
    *flag = true;
    wake(terminal);
    pthread_mutex_unlock(&terminal->lock);
}

void terminal_interrupt(struct terminal *terminal)
{
    raise_flag(terminal, &terminal->interrupted);
}

bool terminal_wipe(struct terminal *terminal)
{
    pthread_mutex_lock(&terminal->lock);
    bool typing = terminal->reading;
    if (typing) {
        terminal->wiped = true;
        wake(terminal);
    }
    pthread_mutex_unlock(&terminal->lock);
    return typing;
}

void terminal_resized(struct terminal *terminal)
{
    raise_flag(terminal, &terminal->resized);
}

void terminal_print(struct terminal *terminal, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (terminal->far.say) {
        terminal->far.say(terminal->far.context, TERMINAL_RESULT, length < 0 ? "(out of memory)\n" : text);
    } else {
        pthread_mutex_lock(&terminal->lock);
        if (length < 0)
            terminal->output_failed = true;
        else
            emit(terminal, STDOUT_FILENO, text);
        pthread_mutex_unlock(&terminal->lock);
    }
    if (length >= 0)
        free(text);
}

void terminal_message(struct terminal *terminal, const char *line)
{
    char *text = NULL;
    if (terminal->far.say) {
        terminal->far.say(terminal->far.context, TERMINAL_MESSAGE, line);
        return;
    }
    if (asprintf(&text, "%s\n", line) < 0)
        return;
    pthread_mutex_lock(&terminal->lock);
    emit(terminal, STDERR_FILENO, text);
    pthread_mutex_unlock(&terminal->lock);
    free(text);
}

/*
 * Line by line, one every two seconds: what takes no longer is told by its result alone.  The last one is printed where
 * others were.
 */
static void print_progress(struct terminal *terminal, const char *line)
{
    uint64_t now_ms = timing_now_ms();
    if (!line) {
        if (terminal->progress_held && terminal->progress_printed) {
            put(terminal, STDERR_FILENO, terminal->progress);
            put(terminal, STDERR_FILENO, "\n");
        }
        terminal->progress_held = terminal->progress_printed = false;
        terminal->progress[0] = '\0';
        return;
    }
    if (terminal->progress[0] == '\0')
        terminal->progress_ms = now_ms;
    if (strcmp(terminal->progress, line) != 0)
        terminal->progress_held = true;
    snprintf(terminal->progress, sizeof terminal->progress, "%s", line);
    if (!terminal->progress_held || now_ms - terminal->progress_ms < PROGRESS_PERIOD_MS)
        return;
    put(terminal, STDERR_FILENO, terminal->progress);
    put(terminal, STDERR_FILENO, "\n");
    terminal->progress_held = false;
    terminal->progress_printed = true;
    terminal->progress_ms = now_ms;
}

static void show_progress(struct terminal *terminal, const char *line)
{
    bool same = strcmp(terminal->progress, line ? line : "") == 0;
    snprintf(terminal->progress, sizeof terminal->progress, "%s", line ? line : "");
    if (terminal->reading) {
        if (!same) {
            terminal->progress_changed = true;
            wake(terminal);
        }
    } else if (line) {
        draw_progress(terminal);
    } else if (terminal->progress_drawn) {
        put(terminal, STDERR_FILENO, "\r\033[K");
        terminal->progress_drawn = false;
    }
}

void terminal_progress(struct terminal *terminal, const char *line)
{
    if (terminal->far.say) {
        terminal->far.say(terminal->far.context, TERMINAL_PROGRESS, line ? line : "");
        return;
    }
    pthread_mutex_lock(&terminal->lock);
    if (terminal->is_tty)
        show_progress(terminal, line);
    else
        print_progress(terminal, line);
    pthread_mutex_unlock(&terminal->lock);
}

bool terminal_output_ok(struct terminal *terminal)
{
    if (terminal->far.say)
        return true; /* it is told of there */
    pthread_mutex_lock(&terminal->lock);
    bool ok = !terminal->output_failed;
    pthread_mutex_unlock(&terminal->lock);
    return ok;
}

bool terminal_is_tty(const struct terminal *terminal)
{
    return terminal->is_tty;
}

unsigned terminal_width(const struct terminal *terminal)
{
    struct winsize size;
    if (terminal->far.say)
        return terminal->far.width(terminal->far.context);
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}
