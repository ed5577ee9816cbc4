/*
 * The same tests for SQLite and for PostgreSQL.  The latter need ENXAME_TEST_POSTGRES, the beginning of a URI to which a
 * database's name is appended, of one who may make databases; tests/e2e/postgres.py runs them with it.
 */
#ifndef ENXAME_TEST_BOTH_STORES_FIXTURE_H
#define ENXAME_TEST_BOTH_STORES_FIXTURE_H

#include "store_fixture.h"

#include <assert.h>
#include <sys/stat.h>
#include <unistd.h>

static char location[1024]; /* of the test's store, empty at first */

static inline int sqlite_set_up(void **state)
{
    (void)state;
    if (enter_folder() != 0)
        return -1;
    snprintf(location, sizeof location, "test.db");
    open_store_at(location, EXPIRE_MS);
    return 0;
}

static inline int sqlite_tear_down(void **state)
{
    (void)state;
    return leave_folder();
}

static inline const char *postgres(void)
{
    return getenv("ENXAME_TEST_POSTGRES");
}

/* Runs a statement in the administrator's database. */
static inline int postgres_run(const char *statement)
{
    char command[1200];
    snprintf(command, sizeof command, "psql -X -q -d \"${ENXAME_TEST_POSTGRES}postgres\" -c '%s' </dev/null",
             statement);
    return system(command) == 0 ? 0 : -1;
}

static char database[64];

static inline int postgres_set_up(void **state)
{
    (void)state;
    static unsigned databases;
    char statement[128];
    snprintf(database, sizeof database, "unit_%d_%u", (int)getpid(), databases++);
    snprintf(statement, sizeof statement, "CREATE DATABASE %s", database);
    snprintf(location, sizeof location, "%s%s", postgres(), database);
    if (postgres_run(statement) != 0)
        return -1;
    open_store_at(location, EXPIRE_MS);
    return 0;
}

static inline int postgres_tear_down(void **state)
{
    (void)state;
    char statement[128];
    store_close(store);
    store = NULL;
    snprintf(statement, sizeof statement, "DROP DATABASE %s WITH (FORCE)", database);
    return postgres_run(statement);
}

static inline void reopen(uint64_t expire_ms)
{
    store_close(store);
    store = NULL;
    open_store_at(location, expire_ms);
}

/* Runs each test with a store of its own of either kind, empty at first; `tests` without set-up and tear-down. */
#define RUN_WITH_BOTH_STORES(tests) run_with_both((tests), sizeof(tests) / sizeof((tests)[0]))

static inline int run_with(const char *store_name, const struct CMUnitTest *tests, size_t count,
                           CMFixtureFunction set_up, CMFixtureFunction tear_down)
{
    struct CMUnitTest prepared[32];
    assert(count <= sizeof prepared / sizeof prepared[0]);
    for (size_t i = 0; i < count; i++) {
        prepared[i] = tests[i];
        prepared[i].setup_func = set_up;
        prepared[i].teardown_func = tear_down;
    }
    return _cmocka_run_group_tests(store_name, prepared, count, NULL, NULL);
}

static inline void postgres_is_left_out_without_ENXAME_TEST_POSTGRES(void **state)
{
    (void)state;
    skip();
}

static inline int run_with_both(const struct CMUnitTest *tests, size_t count)
{
    int failed = run_with("SQLite", tests, count, sqlite_set_up, sqlite_tear_down);
    if (postgres())
        return failed + run_with("PostgreSQL", tests, count, postgres_set_up, postgres_tear_down);
    const struct CMUnitTest left_out[] = {cmocka_unit_test(postgres_is_left_out_without_ENXAME_TEST_POSTGRES)};
    return failed + cmocka_run_group_tests_name("PostgreSQL", left_out, NULL, NULL);
}

#endif
