/* Records as JSON: each that is written says what it is and holds; whatever bytes come instead, what is told is JSON still. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/dump.h"
#include "cloudd/jobs.h"
#include "cloudd/node.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "raft/raft.h"
#include "tests/unit/cloudd/kit.h"

static struct kit k;
static struct dump *d;
static struct cluster_map map;

#define STREAM \
	"  - {name: s, from: {measurement: m, field: f}, lateness: 0s, by: [t], window: 10s, " \
	"compute: [count, sum, min, stddev, first, p50, distinct(t)], retain: 5m}\n"
static const char text[] =
    "version: 1\ncluster: {name: test, shards: 1, replicas: 1, security: none}\ncloud:\n"
    "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\nedges:\n  - {name: e1}\n  - {name: e2}\nstreams:\n" STREAM;

static void setup(void)
{
	kit_init(&k, 1, STREAM);
	d = dump_new();
	struct topology *t;
	struct buf errors = {0};
	ck_assert_msg(!topology_parse("test.yaml", text, strlen(text), &t, &errors), "%s", buf_cstr(&errors));
	map_first(t, text, strlen(text), &map);
	topology_free(t);
}

static void teardown(void)
{
	dump_free(d);
	kit_close(&k);
	map_clear(&map);
}

/* The object, or NULL where the record does not read; always JSON, no key twice. */
static json_t *told(const char *db, struct bytes key, struct bytes value, bool *ret_fine)
{
	struct buf out = {0};
	const char *why = NULL;
	json_error_t error;
	buf_printf(&out, "{\"db\": \"%s\"", db);
	*ret_fine = dump_record(d, db, key, value, &out, &why);
	buf_printf(&out, "}");
	ck_assert(*ret_fine || (why && *why));
	json_t *j = json_loads(buf_cstr(&out), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	ck_assert_msg(j != NULL, "%s: %s", error.text, buf_cstr(&out));
	buf_free(&out);
	return j;
}

static json_t *dump(const char *db, struct bytes key, struct bytes value)
{
	bool fine;
	json_t *j = told(db, key, value, &fine);
	ck_assert_msg(fine, "%s", json_dumps(j, 0));
	ck_assert_ptr_nonnull(json_object_get(j, "what"));
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

static uint32_t random_state = 1;
static uint32_t any(uint32_t n)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % n;
}

static void spoil(const char *db, struct bytes key, struct bytes value)
{
	uint8_t *bytes = xmalloc(value.n + 1);
	for (int i = 0; i < 40 && value.n; i++) {
		bool fine;
		size_t n = any(3) ? value.n : any((uint32_t)value.n);
		memcpy(bytes, value.p, value.n);
		for (uint32_t j = any(4); j > 0; j--)
			bytes[any((uint32_t)value.n)] = (uint8_t)any(256);
		json_decref(told(db, key, bytes_of(bytes, n), &fine));
		json_decref(told(db, bytes_of(key.p, any((uint32_t)key.n + 1)), value, &fine));
	}
	free(bytes);
}

/* ---- the state --------------------------------------------------------------------------------------------- */

static void apply(uint32_t group, struct entry e)
{
	struct apply_result res = kit_apply(&k, group, &e);
	apply_result_clear(&res);
}

static struct bytes text_bytes(const char *s)
{
	return bytes_of(s, strlen(s));
}

static void fill(void)
{
	struct buf raw = {0}, packed = {0};
	uint8_t id[CLUSTER_ID_BYTES] = {1, 2, 3};
	struct entry_edge edges[] = {{text_bytes("e1"), EDGE_IDLE, 20 * SEC, 20 * SEC, WATERMARK_NONE, false, 0},
	    {text_bytes("e2"), EDGE_PARTITIONED, WATERMARK_NONE, WATERMARK_NONE, 5 * SEC, false, 0}};
	struct entry_close c = {text_bytes("s"), kit_stream(&k, "s")->version, 20 * SEC, 10 * SEC, 2, 2, edges};
	apply(0, (struct entry){.kind = ENTRY_CREATE, .create = {bytes_of(id, sizeof(id))}});
	apply(0, (struct entry){.kind = ENTRY_CLAIM, .claim = {text_bytes("e1"), 0, bytes_of(id, CLAIM_BYTES), true}});
	map_text_pack(text, strlen(text), &packed);
	apply(0, (struct entry){.kind = ENTRY_TOPOLOGY, .topology = {0, sizeof(text) - 1, bytes_of(packed.data, packed.len)}});
	apply(0, (struct entry){.kind = ENTRY_CLOSE, .closes = {1, &c}});
	apply(0, (struct entry){.kind = ENTRY_TAKEN, .taken = {0, META_INDEX(3, 0)}});
	ck_assert_int_eq(map_encode(&map, &raw), 0);
	apply(1, (struct entry){.kind = ENTRY_MAP, .map = {++k.meta_index, 0, bytes_of(raw.data, raw.len)}});
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", kit_group(1, "a"), 1 * SEC, 4);
	kit_add(&b, "s", kit_group(1, "\"x\\\n\xff"), 21 * SEC, 5);
	kit_send(&k, &b);
	struct apply_result res = kit_advance(&k, "s", 20 * SEC, 10 * SEC, edges, 2);
	apply_result_clear(&res);
	kit_sweep_all(&k);
	b = kit_batch(&k);
	kit_add(&b, "s", kit_group(1, "a"), 2 * SEC, 5); /* late: dirty, then a revision */
	kit_send(&k, &b);
	kit_commit(&k);
	buf_free(&raw);
	buf_free(&packed);
}

static size_t each(const char *db, unsigned number_of_db, void (*look)(const char *db, struct bytes key, struct bytes value))
{
	struct kv_txn *txn;
	struct kv_cursor *c;
	struct bytes key, value;
	size_t n = 0;
	ck_assert_int_eq(kv_begin(k.kv, false, &txn), 0);
	ck_assert_int_eq(kv_cursor_open(txn, number_of_db, &c), 0);
	for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value), n++)
		look(db, key, value);
	kv_cursor_close(c);
	kv_abort(txn);
	return n;
}

