#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "ctl/deliveries.h"
#include "ctl/printable.h"
#include "ctl/sparkline.h"
#include "ctl/top_view.h"

static struct buf out;
static struct top_view *v;
static int64_t now_ns;

static void setup(void)
{
	out = (struct buf){0};
	v = top_view_new();
	ck_assert_int_eq(time_parse("2023-11-14T22:13:20Z", 0, &now_ns), 0);
}

static void teardown(void)
{
	top_view_free(v);
	buf_free(&out);
}

/* ---- sparklines ----------------------------------------------------------------------------------------------- */

static void expect_spark(const double *values, size_t count, size_t width, bool ascii, const char *text)
{
	struct sparkline s = {0};
	for (size_t i = 0; i < count; i++)
		sparkline_add(&s, values[i]);
	buf_clear(&out);
	sparkline_put(&s, width, ascii, &out);
	ck_assert_str_eq(buf_cstr(&out), text);
}

START_TEST(sparklines)
{
	const double ramp[] = {0, 1, 2, 3, 4, 5, 6, 7}, small[] = {0.001, 1000}, none[] = {0, 0}, odd[] = {NAN, 1, NAN, 2};
	expect_spark(NULL, 0, 4, true, "    ");
	expect_spark(ramp, 8, 8, true, "_.-=+*%#");
	expect_spark(ramp, 8, 10, true, "  _.-=+*%#");
	expect_spark(ramp, 8, 3, true, "*%#");
	expect_spark(ramp, 8, 8, false, "▁▂▃▄▅▆▇█");
	expect_spark(small, 2, 2, true, ".#"); /* something is more than nothing */
	expect_spark(none, 2, 2, true, "__");
	expect_spark(odd, 4, 4, true, " + #");
	expect_spark(ramp, 8, 0, true, "");
}
END_TEST

START_TEST(sparklines_are_bounded)
{
	struct sparkline s = {0};
	ck_assert(isnan(sparkline_last(&s)));
	for (int i = 0; i < 3 * SPARKLINE_MAX; i++)
		sparkline_add(&s, i);
	ck_assert_uint_eq(s.count, SPARKLINE_MAX);
	ck_assert(sparkline_last(&s) == 3 * SPARKLINE_MAX - 1 && s.values[0] == 2 * SPARKLINE_MAX);
}
END_TEST

/* ---- the view ------------------------------------------------------------------------------------------------- */

static const char cluster[] = "{\"id\": \"x\", \"name\": \"plant\", \"map_version\": 2, \"nodes\": [{\"name\": \"c1\", \"state\": \"up\"},"
			      "{\"name\": \"c2\", \"state\": \"unreachable\"}], \"shards\": [{\"shard\": 0, \"leader\": \"c1\","
			      "\"quorum\": true, \"replicas\": [{\"node\": \"c1\", \"role\": \"leader\", \"lag\": 0}]}]}";

/* Both edges and both streams after `n` readings each, the second ones ten times as many. */
static void take(double seconds, int n)
{
	struct buf edges = {0}, streams = {0};
	buf_printf(&edges,
	    "{\"edges\": [{\"name\": \"b\", \"state\": \"live\", \"accepted\": %d, \"spool_bytes\": 1024, \"refused\": {\"x\": 2, \"y\": 1},"
	    "\"streams\": [{\"name\": \"s\", \"watermark\": \"2023-11-14T22:13:00Z\"}, {\"name\": \"t\", \"watermark\": null}]},"
	    "{\"name\": \"a\", \"state\": \"partitioned\", \"accepted\": %d, \"spool_bytes\": 0, \"refused\": {}}]}",
	    n, 10 * n);
	buf_printf(&streams,
	    "{\"streams\": [{\"name\": \"s\", \"version\": 1, \"phase\": \"retired\", \"merged\": 7, \"watermark\": null},"
	    "{\"name\": \"s\", \"version\": 2, \"phase\": \"current\", \"merged\": %d, \"watermark\": \"2023-11-14T22:12:20Z\","
	    "\"groups\": 3, \"dropped\": {\"invalid\": 4}},"
	    "{\"name\": \"t\", \"version\": 1, \"phase\": \"closing\", \"merged\": %d, \"watermark\": null}]}",
	    n, 10 * n);
	struct top_look l = {.cluster = json_loads(cluster, 0, NULL),
	    .edges = json_loads(buf_cstr(&edges), 0, NULL),
	    .streams = json_loads(buf_cstr(&streams), 0, NULL),
	    .alerts = json_loads("{\"alerts\": [{\"name\": \"hot\", \"stream\": \"s\", \"when\": \"p99 > 90\", \"state\": \"firing\","
				 "\"since\": \"2023-11-14T22:10:00Z\", \"group\": {\"unit\": \"3\\u001b[2J\"}}]}",
		0, NULL),
	    .wall_ns = now_ns,
	    .mono_ns = (int64_t)(seconds * 1e9)};
	ck_assert(l.cluster && l.edges && l.streams && l.alerts);
	top_view_take(v, &l);
	json_decref(l.cluster);
	json_decref(l.edges);
	json_decref(l.streams);
	json_decref(l.alerts);
	buf_free(&edges);
	buf_free(&streams);
}

