/* Every function of libmaps.h, used well and badly. Argument: the root of a site. */
#include <libmaps.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int failed;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, maps_error()); \
            failed = 1; \
        } \
    } while (0)

static maps_map *shared;

static void *many(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        char *value = NULL;
        size_t octets = 0;
        CHECK(maps_lookup(shared, "From:Good.Example", 17, &value, &octets) == MAPS_OK);
        CHECK(octets == 2 && value && strcmp(value, "OK") == 0);
        maps_free(value);
        CHECK(maps_lookup(shared, "absent", 6, &value, NULL) == MAPS_NOTFOUND && value == NULL);
    }
    return NULL;
}

enum { HANG_UPS = 200 };

/* A server that hangs up without having read anything, as one that has too many clients. */
static void *hang_up(void *listener)
{
    static const char why[] = "21:TEMP too many clients,";
    for (int i = 0; i < HANG_UPS; i++) {
        int client = accept(*(int *)listener, NULL, NULL);
        if (client < 0)
            return NULL;
        if (i % 2)
            CHECK(send(client, why, sizeof why - 1, MSG_NOSIGNAL) > 0);
        close(client);
    }
    return NULL;
}

/* Whoever calls the library lives on: SIGPIPE has its default here. */
static void ask_who_hangs_up(const char *root)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[4096];
    char *value;
    maps_map *map = NULL;
    pthread_t server;
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK(snprintf(address.sun_path, sizeof address.sun_path, "%s/s", root) < (int)sizeof address.sun_path);
    unlink(address.sun_path);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 8) == 0);
    CHECK(pthread_create(&server, NULL, hang_up, &listener) == 0);
    snprintf(name, sizeof name, "socketmap:unix:%s:access", address.sun_path);
    CHECK(maps_open(name, &map) == MAPS_OK);
    for (int i = 0; i < HANG_UPS; i++) {
        CHECK(maps_lookup(map, "x", 1, &value, NULL) == MAPS_TEMP && value == NULL);
        if (i % 2)
            CHECK(strstr(maps_error(), "TEMP: too many clients") != NULL);
    }
    CHECK(pthread_join(server, NULL) == 0);
    maps_close(map);
    close(listener);
}

static const char *decide(maps_site *site, const char *sender, const char *recipient, enum maps_action want)
{
    static char reply[200];
    maps_session *session = maps_session_new();
    maps_decision *decision = NULL;
    CHECK(maps_session_set(session, "protocol_state", "RCPT") == MAPS_OK);
    CHECK(maps_session_set(session, "client_address", "192.0.2.1") == MAPS_OK);
    CHECK(maps_session_set(session, "sender", "replaced@x.example") == MAPS_OK);
    CHECK(maps_session_set(session, "sender", sender) == MAPS_OK);
    CHECK(maps_session_set(session, "recipient", recipient) == MAPS_OK);
    CHECK(maps_decide(site, session, &decision) == MAPS_OK);
    CHECK(maps_decision_action(decision) == want);
    CHECK(strstr(maps_decision_trace(decision), "hash:/etc/mail/access") != NULL);
    CHECK(strstr(maps_decision_trace(decision), "hush") == NULL);
    snprintf(reply, sizeof reply, "%s", maps_decision_reply(decision));
    maps_decision_free(decision);
    maps_session_free(session);
    return reply;
}

