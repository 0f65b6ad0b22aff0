/* StatsD lines: what is taken of one is line protocol that its parser takes, too (but for what becomes the same tag twice by being
 * escaped), as many readings as it says, with finite numbers; gauges come out of their checkpoint as they went in. */
#include <stdlib.h>
#include <string.h>

#include "common/line.h"
#include "edged/statsd.h"
#include "tests/fuzz/fuzz.h"

struct seen {
	uint64_t taken, refused;
};

static void on_line(void *arg, const struct line *l)
{
	struct seen *s = arg;
	s->taken++;
	FUZZ_CHECK(l->field_count == 1 && l->fields[0].type == LINE_FLOAT && l->fields[0].number - l->fields[0].number == 0);
	FUZZ_CHECK(l->tag_count > 0 && l->measurement.n > 0);
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	(void)number, (void)column, (void)text;
	struct seen *s = arg;
	s->refused++;
	FUZZ_CHECK(e == LINE_DUPLICATE_TAG);
}

static uint64_t lines_in(const struct buf *b)
{
	uint64_t n = 0;
	for (size_t i = 0; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

static void check_readings(const struct buf *readings)
{
	struct seen seen = {0};
	struct line_callbacks cb = {&seen, on_line, on_error};
	struct line_parser p;
	line_parser_init(&p, &cb, 1, false);
	line_parser_feed(&p, readings->data, readings->len);
	FUZZ_CHECK(line_parser_pending(&p) == 0 && seen.taken + seen.refused == lines_in(readings));
	line_parser_free(&p);
}

static void check_metric(struct statsd_metric *m, struct statsd_gauges *gauges)
{
	struct buf series = {0}, readings = {0};
	struct bytes value;
	size_t values = 0;
	FUZZ_CHECK(m->rate > 0 && m->rate <= 1 && m->name.n && m->tag_count <= STATSD_TAGS_MAX);
	while (statsd_next(m, &value)) {
		FUZZ_CHECK(values++ <= STATSD_LINE_BYTES_MAX);
		buf_clear(&readings);
		enum statsd_error e = statsd_put(m, value, gauges, &series, &readings);
		FUZZ_CHECK(e ? !readings.len : readings.len && lines_in(&readings) == 1 && statsd_weight(m) <= STATSD_WEIGHT_MAX);
		check_readings(&readings);
	}
	FUZZ_CHECK(values > 0);
	buf_free(&series);
	buf_free(&readings);
}

static void check_gauges(const struct statsd_gauges *gauges)
{
	struct statsd_gauges again = {0};
	struct buf first = {0}, second = {0};
	statsd_gauges_encode(gauges, &first);
	FUZZ_CHECK(!statsd_gauges_decode(&again, fuzz_bytes(&first)));
	statsd_gauges_encode(&again, &second);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
	statsd_gauges_free(&again);
	buf_free(&first);
	buf_free(&second);
}

static void check_mark(struct bytes mark)
{
	struct statsd_gauges gauges = {0};
	if (statsd_gauges_decode(&gauges, mark))
		FUZZ_CHECK(!gauges.count);
	else
		check_gauges(&gauges);
	statsd_gauges_free(&gauges);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct statsd_gauges gauges = {0};
	struct statsd_metric m;
	for (size_t at = 0; at < len;) {
		const uint8_t *newline = memchr(data + at, '\n', len - at);
		size_t n = newline ? (size_t)(newline - data) - at : len - at;
		uint8_t *copy = malloc(n); /* on its own, so that reading beyond it is seen */
		memcpy(copy, data + at, n);
		enum statsd_error e = statsd_parse(bytes_of(copy, n), &m);
		FUZZ_CHECK(statsd_error_label(e) && statsd_error_text(e));
		if (!e)
			check_metric(&m, &gauges);
		free(copy);
		at += n + 1;
	}
	check_gauges(&gauges);
	check_mark(bytes_of(data, len));
	statsd_gauges_free(&gauges);
	return 0;
}
