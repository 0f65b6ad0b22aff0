/* Conditions of alerts: what is refused says where and why; what is taken means the same again, in parentheses, and the opposite behind
 * `not`. The first byte chooses the values of its functions. */
#include <stdlib.h>
#include <string.h>

#include "common/condition.h"
#include "common/err.h"
#include "tests/fuzz/fuzz.h"

static const struct stream_conf *stream(void)
{
	static const char *const names[] = {"count", "mean", "max", "stddev", "p50", "distinct(site)", "distinct(a)b)"};
	static char *tags[] = {"site", "a)b"};
	static struct function_conf functions[sizeof(names) / sizeof(names[0])];
	static struct stream_conf s = {.compute = functions, .distinct = tags, .distinct_count = 2};
	for (; s.compute_count < sizeof(names) / sizeof(names[0]); s.compute_count++)
		FUZZ_CHECK(!function_parse(names[s.compute_count], &functions[s.compute_count]));
	return &s;
}

static void check_refused(const char *text, size_t column, char *why)
{
	FUZZ_CHECK(column >= 1 && column <= strlen(text) + 1 && *why);
	for (const char *c = why; *c; c++)
		FUZZ_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
	free(why);
}

/* What the condition is with values that follow from the seed: none, 0, or one of either sign. */
static bool holds(const struct condition *c, uint8_t seed)
{
	struct condition_value values[CONDITION_FUNCTIONS_MAX];
	for (size_t i = 0; i < condition_function_count(c); i++) {
		uint8_t x = (uint8_t)(seed * 37 + i * 101);
		values[i] = (struct condition_value){.v = x % 8 - 3, .null = x % 5 == 0};
	}
	return condition_holds(c, values);
}

/* The same in other words, which may be too many. */
static void check_again(const char *head, const char *text, const char *tail, uint8_t seed, bool expected)
{
	struct condition *c;
	struct buf b = {0};
	size_t column;
	char *why;
	buf_printf(&b, "%s%s%s", head, text, tail);
	if (condition_parse(buf_cstr(&b), stream(), &c, &column, &why)) {
		FUZZ_CHECK(strstr(why, "too") || strstr(why, "longer"));
		check_refused(buf_cstr(&b), column, why);
	} else {
		FUZZ_CHECK(holds(c, seed) == expected);
		condition_free(c);
	}
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	char *text = malloc(len); /* on its own, so that reading beyond it is seen */
	struct condition *c;
	size_t column;
	char *why;
	memcpy(text, data + 1, len - 1);
	text[len - 1] = 0;
	if (condition_parse(text, stream(), &c, &column, &why)) {
		check_refused(text, column, why);
	} else {
		bool met = holds(c, data[0]);
		FUZZ_CHECK(condition_function_count(c) <= CONDITION_FUNCTIONS_MAX);
		for (size_t i = 0; i < condition_function_count(c); i++)
			FUZZ_CHECK(stream_computes(stream(), condition_function(c, i)) && strstr(text, condition_function(c, i)->text));
		check_again("(", text, ")", data[0], met);
		check_again("not (", text, ")", data[0], !met);
		check_again("1 > 2 or ", text, "", data[0], met);
		condition_free(c);
	}
	free(text);
	return 0;
}
