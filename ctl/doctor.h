/* What is wrong with a cluster, and what to do: from what its nodes answered. Pure: `weirctl doctor` asks the nodes. */
#ifndef WEIR_CTL_DOCTOR_H
#define WEIR_CTL_DOCTOR_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/findings.h"

#define DOCTOR_PASSING_S 3 /* what passes by itself and counters are looked at again after so long */

/* One cloud node, asked by itself. What it did not answer is NULL. */
struct doctor_node {
	char *name, *http;
	char *error;      /* why it could not be asked; NULL: it answers */
	char *not_ready;  /* what its /readyz says where it is not ready; NULL: ready */
	char *metrics;    /* text of its /metrics */
	json_t *cluster;  /* its own /api/v1/cluster */
};

/* One edge that has `http`, asked for its metrics. */
struct doctor_edge {
	char *name;
	char *metrics; /* NULL with error */
	char *error;
};

struct doctor_look {
	struct doctor_node *nodes;
	size_t node_count;
	struct doctor_edge *asked_edges;
	size_t asked_edge_count;
	json_t *cluster, *edges, *streams;  /* as whoever was asked first answered */
	char *edges_error, *streams_error;  /* why they could not be asked; NULL: they were */
	int64_t now_s;                      /* wall clock, since the epoch */
};

void doctor_look_clear(struct doctor_look *l);
/* Adds to *f what is found now. before: an earlier look, to tell counters that rise from old ones; NULL: none. */
void doctor_examine(const struct doctor_look *before, const struct doctor_look *now, struct findings *f);

/* Parts of it. */
void doctor_examine_nodes(const struct doctor_look *before, const struct doctor_look *now, struct findings *f); /* and replicas */
void doctor_examine_metrics(const struct doctor_look *before, const struct doctor_look *now, struct findings *f);
void doctor_examine_edges(const struct doctor_look *before, const struct doctor_look *now, struct findings *f); /* and streams */
void doctor_examine_sources(const struct doctor_look *l, struct findings *f);  /* of edges that were asked */

#endif
