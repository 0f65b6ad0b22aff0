/* Certificates for a cluster: an authority of its own, and one certificate for each daemon, signed by it. ECDSA over P-256, X.509 v3,
 * PEM. Reads the system's random numbers, and nothing else. */
#ifndef WEIR_COMMON_TLS_MAKE_H
#define WEIR_COMMON_TLS_MAKE_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define TLS_CA_DAYS 3650
#define TLS_NODE_DAYS 730
#define TLS_NAMES_MAX 32 /* of one certificate */

struct tls_pem {
	struct buf crt, key; /* key: of a private key; tls_pem_free overwrites it */
};

void tls_pem_free(struct tls_pem *p);
/* An authority for this cluster, valid from an hour before now_s (seconds since the epoch), with that key (PEM): what an authority of the same
 * key has signed, it vouches for. NULL: with a new one. WEIR_EINVAL (it is no key) with *ret_why, the caller's to free. */
int tls_make_ca(const char *cluster, const struct buf *own_key, int64_t now_s, struct tls_pem *ret_ca, char **ret_why);
/* A certificate for a server that is reached as these: IPv4 addresses or DNS names. It ends no later than its authority.
 * WEIR_EINVAL (the authority's files are none, or do not belong together) with *ret_why, the caller's to free. */
int tls_make_node(const struct tls_pem *ca, const char *name, const char *const *hosts, size_t host_count, int64_t now_s,
    struct tls_pem *ret_node, char **ret_why);

#endif
