/* Sinks' threads: what they deliver, tell and count while others look and topologies change, and how they end. This test stands for
 * cloudd/emit and emit_alerts, which has none; files and a receiver that never answers are real. It is among those that run with TSan. */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloudd/emit_alerts.h"
#include "cloudd/sink_states.h"
#include "cloudd/sinks.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "tests/unit/cloudd/silent.h"

#define BATCH 10
#define WAIT_S 20
#define HEAD \
	"version: 1\n" \
	"cluster: {name: test, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"streams:\n" \
	"  - {name: s, from: {measurement: m, field: f}, by: [k], window: 10s, compute: [count]}\n" \
	"sinks:\n"

static char folder[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned supply, given, delivered, discarded, told, failures_said, recoveries_said, alive;
static char last_warning[512];
static bool away; /* what there is cannot be had */
static unsigned measures;
static bool slow; /* a measure takes a second */

static const struct topology *topology; /* of the rows */

/* ---- in place of cloudd/emit ----------------------------------------------------------------------------------------- */

struct emit {
	struct emit_options o;
	struct partial_spec spec;
	struct sink_row rows[BATCH];
	uint8_t group[2];
	unsigned count;
};

struct emit *emit_new(const struct emit_options *o)
{
	struct emit *e = xcalloc(1, sizeof(*e));
	e->o = *o;
	e->group[0] = 1;
	e->group[1] = 'a';
	partial_spec_of(&topology->streams[0], 0, PARTIAL_QUANTILE_CAP_CLOUD, &e->spec);
	pthread_mutex_lock(&lock);
	alive++;
	pthread_mutex_unlock(&lock);
	return e;
}

void emit_free(struct emit *e)
{
	free(e);
	pthread_mutex_lock(&lock);
	alive--;
	pthread_mutex_unlock(&lock);
}

bool emit_collect(struct emit *e, struct sink_batch *ret_batch)
{
	pthread_mutex_lock(&lock);
	e->count = away ? 0 : supply < BATCH ? supply : BATCH;
	supply -= e->count;
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < e->count; i++) {
		struct sink_row *r = &e->rows[i];
		*r = (struct sink_row){.stream = &topology->streams[0], .spec = &e->spec};
		r->row = (struct row){.start_ns = i * 10 * NS_PER_SEC, .end_ns = (i + 1) * 10 * NS_PER_SEC, .group = bytes_of(e->group, 2), .state = WINDOW_FINAL, .revision = 1};
		partial_add(&r->row.partial, &e->spec, 0, 1);
	}
	*ret_batch = (struct sink_batch){e->rows, e->count};
	return e->count > 0;
}

static void end_batch(struct emit *e, bool fine)
{
	pthread_mutex_lock(&lock);
	*(fine ? &delivered : &discarded) += e->count;
	supply += fine ? 0 : e->count;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < e->count; i++)
		partial_clear(&e->rows[i].row.partial, &e->spec);
	e->count = 0;
}

void emit_delivered(struct emit *e)
{
	struct entry_place p = {bytes_of("x", 1), bytes_of("s", 1), 1, 1, 1};
	e->o.places(e->o.arg, 0, &p, 1);
	end_batch(e, true);
}

bool emit_is_empty(const struct emit *e)
{
	pthread_mutex_lock(&lock);
	bool unseen = away && supply;
	pthread_mutex_unlock(&lock);
	return !e->count && !unseen;
}

void emit_discard(struct emit *e)
{
	end_batch(e, false);
}

void emit_measure(struct emit *e, int64_t wall_ns, struct emit_figures *ret)
{
	(void)e, (void)wall_ns;
	pthread_mutex_lock(&lock);
	bool sleeps = slow;
	measures++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	if (sleeps)
		sleep(1);
	*ret = (struct emit_figures){.backlog = 7, .lag_ns = NS_PER_SEC};
}

struct emit_alerts *emit_alerts_new(const struct emit_options *o)
{
	return (struct emit_alerts *)(uintptr_t)o; /* nothing of it is used */
}

