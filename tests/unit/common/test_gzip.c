#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/gzip.h"

static struct gzip_reader *reader;
static struct buf packed, out;

static void setup(void)
{
	reader = gzip_reader_new();
	packed = out = (struct buf){0};
}

static void teardown(void)
{
	gzip_reader_free(reader);
	buf_free(&packed);
	buf_free(&out);
}

/* All of it, in pieces of this size; what the reader said in the end. */
static int unpack(size_t piece)
{
	size_t n = 0;
	int rc;
	buf_clear(&out);
	gzip_begin(reader, bytes_of(packed.data, packed.len));
	while (!(rc = gzip_read(reader, buf_reserve(&out, piece), piece, &n)) && n) {
		ck_assert_uint_le(n, piece);
		out.len += n;
	}
	return rc;
}

START_TEST(what_was_packed_comes_back_in_any_pieces)
{
	static const size_t pieces[] = {1, 7, 1000, 100000};
	struct buf text = {0};
	for (int i = 0; i < 3000; i++)
		buf_printf(&text, "boiler,unit=%d temperature=%d %d\n", i % 7, i * 31 % 100, i);
	gzip_pack(text.data, text.len, &packed);
	ck_assert_uint_lt(packed.len, text.len / 2);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(unpack(pieces[i]), 0);
		ck_assert_uint_eq(out.len, text.len);
		ck_assert_int_eq(memcmp(out.data, text.data, text.len), 0);
	}
	buf_free(&text);
}
END_TEST

START_TEST(members_follow_each_other_and_may_be_empty)
{
	gzip_pack("a", 1, &packed);
	gzip_pack("", 0, &packed);
	gzip_pack("bc", 2, &packed);
	ck_assert_int_eq(unpack(10), 0);
	ck_assert_str_eq(buf_cstr(&out), "abc");
	buf_clear(&packed);
	gzip_pack("", 0, &packed);
	ck_assert_int_eq(unpack(10), 0);
	ck_assert_uint_eq(out.len, 0);
}
END_TEST

START_TEST(every_cut_and_every_flip_is_told)
{
	gzip_pack("boiler temperature=1\n", 21, &packed);
	size_t whole = packed.len;
	for (size_t n = 0; n < whole; n++) {
		packed.len = n;
		ck_assert_int_eq(unpack(64), WEIR_ETRUNCATED);
	}
	packed.len = whole;
	for (size_t i = 10; i < whole; i++) { /* the head's time and system are nobody's business */
		packed.data[i] ^= 0x10;
		ck_assert(unpack(64) < 0 || (out.len == 21 && !memcmp(out.data, "boiler", 6))); /* unless it is a bit that fills up */
		packed.data[i] ^= 0x10;
	}
	buf_put(&packed, "more", 4);
	ck_assert_int_eq(unpack(64), WEIR_ECORRUPT);
	packed.len = whole;
	ck_assert_int_eq(unpack(64), 0); /* a reader goes on after an error */
	ck_assert_uint_eq(out.len, 21);
}
END_TEST

START_TEST(a_bomb_takes_no_memory)
{
	uint8_t *zeros = xcalloc(1, 8 << 20), room[1000];
	size_t n, sum = 0;
	gzip_pack(zeros, 8 << 20, &packed);
	ck_assert_uint_lt(packed.len, 64 * 1024);
	gzip_begin(reader, bytes_of(packed.data, packed.len));
	while (!gzip_read(reader, room, sizeof(room), &n) && n)
		sum += n;
	ck_assert_uint_eq(sum, 8 << 20);
	free(zeros);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/gzip");
	TCase *tc = tcase_create("gzip");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_was_packed_comes_back_in_any_pieces);
	tcase_add_test(tc, members_follow_each_other_and_may_be_empty);
	tcase_add_test(tc, every_cut_and_every_flip_is_told);
	tcase_add_test(tc, a_bomb_takes_no_memory);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
