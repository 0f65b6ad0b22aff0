/* What must hold: during the run, at rest, and of the answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "raft/raft.h"
#include "tests/sim/sim_answer.h"
#include "tests/sim/sim_world.h"

#define CLOCKS_APART_MAX_NS (200 * NS_PER_SEC)

/* ---- the edge's ledger ------------------------------------------------------------------------------------------ */

void sim_check_edge(struct sim_edge *e)
{
	struct sim_world *w = e->w;
	struct pipeline_ledger l;
	pipeline_ledger(e->pipeline, &l);
	if (l.accepted != e->accepted || l.refused != e->refused)
		sim_fail(w, "edge %u: its ledger says %llu accepted, %llu refused; it was given %llu and %llu", e->pid,
		    (unsigned long long)l.accepted, (unsigned long long)l.refused, (unsigned long long)e->accepted,
		    (unsigned long long)e->refused);
	if (l.matched != l.aggregated + l.dropped)
		sim_fail(w, "edge %u: matched %llu is not aggregated %llu + dropped %llu", e->pid, (unsigned long long)l.matched,
		    (unsigned long long)l.aggregated, (unsigned long long)l.dropped);
	if (l.unmatched > l.accepted || l.matched + l.unmatched < l.accepted)
		sim_fail(w, "edge %u: accepted %llu, matched %llu, unmatched %llu", e->pid, (unsigned long long)l.accepted,
		    (unsigned long long)l.matched, (unsigned long long)l.unmatched);
	const char *why = NULL;
	/* Refused: by a cloud that has not heard yet that it was added, or by all that have heard that it was removed. */
	bool refused = w->plan->change_count && pipeline_refused(e->pipeline);
	if (w->plan->scenario == SIM_PLAIN && !sim_edge_is_gone(e) && !refused && pipeline_fenced(e->pipeline, &why))
		sim_fail(w, "edge %u is fenced without a reason: %s", e->pid, why ? why : "");
}

/* ---- frames between edge and cloud ------------------------------------------------------------------------------- */

static struct sim_batch_note *note_of(struct sim_lane *lane, uint64_t seq)
{
	if (seq > lane->count) {
		lane->at = xrealloc(lane->at, seq * sizeof(*lane->at));
		memset(lane->at + lane->count, 0, (seq - lane->count) * sizeof(*lane->at));
		lane->count = seq;
	}
	return &lane->at[seq - 1];
}

static void check_batch_sent(struct sim_edge *e, const struct msg *m)
{
	struct sim_world *w = e->w;
	if (m->batch.shard >= w->topology->shards || m->batch.seq == 0 || m->batch.seq > UINT32_MAX) {
		sim_fail(w, "edge %u sends a batch of shard %u, seq %llu", e->pid, m->batch.shard,
		    (unsigned long long)m->batch.seq);
		return;
	}
	struct sim_lane *lane = &w->lanes[e->edge][m->batch.shard];
	if (m->batch.seq > lane->count + 1)
		sim_fail(w, "edge %u leaves a gap before seq %llu of shard %u", e->pid, (unsigned long long)m->batch.seq,
		    m->batch.shard);
	struct sim_batch_note *n = note_of(lane, m->batch.seq);
	uint64_t sum = sim_hash_bytes(m->batch.body.p, m->batch.body.n);
	if (n->sent && n->checksum != sum)
		sim_fail(w, "edge %u sends seq %llu of shard %u again with other bytes", e->pid,
		    (unsigned long long)m->batch.seq, m->batch.shard);
	*n = (struct sim_batch_note){sum, true, n->acked, n->index};
}

/* For --verbose: the heartbeat. */
static void show_report(const struct sim_edge *e, const struct msg *m)
{
	static const char *const phases[] = {"joining", "live", "idle", "backpressured"};
	printf("%9.3f   edge %u reports, epoch %llu seq %llu:", (double)e->w->now_ns / 1e9, e->pid,
	    (unsigned long long)m->report.epoch, (unsigned long long)m->report.seq);
	for (size_t i = 0; i < m->report.stream_count; i++)
		printf(" %s/%u %s%s %.3f flushed %.3f", m->report.streams[i].name, m->report.streams[i].version,
		    phases[m->report.streams[i].phase], m->report.streams[i].unsent ? " unsent" : "",
		    (double)(m->report.streams[i].watermark_ns - SIM_WALL_BASE_NS) / 1e9,
		    (double)(m->report.streams[i].flushed_end_ns - SIM_WALL_BASE_NS) / 1e9);
	printf("\n");
}

void sim_check_sent(struct sim_edge *e, const struct msg *m)
{
	if (e->w->verbose && m->type == MSG_REPORT)
		show_report(e, m);
	if (m->type != MSG_BATCH)
		return;
	e->w->batches++;
	if (e->w->plan->scenario == SIM_PLAIN)
		check_batch_sent(e, m);
}

