/* What an HTTP server knows of certificates and tokens: in the folder of the keys, NAME.tls.crt, NAME.tls.key and tokens
 * (each rather from $CREDENTIALS_DIRECTORY, where it is there; weir.tls.crt and weir.tls.key there are anybody's).
 * All three are read again when they change; one that is broken then changes nothing. Any thread. */
#ifndef WEIR_COMMON_HTTP_AUTH_H
#define WEIR_COMMON_HTTP_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/tls_server.h"
#include "common/tokens.h"

#define HTTP_HANDSHAKES_PER_S_MAX 200

struct http_auth;

/* WEIR_EINVAL, WEIR_ENOTFOUND ... with *ret_why, which says what to do; the caller's to free. */
int http_auth_open(const char *keys_dir, const char *name, struct http_auth **ret_auth, char **ret_why);
void http_auth_close(struct http_auth *a); /* NULL is fine */
struct tls_server *http_auth_tls(struct http_auth *a);
/* What the holder of this token may do now; 0: nobody's. */
unsigned http_auth_role(struct http_auth *a, const uint8_t hash[TOKEN_HASH_BYTES]);

/* Looks whether a file has changed, and takes it over; a few system calls. Returns whether tokens changed. What happened is
 * told once for each change (a file that could not be read is tried again each time): *ret_notice a text for people (the caller's to free) or NULL, *ret_bad whether it is a problem. */
bool http_auth_poll(struct http_auth *a, char **ret_notice, bool *ret_bad);

#endif
