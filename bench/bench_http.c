/* An HTTP/1.1 load generator: POSTs prepared bodies over keep-alive connections, one request under way on
 * each.
 *
 *     bench_http -c CONNECTIONS -t SECONDS [-w WARMUP] [-r RATE] [-u UNITS] -p PATH -b FILE HOST:PORT...
 *
 * FILE holds the bodies, each behind its length (u32, little-endian); they are sent in turn, again from the
 * start at the end. An answer of status 200 counts as UNITS (default 1); anything else is a failure. Prints
 * one JSON object (load.h). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/net.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/kv.h"

#define CONNECTIONS_MAX 1024
#define BODIES_MAX 1000000
#define ANSWER_MAX (1024 * 1024)
#define READ_SIZE 65536

struct conn {
	int fd;
	bool busy;
	char head[256];
	size_t head_len, sent; /* of head and body */
	struct bytes body;
	double due_s;
	struct buf in;
};

static struct load load;
static struct conn conns[CONNECTIONS_MAX];
static size_t conn_count;
static struct bytes *bodies;
static size_t body_count, body_next;
static uint64_t units = 1;
static const char *path = "/";

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_http: %s: %s\n", what, why);
	exit(2);
}

/* The file stays in memory for the whole run. */
static void read_bodies(const char *file)
{
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		die(file, strerror(errno));
	size_t size = (size_t)st.st_size, got = 0;
	uint8_t *data = xmalloc(size + 1);
	while (got < size) {
		ssize_t n = read(fd, data + got, size - got);
		if (n <= 0)
			die(file, n ? strerror(errno) : "cut short");
		got += (size_t)n;
	}
	close(fd);
	struct rd r = rd_init(data, size);
	bodies = xcalloc(BODIES_MAX, sizeof(bodies[0]));
	while (rd_left(&r) && body_count < BODIES_MAX) {
		size_t n = rd_u32(&r);
		const uint8_t *p = rd_raw(&r, n);
		if (!p)
			die(file, "not a list of bodies");
		bodies[body_count++] = bytes_of(p, n);
	}
	if (!body_count)
		die(file, "empty");
}

static void conn_send(struct conn *c)
{
	size_t total = c->head_len + c->body.n;
	while (c->sent < total) {
		struct iovec v[2];
		int n = 0;
		if (c->sent < c->head_len)
			v[n++] = (struct iovec){c->head + c->sent, c->head_len - c->sent};
		size_t off = c->sent > c->head_len ? c->sent - c->head_len : 0;
		v[n++] = (struct iovec){(uint8_t *)(uintptr_t)c->body.p + off, c->body.n - off};
		ssize_t did = writev(c->fd, v, n);
		if (did < 0 && errno == EAGAIN)
			return;
		if (did < 0)
			die("write", strerror(errno));
		c->sent += (size_t)did;
	}
}

static void conn_begin(struct conn *c, double due_s)
{
	c->busy = true;
	c->due_s = due_s;
	c->body = bodies[body_next];
	body_next = (body_next + 1) % body_count;
	c->head_len = (size_t)snprintf(c->head, sizeof(c->head),
	    "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
	    "%zu\r\n\r\n",
	    path, c->body.n);
	c->sent = 0;
	buf_clear(&c->in);
	conn_send(c);
}

/* Bytes of the chunks from p on, their end included; 0: more is to come. */
static size_t chunks_length(const char *p, const char *end)
{
	const char *start = p;
	for (;;) {
		char *digits_end;
		const char *line = memchr(p, '\n', (size_t)(end - p));
		if (!line)
			return 0;
		size_t n = strtoul(p, &digits_end, 16);
		if (digits_end == p || n > ANSWER_MAX)
			die("answer", "bad chunk");
		if ((size_t)(end - line - 1) < n + 2)
			return 0;
		p = line + 1 + n + 2;
		if (!n)
			return (size_t)(p - start);
	}
}