static void check_grant(struct sim_edge *e, const struct msg *m)
{
	struct sim_world *w = e->w;
	if (m->hello_reply.verdict != VERDICT_OK || m->hello_reply.claim.n != CLAIM_BYTES)
		return;
	for (size_t i = 0; i < w->grant_count; i++) {
		const struct sim_grant *g = &w->grants[i];
		if (g->edge != e->edge || g->epoch != m->hello_reply.epoch)
			continue;
		if (memcmp(g->claim, m->hello_reply.claim.p, CLAIM_BYTES))
			sim_fail(w, "epoch %llu of edge %u was granted to two claims", (unsigned long long)g->epoch, e->pid);
		return;
	}
	w->grants = xrealloc(w->grants, (w->grant_count + 1) * sizeof(*w->grants));
	struct sim_grant *g = &w->grants[w->grant_count++];
	*g = (struct sim_grant){.edge = e->edge, .epoch = m->hello_reply.epoch};
	memcpy(g->claim, m->hello_reply.claim.p, CLAIM_BYTES);
}

/* A shard whose leader was killed takes batches again. */
static void check_failover(struct sim_world *w, uint32_t shard)
{
	struct sim_failover *f = &w->failover;
	if (!f->killed_ns[shard])
		return;
	if (f->count < SIM_FAILOVERS_MAX)
		f->ms[f->count++] = (uint32_t)((w->now_ns - f->killed_ns[shard]) / NS_PER_MS);
	f->killed_ns[shard] = 0;
}

static void check_ack(struct sim_edge *e, const struct msg *m)
{
	struct sim_world *w = e->w;
	if (m->batch_reply.verdict != VERDICT_OK && m->batch_reply.verdict != VERDICT_DUPLICATE)
		return;
	w->acks++;
	if (m->batch_reply.shard >= w->topology->shards)
		return;
	struct sim_lane *lane = &w->lanes[e->edge][m->batch_reply.shard];
	uint64_t seq = m->batch_reply.seq;
	if (seq == 0 || seq > lane->count || !lane->at[seq - 1].sent) {
		sim_fail(w, "a batch was acknowledged that edge %u has not sent: shard %u, seq %llu", e->pid,
		    m->batch_reply.shard, (unsigned long long)seq);
		return;
	}
	struct sim_batch_note *n = &lane->at[seq - 1];
	if (!n->index) {
		sim_fail(w, "a batch was acknowledged that is not committed: edge %u, shard %u, seq %llu", e->pid,
		    m->batch_reply.shard, (unsigned long long)seq);
		return;
	}
	n->acked = true;
	if (seq > lane->acked_high)
		lane->acked_high = seq;
	if (n->index > w->read_floor[m->batch_reply.shard])
		w->read_floor[m->batch_reply.shard] = n->index;
	check_failover(w, m->batch_reply.shard);
}

static void check_open(struct sim_edge *e, const struct msg *m)
{
	if (m->open_reply.verdict != VERDICT_OK || m->open_reply.shard >= e->w->topology->shards)
		return;
	const struct sim_lane *lane = &e->w->lanes[e->edge][m->open_reply.shard];
	if (m->open_reply.last > lane->count)
		sim_fail(e->w, "shard %u knows seq %llu of edge %u, which has not sent it", m->open_reply.shard,
		    (unsigned long long)m->open_reply.last, e->pid);
}

/* For --verbose: what a cloud says to an edge, where it is not good. */
static void show(const struct sim_edge *e, const struct msg *m)
{
	if (m->type == MSG_HELLO_REPLY)
		printf("%9.3f   edge %u: hello: %s epoch %llu %s%s %s\n", (double)e->w->now_ns / 1e9, e->pid,
		    verdict_text(m->hello_reply.verdict), (unsigned long long)m->hello_reply.epoch,
		    m->hello_reply.resume ? "resume " : "", m->hello_reply.readmitted ? "readmitted" : "",
		    m->hello_reply.reason);
	else if (m->type == MSG_REPORT_REPLY && m->report_reply.verdict != VERDICT_OK)
		printf("%9.3f   edge %u: report: %s epoch %llu %s\n", (double)e->w->now_ns / 1e9, e->pid,
		    verdict_text(m->report_reply.verdict), (unsigned long long)m->report_reply.epoch, m->report_reply.reason);
	else if (m->type == MSG_OPEN_REPLY)
		printf("%9.3f   edge %u: open %u: %s epoch %llu last %llu %s\n", (double)e->w->now_ns / 1e9, e->pid,
		    m->open_reply.shard, verdict_text(m->open_reply.verdict), (unsigned long long)m->open_reply.epoch,
		    (unsigned long long)m->open_reply.last, m->open_reply.reason);
	else if (m->type == MSG_BATCH_REPLY && m->batch_reply.verdict != VERDICT_OK)
		printf("%9.3f   edge %u: batch %u/%llu: %s last %llu %s\n", (double)e->w->now_ns / 1e9, e->pid,
		    m->batch_reply.shard, (unsigned long long)m->batch_reply.seq, verdict_text(m->batch_reply.verdict),
		    (unsigned long long)m->batch_reply.last, m->batch_reply.reason);
}

