#include "common/mqtt_link.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/err.h"

struct mqtt_link_private {
	char *host;
	int port, keepalive_s;
	mosquitto_property *properties; /* of CONNECT; NULL: none */
	int rc, connect_errno;
};

/* Between the caller and the thread: who comes second frees it. */
struct mqtt_connecting {
	pthread_mutex_t mutex;
	struct mqtt_link *link;
	void (*done)(void *arg);
	void *arg;
	bool left, finished;
};

/* ---- the link ---------------------------------------------------------------------------------------------------- */

void mqtt_link_free(struct mqtt_link *l)
{
	mosquitto_destroy(l->mosq);
	mosquitto_property_free_all(&l->p->properties);
	free(l->p->host);
	free(l->p);
	free(l);
}

/* "OpenSSL Error[0]: error:0A000086:SSL routines::certificate verify failed": the part for people. */
static void note_error(struct mqtt_link *l, const char *text)
{
	const char *last = strstr(text, "::");
	if (!strncmp(text, "Error: ", 7))
		text += 7;
	snprintf(l->error, sizeof(l->error), "TLS: %.150s (look at `tls`, the broker's certificate and the clock)", last ? last + 2 : text);
}

static void on_log(struct mosquitto *mosq, void *arg, int level, const char *text)
{
	(void)mosq;
	struct mqtt_link *l = arg;
	if (level == MOSQ_LOG_ERR && !*l->error)
		note_error(l, text);
	else if (level == MOSQ_LOG_DEBUG && l->debug)
		l->debug(l, text);
}

/* A key with a passphrase: without this OpenSSL would ask the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return 0;
}

static int set_tls(struct mqtt_link *l, const struct mqtt_link_conf *conf, char **ret_why)
{
	if (!conf->ca_file) {
		mosquitto_int_option(l->mosq, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
		if (!conf->cert_file)
			return 0;
	}
	/* The library wants one of file and folder; a folder that holds no certificates adds none to the system's. */
	int rc = mosquitto_tls_set(l->mosq, conf->ca_file, conf->ca_file ? NULL : "/etc/ssl/certs", conf->cert_file, conf->key_file,
	    no_passphrase);
	if (!rc)
		return 0;
	*ret_why = xasprintf("cannot read %s%s%s: %s", conf->ca_file ? conf->ca_file : "", conf->cert_file ? " or " : "",
	    conf->cert_file ? conf->cert_file : "", strerror(errno));
	return WEIR_EINVAL;
}

