/* Links to the nodes of a topology: one that cannot be opened does not keep the others closed, and is opened when it can be. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/links.h"
#include "common/err.h"
#include "tests/unit/cloudd/cloud_topology.h"

static struct topology *t;
static struct loop *loop;
static struct msgq *msgq;
static struct links *links;

static void on_frame(void *arg, uint32_t node, const void *frame, size_t len)
{
	(void)arg, (void)node, (void)frame, (void)len;
}

static void setup(void)
{
	t = cloud_topology(4, 2);
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(msgq_new(loop, &(struct msgq_options){0}, &msgq), 0);
	links = links_new(msgq, 1, on_frame, NULL);
}

static void teardown(void)
{
	links_free(links);
	msgq_free(msgq);
	loop_free(loop);
	topology_free(t);
}

static void put(char **text, const char *value)
{
	free(*text);
	*text = strdup(value);
}

static bool is_open(uint32_t node)
{
	int rc = links_send(links, node, "x", 1);
	ck_assert(rc == WEIR_ENOTFOUND || rc == WEIR_EBUSY); /* nobody listens there */
	return rc == WEIR_EBUSY;
}

START_TEST(one_that_cannot_be_opened_is_told_and_opened_later)
{
	char *why = NULL;
	put(&t->clouds[0].listen, "ipc:///nowhere");
	ck_assert_int_eq(links_set_topology(links, t, &why), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "ipc:///nowhere"));
	free(why);
	why = NULL;
	ck_assert(!is_open(0) && !is_open(1) && is_open(2) && is_open(3));
	put(&t->clouds[0].listen, "tcp://127.0.0.1:1");
	ck_assert_int_eq(links_set_topology(links, t, &why), 0);
	ck_assert_ptr_null(why);
	ck_assert(is_open(0) && !is_open(1) && is_open(2) && is_open(3));
}
END_TEST

START_TEST(who_is_gone_is_let_go)
{
	char *why = NULL;
	ck_assert_int_eq(links_set_topology(links, t, &why), 0);
	t->clouds[2].state = CLOUD_GONE;
	t->clouds[3].state = CLOUD_LEAVING;
	ck_assert_int_eq(links_set_topology(links, t, &why), 0);
	ck_assert(is_open(0) && !is_open(2) && is_open(3));
	ck_assert_int_eq(links_send(links, CLOUDS_MAX, "x", 1), WEIR_ENOTFOUND);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/links");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_that_cannot_be_opened_is_told_and_opened_later);
	tcase_add_test(tc, who_is_gone_is_let_go);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
