/* What the meta leader knows of edges, what shards counted by stream, what the node's sinks do, and the metrics of serving. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/serve_alerts.h"
#include "cloudd/serve_parts.h"
#include "common/map.h"
#include "common/err.h"

#define EDGES_TAG "edges."
#define STREAMS_TAG "streams."
#define GROUPS_PER_LETTER 6

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

_Static_assert(sizeof(STREAMS_TAG) + (SHARDS_MAX + GROUPS_PER_LETTER) / GROUPS_PER_LETTER <= SERVE_WHAT_MAX,
    "any set of groups has a name");
_Static_assert(SERVE_WHAT_MAX <= NAME_MAX_BYTES + 1, "what is asked for is sent as a name");

/* ---- edges: the meta leader's list in pieces of whole objects ---------------------------------------------------- */

void serve_what_edges(uint64_t place, char out[SERVE_WHAT_MAX])
{
	snprintf(out, SERVE_WHAT_MAX, EDGES_TAG "%llu", (unsigned long long)place);
}

static bool parse_place(const char *text, uint64_t *ret_place)
{
	*ret_place = 0;
	if (!*text || strlen(text) > 9)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		*ret_place = *ret_place * 10 + (uint64_t)(*text - '0');
	}
	return true;
}

/* The end of the JSON object that begins at `at`; len where it has none. */
static size_t object_end(const uint8_t *text, size_t len, size_t at)
{
	unsigned depth = 0;
	bool quoted = false;
	for (; at < len; at++) {
		uint8_t c = text[at];
		if (quoted) {
			at += c == '\\';
			quoted = c != '"';
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{') {
			depth++;
		} else if (c == '}' && --depth == 0) {
			return at + 1;
		}
	}
	return len;
}

/* Objects with commas between them: skips `place` of them, and copies as many as fit. */
static void cut_objects(const struct buf *all, uint64_t place, struct buf *out)
{
	size_t at = 0, from = 0, to = 0;
	uint64_t seen = 0;
	while (at < all->len && all->data[at] != '{')
		at++;
	while (at < all->len) {
		size_t end = object_end(all->data, all->len, at);
		if (seen == place)
			from = at;
		if (seen > place && end - from > SERVE_EDGES_BYTES_MAX)
			break;
		if (seen >= place)
			to = end;
		seen++;
		for (at = end; at < all->len && all->data[at] != '{';)
			at++;
	}
	buf_varint(out, at < all->len ? seen : 0);
	if (to)
		buf_put(out, all->data + from, to - from);
}

static int put_edges(struct serve *s, uint64_t place, struct buf *out)
{
	struct buf all = {0};
	if (!node_serves(s->o.node, META_GROUP))
		return WEIR_ENOTLEADER;
	bool leads = node_edges_json(s->o.node, &all);
	if (leads)
		cut_objects(&all, place, out);
	buf_free(&all);
	return leads ? 0 : WEIR_ENOTLEADER; /* no longer, or not yet */
}

/* ---- streams: [count varint], then name, version, close, final, counts for each ---------------------------------- */

struct stream_gather {
	const struct topology *topology;
	struct serve_stream *streams;
};

static struct serve_stream *stream_of(struct stream_gather *g, const char *name, uint32_t version)
{
	int at = topology_stream_version_of(g->topology, name, version);
	return at >= 0 ? &g->streams[at] : NULL;
}

static void add_counts(void *arg, const struct shard_stream_counts *c)
{
	struct serve_stream *to = stream_of(arg, c->stream, c->version);
	if (!to)
		return;
	to->received += c->received;
	to->merged += c->merged;
	to->beyond_retain += c->dropped_beyond_retain;
	to->unknown_stream += c->dropped_unknown_stream;
	to->invalid += c->dropped_invalid;
	to->groups += c->groups;
	to->overflowed += c->overflowed;
}

static int read_meta(struct stream_gather *g, struct kv_txn *txn)
{
	struct meta_state meta = {0};
	int rc = meta_read(txn, &meta);
	if (rc)
		return rc;
	for (size_t i = 0; i < meta.stream_count; i++) {
		struct serve_stream *to = stream_of(g, meta.streams[i].name, meta.streams[i].version);
		if (to) {
			to->close_ns = meta.streams[i].close_ns;
			to->final_ns = meta.streams[i].final_ns;
		}
	}
	meta_state_clear(&meta);
	return 0;
}

static int read_streams(struct serve *s, const bool *groups, struct stream_gather *g)
{
	struct kv_txn *txn;
	int rc = kv_begin(s->o.state, false, &txn);
	if (rc)
		return rc;
	for (uint32_t group = 0; group < topology_groups(g->topology) && !rc; group++) {
		struct apply_group_info info = {0};
		if (!groups[group])
			continue;
		rc = serve_holds(s, group) ? apply_read_group(txn, group, &info) : WEIR_ECLOSED;
		if (!rc && info.is_void)
			rc = WEIR_ECLOSED;
		if (!rc)
			rc = group ? shard_read_counts(txn, group, add_counts, g) : read_meta(g, txn);
	}
	kv_abort(txn);
	return rc;
}

static void encode_streams(const struct topology *t, const struct serve_stream *streams, struct buf *out)
{
	buf_varint(out, t->stream_count);
	for (uint32_t i = 0; i < t->stream_count; i++) {
		const struct serve_stream *x = &streams[i];
		buf_str(out, t->streams[i].name);
		buf_u32(out, t->streams[i].version);
		buf_svarint(out, x->close_ns);
		buf_svarint(out, x->final_ns);
		const uint64_t counts[] = {x->received, x->merged, x->beyond_retain, x->unknown_stream, x->invalid,
		    x->groups, x->overflowed};
		for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++)
			buf_varint(out, counts[k]);
	}
}

