/* Who may say what. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/allow.h"
#include "common/topology.h"

static struct topology *t;

static void setup(void)
{
	struct buf errors = {0};
	static const char text[] = "version: 1\ncluster: {name: c, replicas: 1}\ncloud:\n"
				   "  - {name: c1, listen: \"tcp://127.0.0.1:1\", http: \"127.0.0.1:2\"}\n"
				   "  - {name: c2, listen: \"tcp://127.0.0.1:3\", http: \"127.0.0.1:4\"}\n"
				   "edges: [{name: e1}, {name: e2}]\n";
	ck_assert_msg(!topology_parse("t", text, strlen(text), &t, &errors), "%s", buf_cstr(&errors));
}

static void teardown(void)
{
	topology_free(t);
}

static struct msg edge_message(enum msg_type type, const char *from, const char *edge)
{
	struct msg m = {.type = type, .from = from};
	if (type == MSG_HELLO)
		m.hello.edge = edge;
	else if (type == MSG_OPEN)
		m.open.edge = edge;
	else if (type == MSG_BATCH)
		m.batch.edge = edge;
	else if (type == MSG_REPORT)
		m.report.edge = edge;
	return m;
}

static enum allow ask(const char *who, enum msg_type type, const char *from, const char *edge)
{
	struct msg m = edge_message(type, from, edge);
	return allow_frame(t, who, &m);
}

static const enum msg_type edges_say[] = {MSG_HELLO, MSG_OPEN, MSG_BATCH, MSG_REPORT};

START_TEST(an_edge_speaks_as_and_about_itself_only)
{
	for (size_t i = 0; i < 4; i++) {
		enum msg_type type = edges_say[i];
		ck_assert_int_eq(ask("e1", type, "e1", "e1"), ALLOW);
		ck_assert_int_eq(ask("e1", type, "e2", "e2"), ALLOW_NOT_FROM);
		ck_assert_int_eq(ask("e1", type, "e2", "e1"), ALLOW_NOT_FROM);
		ck_assert_int_eq(ask("e1", type, "e1", "e2"), ALLOW_NOT_ABOUT);
		ck_assert_int_eq(ask("e1", type, "c1", "e2"), ALLOW_NOT_FROM); /* as if forwarded */
		ck_assert_int_eq(ask("e1", type, "", "e1"), ALLOW_NOT_FROM);
	}
	ck_assert_int_eq(ask("e1", MSG_MAP, "e1", NULL), ALLOW);
	ck_assert_int_eq(ask("e1", MSG_MAP, "e2", NULL), ALLOW_NOT_FROM);
}
END_TEST

START_TEST(an_edge_does_not_speak_as_a_node)
{
	for (int type = MSG_NONE; type <= MSG_ERROR; type++) {
		bool edges = type == MSG_MAP;
		for (size_t i = 0; i < 4; i++)
			edges = edges || (int)edges_say[i] == type;
		if (!edges) {
			ck_assert_int_eq(ask("e1", (enum msg_type)type, "e1", NULL), ALLOW_NOT_FOR_EDGE);
			ck_assert_int_eq(ask("e1", (enum msg_type)type, "c1", NULL), ALLOW_NOT_FROM);
			ck_assert_int_eq(ask("c1", (enum msg_type)type, "c1", NULL), ALLOW);
			ck_assert_int_eq(ask("c1", (enum msg_type)type, "c2", NULL), ALLOW_NOT_FROM);
		}
	}
}
END_TEST

START_TEST(a_node_forwards_for_any_edge)
{
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(ask("c1", edges_say[i], "c1", "e2"), ALLOW);
		ck_assert_int_eq(ask("c1", edges_say[i], "e2", "e2"), ALLOW_NOT_FROM);
	}
}
END_TEST

