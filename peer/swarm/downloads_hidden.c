/* Downloads that no user asked for. */
#include "downloads_internal.h"

void downloads_set_hidden_finished(struct downloads *downloads, download_finished *finished, void *context)
{
    pthread_mutex_lock(&downloads->lock);
    downloads->hidden_finished = finished;
    downloads->hidden_context = context;
    pthread_mutex_unlock(&downloads->lock);
}

void downloads_drop_hidden(struct downloads *downloads)
{
    struct download_row *rows = NULL;
    size_t count = 0;

    if (state_list_downloads(downloads->options.state, false, 0, SIZE_MAX, &rows, &count) != ERR_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&downloads->lock);
        if (rows[i].hidden && downloads_find_entry(downloads, rows[i].number) == NULL &&
            state_forget_download(downloads->options.state, rows[i].number) == ERR_OK)
            part_file_discard(downloads->options.state, rows[i].number);
        pthread_mutex_unlock(&downloads->lock);
        download_row_free(&rows[i]);
    }
    free(rows);
}

void downloads_offer(struct downloads *downloads, uint64_t number, const struct peer_record *records, size_t count)
{
    struct entry *entry;

    pthread_mutex_lock(&downloads->lock);
    entry = downloads_find_entry(downloads, number);
    if (entry != NULL)
        download_offer(entry->download, records, count);
    pthread_mutex_unlock(&downloads->lock);
}
