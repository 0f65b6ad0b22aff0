/* A binary heap; equal times come out in the order they were put in. */
#include <stdlib.h>

#include "tests/sim/raft/raftsim.h"

static bool before(const struct rs_event *a, const struct rs_event *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void rs_queue_put(struct rs_queue *q, uint64_t at, enum rs_event_kind kind, uint32_t which, uint32_t life)
{
	if (q->count == q->room) {
		q->room = q->room ? q->room * 2 : 1024;
		q->heap = realloc(q->heap, q->room * sizeof(*q->heap));
		if (!q->heap)
			abort();
	}
	struct rs_event e = {.at = at, .order = q->order++, .kind = kind, .which = which, .life = life};
	size_t i = q->count++;
	while (i && before(&e, &q->heap[(i - 1) / 2])) {
		q->heap[i] = q->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	q->heap[i] = e;
}

bool rs_queue_take(struct rs_queue *q, struct rs_event *ret_event)
{
	if (!q->count)
		return false;
	*ret_event = q->heap[0];
	const struct rs_event *e = &q->heap[--q->count];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= q->count)
			break;
		if (child + 1 < q->count && before(&q->heap[child + 1], &q->heap[child]))
			child++;
		if (!before(&q->heap[child], e))
			break;
		q->heap[i] = q->heap[child];
		i = child;
	}
	q->heap[i] = *e;
	return true;
}
