/* What the edge tells of itself: the heartbeat's content, and /metrics. */
#include "edged/pipeline_impl.h"

#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/stats.h"

/* ---- the heartbeat --------------------------------------------------------------------------------------------- */

/* Its last window has ended, or it is not fed any more, and all of it is in the cloud. */
static bool is_over(const struct stream *s, const struct pipeline_stream *ps, bool unsent)
{
	if (unsent)
		return false;
	return !s->fed || (s->until_ns != INT64_MAX && ps->watermark_ns >= s->until_ns);
}

static int64_t flushed_end_of(const struct stream *s, const struct pipeline_stream *ps, bool unsent)
{
	return s->fed && is_over(s, ps, unsent) && s->until_ns > ps->flushed_end_ns ? s->until_ns : ps->flushed_end_ns;
}

static enum edge_phase phase_of(const struct pipeline *p, const struct stream *s, const struct pipeline_stream *ps, bool unsent)
{
	int64_t event_ns;
	if (is_over(s, ps, unsent))
		return PHASE_IDLE;
	if (p->paused)
		return PHASE_BACKPRESSURED;
	if (!unsent && progress_event_time(&p->progress, &event_ns) == PROGRESS_IDLE)
		return PHASE_IDLE;
	return ps->watermark_ns == WATERMARK_NONE ? PHASE_JOINING : PHASE_LIVE;
}

static bool passes_window_end(const struct stream_conf *c, int64_t from_ns, int64_t to_ns)
{
	if (to_ns <= from_ns || from_ns < TIME_MIN_NS)
		return to_ns > from_ns;
	return time_floor(from_ns - c->size_ns, c->advance_ns, c->offset_ns) <
	    time_floor(to_ns - c->size_ns, c->advance_ns, c->offset_ns);
}

static int64_t next_watermark(const struct pipeline *p, const struct pipeline_stream *ps, const struct stream_conf *c)
{
	int64_t event_ns;
	if (progress_event_time(&p->progress, &event_ns) != PROGRESS_AT)
		return ps->watermark_ns;
	return progress_watermark(ps->watermark_ns, event_ns, c->lateness_ns, ps->oldest_ns);
}

bool pipeline_has_news(struct pipeline *p, bool after_commit)
{
	uint32_t self = (uint32_t)(p->edge - p->topology->edges);
	pipeline_find_oldest(p);
	for (size_t i = 0; i < p->topology->stream_count; i++) {
		const struct stream_conf *c = &p->topology->streams[i];
		const struct pipeline_stream *ps = &p->of_stream[i];
		const struct stream *s = p->streams.list[i];
		bool unsent = ps->oldest_ns != INT64_MAX;
		if (!s->reported || !stream_expects(c, self))
			continue;
		int64_t watermark_ns = after_commit ? next_watermark(p, ps, c) : ps->watermark_ns;
		if (passes_window_end(c, ps->told_watermark_ns, watermark_ns))
			return true;
		if (phase_of(p, s, ps, unsent) == PHASE_IDLE &&
		    (ps->told_phase != PHASE_IDLE || ps->told_flushed_end_ns != flushed_end_of(s, ps, unsent)))
			return true;
	}
	return false;
}

void pipeline_report(void *arg, struct msg *m)
{
	struct pipeline *p = arg;
	uint32_t self = (uint32_t)(p->edge - p->topology->edges);
	size_t n = 0;
	pipeline_find_oldest(p);
	for (size_t i = 0; i < p->topology->stream_count && n < REPORT_STREAMS_MAX; i++) {
		const struct stream_conf *c = &p->topology->streams[i];
		struct pipeline_stream *ps = &p->of_stream[i];
		const struct stream *s = p->streams.list[i];
		bool unsent = ps->oldest_ns != INT64_MAX;
		if (!s->reported || !stream_expects(c, self))
			continue;
		ps->told_watermark_ns = ps->watermark_ns;
		ps->told_flushed_end_ns = flushed_end_of(s, ps, unsent);
		ps->told_phase = phase_of(p, s, ps, unsent);
		p->report_streams[n++] = (struct msg_report_stream){.name = c->name,
		    .version = c->version,
		    .phase = ps->told_phase,
		    .watermark_ns = ps->watermark_ns,
		    .flushed_end_ns = ps->told_flushed_end_ns,
		    .unsent = unsent,
		    .since_known = s->fed,
		    .since_ns = s->since_ns};
	}
	for (size_t i = 0; i < p->ledger.refused_count; i++)
		p->report_refused[i] = (struct msg_count){p->ledger.refused[i].label, p->ledger.refused[i].count};
	m->report.streams = p->report_streams;
	m->report.stream_count = n;
	m->report.refused = p->report_refused;
	m->report.refused_count = p->ledger.refused_count;
	m->report.spool_bytes = pipeline_spool_bytes(p);
	m->report.accepted = p->ledger.accepted;
	m->report.clock_suspect = p->clock_suspect;
}

