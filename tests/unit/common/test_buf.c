#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"

START_TEST(numbers_round_trip)
{
	static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};
	struct buf b = {0};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		buf_varint(&b, values[i]);
		buf_svarint(&b, (int64_t)values[i]);
		buf_u64(&b, values[i]);
		buf_bei64(&b, (int64_t)values[i]);
	}
	buf_f64(&b, -0.5);
	buf_str(&b, "weir");
	struct rd r = rd_init(b.data, b.len);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		ck_assert(rd_varint(&r) == values[i]);
		ck_assert(rd_svarint(&r) == (int64_t)values[i]);
		ck_assert(rd_u64(&r) == values[i]);
		ck_assert(rd_bei64(&r) == (int64_t)values[i]);
	}
	ck_assert(rd_f64(&r) == -0.5);
	char *s = rd_str(&r, 10);
	ck_assert_str_eq(s, "weir");
	free(s);
	ck_assert_int_eq(rd_finish(&r), 0);
	buf_free(&b);
}
END_TEST

START_TEST(short_and_malformed_input_is_an_error_for_good)
{
	uint8_t endless[11];
	memset(endless, 0xff, sizeof(endless));
	struct rd r = rd_init(endless, sizeof(endless));
	ck_assert(rd_varint(&r) == 0);
	ck_assert_int_eq(r.err, WEIR_ECORRUPT);
	ck_assert(rd_u8(&r) == 0);

	r = rd_init("\x05" "abc", 4);
	size_t n;
	ck_assert_ptr_null(rd_bytes(&r, 100, &n));
	ck_assert_int_eq(r.err, WEIR_ETRUNCATED);
	r = rd_init("\x05" "abcde", 6);
	ck_assert_ptr_null(rd_bytes(&r, 4, &n));
	ck_assert_int_eq(r.err, WEIR_ECORRUPT);
	r = rd_init("ab", 2);
	rd_u8(&r);
	ck_assert_int_eq(rd_finish(&r), WEIR_ECORRUPT);
}
END_TEST

START_TEST(big_endian_keys_order_as_numbers)
{
	static const int64_t values[] = {INT64_MIN, -5, -1, 0, 1, 256, INT64_MAX};
	struct buf a = {0}, b = {0};
	for (size_t i = 0; i + 1 < sizeof(values) / sizeof(values[0]); i++) {
		buf_clear(&a);
		buf_clear(&b);
		buf_bei64(&a, values[i]);
		buf_bei64(&b, values[i + 1]);
		ck_assert_int_lt(memcmp(a.data, b.data, 8), 0);
	}
	buf_free(&a);
	buf_free(&b);
}
END_TEST

START_TEST(sizes_are_for_people)
{
	static const struct {
		double bytes;
		const char *text;
	} sizes[] = {{0, "0B"}, {1023, "1023B"}, {1024, "1.0KiB"}, {1.5 * (1 << 20), "1.5MiB"}, {512.0 * (1 << 20), "512MiB"},
	    {0x1p60, "1048576TiB"}};
	struct buf b = {0};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		buf_clear(&b);
		buf_put_size(&b, sizes[i].bytes);
		ck_assert_str_eq(buf_cstr(&b), sizes[i].text);
	}
	buf_free(&b);
}
END_TEST

START_TEST(times_and_durations)
{
	int64_t t;
	char text[TIME_TEXT_MAX];
	ck_assert_int_eq(time_parse("2015-09-01T11:25:00Z", 0, &t), 0);
	ck_assert(t == INT64_C(1441106700) * NS_PER_SEC);
	time_format(t, text);
	ck_assert_str_eq(text, "2015-09-01T11:25:00Z");
	ck_assert_int_eq(time_parse("2015-09-01T13:25:00.25+02:00", 0, &t), 0);
	time_format(t, text);
	ck_assert_str_eq(text, "2015-09-01T11:25:00.250Z");
	ck_assert_int_eq(time_parse("-1h", 3600 * NS_PER_SEC, &t), 0);
	ck_assert(t == 0);
	ck_assert_int_eq(time_parse("-1.5", 0, &t), 0);
	ck_assert(t == -1500 * NS_PER_MS);
	ck_assert_int_eq(time_parse("yesterday", 0, &t), WEIR_EINVAL);
	time_format(-1, text);
	ck_assert_str_eq(text, "1969-12-31T23:59:59.999999999Z");

	ck_assert_int_eq(duration_parse("1h30m", 5, &t), 0);
	ck_assert(t == 5400 * NS_PER_SEC);
	duration_format(t, text);
	ck_assert_str_eq(text, "90m");
	duration_format(0, text);
	ck_assert_str_eq(text, "0s");
	ck_assert_int_eq(duration_parse("5", 1, &t), WEIR_EINVAL);
	ck_assert_int_eq(duration_parse("s", 1, &t), WEIR_EINVAL);
	ck_assert_int_eq(duration_parse("99999999999d", 12, &t), WEIR_ETOOBIG);
	ck_assert(time_floor(-1, 10, 0) == -10);
	ck_assert(time_floor(25, 10, 3) == 23);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/buf");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, numbers_round_trip);
	tcase_add_test(tc, short_and_malformed_input_is_an_error_for_good);
	tcase_add_test(tc, big_endian_keys_order_as_numbers);
	tcase_add_test(tc, sizes_are_for_people);
	tcase_add_test(tc, times_and_durations);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
