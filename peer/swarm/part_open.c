/* A part file is found or made: its room on the disk, and which of its bytes are verified already. */
#include "files.h"
#include "limits.h"
#include "log.h"
#include "part_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Whether the file system has room for `size` bytes; true where it does not tell. */
static bool has_room(const struct statfs *system, uint64_t size)
{
    return system->f_blocks == 0 || size / (uint64_t)system->f_bsize < system->f_bavail;
}

/*
 * Takes all blocks that the file will need, so that a full disk shows now and not half way.  The room is looked at before: a
 * file system that has too little takes all that there is before it says so, and everybody else's disk is full meanwhile.  In
 * memory (tmpfs) taking them would be half of the work of writing the file.  False with errno where there is no room.
 */
static bool take_blocks(const struct part_file *part, const struct stat *status)
{
    uint64_t taken = (uint64_t)status->st_blocks * 512;
    struct statfs system;

    if (fstatfs(part->fd, &system) != 0)
        return fallocate(part->fd, 0, 0, (off_t)part->content.size) == 0;
    errno = ENOSPC;
    if (taken < part->content.size && !has_room(&system, part->content.size - taken))
        return false;
    if (system.f_type != TMPFS_MAGIC)
        return fallocate(part->fd, 0, 0, (off_t)part->content.size) == 0;
    errno = EOPNOTSUPP; /* the length is still to be set */
    return false;
}

/* Gives the file its length and, where the file system can, its blocks. */
static enum err reserve(struct part_file *part, struct why *why)
{
    struct stat status;
    bool is_new;

    if (fstat(part->fd, &status) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    /* What is too long is a stray of another content: the record of that was lost. */
    if ((uint64_t)status.st_size > part->content.size && ftruncate(part->fd, (off_t)part->content.size) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    is_new = status.st_size == 0;
    if (part->content.size > 0 && take_blocks(part, &status))
        return ERR_OK;
    if (part->content.size > 0 && errno == ENOSPC) {
        if (is_new && ftruncate(part->fd, 0) != 0)
            log_warn("%s keeps disk space that is of no use: %s", part->path, strerror(errno));
        return why_set(why, ERR_NOSPACE, "the disk is full: %s needs %llu bytes; make room and download again",
                       part->path, (unsigned long long)part->content.size);
    }
    if ((uint64_t)status.st_size != part->content.size && ftruncate(part->fd, (off_t)part->content.size) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    return ERR_OK;
}

/* Whether the chunk's bytes on disk fit its hash. */
static bool chunk_fits(struct part_file *part, struct merkle_stream *stream, uint64_t index, uint8_t *buffer)
{
    uint64_t length = merkle_chunk_length(part->content.size, part->chunk_size, index);
    uint8_t hash[HASH_SIZE];

    if (files_read_at(part->fd, buffer, (size_t)length, index * part->chunk_size) != ERR_OK)
        return false;
    merkle_stream_reset(stream);
    merkle_stream_update(stream, buffer, (size_t)length);
    merkle_stream_finish(stream, merkle_chunk_blocks(part->content.size, part->chunk_size), hash);
    return memcmp(hash, part->layer + index * HASH_SIZE, HASH_SIZE) == 0;
}

/* What lies in the file unrecorded, as after kill -9, is hashed and kept where it fits; holes are passed over. */
static enum err recover(struct part_file *part, const atomic_bool *stop)
{
    struct merkle_stream *stream = merkle_stream_new();
    uint8_t *buffer = malloc((size_t)part->chunk_size);
    uint64_t index = 0, found = 0;

    if (stream == NULL || buffer == NULL) {
        merkle_stream_free(stream);
        free(buffer);
        return ERR_NOMEM;
    }
    /* What could not be synced may still be cached, and look right: only what the disk has counts. */
    (void)posix_fadvise(part->fd, 0, 0, POSIX_FADV_DONTNEED);
    while (index < part->count) {
        off_t data;

        if (stop != NULL && atomic_load(stop))
            break; /* the rest is looked at next time */
        data = lseek(part->fd, (off_t)(index * part->chunk_size), SEEK_DATA);

        if (data < 0)
            break; /* nothing but a hole until the end */
        if ((uint64_t)data / part->chunk_size > index)
            index = (uint64_t)data / part->chunk_size;
        if (!bitmap_get(&part->verified, index) && chunk_fits(part, stream, index, buffer)) {
            part_mark(part, index);
            part->written++;
            found++;
        }
        index++;
    }
    if (found > 0)
        log_info("kept %llu chunks that were written but not yet recorded", (unsigned long long)found);
    merkle_stream_free(stream);
    free(buffer);
    return ERR_OK;
}

static enum err load_row(struct part_file *part, const struct download_row *row, bool had_full_length,
                         const atomic_bool *stop)
{
    enum err err = ERR_OK;

    part->content = row->content;
    part->number = row->number;
    if (row->chunk_size == 0)
        return ERR_OK;
    err = part_file_set_layer(part, row->chunk_size, row->layer,
                              (size_t)merkle_chunk_count(row->content.size, row->chunk_size));
    if (err != ERR_OK)
        return err;
    if (had_full_length && row->verified.count == part->count) {
        for (size_t i = 0; i < part->count; i++) {
            if (bitmap_get(&row->verified, i))
                part_mark(part, i);
        }
    }
    return recover(part, stop);
}

/* False where it does not fit. */
static bool make_path(const struct state *state, uint64_t number, size_t capacity, char *ret_path)
{
    int length = snprintf(ret_path, capacity, "%s/.enxame/parts/%llu", state_dir(state), (unsigned long long)number);

    return length >= 0 && (size_t)length < capacity;
}

void part_file_discard(const struct state *state, uint64_t number)
{
    char path[4096];

    if (make_path(state, number, sizeof path, path) && unlink(path) != 0 && errno != ENOENT)
        log_warn("%s keeps disk space that is of no use: %s", path, strerror(errno));
}

static enum err open_file(struct part_file *part, uint64_t number, bool *ret_had_full_length, struct why *why)
{
    struct stat status;

    if (!make_path(part->state, number, sizeof part->path, part->path))
        return why_set(why, ERR_TOO_LARGE, "the path of the folder is too long");
    part->fd = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (part->fd < 0 || fstat(part->fd, &status) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    *ret_had_full_length = (uint64_t)status.st_size == part->content.size;
    return ERR_OK;
}

enum err part_load(struct part_file *part, const struct download_row *row, const atomic_bool *stop, struct why *why)
{
    bool had_full_length = false;
    enum err err = open_file(part, row->number, &had_full_length, why);

    if (err == ERR_OK)
        err = reserve(part, why);
    if (err != ERR_OK)
        return err;
    err = load_row(part, row, had_full_length, stop);
    return err == ERR_OK ? ERR_OK : why_set(why, err, "%s: %s", part->path, err_name(err));
}