void emit_alerts_free(struct emit_alerts *e)
{
	(void)e;
}

bool emit_alerts_collect(struct emit_alerts *e, struct sink_alerts *ret_batch)
{
	(void)e, (void)ret_batch;
	return false;
}

void emit_alerts_delivered(struct emit_alerts *e)
{
	(void)e;
}

void emit_alerts_measure(const struct emit_alerts *e, int64_t wall_ns, struct emit_figures *f)
{
	(void)e, (void)wall_ns;
	f->alerts += 5;
}

/* ---- set-up ------------------------------------------------------------------------------------------------------------ */

static void on_places(void *arg, uint32_t shard, const struct entry_place *places, size_t count)
{
	(void)arg, (void)shard, (void)places;
	pthread_mutex_lock(&lock);
	told += (unsigned)count;
	pthread_mutex_unlock(&lock);
}

static void on_say(void *arg, bool warn, const char *text)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	failures_said += strstr(text, "cannot deliver") != NULL;
	recoveries_said += strstr(text, "delivers again") != NULL;
	if (warn)
		snprintf(last_warning, sizeof(last_warning), "%s", text);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/weir-sinks-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	away = slow = false;
	measures = 0;
	supply = given = delivered = discarded = told = failures_said = recoveries_said = alive = 0;
}

static void remove_files(const char *where)
{
	DIR *d = opendir(where);
	for (struct dirent *e; d && (e = readdir(d));) {
		char *path = xasprintf("%s/%s", where, e->d_name);
		unlink(path);
		free(path);
	}
	if (d)
		closedir(d);
	rmdir(where);
}

static void teardown(void)
{
	char *inner = xasprintf("%s/inner", folder);
	remove_files(inner);
	free(inner);
	remove_files(folder);
}

static struct topology *topology_of(const char *sinks)
{
	struct topology *t;
	struct buf errors = {0}, text = {0};
	buf_printf(&text, "%s%s", HEAD, sinks);
	int rc = topology_parse("t.yaml", text.data, text.len, &t, &errors);
	ck_assert_msg(!rc, "%s", buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
	return t;
}

static struct topology *files(const char *first, const char *second)
{
	char *sinks = xasprintf("  - {name: a, type: file, path: %s/%s}\n  - {name: b, type: file, path: %s/%s, streams: [s], format: csv}\n", folder,
	    first, folder, second);
	struct topology *t = topology_of(sinks);
	free(sinks);
	return t;
}

static struct sinks *begin(const struct topology *t)
{
	topology = t;
	return sinks_new(&(struct sinks_options){.topology = t, .places = on_places, .say = on_say});
}

/* Until the counter is there. */
static void wait_for(const unsigned *counter, unsigned least)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	int rc = 0;
	pthread_mutex_lock(&lock);
	while (*counter < least && !rc)
		rc = pthread_cond_timedwait(&changed, &lock, &until);
	unsigned is = *counter;
	pthread_mutex_unlock(&lock);
	ck_assert_msg(is >= least, "%u, waited for %u; %s", is, least, last_warning);
}

static void give(unsigned rows)
{
	pthread_mutex_lock(&lock);
	supply += rows;
	given += rows;
	pthread_mutex_unlock(&lock);
}

static double metric(struct sinks *s, const char *line)
{
	struct buf out = {0};
	sinks_metrics(s, &out);
	const char *at = strstr(buf_cstr(&out), line);
	double value = at ? strtod(at + strlen(line), NULL) : -1;
	buf_free(&out);
	return value;
}

/* As another node would have it. */
static struct sink_state told_state(struct sinks *s, const struct topology *t)
{
	struct buf out = {0};
	struct sink_state state = {0};
	sinks_tell(s, &out);
	ck_assert_int_eq(sink_states_add(bytes_of(out.data, out.len), t, 0, &state), 0);
	buf_free(&out);
	return state;
}

/* ---- tests ------------------------------------------------------------------------------------------------------------- */

static atomic_bool looking;

