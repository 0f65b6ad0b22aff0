/* What topology.yaml may say of alerts, and what a change of them is. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/unit/common/topology_lib.h"

#define HEAD_WITH(more) \
	"version: 1\n" \
	"cluster: {name: test, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"sinks:\n" more \
	"  - {name: hook, type: webhook, url: \"http://127.0.0.1:1/\"}\n" \
	"  - {name: out, type: file, path: x}\n" \
	"  - {name: table, type: file, path: y, format: csv, streams: [speed]}\n" \
	"streams:\n" \
	"  - {name: speed, from: {measurement: m, field: f}, window: 10s}\n"
#define HEAD HEAD_WITH("")
#define HEAT "  - {name: heat, from: {measurement: m, field: f}, window: 10s, compute: [count, mean, p99], alert: "

START_TEST(an_alert_has_what_the_file_says_and_defaults)
{
	struct topology *t = good(HEAD HEAT "{when: p90 > 90 and count >= 10, for: 2 windows, to: [hook, out], severity: page, summary: \"too hot\"}}\n");
	const struct stream_conf *s = &t->streams[1];
	ck_assert_uint_eq(t->streams[0].alert_count, 0);
	ck_assert_uint_eq(s->alert_count, 1);
	const struct alert_conf *a = &s->alerts[0];
	ck_assert_str_eq(a->name, "heat");
	ck_assert_str_eq(a->when, "p90 > 90 and count >= 10");
	ck_assert(a->condition && a->line == 11);
	ck_assert_uint_eq(a->for_windows, 2);
	ck_assert(a->to.count == 2 && alert_goes_to(a, "hook") && alert_goes_to(a, "out") && !alert_goes_to(a, "table"));
	ck_assert_str_eq(a->severity, "page");
	ck_assert_str_eq(a->summary, "too hot");
	ck_assert_int_eq(topology_alerting(t, "heat"), 1);
	ck_assert_int_eq(topology_alerting(t, "speed"), -1);
	ck_assert_int_eq(topology_alerting(t, "else"), -1);
	topology_free(t);
}
END_TEST

START_TEST(a_stream_may_have_several)
{
	struct topology *t = good(HEAD HEAT "[{when: mean > 1}, {name: hot, when: mean > 2, for: 1000, to: hook}, {when: mean > 3, for: 1 window, to: []}]}\n");
	const struct alert_conf *a = t->streams[1].alerts;
	ck_assert_uint_eq(t->streams[1].alert_count, 3);
	ck_assert_str_eq(a[0].name, "heat-1");
	ck_assert_str_eq(a[1].name, "hot");
	ck_assert_str_eq(a[2].name, "heat-3");
	ck_assert(a[0].for_windows == 1 && a[1].for_windows == 1000 && a[2].for_windows == 1);
	ck_assert(!a[0].to.count && a[1].to.count == 1 && !a[2].to.count && !a[0].severity && !a[0].summary);
	topology_free(t);
}
END_TEST

START_TEST(what_is_wrong_is_told_with_its_place)
{
	refused(HEAD HEAT "{when: mean > }}\n", "t.yaml:11:114: streams[1].alert.when: expected a number");
	refused(HEAD HEAT "{when: \"mean > 1 ?\"}}\n", "t.yaml:11:118: streams[1].alert.when: expected an operator, found `?`");
	refused(HEAD HEAT "{when: '\xc3\xa4 > 1'}}\n", "t.yaml:11:109: streams[1].alert.when: expected a number");
	refused(HEAD HEAT "{when: \"1\\x20> 1 ?\"}}\n", "t.yaml:11:108: streams[1].alert.when: expected an operator, found `?` (at its character 7)");
	refused(HEAD HEAT "{when: \n    mean > 1\n    or mean}}\n", "t.yaml:12:5: streams[1].alert.when: `or` takes comparisons, and this is a number: compare it with "
	                                                          "something (at its character 10)");
	refused(HEAD HEAT "{when: sum > 1}}\n", "the stream does not compute sum: it has count, mean, p99");
	refused(HEAD HEAT "{to: hook}}\n", "`when` is missing");
	refused(HEAD HEAT "{when: mean > 1, to: pager}}\n", "streams[1].alert.to: no sink is called `pager`");
	refused(HEAD HEAT "{when: mean > 1, to: [hok]}}\n", "streams[1].alert.to[0]: no sink is called `hok`; did you mean `hook`?");
	refused(HEAD HEAT "{when: mean > 1, to: [hook, hook]}}\n", "streams[1].alert.to[1]: `hook` is listed twice");
	refused(HEAD HEAT "{when: mean > 1, to: [table]}}\n", "`table` cannot tell of alerts");
	refused(HEAD HEAT "{when: mean > 1, for: 0}}\n", "1 to 1000");
	refused(HEAD HEAT "{when: mean > 1, for: 1001}}\n", "1 to 1000");
	refused(HEAD HEAT "{when: mean > 1, for: 99999999999999999999}}\n", "1 to 1000");
	refused(HEAD HEAT "{when: mean > 1, for: 2m}}\n", "expected a number of windows in a row");
	refused(HEAD HEAT "{when: mean > 1, too: hook}}\n", "unknown key; did you mean `to`?");
	refused(HEAD HEAT "mean > 1}\n", "streams[1].alert: expected a list, found");
	refused(HEAD HEAT "[]}\n", "expected 1 to 16 alerts");
	refused(HEAD HEAT "[mean > 1]}\n", "streams[1].alert[0]: expected a map");
	refused(HEAD HEAT "[{when: mean > 1, name: x}, {when: mean > 1, name: x}]}\n", "streams[1].alert[1].name: `x` is the name of an alert already, on line 11");
	refused(HEAD HEAT "{when: mean > 1}}\n  - {name: h, from: {measurement: m, field: f}, window: 10s, alert: {name: heat, when: mean > 1}}\n",
	    "streams[2].alert.name: `heat` is the name of an alert already, on line 11");
}
END_TEST

START_TEST(more_than_may_be_are_refused)
{
	struct buf text = {0};
	buf_printf(&text, "%s[", HEAD HEAT);
	for (int i = 0; i <= ALERTS_MAX; i++)
		buf_printf(&text, "%s{when: mean > %d}", i ? ", " : "", i);
	buf_printf(&text, "]}\n");
	refused(buf_cstr(&text), "expected 1 to 16 alerts, found 17");
	text.len = 0;
	buf_printf(&text, "%s  - {name: n23456789012345678901234567890123456789012345678901234567890123, from: {measurement: m, field: f}, window: 10s, "
			  "alert: [{when: mean > 1}]}\n", HEAD);
	refused(buf_cstr(&text), "give the alert a `name`");
	buf_free(&text);
}
END_TEST

START_TEST(a_sink_may_be_for_alerts_alone)
{
#define PAGER "  - {name: pager, type: webhook, url: \"http://127.0.0.1:2/\", streams: []}\n"
	struct topology *t = good(HEAD_WITH(PAGER) HEAT "{when: mean > 1, to: [pager]}}\n");
	ck_assert(!sink_takes(&t->sinks[0], "heat") && sink_takes_alerts(&t->sinks[0]));
	ck_assert(sink_takes(&t->sinks[1], "heat") && sink_takes_alerts(&t->sinks[1]));
	ck_assert(sink_takes_alerts(&t->sinks[2]) && !sink_takes_alerts(&t->sinks[3]));
	topology_free(t);
	t = good(HEAD_WITH("  - {name: bus, type: kafka, brokers: 127.0.0.1:9092, format: protobuf}\n  - {name: pub, type: mqtt, broker: \"mqtt://127.0.0.1:1883\"}\n"
	                   "  - {name: z, type: zmq, port: 5600}\n") HEAT "{when: mean > 1, to: [bus, pub, z]}}\n");
	topology_free(t);
	refused(HEAD_WITH("  - {name: prom, type: remote_write, url: \"http://127.0.0.1:9090/w\"}\n") HEAT "{when: mean > 1, to: [prom]}}\n",
	    "`prom` cannot tell of alerts: it writes rows alone");
	refused(HEAD_WITH(PAGER) HEAT "{when: mean > 1, to: [hook]}}\n", "t.yaml:6:71: sinks[0].streams: nothing would be sent");
}
END_TEST

/* What a change from one text to another is told to be of the stream; "": nothing, "-": it is refused. */
static char *change(const char *first, const char *next, struct cluster_map *ret)
{
	struct topology *t = good(first);
	struct cluster_map was;
	struct map_changes changes;
	struct buf errors = {0};
	char *told = xstrdup("");
	map_first(t, first, strlen(first), &was);
	ck_assert_msg(!map_change(&was, next, strlen(next), ret, &changes, &errors), "%s", buf_cstr(&errors));
	for (size_t i = 0; i < changes.count; i++) {
		ck_assert_str_eq(changes.all[i].name, "heat");
		ck_assert_int_eq(changes.all[i].kind, MAP_CHANGED);
		free(told);
		told = xstrdup(changes.all[i].text);
	}
	map_changes_clear(&changes);
	map_clear(&was);
	topology_free(t);
	return told;
}

