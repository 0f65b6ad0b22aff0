/* Intake: which streams a reading belongs to, remembered per series.
 *
 * A series is the raw bytes of measurement and tags as they were sent. The first line of a series is resolved: tags
 * unescaped, sorted, merged with the edge's own (the reading's tag wins); each field of it is bound to the streams that
 * match. Later lines cost one hash and one comparison. What was resolved is not kept, only what it led to: a field that
 * turns up later resolves its line again. The cache is bounded in series and in bytes; when full, series not used since
 * the clock hand passed last are forgotten (they are resolved again when they come back). */
#ifndef WEIR_EDGED_INTAKE_H
#define WEIR_EDGED_INTAKE_H

#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/line.h"
#include "common/model.h"
#include "edged/group.h"
#include "edged/step.h"
#include "edged/stream.h"

#define INTAKE_SERIES_MAX (1024 * 1024)
#define INTAKE_FIELDS_MAX 512 /* of one series */

/* One stream that takes the readings of one field of one series. */
struct intake_binding {
	struct stream *stream;
	struct group *group;         /* NULL: the encoded group is over GROUP_KEY_MAX */
	struct step_binding *steps;
	struct bytes *distinct;      /* values of the stream's distinct tags, spec.distinct_count of them */
};

struct intake_field {
	struct bytes key;
	size_t binding_count;
	struct intake_binding bindings[];
};

struct intake;
struct intake_series;

/* chains: the step chain of each stream of the topology, by index. All stay the caller's and outlive it. */
struct intake *intake_new(const struct topology *t, const struct edge_conf *edge, const struct streams *streams,
    struct groups *groups, struct step_chain *const *chains, size_t bytes_max);
void intake_free(struct intake *in);

/* The series of a line, resolved if it was not known. It lives until the next call. NULL: *ret_error says why the line
 * must be refused. */
struct intake_series *intake_series(struct intake *in, const struct line *l, enum line_error *ret_error);
/* Field number i of the line that intake_series() was given last; lives as the series does. */
const struct intake_field *intake_field(struct intake *in, struct intake_series *s, const struct line *l, size_t i);

size_t intake_series_count(const struct intake *in);
size_t intake_memory(const struct intake *in);

#endif
