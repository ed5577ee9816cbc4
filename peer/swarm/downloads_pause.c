/* Stopping a download for a while. */
#include "downloads_internal.h"

bool downloads_entry_is_paused(const struct entry *entry)
{
    struct download_report report;
    bool done;

    if (!entry->paused)
        return false;
    done = download_report(entry->download, &report) == ERR_OK && report.state == DOWNLOAD_DONE;
    download_report_free(&report);
    return !done;
}

enum err downloads_pause(struct downloads *downloads, uint64_t number, struct download_row *ret_row, bool *ret_paused)
{
    struct entry *entry;
    enum err err;

    pthread_mutex_lock(&downloads->lock);
    while ((entry = downloads_find_entry(downloads, number)) != NULL && !download_is_over(entry->download)) {
        if (!entry->paused) {
            entry->paused = true;
            download_stop(entry->download);
            pthread_cond_broadcast(&downloads->changed);
        }
        pthread_cond_wait(&downloads->changed, &downloads->lock);
    }
    if (entry != NULL)
        entry->paused = downloads_entry_is_paused(entry);
    *ret_paused = entry != NULL && entry->paused;
    pthread_mutex_unlock(&downloads->lock);
    err = state_get_download(downloads->options.state, number, ret_row);
    if (err == ERR_OK && ret_row->done) {
        download_row_free(ret_row);
        err = ERR_NOT_FOUND;
    }
    return err;
}

enum err downloads_go_on(struct downloads *downloads, uint64_t number)
{
    struct download_row row = {0};
    enum err err = state_get_download(downloads->options.state, number, &row);
    struct entry *entry;

    pthread_mutex_lock(&downloads->lock);
    entry = downloads_find_entry(downloads, number);
    if (entry != NULL)
        entry->paused = false;
    pthread_cond_broadcast(&downloads->changed);
    if (err == ERR_OK)
        err = row.done ? ERR_NOT_FOUND : downloads_start_row(downloads, &row, &number);
    pthread_mutex_unlock(&downloads->lock);
    download_row_free(&row);
    return err;
}
