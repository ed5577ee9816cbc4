/*
 * The keys of the names that were registered lately: most files that a peer registers are those that others registered
 * moments before.  A fixed table, in which a newer name takes an older one's place.  One thread's.
 */
#ifndef ENXAME_RECENT_NAMES_H
#define ENXAME_RECENT_NAMES_H

#include "messages.h"

#include <stdint.h>

struct recent_names;

struct recent_names *recent_names_new(void); /* NULL: out of memory */
void recent_names_free(struct recent_names *names);

/* 0: not among them. */
int64_t recent_names_find(const struct recent_names *names, const struct file_record *file);
void recent_names_put(struct recent_names *names, const struct file_record *file, int64_t key);
/* All of them, at once and cheaply: a key may have gone. */
void recent_names_forget(struct recent_names *names);

#endif
