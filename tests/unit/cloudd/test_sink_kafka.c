/* The sink kafka against librdkafka's own mock cluster, in this process: what becomes of rows, how long an end takes, what is said. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloudd/kafka_client.h"
#include "cloudd/sink.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "tests/unit/cloudd/kafka_cluster.h"

#define TEXT \
	"version: 1\n" \
	"cluster: {name: test, replicas: 1, security: none}\n" \
	"cloud:\n" \
	"  - {name: c1, listen: \"tcp://127.0.0.1:7101\", http: \"127.0.0.1:8101\"}\n" \
	"streams:\n" \
	"  - {name: s, from: {measurement: m, field: f}, by: [k], window: 10s, compute: [count, stddev]}\n" \
	"sinks:\n" \
	"  - {name: a, type: kafka, brokers: %s, timeout: %s, %s}\n"
#define ROWS 16
#define LATE_NS (10 * NS_PER_SEC) /* that a busy machine may be; far less than what is not waited for */
#define STOP_TRIES 5              /* ... and one of so many times it is not */

static struct topology *t;
static struct sink *sink;
static struct partial_spec spec;

/* ---- what cloudd/sinks.c has for sinks ---------------------------------------------------------------- */

static atomic_bool stop;
static struct buf said;
static uint64_t rejected;

bool sink_stopping(const struct sink *s)
{
	(void)s;
	return stop;
}

void sink_say(struct sink *s, bool warn, const char *text)
{
	(void)s;
	(void)warn;
	buf_printf(&said, "%s\n", text);
}

void sink_rejected(struct sink *s, uint64_t rows, const char *why)
{
	(void)s;
	rejected += rows;
	ck_assert_ptr_nonnull(strstr(why, "too large"));
}

void sink_rejected_alerts(struct sink *s, uint64_t alerts, const char *why)
{
	sink_rejected(s, alerts, why);
}

/* ---- a sink ------------------------------------------------------------------------------------------------------- */

static void setup(void)
{
	kafka_cluster_start();
	stop = false;
	rejected = 0;
	buf_clear(&said);
}

static void teardown(void)
{
	kafka_cluster_stop();
}

