#include "cloudd/entry.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

/* An edge of a close: [state and flags u8][name][watermark, less close][flushed end, less close][since, less close]; the times
 * only where their flag is set. The differences wrap around, so that any two times have one. */
#define EDGE_STATE_MASK 0x07
#define EDGE_HAS_WATERMARK 0x08
#define EDGE_HAS_FLUSHED 0x10
#define EDGE_HAS_SINCE 0x20
#define EDGE_CAME_LATE 0x40
#define EDGE_FLAGS (EDGE_STATE_MASK | EDGE_HAS_WATERMARK | EDGE_HAS_FLUSHED | EDGE_HAS_SINCE | EDGE_CAME_LATE)
#define EDGE_BYTES_MIN 3 /* flags, name's length, a character */
/* A group of an alert: [what and reason u8][run][since, less judged][window, less judged][group][values]. */
#define ALERT_BYTES_MIN 5
#define ALERT_GROUP_BYTES_MIN 6
#define PLACE_BYTES_MIN 10 /* two names, the version, two numbers */

const char *edge_state_text(enum edge_state s)
{
	switch (s) {
	case EDGE_LIVE:
		return "live";
	case EDGE_IDLE:
		return "idle";
	case EDGE_JOINING:
		return "joining";
	case EDGE_BACKPRESSURED:
		return "backpressured";
	case EDGE_CATCHING_UP:
		return "catching_up";
	case EDGE_PARTITIONED:
		return "partitioned";
	}
	return "unknown";
}

static int64_t base_of(const struct entry_close *c)
{
	return c->close_ns == WATERMARK_NONE ? 0 : c->close_ns;
}

