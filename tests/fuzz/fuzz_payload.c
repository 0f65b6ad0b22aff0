/* What comes by MQTT: payloads of each format, which become lines of line protocol; topics against filters; paths into JSON; and the mark of
 * an mqtt source. The first byte says which. */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/json_path.h"
#include "common/topic.h"
#include "edged/payload.h"
#include "edged/source.h"
#include "tests/fuzz/fuzz.h"

/* Constants as the fields want them, which nobody writes to. */
#define TEXT(text) (char *)(uintptr_t)(text)

/* ---- payloads ---------------------------------------------------------------------------------------------------- */

struct outcome {
	size_t refused, lines, errors;
};

static void on_refused(void *arg, const char *reason, const char *detail)
{
	FUZZ_CHECK(reason && detail);
	((struct outcome *)arg)->refused++;
}

static void on_line(void *arg, const struct line *l)
{
	FUZZ_CHECK(l->field_count && l->measurement.n == 3 && !memcmp(l->measurement.p, "m x", 3));
	((struct outcome *)arg)->lines++;
}

/* Whether a number is out of range the line parser says. */
static void on_error(void *arg, uint64_t number, size_t column, enum line_error e, struct bytes text)
{
	(void)number, (void)column, (void)text;
	FUZZ_CHECK(e == LINE_BAD_NUMBER || e == LINE_TOO_LONG);
	((struct outcome *)arg)->errors++;
}

static size_t newlines(const struct buf *b)
{
	size_t n = 0;
	for (size_t i = 0; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

/* Each reading is a line, or refused. */
static void try_payload(const struct payload_conf *conf, struct bytes payload)
{
	struct outcome o = {0};
	struct line_callbacks cb = {&o, on_line, on_error};
	struct payload_reader *r = payload_reader_new(conf);
	struct line_parser p;
	struct buf out = {0};
	payload_read(r, payload, &out, on_refused, &o);
	line_parser_init(&p, &cb, 1, false);
	line_parser_feed(&p, out.data, out.len);
	FUZZ_CHECK(!line_parser_pending(&p));
	FUZZ_CHECK(o.lines + o.errors == newlines(&out));
	FUZZ_CHECK(o.lines + o.errors + o.refused || conf->format == PAYLOAD_JSON); /* [] */
	line_parser_free(&p);
	payload_reader_free(r);
	buf_free(&out);
}

/* ---- topics and paths -------------------------------------------------------------------------------------------- */

/* FILTER NUL TOPIC */
static void try_topic(const char *text, size_t len)
{
	struct topic_filter f, again;
	struct topic_tag tags[TOPIC_LEVELS_MAX];
	const char *why = NULL;
	size_t filter_len = strlen(text), count = 0;
	if (topic_filter_parse(text, &f, &why)) {
		FUZZ_CHECK(why && !f.count && !f.subscribe);
		return;
	}
	FUZZ_CHECK(topic_filters_overlap(&f, &f) && f.count && f.count <= TOPIC_LEVELS_MAX);
	FUZZ_CHECK(!topic_filter_parse(f.subscribe, &again, &why) && topic_filters_overlap(&f, &again));
	if (filter_len < len) {
		struct bytes topic = bytes_of((const uint8_t *)text + filter_len + 1, len - filter_len - 1);
		size_t same = 0;
		bool matches = topic_filter_match(&f, topic, tags, &count);
		FUZZ_CHECK(!matches || count <= f.count);
		for (size_t i = 0; matches && i < count; i++)
			FUZZ_CHECK(tags[i].value.n && !memchr(tags[i].value.p, '/', tags[i].value.n));
		FUZZ_CHECK(topic_filter_match(&again, topic, tags, &same) == matches && !same);
	}
	topic_filter_clear(&f);
	topic_filter_clear(&again);
}

static void try_path(const char *text)
{
	struct json_path p;
	const char *why = NULL;
	if (json_path_parse(text, &p, &why)) {
		FUZZ_CHECK(why && !p.count);
		return;
	}
	FUZZ_CHECK(p.count <= JSON_PATH_STEPS_MAX);
	json_path_clear(&p);
}

/* ---- the mark ---------------------------------------------------------------------------------------------------- */

static void try_mark(struct bytes mark)
{
	static struct mqtt_topic_conf topic = {TEXT("a"), {.format = PAYLOAD_LINE}};
	static const struct source_conf conf = {.type = SOURCE_MQTT, .name = TEXT("s"),
		.mqtt = {.broker.address = TEXT("mqtt://127.0.0.1:1"), .client_id = TEXT("id"), .topics = &topic, .topic_count = 1}};
	struct source_io io = {0};
	struct buf first = {0}, second = {0}, typed = {0};
	struct source *s = source_new(NULL, &conf, &io), *t = source_new(NULL, &conf, &io);
	buf_u8(&typed, SOURCE_MQTT);
	buf_put(&typed, mark.p, mark.n);
	if (!source_restore(s, fuzz_bytes(&typed))) {
		source_mark(s, &first);
		FUZZ_CHECK(!source_restore(t, fuzz_bytes(&first)));
		source_mark(t, &second);
		FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
	}
	source_free(s);
	source_free(t);
	buf_free(&first);
	buf_free(&second);
	buf_free(&typed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct model_tag fields[] = {{TEXT("f"), TEXT("v")}, {TEXT("g h"), TEXT("w[1].x")}},
				tags[] = {{TEXT("a"), TEXT("$.a")}, {TEXT("b,"), TEXT("b")}};
	static const struct payload_conf confs[] = {
		{.format = PAYLOAD_NUMBER, .measurement = TEXT("m x"), .field = TEXT("f")},
		{.format = PAYLOAD_COLLECTD, .measurement = TEXT("m x"), .field = TEXT("f")},
		{.format = PAYLOAD_JSON, .measurement = TEXT("m x"), .field = TEXT("f"), .value = TEXT("@")},
		{.format = PAYLOAD_JSON, .measurement = TEXT("m x"), .readings = TEXT("d"), .fields = fields, .field_count = 2, .tags = tags,
		    .tag_count = 2, .time = TEXT("t"), .unit_ns = NS_PER_MS},
	};
	if (!len)
		return 0;
	struct bytes rest = len > 1 ? bytes_of(data + 1, len - 1) : bytes_of(NULL, 0);
	char *text = xmalloc(rest.n + 1);
	if (rest.n)
		memcpy(text, rest.p, rest.n);
	text[rest.n] = 0;
	switch (data[0]) {
	case 'n':
		try_payload(&confs[0], rest);
		break;
	case 'c':
		try_payload(&confs[1], rest);
		break;
	case 'v':
		try_payload(&confs[2], rest);
		break;
	case 'j':
		try_payload(&confs[3], rest);
		break;
	case 't':
		try_topic(text, rest.n);
		break;
	case 'p':
		try_path(text);
		break;
	case 'm':
		try_mark(rest);
		break;
	}
	free(text);
	return 0;
}
