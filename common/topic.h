/* MQTT topic filters whose single-level wildcards may have names: `site/+site/machine/+/temp/#`. A level `+name` matches any one
 * level, as `+` does, and gives its text as the tag `name`. What the broker is asked for has no names: `site/+/machine/+/temp/#`.
 *
 * Pure. Filters own their texts until topic_filter_clear(). */
#ifndef WEIR_COMMON_TOPIC_H
#define WEIR_COMMON_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/kv.h"

#define TOPIC_FILTER_BYTES_MAX 1024
#define TOPIC_LEVELS_MAX 32 /* of a filter */
/* The barrier of the mqtt source (edged/source_mqtt.c) unsubscribes from a topic below this, which nothing subscribes to. */
#define TOPIC_RESERVED "weir-barrier/"

enum topic_level_kind { TOPIC_LITERAL, TOPIC_ANY, TOPIC_REST };

struct topic_level {
	enum topic_level_kind kind;
	char *text; /* TOPIC_LITERAL: the level; TOPIC_ANY: the tag, or NULL; TOPIC_REST: NULL */
};

struct topic_filter {
	char *subscribe; /* what the broker is asked for */
	struct topic_level levels[TOPIC_LEVELS_MAX];
	size_t count;
};

struct topic_tag {
	const char *key;    /* the filter's */
	struct bytes value; /* within the topic */
};

/* WEIR_EINVAL, and *ret_why is a static text for people; then *ret holds nothing. */
int topic_filter_parse(const char *text, struct topic_filter *ret, const char **ret_why);
void topic_filter_clear(struct topic_filter *f); /* one that holds nothing is fine */

/* Whether the filter matches the topic; then *ret_count tags of at most TOPIC_LEVELS_MAX are set, levels without text left out.
 * They live as long as the filter and the topic. */
bool topic_filter_match(const struct topic_filter *f, struct bytes topic, struct topic_tag ret_tags[TOPIC_LEVELS_MAX],
    size_t *ret_count);
/* Whether some topic matches both: a broker may send such a message twice. */
bool topic_filters_overlap(const struct topic_filter *a, const struct topic_filter *b);

#endif
