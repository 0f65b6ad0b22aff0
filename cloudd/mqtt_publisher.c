#include "cloudd/mqtt_publisher.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"

#define WAIT_MS 250 /* between two questions whether it is to stop */

struct mqtt_publisher {
	struct mqtt_link *link;
	int qos;
	bool retains;
	int64_t timeout_ns;
	void *arg;
	bool (*stopping)(void *arg);
	bool connected;     /* CONNACK has come */
	bool failed;        /* why says why */
	size_t under_way;
	int64_t late_ns;    /* when what is waited for should have come */
	int64_t misc_ns;    /* when pings were looked after */
	struct mqtt_refusals refusals;
	char why[MQTT_WHY_MAX];
};

/* The first reason counts. */
static void fail(struct mqtt_publisher *p, const char *why)
{
	if (p->failed)
		return;
	p->failed = true;
	mqtt_link_reason(why, p->why);
}

static void look_after(struct mqtt_publisher *p, int rc, int error)
{
	char why[MQTT_WHY_MAX];
	if (!p->failed && !mqtt_link_stands(p->link, rc, error, why))
		fail(p, why);
}

static void refuse(struct mqtt_publisher *p, const char *why)
{
	if (!p->refusals.count++)
		snprintf(p->refusals.why, sizeof(p->refusals.why), "%s", why);
}

/* ---- what the library calls --------------------------------------------------------------------------------------- */

static struct mqtt_publisher *publisher_of(void *link)
{
	return ((struct mqtt_link *)link)->owner;
}

static bool keeps_retained(const mosquitto_property *properties)
{
	uint8_t value = 1;
	mosquitto_property_read_byte(properties, MQTT_PROP_RETAIN_AVAILABLE, &value, false);
	return value;
}

static void on_connect(struct mosquitto *mosq, void *arg, int code, int flags, const mosquitto_property *properties)
{
	(void)mosq, (void)flags;
	struct mqtt_publisher *p = publisher_of(arg);
	char why[MQTT_WHY_MAX];
	if (code) {
		mqtt_link_refusal("refused by the broker", code, why);
		fail(p, why);
	} else if (p->retains && !keeps_retained(properties)) {
		fail(p, "the broker keeps no retained messages: leave `retained` out");
	}
	p->connected = !code;
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int code, const mosquitto_property *properties)
{
	(void)mosq, (void)properties;
	int error = errno;
	char why[MQTT_WHY_MAX];
	struct mqtt_publisher *p = publisher_of(arg);
	if (code < 128) {
		look_after(p, code ? code : MOSQ_ERR_CONN_LOST, error);
		return;
	}
	mqtt_link_refusal("ended by the broker", code, why);
	fail(p, why);
}

/* Whether the broker says something of the message, and not of us. */
static bool is_about_message(int code)
{
	return code == MQTT_RC_TOPIC_NAME_INVALID || code == MQTT_RC_PAYLOAD_FORMAT_INVALID || code == MQTT_RC_PACKET_TOO_LARGE;
}

static void on_publish(struct mosquitto *mosq, void *arg, int id, int code, const mosquitto_property *properties)
{
	(void)mosq, (void)id, (void)properties;
	struct mqtt_publisher *p = publisher_of(arg);
	char why[MQTT_WHY_MAX];
	if (p->under_way)
		p->under_way--;
	p->late_ns = clock_mono_ns() + p->timeout_ns;
	if (code >= 128) {
		mqtt_link_refusal("refused by the broker", code, why);
		if (is_about_message(code))
			refuse(p, why);
		else
			fail(p, why);
	}
	errno = 0; /* the library stops at EAGAIN, also one that is not its own */
}

static void set_callbacks(struct mosquitto *mosq)
{
	mosquitto_connect_v5_callback_set(mosq, on_connect);
	mosquitto_disconnect_v5_callback_set(mosq, on_disconnect);
	mosquitto_publish_v5_callback_set(mosq, on_publish);
}

