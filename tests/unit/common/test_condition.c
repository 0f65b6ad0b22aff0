/* Conditions of alerts: what is taken and means what, what is refused and where; and random ones against the grammar, which makes a text
 * and its value at once. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/condition.h"
#include "common/err.h"
#include "common/partial.h"

static const char *const computed[] = {"count", "mean", "min", "max", "stddev", "p50", "distinct(site)", "distinct(a)b)"};
#define COMPUTED (sizeof(computed) / sizeof(computed[0]))

static struct function_conf functions[COMPUTED];
static char *tags[] = {"site", "a)b"};
static struct stream_conf stream = {.compute = functions, .compute_count = COMPUTED, .distinct = tags, .distinct_count = 2};
static struct partial_spec spec;

static void setup(void)
{
	for (size_t i = 0; i < COMPUTED; i++)
		ck_assert_int_eq(function_parse(computed[i], &functions[i]), 0);
	partial_spec_of(&stream, 7, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
}

static void teardown(void)
{
	for (size_t i = 0; i < COMPUTED; i++)
		function_clear(&functions[i]);
}

static struct condition *parse(const char *text)
{
	struct condition *c = NULL;
	size_t column = 0;
	char *why = NULL;
	int err = condition_parse(text, &stream, &c, &column, &why);
	ck_assert_msg(!err, "%s: %zu: %s", text, column, why ? why : "");
	return c;
}

/* Readings 10, 20 and 30, of two sites. */
static struct partial three_readings(void)
{
	struct partial p = {0};
	for (int i = 1; i <= 3; i++) {
		partial_add(&p, &spec, i, 10 * i);
		partial_add_distinct(&p, &spec, 0, i < 3 ? "north" : "south", 5);
		partial_add_distinct(&p, &spec, 1, "x", 1);
	}
	return p;
}

static void expect(const struct partial *p, const char *text, bool met)
{
	struct condition *c = parse(text);
	ck_assert_msg(condition_met(c, &stream, &spec, p) == met, "%s is %s", text, met ? "not met" : "met");
	condition_free(c);
}

START_TEST(conditions_mean_what_they_say)
{
	static const char *const met[] = {"count == 3", "count>=3", "mean > 19.9 and mean < 20.1", "not count < 3", "p50 > 19 and p50 < 21",
		"p99.9 > 29", "max - min == 20", "max - min - 5 == 15", "60 / 3 / 2 == mean / 2", "2 + 3 * 4 == 14", "(2 + 3) * 4 == 20",
		"-max == -30", "--1 == 1", "1 - -1 == 2", "-2 * -3 == 6", "count < 1 or mean == 20", "not (count < 1 or mean != 20)",
		"not not count == 3", "1 == 2 and 1 == 2 or 1 == 1", "1 == 1 or 1 == 2 and 1 == 2", "not 1 == 2 and 1 == 1",
		"distinct(site) > 1.5", "distinct(a)b) < 1.5", " ( ( count ) ) > ( 2.5e0 ) ", "stddev == 10", ".5 < 1", "5. > 4", "1e3 == 1000",
		"count != 4", "count <= 3", "count\n>\t1", "1E-1 < 1"};
	static const char *const not_met[] = {"count == 4", "count > 3", "count < 3", "mean != 20", "not count == 3", "(1 == 1 or 1 == 1) and 1 == 2",
		"not (1 == 1 or 1 == 2)", "1 == 2 and (1 == 1 or 1 == 1)"};
	struct partial p = three_readings();
	for (size_t i = 0; i < sizeof(met) / sizeof(met[0]); i++)
		expect(&p, met[i], true);
	for (size_t i = 0; i < sizeof(not_met) / sizeof(not_met[0]); i++)
		expect(&p, not_met[i], false);
	partial_clear(&p, &spec);
}
END_TEST

START_TEST(what_is_no_number_compares_with_nothing)
{
	static const char *const not_met[] = {"stddev > 1", "stddev <= 1", "stddev == stddev", "stddev != 1", "1 != stddev", "stddev + 1 > 0",
		"-stddev < 1", "0 * stddev == 0", "1 / 0 > 1", "0 / 0 == 0", "-1 / 0 < 1", "1e308 * 10 > 1", "mean / (max - min) > 1",
		"1 / (1 / 0) == 0"};
	struct partial p = {0};
	partial_add(&p, &spec, 1, 10); /* one reading has no deviation */
	for (size_t i = 0; i < sizeof(not_met) / sizeof(not_met[0]); i++)
		expect(&p, not_met[i], false);
	expect(&p, "not stddev > 1", true);
	expect(&p, "stddev > 1 or count == 1", true);
	partial_clear(&p, &spec);
	expect(&p, "mean > 0 or mean <= 0", false); /* of no reading */
	expect(&p, "count == 0", true);
}
END_TEST

START_TEST(another_version_may_not_compute_it)
{
	struct stream_conf other = stream;
	struct partial p = three_readings();
	struct condition *c = parse("mean == 20 or p99 > 0");
	struct condition_value values[CONDITION_FUNCTIONS_MAX];
	ck_assert(condition_met(c, &stream, &spec, &p));
	other.compute_count = 1; /* count alone */
	condition_values(c, &other, &spec, &p, values);
	ck_assert(values[0].null && values[1].null && !condition_holds(c, values));
	condition_free(c);
	partial_clear(&p, &spec);
}
END_TEST

