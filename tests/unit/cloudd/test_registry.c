#include <check.h>
#include <string.h>

#include "cloudd/registry.h"
#include "common/clock.h"
#include "tests/unit/cloudd/cloud_topology.h"

#define NODES 4
#define GROUPS 3

static struct topology *t;
static struct registry r;
static int64_t heard[NODES], now;
static int leaders[GROUPS];
static uint64_t settled[GROUPS];
static bool founded[GROUPS];

static void setup(void)
{
	t = cloud_topology_of(NODES, GROUPS - 1, 3);
	t->map_version = 2;
	t->replace_after_ns = 60 * NS_PER_SEC;
	now = 100 * NS_PER_SEC;
	for (uint32_t i = 0; i < NODES; i++)
		heard[i] = 0;
	for (uint32_t g = 0; g < GROUPS; g++) {
		leaders[g] = 0;
		settled[g] = 2;
		founded[g] = false;
	}
	registry_lead(&r, now);
}

static void teardown(void)
{
	topology_free(t);
}

static bool next(struct registry_event *ret)
{
	struct registry_facts f = {.topology = t, .mono_ns = now, .heard_ns = heard, .leaders = leaders, .founded = founded,
	    .settled = settled};
	return registry_next(&r, &f, ret);
}

/* So many seconds in which all but `silent` (a bit each) are heard. False: nothing to be proposed. */
static bool pass(unsigned seconds, unsigned silent, struct registry_event *ret)
{
	for (; seconds; seconds--) {
		now += NS_PER_SEC;
		for (uint32_t i = 1; i < NODES; i++) {
			if (!(silent >> i & 1))
				heard[i] = now;
		}
		if (next(ret))
			return true;
	}
	return false;
}

static void expect(struct registry_event e, uint32_t slot, enum node_event event)
{
	ck_assert_uint_eq(e.slot, slot);
	ck_assert_int_eq(e.event, event);
}

START_TEST(a_silent_node_is_dead_after_a_while_and_alive_when_heard)
{
	struct registry_event e;
	ck_assert(!pass(30, 0, &e));
	ck_assert(!pass(59, 1 << 2, &e));
	ck_assert(pass(1, 1 << 2, &e));
	expect(e, 2, NODE_EVENT_DEAD);
	t->clouds[2].state = CLOUD_DEAD;
	t->map_version = 3;
	ck_assert(!pass(100, 1 << 2, &e));
	ck_assert(pass(1, 0, &e));
	expect(e, 2, NODE_EVENT_ALIVE);
}
END_TEST

START_TEST(a_new_node_has_time_to_be_started)
{
	struct registry_event e;
	t->clouds[3].state = CLOUD_GONE;
	ck_assert(!pass(200, 1 << 3, &e));
	t->clouds[3].state = CLOUD_MEMBER;
	t->map_version++;
	ck_assert(!pass(60, 1 << 3, &e));
	ck_assert(pass(1, 1 << 3, &e));
	expect(e, 3, NODE_EVENT_DEAD);
}
END_TEST

START_TEST(silence_counts_from_the_leaders_own_beginning)
{
	struct registry_event e;
	heard[2] = 1; /* long before */
	ck_assert(!pass(59, 1 << 2, &e));
	registry_lead(&r, now);
	ck_assert(!pass(59, 1 << 2, &e));
	ck_assert(pass(1, 1 << 2, &e));
}
END_TEST

START_TEST(who_was_stopped_itself_calls_nobody_dead)
{
	struct registry_event e;
	ck_assert(!pass(10, 0, &e));
	now += 3600 * NS_PER_SEC;
	ck_assert(!next(&e));
	ck_assert(!pass(59, 1 << 1 | 1 << 2, &e));
	ck_assert(pass(1, 1 << 1 | 1 << 2, &e));
}
END_TEST

START_TEST(who_hears_few_is_cut_off_itself)
{
	struct registry_event e;
	ck_assert(!pass(200, 1 << 1 | 1 << 2 | 1 << 3, &e));
	ck_assert(pass(1, 1 << 1 | 1 << 2, &e)); /* two of four are half of them */
	expect(e, 1, NODE_EVENT_DEAD);
}
END_TEST

