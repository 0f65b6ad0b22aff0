#include "tests/unit/cloudd/kafka_cluster.h"

#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

#define PRODUCE 0 /* Kafka's number of the request */

static rd_kafka_t *owner;
static rd_kafka_mock_cluster_t *cluster;

static void quiet(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk;
	(void)level;
	(void)facility;
	(void)text;
}

void kafka_cluster_start(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set_log_cb(conf, quiet);
	owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
	cluster = rd_kafka_mock_cluster_new(owner, 1);
}

void kafka_cluster_stop(void)
{
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(owner);
}

const char *kafka_cluster_address(void)
{
	return rd_kafka_mock_cluster_bootstraps(cluster);
}

void kafka_cluster_inject(size_t requests, int error)
{
	for (size_t i = 0; i < requests; i++)
		rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1, error);
}

void kafka_cluster_delay(int ms)
{
	rd_kafka_mock_broker_set_rtt(cluster, 1, ms);
}

static atomic_bool asked, free_to_answer, answered;

bool slow_name_asked(void)
{
	return asked;
}

void slow_name_answer(void)
{
	free_to_answer = true;
	while (!answered)
		usleep(1000);
}

void slow_name_reset(void)
{
	asked = free_to_answer = answered = false;
}

/* ---- in place of the C library's, for librdkafka ----------------------------------------------------------------------- */

#define EXPORTED __attribute__((visibility("default")))

struct start {
	thrd_start_t begin;
	void *arg;
};

static void *run(void *arg)
{
	struct start s = *(struct start *)arg;
	free(arg);
	return (void *)(intptr_t)s.begin(s.arg);
}

/* C11's threads, which TSan does not know (it ends in their first malloc), as POSIX's, which it does. */
EXPORTED int thrd_create(thrd_t *ret, thrd_start_t begin, void *arg)
{
	struct start *s = malloc(sizeof(*s));
	*s = (struct start){begin, arg};
	return pthread_create(ret, NULL, run, s) ? thrd_error : thrd_success;
}

EXPORTED int thrd_join(thrd_t thread, int *ret)
{
	void *result = NULL;
	int error = pthread_join(thread, &result);
	if (ret)
		*ret = (int)(intptr_t)result;
	return error ? thrd_error : thrd_success;
}

EXPORTED int getaddrinfo(const char *restrict node, const char *restrict service,
    const struct addrinfo *restrict hints, struct addrinfo **restrict ret)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	if (!node || strcmp(node, SLOW_NAME)) {
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
		return real(node, service, hints, ret);
	}
	asked = true;
	while (!free_to_answer)
		usleep(1000);
	answered = true;
	return EAI_FAIL;
}
