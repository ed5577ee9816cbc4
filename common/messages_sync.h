/*
 * The index of a synced folder as peers send it to each other: GET /v1/sync/index.  Parsing and formatting as messages.h
 * says.
 */
#ifndef ENXAME_MESSAGES_SYNC_H
#define ENXAME_MESSAGES_SYNC_H

#include "merkle.h"
#include "version.h"

enum sync_kind { SYNC_FILE, SYNC_FOLDER, SYNC_DELETED };

/* Seconds that an int64_t has room for in nanoseconds: from about 1677 to 2262. */
#define SYNC_MTIME_S_MAX INT64_C(9223372035)

/* What one name of the folder is.  What is said to be of files is zero in others. */
struct sync_entry {
    char *name; /* relative to the folder; passed names_check(); owned */
    enum sync_kind kind;
    bool executable;        /* files */
    int64_t mtime_ns;       /* files; since the epoch, maybe before it; at most SYNC_MTIME_S_MAX away */
    struct content content; /* files */
    struct version version;
};
void sync_entry_free(struct sync_entry *entry); /* harmless on a zeroed one */
enum err sync_entry_copy(const struct sync_entry *from, struct sync_entry *ret);
/* At most so many bytes does the entry take in a page, with what separates it from the next. */
size_t sync_entry_size(const struct sync_entry *entry);
/* At most so many bytes does a page take beside its entries. */
#define SYNC_PAGE_HEAD_SIZE 128u

/*
 * Entries in the order of their last changes.  Those who make one keep the sum of sync_entry_size() and SYNC_PAGE_HEAD_SIZE
 * within BODY_SIZE_MAX; one entry always fits.
 */
struct sync_page {
    uint64_t epoch;    /* of the index: where it is another, all sequences begin anew */
    uint64_t sequence; /* of the last entry, or what was asked for where there is none: where the next page begins */
    bool more;         /* further entries are there already */
    struct sync_entry *entries;
    size_t count;   /* at most ITEMS_MAX */
    size_t skipped; /* entries that are not valid (a hostile name, a version out of range) */
};
void sync_page_free(struct sync_page *page);
/*
 * Leaves out, and counts as skipped, entries with a counter that is not believable at this value of the clock (see lamport.h): one
 * near LAMPORT_MAX would leave no room for edits.
 */
void sync_page_believe(struct sync_page *page, uint64_t clock);
enum err sync_page_parse(const char *text, size_t length, struct sync_page *ret, struct why *why);
char *sync_page_format(const struct sync_page *page);

#endif
