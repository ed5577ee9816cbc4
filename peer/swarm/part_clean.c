/* Bytes that no download will ever use again: their row went with a database that was lost or moved away. */
#include "log.h"
#include "part_file.h"
#include "units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool is_unfinished(const struct download_row *rows, size_t count, uint64_t number)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].number == number)
            return true;
    }
    return false;
}

static void clean(int parts_fd, const struct download_row *rows, size_t count)
{
    DIR *folder = fdopendir(parts_fd);
    const struct dirent *entry;
    uint64_t number;

    if (folder == NULL) {
        (void)close(parts_fd);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        /* Only names that we give are ours to remove. */
        if (!units_parse_number(entry->d_name, 1, UINT64_MAX, &number) || is_unfinished(rows, count, number))
            continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0)
            log_info("removed the bytes of download %s, which is no longer known", entry->d_name);
        else
            log_warn("parts/%s is of no use, but cannot be removed: %s", entry->d_name, strerror(errno));
    }
    (void)closedir(folder);
}

void part_file_clean(struct state *state)
{
    struct download_row *rows = NULL;
    size_t count = 0;
    int fd;

    if (state_list_downloads(state, false, 0, SIZE_MAX, &rows, &count) != ERR_OK)
        return; /* what is not known for certain stays */
    fd = openat(state_dir_fd(state), ".enxame/parts", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        clean(fd, rows, count);
    for (size_t i = 0; i < count; i++)
        download_row_free(&rows[i]);
    free(rows);
}
