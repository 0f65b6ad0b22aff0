/* What other threads see of a node's groups, and what its metrics say of them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/progress.h"
#include "cloudd/view.h"
#include "common/err.h"
#include "tests/unit/cloudd/cloud_topology.h"
#include "tests/unit/cloudd/kit.h"

#define SHARDS 3

static struct topology *t;
static struct view *v;
static struct group_status statuses[SHARDS + 1];
static struct view_counters counters;

static void setup(void)
{
	t = cloud_topology(3, SHARDS);
	v = view_new(t, 0);
	memset(statuses, 0, sizeof(statuses));
	counters = (struct view_counters){.replica = 77};
	statuses[0] = (struct group_status){.held = true, .role = REPLICA_FOLLOWER, .term = 5, .leader = 2, .quorum = true,
	    .committed = 9, .applied = 8, .durable = 7, .last = 10, .heard_ns = 3};
	statuses[1] = (struct group_status){.held = true, .role = REPLICA_LEADER, .term = 6, .leader = 0, .serving = true,
	    .quorum = true, .committed = 20, .applied = 20, .durable = 20, .last = 21, .replica_count = 2};
	statuses[1].replicas[0].node = 1;
	statuses[1].replicas[0].match = 20;
	statuses[1].replicas[0].active = true;
	statuses[1].replicas[1].node = 2;
	statuses[1].replicas[1].match = 15;
	statuses[1].replicas[1].replica = 99;
	statuses[1].replicas[1].role = REPLICA_LEARNER;
	statuses[2] = (struct group_status){.held = true, .role = REPLICA_CANDIDATE, .term = 7, .leader = -1};
	statuses[3] = (struct group_status){.leader = 1}; /* not held; known from what nodes said */
}

static void teardown(void)
{
	view_free(v);
	topology_free(t);
}

START_TEST(nothing_is_known_at_first)
{
	char *why = NULL;
	ck_assert(!view_ready(v, &why));
	ck_assert_ptr_nonnull(why);
	free(why);
	for (uint32_t g = 0; g <= SHARDS; g++)
		ck_assert(view_leader(v, g) == -1 && !view_serves(v, g));
	struct msg_group_status out[GROUPS_PER_STATUS_MAX];
	ck_assert_uint_eq(view_groups(v, out), 0);
}
END_TEST

START_TEST(what_the_loop_puts_in_comes_out)
{
	char *why = NULL;
	view_put(v, &counters, statuses, NULL);
	ck_assert(view_ready(v, &why));
	ck_assert(view_leader(v, 0) == 2 && view_leader(v, 1) == 0 && view_leader(v, 2) == -1 && view_leader(v, 3) == 1);
	ck_assert(!view_serves(v, 0) && view_serves(v, 1));
	struct group_status all[SHARDS + 1], one;
	view_group_statuses(v, all);
	view_group_status(v, 1, &one);
	ck_assert(all[1].term == 6 && one.term == 6 && one.replicas[1].match == 15 && all[3].leader == 1);
	view_put(v, &counters, statuses, "a shard has no leader");
	ck_assert(!view_ready(v, &why));
	ck_assert_str_eq(why, "a shard has no leader");
	free(why);
}
END_TEST

START_TEST(other_nodes_are_told_of_groups_held)
{
	struct msg_group_status out[GROUPS_PER_STATUS_MAX];
	view_put(v, &counters, statuses, NULL);
	ck_assert_uint_eq(view_groups(v, out), 3);
	ck_assert(out[0].role == REPLICA_FOLLOWER && out[0].committed == 9 && out[0].quorum && out[0].replica == 77);
	ck_assert_str_eq(out[0].leader, t->clouds[2].name);
	ck_assert_str_eq(out[0].node, t->clouds[0].name);
	ck_assert(!out[0].replicas && !out[0].replica_count);
	ck_assert(out[1].role == REPLICA_LEADER && out[1].replica_count == 2);
	ck_assert_str_eq(out[1].replicas[1].node, t->clouds[2].name);
	ck_assert(out[1].replicas[1].match == 15 && out[1].replicas[1].role == REPLICA_LEARNER &&
	    out[1].replicas[1].replica == 99 && out[1].replicas[0].active && !out[1].replicas[1].active);
	ck_assert_str_eq(out[2].leader, "");
	ck_assert(!out[2].quorum);
	free(out[1].replicas);
}
END_TEST

static void nothing(void *arg)
{
	(void)arg;
}