void sim_check_received(struct sim_edge *e, const struct msg *m)
{
	if (e->w->verbose)
		show(e, m);
	if (m->type == MSG_HELLO_REPLY)
		check_grant(e, m);
	if (e->w->plan->scenario != SIM_PLAIN)
		return;
	if (m->type == MSG_BATCH_REPLY)
		check_ack(e, m);
	else if (m->type == MSG_OPEN_REPLY)
		check_open(e, m);
}

/* ---- state: watermarks never fall, the cloud's ledger balances ------------------------------------------------------ */

struct counts_arg {
	struct sim_cloud *c;
	struct kv_txn *txn;
	uint32_t shard;
};

/* Its place in what is known; of one that is of a map which no node goes by yet, too. -1: there is no such. */
static int version_of(struct sim_cloud *c, struct kv_txn *txn, uint32_t group, const char *name, uint32_t version)
{
	struct buf raw = {0};
	int stream = topology_stream_version_of(c->w->known, name, version);
	if (stream >= 0 || apply_read_map(txn, group, &raw))
		return stream;
	struct topology *t = sim_map_topology(c->w, bytes_of(raw.data, raw.len), NULL);
	if (t)
		sim_versions_seen(c->w, bytes_of(raw.data, raw.len), t->map_version);
	topology_free(t);
	buf_free(&raw);
	return topology_stream_version_of(c->w->known, name, version);
}

static void check_counts(void *arg, const struct shard_stream_counts *s)
{
	struct counts_arg *a = arg;
	struct sim_world *w = a->c->w;
	int stream = version_of(a->c, a->txn, a->shard + 1, s->stream, s->version);
	if (stream < 0) {
		sim_fail(w, "shard %u counts a stream that is not: %s, version %u", a->shard, s->stream, s->version);
		return;
	}
	uint64_t dropped = s->dropped_beyond_retain + s->dropped_unknown_stream + s->dropped_invalid;
	if (s->received != s->merged + dropped)
		sim_fail(w, "shard %u stream %s: received %llu, merged %llu, dropped %llu", a->shard, s->stream,
		    (unsigned long long)s->received, (unsigned long long)s->merged, (unsigned long long)dropped);
	struct sim_closed *was = &a->c->closed[a->shard + 1][stream];
	if (s->close_ns < was->close_ns || s->final_ns < was->final_ns)
		sim_fail(w, "shard %u stream %s: close or final fell", a->shard, s->stream);
	if (s->final_ns > s->close_ns)
		sim_fail(w, "shard %u stream %s: final is beyond close", a->shard, s->stream);
	*was = (struct sim_closed){s->close_ns, s->final_ns};
}

/* For --verbose. Not part of the trace's hash. */
static void trace_meta(const struct sim_world *w, const struct meta_stream *s)
{
	if (!w->verbose)
		return;
	printf("%9.3f   %s close %.3f final %.3f", (double)w->now_ns / 1e9, s->name,
	    (double)(s->close_ns - SIM_WALL_BASE_NS) / 1e9, (double)(s->final_ns - SIM_WALL_BASE_NS) / 1e9);
	for (size_t i = 0; i < s->edge_count; i++)
		printf(" %s %s %.3f", s->edges[i].name, edge_state_text(s->edges[i].state),
		    (double)(s->edges[i].watermark_ns - SIM_WALL_BASE_NS) / 1e9);
	printf("\n");
}

/* One bad clock moves no watermark; small errors of all of them may add up. Was every machine's wrong at some time, there was nothing to
 * tell that by. */
static void check_not_ahead(struct sim_world *w, const struct meta_stream *s)
{
	if (w->time_lost)
		return;
	int64_t limit_ns = sim_wall_ns(w) + CLOCKS_APART_MAX_NS;
	if (s->close_ns > limit_ns)
		sim_fail(w, "stream %s: close is %lld s ahead of the time", s->name, (long long)((s->close_ns - sim_wall_ns(w)) / NS_PER_SEC));
	for (size_t i = 0; i < s->edge_count; i++)
		if (s->edges[i].watermark_ns > limit_ns)
			sim_fail(w, "stream %s: the watermark of %s is %lld s ahead of the time", s->name, s->edges[i].name,
			    (long long)((s->edges[i].watermark_ns - sim_wall_ns(w)) / NS_PER_SEC));
}