static void *look(void *arg)
{
	while (looking) {
		struct buf out = {0};
		sinks_metrics(arg, &out);
		buf_clear(&out);
		sinks_tell(arg, &out);
		buf_free(&out);
	}
	return NULL;
}

static bool is_there(const char *name)
{
	char *path = xasprintf("%s/%s", folder, name);
	bool there = !access(path, F_OK);
	free(path);
	return there;
}

START_TEST(topologies_change_while_rows_are_delivered_and_others_look)
{
	pthread_t watcher;
	struct topology *first = files("a", "b"), *second = files("a2", "b"), *none = topology_of("  []\n");
	struct sinks *s = begin(first);
	looking = true;
	ck_assert_int_eq(pthread_create(&watcher, NULL, look, s), 0);
	for (unsigned round = 0; round < 6; round++) {
		give(40 * BATCH);
		sinks_set_topology(s, round % 3 == 1 ? second : round % 3 == 2 ? none : first);
		sinks_tick(s);
	}
	sinks_set_topology(s, second);
	sinks_tick(s);
	const struct timespec moment = {0, 10 * 1000000};
	for (unsigned i = 0; i < 100 * WAIT_S && !is_there("a2"); i++) { /* as each second in the daemon: what was told to stop ends by and by */
		sinks_tick(s);
		give(1);
		nanosleep(&moment, NULL);
	}
	wait_for(&delivered, given);
	looking = false;
	pthread_join(watcher, NULL);
	ck_assert_msg(!failures_said, "%s", last_warning); /* the next one of a path begins when the one before has ended */
	sinks_free(s);
	ck_assert_uint_eq(alive, 0);
	ck_assert_uint_ge(told, delivered / BATCH);
	ck_assert_uint_eq(delivered, given);
	topology_free(first);
	topology_free(second);
	topology_free(none);
}
END_TEST

START_TEST(one_that_fails_is_tried_again_and_delays_only_itself)
{
	char *sinks = xasprintf("  - {name: a, type: file, path: %s/inner/a}\n", folder), *inner = xasprintf("%s/inner", folder);
	struct topology *t = topology_of(sinks);
	struct sinks *s = begin(t);
	give(3);
	wait_for(&discarded, 3 * 3); /* two have been counted */
	ck_assert_uint_eq(failures_said, 1); /* the same again is not told of */
	ck_assert_ptr_nonnull(strstr(last_warning, "No such file"));
	ck_assert_double_eq(metric(s, "weir_cloud_sink_up{sink=\"a\",type=\"file\"} "), 0);
	ck_assert_double_ge(metric(s, "weir_cloud_sink_failures_total{sink=\"a\",type=\"file\"} "), 2);
	ck_assert_double_eq(metric(s, "weir_cloud_sink_backlog_rows{sink=\"a\",type=\"file\"} "), 7);
	ck_assert_double_eq(metric(s, "weir_cloud_sink_backlog_alerts{sink=\"a\",type=\"file\"} "), 5);
	struct sink_state state = told_state(s, t);
	ck_assert(state.failing_at == 1 && state.sum.failing_ns > 0 && state.sum.backlog_rows == 7 && state.sum.backlog_alerts == 5);
	ck_assert_msg(strstr(state.sum.why, "No such file"), "%s", state.sum.why);
	ck_assert_int_eq(state.sum.lag_ns, NS_PER_SEC);
	ck_assert_uint_eq(delivered, 0);
	ck_assert_int_eq(mkdir(inner, 0755), 0);
	wait_for(&delivered, 3);
	wait_for(&recoveries_said, 1);
	ck_assert_double_eq(metric(s, "weir_cloud_sink_up{sink=\"a\",type=\"file\"} "), 1);
	ck_assert_double_eq(metric(s, "weir_cloud_sink_rows_total{sink=\"a\",type=\"file\"} "), 3);
	state = told_state(s, t);
	ck_assert(state.told_by == 1 && !state.failing_at && state.sum.rows == 3 && !*state.sum.why);
	sinks_free(s);
	topology_free(t);
	free(sinks);
	free(inner);
}
END_TEST

