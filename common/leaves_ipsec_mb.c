/* With libipsec-mb, the only file that knows it. */
#include "leaves.h"

#include "limits.h"

#define NO_COMPAT_IMB_API_053
#include <intel-ipsec-mb.h>
#include <stdlib.h>
#include <string.h>

#if IMB_VERSION_NUM < IMB_VERSION(1, 3, 0)
#error "libipsec-mb before 1.3 hashes one block after another: build with IPSEC_MB=0"
#endif

/* One way of hashing several at once, and for how many it is worth its cost. */
struct way {
    IMB_MGR *manager; /* NULL: this processor cannot */
    size_t count_min;
};

struct leaves {
    struct way wide; /* as many as its registers have lanes: all of them take as long as one */
    struct way pair; /* two in turns, with the processor's instructions for SHA-256 */
};

static void open_way(struct way *way, void (*init)(IMB_MGR *manager), size_t count_min)
{
    way->manager = alloc_mb_mgr(0);
    way->count_min = count_min;
    if (way->manager == NULL)
        return;
    init(way->manager);
    if (imb_get_errno(way->manager) == 0)
        return;
    free_mb_mgr(way->manager);
    way->manager = NULL;
}

struct leaves *leaves_new(void)
{
    struct leaves *leaves = calloc(1, sizeof *leaves);
    IMB_MGR *probe = leaves == NULL ? NULL : alloc_mb_mgr(0);
    uint64_t features = 0;
    IMB_ARCH arch;

    if (probe != NULL) {
        init_mb_mgr_auto(probe, &arch);
        features = probe->features;
        free_mb_mgr(probe);
    }
    if ((features & IMB_FEATURE_SHANI) != 0)
        open_way(&leaves->pair, init_mb_mgr_sse, 2);
    if ((features & IMB_FEATURE_AVX512_SKX) == IMB_FEATURE_AVX512_SKX)
        open_way(&leaves->wide, init_mb_mgr_avx512, leaves->pair.manager != NULL ? 8 : 4);
    else if ((features & IMB_FEATURE_AVX2) != 0 && leaves->pair.manager == NULL)
        open_way(&leaves->wide, init_mb_mgr_avx2, 4);
    if (leaves != NULL && leaves->wide.manager == NULL && leaves->pair.manager == NULL) {
        free(leaves);
        return NULL;
    }
    return leaves;
}

void leaves_free(struct leaves *leaves)
{
    if (leaves == NULL)
        return;
    if (leaves->wide.manager != NULL)
        free_mb_mgr(leaves->wide.manager);
    if (leaves->pair.manager != NULL)
        free_mb_mgr(leaves->pair.manager);
    free(leaves);
}

/* How many of those that the manager gave back are hashed. */
static size_t count_done(IMB_MGR *manager, IMB_JOB *job)
{
    size_t done = 0;

    for (; job != NULL; job = IMB_GET_COMPLETED_JOB(manager))
        done += job->status == IMB_STATUS_COMPLETED;
    return done;
}

static bool hash_with(IMB_MGR *manager, const uint8_t *bytes, size_t count, uint8_t *ret_hashes)
{
    size_t done = 0;
    IMB_JOB *job;

    for (size_t i = 0; i < count; i++) {
        job = IMB_GET_NEXT_JOB(manager);
        memset(job, 0, sizeof *job);
        job->cipher_mode = IMB_CIPHER_NULL;
        job->cipher_direction = IMB_DIR_ENCRYPT;
        job->chain_order = IMB_ORDER_HASH_CIPHER;
        job->hash_alg = IMB_AUTH_SHA_256;
        job->src = bytes + i * BLOCK_SIZE;
        job->msg_len_to_hash_in_bytes = BLOCK_SIZE;
        job->auth_tag_output = ret_hashes + i * HASH_SIZE;
        job->auth_tag_output_len_in_bytes = HASH_SIZE;
        done += count_done(manager, IMB_SUBMIT_JOB(manager));
    }
    while ((job = IMB_FLUSH_JOB(manager)) != NULL)
        done += count_done(manager, job);
    return done == count;
}

bool leaves_hash(struct leaves *leaves, const uint8_t *bytes, size_t count, uint8_t *ret_hashes)
{
    if (leaves == NULL)
        return false;
    if (leaves->wide.manager != NULL && count >= leaves->wide.count_min)
        return hash_with(leaves->wide.manager, bytes, count, ret_hashes);
    if (leaves->pair.manager != NULL && count >= leaves->pair.count_min)
        return hash_with(leaves->pair.manager, bytes, count, ret_hashes);
    return false;
}
