#include "cloudd/dump.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_record.h"
#include "cloudd/consensus_dump.h"
#include "cloudd/entry.h"
#include "cloudd/jobs.h"
#include "cloudd/meta_apply.h"
#include "cloudd/placement.h"
#include "cloudd/shard.h"
#include "cloudd/sink_places.h"
#include "cloudd/state.h"
#include "cloudd/sweep.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"
#include "common/map.h"
#include "common/partial_json.h"
#include "common/record_json.h"

#define DB_NAME_MAX 32

struct name {
	uint32_t id, version;
	char name[NAME_MAX_BYTES + 1];
};

struct dump {
	char db[DB_NAME_MAX]; /* of which is known: */
	struct topology *topology; /* of its map; NULL: none was met */
	struct name *names;        /* ascending ids */
	size_t name_count;
	const char *why;
};

struct dump *dump_new(void)
{
	return xcalloc(1, sizeof(struct dump));
}

static void forget(struct dump *d)
{
	topology_free(d->topology);
	free(d->names);
	d->topology = NULL;
	d->names = NULL;
	d->name_count = 0;
}

void dump_free(struct dump *d)
{
	if (!d)
		return;
	forget(d);
	free(d);
}

static bool fail(struct dump *d, const char *why)
{
	d->why = why;
	return false;
}

static bool check(struct dump *d, int err)
{
	return err ? fail(d, err_text(err)) : true;
}

/* ---- parts ------------------------------------------------------------------------------------------------- */

