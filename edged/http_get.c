#include "edged/http_get.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "common/err.h"

struct http_getter {
	struct loop *loop;
	CURLM *multi;
	struct loop_timer *timer;
};

/* A descriptor of libcurl's that is watched. */
struct watched {
	struct http_getter *fetcher;
	int fd;
	struct loop_fd *watch;
};

struct http_get {
	struct http_getter *fetcher;
	CURL *easy;
	struct curl_slist *headers;
	http_get_fn *fn;
	void *arg;
	size_t body_max;
	struct buf body;
	bool too_big;
	char why[CURL_ERROR_SIZE];
};

/* ---- one fetch -------------------------------------------------------------------------------------------- */

static void http_get_free(struct http_get *f)
{
	curl_multi_remove_handle(f->fetcher->multi, f->easy);
	curl_easy_cleanup(f->easy);
	curl_slist_free_all(f->headers);
	buf_free(&f->body);
	free(f);
}

static void finish(struct http_get *f, CURLcode code)
{
	struct http_get_answer a = {.too_big = f->too_big, .timed_out = code == CURLE_OPERATION_TIMEDOUT, .content_type = ""};
	char *type = NULL;
	char *why = NULL;
	if (f->too_big)
		why = xasprintf("the answer is larger than %zu bytes", f->body_max);
	else if (code)
		why = xstrdup(f->why[0] ? f->why : curl_easy_strerror(code));
	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &a.status);
	curl_easy_getinfo(f->easy, CURLINFO_CONTENT_TYPE, &type);
	if (type)
		a.content_type = type;
	a.error = why;
	a.body = f->body;
	f->body = (struct buf){0};
	f->fn(f->arg, &a);
	buf_free(&a.body);
	free(why);
	http_get_free(f);
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct http_get *f = arg;
	size_t n = size * count;
	if (n > f->body_max - f->body.len) {
		f->too_big = true;
		return 0;
	}
	buf_put(&f->body, bytes, n);
	return n;
}

/* ---- libcurl's events ------------------------------------------------------------------------------------- */

static void take_finished(struct http_getter *f)
{
	CURLMsg *m;
	int left;
	while ((m = curl_multi_info_read(f->multi, &left))) {
		struct http_get *fetch = NULL;
		CURLcode code = m->data.result;
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
		finish(fetch, code);
	}
}

static void act(struct http_getter *f, curl_socket_t fd, int what)
{
	int running;
	curl_multi_socket_action(f->multi, fd, what, &running);
	take_finished(f);
}

static void on_event(void *arg, unsigned events)
{
	struct watched *w = arg;
	int what = (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
	act(w->fetcher, w->fd, what);
}

static void unwatch(struct http_getter *f, curl_socket_t fd, struct watched *w)
{
	if (!w)
		return;
	curl_multi_assign(f->multi, fd, NULL);
	loop_fd_free(w->watch);
	free(w);
}

static struct watched *watch(struct http_getter *f, curl_socket_t fd)
{
	struct watched *w = xcalloc(1, sizeof(*w));
	w->fetcher = f;
	w->fd = fd;
	if (loop_fd_new(f->loop, fd, on_event, w, &w->watch)) {
		free(w); /* the timeout will end it */
		return NULL;
	}
	curl_multi_assign(f->multi, fd, w);
	return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
	(void)easy;
	struct http_getter *f = arg;
	struct watched *w = assigned;
	if (what == CURL_POLL_REMOVE) {
		unwatch(f, fd, w);
		return 0;
	}
	if (!w)
		w = watch(f, fd);
	if (w)
		loop_fd_watch(w->watch, (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0));
	return 0;
}

static void on_timer(void *arg)
{
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
	(void)multi;
	struct http_getter *f = arg;
	if (timeout_ms < 0)
		loop_timer_stop(f->timer);
	else
		loop_timer_start(f->timer, (uint64_t)timeout_ms, 0);
	return 0;
}

/* ---- outside ---------------------------------------------------------------------------------------------- */

struct http_getter *http_getter_new(struct loop *l)
{
	struct http_getter *f = xcalloc(1, sizeof(*f));
	curl_global_init(CURL_GLOBAL_DEFAULT);
	f->loop = l;
	f->multi = curl_multi_init();
	weir_assert(f->multi); /* fails for want of memory only */
	f->timer = loop_timer_new(l, on_timer, f);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	return f;
}

void http_getter_free(struct http_getter *f)
{
	if (!f)
		return;
	curl_multi_cleanup(f->multi);
	loop_timer_free(f->timer);
	free(f);
	curl_global_cleanup();
}

static void set_credentials(CURL *easy, const struct http_get_request *r)
{
	if (r->token) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
		curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, r->token);
	}
	if (r->user) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERNAME, r->user);
		curl_easy_setopt(easy, CURLOPT_PASSWORD, r->password ? r->password : "");
	}
	if (r->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, r->ca_file);
}

static void set_up(struct http_get *f, const struct http_get_request *r)
{
	CURL *easy = f->easy;
	/* A redirection never leads from TLS into the open. */
	const char *redirects = !strncmp(r->url, "https:", 6) ? "https" : "http,https";
	curl_easy_setopt(easy, CURLOPT_URL, r->url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, f);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, f->why);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "weir-edged/" VERSION);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, f->headers);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)HTTP_GET_REDIRECTS_MAX);
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, redirects);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2); /* or newer */
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Else a fetch that ends while a name is being resolved waits for that, and the loop with it. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	set_credentials(easy, r);
}

struct http_get *http_get_start(struct http_getter *f, const struct http_get_request *r, http_get_fn *fn, void *arg)
{
	struct http_get *new = xcalloc(1, sizeof(*new));
	new->fetcher = f;
	new->fn = fn;
	new->arg = arg;
	new->body_max = r->body_max;
	new->easy = curl_easy_init();
	weir_assert(new->easy);
	if (r->accept) {
		char *line = xasprintf("Accept: %s", r->accept);
		new->headers = curl_slist_append(NULL, line);
		free(line);
	}
	set_up(new, r);
	curl_multi_add_handle(f->multi, new->easy); /* begins by its timer */
	return new;
}

void http_get_cancel(struct http_get *f)
{
	http_get_free(f);
}
