#include "common/line_grammar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

/* Where the scan of one line is. */
struct cursor {
	const uint8_t *p, *end;
	enum line_error err;
	const uint8_t *err_at;
};

static bool fail(struct cursor *c, enum line_error err, const uint8_t *at)
{
	c->err = err;
	c->err_at = at;
	return false;
}

static inline bool is_digit(uint8_t ch)
{
	return (uint8_t)(ch - '0') < 10;
}

static void skip_spaces(struct cursor *c)
{
	while (c->p < c->end && *c->p == ' ')
		c->p++;
}

void line_grammar_init(struct line_grammar *g, int64_t precision_ns, bool lazy)
{
	memset(g, 0, sizeof(*g));
	g->precision_ns = precision_ns;
	g->lazy = lazy;
	g->locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	weir_assert(g->locale);
}

void line_grammar_free(struct line_grammar *g)
{
	freelocale(g->locale);
	buf_free(&g->text);
	buf_free(&g->series_text);
	buf_free(&g->digits);
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

static inline bool escapable(uint8_t ch, bool measurement)
{
	return ch == ',' || ch == ' ' || (ch == '=' && !measurement);
}

/* [from, to) without its escapes: in place where there are none, else in b, which has room for a whole line. */
static struct bytes unescape(struct buf *b, size_t line_len, const uint8_t *from, const uint8_t *to, bool measurement)
{
	if (!memchr(from, '\\', (size_t)(to - from)))
		return bytes_of(from, (size_t)(to - from));
	if (!b->len)
		buf_reserve(b, line_len); /* what is unescaped is shorter than the line: b will not move */
	uint8_t *out = b->data + b->len;
	size_t n = 0;
	for (const uint8_t *p = from; p < to; p++) {
		if (*p == '\\' && p + 1 < to && escapable(p[1], measurement))
			p++;
		out[n++] = *p;
	}
	b->len += n;
	return bytes_of(out, n);
}

/* Eight bytes at once: the high bit of each byte of the result that may equal one of three; only the lowest is sure
 * ("Bit Twiddling Hacks", determine if a word has a zero byte). */
static inline uint64_t zero_bytes(uint64_t v)
{
	return (v - UINT64_C(0x0101010101010101)) & ~v & UINT64_C(0x8080808080808080);
}

static inline uint64_t load8(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

/* The first space, backslash or NUL of [p, end), else end. */
static const uint8_t *scan_series(const uint8_t *p, const uint8_t *end)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	while (end - p >= 8) {
		uint64_t v = load8(p);
		if (zero_bytes(v) | zero_bytes(v ^ (ones * ' ')) | zero_bytes(v ^ (ones * '\\')))
			break;
		p += 8;
	}
	while (p < end && *p != ' ' && *p != '\\' && *p)
		p++;
	return p;
}

/* ---- series -------------------------------------------------------------------------------------------------- */

/* To the first unescaped space; NUL and a missing measurement are errors. */
static bool find_series(struct cursor *c, struct bytes *ret_series)
{
	const uint8_t *start = c->p;
	if (*start == ',')
		return fail(c, LINE_NO_MEASUREMENT, start);
	for (;;) {
		c->p = scan_series(c->p, c->end);
		if (c->p == c->end)
			return fail(c, LINE_NO_FIELD, c->end);
		if (*c->p == ' ')
			break;
		if (!*c->p)
			return fail(c, LINE_BAD_UTF8_NUL, c->p);
		c->p += c->p + 1 < c->end && escapable(c->p[1], false) ? 2 : 1;
	}
	*ret_series = bytes_of(start, (size_t)(c->p - start));
	return true;
}

/* The first unescaped `,` or `=` (tags only) of [p, end), else end. */
static const uint8_t *tag_delimiter(const uint8_t *p, const uint8_t *end, bool measurement)
{
	for (; p < end; p++) {
		if (*p == ',' || (*p == '=' && !measurement))
			return p;
		if (*p == '\\' && p + 1 < end && escapable(p[1], measurement))
			p++;
	}
	return end;
}

static bool parse_tag(struct cursor *c, struct line_grammar *g, size_t len, struct line_tag *ret)
{
	const uint8_t *key = c->p;
	const uint8_t *eq = tag_delimiter(key, c->end, false);
	if (eq == c->end || *eq != '=' || eq == key)
		return fail(c, LINE_BAD_TAG, key);
	const uint8_t *value = eq + 1;
	const uint8_t *to = tag_delimiter(value, c->end, false);
	if (to == value || (to < c->end && *to == '='))
		return fail(c, LINE_BAD_TAG, to == value ? key : to);
	ret->key = unescape(&g->series_text, len, key, eq, false);
	ret->value = unescape(&g->series_text, len, value, to, false);
	c->p = to;
	return true;
}

static bool tag_known(const struct line_tag *tags, size_t count, struct bytes key)
{
	for (size_t i = 0; i < count; i++) {
		if (tags[i].key.n == key.n && !memcmp(tags[i].key.p, key.p, key.n))
			return true;
	}
	return false;
}

static bool parse_series(struct cursor *c, struct line_grammar *g, struct bytes *ret_measurement, size_t *ret_count)
{
	const uint8_t *start = c->p;
	size_t len = (size_t)(c->end - start);
	buf_clear(&g->series_text);
	c->p = tag_delimiter(start, c->end, true);
	if (c->p == start)
		return fail(c, LINE_NO_MEASUREMENT, start);
	*ret_measurement = unescape(&g->series_text, len, start, c->p, true);
	size_t count = 0;
	while (c->p < c->end) {
		const uint8_t *at = ++c->p; /* after the comma */
		if (count == LINE_TAGS_MAX)
			return fail(c, LINE_TOO_MANY, at);
		if (!parse_tag(c, g, len, &g->tags[count]))
			return false;
		if (tag_known(g->tags, count, g->tags[count].key))
			return fail(c, LINE_DUPLICATE_TAG, at);
		count++;
	}
	*ret_count = count;
	return true;
}

enum line_error line_grammar_series(struct line_grammar *g, struct bytes series, struct bytes *ret_measurement,
    size_t *ret_tag_count, size_t *ret_at)
{
	struct cursor c = {.p = series.p, .end = series.p + series.n};
	if (parse_series(&c, g, ret_measurement, ret_tag_count))
		return LINE_OK;
	*ret_at = (size_t)(c.err_at - series.p);
	return c.err;
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

static const double powers_of_ten[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
    1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define EXACT_POWER_MAX 22
#define EXACT_MANTISSA_MAX (UINT64_C(1) << 53)
#define EXPONENT_MAX 100000 /* far beyond what a double can hold */

struct decimal {
	bool negative;
	bool fraction; /* has a point or an exponent: not an integer */
	bool inexact;  /* mantissa does not hold all digits */
	uint64_t mantissa;
	int64_t exponent; /* of ten */
};

static inline bool all_digits8(uint64_t v)
{
	return ((v & UINT64_C(0xf0f0f0f0f0f0f0f0)) | (((v + UINT64_C(0x0606060606060606)) & UINT64_C(0xf0f0f0f0f0f0f0f0)) >> 4)) ==
	    UINT64_C(0x3333333333333333);
}

/* Eight ASCII digits, the first in the lowest byte (D. Lemire, "Quickly parsing eight digits", 2018). */
static inline uint64_t value_of_digits8(uint64_t v)
{
	v -= UINT64_C(0x3030303030303030);
	v = v * 10 + (v >> 8);
	return (((v & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064)) +
	           (((v >> 16) & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001))) >>
	    32;
}

/* Appends a run of digits to d; those that do not fit count in the exponent. Returns where the run ends. */
static const uint8_t *take_digits(const uint8_t *p, const uint8_t *end, struct decimal *d, bool after_point)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	while (end - p >= 8 && d->mantissa < UINT64_C(100000000000) && !d->inexact) {
		uint64_t v = load8(p);
		if (!all_digits8(v))
			break;
		d->mantissa = d->mantissa * 100000000 + value_of_digits8(v);
		d->exponent -= after_point ? 8 : 0;
		p += 8;
	}
#endif
	for (; p < end && is_digit(*p); p++) {
		unsigned digit = *p - (unsigned)'0';
		if (d->inexact || d->mantissa > (UINT64_MAX - digit) / 10) {
			d->inexact = true;
			d->exponent += after_point ? 0 : 1;
		} else {
			d->mantissa = d->mantissa * 10 + digit;
			d->exponent -= after_point ? 1 : 0;
		}
	}
	return p;
}

static const uint8_t *take_exponent(const uint8_t *p, const uint8_t *end, struct decimal *d)
{
	bool negative = false;
	if (p < end && (*p == '-' || *p == '+'))
		negative = *p++ == '-';
	if (p == end || !is_digit(*p))
		return NULL;
	int64_t e = 0;
	for (; p < end && is_digit(*p); p++) {
		if (e < EXPONENT_MAX)
			e = e * 10 + (*p - '0');
	}
	d->exponent += negative ? -e : e;
	d->fraction = true;
	return p;
}

/* [+-]digits[.digits][e[+-]digits], with a digit before or after the point. NULL: it is none. */
static const uint8_t *take_decimal(const uint8_t *p, const uint8_t *end, struct decimal *d)
{
	if (p < end && (*p == '-' || *p == '+'))
		d->negative = *p++ == '-';
	const uint8_t *digits = p;
	p = take_digits(p, end, d, false);
	size_t count = (size_t)(p - digits);
	if (p < end && *p == '.') {
		const uint8_t *after = p + 1;
		p = take_digits(after, end, d, true);
		count += (size_t)(p - after);
		d->fraction = true;
	}
	if (!count)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E'))
		p = take_exponent(p + 1, end, d);
	return p;
}

/* The double nearest to d. Where mantissa and power of ten are both exact doubles, one correctly rounded operation
 * gives it (W. D. Clinger, "How to read floating point numbers accurately", 1990); else the C library. */
static bool decimal_double(struct line_grammar *g, const struct decimal *d, const uint8_t *from, const uint8_t *to,
    double *ret)
{
	double v;
	if (!d->inexact && d->mantissa <= EXACT_MANTISSA_MAX && d->exponent >= -EXACT_POWER_MAX &&
	    d->exponent <= EXACT_POWER_MAX) {
		v = (double)d->mantissa;
		v = d->exponent < 0 ? v / powers_of_ten[-d->exponent] : v * powers_of_ten[d->exponent];
		*ret = d->negative ? -v : v;
		return true;
	}
	buf_clear(&g->digits);
	buf_put(&g->digits, from, (size_t)(to - from));
	v = strtod_l(buf_cstr(&g->digits), NULL, g->locale);
	if (!isfinite(v))
		return false;
	*ret = v;
	return true;
}

static bool decimal_signed(const struct decimal *d, int64_t *ret)
{
	if (d->fraction || d->inexact || d->mantissa > (uint64_t)INT64_MAX + (d->negative ? 1 : 0))
		return false;
	*ret = (int64_t)(d->negative ? ~d->mantissa + 1 : d->mantissa);
	return true;
}

static bool parse_number(struct cursor *c, struct line_grammar *g, struct line_field *f)
{
	struct decimal d = {0};
	const uint8_t *start = c->p;
	const uint8_t *p = take_decimal(start, c->end, &d);
	if (!p)
		return fail(c, LINE_BAD_NUMBER, start);
	bool fits;
	if (p < c->end && *p == 'i') {
		int64_t v = 0;
		fits = decimal_signed(&d, &v);
		f->type = LINE_INTEGER;
		f->number = (double)v;
		p++;
	} else if (p < c->end && *p == 'u') {
		fits = !d.fraction && !d.inexact && !d.negative;
		f->type = LINE_UNSIGNED;
		f->number = (double)d.mantissa;
		p++;
	} else {
		f->type = LINE_FLOAT;
		fits = decimal_double(g, &d, start, p, &f->number);
	}
	if (!fits || (p < c->end && *p != ',' && *p != ' '))
		return fail(c, LINE_BAD_NUMBER, start);
	c->p = p;
	return true;
}

/* ---- fields -------------------------------------------------------------------------------------------------- */

static bool is_word(const uint8_t *p, size_t n, const char *word)
{
	return strlen(word) == n && !memcmp(p, word, n);
}

static bool parse_boolean(struct cursor *c, struct line_field *f)
{
	const uint8_t *p = c->p;
	while (c->p < c->end && *c->p != ',' && *c->p != ' ')
		c->p++;
	size_t n = (size_t)(c->p - p);
	bool yes = is_word(p, n, "t") || is_word(p, n, "T") || is_word(p, n, "true") || is_word(p, n, "True") ||
	    is_word(p, n, "TRUE");
	bool no = is_word(p, n, "f") || is_word(p, n, "F") || is_word(p, n, "false") || is_word(p, n, "False") ||
	    is_word(p, n, "FALSE");
	if (!yes && !no)
		return fail(c, LINE_BAD_FIELD, p);
	f->type = LINE_BOOLEAN;
	f->number = yes ? 1 : 0;
	return true;
}

static struct bytes unescape_string(struct line_grammar *g, size_t line_len, const uint8_t *from, const uint8_t *to)
{
	if (!memchr(from, '\\', (size_t)(to - from)))
		return bytes_of(from, (size_t)(to - from));
	if (!g->text.len)
		buf_reserve(&g->text, line_len);
	uint8_t *out = g->text.data + g->text.len;
	size_t n = 0;
	for (const uint8_t *p = from; p < to; p++) {
		if (*p == '\\' && p + 1 < to && (p[1] == '"' || p[1] == '\\'))
			p++;
		out[n++] = *p;
	}
	g->text.len += n;
	return bytes_of(out, n);
}

/* The quote that ends a string whose text starts at p, or end. */
static const uint8_t *string_end(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *quote = p - 1;
	for (;;) {
		if (quote < p) {
			quote = memchr(p, '"', (size_t)(end - p));
			quote = quote ? quote : end;
		}
		const uint8_t *slash = memchr(p, '\\', (size_t)(quote - p));
		if (!slash)
			return quote;
		p = slash + 1;
		if (p < end && (*p == '"' || *p == '\\'))
			p++;
	}
}

/* False with err LINE_OK: the string is still open at the end; err_at is its quote. */
static bool parse_string(struct cursor *c, struct line_grammar *g, size_t line_len, struct line_field *f)
{
	const uint8_t *open = c->p;
	const uint8_t *quote = string_end(open + 1, c->end);
	const uint8_t *nul = memchr(open, 0, (size_t)(quote - open));
	if (nul)
		return fail(c, LINE_BAD_UTF8_NUL, nul);
	if (quote == c->end)
		return fail(c, LINE_OK, open);
	c->p = quote + 1;
	if (c->p < c->end && *c->p != ',' && *c->p != ' ')
		return fail(c, LINE_BAD_STRING, c->p);
	f->type = LINE_STRING;
	f->number = 0;
	f->string = unescape_string(g, line_len, open + 1, quote);
	return true;
}

static bool parse_key(struct cursor *c, struct line_grammar *g, size_t line_len, struct bytes *ret_key)
{
	const uint8_t *start = c->p, *p = start, *end = c->end;
	bool escaped = false;
	for (; p < end && *p != '='; p++) {
		if (*p == ',' || *p == ' ')
			return fail(c, LINE_BAD_FIELD, p);
		if (!*p)
			return fail(c, LINE_BAD_UTF8_NUL, p);
		if (*p == '\\' && p + 1 < end && escapable(p[1], false)) {
			escaped = true;
			p++;
		}
	}
	if (p == end || p == start)
		return fail(c, LINE_BAD_FIELD, start);
	*ret_key = escaped ? unescape(&g->text, line_len, start, p, false) : bytes_of(start, (size_t)(p - start));
	c->p = p + 1;
	return true;
}

static bool parse_value(struct cursor *c, struct line_grammar *g, size_t line_len, struct line_field *f)
{
	if (c->p == c->end)
		return fail(c, LINE_BAD_FIELD, c->p);
	f->string = (struct bytes){0};
	uint8_t ch = *c->p;
	if (ch == '"')
		return parse_string(c, g, line_len, f);
	if (is_digit(ch) || ch == '-' || ch == '.' || ch == '+')
		return parse_number(c, g, f);
	if (ch == 't' || ch == 'T' || ch == 'f' || ch == 'F')
		return parse_boolean(c, f);
	if (!ch)
		return fail(c, LINE_BAD_UTF8_NUL, c->p);
	/* NaN and infinities are numbers that cannot be; anything else is no value at all. */
	return fail(c, ch == 'n' || ch == 'N' || ch == 'i' || ch == 'I' ? LINE_BAD_NUMBER : LINE_BAD_FIELD, c->p);
}

static bool parse_fields(struct cursor *c, struct line_grammar *g, size_t line_len, size_t *ret_count)
{
	size_t count = 0;
	if (c->p == c->end)
		return fail(c, LINE_NO_FIELD, c->p);
	for (;;) {
		if (count == LINE_FIELDS_MAX)
			return fail(c, LINE_TOO_MANY, c->p);
		struct line_field *f = &g->fields[count];
		if (!parse_key(c, g, line_len, &f->key) || !parse_value(c, g, line_len, f))
			return false;
		count++;
		if (c->p == c->end || *c->p == ' ')
			break;
		c->p++; /* the comma */
	}
	*ret_count = count;
	return true;
}

/* ---- the line ------------------------------------------------------------------------------------------------ */

static bool parse_time(struct cursor *c, struct line_grammar *g, struct line *l)
{
	l->has_time = false;
	l->time_ns = 0;
	skip_spaces(c);
	if (c->p == c->end)
		return true;
	const uint8_t *start = c->p;
	struct decimal d = {0};
	if (*c->p == '-')
		d.negative = *c->p++ == '-';
	const uint8_t *digits = c->p;
	c->p = take_digits(digits, c->end, &d, false);
	int64_t t;
	if (c->p == digits || (c->p < c->end && *c->p != ' ') || !decimal_signed(&d, &t) ||
	    __builtin_mul_overflow(t, g->precision_ns, &t) || t < TIME_MIN_NS || t > TIME_MAX_NS)
		return fail(c, LINE_BAD_TIMESTAMP, start);
	skip_spaces(c);
	if (c->p < c->end)
		return fail(c, LINE_TRAILING, c->p);
	l->has_time = true;
	l->time_ns = t;
	return true;
}

static bool parse_whole(struct cursor *c, struct line_grammar *g, struct line *l)
{
	size_t len = (size_t)(c->end - c->p);
	buf_clear(&g->text);
	if (!find_series(c, &l->series))
		return false;
	l->measurement = (struct bytes){0};
	l->tags = g->tags;
	l->tag_count = 0;
	if (!g->lazy) {
		struct cursor s = {.p = l->series.p, .end = l->series.p + l->series.n};
		if (!parse_series(&s, g, &l->measurement, &l->tag_count))
			return fail(c, s.err, s.err_at);
	}
	skip_spaces(c);
	l->fields = g->fields;
	return parse_fields(c, g, len, &l->field_count) && parse_time(c, g, l);
}

/* Of a line that is open: it must not take the next ones for its string where it can only be refused in the end. */
static void refuse_bad_series(struct cursor *c, struct line_grammar *g, struct bytes series)
{
	struct cursor s = {.p = series.p, .end = series.p + series.n};
	struct bytes measurement;
	size_t tag_count;
	if (!parse_series(&s, g, &measurement, &tag_count))
		fail(c, s.err, s.err_at);
}

enum grammar_result line_grammar_parse(struct line_grammar *g, const uint8_t *s, size_t len, struct line *ret,
    enum line_error *ret_error, size_t *ret_at)
{
	struct cursor c = {.p = s, .end = s + len};
	if (len && s[len - 1] == '\r')
		c.end--;
	skip_spaces(&c);
	if (c.p == c.end || *c.p == '#')
		return GRAMMAR_BLANK;
	if (parse_whole(&c, g, ret))
		return GRAMMAR_LINE;
	if (c.err == LINE_OK && g->lazy)
		refuse_bad_series(&c, g, ret->series);
	*ret_at = (size_t)(c.err_at - s);
	if (c.err == LINE_OK)
		return GRAMMAR_OPEN;
	*ret_error = c.err;
	const uint8_t *nul = memchr(s, 0, len); /* says more than what it broke */
	if (nul) {
		*ret_error = LINE_BAD_UTF8_NUL;
		*ret_at = (size_t)(nul - s);
	}
	return GRAMMAR_ERROR;
}
