/* Alerts in the simulator: what the leader's thread does (sim_alert.c), and what must hold of it
 * (sim_alert_check.c). */
#ifndef WEIR_SIM_ALERT_H
#define WEIR_SIM_ALERT_H

#include "cloudd/alert_json.h"
#include "cloudd/sink.h"
#include "tests/sim/sim_world.h"

/* An event as a sink's receiver got it. */
struct sim_alert_got {
	uint8_t sink;
	char id[ALERT_ID_BYTES];
	uint64_t digest; /* of all that it says */
};

/* Where an alert began: by the log of its shard. */
struct sim_alert_begin {
	uint32_t group, id;
	int64_t judged_ns;
};

struct sim_alert_world {
	struct sim_rand rand;
	struct sim_alert_got *got; /* each time that it came */
	size_t count, cap;
	struct sim_alert_begin *begins;
	size_t begin_count;
};

struct sim_alert_got sim_alert_got_of(size_t sink, const struct alert_event *e);
/* Events on their way to a sink's receiver. */
void sim_alert_send(
    struct sim_world *w, size_t sink, const struct sink_alerts *b, size_t count, int64_t in_ns);

#endif
