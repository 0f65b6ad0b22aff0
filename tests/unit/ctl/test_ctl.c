#include <check.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/args.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"
#include "ctl/keygen_tls.h"
#include "ctl/lines.h"
#include "ctl/progress.h"
#include "ctl/query.h"
#include "ctl/rows.h"
#include "ctl/sse.h"
#include "ctl/table.h"

/* ---- the command line -------------------------------------------------------------------------------------- */

START_TEST(a_command_line_ends_with_its_code)
{
	static const struct {
		const char *argv[6];
		int code;
	} cases[] = {
		{{"weirctl"}, EXIT_USE}, {{"weirctl", "--help"}, EXIT_FINE}, {{"weirctl", "--version"}, EXIT_FINE},
		{{"weirctl", "help", "query"}, EXIT_FINE}, {{"weirctl", "query", "--help"}, EXIT_FINE},
		{{"weirctl", "nothing"}, EXIT_USE}, {{"weirctl", "query"}, EXIT_USE},
		{{"weirctl", "query", "a", "b"}, EXIT_USE}, {{"weirctl", "query", "a", "--limit", "x"}, EXIT_USE},
		{{"weirctl", "-o", "xml", "status"}, EXIT_USE}, {{"weirctl", "--url", "http://a b", "status"}, EXIT_USE},
		{{"weirctl", "edge", "remove", "x"}, EXIT_USE}, {{"weirctl", "load", "f"}, EXIT_USE},
		{{"weirctl", "load", "--to", "192.0.2.1:80", "/dev/null"}, EXIT_USE},
		{{"weirctl", "load", "--to", "127.0.0.1:1", "/nonexistent"}, EXIT_FAILED},
		{{"weirctl", "load", "--to", "127.0.0.1:1", "--split", "2/2"}, EXIT_USE},
		{{"weirctl", "check", "/nonexistent"}, EXIT_USE}, {{"weirctl", "watch", "s", "--count", "0"}, EXIT_USE},
		{{"weirctl", "status", "--token-file", "/nonexistent"}, EXIT_USE},
		{{"weirctl", "names"}, EXIT_USE}, {{"weirctl", "names", "sources", "/dev/null"}, EXIT_USE},
		{{"weirctl", "names", "edges", "/nonexistent"}, EXIT_USE},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int argc = 0;
		while (argc < 6 && cases[i].argv[argc])
			argc++;
		ck_assert_msg(ctl_main(argc, (char **)(uintptr_t)cases[i].argv) == cases[i].code, "%s %s",
		    cases[i].argv[1] ? cases[i].argv[1] : "", argc > 2 ? cases[i].argv[2] : "");
	}
}
END_TEST

/* ---- tables ----------------------------------------------------------------------------------------------- */

START_TEST(tables_align)
{
	struct table *t = table_new(false);
	struct buf out = {0};
	table_column(t, "name", false);
	table_column(t, "n", true);
	table_column(t, "state", false);
	table_cell(t, "s\xc3\xbc" "d");
	table_cell(t, "5");
	table_cell(t, "a\tb\x1b[31m");
	table_cell(t, "north-1");
	table_cellf(t, "%d", 1234);
	table_flush(t, &out);
	ck_assert_str_eq(buf_cstr(&out), "NAME        N  STATE\n"
					 "s\xc3\xbc" "d         5  a?b?[31m\n"
					 "north-1  1234\n");
	buf_clear(&out);
	table_cell(t, "later");
	table_flush(t, &out);
	ck_assert_str_eq(buf_cstr(&out), "later\n");
	buf_free(&out);
	table_free(t);
}
END_TEST

START_TEST(csv_is_quoted_where_needed)
{
	struct table *t = table_new(true);
	struct buf out = {0};
	table_column(t, "a", false);
	table_column(t, "b,c", true);
	table_cell(t, "x\"y");
	table_cell(t, "1\n2");
	table_cell(t, "");
	table_cell(t, "plain text");
	table_flush(t, &out);
	ck_assert_str_eq(buf_cstr(&out), "a,\"b,c\"\n\"x\"\"y\",\"1\n2\"\n,plain text\n");
	buf_free(&out);
	table_free(t);
}
END_TEST

static const char row_json[] =
    "{\"start\": \"2015-09-01T11:25:00Z\", \"end\": \"2015-09-01T11:26:00Z\", \"group\": {\"sensor\": \"6005\"},"
    "\"values\": {\"count\": 12, \"mean\": 88.1234567890123, \"stddev\": null}, \"error\": {\"p99\": 0.0055},"
    "\"state\": \"final\", \"revision\": null,"
    "\"edges\": {\"expected\": 2, \"contributed\": 1, \"idle\": 0, \"partitioned\": 1, \"missing\": [\"e2\"]}}";

