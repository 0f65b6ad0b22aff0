/* The oracle: what every answer must be, computed from the readings themselves, in the most straightforward way.
 *
 * It shares no code with the product beyond the topology's plain structs: it matches, transforms, groups and windows
 * the accepted readings one by one, keeps them all, and works each window out at the end.
 *
 * Where topologies change while it runs, each edge's history says by which one it went from where on. Versions of a stream are as
 * many histories: which readings each takes follows from its phase and from what the edge had read when it first heard of it. That is
 * a model of the edge, to compare all that is stored with. Beside it stands what matters to a user: sim_oracle_gaps(). */
#ifndef WEIR_SIM_ORACLE_H
#define WEIR_SIM_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "tests/sim/sim_plan.h"

/* One line that an edge took from a source, in the order taken. */
struct sim_delivery {
	uint8_t source;
	bool accepted;   /* its readings were accepted; else refused */
	bool certain;    /* must count; else it may (an edge's copy or backup was in play, or it was readmitted) */
	uint32_t line;
	int64_t wall_ns; /* of the edge, then */
};

/* What an edge went by from a place of its history on. Its streams are fed, or not, as common/map.h says of their phases. */
struct sim_adoption {
	size_t at;                       /* so many deliveries were before it */
	const struct topology *topology; /* all versions of a stream next to each other, the oldest first */
	uint32_t edge;                   /* its number there */
};

struct sim_oracle;

/* last: of the last committed map: which versions there are, and what each of them answers. Its streams' places are those of
 * sim_query.stream and of all that is asked below. Outlives the oracle, as the adoptions' do. */
struct sim_oracle *sim_oracle_new(const struct sim_plan *plan, const struct topology *last);
void sim_oracle_free(struct sim_oracle *o);
/* The whole history of one edge, each line at most once. adoptions: ascending, the first one at 0. */
void sim_oracle_edge(struct sim_oracle *o, uint32_t edge, const struct sim_delivery *d, size_t n,
    const struct sim_adoption *adoptions, size_t adoption_count);

/* Over all edges. */
struct sim_totals {
	uint64_t matched;    /* as the edges' ledgers count it: of all streams */
	uint64_t passed;     /* of all versions, those included that the last map does not have */
	uint64_t no_version; /* matched, and no version takes its time */
};
struct sim_totals sim_oracle_totals(const struct sim_oracle *o);
uint64_t sim_oracle_passed(const struct sim_oracle *o, size_t stream); /* readings that partials of this version hold */

/* A reading that was accepted, that a window of the version should hold by the definition alone, and that the version never got. */
enum sim_gap_kind {
	SIM_GAP_EARLY, /* the edge had not heard of it: that window must never be final */
	SIM_GAP_LATE,  /* the edge fed it no more: only what is late can come so late */
	SIM_GAP_LOST   /* there is no reason for it */
};
struct sim_gap {
	uint32_t edge;
	enum sim_gap_kind kind;
	int64_t t_ns;
};
/* Those of a version, only of readings that are certain, and of definitions without stateful steps. Live as long as the oracle. */
size_t sim_oracle_gaps(const struct sim_oracle *o, size_t stream, const struct sim_gap **ret_gaps);

/* Whether t_ns is where `next` may take over from `was`: the beginning of a window of both, where both have such; else of a slice. */
bool sim_oracle_on_boundary(const struct stream_conf *was, const struct stream_conf *next, int64_t t_ns);

struct sim_query {
	size_t stream;
	int64_t size_ns, advance_ns, offset_ns;
	uint32_t by[BY_MAX]; /* indexes into the stream's by */
	uint32_t by_count;
	/* at most one condition: */
	bool where;
	uint32_t where_by;
	const char *where_value;
};

/* One window of one group. */
struct sim_cell {
	int64_t start_ns;
	struct bytes group; /* encoded: for each tag, one byte of length, and the value */
	uint64_t count, certain;
	double min, max, first, last, sum, magnitude, mean, stddev; /* magnitude: sum of |value| */
	const double *values; /* ascending, count of them */
	uint32_t distinct[DISTINCTS_MAX];
};

struct sim_cells {
	struct sim_cell *cells; /* by (start, group bytes) */
	size_t count;
	struct buf groups;
	double *values;
};
void sim_oracle_cells(const struct sim_oracle *o, const struct sim_query *q, struct sim_cells *ret);
void sim_cells_free(struct sim_cells *c);

#endif