uint64_t pipeline_spool_bytes(const struct pipeline *p)
{
	return pipeline_drained(p) ? 0 : spool_used_bytes(p->spool);
}

/* ---- the ledger ------------------------------------------------------------------------------------------------ */

void pipeline_ledger(const struct pipeline *p, struct pipeline_ledger *ret)
{
	*ret = (struct pipeline_ledger){.read = p->ledger.read, .accepted = p->ledger.accepted,
	    .refused = ledger_refused(&p->ledger),
	    .unmatched = p->ledger.unmatched};
	for (size_t i = 0; i < p->ledger.stream_count; i++) {
		const struct ledger_stream *s = p->ledger.streams[i];
		ret->matched += s->matched;
		ret->aggregated += s->aggregated;
		ret->dropped += ledger_dropped(s);
	}
}

/* ---- metrics --------------------------------------------------------------------------------------------------- */

enum family {
	M_READ,
	M_ACCEPTED,
	M_REFUSED,
	M_UNMATCHED,
	M_MATCHED,
	M_AGGREGATED,
	M_DROPPED,
	M_ACKED,
	M_WATERMARK,
	M_OPEN_PARTIALS,
	M_OPEN_BYTES,
	M_OPEN_LIMIT,
	M_SERIES,
	M_SERIES_BYTES,
	M_STEP_BYTES,
	M_SPOOL_BYTES,
	M_SPOOL_LIMIT,
	M_SPOOL_BATCHES,
	M_SPOOL_DAMAGED,
	M_SPOOL_SALVAGES,
	M_SPOOL_LOSSES,
	M_PAUSED,
	M_CHECKPOINTS,
	M_CHECKPOINTS_FULL,
	M_EPOCH,
	M_UPLINK_STATE,
	M_UPLINK_FENCED,
	M_CREDIT,
	M_IN_FLIGHT,
	M_SENT,
	M_RESENT,
	M_ACKED_BATCHES,
	M_SENT_BYTES,
	M_CONNECTS,
	M_FRAMES_REFUSED,
	M_CLOCK_SUSPECT,
	M_MAP_VERSION,
	M_MAPS_ADOPTED,
	M_MAPS_REFUSED,
	M_REMOVED,
	FAMILIES
};

