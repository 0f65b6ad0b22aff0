/* What is posted to an edge. The first byte says what: 'g' gzip, read in pieces of two sizes, which must say the same; 'l' gzip made of
 * the rest, which must come back; else what collectd sends, whose lines the parser must take. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/gzip.h"
#include "common/line.h"
#include "edged/collectd.h"
#include "tests/fuzz/fuzz.h"

#define UNPACKED_MAX (1024 * 1024)

/* How it ended: 0, an error, or WEIR_ETOOBIG. */
static int unpack(struct bytes packed, size_t piece, struct buf *out)
{
	struct gzip_reader *g = gzip_reader_new();
	size_t n = 0;
	int rc = 0;
	gzip_begin(g, packed);
	do {
		rc = gzip_read(g, buf_reserve(out, piece), piece, &n);
		FUZZ_CHECK(rc == 0 || rc == WEIR_ECORRUPT || rc == WEIR_ETRUNCATED);
		FUZZ_CHECK(rc || n <= piece);
		out->len += rc ? 0 : n;
		if (!rc && out->len > UNPACKED_MAX)
			rc = WEIR_ETOOBIG;
	} while (!rc && n);
	gzip_reader_free(g);
	return rc;
}

static void try_gzip(struct bytes packed)
{
	struct buf a = {0}, b = {0};
	int rc = unpack(packed, 4096, &a), other = unpack(packed, 77, &b);
	FUZZ_CHECK(rc == other || rc == WEIR_ETOOBIG || other == WEIR_ETOOBIG);
	if (!rc && !other)
		FUZZ_CHECK(a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len)));
	buf_free(&a);
	buf_free(&b);
}

static void try_packing(struct bytes text)
{
	struct buf packed = {0}, out = {0};
	gzip_pack(text.p, text.n, &packed);
	FUZZ_CHECK(!unpack(fuzz_bytes(&packed), 1000, &out));
	FUZZ_CHECK(out.len == text.n && (!out.len || !memcmp(out.data, text.p, out.len)));
	buf_free(&packed);
	buf_free(&out);
}

static void on_line(void *arg, const struct line *l)
{
	uint64_t *lines = arg;
	FUZZ_CHECK(l->has_time && l->field_count && l->measurement.n);
	++*lines;
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	uint64_t *lines = arg;
	(void)number;
	(void)column;
	(void)text;
	FUZZ_CHECK(e == LINE_TOO_LONG);
	++*lines;
}

static void try_collectd(struct bytes body)
{
	struct buf lines = {0}, why = {0};
	struct influx_refusals refused = {0};
	struct collectd_counts counts;
	uint64_t seen = 0;
	int rc = collectd_put_lines(body, &lines, &refused, &counts, &why);
	FUZZ_CHECK(rc ? rc == WEIR_EINVAL && why.len && !lines.len : !why.len);
	struct line_callbacks cb = {.arg = &seen, .line = on_line, .error = on_error};
	struct line_parser p;
	line_parser_init(&p, &cb, 1, false);
	line_parser_feed(&p, lines.data, lines.len);
	FUZZ_CHECK(!line_parser_pending(&p) && seen == counts.lists);
	line_parser_free(&p);
	buf_clear(&why);
	influx_put_refusals(&refused, counts.lists > 0, &why);
	influx_refusals_clear(&refused);
	buf_free(&lines);
	buf_free(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	struct bytes rest = bytes_of(data + 1, len - 1);
	if (data[0] == 'g')
		try_gzip(rest);
	else if (data[0] == 'l')
		try_packing(rest);
	else
		try_collectd(rest);
	return 0;
}
