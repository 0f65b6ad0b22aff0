/* What a topology says of an MQTT broker, as a connection needs it (common/mqtt_link.h). Reads secrets from their files, each time anew:
 * so what is put in their place is taken up by the next connection. Blocking, for as long as a file takes. */
#ifndef WEIR_COMMON_MQTT_BROKER_H
#define WEIR_COMMON_MQTT_BROKER_H

#include <stdbool.h>

#include "common/addr.h"
#include "common/buf.h"
#include "common/model.h"
#include "common/mqtt_link.h"

/* What a link's configuration points to. A zeroed struct is empty. */
struct mqtt_broker {
	struct addr_host host;
	struct buf password;
};

/* Sets what b says of: host, port, tls, version, user, password, files, keepalive; *ret_conf lives as long as b and room. WEIR_ENOTFOUND,
 * WEIR_EINVAL, WEIR_ETOOBIG, WEIR_EIO (secret.h), with *ret_why for people, the caller's to free. */
int mqtt_broker_read(const struct mqtt_broker_conf *b, struct mqtt_broker *room, struct mqtt_link_conf *ret_conf, char **ret_why);
void mqtt_broker_clear(struct mqtt_broker *room);
/* Whether a password crosses a network as plain text. */
bool mqtt_broker_exposes_password(const struct mqtt_broker_conf *b);

#endif
