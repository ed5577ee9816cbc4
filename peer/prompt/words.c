#include "words.h"

#include <stdbool.h>

static bool is_blank(char letter)
{
    return letter == ' ' || letter == '\t' || letter == '\n' || letter == '\r';
}

enum end { END_CLEAN, END_QUOTE, END_BACKSLASH };

/*
 * Takes one word from `*line`, which is at its first letter, and leaves it behind the word.  `ret_word` has room for all of
 * the line.
 */
static enum end take_word(const char **line, char *ret_word)
{
    const char *position = *line;
    char quote = '\0', *out = ret_word;
    enum end end = END_CLEAN;
    for (; *position != '\0' && (quote != '\0' || !is_blank(*position)); position++) {
        char letter = *position;
        if (letter == '\\' && quote != '\'') {
            /* Within double quotes a backslash is literal but before these two. */
            if (quote == '"' && position[1] != '"' && position[1] != '\\') {
                *out++ = letter;
                continue;
            }
            if (position[1] == '\0') {
                end = END_BACKSLASH;
                continue;
            }
            *out++ = *++position;
        } else if (quote != '\0' && letter == quote) {
            quote = '\0';
        } else if (quote == '\0' && (letter == '"' || letter == '\'')) {
            quote = letter;
        } else {
            *out++ = letter;
        }
    }
    *out = '\0';
    *line = position;
    return quote != '\0' ? END_QUOTE : end;
}

void words_free(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
    free(words->items);
    *words = (struct words){0};
}

enum err words_split(const char *line, struct words *ret, struct why *why)
{
    *ret = (struct words){.items = calloc(WORDS_MAX, sizeof *ret->items)};
    char *word = malloc(strlen(line) + 1);
    enum err err = ERR_OK;
    if (!ret->items || !word) {
        free(word);
        words_free(ret);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    while (!err) {
        while (is_blank(*line))
            line++;
        if (*line == '\0')
            break;
        enum end end = take_word(&line, word);
        if (end != END_CLEAN)
            err = why_set(why, ERR_INVALID, end == END_QUOTE ? "a quote is not closed" : "a backslash ends the line");
        else if (ret->count == WORDS_MAX)
            err = why_set(why, ERR_TOO_LARGE, "more than %u words", WORDS_MAX);
        else if (!(ret->items[ret->count] = strdup(word)))
            err = why_set(why, ERR_NOMEM, "out of memory");
        else
            ret->count++;
    }
    free(word);
    if (err)
        words_free(ret);
    return err;
}

enum err words_last(const char *line, char **ret_word, size_t *ret_start)
{
    const char *position = line, *start = line;
    char *word = calloc(1, strlen(line) + 1);
    if (!word)
        return ERR_NOMEM;
    while (*position != '\0') {
        while (is_blank(*position))
            position++;
        start = position;
        word[0] = '\0';
        if (*position != '\0')
            (void)take_word(&position, word);
    }
    *ret_word = word;
    *ret_start = (size_t)(start - line);
    return ERR_OK;
}

char *words_quote(const char *word)
{
    char *quoted = malloc(2 * strlen(word) + 3), *out = quoted;
    if (!quoted)
        return NULL;
    if (*word == '\0') {
        memcpy(quoted, "''", 3);
        return quoted;
    }
    for (; *word != '\0'; word++) {
        if (is_blank(*word) || *word == '"' || *word == '\'' || *word == '\\')
            *out++ = '\\';
        *out++ = *word;
    }
    *out = '\0';
    return quoted;
}
