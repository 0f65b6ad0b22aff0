#include "ctl/poster.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/gzip.h"
#include "ctl/ctl.h"

#define PATH "/api/v2/write?precision=ns"
#define GZIP_HEADER "Content-Encoding: gzip"

bool poster_takes(const char *to)
{
	return !strncmp(to, "http://", 7) || !strncmp(to, "https://", 8);
}

void poster_free(struct poster *p)
{
	buf_free(&p->packed);
}

static bool is_stopped(const struct poster *p)
{
	return p->stop && *p->stop;
}

static int stopped(struct buf *error)
{
	buf_printf(error, "stopped");
	return WEIR_EBUSY;
}

/* False: stopped. */
static bool wait_s(struct poster *p, int64_t seconds)
{
	int64_t end = clock_mono_ns() + seconds * NS_PER_SEC;
	while (!is_stopped(p) && clock_mono_ns() < end) {
		struct timespec t = {0, POSTER_WAIT_MS * NS_PER_MS};
		nanosleep(&t, NULL);
		if (p->waiting)
			p->waiting(p->arg);
	}
	return !is_stopped(p);
}

/* {"code": ..., "message": ...} as InfluxDB 2 says it, else as Weir does. */
static void put_message(const struct http_answer *a, struct buf *out)
{
	json_t *all = json_loadb((const char *)a->body.data, a->body.len, 0, NULL);
	const char *message = all ? json_string_value(json_object_get(all, "message")) : NULL;
	if (message)
		buf_printf(out, "%s", message);
	else
		ctl_put_api_error(a->status, &a->body, out);
	json_decref(all);
}

/* Lines that were refused while others count: how many, or 0 where the answer says nothing of lines. */
static uint64_t count_dropped(const char *message)
{
	const char *at = NULL;
	for (const char *next = message; (next = strstr(next, " dropped=")) != NULL; next++)
		at = next; /* the last one: lines are quoted before it */
	return at ? strtoull(at + strlen(" dropped="), NULL, 10) : 0;
}

/* 5xx: it began with the piece and did not end. */
static int judge(struct poster *p, const struct http_answer *a, struct buf *told, struct buf *error)
{
	struct buf message = {0};
	if (a->status / 100 == 2)
		return 0;
	put_message(a, &message);
	uint64_t dropped = a->status == 400 ? count_dropped(buf_cstr(&message)) : 0;
	p->refused += dropped;
	if (dropped)
		buf_printf(told, "%s", buf_cstr(&message));
	else
		buf_printf(error, "%s: %s", http_client_url(p->http), buf_cstr(&message));
	buf_free(&message);
	return dropped ? 0 : a->status / 100 == 5 ? WEIR_EIO : WEIR_EINVAL;
}

int poster_send(struct poster *p, const void *bytes, size_t len, struct buf *told, struct buf *error)
{
	struct bytes body = bytes_of(bytes, len);
	if (p->gzip) {
		buf_clear(&p->packed);
		gzip_pack(bytes, len, &p->packed);
		body = bytes_of(p->packed.data, p->packed.len);
	}
	http_client_set_header(p->http, p->gzip ? GZIP_HEADER : NULL);
	http_client_set_stop(p->http, p->stop);
	for (;;) {
		struct http_answer a;
		if (http_client_request(p->http, "POST", PATH, body, &a, error)) {
			if (is_stopped(p)) {
				buf_clear(error);
				return stopped(error);
			}
			return WEIR_EIO;
		}
		bool full = a.status == 503 || a.status == 429;
		int64_t seconds = a.retry_after_s < 1 ? 1 : a.retry_after_s > POSTER_RETRY_MAX_S ? POSTER_RETRY_MAX_S : a.retry_after_s;
		int rc = full ? 0 : judge(p, &a, told, error);
		buf_free(&a.body);
		if (!full)
			return rc;
		if (!wait_s(p, seconds))
			return stopped(error);
	}
}
