#include "cloudd/alert_record.h"

#include <string.h>

#include "common/err.h"
#include "common/rows.h"

#define RECORD_FORMAT 1
#define GROUP_FORMAT 1
#define EVENT_FORMAT 1
#define HEAD_FORMAT 1

const char *alert_reason_text(enum alert_reason r)
{
	switch (r) {
	case ALERT_NOT_MET:
		return "not_met";
	case ALERT_NO_DATA:
		return "no_data";
	case ALERT_CHANGED:
		return "changed";
	case ALERT_REMOVED:
		return "removed";
	}
	return "unknown";
}

/* ---- parts ------------------------------------------------------------------------------------------------- */

static void put_bytes(struct buf *out, struct bytes b)
{
	buf_bytes(out, b.p, b.n);
}

static struct bytes get_bytes(struct rd *r, size_t max)
{
	size_t n;
	const uint8_t *p = rd_bytes(r, max, &n);
	return bytes_of(p, n);
}

static unsigned get_max(struct rd *r, unsigned max)
{
	unsigned v = rd_u8(r);
	if (v > max && !r->err)
		r->err = WEIR_ECORRUPT;
	return v;
}

static int64_t get_time(struct rd *r)
{
	int64_t t_ns = rd_svarint(r);
	if (!state_time_ok(t_ns) && t_ns != WATERMARK_NONE && !r->err)
		r->err = WEIR_ECORRUPT;
	return t_ns;
}

/* All that is wrong with a record's bytes is the same to who reads it. */
static int finish(const struct rd *r, unsigned format, unsigned want)
{
	return rd_finish(r) || format != want ? WEIR_ECORRUPT : 0;
}

static void put_def(struct buf *out, const struct alert_def *d)
{
	put_bytes(out, d->stream);
	put_bytes(out, d->name);
	put_bytes(out, d->when);
	buf_varint(out, d->for_windows);
	put_bytes(out, d->severity);
	put_bytes(out, d->summary);
	buf_varint(out, d->to_count);
	for (uint32_t i = 0; i < d->to_count; i++)
		put_bytes(out, d->to[i]);
}

static void get_def(struct rd *r, struct alert_def *d)
{
	d->stream = get_bytes(r, NAME_MAX_BYTES);
	d->name = get_bytes(r, NAME_MAX_BYTES);
	d->when = get_bytes(r, ALERT_TEXT_BYTES_MAX);
	d->for_windows = (uint32_t)rd_varint_max(r, UINT32_MAX);
	d->severity = get_bytes(r, ALERT_TEXT_BYTES_MAX);
	d->summary = get_bytes(r, ALERT_TEXT_BYTES_MAX);
	d->to_count = (uint32_t)rd_varint_max(r, SINKS_MAX);
	for (uint32_t i = 0; i < d->to_count && !r->err; i++)
		d->to[i] = get_bytes(r, NAME_MAX_BYTES);
}

static void put_basis(struct buf *out, const struct alert_basis *b)
{
	buf_svarint(out, b->grid.size_ns);
	buf_svarint(out, b->grid.advance_ns);
	buf_svarint(out, b->grid.offset_ns);
	buf_varint(out, b->by_count);
	for (uint32_t i = 0; i < b->by_count; i++)
		put_bytes(out, b->by[i]);
}

/* With it, arithmetic on windows does not overflow. */
static bool grid_ok(const struct window_grid *g)
{
	if (!g->size_ns)
		return !g->advance_ns && !g->offset_ns;
	return g->size_ns > 0 && g->size_ns <= ROWS_WINDOW_MAX_NS && g->advance_ns > 0 && g->advance_ns <= g->size_ns &&
	    g->offset_ns >= 0 && g->offset_ns <= ROWS_WINDOW_MAX_NS;
}

static void get_basis(struct rd *r, struct alert_basis *b)
{
	b->grid.size_ns = rd_svarint(r);
	b->grid.advance_ns = rd_svarint(r);
	b->grid.offset_ns = rd_svarint(r);
	b->by_count = (uint32_t)rd_varint_max(r, BY_MAX);
	for (uint32_t i = 0; i < b->by_count && !r->err; i++)
		b->by[i] = get_bytes(r, NAME_MAX_BYTES * 4);
	if (!r->err && !grid_ok(&b->grid))
		r->err = WEIR_ECORRUPT;
}

static void put_place(struct buf *out, const struct alert_place *p)
{
	buf_svarint(out, p->judged_ns);
	buf_u8(out, p->in_window);
	if (p->in_window) {
		buf_svarint(out, p->window_ns);
		put_bytes(out, p->after);
	}
}

static void get_place(struct rd *r, struct alert_place *p)
{
	p->judged_ns = get_time(r);
	p->in_window = get_max(r, 1);
	if (p->in_window) {
		p->window_ns = get_time(r);
		p->after = get_bytes(r, GROUP_KEY_MAX);
	}
}

