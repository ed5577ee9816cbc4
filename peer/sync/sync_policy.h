/*
 * What follows when another peer's entry meets ours.  Every peer decides the same from the same two entries, so that all
 * folders become the same.  Pure; any thread.
 *
 *   theirs is ours, or older                       nothing
 *   theirs descends from ours                      theirs replaces ours
 *   concurrent, the same content or kind           both versions merge; metadata are the winner's
 *   concurrent, one is a deletion                  the other stays
 *   concurrent, a file and a folder                the folder stays, the file becomes a conflict copy
 *   concurrent, two files                          the winner stays, the loser becomes a conflict copy
 *
 * "Concurrent" are, too, two entries of one version that are not the same: two peers can merge the same edits in another order,
 * and then keep different ones where a deletion was among them.  As each step makes the version greater, or leaves it and
 * keeps the one that wins, all come to rest at the same entry.
 */
#ifndef ENXAME_PEER_SYNC_POLICY_H
#define ENXAME_PEER_SYNC_POLICY_H

#include "messages_sync.h"

enum sync_verdict {
    SYNC_IGNORE, /* we have that, or newer */
    SYNC_TAKE,   /* their bytes, folder or deletion take the name's place */
    SYNC_KEEP,   /* what is there stays; its version, and a file's metadata, become those of the result */
};

struct sync_decision {
    enum sync_verdict verdict;
    struct sync_entry result; /* what the name is from now on, whoever's it is; owned; empty for SYNC_IGNORE */
    bool conflict;            /* the loser is kept as an entry of its own ... */
    struct sync_entry
        loser;          /* ... this one: the conflict's name, the loser's content and metadata, and as version the edit
                                 that made it alone; owned.  It meets what is known of that name as any other peer's would. */
    bool loser_is_ours; /* its bytes are what lies at the name now; otherwise they have to be fetched */
};
void sync_decision_free(struct sync_decision *decision);

/* `ours` NULL: the name was never known here.  ERR_NOMEM; ERR_TOO_LARGE where the versions cannot be merged. */
enum err sync_decide(const struct sync_entry *ours, const struct sync_entry *theirs, struct sync_decision *ret);
/* Makes the decision a conflict in which this one loses. */
enum err sync_keep_loser(const struct sync_entry *loser, struct sync_decision *ret);
/* Whether the verdict would be another than SYNC_IGNORE. */
bool sync_is_news(const struct sync_entry *ours, const struct sync_entry *theirs);

/*
 * name.conflict-<8 digits of the author's id>-<mtime as YYYYMMDD-HHMMSS in UTC>.ext, from the losing version alone; the stem is
 * cut, at a whole character, so that the last component has at most NAME_COMPONENT_MAX bytes.  Where the folders leave no room
 * within NAME_SIZE_MAX, it lies in an outer one.  The caller frees it; NULL: out of memory.
 */
char *sync_conflict_name(const struct sync_entry *loser);
/* Whether the name is one that sync_conflict_name() makes. */
bool sync_is_conflict_name(const char *name);

#endif
