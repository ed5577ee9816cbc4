/*
 * Sweeps: who has lapsed is found, and what those held that are gone is removed, each time for as long as other writes may
 * wait.
 *
 * Who lapsed shows only in `seen`, which is looked through in pieces; a whole pass says when the next one is due.  That is
 * cheaper than an index by time, which each heartbeat would have to rewrite.
 */
#include "store_sqlite.h"
#include "timing.h"

/* A sweep looks at its time after so many peers or holdings, which take a millisecond or two. */
#define PEERS_AT_ONCE 128
#define HOLDINGS_AT_ONCE 32
/* After this time a sweep ends; its commit, which writes the pages, takes several times as long. */
#define SWEEP_US 3000u

enum err store_sqlite_retire(struct sqlite_store *store, int64_t peer)
{
    recent_peers_forget(store->recent_peers); /* another peer may get its key */
    struct query query = store_sqlite_query(&store->writer, SQL_PEER_RETIRE);
    query_number(&query, 1, peer);
    if (query_next(&query))
        store->batch.holdings -= query_get_number(&query, 0);
    enum err err = query_end(&query);
    if (err != ERR_OK)
        return err;
    query = store_sqlite_query(&store->writer, SQL_SEEN_DELETE);
    query_number(&query, 1, peer);
    query_next(&query);
    return query_end(&query);
}

/* Looks at some more peers. */
static enum err scan_on(struct sqlite_store *store, struct store_write *write)
{
    struct scan *scan = &store->scan;
    int64_t lapsed[PEERS_AT_ONCE];
    size_t seen_count = 0, lapsed_count = 0;
    struct query query = store_sqlite_query(&store->writer, SQL_SEEN_AFTER);
    query_number(&query, 1, scan->after);
    query_number(&query, 2, PEERS_AT_ONCE);
    for (; query_next(&query); seen_count++) {
        int64_t ms = query_get_number(&query, 1);
        scan->after = query_get_number(&query, 0);
        if (ms <= store->batch.lapsed_ms)
            lapsed[lapsed_count++] = scan->after;
        else if (ms < scan->oldest_ms)
            scan->oldest_ms = ms;
    }
    enum err err = query_end(&query);
    for (size_t i = 0; i < lapsed_count && err == ERR_OK; i++) {
        err = store_sqlite_retire(store, lapsed[i]);
        write->expired++;
    }
    if (seen_count < PEERS_AT_ONCE) {
        scan->runs = false;
        scan->due_ms = scan->oldest_ms + (int64_t)store->expire_ms;
    }
    return err;
}

/* Removes some holdings of a peer that is gone, and the peer where these were its last. */
static enum err sweep_peer(struct sqlite_store *store, int64_t peer)
{
    int64_t names[HOLDINGS_AT_ONCE], removed = 0;
    size_t count = 0;
    struct query query = store_sqlite_query(&store->writer, SQL_HOLDINGS_OF_PEER);
    query_number(&query, 1, peer);
    query_number(&query, 2, HOLDINGS_AT_ONCE);
    while (query_next(&query))
        names[count++] = query_get_number(&query, 0);
    enum err err = query_end(&query);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = store_sqlite_drop(store, peer, names[i], &removed);
    if (err == ERR_OK)
        err = store_sqlite_index_flush(store); /* the slow part, within the sweep's time */
    if (err != ERR_OK || count == HOLDINGS_AT_ONCE)
        return err;
    query = store_sqlite_query(&store->writer, SQL_PEER_DELETE);
    query_number(&query, 1, peer);
    query_next(&query);
    err = query_end(&query);
    return err == ERR_OK ? store_sqlite_leave_range(store, peer) : err;
}

enum err store_sqlite_sweep(struct sqlite_store *store, struct store_write *write)
{
    struct scan *scan = &store->scan;
    uint64_t started_us = timing_now_us();
    if (!scan->runs && store->batch.now_ms >= scan->due_ms)
        *scan = (struct scan){.runs = true, .oldest_ms = store->batch.now_ms};
    for (;;) {
        enum err err;
        int64_t gone = 0;
        bool scans = scan->runs;
        if (scans) {
            err = scan_on(store, write);
        } else {
            struct query query = store_sqlite_query(&store->writer, SQL_PEER_GONE);
            err = query_take_key(&query, &gone);
            if (err == ERR_OK && gone)
                err = sweep_peer(store, gone);
        }
        write->more = scans || gone;
        if (err != ERR_OK || !write->more || timing_now_us() - started_us >= SWEEP_US)
            return err;
    }
}
