#include "neighbours_file.h"

#include "files.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct neighbours_file {
    char *path; /* absolute */
};

/* ---- lines ---- */

void neighbours_lines_free(struct neighbours_lines *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        free(lines->endpoints[i]);
    free(lines->endpoints);
    *lines = (struct neighbours_lines){0};
}

/* Addresses may be written in several ways; names are compared as they are. */
static bool is_same(const char *one, const char *other)
{
    struct address a, b;
    if (address_parse(one, &a, NULL) || address_parse(other, &b, NULL))
        return strcmp(one, other) == 0;
    return address_equal(&a, &b);
}

static bool has_line(const struct neighbours_lines *lines, const char *endpoint)
{
    for (size_t i = 0; i < lines->count; i++)
        if (is_same(lines->endpoints[i], endpoint))
            return true;
    return false;
}

static bool is_blank(char letter)
{
    return letter == ' ' || letter == '\t' || letter == '\r';
}

/* What a line says, without blanks and comment, into `ret`; false where that is too long or holds a zero byte. */
static bool strip(const char *line, size_t length, char *ret, size_t capacity)
{
    const char *comment = memchr(line, '#', length);
    if (comment)
        length = (size_t)(comment - line);
    for (; length > 0 && is_blank(line[0]); length--)
        line++;
    while (length > 0 && is_blank(line[length - 1]))
        length--;
    if (length >= capacity || memchr(line, '\0', length))
        return false;
    memcpy(ret, line, length);
    ret[length] = '\0';
    return true;
}