static void set_properties(struct mqtt_link *l, const struct mqtt_link_conf *conf)
{
	mosquitto_int_option(l->mosq, MOSQ_OPT_PROTOCOL_VERSION, conf->version == 5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
	if (conf->receive_max)
		mosquitto_int_option(l->mosq, MOSQ_OPT_RECEIVE_MAXIMUM, conf->receive_max);
	mosquitto_int_option(l->mosq, MOSQ_OPT_TCP_NODELAY, 1);
	if (conf->version == 5 && conf->packet_bytes_max)
		mosquitto_property_add_int32(&l->p->properties, MQTT_PROP_MAXIMUM_PACKET_SIZE, conf->packet_bytes_max);
	if (conf->version == 5 && !conf->clean)
		mosquitto_property_add_int32(&l->p->properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL, conf->session_expiry_s);
}

static int set_up(struct mqtt_link *l, const struct mqtt_link_conf *conf, char **ret_why)
{
	if (!l->mosq) {
		*ret_why = xasprintf("`%s` cannot be a client_id", conf->client_id);
		return WEIR_EINVAL;
	}
	if (mosquitto_username_pw_set(l->mosq, conf->user, conf->password)) {
		*ret_why = xstrdup("user or password are not UTF-8");
		return WEIR_EINVAL;
	}
	return conf->tls ? set_tls(l, conf, ret_why) : 0;
}

int mqtt_link_new(const struct mqtt_link_conf *conf, struct mqtt_link **ret_link, char **ret_why)
{
	struct mqtt_link *l = xcalloc(1, sizeof(*l));
	mosquitto_lib_init(); /* counts; never cleaned up, as that would be from any thread */
	l->p = xcalloc(1, sizeof(*l->p));
	l->p->host = xstrdup(conf->host);
	l->p->port = conf->port;
	l->p->keepalive_s = conf->keepalive_s;
	l->mosq = mosquitto_new(conf->client_id, conf->clean, l);
	int rc = set_up(l, conf, ret_why);
	if (rc) {
		mqtt_link_free(l);
		return rc;
	}
	set_properties(l, conf);
	mosquitto_threaded_set(l->mosq, true);
	mosquitto_log_callback_set(l->mosq, on_log);
	*ret_link = l;
	return 0;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static void connecting_free(struct mqtt_connecting *c)
{
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

static void *connect_thread(void *arg)
{
	struct mqtt_connecting *c = arg;
	struct mqtt_link *l = c->link;
	errno = 0;
	l->p->rc = mosquitto_connect_bind_v5(l->mosq, l->p->host, l->p->port, l->p->keepalive_s, NULL, l->p->properties);
	l->p->connect_errno = errno;
	pthread_mutex_lock(&c->mutex);
	bool left = c->left;
	c->finished = true;
	if (!left)
		c->done(c->arg);
	pthread_mutex_unlock(&c->mutex);
	if (left) {
		mqtt_link_free(l);
		connecting_free(c);
	}
	return NULL;
}

/* Signals are not for it. */
static int start_thread(struct mqtt_connecting *c)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&thread, &attr, connect_thread, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

struct mqtt_connecting *mqtt_connecting_new(struct mqtt_link *l, void (*done)(void *arg), void *arg)
{
	struct mqtt_connecting *c = xcalloc(1, sizeof(*c));
	pthread_mutex_init(&c->mutex, NULL);
	c->link = l;
	c->done = done;
	c->arg = arg;
	if (!start_thread(c))
		return c;
	connecting_free(c);
	return NULL;
}

struct mqtt_link *mqtt_connecting_leave(struct mqtt_connecting *c)
{
	pthread_mutex_lock(&c->mutex);
	bool finished = c->finished;
	struct mqtt_link *l = finished ? c->link : NULL;
	c->left = true;
	pthread_mutex_unlock(&c->mutex);
	if (finished)
		connecting_free(c);
	return l;
}

bool mqtt_link_connected(const struct mqtt_link *l, char ret_why[MQTT_WHY_MAX])
{
	const struct mqtt_link_private *p = l->p;
	if (!p->rc && mosquitto_socket(l->mosq) >= 0)
		return true;
	if (*l->error)
		snprintf(ret_why, MQTT_WHY_MAX, "%s", l->error);
	else if (p->rc == MOSQ_ERR_EAI)
		snprintf(ret_why, MQTT_WHY_MAX, "%s: %s", p->host, gai_strerror(p->connect_errno));
	else
		snprintf(ret_why, MQTT_WHY_MAX, "%s", p->rc == MOSQ_ERR_ERRNO ? strerror(p->connect_errno) : mosquitto_strerror(p->rc));
	return false;
}

/* ---- its socket -------------------------------------------------------------------------------------------------- */

/* Bytes, or 0: the end; -1: nothing is there now. */
static int peek(const struct mqtt_link *l)
{
	uint8_t byte;
	ssize_t n = recv(mosquitto_socket(l->mosq), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n > 0)
		return 1;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? -1 : 0;
}

bool mqtt_link_at_end(const struct mqtt_link *l)
{
	return peek(l) == 0;
}

bool mqtt_link_can_read(const struct mqtt_link *l)
{
	return peek(l) >= 0;
}

void mqtt_link_cork(const struct mqtt_link *l, bool on)
{
	int fd = mosquitto_socket(l->mosq), value = on;
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value)); /* where it cannot be, they leave one by one */
}

/* ---- what went wrong --------------------------------------------------------------------------------------------- */

bool mqtt_link_stands(const struct mqtt_link *l, int rc, int error, char ret_why[MQTT_WHY_MAX])
{
	if (!rc && mosquitto_socket(l->mosq) >= 0)
		return true;
	const char *why = rc ? mosquitto_strerror(rc) : "the connection was closed";
	if (*l->error)
		why = l->error;
	else if (rc == MOSQ_ERR_ERRNO && error)
		why = strerror(error);
	snprintf(ret_why, MQTT_WHY_MAX, "%s", why);
	return false;
}

static const char *advice(int code)
{
	switch (code) {
	case 1:
		return ": the broker does not speak MQTT 3.1.1";
	case MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION:
		return ": the broker does not speak MQTT 5, set `version: 3.1.1`";
	case 2:
	case MQTT_RC_CLIENTID_NOT_VALID:
		return ": set another `client_id`";
	case 4:
	case 5:
	case MQTT_RC_BAD_USERNAME_OR_PASSWORD:
	case MQTT_RC_NOT_AUTHORIZED:
		return ": look at `user`, `password_file` and the broker's access lists";
	case MQTT_RC_SESSION_TAKEN_OVER:
		return ": another client uses the same client_id";
	default:
		return "";
	}
}

static int length(const char *text)
{
	size_t n = strlen(text);
	return (int)(n && text[n - 1] == '.' ? n - 1 : n);
}

void mqtt_link_reason(const char *text, char ret_why[MQTT_WHY_MAX])
{
	snprintf(ret_why, MQTT_WHY_MAX, "%.*s", length(text), text);
}

void mqtt_link_refusal(const char *what, int code, char ret_why[MQTT_WHY_MAX])
{
	const char *text = code < 128 ? mosquitto_connack_string(code) : mosquitto_reason_string(code);
	snprintf(ret_why, MQTT_WHY_MAX, "%s: %.*s%s", what, length(text), text, advice(code));
}
