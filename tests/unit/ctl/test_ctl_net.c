/* weirctl's commands against a server of this process: what they ask and what they print. */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/err.h"
#include "common/http.h"
#include "common/kv.h"
#include "ctl/ctl.h"

#define ROW(n) \
	"{\"start\":\"2015-09-01T11:0" #n ":00Z\",\"end\":\"2015-09-01T11:1" #n ":00Z\",\"group\":{\"s\":\"" #n "\"}," \
	"\"values\":{\"mean\":0." #n "},\"error\":{},\"state\":\"final\",\"revision\":1," \
	"\"edges\":{\"expected\":1,\"contributed\":1,\"idle\":0,\"partitioned\":0,\"missing\":[]}}"
#define HEAD "{\"stream\":\"speed\",\"rows\":["

/* ---- the server ------------------------------------------------------------------------------------------- */

static struct http_server *server;
static int watches; /* connections to watch so far; the server's threads, one after the other */

static const char *argument(struct http_request *r, const char *name)
{
	for (size_t i = 0; i < http_arg_count(r); i++) {
		if (!strcmp(http_arg_name(r, i), name))
			return http_arg_value(r, i);
	}
	return NULL;
}

static void reply(struct http_request *r, const char *json)
{
	http_reply(r, 200, HTTP_JSON, json, strlen(json));
}

static void handle_query(void *arg, struct http_request *r)
{
	(void)arg;
	const char *cursor = argument(r, "cursor"), *stream = argument(r, "stream");
	if (!stream || strcmp(stream, "speed"))
		http_reply_error(r, 404, "unknown_stream", "no stream is called %s", stream ? stream : "");
	else if (!cursor)
		reply(r, HEAD ROW(1) "," ROW(2) "],\"next\":\"a b\"}");
	else if (!strcmp(cursor, "a b"))
		reply(r, HEAD ROW(3) "],\"next\":null}");
	else
		http_reply_error(r, 400, "bad_cursor", "no such page");
}

struct events {
	const char *text;
	bool given;
};

static int fill_events(void *arg, struct buf *out)
{
	struct events *e = arg;
	if (e->given)
		return 0;
	buf_put(out, e->text, strlen(e->text));
	e->given = true;
	return 1;
}

/* The first connection breaks after row 2; the next is asked to go on from there. */
static void handle_watch(void *arg, struct http_request *r)
{
	(void)arg;
	const char *id = http_header(r, "Last-Event-ID");
	struct events *e = xcalloc(1, sizeof(*e));
	if (watches++ == 0)
		e->text = id ? "data: unexpected\n\n" : "id: 1\ndata: " ROW(1) "\n\nid: 2\ndata: " ROW(2) "\n\n";
	else
		e->text = id && !strcmp(id, "2") ? ": go on\n\nid: 3\ndata: " ROW(3) "\n\nid: 4\ndata: " ROW(4) "\n\n"
						 : "data: unexpected\n\n";
	http_stream(r, 200, HTTP_EVENTS, fill_events, free, e);
}

static void handle_readmit(void *arg, struct http_request *r)
{
	(void)arg;
	if (!strcmp(http_path_tail(r), "e 1/readmit"))
		reply(r, "{\"edge\":\"e 1\",\"state\":\"readmitting\"}");
	else if (!strcmp(http_path_tail(r), "e2/readmit"))
		reply(r, "{\"edge\":\"e2\",\"readmit\":false,\"message\":\"nothing was changed\"}");
	else if (!strcmp(http_path_tail(r), "e1/revoke"))
		reply(r, "{\"edge\":\"e1\",\"revoked\":true}");
	else if (!strcmp(http_path_tail(r), "e1/allow"))
		reply(r, "{\"edge\":\"e1\",\"revoked\":false}");
	else
		http_reply_error(r, 404, "unknown_edge", "no edge is called so");
}

static void handle_ready(void *arg, struct http_request *r)
{
	(void)arg;
	reply(r, "{}");
}

static long health_status;

static void handle_health(void *arg, struct http_request *r)
{
	(void)arg;
	static const char text[] = "as it is\n";
	http_reply(r, (unsigned)health_status, HTTP_TEXT, text, sizeof(text) - 1);
}