START_TEST(rows_become_columns)
{
	static const char *const expected[] = {
		"START                 END                   SENSOR  COUNT         MEAN  STDDEV  STATE  REV  EDGES            "
		"MISSING\n"
		"2015-09-01T11:25:00Z  2015-09-01T11:26:00Z  6005       12  88.12345679       -  final  -    1/2 partitioned  "
		"e2\n",
		"start,end,sensor,count,mean,stddev,p99_error,state,revision,expected,contributed,idle,partitioned,missing\n"
		"2015-09-01T11:25:00Z,2015-09-01T11:26:00Z,6005,12,88.1234567890123,,0.0055,final,,2,1,0,1,e2\n"};
	json_t *row = json_loads(row_json, 0, NULL), *other = json_pack("{s:s}", "start", "x");
	for (int csv = 0; csv < 2; csv++) {
		struct rows r;
		struct buf out = {0};
		rows_init(&r, csv);
		ck_assert(rows_add(&r, row));
		ck_assert(!rows_add(&r, other));
		ck_assert(!rows_add(&r, NULL));
		rows_flush(&r, &out);
		ck_assert_str_eq(buf_cstr(&out), expected[csv]);
		rows_free(&r);
		buf_clear(&out);
		rows_init(&r, csv);
		rows_flush(&r, &out);
		ck_assert_str_eq(buf_cstr(&out), csv ? "start,end,state,revision,expected,contributed,idle,partitioned,missing\n"
						     : "START  END  STATE  REV  EDGES  MISSING\n");
		rows_free(&r);
		buf_free(&out);
	}
	json_decref(row);
	json_decref(other);
}
END_TEST

