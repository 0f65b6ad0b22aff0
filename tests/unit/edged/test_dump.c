/* Records of a spool as JSON; whatever bytes come instead, what is told is JSON still. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/model.h"
#include "common/topology.h"
#include "edged/dump.h"
#include "edged/ledger.h"
#include "edged/spool.h"

#define SEC NS_PER_SEC

static json_t *told(const char *db, struct bytes key, struct bytes value, bool *ret_fine)
{
	struct buf out = {0};
	const char *why = NULL;
	json_error_t error;
	buf_printf(&out, "{\"db\": \"%s\"", db);
	*ret_fine = spool_dump_record(db, key, value, &out, &why);
	buf_printf(&out, "}");
	ck_assert(*ret_fine || (why && *why));
	json_t *j = json_loads(buf_cstr(&out), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	ck_assert_msg(j != NULL, "%s: %s", error.text, buf_cstr(&out));
	buf_free(&out);
	return j;
}

static uint32_t random_state = 1;
static uint32_t any(uint32_t n)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % n;
}

/* As it is; and spoilt in many ways. */
static json_t *dump(const char *db, struct bytes key, const struct buf *value)
{
	bool fine;
	uint8_t *bytes = xmalloc(value->len + 1);
	for (int i = 0; i < 300 && value->len; i++) {
		size_t n = any(3) ? value->len : any((uint32_t)value->len);
		memcpy(bytes, value->data, value->len);
		for (uint32_t j = any(4); j > 0; j--)
			bytes[any((uint32_t)value->len)] = (uint8_t)any(256);
		json_decref(told(db, key, bytes_of(bytes, n), &fine));
		json_decref(told(db, bytes_of(key.p, any((uint32_t)key.n + 1)), bytes_of(value->data, value->len), &fine));
	}
	free(bytes);
	json_t *j = told(db, key, bytes_of(value->data, value->len), &fine);
	ck_assert(fine);
	return j;
}

static const char *word(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));
	return s ? s : "";
}

static json_int_t number(const json_t *j, const char *key)
{
	ck_assert_msg(json_is_integer(json_object_get(j, key)), "%s", key);
	return json_integer_value(json_object_get(j, key));
}

static struct topology *t;

static void setup(void)
{
	static const char text[] =
	    "version: 1\ncluster: {name: test, shards: 1, replicas: 1, security: none}\ncloud:\n"
	    "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\nedges:\n  - {name: e1}\nstreams:\n"
	    "  - {name: s, from: {measurement: m, field: f}, by: [k], window: 10s, compute: [count, sum, p50]}\n";
	struct buf errors = {0};
	ck_assert_msg(!topology_parse("test.yaml", text, sizeof(text) - 1, &t, &errors), "%s", buf_cstr(&errors));
}

static void teardown(void)
{
	topology_free(t);
}

