#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec.h"
#include "common/err.h"
#include "common/model.h"

static const uint8_t id17[17] = "0123456789abcdefg";
#define ID ((struct bytes){id17, 16})
#define BLOB ((struct bytes){(const uint8_t *)"\0blob\xff", 6})

static struct msg_count refused[2] = {{"bad_line", 3}, {"too_far_ahead", UINT64_MAX}};
static struct msg_report_stream streams[2] = {
    {"speed", 0xfffffffe, PHASE_LIVE, 123456789, WATERMARK_NONE, true, true, -77},
    {"temp", 1, PHASE_BACKPRESSURED, WATERMARK_NONE, -1, false, true, WATERMARK_NONE},
};
static struct msg_replica_status replicas[2] = {
    {"cloud-2", UINT64_MAX, 7, REPLICA_FOLLOWER, true},
    {"cloud-3", 3, 0, REPLICA_LEARNER, false},
};
static struct msg_group_status groups[2] = {
    {0, REPLICA_LEADER, 1, 2, 3, UINT64_MAX, 5, 6, "cloud-1", 0x123456789abcdef0, "cloud-1", true, 2,
	replicas},
    {SHARDS_MAX, REPLICA_FORMING, 9, 8, 7, 0, 0, 0, "", 0, "", false, 0, NULL},
};
static struct msg_lead leads[2] = {{0, UINT64_MAX, 6}, {SHARDS_MAX, 1, UINT64_MAX}};
static struct msg_digest digests[2] = {{0, UINT64_MAX, 6}, {SHARDS_MAX, 1000, UINT64_MAX}};
static struct msg_raft_entry entries[3] = {
    {7, 1, {(const uint8_t *)"", 0}},
    {8, 2, {(const uint8_t *)"\0blob\xff", 6}},
    {UINT64_MAX, UINT32_MAX, {(const uint8_t *)"z", 1}},
};
static struct msg_raft rafts[3] = {
    {1, 3, 9, 100, 8, 99, 98, 97, 96, true, false, 2, entries},
    {SHARDS_MAX, UINT32_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
	UINT64_MAX, false, true, 0, NULL},
    {0, 0, 1, 0, 0, 0, 0, 0, 0, false, false, 1, entries + 2},
};

