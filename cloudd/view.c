#include "cloudd/view.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudd/readiness.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/stats.h"

struct view {
	uint32_t group_count;
	uint32_t self;
	pthread_mutex_t lock;
	pthread_cond_t mapped;           /* another topology is in force */
	const struct topology *topology; /* held */
	const char **names; /* of nodes, by slot: what readers were told of stays */
	uint32_t name_count;
	char **texts;       /* that names point to, as long as the view lives */
	size_t text_count;
	struct view_counters counters;
	struct buf map;
	struct group_status *groups; /* topology_groups, by number */
	int64_t put_ns;
	char *why; /* NULL: ready */
	bool has_id;
	uint8_t id[CLUSTER_ID_BYTES];
};

/* A node's name is never freed before the view: messages made of it are encoded outside of the lock. */
static const char *intern(struct view *v, const char *name)
{
	for (size_t i = 0; i < v->text_count; i++) {
		if (!strcmp(v->texts[i], name))
			return v->texts[i];
	}
	v->texts = xrealloc(v->texts, (v->text_count + 1) * sizeof(*v->texts));
	return v->texts[v->text_count++] = xstrdup(name);
}

static void take_names(struct view *v, const struct topology *t)
{
	v->names = xrealloc(v->names, t->cloud_count * sizeof(*v->names));
	v->name_count = (uint32_t)t->cloud_count;
	for (uint32_t i = 0; i < v->name_count; i++)
		v->names[i] = intern(v, t->clouds[i].name);
}

void view_set_topology(struct view *v, const struct topology *t)
{
	pthread_mutex_lock(&v->lock);
	const struct topology *before = v->topology;
	v->topology = topology_hold(t);
	take_names(v, t);
	pthread_cond_broadcast(&v->mapped);
	pthread_mutex_unlock(&v->lock);
	topology_free(before);
}

void view_wait_map(struct view *v, uint64_t map_version, int64_t ns)
{
	int64_t until_ns = clock_mono_ns() + ns;
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	int waited = 0;
	pthread_mutex_lock(&v->lock);
	while (v->topology->map_version < map_version && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&v->mapped, &v->lock, &ts);
	pthread_mutex_unlock(&v->lock);
}

const struct topology *view_topology(struct view *v)
{
	pthread_mutex_lock(&v->lock);
	const struct topology *t = topology_hold(v->topology);
	pthread_mutex_unlock(&v->lock);
	return t;
}

struct view *view_new(const struct topology *t, uint32_t self)
{
	struct view *v = xcalloc(1, sizeof(*v));
	v->group_count = topology_groups(t);
	v->self = self;
	v->topology = topology_hold(t);
	take_names(v, t);
	v->why = xstrdup("starting");
	v->groups = xcalloc(topology_groups(t), sizeof(*v->groups));
	for (uint32_t g = 0; g < topology_groups(t); g++)
		v->groups[g].leader = -1;
	v->put_ns = clock_mono_ns();
	weir_assert(pthread_mutex_init(&v->lock, NULL) == 0);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	weir_assert(pthread_cond_init(&v->mapped, &attr) == 0);
	pthread_condattr_destroy(&attr);
	return v;
}

void view_free(struct view *v)
{
	if (!v)
		return;
	pthread_cond_destroy(&v->mapped);
	pthread_mutex_destroy(&v->lock);
	for (size_t i = 0; i < v->text_count; i++)
		free(v->texts[i]);
	free(v->texts);
	buf_free(&v->map);
	free(v->names);
	topology_free(v->topology);
	free(v->why);
	free(v->groups);
	free(v);
}

void view_put(struct view *v, const struct view_counters *counters, const struct group_status *statuses, const char *why)
{
	pthread_mutex_lock(&v->lock);
	v->counters = *counters;
	memcpy(v->groups, statuses, v->group_count * sizeof(*statuses));
	v->put_ns = clock_mono_ns();
	if (!why || !v->why || strcmp(why, v->why) != 0) {
		free(v->why);
		v->why = why ? xstrdup(why) : NULL;
	}
	pthread_mutex_unlock(&v->lock);
}

