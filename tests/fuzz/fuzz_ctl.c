/* What weirctl reads from a cloud: events of a watch, cut anywhere, and rows of JSON. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/rows.h"
#include "ctl/sse.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf whole = events(data, len, len + 1), pieces = events(data, len, 1 + (len ? data[0] : 0) % 7);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&whole), fuzz_bytes(&pieces)));
	buf_free(&whole);
	buf_free(&pieces);
	try_rows(data, len);
	return 0;
}