static void wait_up(struct sinks *s)
{
	int64_t until_ns = clock_mono_ns() + WAIT_S * NS_PER_SEC;
	while (metric(s, "weir_cloud_sink_up{sink=\"a\",type=\"file\"} ") != 1 && clock_mono_ns() < until_ns)
		usleep(10000);
	ck_assert_double_eq(metric(s, "weir_cloud_sink_up{sink=\"a\",type=\"file\"} "), 1);
}

/* Another node leads the shard by then, and delivers: this one is not down for ever. */
START_TEST(one_that_fails_and_has_nothing_left_fails_no_more)
{
	char *sinks = xasprintf("  - {name: a, type: file, path: %s/inner/a}\n", folder);
	struct topology *t = topology_of(sinks);
	struct sinks *s = begin(t);
	give(3);
	wait_for(&discarded, 3 * 3);
	pthread_mutex_lock(&lock);
	away = true;
	pthread_mutex_unlock(&lock);
	usleep(3 * SINKS_POLL_NS / 1000); /* as long as that is not known it fails on */
	ck_assert_double_eq(metric(s, "weir_cloud_sink_up{sink=\"a\",type=\"file\"} "), 0);
	ck_assert_double_gt(metric(s, "weir_cloud_sink_failing_seconds{sink=\"a\",type=\"file\"} "), 0);
	pthread_mutex_lock(&lock);
	supply = 0;
	pthread_mutex_unlock(&lock);
	wait_up(s);
	ck_assert_double_eq(metric(s, "weir_cloud_sink_failing_seconds{sink=\"a\",type=\"file\"} "), 0);
	ck_assert_uint_eq(failures_said, 1);
	pthread_mutex_lock(&lock);
	away = false;
	pthread_mutex_unlock(&lock);
	give(3);
	wait_for(&failures_said, 2); /* another failure, though for the same reason */
	sinks_free(s);
	ck_assert_uint_eq(delivered, 0);
	topology_free(t);
	free(sinks);
}
END_TEST

/* Else a lag that is no more would be told of for as long as it cost to count it. */
START_TEST(figures_of_what_was_delivered_do_not_stay)
{
	char *sinks = xasprintf("  - {name: a, type: file, path: %s/a}\n", folder);
	struct topology *t = topology_of(sinks);
	slow = true;
	int64_t began_ns = clock_mono_ns();
	struct sinks *s = begin(t);
	wait_for(&measures, 4);
	ck_assert_int_lt(clock_mono_ns() - began_ns, SINKS_MEASURE_SHARE * NS_PER_SEC);
	sinks_free(s);
	topology_free(t);
	free(sinks);
}
END_TEST

#define TURNS (2 * SINKS_FAILURES_SAID_MAX)

