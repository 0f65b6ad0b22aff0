/* What an operator does in a seed: topology files one after the other, nodes stopped, lost and retired. Part of the plan: made from the
 * seed alone. */
#ifndef WEIR_SIM_SCRIPT_H
#define WEIR_SIM_SCRIPT_H

#include "tests/sim/sim_plan.h"

/* Of what closes, and of what is final (sim_sink.c). */
enum { SIM_SINK_ALL = 1, SIM_SINK_FINAL = 2, SIM_SINKS = SIM_SINK_ALL | SIM_SINK_FINAL };

/* A topology file in parts, so that the next one can differ in some. */
struct sim_text {
	uint32_t shards, replicas;
	int64_t partitioned_after_s, replace_after_s; /* the latter 0: the default */
	bool has[SIM_CLOUDS_MAX];                     /* cloud-1 .. */
	unsigned sinks;                               /* those of the world that it has: SIM_SINK_ */
	struct buf rest;                              /* edges and streams; owned */
};

void sim_text_put(const struct sim_text *t, struct buf *out);
/* Which kind of changes a seed has: most have none. */
enum sim_script { SCRIPT_NONE, SCRIPT_GROW_SHRINK, SCRIPT_FIRST_THREE, SCRIPT_REPLACE, SCRIPT_LEAVE_DOWN, SCRIPT_RETURN, SCRIPT_DEAD, SCRIPTS };
enum sim_script sim_script_pick(struct sim_rand *r);
/* The cluster that such a script begins with. */
void sim_script_begin(enum sim_script s, struct sim_rand *r, struct sim_text *t);
/* Appends the changes; t: the topology that the world begins with, and in the end the last one. */
void sim_script_members(struct sim_plan *p, enum sim_script s, struct sim_rand *r, struct sim_text *t);

#endif
