#include "cloudd/serve_alerts.h"

#include <stdio.h>
#include <string.h>

#include "cloudd/alert_json.h"
#include "cloudd/serve_parts.h"
#include "cloudd/sink_places.h"
#include "common/err.h"

/* ---- events -------------------------------------------------------------------------------------------------------- */

/* Where the shard does not go by the map that is known here it may not take places of the sink yet. */
static int read_place(struct serve *s, uint64_t map_version, uint32_t shard, const char *sink, struct serve_place *ret)
{
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	uint64_t has;
	unsigned db = STATE_DB_GROUP(shard + 1);
	struct alert_head head;
	struct serve_place p = {0};
	int rc = serve_begin(s, shard + 1, &txn, &info);
	if (rc)
		return rc;
	rc = serve_map_version(txn, shard + 1, &has);
	if (!rc)
		rc = has == map_version ? sink_place_read(txn, db, sink, SINK_PLACE_ALERTS, &p.place) : WEIR_ENOTLEADER;
	p.stored = !rc;
	if (rc == WEIR_ENOTFOUND) {
		rc = alert_head_read(txn, db, &head);
		p.place = (struct sink_place){rc ? 0 : head.trimmed_index, rc ? 0 : head.trimmed_n};
	}
	kv_abort(txn);
	if (!rc)
		*ret = p;
	return rc;
}

enum verdict serve_alert_place(struct serve *s, uint32_t shard, const char *sink, struct serve_place *ret, const char **ret_reason)
{
	enum verdict v = serve_wait_linearizable(s, shard + 1, ret_reason);
	if (v != VERDICT_OK)
		return v;
	const struct topology *t = node_topology(s->o.node);
	int rc = read_place(s, t->map_version, shard, sink, ret);
	topology_free(t);
	return serve_verdict_of(serve_note_damage(s, shard + 1, rc), ret_reason);
}

static bool is_for(const struct alert_event *e, const char *sink)
{
	size_t n = strlen(sink);
	for (uint32_t i = 0; i < e->def.to_count; i++)
		if (e->def.to[i].n == n && !memcmp(e->def.to[i].p, sink, n))
			return true;
	return false;
}

/* One look: so many events are passed over at most. */
#define EVENTS_LOOKED_MAX 10000

