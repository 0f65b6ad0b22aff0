/* What weirctl reads: of a cloud events of a watch, cut anywhere, rows of JSON, metrics; of a person line protocol, cut anywhere, and a
 * topology that a node is added to and removed from. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/line.h"
#include "common/topology.h"
#include "ctl/lines.h"
#include "ctl/prom.h"
#include "ctl/rows.h"
#include "ctl/sse.h"
#include "ctl/topology_edit.h"
#include "tests/fuzz/fuzz.h"

static void on_event(void *arg, const char *event, const char *id, const char *data)
{
	struct buf *seen = arg;
	buf_str(seen, event);
	buf_str(seen, id);
	buf_str(seen, data);
}

static struct buf events(const uint8_t *data, size_t len, size_t piece)
{
	struct sse s;
	struct buf seen = {0};
	sse_init(&s, on_event, &seen);
	for (size_t at = 0; at < len; at += piece)
		if (sse_feed(&s, data + at, len - at < piece ? len - at : piece))
			break;
	sse_free(&s);
	return seen;
}

static void try_rows(const uint8_t *data, size_t len)
{
	json_t *json = json_loadb((const char *)data, len, 0, NULL), *row;
	size_t i;
	for (int csv = 0; csv < 2 && json; csv++) {
		struct rows r;
		struct buf out = {0};
		rows_init(&r, csv);
		json_array_foreach (json_object_get(json, "rows"), i, row)
			(void)rows_add(&r, row);
		rows_flush(&r, &out);
		rows_free(&r);
		buf_free(&out);
	}
	json_decref(json);
}

static bool is_within(struct bytes b, const char *text, size_t len)
{
	const char *p = (const char *)b.p;
	return p >= text && p + b.n <= text + len;
}

static void try_metrics(const char *text, size_t len)
{
	const char *at = text;
	struct prom_sample m;
	char value[16];
	double sum = prom_sum(text, "weir_cloud_batches_total", "verdict", "ok");
	(void)sum;
	while (prom_next(&at, &m)) {
		FUZZ_CHECK(is_within(m.name, text, len) && m.name.n > 0 && at <= text + len);
		FUZZ_CHECK(!m.labels.n || is_within(m.labels, text, len));
		FUZZ_CHECK(!prom_label(&m, "verdict", value, sizeof(value)) || memchr(value, 0, sizeof(value)));
	}
}

/* ---- line protocol --------------------------------------------------------------------------------------------- */

struct cut {
	struct buf all; /* what came, one after the other */
	struct buf ends;
};

static bool on_line(void *arg, const void *bytes, size_t len, bool reading, uint64_t series_hash)
{
	struct cut *c = arg;
	FUZZ_CHECK(len > 0 && (reading || !series_hash));
	buf_put(&c->all, bytes, len);
	buf_u64(&c->ends, c->all.len);
	buf_u64(&c->ends, series_hash);
	return true;
}

static struct cut cut_lines(const uint8_t *data, size_t len, size_t piece)
{
	struct cut c = {.all = {0}};
	struct lines l = {.line = on_line, .arg = &c};
	for (size_t at = 0; at < len; at += piece)
		FUZZ_CHECK(lines_feed(&l, data + at, len - at < piece ? len - at : piece));
	FUZZ_CHECK(lines_finish(&l));
	lines_free(&l);
	return c;
}

static void try_lines(const uint8_t *data, size_t len, size_t piece)
{
	struct cut whole = cut_lines(data, len, len + 1), pieces = cut_lines(data, len, piece);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&whole.all), bytes_of(data, len)) && fuzz_same(fuzz_bytes(&pieces.all), bytes_of(data, len)));
	FUZZ_CHECK(len > LINE_BYTES_MAX || fuzz_same(fuzz_bytes(&whole.ends), fuzz_bytes(&pieces.ends)));
	buf_free(&whole.all);
	buf_free(&whole.ends);
	buf_free(&pieces.all);
	buf_free(&pieces.ends);
}

/* ---- a node more, a node less --------------------------------------------------------------------------------------- */

static size_t clouds_in(const struct buf *text)
{
	struct topology *t;
	struct buf errors = {0};
	FUZZ_CHECK(!topology_parse("topology.yaml", text->data, text->len, &t, &errors));
	size_t n = t->cloud_count;
	topology_free(t);
	buf_free(&errors);
	return n;
}

static void try_edit(const char *text, size_t len)
{
	static const struct topology_edit_node node = {"added", "tcp://127.0.0.1:7999", "127.0.0.1:8999", NULL};
	struct buf more = {0}, less = {0}, difference = {0}, error = {0};
	if (!topology_edit_add(text, len, &node, &more, &error)) {
		size_t n = clouds_in(&more);
		topology_edit_difference(text, len, (const char *)more.data, more.len, &difference);
		FUZZ_CHECK(difference.len > 0);
		FUZZ_CHECK(topology_edit_remove((const char *)more.data, more.len, "added", &less, &error) || clouds_in(&less) == n - 1);
	} else {
		FUZZ_CHECK(error.len > 0 && !more.len);
	}
	buf_free(&more);
	buf_free(&less);
	buf_free(&difference);
	buf_free(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t piece = 1 + (len ? data[0] : 0) % 7;
	struct buf whole = events(data, len, len + 1), pieces = events(data, len, piece);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&whole), fuzz_bytes(&pieces)));
	buf_free(&whole);
	buf_free(&pieces);
	try_rows(data, len);
	try_lines(data, len, piece);
	char *text = xstrndup(len ? (const char *)data : "", len);
	try_metrics(text, strlen(text));
	try_edit(text, strlen(text));
	free(text);
	return 0;
}
