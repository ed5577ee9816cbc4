#include "editor.h"

#include "table.h"
#include "words.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HISTORY_LINES 1000
#define CANDIDATES_MAX 200u

struct editor {
    EditLine *el;
    History *history;
    char *history_path;
    int wake_fd;
    editor_wake *wake;
    void *wake_context;
    terminal_complete *complete;
    void *complete_context;
    const char *prompt;
    bool woken;        /* the wake callback ended the line */
    char typed[256];   /* bytes read ahead */
    size_t first, end; /* which of them are left */
};

static struct editor *editor_of(EditLine *el)
{
    struct editor *editor = NULL;
    el_get(el, EL_CLIENTDATA, &editor);
    return editor;
}

static char *get_prompt(EditLine *el)
{
    return (char *)editor_of(el)->prompt;
}

/* ---- what is on the screen ---- */

static size_t columns(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* The row of the prompt's block, from 0, in which the text that ends at `end` ends. */
static size_t row_of(const struct editor *editor, const LineInfo *line, const char *end)
{
    char *text = strndup(line->buffer, (size_t)(end - line->buffer));
    size_t width = table_text_width(editor->prompt) + (text ? table_text_width(text) : 0);
    free(text);
    return width / columns();
}

static void put(const char *text)
{
    fputs(text, stdout);
}

void editor_erase(struct editor *editor, size_t above)
{
    const LineInfo *line = el_line(editor->el);
    size_t up = row_of(editor, line, line->cursor) + (above > 0 ? (above - 1) / columns() + 1 : 0);
    put("\r");
    if (up > 0)
        printf("\033[%zuA", up);
    put("\033[J");
    fflush(stdout);
}

void editor_draw(struct editor *editor)
{
    el_set(editor->el, EL_REFRESH);
}

void editor_resized(struct editor *editor)
{
    /* A shell that stopped us has set its own modes. */
    el_set(editor->el, EL_PREP_TERM, 0);
    el_set(editor->el, EL_PREP_TERM, 1);
    el_resize(editor->el);
}

/* ---- completion ---- */

static size_t common_length(char *const *texts, size_t count)
{
    size_t length = strlen(texts[0]);
    for (size_t i = 1; i < count; i++) {
        size_t same = 0;
        while (same < length && texts[i][same] == texts[0][same])
            same++;
        length = same;
    }
    while (length > 0 && ((unsigned char)texts[0][length] & 0xC0) == 0x80)
        length--;
    return length;
}

static size_t characters(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* In place of the last `replaced` characters before the cursor; a space follows a whole word. */
static void insert(struct editor *editor, size_t replaced, const char *text, size_t length, bool whole)
{
    char *word = strndup(text, length);
    char *quoted = word ? words_quote(word) : NULL;
    if (quoted) {
        el_deletestr(editor->el, (int)replaced);
        (void)el_insertstr(editor->el, quoted);
        if (whole && length > 0 && text[length - 1] != '/')
            (void)el_insertstr(editor->el, " ");
    }
    free(quoted);
    free(word);
}

static void show_candidates(struct editor *editor, char *const *texts, size_t count)
{
    const LineInfo *line = el_line(editor->el);
    size_t down = row_of(editor, line, line->lastchar) - row_of(editor, line, line->cursor);
    if (down > 0)
        printf("\033[%zuB", down);
    put("\n");
    size_t widest = 0, total = columns();
    for (size_t i = 0; i < count; i++) {
        size_t width = table_text_width(texts[i]);
        widest = width > widest ? width : widest;
    }
    size_t per_line = total / (widest + 2) > 0 ? total / (widest + 2) : 1;
    for (size_t i = 0; i < count; i++) {
        bool last = i % per_line == per_line - 1 || i + 1 == count;
        printf("%s%*s", texts[i], last ? 0 : (int)(widest + 2 - table_text_width(texts[i])), "");
        if (last)
            put("\n");
    }
    fflush(stdout);
    editor_draw(editor);
}

static void complete_word(struct editor *editor)
{
    const LineInfo *info = el_line(editor->el);
    char *texts[CANDIDATES_MAX], *word = NULL;
    size_t start = 0, count = 0;
    char *line = strndup(info->buffer, (size_t)(info->cursor - info->buffer));
    if (line && editor->complete && !words_last(line, &word, &start))
        count = editor->complete(editor->complete_context, line, word, texts, CANDIDATES_MAX);
    size_t length = count > 0 ? common_length(texts, count) : 0;
    if (count == 0) {
        put("\a");
        fflush(stdout);
    } else if (count == 1 || length > strlen(word)) {
        editor_erase(editor, 0);
        insert(editor, characters(line + start, strlen(line) - start), texts[0], length, count == 1);
        editor_draw(editor);
    } else {
        show_candidates(editor, texts, count);
    }
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(word);
    free(line);
}

void editor_set_complete(struct editor *editor, terminal_complete *complete, void *context)
{
    editor->complete = complete;
    editor->complete_context = context;
}

/* ---- characters ---- */

/* Takes one character of what was read; false where it is not whole yet.  Bytes that are not UTF-8 are dropped. */
static bool take_character(struct editor *editor, wchar_t *ret)
{
    while (editor->first < editor->end) {
        mbstate_t state = {0};
        size_t size = mbrtowc(ret, editor->typed + editor->first, editor->end - editor->first, &state);
        if (size == (size_t)-2) {
            memmove(editor->typed, editor->typed + editor->first, editor->end - editor->first);
            editor->end -= editor->first;
            editor->first = 0;
            return false;
        }
        bool valid = size != (size_t)-1 && size > 0;
        editor->first += valid ? size : 1;
        if (valid)
            return true;
    }
    editor->first = editor->end = 0;
    return false;
}

/*
 * libedit's source of characters: 1 for one, 0 at the end, -1 to break off.  It never sees a tab: functions that are added to
 * libedit are never freed by it.
 */
static int read_character(EditLine *el, wchar_t *ret)
{
    struct editor *editor = editor_of(el);
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = editor->wake_fd, .events = POLLIN}};
    for (;;) {
        if (take_character(editor, ret)) {
            if (*ret != L'\t')
                return 1;
            complete_word(editor);
            continue;
        }
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        if (fds[1].revents != 0 && !editor->wake(editor->wake_context)) {
            editor->woken = true;
            return -1;
        }
        if (fds[0].revents == 0)
            continue;
        ssize_t got = read(STDIN_FILENO, editor->typed + editor->end, sizeof editor->typed - editor->end);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            return got == 0 ? 0 : -1;
        editor->end += got > 0 ? (size_t)got : 0;
    }
}

