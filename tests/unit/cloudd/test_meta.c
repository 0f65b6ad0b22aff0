/* The meta group's replicas as leadership moves between them: what a follower knows, what a new leader starts from, what the end of
 * leadership answers. Two replicas, each on a state environment of its own; the log is a list. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/meta.h"
#include "common/clock.h"
#include "common/clock_watch.h"
#include "common/err.h"
#include "common/map.h"
#include "tests/unit/cloudd/cloud_disk.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define SHARDS 4
#define LOG_MAX 64
#define ANSWERS_MAX 32
#define SENT_MAX 256
#define H (3600 * NS_PER_SEC)

struct replica {
	struct cloud_disk disk;
	struct apply *apply;
	struct meta *meta;
	uint64_t applied;
};

struct world {
	struct topology *t;
	struct replica replicas[2];
	struct meta_time now;
	struct buf log[LOG_MAX]; /* by index */
	uint64_t last;           /* index */
	struct {
		struct origin o;
		struct answer a;
	} answers[ANSWERS_MAX];
	size_t answer_count;
	struct {
		uint32_t replica, shard;
		uint64_t meta_index;
	} sent[SENT_MAX];
	size_t sent_count;
	uint64_t report_seq;
	enum entry_kind busy; /* the log does not take these; 0: it takes all */
};
static struct world w;

static int on_propose(void *arg, uint32_t group, const struct entry *e, bool own, uint64_t *ret_index)
{
	(void)arg, (void)own;
	ck_assert_uint_eq(group, 0);
	if (e->kind == w.busy)
		return WEIR_EBUSY;
	ck_assert_uint_lt(w.last + 1, LOG_MAX);
	entry_encode(e, &w.log[++w.last]);
	*ret_index = w.last;
	return 0;
}

static void on_answer(void *arg, const struct origin *o, const struct answer *a)
{
	(void)arg;
	ck_assert_uint_lt(w.answer_count, ANSWERS_MAX);
	w.answers[w.answer_count].o = *o;
	w.answers[w.answer_count++].a = *a;
}

static bool on_advance(void *arg, uint32_t shard, uint64_t meta_index, struct bytes entry)
{
	struct entry e;
	ck_assert_uint_lt(w.sent_count, SENT_MAX);
	ck_assert_int_eq(entry_decode(entry, &e), 0);
	if (e.kind == ENTRY_MAP) { /* among the advances; which is what these tests look at */
		ck_assert_uint_eq(e.map.meta_index, meta_index);
		entry_clear(&e);
		return true;
	}
	ck_assert(e.kind == ENTRY_ADVANCE && e.advance.meta_index == meta_index);
	entry_clear(&e);
	w.sent[w.sent_count].replica = (uint32_t)((struct replica *)arg - w.replicas);
	w.sent[w.sent_count].shard = shard;
	w.sent[w.sent_count++].meta_index = meta_index;
	return true;
}

static void load(struct replica *r)
{
	struct kv_txn *txn;
	ck_assert_int_eq(kv_begin(r->disk.state, false, &txn), 0);
	ck_assert_int_eq(meta_load(r->meta, txn), 0);
	kv_abort(txn);
}

static void setup(void)
{
	w = (struct world){.t = cloud_topology_of(3, SHARDS, 3), .now = {1700000000 * NS_PER_SEC, 100 * NS_PER_SEC}};
	for (size_t i = 0; i < 2; i++) {
		struct replica *r = &w.replicas[i];
		uint8_t random[CLUSTER_ID_BYTES];
		char *why = NULL;
		memset(random, (int)(7 + i), sizeof(random));
		cloud_disk_make(&r->disk, SHARDS);
		ck_assert_int_eq(apply_open(w.t, r->disk.state, &r->apply, &why), 0);
		r->meta = meta_new(w.t, &(struct meta_io){r, on_propose, on_answer, on_advance}, random);
		load(r);
	}
}

static void teardown(void)
{
	for (size_t i = 0; i < 2; i++) {
		meta_free(w.replicas[i].meta);
		apply_close(w.replicas[i].apply);
		cloud_disk_remove(&w.replicas[i].disk);
	}
	for (size_t i = 0; i < LOG_MAX; i++)
		buf_free(&w.log[i]);
	topology_free(w.t);
}

static enum entry_kind kind_of(uint64_t index)
{
	struct entry e;
	ck_assert_int_eq(entry_decode(bytes_of(w.log[index].data, w.log[index].len), &e), 0);
	enum entry_kind kind = e.kind;
	entry_clear(&e);
	return kind;
}

static uint64_t proposed(enum entry_kind kind, uint64_t from)
{
	uint64_t n = 0;
	for (uint64_t i = from; i <= w.last; i++)
		n += kind_of(i) == kind;
	return n;
}

static void catch_up(uint32_t replica)
{
	struct replica *r = &w.replicas[replica];
	while (r->applied < w.last) {
		struct apply_result res;
		struct bytes raw = bytes_of(w.log[r->applied + 1].data, w.log[r->applied + 1].len);
		ck_assert_int_eq(apply_entry(r->apply, 0, ++r->applied, 1, raw, &res), 0);
		meta_applied(r->meta, &res, raw, w.now);
		apply_result_clear(&res);
	}
	ck_assert_int_eq(apply_commit(r->apply), 0);
}

/* What is above `applied` was not committed: the next leader's entries take its place. */
static void lose_proposals(uint32_t replica)
{
	while (w.last > w.replicas[replica].applied)
		buf_clear(&w.log[w.last--]);
}

static void tick(uint32_t replica)
{
	struct replica *r = &w.replicas[replica];
	w.now.mono_ns += 50 * NS_PER_MS;
	w.now.wall_ns += 50 * NS_PER_MS;
	ck_assert_int_eq(meta_tick(r->meta, r->disk.state, r->applied, w.now), 0);
}

static void settle(uint32_t leader)
{
	for (unsigned i = 0; i < 40; i++) {
		tick(leader);
		catch_up(0);
		catch_up(1);
	}
}

static void hello_as(uint32_t replica, uint64_t req_id, uint64_t epoch, uint8_t holder, bool fenced)
{
	struct msg m = {.type = MSG_HELLO};
	struct origin o = {.type = MSG_HELLO, .req_id = req_id, .edge = 0, .claim = "claim of edge a"};
	o.claim[0] = (uint8_t)(o.claim[0] + holder);
	m.hello.edge = "a";
	m.hello.fenced = fenced;
	m.hello.epoch = epoch;
	m.hello.claim = bytes_of(o.claim, CLAIM_BYTES);
	m.hello.empty = epoch == 0;
	meta_hello(w.replicas[replica].meta, &o, &m, w.now);
}

static void hello(uint32_t replica, uint64_t req_id, uint64_t epoch)
{
	hello_as(replica, req_id, epoch, 0, false);
}

