#include "cloudd/alert_apply.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/sweep.h"
#include "common/clock.h"
#include "common/err.h"

/* One entry, be it a map or an ENTRY_ALERT. */
struct work {
	struct shard *sh;
	uint64_t index;
	int64_t time_ns;
	struct alert_head head;
	uint32_t n; /* events written */
	struct buf value;
	const struct alert_conf **met; /* a map's alerts that go on, or begin anew */
	size_t met_count, met_cap;
};

static struct bytes written(const struct work *w)
{
	return bytes_of(w->value.data, w->value.len);
}

static int begin(struct work *w)
{
	return alert_head_read(w->sh->state->txn, w->sh->state->db, &w->head);
}

static int put_head(struct work *w)
{
	struct state_key k;
	alert_record_key(&k, 0);
	buf_clear(&w->value);
	alert_head_encode(&w->head, &w->value);
	return state_put(w->sh->state, &k, written(w));
}

/* a may point into the state's own record: it is copied before anything is written. */
static int put_record(struct work *w, uint32_t id, struct alert_record *a)
{
	struct state_key k;
	alert_record_key(&k, id);
	a->changed = w->index;
	buf_clear(&w->value);
	alert_record_encode(a, &w->value);
	return state_put(w->sh->state, &k, written(w));
}

/* ---- beginning and ending ---------------------------------------------------------------------------------- */

static int add_record(struct work *w, const struct alert_record *a)
{
	struct alert_record next = *a;
	if (!w->head.next_id)
		return WEIR_ECORRUPT; /* not written by apply: no log is that long */
	return put_record(w, w->head.next_id++, &next);
}

static int end_record(struct work *w, uint32_t id, struct alert_record *a, enum alert_end end)
{
	a->end = end;
	return put_record(w, id, a);
}

/* The bytes that *a points into are written over. */
static int renew(struct work *w, uint32_t id, const struct alert_record *a, const struct alert_record *anew)
{
	struct alert_record ends = *a, next;
	struct buf kept = {0}; /* it may point into the record, which is written first */
	alert_record_encode(anew, &kept);
	int rc = end_record(w, id, &ends, ALERT_ENDS_CHANGED);
	if (!rc)
		rc = alert_record_decode(bytes_of(kept.data, kept.len), &next);
	if (!rc)
		rc = add_record(w, &next);
	buf_free(&kept);
	return rc;
}

/* Another condition. No window is gone on with in its middle. */
static int renew_def(struct work *w, uint32_t id, const struct alert_record *a, const struct alert_def *def)
{
	struct alert_record next = {.def = *def, .basis = a->basis, .place = {.judged_ns = alert_judged_ns(a)}};
	return renew(w, id, a, &next);
}

/* Other windows, or groups: those of the version. */
static int renew_basis(struct work *w, uint32_t id, const struct alert_record *a, const struct entry_alert *of)
{
	struct shard_stream *s = shard_stream_of(w->sh, a->def.stream, of->version);
	struct alert_record next = {.def = a->def, .place = {.judged_ns = of->judged_ns}};
	if (!s || a->end != ALERT_STAYS)
		return 0;
	alert_basis_of(s->conf, &next.basis);
	return renew(w, id, a, &next);
}

/* ---- another map ------------------------------------------------------------------------------------------- */