START_TEST(errors_of_the_server_are_passed_on)
{
	static const struct {
		const char *body, *text;
	} cases[] = {
		{"{\"error\": {\"code\": \"unknown_stream\", \"message\": \"no stream x\"}}", "unknown_stream: no stream x"},
		{"{\"error\": {\"code\": \"busy\"}}", "busy"},
		{"<html>", "HTTP status 404"},
		{"{\"error\": \"x\"}", "HTTP status 404"},
		{"", "HTTP status 404"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf body = {0}, out = {0};
		buf_put(&body, cases[i].body, strlen(cases[i].body));
		ctl_put_api_error(404, &body, &out);
		ck_assert_str_eq(buf_cstr(&out), cases[i].text);
		buf_free(&body);
		buf_free(&out);
	}
}
END_TEST

/* ---- requests --------------------------------------------------------------------------------------------- */

START_TEST(a_query_is_encoded)
{
	static const struct arg_option options[] = {{"by", 0, "T", false, ""}, {"where", 0, "T", true, ""},
		{"stale", 0, NULL, false, ""}, {"from", 0, "T", false, ""}};
	const struct arg_table table = {options, 4};
	const char *argv[] = {"speed & co", "--by", "", "--where", "site=\xc3\xbc", "--where=a=b c", "--stale", "--from",
		"2015-09-01T11:25:00+02:00"};
	struct args a = {0};
	struct buf b = {0};
	ck_assert_int_eq(args_parse(&table, 1, 9, (char **)(uintptr_t)argv, 0, false, &a, &b), 9);
	query_path(&a, "c/1", &b);
	ck_assert_str_eq(buf_cstr(&b), "/api/v1/query?stream=speed%20%26%20co&from=2015-09-01T11%3A25%3A00%2B02%3A00&by="
				       "&where=site%3D%C3%BC&where=a%3Db%20c&stale=ok&cursor=c%2F1");
	buf_clear(&b);
	ck_assert(!query_arguments_wrong(&a, &b));
	args_free(&a);
	buf_free(&b);
}
END_TEST

START_TEST(addresses_are_checked)
{
	static const struct {
		const char *urls, *token;
		bool fine;
	} cases[] = {
		{"http://127.0.0.1:8101", NULL, true}, {"127.0.0.1:8101,localhost:8102/", NULL, true},
		{"https://weir.example.org", "t", true}, {"http://127.0.0.1:8101", "t", true},
		{"http://weir.example.org", "t", false}, {"", NULL, false}, {"127.0.0.1:1,", NULL, false},
		{"ftp://127.0.0.1", NULL, false}, {"http://a?b", NULL, false}, {"http://user@a", NULL, false},
		{"file:///etc/passwd", NULL, false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf error = {0};
		struct http_client *c = http_client_new(cases[i].urls, cases[i].token, NULL, false, &error);
		ck_assert_msg((c != NULL) == cases[i].fine, "%s", cases[i].urls);
		ck_assert((error.len == 0) == cases[i].fine);
		http_client_free(c);
		buf_free(&error);
	}
}
END_TEST

/* ---- certificates ------------------------------------------------------------------------------------------- */

static const char plant[] =
    "version: 1\n"
    "cluster: {name: plant}\n"
    "cloud: [{name: c1, listen: \"tcp://127.0.0.1:1\", http: \"127.0.0.1:2\"}]\n"
    "edges: [{name: e1, http: \"127.0.0.1:3\"}, {name: e2}]\n"
    "streams: [{name: s, from: {measurement: m, field: v}, window: 1m}]\n";

/* How many files were made, or the error. */
static int make(const struct topology *t, const char *dir, const char *only, bool renew)
{
	struct keygen_tls k = {.dir = dir, .only = only, .renew = renew};
	struct buf told = {0}, error = {0};
	int rc = keygen_tls(t, &k, &told, &error);
	ck_assert((rc != 0) == (error.len != 0));
	if (rc < 0)
		ck_assert_uint_eq(told.len, 0);
	int result = rc < 0 ? rc : 0;
	for (size_t i = 0; rc >= 0 && i < told.len; i++)
		result += told.data[i] == '\n';
	buf_free(&told);
	buf_free(&error);
	return result;
}

START_TEST(certificates_are_made_once_or_renewed)
{
	static const char *const files[] = {"ca.key", "ca.crt", "c1.tls.key", "c1.tls.crt", "e1.tls.key", "e1.tls.crt"};
	char dir[] = "/tmp/weir-keygen-XXXXXX", path[64];
	struct topology *t;
	struct buf errors = {0};
	struct stat st;
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_msg(!topology_parse("t.yaml", plant, strlen(plant), &t, &errors), "%s", buf_cstr(&errors));
	ck_assert_int_eq(make(t, dir, "nobody", false), WEIR_ENOTFOUND);
	ck_assert_int_eq(make(t, dir, "e2", false), 0); /* has no http */
	ck_assert_int_eq(make(t, dir, "c1", false), 4);
	ck_assert_int_eq(make(t, dir, NULL, false), 2);
	ck_assert_int_eq(make(t, dir, NULL, false), 0);
	ck_assert_int_eq(make(t, dir, NULL, true), 4); /* the authority stays */
	for (size_t i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 0777, strstr(files[i], ".key") ? 0600 : 0644);
	}
	snprintf(path, sizeof(path), "%s/ca.key", dir);
	unlink(path);
	ck_assert_int_eq(make(t, dir, "c1", true), WEIR_ENOTFOUND); /* no new authority beside the one that clients know */
	for (size_t i = 1; i < 6; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
	topology_free(t);
}
END_TEST

/* ---- events ----------------------------------------------------------------------------------------------- */

static void on_event(void *arg, const char *event, const char *id, const char *data)
{
	buf_printf(arg, "(%s|%s|%s)", event, id, data);
}

START_TEST(events_parse_over_any_split)
{
	static const char stream[] = "\xef\xbb\xbf: hello\n\nid: 1\ndata: a\ndata:b\n\nevent: reset\r\n\r\nid:2\rdata: {\"x\": 1}\r\r"
				     "data\n\nretry: 5\nid: 9\n\nunknown: x\ndata:  two\n\ndata: unfinished";
	static const char expected[] = "(message|1|a\nb)(reset|1|)(message|2|{\"x\": 1})(message|2|)(message|9| two)";
	for (size_t piece = 1; piece < sizeof(stream); piece++) {
		struct sse s;
		struct buf out = {0};
		sse_init(&s, on_event, &out);
		for (size_t at = 0; at < sizeof(stream) - 1; at += piece) {
			size_t left = sizeof(stream) - 1 - at;
			ck_assert_int_eq(sse_feed(&s, stream + at, left < piece ? left : piece), 0);
		}
		ck_assert_str_eq(buf_cstr(&out), expected);
		sse_restart(&s);
		ck_assert_int_eq(sse_feed(&s, "data: c\n\n", 9), 0);
		ck_assert_str_eq(buf_cstr(&out) + sizeof(expected) - 1, "(message|9|c)");
		ck_assert_str_eq(sse_id(&s), "9");
		sse_free(&s);
		buf_free(&out);
	}
}
END_TEST

START_TEST(an_endless_event_is_refused)
{
	static char text[1024 * 1024];
	struct sse s;
	struct buf out = {0};
	memset(text, 'x', sizeof(text));
	sse_init(&s, on_event, &out);
	int err = 0;
	for (int i = 0; i < 5 && !err; i++)
		err = sse_feed(&s, text, sizeof(text));
	ck_assert_int_eq(err, WEIR_ETOOBIG);
	sse_free(&s);
	buf_free(&out);
}
END_TEST

/* ---- lines ------------------------------------------------------------------------------------------------ */

struct seen {
	struct buf text;
	uint64_t hashes[32];
	size_t count;
};

static bool on_line(void *arg, const void *bytes, size_t len, bool reading, uint64_t series_hash)
{
	struct seen *s = arg;
	buf_printf(&s->text, "%c<%.*s>", reading ? 'R' : '-', (int)len, (const char *)bytes);
	if (s->count < 32)
		s->hashes[s->count++] = series_hash;
	return true;
}

START_TEST(lines_are_cut_over_any_split)
{
	static const char text[] = "m,a=1 f=1 5\n# c \"x\n\nm,a=1 f=2\nm,a=\\ 1 f=\"x\ny\\\"z\n\" 7\nm,a=1\\\n g=\"p\",h=\"q\"\n"
				   "m,b\"=2 f=3\nm,a=1 f=9";
	static const char expected[] = "R<m,a=1 f=1 5\n>-<# c \"x\n>-<\n>R<m,a=1 f=2\n>R<m,a=\\ 1 f=\"x\ny\\\"z\n\" 7\n>"
				       "R<m,a=1\\\n>R< g=\"p\",h=\"q\"\n>R<m,b\"=2 f=3\n>R<m,a=1 f=9>";
	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct seen seen = {0};
		struct lines l = {.line = on_line, .arg = &seen};
		for (size_t at = 0; at < sizeof(text) - 1; at += piece) {
			size_t left = sizeof(text) - 1 - at;
			ck_assert(lines_feed(&l, text + at, left < piece ? left : piece));
		}
		ck_assert(lines_finish(&l));
		ck_assert_str_eq(buf_cstr(&seen.text), expected);
		ck_assert(seen.hashes[0] == seen.hashes[3] && seen.hashes[0] == seen.hashes[8]);
		ck_assert(seen.hashes[0] != seen.hashes[4] && seen.hashes[0] != seen.hashes[7]);
		buf_free(&seen.text);
		lines_free(&l);
	}
}
END_TEST

START_TEST(an_open_quote_costs_little)
{
	struct seen seen = {0};
	struct lines l = {.line = on_line, .arg = &seen};
	struct buf text = {0};
	buf_printf(&text, "m f=\"open\n");
	for (int i = 0; i < 10000; i++)
		buf_printf(&text, "m f=%d\n", i);
	ck_assert(lines_feed(&l, text.data, text.len));
	ck_assert(lines_finish(&l));
	size_t n = 0;
	for (size_t i = 0; i < seen.text.len; i++)
		n += seen.text.data[i] == '>';
	ck_assert_uint_eq(n, 10001);
	buf_free(&seen.text);
	buf_free(&text);
	lines_free(&l);
}
END_TEST

/* ---- progress --------------------------------------------------------------------------------------------- */

START_TEST(progress_reads_well)
{
	struct buf b = {0};
	progress_put(&b, 500, 1000, 1234567, 2 * NS_PER_SEC);
	ck_assert_str_eq(buf_cstr(&b), "[============>           ]  50%  1.23 M lines  617 k lines/s  ETA 2s");
	buf_clear(&b);
	progress_put(&b, 1, 100, 999, 60 * NS_PER_SEC);
	ck_assert_str_eq(buf_cstr(&b), "[>                       ]   1%  999 lines  17 lines/s  ETA 1h39m");
	buf_clear(&b);
	progress_put(&b, 77, 0, 12345, NS_PER_SEC);
	ck_assert_str_eq(buf_cstr(&b), "12.3 k lines  12.3 k lines/s");
	buf_clear(&b);
	progress_put(&b, 2000, 1000, 0, 0);
	ck_assert_str_eq(buf_cstr(&b), "[========================] 100%  0 lines  0 lines/s");
	buf_free(&b);
	ck_assert_int_eq(progress_wait_ns(100, 50, NS_PER_SEC), NS_PER_SEC);
	ck_assert_int_eq(progress_wait_ns(100, 50, 3 * NS_PER_SEC), 0);
	ck_assert_int_gt(progress_wait_ns(UINT64_MAX, 0.001, 0), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, a_command_line_ends_with_its_code);
	tcase_add_test(tc, tables_align);
	tcase_add_test(tc, csv_is_quoted_where_needed);
	tcase_add_test(tc, rows_become_columns);
	tcase_add_test(tc, errors_of_the_server_are_passed_on);
	tcase_add_test(tc, a_query_is_encoded);
	tcase_add_test(tc, addresses_are_checked);
	tcase_add_test(tc, certificates_are_made_once_or_renewed);
	tcase_add_test(tc, events_parse_over_any_split);
	tcase_add_test(tc, an_endless_event_is_refused);
	tcase_add_test(tc, lines_are_cut_over_any_split);
	tcase_add_test(tc, an_open_quote_costs_little);
	tcase_add_test(tc, progress_reads_well);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