struct edge_clock {
	int64_t wall_ns;
	bool suspect;
};

static enum verdict send_report(uint32_t replica, uint32_t edge, uint64_t epoch, struct edge_clock clock, struct msg_report_stream *stream)
{
	struct msg m = {.type = MSG_REPORT};
	struct origin o = {.type = MSG_REPORT, .edge = edge};
	m.report.edge = w.t->edges[edge].name;
	m.report.epoch = epoch;
	m.report.incarnation = 9;
	m.report.seq = ++w.report_seq;
	m.report.wall_ns = clock.wall_ns;
	m.report.clock_suspect = clock.suspect;
	m.report.stream_count = 1;
	m.report.streams = stream;
	meta_report(w.replicas[replica].meta, &o, &m, w.now);
	return w.answers[w.answer_count - 1].a.verdict;
}

static enum verdict report_since(uint32_t replica, int64_t watermark_ns, bool since_known, int64_t since_ns)
{
	const struct stream_conf *s = &w.t->streams[1]; /* only edge a is expected */
	struct msg_report_stream stream = {s->name, s->version, PHASE_LIVE, watermark_ns, WATERMARK_NONE, false, since_known, since_ns};
	return send_report(replica, 0, 1, (struct edge_clock){0}, &stream);
}

static enum verdict report(uint32_t replica, int64_t watermark_ns)
{
	return report_since(replica, watermark_ns, false, 0);
}

/* Replica 0 leads a cluster in which edge a holds epoch 1. */
static void begin(void)
{
	meta_lead(w.replicas[0].meta, w.now);
	settle(0);
	hello(0, 1, 0);
	catch_up(0);
	catch_up(1);
	ck_assert_uint_eq(w.answer_count, 1);
	ck_assert_int_eq(w.answers[0].a.verdict, VERDICT_OK);
}

START_TEST(a_follower_knows_what_is_committed_and_leads_with_it)
{
	begin();
	ck_assert_int_eq(report(0, 2 * H), VERDICT_OK);
	settle(0);
	uint64_t before = w.last;
	meta_stop(w.replicas[0].meta);
	meta_lead(w.replicas[1].meta, w.now);
	tick(1);
	uint8_t a[CLUSTER_ID_BYTES], b[CLUSTER_ID_BYTES];
	ck_assert(meta_cluster_id(w.replicas[0].meta, a) && meta_cluster_id(w.replicas[1].meta, b));
	ck_assert_mem_eq(a, b, sizeof(a));
	ck_assert_uint_eq(proposed(ENTRY_CREATE, 1), 1);
	ck_assert_int_eq(report(1, 2 * H), VERDICT_OK); /* it knows the epoch */
	settle(1);
	ck_assert_uint_eq(proposed(ENTRY_CLOSE, before + 1), 0); /* and what is closed */
	ck_assert_int_eq(report(1, 4 * H), VERDICT_OK);
	settle(1);
	ck_assert_uint_ge(proposed(ENTRY_CLOSE, before + 1), 1);
}
END_TEST

/* Of the only edge of the stream, by the last close that was proposed. */
static int64_t last_since(uint64_t from)
{
	int64_t since_ns = INT64_MAX;
	for (uint64_t i = from; i <= w.last; i++) {
		struct entry e;
		ck_assert_int_eq(entry_decode(bytes_of(w.log[i].data, w.log[i].len), &e), 0);
		for (uint32_t c = 0; e.kind == ENTRY_CLOSE && c < e.closes.count; c++) {
			if (e.closes.closes[c].version == w.t->streams[1].version && e.closes.closes[c].edge_count == 1)
				since_ns = e.closes.closes[c].edges[0].since_ns;
		}
		entry_clear(&e);
	}
	return since_ns;
}

START_TEST(since_when_an_edge_feeds_a_version_outlives_the_leader_that_heard_it)
{
	begin();
	ck_assert_int_eq(report_since(0, 2 * H, true, 3 * H), VERDICT_OK);
	settle(0);
	ck_assert_int_eq(last_since(1), 3 * H);
	uint64_t before = w.last;
	meta_stop(w.replicas[0].meta);
	meta_lead(w.replicas[1].meta, w.now);
	w.now.mono_ns += 600 * NS_PER_SEC; /* the edge is away for good */
	settle(1);
	ck_assert_uint_ge(proposed(ENTRY_CLOSE, before + 1), 1);
	ck_assert_int_eq(last_since(before + 1), 3 * H);
	before = w.last; /* and one who has read it from its state */
	load(&w.replicas[0]);
	meta_stop(w.replicas[1].meta);
	meta_lead(w.replicas[0].meta, w.now);
	ck_assert_int_eq(report(0, 4 * H), VERDICT_OK);
	settle(0);
	ck_assert_int_eq(last_since(before + 1), 3 * H);
}
END_TEST

/* Of the stream of edge a alone, as proposed. Its edges are freed. */
static struct entry_close last_close(void)
{
	struct entry_close found = {0};
	for (uint64_t i = 1; i <= w.last; i++) {
		struct entry e;
		ck_assert_int_eq(entry_decode(bytes_of(w.log[i].data, w.log[i].len), &e), 0);
		for (uint32_t c = 0; e.kind == ENTRY_CLOSE && c < e.closes.count; c++) {
			if (e.closes.closes[c].version == w.t->streams[1].version)
				found = e.closes.closes[c];
		}
		entry_clear(&e);
	}
	return found;
}

/* Replica 0 leads, and all clocks are right. It is on the hour. */
static int64_t begin_on_the_hour(void)
{
	w.now.wall_ns = CLOCK_RELEASE_NS + 8760 * H;
	begin();
	return w.now.wall_ns;
}

static void says(uint64_t epoch, int64_t wall_ns, bool suspect, int64_t watermark_ns)
{
	const struct stream_conf *s = &w.t->streams[1];
	struct msg_report_stream stream = {s->name, s->version, PHASE_LIVE, watermark_ns, WATERMARK_NONE, false, false, 0};
	ck_assert_int_eq(send_report(0, 0, epoch, (struct edge_clock){wall_ns, suspect}, &stream), VERDICT_OK);
}

/* The leader's clock jumps; the fleet's time has been worked out with it. */
static void jump_leader(int64_t by_ns)
{
	w.now.wall_ns += by_ns;
	settle(0);
}

START_TEST(a_clock_counts_for_the_report_that_it_comes_with)
{
	int64_t hour_ns = begin_on_the_hour();
	says(1, hour_ns - 2 * H, true, hour_ns - H); /* its clock was set back */
	settle(0);
	ck_assert_int_eq(last_close().close_ns, hour_ns - H);
	jump_leader(240 * H);
	says(1, hour_ns, false, hour_ns + 5 * H); /* it is set right: of the two the leader's is the bad one */
	settle(0);
	ck_assert_int_le(last_close().close_ns, hour_ns);
}
END_TEST

