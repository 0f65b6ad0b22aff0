/* Placement: random sequences of nodes that come, leave, die and return. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/placement.h"
#include "common/err.h"

static struct cluster_map m;
static struct group_place before[SHARDS_MAX + 1];
static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

static void make(uint32_t nodes, uint32_t groups, uint32_t replicas)
{
	m = (struct cluster_map){.version = 1, .node_count = nodes, .group_count = groups};
	m.nodes = xcalloc(CLOUDS_MAX, sizeof(*m.nodes));
	m.places = xcalloc(groups, sizeof(*m.places));
	for (uint32_t g = 0; g < groups; g++) { /* as topology_place() does */
		m.places[g].count = (uint8_t)(replicas < nodes ? replicas : nodes);
		for (uint32_t r = 0; r < m.places[g].count; r++)
			m.places[g].nodes[r] = (uint8_t)((g + r) % nodes);
	}
}

static void unmake(void)
{
	for (size_t i = 0; i < m.node_count; i++) {
		free(m.nodes[i].name);
		free(m.nodes[i].listen);
		free(m.nodes[i].http);
	}
	free(m.nodes);
	free(m.places);
	free(m.text);
	m = (struct cluster_map){0};
}

static bool places_it(const struct group_place *g, uint32_t slot)
{
	for (uint32_t r = 0; r < g->count; r++) {
		if (g->nodes[r] == slot)
			return true;
	}
	return false;
}

static uint32_t in_state(enum cloud_state state)
{
	uint32_t n = 0;
	for (size_t i = 0; i < m.node_count; i++)
		n += m.nodes[i].state == state;
	return n;
}

static uint32_t load_of(const struct group_place *places, uint32_t slot)
{
	uint32_t n = 0;
	for (uint32_t g = 0; g < m.group_count; g++)
		n += places_it(&places[g], slot);
	return n;
}

static uint32_t leads_of(uint32_t slot)
{
	uint32_t n = 0;
	for (uint32_t g = 0; g < m.group_count; g++)
		n += m.places[g].count && m.places[g].nodes[0] == slot;
	return n;
}

static void expect_even(void)
{
	uint32_t least = UINT32_MAX, most = 0, least_leads = UINT32_MAX, most_leads = 0;
	for (uint32_t slot = 0; slot < m.node_count; slot++) {
		if (m.nodes[slot].state != CLOUD_MEMBER)
			continue;
		uint32_t load = load_of(m.places, slot), leads = leads_of(slot);
		least = load < least ? load : least;
		most = load > most ? load : most;
		least_leads = leads < least_leads ? leads : least_leads;
		most_leads = leads > most_leads ? leads : most_leads;
	}
	ck_assert_uint_le(most - least, 1);
	ck_assert_uint_le(most_leads - least_leads, 1);
}

static void expect_places(uint32_t replicas)
{
	uint32_t members = in_state(CLOUD_MEMBER), each = members < replicas ? members : replicas;
	for (uint32_t g = 0; g < m.group_count; g++) {
		const struct group_place *p = &m.places[g];
		uint32_t alive = 0, kept = 0;
		for (uint32_t r = 0; r < p->count; r++) {
			ck_assert_uint_lt(p->nodes[r], m.node_count);
			enum cloud_state state = m.nodes[p->nodes[r]].state;
			for (uint32_t other = 0; other < r; other++)
				ck_assert_uint_ne(p->nodes[other], p->nodes[r]);
			alive += state == CLOUD_MEMBER;
			ck_assert(state == CLOUD_MEMBER || state == CLOUD_DEAD);
			ck_assert(r || state == CLOUD_MEMBER); /* the leader */
		}
		ck_assert_uint_eq(alive, each);
		ck_assert_uint_le(p->count, replicas);
		for (uint32_t slot = 0; slot < m.node_count; slot++)
			kept += m.nodes[slot].state == CLOUD_DEAD && places_it(&before[g], slot);
		/* A dead one keeps its place where there is nobody else, and only there. */
		uint32_t room = replicas - each;
		ck_assert_uint_eq(p->count - alive, kept < room ? kept : room);
	}
}

/* New places of nodes that take part; at the least so many had to move, by what each node may have and each group lacks. */
static void expect_few_moves(uint32_t replicas)
{
	uint32_t moves = 0, lacking = 0, surplus = 0, total = 0, members = in_state(CLOUD_MEMBER);
	uint32_t each = members < replicas ? members : replicas;
	for (uint32_t g = 0; g < m.group_count; g++) {
		uint32_t stays = 0;
		for (uint32_t slot = 0; slot < m.node_count; slot++) {
			bool takes_part = m.nodes[slot].state == CLOUD_MEMBER;
			moves += takes_part && places_it(&m.places[g], slot) && !places_it(&before[g], slot);
			stays += takes_part && places_it(&before[g], slot);
		}
		lacking += stays < each ? each - stays : 0;
		total += each;
	}
	for (uint32_t slot = 0; slot < m.node_count; slot++) {
		uint32_t most = (total + members - 1) / members, had = load_of(before, slot);
		surplus += m.nodes[slot].state == CLOUD_MEMBER && had > most ? had - most : 0;
	}
	ck_assert_msg(moves <= lacking + surplus + members, "%u moves, %u lacking, %u too many", moves, lacking, surplus);
}

