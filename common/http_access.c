/* Who may send which request: tokens and roles, the reserve, other sites' web pages. */
#include <string.h>
#include <strings.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/http_internal.h"

#define HOST_MAX 256

static unsigned role_of_access(enum http_access access)
{
	switch (access) {
	case HTTP_ADMIN:
		return TOKEN_ADMIN;
	case HTTP_WRITE:
	case HTTP_WRITE_ARG:
		return TOKEN_WRITE;
	case HTTP_READ:
		return TOKEN_READ;
	case HTTP_OPEN:
		return 0;
	}
	return TOKEN_ADMIN;
}

static enum http_refusal deny(struct http_request *r, enum http_denial why, enum http_refusal refusal)
{
	atomic_fetch_add_explicit(&r->server->denied[why], 1, memory_order_relaxed);
	return refusal;
}

/* ---- other sites ---------------------------------------------------------------------------------------------- */

/* An address or localhost, not a name that someone else's DNS can point at this machine. */
static bool is_own_name(const char *host)
{
	struct addr a;
	char text[HOST_MAX];
	bool port = strchr(host, ':') != NULL;
	if (strlen(host) + sizeof(":80") > sizeof(text))
		return false;
	memcpy(text, host, strlen(host) + 1);
	if (!port)
		memcpy(text + strlen(host), ":80", sizeof(":80"));
	return !addr_parse(text, &a);
}

/* A browser says in Origin whose page made it send this; others do not send one. Reading is not held back here: another
 * site's page cannot see the answers. */
static bool is_cross_origin(const struct http_request *r)
{
	const char *origin = http_header(r, "Origin"), *host = http_header(r, "Host");
	if (!origin || !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD"))
		return false;
	const char *origin_host = strstr(origin, "://");
	if (!origin_host || !host || strcasecmp(origin_host + 3, host))
		return true;
	return !r->server->auth && !is_own_name(host);
}

/* ---- tokens --------------------------------------------------------------------------------------------------- */

static enum http_refusal fail(struct http_request *r)
{
	struct http_server *s = r->server;
	pthread_mutex_lock(&s->mutex);
	bool patient = http_guard_failed(s->guard, r->conn->guard->address, clock_mono_ns());
	pthread_mutex_unlock(&s->mutex);
	return patient ? deny(r, HTTP_BAD_TOKEN, HTTP_REFUSE_UNAUTHORISED) : deny(r, HTTP_THROTTLED, HTTP_REFUSE_THROTTLED);
}

/* What it says of itself; WEIR_ENOTFOUND: nothing. */
static int find_token(const struct http_request *r, uint8_t hash[TOKEN_HASH_BYTES])
{
	const char *header = http_header(r, "Authorization"), *arg = NULL;
	if (header)
		return token_hash_of_header(header, hash);
	if (r->route && r->route->access == HTTP_WRITE_ARG)
		arg = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, "p");
	if (!arg || strlen(arg) > TOKEN_HEADER_MAX)
		return WEIR_ENOTFOUND;
	token_hash(arg, strlen(arg), hash);
	return 0;
}

static enum http_refusal check_token(struct http_request *r, unsigned wanted)
{
	struct http_server *s = r->server;
	uint8_t hash[TOKEN_HASH_BYTES];
	int rc = find_token(r, hash);
	if (rc == WEIR_ENOTFOUND)
		return deny(r, HTTP_NO_TOKEN, HTTP_REFUSE_UNAUTHORISED);
	unsigned role = rc ? 0 : http_auth_role(s->auth, hash);
	if (!role)
		return fail(r);
	if (role < wanted)
		return deny(r, HTTP_ROLE, HTTP_REFUSE_ROLE);
	pthread_mutex_lock(&s->mutex);
	r->conn->authorised = true;
	r->conn->role = wanted;
	memcpy(r->conn->hash, hash, sizeof(hash));
	pthread_mutex_unlock(&s->mutex);
	return HTTP_FINE;
}

/* Unknown paths are told to those only who may read. */
enum http_refusal http_access_check(struct http_request *r)
{
	unsigned wanted = r->route ? role_of_access(r->route->access) : TOKEN_READ;
	enum http_refusal refusal = HTTP_FINE;
	if (r->server->auth && wanted)
		refusal = check_token(r, wanted);
	if (!refusal && is_cross_origin(r))
		refusal = deny(r, HTTP_CROSS_ORIGIN, HTTP_REFUSE_CROSS_ORIGIN);
	if (!refusal && !r->route)
		refusal = HTTP_REFUSE_NOT_FOUND;
	if (!refusal && r->conn->guard->reserve && !r->route->vital) {
		atomic_fetch_add_explicit(&r->server->busy, 1, memory_order_relaxed);
		refusal = HTTP_REFUSE_BUSY;
	}
	return refusal;
}

void http_access_refuse(struct http_request *r)
{
	switch (r->refusal) {
	case HTTP_REFUSE_UNAUTHORISED:
		http_add_header(r, "WWW-Authenticate", "Basic realm=\"weir\", charset=\"UTF-8\"");
		http_add_header(r, "WWW-Authenticate", "Bearer realm=\"weir\"");
		http_reply_error(r, 401, "unauthorized",
		    "a token is needed, and none that is valid was sent: Authorization: Bearer TOKEN (`weirctl token add` makes one)");
		break;
	case HTTP_REFUSE_THROTTLED:
		http_add_header(r, "Retry-After", "6");
		http_add_header(r, "Connection", "close");
		http_reply_error(r, 429, "too_many_failures", "too many wrong tokens came from this address");
		break;
	case HTTP_REFUSE_ROLE:
		http_reply_error(r, 403, "forbidden", "this needs a token with the role %s",
		    token_role_text((enum token_role)role_of_access(r->route ? r->route->access : HTTP_READ)));
		break;
	case HTTP_REFUSE_CROSS_ORIGIN:
		http_reply_error(r, 403, "cross_origin", "a web page of another site may not send this");
		break;
	case HTTP_REFUSE_BUSY:
		http_add_header(r, "Retry-After", "1");
		http_add_header(r, "Connection", "close");
		http_reply_error(r, 503, "unavailable", "too many connections: all are in use");
		break;
	case HTTP_REFUSE_BODIES:
		http_add_header(r, "Retry-After", "1");
		http_reply_error(r, 503, "unavailable", "too many bytes of requests are waiting here: send this again");
		break;
	case HTTP_FINE:
	case HTTP_REFUSE_NOT_FOUND:
		weir_assert(false); /* http.c's */
	}
}