START_TEST(a_clock_that_was_silent_counts_for_its_next_report)
{
	int64_t hour_ns = begin_on_the_hour();
	says(1, hour_ns, false, hour_ns - H);
	settle(0);
	ck_assert_int_eq(last_close().close_ns, hour_ns - H);
	w.now.mono_ns += w.t->partitioned_after_ns;
	w.now.wall_ns += w.t->partitioned_after_ns;
	jump_leader(240 * H);
	hello_as(0, 2, 1, 1, false); /* a grant is heard, too */
	catch_up(0);
	catch_up(1);
	says(2, hour_ns + w.t->partitioned_after_ns, false, hour_ns + 5 * H);
	settle(0);
	ck_assert_int_ge(last_close().close_ns, hour_ns - H);
	ck_assert_int_le(last_close().close_ns, hour_ns + 2 * w.t->partitioned_after_ns);
}
END_TEST

/* Ten days ahead, an hour back, and 1970. What it showed before holds, as far as this node has seen it: also as a follower. */
static const int64_t jumps_ns[] = {240 * H, -H, -300000 * H};

START_TEST(alone_the_leaders_clock_is_what_it_was_before_it_jumped)
{
	int64_t hour_ns = begin_on_the_hour();
	says(1, 0, true, hour_ns - H);
	settle(0);
	ck_assert_int_eq(last_close().close_ns, hour_ns - H);
	jump_leader(jumps_ns[_i]);
	says(1, 0, true, hour_ns + 5 * H); /* all clocks are known to be wrong but the leader's, or that one, too */
	settle(0);
	ck_assert_int_le(last_close().close_ns, hour_ns);
	says(1, 0, true, hour_ns); /* and what can be is taken */
	settle(0);
	ck_assert_int_eq(last_close().close_ns, hour_ns);
}
END_TEST

START_TEST(a_small_step_ahead_is_believed)
{
	int64_t hour_ns = begin_on_the_hour();
	says(1, 0, true, hour_ns - H);
	jump_leader(META_CLOCK_BEHIND_NS - 10 * NS_PER_SEC);
	says(1, 0, true, hour_ns + META_CLOCK_BEHIND_NS + 590 * NS_PER_SEC); /* max_ahead is 10 minutes */
	settle(0);
	ck_assert_int_eq(last_close().close_ns, hour_ns + META_CLOCK_BEHIND_NS + 590 * NS_PER_SEC);
}
END_TEST

START_TEST(a_follower_watches_its_clock)
{
	int64_t hour_ns = begin_on_the_hour();
	tick(1);
	meta_stop(w.replicas[0].meta);
	w.now.wall_ns += jumps_ns[_i];
	meta_lead(w.replicas[1].meta, w.now);
	settle(1);
	const struct stream_conf *s = &w.t->streams[1];
	struct msg_report_stream stream = {s->name, s->version, PHASE_LIVE, hour_ns + 5 * H, WATERMARK_NONE, false, false, 0};
	ck_assert_int_eq(send_report(1, 0, 1, (struct edge_clock){0, true}, &stream), VERDICT_OK);
	settle(1);
	ck_assert_int_gt(last_close().close_ns, hour_ns - H);
	ck_assert_int_le(last_close().close_ns, hour_ns);
}
END_TEST

START_TEST(a_grant_does_not_make_an_old_clock_count)
{
	int64_t hour_ns = begin_on_the_hour();
	says(1, hour_ns - 3 * H, false, hour_ns - 3 * H); /* the holder's before: slow */
	settle(0);
	w.now.mono_ns += w.t->partitioned_after_ns;
	w.now.wall_ns += w.t->partitioned_after_ns;
	settle(0);
	hello_as(0, 2, 1, 1, false);
	catch_up(0);
	catch_up(1);
	settle(0);
	says(2, 0, true, hour_ns); /* another machine, and without a clock: the leader's remains */
	settle(0);
	ck_assert_int_eq(last_close().close_ns, hour_ns);
}
END_TEST

/* Edges of earlier versions say nothing of it, in the one way or the other. */
START_TEST(since_when_counts_of_an_edge_that_feeds_the_version_no_more)
{
	begin();
	ck_assert_int_eq(report_since(0, 2 * H, false, 0), VERDICT_OK);
	settle(0);
	ck_assert_int_eq(last_since(1), WATERMARK_NONE);
	ck_assert_int_eq(report_since(0, 4 * H, false, WATERMARK_NONE), VERDICT_OK);
	settle(0);
	ck_assert_int_eq(last_since(1), WATERMARK_NONE);
	ck_assert_int_eq(report_since(0, 6 * H, false, 7 * H), VERDICT_OK);
	settle(0);
	ck_assert_int_eq(last_since(1), 7 * H);
	uint64_t before = w.last; /* a leader that has not heard it yet */
	load(&w.replicas[1]);
	meta_stop(w.replicas[0].meta);
	meta_lead(w.replicas[1].meta, w.now);
	ck_assert_int_eq(report_since(1, 8 * H, false, 0), VERDICT_OK);
	settle(1);
	ck_assert_int_eq(last_since(before + 1), 7 * H);
}
END_TEST

START_TEST(only_the_leader_proposes_sends_and_answers)
{
	begin();
	hello(1, 2, 1);
	ck_assert_int_eq(w.answers[1].a.verdict, VERDICT_UNAVAILABLE);
	ck_assert_int_eq(report(1, 2 * H), VERDICT_UNAVAILABLE);
	struct origin o = {.type = MSG_READMIT, .edge = 0};
	meta_readmit(w.replicas[1].meta, &o, w.now);
	ck_assert_int_eq(w.answers[3].a.verdict, VERDICT_UNAVAILABLE);
	uint64_t before = w.last;
	tick(1);
	ck_assert_uint_eq(w.last, before);
	report(0, 2 * H);
	settle(0);
	ck_assert_uint_gt(w.sent_count, 0);
	for (size_t i = 0; i < w.sent_count; i++)
		ck_assert_uint_eq(w.sent[i].replica, 0);
	struct buf json = {0};
	meta_edges_json(w.replicas[1].meta, &json);
	ck_assert_uint_eq(json.len, 0);
	meta_edges_json(w.replicas[0].meta, &json);
	ck_assert_uint_gt(json.len, 0);
	buf_free(&json);
	ck_assert_uint_eq(meta_counters(w.replicas[1].meta)->claims, 0);
}
END_TEST