/* ---- the socket --------------------------------------------------------------------------------------------------- */

static void write_some(struct mqtt_publisher *p)
{
	if (p->failed || !mosquitto_want_write(p->link->mosq))
		return;
	mqtt_link_cork(p->link, true);
	errno = 0;
	int rc = mosquitto_loop_write(p->link->mosq, 1);
	int error = errno;
	mqtt_link_cork(p->link, false);
	look_after(p, rc, error);
}

static void read_some(struct mqtt_publisher *p)
{
	if (!p->connected && mqtt_link_at_end(p->link)) {
		fail(p, *p->link->error ? p->link->error : "the broker closed the connection before it answered");
		return;
	}
	errno = 0;
	int rc = mosquitto_loop_read(p->link->mosq, 1);
	look_after(p, rc, errno);
}

static void do_misc(struct mqtt_publisher *p)
{
	int64_t now_ns = clock_mono_ns();
	if (p->failed || now_ns - p->misc_ns < MQTT_MISC_MS * NS_PER_MS)
		return;
	p->misc_ns = now_ns;
	errno = 0;
	int rc = mosquitto_loop_misc(p->link->mosq);
	look_after(p, rc, errno);
}

/* Reads what comes, waiting for that for a while; and writes on where the socket did not take all. */
static void turn(struct mqtt_publisher *p, int wait_ms)
{
	struct pollfd fd = {.fd = mosquitto_socket(p->link->mosq), .events = POLLIN};
	if (mosquitto_want_write(p->link->mosq))
		fd.events |= POLLOUT;
	if (poll(&fd, 1, wait_ms) > 0 && (fd.revents & ~POLLOUT))
		read_some(p);
	do_misc(p);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------- */

static int problem(const struct mqtt_publisher *p, char **ret_why)
{
	*ret_why = xstrdup(p->why);
	return WEIR_EIO;
}

/* Until fewer than so many are under way, or, before the broker has answered, until it has. */
static bool is_below(const struct mqtt_publisher *p, size_t most)
{
	return p->connected && p->under_way < most;
}

static int wait_below(struct mqtt_publisher *p, size_t most, char **ret_why)
{
	while (!p->failed && !is_below(p, most)) {
		if (p->stopping(p->arg))
			return WEIR_ECLOSED;
		if (clock_mono_ns() >= p->late_ns)
			fail(p, p->connected ? "no acknowledgement comes" : "no answer");
		write_some(p); /* QoS 0: that is all */
		if (!p->failed && !is_below(p, most))
			turn(p, WAIT_MS);
	}
	return p->failed ? problem(p, ret_why) : 0;
}

/* ---- connecting --------------------------------------------------------------------------------------------------- */

static void wake(void *arg)
{
	uint64_t one = 1;
	ssize_t n = write(*(int *)arg, &one, sizeof(one));
	(void)n; /* it can always be added */
}

/* Until the thread is done, or it is time to leave it. */
static bool wait_for_thread(const struct mqtt_publisher_options *o, int event)
{
	int64_t until_ns = clock_mono_ns() + MQTT_CONNECT_MS * NS_PER_MS;
	struct pollfd fd = {.fd = event, .events = POLLIN};
	while (poll(&fd, 1, WAIT_MS) <= 0) {
		if (o->stopping(o->arg) || clock_mono_ns() >= until_ns)
			return false;
	}
	return true;
}

/* The link comes back, whatever became of it; NULL: it is the thread's, which takes too long. */
static int connect_link(const struct mqtt_publisher_options *o, struct mqtt_link **link, char **ret_why)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct mqtt_connecting *c = event >= 0 ? mqtt_connecting_new(*link, wake, &event) : NULL;
	if (!c) {
		*ret_why = xstrdup("no thread to connect with");
		if (event >= 0)
			close(event);
		return WEIR_EIO;
	}
	bool done = wait_for_thread(o, event);
	*link = mqtt_connecting_leave(c);
	close(event);
	if (!done && o->stopping(o->arg))
		return WEIR_ECLOSED;
	if (*link)
		return 0;
	*ret_why = xstrdup("no connection can be made in time");
	return WEIR_EIO;
}

