/* One of each message. Numbers are all different, and large enough to need their whole field. */
#include <string.h>

#include "common/batch.h"
#include "tests/golden/sample.h"

static const uint8_t id[CLUSTER_ID_BYTES] = {0xc1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t claim[CLAIM_BYTES] = {0xaa, 0xbb, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255};
#define TEXT(s) bytes_of(s, sizeof(s) - 1)

struct told {
	void (*each)(void *arg, const char *name, const struct msg *m);
	void *arg;
};

static void tell(const struct told *t, const char *name, struct msg m)
{
	m.req_id = UINT64_C(0x8000000000000001);
	m.from = "cloud-1";
	m.cluster_id = bytes_of(id, sizeof(id));
	t->each(t->arg, name, &m);
}

static void tell_hello(const struct told *t)
{
	struct msg first = {.type = MSG_HELLO, .from = "a"};
	first.hello.edge = "a", first.hello.cluster = "plant", first.hello.claim = bytes_of(claim, sizeof(claim));
	first.hello.empty = true, first.hello.software = "weir 0.1.0";
	first.hello.map_version = 0;
	t->each(t->arg, "hello_first", &first);
	struct msg m = first;
	m.hello.epoch = 7, m.hello.empty = false, m.hello.map_version = 12;
	tell(t, "hello", m);
	m.hello.fenced = true;
	tell(t, "hello_fenced", m);

	struct msg r = {.type = MSG_HELLO_REPLY};
	r.hello_reply.edge = "a", r.hello_reply.verdict = VERDICT_OK, r.hello_reply.epoch = 8;
	r.hello_reply.claim = bytes_of(claim, sizeof(claim)), r.hello_reply.credit_bytes = 4 << 20;
	r.hello_reply.cluster_id = bytes_of(id, sizeof(id));
	r.hello_reply.map_version = 13;
	tell(t, "hello_reply_ok", r);
	r.hello_reply.resume = r.hello_reply.readmitted = true;
	tell(t, "hello_reply_readmitted", r);
	r.hello_reply = (__typeof__(r.hello_reply)){.edge = "a", .verdict = VERDICT_FENCED, .epoch = 9, .reason = "epoch 9 is another's"};
	tell(t, "hello_reply_fenced", r);
}

static void tell_open(const struct told *t)
{
	struct msg m = {.type = MSG_OPEN};
	m.open.edge = "a", m.open.epoch = 8, m.open.shard = 1, m.open.low = 300, m.open.high = UINT64_C(1) << 40;
	tell(t, "open", m);
	m.open.resume = true;
	tell(t, "open_resume", m);
	struct msg r = {.type = MSG_OPEN_REPLY};
	r.open_reply.edge = "a", r.open_reply.shard = 1, r.open_reply.verdict = VERDICT_OK, r.open_reply.epoch = 8;
	r.open_reply.last = 299;
	tell(t, "open_reply_ok", r);
	r.open_reply.verdict = VERDICT_FENCED, r.open_reply.reason = "an old copy of the spool";
	tell(t, "open_reply_fenced", r);
	r.open_reply.verdict = VERDICT_UNAVAILABLE, r.open_reply.reason = "nobody leads shard 1";
	tell(t, "open_reply_unavailable", r);
}

static void tell_batch(const struct told *t)
{
	static const struct {
		const char *name;
		enum verdict verdict;
	} answers[] = {{"batch_reply_ok", VERDICT_OK}, {"batch_reply_duplicate", VERDICT_DUPLICATE},
	    {"batch_reply_fenced", VERDICT_FENCED}, {"batch_reply_out_of_sequence", VERDICT_OUT_OF_SEQUENCE},
	    {"batch_reply_busy", VERDICT_BUSY}, {"batch_reply_not_open", VERDICT_NOT_OPEN}, {"batch_reply_refused", VERDICT_REFUSED},
	    {"batch_reply_unavailable", VERDICT_UNAVAILABLE}};
	struct msg m = {.type = MSG_BATCH};
	m.batch.edge = "a", m.batch.epoch = 8, m.batch.shard = 1, m.batch.seq = 300, m.batch.body = TEXT("\x01\0\x01\xac\x02\0body");
	tell(t, "batch", m);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct msg r = {.type = MSG_BATCH_REPLY};
		r.batch_reply.edge = "a", r.batch_reply.shard = 1, r.batch_reply.seq = 300, r.batch_reply.verdict = answers[i].verdict;
		r.batch_reply.epoch = 8, r.batch_reply.last = 300, r.batch_reply.credit_bytes = 1 << 20;
		r.batch_reply.reason = i > 1 ? "because" : "";
		tell(t, answers[i].name, r);
	}
}