void view_put_map(struct view *v, struct bytes map)
{
	pthread_mutex_lock(&v->lock);
	buf_clear(&v->map);
	buf_put(&v->map, map.p, map.n);
	pthread_mutex_unlock(&v->lock);
}

void view_map(struct view *v, struct buf *out)
{
	pthread_mutex_lock(&v->lock);
	buf_put(out, v->map.data, v->map.len);
	pthread_mutex_unlock(&v->lock);
}

void view_put_cluster_id(struct view *v, const uint8_t id[CLUSTER_ID_BYTES])
{
	pthread_mutex_lock(&v->lock);
	memcpy(v->id, id, CLUSTER_ID_BYTES);
	v->has_id = true;
	pthread_mutex_unlock(&v->lock);
}

bool view_ready(struct view *v, char **ret_why)
{
	pthread_mutex_lock(&v->lock);
	bool ready = !v->why;
	if (!ready)
		*ret_why = xstrdup(v->why);
	pthread_mutex_unlock(&v->lock);
	return ready;
}

void view_notes(struct view *v, struct buf *out)
{
	pthread_mutex_lock(&v->lock);
	for (uint32_t node = 0; node < v->name_count; node++) {
		uint32_t count = 0, first = 0;
		for (uint32_t g = 0; g < v->group_count; g++) {
			if (!v->groups[g].held || v->groups[g].differs != node + 1)
				continue;
			first = count++ ? first : g;
		}
		if (!count)
			continue;
		buf_printf(out, "divergent: ");
		readiness_group_name(out, first);
		if (count > 1)
			buf_printf(out, " (and %u more)", count - 1);
		buf_printf(out, " has another state here than on %s\n", v->names[node]);
	}
	pthread_mutex_unlock(&v->lock);
}

int view_leader(struct view *v, uint32_t group)
{
	weir_assert(group < v->group_count);
	pthread_mutex_lock(&v->lock);
	int leader = v->groups[group].leader;
	pthread_mutex_unlock(&v->lock);
	return leader;
}

int64_t view_unled_ns(struct view *v, uint32_t group, bool *ret_cut_off)
{
	weir_assert(group < v->group_count);
	pthread_mutex_lock(&v->lock);
	int64_t unled_ns = v->groups[group].unled_ns;
	*ret_cut_off = v->groups[group].cut_off;
	pthread_mutex_unlock(&v->lock);
	return unled_ns;
}

bool view_serves(struct view *v, uint32_t group)
{
	weir_assert(group < v->group_count);
	pthread_mutex_lock(&v->lock);
	bool serves = v->groups[group].serving;
	pthread_mutex_unlock(&v->lock);
	return serves;
}

/* In a copy of this age. */
static void grow_older(struct group_status *s, int64_t age_ns)
{
	if (age_ns > VIEW_FRESH_NS && s->heard_ns != CONSENSUS_UNHEARD)
		s->heard_ns += (uint64_t)age_ns;
}

void view_group_statuses(struct view *v, struct group_status *out)
{
	uint32_t count = v->group_count;
	pthread_mutex_lock(&v->lock);
	memcpy(out, v->groups, count * sizeof(*out));
	int64_t age_ns = clock_mono_ns() - v->put_ns;
	pthread_mutex_unlock(&v->lock);
	for (uint32_t g = 0; g < count; g++)
		grow_older(&out[g], age_ns);
}

void view_group_status(struct view *v, uint32_t group, struct group_status *ret_status)
{
	weir_assert(group < v->group_count);
	pthread_mutex_lock(&v->lock);
	*ret_status = v->groups[group];
	int64_t age_ns = clock_mono_ns() - v->put_ns;
	pthread_mutex_unlock(&v->lock);
	grow_older(ret_status, age_ns);
}

