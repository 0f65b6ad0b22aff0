/* For tests: librdkafka's own mock cluster, and a consumer beside it.
 *
 *     kafka_mock BROKERS
 *
 * Says {"bootstrap": "HOST:PORT,..."}, does what lines on stdin say, answers each with {"done": LINE}, and ends with stdin:
 *
 *     topic NAME PARTITIONS      makes it, its partitions at all brokers in turn (those that somebody asks for are made, too: 4, anywhere)
 *     consume NAME PARTITIONS    says each record of it from the start on, as JSON: topic, partition, offset, and key, value, headers in hex
 *     down BROKER | up BROKER    1 is the first
 *     inject COUNT ERROR         the next COUNT requests to produce are answered with this error, a number of Kafka's
 *     fail NAME ERROR            the topic's metadata say that error; 0: none any more
 *     received                   bytes that the consumer had from brokers, as they are on the wire: {"received": N, "figures": M},
 *                                which is the Mth such figure
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PRODUCE 0 /* Kafka's number of the request */
#define NAME_BYTES 256
#define LINE_BYTES 512
#define INJECT_MAX 64

static rd_kafka_t *owner, *consumer;
static rd_kafka_mock_cluster_t *cluster;
static long long received, figures;
static int brokers = 1;

static void fail(const char *what)
{
	fprintf(stderr, "kafka_mock: %s\n", what);
	exit(1);
}

static rd_kafka_conf_t *conf_of(const char *const *pairs)
{
	char why[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	for (; *pairs; pairs += 2) {
		if (rd_kafka_conf_set(conf, pairs[0], pairs[1], why, sizeof(why)) != RD_KAFKA_CONF_OK)
			fail(why);
	}
	return conf;
}

static int on_stats(rd_kafka_t *rk, char *json, size_t len, void *opaque)
{
	(void)rk;
	(void)len;
	(void)opaque;
	static const char key[] = "\"rx_bytes\":"; /* from all brokers */
	const char *p = strstr(json, key);
	received = p ? strtoll(p + strlen(key), NULL, 10) : received;
	figures++;
	return 0;
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk;
	(void)level;
	(void)facility;
	(void)text; /* brokers go down here because a test says so */
}

static rd_kafka_t *library(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char why[256];
	rd_kafka_conf_set_log_cb(conf, on_log);
	rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof(why));
	if (!rk)
		fail(why);
	return rk;
}

