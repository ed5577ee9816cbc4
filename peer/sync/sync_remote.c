/* What serves, pulls, fetches and applies: its beginning and end, and the folder's files as others may have them. */
#include "sync_remote.h"

#include "neighbours.h"
#include "server.h"
#include "sync_disk.h"
#include "sync_serve.h"

#include <stdlib.h>
#include <sys/stat.h>

/* Files of one content that are looked at for one that is what the index says. */
#define CANDIDATES_MAX 8u

/* ---- contents of the folder, served ---- */

static bool is_row(struct sync *sync, const struct sync_row *row)
{
    struct stat status;
    struct stamp stamp;
    if (sync_disk_look(sync->folder_fd, row->entry.name, &status))
        return false;
    stamp_from(&status, &stamp);
    return stamp_equal(&stamp, &row->stamp);
}

static enum err locate(void *context, const struct content *content, struct share *ret)
{
    struct sync *sync = context;
    struct sync_row *rows;
    size_t count;
    enum err found = ERR_NOT_FOUND, err = index_find_content(sync->index, content, CANDIDATES_MAX, &rows, &count);
    *ret = (struct share){0};
    if (err)
        return err;
    for (size_t i = 0; i < count; i++) {
        if (found == ERR_NOT_FOUND && is_row(sync, &rows[i])) {
            *ret = (struct share){.path = sync_absolute(sync, rows[i].entry.name),
                                  .name = rows[i].entry.name,
                                  .content = *content,
                                  .stamp = rows[i].stamp,
                                  .complete = true};
            rows[i].entry.name = NULL;
            found = ret->path ? ERR_OK : ERR_NOMEM;
        } else if (found == ERR_NOT_FOUND) {
            sync_look(sync, rows[i].entry.name);
        }
        sync_row_free(&rows[i]);
    }
    free(rows);
    if (found)
        share_free(ret);
    return found;
}

/* ---- life ---- */

static enum err start(struct sync *sync, struct sync_remote *remote)
{
    const struct library_source source = {.context = sync, .locate = locate};
    enum err err = sync_serve_start(sync->index, neighbours_network(sync->options.neighbours), &remote->serve);
    if (err)
        return err;
    sync_set_news(sync, sync_serve_wake, remote->serve);
    library_set_source(sync->options.library, &source);
    server_set_sync(sync->options.server, remote->serve);
    err = sync_fetch_start(sync, &remote->fetch);
    if (!err)
        err = sync_apply_start(sync, &remote->apply);
    if (!err)
        err = sync_pull_start(sync, &remote->pull);
    return err;
}

enum err sync_remote_start(struct sync *sync, struct why *why)
{
    sync->remote = calloc(1, sizeof *sync->remote);
    if (!sync->remote)
        return ERR_NOMEM;
    enum err err = start(sync, sync->remote);
    return err ? why_set(why, err, "the sync of %s cannot begin: %s", sync->path, err_name(err)) : ERR_OK;
}

void sync_remote_stop(struct sync *sync)
{
    struct sync_remote *remote = sync->remote;
    if (!remote)
        return;
    server_set_sync(sync->options.server, NULL);
    library_set_source(sync->options.library, NULL);
    sync_set_news(sync, NULL, NULL);
    sync_pull_stop(remote->pull);
    sync_apply_stop(remote->apply);
    sync_fetch_stop(remote->fetch);
    sync_serve_stop(remote->serve);
    free(remote);
    sync->remote = NULL;
}