START_TEST(at_the_end_of_leadership_all_that_waits_is_answered)
{
	begin();
	hello(0, 5, 1);
	hello(0, 6, 1); /* the same again: waits with it */
	ck_assert_uint_eq(w.answer_count, 1);
	meta_stop(w.replicas[0].meta);
	ck_assert_uint_eq(w.answer_count, 3);
	ck_assert_int_eq(w.answers[1].a.verdict, VERDICT_UNAVAILABLE);
	ck_assert_int_eq(w.answers[2].a.verdict, VERDICT_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(w.answers[1].a.reason, "leader changed"));
	meta_stop(w.replicas[0].meta);
	catch_up(0); /* it is committed after all, for nobody */
	ck_assert_uint_eq(w.answer_count, 3);
}
END_TEST

START_TEST(what_was_lost_in_flight_is_proposed_again)
{
	meta_lead(w.replicas[0].meta, w.now);
	tick(0);
	ck_assert_uint_eq(proposed(ENTRY_CREATE, 1), 1);
	meta_stop(w.replicas[0].meta);
	lose_proposals(0);
	begin();
	ck_assert_uint_eq(proposed(ENTRY_CREATE, 1), 1);
	settle(0);
	report(0, 2 * H);
	uint64_t before = w.last;
	tick(0);
	ck_assert_uint_eq(proposed(ENTRY_CLOSE, before + 1), 1);
	meta_stop(w.replicas[0].meta);
	lose_proposals(0);
	meta_lead(w.replicas[0].meta, w.now);
	ck_assert_int_eq(report(0, 2 * H), VERDICT_OK);
	settle(0);
	ck_assert_uint_ge(proposed(ENTRY_CLOSE, before + 1), 1);
}
END_TEST

static uint64_t highest_sent(uint32_t replica, uint32_t shard)
{
	uint64_t highest = 0;
	for (size_t i = 0; i < w.sent_count; i++) {
		if (w.sent[i].replica == replica && w.sent[i].shard == shard && w.sent[i].meta_index > highest)
			highest = w.sent[i].meta_index;
	}
	return highest;
}

START_TEST(a_new_leader_brings_every_shard_what_it_has_not_taken)
{
	begin();
	report(0, 2 * H);
	settle(0);
	uint64_t newest = highest_sent(0, 1);
	ck_assert_uint_gt(newest, 0);
	meta_advance_reply(w.replicas[0].meta, 0, VERDICT_OK, newest, w.now);
	settle(0); /* TAKEN by shard 0 is committed; the queue keeps it for the others */
	ck_assert_uint_eq(proposed(ENTRY_TAKEN, 1), 1);
	meta_stop(w.replicas[0].meta);
	w.sent_count = 0;
	meta_advance_reply(w.replicas[1].meta, 1, VERDICT_OK, newest, w.now); /* does not lead yet: it will be told again */
	meta_lead(w.replicas[1].meta, w.now);
	tick(1);
	for (uint32_t s = 0; s < SHARDS; s++)
		ck_assert_uint_eq(highest_sent(1, s), newest);
	for (uint32_t s = 0; s < SHARDS - 1; s++)
		meta_advance_reply(w.replicas[1].meta, s, VERDICT_OK, newest, w.now);
	settle(1);
	ck_assert_uint_eq(proposed(ENTRY_TAKEN, 1), 1 + SHARDS - 1);
	/* And the one before, leading again, does not rely on what it had sent in its first time. */
	meta_stop(w.replicas[1].meta);
	w.sent_count = 0;
	meta_lead(w.replicas[0].meta, w.now);
	tick(0);
	ck_assert_uint_eq(highest_sent(0, SHARDS - 1), newest);
	/* Once all have taken it there is nothing left to send. */
	meta_advance_reply(w.replicas[0].meta, SHARDS - 1, VERDICT_OK, newest, w.now);
	settle(0);
	meta_stop(w.replicas[0].meta);
	w.sent_count = 0;
	meta_lead(w.replicas[1].meta, w.now);
	tick(1);
	ck_assert_uint_eq(w.sent_count, 0);
}
END_TEST

START_TEST(a_snapshot_replaces_all_that_was_known)
{
	begin();
	report(0, 2 * H);
	settle(0);
	/* The second replica's state is emptied and filled with something else: here, with nothing. */
	struct replica *r = &w.replicas[1];
	apply_close(r->apply);
	cloud_disk_close(&r->disk);
	cloud_disk_lose(r->disk.state_path);
	cloud_disk_open(&r->disk);
	char *why = NULL;
	ck_assert_int_eq(apply_open(w.t, r->disk.state, &r->apply, &why), 0);
	load(r);
	uint8_t id[CLUSTER_ID_BYTES];
	ck_assert(!meta_cluster_id(r->meta, id));
	meta_lead(r->meta, w.now);
	ck_assert_int_eq(report(1, 2 * H), VERDICT_UNAVAILABLE);
}
END_TEST

START_TEST(a_new_leader_counts_everyone_as_heard_then)
{
	begin();
	report(0, 2 * H);
	settle(0);
	meta_stop(w.replicas[0].meta);
	w.now.mono_ns += w.t->partitioned_after_ns; /* nobody was heard by the other one */
	meta_lead(w.replicas[1].meta, w.now);
	struct buf json = {0};
	settle(1);
	meta_edges_json(w.replicas[1].meta, &json);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "\"heard_ms_ago\":null"));
	ck_assert_ptr_null(strstr(buf_cstr(&json), "partitioned"));
	/* A new spool under this name waits until the holder has been silent in this leader's time. */
	struct msg m = {.type = MSG_HELLO};
	struct origin o = {.type = MSG_HELLO, .edge = 0, .claim = "another claim.."};
	m.hello.edge = "a";
	m.hello.claim = bytes_of(o.claim, CLAIM_BYTES);
	m.hello.empty = true;
	meta_hello(w.replicas[1].meta, &o, &m, w.now);
	ck_assert_int_eq(w.answers[w.answer_count - 1].a.verdict, VERDICT_BUSY);
	buf_free(&json);
}
END_TEST

static bool edges_say(unsigned replica, const char *text)
{
	struct buf json = {0};
	meta_edges_json(w.replicas[replica].meta, &json);
	bool found = strstr(buf_cstr(&json), text) != NULL;
	buf_free(&json);
	return found;
}

START_TEST(a_fenced_holder_is_told_of_for_a_while)
{
	begin();
	report(0, 2 * H);
	ck_assert(!edges_say(0, "\"fenced\":true"));
	struct origin o = {.type = MSG_REPORT, .edge = 0};
	struct msg m = {.type = MSG_REPORT};
	m.report.epoch = 77; /* nobody was granted it */
	meta_report(w.replicas[0].meta, &o, &m, w.now);
	ck_assert_int_eq(w.answers[w.answer_count - 1].a.verdict, VERDICT_FENCED);
	ck_assert(edges_say(0, "\"fenced\":true"));
	w.now.mono_ns += META_FENCED_SHOWN_MS / 2 * NS_PER_MS;
	tick(0);
	ck_assert(edges_say(0, "\"fenced\":true"));
	w.now.mono_ns += META_FENCED_SHOWN_MS / 2 * NS_PER_MS;
	tick(0);
	ck_assert(!edges_say(0, "\"fenced\":true"));
	ck_assert(edges_say(0, "\"cutover_waits\":[]"));
}
END_TEST