static const struct name *name_of(const struct dump *d, uint32_t id)
{
	size_t low = 0, high = d->name_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (d->names[mid].id == id)
			return &d->names[mid];
		if (d->names[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static void put_stream(const struct dump *d, struct buf *out, uint32_t id)
{
	const struct name *n = name_of(d, id);
	record_u64(out, "stream_id", id);
	if (!n)
		return;
	record_cstr(out, "stream", n->name);
	record_u64(out, "version", n->version);
}

static const struct stream_conf *conf_of(const struct dump *d, uint32_t id)
{
	const struct name *n = name_of(d, id);
	int at = n && d->topology ? topology_stream_version_of(d->topology, n->name, n->version) : -1;
	return at < 0 ? NULL : &d->topology->streams[at];
}

static void note_name(struct dump *d, uint32_t id, struct bytes name, uint32_t version)
{
	if (d->name_count && d->names[d->name_count - 1].id >= id)
		return; /* keys ascend */
	d->names = xrealloc(d->names, (d->name_count + 1) * sizeof(*d->names));
	struct name *n = &d->names[d->name_count++];
	*n = (struct name){.id = id, .version = version};
	if (name.n)
		memcpy(n->name, name.p, name.n);
}

static void put_edges(const struct entry_close *c, struct buf *out)
{
	buf_printf(out, ", \"edges\": [");
	for (uint32_t i = 0; i < c->edge_count; i++) {
		const struct entry_edge *e = &c->edges[i];
		buf_printf(out, "%s{\"name\": ", i ? ", " : "");
		json_bytes(out, (const char *)e->name.p, e->name.n);
		record_cstr(out, "state", edge_state_text(e->state));
		record_time(out, "watermark", e->watermark_ns);
		if (e->flushed_end_ns != WATERMARK_NONE)
			record_time(out, "flushed_end", e->flushed_end_ns);
		if (e->since_ns != WATERMARK_NONE)
			record_time(out, "since", e->since_ns);
		if (e->came_late)
			record_time(out, "final_before", e->final_ns);
		buf_printf(out, "}");
	}
	buf_printf(out, "]");
}

/* Without the stream's name and version, which are in the keys of records. */
static void put_close_values(const struct entry_close *c, struct buf *out)
{
	record_time(out, "close", c->close_ns);
	record_time(out, "final", c->final_ns);
	record_u64(out, "expected", c->expected);
	put_edges(c, out);
}

static void put_close(const struct entry_close *c, struct buf *out)
{
	record_text(out, "stream", c->stream);
	record_u64(out, "version", c->version);
	put_close_values(c, out);
}

/* ---- maps -------------------------------------------------------------------------------------------------- */

static void put_map_nodes(const struct cluster_map *m, struct buf *out)
{
	buf_printf(out, ", \"nodes\": [");
	for (size_t i = 0; i < m->node_count; i++) {
		buf_printf(out, "%s{\"name\": ", i ? ", " : "");
		json_text(out, m->nodes[i].name);
		record_cstr(out, "state", cloud_state_text(m->nodes[i].state));
		record_cstr(out, "listen", m->nodes[i].listen);
		record_cstr(out, "http", m->nodes[i].http);
		buf_printf(out, "}");
	}
	buf_printf(out, "], \"places\": [");
	for (uint32_t g = 0; g < m->group_count; g++) {
		buf_printf(out, "%s[", g ? ", " : "");
		for (unsigned i = 0; i < m->places[g].count; i++)
			buf_printf(out, "%s%u", i ? ", " : "", m->places[g].nodes[i]);
		buf_printf(out, "]");
	}
	buf_printf(out, "]");
}

static void put_map_streams(const struct cluster_map *m, struct buf *out)
{
	buf_printf(out, ", \"streams\": [");
	for (size_t i = 0; i < m->stream_count; i++) {
		const struct map_stream *s = &m->streams[i];
		buf_printf(out, "%s{\"name\": ", i ? ", " : "");
		json_text(out, s->name);
		record_u64(out, "version", s->version);
		record_cstr(out, "phase", stream_phase_text(s->phase));
		record_time(out, "from", s->from_ns == INT64_MIN ? INT64_MAX : s->from_ns); /* "ever" */
		record_time(out, "answers_until", s->answers_until_ns);
		record_time(out, "until", s->until_ns);
		if (*s->definition)
			record_cstr(out, "definition", s->definition);
		buf_printf(out, "}");
	}
	buf_printf(out, "], \"revoked\": [");
	for (size_t i = 0; i < m->revoked_count; i++) {
		buf_printf(out, "%s", i ? ", " : "");
		json_text(out, m->revoked[i]);
	}
	buf_printf(out, "]");
}

static bool put_map(struct dump *d, struct bytes raw, bool keep, struct buf *out)
{
	struct cluster_map m;
	if (!check(d, map_decode(raw, &m)))
		return false;
	record_u64(out, "map_version", m.version);
	record_u64(out, "text_version", m.text_version);
	put_map_nodes(&m, out);
	put_map_streams(&m, out);
	record_cstr(out, "topology", m.text);
	struct buf errors = {0};
	if (keep && !d->topology && map_topology(&m, "topology", NULL, &d->topology, &errors))
		d->topology = NULL; /* partials stay as they are */
	buf_free(&errors);
	map_clear(&m);
	return true;
}

/* ---- entries ----------------------------------------------------------------------------------------------- */

static bool put_batch(struct dump *d, const struct entry *e, struct buf *out)
{
	record_text(out, "edge", e->batch.edge);
	record_u64(out, "epoch", e->batch.epoch);
	record_u64(out, "seq", e->batch.seq);
	record_mark(out, "checksum", e->batch.checksum);
	size_t start = out->len;
	buf_printf(out, ", \"batch\": ");
	if (check(d, batch_json(out, e->batch.body)))
		return true;
	out->len = start;
	return false;
}

static bool put_topology(struct dump *d, const struct entry *e, struct buf *out)
{
	char *text;
	if (e->topology.base_version == ENTRY_BASE_FIRST)
		record_bool(out, "first", true);
	else
		record_u64(out, "base_version", e->topology.base_version);
	if (!check(d, map_text_unpack(e->topology.text, e->topology.text_bytes, &text)))
		return false;
	record_cstr(out, "topology", text);
	free(text);
	return true;
}

static const char *node_event_word(unsigned event)
{
	switch ((enum node_event)event) {
	case NODE_EVENT_DEAD:
		return "dead";
	case NODE_EVENT_ALIVE:
		return "alive";
	case NODE_EVENT_GONE:
		return "gone";
	}
	return "unknown";
}

static const char *entry_word(enum entry_kind kind)
{
	switch (kind) {
	case ENTRY_OPEN:
		return "open";
	case ENTRY_BATCH:
		return "batch";
	case ENTRY_ADVANCE:
		return "advance";
	case ENTRY_SWEEP:
		return "sweep";
	case ENTRY_MAP:
		return "map";
	case ENTRY_SINK:
		return "sink";
	case ENTRY_ALERT:
		return "alert";
	case ENTRY_CREATE:
		return "create";
	case ENTRY_CLAIM:
		return "claim";
	case ENTRY_READMIT:
		return "readmit";
	case ENTRY_CLOSE:
		return "close";
	case ENTRY_TAKEN:
		return "taken";
	case ENTRY_TOPOLOGY:
		return "topology";
	case ENTRY_NODE:
		return "node";
	case ENTRY_CUT:
		return "cut";
	case ENTRY_REVOKE:
		return "revoke";
	case ENTRY_NOOP:
	case ENTRY_CONFIG:
		break;
	}
	return "unknown";
}

static void put_closes(const struct entry *e, struct buf *out)
{
	buf_printf(out, ", \"closes\": [");
	for (uint32_t i = 0; i < e->closes.count; i++) {
		buf_printf(out, "%s{\"place\": %u", i ? ", " : "", i);
		put_close(&e->closes.closes[i], out);
		buf_printf(out, "}");
	}
	buf_printf(out, "]");
}

static void put_places(const struct entry *e, struct buf *out)
{
	buf_printf(out, ", \"places\": [");
	for (uint32_t i = 0; i < e->sink.count; i++) {
		const struct entry_place *p = &e->sink.places[i];
		buf_printf(out, "%s{\"place\": %u", i ? ", " : "", i);
		record_text(out, "sink", p->sink);
		record_text(out, "stream", p->stream);
		record_u64(out, "version", p->version);
		record_u64(out, "entry", p->index);
		record_u64(out, "n", p->n);
		buf_printf(out, "}");
	}
	buf_printf(out, "]");
}

static const char *const what_words[] = {"pending", "firing", "cleared", "resolved"};
static const char *const op_words[] = {"judge", "end", "renew"};

static void put_alert_groups(const struct entry_alert *a, struct buf *out)
{
	buf_printf(out, ", \"groups\": [");
	for (uint32_t i = 0; i < a->group_count; i++) {
		const struct entry_alert_group *g = &a->groups[i];
		buf_printf(out, "%s{\"place\": %u", i ? ", " : "", i);
		record_cstr(out, "what", what_words[g->what]);
		record_cstr(out, "reason", alert_reason_text(g->reason));
		record_u64(out, "run", g->run);
		record_time(out, "since", g->since_ns);
		record_time(out, "window", g->window_ns);
		record_group(out, g->group);
		record_text(out, "values", g->values);
		buf_printf(out, "}");
	}
	buf_printf(out, "]");
}

static void put_alert_place(bool in_window, int64_t judged_ns, int64_t window_ns, struct bytes after, struct buf *out)
{
	record_time(out, "judged", judged_ns);
	if (in_window) {
		record_time(out, "in_window", window_ns);
		record_group(out, after);
	}
}

static void put_alerts(const struct entry *e, struct buf *out)
{
	buf_printf(out, ", \"alerts\": [");
	for (uint32_t i = 0; i < e->alert.count; i++) {
		const struct entry_alert *a = &e->alert.alerts[i];
		buf_printf(out, "%s{\"place\": %u", i ? ", " : "", i);
		record_cstr(out, "op", op_words[a->op]);
		record_u64(out, "alert", a->id);
		record_u64(out, "changed", a->changed);
		record_u64(out, "version", a->version);
		put_alert_place(a->in_window, a->judged_ns, a->window_ns, a->after, out);
		record_bool(out, "done", a->done);
		put_alert_groups(a, out);
		buf_printf(out, "}");
	}
	buf_printf(out, "]");
}

static bool put_entry_fields(struct dump *d, const struct entry *e, struct buf *out)
{
	switch (e->kind) {
	case ENTRY_OPEN:
		record_text(out, "edge", e->open.edge);
		record_u64(out, "epoch", e->open.epoch);
		record_u64(out, "low", e->open.low);
		record_u64(out, "high", e->open.high);
		record_bool(out, "resume", e->open.resume);
		return true;
	case ENTRY_BATCH:
		return put_batch(d, e, out);
	case ENTRY_ADVANCE:
		record_u64(out, "meta_index", e->advance.meta_index);
		record_u64(out, "after", e->advance.after);
		put_close(&e->advance.close, out);
		return true;
	case ENTRY_MAP:
		record_u64(out, "meta_index", e->map.meta_index);
		record_u64(out, "after", e->map.after);
		return put_map(d, e->map.map, false, out);
	case ENTRY_SINK:
		put_places(e, out);
		return true;
	case ENTRY_ALERT:
		put_alerts(e, out);
		return true;
	case ENTRY_CREATE:
		record_hex(out, "cluster_id", e->create.cluster_id);
		return true;
	case ENTRY_CLAIM:
		record_text(out, "edge", e->claim.edge);
		record_u64(out, "epoch", e->claim.epoch);
		record_hex(out, "claim", e->claim.claim);
		record_bool(out, "empty", e->claim.empty);
		return true;
	case ENTRY_READMIT:
		record_text(out, "edge", e->readmit.edge);
		if (e->readmit.next)
			record_u64(out, "fenced_at_epoch", e->readmit.next - 1);
		return true;
	case ENTRY_CLOSE:
		put_closes(e, out);
		return true;
	case ENTRY_TAKEN:
		record_u64(out, "shard", e->taken.shard);
		record_u64(out, "meta_index", e->taken.meta_index);
		return true;
	case ENTRY_TOPOLOGY:
		return put_topology(d, e, out);
	case ENTRY_NODE:
		record_u64(out, "slot", e->node.slot);
		record_cstr(out, "event", node_event_word(e->node.event));
		return true;
	case ENTRY_CUT:
		record_text(out, "stream", e->cut.stream);
		record_u64(out, "version", e->cut.version);
		record_bool(out, "retire", e->cut.retire);
		record_time(out, "at", e->cut.t_ns);
		if (e->cut.map_version)
			record_u64(out, "map_version", e->cut.map_version);
		return true;
	case ENTRY_REVOKE:
		record_text(out, "edge", e->revoke.edge);
		record_bool(out, "revoked", e->revoke.revoked);
		return true;
	case ENTRY_SWEEP:
	case ENTRY_NOOP:
	case ENTRY_CONFIG:
		break;
	}
	return true;
}

static bool put_entry(struct dump *d, struct bytes raw, struct buf *out)
{
	struct entry e;
	int rc = entry_decode(raw, &e);
	if (rc == WEIR_EVERSION && raw.n >= 2)
		buf_printf(out, ", \"entry_format\": %u, \"entry_kind\": %u", raw.p[0], raw.p[1]);
	if (rc)
		return fail(d, rc == WEIR_EVERSION ? "an entry of a later version of weir" : err_text(rc));
	record_cstr(out, "entry", entry_word(e.kind));
	record_time(out, "proposed", e.time_ns);
	bool fine = put_entry_fields(d, &e, out);
	entry_clear(&e);
	return fine;
}

/* ---- the log ----------------------------------------------------------------------------------------------- */

static bool log_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	uint64_t term = rd_u64(&r);
	uint8_t kind = rd_u8(&r);
	struct bytes rest = bytes_of(r.p, rd_left(&r));
	const char *word = consensus_dump_kind(kind);
	if (r.err || !word)
		return fail(d, "not an entry of a log");
	record_u64(out, "term", term);
	record_cstr(out, "kind", word);
	if (!strcmp(word, "data"))
		return put_entry(d, rest, out);
	if (!strcmp(word, "noop"))
		return true;
	buf_printf(out, ", \"members\": ");
	if (consensus_dump_config(rest, out))
		return true;
	buf_printf(out, "null");
	return fail(d, "not a configuration");
}

static bool log_group_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct log_group g;
	if (!check(d, log_group_decode(value, &g)))
		return false;
	record_u64(out, "term", g.term);
	record_mark(out, "voted_for", g.vote);
	record_u64(out, "base_index", g.base_index);
	record_u64(out, "base_term", g.base_term);
	buf_printf(out, ", \"members\": ");
	if (consensus_dump_config(bytes_of(g.config, g.config_len), out))
		return true;
	buf_printf(out, "null");
	return fail(d, "not a configuration");
}

static bool log_node_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	struct bytes name;
	uint8_t version = rd_u8(&r);
	name.p = rd_bytes(&r, NAME_MAX_BYTES, &name.n);
	uint64_t shards = rd_varint(&r), member = rd_u64(&r);
	if (version != LOG_RECORD_VERSION || rd_finish(&r))
		return fail(d, "not whose log this is, or of another version");
	record_u64(out, "format", version);
	record_text(out, "node", name);
	record_u64(out, "shards", shards);
	record_mark(out, "member", member);
	return true;
}

