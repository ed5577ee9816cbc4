#include "limits.h"
#include "log.h"
#include "store_sqlite.h"
#include "timing.h"

#include <sys/stat.h>

/*
 * peers     one row for each registration.  `id` NULL: it is gone, and sweeps are removing its holdings; so a peer with
 *           100,000 files leaves, or is replaced, by one small write.  `digest`: of the files that it registered, NULL
 *           where others were added or removed since: who registers the same again changes nothing.
 * seen      when a registered peer was last heard of, on the store's clock: all that a heartbeat writes, and so narrow that
 *           the heartbeats of a batch share few pages.  Who is gone has no row.
 * contents  what a file's bytes are.
 * names     each name of each content.
 * holdings  which peer holds a content under which name; the two B-trees lead both ways.  That by names begins with ranges
 *           of peers' keys: what new peers hold goes to few of its pages, as they are of one range.  Who asks for a name's
 *           holders looks into each range.
 * ranges    those of which there are peers, and how many, with those that are gone; see store_sqlite_ranges.c.
 * counts    one row: contents, names, and what registered peers hold; counting a million takes long.
 * search    trigrams of the names without their places, which would double it; its rows carry the keys of `names`.
 * clock     one row: the Lamport clock.
 * tracker   one row: the random id by which peers on the LAN know this tracker.
 *
 * A name that no peer holds and a content without a name are removed in the transaction that took the last one.
 */
static const char schema_1[] =
    "CREATE TABLE peers ("
    "  key INTEGER PRIMARY KEY, id BLOB UNIQUE, instance BLOB, host BLOB NOT NULL, port INTEGER NOT NULL,"
    "  files INTEGER NOT NULL, seen_ms INTEGER NOT NULL) STRICT;"
    "CREATE INDEX peers_seen ON peers (seen_ms);"
    "CREATE TABLE contents ("
    "  key INTEGER PRIMARY KEY, root BLOB NOT NULL, size INTEGER NOT NULL, UNIQUE (root, size)) STRICT;"
    "CREATE TABLE names ("
    "  key INTEGER PRIMARY KEY, content INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (content, name)) STRICT;"
    "CREATE TABLE holdings ("
    "  peer INTEGER NOT NULL, name INTEGER NOT NULL, complete INTEGER NOT NULL,"
    "  PRIMARY KEY (peer, name)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX holdings_name ON holdings (name, peer, complete);"
    "CREATE VIRTUAL TABLE search USING fts5 (text, tokenize = 'trigram', content = '', columnsize = 0);"
    "CREATE TABLE clock (value INTEGER NOT NULL) STRICT; INSERT INTO clock VALUES (0);"
    "PRAGMA application_id = 0x456e7861;" /* "Enxa" */
    "PRAGMA user_version = 1;";
#define APPLICATION_ID 0x456e7861
static const char schema_2[] = "CREATE TABLE tracker (id BLOB NOT NULL) STRICT;"
                               "INSERT INTO tracker VALUES (randomblob(32));"
                               "PRAGMA user_version = 2;";
/* An older tracker had left rows of peers that are gone with a time before all others. */
static const char schema_3[] =
    "CREATE TABLE seen (peer INTEGER PRIMARY KEY, ms INTEGER NOT NULL) STRICT;"
    "INSERT INTO seen SELECT key, seen_ms FROM peers WHERE id IS NOT NULL;"
    "DROP INDEX peers_seen;"
    "ALTER TABLE peers DROP COLUMN seen_ms;"
    "ALTER TABLE peers ADD COLUMN digest BLOB;"
    "CREATE TABLE counts (contents INTEGER NOT NULL, names INTEGER NOT NULL, holdings INTEGER NOT NULL) STRICT;"
    "INSERT INTO counts SELECT (SELECT count(*) FROM contents), (SELECT count(*) FROM names),"
    "  (SELECT ifnull(sum(files), 0) FROM peers WHERE id IS NOT NULL);"
    "DROP TABLE search;"
    "CREATE VIRTUAL TABLE search USING fts5 (text, tokenize = 'trigram', content = '', columnsize = 0, detail = none);"
    "INSERT INTO search (rowid, text) SELECT key, '" SEARCH_BEGIN "' || name || '" SEARCH_END "' FROM names;"
    "PRAGMA user_version = 3;";
static const char schema_4[] = "CREATE TABLE ranges (key INTEGER PRIMARY KEY, peers INTEGER NOT NULL) STRICT;"
                               "INSERT INTO ranges SELECT key >> " RANGE_BITS ", count(*) FROM peers GROUP BY 1;"
                               "DROP INDEX holdings_name;"
                               "CREATE INDEX holdings_name ON holdings (peer >> " RANGE_BITS ", name, peer, complete);"
                               "PRAGMA user_version = 4;";

