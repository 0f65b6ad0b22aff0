/* What the files of topology share among themselves, and nobody else uses. */
#ifndef WEIR_COMMON_TOPOLOGY_PARTS_H
#define WEIR_COMMON_TOPOLOGY_PARTS_H

#include "common/clock.h"
#include "common/conf.h"
#include "common/model.h"

#define DAY_NS (86400 * NS_PER_SEC)
#define DURATION_MAX_NS (36500 * DAY_NS) /* so that sums of two do not overflow */
#define TAG_BYTES_MAX 256                /* of a tag's name or a pattern */

/* The table of one item of `edges` (topology_edge.c) and of `streams` (topology_stream.c). */
extern const struct conf_schema topology_edge_schema;
extern const struct conf_schema topology_stream_schema;

/* What a stream is made of, as topology.yaml writes it: appends nothing for what it leaves out. */
enum stream_part {
	STREAM_FROM,
	STREAM_STEPS,
	STREAM_BY,
	STREAM_WINDOW,
	STREAM_LATENESS,
	STREAM_COMPUTE,
	STREAM_RETAIN,
	STREAM_ROLLUP,
	STREAM_EDGES,
	STREAM_MAX_GROUPS,
	STREAM_PARTS
};
extern const char *const topology_stream_keys[STREAM_PARTS];
void topology_stream_part(const struct topology *t, const struct stream_conf *s, enum stream_part part, struct buf *out);
/* Sets the stream's edges to all of t that are in force. */
void topology_expect_all(const struct topology *t, struct stream_conf *s);

/* What needs more than one place of the file (topology_check.c): names, addresses, folders, expected edges; fills in
 * what follows from it. */
void topology_check(struct conf *c, const struct conf_node *root, struct topology *t);

#endif
