#include "store_rules.h"

#include <string.h>

static bool is_successor(const struct store_holder *holder, const struct register_request *request)
{
    if (!holder->instance)
        return !request->has_instance;
    if (request->has_instance && memcmp(holder->instance, request->instance, INSTANCE_SIZE) == 0)
        return true;
    return request->has_previous && memcmp(holder->instance, request->previous, INSTANCE_SIZE) == 0;
}

bool store_may_replace(const struct store_holder *holder, const struct register_request *request)
{
    return is_successor(holder, request) || address_equal(holder->address, &request->address);
}
