/* HTTP to the cloud: one request after the other, to the first of several addresses that answers. The only file pair
 * that includes libcurl. One thread. */
#ifndef WEIR_CTL_HTTP_CLIENT_H
#define WEIR_CTL_HTTP_CLIENT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"

#define HTTP_URLS_MAX 64
#define HTTP_BODY_MAX (256 * 1024 * 1024) /* bytes of one answer */
#define HTTP_CONNECT_MS 3000
#define HTTP_SILENCE_S 60                 /* an answer that gives nothing for so long is given up */

struct http_client;

struct http_answer {
	long status;     /* 200 ... */
	struct buf body; /* the caller's to free */
	long retry_after_s; /* what it says of trying again; 0: nothing */
};

/* urls: "http://127.0.0.1:8101,127.0.0.1:8102"; token: sent as bearer, or NULL; ca_file: who may
 * vouch for https servers, NULL: whom the system trusts; verbose: each request is told on
 * stderr. NULL with a sentence appended to *error: no address, or one that is no http(s) URL, or a token that would
 * leave this machine unencrypted. All are copied. */
struct http_client *http_client_new(const char *urls, const char *token, const char *ca_file, bool verbose,
    struct buf *error);
void http_client_free(struct http_client *c); /* NULL is fine */
/* A client of one other address ("HOST:PORT", or an URL), with the scheme of c's current address, its token, silence and who vouches.
 * NULL as above. */
struct http_client *http_client_other(const struct http_client *c, const char *address, struct buf *error);
/* The same with another token, for who is not to see c's; NULL: none is sent. */
struct http_client *http_client_other_as(const struct http_client *c, const char *address, const char *token, struct buf *error);
/* An answer that gives nothing for so long is given up: HTTP_SILENCE_S at first. */
void http_client_set_silence(struct http_client *c, unsigned seconds);
/* "NAME: VALUE", sent with each request from now on, beside what else is; a text that outlives the client. NULL: none. */
void http_client_set_header(struct http_client *c, const char *header);
/* Whatever certificate is shown is taken, from now on: for a question that tells nothing to a daemon of this machine. Of a client without a
 * token (asserted). */
void http_client_trust_any(struct http_client *c);
/* Once *stop is not 0, http_client_request ends with WEIR_EIO. */
void http_client_set_stop(struct http_client *c, const volatile sig_atomic_t *stop);
/* Begins with the next address from now on; returns how many there are. */
size_t http_client_next(struct http_client *c);
/* The address that answered last, or the first one. */
const char *http_client_url(const struct http_client *c);

/* method: "GET" or "POST"; body: of a POST, may be empty; sent once at most, to one address, but for one that does not come about; path: begins
 * with a slash, encoded. 0 with an answer of any status; else WEIR_EIO (no address answered), WEIR_ETOOBIG, with why appended to *error. */
int http_client_request(struct http_client *c, const char *method, const char *path, struct bytes body,
    struct http_answer *ret_answer, struct buf *error);

/* Reads an endless answer: calls data() for each piece of a 200, until the peer ends it, data() returns non-zero, *stop
 * becomes non-zero or timeout_ms (0: none) have passed. 0: ended in one of these ways; WEIR_EIO: no address answered,
 * or the connection broke, with why in *error. *ret_status: of the answer, 0 without one; the body of an answer other
 * than 200 is appended to *ret_body. last_event_id: sent where not "". */
int http_client_stream(struct http_client *c, const char *path, const char *last_event_id, int64_t timeout_ms,
    const volatile sig_atomic_t *stop, int (*data)(void *arg, const void *bytes, size_t len), void *arg,
    long *ret_status, struct buf *ret_body, struct buf *error);

/* Appends text percent-encoded for a query or a path segment: all but letters, digits and - _ . ~ */
void http_put_encoded(struct buf *b, const char *text);

#endif