static const struct stats_family families[FAMILIES] = {
    [M_READ] = {"weir_edge_readings_read_total", "Readings, and lines that hold none, that came in", STATS_COUNTER, {NULL}},
    [M_ACCEPTED] = {"weir_edge_readings_accepted_total", "Readings accepted", STATS_COUNTER, {NULL}},
    [M_REFUSED] = {"weir_edge_readings_refused_total", "Readings and lines refused, by reason", STATS_COUNTER, {"reason"}},
    [M_UNMATCHED] = {"weir_edge_readings_unmatched_total", "Accepted readings that no stream matches", STATS_COUNTER,
	{NULL}},
    [M_MATCHED] = {"weir_edge_stream_matched_total", "Readings that the stream matches", STATS_COUNTER, {"stream"}},
    /* a gauge: a readmission takes from it what it drops */
    [M_AGGREGATED] = {"weir_edge_stream_aggregated", "Readings that partials hold, here or acknowledged by the cloud",
	STATS_GAUGE, {"stream"}},
    [M_DROPPED] = {"weir_edge_stream_dropped_total", "Matched readings that were dropped, by reason", STATS_COUNTER,
	{"stream", "reason"}},
    [M_ACKED] = {"weir_edge_stream_acknowledged_total", "Readings that the cloud has acknowledged", STATS_COUNTER,
	{"stream"}},
    [M_WATERMARK] = {"weir_edge_stream_watermark_seconds", "Committed watermark, seconds since the epoch", STATS_GAUGE,
	{"stream"}},
    [M_OPEN_PARTIALS] = {"weir_edge_open_partials", "Partials of open slices", STATS_GAUGE, {NULL}},
    [M_OPEN_BYTES] = {"weir_edge_open_partials_bytes", "Memory of open partials", STATS_GAUGE, {NULL}},
    [M_OPEN_LIMIT] = {"weir_edge_open_partials_limit_bytes", "Memory from which on open partials are cut at once",
	STATS_GAUGE, {NULL}},
    [M_SERIES] = {"weir_edge_series_cached", "Series in the cache", STATS_GAUGE, {NULL}},
    [M_SERIES_BYTES] = {"weir_edge_series_cached_bytes", "Memory of the series cache", STATS_GAUGE, {NULL}},
    [M_STEP_BYTES] = {"weir_edge_step_state_bytes", "Memory of the steps' state", STATS_GAUGE, {NULL}},
    [M_SPOOL_BYTES] = {"weir_edge_spool_used_bytes", "Bytes in use in the spool", STATS_GAUGE, {NULL}},
    [M_SPOOL_LIMIT] = {"weir_edge_spool_limit_bytes", "Disk limit", STATS_GAUGE, {NULL}},
    [M_SPOOL_BATCHES] = {"weir_edge_spool_batches", "Batches in the spool", STATS_GAUGE, {NULL}},
    [M_SPOOL_DAMAGED] = {"weir_edge_spool_damaged_records", "Records found damaged since start", STATS_GAUGE, {NULL}},
    [M_SPOOL_SALVAGES] = {"weir_edge_spool_salvages_total", "Times that pages were damaged, and what reads was copied to a new file",
	STATS_COUNTER, {NULL}},
    [M_SPOOL_LOSSES] = {"weir_edge_spool_losses_total",
	"Times that the spool lost what it depends on, gave up what it held and had sources start at their end", STATS_COUNTER, {NULL}},
    [M_PAUSED] = {"weir_edge_backpressured", "1 while sources are paused at the disk limit", STATS_GAUGE, {NULL}},
    [M_CHECKPOINTS] = {"weir_edge_checkpoints_total", "Checkpoints", STATS_COUNTER, {NULL}},
    [M_CHECKPOINTS_FULL] = {"weir_edge_checkpoints_full_total", "Checkpoints put off because there was no room",
	STATS_COUNTER, {NULL}},
    [M_EPOCH] = {"weir_edge_epoch", "Epoch that this edge holds, 0 before the first", STATS_GAUGE, {NULL}},
    [M_UPLINK_FENCED] = {"weir_edge_uplink_fenced", "1 while nothing is sent, with the reason", STATS_GAUGE, {"reason"}},
    [M_UPLINK_STATE] = {"weir_edge_uplink_state", "1 for the state that the uplink is in", STATS_GAUGE, {"state"}},
    [M_CREDIT] = {"weir_edge_uplink_credit_bytes", "Bytes that may be in flight", STATS_GAUGE, {NULL}},
    [M_IN_FLIGHT] = {"weir_edge_uplink_in_flight_bytes", "Bytes sent and not yet acknowledged", STATS_GAUGE, {NULL}},
    [M_SENT] = {"weir_edge_batches_sent_total", "Batches sent, resent ones included", STATS_COUNTER, {NULL}},
    [M_RESENT] = {"weir_edge_batches_resent_total", "Batches sent again", STATS_COUNTER, {NULL}},
    [M_ACKED_BATCHES] = {"weir_edge_batches_acknowledged_total", "Batches acknowledged", STATS_COUNTER, {NULL}},
    [M_SENT_BYTES] = {"weir_edge_batches_sent_bytes_total", "Bytes of batches sent, resent ones included", STATS_COUNTER,
	{NULL}},
    [M_CONNECTS] = {"weir_edge_uplink_connects_total", "Connections to a cloud begun", STATS_COUNTER, {NULL}},
    [M_FRAMES_REFUSED] = {"weir_edge_frames_refused_total", "Frames of the cloud not taken, by reason", STATS_COUNTER,
	{"reason"}},
    [M_MAP_VERSION] = {"weir_edge_map_version", "Version of the cluster map that this edge goes by, 0: its file", STATS_GAUGE,
	{NULL}},
    [M_MAPS_ADOPTED] = {"weir_edge_maps_adopted_total", "Changes of the topology taken up while running", STATS_COUNTER, {NULL}},
    [M_MAPS_REFUSED] = {"weir_edge_maps_refused_total", "Cluster maps received that cannot be used", STATS_COUNTER, {NULL}},
    [M_REMOVED] = {"weir_edge_removed", "1 while this edge is not in the cluster's topology", STATS_GAUGE, {NULL}},
    [M_CLOCK_SUSPECT] = {"weir_edge_clock_suspect", "1 while the wall clock is earlier than it can be", STATS_GAUGE,
	{NULL}},
};