static struct topology *topology_of(const struct cluster_map *m)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	int err = map_topology(m, "/etc/weir/t.yaml", NULL, &t, &errors);
	ck_assert_msg(!err, "%s", buf_cstr(&errors));
	return t;
}

START_TEST(another_alert_is_no_other_version)
{
	struct cluster_map m;
	char *told = change(HEAD HEAT "{when: mean > 1}}\n", HEAD HEAT "{when: mean > 2, for: 3, to: hook, summary: \"\xc3\xa4 \\\"\"}}\n", &m);
	ck_assert_str_eq(told, "alert: [{name: \"heat\", when: \"mean > 1\", for: 1, to: []}] -> [{name: \"heat\", when: \"mean > 2\", for: 3, to: "
			       "[\"hook\"], summary: \"\\xE4 \\\"\"}]");
	ck_assert_uint_eq(m.stream_count, 2);
	struct topology *t = topology_of(&m);
	ck_assert_str_eq(t->streams[topology_alerting(t, "heat")].alerts[0].when, "mean > 2");
	topology_free(t);
	map_clear(&m);
	free(told);
}
END_TEST

START_TEST(the_text_has_the_alerts_of_all_versions)
{
#define OTHER "  - {name: heat, from: {measurement: m, field: f}, window: 20s, compute: [count, p50], alert: "
	struct cluster_map m;
	char *told = change(HEAD HEAT "{when: mean > 1}}\n", HEAD OTHER "{when: p99 > 2}}\n", &m);
	ck_assert(strstr(told, "a new version") != NULL);
	ck_assert_uint_eq(m.stream_count, 3);
	struct topology *t = topology_of(&m);
	const struct stream_conf *s = &t->streams[topology_alerting(t, "heat")];
	ck_assert(s->phase == STREAM_PENDING && s->alert_count == 1);
	ck_assert_str_eq(s->alerts[0].when, "p99 > 2");
	size_t alerts = 0;
	for (size_t i = 0; i < t->stream_count; i++)
		alerts += t->streams[i].alert_count;
	ck_assert_uint_eq(alerts, 1); /* the one that it replaces has none of its own */
	topology_free(t);
	map_clear(&m);
	free(told);
}
END_TEST

START_TEST(a_definition_has_none)
{
	struct topology *t = good(HEAD HEAT "{when: mean > 1}}\n");
	struct stream_conf s;
	struct buf text = {0}, errors = {0};
	topology_stream_text(t, &t->streams[1], &text);
	ck_assert(!strstr(buf_cstr(&text), "alert"));
	ck_assert_int_eq(topology_stream_parse(t, buf_cstr(&text), &s, &errors), 0);
	ck_assert_uint_eq(s.version, t->streams[1].version);
	stream_conf_clear(&s);
	buf_free(&text);
	topology_free(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("topology_alert");
	TCase *t = tcase_create("topology_alert");
	tcase_add_test(t, an_alert_has_what_the_file_says_and_defaults);
	tcase_add_test(t, a_stream_may_have_several);
	tcase_add_test(t, what_is_wrong_is_told_with_its_place);
	tcase_add_test(t, more_than_may_be_are_refused);
	tcase_add_test(t, a_sink_may_be_for_alerts_alone);
	tcase_add_test(t, another_alert_is_no_other_version);
	tcase_add_test(t, the_text_has_the_alerts_of_all_versions);
	tcase_add_test(t, a_definition_has_none);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