static int begin(const struct mqtt_publisher_options *o, struct mqtt_link *link, struct mqtt_publisher **ret_publisher, char **ret_why)
{
	struct mqtt_publisher *p = xcalloc(1, sizeof(*p));
	*p = (struct mqtt_publisher){.link = link, .qos = (int)o->qos, .retains = o->retains, .timeout_ns = o->timeout_ns, .arg = o->arg,
		.stopping = o->stopping, .late_ns = clock_mono_ns() + MQTT_CONNECT_MS * NS_PER_MS};
	char why[MQTT_WHY_MAX];
	link->owner = p;
	set_callbacks(link->mosq);
	if (!mqtt_link_connected(link, why))
		fail(p, why);
	int rc = wait_below(p, 1, ret_why);
	if (rc)
		mqtt_publisher_free(p);
	else
		*ret_publisher = p;
	return rc;
}

int mqtt_publisher_open(const struct mqtt_publisher_options *o, struct mqtt_publisher **ret_publisher, char **ret_why)
{
	struct mqtt_link *link = NULL;
	int rc = mqtt_link_new(o->link, &link, ret_why);
	if (rc)
		return rc;
	mosquitto_int_option(link->mosq, MOSQ_OPT_SEND_MAXIMUM,
	    o->link->version == 5 ? MQTT_PUBLISHER_UNDER_WAY : MQTT_PUBLISHER_UNDER_WAY_OLD);
	rc = connect_link(o, &link, ret_why);
	if (!rc)
		return begin(o, link, ret_publisher, ret_why);
	if (link)
		mqtt_link_free(link);
	return rc;
}

void mqtt_publisher_free(struct mqtt_publisher *p)
{
	if (!p)
		return;
	if (!p->failed && p->connected && !p->under_way) {
		p->failed = true; /* nothing is to be made of what is called meanwhile */
		mosquitto_disconnect(p->link->mosq);
		mosquitto_loop_write(p->link->mosq, 1); /* what the socket does not take at once stays unsaid */
	}
	mqtt_link_free(p->link);
	free(p);
}

/* ---- publishing --------------------------------------------------------------------------------------------------- */

/* What the broker has said at the beginning of what it takes. */
static int refused_here(struct mqtt_publisher *p, int rc, char **ret_why)
{
	if (rc == MOSQ_ERR_OVERSIZE_PACKET) {
		refuse(p, "the broker takes no message of that size");
		return 0;
	}
	fail(p, rc == MOSQ_ERR_QOS_NOT_SUPPORTED ? "the broker does not take this `qos`" : mosquitto_strerror(rc));
	return problem(p, ret_why);
}

int mqtt_publisher_send(struct mqtt_publisher *p, const char *topic, struct bytes payload, bool retained, char **ret_why)
{
	if (!p->under_way)
		p->late_ns = clock_mono_ns() + p->timeout_ns;
	int rc = wait_below(p, MQTT_PUBLISHER_UNDER_WAY, ret_why);
	if (rc)
		return rc;
	rc = mosquitto_publish_v5(p->link->mosq, NULL, topic, (int)payload.n, payload.p, p->qos, retained, NULL);
	if (rc)
		return refused_here(p, rc, ret_why);
	p->under_way++;
	return 0;
}

int mqtt_publisher_wait(struct mqtt_publisher *p, struct mqtt_refusals *ret_refusals, char **ret_why)
{
	int rc = wait_below(p, 1, ret_why);
	if (!rc) {
		*ret_refusals = p->refusals;
		p->refusals.count = 0;
	}
	return rc;
}

bool mqtt_publisher_idle(struct mqtt_publisher *p)
{
	write_some(p);
	if (!p->failed)
		turn(p, 0);
	return !p->failed;
}