/* What came of it: the last answer. */
static struct answer committed(void)
{
	catch_up(0);
	catch_up(1);
	return w.answers[w.answer_count - 1].a;
}

static enum verdict readmit(uint32_t replica)
{
	struct origin o = {.type = MSG_READMIT, .edge = 0};
	meta_readmit(w.replicas[replica].meta, &o, w.now);
	return committed().verdict;
}

static struct answer claimed(uint32_t replica, uint64_t epoch, uint8_t holder, bool fenced)
{
	hello_as(replica, 50, epoch, holder, fenced);
	return committed();
}

/* Edge a of epoch 1 is fenced, somehow, and readmitted by replica 0, whose answer is lost with it. */
static void lose_a_readmission(void)
{
	struct origin o = {.type = MSG_READMIT, .edge = 0};
	meta_readmit(w.replicas[0].meta, &o, w.now);
	meta_stop(w.replicas[0].meta);
	ck_assert_int_eq(w.answers[w.answer_count - 1].a.verdict, VERDICT_UNAVAILABLE);
	catch_up(0);
	catch_up(1);
	meta_lead(w.replicas[1].meta, w.now);
}

START_TEST(a_readmission_whose_answer_was_lost_is_asked_for_again)
{
	begin();
	ck_assert_int_eq(claimed(0, 7, 1, false).verdict, VERDICT_FENCED);
	lose_a_readmission();
	ck_assert_int_eq(readmit(1), VERDICT_OK); /* nobody has taken it: there is one all the same */
	struct answer a = claimed(1, 7, 1, true);
	ck_assert(a.verdict == VERDICT_OK && a.epoch == 8 && a.readmitted);
	ck_assert_int_eq(readmit(1), VERDICT_DUPLICATE);
	ck_assert(edges_say(1, "\"readmit\":false"));
	a = claimed(1, 7, 1, true); /* its answer was lost, too */
	ck_assert(a.verdict == VERDICT_OK && a.epoch == 8);
	ck_assert_int_eq(readmit(1), VERDICT_DUPLICATE);
	meta_stop(w.replicas[1].meta); /* and the next leader knows what was committed, be it from its state */
	load(&w.replicas[0]);
	meta_lead(w.replicas[0].meta, w.now);
	ck_assert_int_eq(readmit(0), VERDICT_DUPLICATE);
	a = claimed(0, 8, 2, false); /* so what it has read since is not lost */
	ck_assert(a.verdict == VERDICT_OK && a.epoch == 9 && !a.readmitted);
}
END_TEST

START_TEST(one_who_was_readmitted_and_is_fenced_again_is_readmitted_again)
{
	begin();
	ck_assert_int_eq(claimed(0, 7, 1, false).verdict, VERDICT_FENCED);
	ck_assert_int_eq(readmit(0), VERDICT_OK);
	ck_assert_uint_eq(claimed(0, 7, 1, true).epoch, 8);
	ck_assert_int_eq(readmit(0), VERDICT_DUPLICATE);
	ck_assert_uint_eq(claimed(0, 8, 1, true).epoch, 8); /* by a shard */
	ck_assert(edges_say(0, "\"fenced\":true"));
	ck_assert_int_eq(readmit(0), VERDICT_OK);
	ck_assert_uint_eq(claimed(0, 8, 1, true).epoch, 9);
	ck_assert_int_eq(readmit(0), VERDICT_DUPLICATE);
	ck_assert_int_eq(claimed(0, 8, 2, false).verdict, VERDICT_FENCED); /* a copy of it */
	ck_assert_int_eq(readmit(0), VERDICT_OK);
	ck_assert_uint_eq(claimed(0, 8, 2, false).epoch, 10);
	/* One of an earlier version does not say it, but is silent. */
	ck_assert_int_eq(readmit(0), VERDICT_DUPLICATE);
	w.now.mono_ns += w.t->partitioned_after_ns;
	ck_assert_int_eq(readmit(0), VERDICT_OK);
}
END_TEST

START_TEST(a_revoked_edge_is_partitioned_at_once)
{
	struct buf json = {0};
	begin();
	report(0, 2 * H);
	settle(0);
	meta_edges_json(w.replicas[0].meta, &json);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "{\"name\":\"a\",\"state\":\"joining\"")); /* of speed it said nothing */
	ck_assert_ptr_null(strstr(buf_cstr(&json), "partitioned"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "\"revoked\":false"));
	w.t->edges[0].revoked = true;
	settle(0);
	buf_clear(&json);
	meta_edges_json(w.replicas[0].meta, &json);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "{\"name\":\"a\",\"state\":\"partitioned\""));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "{\"name\":\"alone\",\"state\":\"partitioned\""));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "\"revoked\":true"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "{\"name\":\"b\",\"state\":\"joining\""));
	w.t->edges[0].revoked = false;
	report(0, 3 * H);
	settle(0);
	buf_clear(&json);
	meta_edges_json(w.replicas[0].meta, &json);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&json), "{\"name\":\"alone\",\"state\":\"live\""));
	buf_free(&json);
}
END_TEST

static bool ails(const struct fleet *f, const char *edge, const char *what)
{
	for (size_t i = 0; i < f->ailing_count; i++)
		if (!strcmp(f->ailing[i].edge, edge) && !strcmp(f->ailing[i].what, what))
			return true;
	return false;
}

static uint64_t edges_of(const struct fleet *f)
{
	uint64_t n = f->revoked;
	for (unsigned i = 0; i <= EDGE_PARTITIONED; i++)
		n += f->of_state[i];
	return n;
}

