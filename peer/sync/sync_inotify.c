#include "sync_inotify.h"

#include "limits.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define BUCKETS 4096u
#define BUFFER_SIZE ((size_t)64 * KIB)
#define MASK                                                                                                           \
    (IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF |     \
     IN_DELETE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

struct watched {
    struct watched *next;
    int descriptor;
    char name[];
};

struct sync_inotify {
    int fd;
    struct watched *buckets[BUCKETS]; /* by descriptor */
    char path[NAME_SIZE_MAX + NAME_COMPONENT_MAX + 2];
    _Alignas(struct inotify_event) char buffer[BUFFER_SIZE];
};

enum err sync_inotify_new(struct sync_inotify **ret)
{
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return ERR_NOMEM;
    (*ret)->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if ((*ret)->fd >= 0)
        return ERR_OK;
    enum err err = errno == EMFILE ? ERR_NOSPACE : err_from_errno(errno);
    free(*ret);
    *ret = NULL;
    return err;
}

void sync_inotify_free(struct sync_inotify *inotify)
{
    if (!inotify)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (inotify->buckets[i]) {
            struct watched *watched = inotify->buckets[i];
            inotify->buckets[i] = watched->next;
            free(watched);
        }
    }
    close(inotify->fd);
    free(inotify);
}

int sync_inotify_fd(const struct sync_inotify *inotify)
{
    return inotify->fd;
}

static struct watched **find(struct sync_inotify *inotify, int descriptor)
{
    struct watched **link = &inotify->buckets[(unsigned)descriptor % BUCKETS];
    while (*link && (*link)->descriptor != descriptor)
        link = &(*link)->next;
    return link;
}

static void drop(struct watched **link)
{
    struct watched *watched = *link;
    *link = watched->next;
    free(watched);
}

enum err sync_inotify_add(struct sync_inotify *inotify, const char *name, int folder_fd)
{
    char path[40];
    size_t size = strlen(name) + 1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", folder_fd);
    int descriptor = inotify_add_watch(inotify->fd, path, MASK);
    if (descriptor < 0)
        return errno == ENOSPC ? ERR_NOSPACE : err_from_errno(errno);
    struct watched **link = find(inotify, descriptor);
    if (*link && strcmp((*link)->name, name) == 0)
        return ERR_OK;
    if (*link)
        drop(link);
    struct watched *watched = malloc(sizeof *watched + size);
    if (!watched) {
        (void)inotify_rm_watch(inotify->fd, descriptor);
        return ERR_NOMEM;
    }
    watched->descriptor = descriptor;
    memcpy(watched->name, name, size);
    watched->next = inotify->buckets[(unsigned)descriptor % BUCKETS];
    inotify->buckets[(unsigned)descriptor % BUCKETS] = watched;
    return ERR_OK;
}

/* A folder that moved away takes its watches along: where it turns up, if it does, it gets new ones. */
static void forget(struct sync_inotify *inotify, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < BUCKETS; i++) {
        struct watched **link = &inotify->buckets[i];
        while (*link) {
            const struct watched *watched = *link;
            bool below = strncmp(watched->name, name, length) == 0 &&
                         (watched->name[length] == '\0' || watched->name[length] == '/');
            if (below) {
                (void)inotify_rm_watch(inotify->fd, watched->descriptor);
                drop(link);
            } else {
                link = &(*link)->next;
            }
        }
    }
}

static void tell(struct sync_inotify *inotify, const struct inotify_event *event, sync_inotify_told *told,
                 void *context)
{
    if (event->mask & IN_Q_OVERFLOW) {
        told(context, "", SYNC_EVENT_LOST);
        return;
    }
    struct watched **link = find(inotify, event->wd);
    if (!*link)
        return; /* of a watch that was given up */
    bool is_home = (*link)->name[0] == '\0';
    if (event->mask & (IN_UNMOUNT | IN_MOVE_SELF | IN_DELETE_SELF | IN_IGNORED)) {
        if (is_home || (event->mask & IN_UNMOUNT))
            told(context, "", SYNC_EVENT_HOME);
        if (event->mask & IN_IGNORED)
            drop(link);
        return;
    }
    int length = snprintf(inotify->path, sizeof inotify->path, "%s%s%s", (*link)->name, is_home ? "" : "/",
                          event->len > 0 ? event->name : "");
    if (event->len == 0 || (size_t)length >= sizeof inotify->path)
        return; /* the folder itself, which the one above tells of as well */
    if ((event->mask & IN_MOVED_FROM) && (event->mask & IN_ISDIR))
        forget(inotify, inotify->path);
    told(context, inotify->path, (event->mask & MASK) == IN_MODIFY ? SYNC_EVENT_WRITTEN : SYNC_EVENT_CHANGED);
}

void sync_inotify_read(struct sync_inotify *inotify, sync_inotify_told *told, void *context)
{
    for (;;) {
        ssize_t got = read(inotify->fd, inotify->buffer, BUFFER_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        for (const char *position = inotify->buffer; position < inotify->buffer + got;) {
            const struct inotify_event *event = (const void *)position;
            tell(inotify, event, told, context);
            position += sizeof *event + event->len;
        }
    }
}
