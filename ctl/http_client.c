#include "ctl/http_client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "common/addr.h"
#include "common/err.h"

struct http_client {
	CURL *curl;
	char *urls[HTTP_URLS_MAX]; /* without a slash at the end */
	size_t url_count;
	size_t current;            /* the one to ask first */
	char *token, *ca_file;
	bool verbose, trust_any;
	unsigned silence_s;
	const char *header;
	const volatile sig_atomic_t *stop;
	char why[CURL_ERROR_SIZE];
};

/* ---- addresses -------------------------------------------------------------------------------------------- */

/* host[:port] of an URL that begins with its scheme. */
static bool is_loopback(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	size_t len = strcspn(host, "/");
	bool port = memchr(host, ':', len) != NULL;
	char *text = xasprintf("%.*s%s", (int)len, host, port ? "" : ":80");
	struct addr a;
	bool loopback = !addr_parse(text, &a) && addr_is_loopback(&a);
	free(text);
	return loopback;
}

static int add_url(struct http_client *c, const char *text, size_t len, struct buf *error)
{
	bool scheme = len > 7 && (!strncmp(text, "http://", 7) || !strncmp(text, "https://", 8));
	while (len && text[len - 1] == '/')
		len--;
	char *url = xasprintf("%s%.*s", scheme ? "" : c->ca_file ? "https://" : "http://", (int)len, text);
	if (len == 0 || (!scheme && memchr(text, '/', len)) || strpbrk(url, "?#@ ") || c->url_count == HTTP_URLS_MAX) {
		buf_printf(error, "--url: `%.*s` is not an address such as http://127.0.0.1:8101", (int)len, text);
		free(url);
		return WEIR_EINVAL;
	}
	if (c->token && !strncmp(url, "http://", 7) && !is_loopback(url)) {
		buf_printf(error, "--token-file: the token would travel unencrypted to %s; use https://", url);
		free(url);
		return WEIR_EINVAL;
	}
	c->urls[c->url_count++] = url;
	return 0;
}

struct http_client *http_client_new(const char *urls, const char *token, const char *ca_file, bool verbose,
    struct buf *error)
{
	struct http_client *c = xcalloc(1, sizeof(*c));
	c->verbose = verbose;
	c->silence_s = HTTP_SILENCE_S;
	c->token = token ? xstrdup(token) : NULL;
	c->ca_file = ca_file ? xstrdup(ca_file) : NULL;
	for (const char *p = urls;; p++) {
		size_t len = strcspn(p, ",");
		if (add_url(c, p, len, error)) {
			http_client_free(c);
			return NULL;
		}
		p += len;
		if (!*p)
			break;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	c->curl = curl_easy_init();
	weir_assert(c->curl); /* fails for want of memory only */
	return c;
}

struct http_client *http_client_other(const struct http_client *c, const char *address, struct buf *error)
{
	return http_client_other_as(c, address, c->token, error);
}

struct http_client *http_client_other_as(const struct http_client *c, const char *address, const char *token, struct buf *error)
{
	bool tls = !strncmp(c->urls[c->current], "https://", 8), scheme = strstr(address, "://") != NULL;
	char *url = xasprintf("%s%s", scheme ? "" : tls ? "https://" : "http://", address);
	struct http_client *other = http_client_new(url, token, c->ca_file, c->verbose, error);
	free(url);
	if (other)
		other->silence_s = c->silence_s;
	return other;
}

void http_client_set_silence(struct http_client *c, unsigned seconds)
{
	c->silence_s = seconds;
}

void http_client_set_header(struct http_client *c, const char *header)
{
	c->header = header;
}

void http_client_trust_any(struct http_client *c)
{
	weir_assert(!c->token);
	c->trust_any = true;
}

void http_client_set_stop(struct http_client *c, const volatile sig_atomic_t *stop)
{
	c->stop = stop;
}

size_t http_client_next(struct http_client *c)
{
	c->current = (c->current + 1) % c->url_count;
	return c->url_count;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	if (c->curl) {
		curl_easy_cleanup(c->curl);
		curl_global_cleanup();
	}
	for (size_t i = 0; i < c->url_count; i++)
		free(c->urls[i]);
	if (c->token)
		explicit_bzero(c->token, strlen(c->token));
	free(c->token);
	free(c->ca_file);
	free(c);
}

const char *http_client_url(const struct http_client *c)
{
	return c->urls[c->current];
}

/* ---- one transfer ----------------------------------------------------------------------------------------- */

struct transfer {
	struct bytes sent; /* the body of a POST ... */
	size_t read;       /* ... and how much of it libcurl has taken */
	struct http_client *client;
	const volatile sig_atomic_t *stop;
	int (*data)(void *arg, const void *bytes, size_t len); /* of a 200; NULL: into body */
	void *arg;
	struct buf *body;
	bool too_big, stopped;
};

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t n = size * count;
	long status = 0;
	curl_easy_getinfo(t->client->curl, CURLINFO_RESPONSE_CODE, &status);
	if (t->data && status == 200) {
		t->stopped = t->data(t->arg, bytes, n) != 0;
		return t->stopped ? 0 : n;
	}
	if (t->body->len + n > HTTP_BODY_MAX) {
		t->too_big = true;
		return 0;
	}
	buf_put(t->body, bytes, n);
	return n;
}

