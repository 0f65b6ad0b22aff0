/* What exporters answer to a scrape, and the lines that are made of it: each sample that is taken is one line of line protocol with
 * its value and its time, or one that says why it is none. The first byte: OpenMetrics, whose labels are kept. */
#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/line.h"
#include "edged/scrape.h"
#include "tests/fuzz/fuzz.h"

struct got {
	size_t lines, errors;
	double value;
	int64_t time_ns;
};

static void on_line(void *arg, const struct line *l)
{
	struct got *g = arg;
	FUZZ_CHECK(l->field_count == 1 && l->has_time && l->measurement.n && l->tag_count >= 2);
	g->lines++;
	g->value = l->fields[0].number;
	g->time_ns = l->time_ns;
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	(void)number;
	(void)column;
	(void)text;
	FUZZ_CHECK(e == LINE_DUPLICATE_TAG || e == LINE_BAD_TIMESTAMP || e == LINE_TOO_LONG || e == LINE_TOO_MANY);
	((struct got *)arg)->errors++;
}

static void check_sample(struct scrape *s, const struct prom_sample *sample)
{
	struct got got = {0};
	struct line_callbacks cb = {.arg = &got, .line = on_line, .error = on_error};
	struct line_parser p;
	struct buf out = {0};
	const char *reason = scrape_put(s, sample, &out);
	FUZZ_CHECK(sample->name.n && (!isfinite(sample->value)) <= (reason != NULL) && (reason != NULL) == !out.len);
	line_parser_init(&p, &cb, 1, false);
	line_parser_feed(&p, out.data, out.len);
	FUZZ_CHECK(!line_parser_pending(&p) && got.lines + got.errors == (reason == NULL));
	if (got.lines) {
		FUZZ_CHECK(got.value == sample->value);
		FUZZ_CHECK(got.time_ns == (sample->has_time ? sample->time_ms * NS_PER_MS : s->time_ns));
	}
	line_parser_free(&p);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	struct scrape_conf conf = {.honor_timestamps = true, .honor_labels = data[0] & 1};
	struct scrape s = {.conf = &conf, .job = "j", .instance = "h:1", .time_ns = 7};
	struct prom_text t;
	struct prom_sample sample;
	enum prom_error e;
	prom_text_init(&t, bytes_of(data + 1, len - 1), data[0] & 1);
	while (prom_text_next(&t, &sample, &e)) {
		FUZZ_CHECK(t.line && t.line <= len && t.text.p >= data && t.text.p + t.text.n <= data + len);
		if (e == PROM_FINE)
			check_sample(&s, &sample);
		else
			FUZZ_CHECK(*prom_error_text(e) && *scrape_refusal(e));
	}
	FUZZ_CHECK(t.ended || t.at == t.end);
	scrape_free(&s);
	return 0;
}