static int put_streams(struct serve *s, const bool *groups, struct buf *out)
{
	const struct topology *t = node_topology(s->o.node);
	struct serve_stream *streams = xcalloc(t->stream_count, sizeof(*streams));
	for (uint32_t i = 0; i < t->stream_count; i++)
		streams[i].close_ns = streams[i].final_ns = WATERMARK_NONE;
	struct stream_gather g = {t, streams};
	int rc = read_streams(s, groups, &g);
	if (!rc)
		encode_streams(t, streams, out);
	free(streams);
	topology_free(t);
	return rc;
}

static void add_stream(struct serve_stream *to, struct rd *r)
{
	int64_t close_ns = rd_svarint(r), final_ns = rd_svarint(r);
	to->close_ns = close_ns > to->close_ns ? close_ns : to->close_ns;
	to->final_ns = final_ns > to->final_ns ? final_ns : to->final_ns;
	to->received += rd_varint(r);
	to->merged += rd_varint(r);
	to->beyond_retain += rd_varint(r);
	to->unknown_stream += rd_varint(r);
	to->invalid += rd_varint(r);
	to->groups += rd_varint(r);
	to->overflowed += rd_varint(r);
}

int serve_streams_add(struct bytes raw, const struct topology *t, struct serve_stream *streams)
{
	struct rd r = rd_init(raw.p, raw.n);
	struct serve_stream ignored = {0}; /* a stream that this node does not know, or in another version */
	uint64_t n = rd_varint_max(&r, MAP_STREAMS_MAX);
	for (uint64_t i = 0; i < n && !r.err; i++) {
		char *name = rd_str(&r, NAME_MAX_BYTES);
		uint32_t version = rd_u32(&r);
		int at = name ? topology_stream_version_of(t, name, version) : -1;
		add_stream(at >= 0 ? &streams[at] : &ignored, &r);
		free(name);
	}
	return rd_finish(&r);
}

/* ---- sets of groups as letters ----------------------------------------------------------------------------------- */

void serve_what_streams(const bool *groups, uint32_t count, char out[SERVE_WHAT_MAX])
{
	weir_assert(count <= SHARDS_MAX + 1);
	size_t n = strlen(STREAMS_TAG);
	memcpy(out, STREAMS_TAG, n);
	for (uint32_t from = 0; from < count; from += GROUPS_PER_LETTER) {
		unsigned value = 0;
		for (uint32_t i = 0; i < GROUPS_PER_LETTER && from + i < count; i++)
			value |= (unsigned)groups[from + i] << i;
		out[n++] = letters[value];
	}
	out[n] = 0;
}

static bool parse_groups(const char *text, uint32_t count, bool *groups)
{
	uint32_t at = 0;
	for (; *text; text++) {
		const char *letter = strchr(letters, *text);
		if (!letter || at >= count)
			return false;
		for (uint32_t i = 0; i < GROUPS_PER_LETTER; i++, at++) {
			bool has = (unsigned)(letter - letters) >> i & 1;
			if (has && at >= count)
				return false;
			if (at < count)
				groups[at] = has;
		}
	}
	return at >= count;
}

