#include "edged/statsd_gauges.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "edged/hash.h"

#define GAUGES_FORMAT 1

struct statsd_gauge {
	double value;
	size_t len;
	uint8_t series[];
};

void statsd_gauges_free(struct statsd_gauges *g)
{
	for (size_t i = 0; i < g->count; i++)
		free(g->list[i]);
	free(g->list);
	table_free(&g->table);
	*g = (struct statsd_gauges){0};
}

static bool same_gauge(const void *item, const void *key)
{
	const struct statsd_gauge *gauge = item;
	const struct bytes *series = key;
	return gauge->len == series->n && !memcmp(gauge->series, series->p, series->n);
}

/* NULL: there is no room, or it is too long. */
static struct statsd_gauge *find_or_add(struct statsd_gauges *g, struct bytes series)
{
	uint64_t hash = hash_bytes(series.p, series.n);
	struct statsd_gauge *gauge = table_find(&g->table, hash, same_gauge, &series);
	if (gauge || g->count >= STATSD_GAUGES_MAX || series.n > STATSD_GAUGE_KEY_MAX)
		return gauge;
	if (!g->list)
		g->list = xcalloc(STATSD_GAUGES_MAX, sizeof(g->list[0]));
	gauge = xmalloc(sizeof(*gauge) + series.n);
	gauge->value = 0;
	gauge->len = series.n;
	memcpy(gauge->series, series.p, series.n);
	table_insert(&g->table, hash, gauge);
	g->list[g->count++] = gauge;
	return gauge;
}

void statsd_gauges_set(struct statsd_gauges *g, struct bytes series, double value)
{
	struct statsd_gauge *gauge = find_or_add(g, series);
	if (gauge)
		gauge->value = value;
}

bool statsd_gauges_step(struct statsd_gauges *g, struct bytes series, double by, double *ret_value)
{
	struct statsd_gauge *gauge = find_or_add(g, series);
	if (!gauge)
		return false;
	g->stepped = true;
	*ret_value = gauge->value + by;
	if (isfinite(*ret_value))
		gauge->value = *ret_value;
	return true;
}

/* ---- the checkpoint ------------------------------------------------------------------------------------------------ */

/* u8 format, varint gauges: {varint length, series, f64 value} in the order of their first appearance. */
void statsd_gauges_encode(const struct statsd_gauges *g, struct buf *out)
{
	if (!g->stepped)
		return;
	buf_u8(out, GAUGES_FORMAT);
	buf_varint(out, g->count);
	for (size_t i = 0; i < g->count; i++) {
		buf_bytes(out, g->list[i]->series, g->list[i]->len);
		buf_f64(out, g->list[i]->value);
	}
}

int statsd_gauges_decode(struct statsd_gauges *g, struct bytes raw)
{
	struct rd r = rd_init(raw.p, raw.n);
	if (!raw.n)
		return 0;
	if (rd_u8(&r) != GAUGES_FORMAT)
		return WEIR_EVERSION;
	size_t count = (size_t)rd_varint_max(&r, STATSD_GAUGES_MAX), n;
	for (size_t i = 0; i < count && !r.err; i++) {
		const uint8_t *series = rd_bytes(&r, STATSD_GAUGE_KEY_MAX, &n);
		double value = rd_f64(&r);
		if (!r.err && isfinite(value))
			statsd_gauges_set(g, bytes_of(series, n), value);
	}
	int rc = rd_finish(&r);
	if (!rc && g->count != count) /* one twice, or no number */
		rc = WEIR_ECORRUPT;
	if (rc)
		statsd_gauges_free(g);
	else
		g->stepped = true;
	return rc;
}