static bool layout_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	uint8_t format = rd_u8(&r);
	uint32_t shards = rd_u32(&r);
	struct bytes cluster;
	cluster.p = rd_bytes(&r, NAME_MAX_BYTES, &cluster.n);
	if (rd_finish(&r))
		return fail(d, "not a layout");
	record_u64(out, "format", format);
	record_u64(out, "shards", shards);
	record_text(out, "cluster", cluster);
	return true;
}

/* Of both environments: the database "node". value NULL: lost. */
static bool node_record(struct dump *d, struct bytes key, const struct bytes *value, struct buf *out)
{
	struct rd r = rd_init(key.p + 1, key.n - 1);
	if (key.n == 6 && !memcmp(key.p, "layout", 6)) {
		record_cstr(out, "what", "layout");
		return !value || layout_value(d, *value, out);
	}
	if (key.n == 1 && key.p[0] == LOG_KEY_NODE[0]) {
		record_cstr(out, "what", "node");
		return !value || log_node_value(d, *value, out);
	}
	if (key.n == 1 && key.p[0] == LOG_KEY_CLUSTER[0]) {
		record_cstr(out, "what", "cluster_id");
		if (value)
			record_hex(out, "cluster_id", *value);
		return true;
	}
	if (key.n == 5 && key.p[0] == LOG_KEY_GROUP) {
		record_cstr(out, "what", "group_head");
		record_u64(out, "group_number", rd_be32(&r));
		return !value || log_group_value(d, *value, out);
	}
	return fail(d, "a record of no kind that is known");
}