static void tell_report(const struct told *t)
{
	struct msg_count refused[] = {{"bad_field", 3}, {"too_far_ahead", 400}};
	struct msg_report_stream streams[] = {
	    {"speed", 0xfedcba98, PHASE_LIVE, SAMPLE_WALL_NS, WATERMARK_NONE, true, true, SAMPLE_WALL_NS - 5},
	    {"alone", 2, PHASE_IDLE, SAMPLE_WALL_NS + 1, SAMPLE_WALL_NS + 60, false, true, WATERMARK_NONE},
	    {"none", 3, PHASE_JOINING, WATERMARK_NONE, WATERMARK_NONE, false, false, 0},
	    {"full", 4, PHASE_BACKPRESSURED, -1, WATERMARK_NONE, true, false, 0}};
	struct msg m = {.type = MSG_REPORT};
	m.report.edge = "a", m.report.epoch = 8, m.report.sent_mono_ns = 123456789, m.report.wall_ns = SAMPLE_WALL_NS;
	m.report.spool_bytes = 1 << 30, m.report.accepted = UINT64_C(1) << 50, m.report.clock_suspect = true;
	m.report.refused_count = 2, m.report.refused = refused, m.report.stream_count = 4, m.report.streams = streams;
	m.report.incarnation = UINT64_C(0x123456789abcdef0), m.report.seq = 17, m.report.map_version = 12;
	tell(t, "report", m);
	struct msg r = {.type = MSG_REPORT_REPLY};
	r.report_reply.edge = "a", r.report_reply.verdict = VERDICT_OK, r.report_reply.sent_mono_ns = 123456789;
	r.report_reply.epoch = 8, r.report_reply.credit_bytes = 1 << 20;
	r.report_reply.map_version = 13;
	tell(t, "report_reply_ok", r);
	r.report_reply.verdict = VERDICT_FENCED, r.report_reply.epoch = 9, r.report_reply.reason = "epoch 9 was granted";
	tell(t, "report_reply_fenced", r);
}

static void tell_clouds(const struct told *t)
{
	struct msg_lead leads[] = {{0, 5, 12}, {2, UINT64_C(1) << 33, 0}};
	struct msg m = {.type = MSG_INFO};
	m.info.cluster = "plant", m.info.replica = UINT64_C(0xabcdef0123450000), m.info.has = TEXT("\x07\x80");
	m.info.map_version = 12, m.info.listed = UINT64_C(0x123456789abcdef0);
	m.info.lead_count = 2, m.info.leads = leads;
	tell(t, "info", m);
	m.type = MSG_INFO_REPLY, m.info_reply = m.info;
	tell(t, "info_reply", m);

	m = (struct msg){.type = MSG_ADVANCE};
	m.advance.shard = 1, m.advance.meta_index = 70000, m.advance.entry = TEXT("\x01\x03\0entry");
	tell(t, "advance", m);
	m = (struct msg){.type = MSG_ADVANCE_REPLY};
	m.advance_reply.shard = 1, m.advance_reply.verdict = VERDICT_OK, m.advance_reply.meta_index = 70000;
	tell(t, "advance_reply", m);
	m = (struct msg){.type = MSG_READMIT};
	m.readmit.edge = "a";
	tell(t, "readmit", m);
	m = (struct msg){.type = MSG_READMIT_REPLY};
	m.readmit_reply.edge = "a", m.readmit_reply.verdict = VERDICT_REFUSED, m.readmit_reply.reason = "no such edge";
	tell(t, "readmit_reply", m);
	m = (struct msg){.type = MSG_ERROR};
	m.error.verdict = VERDICT_REFUSED, m.error.reason = "a protocol version or message that this node does not know";
	tell(t, "error", m);
}

static void tell_reads(const struct told *t)
{
	struct msg m = {.type = MSG_QUERY};
	m.query.shard = 1, m.query.linearizable = true, m.query.spec = TEXT("spec");
	m.query.map_version = 5;
	tell(t, "query", m);
	m = (struct msg){.type = MSG_QUERY_REPLY};
	m.query_reply.shard = 1, m.query_reply.verdict = VERDICT_OK, m.query_reply.rows = TEXT("rows\0\xff"), m.query_reply.more = true;
	m.query_reply.behind_entries = 12, m.query_reply.age_ns = AGE_UNKNOWN, m.query_reply.kept_ns = 1800000000000000000;
	tell(t, "query_reply", m);
	m = (struct msg){.type = MSG_OUTBOX};
	m.outbox.shard = 1, m.outbox.stream = "speed", m.outbox.index = UINT64_MAX, m.outbox.n = 9, m.outbox.limit = 1000;
	tell(t, "outbox", m);
	m = (struct msg){.type = MSG_OUTBOX_REPLY};
	m.outbox_reply.shard = 1, m.outbox_reply.verdict = VERDICT_OK, m.outbox_reply.index = 700, m.outbox_reply.n = 3;
	m.outbox_reply.reset = true, m.outbox_reply.rows = TEXT("rows");
	tell(t, "outbox_reply", m);
}