/* migrations[n] leads from version n to n + 1 and sets user_version itself. */
static const char *const migrations[] = {schema_1, schema_2, schema_3, schema_4};
#define SCHEMA_VERSION ((int64_t)(sizeof migrations / sizeof migrations[0]))

/* Where h.name is given.  The plus sign takes the key's affinity away, with which the index could not be searched. */
#define HOLDERS "ranges r CROSS JOIN holdings h INDEXED BY holdings_name ON h.peer >> " RANGE_BITS " = +r.key"
/* ?1: when the youngest of those that have lapsed were seen */
#define LIVE_HOLDERS HOLDERS " JOIN seen s ON s.peer = h.peer AND s.ms > ?1"
#define NAME_IS_LIVE "EXISTS (SELECT 1 FROM " LIVE_HOLDERS " WHERE h.name = n.key)"

static const char *const statements[SQL_STATEMENTS_END] = {
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_CLOCK_GET] = "SELECT value FROM clock",
    [SQL_CLOCK_SET] = "UPDATE clock SET value = ?1",
    [SQL_ID_GET] = "SELECT id FROM tracker",
    [SQL_COUNTS_ADD] = "UPDATE counts SET contents = contents + ?1, names = names + ?2, holdings = holdings + ?3",
    [SQL_PEER_FIND] = "SELECT p.key, s.ms, p.files, p.instance, p.host, p.port, p.digest FROM peers p"
                      " JOIN seen s ON s.peer = p.key WHERE p.id = ?1",
    [SQL_PEER_INSERT] = "INSERT INTO peers (id, instance, host, port, digest, files, key)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (key) DO NOTHING",
    [SQL_PEER_UPDATE] = "UPDATE peers SET instance = ?2, host = ?3, port = ?4, digest = ?5, files = ?6"
                        " WHERE id = ?1 AND key = ?7",
    [SQL_PEER_FILES] = "UPDATE peers SET files = ?2 WHERE key = ?1",
    [SQL_PEER_CHANGED] = "UPDATE peers SET files = ?2, digest = NULL WHERE key = ?1",
    [SQL_PEER_RETIRE] = "UPDATE peers SET id = NULL WHERE key = ?1 RETURNING files",
    [SQL_PEER_GONE] = "SELECT key FROM peers WHERE id IS NULL LIMIT 1",
    [SQL_PEER_DELETE] = "DELETE FROM peers WHERE key = ?1",
    [SQL_RANGE_CHOOSE] = "SELECT ifnull((SELECT min(key) FROM ranges WHERE peers <= ?1),"
                         " (SELECT ifnull(max(key) + 1, 0) FROM ranges))",
    [SQL_RANGE_ENTER] = "INSERT INTO ranges (key, peers) VALUES (?1 >> " RANGE_BITS ", 1)"
                        " ON CONFLICT DO UPDATE SET peers = peers + 1",
    [SQL_RANGE_LEAVE] = "UPDATE ranges SET peers = peers - 1 WHERE key = ?1 >> " RANGE_BITS,
    [SQL_RANGE_DELETE] = "DELETE FROM ranges WHERE key = ?1 >> " RANGE_BITS " AND peers = 0",
    [SQL_SEEN_FIND] = "SELECT p.key, s.ms, p.files FROM peers p JOIN seen s ON s.peer = p.key WHERE p.id = ?1",
    [SQL_SEEN_INSERT] = "INSERT INTO seen (peer, ms) VALUES (?1, ?2)",
    [SQL_SEEN_UPDATE] = "UPDATE seen SET ms = ?2 WHERE peer = ?1",
    [SQL_SEEN_RENEW] = "UPDATE seen SET ms = ?2 WHERE peer = ?1 AND ms > ?3",
    [SQL_SEEN_DELETE] = "DELETE FROM seen WHERE peer = ?1",
    [SQL_SEEN_AFTER] = "SELECT peer, ms FROM seen WHERE peer > ?1 ORDER BY peer LIMIT ?2",
    [SQL_CONTENT_FIND] = "SELECT key FROM contents WHERE root = ?1 AND size = ?2",
    [SQL_CONTENT_INSERT] = "INSERT INTO contents (root, size) VALUES (?1, ?2)",
    [SQL_CONTENT_DELETE] = "DELETE FROM contents WHERE key = ?1 AND NOT EXISTS"
                           " (SELECT 1 FROM names WHERE content = ?1)",
    [SQL_FILE_FIND] = "SELECT n.key FROM contents c JOIN names n ON n.content = c.key AND n.name = ?3"
                      " WHERE c.root = ?1 AND c.size = ?2",
    [SQL_NAME_INSERT] = "INSERT INTO names (content, name) VALUES (?1, ?2)",
    [SQL_NAME_DELETE] = "DELETE FROM names WHERE key = ?1 RETURNING content, name",
    [SQL_NAME_INDEX] = "INSERT INTO search (rowid, text) VALUES (?1, ?2)",
    [SQL_NAME_UNINDEX] = "INSERT INTO search (search, rowid, text) VALUES ('delete', ?1, ?2)",
    [SQL_HOLDING_INSERT] = "INSERT INTO holdings (peer, name, complete) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    [SQL_HOLDING_UPDATE] = "UPDATE holdings SET complete = ?3 WHERE peer = ?1 AND name = ?2 AND complete <> ?3",
    [SQL_HOLDING_DELETE] = "DELETE FROM holdings WHERE peer = ?1 AND name = ?2",
    [SQL_HOLDING_OF_NAME] = "SELECT 1 FROM " HOLDERS " WHERE h.name = ?1 LIMIT 1",
    [SQL_HOLDINGS_OF_PEER] = "SELECT name, complete FROM holdings WHERE peer = ?1 ORDER BY name LIMIT ?2",
    [SQL_HOLDINGS_OF_CONTENT] = "SELECT n.key FROM names n JOIN holdings h ON h.peer = ?1 AND h.name = n.key"
                                " WHERE n.content = ?2 LIMIT ?3",
    [SQL_BEGIN_READ] = "BEGIN",
    [SQL_END_READ] = "COMMIT",
    [SQL_LIST_PEERS] = "SELECT p.id, p.host, p.port, p.files, s.ms FROM peers p CROSS JOIN seen s ON s.peer = p.key"
                       " WHERE p.id > ?2 AND s.ms > ?1 ORDER BY p.id",
    [SQL_LAST_NAME] = "SELECT max(key) FROM names",
    [SQL_NAMES_FROM] = "SELECT name FROM names WHERE key >= ?1 ORDER BY key LIMIT ?2",
    [SQL_LIST_NAMES] = "SELECT key, name, content FROM names WHERE key > ?1 ORDER BY key",
    [SQL_SEARCH_NAMES] = "SELECT n.key, n.name, n.content FROM search CROSS JOIN names n ON n.key = search.rowid"
                         " WHERE search MATCH ?2 AND search.rowid > ?1 ORDER BY search.rowid",
    [SQL_CONTENT_OF_KEY] = "SELECT root, size FROM contents WHERE key = ?1",
    [SQL_NAME_KEYS] = "SELECT key FROM names WHERE content = ?1 LIMIT ?2",
    [SQL_OLDEST_NAME_KEYS] = "SELECT key FROM names WHERE content = ?1 ORDER BY key LIMIT ?2",
    [SQL_COUNT_NAME] = "SELECT count(*) FROM (SELECT 1 FROM " LIVE_HOLDERS " WHERE h.name = ?2 LIMIT ?3)",
    [SQL_COUNT_HOLDERS] = "SELECT count(*) FROM (SELECT DISTINCT h.peer FROM names n JOIN " LIVE_HOLDERS
                          " AND h.name = n.key WHERE n.content = ?2 LIMIT ?3)",
    [SQL_COUNT_PEERS_OF_CONTENT] =
        "SELECT count(DISTINCT peer) FROM (SELECT h.peer FROM names n JOIN " HOLDERS " AND h.name = n.key"
        " WHERE n.content = ?1 LIMIT ?2)",
    [SQL_COUNT_HOLDINGS_OF_NAME] = "SELECT count(*) FROM (SELECT 1 FROM " HOLDERS " WHERE h.name = ?1 LIMIT ?2)",
    /* The oldest sizes: who floods a root with false ones comes after the true one. */
    [SQL_SIZES_OF_ROOT] = "SELECT key, size FROM contents WHERE root = ?1 ORDER BY key LIMIT ?2",
    [SQL_CONTENT_KEY] = "SELECT key FROM contents WHERE root = ?1 AND size = ?2",
    [SQL_NAMES_OF_CONTENT] =
        "SELECT n.name FROM names n WHERE n.content = ?2 AND " NAME_IS_LIVE " ORDER BY n.name LIMIT ?3",
    [SQL_HOLDERS_OF_NAME] = "SELECT p.id, p.host, p.port, h.complete FROM " LIVE_HOLDERS
                            " JOIN peers p ON p.key = h.peer WHERE h.name = ?2",
    [SQL_HOLDERS_OF_CONTENT] = "SELECT p.id, p.host, p.port, max(h.complete) FROM names n JOIN " LIVE_HOLDERS
                               " AND h.name = n.key JOIN peers p ON p.key = h.peer"
                               " WHERE n.content = ?2 GROUP BY h.peer",
    [SQL_HOLDERS_ENDS] = "SELECT (SELECT h.peer FROM " HOLDERS " WHERE h.name = ?1 ORDER BY r.key, h.peer LIMIT 1),"
                         " (SELECT h.peer FROM " HOLDERS " WHERE h.name = ?1 ORDER BY r.key DESC, h.peer DESC LIMIT 1)",
    [SQL_HOLDERS_FROM] = "SELECT h.peer, h.complete FROM " HOLDERS " WHERE h.name = ?1 AND r.key >= ?2 >> " RANGE_BITS
                         " AND h.peer >= ?2 ORDER BY r.key, h.peer LIMIT ?3",
    [SQL_LIVE_PEER] = "SELECT p.id, p.host, p.port FROM seen s JOIN peers p ON p.key = s.peer"
                      " WHERE s.peer = ?2 AND s.ms > ?1",
    [SQL_COUNT_PEERS] = "SELECT count(*) FROM seen WHERE ms > ?1",
    [SQL_COUNTS] = "SELECT contents, names, holdings FROM counts",
    [SQL_PING] = "SELECT 1 FROM tracker",
    [SQL_EXPORT_PEERS] = "SELECT id, instance, host, port FROM peers WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_EXPORT_FILES] = "SELECT h.name, n.name, c.root, c.size, h.complete FROM peers p"
                         " JOIN holdings h ON h.peer = p.key AND h.name > ?2"
                         " JOIN names n ON n.key = h.name JOIN contents c ON c.key = n.content"
                         " WHERE p.id = ?1 ORDER BY h.name LIMIT ?3",
};

