/* What the source_*.c files share: the object they extend and the table entry each of them is. Not for others. */
#ifndef WEIR_EDGED_SOURCE_IMPL_H
#define WEIR_EDGED_SOURCE_IMPL_H

#include <stddef.h>

#include "edged/source.h"

/* Each function is as the one of its name in source.h; NULL: nothing to do. pause: s->paused has just changed. */
struct source_ops {
	size_t size; /* of the object that starts with struct source */
	int (*start)(struct source *s, char **ret_why);
	void (*pause)(struct source *s);
	void (*mark)(struct source *s, struct buf *out);
	int (*restore)(struct source *s, struct bytes mark);
	void (*committed)(struct source *s);
	void (*skip_to_end)(struct source *s);
	void (*set_conf)(struct source *s); /* s->conf is the new one */
	void (*free)(struct source *s); /* all but the object itself */
};
extern const struct source_ops source_tcp_ops, source_file_ops, source_stdin_ops, source_simulate_ops;

struct source {
	const struct source_ops *ops;
	struct loop *loop;
	const struct source_conf *conf;
	struct source_io io;
	bool paused, finished;
	struct source_counters counters;
	int64_t log_period_start_ns; /* mono */
	unsigned log_lines;          /* in this period, shown or not */
};

/* A pump is a timer that is started again for each turn. Not 0: libuv before 1.45 runs such a timer again in the same turn,
 * and nothing else ever. After a turn that took longer it does not wait at all. */
#define SOURCE_PUMP_MS 1

/* A parser whose lines and errors go to the source's io. */
struct source_parser {
	struct line_parser lines;
	struct source *source;
	char peer[32]; /* who sends, for messages; "" */
};
void source_parser_init(struct source_parser *p, struct source *s);
void source_parser_free(struct source_parser *p);
/* Feeds and counts. */
void source_feed(struct source_parser *p, const void *data, size_t len);
void source_set_finished(struct source *s, bool finished);
/* Whether a message about the input may be logged now; counts it either way, and tells how many were left out. */
bool source_may_log(struct source *s);

#endif