static int scan_events(struct kv_txn *txn, unsigned db, const char *sink, struct sink_place *place, uint32_t limit, struct buf *out)
{
	struct kv_cursor *c;
	struct state_key k;
	struct bytes key, value;
	struct sink_place at;
	struct alert_event e;
	uint32_t given = 0;
	int rc = kv_cursor_open(txn, db, &c);
	if (rc)
		return rc;
	alert_event_key(&k, place->index, place->n);
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	for (uint32_t i = 0; !rc && i < EVENTS_LOOKED_MAX && given < limit && out->len < SERVE_ALERTS_BYTES_MAX; i++) {
		if (!alert_event_key_of(key, &at.index, &at.n))
			break;
		if (sink_place_before(*place, at)) {
			if (alert_event_decode(value, &e)) {
				rc = WEIR_ECORRUPT;
				break;
			}
			*place = at;
			given += is_for(&e, sink);
			if (is_for(&e, sink))
				buf_bytes(out, value.p, value.n);
		}
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

int serve_alert_events(struct serve *s, uint32_t shard, const char *sink, struct sink_place *place, uint32_t limit, struct buf *out,
    bool *ret_reset)
{
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	struct alert_head head;
	unsigned db = STATE_DB_GROUP(shard + 1);
	struct sink_place to = *place;
	int rc = serve_begin(s, shard + 1, &txn, &info);
	if (rc)
		return rc;
	rc = alert_head_read(txn, db, &head);
	if (!rc)
		rc = scan_events(txn, db, sink, &to, limit, out);
	kv_abort(txn);
	rc = serve_note_damage(s, shard + 1, rc);
	if (rc)
		return rc;
	*ret_reset = sink_place_before(*place, (struct sink_place){head.trimmed_index, head.trimmed_n});
	*place = to;
	return 0;
}

static int count_left(struct kv_txn *txn, unsigned db, const char *sink, struct sink_place place, int64_t *ret_time_ns, uint64_t *ret_events)
{
	struct kv_cursor *c;
	struct state_key k;
	struct bytes key, value;
	struct sink_place at;
	struct alert_event e;
	*ret_events = 0;
	int rc = kv_cursor_open(txn, db, &c);
	if (rc)
		return rc;
	alert_event_key(&k, place.index, place.n);
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	for (uint32_t i = 0; !rc && i < SERVE_ALERTS_LEFT_MAX && alert_event_key_of(key, &at.index, &at.n); i++) {
		rc = alert_event_decode(value, &e);
		if (!rc && sink_place_before(place, at) && is_for(&e, sink) && !(*ret_events)++)
			*ret_time_ns = e.time_ns;
		if (!rc)
			rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

int serve_alerts_left(struct serve *s, uint32_t shard, const char *sink, struct sink_place place, int64_t wall_ns, struct serve_alerts_left *ret)
{
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	struct alert_head head;
	unsigned db = STATE_DB_GROUP(shard + 1);
	int64_t time_ns = 0;
	int rc = serve_begin(s, shard + 1, &txn, &info);
	if (rc)
		return rc;
	*ret = (struct serve_alerts_left){0};
	rc = alert_head_read(txn, db, &head);
	if (!rc)
		rc = count_left(txn, db, sink, place, &time_ns, &ret->events);
	kv_abort(txn);
	if (!rc && ret->events) {
		ret->age_ns = head.clock_ns > time_ns ? head.clock_ns - time_ns : 0;
		ret->age_ns += wall_ns > head.clock_at_ns ? wall_ns - head.clock_at_ns : 0;
	}
	return serve_note_damage(s, shard + 1, rc);
}

/* ---- groups -------------------------------------------------------------------------------------------------------- */

void serve_what_alerts(uint32_t shard, uint64_t place, char out[SERVE_WHAT_MAX])
{
	snprintf(out, SERVE_WHAT_MAX, SERVE_ALERTS_TAG "%u.%llu", shard, (unsigned long long)place);
}

/* A walk over the groups of all alerts: their places are their numbers in it. */
struct walk {
	struct kv_txn *txn;
	uint32_t shard;
	unsigned db;
	uint64_t from, at;
	struct buf *out;
	struct buf text;
	bool full;
};

static void put_one(struct walk *w, const struct alert_record *a, const struct alert_group *g, struct bytes group)
{
	buf_clear(&w->text);
	alert_group_json(a, g, group, w->shard, &w->text);
	buf_u8(w->out, g->firing);
	buf_bytes(w->out, a->def.stream.p, a->def.stream.n);
	buf_bytes(w->out, w->text.data, w->text.len);
}

static int walk_groups(struct walk *w, uint32_t id, const struct alert_record *a)
{
	struct kv_cursor *c;
	struct state_key prefix;
	struct bytes key, value, group;
	struct alert_group g;
	int rc = kv_cursor_open(w->txn, w->db, &c);
	if (rc)
		return rc;
	state_key_id(&prefix, STATE_ALERT_GROUP, id);
	rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	while (!rc && state_key_rest(key, &prefix, &group)) {
		w->full = w->out->len >= SERVE_ALERTS_BYTES_MAX;
		if (w->full)
			break;
		if (alert_group_decode(value, &g)) {
			rc = WEIR_ECORRUPT;
			break;
		}
		if (w->at++ >= w->from)
			put_one(w, a, &g, group);
		rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static int walk(struct walk *w)
{
	uint32_t id = 1;
	struct alert_record a;
	int rc = 0;
	while (!w->full && !rc) {
		rc = alert_record_next(w->txn, w->db, &id, &a);
		if (rc)
			break;
		uint64_t groups = a.pending + a.firing;
		if (w->at + groups <= w->from)
			w->at += groups;
		else
			rc = walk_groups(w, id, &a);
		id++;
	}
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

int serve_alert_groups(struct serve *s, uint32_t shard, uint64_t place, struct buf *out)
{
	struct apply_group_info info = {0};
	struct buf list = {0};
	struct walk w = {.shard = shard, .db = STATE_DB_GROUP(shard + 1), .from = place, .out = &list};
	int rc = serve_begin(s, shard + 1, &w.txn, &info);
	if (rc)
		return rc;
	rc = walk(&w);
	kv_abort(w.txn);
	if (!rc) {
		buf_varint(out, w.full ? w.at : 0);
		buf_put(out, list.data, list.len);
	}
	buf_free(&list);
	buf_free(&w.text);
	return serve_note_damage(s, shard + 1, rc);
}
