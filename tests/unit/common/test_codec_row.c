/* A result as proto/row.proto has it: the bytes themselves, for others read them; and texts that are none. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec_row.h"

static struct bytes text(const char *s)
{
	return bytes_of(s, strlen(s));
}

static void is_hex(const struct buf *b, const char *want)
{
	struct buf got = {0};
	for (size_t i = 0; i < b->len; i++)
		buf_printf(&got, "%02x", b->data[i]);
	ck_assert_str_eq(buf_cstr(&got), want);
	buf_free(&got);
}

/* What `protoc --decode=weir.result.Row` makes of these bytes is what stands here. */
START_TEST(the_bytes_of_a_row)
{
	struct buf out = {0};
	const struct row_tag tags[] = {{text("unit"), text("3")}, {text("site"), text("")}};
	const struct row_number values[] = {{text("count"), true, false, 2, 9}, {text("p50"), true, true, 71.5, 0.25}, {text("stddev"), false, false, 1, 1}};
	const struct rows_edges edges = {.expected = 3, .contributed = 1, .idle = 1, .partitioned = 1, .missing_count = 1, .missing = {text("e-9")}};
	buf_u8(&out, 0xff); /* it appends */
	row_message_encode(&(struct row_message){.stream = text("s"), .id = text("ab-2"), .version = 300, .start_ns = -1, .end_ns = 60, .tags = tags, .tag_count = 2,
	    .values = values, .value_count = 3, .state = WINDOW_PROVISIONAL, .revision = 2, .edges = &edges}, &out);
	is_hex(&out,
	    "ff" "0a0173" "10ac02" "1a0461622d32" "20ffffffffffffffffff01" "283c"
	    "3209" "0a04756e6974" "120133" "3206" "0a0473697465"
	    "3a10" "0a05636f756e74" "110000000000000040"
	    "3a17" "0a03703530" "110000000000e05140" "19000000000000d03f"
	    "3a08" "0a06737464646576"
	    "4001" "4802" "520d" "0803" "1001" "1801" "2001" "2a03652d39");
	buf_free(&out);
}
END_TEST

START_TEST(texts_are_utf8_whatever_tags_are)
{
	struct buf out = {0};
	static const char bad[] = "a\xff\0b\xc3\xa9\xc3";
	const struct row_tag tags[] = {{text("k"), bytes_of(bad, sizeof(bad) - 1)}, {text("l"), bytes_of("\0\0", 2)}};
	const struct rows_edges edges = {0};
	row_message_encode(&(struct row_message){.stream = text("s"), .tags = tags, .tag_count = 2, .state = WINDOW_FINAL, .edges = &edges, .has_shard = true}, &out);
	is_hex(&out,
	    "0a0173"
	    "3212" "0a016b" "120d" "61" "efbfbd" "efbfbd" "62" "c3a9" "efbfbd"
	    "320b" "0a016c" "1206" "efbfbd" "efbfbd"
	    "4002" "5200" "5800");
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("codec_row");
	TCase *c = tcase_create("row");
	tcase_add_test(c, the_bytes_of_a_row);
	tcase_add_test(c, texts_are_utf8_whatever_tags_are);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
