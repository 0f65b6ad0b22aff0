#include "tests/sim/sim_queue.h"

#include <stdlib.h>

#include "common/err.h"

const char *sim_event_text(enum sim_event_type t)
{
	static const char *const texts[SIM_EVENT_TYPES] = {"edge_tick", "edge_feed", "edge_start", "node_tick",
	    "node_start", "log_run", "log_done", "apply_run", "apply_done", "state_commit", "state_durable",
	    "state_aborted", "state_low", "read_ask", "read_run", "sink_turn", "sink_done", "alert_turn", "alert_propose",
	    "reads", "frame", "fault", "fault_end", "scenario", "heal", "check", "operate", "sink_arrive", "alert_arrive"};
	return texts[t];
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void sim_queue_put(struct sim_queue *q, struct sim_event e)
{
	if (q->count == q->cap) {
		q->cap = q->cap ? 2 * q->cap : 256;
		q->heap = xrealloc(q->heap, q->cap * sizeof(*q->heap));
	}
	e.order = ++q->order;
	size_t i = q->count++;
	for (; i > 0 && before(&e, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
		q->heap[i] = q->heap[(i - 1) / 2];
	q->heap[i] = e;
}

bool sim_queue_take(struct sim_queue *q, struct sim_event *ret)
{
	if (!q->count)
		return false;
	*ret = q->heap[0];
	struct sim_event last = q->heap[--q->count];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= q->count)
			break;
		if (child + 1 < q->count && before(&q->heap[child + 1], &q->heap[child]))
			child++;
		if (!before(&q->heap[child], &last))
			break;
		q->heap[i] = q->heap[child];
		i = child;
	}
	if (q->count)
		q->heap[i] = last;
	return true;
}

void sim_queue_free(struct sim_queue *q)
{
	free(q->heap);
	*q = (struct sim_queue){0};
}
