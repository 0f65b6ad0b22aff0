/* CURVE: who is let in (ZAP, rfc.zeromq.org/spec/27), and which key is tried. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/msgq_parts.h"

#define ZAP_ADDRESS "inproc://zeromq.zap.01"
#define ZAP_DOMAIN "weir"
#define ZAP_PARTS_MAX 9 /* route, empty, version, request, domain, address, routing id, mechanism, key */
#define ZAP_TURN_MAX 256
#define ENFORCE_DOMAIN 93 /* ZMQ_ZAP_ENFORCE_DOMAIN: the header has it for drafts only, the library always */
#define KEY_PROPERTY "Weir-Key"
/* How long a key is tried: longer and longer, the link may be slow. A single one: that is for who was not let in when it tried first. */
#define TRY_MIN_MS 500
#define TRY_ALONE_MIN_MS 2000
#define TRY_MAX_MS 8000

/* ---- the handshake's questions --------------------------------------------------------------------------------- */

struct zap_request {
	zmq_msg_t parts[ZAP_PARTS_MAX];
	size_t count;
	bool whole; /* no more than that, and of version 1.0 with CURVE */
};

static bool receive_request(void *zap, struct zap_request *r)
{
	r->count = 0;
	r->whole = false;
	bool more = true;
	while (more) {
		zmq_msg_t part;
		zmq_msg_init(&part);
		if (zmq_msg_recv(&part, zap, ZMQ_DONTWAIT) < 0) {
			zmq_msg_close(&part);
			return r->count > 0;
		}
		more = zmq_msg_more(&part);
		if (r->count < ZAP_PARTS_MAX) {
			zmq_msg_init(&r->parts[r->count]);
			zmq_msg_move(&r->parts[r->count++], &part);
			r->whole = !more && r->count == ZAP_PARTS_MAX;
		} else {
			r->whole = false;
		}
		zmq_msg_close(&part);
	}
	return true;
}

static bool part_is(struct zap_request *r, size_t i, const char *text)
{
	return zmq_msg_size(&r->parts[i]) == strlen(text) && !memcmp(zmq_msg_data(&r->parts[i]), text, strlen(text));
}

/* "Weir-Key" and the key: with it each message tells under which key it came. */
static size_t put_metadata(const struct key_text *key, uint8_t out[64])
{
	uint8_t *p = out;
	*p++ = (uint8_t)strlen(KEY_PROPERTY);
	memcpy(p, KEY_PROPERTY, strlen(KEY_PROPERTY));
	p += strlen(KEY_PROPERTY);
	memcpy(p, "\0\0\0\x28", 4);
	p += 4;
	memcpy(p, key->text, KEY_TEXT);
	return (size_t)(p - out) + KEY_TEXT;
}