static void plan_and_check(uint32_t replicas)
{
	memcpy(before, m.places, m.group_count * sizeof(*before));
	placement_spread(&m, replicas);
	expect_places(replicas);
	expect_even();
	expect_few_moves(replicas);
	struct group_place once[SHARDS_MAX + 1];
	memcpy(once, m.places, m.group_count * sizeof(*once));
	placement_spread(&m, replicas); /* nothing has changed: nothing moves */
	ck_assert_mem_eq(once, m.places, m.group_count * sizeof(*once));
}

static void change_one(void)
{
	uint32_t slot = random_below((uint32_t)m.node_count + 1);
	if (slot == m.node_count && m.node_count < CLOUDS_MAX) {
		m.nodes[m.node_count++].state = CLOUD_MEMBER;
		return;
	}
	slot %= (uint32_t)m.node_count;
	struct map_node *n = &m.nodes[slot];
	bool last = n->state == CLOUD_MEMBER && in_state(CLOUD_MEMBER) == 1;
	switch (n->state) {
	case CLOUD_MEMBER:
		if (!last)
			n->state = random_below(2) ? CLOUD_DEAD : CLOUD_LEAVING;
		break;
	case CLOUD_DEAD:
		n->state = random_below(3) ? CLOUD_MEMBER : CLOUD_LEAVING;
		break;
	case CLOUD_LEAVING:
		n->state = load_of(m.places, slot) ? CLOUD_MEMBER : CLOUD_GONE;
		break;
	case CLOUD_GONE:
		n->state = CLOUD_MEMBER;
		break;
	}
}

START_TEST(any_sequence_stays_even_whole_and_moves_little)
{
	seed = (uint64_t)_i + 1;
	uint32_t nodes = 1 + random_below(8), groups = 1 + random_below(40), replicas = 1 + random_below(REPLICAS_MAX);
	make(nodes, groups, replicas);
	plan_and_check(replicas);
	for (int i = 0; i < 60; i++) {
		change_one();
		plan_and_check(replicas);
	}
	unmake();
}
END_TEST

START_TEST(the_largest_cluster_is_even)
{
	make(3, SHARDS_MAX + 1, 3);
	while (m.node_count < CLOUDS_MAX) {
		m.node_count++;
		plan_and_check(3);
	}
	unmake();
}
END_TEST

/* 3 nodes to 4 to 5 and back: what one would expect by hand. */
START_TEST(a_node_that_comes_takes_its_share_and_no_more)
{
	make(3, 9, 3);
	m.node_count = 4;
	plan_and_check(3);
	ck_assert_uint_eq(load_of(m.places, 3), 6); /* 27 replicas on 4 nodes: 7, 7, 7, 6 */
	uint32_t moved = 0;
	for (uint32_t g = 0; g < 9; g++) {
		for (uint32_t slot = 0; slot < 3; slot++)
			moved += !places_it(&before[g], slot) && places_it(&m.places[g], slot);
	}
	ck_assert_uint_eq(moved, 0); /* nothing between those that were there */
	m.nodes[3].state = CLOUD_LEAVING;
	plan_and_check(3);
	ck_assert_uint_eq(load_of(m.places, 3), 0);
	unmake();
}
END_TEST

START_TEST(nobody_takes_part_nothing_changes)
{
	make(3, 5, 3);
	for (uint32_t i = 0; i < 3; i++)
		m.nodes[i].state = i ? CLOUD_DEAD : CLOUD_LEAVING;
	memcpy(before, m.places, m.group_count * sizeof(*before));
	placement_spread(&m, 3);
	ck_assert_mem_eq(before, m.places, m.group_count * sizeof(*before));
	unmake();
}
END_TEST

/* ---- what becomes of nodes ---------------------------------------------------------------------------------------- */

static const char text[] =
    "version: 1\n"
    "cluster: {name: plant, shards: 4, replicas: 2, security: none}\n"
    "cloud:\n"
    "  - {name: a, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\", data: a}\n"
    "  - {name: b, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\", data: b}\n"
    "  - {name: c, listen: \"tcp://127.0.0.1:7103\", http: \"127.0.0.1:8103\", data: c}\n"
    "edges:\n"
    "  - {name: e, data: e, sources: [{type: stdin}]}\n"
    "streams:\n"
    "  - {name: s, from: {measurement: m, field: f}, by: [], window: 1m, lateness: 30s, compute: [count], retain: forever}\n";