static void begin_at(const char *brokers, const char *timeout, const char *options)
{
	struct buf errors = {0};
	char *text = xasprintf(TEXT, brokers, timeout, options);
	ck_assert_msg(!topology_parse("t.yaml", text, strlen(text), &t, &errors), "%s", buf_cstr(&errors));
	free(text);
	sink = xcalloc(1, sink_kafka_ops.size);
	sink->ops = &sink_kafka_ops;
	sink->conf = &t->sinks[0];
	sink->node = "c1";
	partial_spec_of(&t->streams[0], 0, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
}

static void begin(const char *options)
{
	begin_at(kafka_cluster_address(), "30s", options);
}

static void end(void)
{
	free(sink);
	topology_free(t);
}

static void must_open(void)
{
	char *why = NULL;
	int rc = sink->ops->open(sink, &why);
	ck_assert_msg(!rc, "%s", why);
}

/* As many rows, of one reading each. */
static int deliver(size_t count, char **why)
{
	struct buf groups[ROWS] = {{0}};
	struct sink_row rows[ROWS];
	for (size_t i = 0; i < count; i++) {
		char group[8];
		int n = snprintf(group, sizeof(group), "g%zu", i);
		buf_bytes(&groups[i], group, (size_t)n);
		rows[i] = (struct sink_row){.stream = &t->streams[0], .spec = &spec, .row = {.start_ns = 0, .end_ns = 10 * NS_PER_SEC,
			.group = bytes_of(groups[i].data, groups[i].len), .state = WINDOW_FINAL, .revision = 1}};
		partial_add(&rows[i].row.partial, &spec, 0, 5);
	}
	*why = NULL;
	int rc = sink->ops->deliver(sink, &(struct sink_batch){rows, count}, why);
	for (size_t i = 0; i < count; i++) {
		partial_clear(&rows[i].row.partial, &spec);
		buf_free(&groups[i]);
	}
	return rc;
}

static int tell_alert(char **why)
{
	struct buf group = {0};
	buf_bytes(&group, "g1", 2);
	struct alert_event e = {.firing = true, .def = {.stream = bytes_of("s", 1), .name = bytes_of("hot", 3), .when = bytes_of("count > 1", 9), .for_windows = 1},
	    .basis = {.grid = {.size_ns = 10 * NS_PER_SEC, .advance_ns = 10 * NS_PER_SEC}, .by_count = 1, .by = {bytes_of("k", 1)}},
	    .group = bytes_of(group.data, group.len)};
	*why = NULL;
	int rc = sink->ops->alerts(sink, &(struct sink_alerts){&e, 1}, why);
	buf_free(&group);
	return rc;
}

static void must_deliver(size_t count)
{
	char *why;
	int rc = deliver(count, &why);
	ck_assert_msg(!rc, "%s", why);
}

static void must_fail(size_t count, const char *reason)
{
	char *why;
	ck_assert_int_ne(deliver(count, &why), 0);
	ck_assert_msg(why && strstr(why, reason) != NULL, "%s, not: %s", why, reason);
	free(why);
}

/* How long it took. */
static int64_t must_close(void)
{
	int64_t began_ns = clock_mono_ns();
	sink->ops->close(sink);
	int64_t took_ns = clock_mono_ns() - began_ns;
	ck_assert_int_lt(took_ns, SINK_STOP_NS + LATE_NS);
	return took_ns;
}

static uint64_t value(size_t i)
{
	uint64_t all[SINK_FAMILIES_MAX];
	sink->ops->values(sink, all);
	return all[i];
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

START_TEST(a_row_that_is_too_large_by_itself_is_passed_over)
{
	begin("topic: t");
	must_open();
	must_deliver(ROWS);
	ck_assert_uint_gt(value(0), 0);
	ck_assert_uint_eq(value(1), 0);
	kafka_cluster_inject(1, KAFKA_TOO_LARGE); /* as all together: they go in halves */
	must_deliver(ROWS);
	ck_assert_uint_eq(value(1), 1);
	ck_assert_uint_eq(rejected, 0);
	kafka_cluster_inject(1, KAFKA_TOO_LARGE);
	must_deliver(1);
	ck_assert_uint_eq(rejected, 1);
	must_close();
	end();
}
END_TEST

START_TEST(where_all_is_too_large_nothing_is_passed_over)
{
	begin("topic: t");
	must_open();
	kafka_cluster_inject(1, KAFKA_TOO_LARGE);
	must_fail(1, "every row is too large");
	ck_assert_uint_eq(rejected, 0);
	must_close();
	must_open();
	must_deliver(1);
	must_close();
	end();
}
END_TEST

START_TEST(alerts_have_a_topic_of_their_own)
{
	char *why;
	begin("topic: t, format: protobuf");
	must_open();
	must_deliver(1);
	kafka_cluster_inject(1, KAFKA_TOO_LARGE); /* that rows are taken says nothing of that topic's limit */
	ck_assert_int_ne(tell_alert(&why), 0);
	ck_assert_msg(why && strstr(why, "every alert is too large") != NULL, "%s", why);
	free(why);
	ck_assert_uint_eq(rejected, 0);
	must_close();
	must_open();
	ck_assert_int_eq(tell_alert(&why), 0);
	kafka_cluster_inject(1, KAFKA_TOO_LARGE);
	ck_assert_int_eq(tell_alert(&why), 0);
	ck_assert_uint_eq(rejected, 1);
	kafka_cluster_inject(1, KAFKA_NOT_AUTHORIZED);
	ck_assert_int_ne(tell_alert(&why), 0);
	ck_assert_msg(why && strstr(why, "topic weir-alerts: Broker: Topic authorization failed") != NULL, "%s", why);
	free(why);
	must_close();
	end();
}
END_TEST

START_TEST(an_error_for_good_is_a_failure_that_a_new_producer_gets_past)
{
	begin("topic: t, compression: lz4");
	must_open();
	kafka_cluster_inject(1, KAFKA_NOT_AUTHORIZED);
	must_fail(ROWS, "topic t: Broker: Topic authorization failed");
	must_close();
	must_open();
	must_deliver(ROWS);
	ck_assert_uint_eq(rejected, 0);
	must_close();
	end();
}
END_TEST

static int64_t told_ns;

static void *stop_soon(void *arg)
{
	(void)arg;
	usleep(300 * 1000);
	told_ns = clock_mono_ns();
	stop = true;
	return NULL;
}

/* How long it went on after it was told to stop. */
static int64_t deliver_until_stopped(void)
{
	pthread_t thread;
	char *why;
	stop = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, NULL), 0);
	ck_assert_int_eq(deliver(ROWS, &why), WEIR_ECLOSED);
	int64_t now_ns = clock_mono_ns();
	pthread_join(thread, NULL);
	ck_assert_int_lt(now_ns - told_ns, SINK_STOP_NS + LATE_NS);
	return now_ns - told_ns;
}

