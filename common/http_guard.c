#include "common/http_guard.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/err.h"

#define MOST 100
#define FAILURE_NS (HTTP_GUARD_FAILURE_MS * NS_PER_MS)

/* A bucket that leaks one failure each FAILURE_NS. */
struct failer {
	uint32_t address;
	bool used;
	int64_t full_until_ns; /* when the last of its failures is forgotten */
};

struct http_guard {
	struct http_guard_limits limits;
	struct http_guard_conn *first;
	unsigned open, reserved; /* without those cut; open includes reserved */
	struct failer failers[HTTP_GUARD_FAILERS_MAX];
};

const char *http_guard_why_text(enum http_guard_why why)
{
	static const char *const texts[HTTP_WHYS] = {[HTTP_WHY_NONE] = "none", [HTTP_WHY_LIMIT] = "limit",
	    [HTTP_WHY_ADDRESS_LIMIT] = "address_limit", [HTTP_WHY_REPLACED] = "replaced", [HTTP_WHY_SLOW_HEAD] = "slow_head",
	    [HTTP_WHY_IDLE] = "idle", [HTTP_WHY_SLOW_BODY] = "slow_body", [HTTP_WHY_SLOW_READER] = "slow_reader",
	    [HTTP_WHY_MALFORMED] = "malformed", [HTTP_WHY_REVOKED] = "revoked"};
	return texts[why];
}

struct http_guard *http_guard_new(const struct http_guard_limits *limits)
{
	struct http_guard *g = xcalloc(1, sizeof(*g));
	weir_assert(limits->connections_max && limits->connections_max + limits->reserve <= HTTP_GUARD_CONNECTIONS_MAX);
	g->limits = *limits;
	return g;
}

