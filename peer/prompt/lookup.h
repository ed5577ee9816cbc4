/*
 * Files that the tracker and the neighbours tell of, for a command: all are asked at once, what one of them has is taken as it
 * comes, and where some do not answer the others do.  On a session's thread.
 */
#ifndef ENXAME_PEER_LOOKUP_H
#define ENXAME_PEER_LOOKUP_H

#include "enquiry.h"
#include "session.h"

/* Takes one file; an error ends the lookup with it, and `why` may then say more. */
typedef enum err lookup_take(void *context, const struct enquiry_source *source, const struct file_record *file,
                             struct why *why);

struct lookup {
    unsigned whom;                     /* ENQUIRY_TRACKER, ENQUIRY_NEIGHBOURS, or both */
    const struct neighbour *neighbour; /* it alone, instead; or NULL */
    const char *pattern;               /* as of `search`; NULL: all files */
    size_t pages_max;                  /* of each source */
    lookup_take *take;
    void *context;
};

/*
 * ERR_UNREACHABLE and others where nobody answered.  Where the tracker did not, but neighbours did, the user is told so.
 * ERR_CANCELLED where the user did not wait.
 */
enum err lookup_files(struct session *session, const struct lookup *lookup, struct why *why);

/* Who holds a content: the tracker's and the neighbours' word together, each holder once.  The caller frees it. */
enum err lookup_holders(struct session *session, const struct content *content, struct content_holders *ret,
                        struct why *why);

#endif
