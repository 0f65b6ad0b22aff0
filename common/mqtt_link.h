/* What connections to an MQTT broker share, whoever reads or writes by them: libmosquitto's object, made as a configuration says; a thread
 * that connects it, as resolving names and connecting block; and what went wrong, in words. edged/mqtt_client reads by it on a loop,
 * cloudd/mqtt_publisher writes by it on a thread that may block; only these three include libmosquitto.
 *
 * What is queued (PUBLISH, SUBSCRIBE, acknowledgements) leaves only by mosquitto_loop_write(): mosquitto_threaded_set() is on. */
#ifndef WEIR_COMMON_MQTT_LINK_H
#define WEIR_COMMON_MQTT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#define MQTT_CONNECT_MS 20000 /* from the beginning to the broker's answer */
#define MQTT_MISC_MS 1000     /* between two looks at what is due: pings */
#define MQTT_WHY_MAX 256

struct mosquitto;
struct mqtt_link_private;

/* Texts live for mqtt_link_new() only. */
struct mqtt_link_conf {
	const char *host;
	uint16_t port;
	bool tls;
	unsigned version; /* 3 (3.1.1) or 5 */
	const char *client_id;
	bool clean;       /* no session is kept, and none taken up */
	const char *user, *password; /* NULL: none */
	const char *ca_file, *cert_file, *key_file; /* NULL: the system's; none */
	uint16_t keepalive_s;
	uint32_t session_expiry_s; /* version 5, unless clean */
	uint16_t receive_max;      /* version 5: unacknowledged messages that the broker may send; 0: the library's default */
	uint32_t packet_bytes_max; /* version 5: the broker keeps larger ones from this client; 0: no limit */
};

/* The connecting thread's while that runs, then whose it is. */
struct mqtt_link {
	struct mosquitto *mosq; /* its callbacks are called with the link */
	void *owner;            /* the caller's */
	void (*debug)(struct mqtt_link *l, const char *text); /* the library's debug messages; may be NULL */
	char error[MQTT_WHY_MAX]; /* the first thing that TLS had to say, or "" */
	struct mqtt_link_private *p;
};

/* WEIR_EINVAL: *ret_why says what of the configuration cannot be used (files); the caller's to free. Reads files. */
int mqtt_link_new(const struct mqtt_link_conf *conf, struct mqtt_link **ret_link, char **ret_why);
void mqtt_link_free(struct mqtt_link *l);

struct mqtt_connecting;
/* Begins to connect; the link is the thread's. done: on that thread, once, unless it is left before; it may wake somebody, and nothing
 * else. NULL: no thread can be had, and the link stays the caller's. */
struct mqtt_connecting *mqtt_connecting_new(struct mqtt_link *l, void (*done)(void *arg), void *arg);
/* Ends it: done() is not called any more. The link, if that was done; NULL: the thread frees it. */
struct mqtt_link *mqtt_connecting_leave(struct mqtt_connecting *c);
/* What became of it, of a link that was given back: false, and why. What follows is CONNACK, or before it the handshake of TLS. */
bool mqtt_link_connected(const struct mqtt_link *l, char ret_why[MQTT_WHY_MAX]);

/* Until the broker has answered the library takes the end of a stream for "again" in a TLS handshake: true, it is the end. */
bool mqtt_link_at_end(const struct mqtt_link *l);
bool mqtt_link_can_read(const struct mqtt_link *l); /* something is there, or the end */
/* Before and after what makes the library write many packets, which it does one by one: they leave together. */
void mqtt_link_cork(const struct mqtt_link *l, bool on);
/* After a call into the library, which said rc, with this errno: true, the connection stands; else why it does not. */
bool mqtt_link_stands(const struct mqtt_link *l, int rc, int error, char ret_why[MQTT_WHY_MAX]);
/* Why, without the full stop that the library's texts end with. */
void mqtt_link_reason(const char *text, char ret_why[MQTT_WHY_MAX]);
/* "WHAT: REASON: advice", by the code of a CONNACK or, from 128 on, of any packet. */
void mqtt_link_refusal(const char *what, int code, char ret_why[MQTT_WHY_MAX]);

#endif
