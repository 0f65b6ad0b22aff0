/* /api/v1/sinks: what nodes tell of their sinks, and how that becomes one picture. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/sink_states.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"

#define SINKS 3
enum { PAGER, OUT, IDLE };

static struct topology *t;
static struct sink_state states[SINKS];
static struct buf raw;

static void setup(void)
{
	static const char text[] = "version: 1\ncluster: {name: plant, security: none}\ncloud:\n"
				   "  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n"
				   "  - {name: c2, listen: \"tcp://127.0.0.1:7102\", http: \"127.0.0.1:8102\"}\n"
				   "  - {name: c3, listen: \"tcp://127.0.0.1:7103\", http: \"127.0.0.1:8103\"}\n"
				   "streams:\n  - {name: s, from: {measurement: m, field: f}, window: 1m, compute: [count]}\n"
				   "sinks:\n  - {name: pager, type: webhook, url: \"http://127.0.0.1:1/\"}\n"
				   "  - {name: out, type: file, path: \"out-{node}\"}\n  - {name: idle, type: file, path: \"idle-{node}\"}\n";
	struct buf errors = {0};
	int rc = topology_parse("t.yaml", text, sizeof(text) - 1, &t, &errors);
	ck_assert_msg(!rc, "%s", buf_cstr(&errors));
	buf_free(&errors);
	memset(states, 0, sizeof(states));
	raw = (struct buf){0};
}

static void teardown(void)
{
	buf_free(&raw);
	topology_free(t);
}

static void begin(unsigned count)
{
	buf_clear(&raw);
	buf_varint(&raw, count);
}

static int add(uint32_t node)
{
	return sink_states_add(bytes_of(raw.data, raw.len), t, node, states);
}

static const struct sink_figures fine = {.rows = 10, .alerts = 2, .backlog_rows = 3, .lag_ns = 1500 * NS_PER_MS};
static const struct sink_figures away = {.rows = 5, .backlog_rows = 40, .backlog_alerts = 1, .lag_ns = 75 * NS_PER_SEC, .failing_ns = 75500 * NS_PER_MS,
    .why = "it answers \"503\"\xff"};
static const struct sink_figures away_lately = {.rows = 1, .lag_ns = NS_PER_SEC, .failing_ns = 1, .why = "a moment ago"};

/* c1 delivers both; c2's receiver of one is away, c3's since a moment ago; of the third nobody tells. */
static void three_tell(void)
{
	begin(2);
	sink_figures_put("out", &fine, &raw);
	sink_figures_put("pager", &fine, &raw);
	ck_assert_int_eq(add(0), 0);
	begin(1);
	sink_figures_put("pager", &away, &raw);
	ck_assert_int_eq(add(1), 0);
	begin(1);
	sink_figures_put("pager", &away_lately, &raw);
	ck_assert_int_eq(add(2), 0);
}

static json_t *shown(uint64_t unanswered)
{
	struct buf out = {0};
	json_error_t error;
	sink_states_json(t, states, unanswered, &out);
	json_t *j = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(j != NULL, "%s in %s", error.text, buf_cstr(&out));
	buf_free(&out);
	return j;
}

/* The sink's object is what `want` says. */
static void check_sink(const json_t *all, size_t at, const char *want)
{
	json_t *w = json_loads(want, 0, NULL), *is = json_array_get(json_object_get(all, "sinks"), at);
	char *text = json_dumps(is, 0);
	ck_assert_ptr_nonnull(w);
	ck_assert_msg(json_equal(is, w), "%s", text);
	free(text);
	json_decref(w);
}

START_TEST(what_nodes_tell_is_taken_together)
{
	three_tell();
	json_t *j = shown(0);
	check_sink(j, PAGER, "{\"name\": \"pager\", \"type\": \"webhook\", \"state\": \"failing\", \"rows\": 16, \"alerts\": 2, \"backlog_rows\": 43, "
			     "\"backlog_alerts\": 1, \"lag_s\": 75, \"failing_s\": 75.5, \"failing_at\": [\"c2\", \"c3\"], "
			     "\"error\": \"it answers \\\"503\\\"\\ufffd\"}");
	check_sink(j, OUT, "{\"name\": \"out\", \"type\": \"file\", \"state\": \"delivers\", \"rows\": 10, \"alerts\": 2, \"backlog_rows\": 3, "
			   "\"backlog_alerts\": 0, \"lag_s\": 1.5, \"failing_s\": 0, \"failing_at\": [], \"error\": null}");
	check_sink(j, IDLE, "{\"name\": \"idle\", \"type\": \"file\", \"state\": \"unknown\", \"rows\": null, \"alerts\": null, \"backlog_rows\": null, "
			    "\"backlog_alerts\": null, \"lag_s\": null, \"failing_s\": null, \"failing_at\": [], \"error\": null}");
	ck_assert_uint_eq(json_array_size(json_object_get(j, "sinks")), SINKS);
	ck_assert_uint_eq(json_array_size(json_object_get(j, "unanswered")), 0);
	json_decref(j);
	j = shown(5);
	json_t *want = json_loads("[\"c1\", \"c3\"]", 0, NULL);
	ck_assert(json_equal(json_object_get(j, "unanswered"), want));
	json_decref(want);
	json_decref(j);
}
END_TEST