static size_t on_read(char *room, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t left = t->sent.n - t->read, n = size * count < left ? size * count : left;
	if (n)
		memcpy(room, t->sent.p + t->read, n);
	t->read += n;
	return n;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	struct transfer *t = arg;
	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	if (t->stop && *t->stop)
		t->stopped = true;
	return t->stopped;
}

static struct curl_slist *headers_of(const struct http_client *c, const char *last_event_id)
{
	struct curl_slist *list = NULL;
	if (c->token) {
		char *line = xasprintf("Authorization: Bearer %s", c->token);
		list = curl_slist_append(list, line);
		free(line);
	}
	if (c->header)
		list = curl_slist_append(list, c->header);
	if (last_event_id && *last_event_id) {
		char *line = xasprintf("Last-Event-ID: %s", last_event_id);
		list = curl_slist_append(list, line);
		free(line);
	}
	return list;
}

static void set_up(struct http_client *c, struct transfer *t, const char *method, const char *url,
    struct curl_slist *headers)
{
	curl_easy_reset(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_URL, url);
	curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "weirctl/" VERSION);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->why);
	curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_CONNECT_MS);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2); /* or newer */
	if (c->ca_file)
		curl_easy_setopt(c->curl, CURLOPT_CAINFO, c->ca_file);
	if (c->trust_any) {
		curl_easy_setopt(c->curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(c->curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (is_loopback(url))
		curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
	if (!strcmp(method, "POST")) {
		/* A body that it had as a whole libcurl would send again, and not tell, where the connection that it kept ends without an
		 * answer. It cannot go back in this one. */
		t->read = 0;
		curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->sent.n);
		curl_easy_setopt(c->curl, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(c->curl, CURLOPT_READDATA, t);
	}
	c->why[0] = 0;
}

/* A connection that takes too long to come about, or dies before it answers a question, is as good as none. */
static bool may_try_next(const struct http_client *c, const struct transfer *t, const char *method, CURLcode code)
{
	curl_off_t connected = 0;
	curl_easy_getinfo(c->curl, CURLINFO_CONNECT_TIME_T, &connected);
	if (code == CURLE_COULDNT_RESOLVE_HOST || (code == CURLE_OPERATION_TIMEDOUT && !t->data && !connected))
		return true;
	bool died = code == CURLE_GOT_NOTHING || code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR;
	long status = 0;
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	return died && status == 0 && !strcmp(method, "GET");
}

/* What went wrong, and what to do about it. */
static void put_reason(const struct http_client *c, const char *url, CURLcode code, struct buf *out)
{
	bool plain = !strncmp(url, "http://", 7);
	if (code == CURLE_SEND_FAIL_REWIND) {
		buf_printf(out, "the connection ended before there was an answer");
		return;
	}
	buf_printf(out, "%s", c->why[0] ? c->why : curl_easy_strerror(code));
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		buf_printf(out, "; the cluster's own authority is trusted with --ca-file ca.crt, and the certificate must name the "
				"address asked (`weirctl tls renew NAME --host ...`)");
	else if (code == CURLE_SSL_CACERT_BADFILE)
		buf_printf(out, "; --ca-file must be the cluster's ca.crt");
	else if (code == CURLE_SSL_CONNECT_ERROR)
		buf_printf(out, "; is it plain http://?");
	else if (plain && (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_WEIRD_SERVER_REPLY ||
			      code == CURLE_UNSUPPORTED_PROTOCOL))
		buf_printf(out, "; does it speak TLS? https://, with --ca-file ca.crt");
}

/* Tries the addresses in turn, from the current one, until one is reached; it becomes the current one. */
static CURLcode transfer(struct http_client *c, struct transfer *t, const char *method, const char *path,
    const char *last_event_id, long timeout_ms, struct buf *error)
{
	struct curl_slist *headers = headers_of(c, last_event_id);
	CURLcode code = CURLE_COULDNT_CONNECT;
	for (size_t i = 0; i < c->url_count && code == CURLE_COULDNT_CONNECT; i++) {
		size_t at = (c->current + i) % c->url_count;
		char *url = xasprintf("%s%s", c->urls[at], path);
		if (c->verbose)
			fprintf(stderr, "weirctl: %s %s\n", method, url);
		set_up(c, t, method, url, headers);
		if (t->data)
			curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
		else {
			curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
			curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, (long)c->silence_s);
		}
		CURLcode first = curl_easy_perform(c->curl);
		code = first && may_try_next(c, t, method, first) ? CURLE_COULDNT_CONNECT : first;
		if (code == CURLE_COULDNT_CONNECT) {
			buf_printf(error, "%s%s: ", error->len ? "; " : "", c->urls[at]);
			put_reason(c, url, first, error);
		} else {
			c->current = at;
		}
		free(url);
	}
	curl_slist_free_all(headers);
	return code;
}

int http_client_request(struct http_client *c, const char *method, const char *path, struct bytes sent,
    struct http_answer *ret_answer, struct buf *error)
{
	struct buf body = {0}, why = {0};
	struct transfer t = {.client = c, .stop = c->stop, .body = &body, .sent = sent};
	CURLcode code = transfer(c, &t, method, path, NULL, 0, &why);
	int err = 0;
	if (t.too_big) {
		buf_printf(error, "%s%s: the answer is larger than %d MiB", http_client_url(c), path,
		    HTTP_BODY_MAX / 1024 / 1024);
		err = WEIR_ETOOBIG;
	} else if (code == CURLE_COULDNT_CONNECT) {
		buf_printf(error, "no answer: %s", buf_cstr(&why));
		err = WEIR_EIO;
	} else if (code) {
		buf_printf(error, "%s: ", http_client_url(c));
		put_reason(c, http_client_url(c), code, error);
		err = WEIR_EIO;
	}
	buf_free(&why);
	if (err) {
		buf_free(&body);
		return err;
	}
	curl_off_t retry_s = 0;
	curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &retry_s);
	ret_answer->body = body;
	ret_answer->retry_after_s = (long)retry_s;
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &ret_answer->status);
	return 0;
}