static void handle_cluster(void *arg, struct http_request *r)
{
	(void)arg;
	reply(r, "{\"id\":\"c0\",\"nodes\":[{\"name\":\"n1\",\"state\":\"up\"},{\"name\":\"n2\",\"state\":\"down\"}],"
		 "\"meta\":{\"leader\":\"n1\",\"term\":4,\"quorum\":true,\"replicas\":["
		 "{\"node\":\"n1\",\"role\":\"leader\",\"lag\":0},{\"node\":\"n2\",\"role\":\"unreachable\",\"lag\":null}]},"
		 "\"shards\":[{\"shard\":0,\"leader\":\"n9\",\"term\":1,\"quorum\":true,\"replicas\":["
		 "{\"node\":\"n1\",\"role\":\"follower\",\"lag\":0}]},"
		 "{\"shard\":1,\"leader\":null,\"term\":1,\"quorum\":false,\"replicas\":["
		 "{\"node\":\"n2\",\"role\":\"unreachable\",\"lag\":null}]}]}");
}

static void handle_edges(void *arg, struct http_request *r)
{
	(void)arg;
	reply(r, "{\"edges\":[{\"name\":\"e1\",\"state\":\"live\",\"epoch\":2,\"spool_bytes\":1572864,\"accepted\":10,"
		 "\"refused\":{\"bad_field\":3,\"nothing\":0,\"too_long\":1},\"heard_ms_ago\":5,\"clock_suspect\":true,\"revoked\":true}]}");
}

static void handle_streams(void *arg, struct http_request *r)
{
	(void)arg;
	reply(r, "{\"streams\":[{\"name\":\"speed\",\"version\":7,\"slice\":\"1m\",\"watermark\":null,\"final\":null,"
		 "\"dropped\":{}}]}");
}

#define ALERT(name, state, values) \
	"{\"name\":\"" name "\",\"stream\":\"speed\",\"when\":\"p99 > 90\",\"state\":\"" state "\",\"since\":\"2015-09-01T11:01:00Z\"," \
	"\"window\":{\"start\":\"2015-09-01T11:02:00Z\",\"end\":\"2015-09-01T11:12:00Z\"},\"group\":{\"s\":\"1\"},\"values\":" values "," \
	"\"severity\":null,\"summary\":\"too, fast\"}"

/* Two pages; of one state only one; of a stream without any, none; of one that repeats, no end. */
static void handle_alerts(void *arg, struct http_request *r)
{
	(void)arg;
	const char *cursor = argument(r, "cursor"), *state = argument(r, "state"), *stream = argument(r, "stream");
	if (stream && !strcmp(stream, "endless"))
		reply(r, "{\"alerts\":[],\"next\":\"again\"}");
	else if (stream)
		reply(r, "{\"alerts\":[],\"next\":null}");
	else if (state)
		reply(r, "{\"alerts\":[" ALERT("fast", "firing", "{\"p99\":0.1}") "],\"next\":null}");
	else if (!cursor)
		reply(r, "{\"alerts\":[" ALERT("fast", "firing", "{\"p99\":0.1}") "],\"next\":\"a b\"}");
	else if (!strcmp(cursor, "a b"))
		reply(r, "{\"alerts\":[" ALERT("slow", "pending", "{\"p99\":123456.789,\"stddev\":null}") "],\"next\":null}");
	else
		http_reply_error(r, 400, "bad_cursor", "no such page");
}

static const struct http_route routes[] = {
	{"GET", "/api/v1/alerts", false, handle_alerts, HTTP_OPEN, true, 0},
	{"GET", "/api/v1/query", false, handle_query, HTTP_OPEN, true, 0},
	{"GET", "/api/v1/watch", false, handle_watch, HTTP_OPEN, true, 0},
	{"POST", "/api/v1/edges/", true, handle_readmit, HTTP_OPEN, true, 0},
	{"GET", "/healthz", false, handle_health, HTTP_OPEN, true, 0},
	{"GET", "/readyz", false, handle_ready, HTTP_OPEN, true, 0},
	{"GET", "/api/v1/cluster", false, handle_cluster, HTTP_OPEN, true, 0},
	{"GET", "/api/v1/edges", false, handle_edges, HTTP_OPEN, true, 0},
	{"GET", "/api/v1/streams", false, handle_streams, HTTP_OPEN, true, 0},
};

