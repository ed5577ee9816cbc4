/*
 * Upper and lower case beyond ASCII: Unicode's simple case folding (CaseFolding.txt, C and S) as of Unicode 6.1, which is
 * what SQLite's full-text index does with the names in it, in all of its versions.  What is newer keeps its case.  Pure;
 * any thread.
 */
#ifndef ENXAME_FOLD_H
#define ENXAME_FOLD_H

#include <stdint.h>

/* The code point that stands for `point` and all that differ from it by case alone.  Accents stay. */
uint32_t fold_character(uint32_t point);

#endif
