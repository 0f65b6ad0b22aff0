/* What the source_*.c files share: the object they extend and the table entry each of them is. Not for others. */
#ifndef WEIR_EDGED_SOURCE_IMPL_H
#define WEIR_EDGED_SOURCE_IMPL_H

#include <stddef.h>

#include "common/stats.h"
#include "edged/source.h"

/* Each function is as the one of its name in source.h; NULL: nothing to do. pause: s->paused has just changed. */
struct source_ops {
	size_t size; /* of the object that starts with struct source */
	int (*start)(struct source *s, char **ret_why);
	void (*pause)(struct source *s);
	bool (*drain)(struct source *s);
	void (*mark)(struct source *s, struct buf *out);
	int (*restore)(struct source *s, struct bytes mark);
	void (*committed)(struct source *s);
	void (*skip_to_end)(struct source *s);
	void (*set_conf)(struct source *s); /* s->conf is the new one */
	void (*free)(struct source *s); /* all but the object itself */
	/* What sources of this type count beside lines and bytes, label "source"; at most SOURCE_FAMILIES_MAX. Types may have
	 * families of the same name. values: one for each, in their order. */
	const struct stats_family *families;
	size_t family_count;
	void (*values)(const struct source *s, uint64_t *ret_values);
	uint16_t (*port)(const struct source *s); /* NULL: it listens on none */
};
#define SOURCE_FAMILIES_MAX 16
#define SOURCE_OPS(constant, name) extern const struct source_ops source_##name##_ops;
SOURCE_TYPES(SOURCE_OPS)
#undef SOURCE_OPS

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

/* A pump is a timer that is started again for each turn, so that others get theirs (common/loop.h). After a turn that took longer
 * it does not wait at all. */
#define SOURCE_PUMP_MS 1

/* A parser whose lines and errors go to the source's io. */
struct source_parser {
	struct line_parser lines;
	struct source *source;
	char peer[32]; /* who sends, for messages; "" */
	unsigned times; /* each of its lines counts so often: 1 */
	/* What was refused of it, beside counting and logging it; NULL: nobody wants to know. why: a label; text: the line's start, as far
	 * as it is known (line.h). */
	void (*refused)(void *arg, uint64_t number, const char *why, struct bytes text);
	void *refused_arg;
};
/* Timestamps are in the unit that s->conf says, or nanoseconds. */
void source_parser_init(struct source_parser *p, struct source *s);
void source_parser_free(struct source_parser *p);
/* Something of another form than line protocol is refused: counted, and logged with the start of its text and `why`, a text for
 * people. reason: a label (source_io). */
void source_refuse(struct source_parser *p, const char *reason, const char *why, struct bytes text);
/* Feeds and counts. */
void source_feed(struct source_parser *p, const void *data, size_t len);
void source_set_finished(struct source *s, bool finished);
/* Somebody waits for what was given to io so far to be durable: source_committed() comes soon (source.h). */
void source_want_commit(struct source *s);
/* Whether a message about the input may be logged now; counts it either way, and tells how many were left out. */
bool source_may_log(struct source *s);

#endif
