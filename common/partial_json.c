#include "common/partial_json.h"

#include <stdio.h>

#include "common/batch.h"
#include "common/clock.h"
#include "common/codec.h"
#include "common/json.h"
#include "common/record_json.h"

static void put_number(struct buf *out, const char *key, double v)
{
	buf_printf(out, ", \"%s\": ", key);
	json_double(out, v);
}

static void put_reading(struct buf *out, const char *key, int64_t t_ns, double v)
{
	buf_printf(out, ", \"%s\": {\"time\": ", key);
	instant_json(out, t_ns);
	put_number(out, "value", v);
	buf_printf(out, "}");
}

static void put_sketches(struct buf *out, const struct partial *p, const struct partial_spec *spec)
{
	if (p->quantile)
		buf_printf(out, ", \"quantile\": {\"buckets\": %u, \"scale\": %d}", sketch_quantile_buckets(p->quantile),
		    sketch_quantile_scale(p->quantile));
	for (uint32_t i = 0; p->distinct && i < spec->distinct_count; i++) {
		double value, error;
		bool null;
		partial_eval(p, spec, FN_DISTINCT, 0, i, &value, &error, &null);
		buf_printf(out, "%s", i ? ", " : ", \"distinct\": [");
		json_double(out, null ? 0 : value);
		buf_printf(out, "%s", i + 1 == spec->distinct_count ? "]" : "");
	}
}

void partial_json(struct buf *out, const struct partial *p, const struct partial_spec *spec)
{
	buf_printf(out, "{\"count\": ");
	u64_json(out, p->count);
	if (p->count && spec->parts & PARTIAL_SUM)
		put_number(out, "sum", p->sum);
	if (p->count && spec->parts & PARTIAL_MINMAX) {
		put_number(out, "min", p->min);
		put_number(out, "max", p->max);
	}
	if (p->count && spec->parts & PARTIAL_MOMENTS) {
		put_number(out, "mean", p->mean);
		put_number(out, "m2", p->m2);
	}
	if (p->count && spec->parts & PARTIAL_FIRSTLAST) {
		put_reading(out, "first", p->first_ns, p->first);
		put_reading(out, "last", p->last_ns, p->last);
	}
	put_sketches(out, p, spec);
	buf_printf(out, "}");
}

static void put_item(struct buf *out, const struct batch_reader *r, const struct batch_item *item)
{
	const struct batch_stream *s = batch_reader_stream(r, item->stream);
	buf_printf(out, "{\"stream\": ");
	json_text(out, s->name);
	buf_printf(out, ", \"version\": %u, \"start\": ", s->version);
	instant_json(out, item->slice_start_ns);
	buf_printf(out, ", \"group\": ");
	group_json(out, item->group);
	buf_printf(out, ", \"partial\": ");
	partial_json(out, &item->partial, &s->spec);
	buf_printf(out, "}");
}

int batch_json(struct buf *out, struct bytes body)
{
	struct batch_reader *r;
	struct batch_item *item;
	size_t start = out->len;
	int rc = batch_reader_open(body.p, body.n, &r);
	if (rc)
		return rc;
	buf_printf(out, "{\"shard\": %u, \"seq\": ", batch_reader_shard(r));
	u64_json(out, batch_reader_seq(r));
	buf_printf(out, ", \"readings\": ");
	u64_json(out, batch_reader_readings(r));
	buf_printf(out, ", \"partials\": [");
	for (unsigned i = 0; (rc = batch_reader_next(r, &item)) > 0; i++) {
		buf_printf(out, "%s", i ? ", " : "");
		put_item(out, r, item);
	}
	buf_printf(out, "]}");
	batch_reader_close(r);
	if (rc)
		out->len = start;
	return rc;
}
