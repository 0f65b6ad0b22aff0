#include <check.h>
#include <inttypes.h>
#include <locale.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/line.h"

/* ---- writing down what a parser says ---------------------------------------------------------------------------- */

struct record {
	struct buf out;
	bool numbers; /* with line numbers */
	bool lazy;
	size_t lines, errors;
};

static void put_bytes(struct buf *b, struct bytes t)
{
	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] < 0x20)
			buf_printf(b, "<%02x>", t.p[i]);
		else
			buf_u8(b, t.p[i]);
	}
}

static void on_line(void *arg, const struct line *l)
{
	struct record *r = arg;
	struct buf *b = &r->out;
	struct bytes measurement = l->measurement;
	const struct line_tag *tags = l->tags;
	size_t tag_count = l->tag_count;
	r->lines++;
	if (r->numbers)
		buf_printf(b, "%" PRIu64 ":", l->number);
	if (r->lazy) {
		enum line_error e = line_resolve_series(l->parser, l, &measurement, &tags, &tag_count);
		if (e != LINE_OK) {
			buf_printf(b, "!%s\n", line_error_label(e));
			return;
		}
	}
	put_bytes(b, measurement);
	for (size_t i = 0; i < tag_count; i++) {
		buf_u8(b, '[');
		put_bytes(b, tags[i].key);
		buf_u8(b, '=');
		put_bytes(b, tags[i].value);
		buf_u8(b, ']');
	}
	for (size_t i = 0; i < l->field_count; i++) {
		const struct line_field *f = &l->fields[i];
		buf_u8(b, ' ');
		put_bytes(b, f->key);
		buf_printf(b, "=%c:", "fiubs"[f->type]);
		if (f->type == LINE_STRING)
			put_bytes(b, f->string);
		else
			buf_printf(b, "%.17g", f->number);
	}
	if (l->has_time)
		buf_printf(b, " @%" PRId64, l->time_ns);
	buf_u8(b, '\n');
}

static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	struct record *r = arg;
	r->errors++;
	if (r->numbers)
		buf_printf(&r->out, "%" PRIu64 ":", number);
	buf_printf(&r->out, "!%s@%zu ", line_error_label(e), column);
	put_bytes(&r->out, text);
	buf_u8(&r->out, '\n');
}

static void parser_of(struct line_parser *p, struct record *r, int64_t precision_ns)
{
	struct line_callbacks cb = {.arg = r, .line = on_line, .error = on_error};
	line_parser_init(p, &cb, precision_ns, r->lazy);
}

static void parse_whole(struct record *r, const void *data, size_t len)
{
	struct line_parser p;
	parser_of(&p, r, 1);
	line_parser_feed(&p, data, len);
	line_parser_finish(&p);
	ck_assert_uint_eq(line_parser_pending(&p), 0);
	line_parser_free(&p);
}

static void expect(const char *in, size_t len, const char *out)
{
	struct record r = {0};
	parse_whole(&r, in, len);
	ck_assert_str_eq(buf_cstr(&r.out), out);
	buf_free(&r.out);
}

#define EXPECT(in, out) expect(in, sizeof(in) - 1, out)

/* ---- the grammar ------------------------------------------------------------------------------------------------ */

START_TEST(the_documented_forms)
{
	EXPECT("m v=1\n", "m v=f:1\n");
	EXPECT("m,a=b,c=d v=1,w=2 5\n", "m[a=b][c=d] v=f:1 w=f:2 @5\n");
	EXPECT("m v=1", "m v=f:1\n");
	EXPECT("m v=1 -5\r\n", "m v=f:1 @-5\n");
	EXPECT("\n\r\n  \n# x v=1\n  # y\nm v=1", "m v=f:1\n");
	EXPECT("  m  v=1  5  \n", "m v=f:1 @5\n");
	EXPECT("m v=1 \n", "m v=f:1\n");
	/* types */
	EXPECT("m a=42i,b=-42i,c=42u,d=1e3,e=-.5,f=5.,g=+1", "m a=i:42 b=i:-42 c=u:42 d=f:1000 e=f:-0.5 f=f:5 g=f:1\n");
	EXPECT("m a=t,b=T,c=true,d=True,e=TRUE", "m a=b:1 b=b:1 c=b:1 d=b:1 e=b:1\n");
	EXPECT("m a=f,b=F,c=false,d=False,e=FALSE", "m a=b:0 b=b:0 c=b:0 d=b:0 e=b:0\n");
	EXPECT("m a=\"x\",b=\"\",c=\"a,b=c d\" 7", "m a=s:x b=s: c=s:a,b=c d @7\n");
	EXPECT("m a=9223372036854775807i,b=-9223372036854775808i,c=18446744073709551615u",
	    "m a=i:9.2233720368547758e+18 b=i:-9.2233720368547758e+18 c=u:1.8446744073709552e+19\n");
}
END_TEST