static void check_meta(struct sim_cloud *c, struct kv_txn *txn)
{
	struct sim_world *w = c->w;
	struct meta_state m;
	int rc = meta_read(txn, &m);
	if (rc) {
		sim_fail(w, "the meta group's state: %s", err_text(rc));
		return;
	}
	for (size_t i = 0; i < m.stream_count; i++) {
		int stream = version_of(c, txn, 0, m.streams[i].name, m.streams[i].version);
		struct sim_closed *was = stream < 0 ? NULL : &c->closed[0][stream];
		if (!was || m.streams[i].close_ns < was->close_ns || m.streams[i].final_ns < was->final_ns ||
		    m.streams[i].final_ns > m.streams[i].close_ns)
			sim_fail(w, "meta stream %s: close or final fell, or final is beyond close", m.streams[i].name);
		else
			*was = (struct sim_closed){m.streams[i].close_ns, m.streams[i].final_ns};
		trace_meta(w, &m.streams[i]);
		check_not_ahead(w, &m.streams[i]);
		for (size_t e = 0; stream >= 0 && e < m.streams[i].edge_count; e++)
			if (m.streams[i].edges[e].since_ns > w->since_seen[stream])
				w->since_seen[stream] = m.streams[i].edges[e].since_ns;
	}
	meta_state_clear(&m);
}

static void check_shard(struct sim_cloud *c, struct kv_txn *txn, uint32_t shard)
{
	struct counts_arg arg = {c, txn, shard};
	int rc = shard_read_counts(txn, shard + 1, check_counts, &arg);
	if (rc)
		sim_fail(c->w, "the counts of shard %u: %s", shard, err_text(rc));
}

/* While a snapshot is being installed nobody is told anything. */
static void check_void(struct sim_cloud *c, struct kv_txn *txn, uint32_t group)
{
	struct counts_arg arg = {c, txn, group ? group - 1 : 0};
	struct meta_state m;
	int rc = group ? shard_read_counts(txn, group, check_counts, &arg) : meta_read(txn, &m);
	if (!rc && !group)
		meta_state_clear(&m);
	if (!rc)
		sim_fail(c->w, "cloud %u: group %u is read while it is void", c->pid, group);
}

void sim_check_state(struct sim_cloud *c)
{
	struct sim_world *w = c->w;
	struct kv_txn *txn;
	if (kv_begin(c->state, false, &txn))
		return;
	for (uint32_t g = 0; g <= w->topology->shards && !w->failed; g++) {
		struct apply_group_info info = {0};
		if (!w->plan->change_count && !sim_placed(w, g, c->pid))
			continue;
		sim_group_state(c, txn, g);
		if (w->failed || apply_read_group(txn, g, &info))
			continue;
		if (info.is_void)
			check_void(c, txn, g);
		if (info.is_void || !info.applied)
			continue;
		if (!g)
			check_meta(c, txn);
		else
			check_shard(c, txn, g - 1);
	}
	kv_abort(txn);
}

/* ---- final means final --------------------------------------------------------------------------------------------- */

static struct sim_final *final_slot(struct sim_world *w, uint32_t stream, const struct sim_row *r, bool *ret_new)
{
	if (2 * w->final_count >= w->final_cap) {
		struct sim_final *old = w->finals;
		size_t old_cap = w->final_cap;
		w->final_cap = old_cap ? 2 * old_cap : 1024;
		w->finals = xcalloc(w->final_cap, sizeof(*w->finals));
		w->final_count = 0;
		for (size_t i = 0; i < old_cap; i++) {
			if (!old[i].used)
				continue;
			struct sim_row key = {.start_ns = old[i].start_ns, .group = bytes_of(old[i].group, old[i].group_len)};
			bool is_new;
			*final_slot(w, old[i].stream, &key, &is_new) = old[i];
		}
		free(old);
	}
	uint64_t h = sim_mix(sim_hash_bytes(r->group.p, r->group.n) ^ sim_mix((uint64_t)r->start_ns ^ stream));
	for (size_t i = h & (w->final_cap - 1);; i = (i + 1) & (w->final_cap - 1)) {
		struct sim_final *f = &w->finals[i];
		if (!f->used) {
			*f = (struct sim_final){.used = true, .stream = stream, .start_ns = r->start_ns};
			weir_assert(r->group.n <= sizeof(f->group));
			f->group_len = (uint8_t)r->group.n;
			if (r->group.n)
				memcpy(f->group, r->group.p, r->group.n);
			w->final_count++;
			*ret_new = true;
			return f;
		}
		if (f->stream == stream && f->start_ns == r->start_ns && f->group_len == r->group.n &&
		    !memcmp(f->group, r->group.p, r->group.n)) {
			*ret_new = false;
			return f;
		}
	}
}

static uint64_t row_digest(const struct sim_row *r)
{
	const struct partial *p = &r->partial;
	double numbers[4] = {p->min, p->max, p->first, p->last};
	return sim_hash_bytes(numbers, sizeof(numbers)) ^ sim_mix(p->count);
}

