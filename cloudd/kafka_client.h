/* A Kafka producer, for sinks: records go into it and are waited for, all of them, before further ones. The only file pair of cloudd
 * that includes librdkafka; kafka_client_none.c is in its place where that is left out (configure --without-kafka).
 *
 * Idempotent, acknowledged by all replicas in sync; records of one key go to one partition, the one that Java's producers choose, in their
 * order. The library has threads of its own (one, and one for each broker), on which none of our code runs; what it says and reports comes by
 * kafka_client_wait(), and nothing is ever written to stderr. One thread for all calls on a client. */
#ifndef WEIR_CLOUDD_KAFKA_CLIENT_H
#define WEIR_CLOUDD_KAFKA_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define KAFKA_HEADERS_MAX 8
#define KAFKA_WHY_BYTES 256
#define KAFKA_LINES_MAX 16                      /* of the library's that wait to be taken; more are counted */
#define KAFKA_CLOSE_NS (INT64_C(800) * 1000000) /* that kafka_client_close() waits at most */

struct kafka_client;

/* All copied; secrets by the library, as it needs them for each connection. */
struct kafka_options {
	const char *brokers; /* HOST:PORT,... */
	const char *client_id;
	const char *compression;           /* NULL: none */
	int64_t timeout_ns;                /* a record that is not acknowledged within this has failed */
	bool tls;
	const char *ca_file, *cert_file;   /* NULL: none, as all below */
	const char *key_pem;
	const char *mechanism, *user, *password; /* of SASL: "plain" ... */
};

struct kafka_header {
	const char *name;
	struct bytes value;
};

struct kafka_record {
	const char *topic;
	struct bytes key, value;
	const struct kafka_header *headers;
	size_t header_count; /* <= KAFKA_HEADERS_MAX */
};

/* What has become of the records since the last kafka_client_begin(). */
struct kafka_outcome {
	size_t pending;
	size_t delivered;
	size_t too_large; /* a broker's word, or the library's, on what a record was sent in */
	size_t failed;    /* for another reason: */
	bool fatal;       /* ... which no other record will get past */
	char why[KAFKA_WHY_BYTES]; /* of the first of those; "": none */
	uint64_t bytes;   /* keys and values of what is delivered */
};

/* NULL: there is one; else why there is none in this build. */
const char *kafka_client_missing(void);
/* Connects in the background. WEIR_EINVAL, with *ret_why (fresh, for people): options that the library does not take, certificates that do
 * not read. */
int kafka_client_open(const struct kafka_options *o, struct kafka_client **ret_client, char **ret_why);
/* What is under way is dropped. Within KAFKA_CLOSE_NS; where the library's threads take longer (a name server that does not
 * answer), they end on their own. NULL is fine. */
void kafka_client_close(struct kafka_client *k);

/* Counts from here. What was put before must not be pending. */
void kafka_client_begin(struct kafka_client *k);
/* Copies. A record that cannot be taken is counted in the outcome. */
void kafka_client_put(struct kafka_client *k, const struct kafka_record *r);
/* Waits up to wait_ns for what is pending, and hurries it; returns at once where nothing is. The outcome lives until
 * the next call. Must be called now and then also while there is nothing to do. */
const struct kafka_outcome *kafka_client_wait(struct kafka_client *k, int64_t wait_ns);
/* What went wrong last between the library and a broker: "" nothing. Lives until the next call. */
const char *kafka_client_trouble(struct kafka_client *k);
/* The next line that the library said; false: none is left. *ret_lost: lines since the last call that there was no room for. */
bool kafka_client_line(struct kafka_client *k, char ret_line[KAFKA_WHY_BYTES], unsigned *ret_lost);

#endif
