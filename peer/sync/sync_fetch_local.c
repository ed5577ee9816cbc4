/* Contents that lie on this machine already: of a renamed or copied file, of a shared one, in the trash. */
#include "limits.h"
#include "log.h"
#include "sync_fetch_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Hashes of a layer that wait in memory for their file. */
#define LAYER_IN_MEMORY_MAX 64u

/* The caller closes *ret_fd.  ERR_NOT_FOUND: it is not here. */
static enum err open_local(struct sync *sync, const struct content *content, int *ret_fd)
{
    struct sync_trash trash;
    char *path = NULL;
    enum err err = library_open(sync->options.library, content, ret_fd, NULL);
    if (err != ERR_NOT_FOUND)
        return err;
    err = index_find_trash(sync->index, content, &trash);
    if (err)
        return err;
    if (asprintf(&path, SYNC_TRASH "/%s", trash.place) < 0)
        path = NULL;
    *ret_fd = path ? openat(sync->folder_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    err = *ret_fd >= 0 ? ERR_OK : path ? err_from_errno(errno) : ERR_NOMEM;
    free(path);
    sync_trash_free(&trash);
    return err;
}

/* Many of these at once would take too much memory: the state has them until the file gets its name. */
static void keep_layer(struct sync *sync, struct hashed *hashed)
{
    char name[INCOMING_NAME_SIZE], *path = NULL;
    struct stamp stamp;
    incoming_name(&hashed->content, name);
    if (asprintf(&path, "%s/" SYNC_INCOMING "/%s", sync->path, name) < 0)
        return;
    if (stamp_read_path(path, &stamp) == ERR_OK && state_save_hash(sync->options.state, path, &stamp, hashed) == ERR_OK)
        hashed_free(hashed);
    free(path);
}

/* True where that is the end of it. */
static bool copy(struct sync_fetch *fetch, struct want *want)
{
    struct sync *sync = fetch->sync;
    struct hashed hashed = {0};
    int fd = -1;
    enum err err = ERR_OK;
    if (want->content.size == 0)
        err = incoming_write(sync, &want->content, (const uint8_t *)"");
    else if (!(err = open_local(sync, &want->content, &fd)))
        err = incoming_copy(sync, &want->content, fd, &hashed, &sync->stop);
    if (fd >= 0)
        (void)close(fd);
    if (err == ERR_NOSPACE)
        fetch_take_trouble(fetch, err);
    if (err && err != ERR_NOSPACE) {
        if (err != ERR_NOT_FOUND && err != ERR_CANCELLED)
            log_debug("sync: %s: a copy that is here is of no use: %s", want->name, err_name(err));
        return false;
    }
    if (!err && hashed.count > LAYER_IN_MEMORY_MAX)
        keep_layer(sync, &hashed);
    fetch_end(fetch, want, err, &hashed);
    return true;
}

/* The lock is held. */
static struct want *next_local(const struct sync_fetch *fetch)
{
    struct want *want = fetch->first;
    while (want && want->state != WANT_LOCAL)
        want = want->next;
    return want;
}

void *fetch_run_copier(void *context)
{
    struct sync_fetch *fetch = context;
    pthread_mutex_lock(&fetch->lock);
    while (!atomic_load(&fetch->sync->stop)) {
        struct want *want = next_local(fetch);
        if (!want) {
            pthread_cond_wait(&fetch->changed, &fetch->lock);
            continue;
        }
        want->state = WANT_COPYING;
        pthread_mutex_unlock(&fetch->lock);
        if (!copy(fetch, want)) {
            fetch_set_state(fetch, want, want->content.size <= BATCH_CONTENT_MAX ? WANT_SMALL : WANT_LARGE);
            http_pool_wake(fetch->pool);
            sync_wake(fetch->sync);
        }
        pthread_mutex_lock(&fetch->lock);
    }
    pthread_mutex_unlock(&fetch->lock);
    return NULL;
}
