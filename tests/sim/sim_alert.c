/* Alerts: the real judge (cloudd/alert_judge), leader, log and apply, and in place of the thread of
 * cloudd/alerts one that looks as it does, at what is durable, and whose findings reach the loop a little
 * later; now and then so late that they were found again meanwhile, by this leader or the next one. Sinks
 * tell of the events: sim_sink.c.
 *
 * Mutants stand between the parts of the product that they break: --wrap of the linker (module.am). */
#include "tests/sim/sim_alert.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_judge.h"
#include "cloudd/alerts.h"
#include "cloudd/serve_parts.h"
#include "cloudd/shard.h"
#include "common/err.h"

#define WORK_FEW 30 /* rows and windows: judged in pieces */
#define LATE 0.05   /* of what was found */
#define LOST 0.05   /* likewise: the loop had no room for it */
#define ENOUGH 0.2  /* each time that a turn is asked whether it is over */

/* Of a shard that the cloud leads, as in cloudd/alerts. */
struct shard_at {
	uint64_t term;
	uint64_t looked;
	uint32_t next;  /* alert that is first in turn */
	uint32_t asked; /* first alert of what is on the way; 0: nothing is */
	uint64_t changed;
	int64_t until_ns;
};

struct sim_alerts {
	struct serve serve;
	struct shard_at shards[SIM_SHARDS_MAX];
};

/* On its way to the loop. */
struct finding {
	uint32_t shard;
	size_t len;
	uint8_t raw[];
};

/* ---- mutants
 * --------------------------------------------------------------------------------------------------- */

static enum sim_mutant broken;
static bool judging, led_anew;

int __real_alert_apply(struct shard *sh, const struct entry *e, uint64_t index);
int __wrap_alert_apply(struct shard *sh, const struct entry *e, uint64_t index);
int __real_alert_record_next(struct kv_txn *txn, unsigned db, uint32_t *id, struct alert_record *ret);
int __wrap_alert_record_next(struct kv_txn *txn, unsigned db, uint32_t *id, struct alert_record *ret);
int __real_shard_read_advance(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_advance *ret);
int __wrap_shard_read_advance(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_advance *ret);

/* Whatever an entry was found from counts. */
int __wrap_alert_apply(struct shard *sh, const struct entry *e, uint64_t index)
{
	struct alert_record a;
	for (uint32_t i = 0; broken == MUTANT_ALERT_STALE && i < e->alert.count; i++)
		if (!alert_record_read(sh->state->txn, sh->state->db, e->alert.alerts[i].id, &a))
			e->alert.alerts[i].changed = a.changed;
	return __real_alert_apply(sh, e, index);
}

/* Who leads anew does not know how far its alerts are judged. */
int __wrap_alert_record_next(struct kv_txn *txn, unsigned db, uint32_t *id, struct alert_record *ret)
{
	int rc = __real_alert_record_next(txn, db, id, ret);
	if (!rc && broken == MUTANT_ALERT_AGAIN && judging && led_anew)
		ret->place = (struct alert_place){.judged_ns = WATERMARK_NONE};
	return rc;
}

/* Windows are judged before they have closed. */
int __wrap_shard_read_advance(struct kv_txn *txn, unsigned db, uint32_t id, struct shard_advance *ret)
{
	int rc = __real_shard_read_advance(txn, db, id, ret);
	if (!rc && broken == MUTANT_ALERT_EARLY && judging && ret->close.close_ns != WATERMARK_NONE)
		ret->close.close_ns += 5 * NS_PER_SEC;
	return rc;
}

/* ---- the thread
 * ------------------------------------------------------------------------------------------------- */

static void plan_turn(struct sim_cloud *c, int64_t in_ns)
{
	sim_plan_event(c->w, SIM_ALERT_TURN, in_ns, c->pid, c->life);
}

