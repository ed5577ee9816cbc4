/* What one name of a synced folder is, or was. */
#ifndef ENXAME_PEER_SYNC_ENTRY_H
#define ENXAME_PEER_SYNC_ENTRY_H

#include "messages_sync.h"
#include "state.h"

/* An entry as this peer has it in its folder. */
struct sync_row {
    struct sync_entry entry;
    uint64_t sequence;  /* of its last change in the index; 0: not in it yet */
    struct stamp stamp; /* of a file: what lay at its name when it was hashed or put there */
};
void sync_row_free(struct sync_row *row);

#endif
