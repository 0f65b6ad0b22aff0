/* The files that HTTP with TLS needs, in the folder of the keys: ca.key and ca.crt (the cluster's own authority), and NAME.tls.key
 * and NAME.tls.crt of each daemon with an http address. */
#ifndef WEIR_CTL_KEYGEN_TLS_H
#define WEIR_CTL_KEYGEN_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/model.h"

struct keygen_tls {
	const char *dir;           /* there already */
	const char *only;          /* this daemon; NULL: all. An edge without http needs nothing */
	bool renew;                /* also where a certificate is there */
	const char *const *hosts;  /* more names and addresses that it is reached by */
	size_t host_count;
};

/* Makes what is missing; the authority only where there is none. Appends a line for each file made to *told. 0, or an
 * error with a sentence in *error; files made before it stay. */
int keygen_tls(const struct topology *t, const struct keygen_tls *k, struct buf *told, struct buf *error);

#endif
