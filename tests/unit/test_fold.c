#include "test.h"

#include "fold.h"

#include <sqlite3.h>

static void letters_lose_their_case_but_not_their_accents(void **state)
{
    (void)state;
    assert_int_equal(fold_character('A'), 'a');
    assert_int_equal(fold_character('z'), 'z');
    assert_int_equal(fold_character('['), '[');
    assert_int_equal(fold_character(0xC9), 0xE9);         /* É */
    assert_int_equal(fold_character(0x42F), 0x44F);       /* Я */
    assert_int_equal(fold_character(0x3C2), 0x3C3);       /* final sigma */
    assert_int_equal(fold_character(0x1E9E), 0xDF);       /* capital sharp s */
    assert_int_equal(fold_character(0xDF), 0xDF);         /* not "ss" */
    assert_int_equal(fold_character(0x130), 0x130);       /* Turkish dotted I */
    assert_int_equal(fold_character(0x212A), 'k');        /* Kelvin */
    assert_int_equal(fold_character(0x100), 0x101);       /* every second one of a range */
    assert_int_equal(fold_character(0x101), 0x101);       /* and not the ones between */
    assert_int_equal(fold_character(0x10400), 0x10428);   /* Deseret, the last range */
    assert_int_equal(fold_character(0x10428), 0x10428);   /* after all ranges */
    assert_int_equal(fold_character(0x10FFFF), 0x10FFFF); /* the last code point */
}

static size_t put_utf8(uint32_t point, char *text)
{
    size_t more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xC0, 0xE0, 0xF0};
    for (size_t i = more; i > 0; i--, point >>= 6)
        text[i] = (char)(0x80 | (point & 0x3F));
    text[0] = (char)(leads[more] | point);
    return more + 1;
}

/* Two noncharacters, which no name needs, become U+FFFD in the index; and NUL ends a text. */
static bool is_exception(uint32_t point)
{
    return point == 0 || (point >= 0xD800 && point <= 0xDFFF) || point == 0xFFFE || point == 0xFFFF;
}

#define LAST_CHECKED 0x1FFFFu /* beyond the last range; the planes after it have no case */

/* If the index folded more than we do, a search would miss what is there. */
static void the_index_folds_alike(void **state)
{
    (void)state;
    sqlite3 *db = NULL;
    sqlite3_stmt *insert = NULL, *read = NULL;
    uint32_t checked = 0;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE VIRTUAL TABLE names USING fts5 (text, tokenize = 'trigram');"
                                  "CREATE VIRTUAL TABLE terms USING fts5vocab (names, 'instance'); BEGIN",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_prepare_v2(db, "INSERT INTO names (rowid, text) VALUES (?1, ?2)", -1, &insert, NULL);
    for (uint32_t point = 0; point <= LAST_CHECKED; point++) {
        char text[6] = "--";
        if (is_exception(point))
            continue;
        sqlite3_bind_int64(insert, 1, point);
        sqlite3_bind_text(insert, 2, text, (int)(2 + put_utf8(point, text + 2)), SQLITE_STATIC);
        assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_prepare_v2(db, "SELECT term, doc FROM terms", -1, &read, NULL);
    for (; sqlite3_step(read) == SQLITE_ROW; checked++) {
        char text[6] = "--";
        uint32_t point = (uint32_t)sqlite3_column_int64(read, 1);
        size_t length = 2 + put_utf8(fold_character(point), text + 2);
        assert_int_equal(sqlite3_column_bytes(read, 0), length);
        assert_memory_equal(sqlite3_column_blob(read, 0), text, length);
    }
    assert_int_equal(checked, LAST_CHECKED + 1 - 0x800 - 3);
    sqlite3_finalize(insert);
    sqlite3_finalize(read);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_lose_their_case_but_not_their_accents),
        cmocka_unit_test(the_index_folds_alike),
    };
    return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