int http_client_stream(struct http_client *c, const char *path, const char *last_event_id, int64_t timeout_ms,
    const volatile sig_atomic_t *stop, int (*data)(void *arg, const void *bytes, size_t len), void *arg,
    long *ret_status, struct buf *ret_body, struct buf *error)
{
	struct buf why = {0};
	struct transfer t = {.client = c, .stop = stop, .data = data, .arg = arg, .body = ret_body};
	CURLcode code = transfer(c, &t, "GET", path, last_event_id, (long)timeout_ms, &why);
	*ret_status = 0;
	if (code != CURLE_COULDNT_CONNECT)
		curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, ret_status);
	int err = 0;
	if (code && !t.stopped && !(timeout_ms && code == CURLE_OPERATION_TIMEDOUT)) {
		if (code == CURLE_COULDNT_CONNECT) {
			buf_printf(error, "no answer: %s", buf_cstr(&why));
		} else {
			buf_printf(error, "%s: ", http_client_url(c));
			put_reason(c, http_client_url(c), code, error);
		}
		err = WEIR_EIO;
	}
	buf_free(&why);
	return err;
}

void http_put_encoded(struct buf *b, const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
	for (; *text; text++) {
		if (strchr(plain, *text))
			buf_u8(b, (uint8_t)*text);
		else
			buf_printf(b, "%%%02X", (unsigned)(unsigned char)*text);
	}
}