START_TEST(batches_and_open_slices)
{
	const struct stream_conf *s = &t->streams[0];
	struct partial_spec spec;
	struct partial p = {0};
	struct buf value = {0}, key = {0};
	struct batch_writer *w = batch_writer_new(0);
	partial_spec_of(s, 0, PARTIAL_QUANTILE_CAP_EDGE, &spec);
	partial_add(&p, &spec, 11 * SEC, 2.5);
	ck_assert_int_eq(batch_writer_add(w, s, &spec, 10 * SEC, bytes_of("\1a", 2), &p), 0);
	buf_u8(&value, 1);
	buf_varint(&value, 1);
	buf_str(&value, "s");
	buf_u32(&value, s->version);
	buf_svarint(&value, 10 * SEC);
	buf_varint(&value, 1);
	batch_writer_finish(w, 7, &value);
	batch_writer_free(w);
	buf_be16(&key, 3);
	buf_be64(&key, 7);
	json_t *j = dump("batch", bytes_of(key.data, key.len), &value);
	const json_t *item = json_array_get(json_object_get(json_object_get(j, "batch"), "partials"), 0);
	ck_assert_str_eq(word(j, "what"), "batch");
	ck_assert_int_eq(number(j, "shard"), 3);
	ck_assert_int_eq(number(j, "seq"), 7);
	ck_assert_str_eq(word(item, "start"), "1970-01-01T00:00:10Z");
	ck_assert_double_eq(json_number_value(json_object_get(json_object_get(item, "partial"), "sum")), 2.5);
	json_decref(j);

	buf_clear(&key);
	buf_put(&key, "s", 2);
	buf_be32(&key, s->version);
	buf_bei64(&key, 10 * SEC);
	buf_put(&key, "\1a", 2);
	buf_clear(&value);
	buf_svarint(&value, s->slice_ns);
	buf_varint(&value, spec.parts);
	buf_varint(&value, spec.distinct_count);
	partial_encode(&p, &spec, &value);
	j = dump("delta", bytes_of(key.data, key.len), &value);
	ck_assert_str_eq(word(j, "what"), "open_slice");
	ck_assert_str_eq(word(j, "stream"), "s");
	ck_assert_int_eq(number(j, "version"), s->version);
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(j, "group"), 0)), "a");
	ck_assert_int_eq(number(json_object_get(j, "partial"), "count"), 1);
	json_decref(j);
	partial_clear(&p, &spec);
	buf_free(&key);
	buf_free(&value);
}
END_TEST

static json_t *dump_mark(const char *key, const struct buf *value)
{
	json_t *j = dump("mark", bytes_of(key, strlen(key)), value);
	ck_assert_str_eq(word(j, "what"), "mark");
	ck_assert_str_eq(word(j, "mark"), key);
	return j;
}

START_TEST(marks_and_their_copies)
{
	struct ledger l = {0};
	struct buf value = {0}, copy = {0};
	l.read = 3;
	l.accepted = 2;
	ledger_refuse(&l, "bad_field");
	ledger_encode(&l, &value);
	json_t *j = dump_mark("ledger", &value);
	ck_assert_int_eq(number(j, "accepted"), 2);
	ck_assert_int_eq(number(json_object_get(j, "refused"), "bad_field"), 1);
	json_decref(j);
	buf_u8(&copy, 0);
	buf_put(&copy, "ledger", 6);
	j = dump("step", bytes_of(copy.data, copy.len), &value);
	ck_assert_str_eq(word(j, "what"), "mark_copy");
	ck_assert_int_eq(number(j, "accepted"), 2);
	json_decref(j);
	ledger_free(&l);
	buf_clear(&value);
	buf_svarint(&value, 20 * SEC);
	buf_svarint(&value, WATERMARK_NONE);
	j = dump_mark("wm/s/9", &value);
	ck_assert_str_eq(word(j, "watermark"), "1970-01-01T00:00:20Z");
	ck_assert(json_is_null(json_object_get(j, "flushed_end")));
	json_decref(j);
	buf_clear(&value);
	buf_varint(&value, 4);
	j = dump_mark("epoch", &value);
	ck_assert_int_eq(number(j, "number"), 4);
	json_decref(j);
	buf_clear(&value);
	buf_put(&value, "\1\2", 2);
	j = dump_mark("source/file-1", &value);
	ck_assert_str_eq(word(j, "value"), "0102");
	json_decref(j);
	buf_free(&value);
	buf_free(&copy);
}
END_TEST

START_TEST(a_lost_records_key_is_told)
{
	struct buf out = {0};
	uint8_t key[] = {0, 3, 0, 0, 0, 0, 0, 0, 0, 7};
	ck_assert(spool_dump_key("batch", bytes_of(key, sizeof(key)), &out));
	ck_assert_str_eq(buf_cstr(&out), ", \"what\": \"batch\", \"shard\": 3, \"seq\": 7");
	ck_assert(!spool_dump_key("batch", bytes_of(key, 4), &out));
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/dump");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, batches_and_open_slices);
	tcase_add_test(tc, marks_and_their_copies);
	tcase_add_test(tc, a_lost_records_key_is_told);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
