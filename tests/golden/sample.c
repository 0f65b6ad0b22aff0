#include "tests/golden/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/alert_judge.h"
#include "cloudd/apply.h"
#include "cloudd/map_apply.h"
#include "cloudd/node.h"
#include "cloudd/state.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/sim/sim_kv.h"

#define SECOND INT64_C(1000000000)

#define CLUSTER \
	"version: 1\n" \
	"cluster: {name: plant, shards: 2, replicas: 1, security: none, partitioned_after: 30s, replace_after: 30s}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: c1}\n"
#define CLOUD_2 "  - {name: c2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\", data: c2}\n"
#define EDGES \
	"edges:\n" \
	"  - {name: a, data: a, heartbeat: 1s, flush: 30s, sources: [{type: file, path: a.lp}]}\n"
#define EDGE_B \
	"  - {name: b, data: b, sources: [{type: simulate, measurement: m, field: f, sensors: 2, every: 1s, seed: 1}]}\n"
#define SPEED(by) \
	"streams:\n" \
	"  - name: speed\n" \
	"    from: {measurement: traffic, field: speed}\n" \
	"    steps: [{dedupe: {}}]\n" \
	"    by: [" by "]\n" \
	"    window: 1m\n" \
	"    lateness: 10s\n" \
	"    compute: [count, sum, mean, min, max, stddev, first, last, p50, distinct(driver)]\n" \
	"    retain: 1h\n" \
	"    rollup: [{every: 10m, retain: 1d}]\n"
#define ALONE \
	"  - name: alone\n" \
	"    from: {measurement: alone, field: v}\n" \
	"    by: []\n" \
	"    window: 30s\n" \
	"    lateness: 0s\n" \
	"    compute: [count]\n" \
	"    retain: forever\n" \
	"    edges: [a]\n"
#define RISING(steps, more) \
	"  - name: rising\n" \
	"    from: {measurement: alone, field: v}\n" \
	"    steps: [" steps "{rate: {per: 1s}}]\n" \
	"    window: {size: 1m, every: 20s, offset: 10s}\n" \
	"    lateness: 5s\n" \
	"    compute: [mean, p90]\n" \
	"    max_groups: 10\n" more
#define RISES "    alert: [{when: \"mean > 0\", for: 2 windows, to: [out], severity: page}, {name: p90, when: p90 > 1000}]\n"

#define SINK(name) "  - {name: " name ", type: file, path: \"" name "-{node}.jsonl\"}\n"

static const char *const texts[] = {CLUSTER EDGES EDGE_B SPEED("site, sensor") ALONE,
    CLUSTER CLOUD_2 EDGES SPEED("site") ALONE RISING("", ""), CLUSTER EDGES SPEED("sensor") RISING("", RISES) "sinks:\n" SINK("out") SINK("away"),
    CLUSTER EDGES EDGE_B SPEED("sensor") RISING("{scale: {by: 2}}, ", "") "sinks:\n" SINK("out")};
_Static_assert(sizeof(texts) / sizeof(texts[0]) == 1 + SAMPLE_CHANGES, "the first, and what changes");

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "sample: %s: %s\n", what, err_text(rc));
	abort();
}

const char *sample_topology_text(void)
{
	return texts[0];
}

const char *sample_changed_text(unsigned change)
{
	return texts[1 + change % SAMPLE_CHANGES];
}

struct topology *sample_topology(void)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	int rc = topology_parse("sample.yaml", texts[0], strlen(texts[0]), &t, &errors);
	if (rc)
		fprintf(stderr, "%s", buf_cstr(&errors));
	must(rc, "topology");
	buf_free(&errors);
	return t;
}

struct topology *sample_map_topology(struct bytes map, const struct topology *before)
{
	struct cluster_map m;
	struct topology *t = NULL;
	struct buf errors = {0};
	if (map_decode(map, &m))
		return NULL;
	int rc = map_topology(&m, "sample.yaml", before, &t, &errors);
	map_clear(&m);
	buf_free(&errors);
	return rc ? NULL : t;
}

struct topology *sample_topology_now(const struct sample *s)
{
	struct kv *kv = sim_kv_open(s->state, 1);
	struct kv_txn *txn;
	struct bytes map;
	must(kv_begin(kv, false, &txn), "begin");
	struct topology *t = map_record(txn, STATE_DB_GROUP(0), &map) ? NULL : sample_map_topology(map, NULL);
	kv_abort(txn);
	kv_close(kv);
	return t;
}

/* ---- the story ----------------------------------------------------------------------------------------------------- */

static void change(struct sample_world *w, unsigned number)
{
	const char *text = sample_changed_text(number);
	struct buf packed = {0};
	struct msg m = {.type = MSG_TOPOLOGY};
	map_text_pack(text, strlen(text), &packed);
	m.topology.text = bytes_of(packed.data, packed.len);
	m.topology.text_bytes = (uint32_t)strlen(text);
	must(sample_ask(w, &m) ? 0 : WEIR_EINVAL, "another topology");
	buf_free(&packed);
}

