#include "cloudd/view.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/stats.h"

struct view {
	const struct topology *topology;
	const char *node_name;
	pthread_mutex_t lock;
	struct view_counters counters;
	struct msg_group_status groups[GROUPS_PER_STATUS_MAX];
	size_t group_count;
	char *why; /* NULL: ready */
	bool has_id;
	uint8_t id[CLUSTER_ID_BYTES];
};

struct view *view_new(const struct topology *t, const char *node_name)
{
	struct view *v = xcalloc(1, sizeof(*v));
	v->topology = t;
	v->node_name = node_name;
	v->why = xstrdup("starting");
	weir_assert(pthread_mutex_init(&v->lock, NULL) == 0);
	return v;
}

void view_free(struct view *v)
{
	if (!v)
		return;
	pthread_mutex_destroy(&v->lock);
	free(v->why);
	free(v);
}

void view_put(struct view *v, const struct view_counters *counters, const struct msg_group_status *groups,
    size_t group_count, const char *why)
{
	weir_assert(group_count <= GROUPS_PER_STATUS_MAX);
	pthread_mutex_lock(&v->lock);
	v->counters = *counters;
	memcpy(v->groups, groups, group_count * sizeof(*groups));
	v->group_count = group_count;
	if (!why || !v->why || strcmp(why, v->why) != 0) {
		free(v->why);
		v->why = why ? xstrdup(why) : NULL;
	}
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

size_t view_groups(struct view *v, struct msg_group_status *out)
{
	pthread_mutex_lock(&v->lock);
	size_t count = v->group_count;
	memcpy(out, v->groups, count * sizeof(*out));
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
	struct msg_group_status *groups = xcalloc(GROUPS_PER_STATUS_MAX, sizeof(*groups));
	size_t count = view_groups(v, groups);
	*ret = (struct stream_sums){.topology = v->topology};
	ret->known = xcalloc(v->topology->stream_count, sizeof(*ret->known));
	ret->unknown = xcalloc(VIEW_UNKNOWN_STREAMS_MAX + 1, sizeof(*ret->unknown));
	for (size_t i = 0; i < v->topology->stream_count; i++)
		ret->known[i].name = v->topology->streams[i].name;
	/* A shard whose counters cannot be read shows as missing readings here; apply stops on it. */
	for (size_t i = 0; i < count; i++) {
		if (groups[i].group != 0)
			shard_read_counts(txn, groups[i].group, add_counts, ret);
	}
	free(groups);
}

static void sums_clear(struct stream_sums *sums)
{
	for (size_t i = 0; i < sums->unknown_count; i++)
		free((void *)(uintptr_t)sums->unknown[i].name);
	free(sums->known);
	free(sums->unknown);
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

static void put_many(struct buf *out, const char *name, const char *help, const char *label,
    const struct labelled *values, size_t count)
{
	struct stats_family f;
	put_head(out, &f, name, help, STATS_COUNTER, label);
	for (size_t i = 0; i < count; i++)
		stats_write_u64(out, &f, (const char *const[]){values[i].label}, values[i].value);
}

#define PUT_MANY(out, name, help, label, ...)                                                                          \
	put_many(out, name, help, label, (const struct labelled[]){__VA_ARGS__},                                           \
	    sizeof((const struct labelled[]){__VA_ARGS__}) / sizeof(struct labelled))

static void put_wire(struct buf *out, const struct view_counters *c)
{
	put_one(out, "weir_cloud_frames_total", "requests of edges", STATS_COUNTER, c->ingress.frames);
	PUT_MANY(out, "weir_cloud_frames_refused_total", "frames that were not served", "reason",
	    {"bad", c->node.frames_bad}, {"version", c->node.frames_version}, {"unexpected", c->node.frames_unexpected},
	    {"foreign_node", c->node.frames_refused}, {"misrouted", c->node.misrouted},
	    {"foreign_cluster", c->ingress.refused_cluster}, {"unknown_edge", c->ingress.refused_edge},
	    {"routing_id", c->ingress.refused_route}, {"busy", c->ingress.busy});
	PUT_MANY(out, "weir_cloud_replies_total", "replies by whether the peer could take them", "result",
	    {"sent", c->ingress.replies}, {"lost", c->ingress.replies_lost});
	put_one(out, "weir_cloud_sessions", "edges connected lately", STATS_GAUGE, c->ingress.sessions);
	put_one(out, "weir_cloud_in_flight_bytes", "batches not answered yet", STATS_GAUGE, c->ingress.in_flight_bytes);
	PUT_MANY(out, "weir_cloud_forwarded_total", "requests sent on to other nodes", "result",
	    {"answered", c->route.answered}, {"timeout", c->route.timeouts}, {"unreachable", c->route.unreachable},
	    {"busy", c->route.busy});
	put_one(out, "weir_cloud_forwarded_waiting", "requests that other nodes have not answered yet", STATS_GAUGE,
	    c->route.waiting);
	put_one(out, "weir_cloud_served_total", "queries and status asked by other nodes", STATS_COUNTER,
	    c->node.frames_served);
}

static void put_shards(struct buf *out, const struct view_counters *c)
{
	PUT_MANY(out, "weir_cloud_batches_total", "batches judged by this node's shards", "verdict",
	    {"ok", c->leader.merged}, {"duplicate", c->leader.duplicates}, {"fenced", c->leader.fenced},
	    {"out_of_sequence", c->leader.out_of_sequence}, {"not_open", c->leader.not_open}, {"busy", c->leader.busy},
	    {"refused", c->leader.refused});
	PUT_MANY(out, "weir_cloud_shard_entries_total", "entries of this node's shards beside batches", "kind",
	    {"open", c->leader.opens}, {"advance", c->leader.advances}, {"sweep", c->leader.sweeps});
	put_one(out, "weir_cloud_proposed_total", "entries proposed", STATS_COUNTER, c->consensus.proposed);
	put_one(out, "weir_cloud_proposed_bytes_total", "bytes of entries proposed", STATS_COUNTER,
	    c->consensus.proposed_bytes);
	put_one(out, "weir_cloud_proposals_busy_total", "proposals refused by a quota", STATS_COUNTER, c->consensus.busy);
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

static void put_readings(struct buf *out, const struct stream_sums *sums)
{
	struct stats_family f = {.name = "weir_cloud_readings_total",
	    .help = "readings in batches, by stream and result: received is the sum of the others",
	    .type = STATS_COUNTER, .labels = {"stream", "result"}};
	stats_write_head(out, &f);
	for (size_t i = 0; i < sums->topology->stream_count + sums->unknown_count; i++) {
		size_t known = sums->topology->stream_count;
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
		stats_write_u64(out, &f, (const char *const[]){sums->known[i].name}, sums->known[i].partials);
}

static void put_groups(struct buf *out, const struct msg_group_status *groups, size_t count)
{
	struct stats_family f = {.name = "weir_cloud_group_index", .help = "log indexes of the groups held here",
	    .type = STATS_GAUGE, .labels = {"group", "what"}};
	stats_write_head(out, &f);
	struct buf name = {0};
	for (size_t i = 0; i < count; i++) {
		buf_clear(&name);
		buf_printf(&name, "%u", groups[i].group);
		const char *text = buf_cstr(&name);
		stats_write_u64(out, &f, (const char *const[]){text, "committed"}, groups[i].committed);
		stats_write_u64(out, &f, (const char *const[]){text, "applied"}, groups[i].applied);
	}
	buf_free(&name);
}

void view_metrics(struct view *v, struct kv_txn *txn, struct buf *out)
{
	struct msg_group_status *groups = xcalloc(GROUPS_PER_STATUS_MAX, sizeof(*groups));
	size_t count = view_groups(v, groups);
	struct stream_sums sums;
	pthread_mutex_lock(&v->lock);
	struct view_counters counters = v->counters;
	pthread_mutex_unlock(&v->lock);
	sums_read(v, txn, &sums);
	put_wire(out, &counters);
	put_shards(out, &counters);
	if (count && groups[0].group == 0)
		put_meta(out, &counters);
	put_readings(out, &sums);
	put_partials(out, &sums);
	put_groups(out, groups, count);
	sums_clear(&sums);
	free(groups);
}