START_TEST(the_fleet_is_counted_by_the_leader)
{
	static struct fleet f;
	struct origin o = {.type = MSG_REPORT, .edge = 0};
	struct msg m = {.type = MSG_REPORT};
	begin();
	report(0, 2 * H);
	settle(0);
	meta_fleet(w.replicas[0].meta, &f);
	ck_assert(f.known);
	ck_assert_uint_eq(edges_of(&f), w.t->edge_count);
	ck_assert_uint_eq(f.of_state[EDGE_PARTITIONED] + f.ailing_count + f.revoked, 0);
	m.report.epoch = 77; /* nobody was granted it */
	meta_report(w.replicas[0].meta, &o, &m, w.now);
	w.t->edges[1].revoked = true;
	meta_fleet(w.replicas[0].meta, &f);
	ck_assert_uint_eq(f.revoked, 1);
	ck_assert_uint_eq(edges_of(&f), w.t->edge_count);
	ck_assert(ails(&f, w.t->edges[0].name, "fenced"));
	ck_assert_uint_eq(f.ailing_count, 1); /* who is revoked ails of nothing */
	w.now.mono_ns += w.t->partitioned_after_ns + META_FENCED_SHOWN_MS * NS_PER_MS;
	settle(0);
	meta_fleet(w.replicas[0].meta, &f);
	ck_assert_uint_eq(f.of_state[EDGE_PARTITIONED], w.t->edge_count - 1);
	ck_assert(ails(&f, w.t->edges[0].name, "partitioned"));
	ck_assert(!ails(&f, w.t->edges[0].name, "fenced") && !ails(&f, w.t->edges[1].name, "partitioned"));
	/* Nobody else says anything, so that a sum over nodes counts each edge once. */
	meta_fleet(w.replicas[1].meta, &f);
	ck_assert(!f.known && !edges_of(&f) && !f.ailing_count && !f.stream_count);
	w.t->edges[1].revoked = false;
}
END_TEST

START_TEST(the_fleet_in_metrics)
{
	static struct fleet f;
	struct buf b = {0};
	fleet_put_metrics(&f, &b);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "# TYPE weir_cloud_edges gauge\n# HELP"));
	ck_assert_ptr_null(strstr(buf_cstr(&b), "} "));
	f = (struct fleet){.known = true, .revoked = 1, .spool_bytes = 4096, .stream_count = 1};
	f.of_state[EDGE_LIVE] = 3;
	f.streams[0] = (struct fleet_stream){"speed", 1500 * NS_PER_MS};
	for (int i = 0; i <= FLEET_AILING_MAX; i++)
		fleet_add_ailing(&f, i ? "b" : "a", "partitioned");
	ck_assert_uint_eq(f.ailing_count, FLEET_AILING_MAX);
	buf_clear(&b);
	fleet_put_metrics(&f, &b);
	static const char *const lines[] = {"weir_cloud_edges{state=\"live\"} 3\n", "weir_cloud_edges{state=\"catching_up\"} 0\n",
	    "weir_cloud_edges{state=\"revoked\"} 1\n", "weir_cloud_edge_ailing{edge=\"a\",what=\"partitioned\"} 1\n",
	    "weir_cloud_edges_spool_bytes 4096\n", "weir_cloud_stream_close_seconds{stream=\"speed\"} 1.5\n"};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(strstr(buf_cstr(&b), lines[i]), "%s is not in %s", lines[i], buf_cstr(&b));
	buf_free(&b);
}
END_TEST

START_TEST(a_revocation_is_asked_for_committed_and_counted)
{
	struct msg m = {.type = MSG_REVOKE};
	struct origin o = {.type = MSG_REVOKE, .req_id = 5, .edge = ORIGIN_NO_EDGE};
	begin();
	for (int i = 0; i < 3; i++) {
		m.revoke.edge = i < 2 ? "a" : "not/a name";
		m.revoke.revoked = i == 0;
		meta_revoke(w.replicas[0].meta, &o, &m, w.now);
		catch_up(0);
		catch_up(1);
		const struct answer *a = &w.answers[w.answer_count - 1].a;
		ck_assert_int_eq(a->verdict, i < 2 ? VERDICT_OK : VERDICT_REFUSED);
		ck_assert_uint_eq(a->map_version, i < 2 ? 2 + (uint64_t)i : 0);
	}
	ck_assert_uint_eq(meta_counters(w.replicas[0].meta)->revokes, 1);
	ck_assert_uint_eq(meta_counters(w.replicas[0].meta)->allows, 1);
	meta_revoke(w.replicas[1].meta, &o, &m, w.now); /* it does not lead */
	ck_assert_int_eq(w.answers[w.answer_count - 1].a.verdict, VERDICT_UNAVAILABLE);
}
END_TEST

START_TEST(what_is_no_topology_to_the_leader_is_not_proposed)
{
	static const char *const wrong[] = {"version: 1\n", "later: true\n"};
	struct origin o = {.type = MSG_TOPOLOGY, .req_id = 6, .edge = ORIGIN_NO_EDGE};
	begin();
	settle(0);
	for (int i = 0; i < 3; i++) {
		struct buf packed = {0};
		struct msg m = {.type = MSG_TOPOLOGY};
		uint64_t last = w.last;
		const char *text = i < 2 ? wrong[i] : w.t->text;
		map_text_pack(text, strlen(text), &packed);
		m.topology.text = bytes_of(packed.data, packed.len);
		m.topology.text_bytes = (uint32_t)strlen(text) + (i == 1); /* or it does not unpack */
		meta_topology(w.replicas[0].meta, &o, &m, w.now);
		buf_free(&packed);
		ck_assert_uint_eq(w.last, last + (i == 2));
		if (i == 2)
			continue;
		const struct answer *a = &w.answers[w.answer_count - 1].a;
		ck_assert(a->verdict == VERDICT_REFUSED && a->reason);
	}
}
END_TEST

static uint64_t first_of(enum entry_kind kind)
{
	for (uint64_t i = 1; i <= w.last; i++) {
		if (kind_of(i) == kind)
			return i;
	}
	return UINT64_MAX;
}

/* Whoever led it, and whoever leads the meta group by then. */
START_TEST(which_shards_have_taken_something_is_committed)
{
	begin();
	settle(0);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert(!meta_took(w.replicas[i].meta, 2));
	meta_advance_reply(w.replicas[0].meta, 2, VERDICT_OK, META_INDEX(first_of(ENTRY_TOPOLOGY), 0), w.now);
	settle(0);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert(meta_took(w.replicas[i].meta, 2) && !meta_took(w.replicas[i].meta, 1));
	load(&w.replicas[1]);
	ck_assert(meta_took(w.replicas[1].meta, 2) && !meta_took(w.replicas[1].meta, 1));
}
END_TEST

/* Shards would go by a close that their replicas' files, not the map, give a meaning to. */
START_TEST(nothing_is_closed_before_the_first_map)
{
	w.busy = ENTRY_TOPOLOGY;
	begin();
	ck_assert_int_eq(report(0, 2 * H), VERDICT_OK);
	settle(0);
	ck_assert_uint_eq(first_of(ENTRY_CLOSE), UINT64_MAX);
	w.busy = 0;
	settle(0);
	ck_assert_uint_lt(first_of(ENTRY_TOPOLOGY), first_of(ENTRY_CLOSE));
	ck_assert_uint_ne(first_of(ENTRY_CLOSE), UINT64_MAX);
}
END_TEST

