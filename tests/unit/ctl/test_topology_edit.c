#include <check.h>
#include <string.h>

#include "common/err.h"
#include "ctl/topology_edit.h"

#define HEAD "# our plant\nversion: 1\ncluster: {name: plant, shards: 2, replicas: 3, security: none}  # as it is\n"
#define TAIL \
	"edges:\n" \
	"  - {name: e, data: e, sources: [{type: stdin}]}\n" \
	"streams:\n" \
	"  - {name: s, from: {measurement: m, field: f}, by: [], window: 1m, lateness: 30s, compute: [count], retain: forever}\n"
#define NODE(n) "{name: c" #n ", listen: \"tcp://127.0.0.1:710" #n "\", http: \"127.0.0.1:810" #n "\", data: run/c" #n "}"
#define NEW_NODE "{name: \"c4\", listen: \"tcp://127.0.0.1:7104\", http: \"127.0.0.1:8104\", data: \"run/c4\"}"

static const struct topology_edit_node c4 = {"c4", "tcp://127.0.0.1:7104", "127.0.0.1:8104", NULL};

static void expect_added(const char *before, const char *after)
{
	struct buf out = {0}, error = {0};
	int rc = topology_edit_add(before, strlen(before), &c4, &out, &error);
	ck_assert_msg(!rc, "%s", buf_cstr(&error));
	ck_assert_str_eq(buf_cstr(&out), after);
	buf_clear(&out);
	rc = topology_edit_remove(after, strlen(after), "c4", &out, &error); /* and back: every byte */
	ck_assert_msg(!rc, "%s", buf_cstr(&error));
	ck_assert_str_eq(buf_cstr(&out), before);
	buf_free(&out);
	buf_free(&error);
}

static void expect_removed(const char *name, const char *before, const char *after)
{
	struct buf out = {0}, error = {0};
	int rc = topology_edit_remove(before, strlen(before), name, &out, &error);
	ck_assert_msg(!rc, "%s", buf_cstr(&error));
	ck_assert_str_eq(buf_cstr(&out), after);
	buf_free(&out);
	buf_free(&error);
}

static void expect_refused(int rc, const char *before, const struct topology_edit_node *node, const char *less,
    const char *why)
{
	struct buf out = {0}, error = {0};
	int got = node ? topology_edit_add(before, strlen(before), node, &out, &error)
	               : topology_edit_remove(before, strlen(before), less, &out, &error);
	ck_assert_int_eq(got, rc);
	ck_assert_msg(strstr(buf_cstr(&error), why) != NULL, "%s", buf_cstr(&error));
	ck_assert_uint_eq(out.len, 0);
	buf_free(&out);
	buf_free(&error);
}

START_TEST(a_list_of_lines)
{
	expect_added(HEAD "cloud:\n  - " NODE(1) "\n  - " NODE(2) "  # the second\n\n# edges\n" TAIL,
	    HEAD "cloud:\n  - " NODE(1) "\n  - " NODE(2) "  # the second\n  - " NEW_NODE "\n\n# edges\n" TAIL);
	expect_removed("c1", HEAD "cloud:\n  # first\n  - " NODE(1) "\n  # second\n  - " NODE(2) "\n" TAIL,
	    HEAD "cloud:\n  # first\n  # second\n  - " NODE(2) "\n" TAIL);
	expect_added(HEAD "cloud:\n- " NODE(1) "\n" TAIL, HEAD "cloud:\n- " NODE(1) "\n- " NEW_NODE "\n" TAIL);
}
END_TEST

START_TEST(at_the_end_of_the_file)
{
	struct buf out = {0}, error = {0};
	const char *before = HEAD TAIL "cloud:\n  - " NODE(1);
	ck_assert_int_eq(topology_edit_add(before, strlen(before), &c4, &out, &error), 0);
	ck_assert_str_eq(buf_cstr(&out), HEAD TAIL "cloud:\n  - " NODE(1) "\n  - " NEW_NODE "\n");
	buf_free(&out);
	buf_free(&error);
}
END_TEST

#define LONG(n) \
	"  - name: c" #n "\n    listen: \"tcp://127.0.0.1:710" #n "\"\n\n    # to people\n    http: \"127.0.0.1:810" #n \
	"\"\n    data: run/c" #n "\n"