static void check_final_row(struct sim_world *w, uint32_t stream, const struct sim_row *r, bool on_time, int64_t was_final)
{
	const struct stream_conf *s = &w->known->streams[stream];
	bool is_new;
	struct sim_final *f = final_slot(w, stream, r, &is_new);
	uint64_t digest = row_digest(r);
	if (f->given_up) { /* of another window's definition */
		f->changed = false;
		is_new = true;
	}
	/* What an edge has in another version makes windows provisional for good: until that edge is removed. */
	bool waited = sim_versions_lost_edge(w) && r->start_ns < w->since_seen[stream];
	if (on_time && is_new && !waited && r->start_ns + s->size_ns <= was_final)
		sim_fail(w, "stream %s: a row appeared in the window at %lld s that was final, and nothing was late", s->name,
		    sim_seconds(r->start_ns));
	if (on_time && !is_new && f->digest != digest)
		sim_fail(w, "stream %s: the final window at %lld s changed (count %llu, now %llu), and nothing was late", s->name,
		    sim_seconds(r->start_ns), (unsigned long long)f->count, (unsigned long long)r->partial.count);
	bool forever = sim_versions_least_retain(w, stream) == RETAIN_FOREVER;
	if (!is_new && r->partial.count < f->count && forever)
		sim_fail(w, "stream %s: the final window at %lld s lost readings", s->name, sim_seconds(r->start_ns));
	if (!is_new && r->revision < f->revision && forever)
		sim_fail(w, "stream %s: the window at %lld s: its revision fell from %llu to %llu", s->name,
		    sim_seconds(r->start_ns), (unsigned long long)f->revision, (unsigned long long)r->revision);
	if (r->edges.partitioned || r->edges.missing_count)
		sim_fail(w, "stream %s: a final window lacks partitioned edges", s->name);
	f->changed = f->changed || (!is_new && f->digest != digest);
	f->given_up = false;
	f->digest = digest;
	f->count = r->partial.count;
	f->revision = r->revision;
	f->seen_at = w->now_ns;
}

/* The row of what overflowed: its parts' shards do not take an advance at the same moment, and each has its revision. */
static bool of_several_shards(const struct sim_final *f)
{
	return memmem(f->group, f->group_len, GROUP_OTHER, strlen(GROUP_OTHER)) != NULL;
}

static void check_finals_of(struct sim_world *w, uint32_t stream, const struct sim_rows *rows, bool on_time)
{
	const struct stream_conf *s = &w->known->streams[stream];
	int64_t was_final = w->final_seen[stream], retain_ns = sim_versions_least_retain(w, stream);
	int64_t final = rows->final_ns;
	for (size_t i = 0; i < rows->count && !w->failed; i++) {
		const struct sim_row *r = &rows->rows[i];
		if (r->state != WINDOW_OPEN && r->edges.expected != r->edges.contributed + r->edges.idle + r->edges.partitioned)
			sim_fail(w, "stream %s: expected %u is not contributed %u + idle %u + partitioned %u", s->name,
			    r->edges.expected, r->edges.contributed, r->edges.idle, r->edges.partitioned);
		/* As cloudd/query: what one shard has forgotten is nobody's any more, though others, some advances behind, still have
		 * their parts. A retired version goes by its age, not by its close. */
		bool kept = retain_ns == RETAIN_FOREVER || rows->kept_max_ns == WATERMARK_NONE ||
		    r->start_ns >= rows->kept_max_ns - retain_ns;
		/* As cloudd/gather: no row is further than the shard that is the farthest behind, for that may have a part. */
		if (r->state == WINDOW_FINAL && r->start_ns + s->size_ns <= final && kept)
			check_final_row(w, stream, r, on_time, was_final);
	}
	/* Final of all shards: the least; a row may only be missed below it. */
	w->final_seen[stream] = final > was_final ? final : was_final;
	for (size_t i = 0; i < w->final_cap && retain_ns == RETAIN_FOREVER && !w->failed; i++) {
		const struct sim_final *f = &w->finals[i];
		if (f->used && !f->given_up && f->stream == stream && f->seen_at != w->now_ns && !of_several_shards(f))
			sim_fail(w, "stream %s: the row at %lld s that was final is gone or not final any more", s->name,
			    sim_seconds(f->start_ns));
	}
}

void sim_check_finals(struct sim_world *w, struct sim_rows *rows)
{
	for (uint32_t s = 0; s < w->known->stream_count && !w->failed; s++)
		check_finals_of(w, s, &rows[s], sim_versions_on_time(w, s));
}

void sim_check_forget_finals(struct sim_world *w, uint32_t stream)
{
	w->final_seen[stream] = INT64_MIN;
	for (size_t i = 0; i < w->final_cap; i++)
		if (w->finals[i].used && w->finals[i].stream == stream)
			w->finals[i].given_up = true;
}

/* ---- rest ---------------------------------------------------------------------------------------------------------- */

