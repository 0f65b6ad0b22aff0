/* A JetStream load generator: publishes with acknowledgements, many under way on each connection, in the text
 * protocol of NATS (https://docs.nats.io/reference/reference-protocols/nats-protocol).
 *
 *     bench_nats -c CONNECTIONS -n WINDOW -s SIZE -t SECONDS [-w WARMUP] [-r RATE] HOST:PORT/SUBJECT...
 *
 * Each connection publishes to one subject, in turn of those given, with at most WINDOW messages not
 * acknowledged. A message counts when its acknowledgement from the stream has come. Prints one JSON object
 * (load.h). */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/net.h"
#include "common/buf.h"
#include "common/err.h"

#define CONNECTIONS_MAX 256
#define WINDOW_MAX 65536
#define SIZE_MAX_BYTES (1024 * 1024)
#define OUT_MAX (256 * 1024) /* not written yet, of one connection */
#define LINE_MAX_BYTES 65536 /* INFO is the longest */
#define READ_SIZE 65536

struct conn {
	int fd;
	size_t number;
	char subject[64];
	double *due_s; /* by slot, of what is not acknowledged; < 0: free */
	uint32_t *free_slots;
	size_t free_count;
	struct buf out, in;
	size_t out_sent, in_read;
};

static struct load load;
static struct conn conns[CONNECTIONS_MAX];
static size_t conn_count = 1, window = 1024, size = 1024;
static uint8_t *payload;

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_nats: %s: %s\n", what, why);
	exit(2);
}