static json_t *all;

static void collect(const char *db, struct bytes key, struct bytes value)
{
	json_array_append_new(all, dump(db, key, value));
}

static const json_t *find(const char *what, const char *key, const char *value)
{
	size_t i;
	json_t *j;
	json_array_foreach (all, i, j) {
		if (!strcmp(word(j, "what"), what) && (!key || !strcmp(word(j, key), value)))
			return j;
	}
	ck_abort_msg("no %s", what);
}

START_TEST(every_record_of_a_state_says_what_it_holds)
{
	fill();
	all = json_array();
	each("group-000", STATE_DB_GROUP(0), collect);
	ck_assert_str_eq(word(find("cluster_id", NULL, NULL), "cluster_id"), "01020300000000000000000000000000");
	ck_assert_int_eq(number(find("meta_edge", "name", "e1"), "epoch"), 1);
	ck_assert_str_eq(word(find("close", "stream", "s"), "close"), "1970-01-01T00:00:20Z");
	ck_assert_int_eq(number(find("taken", NULL, NULL), "meta_index"), META_INDEX(3, 0));
	ck_assert_int_eq(number(find("map", NULL, NULL), "map_version"), 1);
	ck_assert_str_eq(word(find("map", NULL, NULL), "topology"), text);
	ck_assert_str_eq(word(find("queued", "stream", "s"), "final"), "1970-01-01T00:00:10Z");
	json_array_clear(all);
	each("group-001", STATE_DB_GROUP(1), collect);
	const json_t *p = find("partial", "start", "1970-01-01T00:00:00Z"), *v = json_object_get(p, "partial");
	ck_assert_str_eq(word(p, "stream"), "s");
	ck_assert_int_eq(number(p, "version"), kit_stream(&k, "s")->version);
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(p, "group"), 0)), "a");
	ck_assert_int_eq(number(v, "count"), 2);
	ck_assert_double_eq(json_number_value(json_object_get(v, "sum")), 9);
	ck_assert_double_eq(json_number_value(json_object_get(v, "min")), 4);
	ck_assert_str_eq(word(json_object_get(v, "first"), "time"), "1970-01-01T00:00:01Z");
	ck_assert_int_eq(number(json_object_get(v, "quantile"), "buckets"), 2);
	ck_assert_int_eq(number(find("counts", NULL, NULL), "merged"), 3);
	ck_assert_int_eq(number(find("edge", "name", "e1"), "last"), 2);
	ck_assert_str_eq(word(find("advance", "part", "advance"), "close"), "1970-01-01T00:00:20Z");
	ck_assert_int_eq(number(find("advance", "part", "sweep"), "outbox_rows"), 1);
	ck_assert_str_eq(word(find("outbox", NULL, NULL), "window_end"), "1970-01-01T00:00:10Z");
	ck_assert_str_eq(word(find("dirty", NULL, NULL), "close"), "1970-01-01T00:00:20Z");
	ck_assert_str_eq(word(json_array_get(json_object_get(find("interval", NULL, NULL), "edges"), 1), "state"), "partitioned");
	ck_assert_int_eq(number(find("head", NULL, NULL), "applied"), (json_int_t)k.index[1]);
	ck_assert_str_eq(word(find("group", NULL, NULL), "latest"), "1970-01-01T00:00:00Z");
	json_array_clear(all);
	each("node", STATE_DB_NODE, collect);
	ck_assert_str_eq(word(find("layout", NULL, NULL), "cluster"), k.t->cluster);
	json_decref(all);
}
END_TEST