START_TEST(it_tells_the_functions_that_it_names)
{
	struct partial p = three_readings();
	struct condition *c = parse("p50 > 1 and max < 50 and (p50 < 100 or distinct(site) > 1)");
	struct condition_value values[CONDITION_FUNCTIONS_MAX];
	ck_assert_uint_eq(condition_function_count(c), 3);
	ck_assert_str_eq(condition_function(c, 0)->text, "p50");
	ck_assert_str_eq(condition_function(c, 1)->text, "max");
	ck_assert_str_eq(condition_function(c, 2)->text, "distinct(site)");
	condition_values(c, &stream, &spec, &p, values);
	ck_assert(!values[1].null && values[1].v == 30);
	ck_assert(condition_holds(c, values));
	condition_free(c);
	partial_clear(&p, &spec);
}
END_TEST

static void refused(const char *text, size_t at, const char *what)
{
	struct condition *c = NULL;
	size_t column = 0;
	char *why = NULL;
	ck_assert_msg(condition_parse(text, &stream, &c, &column, &why) == WEIR_EINVAL, "taken: %s", text);
	ck_assert_msg(column == at && strstr(why, what) && !c, "%s: %zu: %s; not %zu: %s", text, column, why, at, what);
	free(why);
}

START_TEST(what_is_wrong_is_told_with_its_place)
{
	refused("", 1, "found the end");
	refused("  ", 3, "found the end");
	refused("count", 1, "a number alone is no condition");
	refused("  count + 1", 3, "a number alone is no condition");
	refused("count >", 8, "found the end");
	refused("count > > 1", 9, "expected a number, a function or (, found `>`");
	refused("count > and max > 1", 9, "expected a number, a function or (, found `and`");
	refused("or max > 1", 1, "expected a number, a function or (, found `or`");
	refused("count 1", 7, "expected an operator, found `1`");
	refused("count > 90ms", 11, "found `ms`");
	refused("p101 > 1", 1, "does not compute p101: it has count, mean");
	refused("count > 1 and sum > 1", 15, "does not compute sum: it has count, mean");
	refused("distinct(b) > 1", 1, "does not compute distinct(b)");
	refused("distinct(site > 1", 1, "does not compute distinct(site > 1");
	refused("max(1) > 1", 4, "found `(`");
	refused("1 < count < 3", 11, "written `a < b and b < c`");
	refused("count and 1 == 1", 7, "`and` takes comparisons");
	refused("not count", 1, "`not` takes comparisons");
	refused("1 + (count > 1) > 0", 3, "`+` takes numbers");
	refused("-(count > 1)", 1, "`-` takes numbers");
	refused("1 + not 1 == 1", 3, "`+` takes numbers");
	refused("(count > 1", 1, "without its )");
	refused("count > 1)", 10, "without its (");
	refused("count = 1", 7, "did you mean `==`");
	refused("count > 1 && max > 1", 11, "did you mean `and`");
	refused("count > 1 AND max > 1", 11, "did you mean `and`");
	refused("!(count > 1)", 1, "did you mean `not`");
	refused("count <> 1", 7, "did you mean `!=`");
	refused("count > 1e999", 9, "out of range");
	refused("count > 0x10", 10, "found `x10`");
	refused("count > $", 9, "found `$`");
	refused("count > 1 \xc3\xa4\xc3\xa4 > 1", 11, "no meaning here");
	refused("distinct(\xc3\xa4\n) > 1", 1, "distinct(\xc3\xa4?)");
	refused("distinct(\xc3\xa4) > 1 + nan", 1, "distinct(\xc3\xa4)");
	refused("1 == 1 and nan > 1", 12, "does not compute nan");
}
END_TEST

START_TEST(it_is_bounded)
{
	struct buf b = {0};
	for (int i = 0; i < CONDITION_DEPTH_MAX; i++)
		buf_u8(&b, '(');
	buf_printf(&b, "1");
	for (int i = 0; i < CONDITION_DEPTH_MAX; i++)
		buf_u8(&b, ')');
	buf_printf(&b, " < 2");
	condition_free(parse(buf_cstr(&b)));
	b.len = 0;
	for (int i = 0; i <= CONDITION_DEPTH_MAX; i++)
		buf_u8(&b, '-');
	buf_printf(&b, "1 > 2");
	refused(buf_cstr(&b), CONDITION_DEPTH_MAX + 1, "nested too deeply");
	b.len = 0;
	for (int i = 0; i < CONDITION_STEPS_MAX / 2; i++)
		buf_printf(&b, "1+");
	buf_printf(&b, "1 > 1");
	refused(buf_cstr(&b), 4 + CONDITION_STEPS_MAX, "too long");
	b.len = 0;
	for (int i = 0; i <= CONDITION_BYTES_MAX; i++)
		buf_u8(&b, ' ');
	refused(buf_cstr(&b), 1, "longer than");
	b.len = 0;
	for (int i = 0; i <= CONDITION_FUNCTIONS_MAX; i++)
		buf_printf(&b, "%sp%d > 1", i ? " and " : "", 10 + i);
	refused(buf_cstr(&b), 1 + 12 * CONDITION_FUNCTIONS_MAX, "different functions");
	buf_free(&b);
}
END_TEST