/* ---- the state: keys --------------------------------------------------------------------------------------- */

enum fields { F_NONE, F_ID, F_NAME, F_VERSION, F_PLACE, F_GROUP, F_SUB, F_END, F_WINDOW, F_OUTBOX, F_INDEX, F_SHARD, F_SINK, F_ALERT, F_EVENT };

static const struct table {
	enum state_table letter;
	const char *what;
	enum fields key;
} tables[] = {
	{STATE_APPLIED, "head", F_NONE},
	{STATE_MAP, "map", F_NONE},
	{STATE_STREAM, "stream", F_ID},
	{STATE_STREAM_ID, "stream_id", F_VERSION},
	{STATE_EDGE, "edge", F_NAME},
	{STATE_PARTIAL, "partial", F_PLACE},
	{STATE_GROUP, "group", F_GROUP},
	{STATE_COUNTS, "counts", F_ID},
	{STATE_ADVANCE, "advance", F_SUB},
	{STATE_INTERVAL, "interval", F_END},
	{STATE_DIRTY, "dirty", F_PLACE},
	{STATE_REVISION, "revision", F_WINDOW},
	{STATE_OUTBOX, "outbox", F_OUTBOX},
	{STATE_SINK, "sink", F_SINK},
	{STATE_ALERT, "alert", F_ALERT},
	{STATE_ALERT_GROUP, "alert_group", F_ALERT},
	{STATE_ALERT_EVENT, "alert_event", F_EVENT},
	{STATE_CLUSTER, "cluster_id", F_NONE},
	{STATE_META_EDGE, "meta_edge", F_NAME},
	{STATE_CLOSE, "close", F_VERSION},
	{STATE_QUEUE, "queued", F_INDEX},
	{STATE_TAKEN, "taken", F_SHARD},
};

