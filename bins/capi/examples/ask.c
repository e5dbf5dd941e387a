/*
 * Asks a site as a mail server would: may this client send this mail, and where does the
 * recipient's mail go?
 *
 *   cc ask.c $(pkg-config --cflags --libs libmaps) -o ask
 *   ./ask [--root DIR] 203.0.113.9 host.spam.example a@spam.example sales@example.com
 */
#include <libmaps.h>
#include <stdio.h>
#include <string.h>

/* What a server replies where nobody can tell: the client keeps the mail and comes again. */
static int later(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, maps_error());
    puts("451 4.3.0 Please try again later");
    return 75;
}

int main(int argc, char **argv)
{
    const char *root = NULL;
    if (argc > 2 && strcmp(argv[1], "--root") == 0) {
        root = argv[2];
        argc -= 2;
        argv += 2;
    }
    if (argc != 5) {
        fputs("usage: ask [--root DIR] CLIENT-ADDRESS CLIENT-NAME SENDER RECIPIENT\n", stderr);
        return 64;
    }

    /* Once, when the server starts. Threads may share it, and maps are followed as they change. */
    maps_site *site;
    if (maps_site_open(root, NULL, &site) != MAPS_OK) {
        fprintf(stderr, "the site: %s\n", maps_error());
        return 78;
    }

    /* At RCPT. */
    maps_session *session = maps_session_new();
    maps_session_set(session, "protocol_state", "RCPT");
    maps_session_set(session, "client_address", argv[1]);
    maps_session_set(session, "client_name", argv[2]);
    maps_session_set(session, "sender", argv[3]);
    maps_session_set(session, "recipient", argv[4]);
    maps_decision *decision;
    if (maps_decide(site, session, &decision) != MAPS_OK)
        return later("the decision");
    switch (maps_decision_action(decision)) {
    case MAPS_ACCEPT:
        puts("250 2.1.5 Recipient ok");
        break;
    case MAPS_DISCARD:
        puts("250 2.1.5 Recipient ok (and dropped)");
        break;
    case MAPS_QUARANTINE:
        printf("250 2.1.5 Recipient ok (and held: %s)\n", maps_decision_reply(decision));
        break;
    case MAPS_REFUSE:
    default:
        puts(maps_decision_reply(decision));
    }
    fprintf(stderr, "%s\n", maps_decision_trace(decision));
    maps_decision_free(decision);
    maps_session_free(session);

    /* At delivery: a virtual user first, then an alias. Only MAPS_NOTFOUND means "none". */
    char *value;
    switch (maps_site_lookup(site, "virtusertable", argv[4], strlen(argv[4]), &value, NULL)) {
    case MAPS_OK:
        printf("goes to %s\n", value);
        maps_free(value);
        break;
    case MAPS_NOTFOUND:
        puts("is no virtual user");
        break;
    case MAPS_PERM: /* A site without a virtusertable knows no such map. */
        puts("is no virtual user: there are none");
        break;
    default:
        return later("virtusertable");
    }
    maps_site_close(site);
    return 0;
}