/* Under the lock. */
static const char *name_of(const struct view *v, int node)
{
	return node >= 0 && (uint32_t)node < v->name_count ? v->names[node] : "";
}

static void put_replicas(const struct view *v, const struct group_status *from, struct msg_group_status *to)
{
	if (from->role != REPLICA_LEADER || !from->replica_count)
		return;
	to->replicas = xcalloc(from->replica_count, sizeof(*to->replicas));
	to->replica_count = from->replica_count;
	for (size_t i = 0; i < from->replica_count; i++)
		to->replicas[i] = (struct msg_replica_status){.node = name_of(v, (int)from->replicas[i].node),
		    .replica = from->replicas[i].replica,
		    .match = from->replicas[i].match,
		    .role = from->replicas[i].role,
		    .active = from->replicas[i].active};
}

size_t view_groups(struct view *v, struct msg_group_status *out)
{
	size_t count = 0;
	pthread_mutex_lock(&v->lock);
	for (uint32_t g = 0; g < v->group_count && count < GROUPS_PER_STATUS_MAX; g++) {
		const struct group_status *s = &v->groups[g];
		if (!s->held)
			continue;
		out[count] = (struct msg_group_status){.group = g,
		    .role = s->role,
		    .term = s->term,
		    .committed = s->committed,
		    .applied = s->applied,
		    .node = name_of(v, (int)v->self),
		    .replica = v->counters.replica,
		    .leader = name_of(v, s->leader),
		    .quorum = s->quorum};
		put_replicas(v, s, &out[count++]);
	}
	pthread_mutex_unlock(&v->lock);
	return count;
}

bool view_cluster_id(struct view *v, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	pthread_mutex_lock(&v->lock);
	bool has = v->has_id;
	if (has)
		memcpy(ret_id, v->id, CLUSTER_ID_BYTES);
	pthread_mutex_unlock(&v->lock);
	return has;
}

/* ---- counters of streams, from the state ------------------------------------------------------------------------ */

struct stream_sum {
	const char *name; /* the topology's, or owned where unknown */
	uint64_t received, merged, partials, beyond_retain, unknown_stream, invalid;
};

struct stream_sums {
	const struct topology *topology;
	struct stream_sum *known;   /* as the topology's streams */
	struct stream_sum *unknown; /* VIEW_UNKNOWN_STREAMS_MAX of them, and one for the rest, counted once it is used */
	size_t unknown_count;
};

static struct stream_sum *sum_of(struct stream_sums *sums, const char *name)
{
	int known = topology_stream(sums->topology, name);
	if (known >= 0)
		return &sums->known[known];
	for (size_t i = 0; i < sums->unknown_count; i++) {
		if (strcmp(sums->unknown[i].name, name) == 0)
			return &sums->unknown[i];
	}
	if (sums->unknown_count <= VIEW_UNKNOWN_STREAMS_MAX) {
		struct stream_sum *s = &sums->unknown[sums->unknown_count++];
		s->name = xstrdup(sums->unknown_count > VIEW_UNKNOWN_STREAMS_MAX ? GROUP_OTHER : name);
		return s;
	}
	return &sums->unknown[VIEW_UNKNOWN_STREAMS_MAX];
}

static void add_counts(void *arg, const struct shard_stream_counts *c)
{
	struct stream_sum *s = sum_of(arg, c->stream);
	s->received += c->received;
	s->merged += c->merged;
	s->partials += c->partials;
	s->beyond_retain += c->dropped_beyond_retain;
	s->unknown_stream += c->dropped_unknown_stream;
	s->invalid += c->dropped_invalid;
}

