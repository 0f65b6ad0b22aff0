#include "edged/dump.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"
#include "common/map.h"
#include "common/partial_json.h"
#include "common/record_json.h"
#include "edged/cutter.h"
#include "edged/ledger.h"
#include "edged/spool.h"

static bool check(int err, const char **ret_why)
{
	if (err)
		*ret_why = err_text(err);
	return !err;
}

/* ---- keys -------------------------------------------------------------------------------------------------- */

static bool put_batch_key(struct bytes key, struct buf *out)
{
	struct rd r = rd_init(key.p, key.n);
	uint16_t shard = rd_be16(&r);
	uint64_t seq = rd_be64(&r);
	if (rd_finish(&r))
		return false;
	record_u64(out, "shard", shard);
	record_u64(out, "seq", seq);
	return true;
}

/* (stream, NUL, version be32, ...): what follows it. */
static bool put_stream(struct rd *r, struct buf *out)
{
	size_t left = rd_left(r);
	const uint8_t *end = left ? memchr(r->p, 0, left < NAME_MAX_BYTES + 1 ? left : NAME_MAX_BYTES + 1) : NULL;
	if (!end || left < (size_t)(end - r->p) + 5)
		return false;
	record_text(out, "stream", bytes_of(r->p, (size_t)(end - r->p)));
	rd_raw(r, (size_t)(end - r->p) + 1);
	record_u64(out, "version", rd_be32(r));
	return true;
}

static bool put_delta_key(struct bytes key, struct buf *out)
{
	struct rd r = rd_init(key.p, key.n);
	if (!put_stream(&r, out) || rd_left(&r) < 8)
		return false;
	record_time(out, "start", rd_bei64(&r));
	record_group(out, bytes_of(r.p, rd_left(&r)));
	return true;
}

static bool put_step_key(struct bytes key, struct buf *out)
{
	struct rd r = rd_init(key.p, key.n);
	if (!put_stream(&r, out) || rd_left(&r) < 1)
		return false;
	record_u64(out, "step", rd_u8(&r));
	record_hex(out, "series", bytes_of(r.p, rd_left(&r)));
	return true;
}

static bool put_key(const char *db, struct bytes key, struct buf *out)
{
	struct bytes mark = key;
	if (!strcmp(db, "batch")) {
		buf_printf(out, ", \"what\": \"batch\"");
		return put_batch_key(key, out);
	}
	if (!strcmp(db, "delta")) {
		buf_printf(out, ", \"what\": \"open_slice\"");
		return put_delta_key(key, out);
	}
	if (!strcmp(db, "step") && !spool_is_copy(key, &mark)) {
		buf_printf(out, ", \"what\": \"step\"");
		return put_step_key(key, out);
	}
	buf_printf(out, ", \"what\": \"%s\"", !strcmp(db, "step") ? "mark_copy" : "mark");
	record_text(out, "mark", mark);
	return true;
}

bool spool_dump_key(const char *db, struct bytes key, struct buf *out)
{
	return put_key(db, key, out);
}

/* ---- batches and open slices ------------------------------------------------------------------------------- */

static bool batch_value(struct bytes value, struct buf *out, const char **ret_why)
{
	struct batch_meta *meta;
	struct bytes body;
	if (!check(batch_value_decode(value, 0, NULL, &meta, &body), ret_why))
		return false;
	bool damaged = meta->damaged;
	free(meta);
	if (damaged) {
		buf_printf(out, ", \"lost\": true"); /* it stands in for the number of one that was damaged */
		return true;
	}
	size_t start = out->len;
	buf_printf(out, ", \"batch\": ");
	if (check(batch_json(out, body), ret_why))
		return true;
	out->len = start;
	return false;
}

static bool delta_value(struct bytes value, struct buf *out, const char **ret_why)
{
	struct rd r = rd_init(value.p, value.n);
	int64_t slice_ns = rd_svarint(&r);
	struct partial_spec spec = {.parts = (uint32_t)rd_varint_max(&r, PARTIAL_PARTS_ALL)};
	spec.distinct_count = (uint32_t)rd_varint_max(&r, DISTINCTS_MAX);
	spec.quantile_cap = PARTIAL_QUANTILE_CAP_EDGE;
	struct partial p = {0};
	if (!check(r.err ? r.err : partial_decode(&r, &spec, &p), ret_why))
		return false;
	int rc = rd_finish(&r);
	if (!rc) {
		buf_printf(out, ", \"slice_seconds\": ");
		json_double(out, (double)slice_ns / NS_PER_SEC);
		buf_printf(out, ", \"partial\": ");
		partial_json(out, &p, &spec);
	}
	partial_clear(&p, &spec);
	return check(rc, ret_why);
}

/* ---- marks ------------------------------------------------------------------------------------------------- */

static bool starts(struct bytes key, const char *with)
{
	return key.n > strlen(with) && !memcmp(key.p, with, strlen(with));
}

static bool is(struct bytes key, const char *name)
{
	return key.n == strlen(name) && !memcmp(key.p, name, key.n);
}

