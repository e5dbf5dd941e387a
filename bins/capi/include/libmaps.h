/*
 * libmaps: mail maps and decisions for programs in C. See libmaps(3).
 *
 * Everything that a function hands out is the caller's until it is closed or freed by the
 * function named there. A map, a site and a decision may be used by several threads at once;
 * a session by one at a time. After an error maps_error() has its text, in the same thread, and
 * what was to be handed out is null. Pointers are null or point to what the function says, and
 * texts end in a NUL; what was closed or freed is not used again.
 *
 * Made of bins/capi/src by cbindgen: change it there, then UPDATE_GOLDENS=1 cargo test -p capi.
 */
#ifndef LIBMAPS_H
#define LIBMAPS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Grows with every function that is added; what was there stays as it was.
 */
#define MAPS_API_VERSION 1

/**
 * What a function has to say. Only MAPS_NOTFOUND means that there is no such entry.
 */
typedef enum maps_status {
    /**
     * Done; found.
     */
    MAPS_OK = 0,
    /**
     * The key is not in the map, for certain.
     */
    MAPS_NOTFOUND = 1,
    /**
     * Nobody can tell now: keep the mail and try again.
     */
    MAPS_TEMP = 2,
    /**
     * Nobody can tell until somebody mends it: no such map, a bad configuration.
     */
    MAPS_PERM = 3,
    /**
     * The call was wrong: a null pointer, text that is not UTF-8, no protocol_state.
     */
    MAPS_USAGE = 4,
} maps_status;

/**
 * What is to happen to a client, a sender or a recipient.
 */
typedef enum maps_action {
    /**
     * Go on.
     */
    MAPS_ACCEPT = 0,
    /**
     * Refuse with maps_decision_reply().
     */
    MAPS_REFUSE = 1,
    /**
     * Say yes and drop the message.
     */
    MAPS_DISCARD = 2,
    /**
     * Say yes and hold the message; maps_decision_reply() says why.
     */
    MAPS_QUARANTINE = 3,
} maps_action;

/**
 * What is to happen, and why.
 */
typedef struct maps_decision maps_decision;

/**
 * One map, followed as it changes.
 */
typedef struct maps_map maps_map;

/**
 * What is known of the client, the sender and the recipient that are asked about.
 */
typedef struct maps_session maps_session;

/**
 * A site: its configuration, its maps by name, and what decides by them.
 */
typedef struct maps_site maps_site;

/**
 * The MAPS_API_VERSION that the library was built with.
 */
int maps_api_version(void);

/**
 * The text of this thread's last error; valid until the next call in this thread, never null.
 */
const char *maps_error(void);

/**
 * Opens "class:path" (hash:/etc/mail/access, cdb:..., socketmap:unix:/path:name) or a path, that
 * of a file whose octets tell its class; .db may be left out.
 * Each lookup sees the newest map that was published under the name. A map that is not there
 * is told by the first lookup, as one that goes away later is.
 */
enum maps_status maps_open(const char *name, struct maps_map **map);

/**
 * Closes a map; null is none.
 */
void maps_close(struct maps_map *map);

/**
 * The value of a key, which is folded to lower case first, as maps are built; not in a map that
 * says it was built with makemap -f. The value ends in a NUL that is not counted; maps_free()
 * frees it. value_octets may be null.
 */
enum maps_status maps_lookup(struct maps_map *map,
                             const void *key,
                             size_t key_octets,
                             char **value,
                             size_t *value_octets);

/**
 * Frees a value that a lookup handed out; null is none.
 */
void maps_free(char *value);

/**
 * Opens a site: the configuration in file (null: /etc/mail/sendmail.mc), all of its paths
 * taken below root (null: /). Its maps are opened, too, and followed as they change.
 */
enum maps_status maps_site_open(const char *root, const char *file, struct maps_site **site);

/**
 * Closes a site; null is none.
 */
void maps_site_close(struct maps_site *site);

/**
 * As maps_lookup(), in the map that the site knows as access, aliases, authinfo, domaintable,
 * genericstable, mailertable, virtusertable, or by the name of a K line.
 */
enum maps_status maps_site_lookup(struct maps_site *site,
                                  const char *map,
                                  const void *key,
                                  size_t key_octets,
                                  char **value,
                                  size_t *value_octets);

/**
 * A session of which nothing is known yet.
 */
struct maps_session *maps_session_new(void);

/**
 * Says one thing of a session. The attributes are those of Postfix's policy protocol; needed
 * are protocol_state (CONNECT, HELO, EHLO, MAIL or RCPT) and client_address, and from MAIL on
 * sender, at RCPT recipient. client_name only if it was verified. A value may be set again.
 */
enum maps_status maps_session_set(struct maps_session *session,
                                  const char *attribute,
                                  const char *value);

/**
 * Frees a session; null is none.
 */
void maps_session_free(struct maps_session *session);

/**
 * Decides as sendmail's check_relay, check_mail and check_rcpt would. MAPS_ACCEPT at RCPT
 * says that the recipient is ours or that the client may relay. DNS lists are asked, which
 * may take seconds. Without a protocol_state from the list above it is MAPS_USAGE.
 */
enum maps_status maps_decide(struct maps_site *site,
                             const struct maps_session *session,
                             struct maps_decision **decision);

/**
 * What is to happen. A null pointer lets nobody in: MAPS_REFUSE.
 */
enum maps_action maps_decision_action(const struct maps_decision *decision);

/**
 * "550 5.7.1 Access denied", or why a message is held; empty for the other actions.
 */
const char *maps_decision_reply(const struct maps_decision *decision);

/**
 * Every question that was asked and its answer, a line each. No secrets stand in it.
 */
const char *maps_decision_trace(const struct maps_decision *decision);

/**
 * Frees a decision; null is none.
 */
void maps_decision_free(struct maps_decision *decision);

#ifdef __cplusplus
}
#endif

#endif
