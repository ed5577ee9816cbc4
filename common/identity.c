#include "identity.h"

#include "merkle.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

enum err identity_random(void *ret_bytes, size_t length)
{
    uint8_t *bytes = ret_bytes;
    while (length > 0) {
        ssize_t got = getrandom(bytes, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return ERR_IO;
        bytes += got;
        length -= (size_t)got;
    }
    return ERR_OK;
}

void identity_from_secret(const uint8_t secret[static HASH_SIZE], struct identity *ret)
{
    memmove(ret->secret, secret, HASH_SIZE);
    merkle_sha256(ret->secret, HASH_SIZE, ret->id);
}

enum err identity_new(struct identity *ret)
{
    uint8_t secret[HASH_SIZE];
    enum err err = identity_random(secret, sizeof secret);
    if (err)
        return err;
    identity_from_secret(secret, ret);
    gnutls_memset(secret, 0, sizeof secret);
    return ERR_OK;
}

enum err identity_for_tracker(const struct identity *identity, const uint8_t tracker[static HASH_SIZE],
                              struct identity *ret)
{
    uint8_t secret[HASH_SIZE];
    if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, identity->secret, HASH_SIZE, tracker, HASH_SIZE, secret) != 0)
        return ERR_NOMEM;
    identity_from_secret(secret, ret);
    gnutls_memset(secret, 0, sizeof secret);
    return ERR_OK;
}

static const char scheme[] = "Bearer ";

void identity_bearer(const struct identity *identity, char ret_text[static IDENTITY_BEARER_SIZE])
{
    memcpy(ret_text, scheme, sizeof scheme - 1);
    hex_encode(identity->secret, HASH_SIZE, ret_text + sizeof scheme - 1);
}

bool identity_parse_bearer(const char *header, uint8_t ret_secret[static HASH_SIZE])
{
    /* The name of a scheme is case-insensitive (RFC 9110, 11.1). */
    return strncasecmp(header, scheme, sizeof scheme - 1) == 0 &&
           hex_decode(header + sizeof scheme - 1, HASH_SIZE, ret_secret);
}

bool identity_owns(const uint8_t secret[static HASH_SIZE], const uint8_t id[static HASH_SIZE])
{
    uint8_t hash[HASH_SIZE];
    merkle_sha256(secret, HASH_SIZE, hash);
    return gnutls_memcmp(hash, id, HASH_SIZE) == 0;
}