static void conn_write(struct conn *c)
{
	while (c->out_sent < c->out.len) {
		ssize_t n = write(c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("write", strerror(errno));
		c->out_sent += (size_t)n;
	}
	buf_clear(&c->out);
	c->out_sent = 0;
}

static void conn_open(struct conn *c, size_t number, const char *target)
{
	char host_port[64];
	const char *slash = strchr(target, '/');
	if (!slash || (size_t)(slash - target) >= sizeof(host_port) ||
	    strlen(slash + 1) >= sizeof(c->subject))
		die(target, "not HOST:PORT/SUBJECT");
	snprintf(host_port, sizeof(host_port), "%.*s", (int)(slash - target), target);
	snprintf(c->subject, sizeof(c->subject), "%s", slash + 1);
	c->number = number;
	c->fd = net_connect(host_port);
	if (c->fd < 0)
		die(target, strerror(errno));
	c->due_s = xcalloc(window, sizeof(c->due_s[0]));
	c->free_slots = xcalloc(window, sizeof(c->free_slots[0]));
	for (size_t i = 0; i < window; i++) {
		c->due_s[i] = -1;
		c->free_slots[c->free_count++] = (uint32_t)(window - 1 - i);
	}
	buf_printf(&c->out,
	    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false}\r\nSUB _I.%zu.* 1\r\n", number);
}

/* Whether the connection could take another message. */
static bool conn_has_room(const struct conn *c)
{
	return c->free_count && c->out.len - c->out_sent < OUT_MAX;
}

static void conn_publish(struct conn *c, double due_s)
{
	uint32_t slot = c->free_slots[--c->free_count];
	c->due_s[slot] = due_s;
	buf_printf(&c->out, "PUB %s _I.%zu.%" PRIu32 " %zu\r\n", c->subject, c->number, slot, size);
	buf_put(&c->out, payload, size);
	buf_put(&c->out, "\r\n", 2);
}

/* One acknowledgement: {"stream":"S","seq":17}, or with an "error". */
static void take_ack(struct conn *c, const char *subject, const char *text)
{
	const char *dot = strrchr(subject, '.');
	size_t slot = dot ? strtoul(dot + 1, NULL, 10) : window;
	if (slot >= window || c->due_s[slot] < 0)
		die("acknowledgement", "of nothing that was sent");
	if (strstr(text, "\"seq\"") && !strstr(text, "\"error\""))
		load_done(&load, c->due_s[slot], load_now_s(), 1);
	else
		load_failed(&load, text);
	c->due_s[slot] = -1;
	c->free_slots[c->free_count++] = (uint32_t)slot;
}

/* MSG subject sid [reply] size, then the payload on a line of its own. False: more is to come. */
static bool take_msg(struct conn *c, char *line, size_t line_len)
{
	char subject[64], text[512];
	const char *last = strrchr(line, ' ');
	size_t n = last ? strtoul(last + 1, NULL, 10) : 0;
	if (sscanf(line, "MSG %63s", subject) != 1 || n >= sizeof(text))
		die("MSG", line);
	if (c->in.len - c->in_read - line_len < n + 2)
		return false;
	memcpy(text, c->in.data + c->in_read + line_len, n);
	text[n] = 0;
	c->in_read += line_len + n + 2;
	take_ack(c, subject, text);
	return true;
}

/* Takes one line and what belongs to it. False: more is to come. */
static bool take_line(struct conn *c)
{
	char *start = (char *)c->in.data + c->in_read;
	char *end = memchr(start, '\n', c->in.len - c->in_read);
	if (!end) {
		if (c->in.len - c->in_read > LINE_MAX_BYTES)
			die("line", "too long");
		return false;
	}
	size_t len = (size_t)(end - start) + 1;
	if (!strncmp(start, "MSG ", 4)) {
		char line[256];
		if (len > sizeof(line))
			die("MSG", "too long");
		snprintf(line, sizeof(line), "%.*s", (int)len - 2, start);
		return take_msg(c, line, len);
	}
	if (!strncmp(start, "PING", 4))
		buf_put(&c->out, "PONG\r\n", 6);
	else if (!strncmp(start, "-ERR", 4))
		die("server", start);
	c->in_read += len;
	return true;
}

static void conn_read(struct conn *c)
{
	ssize_t n = read(c->fd, buf_reserve(&c->in, READ_SIZE), READ_SIZE);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("read", n ? strerror(errno) : "the server closed the connection");
	c->in.len += (size_t)n;
	buf_cstr(&c->in); /* -ERR lines are printed as texts */
	while (take_line(c))
		;
	memmove(c->in.data, c->in.data + c->in_read, c->in.len - c->in_read);
	c->in.len -= c->in_read;
	c->in_read = 0;
}

/* Each connection in turn gets a run of messages, so that one write carries many. Whether one could take
 * more. */
static bool send_what_is_due(void)
{
	bool room = false;
	static size_t first;
	first = (first + 1) % conn_count;
	for (size_t i = 0; i < conn_count; i++) {
		struct conn *c = &conns[(first + i) % conn_count];
		double due_s, now = load_now_s();
		while (conn_has_room(c) && load_take(&load, now, &due_s))
			conn_publish(c, due_s);
		room = room || conn_has_room(c);
		conn_write(c);
	}
	return room;
}

static void run(void)
{
	struct pollfd fds[CONNECTIONS_MAX];
	load_start(&load);
	while (load_goes_on(&load, load_now_s())) {
		bool room = send_what_is_due();
		for (size_t i = 0; i < conn_count; i++)
			fds[i] = (struct pollfd){
			    .fd = conns[i].fd, .events = (short)(POLLIN | (conns[i].out.len ? POLLOUT : 0))};
		net_wait(fds, conn_count, load_wait_s(&load, load_now_s(), room));
		for (size_t i = 0; i < conn_count; i++)
			if (fds[i].revents & (POLLIN | POLLERR | POLLHUP))
				conn_read(&conns[i]);
	}
}

int main(int argc, char **argv)
{
	load.seconds = 5;
	load.warmup_s = 1;
	for (int o; (o = getopt(argc, argv, "c:n:s:t:w:r:")) != -1;) {
		if (o == 'c')
			conn_count = (size_t)load_number("-c", optarg, 1, CONNECTIONS_MAX);
		else if (o == 'n')
			window = (size_t)load_number("-n", optarg, 1, WINDOW_MAX);
		else if (o == 's')
			size = (size_t)load_number("-s", optarg, 1, SIZE_MAX_BYTES);
		else if (o == 't')
			load.seconds = load_number("-t", optarg, 0.1, 600);
		else if (o == 'w')
			load.warmup_s = load_number("-w", optarg, 0, 600);
		else if (o == 'r')
			load.rate = load_number("-r", optarg, 0, 1e7);
		else
			return 2;
	}
	if (optind >= argc)
		die("use", "bench_nats -c CONNECTIONS -n WINDOW -s SIZE -t SECONDS HOST:PORT/SUBJECT...");
	payload = xmalloc(size);
	uint64_t x = 88172645463325252;
	for (size_t i = 0; i < size; i++) { /* bytes that do not compress (xorshift64) */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		payload[i] = (uint8_t)x;
	}
	for (size_t i = 0; i < conn_count; i++)
		conn_open(&conns[i], i, argv[optind + (int)(i % (size_t)(argc - optind))]);
	run();
	return load_print(&load);
}
