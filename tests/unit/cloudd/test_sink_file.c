/* The file sink: what a crash leaves, rotation, whose file it is; and rows as JSON and CSV. */
#include <check.h>
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloudd/sink.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "common/window.h"

#define TEXT \
	"version: 1\n" \
	"cluster: {name: test, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"streams:\n" \
	"  - {name: s, from: {measurement: m, field: f}, by: [k, site], window: 10s, compute: [count, mean, p50, stddev]}\n" \
	"  - {name: s3, from: {measurement: m, field: f}, by: [k], window: 10s, compute: [count]}\n" \
	"sinks:\n" \
	"  - {name: a, type: file, path: \"%s/{node}-{node}.x\", %s}\n"

static char folder[64];
static struct topology *t;
static struct sink *sink;
static struct partial_spec spec;

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/weir-sink-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static char *path_of(const char *tail)
{
	return xasprintf("%s/c1-c1.x%s", folder, tail);
}

static void teardown(void)
{
	DIR *d = opendir(folder);
	for (struct dirent *e; (e = readdir(d));) {
		char *path = xasprintf("%s/%s", folder, e->d_name);
		unlink(path);
		free(path);
	}
	closedir(d);
	rmdir(folder);
}

static void begin(const char *options)
{
	struct buf errors = {0};
	char *text = xasprintf(TEXT, folder, options);
	ck_assert_msg(!topology_parse("t.yaml", text, strlen(text), &t, &errors), "%s", buf_cstr(&errors));
	free(text);
	sink = xcalloc(1, sink_file_ops.size);
	sink->ops = &sink_file_ops;
	sink->conf = &t->sinks[0];
	sink->node = "c1";
	partial_spec_of(&t->streams[0], 0, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
}

static void end(void)
{
	free(sink);
	topology_free(t);
}

static int open_sink(char **why)
{
	*why = NULL;
	return sink_file_ops.open(sink, why);
}

static void must_open(void)
{
	char *why;
	int rc = open_sink(&why);
	ck_assert_msg(!rc, "%s", why);
}

static void group_put(struct buf *b, const char *k, const char *site)
{
	buf_bytes(b, k, strlen(k));
	buf_bytes(b, site, strlen(site));
}

/* One row of stream s of a window of one reading. */
static int deliver(const char *k, int64_t start_s, uint64_t revision, char **why)
{
	struct buf group = {0};
	struct sink_row r = {.stream = &t->streams[0], .spec = &spec};
	group_put(&group, k, "north");
	r.row = (struct row){.start_ns = start_s * NS_PER_SEC, .end_ns = (start_s + 10) * NS_PER_SEC, .group = bytes_of(group.data, group.len),
		.state = WINDOW_FINAL, .revision = revision, .edges = {.expected = 1, .contributed = 1}};
	partial_add(&r.row.partial, &spec, start_s * NS_PER_SEC, 5);
	*why = NULL;
	int rc = sink_file_ops.deliver(sink, &(struct sink_batch){&r, 1}, why);
	partial_clear(&r.row.partial, &spec);
	buf_free(&group);
	return rc;
}

static void must_deliver(const char *k, int64_t start_s, uint64_t revision)
{
	char *why;
	int rc = deliver(k, start_s, revision, &why);
	ck_assert_msg(!rc, "%s", why);
}

static char *content(const char *tail)
{
	char *path = path_of(tail);
	FILE *f = fopen(path, "r");
	free(path);
	if (!f)
		return NULL;
	char *text = xcalloc(1, 1 << 20);
	size_t n = fread(text, 1, (1 << 20) - 1, f);
	text[n] = 0;
	fclose(f);
	return text;
}

static size_t lines(const char *tail)
{
	size_t n = 0;
	char *text = content(tail);
	for (char *p = text; p && (p = strchr(p, '\n')); p++)
		n++;
	free(text);
	return n;
}

static void put_content(const char *text)
{
	char *path = path_of("");
	FILE *f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	free(path);
}

START_TEST(a_row_is_one_line_of_json)
{
	begin("format: json");
	must_open();
	must_deliver("a\n\"b\"", 1700000000, 3);
	must_deliver("a\n\"b\"", 1700000000, 4);
	must_deliver("a", 1700000000, 4);
	sink_file_ops.close(sink);
	char *text = content("");
	ck_assert_uint_eq(lines(""), 3);
	char *ids[3];
	char *line = text;
	for (int i = 0; i < 3; i++) {
		char *next = strchr(line, '\n');
		*next = 0;
		json_t *j = json_loads(line, 0, NULL);
		ck_assert_msg(j != NULL, "%s", line);
		ck_assert_str_eq(json_string_value(json_object_get(j, "stream")), "s");
		ck_assert_str_eq(json_string_value(json_object_get(j, "window")), "10s");
		ck_assert_int_eq(json_integer_value(json_object_get(j, "version")), t->streams[0].version);
		ck_assert_int_eq(json_integer_value(json_object_get(j, "revision")), i ? 4 : 3);
		ck_assert_str_eq(json_string_value(json_object_get(j, "start")), "2023-11-14T22:13:20Z");
		ck_assert_str_eq(json_string_value(json_object_get(json_object_get(j, "group"), "k")), i < 2 ? "a\n\"b\"" : "a");
		ids[i] = xstrdup(json_string_value(json_object_get(j, "id")));
		json_decref(j);
		line = next + 1;
	}
	ck_assert_uint_eq(strlen(ids[0]), 34);
	ck_assert_int_eq(memcmp(ids[0], ids[1], 33), 0); /* one window */
	ck_assert_str_ne(ids[0], ids[1]);
	ck_assert_int_ne(memcmp(ids[1], ids[2], 32), 0);
	for (int i = 0; i < 3; i++)
		free(ids[i]);
	free(text);
	end();
}
END_TEST

/* What is over max_groups is a part of each shard: one must not replace the other. */
START_TEST(parts_of_what_is_over_max_groups_are_told_apart)
{
	uint8_t room[GROUP_KEY_MAX];
	char ids[2][SINK_ROW_ID_BYTES];
	begin("format: json");
	struct sink_row r = {.stream = &t->streams[0], .spec = &spec};
	r.row = (struct row){.start_ns = 0, .end_ns = 10 * NS_PER_SEC, .group = group_other(2, room), .state = WINDOW_FINAL, .revision = 1};
	partial_add(&r.row.partial, &spec, 0, 5);
	for (uint32_t shard = 0; shard < 2; shard++) {
		struct buf out = {0};
		r.shard = shard;
		sink_row_id(&r, ids[shard]);
		sink_row_json(&r, &out);
		json_t *j = json_loads(buf_cstr(&out), 0, NULL);
		ck_assert_msg(j != NULL, "%s", buf_cstr(&out));
		ck_assert_int_eq(json_integer_value(json_object_get(j, "shard")), shard);
		ck_assert_str_eq(json_string_value(json_object_get(json_object_get(j, "group"), "site")), GROUP_OTHER);
		json_decref(j);
		buf_free(&out);
	}
	ck_assert_str_ne(ids[0], ids[1]);
	struct buf group = {0}, out = {0};
	group_put(&group, GROUP_OTHER, "north"); /* only looks like it */
	r.row.group = bytes_of(group.data, group.len);
	sink_row_json(&r, &out);
	ck_assert_ptr_null(strstr(buf_cstr(&out), "shard"));
	partial_clear(&r.row.partial, &spec);
	buf_free(&group);
	buf_free(&out);
	end();
}
END_TEST

START_TEST(what_a_crash_left_of_a_line_is_cut_off)
{
	begin("format: json");
	must_open();
	must_deliver("a", 10, 1);
	must_deliver("b", 10, 1);
	sink_file_ops.close(sink);
	char *whole = content("");
	size_t first = (size_t)(strchr(whole, '\n') - whole) + 1, len = strlen(whole);
	for (size_t n = 0; n < len; n += n < 20 ? 1 : 37) {
		char *cut = xstrndup(whole, n);
		put_content(cut);
		free(cut);
		must_open();
		ck_assert_uint_eq(lines(""), n >= first);
		must_deliver("c", 10, 1);
		sink_file_ops.close(sink);
		ck_assert_uint_eq(lines(""), n >= first ? 2 : 1);
	}
	free(whole);
	end();
}
END_TEST

START_TEST(what_is_not_its_own_is_left_alone)
{
	char *why;
	begin("format: json");
	put_content("version: 1\n");
	ck_assert_int_ne(open_sink(&why), 0);
	ck_assert_ptr_nonnull(strstr(why, "holds something else"));
	free(why);
	sink_file_ops.close(sink);
	char *text = content("");
	ck_assert_str_eq(text, "version: 1\n");
	free(text);
	char *path = path_of("");
	unlink(path);
	must_open();
	struct sink *other = xcalloc(1, sink_file_ops.size); /* as another process would */
	*other = (struct sink){.ops = &sink_file_ops, .conf = sink->conf, .node = "c1"};
	ck_assert_int_eq(sink_file_ops.open(other, &why), WEIR_EBUSY);
	free(why);
	sink_file_ops.close(other);
	free(other);
	sink_file_ops.close(sink);
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_ne(open_sink(&why), 0);
	free(why);
	sink_file_ops.close(sink);
	rmdir(path);
	free(path);
	end();
}
END_TEST

START_TEST(full_files_are_rotated_and_the_oldest_go)
{
	begin("max_size: 4KiB, keep: 2");
	must_open();
	size_t rows = 0;
	for (; rows < 60; rows++)
		must_deliver("a", (int64_t)rows * 10, 1);
	char *gone = content(".3");
	ck_assert_ptr_null(gone);
	char *path = path_of(".1");
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_le(st.st_size, 4096);
	ck_assert_uint_gt(lines(".1"), 5);
	ck_assert_uint_gt(lines(".2"), 5);
	ck_assert_uint_ge(lines(""), 1);
	ck_assert_uint_lt(lines("") + lines(".1") + lines(".2"), rows);
	free(path);
	uint64_t values[3];
	sink_file_ops.values(sink, values);
	ck_assert_uint_ge(values[0], 3);
	/* Somebody took it away: another one is begun. */
	path = path_of("");
	ck_assert_int_eq(unlink(path), 0);
	must_deliver("b", 0, 1);
	ck_assert_uint_eq(lines(""), 1);
	free(path);
	sink_file_ops.close(sink);
	end();
}
END_TEST

START_TEST(csv_has_the_columns_of_its_stream)
{
	begin("format: csv, streams: [s]");
	must_open();
	must_deliver("a,\"b\"\n", 1700000000, 1);
	must_deliver("", 1700000010, 2);
	sink_file_ops.close(sink);
	must_open();
	must_deliver("c", 1700000020, 2);
	sink_file_ops.close(sink);
	char *text = content("");
	ck_assert_uint_eq(lines(""), 4);
	ck_assert_ptr_nonnull(strstr(text, "start,end,k,site,count,mean,p50,stddev,state,revision,version,id\n"
	                                   "2023-11-14T22:13:20Z,2023-11-14T22:13:30Z,\"a,\"\"b\"\" \",north,1,5,"));
	ck_assert_ptr_nonnull(strstr(text, ",,final,1,")); /* no stddev of one reading */
	ck_assert_ptr_nonnull(strstr(text, "\n2023-11-14T22:13:30Z,2023-11-14T22:13:40Z,,north,1,5,"));
	free(text);
	/* Other columns: another file. */
	t->streams[0].compute_count = 1;
	must_open();
	must_deliver("c", 1700000030, 1);
	sink_file_ops.close(sink);
	ck_assert_uint_eq(lines(""), 2);
	ck_assert_uint_eq(lines(".1"), 4);
	t->streams[0].compute_count = 4;
	end();
}
END_TEST

START_TEST(a_write_that_fails_leaves_whole_lines)
{
	char *why;
	struct stat st;
	struct rlimit was, little;
	begin("format: json");
	must_open();
	must_deliver("a", 10, 1);
	char *path = path_of(""), *before = content("");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_IGN);
	little = (struct rlimit){(rlim_t)st.st_size + 20, was.rlim_max};
	/* Check's own messages go to a file, too: nothing is asserted while the limit is low. */
	int limited = setrlimit(RLIMIT_FSIZE, &little), rc = deliver("b", 10, 1, &why), back = setrlimit(RLIMIT_FSIZE, &was);
	ck_assert_int_eq(limited, 0);
	ck_assert_int_eq(back, 0);
	ck_assert_int_eq(rc, WEIR_EIO);
	free(why);
	sink_file_ops.close(sink);
	char *after = content("");
	ck_assert_str_eq(before, after);
	must_open();
	must_deliver("b", 10, 1);
	ck_assert_uint_eq(lines(""), 2);
	sink_file_ops.close(sink);
	free(before);
	free(after);
	free(path);
	end();
}
END_TEST

/* As who copies a log away and cuts it does; and as who adds to what is not his. */
START_TEST(a_file_that_somebody_cut_or_wrote_to_is_looked_into_again)
{
	char *why;
	begin("format: json");
	must_open();
	must_deliver("a", 10, 1);
	must_deliver("b", 10, 1);
	char *path = path_of("");
	ck_assert_int_eq(truncate(path, 0), 0);
	must_deliver("c", 10, 1);
	ck_assert_uint_eq(lines(""), 1);
	FILE *f = fopen(path, "a");
	fputs("half a li", f);
	fclose(f);
	must_deliver("d", 10, 1);
	ck_assert_uint_eq(lines(""), 2);
	char *text = content("");
	ck_assert_ptr_null(strstr(text, "half"));
	free(text);
	put_content("somebody else's\n");
	ck_assert_int_ne(deliver("e", 10, 1, &why), 0);
	ck_assert_ptr_nonnull(strstr(why, "holds something else"));
	free(why);
	sink_file_ops.close(sink);
	text = content("");
	ck_assert_str_eq(text, "somebody else's\n");
	free(text);
	free(path);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sink_file");
	TCase *c = tcase_create("file");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_row_is_one_line_of_json);
	tcase_add_test(c, parts_of_what_is_over_max_groups_are_told_apart);
	tcase_add_test(c, what_a_crash_left_of_a_line_is_cut_off);
	tcase_add_test(c, what_is_not_its_own_is_left_alone);
	tcase_add_test(c, full_files_are_rotated_and_the_oldest_go);
	tcase_add_test(c, csv_has_the_columns_of_its_stream);
	tcase_add_test(c, a_write_that_fails_leaves_whole_lines);
	tcase_add_test(c, a_file_that_somebody_cut_or_wrote_to_is_looked_into_again);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