START_TEST(escapes_by_element)
{
	EXPECT("my\\ m\\,x\\=y v=1", "my m,x\\=y v=f:1\n");
	EXPECT("m,a\\,b\\ c\\=d=e\\,f\\ g\\=h v=1", "m[a,b c=d=e,f g=h] v=f:1\n");
	EXPECT("m k\\,e\\ y\\=1=2", "m k,e y=1=f:2\n");
	EXPECT("m v=\"\\\"q\\\" \\\\ \\n\"", "m v=s:\"q\" \\ \\n\n");
	/* a backslash before anything else is a backslash; quotes are plain outside field values */
	EXPECT("a\\b,c\\d=e\\\\f g\\h=1", "a\\b[c\\d=e\\\\f] g\\h=f:1\n");
	EXPECT("m,t=a\\\\,b v=1", "m[t=a\\,b] v=f:1\n");
	EXPECT("\"m\",\"t\"=\"a b\" v=1", "!bad_field@14 \"m\",\"t\"=\"a b\" v=1\n");
	EXPECT("\"m\",\"t\"='a' \"v\"=1", "\"m\"[\"t\"='a'] \"v\"=f:1\n");
	EXPECT("m=x v=1", "m=x v=f:1\n");
	EXPECT("m,t=\xc3\xa9\xf0\x9f\x8d\xad v=1", "m[t=\xc3\xa9\xf0\x9f\x8d\xad] v=f:1\n");
	EXPECT("m v=\"\\\\\"", "m v=s:\\\n");
	EXPECT("m v=\"\\\\\\\"\"", "m v=s:\\\"\n");
	EXPECT("m v=\"a\nb\",w=1 5\nn v=2", "m v=s:a<0a>b w=f:1 @5\nn v=f:2\n");
}
END_TEST

START_TEST(every_reason_with_its_column)
{
	EXPECT(",a=b v=1", "!no_measurement@1 ,a=b v=1\n");
	EXPECT("m,a v=1", "!bad_tag@3 m,a v=1\n");
	EXPECT("m,=b v=1", "!bad_tag@3 m,=b v=1\n");
	EXPECT("m,a= v=1", "!bad_tag@3 m,a= v=1\n");
	EXPECT("m,a=b=c v=1", "!bad_tag@6 m,a=b=c v=1\n");
	EXPECT("m, v=1", "!bad_tag@3 m, v=1\n");
	EXPECT("m,a=b,c=d,a=e v=1", "!duplicate_tag@11 m,a=b,c=d,a=e v=1\n");
	EXPECT("m", "!no_field@2 m\n");
	EXPECT("m,a=b  ", "!no_field@8 m,a=b  \n");
	EXPECT("m v", "!bad_field@3 m v\n");
	EXPECT("m =1", "!bad_field@3 m =1\n");
	EXPECT("m v=", "!bad_field@5 m v=\n");
	EXPECT("m v=1,", "!bad_field@7 m v=1,\n");
	EXPECT("m v=1,,w=2", "!bad_field@7 m v=1,,w=2\n");
	EXPECT("m v=x", "!bad_field@5 m v=x\n");
	EXPECT("m v=tr", "!bad_field@5 m v=tr\n");
	EXPECT("m v=1x", "!bad_number@5 m v=1x\n");
	EXPECT("m v=1.5i", "!bad_number@5 m v=1.5i\n");
	EXPECT("m v=-1u", "!bad_number@5 m v=-1u\n");
	EXPECT("m v=9223372036854775808i", "!bad_number@5 m v=9223372036854775808i\n");
	EXPECT("m v=18446744073709551616u", "!bad_number@5 m v=18446744073709551616u\n");
	EXPECT("m v=NaN", "!bad_number@5 m v=NaN\n");
	EXPECT("m v=-inf", "!bad_number@5 m v=-inf\n");
	EXPECT("m v=1e999", "!bad_number@5 m v=1e999\n");
	EXPECT("m v=1e", "!bad_number@5 m v=1e\n");
	EXPECT("m v=.", "!bad_number@5 m v=.\n");
	EXPECT("m v=0x10", "!bad_number@5 m v=0x10\n");
	EXPECT("m v=\"x", "!bad_string@5 m v=\"x\n");
	EXPECT("m v=\"x\"y", "!bad_string@8 m v=\"x\"y\n");
	EXPECT("m v=1 x", "!bad_timestamp@7 m v=1 x\n");
	EXPECT("m v=1 1.5", "!bad_timestamp@7 m v=1 1.5\n");
	EXPECT("m v=1 9223372036854775808", "!bad_timestamp@7 m v=1 9223372036854775808\n");
	EXPECT("m v=1 9223372036854775807", "!bad_timestamp@7 m v=1 9223372036854775807\n");
	EXPECT("m v=1 5 6", "!trailing@9 m v=1 5 6\n");
	EXPECT("m\0x v=1\nn v=1", "!nul_byte@2 m<00>x v=1\nn v=f:1\n");
	EXPECT("m v=\"\0\"", "!nul_byte@6 m v=\"<00>\"\n");
	EXPECT("m v=\0", "!nul_byte@5 m v=<00>\n");
	EXPECT("m v=1 5\0", "!nul_byte@8 m v=1 5<00>\n");
	for (enum line_error e = LINE_OK; e < LINE_ERRORS; e++)
		ck_assert(line_error_label(e) && line_error_text(e));
}
END_TEST

