/* /api/v1/cluster: how the words of several nodes become one picture. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/cluster_json.h"
#include "common/err.h"
#include "common/topology.h"

#define NODES 3

static struct topology *t;
static struct msg_group_status groups[NODES][2]; /* meta and shard 0 */
static struct msg_replica_status followers[2];
static struct gather_status all[NODES];

static void setup(void)
{
	struct buf text = {0}, errors = {0};
	buf_printf(&text, "version: 1\ncluster: {name: plant, shards: 1, replicas: 3, security: none}\ncloud:\n");
	for (unsigned i = 1; i <= NODES; i++)
		buf_printf(&text, "  - {name: c%u, listen: \"tcp://127.0.0.1:710%u\", http: \"127.0.0.1:810%u\", data: c%u}\n", i, i,
		    i, i);
	buf_printf(&text, "edges:\n  - {name: e1, data: e1}\nstreams:\n"
			  "  - {name: s, from: {measurement: m, field: f}, window: 1m, compute: [count]}\n");
	int rc = topology_parse("t.yaml", text.data, text.len, &t, &errors);
	ck_assert_msg(!rc, "%s", buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
	followers[0] = (struct msg_replica_status){.node = "c1", .match = 40, .role = REPLICA_FOLLOWER, .active = true};
	followers[1] = (struct msg_replica_status){.node = "c3", .match = 12, .role = REPLICA_LEARNER, .active = true};
	for (uint32_t i = 0; i < NODES; i++) {
		for (uint32_t g = 0; g < 2; g++)
			groups[i][g] = (struct msg_group_status){.group = g, .role = REPLICA_FOLLOWER, .term = 4, .committed = 40,
			    .applied = 38, .digest_hi = 1, .digest_lo = 2, .digest_index = 38, .node = t->clouds[i].name,
			    .leader = "c2", .quorum = true};
		all[i] = (struct gather_status){.node = i, .groups = groups[i], .group_count = 2};
	}
	for (uint32_t g = 0; g < 2; g++) {
		groups[1][g].role = REPLICA_LEADER;
		groups[1][g].committed = 42;
		groups[1][g].replica_count = 2;
		groups[1][g].replicas = followers;
	}
}

static void teardown(void)
{
	topology_free(t);
}

static json_t *cluster(const uint8_t *id)
{
	struct buf out = {0};
	json_error_t error;
	cluster_json_put(t, "c1", id, all, &out);
	json_t *j = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(j != NULL, "%s in %s", error.text, buf_cstr(&out));
	buf_free(&out);
	return j;
}

static const json_t *shard(const json_t *j)
{
	return json_array_get(json_object_get(j, "shards"), 0);
}

static const json_t *replica(const json_t *group, const char *node)
{
	size_t i;
	json_t *r;
	json_array_foreach(json_object_get(group, "replicas"), i, r) {
		if (!strcmp(json_string_value(json_object_get(r, "node")), node))
			return r;
	}
	ck_abort_msg("no replica on %s", node);
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static int64_t number_of(const json_t *o, const char *key)
{
	return json_is_integer(json_object_get(o, key)) ? json_integer_value(json_object_get(o, key)) : -1;
}

static bool has_quorum(const json_t *o)
{
	ck_assert(json_is_boolean(json_object_get(o, "quorum")));
	return json_is_true(json_object_get(o, "quorum"));
}

START_TEST(a_healthy_cluster_is_shown_as_it_is)
{
	uint8_t id[CLUSTER_ID_BYTES] = {0xab};
	json_t *j = cluster(id);
	ck_assert_str_eq(text_of(j, "id"), "ab000000000000000000000000000000");
	ck_assert_str_eq(text_of(j, "asked"), "c1");
	const json_t *s = shard(j), *meta = json_object_get(j, "meta");
	ck_assert_str_eq(text_of(s, "leader"), "c2");
	ck_assert_str_eq(text_of(meta, "leader"), "c2");
	ck_assert(number_of(s, "term") == 4 && has_quorum(s) && has_quorum(meta));
	ck_assert_uint_eq(json_array_size(json_object_get(s, "replicas")), 3);
	const json_t *a = replica(s, "c1"), *b = replica(s, "c2"), *c = replica(s, "c3");
	ck_assert_str_eq(text_of(a, "role"), "follower");
	ck_assert_str_eq(text_of(b, "role"), "leader");
	ck_assert_str_eq(text_of(c, "role"), "learner"); /* the leader knows */
	ck_assert(number_of(a, "applied") == 38 && number_of(a, "digest_index") == 38 && number_of(a, "lag") == 4);
	ck_assert_str_eq(text_of(a, "digest"), "00000000000000010000000000000002");
	ck_assert(number_of(a, "match") == 40 && number_of(c, "match") == 12 && number_of(b, "match") == -1);
	json_decref(j);
}
END_TEST

static bool is_settled(const json_t *o)
{
	ck_assert(json_is_boolean(json_object_get(o, "settled")));
	return json_is_true(json_object_get(o, "settled"));
}

START_TEST(a_group_is_settled_when_its_members_are_the_places)
{
	json_t *j = cluster(NULL);
	ck_assert(!is_settled(shard(j))); /* c3 is a learner */
	json_decref(j);
	followers[1].role = REPLICA_FOLLOWER;
	t->map_version = 7;
	j = cluster(NULL);
	ck_assert(is_settled(shard(j)) && is_settled(json_object_get(j, "meta")));
	ck_assert_int_eq(number_of(j, "map_version"), 7);
	json_decref(j);
	t->places[1] = (struct group_place){.count = 2, .nodes = {1, 0}}; /* c3 is to go */
	j = cluster(NULL);
	ck_assert(!is_settled(shard(j)));
	ck_assert_str_eq(text_of(replica(shard(j), "c3"), "role"), "follower");
	json_decref(j);
	groups[1][0].replica_count = groups[1][1].replica_count = 1; /* it is out, and has not dropped what it had yet */
	j = cluster(NULL);
	ck_assert(is_settled(shard(j)));
	ck_assert_uint_eq(json_array_size(json_object_get(shard(j), "replicas")), 2);
	json_decref(j);
}
END_TEST

START_TEST(nodes_say_what_the_map_makes_of_them)
{
	t->clouds[0].state = CLOUD_LEAVING;
	t->clouds[2].state = CLOUD_GONE;
	json_t *j = cluster(NULL), *nodes = json_object_get(j, "nodes");
	ck_assert_uint_eq(json_array_size(nodes), 2);
	ck_assert_str_eq(text_of(json_array_get(nodes, 0), "membership"), "leaving");
	ck_assert_str_eq(text_of(json_array_get(nodes, 0), "state"), "up");
	ck_assert_str_eq(text_of(json_array_get(nodes, 1), "membership"), "member");
	json_decref(j);
}
END_TEST

START_TEST(who_does_not_answer_is_shown_by_others_words)
{
	all[1] = (struct gather_status){.node = 1, .rc = WEIR_ETIMEOUT};
	all[2].rc = WEIR_ECLOSED;
	all[2].refused = true;
	all[2].group_count = 0;
	json_t *j = cluster(NULL);
	ck_assert(json_is_null(json_object_get(j, "id")));
	const json_t *nodes = json_object_get(j, "nodes");
	ck_assert_str_eq(text_of(json_array_get(nodes, 0), "state"), "up");
	ck_assert_str_eq(text_of(json_array_get(nodes, 1), "state"), "unreachable");
	ck_assert_str_eq(text_of(json_array_get(nodes, 2), "state"), "foreign");
	const json_t *s = shard(j);
	ck_assert_str_eq(text_of(s, "leader"), "c2"); /* the follower hears it */
	ck_assert(has_quorum(s));
	ck_assert_str_eq(text_of(replica(s, "c2"), "role"), "unreachable");
	ck_assert(json_is_null(json_object_get(replica(s, "c2"), "applied")));
	ck_assert(json_is_null(json_object_get(replica(s, "c1"), "lag"))); /* nobody says how far the leader is */
	json_decref(j);
}
END_TEST

START_TEST(a_deposed_leader_is_not_believed)
{
	for (uint32_t g = 0; g < 2; g++) { /* c2 has not noticed yet */
		groups[0][g].term = groups[2][g].term = 5;
		groups[0][g].leader = groups[2][g].leader = "c3";
		groups[2][g].role = REPLICA_LEADER;
	}
	groups[2][1].quorum = false;
	json_t *j = cluster(NULL);
	ck_assert_str_eq(text_of(shard(j), "leader"), "c3");
	ck_assert_int_eq(number_of(shard(j), "term"), 5);
	ck_assert(!has_quorum(shard(j)) && has_quorum(json_object_get(j, "meta"))); /* the leader's own word counts */
	json_decref(j);
	/* nor is what was said of an earlier term: it is over, and the next leader is not elected */
	for (uint32_t g = 0; g < 2; g++) {
		groups[2][g].role = REPLICA_CANDIDATE;
		groups[2][g].term = 6;
		groups[2][g].leader = "";
		groups[2][g].quorum = false;
	}
	j = cluster(NULL);
	ck_assert(json_is_null(json_object_get(shard(j), "leader")) && !has_quorum(shard(j)));
	ck_assert_int_eq(number_of(shard(j), "term"), 6);
	json_decref(j);
}
END_TEST

START_TEST(nothing_is_known_of_a_group_that_nobody_has)
{
	for (int i = 0; i < NODES; i++)
		all[i].group_count = i ? 0 : 1; /* meta alone, on c1 */
	json_t *j = cluster(NULL);
	const json_t *s = shard(j);
	ck_assert(json_is_null(json_object_get(s, "leader")) && json_is_null(json_object_get(s, "term")) && !has_quorum(s));
	ck_assert_str_eq(text_of(replica(s, "c1"), "role"), "forming");
	json_decref(j);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/cluster_json");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_healthy_cluster_is_shown_as_it_is);
	tcase_add_test(tc, a_group_is_settled_when_its_members_are_the_places);
	tcase_add_test(tc, nodes_say_what_the_map_makes_of_them);
	tcase_add_test(tc, who_does_not_answer_is_shown_by_others_words);
	tcase_add_test(tc, a_deposed_leader_is_not_believed);
	tcase_add_test(tc, nothing_is_known_of_a_group_that_nobody_has);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