/* One message of each type with every field set. */
static struct msg sample(enum msg_type type)
{
	struct msg m = {.type = type, .req_id = 77, .from = "edge-1", .cluster_id = ID};
	switch (type) {
	case MSG_NONE:
		break;
	case MSG_HELLO:
		m.hello.edge = "edge-1";
		m.hello.cluster = "plant";
		m.hello.epoch = 4;
		m.hello.claim = ID;
		m.hello.empty = true;
		m.hello.software = "weir 0.1 (test)";
		m.hello.map_version = 3;
		m.hello.fenced = true;
		break;
	case MSG_HELLO_REPLY:
		m.hello_reply.edge = "edge-1";
		m.hello_reply.verdict = VERDICT_UNAVAILABLE;
		m.hello_reply.epoch = 5;
		m.hello_reply.claim = ID;
		m.hello_reply.resume = true;
		m.hello_reply.readmitted = true;
		m.hello_reply.credit_bytes = 1 << 20;
		m.hello_reply.cluster_id = ID;
		m.hello_reply.reason = "because";
		m.hello_reply.map_version = 4;
		break;
	case MSG_OPEN:
		m.open.edge = "edge-1";
		m.open.epoch = 5;
		m.open.shard = SHARDS_MAX - 1;
		m.open.low = 1;
		m.open.high = UINT64_MAX;
		m.open.resume = true;
		break;
	case MSG_OPEN_REPLY:
		m.open_reply.edge = "edge-1";
		m.open_reply.shard = 3;
		m.open_reply.verdict = VERDICT_FENCED;
		m.open_reply.epoch = 5;
		m.open_reply.last = 99;
		m.open_reply.reason = "old copy";
		break;
	case MSG_BATCH:
		m.batch.edge = "edge-1";
		m.batch.epoch = 5;
		m.batch.shard = 3;
		m.batch.seq = 100;
		m.batch.body = BLOB;
		break;
	case MSG_BATCH_REPLY:
		m.batch_reply.edge = "edge-1";
		m.batch_reply.shard = 3;
		m.batch_reply.seq = 100;
		m.batch_reply.verdict = VERDICT_DUPLICATE;
		m.batch_reply.epoch = 5;
		m.batch_reply.last = 100;
		m.batch_reply.credit_bytes = 4096;
		m.batch_reply.reason = "again";
		break;
	case MSG_REPORT:
		m.report.edge = "edge-1";
		m.report.epoch = 5;
		m.report.sent_mono_ns = -1;
		m.report.wall_ns = INT64_MAX;
		m.report.spool_bytes = 10;
		m.report.accepted = 11;
		m.report.clock_suspect = true;
		m.report.refused_count = 2;
		m.report.refused = refused;
		m.report.stream_count = 2;
		m.report.streams = streams;
		m.report.incarnation = 0xdeadbeefcafef00d;
		m.report.seq = 12;
		m.report.map_version = 5;
		break;
	case MSG_REPORT_REPLY:
		m.report_reply.edge = "edge-1";
		m.report_reply.verdict = VERDICT_OK;
		m.report_reply.sent_mono_ns = -1;
		m.report_reply.epoch = 5;
		m.report_reply.credit_bytes = 7;
		m.report_reply.reason = "fine";
		break;
	case MSG_ADVANCE:
		m.advance.shard = 1;
		m.advance.meta_index = 2;
		m.advance.entry = BLOB;
		break;
	case MSG_ADVANCE_REPLY:
		m.advance_reply.shard = 1;
		m.advance_reply.verdict = VERDICT_BUSY;
		m.advance_reply.meta_index = 2;
		break;
	case MSG_READMIT:
		m.readmit.edge = "edge-1";
		break;
	case MSG_READMIT_REPLY:
		m.readmit_reply.edge = "edge-1";
		m.readmit_reply.verdict = VERDICT_REFUSED;
		m.readmit_reply.reason = "no such edge";
		break;
	case MSG_INFO:
	case MSG_INFO_REPLY:
		*(type == MSG_INFO ? &m.info : &m.info_reply) =
		    (struct msg_info){"plant", 0xfedcba9876543210, BLOB, 2, leads, 9, 2, digests, true, 0x123456789abcdef0};
		break;
	case MSG_RAFT:
		m.raft.from = 0xfedcba9876543210;
		m.raft.to = 2;
		m.raft.message_count = 3;
		m.raft.messages = rafts;
		break;
	case MSG_SNAPSHOT:
		m.snapshot.group = SHARDS_MAX;
		m.snapshot.id = UINT64_MAX;
		m.snapshot.chunk = 3;
		break;
	case MSG_SNAPSHOT_REPLY:
		m.snapshot_reply.group = SHARDS_MAX;
		m.snapshot_reply.verdict = VERDICT_BUSY;
		m.snapshot_reply.id = 1;
		m.snapshot_reply.chunk = 2;
		m.snapshot_reply.index = 3;
		m.snapshot_reply.term = 4;
		m.snapshot_reply.config = ID;
		m.snapshot_reply.digest_hi = UINT64_MAX;
		m.snapshot_reply.digest_lo = 5;
		m.snapshot_reply.meta_index = 6;
		m.snapshot_reply.skipped = 7;
		m.snapshot_reply.total_bytes = 8;
		m.snapshot_reply.checksum = UINT64_MAX - 1;
		m.snapshot_reply.records = BLOB;
		m.snapshot_reply.last = true;
		m.snapshot_reply.reason = "r";
		break;
	case MSG_QUERY:
		m.query.shard = 2;
		m.query.linearizable = true;
		m.query.spec = BLOB;
		m.query.map_version = 77;
		break;
	case MSG_QUERY_REPLY:
		m.query_reply.shard = 2;
		m.query_reply.verdict = VERDICT_OUT_OF_SEQUENCE;
		m.query_reply.rows = BLOB;
		m.query_reply.more = true;
		m.query_reply.reason = "r";
		m.query_reply.behind_entries = 7;
		m.query_reply.age_ns = 8;
		m.query_reply.kept_ns = -9;
		break;
	case MSG_OUTBOX:
		m.outbox.shard = 2;
		m.outbox.stream = "speed";
		m.outbox.index = UINT64_MAX;
		m.outbox.n = 4;
		m.outbox.limit = 5;
		break;
	case MSG_OUTBOX_REPLY:
		m.outbox_reply.shard = 2;
		m.outbox_reply.verdict = VERDICT_NOT_OPEN;
		m.outbox_reply.index = 8;
		m.outbox_reply.n = 9;
		m.outbox_reply.reset = true;
		m.outbox_reply.rows = BLOB;
		m.outbox_reply.reason = "r";
		break;
	case MSG_STATUS:
		m.status.what = "groups";
		break;
	case MSG_STATUS_REPLY:
		m.status_reply.verdict = VERDICT_OK;
		m.status_reply.group_count = 2;
		m.status_reply.groups = groups;
		m.status_reply.json = BLOB;
		m.status_reply.reason = "r";
		break;
	case MSG_MAP:
		m.map.version = 1ull << 40;
		break;
	case MSG_MAP_REPLY:
		m.map_reply.verdict = VERDICT_OK;
		m.map_reply.version = 1ull << 41;
		m.map_reply.map = BLOB;
		m.map_reply.reason = "r";
		break;
	case MSG_TOPOLOGY:
		m.topology.base_version = 7;
		m.topology.text = BLOB;
		m.topology.text_bytes = 1000;
		m.topology.dry_run = true;
		break;
	case MSG_TOPOLOGY_REPLY:
		m.topology_reply.verdict = VERDICT_REFUSED;
		m.topology_reply.version = 8;
		m.topology_reply.json = BLOB;
		m.topology_reply.reason = "r";
		break;
	case MSG_REVOKE:
		m.revoke.edge = "edge-1";
		m.revoke.revoked = true;
		break;
	case MSG_REVOKE_REPLY:
		m.revoke_reply.verdict = VERDICT_REFUSED;
		m.revoke_reply.version = 9;
		m.revoke_reply.reason = "r";
		break;
	case MSG_ERROR:
		m.error.verdict = VERDICT_REFUSED;
		m.error.reason = "caf\xc3\xa9";
		break;
	}
	return m;
}

