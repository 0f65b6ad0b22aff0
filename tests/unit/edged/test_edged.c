/* The daemon as a process: what goes in over a socket or a file is counted once, whatever ends it. */
#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "edged/edged.h"
#include "edged/reload.h"

static char folder[64], config[128];
static unsigned tcp_port, http_port;
static pid_t child;

/* It stays bound here, though nobody listens, so that nobody else is given it: who asks for it by its number, as the daemon does, and also
 * with SO_REUSEADDR, may have it. */
static unsigned free_port(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sin);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	return ntohs(sin.sin_port);
}

#define STREAM "{name: s, from: {measurement: \"*\", field: \"*\"}, by: [k], window: 10s, compute: [count]}"

static void write_config(const char *source, const char *stream)
{
	FILE *f = fopen(config, "w");
	fprintf(f,
	    "version: 1\ncluster: {name: test, shards: 4}\n"
	    "cloud: [{name: cloud-1, listen: \"tcp://127.0.0.1:1\", http: \"127.0.0.1:2\", data: c1}]\n"
	    "edges: [{name: edge-1, data: e1, http: \"127.0.0.1:%u\", tick: 20ms, sources: [%s]}]\n"
	    "streams: [%s]\n",
	    http_port, source, stream);
	fclose(f);
}

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/weir-edged-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(config, sizeof(config), "%s/topology.yaml", folder);
	tcp_port = free_port();
	http_port = free_port();
	child = 0;
}

static void run(const char *const *argv)
{
	pid_t pid = fork();
	if (!pid) {
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

static void teardown(void)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	const char *const argv[] = {"rm", "-rf", folder, NULL};
	run(argv);
}

/* Starts the program with these words after `--config FILE`; stdout and stderr go to FOLDER/out. */
static pid_t start(const char *a, const char *b, const char *c)
{
	char out[128];
	snprintf(out, sizeof(out), "%s/out", folder);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600); /* two may write */
		dup2(fd, 1);
		dup2(fd, 2);
		execl("edged/edged", "edged", "--config", config, a, b, c, (char *)NULL);
		_exit(127);
	}
	return pid;
}

