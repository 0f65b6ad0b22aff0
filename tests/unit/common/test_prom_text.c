#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/prom_text.h"

static struct buf out;

static void setup(void)
{
	out = (struct buf){0};
}

static void teardown(void)
{
	buf_free(&out);
}

static void put_sample(const struct prom_sample *s)
{
	struct bytes labels = s->labels, key, escaped;
	buf_put(&out, s->name.p, s->name.n);
	while (prom_next_label(&labels, &key, &escaped)) {
		buf_u8(&out, '[');
		buf_put(&out, key.p, key.n);
		buf_u8(&out, '=');
		prom_put_value(escaped, &out);
		buf_u8(&out, ']');
	}
	buf_printf(&out, " %.17g", s->value);
	if (s->has_time)
		buf_printf(&out, " @%lld", (long long)s->time_ms);
	buf_u8(&out, '\n');
}

static struct prom_text read_all(const char *text, bool openmetrics)
{
	struct prom_text t;
	struct prom_sample s;
	enum prom_error e;
	/* Of its very size: a read behind it is found by the sanitizer. */
	size_t n = strlen(text);
	char *copy = malloc(n + 1);
	memcpy(copy, text, n);
	copy = realloc(copy, n ? n : 1);
	prom_text_init(&t, bytes_of(copy, n), openmetrics);
	while (prom_text_next(&t, &s, &e)) {
		if (e == PROM_FINE)
			put_sample(&s);
		else
			buf_printf(&out, "!%d line %llu\n", (int)e, (unsigned long long)t.line);
	}
	free(copy);
	return t;
}

static void expect(const char *text, bool openmetrics, const char *result)
{
	buf_clear(&out);
	read_all(text, openmetrics);
	ck_assert_str_eq(buf_cstr(&out), result);
}

START_TEST(samples)
{
	expect("", false, "");
	expect("a 1\n", false, "a 1\n");
	expect("# HELP a what it is\n# TYPE a counter\n\na 1\n  \t\n#\nb:c_9 2\r\n", false, "a 1\nb:c_9 2\n");
	expect("a{} 1\na{ } 2\na {x=\"y\"} 3\n", false, "a 1\na 2\na[x=y] 3\n");
	expect("a{x=\"1\",y=\"2\"} 1\na{ x = \"1\" , y = \"2\" , } 2\n", false, "a[x=1][y=2] 1\na[x=1][y=2] 2\n");
	expect("\t a\t1 \n", false, "a 1\n");
	expect("_a1 1\n:b 2\n", false, "_a1 1\n:b 2\n");
}
END_TEST

START_TEST(escapes_in_labels)
{
	expect("a{x=\"C:\\\\dir\\\"q\\\"\\nend\"} 1\n", false, "a[x=C:\\dir\"q\"\nend] 1\n");
	expect("a{x=\"}\",y=\",=\"} 1\n", false, "a[x=}][y=,=] 1\n");
	expect("a{x=\"\\t\"} 1\n", false, "a[x=\\t] 1\n");
	expect("a{x=\"\"} 1\n", false, "a[x=] 1\n");
	expect("a{x=\"\xc3\xa4\"} 1\n", false, "a[x=\xc3\xa4] 1\n");
}
END_TEST

START_TEST(numbers)
{
	expect("a -1.5e3\na +.5\na 1.\na 0\n", false, "a -1500\na 0.5\na 1\na 0\n");
	expect("a NaN\na +Inf\na -Inf\na inf\na -infinity\n", false, "a nan\na inf\na -inf\na inf\na -inf\n");
	expect("a 1e400\n", false, "a inf\n");
	expect("a 0x1p3\na 1_0\na one\na 1e5e\na --1\na .\na +-inf\na nan(1)\n", false,
	    "!3 line 1\n!3 line 2\n!3 line 3\n!3 line 4\n!3 line 5\n!3 line 6\n!3 line 7\n!3 line 8\n");
	char long_number[200] = "a ";
	memset(long_number + 2, '1', 100);
	long_number[102] = 10;
	expect(long_number, false, "!3 line 1\n");
}
END_TEST

START_TEST(times)
{
	expect("a 1 1395066363000\na 2 -5\na 3 0\n", false, "a 1 @1395066363000\na 2 @-5\na 3 @0\n");
	expect("a 1 1.5\na 1 x\na 1 NaN\na 1 1e300\na 1 1 1\n", false,
	    "!4 line 1\n!4 line 2\n!4 line 3\n!4 line 4\n!5 line 5\n");
	expect("a 1 1395066363.25\na 2 1395066363\n", true, "a 1 @1395066363250\na 2 @1395066363000\n");
}
END_TEST

START_TEST(openmetrics)
{
	struct prom_text t = read_all("# TYPE a histogram\n# UNIT a seconds\na_bucket{le=\"1.0\"} 3 # {trace_id=\"x y\"} 0.5 1.2\n"
				      "a_created 1.5\n# EOF\nb 1\n", true);
	ck_assert_str_eq(buf_cstr(&out), "a_bucket[le=1.0] 3\na_created 1.5\n");
	ck_assert(t.ended);
	t = read_all("a 1\n", true);
	ck_assert(!t.ended);
	expect("a 1\n# EOF\nb 1\n", false, "a 1\nb 1\n");
	expect("a 1 # {x=\"y\"} 1\n", false, "!5 line 1\n");
}
END_TEST

START_TEST(what_is_no_sample)
{
	expect("1a 1\n{x=\"y\"} 1\n-\na-b 1\na\n", false, "!1 line 1\n!1 line 2\n!1 line 3\n!1 line 4\n!3 line 5\n");
	expect("a{x} 1\na{x=1} 1\na{x=\"1} 1\na{x=\"1\" y=\"2\"} 1\na{1=\"2\"} 1\na{,} 1\na{x=\"1\",,} 1\na{a:b=\"1\"} 1\na{x=\"\\\n", false,
	    "!2 line 1\n!2 line 2\n!2 line 3\n!2 line 4\n!2 line 5\n!2 line 6\n!2 line 7\n!2 line 8\n!2 line 9\n");
	expect("a 1 2 3\nb 4\n", false, "!5 line 1\nb 4\n");
	expect("a 1\nb 1", false, "a 1\n!6 line 2\n");
	expect("a 1\n# cut off", false, "a 1\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("prom_text");
	TCase *t = tcase_create("prom_text");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, samples);
	tcase_add_test(t, escapes_in_labels);
	tcase_add_test(t, numbers);
	tcase_add_test(t, times);
	tcase_add_test(t, openmetrics);
	tcase_add_test(t, what_is_no_sample);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