static void start_server(void)
{
	struct http_options o = {.listen = "127.0.0.1:0", .routes = routes, .route_count = sizeof(routes) / sizeof(routes[0])};
	char *why = NULL;
	ck_assert_int_eq(http_open(&o, &server, &why), 0);
	watches = 0;
}

static void stop_server(void)
{
	http_close(server);
}

/* ---- running weirctl -------------------------------------------------------------------------------------- */

/* Runs weirctl with its output into a buffer; argv after the program's name, ended by NULL. */
static int run(struct buf *out, const char *const *words)
{
	const char *argv[24] = {"weirctl"};
	int argc = 1;
	while (*words)
		argv[argc++] = *words++;
	FILE *file = tmpfile();
	ck_assert_ptr_nonnull(file);
	fflush(stdout);
	int saved = dup(STDOUT_FILENO);
	dup2(fileno(file), STDOUT_FILENO);
	int code = ctl_main(argc, (char **)(uintptr_t)argv);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	buf_clear(out);
	rewind(file);
	size_t n;
	while ((n = fread(buf_reserve(out, 4096), 1, 4096, file)) > 0)
		out->len += n;
	fclose(file);
	return code;
}

static void expect(int code, const char *text, const char *const *words)
{
	struct buf out = {0};
	int got = run(&out, words);
	ck_assert_int_eq(got, code);
	ck_assert_str_eq(buf_cstr(&out), text);
	buf_free(&out);
}

static char *urls(void)
{
	static char text[100]; /* the first address is that of nobody: port 1 */
	snprintf(text, sizeof(text), "127.0.0.1:1,127.0.0.1:%u", http_port(server));
	return text;
}

#define WEIRCTL(...) (const char *const[]){"--url", urls(), __VA_ARGS__, NULL}

START_TEST(queries_page_in_every_format)
{
	expect(EXIT_FINE,
	    "start,end,s,mean,state,revision,expected,contributed,idle,partitioned,missing\n"
	    "2015-09-01T11:01:00Z,2015-09-01T11:11:00Z,1,0.1,final,1,1,1,0,0,\n"
	    "2015-09-01T11:02:00Z,2015-09-01T11:12:00Z,2,0.2,final,1,1,1,0,0,\n"
	    "2015-09-01T11:03:00Z,2015-09-01T11:13:00Z,3,0.3,final,1,1,1,0,0,\n",
	    WEIRCTL("query", "speed", "-o", "csv"));
	expect(EXIT_FINE, HEAD ROW(1) "," ROW(2) "],\"next\":\"a b\"}\n",
	    WEIRCTL("query", "speed", "-o", "json", "--limit", "2"));

	struct buf out = {0};
	ck_assert_int_eq(run(&out, WEIRCTL("query", "speed", "-o", "json")), EXIT_FINE);
	json_t *all = json_loads(buf_cstr(&out), 0, NULL);
	ck_assert_ptr_nonnull(all);
	ck_assert_str_eq(ctl_text(all, "stream"), "speed");
	ck_assert(json_is_null(json_object_get(all, "next")));
	ck_assert_uint_eq(json_array_size(ctl_array(all, "rows")), 3);
	const json_t *third = json_array_get(ctl_array(all, "rows"), 2);
	ck_assert(json_real_value(json_object_get(json_object_get(third, "values"), "mean")) == 0.3);
	json_decref(all);
	ck_assert_int_eq(run(&out, WEIRCTL("query", "speed")), EXIT_FINE);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "START "));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "2015-09-01T11:03:00Z  2015-09-01T11:13:00Z  3   0.3  final  1    1/1"));
	buf_free(&out);
}
END_TEST

