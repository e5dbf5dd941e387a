/*
 * A peer's store, filled and asked by its own library.
 *
 *   ask build FILE ENTRIES           fills FILE
 *   ask ask QUESTIONS ROUNDS FILE... asks in turn, prints: nanoseconds, lookups, how many were found
 *   ask open QUESTIONS TIMES FILE    opens, asks one question and closes, so many times; prints the same
 *
 * ENTRIES: a u32 number of them, then each: u32 length of LHS, u32 length of RHS, both. QUESTIONS: a u32 number of
 * them, then each: u32 which FILE, u32 length, LHS. One round goes before those that are measured.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "ask.h"

struct question {
    uint32_t file, len;
    const char *lhs;
};

static volatile unsigned char seen;

static char *whole(const char *path, size_t *len)
{
    FILE *in = fopen(path, "rb");
    char *octets;

    if (in == NULL || fseek(in, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *len = (size_t)ftell(in);
    rewind(in);
    octets = malloc(*len + 1);
    if (octets == NULL || fread(octets, 1, *len, in) != *len) {
        perror(path);
        exit(1);
    }
    fclose(in);
    return octets;
}

static uint32_t number(const char **at)
{
    uint32_t n;

    memcpy(&n, *at, sizeof n);
    *at += sizeof n;
    return n;
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void build(const char *path, const char *entries)
{
    size_t len;
    char *octets = whole(entries, &len);
    const char *at = octets;
    uint32_t count = number(&at), n;
    void *store = store_new(path, count);

    for (n = 0; n < count; n++) {
        uint32_t lhs_len = number(&at), rhs_len = number(&at);

        store_put(store, (char *)at, lhs_len, (char *)at + lhs_len, rhs_len);
        at += (size_t)lhs_len + rhs_len;
    }
    store_close(store);
    free(octets);
}

static struct question *questions(const char *path, uint32_t *count)
{
    size_t len;
    const char *at = whole(path, &len);
    struct question *all;
    uint32_t n;

    *count = number(&at);
    all = calloc(*count, sizeof *all);
    for (n = 0; all != NULL && n < *count; n++) {
        all[n].file = number(&at);
        all[n].len = number(&at);
        all[n].lhs = at;
        at += all[n].len;
    }
    return all;
}

static uint64_t round_of(void **stores, const struct question *all, uint32_t count)
{
    uint64_t found = 0;
    uint32_t n;

    for (n = 0; n < count; n++) {
        size_t len;
        const char *rhs = store_get(stores[all[n].file], all[n].lhs, all[n].len, &len);

        if (rhs != NULL) {
            seen ^= (unsigned char)rhs[0];
            found++;
        }
    }
    return found;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "build") == 0) {
        build(argv[2], argv[3]);
        return 0;
    }
    if (argc >= 5 && argc < 16) {
        uint32_t count, n, rounds = (uint32_t)atoi(argv[3]);
        struct question *all = questions(argv[2], &count);
        uint64_t begun, found = 0, lookups = 0;
        void *stores[16];

        if (strcmp(argv[1], "open") == 0) {
            for (n = 0; n < count; n++)
                all[n].file = 0;
            begun = now();
            for (n = 0; n < rounds; n++, lookups++) {
                stores[0] = store_open(argv[4]);
                found += round_of(stores, &all[n % count], 1);
                store_close(stores[0]);
            }
        } else {
            for (n = 4; n < (uint32_t)argc; n++)
                stores[n - 4] = store_open(argv[n]);
            round_of(stores, all, count);
            begun = now();
            for (n = 0; n < rounds; n++, lookups += count)
                found += round_of(stores, all, count);
        }
        printf("%llu %llu %llu\n", (unsigned long long)(now() - begun), (unsigned long long)lookups,
               (unsigned long long)found);
        return 0;
    }
    return 64;
}