static bool edges_at_rest(struct sim_world *w, char *why, size_t size)
{
	for (uint32_t i = 0; i < w->plan->edge_count; i++) {
		struct sim_edge *e = &w->edges[i];
		const char *reason = NULL;
		bool gone = sim_edge_is_gone(e);
		if (!e->exists)
			continue;
		if (!e->up)
			snprintf(why, size, "edge %u is down", e->pid);
		else if (gone && sim_adopt_at_rest(e))
			continue;
		else if (gone)
			snprintf(why, size, "edge %u does not know that it was removed", e->pid);
		else if (pipeline_fenced(e->pipeline, &reason))
			snprintf(why, size, "edge %u is fenced: %s", e->pid, reason ? reason : "");
		else if (!sim_edge_all_read(e))
			snprintf(why, size, "edge %u has not read all its sources%s", e->pid, e->paused ? " (it pauses them)" : "");
		else if (!pipeline_drained(e->pipeline))
			snprintf(why, size, "edge %u has not drained", e->pid);
		else if (!sim_adopt_at_rest(e))
			snprintf(why, size, "edge %u goes by map %llu", e->pid, (unsigned long long)e->topology->map_version);
		else
			continue;
		return false;
	}
	return true;
}

static bool runs_fine(struct sim_cloud *c, char *why, size_t size)
{
	char *reason = NULL;
	if (!c->up)
		snprintf(why, size, "cloud %u is down", c->pid);
	else if (!node_ready(c->node, &reason))
		snprintf(why, size, "cloud %u is not ready: %s", c->pid, reason ? reason : "");
	else if (c->log_busy || c->apply_busy || apply_uncommitted(c->apply))
		snprintf(why, size, "cloud %u has work under way", c->pid);
	else
		return true;
	free(reason);
	return false;
}

/* The cluster has no place for it: it serves nothing, leads nothing, and holds nothing. */
static bool stands_aside(struct sim_cloud *c, char *why, size_t size)
{
	char *reason = NULL;
	if (!c->up) {
		if (c->wanted)
			snprintf(why, size, "cloud %u, which is removed, is down", c->pid);
		return !c->wanted;
	}
	bool ready = node_ready(c->node, &reason);
	free(reason);
	if (ready) {
		snprintf(why, size, "cloud %u is removed, and says that it is ready", c->pid);
		return false;
	}
	struct group_status status[SIM_GROUPS_MAX];
	node_group_statuses(c->node, status);
	for (uint32_t g = 0; g <= c->w->topology->shards; g++) {
		bool holds = status[g].held && c->topology->map_version; /* by its file alone it waits for the others */
		if (!holds && !status[g].serving)
			continue;
		snprintf(why, size, "cloud %u is removed, and %s group %u", c->pid, status[g].serving ? "leads" : "holds", g);
		return false;
	}
	return true;
}

static bool clouds_at_rest(struct sim_world *w, char *why, size_t size)
{
	const struct topology *t = sim_topology(w);
	for (uint32_t i = 0; i < w->cloud_count; i++) {
		struct sim_cloud *c = &w->clouds[i];
		int slot = sim_slot_of(w, t, i);
		enum cloud_state state = slot < 0 ? CLOUD_GONE : t->clouds[slot].state;
		if (state == CLOUD_DEAD && !c->wanted)
			continue; /* lost for good */
		bool fine = state == CLOUD_GONE ? stands_aside(c, why, size) : state == CLOUD_MEMBER && runs_fine(c, why, size);
		if (state == CLOUD_LEAVING || state == CLOUD_DEAD)
			snprintf(why, size, "cloud %u is %s", i, state == CLOUD_DEAD ? "taken for dead" : "leaving");
		if (!fine)
			return false;
	}
	return true;
}

static bool expects_all(const struct sim_world *w, const struct stream_conf *s)
{
	for (uint32_t i = 0; i < w->known->edge_count; i++)
		if (!w->known->edges[i].gone && !stream_expects(s, i))
			return false;
	return true;
}

/* Some edge has readings before this time in another version: windows that begin before it are never final. */
static int64_t since_of(struct sim_world *w, const struct stream_conf *s)
{
	struct sim_cloud *c = &w->clouds[sim_replica(w, 0, 0)];
	struct kv_txn *txn;
	struct meta_state m;
	int64_t since_ns = INT64_MIN;
	if (kv_begin(c->state, false, &txn))
		return since_ns;
	int rc = meta_read(txn, &m);
	kv_abort(txn);
	for (size_t i = 0; !rc && i < m.stream_count; i++)
		for (size_t k = 0; k < m.streams[i].edge_count && m.streams[i].version == s->version && !strcmp(m.streams[i].name, s->name); k++)
			since_ns = m.streams[i].edges[k].since_ns > since_ns ? m.streams[i].edges[k].since_ns : since_ns;
	if (!rc)
		meta_state_clear(&m);
	return since_ns;
}