static const char *put(size_t lines, size_t columns, bool colour)
{
	struct top_screen s = {lines, columns, true, colour};
	buf_clear(&out);
	top_view_put(v, &s, false, &out);
	return buf_cstr(&out);
}

/* Whether the snapshot has this, runs of blanks being one: how wide columns are is the table's affair. */
static bool shows(const char *text)
{
	const char *all = put(0, 0, false);
	char *squeezed = calloc(1, strlen(all) + 1), *to = squeezed;
	for (; *all; all++)
		if (*all != ' ' || all[1] != ' ')
			*to++ = *all;
	bool found = strstr(squeezed, text) != NULL;
	free(squeezed);
	return found;
}

START_TEST(what_is_shown)
{
	take(1, 100);
	ck_assert(shows("weir top plant 2023-11-14T22:13:20Z sorted by name\n"));
	ck_assert(shows("ALERT firing hot: p99 > 90 of s since 2023-11-14T22:10:00Z, unit=3?[2J\n"));
	ck_assert(shows("c2 unreachable"));
	ck_assert(shows("\nb live 20s 1.0KiB - 3\n"));
	take(3, 200);
	ck_assert_msg(shows("\nb live 20s 1.0KiB 50 # 3\n"), "%s", put(0, 0, false));
	ck_assert(shows("\na partitioned -"));
	ck_assert(shows(" 500 ") && shows("s 50 # 1m 2023-11-14T22:12:20Z 3 4\n"));
	ck_assert(shows("closing\n") && !shows("retired"));
	take(4, 100); /* begun anew */
	ck_assert(shows("\nb live 20s 1.0KiB - #"));
}
END_TEST

static bool before(const char *a, const char *b)
{
	const char *text = put(0, 0, false), *x = strstr(text, a), *y = strstr(text, b);
	ck_assert(x && y);
	return x < y;
}

START_TEST(sorting)
{
	take(1, 100);
	take(2, 200);
	ck_assert(before("\na ", "\nb ") && before("\ns ", "\nt "));
	top_view_sort(v); /* by rate */
	ck_assert(before("\na ", "\nb ") && before("\nt ", "\ns "));
	top_view_sort(v); /* by lag */
	ck_assert(before("\nb ", "\na ") && before("\ns ", "\nt ") && shows("sorted by lag"));
	top_view_sort(v);
	ck_assert(shows("sorted by name"));
}
END_TEST

static size_t count(const char *text, const char *what)
{
	size_t n = 0;
	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

START_TEST(it_fits_any_screen)
{
	take(1, 100);
	take(2, 200);
	for (size_t lines = 1; lines < 40; lines += 3) {
		for (size_t columns = 1; columns < 120; columns += 17) {
			const char *text = put(lines, columns, false);
			ck_assert_uint_eq(count(text, "\r\n"), lines - 1);
			ck_assert_uint_eq(count(text, "\033[K"), lines);
			for (const char *at = text + 3; at; at = strstr(at, "\r\n") ? strstr(at, "\r\n") + 2 : NULL)
				ck_assert_uint_le((size_t)(strstr(at, "\033[K") - at), columns);
		}
	}
	ck_assert(strstr(put(40, 100, true), "\033[1;31mALERT") && !strstr(put(40, 100, false), "\033[1"));
}
END_TEST

/* What the terminal would do with it: C1's CSI, turned text, and what is as wide as two. */
START_TEST(what_others_say_cannot_steer_a_terminal)
{
	struct buf b = {0};
	static const char text[] = "a\033[2J\xc2\x9b" "2J\x9b\x7f\xe2\x80\xae" "b\xc3\xa9\xe4\xb8\xad" "e\xcc\x81.";
	printable_put(&b, text, strlen(text), false);
	ck_assert_str_eq(buf_cstr(&b), "a?[2J?2J???b\xc3\xa9\xe4\xb8\xad" "e\xcc\x81.");
	ck_assert_uint_eq(printable_width(buf_cstr(&b)), 17);
	ck_assert_uint_eq(printable_cut("a\xe4\xb8\xad" "b", 1), 1);
	ck_assert_uint_eq(printable_cut("a\xe4\xb8\xad" "b", 2), 1);
	ck_assert_uint_eq(printable_cut("a\xe4\xb8\xad" "b", 3), 4);
	ck_assert_uint_eq(printable_cut("e\xcc\x81" "b", 1), 3);
	buf_clear(&b);
	printable_put(&b, text, strlen(text), true);
	ck_assert_str_eq(buf_cstr(&b), "a?[2J?2J???b???e.");
	buf_free(&b);

	struct top_look l = {.cluster = json_loads(cluster, 0, NULL), .wall_ns = now_ns};
	l.alerts = json_loads("{\"alerts\": [{\"name\": \"hot\", \"stream\": \"s\", \"when\": \"x\", \"state\": \"firing\", \"since\": \"T\","
			      "\"group\": {\"unit\": \"\\u009b2J\\u202e\\u4e2d\\u4e2d\"}}]}", 0, NULL);
	ck_assert(l.cluster && l.alerts);
	top_view_take(v, &l);
	ck_assert(shows("unit=?2J?????\n"));
	struct top_screen s = {6, 46, false, false};
	buf_clear(&out);
	top_view_put(v, &s, false, &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "unit=?2J?\xe4\xb8\xad\r\n")); /* the second one would be cut in two */
	json_decref(l.cluster);
	json_decref(l.alerts);
}
END_TEST