START_TEST(too_many_tags_and_fields)
{
	struct buf b = {0};
	struct record r = {0};
	for (int extra = 0; extra < 2; extra++) {
		buf_printf(&b, "m");
		for (int i = 0; i < LINE_TAGS_MAX + extra; i++)
			buf_printf(&b, ",t%d=1", i);
		buf_printf(&b, " v=1\n");
		buf_printf(&b, "m v0=0");
		for (int i = 1; i < LINE_FIELDS_MAX + extra; i++)
			buf_printf(&b, ",v%d=1", i);
		buf_printf(&b, "\n");
	}
	parse_whole(&r, b.data, b.len);
	ck_assert_uint_eq(r.lines, 2);
	ck_assert_uint_eq(r.errors, 2);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&r.out), "!too_many"));
	buf_free(&b);
	buf_free(&r.out);
}
END_TEST

START_TEST(precision_scales_and_bounds_the_timestamp)
{
	struct record r = {0};
	struct line_parser p;
	static const char in[] = "m v=1 1441106700\nm v=1 99999999999999\n";
	parser_of(&p, &r, NS_PER_SEC);
	line_parser_feed(&p, in, sizeof(in) - 1);
	line_parser_free(&p);
	ck_assert_str_eq(buf_cstr(&r.out), "m v=f:1 @1441106700000000000\n!bad_timestamp@7 m v=1 99999999999999\n");
	buf_free(&r.out);
}
END_TEST

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static double only_number(const char *text)
{
	struct record r = {0};
	struct buf b = {0};
	buf_printf(&b, "m v=%s\n", text);
	parse_whole(&r, b.data, b.len);
	const char *value = strstr(buf_cstr(&r.out), "v=f:");
	ck_assert_msg(value != NULL, "%s: %s", text, buf_cstr(&r.out));
	double v = strtod(value + 4, NULL);
	buf_free(&b);
	buf_free(&r.out);
	return v;
}

START_TEST(floats_are_the_nearest_double)
{
	static const char *const texts[] = {"0", "-0", "0.1", "1.7976931348623157e308", "2.2250738585072014e-308", "5e-324",
	    "9007199254740993", "9007199254740992", "1e22", "1e23", "123456789012345678901234567890", "8.5e-22", "0e500",
	    "1e-400", "0.000000000000000000000000000001", "3.14159265358979323846264338327950288",
	    "100000000000000000000000000000000000000e-30", "179769313486231570000000000000000000000e270",
	    "12345678901234567e-3", "4.35", "88.25", "0.30000000000000004", "1.e2", ".5E+1",
	    "1.00000000000000011102230246251565404236316680908203125",
	    "1.00000000000000011102230246251565404236316680908203126"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		double want = strtod(texts[i], NULL), got = only_number(texts[i]);
		ck_assert_msg(!memcmp(&want, &got, sizeof(want)), "%s: %.17g, want %.17g", texts[i], got, want);
	}
	uint64_t x = 88172645463325252u;
	for (int i = 0; i < 3000; i++) {
		char text[64];
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		snprintf(text, sizeof(text), "%s%u.%ue%d", x & 1 ? "-" : "", (unsigned)(x >> 40), (unsigned)(x & 0xffffff),
		    (int)((x >> 8) % 60) - 30);
		double want = strtod(text, NULL), got = only_number(text);
		ck_assert_msg(!memcmp(&want, &got, sizeof(want)), "%s: %.17g, want %.17g", text, got, want);
	}
}
END_TEST

