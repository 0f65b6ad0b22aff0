#include "edged/statsd.h"

#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "edged/statsd_number.h"

static const char *const error_labels[] = {
	"ok",
#define STATSD_LABEL(constant, label, text) label,
	STATSD_ERRORS(STATSD_LABEL)
#undef STATSD_LABEL
};
static const char *const error_texts[] = {
	"fine",
#define STATSD_TEXT(constant, label, text) text,
	STATSD_ERRORS(STATSD_TEXT)
#undef STATSD_TEXT
};

const char *statsd_error_label(enum statsd_error e)
{
	return error_labels[e];
}

const char *statsd_error_text(enum statsd_error e)
{
	return error_texts[e];
}

/* ---- pieces of text ------------------------------------------------------------------------------------------------- */

/* What is before the next `mark`, taken out of *rest together with it; all of *rest where there is none. */
static struct bytes take_until(struct bytes *rest, uint8_t mark)
{
	const uint8_t *at = rest->n ? memchr(rest->p, mark, rest->n) : NULL;
	size_t n = at ? (size_t)(at - rest->p) : rest->n;
	struct bytes taken = bytes_of(rest->p, n);
	*rest = at ? bytes_of(at + 1, rest->n - n - 1) : bytes_of(rest->p + n, 0);
	return taken;
}

static bool begins_with(struct bytes text, const char *with)
{
	size_t n = strlen(with);
	return text.n >= n && !memcmp(text.p, with, n);
}

static bool is(struct bytes text, const char *other)
{
	return text.n == strlen(other) && begins_with(text, other);
}

static int compare(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n ? memcmp(a.p, b.p, n) : 0;
	return d ? d : (a.n > b.n) - (a.n < b.n);
}

/* ---- what follows the type -------------------------------------------------------------------------------------------- */

static enum statsd_error parse_rate(struct bytes text, struct statsd_metric *m)
{
	double rate;
	if (!statsd_number(text, &rate) || !(rate > 0 && rate <= 1))
		return STATSD_BAD_RATE;
	m->rate = rate;
	return STATSD_OK;
}

/* To its place; of equal keys the last stays. False: there is no room. */
static bool place_tag(struct statsd_metric *m, struct line_tag tag)
{
	size_t at = m->tag_count;
	while (at && compare(m->tags[at - 1].key, tag.key) > 0)
		at--;
	if (at && !compare(m->tags[at - 1].key, tag.key)) {
		m->tags[at - 1] = tag;
		return true;
	}
	if (m->tag_count == STATSD_TAGS_MAX)
		return false;
	memmove(&m->tags[at + 1], &m->tags[at], (m->tag_count - at) * sizeof(m->tags[0]));
	m->tags[at] = tag;
	m->tag_count++;
	return true;
}

static enum statsd_error parse_tags(struct bytes text, struct statsd_metric *m)
{
	static const char yes[] = "true";
	while (text.n) {
		struct bytes value = take_until(&text, ',');
		if (!value.n)
			continue; /* a comma too many */
		bool has_text = memchr(value.p, ':', value.n);
		struct bytes key = take_until(&value, ':');
		if (!key.n)
			return STATSD_BAD_TAG;
		if (!has_text)
			value = bytes_of(yes, sizeof(yes) - 1);
		if (value.n && !place_tag(m, (struct line_tag){key, value}))
			return STATSD_TOO_MANY;
	}
	return STATSD_OK;
}

static enum statsd_error parse_time(struct bytes text, struct statsd_metric *m)
{
	int64_t seconds = 0;
	for (size_t i = 0; i < text.n; i++) {
		uint8_t digit = (uint8_t)(text.p[i] - '0');
		if (digit > 9 || seconds > STATSD_SECONDS_MAX / 10)
			return STATSD_BAD_TIME;
		seconds = seconds * 10 + digit;
	}
	if (!text.n || seconds > STATSD_SECONDS_MAX)
		return STATSD_BAD_TIME;
	m->has_time = true;
	m->time_ns = seconds * NS_PER_SEC;
	return STATSD_OK;
}

static enum statsd_error parse_part(struct bytes part, struct statsd_metric *m)
{
	struct bytes rest = part.n ? bytes_of(part.p + 1, part.n - 1) : part;
	switch (part.n ? part.p[0] : 0) {
	case '@':
		return parse_rate(rest, m);
	case '#':
		return parse_tags(rest, m);
	case 'T':
		return parse_time(rest, m);
	default: /* c:, e: and what is yet to come: of no use here */
		return STATSD_OK;
	}
}

/* ---- a metric ----------------------------------------------------------------------------------------------------------- */

static bool parse_type(struct bytes text, enum statsd_type *ret)
{
	static const char *const types[STATSD_TYPES] = {"c", "g", "ms", "h", "d", "s"};
	for (int i = 0; i < STATSD_TYPES; i++) {
		if (is(text, types[i])) {
			*ret = (enum statsd_type)i;
			return true;
		}
	}
	return false;
}