static bool same(struct bytes a, struct bytes b)
{
	return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

static void check_group(const struct msg_group_status *g, const struct msg_group_status *h)
{
	ck_assert(g->group == h->group && g->role == h->role && g->term == h->term);
	ck_assert(g->committed == h->committed && g->applied == h->applied);
	ck_assert(g->digest_hi == h->digest_hi && g->digest_lo == h->digest_lo);
	ck_assert(g->digest_index == h->digest_index && g->replica == h->replica && g->quorum == h->quorum);
	ck_assert_str_eq(g->node, h->node);
	ck_assert_str_eq(g->leader, h->leader);
	ck_assert_uint_eq(g->replica_count, h->replica_count);
	for (size_t i = 0; i < g->replica_count; i++) {
		const struct msg_replica_status *r = &g->replicas[i], *s = &h->replicas[i];
		ck_assert_str_eq(r->node, s->node);
		ck_assert(r->replica == s->replica && r->match == s->match);
		ck_assert(r->role == s->role && r->active == s->active);
	}
}

static void check_info(const struct msg_info *a, const struct msg_info *b)
{
	ck_assert_str_eq(a->cluster, b->cluster);
	ck_assert(a->replica == b->replica && same(a->has, b->has) && a->lead_count == b->lead_count);
	ck_assert_uint_eq(a->map_version, b->map_version);
	ck_assert(a->full == b->full && a->listed == b->listed);
	for (size_t i = 0; i < a->lead_count; i++)
		ck_assert(a->leads[i].group == b->leads[i].group && a->leads[i].term == b->leads[i].term &&
		    a->leads[i].settled == b->leads[i].settled);
	ck_assert_uint_eq(a->digest_count, b->digest_count);
	for (size_t i = 0; i < a->digest_count; i++)
		ck_assert(a->digests[i].group == b->digests[i].group && a->digests[i].index == b->digests[i].index &&
		    a->digests[i].value == b->digests[i].value);
}

static void check_raft(const struct msg_raft *r, const struct msg_raft *s)
{
	ck_assert(r->group == s->group && r->kind == s->kind && r->term == s->term && r->index == s->index);
	ck_assert(r->log_term == s->log_term && r->commit == s->commit && r->hint_index == s->hint_index);
	ck_assert(r->hint_term == s->hint_term && r->round == s->round);
	ck_assert(r->reject == s->reject && r->force == s->force);
	ck_assert_uint_eq(r->entry_count, s->entry_count);
	for (size_t i = 0; i < r->entry_count; i++) {
		ck_assert(r->entries[i].term == s->entries[i].term && r->entries[i].kind == s->entries[i].kind);
		ck_assert(same(r->entries[i].data, s->entries[i].data));
	}
}

static void check_lists(const struct msg *a, const struct msg *b)
{
	for (size_t i = 0; a->type == MSG_REPORT && i < 2; i++) {
		ck_assert_str_eq(a->report.refused[i].name, b->report.refused[i].name);
		ck_assert(a->report.refused[i].value == b->report.refused[i].value);
		const struct msg_report_stream *s = &a->report.streams[i], *t = &b->report.streams[i];
		ck_assert_str_eq(s->name, t->name);
		ck_assert(s->version == t->version && s->phase == t->phase && s->watermark_ns == t->watermark_ns);
		ck_assert(s->flushed_end_ns == t->flushed_end_ns && s->unsent == t->unsent);
		ck_assert(s->since_known == t->since_known && s->since_ns == t->since_ns);
	}
	for (size_t i = 0; a->type == MSG_STATUS_REPLY && i < 2; i++)
		check_group(&a->status_reply.groups[i], &b->status_reply.groups[i]);
	for (size_t i = 0; a->type == MSG_RAFT && i < 3; i++)
		check_raft(&a->raft.messages[i], &b->raft.messages[i]);
}

static void equal(bool ok, const char *field)
{
	ck_assert_msg(ok, "%s differs", field);
}

#define STR(f) equal(!strcmp(a->f, b->f), #f)
#define NUM(f) equal(a->f == b->f, #f)
#define BYT(f) equal(same(a->f, b->f), #f)

static void check_equal(const struct msg *a, const struct msg *b)
{
	NUM(type), NUM(req_id), STR(from), BYT(cluster_id);
	switch (a->type) {
	case MSG_NONE:
		break;
	case MSG_HELLO:
		STR(hello.edge), STR(hello.cluster), NUM(hello.epoch), BYT(hello.claim), NUM(hello.empty);
		STR(hello.software), NUM(hello.map_version), NUM(hello.fenced);
		break;
	case MSG_HELLO_REPLY:
		STR(hello_reply.edge), NUM(hello_reply.verdict), NUM(hello_reply.epoch), BYT(hello_reply.claim);
		NUM(hello_reply.resume), NUM(hello_reply.readmitted), NUM(hello_reply.credit_bytes);
		BYT(hello_reply.cluster_id), STR(hello_reply.reason);
		break;
	case MSG_OPEN:
		STR(open.edge), NUM(open.epoch), NUM(open.shard), NUM(open.low), NUM(open.high), NUM(open.resume);
		break;
	case MSG_OPEN_REPLY:
		STR(open_reply.edge), NUM(open_reply.shard), NUM(open_reply.verdict), NUM(open_reply.epoch);
		NUM(open_reply.last), STR(open_reply.reason);
		break;
	case MSG_BATCH:
		STR(batch.edge), NUM(batch.epoch), NUM(batch.shard), NUM(batch.seq), BYT(batch.body);
		break;
	case MSG_BATCH_REPLY:
		STR(batch_reply.edge), NUM(batch_reply.shard), NUM(batch_reply.seq), NUM(batch_reply.verdict);
		NUM(batch_reply.epoch), NUM(batch_reply.last), NUM(batch_reply.credit_bytes);
		STR(batch_reply.reason);
		break;
	case MSG_REPORT:
		STR(report.edge), NUM(report.epoch), NUM(report.sent_mono_ns), NUM(report.wall_ns);
		NUM(report.spool_bytes), NUM(report.accepted), NUM(report.clock_suspect);
		NUM(report.refused_count), NUM(report.stream_count), NUM(report.incarnation), NUM(report.seq);
		NUM(report.map_version);
		break;
	case MSG_REPORT_REPLY:
		STR(report_reply.edge), NUM(report_reply.verdict), NUM(report_reply.sent_mono_ns);
		NUM(report_reply.epoch), NUM(report_reply.credit_bytes), STR(report_reply.reason);
		break;
	case MSG_ADVANCE:
		NUM(advance.shard), NUM(advance.meta_index), BYT(advance.entry);
		break;
	case MSG_ADVANCE_REPLY:
		NUM(advance_reply.shard), NUM(advance_reply.verdict), NUM(advance_reply.meta_index);
		break;
	case MSG_READMIT:
		STR(readmit.edge);
		break;
	case MSG_READMIT_REPLY:
		STR(readmit_reply.edge), NUM(readmit_reply.verdict), STR(readmit_reply.reason);
		break;
	case MSG_INFO:
		check_info(&a->info, &b->info);
		break;
	case MSG_INFO_REPLY:
		check_info(&a->info_reply, &b->info_reply);
		break;
	case MSG_RAFT:
		NUM(raft.from), NUM(raft.to), NUM(raft.message_count);
		break;
	case MSG_SNAPSHOT:
		NUM(snapshot.group), NUM(snapshot.id), NUM(snapshot.chunk);
		break;
	case MSG_SNAPSHOT_REPLY:
		NUM(snapshot_reply.group), NUM(snapshot_reply.verdict), NUM(snapshot_reply.id), NUM(snapshot_reply.chunk);
		NUM(snapshot_reply.index), NUM(snapshot_reply.term), BYT(snapshot_reply.config);
		NUM(snapshot_reply.digest_hi), NUM(snapshot_reply.digest_lo), NUM(snapshot_reply.meta_index);
		NUM(snapshot_reply.skipped), NUM(snapshot_reply.total_bytes), NUM(snapshot_reply.checksum);
		BYT(snapshot_reply.records), NUM(snapshot_reply.last), STR(snapshot_reply.reason);
		break;
	case MSG_QUERY:
		NUM(query.shard), NUM(query.linearizable), BYT(query.spec), NUM(query.map_version);
		break;
	case MSG_QUERY_REPLY:
		NUM(query_reply.shard), NUM(query_reply.verdict), BYT(query_reply.rows), NUM(query_reply.more);
		STR(query_reply.reason), NUM(query_reply.behind_entries), NUM(query_reply.age_ns), NUM(query_reply.kept_ns);
		break;
	case MSG_OUTBOX:
		NUM(outbox.shard), STR(outbox.stream), NUM(outbox.index), NUM(outbox.n), NUM(outbox.limit);
		break;
	case MSG_OUTBOX_REPLY:
		NUM(outbox_reply.shard), NUM(outbox_reply.verdict), NUM(outbox_reply.index), NUM(outbox_reply.n);
		NUM(outbox_reply.reset), BYT(outbox_reply.rows), STR(outbox_reply.reason);
		break;
	case MSG_STATUS:
		STR(status.what);
		break;
	case MSG_STATUS_REPLY:
		NUM(status_reply.verdict), NUM(status_reply.group_count), BYT(status_reply.json);
		STR(status_reply.reason);
		break;
	case MSG_MAP:
		NUM(map.version);
		break;
	case MSG_MAP_REPLY:
		NUM(map_reply.verdict), NUM(map_reply.version), BYT(map_reply.map), STR(map_reply.reason);
		break;
	case MSG_TOPOLOGY:
		NUM(topology.base_version), BYT(topology.text), NUM(topology.text_bytes), NUM(topology.dry_run);
		break;
	case MSG_TOPOLOGY_REPLY:
		NUM(topology_reply.verdict), NUM(topology_reply.version), BYT(topology_reply.json);
		STR(topology_reply.reason);
		break;
	case MSG_REVOKE:
		STR(revoke.edge), NUM(revoke.revoked);
		break;
	case MSG_REVOKE_REPLY:
		NUM(revoke_reply.verdict), NUM(revoke_reply.version), STR(revoke_reply.reason);
		break;
	case MSG_ERROR:
		NUM(error.verdict), STR(error.reason);
		break;
	}
	check_lists(a, b);
}

START_TEST(every_message_round_trips)
{
	for (int type = MSG_HELLO; type <= MSG_ERROR; type++) {
		struct msg m = sample((enum msg_type)type), back;
		struct buf b = {0}, again = {0};
		ck_assert_int_eq(msg_encode(&m, &b), 0);
		ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
		ck_assert_uint_eq(back.protocol, PROTOCOL_VERSION);
		check_equal(&m, &back);
		ck_assert_int_eq(msg_encode(&back, &again), 0);
		ck_assert(b.len == again.len && !memcmp(b.data, again.data, b.len));
		msg_clear(&back);
		buf_free(&b);
		buf_free(&again);
	}
}
END_TEST

START_TEST(empty_messages_have_empty_strings)
{
	for (int type = MSG_HELLO; type <= MSG_ERROR; type++) {
		struct msg m = {.type = (enum msg_type)type}, back;
		if (type == MSG_HELLO)
			m.hello.claim = ID;
		struct buf b = {0}, again = {0};
		ck_assert_int_eq(msg_encode(&m, &b), 0);
		ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
		ck_assert_str_eq(back.from, "");
		ck_assert_int_eq(msg_encode(&back, &again), 0);
		ck_assert(b.len == again.len && !memcmp(b.data, again.data, b.len));
		if (type == MSG_STATUS)
			ck_assert_str_eq(back.status.what, "");
		msg_clear(&back);
		msg_clear(&back);
		buf_free(&b);
		buf_free(&again);
	}
}
END_TEST

START_TEST(a_cut_frame_never_decodes)
{
	for (int type = MSG_HELLO; type <= MSG_ERROR; type++) {
		struct msg m = sample((enum msg_type)type), back;
		struct buf b = {0};
		ck_assert_int_eq(msg_encode(&m, &b), 0);
		for (size_t n = 0; n < b.len; n++) {
			uint8_t *cut = malloc(n ? n : 1); /* exact size: sanitizers see a read past it */
			memcpy(cut, b.data, n);
			ck_assert_int_lt(msg_decode(cut, n, &back), 0);
			ck_assert(back.type == MSG_NONE && !back.decoded);
			free(cut);
		}
		buf_free(&b);
	}
}
END_TEST

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

START_TEST(damage_and_garbage_never_crash)
{
	uint8_t copy[4096];
	struct msg back;
	for (int round = 0; round < 20000; round++) {
		size_t n;
		if (round % 4 == 3) {
			n = rnd() % 300;
			for (size_t i = 0; i < n; i++)
				copy[i] = (uint8_t)rnd();
		} else {
			struct msg m = sample((enum msg_type)(MSG_HELLO + (int)(rnd() % MSG_ERROR)));
			struct buf b = {0};
			ck_assert_int_eq(msg_encode(&m, &b), 0);
			n = b.len;
			memcpy(copy, b.data, n);
			for (uint64_t flips = 1 + rnd() % 8; flips; flips--)
				copy[rnd() % n] ^= (uint8_t)(1u << rnd() % 8);
			buf_free(&b);
		}
		if (!msg_decode(copy, n, &back)) {
			struct buf b = {0};
			ck_assert_int_eq(msg_encode(&back, &b), 0); /* what decodes is valid */
			buf_free(&b);
		}
		msg_clear(&back);
	}
}
END_TEST

static int decode_raw(struct buf *b)
{
	struct msg back;
	int err = msg_decode(b->data, b->len, &back);
	msg_clear(&back);
	buf_clear(b);
	return err;
}

/* protobuf: tag, then a varint or bytes */
static void put_field(struct buf *b, unsigned field, const void *p, size_t n)
{
	buf_varint(b, field << 3 | 2);
	buf_bytes(b, p, n);
}

static void put_number(struct buf *b, unsigned field, uint64_t v)
{
	buf_varint(b, field << 3);
	buf_varint(b, v);
}

START_TEST(versions_and_unknown_parts)
{
	struct buf b = {0};
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION); /* nothing at all */
	put_number(&b, 1, 1);
	put_field(&b, 99, "", 0); /* a body of the future */
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION);
	put_number(&b, 1, 1);
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), 0); /* info */
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION); /* no protocol */
	put_number(&b, 1, PROTOCOL_VERSION + 1);
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), 0); /* N talks to N - 1 */
	put_number(&b, 1, PROTOCOL_VERSION + 2);
	put_field(&b, 28, "", 0);
	ck_assert_int_eq(decode_raw(&b), WEIR_EVERSION);

	struct msg m; /* who asked what, for the answer */
	put_number(&b, 1, PROTOCOL_NEWEST);
	put_number(&b, 2, 7);
	put_field(&b, 99, "", 0);
	ck_assert_int_eq(msg_decode(b.data, b.len, &m), WEIR_EVERSION);
	ck_assert(m.type == MSG_NONE && !m.decoded && m.req_id == 7 && protocol_fits(m.protocol));
	buf_clear(&b);
	put_number(&b, 1, PROTOCOL_NEWEST + 1);
	ck_assert_int_eq(msg_decode(b.data, b.len, &m), WEIR_EVERSION);
	ck_assert(!protocol_fits(m.protocol) && !protocol_fits(0));
	buf_clear(&b);

	put_number(&b, 1, 1);
	put_number(&b, 15, 1234);                /* unknown fields, in the envelope ... */
	put_field(&b, 28, "\x0a\x01" "p\x78\x05", 5); /* ... and in the body */
	ck_assert_int_eq(msg_decode(b.data, b.len, &m), 0);
	ck_assert_int_eq(m.type, MSG_INFO);
	ck_assert_str_eq(m.info.cluster, "p");
	msg_clear(&m);
	buf_free(&b);
}
END_TEST

