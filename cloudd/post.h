/* POSTs to somebody else's HTTP server, one after the other over a connection that is kept; for sinks. The only file pair of cloudd
 * that includes libcurl. Blocks, for the timeout at most; one thread.
 *
 * http and https (TLS 1.2 or newer, the certificate checked); no redirects are followed, as what is sent may be secret; proxies as the
 * environment says (http_proxy, https_proxy, no_proxy), but for loopback. */
#ifndef WEIR_CLOUDD_POST_H
#define WEIR_CLOUDD_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define POST_CONNECT_MS 5000
#define POST_ANSWER_BYTES 512 /* of an answer's body that are kept, for people; the rest is read and dropped */
#define POST_ANSWER_MAX (1024 * 1024) /* ... up to here: then the connection is closed, and the status counts */
#define POST_HEADERS_MAX 64

struct post;

struct post_options {
	const char *url;     /* copied, as the next */
	const char *ca_file; /* who alone may vouch for the server; NULL: whom the system trusts */
	const char *user, *password; /* of basic authentication; copied; NULL: none */
	int64_t timeout_ns;  /* of one request, all in all */
	void *arg;
	bool (*stopping)(void *arg); /* asked now and then (once a second at least): true ends the request */
};

struct post_answer {
	long status;            /* 200 ... */
	int64_t retry_after_ns; /* as the answer asks for; 0: it does not */
	char body[POST_ANSWER_BYTES]; /* its beginning as one line of text: what is no printable ASCII is a space */
};

struct post *post_new(const struct post_options *o);
void post_free(struct post *p); /* NULL is fine */
/* headers: lines "Name: value", of the caller's content type and whatever else. 0: any status; WEIR_EIO: there was no
 * answer, with *ret_why (fresh, for people; the address is in it, but no path or query, which may be secret). */
int post_send(struct post *p, const char *const *headers, size_t header_count, struct bytes body, struct post_answer *ret_answer,
    char **ret_why);

#endif
