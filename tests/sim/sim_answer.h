/* The answers: read from every shard as a query does, and held against the oracle. */
#ifndef WEIR_SIM_ANSWER_H
#define WEIR_SIM_ANSWER_H

#include "cloudd/result.h"
#include "tests/sim/sim_world.h"

struct sim_row {
	int64_t start_ns;
	struct bytes group; /* owned */
	enum window_state state;
	uint64_t revision;
	struct rows_edges edges; /* without names */
	struct partial partial;  /* owned */
};

struct sim_rows {
	struct sim_row *rows; /* by (start, group) */
	size_t count, cap;
	struct partial_spec spec;
	int64_t close_ns, final_ns; /* least of the shards */
	int64_t close_max_ns;
	int64_t kept_max_ns; /* as of when the shard that has forgotten most keeps what it has (result_kept()) */
};

/* `stream` is a version: its place in the world's topology. Only windows that it answers. */

/* The stream's own windows and groups, shard after shard, each as one of its replicas has them; false: w has failed. */
void sim_answer_begin(struct sim_world *w, uint32_t stream, struct sim_rows *ret);
bool sim_answer_add(struct sim_world *w, struct sim_cloud *c, uint32_t shard, uint32_t stream, struct sim_rows *rows);
/* When all shards are there: equal rows of several become one. */
void sim_answer_merge(struct sim_world *w, struct sim_rows *rows);
/* The next rows of a shard's outbox behind the cursor, in its order. */
bool sim_answer_outbox(struct sim_world *w, struct sim_cloud *c, uint32_t shard, uint32_t stream, uint64_t *index,
    uint32_t *n, struct sim_rows *ret);
/* At the end all replicas are equal: any of them. */
struct sim_cloud *sim_answer_replica(struct sim_world *w, uint32_t shard);
void sim_rows_free(struct sim_rows *r);
/* All that the final answers must be. */
void sim_answer_check(struct sim_world *w);

#endif