static void sums_read(struct view *v, struct kv_txn *txn, struct stream_sums *ret)
{
	struct group_status *groups = xcalloc(v->group_count, sizeof(*groups));
	view_group_statuses(v, groups);
	*ret = (struct stream_sums){.topology = view_topology(v)};
	ret->known = xcalloc(ret->topology->stream_count, sizeof(*ret->known));
	ret->unknown = xcalloc(VIEW_UNKNOWN_STREAMS_MAX + 1, sizeof(*ret->unknown));
	for (size_t i = 0; i < ret->topology->stream_count; i++)
		ret->known[i].name = ret->topology->streams[i].name;
	/* A shard whose counters cannot be read shows as missing readings here; apply stops on it. */
	for (uint32_t g = 1; g < v->group_count; g++) {
		if (groups[g].held)
			shard_read_counts(txn, g, add_counts, ret);
	}
	free(groups);
}

static void sums_clear(struct stream_sums *sums)
{
	for (size_t i = 0; i < sums->unknown_count; i++)
		free((void *)(uintptr_t)sums->unknown[i].name);
	free(sums->known);
	free(sums->unknown);
	topology_free(sums->topology);
}

/* ---- metrics -------------------------------------------------------------------------------------------------------- */

static void put_head(struct buf *out, struct stats_family *f, const char *name, const char *help,
    enum stats_type type, const char *label)
{
	*f = (struct stats_family){.name = name, .help = help, .type = type, .labels = {label}};
	stats_write_head(out, f);
}

static void put_one(struct buf *out, const char *name, const char *help, enum stats_type type, uint64_t value)
{
	struct stats_family f;
	put_head(out, &f, name, help, type, NULL);
	stats_write_u64(out, &f, NULL, value);
}

struct labelled {
	const char *label;
	uint64_t value;
};

static void put_many(enum stats_type type, struct buf *out, const char *name, const char *help, const char *label,
    const struct labelled *values, size_t count)
{
	struct stats_family f;
	put_head(out, &f, name, help, type, label);
	for (size_t i = 0; i < count; i++)
		stats_write_u64(out, &f, (const char *const[]){values[i].label}, values[i].value);
}

#define PUT_MANY_AS(type, out, name, help, label, ...)                                                                          \
	put_many(type, out, name, help, label, (const struct labelled[]){__VA_ARGS__},                                     \
	    sizeof((const struct labelled[]){__VA_ARGS__}) / sizeof(struct labelled))
#define PUT_MANY(...) PUT_MANY_AS(STATS_COUNTER, __VA_ARGS__)

static void put_wire(struct buf *out, const struct view_counters *c)
{
	put_one(out, "weir_cloud_frames_total", "requests of edges", STATS_COUNTER, c->ingress.frames);
	PUT_MANY(out, "weir_cloud_frames_refused_total", "frames that were not served", "reason",
	    {"bad", c->node.frames_bad}, {"version", c->node.frames_version}, {"unexpected", c->node.frames_unexpected},
	    {"foreign_node", c->node.frames_refused}, {"misrouted", c->node.misrouted},
	    {"foreign_cluster", c->ingress.refused_cluster}, {"unknown_edge", c->ingress.refused_edge},
	    {"routing_id", c->ingress.refused_route}, {"busy", c->ingress.busy});
	PUT_MANY(out, "weir_cloud_maps_refused_total", "cluster maps that came and cannot be used here; that were asked for too often",
	    "reason", {"unusable", c->node.maps_bad}, {"busy", c->node.maps_busy});
	PUT_MANY(out, "weir_cloud_replies_total", "replies by whether the peer could take them", "result",
	    {"sent", c->ingress.replies}, {"lost", c->ingress.replies_lost});
	put_one(out, "weir_cloud_sessions", "edges connected lately", STATS_GAUGE, c->ingress.sessions);
	put_one(out, "weir_cloud_in_flight_bytes", "batches not answered yet", STATS_GAUGE, c->ingress.in_flight_bytes);
	PUT_MANY(out, "weir_cloud_forwarded_total", "requests sent on to other nodes", "result",
	    {"answered", c->route.answered}, {"timeout", c->route.timeouts}, {"unreachable", c->route.unreachable},
	    {"busy", c->route.busy}, {"moved", c->route.moved});
	put_one(out, "weir_cloud_forwarded_waiting", "requests that other nodes have not answered yet", STATS_GAUGE,
	    c->route.waiting);
	put_one(out, "weir_cloud_served_total", "queries and status asked by other nodes", STATS_COUNTER,
	    c->node.frames_served);
}

