#include "store_sqlite.h"

enum err store_sqlite_error(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_FULL:
        return ERR_NOSPACE;
    case SQLITE_READONLY:
        return ERR_READ_ONLY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_DENIED;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_INTERRUPT:
        return ERR_CANCELLED;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    default:
        return ERR_IO;
    }
}

struct query query_begin(struct connection *connection, enum statement statement)
{
    return (struct query){connection->statements[statement], SQLITE_OK};
}

void query_number(struct query *query, int index, int64_t value)
{
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_int64(query->statement, index, value);
}

void query_bytes(struct query *query, int index, const void *bytes, size_t length)
{
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_blob64(query->statement, index, bytes, length, SQLITE_STATIC);
}

void query_text(struct query *query, int index, const char *text)
{
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_text(query->statement, index, text, -1, SQLITE_STATIC);
}

bool query_next(struct query *query)
{
    if (query->code != SQLITE_OK && query->code != SQLITE_ROW)
        return false;
    query->code = sqlite3_step(query->statement);
    return query->code == SQLITE_ROW;
}

int64_t query_get_number(struct query *query, int column)
{
    return sqlite3_column_int64(query->statement, column);
}

void query_get_bytes(struct query *query, int column, void *ret_bytes, size_t length)
{
    const void *bytes = sqlite3_column_blob(query->statement, column);
    if (!bytes || (size_t)sqlite3_column_bytes(query->statement, column) != length) {
        memset(ret_bytes, 0, length);
        query->code = SQLITE_CORRUPT;
        return;
    }
    memcpy(ret_bytes, bytes, length);
}

const char *query_get_text(struct query *query, int column)
{
    const char *text = (const char *)sqlite3_column_text(query->statement, column);
    if (!text)
        query->code = SQLITE_NOMEM;
    return text ? text : "";
}

enum err query_end(struct query *query)
{
    int code = query->code;
    sqlite3_reset(query->statement);
    sqlite3_clear_bindings(query->statement);
    return store_sqlite_error(code);
}

enum err query_take_key(struct query *query, int64_t *ret_key)
{
    *ret_key = query_next(query) ? query_get_number(query, 0) : 0;
    return query_end(query);
}

enum err query_run(struct connection *connection, enum statement statement)
{
    struct query query = query_begin(connection, statement);
    query_next(&query);
    return query_end(&query);
}