static int64_t less(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t plus(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

static void put_bytes(struct buf *out, struct bytes b)
{
	buf_bytes(out, b.p, b.n);
}

static void put_edge(struct buf *out, const struct entry_edge *e, int64_t base)
{
	unsigned flags = (unsigned)e->state & EDGE_STATE_MASK;
	if (e->watermark_ns != WATERMARK_NONE)
		flags |= EDGE_HAS_WATERMARK;
	if (e->flushed_end_ns != WATERMARK_NONE)
		flags |= EDGE_HAS_FLUSHED;
	if (e->since_ns != WATERMARK_NONE)
		flags |= EDGE_HAS_SINCE;
	if (e->came_late)
		flags |= EDGE_CAME_LATE;
	buf_u8(out, (uint8_t)flags);
	put_bytes(out, e->name);
	if (flags & EDGE_HAS_WATERMARK)
		buf_svarint(out, less(e->watermark_ns, base));
	if (flags & EDGE_HAS_FLUSHED)
		buf_svarint(out, less(e->flushed_end_ns, base));
	if (flags & EDGE_HAS_SINCE)
		buf_svarint(out, less(e->since_ns, base));
	if (e->came_late)
		buf_svarint(out, less(e->final_ns, base));
}

void entry_close_encode(const struct entry_close *c, struct buf *out)
{
	put_bytes(out, c->stream);
	buf_u32(out, c->version);
	buf_svarint(out, c->close_ns);
	buf_svarint(out, c->final_ns);
	buf_varint(out, c->expected);
	buf_varint(out, c->edge_count);
	for (uint32_t i = 0; i < c->edge_count; i++)
		put_edge(out, &c->edges[i], base_of(c));
}

static void put_places(struct buf *out, const struct entry_place *places, uint32_t count)
{
	buf_varint(out, count);
	for (uint32_t i = 0; i < count; i++) {
		put_bytes(out, places[i].sink);
		put_bytes(out, places[i].stream);
		buf_u32(out, places[i].version);
		buf_varint(out, places[i].index);
		buf_varint(out, places[i].n);
	}
}

static void put_alert_group(struct buf *out, const struct entry_alert_group *g, int64_t base)
{
	buf_u8(out, (uint8_t)((unsigned)g->what | (unsigned)g->reason << 4));
	buf_varint(out, g->run);
	buf_svarint(out, less(g->since_ns, base));
	buf_svarint(out, less(g->window_ns, base));
	put_bytes(out, g->group);
	put_bytes(out, g->values);
}

static void put_alert(struct buf *out, const struct entry_alert *a)
{
	buf_u8(out, (uint8_t)a->op);
	buf_varint(out, a->id);
	buf_varint(out, a->changed);
	buf_u32(out, a->version);
	buf_svarint(out, a->judged_ns);
	buf_u8(out, a->in_window);
	if (a->in_window) {
		buf_svarint(out, less(a->window_ns, a->judged_ns));
		put_bytes(out, a->after);
	}
	buf_u8(out, a->done);
	buf_varint(out, a->group_count);
	for (uint32_t i = 0; i < a->group_count; i++)
		put_alert_group(out, &a->groups[i], a->judged_ns);
}

static void put_alerts(struct buf *out, const struct entry_alert *alerts, uint32_t count)
{
	buf_varint(out, count);
	for (uint32_t i = 0; i < count; i++)
		put_alert(out, &alerts[i]);
}

static void put_fields(const struct entry *e, struct buf *out)
{
	switch (e->kind) {
	case ENTRY_OPEN:
		put_bytes(out, e->open.edge);
		buf_varint(out, e->open.epoch);
		buf_varint(out, e->open.low);
		buf_varint(out, e->open.high);
		buf_u8(out, e->open.resume);
		break;
	case ENTRY_BATCH:
		put_bytes(out, e->batch.edge);
		buf_varint(out, e->batch.epoch);
		buf_varint(out, e->batch.seq);
		buf_u64(out, e->batch.checksum);
		put_bytes(out, e->batch.body);
		break;
	case ENTRY_ADVANCE:
		buf_varint(out, e->advance.meta_index);
		buf_varint(out, e->advance.after);
		entry_close_encode(&e->advance.close, out);
		break;
	case ENTRY_SWEEP:
		break;
	case ENTRY_CREATE:
		put_bytes(out, e->create.cluster_id);
		break;
	case ENTRY_CLAIM:
		put_bytes(out, e->claim.edge);
		buf_varint(out, e->claim.epoch);
		put_bytes(out, e->claim.claim);
		buf_u8(out, e->claim.empty);
		break;
	case ENTRY_READMIT:
		put_bytes(out, e->readmit.edge);
		if (e->readmit.next)
			buf_varint(out, e->readmit.next);
		break;
	case ENTRY_CLOSE:
		buf_varint(out, e->closes.count);
		for (uint32_t i = 0; i < e->closes.count; i++)
			entry_close_encode(&e->closes.closes[i], out);
		break;
	case ENTRY_TAKEN:
		buf_varint(out, e->taken.shard);
		buf_varint(out, e->taken.meta_index);
		break;
	case ENTRY_MAP:
		buf_varint(out, e->map.meta_index);
		buf_varint(out, e->map.after);
		put_bytes(out, e->map.map);
		break;
	case ENTRY_SINK:
		put_places(out, e->sink.places, e->sink.count);
		break;
	case ENTRY_ALERT:
		put_alerts(out, e->alert.alerts, e->alert.count);
		break;
	case ENTRY_TOPOLOGY:
		buf_u64(out, e->topology.base_version);
		buf_varint(out, e->topology.text_bytes);
		put_bytes(out, e->topology.text);
		break;
	case ENTRY_NODE:
		buf_u8(out, e->node.slot);
		buf_u8(out, e->node.event);
		break;
	case ENTRY_CUT:
		put_bytes(out, e->cut.stream);
		buf_u32(out, e->cut.version);
		buf_u8(out, e->cut.retire);
		buf_svarint(out, e->cut.t_ns);
		if (e->cut.map_version)
			buf_varint(out, e->cut.map_version);
		break;
	case ENTRY_REVOKE:
		put_bytes(out, e->revoke.edge);
		buf_u8(out, e->revoke.revoked);
		break;
	case ENTRY_NOOP:
	case ENTRY_CONFIG:
		weir_assert(false); /* consensus' own */
		break;
	}
}

void entry_encode(const struct entry *e, struct buf *out)
{
	buf_u8(out, ENTRY_FORMAT);
	buf_u8(out, (uint8_t)e->kind);
	buf_svarint(out, e->time_ns);
	put_fields(e, out);
}

/* ---- decoding ---------------------------------------------------------------------------------------------- */

static void fail(struct rd *r, int err)
{
	if (!r->err)
		r->err = err;
}

static struct bytes get_bytes(struct rd *r, size_t max)
{
	size_t n;
	const uint8_t *p = rd_bytes(r, max, &n);
	return bytes_of(p, n);
}

static struct bytes get_exactly(struct rd *r, size_t n)
{
	struct bytes b = get_bytes(r, n);
	if (b.n != n)
		fail(r, WEIR_ECORRUPT);
	return b;
}

static bool name_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
	    c == '-';
}

static struct bytes get_name(struct rd *r)
{
	struct bytes b = get_bytes(r, NAME_MAX_BYTES);
	if (!b.n)
		fail(r, WEIR_ECORRUPT);
	for (size_t i = 0; i < b.n; i++) {
		if (!name_char(b.p[i]))
			fail(r, WEIR_ECORRUPT);
	}
	return b;
}

static bool get_bool(struct rd *r)
{
	uint8_t v = rd_u8(r);
	if (v > 1)
		fail(r, WEIR_ECORRUPT);
	return v == 1;
}

static int name_order(struct bytes a, struct bytes b)
{
	int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static struct entry_edge get_edge(struct rd *r, int64_t base)
{
	struct entry_edge e = {.watermark_ns = WATERMARK_NONE, .flushed_end_ns = WATERMARK_NONE, .since_ns = WATERMARK_NONE};
	unsigned flags = rd_u8(r);
	if (flags & ~(unsigned)EDGE_FLAGS || (flags & EDGE_STATE_MASK) > EDGE_PARTITIONED)
		fail(r, WEIR_ECORRUPT);
	e.state = (enum edge_state)(flags & EDGE_STATE_MASK);
	e.name = get_name(r);
	if (flags & EDGE_HAS_WATERMARK)
		e.watermark_ns = plus(base, rd_svarint(r));
	if (flags & EDGE_HAS_FLUSHED)
		e.flushed_end_ns = plus(base, rd_svarint(r));
	if (flags & EDGE_HAS_SINCE)
		e.since_ns = plus(base, rd_svarint(r));
	e.came_late = flags & EDGE_CAME_LATE;
	if (e.came_late)
		e.final_ns = plus(base, rd_svarint(r));
	return e;
}

int entry_close_decode(struct rd *r, struct entry_close *ret_close)
{
	struct entry_close c = {0};
	c.stream = get_name(r);
	c.version = rd_u32(r);
	c.close_ns = rd_svarint(r);
	c.final_ns = rd_svarint(r);
	c.expected = (uint32_t)rd_varint_max(r, EDGES_MAX);
	c.edge_count = (uint32_t)rd_varint_max(r, NONLIVE_MAX);
	if (!r->err && c.edge_count > rd_left(r) / EDGE_BYTES_MIN)
		r->err = WEIR_ETRUNCATED;
	if (r->err)
		return r->err;
	c.edges = xcalloc(c.edge_count, sizeof(*c.edges));
	for (uint32_t i = 0; i < c.edge_count && !r->err; i++) {
		c.edges[i] = get_edge(r, base_of(&c));
		if (!r->err && i && name_order(c.edges[i - 1].name, c.edges[i].name) >= 0)
			r->err = WEIR_ECORRUPT;
	}
	if (r->err) {
		free(c.edges);
		return r->err;
	}
	*ret_close = c;
	return 0;
}

static void get_closes(struct rd *r, struct entry *e)
{
	uint32_t count = (uint32_t)rd_varint_max(r, STREAMS_MAX);
	e->closes.closes = xcalloc(count, sizeof(*e->closes.closes));
	while (e->closes.count < count && !r->err) {
		if (!entry_close_decode(r, &e->closes.closes[e->closes.count]))
			e->closes.count++;
	}
}

static void get_places(struct rd *r, struct entry *e)
{
	uint32_t count = (uint32_t)rd_varint_max(r, ENTRY_PLACES_MAX);
	if (!r->err && count > rd_left(r) / PLACE_BYTES_MIN)
		r->err = WEIR_ETRUNCATED;
	if (r->err)
		return;
	e->sink.places = xcalloc(count, sizeof(*e->sink.places));
	for (; e->sink.count < count && !r->err; e->sink.count++) {
		struct entry_place *p = &e->sink.places[e->sink.count];
		p->sink = get_name(r);
		p->stream = get_name(r);
		p->version = rd_u32(r);
		p->index = rd_varint(r);
		p->n = (uint32_t)rd_varint_max(r, UINT32_MAX);
	}
}

static unsigned get_enum(struct rd *r, unsigned v, unsigned max)
{
	if (v > max)
		fail(r, WEIR_ECORRUPT);
	return v;
}

static void get_alert_group(struct rd *r, struct entry_alert_group *g, int64_t base)
{
	unsigned what = rd_u8(r);
	g->what = (enum alert_what)get_enum(r, what & 0xf, ALERT_RESOLVED);
	g->reason = (enum alert_reason)get_enum(r, what >> 4, ALERT_REMOVED);
	g->run = (uint32_t)rd_varint_max(r, UINT32_MAX);
	g->since_ns = plus(base, rd_svarint(r));
	g->window_ns = plus(base, rd_svarint(r));
	g->group = get_bytes(r, GROUP_KEY_MAX);
	g->values = get_bytes(r, ENTRY_ALERT_VALUES_MAX);
}

static void get_alert(struct rd *r, struct entry_alert *a, uint32_t groups_max)
{
	a->op = (enum alert_op)get_enum(r, rd_u8(r), ALERT_RENEW);
	a->id = (uint32_t)rd_varint_max(r, UINT32_MAX);
	a->changed = rd_varint(r);
	a->version = rd_u32(r);
	a->judged_ns = rd_svarint(r);
	a->in_window = get_bool(r);
	if (a->in_window) {
		a->window_ns = plus(a->judged_ns, rd_svarint(r));
		a->after = get_bytes(r, GROUP_KEY_MAX);
	}
	a->done = get_bool(r);
	uint32_t count = (uint32_t)rd_varint_max(r, groups_max);
	if (!r->err && count > rd_left(r) / ALERT_GROUP_BYTES_MIN)
		r->err = WEIR_ETRUNCATED;
	if (r->err)
		return;
	a->groups = xcalloc(count, sizeof(*a->groups));
	while (a->group_count < count && !r->err)
		get_alert_group(r, &a->groups[a->group_count++], a->judged_ns);
}

static void get_alerts(struct rd *r, struct entry *e)
{
	uint32_t count = (uint32_t)rd_varint_max(r, ENTRY_ALERTS_MAX), groups = ENTRY_ALERT_GROUPS_MAX;
	if (!r->err && count > rd_left(r) / ALERT_BYTES_MIN)
		r->err = WEIR_ETRUNCATED;
	if (r->err)
		return;
	e->alert.alerts = xcalloc(count, sizeof(*e->alert.alerts));
	while (e->alert.count < count && !r->err) {
		struct entry_alert *a = &e->alert.alerts[e->alert.count++];
		get_alert(r, a, groups);
		groups -= a->group_count;
	}
}

static void get_fields(struct rd *r, struct entry *e)
{
	switch (e->kind) {
	case ENTRY_OPEN:
		e->open.edge = get_name(r);
		e->open.epoch = rd_varint(r);
		e->open.low = rd_varint(r);
		e->open.high = rd_varint(r);
		e->open.resume = get_bool(r);
		return;
	case ENTRY_BATCH:
		e->batch.edge = get_name(r);
		e->batch.epoch = rd_varint(r);
		e->batch.seq = rd_varint(r);
		e->batch.checksum = rd_u64(r);
		e->batch.body = get_bytes(r, ENTRY_MAX);
		return;
	case ENTRY_ADVANCE:
		e->advance.meta_index = rd_varint(r);
		e->advance.after = rd_varint(r);
		if (!r->err)
			entry_close_decode(r, &e->advance.close);
		return;
	case ENTRY_SWEEP:
		return;
	case ENTRY_CREATE:
		e->create.cluster_id = get_exactly(r, CLUSTER_ID_BYTES);
		return;
	case ENTRY_CLAIM:
		e->claim.edge = get_name(r);
		e->claim.epoch = rd_varint(r);
		e->claim.claim = get_exactly(r, CLAIM_BYTES);
		e->claim.empty = get_bool(r);
		return;
	case ENTRY_READMIT:
		e->readmit.edge = get_name(r);
		if (!r->err && rd_left(r) && !(e->readmit.next = rd_varint(r)))
			fail(r, WEIR_ECORRUPT);
		return;
	case ENTRY_CLOSE:
		get_closes(r, e);
		return;
	case ENTRY_TAKEN:
		e->taken.shard = (uint32_t)rd_varint_max(r, SHARDS_MAX - 1);
		e->taken.meta_index = rd_varint(r);
		return;
	case ENTRY_MAP:
		e->map.meta_index = rd_varint(r);
		e->map.after = rd_varint(r);
		e->map.map = get_bytes(r, MAP_BYTES_MAX);
		return;
	case ENTRY_SINK:
		get_places(r, e);
		return;
	case ENTRY_ALERT:
		get_alerts(r, e);
		return;
	case ENTRY_TOPOLOGY:
		e->topology.base_version = rd_u64(r);
		e->topology.text_bytes = (uint32_t)rd_varint_max(r, TOPOLOGY_TEXT_MAX);
		e->topology.text = get_bytes(r, ENTRY_MAX);
		return;
	case ENTRY_NODE:
		e->node.slot = rd_u8(r);
		e->node.event = rd_u8(r);
		return;
	case ENTRY_CUT:
		e->cut.stream = get_name(r);
		e->cut.version = rd_u32(r);
		e->cut.retire = get_bool(r);
		e->cut.t_ns = rd_svarint(r);
		if (!r->err && rd_left(r) && !(e->cut.map_version = rd_varint(r)))
			fail(r, WEIR_ECORRUPT);
		return;
	case ENTRY_REVOKE:
		e->revoke.edge = get_name(r);
		e->revoke.revoked = get_bool(r);
		return;
	case ENTRY_NOOP:
	case ENTRY_CONFIG:
		fail(r, WEIR_ECORRUPT); /* consensus' own: never in an entry's bytes */
		return;
	}
	fail(r, WEIR_EVERSION); /* a kind of a later version */
}

int entry_decode(struct bytes raw, struct entry *ret_entry)
{
	if (raw.n > ENTRY_MAX)
		return WEIR_ETOOBIG;
	struct rd r = rd_init(raw.p, raw.n);
	struct entry e = {0};
	uint8_t format = rd_u8(&r);
	if (!r.err && format != ENTRY_FORMAT)
		return WEIR_EVERSION;
	e.kind = (enum entry_kind)rd_u8(&r);
	e.time_ns = rd_svarint(&r);
	if (!r.err)
		get_fields(&r, &e);
	int rc = rd_finish(&r);
	if (rc) {
		entry_clear(&e);
		return rc;
	}
	*ret_entry = e;
	return 0;
}

void entry_clear(struct entry *e)
{
	if (e->kind == ENTRY_ADVANCE)
		free(e->advance.close.edges);
	if (e->kind == ENTRY_CLOSE) {
		for (uint32_t i = 0; i < e->closes.count; i++)
			free(e->closes.closes[i].edges);
		free(e->closes.closes);
	}
	if (e->kind == ENTRY_SINK)
		free(e->sink.places);
	if (e->kind == ENTRY_ALERT) {
		for (uint32_t i = 0; i < e->alert.count; i++)
			free(e->alert.alerts[i].groups);
		free(e->alert.alerts);
	}
	*e = (struct entry){0};
}
