/*
 * Rows of text whose columns line up on a terminal, wide and combining characters included.  Foreign text is made
 * printable.  No state; any thread.
 */
#ifndef ENXAME_PEER_TABLE_H
#define ENXAME_PEER_TABLE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct table;

/* `heads`: a title for each column; one that begins with '>' (not shown) aligns its column to the right. */
struct table *table_new(const char *const *heads, size_t columns);
void table_free(struct table *table);
/* Copies one text for each column.  A failed allocation is kept and makes table_format() fail. */
void table_add(struct table *table, const char *const *cells);
/* All lines, each with a newline and without blanks at its end; the caller frees it.  NULL: out of memory. */
char *table_format(const struct table *table);

/* Columns that valid UTF-8 takes on a terminal; 1 for each character that has no width of its own. */
size_t table_text_width(const char *text);

#endif