/* A version whose last close the log did not take would never have it, if it were retired. */
START_TEST(no_version_ends_by_a_close_that_was_not_proposed)
{
	begin();
	settle(0);
	uint64_t from = w.last + 1;
	w.t->streams[1].phase = STREAM_CLOSING;
	w.t->streams[1].until_ns = H;
	w.busy = ENTRY_CLOSE;
	ck_assert_int_eq(report(0, 2 * H), VERDICT_OK);
	settle(0);
	ck_assert_uint_eq(proposed(ENTRY_CUT, from), 0);
	w.busy = 0;
	settle(0);
	ck_assert_uint_eq(proposed(ENTRY_CLOSE, from), 1);
	ck_assert_uint_gt(proposed(ENTRY_CUT, from), 0);
	while (kind_of(from) != ENTRY_CUT)
		from++;
	ck_assert_uint_eq(proposed(ENTRY_CLOSE, from), 0);
}
END_TEST

/* ---- edges that leave and come back ------------------------------------------------------------------------------- */

static char *without_a(void)
{
	static const char line[] = "  - {name: a, data: edge-a, sources: [{type: stdin}]}\n";
	char *text = xstrdup(w.t->text), *at = strstr(text, line);
	ck_assert_ptr_nonnull(at);
	memmove(at, at + strlen(line), strlen(at + strlen(line)) + 1);
	at = strstr(text, "edges: [a]");
	ck_assert_ptr_nonnull(at);
	at[strlen("edges: [")] = 'b';
	return text;
}

static void log_topology(const char *text)
{
	struct buf packed = {0};
	map_text_pack(text, strlen(text), &packed);
	struct entry e = {.kind = ENTRY_TOPOLOGY};
	e.topology.text_bytes = (uint32_t)strlen(text);
	e.topology.text = bytes_of(packed.data, packed.len);
	entry_encode(&e, &w.log[++w.last]);
	buf_free(&packed);
}

static void log_claim(uint64_t epoch, const char claim[CLAIM_BYTES + 1])
{
	struct entry e = {.kind = ENTRY_CLAIM};
	e.claim.edge = bytes_of("a", 1);
	e.claim.epoch = epoch;
	e.claim.claim = bytes_of(claim, CLAIM_BYTES);
	entry_encode(&e, &w.log[++w.last]);
}

static void expect_epoch(uint32_t replica, uint64_t epoch)
{
	struct buf json = {0};
	char wanted[64];
	meta_lead(w.replicas[replica].meta, w.now);
	meta_edges_json(w.replicas[replica].meta, &json);
	meta_stop(w.replicas[replica].meta);
	snprintf(wanted, sizeof(wanted), "{\"name\":\"a\",\"state\":\"joining\",\"epoch\":%u,", (unsigned)epoch);
	ck_assert_msg(strstr(buf_cstr(&json), wanted) != NULL, "%s", buf_cstr(&json));
	buf_free(&json);
}

/* Replica 1 goes by later maps before it has applied what is committed: what it knows of edges is what is committed, all the same. */
START_TEST(an_edge_that_left_has_the_epoch_that_is_committed)
{
	struct topology *gone = cloud_topology_of(3, SHARDS, 3), *back = cloud_topology_of(3, SHARDS, 3);
	char *text = without_a();
	gone->edges[0].gone = true;
	begin();
	settle(0);
	meta_stop(w.replicas[0].meta);
	log_claim(1, "another claim of "); /* epoch 2, then 3 */
	log_topology(text);
	log_topology(w.t->text);
	log_claim(3, "a third claim of "); /* 4, then 5 */
	log_topology(text);
	if (_i >= 1)
		meta_set_topology(w.replicas[1].meta, gone);
	if (_i >= 2)
		meta_set_topology(w.replicas[1].meta, back);
	catch_up(0);
	catch_up(1);
	meta_set_topology(w.replicas[1].meta, gone);
	log_topology(w.t->text);
	catch_up(1);
	meta_set_topology(w.replicas[1].meta, back);
	expect_epoch(0, 5);
	expect_epoch(1, 5);
	if (_i == 3) { /* and what is read anew says the same */
		load(&w.replicas[1]);
		expect_epoch(1, 5);
	}
	meta_set_topology(w.replicas[1].meta, w.t);
	topology_free(gone);
	topology_free(back);
	free(text);
}
END_TEST

/* The same of one that this start's topology never had. */
START_TEST(an_edge_that_comes_later_has_the_epoch_that_is_committed)
{
	struct replica *r = &w.replicas[1];
	struct topology *before = cloud_topology_of(3, SHARDS, 3), *all = NULL;
	struct buf errors = {0};
	char *text = without_a();
	uint8_t random[CLUSTER_ID_BYTES] = {8};
	begin();
	settle(0);
	meta_stop(w.replicas[0].meta);
	meta_free(r->meta);
	topology_free(before);
	ck_assert_int_eq(topology_parse("test.yaml", text, strlen(text), &before, &errors), 0);
	r->meta = meta_new(before, &(struct meta_io){r, on_propose, on_answer, on_advance}, random);
	load(r);
	log_claim(1, "another claim of ");
	log_topology(text);
	log_topology(w.t->text);
	catch_up(0);
	catch_up(1);
	struct cluster_map m;
	map_first(w.t, w.t->text, w.t->text_len, &m);
	ck_assert_int_eq(map_topology(&m, "test.yaml", before, &all, &errors), 0);
	meta_set_topology(r->meta, all);
	expect_epoch(0, 3);
	expect_epoch(1, 3);
	meta_free(r->meta);
	r->meta = meta_new(w.t, &(struct meta_io){r, on_propose, on_answer, on_advance}, random);
	map_clear(&m);
	buf_free(&errors);
	topology_free(before);
	topology_free(all);
	free(text);
}
END_TEST

START_TEST(time_goes_on_when_no_clock_counts_any_more)
{
	int64_t hour_ns = begin_on_the_hour();
	says(1, hour_ns, false, hour_ns - H);
	settle(0);
	says(1, 0, true, hour_ns - H); /* it falls to 1970: the edge takes readings of any time */
	jump_leader(-hour_ns);         /* and so does the leader's */
	if (_i) { /* one who knows nothing of the fleet yet but its own clock */
		meta_stop(w.replicas[0].meta);
		meta_lead(w.replicas[0].meta, w.now);
	}
	says(1, 0, true, hour_ns + 5 * H);
	settle(0);
	ck_assert_int_ge(last_close().close_ns, hour_ns - H);
	ck_assert_int_le(last_close().close_ns, hour_ns);
	w.now.mono_ns += 2 * H;
	w.now.wall_ns += 2 * H;
	says(1, 0, true, hour_ns + 2 * H);
	settle(0);
	ck_assert_int_eq(last_close().close_ns, hour_ns + 2 * H);
}
END_TEST