int main(int argc, char **argv)
{
    char name[4096];
    char *value;
    size_t octets;
    maps_map *map = NULL;
    maps_site *site = NULL;
    pthread_t threads[4];
    static const char *const paths[] = {"one.cdb", "bare", "two.db", "two"};
    /* Moments at which nothing can be decided; the first is none at all. */
    static const char *const states[] = {NULL, "", "rcpt", "RCPT TO", "DATA", "END-OF-MESSAGE"};

    if (argc != 2)
        return 64;
    CHECK(maps_api_version() == MAPS_API_VERSION);
    CHECK(strcmp(maps_error(), "") == 0);

    /* A map. */
    snprintf(name, sizeof name, "hash:%s/etc/mail/access", argv[1]);
    CHECK(maps_open(name, &shared) == MAPS_OK);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, many, NULL) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(maps_lookup(shared, "", 0, &value, &octets) == MAPS_NOTFOUND);
    CHECK(maps_lookup(shared, NULL, 0, &value, &octets) == MAPS_NOTFOUND);
    CHECK(maps_lookup(shared, NULL, 3, &value, &octets) == MAPS_USAGE);
    CHECK(maps_lookup(shared, "x", 1, NULL, &octets) == MAPS_USAGE);
    value = name;
    CHECK(maps_lookup(NULL, "x", 1, &value, &octets) == MAPS_USAGE && value == NULL);
    maps_close(shared);
    maps_close(NULL);
    maps_free(NULL);

    /* A map that says it was built with makemap -f is asked for what is asked. */
    snprintf(name, sizeof name, "hash:%s/etc/mail/capitals", argv[1]);
    CHECK(maps_open(name, &map) == MAPS_OK);
    CHECK(maps_lookup(map, "Key", 3, &value, NULL) == MAPS_OK && strcmp(value, "v") == 0);
    maps_free(value);
    CHECK(maps_lookup(map, "key", 3, &value, NULL) == MAPS_NOTFOUND && value == NULL);
    maps_close(map);

    /* Maps that are none. */
    map = shared;
    CHECK(maps_open(NULL, &map) == MAPS_USAGE && map == NULL);
    CHECK(maps_open(name, NULL) == MAPS_USAGE);
    CHECK(maps_open("text:/etc/passwd", &map) == MAPS_USAGE && map == NULL);
    CHECK(strstr(maps_error(), "text:/etc/passwd") != NULL);
    CHECK(maps_open("hash:\xff", &map) == MAPS_USAGE);
    CHECK(maps_open("socketmap:unix:/nowhere/maps", &map) == MAPS_PERM);
    CHECK(maps_open("hash:/nowhere/map", &map) == MAPS_OK);
    CHECK(maps_lookup(map, "x", 1, &value, &octets) == MAPS_TEMP && value == NULL);
    CHECK(strstr(maps_error(), "/nowhere/map.db: No such file") != NULL);
    maps_close(map);
    CHECK(maps_open("socketmap:unix:/nowhere/maps:access", &map) == MAPS_OK);
    CHECK(maps_lookup(map, "x", 1, &value, &octets) == MAPS_TEMP);
    maps_close(map);

    /* A path alone: of a file of any class, and of one that has no suffix. */
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        snprintf(name, sizeof name, "%s/etc/mail/%s", argv[1], paths[i]);
        CHECK(maps_open(name, &map) == MAPS_OK);
        CHECK(maps_lookup(map, "key", 3, &value, &octets) == MAPS_OK && strcmp(value, "v") == 0);
        maps_free(value);
        maps_close(map);
    }
    CHECK(maps_open("/nowhere/map.cdb", &map) == MAPS_OK);
    CHECK(maps_lookup(map, "x", 1, &value, &octets) == MAPS_TEMP);
    CHECK(strstr(maps_error(), "/nowhere/map.cdb: No such file") != NULL);
    maps_close(map);

    ask_who_hangs_up(argv[1]);

    /* A site. */
    site = (maps_site *)name;
    CHECK(maps_site_open("/nowhere", NULL, &site) == MAPS_PERM && site == NULL);
    CHECK(maps_site_open(argv[1], NULL, &site) == MAPS_OK);
    CHECK(maps_site_lookup(site, "virtusertable", "info@shop.example", 17, &value, &octets) == MAPS_OK);
    CHECK(octets == 5 && strcmp(value, "alice") == 0);
    maps_free(value);
    CHECK(maps_site_lookup(site, "virtusertable", "x", 1, &value, NULL) == MAPS_NOTFOUND);
    CHECK(maps_site_lookup(site, "nowhere", "x", 1, &value, NULL) == MAPS_PERM);
    CHECK(maps_site_lookup(site, NULL, "x", 1, &value, NULL) == MAPS_USAGE);
    CHECK(maps_site_lookup(NULL, "access", "x", 1, &value, NULL) == MAPS_USAGE);

    /* Decisions. */
    CHECK(strcmp(decide(site, "a@good.example", "b@example.org", MAPS_ACCEPT), "") == 0);
    CHECK(strcmp(decide(site, "a@spam.example", "b@example.org", MAPS_REFUSE), "550 5.7.1 We know you") == 0);
    CHECK(strcmp(decide(site, "a@held.example", "b@example.org", MAPS_QUARANTINE), "look at this") == 0);
    CHECK(strcmp(decide(site, "a@lost.example", "b@example.org", MAPS_DISCARD), "") == 0);
    CHECK(strncmp(decide(site, "a@good.example", "b@far.example", MAPS_REFUSE), "550 5.7.1 ", 10) == 0);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        maps_session *session = maps_session_new();
        maps_decision *decision = (maps_decision *)session;
        if (states[i])
            CHECK(maps_session_set(session, "protocol_state", states[i]) == MAPS_OK);
        CHECK(maps_session_set(session, "client_address", "192.0.2.1") == MAPS_OK);
        CHECK(maps_session_set(session, "recipient", "b@far.example") == MAPS_OK);
        CHECK(maps_decide(site, session, &decision) == MAPS_USAGE && decision == NULL);
        CHECK(strstr(maps_error(), "protocol_state") != NULL);
        CHECK(maps_decision_action(decision) == MAPS_REFUSE);
        maps_session_free(session);
    }
    CHECK(maps_decide(site, NULL, NULL) == MAPS_USAGE);
    CHECK(maps_session_set(NULL, "sender", "x") == MAPS_USAGE);
    CHECK(maps_decision_action(NULL) == MAPS_REFUSE);
    CHECK(strncmp(maps_decision_reply(NULL), "451 ", 4) == 0);
    CHECK(strcmp(maps_decision_trace(NULL), "") == 0);
    maps_decision_free(NULL);
    maps_session_free(NULL);
    maps_site_close(site);
    maps_site_close(NULL);
    return failed;
}