static void put_identities(struct buf *out, const struct view_counters *c)
{
	struct labelled all[ALLOW_RESULTS - 1];
	for (int a = ALLOW + 1; a < ALLOW_RESULTS; a++)
		all[a - 1] = (struct labelled){allow_label((enum allow)a), c->node.identity_refused[a]};
	put_many(STATS_COUNTER, out, "weir_cloud_identity_refused_total", "frames whose sender may not say that", "reason", all,
	    ALLOW_RESULTS - 1);
}

static void put_shards(struct buf *out, const struct view_counters *c)
{
	PUT_MANY(out, "weir_cloud_batches_total", "batches judged by this node's shards", "verdict",
	    {"ok", c->leader.merged}, {"duplicate", c->leader.duplicates}, {"fenced", c->leader.fenced},
	    {"out_of_sequence", c->leader.out_of_sequence}, {"not_open", c->leader.not_open}, {"busy", c->leader.busy},
	    {"refused", c->leader.refused});
	PUT_MANY(out, "weir_cloud_shard_entries_total", "entries of this node's shards beside batches", "kind",
	    {"open", c->leader.opens}, {"advance", c->leader.advances}, {"sweep", c->leader.sweeps},
	    {"sink", c->leader.sinks}, {"alert", c->leader.alerts});
	put_one(out, "weir_cloud_proposed_total", "entries proposed", STATS_COUNTER, c->consensus.proposed);
	put_one(out, "weir_cloud_proposed_bytes_total", "bytes of entries proposed", STATS_COUNTER,
	    c->consensus.proposed_bytes);
	put_one(out, "weir_cloud_proposals_busy_total", "proposals refused by a quota", STATS_COUNTER, c->consensus.busy);
	put_one(out, "weir_cloud_proposals_without_room_total", "proposals refused because disks are full", STATS_COUNTER,
	    c->consensus.no_room);
	put_one(out, "weir_cloud_log_commits_total", "durable writes of the log, all groups together", STATS_COUNTER,
	    c->consensus.log_jobs);
	put_one(out, "weir_cloud_applied_total", "entries applied", STATS_COUNTER, c->consensus.applied);
	put_one(out, "weir_cloud_undecodable_total", "entries that apply skipped", STATS_COUNTER,
	    c->consensus.undecodable);
	put_one(out, "weir_cloud_replayed_total", "entries read back from the log", STATS_COUNTER, c->consensus.replayed);
	put_one(out, "weir_cloud_truncated_total", "entries removed from the log", STATS_COUNTER, c->consensus.truncated);
	PUT_MANY(out, "weir_cloud_disk_full_total", "writes that found no room", "environment",
	    {"log", c->consensus.log_full}, {"state", c->consensus.apply_full});
	put_one(out, "weir_cloud_disk_full", "1 while waiting for room on a disk", STATS_GAUGE, c->full);
}

static void put_meta(struct buf *out, const struct view_counters *c)
{
	PUT_MANY(out, "weir_cloud_claims_total", "hellos of edges, as judged", "verdict", {"ok", c->meta.claims},
	    {"fenced", c->meta.fenced});
	put_one(out, "weir_cloud_readmits_total", "readmissions asked for", STATS_COUNTER, c->meta.readmits);
	PUT_MANY(out, "weir_cloud_revokes_total", "edges shut out, and let in again", "what", {"revoke", c->meta.revokes},
	    {"allow", c->meta.allows});
	PUT_MANY(out, "weir_cloud_reports_total", "reports of edges", "result", {"counted", c->meta.reports},
	    {"old", c->meta.reports_old}, {"fenced", c->meta.reports_fenced});
	put_one(out, "weir_cloud_closes_total", "entries of close and final", STATS_COUNTER, c->meta.closes);
	put_one(out, "weir_cloud_closes_too_large_total", "closes of streams with too many edges", STATS_COUNTER,
	    c->meta.close_too_large);
	put_one(out, "weir_cloud_advances_total", "advances sent to shards", STATS_COUNTER, c->spread.sent);
	put_one(out, "weir_cloud_advances_resent_total", "times that a shard's advances were started over", STATS_COUNTER,
	    c->spread.resends);
	put_one(out, "weir_cloud_advances_lag", "entries between the newest advance and the slowest shard", STATS_GAUGE,
	    c->meta.lag);
}

