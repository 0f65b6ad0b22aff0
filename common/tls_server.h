/* The certificate of a TLS server, exchanged while it runs: each handshake takes the newest. Any thread.
 *
 * libmicrohttpd asks for it through one callback without an argument, so connections are bound to their server by
 * descriptor, from before their handshake until they are closed. */
#ifndef WEIR_COMMON_TLS_SERVER_H
#define WEIR_COMMON_TLS_SERVER_H

#include <stdint.h>

#define TLS_CHAIN_MAX 10          /* certificates in a file */
#define TLS_RETIRED_KEPT_S 60     /* a handshake that began with the old certificate must be over by then */
/* No version below 1.2, no key exchange without forward secrecy. */
#define TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA"

struct tls_server;

/* PEM files: the certificate with those that vouch for it, its key (common/secret). handshakes_per_s: those over it are
 * broken off, for a handshake costs thousands of times what it costs to ask for one; 0: no limit. WEIR_EINVAL,
 * WEIR_ENOTFOUND, WEIR_ETOOBIG or WEIR_EIO with *ret_why, the caller's to free. */
int tls_server_new(const char *crt_path, const char *key_path, unsigned handshakes_per_s, struct tls_server **ret_server,
    char **ret_why);
/* Reads the files again. On an error what was there stays in use. */
int tls_server_reload(struct tls_server *t, char **ret_why);
void tls_server_free(struct tls_server *t); /* no connection may be bound; NULL is fine */
/* Seconds since the epoch at which the certificate in use expires. */
int64_t tls_server_expires_s(struct tls_server *t);
uint64_t tls_server_refused(struct tls_server *t); /* handshakes over the limit */

void tls_server_bind(struct tls_server *t, int fd);
void tls_server_unbind(int fd);
/* A gnutls_certificate_retrieve_function2. */
void *tls_server_callback(void);

#endif
