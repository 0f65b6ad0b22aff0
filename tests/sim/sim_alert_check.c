/* What must hold of alerts in the end. Of all worlds: of each (alert, group), events fire and are resolved in
 * turn, none comes twice, what is kept of groups says the same, each sink's receiver has them all, and none
 * that the logs do not have. Where neither streams nor alerts changed: the events are what the rows of the
 * windows say, one after the other, of each group of which no row was revised (then its windows are still
 * what they were when they closed). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_judge.h"
#include "common/condition.h"
#include "common/err.h"
#include "common/window.h"
#include "tests/sim/sim_alert.h"
#include "tests/sim/sim_answer.h"

/* An event of a shard's state. */
struct happened {
	struct buf raw;
	struct alert_event e; /* points into raw */
	struct sim_alert_got got;
	bool expected; /* by the oracle, or it cannot say */
};

struct events {
	struct happened *at; /* shard by shard, in the order of the log */
	size_t count, cap;
};

/* ---- reading
 * ------------------------------------------------------------------------------------------------------ */

static void add_event(struct events *all, uint32_t shard, struct bytes value)
{
	if (all->count == all->cap) {
		all->cap = all->cap ? 2 * all->cap : 256;
		all->at = xrealloc(all->at, all->cap * sizeof(*all->at));
	}
	struct happened *h = &all->at[all->count++];
	*h = (struct happened){0};
	buf_put(&h->raw, value.p, value.n);
	weir_assert(!alert_event_decode(bytes_of(h->raw.data, h->raw.len), &h->e));
	h->e.shard = shard;
	h->got = sim_alert_got_of(0, &h->e);
}

static void read_shard(struct kv_txn *txn, uint32_t shard, struct events *ret)
{
	struct kv_cursor *c;
	struct state_key k;
	struct bytes key, value;
	uint64_t index;
	uint32_t n;
	weir_assert(!kv_cursor_open(txn, STATE_DB_GROUP(shard + 1), &c));
	alert_event_key(&k, 0, 0);
	int rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	for (; !rc && alert_event_key_of(key, &index, &n); rc = kv_cursor_next(c, &key, &value))
		add_event(ret, shard, value);
	kv_cursor_close(c);
}

static void read_all(struct sim_world *w, struct events *ret)
{
	*ret = (struct events){0};
	for (uint32_t shard = 0; shard < w->topology->shards; shard++) {
		struct kv_txn *txn;
		if (kv_begin(sim_answer_replica(w, shard)->state, false, &txn))
			continue;
		read_shard(txn, shard, ret);
		kv_abort(txn);
	}
}

static void clear(struct events *all)
{
	for (size_t i = 0; i < all->count; i++)
		buf_free(&all->at[i].raw);
	free(all->at);
}