START_TEST(floats_do_not_follow_the_locale)
{
	static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (setlocale(LC_ALL, names[i]))
			break;
	}
	struct record r = {0};
	struct line_parser p;
	double seen = 0;
	parser_of(&p, &r, 1);
	static const char in[] = "m v=12345678901234567.5\n";
	line_parser_feed(&p, in, sizeof(in) - 1);
	line_parser_free(&p);
	struct buf b = {0};
	line_put_float(&b, 0.1);
	setlocale(LC_ALL, "C");
	ck_assert_str_eq(buf_cstr(&b), "0.1");
	ck_assert_int_eq(sscanf(buf_cstr(&r.out), "m v=f:%lf", &seen), 1);
	ck_assert(seen == 12345678901234567.5);
	buf_free(&b);
	buf_free(&r.out);
}
END_TEST

/* ---- splits ----------------------------------------------------------------------------------------------------- */

static const char tricky[] =
    "m v=1\n"
    "\n# comment \"with quote\n\r\n"
    "a\\ b\\,c,t\\=1=x\\ y,u=\\z\\\\,w k\\,1=-1.5e-3,k2=\"q\\\"\\\\\" 12\r\n"
    "m s=\"two\nlines\",t=\"th\r\n\nree\" 5\n"
    "m s=\"ends in slash\\\\\"\nn v=1\n"
    "bad line here\n"
    "m v=\"never closed\nb v=\"ok\" 2\nc v=3\n"
    "m v=\"closed\nby\" garbage\nd v=4i 9\n"
    "m v=\"x\ny\"z\ne\\ f v=t\n"
    "\0 v=1\nm v=\"\\\nm,a=b,a=c v=1\n"
    "m k=\"1\n2\",k\\\"=3,l=\"\n\" -7\n"
    "m v=12345678901234567890123,w=1e400 3\n"
    "m v=1 \"\nm v=2 7 \n"
    " m,t=\"x v=\"y\\\nlast v=1 99";

static void feed_splits(struct record *r, const char *in, size_t len, size_t (*next)(void *arg), void *arg)
{
	struct line_parser p;
	parser_of(&p, r, 1);
	for (size_t at = 0; at < len;) {
		size_t n = next(arg);
		if (n > len - at)
			n = len - at;
		char *copy = malloc(n); /* so that a read beyond the chunk is seen */
		memcpy(copy, in + at, n);
		line_parser_feed(&p, copy, n);
		free(copy);
		at += n;
	}
	line_parser_finish(&p);
	line_parser_free(&p);
}

static size_t next_one(void *arg)
{
	(void)arg;
	return 1;
}

static size_t next_given(void *arg)
{
	size_t *n = arg, was = *n;
	*n = SIZE_MAX;
	return was;
}

static size_t next_random(void *arg)
{
	uint64_t *x = arg;
	*x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
	size_t n = (size_t)(*x >> 33);
	return *x & 1 ? 1 + n % 7 : 1 + n % 30000;
}

static void check_splits(const char *in, size_t len, bool lazy, bool all)
{
	struct record whole = {.numbers = true, .lazy = lazy};
	parse_whole(&whole, in, len);
	uint64_t seed = 1234567;
	for (size_t i = 0; i < (all ? len : 200) + 1; i++) {
		struct record r = {.numbers = true, .lazy = lazy};
		size_t given = i ? i : 1;
		if (all)
			feed_splits(&r, in, len, next_given, &given);
		else
			feed_splits(&r, in, len, next_random, &seed);
		ck_assert_msg(r.out.len == whole.out.len && !memcmp(r.out.data, whole.out.data, r.out.len),
		    "split %zu:\n%s\nwhole:\n%s", i, buf_cstr(&r.out), buf_cstr(&whole.out));
		buf_free(&r.out);
	}
	struct record r = {.numbers = true, .lazy = lazy};
	feed_splits(&r, in, len, next_one, NULL);
	ck_assert_str_eq(buf_cstr(&r.out), buf_cstr(&whole.out));
	buf_free(&r.out);
	buf_free(&whole.out);
}