static void tell_status(const struct told *t)
{
	struct msg_replica_status others[] = {{"cloud-2", 22, 99, REPLICA_FOLLOWER, true},
	    {"cloud-3", UINT64_C(0xffff000000000002), 0, REPLICA_LEARNER, false}};
	struct msg_group_status groups[] = {
	    {0, REPLICA_LEADER, 6, 100, 100, 1, 2, 100, "cloud-1", 11, "cloud-1", true, 2, others},
	    {2, REPLICA_FORMING, 0, 0, 0, 0, 0, 0, "cloud-1", 11, "", false, 0, NULL}};
	struct msg m = {.type = MSG_STATUS};
	m.status.what = "groups";
	tell(t, "status", m);
	m = (struct msg){.type = MSG_STATUS_REPLY};
	m.status_reply.verdict = VERDICT_OK, m.status_reply.group_count = 2, m.status_reply.groups = groups;
	tell(t, "status_reply_groups", m);
	m.status_reply.group_count = 0, m.status_reply.groups = NULL, m.status_reply.json = TEXT("{\"edges\": []}");
	tell(t, "status_reply_json", m);
}

static void tell_raft(const struct told *t)
{
	struct msg_raft_entry entries[] = {{6, 1, TEXT("\x01\x04\0")}, {7, 2, {NULL, 0}}};
	struct msg_raft messages[] = {
	    {.group = 0, .kind = 3, .term = 7, .index = 99, .log_term = 6, .commit = 98, .round = 4, .entry_count = 2, .entries = entries},
	    {.group = 2, .kind = 4, .term = 7, .index = 50, .hint_index = 40, .hint_term = 5, .reject = true, .force = true}};
	struct msg m = {.type = MSG_RAFT};
	m.raft.from = UINT64_C(0xabcdef0123450000), m.raft.to = UINT64_C(0x1234567890ab0001);
	m.raft.message_count = 2, m.raft.messages = messages;
	tell(t, "raft", m);
	m = (struct msg){.type = MSG_SNAPSHOT};
	m.snapshot.group = 2, m.snapshot.id = UINT64_MAX, m.snapshot.chunk = 3;
	tell(t, "snapshot", m);
	m = (struct msg){.type = MSG_SNAPSHOT_REPLY};
	m.snapshot_reply.group = 2, m.snapshot_reply.verdict = VERDICT_OK, m.snapshot_reply.id = UINT64_MAX, m.snapshot_reply.chunk = 3;
	m.snapshot_reply.index = 1000, m.snapshot_reply.term = 7, m.snapshot_reply.config = TEXT("\x01\x01\x02");
	m.snapshot_reply.digest_hi = 1, m.snapshot_reply.digest_lo = UINT64_MAX, m.snapshot_reply.meta_index = 70000;
	m.snapshot_reply.skipped = 1, m.snapshot_reply.total_bytes = 1 << 20, m.snapshot_reply.checksum = 5;
	m.snapshot_reply.records = TEXT("\x04kk\x01v"), m.snapshot_reply.last = true;
	tell(t, "snapshot_reply_ok", m);
	m.snapshot_reply = (__typeof__(m.snapshot_reply)){.group = 2, .verdict = VERDICT_REFUSED, .id = 4, .reason = "no such snapshot"};
	tell(t, "snapshot_reply_refused", m);
}

static void tell_map(const struct told *t)
{
	struct msg m = {.type = MSG_MAP};
	m.map.version = 12;
	tell(t, "map", m);
	m = (struct msg){.type = MSG_MAP_REPLY};
	m.map_reply.verdict = VERDICT_OK, m.map_reply.version = 13, m.map_reply.map = TEXT("a map");
	tell(t, "map_reply", m);
	m = (struct msg){.type = MSG_TOPOLOGY};
	m.topology.base_version = 13, m.topology.text = TEXT("zipped"), m.topology.text_bytes = 700, m.topology.dry_run = true;
	tell(t, "topology", m);
	m = (struct msg){.type = MSG_TOPOLOGY_REPLY};
	m.topology_reply.verdict = VERDICT_REFUSED, m.topology_reply.version = 13;
	m.topology_reply.json = TEXT("{\"errors\": [\"shards\"]}"), m.topology_reply.reason = "shards cannot change";
	tell(t, "topology_reply", m);
	m = (struct msg){.type = MSG_REVOKE};
	m.revoke.edge = "a", m.revoke.revoked = true;
	tell(t, "revoke", m);
	m = (struct msg){.type = MSG_REVOKE_REPLY};
	m.revoke_reply.verdict = VERDICT_REFUSED, m.revoke_reply.version = 14, m.revoke_reply.reason = "no such edge";
	tell(t, "revoke_reply", m);
}

void sample_messages(void (*each)(void *arg, const char *name, const struct msg *m), void *arg)
{
	const struct told t = {each, arg};
	tell_hello(&t);
	tell_open(&t);
	tell_batch(&t);
	tell_report(&t);
	tell_clouds(&t);
	tell_reads(&t);
	tell_status(&t);
	tell_raft(&t);
	tell_map(&t);
}