/* A sample of these stands for 1 / rate readings. */
static bool is_weighed(enum statsd_type type)
{
	return type == STATSD_TIMER || type == STATSD_HISTOGRAM || type == STATSD_DISTRIBUTION;
}

enum statsd_error statsd_parse(struct bytes line, struct statsd_metric *ret)
{
	struct bytes rest = line;
	ret->rate = 1;
	ret->tag_count = 0;
	ret->has_time = false;
	if (line.n > STATSD_LINE_BYTES_MAX)
		return STATSD_TOO_LONG;
	if (begins_with(line, "_e{") || begins_with(line, "_sc|"))
		return STATSD_EVENT;
	ret->values = take_until(&rest, '|');
	ret->name = take_until(&ret->values, ':');
	if (!ret->name.n || !ret->values.n || !rest.n)
		return STATSD_BAD_METRIC;
	if (!parse_type(take_until(&rest, '|'), &ret->type))
		return STATSD_BAD_TYPE;
	while (rest.n) {
		enum statsd_error e = parse_part(take_until(&rest, '|'), ret);
		if (e)
			return e;
	}
	return is_weighed(ret->type) && ret->rate * STATSD_WEIGHT_MAX < 1 ? STATSD_BAD_RATE : STATSD_OK;
}

bool statsd_next(struct statsd_metric *m, struct bytes *ret_value)
{
	if (!m->values.p)
		return false;
	if (m->type != STATSD_SET && memchr(m->values.p, ':', m->values.n)) {
		*ret_value = take_until(&m->values, ':');
		return true;
	}
	*ret_value = m->values;
	m->values = bytes_of(NULL, 0);
	return true;
}

/* ---- readings ------------------------------------------------------------------------------------------------------------- */

static struct bytes text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

static void put_tag(struct buf *b, struct bytes key, struct bytes value)
{
	buf_u8(b, ',');
	line_put_key(b, key);
	buf_u8(b, '=');
	line_put_key(b, value);
}

static void put_series(const struct statsd_metric *m, struct bytes member, struct buf *b)
{
	bool has_metric = false;
	line_put_measurement(b, m->name);
	for (size_t i = 0; i < m->tag_count && !has_metric; i++)
		has_metric = is(m->tags[i].key, "metric");
	if (!has_metric)
		put_tag(b, text_of("metric"), m->name);
	for (size_t i = 0; i < m->tag_count; i++)
		if (!member.n || !is(m->tags[i].key, "member"))
			put_tag(b, m->tags[i].key, m->tags[i].value);
	if (member.n)
		put_tag(b, text_of("member"), member);
}

static void put_reading(const struct statsd_metric *m, const struct buf *series, struct bytes number, struct buf *out)
{
	static const char *const fields[STATSD_TYPES] = {"counter", "gauge", "timer", "histogram", "distribution", "set"};
	buf_put(out, series->data, series->len);
	buf_printf(out, " %s=", fields[m->type]);
	buf_put(out, number.p, number.n);
	if (m->has_time)
		buf_printf(out, " %lld", (long long)m->time_ns);
	buf_u8(out, '\n');
}

static enum statsd_error put_number(const struct statsd_metric *m, const struct buf *series, double v, struct buf *out)
{
	struct buf number = {0};
	if (!isfinite(v))
		return STATSD_BAD_VALUE;
	line_put_float(&number, v);
	put_reading(m, series, bytes_of(number.data, number.len), out);
	buf_free(&number);
	return STATSD_OK;
}

static enum statsd_error put_gauge(const struct statsd_metric *m, const struct buf *series, struct bytes text, double v,
    struct statsd_gauges *gauges, struct buf *out)
{
	struct bytes key = bytes_of(series->data, series->len);
	if (text.p[0] != '+' && text.p[0] != '-')
		statsd_gauges_set(gauges, key, v);
	else if (!statsd_gauges_step(gauges, key, v, &v))
		return STATSD_GAUGE_LIMIT;
	return put_number(m, series, v, out);
}

unsigned statsd_weight(const struct statsd_metric *m)
{
	return is_weighed(m->type) ? (unsigned)(1 / m->rate + 0.5) : 1;
}

/* A rate of 0.1 means 10, which 0.1 as a double is not quite. */
static double unsampled(double v, double rate)
{
	double whole = floor(1 / rate + 0.5);
	return fabs(whole * rate - 1) < 1e-12 ? v * whole : v / rate;
}

enum statsd_error statsd_put(const struct statsd_metric *m, struct bytes value, struct statsd_gauges *gauges, struct buf *series,
    struct buf *out)
{
	double v = 1;
	bool is_set = m->type == STATSD_SET;
	if (!value.n || (!is_set && !statsd_number(value, &v)))
		return STATSD_BAD_VALUE;
	buf_clear(series);
	put_series(m, is_set ? value : bytes_of(NULL, 0), series);
	if (m->type == STATSD_GAUGE)
		return put_gauge(m, series, value, v, gauges, out);
	return put_number(m, series, m->type == STATSD_COUNTER ? unsampled(v, m->rate) : v, out);
}
