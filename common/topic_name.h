/* The MQTT topic of a stream's group, made of a template such as "weir/{stream}/{group}": {stream} is the stream's name, {group} as many
 * levels as the stream has tags, one for each value in their order (none: the level is left out). In templates of what is told of
 * alerts, {alert} is the alert's name. Different groups have different topics,
 * for what a topic may not hold, or would be taken for something else, is written as %XX:
 *
 *   / + # $ %, control characters and bytes that are no UTF-8      %2F %2B %23 %24 %25 ...
 *   the empty value, or a tag that is missing                      % alone
 *
 * Pure. */
#ifndef WEIR_COMMON_TOPIC_NAME_H
#define WEIR_COMMON_TOPIC_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"

#define TOPIC_NAME_TEMPLATE_MAX 256 /* bytes */
#define TOPIC_NAME_STREAM "{stream}"
#define TOPIC_NAME_GROUP "{group}"
#define TOPIC_NAME_ALERT "{alert}"

/* WEIR_EINVAL, and *ret_why is a static text for people. */
int topic_name_check(const char *text, const char **ret_why);
int topic_name_check_alerts(const char *text, const char **ret_why); /* with {alert} */

/* What a topic is of; borrowed. */
struct topic_name {
	struct bytes stream, alert; /* names; alert: of templates that have {alert} */
	size_t tag_count;
	struct bytes group;         /* as in model.h, of so many tags */
	/* A shard's part of a group with tags, where each shard has one (GROUP_OTHER): its last level ends with the shard's number,
	 * "weir/speed/__other__$3", so that the parts have topics of their own. */
	bool is_part;
	uint32_t shard;
};
/* Appends the topic, without a NUL. text: one that was checked. WEIR_ECORRUPT: it is no such group; then out has some of it. */
int topic_name_put(const char *text, const struct topic_name *n, struct buf *out);
/* One value as a level of a topic; appends. */
void topic_name_level(struct buf *out, struct bytes value);

#endif