START_TEST(items_of_several_lines)
{
	expect_added(HEAD "cloud:\n" LONG(1) LONG(2) "\n" TAIL, HEAD "cloud:\n" LONG(1) LONG(2) "  - " NEW_NODE "\n\n" TAIL);
	expect_removed("c2", HEAD "cloud:\n" LONG(1) LONG(2) "\n  # third\n" LONG(3) TAIL,
	    HEAD "cloud:\n" LONG(1) "\n  # third\n" LONG(3) TAIL);
	expect_removed("c1",
	    HEAD "cloud:\n  - {name: c1, # {\n     listen: 'tcp://127.0.0.1:7101',\n     http: \"127.0.0.1:8101\",\n    }\n  - " NODE(2) "\n" TAIL,
	    HEAD "cloud:\n  - " NODE(2) "\n" TAIL);
}
END_TEST

START_TEST(a_list_in_brackets)
{
	expect_added(HEAD "cloud: [" NODE(1) ", " NODE(2) "]\n" TAIL, HEAD "cloud: [" NODE(1) ", " NODE(2) ", " NEW_NODE "]\n" TAIL);
	expect_added(HEAD "cloud: [\n  " NODE(1) ",\n  " NODE(2) "\n  ]\n" TAIL,
	    HEAD "cloud: [\n  " NODE(1) ",\n  " NODE(2) ",\n  " NEW_NODE "\n  ]\n" TAIL);
	expect_removed("c1", HEAD "cloud: [" NODE(1) ", " NODE(2) "]\n" TAIL, HEAD "cloud: [" NODE(2) "]\n" TAIL);
	expect_removed("c2", HEAD "cloud: [" NODE(1) ", " NODE(2) ", " NODE(3) "]\n" TAIL,
	    HEAD "cloud: [" NODE(1) ", " NODE(3) "]\n" TAIL);
}
END_TEST

START_TEST(what_cannot_be_is_told)
{
	static const char before[] = HEAD "cloud:\n  - " NODE(1) "\n  - " NODE(2) "\n" TAIL;
	struct topology_edit_node node = c4;
	node.name = "c2";
	expect_refused(WEIR_EINVAL, before, &node, NULL, "there is a node c2 already");
	node = c4;
	node.listen = "tcp://127.0.0.1:7101";
	expect_refused(WEIR_EINVAL, before, &node, NULL, "7101");
	node = c4;
	node.http = "no\naddress";
	expect_refused(WEIR_EINVAL, before, &node, NULL, "control characters");
	node = c4;
	node.http = "no address";
	expect_refused(WEIR_EINVAL, before, &node, NULL, "topology.yaml:");
	node = c4;
	node.data = "a\"}, {name: \"x";
	struct buf out = {0}, error = {0};
	ck_assert_int_eq(topology_edit_add(before, strlen(before), &node, &out, &error), 0); /* quoted */
	buf_free(&out);
	buf_free(&error);
	expect_refused(WEIR_ENOTFOUND, before, NULL, "c9", "no node c9");
	expect_refused(WEIR_EINVAL, HEAD "cloud:\n  - " NODE(1) "\n" TAIL, NULL, "c1", "the last node");
	expect_refused(WEIR_EINVAL, "cloud: {", NULL, "c1", "topology.yaml:");
	expect_refused(WEIR_EINVAL, "version: 1\n", &c4, NULL, "by hand");
}
END_TEST

START_TEST(the_difference_is_lines)
{
	static const char a[] = "x\n- one\n- two\ny\n", b[] = "x\n- one\n- two\n- three\ny\n", c[] = "x\n- two\ny\n";
	struct buf out = {0};
	topology_edit_difference(a, strlen(a), b, strlen(b), &out);
	ck_assert_str_eq(buf_cstr(&out), "+ - three\n");
	buf_clear(&out);
	topology_edit_difference(a, strlen(a), c, strlen(c), &out);
	ck_assert_str_eq(buf_cstr(&out), "- - one\n");
	buf_clear(&out);
	topology_edit_difference("a [1]\nb\n", 8, "a [1, 2]\nb\n", 11, &out);
	ck_assert_str_eq(buf_cstr(&out), "- a [1]\n+ a [1, 2]\n");
	buf_clear(&out);
	topology_edit_difference(a, strlen(a), a, strlen(a), &out);
	ck_assert_str_eq(buf_cstr(&out), "");
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl/topology_edit");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, a_list_of_lines);
	tcase_add_test(tc, at_the_end_of_the_file);
	tcase_add_test(tc, items_of_several_lines);
	tcase_add_test(tc, a_list_in_brackets);
	tcase_add_test(tc, what_cannot_be_is_told);
	tcase_add_test(tc, the_difference_is_lines);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
