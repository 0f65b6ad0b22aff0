/* Publishes to an MQTT broker over one connection, for a thread that may block: messages are sent while fewer than
 * MQTT_PUBLISHER_UNDER_WAY are without their acknowledgement, and waited for at the end.
 *
 *   mqtt_publisher_open -> (send, send, ... wait) ... idle ... (send, ... wait) -> mqtt_publisher_free
 *
 * Taken is what the broker has acknowledged: PUBACK (QoS 1), PUBCOMP (QoS 2); what was given to the socket (QoS 0). With MQTT 5 an
 * acknowledgement may say that the broker does not want a message for what it is (its topic, its format, its size): such are counted as
 * refused; with 3.1.1 it cannot say so. All other refusals (not authorized, quota) are about us, and an error. After an error nothing is
 * known of what was under way, and the publisher is of no more use. */
#ifndef WEIR_CLOUDD_MQTT_PUBLISHER_H
#define WEIR_CLOUDD_MQTT_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/mqtt_link.h"

#define MQTT_PUBLISHER_UNDER_WAY 100 /* messages that wait or are under way; a broker of MQTT 5 may ask for fewer on the way */
#define MQTT_PUBLISHER_UNDER_WAY_OLD 20 /* on the way with 3.1.1, where a broker cannot ask, but (mosquitto) ends connections with more */

struct mqtt_publisher;

struct mqtt_publisher_options {
	const struct mqtt_link_conf *link; /* as the rest, for mqtt_publisher_open() only, but arg */
	unsigned qos;
	bool retains;       /* messages are to be retained: a broker that does not is refused */
	int64_t timeout_ns; /* without any acknowledgement, while one is waited for */
	void *arg;
	bool (*stopping)(void *arg); /* asked now and then: true ends whatever waits */
};

struct mqtt_refusals {
	uint64_t count;
	char why[MQTT_WHY_MAX]; /* of the first */
};

/* All errors: *ret_why is a text for people, the caller's to free; none with WEIR_ECLOSED, which is: stopping() says so. */

/* Connects: within MQTT_CONNECT_MS. WEIR_EINVAL (what is configured), WEIR_EIO. */
int mqtt_publisher_open(const struct mqtt_publisher_options *o, struct mqtt_publisher **ret_publisher, char **ret_why);
/* Says goodbye, where nothing is under way. NULL is fine. */
void mqtt_publisher_free(struct mqtt_publisher *p);
/* Waits until there is room for one more. 0: it is under way, or the broker has said that it takes none of its size, which is a refusal. WEIR_EIO. */
int mqtt_publisher_send(struct mqtt_publisher *p, const char *topic, struct bytes payload, bool retained, char **ret_why);
/* Until nothing is under way. *ret_refusals: since the last wait. WEIR_EIO. */
int mqtt_publisher_wait(struct mqtt_publisher *p, struct mqtt_refusals *ret_refusals, char **ret_why);
/* Now and then: pings. False: the connection has ended. */
bool mqtt_publisher_idle(struct mqtt_publisher *p);

#endif
