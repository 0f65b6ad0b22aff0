/* Line protocol: every precision, lazy or not, cut anywhere. What is reported is the same wherever the input is cut; every
 * line that says something is reported once, as taken or as refused; a series that resolves resolves again to the same. */
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/line.h"
#include "tests/fuzz/fuzz.h"

struct seen {
	uint64_t taken, refused, digest;
	uint64_t number; /* of the last one */
	bool resolve;    /* a lazy parser's: what the series holds counts too */
};

static void mix(struct seen *s, const void *p, size_t n)
{
	s->digest = XXH3_64bits_withSeed(p, n, s->digest + n + 1);
}

static void mix_series(struct seen *s, struct bytes measurement, const struct line_tag *tags, size_t count)
{
	mix(s, measurement.p, measurement.n);
	for (size_t i = 0; i < count; i++) {
		mix(s, tags[i].key.p, tags[i].key.n);
		mix(s, tags[i].value.p, tags[i].value.n);
	}
}

static void mix_fields(struct seen *s, const struct line *l)
{
	for (size_t i = 0; i < l->field_count; i++) {
		const struct line_field *f = &l->fields[i];
		mix(s, f->key.p, f->key.n);
		if (f->type == LINE_STRING)
			mix(s, f->string.p, f->string.n);
		else
			mix(s, &f->number, sizeof(f->number));
		FUZZ_CHECK(f->type == LINE_STRING || (f->number - f->number == 0)); /* finite */
	}
	mix(s, &l->time_ns, sizeof(l->time_ns));
}

static void on_line(void *arg, const struct line *l)
{
	struct seen *s = arg;
	FUZZ_CHECK(l->number > s->number && l->field_count > 0 && l->field_count <= LINE_FIELDS_MAX);
	s->number = l->number;
	struct bytes measurement = l->measurement;
	const struct line_tag *tags = l->tags;
	size_t count = l->tag_count;
	if (s->resolve && line_resolve_series(l->parser, l, &measurement, &tags, &count)) {
		s->refused++;
		return;
	}
	FUZZ_CHECK(measurement.n > 0 && count <= LINE_TAGS_MAX);
	s->taken++;
	mix(s, &l->number, sizeof(l->number));
	mix_series(s, measurement, tags, count);
	mix_fields(s, l);
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	struct seen *s = arg;
	FUZZ_CHECK(number > s->number && column > 0 && e > LINE_OK && e < LINE_ERRORS && text.n <= 80);
	FUZZ_CHECK(line_error_label(e) && line_error_text(e));
	s->number = number;
	s->refused++;
}

static struct seen parse(const uint8_t *data, size_t len, int64_t precision, bool lazy, size_t piece)
{
	struct seen s = {.resolve = lazy};
	struct line_callbacks cb = {&s, on_line, on_error};
	struct line_parser p;
	line_parser_init(&p, &cb, precision, lazy);
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		uint8_t *copy = malloc(n); /* on its own, so that reading beyond it is seen */
		memcpy(copy, data + at, n);
		line_parser_feed(&p, copy, n);
		free(copy);
		FUZZ_CHECK(line_parser_pending(&p) <= at + n);
	}
	line_parser_finish(&p);
	FUZZ_CHECK(line_parser_pending(&p) == 0);
	line_parser_free(&p);
	return s;
}

static bool same(const struct seen *a, const struct seen *b)
{
	return a->taken == b->taken && a->refused == b->refused && a->digest == b->digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const int64_t precisions[] = {1, 1000, 1000000, 1000000000};
	size_t piece = 1 + (len ? data[0] : 0) % 31;
	for (size_t i = 0; i < 4; i++) {
		struct seen whole = parse(data, len, precisions[i], false, len + 1);
		struct seen lazy = parse(data, len, precisions[i], true, piece);
		FUZZ_CHECK(same(&whole, &lazy));
		FUZZ_CHECK(whole.taken + whole.refused <= len);
	}
	return 0;
}
