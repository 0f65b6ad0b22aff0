/* Linearizable reads without entries: D 6.4's ReadIndex. No clock is trusted: D 6.4.1's leases are not used.
 */
#include "raft/internal.h"

#include <stdlib.h>

static struct raft_pending_read *read_at(const struct raft_reads *q, size_t i)
{
	return &q->at[(q->head + i) % q->capacity];
}

static void reads_grow(struct raft_reads *q)
{
	size_t capacity = q->capacity ? q->capacity * 2 : 8;
	struct raft_pending_read *grown = raft_alloc(capacity, sizeof(*grown));
	for (size_t i = 0; i < q->count; i++)
		grown[i] = *read_at(q, i);
	free(q->at);
	q->at = grown;
	q->capacity = capacity;
	q->head = 0;
}

int raft_read_index(struct raft *r, uint64_t context)
{
	struct raft_reads *q = &r->reads;
	if (r->role != RAFT_LEADER)
		return RAFT_ENOTLEADER;
	if (q->count == RAFT_READS_MAX)
		return RAFT_EBUSY;
	if (q->count == q->capacity)
		reads_grow(q);
	*read_at(q, q->count++) = (struct raft_pending_read){.read = {.context = context}};
	r->counters.reads++;
	raft_reads_begin(r);
	return 0;
}

/* Until an entry of its term is committed, a leader may not know of all that is (D 6.4, step 1). From then on
 * its commit index, as of the call, is the read's (step 2), and the next round of heartbeats is to confirm it
 * (step 3). */
void raft_reads_begin(struct raft *r)
{
	struct raft_reads *q = &r->reads;
	if (q->begun == q->count || (!raft_own_term_committed(r) && RULE(RAFT_RULE_READ_OWN_TERM)))
		return;
	for (; q->begun < q->count; q->begun++) {
		struct raft_pending_read *p = read_at(q, q->begun);
		p->read.index = r->commit;
		p->round = r->lead->round + 1;
	}
	r->lead->round_due = true;
	raft_reads_confirm(r);
}

static uint64_t round_of(const void *arg, uint64_t id)
{
	const struct raft *r = arg;
	if (id == r->options.id)
		return UINT64_MAX;
	const struct raft_progress *p = raft_progress_of(r, id);
	return p ? p->round : 0;
}

void raft_reads_confirm(struct raft *r)
{
	struct raft_reads *q = &r->reads;
	if (q->answered == q->begun)
		return;
	uint64_t reached = raft_quorum_reached(raft_config_of(r), round_of, r);
	for (; q->answered < q->begun; q->answered++) {
		struct raft_pending_read *p = read_at(q, q->answered);
		if (p->round > reached && RULE(RAFT_RULE_READ_ROUND))
			return;
		p->read.ok = true;
	}
}

void raft_reads_fail(struct raft *r)
{
	struct raft_reads *q = &r->reads;
	for (; q->answered < q->count; q->answered++)
		read_at(q, q->answered)->read =
		    (struct raft_read){.context = read_at(q, q->answered)->read.context};
	q->begun = q->count;
}

bool raft_pop_read(struct raft *r, struct raft_read *ret_read)
{
	struct raft_reads *q = &r->reads;
	if (!q->answered)
		return false;
	*ret_read = read_at(q, 0)->read;
	q->head = (q->head + 1) % q->capacity;
	q->count--;
	q->answered--;
	q->begun--;
	if (!q->count) {
		free(q->at);
		*q = (struct raft_reads){0};
	}
	return true;
}