/* Versions of one stream are counted together, under one of them. */
static bool counts_for_name(const struct stream_sums *sums, size_t stream)
{
	return topology_stream(sums->topology, sums->known[stream].name) == (int)stream;
}

static void put_readings(struct buf *out, const struct stream_sums *sums)
{
	struct stats_family f = {.name = "weir_cloud_readings_total",
	    .help = "readings in batches, by stream and result: received is the sum of the others",
	    .type = STATS_COUNTER, .labels = {"stream", "result"}};
	stats_write_head(out, &f);
	for (size_t i = 0; i < sums->topology->stream_count + sums->unknown_count; i++) {
		size_t known = sums->topology->stream_count;
		if (i < known && !counts_for_name(sums, i))
			continue;
		const struct stream_sum *s = i < known ? &sums->known[i] : &sums->unknown[i - known];
		const struct labelled values[] = {{"received", s->received}, {"merged", s->merged},
		    {"beyond_retain", s->beyond_retain}, {"unknown_stream", s->unknown_stream}, {"invalid", s->invalid}};
		for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++)
			stats_write_u64(out, &f, (const char *const[]){s->name, values[k].label}, values[k].value);
	}
}

static void put_partials(struct buf *out, const struct stream_sums *sums)
{
	struct stats_family f = {.name = "weir_cloud_partials_total", .help = "partials merged, by stream",
	    .type = STATS_COUNTER, .labels = {"stream"}};
	stats_write_head(out, &f);
	for (size_t i = 0; i < sums->topology->stream_count; i++)
		if (counts_for_name(sums, i))
			stats_write_u64(out, &f, (const char *const[]){sums->known[i].name}, sums->known[i].partials);
}

/* ---- consensus ------------------------------------------------------------------------------------------------------ */

static void put_raft(struct buf *out, const struct consensus_counters *c)
{
	put_one(out, "weir_raft_elections_total", "elections begun by this node's replicas", STATS_COUNTER, c->elections);
	put_one(out, "weir_raft_leader_changes_total", "changes of leader seen by this node's replicas", STATS_COUNTER,
	    c->leader_changes);
	put_one(out, "weir_raft_transfers_total", "leaderships handed over to a better placed replica", STATS_COUNTER,
	    c->transfers);
	put_one(out, "weir_cloud_damaged_states_total",
	    "states of shards given up: a record did not read, or the digest differed", STATS_COUNTER, c->damaged);
	put_one(out, "weir_cloud_passed_over_total",
	    "entries that could not be applied to damaged records, with no other replica to ask", STATS_COUNTER, c->passed_over);
	put_one(out, "weir_cloud_log_unread_total", "entries of the log that did not read and were not needed", STATS_COUNTER,
	    c->log_unread);
	put_one(out, "weir_raft_replaced_total", "learners that caught up and were promoted", STATS_COUNTER, c->replaced);
	PUT_MANY(out, "weir_raft_members_changed_total", "changes of members begun by leaders here", "change",
	    {"added", c->members_added}, {"removed", c->members_removed});
	PUT_MANY(out, "weir_cloud_groups_moved_total", "groups that a change of the map brought here, or took away", "way",
	    {"opened", c->opened}, {"dropped", c->dropped});
	PUT_MANY(out, "weir_raft_frames_total", "frames of consensus between nodes", "result", {"in", c->frames_in},
	    {"out", c->frames_out}, {"lost", c->frames_lost}, {"foreign", c->frames_foreign});
	PUT_MANY(out, "weir_raft_messages_total", "messages in those frames", "result", {"in", c->messages_in},
	    {"out", c->messages_out}, {"bad", c->messages_bad});
	put_one(out, "weir_cloud_snapshots_fetched_total", "states of groups taken over from other replicas", STATS_COUNTER,
	    c->snapshots_fetched);
	put_one(out, "weir_cloud_snapshots_fetch_failed_total", "such that had to be begun anew", STATS_COUNTER,
	    c->snapshots_failed);
	put_one(out, "weir_cloud_snapshots_fetched_bytes_total", "bytes fetched for them", STATS_COUNTER, c->snapshot_bytes);
}

