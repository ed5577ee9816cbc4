/*
 * Files that several sources told of, merged: a row for each name of each content, or one for each content whatever its
 * names.  Not locked: one thread's.
 */
#ifndef ENXAME_PEER_FOUND_H
#define ENXAME_PEER_FOUND_H

#include "enquiry.h"

enum found_key {
    FOUND_BY_NAME,   /* name and content */
    FOUND_BY_CONTENT /* the first name that was told */
};

struct found_row {
    char *name; /* owned */
    struct content content;
    uint64_t counted;  /* holders, as the tracker counts them */
    uint16_t *sources; /* neighbours that have it, as numbers of struct found's; owned */
    size_t source_count;
    uint32_t next; /* in its hash chain */
};

struct found {
    enum found_key key;
    size_t rows_max;
    struct found_row *rows;
    size_t count, capacity;
    uint32_t *chains; /* as many as capacity */
    struct neighbour *sources;
    size_t source_count;
    bool is_full; /* there was more than rows_max */
};

void found_init(struct found *found, enum found_key key, size_t rows_max);
void found_clear(struct found *found); /* harmless on a zeroed struct */

/* What a source says of a file.  ERR_NOMEM; beyond rows_max, only `is_full` is set. */
enum err found_add(struct found *found, const struct enquiry_source *source, const struct file_record *file);
/* The same for lookup_files() (`context` is a struct found): ERR_TOO_LARGE ends it once there is more than is wanted. */
enum err found_take(void *context, const struct enquiry_source *source, const struct file_record *file,
                    struct why *why);
/* By name, then root; rows must not be added any more. */
void found_sort(struct found *found);
/* The greater of what the tracker counts and of the neighbours that have it: some are both. */
uint64_t found_holders(const struct found_row *row);

#endif