START_TEST(scrolling)
{
	take(1, 100);
	ck_assert(strstr(put(8, 100, false), "health") && !strstr(put(8, 100, false), "closing"));
	top_view_scroll(v, 1000);
	ck_assert(!strstr(put(8, 100, false), "health") && strstr(put(8, 100, false), "closing"));
	top_view_scroll(v, -1); /* of where it ended, not of a thousand */
	top_view_scroll(v, -1);
	ck_assert(!strstr(put(8, 100, false), "closing"));
	top_view_scroll(v, -1000);
	ck_assert(strstr(put(8, 100, false), "health"));
}
END_TEST

/* What is said of an edge in 80 columns, and where one is in what is scrolled. */
START_TEST(a_small_screen)
{
	take(1, 100);
	take(2, 200);
	ck_assert_ptr_nonnull(strstr(put(40, 80, false), "REFUSED"));
	ck_assert_ptr_null(strstr(put(40, 80, false), "lines 1"));
	ck_assert_ptr_nonnull(strstr(put(10, 80, false), "lines 1 to 7 of "));
	top_view_scroll(v, 2);
	ck_assert_ptr_nonnull(strstr(put(10, 80, false), "lines 3 to 9 of "));
}
END_TEST

START_TEST(nobody_answers)
{
	top_view_fail(v, "no answer: \033[2J", now_ns);
	ck_assert(shows("no answer yet") && shows("no news since 2023-11-14T22:13:20Z: no answer: ?[2J\n"));
	take(1, 100);
	ck_assert(!shows("no news"));
	top_view_fail(v, "first", now_ns);
	top_view_fail(v, "second", now_ns + 5 * NS_PER_SEC);
	ck_assert(shows("no news since 2023-11-14T22:13:20Z: second\n") && shows("\nb live"));
}
END_TEST

#define ALERT(name, state) \
	"{\"name\": \"" name "\", \"stream\": \"s\", \"when\": \"count > 1\", \"state\": \"" state "\", \"since\": \"T\", \"group\": {}}"

START_TEST(what_fires_comes_before_what_is_pending)
{
	struct top_look l = {.cluster = json_loads(cluster, 0, NULL), .wall_ns = now_ns};
	l.alerts = json_loads("{\"alerts\": [" ALERT("p1", "pending") "," ALERT("p2", "pending") "," ALERT("f1", "firing") "," ALERT("p3", "pending") ","
			      ALERT("p4", "pending") "," ALERT("f2", "firing") "," ALERT("p5", "pending") "], \"next\": null}", 0, NULL);
	ck_assert(l.cluster && l.alerts);
	top_view_take(v, &l);
	ck_assert(shows("ALERT firing f1: count > 1 of s since T\nALERT firing f2: count > 1 of s since T\nALERT pending p1: count > 1 of s since T\n"));
	ck_assert(shows("ALERT pending p3:") && !shows("ALERT pending p4") && shows("\n2 alerts fire, 5 are pending: weirctl alerts\n"));
	json_object_set_new(l.alerts, "next", json_string("more"));
	top_view_take(v, &l);
	ck_assert(shows("\nmore than 2 alerts fire, 5 are pending: weirctl alerts\n"));
	json_decref(l.cluster);
	json_decref(l.alerts);
}
END_TEST

static json_t *sinks_of(const char *objects, const char *unanswered)
{
	char *text = xasprintf("{\"sinks\": [%s], \"unanswered\": [%s]}", objects, unanswered);
	json_t *sinks = json_loads(text, 0, NULL);
	ck_assert_msg(sinks != NULL, "%s", text);
	free(text);
	return sinks;
}