/* What an edge flushed under a clock that was wrong, days ahead maybe, is cut to the windows of the time when it fell idle: what was read
 * then for a time that was still to come, as max_ahead allows, may wait for somebody to read on. */
static bool may_stay_open(const struct sim_world *w, const struct stream_conf *s, const struct sim_rows *rows, const struct sim_row *r)
{
	const struct sim_plan *p = w->plan;
	bool wrong = p->clock_jump_ns || ((p->bad_clock_ns || p->no_clock_until_ns) && w->bad_clock >= w->cloud_count);
	return wrong && r->start_ns > rows->close_ns - s->size_ns;
}

static bool windows_at_rest(struct sim_world *w, const struct sim_rows *all, char *why, size_t size)
{
	for (uint32_t s = 0; s < w->known->stream_count; s++) {
		const struct stream_conf *conf = &w->known->streams[s];
		const struct sim_rows *rows = &all[s];
		/* One that is closing waits for all readings before its end: where nobody reads any more it does for good. */
		bool settled = conf->phase == STREAM_CURRENT || conf->phase == STREAM_RETIRED ||
		    (conf->phase == STREAM_CLOSING && rows->final_ns < conf->until_ns);
		int64_t since_ns = settled && rows->count ? since_of(w, conf) : INT64_MIN;
		size_t open = 0;
		/* An edge that is new may have readings, by its file, for what the cluster has retired. */
		bool strays = conf->phase == STREAM_RETIRED && w->plan->late_sources;
		for (size_t i = 0; i < rows->count && expects_all(w, conf) && !strays; i++) {
			enum window_state state = rows->rows[i].state, least = rows->rows[i].start_ns < since_ns ? WINDOW_PROVISIONAL : WINDOW_FINAL;
			/* One that lost its disk does not know any more up to where it had filled windows, and may never read again. */
			if (w->plan->scenario != SIM_EMPTY || state != WINDOW_OPEN)
				open += state < least && rows->rows[i].start_ns < sim_wall_ns(w) && !may_stay_open(w, conf, rows, &rows->rows[i]);
		}
		bool same = rows->close_ns == rows->final_ns || conf->phase == STREAM_RETIRED;
		if (open || !same || !settled)
			snprintf(why, size, "stream %s, version %u, %s: %zu of %zu rows are not final; close %lld, final %lld ms", conf->name,
			    conf->version, stream_phase_text(conf->phase), open, rows->count,
			    (long long)((rows->close_ns - SIM_WALL_BASE_NS) / NS_PER_MS),
			    (long long)((rows->final_ns - SIM_WALL_BASE_NS) / NS_PER_MS));
		if (open || !same || !settled)
			return false;
	}
	return true;
}

/* What is committed as the group's members are the places of the map, each with its node's present number. */
static bool members_at_rest(struct sim_world *w, uint32_t group, char *why, size_t size)
{
	struct raft_config config;
	if (!sim_group_config(w, group, &config))
		return false;
	bool same = config.count == sim_replicas(w, group);
	for (uint32_t rank = 0; rank < sim_replicas(w, group) && same; rank++) {
		const struct sim_cloud *c = &w->clouds[sim_replica(w, group, rank)];
		const struct raft_member *m = raft_config_find(&config, c->member);
		same = m && m->voter;
	}
	if (!same)
		snprintf(why, size, "group %u: its %u members are not the %u that the map places", group, config.count,
		    sim_replicas(w, group));
	return same;
}

/* All replicas of a group are there, as the map wants them, and at its last entry. Their states were compared
 * when they were written. */
static bool group_at_rest(struct sim_world *w, uint32_t group, char *why, size_t size)
{
	uint32_t leaders = 0, replicas = sim_replicas(w, group);
	for (uint32_t rank = 0; rank < replicas; rank++) {
		struct sim_cloud *c = &w->clouds[sim_replica(w, group, rank)];
		struct apply_group_info info = {0};
		struct group_status status[SIM_GROUPS_MAX];
		struct kv_txn *txn;
		if (!c->up || kv_begin(c->state, false, &txn))
			return false;
		int rc = apply_read_group(txn, group, &info);
		kv_abort(txn);
		node_group_statuses(c->node, status);
		const struct group_status *s = &status[group];
		uint32_t voters = 1;
		for (uint32_t i = 0; i < s->replica_count; i++)
			voters += s->replicas[i].role == REPLICA_FOLLOWER && s->replicas[i].active;
		leaders += s->serving;
		if (rc)
			sim_fail(w, "cloud %u: the state of group %u: %s", c->pid, group, err_text(rc));
		else if (info.is_void || info.applied != w->groups[group].count)
			snprintf(why, size, "group %u: cloud %u is at entry %llu%s of %zu", group, c->pid,
			    (unsigned long long)info.applied, info.is_void ? " (void)" : "", w->groups[group].count);
		else if (s->serving && rank)
			snprintf(why, size, "group %u: cloud %u leads, not the preferred cloud %u", group, c->pid,
			    sim_replica(w, group, 0));
		else if (s->serving && voters != replicas)
			snprintf(why, size, "group %u: its leader knows %u active voters", group, voters);
		else
			continue;
		return false;
	}
	if (leaders != 1)
		snprintf(why, size, "group %u has %u leaders", group, leaders);
	return leaders == 1 && members_at_rest(w, group, why, size);
}