static bool same_bytes(struct bytes a, struct bytes b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

static bool same_condition(const struct alert_def *a, const struct alert_def *b)
{
	return same_bytes(a->when, b->when) && a->for_windows == b->for_windows;
}

static void note_met(struct work *w, const struct alert_conf *conf)
{
	if (w->met_count == w->met_cap) {
		w->met_cap = w->met_cap ? 2 * w->met_cap : 16;
		w->met = xrealloc(w->met, w->met_cap * sizeof(*w->met));
	}
	w->met[w->met_count++] = conf;
}

static bool is_met(const struct work *w, const struct alert_conf *conf)
{
	for (size_t i = 0; i < w->met_count; i++)
		if (w->met[i] == conf)
			return true;
	return false;
}

static int meet_map(struct work *w, uint32_t id, struct alert_record *a)
{
	const struct topology *t = w->sh->topology;
	const struct alert_conf *conf = alert_conf_of(t, a->def.stream, a->def.name);
	if (a->end != ALERT_STAYS)
		return 0;
	if (!conf)
		return end_record(w, id, a, ALERT_ENDS_REMOVED);
	note_met(w, conf);
	char stream[NAME_MAX_BYTES + 1] = "";
	memcpy(stream, a->def.stream.p, a->def.stream.n);
	struct alert_def def;
	alert_def_of(&t->streams[topology_alerting(t, stream)], conf, &def);
	if (!same_condition(&a->def, &def))
		return renew_def(w, id, a, &def);
	a->def = def; /* to whom it is told, and for people */
	return put_record(w, id, a);
}

/* Records that the map before this one has left; what is added meanwhile has higher ids. */
static int meet_records(struct work *w)
{
	uint32_t id = 1, end = w->head.next_id;
	int rc = 0;
	struct alert_record a;
	while (id < end && !(rc = alert_record_next(w->sh->state->txn, w->sh->state->db, &id, &a))) {
		if (id >= end)
			return 0;
		rc = meet_map(w, id++, &a);
		if (rc)
			return rc;
	}
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

/* The highest close of the stream's versions that answer, so that what had closed before the alert was there is not judged. */
static int64_t closed_ns(const struct shard *sh, const struct stream_conf *stream)
{
	int64_t close_ns = WATERMARK_NONE;
	for (size_t i = 0; i < sh->stream_count; i++) {
		const struct shard_stream *s = &sh->streams[i];
		if (!strcmp(s->conf->name, stream->name) && s->conf->phase != STREAM_PENDING && shard_close_ns(s) > close_ns)
			close_ns = shard_close_ns(s);
	}
	return close_ns;
}

static int begin_alert(struct work *w, const struct stream_conf *s, const struct alert_conf *conf)
{
	struct alert_def def;
	if (is_met(w, conf))
		return 0;
	alert_def_of(s, conf, &def);
	return add_record(w, &(struct alert_record){.def = def, .place = {.judged_ns = closed_ns(w->sh, s)}});
}

static int begin_alerts(struct work *w)
{
	const struct topology *t = w->sh->topology;
	int rc = 0;
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		if (!s->alert_count || topology_alerting(t, s->name) != (int)i)
			continue;
		for (size_t j = 0; j < s->alert_count && !rc; j++)
			rc = begin_alert(w, s, &s->alerts[j]);
	}
	return rc;
}

int alert_apply_map(struct shard *sh, uint64_t index)
{
	struct work w = {.sh = sh, .index = index};
	int rc = begin(&w);
	uint32_t first = w.head.next_id;
	if (!rc)
		rc = meet_records(&w);
	if (!rc)
		rc = begin_alerts(&w);
	if (!rc && w.head.next_id != first)
		rc = put_head(&w);
	buf_free(&w.value);
	free(w.met);
	return rc;
}

/* ---- events ------------------------------------------------------------------------------------------------ */

static int put_event(struct work *w, const struct alert_record *a, const struct entry_alert_group *g)
{
	struct alert_event e = {.time_ns = w->head.clock_ns, .at_ns = w->time_ns, .firing = g->what == ALERT_FIRING, .reason = g->reason,
	    .def = a->def, .basis = a->basis, .since_ns = g->since_ns, .window_ns = g->window_ns, .group = g->group, .values = g->values};
	struct state_key k;
	alert_event_key(&k, w->index, w->n++);
	buf_clear(&w->value);
	alert_event_encode(&e, &w->value);
	w->head.events++;
	return state_put(w->sh->state, &k, written(w));
}

/* As the outbox of rows (sweep.c): a clock that never falls, and is not moved far by any entry. */
static void move_clock(struct alert_head *h, int64_t time_ns)
{
	int64_t at_ns = time_ns < 0 ? 0 : time_ns > TIME_MAX_NS ? TIME_MAX_NS : time_ns;
	int64_t step_ns = at_ns - h->clock_at_ns;
	if (!h->clock_ns && !h->clock_at_ns)
		h->clock_ns = at_ns;
	else if (step_ns > 0)
		h->clock_ns += step_ns < OUTBOX_CLOCK_STEP_MAX_NS ? step_ns : OUTBOX_CLOCK_STEP_MAX_NS;
	h->clock_at_ns = at_ns;
}

static bool is_old(const struct alert_head *h, const struct alert_event *e)
{
	int64_t age_ns;
	return !__builtin_sub_overflow(h->clock_ns, e->time_ns, &age_ns) && age_ns > OUTBOX_AGE_MAX_NS;
}

static int trim(struct work *w)
{
	struct alert_head *h = &w->head;
	struct state_key prefix, k;
	struct bytes key, value;
	struct alert_event e;
	state_key_start(&prefix, STATE_ALERT_EVENT);
	for (int i = 0; i < ALERT_TRIM_MAX; i++) {
		int rc = state_first(w->sh->state, &prefix, &prefix, &key, &value);
		if (rc)
			return rc == WEIR_ENOTFOUND ? 0 : rc;
		uint64_t index;
		uint32_t n;
		if (!alert_event_key_of(key, &index, &n) || alert_event_decode(value, &e))
			return WEIR_ECORRUPT;
		if (!is_old(h, &e) && h->events <= ALERT_EVENTS_MAX)
			return 0;
		alert_event_key(&k, index, n);
		rc = state_del(w->sh->state, &k);
		if (rc)
			return rc;
		h->trimmed_index = index;
		h->trimmed_n = n;
		h->events -= h->events > 0;
	}
	return 0;
}

/* ---- ENTRY_ALERT ------------------------------------------------------------------------------------------- */

static void count_group(struct alert_record *a, bool there, const struct alert_group *was, const struct entry_alert_group *g)
{
	if (there && was->firing)
		a->firing -= a->firing > 0;
	else if (there)
		a->pending -= a->pending > 0;
	a->firing += g->what == ALERT_FIRING;
	a->pending += g->what == ALERT_PENDING;
}

static int put_group(struct work *w, const struct state_key *k, const struct entry_alert_group *g)
{
	struct alert_group next = {g->what == ALERT_FIRING, g->run, g->since_ns, g->window_ns, g->values};
	buf_clear(&w->value);
	alert_group_encode(&next, &w->value);
	return state_put(w->sh->state, k, written(w));
}

static int apply_group(struct work *w, uint32_t id, struct alert_record *a, const struct entry_alert_group *g)
{
	struct state_key k;
	struct bytes value;
	struct alert_group was = {0};
	alert_group_key(&k, id, g->group);
	int rc = state_get(w->sh->state, &k, &value);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	bool there = !rc;
	if (there && alert_group_decode(value, &was))
		return WEIR_ECORRUPT;
	count_group(a, there, &was, g);
	if (g->what == ALERT_PENDING || g->what == ALERT_FIRING)
		rc = put_group(w, &k, g);
	else
		rc = there ? state_del(w->sh->state, &k) : 0;
	if (!rc && (g->what == ALERT_FIRING || g->what == ALERT_RESOLVED))
		rc = put_event(w, a, g);
	return rc;
}

static int apply_groups(struct work *w, struct alert_record *a, const struct entry_alert *of)
{
	int rc = 0;
	for (uint32_t i = 0; i < of->group_count && !rc; i++)
		rc = apply_group(w, of->id, a, &of->groups[i]);
	return rc;
}

static int judge(struct work *w, struct alert_record *a, const struct entry_alert *of)
{
	struct shard_stream *s = shard_stream_of(w->sh, a->def.stream, of->version);
	if (!s || a->end != ALERT_STAYS)
		return 0;
	if (!a->basis.grid.size_ns)
		alert_basis_of(s->conf, &a->basis);
	else if (!alert_basis_is(&a->basis, s->conf))
		return 0;
	a->place = (struct alert_place){of->judged_ns, of->in_window, of->window_ns, of->after};
	int rc = apply_groups(w, a, of);
	return rc ? rc : put_record(w, of->id, a);
}

static bool has_groups(const struct work *w, uint32_t id)
{
	struct state_key prefix;
	struct bytes key, value;
	state_key_id(&prefix, STATE_ALERT_GROUP, id);
	return !state_first(w->sh->state, &prefix, &prefix, &key, &value);
}

static int end(struct work *w, struct alert_record *a, const struct entry_alert *of)
{
	struct state_key k;
	if (a->end == ALERT_STAYS)
		return 0;
	int rc = apply_groups(w, a, of);
	if (rc || !of->done || has_groups(w, of->id))
		return rc ? rc : put_record(w, of->id, a);
	alert_record_key(&k, of->id);
	return state_del(w->sh->state, &k);
}

/* Whether all times are such as records may hold. */
static bool times_ok(const struct entry_alert *of)
{
	bool ok = state_time_ok(of->judged_ns) || of->judged_ns == WATERMARK_NONE;
	ok = ok && (!of->in_window || state_time_ok(of->window_ns));
	for (uint32_t i = 0; i < of->group_count && ok; i++)
		ok = state_time_ok(of->groups[i].since_ns) && state_time_ok(of->groups[i].window_ns);
	return ok;
}

/* The record is copied: what is written meanwhile moves it. */
static int apply_alert(struct work *w, const struct entry_alert *of)
{
	struct state *s = w->sh->state;
	struct state_key k;
	struct bytes value;
	struct alert_record a;
	struct buf copy = {0};
	alert_record_key(&k, of->id);
	int rc = of->id && times_ok(of) ? state_get(s, &k, &value) : WEIR_ENOTFOUND;
	if (!rc)
		buf_put(&copy, value.p, value.n);
	if (!rc)
		rc = alert_record_decode(bytes_of(copy.data, copy.len), &a);
	if (!rc && a.changed == of->changed) {
		if (of->op == ALERT_JUDGE)
			rc = judge(w, &a, of);
		else if (of->op == ALERT_END)
			rc = end(w, &a, of);
		else
			rc = renew_basis(w, of->id, &a, of);
	}
	buf_free(&copy);
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

int alert_apply(struct shard *sh, const struct entry *e, uint64_t index)
{
	struct work w = {.sh = sh, .index = index, .time_ns = e->time_ns};
	int rc = begin(&w);
	if (!rc)
		move_clock(&w.head, e->time_ns);
	for (uint32_t i = 0; i < e->alert.count && !rc; i++)
		rc = apply_alert(&w, &e->alert.alerts[i]);
	if (!rc)
		rc = trim(&w);
	if (!rc)
		rc = put_head(&w);
	buf_free(&w.value);
	return rc;
}