/* ---- against the grammar ------------------------------------------------------------------------------------ */

static const struct condition_value given[] = {{.v = 3}, {.null = true}, {.v = -2.5}, {.v = 0}};
static const char *const names[] = {"p10", "p20", "p30", "p40"};

struct maker {
	uint32_t seed;
	struct buf text;
	unsigned left; /* operands */
};

static uint32_t pick(struct maker *m, uint32_t below)
{
	m->seed = m->seed * 1664525 + 1013904223;
	return (m->seed >> 8) % below;
}

static double number_or_none(double v)
{
	return isfinite(v) ? v : NAN;
}

static double make_sum(struct maker *m);

static double make_operand(struct maker *m)
{
	uint32_t kind = m->left ? pick(m, 8) : 0;
	m->left -= m->left > 0;
	if (kind == 7) {
		buf_printf(&m->text, "-");
		return -make_operand(m);
	}
	if (kind == 6) {
		buf_printf(&m->text, "(");
		double v = make_sum(m);
		buf_printf(&m->text, ")");
		return v;
	}
	if (kind > 2) {
		uint32_t i = pick(m, 4);
		buf_printf(&m->text, "%s", names[i]);
		return given[i].null ? NAN : given[i].v;
	}
	uint32_t n = pick(m, 5);
	buf_printf(&m->text, "%u", n);
	return n;
}

static double make_product(struct maker *m)
{
	double v = make_operand(m);
	for (uint32_t i = pick(m, 3); i > 1; i--) {
		bool divide = pick(m, 2);
		buf_printf(&m->text, divide ? " / " : "*");
		double w = make_operand(m);
		v = number_or_none(divide ? v / w : v * w);
	}
	return v;
}

static double make_sum(struct maker *m)
{
	double v = make_product(m);
	for (uint32_t i = pick(m, 3); i > 1; i--) {
		bool minus = pick(m, 2);
		buf_printf(&m->text, minus ? "-" : " + ");
		double w = make_product(m);
		v = number_or_none(minus ? v - w : v + w);
	}
	return v;
}

static bool make_comparison(struct maker *m)
{
	static const char *const signs[] = {" < ", "<=", " >", ">= ", "==", " != "};
	double a = make_sum(m);
	uint32_t i = pick(m, 6);
	buf_printf(&m->text, "%s", signs[i]);
	double b = make_sum(m);
	bool is[] = {a < b, a <= b, a > b, a >= b, a == b, a != b};
	return !isnan(a) && !isnan(b) && is[i];
}

static bool make_or(struct maker *m);

static bool make_not(struct maker *m)
{
	uint32_t kind = m->left ? pick(m, 6) : 5;
	if (kind == 0) {
		buf_printf(&m->text, "not ");
		return !make_not(m);
	}
	if (kind == 1) {
		buf_printf(&m->text, "( ");
		bool v = make_or(m);
		buf_printf(&m->text, ")");
		return v;
	}
	return make_comparison(m);
}

static bool make_and(struct maker *m)
{
	bool v = make_not(m);
	for (uint32_t i = pick(m, 3); i > 1; i--) {
		buf_printf(&m->text, " and ");
		v &= make_not(m);
	}
	return v;
}

static bool make_or(struct maker *m)
{
	bool v = make_and(m);
	for (uint32_t i = pick(m, 3); i > 1; i--) {
		buf_printf(&m->text, " or ");
		v |= make_and(m);
	}
	return v;
}

START_TEST(random_ones_mean_what_the_grammar_says)
{
	size_t met = 0;
	for (uint32_t seed = 1; seed <= 20000; seed++) {
		struct maker m = {.seed = seed, .left = 12};
		bool expected = make_or(&m);
		struct condition *c = parse(buf_cstr(&m.text));
		struct condition_value values[CONDITION_FUNCTIONS_MAX];
		for (size_t i = 0; i < condition_function_count(c); i++) {
			size_t k = 0;
			while (strcmp(names[k], condition_function(c, i)->text))
				k++;
			values[i] = given[k];
		}
		ck_assert_msg(condition_holds(c, values) == expected, "%s is %d", buf_cstr(&m.text), !expected);
		met += expected;
		condition_free(c);
		buf_free(&m.text);
	}
	ck_assert(met > 2000 && met < 18000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("condition");
	TCase *t = tcase_create("condition");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, conditions_mean_what_they_say);
	tcase_add_test(t, what_is_no_number_compares_with_nothing);
	tcase_add_test(t, another_version_may_not_compute_it);
	tcase_add_test(t, it_tells_the_functions_that_it_names);
	tcase_add_test(t, what_is_wrong_is_told_with_its_place);
	tcase_add_test(t, it_is_bounded);
	tcase_add_test(t, random_ones_mean_what_the_grammar_says);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