START_TEST(alerts_page_in_every_format)
{
	struct buf out = {0};
	expect(EXIT_FINE,
	    "alert,state,since,stream,group,window,values,when,severity,summary\n"
	    "fast,firing,2015-09-01T11:01:00Z,speed,s=1,2015-09-01T11:02:00Z,p99=0.1,p99 > 90,,\"too, fast\"\n"
	    "slow,pending,2015-09-01T11:01:00Z,speed,s=1,2015-09-01T11:02:00Z,p99=123456.789 stddev=null,p99 > 90,,\"too, fast\"\n",
	    WEIRCTL("alerts", "-o", "csv"));
	ck_assert_int_eq(run(&out, WEIRCTL("alerts", "-o", "json")), EXIT_FINE);
	json_t *all = json_loads(buf_cstr(&out), 0, NULL);
	ck_assert_uint_eq(json_array_size(ctl_array(all, "alerts")), 2);
	ck_assert(json_is_null(json_object_get(all, "next")));
	json_decref(all);
	ck_assert_int_eq(run(&out, WEIRCTL("alerts")), EXIT_FINE);
	ck_assert(strstr(buf_cstr(&out), "ALERT  STATE ") && strstr(buf_cstr(&out), "p99=123457 stddev=null  p99 > 90  -"));
	ck_assert_int_eq(run(&out, WEIRCTL("alerts", "--state", "firing", "-o", "csv")), EXIT_FINE);
	ck_assert(strstr(buf_cstr(&out), "\nfast,") && !strstr(buf_cstr(&out), "\nslow,"));
	expect(EXIT_FINE, "alert,state,since,stream,group,window,values,when,severity,summary\n", WEIRCTL("alerts", "-s", "none", "-o", "csv"));
	expect(EXIT_USE, "", WEIRCTL("alerts", "--state", "resolved"));
	expect(EXIT_FAILED, "", WEIRCTL("alerts", "--stream", "endless"));
	buf_free(&out);
}
END_TEST

START_TEST(failures_end_with_1)
{
	expect(EXIT_FAILED, "", WEIRCTL("query", "slow"));
	expect(EXIT_FAILED, "", WEIRCTL("edge", "readmit", "nobody"));
	expect(EXIT_FAILED, "", WEIRCTL("edge", "revoke", "nobody"));
	expect(EXIT_FAILED, "", (const char *const[]){"--url", "127.0.0.1:1", "status", NULL});
	expect(EXIT_FAILED, "", WEIRCTL("watch", "speed", "--since", "x", "--count", "5"));
}
END_TEST

START_TEST(watch_goes_on_where_it_was)
{
	expect(EXIT_FINE,
	    "start,end,s,mean,state,revision,expected,contributed,idle,partitioned,missing\n"
	    "2015-09-01T11:01:00Z,2015-09-01T11:11:00Z,1,0.1,final,1,1,1,0,0,\n"
	    "2015-09-01T11:02:00Z,2015-09-01T11:12:00Z,2,0.2,final,1,1,1,0,0,\n"
	    "2015-09-01T11:03:00Z,2015-09-01T11:13:00Z,3,0.3,final,1,1,1,0,0,\n",
	    WEIRCTL("watch", "speed", "-o", "csv", "--count", "3"));
	ck_assert_int_eq(watches, 2);
}
END_TEST