/* ---- alerts of a shard ------------------------------------------------------------------------------------------- */

static bool parse_alerts(const char *text, uint32_t shards, uint32_t *ret_shard, uint64_t *ret_place)
{
	char *end;
	unsigned long shard = strtoul(text, &end, 10);
	*ret_shard = (uint32_t)shard;
	return end != text && *end == '.' && shard < shards && parse_place(end + 1, ret_place);
}

static int put_alerts(struct serve *s, uint32_t shard, uint64_t place, struct buf *out)
{
	if (!node_serves(s->o.node, shard + 1))
		return WEIR_ENOTLEADER;
	return serve_alert_groups(s, shard, place, out);
}

enum verdict serve_status(struct serve *s, const char *what, struct buf *out, const char **ret_reason)
{
	bool groups[SHARDS_MAX + 1] = {false};
	uint64_t place;
	size_t edges = strlen(EDGES_TAG), streams = strlen(STREAMS_TAG);
	if (!strncmp(what, EDGES_TAG, edges) && parse_place(what + edges, &place))
		return serve_verdict_of(put_edges(s, place, out), ret_reason);
	if (!strncmp(what, STREAMS_TAG, streams) &&
	    parse_groups(what + streams, s->groups, groups))
		return serve_verdict_of(put_streams(s, groups, out), ret_reason);
	uint32_t shard;
	if (!strncmp(what, SERVE_ALERTS_TAG, strlen(SERVE_ALERTS_TAG)) && parse_alerts(what + strlen(SERVE_ALERTS_TAG), s->groups - 1, &shard, &place))
		return serve_verdict_of(put_alerts(s, shard, place, out), ret_reason);
	if (!strcmp(what, SERVE_SINKS) && s->o.sinks) {
		s->o.sinks(s->o.arg, out);
		return VERDICT_OK;
	}
	*ret_reason = "no such status";
	return VERDICT_REFUSED;
}

/* ---- metrics ------------------------------------------------------------------------------------------------------ */

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
	struct stats_family f = {.name = name, .help = help, .type = STATS_COUNTER};
	stats_write_head(out, &f);
	stats_write_u64(out, &f, NULL, value);
}

static void put_snapshots(struct serve *s, struct buf *out)
{
	struct snapshot_counters c;
	struct stats_family open = {.name = "weir_cloud_snapshots_open", .help = "snapshots being fetched from here",
	    .type = STATS_GAUGE};
	snapshots_counters(s->o.snapshots, &c);
	put_counter(out, "weir_cloud_snapshots_made_total", "copies of a group's state made for another replica", c.made);
	put_counter(out, "weir_cloud_snapshots_failed_total", "copies that could not be made or read", c.failed);
	put_counter(out, "weir_cloud_snapshots_chunks_total", "chunks sent", c.chunks);
	put_counter(out, "weir_cloud_snapshots_sent_bytes_total", "bytes of them", c.bytes);
	stats_write_head(out, &open);
	stats_write_u64(out, &open, NULL, c.open);
}

void serve_metrics(struct serve *s, struct buf *out)
{
	struct progress_reads r;
	progress_reads(s->o.progress, &r);
	struct stats_family reads = {.name = "weir_raft_reads_total", .help = "linearizable reads of groups led here",
	    .type = STATS_COUNTER, .labels = {"result"}};
	stats_write_head(out, &reads);
	stats_write_u64(out, &reads, (const char *const[]){"ok"}, r.ok);
	stats_write_u64(out, &reads, (const char *const[]){"not_leader"}, r.refused);
	stats_write_u64(out, &reads, (const char *const[]){"timeout"}, r.timeouts);
	put_counter(out, "weir_raft_read_rounds_total", "read indexes asked for; readers share them", r.begun);
	struct stats_family waiting = {.name = "weir_raft_reads_waiting", .help = "readers that wait for a read index",
	    .type = STATS_GAUGE};
	stats_write_head(out, &waiting);
	stats_write_u64(out, &waiting, NULL, r.waiting);
	struct stats_family wait = {.name = "weir_raft_read_wait_seconds_total",
	    .help = "time that readers waited for a read index, in all", .type = STATS_COUNTER};
	stats_write_head(out, &wait);
	stats_write(out, &wait, NULL, (double)r.wait_ns / 1e9);
	if (s->o.snapshots)
		put_snapshots(s, out);
}