void http_guard_free(struct http_guard *g)
{
	if (!g)
		return;
	for (struct http_guard_conn *c = g->first, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(g);
}

struct http_guard_conn *http_guard_first(struct http_guard *g)
{
	return g->first;
}

unsigned http_guard_open(const struct http_guard *g)
{
	return g->open;
}

unsigned http_guard_open_max(const struct http_guard *g)
{
	return g->limits.connections_max;
}

void http_guard_cut(struct http_guard *g, struct http_guard_conn *c)
{
	if (c->cut)
		return;
	c->cut = true;
	g->open--;
	g->reserved -= c->reserve;
}

/* ---- who is let in -------------------------------------------------------------------------------------------- */

/* How readily a connection is given up for another: 0 not at all. */
static int worth_little(const struct http_guard_conn *c, int64_t now_ns)
{
	int64_t age_ns = now_ns - c->since_ns;
	if (c->cut || age_ns < HTTP_GUARD_YOUNG_MS * NS_PER_MS)
		return 0;
	if (c->phase == HTTP_PHASE_HEAD)
		return c->kept ? 2 : 3;
	return age_ns >= HTTP_GUARD_SLOW_MS * NS_PER_MS ? 1 : 0;
}

static struct http_guard_conn *find_victim(const struct http_guard *g, const uint32_t *address, int64_t now_ns)
{
	struct http_guard_conn *victim = NULL;
	int best = 0;
	for (struct http_guard_conn *c = g->first; c; c = c->next) {
		if (address && c->address != *address)
			continue;
		int worth = worth_little(c, now_ns);
		worth += worth && !c->reserve ? MOST : 0; /* an ordinary place first: it is worth more to who comes */
		if (worth > best || (worth && worth == best && c->since_ns < victim->since_ns)) {
			best = worth;
			victim = c;
		}
	}
	return victim;
}

static unsigned count_address(const struct http_guard *g, uint32_t address)
{
	unsigned n = 0;
	for (const struct http_guard_conn *c = g->first; c; c = c->next)
		n += !c->cut && c->address == address;
	return n;
}

enum http_guard_why http_guard_admit(struct http_guard *g, uint32_t address, int64_t now_ns, bool *ret_reserve,
    struct http_guard_conn **ret_victim)
{
	bool address_full = count_address(g, address) >= g->limits.per_address_max;
	bool full = g->open - g->reserved >= g->limits.connections_max;
	*ret_reserve = false;
	*ret_victim = NULL;
	if (!address_full && !full)
		return HTTP_WHY_NONE;
	struct http_guard_conn *victim = find_victim(g, address_full ? &address : NULL, now_ns);
	if (victim) {
		*ret_reserve = victim->reserve; /* its place, of whatever kind */
		http_guard_cut(g, victim);
		*ret_victim = victim;
		return HTTP_WHY_NONE;
	}
	if (g->reserved < g->limits.reserve) {
		*ret_reserve = true;
		return HTTP_WHY_NONE;
	}
	return address_full ? HTTP_WHY_ADDRESS_LIMIT : HTTP_WHY_LIMIT;
}

struct http_guard_conn *http_guard_add(struct http_guard *g, int fd, uint32_t address, bool reserve, int64_t now_ns)
{
	struct http_guard_conn *c = xcalloc(1, sizeof(*c));
	c->fd = fd;
	c->address = address;
	c->reserve = reserve;
	c->since_ns = now_ns;
	c->next = g->first;
	if (g->first)
		g->first->prev = c;
	g->first = c;
	g->open++;
	g->reserved += reserve;
	return c;
}

void http_guard_remove(struct http_guard *g, struct http_guard_conn *c)
{
	http_guard_cut(g, c);
	if (c->prev)
		c->prev->next = c->next;
	else
		g->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	free(c);
}

/* ---- who stays ------------------------------------------------------------------------------------------------ */

void http_guard_phase(struct http_guard_conn *c, enum http_phase phase, uint64_t received, uint64_t acked, int64_t now_ns)
{
	c->phase = phase;
	c->since_ns = now_ns;
	c->base_bytes = phase == HTTP_PHASE_ANSWER ? acked : received;
	if (phase == HTTP_PHASE_HEAD)
		c->kept = true;
}

/* Begins a new stretch when the peer owes nothing or has kept its pace. */
static bool is_behind(const struct http_guard *g, struct http_guard_conn *c, uint64_t bytes, bool owes, int64_t now_ns)
{
	uint64_t pace = (uint64_t)g->limits.bytes_per_s * g->limits.stall_ms / 1000;
	if (!owes || bytes - c->base_bytes >= pace) {
		c->since_ns = now_ns;
		c->base_bytes = bytes;
	}
	return now_ns - c->since_ns >= g->limits.stall_ms * NS_PER_MS;
}

/* libmicrohttpd on a loop does not see it. */
static bool is_left(struct http_guard_conn *c, bool ended, int64_t now_ns)
{
	if (ended && !c->ended_ns)
		c->ended_ns = now_ns;
	return ended && now_ns - c->ended_ns >= HTTP_GUARD_ENDED_MS * NS_PER_MS;
}

static enum http_guard_why find_overdue(const struct http_guard *g, struct http_guard_conn *c,
    const struct http_guard_sample *s, int64_t now_ns)
{
	int64_t age_ns = now_ns - c->since_ns;
	switch (c->phase) {
	case HTTP_PHASE_HEAD:
		if (is_left(c, s->ended, now_ns))
			return c->kept ? HTTP_WHY_IDLE : HTTP_WHY_MALFORMED;
		if (c->kept)
			return age_ns >= g->limits.idle_ms * NS_PER_MS ? HTTP_WHY_IDLE : HTTP_WHY_NONE;
		return age_ns >= g->limits.head_ms * NS_PER_MS ? HTTP_WHY_SLOW_HEAD : HTTP_WHY_NONE;
	case HTTP_PHASE_BODY:
		if (is_left(c, s->ended, now_ns))
			return HTTP_WHY_MALFORMED;
		return is_behind(g, c, s->received, true, now_ns) ? HTTP_WHY_SLOW_BODY : HTTP_WHY_NONE;
	case HTTP_PHASE_ANSWER:
		return is_behind(g, c, s->acked, s->unread, now_ns) ? HTTP_WHY_SLOW_READER : HTTP_WHY_NONE;
	}
	return HTTP_WHY_NONE;
}

enum http_guard_why http_guard_watch(struct http_guard *g, struct http_guard_conn *c, const struct http_guard_sample *s,
    int64_t now_ns)
{
	if (c->cut)
		return HTTP_WHY_NONE;
	enum http_guard_why why = find_overdue(g, c, s, now_ns);
	if (why)
		http_guard_cut(g, c);
	return why;
}

/* ---- who guesses ---------------------------------------------------------------------------------------------- */

bool http_guard_failed(struct http_guard *g, uint32_t address, int64_t now_ns)
{
	struct failer *f = &g->failers[0];
	for (size_t i = 0; i < HTTP_GUARD_FAILERS_MAX; i++) {
		struct failer *x = &g->failers[i];
		if (x->used && x->address == address) {
			f = x;
			break;
		}
		if (f->used && (!x->used || x->full_until_ns < f->full_until_ns))
			f = x;
	}
	if (!f->used || f->address != address || f->full_until_ns < now_ns)
		*f = (struct failer){address, true, now_ns};
	if (f->full_until_ns - now_ns > (HTTP_GUARD_FAILURES - 1) * FAILURE_NS)
		return false;
	f->full_until_ns += FAILURE_NS;
	return true;
}
