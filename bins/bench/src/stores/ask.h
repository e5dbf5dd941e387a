/* A store of a peer, as ask.c works with it. */
#include <stddef.h>

/* Opens a store, new and to be filled, or read-only; ends the program if it can't. */
void *store_new(const char *path, size_t entries);
void *store_open(const char *path);

void store_put(void *store, char *lhs, size_t lhs_len, char *rhs, size_t rhs_len);

/* The RHS's length and where it stands until the next call; NULL if there is none. */
const char *store_get(void *store, const char *lhs, size_t lhs_len, size_t *rhs_len);

void store_close(void *store);