START_TEST(sinks_that_are_not_in_the_topology_are_passed_over)
{
	begin(2);
	sink_figures_put("gone", &away, &raw);
	sink_figures_put("out", &fine, &raw);
	ck_assert_int_eq(add(0), 0);
	ck_assert(states[OUT].told_by == 1 && states[OUT].sum.rows == 10 && !states[OUT].failing_at);
	ck_assert(!states[PAGER].told_by && !states[IDLE].told_by);
}
END_TEST

START_TEST(what_is_cut_or_twice_adds_nothing)
{
	static const struct sink_state none[SINKS];
	begin(2);
	sink_figures_put("out", &fine, &raw);
	sink_figures_put("pager", &away, &raw);
	size_t whole = raw.len;
	for (raw.len = 0; raw.len < whole; raw.len++)
		ck_assert_msg(add(0), "%zu bytes", raw.len);
	buf_u8(&raw, 0);
	ck_assert_int_ne(add(0), 0); /* one byte more */
	begin(2);
	sink_figures_put("out", &fine, &raw);
	sink_figures_put("out", &fine, &raw);
	ck_assert_int_eq(add(0), WEIR_ECORRUPT);
	begin(SINKS_MAX + 1);
	for (unsigned i = 0; i <= SINKS_MAX; i++)
		sink_figures_put("away", &fine, &raw);
	ck_assert_int_eq(add(0), WEIR_ECORRUPT);
	ck_assert_mem_eq(states, none, sizeof(none));
}
END_TEST

/* name, four counts, lag, failing, why; and what a later version adds. */
static void put_raw(const char *name, size_t name_len, uint64_t lag, const char *why, size_t more)
{
	struct buf b = {0};
	begin(1);
	buf_bytes(&b, name, name_len);
	for (int i = 0; i < 4; i++)
		buf_varint(&b, 7);
	buf_varint(&b, lag);
	buf_varint(&b, 0);
	buf_str(&b, why);
	for (size_t i = 0; i < more; i++)
		buf_u8(&b, 0xff);
	buf_bytes(&raw, b.data, b.len);
	buf_free(&b);
}

START_TEST(what_cannot_be_is_refused_and_what_is_new_ignored)
{
	char longer[SINK_WHY_MAX + 1], name[NAME_MAX_BYTES + 2];
	memset(longer, 'x', sizeof(longer));
	memset(name, 'x', sizeof(name));
	longer[SINK_WHY_MAX] = name[NAME_MAX_BYTES + 1] = 0;
	put_raw("out", 3, UINT64_C(1) << 63, "", 0);
	ck_assert_int_ne(add(0), 0);
	put_raw("out", 3, 1, longer, 0);
	ck_assert_int_ne(add(0), 0);
	put_raw(name, strlen(name), 1, "", 0);
	ck_assert_int_ne(add(0), 0);
	put_raw("out\0x", 5, 1, "", 0);
	ck_assert_int_ne(add(0), 0);
	ck_assert(!states[OUT].told_by);
	put_raw("out", 3, INT64_MAX, longer + 1, 20);
	ck_assert_int_eq(add(0), 0);
	ck_assert(states[OUT].told_by == 1 && states[OUT].sum.backlog_alerts == 7 && states[OUT].sum.lag_ns == INT64_MAX);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/sink_states");
	TCase *c = tcase_create("all");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, what_nodes_tell_is_taken_together);
	tcase_add_test(c, sinks_that_are_not_in_the_topology_are_passed_over);
	tcase_add_test(c, what_is_cut_or_twice_adds_nothing);
	tcase_add_test(c, what_cannot_be_is_refused_and_what_is_new_ignored);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