static int exit_code(pid_t pid)
{
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static bool out_has(const char *text)
{
	char path[128], all[16384];
	snprintf(path, sizeof(path), "%s/out", folder);
	FILE *f = fopen(path, "r");
	size_t n = fread(all, 1, sizeof(all) - 1, f);
	fclose(f);
	all[n] = 0;
	return strstr(all, text) != NULL;
}

static int dial(unsigned port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Tries again until something listens. */
static int dial_patiently(unsigned port)
{
	int64_t end = clock_mono_ns() + 30 * NS_PER_SEC;
	for (int fd;;) {
		if ((fd = dial(port)) >= 0)
			return fd;
		ck_assert_msg(clock_mono_ns() < end, "nobody listens on %u", port);
	}
}

static void get(const char *path, struct buf *out)
{
	struct buf request = {0};
	int fd = dial_patiently(http_port);
	buf_printf(&request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
	ck_assert_int_eq(send(fd, request.data, request.len, MSG_NOSIGNAL), (ssize_t)request.len);
	buf_clear(out);
	for (ssize_t n; (n = recv(fd, buf_reserve(out, 65536), 65536, 0)) > 0;)
		out->len += (size_t)n;
	close(fd);
	buf_free(&request);
}

static double metric(const char *name)
{
	struct buf out = {0};
	double v = -1;
	get("/metrics", &out);
	char *line = strstr((char *)(uintptr_t)buf_cstr(&out), name);
	while (line && line[-1] != '\n')
		line = strstr(line + 1, name);
	if (line)
		v = strtod(line + strlen(name), NULL);
	buf_free(&out);
	return v;
}

static void wait_for(const char *name, double value)
{
	int64_t end = clock_mono_ns() + 30 * NS_PER_SEC;
	double got;
	while ((got = metric(name)) < value)
		ck_assert_msg(clock_mono_ns() < end, "%s is %g, not %g", name, got, value);
	ck_assert_msg(got <= value, "%s is %g, not %g", name, got, value);
}

#define ACCEPTED "weir_edge_readings_accepted_total "

START_TEST(a_clean_stop_keeps_all_and_goes_on)
{
	char source[64];
	snprintf(source, sizeof(source), "{type: tcp, listen: \"127.0.0.1:%u\"}", tcp_port);
	write_config(source, STREAM);
	child = start("--node", "edge-1", NULL);
	int fd = dial_patiently(tcp_port);
	static const char lines[] = "m,k=a v=1,w=2 1000000000\nbad\nm,k=b v=3 2000000000\n";
	ck_assert_int_eq(send(fd, lines, sizeof(lines) - 1, 0), sizeof(lines) - 1);
	wait_for(ACCEPTED, 3);
	close(fd);
	struct buf out = {0};
	get("/healthz", &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "200 OK"));
	get("/nothing", &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "404"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\"not_found\""));
	kill(child, SIGHUP); /* does not end it */
	kill(child, SIGTERM);
	ck_assert_int_eq(exit_code(child), 0);
	child = start("--node", "edge-1", NULL);
	wait_for(ACCEPTED, 3);
	wait_for("weir_edge_readings_refused_total{reason=\"no_field\"} ", 1);
	wait_for("weir_edge_stream_aggregated{stream=\"s\"} ", 3);
	kill(child, SIGINT);
	ck_assert_int_eq(exit_code(child), 0);
	child = 0;
	buf_free(&out);
}
END_TEST

START_TEST(killed_at_any_moment_a_file_counts_once)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/in", folder);
	FILE *f = fopen(path, "w");
	write_config("{type: file, path: in, follow: true}", STREAM);
	size_t lines = 0;
	for (int round = 0; round < 8; round++) {
		child = start("--node", "edge-1", NULL);
		double before = metric(ACCEPTED);
		for (int i = 0; i < 20000; i++, lines++)
			fprintf(f, "m,k=%zu v=%zu %zu\n", lines % 7, lines, lines * 1000000);
		fflush(f);
		while (round % 2 && metric(ACCEPTED) <= before)
			;
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	fclose(f);
	child = start("--node", "edge-1", NULL);
	wait_for(ACCEPTED, (double)lines);
	wait_for("weir_edge_stream_aggregated{stream=\"s\"} ", (double)lines);
}
END_TEST

START_TEST(a_hangup_takes_up_the_file_and_keeps_connections)
{
	char source[256], more[512], path[128];
	unsigned second_port = free_port();
	snprintf(path, sizeof(path), "%s/in", folder);
	FILE *f = fopen(path, "w");
	fprintf(f, "m,k=f v=1 5000000000\nm,k=f v=2 6000000000\n");
	fclose(f);
	snprintf(source, sizeof(source), "{type: tcp, listen: \"127.0.0.1:%u\"}, {type: tcp, name: goes, listen: \"127.0.0.1:%u\"}", tcp_port,
	    second_port);
	write_config(source, STREAM);
	child = start("--node", "edge-1", NULL);
	int fd = dial_patiently(tcp_port), gone = dial_patiently(second_port);
	ck_assert_int_eq(send(gone, "m,k=a v=1 1000000000\nm,k=a v=", 29, 0), 29);
	ck_assert_int_eq(send(fd, "m,k=a v=1 1000000000\nm,k=a v", 28, 0), 28);
	wait_for(ACCEPTED, 2);
	/* one source goes, another comes, and a stream; the HTTP address is another one */
	snprintf(more, sizeof(more), "{type: file, path: in}, {type: tcp, name: tcp-1, listen: \"127.0.0.1:%u\"}", tcp_port);
	http_port = free_port();
	write_config(more, STREAM ", {name: t, from: {measurement: \"*\", field: \"*\"}, by: [], window: 10s, compute: [count]}");
	kill(child, SIGHUP);
	wait_for("weir_edge_maps_adopted_total ", 1);
	wait_for(ACCEPTED, 4);
	ck_assert_int_eq(send(fd, "=5 7000000000\n", 14, 0), 14); /* the rest of the line */
	wait_for(ACCEPTED, 5);
	wait_for("weir_edge_readings_refused_total{reason=\"truncated\"} ", 1);
	wait_for("weir_edge_stream_aggregated{stream=\"s\"} ", 5);
	wait_for("weir_edge_stream_aggregated{stream=\"t\"} ", 3);
	char byte;
	ck_assert_int_le(recv(gone, &byte, 1, 0), 0);
	ck_assert_int_eq(dial(second_port), -1);
	/* errors are told, and change nothing */
	write_config("{type: nonsense}", STREAM);
	kill(child, SIGHUP);
	ck_assert_int_eq(send(fd, "m,k=a v=1 8000000000\n", 21, 0), 21);
	wait_for(ACCEPTED, 6);
	close(fd);
	close(gone);
	kill(child, SIGTERM);
	ck_assert_int_eq(exit_code(child), 0);
	ck_assert(out_has("errors"));
	child = 0;
}
END_TEST

START_TEST(one_spool_one_process)
{
	write_config("", STREAM);
	child = start("--node", "edge-1", NULL);
	wait_for(ACCEPTED, 0);
	pid_t second = start("--node", "edge-1", NULL);
	ck_assert_int_eq(exit_code(second), 1);
	ck_assert(out_has("running already"));
}
END_TEST

START_TEST(bad_use_is_told)
{
	write_config("", STREAM);
	ck_assert_int_eq(exit_code(start("--help", NULL, NULL)), 0);
	ck_assert(out_has("--data DIR"));
	ck_assert_int_eq(exit_code(start("--version", NULL, NULL)), 0);
	ck_assert(out_has("edged (weir) "));
	ck_assert_int_eq(exit_code(start("--check", NULL, NULL)), 0);
	ck_assert(out_has("fine"));
	ck_assert_int_eq(exit_code(start(NULL, NULL, NULL)), 2);
	ck_assert(out_has("edge-1"));
	ck_assert_int_eq(exit_code(start("--node", "cloud-1", NULL)), 2);
	ck_assert(out_has("cloudd"));
	ck_assert_int_eq(exit_code(start("--node", "edge-7", NULL)), 2);
	ck_assert(out_has("edge-1"));
	ck_assert_int_eq(exit_code(start("--frobnicate", NULL, NULL)), 2);
	ck_assert_int_eq(exit_code(start("--log-level", "loud", NULL)), 2);
	ck_assert_int_eq(exit_code(start("surplus", NULL, NULL)), 2);
	write_config("{type: tcp, listen: \"0.0.0.0:7000\"}", STREAM);
	ck_assert_int_eq(exit_code(start("--check", NULL, NULL)), 2);
	ck_assert(out_has("loopback"));
	ck_assert_int_eq(exit_code(start("--node", "edge-1", NULL)), 2);
	write_config("{type: nonsense}", STREAM);
	ck_assert_int_eq(exit_code(start("--check", NULL, NULL)), 2);
	ck_assert(out_has("topology.yaml:4:"));
	write_config("", STREAM);
	ck_assert_int_eq(exit_code(start("--node", "edge-1", "--data=/proc/nothing")), 1);
	ck_assert(out_has("/proc/nothing"));
	ck_assert_int_eq(exit_code(start("--node", "edge-1", "--data=")), 2);
	ck_assert(out_has("--data"));
}
END_TEST

static struct topology *parse(const char *source, const char *stream, const char *more)
{
	struct topology *t = NULL;
	struct buf text = {0}, errors = {0};
	buf_printf(&text,
	    "version: 1\ncluster: {name: test, shards: 4}\n"
	    "cloud: [{name: cloud-1, listen: \"tcp://127.0.0.1:7001\", http: \"127.0.0.1:7002\", data: c1}]\n"
	    "edges: [{name: edge-1, data: e1, sources: [%s]%s}]\nstreams: [%s]\n",
	    source, more, stream);
	ck_assert_msg(topology_parse("t", text.data, text.len, &t, &errors) == 0, "%s", buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
	return t;
}

START_TEST(a_reload_says_what_differs)
{
	static const struct {
		const char *source, *stream, *more, *differs;
	} cases[] = {
		{"{type: stdin}", STREAM, "", ""},
		{"{type: file, path: x}", STREAM, "", "sources"},
		{"{type: stdin}", "{name: t, from: {measurement: m, field: f}, window: 1m, compute: [count]}", "", "streams"},
		{"{type: stdin}", STREAM, ", tags: {a: b}", "tags"},
		{"{type: stdin}", STREAM, ", heartbeat: 3s", "settings"},
		{"", STREAM, ", flush: 3s", "sources, settings"},
	};
	struct topology *was = parse(cases[0].source, cases[0].stream, cases[0].more);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct topology *now = parse(cases[i].source, cases[i].stream, cases[i].more);
		struct buf out = {0};
		reload_differences(was, now, 0, &out);
		ck_assert_str_eq(buf_cstr(&out), cases[i].differs);
		buf_free(&out);
		topology_free(now);
	}
	topology_free(was);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("edged/edged");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_clean_stop_keeps_all_and_goes_on);
	tcase_add_test(tc, killed_at_any_moment_a_file_counts_once);
	tcase_add_test(tc, a_hangup_takes_up_the_file_and_keeps_connections);
	tcase_add_test(tc, one_spool_one_process);
	tcase_add_test(tc, bad_use_is_told);
	tcase_add_test(tc, a_reload_says_what_differs);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
