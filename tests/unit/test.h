/* What every unit test includes: cmocka and the headers that it wants before its own. */
#ifndef ENXAME_TEST_H
#define ENXAME_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