START_TEST(a_partial_whose_stream_nobody_knows_is_told_so)
{
	fill();
	struct state_key key;
	bool fine;
	struct buf out = {0};
	state_key_place(&key, STATE_PARTIAL, 1, 0, 10 * SEC, kit_group(1, "a"));
	json_t *j = told("group-001", state_key_bytes(&key), bytes_of("\1\2", 2), &fine); /* no map came before */
	ck_assert(!fine);
	ck_assert_str_eq(word(j, "what"), "partial");
	ck_assert_int_eq(number(j, "stream_id"), 1);
	json_decref(j);
	all = json_array();
	each("group-001", STATE_DB_GROUP(1), collect);
	json_decref(all);
	ck_assert(dump_key(d, "group-001", state_key_bytes(&key), &out)); /* its value is lost */
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\"stream\": \"s\""));
	buf_clear(&out);
	ck_assert(!dump_key(d, "group-001", bytes_of("?", 1), &out));
	ck_assert(!dump_key(d, "group-001", bytes_of("", 0), &out));
	buf_free(&out);
	j = told("group-002", state_key_bytes(&key), bytes_of("\1\2", 2), &fine); /* another group's ids are others */
	ck_assert(!fine);
	json_decref(j);
}
END_TEST

START_TEST(spoilt_records_of_a_state_are_told)
{
	fill();
	each("group-000", STATE_DB_GROUP(0), spoil);
	all = json_array();
	each("group-001", STATE_DB_GROUP(1), collect); /* so that partials are known */
	json_decref(all);
	each("group-001", STATE_DB_GROUP(1), spoil);
	each("node", STATE_DB_NODE, spoil);
}
END_TEST

/* ---- the log ----------------------------------------------------------------------------------------------- */

static struct buf value_of(uint8_t kind, struct bytes bytes)
{
	struct buf out = {0};
	buf_u64(&out, 7);
	buf_u8(&out, kind);
	buf_put(&out, bytes.p, bytes.n);
	return out;
}

