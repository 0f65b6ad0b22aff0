/* HTTP GET on the loop, without blocking it: names are resolved by threads of libcurl's own. The only file pair of edged that
 * includes libcurl. All calls on the loop's thread. */
#ifndef WEIR_EDGED_HTTP_GET_H
#define WEIR_EDGED_HTTP_GET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/loop.h"

#define HTTP_GET_REDIRECTS_MAX 5

struct http_getter; /* keeps connections for the next time */
struct http_get;

/* Everything is copied, and lives as long as the fetch. NULL: none of it. */
struct http_get_request {
	const char *url;      /* http:// or https:// */
	const char *accept;   /* of the header Accept */
	const char *token;    /* bearer */
	const char *user, *password;
	const char *ca_file;  /* who vouches for https; NULL: whom this machine trusts */
	int64_t timeout_ms;   /* for all of it, > 0 */
	size_t body_max;      /* bytes, unpacked (gzip) */
};

struct http_get_answer {
	const char *error;    /* NULL: there is an answer; else what happened, for people */
	bool timed_out, too_big;
	long status;
	const char *content_type; /* "" */
	struct buf body;      /* may be taken: then set it to {0} */
};

/* Called once, from the loop, never from within http_get_start; the fetch is gone then. */
typedef void http_get_fn(void *arg, struct http_get_answer *answer);

struct http_getter *http_getter_new(struct loop *l);
void http_getter_free(struct http_getter *f); /* NULL is fine. No fetch may be under way */
struct http_get *http_get_start(struct http_getter *f, const struct http_get_request *r, http_get_fn *fn, void *arg);
void http_get_cancel(struct http_get *f); /* fn is not called */

#endif