static const struct table *table_of(struct bytes key)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (key.n && key.p[0] == (uint8_t)tables[i].letter)
			return &tables[i];
	}
	return NULL;
}

static const char *const advance_words[] = {"advance", "sweep", "floors", "age", "dropped"};
#define ADVANCE_WORDS (sizeof(advance_words) / sizeof(advance_words[0]))

/* What a state's key says. id and sub: where it has them. */
struct key {
	uint32_t id;
	uint8_t sub;
};

static bool put_version_key(struct rd *r, struct buf *out)
{
	size_t n = rd_left(r);
	if (n < 5 || r->p[n - 5])
		return false;
	record_text(out, "stream", bytes_of(r->p, n - 5));
	rd_raw(r, n - 4);
	record_u64(out, "version", rd_be32(r));
	return true;
}

static bool put_sink_key(struct dump *d, struct rd *r, struct buf *out)
{
	size_t n = rd_left(r);
	if (n < 5 || r->p[n - 5])
		return false;
	record_text(out, "sink", bytes_of(r->p, n - 5));
	rd_raw(r, n - 4);
	put_stream(d, out, rd_be32(r));
	return true;
}

static bool put_state_key(struct dump *d, const struct table *t, struct bytes rest, struct key *ret, struct buf *out)
{
	struct rd r = rd_init(rest.p, rest.n);
	*ret = (struct key){0};
	switch (t->key) {
	case F_NONE:
		break;
	case F_NAME:
		record_text(out, "name", rest);
		return true;
	case F_VERSION:
		if (!put_version_key(&r, out))
			return false;
		break;
	case F_SINK:
		if (!put_sink_key(d, &r, out))
			return false;
		break;
	case F_INDEX:
		record_u64(out, "meta_index", rd_be64(&r));
		break;
	case F_SHARD:
		record_u64(out, "shard", rd_be32(&r));
		break;
	case F_ALERT:
		ret->id = rd_be32(&r);
		record_u64(out, "alert", ret->id);
		break;
	case F_EVENT:
		record_u64(out, "entry", rd_be64(&r));
		record_u64(out, "n", rd_be32(&r));
		break;
	case F_ID:
	case F_PLACE:
	case F_GROUP:
	case F_SUB:
	case F_END:
	case F_WINDOW:
	case F_OUTBOX:
		ret->id = rd_be32(&r);
		if (t->letter == STATE_STREAM)
			record_u64(out, "stream_id", ret->id); /* its value is the name */
		else
			put_stream(d, out, ret->id);
		break;
	}
	if (t->key == F_PLACE) {
		record_u64(out, "level", rd_u8(&r));
		record_time(out, "start", rd_bei64(&r));
	} else if (t->key == F_SUB) {
		ret->sub = rd_u8(&r);
		record_cstr(out, "part", ret->sub < ADVANCE_WORDS ? advance_words[ret->sub] : "unknown");
	} else if (t->key == F_END) {
		record_time(out, "end", rd_bei64(&r));
	} else if (t->key == F_WINDOW) {
		record_time(out, "window", rd_bei64(&r));
	} else if (t->key == F_OUTBOX) {
		record_u64(out, "entry", rd_be64(&r));
		record_u64(out, "n", rd_be32(&r));
	}
	if (!r.err && (t->key == F_PLACE || t->key == F_GROUP || t->key == F_WINDOW || t->letter == STATE_ALERT_GROUP)) {
		record_group(out, bytes_of(r.p, rd_left(&r)));
		return true;
	}
	return !rd_finish(&r);
}

/* ---- the state: values ------------------------------------------------------------------------------------- */

static bool head_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct state_head h;
	if (!check(d, state_head_decode(value, &h)))
		return false;
	record_u64(out, "applied", h.applied);
	record_u64(out, "term", h.term);
	buf_printf(out, ", \"digest\": \"%016llx%016llx\"", (unsigned long long)h.digest.hi, (unsigned long long)h.digest.lo);
	record_u64(out, "meta_index", h.meta_index);
	record_u64(out, "skipped", h.skipped);
	record_bool(out, "void", h.is_void);
	buf_printf(out, ", \"members\": ");
	if (consensus_dump_config(bytes_of(h.config, h.config_len), out))
		return true;
	buf_printf(out, "null");
	return fail(d, "not a configuration");
}