static void put1(struct buf *out, enum family f, uint64_t v)
{
	stats_write_head(out, &families[f]);
	stats_write_u64(out, &families[f], NULL, v);
}

static void put_streams(const struct pipeline *p, struct buf *out, enum family f,
    uint64_t (*value)(const struct ledger_stream *s))
{
	stats_write_head(out, &families[f]);
	for (size_t i = 0; i < p->ledger.stream_count; i++) {
		const char *labels[] = {p->ledger.streams[i]->name};
		stats_write_u64(out, &families[f], labels, value(p->ledger.streams[i]));
	}
}

static uint64_t matched(const struct ledger_stream *s)
{
	return s->matched;
}

static uint64_t aggregated(const struct ledger_stream *s)
{
	return s->aggregated;
}

static uint64_t acked(const struct ledger_stream *s)
{
	return s->acked;
}

static void put_dropped(const struct pipeline *p, struct buf *out)
{
	stats_write_head(out, &families[M_DROPPED]);
	for (size_t i = 0; i < p->ledger.stream_count; i++) {
		for (int d = 0; d < DROPS; d++) {
			const char *labels[] = {p->ledger.streams[i]->name, drop_label((enum drop)d)};
			if (p->ledger.streams[i]->dropped[d])
				stats_write_u64(out, &families[M_DROPPED], labels, p->ledger.streams[i]->dropped[d]);
		}
	}
}

static void put_ledger(const struct pipeline *p, struct buf *out)
{
	put1(out, M_READ, p->ledger.read);
	put1(out, M_ACCEPTED, p->ledger.accepted);
	stats_write_head(out, &families[M_REFUSED]);
	for (size_t i = 0; i < p->ledger.refused_count; i++) {
		const char *labels[] = {p->ledger.refused[i].label};
		stats_write_u64(out, &families[M_REFUSED], labels, p->ledger.refused[i].count);
	}
	put1(out, M_UNMATCHED, p->ledger.unmatched);
	put_streams(p, out, M_MATCHED, matched);
	put_streams(p, out, M_AGGREGATED, aggregated);
	put_dropped(p, out);
	put_streams(p, out, M_ACKED, acked);
}

static void put_watermarks(const struct pipeline *p, struct buf *out)
{
	stats_write_head(out, &families[M_WATERMARK]);
	for (size_t i = 0; i < p->topology->stream_count; i++) {
		const char *labels[] = {p->topology->streams[i].name};
		if ((size_t)topology_stream(p->topology, labels[0]) != i)
			continue; /* another version of it */
		if (p->of_stream[i].watermark_ns != WATERMARK_NONE)
			stats_write(out, &families[M_WATERMARK], labels, (double)p->of_stream[i].watermark_ns / 1e9);
	}
}

static void put_store(const struct pipeline *p, struct buf *out)
{
	uint64_t step_bytes = 0;
	for (size_t i = 0; i < p->topology->stream_count; i++)
		step_bytes += step_chain_memory(p->chains[i]);
	put1(out, M_OPEN_PARTIALS, p->slices.entry_count);
	put1(out, M_OPEN_BYTES, p->slices.memory_bytes);
	put1(out, M_OPEN_LIMIT, p->slices_bytes_max);
	put1(out, M_SERIES, intake_series_count(p->intake));
	put1(out, M_SERIES_BYTES, intake_memory(p->intake));
	put1(out, M_STEP_BYTES, step_bytes);
	put1(out, M_SPOOL_BYTES, spool_used_bytes(p->spool));
	put1(out, M_SPOOL_LIMIT, p->edge->disk_bytes);
	put1(out, M_SPOOL_BATCHES, spool_batches(p->spool));
	put1(out, M_SPOOL_DAMAGED, p->damaged_before + spool_damaged(p->spool));
	put1(out, M_SPOOL_SALVAGES, spool_salvages(p->spool));
	put1(out, M_SPOOL_LOSSES, spool_losses(p->spool));
	put1(out, M_PAUSED, p->paused);
	put1(out, M_CHECKPOINTS, p->checkpoints);
	put1(out, M_CHECKPOINTS_FULL, p->checkpoints_full);
}

