/* For the tests of sources: a loop, a temporary folder, and what a source gave out as text. */
#ifndef WEIR_TESTS_SOURCE_LIB_H
#define WEIR_TESTS_SOURCE_LIB_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/loop.h"
#include "common/model.h"
#include "edged/source.h"

struct sink {
	struct loop *loop;
	struct loop_timer *tick; /* so that waiting turns return */
	struct source *source;
	struct buf out;          /* "SERIES KEY=VALUE ...\n"; refusals as "!REASON\n" */
	size_t lines;
	int64_t time_ns;         /* of the last line; INT64_MIN: it had none */
	bool finished;
	unsigned commits_wanted;
	const char *refusal;     /* lines are refused for that; NULL: taken */
	char folder[64];
};

void sink_open(struct sink *k);
void sink_close(struct sink *k);
/* A new source; mark NULL: none. Fails the test when it cannot start. */
void sink_start(struct sink *k, const struct source_conf *conf, const struct buf *mark);
/* Without a goodbye: what a crash does. The output is kept. */
void sink_crash(struct sink *k);
/* Turns of the loop until done() or, the test failed, half a minute. */
void sink_until(struct sink *k, bool (*done)(struct sink *k));
/* What a checkpoint does. */
void sink_commit(struct sink *k);
/* Until the output is exactly this; then clears it. */
void sink_expect(struct sink *k, const char *text);
/* Until this has come, and takes it away: of a source that goes on by itself, and may be further already. */
void sink_expect_next(struct sink *k, const char *text);
/* Turns until nothing comes any more: what is ready is read. */
void sink_settle(struct sink *k);
const char *sink_path(struct sink *k, const char *name); /* static */
void sink_write(struct sink *k, const char *name, const char *text);  /* a new file, or truncated in place */
void sink_append(struct sink *k, const char *name, const char *text);
void sink_rename(struct sink *k, const char *from, const char *to);

#endif