START_TEST(any_split_gives_the_same)
{
	check_splits(tricky, sizeof(tricky) - 1, false, true);
	check_splits(tricky, sizeof(tricky) - 1, true, true);
	check_splits(tricky, sizeof(tricky) - 1, true, false);
}
END_TEST

/* The position a file source keeps: going on from there in a new parser gives exactly what is left. */
START_TEST(going_on_at_the_position_is_exact)
{
	size_t len = sizeof(tricky) - 1;
	struct record whole = {0};
	parse_whole(&whole, tricky, len);
	for (size_t i = 0; i <= len; i++) {
		struct record r = {0};
		struct line_parser p;
		parser_of(&p, &r, 1);
		line_parser_feed(&p, tricky, i);
		size_t position = i - line_parser_pending(&p);
		line_parser_free(&p);
		parse_whole(&r, tricky + position, len - position);
		ck_assert_msg(r.out.len == whole.out.len && !memcmp(r.out.data, whole.out.data, r.out.len),
		    "at %zu:\n%s\nwhole:\n%s", i, buf_cstr(&r.out), buf_cstr(&whole.out));
		buf_free(&r.out);
	}
	buf_free(&whole.out);
}
END_TEST

/* ---- bad neighbours --------------------------------------------------------------------------------------------- */

START_TEST(an_unbalanced_quote_costs_one_line)
{
	EXPECT("a v=\"x\nb v=\"ok\" 2\nc v=3\n", "!bad_string@5 a v=\"x\nb v=s:ok @2\nc v=f:3\n");
	EXPECT("a v=\"x\nb v=2\nc v=3\n", "!bad_string@5 a v=\"x\nb v=f:2\nc v=f:3\n");
	EXPECT("a v=\"x\nb v=\" y\" 2\n", "!bad_string@5 a v=\"x\nb v=s: y @2\n");
	EXPECT("a v=1,w=x\"\nb v=2\n", "!bad_field@9 a v=1,w=x\"\nb v=f:2\n");
	EXPECT("a,t=\" v=\"1\"\nb v=2", "a[t=\"] v=s:1\nb v=f:2\n");
}
END_TEST

static void put_padded(struct buf *b, const char *head, size_t len)
{
	size_t start = b->len;
	buf_printf(b, "%s", head);
	while (b->len - start < len)
		buf_u8(b, 'x');
}