static json_t *dump_entry(uint64_t index, uint8_t kind, struct bytes bytes)
{
	struct buf key = {0}, value = value_of(kind, bytes);
	buf_be64(&key, index);
	spoil("group-001", bytes_of(key.data, key.len), bytes_of(value.data, value.len));
	json_t *j = dump("group-001", bytes_of(key.data, key.len), bytes_of(value.data, value.len));
	ck_assert_str_eq(word(j, "what"), "entry");
	ck_assert_int_eq(number(j, "index"), (json_int_t)index);
	ck_assert_int_eq(number(j, "term"), 7);
	buf_free(&key);
	buf_free(&value);
	return j;
}

static void check_entry(struct entry e, const char *want, const char *key, const char *holds)
{
	struct buf raw = {0};
	e.time_ns = 60 * SEC;
	entry_encode(&e, &raw);
	json_t *j = dump_entry(5, RAFT_ENTRY_DATA, bytes_of(raw.data, raw.len));
	ck_assert_str_eq(word(j, "entry"), want);
	ck_assert_str_eq(word(j, "proposed"), "1970-01-01T00:01:00Z");
	if (key)
		ck_assert_str_eq(word(j, key), holds);
	json_decref(j);
	buf_free(&raw);
}

START_TEST(every_kind_of_entry_says_what_it_holds)
{
	struct buf raw = {0}, packed = {0};
	uint8_t id[CLUSTER_ID_BYTES] = {1};
	struct entry_edge edge = {text_bytes("e1"), EDGE_LIVE, 20 * SEC, WATERMARK_NONE, WATERMARK_NONE, false, 0};
	struct entry_close c = {text_bytes("s"), 9, 20 * SEC, 10 * SEC, 1, 1, &edge};
	struct kit_batch b = kit_batch(&k);
	kit_add(&b, "s", kit_group(1, "a"), 1 * SEC, 4);
	struct buf body = kit_body(&b, 3);
	ck_assert_int_eq(map_encode(&map, &raw), 0);
	map_text_pack(text, strlen(text), &packed);
	check_entry((struct entry){.kind = ENTRY_OPEN, .open = {text_bytes("e1"), 1, 2, 3, true}}, "open", "edge", "e1");
	check_entry((struct entry){.kind = ENTRY_ADVANCE, .advance = {5, 4, c}}, "advance", "final", "1970-01-01T00:00:10Z");
	check_entry((struct entry){.kind = ENTRY_SWEEP}, "sweep", NULL, NULL);
	struct entry_place place = {text_bytes("out"), text_bytes("s"), 9, 7, 1};
	check_entry((struct entry){.kind = ENTRY_SINK, .sink = {1, &place}}, "sink", NULL, NULL);
	struct entry_alert_group group = {ALERT_RESOLVED, ALERT_NO_DATA, 0, 10 * SEC, 20 * SEC, kit_group(1, "a"), {0}};
	struct entry_alert alert = {ALERT_JUDGE, 3, 7, 9, 20 * SEC, true, 20 * SEC, kit_group(1, "a"), false, 1, &group};
	check_entry((struct entry){.kind = ENTRY_ALERT, .alert = {1, &alert}}, "alert", NULL, NULL);
	check_entry((struct entry){.kind = ENTRY_MAP, .map = {5, 4, bytes_of(raw.data, raw.len)}}, "map", "topology", text);
	check_entry((struct entry){.kind = ENTRY_CREATE, .create = {bytes_of(id, sizeof(id))}}, "create", "cluster_id", "01000000000000000000000000000000");
	check_entry((struct entry){.kind = ENTRY_CLAIM, .claim = {text_bytes("e1"), 1, bytes_of(id, CLAIM_BYTES), false}}, "claim", "edge", "e1");
	check_entry((struct entry){.kind = ENTRY_READMIT, .readmit = {text_bytes("e1"), 3}}, "readmit", "edge", "e1");
	check_entry((struct entry){.kind = ENTRY_CLOSE, .closes = {1, &c}}, "close", NULL, NULL);
	check_entry((struct entry){.kind = ENTRY_TAKEN, .taken = {0, 5}}, "taken", NULL, NULL);
	check_entry((struct entry){.kind = ENTRY_TOPOLOGY, .topology = {ENTRY_BASE_FIRST, sizeof(text) - 1, bytes_of(packed.data, packed.len)}},
	    "topology", "topology", text);
	check_entry((struct entry){.kind = ENTRY_NODE, .node = {1, 2}}, "node", "event", "alive");
	check_entry((struct entry){.kind = ENTRY_CUT, .cut = {text_bytes("s"), 9, false, 40 * SEC, 0}}, "cut", "at", "1970-01-01T00:00:40Z");
	check_entry((struct entry){.kind = ENTRY_REVOKE, .revoke = {text_bytes("e1"), true}}, "revoke", "edge", "e1");
	struct buf batch = {0};
	struct entry e = kit_batch_entry("e1", 1, 3, &body);
	entry_encode(&e, &batch);
	json_t *j = dump_entry(8, RAFT_ENTRY_DATA, bytes_of(batch.data, batch.len));
	const json_t *in = json_object_get(j, "batch"), *p = json_array_get(json_object_get(in, "partials"), 0);
	ck_assert_int_eq(number(in, "seq"), 3);
	ck_assert_str_eq(word(p, "stream"), "s");
	ck_assert_int_eq(number(json_object_get(p, "partial"), "count"), 1);
	json_decref(j);
	struct raft_config config = {1, {{UINT64_C(0x50002), true}}};
	uint8_t room[RAFT_CONFIG_BYTES_MAX];
	j = dump_entry(1, RAFT_ENTRY_CONFIG, bytes_of(room, raft_config_encode(&config, room)));
	ck_assert_int_eq(number(json_array_get(json_object_get(j, "members"), 0), "node"), 2);
	json_decref(j);
	json_decref(dump_entry(2, RAFT_ENTRY_NOOP, bytes_of("", 0)));
	buf_free(&raw);
	buf_free(&packed);
	buf_free(&batch);
	buf_free(&body);
}
END_TEST

