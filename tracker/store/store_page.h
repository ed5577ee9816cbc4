/*
 * What every store puts into its answers alike: how much goes into a page, where the next one begins, which size of a root is
 * meant.  Pure; any thread.
 */
#ifndef ENXAME_STORE_PAGE_H
#define ENXAME_STORE_PAGE_H

#include "store.h"

/* JSON around a file's name, a holder and a content, at most. */
#define STORE_FILE_BYTES 160u
#define STORE_PEER_BYTES 192u
#define STORE_CONTENT_BYTES 160u
/* Of the names of one content, so that its holders find room in the answer, too. */
#define STORE_NAMES_BYTES (48u * 1024u)
#define STORE_OTHER_SIZES_MAX 100u

/* Appends room for one item; `items` has room for a power of two.  NULL: out of memory, and `items` is as it was. */
void *store_page_grow(void *items, size_t count, size_t item_size);
/* Bytes of `name` in JSON. */
size_t store_page_name_bytes(const char *name);

/* Whether no further peer goes into the page; then store_page_end_peers() says where the next one begins. */
bool store_page_is_full(const struct peer_list *list, size_t limit);
enum err store_page_end_peers(struct peer_list *list);
enum err store_page_add_peer(struct peer_list *list, const struct peer_record *peer);
/* Puts a peer among a content's holders. */
enum err store_page_add_holder(struct content_holders *holders, const struct peer_record *peer);
/* False, and no error, where the name has no room any more. */
enum err store_page_add_name(struct content_holders *holders, const char *name, size_t *bytes, bool *ret_added);

/* A size that a root comes with. */
struct store_size {
    int64_t key; /* the store's */
    uint64_t size;
    uint64_t holders;
};
/*
 * Puts the chosen one into ret->content, the others into ret->other_sizes, and its key, 0 where nobody holds it, into
 * `ret_key`.  `size` NULL: the one with the most holders, the first of several.
 */
enum err store_page_choose_size(const struct store_size *sizes, size_t count, const uint64_t *size,
                                struct content_holders *ret, int64_t *ret_key);

#endif
