/* For the administrator: a look at all of it, and where to turn for a copy. */
#include "store_postgres.h"

#include <pthread.h>

/* Each rule reads whole tables. */
#define RULE_MS (3600u * 1000u)

enum err pg_admin_backup(const char *location, const char *file, bool (*go_on)(void), struct why *why)
{
    char name[STORE_NAME_SIZE];
    (void)file;
    (void)go_on;
    store_describe(location, name, sizeof name);
    return why_set(why, ERR_INVALID,
                   "%s is a PostgreSQL database: use pg_dump, or tracker migrate %s FILE for a tracker's file", name,
                   name);
}

/* What must have no row; names without holders are no fault, as sweeps remove them later. */
static const struct {
    const char *sql, *what;
} rules[] = {
    {"SELECT count(*) FROM enxame.names n WHERE NOT EXISTS (SELECT 1 FROM enxame.contents c WHERE c.key = n.content)",
     "names of contents that are not there"},
    {"SELECT count(*) FROM enxame.holdings h WHERE NOT EXISTS (SELECT 1 FROM enxame.names n WHERE n.key = h.name)",
     "holdings of names that are not there"},
    {"SELECT count(*) FROM enxame.holdings h WHERE NOT EXISTS (SELECT 1 FROM enxame.peers p WHERE p.key = h.peer)",
     "holdings of peers that are not there"},
    {"SELECT count(*) FROM enxame.peers p WHERE p.id IS NOT NULL"
     " AND p.files <> (SELECT count(*) FROM enxame.holdings h WHERE h.peer = p.key)",
     "peers whose number of files is wrong"},
    {"SELECT abs((SELECT count(*) FROM enxame.contents) - (SELECT sum(contents) FROM enxame.counts))::int8",
     "contents that were counted wrongly"},
    {"SELECT abs((SELECT count(*) FROM enxame.names) - (SELECT sum(names) FROM enxame.counts))::int8",
     "names that were counted wrongly"},
};

static const char *const counts[] = {
    "SELECT version FROM enxame.tracker WHERE one = 1",
    "SELECT count(*) FROM enxame.peers WHERE id IS NOT NULL",
    "SELECT count(*) FROM enxame.contents",
    "SELECT count(*) FROM enxame.names",
    "SELECT count(*) FROM enxame.holdings",
};
#define COUNTS (sizeof counts / sizeof counts[0])
#define RULES (sizeof rules / sizeof rules[0])

static enum err look(struct pg_session *session, int64_t *ret_numbers)
{
    /* One snapshot for all, while trackers go on writing. */
    pg_start(session, RULE_MS);
    pg_send_sql(session, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, 0);
    for (size_t i = 0; i < COUNTS + RULES; i++)
        pg_send_sql(session, i < COUNTS ? counts[i] : rules[i - COUNTS].sql, NULL, 0);
    pg_send_sql(session, "COMMIT", NULL, 0);
    pg_sync(session);
    pg_skip(session);
    for (size_t i = 0; i < COUNTS + RULES; i++) {
        struct pg_rows rows = pg_rows(session);
        ret_numbers[i] = pg_next(&rows) ? pg_get_number(&rows, 0) : 0;
        pg_rows_end(&rows);
    }
    pg_skip(session);
    return pg_end(session);
}

enum err pg_admin_check(const char *location, struct store_report *ret, struct why *why)
{
    int64_t numbers[COUNTS + RULES] = {0};
    *ret = (struct store_report){0};
    struct pg_store store = {.expire_ms = 0};
    enum err err = pg_store_set_location(&store, location, why);
    struct pg_session session = {.store = &store};
    if (err == ERR_OK)
        err = pg_session_connect(&session, why);
    if (err == ERR_OK)
        err = pg_schema_find(&store, &session, why);
    if (err == ERR_OK && look(&session, numbers) != ERR_OK)
        err = why_set(why, session.err, "cannot read the database %s: %s", store.name, session.why.text);
    pg_session_close(&session);
    free(store.uri);
    if (err != ERR_OK)
        return err;
    ret->schema = numbers[0];
    ret->counts =
        (struct store_counts){(uint64_t)numbers[1], (uint64_t)numbers[2], (uint64_t)numbers[3], (uint64_t)numbers[4]};
    for (size_t i = 0; i < RULES; i++)
        if (numbers[COUNTS + i])
            why_set(&ret->faults[ret->fault_count++], ERR_OK, "%lld %s", (long long)numbers[COUNTS + i], rules[i].what);
    return ERR_OK;
}
