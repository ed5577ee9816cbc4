#include "sync_policy.h"

#include "limits.h"
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MARK ".conflict-"
/* ".conflict-01234567-20261121-150000" */
#define MARK_LENGTH (sizeof MARK - 1 + 8 + 1 + 8 + 1 + 6)
/* What follows a name's last point for longer than this is no extension. */
#define EXTENSION_MAX 64u
/* Bytes of an author's id that a conflict copy's author has, too: more than are shown. */
#define AUTHOR_SHOWN 8u
#define NS_PER_S INT64_C(1000000000)

void sync_decision_free(struct sync_decision *decision)
{
    sync_entry_free(&decision->result);
    sync_entry_free(&decision->loser);
    *decision = (struct sync_decision){0};
}

/* ---- the names of conflicts ---- */

/* The extension with its point; the end of the name where it has none.  The point that hides a file begins none. */
static const char *find_extension(const char *base)
{
    const char *point = strrchr(base, '.');
    if (!point || point == base || strlen(point) > EXTENSION_MAX)
        return base + strlen(base);
    return point;
}

/* At most `room` bytes of the text of `length`, cut at a whole character. */
static size_t cut(const char *text, size_t length, size_t room)
{
    if (length <= room)
        return length;
    while (room > 0 && ((unsigned char)text[room] & 0xC0) == 0x80)
        room--;
    return room;
}

/* Length of the folders with their last '/', as many as leave room for `needed` bytes. */
static size_t cut_folders(const char *name, size_t length, size_t needed)
{
    while (length > NAME_SIZE_MAX - needed) {
        length--;
        while (length > 0 && name[length - 1] != '/')
            length--;
    }
    return length;
}

char *sync_conflict_name(const struct sync_entry *loser)
{
    const char *base = names_base(loser->name), *extension = find_extension(base);
    size_t needed = MARK_LENGTH + strlen(extension);
    size_t folders = cut_folders(loser->name, (size_t)(base - loser->name), needed);
    size_t room = NAME_SIZE_MAX - needed - folders;
    if (room > NAME_COMPONENT_MAX - needed)
        room = NAME_COMPONENT_MAX - needed;
    size_t stem = cut(base, (size_t)(extension - base), room);
    int64_t rest = loser->mtime_ns % NS_PER_S;
    time_t seconds = (time_t)(loser->mtime_ns / NS_PER_S - (rest < 0));
    char id[HASH_HEX + 1], date[32], *name;
    struct tm parts = {0};
    hex_encode(loser->version.author, HASH_SIZE, id);
    gmtime_r(&seconds, &parts);
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", &parts);
    if (asprintf(&name, "%.*s%.*s" MARK "%.8s-%s%s", (int)folders, loser->name, (int)stem, base, id, date, extension) <
        0)
        return NULL;
    return name;
}

/* `shape`: 'x' stands for a hex digit, '0' for a digit. */
static bool has_shape(const char *text, const char *shape)
{
    for (; *shape != '\0'; shape++, text++) {
        bool digit = *text >= '0' && *text <= '9';
        bool fits = *shape == '0' ? digit : *shape == 'x' ? digit || (*text >= 'a' && *text <= 'f') : *text == *shape;
        if (!fits)
            return false;
    }
    return *text == '\0' || *text == '.';
}

bool sync_is_conflict_name(const char *name)
{
    for (const char *mark = strstr(names_base(name), MARK); mark; mark = strstr(mark + 1, MARK))
        if (has_shape(mark, MARK "xxxxxxxx-00000000-000000"))
            return true;
    return false;
}

/* ---- who wins ---- */

/* Where nothing else decides: what must not be lost for what. */
static int rank(enum sync_kind kind)
{
    return kind == SYNC_FOLDER ? 2 : kind == SYNC_FILE ? 1 : 0;
}

/* Same kind and, of files, the same bytes. */
static bool same_content(const struct sync_entry *a, const struct sync_entry *b)
{
    return a->kind == b->kind && (a->kind != SYNC_FILE || content_equal(&a->content, &b->content));
}

static bool same_author(const struct version *a, const struct version *b)
{
    return a->time == b->time && memcmp(a->author, b->author, HASH_SIZE) == 0;
}

/*
 * Whether `a` wins.  A total order, so that all decide alike; what comes after time and author matters only where a peer gave
 * one version to two things, as one does whose index is an old copy.
 */
