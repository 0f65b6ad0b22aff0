#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/row_table.h"

#define STARTS 7
#define GROUPS 23
#define RECORDS 4000

static const struct partial_spec spec = {.parts = PARTIAL_SUM | PARTIAL_MINMAX | PARTIAL_QUANTILE, .quantile_cap = 64};

/* Counts of all rows, for whom memory is no matter. */
static uint64_t naive[STARTS][GROUPS];

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static void fill(struct row_table *t)
{
	uint32_t random = 7;
	memset(naive, 0, sizeof(naive));
	for (int i = 0; i < RECORDS; i++) {
		uint32_t start = next_random(&random) % STARTS, group = next_random(&random) % GROUPS;
		uint8_t name[2] = {1, (uint8_t)group};
		int64_t start_ns = (int64_t)start * 10 - 30;
		naive[start][group]++;
		if (!row_table_takes(t, start_ns, bytes_of(name, 2)))
			continue;
		struct partial p = {0};
		partial_add(&p, &spec, i, next_random(&random) % 1000);
		row_table_merge(t, start_ns, bytes_of(name, 2), start, &spec, &p);
		ck_assert(partial_is_empty(&p) && !p.quantile);
	}
	row_table_sort(t);
}

/* The rows are the first ones there are, whole and in order. Returns how many. */
static size_t check_rows(const struct row_table *t)
{
	size_t n = 0;
	for (uint32_t start = 0; start < STARTS && n < t->count; start++) {
		for (uint8_t group = 0; group < GROUPS && n < t->count; group++) {
			if (!naive[start][group])
				continue;
			const struct row_cell *c = t->cells[n++];
			ck_assert(c->start_ns == (int64_t)start * 10 - 30 && c->part == start);
			ck_assert(c->group_n == 2 && c->group[1] == group);
			ck_assert_uint_eq(c->partial.count, naive[start][group]);
		}
	}
	ck_assert_uint_eq(n, t->count);
	return n;
}

START_TEST(all_rows_where_there_is_room)
{
	struct row_table t = {.keep = 1000, .bytes_max = SIZE_MAX};
	fill(&t);
	ck_assert_uint_eq(check_rows(&t), STARTS * GROUPS);
	ck_assert(!t.bounded);
	row_table_free(&t);
}
END_TEST

START_TEST(the_first_rows_where_there_is_not)
{
	for (size_t keep = 1; keep < 100; keep += 7) {
		struct row_table t = {.keep = keep, .bytes_max = SIZE_MAX};
		fill(&t);
		size_t n = check_rows(&t);
		ck_assert(n >= keep && n <= 2 * keep);
		ck_assert(t.bounded == (n < STARTS * GROUPS));
		row_table_free(&t);
	}
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct row_table all = {.keep = 1000, .bytes_max = SIZE_MAX};
	fill(&all);
	for (size_t part = 2; part < 200; part *= 3) {
		struct row_table t = {.keep = 1000, .bytes_max = all.bytes / part};
		fill(&t);
		ck_assert(check_rows(&t) >= 1);
		ck_assert(t.bounded && (t.count == 1 || t.bytes <= t.bytes_max));
		row_table_free(&t);
	}
	row_table_free(&all);
}
END_TEST

START_TEST(no_rows_at_all)
{
	struct row_table t = {.keep = 10, .bytes_max = SIZE_MAX};
	row_table_sort(&t);
	ck_assert(!t.count && row_table_takes(&t, INT64_MAX, bytes_of("", 0)));
	row_table_free(&t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/row_table");
	TCase *c = tcase_create("core");
	tcase_add_test(c, all_rows_where_there_is_room);
	tcase_add_test(c, the_first_rows_where_there_is_not);
	tcase_add_test(c, memory_is_bounded);
	tcase_add_test(c, no_rows_at_all);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
