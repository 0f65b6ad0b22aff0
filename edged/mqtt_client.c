#include "edged/mqtt_client.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

enum state { CONNECTING, SHAKING_HANDS, CONNECTED, CLOSED };

struct mqtt_client {
	struct loop *loop;
	struct mqtt_client_io io;
	enum state state;
	struct mqtt_connecting *connecting; /* CONNECTING */
	struct mqtt_link *link;             /* else */
	struct loop_async *done;
	struct loop_fd *watch;
	struct loop_timer *misc, *late, *report;
	bool reads, held;
	bool within;   /* a call into the library that calls back, its lock on callbacks held; a time to write follows */
	bool draining; /* what was let go has not all been written yet */
	size_t turn_messages, turn_bytes;
	char *log_start;   /* how the library's message about a PUBLISH that came begins */
	enum mqtt_dup dup; /* of the message that is being handled */
	char why[MQTT_WHY_MAX];
};

/* The public message does not have the DUP flag; the library's debug message, just before the callback, does:
 * "Client ID received PUBLISH (d1, q1, r0, m17, 'TOPIC', ... (4 bytes))". Without it the flag is unknown (mqtt_acks.h). */
static void on_debug(struct mqtt_link *l, const char *text)
{
	struct mqtt_client *c = l->owner;
	size_t n = strlen(c->log_start);
	if (!strncmp(text, c->log_start, n))
		c->dup = text[n] == '1' ? MQTT_DUP_YES : MQTT_DUP_NO;
}

/* ---- connecting, on a thread -------------------------------------------------------------------------------------- */

static void wake(void *arg)
{
	loop_async_send(arg);
}