/* ---- history ---- */

void editor_set_history(struct editor *editor, const char *path)
{
    HistEvent event;
    free(editor->history_path);
    editor->history_path = strdup(path);
    (void)history(editor->history, &event, H_LOAD, path);
}

static void remember_line(struct editor *editor, const char *line)
{
    HistEvent event;
    if (line[0] != '\0' && line[0] != ' ')
        (void)history(editor->history, &event, H_ENTER, line);
}

/* ---- the contract ---- */

struct editor *editor_new(int wake_fd, editor_wake *wake, void *context)
{
    struct editor *editor = calloc(1, sizeof *editor);
    if (!editor)
        return NULL;
    *editor = (struct editor){.wake_fd = wake_fd, .wake = wake, .wake_context = context, .prompt = ""};
    editor->el = el_init("peer", stdin, stdout, stderr);
    editor->history = history_init();
    if (!editor->el || !editor->history) {
        editor_free(editor);
        return NULL;
    }
    HistEvent event;
    (void)history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->el, EL_CLIENTDATA, editor);
    el_set(editor->el, EL_PROMPT, get_prompt);
    el_set(editor->el, EL_EDITOR, "emacs");
    el_set(editor->el, EL_SIGNAL, 0);
    el_set(editor->el, EL_HIST, history, editor->history);
    el_set(editor->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_wset(editor->el, EL_GETCFN, read_character);
    return editor;
}

void editor_free(struct editor *editor)
{
    if (!editor)
        return;
    HistEvent event;
    if (editor->history && editor->history_path)
        (void)history(editor->history, &event, H_SAVE, editor->history_path);
    if (editor->history)
        history_end(editor->history);
    if (editor->el)
        el_end(editor->el);
    free(editor->history_path);
    free(editor);
}

enum editor_outcome editor_read(struct editor *editor, const char *prompt, bool remember, char **ret_line)
{
    int length = 0;
    *ret_line = NULL;
    editor->prompt = prompt;
    editor->woken = false;
    const char *line = el_gets(editor->el, &length);
    if (!line || length <= 0)
        return editor->woken ? EDITOR_WOKEN : EDITOR_END;
    *ret_line = strndup(line, strcspn(line, "\r\n"));
    if (!*ret_line)
        return EDITOR_END;
    if (remember)
        remember_line(editor, *ret_line);
    return EDITOR_LINE;
}