START_TEST(long_lines_are_skipped_in_bounded_memory)
{
	struct buf b = {0};
	buf_printf(&b, "m v=1\n");
	put_padded(&b, "m,t=", LINE_BYTES_MAX - 3);
	buf_printf(&b, " v=2\n"); /* one byte too long */
	put_padded(&b, "m,t=", LINE_BYTES_MAX - 4);
	buf_printf(&b, " v=3\n"); /* just fits */
	put_padded(&b, "# comment", LINE_BYTES_MAX * 2);
	buf_printf(&b, "\n");
	put_padded(&b, "m v=\"", LINE_BYTES_MAX * 3); /* a long line that opens a quote */
	buf_printf(&b, "\nm v=4\n");
	put_padded(&b, "m v=\"q\nn v=5\nlong", LINE_BYTES_MAX * 3); /* a quote that never closes */
	buf_printf(&b, "\nm v=6\n");
	put_padded(&b, "m v=", LINE_BYTES_MAX + 10);

	struct record r = {.numbers = true};
	parse_whole(&r, b.data, b.len);
	const char *out = buf_cstr(&r.out);
	ck_assert_ptr_nonnull(strstr(out, "1:m v=f:1\n2:!line_too_long@65537 m,t=xxx"));
	ck_assert_ptr_nonnull(strstr(out, " v=f:3\n5:!line_too_long@65537 m v=\"x"));
	ck_assert_ptr_nonnull(strstr(out, "6:m v=f:4\n7:!bad_string@5 m v=\"q\n8:n v=f:5\n9:!line_too_long@65537 longx"));
	ck_assert_ptr_nonnull(strstr(out, "10:m v=f:6\n11:!line_too_long@65537 m v=xx"));
	ck_assert_uint_eq(r.errors, 5);
	ck_assert_uint_eq(r.lines, 5);
	buf_free(&r.out);
	check_splits((const char *)b.data, b.len, true, false);

	/* Skipped bytes stay pending until the newline: a position never lies within a line. */
	struct record q = {0};
	struct line_parser p;
	parser_of(&p, &q, 1);
	char chunk[1000];
	memset(chunk, 'y', sizeof(chunk));
	for (int i = 0; i < 300; i++)
		line_parser_feed(&p, chunk, sizeof(chunk));
	ck_assert_uint_eq(line_parser_pending(&p), 300 * sizeof(chunk));
	ck_assert_uint_eq(q.errors, 0);
	line_parser_feed(&p, "\nm v=1\nm", 8);
	ck_assert_uint_eq(line_parser_pending(&p), 1);
	ck_assert_uint_eq(q.errors, 1);
	line_parser_reset(&p);
	ck_assert_uint_eq(line_parser_pending(&p), 0);
	line_parser_feed(&p, "m v=1\n", 6);
	ck_assert_uint_eq(q.errors, 1);
	ck_assert_str_eq(strrchr(buf_cstr(&q.out), 'm'), "m v=f:1\n");
	line_parser_free(&p);
	buf_free(&q.out);
	buf_free(&b);
}
END_TEST

/* Tags that are refused only when they are looked at do not make a newline in quotes data. */
START_TEST(a_bad_series_takes_no_neighbours_into_its_string)
{
	static const char in[] = "m,t=a,t=b s=\"open\nm v=1\nw=\" 5\n";
	for (int lazy = 0; lazy < 2; lazy++) {
		struct record r = {.lazy = lazy};
		parse_whole(&r, in, strlen(in));
		ck_assert_uint_eq(r.lines, 1);
		ck_assert_uint_eq(r.errors, 2);
		ck_assert_ptr_nonnull(strstr(buf_cstr(&r.out), "!duplicate_tag@"));
		ck_assert_ptr_nonnull(strstr(buf_cstr(&r.out), "m v=f:1"));
		buf_free(&r.out);
	}
}
END_TEST

/* Whatever a quote swallows, the same bytes are parsed again a bounded number of times only. */
/* Hundreds of connections may each have sent one. */
START_TEST(a_long_line_leaves_no_memory_behind)
{
	struct record r = {.lazy = true};
	struct line_parser p;
	struct buf text = {0};
	buf_printf(&text, "m,t=");
	for (int i = 0; i < 10000; i++)
		buf_printf(&text, "\\,");
	buf_printf(&text, " v=\"");
	for (int i = 0; i < 10000; i++)
		buf_printf(&text, "\\\"");
	buf_printf(&text, "\"\n");
	buf_reserve(&r.out, 256 * 1024);
	parser_of(&p, &r, 1);
	size_t before = mallinfo2().uordblks;
	for (size_t i = 0; i < text.len; i += 1000)
		line_parser_feed(&p, text.data + i, text.len - i < 1000 ? text.len - i : 1000);
	size_t after = mallinfo2().uordblks;
	ck_assert_uint_eq(r.lines, 1);
	ck_assert_uint_lt(after - before, 16 * 1024);
	line_parser_free(&p);
	buf_free(&text);
	buf_free(&r.out);
}
END_TEST

START_TEST(swallowed_lines_come_back_in_linear_time)
{
	static const char *const lines[] = {"a v=\"\\\"\n", "a v=1,s=\"   \\\\\n", "a\",t=1 v=\"\n", "a v=\",w=\"\n"};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct buf b = {0};
		size_t count = 0;
		for (; b.len < 2u << 20; count++)
			buf_printf(&b, "%s", lines[i]);
		struct record r = {0};
		parse_whole(&r, b.data, b.len);
		ck_assert_uint_le(r.lines + r.errors, count);
		ck_assert_uint_ge(r.lines + r.errors, count / LINE_FIELDS_MAX);
		buf_free(&r.out);
		buf_free(&b);
	}
	/* One open quote before many good lines, again and again. */
	struct buf b = {0};
	size_t good = 0, bad = 0;
	while (b.len < 2u << 20) {
		buf_printf(&b, "q v=\"x\n");
		bad++;
		for (int i = 0; i < 20000; i++, good++)
			buf_printf(&b, "b v=1\n");
	}
	struct record r = {0};
	parse_whole(&r, b.data, b.len);
	ck_assert_uint_eq(r.lines, good);
	ck_assert_uint_eq(r.errors, bad);
	buf_free(&r.out);
	buf_free(&b);
}
END_TEST

