/* In place of kafka_client.c where librdkafka is left out: there never is a client. */
#include "cloudd/kafka_client.h"

#include "common/err.h"

const char *kafka_client_missing(void)
{
	return "this cloudd is built without librdkafka (configure --without-kafka)";
}

int kafka_client_open(const struct kafka_options *o, struct kafka_client **ret_client, char **ret_why)
{
	(void)o;
	(void)ret_client;
	*ret_why = xstrdup(kafka_client_missing());
	return WEIR_EINVAL;
}

void kafka_client_close(struct kafka_client *k)
{
	weir_assert(!k);
}

void kafka_client_begin(struct kafka_client *k)
{
	weir_assert(k);
}

void kafka_client_put(struct kafka_client *k, const struct kafka_record *r)
{
	weir_assert(k && r);
}

const struct kafka_outcome *kafka_client_wait(struct kafka_client *k, int64_t wait_ns)
{
	static const struct kafka_outcome none;
	weir_assert(k && wait_ns >= 0);
	return &none;
}

const char *kafka_client_trouble(struct kafka_client *k)
{
	weir_assert(k);
	return "";
}

bool kafka_client_line(struct kafka_client *k, char ret_line[KAFKA_WHY_BYTES], unsigned *ret_lost)
{
	(void)ret_line;
	(void)ret_lost;
	weir_assert(k);
	return false;
}