const char *store_sqlite_sql(enum statement statement)
{
    return statements[statement];
}

/* A full disk needs more than SQLite's sentence. */
static enum err cannot_be(const char *what, int code, sqlite3 *db, const char *path, struct why *why)
{
    enum err err = database_error(code);
    if (err != ERR_NOSPACE)
        return why_set(why, err, "the database %s cannot be %s: %s", path, what, sqlite3_errmsg(db));
    return why_set(why, err,
                   "the database %s cannot be %s: the disk is full, even for the little that SQLite needs beside it; "
                   "nothing is lost; free some room there and start again",
                   path, what);
}

enum err store_sqlite_is_ours(sqlite3 *db, const char *path, int64_t *ret_version, struct why *why)
{
    struct database_kind kind;
    int code = database_kind(db, &kind);
    if (code != SQLITE_OK)
        return cannot_be("read", code, db, path, why);
    if (!database_is_ours(&kind, APPLICATION_ID))
        return why_set(why, ERR_INVALID, "%s is a database of another program, not of a tracker; it was not touched",
                       path);
    if (kind.version > SCHEMA_VERSION)
        return why_set(why, ERR_TOO_NEW,
                       "the database %s has schema version %lld, but this tracker knows none above %lld; "
                       "use a newer tracker or another database",
                       path, (long long)kind.version, (long long)SCHEMA_VERSION);
    *ret_version = kind.version;
    return ERR_OK;
}