START_TEST(others_say_nothing)
{
	ck_assert_int_eq(ask("x", MSG_HELLO, "x", "x"), ALLOW_NOT_KNOWN);
	ck_assert_int_eq(ask("x", MSG_INFO, "c1", NULL), ALLOW_NOT_KNOWN);
	for (int type = MSG_NONE; type <= MSG_ERROR; type++) /* but ask where it stands */
		ck_assert_int_eq(ask("x", (enum msg_type)type, "x", "x"),
		    type == MSG_INFO || type == MSG_MAP ? ALLOW : ALLOW_NOT_KNOWN);
	ck_assert_int_eq(ask(NULL, MSG_HELLO, "e1", "e1"), ALLOW_NOT_KEY);
	t->edges[0].gone = true;
	ck_assert_int_eq(ask("e1", MSG_HELLO, "e1", "e1"), ALLOW_NOT_KNOWN);
	t->clouds[1].state = CLOUD_GONE;
	ck_assert_int_eq(ask("c2", MSG_RAFT, "c2", NULL), ALLOW_NOT_KNOWN);
	ck_assert_int_eq(ask("c2", MSG_INFO, "c2", NULL), ALLOW);
	t->clouds[1].state = CLOUD_LEAVING;
	ck_assert_int_eq(ask("c2", MSG_INFO, "c2", NULL), ALLOW);
}
END_TEST

START_TEST(a_revoked_edge_is_heard_through_nobody)
{
	t->edges[0].revoked = true;
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(ask("e1", edges_say[i], "e1", "e1"), ALLOW_NOT_REVOKED);
		ck_assert_int_eq(ask("c1", edges_say[i], "c1", "e1"), ALLOW_NOT_REVOKED); /* forwarded */
		ck_assert_int_eq(ask("", edges_say[i], "e1", "e1"), ALLOW_NOT_REVOKED);   /* without keys, too */
		ck_assert_int_eq(ask("e2", edges_say[i], "e2", "e2"), ALLOW);
	}
	ck_assert_int_eq(ask("e1", MSG_MAP, "e1", NULL), ALLOW_NOT_REVOKED);
	char *left[] = {"b", "left"};
	t->revoked = left; /* and is not in the topology any more */
	t->revoked_count = 2;
	ck_assert_int_eq(ask("left", MSG_MAP, "left", NULL), ALLOW_NOT_REVOKED);
	ck_assert_int_eq(ask("", MSG_MAP, "left", NULL), ALLOW_NOT_REVOKED);
	ck_assert_int_eq(ask("lef", MSG_MAP, "lef", NULL), ALLOW);
	t->revoked_count = 0;
	t->revoked = NULL;
	ck_assert_int_eq(ask("c1", MSG_RAFT, "c1", NULL), ALLOW);
}
END_TEST

START_TEST(without_keys_everybody_is_who_he_says)
{
	ck_assert_int_eq(ask("", MSG_HELLO, "e1", "e1"), ALLOW);
	ck_assert_int_eq(ask("", MSG_INFO, "c1", NULL), ALLOW);
	ck_assert_int_eq(ask("", MSG_HELLO, "nobody", "nobody"), ALLOW); /* ingress answers that */
}
END_TEST

START_TEST(each_has_a_label_and_a_reason)
{
	for (int a = ALLOW + 1; a < ALLOW_RESULTS; a++) {
		ck_assert_str_ne(allow_label((enum allow)a), "unknown");
		ck_assert_str_ne(allow_reason((enum allow)a), "");
		for (int b = ALLOW; b < a; b++)
			ck_assert_str_ne(allow_label((enum allow)a), allow_label((enum allow)b));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/allow");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_edge_speaks_as_and_about_itself_only);
	tcase_add_test(tc, an_edge_does_not_speak_as_a_node);
	tcase_add_test(tc, a_node_forwards_for_any_edge);
	tcase_add_test(tc, others_say_nothing);
	tcase_add_test(tc, a_revoked_edge_is_heard_through_nobody);
	tcase_add_test(tc, without_keys_everybody_is_who_he_says);
	tcase_add_test(tc, each_has_a_label_and_a_reason);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
