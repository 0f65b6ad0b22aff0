#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "raft/raft.h"

static const uint8_t golden[] = {
    1, 2, /* version, members */
    0x34, 0x12, 0, 0, 0, 0, 0, 0, 1, /* 0x1234, a voter */
    8, 7, 6, 5, 4, 3, 2, 1, 0 /* a learner */
};

static struct raft_config two_members(void)
{
	struct raft_config c = {0};
	ck_assert(raft_config_add(&c, UINT64_C(0x0102030405060708), false));
	ck_assert(raft_config_add(&c, 0x1234, true));
	return c;
}

static void expect_refused(const uint8_t *bytes, size_t len)
{
	struct raft_config c = {.count = 7};
	ck_assert_int_eq(raft_config_decode(bytes, len, &c), RAFT_EINVAL);
	ck_assert_uint_eq(c.count, 7); /* untouched */
}

START_TEST(bytes_are_golden)
{
	uint8_t out[RAFT_CONFIG_BYTES_MAX];
	struct raft_config c = two_members(), back;
	ck_assert_uint_eq(raft_config_encode(&c, out), sizeof(golden));
	ck_assert_mem_eq(out, golden, sizeof(golden));
	ck_assert_int_eq(raft_config_decode(golden, sizeof(golden), &back), 0);
	ck_assert_mem_eq(&back, &c, sizeof(c));
}
END_TEST

START_TEST(a_full_one_and_an_empty_one_come_back)
{
	uint8_t out[RAFT_CONFIG_BYTES_MAX];
	struct raft_config c = {0}, back;
	size_t len = raft_config_encode(&c, out);
	ck_assert_int_eq(raft_config_decode(out, len, &back), 0);
	ck_assert_uint_eq(back.count, 0);
	for (uint64_t id = RAFT_MEMBERS_MAX; id; id--)
		ck_assert(raft_config_add(&c, id * UINT64_C(0x0101010101010101), id % 2));
	ck_assert(!raft_config_add(&c, 77, true));
	len = raft_config_encode(&c, out);
	ck_assert_uint_le(len, RAFT_CONFIG_BYTES_MAX);
	ck_assert_int_eq(raft_config_decode(out, len, &back), 0);
	ck_assert_mem_eq(&back, &c, sizeof(c));
}
END_TEST

START_TEST(impossible_bytes_are_refused)
{
	uint8_t b[sizeof(golden) + 1];
	memcpy(b, golden, sizeof(golden));
	b[sizeof(golden)] = 0;
	for (size_t len = 0; len < sizeof(golden); len++) { /* an exact copy, so that a sanitizer sees a read behind it */
		uint8_t *cut = malloc(len ? len : 1);
		memcpy(cut, golden, len);
		expect_refused(cut, len);
		free(cut);
	}
	expect_refused(NULL, 0);
	expect_refused(b, sizeof(golden) + 1);
	b[0] = 2;
	expect_refused(b, sizeof(golden));
	b[0] = 1;
	b[10] = 2; /* neither voter nor learner */
	expect_refused(b, sizeof(golden));
	b[10] = 1;
	b[1] = RAFT_MEMBERS_MAX + 1;
	expect_refused(b, sizeof(golden));
}
END_TEST

START_TEST(members_are_ascending_and_somebody)
{
	uint8_t twice[] = {1, 2, 5, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 1};
	expect_refused(twice, sizeof(twice));
	twice[11] = 4;
	expect_refused(twice, sizeof(twice));
	uint8_t nobody[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	expect_refused(nobody, sizeof(nobody));
}
END_TEST

START_TEST(adding_sorts_and_finds)
{
	struct raft_config c = {0};
	ck_assert(raft_config_add(&c, 5, true));
	ck_assert(raft_config_add(&c, 2, false));
	ck_assert(raft_config_add(&c, 9, true));
	ck_assert(!raft_config_add(&c, 5, false));
	ck_assert(!raft_config_add(&c, RAFT_NOBODY, true));
	ck_assert_uint_eq(c.count, 3);
	ck_assert_uint_eq(c.members[0].id, 2);
	ck_assert_uint_eq(c.members[1].id, 5);
	ck_assert_uint_eq(c.members[2].id, 9);
	ck_assert(raft_config_find(&c, 5)->voter);
	ck_assert(!raft_config_find(&c, 2)->voter);
	ck_assert_ptr_null(raft_config_find(&c, 3));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("raft/config");
	TCase *t = tcase_create("config");
	tcase_add_test(t, bytes_are_golden);
	tcase_add_test(t, a_full_one_and_an_empty_one_come_back);
	tcase_add_test(t, impossible_bytes_are_refused);
	tcase_add_test(t, members_are_ascending_and_somebody);
	tcase_add_test(t, adding_sorts_and_finds);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