/* A process that was stopped has heard from nobody meanwhile, whatever it noted before. */
START_TEST(an_old_copy_says_so)
{
	struct group_status s;
	struct progress *p = progress_new(1, nothing, NULL);
	view_put(v, &counters, statuses, NULL);
	ck_assert_int_eq(progress_pause(p, VIEW_FRESH_NS + 1), 0);
	view_group_status(v, 0, &s);
	ck_assert_uint_gt(s.heard_ns, VIEW_FRESH_NS);
	view_group_status(v, 1, &s); /* a leader, too */
	ck_assert_uint_gt(s.heard_ns, VIEW_FRESH_NS);
	struct group_status all[SHARDS + 1];
	view_group_statuses(v, all);
	ck_assert_uint_gt(all[1].heard_ns, VIEW_FRESH_NS);
	progress_free(p);
}
END_TEST

START_TEST(states_that_differ_are_told_of)
{
	struct buf out = {0};
	view_put(v, &counters, statuses, NULL);
	view_notes(v, &out);
	ck_assert_uint_eq(out.len, 0);
	statuses[1].differs = statuses[2].differs = 1 + 2;
	statuses[0].differs = 1 + 1;
	statuses[3].differs = 1 + 1; /* not held */
	view_put(v, &counters, statuses, NULL);
	view_notes(v, &out);
	ck_assert_str_eq(buf_cstr(&out), "divergent: the meta group has another state here than on cloud-2\n"
	                                 "divergent: shard 0 (and 1 more) has another state here than on cloud-3\n");
	buf_free(&out);
}
END_TEST

START_TEST(metrics_tell_of_each_group)
{
	static const char *const lines[] = {
	    "weir_raft_groups{role=\"leader\"} 1", "weir_raft_groups{role=\"follower\"} 1",
	    "weir_raft_groups{role=\"candidate\"} 1", "weir_raft_groups_ailing{what=\"no_leader\"} 1",
	    "weir_raft_groups_ailing{what=\"no_quorum\"} 1", "weir_raft_term{group=\"0\"} 5",
	    "weir_raft_leader{group=\"0\"} 0", "weir_raft_leader{group=\"1\"} 1", "weir_raft_quorum{group=\"2\"} 0",
	    "weir_cloud_group_index{group=\"0\",what=\"committed\"} 9",
	    "weir_cloud_group_index{group=\"0\",what=\"durable\"} 7",
	    "weir_raft_follower_lag_entries{group=\"1\",node=\"cloud-2\"} 0",
	    "weir_raft_follower_lag_entries{group=\"1\",node=\"cloud-3\"} 5", "weir_raft_elections_total 4",
	    "weir_cloud_snapshots_fetched_total 2", "weir_raft_frames_total{result=\"lost\"} 6",
	    "weir_raft_groups_ailing{what=\"outdated\"} 1", "weir_cloud_outdated_entry_index{group=\"2\",kind=\"77\"} 123",
	    "weir_raft_groups_ailing{what=\"damaged\"} 1", "weir_raft_groups_ailing{what=\"differs\"} 1",
	    "weir_cloud_digest_differs{group=\"1\",node=\"cloud-3\"} 1"};
	struct kit k;
	struct kv_txn *txn;
	struct buf out = {0};
	kit_init(&k, SHARDS, "  - {name: speed, from: {measurement: m, field: f}, window: 1m, compute: [count]}\n");
	counters.consensus.elections = 4;
	counters.consensus.snapshots_fetched = 2;
	counters.consensus.frames_lost = 6;
	statuses[1].differs = 1 + 2;
	statuses[3].differs = 1 + 2; /* not held */
	statuses[2].damage = "flipped";
	statuses[2].outdated = (struct outdated){123, 1, 77};
	statuses[3].outdated = (struct outdated){123, 1, 77}; /* not held */
	view_put(v, &counters, statuses, NULL);
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	buf_printf(&out, "\n");
	view_metrics(v, txn, &out);
	kv_abort(txn);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *line = xasprintf("\n%s\n", lines[i]);
		ck_assert_msg(strstr(buf_cstr(&out), line) != NULL, "%s", lines[i]);
		free(line);
	}
	ck_assert_ptr_null(strstr(buf_cstr(&out), "group=\"3\"")); /* not held */
	buf_free(&out);
	kit_close(&k);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/view");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing_is_known_at_first);
	tcase_add_test(tc, what_the_loop_puts_in_comes_out);
	tcase_add_test(tc, other_nodes_are_told_of_groups_held);
	tcase_add_test(tc, an_old_copy_says_so);
	tcase_add_test(tc, states_that_differ_are_told_of);
	tcase_add_test(tc, metrics_tell_of_each_group);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