/* The loop's side of it is over: the link comes back, or stays with the thread. */
static struct mqtt_link *leave_connecting(struct mqtt_client *c)
{
	struct mqtt_link *l = mqtt_connecting_leave(c->connecting);
	c->connecting = NULL;
	loop_async_free(c->done); /* the thread sends only before it is left */
	c->done = NULL;
	return l;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Told from a turn of its own: whoever is told may free the client. The first reason counts. */
static void fail(struct mqtt_client *c, const char *why)
{
	if (c->state == CLOSED)
		return;
	c->state = CLOSED;
	mqtt_link_reason(why, c->why);
	if (c->watch)
		loop_fd_free(c->watch);
	c->watch = NULL;
	loop_timer_stop(c->misc);
	loop_timer_stop(c->late);
	loop_timer_start(c->report, 0, 0);
}

static void on_report(void *arg)
{
	struct mqtt_client *c = arg;
	c->io.closed(c->io.arg, c->why);
}

static void on_late(void *arg)
{
	fail(arg, "no answer");
}

static void fail_refused(struct mqtt_client *c, const char *what, int code)
{
	char why[MQTT_WHY_MAX];
	mqtt_link_refusal(what, code, why);
	fail(c, why);
}

/* After each call into the library: what it says, and whether its socket is still there. */
static void look_after(struct mqtt_client *c, int rc, int error)
{
	char why[MQTT_WHY_MAX];
	if (c->state != CLOSED && !mqtt_link_stands(c->link, rc, error, why))
		fail(c, why);
}

/* ---- what the library calls --------------------------------------------------------------------------------------- */

static struct mqtt_client *client_of(void *arg)
{
	return ((struct mqtt_link *)arg)->owner;
}

static void on_connect(struct mosquitto *mosq, void *arg, int code, int flags, const mosquitto_property *properties)
{
	(void)mosq, (void)properties;
	struct mqtt_client *c = client_of(arg);
	if (code) {
		fail_refused(c, "refused by the broker", code);
		return;
	}
	if (c->state != SHAKING_HANDS)
		return;
	c->state = CONNECTED;
	loop_timer_stop(c->late);
	c->io.connected(c->io.arg, flags & 1);
	errno = 0; /* the library stops at EAGAIN, also one that is not its own */
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int code, const mosquitto_property *properties)
{
	(void)mosq, (void)properties;
	struct mqtt_client *c = client_of(arg);
	int error = errno;
	if (code >= 128)
		fail_refused(c, "ended by the broker", code);
	else
		look_after(c, code ? code : MOSQ_ERR_CONN_LOST, error);
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *m)
{
	(void)mosq;
	struct mqtt_client *c = client_of(arg);
	size_t n = m->payload && m->payloadlen > 0 ? (size_t)m->payloadlen : 0;
	struct mqtt_message message = {.topic = bytes_of((const uint8_t *)m->topic, strlen(m->topic)),
		.payload = bytes_of(m->payload, n), .qos = (unsigned)m->qos, .id = (uint16_t)m->mid, .retained = m->retain, .dup = c->dup};
	c->dup = MQTT_DUP_UNKNOWN;
	c->turn_messages++;
	c->turn_bytes += message.topic.n + n;
	c->io.message(c->io.arg, &message);
	errno = 0;
}

static void on_subscribe(struct mosquitto *mosq, void *arg, int request, int count, const int *granted)
{
	(void)mosq;
	struct mqtt_client *c = client_of(arg);
	c->io.subscribed(c->io.arg, request, count > 0 ? granted[0] : 128);
	errno = 0;
}

static void on_unsubscribe(struct mosquitto *mosq, void *arg, int request)
{
	(void)mosq;
	struct mqtt_client *c = client_of(arg);
	c->io.unsubscribed(c->io.arg, request);
	errno = 0;
}

static void set_callbacks(struct mosquitto *mosq)
{
	mosquitto_connect_v5_callback_set(mosq, on_connect);
	mosquitto_disconnect_v5_callback_set(mosq, on_disconnect);
	mosquitto_message_callback_set(mosq, on_message);
	mosquitto_subscribe_callback_set(mosq, on_subscribe);
	mosquitto_unsubscribe_callback_set(mosq, on_unsubscribe);
}

/* ---- the socket --------------------------------------------------------------------------------------------------- */

static bool wants_to_read(const struct mqtt_client *c)
{
	return c->state == SHAKING_HANDS || (c->state == CONNECTED && c->reads && !c->draining);
}

/* What was let go and did not fit into the socket may go, for nothing is read, and so nothing queued, before that. */
static bool may_write(const struct mqtt_client *c)
{
	return !c->held || c->draining;
}

static void watch(struct mqtt_client *c)
{
	if (!c->watch)
		return;
	bool writes = may_write(c) && mosquitto_want_write(c->link->mosq);
	loop_fd_watch(c->watch, (wants_to_read(c) ? LOOP_READ : 0) | (writes ? LOOP_WRITE : 0));
}

/* Not from within a callback: a write that fails tells so by another one, and the library would wait for itself. */
void mqtt_client_write(struct mqtt_client *c)
{
	if (c->within || c->state == CLOSED || c->state == CONNECTING || !may_write(c))
		return;
	if (mosquitto_want_write(c->link->mosq)) {
		mqtt_link_cork(c->link, true);
		errno = 0;
		int rc = mosquitto_loop_write(c->link->mosq, 1);
		int error = errno;
		mqtt_link_cork(c->link, false);
		look_after(c, rc, error);
	}
	c->draining = c->state == CONNECTED && mosquitto_want_write(c->link->mosq);
	watch(c);
}

static bool may_read_more(const struct mqtt_client *c)
{
	return wants_to_read(c) && c->turn_messages < MQTT_TURN_MESSAGES_MAX && c->turn_bytes < MQTT_TURN_BYTES_MAX;
}

static void read_some(struct mqtt_client *c)
{
	c->turn_messages = c->turn_bytes = 0;
	do {
		if (c->state == SHAKING_HANDS && mqtt_link_at_end(c->link)) {
			fail(c, *c->link->error ? c->link->error : "the broker closed the connection before it answered");
			return;
		}
		errno = 0;
		c->within = true;
		int rc = mosquitto_loop_read(c->link->mosq, 1);
		c->within = false;
		look_after(c, rc, errno);
	} while (may_read_more(c) && mqtt_link_can_read(c->link));
}

static void on_socket(void *arg, unsigned events)
{
	struct mqtt_client *c = arg;
	if ((events & LOOP_READ) && wants_to_read(c))
		read_some(c);
	if (c->state == CONNECTED)
		c->io.turn_end(c->io.arg);
	mqtt_client_write(c);
}

static void on_misc(void *arg)
{
	struct mqtt_client *c = arg;
	/* Where nothing is read no answer to a ping is seen either: it is the broker who ends that. */
	if (!c->reads && !c->draining)
		return;
	errno = 0;
	c->within = true;
	int rc = mosquitto_loop_misc(c->link->mosq);
	c->within = false;
	look_after(c, rc, errno);
	mqtt_client_write(c);
}

/* ---- connecting --------------------------------------------------------------------------------------------------- */

static void on_thread_done(void *arg)
{
	struct mqtt_client *c = arg;
	char why[MQTT_WHY_MAX];
	if (c->state != CONNECTING)
		return;
	c->link = leave_connecting(c);
	c->link->owner = c;
	c->link->debug = on_debug;
	c->state = SHAKING_HANDS;
	if (!mqtt_link_connected(c->link, why)) {
		fail(c, why);
		return;
	}
	if (loop_fd_new(c->loop, mosquitto_socket(c->link->mosq), on_socket, c, &c->watch)) {
		fail(c, "the socket cannot be watched");
		return;
	}
	set_callbacks(c->link->mosq);
	loop_timer_start(c->misc, MQTT_MISC_MS, MQTT_MISC_MS);
	mqtt_client_write(c);
}

int mqtt_client_new(struct loop *l, const struct mqtt_link_conf *conf, const struct mqtt_client_io *io,
    struct mqtt_client **ret_client, char **ret_why)
{
	struct mqtt_link_conf with = *conf;
	struct mqtt_link *link;
	with.receive_max = MQTT_RECEIVE_MAX;
	with.packet_bytes_max = MQTT_PACKET_BYTES_MAX;
	int rc = mqtt_link_new(&with, &link, ret_why);
	if (rc)
		return rc;
	struct mqtt_client *c = xcalloc(1, sizeof(*c));
	*c = (struct mqtt_client){.loop = l, .io = *io, .reads = true, .dup = MQTT_DUP_UNKNOWN};
	c->log_start = xasprintf("Client %s received PUBLISH (d", conf->client_id);
	c->done = loop_async_try(l, on_thread_done, c);
	c->misc = loop_timer_new(l, on_misc, c);
	c->late = loop_timer_new(l, on_late, c);
	c->report = loop_timer_new(l, on_report, c);
	loop_timer_start(c->late, MQTT_CONNECT_MS, 0);
	*ret_client = c;
	c->connecting = c->done ? mqtt_connecting_new(link, wake, c->done) : NULL;
	if (!c->connecting) {
		c->link = link;
		fail(c, c->done ? "no thread to connect with" : "no descriptor is left to connect with");
	}
	return 0;
}

void mqtt_client_free(struct mqtt_client *c, bool goodbye)
{
	if (goodbye && c->state == CONNECTED && !c->held) {
		mosquitto_disconnect(c->link->mosq);
		mosquitto_loop_write(c->link->mosq, 1); /* what the socket does not take at once stays unsaid */
	}
	c->state = CLOSED;
	if (c->watch)
		loop_fd_free(c->watch);
	loop_timer_free(c->misc);
	loop_timer_free(c->late);
	loop_timer_free(c->report);
	if (c->connecting)
		c->link = leave_connecting(c);
	if (c->done)
		loop_async_free(c->done);
	if (c->link)
		mqtt_link_free(c->link);
	free(c->log_start);
	free(c);
}

bool mqtt_client_is_connected(const struct mqtt_client *c)
{
	return c->state == CONNECTED;
}

void mqtt_client_read(struct mqtt_client *c, bool on)
{
	c->reads = on;
	watch(c);
}

void mqtt_client_hold(struct mqtt_client *c, bool held)
{
	c->held = held;
	if (held)
		watch(c);
	else
		mqtt_client_write(c);
}

int mqtt_client_subscribe(struct mqtt_client *c, const char *filter, unsigned qos, bool with_retained)
{
	int request = -1, options = with_retained ? MQTT_SUB_OPT_SEND_RETAIN_NEW : MQTT_SUB_OPT_SEND_RETAIN_NEVER;
	if (c->state != CONNECTED)
		return -1;
	int rc = mosquitto_subscribe_v5(c->link->mosq, &request, filter, (int)qos, options, NULL);
	return rc ? -1 : request;
}

int mqtt_client_unsubscribe(struct mqtt_client *c, const char *filter)
{
	int request = -1;
	if (c->state != CONNECTED)
		return -1;
	return mosquitto_unsubscribe(c->link->mosq, &request, filter) ? -1 : request;
}
