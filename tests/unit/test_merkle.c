#include "test.h"

#include "leaves.h"
#include "limits.h"
#include "merkle.h"
#include "merkle_vectors.h"

#include <stdlib.h>
#include <string.h>

#define VECTORS (sizeof vectors / sizeof *vectors)

/* The bytes of make_vectors.py. */
static uint8_t *make_content(uint64_t size)
{
    uint8_t *bytes = malloc(size + 4);
    assert_non_null(bytes);
    for (uint64_t i = 0; i < size; i += 4) {
        uint32_t word = (uint32_t)(i / 4 * 2654435761u + 12345u);
        for (unsigned j = 0; j < 4; j++)
            bytes[i + j] = (uint8_t)(word >> (8 * j));
    }
    return bytes;
}

static void assert_hash(const uint8_t hash[static HASH_SIZE], const char *expected)
{
    char text[HASH_HEX + 1];
    hex_encode(hash, HASH_SIZE, text);
    assert_string_equal(text, expected);
}

/* Hashes each chunk by itself, as a downloader does. */
static uint8_t *make_layer(const uint8_t *bytes, uint64_t size, uint64_t chunk_size)
{
    struct merkle_stream *stream = merkle_stream_new();
    uint64_t count = merkle_chunk_count(size, chunk_size);
    uint8_t *layer = malloc(count * HASH_SIZE + 1);
    assert_true(stream && layer);
    for (uint64_t i = 0; i < count; i++) {
        merkle_stream_reset(stream);
        merkle_stream_update(stream, bytes + i * chunk_size, merkle_chunk_length(size, chunk_size, i));
        merkle_stream_finish(stream, merkle_chunk_blocks(size, chunk_size), layer + i * HASH_SIZE);
    }
    merkle_stream_free(stream);
    return layer;
}

static void assert_layer(const uint8_t *layer, uint64_t size, uint64_t chunk_size, const char *expected)
{
    uint8_t digest[HASH_SIZE];
    merkle_sha256(layer, merkle_chunk_count(size, chunk_size) * HASH_SIZE, digest);
    assert_hash(digest, expected);
}

static void roots_equal_those_of_libtorrent_in_slices_of_any_size(void **state)
{
    (void)state;
    static const size_t slices[] = {7777, BLOCK_SIZE, 65536, 1 << 20, 100003};
    struct merkle_stream *stream = merkle_stream_new();
    uint8_t root[HASH_SIZE];
    for (size_t i = 0; i < VECTORS; i++) {
        uint8_t *bytes = make_content(vectors[i].size);
        for (size_t j = 0; j < sizeof slices / sizeof *slices; j++) {
            merkle_stream_reset(stream);
            for (uint64_t offset = 0; offset < vectors[i].size; offset += slices[j]) {
                uint64_t rest = vectors[i].size - offset;
                merkle_stream_update(stream, bytes + offset, rest < slices[j] ? rest : slices[j]);
            }
            merkle_stream_finish(stream, 0, root);
            assert_hash(root, vectors[i].root);
        }
        free(bytes);
    }
    merkle_stream_free(stream);
    merkle_stream_free(NULL);
}

static void layers_equal_those_of_libtorrent_and_lead_to_the_root(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        uint64_t size = vectors[i].size, chunk_size = vectors[i].chunk_size;
        if (size == 0)
            continue;
        uint8_t *bytes = make_content(size), *layer = make_layer(bytes, size, chunk_size), root[HASH_SIZE];
        assert_layer(layer, size, chunk_size, vectors[i].layer);
        assert_int_equal(merkle_root(layer, size, chunk_size, root), ERR_OK);
        assert_hash(root, vectors[i].root);
        free(layer);
        free(bytes);
    }
}

static void fine_layers_become_coarse_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        uint64_t size = vectors[i].size, chunk_size = vectors[i].chunk_size;
        if (size == 0)
            continue;
        uint8_t *bytes = make_content(size);
        for (uint64_t fine = CHUNK_SIZE_MIN; fine <= chunk_size; fine *= 2) {
            uint8_t *layer = make_layer(bytes, size, fine);
            assert_int_equal(merkle_coarsen(layer, size, fine, chunk_size, layer), ERR_OK);
            assert_layer(layer, size, chunk_size, vectors[i].layer);
            free(layer);
        }
        free(bytes);
    }
    uint8_t layer[HASH_SIZE] = {0};
    assert_int_equal(merkle_coarsen(layer, 1, 32768, 16384, layer), ERR_INVALID);
    assert_int_equal(merkle_coarsen(layer, 1, 16384, 16385, layer), ERR_INVALID);
    assert_int_equal(merkle_coarsen(NULL, 0, 16384, 32768, NULL), ERR_OK);
}