static void answer_request(struct msgq *m, struct zap_request *r)
{
	struct key_text key = {{0}};
	uint8_t metadata[64];
	const char *name = NULL;
	bool curve = part_is(r, 2, "1.0") && part_is(r, 7, "CURVE") && zmq_msg_size(&r->parts[8]) == KEY_BYTES;
	if (curve) {
		key_encode(zmq_msg_data(&r->parts[8]), &key);
		name = keys_owner(m->keys, key.text);
	}
	const char *status = name ? "200" : "400", *text = name ? "OK" : "no such key";
	size_t n = name ? put_metadata(&key, metadata) : 0;
	zmq_send(m->zap, zmq_msg_data(&r->parts[0]), zmq_msg_size(&r->parts[0]), ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(m->zap, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(m->zap, "1.0", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(m->zap, zmq_msg_data(&r->parts[3]), zmq_msg_size(&r->parts[3]), ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(m->zap, status, 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(m->zap, text, strlen(text), ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(m->zap, name ? name : "", name ? strlen(name) : 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(m->zap, metadata, n, ZMQ_DONTWAIT);
}

static bool drain_zap(void *arg)
{
	struct msgq *m = arg;
	struct zap_request r;
	for (unsigned i = 0; i < ZAP_TURN_MAX; i++) {
		if (!receive_request(m->zap, &r))
			return false;
		if (r.whole)
			answer_request(m, &r);
		for (size_t p = 0; p < r.count; p++)
			zmq_msg_close(&r.parts[p]);
	}
	return true;
}

/* For other threads. */
static void show_counters(struct msgq *m)
{
	struct keys_counters c;
	keys_counters(m->keys, &c);
	atomic_store_explicit(&m->keys_allowed, c.keys, memory_order_relaxed);
	atomic_store_explicit(&m->keys_broken, c.broken, memory_order_relaxed);
}

int msgq_keys_open(struct msgq *m)
{
	if (!m->keys)
		return 0;
	show_counters(m);
	int fd;
	size_t n = sizeof(fd);
	m->zap = zmq_socket(m->ctx, ZMQ_ROUTER);
	if (!m->zap)
		return WEIR_EFULL;
	msgq_set_int(m->zap, ZMQ_LINGER, 0);
	weir_assert(zmq_bind(m->zap, ZAP_ADDRESS) == 0); /* a context of our own: nobody has it */
	weir_assert(zmq_getsockopt(m->zap, ZMQ_FD, &fd, &n) == 0);
	return loop_drain_new(m->loop, fd, drain_zap, NULL, m, &m->zap_drain);
}

void msgq_keys_close(struct msgq *m)
{
	if (m->zap_drain)
		loop_drain_free(m->zap_drain);
	if (m->zap)
		zmq_close(m->zap);
}

/* ---- keys of sockets -------------------------------------------------------------------------------------------- */

static void set_key(void *zmq, int option, const struct key_text *key)
{
	weir_assert(zmq_setsockopt(zmq, option, key->text, KEY_TEXT + 1) == 0);
}

void msgq_keys_set(struct msgq_socket *s)
{
	const struct keys *k = s->m->keys;
	if (!k)
		return;
	set_key(s->zmq, ZMQ_CURVE_SECRETKEY, keys_secret(k));
	if (!s->bound) {
		set_key(s->zmq, ZMQ_CURVE_PUBLICKEY, keys_public(k));
		set_key(s->zmq, ZMQ_CURVE_SERVERKEY, &s->peer_key);
		return;
	}
	msgq_set_int(s->zmq, ZMQ_CURVE_SERVER, 1);
	msgq_set_int(s->zmq, ENFORCE_DOMAIN, 1);
	weir_assert(zmq_setsockopt(s->zmq, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN)) == 0);
}

bool msgq_keys_pick(struct msgq_socket *s)
{
	const struct key_text *keys;
	size_t n = keys_of(s->m->keys, s->peer, &keys);
	if (n)
		s->peer_key = keys[0];
	return n > 0;
}

static void connect_again(struct msgq_socket *s)
{
	msgq_dealer_close(s);
	s->answered = s->heard = false;
	s->unable_ns = 0;
	(void)msgq_dealer_open(s); /* no descriptor for it: at the next look */
}

/* The key after the one in use; the same where there is no other. */
static void next_key(struct msgq_socket *s)
{
	const struct key_text *keys;
	size_t n = keys_of(s->m->keys, s->peer, &keys), at = 0;
	while (at < n && strcmp(keys[at].text, s->peer_key.text) != 0)
		at++;
	s->peer_key = keys[(at + 1) % n];
}

static int64_t try_min_ms(const struct msgq_socket *s)
{
	const struct key_text *keys;
	return keys_of(s->m->keys, s->peer, &keys) > 1 ? TRY_MIN_MS : TRY_ALONE_MIN_MS;
}

/* Several keys: which of them the peer has is found out by trying. And libzmq does not try again after a handshake that the other side
 * refused: maybe it has the own .pub by now. The key is in the peer's .pub. A link that takes nothing for long may only be slow: who is
 * heard over it is there. */
static void try_keys(struct msgq_socket *s, int64_t now_ns)
{
	bool heard = s->heard;
	s->heard = false;
	if (heard || msgq_can_send(s)) {
		s->unable_ns = 0;
		s->tries = 0;
		return;
	}
	if (!s->unable_ns)
		s->unable_ns = now_ns;
	int64_t limit_ms = try_min_ms(s);
	for (unsigned i = 0; i < s->tries / 2 + s->answered * 2U && limit_ms < TRY_MAX_MS; i++)
		limit_ms *= 2;
	if (now_ns - s->unable_ns < limit_ms * NS_PER_MS)
		return;
	next_key(s);
	s->tries++;
	connect_again(s);
}

static void look_at_dealer(struct msgq_socket *s, const struct keys_change *change, int64_t now_ns)
{
	bool listed = keys_owns(s->m->keys, s->peer, s->peer_key.text);
	if (!listed && !msgq_keys_pick(s)) {
		msgq_dealer_close(s);
		return;
	}
	if (!s->zmq || !listed || change->own)
		connect_again(s);
	else
		try_keys(s, now_ns);
}

void msgq_keys_look(struct msgq *m)
{
	struct keys_change change = {0};
	if (!m->keys)
		return;
	if (m->looks % LOOKS_PER_SECOND == 0) {
		keys_poll(m->keys, &change);
		show_counters(m);
	}
	int64_t now_ns = clock_mono_ns();
	for (struct msgq_socket *s = m->sockets; s; s = s->next) {
		if (!s->bound) {
			look_at_dealer(s, &change, now_ns);
		} else if (change.own) {
			msgq_keys_set(s);
			msgq_door_again(s);
		} else if (change.others) {
			msgq_door_keys(s);
		}
	}
}