struct group_writer {
	const struct view *v;
	const struct group_status *groups;
	uint32_t count;
	struct buf name; /* of the group at hand */
};

static const char *group_label(struct group_writer *w, uint32_t group)
{
	buf_clear(&w->name);
	buf_printf(&w->name, "%u", group);
	return buf_cstr(&w->name);
}

static void put_of_each(struct group_writer *w, struct buf *out, const char *name, const char *help,
    uint64_t (*value)(const struct group_status *s))
{
	struct stats_family f;
	put_head(out, &f, name, help, STATS_GAUGE, "group");
	for (uint32_t g = 0; g < w->count; g++) {
		if (w->groups[g].held)
			stats_write_u64(out, &f, (const char *const[]){group_label(w, g)}, value(&w->groups[g]));
	}
}

static uint64_t term_of(const struct group_status *s)
{
	return s->term;
}

static uint64_t leads(const struct group_status *s)
{
	return s->role == REPLICA_LEADER;
}

static uint64_t has_quorum(const struct group_status *s)
{
	return s->quorum;
}

static void put_indexes(struct group_writer *w, struct buf *out)
{
	struct stats_family f = {.name = "weir_cloud_group_index", .help = "log indexes of the groups held here",
	    .type = STATS_GAUGE, .labels = {"group", "what"}};
	stats_write_head(out, &f);
	for (uint32_t g = 0; g < w->count; g++) {
		const struct group_status *s = &w->groups[g];
		if (!s->held)
			continue;
		const char *text = group_label(w, g);
		stats_write_u64(out, &f, (const char *const[]){text, "last"}, s->last);
		stats_write_u64(out, &f, (const char *const[]){text, "committed"}, s->committed);
		stats_write_u64(out, &f, (const char *const[]){text, "applied"}, s->applied);
		stats_write_u64(out, &f, (const char *const[]){text, "durable"}, s->durable);
	}
}

/* Of the groups led here: how many entries known to be committed each other replica's log lacks. */
static void put_lags(struct group_writer *w, struct buf *out)
{
	struct stats_family f = {.name = "weir_raft_follower_lag_entries",
	    .help = "committed entries that a follower's log lacks, of the groups led here",
	    .type = STATS_GAUGE, .labels = {"group", "node"}};
	stats_write_head(out, &f);
	for (uint32_t g = 0; g < w->count; g++) {
		const struct group_status *s = &w->groups[g];
		for (uint32_t i = 0; s->role == REPLICA_LEADER && i < s->replica_count; i++) {
			uint64_t match = s->replicas[i].match;
			stats_write_u64(out, &f,
			    (const char *const[]){group_label(w, g), name_of(w->v, (int)s->replicas[i].node)},
			    s->committed > match ? s->committed - match : 0);
		}
	}
}

/* Of the groups held here whose state is not that of another replica: nothing, else 1 and whose. */
static void put_differing(struct group_writer *w, struct buf *out)
{
	struct stats_family f = {.name = "weir_cloud_digest_differs",
	    .help = "1: at the same entry the state of another node's replica has another digest than the one here",
	    .type = STATS_GAUGE, .labels = {"group", "node"}};
	stats_write_head(out, &f);
	for (uint32_t g = 0; g < w->count; g++) {
		const struct group_status *s = &w->groups[g];
		if (s->held && s->differs)
			stats_write_u64(out, &f, (const char *const[]){group_label(w, g), name_of(w->v, (int)s->differs - 1)}, 1);
	}
}

