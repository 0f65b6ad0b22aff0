/* Virtual time: what happens next. Events of one instant come in the order in which they were planned. */
#ifndef WEIR_SIM_QUEUE_H
#define WEIR_SIM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sim_event_type {
	SIM_EDGE_TICK,
	SIM_EDGE_FEED,
	SIM_EDGE_START,
	SIM_NODE_TICK,
	SIM_NODE_START,
	SIM_LOG_RUN,
	SIM_LOG_DONE,
	SIM_APPLY_RUN,
	SIM_APPLY_DONE,
	SIM_STATE_COMMIT,
	SIM_STATE_DURABLE,
	SIM_STATE_ABORTED,
	SIM_STATE_LOW,
	SIM_READ_ASK,
	SIM_READ_RUN,
	SIM_SINK_TURN,
	SIM_SINK_DONE,
	SIM_ALERT_TURN,
	SIM_ALERT_PROPOSE,
	SIM_READS,
	SIM_FRAME,
	SIM_FAULT,
	SIM_FAULT_END,
	SIM_SCENARIO,
	SIM_HEAL,
	SIM_CHECK,
	SIM_OPERATE,
	SIM_SINK_ARRIVE,
	SIM_ALERT_ARRIVE,
	SIM_EVENT_TYPES
};
const char *sim_event_text(enum sim_event_type t);

struct sim_event {
	int64_t at_ns;
	uint64_t order;
	enum sim_event_type type;
	uint32_t who;
	uint64_t life; /* of whom it is for: an event for an earlier life of a process is dropped */
	uint64_t arg;
	void *ptr;
};

struct sim_queue {
	struct sim_event *heap;
	size_t count, cap;
	uint64_t order;
};

void sim_queue_put(struct sim_queue *q, struct sim_event e); /* gives it its order */
bool sim_queue_take(struct sim_queue *q, struct sim_event *ret);
void sim_queue_free(struct sim_queue *q); /* of an empty queue, or one whose ptrs are freed elsewhere */

#endif