static bool stream_value(struct dump *d, uint32_t id, struct bytes value, struct buf *out)
{
	struct bytes name;
	uint32_t version;
	if (!check(d, shard_stream_decode(value, &name, &version)))
		return false;
	note_name(d, id, name, version);
	record_text(out, "stream", name);
	record_u64(out, "version", version);
	return true;
}

static bool partial_value(struct dump *d, uint32_t id, struct bytes value, struct buf *out)
{
	const struct stream_conf *c = conf_of(d, id);
	struct partial_spec spec;
	struct partial p = {0};
	if (!c)
		return fail(d, d->topology ? "the cluster map does not have this version of the stream: what its partials hold is not known"
					   : "there is no cluster map: what partials hold is not known");
	partial_spec_of(c, topology_distinct_seed(d->topology), PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	struct rd r = rd_init(value.p, value.n);
	int rc = partial_decode(&r, &spec, &p);
	if (!rc && rd_finish(&r))
		rc = WEIR_ECORRUPT;
	if (!rc) {
		buf_printf(out, ", \"partial\": ");
		partial_json(out, &p, &spec);
	}
	partial_clear(&p, &spec);
	return check(d, rc);
}

static bool counts_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct shard_counts c;
	if (!check(d, shard_counts_decode(value, &c)))
		return false;
	record_u64(out, "received", c.received);
	record_u64(out, "merged", c.merged);
	record_u64(out, "partials", c.partials);
	record_u64(out, "beyond_retain", c.beyond_retain);
	record_u64(out, "unknown_stream", c.unknown_stream);
	record_u64(out, "invalid", c.invalid);
	record_u64(out, "groups", c.groups);
	record_u64(out, "overflowed", c.overflowed);
	record_u64(out, "dirty", c.dirty);
	return true;
}

static void put_sweep(const struct shard_sweep *s, struct buf *out)
{
	static const char *const passes[] = {"none", "final", "close"};
	record_time(out, "close", s->close_ns);
	record_time(out, "final", s->final_ns);
	record_cstr(out, "pass", passes[s->pass]);
	record_time(out, "goal_close", s->goal_close_ns);
	record_time(out, "goal_final", s->goal_final_ns);
	record_time(out, "window", s->window_ns);
	record_time(out, "kept_for", s->kept_close_ns);
	record_u64(out, "outbox_rows", s->outbox_rows);
	record_u64(out, "trimmed_entry", s->trimmed_index);
	record_u64(out, "trimmed_n", s->trimmed_n);
	record_u64(out, "intervals", s->intervals);
	record_time(out, "clock", s->clock_ns);
}

static void put_floors(const struct window_floors *f, struct buf *out)
{
	buf_printf(out, ", \"floors\": [");
	for (unsigned i = 0; i < f->count; i++) {
		buf_printf(out, "%s", i ? ", " : "");
		instant_json(out, f->floor_ns[i]);
	}
	buf_printf(out, "]");
}

static bool advance_value(struct dump *d, uint8_t sub, struct bytes value, struct buf *out)
{
	struct shard_advance a;
	struct shard_sweep s;
	struct window_floors f;
	struct shard_age age;
	struct rd r = rd_init(value.p, value.n);
	switch ((enum shard_advance_record)sub) {
	case SHARD_ADVANCE_CLOSE:
		if (!check(d, shard_advance_decode(value, &a)))
			return false;
		record_u64(out, "meta_index", a.meta_index);
		put_close_values(&a.close, out);
		shard_advance_clear(&a);
		return true;
	case SHARD_ADVANCE_SWEEP:
		if (!check(d, shard_sweep_decode(value, &s)))
			return false;
		put_sweep(&s, out);
		return true;
	case SHARD_ADVANCE_FLOORS:
		if (!check(d, shard_floors_decode(value, &f)))
			return false;
		put_floors(&f, out);
		return true;
	case SHARD_ADVANCE_AGE:
		if (!check(d, shard_age_decode(value, &age)))
			return false;
		record_time(out, "kept_as_of", age.close_ns);
		return true;
	case SHARD_ADVANCE_DROPPED:
		record_u64(out, "come_to", rd_u32(&r));
		return check(d, rd_finish(&r));
	}
	return fail(d, "a record of no kind that is known");
}