START_TEST(an_end_does_not_wait_for_brokers)
{
	begin("topic: t");
	must_open();
	must_deliver(1);
	kafka_cluster_delay(60000);
	bool in_time = false;
	for (int tries = 0; !in_time; tries++) {
		ck_assert_int_lt(tries, STOP_TRIES);
		if (tries)
			must_open();
		in_time = deliver_until_stopped() < SINK_STOP_NS;
		in_time = must_close() < SINK_STOP_NS && in_time;
	}
	end();
}
END_TEST

START_TEST(an_end_does_not_wait_for_name_servers)
{
	begin_at(SLOW_NAME ":9092", "1s", "topic: t");
	int64_t took_ns = SINK_STOP_NS;
	for (int tries = 0; took_ns >= SINK_STOP_NS; tries++) {
		ck_assert_int_lt(tries, STOP_TRIES);
		slow_name_reset();
		must_open();
		while (!slow_name_asked())
			sink->ops->idle(sink);
		took_ns = must_close();
		slow_name_answer();
		usleep(200 * 1000); /* the library ends on its own: nothing of what it had is gone too early */
	}
	end();
}
END_TEST

START_TEST(who_does_not_answer_is_named)
{
	begin_at("127.0.0.1:1", "1s", "topic: t");
	must_open();
	must_fail(1, "127.0.0.1:1");
	ck_assert_ptr_nonnull(strstr(buf_cstr(&said), "librdkafka: 127.0.0.1:1"));
	must_close();
	for (int i = 0; i < 2; i++) { /* and not each time */
		must_open();
		must_fail(1, "refused");
		must_close();
	}
	size_t lines = 0;
	for (const char *p = buf_cstr(&said); (p = strchr(p, '\n')); p++)
		lines++;
	ck_assert_uint_le(lines, 5);
	end();
}
END_TEST

static void put_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static void must_not_open(const char *options, const char *reason)
{
	char *why = NULL;
	begin(options);
	ck_assert_int_ne(sink->ops->open(sink, &why), 0);
	ck_assert_msg(why && strstr(why, reason) != NULL, "%s, not: %s", why, reason);
	ck_assert_msg(!strstr(why, "sesame"), "%s", why);
	free(why);
	must_close();
	end();
}

START_TEST(secrets_are_files_that_nobody_else_reads)
{
	char path[] = "/tmp/weir-kafka-XXXXXX";
	close(mkstemp(path));
	char *sasl = xasprintf("mechanism: plain, user: me, password_file: %s", path);
	char *tls = xasprintf("tls: true, ca_file: /etc/ssl/certs/ca-certificates.crt, cert_file: /dev/null, key_file: %s", path);
	put_file(path, "sesame\n", 0644);
	must_not_open(sasl, path);
	put_file(path, "sesame\n", 0600);
	must_not_open(tls, "librdkafka");
	must_not_open("tls: true, ca_file: /nosuch.crt", "(of /nosuch.crt)");
	put_file(path, " \n", 0600);
	must_not_open(sasl, "is empty");
	put_file(path, "sesame\n", 0600);
	begin_at(kafka_cluster_address(), "1s", sasl);
	must_open();
	must_fail(1, ""); /* the mock speaks no SASL */
	ck_assert_ptr_null(strstr(buf_cstr(&said), "sesame"));
	must_close();
	end();
	unlink(path);
	free(sasl);
	free(tls);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sink_kafka");
	TCase *c = tcase_create("kafka");
	tcase_set_timeout(c, 120);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_row_that_is_too_large_by_itself_is_passed_over);
	tcase_add_test(c, where_all_is_too_large_nothing_is_passed_over);
	tcase_add_test(c, alerts_have_a_topic_of_their_own);
	tcase_add_test(c, an_error_for_good_is_a_failure_that_a_new_producer_gets_past);
	tcase_add_test(c, an_end_does_not_wait_for_brokers);
	tcase_add_test(c, an_end_does_not_wait_for_name_servers);
	tcase_add_test(c, who_does_not_answer_is_named);
	tcase_add_test(c, secrets_are_files_that_nobody_else_reads);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