static bool same_bytes(struct bytes a, struct bytes b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

static bool same_alert(const struct alert_def *a, const struct alert_def *b)
{
	return same_bytes(a->stream, b->stream) && same_bytes(a->name, b->name);
}

static bool same_by(const struct alert_basis *a, const struct alert_basis *b)
{
	bool same = a->by_count == b->by_count;
	for (uint32_t i = 0; same && i < a->by_count; i++)
		same = same_bytes(a->by[i], b->by[i]);
	return same;
}

/* Of the same alert and group; whatever its windows are. */
static bool same_group(const struct alert_event *a, const struct alert_event *b)
{
	return a->shard == b->shard && same_bytes(a->group, b->group) && same_alert(&a->def, &b->def) &&
	       same_by(&a->basis, &b->basis);
}

static const char *name_of(const struct alert_event *e)
{
	static char text[NAME_MAX_BYTES + 1];
	snprintf(text, sizeof(text), "%.*s", (int)e->def.name.n, (const char *)e->def.name.p);
	return text;
}

/* ---- in turn, and once
 * ---------------------------------------------------------------------------------------------- */

static const struct alert_event *before(const struct events *all, size_t i)
{
	for (size_t k = i; k > 0 && all->at[k - 1].e.shard == all->at[i].e.shard; k--)
		if (same_group(&all->at[k - 1].e, &all->at[i].e))
			return &all->at[k - 1].e;
	return NULL;
}

static void check_turn(struct sim_world *w, const struct events *all, size_t i)
{
	const struct alert_event *e = &all->at[i].e, *was = before(all, i);
	bool in_turn = e->firing ? !was || !was->firing : was && was->firing;
	if (!in_turn)
		sim_fail(w, "alert %s, shard %u: a group %s in the window at %lld s, and %s", name_of(e),
		    e->shard, e->firing ? "fires" : "is resolved", sim_seconds(e->window_ns),
		    e->firing ? "fired already" : "did not fire");
	else if (!e->firing && (e->since_ns != was->since_ns || e->window_ns < was->window_ns))
		sim_fail(w,
		    "alert %s, shard %u: a group is resolved at %lld s, since %lld s; it fired at %lld s, "
		    "since %lld s",
		    name_of(e), e->shard, sim_seconds(e->window_ns), sim_seconds(e->since_ns),
		    sim_seconds(was->window_ns), sim_seconds(was->since_ns));
}

static int got_cmp(const void *pa, const void *pb)
{
	const struct sim_alert_got *a = pa, *b = pb;
	int c = (int)a->sink - (int)b->sink;
	c = c ? c : strcmp(a->id, b->id);
	return c ? c : (a->digest > b->digest) - (a->digest < b->digest);
}

/* Sorted; all as of sink 0. */
static struct sim_alert_got *all_ids(const struct events *all)
{
	struct sim_alert_got *ids = xcalloc(all->count + 1, sizeof(*ids));
	for (size_t i = 0; i < all->count; i++)
		ids[i] = all->at[i].got;
	if (all->count)
		qsort(ids, all->count, sizeof(*ids), got_cmp);
	return ids;
}

static void check_ids(struct sim_world *w, const struct events *all)
{
	struct sim_alert_got *ids = all_ids(all);
	for (size_t i = 1; i < all->count && !w->failed; i++)
		if (!strcmp(ids[i - 1].id, ids[i].id))
			sim_fail(
			    w, "two events of alerts are one (alert, group, window, state): %s", ids[i].id);
	free(ids);
}

/* ---- what is kept of groups
 * ----------------------------------------------------------------------------------------- */

static bool fires(const struct events *all, const struct alert_event *of)
{
	for (size_t i = all->count; i > 0; i--)
		if (same_group(&all->at[i - 1].e, of))
			return all->at[i - 1].e.firing;
	return false;
}

static void check_group(struct sim_world *w, const struct events *all, uint32_t shard,
    const struct alert_record *a, struct bytes group, const struct alert_group *g)
{
	const struct alert_event e = {.def = a->def, .basis = a->basis, .group = group, .shard = shard};
	if (fires(all, &e) != g->firing)
		sim_fail(w,
		    "alert %s, shard %u: a group is kept as %s, and its last event says another thing",
		    name_of(&e), shard, g->firing ? "firing" : "pending");
}

/* The number of groups that fire. */
static uint64_t check_record(struct sim_world *w, const struct events *all, struct kv_txn *txn,
    uint32_t shard, uint32_t id, const struct alert_record *a)
{
	struct kv_cursor *c;
	struct state_key prefix;
	struct bytes key, value, group;
	struct alert_group g;
	uint64_t firing = 0, pending = 0;
	weir_assert(!kv_cursor_open(txn, STATE_DB_GROUP(shard + 1), &c));
	state_key_id(&prefix, STATE_ALERT_GROUP, id);
	int rc = kv_cursor_seek(c, state_key_bytes(&prefix), &key, &value);
	for (; !rc && state_key_rest(key, &prefix, &group); rc = kv_cursor_next(c, &key, &value)) {
		weir_assert(!alert_group_decode(value, &g));
		firing += g.firing;
		pending += !g.firing;
		check_group(w, all, shard, a, group, &g);
	}
	kv_cursor_close(c);
	if (firing != a->firing || pending != a->pending)
		sim_fail(w, "shard %u, alert %u: %llu groups fire, %llu are pending, and it says %llu, %llu",
		    shard, id, (unsigned long long)firing, (unsigned long long)pending,
		    (unsigned long long)a->firing, (unsigned long long)a->pending);
	return firing;
}

static uint64_t groups_of_shard(
    struct sim_world *w, const struct events *all, struct kv_txn *txn, uint32_t shard)
{
	struct alert_record a;
	struct alert_head head;
	uint64_t firing = 0;
	weir_assert(!alert_head_read(txn, STATE_DB_GROUP(shard + 1), &head));
	if (head.trimmed_index)
		sim_fail(w, "shard %u: events of alerts were deleted within minutes", shard);
	for (uint32_t id = 1; !w->failed && !alert_record_next(txn, STATE_DB_GROUP(shard + 1), &id, &a);
	     id++) {
		if (a.end != ALERT_STAYS)
			sim_fail(w, "shard %u: alert %u has not ended", shard, id);
		firing += check_record(w, all, txn, shard, id, &a);
	}
	return firing;
}

static void check_groups(struct sim_world *w, const struct events *all)
{
	uint64_t kept = 0, told = 0;
	for (uint32_t shard = 0; shard < w->topology->shards && !w->failed; shard++) {
		struct kv_txn *txn;
		weir_assert(!kv_begin(sim_answer_replica(w, shard)->state, false, &txn));
		kept += groups_of_shard(w, all, txn, shard);
		kv_abort(txn);
	}
	for (size_t i = 0; i < all->count; i++) {
		told += all->at[i].e.firing;
		told -= !all->at[i].e.firing;
	}
	if (!w->failed && kept != told)
		sim_fail(w, "%llu groups of alerts fire, and by their events %llu do",
		    (unsigned long long)kept, (unsigned long long)told);
}

/* ---- receivers
 * ------------------------------------------------------------------------------------------------------- */

static bool goes_to(const struct sim_world *w, const struct alert_event *e, size_t sink)
{
	const char *name = w->topology->sinks[sink].name;
	for (uint32_t i = 0; i < e->def.to_count; i++)
		if (same_bytes(e->def.to[i], bytes_of(name, strlen(name))))
			return true;
	return false;
}

static bool is_there(const struct sim_world *w, size_t sink)
{
	return topology_sink(sim_topology(w), w->topology->sinks[sink].name) >= 0;
}

static bool has(const struct sim_alert_world *a, const struct happened *h, size_t sink)
{
	struct sim_alert_got key = h->got;
	key.sink = (uint8_t)sink;
	return a->count && bsearch(&key, a->got, a->count, sizeof(*a->got), got_cmp);
}

static bool has_all(struct sim_world *w, const struct events *all, char *why, size_t size)
{
	if (w->alerts->count)
		qsort(w->alerts->got, w->alerts->count, sizeof(*w->alerts->got), got_cmp);
	for (size_t i = 0; i < all->count; i++)
		for (size_t sink = 0; sink < w->topology->sink_count; sink++) {
			const struct happened *h = &all->at[i];
			if (!goes_to(w, &h->e, sink) || !is_there(w, sink) || has(w->alerts, h, sink))
				continue;
			snprintf(why, size, "a receiver has not got that alert %s, shard %u, %s at %lld s",
			    name_of(&h->e), h->e.shard, h->e.firing ? "fired" : "was resolved",
			    sim_seconds(h->e.window_ns));
			return false;
		}
	return true;
}

static void check_got(struct sim_world *w, const struct events *all)
{
	struct sim_alert_got *ids = all_ids(all);
	for (size_t i = 0; i < w->alerts->count && !w->failed; i++) {
		struct sim_alert_got key = w->alerts->got[i];
		key.sink = 0;
		if (!all->count || !bsearch(&key, ids, all->count, sizeof(*ids), got_cmp))
			sim_fail(w, "a receiver was told of an alert that is in no log: %s", key.id);
	}
	free(ids);
}

/* ---- rest
 * ------------------------------------------------------------------------------------------------------------
 */

static bool is_judged(struct sim_world *w, uint32_t shard)
{
	struct alert_found f;
	struct kv_txn *txn;
	if (kv_begin(sim_answer_replica(w, shard)->state, false, &txn))
		return false;
	int rc = alert_judge(w->known, txn, shard, &(struct alert_turn){.work_max = ALERT_WORK_MAX}, &f);
	kv_abort(txn);
	if (rc)
		return false;
	bool judged = !f.entry.alert.count;
	alert_found_clear(&f);
	return judged;
}

bool sim_alert_at_rest(struct sim_world *w, char *why, size_t size)
{
	struct events all;
	if (!w->plan->alerts)
		return true;
	for (uint32_t shard = 0; shard < w->topology->shards; shard++) {
		if (is_judged(w, shard))
			continue;
		snprintf(why, size, "not all alerts of shard %u are judged", shard);
		return false;
	}
	read_all(w, &all);
	bool fine = has_all(w, &all, why, size);
	clear(&all);
	return fine;
}

/* ---- the oracle
 * ------------------------------------------------------------------------------------------------------ */

bool sim_alert_wants(const struct sim_world *w, uint32_t group, struct bytes raw)
{
	return w->plan->alerts && group && raw.n > 1 && raw.p[1] == ENTRY_MAP;
}

static bool has_begun(const struct sim_alert_world *a, uint32_t group, uint32_t id, int64_t *ret_ns)
{
	for (size_t i = 0; i < a->begin_count; i++) {
		*ret_ns = a->begins[i].judged_ns;
		if (a->begins[i].group == group && a->begins[i].id == id)
			return true;
	}
	return false;
}

void sim_alert_replayed(struct sim_world *w, struct kv *kv, uint32_t group)
{
	struct sim_alert_world *all = w->alerts;
	struct kv_txn *txn;
	struct alert_record a;
	int64_t ns;
	weir_assert(!kv_begin(kv, false, &txn));
	for (uint32_t id = 1; !alert_record_next(txn, STATE_DB_GROUP(group), &id, &a); id++) {
		if (has_begun(all, group, id, &ns))
			continue;
		all->begins = xrealloc(all->begins, (all->begin_count + 1) * sizeof(*all->begins));
		all->begins[all->begin_count++] = (struct sim_alert_begin){group, id, a.place.judged_ns};
	}
	kv_abort(txn);
}

/* One alert of one shard, group after group. */
struct oracle {
	struct sim_world *w;
	struct kv_txn *txn;
	uint32_t shard, id;
	const struct alert_record *a;
	const struct stream_conf *s;
	const struct alert_conf *conf;
	int64_t begin_ns, close_ns; /* windows that end behind the one, and not behind the other */
	struct events *events;
	struct bytes group;
	size_t at; /* its events before are found */
	uint32_t run;
	int64_t since_ns;
	bool firing;
};

static bool is_of(const struct oracle *o, const struct happened *h)
{
	return h->e.shard == o->shard && same_bytes(h->e.group, o->group) &&
	       same_alert(&h->e.def, &o->a->def);
}

static struct happened *next_event(struct oracle *o)
{
	while (o->at < o->events->count && !is_of(o, &o->events->at[o->at]))
		o->at++;
	return o->at < o->events->count ? &o->events->at[o->at++] : NULL;
}

static void expect(struct oracle *o, bool firing, enum alert_reason reason, int64_t window_ns)
{
	struct happened *h = next_event(o);
	bool right = h && h->e.firing == firing && h->e.window_ns == window_ns &&
		     h->e.since_ns == o->since_ns && (firing || h->e.reason == reason);
	if (h)
		h->expected = true;
	if (!right)
		sim_fail(o->w,
		    "alert %s, shard %u: a group must %s in the window at %lld s, since %lld s; its next "
		    "event: %s at %lld s, since %lld s",
		    o->conf->name, o->shard, firing ? "fire" : "be resolved", sim_seconds(window_ns),
		    sim_seconds(o->since_ns),
		    !h		  ? "none"
		    : h->e.firing ? "it fires"
				  : alert_reason_text(h->e.reason),
		    h ? sim_seconds(h->e.window_ns) : 0, h ? sim_seconds(h->e.since_ns) : 0);
}

static void see_window(struct oracle *o, bool met, enum alert_reason reason, int64_t window_ns)
{
	if (!met) {
		if (o->firing)
			expect(o, false, reason, window_ns);
		o->run = 0;
		o->firing = false;
		return;
	}
	if (!o->run++)
		o->since_ns = window_ns;
	if (o->run == o->conf->for_windows) {
		o->firing = true;
		expect(o, true, ALERT_NOT_MET, window_ns);
	}
}

static void check_kept(struct oracle *o)
{
	struct state_key k;
	struct bytes value;
	struct alert_group g = {0};
	alert_group_key(&k, o->id, o->group);
	bool there = !kv_get(o->txn, STATE_DB_GROUP(o->shard + 1), state_key_bytes(&k), &value);
	weir_assert(!there || !alert_group_decode(value, &g));
	bool right =
	    there == (o->run > 0) &&
	    (!there || (g.firing == o->firing && g.since_ns == o->since_ns && (g.firing || g.run == o->run)));
	if (!right)
		sim_fail(o->w,
		    "alert %s, shard %u: a group is kept as %s, run %u, since %lld s, must be %s, run %u, "
		    "since %lld s",
		    o->conf->name, o->shard,
		    !there     ? "nothing"
		    : g.firing ? "firing"
			       : "pending",
		    g.run, sim_seconds(g.since_ns),
		    !o->run	? "nothing"
		    : o->firing ? "firing"
				: "pending",
		    o->run, sim_seconds(o->since_ns));
}

/* Windows without a row do not meet the condition: the first of them is enough. */
static void see_gap(struct oracle *o, int64_t from_ns, int64_t next_ns)
{
	if (o->run && from_ns < next_ns && from_ns + o->s->size_ns <= o->close_ns)
		see_window(o, false, ALERT_NO_DATA, from_ns);
}

static void see_rows(
    struct oracle *o, const struct sim_row *rows, size_t count, const struct partial_spec *spec)
{
	int64_t next_ns = INT64_MIN;
	o->group = rows[0].group;
	o->at = 0;
	o->run = 0;
	o->firing = false;
	for (size_t i = 0; i < count && !o->w->failed; i++) {
		const struct sim_row *r = &rows[i];
		int64_t end_ns = r->start_ns + o->s->size_ns;
		if (end_ns <= o->begin_ns || end_ns > o->close_ns)
			continue;
		see_gap(o, next_ns, r->start_ns);
		see_window(o, condition_met(o->conf->condition, o->s, spec, &r->partial), ALERT_NOT_MET,
		    r->start_ns);
		next_ns = r->start_ns + o->s->advance_ns;
	}
	if (next_ns != INT64_MIN)
		see_gap(o, next_ns, INT64_MAX);
	if (!o->w->failed)
		check_kept(o);
	o->w->alert_groups++;
}

static bool was_revised(const struct sim_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].revision > 1)
			return true;
	return false;
}

