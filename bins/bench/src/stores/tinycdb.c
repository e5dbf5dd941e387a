/* tinycdb: the file mapped into memory. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cdb.h>
#include "ask.h"

struct tinycdb {
    struct cdb cdb;
    struct cdb_make make;
    int fd, is_new;
};

static void *opened(const char *path, int flags, int is_new)
{
    struct tinycdb *tiny = calloc(1, sizeof *tiny);

    if (tiny == NULL || (tiny->fd = open(path, flags, 0600)) < 0) {
        perror(path);
        exit(1);
    }
    tiny->is_new = is_new;
    if ((is_new ? cdb_make_start(&tiny->make, tiny->fd) : cdb_init(&tiny->cdb, tiny->fd)) != 0) {
        perror(path);
        exit(1);
    }
    return tiny;
}

void *store_new(const char *path, size_t entries)
{
    (void)entries;
    return opened(path, O_RDWR | O_CREAT | O_EXCL, 1);
}

void *store_open(const char *path)
{
    return opened(path, O_RDONLY, 0);
}

void store_put(void *store, char *lhs, size_t lhs_len, char *rhs, size_t rhs_len)
{
    struct tinycdb *tiny = store;

    if (cdb_make_add(&tiny->make, lhs, (unsigned)lhs_len, rhs, (unsigned)rhs_len) != 0) {
        perror("cdb_make_add");
        exit(1);
    }
}

const char *store_get(void *store, const char *lhs, size_t lhs_len, size_t *rhs_len)
{
    struct tinycdb *tiny = store;

    if (cdb_find(&tiny->cdb, lhs, (unsigned)lhs_len) <= 0)
        return NULL;
    *rhs_len = cdb_datalen(&tiny->cdb);
    return cdb_getdata(&tiny->cdb);
}

void store_close(void *store)
{
    struct tinycdb *tiny = store;

    if (tiny->is_new && cdb_make_finish(&tiny->make) != 0) {
        perror("cdb_make_finish");
        exit(1);
    }
    if (!tiny->is_new)
        cdb_free(&tiny->cdb);
    close(tiny->fd);
    free(tiny);
}