static enum err add_line(struct neighbours_lines *lines, const char *endpoint)
{
    char **grown = reallocarray(lines->endpoints, lines->count + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    lines->endpoints = grown;
    grown[lines->count] = strdup(endpoint);
    return grown[lines->count++] ? ERR_OK : ERR_NOMEM;
}

/* A line without its newline; ERR_TOO_LARGE where there is no room for it. */
static enum err take_line(struct neighbours_lines *lines, const char *line, size_t length, struct why *why)
{
    char endpoint[320];
    why->text[0] = '\0';
    if (!strip(line, length, endpoint, sizeof endpoint))
        return why_set(why, ERR_INVALID, "must be host:port, such as 192.0.2.7:6001 or [2001:db8::7]:6001");
    if (endpoint[0] == '\0' || has_line(lines, endpoint))
        return ERR_OK;
    enum err err = address_check_endpoint(endpoint, why);
    if (err)
        return err;
    if (lines->count == NEIGHBOURS_KNOWN_MAX)
        return why_set(why, ERR_TOO_LARGE, "more than %u neighbours: the rest is not read", NEIGHBOURS_KNOWN_MAX);
    return add_line(lines, endpoint);
}

enum err neighbours_file_parse(const char *text, size_t length, neighbours_line_bad *bad, void *context,
                               struct neighbours_lines *ret)
{
    *ret = (struct neighbours_lines){0};
    enum err err = ERR_OK;
    for (size_t number = 1; length > 0 && err != ERR_NOMEM && err != ERR_TOO_LARGE; number++) {
        const char *end = memchr(text, '\n', length);
        size_t size = end ? (size_t)(end - text) : length;
        struct why why;
        err = take_line(ret, text, size, &why);
        if (err == ERR_INVALID || err == ERR_TOO_LARGE)
            bad(context, number, why.text);
        length -= end ? size + 1 : size;
        text += end ? size + 1 : size;
    }
    if (err != ERR_NOMEM)
        return ERR_OK;
    neighbours_lines_free(ret);
    return ERR_NOMEM;
}

/* ---- reading ---- */

static enum err fail(const char *path, enum err err, struct why *why)
{
    if (err == ERR_TOO_LARGE)
        return why_set(why, err, "--neighbours %s: is larger than %u KiB", path, NEIGHBOURS_FILE_MAX / KIB);
    return why_set(why, err, "--neighbours %s: %s", path, err_name(err));
}

/* Nothing, and mode 0, where there is no such file. */
static enum err read_file(const char *path, char **ret_text, size_t *ret_length, mode_t *ret_mode, struct why *why)
{
    struct stat status;
    *ret_text = NULL;
    *ret_length = 0;
    *ret_mode = 0;
    if (stat(path, &status))
        return errno == ENOENT ? ERR_OK : fail(path, err_from_errno(errno), why);
    if (!S_ISREG(status.st_mode))
        return why_set(why, ERR_INVALID, "--neighbours %s: is no file", path);
    *ret_mode = status.st_mode & 07777;
    enum err err = files_read(AT_FDCWD, path, NEIGHBOURS_FILE_MAX, ret_text, ret_length);
    return err ? fail(path, err, why) : ERR_OK;
}

/* What a symbolic link leads to; a relative path is made absolute.  Of a file that is not there yet, its folder must be. */
static char *resolve(const char *path)
{
    char *resolved = realpath(path, NULL), *absolute = NULL;
    if (resolved || errno != ENOENT)
        return resolved;
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    resolved = folder ? realpath(folder, NULL) : NULL;
    free(folder);
    if (!resolved || asprintf(&absolute, "%s/%s", resolved, slash ? slash + 1 : path) < 0)
        absolute = NULL;
    free(resolved);
    return absolute;
}

enum err neighbours_file_open(const char *path, neighbours_line_bad *bad, void *context, struct neighbours_file **ret,
                              struct neighbours_lines *ret_lines, struct why *why)
{
    char *text = NULL;
    size_t length = 0;
    mode_t mode;
    *ret_lines = (struct neighbours_lines){0};
    struct neighbours_file *file = calloc(1, sizeof *file);
    if (!file)
        return why_set(why, ERR_NOMEM, "out of memory");
    file->path = resolve(path);
    enum err err = file->path ? read_file(file->path, &text, &length, &mode, why) : fail(path, ERR_NOT_FOUND, why);
    if (!err && neighbours_file_parse(text ? text : "", length, bad, context, ret_lines))
        err = why_set(why, ERR_NOMEM, "out of memory");
    free(text);
    if (err)
        neighbours_file_free(file);
    else
        *ret = file;
    return err;
}

void neighbours_file_free(struct neighbours_file *file)
{
    if (!file)
        return;
    free(file->path);
    free(file);
}

/* ---- adding ---- */

static void ignore(void *context, size_t number, const char *reason)
{
    (void)context;
    (void)number;
    (void)reason;
}

/* The text with a line for each address that it lacks; *ret_added 0: nothing to write. */
static enum err compose(const char *text, size_t length, const struct address *addresses, size_t count, char **ret,
                        size_t *ret_length, size_t *ret_added)
{
    struct neighbours_lines lines;
    char *all = NULL;
    *ret_added = 0;
    enum err err = neighbours_file_parse(text, length, ignore, NULL, &lines);
    FILE *stream = err ? NULL : open_memstream(&all, ret_length);
    if (!stream) {
        neighbours_lines_free(&lines);
        return ERR_NOMEM;
    }
    (void)fwrite(text, 1, length, stream);
    if (length > 0 && text[length - 1] != '\n')
        (void)fputc('\n', stream);
    for (size_t i = 0; !err && i < count; i++) {
        char line[ADDRESS_TEXT_SIZE];
        address_format(&addresses[i], line);
        if (has_line(&lines, line))
            continue;
        err = lines.count < NEIGHBOURS_KNOWN_MAX ? add_line(&lines, line) : ERR_TOO_LARGE;
        if (!err)
            fprintf(stream, "%s\n", line);
        *ret_added += !err;
    }
    neighbours_lines_free(&lines);
    if (fclose(stream) != 0)
        err = ERR_NOMEM;
    *ret = all;
    return err == ERR_TOO_LARGE && *ret_added > 0 ? ERR_OK : err;
}

enum err neighbours_file_append(const struct neighbours_file *file, const struct address *addresses, size_t count,
                                struct why *why)
{
    char *text = NULL, *all = NULL;
    size_t length, all_length = 0, added = 0;
    why->text[0] = '\0';
    mode_t mode;
    enum err err = read_file(file->path, &text, &length, &mode, why);
    if (!err)
        err = compose(text ? text : "", length, addresses, count, &all, &all_length, &added);
    if (err == ERR_TOO_LARGE)
        (void)why_set(why, err, "--neighbours %s: has %u lines; new neighbours are not added any more", file->path,
                      NEIGHBOURS_KNOWN_MAX);
    else if (!err && added > 0 && mode == 0)
        err = files_write_atomically(AT_FDCWD, file->path, all, all_length, 0666);
    else if (!err && added > 0)
        err = files_replace_atomically(AT_FDCWD, file->path, all, all_length, mode);
    if (err && why->text[0] == '\0')
        (void)fail(file->path, err, why);
    free(text);
    free(all);
    return err;
}