START_TEST(sinks_are_shown_with_what_waits_and_where_they_fail)
{
	struct ctl ctl = {.format = FORMAT_CSV};
	json_t *sinks = sinks_of("{\"name\": \"pager\", \"type\": \"webhook\", \"state\": \"failing\", \"rows\": 15, \"alerts\": 2, \"backlog_rows\": 40, "
				 "\"backlog_alerts\": 1, \"lag_s\": 75.25, \"failing_s\": 75.5, \"failing_at\": [\"c2\", \"c3\"], \"error\": \"no\"}, "
				 "{\"name\": \"out\", \"type\": \"file\", \"state\": \"delivers\", \"rows\": 7, \"alerts\": 0, \"backlog_rows\": 0, "
				 "\"backlog_alerts\": 0, \"lag_s\": 3, \"failing_s\": 0, \"failing_at\": [], \"error\": null}, "
				 "{\"name\": \"new\", \"type\": \"file\", \"state\": \"unknown\", \"rows\": null, \"lag_s\": null, \"failing_at\": []}",
	    "\"c4\", \"c\\u001b5\"");
	buf_clear(&out);
	deliveries_put(&ctl, sinks, &out);
	ck_assert_str_eq(buf_cstr(&out), "sink,type,state,rows,alerts,waiting,lag\npager,webhook,\"failing for 75s at c2, c3\",15,2,41,75s\n"
					 "out,file,delivers,7,0,0,3s\nnew,file,unknown,,,,\nwithout what c4, c?5 deliver: no answer\n");
	struct top_look l = {.cluster = json_loads(cluster, 0, NULL), .sinks = sinks};
	top_view_take(v, &l);
	ck_assert_msg(shows("\npager webhook failing for 75s at c2, c3 15 2 41 75s\n"), "%s", buf_cstr(&out));
	ck_assert_msg(shows("\nnew file unknown - - - -\nwithout what c4, c?5 deliver: no answer\n"), "%s", buf_cstr(&out));
	put(60, 100, true); /* of nodes and sinks those are marked with which something is wrong */
	ck_assert(strstr(buf_cstr(&out), "\033[1;31mc2 ") && !strstr(buf_cstr(&out), "\033[1;31mc1 "));
	ck_assert(strstr(buf_cstr(&out), "\033[1;31mpager ") && !strstr(buf_cstr(&out), "\033[1;31mout "));
	ck_assert(!strstr(buf_cstr(&out), "\033[1;31mnew "));
	json_decref(l.cluster);
	json_decref(sinks);
}
END_TEST

/* Event time goes back to 1677, and a daemon may say anything. */
START_TEST(a_lag_beyond_all_bounds_is_shown_as_the_longest)
{
	static const struct {
		const char *said, *shown;
	} lags[] = {{"11000000000", "106751d"}, {"1e300", "106751d"}, {"-1e300", "0s"}, {"\"x\"", "0s"}, {"[]", "0s"}};
	struct ctl ctl = {.format = FORMAT_CSV};
	for (size_t i = 0; i < sizeof(lags) / sizeof(lags[0]); i++) {
		char text[200];
		snprintf(text, sizeof(text), "{\"name\": \"out\", \"type\": \"file\", \"state\": \"failing\", \"rows\": 1, \"lag_s\": %s, \"failing_at\": [7]}",
		    lags[i].said);
		json_t *sinks = sinks_of(text, "");
		buf_clear(&out);
		deliveries_put(&ctl, sinks, &out);
		snprintf(text, sizeof(text), "\nout,file,failing for 0s at ?,1,0,0,%s\n", lags[i].shown);
		ck_assert_msg(strstr(buf_cstr(&out), text), "%s: %s", lags[i].said, buf_cstr(&out));
		json_decref(sinks);
	}
}
END_TEST

START_TEST(what_is_not_known)
{
	struct top_look l = {.cluster = json_loads(cluster, 0, NULL), .wall_ns = now_ns};
	top_view_take(v, &l);
	ck_assert(shows("\nedges: not known now\n") && shows("\nstreams: not known now\n") && !shows("ALERT"));
	json_decref(l.cluster);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("top");
	TCase *t = tcase_create("top");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, sparklines);
	tcase_add_test(t, sparklines_are_bounded);
	tcase_add_test(t, what_is_shown);
	tcase_add_test(t, sorting);
	tcase_add_test(t, it_fits_any_screen);
	tcase_add_test(t, what_others_say_cannot_steer_a_terminal);
	tcase_add_test(t, scrolling);
	tcase_add_test(t, a_small_screen);
	tcase_add_test(t, nobody_answers);
	tcase_add_test(t, what_fires_comes_before_what_is_pending);
	tcase_add_test(t, sinks_are_shown_with_what_waits_and_where_they_fail);
	tcase_add_test(t, a_lag_beyond_all_bounds_is_shown_as_the_longest);
	tcase_add_test(t, what_is_not_known);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