/* No node has more than one replica more than another, nor more than one preferred leader more. (Of a first map that holds for
 * shards only.) */
static void check_spread(struct sim_world *w)
{
	const struct topology *t = sim_topology(w);
	if (t->map_version < 2)
		return; /* as the file has it */
	uint32_t least[2] = {UINT32_MAX, UINT32_MAX}, most[2] = {0, 0};
	for (uint32_t slot = 0; slot < t->cloud_count; slot++) {
		uint32_t n[2] = {0, 0};
		if (t->clouds[slot].state != CLOUD_MEMBER)
			continue;
		for (uint32_t g = 0; g < topology_groups(t); g++) {
			n[0] += topology_rank(t, g, slot) >= 0;
			n[1] += topology_rank(t, g, slot) == 0;
		}
		for (int i = 0; i < 2; i++) {
			least[i] = n[i] < least[i] ? n[i] : least[i];
			most[i] = n[i] > most[i] ? n[i] : most[i];
		}
	}
	for (int i = 0; i < 2; i++)
		if (most[i] > least[i] + 1)
			sim_fail(w, "map %llu: a node has %u %s, another one %u", (unsigned long long)t->map_version, most[i],
			    i ? "preferred leaders" : "replicas", least[i]);
}

static bool groups_at_rest(struct sim_world *w, char *why, size_t size)
{
	for (uint32_t g = 0; g <= w->topology->shards; g++)
		if (!group_at_rest(w, g, why, size))
			return false;
	return true;
}

/* Every shard has taken every advance: its close and final are those of the meta group. */
static bool advances_at_rest(struct sim_world *w, char *why, size_t size)
{
	const struct sim_cloud *meta = &w->clouds[sim_replica(w, 0, 0)];
	for (uint32_t s = 0; s < w->topology->shards; s++) {
		const struct sim_cloud *c = sim_answer_replica(w, s);
		for (uint32_t i = 0; i < w->known->stream_count; i++) {
			const struct sim_closed *a = &meta->closed[0][i], *b = &c->closed[s + 1][i];
			if (b->close_ns == INT64_MIN && b->final_ns == INT64_MIN)
				continue; /* nothing of the stream ever came here */
			if (a->close_ns == b->close_ns && a->final_ns == b->final_ns)
				continue;
			snprintf(why, size, "shard %u has not taken all advances of stream %s", s, w->known->streams[i].name);
			return false;
		}
	}
	return true;
}

bool sim_check_at_rest(struct sim_world *w, const struct sim_rows *rows, char *why, size_t size)
{
	if (!sim_operator_done(w)) {
		snprintf(why, size, "the operator is not done: %s", sim_deed_text(w->plan->changes[w->operator.next].deed));
		return false;
	}
	return edges_at_rest(w, why, size) && clouds_at_rest(w, why, size) && groups_at_rest(w, why, size) &&
	    windows_at_rest(w, rows, why, size) && advances_at_rest(w, why, size);
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

/* A final row that changed must have said so. */
static void check_revisions(struct sim_world *w)
{
	for (size_t i = 0; i < w->final_cap && !w->failed; i++) {
		const struct sim_final *f = &w->finals[i];
		bool kept = f->used && !f->given_up && sim_versions_least_retain(w, f->stream) == RETAIN_FOREVER;
		if (kept && f->changed && f->revision < 2 && !of_several_shards(f))
			sim_fail(w, "stream %s: a final window changed at %lld s, and its revision is %llu",
			    w->known->streams[f->stream].name, sim_seconds(f->start_ns),
			    (unsigned long long)f->revision);
	}
}

static void check_cluster_id(struct sim_world *w)
{
	uint8_t first[CLUSTER_ID_BYTES], id[CLUSTER_ID_BYTES];
	bool any = false;
	for (uint32_t i = 0; i < w->cloud_count; i++) {
		if (!w->clouds[i].up || sim_slot_of(w, sim_topology(w), i) < 0)
			continue;
		if (!node_cluster_id(w->clouds[i].node, any ? id : first) || (any && memcmp(id, first, sizeof(id))))
			sim_fail(w, "cloud %u knows no cluster id, or another one", i);
		any = true;
	}
}

void sim_check_end(struct sim_world *w)
{
	check_cluster_id(w);
	check_spread(w);
	check_revisions(w);
	if (!w->failed)
		sim_watch_check(w);
	if (!w->failed)
		sim_answer_check(w);
	if (!w->failed)
		sim_group_replay(w);
	if (!w->failed)
		sim_alert_check(w);
}
