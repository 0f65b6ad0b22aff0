/* What the HTTP server counts. */
#include <stdio.h>

#include "common/http_internal.h"
#include "common/stats.h"

#define NAME_MAX_HERE 100

void http_counters(const struct http_server *s, struct http_counters *ret)
{
	pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&s->mutex;
	ret->requests = atomic_load_explicit(&s->requests, memory_order_relaxed);
	ret->busy = atomic_load_explicit(&s->busy, memory_order_relaxed);
	for (size_t i = 0; i < 6; i++)
		ret->answered[i] = atomic_load_explicit(&s->answered[i], memory_order_relaxed);
	for (size_t i = 0; i < HTTP_DENIALS; i++)
		ret->denied[i] = atomic_load_explicit(&s->denied[i], memory_order_relaxed);
	for (size_t i = 0; i < HTTP_WHYS; i++)
		ret->ended[i] = atomic_load_explicit(&s->ended[i], memory_order_relaxed);
	pthread_mutex_lock(mutex);
	ret->open = http_guard_open(s->guard);
	ret->open_max = http_guard_open_max(s->guard);
	pthread_mutex_unlock(mutex);
}

struct family {
	char name[NAME_MAX_HERE];
	struct stats_family f;
};

static void begin(struct family *f, const char *prefix, const char *name, const char *help, enum stats_type type,
    const char *label, struct buf *out)
{
	snprintf(f->name, sizeof(f->name), "%s_http_%s", prefix, name);
	f->f = (struct stats_family){.name = f->name, .help = help, .type = type, .labels = {label}};
	stats_write_head(out, &f->f);
}

static void put_one(const char *prefix, const char *name, const char *help, enum stats_type type, uint64_t value,
    struct buf *out)
{
	struct family f;
	begin(&f, prefix, name, help, type, NULL, out);
	stats_write_u64(out, &f.f, NULL, value);
}

void http_put_metrics(struct http_server *s, const char *prefix, struct buf *out)
{
	static const char *const classes[6] = {NULL, "1xx", "2xx", "3xx", "4xx", "5xx"};
	static const char *const denials[HTTP_DENIALS] = {"no_token", "bad_token", "throttled", "role", "cross_origin"};
	struct http_counters c;
	struct family f;
	http_counters(s, &c);
	put_one(prefix, "requests_total", "HTTP requests", STATS_COUNTER, c.requests, out);
	begin(&f, prefix, "responses_total", "HTTP answers by class", STATS_COUNTER, "class", out);
	for (size_t i = 2; i < 6; i++)
		stats_write_u64(out, &f.f, &classes[i], c.answered[i]);
	begin(&f, prefix, "denied_total", "HTTP requests without the right to be answered", STATS_COUNTER, "reason", out);
	for (size_t i = 0; i < HTTP_DENIALS; i++)
		stats_write_u64(out, &f.f, &denials[i], c.denied[i]);
	begin(&f, prefix, "connections_ended_total", "HTTP connections not let in or put out", STATS_COUNTER, "reason", out);
	for (unsigned i = HTTP_WHY_NONE + 1; i < HTTP_WHYS; i++) {
		const char *why = http_guard_why_text((enum http_guard_why)i);
		stats_write_u64(out, &f.f, &why, c.ended[i]);
	}
	put_one(prefix, "busy_total", "HTTP requests refused because all connections were in use", STATS_COUNTER, c.busy, out);
	put_one(prefix, "connections", "HTTP connections", STATS_GAUGE, c.open, out);
	put_one(prefix, "connections_max", "HTTP connections that may be open at once", STATS_GAUGE, c.open_max, out);
	if (!s->auth)
		return;
	struct tls_server *t = http_auth_tls(s->auth);
	put_one(prefix, "handshakes_refused_total", "TLS handshakes over the limit of one second", STATS_COUNTER,
	    tls_server_refused(t), out);
	begin(&f, prefix, "certificate_expiry_timestamp_seconds", "When the certificate in use expires", STATS_GAUGE, NULL, out);
	stats_write(out, &f.f, NULL, (double)tls_server_expires_s(t));
}
