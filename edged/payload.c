#include "edged/payload.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/line.h"
#include "edged/payload_json.h"

#define NUMBER_BYTES_MAX 64

struct payload_reader {
	const struct payload_conf *conf;
	struct payload_json *json; /* PAYLOAD_JSON */
};

struct payload_reader *payload_reader_new(const struct payload_conf *conf)
{
	weir_assert(conf->format != PAYLOAD_LINE);
	struct payload_reader *r = xcalloc(1, sizeof(*r));
	r->conf = conf;
	r->json = conf->format == PAYLOAD_JSON ? payload_json_new(conf) : NULL;
	return r;
}

void payload_reader_free(struct payload_reader *r)
{
	if (!r)
		return;
	payload_json_free(r->json);
	free(r);
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static size_t digits(struct bytes text, size_t *at)
{
	size_t from = *at;
	while (*at < text.n && text.p[*at] >= '0' && text.p[*at] <= '9')
		++*at;
	return *at - from;
}

static bool one_of(struct bytes text, size_t *at, char a, char b)
{
	if (*at == text.n || (text.p[*at] != a && text.p[*at] != b))
		return false;
	++*at;
	return true;
}

/* -1.5e-3, also .5 and 5. */
bool payload_is_number(struct bytes text)
{
	size_t at = 0;
	one_of(text, &at, '-', '+');
	size_t count = digits(text, &at);
	if (one_of(text, &at, '.', '.'))
		count += digits(text, &at);
	if (count && one_of(text, &at, 'e', 'E')) {
		one_of(text, &at, '-', '+');
		count = digits(text, &at);
	}
	return count && at == text.n && text.n <= NUMBER_BYTES_MAX;
}

/* Without white space and NULs (which C programs like to send) at its ends. */
static struct bytes trimmed(struct bytes text)
{
	while (text.n && (text.p[text.n - 1] <= ' '))
		text.n--;
	while (text.n && text.p[0] <= ' ') {
		text.p++;
		text.n--;
	}
	return text;
}

/* What switches say: on and off are true and false. */
static const char *truth(struct bytes text)
{
	static const struct {
		const char *word, *value;
	} words[] = {{"true", "t"}, {"false", "f"}, {"on", "t"}, {"off", "f"}};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].word) == text.n && !strncasecmp(words[i].word, (const char *)text.p, text.n))
			return words[i].value;
	return NULL;
}

static void put_text(struct buf *out, const char *text)
{
	buf_put(out, text, strlen(text));
}

static void put_start(const struct payload_conf *c, struct buf *out)
{
	line_put_measurement(out, bytes_of((const uint8_t *)c->measurement, strlen(c->measurement)));
	buf_u8(out, ' ');
}

static void put_field(const struct payload_conf *c, struct buf *out)
{
	line_put_key(out, bytes_of((const uint8_t *)c->field, strlen(c->field)));
}

static void read_number(const struct payload_conf *c, struct bytes payload, struct buf *out, payload_refuse_fn *refuse, void *arg)
{
	struct bytes text = trimmed(payload);
	const char *word = truth(text);
	if (!word && !payload_is_number(text)) {
		refuse(arg, PAYLOAD_BAD, text.n ? "not a number" : "empty");
		return;
	}
	put_start(c, out);
	put_field(c, out);
	buf_u8(out, '=');
	if (word)
		put_text(out, word);
	else
		buf_put(out, text.p, text.n);
	buf_u8(out, '\n');
}

/* ---- collectd ---------------------------------------------------------------------------------------------------- */

/* Seconds with up to nine decimals (more are cut off), to the last nanosecond. */
static bool read_seconds(struct bytes text, int64_t *ret_ns)
{
	int64_t s = 0, ns = 0, unit = NS_PER_SEC / 10;
	size_t i = 0;
	for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++) {
		if (i == 10)
			return false;
		s = s * 10 + (text.p[i] - '0');
	}
	if (!i || (i < text.n && text.p[i] != '.') || s > TIME_MAX_NS / NS_PER_SEC)
		return false;
	for (i++; i < text.n; i++, unit /= 10) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		ns += (text.p[i] - '0') * unit;
	}
	*ret_ns = s * NS_PER_SEC + ns;
	return true;
}

static size_t split(struct bytes text, struct bytes ret_parts[PAYLOAD_VALUES_MAX + 2])
{
	size_t n = 0;
	for (size_t at = 0; text.n && at <= text.n && n < PAYLOAD_VALUES_MAX + 2;) {
		const uint8_t *start = text.p + at, *colon = memchr(start, ':', text.n - at);
		ret_parts[n] = bytes_of(start, colon ? (size_t)(colon - start) : text.n - at);
		at += ret_parts[n++].n + 1;
	}
	return n;
}

static bool is_nan(struct bytes text)
{
	return (text.n == 3 && !strncasecmp((const char *)text.p, "nan", 3)) ||
	    (text.n == 4 && !strncasecmp((const char *)text.p, "-nan", 4));
}

/* The values that are there; false: one is no number. */
static bool put_values(const struct payload_conf *c, const struct bytes *values, size_t count, struct buf *out, size_t *ret_put)
{
	size_t put = 0;
	for (size_t i = 0; i < count; i++) {
		if (is_nan(values[i]))
			continue;
		if (!payload_is_number(values[i]))
			return false;
		if (put++)
			buf_u8(out, ',');
		put_field(c, out);
		if (count > 1)
			buf_printf(out, "_%zu", i);
		buf_u8(out, '=');
		buf_put(out, values[i].p, values[i].n);
	}
	*ret_put = put;
	return true;
}

static void read_collectd(const struct payload_conf *c, struct bytes payload, struct buf *out, payload_refuse_fn *refuse, void *arg)
{
	struct bytes parts[PAYLOAD_VALUES_MAX + 2];
	size_t before = out->len, count = split(trimmed(payload), parts), put = 0;
	int64_t time_ns;
	const char *reason = NULL;
	put_start(c, out);
	if (count < 2 || count > PAYLOAD_VALUES_MAX + 1)
		reason = PAYLOAD_BAD;
	else if (!read_seconds(parts[0], &time_ns))
		reason = PAYLOAD_BAD_TIME;
	else if (!put_values(c, parts + 1, count - 1, out, &put))
		reason = PAYLOAD_BAD_NUMBER;
	else if (!put)
		reason = PAYLOAD_NO_VALUE;
	if (!reason) {
		buf_printf(out, " %lld\n", (long long)time_ns);
		return;
	}
	out->len = before;
	refuse(arg, reason, "expected TIME:VALUE[:VALUE...]");
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

void payload_read(struct payload_reader *r, struct bytes payload, struct buf *out, payload_refuse_fn *refuse, void *arg)
{
	if (payload.n > PAYLOAD_BYTES_MAX) {
		refuse(arg, PAYLOAD_TOO_BIG, "more than 1 MiB");
		return;
	}
	switch (r->conf->format) {
	case PAYLOAD_NUMBER:
		read_number(r->conf, payload, out, refuse, arg);
		return;
	case PAYLOAD_COLLECTD:
		read_collectd(r->conf, payload, out, refuse, arg);
		return;
	case PAYLOAD_JSON:
		payload_json_read(r->json, payload, out, refuse, arg);
		return;
	case PAYLOAD_LINE:
	case PAYLOAD_FORMAT_COUNT:
		weir_assert(false);
	}
}
