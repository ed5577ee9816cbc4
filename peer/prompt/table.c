#include "table.h"

#include "names.h"

#include <stdint.h>
#include <wchar.h>

#define GAP 2u

struct table {
    size_t columns, rows, capacity;
    char **cells; /* rows * columns; the first row is the heads */
    bool *right;
    bool failed;
};

/* Not mbrtowc(): the user's locale need not be UTF-8.  `text` is valid. */
static uint32_t next_point(const char **text)
{
    const unsigned char *bytes = (const unsigned char *)*text;
    size_t size = bytes[0] < 0x80 ? 1 : bytes[0] >= 0xF0 ? 4 : bytes[0] >= 0xE0 ? 3 : 2;
    uint32_t point = size == 1 ? bytes[0] : bytes[0] & (0x7Fu >> size);
    size_t used = 1;
    for (; used < size && (bytes[used] & 0xC0) == 0x80; used++)
        point = point << 6 | (bytes[used] & 0x3Fu);
    *text += used;
    return point;
}

size_t table_text_width(const char *text)
{
    size_t width = 0;
    while (*text != '\0') {
        int columns = wcwidth((wchar_t)next_point(&text));
        width += columns < 0 ? 1 : (size_t)columns;
    }
    return width;
}

static char *printable(const char *text)
{
    size_t capacity = strlen(text) + 1;
    char *copy = malloc(capacity);
    if (copy)
        names_printable(text, copy, capacity);
    return copy;
}

void table_add(struct table *table, const char *const *cells)
{
    if (table->failed)
        return;
    if (table->rows == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 16;
        char **grown = reallocarray(table->cells, capacity * table->columns, sizeof *grown);
        if (!grown) {
            table->failed = true;
            return;
        }
        table->cells = grown;
        table->capacity = capacity;
    }
    for (size_t i = 0; i < table->columns; i++) {
        char *copy = printable(cells[i]);
        table->failed = table->failed || !copy;
        table->cells[table->rows * table->columns + i] = copy;
    }
    table->rows++;
}

struct table *table_new(const char *const *heads, size_t columns)
{
    struct table *table = calloc(1, sizeof *table);
    bool *right = calloc(columns, sizeof *right);
    const char **titles = calloc(columns, sizeof *titles);
    if (!table || !right || !titles) {
        free(table);
        free(right);
        free(titles);
        return NULL;
    }
    table->columns = columns;
    table->right = right;
    for (size_t i = 0; i < columns; i++) {
        right[i] = heads[i][0] == '>';
        titles[i] = heads[i] + right[i];
    }
    table_add(table, titles);
    free(titles);
    return table;
}

void table_free(struct table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->rows * table->columns; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table->right);
    free(table);
}

static void write_row(FILE *stream, const struct table *table, char *const *cells, const size_t *widths)
{
    size_t owed = 0; /* blanks are written before the next text only, so that none ends a line */
    for (size_t i = 0; i < table->columns; i++) {
        size_t padding = widths[i] - table_text_width(cells[i]);
        if (table->right[i])
            owed += padding;
        if (cells[i][0] != '\0')
            fprintf(stream, "%*s%s", (int)owed, "", cells[i]);
        owed = (cells[i][0] != '\0' ? 0 : owed + table_text_width(cells[i])) + (table->right[i] ? 0 : padding) + GAP;
    }
    fputc('\n', stream);
}

char *table_format(const struct table *table)
{
    char *text = NULL;
    size_t length;
    size_t *widths = calloc(table->columns, sizeof *widths);
    FILE *stream = table->failed || !widths ? NULL : open_memstream(&text, &length);
    if (!stream) {
        free(widths);
        return NULL;
    }
    for (size_t i = 0; i < table->rows * table->columns; i++) {
        size_t width = table_text_width(table->cells[i]), column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    for (size_t row = 0; row < table->rows; row++)
        write_row(stream, table, table->cells + row * table->columns, widths);
    free(widths);
    bool failed = ferror(stream) != 0;
    failed = fclose(stream) != 0 || failed;
    if (!failed)
        return text;
    free(text);
    return NULL;
}