static void start(void)
{
	owner = library(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	cluster = rd_kafka_mock_cluster_new(owner, brokers);
	if (!cluster)
		fail("no cluster");
	const char *bootstrap = rd_kafka_mock_cluster_bootstraps(cluster);
	rd_kafka_conf_t *conf = conf_of((const char *const[]){"bootstrap.servers", bootstrap, "group.id", "test", "enable.auto.commit", "false",
	    "auto.offset.reset", "earliest", "reconnect.backoff.max.ms", "200", "statistics.interval.ms", "50", "fetch.wait.max.ms", "100",
	    "topic.metadata.refresh.interval.ms", "500", NULL});
	rd_kafka_conf_set_stats_cb(conf, on_stats);
	consumer = library(RD_KAFKA_CONSUMER, conf);
	rd_kafka_poll_set_consumer(consumer);
	printf("{\"bootstrap\": \"%s\"}\n", bootstrap);
}

/* ---- records ------------------------------------------------------------------------------------------------------ */

static void put_hex(const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	printf("\"");
	for (size_t i = 0; i < n; i++)
		printf("%02x", p[i]);
	printf("\"");
}

static void put_headers(const rd_kafka_message_t *m)
{
	rd_kafka_headers_t *all;
	const char *name;
	const void *value;
	size_t n;
	if (rd_kafka_message_headers(m, &all))
		return;
	for (size_t i = 0; !rd_kafka_header_get_all(all, i, &name, &value, &n); i++) {
		printf("%s\"%s\": ", i ? ", " : "", name);
		put_hex(value, n);
	}
}

static void put_record(const rd_kafka_message_t *m)
{
	printf("{\"topic\": \"%s\", \"partition\": %d, \"offset\": %lld, \"key\": ", rd_kafka_topic_name(m->rkt), m->partition, (long long)m->offset);
	put_hex(m->key, m->key_len);
	printf(", \"value\": ");
	put_hex(m->payload, m->len);
	printf(", \"headers\": {");
	put_headers(m);
	printf("}}\n");
}

static void consume(int wait_ms)
{
	rd_kafka_message_t *m;
	while ((m = rd_kafka_consumer_poll(consumer, wait_ms))) {
		if (!m->err)
			put_record(m);
		rd_kafka_message_destroy(m);
		wait_ms = 0;
	}
}

/* ---- commands ----------------------------------------------------------------------------------------------------- */

static void assign(const char *topic, int partitions)
{
	rd_kafka_topic_partition_list_t *more = rd_kafka_topic_partition_list_new(partitions);
	for (int i = 0; i < partitions; i++)
		rd_kafka_topic_partition_list_add(more, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_error_t *error = rd_kafka_incremental_assign(consumer, more);
	if (error)
		fail(rd_kafka_error_string(error));
	rd_kafka_topic_partition_list_destroy(more);
}

static void make_topic(const char *name, int partitions)
{
	if (rd_kafka_mock_topic_create(cluster, name, partitions, 1))
		fail("topic");
	for (int i = 0; i < partitions; i++)
		rd_kafka_mock_partition_set_leader(cluster, name, i, i % brokers + 1);
}

static void inject(int count, int error)
{
	rd_kafka_resp_err_t all[INJECT_MAX];
	if (count > INJECT_MAX)
		fail("too many errors");
	for (int i = 0; i < count; i++)
		all[i] = (rd_kafka_resp_err_t)error;
	rd_kafka_mock_push_request_errors_array(cluster, PRODUCE, (size_t)count, all);
}

static void obey(const char *line)
{
	char name[NAME_BYTES];
	int a, b;
	if (sscanf(line, "topic %255s %d", name, &a) == 2) {
		make_topic(name, a);
	} else if (sscanf(line, "consume %255s %d", name, &a) == 2) {
		assign(name, a);
	} else if (sscanf(line, "down %d", &a) == 1) {
		rd_kafka_mock_broker_set_down(cluster, a);
	} else if (sscanf(line, "up %d", &a) == 1) {
		rd_kafka_mock_broker_set_up(cluster, a);
	} else if (sscanf(line, "inject %d %d", &a, &b) == 2) {
		inject(a, b);
	} else if (sscanf(line, "fail %255s %d", name, &a) == 2) {
		rd_kafka_mock_topic_set_error(cluster, name, (rd_kafka_resp_err_t)a);
	} else if (!strcmp(line, "received")) {
		printf("{\"received\": %lld, \"figures\": %lld}\n", received, figures);
	} else {
		fail(line);
	}
	printf("{\"done\": \"%s\"}\n", line);
}

/* False: stdin is at its end. Whole lines only. */
static bool obey_stdin(void)
{
	static char buffer[LINE_BYTES];
	static size_t have;
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	if (poll(&p, 1, 0) <= 0)
		return true;
	ssize_t n = read(STDIN_FILENO, buffer + have, sizeof(buffer) - 1 - have);
	if (n <= 0)
		return false;
	have += (size_t)n;
	buffer[have] = 0;
	for (char *end; (end = strchr(buffer, '\n'));) {
		*end = 0;
		obey(buffer);
		have -= (size_t)(end + 1 - buffer);
		memmove(buffer, end + 1, have + 1);
	}
	return true;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1)
		brokers = (int)strtol(argv[1], NULL, 10);
	start();
	while (obey_stdin())
		consume(20);
	rd_kafka_mock_cluster_destroy(cluster);
	_exit(0); /* whatever state brokers and connections are in */
}