/* With a million files it takes from half a minute to minutes, in which nothing else is to be seen. */
static int upgrade(sqlite3 *db, const char *path, int64_t from)
{
    struct stat status = {0};
    uint64_t began_ms = timing_now_ms();
    bool tells = from > 0; /* else it is new */
    (void)stat(path, &status);
    if (tells)
        log_info(
            "bringing the database %s (%llu MiB) from schema version %lld to %lld: about a minute for a million files, "
            "and as much room on the disk again; where it is interrupted, the next start begins anew",
            path, (unsigned long long)status.st_size / MIB, (long long)from, (long long)SCHEMA_VERSION);
    int code = database_upgrade(db, migrations, from, SCHEMA_VERSION);
    if (tells && code == SQLITE_OK)
        log_info("the database %s has schema version %lld now, after %.1f s", path, (long long)SCHEMA_VERSION,
                 (double)(timing_now_ms() - began_ms) / 1000);
    return code;
}

enum err store_sqlite_migrate(sqlite3 *db, const char *path, struct why *why)
{
    int64_t version = 0;
    enum err err = store_sqlite_is_ours(db, path, &version, why);
    if (err != ERR_OK || version == SCHEMA_VERSION)
        return err;
    int code = upgrade(db, path, version);
    return code == SQLITE_OK ? ERR_OK : cannot_be("brought to the newest schema", code, db, path, why);
}
