/*
 * Who a peer is: a random 32-byte secret, and the id, its SHA-256.  Whoever shows the secret may change what the id
 * registered.  Secrets are never logged.  Pure but for identity_new(); any thread.
 */
#ifndef ENXAME_IDENTITY_H
#define ENXAME_IDENTITY_H

#include "err.h"
#include "hex.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSTANCE_SIZE 16u

struct identity {
    uint8_t secret[HASH_SIZE];
    uint8_t id[HASH_SIZE];
};

/* A new random identity.  ERR_IO where the system gives no random bytes. */
enum err identity_new(struct identity *ret);
void identity_from_secret(const uint8_t secret[static HASH_SIZE], struct identity *ret);

/*
 * The identity that a tracker gets to see which was found rather than configured: its secret is HMAC-SHA256, under the true
 * secret, of the tracker's id, so that no tracker can use what it saw at another one.
 */
enum err identity_for_tracker(const struct identity *identity, const uint8_t tracker[static HASH_SIZE],
                              struct identity *ret);

/* "Bearer " and 64 hex digits, as in the Authorization header (RFC 6750, 2.1), and back. */
#define IDENTITY_BEARER_SIZE (7u + HASH_HEX + 1u)
void identity_bearer(const struct identity *identity, char ret_text[static IDENTITY_BEARER_SIZE]);
bool identity_parse_bearer(const char *header, uint8_t ret_secret[static HASH_SIZE]);

/* Whether SHA-256(secret) is `id`. */
bool identity_owns(const uint8_t secret[static HASH_SIZE], const uint8_t id[static HASH_SIZE]);

/* Cryptographically random bytes. */
enum err identity_random(void *ret_bytes, size_t length);

#endif
