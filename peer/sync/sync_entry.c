#include "sync_entry.h"

void sync_row_free(struct sync_row *row)
{
    sync_entry_free(&row->entry);
    *row = (struct sync_row){0};
}