/* Of a group that the oracle knows nothing of. */
static void skip_events(struct oracle *o, struct bytes group)
{
	struct happened *h;
	o->group = group;
	o->at = 0;
	while ((h = next_event(o)))
		h->expected = true;
}

static int by_group(const void *pa, const void *pb)
{
	const struct sim_row *a = pa, *b = pb;
	int c = group_order(a->group, b->group);
	return c ? c : (a->start_ns > b->start_ns) - (a->start_ns < b->start_ns);
}

static void check_alert_rows(struct oracle *o, struct sim_rows *rows)
{
	if (rows->count)
		qsort(rows->rows, rows->count, sizeof(*rows->rows), by_group);
	for (size_t i = 0, n; i < rows->count && !o->w->failed; i += n) {
		for (n = 1; i + n < rows->count && same_bytes(rows->rows[i + n].group, rows->rows[i].group);
		     n++)
			;
		if (was_revised(&rows->rows[i], n))
			skip_events(o, rows->rows[i].group);
		else
			see_rows(o, &rows->rows[i], n, &rows->spec);
	}
	for (size_t i = 0; i < o->events->count && !o->w->failed; i++) {
		const struct happened *h = &o->events->at[i];
		if (h->e.shard == o->shard && same_alert(&h->e.def, &o->a->def) && !h->expected)
			sim_fail(o->w,
			    "alert %s, shard %u: a group %s in the window at %lld s, which its rows do not "
			    "say",
			    o->conf->name, o->shard, h->e.firing ? "fires" : "is resolved",
			    sim_seconds(h->e.window_ns));
	}
}

