/* LMDB: one read transaction for all questions. */
#include <stdio.h>
#include <stdlib.h>
#include <lmdb.h>
#include "ask.h"

struct lmdb {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static void ok(int status, const char *what)
{
    if (status != 0) {
        fprintf(stderr, "%s: %s\n", what, mdb_strerror(status));
        exit(1);
    }
}

static void *opened(const char *path, unsigned env_flags, unsigned txn_flags)
{
    struct lmdb *lmdb = calloc(1, sizeof *lmdb);

    if (lmdb == NULL)
        exit(1);
    ok(mdb_env_create(&lmdb->env), "mdb_env_create");
    ok(mdb_env_set_mapsize(lmdb->env, (size_t)16 << 30), "mdb_env_set_mapsize");
    ok(mdb_env_open(lmdb->env, path, MDB_NOSUBDIR | MDB_NOLOCK | env_flags, 0600), path);
    ok(mdb_txn_begin(lmdb->env, NULL, txn_flags, &lmdb->txn), "mdb_txn_begin");
    ok(mdb_dbi_open(lmdb->txn, NULL, 0, &lmdb->dbi), "mdb_dbi_open");
    return lmdb;
}

void *store_new(const char *path, size_t entries)
{
    (void)entries;
    return opened(path, MDB_NOSYNC, 0);
}

void *store_open(const char *path)
{
    return opened(path, MDB_RDONLY, MDB_RDONLY);
}

void store_put(void *store, char *lhs, size_t lhs_len, char *rhs, size_t rhs_len)
{
    struct lmdb *lmdb = store;
    MDB_val key = {lhs_len, lhs}, value = {rhs_len, rhs};

    ok(mdb_put(lmdb->txn, lmdb->dbi, &key, &value, 0), "mdb_put");
}

const char *store_get(void *store, const char *lhs, size_t lhs_len, size_t *rhs_len)
{
    struct lmdb *lmdb = store;
    MDB_val key = {lhs_len, (void *)lhs}, value;
    int status = mdb_get(lmdb->txn, lmdb->dbi, &key, &value);

    if (status == MDB_NOTFOUND)
        return NULL;
    ok(status, "mdb_get");
    *rhs_len = value.mv_size;
    return value.mv_data;
}

void store_close(void *store)
{
    struct lmdb *lmdb = store;

    ok(mdb_txn_commit(lmdb->txn), "mdb_txn_commit");
    mdb_env_close(lmdb->env);
    free(lmdb);
}