static int decode_body(unsigned field, const struct buf *body)
{
	struct buf b = {0};
	put_number(&b, 1, 1);
	put_field(&b, field, body->data, body->len);
	int err = decode_raw(&b);
	buf_free(&b);
	return err;
}

START_TEST(fields_are_checked)
{
	struct buf b = {0};
	put_field(&b, 1, "a\0b", 3);
	ck_assert_int_eq(decode_body(26, &b), WEIR_ECORRUPT); /* readmit: NUL in a name */
	buf_clear(&b);
	put_field(&b, 1, "a/b", 3);
	ck_assert_int_eq(decode_body(26, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	char name[NAME_MAX_BYTES + 1];
	memset(name, 'n', sizeof(name));
	put_field(&b, 1, name, NAME_MAX_BYTES);
	ck_assert_int_eq(decode_body(26, &b), 0);
	buf_clear(&b);
	put_field(&b, 1, name, NAME_MAX_BYTES + 1);
	ck_assert_int_eq(decode_body(26, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	put_field(&b, 4, id17, 15);
	ck_assert_int_eq(decode_body(16, &b), WEIR_ECORRUPT); /* hello: a short claim */
	buf_clear(&b);
	ck_assert_int_eq(decode_body(16, &b), WEIR_ECORRUPT); /* none */
	put_field(&b, 8, id17, 17);
	put_number(&b, 2, 1);
	ck_assert_int_eq(decode_body(17, &b), WEIR_ECORRUPT); /* hello reply: a long cluster id */
	buf_clear(&b);
	ck_assert_int_eq(decode_body(21, &b), WEIR_ECORRUPT); /* batch reply without a verdict is no "ok" */
	put_number(&b, 4, 9);
	ck_assert_int_eq(decode_body(21, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	put_number(&b, 4, 8);
	ck_assert_int_eq(decode_body(21, &b), 0);
	buf_clear(&b);
	put_number(&b, 3, SHARDS_MAX);
	ck_assert_int_eq(decode_body(20, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	put_field(&b, 9, "\x18\x04", 2); /* report: a phase that does not exist */
	ck_assert_int_eq(decode_body(22, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	for (int i = 0; i < REASON_COUNTS_MAX; i++)
		put_field(&b, 8, "", 0);
	ck_assert_int_eq(decode_body(22, &b), 0);
	put_field(&b, 8, "", 0);
	ck_assert_int_eq(decode_body(22, &b), WEIR_ETOOBIG);
	buf_free(&b);
}
END_TEST

/* A body whose message in `list` is `nested`. */
static int decode_nested(unsigned field, unsigned list, struct buf *nested)
{
	struct buf b = {0};
	put_field(&b, list, nested->data, nested->len);
	int err = decode_body(field, &b);
	buf_free(&b);
	buf_clear(nested);
	return err;
}

START_TEST(cluster_messages_are_checked)
{
	struct buf b = {0};
	put_field(&b, 1, "a/b", 3);
	ck_assert_int_eq(decode_body(28, &b), WEIR_ECORRUPT); /* info: a cluster's name */
	ck_assert_int_eq(decode_nested(29, 2, &b), WEIR_ECORRUPT); /* and in its reply */
	put_field(&b, 1, "ab", 2);
	ck_assert_int_eq(decode_nested(29, 2, &b), 0);
	ck_assert_int_eq(decode_body(29, &b), 0); /* one that says nothing */
	put_number(&b, 1, SHARDS_MAX + 1);
	ck_assert_int_eq(decode_nested(28, 4, &b), WEIR_ECORRUPT); /* a group that is none leads */
	put_number(&b, 1, SHARDS_MAX + 1);
	ck_assert_int_eq(decode_nested(37, 3, &b), WEIR_ECORRUPT); /* raft */
	put_number(&b, 1, SHARDS_MAX);
	ck_assert_int_eq(decode_nested(37, 3, &b), 0);
	put_number(&b, 1, SHARDS_MAX + 1);
	ck_assert_int_eq(decode_body(38, &b), WEIR_ECORRUPT); /* snapshot */
	buf_clear(&b);
	ck_assert_int_eq(decode_body(39, &b), WEIR_ECORRUPT); /* its reply: no verdict */
	put_number(&b, 2, 1);
	ck_assert_int_eq(decode_body(39, &b), 0);
	put_number(&b, 1, SHARDS_MAX + 1);
	ck_assert_int_eq(decode_body(39, &b), WEIR_ECORRUPT);
	buf_clear(&b);
	ck_assert_int_eq(decode_body(40, &b), WEIR_EVERSION); /* no such message */

	struct buf reply = {0};
	const struct {
		unsigned field, number;
		const char *name;
	} bad[] = {{1, SHARDS_MAX + 1, NULL}, {10, REPLICA_FORMING + 1, NULL}, {9, 0, "a b"}, {12, 0, "a b"}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		buf_clear(&b);
		buf_clear(&reply);
		put_number(&reply, 1, 1);
		if (bad[i].name)
			put_field(&b, bad[i].field, bad[i].name, strlen(bad[i].name));
		else
			put_number(&b, bad[i].field, bad[i].number);
		put_field(&reply, 2, b.data, b.len);
		ck_assert_int_eq(decode_body(35, &reply), WEIR_ECORRUPT);
	}
	static const char *const replica[] = {"\x20\x05", "\x0a\x01/"}; /* a role, a name */
	for (size_t i = 0; i < 2; i++) {
		buf_clear(&b);
		buf_clear(&reply);
		put_number(&reply, 1, 1);
		put_field(&b, 14, replica[i], strlen(replica[i]));
		put_field(&reply, 2, b.data, b.len);
		ck_assert_int_eq(decode_body(35, &reply), WEIR_ECORRUPT);
	}
	buf_free(&reply);
	buf_free(&b);
}
END_TEST

static int refused_both_ways(const struct msg *m, unsigned field, const struct buf *body)
{
	struct buf b = {0};
	int err = msg_encode(m, &b);
	ck_assert_uint_eq(b.len, 0);
	buf_free(&b);
	ck_assert_int_eq(decode_body(field, body), err);
	return err;
}

START_TEST(cluster_messages_have_limits)
{
	struct buf b = {0}, inner = {0};
	uint8_t *big = calloc(1, SNAPSHOT_CHUNK_MAX + 1);
	struct msg m = sample(MSG_SNAPSHOT_REPLY), back;
	m.snapshot_reply.records = (struct bytes){big, SNAPSHOT_CHUNK_MAX};
	m.snapshot_reply.config = (struct bytes){big, SNAPSHOT_CONFIG_MAX};
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
	check_equal(&m, &back);
	msg_clear(&back);
	buf_clear(&b);
	m.snapshot_reply.records.n++;
	put_number(&b, 2, 1);
	put_field(&b, 14, big, SNAPSHOT_CHUNK_MAX + 1);
	ck_assert_int_eq(refused_both_ways(&m, 39, &b), WEIR_ETOOBIG);
	m.snapshot_reply.records.n = 0;
	m.snapshot_reply.config.n++;
	buf_clear(&b);
	put_number(&b, 2, 1);
	put_field(&b, 7, big, SNAPSHOT_CONFIG_MAX + 1);
	ck_assert_int_eq(refused_both_ways(&m, 39, &b), WEIR_ETOOBIG);

	m = sample(MSG_INFO);
	m.info.has = (struct bytes){big, INFO_HAS_MAX + 1};
	buf_clear(&b);
	put_field(&b, 3, big, INFO_HAS_MAX + 1);
	ck_assert_int_eq(refused_both_ways(&m, 28, &b), WEIR_ETOOBIG);
	struct msg_lead *many = calloc(SHARDS_MAX + 2, sizeof(*many));
	m.info.has.n = 0;
	m.info.leads = many;
	m.info.lead_count = SHARDS_MAX + 2;
	buf_clear(&b);
	for (int i = 0; i < SHARDS_MAX + 2; i++)
		put_field(&b, 4, "", 0);
	ck_assert_int_eq(refused_both_ways(&m, 28, &b), WEIR_ETOOBIG);
	free(many);

	m = sample(MSG_STATUS_REPLY);
	struct msg_group_status g = {.replica_count = REPLICAS_PER_STATUS_MAX + 1, .replicas = replicas};
	m.status_reply.group_count = 1;
	m.status_reply.groups = &g;
	buf_clear(&b);
	for (int i = 0; i < REPLICAS_PER_STATUS_MAX + 1; i++)
		put_field(&inner, 14, "", 0);
	put_number(&b, 1, 1);
	put_field(&b, 2, inner.data, inner.len);
	ck_assert_int_eq(refused_both_ways(&m, 35, &b), WEIR_ETOOBIG);
	buf_free(&inner);
	free(big);
	buf_free(&b);
}
END_TEST

/* A frame as full of small entries as it may be decodes: the memory of one frame is enough for it. */
START_TEST(full_raft_frames)
{
	struct buf b = {0};
	struct msg m = sample(MSG_RAFT), back;
	struct msg_raft *messages = calloc(RAFT_MESSAGES_PER_FRAME_MAX + 1, sizeof(*messages));
	struct msg_raft_entry *list = calloc(RAFT_ENTRIES_PER_FRAME_MAX + 1, sizeof(*list));
	static const uint8_t data[17];
	for (size_t i = 0; i <= RAFT_ENTRIES_PER_FRAME_MAX; i++)
		list[i] = (struct msg_raft_entry){UINT64_MAX, 1, {data, 17}};
	size_t each = RAFT_ENTRIES_PER_FRAME_MAX / RAFT_MESSAGES_PER_FRAME_MAX;
	for (size_t i = 0; i <= RAFT_MESSAGES_PER_FRAME_MAX; i++)
		messages[i] = (struct msg_raft){.group = SHARDS_MAX, .kind = 3, .term = 9, .index = 1u << 20,
		    .commit = 1u << 20, .entry_count = each,
		    .entries = list + i % RAFT_MESSAGES_PER_FRAME_MAX * each};
	m.raft.messages = messages;
	m.raft.message_count = RAFT_MESSAGES_PER_FRAME_MAX;
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
	ck_assert_uint_eq(back.raft.message_count, RAFT_MESSAGES_PER_FRAME_MAX);
	for (size_t i = 0; i < RAFT_MESSAGES_PER_FRAME_MAX; i++)
		check_raft(&messages[i], &back.raft.messages[i]);
	msg_clear(&back);
	buf_clear(&b);
	messages[7].entry_count++;
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_ETOOBIG);
	messages[7].entry_count = SIZE_MAX; /* no sum that runs over */
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_ETOOBIG);
	m.raft.message_count++;
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_ETOOBIG);

	m.raft.message_count = 1;
	messages[0].entry_count = RAFT_ENTRIES_PER_FRAME_MAX;
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
	msg_clear(&back);
	struct buf body = {0}, inner = {0};
	for (int i = 0; i <= RAFT_ENTRIES_PER_FRAME_MAX; i++)
		put_field(&inner, 12, "", 0);
	put_field(&body, 3, inner.data, inner.len);
	ck_assert_int_eq(decode_body(37, &body), WEIR_ETOOBIG);
	buf_clear(&body);
	for (int i = 0; i <= RAFT_MESSAGES_PER_FRAME_MAX; i++)
		put_field(&body, 3, "", 0);
	ck_assert_int_eq(decode_body(37, &body), WEIR_ETOOBIG);
	buf_free(&inner);
	buf_free(&body);
	buf_free(&b);
	free(messages);
	free(list);
}
END_TEST

START_TEST(limits_hold_both_ways)
{
	struct buf b = {0};
	uint8_t *big = calloc(1, FRAME_MAX + 1);
	struct msg back, m = sample(MSG_BATCH);
	buf_str(&b, "before");
	size_t before = b.len;
	m.batch.body = (struct bytes){big, FRAME_MAX};
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_ETOOBIG);
	ck_assert_uint_eq(b.len, before);
	m.batch.body.n = FRAME_MAX - 100;
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_int_eq(msg_decode(b.data + before, b.len - before, &back), 0);
	ck_assert_uint_eq(back.batch.body.n, FRAME_MAX - 100);
	msg_clear(&back);
	ck_assert_int_eq(msg_decode(big, FRAME_MAX + 1, &back), WEIR_ETOOBIG);

	m = sample(MSG_ERROR); /* long texts are cut, at a character's start */
	memset(big, 'x', FRAME_MAX);
	memcpy(big + TEXT_MAX_BYTES - 1, "\xc3\xa9", 2);
	m.error.reason = (const char *)big;
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_int_eq(msg_decode(b.data, b.len, &back), 0);
	ck_assert_uint_eq(strlen(back.error.reason), TEXT_MAX_BYTES - 1);
	msg_clear(&back);
	m.from = (const char *)big; /* names are not */
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_EINVAL);
	m = sample(MSG_REPORT);
	m.report.refused_count = REASON_COUNTS_MAX + 1;
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_ETOOBIG);
	m = (struct msg){0};
	ck_assert_int_eq(msg_encode(&m, &b), WEIR_EINVAL);
	ck_assert_uint_eq(b.len, 0);

	/* 128 Ki tiny submessages: refused by the allocator's cap, not unpacked to megabytes */
	struct buf body = {0};
	while (body.len < FRAME_MAX - 64)
		put_field(&body, 8, "", 0);
	ck_assert_int_eq(decode_body(22, &body), WEIR_ETOOBIG);
	buf_clear(&body); /* unknown fields are ignored, but not without bound */
	for (int i = 0; i < 1000; i++)
		put_number(&body, 15, 0);
	ck_assert_int_eq(decode_body(28, &body), 0);
	for (int i = 0; i < 40000; i++) /* no single allocation is too large, all together are */
		put_number(&body, 15, 0);
	ck_assert_int_eq(decode_body(28, &body), WEIR_ETOOBIG);
	buf_free(&body);
	free(big);
	buf_free(&b);
}
END_TEST

START_TEST(the_bytes_are_these)
{
	struct msg m = sample(MSG_BATCH);
	struct buf b = {0};
	static const char golden[] = "\x08\x01\x10\x4d\x1a\x06" "edge-1" "\x22\x10" "0123456789abcdef"
	    "\xa2\x01\x16" "\x0a\x06" "edge-1" "\x10\x05\x18\x03\x20\x64" "\x2a\x06\x00" "blob\xff";
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert_uint_eq(b.len, sizeof(golden) - 1);
	ck_assert_int_eq(memcmp(b.data, golden, b.len), 0);
	m = sample(MSG_ADVANCE_REPLY); /* a verdict is one more on the wire: 0 is none */
	m.req_id = 0;
	m.from = NULL;
	m.cluster_id = (struct bytes){NULL, 0};
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	static const char reply[] = "\x08\x01" "\xca\x01\x06" "\x08\x01\x10\x05\x18\x02";
	ck_assert_uint_eq(b.len, sizeof(reply) - 1);
	ck_assert_int_eq(memcmp(b.data, reply, b.len), 0);

	m = (struct msg){.type = MSG_RAFT}; /* what came after the error has numbers above its */
	m.raft.from = 1;
	m.raft.to = 0x0102030405060708;
	m.raft.message_count = 1;
	m.raft.messages = &(struct msg_raft){.group = 2, .kind = 3, .term = 4, .index = 5, .log_term = 6, .commit = 7,
	    .hint_index = 8, .hint_term = 9, .round = 10, .reject = true, .force = true, .entry_count = 1,
	    .entries = &(struct msg_raft_entry){11, 1, {(const uint8_t *)"d", 1}}};
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	static const char raft[] = "\x08\x01" "\xaa\x02\x33" "\x09\x01\0\0\0\0\0\0\0"
	    "\x11\x08\x07\x06\x05\x04\x03\x02\x01"
	    "\x1a\x1f" "\x08\x02\x10\x03\x18\x04\x20\x05"
	    "\x28\x06\x30\x07\x38\x08\x40\x09\x48\x0a\x50\x01\x58\x01"
	    "\x62\x07" "\x08\x0b\x10\x01\x1a\x01" "d";
	ck_assert_uint_eq(b.len, sizeof(raft) - 1);
	ck_assert_int_eq(memcmp(b.data, raft, b.len), 0);
	m = sample(MSG_ERROR);
	buf_clear(&b);
	ck_assert_int_eq(msg_encode(&m, &b), 0);
	ck_assert(!memcmp(b.data + b.len - 12, "\xa2\x02\x09\x08\x07\x12\x05" "caf\xc3\xa9", 12));
	buf_free(&b);
}
END_TEST

START_TEST(verdicts_have_texts)
{
	ck_assert_str_eq(verdict_text(VERDICT_OK), "ok");
	ck_assert_str_eq(verdict_text(VERDICT_UNAVAILABLE), "unavailable");
	ck_assert_str_eq(verdict_text((enum verdict)99), "unknown");
	static const char *const roles[] = {"follower", "candidate", "leader", "learner", "forming", "unknown"};
	for (int i = 0; i < 6; i++)
		ck_assert_str_eq(replica_role_text((enum replica_role)i), roles[i]);
	ck_assert_str_eq(err_label(WEIR_ENOTLEADER), "not_leader");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/codec");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, every_message_round_trips);
	tcase_add_test(tc, empty_messages_have_empty_strings);
	tcase_add_test(tc, a_cut_frame_never_decodes);
	tcase_add_test(tc, damage_and_garbage_never_crash);
	tcase_add_test(tc, versions_and_unknown_parts);
	tcase_add_test(tc, fields_are_checked);
	tcase_add_test(tc, cluster_messages_are_checked);
	tcase_add_test(tc, cluster_messages_have_limits);
	tcase_add_test(tc, full_raft_frames);
	tcase_add_test(tc, limits_hold_both_ways);
	tcase_add_test(tc, the_bytes_are_these);
	tcase_add_test(tc, verdicts_have_texts);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
