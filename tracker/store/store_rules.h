/* What every store decides alike.  Pure; any thread. */
#ifndef ENXAME_STORE_RULES_H
#define ENXAME_STORE_RULES_H

#include "messages.h"

/* Whose registration is alive. */
struct store_holder {
    const uint8_t *instance; /* INSTANCE_SIZE bytes; NULL: it named none */
    const struct address *address;
};

/*
 * Whether a registration of the same id may take its place: it comes from the same instance, from one that knows that this
 * one has ended, or from the same address.
 */
bool store_may_replace(const struct store_holder *holder, const struct register_request *request);

#endif
