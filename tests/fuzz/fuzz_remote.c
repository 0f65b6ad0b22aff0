/* What Prometheus posts to remote read: a request in its block of snappy, its matchers, their expressions. What is taken encodes again to the
 * same; matchers and expressions say the same each time, and in whatever way they are put. The first byte: 1, the rest is a block; 0, it is
 * what is in one, so that mutations reach it. */
#include <string.h>

#include "cloudd/remote_series.h"
#include "common/codec_prometheus.h"
#include "common/err.h"
#include "common/prometheus_filter.h"
#include "common/prometheus_name.h"
#include "common/regex.h"
#include "common/snappy_block.h"
#include "tests/fuzz/fuzz.h"

#define STEPS UINT64_C(50000)
#define EXPRESSIONS_MAX 16 /* tried by themselves, of one input */
#define TEXT_MAX 64 /* bytes of what expressions are tried with */

static const char *const texts[] = {"", "a", "north", "weir:traffic:mean", "weir:speed:p99", "a\nb", "\xc3\xa9", "\xff", "0123456789"};
#define TEXTS (sizeof(texts) / sizeof(texts[0]))

static struct bytes text_of(size_t i)
{
	return bytes_of(texts[i], strlen(texts[i]));
}

static void check_same(const struct prometheus_read *a, const struct prometheus_read *b)
{
	FUZZ_CHECK(a->query_count == b->query_count && a->samples == b->samples);
	for (size_t i = 0; i < a->query_count; i++) {
		const struct prometheus_query *x = &a->queries[i], *y = &b->queries[i];
		FUZZ_CHECK(x->start_ms == y->start_ms && x->end_ms == y->end_ms && x->matcher_count == y->matcher_count);
		for (size_t k = 0; k < x->matcher_count; k++) {
			const struct prometheus_matcher *m = &x->matchers[k], *n = &y->matchers[k];
			FUZZ_CHECK(m->type == n->type && fuzz_same(m->name, n->name) && fuzz_same(m->value, n->value));
		}
	}
}

/* Names longer than a byte says grow by another byte for their length: what just fitted may not when it is put in full. */
static void check_codec(const struct prometheus_read *read)
{
	struct buf raw = {0};
	struct prometheus_read again;
	prometheus_read_encode(read, &raw);
	int rc = prometheus_read_decode(fuzz_bytes(&raw), &again);
	FUZZ_CHECK(!rc || (rc == WEIR_ETOOBIG && raw.len > PROMETHEUS_READ_MAX / 2));
	if (!rc) {
		check_same(read, &again);
		prometheus_read_clear(&again);
	}
	buf_free(&raw);
}

/* The first bytes of the expression itself, and texts that many take: -1 where time ran out. */
static int try_text(struct regex *r, struct bytes pattern, size_t i)
{
	uint64_t left = STEPS;
	size_t n = pattern.n < TEXT_MAX ? pattern.n : TEXT_MAX;
	struct bytes text = i == TEXTS ? bytes_of(pattern.p, n) : text_of(i);
	bool is = regex_match(r, (const char *)text.p, text.n, &left);
	FUZZ_CHECK(left <= STEPS && (left || !is));
	return left ? is : -1;
}

/* The same expression written in another way says the same. */
static void check_written(struct regex *r, struct bytes pattern, const char *before, const char *after)
{
	struct buf text = {0};
	struct regex *other;
	const char *why;
	size_t at;
	buf_printf(&text, "%s", before);
	buf_put(&text, pattern.p, pattern.n);
	buf_printf(&text, "%s", after);
	int rc = regex_compile((const char *)text.data, text.len, &other, &why, &at);
	FUZZ_CHECK(!rc || rc == WEIR_ETOOBIG);
	for (size_t i = 0; i <= TEXTS && !rc; i++) {
		int is = try_text(r, pattern, i), same = try_text(other, pattern, i);
		FUZZ_CHECK(is == same || is < 0 || same < 0);
	}
	if (!rc)
		regex_free(other);
	buf_free(&text);
}

static void check_expression(struct bytes pattern)
{
	struct regex *r;
	const char *why = NULL;
	size_t at = SIZE_MAX;
	int rc = regex_compile((const char *)pattern.p, pattern.n, &r, &why, &at);
	FUZZ_CHECK(rc ? why && *why && at <= pattern.n : regex_size(r) > 0 && regex_size(r) <= REGEX_PROGRAM_MAX);
	if (rc)
		return;
	check_written(r, pattern, "(?:", ")");
	check_written(r, pattern, "^(?:", "){1}$");
	check_written(r, pattern, "(?P<x>", ")|[^\\d\\D]");
	regex_free(r);
}

static void check_filter(const struct prometheus_query *q)
{
	struct prometheus_filter *f;
	char why[PROMETHEUS_WHY_MAX] = "";
	uint64_t left = STEPS;
	int rc = prometheus_filter_new(q, &left, &f, why);
	FUZZ_CHECK(left == STEPS && (rc == 0) == !*why);
	if (rc)
		return;
	for (size_t i = 0; i < q->matcher_count; i++) {
		struct bytes value, name = q->matchers[i].name, asked = q->matchers[i].value;
		bool takes = prometheus_filter_takes(f, name, asked);
		bool none = q->matchers[i].type == PROMETHEUS_NEQ;
		FUZZ_CHECK(!takes || !none);
		if (!prometheus_filter_equals(f, name, &value))
			continue;
		for (size_t k = 0; k < TEXTS; k++)
			FUZZ_CHECK(!prometheus_filter_takes(f, name, text_of(k)) || fuzz_same(value, text_of(k)));
	}
	const struct topology *t = fuzz_topology_now();
	for (size_t i = 0; i < t->stream_count; i++)
		(void)remote_series_possible(f, t->streams[i].by, t->streams[i].by_count);
	FUZZ_CHECK(prometheus_filter_spent(f) == !left);
	prometheus_filter_free(f);
}

static void check_names(const struct prometheus_matcher *m)
{
	char quantile[16];
	const struct topology *t = fuzz_topology_now();
	for (size_t i = 0; i < t->stream_count; i++)
		if (prometheus_quantile_of(m->value, t->streams[i].name, quantile))
			FUZZ_CHECK(*quantile == 'p' && strlen(quantile) < 16 && strspn(quantile + 1, "0123456789.") == strlen(quantile) - 1);
}

static void check_read(struct bytes raw)
{
	struct prometheus_read read;
	int rc = prometheus_read_decode(raw, &read);
	FUZZ_CHECK(!rc || rc == WEIR_ETOOBIG || rc == WEIR_ECORRUPT);
	if (rc)
		return;
	unsigned expressions = 0;
	check_codec(&read);
	for (size_t i = 0; i < read.query_count; i++) {
		check_filter(&read.queries[i]);
		for (size_t k = 0; k < read.queries[i].matcher_count; k++) {
			check_names(&read.queries[i].matchers[k]);
			if (expressions++ < EXPRESSIONS_MAX)
				check_expression(read.queries[i].matchers[k].value);
		}
	}
	prometheus_read_clear(&read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf raw = {0};
	if (!len)
		return 0;
	if (!data[0]) {
		check_read(bytes_of(data + 1, len - 1));
		return 0;
	}
	int rc = snappy_block_unpack(bytes_of(data + 1, len - 1), PROMETHEUS_READ_MAX, &raw);
	FUZZ_CHECK(rc ? !raw.len : raw.len <= PROMETHEUS_READ_MAX);
	if (!rc)
		check_read(fuzz_bytes(&raw));
	buf_free(&raw);
	return 0;
}