static void put_uplink(const struct pipeline *p, struct buf *out)
{
	const struct uplink_stats *s = uplink_stats(p->uplink);
	put1(out, M_EPOCH, uplink_epoch(p->uplink));
	stats_write_head(out, &families[M_UPLINK_STATE]);
	for (int i = UPLINK_DOWN; i <= UPLINK_FENCED; i++) {
		const char *labels[] = {uplink_state_text((enum uplink_state)i)};
		stats_write_u64(out, &families[M_UPLINK_STATE], labels, uplink_state(p->uplink) == (enum uplink_state)i);
	}
	const char *reason;
	stats_write_head(out, &families[M_UPLINK_FENCED]);
	if (uplink_fenced(p->uplink, &reason))
		stats_write_u64(out, &families[M_UPLINK_FENCED], &reason, 1);
	put1(out, M_CREDIT, uplink_credit(p->uplink));
	put1(out, M_IN_FLIGHT, uplink_in_flight(p->uplink));
	put1(out, M_SENT, s->batches_sent);
	put1(out, M_RESENT, s->batches_resent);
	put1(out, M_ACKED_BATCHES, s->batches_acked);
	put1(out, M_SENT_BYTES, s->bytes_sent);
	put1(out, M_CONNECTS, s->connects);
	stats_write_head(out, &families[M_FRAMES_REFUSED]);
	const struct {
		const char *reason;
		uint64_t count;
	} refused[] = {{"bad", s->frames_bad}, {"foreign", s->frames_foreign}, {"stale", s->frames_stale}};
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *labels[] = {refused[i].reason};
		stats_write_u64(out, &families[M_FRAMES_REFUSED], labels, refused[i].count);
	}
}

void pipeline_metrics(const struct pipeline *p, struct buf *out)
{
	put_ledger(p, out);
	put_watermarks(p, out);
	put_store(p, out);
	put_uplink(p, out);
	put1(out, M_CLOCK_SUSPECT, p->clock_suspect);
	put1(out, M_MAP_VERSION, p->topology->map_version);
	put1(out, M_MAPS_ADOPTED, p->maps_adopted);
	put1(out, M_MAPS_REFUSED, p->maps_refused);
	put1(out, M_REMOVED, p->removed != 0);
}

/* ---- for the edge's own answers -------------------------------------------------------------------------------- */

static const struct stream *find_stream(const struct pipeline *p, const char *name, uint32_t version)
{
	for (size_t i = 0; i < p->topology->stream_count; i++) {
		const struct stream_conf *c = p->streams.list[i]->conf;
		if (c->version == version && strcmp(c->name, name) == 0)
			return p->streams.list[i];
	}
	return NULL;
}

int64_t pipeline_event_watermark(const struct pipeline *p, const char *stream, uint32_t version, bool *ret_idle)
{
	const struct stream *s = find_stream(p, stream, version);
	int64_t event_ns = 0;
	enum progress_state state = progress_event_time(&p->progress, &event_ns);
	*ret_idle = state == PROGRESS_IDLE;
	if (!s || !s->fed)
		return INT64_MAX;
	const struct pipeline_stream *ps = &p->of_stream[s->index];
	if (state == PROGRESS_IDLE && ps->flushed_end_ns > ps->watermark_ns)
		return ps->flushed_end_ns;
	return state == PROGRESS_AT ? progress_watermark(ps->watermark_ns, event_ns, s->conf->lateness_ns, INT64_MAX) : ps->watermark_ns;
}

uint64_t pipeline_aggregated(const struct pipeline *p, const char *stream)
{
	for (size_t i = 0; i < p->ledger.stream_count; i++)
		if (strcmp(p->ledger.streams[i]->name, stream) == 0)
			return p->ledger.streams[i]->aggregated;
	return 0;
}
