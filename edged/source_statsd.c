/* StatsD, over UDP, TCP or a unix socket: statsd.h says what a metric becomes.
 *
 * bytes -> lines -> metric -> each of its values: readings as line protocol -> parser
 * Lines come whole or in pieces (a stream's); one that is too long is refused and passed over to its newline. What gauges
 * stand at is the source's, whoever sends, and part of the checkpoint once there was a step. */
#include <string.h>

#include "common/err.h"
#include "edged/source_socket.h"
#include "edged/statsd.h"

#define PIECE_BYTES 1024 /* sampled timers: some 70 lines, which may stand for 70,000 readings */

struct statsd {
	struct source_listener base;
	struct statsd_gauges gauges;
	uint64_t samples[STATSD_TYPES]; /* that became readings */
	struct buf series, readings;    /* scratch */
};

/* One connection, or all datagrams. */
struct statsd_reader {
	struct source_parser parser;
	struct buf rest; /* of a line that came only in part */
	bool skipping;   /* to the end of a line that was too long */
};

static struct statsd *statsd_of(struct source *s)
{
	return (struct statsd *)s;
}

static struct statsd_reader *reader_of(struct source_parser *p)
{
	return (struct statsd_reader *)p;
}

static void take_value(struct source_parser *p, const struct statsd_metric *m, struct bytes value, struct bytes line)
{
	struct statsd *d = statsd_of(p->source);
	buf_clear(&d->readings);
	enum statsd_error e = statsd_put(m, value, &d->gauges, &d->series, &d->readings);
	if (e) {
		source_refuse(p, statsd_error_label(e), statsd_error_text(e), line);
		return;
	}
	d->samples[m->type]++;
	p->times = statsd_weight(m);
	line_parser_feed(&p->lines, d->readings.data, d->readings.len);
}

static void take_line(struct source_parser *p, struct bytes line)
{
	struct statsd_metric m;
	struct bytes value;
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	if (!line.n)
		return;
	enum statsd_error e = statsd_parse(line, &m);
	if (e) {
		source_refuse(p, statsd_error_label(e), statsd_error_text(e), line);
		return;
	}
	for (unsigned room = STATSD_LINE_READINGS_MAX / statsd_weight(&m); statsd_next(&m, &value); room -= room > 0)
		if (room)
			take_value(p, &m, value, line);
		else
			source_refuse(p, statsd_error_label(STATSD_TOO_MUCH), statsd_error_text(STATSD_TOO_MUCH), line);
}

/* What came of a line whose end did not. */
static void keep_rest(struct statsd_reader *r, struct bytes part)
{
	if (r->skipping)
		return;
	buf_put(&r->rest, part.p, part.n);
	if (r->rest.len <= STATSD_LINE_BYTES_MAX + 1) /* the last one may be a \r */
		return;
	source_refuse(&r->parser, statsd_error_label(STATSD_TOO_LONG), statsd_error_text(STATSD_TOO_LONG),
	    bytes_of(r->rest.data, r->rest.len));
	buf_free(&r->rest);
	r->skipping = true;
}

static void end_line(struct statsd_reader *r, struct bytes part)
{
	if (!r->rest.len && !r->skipping) {
		take_line(&r->parser, part);
		return;
	}
	keep_rest(r, part);
	if (!r->skipping)
		take_line(&r->parser, bytes_of(r->rest.data, r->rest.len));
	buf_clear(&r->rest);
	r->skipping = false;
}

static void statsd_feed(struct source_parser *p, const void *data, size_t len)
{
	const uint8_t *at = data, *end = at + len;
	p->source->counters.bytes += len;
	for (const uint8_t *newline; at < end && (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1)
		end_line(reader_of(p), bytes_of(at, (size_t)(newline - at)));
	if (at < end)
		keep_rest(reader_of(p), bytes_of(at, (size_t)(end - at)));
}

static void statsd_finish(struct source_parser *p)
{
	end_line(reader_of(p), bytes_of(NULL, 0));
}

static size_t statsd_pending(const struct source_parser *p)
{
	return ((const struct statsd_reader *)p)->rest.len;
}

static void statsd_reader_free(struct source_parser *p)
{
	buf_free(&reader_of(p)->rest);
}

static const struct source_reader statsd_reader = {
	.size = sizeof(struct statsd_reader),
	.piece = PIECE_BYTES,
	.feed = statsd_feed,
	.finish = statsd_finish,
	.pending = statsd_pending,
	.free = statsd_reader_free,
};

/* ---- the source ---------------------------------------------------------------------------------------------------- */

static int statsd_start(struct source *s, char **ret_why)
{
	return source_socket_open(&statsd_of(s)->base.socket, s, &statsd_reader, s->conf->socket.stream, ret_why);
}

static void statsd_mark(struct source *s, struct buf *out)
{
	statsd_gauges_encode(&statsd_of(s)->gauges, out);
}

static int statsd_restore(struct source *s, struct bytes mark)
{
	return statsd_gauges_decode(&statsd_of(s)->gauges, mark);
}

static void statsd_free(struct source *s)
{
	struct statsd *d = statsd_of(s);
	source_listener_free(s);
	statsd_gauges_free(&d->gauges);
	buf_free(&d->series);
	buf_free(&d->readings);
}

static const struct stats_family families[] = {
	SOURCE_SOCKET_FAMILY_ROWS,
	{"weir_edge_source_statsd_counters_total", "Samples of StatsD counters that became readings", STATS_COUNTER, {"source"}},
	{"weir_edge_source_statsd_gauges_total", "Samples of StatsD gauges that became readings", STATS_COUNTER, {"source"}},
	{"weir_edge_source_statsd_timers_total", "Samples of StatsD timers that became readings", STATS_COUNTER, {"source"}},
	{"weir_edge_source_statsd_histograms_total", "Samples of StatsD histograms that became readings", STATS_COUNTER, {"source"}},
	{"weir_edge_source_statsd_distributions_total", "Samples of StatsD distributions that became readings", STATS_COUNTER,
	    {"source"}},
	{"weir_edge_source_statsd_sets_total", "Samples of StatsD sets that became readings", STATS_COUNTER, {"source"}},
	{"weir_edge_source_statsd_gauges_known", "Gauges that are remembered, so that steps have something to start from",
	    STATS_GAUGE, {"source"}},
};

static void statsd_values(const struct source *s, uint64_t *ret_values)
{
	const struct statsd *d = (const struct statsd *)s;
	source_listener_values(s, ret_values);
	memcpy(ret_values + SOURCE_SOCKET_FAMILIES, d->samples, sizeof(d->samples));
	ret_values[SOURCE_SOCKET_FAMILIES + STATSD_TYPES] = d->gauges.count;
}

const struct source_ops source_statsd_ops = {
	.size = sizeof(struct statsd),
	.start = statsd_start,
	.pause = source_listener_pause,
	.drain = source_listener_drain,
	.mark = statsd_mark,
	.restore = statsd_restore,
	.committed = source_listener_committed,
	.free = statsd_free,
	.families = families,
	.family_count = sizeof(families) / sizeof(families[0]),
	.values = statsd_values,
	.port = source_listener_port,
};
