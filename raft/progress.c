#include "raft/progress.h"

#include <stdlib.h>
#include <string.h>

#include "raft/base.h"

#define INFLIGHT_KEPT 8 /* room that an empty window keeps */

/* ---- the window ------------------------------------------------------------------------------- */

static bool window_full(const struct raft_progress *p, const struct raft_window *w)
{
	return p->inflight_count >= w->messages_max || p->inflight_bytes >= w->bytes_max;
}

static void window_drop(struct raft_progress *p)
{
	free(p->inflight);
	p->inflight = NULL;
	p->inflight_capacity = p->inflight_head = p->inflight_count = 0;
	p->inflight_bytes = 0;
}

static void window_grow(struct raft_progress *p)
{
	uint32_t capacity = p->inflight_capacity ? p->inflight_capacity * 2 : INFLIGHT_KEPT;
	struct raft_inflight *grown = raft_alloc(capacity, sizeof(*grown));
	for (uint32_t i = 0; i < p->inflight_count; i++)
		grown[i] = p->inflight[(p->inflight_head + i) % p->inflight_capacity];
	free(p->inflight);
	p->inflight = grown;
	p->inflight_capacity = capacity;
	p->inflight_head = 0;
}

static void window_add(struct raft_progress *p, uint64_t last, size_t bytes)
{
	if (p->inflight_count == p->inflight_capacity)
		window_grow(p);
	p->inflight[(p->inflight_head + p->inflight_count) % p->inflight_capacity] =
	    (struct raft_inflight){.last = last, .bytes = bytes};
	p->inflight_count++;
	p->inflight_bytes += bytes;
}

static void window_free_one(struct raft_progress *p)
{
	p->inflight_bytes -= p->inflight[p->inflight_head].bytes;
	p->inflight_head = (p->inflight_head + 1) % p->inflight_capacity;
	p->inflight_count--;
}

static void window_free_to(struct raft_progress *p, uint64_t index)
{
	while (p->inflight_count && p->inflight[p->inflight_head].last <= index)
		window_free_one(p);
	if (!p->inflight_count && p->inflight_capacity > INFLIGHT_KEPT)
		window_drop(p);
}

/* ---- states ----------------------------------------------------------------------------------- */

void raft_progress_init(struct raft_progress *p, uint64_t id, uint64_t next, uint64_t now)
{
	*p = (struct raft_progress){.id = id, .state = RAFT_PROBE, .next = next, .heard_at = now};
}

void raft_progress_free(struct raft_progress *p)
{
	window_drop(p);
}

static void enter(struct raft_progress *p, enum raft_progress_state state)
{
	window_drop(p);
	p->state = state;
	p->paused = p->bare = p->quiet = p->stalled = false;
	p->offer_due = state == RAFT_SNAPSHOT;
}

void raft_progress_probe(struct raft_progress *p)
{
	enter(p, RAFT_PROBE);
	p->next = p->match + 1;
}

void raft_progress_snapshot(struct raft_progress *p)
{
	enter(p, RAFT_SNAPSHOT);
}

static void replicate(struct raft_progress *p)
{
	enter(p, RAFT_REPLICATE);
	p->next = p->match + 1;
}

static bool something_is_out(const struct raft_progress *p)
{
	return p->state == RAFT_REPLICATE && p->next > p->match + 1;
}

bool raft_progress_may_send(const struct raft_progress *p, const struct raft_window *w)
{
	switch (p->state) {
	case RAFT_PROBE:
		return !p->paused;
	case RAFT_REPLICATE:
		return p->bare || !window_full(p, w);
	case RAFT_SNAPSHOT:
		return false;
	}
	return false;
}

void raft_progress_sent(struct raft_progress *p, uint64_t last, size_t bytes, const struct raft_window *w)
{
	RAFT_ASSERT(raft_progress_may_send(p, w));
	if (p->state == RAFT_PROBE) {
		p->paused = true; /* `next` stays: a refusal is matched against it */
		return;
	}
	p->bare = false;
	if (last < p->next)
		return;
	window_add(p, last, bytes);
	p->next = last + 1; /* optimistically (D 10.2.1) */
}

void raft_progress_accepted(struct raft_progress *p, uint64_t index, uint64_t base)
{
	if (index > p->match) {
		p->stalled = p->quiet = p->bare = false;
		p->offer_due = p->state == RAFT_SNAPSHOT; /* the log was compacted meanwhile: another one */
	}
	p->match = raft_max(p->match, index);
	p->next = raft_max(p->next, p->match + 1);
	window_free_to(p, index);
	if (p->state == RAFT_PROBE || (p->state == RAFT_SNAPSHOT && p->match >= base))
		replicate(p);
}

bool raft_progress_refused(struct raft_progress *p, uint64_t index, uint64_t guess)
{
	if (p->state == RAFT_SNAPSHOT)
		return false;
	if (index <= p->match) {
		/* Old; or messages were swapped, and one is lost: it is asked, to be sure. */
		p->bare |= something_is_out(p);
		return false;
	}
	if (p->state == RAFT_PROBE && index != p->next - 1)
		return false;
	raft_progress_probe(p);
	p->next = raft_max(p->match, raft_min(guess, index - 1)) + 1;
	return true;
}

void raft_progress_alive(struct raft_progress *p, const struct raft_window *w)
{
	p->bare |= p->paused || p->quiet;
	p->paused = false;
	p->quiet = something_is_out(p);
	if (p->state == RAFT_REPLICATE && p->inflight_count && window_full(p, w))
		window_free_one(p);
}

void raft_progress_check(struct raft_progress *p)
{
	if (p->state == RAFT_SNAPSHOT) {
		p->offer_due = true;
	} else if (p->stalled) {
		raft_progress_probe(p);
	} else {
		p->stalled = something_is_out(p);
	}
}
