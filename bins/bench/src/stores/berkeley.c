/* Berkeley DB, class hash, as sendmail opens it: a cache of a mebioctet. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <db.h>
#include "ask.h"

#define READ_CACHE (1024 * 1024)
#define WRITE_CACHE (512 * 1024 * 1024)

static void ok(int status, const char *what)
{
    if (status != 0) {
        fprintf(stderr, "%s: %s\n", what, db_strerror(status));
        exit(1);
    }
}

static DB *opened(const char *path, u_int32_t flags, u_int32_t cache, u_int32_t entries)
{
    DB *db;

    ok(db_create(&db, NULL, 0), "db_create");
    ok(db->set_cachesize(db, 0, cache, 1), "set_cachesize");
    if (entries != 0)
        ok(db->set_h_nelem(db, entries), "set_h_nelem");
    ok(db->open(db, NULL, path, NULL, DB_HASH, flags, 0600), path);
    return db;
}

void *store_new(const char *path, size_t entries)
{
    return opened(path, DB_CREATE | DB_EXCL, WRITE_CACHE, (u_int32_t)entries);
}

void *store_open(const char *path)
{
    return opened(path, DB_RDONLY, READ_CACHE, 0);
}

void store_put(void *store, char *lhs, size_t lhs_len, char *rhs, size_t rhs_len)
{
    DB *db = store;
    DBT key, value;

    memset(&key, 0, sizeof key);
    memset(&value, 0, sizeof value);
    key.data = lhs;
    key.size = (u_int32_t)lhs_len;
    value.data = rhs;
    value.size = (u_int32_t)rhs_len;
    ok(db->put(db, NULL, &key, &value, 0), "put");
}

const char *store_get(void *store, const char *lhs, size_t lhs_len, size_t *rhs_len)
{
    DB *db = store;
    DBT key, value;
    int status;

    memset(&key, 0, sizeof key);
    memset(&value, 0, sizeof value);
    key.data = (void *)lhs;
    key.size = (u_int32_t)lhs_len;
    status = db->get(db, NULL, &key, &value, 0);
    if (status == DB_NOTFOUND)
        return NULL;
    ok(status, "get");
    *rhs_len = value.size;
    return value.data;
}

void store_close(void *store)
{
    DB *db = store;

    ok(db->close(db, 0), "close");
}