static void report_idle(uint32_t replica, uint32_t edge, int64_t flushed_end_ns)
{
	const struct stream_conf *s = &w.t->streams[1];
	struct msg_report_stream stream = {s->name, s->version, PHASE_IDLE, H, flushed_end_ns, false, false, 0};
	ck_assert_int_eq(send_report(replica, edge, 1, (struct edge_clock){0}, &stream), VERDICT_OK);
}

static void log_claim_of_b(void)
{
	struct entry e = {.kind = ENTRY_CLAIM};
	e.claim.edge = bytes_of("b", 1);
	e.claim.claim = bytes_of("a claim of edge b", CLAIM_BYTES);
	entry_encode(&e, &w.log[++w.last]);
	catch_up(0);
	catch_up(1);
}

/* An edge that leaves counts as an idle one: windows that it had filled, further than anybody else, close all the same. */
START_TEST(what_an_edge_that_left_has_flushed_closes)
{
	struct topology *after = cloud_topology_of(3, SHARDS, 3);
	uint32_t leader = _i == 1 || _i >= 3;
	begin();
	log_claim_of_b();
	ck_assert_int_eq(report(0, H), VERDICT_OK); /* live: what it has flushed says nothing yet */
	report_idle(0, 0, 3 * H);
	settle(0);
	ck_assert_int_eq(last_close().close_ns, 3 * H);
	report_idle(0, 0, 5 * H);
	ck_assert_int_eq(report(0, H), VERDICT_OK);
	after->streams[1].edges[0] = 1; /* b in its place, or nobody */
	after->streams[1].edge_count = _i != 2;
	if (_i == 3) /* the close that says so was proposed before it left, and is applied behind that */
		meta_set_topology(w.replicas[1].meta, after);
	if (_i != 4)
		settle(0);
	ck_assert_int_eq(last_close().close_ns, 3 * H);
	meta_set_topology(w.replicas[0].meta, after);
	meta_set_topology(w.replicas[1].meta, after);
	if (_i == 4) /* nothing closes yet, as b has not been heard: but what a had is committed */
		settle(0);
	if (leader) {
		meta_stop(w.replicas[0].meta);
		if (_i == 1) /* by one who knows it from the state */
			load(&w.replicas[1]);
		meta_lead(w.replicas[1].meta, w.now);
	}
	if (_i != 2)
		report_idle(leader, 1, 4 * H);
	settle(leader);
	ck_assert_int_eq(last_close().close_ns, 5 * H);
	ck_assert_int_eq(last_close().final_ns, 5 * H);
	meta_set_topology(w.replicas[0].meta, w.t);
	meta_set_topology(w.replicas[1].meta, w.t);
	topology_free(after);
}
END_TEST

/* What it read before it had the new version is in the one before: that one goes on so far. */
START_TEST(since_when_an_edge_that_left_had_a_version_counts)
{
	struct topology *after = cloud_topology_of(3, SHARDS, 3);
	const struct stream_conf *s = &w.t->streams[1];
	struct msg_report_stream of_b = {s->name, s->version, PHASE_LIVE, H, WATERMARK_NONE, false, true, H};
	struct entry e;
	begin();
	log_claim_of_b();
	w.t->streams[1].phase = after->streams[1].phase = STREAM_PENDING;
	after->streams[1].edges[0] = 1;
	ck_assert_int_eq(report_since(0, H, true, 3 * H), VERDICT_OK);
	uint64_t from = w.last + 1;
	meta_set_topology(w.replicas[0].meta, after);
	settle(0);
	ck_assert_uint_eq(proposed(ENTRY_CUT, from), 0); /* b has not said */
	ck_assert_int_eq(send_report(0, 1, 1, (struct edge_clock){0}, &of_b), VERDICT_OK);
	settle(0);
	ck_assert_uint_gt(proposed(ENTRY_CUT, from), 0);
	while (kind_of(from) != ENTRY_CUT)
		from++;
	ck_assert_int_eq(entry_decode(bytes_of(w.log[from].data, w.log[from].len), &e), 0);
	ck_assert_int_eq(e.cut.t_ns, 3 * H);
	entry_clear(&e);
	meta_set_topology(w.replicas[0].meta, w.t);
	topology_free(after);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/meta");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_follower_knows_what_is_committed_and_leads_with_it);
	tcase_add_test(tc, since_when_an_edge_feeds_a_version_outlives_the_leader_that_heard_it);
	tcase_add_test(tc, a_clock_counts_for_the_report_that_it_comes_with);
	tcase_add_test(tc, a_clock_that_was_silent_counts_for_its_next_report);
	tcase_add_loop_test(tc, alone_the_leaders_clock_is_what_it_was_before_it_jumped, 0, 3);
	tcase_add_test(tc, a_small_step_ahead_is_believed);
	tcase_add_loop_test(tc, a_follower_watches_its_clock, 0, 3);
	tcase_add_test(tc, a_grant_does_not_make_an_old_clock_count);
	tcase_add_test(tc, since_when_counts_of_an_edge_that_feeds_the_version_no_more);
	tcase_add_test(tc, only_the_leader_proposes_sends_and_answers);
	tcase_add_test(tc, at_the_end_of_leadership_all_that_waits_is_answered);
	tcase_add_test(tc, what_was_lost_in_flight_is_proposed_again);
	tcase_add_test(tc, a_new_leader_brings_every_shard_what_it_has_not_taken);
	tcase_add_test(tc, a_snapshot_replaces_all_that_was_known);
	tcase_add_test(tc, a_new_leader_counts_everyone_as_heard_then);
	tcase_add_test(tc, a_fenced_holder_is_told_of_for_a_while);
	tcase_add_test(tc, a_readmission_whose_answer_was_lost_is_asked_for_again);
	tcase_add_test(tc, one_who_was_readmitted_and_is_fenced_again_is_readmitted_again);
	tcase_add_test(tc, a_revoked_edge_is_partitioned_at_once);
	tcase_add_loop_test(tc, time_goes_on_when_no_clock_counts_any_more, 0, 2);
	tcase_add_loop_test(tc, what_an_edge_that_left_has_flushed_closes, 0, 5);
	tcase_add_test(tc, since_when_an_edge_that_left_had_a_version_counts);
	tcase_add_test(tc, the_fleet_is_counted_by_the_leader);
	tcase_add_test(tc, the_fleet_in_metrics);
	tcase_add_test(tc, a_revocation_is_asked_for_committed_and_counted);
	tcase_add_test(tc, what_is_no_topology_to_the_leader_is_not_proposed);
	tcase_add_test(tc, nothing_is_closed_before_the_first_map);
	tcase_add_test(tc, no_version_ends_by_a_close_that_was_not_proposed);
	tcase_add_test(tc, which_shards_have_taken_something_is_committed);
	tcase_add_loop_test(tc, an_edge_that_left_has_the_epoch_that_is_committed, 0, 4);
	tcase_add_test(tc, an_edge_that_comes_later_has_the_epoch_that_is_committed);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
