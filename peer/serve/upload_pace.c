#include "upload_pace.h"

#include "limits.h"

#define STUCK_MS 250u
/* How long an upload keeps others out, where no limit makes it slow, and at most where one does. */
#define PATIENCE_MS 1000u
#define PATIENCE_MAX_MS 30000u
/* Under a limit about so many go on at a time. */
#define SHARERS 4u
/* A limit is divided no more coarsely than into so many pieces a second. */
#define PIECES_PER_S 16u

bool upload_is_stuck(const struct upload_view *view)
{
    return view->left_bytes > UPLOAD_REST && view->idle_ms >= STUCK_MS;
}

/* Under a limit as long as a chunk of this length takes where others share it. */
static uint64_t patience_ms(const struct upload_view *view)
{
    uint64_t length = view->length < CHUNK_SIZE_MAX ? view->length : CHUNK_SIZE_MAX, patience = PATIENCE_MS;

    if (view->limit_bytes_s > 0)
        patience += length * SHARERS * 1000 / view->limit_bytes_s;
    return patience < PATIENCE_MAX_MS ? patience : PATIENCE_MAX_MS;
}

bool upload_counts(const struct upload_view *view)
{
    return view->left_bytes > UPLOAD_REST && !upload_is_stuck(view) && view->age_ms < patience_ms(view);
}

uint64_t upload_whole_max(uint64_t limit_bytes_s)
{
    uint64_t most = limit_bytes_s / PIECES_PER_S;

    return limit_bytes_s == 0 || most > CHUNK_SIZE_MAX ? CHUNK_SIZE_MAX : most;
}

uint64_t upload_piece(uint64_t limit_bytes_s, uint64_t wanted)
{
    uint64_t most = limit_bytes_s / PIECES_PER_S;

    if (most < KIB)
        most = KIB;
    return limit_bytes_s == 0 || wanted < most ? wanted : most;
}
