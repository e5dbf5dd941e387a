/* Many calls, and no thread but ours. Argument: the root of a site. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libmaps.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static int failed;
static int threads;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, maps_error()); \
            failed = 1; \
        } \
    } while (0)

/* The library calls this one. */
int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*start)(void *), void *argument)
{
    int (*original)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    *(void **)&original = dlsym(RTLD_NEXT, "pthread_create");
    threads++;
    return original(thread, how, start, argument);
}

static void *nothing(void *unused)
{
    return unused;
}

/* Maps that are asked as often are read into memory by programs of our own. */
enum { OFTEN = 2000 };

int main(int argc, char **argv)
{
    static const char *const maps[] = {"hash:%s/etc/mail/access", "btree:%s/etc/mail/two", "cdb:%s/etc/mail/one"};
    char name[4096];
    char *value;
    maps_map *map;
    maps_site *site;
    pthread_t thread;

    if (argc != 2)
        return 64;
    CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && threads == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        snprintf(name, sizeof name, maps[i], argv[1]);
        CHECK(maps_open(name, &map) == MAPS_OK);
        for (int n = 0; n < OFTEN; n++)
            CHECK(maps_lookup(map, "absent", 6, &value, NULL) == MAPS_NOTFOUND);
        maps_close(map);
    }
    CHECK(maps_site_open(argv[1], NULL, &site) == MAPS_OK);
    for (int n = 0; n < OFTEN; n++) {
        maps_session *session = maps_session_new();
        maps_decision *decision;

        CHECK(maps_site_lookup(site, "access", "absent", 6, &value, NULL) == MAPS_NOTFOUND);
        CHECK(maps_session_set(session, "protocol_state", "RCPT") == MAPS_OK);
        CHECK(maps_session_set(session, "client_address", "192.0.2.1") == MAPS_OK);
        CHECK(maps_session_set(session, "sender", "a@good.example") == MAPS_OK);
        CHECK(maps_session_set(session, "recipient", "b@example.org") == MAPS_OK);
        CHECK(maps_decide(site, session, &decision) == MAPS_OK);
        maps_decision_free(decision);
        maps_session_free(session);
    }
    maps_site_close(site);
    CHECK(threads == 1);
    return failed;
}
