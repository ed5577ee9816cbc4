#include "listing.h"

#include "limits.h"
#include "units.h"

void listing_clear(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        free(listing->rows[i].name);
    free(listing->rows);
    *listing = (struct listing){0};
}

enum err listing_add(struct listing *listing, const char *name, const struct content *content)
{
    if (listing->count == LISTING_ROWS_MAX)
        return ERR_TOO_LARGE;
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? 2 * listing->capacity : 64;
        struct listing_row *grown = reallocarray(listing->rows, capacity, sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        listing->rows = grown;
        listing->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy)
        return ERR_NOMEM;
    listing->rows[listing->count++] = (struct listing_row){.name = copy, .content = *content};
    return ERR_OK;
}

const struct listing_row *listing_get(const struct listing *listing, uint64_t number)
{
    return number >= 1 && number <= listing->count ? &listing->rows[number - 1] : NULL;
}

/* Upper case is taken from people, though the protocol has none. */
static bool take_prefix(const char *word, char ret_prefix[static HASH_HEX + 1])
{
    size_t length = strlen(word);
    if (length < ROOT_DIGITS_MIN || length > HASH_HEX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char letter = word[i];
        ret_prefix[i] = letter >= 'A' && letter <= 'F' ? (char)(letter - 'A' + 'a') : letter;
    }
    ret_prefix[length] = '\0';
    return hex_is_prefix(ret_prefix, ROOT_DIGITS_MIN);
}

enum err listing_parse_target(const char *word, struct target *ret, struct why *why)
{
    *ret = (struct target){.kind = TARGET_NAME};
    bool marked = word[0] == '#';
    if (units_parse_number(word + marked, 0, marked ? UINT64_MAX : 99999, &ret->number)) {
        ret->kind = TARGET_NUMBER;
        return ERR_OK;
    }
    if (marked)
        return why_set(why, ERR_INVALID, "\"%s\": a row's number must follow #", word);
    if (take_prefix(word, ret->prefix))
        ret->kind = TARGET_PREFIX;
    return ERR_OK;
}

bool listing_root_begins(const struct content *content, const char *prefix)
{
    char hex[HASH_HEX + 1];
    hex_encode(content->root, HASH_SIZE, hex);
    return strncmp(hex, prefix, strlen(prefix)) == 0;
}
