/* A database in the folder of a test, changed behind the back of who keeps it. */
#ifndef ENXAME_TEST_DATABASE_FILE_H
#define ENXAME_TEST_DATABASE_FILE_H

#include "folder.h"

#include <sqlite3.h>

static inline void change_database(const char *name, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(in_folder(name), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

#endif