static void check_alert(struct sim_world *w, struct kv_txn *txn, uint32_t shard, uint32_t id,
    const struct alert_record *a, struct events *all)
{
	char name[NAME_MAX_BYTES + 1];
	snprintf(name, sizeof(name), "%.*s", (int)a->def.stream.n, (const char *)a->def.stream.p);
	int stream = topology_alerting(w->known, name);
	struct oracle o = {.w = w,
	    .txn = txn,
	    .shard = shard,
	    .id = id,
	    .a = a,
	    .conf = alert_conf_of(w->known, a->def.stream, a->def.name),
	    .events = all};
	struct sim_rows rows;
	if (stream < 0 || !o.conf || !has_begun(w->alerts, shard + 1, id, &o.begin_ns)) {
		sim_fail(w, "shard %u has an alert %u of stream %s that nobody made", shard, id, name);
		return;
	}
	o.s = &w->known->streams[stream];
	if (sim_versions_least_retain(w, (uint32_t)stream) != RETAIN_FOREVER)
		return;
	sim_answer_begin(w, (uint32_t)stream, &rows);
	if (sim_answer_add(w, sim_answer_replica(w, shard), shard, (uint32_t)stream, &rows)) {
		o.close_ns = rows.close_ns;
		check_alert_rows(&o, &rows);
	}
	sim_rows_free(&rows);
}

static void ask_oracle(struct sim_world *w, struct events *all)
{
	for (uint32_t shard = 0; shard < w->topology->shards && !w->failed; shard++) {
		struct kv_txn *txn;
		struct alert_record a;
		weir_assert(!kv_begin(sim_answer_replica(w, shard)->state, false, &txn));
		for (uint32_t id = 1;
		     !w->failed && !alert_record_next(txn, STATE_DB_GROUP(shard + 1), &id, &a); id++)
			check_alert(w, txn, shard, id, &a, all);
		kv_abort(txn);
	}
}

/* ---- the end
 * ---------------------------------------------------------------------------------------------------------
 */

void sim_alert_check(struct sim_world *w)
{
	struct events all;
	bool constant = !w->plan->change_count || sim_plan_members(w->plan->seed);
	if (!w->plan->alerts)
		return;
	read_all(w, &all);
	w->alerted = all.count;
	check_ids(w, &all);
	for (size_t i = 0; i < all.count && !w->failed; i++)
		check_turn(w, &all, i);
	if (!w->failed)
		check_groups(w, &all);
	if (!w->failed)
		check_got(w, &all);
	if (!w->failed && constant)
		ask_oracle(w, &all);
	clear(&all);
}