/* Completeness: [start svarint][expected varint][count varint], then per edge [name][1: partitioned u8]. */
static bool interval_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	size_t start = out->len;
	record_time(out, "after", rd_svarint(&r));
	record_u64(out, "expected", rd_varint(&r));
	uint64_t count = rd_varint_max(&r, EDGES_MAX);
	buf_printf(out, ", \"edges\": [");
	for (uint64_t i = 0; i < count && !r.err; i++) {
		size_t n;
		const uint8_t *name = rd_bytes(&r, NAME_MAX_BYTES, &n);
		bool partitioned = rd_u8(&r);
		buf_printf(out, "%s{\"name\": ", i ? ", " : "");
		json_bytes(out, n ? (const char *)name : "", n);
		record_cstr(out, "state", partitioned ? "partitioned" : "idle");
		buf_printf(out, "}");
	}
	buf_printf(out, "]");
	int rc = rd_finish(&r);
	if (rc)
		out->len = start;
	return check(d, rc);
}

static bool outbox_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct outbox_row row;
	if (!check(d, outbox_row_decode(value, &row)))
		return false;
	record_time(out, "window", row.window_ns);
	if (row.size_ns)
		record_time(out, "window_end", row.window_ns + row.size_ns);
	record_group(out, row.group);
	record_time(out, "told", row.time_ns);
	return true;
}

static bool sink_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct sink_place p;
	if (!check(d, sink_place_decode(value, &p)))
		return false;
	record_u64(out, "entry", p.index);
	record_u64(out, "n", p.n);
	return true;
}

static bool alert_head_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct alert_head h;
	if (!check(d, alert_head_decode(value, &h)))
		return false;
	record_u64(out, "next_id", h.next_id);
	record_u64(out, "events", h.events);
	record_u64(out, "trimmed", h.trimmed_index);
	record_u64(out, "trimmed_n", h.trimmed_n);
	record_time(out, "clock", h.clock_ns);
	record_time(out, "clock_at", h.clock_at_ns);
	return true;
}

static void put_alert_def(const struct alert_def *def, struct buf *out)
{
	record_text(out, "stream", def->stream);
	record_text(out, "name", def->name);
	record_text(out, "when", def->when);
	record_u64(out, "for", def->for_windows);
	buf_printf(out, ", \"to\": [");
	for (uint32_t i = 0; i < def->to_count; i++) {
		buf_printf(out, i ? ", " : "");
		json_bytes(out, (const char *)def->to[i].p, def->to[i].n);
	}
	buf_printf(out, "]");
	if (def->severity.n)
		record_text(out, "severity", def->severity);
	if (def->summary.n)
		record_text(out, "summary", def->summary);
}

static bool alert_value(struct dump *d, uint32_t id, struct bytes value, struct buf *out)
{
	static const char *const ends[] = {"no", "changed", "removed"};
	struct alert_record a;
	if (!id)
		return alert_head_value(d, value, out);
	if (!check(d, alert_record_decode(value, &a)))
		return false;
	put_alert_def(&a.def, out);
	record_u64(out, "changed", a.changed);
	record_cstr(out, "ends", ends[a.end]);
	put_alert_place(a.place.in_window, a.place.judged_ns, a.place.window_ns, a.place.after, out);
	record_u64(out, "pending", a.pending);
	record_u64(out, "firing", a.firing);
	return true;
}

static bool alert_group_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct alert_group g;
	if (!check(d, alert_group_decode(value, &g)))
		return false;
	record_bool(out, "firing", g.firing);
	record_u64(out, "run", g.run);
	record_time(out, "since", g.since_ns);
	record_time(out, "window", g.window_ns);
	record_text(out, "values", g.values);
	return true;
}

static bool alert_event_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct alert_event e;
	if (!check(d, alert_event_decode(value, &e)))
		return false;
	put_alert_def(&e.def, out);
	record_bool(out, "firing", e.firing);
	record_cstr(out, "reason", alert_reason_text(e.reason));
	record_time(out, "since", e.since_ns);
	record_time(out, "window", e.window_ns);
	record_group(out, e.group);
	record_text(out, "values", e.values);
	record_time(out, "told", e.time_ns);
	record_time(out, "at", e.at_ns);
	return true;
}

static bool meta_edge_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct meta_edge_record e;
	if (!check(d, meta_edge_decode(value, &e)))
		return false;
	record_u64(out, "epoch", e.epoch);
	record_hex(out, "claim", bytes_of(e.claim, CLAIM_BYTES));
	record_hex(out, "first_claim", bytes_of(e.first_claim, CLAIM_BYTES));
	record_bool(out, "readmit", e.flags & META_EDGE_READMIT);
	record_bool(out, "resumed", e.flags & META_EDGE_RESUMED);
	record_bool(out, "readmitted", e.flags & META_EDGE_READMITTED);
	return true;
}

static bool close_value(struct dump *d, struct rd *r, bool named, struct buf *out)
{
	struct entry_close c;
	if (!check(d, r->err ? r->err : entry_close_decode(r, &c)))
		return false;
	int rc = rd_finish(r);
	if (!rc && named)
		put_close_values(&c, out);
	else if (!rc)
		put_close(&c, out);
	free(c.edges);
	return check(d, rc);
}