static void an_empty_content_has_the_hash_of_nothing(void **state)
{
    (void)state;
    uint8_t root[HASH_SIZE];
    assert_int_equal(merkle_root(NULL, 0, BLOCK_SIZE, root), ERR_OK);
    assert_hash(root, vectors[0].root);
    assert_int_equal(vectors[0].size, 0);
    assert_int_equal(merkle_chunk_count(0, BLOCK_SIZE), 0);
    struct content content = {.size = 0};
    memcpy(content.root, root, HASH_SIZE);
    assert_true(merkle_layer_fits(&content, BLOCK_SIZE, NULL, 0));
    content.root[0] ^= 1;
    assert_false(merkle_layer_fits(&content, BLOCK_SIZE, NULL, 0));
}

static void a_layer_that_was_tampered_with_does_not_fit(void **state)
{
    (void)state;
    struct content content = {.size = 5 * BLOCK_SIZE + 7};
    uint8_t *bytes = make_content(content.size), *layer = make_layer(bytes, content.size, BLOCK_SIZE);
    assert_int_equal(merkle_root(layer, content.size, BLOCK_SIZE, content.root), ERR_OK);
    assert_true(merkle_layer_fits(&content, BLOCK_SIZE, layer, 6));
    assert_false(merkle_layer_fits(&content, BLOCK_SIZE, layer, 5));
    assert_false(merkle_layer_fits(&content, BLOCK_SIZE, layer, 7));
    assert_false(merkle_layer_fits(&content, BLOCK_SIZE + 1, layer, 6));
    for (size_t i = 0; i < 6; i++) {
        layer[i * HASH_SIZE + 31] ^= 1;
        assert_false(merkle_layer_fits(&content, BLOCK_SIZE, layer, 6));
        layer[i * HASH_SIZE + 31] ^= 1;
    }
    content.size = CONTENT_SIZE_MAX + 1;
    assert_false(merkle_layer_fits(&content, CHUNK_SIZE_MAX, layer, LAYER_HASHES_MAX + 1));
    free(layer);
    free(bytes);
}

/* The tree does not tell leaves from inner nodes: the two hashes below the root, taken as 64 bytes, have the same root. */
static void a_forged_shorter_file_is_caught_by_its_size(void **state)
{
    (void)state;
    struct content real = {.size = UINT64_C(4) * BLOCK_SIZE}, forged = {.size = 64};
    uint8_t *bytes = make_content(real.size), *top = make_layer(bytes, real.size, UINT64_C(2) * BLOCK_SIZE);
    assert_int_equal(merkle_root(top, real.size, UINT64_C(2) * BLOCK_SIZE, real.root), ERR_OK);
    uint8_t *forged_layer = make_layer(top, 64, BLOCK_SIZE);
    memcpy(forged.root, forged_layer, HASH_SIZE);
    assert_memory_equal(forged.root, real.root, HASH_SIZE);
    assert_false(content_equal(&forged, &real));
    assert_true(content_equal(&real, &real));
    /* The forger's layer, of one hash, passes for no chunk size at which the real content has several chunks. */
    assert_false(merkle_layer_fits(&real, BLOCK_SIZE, forged_layer, 1));
    assert_false(merkle_layer_fits(&real, UINT64_C(2) * BLOCK_SIZE, forged_layer, 1));
    /* And the real layer does not pass for the forged size. */
    assert_false(merkle_layer_fits(&forged, BLOCK_SIZE, top, 2));
    free(forged_layer);
    free(top);
    free(bytes);
}

static void a_stream_begun_and_reset_starts_clean(void **state)
{
    (void)state;
    uint8_t hash[HASH_SIZE], *bytes = make_content(100);
    struct merkle_stream *stream = merkle_stream_new();
    merkle_stream_update(stream, "rubbish", 7);
    merkle_stream_reset(stream);
    merkle_stream_update(stream, bytes, 100);
    merkle_stream_finish(stream, 0, hash);
    for (size_t i = 0; i < VECTORS; i++)
        if (vectors[i].size == 100)
            assert_hash(hash, vectors[i].root);
    merkle_stream_free(stream);
    free(bytes);
}

