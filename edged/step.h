/* Steps: what a stream does to each reading before it is aggregated.
 *
 * Each type is one struct step_ops in a file of its own, listed in step.c. A chain is the steps of one stream in the
 * file's order, with the state of those that have one: per series (measurement, all tags, field), at most
 * `max_series` of them per step; a new series over the limit is dropped, with that reason. Changed states are part of
 * the next checkpoint. */
#ifndef WEIR_EDGED_STEP_H
#define WEIR_EDGED_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/model.h"
#include "edged/hash.h"
#include "edged/ledger.h"
#include "edged/table.h"

struct step_reading {
	int64_t t_ns;
	double value;
};

#define STEP_PASS (-1)

/* The value of a tag, "" where it is missing. */
struct step_tags {
	struct bytes (*value)(const void *arg, const char *key);
	const void *arg;
};

struct step_ops {
	const char *name;
	/* STEP_PASS, with *r as it goes on, or why it is dropped (enum drop). state: of the reading's series, or NULL. */
	int (*run)(const struct step_conf *c, void *state, struct step_reading *r);
	/* Whether all readings of a series with these tags pass; NULL: yes. Asked once per series. */
	bool (*admits)(const struct step_conf *c, const struct step_tags *tags);
	/* Steps with state; a zeroed one is that of a series never seen. */
	size_t state_bytes; /* 0: none */
	void (*clear)(void *state);
	size_t (*memory)(const void *state); /* beyond state_bytes */
	void (*encode)(const void *state, struct buf *out);
	int (*decode)(const struct step_conf *c, struct rd *r, void *state); /* into a zeroed one */
};

extern const struct step_ops step_range, step_scale, step_dedupe, step_rate, step_where;

struct step_chain;

/* What one (series, stream) knows of its chain. */
struct step_binding {
	struct hash128 series;
	uint32_t refused_by;                /* the first step that admits no reading of the series, or UINT32_MAX */
	struct step_state *states[STEPS_MAX]; /* found when first needed; they live as long as the chain */
};

struct step_chain *step_chain_new(const struct stream_conf *stream);
void step_chain_free(struct step_chain *c);
void step_chain_bind(const struct step_chain *c, struct hash128 series, const struct step_tags *tags,
    struct step_binding *ret_binding);
/* STEP_PASS or the reason (enum drop). The result is finite. */
int step_chain_run(struct step_chain *c, struct step_binding *b, struct step_reading *r);
size_t step_chain_memory(const struct step_chain *c);

/* Checkpoint: states changed since step_chain_committed(), in the order of their first change. */
#define STEP_KEY_BYTES 17 /* step number, series */
void step_chain_changed(const struct step_chain *c,
    void (*each)(void *arg, const uint8_t key[STEP_KEY_BYTES], struct bytes value), void *arg);
void step_chain_committed(struct step_chain *c);
/* WEIR_ECORRUPT: not a state of this chain. */
int step_chain_restore(struct step_chain *c, const uint8_t key[STEP_KEY_BYTES], struct bytes value);

#endif