static int put_numbers(struct bytes value, struct buf *out)
{
	static const char *const rewrites[] = {"none", "compact", "move"};
	struct spool_numbers n;
	int rc = spool_numbers_decode(value, &n);
	if (rc)
		return rc;
	record_u64(out, "low", n.low);
	record_u64(out, "next", n.next);
	record_u64(out, "sent", n.sent);
	buf_printf(out, ", \"resume\": %s, \"rewrite\": \"%s\"", n.resume ? "true" : "false", rewrites[n.rewrite]);
	if (n.rewrite != REWRITE_NONE) {
		record_u64(out, "hole", n.hole);
		record_u64(out, "hole_end", n.hole_end);
	}
	return 0;
}

static int put_ledger(struct bytes value, struct buf *out)
{
	struct ledger l = {0};
	int rc = ledger_decode(&l, value);
	if (!rc) {
		record_u64(out, "read", l.read);
		record_u64(out, "accepted", l.accepted);
		record_u64(out, "unmatched", l.unmatched);
		buf_printf(out, ", \"refused\": {");
		for (size_t i = 0; i < l.refused_count; i++) {
			buf_printf(out, "%s", i ? ", " : "");
			json_text(out, l.refused[i].label);
			buf_printf(out, ": ");
			u64_json(out, l.refused[i].count);
		}
		buf_printf(out, "}");
	}
	ledger_free(&l);
	return rc;
}

static int put_ledger_stream(struct bytes value, struct buf *out)
{
	struct ledger_stream s = {0};
	int rc = ledger_stream_decode(&s, value);
	if (rc)
		return rc;
	record_u64(out, "matched", s.matched);
	record_u64(out, "aggregated", s.aggregated);
	record_u64(out, "acked", s.acked);
	buf_printf(out, ", \"dropped\": {");
	for (int d = 0, n = 0; d < DROPS; d++) {
		if (!s.dropped[d])
			continue;
		buf_printf(out, "%s\"%s\": ", n++ ? ", " : "", drop_label((enum drop)d));
		u64_json(out, s.dropped[d]);
	}
	buf_printf(out, "}");
	return 0;
}

static int put_map(struct bytes value, struct buf *out)
{
	struct cluster_map m;
	int rc = map_decode(value, &m);
	if (rc)
		return rc;
	record_u64(out, "map_version", m.version);
	record_text(out, "topology", bytes_of(m.text, m.text_len));
	map_clear(&m);
	return 0;
}

static int put_spool(struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	struct bytes edge, cluster;
	uint8_t format = rd_u8(&r);
	uint64_t shards = rd_varint(&r);
	edge.p = rd_bytes(&r, NAME_MAX_BYTES, &edge.n);
	cluster.p = rd_bytes(&r, NAME_MAX_BYTES, &cluster.n);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	record_u64(out, "format", format);
	record_u64(out, "shards", shards);
	record_text(out, "edge", edge);
	record_text(out, "cluster", cluster);
	return 0;
}

static int put_watermark(struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	int64_t watermark_ns = rd_svarint(&r), flushed_end_ns = rd_svarint(&r);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	record_time(out, "watermark", watermark_ns);
	record_time(out, "flushed_end", flushed_end_ns);
	return 0;
}

static int put_one_time(struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	int64_t t_ns = rd_svarint(&r);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	record_time(out, "time", t_ns);
	return 0;
}

static int put_one_number(struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	uint64_t v = rd_varint(&r);
	if (rd_finish(&r))
		return WEIR_ECORRUPT;
	record_u64(out, "number", v);
	return 0;
}

static int put_claim(struct bytes value, struct buf *out)
{
	if (value.n != 1 + CLAIM_BYTES)
		return WEIR_ECORRUPT;
	buf_printf(out, ", \"answered\": %s", value.p[0] ? "true" : "false");
	record_hex(out, "claim", bytes_of(value.p + 1, CLAIM_BYTES));
	return 0;
}

static bool mark_value(struct bytes key, struct bytes value, struct buf *out, const char **ret_why)
{
	int rc = 0;
	if (starts(key, "shard/"))
		rc = put_numbers(value, out);
	else if (is(key, "ledger"))
		rc = put_ledger(value, out);
	else if (starts(key, "ledger/"))
		rc = put_ledger_stream(value, out);
	else if (is(key, "map"))
		rc = put_map(value, out);
	else if (is(key, "spool"))
		rc = put_spool(value, out);
	else if (starts(key, "wm/"))
		rc = put_watermark(value, out);
	else if (is(key, "wall") || is(key, "high") || starts(key, "since/") || starts(key, "last/"))
		rc = put_one_time(value, out);
	else if (is(key, "epoch") || is(key, "removed"))
		rc = put_one_number(value, out);
	else if (is(key, "claim"))
		rc = put_claim(value, out);
	else
		record_hex(out, "value", value);
	return check(rc, ret_why);
}

bool spool_dump_record(const char *db, struct bytes key, struct bytes value, struct buf *out, const char **ret_why)
{
	struct bytes mark = key;
	if (!put_key(db, key, out)) {
		*ret_why = "its key does not read";
		return false;
	}
	if (!strcmp(db, "batch"))
		return batch_value(value, out, ret_why);
	if (!strcmp(db, "delta"))
		return delta_value(value, out, ret_why);
	if (!strcmp(db, "step") && !spool_is_copy(key, &mark)) {
		record_hex(out, "state", value);
		return true;
	}
	return mark_value(mark, value, out, ret_why);
}