START_TEST(a_leaving_node_is_gone_once_nothing_is_there)
{
	struct registry_event e;
	ck_assert(!pass(5, 0, &e));
	t->clouds[3].state = CLOUD_LEAVING;
	for (uint32_t g = 0; g < GROUPS; g++)
		t->places[g] = (struct group_place){.count = 3, .nodes = {0, 1, 2}};
	t->map_version = 5;
	ck_assert(!pass(5, 0, &e));
	settled[0] = settled[1] = 5;
	settled[2] = 4;
	ck_assert(!pass(5, 0, &e));
	settled[2] = 5;
	t->places[1].nodes[2] = 3; /* dead and leaving with nobody else: it has a place */
	ck_assert(!pass(5, 0, &e));
	t->places[1].nodes[2] = 2;
	ck_assert(pass(1, 1 << 3, &e)); /* whether it is heard or not */
	expect(e, 3, NODE_EVENT_GONE);
}
END_TEST

START_TEST(one_event_at_a_time_and_again_when_nothing_came_of_it)
{
	struct registry_event e;
	ck_assert(!pass(59, 1 << 1 | 1 << 2, &e));
	ck_assert(pass(1, 1 << 1 | 1 << 2, &e));
	expect(e, 1, NODE_EVENT_DEAD);
	ck_assert(!pass(2, 1 << 1 | 1 << 2, &e));
	ck_assert(pass(1, 1 << 1 | 1 << 2, &e));
	expect(e, 1, NODE_EVENT_DEAD);
	t->clouds[1].state = CLOUD_DEAD;
	t->map_version++;
	ck_assert(pass(1, 1 << 1 | 1 << 2, &e));
	expect(e, 2, NODE_EVENT_DEAD);
	t->map_version++;
	ck_assert(pass(1, 1 << 2, &e)); /* who is back comes first */
	expect(e, 1, NODE_EVENT_ALIVE);
}
END_TEST

START_TEST(nothing_changes_before_all_groups_were_led)
{
	struct registry_event e;
	t->map_version = 1;
	leaders[2] = -1;
	ck_assert(!pass(100, 1 << 2, &e));
	ck_assert(!registry_formed(&r, t));
	leaders[2] = 1;
	ck_assert(pass(1, 1 << 2, &e));
	ck_assert(registry_formed(&r, t));
	leaders[2] = -1; /* it was founded, whoever leads it now */
	ck_assert(registry_formed(&r, t));
	registry_lead(&r, now);
	t->map_version = 2;
	ck_assert(registry_formed(&r, t));
	t->map_version = 0;
	ck_assert(!pass(100, 1 << 2, &e)); /* no map yet */
}
END_TEST

/* Two of five nodes are gone, a shard has no quorum, and who leads the meta group has never heard of a leader of it. */
START_TEST(a_group_that_was_led_before_this_leader_began_is_founded)
{
	struct registry_event e;
	t->map_version = 1;
	leaders[2] = -1;
	founded[2] = true;
	ck_assert(!pass(59, 1 << 2, &e));
	ck_assert(registry_formed(&r, t));
	ck_assert(pass(1, 1 << 2, &e));
	expect(e, 2, NODE_EVENT_DEAD);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("registry");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_silent_node_is_dead_after_a_while_and_alive_when_heard);
	tcase_add_test(tc, a_new_node_has_time_to_be_started);
	tcase_add_test(tc, silence_counts_from_the_leaders_own_beginning);
	tcase_add_test(tc, who_was_stopped_itself_calls_nobody_dead);
	tcase_add_test(tc, who_hears_few_is_cut_off_itself);
	tcase_add_test(tc, a_leaving_node_is_gone_once_nothing_is_there);
	tcase_add_test(tc, one_event_at_a_time_and_again_when_nothing_came_of_it);
	tcase_add_test(tc, nothing_changes_before_all_groups_were_led);
	tcase_add_test(tc, a_group_that_was_led_before_this_leader_began_is_founded);
	suite_add_tcase(s, tc);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
