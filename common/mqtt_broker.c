#include "common/mqtt_broker.h"

#include "common/clock.h"
#include "common/err.h"
#include "common/secret.h"

static int read_password(const char *path, struct buf *password, char **ret_why)
{
	int rc = path ? secret_read(path, password, ret_why) : 0;
	while (!rc && password->len && (password->data[password->len - 1] == '\n' || password->data[password->len - 1] == '\r'))
		password->len--;
	return rc;
}

/* The library opens it by itself; here only whether others may read it. */
static int check_key(const char *path, char **ret_why)
{
	struct buf key = {0};
	int rc = path ? secret_read(path, &key, ret_why) : 0;
	secret_free(&key);
	return rc;
}

int mqtt_broker_read(const struct mqtt_broker_conf *b, struct mqtt_broker *room, struct mqtt_link_conf *ret_conf, char **ret_why)
{
	bool tls = false;
	weir_assert(mqtt_broker_parse(b->address, &room->host, &tls)); /* topology.yaml was checked */
	int rc = read_password(b->password_file, &room->password, ret_why);
	if (!rc)
		rc = check_key(b->key_file, ret_why);
	if (rc)
		return rc;
	ret_conf->host = room->host.host;
	ret_conf->port = room->host.port;
	ret_conf->tls = tls;
	ret_conf->version = b->version;
	ret_conf->user = b->user;
	ret_conf->password = b->password_file ? buf_cstr(&room->password) : NULL;
	ret_conf->ca_file = b->ca_file;
	ret_conf->cert_file = b->cert_file;
	ret_conf->key_file = b->key_file;
	ret_conf->keepalive_s = (uint16_t)(b->keepalive_ns / NS_PER_SEC);
	return 0;
}

void mqtt_broker_clear(struct mqtt_broker *room)
{
	secret_free(&room->password);
	room->password = (struct buf){0};
}

bool mqtt_broker_exposes_password(const struct mqtt_broker_conf *b)
{
	struct addr_host host;
	bool tls;
	return b->password_file && mqtt_broker_parse(b->address, &host, &tls) && !tls && !host.loopback;
}