/* Bytes of the whole answer, 0: more is to come. */
static size_t answer_length(struct buf *in)
{
	const char *text = buf_cstr(in);
	const char *blank = strstr(text, "\r\n\r\n");
	if (!blank)
		return 0;
	size_t head = (size_t)(blank + 4 - text);
	const char *length = strcasestr(text, "\r\nContent-Length:");
	if (length && length < blank) {
		size_t n = strtoul(length + 17, NULL, 10);
		return in->len >= head + n ? head + n : 0;
	}
	const char *chunked = strcasestr(text, "\r\nTransfer-Encoding: chunked");
	if (!chunked || chunked > blank)
		die("answer", "of unknown length");
	size_t n = chunks_length(text + head, text + in->len);
	return n ? head + n : 0;
}

static void conn_read(struct conn *c)
{
	ssize_t n = read(c->fd, buf_reserve(&c->in, READ_SIZE), READ_SIZE);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("read", n ? strerror(errno) : "the server closed the connection");
	c->in.len += (size_t)n;
	if (c->in.len > ANSWER_MAX)
		die("answer", "too long");
	if (!answer_length(&c->in))
		return;
	const char *text = buf_cstr(&c->in);
	c->busy = false;
	if (!strncmp(text, "HTTP/1.1 200 ", 13)) {
		load_done(&load, c->due_s, load_now_s(), units);
	} else {
		const char *blank = strstr(text, "\r\n\r\n");
		load_failed(&load, blank ? blank + 4 : text);
	}
}

/* Whether a connection is left that could send. */
static bool send_what_is_due(void)
{
	static size_t next;
	for (size_t tried = 0; tried < conn_count; tried++, next = (next + 1) % conn_count) {
		double due_s;
		if (conns[next].busy)
			continue;
		if (!load_take(&load, load_now_s(), &due_s))
			return true;
		conn_begin(&conns[next], due_s);
	}
	return false;
}

static void run(void)
{
	struct pollfd fds[CONNECTIONS_MAX];
	load_start(&load);
	for (double now = load_now_s(); load_goes_on(&load, now); now = load_now_s()) {
		bool can_send = send_what_is_due();
		for (size_t i = 0; i < conn_count; i++) {
			struct conn *c = &conns[i];
			bool sending = c->busy && c->sent < c->head_len + c->body.n;
			fds[i] = (struct pollfd){
			    .fd = c->fd, .events = (short)(c->busy ? POLLIN | (sending ? POLLOUT : 0) : 0)};
		}
		net_wait(fds, conn_count, load_wait_s(&load, load_now_s(), can_send));
		for (size_t i = 0; i < conn_count; i++) {
			if (fds[i].revents & POLLOUT)
				conn_send(&conns[i]);
			if (fds[i].revents & (POLLIN | POLLERR | POLLHUP))
				conn_read(&conns[i]);
		}
	}
}

int main(int argc, char **argv)
{
	const char *file = NULL;
	load.seconds = 5;
	load.warmup_s = 1;
	conn_count = 1;
	for (int o; (o = getopt(argc, argv, "c:t:w:r:u:p:b:")) != -1;) {
		if (o == 'c')
			conn_count = (size_t)load_number("-c", optarg, 1, CONNECTIONS_MAX);
		else if (o == 't')
			load.seconds = load_number("-t", optarg, 0.1, 600);
		else if (o == 'w')
			load.warmup_s = load_number("-w", optarg, 0, 600);
		else if (o == 'r')
			load.rate = load_number("-r", optarg, 0, 1e7);
		else if (o == 'u')
			units = (uint64_t)load_number("-u", optarg, 1, 1e6);
		else if (o == 'p')
			path = optarg;
		else if (o == 'b')
			file = optarg;
		else
			return 2;
	}
	if (!file || optind >= argc)
		die("use", "bench_http -c CONNECTIONS -t SECONDS -p PATH -b FILE HOST:PORT...");
	read_bodies(file);
	for (size_t i = 0; i < conn_count; i++) {
		const char *to = argv[optind + (int)(i % (size_t)(argc - optind))];
		conns[i].fd = net_connect(to);
		if (conns[i].fd < 0)
			die(to, strerror(errno));
	}
	run();
	return load_print(&load);
}
