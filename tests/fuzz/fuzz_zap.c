/* What libzmq asks about who wants to connect (ZAP, rfc.zeromq.org/spec/27), of any shape: [length u8][part].... behind the empty
 * part; a part "K" stands for the bytes of a key that is allowed. Who is let in has that key, and nobody is whose request is not
 * as it should be; after each the handler still answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/msgq_parts.h"
#include "tests/fuzz/fuzz.h"

#define PARTS_MAX 12
#define REQUEST_PARTS 7 /* version, request, domain, address, routing id, mechanism, key */
#define REPLY_PARTS 7   /* empty, version, request, status, text, user, metadata */
#define NAME "edge-1"

static struct loop *loop;
static struct msgq *msgq;
static void *zap;
static struct key_text known;
static uint8_t known_bytes[KEY_BYTES];

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	FUZZ_CHECK(f && fputs(text, f) >= 0 && !fclose(f) && !chmod(path, 0600));
}

static void remove_file(const char *folder, const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FUZZ_CHECK(!unlink(path));
}

static struct keys *some_keys(void)
{
	char folder[] = "/tmp/weir-fuzz-XXXXXX", *why = NULL;
	struct key_text public, secret;
	struct keys *keys;
	struct keys_options o = {.dir = folder, .name = "cloud-1"};
	FUZZ_CHECK(mkdtemp(folder));
	memset(known_bytes, 7, sizeof(known_bytes));
	key_encode(known_bytes, &known);
	memset(secret.text, '0', KEY_TEXT);
	secret.text[KEY_TEXT] = 0;
	FUZZ_CHECK(!key_public(&secret, &public));
	write_file(folder, "cloud-1.key", secret.text);
	write_file(folder, "cloud-1.pub", public.text);
	write_file(folder, NAME ".pub", known.text);
	FUZZ_CHECK(!keys_open(&o, &keys, &why));
	remove_file(folder, "cloud-1.key");
	remove_file(folder, "cloud-1.pub");
	remove_file(folder, NAME ".pub");
	FUZZ_CHECK(!rmdir(folder)); /* what it held stands */
	return keys;
}

static void setup(void)
{
	struct msgq_options o = {.keys = some_keys()};
	FUZZ_CHECK(!loop_new(&loop) && !msgq_new(loop, &o, &msgq));
	zap = zmq_socket(msgq->ctx, ZMQ_DEALER);
	FUZZ_CHECK(zap && !zmq_connect(zap, "inproc://zeromq.zap.01"));
}

static bool is(struct bytes b, const char *text)
{
	return fuzz_same(b, bytes_of(text, strlen(text)));
}

static void ask(const struct bytes *parts, size_t count)
{
	FUZZ_CHECK(zmq_send(zap, "", 0, count ? ZMQ_SNDMORE : 0) == 0);
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(zmq_send(zap, parts[i].p, parts[i].n, i + 1 < count ? ZMQ_SNDMORE : 0) == (int)parts[i].n);
	loop_turn(loop, false);
	loop_turn(loop, false);
}

/* Part by part; returns how many. */
static size_t receive(zmq_msg_t reply[REPLY_PARTS])
{
	size_t n = 0;
	for (bool more = true; more; n++) {
		FUZZ_CHECK(n < REPLY_PARTS);
		zmq_msg_init(&reply[n]);
		if (zmq_msg_recv(&reply[n], zap, ZMQ_DONTWAIT) < 0) {
			FUZZ_CHECK(!n);
			return 0;
		}
		more = zmq_msg_more(&reply[n]);
	}
	return n;
}

static struct bytes part_of(zmq_msg_t *m)
{
	return bytes_of(zmq_msg_data(m), zmq_msg_size(m));
}

static void check_reply(const struct bytes *parts, size_t count)
{
	zmq_msg_t reply[REPLY_PARTS];
	size_t n = receive(reply);
	FUZZ_CHECK(n == (count == REQUEST_PARTS ? REPLY_PARTS : 0));
	if (!n)
		return;
	bool allowed = is(parts[0], "1.0") && is(parts[5], "CURVE") && fuzz_same(parts[6], bytes_of(known_bytes, KEY_BYTES));
	FUZZ_CHECK(fuzz_same(part_of(&reply[2]), parts[1]));
	FUZZ_CHECK(is(part_of(&reply[3]), allowed ? "200" : "400") && is(part_of(&reply[5]), allowed ? NAME : ""));
	struct bytes metadata = part_of(&reply[6]);
	FUZZ_CHECK(allowed ? metadata.n > KEY_TEXT && !memcmp(metadata.p + metadata.n - KEY_TEXT, known.text, KEY_TEXT)
			   : !metadata.n);
	for (size_t i = 0; i < n; i++)
		zmq_msg_close(&reply[i]);
	FUZZ_CHECK(zmq_msg_init(&reply[0]) == 0 && zmq_msg_recv(&reply[0], zap, ZMQ_DONTWAIT) < 0); /* one answer */
}

static void ask_well(void)
{
	struct bytes parts[REQUEST_PARTS] = {bytes_of("1.0", 3), bytes_of("1", 1), bytes_of("weir", 4), bytes_of("127.0.0.1", 9),
	    bytes_of("", 0), bytes_of("CURVE", 5), bytes_of(known_bytes, KEY_BYTES)};
	ask(parts, REQUEST_PARTS);
	check_reply(parts, REQUEST_PARTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct bytes parts[PARTS_MAX];
	size_t count = 0;
	if (!loop)
		setup();
	struct rd r = rd_init(data, len);
	while (rd_left(&r) && count < PARTS_MAX) {
		size_t n = rd_u8(&r);
		n = n < rd_left(&r) ? n : rd_left(&r);
		parts[count] = bytes_of(rd_raw(&r, n), n);
		if (is(parts[count], "K"))
			parts[count] = bytes_of(known_bytes, KEY_BYTES);
		count++;
	}
	ask(parts, count);
	check_reply(parts, count);
	ask_well();
	return 0;
}
