/* How a stamp lies in a database: side by side, what tells versions apart, and then, in some tables, when it was taken. */
#ifndef ENXAME_PEER_STAMP_ROWS_H
#define ENXAME_PEER_STAMP_ROWS_H

#include "database.h"
#include "state.h"

/* Five columns: all but when it was taken. */
static inline void stamp_bind_version(struct query *query, int index, const struct stamp *stamp)
{
    query_number(query, index, (int64_t)stamp->device);
    query_number(query, index + 1, (int64_t)stamp->inode);
    query_number(query, index + 2, (int64_t)stamp->size);
    query_number(query, index + 3, stamp->mtime_ns);
    query_number(query, index + 4, stamp->ctime_ns);
}

static inline struct stamp stamp_get_version(struct query *query, int column)
{
    return (struct stamp){
        .device = (uint64_t)query_get_number(query, column),
        .inode = (uint64_t)query_get_number(query, column + 1),
        .size = (uint64_t)query_get_number(query, column + 2),
        .mtime_ns = query_get_number(query, column + 3),
        .ctime_ns = query_get_number(query, column + 4),
    };
}

/* Six columns. */
static inline void stamp_bind(struct query *query, int index, const struct stamp *stamp)
{
    stamp_bind_version(query, index, stamp);
    query_number(query, index + 5, stamp->taken_ns);
}

static inline struct stamp stamp_get(struct query *query, int column)
{
    struct stamp stamp = stamp_get_version(query, column);
    stamp.taken_ns = query_get_number(query, column + 5);
    return stamp;
}

#endif