/* Of the groups held here that an entry of a later program stopped: its index. */
static void put_outdated(struct group_writer *w, struct buf *out)
{
	struct stats_family f = {.name = "weir_cloud_outdated_entry_index",
	    .help = "the entry of a later version of weir before which this node's replica of the group stands still, with its kind",
	    .type = STATS_GAUGE, .labels = {"group", "kind"}};
	stats_write_head(out, &f);
	for (uint32_t g = 0; g < w->count; g++) {
		const struct outdated *o = &w->groups[g].outdated;
		char kind[8];
		snprintf(kind, sizeof(kind), "%u", o->kind);
		if (w->groups[g].held && o->index)
			stats_write_u64(out, &f, (const char *const[]){group_label(w, g), kind}, o->index);
	}
}

static void put_roles(const struct group_writer *w, struct buf *out)
{
	uint64_t roles[REPLICA_FORMING + 1] = {0}, without_leader = 0, without_quorum = 0, fetching = 0, damaged = 0, differ = 0, outdated = 0;
	for (uint32_t g = 0; g < w->count; g++) {
		const struct group_status *s = &w->groups[g];
		if (!s->held)
			continue;
		roles[s->role]++;
		without_leader += s->leader < 0;
		without_quorum += !s->quorum;
		fetching += s->fetching;
		damaged += s->damage != NULL;
		outdated += s->outdated.index != 0;
		differ += s->differs != 0;
	}
	PUT_MANY_AS(STATS_GAUGE, out, "weir_raft_groups", "groups held here, by what this replica is", "role",
	    {"leader", roles[REPLICA_LEADER]}, {"follower", roles[REPLICA_FOLLOWER]},
	    {"candidate", roles[REPLICA_CANDIDATE]}, {"learner", roles[REPLICA_LEARNER]},
	    {"forming", roles[REPLICA_FORMING]});
	PUT_MANY_AS(STATS_GAUGE, out, "weir_raft_groups_ailing", "groups held here with something wrong", "what",
	    {"no_leader", without_leader}, {"no_quorum", without_quorum}, {"fetching", fetching},
	    {"damaged", damaged}, {"differs", differ}, {"outdated", outdated});
}

static void put_groups(const struct view *v, const struct group_status *groups, struct buf *out)
{
	struct group_writer w = {v, groups, v->group_count, {0}};
	put_roles(&w, out);
	put_of_each(&w, out, "weir_raft_term", "term, by group", term_of);
	put_of_each(&w, out, "weir_raft_leader", "1 where this node leads the group", leads);
	put_of_each(&w, out, "weir_raft_quorum",
	    "1 while a majority of the group is heard by its leader, or its leader by this replica", has_quorum);
	put_indexes(&w, out);
	put_lags(&w, out);
	put_differing(&w, out);
	put_outdated(&w, out);
	buf_free(&w.name);
}

void view_metrics(struct view *v, struct kv_txn *txn, struct buf *out)
{
	struct group_status *groups = xcalloc(v->group_count, sizeof(*groups));
	struct stream_sums sums;
	view_group_statuses(v, groups);
	pthread_mutex_lock(&v->lock);
	struct view_counters counters = v->counters;
	pthread_mutex_unlock(&v->lock);
	sums_read(v, txn, &sums);
	put_wire(out, &counters);
	put_identities(out, &counters);
	put_shards(out, &counters);
	if (groups[0].held)
		put_meta(out, &counters);
	put_raft(out, &counters.consensus);
	put_readings(out, &sums);
	put_partials(out, &sums);
	put_groups(v, groups, out);
	sums_clear(&sums);
	free(groups);
}