static void chunks_are_counted_without_overflow(void **state)
{
    (void)state;
    assert_true(merkle_chunk_count(UINT64_MAX, 16384) == UINT64_C(1) << 50);
    assert_true(merkle_chunk_count(16385, 16384) == 2);
    assert_true(merkle_chunk_length(16385, 16384, 0) == 16384);
    assert_true(merkle_chunk_length(16385, 16384, 1) == 1);
    assert_true(merkle_chunk_length(16384, 16384, 0) == 16384);
    assert_true(merkle_chunk_length(16384, 16384, 1) == 0);
    assert_true(merkle_is_chunk_size(16384) && merkle_is_chunk_size(CHUNK_SIZE_MAX));
    assert_false(merkle_is_chunk_size(0) || merkle_is_chunk_size(8192) || merkle_is_chunk_size(24576) ||
                 merkle_is_chunk_size(UINT64_C(2) * CHUNK_SIZE_MAX));
    assert_true(merkle_finest_chunk_size(0) == 16384);
    assert_true(merkle_finest_chunk_size(UINT64_C(1) << 30) == 16384);
    assert_true(merkle_finest_chunk_size((UINT64_C(1) << 30) + 1) == 32768);
    assert_true(merkle_finest_chunk_size(CONTENT_SIZE_MAX) == CHUNK_SIZE_MAX);
    assert_true(merkle_finest_chunk_size(CONTENT_SIZE_MAX + 1) == 0);
}

static void several_chunks_at_once_have_the_same_hashes(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, BLOCK_SIZE, 5 * BLOCK_SIZE + 1, 40 * BLOCK_SIZE, 41 * BLOCK_SIZE - 100};
    struct merkle_stream *stream = merkle_stream_new();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *bytes = make_content(sizes[i]);
        for (uint64_t chunk_size = CHUNK_SIZE_MIN; chunk_size <= UINT64_C(64) * BLOCK_SIZE; chunk_size *= 2) {
            uint8_t *expected = make_layer(bytes, sizes[i], chunk_size);
            size_t length = (size_t)merkle_chunk_count(sizes[i], chunk_size) * HASH_SIZE;
            uint8_t *layer = malloc(length + 1);
            layer[length] = 77;
            merkle_stream_update(stream, "rubbish", 7);
            merkle_stream_chunks(stream, bytes, (size_t)sizes[i], chunk_size, merkle_chunk_blocks(sizes[i], chunk_size),
                                 layer);
            assert_memory_equal(layer, expected, length);
            assert_int_equal(layer[length], 77);
            free(layer);
            free(expected);
        }
        free(bytes);
    }
    merkle_stream_free(stream);
}

static void leaves_side_by_side_have_the_hashes_that_each_has_alone(void **state)
{
    (void)state;
    struct leaves *leaves = leaves_new();
    uint8_t *bytes = make_content(LEAVES_AT_ONCE * BLOCK_SIZE), hashes[LEAVES_AT_ONCE * HASH_SIZE], hash[HASH_SIZE];
    for (size_t count = 1; count <= LEAVES_AT_ONCE; count++) {
        memset(hashes, 0, sizeof hashes);
        if (!leaves_hash(leaves, bytes, count, hashes))
            continue;
        for (size_t i = 0; i < count; i++) {
            merkle_sha256(bytes + i * BLOCK_SIZE, BLOCK_SIZE, hash);
            assert_memory_equal(hashes + i * HASH_SIZE, hash, HASH_SIZE);
        }
    }
    assert_false(leaves_hash(NULL, bytes, LEAVES_AT_ONCE, hashes));
    leaves_free(leaves);
    leaves_free(NULL);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_equal_those_of_libtorrent_in_slices_of_any_size),
        cmocka_unit_test(layers_equal_those_of_libtorrent_and_lead_to_the_root),
        cmocka_unit_test(fine_layers_become_coarse_ones),
        cmocka_unit_test(an_empty_content_has_the_hash_of_nothing),
        cmocka_unit_test(a_layer_that_was_tampered_with_does_not_fit),
        cmocka_unit_test(a_forged_shorter_file_is_caught_by_its_size),
        cmocka_unit_test(a_stream_begun_and_reset_starts_clean),
        cmocka_unit_test(chunks_are_counted_without_overflow),
        cmocka_unit_test(several_chunks_at_once_have_the_same_hashes),
        cmocka_unit_test(leaves_side_by_side_have_the_hashes_that_each_has_alone),
    };
    return cmocka_run_group_tests_name("merkle", tests, NULL, NULL);
}