/* ---- records ----------------------------------------------------------------------------------------------- */

void alert_record_encode(const struct alert_record *a, struct buf *out)
{
	buf_u8(out, RECORD_FORMAT);
	buf_varint(out, a->changed);
	buf_u8(out, (uint8_t)a->end);
	put_def(out, &a->def);
	put_basis(out, &a->basis);
	put_place(out, &a->place);
	buf_varint(out, a->pending);
	buf_varint(out, a->firing);
}

int alert_record_decode(struct bytes value, struct alert_record *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct alert_record a = {0};
	unsigned format = rd_u8(&r);
	a.changed = rd_varint(&r);
	a.end = (enum alert_end)get_max(&r, ALERT_ENDS_REMOVED);
	get_def(&r, &a.def);
	get_basis(&r, &a.basis);
	get_place(&r, &a.place);
	a.pending = rd_varint(&r);
	a.firing = rd_varint(&r);
	int rc = finish(&r, format, RECORD_FORMAT);
	if (!rc)
		*ret = a;
	return rc;
}

void alert_group_encode(const struct alert_group *g, struct buf *out)
{
	buf_u8(out, GROUP_FORMAT);
	buf_u8(out, g->firing);
	buf_varint(out, g->run);
	buf_svarint(out, g->since_ns);
	buf_svarint(out, g->window_ns);
	put_bytes(out, g->values);
}

int alert_group_decode(struct bytes value, struct alert_group *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct alert_group g = {0};
	unsigned format = rd_u8(&r);
	g.firing = get_max(&r, 1);
	g.run = (uint32_t)rd_varint_max(&r, UINT32_MAX);
	g.since_ns = get_time(&r);
	g.window_ns = get_time(&r);
	g.values = get_bytes(&r, ENTRY_ALERT_VALUES_MAX);
	int rc = finish(&r, format, GROUP_FORMAT);
	if (!rc)
		*ret = g;
	return rc;
}

void alert_event_encode(const struct alert_event *e, struct buf *out)
{
	buf_u8(out, EVENT_FORMAT);
	buf_svarint(out, e->time_ns);
	buf_svarint(out, e->at_ns);
	buf_u8(out, e->firing);
	buf_u8(out, (uint8_t)e->reason);
	put_def(out, &e->def);
	put_basis(out, &e->basis);
	buf_svarint(out, e->since_ns);
	buf_svarint(out, e->window_ns);
	put_bytes(out, e->group);
	put_bytes(out, e->values);
}

int alert_event_decode(struct bytes value, struct alert_event *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct alert_event e = {0};
	unsigned format = rd_u8(&r);
	e.time_ns = rd_svarint(&r);
	e.at_ns = rd_svarint(&r);
	e.firing = get_max(&r, 1);
	e.reason = (enum alert_reason)get_max(&r, ALERT_REMOVED);
	get_def(&r, &e.def);
	get_basis(&r, &e.basis);
	e.since_ns = get_time(&r);
	e.window_ns = get_time(&r);
	e.group = get_bytes(&r, GROUP_KEY_MAX);
	e.values = get_bytes(&r, ENTRY_ALERT_VALUES_MAX);
	int rc = finish(&r, format, EVENT_FORMAT);
	if (!rc)
		*ret = e;
	return rc;
}

void alert_head_encode(const struct alert_head *h, struct buf *out)
{
	buf_u8(out, HEAD_FORMAT);
	buf_varint(out, h->next_id);
	buf_varint(out, h->events);
	buf_varint(out, h->trimmed_index);
	buf_varint(out, h->trimmed_n);
	buf_svarint(out, h->clock_ns);
	buf_svarint(out, h->clock_at_ns);
}

int alert_head_decode(struct bytes value, struct alert_head *ret)
{
	struct rd r = rd_init(value.p, value.n);
	struct alert_head h = {0};
	unsigned format = rd_u8(&r);
	h.next_id = (uint32_t)rd_varint_max(&r, UINT32_MAX);
	h.events = rd_varint(&r);
	h.trimmed_index = rd_varint(&r);
	h.trimmed_n = (uint32_t)rd_varint_max(&r, UINT32_MAX);
	h.clock_ns = rd_svarint(&r);
	h.clock_at_ns = rd_svarint(&r);
	int rc = finish(&r, format, HEAD_FORMAT);
	if (!rc)
		*ret = h;
	return rc;
}

/* ---- keys -------------------------------------------------------------------------------------------------- */

void alert_record_key(struct state_key *k, uint32_t id)
{
	state_key_id(k, STATE_ALERT, id);
}

void alert_group_key(struct state_key *k, uint32_t id, struct bytes group)
{
	state_key_id(k, STATE_ALERT_GROUP, id);
	state_key_bytes_of(k, group);
}

void alert_event_key(struct state_key *k, uint64_t index, uint32_t n)
{
	state_key_start(k, STATE_ALERT_EVENT);
	state_key_u64(k, index);
	state_key_u32(k, n);
}