static bool wins(const struct sync_entry *a, const struct sync_entry *b)
{
    if (rank(a->kind) != rank(b->kind))
        return rank(a->kind) > rank(b->kind);
    if (!same_author(&a->version, &b->version))
        return version_wins(&a->version, &b->version);
    int order = memcmp(a->content.root, b->content.root, HASH_SIZE);
    if (order != 0)
        return order > 0;
    if (a->content.size != b->content.size)
        return a->content.size > b->content.size;
    if (a->mtime_ns != b->mtime_ns)
        return a->mtime_ns > b->mtime_ns;
    return a->executable && !b->executable;
}

/* Whether the loser's bytes would be lost. */
static bool needs_copy(const struct sync_entry *winner, const struct sync_entry *loser)
{
    return loser->kind == SYNC_FILE && !same_content(winner, loser);
}

bool sync_is_news(const struct sync_entry *ours, const struct sync_entry *theirs)
{
    if (!ours)
        return true;
    enum version_order order = version_compare(&theirs->version, &ours->version);
    if (order != VERSION_EQUAL)
        return order != VERSION_OLDER;
    if (wins(theirs, ours))
        return true;
    return needs_copy(ours, theirs);
}

/*
 * Who is said to have made a conflict copy: nobody who edits anything, but the same for all who make this copy.  So what somebody
 * makes of the copy is never taken for older than another copy of that name, nor for newer.
 */
static void make_author(const struct sync_entry *loser, uint8_t ret_id[static HASH_SIZE])
{
    uint8_t bytes[2 * HASH_SIZE], hash[HASH_SIZE];
    memcpy(bytes, loser->version.author, HASH_SIZE);
    memcpy(bytes + HASH_SIZE, loser->content.root, HASH_SIZE);
    merkle_sha256(bytes, sizeof bytes, hash);
    memcpy(ret_id, loser->version.author, AUTHOR_SHOWN);
    memcpy(ret_id + AUTHOR_SHOWN, hash, HASH_SIZE - AUTHOR_SHOWN);
}

enum err sync_keep_loser(const struct sync_entry *loser, struct sync_decision *ret)
{
    struct sync_entry copy = *loser;
    uint8_t id[HASH_SIZE];
    copy.version = (struct version){0};
    copy.name = sync_conflict_name(loser);
    if (!copy.name)
        return ERR_NOMEM;
    make_author(loser, id);
    enum err err = version_edit(&copy.version, id, loser->version.time - 1);
    if (err) {
        sync_entry_free(&copy);
        return err;
    }
    ret->loser = copy;
    ret->conflict = true;
    return ERR_OK;
}

static enum err decide_concurrent(const struct sync_entry *ours, const struct sync_entry *theirs,
                                  struct sync_decision *ret)
{
    bool is_ours = !wins(theirs, ours);
    const struct sync_entry *winner = is_ours ? ours : theirs, *loser = is_ours ? theirs : ours;
    struct version merged;
    enum err err = version_merge(&winner->version, &loser->version, &merged);
    if (err)
        return err;
    err = sync_entry_copy(winner, &ret->result);
    if (err) {
        version_free(&merged);
        return err;
    }
    version_free(&ret->result.version);
    ret->result.version = merged;
    ret->verdict = is_ours || same_content(ours, theirs) ? SYNC_KEEP : SYNC_TAKE;
    if (!needs_copy(winner, loser))
        return ERR_OK;
    ret->loser_is_ours = !is_ours;
    return sync_keep_loser(loser, ret);
}

enum err sync_decide(const struct sync_entry *ours, const struct sync_entry *theirs, struct sync_decision *ret)
{
    *ret = (struct sync_decision){.verdict = SYNC_IGNORE};
    if (!sync_is_news(ours, theirs))
        return ERR_OK;
    enum err err;
    if (ours && version_compare(&theirs->version, &ours->version) != VERSION_NEWER) {
        err = decide_concurrent(ours, theirs, ret);
    } else {
        bool stays = ours ? same_content(ours, theirs) : theirs->kind == SYNC_DELETED;
        ret->verdict = stays ? SYNC_KEEP : SYNC_TAKE;
        err = sync_entry_copy(theirs, &ret->result);
    }
    if (err)
        sync_decision_free(ret);
    return err;
}