static void revoke(struct sample_world *w, const char *edge, bool revoked)
{
	struct msg m = {.type = MSG_REVOKE};
	m.revoke.edge = edge;
	m.revoke.revoked = revoked;
	must(sample_ask(w, &m) ? 0 : WEIR_EINVAL, "revocation");
}

static void readmit(struct sample_world *w, const char *edge)
{
	struct msg m = {.type = MSG_READMIT};
	m.readmit.edge = edge;
	must(sample_ask(w, &m) ? 0 : WEIR_EINVAL, "readmission");
}

/* Rows of the outbox were delivered, as a sink's thread says it. */
static void deliver(struct sample_world *w, const char *sink, uint64_t index)
{
	const struct topology *t = node_topology(sample_cloud(w));
	struct entry_place p = {.sink = bytes_of(sink, strlen(sink)), .stream = bytes_of("speed", 5),
	    .version = t->streams[topology_stream(t, "speed")].version, .index = index, .n = 1};
	for (uint32_t shard = 0; shard < t->shards; shard++)
		node_sinks(sample_cloud(w), shard, &p, 1);
	topology_free(t);
}

/* Alerts are judged, as the alerts' thread does it. */
static void judge(struct sample_world *w)
{
	const struct topology *t = node_topology(sample_cloud(w));
	for (uint32_t shard = 0; shard < t->shards; shard++) {
		struct kv_txn *txn;
		struct alert_found f = {0};
		must(kv_begin(sample_state(w), false, &txn), "begin");
		must(alert_judge(t, txn, shard, &(struct alert_turn){.work_max = ALERT_WORK_MAX}, &f), "alerts");
		kv_abort(txn);
		if (f.entry.alert.count)
			sample_tell(w, shard, &f.entry);
		alert_found_clear(&f);
	}
	topology_free(t);
}

/* What happens beside the readings. Edge b is never heard, and c2 neither: it is dead after 30 s. `speed` is cut over at 120 and at
 * 180; what the last change begins is waited for in vain, for edge a is cut off by then. */
static void happen(struct sample_world *w, int second)
{
	switch (second) {
	case 56:
		readmit(w, "b");
		break;
	case 62:
	case 68:
		revoke(w, "b", true);
		break;
	case 65:
		revoke(w, "b", false);
		break;
	case 80:
		change(w, 0);
		break;
	case 152:
		change(w, 1);
		break;
	case 182:
	case 227:
		deliver(w, "out", (uint64_t)second / 10);
		deliver(w, "away", 1);
		break;
	case 212:
		change(w, 2);
		break;
	default:
		break;
	}
}

static void live(struct sample_world *w, int from, int to)
{
	for (int i = from; i < to; i += 3) {
		sample_feed(w, i);
		sample_pass(w, 3 * SECOND);
		happen(w, i);
		judge(w);
	}
}

void sample_make(struct sample *ret)
{
	*ret = (struct sample){.topology = sample_topology()};
	ret->log = sim_disk_new(LOG_DBS(ret->topology->shards), SAMPLE_DISK_BYTES);
	ret->state = sim_disk_new(STATE_DBS(ret->topology->shards), SAMPLE_DISK_BYTES);
	ret->spool = sim_disk_new(SPOOL_DBS, SAMPLE_DISK_BYTES);
	struct sample_world *w = sample_open(ret);
	if (!w)
		must(WEIR_EINVAL, "start");
	sample_pass(w, 5 * SECOND);
	live(w, 5, 200);
	sample_cut(w);
	live(w, 200, 240);
	sample_close(w);
}

void sample_copy(const struct sample *s, struct sample *ret)
{
	*ret = (struct sample){s->topology, sim_disk_copy(s->log), sim_disk_copy(s->state), sim_disk_copy(s->spool)};
}

void sample_clear(struct sample *s)
{
	sim_disk_free(s->log);
	sim_disk_free(s->state);
	sim_disk_free(s->spool);
	topology_free(s->topology);
	*s = (struct sample){0};
}

static void records_of(struct kv_txn *txn, unsigned db, void (*each)(void *arg, unsigned db, struct bytes key,
    struct bytes value), void *arg)
{
	struct kv_cursor *cursor;
	struct bytes key, value;
	must(kv_cursor_open(txn, db, &cursor), "cursor");
	int rc = kv_cursor_first(cursor, &key, &value);
	for (; !rc; rc = kv_cursor_next(cursor, &key, &value))
		each(arg, db, key, value);
	kv_cursor_close(cursor);
	must(rc == WEIR_ENOTFOUND ? 0 : rc, "records");
}

void sample_records(struct sim_disk *disk, unsigned dbs, void (*each)(void *arg, unsigned db, struct bytes key,
    struct bytes value), void *arg)
{
	struct kv *kv = sim_kv_open(disk, 1);
	struct kv_txn *txn;
	must(kv_begin(kv, false, &txn), "begin");
	for (unsigned db = 0; db < dbs; db++)
		records_of(txn, db, each, arg);
	kv_abort(txn);
	kv_close(kv);
}
