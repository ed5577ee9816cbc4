/* A state in a temporary folder with one download, whose content is known, for the tests of part_file and polls. */
#ifndef ENXAME_TEST_PART_FIXTURE_H
#define ENXAME_TEST_PART_FIXTURE_H

#include "logged.h"

#include "../../peer/swarm/part_file.h"
#include "limits.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_CHUNK (32u * KIB)
#define PART_CHUNKS 10u
#define PART_SIZE (PART_CHUNK * (PART_CHUNKS - 1) + 20000u) /* the last chunk is a short one */

static char part_folder[64];
static struct state *part_state;
static uint64_t part_number;
static struct content part_content;
static uint8_t part_bytes[PART_SIZE], part_layer[PART_CHUNKS * HASH_SIZE];

static inline void part_hash(const uint8_t *bytes, size_t length, uint64_t blocks, uint8_t *ret_hash)
{
    struct merkle_stream *stream = merkle_stream_new();

    assert_non_null(stream);
    merkle_stream_reset(stream);
    merkle_stream_update(stream, bytes, length);
    merkle_stream_finish(stream, blocks, ret_hash);
    merkle_stream_free(stream);
}

static inline size_t part_length(uint64_t index)
{
    return (size_t)merkle_chunk_length(PART_SIZE, PART_CHUNK, index);
}

static inline void part_make_content(void)
{
    logged_begin(LOG_ERROR);
    for (size_t i = 0; i < PART_SIZE; i++)
        part_bytes[i] = (uint8_t)(i * 31 + i / 997 + 1); /* no chunk of zeros, as a hole has */
    part_content.size = PART_SIZE;
    part_hash(part_bytes, PART_SIZE, 0, part_content.root);
    for (uint64_t i = 0; i < PART_CHUNKS; i++)
        part_hash(part_bytes + i * PART_CHUNK, part_length(i), merkle_chunk_blocks(PART_SIZE, PART_CHUNK),
                  part_layer + i * HASH_SIZE);
    assert_true(merkle_layer_fits(&part_content, PART_CHUNK, part_layer, PART_CHUNKS));
}

/* The row as the state has it; the caller frees it. */
static inline struct download_row part_row(void)
{
    struct download_row row = {.content = part_content, .name = strdup("name"), .target = NULL};

    assert_true(asprintf(&row.target, "%s/name", part_folder) > 0);
    assert_int_equal(state_add_download(part_state, &row), ERR_OK);
    part_number = row.number;
    return row;
}

static inline struct part_file *part_open(void)
{
    struct download_row row = part_row();
    struct part_file *part = NULL;
    struct why why = {.text = ""};
    enum err err = part_file_open(part_state, &row, NULL, &part, &why);

    if (err != ERR_OK)
        fail_msg("%s: %s", err_name(err), why.text);
    download_row_free(&row);
    return part;
}

/* With its layer, which is in the state, too. */
static inline struct part_file *part_open_with_layer(void)
{
    struct part_file *part = part_open();

    assert_int_equal(part_file_set_layer(part, PART_CHUNK, part_layer, PART_CHUNKS), ERR_OK);
    assert_int_equal(state_save_layer(part_state, part_number, PART_CHUNK, part_layer, PART_CHUNKS), ERR_OK);
    return part;
}

static inline enum err part_write(struct part_file *part, uint64_t index)
{
    return part_file_write(part, index, 1, part_bytes + index * PART_CHUNK);
}

static inline char *part_path(char *ret_path, size_t capacity)
{
    (void)snprintf(ret_path, capacity, "%s/.enxame/parts/%llu", part_folder, (unsigned long long)part_number);
    return ret_path;
}

static inline int part_remove(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void part_open_state(void)
{
    struct why why = {.text = ""};

    if (state_open(part_folder, false, &part_state, &why) != ERR_OK)
        fail_msg("%s", why.text);
}

/* The state as a new process finds it. */
static inline void part_reopen_state(void)
{
    state_close(part_state);
    part_state = NULL;
    part_open_state();
}

static inline int part_set_up(void **state)
{
    (void)state;
    (void)snprintf(part_folder, sizeof part_folder, "/tmp/enxame-part-XXXXXX");
    if (mkdtemp(part_folder) == NULL)
        return -1;
    part_make_content();
    part_open_state();
    return 0;
}

static inline int part_tear_down(void **state)
{
    (void)state;
    state_close(part_state);
    part_state = NULL;
    return nftw(part_folder, part_remove, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
