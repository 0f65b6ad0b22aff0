/* raft/progress: what a leader knows of one other member (D 3.5's nextIndex and matchIndex; 10.2.1's pipeline). Internal.
 *
 *              refused, unreachable, nothing acknowledged for long
 *          +----------------------------------------------------+
 *          v                                                    |
 *        PROBE -------------- accepted ------------------> REPLICATE
 *          |  one message, then wait for its result             |  a stream, as far as the window goes
 *          |                                                    |
 *          +--- next <= base ---> SNAPSHOT <--- next <= base ---+
 *                                    |  nothing but offers
 *                                    +--- it has the base: REPLICATE
 */
#ifndef RAFT_PROGRESS_H
#define RAFT_PROGRESS_H

#include "raft/raft.h"

struct raft_inflight {
	uint64_t last; /* index of a message's last entry */
	size_t bytes;
};

struct raft_progress {
	uint64_t id;
	enum raft_progress_state state;
	uint64_t match; /* acknowledged: durable there */
	uint64_t next;  /* to be sent */
	bool paused;    /* PROBE: a probe is out */
	bool bare;      /* the next message goes without entries: it only asks. PROBE: one with entries was not answered, as a slow
	                   disk holds it up, or the network lost it; REPLICATE: so it is with the stream */
	bool quiet;     /* REPLICATE: nothing was acknowledged since the last heartbeat came back, though something is out */
	bool offer_due; /* SNAPSHOT: to be offered (again) */
	bool stalled;   /* nothing was acknowledged since the leader looked last, though something is out */
	uint64_t heard_at; /* leader's ticks */
	uint64_t round; /* of the latest heartbeat that came back (D 6.4) */
	uint64_t applied; /* as that one said; 0: no state */
	/* The window: messages sent in REPLICATE and not acknowledged, oldest first. */
	struct raft_inflight *inflight; /* message i is at (head + i) modulo capacity */
	uint32_t inflight_capacity, inflight_head, inflight_count;
	size_t inflight_bytes;
};

struct raft_window {
	uint32_t messages_max;
	size_t bytes_max;
};

/* A new one: nothing is known to match; `next` is a guess that the probe corrects. */
void raft_progress_init(struct raft_progress *p, uint64_t id, uint64_t next, uint64_t now);
void raft_progress_free(struct raft_progress *p);

void raft_progress_probe(struct raft_progress *p); /* from what is known to match */
void raft_progress_snapshot(struct raft_progress *p);

/* May an AppendEntries be sent now? */
bool raft_progress_may_send(const struct raft_progress *p, const struct raft_window *w);
/* One was, with entries up to `last`. */
void raft_progress_sent(struct raft_progress *p, uint64_t last, size_t bytes, const struct raft_window *w);
/* All up to `index` is there; the leader's log begins behind `base`. */
void raft_progress_accepted(struct raft_progress *p, uint64_t index, uint64_t base);
/* The entry at `index` is not there as it is here; `guess` might be. False: an old message, nothing was changed. */
bool raft_progress_refused(struct raft_progress *p, uint64_t index, uint64_t guess);
/* A heartbeat came back: one more message may go, where a lost one or a lost result would hold all up. Two came back, and
 * no acknowledgement in between: it is asked for. */
void raft_progress_alive(struct raft_progress *p, const struct raft_window *w);
/* To be called now and then: a stream that got no acknowledgement in between is given up. */
void raft_progress_check(struct raft_progress *p);

#endif