/* Answers 500 and 200 by turns. */
static void *refuse_each_other(void *arg)
{
	for (unsigned i = 0; i < 2 * TURNS; i++) {
		char request[4096] = "";
		ssize_t n, has = 0;
		int fd = silent_accept(*(int *)arg);
		while (!strstr(request, "]}") && (n = read(fd, request + has, sizeof(request) - 1 - (size_t)has)) > 0)
			has += n;
		dprintf(fd, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", i % 2 ? "200 OK" : "500 No");
		close(fd);
	}
	return NULL;
}

START_TEST(one_that_fails_by_turns_does_not_fill_the_log)
{
	unsigned port;
	pthread_t thread;
	int fd = silent_listen(&port);
	char *sinks = xasprintf("  - {name: a, type: webhook, url: \"http://127.0.0.1:%u/\"}\n", port);
	struct topology *t = topology_of(sinks);
	ck_assert_int_eq(pthread_create(&thread, NULL, refuse_each_other, &fd), 0);
	struct sinks *s = begin(t);
	for (unsigned i = 1; i <= TURNS; i++) {
		give(1);
		wait_for(&delivered, i);
	}
	sinks_free(s);
	ck_assert_uint_eq(discarded, TURNS);
	ck_assert_uint_eq(failures_said, SINKS_FAILURES_SAID_MAX);
	ck_assert_uint_eq(recoveries_said, SINKS_FAILURES_SAID_MAX);
	pthread_join(thread, NULL);
	close(fd);
	topology_free(t);
	free(sinks);
}
END_TEST

#define RESTS 4 /* requests after which it wants one */

/* A request a row: counts what it takes of each, and answers every fifth request 429. */
static unsigned taken[BATCH];

static void *take_so_many(void *arg)
{
	for (unsigned i = 1; i <= BATCH + BATCH / RESTS; i++) {
		char request[4096] = "";
		ssize_t n, has = 0;
		int fd = silent_accept(*(int *)arg);
		while (!strstr(request, "]}") && (n = read(fd, request + has, sizeof(request) - 1 - (size_t)has)) > 0)
			has += n;
		const char *start = strstr(request, "\"start\": \"1970-01-01T00:0");
		unsigned minutes = 0, seconds = 0;
		if (start)
			sscanf(start, "\"start\": \"1970-01-01T00:%u:%u", &minutes, &seconds);
		bool takes = i % (RESTS + 1);
		taken[(minutes * 60 + seconds) / 10] += takes;
		dprintf(fd, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", takes ? "200 OK" : "429 Later");
		close(fd);
	}
	return NULL;
}

/* What it took of a batch that failed is not sent again: else it would never have all. */
START_TEST(a_receiver_that_wants_a_rest_gets_all_in_the_end)
{
	unsigned port;
	pthread_t thread;
	int fd = silent_listen(&port);
	char *sinks = xasprintf("  - {name: a, type: webhook, url: \"http://127.0.0.1:%u/\", batch_rows: 1}\n", port);
	struct topology *t = topology_of(sinks);
	ck_assert_int_eq(pthread_create(&thread, NULL, take_so_many, &fd), 0);
	give(BATCH);
	struct sinks *s = begin(t);
	wait_for(&delivered, BATCH);
	sinks_free(s);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(discarded, BATCH / RESTS * BATCH);
	for (size_t i = 0; i < BATCH; i++)
		ck_assert_msg(taken[i] == 1, "row %zu was taken %u times", i, taken[i]);
	close(fd);
	topology_free(t);
	free(sinks);
}
END_TEST

START_TEST(nobody_waits_for_a_receiver_that_does_not_answer)
{
	unsigned port;
	int fd = silent_listen(&port);
	char *sinks = xasprintf("  - {name: a, type: webhook, url: \"http://127.0.0.1:%u/\", timeout: 30s}\n", port);
	struct topology *t = topology_of(sinks);
	struct sinks *s = begin(t);
	give(3);
	int connection = silent_accept(fd); /* the request is under way */
	ck_assert_int_ge(connection, 0);
	int64_t began_ns = clock_mono_ns();
	sinks_free(s);
	ck_assert_int_lt(clock_mono_ns() - began_ns, 10 * NS_PER_SEC);
	ck_assert_uint_eq(delivered, 0);
	ck_assert_uint_eq(discarded, 3);
	ck_assert_uint_eq(failures_said, 0); /* cut short, which is no failure */
	close(connection);
	close(fd);
	topology_free(t);
	free(sinks);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sinks");
	TCase *c = tcase_create("threads");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, topologies_change_while_rows_are_delivered_and_others_look);
	tcase_add_test(c, one_that_fails_is_tried_again_and_delays_only_itself);
	tcase_add_test(c, one_that_fails_and_has_nothing_left_fails_no_more);
	tcase_add_test(c, figures_of_what_was_delivered_do_not_stay);
	tcase_add_test(c, one_that_fails_by_turns_does_not_fill_the_log);
	tcase_add_test(c, a_receiver_that_wants_a_rest_gets_all_in_the_end);
	tcase_add_test(c, nobody_waits_for_a_receiver_that_does_not_answer);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