bool alert_record_key_of(struct bytes key, uint32_t *ret_id)
{
	struct rd r = rd_init(key.p, key.n);
	if (rd_u8(&r) != STATE_ALERT)
		return false;
	*ret_id = rd_be32(&r);
	return !rd_finish(&r);
}

bool alert_event_key_of(struct bytes key, uint64_t *ret_index, uint32_t *ret_n)
{
	struct rd r = rd_init(key.p, key.n);
	if (rd_u8(&r) != STATE_ALERT_EVENT)
		return false;
	*ret_index = rd_be64(&r);
	*ret_n = rd_be32(&r);
	return !rd_finish(&r);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

int alert_head_read(struct kv_txn *txn, unsigned db, struct alert_head *ret)
{
	struct state_key k;
	struct bytes value;
	alert_record_key(&k, 0);
	int rc = kv_get(txn, db, state_key_bytes(&k), &value);
	if (rc == WEIR_ENOTFOUND) {
		*ret = (struct alert_head){.next_id = 1};
		return 0;
	}
	return rc ? rc : alert_head_decode(value, ret);
}

int alert_record_read(struct kv_txn *txn, unsigned db, uint32_t id, struct alert_record *ret)
{
	struct state_key k;
	struct bytes value;
	alert_record_key(&k, id);
	int rc = id ? kv_get(txn, db, state_key_bytes(&k), &value) : WEIR_ENOTFOUND;
	return rc ? rc : alert_record_decode(value, ret);
}

int alert_record_next(struct kv_txn *txn, unsigned db, uint32_t *id, struct alert_record *ret)
{
	struct kv_cursor *c;
	struct state_key k;
	struct bytes key, value;
	int rc = *id ? kv_cursor_open(txn, db, &c) : WEIR_ENOTFOUND;
	if (rc)
		return rc;
	alert_record_key(&k, *id);
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	if (!rc && (!key.n || key.p[0] != STATE_ALERT))
		rc = WEIR_ENOTFOUND;
	if (!rc)
		rc = alert_record_key_of(key, id) ? alert_record_decode(value, ret) : WEIR_ECORRUPT;
	kv_cursor_close(c);
	return rc;
}

/* ---- what the topology has --------------------------------------------------------------------------------- */

static struct bytes text_bytes(const char *s)
{
	return bytes_of(s, s ? strlen(s) : 0);
}

static bool same_text(struct bytes b, const char *s)
{
	return b.n == strlen(s) && !memcmp(b.p, s, b.n);
}

void alert_basis_of(const struct stream_conf *s, struct alert_basis *ret)
{
	*ret = (struct alert_basis){.grid = window_grid_of(s), .by_count = (uint32_t)s->by_count};
	for (size_t i = 0; i < s->by_count; i++)
		ret->by[i] = text_bytes(s->by[i]);
}

bool alert_basis_is(const struct alert_basis *b, const struct stream_conf *s)
{
	struct window_grid g = window_grid_of(s);
	bool same = b->grid.size_ns == g.size_ns && b->grid.advance_ns == g.advance_ns && b->grid.offset_ns == g.offset_ns &&
	    b->by_count == s->by_count;
	for (size_t i = 0; same && i < s->by_count; i++)
		same = same_text(b->by[i], s->by[i]);
	return same;
}

int64_t alert_judged_ns(const struct alert_record *a)
{
	int64_t judged_ns = a->place.judged_ns;
	if (a->place.in_window && a->basis.grid.size_ns)
		judged_ns = a->place.window_ns + a->basis.grid.size_ns;
	return judged_ns > STATE_TIME_MAX_NS ? STATE_TIME_MAX_NS : judged_ns;
}

void alert_def_of(const struct stream_conf *s, const struct alert_conf *a, struct alert_def *ret)
{
	*ret = (struct alert_def){.stream = text_bytes(s->name), .name = text_bytes(a->name), .when = text_bytes(a->when),
	    .for_windows = a->for_windows, .severity = text_bytes(a->severity), .summary = text_bytes(a->summary)};
	for (size_t i = 0; i < a->to.count && i < SINKS_MAX; i++)
		ret->to[ret->to_count++] = text_bytes(a->to.items[i]);
}

const struct alert_conf *alert_conf_of(const struct topology *t, struct bytes stream, struct bytes name)
{
	char text[NAME_MAX_BYTES + 1];
	if (stream.n > NAME_MAX_BYTES)
		return NULL;
	memcpy(text, stream.p, stream.n);
	text[stream.n] = 0;
	int at = topology_alerting(t, text);
	if (at < 0)
		return NULL;
	const struct stream_conf *s = &t->streams[at];
	for (size_t i = 0; i < s->alert_count; i++)
		if (same_text(name, s->alerts[i].name))
			return &s->alerts[i];
	return NULL;
}