START_TEST(an_entry_of_a_later_version_is_told_so)
{
	struct buf key = {0}, value = value_of(RAFT_ENTRY_DATA, bytes_of("\1\115\0rest", 7));
	bool fine;
	buf_be64(&key, 3);
	json_t *j = told("group-001", bytes_of(key.data, key.len), bytes_of(value.data, value.len), &fine);
	ck_assert(!fine);
	ck_assert_int_eq(number(j, "entry_kind"), 77);
	json_decref(j);
	buf_free(&key);
	buf_free(&value);
}
END_TEST

START_TEST(what_a_log_says_of_its_node_and_groups)
{
	struct log_job *job = log_job_new();
	struct log_group g = {.term = 5, .vote = 6, .base_index = 7, .base_term = 4};
	struct raft_config config = {1, {{UINT64_C(0x50002), false}}};
	g.config_len = raft_config_encode(&config, g.config);
	log_job_group(job, 3, &g);
	const struct log_record *r = &job->records[0];
	json_t *j = dump("node", bytes_of(r->key, r->key_len), bytes_of(r->value, r->value_len));
	ck_assert_int_eq(number(j, "group_number"), 3);
	ck_assert_int_eq(number(j, "base_index"), 7);
	ck_assert(json_is_false(json_object_get(json_array_get(json_object_get(j, "members"), 0), "voter")));
	json_decref(j);
	spoil("node", bytes_of(r->key, r->key_len), bytes_of(r->value, r->value_len));
	log_job_free(job);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/dump");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_record_of_a_state_says_what_it_holds);
	tcase_add_test(tc, a_partial_whose_stream_nobody_knows_is_told_so);
	tcase_add_test(tc, spoilt_records_of_a_state_are_told);
	tcase_add_test(tc, every_kind_of_entry_says_what_it_holds);
	tcase_add_test(tc, an_entry_of_a_later_version_is_told_so);
	tcase_add_test(tc, what_a_log_says_of_its_node_and_groups);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