/* ---- writing ---------------------------------------------------------------------------------------------------- */

START_TEST(what_is_written_parses_back)
{
	static const char *const texts[] = {"plain", "a b", "a,b", "a=b", "q\"q", "back\\slash", "a\\,b", "\\\\x", "\xc3\xa9"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct bytes t = bytes_of(texts[i], strlen(texts[i]));
		struct buf b = {0};
		struct record r = {0};
		line_put_measurement(&b, t);
		buf_u8(&b, ',');
		line_put_key(&b, t);
		buf_u8(&b, '=');
		line_put_key(&b, t);
		buf_u8(&b, ' ');
		line_put_key(&b, t);
		buf_u8(&b, '=');
		line_put_string(&b, t);
		parse_whole(&r, b.data, b.len);
		struct buf want = {0};
		buf_printf(&want, "%s[%s=%s] %s=s:%s\n", texts[i], texts[i], texts[i], texts[i], texts[i]);
		ck_assert_str_eq(buf_cstr(&r.out), buf_cstr(&want));
		buf_free(&want);
		buf_free(&b);
		buf_free(&r.out);
	}
	struct buf b = {0};
	struct record r = {0};
	line_put_measurement(&b, bytes_of("#a\n\\", 4));
	buf_u8(&b, ' ');
	line_put_key(&b, bytes_of("k\n\0\\", 4));
	buf_u8(&b, '=');
	line_put_string(&b, bytes_of("s\0\n\\", 4));
	parse_whole(&r, b.data, b.len);
	ck_assert_str_eq(buf_cstr(&r.out), "_a__ k___=s:s_<0a>\\\n");
	buf_free(&b);
	buf_free(&r.out);
}
END_TEST

START_TEST(floats_are_written_short_and_exact)
{
	static const double values[] = {0, -0.0, 1, -1, 0.1, 88.25, 1e15, 123456789012345680.0, 1e300, -2.5e-300, 5e-324, 1.0 / 3,
	    999999999999999, 4.35, -0.001, 0.05, 100.5, 12.120, 999999999999.999, 0.0004, 20.123, 1000000000000.5};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct buf b = {0};
		line_put_float(&b, values[i]);
		double back = only_number(buf_cstr(&b));
		ck_assert_msg(!memcmp(&back, &values[i], sizeof(back)), "%s", buf_cstr(&b));
		buf_free(&b);
	}
	struct buf b = {0};
	static const double shorts[] = {4.35, -0.0, 100, 20.5, -0.007, 0.1234, 1e15};
	for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
		line_put_float(&b, shorts[i]);
		buf_u8(&b, ' ');
	}
	ck_assert_str_eq(buf_cstr(&b), "4.35 -0 100 20.5 -0.007 0.1234 1e+15 ");
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/line");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, the_documented_forms);
	tcase_add_test(tc, escapes_by_element);
	tcase_add_test(tc, every_reason_with_its_column);
	tcase_add_test(tc, too_many_tags_and_fields);
	tcase_add_test(tc, precision_scales_and_bounds_the_timestamp);
	tcase_add_test(tc, floats_are_the_nearest_double);
	tcase_add_test(tc, floats_do_not_follow_the_locale);
	tcase_add_test(tc, any_split_gives_the_same);
	tcase_add_test(tc, going_on_at_the_position_is_exact);
	tcase_add_test(tc, an_unbalanced_quote_costs_one_line);
	tcase_add_test(tc, long_lines_are_skipped_in_bounded_memory);
	tcase_add_test(tc, a_long_line_leaves_no_memory_behind);
	tcase_add_test(tc, a_bad_series_takes_no_neighbours_into_its_string);
	tcase_add_test(tc, swallowed_lines_come_back_in_linear_time);
	tcase_add_test(tc, what_is_written_parses_back);
	tcase_add_test(tc, floats_are_written_short_and_exact);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
