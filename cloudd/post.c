#include "cloudd/post.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/url.h"
#include "config.h"

#define RETRY_AFTER_MAX_S 300

struct post {
	struct post_options o;
	char *url, *ca_file, *origin; /* origin: for messages */
	char *user, *password;
	CURL *curl;
	char why[CURL_ERROR_SIZE];
	/* of the request under way */
	struct post_answer answer;
	size_t kept, got;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct post *post_new(const struct post_options *o)
{
	struct post *p = xcalloc(1, sizeof(*p));
	pthread_once(&once, begin_curl);
	p->o = *o;
	p->url = xstrdup(o->url);
	p->ca_file = o->ca_file ? xstrdup(o->ca_file) : NULL;
	p->user = o->user ? xstrdup(o->user) : NULL;
	p->password = o->user && o->password ? xstrdup(o->password) : NULL;
	const char *host = strstr(p->url, "://");
	size_t n = host ? (size_t)(host - p->url) + 3 : 0;
	p->origin = xstrndup(p->url, n + strcspn(p->url + n, "/?#"));
	p->curl = curl_easy_init();
	weir_assert(p->curl); /* fails for want of memory only */
	return p;
}

void post_free(struct post *p)
{
	if (!p)
		return;
	curl_easy_cleanup(p->curl);
	explicit_bzero(p->url, strlen(p->url));
	if (p->password)
		explicit_bzero(p->password, strlen(p->password));
	free(p->url);
	free(p->user);
	free(p->password);
	free(p->ca_file);
	free(p->origin);
	free(p);
}

/* ---- one request --------------------------------------------------------------------------------------------------- */

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct post *p = arg;
	size_t n = size * count;
	for (size_t i = 0; i < n && p->kept < POST_ANSWER_BYTES - 1; i++)
		p->answer.body[p->kept++] = bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : ' ';
	p->got += n;
	return p->got <= POST_ANSWER_MAX ? n : 0;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	struct post *p = arg;
	(void)down_total, (void)down, (void)up_total, (void)up;
	return p->o.stopping && p->o.stopping(p->o.arg);
}

static void set_up(struct post *p, struct bytes body, struct curl_slist *headers)
{
	curl_easy_reset(p->curl);
	curl_easy_setopt(p->curl, CURLOPT_URL, p->url);
	curl_easy_setopt(p->curl, CURLOPT_USERAGENT, "weir/" VERSION);
	curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(p->curl, CURLOPT_QUICK_EXIT, 1L); /* whoever is to stop does not wait for a name server */
	curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, p->why);
	curl_easy_setopt(p->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)POST_CONNECT_MS);
	curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, (long)(p->o.timeout_ns / NS_PER_MS));
	curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(p->curl, CURLOPT_WRITEDATA, p);
	curl_easy_setopt(p->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(p->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(p->curl, CURLOPT_XFERINFODATA, p);
	curl_easy_setopt(p->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(p->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2); /* or newer */
	curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
	curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, body.n ? (const char *)body.p : "");
	if (p->ca_file) { /* and nobody else: the library's own folder of certificates would count as well */
		curl_easy_setopt(p->curl, CURLOPT_CAINFO, p->ca_file);
		curl_easy_setopt(p->curl, CURLOPT_CAPATH, NULL);
	}
	if (p->user) {
		curl_easy_setopt(p->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(p->curl, CURLOPT_USERNAME, p->user);
		curl_easy_setopt(p->curl, CURLOPT_PASSWORD, p->password ? p->password : "");
	}
	if (url_is_loopback(p->url))
		curl_easy_setopt(p->curl, CURLOPT_NOPROXY, "*");
	p->why[0] = 0;
	p->answer = (struct post_answer){0};
	p->kept = p->got = 0;
}

static struct curl_slist *list_of(const char *const *headers, size_t count)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no waiting for 100 Continue */
	for (size_t i = 0; i < count; i++)
		list = curl_slist_append(list, headers[i]);
	return list;
}

static int64_t retry_after_ns(struct post *p)
{
	curl_off_t seconds = 0;
	curl_easy_getinfo(p->curl, CURLINFO_RETRY_AFTER, &seconds);
	if (seconds < 0)
		seconds = 0;
	return (seconds < RETRY_AFTER_MAX_S ? (int64_t)seconds : RETRY_AFTER_MAX_S) * NS_PER_SEC;
}

/* It has answered, at such length that nobody reads it to the end. */
static bool was_cut(const struct post *p, CURLcode code)
{
	return code == CURLE_WRITE_ERROR && p->got > POST_ANSWER_MAX && p->answer.status;
}

int post_send(struct post *p, const char *const *headers, size_t header_count, struct bytes body, struct post_answer *ret_answer,
    char **ret_why)
{
	struct curl_slist *list = list_of(headers, header_count);
	set_up(p, body, list);
	CURLcode code = curl_easy_perform(p->curl);
	curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &p->answer.status);
	p->answer.retry_after_ns = retry_after_ns(p);
	curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(list);
	if (code && !was_cut(p, code)) {
		*ret_why = xasprintf("%s: %s", p->origin, p->why[0] ? p->why : curl_easy_strerror(code));
		return WEIR_EIO;
	}
	*ret_answer = p->answer;
	return 0;
}
