/* One connection to an MQTT broker, which reads when it may and writes when it is let.
 *
 *   mqtt_client_new -> (a thread: name, connect, begin of TLS) -> CONNECT .. CONNACK -> connected()
 *        -> message() ... mqtt_client_write() ... -> closed(), and mqtt_client_free()
 *
 * libmosquitto (2.0.11: lib/handle_publish.c) queues the acknowledgement of a QoS 1 message *before* it calls back with the message, and
 * would write it at once. With mosquitto_threaded_set() it only queues (lib/packet_mosq.c, packet__queue), and what is queued leaves in
 * order, by mosquitto_loop_write(), which only this module calls: while the client is held nothing leaves it. So acknowledgements wait
 * for the commit, and everything else that is queued (SUBSCRIBE, PINGREQ) waits behind them.
 *
 * A message of QoS 2 the library keeps in memory between PUBREC and PUBREL, behind the broker's back: a crash there loses it. So
 * nobody should subscribe with QoS 2 here.
 *
 * All on the loop's thread; resolving names and connecting block, and have a thread of their own (common/mqtt_link.h). */
#ifndef WEIR_EDGED_MQTT_CLIENT_H
#define WEIR_EDGED_MQTT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv.h"
#include "common/loop.h"
#include "common/mqtt_link.h"
#include "edged/mqtt_acks.h"

#define MQTT_RECEIVE_MAX 2048     /* version 5: unacknowledged messages that the broker may send; 3.1.1: the broker's choice */
/* Version 5: what is larger the broker keeps from this client (3.1.2.11.4). The library takes memory for a whole packet, twice, by what its
 * head says; and a message that an edge has no memory for would come again and again. */
#define MQTT_PACKET_BYTES_MAX (16 * 1024 * 1024)
#define MQTT_TURN_MESSAGES_MAX 512 /* read in one turn of the loop, about */
#define MQTT_TURN_BYTES_MAX (256 * 1024)

struct mqtt_client;

struct mqtt_message {
	struct bytes topic, payload;
	unsigned qos;
	uint16_t id; /* qos 1 and 2 */
	bool retained;
	enum mqtt_dup dup;
};

/* None of them may free the client, but closed. */
struct mqtt_client_io {
	void *arg;
	void (*connected)(void *arg, bool session_present);
	void (*message)(void *arg, const struct mqtt_message *m);
	/* What was subscribed has been answered; granted: the QoS, or 128 and more: refused. */
	void (*subscribed)(void *arg, int request, int granted);
	void (*unsubscribed)(void *arg, int request);
	/* All messages that were there in this turn have been given: a time to write. */
	void (*turn_end)(void *arg);
	/* It is over, or never began: why, for people. Nothing is called any more. */
	void (*closed)(void *arg, const char *why);
};

/* As mqtt_link_new(), but for receive_max, which is set here. WEIR_EINVAL: *ret_why says what of the configuration cannot be used (files); the caller's to free. */
int mqtt_client_new(struct loop *l, const struct mqtt_link_conf *conf, const struct mqtt_client_io *io,
    struct mqtt_client **ret_client, char **ret_why);
/* goodbye: with DISCONNECT, and what is queued before it; not where it is held. */
void mqtt_client_free(struct mqtt_client *c, bool goodbye);
bool mqtt_client_is_connected(const struct mqtt_client *c);
/* Reads only while `on`; at first it does. */
void mqtt_client_read(struct mqtt_client *c, bool on);
/* While held nothing is written that is queued from then on; at first it is not held. Let go, it writes what is queued, as far as the
 * socket takes it, and the rest before it reads anything more, held again or not. From within connected(), message(), subscribed() and
 * unsubscribed() nothing is written: what holds behind them counts. */
void mqtt_client_hold(struct mqtt_client *c, bool held);
/* Queued; leave with the next write. The request's number, or -1: the connection is broken, or the library has no memory. */
int mqtt_client_subscribe(struct mqtt_client *c, const char *filter, unsigned qos, bool with_retained);
int mqtt_client_unsubscribe(struct mqtt_client *c, const char *filter);
/* Writes what is queued, unless held. */
void mqtt_client_write(struct mqtt_client *c);

#endif