START_TEST(the_overview_is_shown)
{
	expect(EXIT_FINE, "node,state,replicas,leads,lag\nn1,up,2,1,0\nn2,down,2,0,\n", WEIRCTL("nodes", "-o", "csv"));
	expect(EXIT_FINE, "EDGE  STATE  EPOCH   SPOOL  ACCEPTED  REFUSED                 CLOCK    REVOKED\n"
	    "e1    live       2  1.5MiB        10  bad_field=3 too_long=1  suspect  revoked\n",
	    WEIRCTL("edges"));
	expect(EXIT_FINE, "stream,slice,watermark,final,dropped,version\nspeed,1m,,,,7\n", WEIRCTL("streams", "-o", "csv"));
	expect(EXIT_FINE,
	    "kind,name,state\ncluster,c0,ready\nnode,n1,up\nnode,n2,down\nshard,0,n9\nshard,1,no_leader\nedge,e1,live\n"
	    "stream,speed,\nalert,fast,firing\n",
	    WEIRCTL("status", "-o", "csv"));
	struct buf out = {0};
	ck_assert_int_eq(run(&out, WEIRCTL("status")), EXIT_FINE);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "streams  1\nalerts   more than 1: 1 firing; weirctl alerts\n\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "nodes    2: 1 up, 1 down\nshards   2: 1 without a leader: 1\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "health   1 of 2 nodes answers; 1 of 2 shards have no quorum\n"
						     "         nothing is acknowledged there; edges keep their readings. "
						     "Start again: n2\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "SHARD  LEADER  TERM  QUORUM  LAG  OTHERS\n"
						     "meta   n1         4  yes       0  n2 unreachable\n"
						     "0      n9         1  yes       0  n1 follower\n"
						     "1      none       1  NO        -  n2 unreachable\n"));
	ck_assert_int_eq(run(&out, WEIRCTL("status", "-o", "json")), EXIT_FINE);
	json_t *all = json_loads(buf_cstr(&out), 0, NULL);
	ck_assert(json_is_true(json_object_get(all, "ready")));
	ck_assert_uint_eq(json_array_size(ctl_array(json_object_get(all, "cluster"), "nodes")), 2);
	ck_assert_uint_eq(json_array_size(ctl_array(all, "edges")), 1);
	json_decref(all);
	buf_free(&out);
	expect(EXIT_FINE, "edge,state\ne 1,readmitting\n", WEIRCTL("edge", "readmit", "e 1", "-o", "csv"));
	expect(EXIT_FINE, "e2: nothing was changed\n", WEIRCTL("edge", "readmit", "e2"));
	expect(EXIT_FINE, "edge,state\ne2,unchanged\n", WEIRCTL("edge", "readmit", "e2", "-o", "csv"));
	expect(EXIT_FINE, "edge,state\ne1,revoked\n", WEIRCTL("edge", "revoke", "e1", "-o", "csv"));
	expect(EXIT_FINE, "edge,state\ne1,allowed\n", WEIRCTL("edge", "allow", "e1", "-o", "csv"));
}
END_TEST

/* ---- check and healthy: one node of a file ------------------------------------------------------------------ */

#define NODES_TOPOLOGY \
	"version: 1\n" \
	"cluster: {name: plant}\n" \
	"cloud: [{name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:%u\"}]\n" \
	"edges: [{name: e1, http: \"127.0.0.1:1\"}, {name: e2, data: \"%s/e2\"}]\n" \
	"streams: [{name: speed, from: {measurement: m, field: f}, window: 1m}]\n"

static char *nodes_file(const char *folder)
{
	char *path = xasprintf("%s/topology.yaml", folder);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, NODES_TOPOLOGY, http_port(server), folder);
	fclose(f);
	return path;
}

#define PLAIN(...) (const char *const[]){__VA_ARGS__, NULL}

START_TEST(what_a_node_is_can_be_asked)
{
	char folder[] = "/tmp/weir-nodes-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(folder));
	char *file = nodes_file(folder);
	expect(EXIT_FINE, "cloud\n", PLAIN("check", "--kind", "--node", "c1", file));
	expect(EXIT_FINE, "edge\n", PLAIN("check", "--kind", "--node", "e2", file));
	expect(EXIT_USE, "", PLAIN("check", "--kind", "--node", "e3", file));
	expect(EXIT_USE, "", PLAIN("check", "--kind", file));
	expect(EXIT_USE, "", PLAIN("check"));
	setenv("WEIR_CONFIG", file, 1);
	setenv("WEIR_NODE", "e1", 1);
	expect(EXIT_FINE, "edge\n", PLAIN("check", "--kind"));
	expect(EXIT_FINE, "cloud\n", PLAIN("check", "--kind", "--node", "c1")); /* what is given wins */
	setenv("WEIR_NODE", "e3", 1);
	expect(EXIT_USE, "", PLAIN("check", "--kind"));
	setenv("WEIR_NODE", "", 1);
	expect(EXIT_USE, "", PLAIN("check", "--kind"));
	setenv("WEIR_CONFIG", "/nonexistent", 1);
	expect(EXIT_USE, "", PLAIN("check"));
	unsetenv("WEIR_CONFIG");
	unsetenv("WEIR_NODE");
	unlink(file);
	rmdir(folder);
	free(file);
}
END_TEST

