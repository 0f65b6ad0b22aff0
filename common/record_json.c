#include "common/record_json.h"

#include <string.h>

#include "common/clock.h"
#include "common/codec.h"
#include "common/json.h"
#include "common/model.h"

void hex_json(struct buf *out, struct bytes b)
{
	buf_printf(out, "\"");
	for (size_t i = 0; i < b.n; i++)
		buf_printf(out, "%02x", b.p[i]);
	buf_printf(out, "\"");
}

void u64_json(struct buf *out, uint64_t v)
{
	buf_printf(out, v > INT64_MAX ? "\"%llu\"" : "%llu", (unsigned long long)v);
}

void instant_json(struct buf *out, int64_t t_ns)
{
	if (t_ns == WATERMARK_NONE)
		buf_printf(out, "null");
	else if (t_ns < TIME_MIN_NS || t_ns > TIME_MAX_NS)
		buf_printf(out, "\"ever\"");
	else
		json_time(out, t_ns);
}

void group_json(struct buf *out, struct bytes group)
{
	size_t start = out->len;
	struct rd r = rd_init(group.p, group.n);
	buf_printf(out, "[");
	for (unsigned i = 0; !r.err && rd_left(&r); i++) {
		size_t n;
		const uint8_t *p = rd_bytes(&r, GROUP_KEY_MAX, &n);
		buf_printf(out, "%s", i ? ", " : "");
		json_bytes(out, n ? (const char *)p : "", n);
	}
	buf_printf(out, "]");
	if (r.err) {
		out->len = start;
		hex_json(out, group);
	}
}

static void field(struct buf *out, const char *key)
{
	buf_printf(out, ", \"%s\": ", key);
}

void record_u64(struct buf *out, const char *key, uint64_t v)
{
	field(out, key);
	u64_json(out, v);
}

void record_bool(struct buf *out, const char *key, bool v)
{
	field(out, key);
	buf_printf(out, "%s", v ? "true" : "false");
}

void record_text(struct buf *out, const char *key, struct bytes text)
{
	field(out, key);
	json_bytes(out, text.n ? (const char *)text.p : "", text.n);
}

void record_cstr(struct buf *out, const char *key, const char *text)
{
	record_text(out, key, bytes_of(text, strlen(text)));
}

void record_time(struct buf *out, const char *key, int64_t t_ns)
{
	field(out, key);
	instant_json(out, t_ns);
}

void record_hex(struct buf *out, const char *key, struct bytes b)
{
	field(out, key);
	hex_json(out, b);
}

void record_mark(struct buf *out, const char *key, uint64_t v)
{
	field(out, key);
	buf_printf(out, "\"%016llx\"", (unsigned long long)v);
}

void record_group(struct buf *out, struct bytes group)
{
	field(out, "group");
	group_json(out, group);
}
