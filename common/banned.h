/* Functions that invite overflows or hide errors do not compile.  Included before every file by the Makefile. */
#ifndef ENXAME_BANNED_H
#define ENXAME_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With _FORTIFY_SOURCE and clang it is a macro, which cannot be poisoned. */
#undef sprintf

#pragma GCC poison strcpy strcat sprintf vsprintf gets strtok atoi atol atoll strncpy strncat

#endif