void sim_alert_start(struct sim_cloud *c)
{
	if (!c->w->plan->alerts)
		return;
	c->alerts = xcalloc(1, sizeof(*c->alerts));
	c->alerts->serve = (struct serve){
	    .groups = topology_groups(c->w->plan->topology), .o = {.state = c->state, .node = c->node}};
	plan_turn(c, sim_range(&c->w->alerts->rand, 0, ALERTS_POLL_NS));
}

void sim_alert_stop(struct sim_cloud *c)
{
	free(c->alerts);
	c->alerts = NULL;
}

static int is_waiting(struct sim_cloud *c, struct shard_at *at, struct kv_txn *txn, unsigned db, bool *ret_is)
{
	struct alert_record r;
	*ret_is = false;
	if (!at->asked || sim_cloud_time(c).mono_ns >= at->until_ns) {
		at->asked = 0;
		return 0;
	}
	int rc = alert_record_read(txn, db, at->asked, &r);
	*ret_is = !rc && r.changed == at->changed;
	if (!*ret_is)
		at->asked = 0;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static void propose(struct sim_cloud *c, uint32_t shard, const struct entry *e)
{
	struct sim_world *w = c->w;
	struct shard_at *at = &c->alerts->shards[shard];
	struct buf raw = {0};
	at->asked = e->alert.alerts[0].id;
	at->changed = e->alert.alerts[0].changed;
	at->until_ns = sim_cloud_time(c).mono_ns + ALERTS_RETRY_NS;
	if (!w->no_faults && sim_chance(&w->alerts->rand, LOST))
		return;
	entry_encode(e, &raw);
	struct finding *f = xcalloc(1, sizeof(*f) + raw.len);
	f->shard = shard;
	f->len = raw.len;
	memcpy(f->raw, raw.data, raw.len);
	buf_free(&raw);
	bool late = !w->no_faults && sim_chance(&w->alerts->rand, LATE);
	int64_t in_ns = sim_range(&w->alerts->rand, 0, late ? 3 * ALERTS_RETRY_NS : 20 * NS_PER_MS);
	sim_hash(w, sim_hash_bytes(f->raw, f->len));
	sim_queue_put(&w->queue, (struct sim_event){.at_ns = w->now_ns + in_ns,
				     .type = SIM_ALERT_PROPOSE,
				     .who = c->pid,
				     .life = c->life,
				     .ptr = f});
}

/* The turn's time is over. */
static bool is_enough(void *rand)
{
	return sim_chance(rand, ENOUGH);
}

static int find(struct sim_cloud *c, const struct topology *t, struct kv_txn *txn, uint32_t shard, struct alert_found *ret)
{
	struct sim_rand *r = &c->w->alerts->rand;
	uint64_t work_max = sim_chance(r, 0.5) ? ALERT_WORK_MAX : (uint64_t)sim_range(r, 1, WORK_FEW);
	struct alert_turn turn = {c->alerts->shards[shard].next, work_max, is_enough, r};
	broken = c->w->mutant;
	judging = true;
	int rc = alert_judge(t, txn, shard, &turn, ret);
	judging = false;
	return rc;
}

static int judge(
    struct sim_cloud *c, const struct topology *t, struct kv_txn *txn, uint32_t shard, bool *ret_idle)
{
	struct alert_found f;
	uint64_t map_version;
	bool waits;
	*ret_idle = false;
	int rc = serve_map_version(txn, shard + 1, &map_version);
	if (rc || map_version != t->map_version)
		return rc;
	rc = is_waiting(c, &c->alerts->shards[shard], txn, STATE_DB_GROUP(shard + 1), &waits);
	if (rc || waits)
		return rc;
	rc = find(c, t, txn, shard, &f);
	if (rc)
		return rc;
	c->alerts->shards[shard].next = f.next;
	*ret_idle = !f.entry.alert.count && !f.more;
	led_anew = false;
	if (f.entry.alert.count)
		propose(c, shard, &f.entry);
	if (f.left_out)
		sim_fail(c->w, "cloud %u: groups of alerts of shard %u are left out", c->pid, shard);
	alert_found_clear(&f);
	return 0;
}

static uint64_t term_of(struct sim_cloud *c, uint32_t shard)
{
	struct group_status status;
	node_group_status(c->node, shard + 1, &status);
	return status.term;
}

static void look(struct sim_cloud *c, const struct topology *t, uint32_t shard)
{
	struct shard_at *at = &c->alerts->shards[shard];
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	uint64_t durable = c->durable[shard + 1];
	bool idle = false;
	if (!node_serves(c->node, shard + 1)) {
		*at = (struct shard_at){0};
		return;
	}
	if (at->looked == durable || !durable)
		return;
	uint64_t term = term_of(c, shard);
	led_anew = at->term != term; /* until something was judged in it */
	int rc = serve_begin(&c->alerts->serve, shard + 1, &txn, &info);
	if (!rc) {
		rc = judge(c, t, txn, shard, &idle);
		kv_abort(txn);
	}
	if (!led_anew)
		at->term = term;
	if (rc && rc != WEIR_ECLOSED && rc != WEIR_EBUSY && !(rc == WEIR_ECORRUPT && c->damaged))
		sim_fail(c->w, "cloud %u: the alerts of shard %u cannot be judged: %s", c->pid, shard,
		    err_text(rc));
	if (idle)
		at->looked = durable;
}

void sim_alert_turn(struct sim_cloud *c)
{
	const struct topology *t = node_topology(c->node);
	for (uint32_t shard = 0; shard < c->w->topology->shards && !c->w->failed; shard++)
		look(c, t, shard);
	topology_free(t);
	plan_turn(c, ALERTS_POLL_NS);
}

void sim_alert_propose(struct sim_cloud *c, void *found)
{
	const struct finding *f = found;
	struct entry e;
	int rc = entry_decode(bytes_of(f->raw, f->len), &e);
	if (rc) {
		sim_fail(c->w, "cloud %u: an entry of alerts does not decode: %s", c->pid, err_text(rc));
		return;
	}
	node_alerts(c->node, f->shard, &e, sim_cloud_time(c));
	entry_clear(&e);
	sim_cloud_turn(c);
}

/* ---- receivers
 * --------------------------------------------------------------------------------------------------- */

struct delivery {
	size_t count;
	struct sim_alert_got events[];
};

struct sim_alert_got sim_alert_got_of(size_t sink, const struct alert_event *e)
{
	struct sim_alert_got g = {.sink = (uint8_t)sink};
	struct buf b = {0};
	alert_event_encode(e, &b);
	alert_event_id(e, g.id);
	g.digest = sim_hash_bytes(b.data, b.len);
	buf_free(&b);
	return g;
}

void sim_alert_send(
    struct sim_world *w, size_t sink, const struct sink_alerts *b, size_t count, int64_t in_ns)
{
	struct delivery *d = xcalloc(1, sizeof(*d) + count * sizeof(d->events[0]));
	for (; d->count < count; d->count++)
		d->events[d->count] = sim_alert_got_of(sink, &b->events[d->count]);
	sim_queue_put(
	    &w->queue, (struct sim_event){.at_ns = w->now_ns + in_ns, .type = SIM_ALERT_ARRIVE, .ptr = d});
}

void sim_alert_arrive(struct sim_world *w, const void *delivery)
{
	const struct delivery *d = delivery;
	struct sim_alert_world *a = w->alerts;
	for (size_t i = 0; i < d->count; i++) {
		if (a->count == a->cap) {
			a->cap = a->cap ? 2 * a->cap : 256;
			a->got = xrealloc(a->got, a->cap * sizeof(*a->got));
		}
		a->got[a->count++] = d->events[i];
	}
}

void sim_alert_begin(struct sim_world *w)
{
	w->alerts = xcalloc(1, sizeof(*w->alerts));
	w->alerts->rand = (struct sim_rand){sim_mix(w->plan->seed ^ UINT64_C(0xa1e27))};
	broken = w->mutant;
}

void sim_alert_free(struct sim_world *w)
{
	free(w->alerts->got);
	free(w->alerts->begins);
	free(w->alerts);
}