static void setup_text(void)
{
	make(3, 5, 2);
	m.text = xstrdup(text);
	m.text_len = strlen(text);
	for (uint32_t i = 0; i < 3; i++) {
		m.nodes[i].name = xasprintf("%c", 'a' + i);
		m.nodes[i].listen = xasprintf("tcp://127.0.0.1:710%u", i + 1);
		m.nodes[i].http = xasprintf("127.0.0.1:810%u", i + 1);
	}
	ck_assert_int_eq(placement_plan(&m), 0);
}

START_TEST(a_dead_nodes_replicas_go_elsewhere_and_it_gets_its_share_when_it_is_back)
{
	ck_assert_int_eq(placement_node(&m, 1, NODE_EVENT_DEAD), 0);
	ck_assert_int_eq(m.nodes[1].state, CLOUD_DEAD);
	ck_assert_uint_eq(m.version, 2);
	ck_assert_uint_eq(load_of(m.places, 1), 0);
	ck_assert_int_eq(placement_node(&m, 1, NODE_EVENT_ALIVE), 0);
	ck_assert_int_eq(m.nodes[1].state, CLOUD_MEMBER);
	ck_assert_uint_eq(m.version, 3);
	ck_assert_uint_ge(load_of(m.places, 1), 3);
	expect_even();
}
END_TEST

START_TEST(a_dead_node_without_elsewhere_keeps_its_places)
{
	ck_assert_int_eq(placement_node(&m, 1, NODE_EVENT_DEAD), 0);
	uint32_t load = load_of(m.places, 2);
	ck_assert_int_eq(placement_node(&m, 2, NODE_EVENT_DEAD), 0);
	ck_assert_uint_eq(load_of(m.places, 2), load); /* only a is left: nobody else */
	ck_assert_uint_eq(leads_of(0), m.group_count);
}
END_TEST

START_TEST(events_that_do_not_follow_change_nothing)
{
	static const enum node_event events[] = {NODE_EVENT_ALIVE, NODE_EVENT_GONE, (enum node_event)9};
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(placement_node(&m, 0, events[i]), WEIR_EINVAL);
	ck_assert_int_eq(placement_node(&m, 3, NODE_EVENT_DEAD), WEIR_EINVAL);
	ck_assert_int_eq(placement_node(&m, 0, NODE_EVENT_DEAD), 0);
	ck_assert_int_eq(placement_node(&m, 0, NODE_EVENT_DEAD), WEIR_EINVAL);
	ck_assert_uint_eq(m.version, 2);
}
END_TEST

START_TEST(a_node_is_gone_once_it_has_no_place)
{
	m.nodes[2].state = CLOUD_LEAVING;
	ck_assert_int_eq(placement_node(&m, 2, NODE_EVENT_GONE), WEIR_EINVAL);
	ck_assert_int_eq(placement_plan(&m), 0);
	ck_assert_int_eq(placement_node(&m, 2, NODE_EVENT_DEAD), WEIR_EINVAL);
	ck_assert_int_eq(placement_node(&m, 2, NODE_EVENT_GONE), 0);
	ck_assert_int_eq(m.nodes[2].state, CLOUD_GONE);
	ck_assert_str_eq(m.nodes[2].name, "");
	ck_assert_str_eq(m.nodes[2].listen, "");
	ck_assert_str_eq(m.nodes[2].http, "");
}
END_TEST

START_TEST(a_text_of_another_program_changes_nothing)
{
	m.text[9] = '7';
	memcpy(before, m.places, m.group_count * sizeof(*before));
	ck_assert_int_eq(placement_node(&m, 0, NODE_EVENT_DEAD), WEIR_EINVAL);
	ck_assert_int_eq(m.nodes[0].state, CLOUD_MEMBER);
	ck_assert_uint_eq(m.version, 1);
	ck_assert_mem_eq(before, m.places, m.group_count * sizeof(*before));
}
END_TEST

/* Seeds: pure arithmetic, of which sanitizers see the same in each; they take six times as long with them. */
#ifdef __SANITIZE_ADDRESS__
#define SEQUENCES 40
#else
#define SEQUENCES 200
#endif

int main(void)
{
	Suite *s = suite_create("placement");
	TCase *tc = tcase_create("spread");
	tcase_add_loop_test(tc, any_sequence_stays_even_whole_and_moves_little, 0, SEQUENCES);
	tcase_add_test(tc, the_largest_cluster_is_even);
	tcase_add_test(tc, a_node_that_comes_takes_its_share_and_no_more);
	tcase_add_test(tc, nobody_takes_part_nothing_changes);
	suite_add_tcase(s, tc);
	tc = tcase_create("nodes");
	tcase_add_checked_fixture(tc, setup_text, unmake);
	tcase_add_test(tc, a_dead_nodes_replicas_go_elsewhere_and_it_gets_its_share_when_it_is_back);
	tcase_add_test(tc, a_dead_node_without_elsewhere_keeps_its_places);
	tcase_add_test(tc, events_that_do_not_follow_change_nothing);
	tcase_add_test(tc, a_node_is_gone_once_it_has_no_place);
	tcase_add_test(tc, a_text_of_another_program_changes_nothing);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
