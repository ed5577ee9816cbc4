/* Who one is, and where others are: for the tests of neighbours. */
#ifndef ENXAME_TEST_NEIGHBOURS_FIXTURE_H
#define ENXAME_TEST_NEIGHBOURS_FIXTURE_H

#include "test.h"

#include "../../peer/neighbours/roster.h"

#include <stdio.h>

static const uint8_t own_id[HASH_SIZE] = {0xEE}, own_instance[INSTANCE_SIZE] = {0xEE};

/* 10.0.<n / 250>.<n % 250 + 1>:6000 */
static inline struct address place(unsigned n)
{
    struct address address;
    char text[32];
    snprintf(text, sizeof text, "10.0.%u.%u", n / 250, n % 250 + 1);
    assert_true(address_parse_host(text, 6000, &address));
    return address;
}

#endif