START_TEST(several_files_are_checked_at_once)
{
	char folder[] = "/tmp/weir-nodes-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(folder));
	char *file = nodes_file(folder);
	char *fine = xasprintf("%s: fine: 1 cloud nodes, 2 edges, 1 streams, 0 sinks\n", file), *twice = xasprintf("%s%s", fine, fine);
	expect(EXIT_FINE, twice, PLAIN("check", file, file));
	expect(EXIT_USE, fine, PLAIN("check", file, "/nonexistent"));
	expect(EXIT_USE, fine, PLAIN("check", "/nonexistent", file)); /* those behind it are not left out */
	struct buf out = {0};
	ck_assert_int_eq(run(&out, PLAIN("check", "-o", "json", file, "/nonexistent")), EXIT_USE);
	json_t *told = json_loadb((const char *)out.data, out.len, 0, NULL);
	ck_assert_uint_eq(json_array_size(told), 2);
	ck_assert(json_is_true(json_object_get(json_array_get(told, 0), "fine")));
	ck_assert(json_is_false(json_object_get(json_array_get(told, 1), "fine")));
	json_decref(told);
	buf_free(&out);
	unlink(file);
	rmdir(folder);
	free(twice);
	free(fine);
	free(file);
}
END_TEST

START_TEST(health_is_what_the_daemon_says)
{
	char folder[] = "/tmp/weir-nodes-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(folder));
	char *file = nodes_file(folder), *text = xasprintf("c1: healthy: http://127.0.0.1:%u/healthz: 200 as it is\n", http_port(server));
	health_status = 200;
	expect(EXIT_FINE, text, PLAIN("healthy", "--node", "c1", file));
	health_status = 503;
	expect(EXIT_FAILED, "", PLAIN("healthy", "--node", "c1", file));
	expect(EXIT_FAILED, "", PLAIN("healthy", "--node", "e1", file)); /* nobody listens there */
	expect(EXIT_USE, "", PLAIN("healthy", "--node", "e3", file));
	expect(EXIT_USE, "", PLAIN("healthy", file));
	expect(EXIT_USE, "", PLAIN("healthy", "--node", "c1"));
	expect(EXIT_USE, "", PLAIN("healthy", "--node", "c1", "/nonexistent"));
	health_status = 200;
	setenv("WEIR_CONFIG", file, 1);
	setenv("WEIR_NODE", "c1", 1);
	expect(EXIT_FINE, text, PLAIN("healthy"));
	unsetenv("WEIR_CONFIG");
	unsetenv("WEIR_NODE");
	free(text);
	unlink(file);
	rmdir(folder);
	free(file);
}
END_TEST