static bool queued_value(struct dump *d, struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	if (value.n && !value.p[0])
		return put_map(d, bytes_of(value.p + 1, value.n - 1), false, out);
	return close_value(d, &r, false, out);
}

/* Values that are a few numbers. */
static bool small_value(struct dump *d, enum state_table table, struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	size_t start = out->len;
	if (table == STATE_STREAM_ID) {
		record_u64(out, "stream_id", rd_u32(&r));
	} else if (table == STATE_EDGE) {
		record_u64(out, "epoch", rd_u64(&r));
		record_u64(out, "last", rd_u64(&r));
		record_mark(out, "checksum", rd_u64(&r));
	} else if (table == STATE_GROUP) {
		record_time(out, "latest", rd_bei64(&r));
	} else if (table == STATE_DIRTY) {
		record_time(out, "close", rd_bei64(&r));
		record_u64(out, "entry", rd_be64(&r));
	} else if (table == STATE_TAKEN) {
		record_u64(out, "meta_index", rd_u64(&r));
	} else {
		record_u64(out, "revision", rd_varint(&r));
		record_u64(out, "entry", rd_varint(&r));
	}
	int rc = rd_finish(&r);
	if (rc)
		out->len = start;
	return check(d, rc);
}

static bool state_value(struct dump *d, enum state_table table, const struct key *key, struct bytes value, struct buf *out)
{
	struct rd r = rd_init(value.p, value.n);
	switch (table) {
	case STATE_APPLIED:
		return head_value(d, value, out);
	case STATE_MAP:
		return put_map(d, value, true, out);
	case STATE_STREAM:
		return stream_value(d, key->id, value, out);
	case STATE_PARTIAL:
		return partial_value(d, key->id, value, out);
	case STATE_COUNTS:
		return counts_value(d, value, out);
	case STATE_ADVANCE:
		return advance_value(d, key->sub, value, out);
	case STATE_INTERVAL:
		return interval_value(d, value, out);
	case STATE_OUTBOX:
		return outbox_value(d, value, out);
	case STATE_SINK:
		return sink_value(d, value, out);
	case STATE_ALERT:
		return alert_value(d, key->id, value, out);
	case STATE_ALERT_GROUP:
		return alert_group_value(d, value, out);
	case STATE_ALERT_EVENT:
		return alert_event_value(d, value, out);
	case STATE_CLUSTER:
		record_hex(out, "cluster_id", value);
		return true;
	case STATE_META_EDGE:
		return meta_edge_value(d, value, out);
	case STATE_CLOSE:
		record_u64(out, "meta_index", rd_varint(&r));
		return close_value(d, &r, true, out);
	case STATE_QUEUE:
		return queued_value(d, value, out);
	case STATE_STREAM_ID:
	case STATE_EDGE:
	case STATE_GROUP:
	case STATE_DIRTY:
	case STATE_REVISION:
	case STATE_TAKEN:
		return small_value(d, table, value, out);
	}
	return false;
}

/* ---- all of it --------------------------------------------------------------------------------------------- */

/* Indexes are below 2^56, tables are letters. */
static bool is_log_key(struct bytes key)
{
	return key.n == 8 && !key.p[0];
}

static bool group_record(struct dump *d, struct bytes key, const struct bytes *value, struct buf *out)
{
	struct key k;
	if (is_log_key(key)) {
		struct rd r = rd_init(key.p, key.n);
		record_cstr(out, "what", "entry");
		record_u64(out, "index", rd_be64(&r));
		return !value || log_value(d, *value, out);
	}
	const struct table *t = table_of(key);
	if (!t)
		return fail(d, "a record of no kind that is known");
	record_cstr(out, "what", t->what);
	size_t start = out->len;
	if (!put_state_key(d, t, bytes_of(key.p + 1, key.n - 1), &k, out)) {
		out->len = start;
		return fail(d, "its key does not read");
	}
	return !value || state_value(d, t->letter, &k, *value, out);
}

static bool record(struct dump *d, const char *db, struct bytes key, const struct bytes *value, struct buf *out)
{
	d->why = NULL;
	if (strncmp(d->db, db, sizeof(d->db) - 1) != 0) {
		forget(d);
		size_t n = strlen(db) < sizeof(d->db) ? strlen(db) : sizeof(d->db) - 1;
		memcpy(d->db, db, n);
		d->db[n] = 0;
	}
	if (!key.n)
		return fail(d, "a record of no kind that is known");
	return !strcmp(db, "node") ? node_record(d, key, value, out) : group_record(d, key, value, out);
}

bool dump_record(struct dump *d, const char *db, struct bytes key, struct bytes value, struct buf *out, const char **ret_why)
{
	bool fine = record(d, db, key, &value, out);
	if (!fine)
		*ret_why = d->why;
	return fine;
}

bool dump_key(struct dump *d, const char *db, struct bytes key, struct buf *out)
{
	return record(d, db, key, NULL, out);
}
