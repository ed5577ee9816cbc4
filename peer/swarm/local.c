#include "local.h"

#include "files.h"

void local_copy(struct part_file *part, int fd, const atomic_bool *stop)
{
    const struct content *content = part_file_content(part);
    uint64_t chunk_size = part_file_chunk_size(part), count = merkle_chunk_count(content->size, chunk_size);
    uint64_t blocks = merkle_chunk_blocks(content->size, chunk_size);
    struct merkle_stream *stream = merkle_stream_new();
    uint8_t *bytes = malloc((size_t)chunk_size), hash[HASH_SIZE];

    for (uint64_t i = 0; bytes != NULL && stream != NULL && i < count && !atomic_load(stop); i++) {
        size_t length = (size_t)merkle_chunk_length(content->size, chunk_size, i);

        if (part_file_has(part, i) || files_read_at(fd, bytes, length, i * chunk_size) != ERR_OK)
            continue;
        merkle_stream_reset(stream);
        merkle_stream_update(stream, bytes, length);
        merkle_stream_finish(stream, blocks, hash);
        if (memcmp(hash, part_file_hash(part, i), HASH_SIZE) == 0 && part_file_write(part, i, 1, bytes) != ERR_OK)
            break; /* no room: the download itself will say so */
    }
    merkle_stream_free(stream);
    free(bytes);
}