static pid_t hold(const char *path)
{
	int ready[2];
	char byte;
	ck_assert_int_eq(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		static const char *const dbs[] = {"one"};
		struct kv_lmdb_options o = {path, dbs, 1, 1024 * 1024, false};
		struct kv *kv;
		char *why;
		if (kv_lmdb_open(&o, &kv, &why))
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

START_TEST(an_edge_without_http_is_healthy_while_its_spool_is_open)
{
	static const char *const made[] = {"e2/spool/data.mdb", "e2/spool/lock.mdb", "e2/spool/lock", "e2/spool", "e2", "topology.yaml", ""};
	char folder[] = "/tmp/weir-nodes-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(folder));
	char *file = nodes_file(folder), *data = xasprintf("%s/e2", folder), *spool = xasprintf("%s/spool", data);
	expect(EXIT_FAILED, "", PLAIN("healthy", "--node", "e2", file));
	pid_t child = hold(spool);
	char *text = xasprintf("e2: healthy: process %d has %s open\n", (int)child, spool);
	expect(EXIT_FINE, text, PLAIN("healthy", "--node", "e2", file));
	expect(EXIT_FAILED, "", PLAIN("healthy", "--node", "e2", "--data", folder, file));
	setenv("WEIR_DATA", folder, 1);
	expect(EXIT_FAILED, "", PLAIN("healthy", "--node", "e2", file));
	expect(EXIT_FINE, text, PLAIN("healthy", "--node", "e2", "--data", data, file));
	unsetenv("WEIR_DATA");
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	expect(EXIT_FAILED, "", PLAIN("healthy", "--node", "e2", file));
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		char *path = xasprintf("%s/%s", folder, made[i]);
		ck_assert_msg(!remove(path), "%s", path);
		free(path);
	}
	free(text);
	free(spool);
	free(data);
	free(file);
}
END_TEST

/* ---- load ------------------------------------------------------------------------------------------------- */

struct receiver {
	int listener;
	struct buf got;
	size_t stop_after; /* bytes; 0: reads to the end */
};

static void *receive(void *arg)
{
	struct receiver *r = arg;
	int fd = accept(r->listener, NULL, NULL);
	for (;;) {
		ssize_t n = read(fd, buf_reserve(&r->got, 1000), 1000);
		if (n <= 0)
			break;
		r->got.len += (size_t)n;
		if (r->stop_after && r->got.len >= r->stop_after)
			break;
	}
	close(fd);
	return NULL;
}

/* Runs load against a fresh receiver; words: what follows --to. */
static int load(struct receiver *r, const char *file, const char *split)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int small = 4096;
	pthread_t thread;
	char to[32];
	r->listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(r->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	ck_assert_int_eq(bind(r->listener, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(r->listener, 1), 0);
	ck_assert_int_eq(getsockname(r->listener, (struct sockaddr *)&in, &len), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, receive, r), 0);
	snprintf(to, sizeof(to), "127.0.0.1:%u", ntohs(in.sin_port));
	struct buf out = {0};
	const char *const plain[] = {"load", "--to", to, "-o", "csv", file, NULL};
	const char *const with_split[] = {"load", "--to", to, "-o", "csv", file, "--split", split, NULL};
	int code = run(&out, split ? with_split : plain);
	pthread_join(thread, NULL);
	close(r->listener);
	buf_free(&out);
	return code;
}

static size_t count_newlines(const struct buf *b)
{
	size_t n = 0;
	for (size_t i = 0; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

START_TEST(load_sends_all_of_it_once)
{
	char path[] = "/tmp/weir-load-XXXXXX";
	struct buf text = {0};
	for (int i = 0; i < 20000; i++)
		buf_printf(&text, "m,s=%d f=%d %d\n", i % 37, i, i);
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text.data, text.len), (int)text.len);
	close(fd);

	struct receiver whole = {0}, parts[2] = {0};
	ck_assert_int_eq(load(&whole, path, NULL), EXIT_FINE);
	ck_assert_uint_eq(whole.got.len, text.len);
	ck_assert_mem_eq(whole.got.data, text.data, text.len);

	ck_assert_int_eq(load(&parts[0], path, "0/2"), EXIT_FINE);
	ck_assert_int_eq(load(&parts[1], path, "1/2"), EXIT_FINE);
	ck_assert_uint_gt(parts[0].got.len, 0);
	ck_assert_uint_gt(parts[1].got.len, 0);
	ck_assert_uint_eq(parts[0].got.len + parts[1].got.len, text.len);
	ck_assert_uint_eq(count_newlines(&parts[0].got) + count_newlines(&parts[1].got), 20000);
	for (int sensor = 0; sensor < 37; sensor++) { /* each series in one part only */
		char head[32];
		snprintf(head, sizeof(head), "m,s=%d ", sensor);
		ck_assert((strstr(buf_cstr(&parts[0].got), head) != NULL) != (strstr(buf_cstr(&parts[1].got), head) != NULL));
	}
	struct receiver rude = {.stop_after = 5000};
	ck_assert_int_eq(load(&rude, path, NULL), EXIT_FAILED);
	unlink(path);
	buf_free(&whole.got);
	buf_free(&parts[0].got);
	buf_free(&parts[1].got);
	buf_free(&rude.got);
	buf_free(&text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl net");
	TCase *tc = tcase_create("http"), *tcp = tcase_create("tcp");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, start_server, stop_server);
	tcase_add_test(tc, queries_page_in_every_format);
	tcase_add_test(tc, alerts_page_in_every_format);
	tcase_add_test(tc, failures_end_with_1);
	tcase_add_test(tc, watch_goes_on_where_it_was);
	tcase_add_test(tc, the_overview_is_shown);
	tcase_set_timeout(tcp, 120);
	tcase_add_test(tc, what_a_node_is_can_be_asked);
	tcase_add_test(tc, several_files_are_checked_at_once);
	tcase_add_test(tc, health_is_what_the_daemon_says);
	tcase_add_test(tc, an_edge_without_http_is_healthy_while_its_spool_is_open);
	tcase_add_test(tcp, load_sends_all_of_it_once);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, tcp);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
